"""Face sets: draw one, shrink one, fetch the course's. Run as `python -m data`."""

from grader.errors import GraderError


class DataError(GraderError):
    """Something the user can mend: one line that names the file and the remedy."""

    exit_code = 1

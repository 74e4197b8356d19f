"""Face sets: draw one, shrink one, fetch the course's. Run as `python -m data`."""

from grader.errors import GraderError


class DataError(GraderError):
    """Something the user can mend: one line that names the file and the remedy."""

    exit_code = 1


class DiskFull(DataError):
    """Not as the other programs' CannotWrite: what has come is kept, and gone on with."""

    exit_code = 2

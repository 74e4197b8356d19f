"""Face sets: draw one, shrink one, fetch the course's. Run as `python -m data`."""


class DataError(Exception):
    """Something the user can mend: one line that names the file and the remedy."""

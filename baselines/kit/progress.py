"""Progress: a bar where somebody looks on, elsewhere a line a minute."""

import os
import sys
import time
import warnings

from kit.device import rank

MINUTE = 60  # seconds between two lines


def progress(steps, what, total=None, start=0):
    """The same steps, and how far they are on standard error; `total` includes the `start` that came before them. Of
    several processes the first speaks. Its set_postfix_str(text) says more."""
    if not watched() or rank():
        return Lines(steps, what, total, start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without ipywidgets it draws its bar of letters
        if "KIT_WATCHED" in os.environ:  # who looks on is not at a notebook, and sees letters only
            from tqdm import tqdm
        else:
            from tqdm.auto import tqdm
    return tqdm(steps, what, total, initial=start, mininterval=5, maxinterval=10)


def watched():
    """Whether somebody looks on: at a notebook or a terminal. KIT_WATCHED, 0 or 1, says it for processes below."""
    if "KIT_WATCHED" in os.environ:
        return os.environ["KIT_WATCHED"] == "1"
    return "ipykernel" in sys.modules or bool(sys.stderr and sys.stderr.isatty())


class Lines:
    """A line a minute, for a log file that nobody looks at while it grows."""

    def __init__(self, steps, what, total, start):
        self.steps, self.what, self.start, self.more = steps, what, start, ""
        self.total = f" of {total:,}" if total else ""

    def set_postfix_str(self, text, refresh=False):
        self.more = f", {text}"

    def __iter__(self):
        told = time.monotonic()
        for count, step in enumerate(self.steps, self.start + 1):
            yield step
            if time.monotonic() - told >= MINUTE and not rank():
                told = time.monotonic()
                print(f"{self.what}: {count:,}{self.total}{self.more}", file=sys.stderr, flush=True)

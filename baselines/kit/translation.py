"""The messages of this notebook in its language: each is looked up by its English text."""

import builtins
import re
import sys
from functools import wraps

PLACE = re.compile(r"\{(\d+)\}")  # {0}, {1}, …: what differs from message to message


def translator(table):
    """A function that translates a text by a table, {English template: translation}. What stands at a template's {0},
    {1}, … is translated too. A line that no template matches stays English."""
    patterns = []
    for template in sorted(table, key=lambda template: len(PLACE.sub("", template)), reverse=True):  # the closest first
        parts = PLACE.split(template)  # text, number, text, …
        parts[::2] = map(re.escape, parts[::2])
        parts[1::2] = [f"(?P<_{number}>.*?)" for number in parts[1::2]]
        patterns.append((re.compile("".join(parts)), table[template]))

    def translate(text):
        for pattern, translation in patterns:
            if found := pattern.fullmatch(text):
                return PLACE.sub(lambda place: translate(found[f"_{place[1]}"]), translation)
        return "\n".join(map(translate, text.split("\n"))) if "\n" in text else text

    return translate


def translate_messages(names, table):
    """Makes the functions that have these global names print, and name their progress, as the table says. What errors
    say is translated too, where there is a notebook."""
    translate = translator(table)

    def translated_print(*values, **options):
        builtins.print(*(translate(value) if isinstance(value, str) else value for value in values), **options)

    names["print"] = translated_print
    progress = names["progress"]
    names["progress"] = wraps(progress)(lambda steps, what, *more: progress(steps, translate(what), *more))
    if "ipykernel" in sys.modules:
        from IPython import get_ipython

        if shell := get_ipython():
            translate_errors(translate, shell)


def translate_errors(translate, shell):
    """Translates what an error says before IPython shows it. The error itself changes: `grader check` reads it too."""
    show_error = shell.showtraceback

    def showtraceback(exc_tuple=None, *args, **options):
        error = (exc_tuple or sys.exc_info())[1]
        if error is not None and error.args and isinstance(error.args[0], str):
            error.args = (translate(error.args[0]), *error.args[1:])
        return show_error(exc_tuple, *args, **options)

    shell.showtraceback = showtraceback

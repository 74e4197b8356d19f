"""The parameters of a master that runs as a script: python baselines/01_gan.py --preset cpu --set steps=500"""

import argparse
import ast
import sys


def value_of(text):
    """A setting's value as Python writes it (4e-4, True, (1, 2)), else the text itself, for example a path. A folder
    may be called 2024_11_27, which Python reads as a number."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return text if type(value) is int and str(value) != text else value


def read_settings(pairs):
    """{name: value} of texts like steps=500. Raises ValueError."""
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise ValueError(f"{wrong[0]!r} is not of the form NAME=VALUE")
    return {name: value_of(text) for name, _, text in (pair.partition("=") for pair in pairs)}


def read_parameters(presets, arguments=None):
    """(preset, overrides) of a command line."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without × goes on all the same
    parser = argparse.ArgumentParser(description="Trains this baseline and writes its 1,000 pictures.")
    parser.add_argument("--preset", choices=presets, default="course", help="the settings to start from")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="override a setting")
    given = parser.parse_args(arguments)
    try:
        return given.preset, read_settings(given.set)
    except ValueError as error:
        parser.error(str(error))

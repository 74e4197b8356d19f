"""The kinds of values that settings have."""

KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text in quotes",
    tuple: "numbers in parentheses",
}


def as_kind(name, value, kind):
    """A setting's value as its type `kind`: 1e4 steps are 10,000. Raises SystemExit where it is of another type."""
    fits = isinstance(value, (int, float) if kind is float else kind) and isinstance(value, bool) == (kind is bool)
    if fits or (kind is bool and isinstance(value, int)):
        return value
    if (kind is int and isinstance(value, float) and value.is_integer()) or (kind is tuple and isinstance(value, list)):
        return kind(value)
    raise SystemExit(f"{name} is {value!r}: it must be {KINDS[kind]}")

"""The kinds of values that settings have."""

KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text in quotes",
    tuple: "numbers in parentheses",
}
DIVISORS = ("_every", "n_critic", "batch_size", "accumulate")  # names, or their ends, of what training divides by


def as_kind(name, value, default):
    """A setting's value as the type of its default: 1e4 steps are 10,000, and a folder may be called 2024. Raises
    SystemExit where it is of another type, or where training would divide by 0; with a default of 0, as 07 has one, it
    does not divide."""
    kind = type(default)
    if name.endswith(DIVISORS) and isinstance(value, (int, float)) and value < min(1, default):
        raise SystemExit(f"`{name}` is {value}: set it to 1 or more")
    fits = isinstance(value, (int, float) if kind is float else kind) and isinstance(value, bool) == (kind is bool)
    if fits or (kind is bool and isinstance(value, int)):
        return value
    if (kind is int and isinstance(value, float) and value.is_integer()) or (kind is tuple and isinstance(value, list)):
        return kind(value)
    if kind is str and type(value) is int:  # a command line cannot tell it from a number
        return str(value)
    raise SystemExit(f"{name} is {value!r}: it must be {KINDS[kind]}")


def check_known(name, value, known):
    """Raises SystemExit for a setting's value that is not among the known ones."""
    if value not in known:
        raise SystemExit(f"`{name}` is {value!r}: use one of {', '.join(map(repr, known))}")

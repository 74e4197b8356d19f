# %% [markdown]
# ## The labels
#
# What a face shows stands in a table beside the pictures: `tags.csv` (`12,aqua hair blue eyes`), or `attributes.csv`
# (`file,hair_colour,…`), which the drawn faces come with. Without a table, folders are the classes: `aqua/1.jpg`.


# %%
import re


def read_table(text, attribute):
    """What a tags.csv or an attributes.csv tells of an attribute, by the stem of the picture's name: {"12": "aqua"}."""
    rows = [row for row in csv.reader(text.splitlines()) if len(row) > 1]
    if rows and rows[0][0] == "file":  # a column an attribute
        column = next((i for i, name in enumerate(rows[0]) if name.startswith(attribute)), None)
        known = {row[0]: row[column] for row in rows[1:] if len(row) > column} if column else {}
    else:  # "aqua hair blue eyes": the word before the attribute
        found = {row[0]: re.search(rf"(\w+) {attribute}", row[1]) for row in rows}
        known = {file: match[1] for file, match in found.items() if match}
    return {Path(file).stem: value for file, value in known.items()}


def read_labels(source, names, attribute="hair", only=""):
    """The class of each named picture of a folder or zip, a number or −1 where there is none, [N]; and their names.

    `attribute` says what the classes are of: "hair" or "eye" of a tags.csv, the beginning of a column's name in an
    attributes.csv; "" puts all into one class. `only` names the classes to take, separated by commas, in the order of
    their numbers; "" takes all, sorted. Raises ValueError where that leaves fewer than two.
    """
    if not attribute:
        return torch.zeros(len(names), dtype=torch.long), ["face"]
    archive = zipfile.ZipFile(source) if source.is_file() else None
    files = archive.namelist() if archive else [str(path) for path in source.rglob("*.csv")]
    table = next((file for file in sorted(files) if Path(file).name in ("tags.csv", "attributes.csv")), None)
    if table:
        text = (archive.read(table) if archive else Path(table).read_bytes()).decode("utf-8-sig")  # Excel adds a mark
        known = read_table(text, attribute)
        values = [known.get(Path(name).stem) for name in names]
    else:
        root = Path() if archive else source
        values = [Path(name).relative_to(root).parent.name for name in names]
    found = sorted({value for value in values if value})
    classes = [name.strip() for name in only.split(",") if name.strip()] or found
    if len(found) < 2 and table:
        raise ValueError(f"{table} tells no two classes of {attribute!r} apart in {source}: set another `attribute`")
    if len(found) < 2:
        raise ValueError(
            f"{source} has no labels: put a tags.csv (1,blue hair green eyes) beside the pictures, or each class into "
            "a folder of its own"
        )
    if len(classes) < 2 or set(classes) - set(found):
        raise ValueError(f"`classes` is {only!r}: name two or more of {', '.join(found)}")
    return torch.tensor([classes.index(value) if value in classes else -1 for value in values]), classes

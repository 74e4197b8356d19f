# %% [markdown]
# ## The labels
#
# What a face shows stands in a table beside the pictures: `tags.csv` (`12,aqua hair blue eyes`), or `attributes.csv`
# (`file,hair_colour,…`), which the drawn faces come with. Without a table, folders are the classes: `cats/1.jpg`.


# %%
import re


def read_labels(source, names, attribute="hair"):
    """The class of each named picture of a folder or zip, as numbers [N], −1 where nothing is known; and the classes'
    names, sorted. `attribute` chooses among what a table tells, "hair" or "eye"."""
    archive = zipfile.ZipFile(source) if source.is_file() else None
    files = archive.namelist() if archive else [str(path) for path in source.rglob("*.csv")]
    table = next((file for file in sorted(files) if Path(file).name in ("tags.csv", "attributes.csv")), None)
    if table:
        text = archive.read(table).decode() if archive else Path(table).read_text()
        header, *rows = csv.reader(text.splitlines())
        if header[0] == "file":  # a column an attribute
            column = next(i for i, name in enumerate(header) if name.startswith(attribute))
            known = {Path(row[0]).stem: row[column] for row in rows}
        else:  # "aqua hair blue eyes": the word before the attribute
            found = {row[0]: re.search(rf"(\w+) {attribute}", row[1]) for row in [header, *rows]}
            known = {stem: match[1] for stem, match in found.items() if match}
        values = [known.get(Path(name).stem) for name in names]
    else:
        values = [Path(name).parent.name for name in names]
    classes = sorted({value for value in values if value})
    if len(classes) < 2:
        raise ValueError(
            f"{source} tells no classes apart: put a tags.csv (1,blue hair green eyes) beside the pictures, or each "
            "class into a folder of its own"
        )
    return torch.tensor([classes.index(value) if value else -1 for value in values]), classes


labels, classes = read_labels(source, names, settings.attribute)
faces, labels = faces[labels >= 0], labels[labels >= 0].to(device)
print(f"{len(classes)} classes: " + ", ".join(f"{name} {(labels == i).sum()}" for i, name in enumerate(classes)))

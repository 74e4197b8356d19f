# %% [markdown]
# ## The faces
#
# Every picture is read once, shrunk to 64×64 and kept as bytes: all 71,314 faces are 876 MB, which fits on any GPU.
# Reading JPEGs again in every epoch, as a `DataLoader` does, would keep a fast GPU waiting for two slow CPU cores.

# %%
PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp")


def find_faces(given=""):
    """The folder or zip to read faces from: the given one, else the largest set in the usual places."""
    if given:
        if not Path(given).exists():
            raise FileNotFoundError(f"no faces at {given!r}: set `faces` to a folder or a zip of face pictures")
        return Path(given)
    places = {"/kaggle/input": 4, "/content/drive/MyDrive": 2, "/content": 2, ".": 2, "..": 1}  # how deep to look
    for place, depth in places.items():
        found = {}  # folder or zip: its size, the number of pictures or of bytes
        for folder, folders, names in os.walk(place):
            folders[:] = [name for name in folders if name not in ("runs", "outputs") and name[0] not in "._"]
            if len(Path(folder).relative_to(place).parts) >= depth:
                folders.clear()
            found[Path(folder)] = sum(name.lower().endswith(PICTURE_ENDINGS) for name in names)
            found |= {Path(folder, name): 10**6 for name in names if name in ("faces.zip", "MLHW_6.zip")}
        best = max(found, key=found.get, default=None)
        if best and found[best] >= 1000:
            return best
    raise FileNotFoundError(
        "found no face set. Kaggle: Add Input > a data set of anime faces. Colab: upload faces.zip to /content or to "
        "your Drive. Here: python -m data render faces, or python -m data fetch for the course's own."
    )


def read_faces(source, size=64):
    """Every picture of a folder or zip, in numeric order: a uint8 tensor [N, 3, size, size], and the N names."""
    archive = zipfile.ZipFile(source) if source.is_file() else None
    names = archive.namelist() if archive else [str(path) for path in source.rglob("*")]
    names = [name for name in names if name.lower().endswith(PICTURE_ENDINGS)]
    names.sort(key=lambda name: (len(Path(name).stem), Path(name).stem, name))  # 2.jpg before 10.jpg

    def read(name):
        try:
            # a ZipFile reads one member at a time; decoding, the slow part, runs in parallel
            with Image.open(io.BytesIO(archive.read(name)) if archive else name) as picture:
                return np.asarray(picture.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            warnings.warn(f"left out {name}: {error}", stacklevel=2)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        pictures = list(tqdm(pool.map(read, names), "reading faces", len(names), mininterval=5))
    readable = {name: picture for name, picture in zip(names, pictures, strict=True) if picture is not None}
    if not readable:
        raise ValueError(f"{source} holds no readable picture")
    pictures = torch.from_numpy(np.stack([*readable.values()]))
    return pictures.permute(0, 3, 1, 2).contiguous(), [*readable]  # [N, size, size, 3] -> [N, 3, size, size]


def batch_indices(count, batch_size, seed, step=0):
    """Endless index tensors [batch_size] into `count` pictures, each epoch in a new order that depends on the seed
    alone: starting at `step` gives what an uninterrupted run would see there. Each of several processes gets a part."""
    steps_per_epoch = count // batch_size
    while True:
        epoch, position = divmod(step, steps_per_epoch)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed + epoch)).to(device)
        for i in range(position, steps_per_epoch):
            yield order[i * batch_size : (i + 1) * batch_size][RANK::PROCESSES]
            step += 1


def as_input(pictures):
    """Bytes 0 … 255 become −1 … 1, the range of tanh."""
    return pictures.float() / 127.5 - 1


def face_batches(faces, batch_size, seed, step=0):
    """Endless batches [batch_size, 3, 64, 64] in −1 … 1, in the order of `batch_indices`."""
    for indices in batch_indices(len(faces), batch_size, seed, step):
        yield as_input(faces[indices])


source = find_faces(settings.faces)
faces, names = read_faces(source)
faces = faces.to(device)
if len(faces) < settings.batch_size:
    raise ValueError(f"{source} holds {len(faces)} faces, fewer than one batch of {settings.batch_size}")
print(f"{len(faces):,} faces from {source}, {faces.numel() / 1e6:.0f} MB on {device}")

# %% [markdown]
# ## Samples of every class
#
# Each class gets as many of the 1,000 samples as the others, one more or less, and `labels.csv` says which picture was
# asked to be what (`1.jpg,aqua`). The first samples fill the grid: a row a class.

# %%
import IPython

SHOWN = 8 * len(classes)  # of the samples, in a grid with 8 columns


def balanced_labels(count, n_classes, row=8):
    """Labels [count], as many of each class as possible: first `row` of each class in turn, then one of each."""
    rows = torch.arange(n_classes).repeat_interleave(row)
    return torch.cat([rows, torch.arange(count) % n_classes])[:count]


def write_labels(folder, labels, classes):
    """labels.csv in a folder: the class that each of 1.jpg, 2.jpg, … was asked to be."""
    rows = [(f"{number}.jpg", classes[label]) for number, label in enumerate(labels.tolist(), 1)]
    with open(folder / "labels.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("file", "label"), *rows])


def show_classes(pictures, classes, path):
    """Shows and saves a grid of pictures [rows × columns, 3, H, W] with a class a row, its name beside it."""
    columns, (height, width) = len(pictures) // len(classes), pictures.shape[2:]
    figure, axes = plt.subplots(figsize=(1 + 0.6 * columns, 0.6 * len(classes) * height / width), layout="constrained")
    axes.imshow(picture_grid(pictures, columns))
    axes.set_yticks([(row + 0.5) * (height + 2) for row in range(len(classes))], classes)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.show()


def animate(frames, path, most=24, limit=2e6):
    """Shows and saves at most `most` of the frames (PIL pictures) as an animated GIF, shrunk to `limit` bytes."""
    frames = [frames[i] for i in np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int)]
    scale, gif = 1.0, None
    while gif is None or len(gif.getvalue()) > limit:
        size = [round(scale * side) for side in frames[0].size]
        first, *others = [frame.convert("RGB").resize(size, Image.Resampling.BOX).quantize() for frame in frames]
        gif, scale = io.BytesIO(), 0.8 * scale
        first.save(gif, "GIF", save_all=True, append_images=others, duration=[250] * len(others) + [2000], loop=0)
    write_safely(path, lambda path: path.write_bytes(gif.getvalue()))
    display(IPython.display.Image(data=gif.getvalue()))


fixed_labels = balanced_labels(1000, len(classes)).to(device)
write_labels(run, fixed_labels, classes)

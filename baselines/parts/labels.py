# %% include: read_labels

# %%
labels, classes = read_labels(source, names, settings.attribute, getattr(settings, "classes", ""))
faces, labels = faces[labels >= 0], labels[labels >= 0].to(device)
if len(faces) < settings.batch_size:
    raise ValueError(f"{len(faces)} faces have a label, fewer than one batch of {settings.batch_size}")
print(f"{len(classes)} classes: " + ", ".join(f"{name} {(labels == i).sum()}" for i, name in enumerate(classes)))

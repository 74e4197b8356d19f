# %% [markdown]
# ## What it learned
#
# The losses first. In a vanilla GAN they say only which of the two is ahead: read them for trouble (D's loss at 0 means
# that G learns nothing more), not for quality.

# %%
with open(run / "log.csv", newline="") as file:
    header, *rows = csv.reader(file)
columns = dict(zip(header, np.array(rows, float).T, strict=True))
figure, axes = plt.subplots(figsize=(9, 3), layout="constrained")
for name, values in columns.items():
    if name.startswith("loss"):
        window = max(1, len(values) // 200)  # a running mean: single steps are noise
        smooth = np.convolve(values, np.ones(window) / window, "valid")
        axes.plot(columns["step"][window - 1 :], smooth, label=name)
axes.set(xlabel="step", ylabel="loss")
axes.legend()
figure.savefig(run / "losses.png", dpi=120)
plt.show()

# %% [markdown]
# ## What you hand in
#
# 1,000 pictures `1.jpg` … `1000.jpg` of 64×64, as a folder and as a flat `submission.tgz`. Score them with
# `python -m grader score outputs`.

# %%
pictures = sample(average_G, fixed_z)  # [1000, 3, 64, 64]
on_kaggle = Path("/kaggle/working").exists()  # which lets only 500 files be downloaded: the .tgz has to do there
outputs = Path("/tmp" if on_kaggle else ".", settings.outputs)
outputs.mkdir(parents=True, exist_ok=True)
pack(pictures, run / "submission.tgz")
with tarfile.open(run / "submission.tgz") as archive:  # the folder holds exactly what the archive holds
    for entry in archive:
        (outputs / entry.name).write_bytes(archive.extractfile(entry).read())
size = (run / "submission.tgz").stat().st_size / 1e6
print(f"{len(pictures):,} pictures in {outputs}/ and in {run / 'submission.tgz'} ({size:.2f} MB, the limit is 2 MB)")
display(picture_grid(pictures[:SHOWN]))

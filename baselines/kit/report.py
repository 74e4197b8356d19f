"""The course's report: the gradient norms of two settings, drawn side by side."""

import csv
import json
from contextlib import suppress
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from kit.run import fetch_run
from kit.samples import show_plot


def plot_norms(run, *others):
    """Draws the norm of D's gradient (log scale) at each layer, from low to high: the median over the recorded steps,
    and the band between the quartiles. `others` are the folders of other runs; one that is not there is named in a
    line. Saves grad_norms.png in the run's folder."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    folders = [run.folder, *(run_beside(Path(other), run.folder) for other in others)]
    settings = [setting_of(folder) for folder in folders]
    for folder, setting in zip(folders, settings, strict=True):
        label = f"{setting} ({folder.name})" if settings.count(setting) > 1 else setting
        norms = read_norms(folder / "grad_norms.csv")  # [steps, layers]
        if not norms.size:
            print(f"{folder}/grad_norms.csv has no norms yet: train that notebook too, and run this cell again")
            continue
        low, median, high = np.quantile(norms, [0.25, 0.5, 0.75], axis=0)
        layers = np.arange(1, len(median) + 1)
        (line,) = axes.plot(layers, median, marker="o", label=label)
        axes.fill_between(layers, low, high, alpha=0.2, color=line.get_color())
        ratio = median.max() / median.min() if median.min() > 0 else np.inf  # 0 where float32 loses it
        print(f"{label}: largest over smallest layer {ratio:.3g}")
    axes.set(yscale="log", xlabel="layer of D, from the picture up", ylabel="L2 norm of the gradient")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if axes.lines:
        axes.legend()
    counts = {len(line.get_xdata()) for line in axes.lines}
    if len(counts) > 1:
        found = ", ".join(map(str, sorted(counts)))
        print(f"D has a different number of layers in each run ({found}): set `layers` to the same number")
    show_plot(figure, run.folder / "grad_norms.png")


def run_beside(folder, beside):
    """Where another run lies: in its folder, or beside the run at hand (on a Drive); there or here its zip may lie."""
    beside = beside.with_name(folder.name)
    for place in (folder, beside):
        if (place / "grad_norms.csv").exists():
            return place
    place = beside if beside.with_name(f"{beside.name}.zip").exists() else folder
    fetch_run(place)
    return place


def read_norms(path):
    """The norms in a grad_norms.csv: [steps, layers], of the steps that have all layers."""
    steps = {}
    if path.exists():
        with open(path, newline="", encoding="utf-8-sig") as file:  # Excel adds a mark
            for row in csv.DictReader(file):
                with suppress(TypeError, ValueError):  # a row is torn where a session died, or is still being written
                    norm = float(row["norm"])
                    steps.setdefault(row["step"], []).append(norm)
    layers = max(map(len, steps.values()), default=0)
    return np.array([norms for norms in steps.values() if len(norms) == layers])


def setting_of(folder):
    """What a run's config.json says of how D's slope is bounded."""
    config = folder / "config.json"
    settings = json.loads(config.read_text(encoding="utf-8")) if config.exists() else {}
    if "penalty" in settings:
        return f"gradient penalty λ = {settings['penalty']:g}"
    if "clip" not in settings:
        return folder.name
    clipping = f"weight clipping c = {settings['clip']:g}"
    return clipping if settings.get("batch_norm", True) else f"{clipping} without BatchNorm"

"""Draws sets of pictures in the order of their score: python -m studies.order ARCHIVE... --output order.jpg"""

from __future__ import annotations

import click
import numpy as np
from PIL import Image, ImageDraw

from grader import console
from grader.features import imagenet
from grader.features.reference import shipped_reference
from grader.files import atomic
from grader.inputs.submission import read_submission
from grader.metrics.frechet import frechet_distance

SHOWN, MARGIN = 14, 72  # pictures of each set; pixels on the left for its distance


def in_order(sets: list[np.ndarray]) -> Image.Image:
    """The first pictures of each set uint8 [N, 64, 64, 3], a row each, with its distance: the farthest set first."""
    real, rows = shipped_reference().statistics, []
    for pictures in sets:
        strip = np.concatenate(list(pictures[:SHOWN]), axis=1)  # [64, 14 · 64, 3]
        rows.append((frechet_distance(imagenet.describe(pictures), real), strip))
    sheet = Image.new("RGB", (MARGIN + 64 * SHOWN, 66 * len(rows)), "white")
    for number, (distance, strip) in enumerate(sorted(rows, key=lambda row: -row[0])):
        sheet.paste(Image.fromarray(strip), (MARGIN, 66 * number))
        ImageDraw.Draw(sheet).text((8, 66 * number + 24), f"{distance:,.0f}", fill="black", font_size=20)
    return sheet


@click.command(cls=console.Command, help=__doc__)
@click.argument("archives", nargs=-1, required=True, type=console.path(exists=True))
@click.option("--output", required=True, type=console.path(), callback=console.ending(".jpg"))
def main(archives, output):
    sheet = in_order([read_submission(archive).pictures for archive in archives])
    with atomic(output) as unfinished:
        sheet.save(unfinished, quality=85)


if __name__ == "__main__":
    console.run(main, "python -m studies.order")

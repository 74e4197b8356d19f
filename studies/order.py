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


@click.command(cls=console.Command, help=__doc__)
@click.argument("archives", nargs=-1, required=True, type=console.path(exists=True))
@click.option("--output", required=True, type=console.path(), callback=console.ending(".jpg"))
def main(archives, output):
    rows = []
    for archive in archives:
        pictures = read_submission(archive).pictures
        distance = frechet_distance(imagenet.describe(pictures), shipped_reference().statistics)
        rows.append((distance, np.concatenate(list(pictures[:SHOWN]), axis=1)))  # [64, 14 · 64, 3]
    rows.sort(key=lambda row: -row[0])
    sheet = Image.new("RGB", (MARGIN + 64 * SHOWN, 66 * len(rows)), "white")
    for number, (distance, strip) in enumerate(rows):
        sheet.paste(Image.fromarray(strip), (MARGIN, 66 * number))
        ImageDraw.Draw(sheet).text((8, 66 * number + 24), f"{distance:,.0f}", fill="black", font_size=20)
    with atomic(output) as unfinished:
        sheet.save(unfinished, quality=85)


if __name__ == "__main__":
    console.run(main, "python -m studies.order")

"""Takes the pictures of the pages that the docs show: python -m studies.screenshots [DEMO] [OUTPUT].

DEMO is the folder that `make demo` fills. All pictures are made by our generator, or by the demo's, which
learns from them. Without Chromium the pages alone are written, into DEMO/pages.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from pathlib import Path

import click
import numpy as np
from PIL import Image

import grader
from grader import console, grading, history, leaderboard, report
from grader.files import natural, write_bytes
from grader.inputs.images import decode
from grader.inputs.runs import checkpoints, read_run
from grader.inputs.submission import COUNT, read_submission
from grader.metrics.registry import NAMES
from grader.report import board

LARGEST = 150_000  # bytes of a picture in the docs
HEIGHTS = {"report": (1500, 1500), "leaderboard": (560, 1500)}  # shown of each page, on a desk and on a phone
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def write_pages(demo: Path, folder: Path) -> None:
    """report.html of the demo's run, and leaderboard.html of a class that is made up of its pictures."""
    faces, run = demo / "faces", demo / "gan"
    metrics = [name for name in NAMES if name not in ("fid", "lbpcascade")]  # those that need a download
    history.score_history(run, faces)
    score = grader.score(run / "submission.tgz", faces, metrics=metrics, offline=True)
    report.write(score, folder, read_run(run))
    write_board(demo, folder, tuple(metrics))


def write_board(demo: Path, folder: Path, metrics: tuple[str, ...]) -> None:
    """The board of a made-up class. It gives no tiers on the demo's scale: here they are shown as if it were the
    course's, so that the docs show what a board looks like."""
    _hand_in(demo, folder / "class")
    roster, page = folder / "roster.csv", folder / "leaderboard.html"
    roster.write_text("id,name\nb01,Ada\nb02,Ben\nb03,Cleo\nb04,Dan\nb05,Eve\nb06,Finn\nb07,Gwen\n", encoding="utf-8")
    options = grading.Options(demo / "faces", metrics, offline=True)
    results = leaderboard.make(folder / "class", page, options, roster=roster)
    for result in results:
        for verdict in result.get("verdicts", []):
            verdict["family"] = verdict["family"].replace("drawn", "embedded")
    board.write(results, page)


def _hand_in(demo: Path, folder: Path) -> None:
    """A class: the demo's GAN at three steps, pictures of two other students, known faces, 999 pictures."""
    shutil.rmtree(folder, ignore_errors=True)
    early, *_, middle, late = (read_submission(path).pictures for path in checkpoints(demo / "gan"))
    files = sorted((demo / "faces").glob("*.png"), key=lambda path: natural(path.name))[:COUNT]
    known = np.stack([decode(path.read_bytes(), 64)[0] for path in files])
    shared = np.concatenate([late[::-2], early[: COUNT // 2]])
    handed_in = {"b01": late, "b02": early, "b03": shared, "b04": known, "b05": late[: COUNT - 1], "b06": middle}
    for name, pictures in handed_in.items():
        (folder / name).mkdir(parents=True)
        for number, picture in enumerate(pictures, 1):
            Image.fromarray(picture).save(folder / name / f"{number}.jpg", quality=90)


def take(page: Path, width: int, height: int, dark: bool = False) -> Image.Image:
    """The top of a page as Chromium shows it."""
    browser = next(filter(None, map(shutil.which, CHROMIUM)))
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        flags += ["--blink-settings=preferredColorScheme=0"] * dark
        size, shot = f"--window-size={width},{height}", Path(folder, "shot.png")
        flags += [f"--user-data-dir={folder}/profile"]
        command = [browser, *flags, size, f"--screenshot={shot}", page.resolve().as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        return Image.open(shot).convert("RGB")


def write_pictures(folder: Path, output: Path) -> None:
    """Of each page one picture of a wide screen, and one of two phones, the second of them dark."""
    for name, (height, narrow) in HEIGHTS.items():
        page = folder / f"{name}.html"
        save(take(page, 1200, height), output / f"{name}.jpg")
        save(take(page, 1200, height, dark=True), output / f"{name}_dark.jpg")
        phones = Image.new("RGB", (2 * 390 + 20, narrow), "gray")
        for place, dark in enumerate((False, True)):
            phones.paste(take(page, 390, narrow, dark), (410 * place, 0))
        save(phones, output / f"{name}_narrow.jpg")


def save(picture: Image.Image, path: Path) -> None:
    """As JPEG, of the highest quality that is not over LARGEST."""
    for quality in range(90, 20, -5):
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality, optimize=True, progressive=True)
        if len(file.getvalue()) <= LARGEST:
            break
    write_bytes(path, file.getvalue())


@click.command(cls=console.Command, help=__doc__)
@click.argument("demo", type=console.path(exists=True, file_okay=False), default="runs/demo")
@click.argument("output", type=console.path(file_okay=False), default="docs/screenshots")
def main(demo: Path, output: Path):
    folder = demo / "pages"
    write_pages(demo, folder)
    if any(map(shutil.which, CHROMIUM)):
        write_pictures(folder, output)
    else:
        click.echo(f"no Chromium: the pages are in {folder}")


if __name__ == "__main__":
    console.run(main, "python -m studies.screenshots")

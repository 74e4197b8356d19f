"""`python -m grader leaderboard`."""

from __future__ import annotations

from collections import Counter

import click

from grader import console
from grader.cli import options
from grader.metrics.registry import NAMES


@click.command(short_help="Grade every submission of a school class into one table.")
@click.argument("submissions", type=console.path(exists=True, file_okay=False))
@click.option(
    "-o",
    "--output",
    type=console.path(dir_okay=False),
    default="leaderboard.html",
    show_default=True,
    help="The page; the same goes beside it as .csv and .json.",
)
@options.reference
@click.option(
    "--metrics",
    callback=options.metrics,
    default=",".join(NAMES),
    metavar="LIST",
    help="Only these, as for `score`.  [default: all]",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="How many to grade at a time.  [default: one for each core]",
)
@click.option("--dask", "address", metavar="ADDRESS", help="Grade on a Dask cluster whose workers see the same files.")
@click.option(
    "--roster",
    type=console.path(exists=True, dir_okay=False),
    help="The students: a CSV file with the columns id and name. Uploads are found by the id in their names.  "
    "[default: each upload is a student]",
)
@click.option(
    "--points",
    type=console.path(exists=True, dir_okay=False),
    help="Points per tier and the deadline, as grader/points.toml has them.  [default: that file]",
)
@click.option(
    "--public",
    type=console.path(dir_okay=False),
    help="Also a page with codes for names.  [default: none]",
)
@click.option(
    "--reports",
    type=console.path(file_okay=False),
    help="Also a folder with a page for each student.  [default: none]",
)
@options.offline
def leaderboard(submissions, *, output, reference, metrics, jobs, address, roster, points, public, reports, offline):
    """Grades all of SUBMISSIONS, a folder with an archive or a folder of pictures for each student.

    Writes a page that sorts by any column, and the same as .csv and .json. A submission that cannot be graded is a row
    that says why, and stops no other. About 14 seconds for each on one core.

    Results are kept in OUTPUT.parts as they come: stopped and started again, it goes on where it was, and grades what
    is new or has changed.

    With --roster or --points it also writes OUTPUT's name with .grades.csv, .moodle.csv and .canvas.csv: the grades,
    for a spreadsheet, Moodle's import, and Canvas or NTU COOL. A grade that you have to decide is an empty cell in the
    first, and not in the others. The latest upload of each student that can be graded counts.

    \b
    Exit codes:
      0    the page was written, whatever the submissions hold
      1    SUBMISSIONS holds none
      2    wrong use, or a file that cannot be read or written
      130  stopped by Ctrl-C; start it again to go on

    \b
    Examples:
      python -m grader leaderboard submissions/ -o leaderboard.html
      python -m grader leaderboard submissions/ --roster roster.csv
      python -m grader leaderboard submissions/ --dask tcp://127.0.0.1:8786
    """
    from grader.errors import counted
    from grader.grading import Options
    from grader.leaderboard import make
    from grader.report import board, gradebook
    from grader.results import BROKEN, MISSING, UNSURE

    console.only_with("processes of this machine, not for --dask", not address, jobs="--jobs")
    options = Options(reference, metrics, offline)
    wanted = {"roster": roster, "points": points, "public": public, "reports": reports}
    with console.bars() as progress:
        results = make(submissions, output, options, jobs=jobs, address=address, **wanted, progress=progress)
    count = Counter(result["status"] for result in results)
    nothing = f"; {count[MISSING]} on the roster handed nothing in" if count[MISSING] else ""
    if count[UNSURE]:
        nothing += f"; of {count[UNSURE]} nobody can tell which upload is theirs"
    submitted = count.total() - count[MISSING] - count[UNSURE]
    click.echo(f"{counted(submitted, 'submission')}, {count[BROKEN]} of which could not be graded{nothing}", err=True)
    if sharing := sum(bool(result.get("shares")) for result in results):
        console.note(f"{sharing} of them share pictures with another, and keep their points: read the remarks")
    more = [*(gradebook.beside(output) if roster or points else []), *filter(None, (public, reports))]
    console.wrote(output, *board.beside(output), *more)

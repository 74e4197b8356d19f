"""The command line: reads arguments, calls, prints.

Each command imports what it needs, so that --help answers at once.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import click

METRICS = ("fd-anime", "afd", "kid", "manifold", "fid", "lbpcascade", "integrity")  # scoring's own, without its imports
PLOTS = (".png", ".svg", ".pdf")


class _Commands(click.Group):
    """Turns what a user can mend into lines on standard error, and an exit code."""

    def invoke(self, context):
        from grader.errors import GraderError

        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: _note(message)
            try:
                return super().invoke(context)
            except GraderError as error:
                _stop(error.exit_code, *error.problems)
            except click.UsageError as error:
                command = error.ctx.command_path if error.ctx else "python -m grader"
                _stop(2, f"{error.format_message()} See {command} --help")
            except BrokenPipeError:
                raise  # whoever read our output has seen enough
            except OSError as error:  # reading raises errors of ours: this is about something that we write
                where, reason = error.filename or "standard output", error.strerror or error
                _stop(2, f"{where}: cannot be written ({reason}): make room, or choose another --output")


def _metrics(_context, _option, text):
    if text is None:
        return METRICS
    chosen = tuple(name.strip() for name in text.split(","))
    if unknown := set(chosen) - set(METRICS):
        raise click.BadParameter(f"{', '.join(sorted(unknown))}: choose from {', '.join(METRICS)}.")
    return chosen


def _plot(_context, _option, path):
    if path.suffix.lower() not in PLOTS:
        raise click.BadParameter(f"{path}: choose a name that ends in {', '.join(PLOTS)}.")
    return path


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main():
    """Scores pictures of anime faces as NTU's machine learning homework 6 does: FID, AFD, and the baselines passed.

    \b
    Examples:
      python -m grader score outputs/
      python -m grader score --help

    \b
    Exit codes of every command:
      0    done
      1    what was handed in is not as it should be: a line for each problem
      2    wrong use, or a file that cannot be read or written: one line
      130  stopped by Ctrl-C
    """


@main.command(short_help="Score 1,000 pictures and say which baselines they pass.")
@click.argument("submission", type=click.Path(path_type=Path))
@click.option(
    "--reference",
    type=click.Path(path_type=Path, exists=True),
    help="Real faces to compare with: a folder, .zip or .tgz, what `reference` made of one, or pytorch-fid's .npz.  "
    "[default: the shipped statistics of the course's faces]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=".",
    show_default=True,
    help="Folder for report.json and report.html, made if it is not there.",
)
@click.option(
    "--metrics",
    callback=_metrics,
    metavar="LIST",
    help="Only these, separated by commas: fd-anime, afd, kid, manifold (precision, recall, density, coverage), fid, "
    "lbpcascade, integrity.  [default: all that can be had]",
)
@click.option(
    "--run",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder that a notebook's training wrote: its grad_norms.csv and history.csv are drawn on the page.",
)
@click.option(
    "--by-class",
    type=click.Path(path_type=Path, exists=True),
    help="Score each class of a conditional set by itself, against these labelled real faces: a folder or .zip with "
    "tags.csv or attributes.csv, or a folder a class.",
)
@click.option(
    "--attribute", default="hair", show_default=True, help="What of the tables' labels --by-class goes by: hair or eye."
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="What each picture was asked to show, in rows as 1.jpg,aqua under file,label.  [default: labels.csv in "
    "SUBMISSION]",
)
@click.option("--json", "as_json", is_flag=True, help="Print report.json to standard output instead of the table.")
@click.option("--loose", is_flag=True, help="Take 2 to 10,000 pictures of any name and size, shrunk to 64x64.")
@click.option("--offline", is_flag=True, help="Download nothing; use what is at hand.")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="A copy of pytorch-fid's Inception weights (91 MB).  [default: $GRADER_INCEPTION, or downloaded]",
)
@click.option(
    "--cascade",
    type=click.Path(path_type=Path),
    help="A copy of lbpcascade_animeface.xml.  [default: $GRADER_CASCADE, or downloaded]",
)
def score(submission, reference, output, run, as_json, loose, **options):
    """Scores SUBMISSION and says which baselines it passes. About 10 seconds on one core.

    SUBMISSION is a folder, .tgz, .tar or .zip of 1.jpg … 1000.jpg, 64x64 pixels each, or an .npz with one array uint8
    [1000, 64, 64, 3]. JPEG, PNG, WebP and BMP are told by their content. Nothing in it is unpacked to disk, unpickled
    or run.

    Prints a table of measures beside their thresholds, and notes to standard error; writes report.json, and
    report.html, which holds the pictures.

    FD-anime and AFD by the embedded network need nothing else. FID needs --reference and Inception's weights, AFD by
    lbpcascade its cascade: they are downloaded on first use, verified, and kept in ~/.cache or $GRADER_CACHE.

    \b
    Exit codes:
      0    scored, whatever the score
      1    SUBMISSION is not of this form: a line for each problem
      2    wrong use, or a file that cannot be read or written
      130  stopped by Ctrl-C; no report was written

    \b
    Examples:
      python -m grader score outputs/
      python -m grader score submission.tgz --reference faces/ --output report/
      python -m grader score outputs/ --by-class faces/ --attribute eye
      python -m grader score outputs/ --json --offline --metrics fd-anime,afd
    """
    from grader.report import page as report
    from grader.scoring import score as grade

    if options["labels"] and not options["by_class"]:
        raise click.UsageError("--labels is for --by-class FACES")
    _writable(output)
    if run:
        report.read_run(run)  # so that what is wrong with it shows now, not after the work
    result = grade(submission, reference, loose, _progress, **options)
    paths = report.write(result, output, run)

    for note in result.submission.notes:
        _note(note)
    for measure in result.measures:
        if measure.note:
            _note(f"{measure.measure} by {measure.by}: {measure.note}")
    if as_json:
        click.echo(report.as_json(result))
    else:
        from rich.console import Console
        from rich.text import Text

        console = Console(highlight=False)
        console.print(*report.as_tables(result), *report.sentences(result), sep="\n")
        for line in report.warnings(result):
            console.print(Text(line, "red"))
    _wrote(*paths)


@main.command(short_help="Plot the discriminator's gradient norms, layer by layer.")
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default="gradnorm.png",
    show_default=True,
    callback=_plot,
    help="The plot, a .png, .svg or .pdf; the numbers go beside it, as .csv.",
)
def gradnorm(runs, output):
    """Plots how long the discriminator's gradient is in each of its layers, one line for each of RUNS.

    RUNS are folders that the notebooks' training wrote. Their grad_norms.csv is read (step, layer, name, norm), and
    config.json for the name of the line: weight clipping c=0.01, gradient penalty λ=10.

    Prints a table of the median norm by layer, over the recorded steps, and writes the plot and a .csv with the
    quartiles. Norms are L2, of the gradient of D's loss by a layer's weights; they have no unit.

    \b
    Example:
      python -m grader gradnorm runs/wgan runs/wgan_gp -o gradnorm.png
    """
    from rich.console import Console

    from grader import gradient_norms as norms
    from grader.errors import whole

    read = [norms.read_run(path) for path in runs]
    norms.plot(read, output)
    with whole(output.with_suffix(".csv")) as unfinished:
        unfinished.write_text(norms.as_csv(read), encoding="utf-8", newline="")
    Console().print(norms.as_table(read))
    _wrote(output, output.with_suffix(".csv"))


@main.command(short_help="Score every checkpoint of a run and find the best.")
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--reference",
    type=click.Path(path_type=Path, exists=True),
    help="Real faces to compare with, as for `score`.  [default: the shipped statistics of the course's faces]",
)
@click.option("--pack", type=click.Choice(["best"]), help="Write that checkpoint's samples to RUN/submission.tgz.")
def history(run, reference, pack):
    """Scores the samples of every checkpoint in RUN, a folder that a notebook's training wrote, and marks the best.

    Reads RUN/samples/STEP.tgz, 1,000 pictures each, about 5 seconds for one. Best is the checkpoint with the lowest
    FD-anime; a GAN does not end at its best. Checkpoints that cannot be read are named and left out.

    Prints a table, and writes history.csv and history.png into RUN.

    \b
    Exit codes:
      0    scored
      1    RUN holds no samples that can be scored
      2    wrong use, or a file that cannot be read or written

    \b
    Example:
      python -m grader history runs/wgan --pack best
    """
    from rich.console import Console

    from grader import history as scored
    from grader.errors import whole
    from grader.features import anime as network
    from grader.inputs.submission import BadSubmission
    from grader.scoring import embedded_reference

    total = 1000 * len(scored.checkpoints(run))
    _writable(run)
    net = network.load()
    against = embedded_reference(reference, net, _progress)
    read = []
    for result in scored.score_run(run, net, against, _progress("checkpoints", total)):
        if isinstance(result, str):
            _note(result)
        else:
            read.append(result)
    if not read:
        raise BadSubmission(f"{run}: no checkpoint could be scored: train again")
    with whole(run / "history.csv") as unfinished:
        unfinished.write_text(scored.as_csv(read), encoding="utf-8")
    scored.plot(read, run / "history.png")
    if pack:
        scored.pack(scored.best(read), run / "submission.tgz")
    Console().print(scored.as_table(read, against))
    _wrote(run / "history.csv", run / "history.png", *([run / "submission.tgz"] if pack else []))


@main.command(short_help="Say of every TODO of a notebook whether it is done.")
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option(
    "--seconds",
    type=click.IntRange(1),
    default=120,
    show_default=True,
    metavar="SECONDS",
    help="How long one cell may take.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of name, status and hint instead.")
def check(notebook, seconds, as_json):
    """Runs the check cells of NOTEBOOK and prints a line for each TODO: done, wrong with a hint, not yet, or broken.

    The code runs at a small size on noise, in a process and a temporary folder of its own; NOTEBOOK stays as it is. It
    may do whatever you may do: check notebooks of strangers in a sandbox only.

    \b
    Exit codes:
      0    all TODOs are done
      1    some are not
      2    not one of our notebooks, or not to be read

    \b
    Example:
      python -m grader check notebooks/04_wgan_gp.ipynb
    """
    import json
    from dataclasses import asdict

    from grader import check as checks
    from grader.errors import printable

    todos = []
    for todo in checks.check_notebook(notebook, seconds):
        todos.append(todo)
        if not as_json:
            colour = {checks.DONE: "green", checks.NOT_YET: "yellow"}.get(todo.status, "red")
            click.echo(f"{click.style(f'{todo.status:8}', fg=colour)} {printable(todo.name)}")
            for line in todo.hint.splitlines():
                click.echo(f"         {printable(line)}")
    if as_json:
        click.echo(json.dumps([asdict(todo) for todo in todos], indent=2))
    sys.exit(any(todo.status != checks.DONE for todo in todos))


@main.command(short_help="Keep what faces are compared with in one file.")
@click.argument("faces", type=click.Path(path_type=Path, exists=True))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write, of about 4 MB.  [default: FACES.safetensors]",
)
def reference(faces, output):
    """Computes what --reference needs of FACES, and writes it to one file: mean and covariance of the embedded features
    of all faces, and the features of 1,000 of them.

    FACES is a folder, .zip, .tar or .tgz of 2 pictures or more, of any size and name, shrunk to 64x64. They are read in
    small batches: any number of them needs little memory. 1,000 take about 8 seconds. A file that is no picture is
    named and left out.

    \b
    Example:
      python -m grader reference faces.zip -o faces.safetensors
      python -m grader score outputs/ --reference faces.safetensors
    """
    from grader.features import anime as network
    from grader.features.reference import save_reference
    from grader.scoring import embedded_reference

    output = output or faces.with_name(f"{faces.stem}.safetensors")
    _writable(output.parent)
    made = embedded_reference(faces, network.load(), _progress)
    save_reference(output, made, f"{made.statistics.count:,} faces of {made.faces}")
    floor = "" if made.floor is None else f"; 1,000 real faces score {made.floor:.4g}"
    _wrote(output)
    _note(f"{made.statistics.count:,} faces, named {made.faces}{floor}")


@main.command("class", short_help="Grade every submission of a class into one table.")
@click.argument("submissions", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default="leaderboard.html",
    show_default=True,
    help="The page; the same goes beside it as .csv and .json.",
)
@click.option(
    "--reference",
    type=click.Path(path_type=Path, exists=True),
    help="Real faces to compare with, as for `score`.  [default: the shipped statistics of the course's faces]",
)
@click.option("--metrics", callback=_metrics, metavar="LIST", help="Only these, as for `score`.  [default: all]")
@click.option(
    "--jobs", type=click.IntRange(1), metavar="N", help="How many to grade at a time.  [default: one for each core]"
)
@click.option("--dask", "address", metavar="ADDRESS", help="Grade on a Dask cluster whose workers see the same files.")
@click.option("--offline", is_flag=True, help="Download nothing; use what is at hand.")
def class_(submissions, output, reference, metrics, jobs, address, offline):
    """Grades all of SUBMISSIONS, a folder with an archive or a folder of pictures for each student.

    Writes a page that sorts by any column, and the same as .csv and .json. A submission that cannot be graded is a row
    that says why, and stops no other. About 10 seconds for each on one core.

    Results are kept in OUTPUT.parts as they come: stopped and started again, it goes on where it was, and grades what
    is new or has changed.

    \b
    Exit codes:
      0    the page was written, whatever the submissions hold
      1    SUBMISSIONS holds none
      2    wrong use, or a file that cannot be read or written
      130  stopped by Ctrl-C; start it again to go on

    \b
    Examples:
      python -m grader class submissions/ -o leaderboard.html
      python -m grader class submissions/ --dask tcp://127.0.0.1:8786
    """
    import os

    from grader import leaderboard
    from grader.inputs.submission import BadSubmission
    from grader.scoring import prepare

    options = {
        "reference_source": reference.resolve() if reference else None,
        "metrics": tuple(metrics),
        "offline": offline,
    }
    jobs = jobs or os.cpu_count() or 1
    found = leaderboard.submissions(submissions.resolve())
    if not found:
        raise BadSubmission(
            f"{submissions}: holds no submission: put an archive or a folder of pictures for each student there"
        )
    yardstick = prepare(**options, progress=_progress)  # so that what is wrong shows now, and caches are filled
    for metric, note in yardstick.notes.items():
        _note(f"{metric}: {note}")
    executor = (lambda: leaderboard.dask(address)) if address else (lambda: leaderboard.local(jobs))
    parts = output.with_name(f"{output.name}.parts")
    done = _progress("submissions", len(found), "submissions")
    results = leaderboard.grade_all(found, parts, options, executor, done)
    paths = leaderboard.write(results, output)
    broken = sum(result["status"] == leaderboard.BROKEN for result in results)
    click.echo(f"{len(results):,} submissions, {broken} of which could not be graded", err=True)
    _wrote(*paths)


@main.command(short_help="Pack 1,000 pictures as the course takes them.")
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default="submission.tgz",
    show_default=True,
    help="The archive to write, of less than 2 MB.",
)
def pack(source, output):
    """Packs SOURCE, a folder or archive of 1,000 pictures, as the course takes them: a flat .tgz of 1.jpg … 1000.jpg,
    64x64 pixels each, of less than 2 MB. It is read back before it is put in place.

    Pictures of that form are packed byte for byte. Others become 1.jpg … 1000.jpg in the order of their names, are
    shrunk, and are stored at the highest JPEG quality that fits.

    \b
    Exit codes:
      0    packed
      1    SOURCE does not hold 1,000 pictures that can be read
      2    wrong use, or a file that cannot be written

    \b
    Example:
      python -m grader pack my_pictures/ -o submission.tgz
    """
    from grader.pack import pack as packed

    submission, quality = packed(source, output)
    how = "as they were" if quality is None else f"as JPEG of quality {quality}"
    _wrote(output)
    _note(f"{len(submission.pictures):,} pictures, {how}, {output.stat().st_size / 1e6:.2f} MB")


@main.command("slice", short_help="Cut grids of pictures into single ones.")
@click.argument("grids", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default="outputs",
    show_default=True,
    help="The folder to make, which must not be there.",
)
def slice_(grids, output):
    """Cuts GRIDS, pictures of many 64x64 pictures as torchvision's save_image and stylegan2_pytorch write them, into
    1.jpg, 2.jpg … in a new folder. Places that are all black or white at a grid's end are left out.

    \b
    Exit codes:
      0    cut
      1    one of GRIDS is no such grid; nothing was written
      2    wrong use, or a folder that cannot be written or is there already

    \b
    Example:
      python -m grader slice results/default/*-ema.jpg -o outputs
    """
    from grader.pack import cut

    count = cut(grids, output)
    click.echo(f"wrote {count:,} pictures to {_shown(output)}", err=True)


def run():
    """The whole program, with its exit code."""
    sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without ≤ and ✓ still gets its table
    try:
        sys.exit(main.main(prog_name="python -m grader", standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        _stop(130, "stopped: run the same command again")


def _writable(folder: Path) -> None:
    """Fails now rather than after the work. Raises OSError."""
    import tempfile

    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from None


def _shown(text) -> str:
    from grader.errors import printable

    return printable(str(text))


def _note(text) -> None:
    click.echo(f"note: {_shown(text)}", err=True)


def _wrote(*paths: Path) -> None:
    click.echo(f"wrote {', '.join(map(_shown, paths))}", err=True)


def _stop(code: int, *lines: str):
    click.echo("\n".join(map(_shown, lines)), err=True)
    sys.exit(code)


def _progress(what: str, total: int, unit: str = "pictures"):
    from tqdm import tqdm

    return tqdm(desc=what, total=total or None, unit=f" {unit}", leave=False, delay=1, file=sys.stderr).update

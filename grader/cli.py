"""The command line: reads arguments, calls, prints.

Exit codes: 0 scored, 1 bad submission, 2 wrong use, 130 stopped by the user.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

METRICS = ("fd-anime", "afd", "kid", "manifold", "fid", "lbpcascade", "integrity")  # scoring's own, without its imports


def _metrics(_context, _option, text):
    if text is None:
        return METRICS
    chosen = tuple(name.strip() for name in text.split(","))
    if unknown := set(chosen) - set(METRICS):
        raise click.BadParameter(f"{', '.join(sorted(unknown))}: choose from {', '.join(METRICS)}")
    return chosen


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main():
    """Scores pictures of anime faces as NTU's machine learning homework 6 does: FID, AFD, and the baselines passed."""


@main.command(short_help="Score 1,000 pictures and say which baselines they pass.")
@click.argument("submission", type=click.Path(path_type=Path))
@click.option(
    "--reference",
    type=click.Path(path_type=Path, exists=True),
    help="Real faces to compare with: a folder, .zip or .tgz, what `reference` made of one, or pytorch-fid's .npz. "
    "Without it, the shipped statistics of the course's faces.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=".",
    show_default=True,
    help="Folder for report.json and report.html.",
)
@click.option(
    "--metrics",
    callback=_metrics,
    help="Only these, separated by commas: fd-anime, afd, kid, manifold (precision, recall, density, coverage), fid, "
    "lbpcascade, integrity. All that can be had unless given.",
)
@click.option(
    "--run",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder that a notebook's training wrote: its gradient norms and its history go into the page.",
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
    help="What each picture was asked to show, in rows as 1.jpg,aqua under file,label. SUBMISSION's labels.csv unless "
    "given.",
)
@click.option("--json", "as_json", is_flag=True, help="Print report.json to standard output instead of the table.")
@click.option("--loose", is_flag=True, help="Take any number, names and sizes of pictures.")
@click.option("--offline", is_flag=True, help="Download nothing; use what is at hand.")
@click.option("--weights", type=click.Path(path_type=Path), help="A copy of pytorch-fid's Inception weights.")
@click.option("--cascade", type=click.Path(path_type=Path), help="A copy of lbpcascade_animeface.xml.")
def score(submission, reference, output, run, as_json, loose, **options):
    """Scores SUBMISSION, a folder or .tgz, .tar or .zip of 1.jpg … 1000.jpg, 64x64, or an .npz with one array.

    FD-anime and AFD by the embedded network need nothing else. FID needs --reference and Inception's weights (91 MB),
    AFD by lbpcascade its cascade; both are downloaded and verified on first use, or named by --weights and --cascade
    or by the environment variables GRADER_INCEPTION and GRADER_CASCADE.

    \b
    Examples:
      python -m grader score outputs/
      python -m grader score submission.tgz --reference faces/ --output report/
      python -m grader score outputs/ --by-class faces/ --attribute eye
    """
    from grader import report
    from grader.assets import AssetError
    from grader.reference import BadReference
    from grader.scoring import score as grade
    from grader.submission import BadSubmission

    if options["labels"] and not options["by_class"]:
        raise click.UsageError("--labels is for --by-class FACES")
    try:
        _writable(output)
        result = grade(submission, reference, loose, _progress, **options)
        paths = report.write(result, output, run)
    except BadSubmission as error:
        _stop(1, "bad submission", *error.problems)
    except (AssetError, BadReference) as error:
        _stop(2, str(error))
    except PermissionError as error:
        _stop(2, f"{error.filename}: no permission to write: choose another --output")

    for note in result.submission.notes:
        click.echo(f"note: {note}", err=True)
    for measure in result.measures:
        if measure.note:
            click.echo(f"note: {measure.measure} by {measure.by}: {measure.note}", err=True)
    if as_json:
        click.echo(report.as_json(result))
    else:
        from rich.console import Console

        console = Console(highlight=False)
        console.print(*report.as_tables(result), *report.sentences(result), sep="\n")
        for line in report.warnings(result):
            console.print(f"[red]{line}[/]")
    click.echo(f"wrote {' and '.join(map(str, paths))}", err=True)


@main.command(short_help="Plot the discriminator's gradient norms, layer by layer.")
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default="gradnorm.png",
    show_default=True,
    help="The plot; the numbers go beside it, as .csv.",
)
def gradnorm(runs, output):
    """Plots the gradient norms of RUNS, folders that the notebooks' training wrote, one line for each.

    \b
    Example:
      python -m grader gradnorm runs/wgan runs/wgan_gp -o gradnorm.png
    """
    from rich.console import Console

    from grader import gradnorm as norms

    try:
        read = [norms.read_run(path) for path in runs]
        norms.plot(read, output)
        output.with_suffix(".csv").write_text(norms.as_csv(read), encoding="utf-8")
    except norms.BadRun as error:
        _stop(2, str(error))
    except (OSError, ValueError) as error:  # a folder that is not there, an ending that no plot has
        _stop(2, f"{output}: cannot be written ({error}): choose another --output")
    Console().print(norms.as_table(read))
    click.echo(f"wrote {output} and {output.with_suffix('.csv')}", err=True)


@main.command(short_help="Score every checkpoint of a run and find the best.")
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--reference", type=click.Path(path_type=Path, exists=True), help="Real faces; as for `score`.")
@click.option("--pack", type=click.Choice(["best"]), help="Write that checkpoint's samples to RUN/submission.tgz.")
def history(run, reference, pack):
    """Scores the samples of every checkpoint in RUN, a folder that a notebook's training wrote, on the embedded scale.

    Prints a table, and writes history.csv and history.png into RUN.

    \b
    Example:
      python -m grader history runs/wgan --pack best
    """
    from rich.console import Console

    from grader import history as scored
    from grader.embedded import network
    from grader.reference import BadReference
    from grader.scoring import embedded_reference
    from grader.submission import BadSubmission

    try:
        total = 1000 * len(scored.checkpoints(run))
        net = network.load()
        against = embedded_reference(reference, net, _progress)
        results = list(scored.score_run(run, net, against, _progress("checkpoints", total)))
    except BadSubmission as error:
        _stop(1, *error.problems)
    except BadReference as error:
        _stop(2, str(error))
    for line in results:
        if isinstance(line, str):
            click.echo(line, err=True)
    read = [result for result in results if not isinstance(result, str)]
    if not read:
        _stop(1, f"{run}: no checkpoint could be scored")
    try:
        (run / "history.csv").write_text(scored.as_csv(read), encoding="utf-8")
        scored.plot(read, run / "history.png")
        if pack:
            scored.pack(scored.best(read), run / "submission.tgz")
    except OSError as error:
        _stop(2, f"{run}: cannot be written ({error.strerror or error})")
    Console().print(scored.as_table(read, against))
    packed = f", and step {scored.best(read).step:,} to {run / 'submission.tgz'}" if pack else ""
    click.echo(f"wrote {run / 'history.csv'} and {run / 'history.png'}{packed}", err=True)


@main.command(short_help="Say of every TODO of a notebook whether it is done.")
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option("--seconds", default=120, show_default=True, help="How long one cell may take.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list to standard output instead.")
def check(notebook, seconds, as_json):
    """Runs the check cells of NOTEBOOK at a small size, in a process of its own, and prints a line for each TODO.

    Exit code 0: all are done. 1: some are not.

    \b
    Example:
      python -m grader check notebooks/04_wgan_gp.ipynb
    """
    import json
    from dataclasses import asdict

    from grader import check as checks

    todos = []
    try:
        for todo in checks.check_notebook(notebook, seconds):
            todos.append(todo)
            if not as_json:
                colour = {checks.DONE: "green", checks.NOT_YET: "yellow"}.get(todo.status, "red")
                click.echo(f"{click.style(f'{todo.status:8}', fg=colour)} {todo.name}")
                if todo.hint:
                    click.echo(f"         {todo.hint}")
    except checks.BadNotebook as error:
        _stop(2, str(error))
    if as_json:
        click.echo(json.dumps([asdict(todo) for todo in todos], indent=2))
    sys.exit(any(todo.status != checks.DONE for todo in todos))


@main.command(short_help="Keep what faces are compared with in one file.")
@click.argument("faces", type=click.Path(path_type=Path, exists=True))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="FACES.safetensors unless given.")
def reference(faces, output):
    """Computes the reference of FACES, a folder or archive of real faces, in the embedded features, and writes it to a
    file that `--reference` takes. FACES are read in small batches: any number of them needs little memory.

    \b
    Example:
      python -m grader reference faces.zip -o faces.safetensors
    """
    from grader.embedded import network
    from grader.reference import BadReference, save_reference
    from grader.scoring import embedded_reference

    output = output or faces.with_name(f"{faces.stem}.safetensors")
    try:
        made = embedded_reference(faces, network.load(), _progress)
        save_reference(output, made, f"{made.statistics.count:,} faces of {faces.name}")
    except BadReference as error:
        _stop(2, str(error))
    except OSError as error:
        _stop(2, f"{output}: cannot be written ({error.strerror or error}): choose another --output")
    floor = "" if made.floor is None else f"; 1,000 real faces score {made.floor:.4g}"
    click.echo(f"wrote {output}: {made.statistics.count:,} faces, named {made.faces}{floor}", err=True)


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
@click.option("--reference", type=click.Path(path_type=Path, exists=True), help="Real faces; as for `score`.")
@click.option("--metrics", callback=_metrics, help="Only these; as for `score`.")
@click.option("--jobs", type=click.IntRange(1), help="How many at a time; as many as there are cores unless given.")
@click.option("--dask", "address", help="The address of a Dask cluster to grade on, whose workers see the same files.")
@click.option("--offline", is_flag=True, help="Download nothing; use what is at hand.")
def class_(submissions, output, reference, metrics, jobs, address, offline):
    """Grades all of SUBMISSIONS, a folder with an archive or a folder of pictures for each student.

    Results are kept in OUTPUT.parts as they come: stopped and started again, it goes on where it was.

    \b
    Example:
      python -m grader class submissions/ -o leaderboard.html
    """
    import os

    from grader import leaderboard
    from grader.assets import AssetError
    from grader.reference import BadReference
    from grader.scoring import prepare

    options = {
        "reference_source": reference.resolve() if reference else None,
        "metrics": tuple(metrics),
        "offline": offline,
    }
    jobs = jobs or os.cpu_count() or 1
    try:
        found = leaderboard.submissions(submissions.resolve())
        if not found:
            _stop(1, f"{submissions}: holds no submission: an archive or a folder of pictures for each student")
        yardstick = prepare(**options, progress=_progress)  # so that what is wrong shows now, and caches are filled
        for metric, note in yardstick.notes.items():
            click.echo(f"note: {metric}: {note}", err=True)
        executor = (lambda: leaderboard.dask(address)) if address else (lambda: leaderboard.local(jobs))
        parts = output.with_name(f"{output.name}.parts")
        done = _progress("submissions", len(found), "submissions")
        results = leaderboard.grade_all(found, parts, options, executor, done)
        paths = leaderboard.write(results, output)
    except (AssetError, BadReference) as error:
        _stop(2, str(error))
    except ImportError:
        _stop(2, "--dask needs the package distributed: pip install distributed")
    except OSError as error:
        _stop(2, f"{error.filename or address}: {error.strerror or error}")
    broken = sum(result["status"] == leaderboard.BROKEN for result in results)
    click.echo(f"{len(results):,} submissions, {broken} of which could not be graded", err=True)
    click.echo(f"wrote {', '.join(map(str, paths))}", err=True)


@main.command(short_help="Pack 1,000 pictures as the course takes them.")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default="submission.tgz", show_default=True)
def pack(source, output):
    """Packs SOURCE, a folder or archive of 1,000 pictures, as a flat .tgz under 2 MB, and reads it back.

    Pictures of other names, sizes or formats become 1.jpg … 1000.jpg of 64x64, in the order of their names.
    """
    from grader.pack import pack as packed
    from grader.submission import BadSubmission

    try:
        submission, quality = packed(source, output)
    except BadSubmission as error:
        _stop(1, *error.problems)
    except OSError as error:
        _stop(2, f"{output}: cannot be written ({error.strerror or error}): choose another --output")
    how = "as they were" if quality is None else f"as JPEG of quality {quality}"
    size = output.stat().st_size / 1e6
    click.echo(f"wrote {output}: {len(submission.pictures):,} pictures, {how}, {size:.2f} MB", err=True)


@main.command("slice", short_help="Cut grids of pictures into single ones.")
@click.argument("grids", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), default="outputs", show_default=True)
def slice_(grids, output):
    """Cuts GRIDS, pictures of many 64x64 pictures as torchvision's save_image and stylegan2_pytorch write them, into
    1.jpg, 2.jpg … in a new folder.

    \b
    Example:
      python -m grader slice results/default/*-ema.jpg -o outputs
    """
    from grader.pack import cut
    from grader.submission import BadSubmission

    try:
        count = cut(grids, output)
    except BadSubmission as error:
        _stop(1, *error.problems)
    except FileExistsError:
        _stop(2, f"{output} exists: choose another --output, or remove it")
    except OSError as error:
        _stop(2, f"{output}: cannot be written ({error.strerror or error}): choose another --output")
    click.echo(f"wrote {count:,} pictures to {output}", err=True)


def run():
    """The whole program, with its exit code."""
    try:
        sys.exit(main.main(prog_name="python -m grader", standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        _stop(130, "stopped; no report was written")


def _writable(folder: Path) -> None:
    """Fails now rather than after the work. Raises PermissionError."""
    import tempfile

    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def _stop(code: int, *lines: str):
    click.echo("\n  ".join(lines), err=True)
    sys.exit(code)


def _progress(what: str, total: int, unit: str = "pictures"):
    from tqdm import tqdm

    return tqdm(desc=what, total=total or None, unit=f" {unit}", leave=False, delay=1, file=sys.stderr).update

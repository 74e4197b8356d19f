"""`python -m grader score`."""

from __future__ import annotations

import click

from grader import console
from grader.cli import options
from grader.metrics.registry import NAMES


@click.command(short_help="Score 1,000 pictures and say which baselines they pass.")
@click.argument("submission", type=console.path())
@click.option(
    "--reference",
    type=console.path(exists=True),
    help="Real faces to compare with: a folder, .zip or .tgz, what `reference` made of one, or pytorch-fid's .npz. "
    "Only the shipped statistics and the course's own files give a verdict of the course.  "
    "[default: the shipped statistics]",
)
@click.option(
    "--output",
    type=console.path(file_okay=False),
    default=".",
    show_default=True,
    help="Folder for report.json and report.html, made if it is not there.",
)
@click.option(
    "--metrics",
    callback=options.metrics,
    default=",".join(NAMES),
    metavar="LIST",
    help="Only these, separated by commas: fd-imagenet, afd, fd-anime, kid, prdc (precision, recall, density, "
    "coverage), fid, lbpcascade, integrity.  [default: all that can be had]",
)
@click.option(
    "--run",
    type=console.path(exists=True, file_okay=False),
    help="A folder that a notebook's training wrote: its grad_norms.csv and history.csv are drawn on the page.",
)
@click.option(
    "--by-label",
    type=console.path(exists=True),
    help="Score each label of a conditional set by itself, against these labelled real faces: a folder or .zip with "
    "tags.csv or attributes.csv, or with a folder per label.",
)
@click.option(
    "--attribute",
    help="Which attribute of these faces --by-label goes by: hair or eye.  [default: hair]",
)
@click.option(
    "--labels",
    type=console.path(exists=True, dir_okay=False),
    help="What each picture was asked to show, in rows as 1.jpg,aqua under file,label.  [default: labels.csv in "
    "SUBMISSION]",
)
@click.option("--json", "as_json", is_flag=True, help="Print report.json to standard output instead of the table.")
@click.option(
    "--loose",
    is_flag=True,
    help="Take 2 to 10,000 pictures of any name and size, shrunk to 64x64. Only 1,000 are judged.",
)
@options.offline
@click.option(
    "--weights",
    type=console.path(),
    help="A copy of pytorch-fid's Inception weights (91 MB).  [default: $GRADER_INCEPTION, or downloaded]",
)
@click.option(
    "--cascade",
    type=console.path(),
    help="A copy of lbpcascade_animeface.xml.  [default: $GRADER_CASCADE, or downloaded]",
)
def score(
    submission,
    *,
    reference,
    output,
    metrics,
    run,
    by_label,
    attribute,
    labels,
    as_json,
    loose,
    offline,
    weights,
    cascade,
):
    """Scores SUBMISSION and says which baselines it passes. About 14 seconds on one core.

    SUBMISSION is a folder, .tgz, .tar or .zip of 1.jpg … 1000.jpg, 64x64 pixels each, or an .npz with one array uint8
    [1000, 64, 64, 3]. JPEG, PNG, WebP and BMP are told by their content. Nothing in it is unpacked to disk, unpickled
    or run.

    Prints a table of measures beside their thresholds, and notes to standard error; writes report.json, and
    report.html, which holds the pictures. A file of yours that is called so is kept, as report.before.html.

    FD-ImageNet, FD-anime and the embedded AFD need nothing else. FID needs --reference and Inception's weights, AFD by
    lbpcascade its cascade: they are downloaded on first use, verified, and kept in ~/.cache or $GRADER_CACHE.

    \b
    Exit codes:
      0    scored, whatever the score
      1    SUBMISSION is not of this form, or cannot be read: a line for each
           problem
      2    wrong use, or another file that cannot be read or written
      130  stopped by Ctrl-C; no report was written

    \b
    Examples:
      python -m grader score outputs/
      python -m grader score submission.tgz --reference faces/ --output report/
      python -m grader score outputs/ --by-label faces/ --attribute eye
      python -m grader score outputs/ --json --offline --metrics fd-imagenet,afd
    """
    import grader
    from grader import files, report
    from grader.inputs.runs import read_run

    console.only_with("--by-label FACES", by_label, labels="--labels", attribute="--attribute")
    console.only_with("fid in --metrics", "fid" in metrics, weights="--weights")
    console.only_with("lbpcascade in --metrics", "lbpcascade" in metrics, cascade="--cascade")
    written = [output / name for name in report.NAMES]
    files.check_apart(written, [submission, reference, labels, weights, cascade])
    files.check_closed(written)
    files.check_writable(output)
    read = read_run(run) if run else None  # so that what is wrong with it shows now, not after the work
    for problem in read.problems if read else []:
        console.note(f"not drawn: {problem}")
    if read and not (read.norms or read.history or read.problems):
        console.note(f"{run}: has no gradient norms and no history.csv, so --run draws nothing")
    with console.bars() as progress:
        result = grader.score(
            submission,
            reference,
            metrics=metrics,
            loose=loose,
            offline=offline,
            weights=weights,
            cascade=cascade,
            by_label=by_label,
            attribute=attribute,
            labels=labels,
            progress=progress,
        )
    paths = report.write(result, output, read)

    for line in result.submission.notes:
        console.note(line)
    for measure in result.measures:
        if measure.note:
            console.note(f"{measure.measure} by {measure.by}: {measure.note}")
    if as_json:
        from grader.report.json import as_json as text

        click.echo(text(result))
    else:
        from grader.report.terminal import show

        show(result)
    console.wrote(*paths)

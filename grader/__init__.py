"""Scores pictures of anime faces: `from grader import score`, then `score("outputs/")`."""

from __future__ import annotations


def score(source, reference=None, **options):
    """The Score of a folder or archive of 1,000 pictures: its `measures` and `verdicts`. Shows itself in Jupyter.

    `reference` names real faces, a folder or archive; the shipped ones are taken without it. `options`: metrics,
    weights, cascade, offline, loose, by_class, attribute, labels, as for `grader.scoring.score`. Raises GraderErrors:
    inputs.submission.BadSubmission, features.reference.BadReference and inputs.downloads.AssetError.
    """
    from grader import scoring  # torch is imported when it is needed, not for `--help`

    return scoring.score(source, reference, **options)

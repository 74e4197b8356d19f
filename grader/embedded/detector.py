from grader.metrics.afd import ratio  # noqa: F401

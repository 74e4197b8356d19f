from grader.features.anime import describe  # noqa: F401

"""What the notebooks share: plain modules that the builder lays into each notebook, folded."""

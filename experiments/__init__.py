"""Command line programs: `python -m experiments.train`, and so on; each has --help."""

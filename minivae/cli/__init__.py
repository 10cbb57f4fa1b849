"""The command line: ``python -m minivae`` and the options that the examples share."""

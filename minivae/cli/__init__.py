"""The command-line program ``minivae``: a module for each command, and shared options."""

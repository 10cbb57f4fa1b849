"""The program ``minivae``: a module for each command, and what they share."""

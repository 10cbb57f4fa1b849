"""Synthetic data sets: drawn digits and drawn faces, which need no download."""

"""Visualisation: plots, drawings of computation graphs, films, and latent-space arithmetic."""

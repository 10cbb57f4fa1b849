"""Training: the loop, steps, objectives, checkpoints, metrics, several processes."""

"""Train a VAE: the loop, one step, what is saved and resumed."""

"""Pictures: plots, the drawn graph, and the maths of a walk through latent space."""

"""Pictures: plots, the drawn graph, latent-space maths, edited faces."""

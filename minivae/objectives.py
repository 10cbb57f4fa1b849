"""What a training step minimises: functions of (model, x, noise, beta) that give ``ELBO`` terms."""


def elbo(model, x, noise, beta=1.0):
    """The model's own negative evidence lower bound; see ``models.VAE.elbo``."""
    return model.elbo(x, noise, beta)

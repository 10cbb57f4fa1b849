"""Exercise 10: free bits against posterior collapse (Kingma et al. 2016, arXiv:1606.04934, C.8).

What the optimiser is charged for latent d is its KL averaged over the batch, but never less than
``nats``. Below that the latent is free, so nothing pushes it to 0.
"""


def charged(kl, nats):
    """sum_d max(nats, mean_n kl_nd).

    Args:
        kl: a ``mv.Tensor`` (N, D), the KL of each image and latent.
        nats: a number, at least 0.

    Returns:
        A scalar ``mv.Tensor`` through which ``backward`` reaches kl. ``minivae.functional`` has
        sum, mean and relu, but no maximum.
    """
    raise NotImplementedError("a scalar tensor; its gradient in kl_nd is 1/N or 0: numbers")

"""Exercise 4: the KL divergence of a VAE, with its half.

KL(N(mu, sigma^2) || N(0, 1)) for each latent, summed over latents. The encoder gives
logvar = ln sigma^2. Unused latents have logvar near 0, where exp(logvar) - 1 - logvar loses nearly
all digits of single precision; NumPy has expm1(l) = exp(l) - 1 without that loss.
"""


def gaussian_kl(mu, logvar):
    """KL(N(mu, exp(logvar)) || N(0, I)) in nats.

    Args:
        mu, logvar: (N, D) NumPy arrays of one float dtype.

    Returns:
        (N,), of that dtype.
    """
    raise NotImplementedError("(N,) numbers, each the sum over D latents")

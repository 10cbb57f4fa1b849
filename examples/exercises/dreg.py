"""Exercise 11: a gradient that stays sharp (Tucker et al. 2019, arXiv:1810.04152, section 3).

The encoder's gradient of the bound L_K = ln (1/K) sum_k w_k gets lost in noise as K grows. With
ln w_k = ln p(x, z_k) - ln q(z_k | x), z_k = mu + sigma eps_k and w~_k = w_k / sum_j w_j, its
expectation is also that of

    sum_k w~_k^2 (d ln w_k / dz_k) (dz_k / dphi)

in which q's own parameters are held fixed while ln w_k is differentiated in z_k.
"""


def sample_gradient(log_weights, slopes):
    """What each sample z_k receives when the loss -mean_n L_K is minimised.

    Args:
        log_weights: (N, K) NumPy array of ln w_nk; values around -1000 are usual.
        slopes: (N, K), d ln w_nk / dz_nk of a single latent.

    Returns:
        (N, K): the gradient of the loss for z_nk, to be handed on to mu and sigma.
    """
    raise NotImplementedError("(N, K) numbers: mind the sign, the mean over n and the square")

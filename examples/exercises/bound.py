"""Exercise 7: the importance-weighted bound (Burda et al. 2016, arXiv:1509.00519).

For each row of log_weights, ln (1/K) sum_k exp(log_weights[k]). The weights of an image are far
below the smallest float: exp(-1000) is 0, and ln 0 is no bound.
"""


def importance_bound(log_weights):
    """ln of the mean of exp(log_weights) over the last axis.

    Args:
        log_weights: (N, K) NumPy array of ln p(x, z_k) - ln q(z_k | x), in nats. Rows are images,
            and one image may be a thousand nats less probable than the next.

    Returns:
        (N,).
    """
    raise NotImplementedError("(N,) numbers, finite for log weights around -1000")

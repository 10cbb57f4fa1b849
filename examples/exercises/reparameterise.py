"""Exercise 5: the reparameterisation trick, forward and backward.

z ~ N(mu, sigma^2) has no derivative in mu and sigma until the noise is moved out: draw eps from
N(0, 1) first, then z is a function of mu, logvar = ln sigma^2 and eps like any other.
"""

from minivae.tensor import Function


class Sample(Function):
    """z = ?;  dmu = ?;  dlogvar = ?"""

    def forward(self, mu, logvar, eps):
        """z, of mu's shape. All are NumPy arrays (N, D); ``self.save(...)`` what backward needs."""
        raise NotImplementedError("z, an array of mu's shape: mean mu, standard deviation sigma")

    def backward(self, dz):
        """dmu, dlogvar and None, because eps is given and needs no gradient."""
        raise NotImplementedError("dmu, dlogvar, None: arrays of mu's shape")

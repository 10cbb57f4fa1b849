"""Exercise 5: the reparameterisation trick, forward and backward."""

import numpy as np

from minivae.tensor import Function


class Sample(Function):
    """z = mu + sigma eps, sigma = exp(logvar/2);  dmu = dz;  dlogvar = 1/2 dz eps sigma."""

    def forward(self, mu, logvar, eps):
        """z, of mu's shape."""
        sigma = np.exp(logvar / 2)
        self.save(sigma, eps)
        return mu + sigma * eps

    def backward(self, dz):
        """dmu, dlogvar and None."""
        sigma, eps = self.saved
        return dz, 0.5 * dz * eps * sigma, None

"""Autoencoder against VAE: what each keeps, what lies between codes, what can be drawn.

Three ways to put a digit into 30 numbers: PCA, the deep autoencoder 784-1000-500-250-30 (Hinton &
Salakhutdinov 2006, there with a better start and far longer), and a VAE. All three reconstruct.
Only the VAE was told where codes should lie, so that draws from N(0, I) decode to strokes at once.
The autoencoder's codes leave most of N(0, I) empty; drawing needs a density fitted to them
afterwards, here a mixture of Gaussians: it costs a second model, and its samples can well beat
those of a VAE from its prior (Ghosh et al. 2020, arXiv:1903.12436).

Then moons, where the picture half way between two others is known: see ``_moons.py``.
"""

import numpy as np
from _mixture import draw, fit
from _moons import compare
from _study import options, save, strips

import minivae as mv
from minivae import functional as F
from minivae import models, optim
from minivae.data import PixelBatches, mnist
from minivae.viz import latent

D = 30


class PCA:
    """The best linear code in squared error: the D leading eigenvectors of the covariance."""

    def __init__(self, x):
        self.mean = x.mean(axis=0)
        self.axes = np.linalg.eigh(np.cov(x.T))[1][:, -D:]

    def encode(self, x):
        return (x - self.mean) @ self.axes

    def decode(self, z):
        return self.mean + z @ self.axes.T


def nearest(a, b):
    """Distance from each row of a to the nearest row of b."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.sqrt(np.maximum(squares.min(axis=1), 0))


def holes(codes, rng):
    """Share of draws of N(0, I) that lie farther from all codes than 99 % do from as many draws."""
    one, two, three = (rng.normal(size=(n, D)) for n in (len(codes), 2000, 2000))
    return (nearest(two, codes) > np.quantile(nearest(three, one), 0.99)).mean()


def train(model, batches, epochs, seed):
    """The model after some epochs of Adam."""
    adam, stream = optim.Adam(model.parameters(), lr=1e-3), mv.NoiseStream(seed)
    for epoch in range(epochs):
        for x in batches.epoch(epoch):
            loss = model.elbo(x, stream).loss if isinstance(model, models.VAE) else model.loss(x)
            adam.zero_grad()
            loss.backward()
            adam.step()
    return model


def main(argv=None):
    """Train, measure and draw; numbers.json has all that is printed."""
    args = options(__doc__, "ae_vs_vae", argv)
    digits, rng = mnist.load(args.data), np.random.default_rng(args.seed)
    batches = PixelBatches(digits.train.images[: 2000 if args.short else None], 128, seed=args.seed)
    x = batches.images.reshape(len(batches.images), -1)[:10_000] / np.float32(255)
    test = digits.test.images.reshape(-1, 784)[:1000] / np.float32(255)
    widths, epochs = ((784, 100, D), 3) if args.short else ((784, 1000, 500, 250, D), 4)
    pca = PCA(x)
    ae = train(models.AutoEncoder(widths, args.seed), batches, epochs, args.seed)
    vae = train(models.MLPVAE(D, seed=args.seed), batches, epochs, args.seed)
    with mv.no_grad():
        z_ae, z_test = ae.encode(x).data, ae.encode(test).data
        mu, logvar = (head.data for head in vae.encode(mv.Tensor(x)))

    def ae_pixels(z):
        with mv.no_grad():
            return F.sigmoid(ae.decode(z.astype(np.float32))).data

    images = {"PCA": pca.decode(pca.encode(test)), "AE": ae.reconstruct(test).data}
    images["VAE"] = vae.reconstruct(test).data
    error = {name: ((y - test) ** 2).sum(axis=1).mean() for name, y in images.items()}
    print(f"{digits.name}. Squared error of reconstruction, test images: {shown(error)}")

    centred = z_ae - z_ae.mean(axis=0)
    white = centred @ np.linalg.cholesky(np.linalg.inv(np.cov(centred.T)))  # covariance I
    codes = {"AE": z_ae, "AE, whitened": white, "N(0, I) itself": rng.normal(size=white.shape)}
    codes["VAE"] = mu + np.exp(logvar / 2) * rng.normal(size=mu.shape)  # as its decoder sees them
    empty = {name: holes(z, rng) for name, z in codes.items()}
    print(f"Share of N(0, I) in holes between codes: {shown(empty)}")

    mixture, climb = fit(z_ae[:5000].astype(float), *((3, 5) if args.short else (12, 20)), rng)
    print(f"EM: mean ln p(code) {climb[0]:.2f} -> {climb[-1]:.2f} nats in {len(climb)} steps")
    prior = rng.normal(size=(51, D)).astype(np.float32)
    samples = {"AE, N(0, I)": ae_pixels(prior), "AE, mixture": ae_pixels(draw(mixture, 51, rng))}
    samples["VAE, N(0, I)"] = vae.pixels(prior).data

    rows = {name: y[:12] for name, y in [("test images", test), *images.items()]}
    for i in (0, 2):
        walk = ae_pixels(latent.lerp(z_test[i], z_test[i + 1], 12))
        rows |= {f"AE, from code to code {i // 2 + 1}": walk}
        rows |= {f"VAE, from code to code {i // 2 + 1}": vae.interpolate(*test[i : i + 2], 12).data}
    moons, moon_rows = compare(*((2, 600) if args.short else (4, 1000)))
    numbers = {"data": digits.name, "error": error, "holes": empty, "em": climb}
    numbers["moons"] = moon_rows
    save(args, numbers, digits=strips(rows, 12), samples=strips(samples, 17), moons=moons)


def shown(numbers):
    """A dict of numbers on one line."""
    return ", ".join(f"{name} {value:.3g}" for name, value in numbers.items())


if __name__ == "__main__":
    main()

"""Autoencoder against VAE: reconstruction, interpolation between codes, and new samples.

A digit is encoded as 30 numbers in three ways: by PCA, and by one network, 784-400-30 and back,
trained as an autoencoder (AE; no noise, no KL) and as a VAE. The AE reconstructs best, because
nothing restricts its codes. Only the VAE's loss says where codes should lie, so that its decoder
turns draws from N(0, I) into strokes. The AE's codes leave most of N(0, I) empty; to sample from
it, one fits a density to its codes, here a mixture of Gaussians. That takes a second model, and its
samples can be better than a VAE's samples from the prior (Ghosh et al. 2020, arXiv:1903.12436).
Contrary to a common claim, the AE does not decode garbage half way between two codes, but a blend,
rougher than the VAE's. It decodes garbage from draws of N(0, I).

The second part interpolates between moons, where the picture half way is known: ``_moons.py``.
"""

import numpy as np
from _codes import PCA, D, holes
from _mixture import draw, fit
from _moons import compare
from _study import options, run_example, save, strips

import minivae as mv
from minivae import functional as F
from minivae import models, optim
from minivae.data import PixelBatches, mnist


def train(batches, epochs, seed, variational):
    """The network after some epochs of Adam, as a VAE or, its noise and KL left out, as an AE."""
    model = models.MLPVAE(D, seed=seed)
    adam, stream = optim.Adam(model.parameters(), lr=1e-3), mv.NoiseStream(seed)
    for epoch in range(epochs):
        for x in batches.epoch(epoch):
            loss = model.elbo(x, stream).loss if variational else plain(model, x)
            adam.zero_grad()
            loss.backward()
            adam.step()
    return model


def plain(model, x):
    """The reconstruction loss at the mean code: an autoencoder's."""
    x = mv.Tensor(x)
    return F.mean(model.reconstruction_loss(model.decode(model.encode(x)[0]), x))


def main(argv=None):
    """Train, measure and draw; numbers.json has all that is printed."""
    args = options(__doc__, "ae_vs_vae", argv)
    digits, rng = mnist.load(args.data), np.random.default_rng(args.seed)
    batches = PixelBatches(digits.train.images[: 2000 if args.short else None], 128, seed=args.seed)
    x = batches.images.reshape(len(batches.images), -1)[:10_000] / np.float32(255)
    test = digits.test.images.reshape(-1, 784)[:1000] / np.float32(255)
    pca, epochs = PCA(x), args.choose(2, 4, 12)
    ae, vae = (train(batches, epochs, args.seed, name == "VAE") for name in ("AE", "VAE"))
    with mv.no_grad():
        z_ae = ae.encode(mv.Tensor(x))[0].data
        mu, logvar = (head.data for head in vae.encode(mv.Tensor(x)))

    images = {"PCA": pca.decode(pca.encode(test)), "AE": ae.reconstruct(test).data}
    images["VAE"] = vae.reconstruct(test).data
    images = {name: y.reshape(len(test), -1) for name, y in images.items()}
    error = {name: ((y - test) ** 2).sum(axis=1).mean() for name, y in images.items()}
    print(f"{digits.name}. Squared error of reconstruction, test images: {shown(error)}")

    centred = z_ae - z_ae.mean(axis=0)
    white = centred @ np.linalg.cholesky(np.linalg.inv(np.cov(centred.T)))  # covariance I
    codes = {"AE": z_ae, "AE, whitened": white, "N(0, I) itself": rng.normal(size=white.shape)}
    codes["VAE"] = mu + np.exp(logvar / 2) * rng.normal(size=mu.shape)  # samples, not means
    empty = {name: holes(z, rng) for name, z in codes.items()}
    print(f"Share of N(0, I) in holes between codes: {shown(empty)}")

    mixture, climb = fit(z_ae[:5000].astype(float), *args.choose((3, 5), (12, 20), (12, 20)), rng)
    print(f"EM: mean ln p(code) {climb[0]:.2f} -> {climb[-1]:.2f} nats in {len(climb)} steps")
    prior = rng.normal(size=(51, D)).astype(np.float32)
    drawn = draw(mixture, 51, rng).astype(np.float32)
    samples = {"AE, N(0, I)": ae.pixels(prior).data, "AE, mixture": ae.pixels(drawn).data}
    samples["VAE, N(0, I)"] = vae.pixels(prior).data

    rows = {name: y[:12] for name, y in [("test images", test), *images.items()]}
    for i in (0, 2):
        for name, model in (("AE", ae), ("VAE", vae)):
            walk = model.interpolate(*test[i : i + 2], 12).data
            rows |= {f"{name}, from code to code {i // 2 + 1}": walk}
    moons, moon_rows = compare(*args.choose((2, 600), (3, 1000), (6, 3000)))
    numbers = {"data": digits.name, "error": error, "holes": empty, "em": climb}
    numbers["moons"] = moon_rows
    save(args, numbers, digits=strips(rows, 12), samples=strips(samples, 17), moons=moons)


def shown(numbers):
    """A dict of numbers on one line."""
    return ", ".join(f"{name} {value:.3g}" for name, value in numbers.items())


if __name__ == "__main__":
    run_example(main)

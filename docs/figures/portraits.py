"""Two small VAEs of drawn faces: the smile as a distribution, and new faces beside known ones."""

import functools

import numpy as np
from threadpoolctl import threadpool_limits

import minivae as mv
from minivae import evaluation, models, nn, optim
from minivae.data.synthetic import faces
from minivae.evaluation.probes import fit_softmax
from minivae.noise import init_stream

COUNT, HELD_OUT, NEW = 1200, 200, 200


class SmallVAE(models.VAE):
    """pixels -> hidden -> latents and back, tanh, a Gaussian of fixed sigma."""

    def __init__(self, pixels, hidden, latents, sigma):
        rng = init_stream(0)
        self.latent_dim = latents
        self.encoder = nn.Sequential(
            nn.Linear(pixels, hidden, rng=rng), nn.Tanh(), nn.Linear(hidden, 2 * latents, rng=rng)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latents, hidden, rng=rng), nn.Tanh(), nn.Linear(hidden, pixels, rng=rng)
        )
        self.set_likelihood("gaussian", (pixels,), sigma=sigma)

    def encode(self, x):
        """x (N, pixels) -> mu, logvar (N, latents)."""
        heads = self.encoder(x)
        return heads[:, : self.latent_dim], heads[:, self.latent_dim :]

    def decode(self, z):
        """z (N, latents) -> logits (N, pixels)."""
        return self.decoder(z)


@threadpool_limits.wrap(limits=1)  # the products are too small for several threads
def trained(model, x, epochs, batch=64):
    """The model after some epochs of Adam, in float64."""
    model = model.to(dtype=np.float64)
    adam, stream = optim.Adam(model.parameters(), lr=2e-3), mv.NoiseStream(0)
    steps = epochs * (len(x) // batch)
    for step in range(steps):
        if step % (len(x) // batch) == 0:
            order = np.argsort(mv.Noise(1, step).uniform((len(x),), np.float64))
        at = step % (len(x) // batch) * batch
        adam.lr = 2e-3 * (1 - step / steps)
        adam.zero_grad()
        model.elbo(mv.Tensor(x[order[at : at + batch]]), stream).loss.backward()
        adam.step()
    return model


def posterior(model, x):
    """mu and sigma of each picture."""
    with model.evaluating():
        mu, logvar = model.encode(mv.Tensor(x))
    return mu.data, np.exp(logvar.data / 2)


# ---------------------------------------------------------------- the smile


def people(count, seed, **attributes):
    """Attributes of faces that look at the viewer, bareheaded; some may be set."""
    found = faces.sample_attributes(count, seed)
    found |= {"yaw": np.full(count, 0.5, np.float32), "hat": np.zeros(count, bool)}
    return found | {name: np.full(count, value) for name, value in attributes.items()}


def one(smiling):
    """The mouth (1, 96) of one of the held-out people, whose skin is neither light nor dark."""
    medium = abs(people(HELD_OUT, seed=1)["skin"] - 0.5).argmin()
    return mouths(people(HELD_OUT, seed=1, smile=smiling))[[medium]]


def mouths(attributes, size=40):
    """Grey pictures (N, 96) of the mouths, 8 by 12 pixels, in [0, 1]."""
    pictures = faces.render(attributes, size=size)
    mouth = pictures[:, :, 22:30, 14:26].mean(axis=1) / 255
    return mouth.reshape(len(mouth), -1)


@functools.cache
def smile():
    """(model, direction w, offset b): the smile of a code is w z + b, on average 1 or -1."""
    attributes = people(COUNT, seed=0)
    x, smiling = mouths(attributes), attributes["smile"]
    model = trained(SmallVAE(x.shape[1], 128, 6, 0.05), x, 60)
    mu, _ = posterior(model, x)
    weight, _ = fit_softmax(mu, smiling.astype(int))
    w = weight[:, 1] - weight[:, 0]
    no, yes = ((mu @ w)[smiling == value].mean() for value in (False, True))
    return model, 2 * w / (yes - no), -(yes + no) / (yes - no)


def smiles(x):
    """The Gaussian that q(z|x) gives the smile of each mouth: mean and standard deviation."""
    model, w, b = smile()
    mu, sigma = posterior(model, x)
    return mu @ w + b, np.sqrt(sigma**2 @ w**2)


# ---------------------------------------------------------------- new faces


@functools.cache
def new_faces(size=24):
    """(training pictures, held-out ones, their reconstructions, new ones), each (N, pixels)."""
    x = faces.render(faces.sample_attributes(COUNT + HELD_OUT, seed=2), size=size)
    x = x.reshape(len(x), -1) / 255
    train, held_out = x[:COUNT], x[COUNT:]
    model = trained(SmallVAE(x.shape[1], 256, 16, 0.1), train, 40)
    return train, held_out, model.reconstruct(held_out).data, model.sample(NEW, mv.Noise(3, 0)).data


def measure():
    """Numbers of autoencoder-to-vae.md and questions.md."""
    numbers = {}
    for name, value in (("smiling", True), ("serious", False)):
        (mean,), (deviation,) = smiles(one(value))
        numbers[f"{name}_one"], numbers[f"{name}_one_sigma"] = float(mean), float(deviation)
        right = (smiles(mouths(people(HELD_OUT, seed=1, smile=value)))[0] > 0) == value
        numbers[f"{name}_right_percent"] = 100 * float(right.mean())
    train, held_out, reconstructed, new = new_faces()
    for name, pictures in (("held_out", held_out), ("again", reconstructed), ("new", new)):
        _, distance = evaluation.nearest_images(pictures, train)
        numbers[f"{name}_median"] = float(np.median(distance))
        numbers[f"{name}_least"] = float(distance.min())
    own = np.sqrt(((reconstructed - held_out) ** 2).mean(axis=1))
    return numbers | {"own_median": float(np.median(own))}


def draw_smile(figure):
    """One person serious and smiling: the Gaussians of the smile, and mouths decoded along it."""
    model, w, _ = smile()
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
    at = np.linspace(-3, 3, 400)
    for value, colour in ((False, "tab:blue"), (True, "tab:orange")):
        x = one(value)
        (mean,), (deviation,) = smiles(x)
        density = np.exp(-(((at - mean) / deviation) ** 2) / 2) / deviation
        left.plot(at, density, color=colour, label="smiling" if value else "serious")
        if not value:
            code = posterior(model, x)[0]
            start = mean
    left.set(xlabel="smile", yticks=[])
    left.legend(fontsize=8)
    along = np.linspace(-1.5, 1.5, 7)
    codes = code + (along - start)[:, None] * w / (w @ w)
    strip = model.pixels(codes).data.reshape(-1, 8, 12)
    right.imshow(np.hstack(strip), cmap="gray", vmin=0, vmax=1)
    right.set(xticks=12 * np.arange(7) + 5.5, yticks=[], xlabel="smile of the code, decoded")
    right.set_xticklabels([f"{a:.1f}" for a in along])


def draw_new(figure, count=8):
    """New faces above the nearest of the training set."""
    train, _, _, new = new_faces()
    index, _ = evaluation.nearest_images(new[:count], train)
    axes = figure.subplots()
    rows = [np.hstack(p[:count].reshape(count, 3, 24, 24).transpose(0, 2, 3, 1))
            for p in (new, train[index])]  # fmt: skip
    axes.imshow(np.vstack(rows))
    axes.set(xticks=[], yticks=[12, 36])
    axes.set_yticklabels(["new", "nearest"])


FIGURES = {"smile.svg": (7, 1.9, draw_smile), "new_faces.svg": (6, 1.7, draw_new)}

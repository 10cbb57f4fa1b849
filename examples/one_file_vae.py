"""A variational autoencoder in one file of plain NumPy, from the engine to the picture.

    python examples/one_file_vae.py --data DIR        DIR has the four *-ubyte.gz files of MNIST

Nothing of minivae is imported. Each part names the module of the library that does the same; with
the same weights, images and noise both give the same losses (tests/docs/test_one_file.py).
"""

import argparse
import gzip
import itertools
import os
import struct
import time
import zlib
from pathlib import Path

import numpy as np

# ---- The engine: a node keeps an operation's inputs and derivative. Library: minivae/tensor.
serial = itertools.count()


class Tensor:
    """An array, its gradient, and the operation that made it (None for data and parameters)."""

    def __init__(self, data, node=None):
        self.data, self.grad, self.node = data, None, node


class Node:
    """One operation: ``backward(*dys)`` maps the outputs' gradients to those of the inputs."""

    def __init__(self, inputs, backward, *results):
        self.serial, self.inputs, self.backward = next(serial), inputs, backward
        self.outputs = [Tensor(result, self) for result in results]


def backpropagate(loss):
    """Set ``.grad`` of every tensor that ``loss`` depends on to the derivative of ``loss``.

    Every operation is created after those that made its inputs. So in the reverse order of
    creation, all operations that use a tensor come before the operation that made it.
    """
    found, stack = {loss.node}, [loss.node]
    while stack:
        for tensor in stack.pop().inputs:
            if tensor.node is not None and tensor.node not in found:
                found.add(tensor.node)
                stack.append(tensor.node)
    loss.grad = np.ones_like(loss.data)
    for node in sorted(found, key=lambda node: node.serial, reverse=True):
        dys = [np.zeros_like(y.data) if y.grad is None else y.grad for y in node.outputs]
        for tensor, dx in zip(node.inputs, node.backward(*dys), strict=True):
            if dx is not None:
                tensor.grad = dx if tensor.grad is None else tensor.grad + dx


# ---- Operations, forward and backward side by side. Library: minivae/ops.
def linear(x, w, b):
    """y = x w^T + b;  dx = dy w;  dw = dy^T x;  db = sum over rows of dy. w is (out, in)."""

    def backward(dy):
        return dy @ w.data, dy.T @ x.data, dy.sum(axis=0)

    return Node([x, w, b], backward, x.data @ w.data.T + b.data).outputs[0]


def relu(x):
    """y = max(x, 0);  dx = dy where y > 0."""
    y = np.maximum(x.data, 0)
    return Node([x], lambda dy: (dy * (y > 0),), y).outputs[0]


def reparameterize_kl(mu, logvar, eps):
    """z = mu + exp(logvar/2) eps;  kl_n = 1/2 sum_d [mu^2 + expm1(logvar) - logvar].

    dmu = dz + dkl mu;  dlogvar = 1/2 dz eps exp(logvar/2) + 1/2 dkl expm1(logvar).
    """
    std, excess = np.exp(logvar.data / 2), np.expm1(logvar.data)
    z = mu.data + std * eps
    kl = (mu.data**2 + (excess - logvar.data)).sum(axis=1) / 2

    def backward(dz, dkl):
        dkl = dkl[:, None]
        return dz + dkl * mu.data, (dz * eps * std + dkl * excess) / 2

    return Node([mu, logvar], backward, z, kl).outputs


def bce_with_logits(logits, x):
    """rec_n = sum_m [softplus(l) - l x], the -log of a Bernoulli;  dl = drec (sigmoid(l) - x)."""
    l, e = logits.data, np.exp(-abs(logits.data))  # an exponent of at most 0 cannot overflow
    rec = (np.maximum(l, 0) - l * x + np.log1p(e)).sum(axis=1)
    sigmoid = np.where(l >= 0, 1, e) / (1 + e)
    return Node([logits], lambda drec: (drec[:, None] * (sigmoid - x),), rec).outputs[0]


def negative_elbo(rec, kl):
    """loss = mean_n (rec_n + kl_n);  drec = dkl = dloss / N."""
    share = np.ones_like(rec.data) / len(rec.data)
    return Node([rec, kl], lambda d: (d * share,) * 2, (rec.data + kl.data).mean()).outputs[0]


# ---- The model: 784 -> 400 -> 20 and back. Library: minivae/models/mlp_vae.py.
LAYERS = {"fc1": (784, 400), "fc21": (400, 20), "fc22": (400, 20), "fc3": (20, 400),
          "fc4": (400, 784)}  # fmt: skip


def initial_parameters(rng, layers=LAYERS):
    """Uniform within +-1 / sqrt(inputs). Library: uniform_init in minivae/nn/layers.py."""
    parameters = {}
    for name, (inputs, outputs) in layers.items():
        for part, shape in (("weight", (outputs, inputs)), ("bias", (outputs,))):
            drawn = rng.uniform(-1, 1, shape) / np.sqrt(inputs)
            parameters[f"{name}.{part}"] = Tensor(drawn.astype(np.float32))
    return parameters


def layer(p, name, x):
    """The output of the linear layer ``name``."""
    return linear(x, p[f"{name}.weight"], p[f"{name}.bias"])


def decode(p, z):
    """Codes (N, 20) -> logits (N, 784)."""
    return layer(p, "fc4", relu(layer(p, "fc3", z)))


def elbo(p, x, eps):
    """(loss, rec, kl): the negative ELBO of images x (N, 784), tensors. Library: VAE.elbo."""
    h = relu(layer(p, "fc1", Tensor(x)))
    z, kl = reparameterize_kl(layer(p, "fc21", h), layer(p, "fc22", h), eps)
    rec = bce_with_logits(decode(p, z), x)
    return negative_elbo(rec, kl), rec, kl


# ---- Adam (Kingma & Ba 2015, algorithm 1). Library: minivae/optim/adam.py.
class Adam:
    """One step moves each parameter by about ``lr`` against the sign of its gradient."""

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
        self.parameters, self.lr, self.betas, self.eps, self.t = parameters, lr, betas, eps, 0
        self.m, self.v = ([np.zeros_like(p.data) for p in parameters] for _ in range(2))

    def step(self):
        """Update the parameters and clear their gradients."""
        (b1, b2), self.t = self.betas, self.t + 1
        for p, m, v in zip(self.parameters, self.m, self.v, strict=True):
            m += (1 - b1) * (p.grad - m)
            v *= b2
            v += (1 - b2) * p.grad**2
            std = np.sqrt(v) / (1 - b2**self.t) ** 0.5 + self.eps
            p.data -= self.lr / (1 - b1**self.t) * m / std
            p.grad = None


# ---- MNIST: 16 bytes of header, then a byte for each pixel. Library: minivae/data/idx.py.
def read_images(folder, part):
    """The images of "train" or "t10k" as numbers in [0, 1], (N, 784) float32."""
    name = f"{part}-images-idx3-ubyte.gz"
    found = [path for path in (folder / name, folder / "mnist" / name) if path.exists()]
    if not found:
        raise SystemExit(f"{folder}: expected {name} there or in mnist/; --data DIR says where")
    raw = gzip.decompress(found[0].read_bytes())
    _, count, height, width = struct.unpack(">4I", raw[:16])
    pixels = np.frombuffer(raw, np.uint8, offset=16).reshape(count, height * width)
    return pixels.astype(np.float32) / 255


# ---- A picture: PNG is a header and compressed rows. Library: minivae/viz/plots.py.
def write_png(path, grey):
    """Write numbers in [0, 1], (H, W), as a grey PNG."""
    rows = np.pad((255 * grey).astype(np.uint8), ((0, 0), (1, 0)))  # each row begins with filter 0
    header = struct.pack(">2I5B", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


# ---- Training. Library: minivae/training/trainer.py.
def batches(images, size, rng=None):
    """Batches of ``size`` images, shuffled by ``rng`` or in their order."""
    order = np.arange(len(images)) if rng is None else rng.permutation(len(images))
    for start in range(0, len(order), size):
        yield images[order[start : start + size]]


def main(argv=None):
    """Train, print the losses of each epoch, draw a hundred new digits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = os.environ.get("MINIVAE_DATA", "data")
    parser.add_argument("--data", type=Path, default=Path(data), help="folder of MNIST")
    parser.add_argument("--epochs", type=int, default=2, help="passes over the images")
    parser.add_argument("--out", type=Path, default=Path("runs/one_file"), help="output folder")
    args = parser.parse_args(argv)
    train, test = read_images(args.data, "train"), read_images(args.data, "t10k")
    rng = np.random.default_rng(0)
    p = initial_parameters(rng)
    adam = Adam(list(p.values()))

    def noise(n):
        return rng.standard_normal((n, 20), np.float32)

    for epoch in range(args.epochs):
        start, seen = time.perf_counter(), []
        for x in batches(train, 128, rng):
            loss, *_ = elbo(p, x, noise(len(x)))
            backpropagate(loss)
            adam.step()
            seen.append(loss.data * len(x) / len(train))
        tested = sum(elbo(p, x, noise(len(x)))[0].data * len(x) for x in batches(test, 500))
        seconds = time.perf_counter() - start
        print(f"epoch {epoch + 1}: train {sum(seen):.2f}, test {tested / len(test):.2f} nats per "
              f"image, {seconds:.0f} s", flush=True)  # fmt: skip
    digits = 1 / (1 + np.exp(-decode(p, Tensor(noise(100))).data))
    page = digits.reshape(10, 10, 28, 28).swapaxes(1, 2).reshape(280, 280)
    args.out.mkdir(parents=True, exist_ok=True)
    write_png(args.out / "samples.png", page)
    print(f"a hundred new digits: {args.out / 'samples.png'}")


if __name__ == "__main__":
    main()

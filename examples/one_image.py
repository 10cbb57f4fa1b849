"""One image through a convolutional VAE: shape and values at every layer, forward and backward.

A ConvVAE with two latents is trained briefly; then one test digit passes through it. The picture
has a row for each operation: on the left its output (up to twelve channels, or the numbers), on the
right the gradient of the loss with respect to that output. The page shows the same step by step.
Read the picture down on the left, then up on the right.
"""

import numpy as np
from _study import first_batches, options, run_example, save
from matplotlib.figure import Figure

import minivae as mv
from minivae import data, models, optim
from minivae.noise import EVALUATION, NoiseStream
from minivae.training.trainer import EagerStep

SHOWN = 12  # channels


def trained(images, steps, seed):
    """A ConvVAE after ``steps`` training steps."""
    model, noise = models.ConvVAE(seed=seed), NoiseStream(seed)
    step = EagerStep(model, optim.Adam(model.parameters(), lr=4e-3))
    for x in first_batches(images, 64, steps, seed):
        step(x, noise.draw(), 1.0)
    return model


def main(argv=None):
    """Train, pass the image through the model, write page, picture and numbers."""
    args = options(__doc__, "one_image", argv)
    digits = data.mnist.load(args.data)
    model = trained(digits.train.images, args.choose(5, 250, 3000), args.seed)
    x = digits.test.images[:1].reshape(1, 1, 28, 28) / np.float32(255)
    loss = model.elbo(x, NoiseStream(args.seed, EVALUATION)).loss
    graph = mv.graph.capture(loss, model, {"x": x, "loss": loss})
    page = mv.graph.trace(graph, args.out / "one_image.html")  # runs backward
    rows = layers(graph)
    print(f"{'operation':<17}{'in':<17}{'output':<17}{'mean':>9}{'std':>9}   gradient: mean, std")
    for row in rows:
        value, gradient = row["value"], row["gradient"]
        print(f"{row['operation']:<17}{row['module']:<17}{row['shape']:<17}{value['mean']:>9.3g}"
              f"{value['std']:>9.3g}{gradient['mean']:>12.3g}{gradient['std']:>10.3g}")  # fmt: skip
    save(args, {"data": digits.name, "layers": rows}, layers=draw(graph, x))
    print(f"Open {page} in a browser.")


def layers(graph):
    """For each output of an operation: names, shape, mean and deviation of value and gradient."""
    return [
        {
            "operation": type(op).__name__, "module": ".".join(graph.owner.get(op, ())),
            "shape": str(tensor.shape), "value": summary(tensor.data),
            "gradient": summary(tensor.grad),
        }
        for op, tensor in outputs(graph)
    ]  # fmt: skip


def outputs(graph):
    """(operation, output) in the order of the forward pass."""
    return [(op, t) for op in graph.ops for _, t in sorted(graph.outputs[op].items())]


def summary(array):
    """Mean and standard deviation."""
    return {"mean": float(array.mean()), "std": float(array.std())}


def draw(graph, x):
    """The picture: a row for the image, then one for each output of an operation."""
    rows = [("the image", x, None)]
    for op, tensor in outputs(graph):
        module = ".".join(graph.owner.get(op, ()))
        rows.append((f"{type(op).__name__}\n{module}", tensor.data, tensor.grad))
    figure = Figure(figsize=(15, 0.85 * len(rows) + 0.6), layout="constrained")
    axes = figure.subplots(len(rows), 2, squeeze=False)
    axes[0, 0].set_title("forward: values")
    axes[0, 1].set_title("backward: the loss's gradient (blue negative, red positive)")
    for (left, right), (name, value, gradient) in zip(axes, rows, strict=True):
        shape = "x".join(map(str, value.shape)) or "scalar"
        left.set_ylabel(f"{name}\n{shape}", rotation=0, ha="right", va="center", fontsize="small")
        show(left, value, "gray")
        show(right, gradient, "seismic")
    return figure


def show(axes, array, colours):
    """An array (1, C, H, W) as pictures, (1, D) as bars, one number as text."""
    axes.set(xticks=[], yticks=[])
    if array is None:
        axes.set_axis_off()
    elif array.ndim == 4:
        maps = array[0, :SHOWN]
        blank = np.full((SHOWN, *maps.shape[1:]), np.nan)
        blank[: len(maps)] = maps
        padded = np.pad(blank, ((0, 0), (0, 0), (0, 1)), constant_values=np.nan)
        top = abs(maps).max() or 1
        low = -top if colours == "seismic" else min(maps.min(), 0)
        axes.imshow(np.concatenate(padded, axis=1), cmap=colours, vmin=low, vmax=top)
    elif array.size > 1:
        axes.bar(np.arange(array.size), array.ravel(), width=1.0)
        axes.set_xlim(-0.5, array.size - 0.5)
        axes.axhline(0, color="0.5", lw=0.5)
    else:
        axes.text(0.5, 0.5, f"{array.item():.4g}", ha="center", va="center")


if __name__ == "__main__":
    run_example(main)

"""Draw moons of any phase, and the figure of ``_moons.py``: codes, decoded walks and errors."""

import numpy as np
from _study import tiles

import minivae as mv
from minivae.viz.without_backend import Figure

SIDE = 20


def moons(phase, radius):
    """Pictures (N, SIDE^2) in [0, 1]: half at phase 1/2, full at 1, after that waning."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    phase, radius = phase[:, None, None], radius[:, None, None]
    width = np.sqrt(np.maximum(radius**2 - y**2, 0))  # half the disc's width in each row
    waxing, waning = x - (1 - 2 * phase) * width, (3 - 2 * phase) * width - x
    lit = np.clip(np.where(phase <= 1, waxing, waning) + 0.5, 0, 1)  # edges one pixel soft
    return (lit * np.clip(radius - np.hypot(x, y) + 0.5, 0, 1)).reshape(len(phase), -1)


def draw(pair, x, phase, half, full):
    """For each network: its codes coloured by phase, and a decoded walk from half to full moon.

    Crosses are codes of phases that are not in the training set. The lower strips show the decoded
    walk less the true moons.
    """
    figure = Figure(figsize=(10, 12), layout="constrained")
    axes = figure.subplot_mosaic("AV;tt;aa;bb;vv;ww", height_ratios=(5, 1, 1, 1, 1, 1))
    truth = moons(np.linspace(0.5, 1, 9), np.full(9, 7.0))
    gap = moons(np.linspace(0.7, 0.8, 21), np.full(21, 7.0))  # not in the training set
    for (name, model), (plane, strip, off) in zip(pair.items(), ("Aab", "Vvw"), strict=True):
        with model.evaluating():
            codes, ends, unseen = (
                model.encode(mv.Tensor(a))[0].data for a in (x, np.stack([half, full]), gap)
            )
        shown = axes[plane].scatter(*codes.T, c=phase, s=2)
        axes[plane].plot(*unseen.T, "kx", ms=4, label="moons of 0.7 to 0.8, never seen")
        axes[plane].plot(*ends.T, "ro-", label="a walk from half to full")
        angle = np.linspace(0, 2 * np.pi, 200)
        axes[plane].plot(2 * np.cos(angle), 2 * np.sin(angle), "k:", label="N(0, I): two sigma")
        axes[plane].set(
            title=name, xlabel="$z_1$", ylabel="$z_2$", aspect="equal", adjustable="datalim"
        )
        axes[plane].legend(loc="upper left", fontsize="small")
        walk = model.interpolate(half, full, 9).data
        tiles(axes[strip], walk, 9, f"{name}: the walk decoded")
        tiles(axes[off], 0.5 + (walk - truth) / 2, 9, f"{name}: less the true moon (grey: none)")
    figure.colorbar(shown, ax=axes["V"], label="phase (none of 0.7 to 0.8 was seen)")
    tiles(axes["t"], truth, 9, "true moons")
    return figure

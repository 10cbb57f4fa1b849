"""The pictures of ``planted_bugs.py``: what each bug looks like, and the truth beside it."""

import numpy as np
from _study import panels, tiles

from minivae.viz import plots


def short(value):
    """A number of nats in a narrow column."""
    return f"{value:.1f}" if 10 <= abs(value) < 1e4 else f"{value:.3g}"


def draw_curves(drawn):
    """What one sees, each loss on its own scale and ten samples; below, what is the matter."""
    figure, axes = panels(4, 5, width=3.4, height=2.2, gridspec_kw={"height_ratios": [1, 0.7] * 2})
    figure.suptitle("reported training loss against the step; samples from the prior")
    cells = zip(axes[::2].ravel(), axes[1::2].ravel(), drawn.items(), strict=True)
    for curve, strip, (name, (reported, truth, samples, caught)) in cells:
        curve.plot(reported, lw=1)
        curve.set_title(name, weight="bold")
        if reported.min() < 0:
            curve.set_yscale("symlog", linthresh=100)
        said = f"truth: {short(truth[-1][1].loss)} nats, KL {short(truth[-1][1].kl)}"
        tiles(strip, samples, 5, f"{said}\n{'caught by ' * bool(caught)}{', '.join(caught)}")
    return figure


def draw_truth(truths):
    """-ELBO on test images by the right formula, each bug beside no bug: a line for the mean of the
    seeds, a band from the least to the most; a logarithmic scale where a bug would leave the axis.
    """
    figure, axes = panels(2, 5, width=3.0, height=2.6)
    figure.suptitle("the truth: -ELBO on test images against the step, all seeds; grey: no bug")
    right = truths["no bug"]
    top = 1.3 * right[0][0][1].loss
    for panel, (name, runs) in zip(axes.flat, truths.items(), strict=True):
        for each, colour in ((right, "0.5"), (runs, plots.TEST)):
            length = min(map(len, each))  # a runaway stops early
            steps = [k for k, _ in each[0][:length]]
            values = np.array([[terms.loss for _, terms in run[:length]] for run in each])
            panel.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.3, lw=0)
            panel.plot(steps, values.mean(axis=0), "o-", ms=3, color=colour)
        last = np.mean([run[-1][1].loss for run in runs])
        panel.set_title(f"{name}: {short(last)}", fontsize="medium")
        panel.set_xlim(0, 1.03 * right[0][-1][0])
        if last > top:
            panel.set_yscale("log")
        else:
            panel.set_ylim(0.9 * right[0][-1][1].loss, top)
    for panel in axes[:, 0]:
        panel.set_ylabel("nats per image")
    return figure

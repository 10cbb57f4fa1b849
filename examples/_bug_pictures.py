"""Figures of ``planted_bugs.py``: reported loss, samples and true -ELBO for each planted bug."""

import numpy as np
from _study import panels, tiles

from minivae.viz import plots


def short(value):
    """A number of nats as text for a narrow column."""
    return f"{value:.1f}" if 10 <= abs(value) < 1e4 else f"{value:.3g}"


def draw_curves(drawn):
    """For each bug: the reported loss, then ten samples titled with the true loss and checks."""
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
    """-ELBO on test images by the correct formula, with each bug (coloured) and without (grey).

    A line is the mean over the seeds, a band their range. The scale is logarithmic where the values
    with a bug exceed the axis.
    """
    figure, axes = panels(2, 5, width=3.0, height=2.6)
    figure.suptitle("the truth: -ELBO on test images against the step, all seeds; grey: no bug")
    right = truths["no bug"]
    top = 1.3 * right[0][0][1].loss
    for panel, (name, runs) in zip(axes.flat, truths.items(), strict=True):
        for each, colour in ((right, "0.5"), (runs, plots.TEST)):
            length = min(map(len, each))  # training that diverges stops early
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

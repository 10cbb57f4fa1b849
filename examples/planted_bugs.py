"""The classic bugs of a VAE, each planted: what the loss curve hides, and which check catches it.

The bugs are in ``_wrong_losses.py``, the checks in ``_loss_checks.py``. A small VAE is trained with
each bug on binarised digits. The loss that it reports falls, whatever the bug. Beside it stands the
truth: -ELBO on test images by the library's own formula, with the same weights.
"""

import numpy as np
from _loss_checks import CHECKS
from _study import first_batches, options, panels, save, tiles
from _wrong_losses import LOSSES

import minivae as mv
from minivae import data, evaluation, models, optim
from minivae import functional as F
from minivae.noise import EVALUATION, SAMPLING, NoiseStream
from minivae.training.trainer import EagerStep

BATCH, EVERY = 64, 30  # images a step; steps between two looks at the truth


class SmallVAE(models.MLPVAE):
    """784-200-20-200-784, trained with the loss it is given; everything else is the library's."""

    def __init__(self, loss, seed):
        super().__init__(hidden=200, seed=seed)
        self.own_loss = loss

    def elbo(self, x, noise, beta=1.0):
        x = F.flatten(mv.Tensor(x))
        return self.own_loss(*self.encode(x), self.decode, x, noise, beta)


def train(loss, images, steps, test_images, seed):
    """The model, the losses that it reported, and the truth every so often: (step, ELBO)."""
    model, noise = SmallVAE(loss, seed), NoiseStream(seed)
    step = EagerStep(model, optim.Adam(model.parameters(), lr=1e-3))
    test = data.PixelBatches(test_images, 500, binarize="static", train=False)
    reported, truth = [], []
    for k, x in enumerate(first_batches(images, BATCH, steps, seed), 1):
        reported.append(step(x, noise.draw(), 1.0).loss.item())
        runaway = reported[-1] < -1e5
        if k % EVERY == 0 or runaway:
            found = evaluation.elbo(model, test.epoch(0), NoiseStream(seed, EVALUATION))
            truth.append((k, found.terms))
        if runaway:
            break
    return model, np.array(reported), truth


def main(argv=None):
    """Train with every bug, put every loss to every check; print the table and draw the curves."""
    args = options(__doc__, "planted_bugs", argv)
    digits = data.mnist.load(args.data)
    steps = EVERY * (2 if args.short else 30)
    test_images = digits.test.images[: 200 if args.short else 1000]
    print(f"{digits.name}: {steps} steps with each bug, nats per image\n")
    print(f"{'':<22}{'reported loss':>20}{'truth':>9}{'rec':>9}{'KL':>9}  caught by")
    numbers, drawn, complaints = {}, {}, ""
    for name, loss in LOSSES.items():
        model, reported, truth = train(loss, digits.train.images, steps, test_images, args.seed)
        ends, last = (reported[:5].mean(), reported[-20:].mean()), truth[-1][1]
        found = {check: run(loss) for check, run in CHECKS.items()}
        row = "".join(f"{short(v):>9}" for v in (last.loss, last.rec, last.kl))
        marks = (check if found[check] else "." * len(check) for check in CHECKS)
        print(f"{name:<22}{short(ends[0]):>9} ->{short(ends[1]):>8}{row} ", *marks)
        complaints += "".join(f"- {name}, {check}: {s}\n" for check, s in found.items() if s)
        numbers[name] = {"reported": ends, **last._asdict(), "found": found}
        samples = model.sample(10, NoiseStream(args.seed, SAMPLING)).data
        drawn[name] = reported, truth, samples, [check for check in CHECKS if found[check]]
    print("\nWhat the checks say:", complaints, sep="\n")
    right = numbers["no bug"]
    flattered = [name for name, n in numbers.items() if n["reported"][1] < right["reported"][1]]
    better = [name for name, n in numbers.items() if n["loss"] < right["loss"]]
    print("Report a smaller loss than without a bug:", ", ".join(flattered))
    print("Are better in truth:", ", ".join(better) or "none")
    save(args, numbers, curves=draw_curves(drawn), truth=draw_truth(drawn))


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


def draw_truth(drawn):
    """-ELBO on test images by the right formula, all bugs on one scale."""
    figure, axes = panels(1, 1, width=9, height=5)
    for i, (name, (_, truth, _, _)) in enumerate(drawn.items()):
        steps, values = [k for k, _ in truth], [e.loss for _, e in truth]
        style = {"color": "k", "lw": 2.5} if i == 0 else {"ls": ("-", "--", ":")[i % 3]}
        axes.plot(steps, values, **style, label=f"{short(values[-1])}  {name}")
    axes.set(xlabel="step", ylabel="nats per image", ylim=(100, 300), title="the truth: -ELBO")
    axes.legend(title="at the end", loc="upper left", bbox_to_anchor=(1, 1))
    return figure


if __name__ == "__main__":
    main()

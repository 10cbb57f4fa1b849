"""Nine classic bugs of a VAE's loss, planted: what the loss curve hides, which check catches it.

The bugs are in ``_wrong_losses.py``, the checks in ``_loss_checks.py``. A small VAE is trained with
each bug on binarised digits. The reported loss falls with every bug. It is compared with the truth:
-ELBO on test images by the library's formula, with the same weights. The table shows the first
seed, the figure ``truth.png`` all seeds.
"""

import numpy as np
from _bug_pictures import draw_curves, draw_truth, short
from _loss_checks import CHECKS
from _study import first_batches, options, run_example, save
from _wrong_losses import LOSSES

import minivae as mv
from minivae import data, evaluation, models, optim
from minivae import functional as F
from minivae.noise import EVALUATION, SAMPLING, NoiseStream
from minivae.training.step import EagerStep

BATCH, EVERY = 64, 30  # images per step; steps between two evaluations of the truth


class SmallVAE(models.MLPVAE):
    """Layers 784-200-20-200-784 and a given loss; everything else is the library's ``MLPVAE``."""

    def __init__(self, loss, seed):
        super().__init__(hidden=200, seed=seed)
        self.own_loss = loss

    def elbo(self, x, noise, beta=1.0):
        x = F.flatten(mv.Tensor(x), 1)
        return self.own_loss(*self.encode(x), self.decode, x, noise, beta)


def train(loss, images, steps, test_images, seed):
    """The model, its reported losses, and the truth as (step, terms) every ``EVERY`` steps."""
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
    """Train with every bug, run every check on every loss; print the table and draw the curves."""
    args = options(__doc__, "planted_bugs", argv)
    digits = data.mnist.load(args.data)
    steps = EVERY * args.choose(2, 15, 30)
    test_images = digits.test.images[: args.choose(200, 500, 1000)]
    seeds = range(args.seed, args.seed + args.choose(2, 3, 3))
    print(f"{digits.name}: {steps} steps with each bug, nats per image, seed {seeds[0]}\n")
    print(f"{'':<22}{'reported loss':>20}{'truth':>9}{'rec':>9}{'KL':>9}  caught by")
    numbers, drawn, truths, complaints = {}, {}, {}, ""
    for name, loss in LOSSES.items():
        runs = [train(loss, digits.train.images, steps, test_images, seed) for seed in seeds]
        truths[name] = [truth for _, _, truth in runs]
        model, reported, truth = runs[0]
        ends, last = (reported[:5].mean(), reported[-20:].mean()), truth[-1][1]
        found = {check: run(loss) for check, run in CHECKS.items()}
        row = "".join(f"{short(v):>9}" for v in (last.loss, last.rec, last.kl))
        marks = (check if found[check] else "." * len(check) for check in CHECKS)
        print(f"{name:<22}{short(ends[0]):>9} ->{short(ends[1]):>8}{row} ", *marks)
        complaints += "".join(f"- {name}, {check}: {s}\n" for check, s in found.items() if s)
        numbers[name] = {"reported": ends, **last._asdict(), "found": found}
        numbers[name]["each seed"] = [each[-1][1].loss for each in truths[name]]
        samples = model.sample(10, NoiseStream(args.seed, SAMPLING)).data
        drawn[name] = reported, truth, samples, [check for check in CHECKS if found[check]]
    print("\nWhat the checks say:", complaints, sep="\n")
    right = numbers["no bug"]
    flattered = [name for name, n in numbers.items() if n["reported"][1] < right["reported"][1]]
    better = [n for n, row in numbers.items() if max(row["each seed"]) < min(right["each seed"])]
    print("Reported loss smaller than without a bug:", ", ".join(flattered))
    print("True loss smaller than without a bug, with every seed:", ", ".join(better) or "none")
    save(args, numbers, curves=draw_curves(drawn), truth=draw_truth(truths))


if __name__ == "__main__":
    run_example(main)

"""Posterior collapse: unused latents, and what beta, KL warm-up and free bits change.

A latent d is unused where q(z_d|x) = N(0, 1) for every x, so that its KL is 0. Often that is right:
a latent is better unused if it reduces rec by less than beta times its KL. It is a defect where
codes are wanted and the decoder needs none. The decoder that "sees pixels" needs none (Chen et al.
2017, arXiv:1611.02731): convolutions also give it near pixels that precede pixel i in row order,

    ln p(x|z) = sum_i ln Bernoulli(x_i; sigmoid(f_i(z) + g_i(x_<i))).

Two remedies change the objective in training; the model is always judged by its ELBO:
- warm-up (Bowman et al. 2016, arXiv:1511.06349, section 3.1): beta rises from 0 to its value;
- free bits (Kingma et al. 2016, arXiv:1606.04934, appendix C.8): sum_d max(lambda, KL_d), KL_d the
  mean over the batch: the first lambda nats of each latent cost nothing.

A latent is active if its posterior mean's variance over x exceeds 0.01 (arXiv:1509.00519, 5.2).
"""

from functools import partial

import numpy as np
from _collapsing_vae import Setting, SmallVAE
from _study import first_batches, options, panels, run_example, save

from minivae import data, optim
from minivae.evaluation import kl_per_latent
from minivae.noise import EVALUATION, NoiseStream
from minivae.training import objectives
from minivae.training.step import EagerStep
from minivae.viz import plots

BATCH, LR = 64, 3e-3
SETTINGS = {
    "beta 1/4": Setting(beta=0.25),
    "beta 1": Setting(),
    "beta 4": Setting(beta=4.0),
    "beta 16": Setting(beta=16.0),
    "beta 4, warm-up": Setting(beta=4.0, warm_up=0.5),
    "sees pixels": Setting(sees_pixels=True),
    "sees pixels, warm-up": Setting(sees_pixels=True, warm_up=0.5),
    "sees pixels, free bits": Setting(sees_pixels=True, free=0.5),
}


def train(setting, images, steps, seed):
    """The trained model, and the KL at each step."""
    model, noise, kl = SmallVAE(setting.sees_pixels, seed), NoiseStream(seed), []
    objective = partial(objectives.free_bits, nats=setting.free)  # 0 nats: the ELBO
    step = EagerStep(model, optim.Adam(model.parameters(), lr=LR), objective)
    for x in first_batches(images, BATCH, steps, seed):
        beta = setting.beta * min(1.0, (len(kl) + 1) / max(setting.warm_up * steps, 1))
        kl.append(step(x, noise.draw(), beta).kl.item())
    return model, np.array(kl)


def main(argv=None):
    """Train in every setting, print the results, and draw the KL of each latent."""
    args = options(__doc__, "posterior_collapse", argv)
    digits = data.mnist.load(args.data)
    test = data.PixelBatches(digits.test.images[:1000], 1000, binarize="static", train=False)
    x, steps, numbers, curves = next(test.epoch(0)), args.choose(60, 600, 1500), {}, {}
    print(f"{digits.name}; nats per image, on test images; -ELBO = rec + KL for every beta\n")
    print(f"{'':<24}{'rec':>8}{'KL':>8}{'-ELBO':>8}{'active':>8}   KL of each latent, sorted")
    for name, setting in SETTINGS.items():
        model, curves[name] = train(setting, digits.train.images, steps, args.seed)
        with model.evaluating():
            rec = model.elbo(x, NoiseStream(args.seed, EVALUATION)).rec.item()
            mu, logvar = (part.numpy() for part in model.encode(x))
        each, used = kl_per_latent(mu, logvar), mu.var(axis=0) > 0.01
        order, active = np.argsort(each)[::-1], int(used.sum())
        each, used = each[order], used[order]
        row = {"rec": rec, "kl": each.sum(), "loss": rec + each.sum()}
        numbers[name] = row | {"active": active, "each": list(each), "used": list(used)}
        shown = " ".join(f"{k:.2f}" for k in each[::3])
        print(f"{name:<24}{''.join(f'{v:8.2f}' for v in row.values())}{active:>8}   {shown}")
    explain(numbers)
    save(args, numbers, latents=draw_latents(numbers), training=draw_training(curves))


def explain(numbers):
    """Print what the table shows."""
    plain, dear, warm = (numbers[n] for n in ("beta 1", "beta 16", "beta 4, warm-up"))
    sees, free = numbers["sees pixels"], numbers["sees pixels, free bits"]
    print(
        f"\nWith beta 16 a nat of KL must reduce rec by 16 nats: KL {dear['kl']:.1f} instead of"
        f" {plain['kl']:.1f}.\nWarm-up ends with the same objective: with beta 4, -ELBO"
        f" {warm['loss']:.1f} instead of {numbers['beta 4']['loss']:.1f}.\nA decoder that sees"
        f" pixels needs less from the latents: KL {sees['kl']:.1f} instead of {plain['kl']:.1f},"
        f" -ELBO {sees['loss']:.1f} instead of {plain['loss']:.1f}.\nFree bits keep latents in use:"
        f" KL {free['kl']:.1f}, and -ELBO changes by {free['loss'] - sees['loss']:+.1f} nats."
    )


def draw_latents(numbers):
    """The KL of each latent, largest first; grey if the latent is not active."""
    figure, axes = panels(2, 4, width=3.2, height=2.4, sharey=True, sharex=True)
    for panel, (name, row) in zip(axes.ravel(), numbers.items(), strict=True):
        colours = np.where(row["used"], plots.TRAIN, "0.6")
        panel.bar(1 + np.arange(len(colours)), np.maximum(row["each"], 0.02), color=colours)
        panel.set_title(name, weight="bold", fontsize="medium")
        said = "{loss:.1f} = {rec:.1f} + {kl:.1f}\n{active} active".format(**row)
        panel.text(0.97, 0.95, said, ha="right", va="top", transform=panel.transAxes)
    figure.suptitle("KL of each latent in nats (blue: active), and -ELBO = rec + KL")
    return figure


def draw_training(curves):
    """The KL during training in each setting, means over 20 steps."""
    figure, axes = panels(1, 2, width=5.5, height=3.8, sharey=True)
    for name, kl in curves.items():
        x, smooth = np.arange(20, len(kl) + 1, 20), kl[: len(kl) // 20 * 20].reshape(-1, 20)
        axes[int(name.startswith("sees"))].plot(x, smooth.mean(axis=1), label=name)
    for panel, title in zip(axes, ("plain decoder", "decoder sees pixels"), strict=True):
        panel.set(title=title, xlabel="step", ylabel="KL, nats per image")
        panel.legend()
    return figure


if __name__ == "__main__":
    run_example(main)

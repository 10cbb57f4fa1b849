"""Time one whole training step of each model: batch selection, noise, forward, backward, Adam.

    python benchmarks/train_step.py --models mlp,conv,face --peers torch --json FILE

Before anything is timed, one step from the same weights and noise must give the same loss as
PyTorch's. Every contender runs in its own process, in turn, ``--repeats`` times.
"""

import argparse
import json
import sys
import time
from importlib.metadata import version

import numpy as np
from _harness import (
    ROOT,
    environment,
    markdown_table,
    peak_memory_mib,
    percentiles,
    replace_between_markers,
    run_child,
    write_json,
)

MODELS = {  # name -> class, image shape, batch, timed steps, Adam settings
    "mlp": ("MLPVAE", (1, 28, 28), 128, 200, {"lr": 1e-3}),
    "conv": ("ConvVAE", (1, 28, 28), 128, 25, {"lr": 1e-3}),
    "face": ("FaceVAE", (3, 256, 256), 16, 10, {"lr": 1e-4, "weight_decay": 1e-5}),
}
CONTENDERS = {  # contender -> environment it asks for
    "minivae": {},
    "torch": {},
    "torch-best": {
        "MALLOC_MMAP_THRESHOLD_": "1073741824",
        "MALLOC_TRIM_THRESHOLD_": "4294967296",
    },
}
PEERS = {"torch": ["torch", "torch-best"]}


def images_for(shape, batch):
    """A resident uint8 set: enough images that a batch is a real gather."""
    rng = np.random.default_rng(0)
    n = 8 * batch
    return (rng.random((n, *shape)) ** 4 * 255).astype(np.uint8)


def minivae_step(name):
    """(step, first_loss): ``step(i)`` trains on batch i and returns the loss."""
    import minivae as mv

    cls, shape, batch, _, adam_settings = MODELS[name]
    model = getattr(mv.models, cls)(seed=0)
    adam = mv.optim.Adam(model.parameters(), **adam_settings)
    images, stream = images_for(shape, batch), mv.NoiseStream(0)

    def step(i):
        index = np.random.default_rng(i).permutation(len(images))[:batch]
        x = mv.kernels.get("gather_pixels", images)(images, index, np.float32)
        adam.zero_grad()
        terms = model.elbo(x, stream.draw())
        terms.loss.backward()
        adam.step()
        return terms.loss.item()

    return step


def torch_step(name, best):
    """The same step in PyTorch, from minivae's weights; ``best``: fused Adam, channels_last."""
    import torch
    import torch_models

    import minivae as mv

    cls, shape, batch, _, adam_settings = MODELS[name]
    model = getattr(torch_models, cls)()
    initial = getattr(mv.models, cls)(seed=0).state_dict()
    model.load_state_dict({k: torch.from_numpy(v) for k, v in initial.items()})
    del initial
    layout = torch.channels_last if best and len(shape) == 3 and name != "mlp" else None
    if layout:
        model = model.to(memory_format=layout)
    adam = torch.optim.Adam(model.parameters(), fused=best or None, **adam_settings)
    images = torch.from_numpy(images_for(shape, batch))

    def step(i):
        index = np.random.default_rng(i).permutation(len(images))[:batch]
        x = images[torch.from_numpy(index)].float() / 255
        x = x.contiguous(memory_format=layout) if layout else x
        if i == 0:  # the noise minivae draws first, so that the first losses can be compared
            eps = torch.from_numpy(mv.Noise(0, 0).normal((batch, model.latent_dim)))
        else:
            eps = torch.randn(batch, model.latent_dim)
        adam.zero_grad()
        loss, _, _ = model.elbo(x, eps)
        loss.backward()
        adam.step()
        return loss.item()

    return step


def measure(contender, name):
    """Child process: milliseconds of each timed step, the first loss and the peak memory."""
    best = contender == "torch-best"
    step = minivae_step(name) if contender == "minivae" else torch_step(name, best)
    first_loss = step(0)
    timed = MODELS[name][3]
    for i in range(1, 1 + max(2, timed // 10)):
        step(i)
    times = []
    for i in range(timed):
        start = time.perf_counter()
        step(100 + i)
        times.append(1e3 * (time.perf_counter() - start))
    return {"ms": times, "first_loss": first_loss, "peak_mib": peak_memory_mib()}


def compare(name, contenders, repeats):
    """Interleaved runs of every contender on one model."""
    runs = {c: [] for c in contenders}
    for _ in range(repeats):
        for contender in contenders:
            runs[contender].append(
                run_child(__file__, "--child", contender, name, env=CONTENDERS[contender])
            )
    first = {c: r[0]["first_loss"] for c, r in runs.items()}
    for contender, loss in first.items():
        if abs(loss / first["minivae"] - 1) > 1e-4:
            raise SystemExit(f"{name}: first losses differ, nothing was timed: {first}")
        runs[contender] = {
            **percentiles(np.concatenate([run["ms"] for run in runs[contender]])),
            "medians": [float(np.median(run["ms"])) for run in runs[contender]],
            "peak_mib": max(run["peak_mib"] for run in runs[contender]),
            "first_loss": loss,
        }
    return runs


def table(record):
    """The README's table of a record."""
    rows = []
    for name, runs in record["models"].items():
        cls, _, batch, _, _ = MODELS[name]
        for contender, r in runs.items():
            ratio = runs["minivae"]["median"] / r["median"]
            rows.append(
                [
                    f"{cls} b{batch}",
                    contender,
                    f"{r['median']:.1f} ({r['p20']:.1f}-{r['p80']:.1f})",
                    f"{ratio:.2f}" if contender != "minivae" else "",
                    f"{r['peak_mib']:.0f}",
                ]
            )
    header = ["step", "", "ms, median (p20-p80)", "minivae / this", "peak MiB"]
    env = record["environment"]
    versions = ", ".join(f"{k} {v}" for k, v in env.items() if k not in ("date", "cores", "cpu"))
    return markdown_table(header, rows) + f"\n\n{env['cpu']}, {env['cores']} cores, {versions}."


def main(argv=None):
    """Run the comparison, print the table, write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="mlp,conv,face", help="comma-separated")
    parser.add_argument("--peers", default="torch", help="comma-separated, may be empty")
    parser.add_argument("--repeats", type=int, default=3, help="processes of each contender")
    parser.add_argument("--json", help="write the record here")
    parser.add_argument("--readme", action="store_true", help="put the table into README.md")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        print(json.dumps(measure(*args.child)))
        return
    contenders = ["minivae"]
    for peer in filter(None, args.peers.split(",")):
        contenders += PEERS[peer]
    record = {"environment": environment(), "models": {}}
    # Asked of the package, not of the module: a child's peak memory starts at its parent's.
    if "torch" in args.peers:
        record["environment"]["torch"] = version("torch")
    for name in args.models.split(","):
        record["models"][name] = compare(name, contenders, args.repeats)
    print(table(record))
    if args.json:
        write_json(args.json, record)
    if args.readme:
        replace_between_markers(ROOT / "README.md", "train_step", table(record))


if __name__ == "__main__":
    sys.exit(main())

"""Ten epochs of MLPVAE on MNIST, training and testing, beside the same script in PyTorch.

    python benchmarks/mnist_epochs.py --data DIR --json FILE

Both sides keep the set in memory as uint8, use batch 128 and Adam at 1e-3, and test with sampled
z after every epoch. Each run is a process of its own; the two take turns.
"""

import argparse
import json
import sys
import time
from importlib.metadata import version

import numpy as np
from _harness import environment, run_child, write_json
from _pages import markdown_table

BATCH = 128


def run_minivae(data, epochs):
    """Seconds of training and testing, and the last test loss."""
    import minivae as mv

    digits = mv.data.mnist.load(data)
    model = mv.models.MLPVAE(seed=0)
    adam = mv.optim.Adam(model.parameters(), lr=1e-3)
    stream = mv.NoiseStream(0)

    def batches(images, order):
        for start in range(0, len(images), BATCH):
            index = order[start : start + BATCH]
            yield mv.kernels.get("gather_pixels", images)(images[:, None], index, np.float32)

    start = time.perf_counter()
    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(len(digits.train.images))
        for x in batches(digits.train.images, order):
            adam.zero_grad()
            model.elbo(x, stream).loss.backward()
            adam.step()
        total = 0.0
        with mv.no_grad():
            for x in batches(digits.test.images, np.arange(len(digits.test.images))):
                total += model.elbo(x, stream).loss.item() * len(x)
    return time.perf_counter() - start, total / len(digits.test.images), digits.name


def run_torch(data, epochs):
    """The same in PyTorch; MNIST is read by minivae outside the timed part."""
    import torch
    import torch_models

    import minivae as mv

    digits = mv.data.mnist.load(data)
    train, test = (torch.tensor(a) for a in (digits.train.images, digits.test.images))
    torch.manual_seed(0)
    model = torch_models.MLPVAE()
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)

    def batches(images, order):
        for index in order.split(BATCH):
            yield images[index].float() / 255

    def elbo(x):
        return model.elbo(x, torch.randn(len(x), model.latent_dim))[0]

    start = time.perf_counter()
    for _ in range(epochs):
        for x in batches(train, torch.randperm(len(train))):
            adam.zero_grad()
            elbo(x).backward()
            adam.step()
        total = 0.0
        with torch.no_grad():
            for x in batches(test, torch.arange(len(test))):
                total += elbo(x).item() * len(x)
    return time.perf_counter() - start, total / len(test), digits.name


def main(argv=None):
    """Run both sides in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder with mnist/; default as the library's")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", help="write the record here")
    parser.add_argument("--child", choices=["minivae", "torch"], help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        run = run_minivae if args.child == "minivae" else run_torch
        seconds, test_loss, dataset = run(args.data, args.epochs)
        print(json.dumps({"seconds": seconds, "test_loss": test_loss, "dataset": dataset}))
        return
    record = {
        "environment": {**environment(), "torch": version("torch")},
        "epochs": args.epochs,
        "runs": {"minivae": [], "torch": []},
    }
    folder = ["--data", args.data] if args.data else []
    for _ in range(args.repeats):
        for side, runs in record["runs"].items():
            runs.append(run_child(__file__, "--child", side, "--epochs", args.epochs, *folder))
    print(table(record))
    if args.json:
        write_json(args.json, record)


def table(record):
    """A record as a table."""
    runs, env = record["runs"], record["environment"]
    rows = []
    for side, results in runs.items():
        seconds = [r["seconds"] for r in results]
        ratios = [
            m["seconds"] / r["seconds"] for m, r in zip(runs["minivae"], results, strict=True)
        ]
        rows.append(
            [
                side,
                f"{np.median(seconds):.1f} ({min(seconds):.1f}-{max(seconds):.1f})",
                f"{np.median([r['test_loss'] for r in results]):.2f}",
                f"{np.median(ratios):.2f}" if side != "minivae" else "",
            ]
        )
    epochs, dataset = record["epochs"], runs["minivae"][0]["dataset"]
    header = [
        f"{epochs} epochs, {dataset}",
        "seconds, median (range)",
        "test loss",
        "minivae / this",
    ]
    caption = f"{env['cpu']}, {env['cores']} cores, numpy {env['numpy']}, torch {env['torch']}."
    return markdown_table(header, rows) + "\n\n" + caption


if __name__ == "__main__":
    sys.exit(main())

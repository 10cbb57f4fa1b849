"""Time training on a GPU: a step of each model, and ten epochs of MNIST, beside PyTorch.

    python benchmarks/gpu_step.py --models mlp,conv,face --json FILE
    python benchmarks/gpu_step.py --epochs 10 --json FILE

A step is all of: choose the images of a batch from a resident uint8 set, scale them, draw noise,
forward, backward, Adam. All contenders start from the same weights; the loss of the first step, on
the same images and noise, must agree before anything is timed. Each has a process of its own, in
turn. Steps are queued as in training, without waiting for each: a sample is the time of a block of
them between two waits, divided by their number.

    minivae-graph         the captured step that ``Trainer`` uses
    torch-graph           the whole step as a CUDA graph, the choice of the batch included
    minivae               one operation at a time
    torch                 one operation at a time, fused Adam
    torch.compile         choice of the batch, noise and loss compiled, forward and backward
    torch-compile-graph   the same, and the whole step as a CUDA graph

float32; TF32 is off everywhere, or on everywhere with ``--tf32``.
"""

import argparse
import itertools
import json
import sys
import time
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from _harness import append_row, environment, percentiles, run_child, write_json
from _pages import markdown_table
from _step_contenders import WORKLOADS, first_noise, initial_model

import minivae as mv
from minivae.backend import cuda_unavailable, device_description, device_module, to_numpy
from minivae.data import PixelBatches
from minivae.data.device_batches import ResidentBatches
from minivae.evaluation import elbo
from minivae.noise import EVALUATION
from minivae.training.cuda_graph import TOGETHER, CapturedStep
from minivae.training.step import EagerStep

CONTENDERS = (  # in order of importance
    "minivae-graph", "torch-graph", "minivae", "torch", "torch.compile", "torch-compile-graph",
)  # fmt: skip
BATCHES = 64  # in the resident set
TOLERANCE = 1e-4  # relative, between first losses
BLOCK, BLOCKS = 40, 15  # steps between two waits, and how many such blocks


def images_for(work):
    """A resident uint8 set; the batches of an epoch are all full."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (BATCHES * work.batch, *work.image_shape), dtype=np.uint8)


def set_tf32(on):
    """Let matrix products round their factors to TF32 in all contenders, or in none."""
    from minivae import _cuda

    _cuda.set_tf32(on)


def minivae_step(work, graph, tf32):
    """(step, wait, group): ``step()`` trains on the next batch and returns its loss; ``group`` is a
    function that makes several steps at once, as training does, and the number of these steps.
    """
    set_tf32(tf32)
    model = initial_model(work).to("cuda")
    eager = EagerStep(model, mv.optim.Adam(model.parameters(), **work.adam))
    batches = ResidentBatches(PixelBatches(images_for(work), work.batch, seed=0))
    stream = mv.NoiseStream(0)

    def refuse(text):
        raise RuntimeError(text)

    train = CapturedStep(eager, refuse) if graph else eager

    def selections():
        epoch = 0
        while True:
            yield from batches.epoch(epoch)
            epoch += 1

    chosen = selections()

    def step():
        x = next(chosen)
        return train(x if graph else x.pixels(), stream.draw(), 1.0).loss.data

    def several():
        xs = list(itertools.islice(chosen, TOGETHER))  # of one epoch, which TOGETHER divides
        noises = [stream.draw() for _ in xs]
        return train.several(xs, noises, [1.0] * len(xs))[-1].loss.data

    wait = device_module().cuda.get_current_stream().synchronize
    return step, wait, (several, TOGETHER) if graph else (step, 1)


def torch_step(work, kind, tf32):
    """The same in PyTorch, from minivae's weights, on minivae's first batch and noise."""
    import torch
    import torch_models

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    model = getattr(torch_models, work.model)(**work.options)
    state = initial_model(work).state_dict()
    model.load_state_dict({name: torch.from_numpy(a) for name, a in state.items()})
    model = model.cuda()
    compiled, graph = "compile" in kind, "graph" in kind
    adam = torch.optim.Adam(model.parameters(), fused=True, capturable=graph, **work.adam)
    images = torch.from_numpy(images_for(work)).cuda()
    first = PixelBatches(images_for(work), work.batch, seed=0).order(0)
    order = torch.from_numpy(first).cuda().view(BATCHES, work.batch)
    number = torch.zeros((), dtype=torch.int64, device="cuda")  # the batch, counted on the GPU
    shape = (work.batch, model.latent_dim)

    def loss_of(number, eps):
        x = images[order[number % BATCHES]].float() / 255
        return model.elbo(x, torch.randn(shape, device="cuda") if eps is None else eps)[0]

    loss_of = torch.compile(loss_of) if compiled else loss_of

    def train(eps=None):
        loss = loss_of(number, eps)
        adam.zero_grad(set_to_none=True)  # backward makes the gradients anew: no zeros, no sums
        loss.backward()
        adam.step()
        number.add_(1)
        return loss.detach()

    recorded = []

    def step():
        if adam.state == {}:
            return train(torch.from_numpy(first_noise(work, model.latent_dim)).cuda())
        if not graph:
            return train()
        if not recorded:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    train()
            torch.cuda.current_stream().wait_stream(side)
            adam.zero_grad(set_to_none=True)  # the gradients of the graph lie in its own memory
            recorded.append(torch.cuda.CUDAGraph())
            with torch.cuda.graph(recorded[0]):
                recorded.append(train())
        recorded[0].replay()
        return recorded[1]

    return step, torch.cuda.synchronize, (step, 1)


def measure(contender, name, tf32):
    """Child process: microseconds per step, the first loss and the seconds of start-up."""
    start = time.perf_counter()
    work = WORKLOADS[name]
    if contender.startswith("minivae"):
        step, wait, group = minivae_step(work, contender == "minivae-graph", tf32)
    else:
        step, wait, group = torch_step(work, contender, tf32)
    first = float(np.asarray(to_numpy(f) if hasattr(f := step(), "get") else f.cpu()))
    for _ in range(3 * TOGETHER - 1):
        step()
    run, steps = group
    run()  # the first call captures
    wait()
    started = time.perf_counter() - start
    times = []
    for _ in range(BLOCKS):
        begin = time.perf_counter()
        for _ in range(BLOCK // steps):
            loss = run()
        wait()
        times.append(1e6 * (time.perf_counter() - begin) / BLOCK)
    last = float(np.asarray(to_numpy(loss) if hasattr(loss, "get") else loss.cpu()))
    return {"us": times, "first_loss": first, "last_loss": last, "startup_seconds": started}


def compare(name, contenders, tf32, repeats, tell=lambda **row: None):
    """Interleaved runs of every contender on one model; a failed one is kept with its error.

    ``tell`` is called with each run, or with the reason for its failure, as soon as it ends.
    """
    runs, failed = {}, {}
    for _ in range(repeats):
        for contender in contenders:
            if contender in failed:
                continue
            try:
                arguments = ["--child", contender, name, *(["--tf32"] if tf32 else [])]
                found = run_child(__file__, *arguments)
            except RuntimeError as error:
                failed[contender] = str(error).strip().splitlines()[-1]
                print(f"{name} {contender}: {failed[contender]}", flush=True)
                tell(model=name, contender=contender, failed=failed[contender])
                continue
            tell(model=name, contender=contender, **found)
            runs.setdefault(contender, []).append(found)
            expected = next(iter(runs.values()))[0]["first_loss"]
            if not abs(found["first_loss"] / expected - 1) <= TOLERANCE:
                failed[contender] = f"first loss {found['first_loss']}, not {expected}"
                del runs[contender]
                print(f"{name} {contender}: {failed[contender]}", flush=True)
    result = {}
    for contender, found in runs.items():
        result[contender] = {
            **percentiles(np.concatenate([run["us"] for run in found])),
            **{key: found[0][key] for key in ("first_loss", "last_loss", "startup_seconds")},
        }
        print(f"{name:<5} {contender:<14} {result[contender]['median']:10.1f} us", flush=True)
    return {"microseconds": result, "failed": failed}


def train_epochs(epochs, data, batch=128, test_batch=2000):
    """Ten epochs of MLPVAE with a test after each, timed after start-up.

    Start-up is what happens once in a process: kernels loaded, the images copied, one epoch of a
    model that is thrown away. The timed part builds its own model, optimiser and graph.
    """
    digits = mv.data.mnist.load(data, download=False)  # there may be no network to wait for
    train, test = (
        ResidentBatches(PixelBatches(images, size, seed=0, train=shuffled))
        for images, size, shuffled in (
            (digits.train.images, batch, True),
            (digits.test.images, test_batch, False),
        )
    )

    def run(count):
        model = mv.models.MLPVAE(seed=0).to("cuda")
        adam = mv.optim.Adam(model.parameters(), lr=1e-3)
        step, stream = CapturedStep(EagerStep(model, adam)), mv.NoiseStream(0)
        tested = None
        for epoch in range(count):
            batches = train.epoch(epoch)
            while xs := list(itertools.islice(batches, step.together)):
                step.several(xs, [stream.draw() for _ in xs], [1.0] * len(xs))
            arrays = (x.pixels() for x in test.epoch(0))
            tested = elbo(model, arrays, mv.NoiseStream(0, EVALUATION)).terms
        device_module().cuda.get_current_stream().synchronize()
        return tested.loss, step.reasons

    begin = time.perf_counter()
    run(1)
    started, begin = time.perf_counter() - begin, time.perf_counter()
    loss, reasons = run(epochs)
    return {
        "seconds": time.perf_counter() - begin, "startup_seconds": started, "epochs": epochs,
        "test_loss": loss, "dataset": digits.name, "not_in_a_graph": reasons,
    }  # fmt: skip


def about(tf32):
    """The environment, with what was compared and TF32 stated."""
    found = {**environment(), **device_description(), "tf32": tf32}
    for name in ("torch",):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            pass
    return found


def table(record):
    """The steps as a Markdown table."""
    rows = []
    for name, found in record["models"].items():
        work, runs = WORKLOADS[name], found["microseconds"]
        own = runs.get("minivae-graph", {}).get("median")
        for contender, r in runs.items():
            ratio = f"{own / r['median']:.2f}" if own and contender != "minivae-graph" else ""
            spread = f"{r['median']:.0f} ({r['p20']:.0f}-{r['p80']:.0f})"
            rows.append([f"{work.model} b{work.batch}", contender, spread, ratio])
    header = ["step", "", "µs, median (p20-p80)", "minivae-graph / this"]
    env = record["environment"]
    tf32 = "TF32 on" if env["tf32"] else "TF32 off"
    caption = f"{env['name']}, float32, {tf32}, torch {env.get('torch', 'missing')}."
    return markdown_table(header, rows) + "\n\n" + caption


def main(argv=None):
    """Time steps or, with --epochs, epochs of MNIST; print the result and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="mlp,conv,face", help="models, comma-separated")
    parser.add_argument("--contenders", default=",".join(CONTENDERS), help="comma-separated")
    parser.add_argument("--repeats", type=int, default=2, help="processes of each contender")
    parser.add_argument("--tf32", action="store_true", help="allow TF32 in all contenders")
    parser.add_argument("--epochs", type=int, help="time this many epochs of MNIST instead")
    parser.add_argument("--data", help="folder with mnist/; default as the library's")
    parser.add_argument("--json", help="write the record here")
    parser.add_argument("--rows", help="append each result to this file as soon as it is known")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        print(json.dumps(measure(*args.child, args.tf32)))
        return
    if reason := cuda_unavailable():
        raise SystemExit(f"skipped: no device: {reason}")
    record = {"environment": about(args.tf32)}
    tell = partial(append_row, args.rows, part="steps")
    tell(environment=record["environment"])
    if args.epochs:
        record["mnist_epochs"] = train_epochs(args.epochs, args.data)
        print(json.dumps(record["mnist_epochs"]))
        tell(epochs=record["mnist_epochs"])
    else:
        record["models"] = {
            name: compare(name, args.contenders.split(","), args.tf32, args.repeats, tell)
            for name in args.models.split(",")
        }
        print(table(record))
    if args.json:
        write_json(args.json, record)


if __name__ == "__main__":
    sys.exit(main())

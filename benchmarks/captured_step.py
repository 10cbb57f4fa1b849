"""Count the kernel launches of a captured step, without a GPU, and time the host's share of it.

    python benchmarks/captured_step.py [--json benchmarks/results/captured_step.json]

The step of each model is captured on the stand-in for a GPU (tests/cuda), with tiny arrays:
launches depend on the model and not on its sizes. Copies count, and so does the second kernel of an
array function for which CuPy has two. The host's time is that of ``CapturedStep`` alone: the graph
is empty and the arrays are the stand-in's, so the time of CuPy's own calls is not included. It is
the least of many repeats, because other programs can only make a repeat longer.
"""

import argparse
import itertools
import sys
import time
from unittest import mock

import numpy as np
from _harness import ROOT, environment, write_json
from _pages import markdown_table

import minivae as mv
from minivae import models, optim
from minivae.data import PixelBatches
from minivae.training import cuda_graph
from minivae.training.step import EagerStep

MODELS = {
    "MLPVAE": (lambda: models.MLPVAE(3, 5, seed=1), (1, 28, 28)),
    "ConvVAE": (lambda: models.ConvVAE(2, seed=1), (1, 28, 28)),
    "FaceVAE": (lambda: models.FaceVAE(3, image_size=16, channels=1, seed=1), (1, 16, 16)),
}
# (launches, longest chain of dependent launches) before layers took one launch for each product:
# counted by this script at 71311cb, where all launches were on one stream.
BEFORE = {"MLPVAE": (49, 49), "ConvVAE": (73, 73), "FaceVAE": (131, 131)}
HOST_BEFORE = 44  # microseconds at 71311cb, where steps could only be started one by one


def captured(make, shape, batches=40):
    """(step, its batches) of a model, captured."""
    model = make().to("cuda")
    eager = EagerStep(model, optim.Adam(model.parameters()))
    images = np.random.default_rng(0).integers(0, 256, (2 * batches, *shape[1:]), dtype=np.uint8)
    images = PixelBatches(images.reshape(2 * batches, *shape), 2, seed=0, binarize="dynamic")
    step, resident = cuda_graph.captured(eager, images, tell=refuse)
    stream = mv.NoiseStream(0)
    for x in itertools.islice(resident.epoch(0), 2):
        step(x, stream.draw(), 1.0)
    return step, resident


def refuse(text):
    """Raise RuntimeError: a step that runs eagerly has no captured launches to count."""
    raise RuntimeError(text)


def host_microseconds(step, resident, repeats=60):
    """(one by one, several at a time): least microseconds per step, with graphs that do nothing."""
    together = step.together
    with mock.patch("cupy_streams.Graph.launch", lambda *_: None):
        least = [float("inf")] * 2
        for repeat in range(repeats):
            stream = mv.NoiseStream(0, 1000 * repeat)
            for way, count in enumerate((1, together)):
                xs = list(resident.epoch(0))[:together]
                begin = time.perf_counter()
                for k in range(0, together, count):
                    noises = [stream.draw() for _ in range(count)]
                    step.several(xs[k : k + count], noises, [1.0] * count)
                took = 1e6 * (time.perf_counter() - begin) / together
                least[way] = min(least[way], took)
    return least


def measure():
    """The record."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "cuda")]
    import cuda_build  # here, because tables.py runs without tests/
    from cuda_emulation import emulated_device

    steps = {}
    with emulated_device(cuda_build.emulated()):
        for name, (make, shape) in MODELS.items():
            step, resident = captured(make, shape)
            graph = step.recording
            steps[name] = {"launches": graph.size, "in a row": graph.longest_path}
            if name == "MLPVAE":
                host = host_microseconds(step, resident)
    return {"environment": environment(), "steps": steps, "host_microseconds": host}


def table(record):
    """Launches of each model's step, before and now, and the host's time."""
    rows = []
    for name, found in record["steps"].items():
        before = BEFORE[name]
        rows.append([name, before[0], found["launches"], before[1], found["in a row"]])
    header = ["step of", "launches before", "now", "one after another before", "now"]
    one, several = record["host_microseconds"]
    caption = (
        f"`CapturedStep` with an empty graph: {one:.0f} µs of Python per step, {several:.0f} µs "
        f"where {cuda_graph.TOGETHER} steps are one graph, as in training ({HOST_BEFORE} before). "
        f"On {record['environment']['cpu']}."
    )
    return markdown_table(header, rows) + "\n\n" + caption


def main(argv=None):
    """Count, print, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="write the record here")
    args = parser.parse_args(argv)
    record = measure()
    print(table(record))
    if args.json:
        write_json(args.json, record)


if __name__ == "__main__":
    main()

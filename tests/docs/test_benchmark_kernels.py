"""benchmarks/kernels.py on small arrays: counted bytes, checks of results, and tables."""

import csv
import importlib
import json
import sys
from pathlib import Path

import cuda_build
import numpy as np
import pytest
from cuda_emulation import emulated_device

from kernel_versions import versions_by_kernel

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    """The modules kernels, _kernel_workloads and _kernel_contenders of benchmarks/."""
    sys.path.insert(0, str(FOLDER))
    try:
        names = ("_kernel_workloads", "_kernel_contenders", "kernels", "gpu_step")
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(FOLDER))


def named(bench, name):
    work = bench["_kernel_workloads"]
    return next(w for w in (*work.CPU, *work.GPU) if w.name == name)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        # read mu, logvar, eps and write z, kl; read those, dz, dkl and write dmu, dlogvar
        ("reparam_kl", (10, 30), 10 * 30 * (16 + 24) + 10 * 8),
        ("reparam_kl, noise drawn", (10, 30), 10 * 30 * (12 + 20) + 10 * 8),
        ("bce_with_logits", (10, 30), 10 * 30 * 12 + 10 * 4),
        ("adam", (100,), 100 * 28),  # read p, g, m, v; write p, m, v
        ("relu", (10, 30), 10 * 30 * (8 + 12)),
        ("gather_pixels", (10, 30), 10 * 30 * 5 + 10 * 8),
        ("normal", (10, 30), 10 * 30 * 4),
        ("matmul", (3, 5, 7), 4 * (15 + 35 + 7 + 21)),
    ],
)
def test_bytes_are_those_of_arguments_and_results(bench, name, shape, expected):
    work = bench["_kernel_workloads"]
    calls = named(bench, name).make(np.random.default_rng(0), shape, np.float32)
    assert work.traffic(calls, work.run(work.reference, calls)) == expected
    assert work.operations(calls) > 0


class Wrong:
    """The reference kernels with one wrong result."""

    draws = True
    place = staticmethod(np.array)
    fetch = staticmethod(np.asarray)

    def __init__(self, bench, change):
        self.name, self.bench, self.change = "wrong", bench, change

    def run(self, calls):
        work = self.bench["_kernel_workloads"]
        results = work.run(work.reference, calls)
        self.change(work.all_results(calls, results)[-1])
        return results


def one_element(a):
    a.flat[a.size // 2] += 0.01


def not_a_number(a):
    a.flat[0] = np.nan


@pytest.mark.parametrize("change", [one_element, not_a_number])
@pytest.mark.parametrize("name", ["reparam_kl", "adam", "matmul", "conv2d and adjoints"])
def test_nothing_wrong_is_timed(bench, name, change):
    workload = named(bench, name)
    calls = workload.make(np.random.default_rng(0), workload.small, np.float32)
    with pytest.raises(bench["kernels"].WrongResultError, match=r"wrong at .*: error"):
        bench["kernels"].check(Wrong(bench, change), workload, calls)
    assert bench["kernels"].check(Wrong(bench, lambda a: None), workload, calls) < 1e-4


def test_a_run_leaves_its_files(bench, tmp_path, capsys):
    files = {kind: tmp_path / f"k.{kind}" for kind in ("json", "csv", "png")}
    bench["kernels"].main([
        "--device", "cpu", "--quick", "--kernels", "bce", "--contenders", "reference",
        "--json", str(files["json"]), "--csv", str(files["csv"]), "--plot", str(files["png"]),
    ])  # fmt: skip
    record = json.loads(files["json"].read_text())
    assert {"environment", "copy_gb_s", "rows", "skipped", "left_out"} <= record.keys()
    assert [row["state"] for row in record["rows"]] == ["cold", "warm"]
    with open(files["csv"], newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["median_us"]) for row in rows] == [r["median_us"] for r in record["rows"]]
    for row in record["rows"]:
        assert row["p20_us"] <= row["median_us"] <= row["p80_us"]
        assert row["gb_s"] == pytest.approx(row["bytes"] / row["median_us"] / 1e3)
        assert row["share"] == pytest.approx(row["gb_s"] / record["copy_gb_s"])
    assert files["png"].read_bytes()[1:4] == b"PNG"
    table = capsys.readouterr().out
    bench["kernels"].main(["--from-json", str(files["json"])])
    assert capsys.readouterr().out in table


@pytest.mark.slow
def test_every_workload_is_checked_on_every_variant_of_the_stand_in(bench):
    """Every workload that a GPU would time passes its check on the stand-in; nothing is timed."""
    versions = versions_by_kernel()
    with emulated_device(cuda_build.emulated()):
        found, reasons = bench["_kernel_contenders"].contenders("cuda")
        names = {contender.name for contender in found}
        assert {
            "reference",
            "cupy",
            "cuda",
            *(f"cuda:{k}" for k in versions["reparam_kl"]),
        } <= names
        assert not any(name.startswith("cuda") for name in reasons)
        rows, skipped = bench["kernels"].run_all(
            "cuda", bench["_kernel_workloads"].GPU, found, quick=True
        )
    assert not [s for s in skipped if s["contender"] == "cuda" or "Error" in s["why"]]
    timed = {(row["kernel"], row["contender"]) for row in rows}
    assert {("reparam_kl", f"cuda:{k}") for k in versions["reparam_kl"]} <= timed
    assert ("reparam_kl, noise drawn", "cuda:5") in timed
    assert {("matmul", f"cuda:{k}") for k in versions["matmul"][:-1]} <= timed


@pytest.mark.slow
def test_epochs_and_steps_on_the_stand_in(bench, monkeypatch):
    """gpu_step's minivae part runs epochs and steps on the stand-in, on a few images."""
    import minivae as mv

    step = bench["gpu_step"]
    pixels = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
    digits = mv.data.Dataset("mnist", mv.data.Part(pixels), mv.data.Part(pixels[:4]))
    monkeypatch.setattr(mv.data.mnist, "load", lambda folder, download: digits)
    small = step.WORKLOADS["mlp"]._replace(batch=2, options={"hidden": 4, "latent_dim": 2})
    monkeypatch.setitem(step.WORKLOADS, "mlp", small)
    monkeypatch.setattr(step, "set_tf32", lambda on: None)
    with emulated_device(cuda_build.emulated()):
        record = step.train_epochs(2, None, batch=5, test_batch=3)
        assert len(record["not_in_a_graph"]) == 1 and np.isfinite(record["test_loss"])
        losses = []
        for graph in (False, True):
            run, wait, (group, steps) = step.minivae_step(small, graph, False)
            found = [float(run().get()) for _ in range(8)]
            for _ in range(8 // steps):
                loss = group()
            wait()
            losses.append([*found, float(loss.get())])
    np.testing.assert_array_equal(losses[0], losses[1])

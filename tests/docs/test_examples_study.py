"""The examples for study: each runs in short form and leaves the pictures and numbers it claims."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minivae.data import mnist
from minivae.data.synthetic import digits as synthetic_digits

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """study(name): the numbers of an example in short form; run once, pictures checked."""
    results = {}
    digits = synthetic_digits.load(2000, 1000)
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(EXAMPLES)
    forget_examples()  # a figure of docs/ may have the name of an example
    patch.setattr(mnist, "load", lambda folder: digits)  # no network in tests

    def run(name):
        if name not in results:
            out = tmp_path_factory.mktemp(name)
            before = sorted(p.name for p in Path.cwd().iterdir())
            importlib.import_module(name).main(["--short", "--out", str(out)])
            assert before == sorted(p.name for p in Path.cwd().iterdir()), "wrote outside --out"
            results[name] = json.loads((out / "numbers.json").read_text()), check_pictures(out)
        return results[name]

    yield run
    patch.undo()
    forget_examples()


def forget_examples():
    """Remove the examples' modules from ``sys.modules``, so that others can use their names."""
    for path in EXAMPLES.glob("*.py"):
        sys.modules.pop(path.stem, None)


def check_pictures(out):
    """Names of the PNG pictures in a folder; none may be blank."""
    names = {path.stem for path in out.glob("*.png")}
    for name in names:
        pixels = np.asarray(Image.open(out / f"{name}.png").convert("L"))
        assert min(pixels.shape) > 200 and pixels.std() > 5, name
    return names


def test_examples_are_short():
    for path in EXAMPLES.glob("*.py"):
        if "_study" in path.read_text():
            assert len(path.read_text().splitlines()) < 120, path.name


def test_draw_graph_needs_no_graphviz(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "graphviz", None)  # what import does when it is not there
    monkeypatch.syspath_prepend(EXAMPLES)
    importlib.import_module("draw_graph").main(["--out", str(tmp_path)])
    assert "Graphviz is not installed" in capsys.readouterr().out
    assert "NegativeELBO" in (tmp_path / "graph.svg").read_text()
    forget_examples()


def test_missing_data_are_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(EXAMPLES)
    with pytest.raises(SystemExit) as stop:
        importlib.import_module("_study").run_example(
            lambda argv: mnist.read_folder(tmp_path / "none")
        )
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.startswith("error: ") and error.count("\n") == 1
    forget_examples()


def test_three_sizes_of_a_run(tmp_path, monkeypatch):
    """--short, the default, --full; the first and last exclude each other."""
    monkeypatch.syspath_prepend(EXAMPLES)
    shared = importlib.import_module("_study")

    def chosen(*words):
        args = shared.options("Doc.", "name", ["--out", str(tmp_path), *words])
        return args.choose("short", "usual", "full")

    assert [chosen("--short"), chosen(), chosen("--full")] == ["short", "usual", "full"]
    with pytest.raises(SystemExit):
        chosen("--short", "--full")
    forget_examples()


@pytest.mark.slow
def test_backprop_by_hand(study):
    numbers, pictures = study("backprop_by_hand")
    assert pictures == {"slopes"}
    assert numbers["loss"] == pytest.approx(
        0.5 * (0.7 * np.tanh(0.75) + 0.6 * np.tanh(0.1) - 0.3) ** 2
    )
    assert set(numbers["differences"]) == {"W1", "b1", "w2", "b2"}
    assert max(numbers["differences"].values()) < 1e-15
    assert numbers["steps"] == ["Mul", "Sum", "Pow", "Sub", "Linear", "Tanh", "Linear"]


def test_trace_backward(study):
    numbers, pictures = study("trace_backward")
    assert pictures == {"visits"}
    assert numbers["gradients"] == {"engine": 4, "every path": 4, "each once": 2}
    assert numbers["visits"] == [1, 3, 7, 15, 31]  # 2^n - 1


@pytest.mark.minutes
def test_one_image(study):
    numbers, pictures = study("one_image")
    assert pictures == {"layers"}
    rows = numbers["layers"]
    assert [row["shape"] for row in rows if row["operation"].startswith("Conv")] == [
        "(1, 32, 14, 14)", "(1, 64, 7, 7)", "(1, 64, 14, 14)", "(1, 32, 28, 28)", "(1, 1, 28, 28)",
    ]  # fmt: skip
    assert rows[-1]["operation"] == "NegativeELBO" and rows[-1]["gradient"] == {"mean": 1, "std": 0}
    (kl,) = (r["value"]["mean"] for r in rows if r["operation"] == "ReparameterizeKL"
             and r["shape"] == "(1,)")  # fmt: skip
    (rec,) = (row["value"]["mean"] for row in rows if row["operation"] == "BCEWithLogits")
    assert rows[-1]["value"]["mean"] == pytest.approx(rec + kl, rel=1e-6)


@pytest.mark.slow
def test_elbo_identity(study):
    numbers, pictures = study("elbo_identity")
    assert pictures == {"gap"}
    assert numbers["violation"] < 1e-10
    assert numbers["smallest_kl"] > 0
    assert numbers["final_gap"] == pytest.approx(numbers["best_gap"], rel=0.02)  # short form
    assert len(numbers["maxima"]) == 2


def test_gaussian_kl(study):
    numbers, pictures = study("gaussian_kl")
    assert pictures == {"formulas"}
    for row in numbers["three_ways"]:
        assert row["quadrature"] == pytest.approx(row["closed"], abs=1e-10)
        assert abs(row["z"]) < 4
    right, *wrong = numbers["formulas"].values()
    assert right["sigma"] == pytest.approx(1, abs=1e-4) and abs(right["least"]) < 1e-9
    assert right["posterior"] == pytest.approx(5**-0.5, rel=1e-4)
    assert all(abs(row["posterior"] - 5**-0.5) > 0.005 for row in wrong)
    (naive, negative), (stable, never) = numbers["float32"].values()
    assert naive > 0.05 and negative > 0.01 and stable < 1e-3 and never == 0


def test_gradcheck_tour(study):
    numbers, pictures = study("gradcheck_tour")
    assert pictures == {"error_against_step"}
    for key, (step, error, slope) in numbers["best"].items():
        order = {"forward": 1, "central": 2}[key.split()[0]]
        rounding = {"float64": 2.0**-53, "float32": 2.0**-24}[key.split()[1]]
        assert slope == pytest.approx(order, abs=0.1)
        assert 0.1 < step / rounding ** (1 / (order + 1)) < 10
        assert error < 10 * rounding ** (order / (order + 1))
    assert max(numbers["linear at 1, float64"], numbers["linear at 1, float32"]) < 1e-15
    right, *mistakes = numbers["caught"].items()
    assert right[1] is None
    for name, complaint in mistakes:
        assert complaint and "input 0" in complaint, name
    assert numbers["ones only, through sum"] is None and "kink" in numbers["kink"]


@pytest.mark.minutes
def test_ae_vs_vae(study):
    numbers, pictures = study("ae_vs_vae")
    assert pictures == {"digits", "samples", "moons"}
    assert all(np.diff(numbers["em"]) > -1e-6)  # EM never loses likelihood
    assert numbers["error"]["AE"] < numbers["error"]["VAE"]  # one network, trained both ways
    assert numbers["holes"]["AE"] > 0.5  # the codes of an AE lie where they like
    assert numbers["holes"]["VAE"] < 0.2 and numbers["holes"]["N(0, I) itself"] < 0.03
    assert len(numbers["moons"]) == 2
    for row in numbers["moons"]:  # [midpoint, ends]
        assert row["VAE"][0] < 0.8 * row["AE"][0] < row["average"]


@pytest.mark.minutes
def test_planted_bugs(study):
    numbers, pictures = study("planted_bugs")
    assert pictures == {"curves", "truth"}
    caught = {
        name: {c for c, said in row["found"].items() if said} for name, row in numbers.items()
    }
    assert caught == {
        "no bug": set(),
        "std = exp(logvar)": {"monte_carlo", "bound"},
        "KL: ln s for ln s^2": {"monte_carlo", "minimum", "bound"},
        "KL: 1/2 lost": {"monte_carlo", "beta"},
        "KL: mean over latents": {"monte_carlo", "bound", "beta"},
        "KL: sign": {"monte_carlo", "minimum", "bound", "beta"},
        "rec: mean over pixels": {"bound", "beta"},
        "rec: sigmoid twice": {"bound", "certain", "beta"},
        "backward: second draw": {"gradcheck", "repeated"},
        "backward: lost term": {"gradcheck"},
    }
    for name, row in numbers.items():  # the curve hides them all
        assert len(row["each seed"]) == 2 and row["each seed"][0] == row["loss"]
        assert row["reported"][1] < 0.8 * row["reported"][0], name
        assert row["loss"] == pytest.approx(row["rec"] + row["kl"], rel=1e-6)
    assert "784" in numbers["rec: mean over pixels"]["found"]["beta"]
    assert numbers["KL: mean over latents"]["loss"] > numbers["no bug"]["loss"] + 20
    assert numbers["KL: mean over latents"]["reported"][1] < numbers["no bug"]["reported"][1]


@pytest.mark.slow
def test_posterior_collapse(study):
    numbers, pictures = study("posterior_collapse")
    assert pictures == {"latents", "training"}
    by_beta = [numbers[f"beta {beta}"]["kl"] for beta in ("1/4", 1, 4, 16)]
    assert all(np.diff(by_beta) < 0)
    assert numbers["beta 1"]["active"] == 20 and numbers["beta 16"]["active"] < 10
    for row in numbers.values():
        assert len(row["each"]) == 20 and min(row["each"]) >= 0
        assert len(row["used"]) == 20 and sum(row["used"]) == row["active"]
        assert sum(row["each"]) == pytest.approx(row["kl"])
    sees, free = numbers["sees pixels"], numbers["sees pixels, free bits"]
    assert sees["kl"] < numbers["beta 1"]["kl"] and sees["loss"] < numbers["beta 1"]["loss"]
    assert free["kl"] > 1.4 * sees["kl"] and free["each"][-1] > 2 * sees["each"][-1]


@pytest.mark.slow
def test_a_decoder_that_sees_pixels_sees_only_those_before(study):
    study("posterior_collapse")
    collapsing = importlib.import_module("_collapsing_vae")
    model = collapsing.SmallVAE(sees_pixels=True, seed=0)
    x = np.zeros((2, 1, 28, 28), np.float32)
    x[1, 0, 10, 12] = 1
    blank, changed = model.context(x).data
    seen = np.flatnonzero(blank != changed)
    assert seen.min() == 10 * 28 + 13 and len(seen) > 2

"""examples/reproduce.py: recipes in a tiny form, what they record and what they print."""

import csv
import dataclasses
import functools
import importlib
import inspect
import itertools
import math
import shutil
import signal
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from minivae.data.synthetic import digits as synthetic_digits
from minivae.training import checkpoint, objectives

ROOT = Path(__file__).parents[2]
NAMES = ("pytorch-example", "keras-2d", "static-400-40", "iwae-table1", "conditional-digits")


@pytest.fixture(scope="module")
def reproduce():
    """The script as a module."""
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(ROOT / "examples")
    yield importlib.import_module("reproduce")
    patch.undo()
    for name in ("reproduce", "_recipes", "_measures"):
        sys.modules.pop(name, None)


@pytest.fixture
def run(reproduce, tmp_path, monkeypatch):
    """``run(name, option, ...)``: the exit code; digits that claim to be MNIST, few of them."""
    digits = dataclasses.replace(synthetic_digits.load(80, 40), name="mnist")
    monkeypatch.setattr(reproduce.mnist, "load", lambda folder: digits)
    monkeypatch.setattr(reproduce, "VALIDATION", 30)

    def run(name, *options):
        words = [name, "--out", tmp_path / "runs", "--record", tmp_path / "table.csv", *options]
        return reproduce.main([str(word) for word in words])

    return run


@pytest.fixture
def short(reproduce, monkeypatch):
    """Replace every recipe's full form by one of one or two epochs and few samples."""
    for name, recipe in reproduce.RECIPES.items():
        measure = recipe.measure
        if hasattr(measure, "keywords"):
            smaller = {"samples": 3, "drawn": 20, "epochs": 1}
            taken = inspect.signature(measure.func).parameters
            measure = functools.partial(
                measure.func, **{name: n for name, n in smaller.items() if name in taken}
            )
        changes = {"epochs": 2, "batch_size": 20, "measure": measure}
        tiny = dataclasses.replace(recipe, **changes)
        if recipe.short:
            tiny = dataclasses.replace(tiny, short={**recipe.short, **changes})
        monkeypatch.setitem(reproduce.RECIPES, name, tiny)


def rows(tmp_path):
    with open(tmp_path / "table.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_the_recipes_are_there(reproduce):
    assert set(NAMES) <= set(reproduce.RECIPES)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_states_itself_runs_and_is_recorded_once(
    run, short, reproduce, tmp_path, capsys, name
):
    assert run(name) == 0
    recipe = reproduce.RECIPES[name]
    recipe = recipe.shortened() if recipe.short else recipe
    said = capsys.readouterr().out
    stated, _, after = said.partition("epoch 1/")
    stated = stated.partition("not in a tape")[0]  # why a step is not recorded, should that be told
    for text in (recipe.source, recipe.set_up, recipe.measured, f"binarize {recipe.binarize}",
                 "2 epochs of batches of 20", f"{recipe.schedule[0][1]:.3g}"):  # fmt: skip
        assert text in stated
    for variant in recipe.variants.values():
        for metric, (published, low, high) in variant.metrics.items():
            assert metric in stated and f"published {published}" in stated
            assert recipe.gains or low is None or f"{low:g}..{high:g}" in stated
    found = rows(tmp_path)
    metrics = sum(len(v.metrics) for v in recipe.variants.values()) + len(recipe.gains)
    assert len(found) == metrics and tuple(found[0]) == reproduce.COLUMNS
    for row in found:
        assert row["recipe"] == name and row["form"] == ("short" if recipe.short else "full")
        assert math.isfinite(float(row["value"])) and row["epochs"] == "2" and row["commit"]
    assert ("OUTSIDE" in after) == any(
        row["low"] and not float(row["low"]) <= float(row["value"]) <= float(row["high"])
        for row in found
    )
    assert run(name) == 0, "nothing is left to do"
    assert rows(tmp_path) == found
    again = capsys.readouterr().out
    assert again.startswith(stated) and "epoch" not in again.removeprefix(stated)
    assert again.removeprefix(stated).count(f"{name}, ") == metrics


def test_a_stopped_recipe_goes_on_where_it_was(
    run, short, reproduce, tmp_path, monkeypatch, capsys
):
    """The same command again continues the run, and its checkpoint is that of a run never
    stopped."""
    one = ("static-400-40", "--variant", "two layers")
    assert run(*one) == 0
    path = tmp_path / "runs/static-400-40/full/two-layers/checkpoint.safetensors"
    whole, table = path.read_bytes(), rows(tmp_path)
    for file in path.parent.glob("*"):
        file.unlink()
    (tmp_path / "table.csv").unlink()
    step, steps = reproduce.Trainer._train_on, []

    def stopping(self, *args):
        steps.append(1)
        if len(steps) == 4:
            signal.raise_signal(signal.SIGINT)
        return step(self, *args)

    monkeypatch.setattr(reproduce.Trainer, "_train_on", stopping)
    assert run(*one) == 130
    said = capsys.readouterr().err
    assert "step 4; the same command goes on" in said and "--resume" not in said
    assert checkpoint.load(path)["step"] == 4 and not (tmp_path / "table.csv").exists()
    assert run(*one) == 0
    assert path.read_bytes() == whole
    assert [r["value"] for r in rows(tmp_path)] == [r["value"] for r in table]


def test_gains_are_differences_of_the_variants(run, short, tmp_path):
    assert run("iwae-table1") == 0
    values = {row["variant"]: float(row["value"]) for row in rows(tmp_path)}
    for worse, better in (("VAE 1", "IWAE 5"), ("IWAE 5", "IWAE 50")):
        gain = values[f"{worse} less {better}"]
        assert gain == pytest.approx(values[worse] - values[better], abs=2e-3)
    assert [row["low"] for row in rows(tmp_path)] == ["", "", "", "0.0", "0.0"]


def test_a_trial_is_not_recorded(run, reproduce, tmp_path, capsys):
    options = ("--variant", "seed 1", "--limit", 20, "--epochs", 1)
    assert run("pytorch-example", *options) == 0
    said = capsys.readouterr().out.partition("epoch 1/")[2]
    assert "seed 1: test loss" in said and "seed 0" not in said
    assert "not judged" in said and not (tmp_path / "table.csv").exists()
    assert not list((tmp_path / "runs").rglob("outcome.json"))
    assert (tmp_path / "runs/pytorch-example/trial/seed-1/checkpoint.safetensors").exists()


def test_a_part_of_the_full_form_is_recorded_unjudged_and_goes_on(run, short, tmp_path, capsys):
    """A part of the epochs, then the rest, give the same weights as all epochs at once."""
    options = ("iwae-table1", "--full", "--variant", "VAE 1")
    assert run(*options, "--epochs", 1) == 0
    assert "NLL" in (said := capsys.readouterr().out) and "not judged" in said
    assert run(*options, "--epochs", 1) == 0  # nothing is left to do
    assert run(*options) == 0
    found = [(row["form"], row["epochs"], row["low"]) for row in rows(tmp_path)]
    assert found == [("part", "1", ""), ("full", "2", "86.16")]
    folder = tmp_path / "runs/iwae-table1/full/VAE-1"
    weights = load_file(folder / "checkpoint.safetensors")
    shutil.rmtree(tmp_path / "runs")
    assert run(*options) == 0
    whole = load_file(folder / "checkpoint.safetensors")
    assert {k: a.tobytes() for k, a in weights.items()} == {
        k: a.tobytes() for k, a in whole.items()
    }


def test_outcomes_are_kept_whatever_becomes_of_stdout(run, short, tmp_path, monkeypatch):
    with open("/dev/full", "w") as full, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", full)
        assert run("pytorch-example", "--variant", "seed 0") == 2
    assert len(rows(tmp_path)) == 1 and list((tmp_path / "runs").rglob("outcome.json"))


def test_a_table_that_cannot_be_written_is_told_before_the_work(run, short, tmp_path, capsys):
    (tmp_path / "table.csv").mkdir()
    assert run("pytorch-example", "--variant", "seed 0") == 2
    assert "table.csv: cannot be written" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_other_images_are_a_trial(run, reproduce, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce.mnist, "load", lambda folder: synthetic_digits.load(40, 20))
    assert run("pytorch-example", "--variant", "seed 0", "--epochs", 1) == 0
    assert not (tmp_path / "table.csv").exists()


def test_an_unknown_variant_is_named(run, capsys):
    with pytest.raises(SystemExit):
        run("keras-2d", "--variant", "seed 99")
    assert "--variant: expected one of ['seed 0'" in capsys.readouterr().err


# ---- what the recipes are


def test_validation_images_are_neither_trained_on_nor_measured(reproduce, run):
    digits = reproduce.mnist.load(None)
    recipe = reproduce.RECIPES["static-400-40"]
    train, watched, test = reproduce.batches(recipe, digits, 0, None)
    assert (train.count, watched.count, test.count) == (50, 30, 40)
    seen = [{image.tobytes() for image in part.images} for part in (train, watched, test)]
    assert not (seen[0] & seen[1] or seen[1] & seen[2] or seen[0] & seen[2])
    for part in (train, watched, test):
        assert set(part.images.ravel().tolist()) == {0, 255}, "drawn once, 0 or 1"
    assert [i.tobytes() for i in reproduce.batches(recipe, digits, 7, None)[0].images] == [
        i.tobytes() for i in train.images
    ], "the draw belongs to the set, not to the seed"


def test_the_networks_of_the_static_recipe(reproduce):
    """As many weights as the released files hold: 2,032,124 and 1,970,373 bytes, pickled."""
    recipe = reproduce.RECIPES["static-400-40"]
    model = recipe.model(0, None)
    sizes = [4 * sum(p.size for p in part.parameters()) for part in (model.encoder, model.decoder)]
    assert all(0 < n - size < 8000 for n, size in zip((2_032_124, 1_970_373), sizes, strict=True))
    one_layer = recipe.variants["one layer"].model(0, None).state_dict()
    assert [a.shape for n, a in one_layer.items() if n.endswith("weight")] == [
        (400, 784), (40, 400), (40, 400), (400, 40), (784, 400),
    ]  # fmt: skip


def test_keras_trains_on_all_images(reproduce, run):
    digits = reproduce.mnist.load(None)
    train, _, _ = reproduce.batches(reproduce.RECIPES["keras-2d"], digits, 0, None)
    assert train.count == 120


def test_schedules_are_those_published(reproduce):
    static, table1 = (reproduce.RECIPES[name].schedule for name in NAMES[2:4])
    assert [first for first, _ in static] == [0, 200, 350]
    rates = [rate for _, rate in static]
    assert rates[0] == 1e-4
    assert [a / b for a, b in itertools.pairwise(rates)] == pytest.approx([10**0.2] * 2)
    lengths = [3**i for i in range(8)]
    assert [first for first, _ in table1] == [sum(lengths[:i]) for i in range(8)]
    assert sum(lengths) == reproduce.RECIPES["iwae-table1"].epochs == 3280
    assert [rate for _, rate in table1] == pytest.approx([1e-3 * 10 ** (-i / 7) for i in range(8)])
    assert reproduce.RECIPES["iwae-table1"].short["epochs"] == sum(lengths[:2])


def test_the_objectives_of_table_1(reproduce):
    variants = reproduce.RECIPES["iwae-table1"].variants
    made = {
        name: (v.objective.func, v.objective.keywords["samples"]) for name, v in variants.items()
    }
    assert made == {
        **{f"VAE {k}": (objectives.sampled_elbo, k) for k in (1, 5, 50)},
        **{f"IWAE {k}": (objectives.iwae, k) for k in (5, 50)},
    }

"""Stopped, killed or damaged runs resume to the same bytes, or are refused with the reason."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tiny_run
from minivae import models
from minivae.errors import CheckpointError, OutputError
from minivae.training import checkpoint
from minivae.training.output_folder import OutputFolder
from minivae.training.run_state import RunState
from minivae.training.step import EagerStep
from minivae.training.trainer import Interrupted

HERE = Path(__file__).parents[1]


def interrupting(at, signals=1):
    """A step function that sends Ctrl-C in the middle of step ``at``."""

    def make(trainer):
        step = EagerStep(trainer.model, trainer.optimizer)

        def wrapped(x, noise, beta):
            if trainer.state.step == at:
                for _ in range(signals):
                    signal.raise_signal(signal.SIGINT)
            return step(x, noise, beta)

        return wrapped

    return make


@pytest.mark.slow
def test_killed_at_every_moment_and_resumed_gives_the_same_bytes(tmp_path):
    done = subprocess.run(
        [sys.executable, HERE / "tiny_run.py", tmp_path],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "MINIVAE_NUM_THREADS": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["killed"] == report["moments"] > 50
    assert report["unreadable"] == report["not resumed"] == report["different"] == [], done.stderr


@pytest.mark.parametrize("at", [0, 2, 3, 5])
def test_ctrl_c_leaves_a_checkpoint_from_which_the_run_ends_as_if_never_stopped(tmp_path, at):
    whole = tiny_run.run(tmp_path / "whole")
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="--resume"):
        tiny_run.run(tmp_path / "cut", step=interrupting(at))
    assert signal.getsignal(signal.SIGINT) is before
    assert checkpoint.load(tmp_path / "cut/checkpoint.safetensors")["step"] == at + 1
    assert tiny_run.run(tmp_path / "cut", resume=True) == whole


def test_second_ctrl_c_stops_at_once(tmp_path):
    with pytest.raises(KeyboardInterrupt) as caught:
        tiny_run.run(tmp_path, step=interrupting(1, signals=2))
    assert not isinstance(caught.value, Interrupted)
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_more_epochs_may_follow_a_finished_run(tmp_path):
    whole = tiny_run.run(tmp_path / "three", epochs=3)
    tiny_run.run(tmp_path / "two", epochs=2)
    assert tiny_run.run(tmp_path / "two", epochs=3, resume=True) == whole
    assert tiny_run.run(tmp_path / "two", epochs=3, resume=True) == whole, "nothing left to do"


def test_resume_without_a_checkpoint_starts_from_the_beginning(tmp_path):
    assert tiny_run.run(tmp_path / "a", resume=True) == tiny_run.run(tmp_path / "b")


@pytest.mark.parametrize(
    "option", [{"lr": 0.5}, {"seed": 3}, {"beta": 2.0}, {"warmup": 1.0}, {"schedule": ((0, 1.0),)}]
)
def test_resume_with_another_option_is_refused_by_its_name(tmp_path, option):
    body = tiny_run.run(tmp_path)
    with OutputFolder(tmp_path) as out:
        trainer = tiny_run.trainer(out, epochs=3, **option)
        weights = trainer.model.state_dict()
        with pytest.raises(CheckpointError, match=rf"made with {next(iter(option))} "):
            trainer.resume()
        for name, array in trainer.model.state_dict().items():
            np.testing.assert_array_equal(array, weights[name])
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == body


def test_of_another_architecture_what_differs_is_named():
    first, second = (
        RunState(0, {"architecture": {"name": "FaceVAE", **models.FaceVAE(2, 16, **one).config()}})
        for one in ({}, {"likelihood": "gaussian"})
    )
    with pytest.raises(
        CheckpointError, match=r"made with architecture .'likelihood': 'gaussian'., this"
    ):
        first.restored("path", second.to_dict(), 1)


@pytest.mark.parametrize(
    "change",
    [{"epoch": -1}, {"epoch": "2"}, {"step": 5}, {"noise": {}}, {"noise": None}, {"config": 3},
     {"metrics": []}, {"metrics": [1, 2]}, {"shuffle": {"batch": 99}}, {"sums": {"rec": []}}],
)  # fmt: skip
def test_a_state_that_contradicts_itself_is_refused(tmp_path, change):
    tiny_run.run(tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    state = {**checkpoint.load(path), **change}
    with OutputFolder(tmp_path) as out:
        trainer = tiny_run.trainer(out)
        checkpoint.save(path, trainer.model, trainer.optimizer, **state)
        with pytest.raises(CheckpointError, match="not the state of a training run"):
            trainer.resume()
        assert (trainer.state.epoch, trainer.state.step, trainer.state.rows) == (0, 0, [])


def test_resume_keeps_the_times_of_its_own_table_and_no_other(tmp_path):
    tiny_run.run(tmp_path, epochs=2)
    times = [row["seconds"] for row in tiny_run.table(tmp_path)]
    tiny_run.run(tmp_path, epochs=3, resume=True)
    assert [row["seconds"] for row in tiny_run.table(tmp_path)][:2] == times
    text = (tmp_path / "metrics.csv").read_text().replace("\n2,", "\n7,")
    (tmp_path / "metrics.csv").write_text(text)
    tiny_run.run(tmp_path, epochs=3, resume=True)
    assert [row["seconds"] for row in tiny_run.table(tmp_path)][1] == "nan"


def test_the_time_of_an_epoch_that_was_stopped_in_its_middle_is_not_known(tmp_path):
    with pytest.raises(Interrupted):
        tiny_run.run(tmp_path, step=interrupting(4))  # in the second of three epochs
    lines = []
    with OutputFolder(tmp_path) as out:
        made = tiny_run.trainer(out, epochs=3, tell=lines.append)
        made.resume()
        made.run()
    assert [row["seconds"] == "nan" for row in tiny_run.table(tmp_path)] == [False, True, False]
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert ["begun before the run was resumed" in line for line in epochs] == [True, False]
    times = made.state.seconds
    assert made.timing() == {
        "seconds": None, "images_per_second": round(2 * 50 / (times[1] + times[3]), 1)
    }  # fmt: skip


@pytest.mark.parametrize("at", [1, 3, 5, 8, 9, 10])
def test_a_run_with_a_schedule_resumes_exactly(tmp_path, at):
    """The run is cut within an epoch, and just before or after the learning rate changes."""
    options = {"epochs": 4, "schedule": ((0, 1e-3), (1, 1e-2), (3, 0.0)), "keep_best": True}
    whole = tiny_run.run(tmp_path / "whole", **options)
    with pytest.raises(Interrupted):
        tiny_run.run(tmp_path / "cut", step=interrupting(at), **options)
    assert tiny_run.run(tmp_path / "cut", resume=True, **options) == whole
    best = [(tmp_path / part / "best.safetensors").read_bytes() for part in ("whole", "cut")]
    assert best[0] == best[1]


def test_a_new_run_keeps_the_old_checkpoint_until_it_has_its_own(tmp_path, capsys):
    old = tiny_run.run(tmp_path, seed=5)
    (tmp_path / "samples.png").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        tiny_run.run(tmp_path, step=interrupting(0, signals=2), replaces=["samples.png"])
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == old
    assert (tmp_path / "samples.png").exists()
    assert "of an earlier run" in capsys.readouterr().out
    new = tiny_run.run(tmp_path, replaces=["samples.png", "never-there.png"])
    assert new != old
    assert (tmp_path / "previous.safetensors").read_bytes() == old
    assert not (tmp_path / "samples.png").exists()


def flip(path):
    body = bytearray(path.read_bytes())
    body[-1000] ^= 4  # a weight
    path.write_bytes(body)


@pytest.mark.parametrize("damage", [flip, lambda path: os.truncate(path, 99), Path.unlink])
def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(tmp_path, damage, capsys):
    whole = tiny_run.run(tmp_path / "whole", epochs=4)
    tiny_run.run(tmp_path / "cut", epochs=3)
    path, damaged = (tmp_path / "cut" / name for name in ("checkpoint.safetensors",
                                                          "damaged.safetensors"))  # fmt: skip
    damage(path)
    left = path.read_bytes() if path.exists() else None
    with OutputFolder(tmp_path / "cut") as out:
        trainer = tiny_run.trainer(out, epochs=4)
        assert trainer.resume() and trainer.state.epoch == 2
        assert re.search(r"checkpoint\.safetensors: .*backup\.safetensors", capsys.readouterr().out)
        assert checkpoint.load(path)["epoch"] == 2, "killed here, it goes on from there again"
        assert (damaged.read_bytes() if damaged.exists() else None) == left
        trainer.run()
    assert path.read_bytes() == whole
    assert checkpoint.load(tmp_path / "cut/backup.safetensors")["epoch"] == 3


def test_two_damaged_checkpoints_are_an_error_and_stay(tmp_path):
    tiny_run.run(tmp_path)
    paths = [tmp_path / "checkpoint.safetensors", tmp_path / "backup.safetensors"]
    for path in paths:
        flip(path)
    bodies = [path.read_bytes() for path in paths]
    with pytest.raises(CheckpointError, match="damaged"):
        tiny_run.run(tmp_path, resume=True)
    assert [path.read_bytes() for path in paths] == bodies


def test_a_new_run_never_goes_on_from_an_earlier_run(tmp_path):
    """A new run removes the earlier run's backup before it moves that run's checkpoint aside."""
    tiny_run.run(tmp_path, epochs=3)
    tiny_run.run(tmp_path, epochs=1)
    assert not (tmp_path / "backup.safetensors").exists()
    flip(tmp_path / "checkpoint.safetensors")
    with pytest.raises(CheckpointError, match="damaged"):
        tiny_run.run(tmp_path, resume=True)


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    good = tiny_run.run(tmp_path / "good", epochs=1)
    fsync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 4:  # the table and the checkpoint of the first epoch, each with its folder
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"metrics\.csv: cannot be written: No space left"):
        tiny_run.run(tmp_path / "bad")
    monkeypatch.undo()
    assert (tmp_path / "bad/checkpoint.safetensors").read_bytes() == good
    assert not list((tmp_path / "bad").glob("*.part")) + list((tmp_path / "bad").glob(".*.part"))
    assert tiny_run.run(tmp_path / "bad", resume=True) == tiny_run.run(tmp_path / "good")


def test_options_are_numpys_scalars_or_pythons(tmp_path):
    """A run whose options are NumPy scalars resumes with Python numbers, to the same bytes."""
    numpys = {
        "seed": np.int64(1),
        "lr": np.float64(2e-3),
        "beta": np.float64(0.5),
        "warmup": np.int32(1),
    }
    pythons = {"seed": 1, "lr": 2e-3, "beta": 0.5, "warmup": 1}
    whole = tiny_run.run(tmp_path / "whole", **pythons)
    tiny_run.run(tmp_path / "cut", epochs=np.int64(1), **numpys)
    assert tiny_run.run(tmp_path / "cut", resume=True, **pythons) == whole

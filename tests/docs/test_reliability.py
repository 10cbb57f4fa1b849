"""docs/reliability.md shows what was recorded, and the scripts behind it see planted faults.

The scripts themselves are run by tests/reliability/run.py.
"""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "reliability"
sys.path.insert(0, str(SCRIPTS))

import determinism  # noqa: E402
import fuzz_targets  # noqa: E402
import hostile_files  # noqa: E402
import install  # noqa: E402
import long_runs  # noqa: E402
import mutation  # noqa: E402
import native_code  # noqa: E402
import numerics  # noqa: E402
import report  # noqa: E402
import run  # noqa: E402
import supply_chain  # noqa: E402
import what_users_do  # noqa: E402

TEXT = run.PAGE.read_text("utf-8")


# ---------------------------------------------------------------- the page
def test_the_page_shows_the_recorded_tables():
    assert run.fill(TEXT, run.recorded()) == TEXT


def test_a_stale_cell_is_seen():
    results = run.recorded()
    results["numerics"]["rows"][0][1] = "explodes"
    assert run.fill(TEXT, results) != TEXT


def test_every_section_has_its_script_and_its_table():
    assert run.TABLE.findall(TEXT) and [m[1] for m in run.TABLE.findall(TEXT)] == [
        "runs", *run.SECTIONS
    ]  # fmt: skip
    for section in run.recorded():
        assert section in run.SECTIONS and (SCRIPTS / f"{section}.py").exists()


@pytest.mark.parametrize("section", sorted(run.recorded()))
def test_records_are_of_full_runs_without_faults(section):
    record = run.recorded()[section]
    assert not record["quick"] and record["faults"] == [] and record["rows"]
    assert record["versions"]["numpy"] and record["machine"]["cores"] and record["date"]
    assert all(len(row) == len(record["columns"]) for row in record["rows"])
    assert "|" not in "".join(str(cell) for row in record["rows"] for cell in row)


def test_the_files_that_sections_name_are_there():
    """Otherwise a section would silently leave out a test or source that was renamed."""
    tests = [*install.TESTS, *install.KERNEL_TESTS, *install.EMULATED, *supply_chain.TESTS]
    tests += what_users_do.TESTS
    for _, _, _, selection in native_code.SANITIZERS.values():
        tests += [f"tests/{name}" for name in selection]
    for files, names in mutation.MUTATED.values():
        tests += [f"tests/{name}.py" for name in names] + [f"minivae/{name}" for name in files]
    named = {name for name in tests if name.endswith(".py")}
    assert len(named) > 30
    assert [name for name in named if not (report.ROOT / name).is_file()] == []


SCRIPT = """
import pathlib, subprocess, sys, time
folder = pathlib.Path(__file__).parent
{body}
pathlib.Path(sys.argv[2]).write_text('{{"seconds": 1, "quick": false}}')
print("said by {name}")
"""
MEET = """
(folder / "{name}.here").touch()
while not (folder / "{other}.here").exists(): time.sleep(0.01)
"""
HANG = "subprocess.Popen(['sleep', '300']).wait()"


def test_sections_run_side_by_side_and_one_that_hangs_is_ended(tmp_path, monkeypatch, capsys):
    """The first two end only when both run; the third takes its child with it."""
    bodies = {"a": MEET.format(name="a", other="b"), "b": MEET.format(name="b", other="a")}
    for name, body in (bodies | {"c": HANG}).items():
        (tmp_path / f"{name}.py").write_text(SCRIPT.format(name=name, body=body))
    monkeypatch.setattr(run, "HERE", tmp_path)
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results")
    codes = run._run_all(["a", "b"], False, 2)
    monkeypatch.setattr(run, "SECONDS", 1)
    codes |= run._run_all(["c"], False, 2)
    assert codes == {"a": 0, "b": 0, "c": -signal.SIGKILL}
    assert sorted(run.recorded()) == ["a", "b"]
    out = capsys.readouterr().out
    assert "said by a" in out and "said by b" in out and "ended after 1 seconds" in out


def test_faults_set_the_exit_code_and_the_record(tmp_path, capsys):
    path = tmp_path / "record.json"
    for faults, code in (([], 0), (["something broke"], 1)):
        found = report.Report(["a"], [[1234]], faults)
        assert report.main(lambda quick, found=found: found, ["--json", str(path)]) == code
        assert json.loads(path.read_text())["faults"] == faults
        assert "| 1,234 |" in capsys.readouterr().out


# ---------------------------------------------------------------- planted faults
CRASHES = {
    "files are written in place": (
        """
        files.open = open
        @contextlib.contextmanager
        def in_place(path, keep=None, follow_link=True):
            with files.open(path, "wb") as file:
                yield file
        files.replacing = in_place
        """,
        "c.failing_calls(bench, c.ERRORS[:1])",
    ),
    "temporary files stay": (
        "files.remove_leftovers = folder.remove_leftovers = lambda *_: None",
        "bench.cut.mkdir(); (bench.cut / '.a.0.part').touch(); bench.resumed('killed')",
    ),
    "everybody gets the lock": ("folder.try_lock = lambda _: True", "c.two_processes(bench, 2)"),
    "the checksum is not compared": (
        "checkpoint._digest = lambda text, tensors: ''",
        "c.damaged(bench, 100, np.random.default_rng(0))",
    ),
    "no backup is used": (
        "run_files.RunFiles.newest_good = lambda self: (self.path, checkpoint.load(self.path))",
        "c.damaged(bench, 10, np.random.default_rng(0))",
    ),
    "noise that no seed decides": (
        "noise.NoiseStream.draw = lambda self: noise.Noise(np.random.randint(2**31), 0)",
        "c.random_kills(bench, 1, np.random.default_rng(0))",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("plant", CRASHES)
def test_crash_safety_sees(plant, tmp_path):
    """The section runs in its own process: it forks, which needs a process of one thread."""
    planted, part = (textwrap.dedent(text) for text in CRASHES[plant])
    code = f"""
import contextlib, io, sys
from pathlib import Path
import numpy as np
import crash_safety as c
import report
from minivae import atomic_write as files, noise
from minivae.training import checkpoint, output_folder as folder, run_files
made = report.Report([], [])
{planted}
with contextlib.redirect_stdout(io.StringIO()):
    bench = c.Bench(Path(sys.argv[1]), made)
    {part}
print(len(made.faults))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0


def test_numerics_sees_what_is_let_through(monkeypatch):
    cases = [case for case in numerics.CASES if case[0] in ("pixels 0 to 255", "logvar = -100")]
    monkeypatch.setattr(numerics, "CASES", cases)
    assert numerics.measure(True).faults == []
    monkeypatch.setattr("minivae.training.trainer._require_pixels", lambda *_: None)
    faults = numerics.measure(True).faults
    assert faults and all(fault.startswith("pixels 0 to 255") for fault in faults)


def test_fuzzing_sees_an_error_that_is_not_ours(monkeypatch):
    target = fuzz_targets.Idx()
    monkeypatch.setattr(fuzz_targets, "read_idx", lambda path: {}[path])
    with pytest.raises(KeyError):
        target(b"")
    target.close()
    figures, fault = hostile_files.fuzz("nothing of that name", ["--runs=1"])
    assert figures["executions"] == 0 and "exit code 1" in fault


@pytest.mark.parametrize("target", fuzz_targets.TARGETS)
def test_fuzzing_starts_from_what_is_accepted(target, monkeypatch):
    # One target disables the checksum for the life of its process; this test restores it.
    monkeypatch.setattr(fuzz_targets.checkpoint, "_digest", fuzz_targets.checkpoint._digest)
    made = fuzz_targets.TARGETS[target]()
    assert any([made(seed) for seed in made.seeds()])
    made.close()


def test_long_runs_see_a_leak_and_a_slowdown():
    """Planted samples of 40 epochs of 500 steps, with a leak or a slowdown, are faults."""
    rng = np.random.default_rng(0)

    def faults(a_step, files=7.0, slower=0.0, differences=0):
        epochs = np.arange(40.0)
        busy = rng.uniform(0.3, 2, 40)  # what other programs do to a step's time
        samples = np.stack(
            [5e7 + 500 * a_step * epochs + 4096 * rng.integers(0, 4, 40),
             np.where(epochs > 20, files, 7), 2 + 0 * epochs, 3e4 + 0 * epochs,
             busy * (1 + slower * epochs / 40), busy], axis=1,
        )  # fmt: skip
        made = report.Report([], [])
        long_runs._judge(made, samples, 40, 500, differences, quick=False)
        return made.faults

    assert faults(0) == []
    assert "memory grows" in faults(40)[0]
    assert "open files" in faults(0, files=8.0)[0]
    assert "times as long" in faults(0, slower=0.5)[0]
    assert "differ from the checkpoint" in faults(0, differences=1)[0]


def test_the_slope_and_its_confidence():
    x = np.arange(50.0)
    noise = np.random.default_rng(3).standard_normal((400, 50))
    found = [long_runs.slope(x, 3 * x + row) for row in noise]
    inside = np.mean([abs(b - 3) < half for b, half in found])
    assert 0.92 < inside < 0.98


def test_determinism_sees_other_bytes_and_other_noise():
    base = {part: np.linspace(1, 2, 9) for part in determinism.PARTS}
    for part, name in [(part, "two threads") for part in base] + [
        ("noise float64", "numba kernels"), ("MLPVAE", "reference kernels")
    ]:  # fmt: skip
        made = report.Report([], [])
        determinism._judge(made, name, base, base)
        assert made.faults == []
        off = 1 + (1e-12 if "noise" in part or name == "two threads" else 0.01)
        determinism._judge(made, name, base, base | {part: base[part] * off})
        assert made.faults and all(f"{name}, {part}" in fault for fault in made.faults)

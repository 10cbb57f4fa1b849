"""The flow of benchmarks/gpu_check.sh, without the GPU that its parts need."""

import importlib.util
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_check.py"

spec = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
gpu_check = importlib.util.module_from_spec(spec)
sys.modules["gpu_check"] = gpu_check
spec.loader.exec_module(gpu_check)
Part = gpu_check.Part


def outcomes(parts, tmp_path, *, statuses=None, seconds=1000, has_gpu=True):
    """What run_parts says of parts whose commands have these exit statuses, 0 by default."""
    ran = []

    def execute(command, log, limit):
        ran.append((command, limit))
        return (statuses or {}).get(command, 0)

    found = gpu_check.run_parts(
        parts, tmp_path, time.monotonic() + seconds, {"python": "py", "out": "o"}, has_gpu,
        execute, say=lambda *a, **k: None,
    )  # fmt: skip
    return {name: text for name, text, _ in found}, ran


def test_a_failure_does_not_stop_the_others(tmp_path):
    parts = [Part("a", 10, "a"), Part("b", 10, "b"), Part("c", 10, "c", needs="a"),
             Part("d", 10, "d", needs="b")]  # fmt: skip
    found, ran = outcomes(parts, tmp_path, statuses={"a": 3, "d": None})
    assert found == {
        "a": "FAILED: exit status 3",
        "b": "passed",
        "c": "skipped: a FAILED: exit status 3",
        "d": "FAILED: time was over",
    }
    assert [command for command, _ in ran] == ["a", "b", "d"]


def test_without_a_device_what_needs_one_is_skipped(tmp_path):
    parts = [Part("a", 10, "a", gpu=False), Part("b", 10, "b")]
    found, ran = outcomes(parts, tmp_path, has_gpu=False)
    assert found == {"a": "passed", "b": "skipped: no device"} and len(ran) == 1


def test_no_part_is_given_more_than_is_left(tmp_path):
    parts = [Part("a", 50, "{left}"), Part("b", 500, "{left}")]
    _, ran = outcomes(parts, tmp_path, seconds=100)
    assert ran[0] == ("44", 50) and 90 < ran[1][1] <= 100
    found, ran = outcomes(parts, tmp_path, seconds=4)
    assert set(found.values()) == {"skipped: no time left"} and not ran


def test_commands_are_stopped_with_all_that_they_started(tmp_path):
    log = tmp_path / "x.log"
    assert gpu_check.run_command("echo seen; exit 7", log, 20) == 7
    assert log.read_text() == "seen\n"
    command = f"(sleep 60; touch {tmp_path}/late) & echo $!; wait"
    assert gpu_check.run_command(command, log, 0.5) is None
    pid = log.read_text().split()[0]
    state = Path(f"/proc/{pid}/stat")
    for _ in range(200):  # a signal is delivered when the process is scheduled
        if not state.exists() or state.read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail(f"process {pid} lives on")


def test_every_command_names_scripts_and_tests_that_exist():
    for part in gpu_check.parts():
        command = part.command.format(python="PY", out="OUT", left="9", parallel="")
        assert "{" not in command
        for word in command.split():
            if word.endswith((".py", ".sh")):
                assert (ROOT / word).exists(), word
        assert part.needs is None or part.needs in [p.name for p in gpu_check.parts()]


def test_dry_run_of_the_script(tmp_path):
    command = ["bash", str(ROOT / "benchmarks" / "gpu_check.sh"), str(tmp_path), "--dry-run"]
    bare = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable}
    done = subprocess.run(command, capture_output=True, text=True, env=bare)
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["logs.tar.gz", "summary.txt"]
    text = (tmp_path / "summary.txt").read_text()
    assert "all parts passed" in text and text in done.stdout
    with tarfile.open(tmp_path / "logs.tar.gz") as archive:
        assert sorted(archive.getnames()) == sorted(f"{p.name}.log" for p in gpu_check.parts())


def test_what_is_left_fits_what_a_lease_brings_back():
    """At most eight files, and each that a command writes is one of them."""
    assert len(gpu_check.FILES) <= 8
    for part in gpu_check.parts():
        written = [w.split("/")[1] for w in part.command.split() if w.startswith("{out}/")]
        assert set(written) <= set(gpu_check.FILES)


@pytest.mark.skipif(gpu_check.compute_capability() is not None, reason="there is a GPU")
def test_a_machine_without_a_gpu_is_reported(tmp_path, capsys):
    assert gpu_check.main([str(tmp_path), "--only", "kernels,epochs"]) == 1
    assert "skipped: no device" in capsys.readouterr().out
    assert "not passed: kernels, epochs" in (tmp_path / "summary.txt").read_text()

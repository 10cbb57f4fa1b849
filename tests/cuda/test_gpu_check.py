"""benchmarks/gpu_check.sh without a GPU: order of its parts, failures, time limits, kills."""

import importlib.util
import json
import random
import re
import signal
import subprocess
import sys
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
EVERY = [part for call in gpu_check.CALLS for part in gpu_check.parts(call)]


def outcomes(parts, tmp_path, *, statuses=None, seconds=1000, has_gpu=True):
    """(outcomes of run_parts, commands run) if commands have these exit statuses, default 0."""
    ran = []

    def execute(part, command, limit):
        ran.append((command, limit))
        return (statuses or {}).get(command, 0)

    found = gpu_check.run_parts(
        parts, gpu_check.Summary(tmp_path / "summary.txt", "first"), time.monotonic() + seconds,
        {"python": "py", "out": "o"}, has_gpu, execute,
    )  # fmt: skip
    return found, ran


def test_a_failure_does_not_stop_the_others(tmp_path):
    parts = [Part("a", 10, "a", needs=None), Part("b", 10, "b", needs=None),
             Part("c", 10, "c", needs="a"), Part("d", 10, "d", needs="b")]  # fmt: skip
    found, ran = outcomes(parts, tmp_path, statuses={"a": 3, "d": None})
    assert found == {
        "a": "FAILED: exit status 3",
        "b": "passed",
        "c": "skipped: a FAILED: exit status 3",
        "d": "FAILED: time was over",
    }
    assert [command for command, _ in ran] == ["a", "b", "d"]
    lines = (tmp_path / "summary.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == ["a", "b", "c", "d"]


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
    log.unlink()
    command = f"(sleep 60; touch {tmp_path}/late) & echo $!; wait"
    assert gpu_check.run_command(command, log, 0.5) is None
    assert_gone(int(log.read_text().split()[0]))


def assert_gone(pid):
    state = Path(f"/proc/{pid}/stat")
    for _ in range(200):  # a signal is delivered when the process is scheduled
        if not state.exists() or state.read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    pytest.fail(f"process {pid} lives on")


def test_every_command_names_scripts_and_tests_that_exist():
    for part in EVERY:
        command = part.command.format(python="PY", out="OUT", left="9", parallel="")
        assert "{" not in command
        for word in command.split():
            if word.endswith((".py", ".sh")) or word.startswith("tests/"):
                assert (ROOT / word).exists(), word
        assert part.needs in (None, "build")
        assert "pip" not in command and "venv" not in command


def test_order_and_files():
    """The most important parts are in the first call; a call writes at most eight files."""
    first, second = ([part.name for part in gpu_check.parts(call)] for call in gpu_check.CALLS)
    assert first[:4] == ["machine", "build", "device-tests", "kernel-tests"]
    assert first[4:] == ["steps-mlp", "products", "steps-conv-face"]
    assert second[:4] == ["machine", "build", "epochs", "versions"] and second[-1] == "suite"
    assert len(gpu_check.FILES) <= 8 and gpu_check.SECONDS < 270
    for part in EVERY:
        written = re.findall(r"\{out\}/(\S+)", part.command)
        assert set(written) <= set(gpu_check.FILES)


def read(out):
    """({part: outcome in the summary}, {part: its rows})."""
    lines = (out / "summary.txt").read_text().splitlines()
    ended = dict(m.groups() for line in lines if (m := re.match(r"(\S+) +[\d.]+ s  (.*)", line)))
    rows = {}
    if (out / "rows.jsonl").exists():
        for line in (out / "rows.jsonl").read_text().splitlines():
            row = json.loads(line)
            rows.setdefault(row["part"], []).append(row["row"])
    return ended, rows


def assert_kept(ended, rows):
    """Assert that a part that passed has all its rows, twice if both calls have it, and that a
    stopped part has its rows up to then.
    """
    every = [*range(1, 11)]
    for name, found in rows.items():
        whole, rest = divmod(len(found), 10)
        assert found == every * whole + every[:rest], name
        assert rest == 0 or ended.get(name) != "passed"
    assert all(name in rows for name, text in ended.items() if text == "passed")


def start(out, scale, *words):
    command = ["bash", str(ROOT / "benchmarks" / "gpu_check.sh"), str(out), *words]
    bare = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable}
    return subprocess.Popen(
        [*command, "--dry-run", str(scale)], env=bare, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_dry_run_of_the_script(tmp_path):
    done = start(tmp_path, 0.05)
    said, _ = done.communicate()
    assert {p.name for p in tmp_path.iterdir()} <= set(gpu_check.FILES)
    ended, rows = read(tmp_path)
    assert list(ended) == list(dict.fromkeys(part.name for part in EVERY))
    assert_kept(ended, rows)
    bad = [name for name, text in ended.items() if text != "passed"]
    assert (done.returncode, said.count("all parts passed")) == (0, 2) or bad
    log = (tmp_path / "log.txt").read_text()
    began = [part.name for part in EVERY if not ended[part.name].startswith("skipped")]
    assert re.findall(r"^=== (\S+):", log, re.MULTILINE) == began


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_moment_it_keeps_what_was_done(tmp_path, sign, seed):
    """A part that ended has all its rows, every line is whole, and the summary names the rest."""
    child = start(tmp_path, 0.005, "first")
    time.sleep(random.Random(seed).uniform(0.3, 2.5))
    child.send_signal(sign)
    child.communicate()
    if not (tmp_path / "summary.txt").exists():
        assert not (tmp_path / "rows.jsonl").exists()
        return
    names = [part.name for part in gpu_check.parts("first")]
    ended, rows = read(tmp_path)
    assert list(ended) == names[: len(ended)]
    assert_kept(ended, rows)
    assert set(rows) <= set(names[: len(ended) + 1])
    *_, last = (tmp_path / "summary.txt").read_text().rstrip("\n").splitlines()
    if sign == signal.SIGTERM and len(ended) < len(names):
        assert "stopped by a signal" in last
    assert {p.name for p in tmp_path.iterdir()} <= {*gpu_check.FILES, "summary.new"}
    assert child.returncode in (0, 143, -sign)


@pytest.mark.skipif(gpu_check.compute_capability() is not None, reason="there is a GPU")
def test_a_machine_without_a_gpu_is_reported(tmp_path, capsys):
    assert gpu_check.main([str(tmp_path), "first", "--only", "products,steps-mlp"]) == 1
    assert "skipped: no device" in capsys.readouterr().out
    assert "not passed: steps-mlp, products" in (tmp_path / "summary.txt").read_text()

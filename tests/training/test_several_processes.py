"""Training runs of several processes under the MPI installed beside mpi4py.

``.ci/run`` runs these tests under MPICH and under Open MPI.
"""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

import mpi_runs
import parallel_program
from minivae.training import checkpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(mpi_runs.missing() is not None, reason=str(mpi_runs.missing())),
]
MODELS = list(parallel_program.MODELS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """{model: the bytes of its checkpoint} after a run of one process with four parts."""
    folder = tmp_path_factory.mktemp("whole")
    return {name: parallel_program.train(folder / name, name) for name in MODELS}


@pytest.mark.parametrize("ranks", [2, 4])
def test_any_number_of_processes_leaves_the_same_bytes(tmp_path, whole, ranks):
    outcome = mpi_runs.start(ranks, tmp_path, "--parts", 4, "--models", *MODELS)
    assert outcome.code == 0, outcome.text
    assert sorted(outcome.processes()) == list(range(ranks))
    for name, expected in whole.items():
        files = sorted(path.name for path in (tmp_path / name).iterdir())
        assert files == [
            ".lock", "backup.safetensors", "checkpoint.safetensors", "metrics.csv"
        ]  # fmt: skip
        assert (tmp_path / name / "checkpoint.safetensors").read_bytes() == expected, name
    assert outcome.text.count("epoch 3/3") == len(MODELS)  # one rank tells


def test_stopped_by_one_rank_of_four_and_resumed_by_two(tmp_path, whole):
    stopped = mpi_runs.start(
        4, tmp_path, "--parts", 4, "--fault", "interrupt", "--rank", 2, "--step", 4
    )
    assert stopped.code != 0
    assert "stopped by rank 2 in epoch 2 of 3, after step 4" in stopped.text
    resumed = mpi_runs.start(2, tmp_path, "--parts", 4, "--resume")
    assert resumed.code == 0, resumed.text
    assert (tmp_path / "mlp" / "checkpoint.safetensors").read_bytes() == whole["mlp"]


def test_ctrl_c_at_the_launcher(tmp_path):
    """All ranks end after Ctrl-C: MPICH passes SIGINT on to them, Open MPI ends them."""
    process = mpi_runs.begin(4, tmp_path, "--epochs", 100_000)
    while not (tmp_path / "mlp" / "backup.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.1)
    began = time.time()
    process.send_signal(signal.SIGINT)
    outcome = mpi_runs.ended(process)
    assert outcome.code != 0 and outcome.end < began + mpi_runs.PROMISED
    while time.time() < began + mpi_runs.PROMISED:
        time.sleep(0.1)
        if not any(map(mpi_runs.alive, outcome.processes().values())):
            break
    else:
        pytest.fail("processes are left")
    assert checkpoint.load(tmp_path / "mlp" / "checkpoint.safetensors")["step"] > 1


def test_by_default_each_process_has_a_part(tmp_path):
    assert mpi_runs.start(2, tmp_path / "several").code == 0
    expected = parallel_program.train(tmp_path / "one", "mlp", parts=2)
    assert (tmp_path / "several/mlp/checkpoint.safetensors").read_bytes() == expected


@pytest.mark.parametrize(
    "ranks, arguments, expected",
    [
        (4, ["--parts", "2"], "error: parts: expected a multiple of the 4 processes, got 2"),
        (3, [], "error: parts: expected a power of two, got 3"),
        (
            2, ["--parts", "16"],
            "error: parts: expected at most 8 for the 8 images of an epoch's last batch, got 16",
        ),
        (
            2, ["--parts", "8", "--models", "face"],
            "error: parts: expected at most 4 for the 8 images of an epoch's last batch, two for "
            "batch normalisation, got 8",
        ),
        (2, ["--bogus"], "parallel_program.py: error: unrecognized arguments: --bogus"),
    ],
)  # fmt: skip
def test_refused_in_one_line_of_one_rank(tmp_path, ranks, arguments, expected):
    outcome = mpi_runs.start(ranks, tmp_path, *arguments)
    assert outcome.code != 0 and outcome.text.count("error: ") == 1
    assert expected in outcome.text.splitlines()
    assert not list(tmp_path.rglob("*.safetensors"))


def test_the_launcher_of_another_mpi_is_refused_by_one_rank(tmp_path):
    """Otherwise each process would find itself alone and train on its own."""
    told = []
    for rank in range(2):
        environment = {
            **os.environ, "PYTHONPATH": os.pathsep.join(sys.path),
            "SLURM_NTASKS": "2", "SLURM_PROCID": str(rank),
        }  # fmt: skip
        program = [sys.executable, parallel_program.__file__, tmp_path / "run"]
        done = subprocess.run(program, env=environment, capture_output=True, text=True)
        assert done.returncode == 2 and not done.stdout and not (tmp_path / "run").exists()
        told.append(done.stderr.splitlines())
    assert not told[1] and len(told[0]) == 1
    assert told[0][0].startswith("error: a launcher started 2 processes, but mpi4py found one")


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("fault", parallel_program.FAULTS)
def test_a_fault_in_one_rank_ends_all(tmp_path, fault, number):
    chance = random.Random(f"{fault} {number}")
    rank, step = chance.randrange(4), chance.randint(2, parallel_program.STEPS)
    wrong, _ = mpi_runs.with_fault(tmp_path, fault, rank, step)
    assert wrong == [], f"rank {rank}, step {step}"

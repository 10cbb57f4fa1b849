"""Building with CUDA: nvcc and the GPU (both faked here) are found, or reported as missing."""

import importlib.util
import os
import re
from pathlib import Path

import pytest

pytest.importorskip("pybind11")
pytest.importorskip("setuptools")

from builds import CUDA_SENTENCE, NO_COMPILER, NO_NVCC, ROOT, build, fake_command, run

pytestmark = pytest.mark.slow


def fake_nvcc(root, script):
    """A CUDA_HOME whose nvcc is this shell script."""
    fake_command(root / "bin", "nvcc", script)
    return {"CUDA_HOME": str(root)}


def fake_gpus(folder, *answer):
    """A PATH whose nvidia-smi prints these lines; without lines it fails, as without a driver."""
    script = "\n".join(f"echo '{line}'" for line in answer) or "echo no devices; exit 9"
    fake_command(folder, "nvidia-smi", script)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def test_without_nvcc_the_build_goes_on_and_says_why(tmp_path):
    process = build(tmp_path, MINIVAE_CUDA="auto", **NO_NVCC)
    assert process.returncode == 0, process.stdout
    assert process.stdout.count(CUDA_SENTENCE + "no nvcc in CUDA_HOME, CUDA_PATH or PATH)") == 1
    note = tmp_path / "lib" / "minivae" / "_cuda_not_built.txt"
    assert note.read_text() == "no nvcc in CUDA_HOME, CUDA_PATH or PATH\n"


def test_a_broken_nvcc_is_named(tmp_path):
    broken = fake_nvcc(tmp_path / "cuda", "echo no such architecture >&2; exit 3")
    broken |= fake_gpus(tmp_path / "driver", "9.0")
    process = build(tmp_path, MINIVAE_CUDA="auto", **broken, **NO_COMPILER)
    assert process.returncode == 0, process.stdout
    assert process.stdout.count(CUDA_SENTENCE) == 1


def test_build_fails_when_cuda_was_demanded(tmp_path):
    process = build(tmp_path, MINIVAE_CUDA="1", **NO_NVCC)
    assert process.returncode != 0 and "no nvcc in CUDA_HOME" in process.stdout


def test_cuda_switch_with_another_value_is_refused(tmp_path):
    process = build(tmp_path, MINIVAE_CUDA="on")
    assert process.returncode != 0
    assert "MINIVAE_CUDA must be auto, 0 or 1, not 'on'" in process.stdout


def test_nvcc_is_found_and_never_sees_pybind11(setup_py, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_HOME", fake_nvcc(tmp_path / "home", "")["CUDA_HOME"])
    monkeypatch.setenv("CUDA_PATH", fake_nvcc(tmp_path / "path", "")["CUDA_HOME"])
    assert setup_py.find_nvcc() == str(tmp_path / "home" / "bin" / "nvcc")
    monkeypatch.delenv("CUDA_HOME")
    assert setup_py.find_nvcc() == str(tmp_path / "path" / "bin" / "nvcc")
    command = setup_py.nvcc_command("nvcc", ["90"])
    assert [word for word in command if word.startswith("-I")] == ["-Icsrc"]
    for source in setup_py.cuda.sources:
        bound = Path(source).parent.name == "cuda" and Path(source).parent.parent.name == "bind"
        assert ("pybind11" in (ROOT / source).read_text()) <= bound, source
        assert "emulated" not in Path(source).parts


def targets(setup_py):
    command = setup_py.nvcc_command("nvcc", setup_py.architectures())
    words = [word for word in command if word.startswith("-gencode=")]
    return [word.removeprefix("-gencode=arch=compute_").split(",code=") for word in words]


@pytest.fixture
def no_wishes(monkeypatch):
    """An environment that names no architecture."""
    monkeypatch.delenv("MINIVAE_CUDA_ARCH", raising=False)
    monkeypatch.delenv("MINIVAE_CUDA", raising=False)
    return monkeypatch


def test_cuda_that_was_demanded_is_for_all_architectures(setup_py, no_wishes, tmp_path):
    no_wishes.setenv("MINIVAE_CUDA", "1")
    for environment in (fake_gpus(tmp_path / "none"), fake_gpus(tmp_path / "one", "8.0")):
        no_wishes.setenv("PATH", environment["PATH"])
        assert targets(setup_py) == [
            ["75", "[sm_75]"],
            ["80", "[sm_80,sm_86,sm_89]"],
            ["90", "[sm_90,compute_90]"],
        ]


@pytest.mark.parametrize("chosen", ["80;90", "8.0, 9.0", " 80 90 "])
def test_named_architectures_need_no_gpu(setup_py, no_wishes, chosen):
    no_wishes.setenv("PATH", "/nonexistent")
    no_wishes.setenv("MINIVAE_CUDA_ARCH", chosen)
    assert targets(setup_py) == [["80", "[sm_80]"], ["90", "[sm_90,compute_90]"]]


@pytest.mark.parametrize(
    "answer, expected",
    [
        (["9.0"], [["90", "[sm_90,compute_90]"]]),
        (["8.9", "8.9"], [["89", "[sm_89,compute_89]"]]),
        (["10.0", "9.0", "[N/A]"], [["90", "[sm_90]"], ["100", "[sm_100,compute_100]"]]),
    ],
)
def test_cuda_is_for_the_gpu_that_answers(setup_py, no_wishes, tmp_path, answer, expected):
    no_wishes.setenv("PATH", fake_gpus(tmp_path, *answer)["PATH"])
    assert targets(setup_py) == expected


@pytest.mark.parametrize("answer", [[], ["No devices were found"], ["[N/A]"]])
def test_where_no_gpu_answers_nothing_is_compiled_for_one(tmp_path, answer):
    """The build reports it in one line, before nvcc is called."""
    nvcc = fake_nvcc(tmp_path / "cuda", f"touch {tmp_path}/called")
    process = build(
        tmp_path, MINIVAE_CUDA="auto", MINIVAE_CUDA_ARCH="", **nvcc,
        **fake_gpus(tmp_path / "driver", *answer),
    )  # fmt: skip
    assert process.returncode == 0, process.stdout
    reason = "no GPU answers; MINIVAE_CUDA=1 builds it for all architectures"
    assert process.stdout.count(f"{CUDA_SENTENCE}{reason})") == 1
    assert not (tmp_path / "called").exists()


def test_the_build_hands_the_gpu_of_this_machine_to_nvcc(tmp_path):
    """The architecture that nvidia-smi reports is in the arguments of nvcc."""
    nvcc = fake_nvcc(tmp_path / "cuda", f'echo "$@" >> {tmp_path}/arguments; exit 3')
    process = build(
        tmp_path, MINIVAE_CUDA="auto", MINIVAE_CUDA_ARCH="", CC="true", CXX="true", **nvcc,
        **fake_gpus(tmp_path / "driver", "9.0"),
    )  # fmt: skip
    assert process.returncode == 0, process.stdout
    compiled = [w for w in (tmp_path / "arguments").read_text().splitlines() if " -c " in w]
    assert compiled
    for line in compiled:
        assert re.findall(r"-gencode=\S+", line) == [
            "-gencode=arch=compute_90,code=[sm_90,compute_90]"
        ]


def test_a_built_extension_imports_without_a_device():
    """The extension imports without a device, and its error says what is missing."""
    if importlib.util.find_spec("minivae._cuda") is None:
        pytest.skip("minivae._cuda is not built")
    program = (
        "from minivae import _cuda; print(_cuda.compiler, _cuda.architectures); _cuda.device()"
    )
    process = run("-c", program, cwd=ROOT, CUDA_VISIBLE_DEVICES="-1")
    assert process.returncode == 1 and "CUDA " in process.stdout and "sm_" in process.stdout
    assert "RuntimeError: asking for the current device failed: cudaError" in process.stdout

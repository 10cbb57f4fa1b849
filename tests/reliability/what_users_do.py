"""Kinds of faults that public reports about other engines, VAEs and extensions describe: the tests
of each kind are run and counted."""

import importlib.util
import re
import subprocess
import sys

import report

KINDS = {
    "a gradient or a parameter shares memory, vanishes, or is copied, tied, frozen": [
        "engine/test_gradient_memory", "engine/test_optim", "engine/test_nn",
        "engine/test_sequential", "engine/test_layer_options", "training/test_old_checkpoints",
    ],
    "Python's and NumPy's protocols on a tensor": ["engine/test_tensor_protocols"],
    "a name or an order of arguments of PyTorch's": ["engine/test_torch_names"],
    "random programs of all this beside PyTorch": ["engine/test_programs_torch"],
    "data in the forms in which others publish them, told apart by their pixels": [
        "data/test_dataset", "data/test_digit_files", "data/test_sets", "data/test_attributes",
        "data/test_image_npz", "data/test_image_folder",
    ],
    "a cache, a file or a folder that others use too": [
        "data/test_image_cache", "data/test_memory", "training/test_atomic_write",
        "training/test_output_folder",
    ],
    "a terminal, a disk or a locale in the way of results": ["cli/test_lenient_output"],
    "threads, and programs that end in the middle": [
        "kernels/test_thread_count", "kernels/test_threads", "kernels/test_heap",
    ],
    "what is said to be equal to the bit": ["kernels/test_bit_equality"],
}  # fmt: skip
NONE_COLLECTED = 5  # pytest's exit status
TESTS = [f"tests/{name}.py" for names in KINDS.values() for name in names]


def measure(quick):
    """Run every test, or only count them when quick."""
    rows, faults = [], []
    for kind, names in KINDS.items():
        files = [f"tests/{name}.py" for name in names]
        how = ["--collect-only"] if quick else []
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *how, *files]
        done = subprocess.run(command, cwd=report.ROOT, capture_output=True, text=True)
        counted = re.search(r"(\d+) (?:passed|tests? collected)", done.stdout)
        if done.returncode == NONE_COLLECTED and not importlib.util.find_spec("torch"):
            rows.append([kind, 0, "not run: PyTorch is not here"])
            continue
        good = done.returncode == 0 and counted
        if not good:
            last = [done.stderr, *done.stdout.splitlines()][-1]
            faults.append(f"{kind}: {last}")
        result = ("counted" if quick else "pass") if good else "fault"
        rows.append([kind, int(counted[1]) if counted else 0, result])
    return report.Report(["kind of fault", "tests", "result"], rows, faults)


if __name__ == "__main__":
    sys.exit(report.main(measure))

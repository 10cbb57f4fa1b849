"""``minivae info``: print versions, built kernels and devices, with reasons for what is missing."""

import importlib
import importlib.metadata
import importlib.util
import platform
import warnings
from collections.abc import Iterator
from pathlib import Path

from .. import kernels
from ..backend import cuda_unavailable, device_description
from ..data.image_cache import cache_summary
from ..kernels.interface import OtherSourcesError, extension
from ..training import parallel
from .options import Parser, reported

LIBRARIES = ("numpy", "safetensors", "matplotlib", "tqdm", "PIL", "threadpoolctl")
OPTIONAL = ("numba", "cupy", "graphviz", "onnx", "onnxruntime", "mpi4py", "scipy")
NEVER_IMPORTED = ("torch", "jax")  # never imported by this package; only their version is shown
LABELS = {"PIL": "Pillow"}


def kernels_used(device: str) -> str:
    """The name of the kernel variant used for arrays on ``device`` ("cpu" or "cuda")."""
    return kernels.active() or kernels.default(device)


def processor() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cuda_extension() -> list[tuple[str, str]]:
    """(name, text) pairs: whether minivae._cuda was built and loads, and whether cuBLASLt is found.

    Neither needs a GPU or a driver.
    """
    try:
        _cuda = extension("cuda")
        from ..kernels import cublaslt
    except OtherSourcesError as error:
        return [("extension", _why(str(error)))]
    except ImportError as error:
        return [("extension", _why(kernels.why_not_built("_cuda") or f"not built ({error})"))]
    library = cublaslt.found()
    where = library["path"] or "found" if library["found"] else f"no: {library['reason']}"
    return [
        ("extension", f"yes, {_cuda.architectures}, {_cuda.compiler}"),
        ("cuBLASLt", f"{where}; TF32 {'on' if library['tf32'] else 'off'}"),
    ]


@reported
def main(argv: list[str] | None = None) -> None:
    """Print ``info()``."""
    Parser(prog="minivae info", description="What is installed, built and reachable.").parse_args(
        argv
    )
    print(info())


def library(name: str) -> tuple[str | None, str | None]:
    """(version, None) of a library, or (None, why it cannot be imported), as if it is broken."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = importlib.import_module(name)
    except Exception as error:  # a broken one raises anything
        kind = "" if isinstance(error, ModuleNotFoundError) else f"{type(error).__name__}: "
        return None, f"no: {kind}{' '.join(str(error).split())}"
    return getattr(module, "__version__", "of unknown version"), None


def version() -> str:
    """The version of this package, which need not be installed."""
    return str(library("minivae")[0])


def libraries() -> Iterator[str]:
    """A line for each required library, and for each optional one that is installed."""
    for name in LIBRARIES:
        version, reason = library(name)
        yield f"  {LABELS.get(name, name):<14} {version or reason}"
    for name in OPTIONAL:
        if importlib.util.find_spec(name):
            version, reason = library(name)
            yield f"  {name:<14} {version or reason} (optional)"
    for name in NEVER_IMPORTED:
        if importlib.util.find_spec(name):
            yield f"  {name:<14} {_version(name) or 'of unknown version'} (optional, not imported)"


def instruction_set() -> Iterator[str]:
    """A line with the instruction sets of the compiled CPU kernels; none if they are not built."""
    if "cpu" in kernels.available():
        from .. import _cpu

        yield f"  instructions   {_cpu.isa()} (available: {', '.join(_cpu.isas())})"


def info() -> str:
    """Versions, kernels and devices as text, with the reason for everything that is missing."""
    lines = [
        f"minivae {version()}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}",
        "",
        "libraries",
        *libraries(),
        "",
        "devices",
        f"  cpu            yes, {kernels.threads()} threads for compiled kernels",
        *instruction_set(),
        f"  cuda           {_why(cuda_unavailable())}",
        *(f"    {name:<20} {text}" for name, text in _gpu()),
        f"  mpi            {parallel.library()}",
        "",
        f"cache            {cache_summary()}",
        "",
        f"kernel variants (default: {kernels_used('cpu')} for NumPy arrays, "
        f"{kernels_used('cuda')} for CuPy arrays; mv.kernels.use forces one)",
    ]
    reasons = kernels.reasons()
    lines += [f"  {name:<14} {_why(reasons.get(name))}" for name in kernels.VARIANTS]
    table = kernels.table()
    columns = [name for name in kernels.VARIANTS if any(row.get(name) for row in table.values())]
    width = max(map(len, table))
    lines += ["", "kernels", f"  {'':<{width}}  " + "  ".join(columns)]
    for kernel, row in table.items():
        cells = [("yes" if row[name] else "-").ljust(len(name)) for name in columns]
        lines.append(f"  {kernel:<{width}}  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def _gpu() -> list[tuple[str, str]]:
    """(name, text) pairs that describe the GPU and the CUDA extension."""
    device = {} if cuda_unavailable() else device_description()
    return [*device.items(), *cuda_extension()]


def _why(reason: str | None) -> str:
    return "yes" if reason is None else "no: " + " ".join(reason.split())


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None

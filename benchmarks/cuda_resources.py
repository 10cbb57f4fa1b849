"""Report registers, shared memory, spills and wide accesses of every CUDA kernel.

    python benchmarks/cuda_resources.py [--arch 90] [--json benchmarks/results/cuda_resources.json]
        [--only adam.cu,linear.cu]

Needs nvcc and no GPU: each csrc/cuda/*.cu becomes PTX, whose memory instructions are counted, and
ptxas reports the resources of the machine code; with cuobjdump its instructions are counted too
(_machine_code.py). test_cuda_compile.py checks the numbers against bounds; those of ``BOUNDS`` are
a table of docs/gpu-kernels.md.
"""

import argparse
import functools
import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import _machine_code
import _pages

CSRC = Path(__file__).parent.parent / "csrc"
WIDE = re.compile(r"\b(ld|st)\.(?:volatile\.)?global(?:\.nc)?\.(v4\.[fbus]32|v2\.[fbus]64)\b")
FUSED = re.compile(r"\bfma\.rn\.f(?:32|64)\b")  # a product and a sum, rounded once
REPORT = re.compile(
    r"Compiling entry function '(?P<symbol>\w+)' for '\w+'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers"
    r"(?:[^\n]*?(?P<shared>\d+) bytes smem)?",
    re.DOTALL,
)


@functools.cache
def build_script():
    """setup.py as a module: which flags a source is compiled with."""
    spec = importlib.util.spec_from_file_location("minivae_setup", CSRC.parent / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def nvcc():
    """The path of nvcc, or None."""
    roots = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    found = [shutil.which(os.path.join(root, "bin", "nvcc")) for root in roots]
    return next(filter(None, [*found, shutil.which("nvcc")]), None)


def _run(*command):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout + done.stderr


def demangled(symbols):
    """Readable names, without namespaces: ``forward_quads<true, true, float>``."""
    if not symbols or shutil.which("c++filt") is None:
        return {s: s for s in symbols}
    lines = subprocess.run(
        ["c++filt"], input="\n".join(symbols), capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return {s: _short(line) for s, line in zip(symbols, lines, strict=True)}


def _short(name):
    """The name without return type, namespaces and parameters."""
    name = re.sub(r"minivae::|\(anonymous namespace\)::", "", name).removeprefix("void ")
    depth = 0
    for i, letter in enumerate(name):
        depth += (letter == "<") - (letter == ">")
        if letter == "(" and depth == 0:
            return name[:i]
    return name


def kernels_of(ptx):
    """(symbol, body) of each kernel in a PTX file."""
    parts = re.split(r"^\s*(?:\.weak\s+|\.visible\s+)?\.entry\s+(\w+)\(", ptx, flags=re.MULTILINE)
    bodies = [part.partition("\n}\n")[0] for part in parts[2::2]]  # without functions after it
    return list(zip(parts[1::2], bodies, strict=True))


def disassembler():
    """The path of cuobjdump, or None."""
    return _machine_code.cuobjdump(Path(_tools(nvcc())) if nvcc() else None)


def inspect(source, arch, compiler, *more_flags):
    """A dict from kernel name to its resources, for one .cu file."""
    with tempfile.TemporaryDirectory() as scratch:
        ptx = Path(scratch, "kernels.ptx")
        flags = [
            "-std=c++17", "-O3", f"-arch=sm_{arch}", f"-I{CSRC}", "-Werror=all-warnings",
            build_script().contraction(source), *more_flags,
        ]  # fmt: skip
        _run(compiler, *flags, "-ptx", source, "-o", ptx)
        ptxas, cubin = Path(_tools(compiler), "ptxas"), Path(scratch, "x.cubin")
        said = _run(ptxas, f"-arch=sm_{arch}", "-O3", "-Werror", "-v", ptx, "-o", cubin)
        bodies = kernels_of(ptx.read_text())
        tool = disassembler()
        machine_code = _machine_code.functions(tool, cubin) if tool else {}
    names = demangled([symbol for symbol, _ in bodies])
    reports = {m["symbol"]: m for m in REPORT.finditer(said)}
    result = {}
    for symbol, body in bodies:
        report = reports[symbol]
        wide = WIDE.findall(body)
        result[names[symbol]] = {
            "registers": int(report["registers"]),
            "shared_bytes": int(report["shared"] or 0),
            "stack_bytes": int(report["stack"]),
            "spill_bytes": int(report["stores"]) + int(report["loads"]),
            "wide_loads": sum(kind == "ld" for kind, _ in wide),
            "wide_stores": sum(kind == "st" for kind, _ in wide),
            "fused": len(FUSED.findall(body)),
            **(_machine_code.counts(machine_code[symbol]) if symbol in machine_code else {}),
        }
    return result


def _tools(compiler):
    """The folder of ptxas, which need not be where the ``nvcc`` on the path is."""
    plan = _run(compiler, "-dryrun", "-ptx", "x.cu", "-o", "x.ptx")
    return re.search(r"_HERE_=(\S+)", plan)[1]


def resources(arch=90, sources=None):
    """{file: {kernel: resources}} of every .cu file of csrc/cuda (or of ``sources``)."""
    compiler = nvcc()
    if compiler is None:
        raise RuntimeError("no nvcc in CUDA_HOME, CUDA_PATH or PATH")
    sources = sorted(CSRC.glob("cuda/*.cu")) if sources is None else sources
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda source: inspect(source, arch, compiler), sources)
        return {source.name: kernels for source, kernels in zip(sources, found, strict=True)}


# Bounds of single kernels: (file, beginning of the kernel's name, what, how, bound), for every
# instantiation whose name begins so.
LOSS = "long_row_loss<CrossEntropy, true, float>"
QUADS = "quads<true, WholeRows, float>"  # a pass of its loop is a quad, four elements
BOUNDS = [
    ("adam.cu", "adam_step<true, float>", "wide_accesses", "at least", 7),
    ("adam.cu", "adam_step<true, float>", "registers", "at most", 48),
    ("bce_with_logits.cu", LOSS, "wide_accesses", "at least", 3),
    ("bce_with_logits.cu", LOSS, "registers", "at most", 40),
    ("conv2d.cu", "convolve_tiles<FmaTile<float, 32, 128", "loop_share", "at least", 60),
    ("conv2d.cu", "convolve_tiles<FmaTile<float, 64, 64", "loop_share", "at least", 60),
    ("conv2d.cu", "convolve_tiles<FmaTile<float", "registers", "at most", 96),
    ("conv2d.cu", "convolve_v3<4, float>", "loop_share", "at least", 28),
    ("conv2d.cu", "convolve_v3<8, float>", "loop_share", "at least", 40),
    ("conv2d_grad_weight.cu", "weight_tiles<FmaTile<float, 32, 128", "loop_share", "at least", 60),
    ("conv2d_grad_weight.cu", "weight_tiles<FmaTile<float, 64, 64", "loop_share", "at least", 60),
    ("conv2d_grad_weight.cu", "weight_tiles<FmaTile<float", "registers", "at most", 128),
    ("gather_pixels.cu", "gather<true, true, float>", "registers", "at most", 32),
    ("linear.cu", "layer_product<MatrixOperand<float", "loop_share", "at least", 60),
    ("linear.cu", "layer_product<Gradients<float, true>", "loop_share", "at least", 40),
    ("linear.cu", "layer_product<Gradients<float, false>", "loop_share", "at least", 48),
    ("linear.cu", "layer_product<MatrixOperand<float", "registers", "at most", 80),
    ("linear.cu", "layer_product<Gradients<float", "registers", "at most", 64),
    ("negative_elbo.cu", "terms_of<float>", "registers", "at most", 32),
    ("reparam_kl.cu", f"forward_{QUADS}", "loop_instructions", "at most", 260),
    ("reparam_kl.cu", f"forward_{QUADS}", "registers", "at most", 48),
    ("reparam_kl.cu", f"forward_{QUADS}", "wide_accesses", "at least", 3),
    ("reparam_kl.cu", f"backward_{QUADS}", "loop_instructions", "at most", 270),
    ("reparam_kl.cu", f"backward_{QUADS}", "registers", "at most", 48),
    ("reparam_kl.cu", f"backward_{QUADS}", "wide_accesses", "at least", 5),
]  # fmt: skip
# Values at 846126d of the kernels that have been rewritten since.
BEFORE = {
    ("convolve_tiles<FmaTile<float, 32, 128", "loop_share"): 25,
    ("convolve_tiles<FmaTile<float, 64, 64", "loop_share"): 34,
    ("convolve_tiles<FmaTile<float", "registers"): 98,
    ("weight_tiles<FmaTile<float, 32, 128", "loop_share"): 41,
    ("weight_tiles<FmaTile<float, 64, 64", "loop_share"): 46,
    ("weight_tiles<FmaTile<float", "registers"): 136,
    (f"forward_{QUADS}", "loop_instructions"): 410,
    (f"forward_{QUADS}", "registers"): 64,
    (f"backward_{QUADS}", "loop_instructions"): 426,
    (f"backward_{QUADS}", "registers"): 46,
}
WORDS = {
    "instructions": "instructions",
    "local_accesses": "accesses to local memory",
    "loop_instructions": "instructions of the inner loop",
    "loop_share": "multiply-adds in the inner loop, percent",
    "registers": "registers",
    "wide_accesses": "accesses of 128 bits",
}


def found_of(files, file, kernel, what):
    """The values of ``what`` of all kernels of a file whose names begin with ``kernel``."""
    return [needs[what] for name, needs in files[file].items() if name.startswith(kernel)]


def bounds_table(record):
    """``BOUNDS`` beside the values of the compiled kernels."""
    rows = []
    for file, kernel, what, how, bound in BOUNDS:
        values = found_of(record["files"], file, kernel, what)
        worst = max(values) if how == "at most" else min(values)
        before = BEFORE.get((kernel, what), "")
        rows.append([f"`{file}` `{kernel}`", WORDS[what], f"{how} {bound}", before, worst])
    header = ["kernel", "of its machine code", "bound", "before", "found"]
    caption = f"nvcc {record['nvcc']}, {record['arch']}."
    return _pages.markdown_table(header, rows) + "\n\n" + caption


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--arch", type=int, default=90, help="compute capability, such as 90")
    parser.add_argument("--json", type=Path, help="write the report to this file")
    parser.add_argument("--only", help="comma-separated files; values of others are kept")
    options = parser.parse_args(argv)
    sources = options.only and [CSRC / "cuda" / name for name in options.only.split(",")]
    found = resources(options.arch, sources)
    version = re.search(r"release ([\d.]+)", _run(nvcc(), "--version"))[1]
    if options.json:
        record = {"nvcc": version, "arch": f"sm_{options.arch}", "files": found}
        if sources:
            record["files"] = {**json.loads(options.json.read_text())["files"], **found}
        options.json.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    for file, kernels in found.items():
        for kernel, r in sorted(kernels.items()):
            print(
                f"{file:<30} {kernel:<48} {r['registers']:>3} registers"
                f" {r['shared_bytes']:>6} B shared {r['spill_bytes']:>4} B spilled"
                f" {r['wide_loads']:>3} + {r['wide_stores']} wide"
            )


if __name__ == "__main__":
    main()

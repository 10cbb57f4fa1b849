"""Count a kernel's machine instructions with cuobjdump, of CUDA or of nvidia-cuda-cuobjdump."""

import importlib.util
import re
import shutil
import subprocess
from collections import Counter
from glob import glob

INSTRUCTION = re.compile(
    r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)\s*([^;]*);"
)
MULTIPLY_ADD = ("FFMA", "DFMA", "HMMA", "DMMA")


def cuobjdump(beside=None):
    """The path of cuobjdump: in the folder ``beside``, on PATH, or in a wheel; None without one."""
    spec = importlib.util.find_spec("nvidia")
    roots = (spec.submodule_search_locations if spec else None) or []
    wheels = [path for root in roots for path in glob(f"{root}/*/bin")]
    folders = [str(folder) for folder in (beside, *wheels) if folder]
    found = (shutil.which("cuobjdump", path=folder) for folder in (*folders, None))
    return next(filter(None, found), None)


def functions(tool, cubin):
    """{symbol: [(address, opcode, operands), ...]} of the kernels in a cubin."""
    text = subprocess.run(
        [tool, "-sass", cubin], capture_output=True, text=True, check=True
    ).stdout  # fmt: skip
    parts = re.split(r"^\s*Function : (\S+)$", text, flags=re.MULTILINE)
    found = {}
    for symbol, body in zip(parts[1::2], parts[2::2], strict=True):
        matches = filter(None, map(INSTRUCTION.match, body.splitlines()))
        found[symbol] = [(int(m[1], 16), m[2], m[3]) for m in matches if m[2] != "NOP"]
    return found


def counts(code):
    """Numbers of a kernel's instructions by kind.

    Returns:
        ``instructions``; ``wide_accesses``, of 128 bits to global memory; ``local_accesses``, to
        local memory (for example spilled registers); ``multiply_adds``; and for the loop with most
        multiply-adds ``loop_instructions`` and ``loop_share``, the percentage of multiply-adds
        among them (0 without such a loop).
    """
    kinds = Counter(opcode.partition(".")[0] for _, opcode, _ in code)
    loop = busiest_loop(code)
    wide = sum(op.startswith(("LDG", "STG")) and ".128" in op for _, op, _ in code)
    return {
        "instructions": len(code),
        "wide_accesses": wide,
        "local_accesses": kinds["LDL"] + kinds["STL"],
        "multiply_adds": sum(kinds[kind] for kind in MULTIPLY_ADD),
        "loop_instructions": len(loop),
        "loop_share": round(100 * _multiply_adds(loop) / max(len(loop), 1)),
    }


def _multiply_adds(kinds):
    return sum(kind in MULTIPLY_ADD for kind in kinds)


def busiest_loop(code):
    """The kinds of instructions in the innermost loop that has most multiply-adds."""
    best = []
    for address, opcode, operands in code:
        target = re.search(r"0x([0-9a-f]+)", operands)
        if not opcode.startswith("BRA") or not target or int(target[1], 16) >= address:
            continue  # not a backward jump
        first = int(target[1], 16)
        body = [op.partition(".")[0] for at, op, _ in code if first <= at <= address]
        best = max(best, body, key=lambda kinds: (_multiply_adds(kinds), -len(kinds)))
    return best

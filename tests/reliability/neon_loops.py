"""Inner loops in the machine code for NEON: products multiply and add vectors, without spills.

python tests/reliability/neon_loops.py build/.../isa_neon.o
"""

import re
import subprocess
import sys
from collections import Counter

OBJDUMP = "aarch64-linux-gnu-objdump"
VECTORS = re.compile(r"fmla\s+v\d+\.(4s|2d), v\d+\.\1, v\d+\.(\1|[sd]\[\d\])$")
FOR_TESTS = re.compile(r"\b(elementary|fast_\w+)<")  # of functions alone, a GPU's among them
BACK = re.compile(r"(?:b\.\w+|cbn?z\s+\w+,|tbn?z\s+\w+, \S+,)\s+([0-9a-f]+)\b")


def loops(code):
    """(function, instructions) of every loop in objdump's text that has no loop inside."""
    for block in code.split("\n\n"):
        name, _, body = block.partition("\n")
        lines = re.findall(r"^\s*([0-9a-f]+):\s+(.*?)(?:\s+//.*)?$", body, re.MULTILINE)
        at = {address: i for i, (address, _) in enumerate(lines)}
        jumps = [BACK.match(text) for _, text in lines]
        ends = [(at[m[1]], i) for i, m in enumerate(jumps) if m and at.get(m[1], i + 1) <= i]
        for start, end in ends:
            loop = [text.strip() for _, text in lines[start : end + 1]]
            inner = not any((s, e) != (start, end) and start <= s and e <= end for s, e in ends)
            if inner and "ret" not in loop:  # else a jump back to code that is shared
                yield name, loop


def faults(code):
    """(faults of loops that multiply and add, one line each; {kernel: number of such loops})."""
    wrong, seen = [], Counter()
    for name, loop in loops(code):
        if FOR_TESTS.search(name):
            continue
        sums = [text for text in loop if re.match(r"f(n?m)(la|ls|add|sub)\b", text)]
        if not sums:
            continue
        kernel = re.search(r"tile<\d+, \d|dot_tile|add_dot_products|$", name)[0]
        seen[kernel] += 1
        spilled = [text for text in loop if "[sp" in text]
        if scalar := [text for text in sums if not VECTORS.match(text)]:
            wrong.append(f"{name}: no vectors in {scalar[0]}")
        if spilled:
            wrong.append(f"{name}: {spilled[0]} and {len(spilled) - 1} more on the stack")
    return wrong, seen


def main():
    """Exit status 1 when a loop is not as it should be, or a kernel's is missing."""
    code = subprocess.run(
        [OBJDUMP, "-dC", "--no-show-raw-insn", sys.argv[1]],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    wrong, seen = faults(code)
    tiles = [f"tile<{rows}, {vectors}" for rows in (4, 8, 12) for vectors in (1, 2)]
    wrong += [f"no loop of {name}" for name in [*tiles, "add_dot_products"] if not seen[name]]
    print(*wrong, f"{sum(seen.values())} loops that multiply and add", sep="\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

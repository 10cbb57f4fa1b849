"""Which versions the CUDA kernels have, read from csrc: no compiler and no GPU needed.

A kernel of several versions is ``csrc/cuda/STEM.cu``, and ``STEM.h`` says how many there are.
"""

import re
from pathlib import Path

CUDA = Path(__file__).parents[1] / "csrc" / "cuda"
COUNT = re.compile(r"constexpr int k\w+Versions = (\d+);")


def versions_by_kernel():
    """{stem: [1, 2, ...]} of every kernel that has versions; empty where csrc is missing."""
    counts = {path.stem: COUNT.search(path.read_text()) for path in sorted(CUDA.glob("*.h"))}
    return {stem: [*range(1, int(found[1]) + 1)] for stem, found in counts.items() if found}


def described(stem):
    """{place: versions} that ``STEM.cu`` names, in at least three places: the list in its header,
    the headings of its sections, and every ``switch`` that launches a version."""
    source = (CUDA / f"{stem}.cu").read_text()
    sections = " ".join(re.findall(r"^// ---- (v.*)", source, re.MULTILINE))
    places = {
        "header": re.findall(r"^//   v(\d+) ", source, re.MULTILINE),
        "sections": re.findall(r"\bv(\d+)\b", sections),
    }
    for number, switch in enumerate(re.findall(r"switch \(version\) \{(.*?)\n  \}", source, re.S)):
        places[f"switch {number}"] = re.findall(r"^    case (\d+):", switch, re.MULTILINE)
    return {place: [int(version) for version in found] for place, found in places.items()}

"""Run small cases of every CUDA kernel on the GPU, for compute-sanitizer.

    compute-sanitizer --tool memcheck python benchmarks/_gpu_cases.py [SECONDS]

The cases are those that the tests run on the CPU under the address and thread sanitizers
(tests/cuda/cuda_sanitized.py). After SECONDS it stops and names the first case that it left out.
"""

import sys
import time

from _pages import ROOT

sys.path.insert(0, str(ROOT / "tests"))

import cuda_machine
import cuda_sanitized


def main(seconds=1e9):
    """Run the cases in order; prints each when it is done."""
    begin = time.monotonic()
    cuda_machine.GUARD = 0  # so that the sanitizer sees the first element beyond an array
    gpu = cuda_machine._Gpu()
    gpu.cupy.cuda.set_allocator(None)  # no pool, which would round sizes up
    for name, case in cuda_sanitized._cases().items():
        if time.monotonic() - begin > float(seconds):
            print(f"no time left before {name}")
            return
        case(gpu)
        print(name, flush=True)
    print("all cases ran")


if __name__ == "__main__":
    main(*sys.argv[1:2])

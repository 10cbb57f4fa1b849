"""Direct calls of NVRTC, the compiler that CuPy uses for its kernels; no driver is needed."""

import ctypes
import importlib.util
from glob import glob

OPTIONS = ("-arch=sm_90", "-std=c++17", "--fmad=false", "-ftz=true")  # as CuPy, for a Hopper


def library():
    """The library of the wheel nvidia-cuda-nvrtc, or None."""
    spec = importlib.util.find_spec("nvidia")
    roots = (spec.submodule_search_locations if spec else None) or []
    found = sorted(p for root in roots for p in glob(f"{root}/*/lib/libnvrtc.so.1[23]"))
    return ctypes.CDLL(found[-1]) if found else None


def compiled(nvrtc, source):
    """Compile a source; the size of its machine code. RuntimeError has the compiler's message."""
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None)
    options = (ctypes.c_char_p * len(OPTIONS))(*(o.encode() for o in OPTIONS))
    try:
        if nvrtc.nvrtcCompileProgram(program, len(OPTIONS), options):
            nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
            log = ctypes.create_string_buffer(size.value)
            nvrtc.nvrtcGetProgramLog(program, log)
            raise RuntimeError(log.value.decode())
        nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
        return size.value
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))

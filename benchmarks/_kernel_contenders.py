"""Contenders of benchmarks/kernels.py: minivae's variants, PyTorch, and numba on a GPU.

A contender has

    name
    place(array)      its own array of a NumPy array; on a GPU also of a CuPy array, in its memory
    fetch(array)      its array as a NumPy array
    run(calls)        the results of a workload, a list of tuples of its own arrays
    missing(calls)    why it cannot run these calls, or None
    draws             whether its noise is minivae's stream, so that drawn results can be compared
    capture(runs)     only if its calls can be captured on a GPU: see ``Variant.capture``
"""

import functools

import numpy as np
from _kernel_workloads import run

from minivae import kernels
from minivae.backend import device_module, to_device, to_numpy


class Variant:
    """A variant of the registry, perhaps in one of its versions."""

    draws = True

    def __init__(self, name, device):
        self.name, self.device = name, device
        self.variant, _, self.version = name.partition(":")
        with kernels.use(name):  # KernelUnavailable says why not
            pass

    def place(self, a):
        return to_device(np.array(a, order="K"), self.device) if isinstance(a, np.ndarray) else a

    fetch = staticmethod(to_numpy)

    def capture(self, runs):
        """``runs``, each a list of calls, as one graph: (a function that launches it, its stream).

        RuntimeError where something in them cannot be captured.
        """
        cuda = device_module().cuda
        stream, pool = cuda.Stream(non_blocking=True), cuda.MemoryPool()
        cuda.get_current_stream().synchronize()  # the runs' inputs are complete
        with stream, cuda.using_allocator(pool.malloc):
            self.run(runs[0])  # first-call set-up, which cannot be captured
            stream.begin_capture()
            try:
                for calls in runs:
                    self.run(calls)
            finally:
                graph = stream.end_capture()
        return functools.partial(_launch, graph, stream, pool), stream

    def missing(self, calls):
        """Why it does not run these calls, or None."""
        module = kernels._load(self.variant)[0]
        versions = getattr(module, "VERSIONS", {})
        if self.version and not any(kernel in versions for kernel, _ in calls):
            return f"{calls[0][0]} has no version {self.version}"
        for kernel, arguments in calls:
            if not hasattr(module, kernel):
                return f"no {kernel}"
            if self.version:
                drawn = any(
                    isinstance(a, tuple) and kernel.startswith("reparam") for a in arguments
                )
                if int(self.version) > versions.get(kernel, int(self.version)):
                    return f"{kernel} has no version {self.version}"
                if drawn and int(self.version) < module.DRAWS_NOISE:
                    return f"version {self.version} takes noise as an array"
        return None

    def run(self, calls):
        return run(_Forced(self.name), calls)


def _launch(graph, stream, pool):
    """Launch a graph; ``pool`` is an argument so that the graph's memory stays allocated."""
    graph.launch(stream)


class _Forced:
    """The kernels of one contender as attributes, each looked up once and not at each call."""

    def __init__(self, name):
        self.name = name

    def __getattr__(self, kernel):
        return _function(self.name, kernel)


@functools.cache
def _function(name, kernel):
    variant = name.partition(":")[0]
    module = kernels._load(variant)[0]
    function = getattr(module, kernel)
    if ":" not in name or kernel not in module.VERSIONS:
        return function
    return functools.partial(function, version=int(name.partition(":")[2]))


class NumbaCuda:
    """numba's GPU kernels, on CuPy's arrays."""

    name, draws = "numba.cuda", True

    def __init__(self):
        import _numba_cuda
        from numba import cuda

        if not cuda.is_available():
            raise RuntimeError("numba finds no device")
        self.module = _numba_cuda

    def place(self, a):
        return to_device(np.array(a), "cuda") if isinstance(a, np.ndarray) else a

    fetch = staticmethod(to_numpy)

    def missing(self, calls):
        names = [kernel for kernel, _ in calls]
        if names != ["reparam_kl_forward", "reparam_kl_backward"]:
            return "only reparam_kl"
        return "noise is an array" if isinstance(calls[0][1][2], tuple) else None

    def run(self, calls):
        cupy = device_module()
        mu, logvar, eps, dz, dkl = calls[1][1]
        z, dmu, dlogvar = (cupy.empty_like(mu) for _ in range(3))
        kl = cupy.empty(len(mu), mu.dtype)
        self.module.reparam_kl_forward(mu, logvar, eps, z, kl)
        self.module.reparam_kl_backward(mu, logvar, eps, dz, dkl, dmu, dlogvar)
        return [(z, kl), (dmu, dlogvar)]


class Torch:
    """PyTorch as its users write it; gradients by its autograd. ``compiled``: torch.compile."""

    draws = False  # its noise is PyTorch's

    def __init__(self, device, compiled=False):
        import torch

        self.torch, self.device = torch, device
        self.name = "torch.compile" if compiled else "torch"
        self.wrap = torch.compile if compiled else lambda f: f
        self._made = {}
        if device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("torch finds no device")

    def place(self, a):
        if isinstance(a, np.ndarray):
            tensor = self.torch.from_numpy(np.array(a, order="K")).to(self.device)
        else:
            tensor = self.torch.from_dlpack(a)
        return tensor.requires_grad_(tensor.is_floating_point())

    def fetch(self, a):
        return a.detach().cpu().numpy()

    def capture(self, runs):
        """As ``Variant.capture``."""
        cuda = self.torch.cuda
        graph, stream = cuda.CUDAGraph(), cuda.Stream()
        stream.wait_stream(cuda.current_stream())
        with cuda.stream(stream):
            self.run(runs[0])
        with cuda.graph(graph, stream=stream):
            for calls in runs:
                self.run(calls)

        def launch():
            with cuda.stream(stream):
                graph.replay()

        return launch, device_module().cuda.ExternalStream(stream.cuda_stream)

    def missing(self, calls):
        return None if hasattr(self, "_" + _stem(calls)) else "not written in PyTorch here"

    def run(self, calls):
        stem = _stem(calls)
        if stem not in self._made:
            self._made[stem] = getattr(self, "_" + stem)()
        return self._made[stem](*(arguments for _, arguments in calls))

    def _reparam_kl(self):
        torch = self.torch

        @self.wrap
        def forward(mu, logvar, noise):
            eps = torch.randn_like(mu) if isinstance(noise, tuple) else noise
            kl = 0.5 * (mu * mu + torch.expm1(logvar) - logvar).sum(dim=1)
            return mu + torch.exp(0.5 * logvar) * eps, kl

        def both(_, arguments):
            mu, logvar, noise, dz, dkl = arguments
            noise = noise if isinstance(noise, tuple) else noise.detach()
            z, kl = forward(mu, logvar, noise)
            upstream = dz.detach(), dkl.detach()
            return [(z, kl), torch.autograd.grad((z, kl), (mu, logvar), upstream)]

        return both

    def _row_loss(self, loss):
        torch = self.torch
        loss = self.wrap(loss)

        def both(arguments):
            logits, target, _ = arguments
            rows = loss(logits, target.detach())
            return [(rows, *torch.autograd.grad(rows, logits, torch.ones_like(rows)))]

        return both

    def _bce_with_logits(self):
        f = self.torch.nn.functional.binary_cross_entropy_with_logits
        return self._row_loss(lambda logits, target: f(logits, target, reduction="none").sum(1))

    def _squared_error_with_logits(self):
        sigmoid = self.torch.sigmoid
        return self._row_loss(lambda logits, target: ((sigmoid(logits) - target) ** 2).sum(1))

    def _adam(self):
        torch = self.torch
        fused = self.name == "torch.compile" or self.device == "cuda"
        optimisers = {}

        def step(arguments):
            param, grad, m, v, count, lr, beta1, beta2, eps, weight_decay = arguments
            if id(param) not in optimisers:
                adam = torch.optim.Adam(
                    [param], lr, (beta1, beta2), eps, weight_decay, fused=fused,
                    capturable=self.device == "cuda",
                )  # fmt: skip
                place = self.device if fused else "cpu"
                started = torch.tensor(float(count - 1), device=place)
                adam.state[param] = {
                    "step": started, "exp_avg": m.detach(), "exp_avg_sq": v.detach()
                }  # fmt: skip
                param.grad = grad.detach()
                optimisers[id(param)] = adam
            optimisers[id(param)].step()
            return [()]

        return step

    def _relu(self):
        torch = self.torch
        relu = self.wrap(torch.relu)

        def both(first, second):
            y = relu(first[0])
            return [(y,), torch.autograd.grad(y, first[0], second[1].detach())]

        return both

    def _batch_norm(self):
        torch = self.torch
        normalise = self.wrap(
            lambda x, w, b, eps: torch.nn.functional.batch_norm(x, None, None, w, b, True, 0, eps)
        )

        def both(first, second):
            x, w, b, _, _, eps = first
            y = normalise(x, w, b, eps)
            return [(y,), torch.autograd.grad(y, (x, w, b), second[5].detach())]

        return both

    def _channel_sum(self):
        total = self.wrap(lambda x: x.sum(dim=(0, 2)))
        return lambda arguments: [(total(arguments[0].detach()),)]

    def _log_mean_exp(self):
        torch = self.torch

        @self.wrap
        def both(x):
            return torch.logsumexp(x, 1) - np.log(x.shape[1]), torch.softmax(x, 1)

        return lambda arguments: [both(arguments[0].detach())]

    def _gather_pixels(self):
        torch = self.torch

        @self.wrap
        def gather(images, index, draw):
            p = images[index].float() / 255
            return torch.bernoulli(p) if draw else p

        return lambda arguments: [(gather(arguments[0], arguments[1], arguments[3] is not None),)]

    def _normal(self):
        torch = self.torch
        return lambda arguments: [(torch.randn(arguments[1], device=self.device),)]

    def _matmul(self):
        product = self.wrap(self.torch.addmm)
        return lambda arguments: [
            (product(arguments[2].detach(), arguments[0].detach(), arguments[1].detach()),)
        ]

    def _conv2d(self):
        torch = self.torch
        convolve = self.wrap(torch.nn.functional.conv2d)

        def all_three(first, second, third):
            x, w, _, *rest = first
            y = convolve(x, w, None, *rest)
            dx, dw = torch.autograd.grad(y, (x, w), second[0].detach())
            return [(y,), (dx,), (dw,)]

        return all_three


def _stem(calls):
    """The name that the calls of a workload share."""
    return calls[0][0].removesuffix("_forward")


def highest_version():
    """The largest number of versions of any CUDA kernel; 0 if CUDA kernels cannot run."""
    if "cuda" not in kernels.available():
        return 0
    return max(kernels._load("cuda")[0].VERSIONS.values())


def contenders(device, wanted=None):
    """(contenders, reasons): all that can run on ``device``, and why others cannot."""
    makers = {"reference": lambda: Variant("reference", device)}
    if device == "cpu":
        makers |= {name: functools.partial(Variant, name, device) for name in ("cpu", "numba")}
        makers["torch"] = lambda: Torch(device)
    else:
        for version in range(1, highest_version() + 1):
            makers[f"cuda:{version}"] = functools.partial(Variant, f"cuda:{version}", device)
        makers |= {name: functools.partial(Variant, name, device) for name in ("cuda", "cupy")}
        makers["numba.cuda"] = NumbaCuda
        makers["torch"] = lambda: Torch(device)
        makers["torch.compile"] = lambda: Torch(device, compiled=True)
    found, reasons = [], {}
    for name, make in makers.items():
        if wanted and name not in wanted:
            continue
        try:
            found.append(make())
        except Exception as error:  # a broken library raises anything
            reasons[name] = f"{type(error).__name__}: {error}"
    return found, reasons

"""A table from PyTorch's names that minivae lacks to what to write instead.

One part for each place where a name is looked up: ``mv`` for ``torch``, ``functional`` (``F``),
``nn``, ``optim``, ``Module`` and ``Tensor``. A name in the table is still missing, so ``hasattr``
is False; the AttributeError says what to write.
"""

_SUM = "its default reduction is the sum"
_NUMPY = "mv.Tensor(np.{0}(...))"
_IN_PLACE = "x[...] = value, or x += y and its like, inside mv.no_grad()"
_RESHAPE = "x.reshape(...), or x[:, None] for a new axis"

INSTEAD: dict[str, dict[str, str]] = {
    "mv": {
        "as_tensor": "mv.Tensor(array)",
        "from_numpy": "mv.Tensor(array), which shares its memory",
        **{name: _NUMPY.format(name) for name in (
            "zeros", "ones", "full", "empty", "arange", "linspace", "eye", "zeros_like",
            "ones_like", "full_like",
        )},
        "randn": "mv.Noise(seed, offset).normal(shape)",
        "randn_like": "mv.Noise(seed, offset).normal(x.shape, x.dtype)",
        "rand": "mv.Noise(seed, offset).uniform(shape)",
        "rand_like": "mv.Noise(seed, offset).uniform(x.shape, x.dtype)",
        "normal": "mv.Noise(seed, offset).normal(shape)",
        "manual_seed": "a seed of its own for each use: mv.NoiseStream(seed), seed= of a model, "
        "rng=mv.NoiseStream(seed) of a layer; there is no global state",
        "Generator": "mv.NoiseStream(seed)",
        "cat": "mv.functional.concatenate(tensors, axis)",
        "concat": "mv.functional.concatenate(tensors, axis)",
        "stack": "mv.functional.concatenate of tensors with a new axis, x[None]",
        "float16": "np.float16", "float32": "np.float32", "float64": "np.float64",
        "float": "np.float32", "double": "np.float64", "int64": "np.int64", "long": "np.int64",
        "device": "the string 'cpu' or 'cuda'",
        "cuda": "'cuda' in mv.kernels.available()",
        "enable_grad": "no block: everything outside mv.no_grad() is recorded",
        "set_grad_enabled": "mv.no_grad()",
        "inference_mode": "mv.no_grad()",
        "autograd": "mv.gradcheck, and minivae.tensor.Function for an operation of one's own",
        "distributions": "mv.functional.gaussian_nll and mv.functional.reparameterize_kl",
        "utils": "mv.data.PixelBatches for a DataLoader, mv.nn.utils for clipping",
        "DataLoader": "mv.data.PixelBatches(images, batch_size, seed)",
    },
    "functional": {
        "binary_cross_entropy_with_logits": f"F.bce_with_logits; {_SUM}",
        "binary_cross_entropy": f"F.bce_with_logits of the logits; {_SUM}",
        "mse_loss": f"F.mse; {_SUM}",
        "gaussian_nll_loss": f"F.gaussian_nll(x, mean, logvar) of the log variance; {_SUM}",
        "kl_div": "F.reparameterize_kl, which gives the KL from N(0, I) with the sample",
        "logsigmoid": "-F.softplus(-x)",
        "cat": "F.concatenate(tensors, axis)",
        "logsumexp": "F.log_mean_exp(x, axis) + math.log(n)",
        "mm": "F.matmul", "bmm": "F.matmul", "permute": "F.transpose(x, axes)",
        "unsqueeze": f"a reshape: {_RESHAPE}", "squeeze": f"a reshape: {_RESHAPE}",
        "view": "F.reshape", "square": "x ** 2", "rsqrt": "x ** -0.5", "divide": "F.div",
        "amax": "F.max(x, axis=axis)", "randn_like": "mv.Noise(seed, offset).normal(x.shape)",
    },
    "nn": {
        "BatchNorm1d": "nn.BatchNorm2d, which takes (N, C) too",
        "functional": "minivae.functional",
        "ModuleDict": "nn.ModuleList, or an attribute for each",
        "ParameterList": "an attribute for each parameter",
        "ParameterDict": "an attribute for each parameter",
        "Identity": "nn.Sequential()",
        "Softplus": "minivae.functional.softplus in forward",
        "BCEWithLogitsLoss": f"minivae.functional.bce_with_logits; {_SUM}",
        "BCELoss": f"minivae.functional.bce_with_logits of the logits; {_SUM}",
        "MSELoss": f"minivae.functional.mse; {_SUM}",
        "GaussianNLLLoss": f"minivae.functional.gaussian_nll of the log variance; {_SUM}",
        "init": "rng=mv.NoiseStream(seed) of a layer, or layer.weight.data[...] = array",
        "DataParallel": "nothing: the kernels use all cores by themselves",
    },
    "optim": {
        "lr_scheduler": "optimizer.lr = rate (or param_groups[i]['lr']) between steps, or "
        "schedule= of the Trainer",
        "AdamW": "optim.Adam, whose weight_decay is the L2 term and not decoupled",
        "clip_grad_norm_": "nn.utils.clip_grad_norm_",
    },
    "Module": {
        "half": "model.to(dtype=np.float16)", "float": "model.to(dtype=np.float32)",
        "double": "model.to(dtype=np.float64)", "type": "model.to(dtype=dtype)",
        "cpu": "model.to('cpu')", "cuda": "model.to('cuda')",
        "add_module": "setattr(model, name, module)", "get_parameter": "an attribute by its name",
        "named_modules": "model.modules(), or model.named_children() of each",
        "register_forward_hook": "a subclass with its own forward",
        "save": "mv.save(path, model)",
    },
    "Tensor": {
        "permute": "x.transpose(axes), with one tuple of all axes",
        "t": "x.T", "unsqueeze": _RESHAPE, "squeeze": _RESHAPE, "flatten": "F.flatten(x)",
        "unflatten": "x.reshape(...)", "ravel": "x.reshape(-1)",
        "clone": "x * 1 within the graph, mv.Tensor(x.data.copy()) outside of it",
        "copy": "mv.Tensor(x.data.copy())",
        "cpu": "x.to('cpu')", "cuda": "x.to('cuda')", "device": "x.to(device) to be sure of it",
        "numel": "x.size", "dim": "x.ndim", "is_leaf": "x.creator is None",
        "grad_fn": "x.creator", "register_hook": "x.retain_grad(), and x.grad after backward",
        "float": "x.to(np.float32)", "double": "x.to(np.float64)", "half": "x.to(np.float16)",
        "type": "x.to(dtype)", "astype": "x.to(dtype)", "tolist": "x.data.tolist()",
        "contiguous": "x itself: operations take any layout",
        "expand": "broadcasting: x * np.ones(shape, x.dtype)",
        "repeat": "broadcasting and x.reshape(...)",
        "mm": "x @ y", "bmm": "x @ y", "matmul": "x @ y", "square": "x ** 2", "pow": "x ** y",
        "add": "x + y", "sub": "x - y", "mul": "x * y", "div": "x / y", "neg": "-x",
        "norm": "F.sqrt((x * x).sum())", "long": "x.data.astype(np.int64)",
        "is_contiguous": "x.data.flags.c_contiguous", "isnan": "np.isnan(x.data)",
        "split": "slices, x[a:b]", "chunk": "slices, x[a:b]",
        "requires_grad_": "x.requires_grad = True", "detach_": "x = x.detach()",
        **{f"{name}_": _IN_PLACE for name in (
            "add", "sub", "mul", "div", "zero", "fill", "copy", "normal", "uniform", "clamp",
        )},
    },
}  # fmt: skip


def missing(place: str, of: str, name: str, instead: str | None = None) -> AttributeError:
    """The AttributeError for a missing name, with what to write instead where that is known.

    Args:
        place: where the name was looked up, a key of ``INSTEAD``.
        of: that place in Python's words: "module 'minivae.nn'", "'Tensor' object".
        name: the missing name.
        instead: what to write if the table does not have the name.
    """
    instead = INSTEAD[place].get(name, instead)
    return AttributeError(
        f"{of} has no attribute {name!r}" + (f"; write {instead}" if instead else ""), name=name
    )

"""One training step of each model in minivae, PyTorch, JAX, Keras and numba, as users write it.

A step is all of: choose the images of a batch from a resident uint8 set, scale them, draw noise,
forward, backward, Adam. All start from minivae's weights; step 0 uses minivae's first noise, so
that the first losses can be compared before anything is timed.
"""

from types import MappingProxyType
from typing import NamedTuple

import numpy as np


class Workload(NamedTuple):
    """A model, its batch and the settings of its training step."""

    model: str  # a class of minivae.models; torch_models.py and the like have one of this name
    image_shape: tuple
    batch: int
    steps: int  # timed in one process
    adam: dict
    options: dict  # of the model's constructor
    objective: str = "elbo"  # of training.objectives


WORKLOADS = {
    "mlp": Workload("MLPVAE", (1, 28, 28), 128, 200, {"lr": 1e-3}, {}),
    "conv": Workload("ConvVAE", (1, 28, 28), 128, 25, {"lr": 1e-3}, {}),
    "face": Workload("FaceVAE", (3, 256, 256), 16, 10, {"lr": 1e-4, "weight_decay": 1e-5}, {}),
    # The VAE of table 1 of Burda et al. 2016 (arXiv:1509.00519): tanh, and the KL sampled.
    "deep": Workload(
        "DeepVAE", (1, 28, 28), 20, 500, {"lr": 1e-3, "eps": 1e-4}, {}, "sampled_elbo"
    ),
}


def images_for(work):
    """A resident uint8 set: enough images that a batch is a real gather."""
    rng = np.random.default_rng(0)
    return (rng.random((8 * work.batch, *work.image_shape)) ** 4 * 255).astype(np.uint8)


def batch_index(i, work):
    """The images of step i."""
    return np.random.default_rng(i).permutation(8 * work.batch)[: work.batch]


def initial_model(work):
    import minivae as mv

    return getattr(mv.models, work.model)(seed=0, **work.options)


def first_noise(work, latent_dim):
    import minivae as mv

    return mv.Noise(0, 0).normal((work.batch, latent_dim))


def minivae_step(work, *, replayed=True):
    """``step(i)`` trains on batch i and returns the loss, as in the functions below.

    With ``replayed`` the step is recorded and replayed where that is possible, as in ``Trainer``.
    """
    import minivae as mv
    from minivae.training import objectives
    from minivae.training.choose_step import recorded
    from minivae.training.step import EagerStep

    model = initial_model(work)
    adam = mv.optim.Adam(model.parameters(), **work.adam)
    images, stream = images_for(work), mv.NoiseStream(0)
    train = EagerStep(model, adam, getattr(objectives, work.objective))
    if replayed:
        train, _ = recorded(train, None)

    def step(i):
        index = batch_index(i, work)
        x = mv.kernels.get("gather_pixels", images)(images, index, np.float32)
        return train(x, stream.draw(), 1.0).loss.item()

    return step


def torch_step(work, *, best=False, compiled=False):
    """PyTorch. ``best``: fused Adam and channels_last; ``compiled``: the same by Inductor."""
    import torch
    import torch_models

    model = getattr(torch_models, work.model)(**work.options)
    initial = initial_model(work).state_dict()
    model.load_state_dict({k: torch.from_numpy(v) for k, v in initial.items()})
    del initial
    layout = torch.channels_last if best and work.model not in ("MLPVAE", "DeepVAE") else None
    if layout:
        model = model.to(memory_format=layout)
    adam = torch.optim.Adam(model.parameters(), fused=best or None, **work.adam)
    images = torch.from_numpy(images_for(work))
    elbo = torch.compile(model.elbo) if compiled else model.elbo

    def step(i):
        x = images[torch.from_numpy(batch_index(i, work))].float() / 255
        x = x.contiguous(memory_format=layout) if layout else x
        if i == 0:
            eps = torch.from_numpy(first_noise(work, model.latent_dim))
        else:
            eps = torch.randn(work.batch, model.latent_dim)
        adam.zero_grad()
        loss, _, _ = elbo(x, eps)
        loss.backward()
        adam.step()
        return loss.item()

    return step


def jax_step(work):
    """JAX: the whole step is one jitted function."""
    import jax
    import jax.numpy as jnp
    import jax_models

    model = initial_model(work)
    eps = first_noise(work, model.latent_dim)
    state = jax_models.initial_state(model.state_dict())
    del model
    train = jax_models.make_step(work.model, jnp.asarray(images_for(work)), **work.adam)
    key = jax.random.key(0)

    def step(i):
        nonlocal state
        noise = jnp.asarray(eps) if i == 0 else jax.random.fold_in(key, i)
        state, loss = train(state, batch_index(i, work), noise)
        return loss.item()

    return step


def numba_step(work):
    """NumPy and numba, of the MLP only."""
    import numba_mlp

    model, rng = initial_model(work), np.random.default_rng(0)
    train = numba_mlp.make_step(model.state_dict(), images_for(work), work.batch, **work.adam)

    def step(i):
        if i == 0:
            eps = first_noise(work, model.latent_dim)
        else:
            eps = rng.standard_normal((work.batch, model.latent_dim), np.float32)
        return train(batch_index(i, work), eps)

    return step


def keras_step(work, *, compiled=False):
    """Keras on TensorFlow, of the two small models. ``compiled``: the same by XLA."""
    import keras_models
    import tensorflow as tf

    model = initial_model(work)
    pictures = images_for(work).transpose(0, 2, 3, 1).copy()
    train = keras_models.make_step(
        work.model, model.state_dict(), pictures, compiled=compiled, **work.adam
    )

    def step(i):
        if i == 0:
            eps = first_noise(work, model.latent_dim)
        else:
            eps = tf.random.normal((work.batch, model.latent_dim))
        return float(train(batch_index(i, work).astype(np.int32), eps))

    return step


class Contender(NamedTuple):
    """A function that makes the step, environment variables of its process, and its models."""

    make: object
    environment: dict = MappingProxyType({})
    models: tuple = tuple(WORKLOADS)


TUNED_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
}
# Environment variables that keep every library from instructions beyond AVX2.
AVX2_ONLY = {
    "MINIVAE_ISA": "avx2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",  # it would reuse AVX-512 code
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    "NUMBA_CPU_NAME": "haswell",
}
CONTENDERS = {
    "minivae": Contender(minivae_step),
    "torch": Contender(torch_step),
    "torch-best": Contender(lambda work: torch_step(work, best=True), TUNED_MALLOC),
    "torch-compile": Contender(
        lambda work: torch_step(work, best=True, compiled=True), TUNED_MALLOC
    ),
    "jax": Contender(jax_step, {"JAX_PLATFORMS": "cpu"}),
    "keras": Contender(keras_step, models=("mlp", "conv")),
    "keras-xla": Contender(lambda work: keras_step(work, compiled=True), models=("mlp", "conv")),
    "numba": Contender(numba_step, models=("mlp",)),
}
PEERS = {
    "torch": ("torch", "torch-best", "torch-compile"),
    "jax": ("jax",),
    "keras": ("keras", "keras-xla"),
    "numba": ("numba",),
}

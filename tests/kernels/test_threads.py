"""Training in several Python threads at once, or in a forked child, gives the weights of one."""

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import minivae as mv
from minivae import kernels, models, optim

SEEDS = range(3)


def train(make, seed, steps=2):
    """A digest of a small model's weights after a few steps."""
    model = make(seed=seed)
    shape = (1, 28, 28) if isinstance(model, models.ConvVAE) else (784,)
    x = np.random.default_rng(seed).random((8, *shape), dtype=np.float32)
    adam, noise = optim.Adam(model.parameters()), mv.NoiseStream(seed)
    for _ in range(steps):
        adam.zero_grad()
        model.elbo(x, noise.draw()).loss.backward()
        adam.step()
        with mv.no_grad():  # a mode of this thread alone
            model.elbo(x, noise.draw())
    weights = b"".join(p.data.tobytes() for p in model.parameters())
    return hashlib.sha256(weights).hexdigest()


def mlp(seed):
    return models.MLPVAE(latent_dim=3, hidden=31, seed=seed)


@pytest.fixture
def three_threads():
    before = kernels.threads()
    kernels.set_threads(3)
    yield
    kernels.set_threads(before)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("make", [mlp, models.ConvVAE])
def test_python_threads_train_at_once(make):
    alone = [train(make, seed) for seed in SEEDS]
    assert len(set(alone)) == len(alone), "the digests tell runs apart"
    with ThreadPoolExecutor(len(SEEDS)) as threads:
        assert list(threads.map(lambda seed: train(make, seed), SEEDS)) == alone


def test_python_threads_may_force_different_kernels():
    """``kernels.use`` has an effect in its own thread only."""
    names = [name for name in kernels.available() if name in ("reference", "composed", "cpu")]
    start = threading.Barrier(len(names) + 1)

    def forced(name):
        with kernels.use(name):
            start.wait()
            return kernels.active(), train(mlp, 0)

    def unforced():
        start.wait()
        return kernels.active(), train(mlp, 0)

    with ThreadPoolExecutor(len(names) + 1) as threads:
        runs = [threads.submit(forced, name) for name in names] + [threads.submit(unforced)]
        active = [run.result()[0] for run in runs]
    assert active == [*names, None] and kernels.active() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.usefixtures("three_threads")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_forked_while_another_thread_trains_can_train():
    """A forked child has one thread; the compiled kernels start a new thread pool in it."""
    if "cpu" not in kernels.available():
        pytest.skip("NumPy's BLAS does not promise to outlive a fork while it computes")
    alone, stop = train(mlp, 0), threading.Event()

    def keep_training():
        while not stop.is_set():
            assert train(mlp, 0) == alone

    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(keep_training)
        try:
            for _ in range(3):
                child = os.fork()
                if child == 0:
                    status = 1
                    try:
                        status = 0 if train(mlp, 0) == alone else 2
                    finally:
                        os._exit(status)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        finally:
            stop.set()
        other.result()

"""Parallel training with a GPU per rank: threads on the stand-in, with an emulated NCCL."""

import ctypes
import threading
import types

import numpy as np
import pytest
from cuda_emulation import emulated_device

from minivae import models, optim
from minivae.backend import device_of, to_numpy
from minivae.data import PixelBatches
from minivae.data.batches import CutBatches
from minivae.noise import Noise
from minivae.training import parallel
from minivae.training.parts import PartsStep
from minivae.training.step import EagerStep
from thread_ranks import Meeting, in_ranks

BYTES = {7: 4, 8: 8}  # of NCCL's float32 and float64


def nccl(size):
    """The part of ``cupy.cuda.nccl`` that ``Ranks`` uses, between threads."""
    meeting, group = Meeting(size), threading.local()

    class NcclCommunicator:
        def __init__(self, count, unique, rank):
            assert (count, unique) == (size, b"unique")
            self.rank = rank

        def send(self, address, count, kind, peer, stream):
            group.sent[peer] = ctypes.string_at(address, count * BYTES[kind])

        def recv(self, address, count, kind, peer, stream):
            group.wanted.append((self.rank, peer, address, count * BYTES[kind]))

        def allGather(self, sent, received, count, kind, stream):  # noqa: N802
            size = count * BYTES[kind]
            for peer, found in enumerate(exchange(self.rank, ctypes.string_at(sent, size))):
                ctypes.memmove(received + peer * size, found, size)

    def exchange(rank, item):
        meeting.items[rank] = item
        meeting.barrier.wait()
        found = list(meeting.items)
        meeting.barrier.wait()
        return found

    def start():
        group.sent, group.wanted = {}, []

    def end():
        found = exchange(group.wanted[0][0], group.sent)
        for rank, peer, address, count in group.wanted:
            assert len(found[peer][rank]) == count
            ctypes.memmove(address, found[peer][rank], count)

    return types.SimpleNamespace(
        NcclCommunicator=NcclCommunicator, get_unique_id=lambda: b"unique", groupStart=start,
        groupEnd=end, NCCL_FLOAT32=7, NCCL_FLOAT64=8,
    )  # fmt: skip


@pytest.fixture
def cupy():
    with emulated_device() as module:
        yield module


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [2, 4])
def test_sums_of_gpus(cupy, size, dtype):
    cupy.cuda.nccl = nccl(size)
    arrays = np.random.default_rng(0).standard_normal((4, 24)).astype(dtype)
    expected = parallel.tree_sum(arrays.copy())

    def total(ranks):
        found = ranks.sum(cupy.asarray(arrays[k].copy()) for k in ranks.mine(4))
        assert device_of(found) == "cuda"
        return to_numpy(found).tobytes()

    assert in_ranks(size, total) == [expected.tobytes()] * size


@pytest.mark.parametrize("build, shape", [
    (lambda: models.MLPVAE(latent_dim=3, hidden=6), (28, 28)),
    (lambda: models.FaceVAE(latent_dim=3, image_size=16), (3, 16, 16)),
])  # fmt: skip
def test_weights_do_not_depend_on_the_number_of_gpus(cupy, build, shape):
    cupy.cuda.nccl = nccl(2)
    images = np.random.default_rng(0).integers(0, 256, (11, *shape), np.uint8)

    def trained(ranks):
        model = build().to("cuda")
        step = PartsStep(EagerStep(model, optim.Adam(model.parameters())), ranks)
        batches = CutBatches(PixelBatches(images, 11), 4, ranks.mine(4))
        for number in range(2):
            terms = step(next(batches.epoch(number)), Noise(5, number), 1.0)
        weights = [a.tobytes() for a in model.state_dict().values()]
        return weights, [to_numpy(term.data).item() for term in terms]

    one = trained(parallel.Ranks())
    assert all(np.isfinite(one[1])) and in_ranks(2, trained) == [one] * 2

"""Parallel training without MPI: sums over parts and ranks, where the ranks are threads."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivae import models, optim
from minivae.data import PixelBatches
from minivae.data.batches import Batches, CutBatches, DequantisedBatches
from minivae.data.labelled import LabelledBatches
from minivae.errors import NonFiniteError, ParallelError
from minivae.evaluation import elbo
from minivae.noise import Noise, NoiseStream
from minivae.training import objectives, parallel
from minivae.training.parts import PartsStep, require_divisible
from minivae.training.step import EagerStep
from thread_ranks import in_ranks

IMAGES = np.random.default_rng(0).integers(0, 256, (23, 28, 28), np.uint8)


def pairwise(arrays):
    """The tree sum by its definition: each half is summed first."""
    if len(arrays) == 1:
        return arrays[0]
    half = len(arrays) // 2
    return pairwise(arrays[:half]) + pairwise(arrays[half:])


@given(levels=st.integers(0, 5), seed=st.integers(0, 99))
def test_the_sum_is_that_of_a_tree_for_any_number_of_ranks(levels, seed):
    arrays = np.random.default_rng(seed).standard_normal((2**levels, 32), np.float32)
    arrays *= 10.0 ** np.arange(-16, 16, dtype=np.float32)
    expected = pairwise(arrays).tobytes()
    assert parallel.tree_sum(arrays.copy()).tobytes() == expected
    for size in (2**k for k in range(1, levels + 1)):
        found = in_ranks(size, lambda ranks: ranks.sum(arrays.copy()[ranks.mine(len(arrays))]))
        assert [total.tobytes() for total in found] == [expected] * size


def test_a_tree_keeps_few_sums_waiting():
    alive = []

    class Counted:
        def __init__(self):
            alive.append(self)

        def __iadd__(self, other):
            alive.remove(other)
            return self

    longest = []
    parallel.tree_sum(longest.append(len(alive)) or Counted() for _ in range(64))
    assert max(longest) == 6 and len(alive) == 1


BATCHES = [
    Batches(23, 9, seed=1),
    PixelBatches(IMAGES, 9, seed=1),
    PixelBatches(IMAGES, 9, seed=1, binarize="dynamic"),
    PixelBatches(IMAGES, 9, seed=1, binarize="static"),
    DequantisedBatches(IMAGES, 9),
    LabelledBatches(PixelBatches(IMAGES, 9, seed=1, binarize="dynamic"), np.arange(23) % 10),
]


@pytest.mark.parametrize("parts", [1, 2, 4])
@pytest.mark.parametrize("batches", BATCHES, ids=lambda batches: type(batches).__name__)
def test_parts_are_the_rows_of_the_batch(batches, parts):
    whole = list(batches.epoch(3, 1))
    cut = list(CutBatches(batches, parts, range(parts)).epoch(3, 1))
    assert [len(batch) for batch in cut] == [len(x) for x in whole] == [9, 5]
    for x, batch in zip(whole, cut, strict=True):
        np.testing.assert_array_equal(np.concatenate([part.x for part in batch.parts]), x)
        sizes = [len(part.x) for part in batch.parts]
        assert max(sizes) - min(sizes) <= 1
        assert [part.first for part in batch.parts] == [0, *np.cumsum(sizes)[:-1]]


def stepped(build, objective=objectives.elbo, parts=None, ranks=None, images=IMAGES, steps=2):
    """(model, last terms) after some steps on batches cut into ``parts``, or on whole ones."""
    ranks = ranks or parallel.Ranks()
    model = build()
    step = EagerStep(model, optim.Adam(model.parameters(), lr=1e-3), objective)
    batches = PixelBatches(images, 12, binarize="none")
    if parts:
        batches, step = CutBatches(batches, parts, ranks.mine(parts)), PartsStep(step, ranks)
    for number, x in zip(range(steps), batches.epoch(0), strict=False):
        terms = step(x, Noise(5, number), 0.5)
    return model, [term.item() for term in terms]


def digest(result):
    model, terms = result
    return [(name, a.tobytes()) for name, a in model.state_dict().items()], terms


FACES = np.random.default_rng(1).integers(0, 256, (24, 3, 16, 16), np.uint8)
CASES = {
    "mlp": (lambda: models.MLPVAE(latent_dim=3, hidden=6), objectives.elbo, IMAGES),
    "conv": (lambda: models.ConvVAE(latent_dim=3), objectives.elbo, IMAGES),
    "face": (lambda: models.FaceVAE(latent_dim=3, image_size=16), objectives.elbo, FACES),
    "two layers": (
        lambda: models.TwoLayerVAE((4, 3), ((6,), (5,))), objectives.elbo, IMAGES,
    ),
    "iwae": (
        lambda: models.MLPVAE(latent_dim=3, hidden=6),
        lambda *args: objectives.iwae(*args, samples=3), IMAGES,
    ),
    "dreg": (
        lambda: models.MLPVAE(latent_dim=3, hidden=6),
        lambda *args: objectives.dreg(*args, samples=2), IMAGES,
    ),
    "free bits of 0": (
        lambda: models.MLPVAE(latent_dim=3, hidden=6),
        lambda *args: objectives.free_bits(*args, nats=0), IMAGES,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_weights_do_not_depend_on_the_number_of_ranks(case):
    build, objective, images = CASES[case]
    one = digest(stepped(build, objective, 4, images=images))
    for size in (2, 4):
        found = in_ranks(size, lambda ranks: stepped(build, objective, 4, ranks, images))
        assert [digest(result) for result in found] == [one] * size


@pytest.mark.parametrize("parts", [2, 4, 8])
@pytest.mark.parametrize("case", [case for case in CASES if case != "face"])
def test_parts_together_are_the_batch(case, parts):
    """Losses agree to float32 rounding. Batch norm is left out: its statistics are per part."""
    build, objective, images = CASES[case]
    _, whole = stepped(build, objective, images=images)
    _, cut = stepped(build, objective, parts, images=images)
    np.testing.assert_allclose(cut, whole, rtol=2e-6)


def test_running_statistics_are_the_weighted_mean_of_the_parts():
    """5 images in parts of 2 and 3: one update, with the mean of the parts' statistics."""
    model = CASES["face"][0]()
    adam = optim.Adam(model.parameters(), lr=0.0)
    cut = CutBatches(PixelBatches(FACES[:5], 5), 2, range(2))
    PartsStep(EagerStep(model, adam), parallel.Ranks())(next(cut.epoch(0)), Noise(1, 2), 1.0)
    expected = {}
    for part in next(cut.epoch(0)).parts:
        alone = CASES["face"][0]()
        alone.elbo(part.x, Noise(1, 2, part.first))
        for name, a in alone.named_buffers():
            expected[name] = expected.get(name, 0) + a.astype(np.float64) * len(part.x) / 5
    for name, a in model.named_buffers():
        np.testing.assert_allclose(a, expected[name], rtol=1e-6, atol=1e-7, err_msg=name)
    assert {a.item() for name, a in model.named_buffers() if name.endswith("tracked")} == {1}


@pytest.mark.parametrize("size", [1, 2, 3])
def test_evaluation_is_shared_out(size):
    model = models.MLPVAE(latent_dim=3, hidden=6)

    def evaluated(ranks):
        images = PixelBatches(IMAGES, 4, train=False).epoch(0)
        return elbo(model, images, NoiseStream(3), samples=2, ranks=ranks)

    whole, *found = evaluated(None), *in_ranks(size, evaluated)
    for result in found:
        assert result.terms == whole.terms and result.standard_error == whole.standard_error
        np.testing.assert_array_equal(result.per_image, whole.per_image)
        np.testing.assert_array_equal(result.mu, whole.mu)


def test_the_rank_whose_part_is_not_finite_is_named():
    def work(ranks):
        model = models.MLPVAE(latent_dim=3, hidden=6)
        step = PartsStep(EagerStep(model, optim.Adam(model.parameters())), ranks)
        before = model.fc3.weight.data.copy()
        batch = next(CutBatches(PixelBatches(IMAGES, 9), 4, ranks.mine(4)).epoch(0))
        if ranks.rank == 2:
            batch.parts[0].x.fill(np.nan)
        with pytest.raises(NonFiniteError, match=r"^rank 2: the input batch$"):
            step(batch, Noise(1, 2), 1.0)
        np.testing.assert_array_equal(model.fc3.weight.data, before)
        return "told"

    assert in_ranks(4, work) == ["told"] * 4


@pytest.mark.parametrize(
    "parts, size, rows, text",
    [
        (3, 1, 24, "parts: expected a power of two, got 3"),
        (0, 1, 24, "parts: expected a power of two, got 0"),
        (4, 3, 24, "processes: expected a power of two, got 3"),
        (2, 4, 24, "parts: expected a multiple of the 4 processes, got 2"),
        (4, 2, 10, "expected at most 3 for the 3 images of an epoch's last batch, got 4"),
        (16, 2, 6, "expected at most 6 for the 6 images of an epoch's last batch, got 16"),
    ],
)
def test_what_cannot_be_cut_is_refused(parts, size, rows, text):
    ranks, batches = parallel.Ranks(), PixelBatches(IMAGES[:rows], 7)
    ranks.size = size
    with pytest.raises(ParallelError, match=text):
        require_divisible(models.MLPVAE(latent_dim=2, hidden=3), batches, parts, ranks)


@pytest.mark.parametrize("least, build", [(1, CASES["mlp"][0]), (2, CASES["face"][0])])
def test_parts_have_two_images_for_batch_normalisation(least, build):
    for rows in (4, 7, 8, 9):
        fits = rows >= 4 * least
        try:
            require_divisible(build(), PixelBatches(FACES[:rows], rows), 4, parallel.Ranks())
        except ParallelError as error:
            assert not fits and "two for batch normalisation" in str(error)
        else:
            assert fits


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({}, (1, 0)),
        ({"PMI_SIZE": "4", "PMI_RANK": "3"}, (4, 3)),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, (2, 1)),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, (8, 0)),
        ({"MPI_LOCALNRANKS": "2", "MPI_LOCALRANKID": "1"}, (2, 1)),
        ({"PMI_SIZE": "1", "PMI_RANK": "0", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, (1, 0)),
        ({"PMI_SIZE": "4"}, (1, 0)),
        ({"SLURM_NTASKS": "many", "SLURM_PROCID": "0"}, (1, 0)),
    ],
)
def test_launchers_are_known_by_what_they_set(monkeypatch, environment, expected):
    for name in [name for pair in parallel.LAUNCHERS for name in pair]:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert parallel.launched() == expected


@pytest.mark.slow
def test_a_launcher_without_mpi4py_is_refused_by_one_rank(tmp_path):

    (tmp_path / "mpi4py.py").write_text("raise ImportError('planted')\n")
    told = []
    for rank in range(2):
        environment = {**os.environ, "PMI_SIZE": "2", "PMI_RANK": str(rank)}
        environment["PYTHONPATH"] = f"{tmp_path}:{environment.get('PYTHONPATH', '')}"
        done = subprocess.run(
            [sys.executable, "-m", "minivae", "train", "mnist", "--out", str(tmp_path / "run")],
            env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 2 and done.stdout == ""
        told.append(done.stderr)
    assert told[1] == "" and told[0].count("\n") == 1
    assert told[0].startswith("error: a launcher started 2 processes, which need mpi4py")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_other_commands_are_run_by_one_process():
    told = []
    for rank in range(2):
        environment = {**os.environ, "PMI_SIZE": "2", "PMI_RANK": str(rank)}
        program = [sys.executable, "-m", "minivae", "info"]
        done = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
        told.append(done.stdout)
    assert told[0].startswith("minivae ") and told[1] == ""

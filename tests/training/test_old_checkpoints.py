"""Checkpoints of version 0.1 load and resume (written at f254573, when optimisers used an arena).

``tests/data/checkpoints`` holds a run of ``tiny_run`` stopped after the fourth of six steps, the
same run finished, a face model with weight decay after two steps, and one SGD step.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

import minivae as mv
import tiny_run
from minivae import models, nn, optim
from minivae.training import checkpoint

FOLDER = Path(__file__).parents[1] / "data" / "checkpoints"
IMAGES = np.random.default_rng(0).random((4, 3, 16, 16), dtype=np.float32)


def face_model(seed=1):
    model = models.FaceVAE(latent_dim=2, image_size=16, seed=seed, paddings=(1, 1, 0))
    return model, optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)


def train(model, adam, steps):
    for step in steps:
        adam.zero_grad()
        model.elbo(mv.Tensor(IMAGES), mv.Noise(0, step)).loss.backward()
        adam.step()


def assert_same_weights(state, other, start):
    """The two states differ by less than 1 % of the distance between ``other`` and ``start``.

    They are not equal: instruction sets differ in the last bits, and Adam divides by gradients of
    that size.
    """
    flat = [np.concatenate([a.ravel() for a in s.values()]) for s in (state, other, start)]
    assert np.linalg.norm(flat[0] - flat[1]) < 0.01 * np.linalg.norm(flat[1] - flat[2])


def test_a_stopped_run_resumes(tmp_path):
    shutil.copy(FOLDER / "mlp_stopped.safetensors", tmp_path / "checkpoint.safetensors")
    tiny_run.run(tmp_path, resume=True)
    finished, resumed = models.MLPVAE(2, 4), models.MLPVAE(2, 4)
    before = checkpoint.load(FOLDER / "mlp_finished.safetensors", finished)
    after = checkpoint.load(tmp_path / "checkpoint.safetensors", resumed)
    assert before["step"] == after["step"] == 6
    start = models.MLPVAE(2, 4, seed=0).state_dict()
    assert_same_weights(resumed.state_dict(), finished.state_dict(), start)


def test_moments_of_a_face_model_go_on():
    old, old_adam = face_model()
    state = mv.load(FOLDER / "face_two_steps.safetensors", old, old_adam)
    assert state == {"step": 2}
    new, new_adam = face_model(seed=0)
    start = new.state_dict()
    for steps in ([0, 1], [2, 3]):
        train(new, new_adam, steps)
        assert_same_weights(old.state_dict(), new.state_dict(), start)
        start = new.state_dict()
        train(old, old_adam, [2, 3])


def test_a_face_model_of_then_is_built_with_the_paddings_of_then():
    """An architecture on record without paddings means the published network's."""
    state = mv.load(FOLDER / "face_two_steps.safetensors", face_model()[0])
    recorded = {"latent_dim": 2, "image_size": 16, "channels": 3, "likelihood": "squared-error"}
    old = models.build("FaceVAE", **recorded)
    assert state == {"step": 2} and old.paddings == (1, 1, 0)
    mv.load(FOLDER / "face_two_steps.safetensors", old)
    with pytest.raises(mv.CheckpointError):
        mv.load(FOLDER / "face_two_steps.safetensors", models.FaceVAE(2, 16))


def test_sgd():
    layer = nn.Linear(3, 2)
    mv.load(FOLDER / "sgd_one_step.safetensors", layer, optim.SGD(layer.parameters(), lr=0.5))


def test_another_model_is_refused():
    with pytest.raises(mv.CheckpointError):
        mv.load(FOLDER / "mlp_finished.safetensors", models.MLPVAE(2, 5))

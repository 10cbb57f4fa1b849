"""DeepVAE, TwoLayerVAE (two stochastic layers) and ConditionalVAE (given the class)."""

import numpy as np
import pytest

import minivae as mv
from minivae import evaluation, models
from minivae import functional as F
from minivae.arguments import one_hot
from minivae.data import Batches, LabelledBatches, PixelBatches
from minivae.training import objectives

RNG = np.random.default_rng(0)
X = (RNG.random((5, 784)) < 0.3).astype(np.float32)


def heads(body, mu, logvar, x, activation=np.tanh):
    """Hidden layers, then two linear heads, in float64."""
    for weight, bias in body:
        x = activation(x @ weight.T + bias)
    return x @ mu[0].T + mu[1], x @ logvar[0].T + logvar[1]


def layers(state, prefix):
    """(weight, bias) of the linear layers whose names begin with a prefix, in order."""
    names = sorted(n for n in state if n.startswith(prefix) and n.endswith("weight"))
    return [(state[n], state[n.removesuffix("weight") + "bias"]) for n in names]


def gaussian(state, name, activation=np.tanh):
    """x -> mu, logvar of one ``Gaussian`` of a model."""
    mu, logvar = (
        (state[f"{name}.{h}.weight"], state[f"{name}.{h}.bias"]) for h in ("mu", "logvar")
    )
    return lambda x: heads(layers(state, f"{name}.body"), mu, logvar, x, activation)


# ---- DeepVAE


def test_the_networks_are_those_of_the_paper():
    """784 (200 200) 50 (200 200) 784, and with two layers 784 (200 200) 100 (100 100) 50."""
    sizes = {n: a.shape for n, a in models.DeepVAE().state_dict().items() if n.endswith("weight")}
    assert sorted(sizes.values()) == sorted(
        [(200, 784), (200, 200), (50, 200), (50, 200), (200, 50), (200, 200), (784, 200)]
    )
    sizes = {n: a.shape for n, a in models.TwoLayerVAE().state_dict().items()}
    assert [s for n, s in sizes.items() if n.endswith("weight") and n.startswith("encoder2")] == [
        (100, 100), (100, 100), (50, 100), (50, 100),
    ]  # fmt: skip


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_deep_encoder_and_decoder_against_plain_arrays(activation):
    model = models.DeepVAE(3, (5, 4), activation=activation).to(dtype=np.float64)
    x, state = X.astype(np.float64), model.state_dict()
    f = {"tanh": np.tanh, "relu": lambda a: np.where(a > 0, a, 0)}[activation]
    encoded = gaussian(state, "encoder", f)(x)
    for found, expected in zip(model.encode(x), encoded, strict=True):
        np.testing.assert_allclose(found.data, expected, rtol=1e-12)
    z = RNG.normal(size=(5, 3))
    *hidden, (weight, bias) = layers(state, "decoder")
    h = z
    for w, b in hidden:
        h = f(h @ w.T + b)
    np.testing.assert_allclose(model.decode(mv.Tensor(z)).data, h @ weight.T + bias, rtol=1e-12)


# ---- two stochastic layers


@pytest.fixture
def tiny():
    """Two layers of one latent each, in float64, wide enough apart to matter."""
    model = models.TwoLayerVAE((1, 1), ((3,), (2,)), seed=4).to(dtype=np.float64)
    for p in model.parameters():
        p.data *= 2
    model.decoder[-1].weight.data *= 0.2  # 784 pixels say enough about z1 as it is
    model.prior1.mu.bias.data += 1  # p(z1|z2) is no standard normal
    model.encoder1.logvar.bias.data += 0.5
    return model


def log_bernoulli(state, x, z1):
    """ln p(x|z1) of one image (784,) for z1 (M, 1)."""
    *hidden, (weight, bias) = layers(state, "decoder")
    for w, b in hidden:
        z1 = np.tanh(z1 @ w.T + b)
    logits = z1 @ weight.T + bias
    return (x * logits - np.logaddexp(0, logits)).sum(axis=1)


def log_normal(z, mean, logvar):
    return -0.5 * (np.log(2 * np.pi) + logvar + (z - mean) ** 2 * np.exp(-logvar))


def log_p_by_quadrature(model, x):
    """ln p(x) = ln of the double integral of p(z2) p(z1|z2) p(x|z1), on a grid."""
    state, grid = model.state_dict(), np.linspace(-12, 12, 601)
    step = grid[1] - grid[0]
    mean, logvar = gaussian(state, "prior1")(grid[:, None])
    inner = log_normal(grid[None, :], mean, logvar) + log_bernoulli(state, x, grid[:, None])
    joint = inner + log_normal(grid, 0.0, 0.0)[:, None]
    return np.log(np.exp(joint - joint.max()).sum() * step**2) + joint.max()


def importance(model):
    found = evaluation.importance_weighted_nll(
        model, [X[:2].astype(np.float64)], mv.NoiseStream(0), 10_000
    )
    exact = -np.mean([log_p_by_quadrature(model, x) for x in X[:2].astype(np.float64)])
    return found, exact


def test_two_layers_have_the_likelihood_of_the_integral(tiny):
    found, exact = importance(tiny)
    assert found.standard_error < 0.05
    assert abs(found.nll - exact) < 4 * found.standard_error


def test_a_prior_that_forgets_the_second_layer_is_seen(tiny, monkeypatch):
    """A planted N(0, 1) in place of p(z1|z2) changes the likelihood."""
    monkeypatch.setattr(
        models.TwoLayerVAE, "_kl1",
        lambda self, z1, mu, logvar, z2: F.gaussian_nll(z1, 0 * mu, 0 * mu, "rows")
        - F.gaussian_nll(z1, mu, logvar, "rows"),
    )  # fmt: skip
    found, exact = importance(tiny)
    assert abs(found.nll - exact) > 4 * found.standard_error


def test_two_layers_without_a_second_are_the_one_layer_model():
    """If p(z1|z2) and q(z2|z1) are N(0, I), the model is the one-layer VAE of q(z1|x), p(x|z1)."""
    two, one = models.TwoLayerVAE((3, 2), ((5, 4), (3,))), models.DeepVAE(3, (5, 4))
    for part in (two.encoder2, two.prior1):
        for head in (part.mu, part.logvar):
            head.weight.data[...], head.bias.data[...] = 0, 0
    state = two.state_dict()
    one.load_state_dict({
        name.replace("encoder1", "encoder"): a for name, a in state.items()
        if name.startswith(("encoder1", "decoder"))
    })  # fmt: skip
    eps = RNG.normal(size=(5, 6, 5)).astype(np.float32)
    for a, b in zip(two.sampled_terms(X, eps), one.sampled_terms(X, eps[..., :3]), strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-4, atol=1e-4)


def test_two_layers_kl_has_the_sampled_ones_expectation(tiny):
    """forward takes q(z2|z1)'s KL in closed form; weight_terms samples it."""
    x = np.repeat(X[:1].astype(np.float64), 4000, axis=0)
    closed = tiny.forward(x, mv.Noise(0, 1)).kl.data
    _, sampled = tiny.sampled_terms(x[:1], RNG.normal(size=(1, 4000, 2)))
    error = np.hypot(closed.std(), sampled.data.std()) / np.sqrt(4000)
    assert abs(closed.mean() - sampled.data.mean()) < 4 * error


def test_two_layers_train_sample_and_rebuild():
    model = models.TwoLayerVAE((3, 2), ((5, 4), (3,)))
    terms = objectives.iwae(model, X, mv.Noise(0, 0), samples=4)
    terms.loss.backward()
    assert all(np.isfinite(p.grad).all() for p in model.parameters())
    assert model.elbo(X, mv.Noise(0, 0)).loss.item() == pytest.approx(
        sum(t.item() for t in model.elbo(X, mv.NoiseStream(0))[1:]), rel=1e-6
    )
    twin = models.build("TwoLayerVAE", **model.config())
    twin.load_state_dict(model.state_dict())
    drawn = model.sample(4, mv.Noise(1, 1)).numpy()
    assert drawn.shape == (4, 784) and 0 <= drawn.min() and drawn.max() <= 1
    assert drawn.tobytes() == twin.sample(4, mv.Noise(1, 1).normal((4, 5))).numpy().tobytes()


# ---- the class told


def test_labels_stand_beside_their_images():
    images = RNG.integers(0, 256, (7, 28, 28), dtype=np.uint8)
    labels = np.array([3, 0, 1, 2, 9, 9, 4], np.uint8)
    plain = PixelBatches(images, 3, seed=5, binarize="dynamic")
    both = LabelledBatches(plain, labels)
    assert (len(both), both.count) == (3, 7)
    for epoch, start in ((0, 0), (2, 1)):
        index = Batches(7, 3, 5).epoch(epoch, start)
        for x, rows, i in zip(
            plain.epoch(epoch, start), both.epoch(epoch, start), index, strict=True
        ):
            assert rows.dtype == np.float32 and rows.shape == (len(i), 794)
            np.testing.assert_array_equal(rows[:, :784], x.reshape(len(x), -1))
            np.testing.assert_array_equal(rows[:, 784:].argmax(axis=1), labels[i])
            assert (rows[:, 784:].sum(axis=1) == 1).all()


def test_labels_that_are_none():
    plain = PixelBatches(np.zeros((3, 28, 28), np.uint8), 3)
    with pytest.raises(ValueError, match="labels: expected 3, one per image, got 2"):
        LabelledBatches(plain, np.zeros(2, np.uint8))
    with pytest.raises(ValueError, match=r"labels: expected 0\.\.9, got 1\.\.10"):
        LabelledBatches(plain, np.array([1, 10, 2]))
    for wrong in (np.zeros(3), np.zeros((3, 1), int)):
        with pytest.raises(ValueError, match="labels: expected whole numbers"):
            one_hot(wrong, 10)
    with pytest.raises(ValueError, match=r"labels: expected 0\.\.9"):
        models.ConditionalVAE(2, 3).draw([0, -1], mv.Noise(0, 0))


def test_a_label_moves_encoder_and_decoder_and_is_no_pixel():
    model = models.ConditionalVAE(latent_dim=3, hidden=6).to(dtype=np.float64)
    x = np.concatenate([X.astype(np.float64), np.eye(10)[[0, 1, 2, 3, 4]]], axis=1)
    other = np.concatenate([x[:, :784], np.eye(10)[[5, 6, 7, 8, 9]]], axis=1)
    assert not np.allclose(model.encode(x)[0].data, model.encode(other)[0].data)
    logits = model.decode(model.code(mv.Tensor(np.zeros((5, 3))), mv.Tensor(x)))
    moved = model.decode(model.code(mv.Tensor(np.zeros((5, 3))), mv.Tensor(other)))
    assert logits.shape == (5, 784) and not np.allclose(logits.data, moved.data)
    losses = [model.reconstruction_loss(logits, mv.Tensor(a)).data for a in (x, other)]
    np.testing.assert_array_equal(*losses)


def test_without_weights_on_the_label_it_is_the_plain_model():
    told, plain = models.ConditionalVAE(3, 6), models.MLPVAE(3, 6)
    told.fc1.weight.data[:, 784:] = 0
    told.fc3.weight.data[:, 3:] = 0
    state = told.state_dict()
    state["fc1.weight"], state["fc3.weight"] = (
        state["fc1.weight"][:, :784],
        state["fc3.weight"][:, :3],
    )
    plain.load_state_dict(state)
    x = np.concatenate([X, np.eye(10, dtype=np.float32)[:5]], axis=1)
    for a, b in zip(told.elbo(x, mv.Noise(0, 1)), plain.elbo(X, mv.Noise(0, 1)), strict=True):
        assert a.item() == pytest.approx(b.item(), rel=1e-6)


def test_the_class_asked_for_is_the_one_decoded():
    model, eps = models.ConditionalVAE(2, 6), RNG.normal(size=(3, 2)).astype(np.float32)
    drawn = model.draw([7, 0, 7], eps).numpy()
    codes = np.concatenate([eps, np.eye(10, dtype=np.float32)[[7, 0, 7]]], axis=1)
    np.testing.assert_array_equal(drawn, model.pixels(codes).numpy())
    np.testing.assert_array_equal(model.sample(3, eps).numpy(), model.draw([0, 1, 2], eps).numpy())

"""Models: sizes, shapes, results of each method, and wrong arguments refused by name."""

import importlib
import pkgutil
from functools import partial

import numpy as np
import pytest

import minivae as mv
from minivae import models

RNG = np.random.default_rng(0)
CASES = {  # model, shape of a batch, shape of its logits
    "mlp": (lambda **k: models.MLPVAE(latent_dim=3, hidden=5, **k), (4, 1, 28, 28), (4, 784)),
    "flat": (lambda **k: models.MLPVAE(latent_dim=3, hidden=5, **k), (4, 784), (4, 784)),
    "deep": (lambda **k: models.DeepVAE(3, (5, 4), **k), (4, 784), (4, 784)),
    "conditional": (lambda **k: models.ConditionalVAE(3, 5, **k), (4, 794), (4, 784)),
    "conv": (lambda **k: models.ConvVAE(latent_dim=3, **k), (4, 1, 28, 28), (4, 1, 28, 28)),
    "face": (lambda **k: models.FaceVAE(3, 17, **k), (4, 3, 17, 17), (4, 3, 17, 17)),
    "resized": (
        lambda **k: models.FaceVAE(3, 17, upsampling="resize", **k), (4, 3, 17, 17), (4, 3, 17, 17)
    ),
    "gauss": (
        lambda **k: models.FaceVAE(3, 16, 1, "gaussian", **k), (4, 1, 16, 16), (4, 1, 16, 16)
    ),
}  # fmt: skip
TRIED = {type(make()) for make, *_ in CASES.values()} | {models.TwoLayerVAE}  # in test_deep_models
for cls in models.CLASSES.values():  # one without a row above is tried as it is made by default
    if issubclass(cls, models.VAE) and cls not in TRIED:
        made = cls(latent_dim=3)
        logits = made.decode(np.zeros((4, 3), np.float32)).shape
        CASES[cls.__name__] = (partial(cls, latent_dim=3), (4, *made.image_shapes[0]), logits)
NOISE = mv.Noise(0, 5)


@pytest.fixture(params=CASES)
def case(request):
    make, shape, logits = CASES[request.param]
    return make(), RNG.random(shape, np.float32), logits


def test_every_model_is_named():
    """Checkpoints and ``build`` know a class from ``models.CLASSES`` alone."""
    names = [info.name for info in pkgutil.iter_modules(models.__path__)]
    modules = [importlib.import_module(f"minivae.models.{name}") for name in names]
    found = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and hasattr(value, "config")
    }
    assert found == {*models.CLASSES.values(), models.VAE}


def count(*modules):
    return sum(p.size for m in modules for p in m.parameters())


def test_published_sizes():
    conv = models.ConvVAE()
    assert count(models.MLPVAE()) == 652_824
    assert (count(conv.encoder), count(conv.decoder)) == (69_076, 65_089)


def test_shapes_and_the_sum_of_the_terms(case):
    model, x, logits = case
    out = model.forward(x, NOISE)
    assert out.logits.shape == logits
    assert out.mu.shape == out.logvar.shape == out.z.shape == (4, 3) and out.kl.shape == (4,)
    terms = model.elbo(x, NOISE, beta=0.5)
    assert terms.loss.item() == pytest.approx(terms.rec.item() + 0.5 * terms.kl.item(), rel=1e-6)
    assert terms.kl.item() == pytest.approx(out.kl.data.mean(), rel=1e-6)
    terms.loss.backward()
    assert all(p.grad is not None and np.isfinite(p.grad).all() for p in model.parameters())


def test_pictures_come_from_the_mean_code_in_evaluation_mode(case):
    model, x, logits = case
    before = model.state_dict()
    first, again = model.reconstruct(x), model.reconstruct(x)
    assert first.shape == logits and not first.requires_grad
    assert first.numpy().tobytes() == again.numpy().tobytes()
    assert 0 <= first.numpy().min() and first.numpy().max() <= 1
    assert model.training
    walk = model.interpolate(x[0], x[1:2], steps=3).numpy()
    assert walk.shape == (3, *logits[1:])
    for place, image in ((0, x[:1]), (2, x[1:2])):
        np.testing.assert_allclose(walk[place], model.reconstruct(image).numpy()[0], atol=1e-6)
    drawn = model.sample(2, NOISE).numpy()
    eps = NOISE.normal((2, 3))
    assert drawn.tobytes() == model.sample(2, eps).numpy().tobytes()
    assert (
        drawn.tobytes()
        == model.sample(2, mv.NoiseStream(NOISE.seed, NOISE.offset)).numpy().tobytes()
    )
    after = model.state_dict()
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)


def test_the_config_builds_the_same_model(case):
    model, x, _ = case
    twin = models.build(type(model).__name__, **model.config())
    twin.load_state_dict(model.state_dict())
    assert twin.reconstruct(x).numpy().tobytes() == model.reconstruct(x).numpy().tobytes()
    with pytest.raises(ValueError, match="name: expected one of"):
        models.build("GAN")


def test_a_part_that_is_in_evaluation_mode_stays_in_it():
    """Batch norm that is frozen in this way, as in PyTorch, is still so after a picture."""
    model = models.FaceVAE(latent_dim=2, image_size=16, channels=1)
    model.encoder.batch2.eval()
    modes = [m.training for m in model.modules()]
    with pytest.raises(ZeroDivisionError), model.evaluating():
        assert not any(m.training for m in model.modules())
        raise ZeroDivisionError
    model.sample(1, NOISE)
    assert [m.training for m in model.modules()] == modes


@pytest.mark.parametrize("method", ["forward", "elbo", "reconstruct"])
def test_batches_of_another_kind_are_refused_by_name(case, method):
    model, x, _ = case
    rest = () if method == "reconstruct" else (NOISE,)
    call = getattr(model, method)
    for wrong in (x[..., :-1], x[0], x[:, None], np.zeros((2, 3, 64, 64), np.float32)):
        with pytest.raises(ValueError, match=r"^x: expected images \(N, .*got shape"):
            call(wrong, *rest)
    for dtype in (np.float64, np.float16, np.uint8, ">f4"):
        with pytest.raises(TypeError, match=r"^x: expected dtype float32 .*got"):
            call(x.astype(dtype), *rest)


def test_interpolation_refuses_what_is_not_one_image(case):
    model, x, _ = case
    for wrong in (x, x[0, 0]):
        with pytest.raises(ValueError, match=r"^x: expected images"):
            model.interpolate(wrong, wrong)
    with pytest.raises(ValueError, match="steps: expected at least 2, got 1"):
        model.interpolate(x[0], x[1], steps=1)


@pytest.mark.parametrize("wrong", [5, None, (0, 0)])
def test_noise_of_another_kind_is_refused_by_name(case, wrong):
    model, x, _ = case
    for call in (model.forward, model.elbo, lambda _, noise: model.sample(3, noise)):
        with pytest.raises(TypeError, match=r"^noise: expected a Noise, a NoiseStream or an array"):
            call(x, wrong)


def test_a_vae_without_its_methods_or_parameters_says_so():
    class Empty(models.VAE):
        latent_dim = 2

    model, x = Empty(), np.zeros((2, 4), np.float32)
    for call in (model.elbo, lambda _, noise: model.sample(3, noise)):
        with pytest.raises(ValueError, match=r"^Empty: expected at least one parameter, got none"):
            call(x, NOISE)
    for name, arguments in (("encode", [x]), ("decode", [x]), ("config", [])):
        with pytest.raises(NotImplementedError, match=f"^Empty: expected a method {name}, got"):
            getattr(model, name)(*arguments)


def test_an_empty_batch_has_no_mean(case):
    model, x, _ = case
    with pytest.raises(ValueError, match="x: expected at least one image"):
        model.elbo(x[:0], NOISE)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: models.MLPVAE(latent_dim=0), "latent_dim: expected at least 1, got 0"),
        (lambda: models.MLPVAE(hidden=-2), "hidden: expected at least 1, got -2"),
        (lambda: models.ConvVAE(latent_dim=0), "latent_dim: expected at least 1, got 0"),
        (lambda: models.ConvVAE(bottleneck="tanh"), "bottleneck: expected 'linear' or 'relu'"),
        (lambda: models.DeepVAE(hidden=(3, 0)), "hidden: expected at least 1, got 0"),
        (lambda: models.DeepVAE(activation="selu"), "activation: expected 'tanh' or 'relu'"),
        (lambda: models.TwoLayerVAE((3, 0)), "latent_dims: expected at least 1, got 0"),
        (lambda: models.ConditionalVAE(classes=0), "classes: expected at least 1, got 0"),
        (lambda: models.FaceVAE(latent_dim=0), "latent_dim: expected at least 1, got 0"),
        (lambda: models.FaceVAE(channels=0), "channels: expected at least 1, got 0"),
        (lambda: models.FaceVAE(image_size=15), "image_size: expected at least 16, got 15"),
        (lambda: models.FaceVAE(image_size=16, likelihood="l2"), "likelihood: expected"),
        (lambda: models.FaceVAE(image_size=32, paddings=(1, 2, 0)), r"paddings: expected three of"),
        (lambda: models.FaceVAE(image_size=32, paddings=(1, 1)), r"paddings: expected three of"),
        (lambda: models.FaceVAE(image_size=32, upsampling="bilinear"), "upsampling: expected one"),
        (
            lambda: models.FaceVAE(image_size=32, upsampling="resize", paddings=(1, 1, 0)),
            r"paddings: expected three of \(1,\), got \(1, 1, 0\)",
        ),
        (lambda: models.AutoEncoder((784,)), "dims: expected at least two"),
    ],
)
def test_sizes_that_make_no_model(make, says):
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize("mean", [0.0, 0.13, 0.5, 1.0])
def test_a_new_convolutional_model_starts_at_the_mean_pixel(mean):
    """start_at changes the last bias alone, and clips the mean to where its logit is finite."""
    plain, model = models.ConvVAE(seed=3), models.ConvVAE(seed=3).start_at(mean)
    z = RNG.normal(size=(50, 2)).astype(np.float32)
    assert model.pixels(z).data.mean() == pytest.approx(np.clip(mean, 0.001, 0.999), abs=0.05)
    before, after = plain.state_dict(), model.state_dict()
    changed = [name for name in before if before[name].tobytes() != after[name].tobytes()]
    assert changed == ["decoder.conv3.bias"]


def constant_pixels(model):
    """Boolean (S, S): pixels that have the same value for six different codes."""
    z = np.random.default_rng(1).normal(size=(6, model.latent_dim)).astype(np.float32)
    with model.evaluating():
        pictures = model.decode(z).data
    return (pictures == pictures[:1]).all(axis=(0, 1))


@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
@pytest.mark.parametrize("size", [16, 32, 33, 47, 64, 90, 100, 128])
def test_every_pixel_of_a_face_moves_with_some_latent(size, upsampling):
    assert not constant_pixels(models.FaceVAE(4, size, upsampling=upsampling)).any()


@pytest.mark.slow
def test_at_256_only_the_published_network_has_constant_pixels():
    """The constant pixels are the last four rows and columns; there are 63,332,411 parameters."""
    published = models.FaceVAE()
    assert count(published) == 63_332_411 and published.paddings == (1, 1, 0)
    expected = np.zeros((256, 256), bool)
    expected[252:] = expected[:, 252:] = True
    assert (constant_pixels(published) == expected).all()
    assert not constant_pixels(models.FaceVAE(4, 256, paddings=(1, 1, 1))).any()
    assert not constant_pixels(models.FaceVAE(4, 256, upsampling="resize")).any()


def test_the_band_of_the_older_paddings_is_seen():
    """The test of constant pixels can fail: at size 64, paddings (1, 1, 0) leave four rows and
    columns constant."""
    assert constant_pixels(models.FaceVAE(4, 64, paddings=(1, 1, 0))).sum() == 64**2 - 60**2


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_dtypes_run_and_stay(dtype):
    model = models.MLPVAE(latent_dim=2, hidden=4).to(dtype=dtype)
    terms = model.elbo(RNG.random((3, 784)).astype(dtype), NOISE)
    terms.loss.backward()
    assert terms.loss.dtype == dtype
    assert model.sample(2, NOISE).dtype == dtype


def test_float32_is_the_float64_model_rounded(case):
    model, x, _ = case
    narrow = model.elbo(x, NOISE)
    wide = model.to(dtype=np.float64).elbo(x.astype(np.float64), NOISE)
    for a, b in zip(narrow, wide, strict=True):
        assert a.item() == pytest.approx(b.item(), rel=1e-5)

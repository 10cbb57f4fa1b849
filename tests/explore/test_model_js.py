"""model.js against the Python code that it reimplements, layer by layer, without a browser."""

import json
import math
from pathlib import Path
from statistics import NormalDist

import javascript
import numpy as np
import pytest
from javascript import array, evaluated, forwarded, rounded

from minivae import Noise, functional, models, nn
from minivae.explore import export
from minivae.tensor import no_grad
from minivae.viz import latent

pytestmark = pytest.mark.skipif(javascript.NODE is None, reason="Node is not installed")
NUMBERS = json.loads((Path(__file__).parents[2] / "docs/figures/numbers.json").read_text())
RNG = np.random.default_rng(17)


def close(found, wanted, atol=1e-10):
    """Equal shapes, and finite values within float64's rounding."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=atol)


# ---------------------------------------------------------------- arrays and layers
def test_every_float16_is_read():
    """All 65,536 bit patterns, infinities and NaN included."""
    found = evaluated("Array.from(HALF, String)")
    wanted = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float64)
    np.testing.assert_array_equal(np.array(found, np.float64), wanted)


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
def test_arrays_arrive(dtype):
    """What the exporter writes is what the page reads."""
    values = RNG.integers(0, 200, (3, 4, 5)).astype(dtype)
    found = evaluated("decoded(packed)", packed=export.array(values, dtype))
    assert found["shape"] == [3, 4, 5]
    np.testing.assert_array_equal(found["data"], values.reshape(-1))


def test_weights_too_large_for_float16_are_kept():
    """Above 65,504 float16 has only infinity."""
    found = evaluated("decoded(packed)", packed=export.array(np.array([1e5, -3.0])))
    assert found["data"] == [1e5, -3.0]


def conv_cases(count=40):
    """(class, arguments, input shape), with odd, even, uneven and minimal sizes."""
    for _ in range(count):
        channels, out = RNG.integers(1, 5, 2)
        kernel, stride, dilation = (tuple(RNG.integers(1, 4, 2)) for _ in range(3))
        padding = tuple(RNG.integers(0, 3, 2))
        least = [
            max(1, d * (k - 1) + 1 - 2 * p)
            for d, k, p in zip(dilation, kernel, padding, strict=True)
        ]
        side = tuple(int(n + RNG.integers(0, 6)) for n in least)
        shared = {
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "bias": bool(RNG.integers(2)),
        }
        yield nn.Conv2d, (channels, out, kernel), shared, (1, channels, *side)
        extra = tuple(
            int(RNG.integers(0, max(s, d))) for s, d in zip(stride, dilation, strict=True)
        )
        sizes = [(n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, s, p, d, k, e in
                 zip(side, stride, padding, dilation, kernel, extra, strict=True)]  # fmt: skip
        if min(sizes) > 0:
            shared = {**shared, "output_padding": extra}
            yield nn.ConvTranspose2d, (channels, out, kernel), shared, (1, channels, *side)


def test_convolutions():
    """Convolutions and transposed ones match, for strides, paddings, dilations and odd sizes."""
    cases = list(conv_cases())
    assert {cls for cls, *_ in cases} == {nn.Conv2d, nn.ConvTranspose2d}
    modules = [
        rounded(cls(*map(_plain, sizes), **_plain(options))) for cls, sizes, options, _ in cases
    ]
    inputs = [RNG.normal(size=shape) for *_, shape in cases]
    wanted = [module(x).data[0] for module, x in zip(modules, inputs, strict=True)]
    for found, want in zip(forwarded(modules, [x[0] for x in inputs]), wanted, strict=True):
        close(found, want)


def _plain(value):
    """Convert NumPy integers to Python ints, for JSON."""
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, tuple):
        return tuple(int(v) for v in value)
    return bool(value) if isinstance(value, bool) else int(value)


def normalised(channels):
    """A batch norm with running statistics other than the initial ones."""
    module = nn.BatchNorm2d(channels)
    state = module.state_dict()
    for name in ("weight", "bias", "running_mean"):
        state[name] = RNG.normal(size=channels).astype(np.float32)
    state["running_var"] = RNG.uniform(0.01, 3, channels).astype(np.float32)
    module.load_state_dict(state)
    return module


def test_the_other_layers():
    """Linear with and without bias, batch norm, activations, reshaping, and a chain of them."""
    modules = [
        nn.Linear(7, 5), nn.Linear(7, 5, bias=False), nn.Linear(1, 1),
        normalised(4), normalised(7),
        nn.ReLU(), nn.LeakyReLU(0.2), nn.Sigmoid(), nn.Tanh(),
        nn.Flatten(), nn.Unflatten(1, (2, 2, 3)),
        nn.Sequential(nn.Linear(7, 12), nn.Tanh(), nn.Unflatten(1, (3, 2, 2)), nn.Conv2d(3, 2, 1),
                      *(nn.ReLU() for _ in range(9))),
    ]  # fmt: skip
    modules = [rounded(module) for module in modules]
    shapes = [(7,), (7,), (1,), (4, 3, 2), (7,), *((3, 2, 2),) * 5, (12,), (7,)]
    inputs = [RNG.normal(size=(1, *shape)) for shape in shapes]
    wanted = [module(x).data[0] for module, x in zip(modules, inputs, strict=True)]
    for found, want in zip(forwarded(modules, [x[0] for x in inputs]), wanted, strict=True):
        close(found, want)


def test_every_layer_and_model_has_its_class():
    """No layer of minivae.nn is missing, and no model that the exporter takes."""
    known = set(evaluated("Object.keys(CLASSES)"))
    own = {name for name, value in vars(nn).items() if isinstance(value, type)
           and issubclass(value, nn.Module)} - {"Module", "ModuleList"}  # fmt: skip
    assert own | {cls.__name__ for cls in export.CLASSES} <= known


# ---------------------------------------------------------------- models
def trained(model):
    """The model with running statistics and weights other than the initial ones."""
    state = model.state_dict()
    for name, a in state.items():
        if name.endswith("running_var"):
            state[name] = RNG.uniform(0.1, 2, a.shape).astype(np.float32)
        elif a.dtype.kind == "f":
            state[name] = (a + 0.05 * RNG.normal(size=a.shape)).astype(np.float32)
    model.load_state_dict(state)
    return model


MODELS = {
    "mlp": lambda: models.MLPVAE(latent_dim=5, hidden=11),
    "conv": lambda: models.ConvVAE(latent_dim=2),
    "conv-relu": lambda: models.ConvVAE(latent_dim=3, bottleneck="relu"),
    "deep": lambda: models.DeepVAE(latent_dim=4, hidden=(13, 6)),
    "deep-relu": lambda: models.DeepVAE(latent_dim=4, hidden=(9,), activation="relu"),
    "shallow": lambda: models.DeepVAE(latent_dim=4, hidden=()),
    "face": lambda: models.FaceVAE(latent_dim=6, image_size=33, likelihood="gaussian"),
    "resized-face": lambda: models.FaceVAE(latent_dim=6, image_size=33, upsampling="resize"),
    "grey-face": lambda: models.FaceVAE(latent_dim=6, image_size=40, channels=1),
}


def run_model(model, x, z):
    """mu, logvar and logits from the page's model."""
    found = evaluated(
        """(() => {
          const model = build(tree);
          const given = (values, shape) => array(Float64Array.from(values), shape);
          const [mu, logvar] = model.encode(given(x.data, x.shape));
          return [mu.data, logvar.data, model.decode(given(z)).data];
        })()""",
        tree=export.layers(model), x=array(x), z=z,
    )  # fmt: skip
    return [np.array(part) for part in found]


@pytest.mark.parametrize("name", MODELS)
def test_models(name):
    """Encoder and decoder match Python's with the same float16 weights."""
    model = trained(MODELS[name]())
    plain = MODELS[name]()
    plain.load_state_dict(model.state_dict())
    shape = model.image_shapes[-1]
    x, z = RNG.random(shape), RNG.normal(size=model.latent_dim)
    mu, logvar, logits = run_model(model, x, z)
    exact = rounded(model)
    with no_grad():
        want = [t.numpy().reshape(-1) for t in (*exact.encode(x[None]), exact.decode(z[None]))]
    for found, wanted in zip((mu, logvar, logits), want, strict=True):
        close(found, wanted, atol=1e-9)
    pixels = plain.pixels(z[None].astype(np.float32)).numpy().reshape(-1)
    assert np.abs(1 / (1 + np.exp(-logits)) - pixels).max() < 2e-3


@pytest.mark.parametrize(
    "likelihood", ["bernoulli", "gaussian", "gaussian-per-pixel", "squared-error"]
)
def test_reconstruction_loss_and_kl(likelihood):
    """Both match VAE.reconstruction_loss and F.reparameterize_kl, in nats."""
    model = models.MLPVAE(latent_dim=3, hidden=4, likelihood=likelihood)
    if hasattr(model, "pixel_logvar"):
        model.pixel_logvar.data[...] += RNG.normal(size=model.pixel_logvar.shape).astype(np.float32)
    logits, x = 20 * RNG.normal(size=(1, 784)), RNG.random((1, 784))
    mu, logvar, eps = RNG.normal(size=(3, 1, 6))
    loss, both = evaluated(
        "[reconstructionLoss(likelihood, logits, x), reparameterizeKL(mu, logvar, eps)]",
        likelihood=export.likelihood(model), logits=logits[0], x=x[0], mu=mu[0], logvar=logvar[0],
        eps=eps[0],
    )  # fmt: skip
    assert loss == pytest.approx(model.to(dtype=np.float64).reconstruction_loss(
        functional.sum(np.array(logits)[None], axis=0), functional.sum(x[None], axis=0)
    ).item(), rel=1e-6)  # fmt: skip
    z, kl = functional.reparameterize_kl(mu, logvar, eps)
    close(both["z"], z.numpy()[0])
    assert both["kl"] == pytest.approx(kl.item(), rel=1e-12)


# ---------------------------------------------------------------- noise
def test_philox_known_answers():
    """The vectors of Random123 (Salmon et al. 2011)."""
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0]
    ones = [0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2
    found = evaluated("cases.map(([counter, key]) => philox4x32(counter, key))",
                      cases=[([0] * 4, [0] * 2), ones, pi])  # fmt: skip
    assert [" ".join(f"{word:08x}" for word in words) for words in found] == [
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ]


@pytest.mark.parametrize(
    "seed, offset", [(0, 0), (7, 1), (2**32 + 5, 2**33), (2**64 - 1, 2**63 + 9)]
)
def test_noise(seed, offset):
    """Element i of the noise (seed, offset) matches Python's, for any length."""
    found = evaluated("[1, 4, 6, 103].map((n) => new Noise(seed, offset).normal(n))",
                      seed=str(seed), offset=str(offset))  # fmt: skip
    for values in found:
        close(values, Noise(seed, offset).normal((len(values),), np.float64), atol=1e-14)


def test_the_stream_for_pictures_begins_where_python_has_it():
    """SAMPLING is the same number in both."""
    from minivae.noise import SAMPLING

    assert int(evaluated("SAMPLING")) == SAMPLING


# ---------------------------------------------------------------- codes
def test_codes():
    """lerp, slerp, arithmetic and traverse match minivae.viz.latent."""
    a, b, c = RNG.normal(size=(3, 9))
    found = evaluated(
        "[lerp(a, b, 6), slerp(a, b, 6), arithmetic(a, b, c), traverse(a, 4, [-3, 0, 3])]",
        a=a, b=b, c=c,
    )  # fmt: skip
    wanted = [latent.lerp(a, b, 6), latent.slerp(a, b, 6), latent.arithmetic(a, b, c),
              latent.traverse(a, 4, [-3, 0, 3])]  # fmt: skip
    for f, w in zip(found, wanted, strict=True):
        close(f, w, atol=1e-12)
    for way in map(np.array, found[:2]):  # both ends are exact
        assert (way[0] == a).all() and (way[-1] == b).all()


@pytest.mark.parametrize("b", [[0, 0], [2, -4], [-1, 2]], ids=["zero", "parallel", "opposite"])
def test_no_great_circle(b):
    """Where latent.slerp raises an error, the page offers no great circle."""
    with pytest.raises(ValueError):
        latent.slerp([1.0, -2.0], np.array(b, float), 6)
    assert evaluated("slerp([1, -2], b, 6)", b=b) is None


def test_normal_distribution():
    """Φ and its inverse are accurate enough to place a point in the plane."""
    z = np.linspace(-4, 4, 41)
    found = evaluated("[z.map(normalCdf), z.map((v) => normalQuantile(normalCdf(v)))]", z=z)
    np.testing.assert_allclose(found[0], [NormalDist().cdf(v) for v in z], atol=2e-7)
    np.testing.assert_allclose(found[1], z, atol=1e-4)


# ---------------------------------------------------------------- a drawn digit
SEVEN = [[[0.2, 0.2], [0.7, 0.2]], [[0.7, 0.2], [0.4, 0.9]]]


def raster(strokes):
    return np.array(evaluated("rasterise(strokes)", strokes=strokes)).reshape(28, 28)


def test_a_drawing_is_centred_and_fills_what_digits_fill():
    """A drawing is scaled as in MNIST: 20 x 20, centre of mass in the middle, 256 grey values."""
    x = raster(SEVEN)
    rows = np.nonzero(x)[0]
    assert 18 <= rows.max() - rows.min() + 1 <= 22
    mass = [(x.sum(axis=1 - axis) * np.arange(28)).sum() / x.sum() for axis in (0, 1)]
    assert np.abs(np.array(mass) - 13.5).max() < 0.1
    assert x.max() == 1 and x.min() == 0
    np.testing.assert_allclose(x * 255, np.round(x * 255), atol=1e-9)


def test_size_and_place_of_a_drawing_do_not_matter():
    """A drawing of half the size at another position gives the same digit."""
    moved = [[[0.5 * x + 0.4, 0.5 * y + 0.1] for x, y in stroke] for stroke in SEVEN]
    np.testing.assert_allclose(raster(moved), raster(SEVEN), atol=2 / 255)


def test_no_stroke_and_a_dot():
    """An empty page is black; a dot stays small."""
    assert raster([]).sum() == 0
    assert 0 < np.count_nonzero(raster([[[0.3, 0.4]]])) < 20


# ---------------------------------------------------------------- the one-dimensional model
def test_evidence_elbo_and_gap():
    """The numbers of docs/elbo.md, and the identity for any q."""
    found = evaluated("""(() => {
        const { mean, variance } = POSTERIOR, gap = (m, s) => klNormal(m, s * s, mean, variance);
        const others = [[-1, 0.3], [0.6, 2], [3, 0.05]];
        return {
          evidence: logEvidence, prior: elbo1(0, 1), gap: gap(0, 1),
          best: elbo1(mean, Math.sqrt(variance)),
          off: others.map(([m, s]) => elbo1(m, s) + gap(m, s) - logEvidence),
        };
    })()""")
    assert found["evidence"] == pytest.approx(NUMBERS["elbo.log_evidence"], abs=1e-12)
    assert found["prior"] == pytest.approx(NUMBERS["elbo.at_prior"], abs=1e-12)
    assert found["gap"] == pytest.approx(NUMBERS["elbo.kl_at_prior"], abs=1e-12)
    assert found["best"] == pytest.approx(NUMBERS["elbo.at_posterior"], abs=1e-12)
    close(found["off"], [0, 0, 0])


def test_importance_weighted_bounds():
    """L_K is within five standard errors of that in docs/elbo.md, and increases with K."""
    found = evaluated("[1, 10, 100, 1000].map((K) => importanceWeighted(K, 0, 1))")
    for k, one in zip((1, 10, 100, 1000), found, strict=True):
        error = math.hypot(one["error"], NUMBERS[f"elbo.error_{k}"])
        assert abs(one["bound"] - NUMBERS[f"elbo.bound_{k}"]) < 5 * error
    bounds = [one["bound"] for one in found]
    assert bounds == sorted(bounds)


def test_the_true_posterior_needs_one_sample():
    """If q is the posterior every weight is p(x), so the bound is the evidence for any K."""
    best = "POSTERIOR.mean, Math.sqrt(POSTERIOR.variance)"
    found = evaluated(f"[1, 20].map((K) => importanceWeighted(K, {best}))")
    for one in found:
        assert one["bound"] == pytest.approx(NUMBERS["elbo.log_evidence"], abs=1e-9)
        assert one["error"] < 1e-6


@pytest.mark.parametrize("name", ["right", "tutorial", "half_head", "unsquared", "log_squared"])
def test_wrong_formulas(name):
    """The minimum of each wrong formula and its position are those of docs/gaussian-kl.md."""
    values = evaluated(
        "sigmas.map(FORMULAS[name].of)", name=name, sigmas=np.geomspace(0.01, 10, 4001)
    )
    at = int(np.argmin(values))
    assert np.geomspace(0.01, 10, 4001)[at] == pytest.approx(
        NUMBERS[f"gaussian_kl.{name}_sigma"], rel=2e-3
    )
    assert values[at] == pytest.approx(NUMBERS[f"gaussian_kl.{name}_value"], abs=1e-5)


@pytest.mark.parametrize(
    "name", ["right", "tutorial", "half_head", "unsquared", "log_squared", "mean"]
)
@pytest.mark.parametrize("beta", [0.5, 1, 4])
def test_optimum(name, beta):
    """No q near the optimum has a lower rec + beta KL; with the right formula and beta 1 the
    optimum is the posterior."""
    found = evaluated("""(() => {
        const formula = FORMULAS[name], { mu, sigma } = optimum(formula, beta);
        const loss = (m, s) => rec1(m, s) + beta * (formula.pull * m * m + formula.of(s));
        const steps = [[0.01, 1], [-0.01, 1], [0, 1.02], [0, 0.98]];
        const near = steps.map(([d, f]) => loss(mu + d, sigma * f));
        return { mu, sigma, here: loss(mu, sigma), near };
    })()""", name=name, beta=beta)  # fmt: skip
    assert found["here"] < min(found["near"])
    if (name, beta) == ("right", 1):
        assert (found["mu"], found["sigma"]) == pytest.approx((0.6, math.sqrt(0.2)), rel=1e-3)


def test_the_wrong_sign_has_no_optimum():
    """With the wrong sign sigma goes to 0: the search ends at its lower limit."""
    assert evaluated("optimum(FORMULAS.sign, 1).sigma") == pytest.approx(1e-4)

"""Models as ONNX, run by onnxruntime and compared with the models themselves."""

import numpy as np
import pytest

import minivae as mv
from minivae import functional as F
from minivae import models
from minivae.interop import onnx_model

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

MODELS = {
    "mlp": lambda: models.MLPVAE(latent_dim=5, hidden=30),
    "mlp-gaussian": lambda: models.MLPVAE(latent_dim=5, hidden=30, likelihood="gaussian"),
    "conv": models.ConvVAE,
    "conv-relu": lambda: models.ConvVAE(3, "relu"),
    "deep": lambda: models.DeepVAE(4, (20, 10)),
    "face": lambda: models.FaceVAE(6, 32),
    "face-odd": lambda: models.FaceVAE(6, 45, paddings=(1, 0, 1)),
    "face-resized": lambda: models.FaceVAE(6, 45, 1, upsampling="resize"),
}


def trained(name, seed=0):
    """A model whose arrays are all away from what they start with, running statistics included."""
    model, rng = MODELS[name](), np.random.default_rng(seed)
    state = {
        key: a + rng.uniform(-0.1, 0.1, a.shape).astype(a.dtype) if a.dtype.kind == "f" else a
        for key, a in model.state_dict().items()
    }
    model.load_state_dict(state)
    return model


def outputs(proto, fed):
    """{output: array} of a model that is read back from its bytes, as another program does."""
    proto = onnx.load_model_from_string(proto.SerializeToString())
    session = runtime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (given,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {given.name: fed}), strict=True))


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5 * max(1, abs(want).max()))
    assert want.std() > 1e-3, "all values are alike: this shows nothing"


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_computes_what_the_model_does(name, batch):
    model, rng = trained(name), np.random.default_rng(1)
    x = rng.random((batch, *model.image_shapes[-1]), np.float32)
    z = rng.standard_normal((batch, model.latent_dim), np.float32)
    exported = onnx_model.export(model)
    with model.evaluating():
        mu, logvar = model.encode(mv.Tensor(x))
        logits = model.decode(z).numpy()
    got = outputs(exported["encoder"], x)
    assert list(got) == ["mu", "logvar"]
    close(got["mu"], mu.numpy())
    close(got["logvar"], logvar.numpy())
    got = outputs(exported["decoder"], z)
    assert list(got) == ["logits", "pixels"]
    close(got["logits"], logits)
    close(got["pixels"], 1 / (1 + np.exp(-logits.astype(np.float64))))


def test_export_leaves_the_model_as_it_was():
    model = trained("face").train()
    before = model.state_dict()
    onnx_model.export(model)
    assert model.training and model.encoder.batch2.training
    for name, a in model.state_dict().items():
        np.testing.assert_array_equal(a, before[name])
    assert all(p.grad is None for p in model.parameters())


def test_parameters_keep_their_names():
    model = trained("conv")
    for part, proto in onnx_model.export(model).items():
        found = {i.name: onnx.numpy_helper.to_array(i) for i in proto.graph.initializer}
        for name, p in model.named_parameters():
            if name.startswith(part):
                np.testing.assert_array_equal(found[name], p.data)


@pytest.mark.parametrize("variant", ["reference", "composed"])
def test_any_kernels_give_a_model(variant):
    model = trained("mlp")
    with mv.kernels.use(variant):
        exported = onnx_model.export(model)
    assert onnx_model.check(model, exported) < 1e-5


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_check_sees_a_wrong_weight(part):
    model = trained("mlp")
    exported = onnx_model.export(model)
    weight = next(i for i in exported[part].graph.initializer if i.name.endswith("bias"))
    changed = onnx.numpy_helper.to_array(weight) + np.float32(1e-2)
    weight.CopyFrom(onnx.numpy_helper.from_array(changed, weight.name))
    with pytest.raises(mv.MinivaeError, match=f"{part}: onnxruntime's .* expected at most 1e-05"):
        onnx_model.check(model, exported)


def test_check_sees_a_nan():
    model = trained("mlp")
    exported = onnx_model.export(model)
    model.fc21.bias.data[0] = np.nan
    with pytest.raises(mv.MinivaeError, match="mu differs by nan"):
        onnx_model.check(model, exported)


class Shifted(models.MLPVAE):
    """Maps that are not translated, chosen by ``wrong``."""

    def encode(self, x):
        mu, logvar = super().encode(x)
        return {
            "operation": lambda: F.exp(mu),
            "batch constant": lambda: mu * np.ones((len(x), 1), np.float32),
            "batch sliced": lambda: mu[1:],
            "backwards": lambda: mu[:, ::-1],
            "gathered": lambda: mu[:, [0, 0]],
            "transposed": lambda: mu.T,
            "mixed": lambda: F.reshape(mu, -1),
        }[self.wrong](), logvar


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("operation", "Exp is not translated"),
        ("batch constant", "constant for each image"),
        ("batch sliced", "slices behind the batch"),
        ("backwards", "backwards"),
        ("gathered", "slices behind the batch"),
        ("transposed", "moves the batch"),
        ("mixed", "change of shape across the batch"),
    ],
)
def test_what_would_be_wrong_is_refused(wrong, message):
    model = Shifted(latent_dim=2, hidden=4)
    model.wrong = wrong
    with pytest.raises(TypeError, match=message):
        onnx_model.export(model)
    assert model.training


def test_other_classes_and_dtypes_are_refused():
    with pytest.raises(TypeError, match=r"expected one of ConvVAE, .* got ConditionalVAE"):
        onnx_model.export(models.ConditionalVAE(2, 4))
    with pytest.raises(TypeError, match="float32"):
        onnx_model.export(models.MLPVAE(2, 4).to(dtype=np.float64))

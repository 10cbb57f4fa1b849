"""Default values and smallest or largest allowed values of arguments, with written-out results.

Many of these tests fail for an error planted in the source (tests/reliability/mutation.py) that no
other test caught.
"""

import math
from fractions import Fraction

import numpy as np
import pytest

from minivae import Noise, Tensor, kernels, models, optim
from minivae import functional as F
from minivae.kernels import philox, reference, reference_layers
from minivae.nn import Parameter
from minivae.nn.utils import clip_grad_norm_
from minivae.ops import arithmetic, conv, linear
from minivae.training import objectives

F4, F8 = np.float32, np.float64


# Optimisers


def test_adam_at_its_defaults_takes_the_steps_of_the_paper():
    """Algorithm 1 of arXiv:1412.6980 with its alpha, beta1, beta2, epsilon, in exact fractions."""
    beta1, beta2 = Fraction(9, 10), Fraction(999, 1000)
    p = Parameter(np.array([3.0, -1.0]))
    adam, expected = optim.Adam([p]), [3.0, -1.0]
    m, v = [Fraction(0)] * 2, [Fraction(0)] * 2
    for step, gradient in enumerate(([0.5, -2.0], [0.25, 4.0], [-1.0, 0.125]), 1):
        p.grad = np.array(gradient)
        adam.step()
        for i, g in enumerate(map(Fraction, gradient)):
            m[i] = beta1 * m[i] + (1 - beta1) * g
            v[i] = beta2 * v[i] + (1 - beta2) * g * g
            mean, square = m[i] / (1 - beta1**step), v[i] / (1 - beta2**step)
            expected[i] -= 1e-3 * float(mean) / (math.sqrt(square) + 1e-8)
        np.testing.assert_allclose(p.data, expected, rtol=1e-13)
    assert adam.state[p]["step"] == 3


def test_adams_epsilon_is_the_papers():
    """A gradient far below epsilon moves by lr g / epsilon."""
    p = Parameter(np.zeros(1))
    adam, p.grad = optim.Adam([p]), np.full(1, 1e-14)
    adam.step()
    np.testing.assert_allclose(p.data, -1e-3 * 1e-14 / 1e-8, rtol=1e-5)


@pytest.mark.parametrize("dtype", [F4, F8])
def test_moments_have_the_parameters_dtype(dtype):
    p = Parameter(np.ones(3, dtype))
    adam, p.grad = optim.Adam([p]), np.ones(3, dtype)
    adam.step()
    for array in (p.data, p.grad, adam.state[p]["m"], adam.state[p]["v"]):
        assert array.dtype == dtype


def test_the_smallest_coefficients_are_allowed():
    p = Parameter(np.ones(2))
    optim.SGD([p], lr=0)
    adam = optim.Adam([p], lr=0, betas=(0, 0), eps=0, weight_decay=0)
    adam.load_state_dict(adam.state_dict())  # no step was made: step counts of 0
    p.grad = np.full(2, 5.0)
    adam.step()
    m, v = adam.state[p]["m"], adam.state[p]["v"]
    assert p.data.tolist() == [1, 1] and m.tolist() == [5, 5] and v.tolist() == [25, 25]


# Layers


def test_layer_functions_have_pytorchs_defaults():
    x = np.arange(8.0).reshape(2, 4) - 3
    mean, var = np.zeros(4), np.ones(4)
    y = F.batch_norm(x, mean, var, np.ones(4), np.zeros(4), training=True)
    np.testing.assert_allclose(mean, 0.1 * x.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(var, 0.9 + 0.1 * x.var(axis=0, ddof=1), rtol=1e-14)
    np.testing.assert_allclose(y.data[1], 2 / math.sqrt(4 + 1e-5), rtol=1e-14)
    assert F.leaky_relu(np.array([-100.0, 0.0, 3.0])).data.tolist() == [-1, 0, 3]
    image, tap = np.arange(12.0).reshape(1, 1, 3, 4), np.ones((1, 1, 1, 1))
    assert F.conv2d(image, tap).data.tolist() == image.tolist()
    assert F.conv_transpose2d(image, tap).data.tolist() == image.tolist()
    pairs = np.ones((1, 1, 2, 2))  # dilation 1
    assert F.conv2d(image, pairs).data[0, 0].tolist() == [[10, 14, 18], [26, 30, 34]]


def test_a_channel_of_two_values_is_the_least_that_training_takes():
    args = np.zeros(1), np.ones(1), np.ones(1), np.zeros(1)
    y = F.batch_norm(np.array([[1.0], [3.0]]), *args, training=True, eps=0)
    assert y.data.tolist() == [[-1], [1]]
    with pytest.raises(ValueError, match=r"at least two values .*got 1 from x \(1, 1\)"):
        F.batch_norm(np.array([[1.0]]), *args, training=True)


def test_output_sizes_of_convolutions():
    assert [conv.conv_output_size(n, 3) for n in (3, 4, 5)] == [1, 2, 3]
    sizes = [conv.conv_output_size(n, 3, 2, 1, 2) for n in (3, 4, 5, 6)]
    assert sizes == [1, 1, 2, 2] and {type(n) for n in sizes} == {int}
    with pytest.raises(ValueError, match=r"^size 2 with padding 0 on both sides: expected at"):
        conv.conv_output_size(2, 3)
    with pytest.raises(ValueError, match=r"^size 1 gives 0 = \(1 - 1\) \* 1 - 2 \* 1 \+ 1 \* "):
        conv.conv_transpose_output_size(1, 2, padding=1)


def test_output_padding_that_can_be_had():
    assert conv.output_padding_for(4, 4, 1) == 0  # stride 1, padding 0, dilation 1
    assert [conv.output_padding_for(3, size, 3, stride=2) for size in (7, 8)] == [0, 1]
    assert [conv.output_padding_for(3, size, 2, 2, 1, 3) for size in (6, 7, 8)] == [0, 1, 2]
    for size in (6, 9):
        with pytest.raises(ValueError) as caught:
            conv.output_padding_for(3, size, 3, stride=2)
        assert str(caught.value) == (
            "size from 3 with kernel 3, stride 2, padding 0: expected 7..8 (output_padding 0..), "
            f"got {size}"
        )
    with pytest.raises(ValueError, match=r"expected 6\.\.8 "):
        conv.output_padding_for(3, 9, 2, 2, 1, 3, "height")


def test_linear_refuses_weights_that_are_no_matrix():
    for w in (np.zeros(3), np.zeros((2, 3, 1))):
        with pytest.raises(ValueError, match=r"expected x \(\.\.\., I\) and w \(O, I\), got x"):
            linear.linear(np.zeros((2, 3)), w)
    with pytest.raises(ValueError, match=r"got x \(\) and w \(2, 3\)"):
        linear.linear(np.float64(1), np.zeros((2, 3)))


def test_concatenate_joins_along_the_first_axis():
    a, b = Tensor(np.zeros((1, 2))), Tensor(np.ones((2, 2)))
    assert F.concatenate([a, b]).data.tolist() == [[0, 0], [1, 1], [1, 1]]


def test_unneeded_gradients_are_not_computed():
    """backward of a two-input operation gives None for the input that asks for no gradient."""
    x, y = np.ones((2, 3)), np.ones((2, 3))
    for op, a, b, more in (
        (arithmetic.Sub, x, y, ()), (arithmetic.Mul, x, y, ()), (arithmetic.Div, x, y, ()),
        (linear.MatMul, x, y.T, ()), (linear.Linear, x, y, (np.ones(2),)),
    ):  # fmt: skip
        for needed in range(2):
            inputs = [Tensor(v, requires_grad=k == needed) for k, v in enumerate((a, b, *more))]
            out = op.apply(*inputs)
            gradients = out.creator.backward(np.ones(out.shape))
            for k, gradient in enumerate(gradients):
                spared = k != needed and not (op in (arithmetic.Sub, arithmetic.Div) and k == 0)
                assert (gradient is None) == spared, (op, needed, k)


def test_reductions_of_the_losses():
    """Losses are summed by default, and "mean" is over elements, not over rows."""
    x, t = np.array([[0.5, -1.0, 2.0], [0.25, 3.0, -2.0]]), np.array([[0.0, 1, 1], [0.5, 0, 1]])
    s = 1 / (1 + np.exp(-x))
    for loss, each in (
        (F.bce_with_logits, -t * np.log(s) - (1 - t) * np.log(1 - s)),
        (F.squared_error_with_logits, (s - t) ** 2),
        (F.mse, (x - t) ** 2),
        (lambda *a: F.gaussian_nll(a[0], a[1], np.zeros_like(x), *a[2:]),
         0.5 * (math.log(2 * math.pi) + (x - t) ** 2)),
    ):  # fmt: skip
        for reduction, expected in (
            ((), each.sum()), (("sum",), each.sum()), (("mean",), each.sum() / 6),
            (("none",), each), (("rows",), each.sum(axis=1)),
        ):  # fmt: skip
            np.testing.assert_allclose(loss(x, t, *reduction).data, expected, rtol=1e-12)


def operations(tensor):
    """The names of all operations in the graph of a tensor."""
    if tensor is None or tensor.creator is None:
        return set()
    behind = (operations(t) for t in tensor.creator.inputs)
    return {type(tensor.creator).__name__}.union(*behind)


@pytest.mark.parametrize(
    "call, fused",
    [
        (lambda x: F.bce_with_logits(x, np.full((2, 3), 0.25), "rows"), "BCEWithLogits"),
        (lambda x: F.squared_error_with_logits(x, np.ones((2, 3))), "SquaredErrorWithLogits"),
        (lambda x: F.reparameterize_kl(x, x, np.ones((2, 3)))[0], "ReparameterizeKL"),
        (lambda x: F.reparameterize_kl(x, x, Noise(1, 2))[1], "ReparameterizeKL"),
        (lambda x: F.linear(x, x, np.ones(2), activation="relu"), "LinearReLU"),
        (lambda x: F.linear(x.reshape((1, 2, 3)), x, activation="relu"), "LinearReLU"),
    ],
)
def test_composed_kernels_compose_and_others_do_not(call, fused):
    results = []
    for variant in ("reference", "composed"):
        x = Tensor(np.linspace(-1, 2, 6).reshape(2, 3), requires_grad=True)
        with kernels.use(variant):
            y = call(x)
        assert (fused in operations(y)) == (variant == "reference")
        F.sum(y * y).backward()
        results.append((y.data, x.grad))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_objectives_weigh_the_kl_by_1_unless_told():
    model, x = models.MLPVAE(latent_dim=2, hidden=3), np.full((3, 784), 0.25, F4)
    noise = np.array([[0.5, -1], [2, 0], [-0.25, 1]], F4)
    plain = model.elbo(x, noise, 1.0)
    for got in (
        objectives.elbo(model, x, noise),
        objectives.elbo(model, x, noise, beta=1),
        objectives.free_bits(model, x, noise, nats=0.0),
    ):
        np.testing.assert_allclose(
            [t.item() for t in got[:3]], [t.item() for t in plain], rtol=1e-6
        )
    one = objectives.sampled_elbo(model, x, noise[:, None])  # its KL is a sample too
    np.testing.assert_allclose(one.rec.item(), plain.rec.item(), rtol=1e-6)
    np.testing.assert_allclose(one.loss.item(), (one.rec + one.kl).item(), rtol=1e-6)
    drawn = [objectives.sampled_elbo(model, x, Noise(1, 2), **k) for k in ({}, {"samples": 1})]
    assert drawn[0].loss.item() == drawn[1].loss.item()
    half = objectives.elbo(model, x, noise, 0.5)
    np.testing.assert_allclose(half.loss.item(), (half.rec + 0.5 * half.kl).item(), rtol=1e-6)


# Kernels


def test_row_sums_are_accumulated_in_float64():
    """2^24 + 1 is no float32: ones after 2^24 would be lost one by one."""
    x = np.ones((1, 1025), F4)
    x[0, 0] = 2**24
    assert reference._row_sum(x).tolist() == [2**24 + 1024]
    assert reference_layers.channel_sum(x[:, None]).tolist() == [2**24 + 1024]
    column, one = x.reshape(-1, 1, 1), np.ones(1, F4)
    _, mean, var = reference_layers.batch_norm_forward(column, one, one, None, None, 1e-5)
    exact = np.array([2.0**24] + [1.0] * 1024)
    assert mean.tolist() == [F4(exact.mean())] and var.tolist() == [F4(exact.var())]


def test_half_precision_is_summed_in_single():
    """Ones added in float16 stop at 2048, its largest number is 65504, and 1e-4 squared is 0."""
    ones, n = np.ones((5000, 2), np.float16), 100_352  # 128 digits
    assert F.sum(ones, axis=0).data.tolist() == [5000, 5000]
    x = Tensor(np.zeros(2, np.float16), requires_grad=True)
    (x + ones).backward(ones)  # broadcast
    assert x.grad.tolist() == [5000, 5000]
    x = Tensor(ones, requires_grad=True)
    F.sum(F.max(x, axis=0)).backward()  # all are the largest
    np.testing.assert_allclose(x.grad, 1 / 5000, rtol=1e-3)
    for loss, mean, slope in (
        (F.mean, 0, 1), (lambda x: F.mse(x, x.data - 1, "mean"), 1, 2),
        (lambda x: F.bce_with_logits(x, x.data, "mean"), math.log(2), 0.5),
        (lambda x: F.squared_error_with_logits(x, x.data, "mean"), 0.25, 0.25),
    ):  # fmt: skip
        x = Tensor(np.zeros((128, n // 128), np.float16), requires_grad=True)
        y = loss(x)
        y.backward()
        assert y.dtype == x.grad.dtype == np.float16
        np.testing.assert_allclose(y.item(), mean, rtol=1e-3)
        np.testing.assert_allclose(x.grad, slope / n, rtol=0.02)  # below 6e-5 it has fewer digits
    grads = {}
    for dtype in (np.float16, np.float32):
        a = np.random.default_rng(0).normal(size=(n, 1)).astype(np.float16)
        x = Tensor(a.astype(dtype), requires_grad=True)
        F.batch_norm(x, None, None, training=True).backward(((1 + a + a * a) / 4).astype(dtype))
        grads[dtype] = x.grad
    assert np.abs(grads[np.float32]).max() > 1
    np.testing.assert_allclose(grads[np.float16], grads[np.float32], rtol=1e-3, atol=1e-3)
    for size in (1e-4, 1000):
        x.grad = np.full(4, size, np.float16)
        np.testing.assert_allclose(clip_grad_norm_([x], 1e5), 2 * size, rtol=1e-3)


@pytest.mark.parametrize("dtype", [F4, F8])
def test_the_extreme_words_of_the_noise_draw_the_extreme_pixels(monkeypatch, dtype):
    """u = (2w + 1) 2^-33 is in (0, 1): p = 0 is never drawn as 1, p = 255 always, and 2u < 1 for
    the smaller half of the words exactly."""
    words = np.array([0, 2**31 - 1, 2**31, 2**32 - 1], np.uint32)
    monkeypatch.setattr(philox, "words", lambda noise, shape: words.reshape(shape))
    for pixel, drawn in ((0, [0, 0, 0, 0]), (255, [1, 1, 1, 1]), (128, [1, 1, 1, 0])):
        images = np.full((1, 4), pixel, np.uint8)
        got = reference.gather_pixels(images, np.zeros(1, np.int64), dtype, Noise(0, 0))
        assert got.dtype == dtype and got.tolist() == [drawn]


# Messages name what was asked for


def test_losses_name_themselves():
    with kernels.use("reference"):
        for loss in (F.mse, F.bce_with_logits, F.squared_error_with_logits):
            with pytest.raises(ValueError) as caught:
                loss(np.zeros(2), np.zeros(3))
            name = loss.__name__
            assert str(caught.value) == f"{name}: expected target of shape (2,), got (3,)"
    x, w = np.zeros((1, 2, 4, 4)), np.zeros((2, 2, 3, 3))
    for function in (F.conv2d, F.conv_transpose2d):
        name = function.__name__
        with pytest.raises(ValueError, match=rf"^{name}: expected x and w with 4 axes"):
            function(x[0], w)
        for option in ("stride", "padding", "dilation"):
            for wrong in (-1, True, 1.0):
                with pytest.raises(ValueError, match=rf"^{option}: expected an int or a pair"):
                    function(x, w, **{option: wrong})
    with pytest.raises(ValueError, match=r"^output_padding: expected an int or a pair"):
        F.conv_transpose2d(x, w, output_padding=-1)
    right = {"running_mean": np.zeros(2), "running_var": np.ones(2), "w": np.ones(2)}
    right["b"] = np.zeros(2)
    for wrong in right:
        args = right | {wrong: np.zeros(3)}
        with pytest.raises(ValueError, match=rf"^batch_norm: expected {wrong} \(2,\), got \(3,\)"):
            F.batch_norm(np.zeros((4, 2)), **args, training=True)

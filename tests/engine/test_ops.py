"""Every operation in op_specs: values, gradients, dtypes, layouts, empty arrays, errors."""

import functools
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivae as mv
import oracles
from minivae import functional as F
from op_shapes import as_pair, conv_shapes
from op_specs import SPECS
from strategies import LAYOUTS, layouts, seeds

every_op = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def as_tuple(y):
    """Several outputs as they are, one output as a tuple."""
    return tuple(y) if isinstance(y, tuple) else (y,)


def tensors(arrays):
    """Leaves that require a gradient; None stays None."""
    return [None if a is None else mv.Tensor(a, requires_grad=True) for a in arrays]


def weighted_sum(ys, seed=0):
    """The sum of all output elements, each times a random weight: a scalar to differentiate."""
    rng = np.random.default_rng(seed)
    weights = [np.asarray(rng.uniform(-1, 1, y.shape)).astype(y.dtype) for y in ys]
    return functools.reduce(operator.add, [F.sum(y * u) for y, u in zip(ys, weights, strict=True)])


def run(spec, arrays, params):
    """Outputs, and the gradients of their weighted sum."""
    leaves = tensors(arrays)
    ys = as_tuple(spec.fn(*leaves, **params))
    weighted_sum(ys).backward()
    return [y.data for y in ys], [None if t is None else t.grad for t in leaves]


def example(spec, seed=1):
    """The spec's own example."""
    return spec.build(*spec.example, np.random.default_rng(seed))


def test_every_function_is_in_the_table():
    """Every public function has a row in op_specs; without one it would not be tested."""
    assert set(F.__all__) == {name.split()[0] for name in SPECS}


@every_op
@given(data=st.data())
def test_values(spec, data):
    """Values match the oracle's for any shape and layout, and inputs are not changed."""
    case = data.draw(spec.cases())
    layout = data.draw(layouts)
    inputs = [None if a is None else LAYOUTS[layout](a) for a in case.inputs]
    ys = as_tuple(spec.fn(*tensors(inputs), **case.params))
    expected = as_tuple(spec.oracle(*case.inputs, **case.params))
    for y, want in zip(ys, expected, strict=True):
        assert y.shape == np.shape(want)
        assert y.dtype == np.float64
        np.testing.assert_allclose(y.data, want, rtol=1e-12, atol=1e-13)
    for a, before in zip(inputs, case.inputs, strict=True):
        assert a is None or np.array_equal(a, before)


@every_op
@given(data=st.data())
def test_gradients(spec, data):
    """Gradients match finite differences for any shape and layout."""
    case = data.draw(spec.cases())
    layout = data.draw(layouts)
    inputs = [None if a is None else LAYOUTS[layout](a) for a in case.inputs]
    tolerance = {"atol": 1e-11, "rtol": 1e-11} if spec.linear else {}
    assert mv.gradcheck(
        lambda *xs: spec.fn(*xs, **case.params),
        inputs,
        directions=1,
        seed=data.draw(seeds),
        **tolerance,
    )


@every_op
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_does_not_matter(spec, layout):
    """Views, transposed and read-only arrays give the same results as a contiguous copy."""
    case = example(spec)
    ys, grads = run(spec, case.inputs, case.params)
    laid_out = [None if a is None else LAYOUTS[layout](a) for a in case.inputs]
    ys_view, grads_view = run(spec, laid_out, case.params)
    for a, b in zip(ys + grads, ys_view + grads_view, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
        assert a.shape == b.shape


@every_op
@pytest.mark.parametrize("layout", [*LAYOUTS, "broadcast"])
def test_cotangent_layout_does_not_matter(spec, layout):
    """Gradients do not depend on the cotangent's layout; sum's backward gives one of stride 0."""
    case = example(spec)
    grads = []
    for f in (np.array, LAYOUTS.get(layout, lambda a: np.broadcast_to(a.flat[0], a.shape))):
        leaves = tensors(case.inputs)
        y = as_tuple(spec.fn(*leaves, **case.params))[0]
        dy = np.asarray(np.random.default_rng(0).normal(size=y.shape))
        y.backward(f(np.full_like(dy, dy.flat[0]) if layout == "broadcast" else dy))
        grads.append([t.grad for t in leaves])
    for a, b in zip(*grads, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@every_op
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_dtype_is_kept(spec, dtype):
    """Outputs and gradients have the inputs' dtype and are close to those in float64."""
    if dtype == np.float16 and not spec.half:
        pytest.skip("not offered in float16")
    case = example(spec)
    inputs = [None if a is None else a.astype(dtype) for a in case.inputs]
    exact = run(spec, [None if a is None else a.astype(np.float64) for a in inputs], case.params)
    ys, grads = run(spec, inputs, case.params)
    eps = np.finfo(dtype).eps
    for a, b in zip(ys + grads, exact[0] + exact[1], strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=32 * eps, atol=32 * eps * np.abs(b).max(initial=1))


@every_op
def test_empty_arrays(spec):
    """Empty inputs give the oracle's output, and gradients of the inputs' shapes."""
    for shapes, params in spec.empty:
        case = spec.build(shapes, params, np.random.default_rng(0))
        ys, grads = run(spec, case.inputs, case.params)
        for y, want in zip(ys, as_tuple(spec.oracle(*case.inputs, **case.params)), strict=True):
            np.testing.assert_array_equal(y, want)
        for a, grad in zip(case.inputs, grads, strict=True):
            assert a is None or (grad.shape == a.shape and np.isfinite(grad).all())


@every_op
def test_inputs_without_requires_grad_get_no_gradient(spec):
    """An input without requires_grad gets no gradient; the gradient of the one with it is right."""
    case = example(spec)
    _, full = run(spec, case.inputs, case.params)
    for chosen in range(len(case.inputs)):
        leaves = [mv.Tensor(a, requires_grad=i == chosen) for i, a in enumerate(case.inputs)]
        weighted_sum(as_tuple(spec.fn(*leaves, **case.params))).backward()
        np.testing.assert_allclose(leaves[chosen].grad, full[chosen], rtol=1e-12, atol=1e-14)
        assert all(t.grad is None for i, t in enumerate(leaves) if i != chosen)


@every_op
@pytest.mark.parametrize("variant", mv.kernels.available())
def test_every_variant(spec, variant):
    """With every kernel variant, values match the oracle's and gradients pass gradcheck."""
    case = example(spec)
    with mv.kernels.use(variant):
        ys, _ = run(spec, case.inputs, case.params)
        assert mv.gradcheck(lambda *xs: spec.fn(*xs, **case.params), case.inputs)
    for y, want in zip(ys, as_tuple(spec.oracle(*case.inputs, **case.params)), strict=True):
        np.testing.assert_allclose(y, want, rtol=1e-12, atol=1e-13)


@every_op
def test_nan_is_kept(spec):
    """An input of NaN gives an output with NaN: no clamp, maximum or mask hides it."""
    case = example(spec)
    for i in range(len(case.inputs)):
        nan = [np.full_like(a, np.nan) if k == i else a for k, a in enumerate(case.inputs)]
        ys = as_tuple(spec.fn(*map(mv.Tensor, nan), **case.params))
        assert any(np.isnan(y.data).any() for y in ys)


KINKS = [pytest.param(spec, *kink, id=name) for name, spec in SPECS.items() for kink in spec.kinks]


@pytest.mark.parametrize(("spec", "inputs", "params", "i", "index"), KINKS)
def test_gradcheck_names_the_kink(spec, inputs, params, i, index):
    """At a kink gradcheck reports the kink, instead of passing or reporting a wrong gradient."""
    with pytest.raises(mv.GradientError) as error:
        mv.gradcheck(lambda *xs: spec.fn(*xs, **params), inputs)
    assert f"input {i}, index {index}" in str(error.value)
    assert "kink" in str(error.value)


@pytest.mark.parametrize(
    ("f", "x", "expected"),
    [
        (F.relu, [-1.0, -0.0, 0.0, 2.0], [0, 0, 0, 1]),
        (lambda x: F.leaky_relu(x, 0.2), [-1.0, -0.0, 0.0, 2.0], [0.2, 0.2, 0.2, 1]),
        (F.max, [3.0, 1.0, 3.0, 3.0], [1 / 3, 0, 1 / 3, 1 / 3]),
        (lambda x: F.pow(x, 0), [0.0, 2.0], [0, 0]),
        (lambda x: F.pow(x, 1), [0.0, 2.0], [1, 1]),
        (lambda x: F.pow(x, 2), [0.0, -2.0], [0, -4]),
    ],
)
def test_gradient_at_special_points(f, x, expected):
    """Gradients at kinks and ties, which have no derivative, and of powers at 0."""
    x = mv.Tensor(np.array(x), requires_grad=True)
    F.sum(f(x)).backward()
    np.testing.assert_allclose(x.grad, expected, rtol=1e-15)


@pytest.mark.parametrize(
    ("f", "at_minus", "at_plus", "slope_minus", "slope_plus"),
    [
        (F.sigmoid, 0, 1, 0, 0),
        (F.softplus, 0, 1000, 0, 1),
        (F.tanh, -1, 1, 0, 0),
        (lambda x: F.bce_with_logits(x, np.ones(1, x.dtype), "none"), 1000, 0, -1, 0),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_overflow_far_out(f, at_minus, at_plus, slope_minus, slope_plus, dtype):
    """At -1000 and 1000 values and slopes are the limits, without a warning."""
    for x, y, slope in [(-1000, at_minus, slope_minus), (1000, at_plus, slope_plus)]:
        leaf = mv.Tensor(np.full(1, x, dtype), requires_grad=True)
        out = f(leaf)
        F.sum(out).backward()
        assert out.data[0] == y
        assert leaf.grad[0] == slope


@given(data=st.data())
def test_convolutions_are_adjoint(data):
    """<conv(x), y> = <x, conv_transpose(y)> where the output padding gives x's size back."""
    (x_shape, w_shape, _), geometry = data.draw(conv_shapes())
    rng = np.random.default_rng(data.draw(seeds))
    x, w = rng.normal(size=x_shape), rng.normal(size=w_shape)
    conv_x = F.conv2d(mv.Tensor(x), mv.Tensor(w), **geometry).data
    y = rng.normal(size=conv_x.shape)
    steps = zip(*map(as_pair, geometry.values()), x_shape[2:], w_shape[2:], strict=True)
    left_over = tuple((n + 2 * p - d * (k - 1) - 1) % s for s, p, d, n, k in steps)
    conv_t_y = F.conv_transpose2d(
        mv.Tensor(y), mv.Tensor(w), output_padding=left_over, **geometry
    ).data
    assert conv_t_y.shape == x.shape
    scale = np.linalg.norm(conv_x) * np.linalg.norm(y) + 1
    assert abs(np.vdot(conv_x, y) - np.vdot(x, conv_t_y)) <= 1e-13 * scale


@given(data=st.data())
def test_convolution_is_a_matrix(data):
    """Forward is the product with a dense matrix A, and the input gradient that with A^T."""
    (x_shape, w_shape, _), geometry = data.draw(conv_shapes())
    rng = np.random.default_rng(data.draw(seeds))
    x, w = rng.normal(size=(1, *x_shape[1:])), rng.normal(size=w_shape)
    A = oracles.conv2d_matrix(w, x_shape[2:], **geometry)
    leaf = mv.Tensor(x, requires_grad=True)
    y = F.conv2d(leaf, mv.Tensor(w), **geometry)
    dy = rng.normal(size=y.shape)
    y.backward(dy)
    np.testing.assert_allclose(y.data.ravel(), A @ x.ravel(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(leaf.grad.ravel(), A.T @ dy.ravel(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2, 2), (1, 3, 2, 1)])
def test_batch_norm_statistics(shape):
    """Running statistics move by momentum towards mean and unbiased variance, in place."""
    rng = np.random.default_rng(0)
    x, mean, var = rng.normal(2, 3, shape), rng.normal(size=3), rng.uniform(1, 2, 3)
    batch_mean, batch_var = oracles.channel_statistics(x)
    count = x.size / 3
    expected_mean = 0.9 * mean + 0.1 * batch_mean
    expected_var = 0.9 * var + 0.1 * batch_var * count / (count - 1)
    w, b = mv.Tensor(np.ones(3)), mv.Tensor(np.zeros(3))
    F.batch_norm(mv.Tensor(x), mean, var, w, b, training=True)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-12)
    np.testing.assert_allclose(var, expected_var, rtol=1e-12)
    F.batch_norm(mv.Tensor(x), mean, var, w, b, training=False)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-12)


@given(seeds)
def test_kl_is_never_negative(seed):
    """The KL is >= 0 and accurate in float32 near l = 0, where exp(l) - l - 1 would cancel."""
    rng = np.random.default_rng(seed)
    logvar = (rng.normal(size=(64, 1)) * 10.0 ** rng.integers(-6, 1, (64, 1))).astype(np.float32)
    _, kl = F.reparameterize_kl(
        mv.Tensor(np.zeros_like(logvar)), mv.Tensor(logvar), np.zeros_like(logvar)
    )
    logvar = logvar[:, 0].astype(np.float64)
    terms = np.expm1(logvar), logvar
    error = np.abs(kl.data - (terms[0] - terms[1]) / 2)
    assert (kl.data >= 0).all()
    assert (error <= 2 * np.finfo(np.float32).eps * np.abs(terms).max(axis=0)).all()


BAD_CALLS = [
    (lambda x: F.matmul(x, x[0]), ValueError, "(3, 4) and (4,)"),
    (lambda x: F.matmul(x, x), ValueError, "(3, 4) and (3, 4)"),
    (lambda x: F.linear(x, x.T), ValueError, "x (3, 4) and w (4, 3)"),
    (lambda x: F.linear(x, x, x[0]), ValueError, "expected b (3,), got (4,)"),
    (lambda x: F.linear(x, x, activation="tanh"), ValueError, "None or 'relu', got 'tanh'"),
    (lambda x: F.negative_elbo(x[:0], x), ValueError, "got shapes (0, 4) and (3, 4)"),
    (lambda x: F.negative_elbo(x, x, x[0]), ValueError, "beta: expected one number, got shape"),
    (lambda x: F.pow(x, "2"), TypeError, "expected dtype float64, got <U1"),
    (lambda x: F.mse(x, x[0]), ValueError, "(3, 4), got (4,)"),
    (lambda x: F.bce_with_logits(x, x, "avg"), ValueError, "'avg'"),
    (lambda x: F.gaussian_nll(x, x, x, "avg"), ValueError, "'avg'"),
    (lambda x: F.concatenate([]), ValueError, "at least one"),
    (lambda x: F.sum(x, axis=2), ValueError, "axis of shape (3, 4), got 2"),
    (lambda x: F.mean(x[:0]), ValueError, "at least one element"),
    (lambda x: F.mse(x[:0], x[:0], "mean"), ValueError, "at least one element"),
    (lambda x: F.bce_with_logits(x[:0], x[:0], "mean"), ValueError, "at least one element"),
    (lambda x: F.reparameterize_kl(x, x, x.data[:2]), ValueError, "noise: expected shape (3, 4)"),
    (lambda x: F.reparameterize_kl(x, x, x.data.astype("f4")), TypeError, "noise: expected dtype"),
    (lambda x: F.reparameterize_kl(x, x, 3), TypeError, "noise: expected a Noise or an array"),
    (lambda x: F.reparameterize_kl(x, x[0], x.data), ValueError, "(4,)"),
    (lambda x: F.conv2d(x, x), ValueError, "4 axes"),
    (lambda x: x + x.data.astype("f4"), TypeError, "float32"),
    (lambda x: x + "1", TypeError, "expected dtype float64, got <U1"),
    (lambda x: F.mse(x, 1.0), ValueError, "(3, 4), got ()"),
    (lambda x: F.concatenate(x[0]), ValueError, "zero-dimensional"),
    (lambda x: x.sum(0, 1), TypeError, "several axes go into one tuple"),
    (lambda x: F.leaky_relu(x, mv.nn.Parameter(0.1)), TypeError, "requires a gradient"),
]


@pytest.mark.parametrize(("call", "error", "says"), BAD_CALLS)
def test_bad_arguments_are_named(call, error, says):
    """Wrong arguments raise what the docstring says, with the offending values."""
    with pytest.raises(error) as caught:
        call(mv.Tensor(np.ones((3, 4))))
    assert says in str(caught.value)


CONV_ERRORS = [
    (F.conv2d, (1, 2, 5, 5), (3, 4, 3, 3), None, {}, "5, 5) with 2"),
    (F.conv2d, (1, 2, 5, 5), (3, 2, 3, 3), (2,), {}, "expected b (3,), got (2,)"),
    (F.conv2d, (1, 2, 5, 2), (3, 2, 3, 3), None, {}, "width 2"),
    (F.conv2d, (1, 2, 5, 5), (3, 2, 3, 3), None, {"dilation": 3}, "reach 7"),
    (F.conv2d, (1, 2, 5, 5), (3, 2, 3, 3), None, {"stride": 0}, "stride"),
    (F.conv2d, (1, 2, 5, 5), (3, 2, 3, 3), None, {"padding": (1, 2, 3)}, "padding"),
    (F.conv2d, (1, 2, 5, 5), (3, 2, 3, 3), None, {"stride": 1.5}, "stride"),
    (F.conv2d, (1, 2, 5, 5), (3, 2, 3, 3), None, {"padding": 2**62}, "padding"),
    (F.conv_transpose2d, (1, 2, 5, 5), (3, 2, 3, 3), None, {}, "5, 5) with 2"),
    (F.conv_transpose2d, (1, 2, 5, 5), (2, 3, 3, 3), (2,), {}, "expected b (3,), got (2,)"),
    (F.conv_transpose2d, (1, 2, 5, 5), (2, 3, 3, 3), None, {"output_padding": 1}, "output_padding"),
    (F.conv_transpose2d, (1, 2, 1, 5), (2, 3, 1, 1), None, {"padding": 1}, "height 1 gives -1"),
]


@pytest.mark.parametrize(("f", "x", "w", "b", "geometry", "says"), CONV_ERRORS)
def test_convolution_errors_give_the_arithmetic(f, x, w, b, geometry, says):
    """Sizes that do not fit are refused with the numbers that show why."""
    x, w = mv.Tensor(np.ones(x)), mv.Tensor(np.ones(w))
    with pytest.raises(ValueError) as caught:
        f(x, w, None if b is None else mv.Tensor(np.ones(b)), **geometry)
    assert says in str(caught.value)


def test_lists_and_numpy_integers_are_welcome():
    """Functions take nested lists as arrays, and NumPy integers as ints."""
    x, w, b = [[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]], [7.0, 8.0]
    assert F.linear(x, w, b).data.tolist() == [[18, 25]]
    assert F.conv2d([[x]], [[[[2.0]]]], stride=np.int64(1)).data.tolist() == [[[[2, 4]]]]
    assert F.conv_transpose2d([[x]], [[[[2.0]]]]).data.tolist() == [[[[2, 4]]]]
    assert F.flatten([[x]]).shape == (2,)
    assert F.mse(x, x).item() == F.squared_error_with_logits([0.0], [0.5]).item() == 0
    assert F.bce_with_logits([0.0], [1.0]).item() == pytest.approx(np.log(2))
    assert F.reparameterize_kl(x, [[0.0, 0.0]], np.zeros((1, 2)))[1].item() == 2.5
    y = F.batch_norm(x, np.zeros(2), np.ones(2), b, b, training=False, eps=0)
    assert y.data.tolist() == [[14, 24]]

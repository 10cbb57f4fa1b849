"""``mv.gradcheck`` itself: right gradients pass, wrong ones fail with a message that names them."""

import numpy as np
import pytest
from hypothesis import given

import minivae as mv
from minivae import functional as F
from minivae.tensor import Function
from strategies import LAYOUTS, any_shape, seeds


def custom(forward, backward, name="Custom"):
    """A function of tensors from forward(*arrays) and backward(arrays, *dys)."""

    def run_forward(self, *arrays):
        self.save(*arrays)
        return forward(*arrays)

    def run_backward(self, *dys):
        return backward(self.saved, *dys)

    return type(name, (Function,), {"forward": run_forward, "backward": run_backward}).apply


def message(fn, inputs, **options):
    """The text of the error that gradcheck raises."""
    with pytest.raises(mv.GradientError) as error:
        mv.gradcheck(fn, inputs, **options)
    return str(error.value)


square = custom(lambda x: x * x, lambda saved, dy: 2 * dy * saved[0])
SMALL, LARGE = (3, 2), (60, 50)  # with and without the full Jacobian


# --- What passes ------------------------------------------------------------------------------


@given(shape=any_shape(), seed=seeds)
def test_right_gradients_pass(shape, seed):
    """Smooth, linear and mixed functions of several inputs and outputs pass, empty ones too."""
    rng = np.random.default_rng(seed)
    a, b = np.asarray(rng.normal(size=shape)), np.asarray(rng.normal(size=shape))
    assert mv.gradcheck(square, a) is True
    assert mv.gradcheck(lambda x, y: (x * F.exp(y), F.sum(y), x - y), [a, b]) is True


def test_tensors_and_arrays_alike():
    """A lone input needs no list; a tensor counts as its array and keeps its gradient."""
    x = mv.Tensor(np.ones(3), requires_grad=True)
    assert mv.gradcheck(square, x)
    assert mv.gradcheck(F.mul, (x, np.ones(3)))
    assert x.grad is None


def test_other_arguments_are_handed_on():
    """Integers, noise and None reach fn as they are and are not differentiated."""
    seen = []

    def f(x, index, noise, nothing):
        seen.append((type(index), noise, nothing))
        return x[index]

    assert mv.gradcheck(f, [np.ones(3), np.array([0, 2]), mv.Noise(1, 2), None])
    assert set(seen) == {(np.ndarray, mv.Noise(1, 2), None)}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_views_and_read_only_arrays(layout):
    """Arrays of every memory layout are checked and are not written to."""
    a = np.random.default_rng(0).normal(size=(3, 4))
    view = LAYOUTS[layout](a)
    assert mv.gradcheck(square, [view])
    np.testing.assert_array_equal(view, a)


@pytest.mark.parametrize("shape", [SMALL, LARGE])
def test_linear_functions_are_checked_to_rounding(shape):
    """Step 1 leaves no truncation error, so a relative tolerance of 1e-12 is met."""
    x = np.random.default_rng(0).normal(size=shape)
    tight = {"atol": 0, "rtol": 1e-12}
    assert mv.gradcheck(lambda t: F.sum(t * 3.7, axis=0), [x], **tight)
    assert "analytic" in message(lambda t: F.sum(F.exp(t), axis=0), [x], **tight)


def test_periodic_function_is_not_taken_for_linear():
    """A wave of period 1 or 1/2 takes the same value at x, x + 1 and x - 1."""
    for k in (2 * np.pi, 4 * np.pi):
        wave = custom(
            lambda x, k=k: np.sin(k * x), lambda saved, dy, k=k: dy * k * np.cos(k * saved[0])
        )
        assert mv.gradcheck(wave, [np.linspace(0.1, 0.9, 5)])


def test_large_and_small_numbers():
    """Inputs of very different sizes pass, because the step grows with |x|."""
    assert mv.gradcheck(square, [np.array([1e-9, 1.0, 1e6])])
    assert mv.gradcheck(F.log, [np.array([1e3, 1e5, 1e7])])


def test_constant_and_unused_inputs():
    """An input without a gradient passes if the output does not depend on it."""
    assert mv.gradcheck(lambda x, y: x * 2, [np.ones(3), np.ones(2)])
    assert mv.gradcheck(lambda x: mv.Tensor(np.ones(2)), [np.ones(3)])


def test_slope_next_to_a_kink():
    """A point passes if the nearest kink is further away than the step."""
    assert mv.gradcheck(F.relu, [np.array([-1e-4, 1e-4, 0.5, -0.5])])


# --- What fails -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [SMALL, LARGE])
@pytest.mark.parametrize("factor", [1.001, -1, 0, np.nan, np.inf])
def test_one_wrong_element_is_named(shape, factor):
    """One wrong element of a gradient fails; the message has input, index and both values."""
    rng = np.random.default_rng(0)
    a, b = rng.uniform(1, 2, shape), rng.uniform(1, 2, shape)
    at = (1, 1)

    def backward(saved, dy):
        db = dy * saved[0]
        db[at] *= factor
        return dy * saved[1], db

    said = message(custom(lambda a, b: a * b, backward), [a, b])
    assert f"input 1, index {at}" in said
    assert "analytic" in said and "numeric" in said
    if shape == SMALL and np.isfinite(factor):
        assert f"numeric {a[at]:.6f}"[:-1] in said


@pytest.mark.parametrize("shape", [SMALL, LARGE])
def test_gradient_that_never_came(shape):
    """An input cut off by detach, although the output depends on it, has no gradient: an error."""
    said = message(lambda x, y: x * y.detach(), [np.ones(shape), np.ones(shape)])
    assert "input 1" in said and "no gradient" in said


def test_backward_that_is_right_for_a_cotangent_of_ones_only():
    """Forgetting, squaring or transposing the cotangent does not show under ones."""
    x = np.random.default_rng(0).normal(size=(3, 3))
    for backward in (
        lambda saved, dy: 2 * saved[0],
        lambda saved, dy: 2 * dy * dy * saved[0],
        lambda saved, dy: 2 * dy.T * saved[0],
    ):
        assert "input 0" in message(custom(lambda x: x * x, backward), [x])


def test_swapped_inputs_and_outputs():
    """Exchanged gradients of two inputs fail, and so do exchanged cotangents of two outputs."""
    a, b = np.random.default_rng(0).normal(size=(2, 3))
    swapped = custom(lambda a, b: a * b, lambda saved, dy: (dy * saved[0], dy * saved[1]))
    assert "input 0" in message(swapped, [a, b])
    two = custom(lambda x: (2 * x, 3 * x), lambda saved, dy1, dy2: 2 * dy2 + 3 * dy1)
    assert "input 0" in message(two, [a])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_output_that_is_not_finite(bad):
    """NaN and infinity in an output fail, although NaN > tolerance is false."""
    broken = custom(lambda x: x * bad, lambda saved, dy: dy * bad)
    assert f"output 0, index (0,) is {bad} at these inputs" in message(broken, [np.ones(2)])


def test_edge_of_the_domain():
    """sqrt at 0, which has no two-sided derivative, is reported as an edge of the domain."""
    said = message(F.sqrt, [np.array([1.0, 0.0])])
    assert "input 0, index (1,)" in said and "edge" in said


absolute = custom(abs, lambda saved, dy: dy * np.sign(saved[0]))


@pytest.mark.parametrize("shape", [SMALL, LARGE])
@pytest.mark.parametrize("offset", [0.0, 3e-6, -3e-6])
def test_kink_is_named_and_not_passed(shape, offset):
    """At 0 the central difference of |x| and sign(x) are both 0; only one-sided slopes differ."""
    x = np.random.default_rng(0).uniform(1, 2, shape)
    x[1, 1] = offset
    said = message(absolute, [x])
    assert "input 0, index (1, 1)" in said and "kink" in said


def test_jump_is_named():
    """A step function has derivative 0 everywhere except at its jump, where gradcheck fails."""
    step = custom(lambda x: (x > 0.5).astype(float), lambda saved, dy: 0 * dy)
    assert mv.gradcheck(step, [np.array([0.2, 0.8])])
    assert "index (1,)" in message(step, [np.array([0.2, 0.5])])


def test_noise_drawn_inside():
    """Noise drawn inside fn is reported as such, in forward and in backward alone."""
    stream = mv.NoiseStream(0)

    def noisy(x):
        return x + stream.draw().normal(x.shape, np.float64)

    assert "not deterministic" in message(noisy, [np.ones(3)])
    rng = np.random.default_rng(0)
    shaky = custom(lambda x: x * 2, lambda saved, dy: dy * (2 + 1e-15 * rng.integers(1, 9)))
    assert "second backward" in message(shaky, [np.ones(3)])


def test_state_that_changes_later():
    """A function that changes after several calls fails: each recorded call is compared with the
    first."""
    recorded = []

    def drifting(x):
        y = x * 2
        recorded.extend([None] * y.requires_grad)
        return y + (1e-12 if len(recorded) > 4 else 0)

    assert "not deterministic" in message(drifting, [np.ones(1)])


def test_input_changed_in_place():
    """A function that writes to its input fails."""

    def writes(x):
        x.data[0] += 1
        return x * 2

    assert "input 0 was changed" in message(writes, [np.ones(3)])


def test_only_double_precision():
    """Inputs and outputs in float32 are refused: finite differences of them are too inaccurate."""
    with pytest.raises(TypeError, match="input 1: expected float64, got float32"):
        mv.gradcheck(F.mul, [np.ones(3), np.ones(3, np.float32)])
    with pytest.raises(TypeError, match="output 0"):
        mv.gradcheck(lambda x: F.exp(x.data.astype(np.float32)), [np.ones(3)])
    with pytest.raises(TypeError, match=r"output 0.*ndarray"):
        mv.gradcheck(lambda x: x.data, [np.ones(3)])


def test_wrong_arguments():
    """Without a float input, without a direction, or with an invalid step gradcheck refuses."""
    with pytest.raises(ValueError, match="inputs"):
        mv.gradcheck(square, [np.arange(3)])
    with pytest.raises(ValueError, match="directions"):
        mv.gradcheck(square, [np.ones(3)], directions=0)
    for step in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="step"):
            mv.gradcheck(square, [np.ones(3)], step=step)


def test_step_can_be_given():
    """Where curvature spoils the default step, the message advises a smaller one, which passes."""
    x = np.array([1e-3])
    assert "smaller step" in message(F.log, [x])
    assert mv.gradcheck(F.log, [x], step=1e-7)

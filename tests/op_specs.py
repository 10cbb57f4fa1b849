"""Table of every differentiable operation and its oracle; tests/engine runs over its rows.

To add an op: its class, function and name in a file of minivae/ops, a row here with an oracle, and
a row in docs/ops.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
from hypothesis import strategies as st

import minivae as mv
import oracles
from minivae import functional as F
from minivae.backend import array_module
from minivae.ops import (
    activation,
    arithmetic,
    batch_norm,
    conv,
    linear,
    loss,
    reductions,
    reparam_kl,
    shapes,
)
from op_shapes import (
    INDEX_KEYS,
    REDUCTIONS,
    batch_norm_shapes,
    concatenate_shapes,
    conv_shapes,
    conv_transpose_shapes,
    flatten_shapes,
    gaussian_shapes,
    linear_heads_shapes,
    linear_shapes,
    log_mean_exp_shapes,
    matmul_shapes,
    paired_shapes,
    reshape_shapes,
    transpose_shapes,
)
from strategies import (
    AWAY_FROM_ZERO,
    DISTINCT,
    POSITIVE,
    PROBABILITY,
    REAL,
    Domain,
    any_shape,
    broadcastable,
    seeds,
)


@dataclass(frozen=True)
class Spec:
    """One operation, or one way to call it.

    ``shapes`` draws (shape of each input, keyword arguments); ``example`` is one such pair, with
    square matrices where possible; ``empty`` lists such pairs with zero elements. A shape of None
    makes the input None. ``extra(rng, *shapes)`` makes array arguments without a gradient.
    """

    fn: Callable
    oracle: Callable
    op: type  # the Function class, in which test_planted plants errors
    shapes: st.SearchStrategy
    example: tuple
    empty: tuple
    domains: tuple[Domain, ...] = (REAL,)  # of each input; the last one serves the rest
    linear: bool = False  # in each input by itself: finite differences are exact
    kinks: tuple = ()  # (inputs, keyword arguments, position of an input, index) at a kink
    even: bool = False  # gradients have equal elements, so exchanging them is no error
    broadcasts: bool = False
    half: bool = True  # works in float16
    extra: Callable = lambda rng, *shapes: {}

    def build(self, shapes, params, rng):
        """Random float64 inputs in the domain, and the keyword arguments."""
        domains = self.domains + self.domains[-1:] * len(shapes)
        inputs = [
            None if shape is None else domain.draw(rng, shape)
            for shape, domain in zip(shapes, domains, strict=False)
        ]
        return SimpleNamespace(inputs=inputs, params={**params, **self.extra(rng, *shapes)})

    def cases(self):
        """A strategy of what ``build`` gives, over random shapes and values."""
        return st.builds(
            lambda pair, seed: self.build(*pair, np.random.default_rng(seed)), self.shapes, seeds
        )


def unary(f, oracle, op, domain=REAL, **more):
    """A function of one array, element by element."""
    return Spec(
        fn=f,
        oracle=oracle,
        op=op,
        shapes=any_shape().map(lambda shape: ((shape,), {})),
        example=(((3, 3),), {}),
        empty=((((0, 3),), {}), (((2, 0),), {})),
        domains=(domain,),
        **more,
    )


def binary(f, oracle, op, *domains, **more):
    """A function of two arrays that broadcast."""
    return Spec(
        fn=f,
        oracle=oracle,
        op=op,
        shapes=broadcastable(2).map(lambda shapes: (shapes, {})),
        example=(((3, 3), (3, 3)), {}),
        empty=((((0, 3), (3,)), {}), (((2, 1), (2, 0)), {})),
        domains=domains or (REAL,),
        broadcasts=True,
        **more,
    )


def reduction(f, oracle, op, least, empty, **more):
    """A function that reduces over axes."""

    @st.composite
    def shapes(draw):
        shape = draw(any_shape(least=least))
        axes = list(range(-len(shape), len(shape)))
        some = st.sets(st.sampled_from(range(len(shape))), max_size=3).map(tuple) if axes else None
        axis = draw(st.one_of(st.none(), *((st.sampled_from(axes), some) if axes else ())))
        return (shape,), {"axis": axis, "keepdims": draw(st.booleans())}

    return Spec(
        fn=f,
        oracle=oracle,
        op=op,
        shapes=shapes(),
        example=(((3, 3),), {"axis": 1, "keepdims": False}),
        empty=empty,
        **more,
    )


def running_statistics(rng, x, *_):
    """The mean and variance that batch norm uses in evaluation mode."""
    return {"mean": rng.uniform(-1, 1, x[1]), "var": rng.uniform(0.5, 2, x[1])}


def batch_norm_eval(x, w, b, mean, var):
    """F.batch_norm in evaluation mode."""
    mean, var = mean.astype(x.dtype), var.astype(x.dtype)
    return F.batch_norm(x, mean, var, w, b, training=False)


def batch_norm_train(x, w, b):
    """F.batch_norm in training mode, with running statistics of its own."""
    xp = array_module(x.data)
    mean, var = xp.zeros(x.shape[1], x.dtype), xp.ones(x.shape[1], x.dtype)
    return F.batch_norm(x, mean, var, w, b, training=True)


def reparameterize_kl(mu, logvar, noise):
    """F.reparameterize_kl with noise of the same dtype as mu."""
    noise = noise if isinstance(noise, mv.Noise) else noise.astype(mu.dtype)
    return F.reparameterize_kl(mu, logvar, noise)


def latent(noise, oracle, half):
    """reparameterize_kl with one kind of noise: an array, or a ``Noise`` drawn by the kernel."""
    return Spec(
        fn=reparameterize_kl,
        oracle=oracle,
        op=reparam_kl.ReparameterizeKL,
        shapes=any_shape(least_ndim=1).map(lambda shape: ((shape, shape), {})),
        example=(((3, 3), (3, 3)), {}),
        empty=((((0, 3), (0, 3)), {}), (((2, 0), (2, 0)), {})),
        half=half,
        extra=lambda rng, shape, _: {"noise": noise(rng, shape)},
    )


def concatenate(*xs, axis):
    """F.concatenate with one argument for each tensor."""
    return F.concatenate(xs, axis=axis)


def rectified(spec, op, ndim):
    """A layer fused with its ReLU; x and w have ``ndim`` axes."""
    relu = {"activation": "relu"}
    x, w, b = np.full((1,) * ndim, 1.0), np.full((1,) * ndim, 2.0), np.array([-2.0])
    return replace(
        spec,
        oracle=lambda *inputs, activation, **params: np.maximum(spec.oracle(*inputs, **params), 0),
        op=op,
        shapes=spec.shapes.map(lambda pair: (pair[0], pair[1] | relu)),
        example=(spec.example[0], spec.example[1] | relu),
        empty=tuple((shapes, params | relu) for shapes, params in spec.empty),
        linear=False,
        kinks=(([x, w, b], relu, 0, (0,) * ndim),),
    )


def paired_loss(f, oracle, op, *domains):
    """A loss of two arrays of equal shape."""
    shape = (3, 3)
    empty = [((0, 3), r) for r in REDUCTIONS[:3]] + [((2, 0), r) for r in REDUCTIONS[:3]]
    return Spec(
        fn=f,
        oracle=oracle,
        op=op,
        shapes=paired_shapes(),
        example=((shape, shape), {"reduction": "rows"}),
        empty=tuple(((s, s), {"reduction": r}) for s, r in empty),
        domains=domains,
    )


CONV = {"stride": (2, 1), "padding": 1, "dilation": 1}

SPECS = {
    "add": binary(F.add, oracles.add, arithmetic.Add, linear=True),
    "sub": binary(F.sub, oracles.sub, arithmetic.Sub, linear=True),
    "mul": binary(F.mul, oracles.mul, arithmetic.Mul, linear=True),
    "div": binary(F.div, oracles.div, arithmetic.Div, REAL, AWAY_FROM_ZERO),
    "neg": unary(F.neg, oracles.neg, arithmetic.Neg, linear=True),
    "exp": unary(F.exp, oracles.exp, arithmetic.Exp),
    "expm1": unary(F.expm1, oracles.expm1, arithmetic.Expm1),
    "log": unary(F.log, oracles.log, arithmetic.Log, POSITIVE),
    "sqrt": unary(F.sqrt, oracles.sqrt, arithmetic.Sqrt, POSITIVE),
    "relu": unary(
        F.relu,
        oracles.relu,
        activation.ReLU,
        AWAY_FROM_ZERO,
        kinks=(([np.array([[-1.0, 2.0], [0.0, 3.0]])], {}, 0, (1, 0)),),
    ),
    "leaky_relu": unary(
        F.leaky_relu,
        oracles.leaky_relu,
        activation.LeakyReLU,
        AWAY_FROM_ZERO,
        kinks=(([np.array([1.0, 0.0])], {"negative_slope": 0.2}, 0, (1,)),),
    ),
    "sigmoid": unary(F.sigmoid, oracles.sigmoid, activation.Sigmoid),
    "tanh": unary(F.tanh, oracles.tanh, activation.Tanh),
    "softplus": unary(F.softplus, oracles.softplus, activation.Softplus),
    "pow": Spec(
        fn=F.pow,
        oracle=oracles.pow,
        op=arithmetic.Pow,
        shapes=st.builds(
            lambda shape, p: ((shape,), {"exponent": p}),
            any_shape(),
            st.sampled_from([-2, -0.5, 0, 1, 2, 3, 2.5]),
        ),
        example=(((3, 3),), {"exponent": 3}),
        empty=((((0, 3),), {"exponent": 2}),),
        domains=(POSITIVE,),
    ),
    "pow of tensors": binary(F.pow, oracles.pow, arithmetic.Power, POSITIVE, REAL),
    "abs": unary(
        F.abs,
        oracles.abs,
        arithmetic.Abs,
        AWAY_FROM_ZERO,
        kinks=(([np.array([[-1.0, 2.0], [0.0, 3.0]])], {}, 0, (1, 0)),),
    ),
    "matmul": Spec(
        fn=F.matmul,
        oracle=oracles.matmul,
        op=linear.MatMul,
        shapes=matmul_shapes(),
        example=(((3, 3), (3, 3)), {}),
        empty=((((0, 3), (3, 2)), {}), (((2, 0), (0, 2)), {}), (((0, 2, 3), (3, 2)), {})),
        linear=True,
    ),
    "sum": reduction(
        F.sum,
        oracles.sum,
        reductions.Sum,
        0,
        ((((0, 3),), {"axis": 0}), (((0, 3),), {"axis": 1}), (((0, 3),), {})),
        linear=True,
    ),
    "mean": reduction(
        F.mean, oracles.mean, reductions.Mean, 1, ((((0, 3),), {"axis": 1}),), linear=True
    ),
    "max": reduction(
        F.max,
        oracles.max,
        reductions.Max,
        1,
        ((((0, 3),), {"axis": 1}),),
        domains=(DISTINCT,),
        kinks=(([np.array([[1.0, 5.0, 5.0], [2.0, 1.0, 0.0]])], {"axis": 1}, 0, (0, 1)),),
    ),
    "log_mean_exp": Spec(
        fn=F.log_mean_exp,
        oracle=oracles.log_mean_exp,
        op=reductions.LogMeanExp,
        shapes=log_mean_exp_shapes(),
        example=(((3, 3),), {"axis": 1}),
        empty=((((0, 3),), {"axis": 1}),),
    ),
    "reshape": Spec(
        fn=lambda x, shape: F.reshape(x, shape),
        oracle=oracles.reshape,
        op=shapes.Reshape,
        shapes=reshape_shapes(),
        example=(((3, 3),), {"shape": (9,)}),
        empty=((((0, 3),), {"shape": (3, 0)}),),
        linear=True,
    ),
    "flatten": Spec(
        fn=F.flatten,
        oracle=oracles.flatten,
        op=shapes.Reshape,
        shapes=flatten_shapes(),
        example=(((3, 3, 3),), {"start_dim": 1}),
        empty=((((0, 3, 2),), {"start_dim": 1}), (((0, 3, 2),), {"end_dim": 1})),
        linear=True,
    ),
    "transpose": Spec(
        fn=F.transpose,
        oracle=oracles.transpose,
        op=shapes.Transpose,
        shapes=transpose_shapes(),
        example=(((2, 3, 3),), {"axes": (2, 0, 1)}),
        empty=((((0, 3),), {}),),
        linear=True,
    ),
    "index": Spec(
        fn=F.index,
        oracle=oracles.index,
        op=shapes.Index,
        shapes=st.sampled_from(INDEX_KEYS).map(lambda key: (((3, 3),), {"key": key})),
        example=(((3, 3),), {"key": [2, 0, 2]}),
        empty=((((3, 0),), {"key": [0, 1]}), (((3, 3),), {"key": slice(0, 0)})),
        linear=True,
    ),
    "concatenate": Spec(
        fn=concatenate,
        oracle=oracles.concatenate,
        op=shapes.Concatenate,
        shapes=concatenate_shapes(),
        example=(((3, 3), (3, 3)), {"axis": 1}),
        empty=((((0, 3), (0, 3)), {"axis": 0}),),
        linear=True,
    ),
    "linear": Spec(
        fn=F.linear,
        oracle=oracles.linear,
        op=linear.Linear,
        shapes=linear_shapes(),
        example=(((3, 3), (3, 3), (3,)), {}),
        empty=((((0, 3), (2, 3), (2,)), {}), (((2, 0), (2, 0), None), {})),
        linear=True,
    ),
    "linear_heads": Spec(
        fn=F.linear_heads,
        oracle=oracles.linear_heads,
        op=linear.LinearHeads,
        shapes=linear_heads_shapes(),
        example=(((3, 4), (2, 4), (2,), (3, 4), (3,)), {}),
        empty=(
            (((0, 3), (2, 3), (2,), (2, 3), None), {}),
            (((2, 0), (2, 0), None, (0, 0), None), {}),
        ),
        linear=True,
    ),
    "bce_with_logits": paired_loss(
        F.bce_with_logits, oracles.bce_with_logits, loss.BCEWithLogits, REAL, PROBABILITY
    ),
    "squared_error_with_logits": paired_loss(
        F.squared_error_with_logits,
        oracles.squared_error_with_logits,
        loss.SquaredErrorWithLogits,
        REAL,
        PROBABILITY,
    ),
    "mse": paired_loss(F.mse, oracles.mse, loss.MSE, REAL),
    "negative_elbo": Spec(
        fn=F.negative_elbo,
        oracle=oracles.negative_elbo,
        op=loss.NegativeELBO,
        shapes=st.tuples(any_shape(least=1), any_shape(least=1), st.just(())).map(
            lambda shapes: (shapes, {})
        ),
        example=(((3,), (4,), ()), {}),
        empty=(),  # means need values
        linear=True,
        even=True,
    ),
    "gaussian_nll": Spec(
        fn=F.gaussian_nll,
        oracle=lambda x, mean, logvar, reduction: oracles.gaussian_nll(
            *np.broadcast_arrays(x, mean, logvar), reduction
        ),
        op=loss.GaussianNLL,
        shapes=gaussian_shapes(),
        example=(((3, 3), (3, 3), (3, 3)), {"reduction": "none"}),
        empty=((((0, 3), (3,), ()), {"reduction": "sum"}),),
        broadcasts=True,
    ),
    "reparameterize_kl": latent(
        lambda rng, shape: np.asarray(rng.normal(size=shape)), oracles.reparameterize_kl, half=True
    ),
    "reparameterize_kl with noise made inside": latent(
        lambda rng, shape: mv.Noise(7, int(rng.integers(2**40))),
        lambda mu, logvar, noise: oracles.reparameterize_kl(
            mu, logvar, oracles.normal(noise.seed, noise.offset, mu.shape)
        ),
        half=False,
    ),
    "conv2d": Spec(
        fn=F.conv2d,
        oracle=oracles.conv2d,
        op=conv.Conv2d,
        shapes=conv_shapes(),
        example=(((2, 3, 4, 4), (3, 3, 3, 3), (3,)), CONV),
        empty=((((0, 2, 4, 4), (3, 2, 3, 3), (3,)), CONV),),
        linear=True,
    ),
    "conv_transpose2d": Spec(
        fn=F.conv_transpose2d,
        oracle=oracles.conv_transpose2d,
        op=conv.ConvTranspose2d,
        shapes=conv_transpose_shapes(),
        example=(((2, 3, 3, 3), (3, 3, 3, 3), (3,)), {**CONV, "output_padding": (1, 0)}),
        empty=((((0, 2, 4, 4), (2, 3, 3, 3), (3,)), CONV),),
        linear=True,
    ),
    "batch_norm": Spec(
        fn=batch_norm_train,
        oracle=lambda x, w, b: oracles.batch_norm(x, w, b, *oracles.channel_statistics(x)),
        op=batch_norm.BatchNorm,
        shapes=batch_norm_shapes(),
        example=(((4, 3, 2, 2), (3,), (3,)), {}),
        empty=(),  # training needs values to average
        half=False,
    ),
    "batch_norm in evaluation": Spec(
        fn=batch_norm_eval,
        oracle=oracles.batch_norm,
        op=batch_norm.BatchNorm,
        shapes=batch_norm_shapes(),
        example=(((3, 3), (3,), (3,)), {}),
        empty=((((0, 3), (3,), (3,)), {}), (((0, 3, 2, 2), (3,), (3,)), {})),
        extra=running_statistics,
        half=False,
    ),
}
SPECS |= {
    f"{name} with relu": rectified(SPECS[name], op, ndim)
    for name, op, ndim in (
        ("linear", linear.LinearReLU, 2),
        ("conv2d", conv.Conv2dReLU, 4),
        ("conv_transpose2d", conv.ConvTranspose2dReLU, 4),
    )
}

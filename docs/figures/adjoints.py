"""Convolution as a matrix and its transpose; adjoint test, overlap counts and multiplications."""

import numpy as np
from common import below
from matplotlib.patches import Rectangle

import minivae as mv
from minivae import functional as F
from minivae import models
from minivae.ops.conv import conv_output_size, conv_transpose_output_size, output_padding_for

GEOMETRY = {"stride": 2, "padding": 1}


def adjoint_gap():
    """|<conv x, y> - <x, conv^T y>| relative to |<conv x, y>|, for random x, w, y in float64."""
    draw = mv.NoiseStream(seed=0)
    x = draw.draw().normal((2, 3, 14, 14), np.float64)
    w = draw.draw().normal((4, 3, 3, 3), np.float64)
    y = draw.draw().normal((2, 4, 7, 7), np.float64)
    there = float((F.conv2d(x, w, **GEOMETRY).data * y).sum())
    back = float((x * F.conv_transpose2d(y, w, output_padding=1, **GEOMETRY).data).sum())
    return abs(there - back) / abs(there)


def conv_matrix(n=8):
    """The matrix of a 1-D convolution (kernel 1 2 3, stride 2, padding 1) on n values."""
    images = np.eye(n).reshape(n, 1, 1, n)
    w = np.array([1.0, 2.0, 3.0]).reshape(1, 1, 1, 3)
    return F.conv2d(images, w, stride=(1, 2), padding=(0, 1)).data.reshape(n, -1).T


def overlap(kernel, n=6):
    """How many input pixels reach each output pixel of a stride-2 transposed convolution."""
    ones, w = np.ones((1, 1, n, n)), np.ones((1, 1, kernel, kernel))
    return F.conv_transpose2d(ones, w, stride=2).data[0, 0]


def products(model):
    """Multiplications of one image in the forward pass of MLPVAE, and in the backward pass."""
    weights = [p.size for name, p in model.named_parameters() if name.endswith("weight")]
    forward = sum(weights)
    return forward, 2 * forward - weights[0]  # the image itself needs no gradient


def measure():
    """Numbers of backprop.md and linear-and-convolution.md."""
    model = models.MLPVAE()
    forward, backward = products(model)
    return {
        "gap_below": below(1e-13, adjoint_gap()),
        "size_27": conv_output_size(27, 3, **GEOMETRY),
        "size_28": conv_output_size(28, 3, **GEOMETRY),
        "back_0": conv_transpose_output_size(14, 3, output_padding=0, **GEOMETRY),
        "back_1": conv_transpose_output_size(14, 3, output_padding=1, **GEOMETRY),
        "face_64": conv_output_size(256 // 2, 3, **GEOMETRY),
        "face_31": conv_output_size(64, 3, stride=2, padding=0),
        "face_extra": output_padding_for(31, 64, 3, stride=2, padding=0),
        "overlap_3_least": int(overlap(3)[2:-2, 2:-2].min()),
        "overlap_3_most": int(overlap(3)[2:-2, 2:-2].max()),
        "overlap_4": int(overlap(4)[2:-2, 2:-2].max()),
        "mlp_parameters": sum(p.size for p in model.parameters()),
        "backward_over_forward": backward / forward,
    }


def draw_matrix(figure):
    """The band matrix and its transpose."""
    matrix = conv_matrix()
    figure.suptitle("kernel (1, 2, 3), stride 2, padding 1", fontsize=9)
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    for axes, m, title, x, y in (
        (left, matrix, "conv: y = A x, 8 values to 4", "x", "y"),
        (right, matrix.T, "its transpose: 4 to 8", "dy", "dx"),
    ):
        axes.imshow(m, cmap="Blues", vmin=0, vmax=4)
        for (i, j), value in np.ndenumerate(m):
            if value:
                axes.text(j, i, f"{value:.0f}", ha="center", va="center")
        axes.set(title=title, xticks=range(m.shape[1]), yticks=range(m.shape[0]))
        axes.set(xlabel=f"element of {x}", ylabel=f"element of {y}")
        axes.tick_params(length=0, labelsize=7)
    # The first row's kernel begins at element -1: its first tap falls on the padding.
    left.add_patch(Rectangle((-1.5, -0.5), 1, 4, fill=False, ls=":"))
    left.text(-1, 0, "1", ha="center", va="center", color="0.6")
    left.text(-1, 2, "padding", ha="center", va="center", color="0.4", rotation=90, fontsize=8)
    left.set_xlim(-1.6, 7.5)


FIGURES = {"conv_matrix.svg": (6, 3.2, draw_matrix)}

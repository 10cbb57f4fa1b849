"""Glorot-uniform weights and output biases from pixel means, in place of PyTorch's defaults."""

import math

import numpy as np

from minivae.backend import array_module
from minivae.noise import init_stream


def glorot_uniform(model, seed=0):
    """Draw every weight matrix and kernel anew from U(-b, b), b = sqrt(6 / (fan_in + fan_out)).

    The biases of these layers become 0; batch normalisation stays as it is. Glorot & Bengio 2010,
    "Understanding the difficulty of training deep feedforward neural networks", eq. 16; the default
    of Keras. For a convolution, fan_in + fan_out = (C_in + C_out) KH KW.

    Args:
        model: a ``nn.Module``; its parameters are written in place.
        seed: seed of the noise stream, which gives one draw to each weight in the order of
            ``named_parameters``.

    Returns:
        The model.

    >>> from minivae import nn
    >>> layer = glorot_uniform(nn.Linear(5, 1))
    >>> bool(abs(layer.weight.data).max() <= 1), layer.bias.data
    (True, array([0.], dtype=float32))
    """
    stream = init_stream(seed)
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if weight is None or weight.ndim < 2:
            continue
        fans = (weight.shape[0] + weight.shape[1]) * math.prod(weight.shape[2:])
        u = 2 * stream.draw().uniform(weight.shape, weight.dtype) - 1
        weight.data[...] = array_module(weight.data).asarray(math.sqrt(6 / fans) * u)
        if module.bias is not None:
            module.bias.data[...] = 0
    return model


def logits_of_means(layer, images):
    """Set the biases of an output layer to the logits of each pixel's mean over uint8 images.

    The decoder then starts from the mean image. Means are clipped to [0.001, 0.999], where a logit
    is finite, as in the code of Burda, Grosse & Salakhutdinov 2016 (arXiv:1509.00519).

    Args:
        layer: the output layer, with a ``bias`` (P,).
        images: uint8 (N, ...) of P pixels each.
    """
    mean = np.clip(images.reshape(len(images), -1).mean(axis=0) / 255, 0.001, 0.999)
    layer.bias.data[...] = array_module(layer.bias.data).asarray(np.log(mean / (1 - mean)))

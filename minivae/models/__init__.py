"""The models: autoencoders and variational autoencoders."""

from .autoencoder import AutoEncoder
from .classifier import ImageClassifier
from .conditional_vae import ConditionalVAE
from .conv_vae import ConvVAE
from .deep_vae import DeepVAE
from .face_vae import FaceVAE
from .mlp_vae import MLPVAE
from .two_layer_vae import TwoLayerVAE
from .vae import VAE

CLASSES = (
    AutoEncoder, ConditionalVAE, ConvVAE, DeepVAE, FaceVAE, ImageClassifier, MLPVAE, TwoLayerVAE,
)  # fmt: skip
__all__ = ["VAE", "build", *(cls.__name__ for cls in CLASSES)]


def build(name, **config):
    """The model called ``name`` with the arguments its ``config()`` gave; ValueError if unknown."""
    known = {cls.__name__: cls for cls in CLASSES}
    if name not in known:
        raise ValueError(f"name: expected one of {sorted(known)}, got {name!r}")
    return known[name](**config)

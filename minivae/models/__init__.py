"""The models: autoencoders and variational autoencoders."""

from .autoencoder import AutoEncoder
from .classifier import ImageClassifier
from .conv_vae import ConvVAE
from .face_vae import FaceVAE
from .mlp_vae import MLPVAE
from .vae import VAE

__all__ = ["MLPVAE", "VAE", "AutoEncoder", "ConvVAE", "FaceVAE", "ImageClassifier", "build"]


def build(name, **config):
    """The model called ``name`` with the arguments its ``config()`` gave; ValueError if unknown."""
    known = {cls.__name__: cls for cls in (AutoEncoder, MLPVAE, ConvVAE, FaceVAE, ImageClassifier)}
    if name not in known:
        raise ValueError(f"name: expected one of {sorted(known)}, got {name!r}")
    return known[name](**config)

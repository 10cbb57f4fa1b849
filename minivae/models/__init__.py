"""The models: autoencoders and variational autoencoders."""

from typing import Any

from .autoencoder import AutoEncoder
from .classifier import ImageClassifier
from .conditional_vae import ConditionalVAE
from .conv_vae import ConvVAE
from .deep_vae import DeepVAE
from .face_vae import SOURCE_PADDINGS, FaceVAE
from .mlp_vae import MLPVAE
from .two_layer_vae import TwoLayerVAE
from .vae import VAE

CLASSES = (
    AutoEncoder, ConditionalVAE, ConvVAE, DeepVAE, FaceVAE, ImageClassifier, MLPVAE, TwoLayerVAE,
)  # fmt: skip
__all__ = ["VAE", "build", "completed", *(cls.__name__ for cls in CLASSES)]


# What architectures on record were before these arguments existed.
BEFORE = {"FaceVAE": {"paddings": SOURCE_PADDINGS, "upsampling": "transposed"}}


def build(name: str, **config: Any) -> Any:
    """The model called ``name`` with the arguments its ``config()`` gave; ValueError if unknown."""
    known = {cls.__name__: cls for cls in CLASSES}
    if name not in known:
        raise ValueError(f"name: expected one of {sorted(known)}, got {name!r}")
    return known[name](**BEFORE.get(name, {}) | config)


def completed(architecture: dict[str, Any]) -> dict[str, Any]:
    """A recorded architecture, ``{"name": ..., **config}``, with what older versions left out."""
    return BEFORE.get(architecture.get("name", ""), {}) | architecture

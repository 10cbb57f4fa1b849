"""Models: the autoencoder, the variational autoencoders, and a classifier; ``build`` by name."""

from typing import Any

from ..nn import Module
from .autoencoder import AutoEncoder
from .classifier import ImageClassifier
from .conditional_vae import ConditionalVAE
from .conv_vae import ConvVAE
from .deep_vae import DeepVAE
from .face_vae import SOURCE_PADDINGS, FaceVAE
from .mlp_vae import MLPVAE
from .two_layer_vae import TwoLayerVAE
from .vae import VAE

__all__ = [
    "MLPVAE", "VAE", "AutoEncoder", "ConditionalVAE", "ConvVAE", "DeepVAE", "FaceVAE",
    "ImageClassifier", "TwoLayerVAE", "build", "completed",
]  # fmt: skip
CLASSES: dict[str, type[Module]] = {  # by the name that ``build`` and checkpoints use
    name: globals()[name] for name in __all__ if name not in ("VAE", "build", "completed")
}

# Arguments that were added later, with the values that older checkpoints imply.
BEFORE = {"FaceVAE": {"paddings": SOURCE_PADDINGS, "upsampling": "transposed"}}


def build(name: str, **config: Any) -> Any:
    """The model class ``name`` with the arguments of its ``config()``; ValueError if unknown."""
    if name not in CLASSES:
        raise ValueError(f"name: expected one of {sorted(CLASSES)}, got {name!r}")
    return CLASSES[name](**BEFORE.get(name, {}) | config)


def completed(architecture: dict[str, Any]) -> dict[str, Any]:
    """An architecture ``{"name": ..., **config}`` with the arguments that older versions lacked."""
    return BEFORE.get(architecture.get("name", ""), {}) | architecture

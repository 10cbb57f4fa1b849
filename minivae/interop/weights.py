"""Write and read weights in the layout of model hubs: three files in a folder.

``model.safetensors`` is the ``state_dict``; ``config.json`` is the run's configuration, of which
only ``architecture`` is required; ``README.md`` is the model card.
"""

import json
from pathlib import Path
from typing import Any

import safetensors.numpy

from ..arguments import AnyPath
from ..errors import CheckpointError, DataError
from ..models import VAE

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
LARGEST_CONFIG = 2**20  # bytes
EXAMPLE = {"architecture": {"name": "MLPVAE", "latent_dim": 20}}


def to_files(
    model: VAE,
    config: dict[str, Any],
    results: dict[str, Any] | None = None,
    license: str | None = None,
) -> dict[str, bytes]:
    """The three files by name.

    Args:
        model: the trained model.
        config: its run's configuration, with ``architecture``.
        results: the run's ``summary.json``, for the card.
        license: of the weights, for the card: its SPDX identifier in lower case.
    """
    config = config | {"architecture": {"name": type(model).__name__, **model.config()}}
    return {
        WEIGHTS: safetensors.numpy.save(model.state_dict(), {"format": "pt"}),
        CONFIG: (json.dumps(config, indent=2, sort_keys=True) + "\n").encode(),
        CARD: card(model, config, results or {}, license).encode(),
    }


def read_config(folder: AnyPath) -> dict[str, Any]:
    """The configuration in ``config.json`` of a folder that also has the weights.

    Raises:
        CheckpointError: one of the two files is missing, or the configuration is damaged or names
            no architecture.
    """
    weights, path = Path(folder) / WEIGHTS, Path(folder) / CONFIG
    for needed in (weights, path):
        if not needed.is_file():
            raise CheckpointError(f"{needed}: no such file")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(LARGEST_CONFIG + 1)
        config = json.loads(text) if len(text) <= LARGEST_CONFIG else None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), dict):
        raise CheckpointError(f"{path}: expected an architecture, as in {json.dumps(EXAMPLE)}")
    return config


def read_results(path: Path) -> dict[str, Any]:
    """The contents of the ``summary.json`` at ``path``; empty if there is none.

    Raises:
        DataError: the file is damaged.
    """
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: expected a dict, got {type(found).__name__}")
    return found


def card(
    model: VAE, config: dict[str, Any], results: dict[str, Any], license: str | None = None
) -> str:
    """The model card in Markdown: the model, its training data and how to use it.

    Arguments as ``to_files``.
    """
    limit = config.get("limit")
    name, parameters = type(model).__name__, sum(p.size for p in model.parameters())
    rows = [
        ("model", f"`{name}`, {model.latent_dim} latents, {parameters:,} parameters"),
        *(
            (k.replace("_", " "), results[k])
            for k in ("dataset", "epochs", "batch_size", "seed")
            if k in results
        ),
        *([("images", f"the first {limit} training and {limit} test images")] if limit else []),
        ("likelihood", model.likelihood),
        *(
            (f"{k.replace('_', ' ')}, nats per image", f"{results[k]:.2f}")
            for k in ("test_loss", "test_rec", "test_kl")
            if isinstance(results.get(k), float)
        ),
    ]
    table = "\n".join(f"| {left} | {right} |" for left, right in rows)
    licensed = f"license: {license}\n" if license else ""
    return f"""---
{licensed}library_name: minivae
tags:
- variational-autoencoder
---
# {name}

A variational autoencoder trained with minivae.

| | |
|---|---|
{table}

`logvar` is the log variance; decoders return logits, whose sigmoid is the pixel.
`python -m minivae export . --format checkpoint --out RUN` makes a checkpoint of these files. In
PyTorch, a module of the same architecture and parameter names takes
`safetensors.torch.load_file("{WEIGHTS}")` as its `state_dict`.
"""

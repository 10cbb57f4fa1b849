"""Load a trained model from a checkpoint, with the images that it was trained and tested on."""

from pathlib import Path
from typing import Any, TypeAlias

from .. import models
from ..arguments import AnyPath
from ..data import dataset, reload
from ..errors import CheckpointError, DataError
from ..evaluation import BINARIZE, TrainedModel
from ..models import VAE
from . import checkpoint

Config: TypeAlias = dict[str, Any]  # a run's options, as its checkpoint holds them


def load(
    path: AnyPath, data: Any = None, *, binarize: str | None = None, limit: int | None = None,
    device: str = "cpu", other_data: bool = False,
) -> TrainedModel:  # fmt: skip
    """The ``TrainedModel`` of a checkpoint: the model and the images of its run.

    Args:
        path: the checkpoint.
        data: where the images are, as the option ``--data`` of the training program.
        binarize: "none", "static" or "dynamic"; None: as in training, or "none" if the checkpoint
            does not say.
        limit: use only this many images of each part, training and test; None for all.
        device: "cpu" or "cuda", where the model is moved to.
        other_data: allow other images than the model was trained on.

    Raises:
        CheckpointError: the file is damaged, or holds no VAE.
        DataError: the data cannot be read, do not fit the model, or are not those that it was
            trained on; or ``binarize`` does not fit the model's likelihood.
    """
    model, config = load_model(path)
    if model.likelihood.startswith("gaussian"):
        if binarize not in (None, "none"):
            raise DataError(f"{path}: a density of grey pixels, which {binarize} pixels are not")
        binarize = "none"
    try:
        found = reload(config, data, shapes=model.picture_shapes, other=other_data)
    except DataError as error:
        raise DataError(
            f"{path}: {error}; name its data with --data, or allow others with --other-data"
        ) from error
    own = None
    if "data" in config:
        own = dataset.difference(config, found.record()) is None
        own = own and ("pixels" in config or found.public)
    if model.classes is not None:
        for part in (found.train, found.test):
            (labels,) = part.labels.values()
            if labels.max() >= model.classes:
                raise DataError(f"{path}: takes {model.classes} classes, but {found.name} has more")
    trained = config["binarize"]
    binarize = binarize or trained or "none"
    return TrainedModel(model.to(device), found.limited(limit), binarize, trained, own)


def load_model(path: AnyPath) -> tuple[VAE, Config]:
    """(model, config) of a checkpoint; config always has "seed" and "binarize".

    Raises:
        CheckpointError: the file is damaged, does not name its architecture, or holds no VAE.
    """
    model, config = untrained_model(path, path, checkpoint.load(path).get("config"))
    checkpoint.load(path, model)
    return model, config


def untrained_model(path: AnyPath, weights: AnyPath, config: Any) -> tuple[VAE, Config]:
    """(model with initial weights, completed config) of a run's configuration.

    Args:
        path: the file that the configuration was read from, for messages.
        weights: the file that holds the model's weights; its size bounds the architecture.
        config: the configuration as read, not trusted.

    Raises:
        CheckpointError: ``config`` describes no VAE, or one too large for the file of weights.
    """
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), dict):
        raise CheckpointError(f"{path}: does not say which architecture it holds")
    config = {"seed": 0, "binarize": None, **config}
    seed, binarize = config["seed"], config["binarize"]
    if not (isinstance(seed, int) and seed >= 0 and binarize in (None, *BINARIZE)):
        raise CheckpointError(f"{path}: its configuration is none of a training run")
    _require_plausible(weights, config["architecture"])
    try:
        model = models.build(**config["architecture"])
    except (TypeError, ValueError, MemoryError, OverflowError) as error:
        raise CheckpointError(f"{path}: not an architecture of this version: {error}") from error
    if not isinstance(model, VAE):
        raise CheckpointError(f"{path}: expected a VAE, found {type(model).__name__}")
    return model, config


def _require_plausible(path: AnyPath, architecture: Config) -> None:
    """CheckpointError if an architecture has more weights than the file can hold.

    The model is built before its weights are compared with the file's, so without this check a
    file of a few bytes could make the program allocate gigabytes. The two largest sizes are the
    two sides of one weight, of four bytes per element, and each size has weights of its own, whose
    names and shapes take space in the file too.
    """
    sizes, stack = [1, 1], [*architecture.values()]
    stack.append(architecture.get("image_size"))  # squared
    while stack:
        value = stack.pop()
        if isinstance(value, list):
            stack.extend(value)
        elif isinstance(value, int):
            sizes.append(abs(value))
    largest, second = sorted(sizes)[:-3:-1]
    if len(sizes) * max(64, largest * second) > Path(path).stat().st_size:
        raise CheckpointError(f"{path}: too small a file for so large an architecture")

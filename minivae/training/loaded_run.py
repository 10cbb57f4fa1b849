"""The model of a checkpoint, and the very images that it was trained and tested on."""

from pathlib import Path
from typing import Any, TypeAlias

from .. import models
from ..arguments import AnyPath
from ..data import dataset, reload
from ..errors import CheckpointError, DataError
from ..evaluation import BINARIZE, TrainedModel
from ..models import VAE
from . import checkpoint

Config: TypeAlias = dict[str, Any]  # of a run, as its checkpoint has it


def load(
    path: AnyPath, data: Any = None, *, binarize: str | None = None, limit: int | None = None,
    device: str = "cpu", other_data: bool = False,
) -> TrainedModel:  # fmt: skip
    """The ``TrainedModel`` of a checkpoint.

    Args:
        path: the checkpoint.
        data: where the images are, as the example that trained the model takes it.
        binarize: "none", "static" or "dynamic"; None: as in training, or grey where the checkpoint
            does not say.
        limit: the first so many of the run's images of each part; None for all.
        device: where the model shall be.
        other_data: allow other images than the model was trained on.

    Raises:
        CheckpointError: the file is damaged, or holds no VAE.
        DataError: the data cannot be read, or are others than the model takes or was trained on.
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
    """(model, the configuration of its run with "seed" and "binarize") of a checkpoint.

    Raises:
        CheckpointError: the file is damaged, does not say what it holds, or it is no VAE.
    """
    model, config = untrained_model(path, path, checkpoint.load(path).get("config"))
    checkpoint.load(path, model)
    return model, config


def untrained_model(path: AnyPath, weights: AnyPath, config: Any) -> tuple[VAE, Config]:
    """(model, completed configuration) of a run's configuration, found in the file ``path``.

    Args:
        path: for messages.
        weights: the file that holds the model's weights, for its size.
        config: what was found, of unknown origin.

    Raises:
        CheckpointError: it describes no VAE, or one that the weights cannot be of.
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
    """CheckpointError when the sizes ask for weights that the file is too small to hold.

    The model is built before its weights are compared with the file's; a few bytes must not make
    it gigabytes. The two largest sizes meet in one weight, of four bytes per element, and each
    size has weights of its own, whose names and shapes take room too.
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

"""Write the explorer page, one HTML file with a run's weights, pictures, codes, curves and scripts.

Weights are float16 in base64; the page decodes pixels within 2e-3 of ``model.pixels``. It depends
neither on time nor on the run's path: the same run gives the same bytes.
"""

import base64
import hashlib
import html
import json
import string
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, TypeAlias

import numpy as np

from .. import models
from ..backend import Array
from ..errors import DataError
from ..evaluation import TrainedModel, kl_per_latent, posteriors
from ..nn import Module, Unflatten
from ..viz import latent

Contents: TypeAlias = dict[str, Any]  # JSON, for the page's script
Config: TypeAlias = Mapping[str, Any]  # a run's options
Row: TypeAlias = Mapping[str, Any]  # of the run's metrics.csv
Masks: TypeAlias = dict[str, Array]  # bool (N,), by name
CLASSES = models.MLPVAE, models.ConvVAE, models.DeepVAE, models.FaceVAE  # as in model.js
MOST_PARAMETERS = 8_000_000  # largest model that is embedded in a page
DIGITS, FACES = 200, 60  # default number of pictures in a page
CODES = 2000  # points in the plane of two latents, and training images used for mean codes
EXEMPLARS = 3  # typical images whose mean is a group's code
FEW = 30  # a mean of fewer private images might show one of them


def explorer_page(
    subject: TrainedModel, config: Config, rows: Sequence[Row], *, images: int | None = None,
    served: bool = False,
) -> bytes:  # fmt: skip
    """The page as bytes.

    Args:
        subject: a ``TrainedModel``: the model and the images it was trained and tested on.
        config: the run's configuration, as its checkpoint has it.
        rows: the rows of ``metrics.csv``, as ``training.metrics.read`` gives them; may be empty.
        images: how many test pictures to embed. None embeds ``DIGITS`` or ``FACES`` of a public
            set, and none of a user's own set.
        served: whether the page polls its server for new contents.

    Raises:
        DataError: the page cannot run a model of this class, or codes are not finite.
    """
    return page(contents(subject, config, rows, images=images), served=served)


def contents(
    subject: TrainedModel, config: Config, rows: Sequence[Row], *, images: int | None = None
) -> Contents:
    """The data of the page as a dict for JSON; arguments and errors as ``explorer_page``."""
    model, data = subject.model, subject.data
    require_explorable(model)
    mu, logvar = posteriors(model, subject.batches(data.test))
    with np.errstate(over="ignore", invalid="ignore"):
        kl = kl_per_latent(mu, logvar)
    if not np.isfinite(kl).all():
        raise DataError("model: the KL of its codes is NaN or infinite, which no page can show")
    meaning, is_likelihood = subject.meaning()
    shape = model.image_shapes[-1]
    if images is None:
        images = (DIGITS if shape[0] == 1 else FACES) if data.public else 0
    may_show = data.public or images > 0
    parameters = sum(p.size for p in model.parameters())
    return {
        "about": {
            "model": type(model).__name__, "parameters": parameters, "dataset": data.name,
            "test_images": len(mu), "binarize": subject.binarize,
        },
        "options": options(config),
        "metrics": [{k: row[k] for k in row if k != "seconds"} for row in rows],
        "seed": str(config.get("seed", 0)),
        "beta": config.get("beta", 1.0),
        "shape": list(shape),
        "likelihood": likelihood(model),
        "meaning": meaning,
        "is_likelihood": is_likelihood,
        "latent_dim": model.latent_dim,
        "kl_per_latent": kl.tolist(),
        "plane": plane(mu, data.test.labels) if may_show and model.latent_dim == 2 else None,
        "pictures": pictures(subject, images) if images else None,
        **directions(subject, may_show),
        "model": layers(model) if parameters <= MOST_PARAMETERS else None,
    }  # fmt: skip


def require_explorable(model: Module) -> None:
    """DataError unless model.js implements the model's class."""
    if not isinstance(model, CLASSES):
        names = ", ".join(cls.__name__ for cls in CLASSES)
        raise DataError(f"model: the explorer runs {names}, got {type(model).__name__}")


def layers(module: Module) -> Contents:
    """A module for ``model.js``: its class, its settings, its arrays and its parts by name."""
    geometry = ("stride", "padding", "output_padding", "dilation")
    settings = {
        name: np.broadcast_to(getattr(module, name), 2).tolist()
        for name in geometry
        if hasattr(module, name)
    }
    for name in ("eps", "negative_slope", "size", "bottleneck"):
        if hasattr(module, name):
            settings[name] = getattr(module, name)
    if isinstance(module, Unflatten):
        settings["shape"] = module.unflattened_size
    parts = dict(module.parts())
    arrays = {
        name: array(values)
        for name, values in module.state_dict().items()
        if "." not in name and name != "num_batches_tracked"
    }
    return {
        "class": type(module).__name__,
        "settings": settings,
        "arrays": arrays,
        "parts": {name: layers(part) for name, part in parts.items()},
    }


def array(values: Array, dtype: str = "float16") -> Contents:
    """An array for ``decoded`` of model.js; float32 if its values overflow float16."""
    values = np.asarray(values)
    if dtype == "float16" and np.abs(values).max(initial=0) > np.finfo(np.float16).max:
        dtype = "float32"
    body = np.ascontiguousarray(values, np.dtype(dtype).newbyteorder("<")).tobytes()
    return {"dtype": dtype, "shape": values.shape, "data": base64.b64encode(body).decode()}


def options(config: Config) -> list[tuple[str, str]]:
    """(name, value) pairs of the run's options, as text."""
    apart = ("architecture", "pixels", "split")
    flat = {name: value for name, value in config.items() if name not in apart}
    flat |= {name: value for name, value in config["architecture"].items() if name != "name"}
    flat = {name.replace("_", " "): str(v) for name, v in flat.items() if v is not None}
    return sorted(flat.items())


def likelihood(model: models.VAE) -> Contents:
    """p(x|z) for ``reconstructionLoss`` of model.js: its name, and the log variance or None."""
    logvar = None
    if model.likelihood.startswith("gaussian"):
        learned = model.state_dict().get("pixel_logvar")
        of_pixels = learned if model.sigma is None else 2 * np.log(model.sigma)
        logvar = np.reshape(np.asarray(of_pixels), -1).astype(np.float32).tolist()
    return {"name": model.likelihood, "logvar": logvar}


def plane(mu: Array, labels: Mapping[str, Array]) -> Contents:
    """Mean codes of test images and the class of each, for a model with two latents."""
    kind = next(iter(labels), None)
    classes = labels[kind][:CODES] if kind else np.zeros(len(mu[:CODES]))
    return {"codes": array(mu[:CODES]), "classes": array(classes, "uint8"), "kind": kind or ""}


def pictures(subject: TrainedModel, count: int) -> Contents:
    """The first ``count`` test images as the model takes them, with a name from their labels."""
    part = subject.data.test.take(slice(count))
    labels = part.labels
    if subject.model.likelihood.startswith("gaussian"):  # without the noise of dequantisation
        pixels = part.images
    else:
        pixels = np.concatenate(list(subject.batches(part)))
        pixels = np.rint(255 * pixels).astype(np.uint8)
    shape = (len(pixels), *subject.model.image_shapes[-1])
    if "digit" in labels:
        names = [str(digit) for digit in labels["digit"]]
    else:
        names = [", ".join(n for n, v in labels.items() if v[i]) for i in range(len(pixels))]
    return {"pixels": array(pixels.reshape(shape), "uint8"), "names": names}


def directions(subject: TrainedModel, may_show: bool) -> Contents:
    """Attribute vectors, and mean codes of groups, both from training images.

    The code of a group is the mean of its most typical images. If no picture of the set may be
    shown, it is the mean of the whole group, and groups of fewer than ``FEW`` images are left out.
    """
    part = subject.data.train.take(slice(CODES))
    codes, _ = posteriors(subject.model, subject.batches(part, train=True))
    kinds, groups = masks(part.labels)
    least = EXEMPLARS if may_show else FEW
    found: dict[str, list[Contents]] = {"vectors": [], "groups": []}
    for name, mask in kinds.items():
        if min(mask.sum(), (~mask).sum()) >= least:
            vector = latent.attribute_vector(codes, mask)
            found["vectors"].append({"name": name, "code": array(vector, "float32")})
    for name, mask in groups.items():
        if mask.sum() >= least:
            rows = latent.exemplars(codes, mask, EXEMPLARS) if may_show else mask
            code = codes[rows].mean(axis=0)
            found["groups"].append({"name": name, "code": array(code, "float32")})
    return found


def masks(labels: Mapping[str, Array]) -> tuple[Masks, Masks]:
    """Attributes and groups of images with these labels: two dicts from name to bool (N,)."""
    if "digit" in labels:
        kinds = {f"digit {d}": labels["digit"] == d for d in np.unique(labels["digit"])}
        return kinds, kinds
    kinds = {name: values.astype(bool) for name, values in labels.items()}
    groups = {name: mask for name, mask in kinds.items()}
    if {"male", "glasses"} <= kinds.keys():
        man, glasses = kinds["male"], kinds["glasses"]
        groups = {
            "man with glasses": man & glasses, "woman with glasses": ~man & glasses,
            "woman without glasses": ~man & ~glasses, "man without glasses": man & ~glasses,
        }  # fmt: skip
    return kinds, groups


# ---------------------------------------------------------------- the file
def page(found: Contents, *, served: bool = False) -> bytes:
    """The HTML file of the contents ``found``, in UTF-8; ``served`` as in ``explorer_page``."""
    script, style = source("model.js") + source("page.js"), source("page.css")
    data = json.dumps(found, allow_nan=False, separators=(",", ":"), sort_keys=True)
    about = found["about"]
    return string.Template(source("page.html")).substitute(
        policy=policy(script, style, served),
        title=html.escape(f"{about['model']} on {about['dataset']}: minivae explorer"),
        style=style, script=script, data=data.replace("<", "\\u003c"),
        served=json.dumps(served),
    ).encode("utf-8", "backslashreplace")  # fmt: skip


def policy(script: str, style: str, served: bool) -> str:
    """The Content-Security-Policy: this script and style only, and no requests, or if ``served``
    requests to the page's own server only.
    """
    digests = (hashlib.sha256(text.encode()).digest() for text in (script, style))
    script, style = (f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    connect = "'self'" if served else "'none'"
    return (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src {connect}; "
        "base-uri 'none'; form-action 'none'"
    )


def source(name: str) -> str:
    """The text of a file in this package, such as model.js."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")

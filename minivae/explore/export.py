"""One HTML file that explores a trained model: weights, pictures, codes and curves, and a script.

Weights are float16 in base64; the page decodes pixels within 2e-3 of ``model.pixels``. Nothing in
it depends on time or on where the run lies: the same run gives the same bytes.
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
Config: TypeAlias = Mapping[str, Any]  # of a run
Row: TypeAlias = Mapping[str, Any]  # of its metrics.csv
Masks: TypeAlias = dict[str, Array]  # bool (N,), by name
CLASSES = models.MLPVAE, models.ConvVAE, models.DeepVAE, models.FaceVAE  # those of model.js
MOST_PARAMETERS = 8_000_000  # of a model that a page can hold
DIGITS, FACES = 200, 60  # pictures in a page, unless another number is asked for
CODES = 2000  # points in the plane of two latents, and images behind a mean code
EXEMPLARS = 3  # typical images behind a named code, as in the example
FEW = 30  # images, of which a mean might show one, where none may be shown


def explorer_page(
    subject: TrainedModel, config: Config, rows: Sequence[Row], *, images: int | None = None,
    served: bool = False,
) -> bytes:  # fmt: skip
    """The page as bytes.

    Args:
        subject: a ``TrainedModel``: the model and the images it was trained and tested on.
        config: the run's configuration, as its checkpoint has it.
        rows: of ``metrics.csv``, or none; ``training.metrics.read`` reads them.
        images: how many test pictures to embed. None embeds some of MNIST and of drawn images, and
            none of a user's own set.
        served: the page asks the server that it comes from for what is new.

    Raises:
        DataError: a model that the page cannot run, or whose codes are not finite.
    """
    return page(contents(subject, config, rows, images=images), served=served)


def contents(
    subject: TrainedModel, config: Config, rows: Sequence[Row], *, images: int | None = None
) -> Contents:
    """What the page shows, as a dict for JSON; arguments and errors as ``explorer_page``."""
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
    """DataError unless the page's script has the model's class."""
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
    """An array as ``decoded`` of model.js reads it; float32 where float16 overflows."""
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
    """p(x|z) as ``reconstructionLoss`` of model.js takes it."""
    logvar = None
    if model.likelihood.startswith("gaussian"):
        learned = model.state_dict().get("pixel_logvar")
        of_pixels = learned if model.sigma is None else 2 * np.log(model.sigma)
        logvar = np.reshape(np.asarray(of_pixels), -1).astype(np.float32).tolist()
    return {"name": model.likelihood, "logvar": logvar}


def plane(mu: Array, labels: Mapping[str, Array]) -> Contents:
    """Mean codes of test images and a class for each, for a model of two latents."""
    kind = next(iter(labels), None)
    classes = labels[kind][:CODES] if kind else np.zeros(len(mu[:CODES]))
    return {"codes": array(mu[:CODES]), "classes": array(classes, "uint8"), "kind": kind or ""}


def pictures(subject: TrainedModel, count: int) -> Contents:
    """The first test images as the model sees them, and what is known of each."""
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
    """Vectors that add an attribute to a code, and mean codes of groups, both of training images.

    A named code is the mean of the most typical images of a group. Where no picture of the set may
    be shown it is that of the whole group, and groups of few images are left out.
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
    """The HTML file that shows ``contents``, in UTF-8; ``served`` as in ``explorer_page``."""
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
    """The content policy: this script, this style, no request; served: to the server alone."""
    digests = (hashlib.sha256(text.encode()).digest() for text in (script, style))
    script, style = (f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    connect = "'self'" if served else "'none'"
    return (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src {connect}; "
        "base-uri 'none'; form-action 'none'"
    )


def source(name: str) -> str:
    """A file of the page."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")

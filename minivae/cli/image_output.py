"""Write images or arrays for ``minivae sample``, ``reconstruct`` and ``encode``: PNG or .npz."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..models import VAE
from ..training.output_folder import OutputFolder
from .options import require_new, require_writable, write_result

PLACE = "a folder for PNG files, or FILE.npz"


def is_npz(place: str) -> bool:
    """Whether ``place`` is an .npz file; OutputError if it is one that cannot be written."""
    if Path(place).suffix != ".npz":
        return False
    require_writable(place)
    return True


def write_npz(place: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz file of arrays by name; equal arrays give equal bytes."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as file:
        for name, array in arrays.items():  # np.savez takes no array called "file"
            with file.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
    write_result(place, body.getvalue())


def write_images(place: str, **images: np.ndarray) -> None:
    """Write one or several sets of N images, uint8 (N, H, W) or (N, H, W, 3), each by its name.

    A folder gets one file for each image: ``00000.png``, or ``00000_NAME.png`` for several sets.

    Raises:
        DataError: one of the files exists already.
        OutputError: a file cannot be written.
    """
    if is_npz(place):
        return write_npz(place, images)
    files = {
        f"{i:05}{f'_{name}' if len(images) > 1 else ''}.png": array[i]
        for name, array in images.items()
        for i in range(len(array))
    }
    with OutputFolder(place) as out:
        require_new(out, files)
        for name, image in files.items():
            body = io.BytesIO()
            Image.fromarray(image).save(body, "PNG")
            out.write(name, body.getvalue())


def grey_levels(pixels: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Pixels in [0, 1] as uint8 images (N, H, W), or (N, H, W, 3) for colour.

    Args:
        pixels: (N, ...).
        shape: (C, H, W) of one image.
    """
    images = np.rint(255 * pixels.astype(np.float64)).astype(np.uint8)
    images = images.reshape(len(pixels), *shape)
    return images[:, 0] if shape[0] == 1 else np.moveaxis(images, 1, -1)


def image_shape(model: VAE) -> tuple[int, int, int]:
    """(C, H, W) of one picture."""
    shape = model.picture_shapes[-1]
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    side = round(shape[0] ** 0.5)  # rows of pixels are square images
    return 1, side, side

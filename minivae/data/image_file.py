"""Decode one untrusted image file (JPEG, PNG, PNM) to a square RGB array."""

import io
import warnings

import numpy as np
from PIL import ExifTags, Image, ImageOps

from ..errors import DataError
from .untrusted_file import memory_errors_named

FORMATS = ("JPEG", "PNG", "PPM")  # Pillow's names; the last one is the family PBM, PGM, PPM
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # of JPEG and PNG
PNM = tuple(b"P%d%c" % (n, space) for n in range(1, 7) for space in b" \t\n\r")
MAX_PIXELS = 1 << 26  # 67 million: 200 MB once decoded

# The transposition that undoes each EXIF orientation (Exif 2.3, tag 0x0112).
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(data: bytes, size: int, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a JPEG, PNG or PNM (.pbm, .pgm, .ppm) file into uint8 (3, size, size).

    The format is detected from the content. The camera's rotation (EXIF) is undone; grey becomes
    three equal channels, 16-bit grey is scaled to 8 bits, transparent parts become white, and CMYK
    is converted to RGB. The short side is scaled to ``size`` with an antialiasing filter and the
    middle is cut out.

    Raises:
        DataError: the bytes are not one whole image of at most ``max_pixels``; nothing else is
            raised.
    """
    if not data:
        raise DataError("the file is empty")
    if not data.startswith((*SIGNATURES, *PNM)):
        raise DataError("not a JPEG, PNG or PNM file")
    try:
        # Pillow warns of large images and odd metadata, which are handled here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                pixels = image.width * image.height
                if pixels > max_pixels:
                    raise DataError(
                        f"{image.width} x {image.height} pixels, the limit is {max_pixels} in all"
                    )
                with memory_errors_named("decoding it"):
                    image.load()
                    return square(_upright(_to_rgb(image), _orientation(image)), size)
    except DataError:
        raise
    except Image.DecompressionBombError as cause:
        raise DataError(f"too many pixels, the limit is {max_pixels}") from cause
    # Pillow documents OSError, but its parsers raise a dozen other types for crafted bytes.
    except Exception as cause:
        raise DataError(f"damaged: {cause or type(cause).__name__}") from cause


def square(image: Image.Image, size: int) -> np.ndarray:
    """Scale the short side of an RGB image to ``size``, keep the middle: uint8 (3, size, size).

    An image of this size is unchanged.
    """
    fitted = ImageOps.fit(image, (size, size), method=Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(fitted).transpose(2, 0, 1))


def _to_rgb(image: Image.Image) -> Image.Image:
    """The image in mode RGB, with transparent parts white."""
    if image.mode.startswith("I"):
        return _sixteen_bit_to_rgb(image)
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _sixteen_bit_to_rgb(image: Image.Image) -> Image.Image:
    """16-bit grey (Pillow's I;16 and I), which convert() would clip at 255 instead of scaling."""
    values = np.asarray(image).astype(np.int32)
    grey = (np.clip(values, 0, 65535) * 255 + 32767) // 65535
    if "transparency" in image.info:  # one value that means transparent
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 .. 8; 1 (as stored) if the metadata cannot be read."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)

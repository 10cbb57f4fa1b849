"""Test images, and their bytes as PNG and JPEG files."""

import io

import numpy as np
from PIL import Image


def encoded(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def noise(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def smooth(size=32, shift=0):
    """A picture that JPEG keeps well: a ramp in each channel."""
    y, x = np.mgrid[:size, :size]
    return np.stack([x * 7 + shift, y * 7, (x + y) * 3], axis=2).astype(np.uint8)


JPEG = encoded(Image.fromarray(smooth()), "JPEG", exif=Image.Exif())
PNG = encoded(Image.fromarray(noise(12, 12)))

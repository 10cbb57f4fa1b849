"""Data sets: digits and faces, read whole into memory, and the batches drawn from them."""

from . import mnist
from .batches import Batches, DequantisedBatches, PixelBatches, permutation
from .dataset import Dataset
from .faces import FaceDataset, draw_faces, load_faces
from .idx import read_idx
from .labelled import LabelledBatches
from .synthetic import digits as synthetic_digits
from .synthetic import faces as synthetic_faces

__all__ = [
    "Batches",
    "Dataset",
    "DequantisedBatches",
    "FaceDataset",
    "LabelledBatches",
    "PixelBatches",
    "draw_faces",
    "load_faces",
    "mnist",
    "permutation",
    "read_idx",
    "synthetic_digits",
    "synthetic_faces",
]

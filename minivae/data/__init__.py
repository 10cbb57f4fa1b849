"""Data sets: digits and faces, read whole into memory, and the batches drawn from them."""

from . import mnist, synthetic_digits, synthetic_faces
from .batches import Batches, DequantisedBatches, PixelBatches, permutation
from .dataset import Dataset
from .faces import FaceDataset, draw_faces, load_faces
from .idx import read_idx
from .labelled import LabelledBatches

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

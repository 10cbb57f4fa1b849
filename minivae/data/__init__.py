"""Data sets of digits and faces, read whole into memory, and batches of their images."""

from . import mnist
from .batches import Batches, DequantisedBatches, PixelBatches, permutation
from .dataset import Dataset, LabelledImages, Part
from .faces import FaceDataset, draw_faces, load_faces, split_faces
from .idx import read_idx
from .labelled import LabelledBatches
from .sets import reload
from .synthetic import digits as synthetic_digits
from .synthetic import faces as synthetic_faces

__all__ = [
    "Batches",
    "Dataset",
    "DequantisedBatches",
    "FaceDataset",
    "LabelledBatches",
    "LabelledImages",
    "Part",
    "PixelBatches",
    "draw_faces",
    "load_faces",
    "mnist",
    "permutation",
    "read_idx",
    "reload",
    "split_faces",
    "synthetic_digits",
    "synthetic_faces",
]

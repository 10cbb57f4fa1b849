"""``minivae reconstruct``: write images of a run with the model's reconstructions."""

import math

import numpy as np

from ..backend import to_device, to_numpy
from .image_output import PLACE, grey_levels, image_shape, is_npz, write_images
from .options import Parser, add_part_of_run, loaded, parse, reported


def parser() -> Parser:
    """The command line."""
    p = Parser(prog="minivae reconstruct", description="Encode images and decode their mean codes.")
    add_part_of_run(p, limit=100)
    p.add_argument("--out", metavar="PLACE", required=True, help=PLACE)
    return p


@reported
def main(argv: list[str] | None = None) -> None:
    """Load, reconstruct, write."""
    args = parse(parser(), argv)
    is_npz(args.out)  # before the work
    trained = loaded(args)
    shape, pairs, part = image_shape(trained.model), [], getattr(trained.data, args.part)
    for x in trained.batches(part, args.part == "train"):
        pixels = to_numpy(trained.model.reconstruct(to_device(x, args.device)).data)
        seen = x.reshape(len(x), -1)[:, : math.prod(shape)]  # a label may follow the pixels
        pairs.append([grey_levels(seen, shape), grey_levels(pixels, shape)])
    images, decoded = (np.concatenate(part) for part in zip(*pairs, strict=True))
    write_images(args.out, images=images, reconstructions=decoded)
    print(f"{len(images)} {args.part} images of {trained.data.name} in {args.out}")

"""Measure checkerboard artefacts of the face decoders before and after training.

    python benchmarks/checkerboard.py

trains FaceVAE at 64 on drawn faces with each upsampling and writes results/checkerboard.json and
docs/images/checkerboard.png; ``tables.py --write`` puts the table on docs/checkerboard.md.
"""

import sys
import time

import numpy as np
from _harness import environment, write_json
from _pages import ROOT, markdown_table

import minivae as mv
from minivae import evaluation, models, optim
from minivae.data import PixelBatches
from minivae.data.faces import draw_faces
from minivae.models.face_vae import UPSAMPLINGS
from minivae.noise import EVALUATION, SAMPLING, TRAINING, NoiseStream
from minivae.training.trainer import EagerStep
from minivae.viz import plots

RECORD = ROOT / "benchmarks" / "results" / "checkerboard.json"
PICTURE = ROOT / "docs" / "images" / "checkerboard.png"
SIZE, TRAINED_ON, HELD_OUT, EPOCHS, BATCH, RATE = 64, 2000, 200, 12, 16, 1e-3


def trained(upsampling, train, seed=0):
    """A face model after some epochs, and the seconds that took."""
    model, start = models.FaceVAE(100, SIZE, upsampling=upsampling, seed=seed), time.perf_counter()
    step = EagerStep(model, optim.Adam(model.parameters(), lr=RATE))
    noise = NoiseStream(seed, TRAINING)
    for epoch in range(EPOCHS):
        for x in train.epoch(epoch):
            step(x, noise.draw(), 1.0)
    return model, time.perf_counter() - start


def energies(model, x):
    """The energy at the stride's frequency of reconstructions and of new faces."""
    drawn = model.sample(len(x), mv.Noise(0, SAMPLING)).numpy()
    pictures = {"reconstructions": model.reconstruct(x).numpy(), "new faces": drawn}
    return {name: evaluation.checkerboard_energy(images) for name, images in pictures.items()}


def table(record):
    """A row for each way of doubling sizes, and one for the faces themselves."""
    rows = [
        [
            name, *(f"{m[part]['new faces']:.3%}" for part in ("untrained", "trained")),
            f"{m['trained']['reconstructions']:.3%}", f"{m['test loss']:.1f}",
        ]
        for name, m in record["models"].items()
    ]  # fmt: skip
    header = ["energy at the stride's frequency", "new faces, untrained", "new faces, trained",
              "reconstructions", "test loss"]  # fmt: skip
    return markdown_table(header, [*rows, ["the faces", "", "", f"{record['faces']:.3%}", ""]])


def main():
    """Train, measure, write."""
    faces = draw_faces(TRAINED_ON + HELD_OUT, SIZE).images
    train = PixelBatches(faces[:TRAINED_ON], BATCH, seed=0)
    test = PixelBatches(faces[TRAINED_ON:], BATCH, train=False)
    x = faces[TRAINED_ON:] / np.float32(255)
    record = {
        **environment(), "faces": evaluation.checkerboard_energy(x), "models": {},
        "set up": f"{TRAINED_ON} faces of {SIZE}, {EPOCHS} epochs, batch {BATCH}, Adam {RATE}",
    }  # fmt: skip
    shown = [x[:10]]
    for upsampling in UPSAMPLINGS:
        untrained = energies(models.FaceVAE(100, SIZE, upsampling=upsampling), x)
        model, seconds = trained(upsampling, train)
        tested = evaluation.elbo(model, test.epoch(0), NoiseStream(0, EVALUATION)).terms
        record["models"][upsampling] = {
            "untrained": untrained, "trained": energies(model, x), "test loss": tested.loss,
            "seconds": seconds,
        }  # fmt: skip
        shown.append(model.reconstruct(x[:10]).numpy())
        print(upsampling, record["models"][upsampling], flush=True)
    write_json(RECORD, record)
    names = ", ".join(UPSAMPLINGS)
    PICTURE.write_bytes(plots.png(plots.samples(
        np.concatenate(shown), f"Held-out drawn faces; reconstructions: {names}"
    )))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

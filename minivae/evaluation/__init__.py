"""Evaluation of trained models: likelihood bounds, statistics of codes, measures of pictures.

Every estimator takes images in batches of any size. All except ``elbo``, which draws noise for each
batch, give bit-identical results for all batch sizes.

Formulas and tests: docs/evaluation.md.
"""

from .bounds import IMPORTANCE, NLL, Evaluation, elbo, importance_weighted_nll
from .checkerboard import checkerboard_energy
from .frechet import classifier_frechet_distance, frechet_distance
from .latents import (
    AggregatePosterior,
    active_units,
    aggregate_posterior,
    kl_per_latent,
    posteriors,
)
from .measures import measure
from .neighbours import nearest_images
from .probes import linear_probe, nearest_neighbour_accuracy
from .trained_model import BINARIZE, TrainedModel
from .units import bits_per_dimension

__all__ = [
    "BINARIZE",
    "IMPORTANCE",
    "NLL",
    "AggregatePosterior",
    "Evaluation",
    "TrainedModel",
    "active_units",
    "aggregate_posterior",
    "bits_per_dimension",
    "checkerboard_energy",
    "classifier_frechet_distance",
    "elbo",
    "frechet_distance",
    "importance_weighted_nll",
    "kl_per_latent",
    "linear_probe",
    "measure",
    "nearest_images",
    "nearest_neighbour_accuracy",
    "posteriors",
]

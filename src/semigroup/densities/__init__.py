"""Densities, samples and transport between them."""

from semigroup.densities.distances import (
    bures_wasserstein,
    energy_distance,
    frechet_distance,
    mmd,
    precision_recall,
    sliced_wasserstein,
    wasserstein,
)
from semigroup.densities.light_sb import LightSB
from semigroup.densities.mixtures import GaussianMixture, MixturePath, PathCoefficients

__all__ = [
    "GaussianMixture",
    "LightSB",
    "MixturePath",
    "PathCoefficients",
    "bures_wasserstein",
    "energy_distance",
    "frechet_distance",
    "mmd",
    "precision_recall",
    "sliced_wasserstein",
    "wasserstein",
]

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
from semigroup.densities.kde_regimes import KDERegimes
from semigroup.densities.light_sb import LightSB
from semigroup.densities.minority_guidance import MinorityGuidance
from semigroup.densities.mixtures import GaussianMixture, MixturePath, PathCoefficients
from semigroup.densities.pfgmpp import PFGMpp, PointSetDenoiser
from semigroup.densities.singular_likelihood import PerturbedGenerator

__all__ = [
    "GaussianMixture",
    "KDERegimes",
    "LightSB",
    "MinorityGuidance",
    "MixturePath",
    "PFGMpp",
    "PathCoefficients",
    "PerturbedGenerator",
    "PointSetDenoiser",
    "bures_wasserstein",
    "energy_distance",
    "frechet_distance",
    "mmd",
    "precision_recall",
    "sliced_wasserstein",
    "wasserstein",
]

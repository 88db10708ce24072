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
from semigroup.densities.fokker_planck_gap import PotentialDiffusion
from semigroup.densities.interpolants import DiffusiveInterpolant, MaxMinBridge, StochasticInterpolant
from semigroup.densities.kde_regimes import KDERegimes
from semigroup.densities.light_sb import LightSB
from semigroup.densities.minority_guidance import MinorityGuidance
from semigroup.densities.mixtures import GaussianMixture, MixturePath, PathCoefficients
from semigroup.densities.pfgmpp import PFGMpp, PointSetDenoiser
from semigroup.densities.singular_likelihood import PerturbedGenerator

__all__ = [
    "DiffusiveInterpolant",
    "GaussianMixture",
    "KDERegimes",
    "LightSB",
    "MaxMinBridge",
    "MinorityGuidance",
    "MixturePath",
    "PFGMpp",
    "PathCoefficients",
    "PerturbedGenerator",
    "PointSetDenoiser",
    "PotentialDiffusion",
    "StochasticInterpolant",
    "bures_wasserstein",
    "energy_distance",
    "frechet_distance",
    "mmd",
    "precision_recall",
    "sliced_wasserstein",
    "wasserstein",
]

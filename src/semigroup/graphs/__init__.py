"""Graphs: encodings, rankings, clusters, generators."""

from semigroup.graphs.amg_clustering import BootstrapAMGClustering
from semigroup.graphs.gdss import GDSS, graph_mmd, molecule_measures
from semigroup.graphs.powerwalk import PowerWalk
from semigroup.graphs.proximity import ProximityClustering
from semigroup.graphs.rqgnn import RQGNN, rayleigh_quotients, smoothed_energy, spectral_energy
from semigroup.graphs.spe import (
    PEG,
    SPE,
    AddEigenpairs,
    BasisNet,
    RandomWalk,
    RawEigenvectors,
    SignNet,
    SPEClassifier,
    SPERegressor,
    laplacian_eigenpairs,
)

__all__ = [
    "GDSS",
    "PEG",
    "RQGNN",
    "SPE",
    "AddEigenpairs",
    "BasisNet",
    "BootstrapAMGClustering",
    "PowerWalk",
    "ProximityClustering",
    "RandomWalk",
    "RawEigenvectors",
    "SPEClassifier",
    "SPERegressor",
    "SignNet",
    "graph_mmd",
    "laplacian_eigenpairs",
    "molecule_measures",
    "rayleigh_quotients",
    "smoothed_energy",
    "spectral_energy",
]

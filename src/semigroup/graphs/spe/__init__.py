r"""Stable and expressive positional encodings (SPE): positions of nodes for graph networks, from the Laplacian's eigenpairs.

Message passing alone cannot tell where in a graph a node is. Eigenvectors of the Laplacian can, but each is known up to its
sign, a repeated eigenvalue's only up to a rotation, and both jump when an edge changes a little. SPE replaces the hard
choice of eigenvectors by a soft, learnt weighing of eigenvalues: for people who feed graphs to message-passing networks or
graph transformers (molecular properties, classification out of distribution, counting of substructures).

Paper: Huang, Lu, Robinson, Yang, Zhang, Jegelka, Li, "On the Stability of Expressive Positional Encodings for Graphs",
ICLR 2024, arXiv:2310.02579.

============================  =========================================================================================
in the paper                  here
============================  =========================================================================================
:math:`\lambda, V, d`         ``eigenvalues``, ``eigenvectors``, ``n_eigenvectors``: the d smallest, the trivial one too
:math:`\phi_1 \ldots \phi_m`  ``phi``, ``n_channels``: weights of the eigenvalues
:math:`W`                     `pair_features`: :math:`W_{ij\ell} = \sum_k \phi_\ell(\lambda)_k V_{ik} V_{jk}`
:math:`\rho, p`               ``rho``, ``out_dim``: from pairs of nodes to encodings of nodes
============================  =========================================================================================

=====================  =========================================  ============================================
φ                      what it sees                               cost
=====================  =========================================  ============================================
mlp, spline, constant  each eigenvalue by itself                  O(d) a graph
deepsets               each one and the sum over all              O(d)
transformer            all                                        O(d²)
=====================  =========================================  ============================================

=====================  =========================================  ============================================
ρ                      on the matrices W                          cost a layer of width h, graph of n nodes
=====================  =========================================  ============================================
gin                    message passing on each column             O(n² h²)
mlp                    each entry by itself                       O(n² h²)
gin-deepsets           message passing, then across columns       O(n² h²)
ign                    row, column and diagonal sums              O(n² m), then O(n h²)
ppgn                   matrix products                            O(n³ h + n² h²)
=====================  =========================================  ============================================

A batch of graphs is one list of node pairs without padding, so normalisation sees real pairs only. Memory grows with Σ n²;
a batch too large is refused with an estimate, and ``column_chunk`` holds part of the columns at a time.

Levels of use: `SPE` inside any PyTorch Geometric model after the transform `AddEigenpairs`; `SPERegressor` and
`SPEClassifier` on lists of graphs, with SignNet, BasisNet, PEG, raw eigenvectors and random walks behind the same argument.
"""

from semigroup.graphs.spe.backbone import GraphNetwork
from semigroup.graphs.spe.baselines import PEG, BasisNet, RandomWalk, RawEigenvectors, SignNet
from semigroup.graphs.spe.blocks import PositionalEncoder
from semigroup.graphs.spe.encoder import SPE, CubicSpline, pair_features
from semigroup.graphs.spe.estimator import SPEClassifier, SPERegressor
from semigroup.graphs.spe.spectrum import AddEigenpairs, check_eigenpairs, laplacian_eigenpairs
from semigroup.graphs.spe.stability import encoding_changes, spe_bound

__all__ = [
    "PEG",
    "SPE",
    "AddEigenpairs",
    "BasisNet",
    "CubicSpline",
    "GraphNetwork",
    "PositionalEncoder",
    "RandomWalk",
    "RawEigenvectors",
    "SPEClassifier",
    "SPERegressor",
    "SignNet",
    "check_eigenpairs",
    "encoding_changes",
    "laplacian_eigenpairs",
    "pair_features",
    "spe_bound",
]

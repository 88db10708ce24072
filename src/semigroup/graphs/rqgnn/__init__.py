r"""Rayleigh quotient graph neural network (RQGNN): find the few anomalous graphs among many, learning from labelled ones.

Signals on anomalous graphs (which atom sits where) lie on other parts of the Laplacian's spectrum than those on normal
graphs. The Rayleigh quotient of a signal is the mean of that distribution, one number a channel and one sparse product
for all graphs; the network learns filters on the spectrum, weighs the nodes by what the quotients say, and sees the
quotients themselves. For people who screen molecules or other small graphs for something rare: activity, toxicity,
faults.

Paper: Dong, Zhang, Wang, "Rayleigh Quotient Graph Neural Networks for Graph-level Anomaly Detection", ICLR 2024,
arXiv:2310.02861.

==================================  =============================================================================================
in the paper                        here
==================================  =============================================================================================
:math:`L, \lambda, \hat x`          the normalised Laplacian, ``eigenvalues``, signals in its eigenbasis (`spectral_energy`)
:math:`\mathrm{diag}(X^T L X)`      `rayleigh_quotients` with ``normalize=False``: what the paper's code feeds the network
:math:`T_k(\hat L) H`               `chebyshev_terms`; :math:`\hat L = -D^{-1/2} A D^{-1/2}`
:math:`q, K, h`                     ``width``, ``depth`` (K terms, degree K − 1), ``hidden_dim``
RQL, RQ-pooling                     ``rql``, ``pooling="rq"``
:math:`\beta, \gamma`               ``beta``, ``gamma`` of `focal_loss`
==================================  =============================================================================================

A batch is one block-diagonal matrix. All filters share its K − 1 sparse products, and the filters and the linear map
behind them are multiplied before they meet the nodes, so that an epoch costs about the same for one filter as for many.
The quotients do not change in training and are computed once.
"""

from semigroup.graphs.rqgnn.estimator import RQGNN
from semigroup.graphs.rqgnn.loss import best_threshold, class_balanced_weights, focal_loss
from semigroup.graphs.rqgnn.network import RQNetwork, SignalBatch, chebyshev_terms
from semigroup.graphs.rqgnn.spectrum import SpectralEnergy, rayleigh_quotients, smoothed_energy, spectral_energy

__all__ = [
    "RQGNN",
    "RQNetwork",
    "SignalBatch",
    "SpectralEnergy",
    "best_threshold",
    "chebyshev_terms",
    "class_balanced_weights",
    "focal_loss",
    "rayleigh_quotients",
    "smoothed_energy",
    "spectral_energy",
]

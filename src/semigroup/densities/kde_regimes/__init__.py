r"""Kernel density estimates in many dimensions: exact log-densities, the regime they are in, and a bandwidth that fits.

For whoever estimates densities, scores anomalies or reasons about memorisation with kernels in some ten dimensions and more.
There the number of points n is of the order of :math:`e^{\alpha d}`, and an estimate is a sum of n weights that spread over many
orders of magnitude. Whether a fresh point sees many of them or only its nearest decides what the estimate is worth, and the
bandwidth of least Kullback-Leibler divergence is one at which it sees only a few.

The model. At a fresh point x, with :math:`\epsilon_i = |x - y_i|^2 / 2`, the Gaussian estimate is the partition function
:math:`Z = \sum_i e^{-\epsilon_i / h^2}` of a random energy model with :math:`n = e^{\alpha d}` levels at inverse temperature
:math:`a = h^{-2}`. With the free energy of one level :math:`g(a) = \frac1d \log E e^{-a \epsilon}`, for points of a Gaussian with
eigenvalues :math:`\lambda_j`

.. math::
    g(a) = -\frac1{2d} \sum_j \Bigl[\log(1 + a \lambda_j) + \frac{a \lambda_j}{1 + a \lambda_j}\Bigr], \qquad
    I(a) = a g'(a) - g(a), \qquad I(a_c) = \alpha.

==========================  ===========  =====================================================================================
bandwidth                   tail index   the estimate
==========================  ===========  =====================================================================================
:math:`h > h_{CLT}`         mu > 2       sum of very many weights, with Gaussian fluctuations
:math:`h_G < h < h_{CLT}`   1 < mu < 2   right on average, with totally skewed stable fluctuations of index mu
:math:`h < h_G`             mu < 1       carried by the few nearest points, with Poisson-Dirichlet shares (condensed)
==========================  ===========  =====================================================================================

with :math:`h_G = a_c^{-1/2}`, :math:`h_{CLT} = \sqrt2 h_G` and :math:`\mu = (h / h_G)^2` for the Gaussian kernel. The optimum is
:math:`h_*^2 = 2 \epsilon_{min} < h_G^2`, the squared distance per dimension to the nearest point; hence the rule "nn", which
averages it over the data in one pass. Other radial kernels have their own thresholds, from the rate function of the distance.

At finite n and d the distribution F of epsilon takes the place of its limit, by Lugannani and Rice's saddlepoint formula from the
same g: :math:`n F(\epsilon_1) = 1` is the edge and :math:`\kappa = F'(\epsilon_1) / F(\epsilon_1)` its inverse temperature,
:math:`h_G = \kappa^{-1/2}`.

Symbols, with the paper's letter beside each name:

========================  ====================  ==========================================================================
name                      letter                meaning
========================  ====================  ==========================================================================
``alpha``                 :math:`\alpha`        log(n) / d
``bandwidth``             h                     in units of the data
``spectrum``              :math:`\lambda_j`     eigenvalues of the covariance of the points
``free_energy``           g(a)                  per dimension
``condensation``          :math:`h_G`           threshold of condensation
``clt``                   :math:`h_{CLT}`       threshold of the central limit theorem
``tail_index``            :math:`\mu`           of the weights, ``P(w > t) ~ t^-mu``
``participation``         :math:`Y_2`           sum of the squared shares of the points
========================  ====================  ==========================================================================

References
----------
Biroli, G. and Mézard, M. (2024). Kernel Density Estimators in Large Dimensions. arXiv:2408.05807.
Derrida, B. (1981). Random-energy model. Physical Review B 24.
Lugannani, R. and Rice, S. (1980). Saddle point approximation for the distribution of the sum of independent random variables.
Advances in Applied Probability 12.
"""

from semigroup.densities.kde_regimes.estimator import (
    KDERegimes,
    Regime,
    local_condensation,
    nearest_distances,
    scott_bandwidth,
    silverman_bandwidth,
)
from semigroup.densities.kde_regimes.kernels import KERNELS, RadialKernel
from semigroup.densities.kde_regimes.summation import PointTiles, WeightSums, log_sums_on_device, weight_sums
from semigroup.densities.kde_regimes.theory import (
    GaussianLaw,
    Law,
    PhaseDiagram,
    SphereLaw,
    Thresholds,
    condensed_entropy,
    condensed_mean_log_sum,
    condensed_participation,
    cost,
    entropy_per_dimension,
    fluctuation_law,
    kl_bandwidth,
    kl_divergence,
    log_density_per_dimension,
    mean_log_density,
    phase_diagram,
    regime_of,
    thresholds,
)

__all__ = [
    "KERNELS",
    "GaussianLaw",
    "KDERegimes",
    "Law",
    "PhaseDiagram",
    "PointTiles",
    "RadialKernel",
    "Regime",
    "SphereLaw",
    "Thresholds",
    "WeightSums",
    "condensed_entropy",
    "condensed_mean_log_sum",
    "condensed_participation",
    "cost",
    "entropy_per_dimension",
    "fluctuation_law",
    "kl_bandwidth",
    "kl_divergence",
    "local_condensation",
    "log_density_per_dimension",
    "log_sums_on_device",
    "mean_log_density",
    "nearest_distances",
    "phase_diagram",
    "regime_of",
    "scott_bandwidth",
    "silverman_bandwidth",
    "thresholds",
    "weight_sums",
]

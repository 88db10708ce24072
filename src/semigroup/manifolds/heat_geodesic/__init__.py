r"""Distances along a manifold from the heat kernel of a noisy cloud, and maps that keep them.

For whom: whoever draws a map of single cells, of images or of any cloud of points and wants distances on it to mean distances
along the data, under noise that short-circuits Isomap's paths.

The graph of nearest neighbours has the weights :math:`W` and the Laplacian :math:`L`; heat that starts at point j has spread to

.. math:: H_t = e^{-tL}, \qquad d_t(i, j)^2 = -4t \log H_{ij} + 4t\,\sigma \log \tfrac12 (H_{ii} + H_{jj}),

and points whose distances are these, as nearly as can be (metric scaling), are the map.

=====================  ==================  ==============================================================================
here                   the paper's letter  meaning
=====================  ==================  ==============================================================================
``diffusion_time``     t, τ                how long heat spreads: longer averages over more noise and blurs detail
``volume_correction``  σ                   weight of the volume term, from the parabolic Harnack inequality; 0 is Varadhan's
                                           formula
``power``              p                   of the distances
``triplet``            ρ                   part of the distance between rows of the matrix (selective denoising)
``decay``              α                   of PHATE's kernel
``order``              K                   steps of backward Euler, degree of Chebyshev's expansion, rank
``floor``              ε                   added to H before the logarithm
=====================  ==================  ==============================================================================

Other methods are special cases:

- PHATE: ``laplacian="random-walk", self_affinity=1, power=2, volume_correction=0, triplet=1, floor=1e-7`` compares the rows of
  :math:`-\log H_t`;
- stochastic neighbour embedding, in spirit: a small time and ``stress_weights="heat"``;
- Isomap: ``variant="log-normalised"`` with a time near 0 counts the edges of the shortest path;
- diffusion maps, powers of a random walk and PHATE's potential are baselines of this module.

The paper: G. Huguet, A. Tong, E. De Brouwer, Y. Zhang, G. Wolf, I. Adelstein, S. Krishnaswamy, "A Heat Diffusion Perspective on
Geodesic Preserving Dimensionality Reduction", NeurIPS 2023, arXiv:2305.19043.

``kernel`` computes H, ``dissimilarity`` the distances, ``scaling`` the map, ``baselines`` what to compare it
with, ``evaluation`` how.
"""

from semigroup.manifolds.heat_geodesic.baselines import (
    diffusion_map,
    potential_distances,
    potential_time,
    random_walk_geodesic,
    random_walk_kernel,
)
from semigroup.manifolds.heat_geodesic.dissimilarity import (
    heat_geodesic_dissimilarity,
    log_normalised_dissimilarity,
    multiscale_weights,
    stress_weights,
    symmetrise,
    triplet_dissimilarity,
    truncate,
    truncation_range,
)
from semigroup.manifolds.heat_geodesic.estimator import HeatGeodesic
from semigroup.manifolds.heat_geodesic.evaluation import GeodesicScores, geodesic_scores, neighbour_precision
from semigroup.manifolds.heat_geodesic.kernel import diffusion_entropy, entropy_time, heat_kernel, knee
from semigroup.manifolds.heat_geodesic.scaling import (
    Configuration,
    align,
    classical_scaling,
    metric_scaling,
    place,
)

__all__ = [
    "Configuration",
    "GeodesicScores",
    "HeatGeodesic",
    "align",
    "classical_scaling",
    "diffusion_entropy",
    "diffusion_map",
    "entropy_time",
    "geodesic_scores",
    "heat_geodesic_dissimilarity",
    "heat_kernel",
    "knee",
    "log_normalised_dissimilarity",
    "metric_scaling",
    "multiscale_weights",
    "neighbour_precision",
    "place",
    "potential_distances",
    "potential_time",
    "random_walk_geodesic",
    "random_walk_kernel",
    "stress_weights",
    "symmetrise",
    "triplet_dissimilarity",
    "truncate",
    "truncation_range",
]

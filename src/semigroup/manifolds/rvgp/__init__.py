r"""Vector fields on manifolds that are known by points only: super-resolution, inpainting and denoising with uncertainties.

For anyone who has arrows at some points of a curved thing, and wants them at others: flow on the cortex from few electrodes, the
velocity on an attractor from a few trajectories, directions on a scanned surface. Neither a mesh nor a parametrisation is
needed; the price is that the points of all predictions are known beforehand, for the graph is built on them.

Peach, Vinao-Carl, Grossman, David, Mallas, Sharp, Malhotra, Vandergheynst and Gosztolai, *Implicit Gaussian process
representation of vector fields over arbitrary latent manifolds* (ICLR 2024), arXiv:2309.16746.

===================================  =============================================================================
what one asks                        where the answer is
===================================  =============================================================================
the field between and at the points  ``VectorFieldGP().fit(X, V).predict(return_cov=True)``, V with rows of NaN
another field on the same points     ``refit(V)``
fields that are as likely            ``sample(n)``
graph, frames, Laplacians            `tangent_bundle`, `TangentBundle.connection_laplacian`
the manifold's dimension             `intrinsic_dimension`, ``dimension_``
fewer, evenly spread points          `semigroup.operators.farthest_points`
vectors spread from a few points     `vector_heat`; smooth random fields: `random_field`
sources, sinks, spirals, saddles     `divergence_and_curl`, `winding_number`, `singularities_kept`
a kernel or a basis of one's own     `SpectralPrior`, `Encoding`, `statistics`, `log_evidence`,
                                     `posterior`
what to compare with                 `channelwise_rbf` on coordinates or `scalar_encoding`; ``space="projected"``
===================================  =============================================================================

Symbols, with the paper's letters: n points of an m-dimensional manifold in :math:`\mathbb R^D`, ``frames`` :math:`T_i`
(D x m), ``connection_laplacian`` :math:`L_c = U_c \Lambda_c U_c^\top`, encoding :math:`P_i = \sqrt{nm}\, T_i (U_c)_i = T_i F_i`
(D x k, ``features`` :math:`F_i`), kernel :math:`k(i, j) = P_i\, S(\Lambda_c)\, P_j^\top`, ``prior_variances`` S, ``nu``
:math:`\nu`, ``kappa`` :math:`\kappa`, ``amplitude`` :math:`\sigma_f`, ``noise_variance`` :math:`\sigma_n^2`. Frames enter
through :math:`T_i (U_c)_i` only, so that the kernel does not depend on their choice.
"""

from semigroup.manifolds.rvgp.baselines import channelwise_rbf, scalar_encoding
from semigroup.manifolds.rvgp.bundle import Encoding, TangentBundle, encode, intrinsic_dimension, tangent_bundle
from semigroup.manifolds.rvgp.estimator import VectorFieldGP
from semigroup.manifolds.rvgp.fields import (
    alignment,
    divergence_and_curl,
    mean_cosine,
    random_field,
    relative_error,
    singularities_kept,
    vector_heat,
    winding_number,
)
from semigroup.manifolds.rvgp.kernels import SpectralPrior, log_matern, log_squared_exponential
from semigroup.manifolds.rvgp.regression import Posterior, Statistics, log_evidence, posterior, statistics

__all__ = [
    "Encoding",
    "Posterior",
    "SpectralPrior",
    "Statistics",
    "TangentBundle",
    "VectorFieldGP",
    "alignment",
    "channelwise_rbf",
    "divergence_and_curl",
    "encode",
    "intrinsic_dimension",
    "log_evidence",
    "log_matern",
    "log_squared_exponential",
    "mean_cosine",
    "posterior",
    "random_field",
    "relative_error",
    "scalar_encoding",
    "singularities_kept",
    "statistics",
    "tangent_bundle",
    "vector_heat",
    "winding_number",
]

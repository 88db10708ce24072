"""Light Schrödinger Bridge: the entropic transport plan between two point clouds as an explicit Gaussian mixture.

For whoever holds two unpaired samples, cells at two times or latent codes of two kinds of images, and wants to know
where a point of the first goes in the second, with what spread and along which path. The plan is learnt by minimising
one loss without simulation, pairing or inner problem, in seconds to minutes on a CPU, and is then known for new points
too: density, mean, covariance and samples, and the drift of the diffusion that bridges the clouds, all in closed form.

The problem. Among all couplings of p0 and p1, entropic optimal transport takes the one that minimises the expected
``|x0 - x1|^2 / 2`` minus epsilon times the entropy; it joins the ends of the Schrödinger bridge, the process from p0 to
p1 that is closest to ``dX = sqrt(epsilon) dW`` on [0, 1]. It has the form ``pi(x1 | x0) ~ exp(<x0, x1> / epsilon) v(x1)``.

The model. ``v(x1) = sum_k alpha_k N(x1 | r_k, epsilon S_k)``. Completing squares gives

    c(x0)         = sum_k alpha_k exp((x0' S_k x0 + 2 r_k' x0) / (2 epsilon))           normaliser
    pi(x1 | x0)   = sum_k w_k(x0) N(x1 | r_k + S_k x0, epsilon S_k),   w_k(x0) ~ the k-th term of c
    L             = E_p0 log c(x0) - E_p1 log v(x1)                                     loss

and ``KL(plan || pi) = L - L(optimum)`` for the plan's own first marginal, hence samples of p0 and p1 suffice.

The process. With ``G_k(t) = (t S_k + (1 - t) I)^-1`` the drift of the bridge is

    g(x, t)       = sum_k w_k(x, t) G_k ((S_k - I) x + r_k)
    log w_k(x, t) = log alpha_k + log|G_k| / 2 + (x' (S_k - I) G_k x + 2 x' G_k r_k - t r_k' G_k r_k) / (2 epsilon)

up to a constant in k. This is the paper's expression with the terms that grow like 1 / (1 - t) cancelled by hand, so it is
accurate up to the end of the interval. At t = 0 it is the barycentric map: ``g(x, 0) = E[x1 | x] - x``.

Symbols, with the paper's letter beside each name:

    log_weights    log alpha   (K,)        log-weights of the components; defined up to a common constant
    centers        r           (K, D)      centres of the components
    variances      S           (K, D)      eigenvalues of the S_k: their diagonals, unless there are rotations
    rotations      -           (K, D, D)   eigenvectors of full S_k, in columns
    epsilon        epsilon                 noise level, in squared units of the data

The variant of the follow-up (loss="matching") fits the same model by regressing its drift on that of Brownian bridges
between the points of any coupling. It has the same minimiser and noisier gradients.

References
----------
Korotin, A., Gushchin, N. and Burnaev, E. (2024). Light Schrödinger Bridge. ICLR. arXiv:2310.01174.
Gushchin, N., Kholkin, S., Burnaev, E. and Korotin, A. (2024). Light and Optimal Schrödinger Bridge Matching. ICML.
arXiv:2402.03207.
"""

from semigroup.densities.light_sb.estimator import LightSB
from semigroup.densities.light_sb.learning import LightPotential, kl_loss, matching_loss
from semigroup.densities.light_sb.potential import (
    Potential,
    component_logits,
    conditional_covariance,
    conditional_mean,
    drift,
    log_conditional,
    log_normalizer,
    log_potential,
    recenter,
    sample_conditional,
)

__all__ = [
    "LightPotential",
    "LightSB",
    "Potential",
    "component_logits",
    "conditional_covariance",
    "conditional_mean",
    "drift",
    "kl_loss",
    "log_conditional",
    "log_normalizer",
    "log_potential",
    "matching_loss",
    "recenter",
    "sample_conditional",
]

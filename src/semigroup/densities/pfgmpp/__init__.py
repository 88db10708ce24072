"""PFGM++: generative models between the Poisson flow and diffusion, by one number D.

For whoever trains a diffusion model, on vectors or on images, with or without labels, and wants the noise's tails as a knob:
the data are charges in R^N, seen from N + D dimensions. D = 1 is the Poisson flow model PFGM, D = infinity is diffusion
(EDM). The smaller D, the heavier the tails of the training noise, and the less an error of the network along the way matters;
the larger D, the easier the regression. Everything tuned for diffusion carries over, since r = sigma sqrt(D).

The field. Charges at the data y, put at (y, 0) in R^(N+D), have the field

    E(x, r) ~ E_y (x - y, r) / (|x - y|^2 + r^2)^((N+D)/2),          dx/dr = E_x / E_r            along its lines

in which the D added coordinates appear by their norm r alone. The lines carry noise at r = r_max to data at r = 0, for every D.

The kernel. ``p_r(x | y) ~ (|x - y|^2 + r^2)^(-(N+D)/2)`` is the multivariate Student law with D degrees of freedom and scale
sigma = r / sqrt(D):

    x = y + sigma z sqrt(D / chi),      z ~ N(0, I_N),  chi ~ chi-squared with D degrees of freedom, one a sample

which needs no clipping, holds for every real D > 0 and is Gaussian noise of standard deviation sigma at D = infinity.

The denoiser. The posterior mean of y is the minimiser of the weighted squared error, and is all that sampling needs:

    m(x, sigma) = sum_i w_i y_i,   w_i ~ (|x - y_i|^2 + r^2)^(-(N+D)/2)
    dx/dsigma   = sqrt(D) E_x / E_r = (x - m(x, sigma)) / sigma

so that the samplers are those of EDM, and only the prior, Student noise at sigma_max, tells D.

Parts: `noise` (the kernel and exact posterior means), `losses` (noise levels, targets, networks), `sampling` (integrators and
the ways to disturb them), `estimator` (`PFGMpp`).

Symbols, with the paper's letter beside each name:

    D                  D            added dimensions, a real number > 0 or infinity
    sigma              r / sqrt(D)  noise level; the standard deviation of the noise at D = infinity
    n_features         N            numbers of a sample

References
----------
Xu, Y., Liu, Z., Tian, Y., Tong, S., Tegmark, M. and Jaakkola, T. (2023). PFGM++: Unlocking the potential of physics-inspired
generative models. ICML. arXiv:2302.04265.
Karras, T., Aittala, M., Aila, T. and Laine, S. (2022). Elucidating the design space of diffusion-based generative models.
NeurIPS. arXiv:2206.00364.
Xu, Y., Liu, Z., Tegmark, M. and Jaakkola, T. (2022). Poisson flow generative models. NeurIPS. arXiv:2209.11178.
Xu, Y., Tong, S. and Jaakkola, T. (2023). Stable target field for reduced variance score estimation. ICLR. arXiv:2302.00670.
"""

from semigroup.densities.pfgmpp.estimator import PFGMpp, Quality, assess, sweep_dimensions
from semigroup.densities.pfgmpp.losses import (
    Denoiser,
    FieldDenoiser,
    field_range,
    field_target,
    noise_levels,
    stable_target,
)
from semigroup.densities.pfgmpp.noise import PointSetDenoiser, beta_noise, posterior_mean, student_noise
from semigroup.densities.pfgmpp.sampling import Churn, quantize_weights, sample_heun, sample_scaled

__all__ = [
    "Churn",
    "Denoiser",
    "FieldDenoiser",
    "PFGMpp",
    "PointSetDenoiser",
    "Quality",
    "assess",
    "beta_noise",
    "field_range",
    "field_target",
    "noise_levels",
    "posterior_mean",
    "quantize_weights",
    "sample_heun",
    "sample_scaled",
    "stable_target",
    "student_noise",
    "sweep_dimensions",
]

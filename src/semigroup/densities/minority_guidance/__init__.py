"""Minority guidance: how rare each instance of a data set is, and samples of a diffusion model as rare as wanted.

For whoever needs what data hardly show: rare conditions for augmentation, hard cases for stress tests, a ranking of a data set
for audits. It takes a diffusion model, trained here or elsewhere, and unlabelled data.

The observation. The best score is the posterior mean of conditional scores, so that denoising in one shot (Tweedie) gives
``E[x_0 | x_t]``, an average over all instances that x_t may have come from, in proportion to their frequency. It pulls what is
rare towards what is common. Hence

    l(x_0)         = E[d(x_0, E[x_0 | x_t])],  x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) z        minority score at one step t
    level          = i where quantile(l, i/L) < l <= quantile(l, (i+1)/L),  i = 0, ..., L - 1     ordinal classes, equally large
    p(level | x_t)   a classifier of noisy data                                                   cross-entropy over all t
    score(x_t, t) + w grad log p(level | x_t)                                                     minority guidance

The classifier works on x_t, or on features of it by any frozen extractor. In ancestral sampling guidance moves the mean of x_s
given x_t by ``w Sigma grad``; in deterministic sampling it changes the noise to ``eps - w sqrt(1 - abar_t) grad``.

Symbols, with the paper's letter beside each name:

    betas          beta         (T,)     variance of the noise of each step; abar_t is the product of 1 - beta up to t
    noise_step     t                     where to score; depends on the data, see `choose_noise_step`
    n_draws        n_iter                noisy copies a score averages over
    n_levels       L                     classes of rarity
    guidance       w                     strength
    level          tilde l               the wanted class

References
----------
Um, S., Lee, S. and Ye, J. C. (2024). Don't play favorites: minority guidance for diffusion models. ICLR. arXiv:2301.12334.
"""

from semigroup.densities.minority_guidance.estimator import MinorityGuidance
from semigroup.densities.minority_guidance.metrics import (
    Rarity,
    assess_rarity,
    average_knn_distance,
    local_outlier_factor,
    rarity_score,
)
from semigroup.densities.minority_guidance.networks import NoisyImageClassifier
from semigroup.densities.minority_guidance.sampling import (
    Guide,
    class_log_prob,
    guidance_gradient,
    sample_ddim,
    sample_ddpm,
    sample_ode,
)
from semigroup.densities.minority_guidance.scores import (
    NoiseChoice,
    choose_noise_step,
    euclidean,
    level_edges,
    levels_of,
    lpips_distance,
    minority_score,
)

__all__ = [
    "Guide",
    "MinorityGuidance",
    "NoiseChoice",
    "NoisyImageClassifier",
    "Rarity",
    "assess_rarity",
    "average_knn_distance",
    "choose_noise_step",
    "class_log_prob",
    "euclidean",
    "guidance_gradient",
    "level_edges",
    "levels_of",
    "local_outlier_factor",
    "lpips_distance",
    "minority_score",
    "rarity_score",
    "sample_ddim",
    "sample_ddpm",
    "sample_ode",
]

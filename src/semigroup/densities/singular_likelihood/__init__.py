"""Perturbed maximum likelihood for data without a density.

Constraints, images, point clouds: data often lie on a set of far fewer dimensions than their space has. A generator
``x = f(Z) + sigma e`` trained by likelihood, as variational autoencoders are, then degenerates. Each point on the image of f
contributes ``(D - d) log(1 / sigma)``, without limit; sigma goes to zero, and the law *along* the set stops mattering. Whoever
has seen the variance of a decoder vanish and its samples turn bad has met this.

The cure of the paper takes three lines. Choose a noise level; add Gaussian noise of that size to the data and do ordinary
maximum likelihood for f and sigma; sample ``f(Z)``, without any noise. With the right level the law of the samples is consistent,
at a rate that depends on the smoothness of f and not on the dimension of the space:

    data              x_1, ..., x_n in R^D, near a set of dimension d < D
    perturbed         x_i + s e_i,  e_i ~ N(0, I)                    s: `perturbation`
    likelihood        p(x) = E_Z N(x | f(Z), sigma^2 I)              maximised over f and sigma
    answer            the law of f(Z);  sigma^2 must come out as sigma_*^2 + s^2
    level             s ~ n^(-beta / (2 (beta + t)))                 `perturbation_scale`; W1 is then of that order too

Two things decide whether this can be seen at all. log sigma needs its own, larger learning rate (or the closed form of EM): at
the network's rate it stays so large that even plain training seems to work. And the level must be chosen by the distance of
samples to held-out data; the likelihood always prefers the least noise.

Symbols, with the paper's letter beside each name:

    perturbation   sigma~   standard deviation of the added noise
    sigma          sigma    noise level of the model, learnt
    n_latent       d        dimension of Z
    dim            D        dimension of the space
    beta, t        beta_*, t_*   smoothness of the generator, and the number of variables that its roughest part depends on

The integral over Z is replaced by the evidence lower bound of a variational autoencoder, by an importance-weighted bound, or, for
d <= 2, by a sum over a grid of Z, which is exact up to its spacing and certifies the other two.

References
----------
Chae, M., Kim, D., Kim, Y. and Lin, L. (2023). A Likelihood Approach to Nonparametric Estimation of a Singular Distribution Using
Deep Generative Models. JMLR 24(77):1-42. arXiv:2105.04046.
"""

from semigroup.densities.singular_likelihood.estimator import Bound, PerturbedGenerator, sample_distance
from semigroup.densities.singular_likelihood.likelihood import (
    elbo,
    importance_bound,
    log_importance_weights,
    quadrature,
    quadrature_log_terms,
    stratified_codes,
)
from semigroup.densities.singular_likelihood.networks import Autoencoders
from semigroup.densities.singular_likelihood.theory import (
    effective_smoothness,
    empirical_rate,
    gan_rate,
    hellinger_rate,
    perturbation_scale,
    w1_rate,
)

__all__ = [
    "Autoencoders",
    "Bound",
    "PerturbedGenerator",
    "effective_smoothness",
    "elbo",
    "empirical_rate",
    "gan_rate",
    "hellinger_rate",
    "importance_bound",
    "log_importance_weights",
    "perturbation_scale",
    "quadrature",
    "quadrature_log_terms",
    "sample_distance",
    "stratified_codes",
    "w1_rate",
]

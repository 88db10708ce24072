"""Stochastic interpolants: sample, transport and evaluate densities by an ODE or an SDE whose noise is chosen after training.

For whoever holds samples of one or two distributions and wants to sample the second from the first, and back; to know the
log-likelihood of a row; to translate between two unpaired data sets; or to resample near a datum. One regression on a process
that joins the samples in finite time gives the velocity and the score of its density, and with them a whole family of models.

The process is ``x_t = I(t, x0, x1) + gamma(t) z`` on [0, 1], with x0 and x1 drawn from the samples, independent or paired, z
standard Gaussian, ``I(0) = x0``, ``I(1) = x1`` and gamma zero at both ends. Its density obeys a transport equation and, for every
``epsilon(t) >= 0``, a forward and a backward Fokker-Planck equation:

    d rho / dt + div(b rho) = 0                                     ODE   dX = b dt
    d rho / dt + div((b + epsilon s) rho) = epsilon laplace(rho)    SDE   dX = (b + epsilon s) dt + sqrt(2 epsilon) dW

Symbols, with the paper's letter beside each name:

    alpha, beta     alpha, beta   shares of x0 and x1 where I is linear in them
    gamma           gamma         size of the latent noise
    velocity        b             E[dI/dt + gamma' z | x_t = x]
    score           s             gradient of log rho, = -denoiser / gamma
    denoiser        eta_z         E[z | x_t = x]
    target_mean     eta_1         E[x1 | x_t = x]
    epsilon         epsilon       noise level of sampling, in squared units of the data a unit of time

The files: `paths` (interpolants and their rates), `losses` (what is regressed, on which pairs), `sampling` (fields, samplers,
likelihoods), `estimator` (`StochasticInterpolant`), and two relatives: `diffusive` (from single points), `bridge` (the
Schrödinger bridge by optimising the interpolant).

References
----------
Albergo, M. S., Boffi, N. M. and Vanden-Eijnden, E. (2023). Stochastic Interpolants: A Unifying Framework for Flows and
Diffusions. arXiv:2303.08797.
"""

from semigroup.densities.interpolants.base import Base
from semigroup.densities.interpolants.bridge import GaussianBridge, MaxMinBridge, SinePath, gaussian_bridge
from semigroup.densities.interpolants.diffusive import DiffusiveInterpolant
from semigroup.densities.interpolants.estimator import StochasticInterpolant
from semigroup.densities.interpolants.losses import (
    FieldNetwork,
    FieldNetworks,
    OneSidedNetwork,
    draw_pairs,
    field_targets,
    implicit_score_loss,
    interpolant_loss,
    needs_antithetic,
    regression_loss,
)
from semigroup.densities.interpolants.paths import (
    Brownian,
    CustomGamma,
    CustomInterpolant,
    CustomPath,
    DiffusivePath,
    EncodingDecoding,
    Gamma,
    Interpolant,
    LinearInterpolant,
    LinearPath,
    MirrorPath,
    OneSidedLinear,
    OneSidedSBDM,
    OneSidedTrig,
    PlainTrigPath,
    Quadratic,
    Sigmoid,
    SinSquared,
    TrigPath,
    Zero,
    make_interpolant,
)
from semigroup.densities.interpolants.sampling import (
    ExactFields,
    Fields,
    LearntFields,
    best_epsilon,
    denoising_chain,
    feynman_kac_paths,
    likelihood_bound,
    ode_log_likelihood,
    reverse_sde_paths,
    sample_ode,
    sample_sde,
    time_grid,
)

__all__ = [
    "Base",
    "Brownian",
    "CustomGamma",
    "CustomInterpolant",
    "CustomPath",
    "DiffusiveInterpolant",
    "DiffusivePath",
    "EncodingDecoding",
    "ExactFields",
    "FieldNetwork",
    "FieldNetworks",
    "Fields",
    "Gamma",
    "GaussianBridge",
    "Interpolant",
    "LearntFields",
    "LinearInterpolant",
    "LinearPath",
    "MaxMinBridge",
    "MirrorPath",
    "OneSidedLinear",
    "OneSidedNetwork",
    "OneSidedSBDM",
    "OneSidedTrig",
    "PlainTrigPath",
    "Quadratic",
    "Sigmoid",
    "SinSquared",
    "SinePath",
    "StochasticInterpolant",
    "TrigPath",
    "Zero",
    "best_epsilon",
    "denoising_chain",
    "draw_pairs",
    "feynman_kac_paths",
    "field_targets",
    "gaussian_bridge",
    "implicit_score_loss",
    "interpolant_loss",
    "likelihood_bound",
    "make_interpolant",
    "needs_antithetic",
    "ode_log_likelihood",
    "regression_loss",
    "reverse_sde_paths",
    "sample_ode",
    "sample_sde",
    "time_grid",
]

"""The ODE-SDE gap of score-based diffusion models: measured, bounded, and closed by a Fokker-Planck penalty.

For whoever samples a diffusion model with its probability-flow ODE, or trusts the likelihoods that this ODE gives. The
ODE and the reverse SDE of one model have the same law only if the score solves the Fokker-Planck equation of the forward
process, and a score learnt by denoising does not. This package says how far the two laws are apart, where in space and time
the equation is violated, what that can cost in Wasserstein distance, and trains models that violate it less.

The setting. Data diffuse by ``dx = f dt + g dW``, f(x, t) = rate(t) x, on [0, T] to a Gaussian prior pi; p_t are the
marginals. The model is a potential phi(x, t), log p_t up to a function of t, with the score s = grad phi. From pi at T back
to 0 run

    SDE   dx = (f - g^2 s) dt + g dW          its law is called q_t below
    ODE   dx = (f - g^2 s / 2) dt

The residual of the Fokker-Planck equation for the logarithm, zero for phi = log p_t:

    R      = d phi/dt + div f + f . grad phi - g^2 (lap phi + |grad phi|^2) / 2
    grad R = ds/dt + grad [div f + f . s - g^2 (div s + |s|^2) / 2]      all that a score without a potential has

Why the laws differ. With w = phi - log q the law q is carried by the ODE's velocity minus ``g^2 grad w / 2``, and by
Feynman-Kac along the forward process

    exp(-w(x, t)) = E[ exp(int_t^T R(X_s, s) ds) pi(X_T) / exp(phi(X_T, T)) | X_t = x ].

What is measured. With Z the integral of exp phi and expectations under q_t,

    identity   int g^2 E|grad w|^2 / 2 dt = int E R dt + log Z(0) + E_pi[log pi - phi_T] - KL(q_0 || exp(phi_0) / Z(0))
    bound      W2(ODE, SDE) <= int g^2 exp(Lambda) (E|grad w|^2)^(1/2) / 2 dt                                     direct
                            <= (int g^2 exp(2 Lambda) / 2 dt)^(1/2) (int g^2 E|grad w|^2 / 2 dt)^(1/2)             Cauchy-Schwarz
                            <= the same with the identity's right side without its KL                                 residual

where ``Lambda(t) = int_0^t L``, and L(t) is at least the largest eigenvalue anywhere of ``-rate + g^2 Hess phi / 2``. Both
are derived here and tested in closed form; the published constants may differ.

Both `gap` and `bound`, and all else below, take any differentiable potential or score, trained here or not.

>>> import torch
>>> from semigroup.schedules import OrnsteinUhlenbeck
>>> model = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Softplus(), torch.nn.Linear(16, 1))
>>> def potential(x, t):
...     return model(torch.cat([x, t[:, None]], dim=1))[:, 0] - x.square().sum(1)
>>> process, box = OrnsteinUhlenbeck(5.0), torch.tensor([[-4.0], [4.0]])
>>> options = {"box": box, "n_samples": 100, "n_steps": 30, "generator": torch.Generator().manual_seed(0)}
>>> found = gap(score_of(potential), process, **options)
>>> most = bound(potential, process, n_paths=4, n_times=3, **options)
>>> most.direct <= most.cauchy_schwarz <= most.residual
True

How it is closed. ``loss = denoising score matching + residual_weight E R^2`` at points uniform in a box. The penalty alone
is solved by phi = c - t div f, whose score is zero, so it enters only after a start without it.

Symbols, with the paper's letter beside each name:

    potential         phi        logarithm of the marginal density
    schedule          f, g       drift and diffusion of the forward process (`semigroup.schedules`)
    horizon           T          time at which the prior takes over
    min_time          eps        least time of training
    residual_weight   w_R        weight of the penalty

References
----------
Deveney, T., Stanczuk, J., Kreusser, L., Budd, C. and Schönlieb, C.-B. (2025). Closing the ODE-SDE gap in score-based diffusion
models through the Fokker-Planck equation. Phil. Trans. R. Soc. A 383. arXiv:2311.15996.
Lai, C.-H. et al. (2023). FP-Diffusion: improving score-based diffusion models by enforcing the underlying score Fokker-Planck
equation. ICML. arXiv:2210.04296.
"""

from semigroup.densities.fokker_planck_gap.audit import bound, gap
from semigroup.densities.fokker_planck_gap.estimator import PotentialDiffusion
from semigroup.densities.fokker_planck_gap.gaps import (
    Bound,
    Gap,
    gap_of_samples,
    grid_wasserstein,
    histogram,
    sample_distance,
    wasserstein_bounds,
)
from semigroup.densities.fokker_planck_gap.laws import (
    FeynmanKac,
    feynman_kac,
    ode_log_density,
    sample_ode,
    sample_sde,
    sampling_times,
)
from semigroup.densities.fokker_planck_gap.potential import Jet, Potential, PotentialNetwork, derivatives, score_of
from semigroup.densities.fokker_planck_gap.residual import (
    ResidualProfile,
    residual,
    residual_gradient,
    residual_profile,
    score_residual,
)

__all__ = [
    "Bound",
    "FeynmanKac",
    "Gap",
    "Jet",
    "Potential",
    "PotentialDiffusion",
    "PotentialNetwork",
    "ResidualProfile",
    "bound",
    "derivatives",
    "feynman_kac",
    "gap",
    "gap_of_samples",
    "grid_wasserstein",
    "histogram",
    "ode_log_density",
    "residual",
    "residual_gradient",
    "residual_profile",
    "sample_distance",
    "sample_ode",
    "sample_sde",
    "sampling_times",
    "score_of",
    "score_residual",
    "wasserstein_bounds",
]

"""Samplers of a model in whole noise steps, and what may guide them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from semigroup.schedules import DDPMSchedule
from semigroup.sde import SolverFailed, heun

__all__ = ["Guide", "class_log_prob", "guidance_gradient", "sample_ddim", "sample_ddpm", "sample_ode"]

Noise = Callable[[Tensor, int], Tensor]
Gradient = Callable[[Tensor, int], Tensor | None]
Clamp = Callable[[Tensor], Tensor]
LogWeight = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Guide:
    """A factor by which a sampler is to multiply the density of x_t, up to a constant.

    Parameters
    ----------
    log_weight : callable
        ``log_weight(x_t, t)``, one number a row, differentiable in x_t.
    strength : float
        w, the exponent of the factor.
    """

    log_weight: LogWeight
    strength: float = 1.0


def class_log_prob(classifier: Callable[[Tensor, Tensor], Tensor], label: int | Int[Tensor, " batch"]) -> LogWeight:
    """``log p(label | x_t)`` of a classifier of noisy data.

    Parameters
    ----------
    classifier : callable
        ``classifier(x_t, t)`` gives logits, shape (batch, n_classes), for a tensor of steps of shape (batch,).
    label : int or Tensor, shape (batch,)
        One for all, or one a row.

    Raises
    ------
    ValueError
        When called, if the classifier has no such output.
    """

    def log_weight(x: Tensor, t: int) -> Tensor:
        logits = classifier(x, torch.full((len(x),), t, device=x.device))
        labels = torch.as_tensor(label, device=x.device).expand(len(x))
        if logits.ndim != 2 or int(labels.max()) >= logits.shape[1] or int(labels.min()) < 0:
            raise ValueError(
                f"label must be one of the classifier's outputs, shape {tuple(logits.shape)}, got {labels.unique().tolist()}"
            )
        return logits.log_softmax(1).gather(1, labels[:, None])[:, 0]

    return log_weight


def guidance_gradient(
    guides: Sequence[Guide], x: Float[Tensor, "batch *shape"], t: int
) -> Float[Tensor, "batch *shape"]:
    """The gradient of ``sum_i w_i log_weight_i(x, t)``, what is added to the score.

    Examples
    --------
    >>> pull = Guide(lambda x, t: -(x**2).sum(1), strength=0.5)
    >>> guidance_gradient([pull], torch.tensor([[1.0, -2.0]]), 1)
    tensor([[-1.,  2.]])
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        total = torch.stack([guide.strength * guide.log_weight(x, t).sum() for guide in guides]).sum()
        return torch.autograd.grad(total, x)[0]


def sample_ddpm(
    noise: Noise,
    x: Float[Tensor, "batch *shape"],
    schedule: DDPMSchedule,
    steps: Sequence[int],
    *,
    generator: torch.Generator,
    gradient: Gradient | None = None,
    clamp: Clamp | None = None,
    temperature: float = 1.0,
) -> Float[Tensor, "batch *shape"]:
    """Ancestral sampling along decreasing `steps`: ``x_s ~ N(mean + Sigma g, Sigma)``, with g the gradient of the guides.

    Mean and variance are those of ``q(x_s | x_t, x_0)`` at the predicted x_0; at s = 0 the variance is 0, and so is the guidance.

    Parameters
    ----------
    noise : callable
        ``noise(x_t, t)``, the predicted noise.
    x : Tensor, shape (batch, *shape)
        States at ``steps[0]``.
    schedule : DDPMSchedule
    steps : sequence of int
    generator : torch.Generator
    gradient : callable, optional
        ``gradient(x_t, t)``, or None where nothing guides.
    clamp : callable, optional
        Applied to every predicted x_0.
    temperature : float
        Factor of the added noise's standard deviation.

    Raises
    ------
    SolverFailed
        If a state is NaN or infinite; says at which step.

    References
    ----------
    Dhariwal, P. and Nichol, A. (2021). Diffusion models beat GANs on image synthesis. NeurIPS, algorithm 1.
    """
    for t, s in pairwise(steps):
        clean = _clean(noise(x, t), x, t, schedule, clamp)
        push = None if gradient is None else gradient(x, t)
        x, variance = schedule.posterior(x, t, clean, s)
        if push is not None:
            x = x + variance * push
        if variance > 0:
            fresh = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
            x = x + temperature * np.sqrt(variance) * fresh
        _require_finite(x, s)
    return x


def sample_ddim(
    noise: Noise,
    x: Float[Tensor, "batch *shape"],
    schedule: DDPMSchedule,
    steps: Sequence[int],
    *,
    gradient: Gradient | None = None,
    clamp: Clamp | None = None,
) -> Float[Tensor, "batch *shape"]:
    """Deterministic sampling along decreasing `steps`, with the noise ``eps - sqrt(1 - abar) g``.

    Parameters
    ----------
    noise, x, schedule, steps, gradient, clamp
        As for `sample_ddpm`.

    Raises
    ------
    SolverFailed
        As for `sample_ddpm`.

    References
    ----------
    Dhariwal, P. and Nichol, A. (2021), as for `sample_ddpm`, algorithm 2.
    """
    for t, s in pairwise(steps):
        clean, guided = _guided(noise, x, t, schedule, gradient, clamp)
        x = schedule.noised(clean, s, guided)
        _require_finite(x, s)
    return x


def sample_ode(
    noise: Noise,
    x: Float[Tensor, "batch *shape"],
    schedule: DDPMSchedule,
    steps: Sequence[int],
    *,
    gradient: Gradient | None = None,
    clamp: Clamp | None = None,
) -> Float[Tensor, "batch *shape"]:
    """The probability flow by Heun's method, of which `sample_ddim` is Euler's: two evaluations a step, one in the last.

    In the variables ``y = x / sqrt(abar)`` and ``sigma = sqrt((1 - abar) / abar)`` the flow is ``dy/dsigma = noise``.

    Parameters
    ----------
    noise, x, schedule, steps, gradient, clamp
        As for `sample_ddpm`.

    Raises
    ------
    SolverFailed
        As for `sample_ddpm`.
    """
    grid = torch.tensor(list(steps))
    scales = schedule.scale(grid)
    sigmas = schedule.std(grid) / scales

    def slope(y: Tensor, sigma: float) -> Tensor:
        i = int((sigmas - sigma).abs().argmin())  # the integrator gives back times of the grid, up to rounding
        return _guided(noise, scales[i] * y, steps[i], schedule, gradient, clamp)[1]

    y = x / scales[0]
    for i, step in enumerate(steps[1:]):
        last = step == steps[-1]  # at sigma = 0 there is no noise to predict
        try:
            y = heun(slope, y, sigmas[i : i + 2].tolist(), euler_last=last, keep="last")[:, 0]
        except SolverFailed as error:
            raise SolverFailed(f"{error}, which is step {step}") from error
    return y * scales[-1]


def _require_finite(x: Tensor, step: int) -> None:
    bad = ~torch.isfinite(x).flatten(1).all(1)
    if bad.any():
        raise SolverFailed(f"{bad.double().mean().item():.1%} of the samples are NaN or infinite at step {step}")


def _clean(eps: Tensor, x: Tensor, t: int, schedule: DDPMSchedule, clamp: Clamp | None) -> Tensor:
    clean = schedule.denoised(x, t, eps)
    return clean if clamp is None else clamp(clean)


def _guided(
    noise: Noise, x: Tensor, t: int, schedule: DDPMSchedule, gradient: Gradient | None, clamp: Clamp | None
) -> tuple[Tensor, Tensor]:
    """The guided x_0 and the noise that goes with it: clamping the one changes the other."""
    eps = noise(x, t)
    push = None if gradient is None else gradient(x, t)
    if push is not None:
        eps = eps - schedule.std(t) * push
    clean = _clean(eps, x, t, schedule, clamp)
    return clean, eps if clamp is None else schedule.noise_between(x, t, clean)

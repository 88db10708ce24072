r"""Samplers of a system of two reverse diffusions that are coupled through the scores of their joint density.

A `Component` is one of the two: its noise schedule, its partial score, its noise. All samplers act on a whole batch at
once; a component may also be sampled with the other held fixed (``active``). The grid has N times from 1 down to `eps`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from semigroup.schedules import VE, VP, Schedule, SubVP

__all__ = ["Component", "predictor_corrector", "reverse_transition", "symmetric_splitting"]

State = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Component:
    """One of the two coupled diffusions.

    Attributes
    ----------
    schedule : VP, SubVP or VE
    score : callable
        ``score(x, a, t)``: gradient of the joint log-density at time t with respect to this component.
    noise : callable
        ``noise()``: standard Gaussian noise in the component's shape (symmetric and masked where it must be).
    """

    schedule: Schedule
    score: Callable[[Tensor, Tensor, float], Tensor]
    noise: Callable[[], Tensor]


def reverse_transition(schedule: Schedule, t: float, step: float) -> tuple[float, float]:
    r"""Factor and standard deviation of the exact transition of noise and linear drift alone, from t back to t - step.

    With :math:`m` the schedule's scale and :math:`\sigma` its standard deviation: factor :math:`m_{t-\delta} / m_t`,
    variance :math:`(m_{t-\delta} / m_t)^2 \sigma_t^2 - \sigma_{t-\delta}^2`.

    Examples
    --------
    >>> factor, std = reverse_transition(
    ...     VP(1.0, 1.0 + 1e-9), 0.5, 0.1
    ... )  # beta = 1: factor e^(0.1/2), variance e^0.1 - 1
    >>> round(factor, 4), round(std**2, 4)
    (1.0513, 0.1052)
    """
    factor = float(schedule.scale(t - step) / schedule.scale(t))
    variance = factor**2 * float(schedule.std(t)) ** 2 - float(schedule.std(t - step)) ** 2
    return factor, math.sqrt(max(variance, 0.0))


def predictor_corrector(
    components: tuple[Component, Component],
    state: State,
    *,
    n_steps: int,
    eps: float = 1e-4,
    predictor: Literal["euler", "reverse", "flow", "reverse-flow"] = "euler",
    n_corrector_steps: int = 1,
    snr: float = 0.05,
    noise_scale: float = 0.7,
    active: tuple[int, ...] = (0, 1),
    on_step: Callable[[int], None] | None = None,
) -> State:
    """Predictor-corrector sampling: at each time Langevin steps, then one step of the reverse diffusion, of both
    components.

    Within a step, both components see each other as they were before it.

    Parameters
    ----------
    components : (Component, Component)
        Nodes and edges.
    state : (Tensor, Tensor)
        Both at time 1.
    n_steps : int
        N, at least 2.
    eps : float
        The last time.
    predictor : {"euler", "reverse", "flow", "reverse-flow"}
        Euler-Maruyama; the reverse of the discrete forward chain; the same two for the probability flow (no noise,
        half the score).
    n_corrector_steps : int
        0 for none.
    snr, noise_scale : float
        Step size and noise of the Langevin corrector.
    active : tuple of int
        The components that move.
    on_step : callable, optional
        Called with the number of each finished step.

    Returns
    -------
    (Tensor, Tensor)
        The means of the last step, without its noise.
    """
    times = np.linspace(1.0, eps, n_steps)
    chains = [discrete_chain(component.schedule, n_steps) for component in components]
    means = state
    for k, t in enumerate(times.tolist()):
        place = n_steps - 1 - k
        if n_corrector_steps:
            corrected = {
                i: langevin(components[i], i, state, t, chains[i].alpha[place], n_corrector_steps, snr, noise_scale)
                for i in active
            }
            state = _replaced(state, corrected)
        moved, centres = {}, {}
        for i in active:
            component, x = components[i], state[i]
            score = component.score(*state, t)
            if predictor.startswith("reverse"):
                drift, diffusion = chains[i].drift[place], chains[i].diffusion[place]
            else:
                drift = float(component.schedule.rate(t)) / n_steps
                diffusion = float(component.schedule.diffusion(t)) / math.sqrt(n_steps)
            if predictor.endswith("flow"):
                moved[i] = centres[i] = x - drift * x + diffusion**2 / 2 * score
            else:
                centres[i] = x - drift * x + diffusion**2 * score
                moved[i] = centres[i] + diffusion * component.noise()
        means, state = _replaced(state, centres), _replaced(state, moved)
        if on_step is not None:
            on_step(k)
    return means


def symmetric_splitting(
    components: tuple[Component, Component],
    state: State,
    *,
    n_steps: int,
    eps: float = 1e-4,
    correct: bool = True,
    snr: float = 0.05,
    noise_scale: float = 0.7,
    active: tuple[int, ...] = (0, 1),
    on_step: Callable[[int], None] | None = None,
) -> State:
    """S4: correction, half a step of noise, the score's step, half a step of noise, all with the scores of one evaluation.

    Parameters as for `predictor_corrector`; `correct` switches the Langevin correction, which costs no evaluation.

    Returns
    -------
    (Tensor, Tensor)
        The means of the last half-step.
    """
    times = np.linspace(1.0, eps, n_steps)
    chains = [discrete_chain(component.schedule, n_steps) for component in components]
    step, means = 1.0 / n_steps, state
    for k, t in enumerate(times.tolist()):
        moved, centres = {}, {}
        for i in active:
            component, x = components[i], state[i]
            score = component.score(*state, t)
            if correct:
                x = _langevin_step(x, score, component.noise(), chains[i].alpha[n_steps - 1 - k], snr, noise_scale)
            # A half-step of the last times would end below 0: it is cut there.
            factor, std = reverse_transition(component.schedule, t, min(step / 2, t))
            x = factor * x + std * component.noise()
            x = x + step * float(component.schedule.diffusion(t)) ** 2 * score
            middle = max(t - step / 2, 0.0)
            factor, std = reverse_transition(component.schedule, middle, min(step / 2, middle))
            centres[i] = factor * x
            moved[i] = centres[i] + std * component.noise()
        means, state = _replaced(state, centres), _replaced(state, moved)
        if on_step is not None:
            on_step(k)
    return means


# --- pieces -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chain:
    """The discrete forward chain of N states: ``x_k = (1 + drift_k) x_{k-1} + diffusion_k z``; ``alpha`` for
    Langevin steps."""

    drift: list[float]
    diffusion: list[float]
    alpha: list[float]


def discrete_chain(schedule: Schedule, n_steps: int) -> Chain:
    """The chain that a schedule's published discretisation has (for SubVP: one Euler step)."""
    grid = np.linspace(0, 1, n_steps)
    if isinstance(schedule, VP):
        if n_steps <= schedule.beta_max:
            raise ValueError(f"n_steps must be above beta_max = {schedule.beta_max:g}, got {n_steps}")
        beta = np.linspace(schedule.beta_min, schedule.beta_max, n_steps) / n_steps
        alpha = 1 - beta
        if isinstance(schedule, SubVP):
            drift, diffusion = -beta / 2, schedule.diffusion(torch.from_numpy(grid)).numpy() / math.sqrt(n_steps)
        else:
            drift, diffusion = np.sqrt(alpha) - 1, np.sqrt(beta)
    elif isinstance(schedule, VE):
        sigma = schedule.std(torch.from_numpy(grid)).numpy()
        drift, alpha = np.zeros(n_steps), np.ones(n_steps)
        diffusion = np.sqrt(sigma**2 - np.concatenate([[0.0], sigma[:-1]]) ** 2)
    else:
        raise TypeError(f"schedule must be VP, SubVP or VE, got {type(schedule).__name__}")
    return Chain(drift.tolist(), diffusion.tolist(), alpha.tolist())


def langevin(
    component: Component,
    number: int,
    state: State,
    t: float,
    alpha: float,
    n_steps: int,
    snr: float,
    noise_scale: float,
) -> Tensor:
    """The component after Langevin steps in which the other stands still."""
    for _ in range(n_steps):
        score = component.score(*state, t)
        x = _langevin_step(state[number], score, component.noise(), alpha, snr, noise_scale)
        state = _replaced(state, {number: x})
    return state[number]


def _langevin_step(
    x: Float[Tensor, "batch *shape"],
    score: Float[Tensor, "batch *shape"],
    noise: Float[Tensor, "batch *shape"],
    alpha: float,
    snr: float,
    noise_scale: float,
) -> Float[Tensor, "batch *shape"]:
    """One step whose size is set by the norms of noise and score, averaged over the batch."""
    norms = [one.flatten(1).norm(dim=1).mean() for one in (noise, score)]
    size = 2 * alpha * (snr * norms[0] / norms[1].clamp(min=torch.finfo(x.dtype).tiny)) ** 2
    return x + size * score + (2 * size).sqrt() * noise_scale * noise


def _replaced(state: State, changes: dict[int, Tensor]) -> State:
    return changes.get(0, state[0]), changes.get(1, state[1])

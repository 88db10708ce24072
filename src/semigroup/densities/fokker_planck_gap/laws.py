"""The two laws of a model: samples of its ODE and SDE, their log-densities, and w = phi - log q along forward paths."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from semigroup.base import check_integer, check_number
from semigroup.densities.fokker_planck_gap.potential import Potential, Score, derivatives
from semigroup.densities.fokker_planck_gap.residual import check_schedule, residual_gradient
from semigroup.schedules import Schedule
from semigroup.sde import Keep, SolverFailed, euler_maruyama, solve_ode, solve_ode_with_divergence

__all__ = ["FeynmanKac", "feynman_kac", "log_normal", "ode_log_density", "sample_ode", "sample_sde", "sampling_times"]


def sampling_times(horizon: float, n_steps: int = 200, *, n_last: int = 10, refinement: int = 10) -> list[float]:
    """Decreasing times from the horizon to 0: equal steps, of which the last few are cut into finer ones.

    As in the published programs: `n_steps` steps of which the last ten are replaced by a hundred.

    Examples
    --------
    >>> [round(t, 2) for t in sampling_times(1.0, 4, n_last=1, refinement=3)]
    [1.0, 0.75, 0.5, 0.25, 0.17, 0.08, 0.0]
    """
    check_number(horizon, "horizon", above=0)
    check_integer(n_last, "n_last", minimum=1)
    check_integer(refinement, "refinement", minimum=1)
    check_integer(n_steps, "n_steps", minimum=n_last + 1)
    step = horizon / n_steps
    coarse = [horizon - i * step for i in range(n_steps - n_last)]
    n_fine = n_last * refinement
    return coarse + [step * n_last * (n_fine - i) / n_fine for i in range(n_fine)] + [0.0]


def sample_ode(
    score: Score,
    x: Float[Tensor, "batch dim"],
    times: Sequence[float],
    schedule: Schedule,
    *,
    keep: Keep = "last",
) -> Float[Tensor, "batch times dim"]:
    """States of ``dx = (f - g^2 s / 2) dt`` from draws of the prior, by Euler's method.

    Parameters
    ----------
    score : callable
        ``score(x, t)``; of a potential, `score_of(potential)`.
    x : Tensor, shape (batch, dim)
        Draws of the prior.
    times : sequence of float
        Decreasing (`sampling_times`).
    schedule : Schedule
    keep : {"last", "all"}
        The states at the last of the times, or at all.

    Raises
    ------
    ValueError
        If the times do not decrease, or the schedule has no noise.
    SolverFailed
        If the score is NaN or infinite; says at which step, and at what share of the points.

    Examples
    --------
    >>> from semigroup.schedules import OrnsteinUhlenbeck
    >>> ends = sample_ode(lambda x, t: -2 * x, torch.ones(1, 1), sampling_times(5.0), OrnsteinUhlenbeck())
    >>> ends.shape, round(ends.item(), 3)
    (torch.Size([1, 1, 1]), 1.0)
    """
    _check_times(times, schedule)
    return euler_maruyama(_reverse_drift(score, times, schedule, 0.5), x, times, 0.0, keep=keep)


def sample_sde(
    score: Score,
    x: Float[Tensor, "batch dim"],
    times: Sequence[float],
    schedule: Schedule,
    generator: torch.Generator,
    *,
    keep: Keep = "last",
) -> Float[Tensor, "batch times dim"]:
    """States of ``dx = (f - g^2 s) dt + g dW`` from draws of the prior, by Euler-Maruyama, the last step without noise.

    Parameters, errors and result are those of `sample_ode`; `generator` is on the device of `x`.
    """
    _check_times(times, schedule)

    def noise(t: float) -> float:
        return 0.0 if t == times[-2] else float(schedule.diffusion(t))

    return euler_maruyama(_reverse_drift(score, times, schedule, 1.0), x, times, noise, generator, keep=keep)


def _check_times(times: Sequence[float], schedule: Schedule) -> None:
    if len(times) < 2 or not (np.diff(times) < 0).all() or times[-1] < 0:
        raise ValueError("times must decrease, from the horizon to a time >= 0 (sampling_times)")
    check_schedule(schedule, times[-1], times[0])


def _reverse_drift(
    score: Score, times: Sequence[float], schedule: Schedule, share: float
) -> Callable[[Tensor, float], Tensor]:
    """``f - share g^2 s`` for the integrators, which refuses a score that is not finite."""
    upward = list(times)[::-1]

    @torch.no_grad()
    def drift(x: Tensor, t: float) -> Tensor:
        s = score(x, x.new_full((len(x),), t))
        bad = ~torch.isfinite(s).all(1)
        if bad.any():
            step = len(upward) - 1 - bisect.bisect_left(upward, t - 1e-12)
            raise SolverFailed(
                f"the score is NaN or infinite at {bad.double().mean().item():.1%} of the points in step {step} of "
                f"{len(upward) - 1}, at time {t:.6g}"
            )
        return float(schedule.rate(t)) * x - share * float(schedule.diffusion(t)) ** 2 * s

    return drift


def ode_log_density(
    potential: Potential | None,
    x: Float[Tensor, "batch dim"],
    schedule: Schedule,
    *,
    score: Score | None = None,
    prior_std: float,
    min_time: float,
    horizon: float,
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> Float[Tensor, " batch"]:
    """Log-density of the ODE's law at points of time `min_time`, by the change of variables along the ODE, in nats.

    Parameters
    ----------
    potential : callable or None
        Or the `score` alone.
    x : Tensor, shape (batch, dim)
    schedule : Schedule
    score : callable, optional
        A score without potential.
    prior_std : float
        Of the Gaussian prior at the horizon.
    min_time, horizon : float
    rtol, atol : float
        Tolerances of the adaptive solver.

    Raises
    ------
    ValueError
        If not exactly one of potential and score is given, or a time or the prior's width is out of range.
    SolverFailed
        If the ODE cannot be solved.

    Examples
    --------
    >>> from semigroup.schedules import OrnsteinUhlenbeck
    >>> x = torch.zeros(1, 1, dtype=torch.float64)
    >>> stationary = lambda x, t: -x.square().sum(1)
    >>> log_density = ode_log_density(
    ...     stationary, x, OrnsteinUhlenbeck(), prior_std=0.5**0.5, min_time=1e-3, horizon=5.0
    ... )
    >>> round(log_density.exp().item() * np.pi**0.5, 6)
    1.0
    """
    if (potential is None) == (score is None):
        raise ValueError("potential or score must be given, and not both")
    check_number(prior_std, "prior_std", above=0)
    check_number(min_time, "min_time", minimum=0, below=horizon)
    check_schedule(schedule, min_time, horizon)
    span = [min_time, horizon]
    if score is not None:

        def drift(y: Tensor, t: float) -> Tensor:
            s = score(y, y.new_full((len(y),), t))
            return float(schedule.rate(t)) * y - float(schedule.diffusion(t)) ** 2 / 2 * s

        with torch.no_grad():
            path, integral = solve_ode_with_divergence(drift, x, span, rtol=rtol, atol=atol)
        return log_normal(path[:, -1], prior_std) + integral[:, -1]
    assert potential is not None
    dim = x.shape[1]

    def rates(state: Tensor, t: float) -> Tensor:
        # The jet has the divergence in closed form, so that the integral is one more column of the state.
        y = state[:, :dim]
        jet = derivatives(potential, y, y.new_full((len(y),), t))
        rate, half = float(schedule.rate(t)), float(schedule.diffusion(t)) ** 2 / 2
        return torch.cat([rate * y - half * jet.gradient, (rate * dim - half * jet.laplacian)[:, None]], dim=1)

    with torch.no_grad():
        start = torch.cat([x, torch.zeros_like(x[:, :1])], dim=1)
        end = solve_ode(rates, start, span, rtol=rtol, atol=atol, keep="last")[:, -1]
    return log_normal(end[:, :dim], prior_std) + end[:, dim]


def log_normal(x: Float[Tensor, "batch dim"], std: float) -> Float[Tensor, " batch"]:
    """Log-density of the centred Gaussian with this standard deviation in every coordinate."""
    return -(x / std).square().sum(1) / 2 - x.shape[1] * float(np.log(std * np.sqrt(2 * np.pi)))


@dataclass(frozen=True)
class FeynmanKac:
    """w = phi - log q and its gradient at some points, from forward paths.

    Attributes
    ----------
    gap : Tensor, shape (batch,)
        w; ``phi - gap`` is the log-density of the SDE's law.
    gradient : Tensor, shape (batch, dim)
        grad w: the score's error with respect to the SDE's own law.
    effective_paths : Tensor, shape (batch,)
        How many of the paths carry the weight; few of many is a warning.
    """

    gap: Float[Tensor, " batch"]
    gradient: Float[Tensor, "batch dim"]
    effective_paths: Float[Tensor, " batch"]


def feynman_kac(
    potential: Potential,
    x: Float[Tensor, "batch dim"],
    t: float,
    schedule: Schedule,
    *,
    prior_std: float,
    horizon: float,
    n_paths: int = 64,
    n_steps: int = 40,
    generator: torch.Generator,
) -> FeynmanKac:
    """``exp(-w) = E[exp(int_t^T R) pi(X_T) / exp(phi(X_T, T)) | X_t = x]`` over exact forward paths.

    The forward process is linear, ``X_s = a X_t + noise``, so that the gradient of w is the same expectation of
    ``-(int a(s) grad R ds + a(T) grad log(pi / exp phi))`` under the paths' weights.

    Parameters
    ----------
    potential : callable
    x : Tensor, shape (batch, dim)
        States at time `t`.
    t : float
    schedule : Schedule
    prior_std, horizon : float
    n_paths : int
        From each state.
    n_steps : int
        Steps of a path, finer near `t`, where the residual changes fastest.
    generator : torch.Generator
        On the device of `x`.

    Raises
    ------
    ValueError
        If `t` is not within [0, horizon], or a count or the prior's width is not positive.

    Examples
    --------
    An exact potential has no gap.

    >>> from semigroup.schedules import OrnsteinUhlenbeck
    >>> stationary = lambda x, t: -x.square().sum(1) - np.log(np.pi) / 2
    >>> found = feynman_kac(
    ...     stationary,
    ...     torch.randn(3, 1),
    ...     0.1,
    ...     OrnsteinUhlenbeck(),
    ...     prior_std=0.5**0.5,
    ...     horizon=5.0,
    ...     n_paths=4,
    ...     generator=torch.Generator(),
    ... )
    >>> bool((found.gap.abs() < 1e-4).all()), bool((found.gradient.abs() < 1e-4).all())
    (True, True)
    """
    check_number(prior_std, "prior_std", above=0)
    check_number(t, "t", minimum=0, maximum=horizon)
    check_integer(n_paths, "n_paths", minimum=1)
    check_integer(n_steps, "n_steps", minimum=1)
    check_schedule(schedule, t, horizon)
    batch, dim = x.shape
    grid = t + (horizon - t) * np.linspace(0, 1, n_steps + 1) ** 2
    scales, stds = (np.array([float(part(s)) for s in grid]) for part in (schedule.scale, schedule.std))
    # Of the trapezoidal rule.
    weights = (np.diff(grid, prepend=grid[0]) + np.diff(grid, append=grid[-1])) / 2
    state = x.repeat_interleave(n_paths, dim=0)
    exponent = x.new_zeros(len(state))
    pathwise = torch.zeros_like(state)
    with torch.no_grad():
        for i, s in enumerate(grid):
            if i:
                factor = scales[i] / scales[i - 1]
                spread = np.sqrt(max(0.0, stds[i] ** 2 - (factor * stds[i - 1]) ** 2))
                z = torch.randn(state.shape, generator=generator, dtype=x.dtype, device=x.device)
                state = factor * state + spread * z
            slope, R = residual_gradient(potential, state, x.new_full((len(state),), float(s)), schedule)
            exponent += weights[i] * R
            pathwise += weights[i] * scales[i] / scales[0] * slope
        end = derivatives(potential, state, x.new_full((len(state),), horizon))
        exponent += log_normal(state, prior_std) - end.value
        pathwise += scales[-1] / scales[0] * (-state / prior_std**2 - end.gradient)
    exponent = exponent.reshape(batch, n_paths)
    share = torch.softmax(exponent, dim=1)
    return FeynmanKac(
        gap=float(np.log(n_paths)) - torch.logsumexp(exponent, dim=1),
        gradient=-(share[:, :, None] * pathwise.reshape(batch, n_paths, dim)).sum(1),
        effective_paths=1 / share.square().sum(1),
    )

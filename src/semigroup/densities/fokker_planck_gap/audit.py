"""The audit of any model: its gap from samples, and estimates of the three bounds on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from semigroup.base import check_array, check_integer, check_number
from semigroup.densities.fokker_planck_gap.gaps import Bound, Gap, gap_of_samples, wasserstein_bounds
from semigroup.densities.fokker_planck_gap.laws import (
    feynman_kac,
    log_normal,
    sample_ode,
    sample_sde,
    sampling_times,
)
from semigroup.densities.fokker_planck_gap.potential import Potential, Score, hessian, score_of
from semigroup.densities.fokker_planck_gap.residual import residual, rows_at_once
from semigroup.schedules import Schedule

__all__ = ["bound", "gap"]

MOST_NORMALISED = 3  # dimensions in which the normaliser is found by quadrature
NODES = {1: 4000, 2: 200, 3: 60}  # a side, of that quadrature


def gap(
    score: Score,
    schedule: Schedule,
    X: Any = None,
    *,
    box: Float[Tensor, "2 dim"],
    horizon: float | None = None,
    prior_std: float | None = None,
    n_samples: int = 5000,
    n_steps: int = 200,
    n_bins: int = 64,
    generator: torch.Generator,
) -> Gap:
    """Wasserstein-2 distances between samples of a model's ODE, of its SDE, and data, inside a box.

    Parameters
    ----------
    score : callable
        ``score(x, t)`` gives a vector a row; of a potential, `score_of(potential)`.
    schedule : Schedule
    X : array-like or Tensor, shape (n, dim), optional
        Data to compare with, in the model's coordinates.
    box : Tensor, shape (2, dim)
        Lower and upper corners. Its type and device are those in which the score is evaluated.
    horizon : float, optional
        Where the prior takes over; by default the schedule's.
    prior_std : float, optional
        Of the Gaussian prior; by default that of the noise at the horizon.
    n_samples, n_steps, n_bins : int
        Rows of each sample; steps of the samplers (`sampling_times`); grid of the histograms in two dimensions.
    generator : torch.Generator
        On the device of `box`.

    Raises
    ------
    ValueError
        If an argument is out of its range; before anything is sampled.

    Examples
    --------
    The score of an Ornstein-Uhlenbeck process at rest, made a tenth too large: the ODE's law is wider than the SDE's.

    >>> from semigroup.schedules import OrnsteinUhlenbeck
    >>> box, generator = torch.tensor([[-4.0], [4.0]]), torch.Generator().manual_seed(0)
    >>> found = gap(lambda x, t: -2.2 * x, OrnsteinUhlenbeck(5.0), box=box, n_samples=4000, generator=generator)
    >>> 0.1 < found.ode_sde < 0.6, found.floor < 0.05
    (True, True)
    """
    check_integer(n_samples, "n_samples", minimum=2)
    check_integer(n_bins, "n_bins", minimum=2)
    dim = box.shape[1]
    truth = None if X is None else check_array(X, "X", ndim=2, n_columns=dim)
    horizon, prior_std = _prior(schedule, horizon, prior_std)
    times = sampling_times(horizon, n_steps)

    def start() -> Tensor:
        return prior_std * torch.randn(n_samples, dim, generator=generator, dtype=box.dtype, device=box.device)

    ode = sample_ode(score, start(), times, schedule)
    sde, again = (sample_sde(score, start(), times, schedule, generator) for _ in range(2))
    return gap_of_samples(ode[:, -1], sde[:, -1], again[:, -1], box.double().cpu().numpy(), X=truth, n_bins=n_bins)


def bound(
    potential: Potential,
    schedule: Schedule,
    *,
    box: Float[Tensor, "2 dim"],
    horizon: float | None = None,
    prior_std: float | None = None,
    min_time: float = 1e-3,
    n_samples: int = 500,
    n_steps: int = 200,
    n_states: int = 128,
    n_paths: int = 8,
    n_times: int = 20,
    generator: torch.Generator,
) -> Bound:
    """Estimates of the three upper bounds on the gap of a potential, and of both sides of the energy identity.

    They are estimates and no certificates: the largest eigenvalue is taken over samples of both laws rather than over all of
    space, the normaliser is a quadrature over the box, and the energy and the Fisher term come from random paths.

    Parameters
    ----------
    potential : callable
        ``potential(x, t)`` gives one number a row; a score alone has no bound here, because it has no normaliser.
    schedule : Schedule
    box : Tensor, shape (2, dim)
        Lower and upper corners; holds the mass of ``exp(phi)`` at `min_time`. Its type and device are those in which the
        potential is evaluated.
    horizon, prior_std : float, optional
        As for `gap`.
    min_time : float
        The audit's least time.
    n_samples, n_steps : int
        States of each law at each time of the samplers, and their steps.
    n_states, n_paths, n_times : int
        For the Fisher term: states at a time (the SDE's, in turn), forward paths of each of two estimates there, and times.
    generator : torch.Generator
        On the device of `box`.

    Raises
    ------
    ValueError
        In more than three dimensions, where there is no quadrature; or if an argument is out of its range.

    Examples
    --------
    An exact potential: both laws are the data, and the bounds are zero up to rounding.

    >>> from semigroup.schedules import OrnsteinUhlenbeck
    >>> box, generator = torch.tensor([[-4.0], [4.0]], dtype=torch.float64), torch.Generator().manual_seed(0)
    >>> stationary = lambda x, t: -x.square().sum(1)
    >>> found = bound(stationary, OrnsteinUhlenbeck(9.0), box=box, n_samples=50, n_steps=40, generator=generator)
    >>> found.direct < 1e-6, found.residual < 1e-3
    (True, True)
    """
    for name, value in (("n_samples", n_samples), ("n_paths", n_paths), ("n_times", n_times)):
        check_integer(value, name, minimum=2)
    check_integer(n_states, "n_states", minimum=1)
    dim = box.shape[1]
    if dim > MOST_NORMALISED:
        raise ValueError(
            f"bound is for at most {MOST_NORMALISED} dimensions, where exp(phi) can be normalised by quadrature, got {dim}; "
            "gap and residual_profile have no limit"
        )
    horizon, prior_std = _prior(schedule, horizon, prior_std)
    check_number(min_time, "min_time", above=0, below=horizon)
    down, score = sampling_times(horizon, n_steps), score_of(potential)
    states = {}
    for law in ("sde", "ode"):
        x = prior_std * torch.randn(n_samples, dim, generator=generator, dtype=box.dtype, device=box.device)
        path = (
            sample_ode(score, x, down, schedule, keep="all")
            if law == "ode"
            else sample_sde(score, x, down, schedule, generator, keep="all")
        )
        states[law] = path.transpose(0, 1)
    kept = [i for i, t in enumerate(down) if t >= min_time][::-1]
    times = np.array([down[i] for i in kept])
    flat_times = torch.from_numpy(times).to(box).repeat_interleave(n_samples)
    drawn = {law: path[kept].reshape(-1, dim) for law, path in states.items()}
    with torch.no_grad():
        R = _by_rows(lambda x, t: residual(potential, x, t, schedule), drawn["sde"], flat_times)
        bends = [
            _by_rows(lambda x, t: torch.linalg.eigvalsh(hessian(potential, x, t))[:, -1], rows, flat_times)
            for rows in drawn.values()
        ]
        prior = states["sde"][0]
        terminal = log_normal(prior, prior_std) - potential(prior, prior.new_full((n_samples,), horizon))
    along = np.trapezoid(R.reshape(len(times), n_samples).double().cpu().numpy(), times, axis=0)
    along += terminal.double().cpu().numpy() + _log_normaliser(potential, box, float(times[0]))
    energy, error = _mean_with_control(along)

    # Closer together near the data, whatever the samplers' own steps do there.
    wanted = times[0] + (times[-1] - times[0]) * np.linspace(0, 1, n_times) ** 2
    chosen = np.unique(np.abs(times[:, None] - wanted).argmin(axis=0))
    fisher, effective = [], []
    for k, i in enumerate(chosen):
        # Other paths at each time, so that their chance averages out over time.
        rows = (k * n_states + torch.arange(n_states, device=box.device)) % n_samples
        found = feynman_kac(
            potential,
            states["sde"][kept[i]][rows].repeat(2, 1),
            float(times[i]),
            schedule,
            prior_std=prior_std,
            horizon=horizon,
            n_paths=n_paths,
            generator=generator,
        )
        # The product of two estimates of one gradient, since the square of one is too large by its variance.
        one, other = found.gradient.chunk(2)
        fisher.append(max(0.0, float((one * other).sum(1).mean())))
        effective.append(float(found.effective_paths.mean()) / n_paths)
    noise = np.array([float(schedule.diffusion(t)) for t in times])
    rate = np.array([float(schedule.rate(t)) for t in times])
    largest = torch.stack(bends).reshape(2, len(times), n_samples).amax((0, 2)).double().cpu().numpy()
    expansion = -rate + noise**2 / 2 * largest
    # The root is what the direct bound integrates, and is less bent between the times than its square.
    between = np.interp(times, times[chosen], np.sqrt(fisher)) ** 2
    made = wasserstein_bounds(times, noise, expansion, between, energy)
    return Bound(**(vars(made) | {"effective_paths": min(effective), "energy_error": error}))


def _prior(schedule: Schedule, horizon: float | None, prior_std: float | None) -> tuple[float, float]:
    """Where the prior takes over, and its width."""
    end = check_number(schedule.horizon if horizon is None else horizon, "horizon", above=0)
    return end, check_number(float(schedule.std(end)) if prior_std is None else prior_std, "prior_std", above=0)


def _mean_with_control(along: Float[np.ndarray, " paths"]) -> tuple[float, float]:
    """Mean over paths of the SDE, and its standard error, of the logarithm of their density.

    The density is with respect to the forward process that starts from ``exp(phi_0) / Z``, so that ``exp(-along)`` has the mean
    1. What it is off by in the sample is known to be chance, and most of the chance in the mean of `along` goes with it.
    """
    # Kept from overflowing; a path so improbable makes the regression's coefficient zero.
    off = np.expm1(np.minimum(-along, 100.0))
    spread = off.var()
    coefficient = -((along - along.mean()) * off).mean() / spread if spread > 0 else 0.0
    values = along + coefficient * off
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def _by_rows(function: Callable[[Tensor, Tensor], Tensor], x: Tensor, t: Tensor) -> Tensor:
    chunk = rows_at_once(x.shape[1])
    return torch.cat([function(a, b) for a, b in zip(x.split(chunk), t.split(chunk), strict=True)])


def _log_normaliser(potential: Potential, box: Float[Tensor, "2 dim"], t: float) -> float:
    """Log of the integral of exp(phi) over the box, by the midpoint rule."""
    dim = box.shape[1]
    n = NODES[dim]
    middles = [low + (high - low) * (torch.arange(n, device=box.device) + 0.5) / n for low, high in box.T]
    points = torch.cartesian_prod(*middles).reshape(-1, dim)
    with torch.no_grad():
        phi = _by_rows(potential, points, torch.full_like(points[:, 0], t))
    return float(phi.double().logsumexp(0) + ((box[1] - box[0]).double() / n).log().sum())

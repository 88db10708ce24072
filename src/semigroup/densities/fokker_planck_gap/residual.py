"""The residual of the Fokker-Planck equation: of a potential, of a score alone, and over a box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from semigroup.base import check_integer, check_number
from semigroup.densities.fokker_planck_gap.potential import Potential, Score, derivatives
from semigroup.schedules import Schedule
from semigroup.sde import divergence

__all__ = [
    "ResidualProfile",
    "check_schedule",
    "residual",
    "residual_gradient",
    "residual_profile",
    "rows_at_once",
    "score_residual",
    "uniform_points",
]

CHUNK = 2**17  # rows times derivatives of each; bounds the memory


def residual(
    potential: Potential,
    x: Float[Tensor, "batch dim"],
    t: Float[Tensor, " batch"],
    schedule: Schedule,
    *,
    probes: Float[Tensor, "probe batch dim"] | None = None,
) -> Float[Tensor, " batch"]:
    """``R = d phi/dt + div f + f . grad phi - g^2 (lap phi + |grad phi|^2) / 2``, in 1 / time.

    It contains the time derivative of the constant that denoising score matching leaves open: its mean over space at a time
    says nothing about the gap (`residual_profile` takes it out).

    Parameters
    ----------
    potential, x, t, probes
        As for `derivatives`.
    schedule : Schedule
        Gives f(x, t) = rate(t) x and g(t).

    Raises
    ------
    ValueError
        As `derivatives` does.

    Examples
    --------
    The stationary law of the Ornstein-Uhlenbeck process solves its Fokker-Planck equation.

    >>> from semigroup.schedules import OrnsteinUhlenbeck
    >>> x, t = torch.randn(4, 2), torch.rand(4)
    >>> R = residual(lambda x, t: -x.square().sum(1), x, t, OrnsteinUhlenbeck())
    >>> bool((R.abs() < 1e-5).all())
    True
    """
    jet = derivatives(potential, x, t, probes=probes)
    rate, noise = schedule.rate(t), schedule.diffusion(t) ** 2
    carried = rate * (x.shape[1] + (x * jet.gradient).sum(1))
    return jet.time + carried - noise / 2 * (jet.laplacian + jet.gradient.square().sum(1))


def residual_gradient(
    potential: Potential, x: Float[Tensor, "batch dim"], t: Float[Tensor, " batch"], schedule: Schedule
) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, " batch"]]:
    """``grad R`` of a potential, by differentiating R once more, and R itself."""
    trained = torch.is_grad_enabled()
    with torch.enable_grad():
        # Plain automatic differentiation: torch.func.grad costs half as much again on the few rows of a step.
        y = x if x.requires_grad else x.detach().requires_grad_()
        R = residual(potential, y, t, schedule)
        (gradient,) = torch.autograd.grad(R.sum(), y, create_graph=trained)
    return (gradient, R) if trained else (gradient, R.detach())


def score_residual(
    score: Score, x: Float[Tensor, "batch dim"], t: Float[Tensor, " batch"], schedule: Schedule
) -> Float[Tensor, "batch dim"]:
    """``ds/dt + grad [div f + f . s - g^2 (div s + |s|^2) / 2]``: the residual of a score that has no potential.

    Parameters
    ----------
    score : callable
        ``score(x, t)`` gives a vector a row.
    x, t, schedule
        As for `residual`.

    Returns
    -------
    Tensor, shape (batch, dim)
        Zero for the score of the forward process's marginals; for a potential's score it is the gradient of `residual`.

    References
    ----------
    Lai, C.-H. et al. (2023). FP-Diffusion. ICML, the score Fokker-Planck equation.

    Examples
    --------
    >>> from semigroup.schedules import OrnsteinUhlenbeck
    >>> x, t = torch.randn(4, 2), torch.rand(4)
    >>> bool((score_residual(lambda x, t: -2 * x, x, t, OrnsteinUhlenbeck()).abs() < 1e-5).all())
    True
    """
    rate, noise = schedule.rate(t), schedule.diffusion(t) ** 2

    def flow(y: Tensor) -> Tensor:
        s, div = divergence(lambda z: score(z, t), y)
        return (rate * (y * s).sum(1) - noise / 2 * (div + s.square().sum(1))).sum()

    change = torch.func.jvp(lambda u: score(x, u), (t,), (torch.ones_like(t),))[1]
    if change.shape != x.shape:
        raise ValueError(f"score must give a vector a row, shape {tuple(x.shape)}, got {tuple(change.shape)}")
    return change + torch.func.grad(flow)(x)


@dataclass(frozen=True)
class ResidualProfile:
    """The residual over a box at some times, its mean over space kept apart.

    Attributes
    ----------
    times : ndarray, shape (n_times,)
        Increasing.
    mean : ndarray, shape (n_times,)
        Spatial mean; without meaning unless the potential is normalised.
    std : ndarray, shape (n_times,)
        Root mean square of what is left: this is what separates the two laws.
    """

    times: Float[np.ndarray, " times"]
    mean: Float[np.ndarray, " times"]
    std: Float[np.ndarray, " times"]

    @property
    def mean_square(self) -> float:
        """Mean of R^2 over the box and over time (uniform between the first and the last), the spatial mean included."""
        return self._over_time(self.mean**2 + self.std**2)

    @property
    def centred_mean_square(self) -> float:
        """Mean of R^2 over the box and over time, without the spatial mean of each time."""
        return self._over_time(self.std**2)

    def _over_time(self, values: Float[np.ndarray, " times"]) -> float:
        # By the trapezoidal rule, because the times may lie closer together near the data, where the residual is largest.
        if len(values) == 1:
            return float(values[0])
        return float(np.trapezoid(values, self.times) / (self.times[-1] - self.times[0]))


def residual_profile(
    potential: Potential,
    times: Sequence[float],
    box: Float[Tensor, "2 dim"],
    schedule: Schedule,
    *,
    n_points: int = 1000,
    generator: torch.Generator,
) -> ResidualProfile:
    """The residual at points uniform in a box, at each time.

    Parameters
    ----------
    potential : callable
        A score without potential has no residual, only its gradient: `score_residual`.
    times : sequence of float
        Increasing.
    box : Tensor, shape (2, dim)
        Lower and upper corners.
    schedule : Schedule
    n_points : int
        Points at each time.
    generator : torch.Generator
        On the device of `box`.

    Examples
    --------
    >>> from semigroup.schedules import OrnsteinUhlenbeck
    >>> stationary = lambda x, t: 3 * t - x.square().sum(1)
    >>> box = torch.tensor([[-2.0], [2.0]])
    >>> profile = residual_profile(stationary, [0.1, 1.0], box, OrnsteinUhlenbeck(), generator=torch.Generator())
    >>> profile.mean.round(4), bool(profile.centred_mean_square < 1e-10)
    (array([3., 3.]), True)
    """
    check_integer(n_points, "n_points", minimum=1)
    at = np.asarray(list(times), dtype=np.float64)
    if not len(at) or not (np.diff(at) > 0).all():
        raise ValueError("times must increase")
    check_schedule(schedule, float(at[0]), float(at[-1]))
    t = torch.from_numpy(at).to(box).repeat_interleave(n_points)
    x = uniform_points(box, len(t), generator)
    chunk = rows_at_once(box.shape[1])
    with torch.no_grad():
        parts = [residual(potential, a, b, schedule) for a, b in zip(x.split(chunk), t.split(chunk), strict=True)]
    R = torch.cat(parts).double().reshape(len(at), n_points).cpu().numpy()
    return ResidualProfile(at, R.mean(1), R.std(1))


def rows_at_once(dim: int) -> int:
    """How many rows to differentiate together: value, time derivative, Laplacian and a derivative a column are held of each."""
    return max(1, CHUNK // (dim + 3))


def uniform_points(box: Float[Tensor, "2 dim"], n: int, generator: torch.Generator) -> Float[Tensor, "n dim"]:
    """Points uniform in a box."""
    u = torch.rand(n, box.shape[1], generator=generator, dtype=box.dtype, device=box.device)
    return box[0] + u * (box[1] - box[0])


def check_schedule(schedule: Schedule, min_time: float, horizon: float) -> None:
    """Refuse a schedule whose diffusion is not positive on the interval, its lower end excepted."""
    check_number(horizon, "horizon", above=0)
    noise = schedule.diffusion(torch.linspace(min_time, horizon, 101, dtype=torch.float64)[1:])
    if not bool((torch.isfinite(noise) & (noise > 0)).all()):
        worst = float(noise.nan_to_num(0.0).min())
        raise ValueError(f"schedule must have a positive diffusion on ({min_time:g}, {horizon:g}], got {worst:g}")

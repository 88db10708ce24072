"""Fields of an interpolant, and what they are for: samples by an ODE or an SDE, and likelihoods.

With velocity b and score s the density of x_t solves ``d rho / dt + div((b + e s) rho) = e laplace(rho)`` for every ``e(t) >=
0``, and the same with both signs of e reversed backward in time. So the noise level epsilon is chosen when sampling, not when
learning; at zero the SDE is the ODE.

Any `Fields` will do: those that were learnt, or the exact ones of Gaussian mixtures.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from semigroup.densities.interpolants.paths import Interpolant, LinearInterpolant, Zero
from semigroup.densities.mixtures import MixturePath
from semigroup.sde import (
    Keep,
    SolverFailed,
    divergence,
    euler_maruyama,
    heun,
    solve_ode,
    solve_ode_with_divergence,
)

__all__ = [
    "ExactFields",
    "Fields",
    "LearntFields",
    "best_epsilon",
    "denoising_chain",
    "feynman_kac_paths",
    "likelihood_bound",
    "noise_size",
    "ode_log_likelihood",
    "reverse_sde_paths",
    "sample_ode",
    "sample_sde",
    "time_grid",
]

Epsilon = float | Callable[[float], float]


# --- fields --------------------------------------------------------------------------------------------------------


class Fields(ABC):
    """Velocity and score at one time for a batch of states."""

    stops: tuple[float, ...] = ()

    @property
    def noise_scale(self) -> float:
        """What noise levels times steps are held against, in squared units of the data; 1 where nothing is known of it."""
        return 1.0

    @abstractmethod
    def velocity(self, x: Float[Tensor, "batch *shape"], t: float) -> Float[Tensor, "batch *shape"]:
        """``b``: carries the density of the interpolant."""

    @abstractmethod
    def score(self, x: Float[Tensor, "batch *shape"], t: float) -> Float[Tensor, "batch *shape"]:
        """``s``: gradient of its logarithm."""

    def both(self, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """Velocity and score."""
        return self.velocity(x, t), self.score(x, t)

    def drift(self, x: Float[Tensor, "batch *shape"], t: float, epsilon: float) -> Float[Tensor, "batch *shape"]:
        """``b + epsilon s``; backward in time epsilon is negative."""
        if epsilon == 0:
            return self.velocity(x, t)
        velocity, score = self.both(x, t)
        return velocity + epsilon * score


class ExactFields(Fields):
    """The fields of a path between Gaussian mixtures in closed form."""

    def __init__(self, path: MixturePath, stops: tuple[float, ...] = ()) -> None:
        self.path, self.stops = path, stops

    @property
    def noise_scale(self) -> float:
        highest = max(self.path.coefficients(t).gamma for t in np.linspace(0, 1, 41).tolist())
        return 4 * highest**2 or 1.0

    def velocity(self, x: Float[Tensor, "batch dim"], t: float) -> Float[Tensor, "batch dim"]:
        return self.path.velocity(x, t)

    def score(self, x: Float[Tensor, "batch dim"], t: float) -> Float[Tensor, "batch dim"]:
        return self.path.score(x, t)

    def both(self, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        return self.path.velocity_and_score(x, t)


class LearntFields(Fields):
    """The fields that follow from those which were learnt, by the algebra of the interpolant.

    For ``I = alpha x0 + beta x1`` the posterior means obey ``x = alpha eta0 + beta eta1 + gamma eta`` and
    ``b = alpha' eta0 + beta' eta1 + gamma' eta``, so that two of them give everything; one-sided, with x0 the noise, one does.

    Parameters
    ----------
    interpolant : Interpolant
    networks : mapping of str to callable
        ``network(x, t)`` with one time a row, by the names of `semigroup.densities.interpolants.losses`.
    mean : Tensor, optional
        ``E[x1]``, for the one-sided velocity at t = 0.
    covariance : Tensor, shape (dim, dim), optional
        C0 of a one-sided interpolant's Gaussian; the identity by default.
    """

    def __init__(
        self,
        interpolant: Interpolant,
        networks: Mapping[str, Callable[[Tensor, Tensor], Tensor]],
        *,
        mean: Tensor | None = None,
        covariance: Float[Tensor, "dim dim"] | None = None,
    ) -> None:
        self.interpolant, self.networks, self.mean, self.covariance = interpolant, networks, mean, covariance
        self.precision = None if covariance is None else torch.linalg.inv(covariance)
        self.stops = interpolant.stops

    @property
    def noise_scale(self) -> float:
        """The a of "brownian", and ``4 max gamma^2`` in general; one-sided, the variance of the noise."""
        if self.interpolant.sides == "one":
            return 1.0 if self.covariance is None else float(self.covariance.diagonal().mean())
        highest = float(self.interpolant.gamma.value(torch.linspace(0, 1, 1001, dtype=torch.float64)).max())
        return 4 * highest**2 or 1.0

    @property
    def has_score(self) -> bool:
        """Whether what was learnt determines the score."""
        known = set(self.networks)
        if self.interpolant.sides == "one":
            return True
        if isinstance(self.interpolant.gamma, Zero):
            return False
        return bool(known & {"s", "energy", "eta"}) or {"eta0", "eta1"} <= known

    def velocity(self, x: Float[Tensor, "batch *shape"], t: float) -> Float[Tensor, "batch *shape"]:
        return self._velocity(x, t, self._evaluate(x, t))

    def score(self, x: Float[Tensor, "batch *shape"], t: float) -> Float[Tensor, "batch *shape"]:
        return self._score(x, t, self._evaluate(x, t, self._score_names()))

    def both(self, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        known = self._evaluate(x, t, tuple(self.networks))
        return self._velocity(x, t, known), self._score(x, t, known)

    def denoiser(self, x: Float[Tensor, "batch *shape"], t: float) -> Float[Tensor, "batch *shape"]:
        """``E[z | x_t = x]``; one-sided, ``E[x0 | x_t = x]``."""
        return self._noise(x, t, self._evaluate(x, t, self._score_names()))

    def target_mean(self, x: Float[Tensor, "batch *shape"], t: float) -> Float[Tensor, "batch *shape"]:
        """``E[x1 | x_t = x]``: what a final step of denoising returns.

        Two-sided it follows from two linear equations,
        ``(alpha (b - gamma' eta) - alpha' (x - gamma eta)) / (alpha beta' - alpha' beta)``, and where x0 has left x_t for good
        from the second alone.

        Raises
        ------
        ValueError
            If x1 does not enter x_t at this time, as in the first half of "encoding-decoding".
        """
        known = self._evaluate(x, t, tuple(self.networks))
        if "eta1" in known:
            return known["eta1"]
        interpolant = self._linear()
        c = interpolant.coefficients(t)
        noise = None if isinstance(interpolant.gamma, Zero) and interpolant.sides == "two" else self._noise(x, t, known)
        if interpolant.sides == "one":
            assert noise is not None
            return (x - c.alpha * noise) / c.beta
        rest = x if noise is None else x - c.gamma * noise
        if interpolant.sides == "mirror":
            return rest
        determinant = c.alpha * c.beta_dot - c.alpha_dot * c.beta
        if determinant == 0:
            if c.beta == 0:
                raise ValueError(f"t must be a time at which x1 enters x_t, got {t:g}")
            return rest / c.beta
        spatial = self._velocity(x, t, known)
        if noise is not None:
            spatial = spatial - c.gamma_gamma_dot / c.gamma * noise
        return (c.alpha * spatial - c.alpha_dot * rest) / determinant

    # --- algebra ---

    def _linear(self) -> LinearInterpolant:
        if not isinstance(self.interpolant, LinearInterpolant):
            raise ValueError("this needs a path of the form alpha x0 + beta x1 + gamma z")
        return self.interpolant

    def _score_names(self) -> tuple[str, ...]:
        """The networks that the score needs, the fewest."""
        for name in ("s", "energy", "eta"):
            if name in self.networks:
                return (name,)
        return tuple(self.networks)

    def _evaluate(self, x: Tensor, t: float, names: tuple[str, ...] | None = None) -> dict[str, Tensor]:
        if names is None:
            names = ("b",) if "b" in self.networks else tuple(self.networks)
        time = x.new_full((len(x),), t)
        return {name: self.networks[name](x, time) for name in names}

    def _coefficients(self, t: float) -> tuple[float, float]:
        """gamma and gamma gamma'."""
        time = torch.tensor(t, dtype=torch.float64)
        return float(self.interpolant.gamma.value(time)), float(self.interpolant.gamma.product(time))

    def _noise(self, x: Tensor, t: float, known: Mapping[str, Tensor]) -> Tensor:
        """The denoiser: ``E[z | x]``, one-sided ``E[x0 | x]``."""
        if "eta" in known:
            return known["eta"]
        if self.interpolant.sides == "one":
            c = self._linear().coefficients(t)
            if "eta1" in known:
                return (x - c.beta * known["eta1"]) / c.alpha
            if "b" in known:
                # The two equations above, solved for eta0: regular at both ends.
                return (c.beta * known["b"] - c.beta_dot * x) / (c.alpha_dot * c.beta - c.alpha * c.beta_dot)
            score = known["s"] if "s" in known else known["energy"]
            return -c.alpha * (score if self.covariance is None else score @ self.covariance)
        gamma, _ = self._coefficients(t)
        for name in ("s", "energy"):
            if name in known:
                return -gamma * known[name]
        if {"eta0", "eta1"} <= set(known):
            c = self._linear().coefficients(t)
            return (x - c.alpha * known["eta0"] - c.beta * known["eta1"]) / gamma
        raise ValueError(f"learn must hold 's', 'eta' or ('eta0', 'eta1') for the score, got {tuple(self.networks)}")

    def _score(self, x: Tensor, t: float, known: Mapping[str, Tensor]) -> Tensor:
        for name in ("s", "energy"):
            if name in known:
                return known[name]
        noise = self._noise(x, t, known)
        if self.interpolant.sides == "one":
            whitened = noise if self.precision is None else noise @ self.precision
            return -whitened / self._linear().coefficients(t).alpha
        return -noise / self._coefficients(t)[0]

    def _velocity(self, x: Tensor, t: float, known: Mapping[str, Tensor]) -> Tensor:
        if "b" in known:
            return known["b"]
        if self.interpolant.sides == "one":
            return self._one_sided_velocity(x, t, known)
        gamma, product = self._coefficients(t)
        without_noise = isinstance(self.interpolant.gamma, Zero)
        # gamma' eta, by the product where the score is what is known.
        if "s" in known or "energy" in known:
            latent: Tensor | float = -product * self._score(x, t, known)
        else:
            latent = 0.0 if without_noise else product / gamma * self._noise(x, t, known)
        if self.interpolant.sides == "mirror":
            return latent + torch.zeros_like(x)
        if "v" in known:
            return known["v"] + latent
        c = self._linear().coefficients(t)
        noise = known.get("eta")
        if "eta0" in known and "eta1" in known:
            start, end = known["eta0"], known["eta1"]
        elif "eta0" in known:
            start = known["eta0"]
            end = (x - c.alpha * start - gamma * noise) / c.beta  # type: ignore[operator]
        else:
            end = known["eta1"]
            start = (x - c.beta * end - gamma * noise) / c.alpha  # type: ignore[operator]
        return c.alpha_dot * start + c.beta_dot * end + latent

    def _one_sided_velocity(self, x: Tensor, t: float, known: Mapping[str, Tensor]) -> Tensor:
        interpolant = self._linear()
        c = interpolant.coefficients(t)
        if "s" in known or "energy" in known:
            # alpha' eta0 = -alpha alpha' C0 s, which is finite at t = 1 where alpha' is not.
            product = float(interpolant.alpha_product(torch.tensor(t, dtype=torch.float64)))
            score = self._score(x, t, known)
            start = -product * (score if self.covariance is None else score @ self.covariance)
        else:
            start = c.alpha_dot * self._noise(x, t, known)
        if "eta1" in known:
            return start + c.beta_dot * known["eta1"]
        if t == 0:
            mean = 0.0 if self.mean is None else self.mean
            return c.alpha_dot * x + c.beta_dot * mean
        return start + c.beta_dot / c.beta * (x - c.alpha * self._noise(x, t, known))


# --- sampling ------------------------------------------------------------------------------------------------------


def noise_size(interpolant: Interpolant, t: Tensor) -> Tensor:
    """gamma, or one-sided alpha."""
    if interpolant.sides == "one":
        assert isinstance(interpolant, LinearInterpolant)
        return interpolant.alpha(t)
    return interpolant.gamma.value(t)


def time_grid(interpolant: Interpolant, start: float, stop: float, n_steps: int) -> list[float]:
    """Times whose steps are proportional to the size of the noise, gamma or one-sided alpha.

    The score is of the order one over that size where it is learnt as a denoiser, so each step moves a state by as much as
    any other and constant noise levels stay stable at the ends. For "brownian" it is ``t = sin(u)^2`` with equal steps in u.
    Where one over the size has no finite integral the ends would take nearly all steps, so none is longer than three equal ones.

    Examples
    --------
    >>> from semigroup.densities.interpolants import LinearPath
    >>> [round(t, 3) for t in time_grid(LinearPath(), 0.0, 1.0, 4)]
    [0.0, 0.146, 0.5, 0.854, 1.0]
    """
    if interpolant.sides == "two" and isinstance(interpolant.gamma, Zero):
        return np.linspace(start, stop, n_steps + 1).tolist()
    # Nodes that crowd at both ends; the outermost billionth counts as its neighbour.
    low, high = (min(max(time, 1e-9), 1 - 1e-9) for time in (start, stop))
    nodes = torch.sigmoid(
        torch.linspace(math.log(low / (1 - low)), math.log(high / (1 - high)), 20_001, dtype=torch.float64)
    )
    t = nodes.numpy()
    density = (1 / noise_size(interpolant, nodes)).numpy()
    density = np.maximum(density / np.trapezoid(density, t), 0.5 / (high - low))
    u = np.concatenate([[0.0], np.cumsum(np.diff(t) * (density[1:] + density[:-1]) / 2)])
    grid = np.interp(np.linspace(0, u[-1], n_steps + 1), u, t)
    grid[0], grid[-1] = start, stop
    return grid.tolist()


def sample_ode(
    fields: Fields,
    x: Float[Tensor, "batch *shape"],
    times: Sequence[float],
    *,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    keep: Keep = "all",
) -> Float[Tensor, "batch times *shape"]:
    """Paths of ``dX = b dt`` through `times`, increasing or decreasing, by an adaptive method."""
    return solve_ode(fields.velocity, x, times, rtol=rtol, atol=atol, stops=fields.stops, keep=keep)


def sample_sde(
    fields: Fields,
    x: Float[Tensor, "batch *shape"],
    times: Sequence[float],
    epsilon: Epsilon,
    generator: torch.Generator,
    *,
    method: Literal["heun", "euler-maruyama"] = "heun",
    max_step: float | None = None,
    keep: Keep = "all",
) -> Float[Tensor, "batch times *shape"]:
    """Paths of ``dX = (b + e s) dt + sqrt(2 e) dW`` forward, or ``(b - e s)`` backward in time where `times` decrease.

    Parameters
    ----------
    fields : Fields
    x : Tensor, shape (batch, *shape)
        States at ``times[0]``.
    times : sequence of float
    epsilon : float or callable
        e, in squared units of the data a unit of time, or a function of the time. At 0 the ODE, then Heun's method is the
        ordinary one, of second order.
    generator : torch.Generator
    method : {"heun", "euler-maruyama"}
        Heun's as published: the step's noise is added first, and both slopes are taken at the step's end.
    max_step, keep
        As for `semigroup.sde.heun`.

    Warns
    -----
    UserWarning
        If a step times epsilon exceeds a tenth of the fields' `noise_scale`: the drift, which grows like epsilon / gamma, is then
        too stiff near the ends.

    Examples
    --------
    >>> from semigroup.densities import GaussianMixture, MixturePath
    >>> from semigroup.densities.interpolants import LinearPath
    >>> normal = GaussianMixture([1.0], [[0.0]], [1.0])
    >>> fields = ExactFields(MixturePath(normal, normal, LinearPath().coefficients))
    >>> generator = torch.Generator().manual_seed(0)
    >>> x = normal.sample(20_000, generator)
    >>> end = sample_sde(fields, x, [0.01, 0.99], 1.0, generator, max_step=0.02, keep="last")
    >>> round(end.std().item(), 1)
    1.0
    """
    sign = 1.0 if times[-1] > times[0] else -1.0
    at = epsilon if callable(epsilon) else (lambda t: epsilon)
    if not callable(epsilon):
        step = max(abs(b - a) for a, b in pairwise(times)) if max_step is None else max_step
        if epsilon > 0 and epsilon * step > (limit := 0.1 * fields.noise_scale):
            warnings.warn(
                f"epsilon={epsilon:g} times the step {step:.3g} exceeds {limit:.3g}: take more steps, or a "
                "smaller epsilon at the ends",
                UserWarning,
                stacklevel=2,
            )

    def drift(state: Tensor, t: float) -> Tensor:
        return fields.drift(state, t, sign * at(t))

    def noise(t: float) -> float:
        return math.sqrt(2 * at(t))

    if method == "euler-maruyama":
        return euler_maruyama(drift, x, times, noise, generator, max_step=max_step, keep=keep)
    still = not callable(epsilon) and epsilon == 0
    return heun(drift, x, times, noise, generator, noise_first=not still, max_step=max_step, keep=keep)


def denoising_chain(
    fields: LearntFields, z: Float[Tensor, "batch *shape"], times: Sequence[float]
) -> Float[Tensor, "batch *shape"]:
    """One-sided samples by steps of denoising (eq. 5.14), a method for the ODE that needs the denoiser alone.

    ``X(t') = beta' / beta X(t) + (alpha' - alpha beta' / beta) eta(t, X(t))``, and X at the first time is the noise itself.

    Parameters
    ----------
    fields : LearntFields
        Of a one-sided path.
    z : Tensor, shape (batch, *shape)
    times : sequence of float
        Increasing, from above 0 on; a last time of 1 gives the posterior mean there.
    """
    interpolant = fields._linear()
    x = z
    for now, later in pairwise(times):
        c, ahead = interpolant.coefficients(now), interpolant.coefficients(later)
        ratio = ahead.beta / c.beta
        x = ratio * x + (ahead.alpha - c.alpha * ratio) * fields.denoiser(x, now)
    return x


# --- likelihood ----------------------------------------------------------------------------------------------------


def ode_log_likelihood(
    fields: Fields,
    x: Float[Tensor, "batch *shape"],
    interval: tuple[float, float],
    base_log_prob: Callable[[Tensor], Tensor],
    *,
    probes: Float[Tensor, "probe batch *shape"] | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> Float[Tensor, " batch"]:
    """Log-density at x of where the ODE carries the base: ``log rho0(X(0)) - int div b dt`` along the flow back from x.

    Parameters
    ----------
    fields : Fields
    x : Tensor, shape (batch, *shape)
    interval : (float, float)
        Beginning and end of time.
    base_log_prob : callable
        Of the base, in nats.
    probes : Tensor, optional
        For Hutchinson's estimate of the divergence; exact by default.

    Raises
    ------
    SolverFailed
        If the integrator fails, as it may far from all data.
    """
    start, end = interval
    path, integral = solve_ode_with_divergence(
        fields.velocity, x, [end, start], probes=probes, rtol=rtol, atol=atol, stops=fields.stops
    )
    return base_log_prob(path[:, -1]) + integral[:, -1]


def feynman_kac_paths(
    fields: Fields,
    x: Float[Tensor, "batch *shape"],
    times: Sequence[float],
    epsilon: Epsilon,
    generator: torch.Generator,
    *,
    probes: Float[Tensor, "probe batch *shape"] | None = None,
) -> tuple[Float[Tensor, "batch *shape"], Float[Tensor, " batch"]]:
    """Paths of the FORWARD drift run backward from x, and the integral of its divergence along each (theorem 2.5).

    With them ``rho(1, x) = E[exp(-integral) rho0(Y)]`` is the exact density of the SDE's samples, whatever the fields, and
    ``E[integral - log rho0(Y)]`` over data bounds their cross-entropy from above (Jensen).

    Parameters
    ----------
    times : sequence of float
        Decreasing.

    Returns
    -------
    y : Tensor, shape (batch, *shape)
        States at the last time.
    integral : Tensor, shape (batch,)
    """
    return _backward_paths(fields, x, times, epsilon, generator, probes, reverse=False)


def reverse_sde_paths(
    fields: Fields,
    x: Float[Tensor, "batch *shape"],
    times: Sequence[float],
    epsilon: Epsilon,
    generator: torch.Generator,
    *,
    probes: Float[Tensor, "probe batch *shape"] | None = None,
) -> tuple[Float[Tensor, "batch *shape"], Float[Tensor, " batch"]]:
    """Paths of the BACKWARD SDE from x, and the integral of ``div(b + e s) + e |s|^2`` along each.

    ``E[log rho0(X) - integral]`` is what the published programs report as the log-likelihood. It is that if the score is exact.
    Parameters and results are those of `feynman_kac_paths`.
    """
    return _backward_paths(fields, x, times, epsilon, generator, probes, reverse=True)


def _backward_paths(
    fields: Fields,
    x: Tensor,
    times: Sequence[float],
    epsilon: Epsilon,
    generator: torch.Generator,
    probes: Tensor | None,
    *,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """Stochastic Heun with the trapezoid rule for the integral; second order, since the noise is additive."""
    at = epsilon if callable(epsilon) else (lambda t: epsilon)

    def rates(state: Tensor, t: float) -> tuple[Tensor, Tensor]:
        e = at(t)
        forward, rate = divergence(lambda y: fields.drift(y, t, e), state, probes=probes)
        if not reverse:
            return forward, rate
        score = fields.score(state, t)
        return forward - 2 * e * score, rate + e * score.square().flatten(1).sum(1)

    total = x.new_zeros(len(x))
    for now, later in pairwise(times):
        step = later - now
        size = math.sqrt(2 * at(now) * abs(step))
        shock = size * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        slope, rate = rates(x, now)
        ahead_slope, ahead_rate = rates(x + step * slope + shock, later)
        x = x + step / 2 * (slope + ahead_slope) + shock
        total = total - step / 2 * (rate + ahead_rate)
        if not bool(torch.isfinite(x).all() & torch.isfinite(total).all()):
            raise SolverFailed(f"a path of the likelihood is NaN or infinite at time {later:.6g}")
    return x, total


def likelihood_bound(velocity_error: float, score_error: float, epsilon: float) -> float:
    """Bound on ``KL(rho1 || samples of the SDE)``: ``velocity_error / (2 epsilon) + epsilon / 2 score_error``.

    The errors are the mean squares ``int E|b_hat - b|^2 dt`` and ``int E|s_hat - s|^2 dt``, twice the excess of the losses,
    so that in the losses' excess the bound is ``excess_b / epsilon + epsilon excess_s``, twice what the paper's theorem prints.

    Examples
    --------
    >>> likelihood_bound(1.0, 1.0, 1.0)
    1.0
    """
    return velocity_error / (2 * epsilon) + epsilon / 2 * score_error


def best_epsilon(excess_velocity: float, excess_score: float) -> float:
    """The epsilon of the least `likelihood_bound`: ``sqrt(excess_b / excess_s)``, of the losses' excess over their minima.

    Examples
    --------
    >>> best_epsilon(4.0, 1.0)
    2.0
    """
    return math.sqrt(excess_velocity / excess_score)

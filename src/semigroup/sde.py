"""Integrators of ordinary and stochastic differential equations, shared by every sampler.

All take the grid `times`: increasing forward in time, decreasing backward. A backward SDE ``dX = b dt + noise dW`` has dt < 0 and
fresh noise of variance ``noise^2 |dt|``. The result has an axis of times after the batch's: every state of `times`, or only
the last with ``keep="last"``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = [
    "SolverFailed",
    "brownian_bridge",
    "divergence",
    "euler_maruyama",
    "heun",
    "rademacher",
    "solve_ode",
    "solve_ode_with_divergence",
]

Drift = Callable[[Tensor, float], Tensor]
Noise = float | Callable[[float], float]
Keep = Literal["all", "last"]


class SolverFailed(RuntimeError):
    """An integrator met a state that is NaN or infinite, or a step too small to go on."""


def euler_maruyama(
    drift: Drift,
    x0: Float[Tensor, "batch *shape"],
    times: Sequence[float],
    noise: Noise,
    generator: torch.Generator | None = None,
    *,
    max_step: float | None = None,
    keep: Keep = "all",
) -> Float[Tensor, "batch times *shape"]:
    """Paths of ``dX = drift(X, t) dt + noise dW`` by the Euler-Maruyama scheme.

    Parameters
    ----------
    drift : callable
        ``drift(x, t)`` for a batch of states and one time.
    x0 : Tensor, shape (batch, *shape)
        States at ``times[0]``.
    times : sequence of float
        Increasing or decreasing; the states at these times are what is returned.
    noise : float or callable
        Coefficient of the Brownian motion, in units of x over the square root of time, or a function that gives it at the
        beginning of a step; 0 gives Euler's method.
    generator : torch.Generator, optional
        On the device of `x0`; needed when there is noise.
    max_step : float, optional
        The interval between two `times` is cut into equal steps no longer than this; by default it is one step.
    keep : {"all", "last"}

    Returns
    -------
    Tensor, shape (batch, times, *shape)

    Raises
    ------
    SolverFailed
        If a state is NaN or infinite; says when, and in what share of the paths.

    Examples
    --------
    >>> path = euler_maruyama(lambda x, t: -x, torch.ones(1, 1), [0.0, 1.0], 0.0, max_step=1e-3)
    >>> round(path[0, 1, 0].item(), 3)
    0.368
    """

    def advance(x: Tensor, t: float, step: float) -> Tensor:
        moved = x + step * drift(x, t)
        return moved + _shock(x, noise, t, step, generator)

    return _march(advance, x0, times, max_step, keep)


def heun(
    drift: Drift,
    x0: Float[Tensor, "batch *shape"],
    times: Sequence[float],
    noise: Noise = 0.0,
    generator: torch.Generator | None = None,
    *,
    noise_first: bool = False,
    euler_last: bool = False,
    max_step: float | None = None,
    keep: Keep = "all",
) -> Float[Tensor, "batch times *shape"]:
    """Paths of ``dX = drift(X, t) dt + noise dW`` by Heun's method: a step with the mean of the slopes at its two ends.

    Parameters
    ----------
    drift, x0, times, noise, generator, max_step, keep
        As for `euler_maruyama`.
    noise_first : bool
        False: the slopes at the step's two ends, the second at the state that the first and the noise lead to (second order
        without noise). True: the step's noise is added first, then both slopes are taken at the step's end, as published for
        stochastic interpolants; first order without noise.
    euler_last : bool
        The last step is Euler's, for a drift that is not defined at the last time.

    Returns
    -------
    Tensor, shape (batch, times, *shape)

    Raises
    ------
    SolverFailed
        As for `euler_maruyama`.

    References
    ----------
    Karras, T. et al. (2022). Elucidating the design space of diffusion-based generative models. NeurIPS, algorithm 1.
    Albergo, M. S., Boffi, N. M. and Vanden-Eijnden, E. (2023). Stochastic interpolants, arXiv 2303.08797, appendix C.

    Examples
    --------
    >>> path = heun(lambda x, t: -x, torch.ones(1, 1), [0.0, 1.0], max_step=1e-2)
    >>> round(path[0, 1, 0].item(), 4)
    0.3679
    """
    end = times[-1]

    def advance(x: Tensor, t: float, step: float) -> Tensor:
        shock = _shock(x, noise, t, step, generator)
        later = t + step
        if noise_first:
            x, t, shock = x + shock, later, 0.0
        slope = drift(x, t)
        ahead = x + step * slope + shock
        if euler_last and math.isclose(later, end, rel_tol=0.0, abs_tol=1e-9 * abs(step)):
            return ahead
        return x + step / 2 * (slope + drift(ahead, later)) + shock

    return _march(advance, x0, times, max_step, keep)


def solve_ode(
    drift: Drift,
    x0: Float[Tensor, "batch *shape"],
    times: Sequence[float],
    *,
    method: str = "dopri5",
    rtol: float = 1e-5,
    atol: float = 1e-5,
    stops: Sequence[float] = (),
    keep: Keep = "all",
) -> Float[Tensor, "batch times *shape"]:
    """Solution of ``dx/dt = drift(x, t)`` by an adaptive method of torchdiffeq, one step size for the whole batch.

    Parameters
    ----------
    drift, x0, times, keep
        As for `euler_maruyama`.
    method : str
        An adaptive method of torchdiffeq.
    rtol, atol : float
        Tolerances on the root mean square over the batch.
    stops : sequence of float
        Times inside the interval at which the drift may jump: a step ends there, with the slope from its own side.

    Returns
    -------
    Tensor, shape (batch, times, *shape)

    Raises
    ------
    SolverFailed
        If the solution is NaN or infinite, or the step underflows.

    Examples
    --------
    >>> path = solve_ode(lambda x, t: -x, torch.ones(1, 1), [0.0, 1.0])
    >>> round(path[0, 1, 0].item(), 4)
    0.3679
    """
    (path,) = _adaptive(lambda t, state: (drift(state[0], t.item()),), (x0,), times, method, rtol, atol, stops)
    return path.movedim(0, 1) if keep == "all" else path[-1:].movedim(0, 1)


def solve_ode_with_divergence(
    drift: Drift,
    x0: Float[Tensor, "batch *shape"],
    times: Sequence[float],
    *,
    probes: Float[Tensor, "probe batch *shape"] | None = None,
    method: str = "dopri5",
    rtol: float = 1e-5,
    atol: float = 1e-5,
    stops: Sequence[float] = (),
) -> tuple[Float[Tensor, "batch times *shape"], Float[Tensor, "batch times"]]:
    """Solution of an ODE and, in the same pass, the integral of the drift's divergence along it.

    The log-density of a point carried by the ODE changes by minus that integral (instantaneous change of variables), so
    one call gives samples with their likelihoods.

    Parameters
    ----------
    drift, x0, times, method, rtol, atol, stops
        As for `solve_ode`; the drift must treat the rows of a batch independently.
    probes : Tensor, shape (probe, batch, *shape), optional
        Random signs from `rademacher`, for Hutchinson's estimate; by default the divergence is exact.

    Returns
    -------
    path : Tensor, shape (batch, times, *shape)
    integral : Tensor, shape (batch, times)
        From ``times[0]``, where it is 0.

    References
    ----------
    Grathwohl, W. et al. (2019). FFJORD. ICLR, eq. 4 and 8.

    Examples
    --------
    >>> path, integral = solve_ode_with_divergence(lambda x, t: -x, torch.ones(1, 3), [0.0, 1.0])
    >>> round(integral[0, 1].item(), 4)
    -3.0
    """

    def rates(t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return divergence(lambda x: drift(x, t.item()), state[0], probes=probes)

    path, integral = _adaptive(rates, (x0, x0.new_zeros(len(x0))), times, method, rtol, atol, stops)
    return path.movedim(0, 1), integral.movedim(0, 1)


def divergence(
    field: Callable[[Tensor], Tensor],
    x: Float[Tensor, "batch *shape"],
    *,
    probes: Float[Tensor, "probe batch *shape"] | None = None,
) -> tuple[Float[Tensor, "batch *shape"], Float[Tensor, " batch"]]:
    """A field's values and divergences, by forward differentiation.

    Parameters
    ----------
    field : callable
        Treats the rows of a batch independently.
    x : Tensor, shape (batch, *shape)
    probes : Tensor, shape (probe, batch, *shape), optional
        The mean of ``v . J v`` over these v (Hutchinson's estimate, unbiased for random signs) in place of the exact trace,
        which costs one directional derivative for each coordinate.

    Returns
    -------
    value : Tensor, shape (batch, *shape)
    divergence : Tensor, shape (batch,)

    Examples
    --------
    >>> value, trace = divergence(lambda x: x**2, torch.tensor([[1.0, 2.0]]))
    >>> trace.item()
    6.0
    """
    n_entries = x[0].numel()

    def along(v: Tensor) -> tuple[Tensor, Tensor]:
        direction = v.reshape(-1, *x.shape[1:]).expand_as(x)
        value, slope = torch.func.jvp(field, (x,), (direction,))  # type: ignore[misc]  # three only with aux
        return value, (slope * direction).flatten(1).sum(1)

    # One unit direction serves the whole batch, because the rows are independent.
    directions = torch.eye(n_entries, dtype=x.dtype, device=x.device) if probes is None else probes
    value, first = along(directions[0])
    slopes = first[None]
    if len(directions) > 1:
        # In chunks: what is held at once stays near 2^24 numbers, whatever the dimension.
        chunk = max(1, 2**24 // max(1, x.numel()))
        rest = torch.func.vmap(lambda v: along(v)[1], chunk_size=chunk)(directions[1:])
        slopes = torch.cat([slopes, rest])
    return value, slopes.sum(0) if probes is None else slopes.mean(0)


def rademacher(
    n: int, like: Float[Tensor, "batch *shape"], generator: torch.Generator
) -> Float[Tensor, "n batch *shape"]:
    """Random signs, `n` a row of `like`: the probes of Hutchinson's estimate with the least variance.

    Examples
    --------
    >>> rademacher(2, torch.zeros(3, 4), torch.Generator()).abs().unique()
    tensor([1.])
    """
    bits = torch.randint(2, (n, *like.shape), generator=generator, device=like.device)
    return (2 * bits - 1).to(like.dtype)


def brownian_bridge(
    x0: Float[Tensor, "batch dim"],
    x1: Float[Tensor, "batch dim"],
    times: Sequence[float],
    noise: float,
    generator: torch.Generator,
) -> Float[Tensor, "batch times dim"]:
    """Exact paths of ``noise`` times a Brownian motion that starts in `x0` at time 0 and is known to end in `x1` at 1.

    Parameters
    ----------
    x0, x1 : Tensor, shape (batch, dim)
    times : sequence of float
        Increasing, within [0, 1]. One path is drawn a row: the states at different times belong together.
    noise : float
        Coefficient of the Brownian motion.
    generator : torch.Generator
        On the device of `x0`.

    Returns
    -------
    Tensor, shape (batch, times, dim)

    Examples
    --------
    >>> path = brownian_bridge(torch.zeros(1, 1), torch.ones(1, 1), [0.0, 0.5, 1.0], 0.1, torch.Generator())
    >>> path.shape, path[0, 0].item(), path[0, 2].item()
    (torch.Size([1, 3, 1]), 0.0, 1.0)
    """
    x, now, path = x0, 0.0, []
    for time in times:
        if time > now:
            left = 1 - now
            x = x + (time - now) / left * (x1 - x)
            variance = (time - now) * (1 - time) / left
            if variance > 0:
                shock = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
                x = x + noise * math.sqrt(variance) * shock
            now = time
        path.append(x)
    return torch.stack(path, dim=1)


def _march(
    advance: Callable[[Tensor, float, float], Tensor],
    x: Tensor,
    times: Sequence[float],
    max_step: float | None,
    keep: Keep,
) -> Float[Tensor, "batch times *shape"]:
    """The states at `times` of a method that goes from x at t over one step."""
    path = [x]
    for start, stop in pairwise(times):
        # Rounding must not turn an interval of exactly n steps into n + 1.
        n_steps = 1 if max_step is None else max(1, math.ceil(abs(stop - start) / max_step - 1e-9))
        step = (stop - start) / n_steps
        for i in range(n_steps):
            x = advance(x, start + i * step, step)
        bad = ~torch.isfinite(x).flatten(1).all(1)
        if bad.any():
            raise SolverFailed(f"{bad.double().mean().item():.1%} of the paths are NaN or infinite at time {stop:.6g}")
        path = [*path, x] if keep == "all" else [x]
    return torch.stack(path, dim=1)


def _shock(x: Tensor, noise: Noise, t: float, step: float, generator: torch.Generator | None) -> Tensor | float:
    """The Brownian increment of a step."""
    size = noise(t) if callable(noise) else noise
    if size == 0:
        return 0.0
    return size * math.sqrt(abs(step)) * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)


def _detached_norm(parts: tuple[Tensor, ...]) -> Tensor:
    """torchdiffeq's norm, without its gradient.

    torchdiffeq would differentiate its automatic first step, but not the drift by the time that the step leads to, which is a
    number here; a gradient has to take the steps as given.
    """
    return max(part.detach().abs().square().mean().sqrt() for part in parts)


def _adaptive(
    rates: Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]],
    state: tuple[Tensor, ...],
    times: Sequence[float],
    method: str,
    rtol: float,
    atol: float,
    stops: Sequence[float],
) -> tuple[Tensor, ...]:
    """torchdiffeq's solution, with its failures named."""
    from torchdiffeq import odeint

    grid = torch.tensor(times, dtype=torch.float64, device=state[0].device)
    low, high = min(times), max(times)
    inside = sorted((stop for stop in stops if low < stop < high), reverse=times[0] > times[-1])
    # Without a step's end there, the method would run past the last time, where the drift may not be defined, and interpolate.
    options: dict[str, Any] = {"step_t": grid[-1:]} | ({"jump_t": grid.new_tensor(inside)} if inside else {})
    options["norm"] = _detached_norm
    try:
        path = odeint(rates, state, grid, method=method, rtol=rtol, atol=atol, options=options)
    except AssertionError as error:
        raise SolverFailed(f"{method} cannot go on between times {times[0]:g} and {times[-1]:g}: {error}") from error
    if not all(torch.isfinite(part).all() for part in path):
        raise SolverFailed(f"{method} met NaN or infinity between times {times[0]:g} and {times[-1]:g}")
    return path

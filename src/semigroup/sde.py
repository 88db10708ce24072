"""Integrators of stochastic differential equations, shared by every sampler."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["brownian_bridge", "euler_maruyama"]


def euler_maruyama(
    drift: Callable[[Tensor, float], Tensor],
    x0: Float[Tensor, "batch dim"],
    times: list[float],
    noise: float,
    generator: torch.Generator,
    *,
    max_step: float | None = None,
) -> Float[Tensor, "batch times dim"]:
    """Paths of ``dX = drift(X, t) dt + noise dW`` by the Euler-Maruyama scheme.

    Parameters
    ----------
    drift : callable
        ``drift(x, t)`` for a batch of states and one time.
    x0 : Tensor, shape (batch, dim)
        States at ``times[0]``.
    times : list of float
        Increasing; the states at these times are what is returned.
    noise : float
        Coefficient of the Brownian motion, in units of x over the square root of time; 0 gives Euler's method.
    generator : torch.Generator
        On the device of `x0`.
    max_step : float, optional
        The interval between two `times` is cut into equal steps no longer than this; by default it is one step.

    Returns
    -------
    Tensor, shape (batch, times, dim)

    Examples
    --------
    >>> path = euler_maruyama(lambda x, t: -x, torch.ones(1, 1), [0.0, 1.0], 0.0, torch.Generator(), max_step=1e-3)
    >>> round(path[0, 1, 0].item(), 3)
    0.368
    """
    x, path = x0, [x0]
    for start, stop in pairwise(times):
        # Rounding must not turn an interval of exactly n steps into n + 1.
        n_steps = 1 if max_step is None else max(1, math.ceil((stop - start) / max_step - 1e-9))
        step = (stop - start) / n_steps
        for i in range(n_steps):
            x = x + step * drift(x, start + i * step)
            if noise > 0:
                shock = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
                x = x + noise * math.sqrt(step) * shock
        path.append(x)
    return torch.stack(path, dim=1)


def brownian_bridge(
    x0: Float[Tensor, "batch dim"],
    x1: Float[Tensor, "batch dim"],
    times: list[float],
    noise: float,
    generator: torch.Generator,
) -> Float[Tensor, "batch times dim"]:
    """Exact paths of ``noise`` times a Brownian motion that starts in `x0` at time 0 and is known to end in `x1` at 1.

    Parameters
    ----------
    x0, x1 : Tensor, shape (batch, dim)
    times : list of float
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

"""Rates of the paper: how much noise to add, and how fast the law of the generator then approaches the truth.

All are up to constants and logarithms. The truth is a composition of maps; `effective_smoothness` reduces it to one pair
(beta, t). With r = t / beta, which is 0 for an infinitely smooth map,

    eps_n(sigma)  = n^(-1 / (2 + r)) sigma^(-r / (2 + r))        Hellinger rate of maximum likelihood at noise sigma
    W1            = eps_n(sigma) + sigma                         of the generator's law
    sigma         = n^(-1 / (2 (1 + r)))                         balances the two, which then are equal

For r = 0 the first term does not depend on sigma, so that the sum has no least value inside: n^(-1/2) is merely the largest noise
that does not slow the rate down.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

from semigroup.base import check_array, check_integer, check_number

__all__ = [
    "effective_smoothness",
    "empirical_rate",
    "gan_rate",
    "hellinger_rate",
    "perturbation_scale",
    "w1_rate",
]


def perturbation_scale(n: int, beta: float, t: float, c: float = 1.0) -> float:
    """The noise to add to `n` points of a singular law: ``c n^(-beta / (2 (beta + t)))``.

    Parameters
    ----------
    n : int
        Number of points.
    beta : float
        Smoothness of the generator; `math.inf` for infinitely smooth ones, whose exponent is 1/2.
    t : float
        Number of variables that its roughest part depends on.
    c : float
        In the unit of the data.

    Returns
    -------
    float
        A standard deviation per coordinate.

    Raises
    ------
    ValueError
        If n < 1, or one of the others is not positive.

    Examples
    --------
    >>> perturbation_scale(10_000, beta=1, t=1)
    0.1
    >>> perturbation_scale(10_000, beta=float("inf"), t=2)
    0.01
    """
    n, r = check_integer(n, "n", minimum=1), _roughness(beta, t)
    return check_number(c, "c", above=0) * float(n) ** (-0.5 / (1 + r))


def hellinger_rate(n: int, beta: float, t: float, noise: float) -> float:
    """Rate of maximum likelihood at a total noise sigma, ``n^(-beta / (2 beta + t)) sigma^(-t / (2 beta + t))``.

    A network of s weights has error ``delta = s^(-beta / t)``, which costs ``(delta / sigma)^2`` in likelihood; the rate
    balances that with the price ``s / n`` of estimating the weights. For ``sigma = n^(-alpha)`` it does not vanish where
    alpha >= beta / t: too little noise.

    Examples
    --------
    >>> round(hellinger_rate(1000, beta=2, t=1, noise=1.0), 6) == round(1000 ** (-2 / 5), 6)
    True
    >>> round(hellinger_rate(10**6, beta=1, t=2, noise=(10**6) ** -0.5), 6)
    1.0
    """
    n, r = check_integer(n, "n", minimum=1), _roughness(beta, t)
    return float(n) ** (-1 / (2 + r)) * check_number(noise, "noise", above=0) ** (-r / (2 + r))


def w1_rate(n: int, beta: float, t: float, noise: float) -> float:
    """Rate of the 1-Wasserstein distance at a total noise sigma: ``hellinger_rate + sigma``.

    At ``noise = perturbation_scale(n, beta, t)`` both terms are ``n^(-beta / (2 (beta + t)))``, whatever the dimension of the
    space that the points lie in.

    Parameters
    ----------
    n, beta, t
        As in `perturbation_scale`.
    noise : float
        ``sqrt(sigma_*^2 + perturbation^2)`` with the data's own noise sigma_*.

    Examples
    --------
    >>> w1_rate(10_000, beta=1, t=1, noise=0.1)
    0.2
    """
    return hellinger_rate(n, beta, t, noise) + noise


def gan_rate(n: int, beta: float, t: float, noise: float = 0.0) -> float:
    """Rate of the adversarial estimator of the follow-up (arXiv:2202.02890), ``n^(-beta / (2 beta + t))`` or the data's noise.

    Examples
    --------
    >>> round(gan_rate(1000, beta=1, t=1), 6)
    0.1
    """
    n, r = check_integer(n, "n", minimum=1), _roughness(beta, t)
    return max(float(n) ** (-1 / (2 + r)), check_number(noise, "noise", minimum=0))


def empirical_rate(n: int, d: int) -> float:
    """Rate of the sample itself, whose support has d dimensions: ``n^(-1/d)`` from d = 3 on, ``n^(-1/2)`` below (log n at 2).

    Examples
    --------
    >>> round(empirical_rate(1000, 3), 6), round(empirical_rate(10_000, 1), 6)
    (0.1, 0.01)
    """
    return float(check_integer(n, "n", minimum=1)) ** (-1 / max(2, check_integer(d, "d", minimum=1)))


def effective_smoothness(betas: Any, ts: Any) -> tuple[float, float]:
    """Smoothness and number of variables that decide the rate of a composition of maps.

    Layer i depends on t_i variables a component and is beta_i-Hölder. What comes after it dulls it where it is rougher than
    Lipschitz, ``beta_i prod_(l > i) min(beta_l, 1)``, and the layer with the largest t over that decides.

    Parameters
    ----------
    betas, ts : array-like, shape (n_layers,)
        The first layer first. A beta may be `math.inf`.

    Returns
    -------
    beta, t : float

    Raises
    ------
    ValueError
        If the lengths differ, or an entry is NaN or not positive.

    Examples
    --------
    A rough function of one variable after a smooth one of three:

    >>> effective_smoothness([4.0, 0.5], [3, 1])
    (0.5, 1.0)
    """
    smooth = [_is_infinite(b) for b in betas] if np.ndim(betas) == 1 else []
    if any(smooth):
        finite = check_array([1.0 if skipped else b for skipped, b in zip(smooth, betas)], "betas", ndim=1)
        beta = np.where(smooth, math.inf, finite)
    else:
        beta = check_array(betas, "betas", ndim=1)
    t = check_array(ts, "ts", ndim=1)
    if len(beta) != len(t):
        raise ValueError(f"ts must have one entry a layer, {len(beta)}, got {len(t)}")
    for name, values in (("betas", beta), ("ts", t)):
        if not (values > 0).all():
            raise ValueError(f"{name} must be > 0, got {values.min():g}")
    later = np.append(np.cumprod(np.minimum(beta, 1)[::-1])[::-1][1:], 1.0)
    effective = beta * later
    worst = int(np.argmax(t / effective))
    return float(effective[worst]), float(t[worst])


def _roughness(beta: float, t: float) -> float:
    """t / beta, which is 0 for beta = infinity."""
    t = check_number(t, "t", above=0)
    return 0.0 if _is_infinite(beta) else t / check_number(beta, "beta", above=0)


def _is_infinite(beta: Any) -> bool:
    return isinstance(beta, numbers.Real) and bool(beta == math.inf)

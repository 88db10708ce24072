"""The small examples on which flows, diffusions and transport maps are compared, with their densities where they are known."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from semigroup.base import check_integer, numpy_generator

__all__ = [
    "MixtureParameters",
    "checkerboard",
    "checkerboard_density",
    "eight_gaussians",
    "line_mixtures",
    "scattered_mixture",
    "two_moons",
]

# Weights (component,), means (component, dim) and covariances (component, dim, dim).
MixtureParameters = tuple[np.ndarray, np.ndarray, np.ndarray]


def checkerboard(n: int, *, random_state: int | np.random.Generator | None = None) -> Float[np.ndarray, "n 2"]:
    """Uniform draws from the eight dark squares, of side 2, of a board over [-4, 4]^2.

    ``x = 2 (u, w)`` with u uniform on (-2, 2) and ``w = U(0, 1) - 2 Bernoulli(1/2) + (floor(u) mod 2)``.

    Examples
    --------
    >>> x = checkerboard(1000, random_state=0)
    >>> bool((checkerboard_density(x) == 1 / 32).all())
    True
    """
    rng, n = numpy_generator(random_state), check_integer(n, "n", minimum=1)
    u = rng.uniform(-2, 2, n)
    w = rng.uniform(0, 1, n) - 2 * rng.integers(2, size=n) + np.floor(u) % 2
    return 2 * np.column_stack([u, w])


def checkerboard_density(x: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    """Density of `checkerboard`: 1/32 on the dark squares and 0 elsewhere.

    Examples
    --------
    >>> checkerboard_density(np.array([[1.0, 1.0], [-1.0, 1.0], [1.0, 5.0]]))
    array([0.03125, 0.     , 0.     ])
    """
    column, row = np.floor(x / 2).T
    return np.where((np.abs(x) <= 4).all(axis=1) & ((column + row) % 2 == 0), 1 / 32, 0.0)


def eight_gaussians(
    n: int, *, radius: float = 5.0, deviation: float = 0.3162, random_state: int | np.random.Generator | None = None
) -> Float[np.ndarray, "n 2"]:
    """Eight Gaussians of variance 0.1 on a circle.

    Examples
    --------
    >>> eight_gaussians(3, random_state=0).shape
    (3, 2)
    """
    rng = numpy_generator(random_state)
    angles = math.pi / 4 * rng.integers(8, size=check_integer(n, "n", minimum=1))
    return radius * np.column_stack([np.cos(angles), np.sin(angles)]) + deviation * rng.standard_normal((n, 2))


def two_moons(n: int, *, random_state: int | np.random.Generator | None = None) -> Float[np.ndarray, "n 2"]:
    """scikit-learn's interleaving half circles with noise 0.2, stretched threefold and moved by -1: the usual partner of
    `eight_gaussians`.

    Examples
    --------
    >>> two_moons(4, random_state=0).shape
    (4, 2)
    """
    from sklearn.datasets import make_moons

    rng = numpy_generator(random_state)
    moons, _ = make_moons(check_integer(n, "n", minimum=1), noise=0.2, random_state=int(rng.integers(2**31)))
    return 3 * moons - 1


def line_mixtures() -> tuple[MixtureParameters, MixtureParameters]:
    """Two and three Gaussians on the line, means -3, 3 and -6, 0, 6, as in the figures of the interpolants' paper.

    Examples
    --------
    >>> source, target = line_mixtures()
    >>> target[1].ravel()
    array([-6.,  0.,  6.])
    """

    def mixture(means: list[float], variances: list[float]) -> MixtureParameters:
        n = len(means)
        return np.full(n, 1 / n), np.array(means)[:, None], np.array(variances)[:, None, None]

    return mixture([-3.0, 3.0], [0.25, 0.25]), mixture([-6.0, 0.0, 6.0], [0.5, 0.33, 0.5])


def scattered_mixture(
    dim: int, *, n_components: int = 5, spread: float = 7.5, random_state: int | np.random.Generator | None = None
) -> MixtureParameters:
    """Equal Gaussians with means ``N(0, spread^2 I)`` and covariances ``W' W / dim + I``, W standard normal.

    Examples
    --------
    >>> weights, means, covariances = scattered_mixture(8, random_state=0)
    >>> covariances.shape
    (5, 8, 8)
    """
    rng, dim = numpy_generator(random_state), check_integer(dim, "dim", minimum=1)
    n = check_integer(n_components, "n_components", minimum=1)
    means = spread * rng.standard_normal((n, dim))
    W = rng.standard_normal((n, dim, dim))
    return np.full(n, 1 / n), means, W.transpose(0, 2, 1) @ W / dim + np.eye(dim)

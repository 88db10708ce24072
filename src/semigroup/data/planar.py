"""Laws in the plane that are hard for samplers, and their exact samples: separate lumps, cells with sharp edges, rings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from semigroup.base import check_integer, numpy_generator
from semigroup.data import flow_examples

__all__ = ["PLANAR", "checkerboard", "nine_gaussians", "two_rings"]

RandomState = int | np.random.Generator | None


def nine_gaussians(n: int, *, random_state: RandomState = None) -> Float[np.ndarray, "n 2"]:
    """Rows of an equal mixture of nine Gaussians on a diamond ("blob").

    Centres (±2, ±2), (0, 0), (±4, 0), (0, ±4) and covariance 0.2 I, all multiplied by 0.65.

    References
    ----------
    Deveney, T. et al. (2025). arXiv:2311.15996, its programs.

    Examples
    --------
    >>> nine_gaussians(100_000, random_state=0).std(axis=0).round(1)  # sqrt(0.65^2 (48 / 9 + 0.2))
    array([1.5, 1.5])
    """
    rng = numpy_generator(random_state)
    centers = np.array([[-2, -2], [-2, 2], [2, -2], [2, 2], [0, 0], [-4, 0], [4, 0], [0, -4], [0, 4]], dtype=np.float64)
    chosen = centers[rng.integers(len(centers), size=check_integer(n, "n", minimum=1))]
    return 0.65 * (chosen + np.sqrt(0.2) * rng.standard_normal((n, 2)))


def checkerboard(n: int, *, random_state: RandomState = None) -> Float[np.ndarray, "n 2"]:
    """Rows uniform on every second cell, of side 1.5, of a 4 by 4 board on [-3, 3]^2 ("checker").

    Examples
    --------
    >>> rows = checkerboard(1000, random_state=0)
    >>> cells = np.floor((rows + 3) / 1.5).sum(axis=1)
    >>> np.unique(cells % 2).tolist()
    [0.0]
    """
    return 0.75 * flow_examples.checkerboard(n, random_state=random_state)


def two_rings(n: int, *, random_state: RandomState = None) -> Float[np.ndarray, "n 2"]:
    """Rows on two rings about the origin, with equal counts and radii N(1.3, 0.2^2) and N(2.8, 0.2^2) ("circles2").

    Examples
    --------
    >>> radii = np.linalg.norm(two_rings(10_000, random_state=0), axis=1)
    >>> round(float((radii < 2.05).mean()), 2)
    0.5
    """
    rng = numpy_generator(random_state)
    means = np.where(np.arange(check_integer(n, "n", minimum=1)) % 2 == 0, 1.3, 2.8)
    radius = means + 0.2 * rng.standard_normal(n)
    angle = 2 * np.pi * rng.random(n)
    rows = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return rng.permutation(rows)


PLANAR: dict[str, Callable[..., np.ndarray]] = {
    "blob": nine_gaussians,
    "checker": checkerboard,
    "circles2": two_rings,
}

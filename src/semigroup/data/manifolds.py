"""Point clouds on manifolds that are known in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from semigroup.base import check_integer, check_number, numpy_generator
from semigroup.operators.farthest import farthest_points

__all__ = ["bumpy_sphere", "clifford_torus", "fibonacci_sphere", "three_sphere"]


def fibonacci_sphere(n_points: int) -> Float[np.ndarray, "n 3"]:
    r"""Points spread evenly over the unit sphere along a spiral of the golden angle.

    Point i has the polar angle :math:`\arccos(1 - 2(i + \frac12)/n)` and the azimuth :math:`\pi(1 + \sqrt5)(i + \frac12)`.

    Examples
    --------
    >>> fibonacci_sphere(2).round(3)
    array([[ 0.314, -0.807,  0.5  ],
           [-0.777,  0.383, -0.5  ]])
    """
    i = np.arange(check_integer(n_points, "n_points", minimum=1)) + 0.5
    height, azimuth = 1 - 2 * i / n_points, np.pi * (1 + np.sqrt(5)) * i
    radius = np.sqrt(1 - height**2)
    return np.column_stack([radius * np.cos(azimuth), radius * np.sin(azimuth), height])


def clifford_torus(n_side: int, *, noise: float = 0.0, random_state: Any = None) -> Float[np.ndarray, "n 4"]:
    r"""A grid on the flat torus :math:`(\cos\theta, \sin\theta, \cos\phi, \sin\phi)` in :math:`\mathbb R^4`.

    Parameters
    ----------
    n_side : int
        Points a circle, ``n_side**2`` in all; both angles are multiples of ``2 pi / n_side``.
    noise : float
        Standard deviation of what is added to each coordinate.
    random_state : int, Generator or None

    Examples
    --------
    >>> clifford_torus(2).round()
    array([[ 1.,  0.,  1.,  0.],
           [ 1.,  0., -1.,  0.],
           [-1.,  0.,  1.,  0.],
           [-1.,  0., -1.,  0.]])
    """
    n_side = check_integer(n_side, "n_side", minimum=1)
    noise = check_number(noise, "noise", minimum=0)
    angle = 2 * np.pi * np.arange(n_side) / n_side
    theta, phi = (grid.ravel() for grid in np.meshgrid(angle, angle, indexing="ij"))
    points = np.column_stack([np.cos(theta), np.sin(theta), np.cos(phi), np.sin(phi)])
    return points + noise * numpy_generator(random_state).normal(size=points.shape)


def three_sphere(n_points: int, *, random_state: Any = None) -> Float[np.ndarray, "n 4"]:
    r"""Points spread evenly over the unit sphere :math:`S^3` in :math:`\mathbb R^4`.

    The farthest points among ten times as many random directions.

    Examples
    --------
    >>> np.linalg.norm(three_sphere(5, random_state=0), axis=1).round(6)
    array([1., 1., 1., 1., 1.])
    """
    n_points = check_integer(n_points, "n_points", minimum=1)
    directions = numpy_generator(random_state).normal(size=(10 * n_points, 4))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions[farthest_points(directions, n_points)[0]]


# Direction, height and sharpness of the bumps: fixed numbers, in no order that the eye could find.
_BUMPS = np.array(
    [
        [0.6, 0.3, 0.74, 0.55, 9.0],
        [-0.5, 0.4, 0.77, 0.50, 10.0],
        [0.1, -0.95, 0.3, 0.35, 5.0],
        [-0.8, -0.4, -0.45, 0.30, 6.0],
        [0.7, 0.5, -0.5, 0.25, 4.0],
    ]
)


def bumpy_sphere(n_points: int) -> Float[np.ndarray, "n 3"]:
    r"""Points spread evenly over a closed surface with five bumps, two of them long.

    The radius in direction u is :math:`1 + \sum_b h_b\, e^{c_b (\langle u, d_b\rangle - 1)}`. The points are the farthest among
    ten times as many.

    Examples
    --------
    >>> radius = np.linalg.norm(bumpy_sphere(300), axis=1)
    >>> radius.min().round(2), radius.max().round(2)
    (np.float64(1.01), np.float64(1.56))
    """
    directions = fibonacci_sphere(10 * check_integer(n_points, "n_points", minimum=1))
    axes = _BUMPS[:, :3] / np.linalg.norm(_BUMPS[:, :3], axis=1, keepdims=True)
    radius = 1 + np.exp(_BUMPS[:, 4] * (directions @ axes.T - 1)) @ _BUMPS[:, 3]
    points = radius[:, None] * directions
    return points[farthest_points(points, n_points)[0]]

"""Point clouds on manifolds that are known in closed form, some with their geodesic distances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import cdist

from semigroup.base import check_integer, check_number, numpy_generator
from semigroup.operators import shortest_path_distances
from semigroup.operators.farthest import farthest_points

__all__ = [
    "ManifoldSample",
    "branching_tree",
    "bumpy_sphere",
    "clifford_torus",
    "fibonacci_sphere",
    "swiss_roll",
    "three_sphere",
]


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


# --- with geodesic distances -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ManifoldSample:
    """Noisy points of a manifold, and the truth.

    Attributes
    ----------
    points : array of shape (n, d)
        Observed, with noise.
    clean : array of shape (n, d)
        The same points without noise.
    position : array of shape (n,)
        Where each point is along the manifold, for colour: arc length along the roll, steps from the tree's root.
    labels : int array of shape (n,)
        Cluster or branch.
    geodesics : array of shape (n, n)
        Length of the shortest way along the manifold.
    """

    points: Float[np.ndarray, "n d"]
    clean: Float[np.ndarray, "n d"]
    position: Float[np.ndarray, " n"]
    labels: Int[np.ndarray, " n"]
    geodesics: Float[np.ndarray, "n n"]


def swiss_roll(
    n_samples: int = 500,
    *,
    n_features: int = 3,
    noise: float = 0.1,
    clustered: bool = False,
    random_state: int | np.random.Generator | None = None,
) -> ManifoldSample:
    r"""A sheet rolled up in three dimensions, turned into more by a random rotation.

    :math:`x = (s \cos s, h, s \sin s)` with :math:`s = 1.5 \pi (1 + 2U)`, :math:`h = 5U'`, plus noise. The sheet is flat, so that
    the geodesic distance is that of :math:`(u(s), h)` in the plane, with the arc length
    :math:`u(s) = \tfrac12 (s \sqrt{1 + s^2} + \operatorname{asinh} s)`.

    Parameters
    ----------
    n_samples : int
    n_features : int
        Dimension d >= 3 of the points; with d > 3 the roll lies in a random subspace.
    noise : float
        Standard deviation of the noise in each of the d dimensions.
    clustered : bool
        Draw s from normal laws of variance 1 around 7 and 12 in equal parts instead; `labels` tell which.
    random_state : int, Generator or None

    References
    ----------
    G. Huguet et al., "A Heat Diffusion Perspective on Geodesic Preserving Dimensionality Reduction", NeurIPS 2023.

    Examples
    --------
    >>> roll = swiss_roll(100, n_features=10, random_state=0)
    >>> roll.points.shape, roll.geodesics.shape
    ((100, 10), (100, 100))
    """
    n_samples = check_integer(n_samples, "n_samples", minimum=2)
    n_features = check_integer(n_features, "n_features", minimum=3)
    noise = check_number(noise, "noise", minimum=0)
    generator = numpy_generator(random_state)
    labels = np.zeros(n_samples, dtype=np.int64)
    if clustered:
        labels[n_samples // 2 :] = 1
        turn = np.where(labels == 0, 7.0, 12.0) + generator.normal(size=n_samples)
    else:
        turn = 1.5 * np.pi * (1 + 2 * generator.random(n_samples))
    height = 5 * generator.random(n_samples)
    clean = np.stack([turn * np.cos(turn), height, turn * np.sin(turn)], axis=1)
    if n_features > 3:
        rotation, _ = np.linalg.qr(generator.normal(size=(n_features, 3)))
        clean = clean @ rotation.T
    points = clean + noise * generator.normal(size=clean.shape)
    length = (turn * np.sqrt(1 + turn**2) + np.arcsinh(turn)) / 2
    flat = np.stack([length, height], axis=1)
    return ManifoldSample(points, clean, length, labels, cdist(flat, flat))


def branching_tree(
    n_branches: int = 5,
    branch_length: int = 100,
    *,
    n_features: int = 10,
    noise: float = 1.0,
    n_neighbors: int = 10,
    random_state: int | np.random.Generator | None = None,
) -> ManifoldSample:
    r"""Random walks that branch off a first one: the artificial tree of the PHATE paper.

    Each branch is a cumulative sum of steps uniform in :math:`[-1, 1]^d`; the first starts at the origin, each other one at a
    random point of the first. The geodesic distance is the length of the shortest path over a neighbour graph of the
    points without noise.

    Parameters
    ----------
    n_branches, branch_length : int
        Points a branch.
    n_features : int
        d.
    noise : float
        Standard deviation of the noise in each dimension, where a step has a standard deviation of 0.58.
    n_neighbors : int
        Of the graph behind `geodesics`.
    random_state : int, Generator or None

    References
    ----------
    K. R. Moon et al., "Visualizing structure and transitions in high-dimensional biological data", Nature Biotechnology 37
    (2019).

    Examples
    --------
    >>> tree = branching_tree(3, 50, random_state=0)
    >>> tree.points.shape, np.bincount(tree.labels)
    ((150, 10), array([50, 50, 50]))
    """
    n_branches = check_integer(n_branches, "n_branches", minimum=1)
    branch_length = check_integer(branch_length, "branch_length", minimum=2)
    n_features = check_integer(n_features, "n_features", minimum=1)
    noise = check_number(noise, "noise", minimum=0)
    generator = numpy_generator(random_state)
    walks = np.cumsum(generator.uniform(-1, 1, (n_branches, branch_length, n_features)), axis=1)
    start = generator.integers(branch_length, size=n_branches - 1)
    walks[1:] += walks[0, start][:, None]
    steps = np.tile(np.arange(branch_length, dtype=np.float64), (n_branches, 1))
    steps[1:] += start[:, None]
    clean = walks.reshape(-1, n_features)
    points = clean + noise * generator.normal(size=clean.shape)
    labels = np.repeat(np.arange(n_branches), branch_length)
    return ManifoldSample(points, clean, steps.ravel(), labels, shortest_path_distances(clean, n_neighbors))

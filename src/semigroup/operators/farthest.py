"""Farthest point sampling: few points of a cloud that cover it evenly."""

from __future__ import annotations

import typing
from typing import Any

import numba
import numpy as np
from jaxtyping import Float, Int

from semigroup.base import check_array, check_integer, check_number

__all__ = ["diameter", "farthest_points"]


def farthest_points(
    points: Any, n_points: int | None = None, *, spacing: float = 0.0
) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Points chosen one after the other, each the farthest from those chosen before; the first is point 0.

    Parameters
    ----------
    points : array of shape (n, d)
    n_points : int, optional
        Most points to choose; all if not given.
    spacing : float
        Stop where the farthest point is nearer than this fraction of the cloud's diameter; 0 keeps all distinct points.

    Returns
    -------
    index : int array of shape (k,)
        In the order chosen.
    distance : array of shape (k,)
        Of each point from those before it, falling; infinite for the first. The chosen points are at least
        ``distance[-1]`` apart.

    Raises
    ------
    ValueError
        If `n_points` exceeds the number of points, or `spacing` is not in [0, 1).

    Examples
    --------
    >>> farthest_points(np.array([[0.0], [1.0], [5.0], [2.0]]), 3)
    (array([0, 2, 3]), array([inf,  5.,  2.]))
    """
    points = check_array(points, "points", ndim=2)
    n = len(points)
    n_points = n if n_points is None else check_integer(n_points, "n_points", minimum=1, maximum=n)
    spacing = check_number(spacing, "spacing", minimum=0, below=1)
    least = spacing * diameter(points) if spacing else 0.0
    return _farthest(points, n_points, least)


def diameter(points: Any) -> float:
    """Largest Euclidean distance between two points, over all pairs.

    Examples
    --------
    >>> diameter(np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]]))
    5.0
    """
    return float(np.sqrt(_largest_square(check_array(points, "points", ndim=2))))


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _farthest(points: Any, n_points: int, least: float) -> Any:
    n, d = points.shape
    index, distance = np.zeros(n_points, dtype=np.int64), np.full(n_points, np.inf)
    nearest = np.full(n, np.inf)  # squared distance to the chosen points
    latest = 0
    for count in range(1, n_points):
        farthest, square = 0, -1.0
        for i in range(n):
            gap = 0.0
            for a in range(d):
                gap += (points[i, a] - points[latest, a]) ** 2
            if gap < nearest[i]:
                nearest[i] = gap
            if nearest[i] > square:
                farthest, square = i, nearest[i]
        if square == 0.0 or np.sqrt(square) < least:
            return index[:count], distance[:count]
        index[count], distance[count], latest = farthest, np.sqrt(square), farthest
    return index, distance


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _largest_square(points: Any) -> Any:
    n, d = points.shape
    largest = 0.0
    for i in range(n):
        for j in range(i):
            gap = 0.0
            for a in range(d):
                gap += (points[i, a] - points[j, a]) ** 2
            largest = max(largest, gap)
    return largest

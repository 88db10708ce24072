r"""Metric multidimensional scaling: points whose distances are given ones, as nearly as can be.

The stress :math:`\sum_{i<j} w_{ij} (d_{ij} - \lVert y_i - y_j\rVert)^2` is brought down by majorisation (SMACOF): Guttman's
transform, taken twice as far as it points, which never increases the stress either and converges in half the steps. It starts
from classical scaling and is turned back to it at the end. Points that come later are placed among fixed ones by the same
majorisation.

References
----------
- I. Borg, P. Groenen, "Modern Multidimensional Scaling", Springer 2005, chapters 8 and 12.
- J. de Leeuw, W. Heiser, "Multidimensional scaling with restrictions on the configuration", 1980, for the longer step.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import scipy.linalg
from jaxtyping import Float

from semigroup.operators import eigenpairs

__all__ = ["Configuration", "align", "classical_scaling", "metric_scaling", "place"]

TINY = 1e-150  # in the place of a length of zero, whose direction is none: the force it divides is multiplied by zero


@dataclass(frozen=True)
class Configuration:
    """Points, and how well their distances are the wanted ones.

    Attributes
    ----------
    points : array of shape (n, k)
    stress : float
        Root of the weighted mean squared error of the distances, over the root of the weighted mean of their squares.
    n_iter : int
    converged : bool
    """

    points: Float[np.ndarray, "n k"]
    stress: float
    n_iter: int
    converged: bool


def classical_scaling(distances: Float[np.ndarray, "n n"], n_components: int) -> Float[np.ndarray, "n k"]:
    r"""Coordinates :math:`\sqrt{\lambda_k} v_k` from the largest eigenpairs of :math:`-\tfrac12 J D^2 J`, :math:`J` the centring.

    Exact, up to rotation, for the distances of points in as many dimensions. Negative eigenvalues, which no points have, count
    as zero.

    Examples
    --------
    >>> line = np.array([[0.0, 1.0, 3.0], [1.0, 0.0, 2.0], [3.0, 2.0, 0.0]])
    >>> abs(np.diff(classical_scaling(line, 1)[:, 0])).round(6)
    array([1., 2.])
    """
    squared = distances**2
    mean = squared.mean(axis=0)
    gram = (mean[:, None] + mean - squared - mean.mean()) / 2
    pairs = eigenpairs(gram, n_components, which="largest", tol=1e-6)
    return pairs.vectors[:, ::-1] * np.sqrt(np.maximum(pairs.values[::-1], 0))


def metric_scaling(
    distances: Float[np.ndarray, "n n"],
    start: Float[np.ndarray, "n k"],
    weights: Float[np.ndarray, "n n"] | None = None,
    *,
    max_iter: int = 3000,
    tol: float = 1e-6,
) -> Configuration:
    """Points of least stress near a start, turned to it.

    Parameters
    ----------
    distances : array of shape (n, n)
        Symmetric, zero diagonal.
    start : array of shape (n, k)
    weights : array of shape (n, n), optional
        Symmetric, positive off the diagonal; ones if not given.
    max_iter : int
    tol : float
        Stop when a step lowers the stress's square by less than this part of it.

    Returns
    -------
    Configuration

    Examples
    --------
    >>> square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> wanted = np.linalg.norm(square[:, None] - square, axis=2)
    >>> found = metric_scaling(wanted, square + np.array([[0.3, 0], [0, 0.2], [0, 0], [-0.2, 0.1]]))
    >>> found.stress < 1e-2, found.converged
    (True, True)
    """
    points = np.ascontiguousarray(start - start.mean(axis=0))
    given = np.ones((1, 1)) if weights is None else np.ascontiguousarray(weights)
    distances = np.ascontiguousarray(distances)
    n = len(points)
    if weights is None:
        solve = lambda forces: forces / n  # noqa: E731
        total = float((distances**2).sum())
    else:
        laplacian = -given + 1 / n
        np.fill_diagonal(laplacian, 0)
        np.fill_diagonal(laplacian, given.sum(axis=1) - given.diagonal() + 1 / n)
        factor = scipy.linalg.cho_factor(laplacian)
        solve = lambda forces: scipy.linalg.cho_solve(factor, forces)  # noqa: E731
        total = float((given * distances**2).sum())
    total = total or 1.0
    forces, error = _guttman(distances, given, points)
    n_iter, converged = 0, error <= 1e-24 * total
    while n_iter < max_iter and not converged:
        n_iter += 1
        points = 2 * solve(forces) - points
        points -= points.mean(axis=0)
        before = error
        forces, error = _guttman(distances, given, points)
        converged = before - error <= tol * before
    # The last step is the transform itself: twice as far lands at a point as high on the other side.
    points = solve(forces) if n_iter else points
    _, error = _guttman(distances, given, points)
    return Configuration(align(points, start), float(np.sqrt(error / total)), n_iter, bool(converged))


def align(points: Float[np.ndarray, "n k"], target: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """Points rotated, reflected and shifted to lie as near to their targets as they can, at their own size."""
    centre = target.mean(axis=0)
    centred = points - points.mean(axis=0)
    left, _, right = np.linalg.svd(centred.T @ (target - centre))
    return centred @ (left @ right) + centre


def place(
    distances: Float[np.ndarray, "q m"],
    anchors: Float[np.ndarray, "m k"],
    weights: Float[np.ndarray, "q m"] | None = None,
    *,
    max_iter: int = 300,
    tol: float = 1e-7,
) -> Float[np.ndarray, "q k"]:
    r"""Each point where its distances to fixed anchors have least stress, from the mean of its three nearest ones.

    Parameters
    ----------
    distances : array of shape (q, m)
    anchors : array of shape (m, k)
    weights : array of shape (q, m), optional
    max_iter : int
    tol : float
        Stop when a step is shorter than this part of the anchors' spread.

    Examples
    --------
    >>> anchors = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    >>> point = np.array([[1.0, 2.0]])
    >>> place(np.linalg.norm(point[:, None] - anchors, axis=2), anchors).round(3)
    array([[1., 2.]])
    """
    near = np.argpartition(distances, min(2, distances.shape[1] - 1), axis=1)[:, :3]
    start = np.ascontiguousarray(anchors[near].mean(axis=1))
    given = np.ones((1, 1)) if weights is None else np.ascontiguousarray(weights)
    reach = tol * float(np.sqrt(anchors.var(axis=0).sum()))
    return _place(np.ascontiguousarray(distances), given, np.ascontiguousarray(anchors), start, max_iter, reach)


@numba.njit(nogil=True, fastmath={"reassoc", "contract"}, cache=True)
@typing.no_type_check
def _guttman(distances: Any, weights: Any, points: Any) -> Any:
    """Rows of B(Y)Y, B Guttman's matrix, and the weighted squared error over all ordered pairs."""
    n, k = points.shape
    columns = points.T.copy()
    forces, errors = np.zeros((n, k)), np.zeros(n)
    weighted = weights.shape[0] == n
    for i in range(n):
        # One loop over j for each step, so that all of them run on vector registers.
        ratio = _lengths(columns, points[i])
        error = 0.0
        for j in range(n):
            weight = weights[i, j] if weighted else 1.0
            error += weight * (distances[i, j] - ratio[j]) ** 2
            ratio[j] = weight * distances[i, j] / max(ratio[j], TINY)
        for c in range(k):
            force = 0.0
            for j in range(n):
                force += ratio[j] * (points[i, c] - columns[c, j])
            forces[i, c] = force
        errors[i] = error
    return forces, errors.sum()


@numba.njit(nogil=True, fastmath={"reassoc", "contract"}, cache=True)
@typing.no_type_check
def _lengths(columns: Any, point: Any) -> Any:
    """Distances from a point to points that are given by columns."""
    k, m = columns.shape
    result = np.zeros(m)
    for c in range(k):
        for j in range(m):
            result[j] += (point[c] - columns[c, j]) ** 2
    for j in range(m):
        result[j] = np.sqrt(result[j])
    return result


@numba.njit(nogil=True, fastmath={"reassoc", "contract"}, cache=True)
@typing.no_type_check
def _place(distances: Any, weights: Any, anchors: Any, start: Any, max_iter: int, reach: float) -> Any:
    q, m = distances.shape
    k = anchors.shape[1]
    columns = anchors.T.copy()
    result = np.empty((q, k))
    weighted = weights.shape[0] == q and weights.shape[1] == m
    for i in range(q):
        point, steps = start[i].copy(), np.empty(k)
        for _ in range(max_iter):
            ratio = _lengths(columns, point)
            total = 0.0
            for j in range(m):
                weight = weights[i, j] if weighted else 1.0
                total += weight
                ratio[j] = weight * (distances[i, j] / max(ratio[j], TINY) - 1.0)
            moved = 0.0
            for c in range(k):
                # Guttman's transform less the point itself: where the mean of what each anchor asks for lies.
                step = 0.0
                for j in range(m):
                    step += ratio[j] * (point[c] - columns[c, j])
                steps[c] = step / total
                moved += steps[c] ** 2
            for c in range(k):
                point[c] += 2.0 * steps[c]
            if moved <= reach * reach:
                break
        result[i] = point
    return result

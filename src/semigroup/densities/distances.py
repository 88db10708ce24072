"""Distances between distributions: between two samples, and between two Gaussians."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist, pdist

from semigroup.base import check_array

__all__ = ["bures_wasserstein", "energy_distance"]


def energy_distance(X: Any, Y: Any) -> float:
    """Energy distance between two samples: ``E|X-Y| - E|X-X'|/2 - E|Y-Y'|/2``, estimated without bias.

    Zero in expectation if and only if both samples come from one distribution; it can be slightly negative. The cost is
    quadratic in the number of rows, so large samples are best thinned to a few thousand.

    Parameters
    ----------
    X, Y : array-like or Tensor, shapes (n, dim) and (m, dim)
        At least two rows each.

    Returns
    -------
    float
        In the unit of the columns.

    Raises
    ------
    ValueError
        If a sample has fewer than two rows, or the columns do not match.

    References
    ----------
    Székely, G. J. and Rizzo, M. L. (2013). Energy statistics. Journal of Statistical Planning and Inference 143.

    Examples
    --------
    >>> energy_distance([[0.0], [0.0]], [[3.0], [3.0]])
    3.0
    """
    X = check_array(X, "X", ndim=2, min_rows=2)
    Y = check_array(Y, "Y", ndim=2, min_rows=2, n_columns=X.shape[1])
    return float(cdist(X, Y).mean() - pdist(X).mean() / 2 - pdist(Y).mean() / 2)


def bures_wasserstein(
    mean1: Float[np.ndarray, "*batch dim"],
    cov1: Float[np.ndarray, "*batch dim dim"],
    mean2: Float[np.ndarray, "*batch dim"],
    cov2: Float[np.ndarray, "*batch dim dim"],
) -> Float[np.ndarray, "*batch"]:
    """Half the squared 2-Wasserstein distance between Gaussians, for batches of means and covariances.

    ``|m1 - m2|^2 / 2 + tr(C1)/2 + tr(C2)/2 - tr (C1^(1/2) C2 C1^(1/2))^(1/2)``, in squared units of the space; float64.

    Examples
    --------
    >>> bures_wasserstein(np.zeros(1), np.eye(1), np.full(1, 2.0), 4 * np.eye(1)).item()
    2.5
    """
    values, vectors = np.linalg.eigh(cov1)
    root = (vectors * np.sqrt(np.maximum(values, 0))[..., None, :]) @ np.swapaxes(vectors, -1, -2)
    cross = np.linalg.eigvalsh(root @ cov2 @ root)
    traces = np.trace(cov1, axis1=-2, axis2=-1) + np.trace(cov2, axis1=-2, axis2=-1)
    gap = ((mean1 - mean2) ** 2).sum(-1) / 2 + traces / 2 - np.sqrt(np.maximum(cross, 0)).sum(-1)
    return np.asarray(np.maximum(gap, 0.0))

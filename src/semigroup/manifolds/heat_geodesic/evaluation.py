"""How well distances agree with true geodesics: the measures that the authors use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from semigroup.base import check_integer

__all__ = ["GeodesicScores", "geodesic_scores", "neighbour_precision"]


@dataclass(frozen=True)
class GeodesicScores:
    """Agreement of two distance matrices.

    Attributes
    ----------
    pearson, spearman : float
        Mean over the points of the correlation between their rows.
    frobenius, largest : float
        Norm of the difference, Frobenius and largest row sum, relative to that of the truth, after the predicted distances
        are brought to the truth's unit by least squares.
    """

    pearson: float
    spearman: float
    frobenius: float
    largest: float


def geodesic_scores(predicted: Float[np.ndarray, "n n"], truth: Float[np.ndarray, "n n"]) -> GeodesicScores:
    """Scores of predicted distances, their diagonal taken as zero.

    Examples
    --------
    >>> truth = np.abs(np.arange(5.0)[:, None] - np.arange(5.0))
    >>> scores = geodesic_scores(3 * truth, truth)
    >>> round(scores.pearson, 9), round(scores.spearman, 9), round(scores.frobenius, 9)
    (1.0, 1.0, 0.0)
    """
    predicted = predicted.copy()
    np.fill_diagonal(predicted, 0)
    unit = (predicted * truth).sum() / max(float((predicted**2).sum()), np.finfo(float).tiny)
    gap = unit * predicted - truth
    return GeodesicScores(
        pearson=_row_correlation(predicted, truth),
        spearman=_row_correlation(rankdata(predicted, axis=1), rankdata(truth, axis=1)),
        frobenius=float(np.linalg.norm(gap) / np.linalg.norm(truth)),
        largest=float(np.linalg.norm(gap, np.inf) / np.linalg.norm(truth, np.inf)),
    )


def _row_correlation(one: Float[np.ndarray, "n m"], other: Float[np.ndarray, "n m"]) -> float:
    one = one - one.mean(axis=1, keepdims=True)
    other = other - other.mean(axis=1, keepdims=True)
    size = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    product = (one * other).sum(axis=1)
    return float(np.divide(product, size, out=np.zeros_like(product), where=size > 0).mean())


def neighbour_precision(predicted: Float[np.ndarray, "n n"], truth: Float[np.ndarray, "n n"], k: int) -> float:
    """Part of the k nearest points that are among the k truly nearest (P@k), mean over the points.

    Examples
    --------
    >>> truth = np.abs(np.arange(5.0)[:, None] - np.arange(5.0))
    >>> neighbour_precision(truth**2, truth, 2)
    1.0
    """
    n = len(truth)
    k = check_integer(k, "k", minimum=1, maximum=n - 1)
    member = []
    for distances in (predicted, truth):
        others = distances + np.diag(np.full(n, np.inf))
        nearest = np.argsort(others, axis=1, kind="stable")[:, :k]
        mask = np.zeros((n, n), dtype=bool)
        np.put_along_axis(mask, nearest, True, axis=1)
        member.append(mask)
    return float((member[0] & member[1]).sum() / (n * k))

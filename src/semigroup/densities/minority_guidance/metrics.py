"""How far generated instances lie from the crowd of real ones, and whether they are still among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

from semigroup.base import check_array, check_integer
from semigroup.densities.distances import precision_recall

__all__ = ["Rarity", "assess_rarity", "average_knn_distance", "local_outlier_factor", "rarity_score"]


def average_knn_distance(real: Any, generated: Any, *, k: int = 5) -> Float[np.ndarray, " generated"]:
    """AvgkNN: mean Euclidean distance of each generated row to its k nearest real rows; high where the data are sparse.

    Parameters
    ----------
    real, generated : array-like or Tensor, shapes (n, dim) and (m, dim)
        Vectors, or features of images.
    k : int

    Examples
    --------
    >>> average_knn_distance([[0.0], [1.0], [5.0]], [[0.0], [4.0]], k=2)
    array([0.5, 2. ])
    """
    real, generated = _two(real, generated, k)
    return NearestNeighbors(n_neighbors=k).fit(real).kneighbors(generated)[0].mean(1)


def local_outlier_factor(real: Any, generated: Any, *, k: int = 20) -> Float[np.ndarray, " generated"]:
    """LOF of each generated row among the real ones: about 1 in the crowd, larger where neighbours are denser than itself.

    Parameters
    ----------
    real, generated : array-like or Tensor, shapes (n, dim) and (m, dim)
    k : int

    References
    ----------
    Breunig, M. M. et al. (2000). LOF: Identifying density-based local outliers. SIGMOD.
    """
    real, generated = _two(real, generated, k)
    return -LocalOutlierFactor(n_neighbors=k, novelty=True).fit(real).score_samples(generated)


def rarity_score(real: Any, generated: Any, *, k: int = 5) -> Float[np.ndarray, " generated"]:
    """Rarity score: the least radius among the real balls that hold a generated row; NaN where none does.

    A ball reaches from a real row to its k-th real neighbour, so its radius is large where the data are sparse.

    Parameters
    ----------
    real, generated : array-like or Tensor, shapes (n, dim) and (m, dim)
    k : int

    References
    ----------
    Han, J. et al. (2023). Rarity score: a new metric to evaluate the uncommonness of synthesized images. ICLR, definition 1.

    Examples
    --------
    >>> real = [[0.0], [1.0], [3.0], [9.0]]
    >>> rarity_score(real, [[0.5], [8.0], [20.0]], k=1)
    array([ 1.,  6., nan])
    """
    real, generated = _two(real, generated, k)
    radii = NearestNeighbors(n_neighbors=k).fit(real).kneighbors()[0][:, -1]
    least = np.empty(len(generated))
    for start in range(0, len(generated), 1024):  # bounds the memory
        inside = cdist(generated[start : start + 1024], real) <= radii
        least[start : start + 1024] = np.where(inside, radii, np.inf).min(1)
    return np.where(np.isfinite(least), least, np.nan)


@dataclass(frozen=True)
class Rarity:
    """Means over a generated sample.

    Attributes
    ----------
    avg_knn : float
        Distance to the k nearest real rows.
    lof : float
        Local outlier factor.
    rarity : float
        Rarity score, over the rows that have one.
    in_manifold : float
        Share of the rows that have one: those inside some real row's ball, which is improved precision.
    recall : float
        Share of the real rows inside some generated row's ball.
    nearest : float
        Median distance to the nearest real row; near 0 where the model copies its data.
    """

    avg_knn: float
    lof: float
    rarity: float
    in_manifold: float
    recall: float
    nearest: float


def assess_rarity(real: Any, generated: Any, *, k: int = 5, lof_neighbors: int = 20) -> Rarity:
    """Rarity and fidelity of a sample together, since either alone is cheap to have.

    Reference rows that the model was trained on reward outliers that it memorised; use held-out ones beside them.

    Parameters
    ----------
    real, generated : array-like or Tensor, shapes (n, dim) and (m, dim)
        Vectors, or features of images.
    k : int
        Neighbours for AvgkNN, the rarity score, precision and recall.
    lof_neighbors : int

    Returns
    -------
    Rarity
    """
    rare = rarity_score(real, generated, k=k)
    inside = ~np.isnan(rare)
    return Rarity(
        avg_knn=float(average_knn_distance(real, generated, k=k).mean()),
        lof=float(local_outlier_factor(real, generated, k=lof_neighbors).mean()),
        rarity=float(rare[inside].mean()) if inside.any() else float("nan"),
        in_manifold=float(inside.mean()),
        recall=precision_recall(real, generated, k=k)[1],
        nearest=float(np.median(average_knn_distance(real, generated, k=1))),
    )


def _two(real: Any, generated: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
    check_integer(k, "k", minimum=1)
    real = check_array(real, "real", ndim=2, min_rows=k + 1)
    return real, check_array(generated, "generated", ndim=2, n_columns=real.shape[1])

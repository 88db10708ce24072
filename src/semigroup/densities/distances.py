"""Distances between distributions: between two samples, and between two Gaussians; and what a sample covers of another."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist, pdist
from sklearn.neighbors import NearestNeighbors

from semigroup.base import check_array, check_integer, check_number, numpy_generator
from semigroup.operators import common_offset

__all__ = [
    "bures_wasserstein",
    "energy_distance",
    "frechet_distance",
    "mmd",
    "precision_recall",
    "sliced_wasserstein",
    "wasserstein",
]

MOST_ROWS = 10_000


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
    X, Y = _two_samples(X, Y, min_rows=2)
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


def wasserstein(X: Any, Y: Any, *, p: float = 1) -> float:
    """Exact p-Wasserstein distance between two samples, in the Euclidean norm.

    In one dimension it is the distance of the quantile functions; else the transport problem is solved by network simplex
    (POT), whose time and memory grow at least with n m. Two samples of one law are not at distance zero: print the distance
    between two true samples beside it.

    Parameters
    ----------
    X, Y : array-like or Tensor, shapes (n, dim) and (m, dim)
    p : float
        At least 1.

    Returns
    -------
    float
        In the unit of the columns.

    Raises
    ------
    ValueError
        If the columns do not match, or if a sample in two or more dimensions has over 10,000 rows.

    Examples
    --------
    >>> wasserstein([[0.0, 0.0], [1.0, 0.0]], [[0.0, 3.0], [1.0, 3.0]])
    3.0
    """
    X, Y = _two_samples(X, Y)
    p = check_number(p, "p", minimum=1)
    if X.shape[1] == 1:
        return float(_quantile_distance(X, Y, p)[0] ** (1 / p))
    for name, sample in (("X", X), ("Y", Y)):
        if len(sample) > MOST_ROWS:
            raise ValueError(f"{name} has {len(sample)} rows; exact transport takes at most {MOST_ROWS}: thin it out")
    import ot

    cost = cdist(X, Y) ** p
    return float(ot.emd2([], [], cost, numItermax=10_000_000) ** (1 / p))


def sliced_wasserstein(
    X: Any, Y: Any, *, p: float = 1, n_projections: int = 200, random_state: int | np.random.Generator | None = None
) -> float:
    """Sliced p-Wasserstein distance: the p-th mean over random directions of the distance of the projected samples.

    Parameters
    ----------
    X, Y : array-like or Tensor, shapes (n, dim) and (m, dim)
    p : float
        At least 1.
    n_projections : int
    random_state : int or Generator, optional

    Returns
    -------
    float
        In the unit of the columns.

    References
    ----------
    Rabin, J., Peyré, G., Delon, J. and Bernot, M. (2011). Wasserstein barycenter and its application to texture mixing. SSVM.

    Examples
    --------
    >>> round(sliced_wasserstein([[0.0, 0.0]], [[3.0, 0.0]], p=2, random_state=0) / 3 * 2**0.5, 1)  # E cos^2 = 1/2
    1.0
    """
    X, Y = _two_samples(X, Y)
    p = check_number(p, "p", minimum=1)
    check_integer(n_projections, "n_projections", minimum=1)
    directions = numpy_generator(random_state).standard_normal((X.shape[1], n_projections))
    directions /= np.linalg.norm(directions, axis=0)
    return float(_quantile_distance(X @ directions, Y @ directions, p).mean() ** (1 / p))


def mmd(X: Any, Y: Any, *, bandwidth: float | None = None) -> float:
    """Squared maximum mean discrepancy with the Gaussian kernel ``exp(-|x-y|^2 / (2 bandwidth^2))``, estimated without bias.

    Parameters
    ----------
    X, Y : array-like or Tensor, shapes (n, dim) and (m, dim)
        At least two rows each.
    bandwidth : float, optional
        In the unit of the columns; by default the median distance between rows of X and Y.

    Returns
    -------
    float
        Zero in expectation if both samples come from one distribution; it can be slightly negative.

    References
    ----------
    Gretton, A. et al. (2012). A kernel two-sample test. JMLR 13, eq. 3.

    Examples
    --------
    >>> round(mmd([[0.0], [0.0]], [[2.0], [2.0]], bandwidth=1.0), 3)
    1.729
    """
    X, Y = _two_samples(X, Y, min_rows=2)
    between = cdist(X, Y, "sqeuclidean")
    if bandwidth is None:
        bandwidth = float(np.sqrt(np.median(between))) or 1.0
    scale = -0.5 / check_number(bandwidth, "bandwidth", above=0) ** 2
    within = sum(np.exp(scale * pdist(sample, "sqeuclidean")).mean() for sample in (X, Y))
    return float(within - 2 * np.exp(scale * between).mean())


def frechet_distance(X: Any, Y: Any) -> float:
    """Fréchet distance: the squared 2-Wasserstein distance between the Gaussians with the two samples' moments.

    When the rows are features of a network it is what the field calls FID, with that network in place of Inception. It is
    biased upwards, the more the fewer the rows: compare figures from samples of one size only.

    Parameters
    ----------
    X, Y : array-like or Tensor, shapes (n, dim) and (m, dim)
        At least two rows each.

    Returns
    -------
    float
        In squared units of the columns.

    References
    ----------
    Heusel, M. et al. (2017). GANs trained by a two time-scale update rule converge to a local Nash equilibrium. NeurIPS, eq. 6.

    Examples
    --------
    >>> frechet_distance([[0.0], [2.0]], [[3.0], [5.0]])
    9.0
    """
    X, Y = _two_samples(X, Y, min_rows=2)
    moments = [(sample.mean(0), np.atleast_2d(np.cov(sample, rowvar=False))) for sample in (X, Y)]
    return float(2 * bures_wasserstein(*moments[0], *moments[1]))


def precision_recall(real: Any, generated: Any, *, k: int = 5) -> tuple[float, float]:
    """Improved precision and recall: what share of one sample lies in the k-nearest-neighbour balls of the other.

    Precision is the share of generated rows within some real row's distance to its k-th real neighbour; recall exchanges
    the two samples.

    Parameters
    ----------
    real, generated : array-like or Tensor, shapes (n, dim) and (m, dim)
        More than k rows each.
    k : int

    Returns
    -------
    precision, recall : float

    References
    ----------
    Kynkäänniemi, T. et al. (2019). Improved precision and recall metric for assessing generative models. NeurIPS, eq. 1-2.

    Examples
    --------
    >>> line = np.arange(8.0)[:, None]
    >>> precision_recall(line, line[:4], k=1)
    (1.0, 0.625)
    """
    check_integer(k, "k", minimum=1)
    real = check_array(real, "real", ndim=2, min_rows=k + 1)
    generated = check_array(generated, "generated", ndim=2, min_rows=k + 1, n_columns=real.shape[1])
    return _share_covered(real, generated, k), _share_covered(generated, real, k)


def _share_covered(centers: np.ndarray, points: np.ndarray, k: int) -> float:
    """Share of `points` inside a ball around some center that reaches to the center's k-th neighbour."""
    around = centers - common_offset(centers)
    radii = NearestNeighbors(n_neighbors=k).fit(around).kneighbors()[0][:, -1]
    covered = 0
    for start in range(0, len(points), 1024):  # bounds the memory
        covered += int((cdist(points[start : start + 1024], centers) <= radii).any(1).sum())
    return covered / len(points)


def _two_samples(X: Any, Y: Any, min_rows: int = 1) -> tuple[np.ndarray, np.ndarray]:
    X = check_array(X, "X", ndim=2, min_rows=min_rows)
    return X, check_array(Y, "Y", ndim=2, min_rows=min_rows, n_columns=X.shape[1])


def _quantile_distance(X: np.ndarray, Y: np.ndarray, p: float) -> Float[np.ndarray, " column"]:
    """``W_p^p`` of the columns of two samples."""
    X, Y = np.sort(X, axis=0), np.sort(Y, axis=0)
    if len(X) == len(Y):
        return (np.abs(X - Y) ** p).mean(0)
    # Between two neighbouring levels of either sample both quantile functions are constant.
    levels = np.union1d(np.arange(len(X) + 1) / len(X), np.arange(len(Y) + 1) / len(Y))
    middle = (levels[1:] + levels[:-1]) / 2
    x, y = (sample[(middle * len(sample)).astype(int)] for sample in (X, Y))
    return np.diff(levels) @ np.abs(x - y) ** p

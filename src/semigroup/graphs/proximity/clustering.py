r"""Clusters from a kernel or a matrix of distances: Ward's method, kernel k-means, spectral clustering.

With :math:`h_k` the indicator of cluster k over its size :math:`n_k`, a point i has the squared distance
:math:`(h_k - e_i)^T K (h_k - e_i)` from the cluster's mean. Ward's method merges the clusters for which
:math:`\frac{n_k n_l}{n_k + n_l} (h_k - h_l)^T K (h_k - h_l)` is least. That is the Lance-Williams recurrence on
:math:`\delta^2_{ij} = k_{ii} + k_{jj} - 2 k_{ij}`, whether or not the kernel is positive, so that SciPy's linkage gives the tree
in O(n²).

References
----------
L. Yen, F. Fouss, C. Decaestecker, P. Francq, M. Saerens, "Graph nodes clustering with the sigmoid commute-time kernel", Data &
Knowledge Engineering 68 (2009); F. Fouss, M. Saerens, M. Shimbo, "Algorithms and models for network data and link analysis",
Cambridge 2016, algorithms 7.2 and 7.3 of kernel k-means.
"""

from __future__ import annotations

import typing
from typing import Any, Literal

import numba
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import linkage
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform
from sklearn.cluster import KMeans

from semigroup.graphs.proximity.families import Proximity
from semigroup.operators import eigenpairs, modularity

__all__ = ["cut_tree", "kernel_kmeans", "kernel_spectral", "squared_distances", "ward_tree"]

MAX_RESTARTS = 5


def squared_distances(kernel: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    r""":math:`\delta^2_{ij} = k_{ii} + k_{jj} - 2 k_{ij}`, cut off at zero."""
    diagonal = kernel.diagonal()
    result = np.maximum(diagonal[:, None] + diagonal - 2 * kernel, 0.0)
    np.fill_diagonal(result, 0.0)
    return result


def ward_tree(
    measure: Proximity, on: Literal["kernel", "squared", "distance"] = "kernel"
) -> Float[np.ndarray, "merges 4"]:
    """The tree of Ward's method, as SciPy's linkage matrix.

    Parameters
    ----------
    measure : Proximity
    on : {'kernel', 'squared', 'distance'}
        What is read as squared Euclidean distance: that of the kernel; the measure's distance itself; or its square.

    Examples
    --------
    >>> from semigroup.graphs.proximity import proximity
    >>> triangles = np.array([[0, 1], [1, 2], [2, 0], [2, 3], [3, 4], [4, 5], [5, 3]])
    >>> cut_tree(ward_tree(proximity(triangles, "logFor", 0.5)), 2)
    array([0, 0, 0, 1, 1, 1])
    """
    if on == "kernel":
        distance = np.sqrt(squared_distances(measure.kernel))
    else:
        distance = np.sqrt(np.maximum(measure.distance, 0)) if on == "squared" else measure.distance
    return linkage(squareform(distance, checks=False), "ward")


def cut_tree(tree: Float[np.ndarray, "merges 4"], n_clusters: int) -> Int[np.ndarray, " n"]:
    """Labels 0, 1, ... (by the first node of each cluster) after all but the last n_clusters - 1 merges."""
    n = len(tree) + 1
    merges = np.arange(n - n_clusters)
    children = tree[merges, :2].astype(np.int64)
    ends = (children.ravel(), np.repeat(n + merges, 2))
    forest = sp.coo_array((np.ones(len(ends[0])), ends), shape=(2 * n, 2 * n))
    return _in_order(connected_components(forest, directed=False)[1][:n])


def kernel_kmeans(
    kernel: Float[np.ndarray, "n n"],
    n_clusters: int,
    adjacency: sp.csr_array,
    generator: np.random.Generator,
    *,
    start: Literal["k-means++", "random"] = "k-means++",
    moves: Literal["batch", "single"] = "batch",
    choose_by: Literal["modularity", "inertia"] = "modularity",
    n_init: int = 10,
    max_iter: int = 100,
) -> Int[np.ndarray, " n"]:
    r"""Kernel k-means, the best of several starts.

    Parameters
    ----------
    kernel : array of shape (n, n)
        Symmetric. Where it is not positive the iteration may cycle, and is stopped after `max_iter`.
    n_clusters : int
    adjacency : csr_array of shape (n, n)
        Of the graph, for the modularity.
    generator : Generator
    start : {'k-means++', 'random'}
        Centres far apart, or drawn uniformly.
    moves : {'batch', 'single'}
        All points at once to the nearest mean, or one after the other where :math:`\frac{n_k}{n_k+1} d_k - \frac{n_l}{n_l-1} d_l
        < 0`, which counts what the move does to both means.
    choose_by : {'modularity', 'inertia'}
        What the best start is judged by.
    n_init, max_iter : int

    Returns
    -------
    int array of shape (n,)
    """
    best, best_score = np.zeros(len(kernel), dtype=np.int64), -np.inf
    for _ in range(n_init):
        for _ in range(MAX_RESTARTS):  # a cluster that became empty is a reason to start again
            labels = _start(kernel, n_clusters, start, generator)
            labels, is_full = (_batch_moves if moves == "batch" else _single_moves)(
                kernel, labels, n_clusters, max_iter
            )
            if is_full:
                break
        score = modularity(adjacency, labels) if choose_by == "modularity" else -_inertia(kernel, labels, n_clusters)
        if score > best_score:
            best, best_score = labels, score
    return _in_order(best)


def kernel_spectral(
    kernel: Float[np.ndarray, "n n"], n_clusters: int, generator: np.random.Generator, *, n_init: int = 10
) -> Int[np.ndarray, " n"]:
    """k-means on the eigenvectors of the kernel's largest eigenvalues."""
    vectors = eigenpairs(kernel, n_clusters, which="largest", method="dense").vectors
    seed = int(generator.integers(2**31))
    return _in_order(KMeans(n_clusters, n_init=n_init, random_state=seed).fit_predict(vectors))


def _in_order(labels: np.ndarray) -> Int[np.ndarray, " n"]:
    """Clusters numbered by their first node, so that equal partitions have equal labels."""
    _, first, codes = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[codes]


def _start(kernel: np.ndarray, n_clusters: int, start: str, generator: np.random.Generator) -> np.ndarray:
    """Nearest of some centres, each centre in its own cluster."""
    n, diagonal = len(kernel), kernel.diagonal()
    if start == "random":
        centres = generator.choice(n, n_clusters, replace=False)
    else:
        centres = np.array([generator.integers(n)])
        nearest = np.full(n, np.inf)
        while len(centres) < n_clusters:
            new = centres[-1]
            nearest = np.minimum(nearest, np.maximum(diagonal + diagonal[new] - 2 * kernel[new], 0))
            nearest[centres] = 0
            weights = nearest if nearest.sum() > 0 else np.isin(np.arange(n), centres, invert=True).astype(np.float64)
            centres = np.append(centres, generator.choice(n, p=weights / weights.sum()))
    labels = (diagonal[centres] - 2 * kernel[:, centres]).argmin(axis=1)
    labels[centres] = np.arange(n_clusters)
    return labels


def _to_means(kernel: np.ndarray, labels: np.ndarray, n_clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared distance of each point from each mean, up to the point's own k_ii; and the sizes."""
    sizes = np.bincount(labels, minlength=n_clusters)
    member = np.eye(n_clusters)[labels]
    sums = kernel @ member
    own = (member * sums).sum(axis=0)
    return own / sizes**2 - 2 * sums / sizes, sizes


def _inertia(kernel: np.ndarray, labels: np.ndarray, n_clusters: int) -> float:
    if len(np.unique(labels)) < n_clusters:
        return np.inf
    distances, _ = _to_means(kernel, labels, n_clusters)
    return float(kernel.trace() + np.take_along_axis(distances, labels[:, None], axis=1).sum())


def _batch_moves(
    kernel: np.ndarray, labels: np.ndarray, n_clusters: int, max_iter: int
) -> tuple[Int[np.ndarray, " n"], bool]:
    """The partition reached, or the last one without an empty cluster; and whether none became empty."""
    for _ in range(max_iter):
        new = _to_means(kernel, labels, n_clusters)[0].argmin(axis=1)
        if np.bincount(new, minlength=n_clusters).min() == 0:
            return labels, False
        if (new == labels).all():
            break
        labels = new
    return labels, True


def _single_moves(
    kernel: np.ndarray, labels: np.ndarray, n_clusters: int, max_iter: int
) -> tuple[Int[np.ndarray, " n"], bool]:
    """A cluster of one point keeps it, so that none becomes empty."""
    labels = labels.astype(np.int64)
    member = np.eye(n_clusters)[labels]
    sums = kernel @ member
    own = (member * sums).sum(axis=0)
    _move_points(np.ascontiguousarray(kernel), labels, sums, own, np.bincount(labels, minlength=n_clusters), max_iter)
    return labels, True


@numba.njit(cache=True)
@typing.no_type_check
def _move_points(kernel: Any, labels: Any, sums: Any, own: Any, sizes: Any, max_iter: int) -> None:
    """Passes over the points until none moves; `sums` of K over clusters and `own` of K within them follow along."""
    n, n_clusters = sums.shape
    for _ in range(max_iter):
        moved = False
        for i in range(n):
            here = labels[i]
            size = sizes[here]
            if size == 1:
                continue
            leaving = size / (size - 1) * (kernel[i, i] - 2 * sums[i, here] / size + own[here] / size**2)
            best, gain = here, -1e-12 * abs(leaving)
            for k in range(n_clusters):
                if k != here:
                    cost = (
                        sizes[k] / (sizes[k] + 1) * (kernel[i, i] - 2 * sums[i, k] / sizes[k] + own[k] / sizes[k] ** 2)
                    )
                    if cost - leaving < gain:
                        best, gain = k, cost - leaving
            if best == here:
                continue
            own[here] += kernel[i, i] - 2 * sums[i, here]
            own[best] += kernel[i, i] + 2 * sums[i, best]
            sums[:, here] -= kernel[:, i]
            sums[:, best] += kernel[:, i]
            sizes[here] -= 1
            sizes[best] += 1
            labels[i] = best
            moved = True
        if not moved:
            break

r"""Neighbour graphs of point clouds, with the kernels of manifold learning as weights.

With :math:`\epsilon_i` the distance of :math:`x_i` to its k-th nearest neighbour (itself not counted) and :math:`N_k(i)` its k
nearest neighbours:

===================  =================================================================================================
kernel               weight of the edge i - j
===================  =================================================================================================
``'binary'``         1
``'distance'``       :math:`\lVert x_i - x_j\rVert`, for shortest paths
``'gaussian'``       :math:`\exp(-\lVert x_i - x_j\rVert^2 / \sigma^2)`
``'alpha-decay'``    :math:`\tfrac12 (K_{ij} + K_{ji})` with
                     :math:`K_{ij} = \exp(-(\lVert x_i - x_j\rVert / \epsilon_i)^\alpha)`, zero below a threshold: PHATE's
``'adaptive'``       :math:`\sqrt{2 \sigma_i \sigma_j / (\sigma_i^2 + \sigma_j^2)}
                     \exp(-\lVert x_i - x_j\rVert^2 / (\sigma_i^2 + \sigma_j^2))`, :math:`\sigma_i = \epsilon_i / 2`:
                     diffusion pseudotime's, scanpy's ``method='gauss'``
``'fuzzy'``          :math:`F_{ij} + F_{ji} - F_{ij} F_{ji}` with
                     :math:`F_{ij} = \exp(-(\lVert x_i - x_j\rVert - \rho_i) / s_i)`, :math:`\rho_i` the distance to the
                     nearest neighbour and :math:`s_i` such that a row sums to :math:`\log_2(k + 1)`: UMAP's, and scanpy's
                     default, for k + 1 neighbours, since they count the point itself
===================  =================================================================================================

All but ``'alpha-decay'``, which reaches as far as its threshold, join i and j where :math:`j \in N_k(i)` or
:math:`i \in N_k(j)`.

References
----------
- K. R. Moon et al., "Visualizing structure and transitions in high-dimensional biological data", Nature Biotechnology 37
  (2019), for the alpha-decay kernel.
- L. Haghverdi et al., "Diffusion pseudotime robustly reconstructs lineage branching", Nature Methods 13 (2016), for
  ``'adaptive'``.
- L. McInnes, J. Healy, J. Melville, "UMAP", arXiv:1802.03426 (2018), section 3.1, for ``'fuzzy'``.
- R. R. Coifman, S. Lafon, "Diffusion maps", Applied and Computational Harmonic Analysis 21 (2006), for the normalisation.
"""

from __future__ import annotations

import heapq
import typing
from typing import Any, Literal

import numba
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from scipy.sparse.csgraph import dijkstra
from sklearn.neighbors import NearestNeighbors

from semigroup.base import check_array, check_choice, check_integer, check_number
from semigroup.operators.graph import Graph, check_connected

__all__ = ["common_offset", "geodesic_neighbours", "neighbour_graph", "normalise_density", "shortest_path_distances"]

Kernel = Literal["binary", "distance", "gaussian", "alpha-decay", "adaptive", "fuzzy"]
KERNELS = ("binary", "distance", "gaussian", "alpha-decay", "adaptive", "fuzzy")


def common_offset(points: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " d"]:
    r"""What to subtract from points before their neighbours are searched: their mean, or nothing.

    Searches in many dimensions take :math:`\lVert x\rVert^2 + \lVert y\rVert^2 - 2 x^\top y` for the squared distance, which
    loses the digits that a large common offset takes. Where the offset is of the size of the spread nothing is lost, and the
    points stay as they are, so that no rounding decides between neighbours that are equally near.

    Parameters
    ----------
    points : array of shape (n, d)

    Examples
    --------
    >>> line = np.array([[0.0], [1.0], [5.0]])
    >>> common_offset(line), common_offset(line + 1e6)
    (array([0.]), array([1000002.]))
    """
    mean = points.mean(axis=0)
    return mean if np.linalg.norm(mean) > 10 * np.linalg.norm(points.std(axis=0)) else np.zeros_like(mean)


def neighbour_graph(
    points: Any,
    n_neighbors: int = 10,
    *,
    kernel: Kernel = "gaussian",
    bandwidth: float | None = None,
    decay: float = 40.0,
    threshold: float = 1e-4,
) -> sp.csr_array:
    r"""Symmetric weighted graph of the nearest neighbours of each point.

    Parameters
    ----------
    points : array of shape (n, d)
    n_neighbors : int
        k, the point itself not counted; at most n - 1.
    kernel : {'binary', 'distance', 'gaussian', 'alpha-decay', 'adaptive', 'fuzzy'}
        See the table of the module.
    bandwidth : float, optional
        :math:`\sigma` of the Gaussian, in units of the points; the mean distance to the k neighbours if not given.
    decay : float
        :math:`\alpha` of the alpha-decay kernel.
    threshold : float
        Entries of the alpha-decay kernel below this are zero.

    Returns
    -------
    csr_array of shape (n, n)
        Symmetric, zero diagonal, sorted indices. It may be disconnected: see `semigroup.operators.check_connected`.

    Raises
    ------
    ValueError
        If `n_neighbors` is not below the number of points; if points coincide where that leaves a distance without
        meaning (an edge of length zero, a point whose k nearest neighbours all coincide with it).

    Examples
    --------
    >>> line = np.array([[0.0], [1.0], [3.0]])
    >>> neighbour_graph(line, 1, kernel="distance").toarray()
    array([[0., 1., 0.],
           [1., 0., 2.],
           [0., 2., 0.]])
    """
    points = check_array(points, "points", ndim=2, min_rows=2)
    n = len(points)
    n_neighbors = check_integer(n_neighbors, "n_neighbors", minimum=1)
    if n_neighbors >= n:
        raise ValueError(f"n_neighbors must be below the number of points, {n}, got {n_neighbors}")
    check_choice(kernel, "kernel", KERNELS)
    if bandwidth is not None:
        bandwidth = check_number(bandwidth, "bandwidth", above=0)
    decay = check_number(decay, "decay", above=0)
    threshold = check_number(threshold, "threshold", above=0, below=1)
    points = points - common_offset(points)
    search = NearestNeighbors(n_neighbors=n_neighbors).fit(points)
    distance, neighbour = search.kneighbors()
    if kernel == "alpha-decay":
        return _alpha_decay(search, points, distance, decay, threshold)
    source, target = np.repeat(np.arange(n), n_neighbors), neighbour.ravel()
    if kernel == "fuzzy":
        directed = sp.csr_array((_fuzzy_membership(distance).ravel(), (source, target)), shape=(n, n))
        return _tidy(directed + directed.T - directed * directed.T)
    if kernel == "binary":
        weight = np.ones(len(source))
    elif kernel == "adaptive":
        scale = _bandwidths(distance) / 2
        spread = scale[source] ** 2 + scale[target] ** 2
        weight = np.sqrt(2 * scale[source] * scale[target] / spread) * np.exp(-(distance.ravel() ** 2) / spread)
    elif kernel == "distance":
        weight = distance.ravel()
        if not weight.all():
            edge = int(np.flatnonzero(weight == 0)[0])
            raise ValueError(f"points {source[edge]} and {target[edge]} coincide: an edge cannot have length zero")
    else:
        width = distance.mean() if bandwidth is None else bandwidth
        if width == 0:
            raise ValueError("points all coincide with their neighbours, which leaves no bandwidth")
        weight = np.exp(-((distance.ravel() / width) ** 2))
    directed = sp.csr_array((weight, (source, target)), shape=(n, n))
    return _tidy(directed.maximum(directed.T))


def _alpha_decay(
    search: NearestNeighbors,
    points: Float[np.ndarray, "n d"],
    distance: Float[np.ndarray, "n k"],
    decay: float,
    threshold: float,
) -> sp.csr_array:
    n, k = distance.shape
    bandwidth = _bandwidths(distance)
    reach = bandwidth * (-np.log(threshold)) ** (1 / decay)
    source, target, weight = [], [], []
    waiting, n_sought = np.arange(n), min(2 * k, n - 1)
    # How many neighbours a point reaches is not known beforehand: those that reach all they were given ask again.
    while len(waiting):
        far, found = search.kneighbors(points[waiting], n_sought + 1)
        done = (far[:, -1] > reach[waiting]) | (n_sought == n - 1)
        rows = waiting[done]
        inside = (far[done] <= reach[rows, None]) & (found[done] != rows[:, None])
        source.append(np.repeat(rows, inside.sum(axis=1)))
        target.append(found[done][inside])
        weight.append(np.exp(-((far[done] / bandwidth[rows, None])[inside] ** decay)))
        waiting, n_sought = waiting[~done], min(2 * n_sought, n - 1)
    ends = np.concatenate(source), np.concatenate(target)
    directed = sp.csr_array((np.concatenate(weight), ends), shape=(n, n))
    return _tidy((directed + directed.T) / 2)


def _bandwidths(distance: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " n"]:
    """Distance to the k-th neighbour."""
    bandwidth = distance[:, -1]
    if not bandwidth.all():
        point, k = int(np.flatnonzero(bandwidth == 0)[0]), distance.shape[1]
        raise ValueError(f"points hold more than {k} copies of point {point}, whose bandwidth is therefore zero")
    return bandwidth


def _fuzzy_membership(distance: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """UMAP's directed weights, with their scales by bisection for all points at once."""
    n, k = distance.shape
    _bandwidths(distance)
    nearest = np.where(distance > 0, distance, np.inf).min(axis=1)
    excess = np.maximum(distance - nearest[:, None], 0)
    low, high = np.zeros(n), np.full(n, np.inf)
    scale = np.ones(n)
    for _ in range(64):
        too_wide = np.exp(-excess / scale[:, None]).sum(axis=1) > np.log2(k + 1)
        low, high = np.where(too_wide, low, scale), np.where(too_wide, scale, high)
        scale = np.where(np.isinf(high), 2 * scale, (low + high) / 2)
    # Where many neighbours are equally near, no scale reaches the sum: UMAP's least scale, a thousandth of the mean
    # distance with the point itself counted.
    scale = np.maximum(scale, 1e-3 * distance.sum(axis=1) / (k + 1))
    return np.exp(-excess / scale[:, None])


def _tidy(matrix: Any) -> sp.csr_array:
    result = sp.csr_array(matrix)
    result.eliminate_zeros()
    result.sort_indices()
    return result


def normalise_density(affinity: sp.csr_array, power: float = 1.0) -> sp.csr_array:
    r"""Affinities freed from the density of the points: :math:`K_{ij} / (q_i q_j)^\alpha`, :math:`q` the row sums.

    With :math:`\alpha = 1` the random-walk Laplacian of the result approaches the Laplace-Beltrami operator whatever the density,
    with :math:`\tfrac12` a Fokker-Planck operator, with 0 nothing changes.

    Parameters
    ----------
    affinity : csr_array of shape (n, n)
        Symmetric, non-negative. Diffusion maps and PHATE count the affinity 1 of a point with itself: add the identity first.
    power : float
        :math:`\alpha`, in [0, 1].

    References
    ----------
    R. R. Coifman, S. Lafon, "Diffusion maps", 2006, section 3.

    Examples
    --------
    >>> normalise_density(sp.csr_array([[0.0, 2.0], [2.0, 0.0]])).toarray()
    array([[0. , 0.5],
           [0.5, 0. ]])
    """
    power = check_number(power, "power", minimum=0, maximum=1)
    total = np.asarray(affinity.sum(axis=1)).ravel()
    factor = sp.diags_array(np.power(total, -power, out=np.zeros_like(total), where=total > 0))
    return sp.csr_array(factor @ affinity @ factor)


def geodesic_neighbours(
    lengths: sp.csr_array, n_neighbors: int
) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """The nodes nearest to each node along the edges of a graph.

    Parameters
    ----------
    lengths : csr_array of shape (n, n)
        Positive edge lengths, such as ``neighbour_graph(points, kernel="distance")``.
    n_neighbors : int
        k, the node itself not counted.

    Returns
    -------
    neighbour : int array of shape (n, k)
        Nearest first; of nodes equally far, the smaller number first.
    distance : array of shape (n, k)
        Length of the shortest path.

    Raises
    ------
    ValueError
        If an edge is not positive, or a node reaches fewer than k others.

    Examples
    --------
    >>> line = neighbour_graph(np.array([[0.0], [1.0], [3.0], [6.0]]), 1, kernel="distance")
    >>> geodesic_neighbours(line, 2)[0]
    array([[1, 2],
           [0, 2],
           [1, 0],
           [2, 1]])
    """
    n_neighbors = check_integer(n_neighbors, "n_neighbors", minimum=1)
    if lengths.nnz and not lengths.data.min() > 0:
        raise ValueError(f"lengths must be positive, got {lengths.data.min():g}")
    neighbour, distance = _nearest_along_edges(lengths.indptr, lengths.indices, lengths.data, n_neighbors)
    short = np.flatnonzero(neighbour[:, -1] < 0)
    if len(short):
        reached = int((neighbour[short[0]] >= 0).sum())
        raise ValueError(f"n_neighbors is {n_neighbors}, and node {short[0]} reaches {reached} other nodes only")
    return neighbour, distance


def shortest_path_distances(points: Any, n_neighbors: int = 10) -> Float[np.ndarray, "n n"]:
    """Lengths of the shortest paths between all points over the graph of nearest neighbours: Isomap's distances.

    Parameters
    ----------
    points : array of shape (n, d)
    n_neighbors : int

    Raises
    ------
    ValueError
        If the graph is disconnected, or points coincide.

    Examples
    --------
    >>> shortest_path_distances(np.array([[0.0], [1.0], [3.0]]), 1)
    array([[0., 1., 3.],
           [1., 0., 2.],
           [3., 2., 0.]])
    """
    graph = check_connected(
        Graph(neighbour_graph(points, n_neighbors, kernel="distance")), "the neighbour graph of points"
    )
    return dijkstra(graph.adjacency, directed=False)


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _nearest_along_edges(indptr: Any, indices: Any, lengths: Any, k: int) -> Any:
    """Dijkstra's algorithm from every node, stopped at the k-th node that it settles."""
    n = len(indptr) - 1
    neighbour, distance = np.full((n, k), -1), np.full((n, k), np.inf)
    best, touched = np.full(n, np.inf), np.empty(n, dtype=np.int64)
    settled = np.zeros(n, dtype=np.bool_)
    for source in range(n):
        heap = [(0.0, np.int64(source))]
        best[source], touched[0] = 0.0, source
        n_touched, n_settled = 1, -1  # the source is settled first and does not count
        while len(heap) > 0 and n_settled < k:
            length, node = heapq.heappop(heap)
            if settled[node]:
                continue
            settled[node] = True
            if n_settled >= 0:
                neighbour[source, n_settled], distance[source, n_settled] = node, length
            n_settled += 1
            for edge in range(indptr[node], indptr[node + 1]):
                target = np.int64(indices[edge])
                further = length + lengths[edge]
                if further < best[target]:
                    if best[target] == np.inf:
                        touched[n_touched] = target
                        n_touched += 1
                    best[target] = further
                    heapq.heappush(heap, (further, target))
        for i in range(n_touched):
            best[touched[i]], settled[touched[i]] = np.inf, False
    return neighbour, distance

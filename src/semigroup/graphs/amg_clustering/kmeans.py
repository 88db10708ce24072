r"""Coordinates of vertices and their attributes together, and K-means on them that is judged by modularity.

An original vertex i with p attributes is a block of p + 1 rows of the embedding, its own and those of its attributes'
vertices. The distance of two blocks is a vector with one Euclidean norm for each dimension of the embedding.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from semigroup.operators import modularity

__all__ = ["NORMS", "best_partition", "block_coordinates", "embed", "kmeans"]

NORMS = ("2", "1", "inf")
_CHUNK = 20_000_000  # distances computed at a time


def embed(smooth_vectors: Float[np.ndarray, "n dims"], rank_tol: float = 0.0) -> Float[np.ndarray, "n rank"]:
    r"""Left singular vectors :math:`U` of the smooth vectors, :math:`W = U \Sigma V^T`, unscaled.

    Columns whose singular value is at most `rank_tol` times the largest are left out; with 0 only those of an exact zero are.
    """
    left, values, _ = np.linalg.svd(smooth_vectors, full_matrices=False)
    return left[:, values > rank_tol * values[0]]


def block_coordinates(
    embedding: Float[np.ndarray, "n_bar rank"],
    attribute_vertices: Int[np.ndarray, "n p"],
    attribute_weight: float = 1.0,
) -> Float[np.ndarray, "n rank q"]:
    """Block of each original vertex: for each dimension its coordinate, then those of its attributes' vertices.

    The attributes' coordinates are multiplied by `attribute_weight`. A vertex without a value of an attribute gets the mean
    of the others, which says nothing.
    """
    n, p = attribute_vertices.shape
    blocks = np.empty((n, embedding.shape[1], 1 + p))
    blocks[:, :, 0] = embedding[:n]
    for place in range(p):
        vertices = attribute_vertices[:, place]
        own = embedding[vertices]
        own[vertices < 0] = own[vertices >= 0].mean(axis=0)
        blocks[:, :, 1 + place] = attribute_weight * own
    return blocks


def kmeans(
    blocks: Float[np.ndarray, "n rank q"],
    n_clusters: int,
    *,
    n_init: int = 100,
    max_iter: int = 10,
    norm: str = "2",
    keep_empty: bool = False,
    generator: np.random.Generator,
) -> Int[np.ndarray, "n_init n"]:
    """Lloyd's iteration from random rows, all restarts at once.

    Parameters
    ----------
    blocks : ndarray of shape (n, rank, q)
    n_clusters : int
    n_init, max_iter : int
        Restarts, and iterations of each at most; a restart ends when its labels stay.
    norm : {'2', '1', 'inf'}
        Of the vector of distances in each dimension. With ``'2'`` the distance is Euclidean in all coordinates.
    keep_empty : bool
        As the reference program does: start from rows drawn with replacement, and lose clusters that become empty. Otherwise
        starts are distinct and an empty cluster moves to the point that is farthest from its own centre.
    generator : Generator

    Returns
    -------
    int array of shape (n_init, n)
        Labels of each restart.
    """
    n = len(blocks)
    points = blocks.reshape(n, -1)
    starts = (
        generator.integers(n, size=(n_init, n_clusters))
        if keep_empty
        else np.stack([generator.choice(n, n_clusters, replace=False) for _ in range(n_init)])
    )
    size = max(1, _CHUNK // (n * n_clusters))
    labels = np.empty((n_init, n), dtype=np.int64)
    for begin in range(0, n_init, size):
        active = np.arange(begin, min(begin + size, n_init))
        centres = points[starts[active]]
        lost = np.zeros(centres.shape[:2], dtype=bool)
        previous = np.full((len(active), n), -1)
        for _ in range(max_iter):
            found, distance = _assign(blocks, centres, lost, norm)
            if not keep_empty:
                _reseed(found, distance, n_clusters)
            labels[active] = found
            moving = (found != previous).any(axis=1)
            if not moving.any():
                break
            active, found = active[moving], found[moving]
            centres, lost = _centres(points, found, n_clusters)
            previous = found
    return labels


def _assign(
    blocks: Float[np.ndarray, "n rank q"],
    centres: Float[np.ndarray, "runs k d"],
    lost: Any,
    norm: str,
) -> tuple[Int[np.ndarray, "runs n"], Float[np.ndarray, "runs n"]]:
    """Nearest centre of each point and its distance (squared under norm '2')."""
    n, rank, q = blocks.shape
    runs, k, _ = centres.shape
    if norm == "2":
        distance = _squared_distances(blocks.reshape(n, -1), centres.reshape(runs * k, -1))
    else:
        centre_blocks = centres.reshape(runs * k, rank, q)
        distance = np.zeros((n, runs * k))
        for dimension in range(rank):
            part = np.sqrt(_squared_distances(blocks[:, dimension], centre_blocks[:, dimension]))
            distance = np.maximum(distance, part) if norm == "inf" else distance + part
    distance[:, lost.ravel()] = np.inf
    distance = distance.reshape(n, runs, k)
    nearest = distance.argmin(axis=2)
    return nearest.T, np.take_along_axis(distance, nearest[:, :, None], axis=2)[:, :, 0].T


def _squared_distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    squares = (points**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1)
    return np.maximum(squares - 2 * points @ centres.T, 0)


def _reseed(labels: Int[np.ndarray, "runs n"], distance: Float[np.ndarray, "runs n"], n_clusters: int) -> None:
    """Give every empty cluster the point farthest from its centre that does not empty another cluster."""
    runs = len(labels)
    counts = np.bincount((labels + n_clusters * np.arange(runs)[:, None]).ravel(), minlength=runs * n_clusters)
    counts = counts.reshape(runs, n_clusters)
    for run in np.flatnonzero((counts == 0).any(axis=1)):
        farthest = iter(np.argsort(-distance[run]))
        for cluster in np.flatnonzero(counts[run] == 0):
            point = next(i for i in farthest if counts[run, labels[run, i]] > 1)
            counts[run, labels[run, point]] -= 1
            counts[run, cluster] = 1
            labels[run, point] = cluster


def _centres(
    points: Float[np.ndarray, "n d"], labels: Int[np.ndarray, "runs n"], n_clusters: int
) -> tuple[Float[np.ndarray, "runs k d"], Any]:
    """Means of the clusters, and which clusters have no point."""
    runs, n = labels.shape
    owner = (labels + n_clusters * np.arange(runs)[:, None]).ravel()
    members = sp.csr_array((np.ones(runs * n), (owner, np.tile(np.arange(n), runs))), shape=(runs * n_clusters, n))
    counts = np.diff(members.indptr)
    means = (members @ points) / np.maximum(counts, 1)[:, None]
    return means.reshape(runs, n_clusters, -1), (counts == 0).reshape(runs, n_clusters)


def best_partition(
    adjacency: sp.csr_array, candidates: Int[np.ndarray, "n_init n"]
) -> tuple[Int[np.ndarray, "n"], float]:
    """The candidate of largest modularity on a graph, numbered from 0 by falling size, and its modularity."""
    scores = [modularity(adjacency, labels) for labels in candidates]
    best = int(np.argmax(scores))
    _, numbers = np.unique(candidates[best], return_inverse=True)
    order = np.argsort(-np.bincount(numbers), kind="stable")
    return np.argsort(order)[numbers], float(scores[best])

"""Graphlets: how often each node takes each place in the connected induced subgraphs of up to four nodes."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from jaxtyping import Int64

__all__ = ["orbit_counts"]


def orbit_counts(adjacency: sp.sparray) -> Int64[np.ndarray, "n 15"]:
    r"""Counts of the 15 graphlet orbits of every node, by sparse matrix algebra.

    Orbits are numbered as by Pržulj: 0 the edge; 1, 2 end and middle of the path of three nodes; 3 the triangle; 4, 5 end
    and middle of the path of four; 6, 7 leaf and centre of the star; 8 the cycle; 9, 10, 11 the paw's pendant node, its
    two free nodes, its centre; 12, 13 the diamond's nodes of degree two and three; 14 the complete graph. Subgraphs are
    induced.

    From the degrees :math:`d`, the numbers :math:`c_{ij}` of common neighbours, the triangles :math:`t` and the complete
    subgraphs of four at a node follow the numbers of *non-induced* subgraphs at it; each is the sum of the induced ones
    that contain it, which is solved from the densest down (Hočevar and Demšar, Bioinformatics 2014).

    Parameters
    ----------
    adjacency : sparse array of shape (n, n)
        Undirected, without loops; weights count as 1. Many graphs at once are one block-diagonal matrix.

    Returns
    -------
    ndarray of shape (n, 15)

    Raises
    ------
    ValueError
        If the matrix is not symmetric or has a loop.

    Notes
    -----
    Time and memory grow with :math:`\sum_i d_i^2` and with the sum of the degrees over all triangles.

    Examples
    --------
    >>> star = sp.coo_array((np.ones(6), ([0, 0, 0, 1, 2, 3], [1, 2, 3, 0, 0, 0])), shape=(4, 4))
    >>> orbit_counts(star)[:2]
    array([[3, 0, 3, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
           [1, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]])
    """
    a = sp.csr_array(adjacency, dtype=np.int64, copy=True)
    a.eliminate_zeros()
    a.data[:] = 1
    if a.diagonal().any():
        raise ValueError("adjacency must have no loops")
    if (a != a.T).nnz:
        raise ValueError("adjacency must be symmetric")
    d = _sums(a)
    walks = a @ a
    c = walks * a  # common neighbours of the ends of each edge
    t = _sums(c) // 2
    common_pairs = _sums(_pairs(walks)) - d * (d - 1) // 2  # the diagonal of A² holds the degrees
    opposite = _sums((a @ c) * a) // 2  # common neighbours of the opposite edge, summed over a node's triangles
    o = np.zeros((len(d), 15), dtype=np.int64)
    o[:, 14] = o14 = _complete_subgraphs(a)
    o[:, 13] = o13 = _sums(_pairs(c)) - 3 * o14
    o[:, 12] = o12 = opposite - t - 3 * o14
    o[:, 11] = o11 = t * (d - 2) - 2 * o13 - 3 * o14
    o[:, 10] = o10 = c @ d - 4 * t - 2 * o12 - 2 * o13 - 6 * o14
    o[:, 9] = o9 = a @ t - 2 * t - 2 * o12 - 3 * o14
    o[:, 8] = o8 = common_pairs - o12 - o13 - 3 * o14
    o[:, 7] = d * (d - 1) * (d - 2) // 6 - o11 - o13 - o14
    o[:, 6] = a @ ((d - 1) * (d - 2) // 2) - o9 - o10 - 2 * o12 - o13 - 3 * o14
    o[:, 5] = (d - 1) * (a @ (d - 1)) - 2 * t - 2 * o8 - o10 - 2 * o11 - 2 * o12 - 4 * o13 - 6 * o14
    o[:, 4] = a @ (a @ (d - 1)) - d * (d - 1) - 2 * t - 2 * o8 - 2 * o9 - o10 - 4 * o12 - 2 * o13 - 6 * o14
    o[:, 3] = t
    o[:, 2] = d * (d - 1) // 2 - t
    o[:, 1] = a @ (d - 1) - 2 * t
    o[:, 0] = d
    return o


def _sums(matrix: sp.csr_array) -> Int64[np.ndarray, " n"]:
    return np.asarray(matrix.sum(axis=1)).astype(np.int64)


def _pairs(matrix: sp.csr_array) -> sp.csr_array:
    """Entries x(x - 1)/2."""
    result = matrix.copy()
    result.data = result.data * (result.data - 1) // 2
    return result


def _complete_subgraphs(a: sp.csr_array) -> Int64[np.ndarray, " n"]:
    """Complete subgraphs of four nodes at each node."""
    edges = sp.coo_array(sp.triu(a, 1))
    shared = a[edges.row] * a[edges.col]  # one row an edge: the common neighbours of its ends
    on_edge = _sums((shared @ a) * shared) // 2
    # Each of them has three edges at each of its nodes.
    n = a.shape[0]
    ends = np.concatenate([edges.row, edges.col])
    return np.bincount(ends, weights=np.tile(on_edge, 2), minlength=n).astype(np.int64) // 3

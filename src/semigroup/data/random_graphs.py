"""Random graphs of the size of real ones: recursive matrices, preferential attachment, power-law out-degrees."""

from __future__ import annotations

import typing
from typing import Any

import numba
import numpy as np
import scipy.sparse as sp

from semigroup.base import numpy_generator

__all__ = ["power_law_graph", "preferential_attachment", "rmat"]

_CHUNK = 1 << 22  # edges drawn at a time, so that the draws need a small part of the graph's memory


def rmat(
    log2_nodes: int,
    n_edges: int,
    *,
    quadrants: tuple[float, float, float] = (0.57, 0.19, 0.19),
    random_state: int | np.random.Generator | None = None,
) -> sp.csr_array:
    r"""Directed graph by the recursive matrix model, with :math:`2^k` nodes and a heavy tail of degrees.

    Each edge falls, bit by bit, into one of the four quadrants of the adjacency matrix. Repeated edges are merged and loops
    dropped, so the graph has somewhat fewer than `n_edges` edges.

    Parameters
    ----------
    log2_nodes : int
        :math:`k`.
    n_edges : int
    quadrants : tuple of float
        Probabilities of the upper left, upper right and lower left quadrant; the default is Graph500's.
    random_state : int, Generator or None

    References
    ----------
    D. Chakrabarti, Y. Zhan and C. Faloutsos, R-MAT: A Recursive Model for Graph Mining, SDM 2004.

    Examples
    --------
    >>> rmat(6, 500, random_state=0).shape
    (64, 64)
    """
    generator = numpy_generator(random_state)
    a, b, c = quadrants
    codes = []
    for start in range(0, n_edges, _CHUNK):
        size = min(_CHUNK, n_edges - start)
        row, column = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
        for _ in range(log2_nodes):
            draw = generator.random(size, dtype=np.float32)
            down = draw >= a + b
            right = ((draw >= a) & ~down) | (draw >= a + b + c)
            row, column = (row << 1) | down, (column << 1) | right
        codes.append((row[row != column] << log2_nodes) | column[row != column])
    return _from_codes(np.unique(np.concatenate(codes)), log2_nodes)


def _from_codes(codes: np.ndarray, bits: int) -> sp.csr_array:
    """CSR from sorted codes row·2^bits + column."""
    n = 1 << bits
    indptr = np.searchsorted(codes >> bits, np.arange(n + 1))
    indices = (codes & (n - 1)).astype(np.int32)
    if len(codes) < 2**31:
        indptr = indptr.astype(np.int32)
    return sp.csr_array((np.ones(len(codes)), indices, indptr), shape=(n, n))


def preferential_attachment(
    n_nodes: int, n_out: int, *, random_state: int | np.random.Generator | None = None
) -> sp.csr_array:
    """Undirected graph in which each new node links to `n_out` earlier ones in proportion to their degree.

    Repeated edges are merged and loops dropped.

    References
    ----------
    V. Batagelj and U. Brandes, Efficient generation of large random networks, Phys. Rev. E 71, 036113, 2005.

    Examples
    --------
    >>> graph = preferential_attachment(100, 3, random_state=0)
    >>> abs(graph - graph.T).nnz
    0
    """
    draws = numpy_generator(random_state).random(n_nodes * n_out)
    ends = _attach(n_nodes, n_out, draws).reshape(-1, 2)
    ends = ends[ends[:, 0] != ends[:, 1]]
    upper = sp.csr_array(sp.coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(n_nodes, n_nodes)))
    both = sp.csr_array(upper + upper.T)
    both.data[:] = 1.0
    return both


@numba.njit(cache=True)
@typing.no_type_check
def _attach(n_nodes: int, n_out: int, draws: Any) -> Any:
    """Ends of the edges in order; an earlier end picked uniformly is a node picked in proportion to its degree."""
    ends = np.empty(2 * n_nodes * n_out, dtype=np.int32)
    for edge in range(n_nodes * n_out):
        ends[2 * edge] = edge // n_out
        ends[2 * edge + 1] = ends[int(draws[edge] * (2 * edge + 1))]
    return ends


def power_law_graph(
    n_nodes: int,
    *,
    exponent: float = 2.1,
    max_degree: int = 1000,
    random_state: int | np.random.Generator | None = None,
) -> sp.csr_array:
    """Directed graph with out-degrees d ≥ 1 of probability proportional to d^-exponent, and uniform targets.

    Examples
    --------
    >>> int(power_law_graph(100, random_state=0).shape[0])
    100
    """
    generator = numpy_generator(random_state)
    degrees = np.arange(1, min(max_degree, n_nodes - 1) + 1)
    weights = degrees ** -float(exponent)
    out_degree = generator.choice(degrees, size=n_nodes, p=weights / weights.sum())
    row = np.repeat(np.arange(n_nodes), out_degree)
    # A shift of 1..n-1 from the row never gives a loop.
    column = (row + generator.integers(1, n_nodes, size=len(row))) % n_nodes
    graph = sp.csr_array(sp.coo_array((np.ones(len(row)), (row, column)), shape=(n_nodes, n_nodes)))
    graph.data[:] = 1.0
    return graph

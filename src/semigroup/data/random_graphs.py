"""Random graphs of the size of real ones: recursive matrices, preferential attachment, power-law out-degrees, classes."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from semigroup.base import check_array, check_integer, check_number, numpy_generator

__all__ = [
    "ClassGraph",
    "planted_partition",
    "power_law_graph",
    "preferential_attachment",
    "rmat",
    "stochastic_block_model",
]

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


# --- graphs with classes -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClassGraph:
    """A random graph with the classes that it was drawn from.

    Attributes
    ----------
    adjacency : csr_array of shape (n, n)
        Symmetric, entries 1, no loops.
    labels : int array of shape (n,)
        Class of each node; nodes of one class are consecutive.
    """

    adjacency: sp.csr_array
    labels: np.ndarray


def stochastic_block_model(
    sizes: Sequence[int] | np.ndarray,
    probabilities: Sequence[Sequence[float]] | np.ndarray,
    *,
    connected: bool = True,
    max_draws: int = 100,
    random_state: int | np.random.Generator | None = None,
) -> ClassGraph:
    r"""Undirected graph with independent edges whose probability depends on the classes of their ends.

    Parameters
    ----------
    sizes : sequence of int
        Nodes of each of the k classes.
    probabilities : array of shape (k, k)
        Symmetric; probability of an edge between a node of one class and one of another.
    connected : bool
        Draw again until the graph is connected, that is, draw from the model given connectedness.
    max_draws : int
        Draws after which that is given up.
    random_state : int, Generator or None

    Returns
    -------
    ClassGraph

    Raises
    ------
    ValueError
        If a size is below 1, `probabilities` is not a symmetric matrix of that size within [0, 1], or no draw was
        connected.

    Notes
    -----
    The distances between successive edges of a pair of classes are geometrically distributed, so that time and memory
    grow with the edges and not with the pairs of nodes (Batagelj and Brandes, Phys. Rev. E 71, 036113, 2005).

    Examples
    --------
    >>> graph = stochastic_block_model([50, 30], [[0.3, 0.05], [0.05, 0.4]], random_state=0)
    >>> np.bincount(graph.labels)
    array([50, 30])
    """
    counts = check_array(sizes, "sizes", ndim=1, dtype=np.float64)
    if (counts < 1).any() or (counts != np.floor(counts)).any():
        raise ValueError(f"sizes must be integers >= 1, got {sizes!r}")
    counts = counts.astype(np.int64)
    density = check_array(probabilities, "probabilities", ndim=2)
    if density.shape != (len(counts), len(counts)) or (density != density.T).any():
        raise ValueError(f"probabilities must be a symmetric matrix of {len(counts)} rows, one a class of sizes")
    if density.min() < 0 or density.max() > 1:
        raise ValueError(f"probabilities must lie in [0, 1], got {density.min():g} to {density.max():g}")
    max_draws = check_integer(max_draws, "max_draws", minimum=1)
    generator = numpy_generator(random_state)
    for _ in range(max_draws):
        adjacency = _draw_blocks(counts, density, generator)
        if not connected or connected_components(adjacency, directed=False, return_labels=False) == 1:
            return ClassGraph(adjacency, np.repeat(np.arange(len(counts)), counts))
    raise ValueError(
        f"probabilities are too small: none of {max_draws} draws was connected (connected=False takes them as they are)"
    )


def planted_partition(
    n_nodes: int,
    n_classes: int,
    p_in: float,
    p_out: float,
    *,
    connected: bool = True,
    random_state: int | np.random.Generator | None = None,
) -> ClassGraph:
    r"""The graph :math:`G(N, (m) p_{in}, p_{out})`: m classes of equal size, one probability inside and one between them.

    Where m does not divide N, the first classes have one node more. The other parameters are those of
    `stochastic_block_model`.

    Examples
    --------
    >>> planted_partition(100, 3, 0.3, 0.1, random_state=0).adjacency.shape
    (100, 100)
    """
    n_nodes = check_integer(n_nodes, "n_nodes", minimum=2)
    n_classes = check_integer(n_classes, "n_classes", minimum=1, maximum=n_nodes)
    sizes = np.full(n_classes, n_nodes // n_classes)
    sizes[: n_nodes % n_classes] += 1
    density = np.full((n_classes, n_classes), check_number(p_out, "p_out", minimum=0, maximum=1))
    np.fill_diagonal(density, check_number(p_in, "p_in", minimum=0, maximum=1))
    return stochastic_block_model(sizes, density, connected=connected, random_state=random_state)


def _draw_blocks(sizes: np.ndarray, density: np.ndarray, generator: np.random.Generator) -> sp.csr_array:
    start = np.concatenate([[0], np.cumsum(sizes)])
    rows, columns = [], []
    for a in range(len(sizes)):
        for b in range(a + 1):
            if a == b:  # pair k of the lower triangle
                codes = _bernoulli_successes(int(sizes[a] * (sizes[a] - 1) // 2), density[a, a], generator)
                row = ((1 + np.sqrt(1 + 8 * codes.astype(np.float64))) // 2).astype(np.int64)
                row += (row * (row + 1) // 2 <= codes).astype(np.int64) - (row * (row - 1) // 2 > codes)  # rounding
                column = codes - row * (row - 1) // 2
            else:
                codes = _bernoulli_successes(int(sizes[a] * sizes[b]), density[a, b], generator)
                row, column = np.divmod(codes, sizes[b])
            rows.append(start[a] + row)
            columns.append(start[b] + column)
    row, column, n = np.concatenate(rows), np.concatenate(columns), int(start[-1])
    ends = (np.concatenate([row, column]), np.concatenate([column, row]))
    return sp.csr_array(sp.coo_array((np.ones(len(ends[0])), ends), shape=(n, n)))


def _bernoulli_successes(n_trials: int, probability: float, generator: np.random.Generator) -> np.ndarray:
    """Places of the successes among independent trials, ascending."""
    if probability == 0 or n_trials == 0:
        return np.empty(0, dtype=np.int64)
    expected = n_trials * probability
    batch = int(expected + 6 * np.sqrt(expected) + 10)  # rarely too few
    places, last = [], -1
    while last < n_trials:
        places.append(last + np.cumsum(np.minimum(generator.geometric(probability, batch), n_trials + 1)))
        last = int(places[-1][-1])
    found = np.concatenate(places)
    return found[found < n_trials]

"""Sets of small random graphs to learn from."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool

from semigroup.base import check_integer, check_number, numpy_generator
from semigroup.data.graph_sets import GraphSet

__all__ = ["erdos_renyi_like", "two_community_graphs"]


def two_community_graphs(
    n_graphs: int,
    *,
    sizes: tuple[int, int] = (12, 20),
    p_in: float = 0.7,
    n_bridges: float = 0.5,
    random_state: int | np.random.Generator | None = None,
) -> GraphSet:
    r"""Graphs of two communities of equal size with few edges between them, every graph drawn anew.

    The family of the set "community_small", whose published copy draws each community from one of a handful of seeds, so
    that half of its graphs are duplicates.

    Parameters
    ----------
    n_graphs : int
    sizes : (int, int)
        Least and largest number of nodes m, drawn uniformly; a community has :math:`\lfloor m/2 \rfloor`.
    p_in : float
        Probability of an edge within a community.
    n_bridges : float
        Expected edges between the communities for every ten nodes of one; at least one is there.
    random_state : int, Generator or None

    Returns
    -------
    GraphSet
        Connected graphs, nodes of the first community first.

    Raises
    ------
    ValueError
        If an argument is out of range, or no draw of some graph is connected.

    Examples
    --------
    >>> two_community_graphs(50, random_state=0)
    GraphSet(50 graphs, 762 nodes, 1865 edges)
    """
    check_integer(n_graphs, "n_graphs", minimum=1)
    low, high = (check_integer(size, "sizes", minimum=4) for size in sizes)
    if high < low:
        raise ValueError(f"sizes must be (least, largest), got {sizes!r}")
    check_number(p_in, "p_in", above=0, maximum=1)
    check_number(n_bridges, "n_bridges", minimum=0)
    generator = numpy_generator(random_state)
    half = generator.integers(low, high + 1, size=n_graphs) // 2
    n = 2 * int(half.max())
    adjacency = np.zeros((n_graphs, n, n), dtype=bool)
    open_ = np.arange(n_graphs)
    for _ in range(1000):
        adjacency[open_] = _draw(half[open_], n, p_in, n_bridges, generator)
        open_ = open_[~_connected(adjacency[open_], 2 * half[open_])]
        if len(open_) == 0:
            break
    else:
        raise ValueError(f"p_in = {p_in:g} is too small: no draw of {len(open_)} of the graphs was connected")
    graph, i, j = np.nonzero(adjacency)
    start = np.cumsum(2 * half) - 2 * half
    edges = np.stack([start[graph] + i, start[graph] + j])
    return GraphSet(torch.from_numpy(2 * half), torch.from_numpy(edges))


def erdos_renyi_like(graphs: GraphSet, *, random_state: int | np.random.Generator | None = None) -> GraphSet:
    """A random graph for each one given, with its number of nodes and the probability of an edge that is its density.

    Examples
    --------
    >>> graphs = two_community_graphs(20, random_state=0)
    >>> bool((erdos_renyi_like(graphs, random_state=0).n_nodes == graphs.n_nodes).all())
    True
    """
    generator = numpy_generator(random_state)
    sizes, start = graphs.n_nodes.numpy(), graphs.node_start.numpy()
    density = graphs.n_edges.numpy() / np.maximum(sizes * (sizes - 1), 1)
    n = int(sizes.max())
    real = np.arange(n) < sizes[:, None]
    drawn = generator.random((len(sizes), n, n)) < density[:, None, None]
    upper = np.triu(drawn, 1) & real[:, :, None] & real[:, None, :]
    graph, i, j = np.nonzero(upper | upper.swapaxes(1, 2))
    return GraphSet(graphs.n_nodes, torch.from_numpy(np.stack([start[graph] + i, start[graph] + j])))


def _draw(
    half: np.ndarray, n: int, p_in: float, n_bridges: float, generator: np.random.Generator
) -> Bool[np.ndarray, "graphs n n"]:
    """Adjacency matrices, the nodes of a graph first."""
    second = np.arange(n) >= half[:, None]
    real = np.arange(n) < 2 * half[:, None]
    between = second[:, :, None] != second[:, None, :]
    probability = np.where(between, np.minimum(n_bridges / 10 / half, 1)[:, None, None], p_in)
    upper = np.triu(generator.random((len(half), n, n)) < probability, 1) & real[:, :, None] & real[:, None, :]
    bridge = generator.integers(0, half), half + generator.integers(0, half)
    alone = ~(upper & between).any((1, 2))
    upper[np.flatnonzero(alone), bridge[0][alone], bridge[1][alone]] = True
    return np.asarray(upper | upper.swapaxes(1, 2))


def _connected(adjacency: Bool[np.ndarray, "graphs n n"], sizes: np.ndarray) -> Bool[np.ndarray, " graphs"]:
    """Whether the first nodes of each graph hang together, by doubling the length of the paths."""
    n = adjacency.shape[1]
    reached = (adjacency | np.eye(n, dtype=bool)).astype(np.float32)
    for _ in range(int(np.ceil(np.log2(n)))):
        reached = (reached @ reached > 0).astype(np.float32)
    return np.asarray(reached[:, 0].sum(1) == sizes)

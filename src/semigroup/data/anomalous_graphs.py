"""Graphs whose anomalies are known to show in the Rayleigh quotient of their node labels and in nothing else."""

from __future__ import annotations

import numpy as np
import torch

from semigroup.base import check_integer, check_number, numpy_generator
from semigroup.data.graph_sets import GraphSet
from semigroup.data.tu_graphs import LabelledGraphs

__all__ = ["rayleigh_only"]

_NODES, _NEIGHBOURS, _REWIRED = 20, 4, 0.2


def rayleigh_only(
    n_graphs: int,
    *,
    permuted: float = 0.5,
    anomalous: float = 0.08,
    random_state: int | np.random.Generator | None = None,
) -> LabelledGraphs:
    """Small-world graphs of 20 nodes with two node labels, 10 each, that lie smoothly on the graph but for a permutation.

    The labels are the two halves of the order by the Fiedler vector of the normalised Laplacian. Among normal graphs (0)
    the labels of 2 random nodes are then permuted, among anomalies (1) those of more. All graphs have the same composition
    and come from the same distribution (connected Watts-Strogatz graphs, 4 neighbours, each edge rewired with probability
    0.2), so neither the counts of the labels nor the graph alone says anything.

    Parameters
    ----------
    n_graphs : int
    permuted : float
        Part of the nodes of an anomaly whose labels are permuted, in [0, 1].
    anomalous : float
        Part of the graphs that are anomalies, rounded, in (0, 1).
    random_state : int, Generator or None

    Returns
    -------
    LabelledGraphs

    Examples
    --------
    >>> data = rayleigh_only(100, random_state=0)
    >>> data.graphs, int(data.y.sum())
    (GraphSet(100 graphs, 2000 nodes, 4000 edges), 8)
    """
    n_graphs = check_integer(n_graphs, "n_graphs", minimum=1)
    check_number(permuted, "permuted", minimum=0, maximum=1)
    check_number(anomalous, "anomalous", above=0, below=1)
    generator = numpy_generator(random_state)
    adjacency = np.empty((0, _NODES, _NODES), dtype=bool)
    fiedler = np.empty((0, _NODES))
    while len(adjacency) < n_graphs:
        drawn = _small_worlds(n_graphs - len(adjacency), generator)
        root = np.sqrt(drawn.sum(2))
        values, vectors = np.linalg.eigh(np.eye(_NODES) - drawn / root[:, :, None] / root[:, None])
        connected = values[:, 1] > 1e-9
        adjacency = np.concatenate([adjacency, drawn[connected]])
        fiedler = np.concatenate([fiedler, vectors[connected, :, 1]])
    labels = (fiedler.argsort(1).argsort(1) >= _NODES // 2).astype(np.int64)
    y = np.zeros(n_graphs, dtype=np.int64)
    y[generator.permutation(n_graphs)[: round(anomalous * n_graphs)]] = 1
    n_moved = np.where(y == 1, round(permuted * _NODES), 2)[:, None]
    # The first n_moved nodes of a random order change their labels among themselves.
    order = generator.random((n_graphs, _NODES)).argsort(1)
    rank = np.arange(_NODES)
    mixed = np.where(rank < n_moved, generator.random((n_graphs, _NODES)), 1 + rank).argsort(1)
    moved = np.empty_like(labels)
    np.put_along_axis(
        moved, order, np.take_along_axis(labels, np.take_along_axis(order, mixed, axis=1), axis=1), axis=1
    )
    # Numbered anew: neighbours on the ring would stand together, and even the rounding of a sum over nodes would tell.
    number = generator.random((n_graphs, _NODES)).argsort(1)
    types = np.empty_like(moved)
    np.put_along_axis(types, number, moved, axis=1)
    graph, source, target = np.nonzero(adjacency)
    ends = graph * _NODES + np.stack([number[graph, source], number[graph, target]])
    graphs = GraphSet(
        torch.full((n_graphs,), _NODES), torch.from_numpy(ends), torch.from_numpy(types.reshape(-1, 1)), node_types=(2,)
    )
    return LabelledGraphs(graphs, y)


def _small_worlds(n_graphs: int, generator: np.random.Generator) -> np.ndarray:
    """Watts-Strogatz graphs, all at once: the edges of the ring are gone through in order, those of all graphs side by side."""
    adjacency = np.zeros((n_graphs, _NODES, _NODES), dtype=bool)
    node = np.arange(_NODES)
    ring = [(u, (u + step) % _NODES) for step in range(1, _NEIGHBOURS // 2 + 1) for u in node]
    for u, v in ring:
        adjacency[:, u, v] = adjacency[:, v, u] = True
    for u, v in ring:
        draw = generator.random((n_graphs, _NODES))
        draw[adjacency[:, u] | (node == u)] = -1.0
        new = draw.argmax(1)
        (chosen,) = np.nonzero((generator.random(n_graphs) < _REWIRED) & (draw.max(1) >= 0))
        adjacency[chosen, u, v] = adjacency[chosen, v, u] = False
        adjacency[chosen, u, new[chosen]] = adjacency[chosen, new[chosen], u] = True
    return adjacency

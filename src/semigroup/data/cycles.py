r"""Random graphs with their exact numbers of cycles of length 3 to 6: the substructure-counting task.

The counts come from closed forms in the adjacency matrix :math:`A` and the degrees :math:`d`. A closed walk of length k is a
homomorphism of the cycle :math:`C_k`; summing over the ways in which its vertices can coincide (Möbius inversion over
partitions) leaves the injective ones, 2k for each cycle:

.. math::
    6 C_3 &= \operatorname{tr} A^3 \\
    8 C_4 &= \operatorname{tr} A^4 - 2 \sum_i d_i^2 + \sum_i d_i \\
    10 C_5 &= \operatorname{tr} A^5 - 5 \sum_i d_i (A^3)_{ii} + 5 \operatorname{tr} A^3 \\
    12 C_6 &= \operatorname{tr} A^6 - 6 \sum_i d_i (A^4)_{ii} - 3 \sum_i (A^3)_{ii}^2 + 9 \sum_{ij} A_{ij} (A^2)_{ij}^2
              + 6 \operatorname{tr} A^4 + 3\, d^T A d + 4 \sum_i d_i^3 - 4 \operatorname{tr} A^3 - 12 \sum_i d_i^2 + 4 \sum_i d_i
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import torch
from jaxtyping import Float, Int, Num

from semigroup.base import check_integer, numpy_generator
from semigroup.data.graph_sets import GraphSet

__all__ = ["CYCLE_LENGTHS", "CountingTask", "count_cycles", "counting_task"]

CYCLE_LENGTHS = (3, 4, 5, 6)


@dataclass(frozen=True)
class CountingTask:
    """Graphs and their cycles.

    Attributes
    ----------
    graphs : GraphSet
        Unlabelled.
    counts : ndarray of shape (graphs, 4)
        Cycles of length 3, 4, 5 and 6.
    """

    graphs: GraphSet
    counts: np.ndarray


def count_cycles(adjacency: Num[np.ndarray, "graphs n n"]) -> Int[np.ndarray, "graphs 4"]:
    """Numbers of cycles of length 3, 4, 5 and 6 of simple graphs.

    Parameters
    ----------
    adjacency : ndarray of shape (graphs, n, n)
        Symmetric, of 0 and 1, with zero diagonal.

    Examples
    --------
    >>> count_cycles(np.ones((1, 4, 4)) - np.eye(4))  # the complete graph on four nodes
    array([[4, 3, 0, 0]])
    """
    a: Float[np.ndarray, "graphs n n"] = np.asarray(adjacency, dtype=np.float64)
    a2 = a @ a
    a3 = a2 @ a
    degree = a.sum(-1)
    walks3 = np.einsum("gii->gi", a3)
    walks4 = (a2**2).sum(-1)
    trace3, trace4 = walks3.sum(-1), walks4.sum(-1)
    trace5, trace6 = (a2 * a3).sum((-2, -1)), (a3**2).sum((-2, -1))
    degree1, degree2, degree3 = ((degree**power).sum(-1) for power in (1, 2, 3))
    twelve = (
        trace6
        - 6 * (degree * walks4).sum(-1)
        - 3 * (walks3**2).sum(-1)
        + 9 * (a * a2**2).sum((-2, -1))
        + 6 * trace4
        + 3 * np.einsum("gi,gij,gj->g", degree, a, degree)
        + 4 * degree3
        - 4 * trace3
        - 12 * degree2
        + 4 * degree1
    )
    counts = (
        trace3 / 6,
        (trace4 - 2 * degree2 + degree1) / 8,
        (trace5 - 5 * (degree * walks3).sum(-1) + 5 * trace3) / 10,
        twelve / 12,
    )
    return np.rint(np.stack(counts, axis=-1)).astype(np.int64)


def counting_task(
    n_graphs: int, *, sizes: Sequence[int] = (10, 15, 20, 30), random_state: int | np.random.Generator | None = None
) -> CountingTask:
    """Random regular graphs from which as many random edges as nodes were removed, with their cycle counts.

    Degree 6 for 10 and 15 nodes, 5 otherwise (6 where n·5 is odd).

    Parameters
    ----------
    n_graphs : int
    sizes : sequence of int
        Numbers of nodes, drawn with equal probability.
    random_state : int, Generator or None

    Examples
    --------
    >>> task = counting_task(20, sizes=(10,), random_state=0)
    >>> task.graphs
    GraphSet(20 graphs, 200 nodes, 400 edges)
    """
    check_integer(n_graphs, "n_graphs", minimum=1)
    for size in sizes:
        check_integer(size, "sizes", minimum=7)
    generator = numpy_generator(random_state)
    drawn = generator.choice(np.asarray(sizes), n_graphs)
    edges = [_thinned_regular(int(n), generator) for n in drawn]
    counts = np.zeros((n_graphs, len(CYCLE_LENGTHS)), dtype=np.int64)
    for n in np.unique(drawn):
        chosen = np.flatnonzero(drawn == n)
        adjacency = np.zeros((len(chosen), n, n))
        for row, graph in enumerate(chosen):
            adjacency[row, edges[graph][:, 0], edges[graph][:, 1]] = 1
        counts[chosen] = count_cycles(adjacency + adjacency.transpose(0, 2, 1))
    starts = np.cumsum(drawn) - drawn
    ends = [np.concatenate([pairs, pairs[:, ::-1]]) + start for pairs, start in zip(edges, starts)]
    graphs = GraphSet(torch.from_numpy(drawn.astype(np.int64)), torch.from_numpy(np.concatenate(ends).T.copy()))
    return CountingTask(graphs, counts)


def _thinned_regular(n: int, generator: Any) -> Int[np.ndarray, "edges 2"]:
    """Edges, each once, of a random regular graph without n of them."""
    degree = 6 if n == 10 or n % 2 else 5
    graph = nx.random_regular_graph(degree, n, seed=int(generator.integers(2**31)))
    pairs = np.array(graph.edges, dtype=np.int64)
    return pairs[generator.permutation(len(pairs))[n:]]

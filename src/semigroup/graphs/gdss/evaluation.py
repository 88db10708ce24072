"""How good generated graphs are: distances between sets of graphs, and how many of them are new.

All of it works on whole sets at once and serves any generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int64
from scipy.spatial.distance import cdist

from semigroup.base import check_choice, check_integer
from semigroup.data.graph_sets import GraphSet, as_graph_set
from semigroup.operators.graphlets import orbit_counts

__all__ = ["STATISTICS", "graph_hashes", "graph_mmd", "graph_statistics", "novelty", "nspdk_mmd", "uniqueness"]

STATISTICS = ("degree", "clustering", "orbit", "spectral")
# Of each statistic: width of a bin in the distance, bandwidth of the kernel.
_KERNELS = {"degree": (1.0, 1.0), "clustering": (0.01, 0.1), "orbit": (1.0, 30.0), "spectral": (1.0, 1.0)}


def graph_mmd(
    reference: Any, generated: Any, statistics: Sequence[str] = STATISTICS, *, unbiased: bool = False
) -> dict[str, float]:
    r"""Squared maximum mean discrepancies between two sets of graphs, one for each statistic.

    ``degree``, ``clustering`` (coefficients in 100 bins) and ``spectral`` (eigenvalues of the normalised Laplacian in 200
    bins) are compared as histograms under the kernel :math:`\exp(-W_1^2 / 2\sigma^2)`; ``orbit``, the 15 mean graphlet
    orbit counts, under a Gaussian kernel of bandwidth 30. Bins and bandwidths are those of the literature on graph
    generation (GraphRNN and after).

    Parameters
    ----------
    reference, generated : GraphSet or list of graphs
    statistics : sequence of {"degree", "clustering", "orbit", "spectral"}
    unbiased : bool
        Leave the diagonal out of the means; the literature's estimate keeps it, which favours none but is not centred at 0.

    Returns
    -------
    dict of str to float

    Examples
    --------
    >>> import networkx as nx
    >>> rings, paths = [nx.cycle_graph(n) for n in (5, 6, 7)], [nx.path_graph(n) for n in (5, 6, 7)]
    >>> round(graph_mmd(rings, rings)["degree"], 6), graph_mmd(rings, paths)["degree"] > 0.1
    (0.0, True)
    """
    for statistic in statistics:
        check_choice(statistic, "statistics", STATISTICS)
    pair = [as_graph_set(graphs, name) for graphs, name in ((reference, "reference"), (generated, "generated"))]
    if unbiased and min(map(len, pair)) < 2:
        raise ValueError("unbiased estimates need at least two graphs in reference and in generated")
    result = {}
    for statistic in statistics:
        one, other = (graph_statistics(graphs, statistic) for graphs in pair)
        width = max(one.shape[1], other.shape[1])
        one, other = (np.pad(rows, ((0, 0), (0, width - rows.shape[1]))) for rows in (one, other))
        result[statistic] = _mmd(one, other, statistic, unbiased)
    return result


def _mmd(one: np.ndarray, other: np.ndarray, statistic: str, unbiased: bool) -> float:
    scale, bandwidth = _KERNELS[statistic]
    metric = "euclidean" if statistic == "orbit" else "cityblock"
    if statistic != "orbit":  # W1 of two histograms is the area between their distribution functions
        one, other = one.cumsum(1), other.cumsum(1)

    def mean(x: np.ndarray, y: np.ndarray, same: bool) -> float:
        kernel = np.exp(-((scale * cdist(x, y, metric)) ** 2) / (2 * bandwidth**2))
        n = len(kernel)
        return float((kernel.sum() - n) / (n * (n - 1))) if same and unbiased else float(kernel.mean())

    return mean(one, one, True) + mean(other, other, True) - 2 * mean(one, other, False)


def graph_statistics(graphs: Any, statistic: str) -> Float[np.ndarray, "graphs bins"]:
    """The vector of each graph that `graph_mmd` compares: a histogram that sums to 1, or mean orbit counts."""
    check_choice(statistic, "statistic", STATISTICS)
    found = as_graph_set(graphs)
    batch, n_graphs = found.batch.numpy(), len(found)
    adjacency = found.adjacency()
    adjacency.data[:] = 1.0
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    if statistic == "degree":
        return _histograms(degree.astype(np.int64), batch, n_graphs, int(degree.max()) + 1)
    if statistic == "clustering":
        triangles = np.asarray(((adjacency @ adjacency) * adjacency).sum(axis=1)).ravel()
        coefficient = triangles / np.maximum(degree * (degree - 1), 1)
        return _histograms(_bins(coefficient, 0.0, 1.0, 100), batch, n_graphs, 100)
    if statistic == "orbit":
        counts = orbit_counts(adjacency).astype(np.float64)
        averaging = sp.csr_array(
            sp.coo_array((np.ones(len(batch)), (batch, np.arange(len(batch)))), (n_graphs, len(batch)))
        )
        return np.asarray(averaging @ counts) / found.n_nodes.numpy()[:, None]
    return _histograms(_bins(_eigenvalues(found, adjacency, degree), -1e-5, 2.0, 200), batch, n_graphs, 200)


def _bins(values: np.ndarray, low: float, high: float, n_bins: int) -> Int64[np.ndarray, " values"]:
    """Number of each value's bin; the last bin is closed, and what rounding puts outside belongs to the outermost."""
    edges = np.linspace(low, high, n_bins + 1)
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, n_bins - 1).astype(np.int64)


def _histograms(bins: np.ndarray, batch: np.ndarray, n_graphs: int, n_bins: int) -> Float[np.ndarray, "graphs bins"]:
    counts = np.bincount(batch * n_bins + bins, minlength=n_graphs * n_bins).reshape(n_graphs, n_bins)
    return counts / counts.sum(1, keepdims=True)


def _eigenvalues(graphs: GraphSet, adjacency: sp.csr_array, degree: np.ndarray) -> Float[np.ndarray, " nodes"]:
    """Eigenvalues of every graph's normalised Laplacian, end to end; graphs of one size are decomposed together."""
    root = np.divide(1, np.sqrt(degree), out=np.zeros(len(degree)), where=degree > 0)
    entries = sp.coo_array(adjacency)
    graph = graphs.batch.numpy()[entries.row]
    sizes, start = graphs.n_nodes.numpy(), graphs.node_start.numpy()
    weights = root[entries.row] * root[entries.col]
    values = np.empty(len(degree))
    for size in np.unique(sizes):
        members = np.flatnonzero(sizes == size)
        position = np.full(len(sizes), -1)
        position[members] = np.arange(len(members))
        chosen = position[graph] >= 0
        first = start[graph[chosen]]
        matrices = np.zeros((len(members), size, size))
        matrices[position[graph[chosen]], entries.row[chosen] - first, entries.col[chosen] - first] = -weights[chosen]
        rows = start[members][:, None] + np.arange(size)
        matrices[:, np.arange(size), np.arange(size)] = degree[rows] > 0
        values[rows] = np.linalg.eigvalsh(matrices)
    return values


# --- hashes -------------------------------------------------------------------------------------------------------


def graph_hashes(graphs: Any, *, n_rounds: int = 4) -> Int64[np.ndarray, " graphs"]:
    """A number for each graph, the same for graphs that differ in their numbering only.

    Weisfeiler-Lehman colours of the nodes, with their types and those of the edges where there are any. Graphs that this
    test cannot tell apart, such as regular ones of the same degree and size, get the same number.
    """
    found = as_graph_set(graphs)
    colors = _colors(found, n_rounds)[-1]
    totals = np.zeros(len(found), dtype=np.uint64)
    np.add.at(totals, found.batch.numpy(), _mixed(colors))
    return _mixed(totals + found.n_nodes.numpy().astype(np.uint64)).view(np.int64)


def _colors(graphs: GraphSet, n_rounds: int) -> list[np.ndarray]:
    """64-bit colours of the nodes after 0, 1, ..., `n_rounds` rounds; a multiset is hashed by the sum of mixed members."""
    source, target = graphs.edge_index.numpy()
    colors = np.ones(int(graphs.n_nodes.sum()), dtype=np.uint64)
    if graphs.node_features is not None:
        colors = _mixed_columns(graphs.node_features.numpy().astype(np.uint64))
    bond: Any = np.uint64(0)
    if graphs.edge_features is not None:
        bond = _mixed_columns(graphs.edge_features.numpy().astype(np.uint64))
    rounds = [_mixed(colors)]
    for _ in range(n_rounds):
        sums = np.zeros_like(rounds[-1])
        np.add.at(sums, source, _mixed(rounds[-1][target] + bond))
        rounds.append(_mixed(rounds[-1] + np.uint64(0x9E3779B97F4A7C15) * _mixed(sums)))
    return rounds


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64: a bijection of 64-bit numbers that scatters their bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _mixed_columns(rows: np.ndarray) -> np.ndarray:
    result = np.zeros(len(rows), dtype=np.uint64)
    for column in rows.T:
        result = _mixed(result + column + np.uint64(0x9E3779B97F4A7C15))
    return result


def uniqueness(generated: Any) -> float:
    """Different graphs among the generated ones, as a fraction."""
    hashes = graph_hashes(generated)
    return len(np.unique(hashes)) / len(hashes)


def novelty(generated: Any, training: Any) -> float:
    """Fraction of the generated graphs that are none of the training graphs."""
    return float(1 - np.isin(graph_hashes(generated), graph_hashes(training)).mean())


# --- labelled graphs ----------------------------------------------------------------------------------------------


def nspdk_mmd(reference: Any, generated: Any, *, radius: int = 2, distance: int = 4) -> float:
    r"""Squared discrepancy under the neighbourhood subgraph pairwise distance kernel, for graphs with types.

    Features are pairs of nodes at a distance of up to `distance` edges with the neighbourhoods of equal radius, up to
    `radius`, around both; their counts are normalised for each radius and distance, and for each graph. Neighbourhoods
    are told apart by their Weisfeiler-Lehman colours, where EDeN hashes the rooted subgraphs: the figures compare among
    themselves, not with published ones.

    References
    ----------
    Costa, F. and De Grave, K. (2010). Fast neighborhood subgraph pairwise distance kernel. ICML.

    Examples
    --------
    >>> nspdk_mmd(["CCO", "CCN"], ["CCN", "CCO"])
    0.0
    """
    check_integer(radius, "radius", minimum=0)
    check_integer(distance, "distance", minimum=0)
    pair = [as_graph_set(graphs, name) for graphs, name in ((reference, "reference"), (generated, "generated"))]
    features = [_pair_features(graphs, radius, distance) for graphs in pair]
    keys, columns = np.unique(np.concatenate([one[1] for one in features]), return_inverse=True)
    means, taken = [], 0
    for graphs, (graph, key, weight) in zip(pair, features):
        column = columns[taken : taken + len(key)]
        taken += len(key)
        matrix = sp.csr_array(sp.coo_array((weight, (graph, column)), shape=(len(graphs), len(keys))))
        norm = np.sqrt(np.asarray((matrix * matrix).sum(axis=1)).ravel())
        means.append((sp.diags_array(1 / norm) @ matrix).mean(axis=0))
    return float(((means[0] - means[1]) ** 2).sum())


def _pair_features(
    graphs: GraphSet, radius: int, distance: int
) -> tuple[Int64[np.ndarray, " features"], np.ndarray, Float[np.ndarray, " features"]]:
    """Graph, hash and weight of each feature, a feature once a graph."""
    batch = graphs.batch.numpy()
    colors = _colors(graphs, radius)
    adjacency = sp.csr_array(graphs.adjacency() != 0, dtype=np.float64)
    n = len(batch)
    reached = frontier = sp.csr_array(sp.eye_array(n))
    parts = []
    for d in range(distance + 1):
        if d:
            frontier = sp.csr_array((frontier @ adjacency > 0) > (reached > 0), dtype=np.float64)
            reached = reached + frontier
        ends = sp.coo_array(sp.triu(frontier))
        for r, color in enumerate(colors):
            low, high = np.minimum(color[ends.row], color[ends.col]), np.maximum(color[ends.row], color[ends.col])
            key = _mixed_columns(np.stack([np.full(len(low), 1000 * r + d, dtype=np.uint64), low, high], axis=1))
            both = np.stack([batch[ends.row].astype(np.uint64), key], axis=1)
            rows, counts = np.unique(both, axis=0, return_counts=True)
            graph = rows[:, 0].astype(np.int64)
            size = np.sqrt(np.bincount(graph, weights=counts.astype(float) ** 2, minlength=len(graphs)))
            parts.append((graph, rows[:, 1], counts / size[graph]))
    graph, key, weight = (np.concatenate(one) for one in zip(*parts))
    return graph, key, weight

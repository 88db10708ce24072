"""Graphs drawn with their clusters."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import scipy.sparse as sp
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from semigroup.report.figures import COLORS

__all__ = ["draw_clusters", "layout"]

MARKERS = "os^Dv"
MAX_EDGES = 6000  # more make a grey disc; an evenly spaced part of them shows the same


def layout(adjacency: sp.csr_array, *, seed: int = 0) -> np.ndarray:
    """Positions of the nodes, shape (n, 2): springs from networkx, started from the eigenvectors of the graph.

    The start brings the springs near their rest, so that fewer steps do, and makes the picture the same each time. Weights are
    the springs' strengths. Meant for some 1000 nodes at most, which take seconds.
    """
    n = adjacency.shape[0]
    graph = nx.from_scipy_sparse_array(sp.csr_array(adjacency))
    if n < 4:
        return np.array([place for _, place in sorted(nx.circular_layout(graph).items())])
    start = _spectral_start(adjacency, seed)
    springs = nx.spring_layout(
        graph,
        pos=dict(enumerate(start)),
        iterations=100 if n <= 200 else 40,
        k=1.6 / np.sqrt(n),
        seed=seed,
        method="force",
    )
    return np.array([springs[i] for i in range(n)])


def _spectral_start(adjacency: sp.csr_array, seed: int) -> np.ndarray:
    """Ranks of the second and third eigenvector of the normalised adjacency matrix, slightly moved apart."""
    degree = np.maximum(np.asarray(adjacency.sum(axis=1)).ravel(), 1e-300)
    root = sp.diags_array(degree**-0.5)
    n = len(degree)
    vectors = np.linalg.eigh((root @ adjacency @ root).toarray())[1][:, -3:-1]
    ranks = vectors.argsort(axis=0).argsort(axis=0) / n
    return 2 * ranks - 1 + 0.05 * np.random.default_rng(seed).normal(size=(n, 2))


def draw_clusters(
    axis: Axes,
    adjacency: sp.csr_array,
    labels: np.ndarray,
    *,
    positions: np.ndarray | None = None,
    wrong: np.ndarray | None = None,
    names: Any = None,
) -> np.ndarray:
    """Draw a graph: colour and marker of a node say its cluster; edges within a cluster have its colour, others are grey.

    Parameters
    ----------
    axis : Axes
        From `new_figure`.
    adjacency : csr_array of shape (n, n)
        Undirected.
    labels : int array of shape (n,)
        Clusters 0, 1, ...
    positions : array of shape (n, 2), optional
        By default those of `layout`.
    wrong : bool array of shape (n,), optional
        Nodes to be ringed in black.
    names : sequence of n, optional
        Written beside the nodes where there are at most 60.

    Returns
    -------
    ndarray of shape (n, 2)
        The positions, for another drawing of the same graph.
    """
    n = adjacency.shape[0]
    places = layout(adjacency) if positions is None else positions
    size = float(np.clip(6000 / n, 9, 110))
    upper = sp.coo_array(sp.triu(adjacency, 1))
    shown = (
        np.unique(np.linspace(0, upper.nnz - 1, min(upper.nnz, MAX_EDGES)).astype(int)) if upper.nnz else np.arange(0)
    )
    row, column = upper.row[shown], upper.col[shown]
    alpha = float(np.clip(60 / np.sqrt(max(len(shown), 1)) / 3, 0.12, 0.7))
    segments = np.stack([places[row], places[column]], axis=1)
    within = labels[row] == labels[column]
    width = float(np.clip(300 / max(len(shown), 1), 0.35, 1.2))
    axis.add_collection(LineCollection(segments[~within], colors="#888888", linewidths=width, alpha=alpha, zorder=1))
    colors = [COLORS[label % len(COLORS)] for label in labels[row[within]]]
    axis.add_collection(LineCollection(segments[within], colors=colors, linewidths=width, alpha=alpha, zorder=1))
    for label in range(int(labels.max()) + 1):
        chosen = labels == label
        axis.scatter(
            places[chosen, 0],
            places[chosen, 1],
            s=size,
            color=COLORS[label % len(COLORS)],
            marker=MARKERS[(label + label // len(COLORS)) % len(MARKERS)],
            edgecolors="white",
            linewidths=0.5 if n > 200 else 0.8,
            zorder=2,
        )
    if wrong is not None and wrong.any():
        axis.scatter(
            places[wrong, 0],
            places[wrong, 1],
            s=2.2 * size + 15,
            facecolors="none",
            edgecolors="black",
            linewidths=1.3,
            zorder=3,
        )
    if names is not None and n <= 60:
        for name, place in zip(names, places):
            axis.annotate(
                str(name), place, xytext=(5, 4), textcoords="offset points", fontsize=7, annotation_clip=False, zorder=4
            )
    axis.set(xticks=[], yticks=[], aspect="equal")
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.margins(0.05)
    return places

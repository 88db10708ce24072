"""Bootstrap AMG clustering of a user's graph and table of attributes: labels by name, what the clusters are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.sparse.csgraph import connected_components
from sklearn.base import clone

from semigroup.base import numpy_generator
from semigroup.data.attributed_graphs import attributed_graph
from semigroup.data.files import read_graph, read_table
from semigroup.graphs.amg_clustering import BootstrapAMGClustering, attribute_entropy, encode_attributes
from semigroup.graphs.amg_clustering.estimator import check_graph
from semigroup.jobs import Context, Outcome, Picture
from semigroup.operators import Graph, as_graph, modularity
from semigroup.report.drawing import draw_clusters
from semigroup.report.figures import COLORS, new_figure

__all__ = ["NodeTable", "perform", "read"]

MAX_DRAWN = 1500
MAX_VALUES = 12  # of an attribute that is drawn
MAX_PANELS = 6


@dataclass(frozen=True)
class NodeTable:
    """A graph, and the attributes of its nodes in the graph's order if there are any."""

    graph: Graph
    attributes: pd.DataFrame | None = None


def read(files: Sequence[Path]) -> NodeTable:
    """A graph, and a table of its nodes' attributes; without files, who asks whom for advice in a law firm.

    The table's first column is the node, the others are categorical attributes, with a header.
    """
    if not files:
        firm = attributed_graph("lawyers_advice")
        table = firm.attributes[["status", "gender", "office", "practice", "school"]].astype("category")
        for column, words in _LAWYERS.items():
            table[column] = table[column].cat.rename_categories(words).astype(str)
        return NodeTable(as_graph(firm.adjacency), table)
    if len(files) > 2:
        raise ValueError(f"data takes a graph and optionally a table of attributes, got {len(files)} files")
    path = Path(files[0])
    graph = check_graph(read_graph(path), str(path))
    return NodeTable(graph, _read_attributes(Path(files[1]), graph) if len(files) == 2 else None)


_LAWYERS = {
    "status": ["partner", "associate"],
    "gender": ["man", "woman"],
    "office": ["Boston", "Hartford", "Providence"],
    "practice": ["litigation", "corporate"],
    "school": ["Harvard, Yale", "Connecticut", "other"],
}


def _read_attributes(path: Path, graph: Graph) -> pd.DataFrame:
    """Rows of a table in the graph's order."""
    table = read_table(path)
    if table.shape[1] < 2:
        raise ValueError(f"{path}: the columns node and at least one attribute are wanted, got {table.shape[1]} column")
    place = graph.index(table.iloc[:, 0].to_numpy(), str(path))
    count = np.bincount(place, minlength=graph.n_nodes)
    if (count != 1).any():
        node = int(np.flatnonzero(count != 1)[0])
        raise ValueError(
            f"{path}: each of the {graph.n_nodes} nodes needs one row, and node {graph.names[node]} has {count[node]}"
        )
    return table.iloc[np.argsort(place), 1:].reset_index(drop=True)


def perform(estimator: BootstrapAMGClustering, data: NodeTable, context: Context) -> Outcome:
    """Cluster with the attributes, and by structure alone for comparison."""
    adjacency = data.graph.adjacency
    estimator.fit(data.graph, data.attributes, progress=context.progress, checkpoint_dir=context.checkpoint_dir)
    labels = estimator.labels_
    metrics = {
        "n_nodes": float(data.graph.n_nodes),
        "n_edges": float(adjacency.nnz // 2),
        "n_clusters": float(estimator.n_clusters_),
        "modularity": estimator.modularity_,
        "hierarchies": float(len(estimator.ratios_)),
        "convergence_ratio_first": float(estimator.ratios_[0]),
        "convergence_ratio_last": float(estimator.ratios_[-1]),
        "operator_complexity": float(np.mean([h.operator_complexity for h in estimator.composite_.hierarchies])),
    }
    labelled = pd.DataFrame({"node": data.graph.names, "cluster": labels})
    arrays = {"labels": labels, "convergence_ratios": estimator.ratios_, "smooth_vectors": estimator.smooth_vectors_}
    tables = {"labels": labelled}
    pictures = {}
    summary = (
        f"{estimator.n_clusters_} clusters of {data.graph.n_nodes} nodes with modularity {estimator.modularity_:.3f}; "
        f"{len(estimator.ratios_)} multigrid hierarchies brought the convergence ratio from {estimator.ratios_[0]:.2f} to "
        f"{estimator.ratios_[-1]:.1e}."
    )
    if data.graph.n_nodes <= MAX_DRAWN:
        names = None if data.graph.nodes is None else data.graph.names
        figure, axes = new_figure(width=5.6, height=5.0)
        draw_clusters(axes[0, 0], adjacency, labels, names=names)
        pictures["graph"] = Picture(
            figure, "The graph with its clusters: colour and marker of a node say which it is in."
        )
    if data.attributes is not None:
        encoded = encode_attributes(data.attributes, data.graph.n_nodes, missing=estimator.missing)
        by_chance = numpy_generator(0).permutation(labels)
        metrics["attribute_entropy_bits"] = attribute_entropy(labels, encoded.codes)
        metrics["attribute_entropy_bits_by_chance"] = attribute_entropy(by_chance, encoded.codes)
        summary += (
            f" Within clusters the attributes vary by {metrics['attribute_entropy_bits']:.2f} bits, in random clusters of "
            f"the same sizes by {metrics['attribute_entropy_bits_by_chance']:.2f}."
        )
        # Without the attributes' vertices the graph may fall apart, and then it has no answer.
        if connected_components(adjacency, directed=False, return_labels=False) == 1:
            plain = clone(estimator).fit(data.graph)
            metrics["modularity_structure_only"] = modularity(adjacency, plain.labels_)
            metrics["attribute_entropy_bits_structure_only"] = attribute_entropy(plain.labels_, encoded.codes)
            arrays["labels_structure_only"] = plain.labels_
            summary += (
                f" By structure alone the modularity is {metrics['modularity_structure_only']:.3f} and the attributes vary by "
                f"{metrics['attribute_entropy_bits_structure_only']:.2f} bits."
            )
        tables["labels"] = pd.concat([labelled, data.attributes.reset_index(drop=True)], axis=1)
        tables["attributes"] = _composition(labels, data.attributes)
        pictures["attributes"] = Picture(
            _draw_composition(labels, data.attributes),
            "What the clusters are made of: of each cluster the share of every value of an attribute.",
        )
    pictures["convergence"] = Picture(
        _draw_ratios(estimator.ratios_, estimator.desired_ratio),
        "Factor by which one sweep of the composite solver shrinks the error, with one hierarchy after the other; dotted, the "
        "first hierarchy repeated as many times.",
    )
    return Outcome(estimator, summary, metrics, arrays, tables, pictures)


def _composition(labels: np.ndarray, attributes: pd.DataFrame) -> pd.DataFrame:
    """Nodes of each cluster that have each value of each attribute."""
    words = attributes.astype(object).where(attributes.notna(), "missing").astype(str)
    # Laid end to end by hand: an attribute may have the name of one of these columns.
    long = pd.DataFrame(
        {
            "attribute": np.repeat([str(name) for name in words.columns], len(words)),
            "value": words.to_numpy().T.ravel(),
            "cluster": np.tile(labels, words.shape[1]),
        }
    )
    return long.groupby(["attribute", "value", "cluster"], sort=True).size().rename("nodes").reset_index()


def _draw_composition(labels: np.ndarray, attributes: pd.DataFrame) -> Figure:
    """Stacked shares, one panel an attribute; those with many values are left out where others are there."""
    shown = [name for name in attributes.columns if attributes[name].nunique() <= MAX_VALUES] or list(
        attributes.columns
    )
    shown = shown[:MAX_PANELS]
    n_columns = min(3, len(shown))
    n_rows = -(-len(shown) // n_columns)
    figure, axes = new_figure(n_rows, n_columns, width=3.4 * n_columns, height=2.9 * n_rows)
    clusters = np.arange(labels.max() + 1)
    size = np.bincount(labels)
    for axis, name in zip(axes.flat, shown):
        values = attributes[name].astype(object).where(attributes[name].notna(), "missing").astype(str).to_numpy()
        kinds, counts = np.unique(values, return_counts=True)
        kinds = kinds[np.argsort(-counts, kind="stable")][:MAX_VALUES]
        bottom = np.zeros(len(clusters))
        for place, kind in enumerate(kinds):
            share = np.bincount(labels[values == kind], minlength=len(clusters)) / size
            axis.bar(
                clusters,
                share,
                bottom=bottom,
                label=kind,
                color=COLORS[place % len(COLORS)],
                hatch="" if place < len(COLORS) else "//",
                edgecolor="white",
            )
            bottom += share
        axis.set(title=str(name), xlabel="cluster", ylim=(0, 1), xticks=clusters)
        axis.grid(False)
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.14), ncols=2, fontsize="x-small", handlelength=1.2)
    for axis in axes[:, 0]:
        axis.set_ylabel("share of the cluster")
    for axis in list(axes.flat)[len(shown) :]:
        axis.set_visible(False)
    return figure


def _draw_ratios(ratios: np.ndarray, desired: float) -> Figure:
    figure, axes = new_figure(width=5.2)
    axis = axes[0, 0]
    number = np.arange(1, len(ratios) + 1)
    positive = np.maximum(ratios, 1e-16)
    axis.semilogy(number, positive, "o-", markersize=4, label="bootstrap")
    axis.semilogy(
        number, np.maximum(positive[0] ** number, 1e-16), ":", color=COLORS[1], label="first hierarchy repeated"
    )
    axis.axhline(desired, ls="--", color="black", label="desired")
    axis.set(xlabel="hierarchies", ylabel="convergence ratio")
    axis.legend()
    return figure

"""Proximity clustering of a user's graph: clusters by name, the parameter's choice, and the families side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.cluster import contingency_matrix

from semigroup.data.community_graphs import community_graph
from semigroup.data.files import read_graph, read_table
from semigroup.graphs.proximity import (
    STUDY_FAMILIES,
    ProximityClustering,
    Spectra,
    Study,
    reject_auc,
    reject_curve,
    study,
)
from semigroup.jobs import Context, Outcome, Picture
from semigroup.operators import Graph, as_graph, check_connected
from semigroup.report.drawing import draw_clusters
from semigroup.report.figures import COLORS, new_figure

__all__ = ["ClassedGraph", "perform", "read"]

MAX_NODES = 10_000  # kernels are dense: 0.8 GB each at this size, and ten of them are held
MAX_DRAWN = 1500
MAX_STUDIED = 2000


@dataclass(frozen=True)
class ClassedGraph:
    """A graph, and the known class of each node if there are any."""

    graph: Graph
    classes: np.ndarray | None = None


def read(files: Sequence[Path]) -> ClassedGraph:
    """A graph, and optionally a table of nodes and their classes; without files, the football teams of 2000.

    The table's first two columns are node and class, with a header.
    """
    if not files:
        teams = community_graph("football")
        return ClassedGraph(Graph(teams.adjacency), teams.class_names[teams.labels])
    if len(files) > 2:
        raise ValueError(f"data takes a graph and optionally a table of classes, got {len(files)} files")
    path = Path(files[0])
    graph = as_graph(read_graph(path), str(path), directed=False)
    if not 2 <= graph.n_nodes <= MAX_NODES:
        raise ValueError(f"{path}: a graph of 2 to {MAX_NODES} nodes is wanted, got {graph.n_nodes}")
    check_connected(graph, str(path))
    return ClassedGraph(graph, _read_classes(Path(files[1]), graph) if len(files) == 2 else None)


def _read_classes(path: Path, graph: Graph) -> np.ndarray:
    """Class of each node in the graph's order."""
    table = read_table(path)
    if table.shape[1] < 2:
        raise ValueError(f"{path}: the columns node and class are wanted, got {table.shape[1]} column")
    place = graph.index(table.iloc[:, 0].to_numpy(), str(path))
    missing = np.setdiff1d(np.arange(graph.n_nodes), place)
    if len(missing) or len(place) != graph.n_nodes:
        words = f"node {graph.names[missing[0]]} has none" if len(missing) else "a node has two"
        raise ValueError(f"{path}: each of the {graph.n_nodes} nodes needs one class, and {words}")
    if table.iloc[:, 1].isna().any():
        raise ValueError(f"{path}: a node has no class in its row")
    classes = np.empty(graph.n_nodes, dtype=object)
    classes[place] = table.iloc[:, 1].astype(str).to_numpy()
    return classes.astype(str)


def perform(estimator: ProximityClustering, data: ClassedGraph, context: Context) -> Outcome:
    """Cluster, and compare the families: by the known classes, or by modularity where there are none."""
    shared = Spectra(data.graph, estimator.device)
    estimator.fit(shared)
    labels, n = estimator.labels_, data.graph.n_nodes
    sizes = np.bincount(labels)
    at = "" if estimator.p_ is None else f" at p = {estimator.p_:.2f}"
    summary = f"{estimator.family}{at} makes {len(sizes)} clusters of {sizes.min()} to {sizes.max()} nodes with a "
    summary += f"modularity of {estimator.modularity_:.3f}."
    metrics: dict[str, float] = {
        "n_nodes": n,
        "n_edges": data.graph.adjacency.nnz // 2,
        "n_clusters": len(sizes),
        "modularity": estimator.modularity_,
    }
    table = pd.DataFrame({"node": data.graph.names, "cluster": labels})
    tables = {"clusters": table}
    arrays: dict[str, Any] = {
        "labels": labels,
        "grid": estimator.grid_,
        "grid_modularities": estimator.grid_modularities_,
    }
    pictures: dict[str, Picture] = {}
    wrong, known = None, data.classes
    if known is not None:
        table["class"] = known
        score = float(adjusted_rand_score(known, labels))
        metrics["adjusted_rand_index"] = score
        wrong = _misplaced(known, labels)
        summary += f" They agree with the known classes at an adjusted Rand index of {score:.3f}."
    if n <= MAX_DRAWN:
        pictures["clusters"] = Picture(_draw_graph(data.graph, labels, wrong), _CAPTION + _WRONG * (wrong is not None))
    if n <= MAX_STUDIED and len(sizes) > 1:
        result = _compare(estimator, shared, labels, known, context)
        tables["families"] = _family_table(result, known is not None)
        pictures["families"] = Picture(
            _draw_families(result, known is not None, estimator),
            ("ARI with the known classes" if known is not None else "Modularity")
            + " over the parameter of each family. Of each colour the logarithmic measure is solid and the plain one "
            "dashed; SCCT and SCT, FE and RSP share a colour too. The ring marks this run.",
        )
        if known is not None:
            summary += f" Over all p the best of {len(result.families)} families is {result.ranking()[0]}."
    if known is not None and _has_pairs(known):
        metrics["area_under_reject_curve"] = reject_auc(estimator.distance_, known)
        pictures["reject_curve"] = Picture(
            _draw_reject(estimator, known),
            "Of the pairs nearer than a threshold: the share of all pairs of one class against that of pairs of two classes. The "
            "nearer the upper left corner, the better the distance tells classes apart.",
        )
    return Outcome(estimator, summary, metrics, arrays, tables, pictures)


_CAPTION = "The graph and its clusters; edges between clusters are grey."
_WRONG = " Rings: nodes whose class is not that of their cluster's majority, clusters and classes matched one to one."


def _misplaced(known: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Nodes off the best one-to-one matching of clusters and classes."""
    counts = contingency_matrix(known, labels)
    rows, columns = linear_sum_assignment(-counts)
    matched = np.full(counts.shape[1], -1)
    matched[columns] = rows
    return matched[labels] != np.unique(known, return_inverse=True)[1]


def _has_pairs(known: np.ndarray) -> bool:
    """Whether there are pairs of one class and pairs of two."""
    return 1 < len(np.unique(known)) < len(known)


def _compare(
    estimator: ProximityClustering, shared: Spectra, labels: np.ndarray, known: np.ndarray | None, context: Context
) -> Study:
    """Thirteen families, and this run's own; without classes the run's clusters stand in, and only modularity is read."""
    families = STUDY_FAMILIES if estimator.family in STUDY_FAMILIES else (estimator.family, *STUDY_FAMILIES)
    return study(
        [shared],
        [labels if known is None else known],
        families=families,
        n_parameters=estimator.n_parameters,
        device=estimator.device,
        progress=context.progress,
        checkpoint_dir=context.checkpoint_dir,
    )


def _family_table(result: Study, is_known: bool) -> pd.DataFrame:
    modularity = result.modularities[0]
    columns: dict[str, Any] = {"family": result.families}
    if is_known:
        columns |= {"best ARI over p": result.family_scores, "p": result.best_p}
    columns |= {
        "largest modularity": modularity.max(axis=1),
        "p of largest modularity": result.grid[modularity.argmax(axis=1)],
    }
    if is_known:
        columns["ARI there"] = result.chosen_scores[0]
    by = "best ARI over p" if is_known else "largest modularity"
    return pd.DataFrame(columns).sort_values(by, ascending=False, kind="stable", ignore_index=True)


def _draw_graph(graph: Graph, labels: np.ndarray, wrong: np.ndarray | None) -> Figure:
    figure, axes = new_figure(width=6.4, height=5.6)
    draw_clusters(axes[0, 0], graph.adjacency, labels, wrong=wrong, names=graph.names)
    return figure


def _draw_families(result: Study, is_known: bool, estimator: ProximityClustering) -> Figure:
    values = result.scores[0] if is_known else result.modularities[0]
    figure, axes = new_figure(width=7.2, height=4.2)
    pairs = (
        ("logComm", "Comm"),
        ("logHeat", "Heat"),
        ("logFor", "For"),
        ("Walk", "pWalk"),
        ("SCCT", "SCT"),
        ("FE", "RSP"),
    )
    for color, (log, plain) in zip(COLORS, pairs):
        for family, style in ((log, "-"), (plain, "--")):
            axes[0, 0].plot(result.grid, values[result.families.index(family)], style, color=color, label=family)
    alone = [family for family in result.families if not any(family in pair for pair in pairs)]
    for family, style in zip(alone, ("-", ":")):
        axes[0, 0].plot(result.grid, values[result.families.index(family)], style, color="black", label=family)
    if estimator.p_ is not None:
        own = estimator.modularity_
        if is_known:
            own = float(np.interp(estimator.p_, result.grid, values[result.families.index(estimator.family)]))
        axes[0, 0].plot(estimator.p_, own, "o", color="black", fillstyle="none", markersize=12, label="this run")
    axes[0, 0].set(xlabel="p", ylabel="ARI with the known classes" if is_known else "modularity of the clusters")
    axes[0, 0].legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    return figure


def _draw_reject(estimator: ProximityClustering, known: np.ndarray) -> Figure:
    curve = reject_curve(estimator.distance_, known)
    figure, axes = new_figure(width=4.8, height=4.2)
    area = reject_auc(estimator.distance_, known)
    axes[0, 0].plot(np.linspace(0, 1, len(curve)), curve, label=f"{estimator.family}, area {area:.2f}")
    axes[0, 0].plot([0, 1], [0, 1], ":", color="black", label="chance, area 0.50")
    axes[0, 0].set(xlabel="share of pairs of two classes", ylabel="share of pairs of one class")
    axes[0, 0].legend(loc="lower right")
    return figure

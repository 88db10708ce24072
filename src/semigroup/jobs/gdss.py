"""Learn to generate graphs or molecules from a file, and measure the new ones beside graphs that were held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import torch

from semigroup.base import numpy_generator
from semigroup.data.files import read_arrays, read_graph, read_table
from semigroup.data.graph_sets import GraphSet, as_graph_set
from semigroup.data.small_graphs import erdos_renyi_like, two_community_graphs
from semigroup.graphs.gdss import (
    GDSS,
    NothingGenerated,
    elements_of_smiles,
    graph_mmd,
    graph_statistics,
    nspdk_mmd,
)
from semigroup.jobs import Context, Outcome, Picture
from semigroup.report.drawing import draw_clusters
from semigroup.report.figures import COLORS, new_figure

__all__ = ["GraphList", "perform", "read"]

N_SHOWN = 6


@dataclass(frozen=True)
class GraphList:
    """Graphs to learn from: SMILES, or graphs."""

    smiles: list[str] | None
    graphs: GraphSet

    def __len__(self) -> int:
        return len(self.graphs)

    def part(self, index: np.ndarray) -> Any:
        """Some of them, in the form that the estimator takes."""
        return self.graphs.select(index) if self.smiles is None else [self.smiles[i] for i in index]


def read(files: Sequence[Path]) -> GraphList:
    """A table with a column ``smiles``; an npz of graphs laid end to end; or several files with one graph each.

    The npz holds ``n_nodes`` and ``n_edges`` of each graph, ``edge_src`` and ``edge_dst`` (numbers inside the graph, each
    edge once) and, where there are types, ``node_type`` and ``edge_type`` (1, 2, ...). Without files: 100 random graphs
    of two communities.
    """
    if not files:
        return GraphList(None, two_community_graphs(100, random_state=0))
    if len(files) > 1:
        return _enough(
            GraphList(None, as_graph_set([read_graph(path).adjacency for path in files], allow_loops=False)), files[0]
        )
    path = files[0]
    if path.suffix.lower() in (".npz", ".npy", ".h5", ".hdf5"):
        return _enough(GraphList(None, _graphs_of_arrays(read_arrays(path), str(path))), path)
    table = read_table(path)
    columns = {str(column).lower(): column for column in table.columns}
    if "smiles" not in columns:
        raise ValueError(f"{path}: needs a column 'smiles'; it has {', '.join(map(str, table.columns))}")
    smiles = table[columns["smiles"]].astype(str).tolist()
    return _enough(GraphList(smiles, elements_of_smiles(smiles, f"{path}: smiles")[0]), path)


def _enough(found: GraphList, path: Path) -> GraphList:
    if len(found) < 10:
        raise ValueError(f"{path}: at least 10 graphs are needed to learn from and compare with, got {len(found)}")
    return found


def _graphs_of_arrays(arrays: dict[str, np.ndarray], name: str) -> GraphSet:
    wanted = ("n_nodes", "n_edges", "edge_src", "edge_dst")
    missing = [key for key in wanted if key not in arrays]
    if missing:
        raise ValueError(f"{name}: needs the arrays {', '.join(wanted)}; {', '.join(missing)} missing")
    n_nodes, n_edges, source, target = (torch.from_numpy(arrays[key].astype(np.int64)) for key in wanted)
    if len(n_nodes) != len(n_edges) or not len(source) == len(target) == int(n_edges.sum()):
        raise ValueError(f"{name}: n_nodes, n_edges, edge_src and edge_dst do not agree in length")
    graph = torch.arange(len(n_nodes)).repeat_interleave(n_edges)
    limit = n_nodes[graph]
    if len(source) and bool(((source >= limit) | (target >= limit) | (source < 0) | (target < 0)).any()):
        raise ValueError(f"{name}: edge_src and edge_dst must be numbers of nodes of the same graph")
    ends = torch.stack([source, target]) + (n_nodes.cumsum(0) - n_nodes)[graph]
    types: dict[str, Any] = {}
    for key, field, repeats in (("node_type", "node_features", 1), ("edge_type", "edge_features", 2)):
        if key in arrays:
            types[field] = torch.from_numpy(arrays[key].astype(np.int64)).repeat(repeats)[:, None]
    order = torch.argsort(graph.repeat(2), stable=True)
    both = torch.cat([ends, ends.flip(0)], dim=1)[:, order]
    if "edge_features" in types and len(types["edge_features"]) == len(order):
        types["edge_features"] = types["edge_features"][order]
    return as_graph_set(GraphSet(n_nodes, both, **types), name, allow_loops=False)


def perform(estimator: GDSS, data: GraphList, context: Context) -> Outcome:
    """Fit on four fifths of the graphs, generate as many as the rest, and compare all three."""
    order = numpy_generator(estimator.random_state).permutation(len(data))
    n_test = max(2, len(data) // 5)
    test, training = data.part(order[:n_test]), data.part(order[n_test:])
    estimator.fit(training, checkpoint_dir=context.checkpoint_dir, resume=context.resume, progress=context.progress)
    try:
        measured, generated = estimator.evaluate(test, return_generated=True)
    except NothingGenerated as reason:  # what the training took hours for is kept
        return Outcome(
            model=estimator,
            summary=f"Learnt from {len(training)} graphs or molecules, and nothing could be compared: {reason}.",
            metrics={"n_training": float(len(training)), "n_generated": 0.0, "last_loss": float(estimator.losses_[-1])},
            arrays={"losses": estimator.losses_},
            pictures={"training": _draw_training(estimator)},
        )
    smiles = None
    if data.smiles is not None:
        smiles = [text for text in generated if text]
        generated = elements_of_smiles(smiles)[0]
    held_out, learnt = data.graphs.select(order[:n_test]), data.graphs.select(order[n_test:])
    random_graphs = erdos_renyi_like(held_out, random_state=estimator.random_state)
    baseline = graph_mmd(held_out, random_graphs)
    floor = graph_mmd(held_out, learnt)
    metrics = {f"{name}_mmd": measured[name] for name in floor}
    metrics |= {f"{name}_mmd_of_the_training_graphs": value for name, value in floor.items()}
    metrics |= {f"{name}_mmd_of_random_graphs": value for name, value in baseline.items()}
    metrics |= {name: value for name, value in measured.items() if name not in floor}
    if smiles is not None:
        metrics["nspdk_of_the_training_graphs"] = nspdk_mmd(test, training)
    metrics |= {"n_training": float(len(learnt)), "n_generated": float(len(generated))}
    kind = "molecules" if smiles is not None else "graphs"
    summary = (
        f"Learnt from {len(learnt)} {kind}; of {len(generated)} new ones {100 * measured['uniqueness']:.0f} % are "
        f"distinct and "
        f"{100 * measured['novelty']:.0f} % in no training graph. Squared distance to held-out {kind} in degrees, "
        f"clustering and "
        f"orbits: {', '.join(f'{measured[name]:.3f}' for name in ('degree', 'clustering', 'orbit'))}; random graphs "
        f"of their "
        f"densities: {', '.join(f'{baseline[name]:.3f}' for name in ('degree', 'clustering', 'orbit'))}."
    )
    if smiles is not None:
        summary += f" Valid without correction: {100 * measured['validity_without_correction']:.0f} %."
    tables = {"molecules": pd.DataFrame({"smiles": smiles})} if smiles is not None else {}
    return Outcome(
        model=estimator,
        summary=summary,
        metrics=metrics,
        arrays={
            "n_nodes": generated.n_nodes.numpy(),
            "n_edges": (generated.n_edges // 2).numpy(),
            **_edges_once(generated),
        },
        tables=tables,
        pictures={
            "samples": _draw_samples(learnt, generated),
            "statistics": _draw_statistics(held_out, generated, random_graphs),
            "training": _draw_training(estimator),
        },
    )


def _edges_once(graphs: GraphSet) -> dict[str, np.ndarray]:
    """The arrays of `read`'s npz beside the counts."""
    once = graphs.edge_index[0] < graphs.edge_index[1]
    ends = graphs.edge_index[:, once] - graphs.node_start[graphs.batch[graphs.edge_index[0, once]]]
    arrays = {"edge_src": ends[0].numpy(), "edge_dst": ends[1].numpy()}
    if graphs.node_features is not None:
        arrays["node_type"] = graphs.node_features[:, 0].numpy()
    if graphs.edge_features is not None:
        arrays["edge_type"] = graphs.edge_features[once, 0].numpy()
    return arrays


def _draw_samples(learnt: GraphSet, generated: GraphSet) -> Picture:
    n = min(N_SHOWN, len(learnt), len(generated))
    figure, axes = new_figure(2, n, width=1.7 * n, height=3.8)
    for row, (graphs, name) in enumerate(((learnt, "training"), (generated, "generated"))):
        for column in range(n):
            ax, one = axes[row, column], graphs.select([column])
            adjacency = one.adjacency()
            places = nx.spring_layout(nx.from_scipy_sparse_array(adjacency), seed=0)
            positions = np.array([places[node] for node in range(adjacency.shape[0])])
            spread = positions.max(0) - positions.min(0)
            positions = (positions - positions.min(0)) / np.where(spread > 0, spread, 1)  # fills its square
            draw_clusters(ax, adjacency, np.full(len(positions), row), positions=positions)
            ax.set_title(name if column == 0 else "", loc="left")
    return Picture(figure, "The first training graphs, and the first generated ones.")


def _draw_statistics(held_out: GraphSet, generated: GraphSet, random_graphs: GraphSet) -> Picture:
    figure, axes = new_figure(1, 3, width=10.5, height=3.2)
    styles = (("held out", COLORS[6], "-"), ("generated", COLORS[0], "--"), ("random graphs", COLORS[1], ":"))
    for graphs, (name, color, style) in zip((held_out, generated, random_graphs), styles):
        degrees = graph_statistics(graphs, "degree").mean(0)
        axes[0, 0].plot(degrees, color=color, linestyle=style, marker="o", markersize=3, label=name)
        clustering = graph_statistics(graphs, "clustering").mean(0).cumsum()
        axes[0, 1].step(np.linspace(0, 1, 101)[1:], clustering, color=color, linestyle=style, label=name)
        orbits = graph_statistics(graphs, "orbit").mean(0)
        axes[0, 2].plot(orbits, color=color, linestyle=style, marker="o", markersize=3, label=name)
    axes[0, 0].set(xlabel="degree", ylabel="fraction of nodes")
    axes[0, 1].set(xlabel="clustering coefficient", ylabel="fraction of nodes below")
    axes[0, 2].set(xlabel="graphlet orbit", ylabel="mean count a node")
    axes[0, 2].set_yscale("symlog", linthresh=1)
    axes[0, 1].legend(loc="upper left")
    axes[0, 1].set(ylim=(0, 1.45), yticks=np.linspace(0, 1, 6))
    return Picture(
        figure,
        "Means over the graphs: degrees, clustering coefficients, and how often a node takes each of the 15 places in "
        "connected "
        "subgraphs of up to four nodes; random graphs have the sizes and densities of the held-out ones.",
    )


def _draw_training(estimator: GDSS) -> Picture:
    figure, axes = new_figure(width=5.6, height=3.2)
    parts = np.array_split(estimator.losses_, min(100, len(estimator.losses_)))
    steps = np.cumsum([len(part) for part in parts])
    axes[0, 0].plot(steps, [part.mean() for part in parts], color=COLORS[0])
    axes[0, 0].set(xlabel="training step", ylabel="loss, nodes and edges together", ylim=(0, None))
    return Picture(figure, "Denoising loss of both networks during the training, averaged over hundredths of it.")

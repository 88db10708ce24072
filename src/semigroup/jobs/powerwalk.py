"""PowerWalk on a user's graph: an index, the top of each query's ranking, and how exact it is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from semigroup.base import numpy_generator
from semigroup.data.datasets import shipped
from semigroup.data.files import read_graph, read_lines
from semigroup.graphs.powerwalk import PowerWalk, sample_fingerprints
from semigroup.jobs import Context, Outcome, Picture
from semigroup.operators import Graph
from semigroup.operators.pagerank import exact_pagerank
from semigroup.report.figures import COLORS, new_figure

__all__ = ["Queries", "perform", "political_blogs", "read"]

_EXACT_UP_TO = 2_000_000  # edges: up to here the truth of a few queries is a matter of seconds
_N_JUDGED = 30


@dataclass(frozen=True)
class Queries:
    """A graph and the nodes that ask; None asks for ten nodes with the most out-edges."""

    graph: Graph
    sources: list[Any] | None = None


def political_blogs() -> Graph:
    """The hyperlinks between political weblogs in 2004, as they point; nodes are the blogs' addresses."""
    data = shipped("polblogs.npz")
    source, target = data["edges"].astype(np.int64).T
    n = len(data["nodes"])
    return Graph(sp.csr_array(sp.coo_array((np.ones(len(source)), (source, target)), shape=(n, n))), data["nodes"])


def read(files: Sequence[Path]) -> Queries:
    """A graph, and a text file with one query node a line; without files, the political blogs of 2004.

    Edges keep their direction; ``directed=False`` of the estimator adds their reverse.
    """
    if not files:
        return Queries(political_blogs(), ["dailykos.com", "instapundit.com", "andrewsullivan.com", "talkleft.com"])
    if len(files) > 2:
        raise ValueError(f"data takes a graph and optionally a file of query nodes, got {len(files)} files")
    graph = read_graph(files[0], directed=True)
    if len(files) == 1:
        return Queries(graph)
    path = Path(files[1])
    names: list[Any] = [line.strip() for line in read_lines(path) if line.strip()]
    if not names:
        raise ValueError(f"{path}: no query node in it")
    if graph.nodes is None:
        try:
            names = [int(name) for name in names]
        except ValueError as error:
            raise ValueError(f"{path}: the nodes of {files[0]} are numbers: {error}") from error
    graph.index(names, str(path))
    return Queries(graph, names)


def perform(estimator: PowerWalk, data: Queries, context: Context) -> Outcome:
    """Build the index, rank for each query, and compare with the exact answer where the graph is small enough."""
    PowerWalk(n_walks=1).fit(Graph(sp.csr_array([[0.0, 1.0], [1.0, 0.0]])))  # compiles, which is not the index's time
    start = time.perf_counter()
    estimator.fit(data.graph, progress=context.progress, checkpoint_dir=context.checkpoint_dir)
    index_seconds = time.perf_counter() - start
    graph = estimator.graph_
    n = graph.n_nodes
    out_degree = np.diff(estimator.transitions_.indptr)
    busiest = np.argsort(-out_degree, kind="stable")[:10]
    sources = list(graph.names[busiest]) if data.sources is None else data.sources
    k = min(20, n)
    ranking = estimator.top_k(sources, k)

    # A larger batch for the time a query, warmed up by the ranking above.
    generator = numpy_generator(0)
    batch = graph.names[generator.choice(n, min(n, 1000), replace=False)]
    start = time.perf_counter()
    estimator.top_k(batch, k)
    query_seconds = time.perf_counter() - start
    index = estimator.index_
    metrics = {
        "n_nodes": float(n),
        "n_edges": float(len(estimator.transitions_.indices)),
        "n_sinks": float((out_degree == 0).sum()),
        "index_seconds": index_seconds,
        "index_MB": 0.0 if index is None else index.nbytes / 1e6,
        "index_entries_per_vertex": 0.0 if index is None else index.entries_per_vertex,
        "milliseconds_per_query_in_a_batch": 1e3 * query_seconds / len(batch),
    }
    table = pd.DataFrame(
        {
            "source": np.repeat(np.asarray(sources, dtype=object), k),
            "rank": np.tile(np.arange(1, k + 1), len(sources)),
            "node": ranking.nodes.ravel(),
            "score": ranking.scores.ravel(),
        }
    )
    table = table[table["score"] > 0]
    summary = (
        f"Personalised PageRank (reset probability {estimator.alpha:g}) on {n} vertices and "
        f"{len(estimator.transitions_.indices)} edges: the index took {index_seconds:.2f} s and {metrics['index_MB']:.1f} MB, "
        f"a query in a batch of {len(batch)} {metrics['milliseconds_per_query_in_a_batch']:.2f} ms."
    )
    pictures: dict[str, Picture] = {}
    truth: np.ndarray | None = None
    if len(estimator.transitions_.indices) <= _EXACT_UP_TO:
        truth = _exact(estimator, graph.index(sources[:1], "sources"))[0]
        errors, walks_alone = _errors_by_rounds(estimator, generator)
        at_work = errors["PowerWalk"][estimator.n_steps]
        metrics["L1_error"] = at_work
        summary += f" Its L1 error to the exact answer is {at_work:.3f} (mean over random queries)"
        if 0 in errors["PowerWalk"]:
            metrics["L1_error_of_the_fingerprint_alone"] = errors["PowerWalk"][0]
            summary += f"; one fingerprint alone has {errors['PowerWalk'][0]:.3f}"
        summary += "."
        pictures["accuracy"] = Picture(
            _draw_errors(estimator, errors, walks_alone),
            "Error of the answer against the rounds of decomposition, mean over random queries; the ring marks this run. "
            "T = 0 is the fingerprint of the source alone. Without the index up to a mass of (1-alpha)^T, dotted, is missing, "
            "and the rest is scaled up to one, so that the error can be larger. What remains of the error at large T is due to "
            f"the flows below eps = {estimator.eps:g}.",
        )
    pictures["ranking"] = Picture(
        _draw_ranking(sources[0], ranking.nodes[0], ranking.scores[0], graph, truth),
        f"The vertices that matter most to {sources[0]}, itself left out, and their scores.",
    )
    return Outcome(
        model=estimator,
        summary=summary,
        metrics=metrics,
        arrays={"top_vertices": _numbers(graph, ranking.nodes), "top_scores": ranking.scores},
        tables={"ranking": table},
        pictures=pictures,
    )


def _numbers(graph: Graph, nodes: np.ndarray) -> np.ndarray:
    """Row numbers of names, -1 where there is none."""
    if graph.nodes is None:
        return nodes
    reached = np.array([[node is not None for node in row] for row in nodes])
    numbers = np.full(nodes.shape, -1)
    numbers[reached] = graph.index(nodes[reached].astype(str))
    return numbers


def _exact(estimator: PowerWalk, numbers: np.ndarray) -> np.ndarray:
    """The truth on the graph that the estimator walked on."""
    return exact_pagerank(estimator.transitions_.matrix, numbers, estimator.alpha, dangling=estimator.dangling)


def _errors_by_rounds(
    estimator: PowerWalk, generator: np.random.Generator
) -> tuple[dict[str, dict[int, float]], float]:
    """Mean L1 error over random queries for each number of rounds, with the index and without; and of ten times the walks."""
    asking = np.flatnonzero(np.diff(estimator.transitions_.indptr))
    chosen = generator.choice(asking, min(len(asking), _N_JUDGED), replace=False)
    names = estimator.graph_.names[chosen]
    truth = _exact(estimator, chosen)
    given = {name: getattr(estimator, name) for name in ("n_steps", "use_index")}
    errors: dict[str, dict[int, float]] = {}
    rounds = sorted({*range(7), estimator.n_steps})
    try:
        for label, use_index in (("PowerWalk", estimator.use_index), ("without index", False)):
            errors[label] = {}
            for n_steps in rounds[0 if use_index else 1 :]:
                answer = estimator.set_params(n_steps=n_steps, use_index=use_index).transform(names).toarray()
                errors[label][n_steps] = float(np.abs(answer - truth).sum(axis=1).mean())
    finally:
        estimator.set_params(**given)
    walked = sample_fingerprints(
        estimator.transitions_, chosen, alpha=estimator.alpha, n_walks=10 * estimator.n_walks, seed=1
    )
    alone = sp.csr_array((walked.values, walked.indices, walked.indptr), shape=truth.shape).toarray()
    alone /= alone.sum(axis=1, keepdims=True)
    return errors, float(np.abs(alone - truth / truth.sum(axis=1, keepdims=True)).sum(axis=1).mean())


def _draw_errors(estimator: PowerWalk, errors: dict[str, dict[int, float]], walks_alone: float) -> Any:
    figure, axes = new_figure(width=6.8)
    axis = axes[0, 0]
    for (label, values), marker, style in zip(errors.items(), "os", ("-", "--")):
        axis.semilogy(list(values), list(values.values()), marker=marker, linestyle=style, label=label)
    at_work = errors["PowerWalk"][estimator.n_steps]
    axis.plot(estimator.n_steps, at_work, "o", color="k", fillstyle="none", markersize=12, label="this run")
    rounds = [0, *errors["without index"]]
    axis.semilogy(
        rounds,
        [(1 - estimator.alpha) ** t for t in rounds],
        color=COLORS[-1],
        linestyle=":",
        label=r"$(1-\alpha)^T$, mass that still moves",
    )
    axis.axhline(walks_alone, color=COLORS[2], linestyle="-.", label=f"{10 * estimator.n_walks} walks a query alone")
    axis.set(xlabel="rounds of decomposition T", ylabel="L1 error to the exact answer")
    axis.legend(loc="upper left", bbox_to_anchor=(1.02, 1), fontsize="small")
    return figure


def _draw_ranking(source: Any, nodes: np.ndarray, scores: np.ndarray, graph: Graph, truth: np.ndarray | None) -> Any:
    shown = (scores > 0) & (nodes != source)  # the source need not be the first where many edges come back to another
    nodes, scores = nodes[shown][:15], scores[shown][:15]
    figure, axes = new_figure(width=6.4, height=0.6 + 0.26 * max(len(nodes), 3))
    axis = axes[0, 0]
    height = np.arange(len(nodes))
    if truth is not None:
        exact = truth[graph.index(nodes)] if len(nodes) else []
        axis.barh(height, exact, color="#d0d0d0", label="exact")
    axis.plot(scores, height, "o", color=COLORS[0], label="PowerWalk")
    axis.set_yticks(height, [str(node) for node in nodes])
    axis.invert_yaxis()
    axis.set(xlabel=f"personalised PageRank from {source} (itself left out)")
    axis.legend(loc="lower right", frameon=False)
    return figure

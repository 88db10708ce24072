"""PowerWalk beside igraph, scikit-network and networkx: time, error and memory of personalised PageRank.

    pip install 'semigroup[peers]'
    python benchmarks/bench_powerwalk.py

Two graphs: the shipped political blogs, and an R-MAT graph of ten million edges. Everybody answers the same queries on one
thread; ratios are to PowerWalk's time in the large batch. Errors are L1 distances to the exact vector under the dangling policy
that the library comes closest to, which is named, because the libraries disagree on it. PowerWalk's compilation is not timed; its
index is, in a line of its own. The quality stands beside each time, because it is not the same: the peers are exact, and
PowerWalk with few walks on a large graph is far from it.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from semigroup.data.random_graphs import rmat
from semigroup.graphs.powerwalk import PowerWalk
from semigroup.jobs.powerwalk import political_blogs
from semigroup.operators import transition_matrix
from semigroup.operators.pagerank import exact_pagerank, forward_push, restore_mass, uniform_answer

__all__ = ["main"]

ALPHA = 0.15
Query = Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Case:
    """A graph, its queries, and the truth for the first of them under each policy."""

    name: str
    graph: sp.csr_array
    queries: np.ndarray
    truth: dict[str, np.ndarray]


def make_case(name: str, graph: sp.csr_array, n_queries: int, n_judged: int) -> Case:
    """Queries among the vertices that can move."""
    moving = np.flatnonzero(np.diff(graph.indptr))
    queries = np.random.default_rng(0).choice(moving, n_queries, replace=n_queries > len(moving))
    # One power iteration gives two policies.
    killed = exact_pagerank(graph, queries[:n_judged], ALPHA, dangling="kill", tol=1e-8)
    background = uniform_answer(transition_matrix(graph), ALPHA, tol=1e-8)
    truth = {p: restore_mass(killed, p, background=background) for p in ("source", "uniform")}
    return Case(name, graph, queries, truth)


def peak_memory() -> float:
    """Largest resident size of this process so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def judge(answers: np.ndarray, case: Case) -> tuple[float, float, str]:
    """Least mean L1 error over the policies, the overlap with the true top 100 there, and the policy."""
    errors = {p: np.abs(answers - t[: len(answers)]).sum(axis=1).mean() for p, t in case.truth.items()}
    policy = min(errors, key=lambda p: errors[p])
    k = min(100, answers.shape[1])
    overlaps = []
    for found, exact in zip(answers, case.truth[policy]):
        best = np.argsort(-exact, kind="stable")[:k]
        best = best[exact[best] > 0]  # a source may reach fewer
        overlaps.append(len(np.intersect1d(best, np.argsort(-found, kind="stable")[:k])) / len(best))
    overlap = np.mean(overlaps)
    return float(errors[policy]), float(overlap), policy


def peers(case: Case, with_networkx: bool) -> dict[str, Query]:
    """The other libraries' exact or iterative answers; those that are not installed are named."""
    made: dict[str, Query] = {}
    graph = case.graph
    if importlib.util.find_spec("igraph"):
        import igraph

        ends = np.column_stack(graph.nonzero()).astype(np.int64)
        network = igraph.Graph(n=graph.shape[0], edges=ends, directed=True)
        made["igraph (PRPACK)"] = lambda s: np.array(network.personalized_pagerank(damping=1 - ALPHA, reset_vertices=s))
    if importlib.util.find_spec("sknetwork"):
        from sknetwork.ranking import PageRank

        binary = sp.csr_matrix(graph)
        ranker = PageRank(damping_factor=1 - ALPHA, solver="piteration", n_iter=200, tol=1e-9)
        made["scikit-network"] = lambda s: ranker.fit_predict(binary, weights={s: 1})
    if with_networkx:
        import networkx as nx

        network_x = nx.from_scipy_sparse_array(graph, create_using=nx.DiGraph)

        def ask_networkx(source: int) -> np.ndarray:
            scores = nx.pagerank(network_x, alpha=1 - ALPHA, personalization={source: 1}, tol=1e-12, max_iter=500)
            return np.array([scores[node] for node in range(graph.shape[0])])

        made["networkx"] = ask_networkx
    for module, peer in (("igraph", "igraph"), ("sknetwork", "scikit-network")):
        if importlib.util.find_spec(module) is None:
            print(f"{peer} is not installed, skipped")
    return made


def line(
    name: str, ms: float, quality: tuple[float, float, str] | None = None, ratio: str = "", note: str = ""
) -> None:
    """One row of the table."""
    error, overlap, policy = ("", "", "") if quality is None else (f"{quality[0]:.1e}", f"{quality[1]:.3f}", quality[2])
    print(f"  {name:<30}{ms:>12.3f}  {error:>8}  {overlap:>7}  {policy:<8}{ratio:>11}  {note}".rstrip())


def bench(case: Case, *, n_walks: int, n_peer_queries: int, with_networkx: bool) -> None:
    """One graph."""
    n, n_edges = case.graph.shape[0], case.graph.nnz
    before = peak_memory()
    began = time.perf_counter()
    model = PowerWalk(alpha=ALPHA, n_walks=n_walks, random_state=0, n_jobs=1).fit(case.graph)
    index_seconds = time.perf_counter() - began
    index = model.index_
    assert index is not None
    print(f"\n{case.name}: {n} vertices, {n_edges} edges, {(np.diff(case.graph.indptr) == 0).sum()} sinks")
    print(
        f"  PowerWalk's index, R = {n_walks}: {index_seconds:.2f} s, {index.nbytes / 1e6:.0f} MB, "
        f"{index.entries_per_vertex:.0f} entries a vertex"
    )
    print(
        f"  {'':<30}{'ms a query':>12}  {'L1 error':>8}  {'top 100':>7}  {'policy':<8}{'/PowerWalk':>11}  index pays after"
    )
    judged = case.queries[: len(next(iter(case.truth.values())))]
    quality = judge(model.transform(judged).toarray(), case)
    taken: dict[int, float] = {}
    for batch in (1, 100, len(case.queries)):
        asked = case.queries[:batch]
        repeats = 20 if batch == 1 else 1
        began = time.perf_counter()
        for place in range(repeats):
            model.top_k(asked if batch > 1 else case.queries[place], min(100, n))
        taken[batch] = 1e3 * (time.perf_counter() - began) / (batch * repeats)
        line(f"PowerWalk, batch of {batch}", taken[batch], quality)
    ours = taken[len(case.queries)]
    with_index = peak_memory()
    walk = transition_matrix(case.graph)
    began = time.perf_counter()
    pushed = np.array([forward_push(walk, int(s), ALPHA, eps=1e-7)[0] for s in judged[:n_peer_queries]])
    ms = 1e3 * (time.perf_counter() - began) / len(pushed)
    line(
        "forward push, eps 1e-7 (ours)", ms, judge(pushed / pushed.sum(axis=1, keepdims=True), case), f"{ms / ours:.1f}"
    )
    for name, ask in peers(case, with_networkx).items():
        began = time.perf_counter()
        answers = np.array([ask(int(s)) for s in judged[:n_peer_queries]])
        ms = 1e3 * (time.perf_counter() - began) / len(answers)
        break_even = f"{np.ceil(1e3 * index_seconds / (ms - ours)):.0f} queries" if ms > ours else "never"
        line(name, ms, judge(answers, case), f"{ms / ours:.1f}", break_even)
    print(
        f"  peak memory of the process: {before:.2f} GB with graph and truth, {with_index:.2f} GB with index and queries, "
        f"{peak_memory():.2f} GB with the peers"
    )


def main(arguments: list[str] | None = None) -> None:
    """Run both graphs and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log2-nodes", type=int, default=20, help="R-MAT graph: vertices as a power of two")
    parser.add_argument("--edges", type=int, default=10_500_000, help="R-MAT graph: edges drawn (repeats are merged)")
    parser.add_argument("--queries", type=int, default=10_000, help="queries in the large batch")
    parser.add_argument("--walks", type=int, default=16, help="walks a vertex on the R-MAT graph")
    parser.add_argument("--networkx", action="store_true", help="networkx on the R-MAT graph too: minutes and 8 GB")
    options = parser.parse_args(arguments)
    # Everything is compiled on a small graph before it is timed.
    tiny = PowerWalk(n_walks=1).fit(sp.csr_array([[0.0, 1.0], [1.0, 0.0]]))
    tiny.top_k([0, 1], 1)
    forward_push(tiny.graph_.adjacency, 0)
    blogs = make_case("political blogs", political_blogs().adjacency, options.queries, 20)
    bench(blogs, n_walks=100, n_peer_queries=20, with_networkx=True)
    began = time.perf_counter()
    graph = rmat(options.log2_nodes, options.edges, random_state=0)
    print(f"\nR-MAT graph drawn in {time.perf_counter() - began:.1f} s")
    large = make_case("R-MAT", graph, options.queries, 4)
    bench(large, n_walks=options.walks, n_peer_queries=2, with_networkx=options.networkx)


if __name__ == "__main__":
    main()

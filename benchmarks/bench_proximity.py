"""Proximity measures: a sweep over parameters beside each kernel computed anew, and the clusters beside those of the peers.

    pip install 'semigroup[peers]'
    python benchmarks/bench_proximity.py

Everything runs on one thread. The first table sweeps the thirteen families of the study over p on one graph; beside the shared
decompositions stand the formulas by NumPy and SciPy as a user would write them (`inv`, `expm`, `pinv`, `shortest_path`), for each
family and p from the adjacency matrix, and this library's own functions when nothing is shared. Where a sweep of the formulas
would take minutes, part of its p are timed and scaled up. The largest difference of the distances, relative to the largest
distance, says that both sides compute the same, for 0.1 < p < 0.8: nearer the ends the formulas take logarithms of rounding
errors, and some distances vanish. The second table times every family on 1000 nodes, the third NetworkX's functions beside ours,
the fourth clusters graphs of known classes by the defaults of each library: p is chosen by modularity, and the number of
clusters is given to those that take one.
"""

from __future__ import annotations

import argparse
import random
import time
import warnings
from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import scipy.linalg
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import shortest_path
from sklearn.cluster import SpectralClustering
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from semigroup.base import require
from semigroup.data.community_graphs import community_graph
from semigroup.data.random_graphs import planted_partition
from semigroup.graphs.proximity import (
    FAMILIES,
    STUDY_FAMILIES,
    ProximityClustering,
    Spectra,
    communicability,
    cut_tree,
    parameter_grid,
    proximity,
    ward_tree,
)

__all__ = ["main"]


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and result."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def by_formula(A: np.ndarray, family: str, p: float) -> np.ndarray:
    """A family's distance from the adjacency matrix, as its formula reads."""
    degree = A.sum(axis=1)
    eye, L, volume = np.eye(len(A)), np.diag(degree) - A, degree.sum()
    t, beta = p / 2 / (1 - p), (1 - p) / p
    if family in ("RSP", "FE"):
        with np.errstate(divide="ignore"):
            cost = np.where(A > 0, 1 / A, 0)
        W = A / degree[:, None] * np.exp(-beta * cost)
        Z = np.linalg.inv(eye - W)
        if family == "FE":
            one_way = -np.log(Z / np.diag(Z)) / beta
        else:
            S = (Z @ (cost * W) @ Z) / Z
            one_way = S - np.diag(S)
        return (one_way + one_way.T) / 2
    if family == "SP-CT":
        paths = shortest_path(sp.csr_array(np.divide(1, A, out=np.zeros_like(A), where=A > 0)), directed=False)
        pinv = np.linalg.pinv(L)
        times = volume * (np.diag(pinv)[:, None] + np.diag(pinv) - 2 * pinv)
        return p * paths / paths.mean() + (1 - p) * times / times.mean()
    if family in ("pWalk", "Walk"):
        kernel = np.linalg.inv(eye - p / np.linalg.eigvalsh(A)[-1] * A)
    elif family in ("For", "logFor"):
        kernel = np.linalg.inv(eye + t * L)
    elif family in ("Comm", "logComm"):
        kernel = scipy.linalg.expm(t * A - t * np.linalg.eigvalsh(A)[-1] * eye)
    elif family in ("Heat", "logHeat"):
        kernel = scipy.linalg.expm(-t * L)
    else:
        base = np.linalg.pinv(L)
        if family == "SCCT":
            root = degree**-0.5
            M = root[:, None] * (A - np.outer(degree, degree) / volume) * root
            base = root[:, None] * (M @ np.linalg.pinv(eye - M) @ M) * root
            base = base - base.mean(axis=0) - base.mean(axis=1)[:, None] + base.mean()
        kernel = 1 / (1 + np.exp(-t * base / base.std()))
    if family.startswith("log") or family == "Walk":
        kernel = np.log(kernel)
    diagonal = np.diag(kernel)
    distance = (diagonal[:, None] + diagonal - kernel - kernel.T) / 2
    return np.sqrt(np.maximum(distance, 0)) if FAMILIES[family].is_root else distance


def sweep(n_nodes: int, n_parameters: int, n_anew: int) -> None:
    """Thirteen families over p: shared, nothing shared, and by formula."""
    graph = planted_partition(n_nodes, 2, 30 / n_nodes, 10 / n_nodes, random_state=0).adjacency
    dense = graph.toarray()
    grid = parameter_grid(n_parameters)
    part = grid[((np.arange(n_anew) + 0.5) * n_parameters / n_anew).astype(int)]
    seconds = dict.fromkeys(("shared", "not shared", "by formula", "Ward"), 0.0)
    worst = 0.0
    own: dict[str, float] = {}
    formula: dict[str, float] = {}
    made, shared = timed(lambda: Spectra(graph))
    seconds["shared"] += made
    for p in grid:
        for family in STUDY_FAMILIES:
            took, measured = timed(lambda family=family, p=p: proximity(shared, family, float(p)))
            seconds["shared"] += took
            own[family] = own.get(family, 0.0) + took
            seconds["Ward"] += timed(lambda measured=measured: cut_tree(ward_tree(measured), 2))[0]
    for p in part:
        for family in STUDY_FAMILIES:
            took, measured = timed(lambda family=family, p=p: proximity(graph, family, float(p)))
            seconds["not shared"] += took * n_parameters / n_anew
            took, expected = timed(lambda family=family, p=p: by_formula(dense, family, float(p)))
            seconds["by formula"] += took * n_parameters / n_anew
            formula[family] = formula.get(family, 0.0) + took * n_parameters / n_anew
            if 0.1 < p < 0.8:
                gap = np.abs(measured.distance - expected).max() / measured.distance.max()
                worst = max(worst, float(gap))
    print(f"\n{n_nodes} nodes, 13 families, {n_parameters} values of p ({n_anew} of them timed anew): seconds")
    for name, value in seconds.items():
        ratio = "" if name in ("shared", "Ward") else f"   {value / seconds['shared']:6.1f} times the shared sweep"
        print(f"  {name:12} {value:8.2f}{ratio}")
    print("  by formula over shared, family by family: ", end="")
    print(", ".join(f"{family} {formula[family] / own[family]:.1f}" for family in STUDY_FAMILIES))
    print(f"  largest difference of a distance, relative, 0.1 < p < 0.8: {worst:.1e}")


def every_family(n_nodes: int) -> None:
    """Seconds of each family alone on a new graph, and when the decompositions are there."""
    graph = planted_partition(n_nodes, 2, 30 / n_nodes, 10 / n_nodes, random_state=1).adjacency
    shared = Spectra(graph)
    alone = {family: timed(lambda family=family: proximity(graph, family, 0.6))[0] for family in FAMILIES}
    for family in FAMILIES:
        proximity(shared, family, 0.6)
    again = {family: timed(lambda family=family: proximity(shared, family, 0.5))[0] for family in FAMILIES}
    print(f"\neach family on {n_nodes} nodes: seconds alone, and after the decompositions were made")
    for start in range(0, len(FAMILIES), 7):
        print("  " + "  ".join(f"{f} {alone[f]:.2f} {again[f]:.2f}" for f in list(FAMILIES)[start : start + 7]))
    print(f"  slowest alone {max(alone.values()):.2f} s")


def beside_networkx(n_nodes: int) -> None:
    """Communicability and resistance of all pairs."""
    graph = planted_partition(n_nodes, 2, 30 / n_nodes, 10 / n_nodes, random_state=2).adjacency
    named = nx.from_scipy_sparse_array(graph)
    print(f"\nall pairs of {n_nodes} nodes: seconds, and how many times ours")
    ours, measured = timed(lambda: communicability(Spectra(graph), 1.0))
    theirs, table = timed(lambda: nx.communicability_exp(named))
    expected = np.array([[table[i][j] for j in range(n_nodes)] for i in range(n_nodes)])
    gap = np.abs(measured.numpy() * expected[0, 0] / measured[0, 0].item() - expected).max() / expected.max()
    print(f"  communicability_exp {theirs:7.2f}, ours {ours:6.3f}: {theirs / ours:6.1f} times, difference {gap:.0e}")
    ours, measured = timed(lambda: proximity(graph, "CT").distance / graph.sum())
    theirs, table = timed(lambda: nx.resistance_distance(named))
    expected = np.array([[table[i][j] for j in range(n_nodes)] for i in range(n_nodes)])
    gap = np.abs(measured - expected).max() / expected.max()
    print(f"  resistance_distance {theirs:7.2f}, ours {ours:6.3f}: {theirs / ours:6.1f} times, difference {gap:.0e}")


def clusterers(n_clusters: int) -> dict[str, Callable[[sp.csr_array], np.ndarray]]:
    """Ours and the peers', with their defaults and a seed."""
    network = require("sknetwork.clustering", "peers")
    igraph = require("igraph", "peers")

    def leiden(graph: sp.csr_array) -> np.ndarray:
        upper = sp.coo_array(sp.triu(graph, 1))
        random.seed(0)  # igraph draws from it
        made = igraph.Graph(graph.shape[0], np.stack([upper.row, upper.col], axis=1).tolist())
        parts = made.community_leiden("modularity", weights=upper.data.tolist(), n_iterations=-1)
        return np.array(parts.membership)

    def ours(family: str) -> Callable[[sp.csr_array], np.ndarray]:
        return ProximityClustering(family=family, n_clusters=n_clusters).fit_predict

    def spectral(graph: sp.csr_array) -> np.ndarray:
        model = SpectralClustering(n_clusters, affinity="precomputed", random_state=0)
        return model.fit_predict(graph.toarray())

    return {
        "logComm": ours("logComm"),
        "SCCT": ours("SCCT"),
        "logFor": ours("logFor"),
        "Comm": ours("Comm"),
        "sklearn spectral": spectral,
        "sknetwork Louvain": lambda graph: network.Louvain(random_state=0).fit_predict(sp.csr_matrix(graph)),
        "sknetwork propagation": lambda graph: network.PropagationClustering().fit_predict(sp.csr_matrix(graph)),
        "igraph Leiden": leiden,
    }


def clusters() -> None:
    """ARI and seconds on graphs of known classes."""
    names = ("karate", "football", "polbooks", "sp_school_day_1", "news_2cl1", "news_2cl3", "news_3cl1_0.1")
    print("\nclusters: ARI with the known classes (seconds)")
    print(f"  {'':22}" + "".join(f"{name:>18}" for name in names))
    rows: dict[str, list[str]] = {}
    for name in names:
        graph = community_graph(name)
        for method, function in clusterers(len(graph.class_names)).items():
            took, labels = timed(lambda function=function, graph=graph: function(graph.adjacency))
            rows.setdefault(method, []).append(f"{adjusted_rand_score(graph.labels, labels):.3f} ({took:.2f})")
    for method, cells in rows.items():
        print(f"  {method:22}" + "".join(f"{cell:>18}" for cell in cells))


def main() -> None:
    """Print the four tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller graphs and fewer parameters")
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with threadpool_limits(1):
        sweep(200 if quick else 400, 5 if quick else 13, 2 if quick else 13)
        if not quick:
            sweep(1000, 13, 2)
        every_family(300 if quick else 1000)
        beside_networkx(100 if quick else 400)
        clusters()


if __name__ == "__main__":
    main()

"""The claims of *Extending Bootstrap AMG for Clustering of Attributed Graphs* (arXiv:2109.09367), measured.

The tables of the paper were not at hand; the figures beside ours are those of the authors' program. Real graphs are those that
the authors ship; random ones are planted partitions of four classes and mean degree 8, whose attributes say the class with
some probability.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from matplotlib.figure import Figure
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.metrics import normalized_mutual_info_score
from sklearn.preprocessing import OneHotEncoder

from semigroup.base import require
from semigroup.claims import Measurement, Scale, claim
from semigroup.data.attributed_graphs import AttributedGraph, attributed_blocks, attributed_graph
from semigroup.graphs.amg_clustering import (
    BootstrapAMGClustering,
    HierarchyOptions,
    attribute_entropy,
    augment,
    bootstrap,
    encode_attributes,
    energy_norm,
    sa_cluster,
    shifted_laplacian,
)
from semigroup.operators import modularity
from semigroup.report.figures import COLORS, new_figure

__all__ = ["compare_on_blocks", "fitted_slope", "smoothed_aggregation_ratio", "spectral_labels"]

PROGRAM = "the authors' program"
FIVE = ["status", "gender", "office", "practice", "school"]
SEEDS = range(5)


def spectral_labels(adjacency: sp.csr_array, n_clusters: int, n_kept: int, seed: int) -> np.ndarray:
    """scikit-learn's spectral clustering of a graph, restricted to its first vertices."""
    model = SpectralClustering(n_clusters, affinity="precomputed", random_state=seed)
    return model.fit_predict(sp.csr_matrix(adjacency))[:n_kept]


OPTIONS = HierarchyOptions(coarse_solver="forward")
PAPER: dict[str, Any] = {"coarse_solver": "forward"}  # the other arguments are the paper's by default
_DIRECT = "fused, direct coarse solve"
_LIGHT = "fused, direct, attribute_weight=0.3"
_DIRECT_ALONE = "structure only, direct coarse solve"


def compare_on_blocks(graph: AttributedGraph, n_clusters: int, seed: int) -> dict[str, float]:
    """NMI with the truth of this method, of variants of it and of its rivals on one random graph.

    The variants solve the coarsest level of the hierarchies directly, and give attributes less weight.
    """
    adjacency, codes = graph.adjacency, graph.attributes.to_numpy()
    n = len(codes)
    joined = augment(adjacency, encode_attributes(codes, n)).adjacency
    one_hot = OneHotEncoder(sparse_output=False).fit_transform(codes)

    def cluster(attributes: np.ndarray | None, **parameters: Any) -> np.ndarray:
        model = BootstrapAMGClustering(n_clusters=n_clusters, random_state=seed, **parameters)
        return model.fit_predict(adjacency, attributes)

    labels = {
        "fused": cluster(codes, **PAPER),
        _DIRECT: cluster(codes),
        _LIGHT: cluster(codes, attribute_weight=0.3),
        "structure only": cluster(None, **PAPER),
        _DIRECT_ALONE: cluster(None),
        "spectral, augmented graph": spectral_labels(joined, n_clusters, n, seed),
        "K-means of attributes": KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(one_hot),
    }
    scores = {name: float(normalized_mutual_info_score(graph.classes, found)) for name, found in labels.items()}
    scores["one attribute"] = float(normalized_mutual_info_score(graph.classes, codes[:, 0]))
    return scores


@dataclass(frozen=True)
class _Size:
    n_nodes: int
    n_draws: int


_SIZES: dict[Scale, _Size] = {"cpu": _Size(400, 5), "gpu": _Size(20_000, 5), "paper": _Size(100_000, 2)}


def _draws(scale: Scale, **parameters: Any) -> pd.DataFrame:
    size = _SIZES[scale]
    rows = [
        compare_on_blocks(attributed_blocks(size.n_nodes, 4, random_state=seed, **parameters), 4, seed)
        for seed in range(size.n_draws)
    ]
    return pd.DataFrame(rows)


def _draw_scores(scores: pd.DataFrame, title: str) -> Figure:
    figure, axes = new_figure(width=6.4, height=3.0)
    axis = axes[0, 0]
    for place, name in enumerate(scores.columns):
        axis.barh(place, scores[name].mean(), color=COLORS[0] if name.startswith("fused") else "#bbbbbb")
        axis.plot(scores[name], np.full(len(scores), place), "o", color="black", markersize=3.5)
    axis.set_yticks(range(scores.shape[1]), scores.columns)
    axis.invert_yaxis()
    axis.set(xlim=(0, 1), xlabel="NMI with the truth (bars: mean, dots: draws)", title=title)
    return figure


def _rows(scores: pd.DataFrame, reference: dict[str, float]) -> list[dict[str, Any]]:
    return [
        {
            "method": name,
            "NMI, mean": scores[name].mean(),
            "standard deviation": scores[name].std(),
            "authors' program": reference.get(name, ""),
        }
        for name in scores.columns
    ]


# --- 1: structure that says little ---------------------------------------------------------------------------------


@claim(
    "amg-clustering",
    1,
    says="Fusing attributes with the structure beats the structure alone where that is ambiguous.",
    source="Abstract; experiments on synthetic graphs",
)
def fusion_beats_structure_alone(scale: Scale) -> Measurement:
    """Planted partition, mixing 0.2, three attributes that say the class with probability 0.6.

    The structure alone is given its better variant: the paper's coarse solver hurts it most where there are no attributes.
    """
    scores = _draws(scale, mixing=0.2, n_attributes=3, agreement=0.6)
    fused = scores["fused"]
    alone = max((scores["structure only"], scores[_DIRECT_ALONE]), key=lambda column: column.mean())
    gap = float((fused - alone).mean())
    spectral = scores["spectral, augmented graph"].mean()
    return Measurement(
        figure=float(fused.mean()),
        holds=bool(fused.mean() >= 0.4 and gap >= 0.25),
        threshold="mean NMI >= 0.40, and at least 0.25 above the better variant of structure alone",
        unit="NMI with the truth",
        paper=f"0.53 against 0.09 ({PROGRAM}, two draws)",
        baseline=float(alone.mean()),
        baseline_name="structure alone, with a direct solve of the coarsest level where that is better",
        spread=float(fused.std()),
        n_seeds=len(scores),
        table=_rows(
            scores,
            {
                "fused": 0.531,
                "structure only": 0.090,
                "spectral, augmented graph": 0.847,
                "K-means of attributes": 0.507,
            },
        ),
        note="At the paper's settings on both sides the gap is "
        f"{(fused - scores['structure only']).mean():.2f}. But most of the weakness of structure alone is not in the graph: the "
        "20 steps of Gauss-Seidel on the coarsest level leave the constant vector, and the embedding fills with copies of it. "
        f"With a direct solve there structure alone has {scores[_DIRECT_ALONE].mean():.2f}, fused {scores[_DIRECT].mean():.2f}, "
        f"and fused with attributes of weight 0.3 {scores[_LIGHT].mean():.2f}. K-means of the attributes alone has "
        f"{scores['K-means of attributes'].mean():.2f}, spectral clustering of the augmented graph {spectral:.2f}.",
        plot=_draw_scores(scores, "weak structure, three attributes"),
    )


# --- 2: SA-Cluster -------------------------------------------------------------------------------------------------


def _fused(graph: AttributedGraph, columns: list[str], n_clusters: int) -> pd.DataFrame:
    """Modularity and entropy of five fits with different seeds."""
    rows = []
    for seed in SEEDS:
        model = BootstrapAMGClustering(n_clusters=n_clusters, random_state=seed, **PAPER)
        model.fit(graph.adjacency, graph.attributes[columns])
        rows.append((model.modularity_, model.attribute_entropy_))
    return pd.DataFrame(rows, columns=["Q", "H"])


@claim(
    "amg-clustering",
    2,
    says="It beats SA-Cluster, whose augmentation it uses, in modularity and in attribute entropy.",
    source="Abstract; comparison with SA-Cluster",
)
def beats_sa_cluster_in_modularity_and_entropy(scale: Scale) -> Measurement:
    """Advice in the law firm with one and five attributes, and the block model; the mean of five seeds, SA-Cluster has none."""
    firm, blocks = attributed_graph("lawyers_advice"), attributed_graph("blocks")
    cases: list[tuple[str, AttributedGraph, list[str], int]] = [
        *(("advice, office", firm, ["office"], k) for k in (2, 3)),
        *(("advice, five attributes", firm, FIVE, k) for k in (2, 3, 4, 5)),
        ("block model, block", blocks, ["block"], 5),
    ]
    program = {("advice, office", 2): 0.179, ("advice, office", 3): 0.181, ("advice, five attributes", 2): 0.210}
    program |= {("advice, five attributes", 3): 0.285, ("block model, block", 5): 0.793}
    table = []
    for name, graph, columns, k in cases:
        ours = _fused(graph, columns, k)
        attributes = encode_attributes(graph.attributes[columns], graph.adjacency.shape[0])
        labels = sa_cluster(graph.adjacency, attributes, k)
        table.append(
            {
                "graph": name,
                "k": k,
                "Q fused": ours["Q"].mean(),
                "Q SA-Cluster": modularity(graph.adjacency, labels),
                "H fused": ours["H"].mean(),
                "H SA-Cluster": attribute_entropy(labels, attributes.codes),
                "Q spread": ours["Q"].std(),
                "Q authors' program": program.get((name, k), ""),
            }
        )
    rows = pd.DataFrame(table)
    wins = (rows["Q fused"] > rows["Q SA-Cluster"]) & (rows["H fused"] < rows["H SA-Cluster"])
    last = rows.iloc[-1]
    figure, axes = new_figure(width=6.4, height=4.2)
    axis = axes[0, 0]
    for place, row in rows.iterrows():
        color = COLORS[int(place) % len(COLORS)]  # type: ignore[call-overload]
        axis.annotate(
            "",
            (row["H fused"], row["Q fused"]),
            (row["H SA-Cluster"], row["Q SA-Cluster"]),
            arrowprops={"arrowstyle": "->", "color": color, "lw": 1.4},
        )
        axis.plot(row["H SA-Cluster"], row["Q SA-Cluster"], "s", color=color, fillstyle="none")
        axis.plot(row["H fused"], row["Q fused"], "o", color=color, label=f"{row['graph']}, k = {row['k']}")
    axis.set(xlabel="attribute entropy, bits (less is better)", ylabel="modularity (more is better)")
    axis.legend(
        loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small", title="from SA-Cluster (square)\nto fused (dot)"
    )
    return Measurement(
        figure=int(wins.sum()),
        holds=bool(wins.all() and last["Q fused"] >= 0.78 and last["Q SA-Cluster"] <= 0.72),
        threshold="better in both in all 7 cases; on the block model Q >= 0.78 against <= 0.72",
        unit="cases of 7 with larger modularity and lower entropy",
        paper=f"all ({PROGRAM}: Q 0.18 to 0.29 against at most 0.01)",
        baseline=float(rows["Q SA-Cluster"].iloc[:-1].mean()),
        baseline_name=f"mean modularity of SA-Cluster in the law firm; here it is {rows['Q fused'].iloc[:-1].mean():.3f}",
        spread=float(rows["Q spread"].max()),
        n_seeds=len(SEEDS),
        table=table,
        note="SA-Cluster is built from its publication with conventional constants, on which its figures in the law firm "
        "depend; another implementation had 0.000 to 0.004. With five attributes the smooth vectors have a numerical rank of 10 "
        "among 41: the other directions of the embedding are rounding error, hence the spread over seeds.",
        plot=figure,
    )


# --- 3: real friends -----------------------------------------------------------------------------------------------


@claim(
    "amg-clustering",
    3,
    says="Attributes raise even the structural score on real data.",
    source="Experiments on the law firm",
    quick=True,
)
def attributes_raise_the_modularity_of_friends(scale: Scale) -> Measurement:
    """Friendship of 36 partners, two clusters, with the office and without."""
    graph = attributed_graph("lawyers_friendship")
    offices = graph.attributes["office"].to_numpy()
    table = []
    for seed in SEEDS:
        model = BootstrapAMGClustering(n_clusters=2, random_state=seed, **PAPER)
        fused = model.fit_predict(graph.adjacency, graph.attributes[["office"]])
        alone = model.fit_predict(graph.adjacency)
        direct = BootstrapAMGClustering(n_clusters=2, random_state=seed)
        table.append(
            {
                "seed": seed,
                "Q fused": modularity(graph.adjacency, fused),
                "Q structure only": modularity(graph.adjacency, alone),
                "Q structure only, direct coarse solve": modularity(
                    graph.adjacency, direct.fit_predict(graph.adjacency)
                ),
                "NMI with office, fused": float(normalized_mutual_info_score(offices, fused)),
            }
        )
    rows = pd.DataFrame(table)
    best = _leiden_modularity(graph.adjacency)
    mean = rows.mean()
    return Measurement(
        figure=float(mean["Q fused"]),
        holds=bool(
            mean["Q fused"] >= 0.2 and mean["NMI with office, fused"] >= 0.9 and mean["Q structure only"] <= 0.1
        ),
        threshold="modularity >= 0.20 and NMI with the office >= 0.9, against a modularity <= 0.10 without attributes",
        unit="modularity",
        paper=f"0.2156 ({PROGRAM})",
        baseline=float(mean["Q structure only"]),
        baseline_name="the same without attributes",
        spread=float(rows["Q fused"].std()),
        n_seeds=len(SEEDS),
        table=table,
        note="With a direct solve of the coarsest level in place of the paper's 20 steps of Gauss-Seidel the structure alone "
        f"gives {mean['Q structure only, direct coarse solve']:.3f}"
        + ("." if best is None else f"; Leiden's search for modularity alone finds {best:.3f} (in more clusters)."),
    )


def _leiden_modularity(adjacency: sp.csr_array) -> float | None:
    """Largest modularity that igraph's Leiden finds from the structure alone; None where igraph is not installed."""
    try:
        igraph = require("igraph", "peers")
    except ImportError:
        return None
    upper = sp.coo_array(sp.triu(adjacency, 1))
    network = igraph.Graph(n=adjacency.shape[0], edges=np.column_stack([upper.row, upper.col]))
    runs = [network.community_leiden(objective_function="modularity", n_iterations=10) for _ in range(20)]
    return max(modularity(adjacency, np.array(run.membership)) for run in runs)


# --- 4: the bootstrap ----------------------------------------------------------------------------------------------


def smoothed_aggregation_ratio(matrix: sp.csr_array, n_sweeps: int, seed: int) -> float:
    """Convergence ratio of pyamg's smoothed aggregation, measured as that of the composite."""
    pyamg = require("pyamg", "peers")
    solver = pyamg.smoothed_aggregation_solver(sp.csr_matrix(matrix), max_coarse=10)
    x = np.random.default_rng(seed).uniform(-1, 1, matrix.shape[0])
    zero, size, ratio = np.zeros_like(x), energy_norm(matrix, x), 0.0
    for _ in range(n_sweeps):
        x = solver.solve(zero, x0=x / size, maxiter=1, tol=1e-300)
        ratio = size = energy_norm(matrix, x)
    return ratio


@claim(
    "amg-clustering",
    4,
    says="The bootstrap drives the convergence ratio down, faster than repeating its first hierarchy would.",
    source="Algorithm and figures on convergence",
    quick=True,
)
def bootstrap_drives_the_ratio_down(scale: Scale) -> Measurement:
    """Two augmented graphs in ten random orders of their vertices each.

    The order decides among edges of equal weight in the matching, and with it the ratio by a tenth with one hierarchy and a
    factor of several with ten; the figures of the authors' program are those of one order. So means are judged: within 10 % for
    one to three hierarchies, within a factor of 2 for ten.
    """
    expected = {1: 0.63, 2: 0.40, 3: 0.25, 10: 0.011}
    friends = _ratios_in_orders(attributed_graph("lawyers_friendship"), "office", 40)
    blocks = _ratios_in_orders(attributed_graph("blocks"), "block", 5)
    means = {r: float(np.mean([ratios[r - 1] for ratios in friends.ratios])) for r in expected}
    counts = [len(ratios) for ratios in friends.ratios]
    with_five = np.array([ratios[4] for ratios in blocks.ratios])
    repeated = np.array([ratios[0] ** 5 for ratios in blocks.ratios])
    gain = float(np.exp(np.log(with_five / repeated).mean()))
    table: list[dict[str, Any]] = [
        {
            "graph": "friendship with office",
            "hierarchies": r,
            "ratio, mean": means[r],
            "least": min(ratios[r - 1] for ratios in friends.ratios),
            "largest": max(ratios[r - 1] for ratios in friends.ratios),
            "first repeated": float(np.mean([ratios[0] ** r for ratios in friends.ratios])),
            "authors' program": value,
        }
        for r, value in expected.items()
    ]
    table.append(
        {
            "graph": "block model with block",
            "hierarchies": 5,
            "ratio, mean": float(with_five.mean()),
            "least": float(with_five.min()),
            "largest": float(with_five.max()),
            "first repeated": float(repeated.mean()),
            "authors' program": 0.199,
        }
    )
    close = all(abs(means[r] / expected[r] - 1) <= 0.1 for r in (1, 2, 3)) and 0.5 <= means[10] / 0.011 <= 2
    aggregation = {name: runs.aggregation for name, runs in (("friends", friends), ("blocks", blocks))}
    figure, axes = new_figure(1, 2, width=8.4, height=3.4)
    for axis, runs, name in zip(axes[0], (friends, blocks), ("friendship with office", "block model with block")):
        for place, ratios in enumerate(runs.ratios):
            number = np.arange(1, len(ratios) + 1)
            axis.semilogy(number, ratios, color=COLORS[0], alpha=0.5, label="" if place else "bootstrap, ten orders")
        first = np.mean([ratios[0] for ratios in runs.ratios])
        longest = np.arange(1, max(map(len, runs.ratios)) + 1)
        axis.semilogy(longest, first**longest, ":", color=COLORS[1], label="first repeated")
        axis.axhline(runs.aggregation, ls="--", color=COLORS[2], label="smoothed aggregation (pyamg)")
        axis.set(xlabel="hierarchies", ylabel="convergence ratio", title=name, ylim=(1e-7, 1.2))
    axes[0, 1].set_ylim(0.01, 1.2)
    axes[0, 1].legend(fontsize="small", loc="lower left")
    return Measurement(
        figure=means[3],
        holds=bool(close and max(counts) < 40 and gain < 1),
        threshold="mean ratio with 1, 2, 3 hierarchies 0.63, 0.40, 0.25 within 10 %, with 10 0.011 within a factor of 2; 1e-6 "
        "before 40 hierarchies in each order; five hierarchies better than the first five times on the block model "
        "(geometric mean)",
        unit="convergence ratio with three hierarchies",
        paper=f"0.25 ({PROGRAM})",
        baseline=aggregation["friends"],
        baseline_name="one cycle of pyamg's smoothed aggregation",
        spread=float(np.std([ratios[2] for ratios in friends.ratios], ddof=1)),
        n_seeds=len(counts),
        table=table,
        note=f"1e-6 was reached with {min(counts)} to {max(counts)} hierarchies (authors' program: 31). Among the friends the "
        "bootstrap is no faster than its first hierarchy repeated "
        f"({means[10]:.4f} against {table[3]['first repeated']:.4f} with ten). "
        f"On the block model five hierarchies have {gain:.2f} times the ratio of the first repeated, and are better in "
        f"{int((with_five < repeated).sum())} of {len(repeated)} orders. One cycle of smoothed aggregation has "
        f"{aggregation['friends']:.2f} and {aggregation['blocks']:.2f}: as a solver for one system the bootstrap is no "
        "bargain; its vectors are what it is for.",
        plot=figure,
    )


@dataclass(frozen=True)
class _Orders:
    ratios: list[np.ndarray]
    aggregation: float


def _ratios_in_orders(graph: AttributedGraph, column: str, max_hierarchies: int) -> _Orders:
    attributes = encode_attributes(graph.attributes[[column]], graph.adjacency.shape[0])
    joined = augment(graph.adjacency, attributes).adjacency
    ratios, aggregation = [], []
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(joined.shape[0])
        shuffled = sp.csr_array(joined[order][:, order])
        shuffled.sort_indices()
        matrix = shifted_laplacian(shuffled)
        found = bootstrap(matrix, options=OPTIONS, max_hierarchies=max_hierarchies, random_state=seed)
        ratios.append(found.ratios)
        aggregation.append(smoothed_aggregation_ratio(matrix, 15, seed))
    return _Orders(ratios, float(np.mean(aggregation)))


# --- 5: cost -------------------------------------------------------------------------------------------------------


def fitted_slope(sizes: Any, values: Any) -> float:
    """Exponent of a power law by least squares of the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


@claim(
    "amg-clustering",
    5,
    says="The cost is nearly linear in the edges, with hubs of attributes as without.",
    source="Abstract; linear complexity of AMG",
)
def cost_is_nearly_linear(scale: Scale) -> Measurement:
    """Ten hierarchies on planted partitions, in seconds of the processor: the better of two runs."""
    largest = {"cpu": 32_000, "gpu": 256_000, "paper": 1_000_000}[scale]
    sizes = [2000]
    while 2 * sizes[-1] <= largest:
        sizes.append(2 * sizes[-1])
    bootstrap(shifted_laplacian(attributed_blocks(400, 4, random_state=0).adjacency), max_hierarchies=2)  # compiles
    table: list[dict[str, Any]] = []
    for n in sizes:
        graph = attributed_blocks(n, 4, random_state=0)
        attributes = encode_attributes(graph.attributes, graph.adjacency.shape[0])
        for kind in ("one attribute", "structure only"):
            joined = augment(graph.adjacency, attributes if kind == "one attribute" else None).adjacency
            matrix = shifted_laplacian(joined)
            taken = []
            for _ in range(2):
                start = time.process_time()
                hierarchies = bootstrap(matrix, options=OPTIONS, max_hierarchies=10).composite.hierarchies
                taken.append(time.process_time() - start)
            seconds = min(taken)
            table.append(
                {
                    "graph": kind,
                    "vertices": matrix.shape[0],
                    "entries": matrix.nnz,
                    "seconds": seconds,
                    "microseconds an entry": 1e6 * seconds / matrix.nnz,
                    "operator complexity": float(np.mean([h.operator_complexity for h in hierarchies])),
                    "largest degree": int(np.diff(joined.indptr).max()),
                }
            )
    rows = pd.DataFrame(table)
    slopes, work = {}, {}
    figure, axes = new_figure(width=6.0)
    for place, kind in enumerate(("one attribute", "structure only")):
        part = rows[rows["graph"] == kind]
        slopes[kind] = fitted_slope(part["entries"], part["seconds"])
        work[kind] = fitted_slope(part["entries"], part["entries"] * part["operator complexity"])
        axes[0, 0].loglog(
            part["entries"], part["seconds"], "os"[place] + "-", label=f"{kind}, slope {slopes[kind]:.2f}"
        )
    reference = np.array([[8.2e3, 0.22], [1.6e4, 0.96], [3.2e4, 1.86], [6.4e4, 5.4]])
    axes[0, 0].loglog(*reference.T, "^--", color=COLORS[2], label="authors' program (other machine), slope 1.55")
    axes[0, 0].set(xlabel="entries of the matrix", ylabel="seconds for ten hierarchies")
    axes[0, 0].legend(loc="lower right")
    complexity = rows["operator complexity"].max()
    return Measurement(
        figure=slopes["one attribute"],
        holds=bool(slopes["one attribute"] <= 1.25 and complexity <= 3),
        threshold="slope of log time to log entries <= 1.25 with an attribute; operator complexity <= 3",
        unit="slope of log time to log entries",
        paper=f"linear; {PROGRAM}: 1.27 to 1.55",
        baseline=slopes["structure only"],
        baseline_name="slope without attributes",
        table=table,
        note=f"The largest operator complexity is {complexity:.2f}. The entries that are visited grow with the exponent "
        f"{work['one attribute']:.2f} (complexity grows slowly); the rest of the slope is memory: beyond some 1e5 entries ten "
        "hierarchies do not fit the processor's cache.",
        plot=figure,
    )


# --- 6: where it loses ---------------------------------------------------------------------------------------------


@claim(
    "amg-clustering",
    6,
    says="A limit, and no claim of the paper: with one attribute the method returns the attribute, however clear the "
    "structure is.",
    source="none; the authors' program on synthetic graphs",
)
def one_attribute_drowns_a_clear_structure(scale: Scale) -> Measurement:
    """Planted partition, mixing 0.05, one attribute that says the class with probability 0.6."""
    scores = _draws(scale, mixing=0.05, n_attributes=1, agreement=0.6)
    fused, spectral = scores["fused"], scores["spectral, augmented graph"]
    distance = float((fused - scores["one attribute"]).abs().mean())
    return Measurement(
        figure=float(fused.mean()),
        holds=bool(distance <= 0.1 and spectral.mean() >= 0.9),
        threshold="NMI within 0.1 of the attribute's own, while spectral clustering of the same augmented graph has >= 0.9",
        unit="NMI with the truth",
        paper=f"0.36 against 0.98 ({PROGRAM})",
        baseline=float(spectral.mean()),
        baseline_name="scikit-learn's spectral clustering of the augmented graph: the method loses",
        spread=float(fused.std()),
        n_seeds=len(scores),
        table=_rows(scores, {"fused": 0.36}),
        note="The attribute's vertices have n/4 neighbours each and large coordinates, so that the blocks differ most by the "
        f"value of the attribute. Its own NMI is {scores['one attribute'].mean():.2f}; by structure alone the method has "
        f"{scores['structure only'].mean():.2f}, and with a direct solve of the coarsest level "
        f"{scores[_DIRECT_ALONE].mean():.2f}. The embedding is not to blame: with that and with attribute_weight=0.3 in place of "
        f"the paper's 1 the fused method has {scores[_LIGHT].mean():.2f}.",
        plot=_draw_scores(scores, "clear structure, one weak attribute"),
    )

"""The claims of *Do logarithmic proximity measures outperform plain ones in graph clustering?* (arXiv:1605.01046), measured.

The paper's tables are not at hand. Thresholds are those of an independent implementation, named in each claim;
what the paper says is that logarithmic measures mostly are the better ones, that logComm leads, and that there are exceptions.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import networkx as nx
import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from semigroup.claims import Measurement, Scale, claim
from semigroup.data.community_graphs import community_graph
from semigroup.data.random_graphs import ClassGraph, planted_partition, stochastic_block_model
from semigroup.graphs.proximity import (
    STUDY_FAMILIES,
    Spectra,
    Study,
    proximity,
    reject_curves,
    study,
)
from semigroup.report.figures import COLORS, new_figure

__all__ = ["PAIRS", "cutpoint_gaps", "draw_graphs", "gain", "separated", "triangle_slack"]

# A logarithmic family and its plain one.
PAIRS = {"logComm": "Comm", "logHeat": "Heat", "logFor": "For", "Walk": "pWalk"}
CASES: dict[str, tuple[tuple[int, ...], tuple[tuple[float, ...], ...] | tuple[float, float]]] = {
    "100, (2) 0.3, 0.1": ((50, 50), (0.3, 0.1)),
    "100, (2) 0.3, 0.15": ((50, 50), (0.3, 0.15)),
    "150, (3) 0.3, 0.1": ((50, 50, 50), (0.3, 0.1)),
    "100, (4) 0.3, 0.1": ((25, 25, 25, 25), (0.3, 0.1)),
    "sizes 10, 90": ((10, 90), (0.3, 0.1)),
    "core and periphery": ((50, 50), ((0.5, 0.2), (0.2, 0.1))),
}
FIRST = next(iter(CASES))
# Nodes are multiplied, and probabilities divided, so that degrees stay and the task remains as hard.
ENLARGED = {"cpu": 1, "gpu": 50, "paper": 1}
N_PARAMETERS = {"cpu": 25, "gpu": 13, "paper": 55}


def draw_graphs(case: str, n_graphs: int, *, enlarged: int = 1, first_seed: int = 0) -> list[ClassGraph]:
    """Connected graphs of a case, one a seed."""
    sizes, density = CASES[case]
    k = len(sizes)
    matrix = np.array(density)
    if matrix.ndim == 1:
        matrix = np.full((k, k), density[1])
        np.fill_diagonal(matrix, density[0])
    return [
        stochastic_block_model(enlarged * np.array(sizes), matrix / enlarged, random_state=seed)
        for seed in range(first_seed, first_seed + n_graphs)
    ]


@functools.lru_cache(maxsize=16)
def _study_case(case: str, n_graphs: int, scale: Scale, first_seed: int = 0) -> Study:
    """All families on the graphs of a case; claims share it."""
    drawn = draw_graphs(case, n_graphs, enlarged=ENLARGED[scale], first_seed=first_seed)
    return _study([graph.adjacency for graph in drawn], [graph.labels for graph in drawn], scale)


def _study(graphs: Sequence[Any], labels: Sequence[np.ndarray], scale: Scale) -> Study:
    return study(
        graphs,
        labels,
        n_parameters=N_PARAMETERS[scale],
        n_jobs=1 if scale == "gpu" else 2,
        device="cuda" if scale == "gpu" else "cpu",
    )


def gain(result: Study, log: str, plain: str, *, n_resamples: int = 2000) -> tuple[float, float, float]:
    """Difference of two families' scores, and the ends of its 95 % interval by bootstrap over the graphs."""
    i, j = result.families.index(log), result.families.index(plain)
    scores = result.scores[:, [i, j]]
    drawn = np.random.default_rng(0).integers(len(scores), size=(n_resamples, len(scores)))
    weights = np.apply_along_axis(np.bincount, 1, drawn, minlength=len(scores)) / len(scores)
    best = np.einsum("rg,gfp->rfp", weights, scores).max(axis=2)
    low, high = np.quantile(best[:, 0] - best[:, 1], [0.025, 0.975])
    return float(result.family_scores[i] - result.family_scores[j]), float(low), float(high)


# --- 1: log against plain ------------------------------------------------------------------------------------------


@claim(
    "proximity",
    1,
    says="On graphs of two equal classes the logarithm improves the communicability, heat and forest kernels, and leaves "
    "the walk kernel as it is.",
    source="Abstract (the leader and most measures); thresholds from an independent implementation",
)
def logarithms_outperform_plain_measures(scale: Scale) -> Measurement:
    """ARI of Ward's clusters at each family's best p; 95 % bootstrap intervals over the graphs."""
    n_graphs = {"cpu": 20, "gpu": 5, "paper": 100}[scale]
    least = {"logComm": (0.03, 0.10), "logHeat": (0.05, 0.15), "logFor": (0.10, 0.30)}
    first = _study_case(FIRST, n_graphs, scale)
    table: list[dict[str, Any]] = []
    holds = True
    figure, axes = new_figure(1, 2, width=9.6, height=3.8, sharey=True)
    for place, case in enumerate(list(CASES)[:2]):
        result = _study_case(case, n_graphs, scale)
        for log, plain in PAIRS.items():
            difference, low, high = gain(result, log, plain)
            if log == "Walk":
                wanted, passed = "within 0.06", abs(difference) <= 0.06
            else:
                wanted, passed = f">= {least[log][place]}", difference >= least[log][place] and low > 0
            holds &= passed
            table.append(
                {
                    "graphs": f"G({case})",
                    "logarithmic": f"{log} {result.score(log):.3f}",
                    "plain": f"{plain} {result.score(plain):.3f}",
                    "gain": difference,
                    "from": low,
                    "to": high,
                    "wanted": wanted,
                    "holds": bool(passed),
                }
            )
        _draw_curves(axes[0, place], result, f"G({case})")
    axes[0, 0].set_ylabel("ARI, mean over graphs")
    axes[0, 1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    gains = [row["gain"] for row in table if not row["logarithmic"].startswith("Walk")]
    return Measurement(
        figure=min(gains),
        holds=bool(holds),
        threshold="gain >= 0.03 and 0.10 (Comm), 0.05 and 0.15 (Heat), 0.10 and 0.30 (For), intervals without 0; "
        "Walk within 0.06",
        unit="least gain in ARI of logComm, logHeat and logFor over their plain measures",
        baseline=max(abs(row["gain"]) for row in table if row["logarithmic"].startswith("Walk")),
        baseline_name="largest difference of Walk and pWalk, the exception",
        n_seeds=n_graphs,
        table=table,
        note="Scores are taken at the p that is best for the mean over the graphs, which nobody knows beforehand. At each "
        f"graph's p of largest modularity they are {_chosen_scores(first)} on G({FIRST}).",
        plot=figure,
    )


def _chosen_scores(result: Study) -> str:
    """Mean scores at the p of largest modularity, in words."""
    shown = {name for pair in PAIRS.items() for name in pair}
    means = zip(result.families, result.chosen_scores.mean(axis=0))
    return ", ".join(f"{family} {score:.2f}" for family, score in means if family in shown)


def _draw_curves(axis: Any, result: Study, title: str) -> None:
    """Solid the logarithmic families, dashed the plain ones, one colour a pair."""
    for color, (log, plain) in zip(COLORS, PAIRS.items()):
        for family, style in ((log, "-"), (plain, "--")):
            axis.plot(result.grid, result.curves[result.families.index(family)], style, color=color, label=family)
    axis.set(xlabel="p", title=title, ylim=(-0.05, 1.05))


# --- 2: the leader -------------------------------------------------------------------------------------------------


@claim(
    "proximity",
    2,
    says="logComm is the best of thirteen measures on random graphs of equal classes, and SCCT the second.",
    source='Abstract ("the leader is usually logComm"); four cells of an independent implementation',
)
def logcomm_leads(scale: Scale) -> Measurement:
    """Mean over four kinds of graphs of the best mean ARI over p."""
    n_graphs = {"cpu": 20, "gpu": 5, "paper": 100}[scale]
    cases = list(CASES)[:4]
    results = [_study_case(case, n_graphs, scale) for case in cases]
    scores = np.array([result.family_scores for result in results])
    means = scores.mean(axis=0)
    order = np.argsort(-means, kind="stable")
    wins = np.array([result.copeland() for result in results]).sum(axis=0)
    table = [
        {
            "family": STUDY_FAMILIES[i],
            "mean ARI": float(means[i]),
            **{f"G({case})": float(scores[j, i]) for j, case in enumerate(cases)},
            "Copeland": int(wins[i]),
        }
        for i in order
    ]
    generator = np.random.default_rng(0)
    resampled = [
        [result.scores[generator.integers(n_graphs, size=n_graphs)].mean(axis=0).max(axis=1) for result in results]
        for _ in range(500)
    ]
    ranks = np.argsort(np.argsort(-np.mean(resampled, axis=1), axis=1), axis=1)
    leads = float((ranks[:, STUDY_FAMILIES.index("logComm")] == 0).mean())
    figure, axes = new_figure(width=6.6, height=4.4)
    place = np.arange(len(order))
    for j, (case, marker) in enumerate(zip(cases, "os^D")):
        axes[0, 0].plot(scores[j, order], place, marker, color=COLORS[j], markersize=5, label=f"G({case})")
    axes[0, 0].plot(means[order], place, "|", color="black", markersize=14, markeredgewidth=2, label="mean")
    axes[0, 0].set_yticks(place, [STUDY_FAMILIES[i] for i in order])
    axes[0, 0].invert_yaxis()
    axes[0, 0].set(xlabel="ARI at the best p, mean over graphs", xlim=(-0.03, 1.03))
    axes[0, 0].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    first, second = (STUDY_FAMILIES[i] for i in order[:2])
    return Measurement(
        figure=float(means[STUDY_FAMILIES.index("logComm")]),
        holds=(first, second) == ("logComm", "SCCT"),
        threshold="logComm first and SCCT second of 13 by mean ARI",
        unit="mean ARI of logComm at its best p on four kinds of graphs",
        baseline=float(means[order[0] if first != "logComm" else order[1]]),
        baseline_name=f"the best other measure, {first if first != 'logComm' else second}",
        n_seeds=n_graphs,
        table=table,
        note=f"First is {first}, second {second}; logComm is first in {100 * leads:.0f} % of bootstrap samples of the graphs.",
        plot=figure,
    )


# --- 3: real graphs ------------------------------------------------------------------------------------------------

NEWSGROUPS = ("news_2cl1", "news_2cl2", "news_2cl3", "news_3cl1_0.1", "news_3cl2_0.1", "news_3cl3_0.1")


@claim(
    "proximity",
    3,
    says="On the newsgroup graphs every logarithmic measure clusters where its plain one fails; on easy graphs they tie.",
    source="Abstract (several well-known datasets); thresholds from an independent implementation",
)
def logarithms_are_needed_on_newsgroups(scale: Scale) -> Measurement:
    """Best ARI over p on each graph; karate and football beside them. The p that is best on one graph is an oracle's."""
    names = (*NEWSGROUPS, "karate", "football")
    graphs = [community_graph(name) for name in names]
    n_parameters = {"cpu": 13, "gpu": 25, "paper": 25}[scale]
    result = study(
        [graph.adjacency for graph in graphs],
        [graph.labels for graph in graphs],
        families=[name for pair in PAIRS.items() for name in pair],
        n_parameters=n_parameters,
        n_jobs=1 if scale == "gpu" else 2,
        device="cuda" if scale == "gpu" else "cpu",
    )
    best = dict(zip(result.families, result.graph_scores.T))
    chosen = dict(zip(result.families, result.chosen_scores.T))
    table = []
    for i, name in enumerate(names):
        row: dict[str, Any] = {"graph": name}
        for log, plain in PAIRS.items():
            row[log], row[plain] = float(best[log][i]), float(best[plain][i])
        row["logComm, p by modularity"] = float(chosen["logComm"][i])
        table.append(row)
    gains = {log: best[log][: len(NEWSGROUPS)] - best[plain][: len(NEWSGROUPS)] for log, plain in PAIRS.items()}
    least = min(float(values.min()) for values in gains.values())
    figure, axes = new_figure(width=7.2, height=4.2)
    for color, marker, (log, plain) in zip(COLORS, "os^D", PAIRS.items()):
        axes[0, 0].plot(
            best[plain], best[log], marker, color=color, markersize=6, markerfacecolor="none", label=f"{log} / {plain}"
        )
    axes[0, 0].plot([0, 1], [0, 1], color="black", linewidth=1)
    axes[0, 0].plot([0, 0.7], [0.3, 1], ":", color="black", label="gain of 0.3")
    axes[0, 0].set(
        xlabel="ARI of the plain measure",
        ylabel="ARI of the logarithmic measure",
        xlim=(-0.03, 1.03),
        ylim=(-0.03, 1.03),
    )
    axes[0, 0].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return Measurement(
        figure=least,
        holds=least >= 0.3,
        threshold=">= 0.3 for each of four pairs on each of six newsgroup graphs",
        unit="least gain in ARI of a logarithmic measure on a newsgroup graph",
        baseline=float(np.mean([best[plain][: len(NEWSGROUPS)].mean() for plain in PAIRS.values()])),
        baseline_name="mean ARI of the plain measures on them; of the logarithmic ones "
        f"{np.mean([best[log][: len(NEWSGROUPS)].mean() for log in PAIRS]):.2f}",
        n_seeds=len(names),
        table=table,
        note="The least gain of each pair: "
        + ", ".join(f"{log} {values.min():.2f}" for log, values in gains.items())
        + ".",
        plot=figure,
    )


# --- 4: reject curves ----------------------------------------------------------------------------------------------


@claim(
    "proximity",
    4,
    says="As a test of whether two vertices are of one class, the logarithmic communicability and forest distances beat the "
    "plain ones.",
    source="Abstract (reject curves); thresholds from an independent implementation",
)
def reject_curves_agree(scale: Scale) -> Measurement:
    """Areas under the reject curves, at each family's p of largest mean area."""
    n_graphs = {"cpu": 10, "gpu": 3, "paper": 50}[scale]
    drawn = draw_graphs(FIRST, n_graphs, enlarged={"cpu": 1, "gpu": 20, "paper": 1}[scale])
    result = reject_curves(
        [graph.adjacency for graph in drawn],
        [graph.labels for graph in drawn],
        n_parameters=N_PARAMETERS[scale],
        n_jobs=1 if scale == "gpu" else 2,
        device="cuda" if scale == "gpu" else "cpu",
    )
    areas = dict(zip(result.families, result.best_areas.T))
    order = sorted(result.families, key=lambda name: -areas[name].mean())
    table = [
        {
            "family": name,
            "area": float(areas[name].mean()),
            "spread": float(areas[name].std()),
            "p": float(result.best_p[result.families.index(name)]),
        }
        for name in order
    ]
    gains = {log: areas[log] - areas[plain] for log, plain in PAIRS.items()}
    curves = dict(zip(result.families, result.curves))
    above = {log: float((curves[log] >= curves[plain] - 1e-12).mean()) for log, plain in PAIRS.items()}
    figure, axes = new_figure(width=6.4, height=4.2)
    for color, (log, plain) in zip(COLORS, PAIRS.items()):
        for name, style in ((log, "-"), (plain, "--")):
            axes[0, 0].plot(result.shares, curves[name], style, color=color, label=f"{name} {areas[name].mean():.2f}")
    axes[0, 0].plot([0, 1], [0, 1], ":", color="black", label="chance 0.50")
    axes[0, 0].set(xlabel="share of pairs between classes within the threshold", ylabel="share of pairs within classes")
    axes[0, 0].legend(loc="center left", bbox_to_anchor=(1, 0.5), title="area")
    comm, forest = float(gains["logComm"].mean()), float(gains["logFor"].mean())
    return Measurement(
        figure=comm,
        holds=comm >= 0.10 and forest >= 0.15,
        threshold="area of logComm >= that of Comm + 0.10, of logFor >= that of For + 0.15",
        unit="area under the reject curve, logComm less Comm",
        baseline=float(areas["Comm"].mean()),
        baseline_name="area of Comm",
        spread=float(gains["logComm"].std()),
        n_seeds=n_graphs,
        table=table,
        note=f"logFor less For {forest:.3f}, logHeat less Heat {gains['logHeat'].mean():.3f}, "
        f"Walk less pWalk {gains['Walk'].mean():.3f}. "
        "The logarithmic curve is the higher one over "
        + ", ".join(f"{100 * share:.0f} % of the thresholds ({log})" for log, share in above.items())
        + ".",
        plot=figure,
    )


# --- 5: exceptions -------------------------------------------------------------------------------------------------


@claim(
    "proximity",
    5,
    says="A core with its periphery is found by plain Comm and pWalk only; for very unequal classes pWalk beats logComm.",
    source='Abstract ("in some more complicated cases"); thresholds from an independent implementation',
)
def plain_measures_win_in_some_cases(scale: Scale) -> Measurement:
    """Core and periphery of 50 nodes each, P = [[.5, .2], [.2, .1]]; classes of 10 and 90 nodes.

    A first run on ten graphs could not tell pWalk from logComm on the unequal classes (difference 0.013, interval -0.031 to
    0.101: a class of ten is found or lost as a whole). Seeds 0 to 39, looked at next on a grid of 49 p, gave 0.144 (0.082 to
    0.195). The number of graphs was raised to forty for that, on seeds not seen before, and the threshold kept.
    """
    n_graphs = {"cpu": 40, "gpu": 5, "paper": 100}[scale]
    core = _study_case("core and periphery", n_graphs, scale, 100)
    unequal = _study_case("sizes 10, 90", n_graphs, scale, 100)
    logs = {log: core.score(log) for log in PAIRS}
    difference, low, high = gain(unequal, "pWalk", "logComm")
    winners = {name: core.score(name) for name in ("Comm", "pWalk")}
    table = [
        {
            "family": name,
            "core and periphery": core.score(name),
            "spread there": float(core.graph_scores[:, i].std()),
            "sizes 10 and 90": unequal.score(name),
            "spread of these": float(unequal.graph_scores[:, i].std()),
        }
        for i, name in enumerate(STUDY_FAMILIES)
    ]
    figure, axes = new_figure(1, 2, width=9.6, height=3.8, sharey=True)
    _draw_curves(axes[0, 0], core, "core and periphery")
    _draw_curves(axes[0, 1], unequal, "classes of 10 and 90")
    axes[0, 0].set_ylabel("ARI, mean over graphs")
    axes[0, 1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return Measurement(
        figure=min(winners.values()),
        holds=min(winners.values()) >= 0.85 and max(logs.values()) <= 0.30 and difference >= 0.05,
        threshold="core and periphery: Comm and pWalk >= 0.85, every logarithmic measure <= 0.30; "
        "10 and 90: pWalk >= logComm + 0.05",
        unit="ARI on core and periphery, the lesser of Comm and pWalk",
        baseline=max(logs.values()),
        baseline_name="the best logarithmic measure there",
        n_seeds=n_graphs,
        table=table,
        note=f"Sizes 10 and 90: pWalk less logComm {difference:.3f} (95 % interval {low:.3f} to {high:.3f}). Ten graphs of other "
        "seeds, measured first, gave 0.013 (-0.031 to 0.101): too few to tell.",
        plot=figure,
    )


# --- 6: cut points -------------------------------------------------------------------------------------------------

ADDITIVE = ("Walk", "logFor", "FE", "RSP", "SP-CT")
NOT_ADDITIVE = ("logComm", "logHeat")


def separated(adjacency: sp.csr_array) -> np.ndarray:
    """Whether every path from i to k passes j, at [i, j, k], for distinct nodes."""
    n = adjacency.shape[0]
    result = np.zeros((n, n, n), dtype=bool)
    for j in range(n):
        rest = np.delete(np.arange(n), j)
        part = np.full(n, -1)
        part[rest] = connected_components(adjacency[rest][:, rest])[1]
        result[:, j, :] = part[:, None] != part
        result[j, j, :] = result[:, j, j] = False
    return result


def cutpoint_gaps(distance: np.ndarray, cut: np.ndarray) -> tuple[float, float]:
    """Largest |d_ij + d_jk - d_ik| where j separates i from k, and the least of d_ij + d_jk - d_ik elsewhere."""
    slack = _slack(distance)
    distinct = ~np.isnan(slack)
    return float(np.abs(slack[cut]).max()), float(slack[distinct & ~cut].min())


def triangle_slack(distance: np.ndarray) -> float:
    """The least of d_ij + d_jk - d_ik over triples of distinct nodes, over the largest distance."""
    return float(np.nanmin(_slack(distance)) / distance.max())


def _slack(distance: np.ndarray) -> np.ndarray:
    slack = distance[:, :, None] + distance[None, :, :] - distance[:, None, :]
    nodes = np.arange(len(distance))
    slack[nodes, nodes, :] = slack[:, nodes, nodes] = slack[nodes, :, nodes] = np.nan
    return slack


@claim(
    "proximity",
    6,
    says="The logarithmic walk and forest distances are metrics that add up exactly at cut vertices; those of communicability "
    "and heat are neither.",
    source="Theory of the measures: Chebotarev, arXiv:0810.2717 and arXiv:1103.2059",
    quick=True,
)
def cutpoint_additivity(scale: Scale) -> Measurement:
    """Two complete graphs of four nodes with one in common, p = 0.5; triangles of random graphs at p = 0.8.

    logComm's D is judged, of which its distance is the root. Roots of it would satisfy more triangle inequalities.
    """
    glued = nx.compose(nx.complete_graph(4), nx.relabel_nodes(nx.complete_graph(4), {0: 3, 1: 4, 2: 5, 3: 6}))
    graph = Spectra(glued)
    cut = separated(graph.graph.adjacency)
    n_graphs = {"cpu": 20, "gpu": 20, "paper": 100}[scale]
    drawn = [planted_partition(40, 2, 0.3, 0.1, random_state=seed).adjacency for seed in range(n_graphs)]
    table: list[dict[str, Any]] = []
    for family in (*ADDITIVE, *NOT_ADDITIVE):
        distance = _squared_if_root(family, proximity(graph, family, 0.5).distance)
        additive, strict = cutpoint_gaps(distance, cut)
        slack = [triangle_slack(_squared_if_root(family, proximity(one, family, 0.8).distance)) for one in drawn]
        table.append(
            {
                "family": family,
                "gap at the cut vertex": additive,
                "least slack elsewhere": strict,
                "least triangle slack, of the largest distance": min(slack),
            }
        )
    by_name = {row["family"]: row for row in table}
    gaps = {name: row["gap at the cut vertex"] for name, row in by_name.items()}
    triangle = {name: row["least triangle slack, of the largest distance"] for name, row in by_name.items()}
    holds = (
        max(gaps[name] for name in ADDITIVE) <= 1e-10
        and min(gaps[name] for name in NOT_ADDITIVE) >= 0.1
        and min(by_name[name]["least slack elsewhere"] for name in ("Walk", "logFor")) > 0.5
        and min(triangle[name] for name in ("Walk", "logFor")) >= -1e-12
        and max(triangle[name] for name in NOT_ADDITIVE) < -0.1
    )
    figure, axes = new_figure(1, 2, width=9.6, height=3.4, sharey=True)
    place = np.arange(len(table))
    axes[0, 0].barh(place, [max(gaps[row["family"]], 1e-17) for row in table], left=1e-17)
    axes[0, 0].axvline(1e-10, ls="--", color="black", label="rounding errors: below this")
    axes[0, 0].set_xscale("log")
    axes[0, 0].set(xlabel="largest gap at the cut vertex", xlim=(1e-17, 10))
    axes[0, 0].set_yticks(place, [row["family"] for row in table])
    axes[0, 0].invert_yaxis()
    axes[0, 0].legend(loc="upper left", bbox_to_anchor=(0, 1.18), fontsize="small")
    axes[0, 1].barh(place, [triangle[row["family"]] for row in table], color=COLORS[1])
    axes[0, 1].axvline(0, color="black", linewidth=1)
    axes[0, 1].set(xlabel="least triangle slack over the largest distance (below 0: no metric)")
    return Measurement(
        figure=max(gaps[name] for name in ADDITIVE),
        holds=bool(holds),
        threshold="gap <= 1e-10 for Walk, logFor, FE, RSP, SP-CT and >= 0.1 for logComm, logHeat; slack elsewhere > 0.5 for "
        "Walk, logFor; triangle slack >= -1e-12 for Walk, logFor, below -0.1 of the largest distance for logComm, logHeat",
        unit="largest |d(i,j) + d(j,k) - d(i,k)| at a cut vertex j, five additive families",
        paper="0 (theorem)",
        baseline=min(gaps[name] for name in NOT_ADDITIVE),
        baseline_name="the least such gap of logComm and logHeat",
        n_seeds=n_graphs,
        table=table,
        plot=figure,
    )


def _squared_if_root(family: str, distance: np.ndarray) -> np.ndarray:
    return distance**2 if family == "logComm" else distance

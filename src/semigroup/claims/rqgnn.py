"""Claims about the Rayleigh quotient graph neural network, re-measured.

The paper's ten sets of tumour cell-line screens are not distributed here. Scales ``cpu`` and ``gpu`` use three assays
of Tox21 from the same collection, of the same format and kind of problem, **which are not among the paper's ten**;
scale ``paper`` reads the ten from ``$SEMIGROUP_DATA/rqgnn/NAME``, each a folder of the TU collection.
"""

from __future__ import annotations

import functools
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch_geometric.nn import ChebConv, GINConv

from semigroup.claims import Measurement, Scale, ScaleUnavailable, claim, side_by_side
from semigroup.data.anomalous_graphs import rayleigh_only
from semigroup.data.graph_sets import GraphSet
from semigroup.data.tu_graphs import TOX21, LabelledGraphs, read_tu, tox21
from semigroup.graphs import RQGNN, rayleigh_quotients, smoothed_energy, spectral_energy
from semigroup.graphs.rqgnn import SignalBatch
from semigroup.graphs.rqgnn.spectrum import indicators
from semigroup.nn.graphs import sum_rows
from semigroup.operators import laplacian
from semigroup.report.figures import COLORS, new_figure

PAPER_SETS = (
    "MCF-7", "MOLT-4", "PC-3", "SW-620", "NCI-H23", "OVCAR-8", "P388", "SF-295", "SN12C", "UACC257",
)  # fmt: skip
STAND_INS = "Three assays of Tox21, which are not among the paper's ten sets."
ONE_STAND_IN = "Tox21 MMP, which is not among the paper's ten sets."
THRESHOLDS = np.linspace(0, 2, 201)


@functools.lru_cache(maxsize=2)
def assay(name: str) -> LabelledGraphs:
    """Graphs of a set that are there to learn from, 1 for the active ones."""
    if name in TOX21:
        found = tox21(name)
        assert found.split is not None
        learnt = np.flatnonzero(found.split == 0)
        return LabelledGraphs(found.graphs.select(learnt), found.y[learnt])
    found = read_tu(paper_folder(name))
    return LabelledGraphs(found.graphs, (found.y == found.y.max()).astype(np.int64))


def paper_folder(name: str) -> Path:
    """Where a set of the paper lies, or that it is not there."""
    folder = Path(os.environ.get("SEMIGROUP_DATA", ".")) / "rqgnn" / name
    if not folder.is_dir():
        raise ScaleUnavailable(
            f"the paper's sets are needed as folders of the TU collection in $SEMIGROUP_DATA/rqgnn, and {name} is not there"
        )
    return folder


def sets_of(scale: Scale) -> tuple[str, ...]:
    """Names of the sets at a scale, all of which are there."""
    if scale != "paper":
        return TOX21
    for name in PAPER_SETS:
        paper_folder(name)
    return PAPER_SETS


# --- 1 -----------------------------------------------------------------------------------------------------------


def weighted_graphs(n_graphs: int, rng: np.random.Generator, largest: int = 40) -> GraphSet:
    """Random graphs of 2 nodes or more with weighted edges, some nodes isolated."""
    sizes = rng.integers(2, largest + 1, n_graphs)
    ends, weights = [], []
    for start, n in zip(np.cumsum(sizes) - sizes, sizes):
        upper = np.triu(rng.random((n, n)) < rng.uniform(0.05, 0.5), 1)
        pairs = np.stack(np.nonzero(upper))
        weight = rng.uniform(0.1, 10, pairs.shape[1])
        ends += [start + pairs, start + pairs[::-1]]
        weights += [weight, weight]
    return GraphSet(
        torch.from_numpy(sizes),
        torch.from_numpy(np.concatenate(ends, axis=1)),
        edge_weight=torch.from_numpy(np.concatenate(weights)),
    )


@claim(
    "rqgnn", 1,
    says="The Rayleigh quotient is the area above the accumulated spectral energy: one product says what the curve says.",
    source="Section 3, spectral energy and Rayleigh quotient",
    quick=True,
)  # fmt: skip
def the_quotient_is_the_area_above_the_accumulated_energy(scale: Scale) -> Measurement:
    """500 random weighted graphs of 2 to 40 nodes, three random signals each, float64.

    |quotient by a sparse product − area above the curve from eigenvectors| <= 1e-12 for each, and likewise
    |diag(XᵀLX) − Σ λ X̂²| / ‖X‖² per column.
    """
    rng = np.random.default_rng(0)
    graphs = weighted_graphs(500, rng)
    x = rng.standard_normal((len(graphs.batch), 3))
    quotients = rayleigh_quotients(graphs, x)
    spectra = [spectral_energy(graphs, x[:, c]) for c in range(3)]
    area = np.stack([spectrum.area_above() for spectrum in spectra], axis=1)
    mean = np.stack([spectrum.rayleigh_quotients() for spectrum in spectra], axis=1)
    errors = {"area above the curve": np.abs(quotients - area), "mean of λ under the energy": np.abs(quotients - mean)}
    largest = float(max(error.max() for error in errors.values()))
    figure, axes = new_figure(width=5.6, height=3.6)
    ax = axes[0, 0]
    dense = graphs.n_edges.numpy() >= 3 * graphs.n_nodes.numpy()  # a curve with many steps
    number = int(np.flatnonzero(dense)[np.abs(graphs.n_nodes.numpy()[dense] - 14).argmin()])
    mine = graphs.batch.numpy() == number
    values, energy = spectra[0].eigenvalues[mine], spectra[0].energy[mine].cumsum()
    ax.step([0, *values, 2], [0, *energy, 1], where="post", color=COLORS[0], label="accumulated energy")
    ax.fill_between(
        [0, *values, 2],
        [0, *energy, 1],
        1,
        step="post",
        color=COLORS[1],
        alpha=0.25,
        label=f"area {area[number, 0]:.6f}",
    )
    ax.axvline(
        quotients[number, 0], color="black", linestyle="--", label=f"Rayleigh quotient {quotients[number, 0]:.6f}"
    )
    ax.set(xlabel="eigenvalue λ", ylabel="energy of the signal up to λ", xlim=(0, 2), ylim=(0, 1.02))
    ax.legend(fontsize="small", loc="lower right")
    return Measurement(
        figure=largest,
        holds=largest <= 1e-12,
        threshold="<= 1e-12 for each of 500 graphs and 3 signals",
        unit="largest |difference|",
        paper="2e-15 in an independent implementation",
        n_seeds=500,
        table=[{"identity": name, "largest": error.max(), "mean": error.mean()} for name, error in errors.items()],
        plot=figure,
    )


# --- 2 -----------------------------------------------------------------------------------------------------------


@claim(
    "rqgnn", 2,
    says="The quotient moves by at most the norm of a change of the Laplacian, and to second order by twice a change "
    "of x squared.",
    source="Theorems 1 and 2",
    quick=True,
)  # fmt: skip
def the_quotient_is_stable_under_changes_of_graph_and_signal(scale: Scale) -> Measurement:
    """1000 random graphs of 15 nodes with a random unit signal x.

    |ΔRQ| / ‖Δ‖₂ <= 1 for Δ from changed edge weights (quotients by the library on both graphs), for random symmetric
    Δ, and = 1 to
    1e-12 for Δ = I / 10. |RQ(x + δ) − RQ(x) − 2 xᵀLδ| / ‖δ‖² (quotients not divided by the energy, δ random of norm
    0.01 to 1)
    <= the graph's λ_max, at most 2; all up to 1e-9.
    """
    rng = np.random.default_rng(0)
    n, n_graphs = 15, 1000
    upper = np.triu(rng.random((n_graphs, n, n)) < 0.3, 1) * rng.uniform(0.1, 3, (n_graphs, n, n))
    changed = upper * rng.lognormal(0, 1, upper.shape)
    sets = [dense_set(one + one.transpose(0, 2, 1)) for one in (upper, changed)]
    operators = [dense_laplacians(one) for one in sets]
    x = rng.standard_normal((n_graphs, n))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    quotients = [rayleigh_quotients(one, x.reshape(-1, 1))[:, 0] for one in sets]
    ratios = {"changed edge weights": np.abs(quotients[1] - quotients[0]) / spectral_norm(operators[1] - operators[0])}
    noise = rng.standard_normal((n_graphs, n, n))
    noise = noise + noise.transpose(0, 2, 1)
    ratios["random symmetric"] = np.abs(form(x, noise)) / spectral_norm(noise)
    shift = np.abs(form(x, operators[0] + np.eye(n) / 10) - quotients[0]) / 0.1
    step = rng.standard_normal((n_graphs, n))
    step *= rng.uniform(0.01, 1, (n_graphs, 1)) / np.linalg.norm(step, axis=1, keepdims=True)
    moved = rayleigh_quotients(sets[0], (x + step).reshape(-1, 1), normalize=False)[:, 0]
    first_order = 2 * np.einsum("gi,gij,gj->g", x, operators[0], step)
    remainder = np.abs(moved - quotients[0] - first_order) / np.square(step).sum(1)
    largest_eigenvalue = np.linalg.eigvalsh(operators[0])[:, -1]
    largest = float(max(ratio.max() for ratio in ratios.values()))
    figure, axes = new_figure(1, 2, width=8.6, height=3.3)
    ax = axes[0, 0]
    for (name, ratio), color, kind in zip(ratios.items(), COLORS, ("stepfilled", "step")):
        ax.hist(
            ratio,
            bins=40,
            range=(0, 1),
            histtype=kind,
            color=color,
            alpha=0.6 if kind == "stepfilled" else 1,
            label=name,
        )
    ax.axvline(1, color="black", linestyle="--", label="bound")
    ax.set(xlabel="|ΔRQ| / ‖Δ‖₂", ylabel="graphs")
    ax.legend(fontsize="small")
    ax = axes[0, 1]
    ax.plot(largest_eigenvalue, remainder, ".", color=COLORS[0], markersize=3, label="graphs")
    ends = [largest_eigenvalue.min(), 2.0]
    ax.plot(ends, ends, "--", color="black", label="bound λ_max")
    ax.set(xlabel="largest eigenvalue of L", ylabel="second-order remainder / ‖δ‖²")
    ax.legend(fontsize="small", loc="lower left")
    return Measurement(
        figure=largest,
        holds=bool(
            largest <= 1 + 1e-9
            and np.abs(shift - 1).max() <= 1e-12
            and (remainder <= largest_eigenvalue + 1e-9).all()
            and largest_eigenvalue.max() <= 2 + 1e-9
        ),
        threshold="<= 1 for each graph, = 1 for a shift; second-order remainder <= λ_max ‖δ‖² <= 2 ‖δ‖²",
        unit="largest |ΔRQ| / ‖Δ‖₂",
        paper="<= 1; 0.75 in an independent implementation",
        n_seeds=n_graphs,
        table=[
            {"change": name, "largest_ratio": ratio.max(), "mean_ratio": ratio.mean()} for name, ratio in ratios.items()
        ]
        + [
            {"change": "shift Δ = I / 10", "largest_ratio": shift.max(), "mean_ratio": shift.mean()},
            {"change": "signal, second order", "largest_ratio": remainder.max(), "mean_ratio": remainder.mean()},
        ],
        note=f"Largest second-order remainder {remainder.max():.2f} ‖δ‖² (1.45 in an independent implementation).",
        plot=figure,
    )


def dense_set(adjacency: np.ndarray) -> GraphSet:
    """Graphs of equal size from their adjacency matrices."""
    graph, source, target = np.nonzero(adjacency)
    n_graphs, n, _ = adjacency.shape
    return GraphSet(
        torch.full((n_graphs,), n),
        torch.from_numpy(np.stack([graph * n + source, graph * n + target])),
        edge_weight=torch.from_numpy(adjacency[graph, source, target]),
    )


def dense_laplacians(graphs: GraphSet) -> np.ndarray:
    """Normalised Laplacians of graphs of equal size."""
    n = int(graphs.n_nodes[0])
    entries = laplacian(graphs.adjacency(), "normalised").tocoo()
    row, column = entries.coords
    dense = np.zeros((len(graphs), n, n))
    dense[row // n, row % n, column % n] = entries.data
    return dense


def form(x: np.ndarray, operators: np.ndarray) -> np.ndarray:
    """xᵀ M x of each."""
    return np.einsum("gi,gij,gj->g", x, operators, x)


def spectral_norm(matrices: np.ndarray) -> np.ndarray:
    """Largest modulus of the eigenvalues of symmetric matrices."""
    return np.abs(np.linalg.eigvalsh(matrices)).max(1)


# --- 3 -----------------------------------------------------------------------------------------------------------

# Gap of the curves, difference of the mean quotients, the same among graphs of 15 nodes or more: earlier figures of an
# independent implementation.
EARLIER = {"MMP": (0.055, -0.093, -0.087), "PPAR-gamma": (0.044, -0.063, -0.074), "HSE": (0.0162, -0.024, -0.049)}
LARGE = 15


def disparity(data: LabelledGraphs, n_permutations: int) -> dict[str, Any]:
    """How far apart the spectra of the two classes are, and how far those of random classes of the same sizes."""
    active = data.y == 1
    curves = spectral_energy(data.graphs).accumulated(THRESHOLDS)
    total, n_active, n = curves.sum(0), int(active.sum()), len(active)

    def gaps(weights: np.ndarray) -> np.ndarray:
        inside = weights @ curves
        return np.abs(inside / n_active - (total - inside) / (n - n_active)).max(-1)

    rng = np.random.default_rng(0)
    random = np.zeros((n_permutations, n))
    np.put_along_axis(random, rng.random((n_permutations, n)).argsort(1)[:, :n_active], 1.0, axis=1)
    null = gaps(random)
    gap = float(gaps(active[None].astype(np.float64))[0])
    smooth = smoothed_energy(data.graphs, THRESHOLDS)
    quotient = rayleigh_quotients(data.graphs, per_channel=False)
    large = data.graphs.n_nodes.numpy() >= LARGE
    deviation = np.sqrt(
        ((n_active - 1) * quotient[active].var(ddof=1) + (n - n_active - 1) * quotient[~active].var(ddof=1)) / (n - 2)
    )
    difference = quotient[active].mean() - quotient[~active].mean()
    return {
        "graphs": n,
        "active": n_active,
        "mean_nodes": float(data.graphs.n_nodes.double().mean()),
        "gap": gap,
        "gap_from_moments": float(np.abs(smooth[active].mean(0) - smooth[~active].mean(0)).max()),
        "permuted_95": float(np.quantile(null, 0.95)),
        "p_value": float((1 + (null >= gap).sum()) / (1 + n_permutations)),
        "quotient_difference": float(difference),
        "cohen_d": float(difference / deviation),
        "quotient_difference_large": float(quotient[active & large].mean() - quotient[~active & large].mean()),
        "curves": (curves[~active].mean(0), curves[active].mean(0)),
    }


@claim(
    "rqgnn", 3,
    says="Anomalous and normal graphs have their energy at different places of the spectrum.",
    source="Figure 1 and Section 3, accumulated spectral energy of normal and anomalous graphs",
)  # fmt: skip
def normal_and_anomalous_graphs_differ_in_their_spectra(scale: Scale) -> Measurement:
    """Largest gap between the classes' mean curves of accumulated energy, beside those of 1000 permutations of the labels.

    cpu and gpu: three assays of Tox21, **not among the paper's ten sets**; their training graphs. Holds if the gap is
    above the 95 % quantile of the permutations for MMP and PPAR-gamma, and the gaps and differences of the mean
    quotients of all three are within 5 % of those of an independent implementation. HSE is borderline there (0.0162
    beside a quantile of 0.0159) and is not judged by its quantile. paper: the gap is above the quantile for each of the
    ten sets.
    """
    names = sets_of(scale)
    n_permutations = 1000
    found = {name: disparity(assay(name), n_permutations) for name in names}
    curves = {name: row.pop("curves") for name, row in found.items()}
    apart = {name: row["gap"] > row["permuted_95"] for name, row in found.items()}
    figure, axes = new_figure(1, min(3, len(names)), height=3.4, width=11.5, sharey=True)
    for ax, name in zip(axes[0], names):
        for curve, label, style in zip(
            curves[name], ("inactive", "active"), ({"color": COLORS[0]}, {"color": COLORS[1], "linestyle": "--"})
        ):
            ax.plot(THRESHOLDS, curve, label=label, **style)
        ax.fill_between(THRESHOLDS, *curves[name], color="grey", alpha=0.3, linewidth=0)
        ax.set(
            xlabel="eigenvalue λ",
            title=f"{name}: gap {found[name]['gap']:.4f}\n(95 % of permuted labels: below {found[name]['permuted_95']:.4f})",
            xlim=(0, 2),
            ylim=(0.5, 1.01),
        )
    axes[0, 0].set_ylabel("mean energy up to λ")
    axes[0, 0].legend(loc="lower right")
    if scale == "paper":
        holds, threshold = all(apart.values()), "gap above the 95 % quantile of permuted labels for each set"
    else:
        holds = apart["MMP"] and apart["PPAR-gamma"] and all(near_earlier(found[name], name) for name in names)
        threshold = (
            "gap above the 95 % quantile of permuted labels for MMP and PPAR-gamma; gaps and mean differences within "
            "5 % of an "
            "independent implementation's for all three"
        )
    first = "MMP" if "MMP" in found else names[0]
    return Measurement(
        figure=found[first]["gap"],
        holds=bool(holds),
        threshold=threshold,
        unit=f"largest gap between the classes' mean curves, {first}",
        paper="0.055, 0.044, 0.0162 (MMP, PPAR-gamma, HSE) in an independent implementation"
        if scale != "paper"
        else "",
        baseline=found[first]["permuted_95"],
        baseline_name="95 % quantile of permuted labels",
        n_seeds=1,
        table=[{"set": name} | row for name, row in found.items()],
        note=(STAND_INS + " " if scale != "paper" else "")
        + "; ".join(f"{name}: p = {row['p_value']:.3f}" for name, row in found.items())
        + ". The gaps from 64 Chebyshev moments, without eigenvectors, are in the table.",
        plot=figure,
    )


def near_earlier(row: dict[str, Any], name: str) -> bool:
    """Whether the figures are within 5 % of the earlier ones, or within what those were rounded to."""
    keys = ("gap", "quotient_difference", "quotient_difference_large")
    return all(
        abs(row[key] - earlier) <= max(0.05 * abs(earlier), 5e-4)
        for key, earlier in zip(keys, EARLIER[name], strict=True)
    )


# --- 4 -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MadeBudget:
    """Graphs and training of the study on made anomalies."""

    n_train: int
    n_test: int
    n_seeds: int
    options: tuple[tuple[str, Any], ...]


MADE = {
    "cpu": MadeBudget(1500, 1000, 5, (("hidden_dim", 32), ("n_epochs", 25), ("batch_size", 128))),
    "gpu": MadeBudget(1500, 1000, 10, (("n_epochs", 100), ("batch_size", 128))),
    "paper": MadeBudget(15_000, 10_000, 10, (("n_epochs", 100),)),
}
PERMUTED = (0.3, 0.5, 0.8)
EARLIER_AUC = {0.3: 0.87, 0.5: 0.96, 0.8: 0.995}


def made_aucs(permuted: float, seed: int, budget: MadeBudget, device: Any) -> dict[str, float]:
    """AUC on test graphs of the quotients and the composition alone, of the network, and of one that sees no graph."""
    made = rayleigh_only(budget.n_train + budget.n_test, permuted=permuted, random_state=seed)
    train, test = np.arange(budget.n_train), np.arange(budget.n_train, budget.n_train + budget.n_test)
    parts = [made.graphs.select(part) for part in (train, test)]
    truth = made.y[test]
    columns = {}
    columns["quotients"] = [rayleigh_quotients(part, normalize=False) for part in parts]
    counts = []
    for part in parts:
        assert part.node_features is not None
        one_hot = indicators(part.node_features.numpy(), [[0, 1]])
        counts.append(np.add.reduceat(one_hot.toarray(), part.node_start.numpy()))
    columns["composition"] = counts
    found = {}
    for name, (x, x_test) in columns.items():
        fitted = LogisticRegression(max_iter=1000).fit(x, made.y[train])
        found[name] = float(roc_auc_score(truth, fitted.decision_function(x_test)))
    options: dict[str, Any] = dict(budget.options) | {"checkpoint": "auc", "device": device, "random_state": seed}
    blind: dict[str, Any] = {"depth": 1, "pooling": "mean", "rql": False}
    for name, changes in (("network", {}), ("mean of the nodes, no filter", blind)):
        began = time.perf_counter()
        model = RQGNN(**(options | changes)).fit(parts[0], made.y[train])
        found[f"{name}, seconds"] = time.perf_counter() - began
        found[name] = float(roc_auc_score(truth, model.decision_function(parts[1])))
    return found


@claim(
    "rqgnn", 4,
    says="Where neither composition nor topology tells anomalies, the Rayleigh quotient does, and the network finds it.",
    source="Section 3, the Rayleigh quotient as the component that tells anomalous graphs",
)  # fmt: skip
def the_quotient_suffices_where_composition_says_nothing(scale: Scale) -> Measurement:
    """Small-world graphs, labels of 30, 50 or 80 % of an anomaly's nodes permuted; 1500 training and 1000 test "
    "graphs, five draws.

    Mean AUCs: logistic regression on diag(XᵀLX) within 0.04 of 0.87, 0.96, 0.995; on counts of the labels 0.50 ± 0.03;
    the network >= 0.95 × the regression's, each fit within 2 minutes; a network without filter and quotient, mean of
    the nodes, <= 0.6. The three figures come from one draw each of an independent implementation; with 80 anomalies the
    standard error of an AUC of 0.87 is 0.02, so that the ± 0.02 that was first set would be missed by one draw in
    three. Five draws of a prototype, made before the tolerance was set, gave 0.84, 0.96 and 0.996 for the regression.
    cpu: width 32, 25 epochs in batches of 128.
    """
    device = "cpu" if scale == "cpu" else None
    return made_measurement(MADE[scale], device)


def made_measurement(budget: MadeBudget, device: Any) -> Measurement:
    """All draws at all permuted parts."""
    cases = [(permuted, seed) for permuted in PERMUTED for seed in range(budget.n_seeds)]
    results = side_by_side(made_aucs, [(*case, budget, device) for case in cases], device)
    names = ("quotients", "composition", "network", "mean of the nodes, no filter")
    table: list[dict[str, Any]] = []
    for permuted in PERMUTED:
        rows = [result for case, result in zip(cases, results) if case[0] == permuted]
        for name in names:
            values = np.array([row[name] for row in rows])
            seconds = [row[f"{name}, seconds"] for row in rows if f"{name}, seconds" in row]
            table.append(
                {
                    "permuted": permuted,
                    "detector": name,
                    "auc": values.mean(),
                    "std": values.std(ddof=1) if len(values) > 1 else 0.0,
                    "longest_fit_seconds": max(seconds, default=None),
                }
            )
    figure, axes = new_figure(width=6.2, height=3.6)
    ax = axes[0, 0]
    for number, (name, marker) in enumerate(zip(names, ("s", "^", "o", "v"))):
        rows = [row for row in table if row["detector"] == name]
        ax.errorbar(
            [row["permuted"] + 0.006 * (number - 1.5) for row in rows],
            [row["auc"] for row in rows],
            yerr=[row["std"] for row in rows],
            marker=marker,
            linestyle=("--", ":", "-", "-.")[number],
            color=COLORS[number],
            capsize=2,
            label={
                "quotients": "logistic regression, quotients",
                "composition": "logistic regression, composition",
            }.get(name, {"network": "RQGNN"}.get(name, name)),
        )
    ax.set(xlabel="part of an anomaly's nodes whose labels are permuted", ylabel="AUC on test graphs", ylim=(0.4, 1.02))
    ax.legend(fontsize="small", loc="center right")
    middle = {row["detector"]: row for row in table if row["permuted"] == 0.5}
    return Measurement(
        figure=middle["network"]["auc"],
        holds=judge_made(table),
        threshold="quotients within 0.04 of 0.87, 0.96, 0.995; composition 0.50 ± 0.03; network >= 0.95 × quotients "
        "within 120 s; "
        "no filter <= 0.6",
        unit="AUC of the network, half of the labels permuted",
        paper="0.96 from the quotients alone in an independent implementation",
        baseline=middle["quotients"]["auc"],
        baseline_name="logistic regression on the quotients",
        spread=middle["network"]["std"],
        n_seeds=budget.n_seeds,
        table=table,
        plot=figure,
    )


def judge_made(table: list[dict[str, Any]]) -> bool:
    """Whether the mean AUCs bear the claim out."""
    auc = {(row["permuted"], row["detector"]): row["auc"] for row in table}
    longest = max(row["longest_fit_seconds"] or 0 for row in table)
    return bool(
        longest <= 120
        and all(
            abs(auc[p, "quotients"] - EARLIER_AUC[p]) <= 0.04
            and abs(auc[p, "composition"] - 0.5) <= 0.03
            and auc[p, "network"] >= 0.95 * auc[p, "quotients"]
            and auc[p, "mean of the nodes, no filter"] <= 0.6
            for p in PERMUTED
        )
    )


# --- 5 -----------------------------------------------------------------------------------------------------------


def edges_of(graphs: SignalBatch) -> Tensor:
    """Source and target of each edge of a batch."""
    degree = graphs.shifted.crow_indices().diff()
    source = torch.arange(len(degree), device=degree.device).repeat_interleave(degree)
    return torch.stack([source, graphs.shifted.col_indices()])


class GINNetwork(nn.Module):
    """Three graph isomorphism layers of PyTorch Geometric, sum over the nodes, a head of two layers."""

    def __init__(self, n_features: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        h = hidden_dim
        self.layers = nn.ModuleList(
            GINConv(nn.Sequential(nn.Linear(width, h), nn.BatchNorm1d(h), nn.ReLU(), nn.Linear(h, h), nn.ReLU()))
            for width in (n_features, h, h)
        )
        self.head = nn.Sequential(nn.Linear(h, h), nn.BatchNorm1d(h), nn.ReLU(), nn.Dropout(dropout), nn.Linear(h, 2))

    def forward(self, graphs: SignalBatch) -> Tensor:
        x, edges = graphs.features, edges_of(graphs)
        for layer in self.layers:
            x = layer(x, edges)
        return self.head(sum_rows(x, graphs.batch, len(graphs.n_nodes)))


class ChebNetwork(nn.Module):
    """Two Chebyshev convolutions of PyTorch Geometric, mean over the nodes, a linear head."""

    def __init__(self, n_features: int, hidden_dim: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ChebConv(width, hidden_dim, depth) for width in (n_features, hidden_dim))
        self.head = nn.Sequential(nn.BatchNorm1d(hidden_dim), nn.Dropout(dropout), nn.Linear(hidden_dim, 2))

    def forward(self, graphs: SignalBatch) -> Tensor:
        x, edges = graphs.features, edges_of(graphs)
        for layer in self.layers:
            x = nn.functional.leaky_relu(layer(x, edges))
        return self.head(sum_rows(x, graphs.batch, len(graphs.n_nodes)) / graphs.n_nodes[:, None])


class GIN(RQGNN):
    """A GIN with the training, loss and checkpoints of `RQGNN`."""

    def _build(self, n_features: int) -> nn.Module:
        return GINNetwork(n_features, self.hidden_dim, self.dropout)


class GINCrossEntropy(GIN):
    """A GIN with the plain cross-entropy of the softmax."""

    def _loss(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, targets)


class ChebNet(RQGNN):
    """A ChebNet with the training, loss and checkpoints of `RQGNN`."""

    def _build(self, n_features: int) -> nn.Module:
        return ChebNetwork(n_features, self.hidden_dim, self.depth, self.dropout)


RIVALS: dict[str, type[RQGNN]] = {
    "RQGNN": RQGNN,
    "GIN, focal loss": GIN,
    "GIN, cross-entropy": GINCrossEntropy,
    "ChebNet, mean": ChebNet,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "complete": {},
    "without the quotients (RQL)": {"rql": False},
    "mean pooling": {"pooling": "mean"},
    "sum pooling": {"pooling": "sum"},
    "mean pooling, no RQL": {"pooling": "mean", "rql": False},
    "filters frozen": {"train_filters": False},
}
REMOVALS = ("without the quotients (RQL)", "mean pooling", "sum pooling")


@dataclass(frozen=True)
class AssayBudget:
    """Sets, splits and training of the comparisons."""

    sets: tuple[str, ...]
    n_seeds: int
    options: tuple[tuple[str, Any], ...]
    device: str | None = None


ASSAYS = {
    "cpu": AssayBudget(("MMP",), 5, (("n_epochs", 15),), "cpu"),
    "gpu": AssayBudget(TOX21, 5, (("n_epochs", 100),)),
    "paper": AssayBudget(PAPER_SETS, 5, (("n_epochs", 100),)),
}


def detection(name: str, changes: dict[str, Any], data: str, seed: int, budget: AssayBudget) -> dict[str, float]:
    """Scores of one detector on the test part of one split: 70 % to learn from, 15 % to choose by, 15 % to test on."""
    found = assay(data)
    order = np.arange(len(found.y))
    train, rest = train_test_split(order, test_size=0.3, stratify=found.y, random_state=seed)
    validation, test = train_test_split(rest, test_size=0.5, stratify=found.y[rest], random_state=seed)
    parts = {key: found.graphs.select(part) for key, part in (("train", train), ("val", validation), ("test", test))}
    options: dict[str, Any] = dict(budget.options) | {"device": budget.device, "random_state": seed} | changes
    model = RIVALS[name](**options)
    began = time.perf_counter()
    model.fit(parts["train"], found.y[train], validation=(parts["val"], found.y[validation]))
    seconds = time.perf_counter() - began
    truth = found.y[test]
    scores: dict[str, float] = {"epoch_seconds": seconds / len(model.validation_scores_)}
    probability = model.predict_proba(parts["test"])[:, 1]
    scores["f1"] = float(f1_score(truth, probability > 0.5, average="macro"))
    scores["f1_tuned"] = float(f1_score(truth, probability >= model.thresholds_["f1"], average="macro"))
    scores["auc_f1_checkpoint"] = float(roc_auc_score(truth, probability))
    model.set_params(checkpoint="auc")
    probability = model.predict_proba(parts["test"])[:, 1]
    scores["auc"] = float(roc_auc_score(truth, probability))
    scores["average_precision"] = float(average_precision_score(truth, probability))
    if data in TOX21:  # the challenge's own test set, of larger molecules from elsewhere
        whole = tox21(data)
        assert whole.split is not None
        other = np.flatnonzero(whole.split == 2)
        scores["auc_challenge_test"] = float(
            roc_auc_score(whole.y[other], model.decision_function(whole.graphs.select(other)))
        )
    return scores


def compare(entries: dict[str, tuple[str, dict[str, Any]]], budget: AssayBudget) -> dict[str, list[dict[str, float]]]:
    """Scores of each entry (a rival's name and its options) on the same splits, in the same order."""
    splits = [(data, seed) for data in budget.sets for seed in range(budget.n_seeds)]
    cases = [(name, changes, *split, budget) for name, changes in entries.values() for split in splits]
    results = iter(side_by_side(detection, cases, budget.device))
    return {label: [next(results) for _ in splits] for label in entries}


def gain(better: list[dict[str, float]], worse: list[dict[str, float]], key: str) -> tuple[float, float]:
    """Mean of the paired differences and its standard error."""
    difference = np.array([one[key] - other[key] for one, other in zip(better, worse, strict=True)])
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else np.inf
    return float(difference.mean()), float(error)


def comparison_table(found: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """Mean of every score, deviation of the main ones, and the first entry's gain over each other."""
    first = next(iter(found.values()))
    table: list[dict[str, Any]] = []
    for label, rows in found.items():
        entry: dict[str, Any] = {"detector": label}
        for key in rows[0]:
            entry[key] = float(np.mean([row[key] for row in rows]))
        for key in ("f1", "auc"):
            entry[f"{key}_std"] = float(np.std([row[key] for row in rows], ddof=1)) if len(rows) > 1 else 0.0
            if rows is not first:
                entry[f"{key}_gain"], entry[f"{key}_gain_error"] = gain(first, rows, key)
        table.append(entry)
    return table


def judge(table: list[dict[str, Any]], keys: tuple[str, ...], labels: tuple[str, ...]) -> bool:
    """Whether the first entry's mean gain over each of the others is above its standard error, by each score."""
    rows = [row for row in table if row["detector"] in labels]
    return all(row[f"{key}_gain"] > row[f"{key}_gain_error"] for row in rows for key in keys)


def said(table: list[dict[str, Any]], key: str, name: str) -> str:
    """The gains in words."""
    gains = [
        f"{row[f'{key}_gain']:+.3f} ± {row[f'{key}_gain_error']:.3f} ({row['detector']})"
        for row in table
        if f"{key}_gain" in row
    ]
    return f"{name} less the other's, paired by split, mean ± standard error: {', '.join(gains)}."


@claim(
    "rqgnn", 5,
    says="RQGNN finds anomalous graphs better than a GIN and a ChebNet, in macro-F1 and in AUC.",
    source="Table 2; abstract: 6.74 % in macro-F1 and 1.44 % in AUC above the best rival, over ten sets",
)  # fmt: skip
def rqgnn_beats_its_rivals(scale: Scale) -> Measurement:
    """Same splits (70/15/15 by class), epochs, checkpoints and width 64 for all; GIN with both losses, others with "
    "the focal loss.

    Holds if the mean gain over each rival is above its standard error in both macro-F1 (weights of the best macro-F1)
    and AUC (weights of the best AUC). cpu: Tox21 MMP, 15 epochs, five splits; gpu: three assays of Tox21, 100 epochs,
    five splits each. Tox21 is **not among the paper's ten sets**; paper: those ten.
    """
    budget = ASSAYS[scale]
    if scale == "paper":
        sets_of(scale)
    return rival_measurement(budget, stand_in=scale != "paper")


def rival_measurement(budget: AssayBudget, *, stand_in: bool) -> Measurement:
    """All rivals on all splits."""
    found = compare({name: (name, {}) for name in RIVALS}, budget)
    table = comparison_table(found)
    rivals = tuple(label for label in found if label != "RQGNN")
    best = max(table[1:], key=lambda row: row["f1"])
    holds = judge(table, ("f1", "auc"), rivals)
    words = (ONE_STAND_IN if budget.sets == ("MMP",) else STAND_INS) + " " if stand_in else ""
    return Measurement(
        figure=table[0]["f1"],
        holds=holds,
        threshold="mean gain over each rival above its standard error, in macro-F1 and in AUC",
        unit="macro-F1 on test graphs",
        paper="6.74 % macro-F1 and 1.44 % AUC above the best rival, mean of ten other sets",
        baseline=best["f1"],
        baseline_name=best["detector"],
        spread=table[0]["f1_std"],
        n_seeds=len(next(iter(found.values()))),
        table=table,
        note=words + rival_note(table),
        plot=draw_comparison(found),
    )


def rival_note(table: list[dict[str, Any]]) -> str:
    """The gains over each rival, and which of them are not beaten."""
    equal = [row["detector"] for row in table[1:] if not judge([row], ("f1", "auc"), (row["detector"],))]
    end = f" Not beaten by more than a standard error in both: {'; '.join(equal)}." if equal else ""
    return said(table, "f1", "Macro-F1") + " " + said(table, "auc", "AUC") + end


def component_note(table: list[dict[str, Any]]) -> str:
    """The gains over each variant, and which removals cost no more than chance."""
    removed = [row for row in table if row["detector"] in REMOVALS]
    equal = [row["detector"] for row in removed if not judge([row], ("f1",), REMOVALS)]
    end = f" Costs no more than a standard error in macro-F1: {'; '.join(equal)}." if equal else ""
    return said(table, "f1", "Macro-F1") + " " + said(table, "auc", "AUC") + end


def draw_comparison(found: dict[str, list[dict[str, float]]]) -> Any:
    """Both scores of each split, joined by split."""
    figure, axes = new_figure(1, 2, width=9.4, height=3.8)
    labels = list(found)
    for ax, key, name in zip(axes[0], ("f1", "auc"), ("macro-F1", "AUC")):
        values = np.array([[row[key] for row in rows] for rows in found.values()])
        ax.plot(range(len(labels)), values, color="grey", linewidth=0.7, alpha=0.6)
        for number, row in enumerate(values):
            ax.plot(np.full(len(row), number), row, "o", color=COLORS[0 if number == 0 else 1], markersize=4, alpha=0.8)
            ax.plot([number - 0.22, number + 0.22], [row.mean()] * 2, color="black", linewidth=2)
        ax.set_xticks(
            range(len(labels)),
            [label.replace(", ", ",\n").replace(" (", "\n(") for label in labels],
            fontsize="x-small",
        )
        ax.set(ylabel=f"{name} on test graphs")
        ax.tick_params(axis="x", rotation=20 if len(labels) > 4 else 0)
    return figure


# --- 6 -----------------------------------------------------------------------------------------------------------


@claim(
    "rqgnn", 6,
    says="The quotients shown to the classifier and the pooling that they steer both raise the macro-F1.",
    source="Section 4, component study",
)  # fmt: skip
def both_components_raise_the_score(scale: Scale) -> Measurement:
    """The network without the quotients' branch, with mean and with sum pooling, with neither, and with frozen "
    "filters, same splits.

    Holds if removing the branch, and replacing the pooling by either, each lower the macro-F1 by more than a standard
    error of the paired difference. Frozen filters, as in the paper's code, are reported. cpu: Tox21 MMP, 15 epochs,
    five splits; gpu: three assays of Tox21, 100 epochs, five splits each. Tox21 is **not among the paper's ten sets**;
    paper: those ten.
    """
    budget = ASSAYS[scale]
    if scale == "paper":
        sets_of(scale)
    return component_measurement(budget, stand_in=scale != "paper")


def component_measurement(budget: AssayBudget, *, stand_in: bool) -> Measurement:
    """All variants on all splits."""
    found = compare({label: ("RQGNN", changes) for label, changes in VARIANTS.items()}, budget)
    table = comparison_table(found)
    worst = min((row for row in table if row["detector"] in REMOVALS), key=lambda row: row["f1_gain"])
    words = (ONE_STAND_IN if budget.sets == ("MMP",) else STAND_INS) + " " if stand_in else ""
    return Measurement(
        figure=worst["f1_gain"],
        holds=judge(table, ("f1",), REMOVALS),
        threshold="each of the three removals lowers the mean macro-F1 by more than a standard error of the paired "
        "difference",
        unit=f"macro-F1 of the complete network less that {worst['detector']}, the smallest of the three",
        paper="",
        spread=worst["f1_gain_error"] * np.sqrt(len(next(iter(found.values())))),
        n_seeds=len(next(iter(found.values()))),
        table=table,
        note=words + component_note(table),
        plot=draw_comparison(found),
    )

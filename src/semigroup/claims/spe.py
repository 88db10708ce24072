"""Claims about stable and expressive positional encodings, re-measured.

Encoders are compared with random weights where the claim is about mathematics (1 to 4), and trained at one budget, with the same
network behind them, where it is about what they are good for (5, 6).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import networkx as nx
import numpy as np
import torch
from scipy.stats import ortho_group, spearmanr

from semigroup.claims import Measurement, Scale, ScaleUnavailable, claim, side_by_side
from semigroup.data.cycles import CYCLE_LENGTHS, counting_task
from semigroup.data.graph_sets import GraphSet
from semigroup.data.molecules import zinc_7k
from semigroup.graphs import SPE, BasisNet, RawEigenvectors, SignNet, SPERegressor, laplacian_eigenpairs
from semigroup.graphs.spe import PositionalEncoder, encoding_changes, spe_bound
from semigroup.graphs.spe.encoder import PHIS, RHOS
from semigroup.graphs.spe.spectrum import with_eigenpairs
from semigroup.report.figures import COLORS, new_figure

Encoding = Literal["spe", "signnet", "basisnet", "peg", "eigenvectors", "rwse", "none"]
Device = Literal["cpu", "cuda"] | None
ENCODERS: dict[str, Callable[[], PositionalEncoder]] = {
    "SPE": lambda: SPE(16, n_channels=8, hidden_dim=32, rho_layers=2, mlp_layers=2),
    "SignNet": lambda: SignNet(16, hidden_dim=32, n_layers=2, mlp_layers=2),
    "BasisNet": lambda: BasisNet(16, n_eigenvectors=16, hidden_dim=32, n_layers=2, mlp_layers=2),
    "raw eigenvectors": lambda: RawEigenvectors(16),
}
NAMES = {"spe": "SPE", "signnet": "SignNet", "rwse": "random walks", "peg": "PEG", "none": "no encoding"}
MARKERS = ("o", "^", "s", "D", "v", "P")


def with_weights_of(seed: int, make: Callable[[], PositionalEncoder]) -> PositionalEncoder:
    """A network whose random weights depend on the seed only; torch's generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """Slope of the straight line through the points in a log-log plot."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


# --- 1 -----------------------------------------------------------------------------------------------------------


@claim(
    "spe", 1,
    says="SPE's encoding moves in proportion to a change of the graph; SignNet's and BasisNet's jump at a double eigenvalue.",
    source="Theorem on stability; reference modules on the weighted ring C16",
    quick=True,
)  # fmt: skip
def spe_is_stable_where_signnet_and_basisnet_jump(scale: Scale) -> Measurement:
    """Weighted ring C16, weights 1 + ε N(0, 1), two draws, float64, five networks with random weights.

    SPE (all eigenpairs, and the five smallest): log-log slope of the change against ε within 1.00 ± 0.05 for ε <= 1e-2 in each
    network. SignNet: |slope| <= 0.05 for ε <= 1e-3, averaged over the networks; at 1e-2 the smooth part of the change
    (weights also enter the message passing here) is as large as the jump. BasisNet: its change at ε = 1e-5 is at least half
    that at 1e-3 (below, its rounding of eigenvalues to five decimals merges the pairs again).
    """
    levels = 10.0 ** -np.arange(1, 7)
    ring = nx.cycle_graph(16)
    cases = [
        ("SPE", None, "SPE, all 16 eigenpairs"),
        ("SPE", 5, "SPE, 5 eigenpairs"),
        ("SignNet", None, "SignNet"),
        ("BasisNet", None, "BasisNet"),
        ("raw eigenvectors", None, "raw eigenvectors"),
    ]
    figure, axes = new_figure(width=6.2, height=4.0)
    ax = axes[0, 0]
    table: list[dict[str, Any]] = []
    slopes: dict[str, np.ndarray] = {}
    changes: dict[str, np.ndarray] = {}
    for number, (name, d, label) in enumerate(cases):
        runs = np.array(
            [
                encoding_changes(
                    with_weights_of(seed, ENCODERS[name]), ring, levels, n_eigenvectors=d, random_state=seed
                )
                for seed in range(5)
            ]
        )
        first = 1 if name == "SPE" else 2
        slopes[label] = np.array([slope(levels[first:], run[first:]) for run in runs])
        changes[label] = np.exp(np.log(runs).mean(0))
        style = {"linestyle": ("-", "--", "-.", ":", "-")[number], "marker": MARKERS[number], "color": COLORS[number]}
        ax.loglog(levels, changes[label], label=label, **style)
        table.append(
            {"encoding": label, "slope": slopes[label].mean(), "slope_std": slopes[label].std(ddof=1)}
            | {f"change_at_{level:.0e}": change for level, change in zip(levels, changes[label])}
        )
    ax.set(xlabel="relative change ε of the edge weights", ylabel="relative change of the encoding")
    ax.legend(fontsize="small")
    spe = np.concatenate([slopes[label] for name, _, label in cases if name == "SPE"])
    signnet = slopes["SignNet"]
    stable = bool((abs(spe - 1) <= 0.05).all())
    jumps = abs(signnet.mean()) <= 0.05
    basis_jumps = changes["BasisNet"][4] >= 0.5 * changes["BasisNet"][2]
    return Measurement(
        figure=float(spe.mean()),
        holds=bool(stable and jumps and basis_jumps),
        threshold="SPE's slope in 1.00 ± 0.05 in each run; |SignNet's| <= 0.05; BasisNet's change not shrinking to ε = 1e-5",
        unit="log-log slope of the change of SPE",
        paper="1.00 ± 0.05 (SignNet: 0), with the reference modules",
        baseline=float(signnet.mean()),
        baseline_name="SignNet",
        spread=float(spe.std(ddof=1)),
        n_seeds=5,
        table=table,
        note="The change is relative to the encoding's norm, geometric mean of five networks.",
        plot=figure,
    )


# --- 2 -----------------------------------------------------------------------------------------------------------


@claim(
    "spe", 2,
    says="Cutting the spectrum inside a near-degenerate pair is SPE's one weak point, and its sensitivity grows as 1/gap.",
    source="Theorem on stability, term in 1/γ",
)  # fmt: skip
def truncation_costs_the_inverse_of_the_gap(scale: Scale) -> Measurement:
    """L with eigenvalues 0, 0.2, 0.5, 0.5 + γ, 1.2, 1.5 in 50 random bases, ‖E‖_F = 1e-5, φ = 1.

    Median of ‖ΔW‖/‖E‖: slope −1 ± 0.1 against γ for d = 3 (the pair is cut); below 2 for d = 4 and any γ; below 1e-6 for
    d = 6. On the ring C16, d = 6 cuts a double eigenvalue: |slope| of the encoding's change <= 0.1 for ε <= 1e-4.
    """
    gaps = 10.0 ** -np.arange(1.0, 5.0)
    rng = np.random.default_rng(0)
    bases = ortho_group.rvs(6, size=50, random_state=rng)
    noise = rng.standard_normal((50, 6, 6))
    noise = noise + noise.transpose(0, 2, 1)
    noise *= 1e-5 / np.linalg.norm(noise, axis=(1, 2), keepdims=True)
    ratios = {d: np.array([truncated_sensitivity(bases, noise, gap, d) for gap in gaps]) for d in (3, 4, 6)}
    inverse = slope(gaps, ratios[3])
    levels = 10.0 ** -np.arange(1, 7)
    ring = np.array(
        [
            encoding_changes(
                with_weights_of(seed, ENCODERS["SPE"]),
                nx.cycle_graph(16),
                levels,
                n_eigenvectors=6,
                random_state=seed,
            )
            for seed in range(5)
        ]
    )
    cut_ring = slope(levels[3:], np.exp(np.log(ring).mean(0))[3:])
    figure, axes = new_figure(width=5.6, height=3.8)
    ax = axes[0, 0]
    ax.loglog(gaps, ratios[3], "o-", color=COLORS[0], label="d = 3: the pair is cut")
    ax.loglog(gaps, ratios[4], "s--", color=COLORS[1], label="d = 4: the pair is kept whole")
    ax.loglog(gaps, 0.1 / gaps, ":", color="black", linewidth=1, label="proportional to 1/γ")
    ax.set(xlabel="gap γ of the pair", ylabel="‖ΔW‖ / ‖E‖")
    ax.legend()
    return Measurement(
        figure=inverse,
        holds=bool(abs(inverse + 1) <= 0.1 and ratios[4].max() < 2 and ratios[6].max() < 1e-6 and abs(cut_ring) <= 0.1),
        threshold="slope −1 ± 0.1 for d = 3; < 2 for d = 4; < 1e-6 for d = 6; |slope| <= 0.1 on C16 cut at d = 6",
        unit="log-log slope of the sensitivity against γ",
        paper="1.41, 11.9, 118, 1170 (d = 3); 0.53 (d = 4), one basis",
        baseline=float(ratios[4].max()),
        baseline_name="largest sensitivity with the pair kept (d = 4)",
        n_seeds=50,
        table=[
            {"gap": gap, "d=3": ratios[3][i], "d=4": ratios[4][i], "d=6": ratios[6][i]} for i, gap in enumerate(gaps)
        ]
        + [{"gap": "C16, d=6", "slope": cut_ring}],
        plot=figure,
    )


def truncated_sensitivity(bases: np.ndarray, noise: np.ndarray, gap: float, d: int) -> float:
    """Median of ‖ΔW‖/‖E‖ for the projector W on the d smallest eigenvectors."""
    spectrum = np.array([0, 0.2, 0.5, 0.5 + gap, 1.2, 1.5])
    matrices = (bases * spectrum) @ bases.transpose(0, 2, 1)
    projectors = []
    for one in (matrices, matrices + noise):
        vectors = np.linalg.eigh(one)[1][:, :, :d]
        projectors.append(vectors @ vectors.transpose(0, 2, 1))
    change = np.linalg.norm(projectors[1] - projectors[0], axis=(1, 2))
    return float(np.median(change / np.linalg.norm(noise, axis=(1, 2))))


# --- 3 -----------------------------------------------------------------------------------------------------------


@claim(
    "spe", 3,
    says="With all eigenpairs, W moves by at most φ's Lipschitz constant times the change of the Laplacian.",
    source="Functional calculus is Lipschitz in the Frobenius norm; theorem on stability",
    quick=True,
)  # fmt: skip
def weights_move_by_at_most_the_lipschitz_constant(scale: Scale) -> Measurement:
    """300 random graphs of 12 nodes, one edge flipped, f(x) = 2 max(x − 0.7, 0): the largest ratio is <= 2 (1 + 1e-9), and
    above 1.2 (else the test would not be sharp). With the spectrum cut at d = 6, no change exceeds the theorem's bound."""
    rng = np.random.default_rng(0)
    ratios, slack = [], []
    for _ in range(300):
        before = np.triu(rng.random((12, 12)) < 0.35, 1).astype(float)
        after = before.copy()
        u, v = sorted(rng.choice(12, 2, replace=False))
        after[u, v] = 1 - after[u, v]
        graphs = [graph_of(one + one.T) for one in (before, after)]
        pairs = [laplacian_eigenpairs(one) for one in graphs]
        laplacians = [rebuilt(values, vectors) for values, vectors in pairs]
        change = float(np.linalg.norm(laplacians[0] - laplacians[1]))
        functions = [rebuilt(2 * (values - 0.7).clamp(min=0), vectors) for values, vectors in pairs]
        ratios.append(np.linalg.norm(functions[0] - functions[1]) / change)
        cut = [rebuilt(2 * (values[:, :6] - 0.7).clamp(min=0), vectors[:, :6]) for values, vectors in pairs]
        gap = float(pairs[0][0][0, 6] - pairs[0][0][0, 5])
        bound = spe_bound(change, max(gap, 1e-300), 6, phi_lipschitz=2.0, phi_largest=2.6 * np.sqrt(6))
        slack.append(np.linalg.norm(cut[0] - cut[1]) / bound)
    largest = float(max(ratios))
    figure, axes = new_figure(width=5.6, height=3.4)
    ax = axes[0, 0]
    ax.hist(ratios, bins=30, color=COLORS[0])
    ax.axvline(2, color=COLORS[1], linestyle="--", label="Lipschitz constant of f")
    ax.set(xlabel="‖f(L) − f(L')‖ / ‖L − L'‖", ylabel="pairs of graphs")
    ax.legend()
    return Measurement(
        figure=largest,
        holds=bool(1.2 <= largest <= 2 * (1 + 1e-9) and max(slack) <= 1),
        threshold="1.2 <= largest ratio <= 2 (1 + 1e-9), and the theorem's bound is never exceeded at d = 6",
        unit="largest ‖f(L) − f(L')‖ / ‖L − L'‖",
        paper="<= 2; 1.97 with the reference modules",
        n_seeds=300,
        table=[
            {"quantity": "largest ratio, all eigenpairs", "value": largest},
            {"quantity": "largest change / theorem's bound, d = 6", "value": float(max(slack))},
        ],
        note="The theorem's bound is far from tight here: an inequality that holds, not an estimate.",
        plot=figure,
    )


def graph_of(adjacency: np.ndarray) -> GraphSet:
    """One unweighted graph of a dense adjacency matrix."""
    return GraphSet(torch.tensor([len(adjacency)]), torch.from_numpy(np.stack(np.nonzero(adjacency))))


def rebuilt(values: torch.Tensor, vectors: torch.Tensor) -> np.ndarray:
    """V diag(values) Vᵀ of one graph."""
    return ((vectors * values) @ vectors.T).numpy()


# --- 4 -----------------------------------------------------------------------------------------------------------


@claim(
    "spe", 4,
    says="SPE does not depend on signs or on bases of eigenspaces, and follows the numbering of the nodes.",
    source="Section on basis invariance; definition of SPE",
)  # fmt: skip
def encoding_is_invariant_to_bases_and_equivariant_to_numbering(scale: Scale) -> Measurement:
    """Petersen graph (multiplicities 1, 5, 4), every φ with every ρ, five random bases and numberings each, float64:
    the largest |ΔPE| is <= 1e-12 ‖PE‖, while raw eigenvectors change by more than half their norm."""
    rng = np.random.default_rng(0)
    graph = with_eigenpairs(graph_of(nx.to_numpy_array(nx.petersen_graph())), None, torch.float64)
    values, vectors = graph.eigenvalues, graph.eigenvectors
    assert values is not None and vectors is not None
    spaces = np.unique(values[0].numpy().round(8), return_inverse=True)[1]
    table: list[dict[str, Any]] = []
    raw = 0.0
    for phi in PHIS:
        for rho in RHOS:
            shape: dict[str, Any] = {"phi": phi, "rho": rho}
            make = functools.partial(SPE, 16, n_channels=8, hidden_dim=16, rho_layers=2, mlp_layers=2, **shape)
            encoder = with_weights_of(0, make).double().eval()
            basis = numbering = 0.0
            for _ in range(5):
                turn = np.zeros((10, 10))
                for space in range(spaces.max() + 1):
                    inside = np.flatnonzero(spaces == space)
                    turn[np.ix_(inside, inside)] = np.linalg.qr(rng.standard_normal((len(inside), len(inside))))[0]
                turned = replace(graph, eigenvectors=vectors @ torch.from_numpy(turn))
                order = torch.from_numpy(rng.permutation(10))
                renumbered = replace(
                    graph, edge_index=torch.argsort(order)[graph.edge_index], eigenvectors=vectors[order]
                )
                with torch.no_grad():
                    plain, other, moved = (encoder.encode(one) for one in (graph, turned, renumbered))
                basis = max(basis, float((other - plain).abs().max() / plain.norm()))
                numbering = max(numbering, float((moved - plain[order]).abs().max() / plain.norm()))
                raw = max(raw, float((vectors @ torch.from_numpy(turn) - vectors).norm() / vectors.norm()))
            table.append({"phi": phi, "rho": rho, "basis": basis, "numbering": numbering})
    largest = max(max(row["basis"], row["numbering"]) for row in table)
    return Measurement(
        figure=largest,
        holds=bool(largest <= 1e-12 and raw > 0.5),
        threshold="<= 1e-12 for each φ and ρ, and raw eigenvectors change by > 0.5",
        unit="largest |ΔPE| / ‖PE‖",
        paper="4e-16 with the reference modules (φ MLP, ρ GIN)",
        baseline=raw,
        baseline_name="raw eigenvectors, ‖ΔV‖ / ‖V‖",
        n_seeds=5,
        table=table,
    )


# --- 5 -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CountingBudget:
    """Data and training of the counting study."""

    n_train: int
    n_validation: int
    n_test: int
    sizes: tuple[int, ...]
    lengths: tuple[int, ...]
    n_seeds: int
    options: tuple[tuple[str, Any], ...]


COUNTING = {
    "cpu": CountingBudget(
        400, 0, 300, (10, 15), (3, 5), 3,
        (("n_channels", 4), ("hidden_dim", 24), ("encoding_dim", 16), ("rho_layers", 2), ("mlp_layers", 2), ("n_layers", 3),
         ("pool", "sum"), ("n_epochs", 60), ("batch_size", 32), ("learning_rate", 3e-3), ("validation_fraction", 0.0)),
    ),
    "gpu": CountingBudget(
        1500, 1000, 2500, (10, 15, 20, 30), CYCLE_LENGTHS, 3,
        (("n_eigenvectors", 30), ("n_channels", 8), ("hidden_dim", 80), ("encoding_dim", 37), ("phi_layers", 4),
         ("phi_hidden", 80), ("rho_layers", 4), ("mlp_layers", 3), ("n_layers", 4), ("pool", "sum"), ("n_epochs", 150),
         ("batch_size", 128), ("learning_rate", 1e-3), ("weight_decay", 1e-4)),
    ),
}  # fmt: skip


def counting_error(
    encoding: Encoding, length: int, seed: int, budget: CountingBudget, device: Device
) -> tuple[float, float]:
    """Test error in standard deviations of the training targets, and seconds of the fit."""
    n = budget.n_train + budget.n_validation + budget.n_test
    task = counting_task(n, sizes=budget.sizes, random_state=seed)
    y = task.counts[:, CYCLE_LENGTHS.index(length)].astype(np.float64)
    parts = np.split(np.arange(n), np.cumsum([budget.n_train, budget.n_validation]))
    train, validation, test = ((task.graphs.select(part), y[part]) for part in parts)
    options: dict[str, Any] = dict(budget.options)
    model = SPERegressor(encoding=encoding, random_state=seed, device=device, **options)
    began = time.perf_counter()
    model.fit(*train, validation=validation if budget.n_validation else None)
    seconds = time.perf_counter() - began
    return float(np.abs(model.predict(test[0]) - test[1]).mean() / train[1].std()), seconds


@claim(
    "spe", 5,
    says="On counting cycles SPE errs less than SignNet, and far less than the same network without encoding.",
    source="Experiments on cycle counting",
)  # fmt: skip
def spe_counts_cycles_better_than_signnet_and_no_encoding(scale: Scale) -> Measurement:
    """Random regular graphs with edges removed; test error in standard deviations of the target, means over the seeds.

    cpu: 400 training and 300 test graphs of 10 or 15 nodes, 60 epochs, width 24; for 3-cycles SPE <= 0.15, <= 0.5 × SignNet and
    <= 0.25 × none, and SPE < SignNet < none. gpu: 1500/1000/2500 graphs of 10 to 30 nodes, 150 epochs (paper: 600), cycles 3
    to 6: SPE < SignNet < each of PEG and none, for each length. Random walks are measured beside them, not judged.
    """
    budget = COUNTING["cpu" if scale == "cpu" else "gpu"]
    if scale == "paper":
        if not torch.cuda.is_available():
            raise ScaleUnavailable("600 epochs on the full data need a CUDA device, and none is visible to torch")
        budget = replace(budget, options=(*budget.options, ("n_epochs", 600)))
    encodings: tuple[Encoding, ...]
    encodings = ("spe", "signnet", "rwse", "none") if scale == "cpu" else ("spe", "signnet", "rwse", "peg", "none")
    return counting_measurement(budget, encodings, "cpu" if scale == "cpu" else None, small=scale == "cpu")


def counting_measurement(
    budget: CountingBudget, encodings: tuple[Encoding, ...], device: Device, *, small: bool
) -> Measurement:
    """All encodings on all lengths and seeds."""
    cases = [(e, length, seed) for length in budget.lengths for e in encodings for seed in range(budget.n_seeds)]
    results = side_by_side(counting_error, [(*case, budget, device) for case in cases], device)
    table: list[dict[str, Any]] = []
    mean: dict[tuple[str, int], float] = {}
    for length in budget.lengths:
        for encoding in encodings:
            found = [r for case, r in zip(cases, results) if case[:2] == (encoding, length)]
            errors = np.array([error for error, _ in found])
            mean[encoding, length] = float(errors.mean())
            table.append(
                {
                    "cycle": length,
                    "encoding": encoding,
                    "error": errors.mean(),
                    "std": errors.std(ddof=1) if len(errors) > 1 else 0.0,
                    "worst": errors.max(),
                    "fit_seconds": float(np.mean([seconds for _, seconds in found])),
                }
            )
    holds, threshold = judge_counting(mean, budget.lengths, small=small)
    shortest = budget.lengths[0]
    spread = next(row["std"] for row in table if row["encoding"] == "spe" and row["cycle"] == shortest)
    return Measurement(
        figure=mean["spe", shortest],
        holds=holds,
        threshold=threshold,
        unit=f"test error / std of the target, {shortest}-cycles",
        paper="0.047 (SignNet 0.240, RWSE 0.085, none 0.663) with the reference modules, one run",
        baseline=mean["signnet", shortest],
        baseline_name="SignNet",
        spread=float(spread),
        n_seeds=budget.n_seeds,
        table=table,
        note=f"No encoding: {mean['none', shortest]:.3f}; random walks: {mean['rwse', shortest]:.3f}.",
        plot=_bars(table, encodings, budget.lengths),
    )


def judge_counting(mean: dict[tuple[str, int], float], lengths: tuple[int, ...], *, small: bool) -> tuple[bool, str]:
    """Whether the mean errors bear the claim out, and the condition in words."""
    if small:
        spe, signnet, none = (mean[name, 3] for name in ("spe", "signnet", "none"))
        holds = spe <= 0.15 and spe <= 0.5 * signnet and spe <= 0.25 * none and signnet < none
        return holds, "3-cycles: SPE <= 0.15, <= 0.5 × SignNet, <= 0.25 × none, and SignNet < none"
    holds = all(
        mean["spe", length] < mean["signnet", length] < min(mean["peg", length], mean["none", length])
        for length in lengths
    )
    return holds, "SPE < SignNet < PEG and none for each length of cycle"


def _bars(table: list[dict[str, Any]], encodings: tuple[Encoding, ...], lengths: tuple[int, ...]) -> Any:
    figure, axes = new_figure(width=1.8 + 2.0 * len(lengths), height=3.6)
    ax = axes[0, 0]
    width = 0.8 / len(encodings)
    hatches = ("", "//", "..", "xx", "--")
    for number, encoding in enumerate(encodings):
        rows = [row for row in table if row["encoding"] == encoding]
        ax.bar(
            np.arange(len(lengths)) + (number - (len(encodings) - 1) / 2) * width,
            [row["error"] for row in rows],
            width,
            yerr=[row["std"] for row in rows],
            color=COLORS[number],
            hatch=hatches[number],
            label=NAMES[encoding],
            capsize=2,
        )
    ax.set_xticks(range(len(lengths)), [f"{length}-cycles" for length in lengths])
    ax.set(ylabel="test error / std of the target")
    ax.legend(fontsize="small")
    return figure


# --- 6 -----------------------------------------------------------------------------------------------------------

SMALL_ATOMS, LARGE_ATOMS = 22, 28
PIECES = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class MoleculeBudget:
    """Data and training of the regression on molecules: the comparison, the shift in size and the trade-off."""

    n_train: int
    n_train_small: int
    n_train_pieces: int
    n_validation: int
    n_test: int
    n_seeds: int
    options: tuple[tuple[str, Any], ...]
    options_pieces: tuple[tuple[str, Any], ...]


MOLECULES = {
    "cpu": MoleculeBudget(
        1500, 750, 150, 250, 1000, 3,
        (("n_channels", 8), ("hidden_dim", 24), ("encoding_dim", 16), ("rho_layers", 2), ("mlp_layers", 2), ("n_layers", 4),
         ("n_epochs", 16), ("batch_size", 32), ("learning_rate", 3e-3)),
        (("n_channels", 4), ("hidden_dim", 16), ("rho_layers", 1), ("n_layers", 2), ("n_epochs", 150), ("batch_size", 25),
         ("learning_rate", 1e-2)),
    ),
    "gpu": MoleculeBudget(
        5000, 5000, 5000, 1000, 1000, 3,
        (("n_channels", 16), ("hidden_dim", 64), ("encoding_dim", 37), ("rho_layers", 4), ("mlp_layers", 3), ("n_layers", 4),
         ("n_epochs", 100), ("batch_size", 128), ("learning_rate", 1e-3)),
        (),
    ),
}  # fmt: skip


def molecule_error(
    encoding: Encoding, seed: int, small_only: bool, budget: MoleculeBudget, device: Device
) -> dict[str, float]:
    """Errors on small, large and all test molecules after training on all, or on small molecules only."""
    data = zinc_7k()
    atoms = data.graphs.n_nodes.numpy()
    allowed = atoms <= SMALL_ATOMS if small_only else np.ones(len(atoms), dtype=bool)
    train, validation = (
        np.flatnonzero((data.split == part) & allowed)[:count]
        for part, count in ((0, budget.n_train_small if small_only else budget.n_train), (1, budget.n_validation))
    )
    test = np.flatnonzero(data.split == 2)[: budget.n_test]
    options: dict[str, Any] = dict(budget.options)
    model = SPERegressor(encoding=encoding, random_state=seed, device=device, **options)
    began = time.perf_counter()
    model.fit(
        data.graphs.select(train),
        data.y[train],
        validation=(data.graphs.select(validation), data.y[validation]),
    )
    seconds = time.perf_counter() - began
    errors = np.abs(model.predict(data.graphs.select(test)) - data.y[test])
    return {
        "all": float(errors.mean()),
        "small": float(errors[atoms[test] <= SMALL_ATOMS].mean()),
        "large": float(errors[atoms[test] >= LARGE_ATOMS].mean()),
        "seconds": seconds,
    }


def spline_errors(n_pieces: int, seed: int, budget: MoleculeBudget, device: Device) -> tuple[float, float]:
    """Training and test error with a spline of so many pieces as φ, after the last epoch."""
    data = zinc_7k()
    train = np.flatnonzero(data.split == 0)[: budget.n_train_pieces]
    test = np.flatnonzero(data.split == 2)[: budget.n_test]
    options: dict[str, Any] = dict(budget.options) | dict(budget.options_pieces)
    model = SPERegressor(
        phi="spline", n_pieces=n_pieces, random_state=seed, validation_fraction=0.0, device=device, **options
    )
    model.fit(data.graphs.select(train), data.y[train])
    errors = [float(np.abs(model.predict(data.graphs.select(part)) - data.y[part]).mean()) for part in (train, test)]
    return errors[0], errors[1]


@claim(
    "spe", 6,
    says="On molecules SPE errs less than SignNet, that less than no encoding; φ of more pieces fits better, generalises less.",
    source="Experiments on ZINC, DrugOOD and the trade-off between stability and expressivity",
)  # fmt: skip
def spe_predicts_molecules_better_than_signnet_and_no_encoding(scale: Scale) -> Measurement:
    """zinc_7k (a stand-in for ZINC-12k), same network and budget, three seeds, mean absolute error on the test molecules.

    Holds if SPE < SignNet < none with mean ± std not overlapping, and, for φ a spline of 1, 2, 4, 8, 16 pieces, the training
    error falls and the gap (test − training) rises with the pieces (rank correlations < −0.6 and > 0.6). Trained on
    molecules of at most 22 atoms and tested on those of at least 28, the rise of each error is reported. cpu: 1500 molecules
    (750 small ones for the shift), width 24, 16 epochs in batches of 32; for the splines 150 molecules, width 16, 150 epochs
    in batches of 25 at a rate of 0.01; gpu: 5000 molecules, width 64, 100 epochs.

    The cpu budget was set after a first measurement with 12 epochs in batches of 64 (288 steps), in which SPE and SignNet were
    even (0.461 and 0.459; none 0.510). It was too short, not a result: every network was still far from trained, and the
    running statistics of its batch normalisation lagged behind its weights. Smaller batches give 2.6 times the steps at 1.3
    times the cost; one trial (seed 0) gave 0.352, 0.431 and 0.492, and one of 40 epochs in batches of 64 gave 0.294, 0.401
    and 0.438. The splines moved too little in 300 steps at 0.003 to differ from the straight line that they start as; their
    budget was tried with 1, 4 and 16 pieces and a seed that is not among those measured.
    """
    if scale == "paper":
        raise ScaleUnavailable(
            "the paper's scale is ZINC-12k with 1000 epochs, a data set that is not distributed here"
        )
    return molecule_measurement(MOLECULES[scale], "cpu" if scale == "cpu" else None)


def molecule_measurement(budget: MoleculeBudget, device: Device) -> Measurement:
    """The comparison, the shift in size and the trade-off."""
    encodings: tuple[Encoding, ...] = ("spe", "signnet", "none")
    cases = [(e, seed, small) for small in (False, True) for e in encodings for seed in range(budget.n_seeds)]
    results = side_by_side(molecule_error, [(*case, budget, device) for case in cases], device)
    table: list[dict[str, Any]] = []
    errors: dict[str, np.ndarray] = {}
    for encoding in encodings:
        mixed, shifted = (
            [r for case, r in zip(cases, results) if case[0] == encoding and case[2] == small]
            for small in (False, True)
        )
        errors[encoding] = np.array([result["all"] for result in mixed])
        inside, outside = (np.array([result[part] for result in shifted]) for part in ("small", "large"))
        table.append(
            {
                "encoding": encoding,
                "error": errors[encoding].mean(),
                "std": errors[encoding].std(ddof=1) if budget.n_seeds > 1 else 0.0,
                "trained_on_small_tested_on_small": inside.mean(),
                "trained_on_small_tested_on_large": outside.mean(),
                "rise": float((outside / inside).mean()),
                "fit_seconds": float(np.mean([result["seconds"] for result in mixed])),
            }
        )
    splines = [(pieces, seed, budget, device) for pieces in PIECES for seed in range(budget.n_seeds)]
    pairs = np.array(side_by_side(spline_errors, splines, device))
    by_pieces = pairs.reshape(len(PIECES), budget.n_seeds, 2).mean(1)
    fitted, gap = by_pieces[:, 0], by_pieces[:, 1] - by_pieces[:, 0]
    falls, rises = (float(spearmanr(PIECES, values).statistic) for values in (fitted, gap))
    table += [
        {"encoding": f"spe, spline of {pieces} pieces", "training_error": one, "error": one + other, "gap": other}
        for pieces, one, other in zip(PIECES, fitted, gap)
    ]
    ordered, traded = judge_molecules(errors, falls, rises)
    return Measurement(
        figure=float(errors["spe"].mean()),
        holds=ordered and traded,
        threshold="SPE < SignNet < none, mean ± std not overlapping; rank correlation of the spline's pieces with the training "
        "error < −0.6 and with the gap > 0.6",
        unit="mean absolute error, z-scored penalised logP",
        baseline=float(errors["signnet"].mean()),
        baseline_name="SignNet",
        spread=float(errors["spe"].std(ddof=1)) if budget.n_seeds > 1 else None,
        n_seeds=budget.n_seeds,
        table=table,
        note=molecule_note(table, ordered, traded, falls, rises),
        plot=_draw_molecules(table, encodings, fitted, fitted + gap),
    )


def molecule_note(table: list[dict[str, Any]], ordered: bool, traded: bool, falls: float, rises: float) -> str:
    """What the headline does not say."""
    row = {entry["encoding"]: entry for entry in table}
    note = (
        f"Order of the errors {'as claimed' if ordered else 'not as claimed'}; no encoding: {row['none']['error']:.3f}. "
        f"Trade-off {'as claimed' if traded else 'not as claimed'}: rank correlations {falls:.2f} and {rises:.2f}. "
        "From small to large molecules the error grows by a factor of "
        + ", ".join(f"{row[name]['rise']:.2f} ({NAMES[name]})" for name in ("spe", "signnet", "none"))
        + "."
    )
    if row["spe"]["rise"] > row["none"]["rise"]:
        note += " SPE's encoding is a sum over all nodes of the graph, so its size grows with the graph's."
    return note


def judge_molecules(errors: dict[str, np.ndarray], falls: float, rises: float) -> tuple[bool, bool]:
    """Whether the errors are ordered without overlap, and whether the trade-off shows."""
    bands = [
        (e.mean() - e.std(ddof=1), e.mean() + e.std(ddof=1)) for e in (errors[k] for k in ("spe", "signnet", "none"))
    ]
    ordered = bands[0][1] < bands[1][0] and bands[1][1] < bands[2][0]
    return bool(ordered), bool(falls < -0.6 and rises > 0.6)


def _draw_molecules(
    table: list[dict[str, Any]], encodings: tuple[Encoding, ...], fitted: np.ndarray, tested: np.ndarray
) -> Any:
    figure, axes = new_figure(1, 2, width=8.6, height=3.5)
    ax = axes[0, 0]
    rows = [next(row for row in table if row["encoding"] == encoding) for encoding in encodings]
    parts = (
        ("error", "trained on all, tested on all", ""),
        ("trained_on_small_tested_on_small", f"trained on ≤ {SMALL_ATOMS} atoms, tested on those", "//"),
        ("trained_on_small_tested_on_large", f"trained on ≤ {SMALL_ATOMS} atoms, tested on ≥ {LARGE_ATOMS}", ".."),
    )
    for number, (key, label, hatch) in enumerate(parts):
        ax.bar(
            np.arange(len(rows)) + 0.27 * (number - 1),
            [row[key] for row in rows],
            0.27,
            yerr=[row["std"] for row in rows] if key == "error" else None,
            color=COLORS[number],
            hatch=hatch,
            label=label,
            capsize=2,
        )
    ax.set_xticks(range(len(rows)), [NAMES[encoding] for encoding in encodings])
    ax.set(ylabel="mean absolute error", ylim=(0, 1.55 * max(row[key] for row in rows for key, *_ in parts)))
    ax.legend(fontsize="x-small", loc="upper left")
    ax = axes[0, 1]
    ax.plot(PIECES, tested, "o-", color=COLORS[1], label="test molecules")
    ax.plot(PIECES, fitted, "s--", color=COLORS[0], label="training molecules")
    ax.set_xscale("log", base=2)
    ax.set_xticks(PIECES, [str(pieces) for pieces in PIECES])
    ax.set(xlabel="pieces of φ's spline", ylabel="mean absolute error")
    ax.legend()
    return figure

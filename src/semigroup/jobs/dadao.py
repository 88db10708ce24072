"""Minimise over a network from files: how many messages DADAO needs, at which rates, beside other decentralised methods."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from sklearn.base import clone

from semigroup.data.decentralised import DecentralisedProblem, LeastSquares, Logistic, random_least_squares, split_rows
from semigroup.data.files import read_graph, read_table
from semigroup.jobs import Context, Outcome, Picture
from semigroup.operators import Graph
from semigroup.operators.topology import EdgeRates, barbell, network
from semigroup.optimize import DADAO, History
from semigroup.optimize.dadao import rates_of
from semigroup.optimize.decentralised_baselines import adom_plus, continuized, extra, msda, nids
from semigroup.report.figures import COLORS, new_figure

__all__ = ["Task", "perform", "read"]

# The convex program for the rates takes seconds up to here, minutes beyond.
MAX_NODES_FOR_OPTIMAL_RATES = 24
# The synchronous baselines stop here, so that one that needs very many rounds does not hold up the run.
MAX_ROUNDS = 4000
RIDGE_OF_THIN_DATA = 1e-2
CORRELATION = 0.9  # of the simulated features, which makes the sum as badly conditioned as its terms, as in real tables


@dataclass(frozen=True)
class Task:
    """What to minimise, and in whose words.

    Attributes
    ----------
    problem : DecentralisedProblem
    columns : list of str
        Names of the variables.
    note : str
        What was done to the data.
    """

    problem: DecentralisedProblem
    columns: list[str]
    note: str


def read(files: Sequence[Path]) -> Task:
    """A graph file, and a table whose last column is the target; either alone is completed by the default.

    A column ``worker`` of the table deals its rows to the nodes by name; without it the rows are dealt in turn. Two different
    targets make it a logistic regression, more a least squares. Features are standardised and an intercept is added. A graph
    alone gets simulated regressions. Without files: two cliques of five joined by one edge.
    """
    if not files:
        problem = random_least_squares(barbell(5), n_features=6, correlation=CORRELATION, random_state=0)
        return Task(problem, [f"x{k}" for k in range(6)], "simulated regressions with correlated features")
    if len(files) > 2:
        raise ValueError(f"data must be a graph file and at most one table, got {len(files)} files")
    try:
        graph = network(read_graph(files[0]), str(files[0]))
    except (TypeError, KeyError) as error:
        raise ValueError(f"{files[0]}: no graph could be read from it ({error})") from error
    if len(files) == 1:
        problem = random_least_squares(graph, n_features=6, correlation=CORRELATION, random_state=0)
        return Task(problem, [f"x{k}" for k in range(6)], "simulated regressions with correlated features")
    return _task_from_table(graph, read_table(files[1]), files[1])


def _task_from_table(graph: Graph, table: pd.DataFrame, path: Path) -> Task:
    if table.shape[0] < graph.n_nodes:
        raise ValueError(f"{path}: has {table.shape[0]} rows for {graph.n_nodes} workers; each needs one at least")
    if "worker" in table.columns:
        owner = graph.index(table["worker"].to_numpy(), f"{path}: column worker")
        table = table.drop(columns="worker")
        parts = [np.flatnonzero(owner == i) for i in range(graph.n_nodes)]
        for i, part in enumerate(parts):
            if not len(part):
                raise ValueError(f"{path}: column worker gives no row to node {graph.names[i]!r}")
    else:
        parts = split_rows(len(table), graph.n_nodes)
    numbers = table.select_dtypes("number")
    if numbers.shape[1] < 2 or table.columns[-1] != numbers.columns[-1]:
        raise ValueError(f"{path}: needs numeric features and, as its last column, a numeric target")
    values = numbers.to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{path}: holds missing or infinite values")
    features, targets = values[:, :-1], values[:, -1]
    useful = np.ptp(features, axis=0) > 0  # the deviation of equal values may be a rounding error
    names = [str(c) for c in numbers.columns[:-1][useful]]
    features = (features[:, useful] - features[:, useful].mean(axis=0)) / features[:, useful].std(axis=0)
    features = np.column_stack([features, np.ones(len(features))])
    blocks = [features[part] for part in parts]
    classes = np.unique(targets)
    if len(classes) == 2:
        labels = np.where(targets == classes[1], 1.0, -1.0)
        logistic = Logistic(blocks, [labels[part] for part in parts], ridge=0.1)
        note = f"logistic regression of {numbers.columns[-1]}, ridge 0.1, standardised features"
        return Task(DecentralisedProblem(graph, logistic), [*names, "intercept"], note)
    if len(classes) == 1:
        raise ValueError(f"{path}: the target, column {numbers.columns[-1]}, is constant")
    answers = [targets[part] for part in parts]
    thin = min(len(block) for block in blocks) < 2 * features.shape[1]
    objective = LeastSquares(blocks, answers, ridge=RIDGE_OF_THIN_DATA * float(thin))
    note = f"least squares of {numbers.columns[-1]}, standardised features"
    if thin:
        note += f", ridge {RIDGE_OF_THIN_DATA} because some worker has fewer rows than twice the features"
    return Task(DecentralisedProblem(graph, objective), [*names, "intercept"], note)


def perform(estimator: DADAO, data: Task, context: Context) -> Outcome:
    """Run DADAO at its own and at the optimal rates and the baselines, and compare what each sends."""
    if estimator.carrier == "processes":
        raise ValueError(
            "carrier='processes' is for a program of one's own that torchrun starts; a run takes 'events' or 'batches'"
        )
    problem = data.problem
    started = time.perf_counter()
    # All methods start at zero, as those with dual variables must.
    start = np.zeros(problem.objective.n_features)
    result = estimator.minimize(
        problem, start, checkpoint_dir=context.checkpoint_dir, resume=context.resume, progress=context.progress
    )
    seconds = time.perf_counter() - started
    own = f"DADAO, {estimator.rates} rates"
    histories = {own: result.history}
    rates: dict[str, EdgeRates] = {estimator.rates: result.schedule.rates[0]}
    if estimator.rates != "uniform":
        rates["uniform"] = rates_of(problem, "uniform").rates[0]
    elif problem.n_workers <= MAX_NODES_FOR_OPTIMAL_RATES and find_spec("cvxpy") is not None:
        other = clone(estimator).set_params(rates="optimal", rate_factor=1.0).minimize(problem, start)
        histories["DADAO, optimal rates"] = other.history
        rates["optimal"] = other.schedule.rates[0]
    histories |= _baselines(problem, estimator.tol)
    needed = {name: _communications(history, estimator.tol) for name, history in histories.items()}
    metrics = {
        "relative gap": result.gap / result.history.gap[0],
        "time": result.time,
        "communications": float(result.n_communications),
        "gradients": float(result.njev),
        "condition number": problem.objective.condition_number,
        "slope promised": -math.sqrt(1 / problem.objective.condition_number) / (8 * math.sqrt(2)),
        "events": float(result.nit),
        "events predicted by the theorem": estimator.n_events_predicted_,
        "events per second": result.nit / seconds,
    }
    slope = result.history.slope(low=10 * estimator.tol)
    if math.isfinite(slope):  # a very short run has none
        metrics["slope of log gap per unit of time"] = slope
    metrics |= {f"communications per unit of time, {name} rates": r.total for name, r in rates.items()}
    metrics |= {f"communications to tol, {name}": value for name, value in needed.items() if value is not None}
    tables = {
        "edges": _edge_table(problem, rates),
        "workers": pd.DataFrame({"worker": problem.names} | dict(zip(data.columns, result.iterates.T))),
        "methods": pd.DataFrame({"method": list(needed), "communications to tol": [needed[m] for m in needed]}),
    }
    arrays = {"x": result.x, "iterates": result.iterates, "history": result.history.table}
    pictures = {
        "communications": Picture(
            _draw_histories(histories, estimator.tol),
            "Mean squared distance of the workers' iterates to the minimiser, relative to the start, over the messages "
            "sent and over the gradients computed; the dotted line is the tolerance. Dashed: dual methods, which minimise every "
            "worker's function exactly at each step. A curve that ends above the line was stopped, methods in "
            f"rounds after {MAX_ROUNDS} of them.",
        ),
        "rates": Picture(
            _draw_rates(problem, rates),
            "How often each edge has to fire: width and colour show its rate, the title the network's total.",
        ),
    }
    return Outcome(estimator, _summary(data, result, needed, rates), metrics, arrays, tables, pictures)


def _baselines(problem: DecentralisedProblem, tol: float) -> dict[str, History]:
    """Those that apply to the problem."""
    found = {
        "ADOM+": adom_plus(problem, n_steps=MAX_ROUNDS, tol=tol).history,
        "ADOM+, multi-consensus": adom_plus(problem, multi_consensus=True, n_steps=MAX_ROUNDS, tol=tol).history,
    }
    if len(problem.graphs) == 1:
        found["EXTRA"] = extra(problem, n_steps=MAX_ROUNDS, tol=tol).history
        found["NIDS"] = nids(problem, n_steps=MAX_ROUNDS, tol=tol).history
        if not isinstance(problem.objective, Logistic):
            found["MSDA (dual)"] = msda(problem, n_steps=MAX_ROUNDS, tol=tol).history
            found["Continuized (dual)"] = continuized(problem, tol=tol, random_state=0).history
    return found


def _communications(history: History, tol: float) -> float | None:
    """Communications until the gap was down to `tol` of its first value."""
    reached = history.reached(tol)
    return None if reached is None else float(history.communications[reached])


def _edge_table(problem: DecentralisedProblem, rates: dict[str, EdgeRates]) -> pd.DataFrame:
    names = problem.names
    edges = next(iter(rates.values())).edges
    columns: dict[str, Any] = {"source": names[edges[:, 0]], "target": names[edges[:, 1]]}
    return pd.DataFrame(columns | {f"{name} rate": r.rates for name, r in rates.items()})


def _summary(data: Task, result: Any, needed: dict[str, float | None], rates: dict[str, EdgeRates]) -> str:
    problem = data.problem
    text = (
        f"{problem.n_workers} workers, {len(next(iter(rates.values())).edges)} edges, {data.note} "
        f"(condition number {problem.objective.condition_number:.3g}). {result.message[0].upper()}{result.message[1:]}, after "
        f"{result.n_communications} communications and {result.njev} gradients."
    )
    if "optimal" in rates and "uniform" in rates:
        gain = rates["uniform"].total / rates["optimal"].total
        text += (
            f" The network needs {rates['uniform'].total:.1f} communications a unit of time at uniform rates, "
            f"{rates['optimal'].total:.1f} at the best ({gain:.2f} times fewer)."
        )
        best_rates = needed.get("DADAO, optimal rates")
        if best_rates is not None:
            text += f" At those rates it takes {best_rates:.0f} communications."
    elif "optimal" not in rates:
        text += (
            f" Optimal rates are compared with up to {MAX_NODES_FOR_OPTIMAL_RATES} workers, if cvxpy is installed (pip install "
            "'semigroup[rates]')."
        )
    primal = {name: n for name, n in needed.items() if n is not None and "DADAO" not in name and "dual" not in name}
    if primal:
        best = min(primal, key=lambda name: primal[name])
        text += f" The most frugal primal method in rounds, {best}, sends {primal[best]:.0f}."
    return text


def _draw_histories(histories: dict[str, History], tol: float) -> Figure:
    figure, axes = new_figure(1, 2, width=11.5, height=4.2, sharey=True)
    for k, (name, history) in enumerate(histories.items()):
        relative = history.gap / history.gap[0]
        style: dict[str, Any] = {
            "color": (*COLORS, "#777777")[k],
            "linestyle": "--" if "dual" in name else "-",
            "linewidth": 2.4 if "DADAO" in name else 1.2,
            "marker": "os^vDPX*"[k],
            "markevery": 0.15,
            "markersize": 5,
        }
        axes[0, 0].plot(np.maximum(history.communications, 1), relative, label=name, **style)
        axes[0, 1].plot(np.maximum(history.gradients, 1), relative, **style)
    for ax, cost in zip(axes[0], ("communications", "gradients")):
        ax.set(xscale="log", yscale="log", xlabel=f"{cost} in the network", xlim=(10, None), ylim=(tol / 5, 3))
        ax.axhline(tol, color="0.5", linewidth=0.8, linestyle=":")
    axes[0, 0].set(ylabel="mean ‖xᵢ - x*‖², relative to the start")
    figure.legend(fontsize=8, loc="outside right center")
    return figure


def _draw_rates(problem: DecentralisedProblem, rates: dict[str, EdgeRates]) -> Figure:
    import networkx as nx

    plain = nx.from_scipy_sparse_array(problem.graphs[0].adjacency)
    layout = nx.kamada_kawai_layout(plain) if plain.number_of_nodes() <= 300 else nx.spring_layout(plain, seed=0)
    position = np.array([layout[i] for i in range(problem.n_workers)])
    largest = max(r.rates.max() for r in rates.values())
    figure, axes = new_figure(1, len(rates), width=5.2 * len(rates), height=4.0)
    for ax, (name, r) in zip(axes[0], rates.items()):
        share = r.rates / largest
        lines = LineCollection(
            list(position[r.edges]), array=r.rates, cmap="viridis_r", clim=(0, largest), linewidths=0.6 + 6 * share
        )
        ax.add_collection(lines)
        ax.scatter(*position.T, s=260 if problem.n_workers <= 40 else 12, color="white", edgecolor="black", zorder=3)
        if problem.n_workers <= 40:
            for i, label in enumerate(problem.names):
                ax.annotate(str(label), position[i], ha="center", va="center", fontsize=8, zorder=4)
        ax.set(title=f"{name} rates: {r.total:.4g} communications a unit of time", xticks=[], yticks=[])
        ax.margins(0.12)
        ax.grid(False)
        for side in ("left", "bottom"):
            ax.spines[side].set_visible(False)
    figure.colorbar(lines, ax=list(axes[0]), label="firings of an edge a unit of time", shrink=0.8)
    return figure

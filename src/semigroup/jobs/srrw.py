"""Self-repellent tokens on a user's network: what they learn, and how much the repellence gains beside independent draws."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from jaxtyping import Float
from matplotlib.figure import Figure
from scipy.optimize import OptimizeResult
from scipy.sparse.csgraph import connected_components
from scipy.special import expit
from sklearn.base import clone

from semigroup.data.datasets import shipped
from semigroup.data.decentralised import LeastSquares, Logistic
from semigroup.data.files import read_arrays, read_graph, read_table
from semigroup.jobs import Context, Outcome, Picture
from semigroup.operators import Graph, as_graph, lazy, transition_matrix
from semigroup.operators.topology import network
from semigroup.optimize.srrw import SRRW, ApproximationProblem, Update, gradient_update, mean_estimation
from semigroup.report.figures import COLORS, new_figure

__all__ = ["Task", "perform", "political_blogs", "read", "simulate"]

ALPHAS = (0.0, 1.0, 5.0, 20.0)
N_COMPARED = 20  # tokens of each curve
N_SAMPLED = 5
RIDGE = {"logistic": 1.0, "squares": 0.01}
MAX_NODES_FOR_THEORY = 2000  # of which all eigenvectors are a matter of seconds


@dataclass(frozen=True)
class Task:
    """What to learn, and in whose words.

    Attributes
    ----------
    problem : ApproximationProblem
    columns : list of str
        Names of the variables.
    note : str
        What was done to the data.
    """

    problem: ApproximationProblem
    columns: list[str]
    note: str


def political_blogs() -> Graph:
    """The largest component of the links between political weblogs in 2004, without direction."""
    data = shipped("polblogs.npz")
    graph = as_graph(data["edges"].astype(np.int64))
    pattern = sp.csr_array((graph.adjacency != 0).astype(np.float64))
    label = connected_components(pattern, directed=False)[1]
    keep = np.flatnonzero(label == np.bincount(label).argmax())
    return Graph(pattern[keep][:, keep], data["nodes"][keep])


def simulate(graph: Graph, n_features: int = 5, seed: int = 0) -> Logistic:
    """One labelled row a node, from a logistic model, with features that resemble those of the neighbours."""
    generator = np.random.default_rng(seed)
    walk = lazy(transition_matrix(graph.adjacency))
    features = generator.standard_normal((graph.n_nodes, n_features))
    for _ in range(3):
        features = walk @ features
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    chance = expit(features @ generator.standard_normal(n_features))
    labels = np.where(generator.random(graph.n_nodes) < chance, 1.0, -1.0)
    return Logistic(features[:, None], labels[:, None], ridge=RIDGE["logistic"])


def read(files: Sequence[Path]) -> Task:
    """A graph file, and one row a node: a table whose last column is the target, or arrays X and y.

    A column ``node`` assigns the rows to the nodes by name; without it they come in the order of the nodes. Two different targets
    make it a logistic regression, more a least squares; a single column is averaged. Features are standardised and an intercept
    is added. A graph alone gets simulated data. Without files: the political blogs of 2004, with simulated data.
    """
    if len(files) > 2:
        raise ValueError(f"data must be a graph file and at most one table, got {len(files)} files")
    if files:
        try:
            graph = network(read_graph(files[0]), str(files[0]))
        except (TypeError, KeyError) as error:
            raise ValueError(f"{files[0]}: no graph could be read from it ({error})") from error
    else:
        graph = political_blogs()
    if len(files) < 2:
        objective = simulate(graph)
        columns = [f"x{k}" for k in range(objective.n_features)]
        return Task(ApproximationProblem(graph, gradient_update(objective)), columns, "simulated logistic regression")
    values, names = _rows(Path(files[1]), graph)
    update, columns, note = _update(values, names, files[1])
    return Task(ApproximationProblem(graph, update), columns, note)


def _rows(path: Path, graph: Graph) -> tuple[Float[np.ndarray, "n columns"], list[str]]:
    """One row a node, the target last."""
    if path.suffix.lower() in (".npz", ".npy", ".h5", ".hdf5"):
        arrays = read_arrays(path)
        if {"X", "y"} <= set(arrays):
            values = np.column_stack([arrays["X"], arrays["y"]])
        elif len(arrays) == 1:
            values = next(iter(arrays.values()))
            values = values.reshape(len(values), -1)
        else:
            raise ValueError(f"{path}: needs the arrays X and y, or one array, found {', '.join(arrays) or 'none'}")
        names = [*(f"x{k}" for k in range(values.shape[1] - 1)), "y"]
    else:
        table = read_table(path)
        if "node" in table.columns:
            place = graph.index(table["node"].to_numpy(), f"{path}: column node")
            if len(np.unique(place)) < len(place):
                raise ValueError(f"{path}: column node names a node twice")
            table = table.drop(columns="node").iloc[np.argsort(place)]
        numbers = table.select_dtypes("number")
        if numbers.shape[1] == 0 or table.columns[-1] != numbers.columns[-1]:
            raise ValueError(f"{path}: needs numeric columns, the last of which is the target")
        values, names = numbers.to_numpy(dtype=np.float64), [str(column) for column in numbers.columns]
    if len(values) != graph.n_nodes:
        raise ValueError(f"{path}: has {len(values)} rows for {graph.n_nodes} nodes; each needs exactly one")
    if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        raise ValueError(f"{path}: holds missing or infinite values, or words")
    return values.astype(np.float64), names


def _update(values: Float[np.ndarray, "n columns"], names: list[str], path: Path) -> tuple[Update, list[str], str]:
    target = values[:, -1]
    if values.shape[1] == 1:
        return mean_estimation(target), [f"mean of {names[-1]}"], f"mean of {names[-1]}"
    classes = np.unique(target)
    if len(classes) == 1:
        raise ValueError(f"{path}: the target, column {names[-1]}, is constant")
    useful = np.ptp(values[:, :-1], axis=0) > 0  # the deviation of equal values may be a rounding error
    features = values[:, :-1][:, useful]
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    features = np.column_stack([features, np.ones(len(features))])[:, None]
    columns = [*np.array(names[:-1])[useful].tolist(), "intercept"]
    if len(classes) == 2:
        labels = np.where(target == classes[1], 1.0, -1.0)[:, None]
        update = gradient_update(Logistic(features, labels, ridge=RIDGE["logistic"]))
        return (
            update,
            columns,
            f"logistic regression of {names[-1]}, standardised features, ridge {RIDGE['logistic']:g}",
        )
    update = gradient_update(LeastSquares(features, target[:, None], ridge=RIDGE["squares"]))
    return update, columns, f"least squares of {names[-1]}, standardised features, ridge {RIDGE['squares']:g}"


def perform(estimator: SRRW, data: Task, context: Context) -> Outcome:
    """Run the tokens, and others with more and with less repellence and with independent draws beside them."""
    problem = data.problem
    result = estimator.minimize(
        problem, checkpoint_dir=context.checkpoint_dir, resume=context.resume, progress=context.progress
    )
    started = time.perf_counter()
    compared = _compare(estimator, problem)
    seconds = time.perf_counter() - started
    names = [name for name in compared if name != "independent draws"]
    last = {name: other.errors[-1] for name, other in compared.items()}
    at = last[_label(estimator.alpha)].mean()
    metrics = {
        "mean squared error": result.gap,
        "steps of a token": float(result.nit),
        "moves": float(result.history.communications[-1]),
        "updates": float(result.njev),
        "seconds per million steps, a thread, all curves": 1e6 * seconds / sum(r.njev for r in compared.values()),
    }
    metrics |= {
        f"mean squared error of {N_COMPARED} tokens, {name}": float(value.mean()) for name, value in last.items()
    }
    metrics["mean squared error, independent draws / this repellence"] = float(last["independent draws"].mean() / at)
    predicted = _predicted(estimator, problem, result)
    if predicted is not None:
        metrics["mean squared error that theory predicts in the limit"] = predicted
    distances = _distances(estimator, problem.graph)
    agents = pd.DataFrame(
        {"node": problem.graph.names, "law": result.law, "share of visits": result.frequencies.mean(axis=0)}
    )
    solution = pd.DataFrame(
        {"variable": data.columns, "token mean": result.x}
        | ({} if result.root is None else {"exact": result.root})
        | ({"spread over tokens": result.iterates.std(axis=0, ddof=1)} if len(result.iterates) > 1 else {})
    )
    pictures = {
        "error": Picture(
            _draw_errors(compared),
            f"Mean squared distance of the iterate to the exact solution against the steps of a token, {N_COMPARED} tokens "
            "each; bands are two standard errors. α = 0 is the base chain. Independent draws, dashed, would need a server that "
            "reaches every agent at once.",
        ),
        "visits": Picture(
            _draw_distances(distances),
            f"How far the shares of the visits are from the law that they tend to (total variation, mean of {N_SAMPLED} tokens). "
            "A large repellence pays off in the limit of many steps, and may be slower before.",
        ),
    }
    arrays = {"x": result.x, "iterates": result.iterates, "visits": result.visits, "history": result.history.table}
    arrays |= {f"mse_{k}": r.history.gap for k, r in enumerate(compared.values())}
    summary = (
        f"{problem.graph.n_nodes} agents, {data.note}. After {result.nit} steps the mean squared error is {result.gap:.3g}. "
        f"Over {N_COMPARED} tokens, {_label(estimator.alpha)} has {at:.3g}, the base chain {last[_label(0.0)].mean():.3g} and "
        f"independent draws {last['independent draws'].mean():.3g}; the best is {min(names, key=lambda n: last[n].mean())}."
    )
    tables = {"agents": agents, "solution": solution}
    return Outcome(estimator, summary, metrics, arrays, tables, pictures)


def _label(alpha: float) -> str:
    return f"α = {alpha:g}"


def _alphas(estimator: SRRW) -> list[float]:
    return sorted({*ALPHAS, float(estimator.alpha)})


def _compare(estimator: SRRW, problem: ApproximationProblem) -> dict[str, OptimizeResult]:
    """The same run with other repellences, and with independent draws."""
    other = clone(estimator).set_params(n_tokens=N_COMPARED, cooperate=False, sampler="srrw")
    found = {_label(alpha): other.set_params(alpha=alpha).minimize(problem) for alpha in _alphas(estimator)}
    return found | {"independent draws": other.set_params(sampler="iid").minimize(problem)}


def _predicted(estimator: SRRW, problem: ApproximationProblem, result: OptimizeResult) -> float | None:
    """Trace of the limit's covariance at the last step, where there is a theorem."""
    if problem.graph.n_nodes > MAX_NODES_FOR_THEORY:
        return None
    try:
        covariance = estimator.predicted_covariance(problem)
    except ValueError:
        return None
    return float(np.trace(covariance)) * (result.nit + 1.0) ** -estimator.step_exponent


def _distances(estimator: SRRW, graph: Graph) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Total variation between visits and law along the way."""
    other = clone(estimator).set_params(n_tokens=N_SAMPLED, cooperate=False, sampler="srrw")
    runs = {_label(alpha): other.set_params(alpha=alpha).sample(graph) for alpha in _alphas(estimator)}
    runs["independent draws"] = other.set_params(sampler="iid").sample(graph)
    steps = np.unique(np.geomspace(min(100, estimator.n_steps), estimator.n_steps, 15).round().astype(int))
    found = {}
    for name, walks in runs.items():
        distance = np.zeros(len(steps))
        for nodes in walks.nodes[:, 1:]:
            counts, before = np.zeros(graph.n_nodes), 0
            for k, step in enumerate(steps):
                counts += np.bincount(nodes[before:step], minlength=graph.n_nodes)
                before = step
                distance[k] += 0.5 * np.abs(counts / step - walks.law).sum() / N_SAMPLED
        found[name] = (steps, distance)
    return found


def _style(k: int, name: str) -> dict[str, Any]:
    """A colour and a marker for each curve."""
    if name == "independent draws":
        return {"color": "black", "linestyle": "--", "label": name}
    return {"color": COLORS[k % 6], "marker": "os^Dv"[k % 5], "markevery": 0.12, "markersize": 4.5, "label": name}


def _draw_errors(compared: dict[str, OptimizeResult]) -> Figure:
    figure, axes = new_figure(width=6.8, height=4.2)
    axis = axes[0, 0]
    for k, (name, other) in enumerate(compared.items()):
        steps, mse = other.history.time[1:], other.history.gap[1:]
        error = other.errors[1:].std(axis=1, ddof=1) / np.sqrt(other.errors.shape[1])
        (line,) = axis.plot(steps, mse, **_style(k, name))
        axis.fill_between(
            steps,
            np.maximum(mse - 2 * error, mse / 4),
            mse + 2 * error,
            color=line.get_color(),
            alpha=0.15,
            linewidth=0,
        )
    axis.set(xscale="log", yscale="log", xlabel="steps of a token", ylabel="mean of ‖θ - θ*‖²")
    axis.legend(loc="upper left", bbox_to_anchor=(1.02, 1), fontsize="small")
    return figure


def _draw_distances(distances: dict[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    figure, axes = new_figure(width=6.8, height=4.0)
    axis = axes[0, 0]
    for k, (name, (steps, distance)) in enumerate(distances.items()):
        axis.plot(steps, distance, **_style(k, name))
    axis.set(xscale="log", yscale="log", xlabel="steps of a token", ylabel="total variation distance")
    axis.legend(loc="upper left", bbox_to_anchor=(1.02, 1), fontsize="small")
    return figure

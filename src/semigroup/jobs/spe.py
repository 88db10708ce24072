"""Predict a property of molecules, or of other graphs, from a file, beside the same network without positional encoding."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.ticker import LogLocator, NullFormatter
from sklearn.base import clone

from semigroup.base import numpy_generator
from semigroup.data.files import read_arrays, read_table
from semigroup.data.graph_sets import GraphSet
from semigroup.data.molecules import graphs_from_arrays, graphs_from_smiles, zinc_7k
from semigroup.graphs import SPE, SignNet, SPERegressor
from semigroup.graphs.spe import encoding_changes
from semigroup.jobs import Context, Outcome, Picture
from semigroup.report.figures import COLORS, new_figure

__all__ = ["LabelledGraphs", "perform", "read"]

DEFAULT_TRAIN, DEFAULT_TEST = 1000, 500
TARGETS = ("y", "target", "label", "value")
NOISE_LEVELS = 10.0 ** -np.arange(1, 7)
RING = 16


@dataclass(frozen=True)
class LabelledGraphs:
    """Graphs with a target, split, and the user's names."""

    graphs: GraphSet
    y: np.ndarray
    split: np.ndarray | None
    names: np.ndarray
    target: str


def read(files: Sequence[Path]) -> LabelledGraphs:
    """A table with a column ``smiles`` and a numeric target, or an npz of flat arrays like the shipped one.

    The target is the column ``y``, ``target``, ``label`` or ``value``, else the only numeric one besides ``split``; ``split``,
    where present, is 0 for training, 1 for validation and 2 for test. Without files: 1000 drug-like molecules to learn
    from and 500 to test on, the target penalised logP.
    """
    if not files:
        molecules = zinc_7k()
        part = {
            number: np.flatnonzero(molecules.split == number)[:n]
            for number, n in enumerate((DEFAULT_TRAIN, 250, DEFAULT_TEST))
        }
        chosen = np.concatenate(list(part.values()))
        return LabelledGraphs(
            molecules.graphs.select(chosen),
            molecules.y[chosen],
            molecules.split[chosen],
            chosen.astype(str),
            "penalised logP (z-scored)",
        )
    if len(files) != 1:
        raise ValueError(
            f"data must be one file with graphs and targets, got {len(files)} files: {files[1]} and others"
        )
    path = files[0]
    if path.suffix.lower() == ".npz":
        arrays = read_arrays(path)
        if "y" not in arrays:
            raise ValueError(f"{path}: needs the array 'y', the target of each graph; it holds {', '.join(arrays)}")
        graphs = graphs_from_arrays(arrays, str(path))
        y, split, name = arrays["y"].astype(np.float64), arrays.get("split"), "y"
        names = np.arange(len(graphs)).astype(str)
    else:
        table = read_table(path)
        columns = {str(column).lower(): column for column in table.columns}
        if "smiles" not in columns:
            raise ValueError(f"{path}: needs a column 'smiles'; it has {', '.join(map(str, table.columns))}")
        name = _target_column(table, path)
        y = table[name].to_numpy(dtype=np.float64)
        split = table[columns["split"]].to_numpy() if "split" in columns else None
        names = table[columns["smiles"]].to_numpy(dtype=str)
        graphs = graphs_from_smiles(names.tolist(), f"{path}: smiles")
    if len(y) != len(graphs):
        raise ValueError(f"{path}: 'y' has {len(y)} rows for {len(graphs)} graphs")
    if y.ndim != 1 or not np.isfinite(y).all():
        raise ValueError(f"{path}: the target '{name}' must be one finite number a graph")
    if len(graphs) < 10:
        raise ValueError(f"{path}: at least 10 graphs are needed to learn from and test on, got {len(graphs)}")
    return LabelledGraphs(graphs, y, split, names, name)


def _target_column(table: pd.DataFrame, path: Path) -> str:
    numeric = [str(column) for column in table.select_dtypes("number") if str(column).lower() != "split"]
    named = [column for column in numeric if column.lower() in TARGETS]
    if len(named) == 1 or (not named and len(numeric) == 1):
        return (named or numeric)[0]
    raise ValueError(
        f"{path}: needs one numeric target column, called {', '.join(TARGETS)} or the only one; found {numeric}"
    )


def perform(estimator: SPERegressor, data: LabelledGraphs, context: Context) -> Outcome:
    """Fit with the estimator's encoding and with none, at the same budget, and compare on graphs that neither saw."""
    train, validation, test = _parts(data, estimator.random_state)
    held_out = (data.graphs.select(validation), data.y[validation]) if len(validation) else None
    plain = clone(estimator).set_params(encoding="none")
    seconds = []
    for model, name in ((estimator, "encoded"), (plain, "plain")):
        began = time.perf_counter()
        model.fit(
            data.graphs.select(train),
            data.y[train],
            validation=held_out,
            checkpoint_dir=None if context.checkpoint_dir is None else context.checkpoint_dir / name,
            resume=context.resume,
            progress=context.progress,
        )
        seconds.append(time.perf_counter() - began)
    test_graphs, truth = data.graphs.select(test), data.y[test]
    predicted, baseline = estimator.predict(test_graphs), plain.predict(test_graphs)
    errors, errors_plain = np.abs(predicted - truth), np.abs(baseline - truth)
    difference = errors - errors_plain
    metrics = {
        "n_train": float(len(train)),
        "n_test": float(len(test)),
        "test_mae": float(errors.mean()),
        "test_mae_without_encoding": float(errors_plain.mean()),
        "mae_difference_standard_error": float(difference.std(ddof=1) / np.sqrt(len(test))) if len(test) > 1 else 0.0,
        "test_mae_of_the_training_median": float(np.abs(truth - np.median(data.y[train])).mean()),
        "test_r2": float(estimator.score(test_graphs, truth)) if len(test) > 1 else float("nan"),
        "fit_seconds": seconds[0],
        "fit_seconds_without_encoding": seconds[1],
        "n_parameters": float(estimator.n_parameters_),
    }
    summary = (
        f"From {len(train)} graphs, the network with the encoding '{estimator.encoding}' predicts '{data.target}' of "
        f"{len(test)} others with a mean absolute error of {metrics['test_mae']:.3f}; the same network without encoding "
        f"{metrics['test_mae_without_encoding']:.3f}, always the median {metrics['test_mae_of_the_training_median']:.3f}."
    )
    arrays = {"truth": truth, "predicted": predicted, "predicted_without_encoding": baseline}
    if estimator.encoding not in ("none", "peg"):
        arrays["node_encodings"] = np.concatenate(estimator.transform(test_graphs))
        arrays["n_nodes"] = test_graphs.n_nodes.numpy()
    return Outcome(
        model=estimator,
        summary=summary,
        metrics=metrics,
        arrays=arrays,
        tables={
            "predictions": pd.DataFrame(
                {
                    "graph": data.names[test],
                    "truth": truth,
                    "predicted": predicted,
                    "predicted_without_encoding": baseline,
                }
            )
        },
        pictures={
            "predictions": _draw_predictions(truth, predicted, baseline, data.target, estimator.encoding),
            "stability": _draw_stability(),
            "training": _draw_training(estimator, plain),
        },
    )


def _parts(data: LabelledGraphs, random_state: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of the graphs to learn from, to choose the epoch by and to test on."""
    if data.split is not None:
        parts = [np.flatnonzero(data.split == number) for number in range(3)]
        if len(parts[0]) and len(parts[2]):
            return parts[0], parts[1], parts[2]
        raise ValueError("data: 'split' must hold 0 (training) and 2 (test), and may hold 1 (validation)")
    order = numpy_generator(random_state).permutation(len(data.y))
    tenth = max(1, len(order) // 10)
    return order[2 * tenth :], order[:tenth], order[tenth : 2 * tenth]


def _draw_predictions(
    truth: np.ndarray, predicted: np.ndarray, baseline: np.ndarray, target: str, encoding: str
) -> Picture:
    figure, axes = new_figure(1, 2, sharex=True, sharey=True)
    ends = [float(truth.min()), float(truth.max())]
    for ax, values, title, color, marker in (
        (axes[0, 0], baseline, "no encoding", COLORS[1], "^"),
        (axes[0, 1], predicted, f"encoding '{encoding}'", COLORS[0], "o"),
    ):
        ax.plot(ends, ends, color="black", linewidth=1, label="perfect")
        ax.plot(truth, values, marker, color=color, markersize=3, alpha=0.6, label="test graphs")
        ax.set(title=f"{title}, error {np.abs(values - truth).mean():.3f}", xlabel=f"true {target}")
        ax.legend(loc="lower right")
    axes[0, 0].set_ylabel(f"predicted {target}")
    return Picture(
        figure,
        "Predicted against true values of the test graphs, for the same network, budget and seed; the error is the mean "
        "absolute one, in the target's units.",
    )


def _draw_stability() -> Picture:
    import networkx as nx

    ring = nx.cycle_graph(RING)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        signnet = SignNet(16, hidden_dim=32, n_layers=2, mlp_layers=2)
        spe = SPE(16, hidden_dim=32, n_channels=8, rho_layers=2, mlp_layers=2)
    figure, axes = new_figure(width=5.6, height=3.6)
    ax = axes[0, 0]
    for encoder, name, style in (
        (signnet, "SignNet", {"marker": "^", "color": COLORS[1], "linestyle": "--"}),
        (spe, "SPE", {"marker": "o", "color": COLORS[0]}),
    ):
        ax.loglog(NOISE_LEVELS, encoding_changes(encoder, ring, NOISE_LEVELS, random_state=0), label=name, **style)
    ax.loglog(NOISE_LEVELS, NOISE_LEVELS, color="black", linewidth=0.8, linestyle=":", label="proportional")
    ax.set(xlabel="relative change of the edge weights", ylabel="relative change of the encoding")
    ax.legend()
    return Picture(
        figure,
        f"How much the encodings of a ring of {RING} nodes differ between two small random changes of its weights (networks "
        "with random weights). The ring's eigenvalues come in pairs: SignNet's encoding jumps however small the change, SPE's "
        "follows it.",
    )


def _draw_training(estimator: SPERegressor, plain: SPERegressor) -> Picture:
    figure, axes = new_figure(width=5.6, height=3.6)
    ax = axes[0, 0]
    for model, name, color, marker in (
        (plain, "none", COLORS[1], "^"),
        (estimator, estimator.encoding, COLORS[0], "o"),
    ):
        means = [part.mean() for part in np.array_split(model.losses_, model.n_epochs)]
        epochs = np.arange(1, len(means) + 1)
        ax.semilogy(epochs, means, color=color, linestyle=":", label=f"{name}, training")
        held = model.validation_losses_
        if len(held):
            ax.semilogy(epochs, held, color=color, marker=marker, markersize=4, label=f"{name}, held out")
            kept = int(held.argmin())
            ax.plot(epochs[kept], held[kept], "o", color=color, markerfacecolor="none", markersize=11)
    ax.set(xlabel="epoch", ylabel="mean absolute error / std of the target")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.legend(fontsize="small")
    return Picture(
        figure,
        "Error during the training, on the training graphs and on those that choose the epoch; a ring marks the weights that are "
        "kept. With batch normalisation the held-out error can jump while the learning rate is high, because its averages "
        "lag behind the weights; it settles as the rate falls.",
    )

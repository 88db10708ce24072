"""Find the anomalous graphs of a file, beside what the composition and the Rayleigh quotients alone tell."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from semigroup.base import seed_from
from semigroup.data.anomalous_graphs import rayleigh_only
from semigroup.data.files import read_arrays, read_table
from semigroup.data.graph_sets import GraphSet
from semigroup.data.molecules import graphs_from_arrays, graphs_from_smiles
from semigroup.data.tu_graphs import read_tu
from semigroup.graphs import RQGNN
from semigroup.graphs.rqgnn import rayleigh_quotients, smoothed_energy, spectral_energy
from semigroup.graphs.rqgnn.spectrum import node_signals, quadratic_forms
from semigroup.jobs import Context, Outcome, Picture
from semigroup.report.figures import COLORS, new_figure

__all__ = ["GraphsWithLabels", "perform", "read"]

DEFAULT_GRAPHS = 2500
LABELS = ("y", "label", "target", "class", "anomaly", "active")
THRESHOLDS = np.linspace(0, 2, 201)
EIGENVECTOR_LIMIT = 50_000_000  # entries of eigenvectors, beyond which the curves come from moments


@dataclass(frozen=True)
class GraphsWithLabels:
    """Graphs with two classes, split where the user says so, and the user's names."""

    graphs: GraphSet
    y: np.ndarray
    split: np.ndarray | None
    names: np.ndarray


def read(files: Sequence[Path]) -> GraphsWithLabels:
    """A folder of the TU collection, a table with a column ``smiles`` and one of labels, or an npz of flat arrays.

    In a table the labels are the column ``y``, ``label``, ``target``, ``class``, ``anomaly`` or ``active``, else the
    only one besides ``smiles`` and ``split``; ``split``, where present, is 0 for training, 1 for validation and 2 for
    test. An npz holds ``n_nodes``, ``n_edges``, ``node_label``, ``edge_src``, ``edge_dst`` (numbers inside the graph,
    each edge once) and ``y``. Without files: small-world graphs whose anomalies only the Rayleigh quotient shows.
    """
    if not files:
        made = rayleigh_only(DEFAULT_GRAPHS, random_state=0)
        return GraphsWithLabels(made.graphs, made.y, None, np.arange(DEFAULT_GRAPHS).astype(str))
    if len(files) != 1:
        raise ValueError(f"data must be one folder or file of graphs, got {len(files)}: {files[1]} and others")
    path = files[0]
    split = None
    if path.is_dir() or path.name.endswith("_A.txt"):
        found = read_tu(path)
        graphs, y = found.graphs, found.y
        names = np.arange(1, len(graphs) + 1).astype(str)
    elif path.suffix.lower() in (".npz", ".npy", ".h5", ".hdf5"):
        graphs, y, split = _from_arrays(read_arrays(path), path)
        names = np.arange(len(graphs)).astype(str)
    else:
        table = read_table(path)
        columns = {str(column).lower(): column for column in table.columns}
        if "smiles" not in columns:
            raise ValueError(f"{path}: needs a column 'smiles'; it has {', '.join(map(str, table.columns))}")
        y = table[_label_column(table, path)].to_numpy()
        split = table[columns["split"]].to_numpy() if "split" in columns else None
        names = table[columns["smiles"]].to_numpy(dtype=str)
        graphs = graphs_from_smiles(names.tolist(), f"{path}: smiles")
    if len(y) != len(graphs):
        raise ValueError(f"{path}: {len(y)} labels for {len(graphs)} graphs")
    if pd.isna(y).any():
        raise ValueError(f"{path}: graph {np.flatnonzero(pd.isna(y))[0]} has no label")
    classes, counts = np.unique(y, return_counts=True)
    if len(classes) != 2 or (split is None and counts.min() < 3):
        raise ValueError(
            f"{path}: labels must be of two classes, with 3 graphs or more of each to learn from, to choose by and to test on; "
            f"got {', '.join(f'{n} of {c!r}' for c, n in zip(classes.tolist()[:5], counts))}"
        )
    return GraphsWithLabels(graphs, y, split, names)


def _from_arrays(arrays: dict[str, np.ndarray], path: Path) -> tuple[GraphSet, np.ndarray, np.ndarray | None]:
    wanted = {
        "n_atoms": "n_nodes",
        "n_bonds": "n_edges",
        "atom_type": "node_label",
        "bond_src": "edge_src",
        "bond_dst": "edge_dst",
    }
    missing = [key for key in (*wanted.values(), "y") if key not in arrays]
    if missing:
        raise ValueError(f"{path}: needs the arrays {', '.join(wanted.values())} and y; {', '.join(missing)} missing")
    renamed = {ours: arrays[theirs] for ours, theirs in wanted.items()}
    renamed["bond_type"] = np.zeros(len(arrays["edge_src"]), dtype=np.int64)
    return graphs_from_arrays(renamed, str(path)), arrays["y"], arrays.get("split")


def _label_column(table: pd.DataFrame, path: Path) -> Any:
    columns = [column for column in table.columns if str(column).lower() not in ("smiles", "split")]
    named = [column for column in columns if str(column).lower() in LABELS]
    if len(named) == 1 or (not named and len(columns) == 1):
        return (named or columns)[0]
    raise ValueError(f"{path}: needs one column of labels, called {', '.join(LABELS)} or the only one; found {columns}")


def perform(estimator: RQGNN, data: GraphsWithLabels, context: Context) -> Outcome:
    """Fit, and judge on graphs that took no part, beside logistic regressions on composition and quotients."""
    train, validation, test = _parts(data, estimator.random_state)
    graphs = {name: data.graphs.select(part) for name, part in (("train", train), ("test", test))}
    began = time.perf_counter()
    estimator.fit(
        graphs["train"],
        data.y[train],
        validation=(data.graphs.select(validation), data.y[validation]) if len(validation) else None,
        checkpoint_dir=context.checkpoint_dir,
        resume=context.resume,
        progress=context.progress,
    )
    seconds = time.perf_counter() - began
    anomalous = data.y == estimator.classes_[1]
    truth = anomalous[test]
    probability = estimator.predict_proba(graphs["test"])[:, 1]
    tuned = probability >= estimator.thresholds_[estimator.checkpoint]
    scores = {"network": probability}
    for name, column in (("composition", 1), ("quotients", 0)):
        x_train, x_test = (
            quadratic_forms(part, node_signals(part, estimator.vocabulary_))[column] for part in graphs.values()
        )
        plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        scores[name] = plain.fit(x_train, anomalous[train]).predict_proba(x_test)[:, 1]
    quotient = rayleigh_quotients(data.graphs, per_channel=False)
    metrics = {
        "n_train": float(len(train)),
        "n_validation": float(len(validation)),
        "n_test": float(len(test)),
        "anomalous_share": float(anomalous.mean()),
        "test_macro_f1": _macro_f1(truth, probability > 0.5),
        "test_macro_f1_tuned_threshold": _macro_f1(truth, tuned),
        "test_macro_f1_all_normal": _macro_f1(truth, np.zeros(len(truth), dtype=bool)),
        "tuned_threshold": estimator.thresholds_[estimator.checkpoint],
        **{f"test_auc_{name}": float(roc_auc_score(truth, score)) for name, score in scores.items()},
        **{f"test_average_precision_{name}": float(average_precision_score(truth, s)) for name, s in scores.items()},
        "mean_rayleigh_quotient_anomalous": float(quotient[anomalous].mean()),
        "mean_rayleigh_quotient_normal": float(quotient[~anomalous].mean()),
        "n_epochs": float(len(estimator.validation_scores_)),
        "fit_seconds": seconds,
    }
    summary = (
        f"Learnt from {len(train)} graphs, {100 * anomalous[train].mean():.1f} % of them anomalous. On {len(test)} others "
        f"the AUC is {metrics['test_auc_network']:.3f} (the counts of the node types alone "
        f"{metrics['test_auc_composition']:.3f}, their Rayleigh quotients alone {metrics['test_auc_quotients']:.3f}) and the "
        f"macro-F1 {metrics['test_macro_f1']:.3f}, "
        f"{metrics['test_macro_f1_tuned_threshold']:.3f} with the threshold tuned on validation graphs."
    )
    curves = _mean_curves(data.graphs, anomalous)
    return Outcome(
        model=estimator,
        summary=summary,
        metrics=metrics,
        arrays={
            "eigenvalue": THRESHOLDS,
            "accumulated_energy_normal": curves[0],
            "accumulated_energy_anomalous": curves[1],
            "rayleigh_quotient": quotient,
            "test": test,
            "truth": truth,
            "probability": probability,
        },
        tables={
            "predictions": pd.DataFrame(
                {
                    "graph": data.names[test],
                    "label": data.y[test],
                    "probability": probability,
                    "predicted": estimator.predict(graphs["test"]),
                    "predicted_tuned_threshold": estimator.classes_[tuned.astype(int)],
                    "rayleigh_quotient": quotient[test],
                }
            )
        },
        pictures={
            "spectrum": _draw_spectrum(curves, quotient, anomalous),
            "detection": _draw_detection(scores, truth, metrics["tuned_threshold"]),
            "training": _draw_training(estimator),
        },
    )


def _macro_f1(truth: np.ndarray, called: np.ndarray) -> float:
    return float(f1_score(truth, called, average="macro", zero_division=0.0))


def _parts(data: GraphsWithLabels, random_state: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of the graphs to learn from (70 %), to choose by and to test on (15 % each), class by class."""
    if data.split is not None:
        parts = [np.flatnonzero(data.split == number) for number in range(3)]
        if len(parts[0]) and len(np.unique(data.y[parts[2]])) == 2:
            return parts[0], parts[1], parts[2]
        raise ValueError(
            "data: 'split' must hold 0 (training) and 2 (test, with both classes), and may hold 1 (validation)"
        )
    seed = seed_from(random_state) % 2**32
    # One graph of each class at the least, however few there are.
    smallest = 1 / np.unique(data.y, return_counts=True)[1].min()
    order = np.arange(len(data.y))
    train, rest = train_test_split(order, test_size=max(0.3, 2 * smallest), stratify=data.y, random_state=seed)
    validation, test = train_test_split(rest, test_size=0.5, stratify=data.y[rest], random_state=seed)
    return train, validation, test


def _mean_curves(graphs: GraphSet, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Accumulated energy of either class, mean over its graphs."""
    if len(graphs.batch) * int(graphs.n_nodes.max()) <= EIGENVECTOR_LIMIT:
        curves = spectral_energy(graphs).accumulated(THRESHOLDS)
    else:
        curves = smoothed_energy(graphs, THRESHOLDS)
    return curves[~anomalous].mean(0), curves[anomalous].mean(0)


def _draw_spectrum(curves: tuple[np.ndarray, np.ndarray], quotient: np.ndarray, anomalous: np.ndarray) -> Picture:
    figure, axes = new_figure(1, 2, width=8.8, height=3.5)
    ax = axes[0, 0]
    for curve, name, style in (
        (curves[0], "normal", {"color": COLORS[0], "linestyle": "-"}),
        (curves[1], "anomalous", {"color": COLORS[1], "linestyle": "--"}),
    ):
        ax.plot(THRESHOLDS, curve, label=name, **style)
    ax.fill_between(THRESHOLDS, *curves, color="grey", alpha=0.3, linewidth=0)
    ax.set(
        xlabel="eigenvalue λ of the normalised Laplacian",
        ylabel="energy of the signal up to λ",
        xlim=(0, 2),
        ylim=(0, 1.02),
    )
    ax.legend(loc="lower right")
    ax = axes[0, 1]
    low, high = np.quantile(quotient, [0.001, 0.999])
    bins = np.linspace(low, high, 40)
    for part, name, color, kind in (
        (~anomalous, "normal", COLORS[0], "stepfilled"),
        (anomalous, "anomalous", COLORS[1], "step"),
    ):
        ax.hist(
            quotient[part],
            bins=bins,
            density=True,
            histtype=kind,
            color=color,
            alpha=0.5 if kind == "stepfilled" else 1.0,
            linewidth=1.8,
            label=f"{name}, mean {quotient[part].mean():.3f}",
        )
    ax.set(xlabel="Rayleigh quotient of the graph's signal", ylabel="density of graphs")
    ax.margins(y=0.35)
    ax.legend(loc="upper left", fontsize="small")
    return Picture(
        figure,
        "Where the node features of either class lie on the spectrum of their graphs: energy up to each eigenvalue, mean of the "
        "class (left). The Rayleigh quotient is the area above a graph's curve (right).",
    )


def _draw_detection(scores: dict[str, np.ndarray], truth: np.ndarray, tuned: float) -> Picture:
    figure, axes = new_figure(1, 2, width=8.8, height=3.5)
    ax = axes[0, 0]
    names = {"network": "RQGNN", "quotients": "quotients alone", "composition": "composition alone"}
    for (key, name), color, line in zip(names.items(), (COLORS[0], COLORS[2], COLORS[1]), ("-", "-.", "--")):
        precision, recall, _ = precision_recall_curve(truth, scores[key])
        ax.step(
            recall,
            precision,
            where="post",
            color=color,
            linestyle=line,
            label=f"{name} ({average_precision_score(truth, scores[key]):.2f})",
        )
    ax.axhline(truth.mean(), color="black", linewidth=0.8, linestyle=":", label=f"by chance ({truth.mean():.2f})")
    ax.set(xlabel="part of the anomalies found", ylabel="anomalies among those called so", xlim=(0, 1), ylim=(0, 1.03))
    ax.legend(fontsize="small", title="average precision", loc="upper right")
    ax = axes[0, 1]
    bins = np.linspace(0, 1, 31)
    for part, name, color, kind in (
        (~truth, "normal", COLORS[0], "stepfilled"),
        (truth, "anomalous", COLORS[1], "step"),
    ):
        weights = np.full(int(part.sum()), 1 / part.sum())
        ax.hist(
            scores["network"][part],
            bins=bins,
            weights=weights,
            histtype=kind,
            color=color,
            alpha=0.5 if kind == "stepfilled" else 1.0,
            linewidth=1.8,
            label=name,
        )
    ax.axvline(0.5, color="black", linewidth=1, linestyle=":", label="threshold 1/2")
    ax.axvline(tuned, color="black", linewidth=1, linestyle="--", label=f"tuned threshold {tuned:.2f}")
    ax.set(xlabel="predicted probability of being anomalous", ylabel="part of the class's test graphs")
    ax.margins(y=0.3)
    ax.legend(fontsize="small", loc="upper right")
    return Picture(
        figure,
        "Detection among the test graphs: precision and recall beside logistic regressions on the counts of node types and on "
        "the Rayleigh quotients (left), and the network's probabilities for either class (right).",
    )


def _draw_training(estimator: RQGNN) -> Picture:
    figure, axes = new_figure(width=5.8, height=3.6)
    ax = axes[0, 0]
    epochs = np.arange(1, len(estimator.validation_scores_) + 1)
    for column, name, color, line in ((0, "macro-F1", COLORS[0], "-"), (1, "AUC", COLORS[1], "--")):
        values = estimator.validation_scores_[:, column]
        kept = len(values) - 1 - int(values[::-1].argmax())
        ax.plot(epochs, values, color=color, linestyle=line, label=name)
        ax.plot(epochs[kept], values[kept], "o", color=color, markerfacecolor="none", markersize=10)
    ax.set(
        xlabel="epoch",
        ylabel="score on the validation graphs",
        ylim=(min(0.4, estimator.validation_scores_.min()), 1.02),
    )
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(loc="best")
    return Picture(
        figure,
        "Scores of the validation graphs during the training. The rings mark the epochs whose weights are kept, one for each "
        "score.",
    )

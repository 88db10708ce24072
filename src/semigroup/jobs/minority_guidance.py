"""Rank the instances of a file by rarity, and generate more of the rare ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from semigroup.base import numpy_generator
from semigroup.data.files import read_array, read_table
from semigroup.data.images import digits, rows_with_a_rare_class
from semigroup.densities.minority_guidance import MinorityGuidance, Rarity, assess_rarity, average_knn_distance
from semigroup.jobs import Context, Outcome, Picture
from semigroup.report.figures import COLORS, new_figure
from semigroup.report.images import draw_image_grid

__all__ = ["Instances", "perform", "read"]

N_SAMPLES = 400
GRID = (8, 8)
TABLES = (".csv", ".tsv", ".txt", ".parquet")


@dataclass(frozen=True)
class Instances:
    """What is to be ranked, and for the shipped example which are of the rare class, which the method does not see.

    Attributes
    ----------
    X : array, shape (n, n_features) or (n, channel, size, size)
    rare : array of bool, shape (n,), or None
    columns : list of str
        Names of the columns of a table.
    """

    X: np.ndarray
    rare: np.ndarray | None
    columns: list[str]


def read(files: Sequence[Path]) -> Instances:
    """A table or array of vectors, or an array of square images (n, size, size) or (n, channel, size, size).

    Without files: 720 images of the digits 0 to 3 and 36 of the digit 8.
    """
    if not files:
        images, labels = digits()
        rows = rows_with_a_rare_class(labels, rare=8)
        return Instances(2 * images[rows, None] - 1, labels[rows] == 8, [])
    if len(files) > 1:
        raise ValueError(f"data must be one file of instances, got {len(files)}: {', '.join(map(str, files))}")
    path = files[0]
    X: np.ndarray
    columns: list[str] = []
    if path.name.removesuffix(".gz").endswith(TABLES):
        table = read_table(path).select_dtypes("number")
        X, columns = table.to_numpy(dtype=np.float64), [str(name) for name in table.columns]
    else:
        X = read_array(path)
    if X.ndim == 3:
        X = X[:, None]
    if X.ndim not in (2, 4) or (X.ndim == 4 and X.shape[2] != X.shape[3]) or X.dtype.kind not in "biuf" or not X.size:
        raise ValueError(
            f"{path}: instances are rows of numbers or square images, got shape {X.shape}, dtype {X.dtype}"
        )
    X = X.astype(np.float64)
    if not np.isfinite(X).all():
        raise ValueError(f"{path}: holds NaN or infinity")
    if len(X) < 4 or X.min() == X.max():
        raise ValueError(f"{path}: needs at least 4 instances that differ, got shape {X.shape}")
    return Instances(X, None, columns)


def perform(estimator: MinorityGuidance, data: Instances, context: Context) -> Outcome:
    """Fit, rank, and sample with and without guidance."""
    began = time.perf_counter()
    estimator.fit(data.X, progress=context.progress, checkpoint_dir=context.checkpoint_dir, resume=context.resume)
    seconds = time.perf_counter() - began
    unguided = estimator.sample(N_SAMPLES, guidance=0.0, progress=context.progress)
    guided = estimator.sample(N_SAMPLES, progress=context.progress)
    typical = estimator.sample(N_SAMPLES, level=0, progress=context.progress)
    rng = numpy_generator(estimator.random_state)
    reference = _flat(data.X[rng.permutation(len(data.X))[:5000]])
    found = {
        name: _assess(reference, sample)
        for name, sample in (("unguided", unguided), ("guided", guided), ("level_0", typical))
    }
    metrics: dict[str, float] = {
        "noise_step": float(estimator.noise_step_),
        "fit_seconds": seconds,
        **{f"{measure}_{name}": value for name, values in found.items() for measure, value in values.items()},
    }
    ratio = found["guided"]["avg_knn"] / found["unguided"]["avg_knn"]
    summary = (
        f"Guided to level {estimator.n_levels - 1} of {estimator.n_levels - 1}, samples lie {ratio:.2f} times as far from their "
        f"nearest neighbours in the data as the model's own samples; "
        f"{found['guided']['in_manifold']:.0%} of them are within the data's reach, {found['unguided']['in_manifold']:.0%} of "
        "the model's own."
    )
    if data.rare is not None:
        metrics["rare_class_auroc"] = float(roc_auc_score(data.rare, estimator.scores_))
        metrics["rare_class_share"] = float(data.rare.mean())
        metrics["rare_class_share_top_level"] = float(data.rare[estimator.levels_ == estimator.n_levels - 1].mean())
        summary += (
            f" The rare class, {metrics['rare_class_share']:.1%} of the data, is "
            f"{metrics['rare_class_share_top_level']:.1%} of the top level."
        )
    order = np.argsort(-estimator.scores_, kind="stable")
    table = pd.DataFrame({"row": order, "minority_score": estimator.scores_[order], "level": estimator.levels_[order]})
    for column, name in enumerate(data.columns):
        table[name] = data.X[order, column]
    return Outcome(
        model=estimator,
        summary=summary,
        metrics=metrics,
        arrays={"scores": estimator.scores_, "levels": estimator.levels_, "guided": guided, "unguided": unguided},
        tables={"ranking": table},
        pictures={
            "samples": _draw_images(estimator, data.X, order, (typical, unguided, guided))
            if data.X.ndim == 4
            else _draw_plane(estimator, data.X, (typical, unguided, guided)),
            "scores": _draw_scores(estimator, data, reference, guided, unguided),
        },
    )


def _assess(reference: np.ndarray, sample: np.ndarray) -> dict[str, float]:
    """Measures that are defined: no rarity where no sample is within the data's reach."""
    k = min(5, len(reference) - 1)
    values: Rarity = assess_rarity(reference, _flat(sample), k=k, lof_neighbors=min(20, len(reference) - 1))
    return {name: value for name, value in vars(values).items() if np.isfinite(value)}


def _flat(X: np.ndarray) -> Float[np.ndarray, "n dim"]:
    return X.reshape(len(X), -1)


def _draw_images(
    estimator: MinorityGuidance, X: np.ndarray, order: Int[np.ndarray, " n"], samples: tuple[np.ndarray, ...]
) -> Picture:
    """Grids of the commonest and rarest images of the data, and of samples."""
    figure, axes = new_figure(2, 3, width=10, height=7)
    n = GRID[0] * GRID[1]
    spread = order[np.linspace(0, len(order) - 1, n).astype(int)]
    low, high = float(X.min()), float(X.max())
    top = estimator.n_levels - 1
    panels = (
        (X[order[::-1][:n]], "Data: lowest scores"),
        (X[spread], "Data: from the highest score to the lowest"),
        (X[order[:n]], "Data: highest scores"),
        (samples[0][:n], "Samples guided to level 0"),
        (samples[1][:n], "Samples without guidance"),
        (samples[2][:n], f"Samples guided to level {top}"),
    )
    for ax, (images, title) in zip(axes.flat, panels):
        draw_image_grid(ax, images, n_columns=GRID[1], limits=(low, high))
        ax.set_title(title)
    return Picture(figure, "Images of the data by minority score, and samples without guidance and with it.")


def _draw_plane(estimator: MinorityGuidance, X: np.ndarray, samples: tuple[np.ndarray, ...]) -> Picture:
    """Data and samples in the plane of the two main axes; one column is drawn as histograms."""
    figure, axes = new_figure(1, 4, width=15, height=3.8)
    top = estimator.n_levels - 1
    titles = ("Data", "Guided to level 0", "Without guidance", f"Guided to level {top}")
    if X.shape[1] == 1:
        bins = np.histogram_bin_edges(np.concatenate([X, *samples]), 40)
        for ax, rows, title in zip(axes[0], (X, *samples), titles):
            ax.hist(rows[:, 0], bins=bins, density=True, color=COLORS[0])
            ax.set_title(title)
            ax.set_xlabel("value (units of the data)")
            ax.set_ylabel("density")
        return Picture(figure, "Data and samples.")
    plane = PCA(2).fit(X)
    seen = plane.transform(X)
    # A few outliers must not make the rest a dot.
    low, high = np.quantile(seen, [0.002, 0.998], axis=0)
    margin = 0.1 * (high - low)
    marks = axes[0, 0].scatter(*seen.T, c=estimator.scores_, s=6, vmax=np.quantile(estimator.scores_, 0.99))
    figure.colorbar(marks, ax=axes[0, 0], label="minority score")
    for ax, rows in zip(axes[0, 1:], samples):
        ax.scatter(*seen.T, s=4, color="0.8", label="data")
        ax.scatter(*plane.transform(rows).T, s=6, color=COLORS[1], label="samples")
        ax.legend(markerscale=2)
    for ax, title in zip(axes[0], titles):
        ax.set_title(title)
        ax.set_xlim(low[0] - margin[0], high[0] + margin[0])
        ax.set_ylim(low[1] - margin[1], high[1] + margin[1])
        ax.set_xlabel("principal axis 1 (units of the data)")
    axes[0, 0].set_ylabel("principal axis 2 (units of the data)")
    return Picture(
        figure, "Data by minority score, and samples without guidance and with it, along two principal axes."
    )


def _draw_scores(
    estimator: MinorityGuidance, data: Instances, reference: np.ndarray, guided: np.ndarray, unguided: np.ndarray
) -> Picture:
    """How scores are spread over the data, and how far samples are from it."""
    figure, axes = new_figure(1, 2, width=10)
    ax = axes[0, 0]
    bins: Any = np.linspace(estimator.scores_.min(), estimator.scores_.max(), 41)
    if data.rare is None:
        ax.hist(estimator.scores_, bins=bins, color=COLORS[0])
    else:
        groups = (estimator.scores_[~data.rare], estimator.scores_[data.rare])
        ax.hist(groups, bins=bins, stacked=True, color=[COLORS[4], COLORS[1]], label=["common classes", "rare class"])
        ax.legend()
    for i, edge in enumerate(estimator.edges_):
        ax.axvline(edge, color="black", linewidth=0.7, linestyle=":", label="edges of the levels" if i == 0 else None)
    ax.legend()
    ax.set_xlabel("minority score (units of the distance)")
    ax.set_ylabel("instances")
    ax.set_title("Scores of the data")
    ax = axes[0, 1]
    k = min(5, len(reference) - 1)
    near = [average_knn_distance(reference, _flat(rows), k=k) for rows in (unguided, guided)]
    bins = np.histogram_bin_edges(np.concatenate(near), 40)
    for values, name, color, style in zip(near, ("without guidance", "guided"), COLORS, ("-", "--")):
        ax.hist(values, bins=bins, histtype="step", color=color, linestyle=style, linewidth=1.8, label=name)
    ax.set_xlabel(f"mean distance to the {k} nearest instances of the data (its units)")
    ax.set_ylabel("samples")
    ax.set_title("Samples")
    ax.legend()
    return Picture(
        figure, "Minority scores of the data with the edges of the levels; distances of samples to the data."
    )

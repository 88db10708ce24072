"""Rank the instances of a file by rarity, and generate more of the rare ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

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
    left_out : list of str
        Names of its other columns, which hold no numbers.
    """

    X: np.ndarray
    rare: np.ndarray | None
    columns: list[str]
    left_out: list[str] = field(default_factory=list)


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
    left_out: list[str] = []
    if path.name.removesuffix(".gz").endswith(TABLES):
        table = read_table(path)
        numbers = table.select_dtypes("number")
        X, columns = numbers.to_numpy(dtype=np.float64), [str(name) for name in numbers.columns]
        left_out = [str(name) for name in table.columns.difference(numbers.columns, sort=False)]
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
    return Instances(X, None, columns, left_out)


def perform(estimator: MinorityGuidance, data: Instances, context: Context) -> Outcome:
    """Fit, rank, and sample with and without guidance."""
    began = time.perf_counter()
    estimator.fit(data.X, progress=context.progress, checkpoint_dir=context.checkpoint_dir, resume=context.resume)
    seconds = time.perf_counter() - began
    top = estimator.n_levels - 1
    samples = {"unguided": estimator.sample(N_SAMPLES, guidance=0.0, progress=context.progress)}
    titles = {"unguided": "Without guidance"}
    if estimator.guidance > 0:
        samples["guided"] = estimator.sample(N_SAMPLES, progress=context.progress)
        samples["level_0"] = estimator.sample(N_SAMPLES, level=0, progress=context.progress)
        titles |= {"guided": f"Guided to level {top}", "level_0": "Guided to level 0"}
    rng = numpy_generator(estimator.random_state)
    flat = _Flat(data.X)
    reference = flat(data.X[rng.permutation(len(data.X))[:5000]])
    found = {name: _assess(reference, flat(sample)) for name, sample in samples.items()}
    metrics: dict[str, float] = {
        "noise_step": float(estimator.noise_step_),
        "fit_seconds": seconds,
        **{f"{measure}_{name}": value for name, values in found.items() for measure, value in values.items()},
        "nearest_within_data": float(np.median(NearestNeighbors(n_neighbors=1).fit(reference).kneighbors()[0])),
    }
    reach = {name: f"{values['in_manifold']:.0%}" for name, values in found.items()}
    if "guided" in found:
        ratio = found["guided"]["avg_knn"] / found["unguided"]["avg_knn"]
        summary = (
            f"Guided to level {top} of {top}, samples lie {ratio:.2f} times as far from their nearest neighbours in the data as "
            f"the model's own samples, of which {reach['unguided']} are within the data's reach; {reach['guided']} of the guided "
            "ones are."
        )
    else:
        summary = (
            f"With guidance=0 the samples are the model's own; {reach['unguided']} of them are within the data's reach."
        )
    nearest = found["guided" if "guided" in found else "unguided"]["nearest"]
    summary += (
        f" In the median they lie {nearest:.3g} from the nearest instance of the data, and instances of the data "
        f"{metrics['nearest_within_data']:.3g} from one another; far less would mean copies."
    )
    if data.left_out:
        summary += f" Columns that hold no numbers were left out: {', '.join(data.left_out)}."
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
    drawn = {titles[name]: samples[name] for name in ("level_0", "unguided", "guided") if name in samples}
    return Outcome(
        model=estimator,
        summary=summary,
        metrics=metrics,
        arrays={
            "scores": estimator.scores_,
            "levels": estimator.levels_,
            **{name: samples[name] for name in ("guided", "unguided") if name in samples},
        },
        tables={"ranking": table},
        pictures={
            "samples": _draw_images(data.X, order, drawn)
            if data.X.ndim == 4
            else _draw_plane(estimator, data.X, flat, drawn),
            "scores": _draw_scores(
                estimator,
                data,
                reference,
                {titles[name]: flat(samples[name]) for name in ("unguided", "guided") if name in samples},
                flat.unit,
            ),
        },
    )


class _Flat:
    """Instances as rows in which distances are taken: images as they are, columns of tables over their standard deviations, so
    that a column counts alike whatever its unit."""

    def __init__(self, X: np.ndarray) -> None:
        deviation = X.std(0) if X.ndim == 2 else np.ones(1)
        self.scale = np.where(deviation > 0, deviation, 1.0)
        self.unit = "columns' standard deviations" if X.ndim == 2 else "units of the data"

    def __call__(self, X: np.ndarray) -> Float[np.ndarray, "n dim"]:
        return (X / self.scale).reshape(len(X), -1)


def _assess(reference: Float[np.ndarray, "n dim"], rows: Float[np.ndarray, "m dim"]) -> dict[str, float]:
    """Measures that are defined: no rarity where no sample is within the data's reach."""
    k = min(5, len(reference) - 1)
    values: Rarity = assess_rarity(reference, rows, k=k, lof_neighbors=min(20, len(reference) - 1))
    return {name: value for name, value in vars(values).items() if np.isfinite(value)}


def _draw_images(X: np.ndarray, order: Int[np.ndarray, " n"], samples: dict[str, np.ndarray]) -> Picture:
    """Grids of the commonest and rarest images of the data, and of samples."""
    figure, axes = new_figure(2, 3, width=10, height=7)
    n = GRID[0] * GRID[1]
    spread = order[np.linspace(0, len(order) - 1, n).astype(int)]
    low, high = float(X.min()), float(X.max())
    panels = {
        "Data: lowest scores": X[order[::-1][:n]],
        "Data: from the highest score to the lowest": X[spread],
        "Data: highest scores": X[order[:n]],
        **{f"Samples {title[0].lower()}{title[1:]}": images[:n] for title, images in samples.items()},
    }
    for ax, (title, images) in zip(axes.flat, panels.items()):
        draw_image_grid(ax, images, n_columns=GRID[1], limits=(low, high))
        ax.set_title(title)
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    return Picture(figure, "Images of the data by minority score, and samples of the model.")


def _draw_plane(estimator: MinorityGuidance, X: np.ndarray, flat: _Flat, samples: dict[str, np.ndarray]) -> Picture:
    """Data and samples in the plane of the two main axes; one column is drawn as histograms."""
    figure, axes = new_figure(1, 1 + len(samples), width=3.75 * (1 + len(samples)), height=3.8)
    titles = ("Data", *samples)
    if X.shape[1] == 1:
        bins = np.histogram_bin_edges(np.concatenate([X, *samples.values()]), 40)
        for ax, rows, title in zip(axes[0], (X, *samples.values()), titles):
            ax.hist(rows[:, 0], bins=bins, density=True, color=COLORS[0])
            ax.set_title(title)
            ax.set_xlabel("value (units of the data)")
            ax.set_ylabel("density")
        return Picture(figure, "Data and samples.")
    plane = PCA(2).fit(flat(X))
    seen = plane.transform(flat(X))
    # A few outliers must not make the rest a dot.
    low, high = np.quantile(seen, [0.002, 0.998], axis=0)
    margin = 0.1 * (high - low)
    marks = axes[0, 0].scatter(*seen.T, c=estimator.scores_, s=6, vmax=np.quantile(estimator.scores_, 0.99))
    figure.colorbar(marks, ax=axes[0, 0], label="minority score")
    for ax, rows in zip(axes[0, 1:], samples.values()):
        ax.scatter(*seen.T, s=4, color="0.8", label="data")
        ax.scatter(*plane.transform(flat(rows)).T, s=6, color=COLORS[1], label="samples")
        ax.legend(markerscale=2)
    for ax, title in zip(axes[0], titles):
        ax.set_title(title)
        ax.set_xlim(low[0] - margin[0], high[0] + margin[0])
        ax.set_ylim(low[1] - margin[1], high[1] + margin[1])
        ax.set_xlabel("principal axis 1")
    axes[0, 0].set_ylabel("principal axis 2")
    return Picture(
        figure, f"Data by minority score, and samples, along two principal axes of the columns ({flat.unit})."
    )


def _draw_scores(
    estimator: MinorityGuidance,
    data: Instances,
    reference: Float[np.ndarray, "n dim"],
    samples: dict[str, np.ndarray],
    unit: str,
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
    near = [average_knn_distance(reference, rows, k=k) for rows in samples.values()]
    bins = np.histogram_bin_edges(np.concatenate(near), 40)
    for values, name, color, style in zip(near, samples, COLORS, ("-", "--")):
        label = f"{name[0].lower()}{name[1:]}"
        ax.hist(values, bins=bins, histtype="step", color=color, linestyle=style, linewidth=1.8, label=label)
    ax.set_xlabel(f"mean distance to the {k} nearest instances ({unit})")
    ax.set_ylabel("samples")
    ax.set_title("Samples")
    ax.legend()
    return Picture(
        figure, "Minority scores of the data with the edges of the levels; distances of samples to the data."
    )

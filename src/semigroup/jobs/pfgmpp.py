"""Learn to draw more of the samples of a file, and tell how good they are and how they stand disturbances."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from semigroup.base import numpy_generator
from semigroup.data.files import read_arrays, read_table
from semigroup.data.images import digits
from semigroup.densities import PFGMpp, energy_distance, frechet_distance
from semigroup.densities.pfgmpp import Quality, assess
from semigroup.densities.pfgmpp.estimator import spread_labels
from semigroup.jobs import Context, Outcome, Picture
from semigroup.report.figures import COLORS, new_figure

__all__ = ["Samples", "perform", "read"]

LABELS = ("label", "labels", "y", "class", "target")
DATA = ("X", "images", "points", "samples", "data")
N_DRAWN = 1000
# Distances are taken along so many principal axes: covariances of more are not known from a thousand samples.
N_AXES = 64
DISTURBANCES = (0.1, 0.2, 0.3)
BITS = (8, 6, 5, 4)


@dataclass(frozen=True)
class Samples:
    """What there is more of to draw."""

    samples: np.ndarray
    labels: np.ndarray | None
    name: str


def read(files: Sequence[Path]) -> Samples:
    """Vectors or images from one file, with labels where it has them.

    In an npz or HDF5 file the samples are called X, images, points, samples or data, or are the only array; labels are called
    label, labels, y, class or target. In a table such a column holds the labels if it has words or whole numbers and is no y
    beside an x; the other numeric columns hold the vectors. Images are (n, channel, size, size). Without files: the digits of
    scikit-learn, 8 x 8 pixels.
    """
    if not files:
        images, numbers = digits()
        return Samples(images[:, None], numbers, "digits")
    if len(files) != 1:
        raise ValueError(f"data must be one file, got {len(files)}")
    path = files[0]
    content, labels = _open(path)
    try:
        samples = PFGMpp()._check_samples(content, "samples")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    if len(samples) < 10:
        raise ValueError(f"{path}: learning needs at least 10 samples, got {len(samples)}")
    if (samples == samples[:1]).all():
        raise ValueError(f"{path}: all samples are equal")
    if labels is not None and labels.shape != (len(samples),):
        raise ValueError(f"{path}: holds {len(labels)} labels for {len(samples)} samples")
    return Samples(samples, labels, path.stem)


def _open(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Samples and labels of a file."""
    if path.name.lower().removesuffix(".gz").endswith((".csv", ".tsv", ".txt", ".parquet")):
        table = read_table(path)
        plane = "x" in {str(name).lower() for name in table.columns}
        allowed = [name for name in LABELS if not (name == "y" and plane)]
        named = next(
            (name for name in table.columns if str(name).lower() in allowed and _are_labels(table[name].to_numpy())),
            None,
        )
        numbers = table.drop(columns=[] if named is None else [named]).select_dtypes("number")
        if numbers.shape[1] == 0:
            raise ValueError(f"{path}: no numeric column in the table")
        words = None if named is None else table[named].to_numpy()
        labels = words.astype(str) if words is not None and words.dtype == object else words
        return numbers.to_numpy(dtype=np.float64), labels
    arrays = read_arrays(path)
    label_name = next((name for name in LABELS if name in arrays), None) if len(arrays) > 1 else None
    labels = None if label_name is None else arrays.pop(label_name)
    if labels is not None and not _are_labels(labels):
        raise ValueError(f"{path}: the labels '{label_name}' must be whole numbers or words, got {labels.dtype}")
    name = next((name for name in DATA if name in arrays), None)
    if name is None and len(arrays) == 1:
        name = next(iter(arrays))
    if name is None:
        raise ValueError(
            f"{path}: samples are the array {', '.join(DATA)}, or the only one; found {', '.join(arrays) or 'none'}"
        )
    return arrays[name], labels


def _are_labels(values: np.ndarray) -> bool:
    """Words or whole numbers."""
    if values.dtype.kind == "f":
        return bool((np.isfinite(values) & (values == np.round(values))).all())
    return values.dtype.kind in "OUbiu"


def perform(estimator: PFGMpp, data: Samples, context: Context) -> Outcome:
    """Fit all but a fifth of the samples, draw new ones, and compare them with that fifth, undisturbed and disturbed."""
    order = numpy_generator(estimator._seed(4)).permutation(len(data.samples))
    n_held = max(2, len(order) // 5)
    held, kept = order[:n_held], order[n_held:]
    learnt, labels = None, None
    if data.labels is not None:
        # A label that only held-out samples have cannot be learnt.
        held = held[np.isin(data.labels[held], data.labels[kept])]
        learnt, labels = data.labels[kept], data.labels[held]
    if len(held) < 2:
        raise ValueError(
            "data must hold labels that occur more often: fewer than 2 of the samples held out have one to learn"
        )
    training, truth = data.samples[kept], data.samples[held]
    began = time.perf_counter()
    estimator.fit(
        training,
        learnt,
        progress=context.progress,
        checkpoint_dir=context.checkpoint_dir,
        resume=context.resume,
    )
    fit_seconds = time.perf_counter() - began

    # As many as there are of the training data, since the distance between two samples depends on their sizes.
    n = min(N_DRAWN, 10 * len(truth), len(training))
    wanted = None if labels is None else spread_labels(labels, n)
    began = time.perf_counter()
    samples = estimator.sample(n, wanted, progress=context.progress)
    seconds = time.perf_counter() - began
    flat = training.reshape(len(training), -1)
    plane = PCA(min(N_AXES, *flat.shape)).fit(flat)

    def features(values: np.ndarray) -> np.ndarray:
        return plane.transform(values.reshape(len(values), -1))

    seen, real = features(truth), features(training)[:n]
    drawn = features(samples)
    nearest = [np.median(cdist(rows, features(training)).min(1)) for rows in (drawn, seen)]
    judge = partial(assess, estimator, truth, labels=labels, n_samples=n, features=features)
    distances = frechet_distance(seen, drawn), energy_distance(seen, drawn)
    rows = [Quality(estimator.D, 0.0, None, estimator.n_levels, *distances)]
    rows += [judge(disturbance=size) for size in DISTURBANCES] + [judge(bits=bits) for bits in BITS]
    table = pd.DataFrame([vars(row) for row in rows])
    metrics = {
        "n_training": float(len(training)),
        "n_features": float(estimator.n_features_in_),
        "fit_seconds": fit_seconds,
        "sampling_seconds_per_thousand": 1000 * seconds / n,
        "n_evaluations_per_sample": 2.0 * estimator.n_levels - 1,
        "energy_distance_samples": distances[1],
        "energy_distance_training_data": energy_distance(seen, real),
        "frechet_distance_samples": distances[0],
        "frechet_distance_training_data": frechet_distance(seen, real),
        "median_distance_to_training_data_samples": float(nearest[0]),
        "median_distance_to_training_data_held_out": float(nearest[1]),
    }
    summary = (
        f"{n} new samples of '{data.name}' are at Fréchet distance {metrics['frechet_distance_samples']:.2g} from "
        f"{len(truth)} held-out ones, the training data at {metrics['frechet_distance_training_data']:.2g} "
        f"(D = {estimator.D:g}, {fit_seconds:.0f} s of training)."
    )
    arrays: dict[str, Any] = {"samples": samples}
    if wanted is not None:
        arrays["sample_labels"] = wanted
    picture = _draw_images if len(estimator.shape_) == 3 else _draw_vectors
    return Outcome(
        model=estimator,
        summary=summary,
        metrics=metrics,
        arrays=arrays,
        tables={"robustness": table},
        pictures={
            "samples": picture(training, samples, () if learnt is None or wanted is None else (learnt, wanted)),
            "robustness": _draw_robustness(table, metrics),
        },
    )


def _draw_images(
    training: np.ndarray, samples: np.ndarray, labels: tuple[np.ndarray, ...], n_rows: int = 10
) -> Picture:
    """Two grids of images, one row a label where there are labels."""
    figure, axes = new_figure(1, 2, width=10, height=5.2)
    classes = np.unique(labels[1])[:n_rows] if labels else None
    low, high = training.min(), training.max()
    for k, (ax, images, title) in enumerate(zip(axes[0], (training, samples), ("Data", "Samples of the model"))):
        rows = []
        for i in range(n_rows if classes is None else len(classes)):
            chosen = images[i * 10 :] if classes is None else images[labels[k] == classes[i]]
            rows.append(_padded(chosen[:10]))
        grid = np.clip((np.concatenate(rows, axis=1) - low) / (high - low), 0, 1).transpose(1, 2, 0)
        three = grid.shape[2] == 3
        ax.imshow(grid if three else 1 - grid[:, :, 0], cmap=None if three else "gray", interpolation="nearest")
        ax.set_title(title)
        ax.grid(visible=False)
        ax.set_xticks([])
        ax.set_yticks([])
        for side in ax.spines.values():
            side.set_visible(False)
        if classes is not None:
            height = grid.shape[0] / len(classes)
            ax.set_yticks((np.arange(len(classes)) + 0.5) * height, [str(name) for name in classes])
            ax.set_ylabel("label")
            ax.tick_params(length=0)
    caption = "Images of the data, and images that the model drew" + (
        ", one row a label." if labels is not None else "."
    )
    return Picture(figure, caption)


def _padded(images: np.ndarray) -> np.ndarray:
    """Ten images side by side, one pixel apart: (channel, size + 1, 10 (size + 1)); white where there are fewer."""
    n, n_channels, size, _ = images.shape
    row = np.full((n_channels, size + 1, 10 * (size + 1)), images.min() if n else 0.0)
    for i, image in enumerate(images):
        row[:, :size, i * (size + 1) : i * (size + 1) + size] = image
    return row


def _draw_vectors(training: np.ndarray, samples: np.ndarray, labels: tuple[np.ndarray, ...]) -> Picture:
    """Data and samples in the plane of the data's two main axes, or two histograms of numbers."""
    if training.shape[1] == 1:
        figure, axes = new_figure(1, 1, width=6)
        bins = np.histogram_bin_edges(np.concatenate([training, samples]), 40)
        axes[0, 0].hist(training[:, 0], bins=bins, density=True, color="0.75", label="data")
        axes[0, 0].hist(
            samples[:, 0], bins=bins, density=True, histtype="step", color=COLORS[1], label="samples of the model"
        )
        axes[0, 0].set_xlabel("value (unit of the data)")
        axes[0, 0].set_ylabel("density")
        axes[0, 0].legend()
        return Picture(figure, "The data, and what the model draws.")
    figure, axes = new_figure(1, 2, width=10, height=4.6, sharex=True, sharey=True)
    plane = PCA(2).fit(training)
    names = np.unique(labels[1]) if labels else None
    for k, (ax, rows, title) in enumerate(zip(axes[0], (training, samples), ("Data", "Samples of the model"))):
        seen = plane.transform(rows[: len(samples)])
        if names is None or len(names) > len(COLORS):
            ax.scatter(*seen.T, s=6, color=COLORS[k], alpha=0.5, linewidths=0)
        else:
            for name, color in zip(names, COLORS):
                here = labels[k][: len(samples)] == name
                ax.scatter(*seen[here].T, s=6, color=color, alpha=0.5, linewidths=0, label=str(name))
            ax.legend(title="label", markerscale=3)
        ax.set_title(title)
        ax.set_xlabel("principal axis 1 (units of the data)")
    axes[0, 0].set_ylabel("principal axis 2 (units of the data)")
    return Picture(figure, "The data, and what the model draws, in the plane of the data's two main axes.")


def _draw_robustness(table: pd.DataFrame, metrics: dict[str, float]) -> Picture:
    """Fréchet distance to held-out samples under the two disturbances."""
    figure, axes = new_figure(1, 2, width=9.5, height=3.4, sharey=True)
    noisy = table[table.bits.isna()]
    rounded = table[table.bits.notna()]
    axes[0, 0].plot(noisy.disturbance, noisy.frechet, "o-", label="samples of the model")
    axes[0, 0].set_xlabel("noise added at every step (multiples of σ)")
    axes[0, 0].set_ylabel("Fréchet distance to held-out data\n(squared units of the data)")
    places = np.arange(len(rounded) + 1)
    values = [noisy.frechet.iloc[0], *rounded.frechet]
    axes[0, 1].plot(places, values, "o-")
    axes[0, 1].set_xticks(places, ["32", *(f"{bits:.0f}" for bits in rounded.bits)])
    axes[0, 1].set_xlabel("bits of a weight")
    for ax in axes[0]:
        ax.axhline(
            metrics["frechet_distance_training_data"], color="black", linestyle="--", linewidth=1, label="training data"
        )
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("{x:g}")
    axes[0, 0].legend()
    return Picture(
        figure,
        "How far samples are from held-out data when noise is added at every step of sampling, and when the network's weights "
        "are rounded; the dashed line is the training data's own distance.",
    )

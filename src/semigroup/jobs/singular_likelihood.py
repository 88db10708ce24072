"""Learn to sample from points near an unknown curve or surface, beside what plain maximum likelihood makes of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.base import clone
from sklearn.decomposition import PCA

from semigroup.base import numpy_generator
from semigroup.data.files import read_points
from semigroup.data.singular_laws import plane_mixture
from semigroup.densities.singular_likelihood import PerturbedGenerator, sample_distance
from semigroup.jobs import Context, Outcome, Picture
from semigroup.report.figures import COLORS, new_figure

__all__ = ["Points", "perform", "read"]

HELD_OUT = 0.2
N_DRAWN = 1000
LEAST_ROWS = 10


@dataclass(frozen=True)
class Points:
    """Rows, and the names of their columns."""

    rows: Float[np.ndarray, "n dim"]
    features: tuple[str, ...]


def read(files: Sequence[Path]) -> Points:
    """One sample of points: a table, npy, npz, HDF5 or h5ad.

    Without files: three Gaussian clouds of 1000 points on a plane in 20 dimensions.
    """
    if not files:
        law = plane_mixture(20)
        return Points(law.sample(1000, 0), tuple(f"x{j + 1}" for j in range(law.dim)))
    if len(files) > 1:
        raise ValueError(f"{files[1]}: one file is wanted, got {len(files)}")
    cloud = read_points(files[0])
    if len(cloud.points) < LEAST_ROWS:
        raise ValueError(f"{files[0]}: needs at least {LEAST_ROWS} points, got {len(cloud.points)}")
    return Points(cloud.points, cloud.features)


def perform(estimator: PerturbedGenerator, data: Points, context: Context) -> Outcome:
    """Hold rows out, fit with the perturbation and without, and measure how far the samples of both are from those rows."""
    order = numpy_generator(estimator.random_state).permutation(len(data.rows))
    n_held_out = max(2, round(HELD_OUT * len(data.rows)))
    held_out, training = data.rows[order[:n_held_out]], data.rows[order[n_held_out:]]

    def fit(model: PerturbedGenerator, name: str) -> float:
        began = time.perf_counter()
        folder = None if context.checkpoint_dir is None else context.checkpoint_dir / name
        model.fit(training, progress=context.progress, checkpoint_dir=folder, resume=context.resume)
        return time.perf_counter() - began

    seconds = fit(estimator, "perturbed")
    plain = clone(estimator).set_params(perturbation=0.0)
    fit(plain, "plain")
    n_points = min(len(training), 2000)
    distances = {
        name: model.distance(held_out, n_points=n_points, random_state=0)
        for name, model in (("perturbed", estimator), ("plain", plain))
    }
    floor = sample_distance(training[:n_points], held_out[:n_points], estimator.criterion, 0)
    metrics = {
        "perturbation": estimator.perturbation_,
        "sigma": estimator.sigma_,
        "sigma_plain": plain.sigma_,
        "bound_nats": estimator.bound_,
        "bound_plain_nats": plain.bound_,
        "distance_of_samples": distances["perturbed"],
        "distance_of_samples_plain": distances["plain"],
        "distance_of_training_rows": floor,
        "fit_seconds": seconds,
    }
    summary = (
        f"Perturbed by {estimator.perturbation_:.3g}, the generator's samples are at {_CRITERIA[estimator.criterion]} "
        f"{distances['perturbed']:.3g} of {len(held_out)} held-out rows, those of plain likelihood at {distances['plain']:.3g}, "
        f"other rows of the data at {floor:.3g}. The noise level learnt is {estimator.sigma_:.3g} ({plain.sigma_:.2g} without "
        f"perturbation, where the bound on the likelihood is {plain.bound_ - estimator.bound_:.3g} nats higher)."
    )
    samples, plain_samples = estimator.sample(N_DRAWN), plain.sample(N_DRAWN)
    return Outcome(
        model=estimator,
        summary=summary,
        metrics=metrics,
        arrays={"samples": samples, "codes": estimator.transform(data.rows)},
        tables={"samples": pd.DataFrame(samples, columns=list(data.features))},
        pictures={
            "samples": _draw_samples(data.rows, samples, plain_samples, distances, estimator),
            "choice": _draw_training(estimator, plain)
            if estimator.path_ is None
            else _draw_choice(estimator, estimator.path_),
        },
    )


_CRITERIA = {"wasserstein": "W1 distance", "sliced": "sliced W1 distance", "energy": "energy distance"}


def _draw_samples(
    rows: np.ndarray,
    samples: np.ndarray,
    plain: np.ndarray,
    distances: dict[str, float],
    estimator: PerturbedGenerator,
) -> Picture:
    """Data and samples on the plane of the data's two main axes; over one axis as histograms."""
    figure, axes = new_figure(1, 3, width=11, height=3.8, sharex=True, sharey=True)
    plane = PCA(min(2, rows.shape[1])).fit(rows)
    word = _CRITERIA[estimator.criterion]
    panels = (
        (rows[:N_DRAWN], f"Data ({len(rows)} rows)", "0.35"),
        (plain, f"Plain likelihood: {word} {distances['plain']:.2f}", COLORS[1]),
        (samples, f"Perturbed by {estimator.perturbation_:.2g}: {word} {distances['perturbed']:.2f}", COLORS[0]),
    )
    seen = plane.transform(rows)
    for ax, (points, title, color) in zip(axes[0], panels):
        projected = plane.transform(points)
        if seen.shape[1] == 1:
            ax.hist(projected[:, 0], bins=np.linspace(seen.min(), seen.max(), 41), density=True, color=color)
            ax.set_ylabel("density" if ax is axes[0, 0] else "")
        else:
            ax.scatter(*projected.T, s=5, color=color, alpha=0.5, linewidths=0)
            ax.set_ylabel("principal axis 2 (units of the data)" if ax is axes[0, 0] else "")
        ax.set_xlabel("principal axis 1 (units of the data)")
        ax.set_title(title)
    margin = 0.1 * np.ptp(seen, axis=0)
    axes[0, 0].set_xlim(seen[:, 0].min() - margin[0], seen[:, 0].max() + margin[0])
    if seen.shape[1] == 2:
        axes[0, 0].set_ylim(seen[:, 1].min() - margin[1], seen[:, 1].max() + margin[1])
    return Picture(
        figure,
        "The data, samples of a generator trained by plain maximum likelihood, and of one trained with added noise, which the "
        "samples leave out. Distances are to held-out rows.",
    )


def _draw_choice(estimator: PerturbedGenerator, path: np.ndarray) -> Picture:
    """Distance and likelihood over the perturbation: one has its best inside, the other at zero."""
    figure, axes = new_figure(1, 2, width=9)
    levels, _, bounds, distances = path.T
    chosen = int(distances.argmin())
    for ax, values, label in (
        (axes[0, 0], distances, f"{_CRITERIA[estimator.criterion]} to held-out rows"),
        (axes[0, 1], bounds, "bound on the likelihood (nats a row)"),
    ):
        _plot_over_levels(ax, levels, values, chosen)
        ax.set_ylabel(label)
    axes[0, 0].axhline(estimator.floor_, color="black", linestyle="--", linewidth=1, label="rows of the data")
    axes[0, 0].set_ylim(0)
    axes[0, 0].legend()
    return Picture(
        figure,
        "What each perturbation gives. The distance of samples to held-out rows is what decides; the likelihood, of data with "
        "that much noise, would always take the least.",
    )


def _plot_over_levels(ax: Any, levels: np.ndarray, values: np.ndarray, chosen: int) -> None:
    """A curve over noise levels that may include 0, on a scale that is linear up to the least positive one."""
    positive = levels[levels > 0]
    order = np.argsort(levels)
    ax.plot(levels[order], values[order], "o-")
    ax.plot(levels[chosen], values[chosen], "o", color=COLORS[1], markersize=9, label="chosen")
    if len(positive):
        ax.set_xscale("symlog", linthresh=positive.min())
    ax.set_xlabel("perturbation (units of the data)")


def _draw_training(estimator: PerturbedGenerator, plain: PerturbedGenerator) -> Picture:
    """The bound over training."""
    figure, axes = new_figure(1, 1, width=6)
    ax = axes[0, 0]
    for model, name, style in ((estimator, f"perturbed by {estimator.perturbation_:.2g}", "-"), (plain, "plain", "--")):
        window = max(1, len(model.losses_) // 100)
        means = -model.losses_[: len(model.losses_) // window * window].reshape(-1, window).mean(1)
        ax.plot(window * (np.arange(len(means)) + 1), means, style, label=name)
    start = float(np.quantile(-np.concatenate([estimator.losses_, plain.losses_]), 0.05))
    ax.set_ylim(bottom=start)
    ax.set_xlabel("step")
    ax.set_ylabel("bound on the likelihood (nats a row)")
    ax.legend()
    return Picture(figure, "The bound on the log-likelihood over training, the mean over restarts.")

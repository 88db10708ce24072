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
# Rows that samples are compared with: exact transport takes seconds at so many.
MOST_JUDGED = 2000
LEAST_ROWS = 10


@dataclass(frozen=True)
class Points:
    """Rows, and the names of their columns."""

    rows: Float[np.ndarray, "n dim"]
    features: tuple[str, ...]


def read(files: Sequence[Path]) -> Points:
    """One sample of points: a table, npy, npz, HDF5 or h5ad.

    Without files: 1000 points of three Gaussian clouds on a plane in 20 dimensions.
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
    """Hold rows out, fit with the perturbation and without, and measure how far the samples of both are from those rows.

    Where the perturbation is to be chosen, that is done on part of the rows; then the chosen level is fitted again on as many
    rows as the plain model sees.
    """
    order = numpy_generator(estimator.random_state).permutation(len(data.rows))
    n_held_out = max(2, round(HELD_OUT * len(data.rows)))
    held_out, training = data.rows[order[:n_held_out]][:MOST_JUDGED], data.rows[order[n_held_out:]]

    def options(name: str) -> dict[str, Any]:
        folder = None if context.checkpoint_dir is None else context.checkpoint_dir / name
        return {"progress": context.progress, "checkpoint_dir": folder, "resume": context.resume}

    began = time.perf_counter()
    path, floor_of_choice, level = None, None, estimator.perturbation
    if isinstance(level, str):
        estimator.fit(training, **options("choice"))
        path, floor_of_choice, level = estimator.path_, estimator.floor_, estimator.perturbation_
    wanted = {"plain": 0.0} if level == 0 else {"plain": 0.0, "perturbed": level}
    models = [estimator.fit_path(training, [noise], **options(name))[0] for name, noise in wanted.items()]
    plain, model = models[0], models[-1]
    model.path_, model.floor_ = path, floor_of_choice
    seconds = time.perf_counter() - began
    n_points = min(len(training), MOST_JUDGED)
    distances = [fitted.distance(held_out, n_points=n_points, random_state=0) for fitted in models]
    floor = sample_distance(training[:n_points], held_out, estimator.criterion, 0)
    measured = estimator.criterion
    metrics = {
        "perturbation": model.perturbation_,
        "sigma": model.sigma_,
        "sigma_plain": plain.sigma_,
        "bound_nats": model.bound_,
        "bound_plain_nats": plain.bound_,
        f"{measured}_of_samples": distances[-1],
        f"{measured}_of_samples_plain": distances[0],
        f"{measured}_of_training_rows": floor,
        "fit_seconds": seconds,
    }
    summary = _summary(model, plain, distances, floor, len(held_out))
    samples = model.sample(N_DRAWN)
    drawn = {0.0: plain.sample(N_DRAWN)} | {model.perturbation_: samples}
    picture = _draw_samples(data.rows, drawn, distances, model.criterion)
    choice = _draw_training(models) if path is None else _draw_choice(model, path)
    model.set_params(perturbation=estimator.perturbation)  # what was asked for, which may have been to choose
    return Outcome(
        model=model,
        summary=summary,
        metrics=metrics,
        arrays={"samples": samples, "codes": model.transform(data.rows)},
        tables={"samples": pd.DataFrame(samples, columns=list(data.features))},
        pictures={"samples": picture, "choice": choice},
    )


_CRITERIA = {"wasserstein": "W1 distance", "sliced": "sliced W1 distance", "energy": "energy distance"}


def _summary(
    model: PerturbedGenerator, plain: PerturbedGenerator, distances: list[float], floor: float, n_held_out: int
) -> str:
    """What was found, in words."""
    distance = f"{_CRITERIA[model.criterion]} {distances[-1]:.3g} of {n_held_out} held-out rows"
    if model is plain:
        chosen = "" if model.path_ is None else "No perturbation of the grid brought samples nearer than none. "
        return (
            f"{chosen}By plain likelihood the generator's samples are at {distance}, other rows of the data at {floor:.3g}. "
            f"The noise level learnt is {plain.sigma_:.2g}."
        )
    gain = plain.bound_ - model.bound_
    return (
        f"Perturbed by {model.perturbation_:.3g}, the generator's samples are at {distance}, those of plain likelihood at "
        f"{distances[0]:.3g}, other rows of the data at {floor:.3g}. The noise level learnt is {model.sigma_:.3g} "
        f"({plain.sigma_:.2g} without perturbation, where the bound on the likelihood is {abs(gain):.3g} nats "
        f"{'higher' if gain >= 0 else 'lower'})."
    )


def _draw_samples(rows: np.ndarray, drawn: dict[float, np.ndarray], distances: list[float], criterion: str) -> Picture:
    """Data and the samples at each level on the plane of the data's two main axes; over one axis as histograms."""
    panels = [(rows[:N_DRAWN], f"Data ({len(rows)} rows)", "0.35")]
    for (level, samples), distance in zip(drawn.items(), distances):
        name = f"Perturbed by {level:.2g}" if level else "Plain likelihood"
        panels.append((samples, f"{name}: {_CRITERIA[criterion]} {distance:.3g}", COLORS[0 if level else 1]))
    figure, axes = new_figure(1, len(panels), width=3.7 * len(panels), height=3.8, sharex=True, sharey=True)
    plane = PCA(min(2, rows.shape[1])).fit(rows)
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
        "The data, and samples of a generator trained by plain maximum likelihood"
        + (", and of one trained with added noise, which the samples leave out" if len(drawn) > 1 else "")
        + ". Distances are to held-out rows.",
    )


def _draw_choice(estimator: PerturbedGenerator, path: np.ndarray) -> Picture:
    """Distance, which decides, and likelihood over the perturbation."""
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
        f"that much noise, would take {levels[bounds.argmax()]:.3g}.",
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


def _draw_training(models: list[PerturbedGenerator]) -> Picture:
    """The bound over training."""
    figure, axes = new_figure(1, 1, width=6)
    ax = axes[0, 0]
    for model, style in zip(models, ("--", "-")):
        name = f"perturbed by {model.perturbation_:.2g}" if model.perturbation_ else "plain"
        window = max(1, len(model.losses_) // 100)
        means = -model.losses_[: len(model.losses_) // window * window].reshape(-1, window).mean(1)
        ax.plot(window * (np.arange(len(means)) + 1), means, style, label=name)
    start = float(np.quantile(-np.concatenate([model.losses_ for model in models]), 0.05))
    ax.set_ylim(bottom=start)
    ax.set_xlabel("step")
    ax.set_ylabel("bound on the likelihood (nats a row)")
    ax.legend()
    return Picture(figure, "The bound on the log-likelihood over training, the mean over restarts.")

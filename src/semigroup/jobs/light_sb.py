"""Bridge two samples from files, and check the bridge against a sample taken in between where there is one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import gaussian_kde
from sklearn.decomposition import PCA

from semigroup.base import numpy_generator
from semigroup.data.cells import cite_cells_excerpt
from semigroup.data.files import read_array, read_arrays
from semigroup.densities import LightSB, energy_distance
from semigroup.jobs import Context, Outcome, Picture
from semigroup.report.figures import COLORS, new_figure

__all__ = ["Clouds", "perform", "read"]

# Energy distances cost the square of the rows; at this many their standard error is some 2 % of a typical distance.
MAX_ROWS = 2000
N_PATHS = 40
SHARES = (0.9, 0.7, 0.5, 0.3, 0.1)


@dataclass(frozen=True)
class Clouds:
    """Two samples to bridge, and perhaps one taken half-way that the fit does not see."""

    start: Float[np.ndarray, "n0 dim"]
    end: Float[np.ndarray, "n1 dim"]
    between: Float[np.ndarray, "n dim"] | None
    names: tuple[str, str, str]


def read(files: Sequence[Path]) -> Clouds:
    """Two or three samples in order of time, the middle one held out; one file each, or one file with all the arrays.

    Without files: single cells of days 2 and 4, with day 3 held out.
    """
    if not files:
        days = cite_cells_excerpt()
        return Clouds(days[2], days[4], days[3], ("day 2", "day 3", "day 4"))
    if len(files) == 1:
        arrays = [(f"{files[0]}: {name}", name, rows) for name, rows in read_arrays(files[0]).items()]
    else:
        arrays = [(str(path), path.stem, read_array(path)) for path in files]
    if len(arrays) not in (2, 3):
        raise ValueError(
            f"data must hold two samples, or three in order of time; {files[0]} and others hold {len(arrays)}"
        )
    for source, _, rows in arrays:
        if rows.ndim != 2 or rows.dtype.kind not in "biuf":
            raise ValueError(f"{source}: a sample is a table of numbers, got shape {rows.shape} and dtype {rows.dtype}")
        if rows.shape[1] != arrays[0][2].shape[1]:
            raise ValueError(f"{source}: has {rows.shape[1]} columns, {arrays[0][0]} has {arrays[0][2].shape[1]}")
        if not np.isfinite(rows).all():
            raise ValueError(f"{source}: holds NaN or infinity")
        if len(rows) < 4:
            raise ValueError(f"{source}: a sample needs at least 4 rows, got {len(rows)}")
    samples = [rows.astype(np.float64) for *_, rows in arrays]
    names = [name for _, name, _ in arrays]
    between = samples[1] if len(samples) == 3 else None
    return Clouds(samples[0], samples[-1], between, (names[0], "half-way" if between is None else names[1], names[-1]))


def perform(estimator: LightSB, data: Clouds, context: Context) -> Outcome:
    """Fit the bridge, draw from it, and compare with what was held out and with pairing at random."""
    began = time.perf_counter()
    estimator.fit(
        data.start, data.end, progress=context.progress, checkpoint_dir=context.checkpoint_dir, resume=context.resume
    )
    seconds = time.perf_counter() - began
    rng = numpy_generator(estimator.random_state)
    paths = estimator.sample_paths(data.start, [0.5, 1.0])
    middle, end = paths[:, 0], paths[:, 1]
    partners = data.end[rng.integers(len(data.end), size=len(data.start))]
    wobble = np.sqrt(estimator.epsilon_ / 4) * rng.standard_normal(data.start.shape)
    at_random = (data.start + partners) / 2 + wobble

    metrics = {
        "epsilon": estimator.epsilon_,
        "n_components": float(len(estimator.log_weights_)),
        "n_steps": float(estimator.n_steps_),
        "fit_seconds": seconds,
        "energy_distance_end_prediction": _distance(end, data.end, rng),
        "energy_distance_end_two_halves_of_the_sample": _floor(data.end, rng),
        "energy_distance_start_to_end": _distance(data.start, data.end, rng),
    }
    summary = (
        f"{len(estimator.log_weights_)} components bridge '{data.names[0]}' and '{data.names[2]}' in {seconds:.0f} s; the "
        f"plan brings the start to energy distance {metrics['energy_distance_end_prediction']:.2f} of the end, from "
        f"{metrics['energy_distance_start_to_end']:.2f}."
    )
    if data.between is not None:
        metrics["energy_distance_between_prediction"] = _distance(middle, data.between, rng)
        metrics["energy_distance_between_pairing_at_random"] = _distance(at_random, data.between, rng)
        metrics["energy_distance_between_two_halves_of_the_sample"] = _floor(data.between, rng)
        summary += (
            f" Half-way it misses the held-out '{data.names[1]}' by "
            f"{metrics['energy_distance_between_prediction']:.2f}; pairing at random misses it by "
            f"{metrics['energy_distance_between_pairing_at_random']:.2f}."
        )
    return Outcome(
        model=estimator,
        summary=summary,
        metrics=metrics,
        arrays={"transported": end, "half_way": middle, "transport_mean": estimator.transport_mean(data.start)},
        pictures={
            "bridge": _draw_bridge(estimator, data, middle, at_random, metrics),
            "training": _draw_training(estimator),
        },
    )


def _distance(X: np.ndarray, Y: np.ndarray, rng: np.random.Generator) -> float:
    """Energy distance between at most `MAX_ROWS` rows of each."""
    return energy_distance(*(rows[rng.permutation(len(rows))[:MAX_ROWS]] for rows in (X, Y)))


def _floor(X: np.ndarray, rng: np.random.Generator) -> float:
    """Energy distance between two halves of a sample: what a perfect prediction would get."""
    order = rng.permutation(len(X))
    return _distance(X[order[::2]], X[order[1::2]], rng)


def _draw_bridge(
    estimator: LightSB, data: Clouds, middle: np.ndarray, at_random: np.ndarray, metrics: dict[str, float]
) -> Picture:
    """Paths in the plane of the two main axes, and the half-way prediction beside the held-out sample."""
    n_panels = 2 if data.between is None else 4
    figure, axes = new_figure(n_panels // 2, 2, width=10, height=4.2 * (n_panels // 2))
    everything = np.concatenate([data.start, data.end] + ([] if data.between is None else [data.between]))
    flat = data.start.shape[1] == 1
    plane = PCA(min(2, data.start.shape[1])).fit(everything)

    def project(rows: np.ndarray, height: float) -> np.ndarray:
        """Two coordinates to draw; one-dimensional data is drawn over time."""
        seen = plane.transform(rows)
        return np.column_stack([np.full(len(seen), height), seen[:, 0]]) if flat else seen

    # One window for all panels, so that clouds and predictions can be compared by eye.
    seen = plane.transform(everything)
    low, high = np.quantile(seen, [0.005, 0.995], axis=0)
    window = (low - 0.1 * (high - low), high + 0.1 * (high - low))

    times = np.linspace(0, 1, 41)
    paths = estimator.sample_paths(data.start[:: max(1, len(data.start) // N_PATHS)], times)
    ax = axes[0, 0]
    for rows, color, name, height in (
        (data.start, COLORS[0], data.names[0], 0.0),
        (data.end, COLORS[1], data.names[2], 1.0),
    ):
        seen = project(rows[:MAX_ROWS], height)
        ax.scatter(*seen.T, s=5, color=color, alpha=0.4, label=name, linewidths=0)
    for path in paths:
        seen = np.concatenate([project(state[None], time) for state, time in zip(path, times)])
        ax.plot(*seen.T, color="black", linewidth=0.9)
        ax.plot(*seen[-1], "o", color="black", markersize=3)
    ax.plot([], [], "o-", color="black", linewidth=0.9, markersize=1, label="paths, with a dot at the end")
    ax.set_title("Paths of the bridge")
    ax.legend(markerscale=4, loc="best")

    ax = axes[0, 1]
    if data.between is None:
        seen, drawn = project(data.end, 1.0), project(estimator.transport(data.start), 1.0)
        _draw_contours(ax, seen, drawn, data.names[2], "transported start", window, flat)
        ax.set_title("End: sample and prediction")
    else:
        truth = project(data.between, 0.5)
        held_out = f"{data.names[1]} (held out)"
        _draw_contours(ax, truth, project(middle, 0.5), held_out, "bridge", window, flat)
        ax.set_title(f"Half-way: bridge, energy distance {metrics['energy_distance_between_prediction']:.2f}")
        _draw_contours(axes[1, 0], truth, project(at_random, 0.5), held_out, "pairing at random", window, flat)
        axes[1, 0].set_title(
            f"Half-way: pairing at random, energy distance {metrics['energy_distance_between_pairing_at_random']:.2f}"
        )
        _draw_bars(axes[1, 1], data, metrics)
    for ax in axes.flat[: n_panels - (data.between is not None)]:
        if not flat:
            ax.set_xlabel("principal axis 1 (units of the data)")
            ax.set_ylabel("principal axis 2 (units of the data)")
            ax.set_xlim(window[0][0], window[1][0])
            ax.set_ylim(window[0][1], window[1][1])
    if flat:
        axes[0, 0].set_xlabel("time")
        axes[0, 0].set_ylabel("state (units of the data)")
    caption = f"Paths from '{data.names[0]}' to '{data.names[2]}'" + (
        ", and where the transport plan brings the start."
        if data.between is None
        else f", and the bridge half-way beside '{data.names[1]}', which the fit did not see, and beside pairing at random."
    )
    return Picture(figure, caption)


def _draw_contours(
    ax: Any,
    truth: np.ndarray,
    drawn: np.ndarray,
    truth_name: str,
    drawn_name: str,
    window: tuple[np.ndarray, np.ndarray],
    flat: bool,
) -> None:
    """The sample as grey areas, the prediction as coloured lines, at the same shares of probability."""
    if flat:
        bins = np.histogram_bin_edges(np.concatenate([truth[:, 1], drawn[:, 1]]), 40)
        ax.hist(truth[:, 1], bins=bins, density=True, color="0.75", label=truth_name)
        ax.hist(drawn[:, 1], bins=bins, density=True, histtype="step", color=COLORS[1], label=drawn_name)
        ax.set_xlabel("state (units of the data)")
        ax.set_ylabel("density")
        ax.legend(loc="best")
        return
    grid_x, grid_y = np.meshgrid(*(np.linspace(a, b, 70) for a, b in zip(*window)))
    grid = np.stack([grid_x.ravel(), grid_y.ravel()])
    for rows, filled in ((truth, True), (drawn, False)):
        density = gaussian_kde(rows[:MAX_ROWS].T)(grid)
        # Heights whose level sets hold these shares of the mass.
        ordered = np.sort(density)[::-1]
        mass = np.cumsum(ordered) / ordered.sum()
        levels = [*np.unique([ordered[np.searchsorted(mass, share)] for share in SHARES]), 2 * ordered[0]]
        if filled:
            greys = [str(0.95 - 0.12 * i) for i in range(len(levels) - 1)]
            ax.contourf(grid_x, grid_y, density.reshape(grid_x.shape), levels, colors=greys)
        else:
            ax.contour(grid_x, grid_y, density.reshape(grid_x.shape), levels[:-1], colors=COLORS[1], linewidths=1.4)
    ax.fill_between([], [], [], color="0.55", label=truth_name)
    ax.plot([], [], color=COLORS[1], label=drawn_name)
    ax.legend(loc="best")


def _draw_bars(ax: Any, data: Clouds, metrics: dict[str, float]) -> None:
    """Energy distances to the held-out sample."""
    rows = {
        "pairing at random": metrics["energy_distance_between_pairing_at_random"],
        "bridge": metrics["energy_distance_between_prediction"],
        "two halves of the\nheld-out sample": metrics["energy_distance_between_two_halves_of_the_sample"],
    }
    bars = ax.barh(list(rows), list(rows.values()), color=["0.6", COLORS[1], "0.8"])
    # The unbiased estimate may fall just below zero: no "-0.00".
    ax.bar_label(bars, [f"{round(value, 2) + 0:.2f}" for value in rows.values()], padding=3)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_xlabel(f"energy distance to {data.names[1]} (units of the data)")
    ax.set_title("All columns, smaller is better")
    ax.margins(x=0.15)
    ax.grid(axis="y", visible=False)


def _draw_training(estimator: LightSB) -> Picture:
    """Training loss in running means, and the held-out loss."""
    figure, axes = new_figure(1, 1, width=6)
    ax = axes[0, 0]
    window = max(1, len(estimator.losses_) // 100)
    means = estimator.losses_[: len(estimator.losses_) // window * window].reshape(-1, window).mean(1)
    ax.plot(window * (np.arange(len(means)) + 1), means, label=f"batches, mean of {window}")
    if len(estimator.validation_losses_):
        steps, values = estimator.validation_losses_.T
        ax.plot(steps, values, "--", label="held-out rows")
        ax.plot(steps[values.argmin()], values.min(), "o", color=COLORS[1], label="what is kept")
    ax.set_xlabel("step")
    ax.set_ylabel("loss (nats, up to a constant)" if estimator.loss == "kl" else "loss (matching; held out: nats)")
    # The steep descent at the beginning would flatten all the rest.
    seen = np.concatenate([means, estimator.validation_losses_[:, 1]])
    low, top = seen.min(), np.quantile(seen, 0.8)
    ax.set_ylim(low - 0.1 * (top - low), top + (top - low))
    ax.legend()
    return Picture(figure, "The loss over training; the step with the least held-out loss is what remains.")

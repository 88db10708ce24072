"""Learn an interpolant from files, sample it by the ODE and by an SDE, and hold the samples against rows that were kept out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.decomposition import PCA

from semigroup.base import numpy_generator, torch_generator
from semigroup.data.files import read_array, read_arrays
from semigroup.data.flow_examples import checkerboard
from semigroup.densities import StochasticInterpolant, energy_distance
from semigroup.jobs import Context, Outcome, Picture
from semigroup.report.figures import COLORS, new_figure

__all__ = ["Samples", "perform", "read"]

# A tenth is held out, and an energy distance between halves of that takes two rows each.
MIN_ROWS = 40
# Energy distances cost the square of the rows.
MAX_ROWS = 2000
# Rows are evaluated with the exact divergence, one derivative a column, up to this many columns.
MAX_EXACT_COLUMNS = 16


@dataclass(frozen=True)
class Samples:
    """Rows to be modelled, and perhaps rows to start from; vectors, or images with their channel before the pixels."""

    start: Float[np.ndarray, "n0 *shape"] | None
    end: Float[np.ndarray, "n1 *shape"]
    names: tuple[str, str]


def read(files: Sequence[Path]) -> Samples:
    """One sample, modelled from Gaussian noise, or two, source and target; a file each, or one file with both.

    Tables of numbers, or images (n, side, side) or (n, channels, side, side), where whole numbers up to 255 are scaled to
    [-1, 1]. Without files: the checkerboard.
    """
    if not files:
        return Samples(None, checkerboard(20_000, random_state=0), ("Gaussian noise", "checkerboard"))
    if len(files) == 1:
        arrays = [(f"{files[0]}: {name}", name, rows) for name, rows in read_arrays(files[0]).items()]
    else:
        arrays = [(str(path), path.stem, read_array(path)) for path in files]
    if len(arrays) not in (1, 2):
        raise ValueError(f"{files[0]}: data must be one sample, or source and target, and holds {len(arrays)} arrays")
    samples = [_rows(source, rows) for source, _, rows in arrays]
    if samples[0].shape[1:] != samples[-1].shape[1:]:
        raise ValueError(
            f"{arrays[1][0]}: has rows of shape {samples[1].shape[1:]}, {arrays[0][0]} has {samples[0].shape[1:]}"
        )
    first = arrays[0][1] if len(arrays) == 2 else "Gaussian noise"
    return Samples(samples[0] if len(arrays) == 2 else None, samples[-1], (first, arrays[-1][1]))


def _rows(source: str, rows: np.ndarray) -> np.ndarray:
    """A checked sample in floating point."""
    if rows.ndim not in (2, 3, 4) or rows.dtype.kind not in "biuf":
        raise ValueError(
            f"{source}: a sample is a table of numbers or images, got shape {rows.shape}, dtype {rows.dtype}"
        )
    if not np.isfinite(rows).all():
        raise ValueError(f"{source}: holds NaN or infinity")
    if len(rows) < MIN_ROWS:
        raise ValueError(f"{source}: a sample needs at least {MIN_ROWS} rows, got {len(rows)}")
    if rows.ndim == 2:
        return rows.astype(np.float64)
    images = rows[:, None] if rows.ndim == 3 else rows
    if images.shape[2] != images.shape[3]:
        raise ValueError(f"{source}: images must be square, got shape {rows.shape}")
    whole = rows.dtype.kind in "iu" and rows.min() >= 0 and rows.max() <= 255
    return images / 127.5 - 1 if whole else images.astype(np.float64)


def perform(estimator: StochasticInterpolant, data: Samples, context: Context) -> Outcome:
    """Fit on nine tenths of the rows, sample, and judge by the last tenth."""
    rng = numpy_generator(estimator.random_state)
    paired = estimator.coupling == "paired"
    if paired and data.start is not None and len(data.start) != len(data.end):
        raise ValueError(
            f"coupling='paired' needs two samples of as many rows, got {len(data.start)} and {len(data.end)}"
        )
    order = rng.permutation(len(data.end))
    training, held_out = np.split(order, [int(0.9 * len(order))])
    start_rows = held_start = None
    if data.start is not None:
        own = order if paired else rng.permutation(len(data.start))
        cut = int(0.9 * len(own))
        start_rows, held_start = data.start[own[:cut]], data.start[own[cut:]]
    began = time.perf_counter()
    estimator.fit(
        start_rows,
        data.end[training],
        progress=context.progress,
        checkpoint_dir=context.checkpoint_dir,
        resume=context.resume,
    )
    seconds = time.perf_counter() - began
    target = data.end[held_out]
    n = min(len(target), MAX_ROWS) if target.ndim == 4 else 5000
    if held_start is None:
        # On the path "mirror" they are rows of the sample itself.
        names = (data.names[0] if estimator.base_.rows is None else data.names[1], data.names[1])
        starts = estimator.base_.sample(n, torch_generator(rng)).cpu().numpy()
    else:
        names = data.names
        starts = held_start[rng.permutation(len(held_start))[:n]]
    noise = _shown_noise(estimator, data.end)
    drawn = {"ODE": estimator.transport(starts, epsilon=0.0)}
    if noise > 0:
        drawn[f"SDE, ε = {noise:.3g}"] = estimator.transport(starts, epsilon=noise)
    labels = list(drawn)
    flat = {name: rows.reshape(len(rows), -1) for name, rows in drawn.items()}
    truth = target.reshape(len(target), -1)

    metrics = {
        "fit_seconds": seconds,
        "final_loss": float(estimator.losses_[-max(1, len(estimator.losses_) // 10) :].mean()),
        "energy_distance_start": _distance(starts.reshape(len(starts), -1), truth, rng),
        "energy_distance_ode": _distance(flat["ODE"], truth, rng),
        "energy_distance_two_halves_of_the_sample": _distance(truth[::2], truth[1::2], rng),
    }
    arrays: dict[str, Any] = {"samples_ode": drawn["ODE"], "starts": starts}
    if noise > 0:
        metrics["epsilon_shown"] = noise
        metrics["energy_distance_sde"] = _distance(flat[labels[-1]], truth, rng)
        arrays["samples_sde"] = drawn[labels[-1]]
    # An image costs a pass through the network for every step and probe; score_samples is there for whoever wants it.
    if estimator.base_.has_density and target.ndim == 2:
        n_probes = None if truth.shape[1] <= MAX_EXACT_COLUMNS else 1
        arrays["log_likelihood_held_out"] = estimator.score_samples(target[: MAX_ROWS // 2], n_probes=n_probes)
        metrics["log_likelihood_held_out_nats"] = float(arrays["log_likelihood_held_out"].mean())
    pictures = {
        "samples": _draw_images(drawn, target, names)
        if target.ndim == 4
        else _draw_rows(estimator, names, drawn, starts, truth)
    }
    pictures["training"] = _draw_training(estimator)
    summary = (
        f"From '{names[0]}' to '{names[1]}' in {seconds:.0f} s of training. The ODE's samples are at energy distance "
        f"{metrics['energy_distance_ode']:.3f} of held-out rows, from {metrics['energy_distance_start']:.2f} at the start"
    )
    summary += f"; those of the SDE at {metrics['energy_distance_sde']:.3f}." if noise > 0 else "."
    if "log_likelihood_held_out_nats" in metrics:
        summary += f" Held-out rows have a mean log-likelihood of {metrics['log_likelihood_held_out_nats']:.2f} nats."
    return Outcome(estimator, summary, metrics, arrays=arrays, pictures=pictures)


def _shown_noise(estimator: StochasticInterpolant, end: np.ndarray) -> float:
    """The estimator's noise level; where it is zero, a tenth of the variance of the data or the noise is shown beside the ODE.

    The lesser of the two: gamma has a unit of its own, and stronger noise would need more steps than were asked for.
    """
    fields = estimator.fields_
    if not fields.has_score:
        return 0.0
    return estimator.epsilon or 0.1 * min(float(end.var(axis=0).mean()), fields.noise_scale)


def _distance(X: np.ndarray, Y: np.ndarray, rng: np.random.Generator) -> float:
    """Energy distance between at most `MAX_ROWS` rows of each."""
    return energy_distance(*(rows[rng.permutation(len(rows))[:MAX_ROWS]] for rows in (X, Y)))


def _draw_images(drawn: dict[str, np.ndarray], target: np.ndarray, names: tuple[str, str]) -> Picture:
    """Grids of 6 x 6 images in the order drawn."""
    panels = {f"{names[1]} (held out)": target, **drawn}
    figure, axes = new_figure(1, len(panels), width=3.4 * len(panels), height=3.6)
    low, high = target.min(), target.max()
    for ax, (name, images) in zip(axes[0], panels.items()):
        grid = np.full((36, *images.shape[1:]), high)
        grid[: len(images)] = images[:36]
        # A light line between the images, which run into each other otherwise.
        grid = np.pad(grid, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=high)
        n_channels, side = grid.shape[1], grid.shape[2]
        page = (
            grid.reshape(6, 6, n_channels, side, side).transpose(0, 3, 1, 4, 2).reshape(6 * side, 6 * side, n_channels)
        )
        shown = np.clip((page - low) / (high - low), 0, 1)
        ax.imshow(shown if n_channels == 3 else shown[..., 0], cmap="gray", vmin=0, vmax=1)
        ax.set_title(name)
        ax.set_axis_off()
    return Picture(
        figure, f"Images of '{names[1]}' that were kept out, and images drawn from the model, in the order drawn."
    )


def _draw_rows(
    estimator: StochasticInterpolant,
    names: tuple[str, str],
    drawn: dict[str, np.ndarray],
    starts: np.ndarray,
    truth: np.ndarray,
) -> Picture:
    """Paths, and the densities of held-out rows and samples in the plane of the two main axes."""
    panels = {f"{names[1]} (held out)": truth, **drawn}
    if truth.shape[1] == 1:
        return _draw_line(panels, names)
    figure, axes = new_figure(1, 1 + len(panels), width=3.5 * (1 + len(panels)), height=3.7)
    plane = PCA(2).fit(truth) if truth.shape[1] > 2 else None
    word = "principal axis" if plane else "column"

    def project(rows: np.ndarray) -> np.ndarray:
        return rows if plane is None else plane.transform(rows)

    seen = project(truth)
    low, high = np.quantile(seen, [0.002, 0.998], axis=0)
    low, high = low - 0.1 * (high - low), high + 0.1 * (high - low)
    bins = [np.linspace(a, b, 61) for a, b in zip(low, high)]
    times = np.linspace(0, 1, 61)
    paths = estimator.sample_paths(starts[:40], times, epsilon=0.0)
    ax = axes[0, 0]
    for path in paths:
        ax.plot(*project(path).T, color="0.45", linewidth=0.8)
        ax.plot(*project(path[:1]).T, "o", color=COLORS[0], markersize=3)
        ax.plot(*project(path[-1:]).T, "s", color=COLORS[1], markersize=3)
    ax.plot([], [], "o", color=COLORS[0], markersize=4, label=names[0])
    ax.plot([], [], "s", color=COLORS[1], markersize=4, label="end")
    ax.legend(loc="upper right", fontsize=8)
    ax.set_title("Paths of the ODE")
    seen_rows = [project(rows) for rows in panels.values()]
    # Shares of the rows: what lies outside the window counts, so that the panels are comparable.
    histograms = [np.histogram2d(rows[:, 0], rows[:, 1], bins=bins)[0] / len(rows) for rows in seen_rows]
    top = np.quantile(histograms[0], 0.995)
    for ax, name, histogram in zip(axes[0, 1:], panels, histograms):
        ax.pcolormesh(bins[0], bins[1], histogram.T, vmin=0, vmax=top)
        ax.set_title(name)
        ax.grid(visible=False)
    for ax in axes[0]:
        ax.set_xlabel(f"{word} 1")
        ax.set_xlim(low[0], high[0])
        ax.set_ylim(low[1], high[1])
        ax.set_aspect("equal")
    axes[0, 0].set_ylabel(f"{word} 2")
    return Picture(
        figure,
        f"Paths of the probability flow from '{names[0]}' to '{names[1]}', and densities of rows that were kept "
        "out and of the model's samples, on one scale of colour.",
    )


def _draw_line(panels: dict[str, np.ndarray], names: tuple[str, str]) -> Picture:
    """Histograms of one column."""
    figure, axes = new_figure(1, 1, width=6)
    ax = axes[0, 0]
    (first, truth), *rest = panels.items()
    bins = np.histogram_bin_edges(truth[:, 0], 50)
    ax.hist(truth[:, 0], bins=bins, density=True, color="0.8", label=first)
    for (name, rows), color in zip(rest, COLORS):
        ax.hist(rows[:, 0], bins=bins, density=True, histtype="step", color=color, linewidth=1.5, label=name)
    ax.set_xlabel("value")
    ax.set_ylabel("density")
    ax.legend()
    return Picture(figure, f"Rows of '{names[1]}' that were kept out, and the model's samples.")


def _draw_training(estimator: StochasticInterpolant) -> Picture:
    """Training loss in running means."""
    figure, axes = new_figure(1, 1, width=6)
    ax = axes[0, 0]
    window = max(1, len(estimator.losses_) // 100)
    means = estimator.losses_[: len(estimator.losses_) // window * window].reshape(-1, window).mean(1)
    ax.plot(window * (np.arange(len(means)) + 1), means)
    ax.set_xlabel("step")
    ax.set_ylabel(f"loss, up to a constant (mean of {window})")
    low, high = means.min(), np.quantile(means, 0.95)
    ax.set_ylim(low - 0.1 * (high - low), high + 0.3 * (high - low))
    return Picture(figure, "The sum of the fields' losses; its least possible value is not known, and below zero.")

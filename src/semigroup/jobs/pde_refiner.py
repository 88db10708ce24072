"""Learn a stepper from trajectories in files, and check its rollouts on trajectories held out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from semigroup.data.files import read_arrays
from semigroup.data.pde import kuramoto_sivashinsky
from semigroup.fields import OneStepStepper, PDERefiner
from semigroup.fields.pde_refiner import LossTime, correlation, error_spectrum, high_correlation_time, spectrum
from semigroup.jobs import Context, Outcome, Picture
from semigroup.report.figures import COLORS, new_figure

__all__ = ["FieldData", "perform", "read"]

THRESHOLD = 0.8
BASELINE = "MSE stepper"
N_MEMBERS = 8
# Ensembles cost n_members (K + 1) passes a step and trajectory: a few trajectories are enough for the report.
MAX_ENSEMBLES = 4
MAX_TEST = 16
MAX_PAIRS = 512
MAX_VALUES = 2**26  # numbers in the frames of these pairs


@dataclass(frozen=True)
class FieldData:
    """Trajectories to learn from and trajectories held out."""

    train: np.ndarray
    test: np.ndarray
    times: np.ndarray | None
    train_parameters: np.ndarray | None
    test_parameters: np.ndarray | None
    name: str


def read(files: Sequence[Path]) -> FieldData:
    """Trajectories of shape (n_trajectories, n_frames, n_channels, *space) from one file, held-out ones from a second.

    A file's arrays may be called ``times`` (n_frames,) and ``parameters`` (n_trajectories, n_parameters); the trajectories
    are the remaining one. From a single file every fifth trajectory is held out, or the last fifth of the frames where
    there is one trajectory. Without files: 96 simulated trajectories of the Kuramoto-Sivashinsky equation, 6 longer ones
    held out.
    """
    if not files:
        train = kuramoto_sivashinsky(96, n_frames=36, random_state=0)
        test = kuramoto_sivashinsky(6, n_frames=101, random_state=1)
        # Simulated on 128 points, of which the 2/3 rule fills 85: half of them hold the whole spectrum.
        return FieldData(
            train.states[..., ::2], test.states[..., ::2], train.times, None, None, "Kuramoto-Sivashinsky equation"
        )
    if len(files) > 2:
        raise ValueError(f"data must be one or two files (to learn from, to test on), got {len(files)}")
    states, times, parameters = _read_one(files[0])
    if len(files) == 2:
        test_states, _, test_parameters = _read_one(files[1])
        if test_states.shape[2:] != states.shape[2:]:
            raise ValueError(
                f"{files[1]}: channels and grid are {test_states.shape[2:]}, of {files[0]} {states.shape[2:]}"
            )
        return FieldData(states, test_states, times, parameters, test_parameters, files[0].stem)
    if len(states) == 1:
        cut = max(2, states.shape[1] // 5)  # a state to start from and one to judge by
        train_times = None if times is None else times[..., :-cut]
        return FieldData(states[:, :-cut], states[:, -cut:], train_times, parameters, parameters, files[0].stem)
    # Spread over the file: trajectories are often sorted by a parameter, and a model must not be asked outside its range.
    held = np.zeros(len(states), dtype=bool)
    held[2::5] = True
    held[-1] |= not held.any()
    train_times = times if times is None or times.ndim == 1 else times[~held]
    train_parameters = None if parameters is None else parameters[~held]
    test_parameters = None if parameters is None else parameters[held]
    return FieldData(states[~held], states[held], train_times, train_parameters, test_parameters, files[0].stem)


def _read_one(path: Path) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Trajectories, times and parameters of a file."""
    arrays = dict(read_arrays(path))
    times, parameters = arrays.pop("times", None), arrays.pop("parameters", None)
    if len(arrays) != 1:
        raise ValueError(
            f"{path}: expected one array of trajectories (besides 'times' and 'parameters'), found {', '.join(arrays) or 'none'}"
        )
    states = next(iter(arrays.values()))
    if states.ndim not in (4, 5) or states.dtype.kind not in "biuf":
        raise ValueError(
            f"{path}: trajectories have the axes (n_trajectories, n_frames, n_channels, *space) and real numbers, got shape "
            f"{states.shape} and dtype {states.dtype}"
        )
    if not np.isfinite(states).all():
        raise ValueError(f"{path}: holds NaN or infinity")
    return states, times, parameters


@dataclass(frozen=True)
class _Rollout:
    """A stepper's rollouts of the held-out trajectories and what is measured on them."""

    states: Float[np.ndarray, "n steps channels *space"]
    correlations: Float[np.ndarray, "n steps"]
    next_frames: Float[np.ndarray, "pairs channels *space"]

    def time(self, time_step: float) -> float:
        """High-correlation time of the mean over trajectories."""
        return float(high_correlation_time(self.correlations.mean(0), THRESHOLD, time_step))


def _check_held_out(data: FieldData, history: int) -> None:
    """Refuse held-out trajectories that cannot be forecast, before anything is learnt."""
    if data.test.shape[1] <= history:
        raise ValueError(
            f"data: held-out trajectories must have more than history = {history} frames, got {data.test.shape[1]}; a single "
            "trajectory holds out the last fifth of its frames"
        )
    known, asked = data.train_parameters, data.test_parameters
    if known is None:
        if asked is not None:
            raise ValueError("data: the second file has parameters, and the first has none")
        return
    if asked is None:
        raise ValueError("data: the second file needs parameters like the first")
    known, asked = (np.asarray(rows, dtype=np.float64).reshape(len(rows), -1) for rows in (known, asked))
    if asked.shape != (len(data.test), known.shape[1]):
        raise ValueError(
            f"data: held-out trajectories need parameters of shape {(len(data.test), known.shape[1])}, got {asked.shape}"
        )
    low, high = known.min(axis=0), known.max(axis=0)
    slack = 0.1 * np.where(high > low, high - low, 1.0)
    outside = ((asked < low - slack) | (asked > high + slack)).any(axis=1)
    if outside.any():
        raise ValueError(
            f"data: parameters of held-out trajectories must lie in the range of the others, give or take a tenth, {low} to "
            f"{high}; got {asked[outside.argmax()]}"
        )


def perform(estimator: PDERefiner, data: FieldData, context: Context) -> Outcome:
    """Fit the refiner, and beside it the same network on the mean squared error; compare their rollouts with the truth."""
    _check_held_out(data, estimator.history)
    began = time.perf_counter()
    names = OneStepStepper().get_params()
    shared = {name: value for name, value in estimator.get_params().items() if name in names}
    baseline = OneStepStepper(**shared)
    for name, model in (("refiner", estimator), ("baseline", baseline)):
        folder = None if context.checkpoint_dir is None else context.checkpoint_dir / name
        model.fit(
            data.train,
            data.train_parameters,
            times=data.times,
            checkpoint_dir=folder,
            resume=context.resume and folder is not None,
            progress=context.progress,
        )
    fit_seconds = time.perf_counter() - began

    history = estimator.history
    test = data.test[:MAX_TEST]
    parameters = None if data.test_parameters is None else data.test_parameters[:MAX_TEST]
    start = test[:, 0] if history == 1 else test[:, :history]
    truth = test[:, history:]
    n_steps, dt = truth.shape[1], estimator.time_step_
    now, following, conditions = _pairs(test, history, parameters)
    rollouts = {}
    for name, model in (("refiner", estimator), (BASELINE, baseline)):
        states = np.asarray(model.rollout(start, n_steps, parameters))
        rollouts[name] = _Rollout(states, correlation(states, truth), np.asarray(model.predict(now, conditions)))
    refined, plain = rollouts["refiner"], rollouts[BASELINE]
    few = slice(MAX_ENSEMBLES)
    began = time.perf_counter()
    estimate = estimator.estimate_loss_time(
        start[few],
        n_steps,
        n_members=N_MEMBERS,
        threshold=THRESHOLD,
        parameters=None if parameters is None else parameters[few],
    )
    actual = np.atleast_1d(high_correlation_time(refined.correlations, THRESHOLD, dt))

    n_dims = test.ndim - 3
    base = now if history == 1 else now[:, -1]
    curves = {name: error_spectrum(r.next_frames, following, n_dims) for name, r in rollouts.items()}
    curves["no change"] = error_spectrum(base, following, n_dims)
    filled = np.flatnonzero(np.isfinite(curves["refiner"]))
    weakest = filled[-max(1, len(filled) // 8) :]

    def square(prediction: np.ndarray) -> float:
        return float(((prediction - following) ** 2).mean())

    metrics = {
        "high_correlation_time_refiner": refined.time(dt),
        "high_correlation_time_mean_squared_error": plain.time(dt),
        "longest_time_measurable": n_steps * dt,
        "estimated_loss_time": float(estimate.times.mean()),
        "actual_loss_time_of_the_same_trajectories": float(actual[few].mean()),
        "one_step_mse_refiner": square(refined.next_frames),
        "one_step_mse_mean_squared_error": square(plain.next_frames),
        "one_step_mse_no_change": square(base),
        # in the units of min_noise_variance
        "one_step_error_refiner_over_target_variance": float(
            (
                ((refined.next_frames - following) ** 2).mean((0, *range(2, following.ndim)))
                / estimator.target_scale_**2
            ).mean()
        ),
        "weakest_modes_relative_error_refiner": float(np.nanmean(curves["refiner"][weakest])),
        "weakest_modes_relative_error_mean_squared_error": float(np.nanmean(curves[BASELINE][weakest])),
        "fit_seconds": fit_seconds,
        "ensemble_seconds": time.perf_counter() - began,
    }
    summary = (
        f"Learnt the {data.name} from {len(data.train)} trajectories of {data.train.shape[1]} frames. On held-out ones the "
        f"rollout stays above correlation {THRESHOLD:g} until t = {metrics['high_correlation_time_refiner']:.3g} (the same "
        f"network on the mean squared error: {metrics['high_correlation_time_mean_squared_error']:.3g}); its ensemble says "
        f"to believe the first {len(estimate.times)} until {metrics['estimated_loss_time']:.3g} on average, and they are lost "
        f"at {metrics['actual_loss_time_of_the_same_trajectories']:.3g}."
    )
    reached = metrics["one_step_error_refiner_over_target_variance"]
    if estimator.n_refinements and 30 * estimator.min_noise_variance < reached < np.inf:
        summary += (
            f" Its one-step error is {reached:.1g} of the target's variance, far above min_noise_variance = "
            f"{estimator.min_noise_variance:g}: train longer or a larger network, or set it nearer to that error."
        )
    table = pd.DataFrame({"trajectory": np.arange(len(estimate.times))})
    table["estimated_loss_time"] = estimate.times
    table["actual_loss_time"] = actual[few]
    table["at_least"] = estimate.saturated
    return Outcome(
        model=estimator,
        summary=summary,
        metrics=metrics,
        arrays={
            "rollout": refined.states,
            "truth": truth,
            "correlations": refined.correlations,
            "ensemble_correlations": estimate.correlations,
            "times": dt * np.arange(1, n_steps + 1),
        },
        tables={"loss_times": table},
        pictures={
            "forecast": _draw_forecast(truth, refined, plain, estimate, float(actual[0]), dt),
            "spectrum": _draw_spectrum(curves, spectrum(following, n_dims)),
        },
    )


def _pairs(
    test: np.ndarray, history: int, parameters: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """At most `MAX_PAIRS` one-step tasks, spread over the held-out trajectories."""
    n, n_frames = test.shape[:2]
    rows, starts = np.divmod(np.arange(n * (n_frames - history)), n_frames - history)
    n_pairs = max(1, min(MAX_PAIRS, len(rows), MAX_VALUES // test[0, 0].size))
    chosen = np.linspace(0, len(rows) - 1, n_pairs).astype(int)
    rows, starts = rows[chosen], starts[chosen]
    now = test[rows, starts] if history == 1 else test[rows[:, None], starts[:, None] + np.arange(history)]
    return now, test[rows, starts + history], None if parameters is None else parameters[rows]


def _draw_forecast(
    truth: np.ndarray, refined: _Rollout, plain: _Rollout, estimate: LossTime, actual: float, dt: float
) -> Picture:
    """Truth, rollout and error of the first held-out trajectory, with the estimated time of loss."""
    n_steps, n_dims = truth.shape[1], truth.ndim - 3
    fields = {"truth": truth[0, :, 0], "rollout": refined.states[0, :, 0]}
    fields["|error|"] = abs(fields["rollout"] - fields["truth"])
    low, high = float(fields["truth"].min()), float(fields["truth"].max())
    field_style = {"vmin": low, "vmax": high, "cmap": "viridis", "interpolation": "nearest"}
    styles = [field_style, field_style, field_style | {"vmin": 0.0, "vmax": high - low, "cmap": "Greys"}]
    if n_dims == 1:
        figure, axes = new_figure(4, 1, width=9, height=8.5, sharex=True)
        panels, curve_axis = axes[:3, 0], axes[3, 0]
        images = []
        for ax, (name, field), style in zip(panels, fields.items(), styles):
            extent = (dt / 2, (n_steps + 0.5) * dt, 0, field.shape[1])
            images.append(ax.imshow(field.T, aspect="auto", origin="lower", extent=extent, **style))
            ax.set_ylabel(f"{name}\ngrid point")
            ax.grid(visible=False)
        figure.colorbar(images[0], ax=list(panels[:2]), label="field (units of the data)", shrink=0.8)
        figure.colorbar(images[2], ax=panels[2], label="|error|")
        marked: list[Any] = [*panels, curve_axis]
    else:
        frames = np.unique(np.linspace(0, n_steps - 1, 5).astype(int))
        figure, axes = new_figure(4, len(frames), width=2.2 * len(frames), height=9)
        for row, (name, field), style in zip(axes[:3], fields.items(), styles):
            for ax, frame in zip(row, frames):
                image = ax.imshow(field[frame].T, origin="lower", **style)
                ax.set(xticks=[], yticks=[])
                ax.set_title(f"t = {(frame + 1) * dt:.3g}" if name == "truth" else "")
            row[0].set_ylabel(name)
            figure.colorbar(image, ax=list(row), shrink=0.8)
        grid = axes[3, 0].get_gridspec()
        for ax in axes[3]:
            ax.remove()
        curve_axis = figure.add_subplot(grid[3, :])
        marked = [curve_axis]
    steps = dt * np.arange(1, n_steps + 1)
    curve_axis.plot(steps, refined.correlations[0], color=COLORS[0], label="refiner and truth")
    curve_axis.plot(steps, plain.correlations[0], color=COLORS[1], linestyle="--", label=f"{BASELINE} and truth")
    curve_axis.plot(
        steps,
        estimate.correlations[0],
        color=COLORS[6],
        linestyle=":",
        label="between members of the refiner's ensemble",
    )
    curve_axis.axhline(THRESHOLD, color="0.6", linewidth=0.8)
    curve_axis.annotate(
        f"{THRESHOLD:g}", (1, THRESHOLD), xycoords=("axes fraction", "data"), xytext=(4, -4), textcoords="offset points"
    )
    curve_axis.set(xlabel="time (units of the data)", ylabel="correlation", ylim=(-0.55, 1.05))
    for ax in marked:
        ax.axvline(estimate.times[0], color="black", linestyle="--", linewidth=1.8)
        ax.axvline(actual, color="black", linewidth=1.0)
    curve_axis.plot([], [], color="black", linestyle="--", label="estimated loss")
    curve_axis.plot([], [], color="black", linewidth=1.0, label="actual loss")
    figure.legend(*curve_axis.get_legend_handles_labels(), ncols=3, fontsize="small", loc="outside lower center")
    caption = (
        "A held-out trajectory, the refiner's rollout from its first frame, and their difference. The dashed line is where the "
        f"members of the ensemble part (correlation {THRESHOLD:g}), estimated without the truth; the thin line is where the "
        f"rollout leaves the truth. The {BASELINE} is the same network trained on the mean squared error of one step."
    )
    return Picture(figure, caption)


def _draw_spectrum(curves: dict[str, np.ndarray], power: np.ndarray) -> Picture:
    """One-step error at each frequency, absolute and relative."""
    figure, axes = new_figure(1, 2, width=10, height=3.8)
    modes = np.arange(len(power))[1:]
    lines = {"refiner": "-", BASELINE: "--", "no change": ":"}
    amplitude = np.sqrt(power)
    left, right = axes[0]
    left.semilogy(modes, amplitude[1:], color="0.5", linewidth=3, label="field")
    for (name, curve), color in zip(curves.items(), (COLORS[0], COLORS[1], COLORS[6])):
        left.semilogy(modes, (curve * amplitude)[1:], lines[name], color=color, label=f"error, {name}")
        right.semilogy(modes, curve[1:], lines[name], color=color, label=name)
    left.set(xlabel="mode number", ylabel="amplitude (units of the data)", title="Field and one-step errors")
    right.set(xlabel="mode number", ylabel="error / field", title="Relative one-step error")
    left.legend(fontsize="small")
    right.legend(fontsize="small")
    return Picture(
        figure,
        "The one-step error at each spatial frequency, on held-out frames. The mean squared error, on which the same network was "
        f"trained as {BASELINE}, is content with the strong frequencies; the refiner has to resolve the weak ones too.",
    )

"""PDE-Refiner's claims, measured on the Kuramoto-Sivashinsky equation.

At scale ``cpu`` a dilated network of 53,473 parameters is trained for 1,200 steps on 200 trajectories of 36 frames on 64
points; every comparison gives both sides the same network, data, steps and seeds. At ``gpu`` and ``paper`` the network is the
U-Net on 256 points, conditioned on the domain's length. Claims share what they train: measured together they take a third of
the sum of their times.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import pearsonr, spearmanr

from semigroup.claims import Measurement, Scale, ScaleUnavailable, claim, side_by_side
from semigroup.data.pde import kuramoto_sivashinsky
from semigroup.fields.pde_refiner import (
    Diffusion,
    NoiseRefinement,
    OneStepStepper,
    PDERefiner,
    correlation,
    error_spectrum,
    high_correlation_time,
    refinement_variances,
    spectrum,
)
from semigroup.report.figures import COLORS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SETTINGS", "Setting", "Spec"]

SLUG = "pde-refiner"
TIME_STEP = 0.8
N_MEMBERS = 8


@dataclass(frozen=True)
class Setting:
    """The sizes of an experiment."""

    n_points: int = 64
    length: tuple[float, float] = (64.0, 64.0)
    n_train: int = 200
    n_small: int = 8
    n_frames: int = 36
    n_offsets: int = 1
    n_test: int = 32
    n_ahead: int = 120
    backbone: str = "cnn"
    width: int = 32
    n_steps: int = 1200
    batch_size: int = 32
    learning_rate: float = 6e-3
    n_seeds: int = 5
    n_seeds_aside: int = 3
    kinds: tuple[str, ...] = ("mse", "refiner")


_UNET = Setting(
    n_points=256,
    length=(57.6, 70.4),
    n_train=512,
    n_small=51,
    n_frames=35,
    n_offsets=4,
    n_test=128,
    n_ahead=160,
    backbone="unet",
    n_steps=8160,  # 60 epochs: 512 trajectories, each at one of its offsets, 34 pairs, batches of 128
    batch_size=128,
    learning_rate=1e-4,
    n_seeds=1,
    n_seeds_aside=1,
    kinds=("mse", "pushforward", "unrolled", "refiner-1", "refiner-2", "refiner"),
)
SETTINGS: dict[str, Setting] = {
    "cpu": Setting(),
    "gpu": _UNET,
    "paper": replace(_UNET, n_train=2048, n_small=205, width=64, n_steps=217_600),
}


@dataclass(frozen=True)
class Spec:
    """One model to train: what, on how many trajectories, with which seed."""

    kind: str
    n_train: int
    seed: int


# --- what the claims share ---------------------------------------------------------------------------------------


def _setting(scale: Scale) -> Setting:
    if scale == "paper" and not torch.cuda.is_available():
        raise ScaleUnavailable(
            "scale 'paper' trains U-Nets for 400 epochs: it needs a CUDA device, and none is visible"
        )
    return SETTINGS[scale]


@dataclass(frozen=True)
class _Data:
    train: np.ndarray
    train_lengths: np.ndarray | None
    test: np.ndarray
    test_lengths: np.ndarray | None


@functools.cache
def _data(setting: Setting) -> _Data:
    """Trajectories to learn from (row i of every offset belongs to simulation i) and longer ones to test on."""
    varies = setting.length[0] < setting.length[1]
    rng = np.random.default_rng(2)

    def simulate(n: int, n_frames: int, n_offsets: int, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
        lengths = rng.uniform(*setting.length, n) if varies else np.full(n, setting.length[0])
        # Both ends are seen even by a model of few trajectories, so that none is asked outside its range.
        lengths[:2] = setting.length
        data = kuramoto_sivashinsky(
            n,
            n_frames=n_frames * n_offsets,
            time_step=TIME_STEP / n_offsets,
            n_points=2 * setting.n_points,
            length=lengths,
            random_state=seed,
        )
        # The 2/3 rule leaves the upper third of the simulated modes empty; every second point shows none of that.
        states = data.states[..., ::2].astype(np.float32)
        return np.stack([states[:, i::n_offsets] for i in range(n_offsets)], axis=1), lengths[
            :, None
        ] if varies else None

    train, train_lengths = simulate(setting.n_train, setting.n_frames, setting.n_offsets, seed=0)
    test, test_lengths = simulate(setting.n_test, setting.n_ahead + 2, 1, seed=1)
    return _Data(train, train_lengths, test[:, 0], test_lengths)


def _stepper(setting: Setting, spec: Spec) -> OneStepStepper | PDERefiner:
    """The unfitted stepper of a spec."""
    shared: dict[str, Any] = {
        "backbone": setting.backbone,
        "width": setting.width,
        "n_steps": setting.n_steps,
        "batch_size": setting.batch_size,
        "learning_rate": setting.learning_rate,
        "random_state": spec.seed,
    }
    match spec.kind:
        case "mse" | "pushforward" | "unrolled":
            return OneStepStepper(objective=spec.kind, **shared)
        case "history":
            return OneStepStepper(history=2, **shared)
        case "refiner":
            return PDERefiner(**shared)
        case "refiner-1" | "refiner-2":
            return PDERefiner(n_refinements=int(spec.kind[-1]), **shared)
        case "refiner, coarse":
            return PDERefiner(min_noise_variance=1e-2, **shared)
    raise ValueError(f"kind must be a stepper's name, got {spec.kind!r}")


def _fit(
    stepper: OneStepStepper | PDERefiner, states: np.ndarray, lengths: np.ndarray | None
) -> OneStepStepper | PDERefiner:
    return stepper.fit(states, lengths, times=TIME_STEP * np.arange(states.shape[1]))


_MODELS: dict[tuple[Setting, Spec], OneStepStepper | PDERefiner] = {}


def _models(setting: Setting, kinds: Sequence[str], n_seeds: int, n_train: int | None = None) -> dict[str, list[Spec]]:
    """Specs of `n_seeds` models of each kind, trained if they are not yet: one to a core, or in turn on an accelerator."""
    n_train = n_train or setting.n_train
    groups = {kind: [Spec(kind, n_train, seed) for seed in range(n_seeds)] for kind in kinds}
    missing = [spec for specs in groups.values() for spec in specs if (setting, spec) not in _MODELS]
    data = _data(setting)
    states, lengths = data.train[:n_train].reshape(-1, *data.train.shape[2:]), None
    if data.train_lengths is not None:
        lengths = np.repeat(data.train_lengths[:n_train], setting.n_offsets, axis=0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    fitted = side_by_side(_fit, [(_stepper(setting, spec), states, lengths) for spec in missing], device)
    _MODELS.update(((setting, spec), model) for spec, model in zip(missing, fitted))
    return groups


@functools.cache
def _correlations(setting: Setting, spec: Spec, n_refinements: int | None = None) -> Float[np.ndarray, "n steps"]:
    """Correlation of rollouts with the truth, of each test trajectory."""
    model, data = _MODELS[setting, spec], _data(setting)
    # All start from the second frame, which the stepper with a history of two needs.
    start = data.test[:, :2] if model.history == 2 else data.test[:, 1]
    states = model.rollout(start, setting.n_ahead, data.test_lengths, n_refinements=n_refinements)
    return correlation(states, data.test[:, 2:])


def _time(setting: Setting, spec: Spec, n_refinements: int | None = None, threshold: float = 0.8) -> float:
    """High-correlation time of the mean correlation."""
    return float(high_correlation_time(_correlations(setting, spec, n_refinements).mean(0), threshold, TIME_STEP))


@functools.cache
def _one_step(
    setting: Setting, spec: Spec, n_refinements: int | None = None
) -> tuple[Float[np.ndarray, " modes"], float]:
    """Relative error by mode number and mean squared error of one step, on every eighth test frame."""
    model, data = _MODELS[setting, spec], _data(setting)
    now, following = data.test[:, 1:-1:8], data.test[:, 2::8]
    lengths = None if data.test_lengths is None else np.repeat(data.test_lengths, now.shape[1], axis=0)
    predicted = model.predict(now.reshape(-1, *now.shape[2:]), lengths, n_refinements=n_refinements)
    truth = following.reshape(predicted.shape)
    return error_spectrum(predicted, truth, 1), float(((predicted - truth) ** 2).mean())


def _modes(setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Mode numbers above rounding, and the weakest tenth of them."""
    amplitude = np.sqrt(spectrum(_data(setting).test, 1))
    modes = np.arange(1, setting.n_points // 2)
    # float32 fields carry rounding of about 1e-7 of their size in every mode
    modes = modes[amplitude[modes] > 1e-5 * amplitude.max()]
    return modes, modes[-max(3, len(modes) // 10) :]


def _summary(setting: Setting, specs: list[Spec], name: str) -> dict[str, Any]:
    """A row of the table: means over seeds."""
    times = [_time(setting, spec) for spec in specs]
    return {
        "stepper": name,
        "trajectories": specs[0].n_train,
        "time above 0.9, s": round(float(np.mean([_time(setting, spec, threshold=0.9) for spec in specs])), 1),
        "time above 0.8, s": round(float(np.mean(times)), 1),
        "spread over seeds, s": round(float(np.std(times)), 1),
        "seeds": len(specs),
    }


def _ratio(numerator: list[float], denominator: list[float]) -> tuple[float, float]:
    """Ratio of the means, and its standard deviation over seeds from those of both."""
    a, b = np.asarray(numerator), np.asarray(denominator)
    ratio = a.mean() / b.mean()
    return float(ratio), float(ratio * np.hypot(a.std() / a.mean(), b.std() / b.mean()))


def _draw_correlations(setting: Setting, groups: dict[str, list[tuple[Spec, int | None]]]) -> Figure:
    """Mean correlation over time: a line the mean over seeds, a band their range."""
    figure, axes = new_figure(1, 1, width=6.5, height=3.8)
    ax = axes[0, 0]
    times = TIME_STEP * np.arange(1, setting.n_ahead + 1)
    for (name, members), color, line in zip(groups.items(), COLORS, ("-", "--", ":", "-.", "-", "--")):
        curves = np.stack([_correlations(setting, spec, n).mean(0) for spec, n in members])
        ax.plot(times, curves.mean(0), line, color=color, label=name)
        ax.fill_between(times, curves.min(0), curves.max(0), color=color, alpha=0.15, linewidth=0)
    ax.axhline(0.8, color="0.5", linewidth=0.8)
    ax.set(xlabel="time (s)", ylabel="correlation with the truth", ylim=(-0.1, 1.02))
    ax.set_title("Mean over seeds and test trajectories; bands: range over seeds", fontsize="small")
    ax.legend(fontsize="small")
    return figure


# --- the claims --------------------------------------------------------------------------------------------------


@claim("pde-refiner", 1, says="Rollouts stay accurate longer than those of the baselines.", source="abstract")
def rollouts_last_longer_than_those_of_the_baselines(scale: Scale) -> Measurement:
    """Threshold: 1.1 times the best baseline's time above correlation 0.8. An independent implementation gave 0.84."""
    setting = _setting(scale)
    groups = _models(setting, setting.kinds, setting.n_seeds)
    times = {kind: [_time(setting, spec) for spec in specs] for kind, specs in groups.items()}
    baselines = {kind: values for kind, values in times.items() if not kind.startswith("refiner")}
    best = max(baselines, key=lambda kind: np.mean(baselines[kind]))
    ratio, spread = _ratio(times["refiner"], times[best])
    table = [_summary(setting, specs, kind) for kind, specs in groups.items()]
    for row, specs in zip(table, groups.values()):
        row["one-step MSE"] = float(np.mean([_one_step(setting, spec)[1] for spec in specs]))
    errors = {row["stepper"]: row["one-step MSE"] for row in table}
    note = f"The refiner lasts {np.mean(times['refiner']):.1f} s, {best} {np.mean(times[best]):.1f} s"
    note += f"; their one-step errors are {errors['refiner']:.1e} and {errors[best]:.1e}. "
    if scale == "cpu":
        note += (
            "Needs scale: at this size the error is in the strong frequencies and limited by capacity and training, and the "
            "refiner's one network learns four tasks in the steps that the baseline spends on one."
        )
    return Measurement(
        figure=ratio,
        holds=ratio >= 1.1,
        threshold=">= 1.1 times the best baseline",
        unit="x time above correlation 0.8",
        baseline=1.0,
        baseline_name=f"{best}, {np.mean(times[best]):.1f} s",
        spread=spread,
        n_seeds=setting.n_seeds,
        table=table,
        note=note,
        plot=_draw_correlations(setting, {kind: [(spec, None) for spec in specs] for kind, specs in groups.items()}),
    )


@claim("pde-refiner", 2, says="Refinement models all frequencies, also the weak ones.", source="abstract, Section 3")
def the_weakest_frequencies_are_predicted_better_than_by_mean_squared_error(scale: Scale) -> Measurement:
    """Relative one-step error, refiner over MSE, in the weakest tenth of the modes that are above rounding.

    Thresholds: at most 0.5, and falling with the mode number (rank correlation at most -0.8). An independent
    implementation gave 0.27 to 0.32. The baseline's row compares MSE steppers of different seeds, which is what no
    effect looks like.
    """
    setting = _setting(scale)
    groups = _models(setting, ("refiner", "mse"), setting.n_seeds)
    refined, plain = (np.stack([_one_step(setting, spec)[0] for spec in specs]) for specs in groups.values())
    modes, tail = _modes(setting)
    ratios = refined / plain
    ratio = ratios.mean(0)
    by_seed = ratios[:, tail].mean(1)
    others = np.roll(plain, 1, axis=0)[:, tail] / plain[:, tail]
    trend = float(spearmanr(modes, ratio[modes]).statistic)
    shown = sorted({int(modes[round(i)]) for i in np.linspace(0, len(modes) - 1, 9)})
    figure, axes = new_figure(1, 2, width=10, height=3.8)
    left, right = axes[0]
    for values, name, color, line in (
        (plain, "mean squared error", COLORS[1], "--"),
        (refined, "refiner", COLORS[0], "-"),
    ):
        left.semilogy(modes, values.mean(0)[modes], line, color=color, label=name)
        left.fill_between(modes, values.min(0)[modes], values.max(0)[modes], color=color, alpha=0.2, linewidth=0)
    left.set(xlabel="mode number", ylabel="error / field", title="Relative one-step error")
    left.legend()
    right.semilogy(modes, ratio[modes], color=COLORS[0])
    right.fill_between(modes, ratios.min(0)[modes], ratios.max(0)[modes], color=COLORS[0], alpha=0.2, linewidth=0)
    right.axhline(1, color="black", linewidth=0.8)
    right.set_yticks([0.2, 0.5, 1, 2, 5], ["0.2", "0.5", "1", "2", "5"])
    right.set_yticks([], minor=True)
    right.axvspan(tail[0] - 0.5, tail[-1] + 0.5, color="0.85", zorder=0, label="judged")
    right.set(xlabel="mode number", ylabel="refiner / mean squared error", title="Ratio of the errors")
    right.legend()
    value = float(by_seed.mean())
    return Measurement(
        figure=value,
        holds=value <= 0.5 and trend <= -0.8,
        threshold=f"<= 0.5 at modes {tail[0]} to {tail[-1]}, falling with the mode number (rank correlation <= -0.8)",
        unit="x relative error of the MSE stepper",
        baseline=float(others.mean()),
        baseline_name="MSE steppers of two seeds",
        spread=float(by_seed.std()),
        n_seeds=setting.n_seeds,
        table=[
            {
                "mode": mode,
                "refiner": float(refined[:, mode].mean()),
                "mse": float(plain[:, mode].mean()),
                "ratio": float(ratio[mode]),
            }
            for mode in shown
        ],
        note=(
            f"Rank correlation of the ratio with the mode number: {trend:.2f}. At mode 1 the ratio is {ratio[1]:.1f}: the gain "
            "in the weak modes is paid for in the strong ones."
        ),
        plot=figure,
    )


@claim("pde-refiner", 3, says="Refining helps until the noise is below the model's error.", source="Sections 3 and 4")
def refinements_help_until_the_noise_is_below_the_error(scale: Scale) -> Measurement:
    """The same trained model stopped after 0 to K refinements, and one whose last noise is large.

    Thresholds, set beforehand: one refinement lasts at least 1.6 times as long as none (an independent implementation:
    2.0 to 2.9); the last one, whose noise is below the one-step error, changes the time by at most 15 %; a smallest
    noise variance of 1e-2 shortens the time to at most 0.8 of it. The last threshold takes 1e-2 to be far above the
    model's one-step error and 4e-7 to be near it, which the table checks; the MSE stepper stands beside them.
    """
    setting = _setting(scale)
    specs = _models(setting, ("refiner",), setting.n_seeds)["refiner"]
    aside = _models(setting, ("refiner, coarse", "mse"), setting.n_seeds_aside)
    tail = _modes(setting)[1]
    groups: dict[str, list[tuple[Spec, int | None]]] = {
        f"{k} refinement{'s' * (k != 1)}": [(spec, k) for spec in specs] for k in range(4)
    }
    groups["3, smallest variance 1e-2"] = [(spec, None) for spec in aside["refiner, coarse"]]
    groups["mean squared error"] = [(spec, None) for spec in aside["mse"]]
    times = [[_time(setting, *member) for member in members] for members in groups.values()]
    none, one, two, three, coarse = times[:5]
    ratio, spread = _ratio(one, none)
    last, coarse_ratio = float(np.mean(three) / np.mean(two)), float(np.mean(coarse) / np.mean(three))
    variance = float(_MODELS[setting, specs[0]].target_scale_[0] ** 2)
    table: list[dict[str, Any]] = []
    error, weak = [], []
    for (name, members), values in zip(groups.items(), times):
        one_step = [_one_step(setting, *member) for member in members]
        error.append(float(np.mean([mse for _, mse in one_step])) / variance)
        weak.append(float(np.mean([relative[tail] for relative, _ in one_step])))
        table.append(
            {
                "stepper": name,
                "time above 0.8, s": float(np.mean(values)),
                "spread over seeds, s": float(np.std(values)),
                "seeds": len(values),
                "one-step MSE / target's variance": error[-1],
                f"relative error, modes {tail[0]} to {tail[-1]}": weak[-1],
            }
        )
    levels = ", ".join(f"{NoiseRefinement(3, 4e-7).noise_std(k) ** 2:.0e}" for k in (1, 2, 3))
    note = (
        f"Third over second refinement: {last:.2f}. Smallest variance 1e-2 over 4e-7: {coarse_ratio:.2f}. The one-step error "
        f"is {error[3]:.0e} of the target's variance, the refinements' noise {levels} of it."
    )
    if coarse_ratio > 0.8 and error[3] > 4e-7 and error[4] < 1e-2:
        first = np.mean([_one_step(setting, spec, 0)[1] for spec in aside["refiner, coarse"]]) / variance
        note += (
            " So 4e-7 is far below this network's error and 1e-2 the nearer to it: with 1e-2 every noise is above the error, and "
            f"refining lowers it from {first:.0e} to {error[4]:.0e} (with 4e-7 from {error[0]:.0e} to {error[3]:.0e}); only in "
            f"the weak modes is it the worse one (relative error {weak[4]:.2g}, {weak[3]:.2g} with 4e-7). The threshold on 1e-2 "
            "needs a network whose error is below 4e-7."
        )
    return Measurement(
        figure=ratio,
        holds=ratio >= 1.6 and abs(last - 1) <= 0.15 and coarse_ratio <= 0.8,
        threshold="1 refinement >= 1.6 x none; third within 15 % of two; variance 1e-2 <= 0.8 x",
        unit="x time above 0.8, one refinement over none",
        baseline=1.0,
        baseline_name=f"no refinement, {np.mean(none):.1f} s",
        spread=spread,
        n_seeds=setting.n_seeds,
        table=table,
        note=note,
        plot=_draw_correlations(setting, groups),
    )


@claim("pde-refiner", 4, says="Seeing two frames of history does not lengthen rollouts.", source="Section 4.1")
def history_does_not_help(scale: Scale) -> Measurement:
    """Threshold: at most 1.1 times the time of the stepper that sees one frame."""
    setting = _setting(scale)
    one, two = _models(setting, ("mse", "history"), setting.n_seeds).values()
    ratio, spread = _ratio([_time(setting, spec) for spec in two], [_time(setting, spec) for spec in one])
    groups = {"one frame": one, "two frames": two}
    return Measurement(
        figure=ratio,
        holds=ratio <= 1.1,
        threshold="<= 1.1 times one frame",
        unit="x time above correlation 0.8",
        baseline=1.0,
        baseline_name=f"one frame, {np.mean([_time(setting, spec) for spec in one]):.1f} s",
        spread=spread,
        n_seeds=setting.n_seeds,
        table=[_summary(setting, specs, name) for name, specs in groups.items()],
        plot=_draw_correlations(setting, {name: [(spec, None) for spec in specs] for name, specs in groups.items()}),
    )


@claim("pde-refiner", 5, says="With fewer trajectories its advantage over the MSE stepper grows.", source="abstract")
def few_trajectories_favour_the_refiner(scale: Scale) -> Measurement:
    """Ratio of the times refiner / MSE with few trajectories over that ratio with all, same seeds. Threshold: at least 1."""
    setting = _setting(scale)
    n_seeds = setting.n_seeds_aside
    ratios, rows = {}, []
    specs_drawn: dict[str, list[tuple[Spec, int | None]]] = {}
    for n_train in (setting.n_small, setting.n_train):
        groups = _models(setting, ("refiner", "mse"), n_seeds, n_train)
        for kind, specs in groups.items():
            rows.append(_summary(setting, specs, kind))
            specs_drawn[f"{kind}, {n_train} trajectories"] = [(spec, None) for spec in specs]
        ratios[n_train] = _ratio(*([_time(setting, spec) for spec in specs] for specs in groups.values()))
    (few, few_spread), (full, full_spread) = ratios[setting.n_small], ratios[setting.n_train]
    spread = few / full * float(np.hypot(few_spread / few, full_spread / full))
    note = f"Refiner / MSE: {few:.2f} with {setting.n_small} trajectories, {full:.2f} with {setting.n_train}."
    if abs(few / full - 1) < spread:
        note += " The change is within the spread over seeds: no effect is shown either way."
    return Measurement(
        figure=few / full,
        holds=few >= full,
        threshold=f">= 1: ratio with {setting.n_small} trajectories over ratio with {setting.n_train}",
        unit="x",
        baseline=full,
        baseline_name=f"refiner / MSE with {setting.n_train} trajectories",
        spread=spread,
        n_seeds=n_seeds,
        table=rows,
        note=note,
        plot=_draw_correlations(setting, specs_drawn),
    )


@claim("pde-refiner", 6, says="The members of its ensemble part when the rollout loses the truth.", source="abstract")
def the_ensemble_tells_when_the_forecast_is_lost(scale: Scale) -> Measurement:
    """Pearson correlation over test trajectories between estimated and actual loss time at correlation 0.8.

    Thresholds: at least 0.5 on average over seeds, and estimates that are no constant (spread above one time step).
    """
    setting = _setting(scale)
    data = _data(setting)
    specs = _models(setting, ("refiner",), setting.n_seeds)["refiner"]
    rows, pairs = [], []
    for spec in specs:
        model = _MODELS[setting, spec]
        assert isinstance(model, PDERefiner)
        found = model.estimate_loss_time(
            data.test[:, 1], setting.n_ahead, n_members=N_MEMBERS, threshold=0.8, parameters=data.test_lengths
        )
        actual = np.asarray(high_correlation_time(_correlations(setting, spec), 0.8, TIME_STEP))
        constant = np.ptp(found.times) == 0 or np.ptp(actual) == 0
        rows.append(
            {
                "seed": spec.seed,
                "correlation": 0.0 if constant else float(pearsonr(found.times, actual).statistic),
                "estimated, mean, s": float(found.times.mean()),
                "actual, mean, s": float(actual.mean()),
                "spread of estimates, s": float(found.times.std()),
                "spread of actual times, s": float(actual.std()),
                "still agreeing at the end": int(found.saturated.sum()),
                "still accurate at the end": int((actual >= setting.n_ahead * TIME_STEP).sum()),
            }
        )
        pairs.append((found.times, actual))
    values = [row["correlation"] for row in rows]
    value = float(np.mean(values))
    figure, axes = new_figure(1, 1, width=5, height=4.4)
    ax = axes[0, 0]
    for (estimated, actual), spec, color, marker in zip(pairs, specs, COLORS, "os^dv"):
        ax.scatter(estimated, actual, s=22, color=color, marker=marker, alpha=0.8, label=f"seed {spec.seed}")
    limit = 1.05 * max(max(a.max(), b.max()) for a, b in pairs)
    ax.plot([0, limit], [0, limit], color="black", linewidth=0.8, label="equal")
    ax.set(xlabel="estimated loss time (s)", ylabel="actual loss time (s)", xlim=(0, limit), ylim=(0, limit))
    ax.legend()
    return Measurement(
        figure=value,
        holds=value >= 0.5 and all(row["spread of estimates, s"] > TIME_STEP for row in rows),
        threshold=">= 0.5, and the estimates are no constant",
        unit="correlation of estimated and actual loss time",
        baseline=0.0,
        baseline_name="a constant estimate",
        spread=float(np.std(values)),
        n_seeds=len(specs),
        table=rows,
        note=f"{N_MEMBERS} members, {setting.n_test} test trajectories a seed.",
        plot=figure,
    )


@claim("pde-refiner", 7, says="With a perfect network both samplers give the target.", source="Section 3", quick=True)
def the_sampler_is_exact_with_a_perfect_network(scale: Scale) -> Measurement:
    """Both formulations, K = 0 to 8, in float64. In the noise formulation the first prediction is off by 3 on purpose for
    K > 0: the refinements alone must repair it. Threshold: 1e-6."""
    target = torch.randn(16, 1, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = []
    for k in range(9):
        row: dict[str, Any] = {"K": k}
        processes: dict[str, NoiseRefinement | Diffusion] = {
            "noise": NoiseRefinement(k, 4e-7),
            "v": Diffusion(refinement_variances(k, 4e-7)),
        }
        for name, process in processes.items():
            result = process.sample(_oracle(process, target), target, torch.Generator().manual_seed(k))
            row[name] = float((result - target).abs().max())
        rows.append(row)
    worst = max(max(row["noise"], row["v"]) for row in rows)
    return Measurement(
        figure=worst,
        holds=worst <= 1e-6,
        threshold="<= 1e-6",
        unit="largest error for K = 0 to 8",
        table=rows,
    )


def _oracle(process: NoiseRefinement | Diffusion, target: torch.Tensor) -> Any:
    """What a perfect network answers."""

    def predict(candidate: torch.Tensor, k: int) -> torch.Tensor:
        std = process.noise_std(k)
        if isinstance(process, Diffusion):
            noise = (candidate - process.signal(k) * target) / std
            return process.signal(k) * noise - std * target
        if k > 0:
            return (candidate - target) / std
        return target + 3.0 if process.n_refinements else target

    return predict

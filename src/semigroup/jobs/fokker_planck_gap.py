"""Train a diffusion model on a table, and report how far its ODE is from its SDE, with and without the Fokker-Planck penalty."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.ticker import LogLocator
from sklearn.base import clone

from semigroup.base import check_array, numpy_generator, seed_from
from semigroup.data.files import read_array
from semigroup.data.planar import PLANAR
from semigroup.densities.fokker_planck_gap import Bound, Gap, PotentialDiffusion, ResidualProfile, gap_of_samples
from semigroup.densities.fokker_planck_gap.audit import MOST_NORMALISED
from semigroup.jobs import Context, Outcome, Picture
from semigroup.report.figures import COLORS, new_figure

__all__ = ["Table", "perform", "read"]

HELD_OUT = 0.5
MOST_ROWS = 2000
EXAMPLE = "blob"
N_STEPS = 50
N_BINS = 32
N_LIKELIHOODS = 64
N_PATHS = 16
# The bound needs the paths of both samplers and the Hessian along them; what these few leave open is in its standard error.
BOUND = {"n_samples": 100, "n_steps": 30, "n_states": 32, "n_paths": 2, "n_times": 8}
UNEQUAL = 10.0  # standard deviations of columns that far apart are worth a word


@dataclass(frozen=True)
class Table:
    """Rows to train on, and rows to compare with."""

    training: Float[np.ndarray, "n dim"]
    held_out: Float[np.ndarray, "m dim"]
    name: str


def read(files: Sequence[Path]) -> Table:
    """One table of numbers, half of whose rows (at most 2000) are held out; without files nine Gaussians."""
    if not files:
        rows = PLANAR[EXAMPLE](14_000, random_state=0)
        return Table(rows[MOST_ROWS:], rows[:MOST_ROWS], EXAMPLE)
    if len(files) > 1:
        raise ValueError(f"{files[1]}: one table is wanted, got {len(files)} files")
    rows = check_array(read_array(files[0]), str(files[0]), ndim=(1, 2), min_rows=8)
    rows = rows[:, None] if rows.ndim == 1 else rows
    constant = np.flatnonzero(np.ptp(rows, axis=0) == 0)
    if len(constant):
        raise ValueError(f"{files[0]}: columns {', '.join(map(str, constant))} hold one value only")
    rows = numpy_generator(0).permutation(rows)
    cut = min(MOST_ROWS, int(HELD_OUT * len(rows)))
    return Table(rows[cut:], rows[:cut], files[0].stem)


def perform(estimator: PotentialDiffusion, data: Table, context: Context) -> Outcome:
    """Fit with the penalty and, where there is one, without it; measure the gap of both."""
    began = time.perf_counter()
    models = {"with the penalty": estimator}
    if estimator.residual_weight > 0:
        models["without the penalty"] = clone(estimator).set_params(residual_weight=0.0)
    else:
        models = {"without the penalty": estimator}
    for i, model in enumerate(models.values()):
        folder = context.checkpoint_dir / str(i) if context.checkpoint_dir is not None else None
        model.fit(data.training, progress=context.progress, checkpoint_dir=folder, resume=context.resume)
    seconds = time.perf_counter() - began
    draws = {name: _draw(model, len(data.held_out)) for name, model in models.items()}
    gaps = {
        name: gap_of_samples(*draws[name], model.box_, X=data.held_out, n_bins=N_BINS) for name, model in models.items()
    }
    ode, sde, _ = next(iter(draws.values()))
    dim = data.held_out.shape[1]
    bounds = {name: model.bound(**BOUND) for name, model in models.items()} if dim <= MOST_NORMALISED else {}
    profiles = {name: model.residual_profile(n_times=30, n_points=500) for name, model in models.items()}
    likelihoods = {name: _likelihood_gap(model, data.held_out[:N_LIKELIHOODS]) for name, model in models.items()}
    gap = next(iter(gaps.values()))
    metrics: dict[str, float] = {
        "fit_seconds": seconds,
        "explained_share_of_the_noise": estimator.explained_,
    }
    for name, found in gaps.items():
        label = name.replace(" ", "_")
        metrics |= {
            f"gap_ode_sde_{label}": found.ode_sde,
            f"ode_to_data_{label}": float(found.ode_truth or 0.0),
            f"sde_to_data_{label}": float(found.sde_truth or 0.0),
            f"two_sde_samples_{label}": found.floor,
            f"mean_ode_log_density_nats_{label}": likelihoods[name][0],
            f"mean_difference_of_ode_and_sde_log_density_nats_{label}": likelihoods[name][1],
            f"ode_samples_outside_the_box_{label}": found.dropped_ode,
            f"centred_mean_square_residual_{label}": profiles[name].centred_mean_square,
        }
    for name, most in bounds.items():
        metrics |= _metrics_of(most, name.replace(" ", "_"))
    metrics = {name: value for name, value in metrics.items() if np.isfinite(value)}
    summary = (
        f"ODE and SDE of the model of '{data.name}' are {gap.ode_sde:.3f} apart (Wasserstein-2, in units of the data); "
        f"two samples of one law would be {gap.floor:.3f} apart. Their log-densities of "
        f"{min(N_LIKELIHOODS, len(data.held_out))} held-out rows differ by {next(iter(likelihoods.values()))[1]:.2f} nats on "
        "average."
    )
    if "with the penalty" in gaps:
        summary += (
            f" Without the penalty they are {gaps['without the penalty'].ode_sde:.3f} and "
            f"{likelihoods['without the penalty'][1]:.2f} nats apart."
        )
    if not all(np.isfinite(found.ode_sde) for found in gaps.values()):
        summary += (
            " Where no distance is given, a law has no sample inside the box of the data: it is not of these data."
        )
    if bounds:
        summary += " " + _say_bound(next(iter(bounds.values())))
    widths = data.training.std(axis=0)
    if widths.max() > UNEQUAL * widths.min():
        summary += (
            f" The columns are in unequal units: the standard deviation of column {widths.argmax() + 1} is "
            f"{widths.max() / widths.min():.0f} times that of column {widths.argmin() + 1}, which neither the model nor the "
            "distances see. Bring them to comparable units and run again."
        )
    table = pd.DataFrame(
        [
            {"model": name, "times": t, "mean": mean, "std": std}
            for name, profile in profiles.items()
            for t, mean, std in zip(profile.times, profile.mean, profile.std, strict=True)
        ]
    )
    return Outcome(
        model=estimator,
        summary=summary,
        metrics=metrics,
        arrays={"ode_samples": ode, "sde_samples": sde, "box": estimator.box_},
        tables={"residual": table},
        pictures={
            "laws": _draw_laws(estimator, data, ode, sde, gap),
            "gap": _draw_gap(gaps, likelihoods, profiles),
        },
    )


def _draw_laws(estimator: PotentialDiffusion, data: Table, ode: np.ndarray, sde: np.ndarray, gap: Gap) -> Picture:
    """Data, ODE samples and SDE samples beside each other, in the first two columns."""
    figure, axes = new_figure(1, 3, width=10.5, height=3.9, sharex=True, sharey=True)
    box = estimator.box_
    titles = (
        "data (held out)",
        f"ODE: {gap.ode_truth:.3f} from the data",
        f"SDE: {gap.sde_truth:.3f} from the data",
    )
    for ax, rows, title in zip(axes[0], (data.held_out, ode, sde), titles, strict=True):
        if rows.shape[1] == 1:
            ax.hist(rows[:, 0], bins=np.linspace(box[0, 0], box[1, 0], 60), density=True, color=COLORS[0])
            ax.set_xlabel("column 1 (units of the data)")
        else:
            edges = [np.linspace(box[0, i], box[1, i], 49) for i in range(2)]
            ax.hist2d(rows[:, 0], rows[:, 1], bins=edges, density=True, cmap="viridis")
            ax.set_xlabel("column 1 (units of the data)")
            ax.grid(False)
            sides = np.ptp(box[:, :2], axis=0)
            if sides.max() < 3 * sides.min():
                ax.set_aspect("equal")
        ax.set_title(title)
    axes[0, 0].set_ylabel("density" if ode.shape[1] == 1 else "column 2 (units of the data)")
    shown = f", the first two of {box.shape[1]} columns" if box.shape[1] > 2 else ""
    caption = (
        f"The data and both laws of the model inside the box{shown}; the ODE left {100 * gap.dropped_ode:.2g} % and the SDE "
        f"{100 * gap.dropped_sde:.2g} % of their samples outside."
    )
    return Picture(figure, caption)


def _draw_gap(
    gaps: dict[str, Gap], likelihoods: dict[str, tuple[float, float]], profiles: dict[str, ResidualProfile]
) -> Picture:
    """Distances and differences of likelihoods as bars, and the residual over time."""
    figure, axes = new_figure(1, 3, width=12.5, height=3.6, width_ratios=(1.2, 0.7, 1))
    ax = axes[0, 0]
    height = 0.8 / len(gaps)
    for i, (name, gap) in enumerate(gaps.items()):
        values = [gap.ode_sde, float(gap.ode_truth or 0.0), float(gap.sde_truth or 0.0), gap.floor]
        bars = ax.barh(np.arange(4) + (i - (len(gaps) - 1) / 2) * height, values, height, color=COLORS[i], label=name)
        ax.bar_label(bars, [f"{value:.3f}" for value in values], padding=3, fontsize="small")
    ax.set_yticks(np.arange(4), ["ODE to SDE", "ODE to data", "SDE to data", "two SDE samples"])
    ax.invert_yaxis()
    ax.margins(x=0.15)
    ax.set_xlabel("Wasserstein-2 distance (units of the data)")
    ax.grid(axis="y", visible=False)
    ax = axes[0, 1]
    bars = ax.bar(
        [name.replace(" the ", "\nthe ") for name in likelihoods],
        [apart for _, apart in likelihoods.values()],
        width=0.6,
        color=COLORS[: len(likelihoods)],
    )
    ax.bar_label(bars, [f"{apart:.2f}" for _, apart in likelihoods.values()], padding=2, fontsize="small")
    ax.set_ylabel("ODE and SDE log-density\nof a row, mean difference (nats)")
    ax.margins(y=0.12)
    ax.grid(axis="x", visible=False)
    ax = axes[0, 2]
    for (name, profile), color, style in zip(profiles.items(), COLORS, ("-", "--")):
        ax.plot(profile.times, profile.std, style, color=color, label=name)
    ax.set(xscale="log", yscale="log", xlabel="time of the forward process")
    ax.set_ylabel("residual over the box, rms (1 / time)")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    ax.yaxis.set_minor_formatter("{x:g}")
    ax.legend(fontsize="small")
    return Picture(
        figure,
        "Left: the gap, the distances to the held-out data, and what two samples of one law show. Middle: how far apart "
        "the two laws put the log-density of a held-out row. Right: the residual of the Fokker-Planck equation over the "
        "box, its spatial mean taken out.",
    )


def _draw(model: PotentialDiffusion, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A sample of the ODE and two of the SDE, independent of each other: all that is said of the laws is of these rows."""
    rng = numpy_generator(model.random_state)
    ode, sde, again = (
        model.sample(n, method=law, n_steps=N_STEPS, random_state=seed_from(rng)) for law in ("ode", "sde", "sde")
    )
    return ode, sde, again


def _metrics_of(most: Bound, label: str) -> dict[str, float]:
    """The bound's numbers."""
    return {
        f"bound_direct_{label}": most.direct,
        f"bound_cauchy_schwarz_{label}": most.cauchy_schwarz,
        f"bound_residual_{label}": most.residual,
        f"fisher_term_nats_{label}": most.fisher,
        f"energy_nats_{label}": most.energy,
        f"energy_error_nats_{label}": most.energy_error,
        f"log_expansion_{label}": most.log_expansion,
    }


def _say_bound(most: Bound) -> str:
    """The bound in a sentence."""
    reason = f"the ODE may spread an error by exp({most.log_expansion:.1f})"
    if np.isfinite(most.direct):
        return f"At most they can be {most.direct:.3g} apart, by an estimate that is no certificate: {reason}."
    return f"No bound can be given on it: {reason}."


def _likelihood_gap(model: PotentialDiffusion, rows: np.ndarray) -> tuple[float, float]:
    """Mean log-density of the ODE's law, and mean absolute difference to the SDE's, in nats."""
    ode = model.score_samples(rows)
    sde = model.score_samples(rows, law="sde", n_paths=N_PATHS)
    return float(ode.mean()), float(np.abs(ode - sde).mean())

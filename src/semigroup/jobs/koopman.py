"""ResidualDMD on a file: the spectrum with certificates, the pseudospectrum, and how far forecasts go.

The input is one file that holds a trajectory (rows are equally spaced times; a vector is a scalar time series), one npz
or HDF5 file with the arrays ``X`` and ``Y`` of snapshot pairs, or two files, the states and their images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from semigroup.base import check_array, numpy_generator
from semigroup.data.dynamical_systems import duffing
from semigroup.data.files import read_array, read_arrays, read_table
from semigroup.dynamics.koopman import KernelResidualDMD, Pseudospectrum, ResidualDMD, Spectrum
from semigroup.jobs import Context, Outcome, Picture
from semigroup.report.figures import COLORS, new_figure

__all__ = ["Snapshots", "perform", "read"]

HELD_OUT = 0.25
RADIUS = 1.25
SPACING = 0.05
MAX_FORECAST = 200
BELIEVED = 0.1


@dataclass(frozen=True)
class Snapshots:
    """The input of a run.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features)
        States; a trajectory where `Y` is None.
    Y : ndarray of shape (n_samples, n_features) or None
    names : tuple of str
        Of the features.
    """

    X: np.ndarray
    Y: np.ndarray | None
    names: tuple[str, ...]


def read(files: Sequence[Path]) -> Snapshots:
    """The user's snapshots; simulated pairs of the undamped Duffing oscillator where there are no files."""
    if not files:
        pairs = duffing(2000, 5, random_state=0)
        return Snapshots(pairs.X, pairs.Y, ("position", "velocity"))
    if len(files) > 2:
        raise ValueError(
            f"{files[2]}: one file (a trajectory, or X and Y) or two files (X, Y) are wanted, got {len(files)}"
        )
    if len(files) == 2:
        X, Y = (_states(read_array(path), path) for path in files)
        return _checked(X, Y, _names(files[0], X.shape[1]), files[1])
    path = Path(files[0])
    arrays = read_arrays(path)
    if {"X", "Y"} <= set(arrays):
        X = _states(arrays["X"], path)
        return _checked(X, _states(arrays["Y"], path), _names(path, X.shape[1]), path)
    X = _states(read_array(path), path)
    return Snapshots(X, None, _names(path, X.shape[1]))


def _states(array: np.ndarray, path: str | Path) -> np.ndarray:
    """Rows of numbers; a vector is one column."""
    states = check_array(array, str(path), ndim=(1, 2))
    return states[:, None] if states.ndim == 1 else states


def _checked(X: np.ndarray, Y: np.ndarray, names: tuple[str, ...], path: str | Path) -> Snapshots:
    if X.shape != Y.shape:
        raise ValueError(f"{path}: Y must have the shape of X, {X.shape}, got {Y.shape}")
    return Snapshots(X, Y, names)


def _names(path: str | Path, width: int) -> tuple[str, ...]:
    """The columns' names of a table, or x1, x2, ..."""
    if Path(path).name.lower().removesuffix(".gz").endswith((".csv", ".tsv", ".txt", ".parquet")):
        return tuple(map(str, read_table(path).select_dtypes("number").columns))
    return tuple(f"x{j + 1}" for j in range(width))


def perform(estimator: ResidualDMD | KernelResidualDMD, data: Snapshots, context: Context) -> Outcome:
    """Fit on three quarters of the snapshots, certify the spectrum, and test on the rest."""
    metrics: dict[str, float]
    if data.Y is None:
        cut = int((1 - HELD_OUT) * len(data.X))
        estimator.fit(data.X[:cut])
        ahead = data.X[cut : cut + MAX_FORECAST]
        forecast = estimator.forecast(len(ahead))
        after, before = data.X[cut:][1:], data.X[cut:][:-1]
        reach = (estimator.n_delays - 1) * estimator.delay_stride
        if len(before) > reach:
            before, after, predicted = before[reach:], after[reach:], estimator.predict(data.X[cut:-1])
        else:
            before, after, predicted = data.X[cut - 1 : cut], data.X[cut : cut + 1], forecast[:1]
        pictures = {
            "forecast": Picture(_draw_forecast(forecast, ahead, data.X[cut - 1], data.names), _FORECAST_CAPTION)
        }
    else:
        order = numpy_generator(0).permutation(len(data.X))
        cut = int((1 - HELD_OUT) * len(data.X))
        train, test = order[:cut], order[cut:]
        estimator.fit(data.X[train], data.Y[train])
        before, after, predicted = data.X[test], data.Y[test], estimator.predict(data.X[test])
        pictures = {}
    spread = float(((after - data.X.mean(axis=0)) ** 2).sum()) or 1.0
    edmd = estimator.spectrum_
    certified = estimator.certified_spectrum("grid", spacing=SPACING, radius=RADIUS)
    side = round(len(certified.points) ** 0.5)
    grid = certified.points.reshape(side, side)
    portrait = Pseudospectrum(grid[0].real, grid[:, 0].imag, certified.point_residuals.reshape(side, side))
    metrics = {
        "rank": estimator.rank_,
        "eigenvalues_of_edmd": len(edmd),
        "largest_residual_of_edmd": edmd.certificate,
        "median_residual_of_edmd": float(np.median(edmd.residuals)),
        "eigenvalues_of_edmd_within_0.1": len(edmd.within(BELIEVED)),
        "certified_eigenvalues": len(certified),
        "certificate": certified.certificate,
        "eigenpairs_in_forecast": estimator.n_modes_,
        "one_step_error_fraction": float(((predicted - after) ** 2).sum()) / spread,
        "one_step_error_fraction_persistence": float(((before - after) ** 2).sum()) / spread,
        "isometry_gap": estimator.operator_.isometry_gap,
    }
    found = (
        f"{len(certified)} points of the spectrum are certified with an error of at most {certified.certificate:.3f}."
        if len(certified)
        else "No point of the spectrum can be certified from these data."
    )
    summary = (
        f"{found} Of the "
        f"{len(edmd)} eigenvalues that (extended) dynamic mode decomposition gives, {len(edmd.within(BELIEVED))} have a residual "
        f"of at most 0.1; the worst has {edmd.certificate:.2f}."
    )
    return Outcome(
        model=estimator,
        summary=summary,
        metrics=metrics,
        arrays={
            "eigenvalues": edmd.eigenvalues,
            "residuals": edmd.residuals,
            "modes": estimator.modes_,
            "certified_eigenvalues": certified.eigenvalues,
            "certified_residuals": certified.residuals,
            "grid_real": portrait.real,
            "grid_imaginary": portrait.imaginary,
            "grid_residuals": portrait.residuals,
        },
        tables={
            "certified_spectrum": certified.table(),
            "edmd_spectrum": edmd.table(),
            "modes": _mode_table(estimator, data.names),
        },
        pictures={
            "spectrum": Picture(_draw_spectrum(portrait, edmd, certified), _SPECTRUM_CAPTION),
            "residuals": Picture(_draw_residuals(edmd, certified, estimator.n_modes_), _RESIDUALS_CAPTION),
            **pictures,
        },
    )


def _mode_table(estimator: ResidualDMD | KernelResidualDMD, names: tuple[str, ...]) -> pd.DataFrame:
    """Modulus of each kept mode in each of the user's features."""
    kept = estimator.n_modes_
    table = pd.DataFrame(np.abs(estimator.modes_), columns=[f"|mode| of {name}" for name in names])
    table.insert(0, "residual", estimator.residuals_[:kept])
    table.insert(0, "imaginary", estimator.eigenvalues_[:kept].imag)
    table.insert(0, "real", estimator.eigenvalues_[:kept].real)
    return table


_SPECTRUM_CAPTION = (
    "The least residual over the complex plane (shades; the darker, the closer to the spectrum), the certified points of "
    "its grid (rings), and the eigenvalues of (extended) dynamic mode decomposition: dots are to be believed, their own "
    "residual is at most 0.1; crosses are not. The dashed line is the unit circle."
)
_RESIDUALS_CAPTION = (
    "Residuals of the eigenpairs, sorted: how much of each to believe. The dashed line is the certificate, the largest "
    "error of the certified points. Forecasts use all eigenpairs, or those left of a dotted line."
)
_FORECAST_CAPTION = "Forecast from the end of the training data, the truth, and the last state repeated."


def _draw_spectrum(portrait: Pseudospectrum, edmd: Spectrum, certified: Spectrum) -> Figure:
    figure, axes = new_figure(width=6.4, height=5.2)
    ax = axes[0, 0]
    lowest = max(-3.0, np.floor(4 * np.log10(max(portrait.residuals.min(), 1e-12))) / 4)
    levels = np.linspace(min(lowest, -1.0), 0, 13)
    shades = ax.contourf(
        portrait.real,
        portrait.imaginary,
        np.log10(np.maximum(portrait.residuals, 1e-12)),
        levels=levels,
        cmap="viridis",
        extend="both",
    )
    turn = np.linspace(0, 2 * np.pi, 400)
    ax.plot(np.cos(turn), np.sin(turn), "--", color="white", linewidth=1.0)
    for spectrum, marker, size, color, words in (
        (edmd[edmd.residuals > BELIEVED], "x", 4.5, "black", "EDMD, residual > 0.1"),
        (certified, "o", 11, COLORS[1], "certified"),
        (edmd.within(BELIEVED), "o", 4.5, "white", "EDMD, residual ≤ 0.1"),
    ):
        ax.plot(
            spectrum.eigenvalues.real,
            spectrum.eigenvalues.imag,
            marker,
            markersize=size,
            color=color,
            markerfacecolor="none" if spectrum is certified else color,
            markeredgecolor="black" if words.endswith("≤ 0.1") else color,
            markeredgewidth=1.8 if spectrum is certified else 0.9,
            label=f"{words} ({len(spectrum)})",
            zorder=3,
        )
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, fontsize="small")
    ax.set(xlabel="Re λ", ylabel="Im λ", xlim=(-RADIUS, RADIUS), ylim=(-RADIUS, RADIUS), aspect="equal")
    ax.grid(False)
    bar = figure.colorbar(shades, ax=ax, label="residual")
    ticks = [tick for tick in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1) if np.log10(tick) >= levels[0] - 1e-9]
    bar.set_ticks([float(np.log10(tick)) for tick in ticks], labels=[f"{tick:g}" for tick in ticks])
    return figure


def _draw_residuals(edmd: Spectrum, certified: Spectrum, n_kept: int) -> Figure:
    figure, axes = new_figure(width=5.2, height=3.4)
    ax = axes[0, 0]
    ax.semilogy(np.arange(1, len(edmd) + 1), np.maximum(edmd.residuals, 1e-16), ".-", label="eigenpairs of EDMD")
    if len(certified):
        ax.axhline(max(certified.certificate, 1e-16), ls="--", color=COLORS[1], label="certificate")
    if n_kept < len(edmd):
        ax.axvline(n_kept + 0.5, ls=":", color="black", label=f"the first {n_kept} are used in forecasts")
    ax.set(xlabel="eigenpair", ylabel="residual")
    ax.legend(loc="lower right")
    return figure


def _draw_forecast(forecast: np.ndarray, truth: np.ndarray, last: np.ndarray, names: tuple[str, ...]) -> Figure:
    n_shown = min(3, truth.shape[1])
    figure, axes = new_figure(n_shown, 1, width=6.4, height=1.2 + 1.7 * n_shown, sharex=True)
    steps = np.arange(1, len(truth) + 1)
    for j, ax in enumerate(axes[:, 0]):
        ax.plot(steps, truth[:, j], color="black", label="truth")
        ax.plot(steps, forecast[:, j], "--", color=COLORS[1], label="forecast")
        ax.axhline(last[j], ls=":", color=COLORS[4], label="persistence")
        margin = 0.3 * float(np.ptp(truth[:, j])) or 1.0
        ax.set(ylabel=names[j], ylim=(truth[:, j].min() - margin, truth[:, j].max() + margin))
    axes[0, 0].legend(ncols=3, loc="upper right")
    axes[-1, 0].set_xlabel("steps after the training data")
    return figure

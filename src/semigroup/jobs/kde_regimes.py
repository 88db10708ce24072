"""KDERegimes on a file: the log-density of each row, in which regime it is, and what every bandwidth rule gives."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from semigroup.data.files import read_points
from semigroup.data.images import digits
from semigroup.densities.kde_regimes import (
    KERNELS,
    KDERegimes,
    condensed_participation,
    local_condensation,
    nearest_distances,
    phase_diagram,
)
from semigroup.jobs import Context, Outcome, Picture
from semigroup.report.figures import COLORS, new_figure

__all__ = ["Sample", "perform", "read"]

N_CURVE = 25  # bandwidths in the picture
STABILITY = (3, 5, 10, 20)
RULES = ("nn", "kl", "cv", "scott", "silverman")
VERDICTS = ("condensed", "stable", "clt", "empty", "undetermined")


@dataclass(frozen=True)
class Sample:
    """Points to estimate a density from, and perhaps others to evaluate it at.

    Attributes
    ----------
    points : array, shape (n, dim)
    fresh : array, shape (m, dim), or None
        Where it is None, the points themselves are evaluated, each without itself.
    """

    points: Float[np.ndarray, "n dim"]
    fresh: Float[np.ndarray, "m dim"] | None


def read(files: Sequence[Path]) -> Sample:
    """The points, one file; optionally the points to evaluate in a second one.

    Without files: scikit-learn's images of digits, 1400 of them to estimate from and 397 to evaluate.
    """
    if not files:
        images = digits()[0].reshape(-1, 64)
        images = images[np.random.default_rng(0).permutation(len(images))]
        return Sample(images[:1400], images[1400:])
    if len(files) > 2:
        raise ValueError(
            f"{files[2]}: points and at most one file of rows to evaluate are wanted, got {len(files)} files"
        )
    clouds = [read_points(path).points for path in files]
    if len(clouds[0]) < 2:
        raise ValueError(f"{files[0]}: an estimate needs at least 2 points, got {len(clouds[0])}")
    if len(clouds) == 2 and clouds[1].shape[1] != clouds[0].shape[1]:
        raise ValueError(f"{files[1]}: has {clouds[1].shape[1]} columns, {files[0]} has {clouds[0].shape[1]}")
    return Sample(clouds[0], clouds[1] if len(clouds) == 2 else None)


def perform(estimator: KDERegimes, data: Sample, context: Context) -> Outcome:
    """Fit, evaluate, and hold the bandwidth against those of all rules."""
    start = time.perf_counter()
    estimator.fit(data.points)
    seconds = time.perf_counter() - start
    rows = estimator.probes_ if data.fresh is None else np.arange(len(data.fresh))
    start = time.perf_counter()
    log_density = _log_density(estimator, data)
    evaluation = time.perf_counter() - start
    regime = estimator.regime(data.fresh)
    rules = _rules(estimator, data)
    reached = rules[np.isfinite(rules["log_density_per_dimension"])]
    bests = "no rule reaches all of them"
    if len(reached):
        bests = f"of all rules '{reached['rule'].iloc[reached['log_density_per_dimension'].argmax()]}' has the highest"
    dim = estimator.n_features_in_
    shares = {name: float((regime.verdict == name).mean()) for name in VERDICTS}
    found = estimator.thresholds_
    metrics = {
        "n_points": float(len(data.points)),
        "dim": float(dim),
        "alpha": estimator.alpha_,
        "bandwidth": estimator.bandwidth_,
        "mean_log_density_per_dimension": float(log_density.mean()) / dim,
        "median_effective_points": float(np.nanmedian(regime.n_effective)) if shares["empty"] < 1 else 0.0,
        "median_local_condensation": _median(regime.condensation),
        "gaussian_condensation": found.condensation,
        "gaussian_clt": found.clt,
        **{f"share_{name}": share for name, share in shares.items()},
        "fit_seconds": seconds,
        "evaluation_seconds": evaluation,
    }
    what = "fresh rows" if data.fresh is not None else "points, each without itself"
    summary = (
        f"{len(data.points)} points in {dim} dimensions (alpha = {estimator.alpha_:.3g}), bandwidth {estimator.bandwidth_:.3g}: "
        f"the estimate is condensed at {shares['condensed']:.0%} of {len(rows)} {what}; "
        f"{metrics['median_effective_points']:.3g} points carry it at the median. Mean log-density a dimension: "
        f"{metrics['mean_log_density_per_dimension']:.3f}; {bests}."
    )
    table = pd.DataFrame(
        {
            "row": rows,
            "log_density": log_density,
            "effective_points": regime.n_effective,
            "tail_index": regime.tail_index,
            "regime": regime.verdict,
        }
    )
    pictures = {
        "bandwidth": Picture(_draw_bandwidths(estimator, data, rules), _bandwidth_caption(data)),
        "phases": Picture(_draw_phases(estimator), _PHASES),
    }
    tables = {"rows": table, "rules": rules, "stability": _stability(estimator, data)}
    arrays = {"log_density": log_density, "participation": regime.participation, "tail_index": regime.tail_index}
    return Outcome(estimator, summary, metrics, arrays, tables, pictures)


def _log_density(estimator: KDERegimes, data: Sample) -> np.ndarray:
    """At the fresh rows, or at the probes without themselves."""
    if data.fresh is None:
        return estimator.leave_one_out(estimator.probes_)
    return estimator.score_samples(data.fresh)


def _queries(estimator: KDERegimes, data: Sample) -> np.ndarray:
    return estimator.points_[estimator.probes_] if data.fresh is None else data.fresh


def _at(estimator: KDERegimes, data: Sample, bandwidth: float) -> tuple[float, np.ndarray]:
    """Mean log-density a dimension with another bandwidth, and participations."""
    own = data.fresh is None
    sums = estimator._sums(_queries(estimator, data), bandwidth, moments=True, drop_zero=own)
    log_density = sums.log_sum - estimator._log_normalizer(bandwidth, len(estimator.points_) - own)
    return float(log_density.mean()) / estimator.n_features_in_, sums.participation


def _rules(estimator: KDERegimes, data: Sample) -> pd.DataFrame:
    """Bandwidth, mean log-density a dimension and effective points of each rule."""
    lines = []
    for rule in RULES:
        if rule in ("nn", "kl") and math.isfinite(KERNELS[estimator.kernel].support):
            continue
        h = estimator.bandwidth_ if rule == estimator.bandwidth else estimator.rule(rule)
        mean, participation = _at(estimator, data, h)
        effective = 1 / _median(participation)
        lines.append({"rule": rule, "bandwidth": h, "log_density_per_dimension": mean, "effective_points": effective})
    return pd.DataFrame(lines)


def _stability(estimator: KDERegimes, data: Sample) -> pd.DataFrame:
    """Median local threshold for several numbers of neighbours: a strong trend says that it is biased."""
    queries = _queries(estimator, data)
    # A query may coincide with one of the points that differ.
    most = len(np.unique(estimator.points_, axis=0)) - 2
    ks = [k for k in STABILITY if k <= most]
    distances = np.empty((0, 0))
    if ks:
        distances, _ = nearest_distances(queries, estimator.points_, ks[-1] + 1, n_jobs=estimator.n_jobs)
    medians = [_median(local_condensation(distances[:, : k + 1], estimator.kernel)) for k in ks]
    return pd.DataFrame({"n_neighbors": ks, "median_local_condensation": medians})


def _median(values: np.ndarray) -> float:
    """Of those that are numbers; NaN where none is."""
    numbers = values[~np.isnan(values)]
    return float(np.median(numbers)) if len(numbers) else math.nan


# --- pictures ------------------------------------------------------------------------------------------------------

_NAMES = {
    "nn": "nearest neighbour",
    "kl": "KL, Gaussian",
    "cv": "cross-validation",
    "scott": "Scott",
    "silverman": "Silverman",
}
_MARKS = dict(zip(RULES, "osD^v"))
_PHASES = (
    "The regimes in the plane of log(n) / d and bandwidth for a Gaussian with the data's covariance, and where the estimate "
    "stands."
)


def _bandwidth_caption(data: Sample) -> str:
    evaluated = "the points, each without itself" if data.fresh is None else "rows that the estimate has not seen"
    return (
        f"Mean log-density of {evaluated}, and the effective share of a single point in the estimate, against the bandwidth, "
        "with the bandwidths of all rules; grey: condensed by the median of the local thresholds."
    )


def _draw_bandwidths(estimator: KDERegimes, data: Sample, rules: pd.DataFrame) -> Figure:
    """Log-density and participation against the bandwidth."""
    figure, axes = new_figure(1, 2, width=10)
    local = _median(estimator.regime(data.fresh).condensation)
    grid = np.geomspace(0.55 * rules["bandwidth"].min(), 1.8 * np.nanmax([local, rules["bandwidth"].max()]), N_CURVE)
    curves = [_at(estimator, data, h) for h in grid.tolist()]
    values = np.array([mean for mean, _ in curves])
    shares = [np.nanmean(share) if np.isfinite(share).any() else np.nan for _, share in curves]
    for ax in axes[0]:
        if math.isfinite(local):
            ax.axvspan(grid[0], local, color="0.92", label="condensed", zorder=0)
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel("bandwidth h (units of the data)")
        ax.set_xlim(grid[0], grid[-1])
    axes[0, 0].plot(grid, values, color="black")
    finite = values[np.isfinite(values)]
    marks = zip(rules["rule"].tolist(), rules["bandwidth"], rules["log_density_per_dimension"], COLORS)
    style = {"linestyle": "none", "markersize": 8, "markerfacecolor": "none", "markeredgewidth": 1.8}
    for rule, h, value, color in marks:
        axes[0, 0].plot(h, value, marker=_MARKS[rule], color=color, label=_NAMES[rule], **style)
    if len(finite):
        top, low = (
            finite.max(),
            min(finite.max() - 0.5, rules["log_density_per_dimension"].replace(-np.inf, np.nan).min()),
        )
        axes[0, 0].set_ylim(low - 0.15 * (top - low), top + 0.1 * (top - low))
    axes[0, 0].set_ylabel("mean log-density / d (nats)")
    axes[0, 0].legend(fontsize="small")
    axes[0, 1].plot(grid, shares, color="black", label="mean over the rows")
    if estimator.kernel == "gaussian" and math.isfinite(local):
        axes[0, 1].plot(
            grid, condensed_participation((grid / local) ** 2), "--", color=COLORS[1], label="1 - (h / h_G)²"
        )
    axes[0, 1].plot(
        estimator.bandwidth_, np.interp(np.log(estimator.bandwidth_), np.log(grid), shares), "o", color="black"
    )
    axes[0, 1].set_ylim(-0.03, 1.03)
    axes[0, 1].set_ylabel("participation, sum of p²")
    axes[0, 1].legend(fontsize="small")
    return figure


def _draw_phases(estimator: KDERegimes) -> Figure:
    """Phase diagram with the estimate in it."""
    figure, axes = new_figure(1, 1, width=6)
    ax = axes[0, 0]
    dim = estimator.n_features_in_
    alphas = np.geomspace(max(estimator.alpha_ / 4, 0.7 / dim), estimator.alpha_ * 3, 14)
    diagram = phase_diagram(
        alphas, estimator.spectrum_, kernel=estimator.kernel, dim=dim, correction=estimator.correction
    )
    unit = math.sqrt(estimator.spectrum_.mean())
    names = {"clt": "central limit theorem above", "condensation": "condensed below", "optimum": "least divergence"}
    for (name, label), style, color in zip(names.items(), ("-", "--", ":"), COLORS):
        curve = getattr(diagram, name)
        if np.isfinite(curve).any():
            ax.plot(alphas, curve / unit, style, color=color, label=label)
    ax.fill_between(alphas, diagram.condensation / unit, color="0.92", zorder=0)
    ax.plot(estimator.alpha_, estimator.bandwidth_ / unit, "o", color="black", label="this estimate")
    ax.set_xlim(alphas[0], alphas[-1])
    ax.set_ylim(0, 1.1 * max(diagram.clt.max(), estimator.bandwidth_) / unit)
    ax.set_xlabel("log(n) / d")
    ax.set_ylabel("bandwidth (root mean variances)")
    ax.legend(fontsize="small")
    return figure

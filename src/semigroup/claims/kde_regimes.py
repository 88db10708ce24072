"""Claims of the paper on kernel density estimators in large dimensions.

The paper's figures are curves; what is measured against is its theory in closed form. Where only the distances from one fresh
point matter they are drawn directly from their law, so that n reaches tens of millions without points of d coordinates: for a
Gaussian they are sums of noncentral chi-squares. Bandwidths are in units of the asymptotic :math:`h_G` or :math:`h_{CLT}`, or of
:math:`h_{G,fs}`, the threshold at this n and d, where it says so. Every seed is a sample of its own; a spread is that over seeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import kstest, norm
from torch import Tensor

from semigroup.claims import Measurement, Scale, claim, side_by_side
from semigroup.data.images import digits, mnist
from semigroup.densities.kde_regimes import (
    GaussianLaw,
    KDERegimes,
    Law,
    SphereLaw,
    condensed_participation,
    fluctuation_law,
    kl_bandwidth,
    log_density_per_dimension,
    mean_log_density,
    thresholds,
)
from semigroup.report.figures import COLORS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALPHA = 0.2
N_SEEDS = 5
BATCH = 2**22  # distances held at a time


@dataclass(frozen=True)
class Sizes:
    """What a scale changes: trials a seed, dimensions, and the largest one of the condensed phase."""

    n_trials: int
    dims: tuple[int, ...]
    top: int


SIZES: dict[Scale, Sizes] = {
    "cpu": Sizes(200, (30, 50, 60), 50),
    "gpu": Sizes(1000, (30, 50, 60, 80), 80),
    "paper": Sizes(1000, (30, 50, 60, 80), 80),
}


def _device(scale: Scale) -> str:
    return "cuda" if scale != "cpu" and torch.cuda.is_available() else "cpu"


# --- distances by their law ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cloud:
    """A law of points as it can be drawn from: groups of directions, clusters, or the sphere.

    Attributes
    ----------
    name : str
    groups : tuple of (eigenvalue, share of the dimensions)
        Gaussian; empty for the sphere.
    separation : float
        Half of the points lie in another cluster, whose mean is at squared distance 4 d times this.
    """

    name: str
    groups: tuple[tuple[float, float], ...] = ((1.0, 1.0),)
    separation: float = 0.0

    @property
    def in_sight(self) -> float:
        """Share of the points that are in the cluster of x."""
        return 0.5 if self.separation else 1.0

    def law(self, dim: int) -> Law:
        """For the theory."""
        if not self.groups:
            return SphereLaw()
        return GaussianLaw(np.concatenate([np.full(m, value) for value, m in self._multiplicities(dim)]))

    def _multiplicities(self, dim: int) -> list[tuple[float, int]]:
        counts = [round(dim * share) for _, share in self.groups[1:]]
        return list(zip([value for value, _ in self.groups], [dim - sum(counts), *counts]))

    def draw(self, shape: tuple[int, int], dim: int, generator: torch.Generator, *, typical: bool) -> Tensor:
        """Energies |x - y|² / 2: a fresh point x in each row, its points in the columns.

        `typical` takes the squares of x at their means; otherwise x is drawn too.
        """
        like: dict[str, Any] = {"dtype": torch.float64, "device": generator.device}

        def chi_square(degrees: int, size: tuple[int, int]) -> Tensor:
            shapes = torch.full(size, degrees / 2, **like)
            return 2 * torch._standard_gamma(shapes, generator=generator) if degrees else torch.zeros(size, **like)

        if not self.groups:
            one, other = chi_square(dim - 1, shape), chi_square(dim - 1, shape)
            return 2 * dim * one / (one + other)  # the cosine of the angle is 1 - 2 Beta((d - 1) / 2, (d - 1) / 2)
        energy = torch.zeros(shape, **like)
        for i, (value, m) in enumerate(self._multiplicities(dim)):
            # |x| in this group, in units of its deviation; one coordinate along it, the others across.
            radius = torch.full((shape[0], 1), float(m), **like) if typical else chi_square(m, (shape[0], 1))
            shift = radius.sqrt()
            if i == 0 and self.separation:
                # Across the clusters: the other one's mean adds its square and, for a typical x, nothing else.
                far = torch.rand(shape, generator=generator, **like) < 0.5
                shift = (radius + far * (4 * dim * self.separation / value)).sqrt()
            along = torch.randn(shape, generator=generator, **like) + shift
            energy += value / 2 * (along**2 + chi_square(m - 1, shape))
        return energy


ISOTROPIC = Cloud("C = I")
CLOUDS = (
    ISOTROPIC,
    Cloud("a tenth of the eigenvalues 5", ((1.0, 0.9), (5.0, 0.1))),
    Cloud("two clusters, |m|² = d / 2", separation=0.5),
    Cloud("sphere", ()),
)


@dataclass(frozen=True)
class Trials:
    """Estimates at fresh points, one row a trial and one column a bandwidth.

    Attributes
    ----------
    log_sum : array, shape (trials, bandwidths)
        log Z.
    participation : array, shape (trials, bandwidths)
    """

    log_sum: Float[np.ndarray, "trials h"]
    participation: Float[np.ndarray, "trials h"]


def simulate(
    cloud: Cloud,
    alpha: float,
    dim: int,
    bandwidths: tuple[float, ...],
    n_trials: int,
    seed: int,
    device: str = "cpu",
    typical: bool = True,
) -> Trials:
    """Draw the distances from fresh points and sum their weights at each bandwidth."""
    n = round(math.exp(alpha * dim))
    generator = torch.Generator(device=device).manual_seed(seed)
    rows = max(1, (BATCH if device == "cpu" else 32 * BATCH) // n)
    log_sums, participations = [], []
    for start in range(0, n_trials, rows):
        energy = cloud.draw((min(rows, n_trials - start), n), dim, generator, typical=typical)
        lowest = energy.amin(dim=1, keepdim=True)
        energy -= lowest
        sums, squares = [], []
        for h in bandwidths:
            weight = torch.exp(energy / -(h**2))
            total = weight.sum(dim=1)
            sums.append(total.log() - lowest[:, 0] / h**2)
            squares.append(weight.square().sum(dim=1) / total**2)
        log_sums.append(torch.stack(sums, dim=1))
        participations.append(torch.stack(squares, dim=1))
    return Trials(torch.cat(log_sums).cpu().numpy(), torch.cat(participations).cpu().numpy())


# --- 1: three regimes ------------------------------------------------------------------------------------------------


def log_moment(power: int, bandwidth: float, dim: int) -> float:
    """log E w^power of one point, exact for the isotropic Gaussian and a typical x."""
    a = power / bandwidth**2
    return -dim / 2 * math.log1p(a) - a * dim / (2 * (1 + a))


def spread_ratio(log_sum: Float[np.ndarray, " trials"], bandwidth: float, dim: int, n: int) -> float:
    """Spread of Z by its quartiles, over its exact standard deviation; both near 1 where the central limit theorem holds."""
    first, second = log_moment(1, bandwidth, dim), log_moment(2, bandwidth, dim)
    relative = np.exp(log_sum - math.log(n) - first)
    deviation = math.sqrt(math.expm1(second - 2 * first) / n)
    low, high = np.quantile(relative, [0.25, 0.75])
    return float((high - low) / (norm.ppf(0.75) - norm.ppf(0.25)) / deviation)


RATIOS = (0.6, 0.75, 0.9, 1.0, 1.15, 1.4)


@claim(
    "kde-regimes",
    1,
    says="The central limit theorem for the estimate holds above a threshold of the bandwidth, √2 times that of condensation, "
    "and fails below it.",
    source="Abstract; phase diagram",
)
def central_limit_theorem_ends_at_a_threshold(scale: Scale) -> Measurement:
    """At 1.15 and 1.4 h_CLT at least 0.9 in every dimension, at 0.75 below 0.3 and falling with d; set before the run."""
    return spread_against_bandwidth(SIZES[scale].dims, 3 * SIZES[scale].n_trials, _device(scale))


def spread_against_bandwidth(dims: tuple[int, ...], n_trials: int, device: str = "cpu") -> Measurement:
    """Claim 1 at any size."""
    bandwidths = tuple(r * thresholds(ALPHA).clt for r in RATIOS)
    cases = [(ISOTROPIC, ALPHA, dim, bandwidths, n_trials, seed, device) for dim in dims for seed in range(N_SEEDS)]
    runs = side_by_side(simulate, cases, device)
    values = np.empty((len(dims), N_SEEDS, len(RATIOS)))
    for i, (case, run) in enumerate(zip(cases, runs)):
        n = round(math.exp(ALPHA * case[2]))
        row = [spread_ratio(run.log_sum[:, j], h, case[2], n) for j, h in enumerate(bandwidths)]
        values[i // N_SEEDS, i % N_SEEDS] = row
    mean, spread = values.mean(axis=1), values.std(axis=1, ddof=1)
    below = mean[:, RATIOS.index(0.75)]
    holds = bool((mean[:, -2:] >= 0.9).all() and (below < 0.3).all() and (np.diff(below) < 0).all())
    table: list[dict[str, Any]] = [
        {"d": dim, "n": round(math.exp(ALPHA * dim)), "h / h_CLT": r, "ratio": mean[i, j], "spread": spread[i, j]}
        for i, dim in enumerate(dims)
        for j, r in enumerate(RATIOS)
    ]
    return Measurement(
        figure=float(below[-1]),
        holds=holds,
        threshold=">= 0.9 at 1.15 and 1.4 h_CLT in every dimension; < 0.3 at 0.75 h_CLT and falling with d",
        unit=f"spread of Z by quartiles over its exact standard deviation, at 0.75 h_CLT, d = {dims[-1]}",
        paper="h_CLT = √2 h_G; heavy tails below",
        baseline=float(mean[-1, -1]),
        baseline_name="the same at 1.4 h_CLT",
        spread=float(spread[-1, RATIOS.index(0.75)]),
        n_seeds=N_SEEDS,
        table=table,
        note=f"alpha = {ALPHA}, isotropic Gaussian, {n_trials} trials a seed. The transition sharpens slowly: n = exp(alpha d).",
        plot=_draw_spread(dims, mean, spread),
    )


def _draw_spread(dims: tuple[int, ...], mean: np.ndarray, spread: np.ndarray) -> Figure:
    figure, axes = new_figure(1, 1, width=6)
    ax = axes[0, 0]
    ax.axvspan(min(RATIOS), 1 / math.sqrt(2), color="0.9", label="condensed", zorder=0)
    ax.axvspan(1 / math.sqrt(2), 1, color="0.96", label="stable", zorder=0)
    for i, (dim, color, style) in enumerate(zip(dims, COLORS, ("o-", "s--", "^:", "v-."))):
        ax.errorbar(RATIOS, mean[i], spread[i], fmt=style, color=color, label=f"d = {dim}", markersize=4, capsize=2)
    ax.axhline(1, color="black", linewidth=0.8)
    ax.set_xlabel("bandwidth / h_CLT")
    ax.set_ylabel("spread by quartiles / exact deviation")
    ax.legend(fontsize="small")
    return figure


# --- 2: stable fluctuations ------------------------------------------------------------------------------------------


class StandardLaw:
    """Distribution function of a stable law, as it is or with its median at 0 and its quartiles 1 apart."""

    def __init__(self, tail_index: float) -> None:
        self.law = fluctuation_law(tail_index)
        # Dense in the middle and out to where 1e-4 is left; scipy's integrals take a millisecond each.
        scale = self.law.kwds["scale"]
        if tail_index < 1:
            self.grid = scale * np.geomspace(1e-6, 10 ** (4 / tail_index), 500)
        else:
            self.grid = scale * np.concatenate(
                [np.linspace(-6, 12, 400), np.geomspace(12, 10 ** (4 / tail_index), 60)[1:]]
            )
        self.values = np.maximum.accumulate(self.law.cdf(self.grid))

    def cdf(self, x: np.ndarray) -> np.ndarray:
        """P(S <= x)."""
        return np.interp(x, self.grid, self.values, left=0.0)

    def standard_cdf(self, x: np.ndarray) -> np.ndarray:
        """P((S - median) / interquartile range <= x)."""
        q1, q2, q3 = np.interp([0.25, 0.5, 0.75], self.values, self.grid)
        return self.cdf(q2 + x * (q3 - q1))


def standardised(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Median 0 and quartiles 1 apart."""
    q1, q2, q3 = np.quantile(x, [0.25, 0.5, 0.75])
    return (x - q2) / (q3 - q1)


def normal_cdf(x: np.ndarray) -> np.ndarray:
    """The normal law with quartiles 1 apart."""
    return norm.cdf(x * (norm.ppf(0.75) - norm.ppf(0.25)))


FREE = (0.5, 0.7)  # below the threshold nothing is fitted
FITTED = (1.1, 1.2, 1.3)


@claim(
    "kde-regimes",
    2,
    says="Between the thresholds the estimate fluctuates by a totally skewed stable law, and below by one without its mean.",
    source="Abstract; heavy-tailed regime",
)
def fluctuations_follow_a_stable_law(scale: Scale) -> Measurement:
    """Mean KS distance over seeds <= 0.05 at 1.1 and 1.2 h_Gfs, the normal law's >= 1.5 times that; <= 0.08 at 0.5 and 0.7."""
    return distance_to_stable_law(SIZES[scale].top, max(1000, SIZES[scale].n_trials), _device(scale))


def distance_to_stable_law(dim: int, n_trials: int, device: str = "cpu") -> Measurement:
    """Claim 2 at any size."""
    found = thresholds(ALPHA, dim=dim, correction="finite")
    ratios = (*FREE, *FITTED)
    bandwidths = tuple(r * found.condensation for r in ratios)
    runs = side_by_side(
        simulate, [(ISOTROPIC, ALPHA, dim, bandwidths, n_trials, s, device) for s in range(N_SEEDS)], device
    )
    table: list[dict[str, Any]] = []
    pictures: list[tuple[float, np.ndarray, StandardLaw]] = []
    for j, (r, h) in enumerate(zip(ratios, bandwidths)):
        law = StandardLaw(found.tail_index(h))
        shift = found.edge_squared_distance * dim / (2 * h**2)
        sums = [np.exp(run.log_sum[:, j] + shift) for run in runs]
        stable = [kstest(s, law.cdf) if r in FREE else kstest(standardised(s), law.standard_cdf) for s in sums]
        normal = [kstest(standardised(s), normal_cdf).statistic for s in sums]
        statistic = [test.statistic for test in stable]
        table.append(
            {
                "h / h_Gfs": r,
                "tail index": found.tail_index(h),
                "KS to stable": float(np.mean(statistic)),
                "spread": float(np.std(statistic, ddof=1)),
                "KS to normal": float(np.mean(normal)),
                "fitted": "nothing" if r in FREE else "median and quartiles",
            }
        )
        pictures.append((r, sums[0], law))
    value = {row["h / h_Gfs"]: row for row in table}
    holds = all(value[r]["KS to stable"] <= 0.08 for r in FREE) and all(
        value[r]["KS to stable"] <= 0.05 and value[r]["KS to normal"] >= 1.5 * value[r]["KS to stable"]
        for r in FITTED[:2]
    )
    return Measurement(
        figure=value[1.2]["KS to stable"],
        holds=holds,
        threshold="<= 0.05 at 1.1 and 1.2 h_Gfs, the normal law >= 1.5 times as far; <= 0.08 at 0.5 and 0.7 with nothing fitted",
        unit=f"KS distance of Z at 1.2 h_Gfs to its stable law, d = {dim}",
        paper="totally skewed stable law of index (h / h_G)²",
        baseline=value[1.2]["KS to normal"],
        baseline_name="KS distance to the normal law",
        spread=value[1.2]["spread"],
        n_seeds=N_SEEDS,
        table=table,
        note=f"alpha = {ALPHA}, {n_trials} trials a seed; a sample of the law itself is {0.87 / math.sqrt(n_trials):.3f} away. "
        "Above the threshold both laws are given the median and the quartiles.",
        plot=_draw_stable(pictures),
    )


def _draw_stable(pictures: list[tuple[float, np.ndarray, StandardLaw]]) -> Figure:
    chosen = [picture for picture in pictures if picture[0] in (0.5, 1.2)]
    figure, axes = new_figure(1, 2, width=10)
    for ax, (ratio, sums, law) in zip(axes[0], chosen):
        if ratio in FREE:
            x = np.sort(np.log(sums))
            grid = np.linspace(np.quantile(x, 0.002), np.quantile(x, 0.998), 300)
            ax.plot(grid, law.cdf(np.exp(grid)), "--", color=COLORS[1], label="stable law, nothing fitted")
            ax.set_xlabel("log of the sum, from the edge")
        else:
            x = np.sort(standardised(sums))
            grid = np.linspace(x[0], np.quantile(x, 0.99), 300)
            ax.plot(grid, law.standard_cdf(grid), "--", color=COLORS[1], label="stable law")
            ax.plot(grid, normal_cdf(grid), ":", color=COLORS[2], label="normal law")
            ax.set_xlabel("sum, by median and quartiles")
        ax.step(x, (np.arange(len(x)) + 0.5) / len(x), color="black", label="simulated", linewidth=1)
        ax.set_xlim(grid[0], grid[-1])
        ax.set_ylabel("distribution function")
        ax.set_title(f"h = {ratio:g} h_Gfs")
        ax.legend(fontsize="small", loc="lower right")
    return figure


# --- 3: condensation ---------------------------------------------------------------------------------------------------


SHARES = (0.4, 0.5, 0.6, 0.65, 0.8, 1.0, 1.25, math.sqrt(2))


@claim(
    "kde-regimes",
    3,
    says="Below the threshold of condensation a few nearest points carry the estimate, with shares of a Poisson-Dirichlet law.",
    source="Abstract; extreme-value regime",
)
def few_points_carry_the_condensed_estimate(scale: Scale) -> Measurement:
    """Participation within 0.07 of 1 - (h / h_Gfs)² up to 0.65 h_G and < 0.1 from 1.25 h_G on; within 0.03 where d = 80."""
    sizes = SIZES[scale]
    dims = tuple(dim for dim in sizes.dims if dim != 60)
    return participation_against_bandwidth(dims, 2 * sizes.n_trials, 0.07 if sizes.top < 80 else 0.03, _device(scale))


def participation_against_bandwidth(
    dims: tuple[int, ...], n_trials: int, tolerance: float, device: str = "cpu"
) -> Measurement:
    """Claim 3 at any size."""
    bandwidths = tuple(r * thresholds(ALPHA).condensation for r in SHARES)
    cases = [(ISOTROPIC, ALPHA, dim, bandwidths, n_trials, seed, device) for dim in dims for seed in range(N_SEEDS)]
    runs = side_by_side(simulate, cases, device)
    values = np.array([run.participation.mean(axis=0) for run in runs]).reshape(len(dims), N_SEEDS, -1)
    mean, spread = values.mean(axis=1), values.std(axis=1, ddof=1)
    theory = np.array(
        [
            condensed_participation(
                (np.array(bandwidths) / thresholds(ALPHA, dim=d, correction="finite").condensation) ** 2
            )
            for d in dims
        ]
    )
    cold, hot = np.array(SHARES) <= 0.65, np.array(SHARES) >= 1.25
    gap = float(np.abs(mean - theory)[-1, cold].max())
    falls = bool((np.diff(mean[:, hot], axis=0) < 0).all())
    table: list[dict[str, Any]] = [
        {"d": d, "h / h_G": r, "participation": mean[i, j], "spread": spread[i, j], "1 - mu, finite": theory[i, j]}
        for i, d in enumerate(dims)
        for j, r in enumerate(SHARES)
    ]
    return Measurement(
        figure=gap,
        holds=gap <= tolerance and bool((mean[-1, hot] < 0.1).all()) and falls,
        threshold=f"within {tolerance} up to 0.65 h_G; < 0.1 from 1.25 h_G on, and falling with d there",
        unit=f"largest difference of the mean participation from 1 - (h / h_Gfs)², h <= 0.65 h_G, d = {dims[-1]}",
        paper="1 - (h / h_G)² below, 0 above",
        baseline=float(mean[-1, -1]),
        baseline_name="mean participation at √2 h_G",
        spread=float(spread[-1, cold].max()),
        n_seeds=N_SEEDS,
        table=table,
        note=f"alpha = {ALPHA}, isotropic Gaussian, {n_trials} trials a seed.",
        plot=_draw_participation(dims, mean, spread),
    )


def _draw_participation(dims: tuple[int, ...], mean: np.ndarray, spread: np.ndarray) -> Figure:
    figure, axes = new_figure(1, 1, width=6)
    ax = axes[0, 0]
    fine = np.linspace(SHARES[0], SHARES[-1], 200)
    for i, (dim, color, mark) in enumerate(zip(dims, COLORS, "os^v")):
        ax.errorbar(SHARES, mean[i], spread[i], fmt=mark, color=color, label=f"d = {dim}", markersize=5, capsize=2)
        limit = thresholds(ALPHA, dim=dim, correction="finite").condensation / thresholds(ALPHA).condensation
        ax.plot(fine, condensed_participation((fine / limit) ** 2), "--", color=color, linewidth=1)
    ax.plot(fine, condensed_participation(fine**2), color="black", label="1 - (h / h_G)², d → ∞")
    ax.plot([], [], "--", color="0.4", label="1 - (h / h_Gfs)²")
    ax.set_xlabel("bandwidth / h_G")
    ax.set_ylabel("participation, sum of p²")
    ax.legend(fontsize="small")
    return figure


# --- 4: the optimum ------------------------------------------------------------------------------------------------------

CASES = ((0.2, 20), (0.2, 40), (0.2, 50), (0.1, 50), (0.3, 30), (0.5, 16))


def empirical_optimum(alpha: float, dim: int, n_trials: int, seed: int, device: str = "cpu") -> float:
    """The bandwidth of the highest mean log-density at fresh points, by a parabola through the best of a grid."""
    grid = kl_bandwidth(alpha) * np.geomspace(0.75, 1.6, 21)
    run = simulate(ISOTROPIC, alpha, dim, tuple(grid.tolist()), n_trials, seed, device, False)
    mean = run.log_sum.mean(axis=0) - dim * np.log(grid)
    best = int(np.clip(mean.argmax(), 2, len(grid) - 3))
    near = slice(best - 2, best + 3)
    bend, slope, _ = np.polyfit(np.log(grid[near] / grid[best]), mean[near], 2)
    return float(grid[best] * math.exp(-slope / (2 * bend)))


@claim(
    "kde-regimes",
    4,
    says="The bandwidth of least Kullback-Leibler divergence lies in the condensed phase, and tends to its closed form.",
    source="Abstract; optimal bandwidth",
)
def best_bandwidth_is_condensed(scale: Scale) -> Measurement:
    """Below h_Gfs in every case with alpha <= 0.3; within 15 % of h_* at alpha = 0.2, d = 20, within 10 % at d = 40, and nearer
    as d grows. At alpha = 0.5 the limit is 0.95 h_G, and the exact mean at finite n and d puts the best bandwidth 1 % above
    h_Gfs at the dimensions that can be simulated (below it for d > 32, n = 10^7): reported, not judged. Set before the run.
    """
    cases = CASES if scale == "cpu" else (*CASES, (0.2, 70), (0.1, 120))
    return optimum_against_theory(cases, 10 * SIZES[scale].n_trials, _device(scale))


def optimum_against_theory(
    cases: tuple[tuple[float, int], ...], n_trials: int, device: str = "cpu", bound: float = 0.10
) -> Measurement:
    """Claim 4 at any size."""
    runs = side_by_side(
        empirical_optimum, [(*case, n_trials, seed, device) for case in cases for seed in range(N_SEEDS)], device
    )
    values = np.array(runs).reshape(len(cases), N_SEEDS)
    table: list[dict[str, Any]] = []
    for (alpha, dim), found in zip(cases, values):
        theory = kl_bandwidth(alpha)
        finite = kl_bandwidth(alpha, dim=dim, correction="finite")
        threshold = thresholds(alpha, dim=dim, correction="finite").condensation
        table.append(
            {
                "alpha": alpha,
                "d": dim,
                "n": round(math.exp(alpha * dim)),
                "best h": float(found.mean()),
                "spread": float(found.std(ddof=1)),
                "h_*": theory,
                "h_* finite": finite,
                "off h_*": float(abs(found.mean() / theory - 1)),
                "off h_* finite": float(abs(found.mean() / finite - 1)),
                "best h / h_Gfs": float(found.mean() / threshold),
            }
        )
    gaps = [row["off h_*"] for row in table if row["alpha"] == ALPHA]
    judged = max((row for row in table if row["alpha"] <= 0.3), key=lambda row: row["best h / h_Gfs"])
    highest = judged["best h / h_Gfs"]
    at_40 = next(row for row in table if (row["alpha"], row["d"]) == (ALPHA, 40))
    holds = highest < 1 and gaps[0] <= 0.15 and at_40["off h_*"] <= bound and bool((np.diff(gaps) < 0).all())
    return Measurement(
        figure=highest,
        holds=holds,
        threshold="< 1 in every case with alpha <= 0.3; "
        f"off h_* by <= 15 % at d = 20 and <= {bound:.0%} at d = 40 (alpha = 0.2), falling with d",
        unit="largest best bandwidth / h_Gfs over the cases with alpha <= 0.3",
        paper="h_* < h_G for every alpha",
        baseline=at_40["off h_*"],
        baseline_name="relative distance to h_* at alpha = 0.2, d = 40",
        spread=judged["spread"] / judged["best h"] * highest,
        n_seeds=N_SEEDS,
        table=table,
        note=f"{n_trials} fresh points a seed, each with points of its own; 'h_* finite' maximises the mean at this n and d. At "
        "alpha = 0.5 it lies 1 % above h_Gfs for d = 16 and below for d > 32.",
        plot=_draw_optimum(table),
    )


def _draw_optimum(table: list[dict[str, Any]]) -> Figure:
    figure, axes = new_figure(1, 1, width=6)
    ax = axes[0, 0]
    places = np.arange(len(table))
    limits = [thresholds(row["alpha"], dim=row["d"], correction="finite").condensation for row in table]
    ax.bar(places, limits, color="0.92", label="condensed below h_Gfs", width=0.8)
    ax.plot(
        places,
        [row["h_*"] for row in table],
        "_",
        color=COLORS[1],
        markersize=22,
        markeredgewidth=2,
        label="h_*, d → ∞",
    )
    ax.plot(
        places, [row["h_* finite"] for row in table], "x", color=COLORS[2], markersize=8, label="h_* at this n and d"
    )
    ax.errorbar(
        places,
        [row["best h"] for row in table],
        [row["spread"] for row in table],
        fmt="o",
        color="black",
        label="simulated best",
    )
    ax.set_xticks(places, [f"{row['alpha']:g}\n{row['d']}" for row in table])
    ax.set_xlabel("alpha (above), d (below)")
    ax.set_ylabel("bandwidth")
    ax.set_ylim(0, 1.35 * max(limits))
    ax.legend(fontsize="small", ncols=2)
    ax.grid(axis="x", visible=False)
    return figure


# --- 5: rules ----------------------------------------------------------------------------------------------------------------

RULES = ("nn", "kl", "scott", "silverman")


def rule_excess(dim: int, n: int, n_sets: int, seed: int) -> list[float]:
    """Mean log-density a dimension lost by each rule against the best bandwidth, on Gaussian points and held-out ones."""
    rng = np.random.default_rng([seed, dim, n])
    optimum = kl_bandwidth(math.log(n) / dim, dim=dim, correction="finite")
    # The best of fresh points is 0.9 to 1.4 times the optimum of a typical one, in two dimensions as in fifty.
    grid = np.geomspace(0.4 * optimum, 2.2 * optimum, 41)
    curve, rules = np.zeros(len(grid)), np.zeros(len(RULES))
    for _ in range(n_sets):
        points, fresh = rng.standard_normal((n, dim)), rng.standard_normal((1000, dim))
        model = KDERegimes(n_jobs=1, n_probes=1000, random_state=seed)
        curve += [model.set_params(bandwidth=h).fit(points).score(fresh) for h in grid.tolist()]
        rules += [model.set_params(bandwidth=rule).fit(points).score(fresh) for rule in RULES]
    return ((curve.max() - rules) / n_sets / dim).tolist()


def image_scores(name: str, n_train: int, n_test: int, seed: int) -> dict[str, float]:
    """Held-out log-density a dimension of each rule and of cross-validation, on images scaled to [0, 1]."""
    images = digits()[0] if name == "digits" else mnist()[0] / 255
    flat = images.reshape(len(images), -1)
    flat = flat[np.random.default_rng(seed).permutation(len(flat))]
    train, test = flat[:n_train], flat[n_train : n_train + n_test]
    model = KDERegimes(n_jobs=1, n_probes=500, random_state=seed)
    return {
        rule: model.set_params(bandwidth=rule).fit(train).score(test) / flat.shape[1]
        for rule in ("nn", "cv", "scott", "silverman")
    }


@claim(
    "kde-regimes",
    5,
    says="The bandwidth of the condensed phase, by the mean distance to the nearest neighbour, beats the classical rules.",
    source="Consequence of the optimal bandwidth",
)
def nearest_neighbour_rule_beats_the_classical_rules(scale: Scale) -> Measurement:
    """Lost against the best bandwidth, nats a dimension, alpha = 0.2, d = 20 to 50: Scott >= 0.015, Silverman >= 0.03, the
    rule <= 0.005; on digits within 0.02 of cross-validation, Scott >= 0.1 behind; never behind Scott in these cases.

    MNIST is a case of the last kind. A first run asked of it, too, that Scott be 0.1 behind, which this sentence never said,
    and failed there: on MNIST the mean deviation of the columns, most of them empty, happens to be near the best bandwidth.
    """
    n_sets = {20: 40, 30: 10, 40: 2, 50: 1} if scale == "cpu" else {20: 400, 30: 100, 40: 20, 50: 10}
    images = (
        (("digits", 1400, 397), ("mnist", 4000, 1000))
        if scale == "cpu"
        else (("digits", 1400, 397), ("mnist", 9000, 1000))
    )
    return rules_against_best(n_sets, (1, 2, 3, 5, 8, 12, 16, 20), images)


def rules_against_best(
    n_sets: dict[int, int], low: tuple[int, ...], images: tuple[tuple[str, int, int], ...]
) -> Measurement:
    """Claim 5 at any size."""
    settings = [(dim, round(math.exp(ALPHA * dim)), sets) for dim, sets in n_sets.items()] + [(d, 1000, 2) for d in low]
    runs = side_by_side(rule_excess, [(*setting, seed) for setting in settings for seed in range(N_SEEDS)])
    excess = np.array(runs).reshape(len(settings), N_SEEDS, len(RULES))
    mean, spread = excess.mean(axis=1), excess.std(axis=1, ddof=1)
    table: list[dict[str, Any]] = []
    for (dim, n, _), values, errors in zip(settings, mean, spread):
        row: dict[str, Any] = {"data": "Gaussian", "d": dim, "n": n}
        row |= {f"lost by {rule}": float(v) for rule, v in zip(RULES, values)}
        table.append(row | {"spread of nn": float(errors[0])})
    scores = side_by_side(image_scores, [(*setting, seed) for setting in images for seed in range(N_SEEDS)])
    good = True
    for i, (name, n, _) in enumerate(images):
        own = scores[i * N_SEEDS : (i + 1) * N_SEEDS]
        means = {rule: float(np.mean([score[rule] for score in own])) for rule in own[0]}
        best = max(means["cv"], means["nn"])
        ahead = means["nn"] - means["scott"]
        good &= means["nn"] >= means["cv"] - 0.02 and (ahead >= 0.1 if name == "digits" else ahead > 0)
        table.append(
            {"data": name, "d": 64 if name == "digits" else 784, "n": n}
            | {f"lost by {rule}": best - value for rule, value in means.items()}
            | {"spread of nn": float(np.std([score["nn"] - score["cv"] for score in own], ddof=1))}
        )
    high = mean[: len(n_sets)]
    holds = bool(
        (high[:, 0] <= 0.005).all()
        and (high[:, RULES.index("scott")] >= 0.015).all()
        and (high[:, RULES.index("silverman")] >= 0.03).all()
        and (high[:, 0] < high[:, RULES.index("scott")]).all()
        and good
    )
    behind = [
        dim
        for (dim, *_), values in zip(settings[len(n_sets) :], mean[len(n_sets) :])
        if values[0] > values[RULES.index("scott")]
    ]
    crossover = (
        f"With n = 1000 the rule is behind Scott's in d = {', '.join(map(str, behind))}: it under-smooths where many points "
        "would share the estimate at the optimum."
        if behind
        else "With n = 1000 the rule is nowhere behind Scott's."
    )
    return Measurement(
        figure=float(high[:, 0].max()),
        holds=holds,
        threshold="rule <= 0.005, Scott >= 0.015, Silverman >= 0.03 behind the best at d = 20 to 50; images: rule within 0.02 of "
        "cross-validation, Scott behind the rule, on digits >= 0.1",
        unit="nats a dimension lost by the nearest-neighbour rule against the best bandwidth, worst case",
        baseline=float(high[:, RULES.index("scott")].min()),
        baseline_name="lost by Scott's rule, best case",
        spread=float(spread[: len(n_sets), 0].max()),
        n_seeds=N_SEEDS,
        table=table,
        note=f"Scott's and Silverman's rules are in units of the columns' mean deviation. {crossover}",
        plot=_draw_rules(settings, mean, spread, len(n_sets)),
    )


def _draw_rules(settings: list[tuple[int, int, int]], mean: np.ndarray, spread: np.ndarray, n_high: int) -> Figure:
    figure, axes = new_figure(1, 2, width=10)
    names = {"nn": "nearest neighbour", "kl": "KL, Gaussian", "scott": "Scott", "silverman": "Silverman"}
    for ax, rows, title in (
        (axes[0, 0], slice(0, n_high), "n = exp(0.2 d)"),
        (axes[0, 1], slice(n_high, None), "n = 1000"),
    ):
        dims = [dim for dim, *_ in settings[rows]]
        for j, (rule, style) in enumerate(zip(RULES, ("o-", "s--", "^:", "v-."))):
            ax.errorbar(dims, mean[rows, j], spread[rows, j], fmt=style, label=names[rule], markersize=5, capsize=2)
        ax.set_xlabel("dimension d")
        ax.set_ylabel("lost against the best (nats / d)")
        ax.set_title(title)
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 1].set_yscale("log")
    axes[0, 1].set_ylim(5e-4, 3)
    axes[0, 0].legend(fontsize="small")
    return figure


# --- 6: free energy ------------------------------------------------------------------------------------------------------------

FREE_RATIOS = (1.2, 1.4, 1.6, 1.8, 2.0, 2.2)


@claim(
    "kde-regimes",
    6,
    says="Above condensation the log-density of the estimate is the annealed free energy in closed form.",
    source="Free energy",
    quick=True,
)
def log_density_follows_the_free_energy(scale: Scale) -> Measurement:
    """|E log(Z / n) / d - g| <= 0.004 from 1.2 to 2.2 h_G, isotropic, d = 50; other laws are reported beside it."""
    sizes = SIZES[scale]
    return free_energy_against_simulation(sizes.top, max(10, sizes.n_trials // 10), _device(scale))


def free_energy_against_simulation(dim: int, n_trials: int, device: str = "cpu") -> Measurement:
    """Claim 6 at any size."""
    # Of two clusters only one is in sight: its points count, and it carries half of the estimate.
    alphas = [ALPHA + math.log(cloud.in_sight) / dim for cloud in CLOUDS]
    limits = [thresholds(alpha, cloud.law(dim)).condensation for alpha, cloud in zip(alphas, CLOUDS)]
    grids = [tuple(r * limit for r in FREE_RATIOS) for limit in limits]
    cases = [(c, ALPHA, dim, g, n_trials, seed, device) for c, g in zip(CLOUDS, grids) for seed in range(N_SEEDS)]
    runs = side_by_side(simulate, cases, device)
    n = round(math.exp(ALPHA * dim))
    table: list[dict[str, Any]] = []
    gaps = np.empty((len(CLOUDS), len(FREE_RATIOS)))
    curves = []
    for i, (cloud, grid) in enumerate(zip(CLOUDS, grids)):
        own = np.array([run.log_sum.mean(axis=0) for run in runs[i * N_SEEDS : (i + 1) * N_SEEDS]])
        measured, spread = (own.mean(axis=0) - math.log(n)) / dim, own.std(axis=0, ddof=1) / dim
        h = np.array(grid)
        theory = log_density_per_dimension(h, alphas[i], cloud.law(dim)) + 0.5 * np.log(2 * np.pi * h**2)
        theory += math.log(cloud.in_sight) / dim
        gaps[i] = np.abs(measured - theory)
        curves.append((cloud.name, measured, theory, spread))
        table += [
            {"law": cloud.name, "h / h_G": r, "simulated": measured[j], "theory": theory[j], "spread": spread[j]}
            for j, r in enumerate(FREE_RATIOS)
        ]
    finite = np.asarray(mean_log_density(np.array(grids[0]), n, dim=dim)) / dim + 0.5 * np.log(
        2 * np.pi * np.array(grids[0]) ** 2
    )
    off = float(np.abs(curves[0][1] - finite).max())
    return Measurement(
        figure=float(gaps[0].max()),
        holds=float(gaps[0].max()) <= 0.004,
        threshold="<= 0.004 from 1.2 to 2.2 h_G",
        unit=f"largest |E log(Z / n) / d - g(1 / h²)|, isotropic, d = {dim}",
        paper="equal in the limit",
        baseline=off,
        baseline_name="off the exact mean at this n and d",
        spread=max(float(row["spread"]) for row in table if row["law"] == ISOTROPIC.name),
        n_seeds=N_SEEDS,
        table=table,
        note=f"alpha = {ALPHA}, {n_trials} trials a seed. "
        + "; ".join(f"{cloud.name}: {gap.max():.4f}" for cloud, gap in zip(CLOUDS[1:], gaps[1:]))
        + ".",
        plot=_draw_free_energy(curves),
    )


def _draw_free_energy(curves: list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]) -> Figure:
    figure, axes = new_figure(1, 2, width=10)
    ax, rest = axes[0]
    for i, ((name, measured, theory, spread), color, mark) in enumerate(zip(curves, COLORS, "os^v")):
        ax.plot(FREE_RATIOS, theory, color=color, linewidth=1)
        ax.plot(FREE_RATIOS, measured, mark, color=color, label=name, markersize=6, markerfacecolor="none")
        places = np.array(FREE_RATIOS) + 0.02 * (i - 1.5)
        rest.errorbar(places, measured - theory, spread, fmt=mark, color=color, markersize=5, capsize=2)
    ax.plot([], [], color="0.3", linewidth=1, label="free energy g")
    ax.set_ylabel("E log(Z / n) / d (nats)")
    ax.legend(fontsize="small")
    rest.axhspan(-0.004, 0.004, color="0.93", zorder=0)
    rest.set_ylabel("simulated - g (nats)")
    for one in (ax, rest):
        one.set_xlabel("bandwidth / h_G of the law")
    return figure

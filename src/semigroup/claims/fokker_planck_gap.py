"""Claims of *Closing the ODE-SDE gap in score-based diffusion models through the Fokker-Planck equation* (arXiv:2311.15996).

The trained networks and the histograms of three million samples that the authors publish state no licence and are not part of
the package: claims 2 and 3 read them from the folder that the environment variable SEMIGROUP_DATA names. In one dimension
(claims 4 and 5) both laws of a model are computed without sampling, since the mass that a sample of 5000 puts by chance on
the wrong side of a hole in the data moves a Wasserstein-2 distance as much as the effect does.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.integrate import solve_ivp
from scipy.special import ndtri
from torch import Tensor

from semigroup.base import torch_generator
from semigroup.claims import Measurement, Scale, ScaleUnavailable, claim, side_by_side
from semigroup.data.planar import PLANAR
from semigroup.densities.fokker_planck_gap import (
    Bound,
    PotentialDiffusion,
    PotentialNetwork,
    derivatives,
    grid_wasserstein,
    histogram,
    residual,
    residual_profile,
    sample_ode,
    sample_sde,
    sampling_times,
    wasserstein_bounds,
)
from semigroup.report.figures import COLORS, new_figure
from semigroup.schedules import OrnsteinUhlenbeck, Schedule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["GaussianCase", "LineLaw", "gaussian_case", "line_distance", "line_laws", "pool", "shipped_potential"]

NAMES = ("blob", "circles2", "checker")
WEIGHTS = ("0.0", "0.1", "1.0", "10.0")
BOX = np.array([[-3.5, -3.5], [3.5, 3.5]])
SPACING = 7 / 63


# --- 1: closed form ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GaussianCase:
    """Everything about one potential whose two laws are Gaussian."""

    name: str
    distance: float
    bound: Bound
    identity_right: float


def gaussian_case(
    name: str, precision: Callable[[Any], Any], horizon: float = 5.0, n_times: int = 6001
) -> GaussianCase:
    """``phi = -a x^2 / 2 + log(a / 2 pi) / 2`` with ``a = precision(t)``, f = -x, g = 1, prior N(0, 1/2).

    The residual and the score are the library's derivatives of phi, the expectations Gauss-Hermite sums (exact for the
    polynomials that they are), and the two laws' variances solve ``dv/ds = 2 (1 - a) v + 1`` (SDE) and ``2 (1 - a/2) v``
    (ODE) backward.
    """

    def phi(x: Tensor, t: Tensor) -> Tensor:
        a = precision(t)
        return -a * x.square().sum(1) / 2 + torch.log(a / (2 * math.pi)) / 2

    times = horizon * np.linspace(0, 1, n_times) ** 2
    backward = horizon - times[::-1]

    def variances(share: float) -> np.ndarray:
        def rate(s: float, v: np.ndarray) -> np.ndarray:
            a = float(precision(torch.tensor(horizon - s, dtype=torch.float64)))
            return 2 * (1 - share * a) * v + (share == 1)

        found = solve_ivp(rate, (0, horizon), [0.5], t_eval=backward, rtol=1e-11, atol=1e-13, method="DOP853")
        return found.y[0, ::-1]

    sde, ode = variances(1.0), variances(0.5)
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    weights = weights / weights.sum()
    x = torch.from_numpy((np.sqrt(sde)[:, None] * nodes).reshape(-1, 1))
    t = torch.from_numpy(times).repeat_interleave(len(nodes))
    R = residual(phi, x, t, OrnsteinUhlenbeck(horizon)).reshape(n_times, -1).numpy() @ weights
    jet = derivatives(phi, x, t)
    error = jet.gradient[:, 0].reshape(n_times, -1).numpy() + x.reshape(n_times, -1).numpy() / sde[:, None]
    a = -jet.laplacian.reshape(n_times, -1)[:, 0].numpy()
    terminal = _gaussian_divergence(0.5, 1 / a[-1])
    energy = float(np.trapezoid(R, times)) + terminal
    bound = wasserstein_bounds(times, np.ones(n_times), 1 - a / 2, error**2 @ weights, energy)
    distance = abs(math.sqrt(ode[0]) - math.sqrt(sde[0]))
    return GaussianCase(name, distance, bound, energy - _gaussian_divergence(sde[0], 1 / a[0]))


def _gaussian_divergence(variance: float, other: float) -> float:
    """KL(N(0, variance) || N(0, other))."""
    return float((variance / other - 1 - np.log(variance / other)) / 2)


def _true_precision(t: Tensor) -> Tensor:
    decay = torch.exp(-2 * t)
    return 1 / (4 * decay + 0.5 * (1 - decay))


CASES: dict[str, Callable[[Tensor], Tensor]] = {
    "a = 1.1 p": lambda t: 1.1 * _true_precision(t),
    "a = 0.9 p": lambda t: 0.9 * _true_precision(t),
    "a = 2.2": lambda t: torch.full_like(t, 2.2),
    "a = p (exact)": _true_precision,
}
# Of an independent implementation: W2, Fisher term, and the three bounds.
INDEPENDENT = {
    "a = 1.1 p": (0.48001, 0.025871, (0.519, 0.532, 0.551)),
    "a = 0.9 p": (0.73573, 0.034560, (0.832, 0.914, 0.960)),
    "a = 2.2": (0.21662, 0.034534, (0.229, 0.234, 0.240)),
}


def agrees(case: GaussianCase) -> bool:
    """Whether a case is that of the independent implementation: W2 to 1e-4, Fisher term to 1e-6, bounds to 1e-3."""
    distance, fisher, bounds = INDEPENDENT[case.name]
    found = (case.bound.direct, case.bound.cauchy_schwarz, case.bound.residual)
    return (
        abs(case.distance - distance) <= 1e-4
        and abs(case.bound.fisher - fisher) <= 1e-6
        and bool(np.abs(np.subtract(found, bounds)).max() <= 1e-3)
    )


@claim(
    "fokker-planck-gap",
    1,
    says="The energy identity holds, and the gap is at most each of the three bounds, in closed form.",
    source="The paper's bound on W2, derived anew with its constants",
    quick=True,
)
def identity_and_bounds_hold_in_closed_form(scale: Scale) -> Measurement:
    """Identity to 1e-6 and W2 <= direct <= Cauchy-Schwarz <= residual in three cases, W2 < 4e-4 for the exact potential, and the
    values of an independent implementation to the digits that it prints; fixed before.

    That the residual bound is made of no less than the Fisher term is its definition, so that the energy is held against it.
    """
    cases = [gaussian_case(name, a) for name, a in CASES.items()]
    table = [
        {
            "case": case.name,
            "W2": case.distance,
            "direct": case.bound.direct,
            "cauchy_schwarz": case.bound.cauchy_schwarz,
            "residual": case.bound.residual,
            "identity_left": case.bound.fisher,
            "identity_right": case.identity_right,
        }
        for case in cases
    ]
    mismatch = max(abs(case.bound.fisher - case.identity_right) for case in cases)
    ordered = all(
        case.distance <= case.bound.direct <= case.bound.cauchy_schwarz <= case.bound.residual
        and case.bound.fisher <= case.bound.energy
        for case in cases[:3]
    )
    return Measurement(
        figure=mismatch,
        holds=mismatch <= 1e-6 and ordered and all(map(agrees, cases[:3])) and cases[3].distance < 4e-4,
        threshold="identity to 1e-6, bounds in order, the independent implementation's values (W2 to 1e-4, Fisher terms to "
        "1e-6, bounds to 1e-3), W2 < 4e-4 for the exact potential",
        unit="largest mismatch of the energy identity, nats",
        paper="W2 .48001, .73573, .21662, Fisher terms .025871, .034560, .034534, bounds .519/.532/.551, .832/.914/.960, "
        ".229/.234/.240 in an independent implementation",
        table=table,
        note="d = 1, f = -x, g = 1, T = 5, data N(0, 4), prior N(0, 1/2); Gaussian laws, the library's derivatives.",
        plot=_draw_bounds(cases),
    )


def _draw_bounds(cases: list[GaussianCase]) -> Figure:
    figure, axes = new_figure(1, 1, width=7)
    ax = axes[0, 0]
    shown = cases[:3]
    for i, (name, values) in enumerate(
        {
            "W2 of ODE and SDE": [case.distance for case in shown],
            "direct bound": [case.bound.direct for case in shown],
            "Cauchy-Schwarz": [case.bound.cauchy_schwarz for case in shown],
            "residual bound": [case.bound.residual for case in shown],
        }.items()
    ):
        ax.bar(np.arange(3) + 0.2 * (i - 1.5), values, 0.2, label=name, color=COLORS[i])
    ax.set_xticks(np.arange(3), [case.name for case in shown])
    ax.set_ylabel("Wasserstein-2 (units of the data)")
    ax.legend(fontsize="small")
    return figure


# --- 2: the paper's main table -------------------------------------------------------------------------------------


def shipped_arrays(name: str) -> dict[str, np.ndarray]:
    """The authors' networks or histograms, where the user has them."""
    folder = os.environ.get("SEMIGROUP_DATA")
    path = Path(folder or ".") / "fokker-planck-gap" / f"{name}.npz"
    if folder is None or not path.exists():
        raise ScaleUnavailable(
            f"needs fokker-planck-gap/{name}.npz in the folder that SEMIGROUP_DATA names: the authors' files, "
            "which state no licence, "
            "converted from github.com/teojd/ODESDEGap"
        )
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def pool(masses: Float[np.ndarray, "rows columns"], factor: int) -> Float[np.ndarray, "coarse_rows coarse_columns"]:
    """A histogram on a grid `factor` times as coarse."""
    rows, columns = (side // factor for side in masses.shape)
    return masses.reshape(rows, factor, columns, factor).sum((1, 3))


# ODE to SDE, ODE to truth and SDE to truth at the four weights, of an independent implementation.
INDEPENDENT_DISTANCES = {
    "blob": [(0.1077, 0.1047, 0.0467), (0.0557, 0.0777, 0.0543), (0.0539, 0.0726, 0.0654), (0.0470, 0.1313, 0.1264)],
    "circles2": [
        (0.1158, 0.1198, 0.0476),
        (0.0727, 0.0858, 0.0577),
        (0.0556, 0.0910, 0.0674),
        (0.0413, 0.0969, 0.0954),
    ],
    "checker": [(0.1649, 0.1563, 0.0606), (0.0846, 0.1067, 0.0734), (0.0594, 0.1069, 0.1075), (0.0459, 0.1818, 0.1793)],
}


def paper_distances(name: str, weight: str, factor: int = 1) -> tuple[float, float, float]:
    """ODE to SDE, ODE to truth and SDE to truth, from the published histograms."""
    arrays = shipped_arrays("histograms")
    keys = (f"ode__{name}__w{weight}", f"sde__{name}__w{weight}", f"truth__{name}")
    ode, sde, truth = (pool(arrays[key].reshape(64, 64).astype(np.float64), factor) for key in keys)
    step = factor * SPACING
    return grid_wasserstein(ode, sde, step), grid_wasserstein(ode, truth, step), grid_wasserstein(sde, truth, step)


@claim(
    "fokker-planck-gap",
    2,
    says="Trained models have a gap; the residual penalty closes it, improves the ODE and costs the SDE.",
    source="Main table, from the published histograms",
)
def penalty_closes_the_gap_in_the_published_histograms(scale: Scale) -> Measurement:
    """On each of three sets: the gap falls with the weight, to at most half; ODE to truth is less at 0.1 and 1 than at 0;
    SDE to truth rises; all distances within 0.003 of an independent implementation's.

    Fixed before. Histograms pooled to 32 x 32 will not do: that alone raises a distance by about 0.02.
    """
    shipped_arrays("histograms")
    cases = [(name, weight) for name in NAMES for weight in WEIGHTS]
    found = dict(zip(cases, side_by_side(paper_distances, cases), strict=True))
    ratios: list[float] = []
    off = max(np.abs(np.subtract([found[n, w] for w in WEIGHTS], INDEPENDENT_DISTANCES[n])).max() for n in NAMES)
    holds = bool(off <= 0.003)
    for name in NAMES:
        gap, ode, sde = np.array([found[name, weight] for weight in WEIGHTS]).T
        ratios.append(gap[3] / gap[0])
        holds &= bool((np.diff(gap) < 0).all() and ratios[-1] <= 0.5)
        holds &= bool((ode[1:3] < ode[0]).all() and (np.diff(sde) > 0).all())
    table = [
        {"data": name, "weight": float(weight), "ODE_SDE": gap, "ODE_truth": ode, "SDE_truth": sde}
        for (name, weight), (gap, ode, sde) in found.items()
    ]
    return Measurement(
        figure=float(max(ratios)),
        holds=holds,
        threshold="gap falls with the weight, gap(10) / gap(0) <= 0.5, ODE to truth better at 0.1 and 1, SDE to truth rises, "
        "distances within 0.003 of the independent implementation's",
        unit="largest gap(w = 10) / gap(w = 0)",
        paper=".44, .36, .28 by full 64 x 64 transport in an independent implementation",
        table=table,
        note="Exact transport of the published histograms on +-3.5, 64 x 64 nodes; the distances differ from the independent "
        f"implementation's by at most {off:.4f}.",
        plot=_draw_table(found),
    )


def _draw_table(found: dict[tuple[str, str], tuple[float, float, float]]) -> Figure:
    figure, axes = new_figure(1, 3, width=11, height=3.2, sharey=True)
    for ax, name in zip(axes[0], NAMES):
        values = np.array([found[name, weight] for weight in WEIGHTS])
        for column, label, style in zip(values.T, ("ODE to SDE", "ODE to truth", "SDE to truth"), ("o-", "s--", "^:")):
            ax.plot(range(4), column, style, label=label)
        ax.set_xticks(range(4), ["0", "0.1", "1", "10"])
        ax.set_xlabel("weight of the residual")
        ax.set_title(name)
    axes[0, 0].set_ylabel("Wasserstein-2 (units of the data)")
    axes[0, 2].legend(fontsize="small")
    return figure


# --- 3: the published networks -------------------------------------------------------------------------------------


def shipped_potential(name: str, weight: str) -> PotentialNetwork:
    """One of the authors' trained networks."""
    arrays = shipped_arrays("potentials")
    network = PotentialNetwork(2, (80, 80, 80), beta=100.0)
    with torch.no_grad():
        for layer, key in zip(network.linear_layers(), ("input", "hidden1", "hidden2", "output"), strict=True):
            layer.weight.copy_(torch.from_numpy(arrays[f"{name}__w{weight}__{key}.weight"]))
            layer.bias.copy_(torch.from_numpy(arrays[f"{name}__w{weight}__{key}.bias"]))
    return network.eval()


def rerun(name: str, weight: str, n: int, n_steps: int, device: str) -> dict[str, float]:
    """Sample a published network by both laws and hold the samples against its published histograms, at 32 x 32 nodes."""
    network = shipped_potential(name, weight).to(device)
    schedule, generator = OrnsteinUhlenbeck(10.0), torch_generator(0, device)
    times = sampling_times(10.0, n_steps)
    start = [math.sqrt(0.5) * torch.randn(n, 2, generator=generator, device=device) for _ in range(2)]
    drawn = {
        "ode": sample_ode(network.score, start[0], times, schedule)[:, -1],
        "sde": sample_sde(network.score, start[1], times, schedule, generator)[:, -1],
    }
    arrays, rng = shipped_arrays("histograms"), np.random.default_rng(0)
    step = 2 * SPACING
    values: dict[str, float] = {}
    masses, published, redrawn = {}, {}, {}
    for law, states in drawn.items():
        # The published first axis is y.
        both, values[f"dropped_{law}"] = histogram(states.double().cpu().numpy()[:, ::-1].copy(), BOX)
        masses[law] = pool(both, 2)
        published[law] = pool(arrays[f"{law}__{name}__w{weight}"].reshape(64, 64).astype(np.float64), 2)
        shares = published[law] / published[law].sum()
        redrawn[law] = rng.multinomial(n, shares.ravel()).reshape(shares.shape) / n
        values[f"{law}_to_published"] = grid_wasserstein(masses[law], published[law], step)
        values[f"{law}_redrawn_to_published"] = grid_wasserstein(redrawn[law], published[law], step)
    values["gap"] = grid_wasserstein(masses["ode"], masses["sde"], step)
    values["gap_redrawn"] = grid_wasserstein(redrawn["ode"], redrawn["sde"], step)
    values["gap_published"] = grid_wasserstein(published["ode"], published["sde"], step)
    box = torch.from_numpy(BOX).float().to(device)
    profile = residual_profile(
        network, np.linspace(1e-3, 10, 200).tolist(), box, schedule, n_points=500, generator=generator
    )
    return values | {"mean_square": profile.mean_square, "centred_mean_square": profile.centred_mean_square}


@claim(
    "fokker-planck-gap",
    3,
    says="The published networks give their published histograms, and their residuals differ by five orders of magnitude.",
    source="The paper's networks; comment in its programs",
)
def published_networks_give_their_histograms(scale: Scale) -> Measurement:
    """The gap within 0.03 of that of as many rows redrawn from the histograms; samples at most 1.5 times as far from their
    histogram as those.

    And mean R^2 over the box and [0, 10] within 100 to 400 at weight 0 and at most 0.01 at weight 10. Fixed before, on the
    checkerboard at scale cpu, on all twelve networks at scale gpu. The paper's 800 steps are needed: with 400 of them
    and 5000 samples the gap was 0.27 where 5000 redrawn rows have 0.21.
    """
    shipped_arrays("potentials")
    if scale == "cpu":
        cases: list[tuple[Any, ...]] = [("checker", weight, 20_000, 800, "cpu") for weight in ("0.0", "10.0")]
    else:
        n = 100_000 if scale == "gpu" else 3_000_000
        cases = [(name, weight, n, 800, "cuda") for name in NAMES for weight in WEIGHTS]
    found = side_by_side(rerun, cases, cases[0][4])
    near = all(abs(values["gap"] - values["gap_redrawn"]) <= 0.03 for values in found)
    same = all(
        values[f"{law}_to_published"] <= 1.5 * values[f"{law}_redrawn_to_published"]
        for values in found
        for law in ("ode", "sde")
    )
    table = [{"data": case[0], "weight": float(case[1])} | values for case, values in zip(cases, found, strict=True)]
    checker = {row["weight"]: row["mean_square"] for row in table if row["data"] == "checker"}
    first = next(row for row in table if row["data"] == "checker")
    return Measurement(
        figure=float(first["gap"]),
        holds=near and same and 100 <= checker[0.0] <= 400 and checker[10.0] <= 0.01,
        threshold="gap within 0.03 of redrawn rows, samples within 1.5 times their floor, R^2 in [100, 400] and <= 0.01",
        unit="gap of the checkerboard at weight 0, units of the data",
        paper=".165 from three million samples, .179 from 20 000; mean R^2 236 and .0009 in a comment of the programs",
        baseline=float(first["gap_redrawn"]),
        baseline_name="the same number of rows redrawn from the published histograms",
        table=table,
        note=f"Mean R^2 {checker[0.0]:.0f} at weight 0, of which {first['centred_mean_square']:.0f} without the spatial mean "
        f"of each time, and {checker[10.0]:.4f} at weight 10; the unregularised ODE leaves "
        f"{first['dropped_ode']:.2%} of its samples outside the box.",
    )


# --- 4 and 5: models trained from nothing ----------------------------------------------------------------------------


@dataclass(frozen=True)
class LineLaw:
    """A law on the line as points with masses, increasing; the masses sum to one."""

    points: Float[np.ndarray, " n"]
    masses: Float[np.ndarray, " n"]

    def within(self, half_width: float) -> LineLaw:
        """What lies inside ``(-half_width, half_width)``, normalised."""
        kept = np.abs(self.points) < half_width
        return LineLaw(self.points[kept], self.masses[kept] / self.masses[kept].sum())


def line_distance(one: LineLaw, other: LineLaw) -> float:
    """Wasserstein-2 distance of two laws on the line, exact."""
    import ot

    squared = ot.wasserstein_1d(one.points, other.points, one.masses, other.masses, p=2)
    return float(np.sqrt(squared))


def line_laws(
    score: Callable[[Tensor, Tensor], Tensor],
    times: list[float],
    schedule: Schedule,
    prior_std: float,
    *,
    n_nodes: int = 1001,
    reach: float = 5.0,
) -> tuple[LineLaw, LineLaw]:
    """Laws of Euler's ODE and of Euler-Maruyama's SDE in one dimension, without sampling.

    The ODE carries 4000 quantiles of the prior. The SDE's density is carried on a grid by its Gaussian transitions, whose
    spread stays several cells wide; its last step is without noise.
    """
    start = prior_std * ndtri((np.arange(4000) + 0.5) / 4000)
    moved = sample_ode(score, torch.from_numpy(start).float()[:, None], times, schedule)[:, -1, 0]
    ode = LineLaw(np.sort(moved.double().numpy()), np.full(4000, 1 / 4000))
    grid = np.linspace(-reach, reach, n_nodes)
    cell = grid[1] - grid[0]
    x = torch.from_numpy(grid).float()[:, None]
    masses = np.exp(-((grid / prior_std) ** 2) / 2)
    masses /= masses.sum()
    centres = grid
    for t, later in pairwise(times):
        rate, noise = float(schedule.rate(t)), float(schedule.diffusion(t))
        with torch.no_grad():
            s = score(x, torch.full((n_nodes,), t))[:, 0].double().numpy()
        centres = grid + (later - t) * (rate * grid - noise**2 * s)
        if later == times[-1]:
            break
        spread = noise * math.sqrt(t - later) / cell
        # Each node's mass goes to the nodes within 7 standard deviations; what leaves the grid is lost, below rounding.
        reached = np.arange(-math.ceil(7 * spread), math.ceil(7 * spread) + 1)
        places = (centres + reach) / cell
        nearest = np.rint(places).astype(np.int64)
        kernel = np.exp(-((nearest[:, None] + reached - places[:, None]) ** 2) / (2 * spread**2))
        kernel *= (masses / kernel.sum(1))[:, None]
        targets = nearest[:, None] + reached
        kept = (targets >= 0) & (targets < n_nodes)
        masses = np.bincount(targets[kept], weights=kernel[kept], minlength=n_nodes)
        masses = masses / masses.sum()
    order = np.argsort(centres)
    return ode, LineLaw(centres[order], masses[order])


# Middles of the two intervals. A mean of m leaves m exp(-T) at the horizon, where the prior has none; at T = 5 and m = -0.75 that
# alone shifts enough mass between the intervals to put the two laws of the exact score 0.08 apart. About 0 they are not.
CENTRES = (0.0, -0.75)


def two_intervals(n: int, rng: np.random.Generator, centre: float = 0.0) -> Float[np.ndarray, "n 1"]:
    """Rows uniform on [-2.25, -0.75] and [0.75, 2.25], both moved by `centre`."""
    return centre + _spread_out(3 * rng.random((n, 1)))


def two_intervals_law(n: int = 4000, centre: float = 0.0) -> LineLaw:
    """The same by its quantiles."""
    return LineLaw(centre + _spread_out(3 * (np.arange(n) + 0.5) / n), np.full(n, 1 / n))


def _spread_out(u: np.ndarray) -> np.ndarray:
    """[0, 3] on the two intervals."""
    return np.where(u < 1.5, u - 2.25, u - 0.75)


def line_run(
    weight: float,
    penalty: Literal["residual", "gradient"],
    seed: int,
    n_steps: int = 4000,
    n_penalised: int = 2000,
    centre: float = 0.0,
) -> dict[str, float]:
    """Train on the two intervals, the penalty on in the last steps only, and measure the exact laws of the result."""
    began = time.process_time()
    model = PotentialDiffusion(
        residual_weight=weight,
        penalty=penalty,
        hidden=(64, 64, 64),
        batch_size=256,
        n_residual=256,
        n_steps=n_steps,
        warm_start=1 - n_penalised / n_steps,
        ramp=0.0,
        standardize=False,
        box=(-3.5, 3.5),
        random_state=seed,
    ).fit(two_intervals(20_000, np.random.default_rng([seed, 1]), centre))
    seconds = time.process_time() - began
    ode, sde = line_laws(model.network_.score, sampling_times(5.0, 800), OrnsteinUhlenbeck(5.0), model.prior_std_)
    truth = two_intervals_law(centre=centre)
    dropped = float(ode.masses[np.abs(ode.points) >= 3.5].sum())
    ode, sde = ode.within(3.5), sde.within(3.5)
    return {
        "gap": line_distance(ode, sde),
        "ode_truth": line_distance(ode, truth),
        "sde_truth": line_distance(sde, truth),
        "dropped_ode": dropped,
        "centred_mean_square": model.residual_profile(n_points=500).centred_mean_square,
        "seconds": seconds,
    }


def plane_run(
    name: str, weight: float, seed: int, n_steps: int, n_samples: int, device: Literal["cpu", "cuda"]
) -> dict[str, float]:
    """Train on one of the laws in the plane and measure its gap from samples."""
    rng = np.random.default_rng([seed, 2])
    model = PotentialDiffusion(
        residual_weight=weight,
        horizon=10.0,
        batch_size=2048,
        n_residual=2048,
        n_steps=n_steps,
        standardize=False,
        box=(-3.5, 3.5),
        device=device,
        random_state=seed,
    ).fit(PLANAR[name](1_000_000 if device == "cuda" else 20_000, random_state=rng))
    gap = model.gap(
        PLANAR[name](n_samples, random_state=rng), n_samples=n_samples, n_steps=800 if device == "cuda" else 200
    )
    return {
        "gap": gap.ode_sde,
        "ode_truth": float(gap.ode_truth or 0.0),
        "sde_truth": float(gap.sde_truth or 0.0),
        "dropped_ode": gap.dropped_ode,
        "centred_mean_square": model.residual_profile(n_points=2000).centred_mean_square,
    }


def directions(plain: list[dict[str, float]], penalised: list[dict[str, float]]) -> tuple[float, dict[str, int]]:
    """Mean over seeds of the ratio of gaps, and in how many seeds gap and ODE to truth fall and SDE to truth rises."""
    pairs = list(zip(plain, penalised, strict=True))
    counts = {
        "gap falls": sum(b["gap"] < a["gap"] for a, b in pairs),
        "ODE to truth falls": sum(b["ode_truth"] < a["ode_truth"] for a, b in pairs),
        "SDE to truth rises": sum(b["sde_truth"] > a["sde_truth"] for a, b in pairs),
    }
    return float(np.mean([b["gap"] / a["gap"] for a, b in pairs])), counts


@claim(
    "fokker-planck-gap",
    4,
    says="A model trained with the residual penalty has a smaller gap and better ODE samples, and worse SDE samples.",
    source="Main table, trained from nothing",
)
def penalty_closes_the_gap_of_models_trained_here(scale: Scale) -> Measurement:
    """Mean ratio of gaps at most 0.75; gap and ODE to truth fall and SDE to truth rises in at least two thirds of the runs, which
    an independent implementation asked for.

    At scale cpu on two intervals of the line, about 0 and about -0.75, the laws computed without sampling; at scale gpu on the
    three laws in the plane, where all weights are trained and the comparison is of 0 and 0.1.
    """
    if scale == "cpu":
        seeds = range(5)
        weights: tuple[float, ...] = (0.0, 0.1)
        names: tuple[str, ...] = tuple(f"two intervals about {centre:g}" for centre in CENTRES)
        cases: list[tuple[Any, ...]] = [
            (w, "residual", seed, 4000, 2000, c) for w in weights for c in CENTRES for seed in seeds
        ]
        runs = side_by_side(line_run, cases)
    else:
        seeds, weights, names = range(3), (0.0, 0.1, 1.0, 10.0), NAMES
        n_steps, n_samples = (20_000, 100_000) if scale == "gpu" else (100_000, 1_000_000)
        cases = [(n, w, seed, n_steps, n_samples, "cuda") for w in weights for n in names for seed in seeds]
        runs = side_by_side(plane_run, cases, "cuda")
    size = len(runs) // len(weights)
    by_weight = {weight: runs[i * size : (i + 1) * size] for i, weight in enumerate(weights)}
    ratio, counts = directions(by_weight[0.0], by_weight[0.1])
    table = [
        {"data": names[k // len(seeds)], "weight": weight, "seed": k % len(seeds)} | run
        for weight, group in by_weight.items()
        for k, run in enumerate(group)
    ]
    ratios = [b["gap"] / a["gap"] for a, b in zip(by_weight[0.0], by_weight[0.1], strict=True)]
    means = {w: np.mean([run["gap"] for run in group]) for w, group in by_weight.items()}
    return Measurement(
        figure=ratio,
        holds=ratio <= 0.75 and 3 * min(counts.values()) >= 2 * size,
        threshold="mean ratio <= 0.75, and each direction in at least two thirds of the runs",
        unit="gap at weight 0.1 over gap at weight 0",
        paper=".52, .63, .51 in the plane; .55 on the line in an independent implementation with 5000 samples",
        baseline=float(means[0.0]),
        baseline_name="mean gap without the penalty",
        spread=float(np.std(ratios, ddof=1)),
        n_seeds=len(seeds),
        table=table,
        note="; ".join(f"{name} in {count} of {size}" for name, count in counts.items())
        + f". Mean gap {means[0.0]:.3f} to {means[0.1]:.3f}. {_by_name(names, by_weight)}",
        plot=_draw_runs(names, by_weight),
    )


def _by_name(names: tuple[str, ...], by_weight: dict[float, list[dict[str, float]]]) -> str:
    """Of each law: the ratio of the gaps and the counts of `directions`."""
    parts = []
    for name, plain, penalised in zip(names, *(_grouped(by_weight[w], len(names)) for w in (0.0, 0.1)), strict=True):
        ratio, counts = directions(plain, penalised)
        parts.append(f"{name}: ratio {ratio:.2f}, counts {', '.join(map(str, counts.values()))} of {len(plain)}")
    return "; ".join(parts) + "."


def _grouped(runs: list[dict[str, float]], n_groups: int) -> list[list[dict[str, float]]]:
    """Equal consecutive parts."""
    size = len(runs) // n_groups
    return [runs[i * size : (i + 1) * size] for i in range(n_groups)]


def _draw_runs(names: tuple[str, ...], by_weight: dict[float, list[dict[str, float]]]) -> Figure:
    figure, axes = new_figure(1, 3, width=10.5, height=3.2)
    for ax, key, title in zip(
        axes[0], ("gap", "ode_truth", "sde_truth"), ("ODE to SDE", "ODE to truth", "SDE to truth"), strict=True
    ):
        values = np.array([[run[key] for run in group] for group in by_weight.values()])
        groups = np.split(values, len(names), axis=1)
        for i, (name, own) in enumerate(zip(names, groups, strict=True)):
            ax.plot(range(len(own)), own, ".-", color=COLORS[i], linewidth=0.6, alpha=0.5)
            ax.plot(range(len(own)), own.mean(1), "o-", color=COLORS[i], label=f"{name} (mean)")
        ax.set_xticks(range(len(values)), [f"{weight:g}" for weight in by_weight])
        ax.set_xlabel("weight of the residual")
        ax.set_ylim(bottom=0)
        ax.set_title(title)
    axes[0, 0].set_ylabel("Wasserstein-2 (units of the data)")
    axes[0, 2].legend(fontsize="small")
    return figure


def step_seconds(penalty: Literal["residual", "gradient"], n_steps: int = 60) -> float:
    """Processor seconds of a penalised step: what `n_steps` more of them add, so that what a fit costs once is not in it."""
    line_X = two_intervals(2000, np.random.default_rng(0))
    options: dict[str, Any] = {
        "penalty": penalty,
        "hidden": (64, 64, 64),
        "batch_size": 256,
        "n_residual": 256,
        "warm_start": 0.0,
        "ramp": 0.0,
        "residual_weight": 1e-3,
        "random_state": 0,
    }
    seconds = []
    # The first is for what is loaded and compiled on first use.
    for length in (3, 10, 10 + n_steps):
        began = time.process_time()
        PotentialDiffusion(n_steps=length, **options).fit(line_X)
        seconds.append(time.process_time() - began)
    return (seconds[2] - seconds[1]) / n_steps


@claim(
    "fokker-planck-gap",
    5,
    says="At equal cost the penalty on the residual closes the gap more than FP-Diffusion's penalty on its gradient.",
    source="Comparison with FP-Diffusion (Lai et al. 2023)",
)
def residual_beats_its_gradient_at_equal_cost(scale: Scale) -> Measurement:
    """Mean gap over seeds, each penalty at that weight of 0.1 and 1 with the better ODE; the residual's at most the
    gradient's. Fixed before.

    Same network, start and points, and the same 2000 steps before the penalty, to the last digit; the penalised phase has as many
    steps of either kind as take the processor time of 2000 steps with the residual, and its learning rate falls once more at
    70 % of them.
    """
    n_seeds, weights = (3, (0.1, 1.0)) if scale == "cpu" else (10, (0.01, 0.1, 1.0, 10.0))
    share = min(1.0, step_seconds("residual") / step_seconds("gradient"))
    n_gradient = round(2000 * share)
    lengths: dict[Literal["residual", "gradient"], int] = {"residual": 2000, "gradient": n_gradient}
    cases = [
        (weight, penalty, seed, 2000 + n, n)
        for penalty, n in lengths.items()
        for weight in weights
        for seed in range(n_seeds)
    ]
    runs = side_by_side(line_run, cases)
    table = [
        {"penalty": penalty, "weight": weight, "seed": seed} | run
        for (weight, penalty, seed, *_), run in zip(cases, runs, strict=True)
    ]
    best: dict[str, tuple[float, np.ndarray, float]] = {}
    for penalty in lengths:
        groups = {w: [row for row in table if row["penalty"] == penalty and row["weight"] == w] for w in weights}
        quality = {w: float(np.mean([row["ode_truth"] for row in group])) for w, group in groups.items()}
        weight = min(quality, key=lambda w: quality[w])
        best[penalty] = (weight, np.array([row["gap"] for row in groups[weight]]), quality[weight])
    mean = {penalty: float(values.mean()) for penalty, (_, values, _) in best.items()}
    ratio = mean["residual"] / mean["gradient"]
    words = "; ".join(
        f"{penalty} at weight {weight:g}: gap {mean[penalty]:.3f}, ODE to truth {quality_:.3f}"
        for penalty, (weight, _, quality_) in best.items()
    )
    return Measurement(
        figure=ratio,
        holds=ratio <= 1,
        threshold="<= 1",
        unit="mean gap with the residual's penalty over that with its gradient's, equal processor time",
        paper="not compared in the paper",
        baseline=mean["gradient"],
        baseline_name="mean gap with the penalty on the gradient",
        spread=float(np.std(best["residual"][1] / best["gradient"][1], ddof=1)),
        n_seeds=n_seeds,
        table=table,
        note=f"{words}, with {n_gradient} penalised steps against 2000. Laws computed without sampling.",
    )

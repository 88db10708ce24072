"""The claims of *Limits and Powers of Koopman Learning* (arXiv:2407.06312), measured."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg
from sklearn.cluster import KMeans

from semigroup.claims import Measurement, Scale, ScaleUnavailable, claim
from semigroup.data.datasets import download
from semigroup.data.dynamical_systems import (
    CAVITY,
    DiscMap,
    KnownSpectrum,
    cat_map,
    cmv_density,
    cmv_matrix,
    doubling_map,
    duffing,
    rotation,
)
from semigroup.dynamics.koopman import (
    CompressedOperator,
    Fourier,
    RadialBasis,
    Spectrum,
    circle_candidates,
    compress,
    confuse,
    grid_candidates,
    isometry_measure,
    local_minimisers,
    pair_residuals,
    point_spectrum_fraction,
)
from semigroup.report.figures import COLORS, new_figure

__all__ = ["disc_residual", "duffing_run", "paper_region"]

NEIGHBOURHOOD = 5.0  # c of the paper's programs


# --- 1: pollution --------------------------------------------------------------------------------------------------


@claim(
    "koopman",
    1,
    says="EDMD's eigenvalues of the doubling map are all spurious, while the residual function is exact.",
    source="Section 2 and the paper's programs; closed form of the residual from the shift's singular values",
    quick=True,
)
def edmd_pollutes_and_residuals_do_not(scale: Scale) -> Measurement:
    """Doubling map with the functions exp(2 pi i 2^k x), k < N, at 2^(N+2) points; exact up to rounding at every scale."""
    largest = {"cpu": 10, "gpu": 14, "paper": 14}[scale]
    turn = np.exp(2j * np.pi * np.linspace(0, 1, 49))
    z = np.concatenate([radius * turn for radius in (0.0, 0.3, 0.7, 1.0, 1.3)])
    table: list[dict[str, Any]] = []
    for n in range(1, largest + 1):
        pairs = doubling_map(2 ** (n + 2))
        operator = compress(Fourier(2 ** np.arange(n)[:, None], 1.0), pairs.X, pairs.Y)
        spectrum = operator.eigenpairs()
        gap = np.abs(operator.residual(z) - _doubling_residual(z, n)).max()
        table.append(
            {
                "N": n,
                "error of the residual": float(gap),
                "residual at |z| = 1": float(operator.residual(1.0)),
                "largest |eigenvalue| of EDMD": float(np.abs(spectrum.eigenvalues).max()),
                "largest residual of EDMD": spectrum.certificate,
            }
        )
    worst = max(row["error of the residual"] for row in table)
    drift = max(row["largest |eigenvalue| of EDMD"] for row in table if row["N"] <= 10)
    figure, axes = new_figure(width=6.6)
    radius = np.linspace(0, 1.5, 200)
    for index, n in enumerate((2, 5, 10)):
        pairs = doubling_map(2 ** (n + 2))
        operator = compress(Fourier(2 ** np.arange(n)[:, None], 1.0), pairs.X, pairs.Y)
        axes[0, 0].plot(radius, _doubling_residual(radius, n), color=COLORS[index], label=f"exact, N = {n}")
        axes[0, 0].plot(radius[::10], operator.residual(radius[::10]), "o", color=COLORS[index], markersize=4)
    axes[0, 0].plot([0], [1], "kx", markersize=9, label="EDMD's only eigenvalue,\nresidual near 1")
    axes[0, 0].axvline(1, ls=":", color="black", label="true spectrum: |z| = 1")
    axes[0, 0].plot([], [], "o", color="grey", markersize=4, label="computed")
    axes[0, 0].set(xlabel="|z|", ylabel="residual τ(z)", ylim=(0, None))
    axes[0, 0].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return Measurement(
        figure=worst,
        holds=worst <= 1e-12 and drift < 0.05,
        threshold="residual exact to 1e-12 for all N and z, and every EDMD eigenvalue within 0.05 of 0 for N <= 10",
        unit="largest error of the residual function",
        baseline=1 - drift,
        baseline_name="distance of EDMD's nearest eigenvalue to the spectrum",
        table=table,
        plot=figure,
    )


def _doubling_residual(z: np.ndarray, n: int) -> np.ndarray:
    """Exact residual: K is a shift of the N functions by one, whose last image leaves the space."""
    size = np.abs(z)
    return np.sqrt(np.maximum(1 + size**2 - 2 * size * np.cos(np.pi / (n + 1)), 0))


# --- 2: Duffing ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DuffingRun:
    """One fit to the Duffing oscillator."""

    edmd_max: float
    edmd_median: float
    certificate: float
    n_certified: int
    mean_residual: float
    residual_at_i: float


def paper_region(spacing: float) -> np.ndarray:
    """The candidates of the paper's error curves: a grid over [-0.5, 1] x [0, 1], for conjugate symmetry."""
    x = spacing * np.arange(round(-0.5 / spacing), round(1 / spacing) + 1)
    y = spacing * np.arange(0, round(1 / spacing) + 1)
    return (x[None, :] + 1j * y[:, None]).ravel()


@functools.cache
def duffing_run(
    n_functions: int, damping: float, n_trajectories: int, spacing: float, seed: int, n_jobs: int | None = None
) -> DuffingRun:
    """Radial functions at centres of data of their own, EDMD's residuals on fresh pairs, certificate over the paper's region."""
    train, test, other = (
        duffing(n, 5, damping=damping, random_state=np.random.default_rng([seed, part]))
        for part, n in enumerate((n_trajectories, max(50, n_trajectories // 3), n_trajectories))
    )
    states = np.vstack([other.X, other.Y])
    centres = KMeans(n_functions, n_init=1, max_iter=500, random_state=seed).fit(states).cluster_centers_
    dictionary = RadialBasis(centres, float(np.linalg.norm(states - states.mean(axis=0), axis=1).mean() / 2))
    operator = replace(compress(dictionary, train.X, train.Y), n_jobs=n_jobs)
    if damping == 0:
        operator = operator.with_spectrum_on_circle()
    residuals = pair_residuals(dictionary(test.X), dictionary(test.Y), operator.eigenpairs())
    points = paper_region(spacing)
    tau = operator.residual(points)
    certified = tau[local_minimisers(points, tau, NEIGHBOURHOOD)]
    return DuffingRun(
        edmd_max=float(residuals.max()),
        edmd_median=float(np.median(residuals)),
        certificate=float(certified.max()),
        n_certified=len(certified),
        mean_residual=float(tau.mean()),
        residual_at_i=float(operator.residual(1j)),
    )


@claim(
    "koopman",
    2,
    says="On the Duffing oscillator EDMD's worst eigenpair is wrong by about 1 at every size, the certified spectrum by "
    "a tenth of that.",
    source="Figure on the Duffing oscillator; programs duffing_example and duffing_err",
)
def edmds_worst_error_stays_near_one_and_the_certified_one_small(scale: Scale) -> Measurement:
    """Maximum residual of EDMD on fresh pairs against the certificate over the region of the paper's error curves.

    Centres are those of a data set of their own, as in the paper. A first measurement, with centres of the training pairs,
    gave certificates of at most 0.12, but a worst residual of EDMD of 0.83 ± 0.05 with damping at N = 200, and 0.77 in one
    of five runs: below the threshold, which was left where it was.

    The thresholds were set by an independent implementation's runs. The certificate is a maximum over the points that
    are output, and so depends on the region: over the whole square [-1.5, 1.5]² it was 0.16 at N = 200 in trial runs
    with other seeds, for there are points near -0.3 ± 0.95i which the paper's region cuts off. Here the region is the
    paper's. That the certificate tends to 0 with N is the paper's claim at its own scale; at others its slope is
    reported, not judged.
    """
    settings: dict[str, dict[str, Any]] = {
        "cpu": {"sizes": (50, 100, 200, 400), "n_trajectories": 1500, "spacing": 0.05, "seeds": 5, "n_jobs": None},
        "gpu": {"sizes": (100, 200, 400, 800), "n_trajectories": 4000, "spacing": 0.05, "seeds": 5, "n_jobs": -1},
        "paper": {
            "sizes": (100, 158, 251, 398, 631, 1000, 1259),
            "n_trajectories": 10_000,
            "spacing": 0.02,
            "seeds": 1,
            "n_jobs": -1,
        },
    }
    chosen = settings[scale]
    table: list[dict[str, Any]] = []
    runs: dict[tuple[float, int], list[DuffingRun]] = {}
    for damping in (0.0, 0.3):
        # With damping the largest dictionary of the cpu scale is left out: it decides nothing.
        sizes = chosen["sizes"][:-1] if scale == "cpu" and damping else chosen["sizes"]
        for n in sizes:
            group = [
                duffing_run(n, damping, chosen["n_trajectories"], chosen["spacing"], seed, chosen["n_jobs"])
                for seed in range(chosen["seeds"])
            ]
            runs[damping, n] = group
            table.append({"damping": damping, "N": n, **_summary(group)})
    everything = [run for group in runs.values() for run in group]
    at_i = [np.array([run.residual_at_i for run in runs[0.0, n]]) for n in chosen["sizes"]]
    certificates = np.array([run.certificate for run in everything])
    edmd = np.array([run.edmd_max for run in everything])
    falls = all((later < earlier).all() for earlier, later in itertools.pairwise(at_i))
    small = bool(at_i[chosen["sizes"].index(400)].max() <= 0.13) if 400 in chosen["sizes"] else True
    slopes = {damping: _slope(runs, damping) for damping in (0.0, 0.3)}
    return Measurement(
        figure=float(certificates.max()),
        holds=bool(edmd.min() >= 0.8 and certificates.max() <= 0.15 and falls and small),
        threshold="in every run: EDMD's worst residual >= 0.8, certificate <= 0.15, the residual at i falls with N and is "
        "<= 0.13 at N = 400",
        unit="largest certificate of all runs",
        baseline=float(edmd.min()),
        baseline_name="smallest worst residual of EDMD of all runs",
        spread=float(certificates.std()),
        n_seeds=chosen["seeds"],
        table=table,
        note=f"Slope of log certificate against log N: {slopes[0.0]:+.2f} without damping, {slopes[0.3]:+.2f} with. "
        "A decay of the certificate is the paper's statement for N up to 1250; at smaller N it grows first, because more "
        "points are output, while the mean residual over the grid falls.",
        plot=_plot_duffing(runs, chosen["sizes"]),
    )


def _summary(group: list[DuffingRun]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, words in (
        ("edmd_max", "EDMD worst residual"),
        ("edmd_median", "EDMD median residual"),
        ("certificate", "certificate"),
        ("n_certified", "points output"),
        ("mean_residual", "mean residual over the grid"),
        ("residual_at_i", "residual at i"),
    ):
        values = np.array([getattr(run, name) for run in group], dtype=float)
        row[words] = float(values.mean())
        row[f"{words}, spread"] = float(values.std())
    return row


def _slope(runs: dict[tuple[float, int], list[DuffingRun]], damping: float) -> float:
    points = [(np.log(n), np.log(run.certificate)) for (d, n), group in runs.items() if d == damping for run in group]
    x, y = np.array(points).T
    return float(np.polyfit(x, y, 1)[0])


def _plot_duffing(runs: dict[tuple[float, int], list[DuffingRun]], sizes: tuple[int, ...]) -> Any:
    figure, axes = new_figure(1, 2, width=9.6, height=3.4, sharey=True)
    for ax, damping in zip(axes[0], (0.0, 0.3)):
        present = [n for n in sizes if (damping, n) in runs]
        for name, words, style, color in (
            ("edmd_max", "EDMD, worst residual", "o-", COLORS[1]),
            ("edmd_median", "EDMD, median residual", "^:", COLORS[5]),
            ("certificate", "certificate", "s--", COLORS[0]),
        ):
            values = np.array([[getattr(run, name) for run in runs[damping, n]] for n in present])
            ax.errorbar(
                present, values.mean(axis=1), values.std(axis=1), fmt=style, color=color, label=words, capsize=3
            )
        ax.set(xscale="log", yscale="log", xlabel="dictionary size N", title=f"damping {damping:g}")
        ax.set_xticks(present, [str(n) for n in present])
        ax.minorticks_off()
    axes[0, 0].set_ylabel("residual (mean and spread of the runs)")
    axes[0, 1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


# --- 3: honesty ----------------------------------------------------------------------------------------------------


def disc_blocks(system: DiscMap, wave_numbers: range, n_radial: int) -> list[CompressedOperator]:
    r"""The operator of a disc map on Legendre polynomials of :math:`r^2` times :math:`e^{ik\theta}`, one block a k.

    The map turns each circle, so that functions of different k never mix; with :math:`s = r^2` the area is uniform.
    """
    nodes, weights = np.polynomial.legendre.leggauss(max(1000, 5 * n_radial))
    radius = np.sqrt((nodes + 1) / 2)
    radial = np.polynomial.legendre.legvander(nodes, n_radial - 1) * np.sqrt(2 * np.arange(n_radial) + 1)
    turn = np.exp(2j * np.pi * system.rotation(radius))
    return [
        CompressedOperator.from_pairs(radial.astype(np.complex128), turn[:, None] ** k * radial, weights / 2)
        for k in wave_numbers
    ]


def disc_residual(system: DiscMap, wave_numbers: range, n_radial: int, z: Any) -> np.ndarray:
    """Residual of the whole space: the least over the blocks."""
    return np.min([block.residual(z) for block in disc_blocks(system, wave_numbers, n_radial)], axis=0)


def _cat_orbit(length: int, modulus: int) -> np.ndarray:
    """Wave numbers along one orbit of the cat map's transpose, modulo the grid: plane waves that the map passes on."""
    step = np.array([[2, 1], [1, 1]])
    waves = [np.array([1, 0])]
    for _ in range(length - 1):
        waves.append(step @ waves[-1] % modulus)
    orbit = np.array([[0, 0], *waves])
    if len(np.unique(orbit, axis=0)) != length + 1:
        raise ValueError(f"modulus {modulus} is too small for an orbit of length {length}")
    return orbit


@claim(
    "koopman",
    3,
    says="Every output of the certified algorithm lies within its certificate of the true spectrum, and the true spectrum "
    "is covered.",
    source="Theorem on measure-preserving systems with a known modulus of continuity (one limit, with certificates)",
)
def the_certificate_is_honest(scale: Scale) -> Measurement:
    """Maps of known spectrum: a violation is an output farther from the spectrum than its residual, by more than 1e-10.

    Covered means that every true point is within c h of an output, h the candidates' spacing. The cat map mixes so fast
    that all wave numbers up to n hold only some log n steps of any orbit; its dictionary is therefore one orbit.
    """
    spacing = {"cpu": 0.05, "gpu": 0.02, "paper": 0.02}[scale]
    orbit = {"cpu": 64, "gpu": 160, "paper": 160}[scale]
    radial = {"cpu": (12, 120), "gpu": (30, 300), "paper": (30, 300)}[scale]
    degree = {"cpu": 200, "gpu": 500, "paper": 500}[scale]
    waves = Fourier.up_to(degree, 1, 2 * np.pi)
    fifth, irrational = rotation(4 * degree), rotation(4 * degree, angle=float(np.sqrt(2)), order=None)
    modulus = 103 if scale == "cpu" else 173  # primes whose orbits are longer than that
    cat, bumped, quarter = cat_map(modulus), DiscMap(0.25, amplitude=0.05), DiscMap(0.25)
    cases: dict[str, tuple[Callable[[np.ndarray], np.ndarray], KnownSpectrum, list[Spectrum]]] = {}

    def add(name: str, operator: CompressedOperator, known: KnownSpectrum | None) -> None:
        if known is None:
            raise ValueError(f"{name} has no known spectrum")
        cases[name] = (operator.residual, known, [operator.eigenpairs()])

    add("rotation by a fifth", compress(waves, fifth.X, fifth.Y), fifth.spectrum)
    add("rotation by √2", compress(waves, irrational.X, irrational.Y), irrational.spectrum)
    add("cat map", compress(Fourier(_cat_orbit(orbit, modulus), 1.0), cat.X, cat.Y), cat.spectrum)
    for name, system in (("disc, quarter turn", quarter), ("disc, bumped", bumped)):
        blocks = disc_blocks(system, range(-radial[0], radial[0] + 1), radial[1])
        pairs = [block.eigenpairs() for block in blocks]
        cases[name] = (lambda z, b=blocks: np.min([block.residual(z) for block in b], axis=0), system.spectrum, pairs)  # type: ignore[misc]
    table: list[dict[str, Any]] = []
    judged: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"EDMD": [], "grid": [], "circle": []}
    for name, (residual, known, spectra) in cases.items():
        edmd = np.concatenate([spectrum.eigenvalues for spectrum in spectra])
        judged["EDMD"].append((np.concatenate([spectrum.residuals for spectrum in spectra]), known.distance(edmd)))
        for kind, points in (
            ("circle", circle_candidates(spacing)),
            ("grid", grid_candidates(max(spacing, 0.1), 1.2)),
        ):
            tau = residual(points)
            chosen = local_minimisers(points, tau, NEIGHBOURHOOD)
            outputs = points[chosen]
            excess = known.distance(outputs) - tau[chosen]
            judged[kind].append((tau[chosen], known.distance(outputs)))
            true = known.sample(2000)
            reach = float(np.abs(true[:, None] - outputs[None, :]).min(axis=1).max())
            table.append(
                {
                    "system": name,
                    "candidates": kind,
                    "outputs": len(outputs),
                    "violations": int((excess > 1e-10).sum()),
                    "largest excess": float(excess.max()),
                    "certificate": float(tau[chosen].max()),
                    "farthest true point": reach,
                    "allowed (c h)": NEIGHBOURHOOD * (spacing if kind == "circle" else max(spacing, 0.1)),
                    "EDMD eigenvalues farther than 0.1": float((known.distance(edmd) > 0.1).mean()),
                }
            )
    violations = sum(row["violations"] for row in table)
    # The points of a grid miss the circle, so that only candidates on the circle can come near to all of it.
    covered = all(row["farthest true point"] <= row["allowed (c h)"] for row in table if row["candidates"] == "circle")
    astray = max(row["EDMD eigenvalues farther than 0.1"] for row in table)
    on_circle = [row for row in table if row["candidates"] == "circle"]
    return Measurement(
        figure=float(violations),
        holds=violations == 0 and covered,
        threshold="no output farther from the spectrum than its residual + 1e-10; with candidates on the circle every true "
        "point within c h of an output",
        unit=f"violations among {sum(row['outputs'] for row in table)} outputs",
        paper="0 (theorem)",
        baseline=astray,
        baseline_name="largest fraction of EDMD eigenvalues farther than 0.1 from the spectrum",
        table=table,
        plot=_plot_honesty(judged, on_circle, NEIGHBOURHOOD * spacing),
    )


def _plot_honesty(
    judged: dict[str, list[tuple[np.ndarray, np.ndarray]]], rows: list[dict[str, Any]], allowed: float
) -> Any:
    """What is said of each point against what is true of it; and how much of the spectrum is reached."""
    figure, axes = new_figure(1, 2, width=9.6, height=3.8)
    left, right = axes[0]
    styles = {"EDMD": ("x", COLORS[3], "EDMD's eigenpairs"), "grid": ("o", COLORS[0], "certified, of a grid")}
    for kind, (marker, color, words) in styles.items():
        said, true = (np.concatenate(values) for values in zip(*judged[kind]))
        left.plot(said, true, marker, color=color, markersize=5, markerfacecolor="none", label=f"{words} ({len(said)})")
    ends = np.array([0, 1.5])
    left.plot(ends, ends, color="black", linewidth=1)
    left.fill_between(ends, ends, 1.5, color="black", alpha=0.08)
    left.text(0.07, 0.8, "farther than it says", transform=left.transAxes)
    left.set(
        xlabel="residual: what it says", ylabel="true distance to the spectrum", xlim=(-0.03, 1.15), ylim=(-0.03, 1.15)
    )
    left.legend(loc="upper left", fontsize="small", bbox_to_anchor=(0, 1.22))
    place = np.arange(len(rows))
    right.barh(place, [max(row["farthest true point"], 1e-4) for row in rows], 0.5)
    right.axvline(allowed, ls="--", color="black", label=f"allowed, c h = {allowed:g}")
    right.set_yticks(place, [row["system"] for row in rows])
    right.invert_yaxis()
    right.set(xlabel="distance from the farthest true point to an output", xlim=(0, 1.25 * allowed))
    right.legend(loc="upper left", fontsize="small", bbox_to_anchor=(0, 1.14))
    return figure


# --- 4: the adversary ----------------------------------------------------------------------------------------------

INDEPENDENT = {(2, 10): 0.7654, (4, 10): 0.365, (4, 20): 0.230, (4, 40): 0.129, (8, 80): 0.070, (12, 120): 0.048}


def _adversarys_victims(seed: int) -> dict[str, Callable[[Callable[[np.ndarray], np.ndarray]], np.ndarray]]:
    """EDMD, its residual filter and the certified algorithm, on points drawn at random, on a grid and adaptively."""

    def features(states: np.ndarray) -> np.ndarray:
        radial = np.polynomial.legendre.legvander(2 * states[:, 0] ** 2 - 1, 3)
        angular = np.exp(1j * np.outer(states[:, 1], np.arange(-3, 4)))
        return (radial[:, :, None] * angular[:, None, :]).reshape(len(states), -1)

    def draw(sampler: str, F: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng(seed)
        if sampler == "random":
            X = np.stack([np.sqrt(generator.uniform(size=300)), generator.uniform(0, 2 * np.pi, size=300)], axis=1)
        elif sampler == "grid":
            radius, angle = np.meshgrid(np.linspace(0.02 + 0.001 * seed, 1, 15), 2 * np.pi * np.arange(20) / 20)
            X = np.stack([radius.ravel(), angle.ravel()], axis=1)
        else:  # each round looks where the rotation seen so far departs most from its median
            radius = np.sqrt(generator.uniform(size=50))
            for _ in range(5):
                seen = F(np.stack([radius, np.zeros_like(radius)], axis=1))[:, 1]
                target = radius[np.argmax(np.abs(seen - np.median(seen)))]
                radius = np.append(radius, np.clip(target + 0.1 * generator.normal(size=50), 0, 1))
            X = np.stack([radius, generator.uniform(0, 2 * np.pi, size=len(radius))], axis=1)
        return X, F(X)

    def edmd(sampler: str) -> Callable[[Callable[[np.ndarray], np.ndarray]], np.ndarray]:
        return lambda F: compress(features, *draw(sampler, F)).eigenpairs().eigenvalues

    def filtered(sampler: str) -> Callable[[Callable[[np.ndarray], np.ndarray]], np.ndarray]:
        return lambda F: compress(features, *draw(sampler, F)).eigenpairs().within(0.1).eigenvalues

    def certified(sampler: str) -> Callable[[Callable[[np.ndarray], np.ndarray]], np.ndarray]:
        return lambda F: compress(features, *draw(sampler, F)).certified_spectrum("circle", spacing=0.05).eigenvalues

    makers = {"EDMD": edmd, "ResDMD": filtered, "certified": certified}
    return {
        f"{name}, {sampler} points": maker(sampler)
        for name, maker in makers.items()
        for sampler in ("random", "grid", "adaptive")
    }


@claim(
    "koopman",
    4,
    says="Two systems that agree on all data seen defeat every algorithm in one limit; with growing dictionaries the "
    "residual tells them apart.",
    source="Impossibility theorem on the disc and its proof's construction",
    quick=True,
)
def no_algorithm_succeeds_in_one_limit_without_a_modulus_of_continuity(scale: Scale) -> Measurement:
    """Nine algorithms against the adversary, each with several seeds; then the residual at exp(i pi/4) for both systems.

    The independent implementation's residuals are those of the wave numbers 0 <= k <= n, not |k| <= n: the negative ones
    add functions (k = -3 turns by exp(i pi/4) nearer the bump's flat top) and more than halve the residual. Both are
    measured; the comparison within 2 % is with the independent implementation's own functions.
    """
    n_seeds = {"cpu": 5, "gpu": 20, "paper": 20}[scale]
    table: list[dict[str, Any]] = []
    errors: list[float] = []
    identical = True
    for name in _adversarys_victims(0):
        results = [confuse(_adversarys_victims(seed)[name]) for seed in range(n_seeds)]
        worst = [max(result.errors) for result in results]
        identical &= all(result.identical for result in results)
        errors += worst
        table.append(
            {
                "case": name,
                "same bits": all(result.identical for result in results),
                "least error of the worse answer": min(worst),
                "bound": results[0].bound,
            }
        )
    target = np.exp(0.25j * np.pi)
    quarter, bumped = DiscMap(0.25), DiscMap(0.25, amplitude=0.05, centre=0.5, width=0.2)
    stays, falls, both_signs, gaps = [], [], [], []
    for (degree, radial), expected in INDEPENDENT.items():
        upwards, downwards = range(degree + 1), range(-degree, 0)
        stays.append(float(disc_residual(quarter, upwards, radial, target)))
        falls.append(float(disc_residual(bumped, upwards, radial, target)))
        both_signs.append(min(falls[-1], float(disc_residual(bumped, downwards, radial, target))))
        gaps.append(abs(falls[-1] / expected - 1))
        table.append(
            {
                "case": f"n = {degree}, {radial} radial functions",
                "residual, quarter turn": stays[-1],
                "residual, bumped, 0 <= k <= n": falls[-1],
                "residual, bumped, |k| <= n": both_signs[-1],
                "independent implementation": expected,
            }
        )
    exact = 2 * np.sin(np.pi / 8)
    figure, axes = new_figure(1, 2, width=9.6, height=3.6)
    left, right = axes[0]
    victims = [row for row in table if "bound" in row]
    left.barh(np.arange(len(victims)), [row["least error of the worse answer"] for row in victims], 0.6)
    left.axvline(np.sin(np.pi / 8), ls="--", color="black", label="no algorithm can be below this")
    left.set_yticks(np.arange(len(victims)), [row["case"] for row in victims])
    left.invert_yaxis()
    left.set(xlabel="error (Hausdorff) on the worse of two systems")
    left.legend(loc="upper left", fontsize="small", bbox_to_anchor=(0, 1.15))
    sizes = [(2 * degree + 1) * radial for degree, radial in INDEPENDENT]
    right.loglog(sizes, stays, "s--", label="quarter turn: not in its spectrum")
    right.loglog(sizes, both_signs, "o-", label="bumped twin: in its spectrum")
    right.set(xlabel="functions", ylabel="residual at exp(iπ/4)")
    right.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5, 1], ["0.02", "0.05", "0.1", "0.2", "0.5", "1"])
    right.minorticks_off()
    right.legend(fontsize="small", loc="lower left")
    return Measurement(
        figure=min(errors),
        holds=bool(
            identical
            and min(errors) >= np.sin(np.pi / 8)
            and np.ptp(stays) < 1e-9
            and abs(stays[0] - exact) < 1e-9
            and max(gaps) <= 0.02
            and (np.diff(both_signs) < 0).all()
        ),
        threshold="all answers equal bit by bit, error >= 0.3827 on one of the two systems; residual of the quarter turn "
        "constant at 0.765367, of the bumped one falling, and within 2 % of the independent implementation's",
        unit="least error (Hausdorff) of the worse of the two answers",
        paper=">= 0.3827 (theorem)",
        baseline=2 * float(np.sin(np.pi / 8)),
        baseline_name="Hausdorff distance of the two spectra",
        spread=float(np.std(errors)),
        n_seeds=n_seeds,
        table=table,
        note=f"Largest departure from the independent implementation's residuals: {100 * max(gaps):.2f} %.",
        plot=figure,
    )


# --- 5: spectral measures ------------------------------------------------------------------------------------------


@claim(
    "koopman",
    5,
    says="Smoothed spectral measures converge at the order of their kernel.",
    source="Section on spectral measures; program CMV_example of the companion repository",
)
def spectral_measures_converge_at_their_order(scale: Scale) -> Measurement:
    """CMV matrix, q = 0.95, first basis vector: the exact density is the wrapped Gaussian of variance log(1/q)."""
    size = {"cpu": 1000, "gpu": 2000, "paper": 2000}[scale]
    epsilons = {"cpu": (0.1, 0.05, 0.025), "gpu": (0.1, 0.05, 0.025, 0.0125), "paper": (0.1, 0.05, 0.025, 0.0125)}[
        scale
    ]
    independent = {
        1: (0.462, 0.265, 0.143),
        2: (0.113, 0.0362, 0.0104),
        4: (5.56e-3, 5.43e-4, 4.3e-5),
        6: (2.6e-4, 7.6e-6, 1.7e-7),
    }
    theta = np.array([0, 0.2, 0.5, 1, 2, 3])
    exact = cmv_density(theta)
    triangle, unitary = scipy.linalg.schur(cmv_matrix(size), output="complex")
    first = unitary[0].conj()  # the first basis vector in the Schur basis
    table: list[dict[str, Any]] = []
    orders: dict[int, float] = {}
    figure, axes = new_figure(width=5.8)
    for index, order in enumerate(independent):
        errors = [
            float(np.abs(isometry_measure(triangle, first, theta, epsilon=epsilon, order=order) - exact).max())
            for epsilon in epsilons
        ]
        orders[order] = float(np.log2(errors[-2] / errors[-1]))
        row: dict[str, Any] = {"order": order, "fitted order": orders[order]}
        for epsilon, error in zip(epsilons, errors):
            row[f"error at {epsilon:g}"] = error
        for epsilon, expected in zip(epsilons, independent[order]):
            row[f"independent implementation at {epsilon:g}"] = expected
        table.append(row)
        axes[0, 0].loglog(epsilons, errors, "o-", color=COLORS[index], label=f"order {order}")
        guide = errors[-1] * (np.array(epsilons) / epsilons[-1]) ** order
        axes[0, 0].loglog(epsilons, guide, ":", color=COLORS[index])
    axes[0, 0].plot([], [], ":", color="grey", label="ε to the order")
    axes[0, 0].set(xlabel="smoothing ε", ylabel="largest error of the density")
    axes[0, 0].set_xticks(epsilons, [f"{epsilon:g}" for epsilon in epsilons])
    axes[0, 0].minorticks_off()
    axes[0, 0].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    off = max(abs(orders[order] - order) for order in (1, 2, 4))
    return Measurement(
        figure=off,
        holds=off <= 0.4,
        threshold="fitted order between the two smallest ε within 0.4 of m for m = 1, 2, 4",
        unit="largest departure of the fitted order from m",
        paper="0 (theorem, up to a logarithm)",
        baseline=float(table[0][f"error at {epsilons[-1]:g}"]),
        baseline_name="error of the first-order (Poisson) kernel at the smallest ε; order 4 has "
        f"{table[2][f'error at {epsilons[-1]:g}']:.1e}",
        table=table,
        plot=figure,
    )


# --- 6: RAGE -------------------------------------------------------------------------------------------------------


@claim(
    "koopman",
    6,
    says="The energy in the point spectrum separates the regimes of the lid-driven cavity: periodic, quasi-periodic, mixed, "
    "chaotic.",
    source="Figure on the cavity flow; program cavity_example",
)
def rage_separates_flow_regimes(scale: Scale) -> Measurement:
    """Kinetic energy of the real simulation data, 20 delays of stride 10, 10 000 samples and 10 000 lags (the paper's)."""
    try:
        series = download(CAVITY)
    except OSError as error:
        raise ScaleUnavailable(f"the cavity data could not be downloaded: {error}") from error
    expected = {"Re13000": 1.000, "Re16000": 0.860, "Re19000": 0.275, "Re30000": 0.157}
    words = ("periodic", "quasi-periodic", "mixed", "chaotic")
    table: list[dict[str, Any]] = []
    figure, axes = new_figure(width=6.8)
    for index, (name, value) in enumerate(expected.items()):
        curves = point_spectrum_fraction(series[name], n_delays=20, stride=10, n_lags=10_000, n_samples=10_000)
        table.append(
            {
                "flow": f"{name}, {words[index]}",
                "P(20)": float(curves[-1, -1]),
                "P(10)": float(curves[9, -1]),
                "P(1)": float(curves[0, -1]),
                "P(20) at 1000 lags": float(curves[-1, 1000]),
                "independent implementation, P(20)": value,
            }
        )
        lags = np.unique(np.geomspace(1, 10_000, 200).astype(int))
        axes[0, 0].semilogx(lags, curves[-1, lags], color=COLORS[index], label=f"Re {name[2:]}, {words[index]}")
    axes[0, 0].axvline(190, ls=":", color="black", label="longest delay: fewer lags\nsay nothing")
    axes[0, 0].set(xlabel="lags averaged over", ylabel="energy in the point spectrum", ylim=(0, 1.05))
    axes[0, 0].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    fractions = np.array([row["P(20)"] for row in table])
    gaps = np.abs(fractions - list(expected.values()))
    single = abs(table[0]["P(1)"] - 0.497)
    return Measurement(
        figure=float(fractions[-1]),
        holds=bool(max(gaps.max(), single) <= 0.005 and (np.diff(fractions) < 0).all()),
        threshold="P(20) = 1.000, 0.860, 0.275, 0.157 and P(1) = 0.497 at Re 13000, within 0.005; falling with Re",
        unit="energy in the point spectrum at Re 30000",
        baseline=float(fractions[0]),
        baseline_name="the same at Re 13000",
        table=table,
        note="With 1000 lags instead of 10 000 the chaotic flow still shows "
        f"{table[3]['P(20) at 1000 lags']:.2f}: a slow drift looks like "
        "point spectrum. Its curve still falls at 10 000 lags, where the "
        "data end, so that its figure is an upper estimate.",
        plot=figure,
    )

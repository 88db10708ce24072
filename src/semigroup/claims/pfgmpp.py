"""Claims of the PFGM++ paper.

The laws (claims 1 to 3 and 5) are measured on point sets, whose denoisers are known exactly. What is said of trained models
(4 and 6) is measured on digits, with a perceptron on scikit-learn's where there is no accelerator, and else with a U-Net on
MNIST's test set; CIFAR-10 and FFHQ, on which the paper measures, are not available here.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import polygamma
from scipy.stats import betaprime, chi2, kstest
from torch import Tensor

from semigroup.claims import Measurement, Scale, ScaleUnavailable, claim, side_by_side
from semigroup.data.images import digits, mnist
from semigroup.densities.pfgmpp import (
    PFGMpp,
    PointSetDenoiser,
    Quality,
    assess,
    beta_noise,
    posterior_mean,
    sample_heun,
    stable_target,
    student_noise,
)
from semigroup.report.figures import COLORS, new_figure
from semigroup.schedules import karras_sigmas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INF = math.inf


def _generator(*seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))


# --- 1: the kernel -------------------------------------------------------------------------------------------------

CASES = ((64, 1.0), (64, 16.0), (3072, 128.0))


def squared_radii(
    n: int, n_features: int, D: float, generator: torch.Generator, *, clip: float | None = None
) -> np.ndarray:
    """``R^2 / r^2`` of n draws of the library's noise, or of the clipped Beta route."""
    found = []
    for start in range(0, n, 5000):
        size = min(5000, n - start)
        if clip is None:
            noise = student_noise(size, n_features, D, generator)
        else:
            noise = beta_noise(size, n_features, D, generator, clip=clip)
        found.append(noise.double().square().sum(1) / D)
    return torch.cat(found).numpy()


@claim(
    "pfgmpp",
    1,
    says="The perturbation kernel's squared radius follows the Beta prime law, whose tails the noise has in full.",
    source="Perturbation kernel",
    quick=True,
)
def noise_follows_the_beta_prime_law(scale: Scale) -> Measurement:
    """KS p > 1e-3 in each of five seeds of 50,000 draws, Var log(R^2/r^2) within 2 % on their mean; fixed before.

    One seed's variance at (64, 1) has a standard error of 1.1 %, so that the mean of five is judged.
    """
    n_draws, n_seeds = 50_000, 5
    table: list[dict[str, Any]] = []
    for n_features, D in CASES:
        runs = [squared_radii(n_draws, n_features, D, _generator(1, seed)) for seed in range(n_seeds)]
        expected = float(polygamma(1, n_features / 2) + polygamma(1, D / 2))
        variances = np.array([np.log(run).var() for run in runs])
        clipped = squared_radii(n_draws, n_features, D, _generator(1, n_seeds), clip=1e-3)
        table.append(
            {
                "N": n_features,
                "D": D,
                "variance": float(variances.mean()),
                "expected": expected,
                "error_percent": float(100 * abs(variances.mean() / expected - 1)),
                "spread": float(variances.std(ddof=1)),
                "least_p": float(min(kstest(run, betaprime(n_features / 2, D / 2).cdf).pvalue for run in runs)),
                "variance_clipped_beta": float(np.log(clipped).var()),
            }
        )
    worst = max(row["error_percent"] for row in table)
    return Measurement(
        figure=worst,
        holds=worst < 2 and all(row["least_p"] > 1e-3 for row in table),
        threshold="KS p > 1e-3 in every case and seed, variances within 2 %",
        unit="largest error of Var log(R^2/r^2), %",
        paper="R^2/r^2 ~ Beta prime(N/2, D/2)",
        baseline=table[0]["variance_clipped_beta"],
        baseline_name=f"variance with Beta draws clipped to [1e-3, 1 - 1e-3], N=64, D=1, of {table[0]['expected']:.2f}",
        n_seeds=n_seeds,
        table=table,
        note="The clip of the reference training cuts the tails where D is small and nothing where it is large.",
        plot=_draw_kernel(n_draws),
    )


def _draw_kernel(n_draws: int) -> Figure:
    figure, axes = new_figure(1, 1, width=6)
    ax = axes[0, 0]
    share = np.linspace(0.0005, 0.9995, 400)
    for (n_features, D), color in zip(CASES, COLORS):
        radii = squared_radii(n_draws, n_features, D, _generator(1, 0))
        unit = n_features / D
        ax.plot(np.quantile(radii, share) / unit, 1 - share, color=color, label=f"N = {n_features}, D = {D:g}")
        ax.plot(
            betaprime(n_features / 2, D / 2).ppf(share[::25]) / unit, 1 - share[::25], "o", color=color, markersize=4
        )
    clipped = squared_radii(n_draws, 64, 1.0, _generator(1, 0), clip=1e-3)
    ax.plot(np.quantile(clipped, share) / 64, 1 - share, "--", color=COLORS[0], label="N = 64, D = 1, clipped Beta")
    ax.plot([], [], "o", color="0.4", markersize=4, label="Beta prime law")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("squared radius / (r² N / D)")
    ax.set_ylabel("share of draws beyond")
    ax.legend()
    return figure


# --- 2 and 3: exact denoisers --------------------------------------------------------------------------------------

DIMENSIONS = (1.0, 2.0, 4.0, 16.0, 128.0, 2048.0, INF)
WEIGHTS = np.array([0.1, 0.15, 0.2, 0.25, 0.3])


def atoms_in_space(seed: int) -> Float[np.ndarray, "5 8"]:
    """Five standard Gaussian points in R^8."""
    return np.random.default_rng([2, seed]).standard_normal((5, 8))


def weight_statistic(
    atoms: Float[np.ndarray, "5 dim"],
    D: float,
    seed: int,
    n_paths: int,
    *,
    prior_D: float | None = None,
    r_is_sigma: bool = False,
) -> tuple[float, float]:
    """Chi-squared of the atoms that sampling reaches against their weights, and the share that ends within 1e-3 of one.

    The two faults to be found out: a prior with other degrees of freedom, and ``r = sigma`` in place of ``sigma sqrt(D)``.
    """
    exact = PointSetDenoiser(atoms, WEIGHTS, D=D)
    prior = PointSetDenoiser(atoms, WEIGHTS, D=D if prior_D is None else prior_D)
    unit = math.sqrt(D) if r_is_sigma else 1.0

    def denoise(x: Tensor, sigma: float) -> Tensor:
        return exact(x, sigma / unit)

    ends = sample_heun(denoise, prior.prior(n_paths, 80.0, _generator(2, seed)), karras_sigmas(64, 0.002, 80.0))
    gaps = torch.cdist(ends, torch.from_numpy(atoms))
    counts = torch.bincount(gaps.argmin(1), minlength=5).numpy()
    expected = n_paths * WEIGHTS
    return float(((counts - expected) ** 2 / expected).sum()), float((gaps.amin(1) < 1e-3).double().mean())


@claim(
    "pfgmpp",
    2,
    says="For every D the field's lines carry the prior to the data: one family from the Poisson flow to diffusion.",
    source="Unified family of generative models",
)
def every_dimension_reaches_the_exact_law(scale: Scale) -> Measurement:
    """Chi-squared summed over five seeds below its 99.9 % quantile 45.3 for each D; the faulty samplers above; fixed before.

    Endpoints within 1e-3 of an atom: all for D >= 2, 98 % at D = 1. A Gaussian prior at small D is found out on a line, N = 1; in
    R^8 the direction decides which atom is reached, and a Gaussian prior's directions are right (reported). With r = sigma
    at D = 1 nothing is wrong, at D = 2 little, so D >= 4 is judged.
    """
    n_paths, n_seeds = (20_000, 5) if scale == "cpu" else (100_000, 5)
    limit = float(chi2(4 * n_seeds).ppf(0.999))
    line = np.linspace(-2, 2, 5)[:, None]
    cases: list[tuple[float, str, str, dict[str, Any]]] = [
        *((D, "R^8", "none", {}) for D in DIMENSIONS),
        *((D, "R^1", "none", {}) for D in (1.0, 2.0, 4.0)),
        *((D, "R^1", "Gaussian prior", {"prior_D": INF}) for D in (1.0, 2.0, 4.0)),
        *((D, "R^8", "Gaussian prior", {"prior_D": INF}) for D in (1.0, 4.0)),
        *((D, "R^8", "r = sigma", {"r_is_sigma": True}) for D in (4.0, 16.0, 128.0, 2048.0)),
    ]
    table: list[dict[str, Any]] = []
    for D, space, fault, options in cases:
        runs = [
            weight_statistic(atoms_in_space(seed) if space == "R^8" else line, D, seed, n_paths, **options)
            for seed in range(n_seeds)
        ]
        table.append(
            {
                "D": D,
                "space": space,
                "fault": fault,
                "chi_squared": sum(run[0] for run in runs),
                "largest_of_a_seed": max(run[0] for run in runs),
                "at_an_atom": min(run[1] for run in runs),
            }
        )
    right = [row for row in table if row["fault"] == "none"]
    wrong = [
        row for row in table if row["fault"] != "none" and (row["space"], row["fault"]) != ("R^8", "Gaussian prior")
    ]
    worst = max(row["chi_squared"] for row in right)
    landed = all(row["at_an_atom"] >= (0.98 if row["D"] == 1 else 0.999) for row in right if row["space"] == "R^8")
    return Measurement(
        figure=worst,
        holds=worst < limit and landed and all(row["chi_squared"] > limit for row in wrong),
        threshold=f"< {limit:.1f} for every D, and > {limit:.1f} for samplers with a fault",
        unit=f"largest chi-squared over D, {4 * n_seeds} degrees of freedom",
        paper="the same law for every D",
        baseline=min(row["chi_squared"] for row in wrong),
        baseline_name="least chi-squared of a sampler with a fault",
        n_seeds=n_seeds,
        table=table,
        note=f"{n_paths} paths a seed, 64 Heun steps, sigma from 80 to 0.002. A Gaussian prior in R^8 is reported and not "
        "judged: the atom that a path reaches depends on its direction far more than on its length.",
        plot=_draw_statistics(table, limit),
    )


def _draw_statistics(table: list[dict[str, Any]], limit: float) -> Figure:
    figure, axes = new_figure(1, 1, width=7)
    ax = axes[0, 0]
    kinds = (
        ("R^8", "none", "o-", "right, N = 8"),
        ("R^1", "none", "s-", "right, N = 1"),
        ("R^1", "Gaussian prior", "^--", "Gaussian prior, N = 1"),
        ("R^8", "Gaussian prior", "v--", "Gaussian prior, N = 8"),
        ("R^8", "r = sigma", "x:", "r = σ, N = 8"),
    )
    place = {D: i for i, D in enumerate(DIMENSIONS)}
    for (space, fault, style, label), color in zip(kinds, COLORS):
        rows = [row for row in table if (row["space"], row["fault"]) == (space, fault)]
        ax.plot(
            [place[row["D"]] for row in rows], [row["chi_squared"] for row in rows], style, color=color, label=label
        )
    ax.axhline(limit, color="black", linewidth=0.8, label="99.9 % quantile")
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_xticks(range(len(DIMENSIONS)), ["∞" if D == INF else f"{D:g}" for D in DIMENSIONS])
    ax.set_xlabel("D")
    ax.set_ylabel("chi-squared of reached atoms")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def denoiser_gap(D: float, seed: int, sigma: float = 1.0, n: int = 20_000) -> float:
    """Root mean squared difference of the exact denoisers at D and at infinity, over noisy points of diffusion."""
    atoms, generator = atoms_in_space(seed), _generator(3, seed)
    source = torch.multinomial(torch.from_numpy(WEIGHTS), n, replacement=True, generator=generator)
    x = torch.from_numpy(atoms)[source] + sigma * student_noise(n, 8, INF, generator, dtype=torch.float64)
    gap = PointSetDenoiser(atoms, WEIGHTS, D=D)(x, sigma) - PointSetDenoiser(atoms, WEIGHTS)(x, sigma)
    return float(gap.square().sum(1).mean().sqrt())


@claim(
    "pfgmpp",
    3,
    says="As D grows at fixed sigma = r / sqrt(D), the model becomes the diffusion model, at the rate 1/D.",
    source="Theorem on D to infinity",
    quick=True,
)
def becomes_diffusion_at_rate_one_over_D(scale: Scale) -> Measurement:
    """Log-log slope of the gap over D = 100, 1000, 10,000 within -1 +- 0.1 for each of five point sets; fixed before."""
    sizes, n_seeds = (1e2, 1e3, 1e4, 1e6), 5
    gaps = np.array([[denoiser_gap(D, seed) for D in sizes] for seed in range(n_seeds)])
    slopes = np.array([np.polyfit(np.log(sizes[:3]), np.log(row[:3]), 1)[0] for row in gaps])
    figure, axes = new_figure(1, 1)
    for row in gaps:
        axes[0, 0].plot(sizes, row, ".", color="0.6")
    axes[0, 0].plot(sizes, gaps.mean(0), "o-", label=f"mean, slope {slopes.mean():.3f}")
    axes[0, 0].plot(sizes, gaps.mean(0)[0] * sizes[0] / np.asarray(sizes), "k--", linewidth=1, label="slope -1")
    axes[0, 0].set(
        xscale="log", yscale="log", xlabel="D", ylabel="rms difference to the diffusion\nmodel's denoiser, σ = 1"
    )
    axes[0, 0].legend()
    return Measurement(
        figure=float(slopes.mean()),
        holds=bool((np.abs(slopes + 1) < 0.1).all()),
        threshold="-1 +- 0.1 for each point set",
        unit="log-log slope of the rms difference of denoisers",
        paper="equal in the limit; the rate is not the paper's",
        spread=float(slopes.std(ddof=1)),
        n_seeds=n_seeds,
        table=[
            {"D": D, "gap": float(g), "spread": float(s)} for D, g, s in zip(sizes, gaps.mean(0), gaps.std(0, ddof=1))
        ],
        note="Five atoms in R^8, sigma = 1; in an independent implementation 0.068, 0.0079 and 0.00081 on atoms of its own.",
        plot=figure,
    )


# --- 4 and 6: trained models ---------------------------------------------------------------------------------------


@cache
def digit_images(scale: Scale) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training images, held-out images, and the labels of both in this order."""
    if scale == "paper":
        raise ScaleUnavailable("CIFAR-10 and FFHQ are not available here")
    if scale == "cpu":
        images, labels = digits()
        n_held = 397
    else:
        raw, labels = mnist()
        images, n_held = raw / 255, 2000
    order = np.random.default_rng(4).permutation(len(images))
    images, labels = images[order], labels[order]
    images = images.reshape(len(images), -1) if scale == "cpu" else images[:, None]
    return images[:-n_held], images[-n_held:], labels


@cache
def judge(scale: Scale) -> Any:
    """What turns images into the rows that are compared: nothing for the digits, a classifier's features for MNIST."""
    if scale == "cpu":
        return None
    from semigroup.nn.classifier import train_classifier

    training, _, labels = digit_images(scale)
    classifier = train_classifier(training, labels[: len(training)], random_state=0)
    return lambda images: classifier.features(torch.as_tensor(images, dtype=torch.float32)).numpy()


def new_model(scale: Scale, D: float, seed: int, n_steps: int | None = None) -> PFGMpp:
    """The model of a scale, the same for every D."""
    if scale == "cpu":
        return PFGMpp(D=D, n_steps=n_steps or 3000, device="cpu", random_state=seed)
    return PFGMpp(D=D, n_steps=n_steps or 20_000, learning_rate=5e-4, device="cuda", random_state=seed)


def train_and_disturb(
    scale: Scale, D: float, seed: int, disturbances: tuple[dict[str, Any], ...], n_steps: int | None = None
) -> list[Quality]:
    """Train one model, and compare its samples with held-out images under each disturbance."""
    training, held_out, _ = digit_images(scale)
    model = new_model(scale, D, seed, n_steps).fit(training)
    n_samples = 1000 if scale == "cpu" else 2000
    return [
        assess(model, held_out, n_samples=n_samples, features=judge(scale), random_state=1000 + seed, **how)
        for how in disturbances
    ]


def _rows(runs: dict[float, list[list[Quality]]]) -> list[dict[str, Any]]:
    """Means and spreads over seeds of each D and disturbance."""
    table = []
    for D, seeds in runs.items():
        for qualities in zip(*seeds):
            frechet = np.array([quality.frechet for quality in qualities])
            first = qualities[0]
            table.append(
                {
                    "D": D,
                    "noise": first.disturbance,
                    "bits": first.bits or 32,
                    "levels": first.n_levels,
                    "frechet": float(frechet.mean()),
                    "spread": float(frechet.std(ddof=1)) if len(frechet) > 1 else None,
                    "energy": float(np.mean([quality.energy for quality in qualities])),
                }
            )
    return table


@claim(
    "pfgmpp",
    4,
    says="Models of smaller D stand noise that is added in sampling better than diffusion.",
    source="Robustness to controlled errors, quantisation and larger steps",
)
def smaller_dimension_is_more_robust(scale: Scale) -> Measurement:
    """Rise of the Fréchet distance at noise 0.3 for D = 16 (64 on an accelerator) over that for infinity: mean below 0.85.

    The threshold is that of an independent implementation, over five seeds (three on an accelerator) in place of its two; the
    mean rise must also grow with D, up to 5 %. How far the ratio is from 1 and from 0.85 is in the note.
    """
    if scale == "cpu":
        dimensions: tuple[float, ...] = (16.0, INF)
        n_seeds = 5
        ways: tuple[dict[str, Any], ...] = (
            {},
            {"disturbance": 0.2},
            {"disturbance": 0.3},
            {"bits": 6},
            {"bits": 4},
            {"n_levels": 8},
        )
    else:
        dimensions, n_seeds = (64.0, 128.0, 2048.0, INF), 3
        ways = (
            {},
            *({"disturbance": a} for a in (0.1, 0.2, 0.3)),
            *({"bits": b} for b in (9, 8, 7, 6, 5)),
            *({"n_levels": n} for n in (9, 12)),
        )
    cases = [(scale, D, seed, ways) for D in dimensions for seed in range(n_seeds)]
    found = side_by_side(train_and_disturb, cases, "cpu" if scale == "cpu" else "cuda")
    runs = {D: found[i * n_seeds : (i + 1) * n_seeds] for i, D in enumerate(dimensions)}
    noisiest = next(i for i, way in enumerate(ways) if way.get("disturbance") == 0.3)
    rises = {D: np.array([seed[noisiest].frechet - seed[0].frechet for seed in seeds]) for D, seeds in runs.items()}
    ratios = rises[dimensions[0]] / rises[INF]
    means = [rises[D].mean() for D in dimensions]
    ordered = all(later > 0.95 * earlier for earlier, later in pairwise(means))
    error = float(ratios.std(ddof=1)) / math.sqrt(n_seeds)
    return Measurement(
        figure=float(ratios.mean()),
        holds=bool(ratios.mean() < 0.85) and ordered,
        threshold="< 0.85, and the mean rise grows with D, up to 5 %",
        unit=f"rise of the Fréchet distance at noise 0.3, D = {dimensions[0]:g} over D = infinity",
        paper="smaller D degrades more gracefully",
        baseline=1.0,
        baseline_name="diffusion (D = infinity)",
        spread=float(ratios.std(ddof=1)),
        n_seeds=n_seeds,
        table=_rows(runs),
        note=(
            "8 x 8 digits, a perceptron." if scale == "cpu" else "MNIST's test set, a U-Net, a classifier's features."
        )
        + f" Standard error {error:.3f}: {(1 - ratios.mean()) / error:.1f} of them below 1, "
        f"{(0.85 - ratios.mean()) / error:.1f} below 0.85. Rounded weights and larger steps are in the table, and not judged.",
        plot=_draw_robustness(_rows(runs)),
    )


def _draw_robustness(table: list[dict[str, Any]]) -> Figure:
    figure, axes = new_figure(1, 3, width=11, height=3.4)
    most = max(row["levels"] for row in table)
    for D, color, style in zip(dict.fromkeys(row["D"] for row in table), COLORS, ("o-", "s--", "^:", "v-.")):
        own = [row for row in table if row["D"] == D]
        plain = next(row for row in own if row["noise"] == 0 and row["bits"] == 32 and row["levels"] == most)
        for ax, key in zip(axes[0], ("noise", "bits", "levels")):
            rows = sorted(
                {id(row): row for row in (plain, *(r for r in own if r[key] != plain[key]))}.values(),
                key=lambda r: r[key],
            )
            places = range(len(rows)) if key == "bits" else [row[key] for row in rows]
            errors = [row["spread"] or 0.0 for row in rows]
            label = "D = ∞" if D == INF else f"D = {D:g}"
            ax.errorbar(
                places, [row["frechet"] for row in rows], errors, fmt=style, color=color, label=label, capsize=2
            )
            if key == "bits":
                ax.set_xticks(places, [str(row["bits"]) for row in rows])
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter("{x:g}")
            ax.yaxis.set_minor_formatter("{x:g}")
    axes[0, 0].set(xlabel="noise added at every step (multiples of σ)", ylabel="Fréchet distance to held-out images")
    axes[0, 1].set(xlabel="bits of a weight")
    axes[0, 2].set(xlabel="noise levels of the sampler")
    axes[0, 0].legend()
    return figure


@claim("pfgmpp", 6, says="A finite D gives the best samples.", source="FID on CIFAR-10 and FFHQ")
def a_finite_dimension_is_the_sweet_spot(scale: Scale) -> Measurement:
    """Reported: the Fréchet distance of D = 128 and 2048 and of diffusion, three seeds; differences of FID of 3 % are claimed."""
    dimensions, n_seeds = (128.0, 2048.0, INF), 3
    plain: tuple[dict[str, Any], ...] = ({},)
    cases = [(scale, D, seed, plain) for D in dimensions for seed in range(n_seeds)]
    found = side_by_side(train_and_disturb, cases, "cpu" if scale == "cpu" else "cuda")
    runs = {D: found[i * n_seeds : (i + 1) * n_seeds] for i, D in enumerate(dimensions)}
    table = _rows(runs)
    best = min(table[:-1], key=lambda row: row["frechet"])
    figure, axes = new_figure(1, 1)
    for i, D in enumerate(dimensions):
        axes[0, 0].plot([i] * n_seeds, [seed[0].frechet for seed in runs[D]], "o", color="0.6")
    axes[0, 0].plot(range(3), [row["frechet"] for row in table], "s-", label="mean")
    axes[0, 0].set_xticks(range(3), ["128", "2048", "∞"])
    axes[0, 0].set(xlabel="D", ylabel="Fréchet distance to held-out images")
    axes[0, 0].legend()
    return Measurement(
        figure=best["frechet"],
        holds=None,
        threshold="reported only: too small a scale to tell differences of some per cent",
        unit=f"Fréchet distance of the better finite D, {best['D']:g}",
        paper="FID on CIFAR-10: 1.92 (D = 128), 1.91 (2048), 1.98 (infinity); on FFHQ 2.43 (128), 2.53 (infinity)",
        baseline=table[-1]["frechet"],
        baseline_name="diffusion (D = infinity)",
        spread=best["spread"],
        n_seeds=n_seeds,
        table=table,
        note="The spread over seeds says which differences can be seen at this scale.",
        plot=figure,
    )


# --- 5: the objective ----------------------------------------------------------------------------------------------

BATCHES = (4, 16, 64, 256)


def two_circles(n: int = 2000) -> Float[Tensor, "n 2"]:
    """Points on two circles around the origin, of radii 1 and 2."""
    angle = torch.arange(n, dtype=torch.float64) * (4 * math.pi / n)
    radius = torch.where(torch.arange(n) < n // 2, 1.0, 2.0).double()
    return radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)


def target_statistics(sigma: float, seed: int, n: int, D: float = 16.0) -> list[dict[str, Any]]:
    """Bias of each target along the posterior mean, ``E[(T - m) . m] / rms(m)``, its standard error, and its variance."""
    points, generator = two_circles(), _generator(5, seed)
    source = torch.randint(len(points), (n,), generator=generator)
    y = points[source]
    x = y + sigma * student_noise(n, 2, D, generator, dtype=torch.float64)
    levels = torch.full((n,), sigma, dtype=torch.float64)
    m = torch.cat([posterior_mean(*piece, points, D) for piece in zip(x.split(2000), levels.split(2000))])

    def within(references: Float[Tensor, "n batch 2"]) -> Float[Tensor, "n 2"]:
        """The library's target of each x in references of its own, whether its y is among them or not."""
        one = torch.vmap(lambda x, sigma, own: stable_target(x[None], sigma[None], own, D)[0])
        return one(x, levels, references)

    targets = {("data", 0): y}
    for size in BATCHES:
        drawn = points[torch.randint(len(points), (n, size), generator=generator)]
        targets["field of a batch", size] = within(drawn)
        targets["stable target", size] = within(torch.cat([y[:, None], drawn[:, 1:]], dim=1))
    rows = []
    scale = float(m.square().sum(1).mean().sqrt())
    for (name, size), target in targets.items():
        along = ((target - m) * m).sum(1) / scale
        rows.append(
            {
                "target": name,
                "batch": size,
                "sigma": sigma,
                "bias": float(along.mean()),
                "standard_error": float(along.std() / math.sqrt(n)),
                "variance": float((target - m).square().sum(1).mean()),
            }
        )
    return rows


@claim(
    "pfgmpp",
    5,
    says="The perturbation objective is unbiased for any batch size, which PFGM's field of a batch is not.",
    source="Perturbation-based objective",
)
def perturbation_objective_is_unbiased(scale: Scale) -> Measurement:
    """Data and stable targets within 4 standard errors of no bias, the field of a batch beyond 10 for B <= 64; fixed before.

    Also the stable target's variance at B = 64, sigma = 1 must be below a tenth of the data's.
    """
    n, n_seeds = (20_000, 5) if scale == "cpu" else (200_000, 5)
    runs = [[row for sigma in (0.5, 1.0) for row in target_statistics(sigma, seed, n)] for seed in range(n_seeds)]
    table = []
    for rows in zip(*runs):
        bias = float(np.mean([row["bias"] for row in rows]))
        error = float(np.sqrt(np.mean([row["standard_error"] ** 2 for row in rows]) / n_seeds))
        variance = float(np.mean([row["variance"] for row in rows]))
        table.append({**rows[0], "bias": bias, "standard_error": error, "variance": variance, "t": abs(bias) / error})
    unbiased = [row for row in table if row["target"] != "field of a batch"]
    biased = [row for row in table if row["target"] == "field of a batch" and row["batch"] <= 64 and row["sigma"] == 1]
    at_one = {(row["target"], row["batch"]): row for row in table if row["sigma"] == 1}
    reduction = at_one["stable target", 64]["variance"] / at_one["data", 0]["variance"]
    worst = max(row["t"] for row in unbiased)
    figure, axes = new_figure(1, 2, width=9)
    for name, style, color in (("field of a batch", "o-", COLORS[1]), ("stable target", "s--", COLORS[0])):
        rows = [at_one[name, size] for size in BATCHES]
        axes[0, 0].errorbar(
            BATCHES,
            [abs(row["bias"]) for row in rows],
            [row["standard_error"] for row in rows],
            fmt=style,
            color=color,
            label=name,
        )
        axes[0, 1].plot(BATCHES, [row["variance"] for row in rows], style, color=color, label=name)
    axes[0, 0].axhline(abs(at_one["data", 0]["bias"]), color="black", linestyle=":", label="data")
    axes[0, 1].axhline(at_one["data", 0]["variance"], color="black", linestyle=":", label="data")
    for ax, label in zip(axes[0], ("absolute bias along the posterior mean", "variance of the target")):
        ax.set(xscale="log", yscale="log", xlabel="reference batch", ylabel=label)
    axes[0, 0].legend()
    return Measurement(
        figure=worst,
        holds=worst < 4 and all(row["t"] > 10 for row in biased) and reduction < 0.1,
        threshold="< 4; the field of a batch > 10 for B <= 64; the stable target's variance < 0.1 of the data's",
        unit="largest bias of the unbiased targets, standard errors",
        paper="unbiased for any batch size",
        baseline=min(row["t"] for row in biased),
        baseline_name="least bias of the field of a batch with B <= 64, standard errors",
        n_seeds=n_seeds,
        table=table,
        note=f"2000 points on two circles, N = 2, D = 16, {n} pairs a seed. Variance of the stable target over that of the "
        f"data at B = 64, sigma = 1: {reduction:.3f}.",
        plot=figure,
    )

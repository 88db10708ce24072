"""Claims of the paper on perturbed likelihood for singular laws.

No table of the paper is at hand. Its statements are measured on laws whose truth is known (`semigroup.data.singular_laws`) and on
images, with the settings of an independent implementation, whose figures are quoted beside ours. All noise levels are in units of
the data, and W1 is the exact 1-Wasserstein distance between as many samples of the generator and fresh points of the truth; two
samples of the truth are at a distance as well, the floor.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

from semigroup.claims import Measurement, Scale, ScaleUnavailable, claim, side_by_side
from semigroup.data.images import digits, mnist
from semigroup.data.singular_laws import SingularLaw, circle, line_mixture, plane_mixture, tilted_sphere
from semigroup.densities.distances import frechet_distance, wasserstein
from semigroup.densities.singular_likelihood import PerturbedGenerator, perturbation_scale
from semigroup.nn.classifier import train_classifier
from semigroup.report.figures import COLORS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Device = Literal["cpu", "cuda"]


# --- measuring -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """A law and how its generator is trained: the estimator and the restarts of the independent implementation."""

    law: str
    estimator: Literal["iwae", "vae"]
    n_restarts: int = 1
    learning_rate: float = 2e-3

    def make(self, dim: int | None = None) -> SingularLaw:
        """The law, in a space of the usual or another dimension."""
        laws = {"mix1": line_mixture, "mix2": plane_mixture, "sphere": tilted_sphere, "circle": circle}
        return laws[self.law]() if dim is None else laws[self.law](dim)


MIX1, MIX2 = Setting("mix1", "iwae"), Setting("mix2", "iwae")
SPHERE, CIRCLE = Setting("sphere", "vae"), Setting("circle", "iwae", 3)


@dataclass(frozen=True)
class Size:
    """What a scale can afford."""

    n: int
    n_seeds: int
    n_judged: int
    n_steps: int
    device: Device


def size_of(scale: Scale) -> Size:
    """Rows, seeds, samples that are judged, steps."""
    if scale == "paper":
        raise ScaleUnavailable("the paper's own settings and tables are not at hand; scale gpu is the largest here")
    if scale == "cpu":
        return Size(500, 5, 800, 1500, "cpu")
    return Size(5000, 10, 5000, 5000, "cuda" if torch.cuda.is_available() else "cpu")


def generator(setting: Setting, law: SingularLaw, size: Size, seed: int) -> PerturbedGenerator:
    """The estimator of a setting."""
    return PerturbedGenerator(
        n_latent=law.n_latent,
        estimator=setting.estimator,
        n_restarts=setting.n_restarts,
        learning_rate=setting.learning_rate,
        n_steps=size.n_steps,
        device=size.device,
        random_state=seed,
    )


def rng(seed: int, stream: int) -> np.random.Generator:
    """Independent streams of a seed: training rows, fresh rows, the floor's rows."""
    # numpy takes [seed, 0] for seed, which is where the frames of the laws and the estimators draw from.
    return np.random.default_rng([seed, stream, 1])


def path_of(
    setting: Setting, levels: tuple[float, ...], size: Size, seed: int, two_step: bool = False
) -> dict[str, Any]:
    """W1, learnt sigma and bound at each level, the floor, and W1 of the two-step repair where it is asked for."""
    law = setting.make()
    X, fresh = law.sample(size.n, rng(seed, 0)), law.sample(size.n_judged, rng(seed, 1))
    models = generator(setting, law, size, seed).fit_path(X, levels)
    found = {
        "w1": [wasserstein(model.sample(size.n_judged), fresh) for model in models],
        "sigma": [model.sigma_ for model in models],
        "bound": [model.bound_ for model in models],
        "floor": wasserstein(law.sample(size.n_judged, rng(seed, 2)), fresh),
    }
    if two_step:
        found["two_step"] = wasserstein(two_step_samples(models[levels.index(0.0)], X, size.n_judged, seed), fresh)
    return found


def two_step_samples(plain: PerturbedGenerator, X: np.ndarray, n: int, seed: int) -> Float[np.ndarray, "n dim"]:
    """The other repair: keep the plain model's encoder and generator, and learn the law of the codes in a second step.

    The second step is a Gaussian mixture, whose number of components, up to ten, has the least BIC.
    """
    codes = plain.transform(X).astype(np.float64)
    candidates = [GaussianMixture(k, random_state=seed, reg_covar=1e-5).fit(codes) for k in range(1, 11)]
    best = min(candidates, key=lambda mixture: mixture.bic(codes))
    return plain.inverse_transform(best.sample(n)[0]).astype(np.float64)


def paths(
    settings: tuple[Setting, ...], levels: tuple[float, ...], size: Size, two_step: bool = False
) -> dict[str, dict[str, np.ndarray]]:
    """`path_of` over seeds: by law, arrays with one row a seed."""
    cases = [(setting, levels, size, seed, two_step) for setting in settings for seed in range(size.n_seeds)]
    runs = side_by_side(path_of, cases, size.device)
    gathered = {}
    for i, setting in enumerate(settings):
        own = runs[i * size.n_seeds : (i + 1) * size.n_seeds]
        gathered[setting.law] = {key: np.array([run[key] for run in own]) for key in own[0]}
    return gathered


def path_table(found: dict[str, dict[str, np.ndarray]], levels: tuple[float, ...]) -> list[dict[str, Any]]:
    """One row a law and level."""
    return [
        {
            "law": law,
            "perturbation": level,
            "W1": float(runs["w1"][:, i].mean()),
            "spread": float(runs["w1"][:, i].std(ddof=1)) if len(runs["w1"]) > 1 else 0.0,
            "floor": float(runs["floor"].mean()),
            "sigma": float(runs["sigma"][:, i].mean()),
            "bound_nats": float(runs["bound"][:, i].mean()),
        }
        for law, runs in found.items()
        for i, level in enumerate(levels)
    ]


def log_log_slope(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """Slope of the least-squares line through ``(log x, log y)``."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def _draw_paths(found: dict[str, dict[str, np.ndarray]], levels: tuple[float, ...], *, key: str, label: str) -> Figure:
    """A panel a law: a dot a seed, the line of means, the floor of W1."""
    figure, axes = new_figure(1, len(found), width=3.6 * len(found) + 0.8)
    for ax, (law, runs) in zip(axes[0], found.items()):
        for values in runs[key]:
            ax.plot(levels, values, ".", color="0.6", markersize=5)
        ax.plot(levels, runs[key].mean(axis=0), "o-", label="mean over seeds")
        if key == "w1":
            ax.axhline(
                runs["floor"].mean(), color="black", linestyle="--", linewidth=1, label="floor: two true samples"
            )
            ax.set_ylim(0)
        if "two_step" in runs:
            ax.axhline(runs["two_step"].mean(), color=COLORS[2], linestyle=":", label="two-step repair")
        if min(levels) == 0:
            ax.set_xscale("symlog", linthresh=min(level for level in levels if level > 0))
        else:
            ax.set_xscale("log")
        ax.set_xticks(levels, [f"{level:g}" for level in levels])
        ax.minorticks_off()
        ax.set_xlabel("perturbation (units of the data)")
        ax.set_ylabel(label if ax is axes[0, 0] else "")
        ax.set_title(law)
    axes[0, 0].legend()
    return figure


# --- 1: the repair -------------------------------------------------------------------------------------------------

# How much longer the sphere is trained for once more.
LONGER = 8 / 3


@claim(
    "singular-likelihood",
    1,
    says="Perturbing the data repairs maximum likelihood on singular laws.",
    source="Abstract",
)
def perturbation_repairs_maximum_likelihood(scale: Scale) -> Measurement:
    """Mean W1 without perturbation over the smaller of those at 0.05 and 0.1, at least 1.3 on each of three laws; fixed before.

    An independent implementation measured 4.9, 3.2 and 2.3 and hoped for 1.8 on each.
    """
    size, levels = size_of(scale), (0.0, 0.05, 0.1)
    found = paths((MIX1, MIX2, SPHERE), levels, size, two_step=True)
    longer = replace(size, n_steps=round(LONGER * size.n_steps))
    late = paths((SPHERE,), levels, longer)["sphere"]
    ratios, two_step = {}, {}
    for law, runs in found.items():
        w1 = runs["w1"].mean(axis=0)
        ratios[law] = float(w1[0] / w1[1:].min())
        two_step[law] = float(w1[0] / runs["two_step"].mean())
    worst = min(ratios, key=lambda law: ratios[law])
    runs = found[worst]
    best = 1 + int(runs["w1"].mean(axis=0)[1:].argmin())
    rows = path_table(found, levels) + [
        {
            "law": law,
            "perturbation": "two-step repair",
            "W1": float(runs["two_step"].mean()),
            "spread": float(runs["two_step"].std(ddof=1)),
            "floor": float(runs["floor"].mean()),
        }
        for law, runs in found.items()
    ]
    rows += path_table({f"sphere, {longer.n_steps} steps": late}, levels)
    late_w1 = late["w1"].mean(axis=0)
    reached = ", ".join(f"{law} {runs['sigma'][:, 0].mean():.2g}" for law, runs in found.items())
    said = ", ".join(f"{law} {ratio:.2f}" for law, ratio in ratios.items())
    also = ", ".join(f"{law} {ratio:.2f}" for law, ratio in two_step.items())
    return Measurement(
        figure=ratios[worst],
        holds=ratios[worst] >= 1.3,
        threshold=">= 1.3 on each of mix1, mix2, sphere",
        unit=f"least ratio of W1, plain over perturbed (on {worst})",
        paper="improves estimation significantly; in an independent implementation 4.9, 3.2, 2.3",
        baseline=two_step[worst],
        baseline_name="two-step repair: the same ratio",
        spread=float((runs["w1"][:, 0] / runs["w1"][:, best]).std(ddof=1)),
        n_seeds=size.n_seeds,
        table=rows,
        note=f"Ratios: {said}; of the two-step repair, a Gaussian mixture on the codes of the plain model, {also}. Without "
        f"perturbation the likelihood has no maximum, and its figures belong to a number of steps: sigma is {reached} after "
        f"{size.n_steps}. On the sphere after {longer.n_steps} it is {late['sigma'][:, 0].mean():.2g} and W1 {late_w1[0]:.3f}, "
        f"against {late_w1[1:].min():.3f} at the better perturbation: a ratio of {late_w1[0] / late_w1[1:].min():.2f}.",
        plot=_draw_paths(found, levels, key="w1", label="W1 (units of the data)"),
    )


# --- 2: an interior optimum ----------------------------------------------------------------------------------------


@claim(
    "singular-likelihood",
    2,
    says="There is a best perturbation: less is plain likelihood's failure, more costs its own size.",
    source="Rate theorem",
)
def best_perturbation_lies_inside(scale: Scale) -> Measurement:
    """Mean W1 at 0.2 and at 0.4 at least 1.25 times the best level's, and at 0 too, on mix1 and mix2; fixed before."""
    size, levels = size_of(scale), (0.0, 0.05, 0.1, 0.2, 0.4)
    if scale == "cpu":
        size = replace(size, n_seeds=min(3, size.n_seeds))
    found = paths((MIX1, MIX2), levels, size)
    ratios, best = {}, {}
    for law, runs in found.items():
        w1 = runs["w1"].mean(axis=0)
        ratios[law] = w1[[0, 3, 4]] / w1[1:].min()
        best[law] = levels[int(w1.argmin())]
    worst = min(ratios, key=lambda law: ratios[law].min())
    figure = float(ratios[worst].min())
    return Measurement(
        figure=figure,
        holds=figure >= 1.25,
        threshold="W1 at 0, 0.2 and 0.4 each >= 1.25 times the best level's, on mix1 and mix2",
        unit=f"least ratio of W1 to the best level's (on {worst})",
        paper="the rate eps_n + sigma has its least value inside, for generators of finite smoothness",
        baseline=float(ratios[worst][0]),
        baseline_name="the same ratio without perturbation",
        n_seeds=size.n_seeds,
        table=path_table(found, levels),
        note="Ratios at 0, 0.2, 0.4: "
        + "; ".join(f"{law} {', '.join(f'{r:.2f}' for r in values)}" for law, values in ratios.items())
        + f". The best level is {best['mix1']:g} on mix1 and {best['mix2']:g} on mix2; in an independent implementation it was "
        "0.05 and 0.1.",
        plot=_draw_paths(found, levels, key="w1", label="W1 (units of the data)"),
    )


# --- 3: the likelihood is the wrong judge --------------------------------------------------------------------------


@claim(
    "singular-likelihood",
    3,
    says="Likelihood rises without limit as the perturbation falls, while samples get worse.",
    source="Introduction",
)
def likelihood_is_the_wrong_judge(scale: Scale) -> Measurement:
    """Rank correlation of mean bound and mean W1 over 0, 0.02, 0.05, 0.1 at least 0.8 on mix2 and the sphere; fixed before."""
    size, levels = size_of(scale), (0.0, 0.02, 0.05, 0.1)
    found = paths((MIX2, SPHERE), levels, size)
    correlation, single = {}, {}
    for law, runs in found.items():
        correlation[law] = float(spearmanr(runs["bound"].mean(axis=0), runs["w1"].mean(axis=0)).statistic)
        single[law] = [float(spearmanr(b, w).statistic) for b, w in zip(runs["bound"], runs["w1"])]
    worst = min(correlation, key=lambda law: correlation[law])
    bounds = {law: ", ".join(f"{b:.0f}" for b in runs["bound"].mean(axis=0)[::-1]) for law, runs in found.items()}
    figure, axes = new_figure(1, 2, width=8.5)
    for ax, (law, runs) in zip(axes[0], found.items()):
        for i, (level, color) in enumerate(zip(levels, COLORS)):
            ax.plot(runs["bound"][:, i], runs["w1"][:, i], ".", color=color)
            ax.plot(runs["bound"][:, i].mean(), runs["w1"][:, i].mean(), "o", color=color, label=f"{level:g}")
        ax.set_title(law)
        ax.set_ylim(0)
        ax.set_xlabel("bound on the likelihood (nats a row)")
        ax.set_ylabel("W1 (units of the data)" if ax is axes[0, 0] else "")
    axes[0, 0].legend(title="perturbation")
    return Measurement(
        figure=correlation[worst],
        holds=correlation[worst] >= 0.8,
        threshold=">= 0.8 on mix2 and on the sphere",
        unit=f"rank correlation of bound and W1 (on {worst})",
        paper="in an independent implementation 1",
        spread=float(np.std(single[worst], ddof=1)),
        n_seeds=size.n_seeds,
        table=path_table(found, levels),
        note=f"Bounds as the perturbation falls: mix2 {bounds['mix2']} nats, sphere {bounds['sphere']} nats. Correlations of "
        "single seeds: "
        + "; ".join(f"{law} {', '.join(f'{r:.1f}' for r in values)}" for law, values in single.items())
        + ".",
        plot=figure,
    )


# --- 4: calibration ------------------------------------------------------------------------------------------------

CALIBRATED = (0.05, 0.1, 0.2)


def learnt_noise(setting: Setting, own_noise: float, size: Size, seed: int) -> list[float]:
    """Learnt sigma over the noise that is there, at each level."""
    law = setting.make()
    X = law.sample(size.n, rng(seed, 0), noise=own_noise)
    levels = (0.1,) if own_noise else CALIBRATED
    models = generator(setting, law, size, seed).fit_path(X, levels)
    return [model.sigma_ / math.hypot(own_noise, model.perturbation_) for model in models]


@claim(
    "singular-likelihood",
    4,
    says="The noise level learnt is that of the data and of the perturbation together.",
    source="Model",
    quick=True,
)
def learnt_noise_is_calibrated(scale: Scale) -> Measurement:
    """Mean of sigma / sqrt(sigma_*^2 + perturbation^2) within 0.08 of 1 in each case, over three laws; fixed before."""
    size = size_of(scale)
    if scale == "cpu":
        # Quick enough for every tour.
        size = replace(size, n_seeds=min(2, size.n_seeds), n_steps=min(500, size.n_steps))
    settings = tuple(Setting(law, "vae", learning_rate=5e-3) for law in ("mix1", "mix2", "sphere"))
    n_seeds = size.n_seeds
    cases = [(s, noise, size, seed) for s in settings for noise in (0.0, 0.1) for seed in range(n_seeds)]
    runs = side_by_side(learnt_noise, cases, size.device)
    table: list[dict[str, Any]] = []
    for i in range(0, len(runs), n_seeds):
        setting, own_noise = cases[i][:2]
        ratios = np.array(runs[i : i + n_seeds])
        table += [
            {
                "law": setting.law,
                "noise_of_the_data": own_noise,
                "perturbation": level,
                "sigma_over_total_noise": float(mean),
                "spread": float(spread),
            }
            for level, mean, spread in zip(
                (0.1,) if own_noise else CALIBRATED, ratios.mean(axis=0), ratios.std(axis=0, ddof=1)
            )
        ]
    worst = max(table, key=lambda row: abs(row["sigma_over_total_noise"] - 1))
    off = abs(worst["sigma_over_total_noise"] - 1)
    figure, axes = new_figure(1, 1, width=6.4)
    ax = axes[0, 0]
    at = np.arange(len(table))
    ax.errorbar(at, [r["sigma_over_total_noise"] for r in table], [r["spread"] for r in table], fmt="o", capsize=3)
    ax.axhspan(0.92, 1.08, color="0.9", label="threshold")
    ax.axhline(1, color="black", linewidth=0.8)
    names = [f"{r['law']}, {r['perturbation']:g}" + (" + 0.1" if r["noise_of_the_data"] else "") for r in table]
    ax.set_xticks(at, names, rotation=60, ha="right")
    ax.set_ylabel("sigma learnt / total noise")
    ax.legend()
    return Measurement(
        figure=off,
        holds=off <= 0.08,
        threshold="<= 0.08 in each case",
        unit=f"largest |sigma / total noise - 1| (on {worst['law']})",
        paper="in an independent implementation 0.02 to 0.04",
        spread=worst["spread"],
        n_seeds=n_seeds,
        table=table,
        note=f"Variational autoencoders (K = 1), {size.n_steps} steps at a rate of 5e-3. Of data with noise 0.1 of their own the "
        "total at perturbation 0.1 is 0.141.",
        plot=figure,
    )


# --- 5: the dimension of the space ---------------------------------------------------------------------------------

DIMS = (2, 5, 20, 50)


def samplers_on_the_circle(dim: int, size: Size, seed: int) -> dict[str, float]:
    """W1 of the generator and of density estimators in the space, all from the same rows."""
    law = CIRCLE.make(dim)
    X, fresh = law.sample(size.n, rng(seed, 0)), law.sample(size.n_judged, rng(seed, 1))
    model = generator(CIRCLE, law, size, seed).fit_path(X, [0.07])[0]
    spread = math.sqrt(X.var(axis=0).mean())
    kde = KernelDensity(bandwidth=spread * size.n ** (-1 / (dim + 4))).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of mixtures that stop at their last iteration
        mixture = GaussianMixture(10, random_state=seed, reg_covar=1e-6).fit(X)
    drawn = {
        "generator": model.sample(size.n_judged),
        "kde": kde.sample(size.n_judged, random_state=seed),
        "gaussian_mixture": mixture.sample(size.n_judged)[0],
        "resampled_rows": X[rng(seed, 3).integers(len(X), size=size.n_judged)],
        "floor": law.sample(size.n_judged, rng(seed, 2)),
    }
    return {name: wasserstein(samples, fresh) for name, samples in drawn.items()}


@claim(
    "singular-likelihood",
    5,
    says="The dimension of the space does not matter, unlike for kernel density estimates in it.",
    source="Abstract",
)
def dimension_of_the_space_does_not_matter(scale: Scale) -> Measurement:
    """On the circle at perturbation 0.07: W1 <= 0.25 in every dimension, at most 2.3 times as large at 50 as at 5, and at
    most half of the kernel density estimate's at 50; fixed before."""
    size = size_of(scale)
    n_seeds = min(3, size.n_seeds) if scale == "cpu" else size.n_seeds
    cases = [(dim, size, seed) for dim in DIMS for seed in range(n_seeds)]
    runs = side_by_side(samplers_on_the_circle, cases, size.device)
    table: list[dict[str, Any]] = []
    for i, dim in enumerate(DIMS):
        own = runs[i * n_seeds : (i + 1) * n_seeds]
        table.append({"dim": dim, **{name: float(np.mean([run[name] for run in own])) for name in own[0]}})
        table[-1]["generator_spread"] = float(np.std([run["generator"] for run in own], ddof=1))
    by_dim = {row["dim"]: row for row in table}
    growth = by_dim[50]["generator"] / by_dim[5]["generator"]
    holds = max(row["generator"] for row in table) <= 0.25 and growth <= 2.3
    holds = holds and by_dim[50]["kde"] >= 2 * by_dim[50]["generator"]
    figure, axes = new_figure(1, 1, width=6)
    ax = axes[0, 0]
    series = (
        ("generator", "perturbed likelihood", "o-"),
        ("kde", "kernel density estimate", "s--"),
        ("gaussian_mixture", "Gaussian mixture, 10", "^:"),
        ("resampled_rows", "the rows themselves", "v-."),
    )
    for (key, name, style), color in zip(series, COLORS):
        ax.plot(DIMS, [row[key] for row in table], style, color=color, label=name)
    ax.plot(DIMS, [row["floor"] for row in table], "--", color="black", linewidth=1, label="floor: two true samples")
    ax.set_xscale("log")
    ax.set_xticks(DIMS, list(map(str, DIMS)))
    ax.minorticks_off()
    ax.set_ylim(0)
    ax.set_xlabel("dimension of the space")
    ax.set_ylabel("W1 (units of the data)")
    ax.legend()
    return Measurement(
        figure=by_dim[50]["generator"],
        holds=bool(holds),
        threshold="W1 <= 0.25 everywhere, W1(50) <= 2.3 W1(5), kernel density estimate at 50 >= twice the generator",
        unit="W1 at dimension 50",
        paper="rate independent of the dimension of the space",
        baseline=by_dim[50]["kde"],
        baseline_name="kernel density estimate, Scott's bandwidth",
        spread=by_dim[50]["generator_spread"],
        n_seeds=n_seeds,
        table=table,
        note=f"W1 grows {growth:.2f}-fold from dimension 5 to 50. The claim is against density estimators in the space: "
        "resampling the rows is strong in W1 on a curve, and a mixture whose components may be flat adapts to one.",
        plot=figure,
    )


# --- 6: the rate ---------------------------------------------------------------------------------------------------

RATE_CONSTANT = 2.0


def distance_on_the_line(law: SingularLaw, samples: np.ndarray, truth: np.ndarray) -> float:
    """W1 along the line of the mixture plus the mean distance from it: an upper bound of W1 for any number of points."""
    along = wasserstein(samples @ law.frame, truth @ law.frame)
    return along + float(law.off_support(samples).mean())


def rate_errors(setting: Setting, n: int, size: Size, seed: int) -> tuple[float, float]:
    """W1 of the perturbed and of the plain fit on n rows."""
    law = setting.make()
    X = law.sample(n, rng(seed, 0))
    level = perturbation_scale(n, math.inf, law.n_latent, c=RATE_CONSTANT)
    models = generator(setting, law, size, seed).fit_path(X, [level, 0.0])
    if setting.law == "mix1":
        truth = law.sample(100_000, rng(seed, 1))
        errors = [distance_on_the_line(law, model.sample(100_000), truth) for model in models]
    else:
        truth = law.sample(size.n_judged, rng(seed, 1))
        errors = [wasserstein(model.sample(size.n_judged), truth) for model in models]
    return errors[0], errors[1]


@claim(
    "singular-likelihood",
    6,
    says="With the perturbation of the theory W1 falls with the sample size; without it does not.",
    source="Rate theorem",
)
def distance_falls_with_the_sample_size(scale: Scale) -> Measurement:
    """Log-log slope of the mean W1 at most -0.2 perturbed by 2 n^(-1/2), and above -0.1 plain; fixed before."""
    size = size_of(scale)
    sizes = (125, 500, 2000) if scale == "cpu" else (125, 250, 500, 1000, 2000, 4000, 8000)
    settings = (MIX1,) if scale == "cpu" else (MIX1, CIRCLE)
    cases = [(setting, n, size, seed) for setting in settings for n in sizes for seed in range(size.n_seeds)]
    runs = np.array(side_by_side(rate_errors, cases, size.device))
    runs = runs.reshape(len(settings), len(sizes), size.n_seeds, 2)
    n = np.asarray(sizes, dtype=np.float64)
    mean = runs.mean(axis=2)
    slopes = np.array([[log_log_slope(n, mean[i, :, j]) for j in range(2)] for i in range(len(settings))])
    table = [
        {
            "law": setting.law,
            "n": size_,
            "perturbation": perturbation_scale(size_, math.inf, 1, c=RATE_CONSTANT),
            "W1": float(mean[i, k, 0]),
            "spread": float(runs[i, k, :, 0].std(ddof=1)),
            "W1_plain": float(mean[i, k, 1]),
            "spread_plain": float(runs[i, k, :, 1].std(ddof=1)),
        }
        for i, setting in enumerate(settings)
        for k, size_ in enumerate(sizes)
    ]
    own = [log_log_slope(n, runs[0, :, seed, 0]) for seed in range(size.n_seeds)]
    figure, axes = new_figure(1, len(settings), width=4.6 * len(settings))
    for i, (ax, setting) in enumerate(zip(axes[0], settings)):
        for j, (name, style) in enumerate((("perturbed", "o-"), ("plain", "s--"))):
            for seed in range(size.n_seeds):
                ax.plot(n, runs[i, :, seed, j], ".", color=COLORS[j], alpha=0.4)
            ax.plot(n, mean[i, :, j], style, color=COLORS[j], label=f"{name}, slope {slopes[i, j]:.2f}")
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xticks(n, [f"{size_}" for size_ in sizes])
        ax.xaxis.minorticks_off()
        ax.set_xlabel("rows")
        ax.set_ylabel("W1 (units of the data)")
        ax.set_title(setting.law)
        ax.legend()
    return Measurement(
        figure=float(slopes[:, 0].max()),
        holds=bool((slopes[:, 0] <= -0.2).all() and (slopes[:, 1] > -0.1).all()),
        threshold="slope <= -0.2 perturbed, > -0.1 plain",
        unit="log-log slope of the mean W1",
        paper="-1/2 in the limit of smooth generators",
        baseline=float(slopes[:, 1].min()),
        baseline_name="plain likelihood",
        spread=float(np.std(own, ddof=1)),
        n_seeds=size.n_seeds,
        table=table,
        note=f"Perturbation {RATE_CONSTANT:g} n^(-1/2). On mix1 W1 is bounded by the exact distance along its line plus the mean "
        "distance from the line, with 100,000 points of each, so that no floor flattens the slope. As many steps at every n.",
        plot=figure,
    )


# --- 7, 8: images --------------------------------------------------------------------------------------------------


def digits_path(levels: tuple[float, ...], n_steps: int, device: Device, seed: int) -> dict[str, Any]:
    """W1 to 797 held-out digits of as many samples at each level, of a Gaussian mixture and of training rows."""
    images = rng(seed, 0).permutation(digits()[0].reshape(-1, 64))
    training, held_out = images[:1000], images[1000:]
    models = PerturbedGenerator(
        n_latent=10,
        estimator="vae",
        hidden=(256, 256),
        learning_rate=1e-3,
        batch_size=100,
        n_steps=n_steps,
        n_restarts=1,
        device=device,
        random_state=seed,
    ).fit_path(training, levels)
    mixture = GaussianMixture(10, random_state=seed, reg_covar=1e-3).fit(training)
    m = len(held_out)
    return {
        "w1": [wasserstein(model.sample(m), held_out) for model in models],
        "sigma": [model.sigma_ for model in models],
        "bound": [model.bound_ for model in models],
        "floor": wasserstein(training[:m], held_out),
        "mixture": wasserstein(mixture.sample(m)[0], held_out),
    }


@claim(
    "singular-likelihood",
    7,
    says="Perturbation brings the samples of a variational autoencoder nearer to real digits.",
    source="Real data",
)
def perturbation_helps_on_digits(scale: Scale) -> Measurement:
    """Mean W1 to held-out digits falls by at least 0.05 from no perturbation to 0.2; fixed before."""
    size, levels = size_of(scale), (0.0, 0.1, 0.2)
    n_steps = 8 * size.n_steps // 3  # ten codes take longer than one or two
    cases = [(levels, n_steps, size.device, seed) for seed in range(size.n_seeds)]
    runs = side_by_side(digits_path, cases, size.device)
    found = {"digits": {key: np.array([run[key] for run in runs]) for key in runs[0]}}
    w1 = found["digits"]["w1"]
    falls = w1[:, 0] - w1[:, -1]
    mixture = float(found["digits"]["mixture"].mean())
    return Measurement(
        figure=float(falls.mean()),
        holds=bool(falls.mean() >= 0.05),
        threshold=">= 0.05",
        unit="fall of W1 from perturbation 0 to 0.2 (pixels in [0, 1])",
        paper="improves estimation significantly; in an independent implementation 0.14",
        baseline=float(w1[:, 0].mean() - mixture),
        baseline_name="fall from the plain autoencoder to a Gaussian mixture",
        spread=float(falls.std(ddof=1)),
        n_seeds=size.n_seeds,
        table=path_table(found, levels),
        note=f"W1 {w1[:, 0].mean():.3f} to {w1[:, -1].mean():.3f}; training rows are at {found['digits']['floor'].mean():.3f}, a "
        f"mixture of ten Gaussians at {mixture:.3f}. In 64 dimensions W1 of samples rewards some blur.",
        plot=_draw_paths(found, levels, key="w1", label="W1 to held-out digits"),
    )


@dataclass(frozen=True)
class ImageFit:
    """How the generator of MNIST is trained."""

    n_latent: int
    hidden: tuple[int, ...]
    image_shape: tuple[int, int, int] | None
    n_steps: int
    n_epochs: int
    device: Device


MNIST_LEVELS = (0.0, 0.05, 0.1, 0.2, 0.4)
MNIST_JUDGED = 1000


@cache
def _mnist_split(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """9000 images and their digits, and 1000 held-out images, shuffled."""
    images, labels = mnist()
    order = rng(seed, 0).permutation(len(images))
    scaled = images[order].astype(np.float32) / 255
    m = MNIST_JUDGED
    return scaled[:-m], labels[order][:-m].astype(np.int64), scaled[-m:]


def mnist_path(fit: ImageFit, seed: int) -> dict[str, Any]:
    """Fréchet distance of classifier features, and W1 of pixels, of samples at each level, as many as held-out images."""
    training, labels, held_out = _mnist_split(seed)
    judge = train_classifier(training[:, None], labels, n_epochs=fit.n_epochs, random_state=seed, device=fit.device)
    judge = judge.cpu()

    def features(rows: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(np.clip(rows, 0, 1).astype(np.float32)).reshape(-1, 1, 28, 28)
        return judge.features(images).double().numpy()

    models = PerturbedGenerator(
        n_latent=fit.n_latent,
        estimator="vae",
        hidden=fit.hidden,
        image_shape=fit.image_shape,
        learning_rate=1e-3,
        batch_size=100,
        n_steps=fit.n_steps,
        n_restarts=1,
        device=fit.device,
        random_state=seed,
    ).fit_path(training.reshape(len(training), -1), MNIST_LEVELS)
    target = features(held_out)
    m = len(held_out)
    samples = [model.sample(m) for model in models]
    flat, real = held_out.reshape(m, -1), training[:m].reshape(m, -1)
    return {
        "fid": [frechet_distance(features(drawn), target) for drawn in samples],
        "w1": [wasserstein(drawn, flat) for drawn in samples],
        "sigma": [model.sigma_ for model in models],
        "bound": [model.bound_ for model in models],
        "floor_fid": frechet_distance(features(real), target),
        "floor": wasserstein(real, flat),
        "samples": [drawn[:8] for drawn in samples],
        "real": real[:8],
    }


@claim(
    "singular-likelihood",
    8,
    says="How samples of MNIST, judged by a classifier's features, change with the perturbation.",
    source="Real data",
)
def perturbation_on_mnist(scale: Scale) -> Measurement:
    """Reported, not judged. The 10,000 images of the test set, 9000 to train on and 1000 to judge by."""
    size = size_of(scale)
    fit = ImageFit(10, (256, 256), None, 2000, 4, size.device)
    n_seeds = 2
    if scale == "gpu":
        fit, n_seeds = ImageFit(16, (256,), (1, 28, 28), 20_000, 20, size.device), 5
    runs = side_by_side(mnist_path, [(fit, seed) for seed in range(n_seeds)], size.device)
    found = {key: np.array([run[key] for run in runs]) for key in ("fid", "w1", "sigma", "bound", "floor_fid", "floor")}
    mean = found["fid"].mean(axis=0)
    best = int(mean.argmin())
    pixels = found["w1"].mean(axis=0)
    closest = int(pixels.argmin())
    table: list[dict[str, Any]] = [
        {
            "perturbation": level,
            "FID": float(mean[i]),
            "spread": float(found["fid"][:, i].std(ddof=1)),
            "W1_pixels": float(found["w1"][:, i].mean()),
            "sigma": float(found["sigma"][:, i].mean()),
            "bound_nats": float(found["bound"][:, i].mean()),
        }
        for i, level in enumerate(MNIST_LEVELS)
    ]
    table.append(
        {
            "perturbation": "real images",
            "FID": float(found["floor_fid"].mean()),
            "W1_pixels": float(found["floor"].mean()),
        }
    )
    return Measurement(
        figure=float(mean[0] / mean[best]),
        holds=None,
        threshold="reported",
        unit="FID without perturbation over the best level's, in features of a small classifier",
        paper="improves estimation significantly",
        baseline=1.0,
        baseline_name="no effect",
        spread=float((found["fid"][:, 0] / found["fid"][:, best]).std(ddof=1)),
        n_seeds=n_seeds,
        table=table,
        note=f"Best level {MNIST_LEVELS[best]:g}. The least W1 of pixels is {pixels[closest]:.2f}, at {MNIST_LEVELS[closest]:g}; "
        f"real images are at {found['floor'].mean():.2f}: in 784 dimensions W1 rewards blur, hence the features.",
        plot=_draw_mnist(runs[0], mean),
    )


def _draw_mnist(run: dict[str, Any], fid: np.ndarray) -> Figure:
    """A row of samples for each level, and real images."""
    names = [f"{level:g}: FID {value:.0f}" for level, value in zip(MNIST_LEVELS, fid)] + ["real images"]
    rows = [*run["samples"], run["real"]]
    figure, axes = new_figure(len(rows), 1, width=6, height=0.78 * len(rows))
    for ax, name, images in zip(axes[:, 0], names, rows):
        ax.imshow(np.hstack(np.clip(images, 0, 1).reshape(-1, 28, 28)), cmap="gray_r", vmin=0, vmax=1)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.grid(False)
        ax.spines[:].set_visible(False)
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
    return figure

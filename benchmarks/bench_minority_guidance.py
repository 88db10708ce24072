"""Minority guidance beside detectors of outliers (pyod, scikit-learn) and beside the sampler of diffusers.

    pip install 'semigroup[peers]'
    python benchmarks/bench_minority_guidance.py

First the ranking: 756 digits of which 36 are of a rare class, seen once to fit and once to score. The detectors look at
distances in pixels; the score asks a diffusion model, whose training is timed apart. AUROC of the rare class says how well
each ranks. Then the cost of sampling: the same trained network and betas under this library's sampler, with and without
guidance, and under diffusers' DDPMScheduler; one thread, the same number of samples and network evaluations, and the
distance of the samples to the data to show that both draw the same. The guided sampler's ratio is the price of the
classifier.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor

from semigroup.claims.minority_guidance import digits_study, new_estimator
from semigroup.densities import MinorityGuidance
from semigroup.densities.minority_guidance import average_knn_distance

__all__ = ["main"]


def best_of(function: Callable[[], np.ndarray], n: int = 3) -> tuple[float, np.ndarray]:
    """The shortest of several times, after one that loads what is loaded on first use; and the result."""
    result = function()
    times = []
    for _ in range(n):
        began = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - began)
    return min(times), result


def detectors(rows: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """Peers that fit and score in one go; high is rare."""
    found: dict[str, Callable[[], np.ndarray]] = {
        "scikit-learn LOF": lambda: -LocalOutlierFactor(n_neighbors=20).fit(rows).negative_outlier_factor_
    }
    if importlib.util.find_spec("pyod") is None:
        print("pyod is not installed")
        return found
    from pyod.models.knn import KNN
    from pyod.models.lof import LOF

    return found | {
        "pyod KNN": lambda: KNN(n_neighbors=5, method="mean").fit(rows).decision_scores_,
        "pyod LOF": lambda: LOF(n_neighbors=20).fit(rows).decision_scores_,
    }


def bench_ranking(model: MinorityGuidance, X: np.ndarray, rare: np.ndarray, fit_seconds: float) -> None:
    print(f"\nRanking {len(X)} instances of {X[0].size} numbers; the diffusion model trained in {fit_seconds:.1f} s")
    print(f"{'':36s}{'ms':>9s}{'AUROC':>8s}")
    ways: dict[str, Callable[[], np.ndarray]] = {
        f"minority score, {n} draws": lambda n=n: model.minority_score(X, n_draws=n) for n in (1, 5, 10)
    }
    ways |= detectors(X.reshape(len(X), -1))
    results = {name: best_of(way) for name, way in ways.items()}
    for name, (seconds, scores) in results.items():
        print(f"{name:36s}{1000 * seconds:9.1f}{roc_auc_score(rare, scores):8.3f}")
    ours = results["minority score, 5 draws"][0]
    for name, (seconds, _) in results.items():
        if not name.startswith("minority"):
            print(f"  {name} / minority score, 5 draws: time {seconds / ours:.2f}")


def diffusers_sampler(model: MinorityGuidance, n: int) -> Callable[[], np.ndarray]:
    """The same network and betas under DDPMScheduler, with the posterior's variance and clamped data."""
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(
        num_train_timesteps=len(model.betas_), trained_betas=model.betas_, variance_type="fixed_small", clip_sample=True
    )
    scheduler.set_timesteps(len(model.betas_))
    generator = torch.Generator().manual_seed(0)

    def sample() -> np.ndarray:
        x = torch.randn(n, *model.shape_, generator=generator)
        with torch.no_grad():
            for t in scheduler.timesteps:
                noise = model.predict_noise(x, torch.full((n,), int(t) + 1))
                x = scheduler.step(noise, t, x, generator=generator).prev_sample
        return x.numpy()

    return sample


def bench_sampling(model: MinorityGuidance, X: np.ndarray, n: int) -> None:
    n_steps = len(model.betas_)
    print(f"\nSampling {n} instances in {n_steps} steps, the same network")
    print(f"{'':36s}{'s':>9s}{'us a sample and step':>22s}{'AvgkNN':>8s}")
    ways: dict[str, Callable[[], np.ndarray]] = {
        "without guidance": lambda: model.sample(n, guidance=0.0),
        "minority guidance": lambda: model.sample(n),
    }
    if importlib.util.find_spec("diffusers") is None:
        print("diffusers is not installed")
    else:
        ways["diffusers DDPMScheduler"] = diffusers_sampler(model, n)
    results = {}
    for name, way in ways.items():
        seconds, samples = best_of(way)
        far = average_knn_distance(X.reshape(len(X), -1), samples.reshape(n, -1)).mean()
        print(f"{name:36s}{seconds:9.2f}{1e6 * seconds / (n * n_steps):22.2f}{far:8.3f}")
        results[name] = seconds
    ours = results.pop("without guidance")
    for name, seconds in results.items():
        print(f"  {name} / without guidance: time {seconds / ours:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--training-steps", type=int, default=4000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    case = digits_study(0)
    began = time.perf_counter()
    model = new_estimator("cpu", 0, n_training_steps=options.training_steps).fit(case.X)
    seconds = time.perf_counter() - began
    bench_ranking(model, case.X, case.rare, seconds)
    bench_sampling(model, case.X, options.samples)


if __name__ == "__main__":
    main()

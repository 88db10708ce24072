"""KDERegimes beside scikit-learn, KeOps, PyTorch, SciPy, statsmodels and KDEpy.

    python benchmarks/bench_kde_regimes.py

First the log-density of a hundred thousand rows under as many points in 20 dimensions, in double precision: the same points,
the same bandwidth (that of the nearest-neighbour rule), the same numbers to within the error shown. Every brute-force sum is
linear in the rows, so the slower sides are timed on fewer of them and their time for all is scaled up; ours is run on all, and
its memory measured. scikit-learn has no parallel sum: it runs in one process a core, each with a share of the rows. The error is
the largest difference from the sum in extended precision over 40 rows, at that bandwidth and at a tenth of it.

Then the choice of the bandwidth: time and held-out log-density of our rules, of scikit-learn's grid search over 40 bandwidths,
of SciPy's full covariance with Scott's factor, and of statsmodels' likelihood where that is small enough. Last, two dimensions,
where trees and Fourier transforms are at home.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from scipy.stats import gaussian_kde
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity

from semigroup.data.images import digits
from semigroup.densities import KDERegimes

__all__ = ["main"]

N_JOBS = 2


def timed(work: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Seconds, and the result."""
    start = time.perf_counter()
    result = work(*arguments)
    return time.perf_counter() - start, result


def extended(queries: np.ndarray, points: np.ndarray, bandwidth: float) -> np.ndarray:
    """Log-density in extended precision, one row at a time."""
    n, dim = points.shape
    wide = points.astype(np.longdouble)
    result = []
    for row in queries.astype(np.longdouble):
        energy = ((wide - row) ** 2).sum(axis=1) / (2 * np.longdouble(bandwidth) ** 2)
        result.append(np.log(np.exp(energy.min() - energy).sum()) - energy.min())
    constant = np.log(np.longdouble(n)) + dim / 2 * np.log(2 * np.longdouble(np.pi) * np.longdouble(bandwidth) ** 2)
    return np.array(result) - constant


def scikit_learn(points: np.ndarray, bandwidth: float, rtol: float) -> Callable[[np.ndarray], np.ndarray]:
    """KernelDensity, one process a core."""
    model = KernelDensity(bandwidth=bandwidth, rtol=rtol).fit(points)
    pool = Parallel(n_jobs=N_JOBS, max_nbytes=None)

    def score(queries: np.ndarray) -> np.ndarray:
        parts = np.array_split(queries, N_JOBS)
        return np.concatenate(pool(delayed(model.score_samples)(part) for part in parts))

    score(points[:8])  # start the processes
    return score


def torch_blocks(points: np.ndarray, bandwidth: float) -> Callable[[np.ndarray], np.ndarray]:
    """What users write: expanded squares by matrix products, block by block."""
    y = torch.from_numpy(points)
    squares = y.square().sum(1)
    constant = np.log(len(points)) + points.shape[1] / 2 * np.log(2 * np.pi * bandwidth**2)

    def score(queries: np.ndarray) -> np.ndarray:
        parts = []
        for x in torch.from_numpy(queries).split(64):
            squared = torch.addmm(squares + x.square().sum(1, keepdim=True), x, y.T, alpha=-2)
            parts.append(torch.logsumexp(squared / (-2 * bandwidth**2), dim=1))
        return torch.cat(parts).numpy() - constant

    return score


def keops(points: np.ndarray, bandwidth: float) -> Callable[[np.ndarray], np.ndarray]:
    """KeOps' compiled reduction."""
    from pykeops.torch import LazyTensor

    y = LazyTensor(torch.from_numpy(points)[None])
    constant = np.log(len(points)) + points.shape[1] / 2 * np.log(2 * np.pi * bandwidth**2)

    def score(queries: np.ndarray) -> np.ndarray:
        x = LazyTensor(torch.from_numpy(queries)[:, None])
        exponent = ((x - y) ** 2).sum(-1) * (-0.5 / bandwidth**2)
        return exponent.logsumexp(dim=1).numpy()[:, 0] - constant

    score(points[:8])  # compile
    return score


def ours(points: np.ndarray, bandwidth: float, n_jobs: int) -> Callable[[np.ndarray], np.ndarray]:
    """KDERegimes."""
    model = KDERegimes(bandwidth=bandwidth, n_jobs=n_jobs).fit(points)
    model.score_samples(points[:8])  # compile
    return model.score_samples


def bench_sum(n: int, n_slow: int, dim: int) -> None:
    """Log-densities of n rows under n points."""
    generator = np.random.default_rng(0)
    points, queries = generator.standard_normal((n, dim)), generator.standard_normal((n, dim))
    bandwidth = KDERegimes(n_jobs=N_JOBS, random_state=0).fit(points).bandwidth_
    print(f"log-density of {n} rows under {n} points, d = {dim}, h = {bandwidth:.3f}; {N_JOBS} cores, double precision")
    ways: list[tuple[str, Callable[[float], Callable[[np.ndarray], np.ndarray]], int]] = [
        ("KDERegimes", lambda h: ours(points, h, N_JOBS), n),
        ("KDERegimes, one thread", lambda h: ours(points, h, 1), 4 * n_slow),
        ("scikit-learn, rtol 1e-8", lambda h: scikit_learn(points, h, 1e-8), n_slow),
        ("scikit-learn, rtol 1e-4", lambda h: scikit_learn(points, h, 1e-4), n_slow),
        ("PyTorch, blocks of 64 rows", lambda h: torch_blocks(points, h), 4 * n_slow),
    ]
    if importlib.util.find_spec("pykeops") is not None:
        ways.append(("KeOps", lambda h: keops(points, h), 4 * n_slow))
    truth = [extended(queries[:40], points, h) for h in (bandwidth, bandwidth / 10)]
    print(
        f"  {'':<28}{'rows timed':>11}{'s for all':>11}{'ns a pair':>11}{'ratio':>8}{'error':>10}{'error, h / 10':>15}"
    )
    reference = None
    for name, make, m in ways:
        score = make(bandwidth)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds, _ = timed(score, queries[:m])
        memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        scaled = seconds * n / m
        reference = reference or scaled
        errors = [
            float(np.abs(way(queries[:40]) - values).max()) for way, values in zip((score, make(bandwidth / 10)), truth)
        ]
        print(
            f"  {name:<28}{m:>11}{scaled:>11.1f}{scaled / n**2 * 1e9:>11.2f}{scaled / reference:>8.1f}"
            f"{errors[0]:>10.0e}{errors[1]:>15.0e}"
        )
        if name == "KDERegimes":
            print(f"    (memory grew by {memory:.0f} MB; the matrix of weights would have {8 * n * n / 1e9:.0f} GB)")


def bench_offset(n: int, dim: int) -> None:
    """What expanded squares lose far from the origin."""
    generator = np.random.default_rng(1)
    points, queries = (1e4 + generator.standard_normal((n, dim)) for _ in range(2))
    truth = extended(queries[:40], points, 0.1)
    print(
        f"the same far from the origin: {n} points around 1e4 in {dim} dimensions, h = 0.1; largest error of the log-density"
    )
    for name, make in (
        ("KDERegimes", lambda: ours(points, 0.1, N_JOBS)),
        ("PyTorch", lambda: torch_blocks(points, 0.1)),
    ):
        print(f"  {name:<28}{np.abs(make()(queries[:40]) - truth).max():>10.0e}")


def bench_rules() -> None:
    """Choosing the bandwidth: digits, and ten-dimensional Gaussians."""
    images = digits()[0].reshape(-1, 64)
    images = images[np.random.default_rng(0).permutation(len(images))]
    normal = np.random.default_rng(2).standard_normal((4000, 10)) * np.geomspace(1, 3, 10)
    for title, train, test in (
        ("digits, 1400 in 64 dimensions", images[:1400], images[1400:]),
        ("Gaussian, 2000 in 10 dimensions", normal[:2000], normal[2000:]),
    ):
        dim = train.shape[1]
        print(f"bandwidth: {title}; 40 candidates for cross-validation")
        print(f"  {'':<34}{'seconds':>9}{'bandwidth':>11}{'held-out log-density / d':>26}")
        for rule in ("nn", "cv", "kl", "scott"):
            seconds, model = timed(KDERegimes(bandwidth=rule, n_jobs=N_JOBS, random_state=0).fit, train)
            print(
                f"  {'KDERegimes, ' + rule:<34}{seconds:>9.3f}{model.bandwidth_:>11.3f}{model.score(test) / dim:>26.3f}"
            )
        grid = KDERegimes(bandwidth="cv", random_state=0).fit(train).cv_bandwidths_
        search = GridSearchCV(KernelDensity(), {"bandwidth": grid}, n_jobs=N_JOBS)
        seconds, _ = timed(search.fit, train)
        best = search.best_params_["bandwidth"]
        value = search.best_estimator_.score(test) / len(test) / dim
        print(f"  {'scikit-learn, grid search':<34}{seconds:>9.3f}{best:>11.3f}{value:>26.3f}")
        try:
            seconds, estimate = timed(gaussian_kde, train.T)
            value, name = float(estimate.logpdf(test.T).mean()) / dim, f"{estimate.factor:.3f} x"
            print(f"  {'SciPy, full covariance, Scott':<34}{seconds:>9.3f}{name:>11}{value:>26.3f}")
        except np.linalg.LinAlgError:
            print(f"  {'SciPy, full covariance, Scott':<34}{'':>9}{'':>11}{'covariance is singular':>26}")
    if importlib.util.find_spec("statsmodels") is not None:
        from statsmodels.nonparametric.kernel_density import KDEMultivariate

        train, test = normal[:200, :3], normal[2000:, :3]
        print("bandwidth: Gaussian, 200 in 3 dimensions")
        seconds, model = timed(KDERegimes(bandwidth="cv", random_state=0).fit, train)
        print(f"  {'KDERegimes, cv':<34}{seconds:>9.3f}{model.bandwidth_:>11.3f}{model.score(test) / 3:>26.3f}")
        seconds, estimate = timed(KDEMultivariate, train, "ccc", "cv_ml")
        value = float(np.log(estimate.pdf(test)).mean()) / 3
        print(f"  {'statsmodels, likelihood, 3 widths':<34}{seconds:>9.3f}{'':>11}{value:>26.3f}")


def bench_plane(n: int) -> None:
    """Two dimensions."""
    generator = np.random.default_rng(3)
    points, queries = generator.standard_normal((n, 2)), generator.standard_normal((n, 2))
    print(f"two dimensions: {n} rows under {n} points")
    print(f"  {'':<28}{'h = 0.02, s':>12}{'h = 0.1, s':>12}{'error':>10}")
    truth = extended(queries[:40], points, 0.1)
    for name, make in (
        ("KDERegimes", lambda h: ours(points, h, N_JOBS)),
        ("scikit-learn, rtol 1e-8", lambda h: scikit_learn(points, h, 1e-8)),
        ("scikit-learn, rtol 1e-4", lambda h: scikit_learn(points, h, 1e-4)),
    ):
        times = [timed(make(h), queries)[0] for h in (0.02, 0.1)]
        print(f"  {name:<28}{times[0]:>12.2f}{times[1]:>12.2f}{np.abs(make(0.1)(queries[:40]) - truth).max():>10.0e}")
    if importlib.util.find_spec("KDEpy") is not None:
        from KDEpy import FFTKDE

        times = []
        for h in (0.02, 0.1):
            seconds, _ = timed(FFTKDE(bw=h).fit(points).evaluate, (512, 512))
            times.append(seconds)
        print(f"  {'KDEpy, grid of 512 x 512':<28}{times[0]:>12.2f}{times[1]:>12.2f}{'(a grid)':>10}")


def main(arguments: list[str] | None = None) -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000, help="points, and rows")
    parser.add_argument("--slow", type=int, default=600, help="rows on which the slow sides are timed")
    parser.add_argument("--dim", type=int, default=20)
    options = parser.parse_args(arguments)
    torch.set_num_threads(N_JOBS)
    bench_sum(options.n, options.slow, options.dim)
    bench_offset(min(options.n, 20_000), options.dim)
    bench_rules()
    bench_plane(min(options.n, 50_000))


if __name__ == "__main__":
    main()

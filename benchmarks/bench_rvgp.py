"""RVGP beside scikit-learn's and SciPy's regressions: the solver on the same kernel, and a field on ten thousand points.

    python benchmarks/bench_rvgp.py

First the solver alone: the same kernel and parameters given to scikit-learn's dense process, agreement of the mean, and the time
of one evaluation of the likelihood with its derivatives. Then a field with noise of a tenth of its length, observed at a fifth of
the points of a bumpy surface: time, error on the hidden points, and singularities kept, for RVGP (exact, and with inducing
inputs) and its peers. What the graph and the eigenpairs take is a line of its own; the projected kernel's time holds its own
eigenpairs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.spatial import ConvexHull
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct

from semigroup.data.manifolds import bumpy_sphere
from semigroup.manifolds.rvgp import (
    VectorFieldGP,
    channelwise_rbf,
    log_evidence,
    mean_cosine,
    random_field,
    relative_error,
    singularities_kept,
    statistics,
    tangent_bundle,
)

__all__ = ["main"]


def timed(work: Callable[..., Any], *arguments: Any, repeats: int = 1) -> tuple[float, Any]:
    """Least seconds of some repeats, and the last result."""
    best, result = np.inf, None
    for _ in range(repeats):
        start = time.perf_counter()
        result = work(*arguments)
        best = min(best, time.perf_counter() - start)
    return best, result


def bench_solver(n_points: int, n_eigenpairs: int) -> None:
    """The rank-k solver and scikit-learn's dense one on the same kernel."""
    print(
        f"the solver: kernel of rank {n_eigenpairs}, half of the vectors observed; one evaluation of likelihood and derivatives"
    )
    print(
        f"  {'values':>8}{'dense, s':>12}{'rank k, s':>12}{'ratio':>8}{'difference of the means':>26}{'of the likelihoods':>20}"
    )
    for n in (n_points // 4, n_points // 2, n_points):
        bundle = tangent_bundle(bumpy_sphere(n))
        field = random_field(bundle, 10.0, random_state=0)
        field += 0.1 * np.random.default_rng(0).normal(size=field.shape)
        train, test = np.arange(0, n, 2), np.arange(1, n, 2)
        model = VectorFieldGP(n_eigenpairs=n_eigenpairs, likelihood="ambient").fit(bundle, field, train)
        # With a linear kernel on P S^{1/2}, scikit-learn's kernel is ours.
        rows = (model.frames_ @ model.features_) * np.sqrt(model.prior_variances_)
        observed, hidden = rows[train].reshape(-1, rows.shape[2]), rows[test].reshape(-1, rows.shape[2])
        kernel = ConstantKernel(1.0) * DotProduct(0.0, "fixed")
        dense = GaussianProcessRegressor(kernel, alpha=model.noise_variance_, optimizer=None)
        dense.fit(observed, field[train].ravel())
        gap = np.abs(dense.predict(hidden) - model.predict(test).ravel()).max()
        seconds, result = timed(dense.log_marginal_likelihood, np.zeros(1), True, False)
        data = statistics(observed, field[train].ravel())
        unit, noise = np.zeros(rows.shape[2]), float(np.log(model.noise_variance_))
        ours, own = timed(log_evidence, data, unit, noise, repeats=10)
        gap_likelihood = abs(result[0] - own[0]) / abs(own[0])
        print(
            f"  {len(observed):>8}{seconds:>12.3f}{ours:>12.5f}{seconds / ours:>8.0f}{gap:>26.1e}{gap_likelihood:>20.1e}"
        )


def bench_field(n_points: int, n_eigenpairs: int, n_inducing: int) -> None:
    """A whole field."""
    points = bumpy_sphere(n_points)
    triangles = ConvexHull(points / np.linalg.norm(points, axis=1, keepdims=True)).simplices
    graph, bundle = timed(tangent_bundle, points)
    generator = np.random.default_rng(0)
    field = random_field(bundle, 20.0 * n_points / 1000, random_state=generator)
    noisy = field + bundle.vectors(0.1 / np.sqrt(2) * generator.normal(size=(n_points, 2)))
    order = generator.permutation(n_points)
    train, test = order[: n_points // 5], order[n_points // 5 :]
    print(f"\na field on {n_points} points, {len(train)} observed with noise; {n_eigenpairs} eigenpairs")
    print(f"  graph and frames {graph:.2f} s")
    spectrum, model = timed(lambda: VectorFieldGP(n_eigenpairs=n_eigenpairs, max_iter=0).fit(bundle, noisy, train))
    print(f"  eigenpairs {spectrum:.2f} s")
    print(f"  {'':<42}{'s':>8}{'ratio':>8}{'rel. error':>12}{'cosine':>9}{'singularities kept':>20}")
    reference = np.nan

    def line(name: str, work: Callable[[], np.ndarray]) -> None:
        nonlocal reference
        seconds, predicted = timed(work)
        reference = seconds if np.isnan(reference) else reference
        kept, true, _ = singularities_kept(points, triangles, predicted, field, 3 * np.sqrt(4 * np.pi / n_points))
        error, cosine = relative_error(predicted[test], field[test]), mean_cosine(predicted[test], field[test])
        print(
            f"  {name:<42}{seconds:>8.2f}{seconds / reference:>8.2f}{error:>12.4f}{cosine:>9.4f}{kept:>14} of {true:<3}"
        )

    line("RVGP, exact", lambda: model.set_params(max_iter=1000).refit(noisy, train).predict())
    line(
        f"RVGP, {n_inducing} inducing inputs",
        lambda: model.set_params(n_inducing=n_inducing).refit(noisy, train).predict(),
    )
    rank = n_eigenpairs // 3
    line(
        f"projected scalar kernel, rank {3 * rank}",
        lambda: VectorFieldGP(space="projected", n_eigenpairs=rank).fit(bundle, noisy, train).predict(),
    )
    line("RBF on coordinates (scikit-learn)", lambda: channelwise_rbf(points[train], noisy[train], points))
    line(
        "thin-plate spline (SciPy, 200 nearest)",
        lambda: RBFInterpolator(points[train], noisy[train], neighbors=200)(points),
    )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-points", type=int, default=10_000)
    parser.add_argument("--n-eigenpairs", type=int, default=200)
    parser.add_argument("--n-inducing", type=int, default=150)
    arguments = parser.parse_args()
    bench_solver(min(1600, arguments.n_points), 100)
    bench_field(arguments.n_points, arguments.n_eigenpairs, arguments.n_inducing)


if __name__ == "__main__":
    main()

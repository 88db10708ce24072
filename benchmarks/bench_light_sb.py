"""LightSB beside Sinkhorn with its entropic map (POT, OTT-JAX) and beside LightSB-M: error and time of the plan at new points.

    pip install 'semigroup[peers]' ott-jax
    python benchmarks/bench_light_sb.py

Everybody gets the same rows of both samples and the same epsilon, on one thread, and is asked where 10,000 new points go. The
true plan is known (`semigroup.data.bridges.mixture_bridge`), so the error is that of the conditional mean, in per cent of
the target's variance (L2-UVP), and, for those that give one, of the whole conditional plan (cBW-UVP). What is compiled or
loaded on first use is run once before the clock starts. OTT-JAX is timed only if it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.distance import cdist
from scipy.special import softmax

from semigroup.claims.light_sb import conditional_uvp
from semigroup.data.bridges import MixtureBridge, mixture_bridge
from semigroup.densities import LightSB

__all__ = ["main"]

Moments = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Fitted:
    """A solver's answer: the map to the conditional mean, and the conditional moments where it has them."""

    mean: Callable[[np.ndarray], np.ndarray]
    moments: Moments | None


def light_sb(X0: np.ndarray, X1: np.ndarray, epsilon: float) -> Fitted:
    model = LightSB(epsilon=epsilon, initial_variance=1.0, random_state=0).fit(X0, X1)
    return Fitted(model.transport_mean, lambda x0: (model.transport_mean(x0), model.transport_covariance(x0)))


def light_sb_m(X0: np.ndarray, X1: np.ndarray, epsilon: float) -> Fitted:
    model = LightSB(epsilon=epsilon, initial_variance=1.0, loss="matching", random_state=0).fit(X0, X1)
    return Fitted(model.transport_mean, lambda x0: (model.transport_mean(x0), model.transport_covariance(x0)))


def pot_sinkhorn(X0: np.ndarray, X1: np.ndarray, epsilon: float) -> Fitted:
    """The discrete plan, extended to new points by the potential of the target's rows."""
    import ot

    cost = cdist(X0, X1, "sqeuclidean") / 2
    a, b = np.full(len(X0), 1 / len(X0)), np.full(len(X1), 1 / len(X1))
    _, log = ot.sinkhorn(a, b, cost, epsilon, method="sinkhorn_log", stopThr=1e-6, numItermax=1000, log=True)
    # POT's plan is exp(log_u + log_v - cost / epsilon).
    log_v = np.asarray(log["log_v"])

    def weights(x0: np.ndarray) -> np.ndarray:
        return softmax(log_v - cdist(x0, X1, "sqeuclidean") / (2 * epsilon), axis=1)

    def moments(x0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        w = weights(x0)
        mean = w @ X1
        second = np.stack([(X1 * row[:, None]).T @ X1 for row in w])
        return mean, second - mean[:, :, None] * mean[:, None, :]

    return Fitted(lambda x0: weights(x0) @ X1, moments)


def ott_sinkhorn(X0: np.ndarray, X1: np.ndarray, epsilon: float) -> Fitted:
    """OTT's Sinkhorn and its entropic map; half of its squared cost, hence twice the epsilon."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
    from ott.geometry import pointcloud
    from ott.solvers import linear

    solve = jax.jit(
        lambda x, y: linear.solve(
            pointcloud.PointCloud(x, y, epsilon=2 * epsilon), threshold=1e-6, max_iterations=20_000
        )
    )
    output = solve(jnp.asarray(X0), jnp.asarray(X1))
    potentials = output.to_dual_potentials(epsilon=2 * epsilon)
    transport = jax.jit(potentials.transport)
    return Fitted(lambda x0: np.asarray(transport(jnp.asarray(x0))), None)


SOLVERS = {"LightSB": light_sb, "LightSB-M": light_sb_m, "POT": pot_sinkhorn, "OTT-JAX": ott_sinkhorn}
NEEDS = {"POT": "ot", "OTT-JAX": "ott"}


def map_error(fitted: Fitted, truth: MixtureBridge, x0: np.ndarray, variance: float) -> float:
    """Squared error of the conditional mean in per cent of the target's variance."""
    gaps = fitted.mean(x0) - truth.plan_moments(x0)[0]
    return float(100 * (gaps**2).sum(axis=1).mean() / variance)


def bench(dim: int, epsilon: float, n: int, n_new: int) -> None:
    """One table: every solver on the same rows."""
    truth, rng = mixture_bridge(dim, epsilon, random_state=0), np.random.default_rng(1)
    X0, X1, new = truth.sample_source(n, rng), truth.sample_target(n, rng), truth.sample_source(n_new, rng)
    variance = truth.sample_target(100_000, rng).var(axis=0).sum()
    print(f"\nD={dim}, epsilon={epsilon:g}, {n} + {n} rows, {n_new} new points")
    print(f"{'':12s}{'fit, s':>9s}{'map, s':>9s}{'L2-UVP, %':>12s}{'cBW-UVP, %':>12s}")
    results = {}
    for name, solve in SOLVERS.items():
        if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
            print(f"{name:12s}  not installed")
            continue
        # Once at full size for OTT, whose compiled code depends on the shapes; a small run loads what the others need.
        warm = (X0, X1) if name == "OTT-JAX" else (X0[:64], X1[:64])
        if name.startswith("LightSB"):
            LightSB(epsilon=epsilon, n_components=2, max_steps=5).fit(*warm)
        else:
            solve(*warm, epsilon).mean(new)
        began = time.perf_counter()
        fitted = solve(X0, X1, epsilon)
        fit_seconds = time.perf_counter() - began
        began = time.perf_counter()
        fitted.mean(new)
        map_seconds = time.perf_counter() - began
        error = map_error(fitted, truth, new[:1000], variance)
        uvp = (
            ""
            if fitted.moments is None
            else f"{conditional_uvp(fitted.moments, truth, np.random.default_rng(2)):12.3f}"
        )
        print(f"{name:12s}{fit_seconds:9.2f}{map_seconds:9.3f}{error:12.3f}{uvp}", flush=True)
        results[name] = (fit_seconds, map_seconds, error)
    ours = results["LightSB"]
    for name, theirs in results.items():
        if name != "LightSB":
            fit, query, error = (their / our for their, our in zip(theirs, ours))
            print(f"  {name} / LightSB: fit {fit:.2f}, map {query:.1f}, error {error:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, nargs="+", default=[2, 16])
    parser.add_argument("--epsilons", type=float, nargs="+", default=[0.1, 1.0])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--new", type=int, default=10_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for dim in options.dims:
        for epsilon in options.epsilons:
            bench(dim, epsilon, options.rows, options.new)


if __name__ == "__main__":
    main()

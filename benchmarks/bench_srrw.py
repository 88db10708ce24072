"""Self-repellent tokens beside what users write: NumPy loops over networkx walks, and other ways to visit the agents.

    python benchmarks/bench_srrw.py

No package does this. The loops walk the same graph with networkx, one step at a time, and take the same gradient of the same
logistic regression with NumPy: the Metropolis-Hastings walk, and the self-repellent walk with counts (a = 1) and with
forgetting (a < 1, where all counts decay at every step). One thread everywhere; compilation is not timed. The error is the
mean of ‖θ - θ*‖² over the runs, with its standard error, after the same number of steps as the loops and after as many steps
as are made in the time of one run of the slowest loop. The last table has the error against steps for every sampler.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import networkx as nx
import numpy as np
from scipy.special import expit

from semigroup.data.decentralised import DecentralisedProblem
from semigroup.jobs.srrw import political_blogs, simulate
from semigroup.optimize import SRRW

ALPHA = 10.0


class Loops:
    """Walks as a user writes them."""

    def __init__(self, graph: nx.Graph, features: np.ndarray, labels: np.ndarray) -> None:
        self.graph, self.features, self.labels = graph, features, labels
        self.degree = dict(graph.degree())

    def gradient_step(self, theta: np.ndarray, agent: int, n: int, b: float) -> np.ndarray:
        """One step of stochastic gradient descent."""
        x, y = self.features[agent], self.labels[agent]
        return theta + (n + 2.0) ** -b * (y * expit(-y * (x @ theta)) * x - theta)

    def metropolis(self, n_steps: int, a: float, b: float, generator: np.random.Generator) -> np.ndarray:
        """A Metropolis-Hastings walk with the uniform law."""
        theta, node = np.zeros(self.features.shape[1]), int(generator.integers(len(self.labels)))
        for n in range(n_steps):
            neighbours = list(self.graph.neighbors(node))
            proposed = neighbours[generator.integers(len(neighbours))]
            if generator.random() < self.degree[node] / self.degree[proposed]:
                node = proposed
            theta = self.gradient_step(theta, node, n, b)
        return theta

    def self_repellent(self, n_steps: int, a: float, b: float, generator: np.random.Generator) -> np.ndarray:
        """A self-repellent walk on the same base chain."""
        n_nodes = len(self.labels)
        theta, node = np.zeros(self.features.shape[1]), int(generator.integers(n_nodes))
        visits = np.full(n_nodes, 1.0 / n_nodes)
        for n in range(n_steps):
            neighbours = np.fromiter(self.graph.neighbors(node), dtype=np.int64)
            moves = np.array([min(1 / self.degree[node], 1 / self.degree[j]) for j in neighbours])
            stay = max(1 - moves.sum(), 0.0)
            candidates, chance = np.append(neighbours, node), np.append(moves, stay)
            with np.errstate(divide="ignore"):
                logits = np.log(chance) - ALPHA * np.log(visits[candidates])
            weights = np.exp(logits - logits.max())
            node = int(candidates[np.searchsorted(np.cumsum(weights), generator.random() * weights.sum())])
            if a == 1:
                visits[node] += 1.0
            else:
                gamma = (n + 2.0) ** -a
                visits *= 1 - gamma
                visits[node] += gamma
            theta = self.gradient_step(theta, node, n, b)
        return theta


def mean_error(errors: np.ndarray) -> str:
    """Mean and standard error."""
    return f"{errors.mean():9.2e} ± {errors.std(ddof=1) / np.sqrt(len(errors)):.0e}"


def main(arguments: list[str] | None = None) -> None:
    """Print time a step and error of every way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000, help="steps of the loops")
    parser.add_argument("--runs", type=int, default=5, help="runs of each loop")
    parser.add_argument("--tokens", type=int, default=40, help="runs of the compiled samplers")
    options = parser.parse_args(arguments)
    graph = political_blogs()
    objective = simulate(graph, n_features=10)
    problem = DecentralisedProblem(graph, objective)
    optimum = objective.optimum()
    features, labels = objective.arrays.features, objective.arrays.targets
    loops = Loops(nx.from_scipy_sparse_array(graph.adjacency), features, labels)
    print(
        f"political blogs: {graph.n_nodes} vertices, {graph.adjacency.nnz // 2} edges; 10 features; {options.steps} steps"
    )

    def compiled(n_steps: int, n_tokens: int, **settings: object) -> tuple[float, np.ndarray]:
        """Microseconds a step, and the errors at the end."""
        model = SRRW(n_jobs=1, n_records=2, random_state=0).set_params(**settings)
        model.set_params(n_steps=10, n_tokens=1).minimize(problem)
        began = time.perf_counter()
        result = model.set_params(n_steps=n_steps, n_tokens=n_tokens).minimize(problem)
        return 1e6 * (time.perf_counter() - began) / (n_steps * n_tokens), result.errors[-1]

    pairs: list[tuple[str, Callable[..., np.ndarray], float, dict[str, object]]] = [
        ("MH walk", loops.metropolis, 0.8, {"alpha": 0.0}),
        ("self-repellent, a = 1", loops.self_repellent, 1.0, {"alpha": ALPHA, "memory_exponent": 1.0}),
        ("self-repellent, a = 0.8", loops.self_repellent, 0.8, {"alpha": ALPHA}),
    ]
    print(f"\n{'walk':<26}{'NumPy, us':>10}{'ours, us':>10}{'ratio':>8}  {'NumPy: error':<20}{'ours: error':<20}")
    slowest = 0.0
    for name, loop, a, settings in pairs:
        began = time.perf_counter()
        ends = [loop(options.steps, a, 0.9, np.random.default_rng(seed)) for seed in range(options.runs)]
        seconds = time.perf_counter() - began
        theirs = 1e6 * seconds / (options.steps * options.runs)
        slowest = max(slowest, seconds / options.runs)
        errors = ((np.array(ends) - optimum) ** 2).sum(axis=1)
        ours, compiled_errors = compiled(options.steps, options.tokens, **settings)
        found = f"{mean_error(errors):<20}{mean_error(compiled_errors):<20}"
        print(f"{name:<26}{theirs:>10.1f}{ours:>10.3f}{theirs / ours:>8.0f}  {found}")
    affordable = int(1e6 * slowest / ours)
    _, errors = compiled(affordable, 4, alpha=ALPHA)
    print(
        f"in the {slowest:.2f} s of one run of the slowest loop ours makes {affordable} steps: error {mean_error(errors)}"
    )

    samplers: dict[str, dict[str, object]] = {
        "MH walk": {"alpha": 0.0},
        "simple walk, weighted": {"alpha": 0.0, "chain": "simple"},
        "non-backtracking, weighted": {"sampler": "non-backtracking"},
        "independent draws": {"sampler": "iid"},
        "random shuffling": {"sampler": "shuffle"},
        **{f"self-repellent, alpha = {alpha:g}": {"alpha": alpha} for alpha in (1.0, 5.0, 10.0, 20.0)},
    }
    steps = [options.steps // 10, options.steps, 10 * options.steps]
    print(f"\n{'sampler':<28}{'us a step':>10}  " + "".join(f"{f'error at {n}':<20}" for n in steps))
    for name, settings in samplers.items():
        found = [compiled(n, options.tokens, **settings) for n in steps]
        print(f"{name:<28}{found[-1][0]:>10.3f}  " + "".join(f"{mean_error(errors):<20}" for _, errors in found))
    print(
        "\nShuffling and independent draws reach every agent at once, which a network without a server does not allow."
    )


if __name__ == "__main__":
    main()

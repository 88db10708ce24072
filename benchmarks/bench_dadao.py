"""DADAO beside its peers: events a second, and communications and wall time to a common accuracy.

1. The same events on the same problem with this library and with the authors' reference code, and a check that both end at the
   same iterates; needs a checkout of https://github.com/AdelNabli/DADAO (``--reference DIR``).
2. decopt (PyPI, decentralised gradient descent in rounds; ``pip install --no-deps decopt``) on a ring, where it is installed.
3. Methods in rounds (gradient tracking, EXTRA, NIDS, each at the best of a grid of step sizes; ADOM+) and DADAO at uniform and at
   optimal rates, to the same accuracy.

decent-bench, of the same kind as decopt, needs Python 3.13.

    python benchmarks/bench_dadao.py --reference path/to/DADAO
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from semigroup.data.decentralised import DecentralisedProblem, random_least_squares, random_quadratic
from semigroup.operators import Graph
from semigroup.operators.topology import barbell, complete, cycle, grid, star
from semigroup.optimize import DADAO, History
from semigroup.optimize.dadao import constants, rates_of
from semigroup.optimize.dadao.carriers import EventCarrier
from semigroup.optimize.decentralised_baselines import adom_plus, extra, gradient_tracking, nids


def compare_with_reference(folder: Path, n: int, n_events: int) -> None:
    """The same events through both; prints events a second and how far the iterates are apart."""
    sys.path.insert(0, str(folder))
    import torch
    from cvx_functions import linear_regression  # of the reference code
    from optimizers import DADAO_optimizer

    problem = random_least_squares(star(n), n_samples=100, n_features=2, random_state=0)
    objective, schedule = problem.objective, rates_of(problem)
    start = np.random.default_rng(0).standard_normal((n, 2))
    events = schedule.events(0, 0, n_events / (n + schedule.communications_per_time), 0)
    features = torch.from_numpy(np.stack([a for a, _ in objective.blocks]))
    targets = torch.from_numpy(np.stack([b for _, b in objective.blocks]))[:, :, None]
    function = linear_regression(2, n, 100)
    function.theta_i.data = torch.from_numpy(start)[:, :, None].clone()
    theirs = DADAO_optimizer(
        function,
        features,
        targets,
        chi_1_star=schedule.chi_1,
        lamb_mix=schedule.communications_per_time,
        n_nodes=n,
        mu=objective.mu,
        L=objective.smoothness,
    )
    began = time.perf_counter()
    for t, i, j in zip(events.times, events.first, events.second):
        if j < 0:
            theirs.step(True, float(t), node_i=int(i))
        else:
            theirs.step(False, float(t), edge_ij=(int(i), int(j)))
    seconds_theirs = time.perf_counter() - began

    state = np.zeros((n, 6, 2))
    state[:, 0] = start
    c = constants(objective.mu, objective.smoothness, schedule.chi_1)
    EventCarrier(problem, state, 0.0, c).advance(schedule.events(1, 0, 0.1, 0), 0.1)  # compiles
    carrier = EventCarrier(problem, state, 0.0, c)
    began = time.perf_counter()
    carrier.advance(events, float(events.times[-1]))
    seconds_ours = time.perf_counter() - began
    for worker in range(n):  # their workers stand at the time of their own last event
        theirs.update_params_i_after_ode(theirs.t_last_event[worker], float(events.times[-1]), worker)
    gap = np.abs(theirs.X.numpy() - carrier.points()).max() / np.abs(carrier.points()).max()
    count = len(events.times)
    print(
        f"{count} events on a star of {n}, least squares with 2 variables; relative difference of the iterates {gap:.1e}"
    )
    print(f"{'method':24}{'seconds':>10}{'events/s':>12}")
    print(f"{'reference code':24}{seconds_theirs:10.3f}{count / seconds_theirs:12.0f}")
    print(f"{'semigroup':24}{seconds_ours:10.3f}{count / seconds_ours:12.0f}")
    print(f"ratio: {seconds_theirs / seconds_ours:.0f} times the events a second\n")


def compare_with_decopt(n: int, tol: float, n_rounds: int) -> None:
    """Least squares on a ring; decopt at the best of a grid of step sizes, which leaves it a bias of the step's order."""
    import contextlib
    import io
    from types import SimpleNamespace

    try:
        from dec_opt.dec_gd import DecGD
        from dec_opt.linear_regression import LinearRegression
    except ImportError:
        print("decopt: skipped, it is not installed\n")
        return
    problem = random_least_squares(cycle(n), n_samples=50, n_features=3, random_state=0)
    objective = problem.objective
    features, targets = objective.arrays.features, objective.arrays.targets[:, None]
    data = SimpleNamespace(A_train=features, y_train=targets, A_test=features[:1], y_test=targets[:1])
    optimum = objective.optimum()
    best = (np.inf, 0.0, 0.0)
    # Its functions are halves of ours, so 1/L is 2/L there.
    for factor in (0.01, 0.05, 0.2, 1.0):
        settings = SimpleNamespace(
            topology="ring", n_cores=n, num_bits=2, quantization_function="full", dropout_p=0.0, fraction_coordinates=1.0,
            epochs=n_rounds, seed=0, stochastic=False, algorithm="exact_comm", regularizer=0.0, lr_type="constant",
            initial_lr=2 * factor / objective.smoothness,
        )  # fmt: skip
        model = LinearRegression(settings)
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            DecGD(data, settings, model)
        seconds = time.perf_counter() - began
        gap = float(((model.x_estimate.T - optimum) ** 2).sum(axis=1).mean() / (optimum @ optimum))
        best = min(best, (gap, factor, seconds))
    estimator = DADAO(tol=tol, random_state=0)
    estimator.minimize(problem, np.zeros(3))
    began = time.perf_counter()
    result = estimator.minimize(problem, np.zeros(3))
    seconds = time.perf_counter() - began
    print(f"ring of {n}, least squares with 3 variables; squared error relative to the start at zero")
    print(f"{'method':24}{'error':>12}{'communications':>16}{'seconds':>10}")
    print(f"{'decopt, ' + str(n_rounds) + ' rounds':24}{best[0]:12.1e}{n_rounds * n:16}{best[2]:10.3f}")
    print(f"{'semigroup':24}{result.gap / (optimum @ optimum):12.1e}{result.n_communications:16}{seconds:10.3f}")
    print(f"ratio: an error {best[0] / (result.gap / (optimum @ optimum)):.3g} times smaller\n")


def best_step(method: Callable[..., object], problem: DecentralisedProblem, tol: float) -> Callable[[], object]:
    """The method at the step size that sends the least, of a grid from 0.02/L to 2/L."""
    best: tuple[float, float] | None = None
    for factor in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 1.5, 2.0):
        size = factor / problem.objective.smoothness
        with np.errstate(over="ignore", invalid="ignore"):
            result = method(problem, step_size=size, tol=tol, n_steps=20_000)
        if result.success and (best is None or result.n_communications < best[0]):
            best = (result.n_communications, size)
    if best is None:
        return lambda: None
    return lambda: method(problem, step_size=best[1], tol=tol, n_steps=20_000)


def compare_with_rounds(name: str, graph: Graph, condition_number: float, tol: float, shared_axes: bool) -> None:
    """Communications, gradients and seconds to `tol`; prints how many times fewer communications than the best in rounds."""
    problem = random_quadratic(graph, condition_number=condition_number, shared_axes=shared_axes, random_state=0)
    zero = np.zeros(5)
    methods = {
        "DADAO, uniform rates": lambda: DADAO(tol=tol, random_state=0).minimize(problem, zero),
        "DADAO, optimal rates": lambda: DADAO(tol=tol, rates="optimal", random_state=0).minimize(problem, zero),
        "gradient tracking": best_step(gradient_tracking, problem, tol),
        "EXTRA": best_step(extra, problem, tol),
        "NIDS": best_step(nids, problem, tol),
        "ADOM+": lambda: adom_plus(problem, tol=tol, n_steps=100_000),
        "ADOM+ multi-consensus": lambda: adom_plus(problem, tol=tol, multi_consensus=True),
    }
    axes = "as is their average" if shared_axes else "their average far less"
    print(
        f"{name}, quadratics of condition number {condition_number:g} ({axes}), to {tol:g} of the first squared error"
    )
    print(f"{'method':24}{'communications':>16}{'gradients':>12}{'seconds':>10}")
    sent: dict[str, float] = {}
    for method, solve in methods.items():
        solve()  # warms up
        began = time.perf_counter()
        result = solve()
        seconds = time.perf_counter() - began
        if result is None or not result.success:
            print(f"{method:24}{'not reached':>16}")
            continue
        history: History = result.history
        sent[method] = history.communications[-1]
        print(f"{method:24}{sent[method]:16.0f}{history.gradients[-1]:12.0f}{seconds:10.3f}")
    rounds = {m: c for m, c in sent.items() if "DADAO" not in m}
    best = min(rounds, key=lambda m: rounds[m])
    ours = min(c for m, c in sent.items() if "DADAO" in m)
    print(
        f"ratio: {rounds[best]:.0f} ({best}) / {ours:.0f} (DADAO) = {rounds[best] / ours:.2f} times the communications\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, help="checkout of the reference code")
    parser.add_argument("--workers", type=int, default=300, help="workers in the comparison of events a second")
    parser.add_argument("--events", type=int, default=3000, help="events in that comparison")
    parser.add_argument("--condition-number", type=float, default=1000.0)
    parser.add_argument("--tol", type=float, default=1e-6)
    options = parser.parse_args()
    if options.reference is None:
        print("reference code: skipped, give --reference DIR (a checkout of github.com/AdelNabli/DADAO)\n")
    else:
        compare_with_reference(options.reference, options.workers, options.events)
    compare_with_decopt(10, options.tol, n_rounds=1000)
    for name, graph in {"barbell 5+5": barbell(5), "grid 4x4": grid(4, 4), "complete 20": complete(20)}.items():
        for shared_axes in (True, False):
            compare_with_rounds(name, graph, options.condition_number, options.tol, shared_axes)


if __name__ == "__main__":
    main()

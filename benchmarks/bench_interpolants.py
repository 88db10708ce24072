"""Stochastic interpolants beside torchcfm: time of training and sampling at the same network, steps and batch, and quality.

    pip install --no-deps torchcfm==1.0.7
    python benchmarks/bench_interpolants.py

The same work: a perceptron of the same widths and activation, Adam with the same steps, batches of the same size from the same
rows, the linear path without latent noise, which is conditional flow matching with sigma = 0; then samples by dopri5 at the same
tolerances. torchcfm has no training loop: its side is the loop of its own examples (`ConditionalFlowMatcher` and torch's Adam),
its solver torchdiffeq, as in its image examples. What it further requires (torchdyn and what that pulls) is not needed here,
hence ``--no-deps``. Energy distances are to 2000 fresh target rows. Both sides alternate, on one thread, and the median of the
repeats is printed. The second line is the default of this package, velocity and denoiser with latent noise: two networks, each
evaluated at antithetic pairs, four times the work a step.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from semigroup.data.flow_examples import checkerboard, eight_gaussians, two_moons
from semigroup.densities import StochasticInterpolant, energy_distance
from semigroup.nn.mlp import MLP
from semigroup.sde import solve_ode

__all__ = ["main"]

WIDTHS = (64, 64, 64)  # torchcfm's MLP
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Run:
    """One side's times, solver evaluations and quality."""

    training: float
    sampling: float
    evaluations: int
    distance: float


def count_calls(network: nn.Module) -> list[int]:
    calls: list[int] = []
    network.register_forward_hook(lambda *_: calls.append(1))
    return calls


def ours(
    X0: np.ndarray,
    X1: np.ndarray,
    starts: np.ndarray,
    goal: np.ndarray,
    options: argparse.Namespace,
    seed: int,
    **kind: object,
) -> Run:
    model = StochasticInterpolant(
        **{"gamma": "zero", "learn": ("b",), **kind},  # type: ignore[arg-type]
        hidden=WIDTHS,
        batch_size=options.batch,
        max_steps=options.steps,
        learning_rate=1e-3,
        halve_every=10**9,
        rtol=TOLERANCE,
        atol=TOLERANCE,
        random_state=seed,
    )
    began = time.perf_counter()
    model.fit(X0, X1)
    training = time.perf_counter() - began
    calls = count_calls(model.networks_["b"])
    began = time.perf_counter()
    end = model.transport(starts)
    return Run(training, time.perf_counter() - began, len(calls), energy_distance(end[:2000], goal))


def torchcfm(
    X0: np.ndarray, X1: np.ndarray, starts: np.ndarray, goal: np.ndarray, options: argparse.Namespace, seed: int
) -> Run:
    from torchcfm.conditional_flow_matching import ConditionalFlowMatcher
    from torchdiffeq import odeint

    torch.manual_seed(seed)
    # The library's MLP but for the activation, so that both sides train the same network.
    network = MLP(2, 2, WIDTHS, time="concatenate")
    matcher = ConditionalFlowMatcher(sigma=0.0)
    rows0, rows1 = torch.from_numpy(X0).float(), torch.from_numpy(X1).float()
    began = time.perf_counter()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(options.steps):
        optimizer.zero_grad()
        x0 = rows0[torch.randint(len(rows0), (options.batch,))]
        x1 = rows1[torch.randint(len(rows1), (options.batch,))]
        t, xt, ut = matcher.sample_location_and_conditional_flow(x0, x1)
        loss = torch.mean((network(xt, t) - ut) ** 2)
        loss.backward()
        optimizer.step()
    training = time.perf_counter() - began
    calls = count_calls(network)
    began = time.perf_counter()
    with torch.no_grad():
        path = odeint(
            lambda t, x: network(x, t.expand(len(x))),
            torch.from_numpy(starts).float(),
            torch.tensor([0.0, 1.0]),
            method="dopri5",
            rtol=TOLERANCE,
            atol=TOLERANCE,
        )
    sampling = time.perf_counter() - began
    return Run(training, sampling, len(calls), energy_distance(path[-1].numpy()[:2000], goal))


def evaluations_at_equal_error(model: StochasticInterpolant, starts: np.ndarray) -> str:
    """Velocities a Heun method needs to come as near to the exact flow as dopri5 at the benchmark's tolerance."""
    x = torch.from_numpy(starts[:2000]).float()
    span = [model.t_min, model.t_max]
    truth = solve_ode(model.fields_.velocity, x, span, rtol=1e-7, atol=1e-7, keep="last")[:, 0].numpy()
    calls = count_calls(model.networks_["b"])
    error = np.abs(model.transport(starts[:2000]) - truth).mean()
    n_adaptive, n_steps = len(calls), 4
    while np.abs(model.transport(starts[:2000], n_steps=n_steps) - truth).mean() > error:
        n_steps *= 2
    return f"{n_adaptive} by dopri5, {2 * n_steps} by Heun's method (next power of two), at mean error {error:.1e}"


def bench(
    name: str,
    draw0: Callable[[int, int], np.ndarray],
    draw1: Callable[[int, int], np.ndarray],
    options: argparse.Namespace,
) -> None:
    X0, X1 = draw0(20_000, 0), draw1(20_000, 1)
    starts, goal = draw0(options.samples, 2), draw1(2000, 3)
    sides: dict[str, Callable[[int], Run]] = {
        "semigroup, velocity": lambda seed: ours(X0, X1, starts, goal, options, seed),
        "semigroup, velocity + denoiser": lambda seed: ours(
            X0, X1, starts, goal, options, seed, gamma="brownian", learn=("b", "eta")
        ),
    }
    if importlib.util.find_spec("torchcfm"):
        sides["torchcfm"] = lambda seed: torchcfm(X0, X1, starts, goal, options, seed)
    warm = argparse.Namespace(**{**vars(options), "steps": 5})
    ours(X0, X1, starts[:64], goal, warm, 0)
    if "torchcfm" in sides:
        torchcfm(X0, X1, starts[:64], goal, warm, 0)
    runs: dict[str, list[Run]] = {side: [] for side in sides}
    for seed in range(options.repeats):
        for side, run in sides.items():
            runs[side].append(run(seed))
    print(f"\n{name}: {options.steps} steps of {options.batch} rows, {options.samples} samples, widths {WIDTHS}")
    print(
        f"{'':32s}{'training, s':>12s}{'us a step':>11s}{'sampling, s':>12s}{'evaluations':>12s}{'energy distance':>17s}"
    )
    medians = {}
    for side, found in runs.items():
        training, sampling, evaluations, distance = (
            statistics.median(getattr(run, field) for run in found) for field in Run.__dataclass_fields__
        )
        medians[side] = training, sampling
        step = 1e6 * training / options.steps
        print(f"{side:32s}{training:12.2f}{step:11.0f}{sampling:12.3f}{evaluations:12.0f}{distance:17.4f}")
    print(f"{'two true samples':32s}{energy_distance(draw1(2000, 4), goal):64.4f}")
    if "torchcfm" in medians:
        (a, b), (c, d) = medians["torchcfm"], medians["semigroup, velocity"]
        print(f"  torchcfm / semigroup: training {a / c:.2f}, sampling {b / d:.2f}")
    else:
        print("  torchcfm is not installed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench(
        "8 gaussians to moons",
        lambda n, s: eight_gaussians(n, random_state=s),
        lambda n, s: two_moons(n, random_state=s),
        options,
    )
    bench(
        "Gaussian to checkerboard",
        lambda n, s: np.random.default_rng(s).standard_normal((n, 2)),
        lambda n, s: checkerboard(n, random_state=s),
        options,
    )
    X1 = checkerboard(20_000, random_state=1)
    model = StochasticInterpolant(
        gamma="zero",
        learn=("b",),
        hidden=WIDTHS,
        batch_size=options.batch,
        max_steps=options.steps,
        rtol=TOLERANCE,
        atol=TOLERANCE,
        random_state=0,
    ).fit(None, X1)
    starts = np.random.default_rng(2).standard_normal((2000, 2))
    print(f"\nEvaluations at equal error: {evaluations_at_equal_error(model, starts)}")


if __name__ == "__main__":
    main()

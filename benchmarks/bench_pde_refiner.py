"""PDE-Refiner beside its peers: simulating the training data (exponax) and sampling a step (diffusers).

    pip install exponax diffusers
    python benchmarks/bench_pde_refiner.py

Simulation: the same Kuramoto-Sivashinsky trajectories, equation, grid, time step, order of the integrator and double
precision on both sides; exponax is compiled before it is timed. Sampling: the same network, states and noise schedule; the
reference code samples through diffusers' `DDPMScheduler`. Each figure is in core seconds, the best of several repeats.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable

import numpy as np
import torch

from semigroup.data.pde import kuramoto_sivashinsky
from semigroup.fields import OneStepStepper, PDERefiner
from semigroup.fields.pde_refiner import refinement_variances

__all__ = ["main"]


def best_times(*calls: Callable[[], object], n_repeats: int) -> list[float]:
    """Least core seconds of each call over all threads, after a warm-up; taken in turns: a busy moment meets all of them."""
    best = [float("inf")] * len(calls)
    for call in calls:
        call()
    for _ in range(n_repeats):
        for i, call in enumerate(calls):
            began = time.process_time()
            call()
            best[i] = min(best[i], time.process_time() - began)
    return best


def report(work: str, ours: float, peer: str, theirs: float, quality: str) -> None:
    """One line of the table; a ratio above 1 means that this library is the faster one."""
    print(
        f"{work:<44} semigroup {ours:8.4f} s   {peer} {theirs:8.4f} s   {peer} / semigroup = {theirs / ours:5.2f}   {quality}"
    )


def bench_simulation(n_trajectories: int, duration: float, n_repeats: int) -> None:
    """Trajectories of the Kuramoto-Sivashinsky equation on 128 points."""
    if importlib.util.find_spec("exponax") is None:
        print("simulation: exponax is not installed, skipped")
        return
    import exponax
    import jax

    jax.config.update("jax_enable_x64", True)
    n_points, length, step = 128, 64.0, 0.05
    start = kuramoto_sivashinsky(n_trajectories, n_frames=1, n_points=n_points, burn_in=20, random_state=0).states[:, 0]
    stepper = exponax.stepper.KuramotoSivashinskyConservative(1, length, n_points, step, order=4)
    repeat = jax.jit(jax.vmap(exponax.repeat(stepper, round(duration / step))))

    def ours() -> np.ndarray:
        return kuramoto_sivashinsky(
            n_trajectories,
            n_frames=2,
            time_step=duration,
            n_points=n_points,
            length=length,
            burn_in=0,
            initial=start[:, 0],
        ).states[:, 1]

    def theirs() -> np.ndarray:
        return np.asarray(repeat(start))

    short = jax.jit(jax.vmap(exponax.repeat(stepper, 20)))
    same = kuramoto_sivashinsky(
        n_trajectories, n_frames=2, time_step=1.0, n_points=n_points, length=length, burn_in=0, initial=start[:, 0]
    ).states[:, 1]
    difference = abs(same - np.asarray(short(start))).max()
    our_time, their_time = best_times(ours, theirs, n_repeats=n_repeats)
    report(
        f"simulate {n_trajectories} x {duration:g} s of KS",
        our_time,
        "exponax",
        their_time,
        f"largest difference after 1 s: {difference:.0e}",
    )


def bench_sampling(n_states: int, n_train_steps: int, n_repeats: int) -> None:
    """One step of a trained refiner in the diffusion formulation, and what refining costs over a single pass."""
    states = kuramoto_sivashinsky(40, n_frames=20, random_state=0).states[..., ::2]
    options = {"width": 16, "n_steps": n_train_steps, "learning_rate": 8e-3, "ema_decay": 0.98, "random_state": 0}
    model = PDERefiner(formulation="v", **options).fit(states[:30])
    plain = OneStepStepper(**options).fit(states[:30])
    pairs = states[30:]
    now, following = pairs[:, :-1].reshape(-1, 1, 64)[:n_states], pairs[:, 1:].reshape(-1, 1, 64)[:n_states]

    def error(predicted: np.ndarray) -> float:
        return float(((predicted - following) ** 2).mean())

    refined, single = best_times(lambda: model.predict(now), lambda: plain.predict(now), n_repeats=10 * n_repeats)
    print(
        f"{f'one step of {len(now)} states':<44} refiner   {refined:8.4f} s   single pass {single:8.4f} s   "
        f"refiner / single = {refined / single:5.2f} (K + 1 = {model.n_refinements + 1})"
    )
    if importlib.util.find_spec("diffusers") is None:
        print("sampling: diffusers is not installed, skipped")
        return
    from diffusers import DDPMScheduler

    betas = list(refinement_variances(model.n_refinements, model.min_noise_variance))
    scheduler = DDPMScheduler(
        num_train_timesteps=len(betas), trained_betas=betas, prediction_type="v_prediction", clip_sample=False
    )
    frames = torch.as_tensor(now, dtype=torch.float32)
    scale = float(model.target_scale_[0] / model.scale_[0])
    nothing = torch.zeros(len(now), 0)

    @torch.no_grad()
    def theirs() -> np.ndarray:
        generator = torch.Generator().manual_seed(0)
        normal = (frames - float(model.mean_[0])) / float(model.scale_[0])
        candidate = torch.randn(normal.shape, generator=generator)
        for level in scheduler.timesteps:
            index = torch.full((len(now),), float(level) * 1000 / model.n_refinements)
            output = model.network_(torch.cat([normal, candidate], dim=1), index, nothing)
            candidate = scheduler.step(output, level, candidate, generator=generator).prev_sample
        return ((normal + scale * candidate) * float(model.scale_[0]) + float(model.mean_[0])).numpy()

    our_time, their_time = best_times(lambda: model.predict(now), theirs, n_repeats=10 * n_repeats)
    report(
        f"refine one step of {len(now)} states",
        our_time,
        "diffusers",
        their_time,
        f"one-step MSE {error(model.predict(now)):.2e} and {error(theirs()):.2e}",
    )


def main(arguments: list[str] | None = None) -> None:
    """Run both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trajectories", type=int, default=64)
    parser.add_argument("--duration", type=float, default=72.0)
    parser.add_argument("--states", type=int, default=64)
    parser.add_argument("--train-steps", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    bench_simulation(chosen.trajectories, chosen.duration, chosen.repeats)
    bench_sampling(chosen.states, chosen.train_steps, chosen.repeats)


if __name__ == "__main__":
    main()

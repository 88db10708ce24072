"""PFGMpp beside a plain EDM loop and, where it is installed, k-diffusion: time of training and of sampling, and quality.

    pip install 'semigroup[peers]'            # and, if wanted, k-diffusion==0.1.1
    python benchmarks/bench_pfgmpp.py

The plain loop is EDM as its paper states it (Karras et al. 2022, table 1 and algorithm 1) in the fewest lines of PyTorch: the
same network, steps, batches, optimiser, averaging and noise levels, D = infinity. Both are trained on the same digits with the
same seeds, in turn, several times over, and draw as many samples; the least times of the processor, on one thread, count.
Beside them PFGMpp at D = 128, whose Student noise should cost nothing. k-diffusion samples from the plain loop's network with its
own Heun sampler. Quality is the Fréchet distance of the pixels to held-out digits.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from semigroup.data.images import digits
from semigroup.densities import PFGMpp, frechet_distance
from semigroup.densities.pfgmpp import student_noise
from semigroup.training import seeded

__all__ = ["main"]

N_HELD, N_LEVELS, SIGMA_DATA, SIGMA_MIN, SIGMA_MAX = 397, 18, 0.5, 0.002, 80.0


@dataclass
class Result:
    """Seconds of training and of sampling, and the Fréchet distance of the samples."""

    training: float
    sampling: float
    frechet: float


def plain_denoise(network: nn.Module, x: Tensor, sigma: Tensor) -> Tensor:
    """EDM, table 1, last column."""
    s = sigma[:, None]
    total = s**2 + SIGMA_DATA**2
    inner = network(x / total.sqrt(), sigma.log() / 4, None)
    return SIGMA_DATA**2 / total * x + s * SIGMA_DATA / total.sqrt() * inner


def plain_training(network: nn.Module, data: Tensor, model: PFGMpp, seed: int) -> nn.Module:
    """EDM's loss with Adam and averaged weights."""
    averaged = copy.deepcopy(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=model.learning_rate, fused=True)
    generator = torch.Generator().manual_seed(seed)
    weights, means = list(network.parameters()), list(averaged.parameters())
    for step in range(model.n_steps):
        y = data[torch.randint(len(data), (model.batch_size,), generator=generator)]
        sigma = (-1.2 + 1.2 * torch.randn(len(y), generator=generator)).exp()
        x = y + sigma[:, None] * torch.randn(y.shape, generator=generator)
        weight = (sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2
        loss = (weight[:, None] * (plain_denoise(network, x, sigma) - y) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay = min(model.ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(means, weights, 1 - decay)
    return averaged


@torch.no_grad()
def plain_sampling(network: nn.Module, n: int, n_features: int, seed: int) -> Tensor:
    """EDM, algorithm 1, in float64 as in its program; all samples at once."""
    i = torch.arange(N_LEVELS, dtype=torch.float64)
    grid = (SIGMA_MAX ** (1 / 7) + i / (N_LEVELS - 1) * (SIGMA_MIN ** (1 / 7) - SIGMA_MAX ** (1 / 7))) ** 7
    grid = torch.cat([grid, torch.zeros(1)])
    x = SIGMA_MAX * torch.randn(n, n_features, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))

    def slope(x: Tensor, sigma: Tensor) -> Tensor:
        return (x - plain_denoise(network, x.float(), sigma.float().expand(len(x))).double()) / sigma

    for now, later in pairwise(grid):
        d = slope(x, now)
        ahead = x + (later - now) * d
        x = x + (later - now) * (d + slope(ahead, later)) / 2 if later > 0 else ahead
    return x


@torch.no_grad()
def k_diffusion_sampling(network: nn.Module, n: int, n_features: int, seed: int) -> Tensor:
    """The Heun sampler of k-diffusion on the same network and grid, in single precision as it is used."""
    from k_diffusion.sampling import get_sigmas_karras, sample_heun

    x = SIGMA_MAX * torch.randn(n, n_features, generator=torch.Generator().manual_seed(seed))
    sigmas = get_sigmas_karras(N_LEVELS, SIGMA_MIN, SIGMA_MAX)
    return sample_heun(lambda x, sigma: plain_denoise(network, x, sigma), x, sigmas, disable=True)


def timed(run: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Seconds of the processor, on one thread: what else the machine does is nobody's time."""
    began = time.process_time()
    result = run(*arguments)
    return time.process_time() - began, result


def bench(kind: str, options: argparse.Namespace) -> None:
    """One network: everybody in turn, several times over."""
    images, _ = digits()
    order = np.random.default_rng(0).permutation(len(images))
    data = images[order].reshape(len(images), -1) if kind == "mlp" else images[order][:, None]
    training, held_out = data[:-N_HELD], data[-N_HELD:].reshape(N_HELD, -1)
    n_steps, batch_size = (options.steps, 256) if kind == "mlp" else (options.steps // 10, 64)
    n, n_features = options.samples, held_out.shape[1]
    settings = {
        "network": kind,
        "width": 16,
        "multipliers": (1, 2),
        "n_steps": n_steps,
        "batch_size": batch_size,
        "device": "cpu",
    }
    found: dict[str, list[Result]] = {}

    def note(name: str, training: float, sampling: float, samples: object) -> None:
        rows = np.asarray(samples, dtype=np.float64).reshape(n, -1)
        found.setdefault(name, []).append(Result(training, sampling, frechet_distance(held_out, rows)))

    PFGMpp(**{**settings, "n_steps": 3}, random_state=0).fit(training).sample(2)  # what is loaded on first use
    for seed in range(options.rounds):
        model = PFGMpp(D=math.inf, random_state=seed, **settings)
        fitting, _ = timed(model.fit, training)
        sampling, samples = timed(model.sample, n)
        note("PFGMpp, D = inf", fitting, sampling, samples)

        student = PFGMpp(D=128.0, random_state=seed, **settings)
        fitting, _ = timed(student.fit, training)
        sampling, samples = timed(student.sample, n)
        note("PFGMpp, D = 128", fitting, sampling, samples)

        rows = torch.from_numpy((training.reshape(len(training), -1) - model.shift_) / model.scale_).float()
        with seeded(seed):
            network = model._build().network
        fitting, averaged = timed(plain_training, network, rows, model, seed)
        averaged.eval()
        sampling, samples = timed(plain_sampling, averaged, n, n_features, seed)
        note("plain EDM loop", fitting, sampling, model.shift_ + model.scale_ * np.asarray(samples))
        if importlib.util.find_spec("k_diffusion") is not None:
            sampling, samples = timed(k_diffusion_sampling, averaged, n, n_features, seed)
            note("k-diffusion", math.nan, sampling, model.shift_ + model.scale_ * np.asarray(samples))

    print(f"\n{kind}: {n_steps} steps of {batch_size} digits, {n} samples of {2 * N_LEVELS - 1} evaluations")
    print(f"{'':18s}{'training, s':>13s}{'sampling, s':>13s}{'Fréchet':>16s}")
    least = {}
    for name, results in found.items():
        frechet = np.array([result.frechet for result in results])
        least[name] = (min(result.training for result in results), min(result.sampling for result in results))
        fitting = "-" if math.isnan(least[name][0]) else f"{least[name][0]:.2f}"
        print(f"{name:18s}{fitting:>13s}{least[name][1]:13.3f}{frechet.mean():10.3f} ± {frechet.std():.3f}")
    ours = least["PFGMpp, D = inf"]
    for name, theirs in least.items():
        if not name.startswith("PFGMpp"):
            fitting = "" if math.isnan(theirs[0]) else f"training {theirs[0] / ours[0]:.2f}, "
            print(f"  {name} / PFGMpp: {fitting}sampling {theirs[1] / ours[1]:.2f}")
    overhead = noise_seconds(batch_size, n_features, 128.0) - noise_seconds(batch_size, n_features, math.inf)
    print(f"  Student noise costs {100 * overhead * n_steps / ours[0]:.2f} % of a step of training")


def noise_seconds(n: int, n_features: int, D: float, n_repeats: int = 300) -> float:
    """Seconds of one batch of noise, the least of five runs."""
    generator = torch.Generator().manual_seed(0)

    def run() -> None:
        for _ in range(n_repeats):
            student_noise(n, n_features, D, generator)

    return min(timed(run)[0] for _ in range(5)) / n_repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000, help="of training the perceptron; the U-Net takes a tenth")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", nargs="+", choices=("mlp", "unet"), default=["mlp", "unet"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    for kind in options.networks:
        bench(kind, options)


if __name__ == "__main__":
    main()

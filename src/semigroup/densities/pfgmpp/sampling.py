"""From noise to data along the field's lines, and the ways to disturb that which test a model's robustness."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from semigroup.base import check_integer, check_number
from semigroup.schedules import Schedule
from semigroup.sde import heun

__all__ = ["Churn", "check_bits", "quantize_weights", "sample_heun", "sample_scaled"]

# Denoised rows at one noise level.
Denoise = Callable[[Tensor, float], Tensor]
# Time at which a scaled sampler's last step begins, as in EDM's reformulation of the variance preserving sampler.
LEAST_TIME = 1e-3
# Modules that carry sigma or the label to the layers, or normalise: robustness tests leave their weights alone.
UNTOUCHED = ("embedding", "sinusoids", "classes", "modulation", "norm")


@dataclass(frozen=True)
class Churn:
    """EDM's stochastic sampling: noise is added before each step, and taken out by it.

    The noise is Gaussian, which leaves the law of the path as it is at D = infinity only.

    Attributes
    ----------
    amount : float
        ``S_churn``: each of n steps raises the noise level by ``1 + amount / n`` first, at most by sqrt(2); all together by some
        ``exp(amount)``.
    sigma_min, sigma_max : float
        Noise levels between which noise is added.
    noise : float
        ``S_noise``: its standard deviation relative to what the level asks for.
    """

    amount: float = 0.0
    sigma_min: float = 0.0
    sigma_max: float = math.inf
    noise: float = 1.0

    def __post_init__(self) -> None:
        check_number(self.amount, "amount", minimum=0)
        check_number(self.noise, "noise", minimum=0)
        if not 0 <= self.sigma_min < self.sigma_max:
            raise ValueError(f"sigma_max must be > sigma_min >= 0, got {self.sigma_max!r} and {self.sigma_min!r}")

    def raised(self, sigma: float, n_steps: int) -> float:
        """The noise level from which the step at `sigma` starts."""
        inside = self.sigma_min <= sigma <= self.sigma_max
        return sigma * (1 + (min(self.amount / n_steps, math.sqrt(2) - 1) if inside else 0.0))


def sample_heun(
    denoise: Denoise,
    x: Float[Tensor, "batch n_features"],
    sigmas: Sequence[float] | np.ndarray,
    *,
    generator: torch.Generator | None = None,
    disturbance: float = 0.0,
    churn: Churn | None = None,
) -> Float[Tensor, "batch n_features"]:
    """Follow ``dx/dsigma = (x - denoise(x, sigma)) / sigma`` down to sigma = 0 by Heun's method, the last step by Euler's.

    Parameters
    ----------
    denoise : callable
        ``denoise(x, sigma)`` for a batch and one noise level; called ``2 n - 1`` times.
    x : Tensor, shape (batch, n_features)
        Noise at ``sigmas[0]``, best in float64: noise levels span five orders of magnitude.
    sigmas : sequence of float
        n decreasing noise levels and 0, e.g. of `semigroup.schedules.karras_sigmas`.
    generator : torch.Generator, optional
        On the device of `x`; needed with `disturbance` and `churn`.
    disturbance : float
        Before each step, noise of standard deviation ``disturbance * sigma`` is added, which the sampler does not know of: the
        paper's controlled error.
    churn : Churn, optional
        Stochastic sampling.

    Returns
    -------
    Tensor, shape (batch, n_features)

    Raises
    ------
    SolverFailed
        If a state is NaN or infinite.

    References
    ----------
    Karras, T. et al. (2022). Elucidating the design space of diffusion-based generative models. NeurIPS, algorithms 1 and 2.

    Examples
    --------
    >>> from semigroup.densities.pfgmpp import PointSetDenoiser
    >>> from semigroup.schedules import karras_sigmas
    >>> generator, atoms = torch.Generator().manual_seed(0), PointSetDenoiser([[-1.0], [1.0]], D=3.0)
    >>> x = sample_heun(atoms, atoms.prior(4, 80.0, generator), karras_sigmas(64, 0.002, 80.0))
    >>> bool((x.abs() - 1).abs().max() < 1e-3)
    True
    """
    levels = [float(sigma) for sigma in sigmas]

    def drift(state: Tensor, sigma: float) -> Tensor:
        return (state - denoise(state, sigma)) / sigma

    def noisy(state: Tensor, size: float) -> Tensor:
        shock = torch.randn(state.shape, generator=generator, dtype=state.dtype, device=state.device)
        return state + size * shock

    for sigma, following in pairwise(levels):
        if disturbance > 0:
            x = noisy(x, disturbance * sigma)
        start = sigma if churn is None else churn.raised(sigma, len(levels) - 1)
        if churn is not None and start > sigma:
            x = noisy(x, churn.noise * math.sqrt(start**2 - sigma**2))
        x = heun(drift, x, [start, following], euler_last=following == 0, keep="last")[:, -1]
    return x


def sample_scaled(
    denoise: Denoise,
    noise: Float[Tensor, "batch n_features"],
    schedule: Schedule,
    n_steps: int,
    *,
    disturbance: float = 0.0,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch n_features"]:
    """The same lines in the variables of another diffusion, ``x = scale(t) (y + sigma(t) noise)``: the transfer to DDPM.

    ``dx/dt = rate x + g^2 / (2 scale sigma^2) (x / scale - denoise(x / scale, sigma))``, sigma = std / scale, by Heun's method
    on n_steps times equidistant between the schedule's end and 1e-3, and then to 0 by Euler's.

    Parameters
    ----------
    denoise : callable
        As for `sample_heun`.
    noise : Tensor, shape (batch, n_features)
        Noise at sigma = 1.
    schedule : Schedule
        E.g. `semigroup.schedules.VP`.
    n_steps : int
        At least 2.
    disturbance, generator
        As for `sample_heun`.

    Returns
    -------
    Tensor, shape (batch, n_features)

    Examples
    --------
    >>> from semigroup.densities.pfgmpp import PointSetDenoiser, student_noise
    >>> from semigroup.schedules import VP
    >>> noise = student_noise(4, 1, 3.0, torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> x = sample_scaled(PointSetDenoiser([[-1.0], [1.0]], D=3.0), noise, VP(), 200)
    >>> bool((x.abs() - 1).abs().max() < 1e-3)
    True
    """
    check_integer(n_steps, "n_steps", minimum=2)

    def drift(x: Tensor, t: float) -> Tensor:
        scale, std = schedule.scale(t).item(), schedule.std(t).item()
        sigma = std / scale
        pull = schedule.diffusion(t).item() ** 2 / (2 * scale * sigma**2)
        y = x / scale
        return schedule.rate(t).item() * x + pull * (y - denoise(y, sigma))

    def disturbed(x: Tensor, t: float) -> Tensor:
        if disturbance == 0:
            return x
        shock = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        return x + disturbance * schedule.std(t).item() * shock

    times = np.linspace(schedule.horizon, LEAST_TIME, n_steps).tolist()
    x = schedule.std(times[0]).item() * noise
    for t, following in pairwise(times):
        x = heun(drift, disturbed(x, t), [t, following], keep="last")[:, -1]
    scale, std = schedule.scale(LEAST_TIME).item(), schedule.std(LEAST_TIME).item()
    # Euler's step in sigma, which unlike t resolves the end, leads to the denoised data.
    return denoise(disturbed(x, LEAST_TIME) / scale, std / scale)


def check_bits(bits: int) -> int:
    """Bits of a weight, 2 to 16."""
    return check_integer(bits, "bits", minimum=2, maximum=16)


def quantize_weights(network: nn.Module, bits: int, *, example: Sequence[Tensor | None] | None = None) -> nn.Module:
    """A copy of a network whose layers' weights are rounded to ``2^bits`` levels a tensor, for tests of robustness.

    Affine quantisation: scale ``(max - min) / (2^bits - 1)``, an integer zero point, and back to floating point. Biases,
    normalisations, and the layers that carry sigma and labels stay as they are; so do convolutions at the images' own
    resolution, if there are any.

    Parameters
    ----------
    network : nn.Module
    bits : int
        2 to 16.
    example : sequence of Tensor, optional
        Inputs of one pass through the network, which tell the resolution at which each convolution works.

    Returns
    -------
    nn.Module

    Examples
    --------
    >>> layer = nn.Linear(50, 50)
    >>> quantize_weights(layer, 3).weight.unique().numel() <= 8
    True
    """
    n_levels = 2 ** check_bits(bits) - 1
    copied = copy.deepcopy(network)
    full_size = set() if example is None else _full_resolution(copied, example)
    with torch.no_grad():
        for name, module in copied.named_modules():
            if not isinstance(module, nn.Linear | nn.Conv2d) or module in full_size:
                continue
            if any(part in UNTOUCHED for part in name.split(".")):
                continue
            weight = module.weight
            low, high = weight.min(), weight.max()
            if low == high:
                continue
            step = (high - low) / n_levels
            zero = (-low / step).trunc().clamp(0, n_levels)
            weight.copy_(((weight / step + zero).round().clamp(0, n_levels) - zero) * step)
    return copied


def _full_resolution(network: nn.Module, example: Sequence[Tensor | None]) -> set[nn.Module]:
    """The convolutions whose output is as large as any."""
    sizes: dict[nn.Module, int] = {}

    def note(module: nn.Module, inputs: object, output: Tensor) -> None:
        sizes[module] = output.shape[-1]

    hooks = [module.register_forward_hook(note) for module in network.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        network(*example)
    for hook in hooks:
        hook.remove()
    return {module for module, size in sizes.items() if size == max(sizes.values())}

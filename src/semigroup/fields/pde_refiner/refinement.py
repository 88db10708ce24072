r"""The two formulations of refinement, and standard diffusion: noise levels, training pairs, sampling loops.

Both know nothing of networks: they call a function ``predict(candidate, index)``, so that they can be tested with an
oracle. Noise levels are computed in float64: :math:`1 - \bar\alpha_0` of a variance of 4e-7 keeps only three bits in
float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["Diffusion", "NoiseRefinement", "cosine_variances", "refinement_variances"]

Predict = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class NoiseRefinement:
    r"""The paper's formulation: predict, then K times add a little noise, predict the noise and subtract it.

    .. math:: \sigma_k = \sigma_{min}^{k / K}, \quad k = 1, \dots, K

    Index 0 predicts the target from nothing; index k predicts the noise of standard deviation :math:`\sigma_k`.

    Attributes
    ----------
    n_refinements : int
        K.
    min_noise_variance : float
        The square of :math:`\sigma_{min}`.

    Examples
    --------
    >>> process = NoiseRefinement(3, 4e-7)
    >>> [f"{process.noise_std(k):.2e}" for k in (1, 2, 3)]
    ['8.58e-02', '7.37e-03', '6.32e-04']
    """

    n_refinements: int
    min_noise_variance: float

    @property
    def n_levels(self) -> int:
        """How many different tasks the network learns."""
        return self.n_refinements + 1

    def noise_std(self, k: int) -> float:
        """Standard deviation of the noise of refinement k; 0 for the first prediction."""
        return self.min_noise_variance ** (k / (2 * self.n_refinements)) if k else 0.0

    def training_pair(
        self,
        target: Float[Tensor, "batch channels *space"],
        index: Int[Tensor, " batch"],
        noise: Float[Tensor, "batch channels *space"],
    ) -> tuple[Float[Tensor, "batch channels *space"], Float[Tensor, "batch channels *space"]]:
        """The candidate that the network sees and what it should answer."""
        levels = torch.tensor(
            [self.noise_std(k) for k in range(self.n_levels)], dtype=target.dtype, device=target.device
        )
        refine = _spread(index > 0, target)
        std = _spread(levels[index], target)
        candidate = torch.where(refine, target + std * noise, torch.zeros_like(target))
        return candidate, torch.where(refine, noise, target)

    def sample(
        self,
        predict: Predict,
        like: Float[Tensor, "batch channels *space"],
        generator: torch.Generator | None,
        n_refinements: int | None = None,
    ) -> Float[Tensor, "batch channels *space"]:
        """Run the loop; `n_refinements` stops it early.

        Parameters
        ----------
        predict : callable
            ``predict(candidate, index)``.
        like : Tensor
            Shape, type and device of the result.
        generator : torch.Generator, optional
        n_refinements : int, optional
        """
        n_refinements = self.n_refinements if n_refinements is None else n_refinements
        result = predict(torch.zeros_like(like), 0)
        for k in range(1, n_refinements + 1):
            std = self.noise_std(k)
            candidate = result + std * _noise(like, generator)
            result = candidate - std * predict(candidate, k)
        return result


@dataclass(frozen=True)
class Diffusion:
    r"""Diffusion with v-prediction and ancestral sampling (Ho et al. 2020; Salimans and Ho 2022).

    Index i runs from the least noise (0) to pure noise (the last). With :math:`\bar\alpha_i = \prod_{j \le i}(1 - \beta_j)`
    the network sees :math:`\sqrt{\bar\alpha_i} y + \sqrt{1 - \bar\alpha_i} \epsilon` and answers
    :math:`v = \sqrt{\bar\alpha_i} \epsilon - \sqrt{1 - \bar\alpha_i} y`. With the variances of `refinement_variances` it is
    the reference code's form of PDE-Refiner; with those of `cosine_variances`, standard diffusion.

    Attributes
    ----------
    variances : tuple of float
        :math:`\beta_i`, the last one 1.

    Examples
    --------
    >>> process = Diffusion(refinement_variances(3, 4e-7))
    >>> [f"{process.noise_std(i):.2e}" for i in range(4)]
    ['6.32e-04', '7.40e-03', '8.62e-02', '1.00e+00']
    """

    variances: tuple[float, ...]

    @property
    def n_levels(self) -> int:
        """How many different tasks the network learns."""
        return len(self.variances)

    @property
    def n_refinements(self) -> int:
        """Steps after the first prediction."""
        return self.n_levels - 1

    def log_signal(self, i: int) -> float:
        r""":math:`\log \bar\alpha_i`, exact for the smallest variances."""
        if i < 0:
            return 0.0
        return sum(math.log1p(-beta) if beta < 1 else -math.inf for beta in self.variances[: i + 1])

    def signal(self, i: int) -> float:
        r""":math:`\sqrt{\bar\alpha_i}`."""
        return math.exp(0.5 * self.log_signal(i))

    def noise_std(self, i: int) -> float:
        r""":math:`\sqrt{1 - \bar\alpha_i}`."""
        return math.sqrt(-math.expm1(self.log_signal(i)))

    def training_pair(
        self,
        target: Float[Tensor, "batch channels *space"],
        index: Int[Tensor, " batch"],
        noise: Float[Tensor, "batch channels *space"],
    ) -> tuple[Float[Tensor, "batch channels *space"], Float[Tensor, "batch channels *space"]]:
        """The candidate that the network sees and what it should answer."""
        levels = [(self.signal(i), self.noise_std(i)) for i in range(self.n_levels)]
        table = torch.tensor(levels, dtype=target.dtype, device=target.device)[index]
        signal, std = _spread(table[:, 0], target), _spread(table[:, 1], target)
        return signal * target + std * noise, signal * noise - std * target

    def sample(
        self,
        predict: Predict,
        like: Float[Tensor, "batch channels *space"],
        generator: torch.Generator | None,
        n_refinements: int | None = None,
    ) -> Float[Tensor, "batch channels *space"]:
        """Ancestral sampling; `n_refinements` stops it early at the current estimate of the target.

        Parameters
        ----------
        predict : callable
            ``predict(candidate, index)``.
        like : Tensor
            Shape, type and device of the result.
        generator : torch.Generator, optional
        n_refinements : int, optional
        """
        n_refinements = self.n_refinements if n_refinements is None else n_refinements
        candidate = _noise(like, generator)
        last = self.n_levels - 1
        for i in range(last, last - n_refinements - 1, -1):
            estimate = self.signal(i) * candidate - self.noise_std(i) * predict(candidate, i)
            if i > last - n_refinements:
                to_estimate, to_candidate, std = self.posterior(i)
                candidate = to_estimate * estimate + to_candidate * candidate + std * _noise(like, generator)
        return estimate

    def posterior(self, i: int) -> tuple[float, float, float]:
        """Weights of the estimate and of the candidate in the mean of step i, and its standard deviation."""
        beta, variance, below = self.variances[i], self.noise_std(i) ** 2, self.noise_std(i - 1) ** 2
        return (
            self.signal(i - 1) * beta / variance,
            math.sqrt(1 - beta) * below / variance,
            math.sqrt(below * beta / variance),
        )


def refinement_variances(n_refinements: int, min_noise_variance: float) -> tuple[float, ...]:
    r"""The reference code's :math:`\beta_i = \sigma_{min}^{2 (K - i) / K}`, i = 0, ..., K.

    Examples
    --------
    >>> [f"{beta:.2e}" for beta in refinement_variances(3, 4e-7)]
    ['4.00e-07', '5.43e-05', '7.37e-03', '1.00e+00']
    """
    if n_refinements == 0:
        return (1.0,)
    return tuple(min_noise_variance ** ((n_refinements - i) / n_refinements) for i in range(n_refinements + 1))


def cosine_variances(n_levels: int, offset: float = 0.008) -> tuple[float, ...]:
    r"""The cosine schedule of Nichol and Dhariwal (2021), closed by a last level of pure noise.

    Examples
    --------
    >>> cosine_variances(4)[-1]
    1.0
    """

    def signal(fraction: float) -> float:
        return math.cos((fraction + offset) / (1 + offset) * math.pi / 2) ** 2

    betas = [1 - signal((i + 1) / n_levels) / signal(i / n_levels) for i in range(n_levels)]
    return (*betas[:-1], 1.0)


def _spread(values: Tensor, like: Tensor) -> Tensor:
    """Values of a sample, constant over its channels and space."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def _noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    options: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
    return torch.randn(like.shape, generator=generator, **options)

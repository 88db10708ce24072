"""Noise schedules: how much of the data and how much noise a state holds at a time, and the SDE behind it.

A `Schedule` is a linear SDE ``dx = rate(t) x dt + diffusion(t) dW`` on [0, horizon] with the marginal
``x_t = scale(t) x_0 + std(t) z``, z standard Gaussian. `Preconditioning` and `karras_sigmas` are the scalings and the grid of
EDM, which counts time by the noise's standard deviation sigma itself. `DDPMSchedule` counts time in whole steps.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from semigroup.base import check_array, check_integer, check_number

__all__ = ["VE", "VP", "DDPMSchedule", "OrnsteinUhlenbeck", "Preconditioning", "Schedule", "SubVP", "karras_sigmas"]

Time = Tensor | float
Step = Int[Tensor, " batch"] | int


class Schedule(ABC):
    """A linear SDE that turns data into noise; all methods take a tensor of times or one number, and return a tensor."""

    horizon: float = 1.0

    @abstractmethod
    def rate(self, t: Time) -> Tensor:
        """Coefficient of x in the drift, 1 / time."""

    @abstractmethod
    def diffusion(self, t: Time) -> Tensor:
        """Coefficient g of the Brownian motion, in units of x over the square root of time."""

    @abstractmethod
    def scale(self, t: Time) -> Tensor:
        """What multiplies the data at time t."""

    @abstractmethod
    def std(self, t: Time) -> Tensor:
        """Standard deviation of the noise at time t."""


@dataclass(frozen=True)
class VP(Schedule):
    """Variance preserving: ``beta(t) = beta_min + t (beta_max - beta_min)``, rate ``-beta/2``, ``g^2 = beta``.

    References
    ----------
    Song, Y. et al. (2021). Score-based generative modeling through stochastic differential equations. ICLR, eq. 11, app. B.

    Examples
    --------
    >>> schedule = VP()
    >>> round((schedule.scale(0.3) ** 2 + schedule.std(0.3) ** 2).item(), 12)
    1.0
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        check_number(self.beta_min, "beta_min", minimum=0)
        check_number(self.beta_max, "beta_max", above=self.beta_min)

    def beta(self, t: Time) -> Tensor:
        """Noise per unit of time."""
        return self.beta_min + _tensor(t) * (self.beta_max - self.beta_min)

    def _log_scale(self, t: Time) -> Tensor:
        t = _tensor(t)
        return -(t**2) * (self.beta_max - self.beta_min) / 4 - t * self.beta_min / 2

    def rate(self, t: Time) -> Tensor:
        return -self.beta(t) / 2

    def diffusion(self, t: Time) -> Tensor:
        return self.beta(t).sqrt()

    def scale(self, t: Time) -> Tensor:
        return self._log_scale(t).exp()

    def std(self, t: Time) -> Tensor:
        return (-torch.expm1(2 * self._log_scale(t))).sqrt()


@dataclass(frozen=True)
class SubVP(VP):
    """Sub-variance preserving: the drift and mean of `VP`, and the variance of `VP` squared.

    References
    ----------
    Song, Y. et al. (2021), as for `VP`, eq. 12.

    Examples
    --------
    >>> bool(SubVP().std(0.2) < VP().std(0.2))
    True
    """

    def diffusion(self, t: Time) -> Tensor:
        return (self.beta(t) * -torch.expm1(4 * self._log_scale(t))).sqrt()

    def std(self, t: Time) -> Tensor:
        return -torch.expm1(2 * self._log_scale(t))


@dataclass(frozen=True)
class VE(Schedule):
    """Variance exploding: no drift, ``sigma(t) = sigma_min (sigma_max / sigma_min)^t``.

    As in the published programs the noise at t = 0 is sigma_min, not 0.

    References
    ----------
    Song, Y. et al. (2021), as for `VP`, eq. 9, app. C.

    Examples
    --------
    >>> VE(0.01, 100.0).std(0.5).item()
    1.0
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self) -> None:
        check_number(self.sigma_min, "sigma_min", above=0)
        check_number(self.sigma_max, "sigma_max", above=self.sigma_min)

    def rate(self, t: Time) -> Tensor:
        return torch.zeros_like(_tensor(t))

    def diffusion(self, t: Time) -> Tensor:
        return self.std(t) * math.sqrt(2 * math.log(self.sigma_max / self.sigma_min))

    def scale(self, t: Time) -> Tensor:
        return torch.ones_like(_tensor(t))

    def std(self, t: Time) -> Tensor:
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** _tensor(t)


@dataclass(frozen=True)
class OrnsteinUhlenbeck(Schedule):
    """``dx = -x dt + dW``, whose stationary law is N(0, 1/2).

    Examples
    --------
    >>> round(OrnsteinUhlenbeck().std(10.0).item() ** 2, 8)
    0.5
    """

    horizon: float = 10.0

    def __post_init__(self) -> None:
        check_number(self.horizon, "horizon", above=0)

    def rate(self, t: Time) -> Tensor:
        return torch.full_like(_tensor(t), -1.0)

    def diffusion(self, t: Time) -> Tensor:
        return torch.ones_like(_tensor(t))

    def scale(self, t: Time) -> Tensor:
        return (-_tensor(t)).exp()

    def std(self, t: Time) -> Tensor:
        return (-torch.expm1(-2 * _tensor(t)) / 2).sqrt()


class DDPMSchedule:
    """Noise in whole steps: ``x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) z`` for t = 0 (the data), 1, ..., T, with
    ``abar_t = (1 - beta_1) ... (1 - beta_t)``.

    Any decreasing sequence of steps is a chain of its own, since `posterior` goes from a step to any earlier one. Coefficients
    are float64, from sums of logarithms. A step is an integer for the whole batch, or a tensor with one for each row.

    Parameters
    ----------
    betas : array-like, shape (T,)
        Variance of the noise that each step adds, strictly between 0 and 1.

    References
    ----------
    Ho, J., Jain, A. and Abbeel, P. (2020). Denoising diffusion probabilistic models. NeurIPS, eq. 4, 7 and 15.

    Examples
    --------
    >>> schedule = DDPMSchedule.linear(200)
    >>> schedule.n_steps, schedule.grid(4)
    (200, [200, 150, 100, 50, 0])
    >>> x0, z = torch.ones(2, 3), torch.zeros(2, 3)
    >>> torch.allclose(schedule.denoised(schedule.noised(x0, 50, z), 50, z), x0)
    True
    """

    def __init__(self, betas: object) -> None:
        self.betas = check_array(betas, "betas", ndim=1)
        if (self.betas <= 0).any() or (self.betas >= 1).any():
            raise ValueError(f"betas must lie between 0 and 1, got {self.betas.min():g} to {self.betas.max():g}")
        self._log_alpha_bar = torch.from_numpy(np.concatenate([[0.0], np.cumsum(np.log1p(-self.betas))]))

    @classmethod
    def linear(cls, n_steps: int = 1000, *, beta_first: float = 1e-4, beta_last: float = 0.02) -> DDPMSchedule:
        """Betas that rise linearly between values for 1000 steps; they are multiplied by 1000 / `n_steps`, so that the noise at a
        share of the way hardly depends on the number of steps."""
        check_integer(n_steps, "n_steps", minimum=2)
        first, last = (check_number(beta, "beta", above=0) * 1000 / n_steps for beta in (beta_first, beta_last))
        if last >= 1:
            raise ValueError(
                f"n_steps must be above {1000 * beta_last:g}, where the last beta is below 1, got {n_steps}"
            )
        return cls(np.linspace(first, last, n_steps))

    @property
    def n_steps(self) -> int:
        """T."""
        return len(self.betas)

    def scale(self, t: Step) -> Tensor:
        """``sqrt(abar_t)``, what multiplies the data."""
        return (self._log(t) / 2).exp()

    def std(self, t: Step) -> Tensor:
        """``sqrt(1 - abar_t)``, the noise's standard deviation."""
        return (-torch.expm1(self._log(t))).sqrt()

    def noised(
        self, x0: Float[Tensor, "batch *shape"], t: Step, noise: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """x_t from the data and standard Gaussian noise."""
        return _spread(self.scale(t), x0) * x0 + _spread(self.std(t), x0) * noise

    def denoised(
        self, x: Float[Tensor, "batch *shape"], t: Step, noise: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """x_0 from x_t and the noise in it; with a predicted noise, Tweedie's estimate of the posterior mean."""
        return (x - _spread(self.std(t), x) * noise) / _spread(self.scale(t), x)

    def noise_between(
        self, x: Float[Tensor, "batch *shape"], t: Step, x0: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """The noise that makes x_t from x_0."""
        return (x - _spread(self.scale(t), x) * x0) / _spread(self.std(t), x)

    def posterior(
        self, x: Float[Tensor, "batch *shape"], t: int, x0: Float[Tensor, "batch *shape"], s: int
    ) -> tuple[Float[Tensor, "batch *shape"], float]:
        """Mean and variance of ``q(x_s | x_t, x_0)`` for an earlier step s < t."""
        fresh = -torch.expm1(self._log(t) - self._log(s))  # variance that is added between s and t
        held, before = -torch.expm1(self._log(t)), -torch.expm1(self._log(s))
        of_x0 = self.scale(s) * fresh / held
        of_x = self.scale(t) / self.scale(s) * before / held
        return of_x0 * x0 + of_x * x, float(fresh * before / held)

    def grid(self, n: int) -> list[int]:
        """n + 1 steps from T down to 0, as equal as whole numbers can be."""
        check_integer(n, "n", minimum=1, maximum=self.n_steps)
        return np.linspace(self.n_steps, 0, n + 1).round().astype(int).tolist()

    def _log(self, t: Step) -> Tensor:
        return self._log_alpha_bar.to(t.device)[t] if isinstance(t, Tensor) else self._log_alpha_bar[t]


@dataclass(frozen=True)
class Preconditioning:
    """EDM's scalings around a network F: ``D(x, sigma) = skip x + out F(inner x, noise)``.

    They keep the network's input and target at unit variance for every sigma, for data of standard deviation `sigma_data`.

    References
    ----------
    Karras, T. et al. (2022). Elucidating the design space of diffusion-based generative models. NeurIPS, table 1.

    Examples
    --------
    >>> scalings = Preconditioning(sigma_data=0.5)
    >>> sigma = torch.tensor([0.002, 0.5, 80.0])
    >>> [round(value, 4) for value in scalings.skip(sigma).tolist()]
    [1.0, 0.5, 0.0]
    """

    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        check_number(self.sigma_data, "sigma_data", above=0)

    def skip(self, sigma: Tensor) -> Tensor:
        return self.sigma_data**2 / (sigma**2 + self.sigma_data**2)

    def out(self, sigma: Tensor) -> Tensor:
        return sigma * self.sigma_data * self.inner(sigma)

    def inner(self, sigma: Tensor) -> Tensor:
        return (sigma**2 + self.sigma_data**2).rsqrt()

    def noise(self, sigma: Tensor) -> Tensor:
        return sigma.log() / 4

    def weight(self, sigma: Tensor) -> Tensor:
        """The loss weight ``1 / out^2``: the network's own error counts alike at every sigma."""
        return (sigma**2 + self.sigma_data**2) / (sigma * self.sigma_data) ** 2


def karras_sigmas(n: int, sigma_min: float, sigma_max: float, *, rho: float = 7.0) -> Float[np.ndarray, " grid"]:
    """EDM's grid: n noise levels from `sigma_max` down to `sigma_min`, equidistant in ``sigma^(1/rho)``, then 0.

    References
    ----------
    Karras, T. et al. (2022), as for `Preconditioning`, eq. 5.

    Examples
    --------
    >>> karras_sigmas(3, 0.002, 80.0).round(3)
    array([8.000e+01, 2.515e+00, 2.000e-03, 0.000e+00])
    """
    check_integer(n, "n", minimum=2)
    check_number(sigma_min, "sigma_min", above=0)
    check_number(sigma_max, "sigma_max", above=sigma_min)
    check_number(rho, "rho", above=0)
    roots = np.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), n)
    # The ends exactly, whatever the roots round to.
    return np.concatenate([[sigma_max], roots[1:-1] ** rho, [sigma_min, 0.0]])


def _tensor(t: Time) -> Tensor:
    """A number becomes float64 without axes, which leaves the type of what it multiplies alone."""
    return t if isinstance(t, Tensor) else torch.tensor(t, dtype=torch.float64)


def _spread(coefficient: Tensor, like: Tensor) -> Tensor:
    """One coefficient a row, constant over the rest; or one for all."""
    return coefficient.to(like).reshape(-1, *(1,) * (like.ndim - 1)) if coefficient.ndim else coefficient

"""Noise schedules: how much of the data and how much noise a state holds at a time, and the SDE behind it.

A `Schedule` is a linear SDE ``dx = rate(t) x dt + diffusion(t) dW`` on [0, horizon] with the marginal
``x_t = scale(t) x_0 + std(t) z``, z standard Gaussian. `Preconditioning` and `karras_sigmas` are the scalings and the grid of
EDM, which counts time by the noise's standard deviation sigma itself.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from semigroup.base import check_integer, check_number

__all__ = ["VE", "VP", "OrnsteinUhlenbeck", "Preconditioning", "Schedule", "SubVP", "karras_sigmas"]

Time = Tensor | float


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

"""Interpolants between two samples: ``x_t = I(t, x0, x1) + gamma(t) z``, with their derivatives in time.

A `Gamma` is the size of the latent noise; an `Interpolant` the mean I and its rate. Everything is analytic, except for the
custom ones, which forward differentiation serves. Of gamma's derivative the product ``gamma gamma'`` is what stays finite
where gamma is a square root, and it is what the fields are computed from.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from semigroup.base import check_choice, check_number
from semigroup.densities.mixtures import PathCoefficients

__all__ = [
    "GAMMAS",
    "PATHS",
    "Brownian",
    "CustomGamma",
    "CustomInterpolant",
    "CustomPath",
    "DiffusivePath",
    "EncodingDecoding",
    "Gamma",
    "Interpolant",
    "LinearInterpolant",
    "LinearPath",
    "MirrorPath",
    "OneSidedLinear",
    "OneSidedSBDM",
    "OneSidedTrig",
    "PlainTrigPath",
    "Quadratic",
    "Sigmoid",
    "SinSquared",
    "TrigPath",
    "Zero",
    "along",
    "make_interpolant",
]

Sides = Literal["two", "one", "mirror"]


# --- the latent noise ----------------------------------------------------------------------------------------------


class Gamma(ABC):
    """Size of the latent noise: 0 at both ends and positive between them.

    Methods take and give tensors of times of any shape.
    """

    @abstractmethod
    def value(self, t: Tensor) -> Tensor:
        """``gamma``."""

    @abstractmethod
    def product(self, t: Tensor) -> Tensor:
        """``gamma gamma'``."""

    def rate(self, t: Tensor) -> Tensor:
        """``gamma'``."""
        return self.product(t) / self.value(t)


@dataclass(frozen=True)
class Brownian(Gamma):
    """``sqrt(a t (1 - t))``, the deviation of a Brownian bridge; the only one that leaves a score in the velocity at the ends.

    Examples
    --------
    >>> Brownian(2.0).product(torch.tensor([0.0, 0.5, 1.0]))
    tensor([ 1.,  0., -1.])
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        check_number(self.scale, "gamma_scale", above=0)

    def value(self, t: Tensor) -> Tensor:
        return (self.scale * t * (1 - t)).sqrt()

    def product(self, t: Tensor) -> Tensor:
        return self.scale * (0.5 - t)


@dataclass(frozen=True)
class Quadratic(Gamma):
    """``t (1 - t)``."""

    def value(self, t: Tensor) -> Tensor:
        return t * (1 - t)

    def product(self, t: Tensor) -> Tensor:
        return self.value(t) * self.rate(t)

    def rate(self, t: Tensor) -> Tensor:
        return 1 - 2 * t


@dataclass(frozen=True)
class SinSquared(Gamma):
    """``sin(pi t)^2``."""

    def value(self, t: Tensor) -> Tensor:
        return (math.pi * t).sin() ** 2

    def product(self, t: Tensor) -> Tensor:
        return self.value(t) * self.rate(t)

    def rate(self, t: Tensor) -> Tensor:
        return math.pi * (2 * math.pi * t).sin()


@dataclass(frozen=True)
class Sigmoid(Gamma):
    """Difference of two logistic functions around 1/2, lowered to vanish at the ends; flat in the middle.

    ``sigma(f (t - 1/2) + 1) - sigma(f (t - 1/2) - 1) - sigma(1 - f/2) + sigma(-1 - f/2)``.
    """

    steepness: float = 10.0

    def __post_init__(self) -> None:
        check_number(self.steepness, "steepness", above=0)

    def value(self, t: Tensor) -> Tensor:
        f, u = self.steepness, self.steepness * (t - 0.5)
        lowered = _logistic(1 - f / 2) - _logistic(-1 - f / 2)
        return (u + 1).sigmoid() - (u - 1).sigmoid() - lowered

    def product(self, t: Tensor) -> Tensor:
        return self.value(t) * self.rate(t)

    def rate(self, t: Tensor) -> Tensor:
        u = self.steepness * (t - 0.5)
        high, low = (u + 1).sigmoid(), (u - 1).sigmoid()
        return self.steepness * (high * (1 - high) - low * (1 - low))


@dataclass(frozen=True)
class Zero(Gamma):
    """No latent noise: only the velocity and its ODE exist."""

    def value(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def product(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def rate(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)


@dataclass(frozen=True)
class CustomGamma(Gamma):
    """Any function of a tensor of times that torch can differentiate, 0 at 0 and 1 and positive between them.

    Raises
    ------
    ValueError
        If it is not zero at an end, or not positive and finite inside.

    Examples
    --------
    >>> gamma = CustomGamma(lambda t: torch.sin(torch.pi * t))
    >>> round(gamma.rate(torch.tensor(0.0)).item(), 5)
    3.14159
    """

    function: Callable[[Tensor], Tensor]

    def __post_init__(self) -> None:
        ends = self.function(torch.tensor([0.0, 1.0], dtype=torch.float64))
        inside = self.function(torch.linspace(0, 1, 1001, dtype=torch.float64)[1:-1])
        if not bool((ends.abs() <= 1e-6).all()):
            raise ValueError(f"gamma must be 0 at t = 0 and t = 1, got {ends.tolist()}")
        if not bool((inside > 0).all() & inside.isfinite().all()):
            raise ValueError(f"gamma must be positive and finite inside (0, 1), got {inside.min().item():g}")

    def value(self, t: Tensor) -> Tensor:
        return self.function(t)

    def product(self, t: Tensor) -> Tensor:
        return self.value(t) * self.rate(t)

    def rate(self, t: Tensor) -> Tensor:
        return _slope(self.function, t)


# --- interpolants --------------------------------------------------------------------------------------------------


class Interpolant(ABC):
    """``x_t = I(t, x0, x1) + gamma(t) z`` with ``I(0) = x0`` and ``I(1) = x1``.

    Attributes
    ----------
    gamma : Gamma
    sides : {"two", "one", "mirror"}
        Between two samples; from a Gaussian, which then is the noise; or from a sample to itself.
    stops : tuple of float
        Times at which a rate jumps, where adaptive integrators end a step.
    """

    gamma: Gamma
    sides: ClassVar[Sides] = "two"

    @property
    def stops(self) -> tuple[float, ...]:
        return ()

    @abstractmethod
    def mean(
        self, t: Float[Tensor, " batch"], x0: Float[Tensor, "batch *shape"], x1: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """I, a row a time."""

    @abstractmethod
    def rate(
        self, t: Float[Tensor, " batch"], x0: Float[Tensor, "batch *shape"], x1: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """Derivative of I in time."""


class LinearInterpolant(Interpolant):
    """``I = alpha(t) x0 + beta(t) x1``, whose posterior means of x0, x1 and z determine each other and the velocity."""

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Share of x0."""

    @abstractmethod
    def beta(self, t: Tensor) -> Tensor:
        """Share of x1."""

    @abstractmethod
    def alpha_rate(self, t: Tensor) -> Tensor:
        """Derivative of alpha."""

    @abstractmethod
    def beta_rate(self, t: Tensor) -> Tensor:
        """Derivative of beta."""

    def alpha_product(self, t: Tensor) -> Tensor:
        """``alpha alpha'``."""
        return self.alpha(t) * self.alpha_rate(t)

    def mean(self, t: Tensor, x0: Tensor, x1: Tensor) -> Tensor:
        return along(self.alpha(t), x0) * x0 + along(self.beta(t), x1) * x1

    def rate(self, t: Tensor, x0: Tensor, x1: Tensor) -> Tensor:
        return along(self.alpha_rate(t), x0) * x0 + along(self.beta_rate(t), x1) * x1

    def coefficients(self, t: float) -> PathCoefficients:
        """Everything at one time, in double precision: what `MixturePath` takes."""
        time = torch.tensor(t, dtype=torch.float64)
        functions = (self.alpha, self.beta, self.gamma.value, self.alpha_rate, self.beta_rate, self.gamma.product)
        return PathCoefficients(*(float(function(time)) for function in functions))


@dataclass(frozen=True)
class LinearPath(LinearInterpolant):
    """``(1 - t) x0 + t x1``.

    Examples
    --------
    >>> LinearPath().coefficients(0.5)
    PathCoefficients(alpha=0.5, beta=0.5, gamma=0.5, alpha_dot=-1.0, beta_dot=1.0, gamma_gamma_dot=0.0)
    """

    gamma: Gamma = field(default_factory=Brownian)

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def beta(self, t: Tensor) -> Tensor:
        return t

    # Training spends its time outside the network here, so the general formulae are shortened.
    def mean(self, t: Tensor, x0: Tensor, x1: Tensor) -> Tensor:
        return torch.lerp(x0, x1, along(t, x0))

    def rate(self, t: Tensor, x0: Tensor, x1: Tensor) -> Tensor:
        return x1 - x0

    def alpha_rate(self, t: Tensor) -> Tensor:
        return -torch.ones_like(t)

    def beta_rate(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)


@dataclass(frozen=True)
class PlainTrigPath(LinearInterpolant):
    """``cos(pi t / 2) x0 + sin(pi t / 2) x1``."""

    gamma: Gamma = field(default_factory=Brownian)

    def alpha(self, t: Tensor) -> Tensor:
        return (math.pi / 2 * t).cos()

    def beta(self, t: Tensor) -> Tensor:
        return (math.pi / 2 * t).sin()

    def alpha_rate(self, t: Tensor) -> Tensor:
        return -math.pi / 2 * self.beta(t)

    def beta_rate(self, t: Tensor) -> Tensor:
        return math.pi / 2 * self.alpha(t)


@dataclass(frozen=True)
class TrigPath(LinearInterpolant):
    """``sqrt(1 - gamma^2) (cos(pi t / 2) x0 + sin(pi t / 2) x1)``: the squares of the three shares sum to one.

    Raises
    ------
    ValueError
        If gamma exceeds 1.
    """

    gamma: Gamma = field(default_factory=Brownian)

    def __post_init__(self) -> None:
        _, highest = self._peak()
        if highest > 1 + 1e-9:
            raise ValueError(f"gamma must not exceed 1 on the path 'trig', got {highest:g}; see 'trig-plain'")

    @property
    def stops(self) -> tuple[float, ...]:
        # The root below has a kink where gamma reaches 1.
        time, highest = self._peak()
        return (time,) if highest > 1 - 1e-9 else ()

    def _peak(self) -> tuple[float, float]:
        """Where gamma is highest, and how high."""
        times = torch.linspace(0, 1, 1001, dtype=torch.float64)
        highest, index = self.gamma.value(times).max(dim=0)
        return float(times[index]), float(highest)

    def _root(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``sqrt(1 - gamma^2)`` and its rate, taken as 0 where it has a kink (gamma = 1)."""
        root = (1 - self.gamma.value(t) ** 2).clamp(min=0).sqrt()
        kink = root == 0
        return root, torch.where(kink, 0.0, -self.gamma.product(t) / torch.where(kink, 1.0, root))

    def alpha(self, t: Tensor) -> Tensor:
        return self._root(t)[0] * (math.pi / 2 * t).cos()

    def beta(self, t: Tensor) -> Tensor:
        return self._root(t)[0] * (math.pi / 2 * t).sin()

    def alpha_rate(self, t: Tensor) -> Tensor:
        (root, rate), angle = self._root(t), math.pi / 2 * t
        return rate * angle.cos() - math.pi / 2 * root * angle.sin()

    def beta_rate(self, t: Tensor) -> Tensor:
        (root, rate), angle = self._root(t), math.pi / 2 * t
        return rate * angle.sin() + math.pi / 2 * root * angle.cos()


@dataclass(frozen=True)
class EncodingDecoding(LinearInterpolant):
    """Down to pure noise at t = 1/2 and up again: ``cos(pi t)^2 x0`` in the first half, ``cos(pi t)^2 x1`` in the second."""

    gamma: Gamma = field(default_factory=SinSquared)

    def __post_init__(self) -> None:
        if isinstance(self.gamma, Zero):
            raise ValueError("gamma must not be zero on the path 'encoding-decoding', which is nothing else at t = 1/2")

    @property
    def stops(self) -> tuple[float, ...]:
        return (0.5,)

    def alpha(self, t: Tensor) -> Tensor:
        return (t < 0.5) * (math.pi * t).cos() ** 2

    def beta(self, t: Tensor) -> Tensor:
        return (t > 0.5) * (math.pi * t).cos() ** 2

    def alpha_rate(self, t: Tensor) -> Tensor:
        return -math.pi * (t < 0.5) * (2 * math.pi * t).sin()

    def beta_rate(self, t: Tensor) -> Tensor:
        return -math.pi * (t > 0.5) * (2 * math.pi * t).sin()


@dataclass(frozen=True)
class OneSidedLinear(LinearPath):
    """``(1 - t) z + t x1`` from Gaussian noise z."""

    gamma: Gamma = field(default_factory=Zero)
    sides: ClassVar[Sides] = "one"


@dataclass(frozen=True)
class OneSidedTrig(PlainTrigPath):
    """``cos(pi t / 2) z + sin(pi t / 2) x1`` from Gaussian noise z."""

    gamma: Gamma = field(default_factory=Zero)
    sides: ClassVar[Sides] = "one"


@dataclass(frozen=True)
class OneSidedSBDM(LinearInterpolant):
    """``sqrt(1 - t^2) z + t x1``: the variance-preserving diffusion as an interpolant."""

    gamma: Gamma = field(default_factory=Zero)
    sides: ClassVar[Sides] = "one"

    def alpha(self, t: Tensor) -> Tensor:
        return (1 - t**2).sqrt()

    def beta(self, t: Tensor) -> Tensor:
        return t

    def alpha_rate(self, t: Tensor) -> Tensor:
        return -t / self.alpha(t)

    def beta_rate(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def alpha_product(self, t: Tensor) -> Tensor:
        return -t


@dataclass(frozen=True)
class MirrorPath(LinearInterpolant):
    """``x1 + gamma(t) z``: from a sample to itself. The ODE is the identity; the SDE resamples near a datum."""

    gamma: Gamma = field(default_factory=Brownian)
    sides: ClassVar[Sides] = "mirror"

    def __post_init__(self) -> None:
        if isinstance(self.gamma, Zero):
            raise ValueError("gamma must not be zero on the path 'mirror', which would stand still")

    def alpha(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def beta(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def alpha_rate(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def beta_rate(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)


@dataclass(frozen=True)
class DiffusivePath(LinearInterpolant):
    """``x0 + (3 t^2 - 2 t^3) (x1 - x0)`` with ``gamma = sqrt(2 a t (1 - t))``: it leaves x0 at rest (theorem 3.1)."""

    scale: float = 1.0

    @property
    def gamma(self) -> Gamma:  # type: ignore[override]
        return Brownian(2 * self.scale)

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - self.beta(t)

    def beta(self, t: Tensor) -> Tensor:
        return t**2 * (3 - 2 * t)

    def alpha_rate(self, t: Tensor) -> Tensor:
        return -self.beta_rate(t)

    def beta_rate(self, t: Tensor) -> Tensor:
        return 6 * t * (1 - t)


@dataclass(frozen=True)
class CustomPath(LinearInterpolant):
    """Any shares of x0 and x1, as functions of a tensor of times that torch can differentiate.

    Raises
    ------
    ValueError
        If the shares are not 1 and 0 at t = 0, or 0 and 1 at t = 1.

    Examples
    --------
    >>> path = CustomPath(lambda t: 1 - t**2, lambda t: t**2)
    >>> path.coefficients(0.5).beta_dot
    1.0
    """

    alpha_function: Callable[[Tensor], Tensor]
    beta_function: Callable[[Tensor], Tensor]
    gamma: Gamma = field(default_factory=Brownian)

    def __post_init__(self) -> None:
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
        for name, function, wanted in (("alpha", self.alpha, (1.0, 0.0)), ("beta", self.beta, (0.0, 1.0))):
            got = function(ends).tolist()
            if not all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(got, wanted)):
                raise ValueError(f"{name} must be {wanted[0]:g} at t = 0 and {wanted[1]:g} at t = 1, got {got}")

    def alpha(self, t: Tensor) -> Tensor:
        return self.alpha_function(t)

    def beta(self, t: Tensor) -> Tensor:
        return self.beta_function(t)

    def alpha_rate(self, t: Tensor) -> Tensor:
        return _slope(self.alpha_function, t)

    def beta_rate(self, t: Tensor) -> Tensor:
        return _slope(self.beta_function, t)


@dataclass(frozen=True)
class CustomInterpolant(Interpolant):
    """Any ``I(t, x0, x1)``, linear or not, with times of shape (batch,); its rate is by forward differentiation.

    Raises
    ------
    ValueError
        If it does not start in x0 and end in x1.

    Examples
    --------
    >>> def arc(t, x0, x1):
    ...     t = t[:, None]
    ...     return (1 - t) * x0 + t * x1 + t * (1 - t) * x0 * x1
    >>> CustomInterpolant(arc).rate(torch.zeros(1), torch.ones(1, 2), torch.ones(1, 2))
    tensor([[1., 1.]])
    """

    function: Callable[[Tensor, Tensor, Tensor], Tensor]
    gamma: Gamma = field(default_factory=Brownian)

    def check_ends(self, x0: Tensor, x1: Tensor) -> None:
        """Refuse a function that does not join the two samples given."""
        for t, wanted, name in ((0.0, x0, "x0"), (1.0, x1, "x1")):
            gap = (self.function(x0.new_full((len(x0),), t), x0, x1) - wanted).abs().max().item()
            if not gap <= 1e-4 * (1 + wanted.abs().max().item()):
                raise ValueError(f"path must be {name} at t = {t:g}, and is off by {gap:g}")

    def mean(self, t: Tensor, x0: Tensor, x1: Tensor) -> Tensor:
        return self.function(t, x0, x1)

    def rate(self, t: Tensor, x0: Tensor, x1: Tensor) -> Tensor:
        return _slope(lambda time: self.function(time, x0, x1), t)


# --- by name -------------------------------------------------------------------------------------------------------

GAMMAS: dict[str, type[Gamma]] = {
    "brownian": Brownian,
    "quadratic": Quadratic,
    "sin2": SinSquared,
    "sigmoid": Sigmoid,
    "zero": Zero,
}
PATHS: dict[str, type[LinearInterpolant]] = {
    "linear": LinearPath,
    "trig": TrigPath,
    "trig-plain": PlainTrigPath,
    "encoding-decoding": EncodingDecoding,
    "one-sided-linear": OneSidedLinear,
    "one-sided-trig": OneSidedTrig,
    "one-sided-sbdm": OneSidedSBDM,
    "mirror": MirrorPath,
}


def make_interpolant(path: Any, gamma: Any = "auto", gamma_scale: float = 1.0) -> Interpolant:
    """An interpolant from words.

    Parameters
    ----------
    path : str or Interpolant
        A name of `PATHS`, or an object, which is returned as it is.
    gamma : str, Gamma or callable
        A name of `GAMMAS`; "auto" is what the path is published with; a callable becomes a `CustomGamma`.
    gamma_scale : float
        The a of "brownian".

    Raises
    ------
    ValueError
        If a name is unknown, or path and gamma do not go together.

    Examples
    --------
    >>> make_interpolant("encoding-decoding")
    EncodingDecoding(gamma=SinSquared())
    """
    gamma_scale = check_number(gamma_scale, "gamma_scale", above=0)
    if isinstance(path, Interpolant):
        if gamma != "auto":
            raise ValueError(f"gamma must be 'auto' where path is an object, which has its own, got {gamma!r}")
        return path
    if not isinstance(path, str):
        raise TypeError(f"path must be a name or an Interpolant, got {path!r}")
    kind = PATHS[check_choice(path, "path", tuple(PATHS))]
    if kind.sides == "one":
        if gamma not in ("auto", "zero"):
            raise ValueError(f"gamma must be 'auto' or 'zero' on the path {path!r}, whose noise is x0, got {gamma!r}")
        return kind()
    if gamma == "auto":
        gamma = "sin2" if kind is EncodingDecoding else "brownian"
    if isinstance(gamma, str):
        name = check_choice(gamma, "gamma", tuple(GAMMAS))
        gamma = Brownian(gamma_scale) if name == "brownian" else GAMMAS[name]()
    elif not isinstance(gamma, Gamma):
        if not callable(gamma):
            raise TypeError(f"gamma must be a name, a Gamma or a callable, got {gamma!r}")
        gamma = CustomGamma(gamma)
    return kind(gamma=gamma)  # type: ignore[call-arg]


def along(values: Float[Tensor, " batch"], x: Float[Tensor, "batch *shape"]) -> Tensor:
    """Numbers a row with as many axes as the rows have."""
    return values.reshape(-1, *(1,) * (x.ndim - 1))


def _slope(function: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    """Derivative in time, by forward differentiation."""
    return torch.func.jvp(function, (t,), (torch.ones_like(t),))[1]


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))

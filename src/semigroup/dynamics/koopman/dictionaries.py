r"""Dictionaries: the functions :math:`\psi_1, \dots, \psi_N` that span the space in which the operator is sought.

Each is a small frozen dataclass that is called on states of shape (n_samples, n_features) and gives their values of shape
(n_samples, n_functions). `from_data` places it on the user's states. A dictionary of the user's own needs no class: any
callable of that shape goes into `semigroup.dynamics.koopman.compress`.
"""

from dataclasses import dataclass, fields
from itertools import product
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Complex, Float, Int
from sklearn.cluster import KMeans

__all__ = [
    "Dictionary",
    "Fourier",
    "Legendre",
    "Linear",
    "RadialBasis",
    "delay_embedding",
    "kmeans_centres",
]

MAX_POINTS_PER_CENTRE = 40
CHUNK = 4096


@dataclass(frozen=True)
class Linear:
    """The state's own coordinates: dynamic mode decomposition.

    Attributes
    ----------
    n_features : int
    """

    n_features: int

    @property
    def n_functions(self) -> int:
        """Number of functions."""
        return self.n_features

    def __call__(self, X: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        return X


@dataclass(frozen=True)
class RadialBasis:
    r"""Radial functions :math:`\psi_k(x) = \exp(-\|x - c_k\| / s)` around given centres.

    Attributes
    ----------
    centres : ndarray of shape (n_functions, n_features)
    scale : float
        :math:`s`, in the units of the states.

    Examples
    --------
    >>> RadialBasis(np.zeros((1, 2)), 1.0)(np.array([[0.0, 0.0], [3.0, 4.0]])).round(4)
    array([[1.    ],
           [0.0067]])
    """

    centres: Float[np.ndarray, "N d"]
    scale: float

    @property
    def n_functions(self) -> int:
        """Number of functions."""
        return len(self.centres)

    def __call__(self, X: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n N"]:
        # Distances by differences, not by the expanded square, which loses half the digits near a centre.
        squared = np.zeros((len(X), len(self.centres)))
        for j in range(X.shape[1]):
            squared += (X[:, j, None] - self.centres[None, :, j]) ** 2
        return np.exp(np.sqrt(squared) / -self.scale)


@dataclass(frozen=True)
class Legendre:
    """Products of Legendre polynomials up to a total degree, each coordinate scaled to [-1, 1] over the data.

    They span all polynomials up to that degree, and are far better conditioned than monomials.

    Attributes
    ----------
    exponents : ndarray of shape (n_functions, n_features)
        Degree of each function in each coordinate.
    centre, halfwidth : ndarray of shape (n_features,)
        Midpoint and half the range of each coordinate.
    """

    exponents: Int[np.ndarray, "N d"]
    centre: Float[np.ndarray, " d"]
    halfwidth: Float[np.ndarray, " d"]

    @property
    def n_functions(self) -> int:
        """Number of functions."""
        return len(self.exponents)

    @classmethod
    def from_data(cls, states: Float[np.ndarray, "n d"], degree: int) -> "Legendre":
        """All total degrees up to `degree` over the range of `states`."""
        low, high = states.min(axis=0), states.max(axis=0)
        halfwidth = np.where(high > low, (high - low) / 2, 1.0)
        return cls(_exponents_up_to(degree, states.shape[1]), (low + high) / 2, halfwidth)

    def __call__(self, X: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n N"]:
        scaled = (X - self.centre) / self.halfwidth
        values = np.ones((len(X), self.n_functions))
        for j in range(X.shape[1]):
            degrees = self.exponents[:, j]
            values *= np.polynomial.legendre.legvander(scaled[:, j], int(degrees.max()))[:, degrees]
        return values


@dataclass(frozen=True)
class Fourier:
    r"""Plane waves :math:`\psi_k(x) = \exp(2\pi i\,k\cdot x/T)` for states on a torus of period :math:`T`.

    Attributes
    ----------
    wave_numbers : ndarray of shape (n_functions, n_features)
    period : float

    Examples
    --------
    >>> Fourier(np.array([[0], [1]]), 1.0)(np.array([[0.5]])).real
    array([[ 1., -1.]])
    """

    wave_numbers: Int[np.ndarray, "N d"]
    period: float

    @property
    def n_functions(self) -> int:
        """Number of functions."""
        return len(self.wave_numbers)

    @classmethod
    def up_to(cls, degree: int, n_features: int, period: float) -> "Fourier":
        """All wave numbers of which no component exceeds `degree` in size."""
        waves = np.array(list(product(range(-degree, degree + 1), repeat=n_features)), dtype=np.int64)
        return cls(waves, period)

    def __call__(self, X: Float[np.ndarray, "n d"]) -> Complex[np.ndarray, "n N"]:
        return np.exp(2j * np.pi / self.period * (X @ self.wave_numbers.T))


Dictionary = Linear | RadialBasis | Legendre | Fourier
"""Any of the dictionaries of this module."""


@dataclass(frozen=True)
class _Stored:
    """Dictionaries by name, for storage."""

    kinds: ClassVar[dict[str, Any]] = {kind.__name__: kind for kind in (Linear, RadialBasis, Legendre, Fourier)}


def to_state(dictionary: Dictionary) -> dict[str, Any]:
    """A dictionary as arrays and numbers under ``dictionary.*``."""
    state = {f"dictionary.{field.name}": getattr(dictionary, field.name) for field in fields(dictionary)}
    return {"dictionary.kind": type(dictionary).__name__, **state}


def from_state(state: dict[str, Any]) -> Dictionary:
    """The dictionary that `to_state` described."""
    kind = _Stored.kinds[state["dictionary.kind"]]
    return kind(**{field.name: state[f"dictionary.{field.name}"] for field in fields(kind)})


def kmeans_centres(
    states: Float[np.ndarray, "n d"], n_centres: int, generator: np.random.Generator
) -> Float[np.ndarray, "N d"]:
    """Centres by k-means; states beyond some forty a centre are left out, for they move the centres no more."""
    limit = MAX_POINTS_PER_CENTRE * n_centres
    if len(states) > limit:
        states = states[generator.choice(len(states), limit, replace=False)]
    seed = int(generator.integers(2**31))
    n_distinct = len(np.unique(states, axis=0))
    return KMeans(min(n_centres, n_distinct), n_init=1, max_iter=100, random_state=seed).fit(states).cluster_centers_


def mean_centred_norm(states: Float[np.ndarray, "n d"]) -> float:
    """:math:`d`, the mean distance of the states from their mean; 1 where they all coincide."""
    distance = float(np.linalg.norm(states - states.mean(axis=0), axis=1).mean())
    return distance if distance > 0 else 1.0


def delay_embedding(
    series: Float[np.ndarray, "n d"], n_delays: int, stride: int = 1
) -> Float[np.ndarray, "windows width"]:
    """Windows of a trajectory: row t holds the snapshots t, t + stride, ..., t + (n_delays - 1) stride, side by side.

    Raises
    ------
    ValueError
        If the trajectory is shorter than one window.

    Examples
    --------
    >>> delay_embedding(np.arange(5.0)[:, None], n_delays=2, stride=2)
    array([[0., 2.],
           [1., 3.],
           [2., 4.]])
    """
    reach = (n_delays - 1) * stride
    n_windows = len(series) - reach
    if n_windows < 1:
        raise ValueError(
            f"X is too short for its delays: {n_delays} delays of stride {stride} need at least {reach + 1} "
            f"snapshots, got {len(series)}"
        )
    return np.hstack([series[j * stride : j * stride + n_windows] for j in range(n_delays)])


def _exponents_up_to(degree: int, n_features: int) -> Int[np.ndarray, "N d"]:
    """All multi-indices of total degree at most `degree`, by total degree."""
    rows: list[list[int]] = [[]]
    for _ in range(n_features):
        rows = [[*row, k] for row in rows for k in range(degree + 1 - sum(row))]
    return np.array(sorted(rows, key=lambda row: (sum(row), row)), dtype=np.int64)

"""Dynamical systems whose Koopman spectrum is known, and classical ones for which it is not; all simulated.

Pairs come with the truth where there is one: `SnapshotPairs.spectrum` is a `KnownSpectrum` or None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Complex, Float
from scipy.integrate import odeint, solve_ivp

from semigroup.base import check_integer, check_number, numpy_generator
from semigroup.data.datasets import Download

__all__ = [
    "CAVITY",
    "DiscMap",
    "KnownSpectrum",
    "SnapshotPairs",
    "cat_map",
    "cmv_density",
    "cmv_matrix",
    "cylinder_wake",
    "disc_map",
    "doubling_map",
    "duffing",
    "lorenz",
    "rossler",
    "rotation",
]

Vector = Float[np.ndarray, "..."]


# --- the truth ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KnownSpectrum:
    """A set of complex numbers: finitely many points, or the whole unit circle.

    Attributes
    ----------
    points : ndarray or None
        None means the circle.
    """

    points: np.ndarray | None = None

    def distance(self, z: Any) -> Float[np.ndarray, ...]:
        """Distance of each number to the set."""
        z = np.asarray(z)
        if self.points is None:
            return np.abs(1 - np.abs(z))
        return np.abs(z[..., None] - self.points).min(axis=-1)

    def sample(self, n: int) -> Complex[np.ndarray, " n"]:
        """The points, or `n` equispaced ones of the circle."""
        if self.points is None:
            return np.exp(2j * np.pi * np.arange(n) / n)
        return np.asarray(self.points, dtype=np.complex128)


@dataclass(frozen=True)
class SnapshotPairs:
    """States and their images one step later.

    Attributes
    ----------
    X, Y : ndarray of shape (n_pairs, n_features)
    spectrum : KnownSpectrum or None
        Approximate point spectrum of the Koopman operator, where it is known.
    """

    X: Float[np.ndarray, "m d"]
    Y: Float[np.ndarray, "m d"]
    spectrum: KnownSpectrum | None = None


CIRCLE = KnownSpectrum()


# --- flows -------------------------------------------------------------------------------------------------------


def duffing(
    n_trajectories: int = 2000,
    n_steps: int = 5,
    *,
    damping: float = 0.0,
    dt: float = 0.3,
    random_state: int | np.random.Generator | None = None,
) -> SnapshotPairs:
    r"""Duffing's oscillator :math:`\dot x = v,\ \dot v = x - x^3 - \alpha v` from uniform initial states in [-2, 2]².

    Parameters
    ----------
    n_trajectories, n_steps : int
        Initial states, and pairs from each.
    damping : float
        :math:`\alpha \ge 0`; 0 preserves area, and then the spectrum lies on the unit circle.
    dt : float
        Time between snapshots.
    random_state : int, Generator or None

    Examples
    --------
    >>> pairs = duffing(3, 2, random_state=0)
    >>> pairs.X.shape, pairs.Y.shape
    ((6, 2), (6, 2))
    """
    n_trajectories = check_integer(n_trajectories, "n_trajectories", minimum=1)
    n_steps = check_integer(n_steps, "n_steps", minimum=1)
    damping = check_number(damping, "damping", minimum=0)
    start = numpy_generator(random_state).uniform(-2, 2, size=(n_trajectories, 2))

    def field(state: np.ndarray) -> np.ndarray:
        x, v = state[:, 0], state[:, 1]
        return np.stack([v, x - x**3 - damping * v], axis=1)

    states = _ensemble(field, start, n_steps, check_number(dt, "dt", above=0))
    return SnapshotPairs(states[:-1].reshape(-1, 2), states[1:].reshape(-1, 2))


def lorenz(
    n_samples: int = 10_000, *, dt: float = 0.05, random_state: int | np.random.Generator | None = None
) -> Vector:
    """A trajectory (n_samples, 3) on Lorenz's attractor (10, 8/3, 28), `dt` apart."""

    def field(s: np.ndarray, t: float) -> list[float]:
        return [10 * (s[1] - s[0]), s[0] * (28 - s[2]) - s[1], s[0] * s[1] - 8 / 3 * s[2]]

    return _attractor(field, n_samples, dt, random_state)


def rossler(
    n_samples: int = 10_000, *, dt: float = 0.05, random_state: int | np.random.Generator | None = None
) -> Vector:
    """A trajectory (n_samples, 3) on Rössler's attractor (0.1, 0.1, 14), `dt` apart."""

    def field(s: np.ndarray, t: float) -> list[float]:
        return [-s[1] - s[2], s[0] + 0.1 * s[1], 0.1 + s[2] * (s[0] - 14)]

    return _attractor(field, n_samples, dt, random_state)


def cylinder_wake(n_samples: int = 500, *, dt: float = 0.2, transient: float = 200.0) -> SnapshotPairs:
    r"""The mean-field model of a cylinder's wake on its limit cycle.

    :math:`\dot a_x = \mu a_x - \omega a_y + A a_x a_z`, :math:`\dot a_y = \omega a_x + \mu a_y + A a_y a_z`,
    :math:`\dot a_z = -\lambda(a_z - a_x^2 - a_y^2)` with :math:`\mu = 0.1, \omega = 1, A = -0.1, \lambda = 10`. On the
    cycle of period :math:`2\pi` the eigenvalues are :math:`e^{ik\,dt}`, which are dense in the circle unless
    :math:`dt/2\pi` is rational.
    """

    def field(s: np.ndarray, t: float) -> list[float]:
        x, y, z = s
        return [0.1 * x - y - 0.1 * x * z, x + 0.1 * y - 0.1 * y * z, -10 * (z - x * x - y * y)]

    n_samples = check_integer(n_samples, "n_samples", minimum=1)
    times = np.concatenate([[0.0], transient + check_number(dt, "dt", above=0) * np.arange(n_samples + 1)])
    states = odeint(field, [0.5, 0.0, 0.25], times, rtol=1e-12, atol=1e-12, mxstep=100_000)[1:]
    return SnapshotPairs(states[:-1], states[1:], CIRCLE)


def _ensemble(field: Callable[[np.ndarray], np.ndarray], start: np.ndarray, n_steps: int, dt: float) -> np.ndarray:
    """States (n_steps + 1, n, d) of many trajectories, integrated together at high order."""
    shape = start.shape

    def right(t: float, flat: np.ndarray) -> np.ndarray:
        return field(flat.reshape(shape)).ravel()

    times = dt * np.arange(n_steps + 1)
    # The tolerance is on the root mean square over all trajectories; no single one is far above it.
    solution = solve_ivp(right, (0.0, times[-1]), start.ravel(), method="DOP853", t_eval=times, rtol=1e-12, atol=1e-12)
    return solution.y.T.reshape(n_steps + 1, *shape)


def _attractor(
    field: Callable[..., list[float]], n_samples: int, dt: float, random_state: int | np.random.Generator | None
) -> np.ndarray:
    n_samples = check_integer(n_samples, "n_samples", minimum=1)
    start = numpy_generator(random_state).uniform(-2, 2, size=3)
    times = np.concatenate([[0.0], 100 + check_number(dt, "dt", above=0) * np.arange(n_samples)])
    return odeint(field, start, times, rtol=1e-12, atol=1e-12, mxstep=100_000)[1:]


# --- maps --------------------------------------------------------------------------------------------------------


def doubling_map(n_samples: int = 1024) -> SnapshotPairs:
    """:math:`x \\mapsto 2x` modulo 1 at equispaced points; the approximate point spectrum is the unit circle."""
    x = np.arange(check_integer(n_samples, "n_samples", minimum=1))[:, None] / n_samples
    return SnapshotPairs(x, (2 * x) % 1.0, CIRCLE)


def rotation(n_samples: int = 100, *, angle: float = 2 * np.pi / 5, order: int | None = 5) -> SnapshotPairs:
    """Rotation of the circle [0, 2π) by an angle, at equispaced points.

    Parameters
    ----------
    n_samples : int
    angle : float
        Radians.
    order : int or None
        The q of an angle 2πp/q, whose spectrum is the q-th roots of unity; None for an irrational angle, whose
        spectrum is the circle.
    """
    x = 2 * np.pi * np.arange(check_integer(n_samples, "n_samples", minimum=1))[:, None] / n_samples
    return SnapshotPairs(
        x, (x + angle) % (2 * np.pi), CIRCLE if order is None else KnownSpectrum(_roots_of_unity(order))
    )


def cat_map(n_side: int = 32) -> SnapshotPairs:
    """Arnold's cat map (x, y) ↦ (2x + y, x + y) on the torus [0, 1)², on a square grid; the spectrum is the circle."""
    side = np.arange(check_integer(n_side, "n_side", minimum=1))
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    image = np.stack([2 * grid[:, 0] + grid[:, 1], grid[:, 0] + grid[:, 1]], axis=1) % n_side
    return SnapshotPairs(grid / n_side, image / n_side, CIRCLE)


@dataclass(frozen=True)
class DiscMap:
    r"""A twist of the unit disc in polar coordinates, :math:`(r, \theta) \mapsto (r, \theta + 2\pi\varphi(r))`.

    :math:`\varphi(r) = \varphi_0 + a\,b((r - r_0)/w)` with the smooth bump :math:`b(x) = e^{1 - 1/(1 - x^2)}` on (-1, 1). It
    preserves area; where :math:`a \ne 0` the spectrum is the whole circle, else the closure of the powers of
    :math:`e^{2\pi i\varphi_0}`.

    Attributes
    ----------
    turn : float
        :math:`\varphi_0`, in turns.
    amplitude, centre, width : float
        :math:`a`, :math:`r_0` and :math:`w`.

    Examples
    --------
    >>> DiscMap(0.25)(np.array([[0.5, 0.0]])).round(4)
    array([[0.5   , 1.5708]])
    """

    turn: float
    amplitude: float = 0.0
    centre: float = 0.5
    width: float = 0.2

    def rotation(self, radius: Any) -> Float[np.ndarray, ...]:
        """:math:`\\varphi` at each radius, in turns."""
        x = (np.asarray(radius, dtype=np.float64) - self.centre) / self.width
        inside = np.abs(x) < 1
        bump = np.where(inside, np.exp(1 - 1 / (1 - np.where(inside, x, 0.0) ** 2)), 0.0)
        return self.turn + self.amplitude * bump

    def __call__(self, states: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        turned = (states[:, 1] + 2 * np.pi * self.rotation(states[:, 0])) % (2 * np.pi)
        return np.stack([states[:, 0], turned], axis=1)

    @property
    def spectrum(self) -> KnownSpectrum:
        """The approximate point spectrum."""
        if self.amplitude != 0:
            return CIRCLE
        # A float within rounding of a fraction of small denominator means that fraction.
        fraction = Fraction(self.turn).limit_denominator(1000)
        return KnownSpectrum(_roots_of_unity(fraction.denominator)) if float(fraction) == self.turn else CIRCLE


def disc_map(
    n_samples: int = 1000,
    *,
    turn: float = 0.25,
    amplitude: float = 0.0,
    random_state: int | np.random.Generator | None = None,
) -> SnapshotPairs:
    """A `DiscMap` at states (r, θ) that are uniform in the disc's area."""
    generator = numpy_generator(random_state)
    n_samples = check_integer(n_samples, "n_samples", minimum=1)
    radius, angle = np.sqrt(generator.uniform(size=n_samples)), generator.uniform(0, 2 * np.pi, size=n_samples)
    states = np.stack([radius, angle], axis=1)
    system = DiscMap(turn, amplitude)
    return SnapshotPairs(states, system(states), system.spectrum)


def _roots_of_unity(order: int) -> Complex[np.ndarray, " q"]:
    return np.exp(2j * np.pi * np.arange(order) / order)


# --- a unitary operator with a known spectral measure -------------------------------------------------------------


def cmv_matrix(n: int = 1000, *, decay: float = 0.95) -> Float[np.ndarray, "n n"]:
    r"""Leading block of the CMV matrix with Verblunsky coefficients :math:`\alpha_k = (-1)^k q^{(k+1)/2}`.

    The spectral measure of its first basis vector is that of the Rogers–Szegő polynomials: see `cmv_density`.

    Parameters
    ----------
    n : int
        Size.
    decay : float
        :math:`q` in (0, 1).
    """
    n = check_integer(n, "n", minimum=1)
    q = check_number(decay, "decay", above=0, below=1)
    k = np.arange(n + 3)
    alpha = (-1.0) ** k * q ** ((k + 1) / 2)
    rho = np.sqrt(1 - alpha**2)
    # The product of two block-diagonal matrices of 2x2 reflections, shifted by one against each other.
    size = n + 2
    left, right = np.zeros((size, size)), np.zeros((size, size))
    right[0, 0] = 1.0
    for matrix, first in ((left, 0), (right, 1)):
        for j in range(first, size - 1, 2):
            matrix[j : j + 2, j : j + 2] = [[alpha[j], rho[j]], [rho[j], -alpha[j]]]
    return (left @ right)[:n, :n]


def cmv_density(theta: Any, *, decay: float = 0.95) -> Float[np.ndarray, ...]:
    """Density of the first basis vector's spectral measure of `cmv_matrix`: the wrapped Gaussian of variance log(1/q)."""
    variance = np.log(1 / check_number(decay, "decay", above=0, below=1))
    turns = 2 * np.pi * np.arange(-5, 6)
    angles = np.asarray(theta, dtype=np.float64)[..., None] + turns
    return np.exp(-(angles**2) / (2 * variance)).sum(axis=-1) / np.sqrt(2 * np.pi * variance)


# --- real simulation data ----------------------------------------------------------------------------------------


def _convert_cavity(files: list[Path]) -> dict[str, np.ndarray]:
    import scipy.io

    raw = scipy.io.loadmat(files[0])
    names = {"KE1": "Re13000", "KE2": "Re16000", "KE3": "Re19000", "KE4": "Re30000"}
    return {name: raw[key].astype(np.float64).ravel() for key, name in names.items()}


CAVITY = Download(
    name="koopman/cavity_kinetic_energy.npz",
    files={
        "https://raw.githubusercontent.com/MColbrook/Adversarial-Dynamical-Systems/"
        "c6a1100049ddf449606f9c0ccbb9883814ead3c8/data_sets/cavity_KE.mat": (
            "47a8d163442669d4497cd043f1096547654dbbed9298f30380381896d23deb76"
        )
    },
    convert=_convert_cavity,
)
"""Kinetic energy of the lid-driven cavity flow at four Reynolds numbers, 20 000 equispaced values each (Arbabi & Mezić)."""

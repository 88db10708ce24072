r"""Spectral measures of isometries, and how much of an observable lies in the point spectrum.

For a measure-preserving system and an observable :math:`g`, the spectral measure :math:`\mu_g` on the circle says at which
angles :math:`\theta` the energy :math:`\|g\|^2` lies: atoms are periodic motion, the continuous part is mixing.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import scipy.linalg
import scipy.signal
from jaxtyping import Complex, Float, Inexact

from semigroup.base import check_array, check_choice, check_integer, check_number
from semigroup.dynamics.koopman.dictionaries import delay_embedding

__all__ = [
    "FILTERS",
    "FilterName",
    "isometry_measure",
    "moment_density",
    "moments",
    "point_mass",
    "point_spectrum_fraction",
]

FilterName = Literal["fejer", "cosine", "vandeven", "sharp-cosine", "bump"]


# --- from matrices -----------------------------------------------------------------------------------------------


def isometry_measure(
    compression: Any, observable: Any, theta: Any, *, epsilon: float = 0.1, order: int = 4
) -> Float[np.ndarray, "..."]:
    r"""Smoothed spectral measure of an isometry at angles :math:`\theta` (§A8).

    A rational kernel of order :math:`m` in the resolvent at distance :math:`\epsilon` from the circle: where the density
    is smooth, the error is :math:`O(\epsilon^m\log(1/\epsilon))`.

    Parameters
    ----------
    compression : array-like of shape (n, n)
        :math:`A` in an orthonormal basis. Its Schur form is most of the work; who asks more than once passes the
        triangular factor :math:`T = U^*AU`, which is used as it is, and :math:`U^*f`.
    observable : array-like of shape (n,)
        Coefficients :math:`f` in that basis.
    theta : array-like
        Real angles, any shape.
    epsilon : float
        Smoothing, > 0. The basis must resolve it: of the order of a few / epsilon functions.
    order : int
        :math:`m \ge 1`.

    Returns
    -------
    ndarray of the shape of `theta`
        Density with respect to :math:`d\theta`; its integral over the circle tends to :math:`\|f\|^2`.

    Examples
    --------
    An eigenfunction at angle 1 has its mass there:

    >>> nu = isometry_measure(np.array([[np.exp(1j)]]), [1.0], [1.0, -1.0], epsilon=0.01, order=1)
    >>> (nu / nu[0]).round(3)
    array([1., 0.])
    """
    matrix = check_array(compression, "compression", ndim=2, dtype=np.complex128)
    f = check_array(observable, "observable", ndim=1, dtype=np.complex128)
    if matrix.shape != (len(f), len(f)):
        raise ValueError(f"observable must have {matrix.shape[0]} coefficients, got {len(f)}")
    epsilon = check_number(epsilon, "epsilon", above=0)
    order = check_integer(order, "order", minimum=1)
    angles = check_array(theta, "theta").reshape(np.shape(theta))
    delta = 1 + 1j * (2 * np.arange(1, order + 1) / (order + 1) - 1)
    sigma = -delta.conj() / (1 + epsilon * delta.conj())
    first = np.eye(order)[0]
    c = np.linalg.solve(sigma[None, :] ** np.arange(order)[:, None], first)
    d = np.linalg.solve(delta[None, :] ** np.arange(order)[:, None], first)
    shifts = np.exp(1j * angles.ravel())[:, None] * (1 + epsilon * delta[None, :])
    # In the Schur basis each resolvent is a triangular solve.
    if np.tril(matrix, -1).any():
        triangle, unitary = scipy.linalg.schur(matrix, output="complex")
        start = unitary.conj().T @ f
    else:
        triangle, start = matrix, f
    solutions = _solve_shifted_triangles(triangle, start, shifts.ravel())
    along_f = (solutions.conj().T @ start).reshape(shifts.shape)
    along_adjoint = ((triangle.conj().T @ start).conj() @ solutions).reshape(shifts.shape)
    nu = -(c * shifts.conj() * along_f + d * along_adjoint).real.sum(axis=1) / (2 * np.pi)
    return np.asarray(nu.reshape(angles.shape))


def _solve_shifted_triangles(
    triangle: Complex[np.ndarray, "n n"], right: Complex[np.ndarray, " n"], shifts: Complex[np.ndarray, " s"]
) -> Complex[np.ndarray, "n s"]:
    """Solutions of (T - shift I) u = right for all shifts, by one back substitution over the rows."""
    n = len(right)
    solutions = np.empty((n, len(shifts)), dtype=np.complex128)
    for i in range(n - 1, -1, -1):
        solutions[i] = (right[i] - triangle[i, i + 1 :] @ solutions[i + 1 :]) / (triangle[i, i] - shifts)
    return solutions


# --- from one trajectory -----------------------------------------------------------------------------------------


def _fejer(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return 1 - x


def _cosine(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return (1 + np.cos(np.pi * x)) / 2


def _vandeven(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return 1 - x**4 * (35 - 84 * x + 70 * x**2 - 20 * x**3)


def _sharp_cosine(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    y = _cosine(x)
    return y**4 * (35 - 84 * y + 70 * y**2 - 20 * y**3)


def _bump(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    inside = (x > 0) & (x < 1)
    safe = np.where(inside, x, 0.5)
    # Far out the inner exponential is tiny, near 0 it underflows to 0 and the filter is 1.
    with np.errstate(over="ignore", under="ignore"):
        value = np.exp(-2 / (1 - safe) * np.exp(-0.109550455106347 / safe**4))
    return np.where(inside, value, np.where(x >= 1, 0.0, 1.0))


FILTERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "fejer": _fejer,
    "cosine": _cosine,
    "vandeven": _vandeven,
    "sharp-cosine": _sharp_cosine,
    "bump": _bump,
}
"""Filters of a Fourier series as functions of |n|/N in [0, 1]: 1 at 0, and 0 at 1."""


def moments(series: Any, n_moments: int) -> Complex[np.ndarray, " n"]:
    r"""Fourier coefficients :math:`\mu_n`, :math:`|n| \le N`, of an observable's spectral measure (§A9).

    :math:`\mu_n = \frac{1}{2\pi}\int e^{-in\theta}d\mu_g(\theta) \approx \frac{1}{2\pi(M-n)}\sum_t g_t \bar g_{t+n}`, so
    that :math:`\sum_n \mu_n e^{in\theta}` is the density.

    Parameters
    ----------
    series : array-like of shape (M,)
        The observable along one trajectory, real or complex.
    n_moments : int
        :math:`N < M`.

    Examples
    --------
    A rotation by one radian a step turns the phase of the n-th moment by -n:

    >>> mu = moments(np.exp(1j * np.arange(100)), 2)
    >>> np.angle(mu).round(6)
    array([ 2.,  1.,  0., -1., -2.])
    """
    g = check_array(series, "series", ndim=1, dtype=np.complex128)
    n_moments = check_integer(n_moments, "n_moments", minimum=1)
    if n_moments >= len(g):
        raise ValueError(f"series must be longer than n_moments = {n_moments}, got {len(g)} values")
    correlation = scipy.signal.correlate(g, g, mode="full", method="fft")[len(g) - 1 :: -1][: n_moments + 1]
    positive = correlation / (2 * np.pi * (len(g) - np.arange(n_moments + 1)))
    return np.concatenate([positive[:0:-1].conj(), positive])


def moment_density(
    moments: Complex[np.ndarray, " n"], theta: Any, *, filter: FilterName = "bump"
) -> Float[np.ndarray, "..."]:
    """Density of the spectral measure at angles `theta` from its moments (§A9).

    Parameters
    ----------
    moments : ndarray of shape (2 N + 1,)
        From `moments`.
    theta : array-like
        Real angles, any shape.
    filter : {"fejer", "cosine", "vandeven", "sharp-cosine", "bump"}
        The first keeps the density positive; the last is the sharpest where it is smooth.
    """
    angles = check_array(theta, "theta").reshape(np.shape(theta))
    numbers, weights = _filtered(moments, filter)
    waves = np.exp(1j * np.multiply.outer(angles, numbers))
    return np.asarray((waves @ (weights * moments)).real)


def point_mass(moments: Complex[np.ndarray, " n"], theta: Any, *, filter: FilterName = "bump") -> np.ndarray:
    r"""Mass of the atom at each angle, from the density's growth with the number of moments (§A9).

    Examples
    --------
    >>> mu = moments(2 * np.exp(1j * np.arange(500)), 100)
    >>> point_mass(mu, [1.0, 2.0]).round(3)
    array([4., 0.])
    """
    _, weights = _filtered(moments, filter)
    return 2 * np.pi / weights.sum() * moment_density(moments, theta, filter=filter)


def _filtered(moments: Inexact[np.ndarray, " n"], filter: str) -> tuple[np.ndarray, np.ndarray]:
    """Orders of the moments and the filter's values at them."""
    check_choice(filter, "filter", tuple(FILTERS))
    if len(moments) % 2 == 0 or len(moments) < 3:
        raise ValueError(f"moments must be those of -n, ..., n with n >= 1, an odd number of them, got {len(moments)}")
    n = (len(moments) - 1) // 2
    numbers = np.arange(-n, n + 1)
    return numbers, FILTERS[filter](np.abs(numbers) / n)


def point_spectrum_fraction(
    series: Any, *, n_delays: int = 20, stride: int = 10, n_lags: int = 10_000, n_samples: int | None = None
) -> Float[np.ndarray, "delays lags"]:
    r"""How much of a time series' energy lies in the point spectrum, by the RAGE theorem (§A10).

    :math:`P(n, L) = \frac{1}{L+1}\sum_{l=0}^{L} \min(1, \|Q_n^* K^l g\|^2 / \|g\|^2)`, with :math:`Q_n` an orthonormal
    basis of :math:`n` delays of :math:`g`. First :math:`L \to \infty`, then :math:`n \to \infty` gives the fraction: 1 for
    (quasi-)periodic motion, 0 for mixing.

    Parameters
    ----------
    series : array-like of shape (n_times,)
        The mean is taken off first, for it is the eigenvalue 1 with a constant eigenfunction.
    n_delays : int
        The largest :math:`n`.
    stride : int
        Steps between delays.
    n_lags : int
        The largest :math:`L`.
    n_samples : int, optional
        Times averaged over; as many as the series allows by default.

    Returns
    -------
    ndarray of shape (n_delays, n_lags + 1)
        :math:`P(n, L)` for :math:`n = 1, ...` and :math:`L = 0, ...`.

    Raises
    ------
    ValueError
        If the series is too short for its delays and lags, or constant.

    Examples
    --------
    >>> wave = np.cos(np.arange(4000))
    >>> point_spectrum_fraction(wave, n_delays=2, stride=1, n_lags=1000)[:, -1].round(2)
    array([0.5, 1. ])
    """
    g = check_array(series, "series", ndim=1)
    n_delays = check_integer(n_delays, "n_delays", minimum=1)
    stride = check_integer(stride, "stride", minimum=1)
    n_lags = check_integer(n_lags, "n_lags", minimum=0)
    reach = max((n_delays - 1) * stride, n_lags)
    if n_samples is None:
        n_samples = len(g) - reach
    if n_samples < n_delays or n_samples + reach > len(g):
        raise ValueError(
            f"series is too short: {n_delays} delays of stride {stride} and {n_lags} lags over {max(n_samples, n_delays)} "
            f"samples need {max(n_samples, n_delays) + reach} values, got {len(g)}"
        )
    g = g - g.mean()
    energy = float(np.mean(g[:n_samples] ** 2))
    if energy == 0:
        raise ValueError("series is constant: it has no energy besides its mean")
    basis = np.linalg.qr(delay_embedding(g[:, None], n_delays, stride)[:n_samples])[0]
    # All lags at once: the inner products of a basis vector with the shifted series are a correlation.
    ahead = g[: n_samples + n_lags]
    products = np.stack([scipy.signal.correlate(ahead, q, mode="valid", method="fft") for q in basis.T])
    kept = np.cumsum(products**2, axis=0) / (n_samples * energy)
    return np.cumsum(np.minimum(kept, 1), axis=1) / np.arange(1, n_lags + 2)

r"""The random energy model of a kernel density estimate: free energy, thresholds, laws of the fluctuations, optimal bandwidth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq, minimize_scalar
from scipy.special import digamma, erfcx, gamma, gammaln
from scipy.stats import levy_stable

from semigroup.base import check_array, check_choice, check_integer, check_number
from semigroup.densities.kde_regimes.kernels import RadialKernel, as_kernel

__all__ = [
    "GaussianLaw",
    "Law",
    "PhaseDiagram",
    "SphereLaw",
    "Thresholds",
    "condensed_entropy",
    "condensed_participation",
    "entropy_per_dimension",
    "fluctuation_law",
    "kl_bandwidth",
    "kl_divergence",
    "log_density_per_dimension",
    "mean_log_density",
    "phase_diagram",
    "regime_of",
    "thresholds",
]

Correction = Literal["asymptotic", "finite"]
CORRECTIONS = ("asymptotic", "finite")
# Inverse temperatures, in units of the inverse of the law's scale, between which a threshold is looked for first.
LOWEST, HIGHEST = 1e-8, 1e8


# --- the law of the distances --------------------------------------------------------------------------------------


@runtime_checkable
class Law(Protocol):
    """Distribution of the points, as a fresh point of it sees it: everything follows from the free energy g(a)."""

    @property
    def scale(self) -> float:
        """A typical variance of a coordinate."""

    def free_energy(self, a: Any) -> Any:
        r""":math:`g(a) = \lim \frac1d \log E e^{-a\epsilon}`."""

    def squared_distance(self, a: Any) -> Any:
        r""":math:`s(a) = -2 g'(a)`: squared distance per dimension of the points that dominate :math:`\sum e^{-a\epsilon}`."""


@dataclass(frozen=True)
class GaussianLaw:
    r"""Points of a Gaussian with given eigenvalues of the covariance, seen from a typical or a given point.

    .. math:: g(a) = -\frac1{2d} \sum_j \Bigl[\log(1 + a\lambda_j) + \frac{a q_j}{1 + a\lambda_j}\Bigr]

    with :math:`q_j = (x - m)_j^2`, which is :math:`\lambda_j` for a typical point. At any d, :math:`d g(a)` is exactly the
    logarithm of the Laplace transform of :math:`\epsilon = |x - y|^2 / 2` given x.

    Attributes
    ----------
    spectrum : array, shape (d,)
        Eigenvalues; a single one stands for the isotropic law in any dimension.
    squares : array, shape (d,), optional
        Squared coordinates of the point x along the eigenvectors, from the mean.
    """

    spectrum: Float[np.ndarray, " d"]
    squares: Float[np.ndarray, " d"] | None = None

    @property
    def scale(self) -> float:
        """Mean eigenvalue."""
        return float(self.spectrum.mean())

    @property
    def _squares(self) -> np.ndarray:
        return self.spectrum if self.squares is None else self.squares

    def free_energy(self, a: Any) -> Any:
        """g(a), for a > -1 / largest eigenvalue."""
        a = np.asarray(a, dtype=np.float64)[..., None]
        return -0.5 * (np.log1p(a * self.spectrum) + a * self._squares / (1 + a * self.spectrum)).mean(axis=-1)

    def squared_distance(self, a: Any) -> Any:
        """s(a) = -2 g'(a)."""
        shrink = 1 / (1 + np.asarray(a, dtype=np.float64)[..., None] * self.spectrum)
        return (self.spectrum * shrink + self._squares * shrink**2).mean(axis=-1)

    def curvature(self, a: Any) -> Any:
        """g''(a): variance of epsilon per dimension under the weights of inverse temperature a."""
        shrink = 1 / (1 + np.asarray(a, dtype=np.float64)[..., None] * self.spectrum)
        return (0.5 * (self.spectrum * shrink) ** 2 + self._squares * self.spectrum * shrink**3).mean(axis=-1)


@dataclass(frozen=True)
class SphereLaw:
    r"""Points uniform on the sphere of squared radius d R², seen from a point of it.

    :math:`g(a) = \frac12 \log(1 - c^2) - a R^2 (1 - c)` with c, the cosine of the angle to the dominating points, the root in
    (0, 1) of :math:`a R^2 (1 - c^2) = c`.

    Attributes
    ----------
    squared_radius : float
        R².
    """

    squared_radius: float = 1.0

    @property
    def scale(self) -> float:
        """Variance of a coordinate."""
        return self.squared_radius

    def _cosine(self, a: Any) -> Any:
        b = 2 * np.asarray(a, dtype=np.float64) * self.squared_radius
        return b / (1 + np.sqrt(1 + b**2))

    def free_energy(self, a: Any) -> Any:
        """g(a)."""
        c = self._cosine(a)
        return 0.5 * np.log1p(-(c**2)) - np.asarray(a) * self.squared_radius * (1 - c)

    def squared_distance(self, a: Any) -> Any:
        """s(a) = 2 R² (1 - c)."""
        return 2 * self.squared_radius * (1 - self._cosine(a))


def cost(law: Law, a: Any) -> Any:
    r""":math:`I(a) = a g'(a) - g(a)`: how rare the dominating levels are, per dimension; increases from 0."""
    a = np.asarray(a, dtype=np.float64)
    return -a * law.squared_distance(a) / 2 - law.free_energy(a)


def as_law(spectrum: Any) -> Law:
    """A law as it is, or the Gaussian one of an array of eigenvalues or of a single one."""
    if isinstance(spectrum, Law) and not isinstance(spectrum, GaussianLaw):
        return spectrum
    given = spectrum.spectrum if isinstance(spectrum, GaussianLaw) else spectrum
    values = np.atleast_1d(check_array(given, "spectrum", ndim=(0, 1)))
    if (values < 0).any():
        raise ValueError(f"spectrum must hold eigenvalues >= 0, got {values.min():g}")
    if not values.any():
        raise ValueError("spectrum must have an eigenvalue > 0: all points coincide")
    if not isinstance(spectrum, GaussianLaw) or spectrum.squares is None:
        return GaussianLaw(values)
    squares = check_array(spectrum.squares, "squares", ndim=1)
    if squares.shape != values.shape or (squares < 0).any():
        raise ValueError(f"squares must hold one number >= 0 an eigenvalue, {len(values)}, got shape {squares.shape}")
    return GaussianLaw(values, squares)


# --- thresholds ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Thresholds:
    r"""The two bandwidths between which an estimate changes its nature.

    Attributes
    ----------
    alpha : float
        log(n) / d.
    clt : float
        :math:`h_{CLT}`: above it the estimate fluctuates like a Gaussian.
    condensation : float
        :math:`h_G`: below it a few nearest points carry the estimate.
    edge_rate : float
        :math:`a_c`, or :math:`\kappa` of the finite version: how fast the number of points grows with epsilon at the edge.
    edge_squared_distance : float
        Squared distance per dimension to the nearest points.
    kernel : RadialKernel
    dim : int or None
    """

    alpha: float
    clt: float
    condensation: float
    edge_rate: float
    edge_squared_distance: float
    kernel: RadialKernel
    dim: int | None

    def tail_index(self, bandwidth: float) -> float:
        r"""Tail index mu of the weights at a bandwidth: 1 at :math:`h_G`, 2 at :math:`h_{CLT}`; ``(h / h_G)^2`` for the Gaussian.

        0 where a compact kernel does not reach the nearest points, infinite where its weights do not depend on the distance.
        """
        h = check_number(bandwidth, "bandwidth", above=0)
        return tail_index(self.kernel, self.edge_rate, self.edge_squared_distance * (self.dim or 1), h)

    def regime(self, bandwidth: float) -> str:
        """``"clt"``, ``"stable"``, ``"condensed"`` or ``"empty"``."""
        return str(regime_of(np.array([self.tail_index(bandwidth)]))[0])


def tail_index(kernel: RadialKernel, rate: float, squared_distance: float, bandwidth: float) -> float:
    """``kappa / E'`` with E' the derivative of the energy -log k in epsilon at the nearest points."""
    slope = 2 * kernel.energy_slope(squared_distance / bandwidth**2) / bandwidth**2
    if slope == 0:
        return math.inf
    return 0.0 if math.isinf(slope) else rate / slope


def regime_of(tail_index: Float[np.ndarray, " n"]) -> np.ndarray:
    """The verdict on each tail index: ``"empty"`` at 0, ``"condensed"`` below 1, ``"stable"`` below 2, else ``"clt"``.

    Of NaN it is ``"undetermined"``.

    Examples
    --------
    >>> regime_of(np.array([0.5, 1.5, 3.0])).tolist()
    ['condensed', 'stable', 'clt']
    """
    mu = np.asarray(tail_index)
    cases = {"undetermined": np.isnan(mu), "empty": mu == 0, "condensed": mu < 1, "stable": mu < 2}
    return np.select(list(cases.values()), list(cases), "clt")


def thresholds(
    alpha: float,
    spectrum: Any = 1.0,
    *,
    kernel: str | RadialKernel = "gaussian",
    dim: int | None = None,
    correction: Correction = "asymptotic",
) -> Thresholds:
    r"""Where the central limit theorem ends and where the estimate condenses onto a few points.

    With :math:`I(a_c) = \alpha`, the Gaussian kernel has :math:`h_G = a_c^{-1/2}` and :math:`h_{CLT} = \sqrt2 h_G`. For other
    radial kernels :math:`h_G` and :math:`h_{CLT}` are the bandwidths at which the points that dominate :math:`\sum w` and
    :math:`\sum w^2` are the nearest of all; they are found on a grid of the rate function of the squared distance.

    Parameters
    ----------
    alpha : float
        log(n) / d, of all n points.
    spectrum : float, array of shape (d,), or law
        Eigenvalues of the covariance, or one of them for the isotropic law; or `GaussianLaw`, `SphereLaw`.
    kernel : str or RadialKernel
        ``"gaussian"``, ``"exponential"``, ``"tophat"``, ``"epanechnikov"``, ``"linear"``, in scikit-learn's units, or any other.
    dim : int, optional
        d; by default the length of `spectrum`. Needed for ``correction="finite"`` and for kernels that are not Gaussian.
    correction : {"asymptotic", "finite"}
        Limit of large d, or the point where n F(epsilon) = 1 with the distribution F of epsilon at this n and d: its
        logarithmic slope takes the place of :math:`a_c`. Finite thresholds are some 10 % higher at d = 16 to 50.

    Returns
    -------
    Thresholds

    Raises
    ------
    ValueError
        If `alpha` is not positive, an eigenvalue is negative, all are zero, or the kernel cannot be normalised.

    Examples
    --------
    >>> found = thresholds(0.2)
    >>> round(found.condensation, 4), round(found.clt, 4)
    (1.0457, 1.4788)
    >>> round(thresholds(0.2, dim=50, correction="finite").condensation / found.condensation, 3)
    1.081
    """
    alpha = check_number(alpha, "alpha", above=0)
    law, kernel = as_law(spectrum), as_kernel(kernel)
    check_choice(correction, "correction", CORRECTIONS)
    dim = _dimension(law, dim, needed=correction == "finite" or kernel.name != "gaussian")
    if correction == "finite" and alpha * (dim or 1) < math.log(2):
        raise ValueError(f"alpha must be at least log(2) / dim for correction='finite', two points, got {alpha:g}")
    edge, rate = _edge(law, alpha, dim, correction)
    squared = float(law.squared_distance(edge))
    if kernel.name == "gaussian":
        condensation, clt = rate**-0.5, (rate / 2) ** -0.5
    else:
        assert dim is not None
        kernel.log_normalizer(dim)
        clt, condensation = (_numeric_threshold(law, kernel, edge, dim, correction, power) for power in (2, 1))
    return Thresholds(alpha, clt, condensation, rate, squared, kernel, dim)


def _dimension(law: Law, dim: int | None, needed: bool) -> int | None:
    own = len(law.spectrum) if isinstance(law, GaussianLaw) and len(law.spectrum) > 1 else None
    if dim is None:
        if own is None and needed:
            raise ValueError("dim must be given where spectrum is a single number")
        return own
    dim = check_integer(dim, "dim", minimum=1)
    if own is not None and dim != own:
        raise ValueError(f"dim must be the number of eigenvalues, {own}, got {dim}")
    return dim


def _edge(law: Law, alpha: float, dim: int | None, correction: Correction) -> tuple[float, float]:
    """Inverse temperature whose dominating points are the nearest of all, and d log F / d epsilon there."""

    def excess(log_a: float) -> float:
        return float(_rate(law, np.exp(log_a), dim, correction)) - alpha

    # Below 1e-4 the saddlepoint's terms cancel, and all bandwidths are the same within that.
    low = math.log((LOWEST if correction == "asymptotic" else 1e-4) / law.scale)
    high = math.log(HIGHEST / law.scale)
    while excess(high) < 0:
        high += 20
        if high > 600:
            raise ValueError(f"alpha is too large for this spectrum, got {alpha:g}: too few eigenvalues are > 0")
    edge = math.exp(low if excess(low) > 0 else brentq(excess, low, high, xtol=1e-13))
    if correction == "asymptotic":
        return edge, edge
    near = edge * np.exp([-1e-3, 1e-3])
    return edge, float(2 * np.diff(_rate(law, near, dim, correction))[0] / -np.diff(law.squared_distance(near))[0])


def _rate(law: Law, a: Any, dim: int | None, correction: Correction) -> Any:
    """Rate function at the squared distance s(a): the cost, or -log F / d at finite d, by Lugannani and Rice."""
    if correction == "asymptotic":
        return cost(law, a)
    if not isinstance(law, GaussianLaw):
        raise ValueError(f"correction='finite' needs a Gaussian law, got {type(law).__name__}")
    assert dim is not None
    width = np.sqrt(2 * dim * cost(law, a))
    tilt = a * np.sqrt(dim * law.curvature(a))
    ratio = (
        math.sqrt(math.pi / 2) * erfcx(width / math.sqrt(2)) + 1 / tilt - 1 / width
    )  # F over the normal density at w
    return (width**2 / 2 + 0.5 * math.log(2 * math.pi) - np.log(ratio)) / dim


def _numeric_threshold(
    law: Law, kernel: RadialKernel, edge: float, dim: int, correction: Correction, power: int
) -> float:
    """Bandwidth at which the points that dominate the sum of w^power are those at the edge.

    Bisection on whether the best trade of weight against number lies beyond the edge or before it, on a grid of the rate
    function that is fine near the edge and reaches far from it.
    """
    away = np.concatenate([[0.0], np.geomspace(1e-6, 12.0, 2000)])
    near, far = edge * np.exp(away), edge * np.exp(-away)
    if correction == "finite":
        far = far[far > 1e-3 * edge]
    sides = [(law.squared_distance(a) * dim, _rate(law, a, dim, correction) * dim) for a in (far, near)]

    def beyond(log_h: float) -> bool:
        best = [(power * kernel._log_profile(squared / np.exp(2 * log_h)) - rate)[1:].max() for squared, rate in sides]
        return bool(best[0] > best[1])

    middle = 0.5 * math.log(float(law.squared_distance(edge)) * dim)
    low, high = middle - 15, middle + 15
    for _ in range(60):
        half = (low + high) / 2
        low, high = (low, half) if beyond(half) else (half, high)
    return math.exp(high)


# --- curves ---------------------------------------------------------------------------------------------------------


def log_density_per_dimension(bandwidth: Any, alpha: float, spectrum: Any = 1.0) -> Any:
    r""":math:`\lim \frac1d \log \hat\rho_h(x)` at a typical point, Gaussian kernel, for bandwidths of any shape.

    Above :math:`h_G` it is :math:`-\frac12\log(2\pi h^2) + g(h^{-2})`; below, :math:`-\frac12\log(2\pi h^2) - \alpha -
    \epsilon_{min} / h^2` with :math:`\epsilon_{min}` per dimension. Value and slope are the same at :math:`h_G`.

    Examples
    --------
    >>> log_density_per_dimension([0.5, 2.0], 0.2).round(4)
    array([-2.016 , -1.8237])
    """
    law, found = as_law(spectrum), thresholds(alpha, spectrum)
    h = _bandwidths(bandwidth)
    condensed = -alpha - found.edge_squared_distance / (2 * h**2)
    return -0.5 * np.log(2 * np.pi * h**2) + np.where(h < found.condensation, condensed, law.free_energy(h**-2.0))


def entropy_per_dimension(bandwidth: Any, alpha: float, spectrum: Any = 1.0) -> Any:
    r"""Limit of the entropy of the weights :math:`p_i`, per dimension: :math:`\alpha - I(h^{-2})` above :math:`h_G`, 0 below."""
    h = _bandwidths(bandwidth)
    return np.maximum(alpha - cost(as_law(spectrum), h**-2.0), 0.0)


def condensed_participation(tail_index: Any) -> Any:
    r""":math:`E \sum_i p_i^2 = 1 - \mu` of the Poisson-Dirichlet weights, 0 for :math:`\mu \geq 1`."""
    return np.maximum(1 - np.asarray(tail_index, dtype=np.float64), 0.0)


def condensed_entropy(tail_index: Any) -> Any:
    r""":math:`E[-\sum_i p_i \log p_i] = \psi(1) - \psi(1 - \mu)` of Poisson-Dirichlet weights, in nats, for :math:`\mu < 1`."""
    mu = check_array(tail_index, "tail_index", ndim=(0, 1))
    if ((mu < 0) | (mu >= 1)).any():
        raise ValueError("tail_index must lie in [0, 1) in the condensed phase")
    return digamma(1) - digamma(1 - mu)


def fluctuation_law(tail_index: float) -> Any:
    r"""The stable law of :math:`S = Z e^{\epsilon_1 / h^2}` with :math:`n F(\epsilon_1) = 1`; of :math:`S - E S` for mu > 1.

    Totally skewed, in the parametrisation S1 with scale :math:`[\Gamma(1-\mu) \cos(\pi\mu/2)]^{1/\mu}`.

    Parameters
    ----------
    tail_index : float
        mu, in (0, 2) without 1.

    Returns
    -------
    scipy.stats frozen distribution

    Examples
    --------
    >>> levy = fluctuation_law(0.5)
    >>> bool(abs(levy.cdf(2.0) - 0.3754) < 1e-4)  # = erfc(sqrt(pi / 8)), Lévy's law
    True
    """
    mu = check_number(tail_index, "tail_index", above=0, below=2)
    if mu == 1:
        raise ValueError("tail_index must not be 1: the law of the sum changes its form there")
    scale = (gamma(1 - mu) * math.cos(math.pi * mu / 2)) ** (1 / mu)
    return levy_stable(mu, 1.0, loc=0.0, scale=scale)


def condensed_mean_log_sum(tail_index: Any) -> Any:
    r""":math:`E \log S = \frac1\mu \log\Gamma(1-\mu) + \gamma_E (\frac1\mu - 1)` of the stable law, for :math:`\mu < 1`."""
    mu = np.asarray(tail_index, dtype=np.float64)
    return gammaln(1 - mu) / mu + np.euler_gamma * (1 / mu - 1)


def _bandwidths(bandwidth: Any) -> np.ndarray:
    h = check_array(bandwidth, "bandwidth")
    if (h <= 0).any():
        raise ValueError(f"bandwidth must be > 0, got {h.min():g}")
    return h


# --- the optimal bandwidth --------------------------------------------------------------------------------------------


def mean_log_density(
    bandwidth: Any, n: float, spectrum: Any = 1.0, *, dim: int | None = None, kernel: str | RadialKernel = "gaussian"
) -> Any:
    r"""Expected log-density of the estimate at a typical point, at finite n and d, for each bandwidth.

    Over the draw of the n points, :math:`E \log Z = \int_0^\infty [e^{-\tau} - (E e^{-\tau w})^n] d\tau / \tau`, where w is the
    weight of one point, whose distribution follows from the saddlepoint density of epsilon.

    Parameters
    ----------
    bandwidth : float or array
    n : float
        Number of points.
    spectrum : float, array of shape (d,), or GaussianLaw
    dim : int, optional
    kernel : str or RadialKernel
        Of unbounded support: with any other the expectation is -inf.

    Returns
    -------
    float or array

    Examples
    --------
    >>> value = mean_log_density(1.0, 1000, dim=5)
    >>> bool(abs(value + 5 / 2 * np.log(4 * np.pi) + 5 / 4) < 0.1)  # near log E, for a bandwidth as wide as the data
    True
    """
    law, kernel = as_law(spectrum), as_kernel(kernel)
    n = check_number(n, "n", minimum=2)
    if not isinstance(law, GaussianLaw):
        raise ValueError(f"spectrum must be that of a Gaussian at finite n, got {type(law).__name__}")
    _need_unbounded(kernel)
    h = _bandwidths(bandwidth)
    dim = _dimension(law, dim, needed=True)
    assert dim is not None
    distribution = _distance_distribution(law, dim)
    return np.vectorize(lambda width: _mean_log_density(width, n, dim, kernel, *distribution), otypes=[np.float64])(h)[
        ()
    ]


def _distance_distribution(law: GaussianLaw, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Grid of log |x - y|², ascending, and the logarithm of its distribution function, by the saddlepoint density."""
    # Inverse temperatures from just above the pole, where distances are largest, to those of the nearest of very many
    # points; smooth in the index, so that sums over the grid converge fast. Its step resolves the density's width.
    pole = 0.98 / law.spectrum.max()
    above = np.geomspace(1e9 / law.scale, 1e-3 * pole, 1000 + 200 * math.isqrt(dim))
    a = above - pole
    log_mass = -dim * cost(law, a) + 0.5 * np.log(law.curvature(a)) + np.log(above)
    log_mass -= np.logaddexp.reduce(log_mass)
    # The trapezoidal rule from the left end, and the first term of its error by Euler and Maclaurin.
    log_below = np.logaddexp(np.append(-np.inf, np.logaddexp.accumulate(log_mass)[:-1]), log_mass - math.log(2))
    rise = np.exp(log_mass[2:] - log_below[1:-1]) - np.exp(log_mass[:-2] - log_below[1:-1])
    log_below[1:-1] += np.log1p(-rise / 24)
    return np.log(dim * law.squared_distance(a)), log_below


def _mean_log_density(
    bandwidth: float, n: float, dim: int, kernel: RadialKernel, log_squared: np.ndarray, log_below: np.ndarray
) -> float:
    """`mean_log_density` of one bandwidth.

    With E the energy of a point, ``1 - exp(-tau w) = P(log tau - G > E)`` for G of the density ``exp(u - exp(u))``, so that
    the expectation over the points is a convolution of that density with the distribution of E.
    """
    energy = -kernel._log_profile(np.exp(log_squared) / bandwidth**2)
    log_n = math.log(n)
    # Z is at most n times its largest weight, and that is near the one of the nearest point.
    nearest = energy[(log_below > -log_n).argmax()]
    step = 0.2
    log_tau = np.arange(-40.0 - log_n, 60.0, step) + nearest
    noise = np.arange(-40.0 - log_n, 4.0, step)
    density = np.exp(noise - np.exp(noise))
    below = np.exp(np.interp(log_tau[:, None] - noise, energy, log_below, left=-np.inf, right=0.0))
    lost = np.minimum(step * (below @ density), 1.0)
    with np.errstate(divide="ignore"):
        remains = np.exp(n * np.log1p(-lost))
    log_sum = step * float((np.exp(-np.exp(log_tau - nearest)) - remains).sum()) - nearest
    return log_sum - log_n - kernel.log_normalizer(dim) - dim * math.log(bandwidth)


def _need_unbounded(kernel: RadialKernel) -> None:
    if math.isfinite(kernel.support):
        raise ValueError(
            f"kernel must have unbounded support here, got '{kernel.name}': at any bandwidth a fresh point may see no other, "
            "and the divergence is infinite"
        )


def kl_bandwidth(
    alpha: float,
    spectrum: Any = 1.0,
    *,
    kernel: str | RadialKernel = "gaussian",
    dim: int | None = None,
    correction: Correction = "asymptotic",
) -> float:
    r"""The bandwidth of least Kullback-Leibler divergence from the law to the estimate.

    In the limit of large d it lies in the condensed phase, :math:`h_*^2 = 2 \epsilon_{min} = \frac1d \sum_j [\lambda_j /
    (1 + a_c \lambda_j) + \lambda_j / (1 + a_c \lambda_j)^2] < h_G^2`. With ``correction="finite"`` it maximises
    `mean_log_density`.

    Parameters
    ----------
    alpha, spectrum, kernel, dim, correction
        As in `thresholds`; the kernel must have unbounded support.

    Examples
    --------
    >>> round(kl_bandwidth(0.2), 4)
    0.8917
    """
    alpha = check_number(alpha, "alpha", above=0)
    kernel = as_kernel(kernel)
    _need_unbounded(kernel)
    law = as_law(spectrum)
    dim = _dimension(law, dim, needed=correction == "finite" or kernel.name != "gaussian")
    check_choice(correction, "correction", CORRECTIONS)
    if correction == "finite":
        thresholds(alpha, law, kernel=kernel, dim=dim, correction=correction)  # refuses what has no finite version
    found = thresholds(alpha, law, kernel=kernel, dim=dim)
    optimum = nearest_bandwidth(found.edge_squared_distance * (dim or 1), kernel, dim or 1)
    if correction == "asymptotic":
        return optimum
    assert dim is not None and isinstance(law, GaussianLaw)  # as `thresholds` has checked
    n, distribution = math.exp(alpha * dim), _distance_distribution(law, dim)

    def loss(log_h: float) -> float:
        return -_mean_log_density(math.exp(log_h), n, dim, kernel, *distribution)

    # At the optimum the mean squared distance, by the weights, is what `nearest_bandwidth` asks of a single one; it lies between
    # that of the nearest point and the mean of all. In few dimensions these are far apart and the curve between them is flat,
    # so that its rounding would lead a search of the whole interval astray.
    widest = nearest_bandwidth(float(law.squared_distance(0.0)) * dim, kernel, dim)
    low, high, step = math.log(optimum) - 1, math.log(widest) + 0.2, 0.2
    grid = np.linspace(low, high, math.ceil((high - low) / step) + 1).tolist()
    middle = min(grid, key=loss)
    return math.exp(
        minimize_scalar(loss, bounds=(middle - step, middle + step), method="bounded", options={"xatol": 1e-4}).x
    )


def nearest_bandwidth(squared_distance: float, kernel: RadialKernel, dim: int) -> float:
    r"""Bandwidth that maximises :math:`h^{-d} k(r^2 / h^2)` of the nearest point alone: :math:`r / \sqrt d` for the Gaussian."""
    if kernel.name == "gaussian":
        return math.sqrt(squared_distance / dim)

    def excess(log_t: float) -> float:
        return 2 * math.exp(log_t) * kernel.energy_slope(math.exp(log_t)) - dim

    return math.sqrt(squared_distance) * math.exp(-brentq(excess, -50.0, 50.0) / 2)


def kl_divergence(bandwidth: Any, alpha: float, spectrum: Any = 1.0) -> Any:
    r"""Limit of :math:`D_{KL}(\rho \| \hat\rho_h) / d` for a Gaussian law and kernel.

    At the optimum it is :math:`\log h_* + \alpha - \frac1{2d} \sum_j \log \lambda_j`; infinite where an eigenvalue is 0.

    Examples
    --------
    >>> round(float(kl_divergence(kl_bandwidth(0.2), 0.2)), 4)
    0.0854
    """
    law = as_law(spectrum)
    if not isinstance(law, GaussianLaw):
        raise ValueError(f"spectrum must be that of a Gaussian, got {type(law).__name__}")
    with np.errstate(divide="ignore"):
        entropy = 0.5 * (math.log(2 * math.pi) + 1 + np.log(law.spectrum).mean())
    return -entropy - log_density_per_dimension(bandwidth, alpha, law)


@dataclass(frozen=True)
class PhaseDiagram:
    """The regimes over the plane of alpha and bandwidth.

    Attributes
    ----------
    alpha : array, shape (n,)
    clt, condensation, optimum : array, shape (n,)
        Bandwidths at the two thresholds, and of least divergence (NaN for compact kernels).
    kernel : RadialKernel
    """

    alpha: Float[np.ndarray, " n"]
    clt: Float[np.ndarray, " n"]
    condensation: Float[np.ndarray, " n"]
    optimum: Float[np.ndarray, " n"]
    kernel: RadialKernel


def phase_diagram(
    alphas: Any,
    spectrum: Any = 1.0,
    *,
    kernel: str | RadialKernel = "gaussian",
    dim: int | None = None,
    correction: Correction = "asymptotic",
) -> PhaseDiagram:
    """Thresholds and optimal bandwidth at each alpha; arguments as in `thresholds`.

    Examples
    --------
    >>> diagram = phase_diagram([0.1, 0.5])
    >>> diagram.condensation.round(4), diagram.optimum.round(4)
    (array([1.3708, 0.6521]), array([1.0386, 0.6224]))
    """
    alphas = check_array(alphas, "alphas", ndim=1)
    kernel = as_kernel(kernel)
    found = [thresholds(float(a), spectrum, kernel=kernel, dim=dim, correction=correction) for a in alphas]
    compact = math.isfinite(kernel.support)
    best = [
        math.nan if compact else kl_bandwidth(float(a), spectrum, kernel=kernel, dim=dim, correction=correction)
        for a in alphas
    ]
    columns: tuple[Callable[[Thresholds], float], ...] = (lambda f: f.clt, lambda f: f.condensation)
    clt, condensation = (np.array([column(f) for f in found]) for column in columns)
    return PhaseDiagram(alphas, clt, condensation, np.array(best), kernel)

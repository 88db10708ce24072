"""Radial kernels: profile, normaliser, and how a draw of each is made."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, logsumexp

from semigroup.base import check_choice, check_integer

__all__ = ["KERNELS", "RadialKernel", "as_kernel"]


@dataclass(frozen=True)
class RadialKernel:
    r"""A kernel :math:`K(u) = k(|u|^2) / c_d`.

    Attributes
    ----------
    name : str
    log_profile : callable
        Takes an array of :math:`t = |u|^2`, gives :math:`\log k(t)`: non-increasing, -inf outside the support.
    support : float
        The t at which a compact kernel ends; infinite otherwise.
    slope : callable, optional
        :math:`-d \log k / dt`; by central differences if not given.
    log_volume : callable, optional
        Takes the dimension d, gives :math:`\log c_d`; by quadrature if not given.

    Examples
    --------
    >>> student = RadialKernel("student", lambda t: -5 * np.log1p(t))
    >>> bool(abs(student.log_normalizer(2) - np.log(np.pi / 4)) < 1e-9)
    True
    """

    name: str
    log_profile: Callable[[np.ndarray], np.ndarray]
    support: float = math.inf
    slope: Callable[[np.ndarray], np.ndarray] | None = None
    log_volume: Callable[[int], float] | None = None

    def log_normalizer(self, dim: int) -> float:
        r""":math:`\log c_d = \log \int k(|u|^2) du`.

        Raises
        ------
        ValueError
            If the integral does not converge in `dim` dimensions, or the profile is not a number somewhere.
        """
        dim = check_integer(dim, "dim", minimum=1)
        if self.log_volume is not None:
            return self.log_volume(dim)
        # In log r the integrand is smooth and decays at both ends, where the trapezoidal rule converges fastest.
        log_radius, step = np.linspace(-40.0, 40.0, 160_001, retstep=True)
        logs = dim * log_radius + self._log_profile(np.exp(2 * log_radius))
        top = logs.max()
        if not np.isfinite(top) or max(logs[0], logs[-1]) > top - 30:
            raise ValueError(f"kernel '{self.name}' cannot be normalised in {dim} dimensions: its integral diverges")
        return log_sphere_area(dim) + float(logsumexp(logs)) + math.log(step)

    def energy_slope(self, t: float) -> float:
        r""":math:`-d \log k / dt`, infinite where k vanishes."""
        if t >= self.support:
            return math.inf
        if self.slope is not None:
            return float(self.slope(np.asarray(t)))
        near = t * np.exp(np.array([-1e-5, 1e-5]))
        return float(-np.diff(self._log_profile(near))[0] / (near[1] - near[0]))

    def _log_profile(self, t: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            logs = np.asarray(self.log_profile(t), dtype=np.float64)
        logs = np.where(t >= self.support, -np.inf, logs)
        if np.isnan(logs).any() or (logs == np.inf).any():
            raise ValueError(f"kernel '{self.name}' has a profile that is not a finite number or zero everywhere")
        return logs


def log_sphere_area(dim: int) -> float:
    """Logarithm of the area of the unit sphere in `dim` dimensions."""
    return math.log(2) + dim / 2 * math.log(math.pi) - float(gammaln(dim / 2))


def _log_ball(dim: int) -> float:
    return log_sphere_area(dim) - math.log(dim)


KERNELS = {
    kernel.name: kernel
    for kernel in (
        RadialKernel(
            "gaussian",
            lambda t: -t / 2,
            slope=lambda t: np.full_like(t, 0.5),
            log_volume=lambda d: d / 2 * math.log(2 * math.pi),
        ),
        RadialKernel(
            "exponential",
            lambda t: -np.sqrt(t),
            slope=lambda t: 0.5 / np.sqrt(t),
            log_volume=lambda d: log_sphere_area(d) + float(gammaln(d)),
        ),
        RadialKernel("tophat", np.zeros_like, 1.0, slope=np.zeros_like, log_volume=_log_ball),
        RadialKernel(
            "epanechnikov",
            lambda t: np.log1p(-t),
            1.0,
            slope=lambda t: 1 / (1 - t),
            log_volume=lambda d: _log_ball(d) + math.log(2 / (d + 2)),
        ),
        RadialKernel(
            "linear",
            lambda t: np.log1p(-np.sqrt(t)),
            1.0,
            slope=lambda t: 0.5 / (np.sqrt(t) - t),
            log_volume=lambda d: _log_ball(d) - math.log(d + 1),
        ),
    )
}


def as_kernel(kernel: str | RadialKernel) -> RadialKernel:
    """A kernel by its name, or as it is; `ValueError` naming the names otherwise."""
    if isinstance(kernel, RadialKernel):
        return kernel
    return KERNELS[check_choice(kernel, "kernel", tuple(KERNELS))]


def draw_offsets(name: str, n: int, dim: int, generator: np.random.Generator) -> np.ndarray:
    """`n` draws of a named kernel of bandwidth 1, shape (n, dim)."""
    offsets = generator.standard_normal((n, dim))
    if name == "gaussian":
        return offsets
    radius = {
        "exponential": lambda: generator.gamma(dim, size=n),
        "tophat": lambda: generator.beta(dim, 1, size=n),
        "epanechnikov": lambda: np.sqrt(generator.beta(dim / 2, 2, size=n)),
        "linear": lambda: generator.beta(dim, 2, size=n),
    }[name]()
    return offsets * (radius / np.linalg.norm(offsets, axis=1))[:, None]

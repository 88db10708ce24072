r"""Spectral kernels on the eigenvalues of a Laplacian, in logarithms, with their derivatives.

============================  ================================================================
``"matern"``                  :math:`s(\lambda) = (2\nu/\kappa^2 + \lambda)^{-\nu}`
``"squared-exponential"``     :math:`s(\lambda) = e^{-\kappa^2 \lambda / 2}`, the heat kernel
============================  ================================================================

The prior variances of the weights are :math:`S_j \propto s(\lambda_j)`, scaled so that the mean prior variance of
:math:`\lVert v \rVert^2` over the points is the amplitude, whatever :math:`\nu` and :math:`\kappa`. Nothing leaves the logarithm
before it is scaled, so that a large :math:`\nu` or :math:`\kappa` neither overflows nor underflows as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp, softmax

__all__ = ["KernelName", "SpectralPrior", "log_matern", "log_squared_exponential"]

KernelName = Literal["matern", "squared-exponential"]


def log_matern(
    eigenvalues: Float[np.ndarray, " k"], nu: float, kappa: float
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "k 2"]]:
    r"""Logarithm of the Matérn spectral density, and its derivatives by :math:`\log\nu` and :math:`\log\kappa`.

    Examples
    --------
    >>> log_matern(np.array([0.0, 1.0]), 1.0, 2.0)[0].round(4)
    array([ 0.6931, -0.4055])
    """
    shift = 2 * nu / kappa**2
    total = shift + eigenvalues
    log_density = -nu * np.log(total)
    by_nu, by_kappa = log_density - nu * shift / total, 2 * nu * shift / total
    return log_density, np.column_stack([by_nu, by_kappa])


def log_squared_exponential(
    eigenvalues: Float[np.ndarray, " k"], kappa: float
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "k 1"]]:
    r"""Logarithm of the squared exponential's spectral density, and its derivative by :math:`\log\kappa`.

    Examples
    --------
    >>> log_squared_exponential(np.array([0.0, 1.0]), 2.0)[0]
    array([-0., -2.])
    """
    log_density = -(kappa**2) * eigenvalues / 2
    return log_density, 2 * log_density[:, None]


@dataclass(frozen=True)
class SpectralPrior:
    r"""Prior variances of the weights as a function of the kernel's parameters.

    Attributes
    ----------
    kernel : {"matern", "squared-exponential"}
    eigenvalues : array of shape (k,)
    column_power : array of shape (k,)
        Mean over the points of :math:`\lVert F_i e_j \rVert^2`: what a unit of :math:`S_j` adds to the variance of
        :math:`\lVert v \rVert^2`.
    """

    kernel: KernelName
    eigenvalues: Float[np.ndarray, " k"]
    column_power: Float[np.ndarray, " k"]

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters, in their order in `log_variances`."""
        return ("nu", "kappa", "amplitude") if self.kernel == "matern" else ("kappa", "amplitude")

    def log_variances(
        self, log_parameters: Float[np.ndarray, " p"]
    ) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "k p"]]:
        r""":math:`\log S_j`, and its derivatives by the logarithms of the parameters."""
        shape = np.exp(log_parameters[:-1])
        if self.kernel == "matern":
            log_density, derivative = log_matern(self.eigenvalues, *shape)
        else:
            log_density, derivative = log_squared_exponential(self.eigenvalues, *shape)
        weighted = log_density + np.log(self.column_power)
        log_variances = log_parameters[-1] + log_density - logsumexp(weighted)
        derivative = derivative - softmax(weighted) @ derivative
        return log_variances, np.column_stack([derivative, np.ones(len(log_density))])

"""Kernels of the kernelised method, each scaled by the data's own length (§A7)."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist

from semigroup.dynamics.koopman.dictionaries import mean_centred_norm

__all__ = ["KERNELS", "KernelName", "kernel_matrix", "kernel_scale"]

KernelName = Literal["gaussian", "laplacian", "lorentzian", "polynomial", "linear", "poly-exp"]

Rows = Float[np.ndarray, "n d"]
Columns = Float[np.ndarray, "m d"]
Matrix = Float[np.ndarray, "n m"]

POLY_EXP_DEGREE = 20


def _gaussian(x: Rows, y: Columns, scale: float, degree: int) -> Matrix:
    return np.exp(-cdist(x, y, "sqeuclidean") / scale**2)


def _laplacian(x: Rows, y: Columns, scale: float, degree: int) -> Matrix:
    return np.exp(-cdist(x, y) / scale)


def _lorentzian(x: Rows, y: Columns, scale: float, degree: int) -> Matrix:
    return 1 / (1 + cdist(x, y, "sqeuclidean") / scale**2)


def _polynomial(x: Rows, y: Columns, scale: float, degree: int) -> Matrix:
    return (1 + x @ y.T / scale**2) ** degree


def _linear(x: Rows, y: Columns, scale: float, degree: int) -> Matrix:
    return x @ y.T


def _poly_exp(x: Rows, y: Columns, scale: float, degree: int) -> Matrix:
    return np.exp(-cdist(x, y) / scale) * (1 + x @ y.T / scale**2) ** POLY_EXP_DEGREE


KERNELS: dict[str, Callable[[np.ndarray, np.ndarray, float, int], np.ndarray]] = {
    "gaussian": _gaussian,
    "laplacian": _laplacian,
    "lorentzian": _lorentzian,
    "polynomial": _polynomial,
    "linear": _linear,
    "poly-exp": _poly_exp,
}


def kernel_scale(kernel: str, states: Float[np.ndarray, "n d"]) -> float:
    """The data's length: the mean norm for the polynomial kernel, the mean distance from the mean for all others."""
    if kernel == "polynomial":
        norm = float(np.linalg.norm(states, axis=1).mean())
        return norm if norm > 0 else 1.0
    return mean_centred_norm(states)


def kernel_matrix(kernel: str, x: Rows, y: Columns, scale: float, degree: int = 2) -> Matrix:
    r"""Values :math:`k(x_i, y_j)` of a kernel.

    ===========  ==================================================================
    gaussian     :math:`e^{-\|x-y\|^2/d^2}`
    laplacian    :math:`e^{-\|x-y\|/d}`
    lorentzian   :math:`1/(1 + \|x-y\|^2/d^2)`
    polynomial   :math:`(1 + x\cdot y/d^2)^p`
    linear       :math:`x\cdot y`
    poly-exp     :math:`e^{-\|x-y\|/d}\,(1 + x\cdot y/d^2)^{20}`
    ===========  ==================================================================

    Parameters
    ----------
    kernel : str
    x, y : ndarray of shape (n, d), (m, d)
    scale : float
        :math:`d`, see `kernel_scale`.
    degree : int
        :math:`p` of the polynomial kernel.

    Examples
    --------
    >>> kernel_matrix("lorentzian", np.zeros((1, 2)), np.array([[3.0, 4.0]]), scale=5.0)
    array([[0.5]])
    """
    return KERNELS[kernel](x, y, scale, degree)

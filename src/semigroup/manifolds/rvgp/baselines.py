"""What a vector field is compared with: Gaussian processes that know neither the tangent spaces nor the transport."""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import pdist
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from semigroup.manifolds.rvgp.bundle import TangentBundle
from semigroup.operators import eigenpairs

__all__ = ["channelwise_rbf", "scalar_encoding"]


def scalar_encoding(bundle: TangentBundle, n_eigenpairs: int) -> Float[np.ndarray, "n k"]:
    r"""Positions by the eigenvectors of the scalar Laplacian, :math:`\sqrt n\, U`: the inputs of the paper's baseline."""
    return np.sqrt(bundle.n_points) * eigenpairs(bundle.laplacian, n_eigenpairs, complete=True).vectors


def channelwise_rbf(
    inputs: Float[np.ndarray, "observed d"],
    vectors: Float[np.ndarray, "observed D"],
    queries: Float[np.ndarray, "q d"],
    *,
    n_learning: int = 1000,
) -> Float[np.ndarray, "q D"]:
    """Regression of each coordinate of the vectors by one squared exponential kernel for all, with learnt parameters.

    Parameters
    ----------
    inputs, queries : array
        Coordinates of the points in space, or from `scalar_encoding`.
    vectors : array
    n_learning : int
        The parameters are learnt from the first this many vectors, and all are used in the prediction.
    """
    typical, variance = float(np.median(pdist(inputs))), float((vectors**2).mean())
    kernel = ConstantKernel(variance, (1e-3 * variance, 1e4 * variance)) * RBF(
        typical / 2, (typical / 1e3, typical * 10)
    )
    noise = WhiteKernel(0.01 * variance, (1e-8 * variance, 10 * variance))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a parameter at its bound is an answer
        learnt = GaussianProcessRegressor(kernel + noise).fit(inputs[:n_learning], vectors[:n_learning])
        if len(inputs) > n_learning:
            learnt = GaussianProcessRegressor(learnt.kernel_, optimizer=None).fit(inputs, vectors)
        return learnt.predict(queries)

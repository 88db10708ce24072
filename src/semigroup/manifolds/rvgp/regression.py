r"""Gaussian process regression with a kernel of rank k, exact, from statistics of a size that does not grow with the data.

The field is :math:`v = \Phi w` with weights :math:`w \sim N(0, S)`, S diagonal, and N values y are observed with noise of
variance :math:`\sigma^2`. With :math:`G = \Phi^\top\Phi`, :math:`b = \Phi^\top y`, :math:`R = S^{1/2}`,

.. math:: B = I + R^\top G R / \sigma^2, \qquad \beta = R^\top b / \sigma^2, \qquad u = B^{-1}\beta, \qquad
          e = \lVert y - \Phi R u\rVert^2

the matrix determinant and inversion lemmas give

.. math:: -2 \log p(y) = N \log 2\pi\sigma^2 + \log\det B + e / \sigma^2 + u^\top u,
          \qquad w \mid y \sim N(R u,\; R B^{-1} R^\top)

and the derivatives :math:`\partial(-2\log p)/\partial\log S_j = 1 - (B^{-1})_{jj} - u_j^2` and
:math:`\partial(-2\log p)/\partial\log\sigma^2 = N - \sum_j (1 - (B^{-1})_{jj}) - e/\sigma^2`. All that is seen of the data is
the triangular factor of :math:`(\Phi, y)`, taken once in O(N k²), in which e is a sum of squares that no cancellation spoils
where the noise is small. An evaluation is O(k³), or O(k) where G is diagonal, as it is where the field is observed at every
point.

**Inducing inputs** (Titsias 2009). Rows Z of :math:`\Phi` as inducing inputs replace S by
:math:`C = S^{1/2} \Pi S^{1/2}`, :math:`\Pi` the projection on the range of :math:`S^{1/2} Z^\top`: the same formulas hold with
:math:`R = S^{1/2} Q`, Q an orthonormal basis of that range, and the bound loses
:math:`\mathrm{tr}\,G(S - C) / 2\sigma^2`. With k independent rows :math:`\Pi = I` and the bound is the likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg
from jaxtyping import Float

__all__ = ["Posterior", "Statistics", "log_evidence", "posterior", "statistics"]


@dataclass(frozen=True)
class Statistics:
    r"""All that the likelihood sees of the data: :math:`y - \Phi w` is as long as ``target - root w`` and ``rest`` together.

    Attributes
    ----------
    root : array of shape (r, k) or (k,)
        A matrix with the Gram matrix :math:`G` of :math:`\Phi`, or its diagonal where it is diagonal.
    target : array of shape (r,)
    rest : float
        Squared length of the part of y that no weights can reach.
    n_values : int
        N.
    """

    root: Float[np.ndarray, "r k"] | Float[np.ndarray, " k"]
    target: Float[np.ndarray, " r"]
    rest: float
    n_values: int

    @cached_property
    def gram(self) -> Float[np.ndarray, "k k"]:
        """G."""
        return np.diag(self.root**2) if self.root.ndim == 1 else self.root.T @ self.root

    def moment(self) -> Float[np.ndarray, " k"]:
        """b."""
        return self.root * self.target if self.root.ndim == 1 else self.root.T @ self.target

    def misfit(self, weights: Float[np.ndarray, " k"]) -> float:
        """e, for some weights."""
        reached = self.root * weights if self.root.ndim == 1 else self.root @ weights
        return float(((self.target - reached) ** 2).sum()) + self.rest


def statistics(
    features: Float[np.ndarray, "N k"], values: Float[np.ndarray, " N"], *, orthogonal: bool = False
) -> Statistics:
    r"""The statistics of values observed of a field.

    Parameters
    ----------
    features : array of shape (N, k)
        :math:`\Phi`.
    values : array of shape (N,)
        y.
    orthogonal : bool
        The columns are known to be orthogonal.

    Examples
    --------
    >>> data = statistics(np.array([[1.0], [1.0]]), np.array([1.0, 3.0]))
    >>> data.gram.round(6), data.moment().round(6), round(data.misfit(np.array([2.0])), 6)
    (array([[2.]]), array([4.]), 2.0)
    """
    k = features.shape[1]
    if orthogonal:
        root = np.linalg.norm(features, axis=0)
        target = features.T @ values / root
        return Statistics(root, target, float(((values - features @ (target / root)) ** 2).sum()), len(values))
    triangle = scipy.linalg.qr(np.column_stack([features, values]), mode="r", overwrite_a=True, check_finite=False)[0]
    triangle = triangle[: k + 1]
    rest = float(triangle[k, k] ** 2) if len(triangle) > k else 0.0
    return Statistics(triangle[:k, :k], triangle[:k, k], rest, len(values))


@dataclass(frozen=True)
class Posterior:
    """Weights given the data: mean, and a factor whose product with its transpose is the covariance."""

    mean: Float[np.ndarray, " k"]
    factor: Float[np.ndarray, "k r"]


def log_evidence(
    data: Statistics,
    log_variances: Float[np.ndarray, " k"],
    log_noise: float,
    inducing: Float[np.ndarray, "M k"] | None = None,
) -> tuple[float, Float[np.ndarray, " k"], float]:
    r"""Log marginal likelihood, or Titsias' bound of it, and its derivatives.

    Parameters
    ----------
    data : Statistics
    log_variances : array of shape (k,)
        :math:`\log S_j`.
    log_noise : float
        :math:`\log\sigma^2`.
    inducing : array of shape (M, k), optional
        Inducing inputs, as rows of :math:`\Phi`.

    Returns
    -------
    value : float
    by_log_variances : array of shape (k,)
    by_log_noise : float

    Examples
    --------
    One value y = 2 observed of w ~ N(0, 3) with unit noise, hence y ~ N(0, 4):

    >>> data = statistics(np.ones((1, 1)), np.array([2.0]))
    >>> log_evidence(data, np.log([3.0]), 0.0)[0], float(-0.5 * np.log(8 * np.pi) - 0.5)
    (-2.1120..., -2.1120...)
    """
    noise = np.exp(log_noise)
    if inducing is not None:
        return _titsias_bound(data, log_variances, noise, inducing)
    scale = np.exp(log_variances / 2)
    beta = scale * data.moment() / noise
    if data.root.ndim == 1:
        inner = 1 + (scale * data.root) ** 2 / noise
        inverse_diagonal, u, log_det = 1 / inner, beta / inner, float(np.log(inner).sum())
    else:
        inner = data.gram * (scale[:, None] * scale / noise)
        inner.flat[:: len(scale) + 1] += 1
        inverse_diagonal, u, log_det = _solve(inner, beta)
    value, by_log_noise = _gaussian(data, noise, log_det, inverse_diagonal, scale * u, u)
    return value, -0.5 * (1 - inverse_diagonal - u**2), by_log_noise


def _solve(inner: np.ndarray, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Diagonal of the inverse of a positive definite matrix, its solution, its log-determinant."""
    factor = scipy.linalg.cholesky(inner, lower=True, check_finite=False)
    # The rows of L^{-1} are the columns of L^{-T}: their squares add up to the diagonal of the inverse.
    root = scipy.linalg.lapack.dtrtri(factor, lower=1)[0]
    return (root**2).sum(axis=0), root.T @ (root @ beta), 2 * float(np.log(np.diag(factor)).sum())


def _gaussian(
    data: Statistics, noise: float, log_det: float, inverse_diagonal: np.ndarray, weights: np.ndarray, u: np.ndarray
) -> tuple[float, float]:
    """Log-density of the observed values, and its derivative by the logarithm of the noise."""
    misfit = data.misfit(weights) / noise
    value = -0.5 * (data.n_values * np.log(2 * np.pi * noise) + log_det + misfit + u @ u)
    return float(value), float(-0.5 * (data.n_values - (1 - inverse_diagonal).sum() - misfit))


def _titsias_bound(
    data: Statistics, log_variances: np.ndarray, noise: float, inducing: np.ndarray
) -> tuple[float, np.ndarray, float]:
    scale = np.exp(log_variances / 2)
    basis = _range_basis(scale, inducing)[0]
    root = scale[:, None] * basis
    inner, beta = np.eye(root.shape[1]) + root.T @ data.gram @ root / noise, root.T @ data.moment() / noise
    inverse_diagonal, u, log_det = _solve(inner, beta)
    value, by_log_noise = _gaussian(data, noise, log_det, inverse_diagonal, root @ u, u)
    lost = float(np.diag(data.gram) @ scale**2 - np.einsum("ja,ja->", root, data.gram @ root)) / (2 * noise)
    # With dC/dlog S_j = E_j C + C E_j - S^{1/2} Π E_j Π S^{1/2} and the derivative Γ of the bound by C.
    gap = (data.moment() - data.gram @ (root @ u)) / noise
    spread = data.gram @ root
    by_covariance = 0.5 * (np.outer(gap, gap) + spread @ scipy.linalg.solve(inner, spread.T, assume_a="pos") / noise**2)
    scaled = scale[:, None] * by_covariance * scale
    projection = basis @ basis.T
    shared = projection @ scaled
    by_log_variances = 2 * np.diag(shared) - np.diag(shared @ projection) - np.diag(data.gram) * scale**2 / (2 * noise)
    return value - lost, by_log_variances, by_log_noise + lost


def _range_basis(scale: np.ndarray, inducing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal bases of the range of S^{1/2} Z^T and of what is orthogonal to it."""
    left, singular, _ = np.linalg.svd(scale[:, None] * inducing.T, full_matrices=True)
    rank = int((singular > 1e-12 * singular[0]).sum())
    return left[:, :rank], left[:, rank:]


def posterior(
    data: Statistics,
    log_variances: Float[np.ndarray, " k"],
    log_noise: float,
    inducing: Float[np.ndarray, "M k"] | None = None,
) -> Posterior:
    """Distribution of the weights given the data; the arguments are those of `log_evidence`.

    Examples
    --------
    >>> data = statistics(np.ones((1, 1)), np.array([2.0]))
    >>> result = posterior(data, np.log([3.0]), 0.0)
    >>> result.mean.round(6), (result.factor @ result.factor.T).round(6)
    (array([1.5]), array([[0.75]]))
    """
    noise, scale = np.exp(log_noise), np.exp(log_variances / 2)
    basis, rest = np.eye(len(scale)), np.empty((len(scale), 0))
    if inducing is not None:
        basis, rest = _range_basis(scale, inducing)
    root = scale[:, None] * basis
    inner = np.eye(root.shape[1]) + root.T @ data.gram @ root / noise
    lower = scipy.linalg.cholesky(inner, lower=True, check_finite=False)
    mean = root @ scipy.linalg.cho_solve((lower, True), root.T @ data.moment() / noise)
    factor = scipy.linalg.solve_triangular(lower, root.T, lower=True).T
    # Of what the inducing inputs do not see, the prior is left.
    return Posterior(mean, np.hstack([factor, scale[:, None] * rest]))

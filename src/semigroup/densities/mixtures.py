"""Gaussian mixtures and their exact fields along a path: the ground truth of every sampler, and a way to see what one does.

A mixture stays a mixture under ``x_t = alpha x_0 + beta x_1 + gamma z``, so its log-density, score, velocity, denoiser and
posterior means are known in closed form (Albergo, Boffi and Vanden-Eijnden 2023, arXiv 2303.08797, appendix A).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semigroup.base import check_array

__all__ = ["GaussianMixture", "MixturePath", "PathCoefficients"]


class GaussianMixture:
    """A mixture of Gaussians in float64, with exact fields.

    Parameters
    ----------
    weights : array-like, shape (component,)
        Positive; scaled to sum to one.
    means : array-like, shape (component, dim)
    covariances : array-like, shape (component, dim, dim) or (component,)
        Symmetric positive semi-definite; one number a component stands for that multiple of the identity. A singular
        covariance (an atom: 0) can be sampled and diffused, but has no density itself.

    Raises
    ------
    ValueError
        If the shapes do not match, a weight is not positive or a covariance not symmetric positive semi-definite.

    Examples
    --------
    >>> mixture = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [0.1, 0.1])
    >>> round(mixture.score(torch.full((1, 1), 1.1, dtype=torch.float64)).item(), 6)
    -1.0
    """

    def __init__(self, weights: Any, means: Any, covariances: Any) -> None:
        means = torch.as_tensor(check_array(means, "means", ndim=2))
        weights = torch.as_tensor(check_array(weights, "weights", ndim=1))
        covariances = torch.as_tensor(check_array(covariances, "covariances", ndim=(1, 3)))
        n, dim = means.shape
        if weights.shape != (n,) or (weights <= 0).any():
            raise ValueError(f"weights must be {n} positive numbers, one a row of means, got {weights.tolist()}")
        if covariances.ndim == 1:
            covariances = covariances[:, None, None] * torch.eye(dim, dtype=torch.float64)
        if covariances.shape != (n, dim, dim):
            raise ValueError(f"covariances must have shape {(n, dim, dim)} or {(n,)}, got {tuple(covariances.shape)}")
        values, vectors = torch.linalg.eigh(covariances)
        if not torch.allclose(covariances, covariances.mT) or (values < -1e-9 * values.abs().amax()).any():
            raise ValueError("covariances must be symmetric and positive semi-definite")
        straight = torch.equal(vectors, torch.eye(dim, dtype=torch.float64).expand_as(vectors))
        self._set(weights / weights.sum(), means, values.clamp(min=0), None if straight else vectors)

    def _set(self, weights: Tensor, means: Tensor, variances: Tensor, axes: Tensor | None) -> None:
        """Covariances by eigenvalues and eigenvectors; None where these are the coordinate axes, which saves the turning."""
        self.weights, self.means = weights, means
        self._variances, self._axes = variances, axes

    @classmethod
    def _from_axes(cls, weights: Tensor, means: Tensor, variances: Tensor, axes: Tensor | None) -> GaussianMixture:
        """A mixture from parts that are known to be right, of any kind of tensor that automatic differentiation makes."""
        mixture = cls.__new__(cls)
        mixture._set(weights, means, variances, axes)
        return mixture

    @property
    def covariances(self) -> Float[Tensor, "component dim dim"]:
        """Covariances of the components."""
        if self._axes is None:
            return torch.diag_embed(self._variances)
        return (self._axes * self._variances[:, None, :]) @ self._axes.mT

    @property
    def dim(self) -> int:
        """Dimension of the space."""
        return self.means.shape[1]

    def log_prob(self, x: Float[Tensor, "batch dim"]) -> Float[Tensor, " batch"]:
        """Log-density, in nats."""
        return self._joint(x)[0].logsumexp(0)

    def responsibilities(self, x: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch component"]:
        """Probability of each component given x."""
        return self._posterior(x)[0].T

    def score(self, x: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Gradient of the log-density."""
        return -_mean(*self._posterior(x))

    def sample(self, n: int, generator: torch.Generator) -> Float[Tensor, "n dim"]:
        """Independent draws."""
        return self.sample_with_components(n, generator)[0]

    def sample_with_components(
        self, n: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "n dim"], Int[Tensor, " n"]]:
        """Independent draws, and the component of each."""
        component = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        z = torch.randn(n, self.dim, dtype=torch.float64, generator=generator)
        # One product with the square root of the covariance for each component, not a matrix for each draw.
        x = torch.empty_like(z)
        deviations = self._variances.sqrt()
        roots = torch.diag_embed(deviations) if self._axes is None else self._axes * deviations[:, None, :]
        for k, (mean, root) in enumerate(zip(self.means, roots)):
            here = component == k
            x[here] = mean + z[here] @ root.T
        return x, component

    def diffuse(self, scale: float | Tensor, std: float | Tensor) -> GaussianMixture:
        """Law of ``scale x + std z``, z standard Gaussian and independent.

        Examples
        --------
        >>> GaussianMixture([1.0], [[2.0]], [3.0]).diffuse(0.5, 1.0).covariances.item()
        1.75
        """
        variances = scale**2 * self._variances + std**2
        return self._from_axes(self.weights, scale * self.means, variances, self._axes)

    def denoise(
        self, x: Float[Tensor, "batch dim"], scale: float | Tensor, std: float | Tensor
    ) -> Float[Tensor, "batch dim"]:
        """Posterior mean ``E[x_0 | scale x_0 + std z = x]``: what a perfect denoiser returns (Tweedie's formula).

        Examples
        --------
        >>> x = torch.ones(1, 1, dtype=torch.float64)
        >>> GaussianMixture([1.0], [[0.0]], [1.0]).denoise(x, 1.0, 1.0).item()
        0.5
        """
        weights, whitened = self.diffuse(scale, std)._posterior(x)
        # E[x_0 | x, component] = mean + scale C (scale^2 C + std^2)^{-1} (x - scale mean), which stays defined at scale 0.
        inner = self.means[:, None] + scale * _product(self._spread, whitened)
        return _mean(weights, inner)

    @property
    def _spread(self) -> Tensor:
        """Covariances, or their diagonals where they are diagonal."""
        return self._variances if self._axes is None else self.covariances

    # Components come first in what follows: sums over them are then sums of whole columns, several times faster than of
    # short rows.

    def _joint(
        self, x: Float[Tensor, "batch dim"]
    ) -> tuple[Float[Tensor, "component batch"], Float[Tensor, "component batch dim"]]:
        """Log of weight times density of each component, and ``C_k^{-1} (x - m_k)``."""
        if (self._variances == 0).any():
            raise ValueError("the mixture has a singular covariance and no density; diffuse it first")
        gap = x - self.means[:, None]
        along = gap if self._axes is None else gap @ self._axes
        scaled = along / self._variances[:, None]
        log_volume = self._variances.log().sum(1) + self.dim * math.log(2 * math.pi)
        log_joint = (self.weights.log() - log_volume / 2)[:, None] - (along * scaled).sum(2) / 2
        return log_joint, scaled if self._axes is None else scaled @ self._axes.mT

    def _posterior(
        self, x: Float[Tensor, "batch dim"]
    ) -> tuple[Float[Tensor, "component batch"], Float[Tensor, "component batch dim"]]:
        """Probability of each component given x, and ``C_k^{-1} (x - m_k)``."""
        log_joint, whitened = self._joint(x)
        return log_joint.softmax(0), whitened


@dataclass(frozen=True)
class PathCoefficients:
    """alpha, beta, gamma of a path at one time and their derivatives.

    Of gamma's derivative only the product with gamma is needed, which stays finite where the derivative does not.
    """

    alpha: float
    beta: float
    gamma: float
    alpha_dot: float
    beta_dot: float
    gamma_gamma_dot: float


class MixturePath:
    """Exact fields of ``x_t = alpha x_0 + beta x_1 + gamma z`` between two independent mixtures.

    Parameters
    ----------
    source, target : GaussianMixture
        Laws of x_0 and x_1.
    coefficients : callable
        Gives the `PathCoefficients` at a time.

    Examples
    --------
    >>> normal = GaussianMixture([1.0], [[0.0]], [1.0])
    >>> straight = MixturePath(normal, normal, lambda t: PathCoefficients(1 - t, t, 0.0, -1.0, 1.0, 0.0))
    >>> straight.velocity(torch.ones(1, 1, dtype=torch.float64), 0.0).item()
    -1.0
    """

    def __init__(
        self, source: GaussianMixture, target: GaussianMixture, coefficients: Callable[[float], PathCoefficients]
    ) -> None:
        if source.dim != target.dim:
            raise ValueError(f"target must have the source's dimension {source.dim}, got {target.dim}")
        self.source, self.target, self.coefficients = source, target, coefficients

    def density(self, t: float) -> GaussianMixture:
        """The law of x_t: a component for every pair of components, the target's running fastest."""
        return self._law(self.coefficients(t))

    def log_prob(self, x: Float[Tensor, "batch dim"], t: float) -> Float[Tensor, " batch"]:
        """Log-density of x_t, in nats."""
        return self.density(t).log_prob(x)

    def score(self, x: Float[Tensor, "batch dim"], t: float) -> Float[Tensor, "batch dim"]:
        """Gradient of the log-density of x_t."""
        return self.density(t).score(x)

    def denoiser(self, x: Float[Tensor, "batch dim"], t: float) -> Float[Tensor, "batch dim"]:
        """``E[z | x_t = x] = -gamma score``."""
        return -self.coefficients(t).gamma * self.score(x, t)

    def velocity(self, x: Float[Tensor, "batch dim"], t: float) -> Float[Tensor, "batch dim"]:
        """``E[d x_t / dt | x_t = x]``, which carries the law of x_0 to that of x_1."""
        c = self.coefficients(t)
        return self._velocity(c, *self._law(c)._posterior(x))

    def velocity_and_score(
        self, x: Float[Tensor, "batch dim"], t: float
    ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch dim"]]:
        """Both at little more than the cost of one."""
        c = self.coefficients(t)
        posterior = self._law(c)._posterior(x)
        return self._velocity(c, *posterior), -_mean(*posterior)

    def _velocity(
        self,
        c: PathCoefficients,
        weights: Float[Tensor, "component batch"],
        whitened: Float[Tensor, "component batch dim"],
    ) -> Float[Tensor, "batch dim"]:
        means, half_rates = self._moments(
            c.alpha_dot, c.beta_dot, c.alpha * c.alpha_dot, c.beta * c.beta_dot, c.gamma_gamma_dot
        )
        return _mean(weights, means[:, None] + _product(half_rates, whitened))

    def _moments(self, a: float, b: float, aa: float, bb: float, gg: float) -> tuple[Tensor, Tensor]:
        """``a m_0 + b m_1`` and ``aa C_0 + bb C_1 + gg I`` for every pair of components, the latter as `_spread`."""
        m0, m1 = self.source.means, self.target.means
        means = (a * m0[:, None] + b * m1).flatten(0, 1)
        if self.source._axes is None and self.target._axes is None:
            C0, C1 = self.source._variances, self.target._variances
            return means, (aa * C0[:, None] + bb * C1 + gg).flatten(0, 1)
        C0, C1 = self.source.covariances, self.target.covariances
        identity = torch.eye(self.source.dim, dtype=torch.float64)
        return means, (aa * C0[:, None] + bb * C1 + gg * identity).flatten(0, 1)

    def _law(self, c: PathCoefficients) -> GaussianMixture:
        weights = (self.source.weights[:, None] * self.target.weights).flatten()
        means, spread = self._moments(c.alpha, c.beta, c.alpha**2, c.beta**2, c.gamma**2)
        variances, axes = (spread, None) if spread.ndim == 2 else torch.linalg.eigh(spread)
        return GaussianMixture._from_axes(weights, means, variances.clamp(min=0), axes)


def _mean(
    weights: Float[Tensor, "component batch"], values: Float[Tensor, "component batch dim"]
) -> Float[Tensor, "batch dim"]:
    """Sum over the components, weighted."""
    return (weights[..., None] * values).sum(0)


def _product(spread: Tensor, rows: Float[Tensor, "component batch dim"]) -> Float[Tensor, "component batch dim"]:
    """Rows times the matrix of their component, symmetric or given by its diagonal."""
    return rows * spread[:, None] if spread.ndim == 2 else rows @ spread

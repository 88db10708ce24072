"""Pairs of distributions whose entropic transport plan is known in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp, softmax

from semigroup.base import check_integer, check_number, numpy_generator

__all__ = ["MixtureBridge", "mixture_bridge", "swiss_roll"]


@dataclass(frozen=True)
class MixtureBridge:
    """A standard Gaussian source and the mixture target to which the entropic plan is a known Gaussian mixture.

    The plan is ``pi(x1 | x0) ~ exp(-|x0 - x1|^2 / (2 epsilon)) sum_n N(x1 | means_n, covariances_n)``; its marginal at
    the end is the target.

    Attributes
    ----------
    epsilon : float
        Noise level: the reference process is ``sqrt(epsilon)`` times a Brownian motion on [0, 1].
    means : array, shape (n_components, dim)
    covariances : array, shape (n_components, dim, dim)
    """

    epsilon: float
    means: Float[np.ndarray, "component dim"]
    covariances: Float[np.ndarray, "component dim dim"]

    @property
    def plan_covariances(self) -> Float[np.ndarray, "component dim dim"]:
        """Covariance of each component of the plan, ``P_n = (I / epsilon + covariances_n^-1)^-1``."""
        identity = np.eye(self.means.shape[1])
        return np.linalg.inv(identity / self.epsilon + np.linalg.inv(self.covariances))

    def plan(
        self, x0: Float[np.ndarray, "batch dim"]
    ) -> tuple[Float[np.ndarray, "batch component"], Float[np.ndarray, "batch component dim"]]:
        """Weights and means of the plan's components at `x0`; their covariances are `plan_covariances`."""
        spread = self.covariances + self.epsilon * np.eye(self.means.shape[1])
        gaps = x0[:, None, :] - self.means
        distances = np.einsum("bnd,nde,bne->bn", gaps, np.linalg.inv(spread), gaps)
        weights = softmax(-(distances + np.linalg.slogdet(spread)[1]) / 2, axis=1)
        P = self.plan_covariances
        pulls = np.einsum("nde,ne->nd", np.linalg.inv(self.covariances), self.means)
        return weights, np.einsum("nde,bne->bnd", P, x0[:, None, :] / self.epsilon + pulls)

    def plan_moments(
        self, x0: Float[np.ndarray, "batch dim"]
    ) -> tuple[Float[np.ndarray, "batch dim"], Float[np.ndarray, "batch dim dim"]]:
        """Mean and covariance of the plan at `x0`."""
        weights, means = self.plan(x0)
        mean = np.einsum("bn,bnd->bd", weights, means)
        gaps = means - mean[:, None, :]
        within = np.einsum("bn,nde->bde", weights, self.plan_covariances)
        return mean, within + np.einsum("bn,bnd,bne->bde", weights, gaps, gaps)

    def log_plan(
        self, x0: Float[np.ndarray, "batch dim"], x1: Float[np.ndarray, "batch dim"]
    ) -> Float[np.ndarray, " batch"]:
        """Log-density of the plan, ``log pi(x1 | x0)``, of each pair of rows."""
        weights, means = self.plan(x0)
        gaps, P = x1[:, None, :] - means, self.plan_covariances
        distances = np.einsum("bnd,nde,bne->bn", gaps, np.linalg.inv(P), gaps)
        logdet = np.linalg.slogdet(2 * np.pi * P)[1]
        with np.errstate(divide="ignore"):  # a weight may underflow to 0: its component has no part in the sum
            return np.asarray(logsumexp(np.log(weights) - (distances + logdet) / 2, axis=1))

    def sample_source(self, n: int, rng: np.random.Generator) -> Float[np.ndarray, "n dim"]:
        """Rows of the source, N(0, I)."""
        return rng.standard_normal((n, self.means.shape[1]))

    def sample_plan(
        self, x0: Float[np.ndarray, "batch dim"], rng: np.random.Generator
    ) -> Float[np.ndarray, "batch dim"]:
        """One draw of the plan for each row of `x0`."""
        weights, means = self.plan(x0)
        chosen = (rng.random((len(x0), 1)) > weights.cumsum(1)[:, :-1]).sum(1)
        roots = np.linalg.cholesky(self.plan_covariances)
        noise = np.einsum("bde,be->bd", roots[chosen], rng.standard_normal(x0.shape))
        return means[np.arange(len(x0)), chosen] + noise

    def sample_target(self, n: int, rng: np.random.Generator) -> Float[np.ndarray, "n dim"]:
        """Rows of the target, independent of any source rows in hand."""
        return self.sample_plan(self.sample_source(n, rng), rng)


def mixture_bridge(
    dim: int, epsilon: float, *, n_components: int = 5, radius: float = 5.0, random_state: int | None = None
) -> MixtureBridge:
    """A random instance: component means uniform on a sphere, covariances with random axes and variances in [1/2, 2].

    Modelled on the mixtures benchmark for entropic optimal transport, whose own parameters are not redistributed.

    Parameters
    ----------
    dim : int
    epsilon : float
    n_components : int
    radius : float
        Of the sphere that carries the means.
    random_state : int, optional

    References
    ----------
    Gushchin, N. et al. (2023). Building the Bridge of Schrödinger: A Continuous Entropic Optimal Transport Benchmark.
    arXiv:2306.10161.

    Examples
    --------
    >>> truth = mixture_bridge(2, 1.0, random_state=0)
    >>> rng = np.random.default_rng(0)
    >>> truth.sample_plan(truth.sample_source(3, rng), rng).shape
    (3, 2)
    """
    dim, n_components = check_integer(dim, "dim", minimum=1), check_integer(n_components, "n_components", minimum=1)
    epsilon = check_number(epsilon, "epsilon", above=0)
    rng = numpy_generator(random_state)
    directions = rng.standard_normal((n_components, dim))
    means = radius * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    values = np.exp(rng.uniform(np.log(0.5), np.log(2.0), (n_components, dim)))
    # The sign convention makes the orthogonal factor Haar-distributed.
    Q, R = np.linalg.qr(rng.standard_normal((n_components, dim, dim)))
    Q = Q * np.sign(np.diagonal(R, axis1=1, axis2=2))[:, None, :]
    return MixtureBridge(epsilon, means, (Q * values[:, None, :]) @ np.swapaxes(Q, 1, 2))


def swiss_roll(n: int, *, random_state: int | None = None) -> tuple[Any, Any]:
    """A standard Gaussian and the planar Swiss roll, `n` rows each: the usual two-dimensional example.

    Examples
    --------
    >>> X0, X1 = swiss_roll(100, random_state=0)
    >>> X0.shape, X1.shape
    ((100, 2), (100, 2))
    """
    from sklearn.datasets import make_swiss_roll

    rng = numpy_generator(random_state)
    roll, _ = make_swiss_roll(n, noise=0.8, random_state=int(rng.integers(2**31)))
    return rng.standard_normal((n, 2)), roll[:, [0, 2]] / 7.5

"""The perturbation kernel and its exact posterior means."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.special import betaln
from torch import Tensor

from semigroup.base import check_array, check_number

__all__ = ["PointSetDenoiser", "beta_noise", "check_dimension", "posterior_mean", "student_noise"]

# Longest draw of sqrt(D / chi), whose square single precision still holds with room for a network's sums. Beyond lie 4e-6 of
# the draws at D = 0.35, and 3 % at the least D.
LONGEST = 1e15
LEAST_DIMENSION = 0.1


def check_dimension(D: Any) -> float:
    """`D` as a float, infinity allowed.

    Raises
    ------
    TypeError
        If `D` is no real number.
    ValueError
        If it is NaN, not positive, or so small that much of the noise leaves the range of single precision.
    """
    if isinstance(D, numbers.Real) and float(D) == math.inf:
        return math.inf
    number = check_number(D, "D", above=0)
    if number < LEAST_DIMENSION:
        raise ValueError(
            f"D must be at least {LEAST_DIMENSION:g}, got {D!r}: more than 3 % of the noise would lie beyond {LONGEST:g} sigma, "
            "where single precision ends"
        )
    return number


def student_noise(
    n: int,
    n_features: int,
    D: float,
    generator: torch.Generator,
    *,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "n n_features"]:
    """Noise of the perturbation kernel at sigma = 1: multivariate Student with D degrees of freedom.

    ``z sqrt(D / chi)``, z standard Gaussian and chi chi-squared with D degrees of freedom, one number a sample. The Gaussian
    is drawn first, so that one seed gives the same z for every D. The root is at most 1e15.

    Parameters
    ----------
    n, n_features : int
    D : float
        Degrees of freedom; infinity gives Gaussian noise.
    generator : torch.Generator
        The noise is on its device.
    dtype : torch.dtype

    Returns
    -------
    Tensor, shape (n, n_features)

    Examples
    --------
    >>> noise = student_noise(20_000, 3, 5.0, torch.Generator().manual_seed(0))
    >>> round(noise.square().mean().item(), 1)  # D / (D - 2)
    1.7
    """
    z = torch.randn(n, n_features, generator=generator, dtype=dtype, device=generator.device)
    if math.inf == D:
        return z
    log_chi = math.log(2) + _log_gamma_draws(n, D / 2, generator)
    log_length = ((math.log(D) - log_chi) / 2).clamp(max=math.log(LONGEST))
    return z.mul_(log_length.exp().to(dtype)[:, None])


def beta_noise(
    n: int,
    n_features: int,
    D: float,
    generator: torch.Generator,
    *,
    dtype: torch.dtype = torch.float64,
    clip: float = 0.0,
) -> Float[Tensor, "n n_features"]:
    """The same noise as `student_noise` by the published route, for comparison: a Beta radius times a direction.

    ``R^2 = r^2 B / (1 - B)`` with B ~ Beta(N/2, D/2) and r = sqrt(D). In single precision B is exactly 1 for some draws at small
    D, and the noise infinite; clipping cuts the tails that small D is chosen for.

    Parameters
    ----------
    n, n_features : int
    D : float
        Finite.
    generator : torch.Generator
    dtype : torch.dtype
        In which B is formed.
    clip : float
        Keep B within [clip, 1 - clip].

    Returns
    -------
    Tensor, shape (n, n_features)

    Examples
    --------
    >>> beta_noise(4, 3, 1.0, torch.Generator()).shape
    torch.Size([4, 3])
    """
    first, second = (_log_gamma_draws(n, half, generator).exp() for half in (n_features / 2, D / 2))
    share = (first / (first + second)).to(dtype)
    if clip:
        share = share.clamp(clip, 1 - clip)
    radius = (D * share / (1 - share)).sqrt()
    direction = torch.randn(n, n_features, generator=generator, dtype=dtype, device=generator.device)
    return radius[:, None] * direction / direction.norm(dim=1, keepdim=True)


def _log_gamma_draws(n: int, shape: float, generator: torch.Generator) -> Float[Tensor, " n"]:
    """Logarithms of draws of the standard gamma law, in float64."""
    # Gamma(a) = Gamma(a + 1) U^(1/a): for small a the draw itself would underflow.
    raised = torch.full((n,), shape + (shape < 1), dtype=torch.float64, device=generator.device)
    draws = torch._standard_gamma(raised, generator).log()
    if shape < 1:
        uniform = torch.rand(n, generator=generator, dtype=torch.float64, device=generator.device)
        draws = draws + torch.log1p(-uniform) / shape
    return draws


def posterior_mean(
    x: Float[Tensor, "batch n_features"],
    sigma: Float[Tensor, " batch"],
    points: Float[Tensor, "point n_features"],
    D: float,
    *,
    log_prior: Float[Tensor, " point"] | None = None,
    allowed: Bool[Tensor, "batch point"] | None = None,
) -> Float[Tensor, "batch n_features"]:
    """Mean of the point that a noisy x came from: ``sum_i w_i y_i``, ``w_i ~ prior_i (|x - y_i|^2 + sigma^2 D)^(-(N+D)/2)``.

    Parameters
    ----------
    x : Tensor, shape (batch, n_features)
    sigma : Tensor, shape (batch,)
    points : Tensor, shape (point, n_features)
    D : float
    log_prior : Tensor, shape (point,), optional
        By default all points count alike.
    allowed : Tensor of bool, shape (batch, point), optional
        Which points a row may have come from; at least one a row.

    Returns
    -------
    Tensor, shape (batch, n_features)
        In the type of `x`; weights are computed in float64.

    Examples
    --------
    >>> points = torch.tensor([[-1.0], [1.0]])
    >>> posterior_mean(torch.tensor([[0.0]]), torch.ones(1), points, 1.0).item()
    0.0
    """
    y = points.double()
    weights = _log_kernel(x.double(), sigma.double(), y, D)
    if log_prior is not None:
        weights = weights + log_prior
    if allowed is not None:
        weights = weights.masked_fill(~allowed, -math.inf)
    return (weights.softmax(1) @ y).to(x.dtype)


def _log_kernel(
    x: Float[Tensor, "batch n_features"],
    sigma: Float[Tensor, " batch"],
    y: Float[Tensor, "point n_features"],
    D: float,
) -> Float[Tensor, "batch point"]:
    """Logarithm of the kernel over its value at its centre."""
    # The origin is moved to the points, so that squared distances lose no digits to a common offset.
    center = y.mean(0)
    x, y = x - center, y - center
    squared = (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T).relu_()
    scaled = squared / sigma.square()[:, None]
    if math.inf == D:
        return scaled / -2
    return torch.log1p(scaled / D) * (-(x.shape[1] + D) / 2)


class PointSetDenoiser:
    """The perfect denoiser of a set of weighted points: the ground truth of a trained one, and a sampler without training.

    Parameters
    ----------
    points : array-like or Tensor, shape (point, *shape)
    weights : array-like, shape (point,), optional
        Positive; scaled to sum to one. By default all points count alike.
    D : float
        Added dimensions; infinity is diffusion.

    Raises
    ------
    ValueError, TypeError
        If there are no points, a value is NaN or infinite, or a weight is not positive.

    Examples
    --------
    >>> denoise = PointSetDenoiser([[-1.0], [1.0]], D=1.0)
    >>> x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    >>> [round(value, 3) for value in denoise(x, 1.0).flatten().tolist()]
    [0.0, 0.667]
    """

    def __init__(self, points: Any, weights: Any = None, *, D: float = math.inf) -> None:
        rows = check_array(points, "points")
        if rows.ndim < 2:
            raise ValueError(f"points must have at least 2 axes, got shape {rows.shape}")
        if weights is None:
            weights = np.ones(len(rows))
        prior = check_array(weights, "weights", ndim=1)
        if prior.shape != (len(rows),) or (prior <= 0).any():
            raise ValueError(f"weights must be {len(rows)} positive numbers, one a point, got shape {prior.shape}")
        self.D = check_dimension(D)
        self.points = torch.from_numpy(rows.reshape(len(rows), -1))
        self.log_prior = torch.from_numpy(np.log(prior / prior.sum()))

    def __call__(
        self, x: Float[Tensor, "batch *shape"], sigma: float | Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *shape"]:
        """Posterior mean at the noise level `sigma`, one number or one a row."""
        levels = self._levels(x, sigma)
        points, prior = self.points.to(x.device), self.log_prior.to(x.device)
        return posterior_mean(x.flatten(1), levels, points, self.D, log_prior=prior).reshape(x.shape)

    def log_prob(
        self, x: Float[Tensor, "batch *shape"], sigma: float | Float[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """Log-density of the noisy points, in nats: a mixture of multivariate Student laws (float64)."""
        levels, n = self._levels(x, sigma).double(), self.points.shape[1]
        kernel = _log_kernel(x.flatten(1).double(), levels, self.points.to(x.device), self.D)
        if math.inf == self.D:
            peak = -n / 2 * math.log(2 * math.pi)
        else:
            # log Gamma((n + D) / 2) - log Gamma(D / 2), whose difference is lost in rounding for large D.
            rise = math.lgamma(n / 2) - float(betaln(n / 2, self.D / 2))
            peak = rise - n / 2 * math.log(math.pi * self.D)
        return (kernel + self.log_prior.to(x.device)).logsumexp(1) + peak - n * levels.log()

    def prior(self, n: int, sigma: float, generator: torch.Generator) -> Float[Tensor, "n n_features"]:
        """Where sampling starts: noise at the level `sigma` around the points' mean, in float64."""
        mean = self.log_prior.exp() @ self.points
        noise = student_noise(n, len(mean), self.D, generator, dtype=torch.float64)
        return mean.to(noise.device) + sigma * noise

    def _levels(self, x: Tensor, sigma: float | Tensor) -> Float[Tensor, " batch"]:
        if x[0].numel() != self.points.shape[1]:
            raise ValueError(f"x must have {self.points.shape[1]} numbers a row, got shape {tuple(x.shape)}")
        return torch.as_tensor(sigma, dtype=torch.float64, device=x.device).expand(len(x))

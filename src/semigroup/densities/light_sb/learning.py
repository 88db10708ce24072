"""The trainable potential and the two losses."""

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from semigroup.densities.light_sb.potential import Potential, drift, log_normalizer, log_potential

__all__ = ["LightPotential", "kl_loss", "matching_loss", "minibatch_assignment"]

# The published training stops short of t = 1, where the regression target of matching has infinite variance.
LAST_MATCHING_TIME = 0.99


class LightPotential(nn.Module):
    """The trainable potential; calling it gives the `Potential`.

    Trained are ``epsilon log alpha``, r, ``log S`` and, for full covariances, skew matrices A_k whose Cayley transforms
    ``(I + A_k)^-1 (I - A_k)`` rotate the axes. Every covariance is within reach, since the one kind of rotation that
    the transform leaves out (eigenvalue -1) differs from one that it reaches by signs of columns, which S does not see.

    Parameters
    ----------
    start : Potential
        Where training starts.
    covariance : {"scalar", "diagonal", "full"}
        What the S_k may be: multiples of the identity, diagonal, or any symmetric positive definite matrices.
    """

    def __init__(self, start: Potential, covariance: str) -> None:
        super().__init__()
        self.epsilon, (n_components, dim) = start.epsilon, start.centers.shape
        # The published scaling: a step of the optimiser moves log alpha by 1 / epsilon.
        self.scaled_log_weights = nn.Parameter(start.epsilon * start.log_weights)
        self.centers = nn.Parameter(start.centers.clone())
        free = start.variances[:, :1] if covariance == "scalar" else start.variances
        self.log_variances = nn.Parameter(free.log())
        self.base: Tensor | None
        self.register_buffer("base", None)
        if covariance == "full":
            identity = torch.eye(dim, dtype=start.centers.dtype, device=start.centers.device)
            self.base = (identity.repeat(n_components, 1, 1) if start.rotations is None else start.rotations).clone()
            self.skew = nn.Parameter(start.centers.new_zeros(n_components, dim * (dim - 1) // 2))

    def forward(self) -> Potential:
        """The potential at the present parameters."""
        return Potential(
            log_weights=self.scaled_log_weights / self.epsilon,
            centers=self.centers,
            variances=self.log_variances.exp().expand_as(self.centers),
            rotations=None if self.base is None else self.base @ self._turn(self.base),
            epsilon=self.epsilon,
        )

    def _turn(self, like: Tensor) -> Float[Tensor, "component dim dim"]:
        """Cayley transforms of the skew matrices."""
        dim = like.shape[-1]
        i, j = torch.tril_indices(dim, dim, -1, device=like.device)
        A = torch.zeros_like(like)
        A[:, i, j] = self.skew
        A = A - A.mT
        identity = torch.eye(dim, dtype=like.dtype, device=like.device)
        return torch.linalg.solve(identity + A, identity - A)


def kl_loss(
    potential: Potential, x0: Float[Tensor, "batch0 dim"], x1: Float[Tensor, "batch1 dim"]
) -> Float[Tensor, ""]:
    """``E log c(x0) - E log v(x1)``: the KL divergence from the true plan, up to a constant of the data."""
    return log_normalizer(potential, x0).mean() - log_potential(potential, x1).mean()


def matching_loss(
    potential: Potential,
    x0: Float[Tensor, "batch dim"],
    x1: Float[Tensor, "batch dim"],
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """Squared error of the drift against that of Brownian bridges between coupled rows (the follow-up's loss)."""
    t = LAST_MATCHING_TIME * torch.rand(len(x0), generator=generator, dtype=x0.dtype, device=x0.device)
    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    s = t[:, None]
    x = (1 - s) * x0 + s * x1 + (potential.epsilon * s * (1 - s)).sqrt() * noise
    return (drift(potential, x, t) - (x1 - x) / (1 - s)).square().sum(-1).mean()


def minibatch_assignment(x0: Float[Tensor, "batch dim"], x1: Float[Tensor, "batch dim"]) -> Int[Tensor, " batch"]:
    """The row of `x1` for each row of `x0` under optimal transport within the batch."""
    cost = cdist(x0.cpu().numpy(), x1.cpu().numpy(), "sqeuclidean")
    return torch.from_numpy(linear_sum_assignment(cost)[1]).to(x0.device)

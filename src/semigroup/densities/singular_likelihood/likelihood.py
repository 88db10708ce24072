"""The log-likelihood of ``x = f(z) + sigma e`` and its lower bounds, for all members at once, in nats a row.

With ``log p(x | z) = -|x - f(z)|^2 / (2 sigma^2) - D log sigma - D/2 log 2 pi``:

    elbo          E_q log p(x | z) - KL(q(z | x) || N(0, I))                                      <= log p(x)
    importance    log 1/K sum_k w_k,  log w_k = log p(x | z_k) + log p(z_k) - log q(z_k | x)      <= log p(x) on average
    quadrature    log 1/M sum_m p(x | z_m),  one z_m in each of M cells of equal probability      -> log p(x)

On average importance weights give the elbo at K = 1 and rise with K. All sums of exponentials are taken in logarithms.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from semigroup.densities.singular_likelihood.networks import Autoencoders

__all__ = [
    "elbo",
    "importance_bound",
    "log_importance_weights",
    "quadrature",
    "quadrature_log_terms",
    "stratified_codes",
]


def elbo(
    network: Autoencoders, x: Float[Tensor, "member batch dim"], eta: Float[Tensor, "member batch latent"]
) -> Float[Tensor, "member batch"]:
    """Evidence lower bound with one draw a row and the divergence in closed form.

    Parameters
    ----------
    network : Autoencoders
    x : Tensor, shape (member, batch, dim)
    eta : Tensor, shape (member, batch, latent)
        Standard normal numbers.
    """
    mean, log_variance = network.encode(x)
    z = mean + (log_variance / 2).exp() * eta
    divergence = (mean.square() + log_variance.exp() - log_variance - 1).sum(-1) / 2
    squared = (x - network.decode(z)).square().sum(-1)
    return _log_normal(squared, network.log_sigma[:, None], x.shape[-1]) - divergence


def log_importance_weights(
    network: Autoencoders, x: Float[Tensor, "member batch dim"], eta: Float[Tensor, "member batch draw latent"]
) -> Float[Tensor, "member batch draw"]:
    """``log w_k`` of draws ``z_k`` from the encoder."""
    mean, log_variance = network.encode(x)
    z = mean[:, :, None] + (log_variance / 2).exp()[:, :, None] * eta
    decoded = network.decode(z.flatten(1, 2)).unflatten(1, eta.shape[1:3])
    squared = (x[:, :, None] - decoded).square().sum(-1)
    # log p(z) - log q(z | x): the normalising constants cancel.
    ratio = (eta.square() - z.square()).sum(-1) / 2 + log_variance.sum(-1)[:, :, None] / 2
    return _log_normal(squared, network.log_sigma[:, None, None], x.shape[-1]) + ratio


def importance_bound(
    network: Autoencoders, x: Float[Tensor, "member batch dim"], eta: Float[Tensor, "member batch draw latent"]
) -> Float[Tensor, "member batch"]:
    """Importance-weighted bound with as many draws as `eta` has for each row."""
    logs = log_importance_weights(network, x, eta)
    return torch.logsumexp(logs, dim=-1) - math.log(logs.shape[-1])


def stratified_codes(
    n_members: int,
    n_per_axis: int,
    n_latent: int,
    generator: torch.Generator | None,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "member node latent"]:
    """Standard normal codes, one in each cell of a grid of equal probability: at random in it, or in the middle."""
    axes = torch.arange(n_per_axis, dtype=torch.float64, device=device)
    cells = torch.cartesian_prod(*[axes] * n_latent).reshape(-1, n_latent).expand(n_members, -1, -1)
    if generator is None:
        inside = torch.full_like(cells, 0.5)
    else:
        inside = torch.rand(cells.shape, generator=generator, dtype=torch.float64, device=device)
    uniform = ((cells + inside) / n_per_axis).clamp(1e-12, 1 - 1e-12)  # a draw may be 0, whose code is infinite
    return torch.special.ndtri(uniform).float()


def quadrature_log_terms(
    network: Autoencoders, x: Float[Tensor, "member batch dim"], codes: Float[Tensor, "member node latent"]
) -> Float[Tensor, "member batch node"]:
    """``log p(x | z_m)`` of all rows and nodes."""
    # |x|^2 + |f|^2 - 2 x'f loses the digits that a small sigma asks for, unless they are there.
    rows, decoded = x.double(), network.decode(codes).double()
    squares = rows.square().sum(-1)[:, :, None] + decoded.square().sum(-1)[:, None, :]
    squared = torch.baddbmm(squares, rows, decoded.mT, alpha=-2)
    return _log_normal(squared, network.log_sigma.double()[:, None, None], x.shape[-1])


def quadrature(
    network: Autoencoders, x: Float[Tensor, "member batch dim"], codes: Float[Tensor, "member node latent"]
) -> Float[Tensor, "member batch"]:
    """Log-likelihood by the sum over nodes. Exact up to the grid: its spacing in x must be well below sigma."""
    logs = quadrature_log_terms(network, x, codes)
    return torch.logsumexp(logs, dim=-1) - math.log(logs.shape[-1])


def _log_normal(squared: Tensor, log_sigma: Tensor, dim: int) -> Tensor:
    """Log-density of N(0, sigma^2 I) at a squared distance."""
    return -squared * torch.exp(-2 * log_sigma) / 2 - dim * (log_sigma + math.log(2 * math.pi) / 2)

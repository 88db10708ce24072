"""The potential as a Gaussian mixture, and what follows from it in closed form: the plan, its moments, the drift.

Letters and formulas are those of the package's docstring. Everything is in coordinates relative to a common centre.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = [
    "Potential",
    "component_logits",
    "conditional_covariance",
    "conditional_mean",
    "drift",
    "log_conditional",
    "log_normalizer",
    "log_potential",
    "recenter",
    "sample_conditional",
]


@dataclass(frozen=True)
class Potential:
    """The adjusted Schrödinger potential ``v = sum_k alpha_k N(r_k, epsilon S_k)``; symbols in the package's table."""

    log_weights: Float[Tensor, " component"]
    centers: Float[Tensor, "component dim"]
    variances: Float[Tensor, "component dim"]
    rotations: Float[Tensor, "component dim dim"] | None
    epsilon: float

    def to(self, device: torch.device | str) -> "Potential":
        """The same potential on a device."""
        return Potential(
            self.log_weights.to(device),
            self.centers.to(device),
            self.variances.to(device),
            None if self.rotations is None else self.rotations.to(device),
            self.epsilon,
        )


def log_potential(potential: Potential, x1: Float[Tensor, "batch dim"]) -> Float[Tensor, " batch"]:
    """``log v(x1)``."""
    precision = 1 / (potential.epsilon * potential.variances)
    weighted = _multiply(precision, potential.rotations, potential.centers)
    # |x - r|^2 in the metric of the component, expanded so that it costs matrix products and no (batch, K, D) array.
    distances = (
        _quadratic(x1, precision, potential.rotations) - 2 * x1 @ weighted.T + (potential.centers * weighted).sum(-1)
    )
    logdet = (2 * math.pi * potential.epsilon * potential.variances).log().sum(-1)
    return torch.logsumexp(potential.log_weights - (distances + logdet) / 2, dim=-1)


def component_logits(potential: Potential, x0: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch component"]:
    """Logarithms of the terms of c(x0); their softmax are the weights of the plan's components."""
    exponent = _quadratic(x0, potential.variances, potential.rotations) / 2 + x0 @ potential.centers.T
    return potential.log_weights + exponent / potential.epsilon


def log_normalizer(potential: Potential, x0: Float[Tensor, "batch dim"]) -> Float[Tensor, " batch"]:
    """``log c(x0)``."""
    return torch.logsumexp(component_logits(potential, x0), dim=-1)


def log_conditional(
    potential: Potential, x0: Float[Tensor, "batch dim"], x1: Float[Tensor, "batch dim"]
) -> Float[Tensor, " batch"]:
    """``log pi(x1 | x0)`` of each pair of rows."""
    return (x0 * x1).sum(-1) / potential.epsilon + log_potential(potential, x1) - log_normalizer(potential, x0)


def drift(
    potential: Potential, x: Float[Tensor, "batch dim"], t: Float[Tensor, ""] | Float[Tensor, " batch"]
) -> Float[Tensor, "batch dim"]:
    """Drift g(x, t) of the bridge, by the package's formula; one time for all rows, or one a row."""
    S, Q = potential.variances, potential.rotations
    t = t.reshape(-1, 1, 1) if t.ndim else t
    G = 1 / (t * S + (1 - t))
    # Row, component and axis; with rotations x and r are seen along the component's own axes.
    y = x[:, None, :] if Q is None else torch.einsum("bd,kde->bke", x, Q)
    r = potential.centers if Q is None else torch.einsum("kd,kde->ke", potential.centers, Q)
    stretch, pull = (S - 1) * G, G * r
    quadratic = _contract(y * y, stretch) + 2 * _contract(y, pull) - (t * pull * r).sum(-1)
    w = torch.softmax(potential.log_weights + G.log().sum(-1) / 2 + quadratic / (2 * potential.epsilon), dim=-1)
    if Q is None:
        return x * _mix(w, stretch) + _mix(w, pull)
    return torch.einsum("bke,kde->bd", w[:, :, None] * (stretch * y + pull), Q)


def conditional_mean(potential: Potential, x0: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
    """``E[x1 | x0]``, the barycentric map."""
    return x0 + drift(potential, x0, torch.zeros((), dtype=x0.dtype, device=x0.device))


def conditional_covariance(potential: Potential, x0: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim dim"]:
    """``Cov[x1 | x0]``: the mean of the components' covariances plus the covariance of their means."""
    w = torch.softmax(component_logits(potential, x0), dim=-1)
    S = _dense(potential.variances, potential.rotations)
    means = potential.centers + torch.einsum("kde,be->bkd", S, x0)
    gaps = means - torch.einsum("bk,bkd->bd", w, means)[:, None, :]
    within = potential.epsilon * torch.einsum("bk,kde->bde", w, S)
    return within + torch.einsum("bkd,bke->bde", w[:, :, None] * gaps, gaps)


def sample_conditional(
    potential: Potential, x0: Float[Tensor, "batch dim"], generator: torch.Generator, n_samples: int = 1
) -> Float[Tensor, "batch draw dim"]:
    """Draws of the plan for each row: first the component, then the Gaussian."""
    probabilities = torch.softmax(component_logits(potential, x0), dim=-1)
    chosen = torch.multinomial(probabilities, n_samples, replacement=True, generator=generator)
    spread = (potential.epsilon * potential.variances).sqrt()
    shape = (*chosen.shape, x0.shape[1])
    noise = torch.randn(shape, generator=generator, dtype=x0.dtype, device=x0.device)
    x = x0[:, None, :].expand(shape)
    if potential.rotations is None:
        return potential.centers[chosen] + potential.variances[chosen] * x + spread[chosen] * noise
    moves = torch.empty_like(noise)
    for k in chosen.unique().tolist():  # one matrix product a component, rather than one rotation a draw in memory
        drawn, Q = chosen == k, potential.rotations[k]
        moves[drawn] = (potential.variances[k] * (x[drawn] @ Q) + spread[k] * noise[drawn]) @ Q.T
    return potential.centers[chosen] + moves


def recenter(potential: Potential, shift: Float[Tensor, " dim"]) -> Potential:
    """The same plan with the origin moved by `shift`."""
    S = _dense(potential.variances, potential.rotations)
    moved = torch.einsum("kde,e->kd", S, shift) - shift
    # log of each term of c at the new origin, which is the old point `shift`
    logits = component_logits(potential, shift[None, :])[0]
    return Potential(logits, potential.centers + moved, potential.variances, potential.rotations, potential.epsilon)


def _quadratic(
    x: Float[Tensor, "batch dim"], values: Float[Tensor, "component dim"], rotations: Tensor | None
) -> Float[Tensor, "batch component"]:
    """``x' Q_k diag(values_k) Q_k' x`` of every row and component."""
    if rotations is None:
        return (x * x) @ values.T
    return (torch.einsum("bd,kde->bke", x, rotations).square() * values).sum(-1)


def _multiply(
    values: Float[Tensor, "component dim"], rotations: Tensor | None, r: Float[Tensor, "component dim"]
) -> Float[Tensor, "component dim"]:
    """``Q_k diag(values_k) Q_k' r_k`` of every component."""
    if rotations is None:
        return values * r
    return torch.einsum("kde,ke->kd", rotations, values * torch.einsum("kde,kd->ke", rotations, r))


def _dense(values: Float[Tensor, "component dim"], rotations: Tensor | None) -> Float[Tensor, "component dim dim"]:
    """``Q_k diag(values_k) Q_k'`` of every component."""
    if rotations is None:
        return torch.diag_embed(values)
    return (rotations * values[:, None, :]) @ rotations.mT


def _contract(
    y: Float[Tensor, "batch #component dim"],
    values: Float[Tensor, "component dim"] | Float[Tensor, "batch component dim"],
) -> Float[Tensor, "batch component"]:
    """``sum_d y values``: a matrix product where neither factor has all three axes."""
    return y[:, 0] @ values.T if y.shape[1] == 1 and values.ndim == 2 else (y * values).sum(-1)


def _mix(
    w: Float[Tensor, "batch component"],
    values: Float[Tensor, "component dim"] | Float[Tensor, "batch component dim"],
) -> Float[Tensor, "batch dim"]:
    """``sum_k w_k values_k``."""
    return w @ values if values.ndim == 2 else torch.einsum("bk,bkd->bd", w, values)

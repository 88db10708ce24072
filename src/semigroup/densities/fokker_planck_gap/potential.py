"""Potentials and their derivatives: the value, the time derivative, the gradient and the Laplacian in one pass.

Letters are those of the package's docstring. Any callable ``potential(x, t)`` that torch can differentiate twice will do;
`PotentialNetwork` has all derivatives in closed form, layer by layer, which is several times faster than nested automatic
differentiation and can itself be differentiated in the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from semigroup.nn.mlp import MLP
from semigroup.sde import divergence

__all__ = ["ACTIVATIONS", "Jet", "Potential", "PotentialNetwork", "Score", "derivatives", "hessian", "score_of"]

Potential = Callable[[Tensor, Tensor], Tensor]
Score = Callable[[Tensor, Tensor], Tensor]
Activation = Literal["softplus", "silu", "tanh"]
ACTIVATIONS: tuple[Activation, ...] = ("softplus", "silu", "tanh")

KINKED = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.RReLU,
    nn.Threshold,
    nn.Hardtanh,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Hardshrink,
    nn.Softshrink,
    nn.MaxPool1d,
)


@dataclass(frozen=True)
class Jet:
    """A potential's derivatives at a batch of points: everything that the residual is made of.

    Attributes
    ----------
    value, time, laplacian : Tensor, shape (batch,)
    gradient : Tensor, shape (batch, dim)
    """

    value: Float[Tensor, " batch"]
    time: Float[Tensor, " batch"]
    gradient: Float[Tensor, "batch dim"]
    laplacian: Float[Tensor, " batch"]


class PotentialNetwork(nn.Module):
    """A multilayer perceptron phi(x, t) with its score and its jet in closed form.

    Parameters
    ----------
    dim : int
    hidden : sequence of int
        Widths of the hidden layers.
    activation : {"softplus", "silu", "tanh"}
        Twice differentiable, or the Laplacian would be zero almost everywhere.
    beta : float
        Sharpness of the softplus.

    Examples
    --------
    >>> network = PotentialNetwork(2, (16, 16))
    >>> jet = network.jet(torch.zeros(5, 2), torch.rand(5))
    >>> jet.gradient.shape, jet.laplacian.shape
    (torch.Size([5, 2]), torch.Size([5]))
    """

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int] = (80, 80, 80),
        *,
        activation: Activation = "softplus",
        beta: float = 20.0,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation must be twice differentiable, one of {', '.join(map(repr, ACTIVATIONS))}, got "
                f"{activation!r}: with a "
                "piecewise linear one the Laplacian of the potential is zero almost everywhere"
            )
        self.activation, self.beta = activation, beta
        module: dict[str, Callable[[], nn.Module]] = {
            "softplus": partial(nn.Softplus, beta=beta),
            "silu": nn.SiLU,
            "tanh": nn.Tanh,
        }
        self.layers = MLP(dim, 1, hidden, activation=module[activation], time="concatenate")

    def forward(self, x: Float[Tensor, "batch dim"], t: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        return self.layers(x, t)[:, 0]

    def score(self, x: Float[Tensor, "batch dim"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch dim"]:
        """The gradient in x, by the chain rule from the last layer to the first."""
        first, *rest = self.linear_layers()
        hidden = first(torch.cat([t[:, None], x], dim=1))
        slopes = []
        for layer in rest[:-1]:
            value, slope = self._activate(hidden)
            slopes.append(slope)
            hidden = layer(value)
        gradient = rest[-1].weight * self._slope(hidden)
        for layer, slope in zip(reversed(rest[:-1]), reversed(slopes), strict=True):
            gradient = gradient @ layer.weight * slope
        return gradient @ first.weight[:, 1:]

    def jet(self, x: Float[Tensor, "batch dim"], t: Float[Tensor, " batch"]) -> Jet:
        """All derivatives at once, carried from the first layer to the last.

        Where a layer's output is h, its derivatives along the inputs D_i h and its Laplacian lap h, a linear layer multiplies all
        of them by its weights, and an activation a makes them ``a'(h) D_i h`` and ``a''(h) sum_i (D_i h)^2 + a'(h) lap h``.
        """
        first, *rest = self.linear_layers()
        dim = x.shape[1]
        value = first(torch.cat([t[:, None], x], dim=1))[None]
        # The same in every row; all parts keep a leading axis, so that one split takes them apart.
        time, slopes = first.weight.T[:, None, :].split([1, dim])
        laplacian = torch.zeros_like(value)
        for layer in rest:
            hidden = value
            value, slope = self._activate(hidden)
            bent = self._bend(hidden, value, slope) * slopes.square().sum(0, keepdim=True)
            rows = torch.cat([value, slope * time, slope * slopes, bent + slope * laplacian])
            # One product for all of them.
            moved = (rows.reshape(-1, rows.shape[2]) @ layer.weight.T).reshape(*rows.shape[:2], -1)
            value, time, slopes, laplacian = moved.split([1, 1, dim, 1])
            value = value + layer.bias
        return Jet(value[0, :, 0], time[0, :, 0], slopes[:, :, 0].T, laplacian[0, :, 0])

    def linear_layers(self) -> list[nn.Linear]:
        """The linear layers from the first to the last."""
        return [module for module in self.layers.modules() if isinstance(module, nn.Linear)]

    def _activate(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """The activation and its derivative."""
        if self.activation == "tanh":
            value = torch.tanh(h)
            return value, 1 - value**2
        if self.activation == "silu":
            gate = torch.sigmoid(h)
            return h * gate, gate * (1 + h * (1 - gate))
        return F.softplus(h, self.beta), torch.sigmoid(self.beta * h)

    def _slope(self, h: Tensor) -> Tensor:
        """The activation's derivative alone, where its value is not needed."""
        return torch.sigmoid(self.beta * h) if self.activation == "softplus" else self._activate(h)[1]

    def _bend(self, h: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        """The activation's second derivative, from what `_activate` gave."""
        if self.activation == "tanh":
            return -2 * value * slope
        if self.activation == "silu":
            gate = torch.sigmoid(h)
            return gate * (1 - gate) * (2 + h * (1 - 2 * gate))
        return self.beta * slope * (1 - slope)


def score_of(potential: Potential) -> Score:
    """The score ``grad phi`` of a potential, as a function of (x, t).

    Examples
    --------
    >>> score_of(lambda x, t: -x.square().sum(1))(torch.ones(1, 2), torch.zeros(1))
    tensor([[-2., -2.]])
    """
    _check_smooth(potential)
    if isinstance(potential, PotentialNetwork):
        return potential.score
    return lambda x, t: torch.func.grad(lambda y: _value(potential, y, t).sum())(x)


def derivatives(
    potential: Potential,
    x: Float[Tensor, "batch dim"],
    t: Float[Tensor, " batch"],
    *,
    probes: Float[Tensor, "probe batch dim"] | None = None,
) -> Jet:
    """Value, time derivative, gradient and Laplacian of any potential.

    Parameters
    ----------
    potential : callable
        ``potential(x, t)`` gives one number a row, each of its own row only.
    x : Tensor, shape (batch, dim)
    t : Tensor, shape (batch,)
    probes : Tensor, shape (probe, batch, dim), optional
        Random signs (`semigroup.sde.rademacher`), for Hutchinson's estimate of the Laplacian; the exact one costs a derivative
        a column.

    Raises
    ------
    ValueError
        If the potential gives more than one number a row, or has an activation that is not twice differentiable.

    Examples
    --------
    >>> jet = derivatives(lambda x, t: t * x.square().sum(1), torch.ones(1, 2), torch.full((1,), 3.0))
    >>> jet.value.item(), jet.time.item(), jet.gradient.tolist(), jet.laplacian.item()
    (6.0, 2.0, [[6.0, 6.0]], 12.0)
    """
    _check_smooth(potential)
    if isinstance(potential, PotentialNetwork) and probes is None:
        return potential.jet(x, t)
    score = score_of(potential)
    gradient, laplacian = divergence(lambda y: score(y, t), x, probes=probes)
    value, time = torch.func.jvp(lambda s: _value(potential, x, s), (t,), (torch.ones_like(t),))  # type: ignore[misc]
    return Jet(value, time, gradient, laplacian)


def hessian(
    potential: Potential, x: Float[Tensor, "batch dim"], t: Float[Tensor, " batch"]
) -> Float[Tensor, "batch dim dim"]:
    """Second derivatives in x, one column for each coordinate, by forward differentiation of the score.

    Examples
    --------
    >>> hessian(lambda x, t: x.prod(1), torch.ones(1, 2), torch.zeros(1)).tolist()
    [[[0.0, 1.0], [1.0, 0.0]]]
    """
    score = score_of(potential)

    def column(direction: Tensor) -> Tensor:
        return torch.func.jvp(lambda y: score(y, t), (x,), (direction.expand_as(x),))[1]

    return torch.func.vmap(column, out_dims=2)(torch.eye(x.shape[1], dtype=x.dtype, device=x.device))


def _value(potential: Potential, x: Tensor, t: Tensor) -> Tensor:
    value = potential(x, t)
    if value.shape != x.shape[:1]:
        raise ValueError(
            f"potential must give one number a row, shape {tuple(x.shape[:1])}, got {tuple(value.shape)}; a model that gives the "
            "score itself has only the gradient of the residual: score_residual"
        )
    return value


def _check_smooth(potential: Potential) -> None:
    """Refuse modules whose second derivatives are zero almost everywhere."""
    if isinstance(potential, nn.Module) and not isinstance(potential, PotentialNetwork):
        kinked = {type(module).__name__ for module in potential.modules() if isinstance(module, KINKED)}
        if kinked:
            raise ValueError(
                f"potential must be twice differentiable, and it holds {', '.join(sorted(kinked))}, whose second "
                "derivative is zero "
                "almost everywhere; Softplus, SiLU and Tanh will do"
            )

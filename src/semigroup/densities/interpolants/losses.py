"""What the fields of an interpolant are regressed on, and the networks that learn them.

Every field is a conditional expectation ``f(t, x) = E[target | x_t = x]`` and minimises ``E[|f|^2 / 2 - target . f]``, which is
``E|f - target|^2 / 2`` up to a constant, and stays finite where the target's variance does not:

    name    field                          target
    b       velocity                       dI/dt + gamma' z
    v       spatial velocity               dI/dt
    eta     denoiser                       z           (one-sided: x0, which is the noise)
    s       score                          -z / gamma  (one-sided: -inv(C0) x0 / alpha)
    energy  score, as minus a gradient     the score's
    eta0    posterior mean of the source   x0
    eta1    posterior mean of the target   x1

Near both ends the targets of b and s are of the order 1 / gamma. In the sum over an antithetic pair ``I + gamma z`` and
``I - gamma z`` that part cancels, which bounds the variance of the loss and of its gradient (the paper's antithetic sampling).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from semigroup.base import check_integer
from semigroup.densities.interpolants.paths import Interpolant, LinearInterpolant, OneSidedSBDM, Zero, along
from semigroup.nn.mlp import MLP
from semigroup.nn.unet import ImageUNet
from semigroup.sde import divergence

__all__ = [
    "FIELDS",
    "FieldNetwork",
    "FieldNetworks",
    "OneSidedNetwork",
    "check_widths",
    "draw_pairs",
    "field_targets",
    "implicit_score_loss",
    "interpolant_loss",
    "needs_antithetic",
    "regression_loss",
]

Network = Callable[[Tensor, Tensor], Tensor]
FIELDS = ("b", "v", "eta", "s", "energy", "eta0", "eta1")


def regression_loss(
    prediction: Float[Tensor, "batch *shape"], target: Float[Tensor, "batch *shape"]
) -> Float[Tensor, ""]:
    """``E[|f|^2 / 2 - target . f]``, summed over coordinates and averaged over rows.

    Examples
    --------
    >>> regression_loss(torch.ones(2, 3), torch.ones(2, 3)).item()
    -1.5
    """
    return torch.dot(prediction.flatten(), torch.sub(target, prediction, alpha=0.5).flatten()) / -len(prediction)


def implicit_score_loss(
    score: Callable[[Tensor], Tensor],
    x: Float[Tensor, "batch *shape"],
    *,
    probes: Float[Tensor, "probe batch *shape"] | None = None,
) -> Float[Tensor, ""]:
    """Implicit score matching, ``E[|s|^2 + 2 div s]``: twice ``E|s - grad log rho|^2 / 2`` up to a constant, from samples alone.

    Parameters
    ----------
    score : callable
    x : Tensor, shape (batch, *shape)
        Draws of the density.
    probes : Tensor, optional
        Signs for Hutchinson's estimate of the divergence, from `semigroup.sde.rademacher`; by default it is exact.

    References
    ----------
    Hyvärinen, A. (2005). Estimation of non-normalized statistical models by score matching. JMLR 6.

    Examples
    --------
    >>> x = torch.randn(100_000, 1, generator=torch.Generator().manual_seed(0))
    >>> round(implicit_score_loss(lambda x: -x, x).item(), 1)  # minus the Fisher information of N(0, 1)
    -1.0
    """
    value, trace = divergence(score, x, probes=probes)
    return (value.square().flatten(1).sum(1) + 2 * trace).mean()


def needs_antithetic(interpolant: Interpolant, learn: Sequence[str]) -> bool:
    """Whether the loss is evaluated at pairs: with latent noise, or where a one-sided target is singular at the end."""
    if interpolant.sides == "one":
        return bool({"s", "energy"} & set(learn)) or (isinstance(interpolant, OneSidedSBDM) and "b" in learn)
    return not isinstance(interpolant.gamma, Zero)


def draw_pairs(
    interpolant: Interpolant,
    t: Float[Tensor, " batch"],
    x0: Float[Tensor, "batch *shape"],
    x1: Float[Tensor, "batch *shape"],
    z: Float[Tensor, "batch *shape"] | None,
    antithetic: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """Times, states and what they are made of, ``(t, x_t, x0, x1, z)``; with `antithetic` the second half has the noise reversed.

    One-sided, the noise is `x0` and z is None.
    """
    if antithetic:
        t, x1 = torch.cat([t, t]), torch.cat([x1, x1])
        x0 = torch.cat([x0, -x0 if interpolant.sides == "one" else x0])
        z = None if z is None else torch.cat([z, -z])
    x = interpolant.mean(t, x0, x1)
    if z is not None:
        x = x + along(interpolant.gamma.value(t), z) * z
    return t, x, x0, x1, z


def field_targets(
    interpolant: Interpolant,
    learn: Sequence[str],
    t: Float[Tensor, " batch"],
    x0: Float[Tensor, "batch *shape"],
    x1: Float[Tensor, "batch *shape"],
    z: Float[Tensor, "batch *shape"] | None,
    precision: Float[Tensor, "dim dim"] | None = None,
) -> dict[str, Tensor]:
    """The target of each field in `learn`, as the table above says.

    Parameters
    ----------
    precision : Tensor, shape (dim, dim), optional
        inv(C0) of a one-sided interpolant's Gaussian; the identity by default.
    """
    targets: dict[str, Tensor] = {}
    rate = interpolant.rate(t, x0, x1) if {"b", "v"} & set(learn) else None
    for name in learn:
        if name in ("b", "v"):
            assert rate is not None
            noise = 0.0 if name == "v" or z is None else along(interpolant.gamma.rate(t), z) * z
            targets[name] = rate + noise
        elif name == "eta":
            targets[name] = x0 if z is None else z
        elif name in ("s", "energy"):
            if z is None:
                assert isinstance(interpolant, LinearInterpolant)
                whitened = x0 if precision is None else x0 @ precision
                targets[name] = -whitened / along(interpolant.alpha(t), x0)
            else:
                targets[name] = -z / along(interpolant.gamma.value(t), z)
        else:
            targets[name] = x0 if name == "eta0" else x1
    return targets


def interpolant_loss(
    interpolant: Interpolant,
    learn: Sequence[str],
    predict: Callable[[Tensor, Tensor], Mapping[str, Tensor]],
    t: Float[Tensor, " batch"],
    x0: Float[Tensor, "batch *shape"],
    x1: Float[Tensor, "batch *shape"],
    z: Float[Tensor, "batch *shape"] | None,
    *,
    precision: Float[Tensor, "dim dim"] | None = None,
) -> Float[Tensor, ""]:
    """Sum of the fields' losses on one batch, with antithetic pairs where they are needed.

    Parameters
    ----------
    interpolant : Interpolant
    learn : sequence of str
        Names of the fields, of the table above.
    predict : callable
        ``predict(x, t)`` gives all the fields in `learn` by name, shape (batch, *shape) each.
    t : Tensor, shape (batch,)
    x0, x1, z : Tensor, shape (batch, *shape)
        z is None where there is no latent noise.
    precision : Tensor, optional
        As for `field_targets`.

    Examples
    --------
    >>> from semigroup.densities.interpolants import make_interpolant
    >>> x = torch.zeros(4, 2)
    >>> linear = make_interpolant("linear")
    >>> interpolant_loss(
    ...     linear, ("eta",), lambda x, t: {"eta": 0 * x}, torch.rand(4), x, x, torch.ones(4, 2)
    ... ).item() == 0
    True
    """
    t, x, x0, x1, z = draw_pairs(interpolant, t, x0, x1, z, needs_antithetic(interpolant, learn))
    targets = field_targets(interpolant, learn, t, x0, x1, z, precision)
    predictions = predict(x, t)
    losses = [regression_loss(predictions[name], target) for name, target in targets.items()]
    return losses[0] if len(losses) == 1 else torch.stack(losses).sum()


def check_widths(hidden: Any) -> None:
    """Refuse what is no sequence of at least one layer's width."""
    if not isinstance(hidden, Sequence | np.ndarray) or isinstance(hidden, str):
        raise TypeError(f"hidden must be a sequence of integers, got {hidden!r}")
    if not len(hidden):
        raise ValueError("hidden must hold the width of at least one layer")
    for width in hidden:
        check_integer(width, "hidden", minimum=1)


class FieldNetwork(nn.Module):
    """A field of rows or images at a time each, stated in the data's own units around a network in standard ones.

    Parameters
    ----------
    shape : tuple of int
        Of one row: (dim,) or (channels, size, size).
    hidden : sequence of int
        Widths of the perceptron that rows get.
    activation : {"silu", "relu"}
    unet_width : int
        Channels of the U-Net's first level, which images get.
    shift : Tensor
        Centre of the data, broadcastable to `shape`.
    scale_in, scale_out : float
        Unit of the data, and of the field.
    energy : bool
        The network is a scalar, and the field minus its gradient.

    Examples
    --------
    >>> FieldNetwork((2,), (16, 16))(torch.zeros(3, 2), torch.rand(3)).shape
    torch.Size([3, 2])
    """

    shift: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        hidden: Sequence[int] = (128, 128),
        *,
        activation: Literal["silu", "relu"] = "silu",
        unet_width: int = 32,
        shift: Tensor | None = None,
        scale_in: float = 1.0,
        scale_out: float = 1.0,
        energy: bool = False,
    ) -> None:
        super().__init__()
        self.scale_in, self.scale_out, self.energy = scale_in, scale_out, energy
        self.register_buffer("shift", torch.zeros(shape) if shift is None else shift.float().expand(shape).clone())
        self.backbone: nn.Module
        if len(shape) == 1:
            kind = nn.SiLU if activation == "silu" else nn.ReLU
            self.backbone = MLP(shape[0], 1 if energy else shape[0], hidden, activation=kind, time="concatenate")
        else:
            # As often as the size can be halved with two pixels left at the bottom, twice at most.
            levels = 1 + min(2, int(math.log2(shape[1] & -shape[1])), int(math.log2(shape[1])) - 1)
            self.backbone = ImageUNet(shape[0], shape[1], width=unet_width, multipliers=(1, 2, 2)[:levels])
        if energy:
            # The bias of the last layer has no gradient, and several processes would wait for it.
            list(self.backbone.parameters())[-1].requires_grad_(False)

    def forward(self, x: Float[Tensor, "batch *shape"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *shape"]:
        x = (x - self.shift) / self.scale_in
        if self.energy:
            return -self.scale_out * torch.func.grad(lambda x: self.backbone(x, t).sum())(x)
        return self.scale_out * self.backbone(x, t)


class OneSidedNetwork(FieldNetwork):
    """The denoiser or the posterior mean of a one-sided interpolant, as a correction to what they are for Gaussian data.

    The velocity divides ``x - alpha eta0`` by beta and ``x - beta eta1`` by alpha, where one of them vanishes. With
    ``V = alpha^2 c + beta^2 sigma^2``, c and sigma^2 the variances of noise and data and m the data's mean, the forms

        eta0 = alpha c (x - beta m) / V + beta sigma sqrt(c / V) N
        eta1 = m + beta sigma^2 (x - beta m) / V + alpha sigma sqrt(c / V) N

    keep both quotients bounded whatever the network N says, and give ``b(0, x) = alpha'(0) x + beta'(0) m`` exactly. They are the
    scalings of Karras et al. (2022, arXiv:2206.00364) for an interpolant.

    Parameters
    ----------
    shape, hidden, activation, unet_width
        As for `FieldNetwork`.
    interpolant : LinearInterpolant
        One-sided.
    field : {"eta", "eta1"}
    mean : Tensor, shape (*shape,)
        m.
    deviation, noise_variance : float
        sigma and c.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        hidden: Sequence[int],
        *,
        interpolant: LinearInterpolant,
        field: Literal["eta", "eta1"],
        mean: Tensor | None,
        deviation: float,
        noise_variance: float = 1.0,
        activation: Literal["silu", "relu"] = "silu",
        unet_width: int = 32,
    ) -> None:
        super().__init__(shape, hidden, activation=activation, unet_width=unet_width, shift=mean, scale_in=deviation)
        self.interpolant, self.field, self.noise_variance = interpolant, field, noise_variance

    def forward(self, x: Float[Tensor, "batch *shape"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *shape"]:
        alpha, beta = along(self.interpolant.alpha(t), x), along(self.interpolant.beta(t), x)
        c, sigma = self.noise_variance, self.scale_in
        variance = alpha**2 * c + beta**2 * sigma**2
        centred = x - beta * self.shift
        correction = sigma * (c / variance).sqrt() * self.backbone(centred / variance.sqrt(), t)
        if self.field == "eta":
            return alpha * c / variance * centred + beta * correction
        return self.shift + beta * sigma**2 / variance * centred + alpha * correction


class FieldNetworks(nn.ModuleDict):
    """The networks of several fields by name, evaluated together: what wraps a module for several processes sees `forward` alone.

    Examples
    --------
    >>> fields = FieldNetworks({"b": FieldNetwork((2,), (8,)), "s": FieldNetwork((2,), (8,))})
    >>> sorted(fields(torch.zeros(3, 2), torch.rand(3)))
    ['b', 's']
    """

    def forward(self, x: Float[Tensor, "batch *shape"], t: Float[Tensor, " batch"]) -> dict[str, Tensor]:
        return {name: network(x, t) for name, network in self.items()}

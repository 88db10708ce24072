"""Many small autoencoders in one module: restarts and noise levels trained side by side.

The networks of this method are so small that a step of one costs mostly the time to start each operation. Here every
parameter carries a leading axis of members, and one batched product serves them all. Members do not share anything: the
gradient of a sum over members is each member's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Autoencoders", "Convolutions", "Linears", "Perceptrons"]

# Variances of the encoder stay within these exponents.
LOG_VARIANCE = (-14.0, 4.0)


class Linears(nn.Module):
    """One linear layer a member; starts like `torch.nn.Linear`."""

    def __init__(self, n_members: int, n_inputs: int, n_outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        bound = 1 / math.sqrt(n_inputs)
        self.weight = _uniform((n_members, n_inputs, n_outputs), bound, generator)
        self.bias = _uniform((n_members, 1, n_outputs), bound, generator)

    def forward(self, x: Float[Tensor, "member batch inputs"]) -> Float[Tensor, "member batch outputs"]:
        return torch.baddbmm(self.bias, x, self.weight)


class Perceptrons(nn.Module):
    """Linear layers with leaky ReLU in between."""

    def __init__(
        self, n_members: int, n_inputs: int, hidden: tuple[int, ...], n_outputs: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Linears(n_members, a, b, generator) for a, b in pairwise((n_inputs, *hidden, n_outputs))
        )

    def forward(self, x: Float[Tensor, "member batch inputs"]) -> Float[Tensor, "member batch outputs"]:
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x))
        return self.layers[-1](x)


class Convolutions(nn.Module):
    """One convolution a member with a kernel of 4 x 4, which halves the side of images, or doubles it if `transposed`."""

    def __init__(
        self, n_members: int, n_inputs: int, n_outputs: int, generator: torch.Generator, *, transposed: bool = False
    ) -> None:
        super().__init__()
        self.transposed = transposed
        bound = 1 / math.sqrt(16 * n_inputs / (4 if transposed else 1))
        shape = (n_inputs, n_outputs) if transposed else (n_outputs, n_inputs)
        self.weight = _uniform((n_members, *shape, 4, 4), bound, generator)
        self.bias = _uniform((n_members, n_outputs), bound, generator)

    def forward(
        self, x: Float[Tensor, "member batch inputs height width"]
    ) -> Float[Tensor, "member batch outputs new_height new_width"]:
        # The members are groups of channels of one convolution.
        members, batch, channels, *side = x.shape
        x = x.transpose(0, 1).reshape(batch, members * channels, *side)
        convolve = F.conv_transpose2d if self.transposed else F.conv2d
        y = convolve(x, self.weight.flatten(0, 1), self.bias.flatten(), stride=2, padding=1, groups=members)
        return y.reshape(batch, members, -1, *y.shape[2:]).transpose(0, 1)


class _ImageEncoders(nn.Module):
    """Two convolutions, then perceptrons."""

    def __init__(
        self,
        n_members: int,
        shape: tuple[int, int, int],
        hidden: tuple[int, ...],
        n_outputs: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.shape = shape
        channels, height, width = shape
        self.convolutions = nn.ModuleList(
            Convolutions(n_members, *ends, generator) for ends in ((channels, 32), (32, 64))
        )
        self.head = Perceptrons(n_members, 64 * (height // 4) * (width // 4), hidden, n_outputs, generator)

    def forward(self, x: Float[Tensor, "member batch inputs"]) -> Float[Tensor, "member batch outputs"]:
        x = x.unflatten(-1, self.shape)
        for convolution in self.convolutions:
            x = F.leaky_relu(convolution(x))
        return self.head(x.flatten(2))


class _ImageDecoders(nn.Module):
    """Perceptrons, then two transposed convolutions."""

    def __init__(
        self,
        n_members: int,
        n_inputs: int,
        hidden: tuple[int, ...],
        shape: tuple[int, int, int],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        channels, height, width = shape
        self.small = (64, height // 4, width // 4)
        self.head = Perceptrons(n_members, n_inputs, hidden, math.prod(self.small), generator)
        self.widen = Convolutions(n_members, 64, 32, generator, transposed=True)
        self.last = Convolutions(n_members, 32, channels, generator, transposed=True)

    def forward(self, z: Float[Tensor, "member batch inputs"]) -> Float[Tensor, "member batch outputs"]:
        x = F.leaky_relu(self.head(z)).unflatten(-1, self.small)
        return self.last(F.leaky_relu(self.widen(x))).flatten(2)


class Autoencoders(nn.Module):
    """Generators f, the encoders q(z | x) and the noise levels sigma of all members.

    Parameters
    ----------
    n_members, n_features, n_latent : int
    hidden : tuple of int
        Widths of the hidden layers of f; the encoder's are the same in reverse order. None make both linear.
    initial_sigma : float
    latent : {"normal", "uniform"}
        Law of Z; a uniform Z is the normal distribution function of a normal one, so both are one model on a normal code.
    image_shape : (channels, height, width), optional
        Convolutions where the features are the pixels of images whose sides are multiples of 4.
    generator : torch.Generator
    """

    def __init__(
        self,
        n_members: int,
        n_features: int,
        n_latent: int,
        *,
        hidden: tuple[int, ...],
        initial_sigma: float,
        latent: str,
        image_shape: Sequence[int] | None,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.n_latent, self.latent = n_latent, latent
        self.encoder: nn.Module
        self.decoder: nn.Module
        if image_shape is None:
            self.encoder = Perceptrons(n_members, n_features, hidden[::-1], 2 * n_latent, generator)
            self.decoder = Perceptrons(n_members, n_latent, hidden, n_features, generator)
        else:
            shape = (image_shape[0], image_shape[1], image_shape[2])
            self.encoder = _ImageEncoders(n_members, shape, hidden[::-1], 2 * n_latent, generator)
            self.decoder = _ImageDecoders(n_members, n_latent, hidden, shape, generator)
        self.log_sigma = nn.Parameter(torch.full((n_members,), math.log(initial_sigma)))

    @property
    def sigma(self) -> Float[Tensor, " member"]:
        """Noise levels."""
        return self.log_sigma.exp()

    def encode(
        self, x: Float[Tensor, "member batch features"]
    ) -> tuple[Float[Tensor, "member batch latent"], Float[Tensor, "member batch latent"]]:
        """Mean and log-variance of q(z | x)."""
        mean, log_variance = self.encoder(x).chunk(2, dim=-1)
        return mean, log_variance.clamp(*LOG_VARIANCE)

    def decode(self, z: Float[Tensor, "member batch latent"]) -> Float[Tensor, "member batch features"]:
        """f of a normal code."""
        if self.latent == "uniform":
            z = 2 * torch.special.ndtr(z) - 1
        return self.decoder(z)

    def member(self, index: int) -> dict[str, Tensor]:
        """Parameters of one member, as a stack of one."""
        return {name: value[index : index + 1].clone() for name, value in self.state_dict().items()}


def _uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator) -> nn.Parameter:
    return nn.Parameter((2 * torch.rand(shape, generator=generator) - 1) * bound)

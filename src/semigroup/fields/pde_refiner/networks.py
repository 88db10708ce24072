"""Backbones: periodic networks that take fields, a scalar index and the equation's parameters.

All have the signature ``network(fields, index, parameters)``: fields of shape (batch, n_inputs, *space), an index of shape
(batch,) on the scale 0 to 1000, parameters of shape (batch, n_parameters); the result has shape (batch, n_outputs, *space).
The last convolution starts at zero, so that an untrained stepper predicts no change.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["DilatedCNN", "Embedding", "ModernUNet", "SinusoidalEmbedding"]


class SinusoidalEmbedding(nn.Module):
    """Sines and cosines of a scalar at `n_features` / 2 frequencies from 1 down to 1 / `max_period`."""

    frequencies: Tensor

    def __init__(self, n_features: int, max_period: float = 1e4) -> None:
        super().__init__()
        half = n_features // 2
        self.register_buffer("frequencies", torch.exp(-math.log(max_period) * torch.arange(half) / half))

    def forward(self, scalar: Float[Tensor, " batch"]) -> Float[Tensor, "batch features"]:
        angles = scalar[:, None] * self.frequencies
        return torch.cat([angles.cos(), angles.sin()], dim=-1)


class Embedding(nn.Module):
    """Sum of the embeddings of the index and of each of the equation's parameters: sinusoids, then a two-layer network."""

    def __init__(self, n_features: int, n_hidden: int, n_parameters: int = 0) -> None:
        super().__init__()
        self.sinusoids = SinusoidalEmbedding(n_features)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(n_features, n_hidden), nn.GELU(), nn.Linear(n_hidden, n_hidden))
            for _ in range(1 + n_parameters)
        )

    def forward(
        self, index: Float[Tensor, " batch"], parameters: Float[Tensor, "batch n_parameters"]
    ) -> Float[Tensor, "batch hidden"]:
        scalars = [index, *parameters.unbind(1)]
        return torch.stack([layer(self.sinusoids(scalar)) for layer, scalar in zip(self.layers, scalars)]).sum(0)


class DilatedCNN(nn.Module):
    """A small dilated convolutional network with FiLM: seven residual blocks of dilation 1, 2, 4, 8, 4, 2, 1.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Channels in and out.
    n_dims : {1, 2}
        Space dimensions; the kernel is 5 wide in one and 3 in two.
    width : int
        Channels inside.
    n_parameters : int
        Parameters of the equation it is conditioned on.

    Examples
    --------
    >>> network = DilatedCNN(2, 1, n_dims=1, width=8)
    >>> network(torch.zeros(3, 2, 64), torch.zeros(3), torch.zeros(3, 0)).shape
    torch.Size([3, 1, 64])
    """

    DILATIONS = (1, 2, 4, 8, 4, 2, 1)

    def __init__(
        self, n_inputs: int, n_outputs: int, *, n_dims: int = 1, width: int = 32, n_parameters: int = 0
    ) -> None:
        super().__init__()
        kernel = 5 if n_dims == 1 else 3
        self.embedding = Embedding(width, width, n_parameters)
        self.lift = _convolution(n_dims, n_inputs, width, kernel)
        self.convolutions = nn.ModuleList(
            _convolution(n_dims, width, width, kernel, dilation=dilation) for dilation in self.DILATIONS
        )
        self.modulations = nn.ModuleList(_zero(nn.Linear(width, 2 * width)) for _ in self.DILATIONS)
        self.project = _zero(_convolution(n_dims, width, n_outputs, kernel))

    @staticmethod
    def least_size(n_dims: int) -> int:
        """Fewest grid points a side: circular padding wraps around once at most."""
        return 16 if n_dims == 1 else 8

    def forward(
        self,
        fields: Float[Tensor, "batch n_inputs *space"],
        index: Float[Tensor, " batch"],
        parameters: Float[Tensor, "batch n_parameters"],
    ) -> Float[Tensor, "batch n_outputs *space"]:
        embedding = nn.functional.gelu(self.embedding(index, parameters))
        hidden = self.lift(fields)
        for convolution, modulation in zip(self.convolutions, self.modulations):
            scale, shift = _spread(modulation(embedding), hidden.ndim).chunk(2, dim=1)
            hidden = hidden + nn.functional.gelu(torch.addcmul(shift, convolution(hidden), 1 + scale))
        return self.project(hidden)


class ModernUNet(nn.Module):
    """The U-Net of PDEArena with circular boundaries everywhere.

    Widths are multiplied from level to level by 1, 2, 2, 4. Up-sampling repeats points and convolves circularly: a
    transposed convolution cannot be circular and would leave a seam at the boundary.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Channels in and out.
    n_dims : {1, 2}
    width : int
        Channels of the first level, divisible by 8.
    n_parameters : int
        Parameters of the equation it is conditioned on.
    film : bool
        Scale and shift by the embedding instead of adding it.
    attention : bool
        Self-attention between the two middle blocks.

    Examples
    --------
    >>> network = ModernUNet(2, 1, n_dims=1, width=8)
    >>> network(torch.zeros(3, 2, 32), torch.zeros(3), torch.zeros(3, 0)).shape
    torch.Size([3, 1, 32])
    """

    MULTIPLIERS = (1, 2, 2, 4)

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        *,
        n_dims: int = 1,
        width: int = 64,
        n_parameters: int = 0,
        film: bool = True,
        attention: bool = False,
    ) -> None:
        super().__init__()
        if width % 8:
            raise ValueError(f"width must be divisible by 8, the groups of the last normalisation, got {width}")
        n_embedding = 4 * width

        def block(n_in: int, n_out: int) -> ResidualBlock:
            return ResidualBlock(n_in, n_out, n_embedding, n_dims=n_dims, film=film)

        self.embedding = Embedding(width, n_embedding, n_parameters)
        self.lift = _convolution(n_dims, n_inputs, width, 3)
        widths = [width]
        for multiplier in self.MULTIPLIERS:
            widths.append(widths[-1] * multiplier)
        skips = [width]
        self.down = nn.ModuleList()
        for level, (n_in, n_out) in enumerate(pairwise(widths)):
            self.down.extend([block(n_in, n_out), block(n_out, n_out)])
            skips += [n_out, n_out]
            if level < len(self.MULTIPLIERS) - 1:
                self.down.append(_convolution(n_dims, n_out, n_out, 3, stride=2))
                skips.append(n_out)
        bottom = widths[-1]
        self.middle = nn.ModuleList([block(bottom, bottom), block(bottom, bottom)])
        self.attention = SelfAttention(bottom) if attention else nn.Identity()
        self.up = nn.ModuleList()
        for level in reversed(range(len(self.MULTIPLIERS))):
            n_low, n_high = widths[level], widths[level + 1]
            for n_in, n_out in ((n_high, n_high), (n_high, n_high), (n_high, n_low)):
                self.up.append(block(n_in + skips.pop(), n_out))
            if level > 0:
                self.up.append(nn.Sequential(nn.Upsample(scale_factor=2), _convolution(n_dims, n_low, n_low, 3)))
        self.end = nn.Sequential(nn.GroupNorm(8, width), nn.GELU(), _zero(_convolution(n_dims, width, n_outputs, 3)))

    @staticmethod
    def least_size(n_dims: int) -> int:
        """Fewest grid points a side."""
        return 8

    def forward(
        self,
        fields: Float[Tensor, "batch n_inputs *space"],
        index: Float[Tensor, " batch"],
        parameters: Float[Tensor, "batch n_parameters"],
    ) -> Float[Tensor, "batch n_outputs *space"]:
        embedding = self.embedding(index, parameters)
        hidden = self.lift(fields)
        skips = [hidden]
        for module in self.down:
            hidden = module(hidden, embedding) if isinstance(module, ResidualBlock) else module(hidden)
            skips.append(hidden)
        hidden = self.middle[1](self.attention(self.middle[0](hidden, embedding)), embedding)
        for module in self.up:
            if isinstance(module, ResidualBlock):
                hidden = module(torch.cat([hidden, skips.pop()], dim=1), embedding)
            else:
                hidden = module(hidden)
        return self.end(hidden)


class ResidualBlock(nn.Module):
    """Two normalised convolutions with the embedding between them and a shortcut around them."""

    def __init__(self, n_in: int, n_out: int, n_embedding: int, *, n_dims: int, film: bool) -> None:
        super().__init__()
        self.film = film
        self.before = nn.Sequential(nn.GroupNorm(1, n_in), nn.GELU(), _convolution(n_dims, n_in, n_out, 3))
        self.modulation = nn.Linear(n_embedding, 2 * n_out if film else n_out)
        self.norm = nn.GroupNorm(1, n_out)
        self.after = _zero(_convolution(n_dims, n_out, n_out, 3))
        self.shortcut = nn.Identity() if n_in == n_out else _convolution(n_dims, n_in, n_out, 1)

    def forward(
        self, x: Float[Tensor, "batch n_in *space"], embedding: Float[Tensor, "batch hidden"]
    ) -> Float[Tensor, "batch n_out *space"]:
        hidden = self.before(x)
        modulation = _spread(self.modulation(nn.functional.gelu(embedding)), hidden.ndim)
        if self.film:
            scale, shift = modulation.chunk(2, dim=1)
            hidden = self.norm(hidden) * (1 + scale) + shift
        else:
            hidden = self.norm(hidden + modulation)
        return self.after(nn.functional.gelu(hidden)) + self.shortcut(x)


class SelfAttention(nn.Module):
    """Every point attends to every other, one head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.project = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "batch width *space"]) -> Float[Tensor, "batch width *space"]:
        points = self.norm(x).flatten(2).transpose(1, 2)
        query, key, value = self.project(points).chunk(3, dim=-1)
        mixed = self.output(nn.functional.scaled_dot_product_attention(query, key, value))
        return x + mixed.transpose(1, 2).reshape(x.shape)


def _convolution(n_dims: int, n_in: int, n_out: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> nn.Module:
    """A circular convolution that keeps the grid (or halves it)."""
    layer = nn.Conv1d if n_dims == 1 else nn.Conv2d
    padding = dilation * (kernel - 1) // 2
    return layer(n_in, n_out, kernel, stride=stride, padding=padding, dilation=dilation, padding_mode="circular")


def _zero(layer: nn.Module) -> nn.Module:
    """The layer with zero weights."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _spread(features: Float[Tensor, "batch features"], ndim: int) -> Float[Tensor, "batch features ..."]:
    """Features of a sample, constant over space."""
    return features.reshape(*features.shape, *(1,) * (ndim - 2))

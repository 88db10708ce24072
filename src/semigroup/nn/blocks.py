"""Blocks of convolutional networks that are told a time."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Padding", "ResidualBlock", "SelfAttention", "SinusoidalEmbedding", "convolution", "spread", "zero"]

Padding = Literal["circular", "zeros"]


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


class ResidualBlock(nn.Module):
    """Two normalised convolutions with the embedding between them and a shortcut around them.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    n_embedding : int
        Length of the embedding.
    n_dims : {1, 2}
        Space dimensions.
    film : bool
        Scale and shift by the embedding instead of adding it.
    padding : {"circular", "zeros"}
        What lies beyond the edge.
    dropout : float
        Share of the entries that the second convolution does not see in training.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        n_embedding: int,
        *,
        n_dims: int,
        film: bool,
        padding: Padding = "circular",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.film = film
        first = convolution(n_dims, n_in, n_out, 3, padding=padding)
        self.before = nn.Sequential(nn.GroupNorm(1, n_in), nn.GELU(), first)
        self.modulation = nn.Linear(n_embedding, 2 * n_out if film else n_out)
        self.norm = nn.GroupNorm(1, n_out)
        self.dropout = nn.Dropout(dropout)
        self.after = zero(convolution(n_dims, n_out, n_out, 3, padding=padding))
        self.shortcut = nn.Identity() if n_in == n_out else convolution(n_dims, n_in, n_out, 1)

    def forward(
        self, x: Float[Tensor, "batch n_in *space"], embedding: Float[Tensor, "#batch hidden"]
    ) -> Float[Tensor, "batch n_out *space"]:
        hidden = self.before(x)
        modulation = spread(self.modulation(nn.functional.gelu(embedding)), hidden.ndim)
        if self.film:
            scale, shift = modulation.chunk(2, dim=1)
            hidden = self.norm(hidden) * (1 + scale) + shift
        else:
            hidden = self.norm(hidden + modulation)
        return self.after(self.dropout(nn.functional.gelu(hidden))) + self.shortcut(x)


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


def convolution(
    n_dims: int,
    n_in: int,
    n_out: int,
    kernel: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    padding: Padding = "circular",
) -> nn.Module:
    """A convolution that keeps the grid (or halves it)."""
    layer = nn.Conv1d if n_dims == 1 else nn.Conv2d
    reach = dilation * (kernel - 1) // 2
    return layer(n_in, n_out, kernel, stride=stride, padding=reach, dilation=dilation, padding_mode=padding)


def zero(layer: nn.Module) -> nn.Module:
    """The layer with zero weights."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def spread(features: Float[Tensor, "batch features"], ndim: int) -> Float[Tensor, "batch features ..."]:
    """Features of a sample, constant over space."""
    return features.reshape(*features.shape, *(1,) * (ndim - 2))

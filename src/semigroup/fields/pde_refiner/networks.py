"""Backbones: periodic networks that take fields, a scalar index and the equation's parameters.

All have the signature ``network(fields, index, parameters)``: fields of shape (batch, n_inputs, *space), an index of shape
(batch,) on the scale 0 to 1000, parameters of shape (batch, n_parameters); the result has shape (batch, n_outputs, *space).
The last convolution starts at zero, so that an untrained stepper predicts no change.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from semigroup.nn.blocks import SinusoidalEmbedding, convolution, spread, zero
from semigroup.nn.unet import UNet

__all__ = ["DilatedCNN", "Embedding", "ModernUNet"]


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
        self.lift = convolution(n_dims, n_inputs, width, kernel)
        self.convolutions = nn.ModuleList(
            convolution(n_dims, width, width, kernel, dilation=dilation) for dilation in self.DILATIONS
        )
        self.modulations = nn.ModuleList(zero(nn.Linear(width, 2 * width)) for _ in self.DILATIONS)
        self.project = zero(convolution(n_dims, width, n_outputs, kernel))

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
        for layer, modulation in zip(self.convolutions, self.modulations):
            scale, shift = spread(modulation(embedding), hidden.ndim).chunk(2, dim=1)
            hidden = hidden + nn.functional.gelu(torch.addcmul(shift, layer(hidden), 1 + scale))
        return self.project(hidden)


class ModernUNet(UNet):
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
        embedding = Embedding(width, 4 * width, n_parameters)
        super().__init__(
            n_inputs,
            n_outputs,
            n_embedding=4 * width,
            n_dims=n_dims,
            width=width,
            multipliers=self.MULTIPLIERS,
            padding="circular",
            film=film,
            attention=attention,
        )
        self.embedding = embedding

    @staticmethod
    def least_size(n_dims: int) -> int:
        """Fewest grid points a side."""
        return 8

    def forward(  # type: ignore[override]  # the embedding is computed here
        self,
        fields: Float[Tensor, "batch n_inputs *space"],
        index: Float[Tensor, " batch"],
        parameters: Float[Tensor, "batch n_parameters"],
    ) -> Float[Tensor, "batch n_outputs *space"]:
        return super().forward(fields, self.embedding(index, parameters))

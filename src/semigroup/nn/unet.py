"""One U-Net: for the fields of an equation and for images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from semigroup.nn.blocks import Padding, ResidualBlock, SelfAttention, SinusoidalEmbedding, convolution, zero

__all__ = ["ImageUNet", "UNet"]


class UNet(nn.Module):
    """Residual blocks down a pyramid of grids and up again, each told an embedding.

    Two blocks a level down, three up; every state on the way down is handed to the way up. The last convolution starts at
    zero.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Channels in and out.
    n_embedding : int
        Length of the embedding.
    n_dims : {1, 2}
    width : int
        Channels of the first level, divisible by 8.
    multipliers : sequence of int
        By what the width is multiplied from level to level; between two levels the grid is halved.
    padding : {"circular", "zeros"}
        What lies beyond the edge.
    film : bool
        Scale and shift by the embedding instead of adding it.
    attention : bool
        Self-attention between the two middle blocks.
    dropout : float
        Inside every block.

    References
    ----------
    Ronneberger, O., Fischer, P. and Brox, T. (2015). U-Net. MICCAI.
    Gupta, J. K. and Brandstetter, J. (2022). Towards multi-spatiotemporal-scale generalized PDE modeling. arXiv 2209.15616.

    Examples
    --------
    >>> network = UNet(1, 1, n_embedding=8, n_dims=2, width=8, multipliers=(1, 2))
    >>> network(torch.zeros(3, 1, 8, 8), torch.zeros(3, 8)).shape
    torch.Size([3, 1, 8, 8])
    """

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        *,
        n_embedding: int,
        n_dims: int,
        width: int,
        multipliers: Sequence[int],
        padding: Padding = "zeros",
        film: bool = True,
        attention: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if width % 8:
            raise ValueError(f"width must be divisible by 8, the groups of the last normalisation, got {width}")

        def block(n_in: int, n_out: int) -> ResidualBlock:
            options = {"n_dims": n_dims, "film": film, "padding": padding, "dropout": dropout}
            return ResidualBlock(n_in, n_out, n_embedding, **options)  # type: ignore[arg-type]

        def resample(n: int, stride: int) -> nn.Module:
            return convolution(n_dims, n, n, 3, stride=stride, padding=padding)

        self.lift = convolution(n_dims, n_inputs, width, 3, padding=padding)
        widths = [width]
        for multiplier in multipliers:
            widths.append(widths[-1] * multiplier)
        skips = [width]
        self.down = nn.ModuleList()
        for level, (n_in, n_out) in enumerate(pairwise(widths)):
            self.down.extend([block(n_in, n_out), block(n_out, n_out)])
            skips += [n_out, n_out]
            if level < len(multipliers) - 1:
                self.down.append(resample(n_out, stride=2))
                skips.append(n_out)
        bottom = widths[-1]
        self.middle = nn.ModuleList([block(bottom, bottom), block(bottom, bottom)])
        self.attention = SelfAttention(bottom) if attention else nn.Identity()
        self.up = nn.ModuleList()
        for level in reversed(range(len(multipliers))):
            n_low, n_high = widths[level], widths[level + 1]
            for n_in, n_out in ((n_high, n_high), (n_high, n_high), (n_high, n_low)):
                self.up.append(block(n_in + skips.pop(), n_out))
            if level > 0:
                self.up.append(nn.Sequential(nn.Upsample(scale_factor=2), resample(n_low, stride=1)))
        last = zero(convolution(n_dims, width, n_outputs, 3, padding=padding))
        self.end = nn.Sequential(nn.GroupNorm(8, width), nn.GELU(), last)

    def forward(
        self, x: Float[Tensor, "batch n_inputs *space"], embedding: Float[Tensor, "#batch n_embedding"]
    ) -> Float[Tensor, "batch n_outputs *space"]:
        hidden = self.lift(x)
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


class ImageUNet(nn.Module):
    """A `UNet` for images that is told a time and, if there are classes, a label.

    Parameters
    ----------
    n_channels : int
        Of the images, in and out.
    size : int
        Pixels a side, divisible by 2 for every level after the first.
    width, multipliers, attention, dropout
        As for `UNet`.
    n_classes : int
        0 for an unconditional network.
    time_scale : float
        The time, one a sample or one for all, is multiplied by this before its sinusoids, whose periods run from 2 pi to 10,000
        times that.
    n_outputs : int, optional
        Channels out, where they are not those of the images.

    Examples
    --------
    >>> network = ImageUNet(1, 28, width=8, n_classes=10)
    >>> network(torch.zeros(3, 1, 28, 28), torch.rand(3), torch.tensor([0, 4, 9])).shape
    torch.Size([3, 1, 28, 28])
    """

    def __init__(
        self,
        n_channels: int,
        size: int,
        *,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2, 2),
        attention: bool = True,
        dropout: float = 0.0,
        n_classes: int = 0,
        time_scale: float = 1000.0,
        n_outputs: int | None = None,
    ) -> None:
        super().__init__()
        divisor = 2 ** (len(multipliers) - 1)
        if size % divisor or size < 2 * divisor:
            raise ValueError(f"size must be a multiple of {divisor} and at least {2 * divisor}, got {size}")
        n_embedding = 4 * width
        self.time_scale = time_scale
        self.sinusoids = SinusoidalEmbedding(width)
        self.embedding = nn.Sequential(nn.Linear(width, n_embedding), nn.GELU(), nn.Linear(n_embedding, n_embedding))
        self.classes = nn.Embedding(n_classes, n_embedding) if n_classes else None
        self.unet = UNet(
            n_channels,
            n_channels if n_outputs is None else n_outputs,
            n_embedding=n_embedding,
            n_dims=2,
            width=width,
            multipliers=multipliers,
            attention=attention,
            dropout=dropout,
        )

    def forward(
        self,
        x: Float[Tensor, "batch n_channels size size"],
        t: Float[Tensor, " #batch"],
        label: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch n_outputs size size"]:
        embedding = self.embedding(self.sinusoids(self.time_scale * t))
        if self.classes is not None:
            embedding = embedding + self.classes(label)
        return self.unet(x, embedding)

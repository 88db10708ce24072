"""Networks of the method: a classifier of noisy images, and a perceptron that takes images for vectors."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from semigroup.nn.blocks import ResidualBlock, SelfAttention, SinusoidalEmbedding, convolution, spread
from semigroup.nn.mlp import MLP
from semigroup.schedules import DDPMSchedule

__all__ = ["FlatMLP", "NoisePredictor", "NoisyImageClassifier", "build_classifier"]

# The grid at which the encoder stops halving and attends.
SMALLEST_GRID = 8


class FlatMLP(nn.Module):
    """A perceptron of whatever shape of samples, told a time.

    Parameters
    ----------
    shape : tuple of int
        Of a sample.
    n_outputs : int, optional
        By default the outputs have the samples' shape.
    hidden : tuple of int
    """

    def __init__(self, shape: tuple[int, ...], n_outputs: int | None = None, *, hidden: tuple[int, ...]) -> None:
        super().__init__()
        n = math.prod(shape)
        self.out_shape = shape if n_outputs is None else (n_outputs,)
        self.layers = MLP(n, math.prod(self.out_shape), hidden, time="sinusoids")

    def forward(self, x: Float[Tensor, "batch *shape"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        return self.layers(x.flatten(1), t).reshape(-1, *self.out_shape)


class NoisePredictor(nn.Module):
    """The noise in x_t as ``sqrt(1 - abar_t) x_t + sqrt(abar_t) F(x_t, t)``, whose first term is all of it where there is hardly
    anything but noise, so that the network F need not learn to copy.

    Parameters
    ----------
    network : nn.Module
        F, told t / T.
    schedule : DDPMSchedule

    References
    ----------
    Salimans, T. and Ho, J. (2022). Progressive distillation for fast sampling of diffusion models. ICLR, appendix D, where F
    is called v.
    """

    scale: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, schedule: DDPMSchedule) -> None:
        super().__init__()
        self.network, self.n_steps = network, schedule.n_steps
        steps = torch.arange(schedule.n_steps + 1)
        self.register_buffer("scale", schedule.scale(steps).float(), persistent=False)
        self.register_buffer("std", schedule.std(steps).float(), persistent=False)

    def forward(self, x: Float[Tensor, "batch *shape"], t: Int[Tensor, " batch"]) -> Float[Tensor, "batch *shape"]:
        scale, std = (spread(table[t][:, None], x.ndim) for table in (self.scale, self.std))
        return std * x + scale * self.network(x, t / self.n_steps)


class NoisyImageClassifier(nn.Module):
    """The way down of a U-Net with two residual blocks a level, attention at the bottom, and attention pooling.

    Parameters
    ----------
    n_channels, size, n_classes : int
    width : int
        Channels at every level.

    References
    ----------
    Dhariwal, P. and Nichol, A. (2021). Diffusion models beat GANs on image synthesis. NeurIPS, appendix H.

    Examples
    --------
    >>> import torch
    >>> network = NoisyImageClassifier(1, 28, 5, width=8)
    >>> network(torch.zeros(2, 1, 28, 28), torch.rand(2)).shape
    torch.Size([2, 5])
    """

    def __init__(self, n_channels: int, size: int, n_classes: int, *, width: int = 128) -> None:
        super().__init__()
        n_embedding = 4 * width
        self.sinusoids = SinusoidalEmbedding(width)
        self.embedding = nn.Sequential(nn.Linear(width, n_embedding), nn.GELU(), nn.Linear(n_embedding, n_embedding))
        self.lift = convolution(2, n_channels, width, 3, padding="zeros")
        self.down = nn.ModuleList()
        while True:
            self.down.extend(
                ResidualBlock(width, width, n_embedding, n_dims=2, film=True, padding="zeros") for _ in range(2)
            )
            if size <= SMALLEST_GRID or size % 2:
                break
            self.down.append(convolution(2, width, width, 3, stride=2, padding="zeros"))
            size //= 2
        self.attention = SelfAttention(width)
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, 1)
        self.head = nn.Linear(width, n_classes)

    def forward(
        self, x: Float[Tensor, "batch channel size size"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch classes"]:
        embedding = self.embedding(self.sinusoids(1000 * t))
        hidden = self.lift(x)
        for module in self.down:
            hidden = module(hidden, embedding) if isinstance(module, ResidualBlock) else module(hidden)
        points = self.norm(self.attention(hidden).flatten(2).transpose(1, 2))
        weights = self.query(points).softmax(1)
        return self.head((weights * points).sum(1))


def build_classifier(shape: tuple[int, ...], n_classes: int, *, width: int, convolutional: bool) -> nn.Module:
    """A classifier of noisy samples or features of this shape, told the time as a share of the way."""
    if convolutional:
        return NoisyImageClassifier(shape[0], shape[1], n_classes, width=width)
    return FlatMLP(shape, n_classes, hidden=(width, width))

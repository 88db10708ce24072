"""The multilayer perceptron of the samplers, with or without a time and a label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from semigroup.nn.blocks import SinusoidalEmbedding

__all__ = ["MLP"]


class MLP(nn.Module):
    """Linear layers with an activation between them.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Columns in and out.
    hidden : sequence of int
        Widths of the hidden layers, at least one.
    activation : callable
        Gives a new activation module.
    time : {"none", "concatenate", "sinusoids"}
        Whether the network is told a time: as one more column, or as sinusoids that go through a two-layer network and are
        added to the first hidden layer. One time may stand for the whole batch.
    time_scale : float
        The time is multiplied by this before its sinusoids, whose periods run from 2 pi to 10,000 times that.
    n_classes : int
        0 for an unconditional network; else a label's embedding is added to the first hidden layer.

    Examples
    --------
    >>> network = MLP(2, 2, (16, 16), time="concatenate")
    >>> network(torch.zeros(5, 2), torch.rand(5)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        hidden: Sequence[int] = (256, 256, 256),
        *,
        activation: Callable[[], nn.Module] = nn.SiLU,
        time: Literal["none", "concatenate", "sinusoids"] = "none",
        time_scale: float = 1000.0,
        n_classes: int = 0,
    ) -> None:
        super().__init__()
        self.time, self.time_scale = time, time_scale
        widths = [n_inputs + (time == "concatenate"), *hidden]
        self.first = nn.Linear(widths[0], widths[1])
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths[1:]):
            layers += [activation(), nn.Linear(n_in, n_out)]
        self.rest = nn.Sequential(*layers, activation(), nn.Linear(widths[-1], n_outputs))
        if time == "sinusoids":
            n_features = min(128, 2 * (widths[1] // 2))
            self.sinusoids = SinusoidalEmbedding(n_features)
            layer = nn.Linear(n_features, widths[1])
            self.embedding = nn.Sequential(layer, activation(), nn.Linear(widths[1], widths[1]))
        self.classes = nn.Embedding(n_classes, widths[1]) if n_classes else None

    def forward(
        self,
        x: Float[Tensor, "batch n_inputs"],
        t: Float[Tensor, " #batch"] | None = None,
        label: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch n_outputs"]:
        if (t is None) != (self.time == "none"):
            raise ValueError(
                f"t must be {'left out' if t is not None else 'given'}: this network has time={self.time!r}"
            )
        if t is not None and self.time == "concatenate":
            x = torch.cat([t[:, None].expand(len(x), 1), x], dim=1)
        hidden = self.first(x)
        if t is not None and self.time == "sinusoids":
            hidden = hidden + self.embedding(self.sinusoids(self.time_scale * t))
        if self.classes is not None:
            hidden = hidden + self.classes(label)
        return self.rest(hidden)

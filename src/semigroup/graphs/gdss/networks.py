"""Score networks of noisy graphs: dense, batched, and equivariant to the numbering of the nodes.

Every network takes node states ``x`` (graphs, n, F), edge states ``a`` (graphs, n, n), symmetric, and the mask ``real``
(graphs, n) of the nodes that are no padding; none is told the time. Inside, edge channels are rows over the pairs of
distinct real nodes of the whole batch, each pair once: (channels, pairs). A layer is then a few products for all channels
and graphs together, and neither padding nor symmetric copies are computed. (Diagonal entries play no part: convolutions
set them to 1.)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

__all__ = [
    "AttentionLayer",
    "BaselineNetwork",
    "ChannelGCN",
    "ScoreNetworkA",
    "ScoreNetworkX",
    "ScoreNetworkXAttention",
    "mask_edges",
    "mask_nodes",
]

Nodes = Float[Tensor, "graphs n features"]
Edges = Float[Tensor, "graphs n n"]
Mask = Bool[Tensor, "graphs n"]


def mask_nodes(x: Float[Tensor, "graphs n features"], real: Mask) -> Float[Tensor, "graphs n features"]:
    """Zero in the rows of padding."""
    return x * real[..., None]


def mask_edges(a: Float[Tensor, "*channels graphs n n"], real: Mask) -> Float[Tensor, "*channels graphs n n"]:
    """Zero in the rows and columns of padding."""
    return a * (real[:, :, None] & real[:, None, :])


@dataclass(frozen=True)
class Pairs:
    """The pairs i < j of real nodes of a batch.

    Attributes
    ----------
    upper, lower : Tensor of shape (pairs,)
        Places of (i, j) and (j, i) in the flattened (graphs, n, n).
    shape : (int, int, int)
    """

    upper: Int64[Tensor, " pairs"]
    lower: Int64[Tensor, " pairs"]
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, real: Mask) -> Pairs:
        """Those of a mask."""
        graphs, n = real.shape
        graph, i, j = (real[:, :, None] & real[:, None, :]).triu(1).nonzero(as_tuple=True)
        return cls((graph * n + i) * n + j, (graph * n + j) * n + i, (graphs, n, n))

    def take(self, a: Float[Tensor, "channels graphs n n"]) -> Float[Tensor, "channels pairs"]:
        """The pairs' entries of symmetric matrices."""
        return a.flatten(1).index_select(1, self.upper)

    def spread(self, values: Float[Tensor, "channels pairs"]) -> Float[Tensor, "channels graphs n n"]:
        """Symmetric matrices with these entries, and zeros on the diagonal and in padding."""
        matrices = values.new_zeros(len(values), math.prod(self.shape))
        places = torch.cat([self.upper, self.lower])
        return matrices.index_copy(1, places, values.repeat(1, 2)).unflatten(1, self.shape)


def _powers(a: Edges, n_channels: int) -> Float[Tensor, "channels graphs n n"]:
    """The adjacency and its matrix powers, one a channel."""
    channels = [a]
    for _ in range(n_channels - 1):
        channels.append(channels[-1] @ a)
    return torch.stack(channels)


class _MLP(nn.Module):
    """Linear layers on the last axis with an activation between them."""

    def __init__(self, sizes: Sequence[int], activation: Callable[[Tensor], Tensor] = nn.functional.elu) -> None:
        super().__init__()
        self.linears = nn.ModuleList([nn.Linear(i, o) for i, o in itertools.pairwise(sizes)])
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        for linear in self.linears[:-1]:
            x = self.activation(linear(x))
        return self.linears[-1](x)


class _PairMLP(_MLP):
    """The same on the first axis of (channels, pairs)."""

    def forward(self, x: Tensor) -> Tensor:
        for number, linear in enumerate(self.linears):
            assert isinstance(linear, nn.Linear)
            x = torch.addmm(linear.bias[:, None], linear.weight, x)
            if number < len(self.linears) - 1:
                x = self.activation(x)
        return x


class ChannelGCN(nn.Module):
    r"""One graph convolution for each channel of an adjacency, all in one product.

    With loops of weight 1 and :math:`d_i = \max(\sum_j A_{ij}, 1)`: :math:`D^{-1/2} A D^{-1/2} X W + b`. The bound on the
    degree keeps it defined for noisy adjacencies, whose entries may be negative.

    Parameters
    ----------
    n_channels : int
    n_inputs, n_outputs : int
    """

    def __init__(self, n_channels: int, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        limit = math.sqrt(6 / (n_inputs + n_outputs))  # Glorot's for one channel
        self.weight = nn.Parameter(torch.empty(n_channels, n_inputs, n_outputs).uniform_(-limit, limit))
        self.bias = nn.Parameter(torch.zeros(n_channels, n_outputs))

    def forward(
        self, propagated: Float[Tensor, "channels graphs n inputs"]
    ) -> Float[Tensor, "channels graphs n outputs"]:
        """From :math:`D^{-1/2} A D^{-1/2} X`, which `propagate` computes once for several convolutions."""
        channels, graphs, n, _ = propagated.shape
        rows = propagated.reshape(channels, graphs * n, -1)
        return torch.baddbmm(self.bias[:, None], rows, self.weight).view(channels, graphs, n, -1)


def propagate(x: Nodes, a: Float[Tensor, "channels graphs n n"]) -> Float[Tensor, "channels graphs n features"]:
    r""":math:`D^{-1/2} A D^{-1/2} X` of every channel, with loops of weight 1 and degrees of at least 1."""
    loops = torch.eye(a.shape[-1], dtype=torch.bool, device=a.device)
    a = a.masked_fill(loops, 1.0)
    root = a.sum(-1, keepdim=True).clamp(min=1).rsqrt()
    return root * (a @ (root * x))


class _Attention(nn.Module):
    """Values and symmetric attention scores of each channel."""

    def __init__(
        self,
        n_inputs: int,
        attention_dim: int,
        n_outputs: int,
        n_channels: int,
        n_heads: int,
        conv: Literal["gcn", "mlp"],
    ) -> None:
        super().__init__()
        if attention_dim % n_heads:
            raise ValueError(f"attention_dim must be a multiple of n_heads = {n_heads}, got {attention_dim}")
        self.n_heads, self.scale = n_heads, 1 / math.sqrt(n_outputs)
        self.value = ChannelGCN(n_channels, n_inputs, n_outputs)
        self.query: nn.Module
        self.key: nn.Module
        if conv == "gcn":
            self.query = ChannelGCN(n_channels, n_inputs, attention_dim)
            self.key = ChannelGCN(n_channels, n_inputs, attention_dim)
        else:
            sizes = (n_inputs, 2 * attention_dim, attention_dim)
            self.query = nn.ModuleList([_MLP(sizes, torch.tanh) for _ in range(n_channels)])
            self.key = nn.ModuleList([_MLP(sizes, torch.tanh) for _ in range(n_channels)])

    def forward(
        self, x: Nodes, a: Float[Tensor, "channels graphs n n"]
    ) -> tuple[Float[Tensor, "channels graphs n outputs"], Float[Tensor, "channels graphs n n"]]:
        propagated = propagate(x, a)
        query, key = (
            torch.stack([mlp(x) for mlp in part]) if isinstance(part, nn.ModuleList) else part(propagated)
            for part in (self.query, self.key)
        )
        heads = (self.n_heads, query.shape[-1] // self.n_heads)
        query, key = (one.unflatten(-1, heads).transpose(2, 3) for one in (query * self.scale, key))
        scores = torch.tanh(query @ key.mT).mean(2)
        return self.value(propagated), (scores + scores.mT) / 2


class AttentionLayer(nn.Module):
    """From node and edge channels to node and edge channels, by attention over each channel's convolutions.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Node features.
    attention_dim : int
        Width of queries and keys.
    n_channels_in, n_channels_out : int
        Edge channels.
    mlp_layers : int
        Layers of the MLP on pairs of nodes.
    n_heads : int
    conv : {"gcn", "mlp"}
        How queries and keys come from the nodes.
    """

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        attention_dim: int,
        n_channels_in: int,
        n_channels_out: int,
        *,
        mlp_layers: int = 2,
        n_heads: int = 4,
        conv: Literal["gcn", "mlp"] = "gcn",
    ) -> None:
        super().__init__()
        hidden = 2 * max(n_channels_in, n_channels_out)
        self.attention = _Attention(n_inputs, attention_dim, n_outputs, n_channels_in, n_heads, conv)
        self.pairs = _PairMLP((2 * n_channels_in, *[hidden] * (mlp_layers - 1), n_channels_out))
        self.nodes = _MLP((n_channels_in * n_outputs, hidden, n_outputs))

    def forward(
        self, x: Nodes, a: Float[Tensor, "channels pairs"], real: Mask, pairs: Pairs
    ) -> tuple[Float[Tensor, "graphs n outputs"], Float[Tensor, "channels_out pairs"]]:
        values, scores = self.attention(x, pairs.spread(a))
        nodes = torch.tanh(mask_nodes(self.nodes(values.permute(1, 2, 0, 3).flatten(2)), real))
        return nodes, 2 * self.pairs(torch.cat([pairs.take(scores), a]))  # the sum with its transpose


class _BaselineLayer(nn.Module):
    """One convolution a channel; edges from the features of both ends (as in EDP-GNN)."""

    def __init__(
        self, n_inputs: int, n_outputs: int, n_channels_in: int, n_channels_out: int, *, mlp_layers: int
    ) -> None:
        super().__init__()
        hidden = max(n_channels_in, n_channels_out)
        self.convolution = ChannelGCN(n_channels_in, n_inputs, n_outputs)
        self.nodes = _MLP((n_channels_in * n_outputs, hidden, n_outputs))
        self.pairs = _PairMLP((n_channels_in + 2 * n_outputs, *[hidden] * (mlp_layers - 1), n_channels_out))

    def forward(
        self, x: Nodes, a: Float[Tensor, "channels pairs"], real: Mask, pairs: Pairs
    ) -> tuple[Float[Tensor, "graphs n outputs"], Float[Tensor, "channels_out pairs"]]:
        values = self.convolution(propagate(x, pairs.spread(a)))
        nodes = torch.tanh(mask_nodes(self.nodes(values.permute(1, 2, 0, 3).flatten(2)), real))
        rows = nodes.flatten(0, 1).T
        n = real.shape[1]
        i, j = (rows.index_select(1, place // n) for place in (pairs.upper, pairs.lower))
        return nodes, self.pairs(torch.cat([i, j, a])) + self.pairs(torch.cat([j, i, a]))


class ScoreNetworkX(nn.Module):
    """Score of the nodes: dense graph convolutions with tanh, and an MLP on the features of all depths.

    Parameters
    ----------
    n_features : int
        F, of the input and the output.
    depth : int
        Convolutions.
    hidden_dim : int

    Examples
    --------
    >>> network = ScoreNetworkX(10, depth=3, hidden_dim=32)
    >>> sum(parameter.numel() for parameter in network.parameters())
    72434
    """

    def __init__(self, n_features: int, *, depth: int = 3, hidden_dim: int = 32) -> None:
        super().__init__()
        widths = [n_features] + [hidden_dim] * depth
        self.layers = nn.ModuleList([ChannelGCN(1, i, o) for i, o in itertools.pairwise(widths)])
        width = sum(widths)
        self.final = _MLP((width, 2 * width, 2 * width, n_features))

    def forward(self, x: Nodes, a: Edges, real: Mask) -> Nodes:
        features = [x]
        for layer in self.layers:
            features.append(torch.tanh(layer(propagate(features[-1], a[None]))[0]))
        return mask_nodes(self.final(torch.cat(features, dim=-1)), real)


class ScoreNetworkXAttention(nn.Module):
    """Score of the nodes by attention layers, which carry edge channels along: the paper's "GMH" form.

    Parameters
    ----------
    n_features : int
    depth, hidden_dim, attention_dim, n_heads, mlp_layers : int
    conv : {"gcn", "mlp"}
    channels : (int, int, int)
        Edge channels at the start, between the layers and at the end.
    """

    def __init__(
        self,
        n_features: int,
        *,
        depth: int = 3,
        hidden_dim: int = 32,
        attention_dim: int = 32,
        n_heads: int = 4,
        mlp_layers: int = 2,
        conv: Literal["gcn", "mlp"] = "gcn",
        channels: tuple[int, int, int] = (2, 8, 4),
    ) -> None:
        super().__init__()
        self.n_channels = channels[0]
        self.layers = _attention_layers(
            n_features, depth, hidden_dim, attention_dim, channels, mlp_layers=mlp_layers, n_heads=n_heads, conv=conv
        )
        width = n_features + depth * hidden_dim
        self.final = _MLP((width, 2 * width, 2 * width, n_features))

    def forward(self, x: Nodes, a: Edges, real: Mask) -> Nodes:
        pairs = Pairs.of(real)
        features, edges = [x], pairs.take(_powers(a, self.n_channels))
        for layer in self.layers:
            nodes, edges = layer(features[-1], edges, real, pairs)
            features.append(torch.tanh(nodes))
        return mask_nodes(self.final(torch.cat(features, dim=-1)), real)


class ScoreNetworkA(nn.Module):
    """Score of the edges: attention layers on matrix powers of the adjacency, and an MLP on the channels of all stages.

    Parameters
    ----------
    n_features : int
        Node features F.
    n_layers, hidden_dim, n_heads, mlp_layers : int
    attention_dim : int
        Width of queries and keys from the second layer on; in the first it is `hidden_dim`.
    conv : {"gcn", "mlp"}
    channels : (int, int, int)
        Edge channels at the start, between the layers and at the end.

    Examples
    --------
    >>> network = ScoreNetworkA(10, n_layers=5, hidden_dim=32, attention_dim=32)
    >>> sum(parameter.numel() for parameter in network.parameters())
    134369
    """

    def __init__(
        self,
        n_features: int,
        *,
        n_layers: int = 5,
        hidden_dim: int = 32,
        attention_dim: int = 32,
        n_heads: int = 4,
        mlp_layers: int = 2,
        conv: Literal["gcn", "mlp"] = "gcn",
        channels: tuple[int, int, int] = (2, 8, 4),
    ) -> None:
        super().__init__()
        self.n_channels = channels[0]
        self.layers = _attention_layers(
            n_features, n_layers, hidden_dim, attention_dim, channels, mlp_layers=mlp_layers, n_heads=n_heads, conv=conv
        )
        self.final = _edge_head(n_layers, channels)

    def forward(self, x: Nodes, a: Edges, real: Mask) -> Edges:
        return _edge_scores(self.layers, self.final, x, _powers(a, self.n_channels), real)


class BaselineNetwork(nn.Module):
    """Score of the edges without attention: the ablation, close to EDP-GNN. Parameters as for `ScoreNetworkA`."""

    def __init__(
        self,
        n_features: int,
        *,
        n_layers: int = 5,
        hidden_dim: int = 32,
        mlp_layers: int = 2,
        channels: tuple[int, int, int] = (2, 8, 4),
    ) -> None:
        super().__init__()
        self.n_channels = channels[0]
        widths, counts = _widths(n_features, n_layers, hidden_dim, channels)
        self.layers = nn.ModuleList(
            [
                _BaselineLayer(widths[k], hidden_dim, counts[k], counts[k + 1], mlp_layers=mlp_layers)
                for k in range(n_layers)
            ]
        )
        self.final = _edge_head(n_layers, channels)

    def forward(self, x: Nodes, a: Edges, real: Mask) -> Edges:
        return _edge_scores(self.layers, self.final, x, _powers(a, self.n_channels), real)


def _widths(
    n_features: int, n_layers: int, hidden_dim: int, channels: tuple[int, int, int]
) -> tuple[list[int], list[int]]:
    """Node features into each layer, and edge channels into each layer and out of the last."""
    first, between, last = channels
    return [n_features] + [hidden_dim] * (n_layers - 1), [first] + [between] * (n_layers - 1) + [last]


def _attention_layers(
    n_features: int,
    n_layers: int,
    hidden_dim: int,
    attention_dim: int,
    channels: tuple[int, int, int],
    *,
    mlp_layers: int,
    n_heads: int,
    conv: Literal["gcn", "mlp"],
) -> nn.ModuleList:
    widths, counts = _widths(n_features, n_layers, hidden_dim, channels)
    return nn.ModuleList(
        [
            AttentionLayer(
                widths[k],
                hidden_dim,
                attention_dim if k else hidden_dim,
                counts[k],
                counts[k + 1],
                mlp_layers=mlp_layers,
                n_heads=n_heads,
                conv=conv,
            )
            for k in range(n_layers)
        ]
    )


def _edge_head(n_layers: int, channels: tuple[int, int, int]) -> _PairMLP:
    width = channels[0] + (n_layers - 1) * channels[1] + channels[2]
    return _PairMLP((width, 2 * width, 2 * width, 1))


def _edge_scores(
    layers: nn.ModuleList, final: _PairMLP, x: Nodes, a: Float[Tensor, "channels graphs n n"], real: Mask
) -> Edges:
    pairs = Pairs.of(real)
    stages = [pairs.take(a)]
    for layer in layers:
        x, edges = layer(x, stages[-1], real, pairs)
        stages.append(edges)
    return pairs.spread(final(torch.cat(stages)))[0]

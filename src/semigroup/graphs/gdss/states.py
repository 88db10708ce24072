"""Graphs as padded dense states, and states as graphs again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from semigroup.data.graph_sets import GraphSet

__all__ = ["PaddedGraphs", "decode_graphs", "decode_types", "edge_noise", "node_noise", "pad_graphs"]


@dataclass(frozen=True)
class PaddedGraphs:
    """Graphs of up to n nodes in dense form, one byte an entry.

    Attributes
    ----------
    types : Tensor of shape (graphs, n)
        Class of each node: its degree, or the type that the user gave.
    orders : Tensor of shape (graphs, n, n)
        0 where there is no edge, else 1 or the order of the bond.
    real : Tensor of shape (graphs, n)
        False in padding.
    """

    types: UInt8[Tensor, "graphs n"]
    orders: UInt8[Tensor, "graphs n n"]
    real: Bool[Tensor, "graphs n"]

    def batch(
        self, index: Tensor, n_classes: int, device: torch.device | str
    ) -> tuple[Float[Tensor, "batch n classes"], Float[Tensor, "batch n n"], Bool[Tensor, "batch n"]]:
        """One-hot nodes, edges and mask of some graphs, cut to the largest of them."""
        real = self.real[index]
        n = int(real.sum(1).max())
        real = real[:, :n].to(device)
        nodes = torch.nn.functional.one_hot(self.types[index, :n].to(device).long(), n_classes).float()
        return nodes * real[..., None], self.orders[index, :n, :n].to(device).float(), real


def pad_graphs(graphs: GraphSet, types: Tensor, orders: Tensor) -> PaddedGraphs:
    """Dense form of a set with one type a node and one order an edge.

    Nodes without an edge are left out: the mask of a state is that of its non-zero rows.
    """
    joined = torch.zeros(len(graphs.batch), dtype=torch.bool)
    joined[graphs.edge_index[0]] = True
    graph, place, sizes = _places(graphs.batch, joined, len(graphs))
    n = int(sizes.max())
    real = torch.arange(n) < sizes[:, None]
    padded_types = torch.zeros(len(graphs), n, dtype=torch.uint8)
    padded_types[graph[joined], place[joined]] = types[joined].to(torch.uint8)
    padded_orders = torch.zeros(len(graphs), n, n, dtype=torch.uint8)
    source, target = graphs.edge_index
    padded_orders[graph[source], place[source], place[target]] = orders.to(torch.uint8)
    return PaddedGraphs(padded_types, padded_orders, real)


def decode_types(x: Float[Tensor, "graphs n classes"]) -> tuple[Tensor, Bool[Tensor, "graphs n"]]:
    """The class of each node, the first entry above 1/2, and whether there is one."""
    above = x > 0.5
    return above.int().argmax(-1), above.any(-1)


def decode_graphs(
    orders: Float[Tensor, "graphs n n"] | UInt8[Tensor, "graphs n n"],
    real: Bool[Tensor, "graphs n"],
    types: Tensor | None = None,
    *,
    n_orders: int = 1,
) -> GraphSet:
    """Graphs of edge states: rounded to 0, 1, ..., `n_orders` at the halves, without loops and isolated nodes.

    A graph in which no edge is left keeps its first node.

    Examples
    --------
    >>> a = torch.tensor([[[0, 0.9, 0.2], [0.9, 0, 0.4], [0.2, 0.4, 0]]])
    >>> decode_graphs(a, torch.ones(1, 3, dtype=torch.bool))
    GraphSet(1 graphs, 2 nodes, 1 edges)
    """
    rounded = torch.zeros_like(orders, dtype=torch.long)
    for k in range(n_orders):
        rounded += orders > k + 0.5
    n = orders.shape[1]
    rounded *= real[:, :, None] & real[:, None, :] & ~torch.eye(n, dtype=torch.bool, device=orders.device)
    kept = (rounded > 0).any(-1)
    kept[:, 0] |= ~kept.any(-1)
    batch = torch.arange(len(orders), device=orders.device).repeat_interleave(n)
    _, place, sizes = _places(batch, kept.flatten(), len(orders))
    start = (sizes.cumsum(0) - sizes).repeat_interleave(n)
    number = (place + start).view(-1, n)
    graph, i, j = rounded.nonzero(as_tuple=True)
    return GraphSet(
        sizes,
        torch.stack([number[graph, i], number[graph, j]]),
        None if types is None else types[kept][:, None],
        rounded[graph, i, j][:, None] if n_orders > 1 else None,
    )


def _places(batch: Tensor, kept: Tensor, n_graphs: int) -> tuple[Tensor, Tensor, Tensor]:
    """Graph of each node, its number among the kept nodes of that graph, and how many are kept in each."""
    sizes = torch.bincount(batch[kept], minlength=n_graphs)
    before = sizes.cumsum(0) - sizes
    return batch, kept.long().cumsum(0) - 1 - before[batch], sizes


def node_noise(x: Float[Tensor, "graphs n classes"], real: Tensor, generator: torch.Generator) -> Tensor:
    """Standard Gaussian noise on real nodes."""
    return torch.randn(x.shape, generator=generator, device=x.device) * real[..., None]


def edge_noise(a: Float[Tensor, "graphs n n"], real: Tensor, generator: torch.Generator) -> Tensor:
    """Standard Gaussian noise on the pairs of real nodes, drawn once a pair: symmetric, zero on the diagonal."""
    upper = torch.randn(a.shape, generator=generator, device=a.device).triu(1)
    return (upper + upper.mT) * (real[:, :, None] & real[:, None, :])

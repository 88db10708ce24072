r"""The graph network that an encoding is fed to: GINE layers, pooling, a head.

.. math:: X_i \leftarrow \mathrm{MLP}\Big((1 + \epsilon) X_i + \sum_{u \in N(i)} a_{iu} \mathrm{ReLU}(X_u + E_{ui})\Big)
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from semigroup.data.graph_sets import GraphSet
from semigroup.graphs.spe.blocks import MLP, PositionalEncoder
from semigroup.nn.graphs import sum_rows

__all__ = ["FeatureEmbedding", "GINELayer", "GraphNetwork"]


class FeatureEmbedding(nn.Module):
    """Integer columns through one table each, summed; floating columns through a linear map.

    Parameters
    ----------
    out_dim : int
    n_types : list of int, optional
        Sizes of the vocabularies, one a column.
    n_features : int, optional
        Floating columns.
    """

    def __init__(self, out_dim: int, *, n_types: list[int] | None = None, n_features: int | None = None) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, out_dim) for size in n_types or [])
        self.linear = None if n_features is None else nn.Linear(n_features, out_dim)

    def forward(self, features: Num[Tensor, "rows columns"]) -> Float[Tensor, "rows out"]:
        if self.linear is not None:
            return self.linear(features.to(self.linear.weight.dtype))
        embedded = self.tables[0](features[:, 0])
        for column, table in enumerate(list(self.tables)[1:], start=1):
            embedded = embedded + table(features[:, column])
        return embedded


class GINELayer(nn.Module):
    """One layer: GIN with edge features; an encoding enters it again, added to the nodes or multiplied to the edges."""

    def __init__(
        self,
        width: int,
        edges: FeatureEmbedding | None,
        encoding: MLP | None,
        on_edges: bool,
        mlp_layers: int,
        norm: str,
        dropout: float,
        epsilon_std: float,
    ) -> None:
        super().__init__()
        self.edges = edges
        self.encoding = encoding
        self.on_edges = on_edges
        self.mlp = MLP(width, width, width, mlp_layers, norm, dropout)
        self.epsilon = nn.Parameter(epsilon_std * torch.randn(()))

    def forward(
        self, x: Float[Tensor, "nodes h"], graphs: GraphSet, encoding: Float[Tensor, "rows p"] | None
    ) -> Float[Tensor, "nodes h"]:
        source, target = graphs.edge_index
        on_edges = None
        if self.edges is not None and graphs.edge_features is not None:
            on_edges = self.edges(graphs.edge_features)
        if self.encoding is not None and encoding is not None:
            entering = self.encoding(encoding)
            if not self.on_edges:
                x = x + entering
            else:
                on_edges = entering if on_edges is None else on_edges * entering
        message = x.index_select(0, source)
        message = (message if on_edges is None else message + on_edges).relu()
        if graphs.edge_weight is not None:
            message = message * graphs.edge_weight[:, None].to(message.dtype)
        return self.mlp((1 + self.epsilon) * x + sum_rows(message, target, len(x)))


class GraphNetwork(nn.Module):
    """Encoder, GINE layers, pooling over the nodes of each graph and an MLP.

    Parameters
    ----------
    encoder : PositionalEncoder or None
    n_outputs : int
    hidden_dim : int
    n_layers : int
    node_types, edge_types : list of int or None
        Sizes of the vocabularies of integer features, one a column.
    n_node_features, n_edge_features : int or None
        Numbers of floating features; nodes without any start alike.
    combine : {"add", "concat"}
        How the encoding meets the node embedding.
    reinject : bool
        Let the encoding enter every layer again, as in the paper's code.
    pool : {"mean", "sum"}
    residual : bool
    mlp_layers : int
    norm : {"batch", "layer", "none"}
    dropout : float
    epsilon_std : float
    """

    def __init__(
        self,
        encoder: PositionalEncoder | None,
        n_outputs: int,
        *,
        hidden_dim: int,
        n_layers: int,
        node_types: list[int] | None = None,
        n_node_features: int | None = None,
        edge_types: list[int] | None = None,
        n_edge_features: int | None = None,
        combine: Literal["add", "concat"] = "add",
        reinject: bool = True,
        pool: Literal["mean", "sum"] = "mean",
        residual: bool = True,
        mlp_layers: int = 3,
        norm: str = "batch",
        dropout: float = 0.0,
        epsilon_std: float = 0.0,
    ) -> None:
        super().__init__()
        h = hidden_dim
        self.encoder = encoder
        self.combine, self.pool, self.residual = combine, pool, residual
        if node_types is None and n_node_features is None:
            node_types = [1]
        self.nodes = FeatureEmbedding(h, n_types=node_types, n_features=n_node_features)
        on_nodes = encoder is not None and not encoder.on_edges
        self.from_encoding = nn.Linear(encoder.out_dim, h) if encoder is not None and on_nodes else None
        self.join = nn.Linear(2 * h, h) if combine == "concat" and on_nodes else None

        def layer() -> GINELayer:
            has_edges = edge_types is not None or n_edge_features is not None
            edges = FeatureEmbedding(h, n_types=edge_types, n_features=n_edge_features) if has_edges else None
            enters = encoder is not None and (encoder.on_edges or reinject)
            encoding = MLP(encoder.out_dim, h, h, mlp_layers, norm, dropout) if encoder is not None and enters else None
            return GINELayer(h, edges, encoding, not on_nodes, mlp_layers, norm, dropout, epsilon_std)

        self.layers = nn.ModuleList(layer() for _ in range(n_layers))
        # No batch statistics behind the pooling: a last batch may hold a single graph.
        self.head = MLP(h, h, n_outputs, mlp_layers, "none" if norm == "batch" else norm, dropout)

    def forward(self, graphs: GraphSet) -> Float[Tensor, "graphs outputs"]:
        """Outputs of graphs that hold their eigenpairs."""
        types = graphs.node_features
        n, device = len(graphs.batch), graphs.n_nodes.device
        x = self.nodes(torch.zeros(n, 1, dtype=torch.long, device=device) if types is None else types)
        encoding = None if self.encoder is None else self.encoder.encode(graphs)
        if self.from_encoding is not None and encoding is not None:
            entering = self.from_encoding(encoding)
            x = x + entering if self.join is None else self.join(torch.cat([x, entering], dim=1))
        for layer in self.layers:
            y = layer(x, graphs, encoding)
            x = x + y if self.residual else y
        pooled = sum_rows(x, graphs.batch, len(graphs))
        if self.pool == "mean":
            pooled = pooled / graphs.n_nodes[:, None]
        return self.head(pooled)

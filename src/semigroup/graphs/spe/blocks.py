r"""Blocks that the encoder, its rivals and the backbone share: MLP, graph copies and GIN on them, checked batches.

A network that treats every column of :math:`W \in R^{n \times n \times m}` as a signal on the graph sees one *copy* of the
graph for each column. Here the copies are laid end to end, so a batch of graphs of any sizes is one long list of rows without
padding: normalisation sees real node pairs only, and its statistics do not depend on which graphs share a batch with a
large one.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from semigroup.data.graph_sets import GraphSet, ranges
from semigroup.graphs.spe.spectrum import check_eigenpairs
from semigroup.nn.graphs import sparse_rows, symmetric_product

__all__ = [
    "GIN",
    "MLP",
    "Copies",
    "Norm",
    "PositionalEncoder",
    "batch_of",
    "copy_graphs",
    "make_norm",
    "real_eigenpairs",
]

Norm = Literal["batch", "layer", "none"]


class _BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that falls back on its running statistics where a batch has a single row."""

    def forward(self, input: Tensor) -> Tensor:
        if self.training and len(input) < 2:
            return nn.functional.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias)
        return super().forward(input)


def make_norm(norm: str, width: int) -> nn.Module:
    """The normalisation of rows of a given width."""
    return {"batch": _BatchNorm, "layer": nn.LayerNorm, "none": nn.Identity}[norm](width)


class MLP(nn.Sequential):
    """(n_layers − 1) × [Linear, norm, ReLU, dropout], then Linear and dropout."""

    def __init__(self, in_dim: int, hidden: int, out_dim: int, n_layers: int, norm: str, dropout: float = 0.0) -> None:
        layers: list[nn.Module] = []
        width = in_dim
        for _ in range(n_layers - 1):
            layers += [nn.Linear(width, hidden), make_norm(norm, hidden), nn.ReLU()]
            layers += [nn.Dropout(dropout)] if dropout else []
            width = hidden
        layers += [nn.Linear(width, out_dim)] + ([nn.Dropout(dropout)] if dropout else [])
        super().__init__(*layers)
        # What autograd keeps a row: the input of each linear map and of its norm; ReLU keeps its result, the next input.
        norms = 0 if norm == "none" else n_layers - 1
        self.floats_per_row = in_dim + (n_layers - 1) * hidden + norms * hidden


@dataclass(frozen=True)
class Copies:
    """Copies of graphs, one for each column, end to end; row p is node ``node[p]`` in the copy of ``column[p]``.

    Attributes
    ----------
    node : Tensor of shape (rows,)
    column : Tensor of shape (rows,)
    adjacency : sparse CSR Tensor of shape (rows, rows)
        Symmetric: the copies' edges, weighted.
    n_all : int
        Nodes of the batch.
    """

    node: Tensor
    column: Tensor
    adjacency: Tensor
    n_all: int


def copy_graphs(graphs: GraphSet, owner: Int[Tensor, " columns"], dtype: torch.dtype) -> Copies:
    """One copy of graph ``owner[c]`` for each column c."""
    n_nodes, n_edges = graphs.n_nodes[owner], graphs.n_edges[owner]
    first_row = n_nodes.cumsum(0) - n_nodes
    column = torch.arange(len(owner), device=owner.device).repeat_interleave(n_nodes)
    node = ranges(graphs.node_start[owner], n_nodes)
    source, target = graphs.edge_index
    n_all = len(graphs.batch)
    by_target = torch.argsort(target * n_all + source)
    edge = by_target[ranges(graphs.edge_start[owner], n_edges)]
    columns = source[edge] + (first_row - graphs.node_start[owner]).repeat_interleave(n_edges)
    degree = torch.bincount(target, minlength=n_all)[node]
    weight = graphs.edge_weight
    values = torch.ones(len(edge), dtype=dtype, device=owner.device) if weight is None else weight[edge].to(dtype)
    return Copies(node, column, sparse_rows(degree, columns, values), n_all)


class GIN(nn.Module):
    r"""Graph isomorphism network shared by all copies of the graphs.

    .. math:: X_{ij} \leftarrow \mathrm{MLP}\Big((1 + \epsilon) X_{ij} + \sum_{u \in N(i)} a_{iu} X_{uj}\Big)

    Parameters
    ----------
    in_dim, hidden, out_dim : int
        Widths: in → hidden → ... → out.
    n_layers, mlp_layers : int
        Layers of the network, and of the MLP in each.
    norm : {"batch", "layer", "none"}
    dropout : float
    residual : bool
        Add a layer's input to its output where the widths agree.
    norm_between : bool
        Normalise between layers also.
    epsilon_std : float
        Standard deviation of the initial ε (the paper's code: 1, which makes runs differ much by seed).
    """

    def __init__(
        self,
        in_dim: int,
        hidden: int,
        out_dim: int,
        *,
        n_layers: int,
        mlp_layers: int,
        norm: str,
        dropout: float = 0.0,
        residual: bool = False,
        norm_between: bool = False,
        epsilon_std: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [in_dim] + [hidden] * (n_layers - 1) + [out_dim]
        mlps = [MLP(before, hidden, after, mlp_layers, norm, dropout) for before, after in itertools.pairwise(widths)]
        self.mlps = nn.ModuleList(mlps)
        self.norms = nn.ModuleList(
            make_norm(norm if norm_between and layer < n_layers - 1 else "none", width)
            for layer, width in enumerate(widths[1:])
        )
        self.epsilon = nn.Parameter(epsilon_std * torch.randn(n_layers))
        self.residual = residual
        self.floats_per_row = sum(mlp.floats_per_row + before for mlp, before in zip(mlps, widths))

    def layer(self, number: int, x: Float[Tensor, "rows f"], copies: Copies) -> Float[Tensor, "rows f2"]:
        """One layer."""
        mixed = (1 + self.epsilon[number]) * x + symmetric_product(copies.adjacency, x)
        y = self.norms[number](self.mlps[number](mixed))
        return y + x if self.residual and y.shape == x.shape else y

    def forward(self, x: Float[Tensor, "rows f"], copies: Copies) -> Float[Tensor, "rows out"]:
        for number in range(len(self.mlps)):
            x = self.layer(number, x, copies)
        return x


def batch_of(
    eigenvalues: Float[Tensor, "graphs d"],
    eigenvectors: Float[Tensor, "nodes d2"],
    edge_index: Int[Tensor, "2 edges"],
    batch: Int[Tensor, " nodes2"] | None = None,
    edge_weight: Tensor | None = None,
) -> GraphSet:
    """The encoders' arguments as one object, its edges grouped by graph.

    Raises
    ------
    ValueError
        If the shapes of the batch vector, the eigenpairs and the edges do not agree, or an edge is out of range.
    """
    n = len(eigenvectors)
    if batch is None:
        batch = torch.zeros(n, dtype=torch.long, device=eigenvectors.device)
    if len(batch) != n:
        raise ValueError(f"batch must have one entry a row of eigenvectors ({n}), got {len(batch)}")
    if n == 0:
        raise ValueError("eigenvectors is empty: it has no rows")
    if bool((batch[1:] < batch[:-1]).any()) or int(batch[0]) < 0:
        raise ValueError("batch must be sorted: the nodes of a graph follow each other")
    if int(batch[-1]) >= len(eigenvalues):
        raise ValueError(f"batch must hold graph numbers below the rows of eigenvalues ({len(eigenvalues)})")
    if eigenvalues.shape[1] != eigenvectors.shape[1]:
        raise ValueError(
            f"eigenvectors must have as many columns as eigenvalues ({eigenvalues.shape[1]}), got {eigenvectors.shape[1]}"
        )
    if edge_index.numel():
        low, high = int(edge_index.min()), int(edge_index.max())
        if low < 0 or high >= n:
            raise ValueError(f"edge_index must hold node numbers 0..{n - 1}, got {low if low < 0 else high}")
        if bool((batch[edge_index[0]] != batch[edge_index[1]]).any()):
            raise ValueError("edge_index joins nodes of different graphs of batch")
    if edge_weight is not None and len(edge_weight) != edge_index.shape[1]:
        raise ValueError(f"edge_weight must have one entry an edge ({edge_index.shape[1]}), got {len(edge_weight)}")
    if edge_weight is not None and not bool(((edge_weight >= 0) & edge_weight.isfinite()).all()):
        raise ValueError("edge_weight must be finite and >= 0")
    _check_both_directions(edge_index, edge_weight, n)
    kept = torch.nonzero(edge_index[0] != edge_index[1])[:, 0]
    kept = kept[torch.argsort(batch[edge_index[0, kept]], stable=True)]
    return GraphSet(
        torch.bincount(batch, minlength=len(eigenvalues)),
        edge_index[:, kept],
        edge_weight=None if edge_weight is None else edge_weight[kept],
        eigenvalues=eigenvalues,
        eigenvectors=eigenvectors,
    )


def _check_both_directions(edge_index: Int[Tensor, "2 edges"], edge_weight: Tensor | None, n: int) -> None:
    """Refuse edges, or weights, that are not the same in both directions."""
    forth, order = (edge_index[0] * n + edge_index[1]).sort(stable=True)
    back, reverse = (edge_index[1] * n + edge_index[0]).sort(stable=True)
    if not torch.equal(forth, back):
        raise ValueError("edge_index must hold each edge in both directions (an undirected graph)")
    if edge_weight is not None and not torch.allclose(edge_weight[order], edge_weight[reverse], rtol=1e-5):
        raise ValueError("edge_weight must be the same in both directions of an edge")


class PositionalEncoder(nn.Module):
    """What all encoders share: eigenpairs and edges of a batch → encodings of its nodes.

    Attributes
    ----------
    out_dim : int
        Width of the encoding.
    on_edges : bool
        Whether the encoding is one of edges (PEG) rather than of nodes.
    """

    out_dim: int
    on_edges = False

    def forward(
        self,
        eigenvalues: Float[Tensor, "graphs d"],
        eigenvectors: Float[Tensor, "nodes d2"],
        edge_index: Int[Tensor, "2 edges"],
        batch: Int[Tensor, " nodes2"] | None = None,
        edge_weight: Float[Tensor, " edges2"] | None = None,
    ) -> Float[Tensor, "rows p"]:
        """Encodings of the nodes, after the arguments were checked.

        Parameters
        ----------
        eigenvalues : Tensor of shape (graphs, d)
            Ascending, within [0, 2]; zeros beyond a graph's number of nodes.
        eigenvectors : Tensor of shape (nodes, d)
            One column an eigenvalue; zeros beyond a graph's number of nodes.
        edge_index : Tensor of shape (2, edges)
            Each edge in both directions.
        batch : Tensor of shape (nodes,), optional
            The graph of each node, ascending; None for a single graph.
        edge_weight : Tensor of shape (edges,), optional

        Returns
        -------
        Tensor of shape (nodes, out_dim)

        Raises
        ------
        ValueError
            If the shapes do not agree, an edge is out of range or has one direction only, or the eigenpairs are none of
            a normalised Laplacian.
        """
        graphs = batch_of(eigenvalues, eigenvectors, edge_index, batch, edge_weight)
        check_eigenpairs(eigenvalues, eigenvectors, graphs.n_nodes)
        return self.encode(graphs)

    def encode(self, graphs: GraphSet) -> Float[Tensor, "rows p"]:
        """Encodings of the nodes of graphs that were checked and hold their eigenpairs."""
        raise NotImplementedError


def real_eigenpairs(graphs: GraphSet) -> Bool[Tensor, "graphs d"]:
    """Which eigenpairs are no padding."""
    assert graphs.eigenvalues is not None
    d = graphs.eigenvalues.shape[1]
    return torch.arange(d, device=graphs.n_nodes.device) < graphs.n_nodes[:, None]

"""Many small graphs as one object: flat tensors, checked once, from which a mini-batch is cut without a loop over graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch_geometric.data import Batch, Data

from semigroup.base import check_array
from semigroup.operators import Graph, as_graph

__all__ = ["GraphSet", "as_graph_set", "pad_rows", "ranges", "to_networkx"]


def ranges(start: Int[Tensor, " pieces"], length: Int[Tensor, " pieces"]) -> Int[Tensor, " total"]:
    """The integer ranges ``start[i], ..., start[i] + length[i] - 1``, one after the other.

    Examples
    --------
    >>> ranges(torch.tensor([0, 10]), torch.tensor([2, 3])).tolist()
    [0, 1, 10, 11, 12]
    """
    before = length.cumsum(0) - length
    return torch.arange(int(length.sum()), device=start.device) + (start - before).repeat_interleave(length)


@dataclass(frozen=True)
class GraphSet:
    """Undirected graphs with optional features, laid end to end.

    Attributes
    ----------
    n_nodes : Tensor of shape (graphs,)
        Nodes of each graph.
    edge_index : Tensor of shape (2, edges)
        Source and target of each edge in both directions, numbered over the whole set, grouped by graph.
    node_features, edge_features : Tensor or None
        Integer (nodes, columns) for types, one vocabulary a column; floating for measured features.
    edge_weight : Tensor of shape (edges,) or None
        Weights; None where all are 1.
    eigenvalues : Tensor of shape (graphs, d) or None
    eigenvectors : Tensor of shape (nodes, d) or None
        Eigenpairs of the normalised Laplacian, ascending, padded with zeros where a graph has fewer than d nodes.
    node_types, edge_types : tuple of int or None
        Sizes of the vocabularies of integer features, one a column, where they are known beyond what occurs here.
    """

    n_nodes: Tensor
    edge_index: Tensor
    node_features: Tensor | None = None
    edge_features: Tensor | None = None
    edge_weight: Tensor | None = None
    eigenvalues: Tensor | None = None
    eigenvectors: Tensor | None = None
    node_types: tuple[int, ...] | None = None
    edge_types: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.n_nodes)

    def __repr__(self) -> str:
        return f"GraphSet({len(self)} graphs, {len(self.batch)} nodes, {self.edge_index.shape[1] // 2} edges)"

    @cached_property
    def node_start(self) -> Tensor:
        """Number of each graph's first node."""
        return self.n_nodes.cumsum(0) - self.n_nodes

    @cached_property
    def batch(self) -> Tensor:
        """The graph of each node."""
        return torch.arange(len(self.n_nodes), device=self.n_nodes.device).repeat_interleave(self.n_nodes)

    @cached_property
    def n_edges(self) -> Tensor:
        """Directed edges of each graph."""
        return torch.bincount(self.batch[self.edge_index[0]], minlength=len(self.n_nodes))

    @cached_property
    def edge_start(self) -> Tensor:
        """Number of each graph's first edge."""
        return self.n_edges.cumsum(0) - self.n_edges

    def select(self, index: Any) -> GraphSet:
        """The graphs of the given numbers, in their order."""
        chosen = torch.as_tensor(index, device=self.n_nodes.device)
        n_nodes, n_edges = self.n_nodes[chosen], self.n_edges[chosen]
        nodes = ranges(self.node_start[chosen], n_nodes)
        edges = ranges(self.edge_start[chosen], n_edges)
        shift = (n_nodes.cumsum(0) - n_nodes - self.node_start[chosen]).repeat_interleave(n_edges)
        return GraphSet(
            n_nodes,
            self.edge_index[:, edges] + shift,
            _rows(self.node_features, nodes),
            _rows(self.edge_features, edges),
            _rows(self.edge_weight, edges),
            _rows(self.eigenvalues, chosen),
            _rows(self.eigenvectors, nodes),
            self.node_types,
            self.edge_types,
        )

    def to(self, device: Any) -> GraphSet:
        """A copy on another device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {n: v.to(device) if isinstance(v, Tensor) else v for n, v in values.items()}
        return GraphSet(**moved)

    def adjacency(self) -> sp.csr_array:
        """The block-diagonal adjacency matrix of the whole set."""
        n = len(self.batch)
        weight = torch.ones(self.edge_index.shape[1]) if self.edge_weight is None else self.edge_weight
        source, target = self.edge_index.cpu().numpy()
        return sp.csr_array(sp.coo_array((weight.double().cpu().numpy(), (source, target)), shape=(n, n)))


def as_graph_set(graphs: Any, name: str = "graphs", *, allow_loops: bool = True) -> GraphSet:
    """Graphs in any of the forms that users hold, checked.

    Parameters
    ----------
    graphs : GraphSet, or list of PyG ``Data``, networkx graphs, scipy sparse matrices or SMILES strings
        A PyG data set or ``Batch`` is such a list. PyG: ``x``, ``edge_index``, ``edge_attr``, ``edge_weight`` and, where
        present, ``eigenvalues`` and ``eigenvectors``. networkx: the node attribute ``type`` (integer) or ``x`` (numbers), the
        same of edges, and the edge attribute ``weight``. SMILES need the extra ``chem``.
    name : str
        The argument's name, for the error.
    allow_loops : bool
        Whether graphs with self-loops are taken, without them, or refused.

    Returns
    -------
    GraphSet
        Self-loops are dropped, as PyG's ``get_laplacian`` does: the encoders see the graph without them.

    Raises
    ------
    TypeError
        If the form is not one of these.
    ValueError
        If there is no graph, a graph has no nodes, an edge's end is out of range, the adjacency is not symmetric, a
        weight is negative, a number is NaN or infinite, or only some graphs have features.

    Examples
    --------
    >>> import networkx as nx
    >>> as_graph_set([nx.cycle_graph(4), nx.path_graph(3)])
    GraphSet(2 graphs, 7 nodes, 6 edges)
    """
    if isinstance(graphs, GraphSet):
        found = graphs
    else:
        if isinstance(graphs, Batch):
            graphs = graphs.to_data_list()
        # One graph has a length too (networkx: its nodes, PyG: its fields), and so has a PyG data set, which has edges.
        alone = isinstance(graphs, Data) or hasattr(graphs, "nodes") or sp.issparse(graphs)
        if alone or isinstance(graphs, str) or not hasattr(graphs, "__len__"):
            raise TypeError(f"{name} must be a list of graphs, got {'one ' * alone}{type(graphs).__name__}")
        if len(graphs) == 0:
            raise ValueError(f"{name} is empty: it holds no graph")
        if isinstance(graphs[0], str):
            from semigroup.data.molecules import graphs_from_smiles

            found = graphs_from_smiles(list(graphs), name)
        else:
            found = _lay_end_to_end([_read_one(graph, f"{name}[{i}]") for i, graph in enumerate(graphs)], name)
    return _checked(found, name, allow_loops)


def _checked(graphs: GraphSet, name: str, allow_loops: bool) -> GraphSet:
    """The set without self-loops, edges grouped by graph, or the reason why it cannot be used."""
    if len(graphs) == 0:
        raise ValueError(f"{name} is empty: it holds no graph")
    if int(graphs.n_nodes.min()) < 1:
        raise ValueError(f"{name} holds an empty graph (number {int(graphs.n_nodes.argmin())}): it has no nodes")
    n, m = int(graphs.n_nodes.sum()), graphs.edge_index.shape[1]
    for what, rows, expected in (
        ("node_features", graphs.node_features, n),
        ("edge_features", graphs.edge_features, m),
        ("edge_weight", graphs.edge_weight, m),
        ("eigenvalues", graphs.eigenvalues, len(graphs)),
        ("eigenvectors", graphs.eigenvectors, n),
    ):
        if rows is None:
            continue
        if len(rows) != expected:
            raise ValueError(f"{name}: {what} must have {expected} rows, got {len(rows)}")
        if what == "edge_weight" and rows.dim() != 1:
            raise ValueError(f"{name}: edge_weight must have one number an edge, got shape {tuple(rows.shape)}")
        if rows.is_floating_point() and not bool(torch.isfinite(rows).all()):
            raise ValueError(f"{name}: {what} holds NaN or infinity")
        if not rows.is_floating_point() and rows.numel() and int(rows.min()) < 0:
            raise ValueError(f"{name}: {what} holds the negative type {int(rows.min())}")
    if m and (int(graphs.edge_index.min()) < 0 or int(graphs.edge_index.max()) >= n):
        raise ValueError(f"{name}: edge_index must hold node numbers 0..{n - 1}")
    source, target = graphs.edge_index
    if m and bool((graphs.batch[source] != graphs.batch[target]).any()):
        raise ValueError(f"{name}: edge_index joins nodes of different graphs")
    kept = torch.nonzero(source != target)[:, 0]
    if len(kept) < m and not allow_loops:
        looped = int(graphs.batch[source[source == target][0]])
        raise ValueError(f"{name} must have no self-loops, and graph {looped} has one")
    kept = kept[torch.argsort(graphs.batch[source[kept]], stable=True)]
    result = replace(
        graphs,
        edge_index=graphs.edge_index[:, kept],
        edge_features=_rows(graphs.edge_features, kept),
        edge_weight=_rows(graphs.edge_weight, kept),
    )
    as_graph(result.adjacency(), name, directed=False)
    return result


def to_networkx(graphs: GraphSet) -> list[Any]:
    """The graphs as networkx ones, one integer type a node or edge as its attribute ``type``.

    Examples
    --------
    >>> import networkx as nx
    >>> [graph.number_of_edges() for graph in to_networkx(as_graph_set([nx.cycle_graph(4), nx.path_graph(3)]))]
    [4, 2]
    """
    import networkx as nx

    result = [nx.empty_graph(n) for n in graphs.n_nodes.tolist()]
    once = (graphs.edge_index[0] < graphs.edge_index[1]).nonzero()[:, 0]
    owner = graphs.batch[graphs.edge_index[0, once]]
    ends = (graphs.edge_index[:, once] - graphs.node_start[owner]).T.tolist()
    types = (
        [{} for _ in ends]
        if graphs.edge_features is None
        else [{"type": t} for t in graphs.edge_features[once, 0].tolist()]
    )
    for number, (i, j), attributes in zip(owner.tolist(), ends, types):
        result[number].add_edge(i, j, **attributes)
    if graphs.node_features is not None:
        place = ranges(torch.zeros_like(graphs.n_nodes), graphs.n_nodes).tolist()
        for number, node, kind in zip(graphs.batch.tolist(), place, graphs.node_features[:, 0].tolist()):
            result[number].nodes[node]["type"] = kind
    return result


def _lay_end_to_end(pieces: Sequence[GraphSet], name: str) -> GraphSet:
    n_nodes = torch.cat([piece.n_nodes for piece in pieces])
    starts = (n_nodes.cumsum(0) - n_nodes).tolist()
    edge_index = torch.cat([piece.edge_index + start for piece, start in zip(pieces, starts)], dim=1)
    joined: dict[str, Any] = {}
    for what in ("node_features", "edge_features", "edge_weight", "eigenvalues", "eigenvectors"):
        parts = [getattr(piece, what) for piece in pieces]
        if what.startswith("edge"):  # a graph without edges has no edge features to show
            parts = [part for part, piece in zip(parts, pieces) if part is not None or piece.edge_index.shape[1]]
        missing = [part is None for part in parts]
        if any(missing) and not all(missing):
            raise ValueError(f"{name}: some graphs have {what} and some have not")
        if not parts or all(missing):
            joined[what] = None
            continue
        shapes = {(part.shape[1:], part.is_floating_point()) for part in parts}
        if len(shapes) > 1:
            raise ValueError(f"{name}: {what} must have the same columns and kind in every graph")
        joined[what] = torch.cat(parts)
    return GraphSet(n_nodes, edge_index, **joined)


def _read_one(graph: Any, name: str) -> GraphSet:
    if hasattr(graph, "edge_index"):  # PyG
        return _from_pyg(graph, name)
    if hasattr(graph, "adjacency") and hasattr(graph, "nodes") and not isinstance(graph, Graph):
        return _from_networkx(graph, name)
    adjacency = as_graph(graph, name, directed=False).adjacency.tocoo()
    weight = torch.from_numpy(adjacency.data)
    return GraphSet(
        torch.tensor([adjacency.shape[0]]),
        torch.from_numpy(np.stack([adjacency.row, adjacency.col]).astype(np.int64)),
        edge_weight=None if bool((weight == 1).all()) else weight,
    )


def _from_pyg(data: Any, name: str) -> GraphSet:
    n = data.num_nodes
    if not n:
        raise ValueError(f"{name} is empty: it has no nodes")
    edge_index = data.edge_index
    if edge_index is None:
        raise ValueError(f"{name}.edge_index is missing: a graph without edges has one of shape (2, 0)")
    if edge_index.dim() != 2 or edge_index.shape[0] != 2 or edge_index.is_floating_point():
        raise ValueError(f"{name}.edge_index must be an integer tensor of shape (2, m), got {tuple(edge_index.shape)}")
    # Within its own graph: laid end to end, an end out of range would be some other graph's node.
    if edge_index.numel() and (int(edge_index.min()) < 0 or int(edge_index.max()) >= n):
        raise ValueError(f"{name}.edge_index must hold node numbers 0..{n - 1}, got {int(edge_index.max())}")
    found = GraphSet(
        torch.tensor([n]),
        edge_index.long(),
        _as_columns(getattr(data, "x", None)),
        _as_columns(getattr(data, "edge_attr", None)),
        getattr(data, "edge_weight", None),
        getattr(data, "eigenvalues", None),
        getattr(data, "eigenvectors", None),
    )
    for what, rows, expected in (
        ("x", found.node_features, n),
        ("edge_attr", found.edge_features, edge_index.shape[1]),
    ):
        if rows is not None and len(rows) != expected:
            raise ValueError(f"{name}.{what} must have {expected} rows, got {len(rows)}")
    return found


def _from_networkx(graph: Any, name: str) -> GraphSet:
    if graph.is_directed():
        raise ValueError(f"{name} must be undirected, got a networkx {type(graph).__name__}")
    if graph.number_of_nodes() == 0:
        raise ValueError(f"{name} is empty: it has no nodes")
    number = {node: i for i, node in enumerate(graph.nodes)}
    edges = list(graph.edges(data=True))
    ends = torch.tensor([[number[u], number[v]] for u, v, _ in edges], dtype=torch.long).reshape(-1, 2).T
    weights = [attributes.get("weight") for *_, attributes in edges]
    weight = None
    if any(w is not None for w in weights):
        filled = check_array([1.0 if w is None else w for w in weights], f"{name}: edge attribute 'weight'", ndim=1)
        weight = torch.from_numpy(filled).repeat(2)
    edge_features = _attributes([attributes for *_, attributes in edges], f"{name}: edge")
    return GraphSet(
        torch.tensor([len(number)]),
        torch.cat([ends, ends.flip(0)], dim=1),
        _attributes([attributes for _, attributes in graph.nodes(data=True)], f"{name}: node"),
        None if edge_features is None else torch.cat([edge_features, edge_features]),
        weight,
    )


def _attributes(rows: list[dict[str, Any]], what: str) -> Tensor | None:
    for key in ("type", "x"):
        have = [key in row for row in rows]
        if rows and all(have):
            return _as_columns(torch.as_tensor(np.array([row[key] for row in rows])))
        if any(have):
            raise ValueError(f"{what} attribute '{key}' is missing on some")
    return None


def _as_columns(values: Any) -> Tensor | None:
    """Features as (rows, columns): long for types, the default floating type for numbers."""
    if values is None:
        return None
    rows = torch.as_tensor(values)
    rows = rows[:, None] if rows.dim() == 1 else rows
    return rows.to(torch.get_default_dtype()) if rows.is_floating_point() else rows.long()


def _rows(values: Tensor | None, index: Int[Tensor, " rows"]) -> Tensor | None:
    return None if values is None else values[index]


def pad_rows(values: Float[Tensor, "nodes d"], n_nodes: Int[Tensor, " graphs"]) -> Float[Tensor, "graphs largest d"]:
    """Rows of each graph as one padded tensor, zeros below."""
    largest = int(n_nodes.max())
    graph = torch.arange(len(n_nodes), device=values.device).repeat_interleave(n_nodes)
    position = ranges(torch.zeros_like(n_nodes), n_nodes)
    padded = values.new_zeros(len(n_nodes), largest, values.shape[1])
    return padded.index_put((graph, position), values)

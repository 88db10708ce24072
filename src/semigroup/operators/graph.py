"""A graph is a scipy CSR matrix of weights and, where the user has them, the names of its nodes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from torch import Tensor

__all__ = ["Graph", "as_graph", "check_connected"]


@dataclass(frozen=True)
class Graph:
    """A weighted graph.

    Attributes
    ----------
    adjacency : csr_array of shape (n, n)
        Weight of the edge from row to column; sorted indices, no duplicates, no explicit zeros.
    nodes : ndarray of shape (n,) or None
        The user's own names of the nodes; None where they are 0..n-1.
    """

    adjacency: sp.csr_array
    nodes: np.ndarray | None = None

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return self.adjacency.shape[0]

    @property
    def names(self) -> np.ndarray:
        """Names of the nodes, or their numbers."""
        return np.arange(self.n_nodes) if self.nodes is None else self.nodes

    def index(self, nodes: Any, name: str = "nodes") -> np.ndarray:
        """Row numbers of nodes given by the user's names.

        Raises
        ------
        ValueError
            If one is not a node of the graph; names the argument and the first such node.
        """
        wanted = np.atleast_1d(np.asarray(nodes))
        if self.nodes is None:
            numbers = wanted.astype(np.int64) if wanted.dtype.kind in "iu" else None
            unknown = wanted[:1] if numbers is None else wanted[(numbers < 0) | (numbers >= self.n_nodes)]
        else:
            found = [self._position.get(str(node), -1) for node in wanted]
            numbers = np.array(found, dtype=np.int64)
            unknown = wanted[numbers < 0]
        if numbers is None or len(unknown):
            raise ValueError(f"{name} holds {unknown[0]!r}, which is no node of the graph ({self.n_nodes} nodes)")
        return numbers

    @cached_property
    def _position(self) -> dict[str, int]:
        """Row number of each name, made once: a query must not cost a pass over all nodes."""
        return {str(node): i for i, node in enumerate(self.names)}


def as_graph(graph: Any, name: str = "graph", *, directed: bool | None = None, allow_negative: bool = False) -> Graph:
    """A graph from any of the forms that users hold.

    Parameters
    ----------
    graph : Graph, sparse or dense (n, n) matrix, networkx graph, PyG ``Data``, or edge list
        An edge list is an integer array of shape (m, 2), or a float array of shape (m, 3) whose last column is the
        weight, with m ≠ n. Its edges are taken in both directions unless ``directed=True``. A networkx graph brings its
        node names and its ``weight`` attributes; PyG's ``edge_index`` is directed as it stands.
    name : str
        The argument's name, for the error.
    directed : bool, optional
        ``False`` demands a symmetric result; ``True`` keeps an edge list's direction; ``None`` takes what comes.
    allow_negative : bool
        Whether weights below zero are accepted.

    Raises
    ------
    TypeError
        If the form is not one of these.
    ValueError
        If the matrix is not square or is empty, a weight is NaN, infinite or negative, or it must be symmetric and is not.

    Examples
    --------
    >>> as_graph(np.array([[0, 1], [1, 2]])).adjacency.toarray()
    array([[0., 1., 0.],
           [1., 0., 1.],
           [0., 1., 0.]])
    """
    nodes = None
    if isinstance(graph, Graph):
        adjacency, nodes = graph.adjacency, graph.nodes
    elif sp.issparse(graph):
        adjacency = sp.csr_array(graph)
    elif hasattr(graph, "adjacency") and hasattr(graph, "nodes"):  # networkx
        import networkx as nx

        names = list(graph.nodes)
        if not names:
            raise ValueError(f"{name} is empty: it has no nodes")
        adjacency = sp.csr_array(nx.to_scipy_sparse_array(graph, nodelist=names, dtype=np.float64, format="csr"))
        nodes = None if names == list(range(len(names))) else np.array(names, dtype=None if _alike(names) else object)
    elif hasattr(graph, "edge_index"):  # PyG
        adjacency = _from_pyg(graph)
    elif isinstance(graph, np.ndarray | Tensor | list | tuple):
        adjacency = _from_array(np.asarray(graph), name, bool(directed))
    else:
        raise TypeError(
            f"{name} must be a scipy sparse matrix, a networkx graph, PyG data or an edge list, got {type(graph).__name__}"
        )
    if adjacency.ndim != 2 or adjacency.shape[0] != adjacency.shape[1]:
        raise ValueError(f"{name} must be a square adjacency matrix, got shape {adjacency.shape}")
    if adjacency.shape[0] == 0:
        raise ValueError(f"{name} is empty: it has no nodes")
    if adjacency.dtype.kind == "c":
        raise ValueError(f"{name} must have real weights, got complex ones")
    if adjacency.dtype != np.float64:
        adjacency = adjacency.astype(np.float64)
    if not np.isfinite(adjacency.data).all():
        raise ValueError(f"{name} has NaN or infinite weights")
    if not allow_negative and adjacency.nnz and adjacency.data.min() < 0:
        raise ValueError(f"{name} has negative weights (the least is {adjacency.data.min():g}), which must be >= 0")
    if not (adjacency.has_canonical_format and adjacency.data.all()):
        adjacency = adjacency.copy()
        adjacency.sum_duplicates()
        adjacency.eliminate_zeros()
    if directed is False:
        gap = abs(adjacency - adjacency.T)
        if gap.nnz and gap.max() > 1e-10 * abs(adjacency).max():
            raise ValueError(f"{name} must be undirected (a symmetric adjacency matrix), and it is not")
    return Graph(adjacency, nodes)


def check_connected(graph: Graph, name: str = "graph") -> Graph:
    """The graph itself, if a path leads from every node to every other one when directions are ignored.

    Raises
    ------
    ValueError
        If it is disconnected; names the argument, the sizes of the largest components and a node outside the largest.

    Examples
    --------
    >>> check_connected(as_graph(np.array([[0, 1], [1, 2], [3, 4], [4, 5], [5, 6]])))
    Traceback (most recent call last):
    ...
    ValueError: graph must be connected, and it falls into 2 components (of 4, 3 nodes); node 0 is outside the largest
    """
    count, label = connected_components(graph.adjacency, directed=False)
    if count == 1:
        return graph
    size = np.bincount(label)
    largest = np.sort(size)[::-1]
    outside = graph.names[np.flatnonzero(label != size.argmax())[0]]
    sizes = ", ".join(map(str, largest[:5])) + (", ..." if count > 5 else "")
    raise ValueError(
        f"{name} must be connected, and it falls into {count} components (of {sizes} nodes); "
        f"node {outside} is outside the largest"
    )


def _alike(names: list[Any]) -> bool:
    """Whether numpy would keep the names as they are (all integers, or all strings)."""
    return all(isinstance(x, str) for x in names) or all(isinstance(x, int) for x in names)


def _from_pyg(data: Any) -> sp.csr_array:
    source, target = data.edge_index.cpu().numpy()
    weight = getattr(data, "edge_weight", None)
    weights = np.ones(len(source)) if weight is None else weight.cpu().numpy().astype(np.float64)
    return sp.csr_array(sp.coo_array((weights, (source, target)), shape=(data.num_nodes, data.num_nodes)))


def _from_array(array: np.ndarray, name: str, directed: bool) -> sp.csr_array:
    """A dense matrix if it is square, else an edge list."""
    square = array.ndim == 2 and array.shape[0] == array.shape[1]
    # Two edges of two columns, or three of three, look like a matrix; a matrix of that size has a zero diagonal.
    if square and (len(array) not in (2, 3) or not np.diag(array).any()):
        return sp.csr_array(array.astype(np.float64))
    if array.ndim != 2 or array.shape[1] not in (2, 3) or array.shape[0] == 0:
        raise ValueError(
            f"{name} must be a square matrix or an edge list of shape (m, 2) or (m, 3), got shape {array.shape}"
        )
    ends = array[:, :2]
    if not np.isfinite(array.astype(np.float64)).all():
        raise ValueError(f"{name} holds NaN or infinity")
    if (ends < 0).any() or (ends != np.floor(ends)).any():
        raise ValueError(f"{name} must hold node numbers 0, 1, 2, ... in its first two columns")
    ends = ends.astype(np.int64)
    weights = array[:, 2].astype(np.float64) if array.shape[1] == 3 else np.ones(len(ends))
    n = int(ends.max()) + 1
    adjacency = sp.csr_array(sp.coo_array((weights, (ends[:, 0], ends[:, 1])), shape=(n, n)))
    if directed:
        return adjacency
    loops = sp.diags_array(adjacency.diagonal(), format="csr")
    return sp.csr_array(adjacency + adjacency.T - loops)

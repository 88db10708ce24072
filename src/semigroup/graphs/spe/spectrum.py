r"""Eigenpairs of the normalised Laplacians of many graphs, and the check of those that a user brings.

With weights :math:`A` and degrees :math:`D`, :math:`L = I - D^{-1/2} A D^{-1/2} = V \mathrm{diag}(\lambda) V^T` has its
eigenvalues in [0, 2]; the row of an isolated node is zero. Self-loops take no part.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from semigroup.base import check_integer
from semigroup.data.graph_sets import GraphSet, as_graph_set, pad_rows, ranges
from semigroup.operators import laplacian

__all__ = ["AddEigenpairs", "check_eigenpairs", "laplacian_eigenpairs", "with_eigenpairs"]

ORTHONORMALITY = 1e-4
EIGENVALUE_SLACK = 1e-6
LARGEST_BLOCK = 2**24  # entries of the dense matrices that are decomposed in one call


def laplacian_eigenpairs(
    graphs: Any, n_eigenvectors: int | None = None
) -> tuple[Float[Tensor, "graphs d"], Float[Tensor, "nodes d"]]:
    """The smallest eigenpairs of each graph's normalised Laplacian, the trivial one included.

    Dense, in float64: graphs of equal size are decomposed together (some 10⁷ entries at a time), so the work is batched
    without padding.

    Parameters
    ----------
    graphs : GraphSet or list of graphs
        See `semigroup.data.graph_sets.as_graph_set`.
    n_eigenvectors : int, optional
        Eigenpairs kept, d; None keeps all of the largest graph.

    Returns
    -------
    eigenvalues : Tensor of shape (graphs, d)
        Ascending, within [0, 2]; zero beyond a graph's number of nodes.
    eigenvectors : Tensor of shape (nodes, d)
        One column an eigenvalue; zero columns beyond a graph's number of nodes.

    Examples
    --------
    >>> import networkx as nx
    >>> eigenvalues, eigenvectors = laplacian_eigenpairs([nx.cycle_graph(4), nx.path_graph(2)])
    >>> eigenvalues.round(decimals=6).abs()
    tensor([[0., 1., 1., 2.],
            [0., 2., 0., 0.]], dtype=torch.float64)
    """
    if n_eigenvectors is not None:
        check_integer(n_eigenvectors, "n_eigenvectors", minimum=1)
    found = as_graph_set(graphs)
    sizes = found.n_nodes.cpu().numpy()
    starts = np.cumsum(sizes) - sizes
    d = int(sizes.max()) if n_eigenvectors is None else int(n_eigenvectors)
    entries = laplacian(found.adjacency(), "normalised").tocoo()
    owner = np.repeat(np.arange(len(sizes)), sizes)[entries.row]
    eigenvalues = torch.zeros(len(sizes), d, dtype=torch.float64)
    eigenvectors = torch.zeros(int(sizes.sum()), d, dtype=torch.float64)
    for size in np.unique(sizes):
        same = np.flatnonzero(sizes == size)
        n_parts = int(np.ceil(len(same) * size**2 / LARGEST_BLOCK))
        for chosen in np.array_split(same, min(n_parts, len(same))):
            place = np.full(len(sizes), -1)
            place[chosen] = np.arange(len(chosen))
            inside = place[owner] >= 0
            dense = np.zeros((len(chosen), size, size))
            first = starts[owner[inside]]
            dense[place[owner[inside]], entries.row[inside] - first, entries.col[inside] - first] = entries.data[inside]
            values, vectors = torch.linalg.eigh(torch.from_numpy(dense))
            kept = min(d, int(size))
            rows = ranges(torch.from_numpy(starts[chosen]), torch.from_numpy(sizes[chosen]))
            eigenvalues[chosen, :kept] = values[:, :kept].clamp(0.0, 2.0)  # rounding leaves some at -1e-16
            eigenvectors[rows, :kept] = vectors[:, :, :kept].reshape(-1, kept)
    return eigenvalues, eigenvectors


def with_eigenpairs(graphs: GraphSet, n_eigenvectors: int | None, dtype: torch.dtype = torch.float32) -> GraphSet:
    """The set with its eigenpairs: those it brings, checked and cut to d, else computed in float64 and then rounded."""
    if graphs.eigenvalues is None or graphs.eigenvectors is None:
        eigenvalues, eigenvectors = laplacian_eigenpairs(graphs, n_eigenvectors)
    else:
        check_eigenpairs(graphs.eigenvalues, graphs.eigenvectors, graphs.n_nodes)
        eigenvalues, eigenvectors = graphs.eigenvalues, graphs.eigenvectors
        if n_eigenvectors is not None:
            eigenvalues, eigenvectors = eigenvalues[:, :n_eigenvectors], eigenvectors[:, :n_eigenvectors]
    device = graphs.n_nodes.device
    return replace(graphs, eigenvalues=eigenvalues.to(device, dtype), eigenvectors=eigenvectors.to(device, dtype))


def check_eigenpairs(
    eigenvalues: Float[Tensor, "graphs d"], eigenvectors: Float[Tensor, "nodes d2"], n_nodes: Int[Tensor, " graphs"]
) -> None:
    """Refuse eigenpairs that are none of a normalised Laplacian.

    Parameters
    ----------
    eigenvalues : Tensor of shape (graphs, d)
    eigenvectors : Tensor of shape (nodes, d)
    n_nodes : Tensor of shape (graphs,)

    Raises
    ------
    ValueError
        If the shapes do not agree, a number is not finite, an eigenvalue lies outside [0, 2], or the eigenvectors of a
        graph are not orthonormal (by more than 1e-4).
    """
    if len(eigenvalues) != len(n_nodes):
        raise ValueError(f"eigenvalues must have one row a graph ({len(n_nodes)}), got {len(eigenvalues)}")
    if len(eigenvectors) != int(n_nodes.sum()):
        raise ValueError(f"eigenvectors must have one row a node ({int(n_nodes.sum())}), got {len(eigenvectors)}")
    if eigenvalues.shape[1] != eigenvectors.shape[1]:
        raise ValueError(
            f"eigenvectors must have as many columns as eigenvalues ({eigenvalues.shape[1]}), got {eigenvectors.shape[1]}"
        )
    if eigenvalues.shape[1] < 1:
        raise ValueError("eigenvalues must have at least 1 column, got 0")
    for name, values in (("eigenvalues", eigenvalues), ("eigenvectors", eigenvectors)):
        if not bool(torch.isfinite(values).all()):
            raise ValueError(f"{name} holds NaN or infinity")
    low, high = float(eigenvalues.min()), float(eigenvalues.max())
    if low < -EIGENVALUE_SLACK or high > 2 + EIGENVALUE_SLACK:
        raise ValueError(f"eigenvalues must lie in [0, 2] (normalised Laplacian), got {low:g}..{high:g}")
    padded = pad_rows(eigenvectors, n_nodes)
    real = torch.arange(eigenvectors.shape[1], device=n_nodes.device) < n_nodes[:, None]
    gram = padded.transpose(1, 2) @ padded
    error = (gram - torch.diag_embed(real.to(gram.dtype))).abs().amax(dim=(1, 2))
    worst = int(error.argmax())
    if float(error[worst]) > ORTHONORMALITY:
        raise ValueError(
            f"eigenvectors of graph {worst} must be orthonormal, and zero beyond its {int(n_nodes[worst])} nodes; "
            f"V^T V differs from the identity by {float(error[worst]):.2g}"
        )


class AddEigenpairs(BaseTransform):
    """PyG transform: adds ``eigenvalues`` (1, d) and ``eigenvectors`` (n, d) of the normalised Laplacian to a graph.

    A batch of such graphs holds them as (graphs, d) and (nodes, d), which is what the encoders take. Computed in float64,
    stored in the default floating type.

    Parameters
    ----------
    n_eigenvectors : int
        Eigenpairs, d; padded with zeros for smaller graphs.

    Examples
    --------
    >>> graph = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
    >>> AddEigenpairs(3)(graph)
    Data(edge_index=[2, 2], num_nodes=2, eigenvalues=[1, 3], eigenvectors=[2, 3])
    """

    def __init__(self, n_eigenvectors: int) -> None:
        self.n_eigenvectors = check_integer(n_eigenvectors, "n_eigenvectors", minimum=1)

    def forward(self, data: Data) -> Data:
        structure = Data(
            edge_index=data.edge_index, edge_weight=getattr(data, "edge_weight", None), num_nodes=data.num_nodes
        )
        eigenvalues, eigenvectors = laplacian_eigenpairs([structure], self.n_eigenvectors)
        data.eigenvalues = eigenvalues.to(torch.get_default_dtype())
        data.eigenvectors = eigenvectors.to(torch.get_default_dtype())
        return data

r"""Vertices and attributes in one graph, and the s.p.d. operator on it.

Every value that an attribute takes becomes a vertex, joined to the vertices that have the value: structure and attributes are
then one graph with :math:`\bar n = n + \sum_a q_a` vertices and at most :math:`|E| + np` edges.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from jaxtyping import Int

from semigroup.base import check_choice
from semigroup.operators import laplacian

__all__ = ["MISSING", "Attributes", "AugmentedGraph", "augment", "encode_attributes", "shifted_laplacian"]

MISSING = ("refuse", "own", "drop_edge")


@dataclass(frozen=True)
class Attributes:
    """Categorical attributes of the vertices as numbers.

    Attributes
    ----------
    codes : int array of shape (n, p)
        Number of the value that each vertex has of each attribute; -1 where it is missing.
    names : tuple of str
        Of the attributes.
    values : tuple of tuple of str
        The values of each attribute in the order of their numbers.
    """

    codes: Int[np.ndarray, "n p"]
    names: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]

    @property
    def n_values(self) -> np.ndarray:
        """Number of values of each attribute."""
        return np.array([len(values) for values in self.values], dtype=np.int64)


def encode_attributes(attributes: Any, n_nodes: int, *, missing: str = "refuse") -> Attributes:
    """Attributes from a table or an array of words or numbers.

    Parameters
    ----------
    attributes : DataFrame or array-like of shape (n,) or (n, p)
        Words, integers or booleans; floating numbers only where all are integers.
    n_nodes : int
        Rows wanted.
    missing : {'refuse', 'own', 'drop_edge'}
        What becomes of a missing value: an error, a value of its own, or no edge to any value.

    Raises
    ------
    TypeError
        If an attribute is not categorical.
    ValueError
        If the rows are not as many as the nodes, there is no column, or a value is missing and `missing` is ``'refuse'``.

    Warns
    -----
    UserWarning
        If an attribute has a different value at every vertex.

    Examples
    --------
    >>> encode_attributes([["red", 1], ["blue", 1], ["red", 2]], 3).codes
    array([[0, 0],
           [1, 0],
           [0, 1]])
    """
    check_choice(missing, "missing", MISSING)
    table = attributes if isinstance(attributes, pd.DataFrame) else _as_table(attributes)
    if len(table) != n_nodes:
        raise ValueError(f"attributes must have {n_nodes} rows, one a node of the graph, got {len(table)}")
    if table.shape[1] == 0:
        raise ValueError("attributes has no column; leave it out to cluster by structure alone")
    codes = np.empty(table.shape, dtype=np.int64)
    values = []
    for place, name in enumerate(table.columns):
        column = table.iloc[:, place]
        _check_categorical(column, str(name))
        numbers, found = pd.factorize(column)
        lost = numbers < 0
        if lost.any() and missing == "refuse":
            raise ValueError(
                f"attributes: '{name}' is missing at {lost.sum()} nodes; missing='own' makes that a value, "
                "missing='drop_edge' leaves it out"
            )
        words = [str(value) for value in found]
        if lost.any() and missing == "own":
            numbers = np.where(lost, len(words), numbers)
            words.append("missing")
        if not words:
            raise ValueError(f"attributes: '{name}' is missing at every node")
        if len(words) == n_nodes > 2:
            warnings.warn(
                f"attributes: '{name}' has a different value at each of the {n_nodes} nodes and says nothing about them; "
                "bin it or leave it out",
                stacklevel=3,
            )
        codes[:, place] = numbers
        values.append(tuple(words))
    return Attributes(codes, tuple(map(str, table.columns)), tuple(values))


def _as_table(attributes: Any) -> pd.DataFrame:
    """Columns of an array; an array of objects gets the type of what each column holds."""
    array = np.asarray(attributes)
    if array.ndim not in (1, 2):
        raise ValueError(f"attributes must have 1 or 2 axes, got {array.ndim} (shape {array.shape})")
    table = pd.DataFrame(array if array.ndim == 2 else array[:, None])
    table.columns = [f"attribute {place + 1}" for place in range(table.shape[1])]
    return table.infer_objects()


def _check_categorical(column: pd.Series, name: str) -> None:
    if pd.api.types.is_complex_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
        raise TypeError(f"attributes: '{name}' must hold categories, got {column.dtype}")
    if pd.api.types.is_float_dtype(column):
        present = column.dropna().to_numpy(dtype=np.float64)
        if not np.isfinite(present).all():
            raise ValueError(f"attributes: '{name}' holds infinity")
        if (present != np.floor(present)).any():
            raise TypeError(
                f"attributes: '{name}' holds real numbers such as {present[present != np.floor(present)][0]:g}, which are no "
                "categories: bin them first (pandas.cut)"
            )


@dataclass(frozen=True)
class AugmentedGraph:
    """A graph with a vertex more for every value of an attribute.

    Attributes
    ----------
    adjacency : csr_array of shape (n_bar, n_bar)
        Vertices of the original graph first.
    attribute_vertices : int array of shape (n, p)
        Vertex of the value that each original vertex has of each attribute; -1 where it has none.
    """

    adjacency: sp.csr_array
    attribute_vertices: Int[np.ndarray, "n p"]


def augment(adjacency: sp.csr_array, attributes: Attributes | None = None) -> AugmentedGraph:
    """Add the attributes' vertices, joined by edges of weight 1.

    Examples
    --------
    >>> edge = sp.csr_array([[0.0, 1.0], [1.0, 0.0]])
    >>> augment(edge, encode_attributes(["red", "blue"], 2)).adjacency.toarray()
    array([[0., 1., 1., 0.],
           [1., 0., 0., 1.],
           [1., 0., 0., 0.],
           [0., 1., 0., 0.]])
    """
    n = adjacency.shape[0]
    if attributes is None:
        return AugmentedGraph(adjacency, np.empty((n, 0), dtype=np.int64))
    offsets = n + np.concatenate([[0], np.cumsum(attributes.n_values)])
    vertices = np.where(attributes.codes >= 0, attributes.codes + offsets[:-1], -1)
    row, place = np.nonzero(vertices >= 0)
    members = sp.csr_array((np.ones(len(row)), (row, vertices[row, place] - n)), shape=(n, int(offsets[-1]) - n))
    joined = sp.csr_array(sp.block_array([[adjacency, members], [members.T, None]], format="csr"))
    joined.sort_indices()
    return AugmentedGraph(joined, vertices)


def shifted_laplacian(adjacency: sp.csr_array) -> sp.csr_array:
    r"""The Laplacian made positive definite by a change of rank one at one edge.

    .. math:: A = D - \bar A + a_{0j} (e_0 + e_j)(e_0 + e_j)^T

    for the first neighbour j of vertex 0. On the kernel of the Laplacian, the constants, the shift is positive; it removes
    the entry (0, j) and stays as sparse as the graph.

    Parameters
    ----------
    adjacency : csr_array of shape (n, n)
        Symmetric with sorted indices, of a connected graph.

    Raises
    ------
    ValueError
        If vertex 0 has no neighbour.

    Examples
    --------
    >>> path = sp.csr_array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    >>> shifted_laplacian(path).toarray()
    array([[ 2.,  0.,  0.],
           [ 0.,  3., -1.],
           [ 0., -1.,  1.]])
    """
    if adjacency.indptr[1] == 0:
        raise ValueError("adjacency: vertex 0 has no neighbour, and the shift needs one of its edges")
    j, weight = int(adjacency.indices[0]), float(adjacency.data[0])
    ends = np.array([0, 0, j, j]), np.array([0, j, 0, j])
    matrix = sp.csr_array(laplacian(adjacency) + sp.csr_array((np.full(4, weight), ends), shape=adjacency.shape))
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix

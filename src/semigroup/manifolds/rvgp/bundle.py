"""The tangent bundle of a point cloud: graph, frames, intrinsic dimension, Laplacians, and the encoding of positions in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from semigroup.base import check_array, check_choice, check_integer, check_number
from semigroup.operators import (
    Eigenpairs,
    Graph,
    check_connected,
    connection_laplacian,
    eigenpairs,
    geodesic_neighbours,
    laplacian,
    neighbour_graph,
    tangent_frames,
)

__all__ = ["Encoding", "TangentBundle", "encode", "intrinsic_dimension", "tangent_bundle"]


@dataclass(frozen=True)
class TangentBundle:
    """Points of a manifold, their neighbour graph, and a frame of the tangent space at each.

    Attributes
    ----------
    points : array of shape (n, D)
    adjacency : csr_array of shape (n, n)
        Symmetric weights of the neighbour graph.
    frames : array of shape (n, D, m)
        Orthonormal columns that span the tangent space.
    singular_values : array of shape (n, r)
        Of each centred neighbourhood, descending: how flat it is.
    """

    points: Float[np.ndarray, "n D"]
    adjacency: sp.csr_array
    frames: Float[np.ndarray, "n D m"]
    singular_values: Float[np.ndarray, "n r"]

    @property
    def n_points(self) -> int:
        """n."""
        return len(self.points)

    @property
    def dimension(self) -> int:
        """m, of the manifold."""
        return self.frames.shape[2]

    @cached_property
    def connection_laplacian(self) -> sp.csr_array:
        """:math:`L_c` of shape (n m, n m), combinatorial."""
        return connection_laplacian(self.adjacency, self.frames)

    @cached_property
    def laplacian(self) -> sp.csr_array:
        """L of shape (n, n), combinatorial."""
        return laplacian(self.adjacency)

    def coordinates(self, vectors: Float[np.ndarray, "n D"]) -> Float[np.ndarray, "n m"]:
        """Coordinates of the tangential part of a vector at each point."""
        return np.einsum("ida,id->ia", self.frames, vectors)

    def vectors(self, coordinates: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n D"]:
        """The tangent vectors with these coordinates."""
        return np.einsum("ida,ia->id", self.frames, coordinates)

    def __repr__(self) -> str:
        return (
            f"TangentBundle({self.n_points} points in R^{self.points.shape[1]}, dimension {self.dimension}, "
            f"{self.adjacency.nnz // 2} edges)"
        )


def tangent_bundle(
    points: Any,
    n_neighbors: int = 10,
    *,
    dimension: int | None = None,
    explained_variance: float = 0.8,
    geodesic_fraction: float = 1.5,
    affinity: Literal["binary", "gaussian"] = "binary",
    geodesic: Literal["lengths", "hops"] = "lengths",
    allow_disconnected: bool = False,
) -> TangentBundle:
    """Neighbour graph and tangent frames of a point cloud.

    Parameters
    ----------
    points : array of shape (n, D)
    n_neighbors : int
        Edges join points of which one is among this many nearest of the other.
    dimension : int, optional
        m of the manifold; from `explained_variance` if not given.
    explained_variance : float
        Fraction of the variance of the neighbourhoods that the tangent space must hold, in (0, 1]: see `intrinsic_dimension`.
    geodesic_fraction : float
        A frame is taken over this many times `n_neighbors` points, nearest along the graph.
    affinity : {"binary", "gaussian"}
        Weights of the edges.
    geodesic : {"lengths", "hops"}
        Whether nearness along the graph counts Euclidean lengths, or edges as the reference program does, which leaves ties to
        the order of the points.
    allow_disconnected : bool
        Accept a graph of several components, between which a field says nothing.

    Raises
    ------
    ValueError
        If points are too few, coincide or are not finite, the graph is disconnected, or a neighbourhood spans less than m
        dimensions.

    References
    ----------
    Frames over geodesic neighbourhoods: M. Budninskiy et al., "Parallel transport unfolding", 2019.

    Examples
    --------
    >>> from semigroup.data.manifolds import fibonacci_sphere
    >>> tangent_bundle(fibonacci_sphere(200))
    TangentBundle(200 points in R^3, dimension 2, 1036 edges)
    """
    points = check_array(points, "points", ndim=2, min_rows=3)
    n, ambient = points.shape
    n_neighbors = check_integer(n_neighbors, "n_neighbors", minimum=1)
    explained_variance = check_number(explained_variance, "explained_variance", above=0, maximum=1)
    n_around = int(check_number(geodesic_fraction, "geodesic_fraction", minimum=1) * n_neighbors)
    check_choice(affinity, "affinity", ("binary", "gaussian"))
    check_choice(geodesic, "geodesic", ("lengths", "hops"))
    if n <= n_around:
        raise ValueError(
            f"points must be more than the {n_around} = {geodesic_fraction:g} x n_neighbors of a neighbourhood, got {n}"
        )
    if dimension is not None:
        dimension = check_integer(dimension, "dimension", minimum=1)
        if dimension > min(ambient, n_around):
            raise ValueError(
                f"dimension must be at most {ambient} columns of points and {n_around} neighbours, got {dimension}"
            )
    lengths = neighbour_graph(points, n_neighbors, kernel="distance")  # which also refuses points that coincide
    adjacency = neighbour_graph(points, n_neighbors, kernel=affinity)
    if not allow_disconnected:
        check_connected(Graph(adjacency), "the neighbour graph of points")
    hops = neighbour_graph(points, n_neighbors, kernel="binary") if geodesic == "hops" else lengths
    directions, singular_values = tangent_frames(points, geodesic_neighbours(hops, n_around)[0])
    if dimension is None:
        dimension = intrinsic_dimension(singular_values, explained_variance)
    flat = singular_values[:, dimension - 1] < 1e-10 * singular_values[:, 0]
    if flat.any():
        raise ValueError(
            f"points span less than {dimension} dimensions around point {int(flat.argmax())}; choose a smaller dimension"
        )
    return TangentBundle(points, adjacency, np.ascontiguousarray(directions[:, :, :dimension]), singular_values)


def intrinsic_dimension(singular_values: Float[np.ndarray, "n r"], explained_variance: float = 0.8) -> int:
    r"""Dimension of the manifold, from the singular values of the neighbourhoods of its points.

    The least m at which the fraction :math:`c_{im}` of squared singular values held by the first m, at points i, has
    :math:`\mathrm{mean}_i c_{im} - \mathrm{std}_i c_{im} \ge \rho`.

    Parameters
    ----------
    singular_values : array of shape (n, r)
        Descending in each row: from `semigroup.operators.tangent_frames`.
    explained_variance : float
        :math:`\rho`.

    Examples
    --------
    >>> intrinsic_dimension(np.array([[3.0, 2.9, 0.2], [3.1, 3.0, 0.1]]))
    2
    """
    share = np.cumsum(singular_values**2, axis=1)
    share /= share[:, -1:]
    enough = share.mean(axis=0) - share.std(axis=0) >= explained_variance - 1e-12  # all of it is 1 up to rounding
    return int(enough.argmax()) + 1


@dataclass(frozen=True)
class Encoding:
    r"""Functions of position with values in the tangent spaces, in which a field is expanded.

    Attributes
    ----------
    eigenvalues : array of shape (k,)
        :math:`\lambda_j \ge 0` of each.
    features : array of shape (n, m, k)
        Their coordinates in the frame at each point; the encoding of the paper is :math:`P_i = T_i F_i`.
    """

    eigenvalues: Float[np.ndarray, " k"]
    features: Float[np.ndarray, "n m k"]


def encode(
    bundle: TangentBundle,
    n_eigenpairs: int,
    *,
    space: Literal["connection", "projected"] = "connection",
    normalisation: Literal["combinatorial", "random-walk"] = "combinatorial",
) -> Encoding:
    r"""Encode the points by the smallest eigenpairs of a Laplacian.

    ``"connection"`` takes eigenvectors of the connection Laplacian, :math:`F_i = \sqrt{nm}\,(U_c)_i`. ``"projected"`` takes those
    of the scalar Laplacian in each ambient direction and projects them, :math:`F_i = \sqrt n\, T_i^\top \otimes u_i`, of rank
    D `n_eigenpairs`: the vector kernel :math:`T_i T_i^\top k(i, j)\, T_j T_j^\top` made of a scalar one.

    An eigenspace that would be cut is taken to its end, because a part of it depends on the choice of the basis.

    Raises
    ------
    ValueError
        If there are less than `n_eigenpairs` eigenpairs.
    """
    check_choice(space, "space", ("connection", "projected"))
    check_choice(normalisation, "normalisation", ("combinatorial", "random-walk"))
    n, m = bundle.n_points, bundle.dimension
    width = m if space == "connection" else 1
    n_eigenpairs = check_integer(n_eigenpairs, "n_eigenpairs", minimum=1)
    if n_eigenpairs > n * width:
        raise ValueError(f"n_eigenpairs must be at most the {n * width} rows of the Laplacian, got {n_eigenpairs}")
    pairs = _smallest(bundle, n_eigenpairs, space, normalisation)
    values, vectors = np.maximum(pairs.values, 0.0), pairs.vectors * np.sqrt(n * width)
    if normalisation == "random-walk":  # D^{-1} L has the eigenvectors of D^{-1/2} L D^{-1/2}, each divided by D^{1/2}
        degree = np.asarray(bundle.adjacency.sum(axis=1)).ravel()
        vectors *= np.repeat(np.sqrt(degree.mean() / degree), width)[:, None]
    if space == "connection":
        return Encoding(values, vectors.reshape(n, m, -1))
    features = np.einsum("ida,ik->iadk", bundle.frames, vectors).reshape(n, m, -1)
    return Encoding(np.tile(values, bundle.points.shape[1]), features)


def _smallest(bundle: TangentBundle, n_eigenpairs: int, space: str, normalisation: str) -> Eigenpairs:
    if normalisation == "combinatorial":
        operator = bundle.connection_laplacian if space == "connection" else bundle.laplacian
    elif space == "connection":
        operator = connection_laplacian(bundle.adjacency, bundle.frames, kind="normalised")
    else:
        operator = laplacian(bundle.adjacency, "normalised")
    return eigenpairs(operator, n_eigenpairs, complete=True)

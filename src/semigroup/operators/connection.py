r"""Tangent frames of a point cloud, the transport of vectors between them, and the connection Laplacian.

A cloud of points sampled from an m-dimensional manifold in :math:`\mathbb R^D` has at each point an orthonormal frame
:math:`T_i \in \mathbb R^{D \times m}` of its tangent space, the leading directions of its neighbourhood. A tangent vector at i
has m coordinates in that frame. Along an edge, the orthogonal matrix

.. math:: O_{ij} = \arg\min_{O \in O(m)} \lVert T_i - T_j O^\top \rVert_F = U V^\top, \qquad T_i^\top T_j = U \Sigma V^\top

takes coordinates at j to coordinates at i, the discrete parallel transport, and :math:`O_{ji} = O_{ij}^\top`. Reflections are
allowed, so that the manifold need not be orientable. The connection Laplacian has the blocks

.. math:: (L_c)_{ii} = d_i I_m, \qquad (L_c)_{ij} = -A_{ij} O_{ij}

It is symmetric positive semi-definite, :math:`x^\top L_c x = \sum_{i<j} A_{ij} \lVert x_i - O_{ij} x_j \rVert^2`, and approaches
the Bochner Laplacian of vector fields up to a factor.

References
----------
- A. Singer, H.-T. Wu, "Vector diffusion maps and the connection Laplacian", Communications on Pure and Applied Mathematics 65
  (2012).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from semigroup.base import check_array
from semigroup.operators.laplacian import inverse_degree

__all__ = ["connection_laplacian", "parallel_transport", "tangent_frames"]

CHUNK = 2**22  # numbers in the neighbourhoods that are decomposed at a time


def tangent_frames(
    points: Any, neighbours: Int[np.ndarray, "n k"]
) -> tuple[Float[np.ndarray, "n D r"], Float[np.ndarray, "n r"]]:
    """Principal directions of the neighbourhood of each point.

    The point and its neighbours are centred on their mean. The first m directions are a frame of the m-dimensional tangent
    space; how the singular values fall tells m.

    Parameters
    ----------
    points : array of shape (n, D)
    neighbours : int array of shape (n, k)
        Neighbours of each point, itself not among them: from `geodesic_neighbours`, or nearest in space.

    Returns
    -------
    directions : array of shape (n, D, r), r = min(D, k + 1)
        Orthonormal columns, from the widest; the entry of largest modulus of each is positive.
    singular_values : array of shape (n, r)
        Of the centred neighbourhoods, descending.

    Examples
    --------
    >>> line = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    >>> directions, singular_values = tangent_frames(line, np.array([[1, 2], [0, 2], [0, 1]]))
    >>> directions[0, :, 0].round(4), singular_values[0].round(4)
    (array([0.7071, 0.7071]), array([2., 0.]))
    """
    points = check_array(points, "points", ndim=2)
    n, dim = points.shape
    around = np.column_stack([np.arange(n), neighbours])
    rank = min(dim, around.shape[1])
    directions, singular_values = np.empty((n, dim, rank)), np.empty((n, rank))
    for rows in np.array_split(np.arange(n), 1 + n * around.shape[1] * dim // CHUNK):
        cloud = points[around[rows]]
        cloud -= cloud.mean(axis=1, keepdims=True)
        _, singular_values[rows], transposed = np.linalg.svd(cloud, full_matrices=False)
        largest = np.take_along_axis(transposed, np.abs(transposed).argmax(axis=2)[..., None], axis=2)
        directions[rows] = np.swapaxes(transposed * np.where(largest < 0, -1.0, 1.0), 1, 2)
    return directions, singular_values


def parallel_transport(adjacency: sp.csr_array, frames: Float[np.ndarray, "n D m"]) -> Float[np.ndarray, "edges m m"]:
    """O_ij of every stored entry (i, j) of the adjacency, in its order.

    Parameters
    ----------
    adjacency : csr_array of shape (n, n)
    frames : array of shape (n, D, m)
        Orthonormal columns.

    Examples
    --------
    >>> edge = sp.csr_array([[0.0, 1.0], [1.0, 0.0]])
    >>> frames = np.array([[[1.0], [0.0]], [[-0.8], [0.6]]])  # two lines of the plane, given in opposite senses
    >>> parallel_transport(edge, frames).ravel()
    array([-1., -1.])
    """
    source, target = np.repeat(np.arange(len(frames)), np.diff(adjacency.indptr)), adjacency.indices
    m = frames.shape[2]
    result = np.empty((len(source), m, m))
    for edges in np.array_split(np.arange(len(source)), 1 + len(source) * frames.shape[1] * m // CHUNK):
        products = np.swapaxes(frames[source[edges]], 1, 2) @ frames[target[edges]]
        left, _, right = np.linalg.svd(products)
        result[edges] = left @ right
    return result


def connection_laplacian(
    adjacency: sp.csr_array,
    frames: Float[np.ndarray, "n D m"],
    kind: Literal["combinatorial", "normalised", "random-walk"] = "combinatorial",
) -> sp.csr_array:
    r"""Connection Laplacian of tangent frames on a graph.

    ``combinatorial`` is :math:`L_c`, ``normalised`` :math:`D^{-1/2} L_c D^{-1/2}`, ``random-walk`` :math:`D^{-1} L_c`, with D the
    degrees, each repeated m times.

    Parameters
    ----------
    adjacency : csr_array of shape (n, n)
        Symmetric, non-negative; loops cancel.
    frames : array of shape (n, D, m)
        Orthonormal columns: the first m of `tangent_frames`.
    kind : str

    Returns
    -------
    csr_array of shape (n m, n m)
        Row ``i * m + a`` belongs to direction a at node i.

    Examples
    --------
    >>> edge = sp.csr_array([[0.0, 1.0], [1.0, 0.0]])
    >>> frames = np.array([[[1.0], [0.0]], [[-0.8], [0.6]]])
    >>> connection_laplacian(edge, frames).toarray()
    array([[1., 1.],
           [1., 1.]])
    """
    frames = check_array(frames, "frames", ndim=3)
    if len(frames) != adjacency.shape[0]:
        raise ValueError(f"frames must be one for each of the {adjacency.shape[0]} nodes, got {len(frames)}")
    n, _, m = frames.shape
    adjacency = sp.csr_array(adjacency - sp.diags_array(adjacency.diagonal()))
    adjacency.eliminate_zeros()
    blocks = adjacency.data[:, None, None] * parallel_transport(adjacency, frames)
    moved = sp.bsr_array((blocks, adjacency.indices, adjacency.indptr), shape=(n * m, n * m), blocksize=(m, m))
    degree = np.repeat(np.asarray(adjacency.sum(axis=1)).ravel(), m)
    combinatorial = sp.csr_array(sp.diags_array(degree) - moved)
    if kind == "combinatorial":
        return combinatorial
    inverse = inverse_degree(degree)
    if kind == "normalised":
        root = sp.diags_array(np.sqrt(inverse))
        return sp.csr_array(root @ combinatorial @ root)
    if kind == "random-walk":
        return sp.csr_array(sp.diags_array(inverse) @ combinatorial)
    raise ValueError(f"kind must be 'combinatorial', 'normalised' or 'random-walk', got {kind!r}")

"""Laplacians and transition matrices of sparse graphs."""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.sparse as sp

__all__ = ["laplacian", "transition_matrix"]


def laplacian(
    adjacency: sp.csr_array, kind: Literal["combinatorial", "normalised", "random-walk"] = "combinatorial"
) -> sp.csr_array:
    r"""Laplacian of an undirected graph with weights :math:`A` and degrees :math:`D`.

    ``combinatorial`` is :math:`D - A`, ``normalised`` :math:`I - D^{-1/2} A D^{-1/2}`, ``random-walk``
    :math:`I - D^{-1} A`. The row of an isolated node is zero in all three.

    Parameters
    ----------
    adjacency : csr_array of shape (n, n)
        Symmetric, non-negative weights.
    kind : str

    Examples
    --------
    >>> laplacian(sp.csr_array([[0.0, 2.0], [2.0, 0.0]])).toarray()
    array([[ 2., -2.],
           [-2.,  2.]])
    """
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    if kind == "combinatorial":
        return sp.csr_array(sp.diags_array(degree) - adjacency)
    inverse = inverse_degree(degree)
    identity = sp.diags_array((degree > 0).astype(np.float64))
    if kind == "normalised":
        root = sp.diags_array(np.sqrt(inverse))
        return sp.csr_array(identity - root @ adjacency @ root)
    if kind == "random-walk":
        return sp.csr_array(identity - sp.diags_array(inverse) @ adjacency)
    raise ValueError(f"kind must be 'combinatorial', 'normalised' or 'random-walk', got {kind!r}")


def transition_matrix(adjacency: sp.csr_array) -> sp.csr_array:
    """Row-stochastic matrix of the walk that follows edges in proportion to their weight; dangling rows stay zero.

    Examples
    --------
    >>> transition_matrix(sp.csr_array([[0.0, 1.0, 3.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])).toarray()
    array([[0.  , 0.25, 0.75],
           [0.  , 0.  , 1.  ],
           [0.  , 0.  , 0.  ]])
    """
    return sp.csr_array(sp.diags_array(inverse_degree(np.asarray(adjacency.sum(axis=1)).ravel())) @ adjacency)


def inverse_degree(degree: np.ndarray) -> np.ndarray:
    """1/degree, and 0 for isolated nodes."""
    return np.divide(1.0, degree, out=np.zeros_like(degree), where=degree > 0)

"""The base chain of a self-repellent walk: a transition matrix and its stationary law."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import spsolve

from semigroup.base import check_array, check_choice
from semigroup.operators import as_graph, lazy, metropolis_hastings, transition_matrix
from semigroup.operators.topology import network

__all__ = ["Chain", "NotReversible", "base_chain", "check_chain"]

TOLERANCE = 1e-9  # of sums and of detailed balance, relative


class NotReversible(UserWarning):
    """The base chain is not reversible: the walk is defined, but the theory of its covariance is not."""


@dataclass(frozen=True)
class Chain:
    """A base chain.

    Attributes
    ----------
    transitions : csr_array of shape (n, n)
        P, rows sum to one; sorted indices, no explicit zeros.
    law : array of shape (n,)
        μ, its stationary law.
    reversible : bool
        Whether :math:`\\mu_i P_{ij} = \\mu_j P_{ji}`.
    """

    transitions: sp.csr_array
    law: Float[np.ndarray, " n"]
    reversible: bool

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return len(self.law)


def base_chain(
    graph: Any,
    chain: str = "metropolis",
    *,
    laziness: float = 0.0,
    target: Any = None,
    transitions: Any = None,
) -> Chain:
    """A base chain on a graph.

    Parameters
    ----------
    graph : graph in any form that `semigroup.operators.as_graph` takes
        Connected and undirected, without loops.
    chain : {"metropolis", "simple"}
        Metropolis-Hastings for `target`, or the simple walk, whose law is in proportion to the (weighted) degree.
    laziness : float
        Probability of resting.
    target : array of shape (n,), optional
        Positive law μ, up to a factor. Of "metropolis", uniform if not given. With `transitions`, its stationary law, which is
        computed if not given.
    transitions : (n, n) matrix, optional
        A transition matrix of one's own, in place of `chain`.

    Raises
    ------
    ValueError
        If the graph is disconnected, `target` is not positive, "simple" gets a target, or `transitions` is not stochastic,
        not irreducible or does not have `target` as its stationary law.

    Warns
    -----
    NotReversible
        If `transitions` is not reversible.

    Examples
    --------
    >>> from semigroup.operators.topology import star
    >>> base_chain(star(4), "simple").law.round(3)
    array([0.5  , 0.167, 0.167, 0.167])
    """
    check_choice(chain, "chain", ("metropolis", "simple"))
    net = network(graph)
    if transitions is not None:
        matrix = as_graph(transitions, "transitions", directed=True).adjacency
        if matrix.shape[0] != net.n_nodes:
            raise ValueError(f"transitions must have shape ({net.n_nodes}, {net.n_nodes}), got {matrix.shape}")
        _check_transitions(matrix)
        law = _stationary_law(matrix) if target is None else target
    elif chain == "simple":
        if target is not None:
            raise ValueError(
                "target needs chain='metropolis': the law of the simple walk is in proportion to the degree"
            )
        matrix = transition_matrix(net.adjacency)
        law = np.asarray(net.adjacency.sum(axis=1)).ravel()
    else:
        # Proposals are those of the graph without weights, as the paper's.
        law = np.ones(net.n_nodes) if target is None else target
        matrix = metropolis_hastings(sp.csr_array((net.adjacency != 0).astype(np.float64)), law)
    if laziness:
        matrix = lazy(matrix, laziness)
    result = check_chain(matrix, law)
    if not result.reversible:
        warnings.warn(
            "transitions is not reversible for its stationary law: the walk runs, its covariance is unknown",
            NotReversible,
            stacklevel=2,
        )
    return result


def check_chain(transitions: Any, law: Any) -> Chain:
    """A transition matrix and its law, checked.

    Raises
    ------
    ValueError
        If the matrix is not square, stochastic and irreducible, or the law is not positive, of its size and stationary.
    """
    matrix = as_graph(transitions, "transitions", directed=True).adjacency
    matrix.sort_indices()
    n = matrix.shape[0]
    _check_transitions(matrix)
    mu = check_array(law, "target", ndim=1)
    if len(mu) != n:
        raise ValueError(f"target must hold one number for each of the {n} nodes, got {len(mu)}")
    if not (mu > 0).all():
        raise ValueError(f"target must be positive, got {mu.min():g} at node {int(mu.argmin())}")
    mu = mu / mu.sum()
    drift = np.abs(matrix.T @ mu - mu).max()
    if drift > TOLERANCE * mu.max():
        raise ValueError(f"target must be the stationary law of transitions: one step changes it by {drift:.3g}")
    flow = sp.csr_array(sp.diags_array(mu) @ matrix)
    imbalance = abs(flow - flow.T)
    reversible = imbalance.nnz == 0 or imbalance.max() <= TOLERANCE * flow.max()
    return Chain(matrix, mu, bool(reversible))


def _check_transitions(matrix: sp.csr_array) -> None:
    total = np.asarray(matrix.sum(axis=1)).ravel()
    if (np.abs(total - 1) > TOLERANCE).any():
        row = int(np.abs(total - 1).argmax())
        raise ValueError(f"transitions must be stochastic: every row sums to 1, got {total[row]:g} in row {row}")
    if connected_components(matrix, connection="strong")[0] > 1:
        raise ValueError("transitions must be irreducible: a path leads from every node to every other one")


def _stationary_law(transitions: sp.csr_array) -> Float[np.ndarray, " n"]:
    """The law that one step does not change, by a sparse solve; `check_chain` says whether it is one."""
    n = transitions.shape[0]
    # (Pᵀ - I) μ = 0 has rank n - 1: with μ at the last node fixed, the other equations determine the rest.
    system = sp.csc_array(transitions.T - sp.eye_array(n))
    head = spsolve(system[:-1, :-1], -system[:-1, [-1]].toarray().ravel()) if n > 1 else np.empty(0)
    return np.abs(np.append(head, 1.0))

r"""Random walks on graphs: their transition matrices, and compiled kernels that walk them.

A walk is its transition matrix. `transition_matrix` is the simple walk, whose stationary law is in proportion to the degree;
`lazy` lets any walk rest; `metropolis_hastings` is the walk with a stationary law of choice. `random_walks` walks any of
them, and its non-backtracking version.
"""

from __future__ import annotations

import typing
from typing import Any

import numba
import numpy as np
import scipy.sparse as sp
from jaxtyping import Int32

from semigroup.base import check_array, check_integer, check_number, seed_from
from semigroup.operators.laplacian import inverse_degree
from semigroup.operators.sampling import choose_edge, running_sums, stream_of, uniform_of

__all__ = ["lazy", "metropolis_hastings", "random_walks"]


def lazy(transitions: sp.csr_array, rest: float = 0.5) -> sp.csr_array:
    """The walk that stays where it is with probability `rest`, and else takes a step; its stationary law is the same.

    Examples
    --------
    >>> lazy(sp.csr_array([[0.0, 1.0], [1.0, 0.0]]), 0.25).toarray()
    array([[0.25, 0.75],
           [0.75, 0.25]])
    """
    rest = check_number(rest, "rest", minimum=0, below=1)
    return sp.csr_array((1 - rest) * transitions + rest * sp.eye_array(transitions.shape[0]))


def metropolis_hastings(adjacency: sp.csr_array, target: Any = None) -> sp.csr_array:
    r"""Metropolis-Hastings walk: steps of the simple walk, accepted such that the stationary law is `target`.

    :math:`P_{ij} = A_{ij} \min(1 / d_i, \mu_j / (\mu_i d_j))` on the edges, and what is left stays at i. It is reversible:
    :math:`\mu_i P_{ij} = \mu_j P_{ji}`.

    Parameters
    ----------
    adjacency : csr_array of shape (n, n)
        Symmetric, non-negative.
    target : array of shape (n,), optional
        :math:`\mu > 0`, up to a factor; uniform if not given.

    Raises
    ------
    ValueError
        If `target` has another length or an entry that is not positive, or a node has no edge.

    Examples
    --------
    >>> path = sp.csr_array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    >>> metropolis_hastings(path).toarray()
    array([[0.5, 0.5, 0. ],
           [0.5, 0. , 0.5],
           [0. , 0.5, 0.5]])
    """
    n = adjacency.shape[0]
    law = np.ones(n) if target is None else check_array(target, "target", ndim=1)
    if len(law) != n:
        raise ValueError(f"target must hold one number for each of the {n} nodes, got {len(law)}")
    if not (law > 0).all():
        raise ValueError(f"target must be positive, got {law.min():g}")
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    if not degree.all():
        raise ValueError(
            f"adjacency has a node without edges, {np.flatnonzero(degree == 0)[0]}: no walk can leave or reach it"
        )
    inverse = inverse_degree(degree)
    moves = sp.coo_array(adjacency)
    source, target_node = moves.coords
    ahead, back = inverse[source], law[target_node] / law[source] * inverse[target_node]
    accepted = sp.csr_array((moves.data * np.minimum(ahead, back), (source, target_node)), shape=(n, n))
    # What the row sum lacks to one by rounding only is no loop.
    left = 1 - np.asarray(accepted.sum(axis=1)).ravel()
    result = sp.csr_array(accepted + sp.diags_array(np.where(left > 1e-14, left, 0.0)))
    result.eliminate_zeros()
    result.sort_indices()
    return result


def random_walks(
    transitions: sp.csr_array,
    starts: Any,
    n_steps: int,
    *,
    backtracking: bool = True,
    random_state: int | np.random.Generator | None = None,
) -> Int32[np.ndarray, "walks steps"]:
    r"""Walk a transition matrix from each start; walks differ also where starts do not.

    Parameters
    ----------
    transitions : csr_array of shape (n, n)
        Rows sum to one.
    starts : int or int array of shape (walks,)
    n_steps : int
    backtracking : bool
        Whether a step may undo the one before. If not, the step goes to :math:`j` with probability
        :math:`P_{vj} / (1 - P_{vu})`, u the node before; it goes back where there is no other way.
    random_state : int, Generator or None

    Returns
    -------
    int32 array of shape (walks, n_steps + 1)
        Nodes visited, the start first.

    Raises
    ------
    ValueError
        If a row does not sum to one, an entry is negative, or a start is no node.

    Examples
    --------
    >>> from semigroup.operators import transition_matrix
    >>> from semigroup.operators.topology import cycle
    >>> walk = random_walks(transition_matrix(cycle(5).adjacency), 0, 5, backtracking=False, random_state=0)[0]
    >>> sorted(walk.tolist()), walk[0] == walk[5]  # all the way round, whichever way
    ([0, 0, 1, 2, 3, 4], np.True_)
    """
    n = transitions.shape[0]
    n_steps = check_integer(n_steps, "n_steps", minimum=0)
    first = np.atleast_1d(check_array(starts, "starts", ndim=(0, 1), dtype=None))
    if (first != np.floor(first)).any() or (first < 0).any() or (first >= n).any():
        raise ValueError(
            f"starts must be nodes 0..{n - 1}, got {first[(first < 0) | (first >= n) | (first % 1 != 0)][0]:g}"
        )
    total = np.asarray(transitions.sum(axis=1)).ravel()
    if (np.abs(total - 1) > 1e-9).any() or (transitions.nnz and transitions.data.min() < 0):
        row = int(np.abs(total - 1).argmax())
        raise ValueError(
            f"transitions must be stochastic: rows of non-negative numbers that sum to 1, got {total[row]:g} in row {row}"
        )
    matrix = transitions
    if not (matrix.has_sorted_indices and matrix.data.all()):
        matrix = transitions.copy()
        matrix.eliminate_zeros()
        matrix.sort_indices()
    cumulative = running_sums(matrix.indptr, matrix.data)
    seed = np.uint64(seed_from(random_state))
    return _walk(first.astype(np.int64), n_steps, backtracking, seed, matrix.indptr, matrix.indices, cumulative)


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _walk(starts: Any, n_steps: int, backtracking: bool, seed: Any, indptr: Any, indices: Any, cumulative: Any) -> Any:
    nodes = np.empty((len(starts), n_steps + 1), dtype=np.int32)
    for walk in range(len(starts)):
        stream = stream_of(seed, starts[walk], walk)
        node, before = starts[walk], np.int64(-1)
        nodes[walk, 0] = node
        for step in range(n_steps):
            place = uniform_of(stream, step)
            edge = np.int64(-1)
            if not backtracking and before >= 0 and indptr[node + 1] - indptr[node] > 1:
                edge = _edge_to(before, indptr[node], indptr[node + 1], indices)
            if edge >= 0:  # draw from what is left when the interval of that edge is cut out
                low = cumulative[edge - 1] if edge > indptr[node] else 0.0
                gap = cumulative[edge] - low
                place *= 1.0 - gap
                if place >= low:
                    place += gap
            chosen = choose_edge(place, indptr[node], indptr[node + 1], cumulative)
            if chosen == edge:  # by rounding, at the end of the row
                chosen += 1 if edge + 1 < indptr[node + 1] else -1
            node, before = np.int64(indices[chosen]), node
            nodes[walk, step + 1] = node
    return nodes


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _edge_to(node: int, start: int, end: int, indices: Any) -> int:
    """The edge of a row that leads to a node, or -1."""
    first, last = start, end
    while first < last:
        middle = (first + last) // 2
        if indices[middle] < node:
            first = middle + 1
        else:
            last = middle
    return first if first < end and indices[first] == node else -1

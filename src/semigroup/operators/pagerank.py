r"""Personalised PageRank without an index: exact by a Neumann sum, approximate by forward push, and the dangling policies.

With the transition matrix :math:`P` (rows of vertices without out-edges are zero) and the reset probability :math:`\alpha`,

.. math:: q_s = \alpha \sum_{k \ge 0} (1-\alpha)^k (P^\top)^k e_s

is the walk that dies at dangling vertices. It is linear in the source, and every policy for the lost mass is a function of
it: :math:`p_s = q_s + (1 - \lVert q_s\rVert_1)\, w / \lVert w\rVert_1` with :math:`w = q_s` where that mass goes back to the
source and :math:`w = q_u`, the answer of the uniform distribution :math:`u`, where it is spread over all vertices.
"""

from __future__ import annotations

import typing
from typing import Any, Literal

import numba
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from semigroup.operators.laplacian import transition_matrix

__all__ = [
    "Dangling",
    "exact_pagerank",
    "forward_push",
    "loop_at_sinks",
    "restore_mass",
    "surviving_mass",
    "uniform_answer",
]

Dangling = Literal["source", "self", "kill", "uniform"]


def loop_at_sinks(adjacency: sp.csr_array) -> sp.csr_array:
    """The graph with a self loop of weight one at each vertex that has no out-edge.

    Examples
    --------
    >>> loop_at_sinks(sp.csr_array([[0.0, 1.0], [0.0, 0.0]])).toarray()
    array([[0., 1.],
           [0., 1.]])
    """
    is_sink = np.diff(adjacency.indptr) == 0
    return sp.csr_array(adjacency + sp.diags_array(is_sink.astype(np.float64), format="csr"))


def exact_pagerank(
    adjacency: sp.csr_array,
    sources: np.ndarray,
    alpha: float = 0.15,
    *,
    dangling: Dangling = "source",
    tol: float = 1e-12,
) -> Float[np.ndarray, "batch n"]:
    r"""Personalised PageRank of each source, exact up to `tol` in L1.

    Parameters
    ----------
    adjacency : csr_array of shape (n, n)
        Non-negative weights.
    sources : int array of shape (batch,)
    alpha : float
        Reset probability.
    dangling : {'source', 'self', 'kill', 'uniform'}
        What becomes of the walk at a vertex without out-edges: it goes back to the source, stays, dies, or jumps to any
        vertex.
    tol : float
        Mass of the terms that are left out.

    Examples
    --------
    >>> path = sp.csr_array([[0.0, 1.0], [0.0, 0.0]])
    >>> exact_pagerank(path, np.array([0]), 0.5).round(4)
    array([[0.6667, 0.3333]])
    >>> exact_pagerank(path, np.array([0]), 0.5, dangling="kill").round(4)
    array([[0.5 , 0.25]])
    """
    sources = np.asarray(sources)
    start = np.zeros((adjacency.shape[0], len(sources)))
    start[sources, np.arange(len(sources))] = 1.0
    transitions = transition_matrix(loop_at_sinks(adjacency) if dangling == "self" else adjacency)
    answer = _neumann_sum(sp.csr_array(transitions.T), start, alpha, tol).T
    background = uniform_answer(transitions, alpha, tol) if dangling == "uniform" else None
    return restore_mass(np.ascontiguousarray(answer), dangling, background=background)


def restore_mass(
    answer: Float[np.ndarray, "batch n"],
    dangling: Dangling,
    *,
    mass: Float[np.ndarray, " batch"] | None = None,
    background: Float[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, "batch n"]:
    r"""From :math:`q`, whose walk dies at dangling vertices, to the answer under a policy.

    Parameters
    ----------
    answer : array of shape (batch, n)
        :math:`q_s`, or an estimate of it.
    dangling : str
    mass : array of shape (batch,), optional
        The exact :math:`\lVert q_s\rVert_1` where `answer` is an estimate; its own sum otherwise.
    background : array of shape (n,), optional
        `uniform_answer`, needed by the policy ``'uniform'``.
    """
    if dangling == "kill":
        return answer
    total = answer.sum(axis=1, keepdims=True)
    if dangling != "uniform":
        return answer / total
    if background is None:
        raise ValueError("background must be given for the policy 'uniform'")
    kept = total if mass is None else mass[:, None]
    return answer * (kept / total) + (1 - kept) * (background / background.sum())


def uniform_answer(transitions: sp.csr_array, alpha: float, tol: float = 1e-12) -> Float[np.ndarray, " n"]:
    """:math:`q_u`, the answer for the uniform distribution over the vertices."""
    n = transitions.shape[0]
    return _neumann_sum(sp.csr_array(transitions.T), np.full((n, 1), 1 / n), alpha, tol)[:, 0]


def surviving_mass(transitions: sp.csr_array, alpha: float, tol: float = 1e-12) -> Float[np.ndarray, " n"]:
    r""":math:`\lVert q_v\rVert_1` of every vertex: the probability that its walk stops before it is lost at a sink.

    Examples
    --------
    >>> surviving_mass(transition_matrix(sp.csr_array([[0.0, 1.0], [0.0, 0.0]])), 0.5)
    array([0.75, 0.5 ])
    """
    return _neumann_sum(transitions, np.ones((transitions.shape[0], 1)), alpha, tol)[:, 0]


def _neumann_sum(
    operator: sp.csr_array, start: Float[np.ndarray, "n batch"], alpha: float, tol: float
) -> Float[np.ndarray, "n batch"]:
    """α Σ_k (1-α)^k operator^k start, until the terms that follow sum to less than `tol` of the start."""
    total = alpha * start
    term = start
    for _ in range(int(np.ceil(np.log(tol) / np.log1p(-alpha)))):
        term = (1 - alpha) * (operator @ term)
        if not term.any():
            break
        total += alpha * term
    return total


def forward_push(
    transitions: sp.csr_array, source: int, alpha: float = 0.15, *, eps: float = 1e-6
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    r"""Forward push of Andersen, Chung and Lang: an estimate of :math:`q_s` from the vertices near the source alone.

    Keeps :math:`q_s = p + \sum_v r(v) q_v` and pushes the residual of a vertex to its out-neighbours for as long as
    :math:`r(v) \ge \epsilon \max(1, d(v))` anywhere.

    Parameters
    ----------
    transitions : csr_array of shape (n, n)
        `transition_matrix` of the graph.
    source : int
    alpha : float
    eps : float
        Residual per out-edge that is left unpushed.

    Returns
    -------
    estimate, residual : arrays of shape (n,)

    References
    ----------
    R. Andersen, F. Chung and K. Lang, Local graph partitioning using PageRank vectors, FOCS 2006.

    Examples
    --------
    >>> walk = transition_matrix(sp.csr_array([[0.0, 1.0], [0.0, 0.0]]))
    >>> estimate, residual = forward_push(walk, 0, 0.5)
    >>> estimate
    array([0.5 , 0.25])
    """
    n = transitions.shape[0]
    estimate, residual = np.zeros(n), np.zeros(n)
    residual[source] = 1.0
    _push(transitions.indptr, transitions.indices, transitions.data, source, alpha, eps, estimate, residual)
    return estimate, residual


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _push(
    indptr: Any, indices: Any, probability: Any, source: int, alpha: float, eps: float, estimate: Any, residual: Any
) -> None:
    """Push from a first-in first-out queue, a ring that holds each vertex at most once."""
    n = len(indptr) - 1
    queue = np.empty(n, dtype=np.int64)
    waiting = np.zeros(n, dtype=np.bool_)
    queue[0], waiting[source] = source, True
    head, length = 0, 1
    while length > 0:
        vertex = queue[head]
        head = (head + 1) % n
        length -= 1
        waiting[vertex] = False
        flow = residual[vertex]
        residual[vertex] = 0.0
        estimate[vertex] += alpha * flow
        for edge in range(indptr[vertex], indptr[vertex + 1]):
            target = indices[edge]
            residual[target] += (1 - alpha) * flow * probability[edge]
            degree = max(1, indptr[target + 1] - indptr[target])
            if not waiting[target] and residual[target] >= eps * degree:
                queue[(head + length) % n] = target
                waiting[target] = True
                length += 1

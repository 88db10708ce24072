"""Vertex-centric decomposition: the answers to a block of queries from the flows of its sources and the fingerprints."""

import typing
from typing import Any

import numba
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int, Int64

from semigroup.graphs.powerwalk.walks import Fingerprints, Transitions

__all__ = ["decompose", "decompose_by_pull", "top_entries"]


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _new_row(vertex: int, slots: Any, vertices: Any, table: Any, n_rows: int) -> Any:
    """Give a vertex a row in a table that has rows for touched vertices only; grows the table by doubling.

    Passing arrays back and forth costs more than reading a slot, so the callers look for an existing row themselves.
    """
    if n_rows == len(vertices):
        grown = np.zeros((2 * n_rows, table.shape[1]))
        grown[:n_rows] = table
        table = grown
        vertices = np.append(vertices, np.empty(n_rows, dtype=np.int64))
    vertices[n_rows] = vertex
    slots[vertex] = n_rows + 1
    return n_rows, vertices, table, n_rows + 1


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _add_scaled(table: Any, row: int, factor: float, flows: Any, who: Any, n_who: int, eps: float) -> None:
    """table[row, j] += factor·flows[j] for the sources j in `who` whose product reaches eps."""
    if 3 * n_who < len(flows):
        for i in range(n_who):
            product = factor * flows[who[i]]
            if product >= eps:
                table[row, who[i]] += product
    else:  # most sources take part: straight through, which the compiler vectorises
        for j in range(len(flows)):
            product = factor * flows[j]
            table[row, j] += product if product >= eps else 0.0


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _decompose(
    sources: Any,
    n_steps: int,
    alpha: float,
    eps: float,
    indptr: Any,
    indices: Any,
    probability: Any,
    index_indptr: Any,
    index_indices: Any,
    index_values: Any,
    flow_slots: Any,
    next_slots: Any,
    answer_slots: Any,
) -> Any:
    """One pass over the reached edges and fingerprints serves all sources of the block; gives CSR rows sorted by vertex."""
    n_sources = len(sources)
    vertices, flows = np.empty(n_sources, dtype=np.int64), np.zeros((n_sources, n_sources))
    next_vertices, next_flows = np.empty(n_sources, dtype=np.int64), np.zeros((n_sources, n_sources))
    touched, answer = np.empty(4 * n_sources, dtype=np.int64), np.zeros((4 * n_sources, n_sources))
    n_reached = n_touched = 0
    for j in range(n_sources):
        row = flow_slots[sources[j]] - 1
        if row < 0:
            row, vertices, flows, n_reached = _new_row(sources[j], flow_slots, vertices, flows, n_reached)
        flows[row, j] = 1.0
    who = np.empty(n_sources, dtype=np.int64)
    outflow = np.empty(n_sources)

    for _ in range(n_steps):
        n_next = 0
        for place in range(n_reached):
            vertex = vertices[place]
            flow_slots[vertex] = 0
            start, stop = indptr[vertex], indptr[vertex + 1]
            n_stored = n_who = 0
            for j in range(n_sources):
                outflow[j] = 0.0
                if flows[place, j] > 0.0:
                    if alpha * flows[place, j] >= eps:
                        n_stored += 1
                    if stop > start:
                        outflow[j] = (1 - alpha) * flows[place, j]
                        if len(probability) == 0:
                            outflow[j] /= stop - start
                        if outflow[j] >= eps:  # an edge carries no more than this
                            who[n_who] = j
                            n_who += 1
                        else:
                            outflow[j] = 0.0
            if n_stored > 0:
                row = answer_slots[vertex] - 1
                if row < 0:
                    row, touched, answer, n_touched = _new_row(vertex, answer_slots, touched, answer, n_touched)
                for j in range(n_sources):
                    if alpha * flows[place, j] >= eps:
                        answer[row, j] += alpha * flows[place, j]
            if n_who > 0:
                for edge in range(start, stop):
                    share = 1.0 if len(probability) == 0 else probability[edge]
                    row = next_slots[indices[edge]] - 1
                    if row < 0:
                        row, next_vertices, next_flows, n_next = _new_row(
                            indices[edge], next_slots, next_vertices, next_flows, n_next
                        )
                    _add_scaled(next_flows, row, share, outflow, who, n_who, eps)
            flows[place] = 0.0
        vertices, next_vertices = next_vertices, vertices
        flows, next_flows = next_flows, flows
        flow_slots, next_slots = next_slots, flow_slots
        n_reached = n_next

    if len(index_indptr) > 0:
        for place in range(n_reached):
            vertex = vertices[place]
            largest = 0.0
            n_who = 0
            for j in range(n_sources):
                outflow[j] = 0.0
                if flows[place, j] > 0.0 and flows[place, j] >= eps:
                    outflow[j] = flows[place, j]
                    largest = max(largest, outflow[j])
                    who[n_who] = j
                    n_who += 1
            if n_who == 0:
                continue
            for entry in range(index_indptr[vertex], index_indptr[vertex + 1]):
                value = np.float64(index_values[entry])
                if largest * value < eps:
                    break  # the entries that follow are no larger
                row = answer_slots[index_indices[entry]] - 1
                if row < 0:
                    row, touched, answer, n_touched = _new_row(
                        index_indices[entry], answer_slots, touched, answer, n_touched
                    )
                _add_scaled(answer, row, value, outflow, who, n_who, eps)

    touched = np.sort(touched[:n_touched])
    row_starts = np.zeros(n_sources + 1, dtype=np.int64)
    for place in range(n_touched):
        for j in range(n_sources):
            row_starts[j + 1] += answer[place, j] > 0.0
    row_starts = np.cumsum(row_starts)
    fill = row_starts[:-1].copy()
    columns = np.empty(row_starts[-1], dtype=np.int64)
    values = np.empty(row_starts[-1])
    for vertex in touched:
        row = answer_slots[vertex] - 1
        for j in range(n_sources):
            if answer[row, j] > 0.0:
                columns[fill[j]], values[fill[j]] = vertex, answer[row, j]
                fill[j] += 1
    return row_starts, columns, values


def decompose(
    transitions: Transitions,
    fingerprints: Fingerprints | None,
    sources: Int[np.ndarray, " batch"],
    *,
    alpha: float = 0.15,
    n_steps: int = 2,
    eps: float = 0.0,
) -> sp.csr_array:
    r"""Estimate of :math:`q_s` of a block of sources by pushing their flows together (VERD, program "push").

    With a threshold `eps`, a flow along an edge, a stopped share, and a product of flow and fingerprint that is smaller is left
    out. Cost and memory grow with the block: some 64 sources at a time.

    Parameters
    ----------
    transitions : Transitions
    fingerprints : Fingerprints or None
        Of all vertices; without them the mass that still moves after `n_steps` rounds is left out.
    sources : int array of shape (batch,)
    alpha : float
    n_steps : int
    eps : float

    Returns
    -------
    csr_array of shape (batch, n)

    Examples
    --------
    >>> path = Transitions.from_adjacency(sp.csr_array([[0.0, 1.0], [0.0, 0.0]]))
    >>> decompose(path, None, np.array([0]), alpha=0.5, n_steps=2).toarray()
    array([[0.5 , 0.25]])
    """
    none = np.empty(0, dtype=np.int64)
    index = (
        (none, np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32))
        if fingerprints is None
        else (fingerprints.indptr, fingerprints.indices, fingerprints.values)
    )
    # Zeroed memory that the system maps page by page as it is touched: a query pays for what it reaches.
    slots = [np.zeros(transitions.n_nodes, dtype=np.int32) for _ in range(3)]
    rows, columns, values = _decompose(
        np.asarray(sources, dtype=np.int64),
        n_steps,
        float(alpha),
        float(eps),
        transitions.indptr,
        transitions.indices,
        transitions.probability,
        *index,
        *slots,
    )
    return sp.csr_array((values, columns, rows), shape=(len(sources), transitions.n_nodes))


def decompose_by_pull(
    transitions: Transitions,
    fingerprints: Fingerprints | None,
    sources: Int[np.ndarray, " batch"],
    *,
    alpha: float = 0.15,
    n_steps: int = 2,
    eps: float = 0.0,
) -> sp.csr_array:
    r"""What `decompose` computes, from the other end (program "pull").

    :math:`X^{(t+1)} = \alpha I + (1-\alpha) P X^{(t)}` on rows, started from the fingerprints, on the vertices that a forward
    sweep with flows of at least `eps` reaches. A vertex's row is computed once for all sources that need it.

    Parameters, Returns
    -------------------
    As `decompose`.

    Examples
    --------
    >>> path = Transitions.from_adjacency(sp.csr_array([[0.0, 1.0], [0.0, 0.0]]))
    >>> decompose_by_pull(path, None, np.array([0]), alpha=0.5, n_steps=2).toarray()
    array([[0.5 , 0.25]])
    """
    n = transitions.n_nodes
    matrix = transitions.matrix
    distinct, place = np.unique(sources, return_inverse=True)
    levels = [distinct]
    flow = _selection(distinct, n)
    for _ in range(n_steps):
        flow = (1 - alpha) * (flow @ matrix)
        if eps > 0:
            flow.data[flow.data < eps] = 0.0
            flow.eliminate_zeros()
        levels.append(np.unique(flow.indices))
    if fingerprints is None:
        rows = sp.csr_array((len(levels[-1]), n))
    else:
        rows = _take_rows(fingerprints, levels[-1])
    for level, following in zip(levels[-2::-1], levels[:0:-1]):
        rows = alpha * _selection(level, n) + (1 - alpha) * (matrix[level][:, following] @ rows)
    return sp.csr_array(rows)[place]


def _selection(vertices: np.ndarray, n: int) -> sp.csr_array:
    """Row i is the unit vector of vertices[i]."""
    return sp.csr_array((np.ones(len(vertices)), vertices, np.arange(len(vertices) + 1)), shape=(len(vertices), n))


def _take_rows(fingerprints: Fingerprints, vertices: np.ndarray) -> sp.csr_array:
    """Some rows of the index in float64, read from where they lie."""
    starts, stops = fingerprints.indptr[vertices], fingerprints.indptr[vertices + 1]
    lengths = stops - starts
    indptr = np.concatenate(([0], np.cumsum(lengths)))
    entries = np.repeat(starts - indptr[:-1], lengths) + np.arange(indptr[-1])
    values = fingerprints.values[entries].astype(np.float64)
    return sp.csr_array(
        (values, fingerprints.indices[entries], indptr), shape=(len(vertices), len(fingerprints.dropped))
    )


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _top_entries(indptr: Any, indices: Any, values: Any, k: int, columns: Any, scores: Any) -> None:
    for row in range(len(indptr) - 1):
        start, stop = indptr[row], indptr[row + 1]
        length = stop - start
        chosen = np.empty(min(k, length), dtype=np.int64)
        if length <= k:
            chosen[:] = np.arange(start, stop)
        elif k > 0:
            least = np.partition(values[start:stop], length - k)[length - k]
            n_above = 0
            for entry in range(start, stop):
                n_above += values[entry] > least
            n_ties, n_chosen = k - n_above, 0
            for entry in range(start, stop):
                if values[entry] > least or (values[entry] == least and n_ties > 0):
                    n_ties -= values[entry] == least
                    chosen[n_chosen] = entry
                    n_chosen += 1
        order = np.argsort(-values[chosen], kind="mergesort")
        for rank in range(len(chosen)):
            columns[row, rank] = indices[chosen[order[rank]]]
            scores[row, rank] = values[chosen[order[rank]]]


def top_entries(rows: sp.csr_array, k: int) -> tuple[Int64[np.ndarray, "batch k"], Float[np.ndarray, "batch k"]]:
    """Columns and values of the `k` largest entries of each row, largest first, the smaller column first among equals.

    Rows with fewer entries are filled up with column -1 and value 0.

    Examples
    --------
    >>> top_entries(sp.csr_array([[0.1, 0.0, 0.7, 0.1]]), 2)
    (array([[2, 0]]), array([[0.7, 0.1]]))
    """
    rows.sort_indices()
    columns = np.full((rows.shape[0], k), -1, dtype=np.int64)
    scores = np.zeros((rows.shape[0], k))
    _top_entries(rows.indptr, rows.indices, rows.data, k, columns, scores)
    return columns, scores

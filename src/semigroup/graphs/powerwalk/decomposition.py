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
def _make_room(vertices: Any, table: Any, n_rows: int) -> Any:
    """At least `n_rows` rows, for the loops that follow to fill without looking; what is there stays."""
    if n_rows <= len(vertices):
        return vertices, table
    n_more = max(n_rows, 2 * len(vertices)) - len(vertices)
    grown = np.zeros((len(vertices) + n_more, table.shape[1]))
    grown[: len(table)] = table
    return np.append(vertices, np.empty(n_more, dtype=np.int64)), grown


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _row_of(vertex: int, slots: Any, vertices: Any, n_rows: int) -> Any:
    """The row of a vertex in a table that has rows for touched vertices only, and the number of rows."""
    row = slots[vertex] - 1
    if row >= 0:
        return row, n_rows
    slots[vertex] = n_rows + 1
    vertices[n_rows] = vertex
    return n_rows, n_rows + 1


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _add_scaled(table: Any, row: int, factor: float, flows: Any, place: int, eps: float) -> None:
    """table[row] += factor·flows[place], without the products below eps; straight through, which the compiler vectorises."""
    for j in range(table.shape[1]):
        product = factor * flows[place, j]
        table[row, j] += product if product >= eps else 0.0


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _push(
    vertices: Any,
    flows: Any,
    n_reached: int,
    slots: Any,
    next_vertices: Any,
    next_flows: Any,
    next_slots: Any,
    touched: Any,
    answer: Any,
    n_touched: int,
    answer_slots: Any,
    alpha: float,
    eps: float,
    indptr: Any,
    indices: Any,
    probability: Any,
) -> Any:
    """One round: a share α of each flow stops where it is, the rest moves along the edges."""
    n_next = 0
    outflow = np.empty((1, flows.shape[1]))
    touched, answer = _make_room(touched, answer, n_touched + n_reached)
    for place in range(n_reached):
        vertex = vertices[place]
        largest = flows[place].max()
        if largest > 0.0 and alpha * largest >= eps:
            row, n_touched = _row_of(vertex, answer_slots, touched, n_touched)
            _add_scaled(answer, row, alpha, flows, place, eps)
        start, stop = indptr[vertex], indptr[vertex + 1]
        share = (1 - alpha) / max(stop - start, 1) if len(probability) == 0 else 1 - alpha
        if share * largest >= eps:  # no edge carries more than this
            outflow[0] = share * flows[place]
            next_vertices, next_flows = _make_room(next_vertices, next_flows, n_next + stop - start)
            for edge in range(start, stop):
                row, n_next = _row_of(indices[edge], next_slots, next_vertices, n_next)
                part = 1.0 if len(probability) == 0 else probability[edge]
                _add_scaled(next_flows, row, part, outflow, 0, eps)
        slots[vertex] = 0
        flows[place] = 0.0
    return next_vertices, next_flows, n_next, touched, answer, n_touched


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _combine(
    vertices: Any,
    flows: Any,
    n_reached: int,
    slots: Any,
    touched: Any,
    answer: Any,
    n_touched: int,
    answer_slots: Any,
    eps: float,
    index_indptr: Any,
    index_indices: Any,
    index_values: Any,
) -> Any:
    """What still moves is answered by the fingerprints of where it is."""
    outflow = np.empty((1, flows.shape[1]))
    for place in range(n_reached):
        vertex = vertices[place]
        for j in range(flows.shape[1]):
            outflow[0, j] = flows[place, j] if flows[place, j] >= eps else 0.0
        slots[vertex] = 0
        flows[place] = 0.0
        largest = outflow.max()
        if largest == 0.0 or len(index_indptr) == 0:
            continue
        start, stop = index_indptr[vertex], index_indptr[vertex + 1]
        touched, answer = _make_room(touched, answer, n_touched + stop - start)
        for entry in range(start, stop):
            value = np.float64(index_values[entry])
            if largest * value < eps:
                break  # the entries that follow are no larger
            row, n_touched = _row_of(index_indices[entry], answer_slots, touched, n_touched)
            _add_scaled(answer, row, value, outflow, 0, eps)
    return touched, answer, n_touched


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _emit(
    touched: Any, n_touched: int, slots: Any, table: Any, row_starts: Any, first: int, columns: Any, values: Any
) -> Any:
    """Append a group's scores as CSR rows sorted by vertex, and leave table and slots empty for the next group."""
    if 16 * n_touched < len(slots):
        touched[:n_touched].sort()
    else:  # cheaper than sorting
        place = 0
        for vertex in range(len(slots)):
            if slots[vertex] > 0:
                touched[place] = vertex
                place += 1
    lengths = np.zeros(table.shape[1], dtype=np.int64)
    for row in range(n_touched):
        for j in range(table.shape[1]):
            lengths[j] += table[row, j] > 0.0
    width = min(table.shape[1], len(row_starts) - 1 - first)
    for j in range(width):
        row_starts[first + j + 1] = row_starts[first + j] + lengths[j]
    end = row_starts[first + width]
    if end > len(columns):
        n_more = max(end, 2 * len(columns)) - len(columns)
        columns = np.append(columns, np.empty(n_more, dtype=np.int32))
        values = np.append(values, np.empty(n_more))
    fill = row_starts[first : first + width].copy()
    for place in range(n_touched):
        vertex = touched[place]
        row = slots[vertex] - 1
        slots[vertex] = 0
        for j in range(width):
            score = table[row, j]
            if score > 0.0:
                columns[fill[j]], values[fill[j]] = vertex, score
                fill[j] += 1
                table[row, j] = 0.0
    return columns, values


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _decompose(
    sources: Any,
    width: int,
    n_steps: int,
    alpha: float,
    eps: float,
    indptr: Any,
    indices: Any,
    probability: Any,
    index_indptr: Any,
    index_indices: Any,
    index_values: Any,
    slots: Any,
    next_slots: Any,
    answer_slots: Any,
) -> Any:
    """Group by group: one pass over the reached edges and fingerprints serves all sources of a group."""
    vertices, flows = np.empty(width, dtype=np.int64), np.zeros((width, width))
    next_vertices, next_flows = np.empty(width, dtype=np.int64), np.zeros((width, width))
    touched, answer = np.empty(width, dtype=np.int64), np.zeros((width, width))
    row_starts = np.zeros(len(sources) + 1, dtype=np.int64)
    columns, values = np.empty(0, dtype=np.int32), np.empty(0)
    for first in range(0, len(sources), width):
        n_reached = n_touched = 0
        for j in range(min(width, len(sources) - first)):
            row, n_reached = _row_of(sources[first + j], slots, vertices, n_reached)
            flows[row, j] = 1.0
        for _ in range(n_steps):
            next_vertices, next_flows, n_reached, touched, answer, n_touched = _push(
                vertices,
                flows,
                n_reached,
                slots,
                next_vertices,
                next_flows,
                next_slots,
                touched,
                answer,
                n_touched,
                answer_slots,
                alpha,
                eps,
                indptr,
                indices,
                probability,
            )
            vertices, next_vertices = next_vertices, vertices
            flows, next_flows = next_flows, flows
            slots, next_slots = next_slots, slots
        touched, answer, n_touched = _combine(
            vertices,
            flows,
            n_reached,
            slots,
            touched,
            answer,
            n_touched,
            answer_slots,
            eps,
            index_indptr,
            index_indices,
            index_values,
        )
        columns, values = _emit(touched, n_touched, answer_slots, answer, row_starts, first, columns, values)
    return row_starts, columns[: row_starts[-1]], values[: row_starts[-1]]


def decompose(
    transitions: Transitions,
    fingerprints: Fingerprints | None,
    sources: Int[np.ndarray, " batch"],
    *,
    alpha: float = 0.15,
    n_steps: int = 2,
    eps: float = 0.0,
    group_size: int = 8,
) -> sp.csr_array:
    r"""Estimate of :math:`q_s` of some sources by pushing their flows together (VERD, program "push").

    With a threshold `eps`, a flow along an edge, a stopped share, and a product of flow and fingerprint that is smaller is left
    out.

    Parameters
    ----------
    transitions : Transitions
    fingerprints : Fingerprints or None
        Of all vertices; without them the mass that still moves after `n_steps` rounds is left out.
    sources : int array of shape (batch,)
    alpha : float
    n_steps : int
    eps : float
    group_size : int
        Sources that one pass over edges and fingerprints serves. Eight scores are one line of the cache, so that eight cost
        little more than one; more pay where the sources reach the same vertices, and cost where they do not.

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
    slots = [np.zeros(transitions.n_nodes, dtype=np.int32) for _ in range(3)]
    rows, columns, values = _decompose(
        np.asarray(sources, dtype=np.int64),
        max(1, min(group_size, len(sources))),
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

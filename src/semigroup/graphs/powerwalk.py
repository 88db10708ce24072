r"""PowerWalk: personalised PageRank for batches of queries on one large graph, in milliseconds a query.

For whom: recommendation, retrieval and link prediction, where many queries ask for the vertices that matter from the point of
view of one vertex. Offline, every vertex gets a *fingerprint*: a sparse Monte-Carlo estimate of its own answer, from a few short
random walks. Online, the source's mass is pushed a few rounds along the edges and what has not stopped by then is answered by
the fingerprints of the vertices that it has reached. The combined vector uses the walks of all of these vertices, so it is far
more accurate than any fingerprint.

Paper: Q. Liu, Z. Li, J. C. S. Lui and J. Cheng, PowerWalk: Scalable Personalized PageRank via Random Walks with Vertex-Centric
Decomposition, CIKM 2016, arXiv 1608.06054.

===================  =====================================================================================
symbol               here
===================  =====================================================================================
:math:`\alpha`       ``alpha``, the probability that a walk stops at the vertex it is on
:math:`P`            `Transitions`: row-stochastic, zero rows at vertices without out-edges
:math:`R`            ``n_walks``, walks from each vertex
:math:`L`            ``max_length``, rounds after which a walk is cut; None for never
:math:`T`            ``n_steps``, rounds of decomposition
:math:`\epsilon`     ``eps``, flows below it are not followed
:math:`q_s`          :math:`\alpha \sum_k (1-\alpha)^k (P^\top)^k e_s`, the answer whose walk dies at dangling vertices
:math:`f^{(t)}`      flow: mass that has not stopped after t rounds
:math:`r^{(t)}`      mass that has stopped within t rounds
===================  =====================================================================================

Unrolling the decomposition :math:`q_s = \alpha e_s + (1-\alpha) \sum_v P_{sv} q_v` T times gives

.. math::
    q_s = r^{(T)} + \sum_v f^{(T)}(v)\, q_v, \qquad f^{(0)} = e_s,\quad r^{(t+1)} = r^{(t)} + \alpha f^{(t)},\quad
    f^{(t+1)} = (1-\alpha) P^\top f^{(t)},

and PowerWalk puts the fingerprint :math:`\hat q_v` in the place of :math:`q_v`. All of it is done in :math:`q`, which is linear
in the source; the policy for dangling vertices is applied to the finished answer (`semigroup.operators.pagerank`).
"""

import hashlib
import json
import os
import shutil
import typing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import joblib
import numba
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Float32, Int, Int32, Int64

import semigroup
from semigroup.base import Estimator, atomic_folder, check_choice, check_integer, check_number, seed_from
from semigroup.operators import Graph, as_graph, transition_matrix
from semigroup.operators.pagerank import loop_at_sinks, surviving_mass, uniform_answer

__all__ = [
    "Fingerprints",
    "PowerWalk",
    "Transitions",
    "decompose",
    "decompose_by_pull",
    "sample_fingerprints",
    "top_entries",
]

Walks = Literal["full-path", "end-point", "long-path", "stratified"]
Estimate = Literal["unbiased", "ratio"]
_WALKS: tuple[Walks, ...] = ("full-path", "end-point", "long-path", "stratified")


# --- the walk's transitions --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Transitions:
    """The transition matrix P as the kernels read it.

    Attributes
    ----------
    indptr : int64 array of shape (n + 1,)
    indices : int32 array of shape (m,)
    probability, cumulative : float64 arrays of shape (m,), or of shape (0,) where every row is uniform
        P's entries, and their running sum within each row.
    mass : float64 array of shape (n,), or of shape (0,) where nothing is lost or nobody asks
        Exact sum of q_v of each vertex.
    """

    indptr: Int64[np.ndarray, " rows"]
    indices: Int32[np.ndarray, " m"]
    probability: Float[np.ndarray, " k"]
    cumulative: Float[np.ndarray, " k"]
    mass: Float[np.ndarray, " j"]

    @classmethod
    def from_adjacency(cls, adjacency: sp.csr_array, alpha: float | None = None) -> "Transitions":
        """Of a weighted graph; with `alpha`, the surviving mass too."""
        matrix = transition_matrix(adjacency)
        matrix.sort_indices()
        n_out = np.diff(matrix.indptr)
        first = np.concatenate((matrix.data, [0.0]))[matrix.indptr[:-1]]  # of each row; a row without any has no say
        is_uniform = np.array_equal(matrix.data, np.repeat(first, n_out))
        probability = np.empty(0) if is_uniform else matrix.data
        cumulative = _running_sums(matrix.indptr, probability)
        mass = surviving_mass(matrix, alpha) if alpha is not None and not n_out.all() else np.empty(0)
        return cls(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), probability, cumulative, mass)

    @property
    def n_nodes(self) -> int:
        """Number of vertices."""
        return len(self.indptr) - 1

    @property
    def matrix(self) -> sp.csr_array:
        """P as a sparse matrix."""
        n_out = np.diff(self.indptr)
        values = self.probability if len(self.probability) else np.repeat(1 / np.maximum(n_out, 1), n_out)
        return sp.csr_array((values, self.indices, self.indptr), shape=(self.n_nodes, self.n_nodes))

    def digest(self) -> str:
        """Fingerprint of the graph: equal for equal transition matrices."""
        state = hashlib.blake2b(digest_size=16)
        for array in (self.indptr, self.indices, self.probability):
            state.update(np.ascontiguousarray(array).data)
        return state.hexdigest()

    def save(self, folder: Path) -> None:
        """One memory-mappable file an array."""
        _save_arrays(self, folder)

    @classmethod
    def load(cls, folder: Path) -> "Transitions":
        """Memory-map what `save` wrote."""
        return cls(*(_load_array(folder / f"{name}.npy") for name in cls.__dataclass_fields__))


@numba.njit(cache=True)
@typing.no_type_check
def _running_sums(indptr: Any, probability: Any) -> Any:
    """Cumulative sum within each row; the last of a row is raised to 1, so that no draw falls behind it."""
    cumulative = np.empty_like(probability)
    if len(probability) > 0:
        for row in range(len(indptr) - 1):
            total = 0.0
            for edge in range(indptr[row], indptr[row + 1]):
                total += probability[edge]
                cumulative[edge] = total
            if indptr[row + 1] > indptr[row]:
                cumulative[indptr[row + 1] - 1] = 1.0
    return cumulative


# --- random numbers: a function of (seed, vertex, walk, draw), whoever draws them and when -----------------------------

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S32, _S11 = (np.uint64(shift) for shift in (27, 30, 31, 32, 11))
_LOW = np.uint64(0xFFFFFFFF)
_ONE = np.uint64(1)


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _mix(z: Any) -> Any:
    """SplitMix64's finaliser (Steele, Lea and Flood, OOPSLA 2014), a bijection of 64 bits."""
    z = (z ^ (z >> _S30)) * _FIRST
    z = (z ^ (z >> _S27)) * _SECOND
    return z ^ (z >> _S31)


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _stream(seed: Any, vertex: int, walk: int) -> Any:
    """Start of the stream of one walk."""
    of_vertex = _mix(np.uint64(seed) + _GOLDEN * (np.uint64(vertex) + _ONE))
    return _mix(of_vertex + _GOLDEN * (np.uint64(walk) + _ONE))


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _draw(stream: Any, counter: int) -> Any:
    """64 random bits."""
    return _mix(stream + _GOLDEN * (np.uint64(counter) + _ONE))


# --- offline: fingerprints ---------------------------------------------------------------------------------------------


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _neighbour(vertex: int, low: Any, indptr: Any, indices: Any, cumulative: Any) -> int:
    """The out-neighbour that 32 random bits choose."""
    start = indptr[vertex]
    degree = indptr[vertex + 1] - start
    if len(cumulative) == 0:
        return indices[start + np.int64((low * np.uint64(degree)) >> _S32)]
    place = float(low) * 2.0**-32
    first, last = start, start + degree - 1
    while first < last:
        middle = (first + last) // 2
        if cumulative[middle] > place:
            last = middle
        else:
            first = middle + 1
    return indices[first]


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _tally(vertex: int, amount: int, counts: Any, touched: Any, n_touched: int) -> int:
    """Count a visit; returns the number of vertices touched so far."""
    if counts[vertex] == 0:
        touched[n_touched] = vertex
        n_touched += 1
    counts[vertex] += amount
    return n_touched


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _independent_walks(
    source: int,
    n_walks: int,
    max_length: int,
    ends_only: bool,
    stop_below: Any,
    seed: Any,
    indptr: Any,
    indices: Any,
    cumulative: Any,
    counts: Any,
    touched: Any,
) -> int:
    """Walks that stop with probability α at each vertex and die at sinks; counts every visit, or where they stop."""
    n_touched = 0
    for walk in range(n_walks):
        stream = _stream(seed, source, walk)
        vertex, length = source, 0
        while True:
            if not ends_only:
                n_touched = _tally(vertex, 1, counts, touched, n_touched)
            bits = _draw(stream, length)
            length += 1
            if (bits >> _S32) < stop_below:
                if ends_only:
                    n_touched = _tally(vertex, 1, counts, touched, n_touched)
                break
            if indptr[vertex] == indptr[vertex + 1] or length == max_length:
                break
            vertex = _neighbour(vertex, bits & _LOW, indptr, indices, cumulative)
    return n_touched


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _long_path(
    source: int,
    n_visits: int,
    stop_below: Any,
    seed: Any,
    indptr: Any,
    indices: Any,
    cumulative: Any,
    counts: Any,
    touched: Any,
) -> int:
    """One walk of a given number of visits that jumps back to its source wherever a walk would end."""
    n_touched = 0
    stream = _stream(seed, source, 0)
    vertex = source
    for visit in range(n_visits):
        n_touched = _tally(vertex, 1, counts, touched, n_touched)
        bits = _draw(stream, visit)
        if (bits >> _S32) < stop_below or indptr[vertex] == indptr[vertex + 1]:
            vertex = source
        else:
            vertex = _neighbour(vertex, bits & _LOW, indptr, indices, cumulative)
    return n_touched


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _thin(amount: float, bits: Any) -> int:
    """floor(amount), plus one with the probability of its fraction."""
    whole = np.int64(amount)
    return whole + np.int64(float(bits >> _S11) * 2.0**-53 < amount - whole)


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _stratified_walkers(
    source: int,
    n_walks: int,
    max_length: int,
    alpha: float,
    seed: Any,
    indptr: Any,
    indices: Any,
    probability: Any,
    counts: Any,
    touched: Any,
    walkers: Any,
    arrived: Any,
) -> int:
    """Numbers of walkers in place of walkers: each share that moves is its expectation, rounded at random."""
    stream = _stream(seed, source, 0)
    counter = 0
    n_touched = 0
    here, there = np.empty(16, dtype=np.int64), np.empty(16, dtype=np.int64)
    here[0], n_here = source, 1
    walkers[source] = n_walks
    n_rounds = 0
    while n_here > 0:
        n_there = 0
        n_rounds += 1
        for place in range(n_here):
            vertex = here[place]
            amount = walkers[vertex]
            walkers[vertex] = 0
            n_touched = _tally(vertex, amount, counts, touched, n_touched)
            if n_rounds == max_length:
                continue
            moving = _thin(amount * (1 - alpha), _draw(stream, counter))
            counter += 1
            if moving == 0:
                continue
            for edge in range(indptr[vertex], indptr[vertex + 1]):
                share = probability[edge] if len(probability) else 1.0 / (indptr[vertex + 1] - indptr[vertex])
                sent = _thin(moving * share, _draw(stream, counter))
                counter += 1
                if sent > 0:
                    target = indices[edge]
                    if arrived[target] == 0:
                        if n_there == len(there):
                            there = np.append(there, np.empty(n_there, dtype=np.int64))
                        there[n_there] = target
                        n_there += 1
                    arrived[target] += sent
        here, there, n_here = there, here, n_there
        walkers, arrived = arrived, walkers
    return n_touched


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _fingerprint_rows(
    vertices: Any,
    kind: int,
    ratio: bool,
    alpha: float,
    n_walks: int,
    max_length: int,
    max_entries: int,
    min_in_degree: int,
    in_degree: Any,
    seed: Any,
    indptr: Any,
    indices: Any,
    probability: Any,
    cumulative: Any,
    mass: Any,
) -> Any:
    """Fingerprints of some vertices: lengths, entries with the largest first, and the mass that truncation dropped."""
    n = len(indptr) - 1
    counts, touched = np.zeros(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    walkers = np.zeros(n if kind == 3 else 0, dtype=np.int64)
    arrived = np.zeros(n if kind == 3 else 0, dtype=np.int64)
    stop_below = np.uint64(round(alpha * 2.0**32))
    n_visits = np.int64(np.ceil(n_walks / alpha))
    lengths = np.zeros(len(vertices), dtype=np.int64)
    dropped = np.zeros(len(vertices), dtype=np.float32)
    capacity = 1024
    columns, values = np.empty(capacity, dtype=np.int32), np.empty(capacity, dtype=np.float32)
    end = 0
    for place in range(len(vertices)):
        source = vertices[place]
        walked = len(in_degree) == 0 or in_degree[source] >= min_in_degree
        if not walked:
            # What a vertex without a fingerprint still knows: the walk stops where it stands with probability α.
            counts[source], touched[0], n_touched = 1, source, 1
            scale = alpha
        else:
            if kind <= 1:
                n_touched = _independent_walks(
                    source,
                    n_walks,
                    max_length,
                    kind == 1,
                    stop_below,
                    seed,
                    indptr,
                    indices,
                    cumulative,
                    counts,
                    touched,
                )
            elif kind == 2:
                n_touched = _long_path(source, n_visits, stop_below, seed, indptr, indices, cumulative, counts, touched)
            else:
                n_touched = _stratified_walkers(
                    source,
                    n_walks,
                    max_length,
                    alpha,
                    seed,
                    indptr,
                    indices,
                    probability,
                    counts,
                    touched,
                    walkers,
                    arrived,
                )
            scale = 1.0 / n_walks if kind == 1 else alpha / n_walks
        total = 0
        for i in range(n_touched):
            total += counts[touched[i]]
        if walked and total > 0 and (ratio or kind == 2):
            scale = (mass[source] if len(mass) else 1.0) / total
        # Largest count first, then smallest vertex: one integer holds both, and n < 2^31.
        keys = np.empty(n_touched, dtype=np.int64)
        for i in range(n_touched):
            keys[i] = (counts[touched[i]] << 31) | (n - 1 - touched[i])
            counts[touched[i]] = 0
        keys.sort()
        length = n_touched if max_entries < 0 else min(n_touched, max_entries)
        if length < n_touched:
            kept = 0
            for i in range(n_touched - length, n_touched):
                kept += keys[i] >> 31
            dropped[place] = scale * (total - kept)
            scale *= total / kept
        while end + length > capacity:
            columns = np.append(columns, np.empty(capacity, dtype=np.int32))
            values = np.append(values, np.empty(capacity, dtype=np.float32))
            capacity *= 2
        for i in range(length):
            key = keys[n_touched - 1 - i]
            columns[end + i] = n - 1 - (key & 0x7FFFFFFF)
            values[end + i] = scale * (key >> 31)
        lengths[place] = length
        end += length
    return lengths, columns[:end].copy(), values[:end].copy(), dropped


@dataclass(frozen=True)
class Settings:
    """What an index was built with: two indices with equal settings are equal bit by bit."""

    graph: str
    n_nodes: int
    alpha: float
    dangling: str
    walks: str
    estimate: str
    n_walks: int
    max_length: int | None
    max_entries: int | None
    min_in_degree: int
    seed: int
    shard_size: int


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of all vertices as sparse rows, the largest entry of each row first.

    Attributes
    ----------
    indptr : int64 array of shape (rows + 1,)
    indices : int32 array of shape (nnz,)
    values : float32 array of shape (nnz,)
        Estimates of q_v.
    dropped : float32 array of shape (rows,)
        Mass of the entries that ``max_entries`` cut off; the rows that lost some are scaled up to what they held.
    """

    indptr: Int64[np.ndarray, " starts"]
    indices: Int32[np.ndarray, " nnz"]
    values: Float32[np.ndarray, " nnz"]
    dropped: Float32[np.ndarray, " rows"]

    @property
    def nbytes(self) -> int:
        """Size in memory, or on disk where the arrays are memory-mapped."""
        return self.indptr.nbytes + self.indices.nbytes + self.values.nbytes + self.dropped.nbytes

    @property
    def entries_per_vertex(self) -> float:
        """Mean number of entries of a row."""
        return len(self.indices) / len(self.dropped)

    def save(self, folder: Path) -> None:
        """One memory-mappable file an array."""
        _save_arrays(self, folder)

    @classmethod
    def load(cls, folder: Path) -> "Fingerprints":
        """Memory-map what `save` wrote."""
        return cls(*(_load_array(folder / f"{name}.npy") for name in cls.__dataclass_fields__))


def sample_fingerprints(
    transitions: Transitions,
    vertices: Int[np.ndarray, " rows"],
    *,
    alpha: float = 0.15,
    n_walks: int = 100,
    walks: Walks = "full-path",
    estimate: Estimate = "unbiased",
    max_length: int | None = None,
    max_entries: int | None = None,
    min_in_degree: int = 0,
    in_degree: Int[np.ndarray, " n"] | None = None,
    seed: int = 0,
) -> Fingerprints:
    r"""Monte-Carlo fingerprints of some vertices; row i belongs to ``vertices[i]``.

    The walks of a vertex depend on `seed` and the vertex alone, so any split of the vertices gives the same rows.

    Parameters
    ----------
    transitions : Transitions
    vertices : int array of shape (rows,)
    alpha, n_walks, walks, estimate, max_length, max_entries, min_in_degree
        As in `PowerWalk`.
    in_degree : int array of shape (n,), optional
        Needed by `min_in_degree`.
    seed : int

    Examples
    --------
    >>> path = Transitions.from_adjacency(sp.csr_array([[0.0, 1.0], [0.0, 0.0]]))
    >>> rows = sample_fingerprints(path, np.array([1]), alpha=0.5, n_walks=10)
    >>> rows.indices, rows.values
    (array([1], dtype=int32), array([0.5], dtype=float32))
    """
    lengths, indices, values, dropped = _fingerprint_rows(
        np.asarray(vertices, dtype=np.int64),
        _WALKS.index(walks),
        estimate == "ratio",
        float(alpha),
        n_walks,
        -1 if max_length is None else max_length,
        -1 if max_entries is None else max_entries,
        min_in_degree,
        np.empty(0, dtype=np.int64) if in_degree is None else in_degree,
        np.uint64(seed),
        transitions.indptr,
        transitions.indices,
        transitions.probability,
        transitions.cumulative,
        transitions.mass,
    )
    return Fingerprints(np.concatenate(([0], np.cumsum(lengths))), indices, values, dropped)


# --- online: vertex-centric decomposition ------------------------------------------------------------------------------


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _row_of(vertex: int, slots: Any, vertices: Any, table: Any, n_rows: int) -> Any:
    """Row of a vertex in a table that has rows for touched vertices only; grows the table by doubling."""
    if slots[vertex] == 0:
        if n_rows == len(vertices):
            grown = np.zeros((2 * n_rows, table.shape[1]))
            grown[:n_rows] = table
            table = grown
            vertices = np.append(vertices, np.empty(n_rows, dtype=np.int64))
        vertices[n_rows] = vertex
        n_rows += 1
        slots[vertex] = n_rows
    return slots[vertex] - 1, vertices, table, n_rows


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _add_scaled(row: Any, factor: float, flows: Any, who: Any, n_who: int, eps: float) -> None:
    """row[j] += factor·flows[j] for the sources j in `who` whose product reaches eps."""
    if 3 * n_who < len(row):
        for i in range(n_who):
            product = factor * flows[who[i]]
            if product >= eps:
                row[who[i]] += product
    else:  # most sources take part: straight through, which the compiler vectorises
        for j in range(len(row)):
            product = factor * flows[j]
            row[j] += product if product >= eps else 0.0


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
        row, vertices, flows, n_reached = _row_of(sources[j], flow_slots, vertices, flows, n_reached)
        flows[row, j] = 1.0
    who = np.empty(n_sources, dtype=np.int64)
    outflow = np.empty(n_sources)

    for _ in range(n_steps):
        n_next = 0
        for place in range(n_reached):
            vertex = vertices[place]
            flow = flows[place]
            flow_slots[vertex] = 0
            start, stop = indptr[vertex], indptr[vertex + 1]
            n_stored = n_who = 0
            for j in range(n_sources):
                outflow[j] = 0.0
                if flow[j] > 0.0:
                    if alpha * flow[j] >= eps:
                        n_stored += 1
                    if stop > start:
                        outflow[j] = (1 - alpha) * flow[j]
                        if len(probability) == 0:
                            outflow[j] /= stop - start
                        if outflow[j] >= eps:  # an edge carries no more than this
                            who[n_who] = j
                            n_who += 1
                        else:
                            outflow[j] = 0.0
            if n_stored > 0:
                row, touched, answer, n_touched = _row_of(vertex, answer_slots, touched, answer, n_touched)
                for j in range(n_sources):
                    if alpha * flow[j] >= eps:
                        answer[row, j] += alpha * flow[j]
            if n_who > 0:
                for edge in range(start, stop):
                    share = 1.0 if len(probability) == 0 else probability[edge]
                    row, next_vertices, next_flows, n_next = _row_of(
                        indices[edge], next_slots, next_vertices, next_flows, n_next
                    )
                    _add_scaled(next_flows[row], share, outflow, who, n_who, eps)
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
                row, touched, answer, n_touched = _row_of(
                    index_indices[entry], answer_slots, touched, answer, n_touched
                )
                _add_scaled(answer[row], value, outflow, who, n_who, eps)

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


# --- the index: shards that are built anywhere, one set of arrays in the end -------------------------------------------


def _build_shard(
    transitions: Transitions | str,
    settings: Settings,
    in_degree: Int[np.ndarray, " n"] | None,
    number: int,
    folder: str | None,
) -> tuple[int, Fingerprints | None]:
    """Sample one shard; written to `folder` under a temporary name and renamed, or returned where there is none."""
    if isinstance(transitions, str):
        transitions = Transitions.load(Path(transitions))
    first = number * settings.shard_size
    rows = sample_fingerprints(
        transitions,
        np.arange(first, min(first + settings.shard_size, settings.n_nodes)),
        alpha=settings.alpha,
        n_walks=settings.n_walks,
        walks=typing.cast(Walks, settings.walks),
        estimate=typing.cast(Estimate, settings.estimate),
        max_length=settings.max_length,
        max_entries=settings.max_entries,
        min_in_degree=settings.min_in_degree,
        in_degree=in_degree,
        seed=settings.seed,
    )
    if folder is None:
        return number, rows
    with atomic_folder(Path(folder) / f"{number:06d}") as partial:
        rows.save(partial)
    return number, None


def _build_index(
    transitions: Transitions, settings: Settings, folder: Path | None, n_jobs: int | None, progress: bool
) -> Fingerprints:
    """All shards through `joblib.Parallel`; a shard whose worker dies is built again, the finished ones stay."""
    n_shards = -(-settings.n_nodes // settings.shard_size)
    in_degree = np.bincount(transitions.indices, minlength=settings.n_nodes) if settings.min_in_degree > 0 else None
    built: dict[int, Fingerprints | None] = {}
    graph: Transitions | str = transitions
    shards = None
    if folder is not None:
        shards = folder / "shards"
        shards.mkdir(exist_ok=True)
        graph = str(folder / "graph")  # workers of another process map it instead of receiving a copy
        if not (folder / "graph").exists():
            with atomic_folder(graph) as partial:
                transitions.save(partial)
        built = {number: None for number in range(n_shards) if (shards / f"{number:06d}").exists()}
    n_failures = 0
    with _progress(n_shards, progress) as show:
        while len(built) < n_shards:
            missing = [number for number in range(n_shards) if number not in built]
            tasks = (
                joblib.delayed(_build_shard)(
                    graph, settings, in_degree, number, None if shards is None else str(shards)
                )
                for number in missing
            )
            parallel = _CountingParallel(n_jobs=n_jobs, prefer="threads")
            parallel.report, parallel.n_before = show, len(built)
            try:
                built |= dict(parallel(tasks))
            except Exception as error:
                if not _lost_a_worker(error):
                    raise
                finished = [number for number in missing if shards and (shards / f"{number:06d}").exists()]
                built |= dict.fromkeys(finished)
                n_failures = 0 if finished else n_failures + 1
                if n_failures == 3:
                    raise
    if folder is None or shards is None:
        return _concatenate([typing.cast(Fingerprints, built[number]) for number in range(n_shards)])
    _merge([shards / f"{number:06d}" for number in range(n_shards)], folder / "fingerprints")
    shutil.rmtree(shards)
    return Fingerprints.load(folder / "fingerprints")


def _lost_a_worker(error: Exception) -> bool:
    """Whether a worker process or its machine died, rather than the work having failed in it."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, BrokenProcessPool) or bool(
        names & {"RayActorError", "WorkerCrashedError", "NodeDiedError", "ObjectLostError"}
    )


def _concatenate(parts: Sequence[Fingerprints]) -> Fingerprints:
    """Shards one below the other."""
    lengths = np.concatenate([np.diff(part.indptr) for part in parts])
    return Fingerprints(
        np.concatenate(([0], np.cumsum(lengths))),
        np.concatenate([part.indices for part in parts]),
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.dropped for part in parts]),
    )


def _merge(shards: list[Path], folder: Path) -> None:
    """The same on disk, one shard in memory at a time."""
    parts = [Fingerprints.load(shard) for shard in shards]
    lengths = np.concatenate([np.diff(part.indptr) for part in parts])
    with atomic_folder(folder) as partial:
        np.save(partial / "indptr.npy", np.concatenate(([0], np.cumsum(lengths))))
        np.save(partial / "dropped.npy", np.concatenate([part.dropped for part in parts]))
        for name, dtype in (("indices", np.int32), ("values", np.float32)):
            whole = np.lib.format.open_memmap(
                partial / f"{name}.npy", mode="w+", dtype=dtype, shape=(int(lengths.sum()),)
            )
            end = 0
            for part in parts:
                piece = getattr(part, name)
                whole[end : end + len(piece)] = piece
                end += len(piece)
            whole.flush()


def _save_arrays(holder: Any, folder: Path) -> None:
    for name in holder.__dataclass_fields__:
        np.save(folder / f"{name}.npy", getattr(holder, name))


def _load_array(path: Path) -> np.ndarray:
    """A mapped array that never writes to its file; an empty one cannot be mapped and is read."""
    # Mode "c" rather than "r": the kernels are compiled for writable arrays, and would be compiled again for others.
    array = np.load(path, mmap_mode="c", allow_pickle=False)
    return np.asarray(array)


class _CountingParallel(joblib.Parallel):
    """Tells how many tasks are done, whatever the backend."""

    report: Callable[[int], None]
    n_before: int

    def print_progress(self) -> None:
        """Called by joblib after each batch of tasks."""
        self.report(self.n_before + self.n_completed_tasks)


@contextmanager
def _progress(total: int, show: bool) -> Iterator[Callable[[int], None]]:
    """A bar over shards, or nothing; gives the function that sets it."""
    if not show:
        yield lambda done: None
        return
    from rich.progress import Progress

    with Progress() as bar:
        task = bar.add_task("fingerprints", total=total)
        yield lambda done: bar.update(task, completed=done)


# --- the estimator -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TopK:
    """The vertices that matter most to each source.

    Attributes
    ----------
    nodes : array of shape (batch, k)
        Names of the vertices, largest score first; -1, or None where the graph has names, after the last reachable one.
    scores : float array of shape (batch, k)
        Their personalised PageRank; 0 where there is no vertex.
    """

    nodes: np.ndarray
    scores: Float[np.ndarray, "batch k"]


class PowerWalk(Estimator):
    r"""Personalised PageRank of many sources on one graph, from an index of short random walks.

    Parameters
    ----------
    alpha : float
        Probability with which the walk goes back to its source at each vertex (reset probability).
    n_walks : int
        Random walks from each vertex in the index: time and size of the index grow with it.
    n_steps : int
        Rounds of decomposition a query; each takes the walk's length off the index and multiplies the vertices reached.
    eps : float
        Flows below it are not followed: faster, at the price of the many small scores. 0 follows all of them.
    use_index : bool
        Without an index a query stops after `n_steps` rounds and lacks the mass (1 - alpha)^n_steps that still moves.
    direction : {'push', 'pull'}
        Carry the sources' mass forward to the fingerprints, or the fingerprints back to the sources. The result is the same
        for ``eps=0``; pull does the work of each vertex once for all sources.
    dangling : {'source', 'self', 'kill', 'uniform'}
        What becomes of a walk at a vertex without out-edges: it goes back to the source, stays there, dies (the scores then
        sum to less than one), or jumps to any vertex (the answer of each source is then dense).
    walks : {'full-path', 'end-point', 'long-path', 'stratified'}
        What a fingerprint counts: all visits of independent walks; where they stop; all visits of one long walk that jumps
        back to its source; all visits of walkers that are split in proportion and rounded at random.
    estimate : {'unbiased', 'ratio'}
        Divide the visits by the number of walks, or by the number of visits. The ratio makes each fingerprint sum to what
        it should, and has a bias that averaging over fingerprints does not remove.
    max_length : int or None
        Vertices after which a walk is cut. A cut at L loses the mass (1 - alpha)^L; None never cuts.
    max_entries : int or None
        Largest entries that are kept of each fingerprint, scaled up to the mass of all.
    min_in_degree : int
        Vertices with fewer in-edges get no fingerprint. 1 costs nothing when `n_steps` is positive.
    directed : bool
        Follow edges in their direction only; False adds every edge's reverse.
    index_dir : str or None
        Folder of the index. It is built there in shards and memory-mapped; a folder that holds the finished index of the same
        graph and settings is used as it is, and one that holds some of its shards is completed.
    shard_size : int or None
        Vertices a shard, the unit of parallel work; by default some eight million visits. It does not change the result.
    n_jobs : int or None
        Threads or workers, as in joblib: None is one unless a `joblib.parallel_config` says otherwise, -1 all cores.
    random_state : int or None
        Seed. The walks depend on it, their vertex and their number alone, so any number of workers gives the same index.

    Attributes
    ----------
    graph_ : Graph
        The graph as it was given, with the names of its nodes.
    index_ : Fingerprints or None
        The fingerprints of all vertices.
    transitions_ : Transitions
        Where walks go from each vertex.
    settings_ : Settings
        What the index was built with, the fingerprint of the graph included.

    Notes
    -----
    On a Ray cluster that shares the file system of `index_dir`::

        from ray.util.joblib import register_ray

        register_ray()
        restart = {"max_restarts": -1, "max_task_retries": -1}
        with joblib.parallel_config(backend="ray", n_jobs=-1, ray_remote_args=restart):
            PowerWalk(index_dir="/shared/index").fit(graph)

    References
    ----------
    Q. Liu, Z. Li, J. C. S. Lui and J. Cheng, PowerWalk: Scalable Personalized PageRank via Random Walks with Vertex-Centric
    Decomposition, CIKM 2016, arXiv:1608.06054.

    Examples
    --------
    >>> import networkx as nx
    >>> model = PowerWalk(n_walks=100, n_steps=8, random_state=0).fit(nx.karate_club_graph())
    >>> model.top_k([0, 33], k=4).nodes
    array([[ 0,  1,  2,  3],
           [33, 32, 23, 31]])
    """

    def __init__(
        self,
        *,
        alpha: float = 0.15,
        n_walks: int = 100,
        n_steps: int = 2,
        eps: float = 1e-6,
        use_index: bool = True,
        direction: Literal["push", "pull"] = "push",
        dangling: Literal["source", "self", "kill", "uniform"] = "source",
        walks: Literal["full-path", "end-point", "long-path", "stratified"] = "full-path",
        estimate: Literal["unbiased", "ratio"] = "unbiased",
        max_length: int | None = None,
        max_entries: int | None = None,
        min_in_degree: int = 0,
        directed: bool = True,
        index_dir: str | None = None,
        shard_size: int | None = None,
        n_jobs: int | None = None,
        random_state: int | None = None,
    ) -> None:
        self.alpha = alpha
        self.n_walks = n_walks
        self.n_steps = n_steps
        self.eps = eps
        self.use_index = use_index
        self.direction = direction
        self.dangling = dangling
        self.walks = walks
        self.estimate = estimate
        self.max_length = max_length
        self.max_entries = max_entries
        self.min_in_degree = min_in_degree
        self.directed = directed
        self.index_dir = index_dir
        self.shard_size = shard_size
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(
        self,
        graph: Any,
        y: None = None,
        *,
        progress: bool = False,
        checkpoint_dir: str | os.PathLike[str] | None = None,
    ) -> "PowerWalk":
        """Build the index of a graph, or take the one that lies in `index_dir`.

        Parameters
        ----------
        graph : Graph, networkx graph, sparse or dense (n, n) matrix, PyG ``Data``, or edge list
            Non-negative weights; the entry in row u and column v is the edge from u to v. An edge list of shape (m, 2) or
            (m, 3) is directed unless ``directed=False``.
        y : ignored
        progress : bool
            Show a progress bar.
        checkpoint_dir : path, optional
            Where finished shards are kept if there is no `index_dir`, so that a build that was stopped goes on from them.

        Raises
        ------
        ValueError
            If an argument is out of range, the graph is no graph, or `index_dir` holds the index of another graph or of
            other settings.
        """
        self._check_settings()
        self._check_query_settings()
        given = as_graph(graph, "graph", directed=True)
        adjacency = given.adjacency
        if not self.directed:
            adjacency = sp.csr_array(adjacency + adjacency.T)
        if self.dangling == "self":
            adjacency = loop_at_sinks(adjacency)
        # The exact masses cost a power iteration, so they are computed only where something is scaled to them.
        scaled = self.estimate == "ratio" or self.walks == "long-path" or self.dangling == "uniform"
        transitions = Transitions.from_adjacency(adjacency, self.alpha if scaled else None)
        n = transitions.n_nodes
        settings = Settings(
            graph=transitions.digest(),
            n_nodes=n,
            alpha=float(self.alpha),
            dangling=self.dangling,
            walks=self.walks,
            estimate=self.estimate,
            n_walks=int(self.n_walks),
            max_length=self.max_length,
            max_entries=self.max_entries,
            min_in_degree=self.min_in_degree,
            seed=seed_from(self.random_state),
            shard_size=self.shard_size or max(1, min(n, int(2**23 * self.alpha / self.n_walks))),
        )
        index = None
        if self.use_index:
            place = checkpoint_dir if self.index_dir is None else self.index_dir
            folder = None if place is None else Path(place)
            if folder is not None:
                settings = _open_folder(folder, settings, any_seed=self.random_state is None)
            if folder is not None and (folder / "fingerprints").exists():
                index = Fingerprints.load(folder / "fingerprints")
            else:
                index = _build_index(transitions, settings, folder, self.n_jobs, progress)
        self.graph_ = given
        self.transitions_ = transitions
        self.index_ = index
        self.settings_ = settings
        self.background_ = self._background()
        return self

    def transform(self, sources: Any) -> sp.csr_array:
        r"""Personalised PageRank of each source.

        Parameters
        ----------
        sources : node or sequence of nodes
            By the names of the graph that was fitted; a source given twice is answered twice.

        Returns
        -------
        csr_array of shape (batch, n)
            One row a source, over the nodes in the order of ``graph_.names``. Vertices that a source cannot reach are 0.

        Raises
        ------
        ValueError
            If a source is no node of the graph, there is none, or `alpha` was changed after `fit`.
        """
        return sp.csr_array(sp.vstack(list(self._answers(sources)), format="csr"))

    def top_k(self, sources: Any, k: int = 100, *, exclude_source: bool = False) -> TopK:
        """The `k` vertices with the largest scores for each source.

        Parameters
        ----------
        sources : node or sequence of nodes
        k : int
        exclude_source : bool
            Leave out the source itself, whose score is at least `alpha`.

        Returns
        -------
        TopK

        Raises
        ------
        ValueError
            If `k` is larger than the number of nodes; or as `transform`.
        """
        self._check_fitted()
        k = check_integer(k, "k", minimum=1, maximum=self.transitions_.n_nodes)
        pieces = list(self._answers(sources, lambda rows, which: _top_without(rows, which, k, exclude_source)))
        columns = np.concatenate([piece[0] for piece in pieces])
        scores = np.concatenate([piece[1] for piece in pieces])
        if self.graph_.nodes is None:
            return TopK(columns, scores)
        nodes = self.graph_.nodes.astype(object)[columns]
        nodes[columns < 0] = None
        return TopK(nodes, scores)

    def _answers(self, sources: Any, finish: Any = None) -> Iterator[Any]:
        """Answers block by block in the order of the sources; `finish` reduces a block in the thread that computed it."""
        self._check_fitted()
        self._check_query_settings()
        if np.ndim(sources) > 1 or np.size(sources) == 0:
            raise ValueError(f"sources must be a node or a non-empty sequence of nodes, got shape {np.shape(sources)}")
        numbers = self.graph_.index(sources, "sources")
        size = _block_size(self.transitions_.n_nodes)
        blocks = [numbers[start : start + size] for start in range(0, len(numbers), size)]

        def answer(block: np.ndarray) -> Any:
            rows = self._answer_block(block)
            return rows if finish is None else finish(rows, block)

        yield from joblib.Parallel(n_jobs=self.n_jobs, require="sharedmem")(map(joblib.delayed(answer), blocks))

    def _answer_block(self, block: np.ndarray) -> sp.csr_array:
        """q of a block of sources, and the policy for dangling vertices."""
        compute = decompose if self.direction == "push" else decompose_by_pull
        index = self.index_ if self.use_index else None
        rows = compute(self.transitions_, index, block, alpha=self.alpha, n_steps=self.n_steps, eps=self.eps)
        if self.dangling == "kill":
            return rows
        kept = np.ones(len(block))
        if self.background_ is not None:
            kept = self.transitions_.mass[block]
        rows.data *= np.repeat(kept / np.asarray(rows.sum(axis=1)), np.diff(rows.indptr))
        if self.background_ is None:
            return rows
        return sp.csr_array(rows.toarray() + (1 - kept)[:, None] * self.background_)

    def _background(self) -> np.ndarray | None:
        """Where the mass lost at sinks lands under the policy 'uniform': the answer of the uniform distribution."""
        if self.dangling != "uniform" or not len(self.transitions_.mass):
            return None
        answer = uniform_answer(self.transitions_.matrix, self.alpha)
        return answer / answer.sum()

    def _check_settings(self) -> None:
        check_number(self.alpha, "alpha", above=0, below=1)
        check_integer(self.n_walks, "n_walks", minimum=1)
        check_choice(self.dangling, "dangling", ("source", "self", "kill", "uniform"))
        check_choice(self.walks, "walks", _WALKS)
        check_choice(self.estimate, "estimate", ("unbiased", "ratio"))
        check_integer(self.min_in_degree, "min_in_degree", minimum=0)
        for name in ("max_length", "max_entries", "shard_size"):
            if getattr(self, name) is not None:
                check_integer(getattr(self, name), name, minimum=1)
        if self.walks == "long-path" and self.max_length is not None:
            raise ValueError(f"max_length must be None for walks='long-path', got {self.max_length}")

    def _check_query_settings(self) -> None:
        """What `set_params` may change between fit and query."""
        check_integer(self.n_steps, "n_steps", minimum=0)
        check_number(self.eps, "eps", minimum=0)
        check_choice(self.direction, "direction", ("push", "pull"))
        if self.eps >= self.alpha:
            raise ValueError(f"eps must be less than alpha = {self.alpha}, else nothing is left, got {self.eps}")
        if not self.use_index and self.n_steps == 0:
            raise ValueError("n_steps must be >= 1 when use_index=False, got 0")

    def _check_fitted(self) -> None:
        if not hasattr(self, "transitions_"):
            from sklearn.exceptions import NotFittedError

            raise NotFittedError("this PowerWalk is not fitted: call fit(graph) first")
        if self.alpha != self.settings_.alpha:
            raise ValueError(f"alpha is {self.alpha}, but the index was built for {self.settings_.alpha}: fit again")
        if self.dangling != self.settings_.dangling:
            raise ValueError(f"dangling is {self.dangling!r}, but fit took {self.settings_.dangling!r}: fit again")
        if self.use_index and self.index_ is None:
            raise ValueError("use_index is True, but fit built no index: fit again")

    def save_pretrained(self, directory: str | os.PathLike[str]) -> Path:
        """Write graph, index and settings to a folder of memory-mappable ``.npy`` files and one ``config.json``.

        Parameters
        ----------
        directory : path
            Created, or replaced as a whole once everything is written.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        ValueError
            If the names of the nodes are neither numbers nor strings.
        """
        self._check_fitted()
        nodes = self.graph_.nodes
        if nodes is not None and nodes.dtype.kind not in "iufU":
            if not all(isinstance(node, str) for node in nodes):
                raise ValueError("the names of the nodes must be numbers or strings to be stored")
            nodes = nodes.astype(np.str_)
        config = {
            "class": f"{type(self).__module__}:{type(self).__qualname__}",
            "version": semigroup.__version__,
            "params": self.get_params(deep=False),
            "settings": asdict(self.settings_),
            "has_index": self.index_ is not None,
            "has_names": nodes is not None,
        }
        with atomic_folder(directory) as folder:
            (folder / "config.json").write_text(json.dumps(config, indent=2, default=str))
            for name in ("graph", "adjacency"):
                (folder / name).mkdir()
            self.transitions_.save(folder / "graph")
            for part in ("indptr", "indices", "data"):
                np.save(folder / "adjacency" / f"{part}.npy", getattr(self.graph_.adjacency, part))
            if self.index_ is not None:
                (folder / "fingerprints").mkdir()
                self.index_.save(folder / "fingerprints")
            if nodes is not None:
                np.save(folder / "nodes.npy", nodes)
        return Path(directory)

    @classmethod
    def from_pretrained(cls, directory: str | os.PathLike[str]) -> "PowerWalk":
        """Open what `save_pretrained` wrote; graph and index are memory-mapped, so opening takes no time.

        Parameters
        ----------
        directory : path or str
            A folder, or the id of a Hugging Face Hub repository.

        Raises
        ------
        ValueError
            If the folder holds another estimator, or an index that does not belong to the graph beside it.
        """
        folder = Path(directory)
        if not folder.is_dir():
            from huggingface_hub import snapshot_download

            folder = Path(snapshot_download(str(directory)))
        config = json.loads((folder / "config.json").read_text())
        expected = f"{cls.__module__}:{cls.__qualname__}"
        if config["class"] != expected:
            raise ValueError(f"directory holds a {config['class']}, not a {expected}")
        model = cls(**config["params"])
        model.settings_ = Settings(**config["settings"])
        model.transitions_ = Transitions.load(folder / "graph")
        if model.transitions_.digest() != model.settings_.graph:
            raise ValueError(f"directory {folder} holds the index of another graph than the one beside it")
        parts = {name: _load_array(folder / "adjacency" / f"{name}.npy") for name in ("data", "indices", "indptr")}
        n = model.settings_.n_nodes
        adjacency = sp.csr_array((parts["data"], parts["indices"], parts["indptr"]), shape=(n, n))
        nodes = np.load(folder / "nodes.npy", allow_pickle=False) if config["has_names"] else None
        model.graph_ = Graph(adjacency, nodes)
        model.index_ = Fingerprints.load(folder / "fingerprints") if config["has_index"] else None
        model.background_ = model._background()
        return model


def _block_size(n_nodes: int) -> int:
    """Sources that are answered together: as many as keep a dense block of scores below 128 MB, 64 at most."""
    return int(np.clip(2**24 // n_nodes, 1, 64))


def _top_without(
    rows: sp.csr_array, sources: np.ndarray, k: int, exclude_source: bool
) -> tuple[np.ndarray, np.ndarray]:
    """`top_entries`, without each row's own source if asked."""
    if exclude_source:
        own = rows.indices == np.repeat(sources, np.diff(rows.indptr))
        rows.data[own] = 0.0
        rows.eliminate_zeros()
    return top_entries(rows, k)


def _open_folder(folder: Path, settings: Settings, *, any_seed: bool) -> Settings:
    """Claim an empty index folder for these settings, or check that it was claimed for the same.

    Returns
    -------
    Settings
        Those of the folder; without a seed of one's own, the folder's seed and shards are as good as any.
    """
    claim = folder / "settings.json"
    if not claim.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = claim.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(settings), indent=2))
        partial.replace(claim)
        return settings
    stored = Settings(**json.loads(claim.read_text()))
    if stored.graph != settings.graph:
        raise ValueError(f"index_dir {str(folder)!r} holds the index of another graph; choose another folder")
    for name, value in asdict(settings).items():
        # The graph with loops at its sinks is another graph; the other policies share the index.
        free = name in ("shard_size", "dangling") or (name == "seed" and any_seed)
        if not free and getattr(stored, name) != value:
            raise ValueError(
                f"index_dir {str(folder)!r} holds an index with {'random_state' if name == 'seed' else name} = "
                f"{getattr(stored, name)}, and this estimator has {value}; choose another folder"
            )
    return replace(stored, dangling=settings.dangling)

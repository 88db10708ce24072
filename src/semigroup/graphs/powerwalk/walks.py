"""Random walks from every vertex, and the fingerprints that they leave."""

import hashlib
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numba
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Float32, Int, Int32, Int64

from semigroup.operators import transition_matrix
from semigroup.operators.pagerank import surviving_mass
from semigroup.operators.sampling import bits_of, choose_neighbour, running_sums, stream_of

__all__ = ["WALKS", "Estimate", "Fingerprints", "Transitions", "Walks", "sample_fingerprints"]

Walks = Literal["full-path", "end-point", "long-path", "stratified"]
Estimate = Literal["unbiased", "ratio"]
WALKS: tuple[Walks, ...] = ("full-path", "end-point", "long-path", "stratified")


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
        cumulative = running_sums(matrix.indptr, probability)
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
        save_arrays(self, folder)

    @classmethod
    def load(cls, folder: Path) -> "Transitions":
        """Memory-map what `save` wrote."""
        return cls(*(load_array(folder / f"{name}.npy") for name in cls.__dataclass_fields__))


_S32, _S11 = np.uint64(32), np.uint64(11)
_LOW = np.uint64(0xFFFFFFFF)


# --- numba kernels: one vertex after the other -------------------------------------------------------------------------


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
        stream = stream_of(seed, source, walk)
        vertex, length = source, 0
        while True:
            if not ends_only:
                n_touched = _tally(vertex, 1, counts, touched, n_touched)
            bits = bits_of(stream, length)
            length += 1
            if (bits >> _S32) < stop_below:
                if ends_only:
                    n_touched = _tally(vertex, 1, counts, touched, n_touched)
                break
            if indptr[vertex] == indptr[vertex + 1] or length == max_length:
                break
            vertex = choose_neighbour(vertex, bits & _LOW, indptr, indices, cumulative)
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
    stream = stream_of(seed, source, 0)
    vertex = source
    for visit in range(n_visits):
        n_touched = _tally(vertex, 1, counts, touched, n_touched)
        bits = bits_of(stream, visit)
        if (bits >> _S32) < stop_below or indptr[vertex] == indptr[vertex + 1]:
            vertex = source
        else:
            vertex = choose_neighbour(vertex, bits & _LOW, indptr, indices, cumulative)
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
    stream = stream_of(seed, source, 0)
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
            moving = _thin(amount * (1 - alpha), bits_of(stream, counter))
            counter += 1
            if moving == 0:
                continue
            for edge in range(indptr[vertex], indptr[vertex + 1]):
                share = probability[edge] if len(probability) else 1.0 / (indptr[vertex + 1] - indptr[vertex])
                sent = _thin(moving * share, bits_of(stream, counter))
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
        save_arrays(self, folder)

    @classmethod
    def load(cls, folder: Path) -> "Fingerprints":
        """Memory-map what `save` wrote."""
        return cls(*(load_array(folder / f"{name}.npy") for name in cls.__dataclass_fields__))


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
        WALKS.index(walks),
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


def save_arrays(holder: Any, folder: Path) -> None:
    for name in holder.__dataclass_fields__:
        np.save(folder / f"{name}.npy", getattr(holder, name))


def load_array(path: Path) -> np.ndarray:
    """A mapped array that never writes to its file; an empty one cannot be mapped and is read."""
    # Mode "c" rather than "r": the kernels are compiled for writable arrays, and would be compiled again for others.
    array = np.load(path, mmap_mode="c", allow_pickle=False)
    return np.asarray(array)

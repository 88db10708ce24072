"""Random numbers and draws of neighbours inside compiled walks.

A random number is a function of (seed, vertex, walk, draw): a walk is the same whoever makes it, in whatever order, on
however many threads. All functions here are compiled and are called from compiled code.
"""

import typing
from typing import Any

import numba
import numpy as np

__all__ = ["bits_of", "choose_edge", "choose_neighbour", "running_sums", "stream_of", "uniform_of"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S32, _S11 = (np.uint64(shift) for shift in (27, 30, 31, 32, 11))
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
def stream_of(seed: Any, vertex: int, walk: int) -> Any:
    """Start of the stream of one walk."""
    of_vertex = _mix(np.uint64(seed) + _GOLDEN * (np.uint64(vertex) + _ONE))
    return _mix(of_vertex + _GOLDEN * (np.uint64(walk) + _ONE))


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def bits_of(stream: Any, counter: int) -> Any:
    """The 64 random bits with number `counter` of a stream."""
    return _mix(stream + _GOLDEN * (np.uint64(counter) + _ONE))


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def uniform_of(stream: Any, counter: int) -> float:
    """The uniform number in [0, 1) with number `counter` of a stream, a multiple of 2^-53."""
    return float(bits_of(stream, counter) >> _S11) * 2.0**-53


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def choose_edge(place: float, first: int, end: int, cumulative: Any) -> int:
    """The edge, of the row that holds the edges from `first` to before `end`, whose share of [0, 1) holds `place`."""
    last = end - 1
    while first < last:
        middle = (first + last) // 2
        if cumulative[middle] > place:
            last = middle
        else:
            first = middle + 1
    return first


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def choose_neighbour(vertex: int, low: Any, indptr: Any, indices: Any, cumulative: Any) -> int:
    """The out-neighbour that 32 random bits choose; an empty `cumulative` means that every row is uniform."""
    start = indptr[vertex]
    degree = indptr[vertex + 1] - start
    if len(cumulative) == 0:
        return indices[start + np.int64((low * np.uint64(degree)) >> _S32)]
    return indices[choose_edge(float(low) * 2.0**-32, start, start + degree, cumulative)]


@numba.njit(cache=True)
@typing.no_type_check
def running_sums(indptr: Any, probability: Any) -> Any:
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

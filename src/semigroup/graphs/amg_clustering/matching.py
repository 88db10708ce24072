r"""Matchings of a graph's vertices in pairs, for coarsening.

A matching is an array `mate` with the partner of each vertex, -1 for the single ones. Four matchers maximise the sum of the
weights :math:`c_{ij} \ge 0`:

=========  =========================================================================  ========================
greedy     takes the edges by falling weight; the locally dominant matching           half of the optimum
suitor     proposals along each vertex's list, best first; the same matching          half of the optimum
auction    vertices bid for partners; paths and cycles are split at best              2/3, less a tolerance
exact      blossoms (networkx); small graphs only, its cost is cubic                  the optimum
=========  =========================================================================  ========================

Greedy and suitor cost one sort of the edges and one pass over them, hubs or not.
"""

import typing
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

__all__ = ["MATCHERS", "Edges", "compatible_edges", "match"]

MATCHERS = ("greedy", "suitor", "auction", "exact")
_EPS = float(np.finfo(np.float64).eps)
_AUCTION_STEP = 0.01  # of the largest weight


@dataclass(frozen=True)
class Edges:
    """Weighted edges, each once, with ``row < column``."""

    row: Int[np.ndarray, "m"]
    column: Int[np.ndarray, "m"]
    weight: Float[np.ndarray, "m"]


def compatible_edges(matrix: sp.csr_array, w: Float[np.ndarray, "n"]) -> Edges:
    r"""Edges of a s.p.d. matrix, weighted by how well a pair's 2 x 2 system represents the smooth vector.

    .. math:: \hat a_{ij} = 1 - \frac{2 a_{ij} w_i w_j}{a_{ii} w_i^2 + a_{jj} w_j^2} \in [0, 2], \qquad
              c_{ij} = \log \frac{\hat a_{ij}}{0.999 \min \hat a} \ge 0,

    so that the heaviest sum of c is the largest product of :math:`\hat a`. Where the denominator or :math:`\hat a` is below
    the machine's epsilon, :math:`\hat a` is that.
    """
    row, column, compatibility = _compatibilities(matrix.indptr, matrix.indices, matrix.data, matrix.diagonal(), w)
    if not len(row):
        return Edges(row, column, compatibility)
    return Edges(row, column, np.log(compatibility / (0.999 * compatibility.min())))


@numba.njit(cache=True)
@typing.no_type_check
def _compatibilities(indptr: Any, indices: Any, data: Any, diagonal: Any, w: Any) -> Any:
    count = 0
    for i in range(len(w)):
        for place in range(indptr[i], indptr[i + 1]):
            if indices[place] > i and data[place] != 0:
                count += 1
    row = np.empty(count, dtype=np.int64)
    column = np.empty(count, dtype=np.int64)
    value = np.empty(count)
    count = 0
    for i in range(len(w)):
        for place in range(indptr[i], indptr[i + 1]):
            j = indices[place]
            if j > i and data[place] != 0:
                row[count] = i
                column[count] = j
                below = diagonal[i] * w[i] * w[i] + diagonal[j] * w[j] * w[j]
                value[count] = _EPS
                if below > _EPS:
                    value[count] = max(_EPS, 1 - 2 * data[place] * w[i] * w[j] / below)
                count += 1
    return row, column, value


def match(edges: Edges, n: int, method: str = "greedy") -> Int[np.ndarray, "n"]:
    """Partner of each of `n` vertices, or -1.

    Parameters
    ----------
    edges : Edges
        Weights >= 0.
    n : int
    method : {'greedy', 'suitor', 'auction', 'exact'}

    Examples
    --------
    >>> path = Edges(np.array([0, 1, 2]), np.array([1, 2, 3]), np.array([2.0, 3.0, 2.0]))
    >>> match(path, 4, "greedy"), match(path, 4, "exact")
    (array([-1,  2,  1, -1]), array([1, 0, 3, 2]))
    """
    if method == "exact":
        return _exact(edges, n)
    if method == "auction":
        both = sp.csr_array(
            (
                np.concatenate([edges.weight, edges.weight]),
                (np.concatenate([edges.row, edges.column]), np.concatenate([edges.column, edges.row])),
            ),
            shape=(n, n),
        )
        step = _AUCTION_STEP * max(float(edges.weight.max(initial=0.0)), _EPS)
        image = _auction(both.indptr, both.indices, both.data, step)
        gain = np.zeros(n)
        assigned = image >= 0
        gain[assigned] = both[np.flatnonzero(assigned), image[assigned]]
        return _split(image, gain)
    # Ties go to the edge that comes first, so that the result does not depend on the machine's sort.
    order = np.argsort(-edges.weight, kind="stable")
    compute = _greedy if method == "greedy" else _suitor
    return compute(n, edges.row, edges.column, order)


def _exact(edges: Edges, n: int) -> np.ndarray:
    import networkx as nx

    graph = nx.Graph()
    graph.add_weighted_edges_from(zip(edges.row.tolist(), edges.column.tolist(), edges.weight.tolist()))
    mate = np.full(n, -1, dtype=np.int64)
    for i, j in nx.max_weight_matching(graph):
        mate[i], mate[j] = j, i
    return mate


@numba.njit(cache=True)
@typing.no_type_check
def _greedy(n: int, row: Any, column: Any, order: Any) -> Any:
    mate = np.full(n, -1, dtype=np.int64)
    for edge in order:
        i, j = row[edge], column[edge]
        if mate[i] < 0 and mate[j] < 0:
            mate[i], mate[j] = j, i
    return mate


@numba.njit(cache=True)
@typing.no_type_check
def _suitor(n: int, row: Any, column: Any, order: Any) -> Any:
    """Every vertex proposes down its list; a better suitor displaces a worse one, who goes on down its own list."""
    start = np.zeros(n + 1, dtype=np.int64)
    for edge in order:
        start[row[edge] + 1] += 1
        start[column[edge] + 1] += 1
    start = np.cumsum(start)
    filled = start[:-1].copy()
    partner = np.empty(start[n], dtype=np.int64)
    rank = np.empty(start[n], dtype=np.int64)
    for place in range(len(order)):  # by falling weight, so that each list is sorted
        i, j = row[order[place]], column[order[place]]
        partner[filled[i]], rank[filled[i]] = j, place
        partner[filled[j]], rank[filled[j]] = i, place
        filled[i] += 1
        filled[j] += 1
    suitor = np.full(n, -1, dtype=np.int64)
    standing = np.full(n, len(order), dtype=np.int64)  # rank of the best proposal so far
    position = start[:-1].copy()
    for first in range(n):
        proposer = first
        while proposer >= 0:
            place = position[proposer]
            while place < start[proposer + 1] and rank[place] >= standing[partner[place]]:
                place += 1
            # Proposals received only get better, so that what was skipped stays out of reach.
            position[proposer] = place + 1
            if place >= start[proposer + 1]:
                break
            wanted = partner[place]
            proposer, suitor[wanted] = suitor[wanted], proposer
            standing[wanted] = rank[place]
    mate = np.full(n, -1, dtype=np.int64)
    for i in range(n):
        if suitor[i] >= 0 and suitor[suitor[i]] == i:
            mate[i] = suitor[i]
    return mate


@numba.njit(cache=True)
@typing.no_type_check
def _auction(indptr: Any, indices: Any, weight: Any, step: float) -> Any:
    """Assignment of vertices to vertices whose sum is within n·step of the largest; -1 where nothing is left to win."""
    n = len(indptr) - 1
    price = np.zeros(n)
    owner = np.full(n, -1, dtype=np.int64)
    image = np.full(n, -1, dtype=np.int64)
    waiting = np.arange(n)[::-1].copy()
    n_waiting = n
    while n_waiting:
        n_waiting -= 1
        bidder = waiting[n_waiting]
        best, second, wanted = 0.0, 0.0, -1
        for place in range(indptr[bidder], indptr[bidder + 1]):
            profit = weight[place] - price[indices[place]]
            if profit > best:
                best, second, wanted = profit, best, indices[place]
            elif profit > second:
                second = profit
        if wanted < 0:
            continue
        price[wanted] += best - second + step
        displaced = owner[wanted]
        owner[wanted], image[bidder] = bidder, wanted
        if displaced >= 0:
            image[displaced] = -1
            waiting[n_waiting] = displaced
            n_waiting += 1
    return image


@numba.njit(cache=True)
@typing.no_type_check
def _split(image: Any, gain: Any) -> Any:
    """The heaviest matching within the paths and cycles of an assignment; ``gain[i]`` is the weight of (i, image[i])."""
    n = len(image)
    mate = np.full(n, -1, dtype=np.int64)
    has_source = np.zeros(n, dtype=np.bool_)
    for i in range(n):
        if image[i] >= 0:
            has_source[image[i]] = True
    seen = np.zeros(n, dtype=np.bool_)
    chain = np.empty(n, dtype=np.int64)
    for are_cycles in (False, True):  # paths from their starts; what is left then is cycles
        for first in range(n):
            if seen[first] or image[first] < 0 or (has_source[first] and not are_cycles):
                continue
            length = 0
            i = first
            while image[i] >= 0 and not seen[i]:
                seen[i] = True
                chain[length] = i
                length += 1
                i = image[i]
            # A cycle's first and last edge meet: without the one or without the other it is a path.
            if not are_cycles:
                _take_best(chain, 0, length, image, gain, mate, True)
            elif length <= 2 or _take_best(chain, 0, length - 1, image, gain, mate, False) >= _take_best(
                chain, 1, length, image, gain, mate, False
            ):
                _take_best(chain, 0, max(1, length - 1), image, gain, mate, True)
            else:
                _take_best(chain, 1, length, image, gain, mate, True)
    return mate


@numba.njit(cache=True)
@typing.no_type_check
def _take_best(chain: Any, start: int, stop: int, image: Any, gain: Any, mate: Any, take: bool) -> float:
    """Largest weight of a matching of the path of edges chain[start:stop], which is also taken if wanted."""
    best = np.zeros(stop - start + 2)  # of the first k edges at k + 1
    for k in range(stop - start):
        best[k + 2] = max(best[k + 1], best[k] + gain[chain[start + k]])
    if take:
        k = stop - start - 1
        while k >= 0:
            if best[k + 2] > best[k + 1]:
                i = chain[start + k]
                mate[i], mate[image[i]] = image[i], i
                k -= 2
            else:
                k -= 1
    return best[stop - start + 1]

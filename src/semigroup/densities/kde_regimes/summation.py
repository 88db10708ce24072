"""Sums of kernel weights over all points for many queries, in memory that does not grow with their product.

The points are put in the order of a k-d tree and cut into tiles of 128; so are the queries, into blocks of 64. A block takes the
tiles in the order of the distance between their bounding boxes and stops at the first that can add nothing: in few dimensions
that leaves out nearly all, in many dimensions nothing. Squared distances are sums of squared differences, so that none is
lost to cancellation, and the weights are added relative to the largest so far in double precision.

What is left out are points whose weight is below ``exp(-37) / n`` of the largest: all together less than rounding.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from joblib import Parallel, delayed, effective_n_jobs
from torch import Tensor

__all__ = ["PointTiles", "WeightSums", "log_sums_on_device", "weight_sums"]

TILE, BLOCK = 128, 64
NEGLIGIBLE = 37.0  # exp(-37) is half a unit in the last place of 1
CODES = {"gaussian": 0, "exponential": 1, "tophat": 2, "epanechnikov": 3, "linear": 4}
# Reassociation lets sums run in vector registers; no NaN occurs, infinity does.
SUMMING = {"contract", "reassoc", "nsz", "nnan"}
PAIRS_WORTH_A_THREAD = 2_000_000


@dataclass(frozen=True)
class PointTiles:
    """Points in tiles that fit the nearest cache.

    Attributes
    ----------
    values : array, shape (n_tiles, dim, 128)
        Coordinates; the last tile is filled up with infinity.
    low, high : array, shape (n_tiles, dim)
        Bounding boxes.
    n : int
        Number of points.
    """

    values: Float[np.ndarray, "tile dim 128"]
    low: Float[np.ndarray, "tile dim"]
    high: Float[np.ndarray, "tile dim"]
    n: int

    @classmethod
    def of(cls, points: Float[np.ndarray, "n dim"]) -> PointTiles:
        """Sort the points and cut them up."""
        n, dim = points.shape
        n_tiles = -(-n // TILE)
        filled = np.full((n_tiles * TILE, dim), np.inf)
        filled[:n] = points[tree_order(points, TILE)]
        tiles = filled.reshape(n_tiles, TILE, dim)
        high = np.where(np.isinf(tiles), -np.inf, tiles).max(axis=1)
        return cls(np.ascontiguousarray(tiles.transpose(0, 2, 1)), tiles.min(axis=1), high, n)


@dataclass(frozen=True)
class WeightSums:
    r"""What the sums over the weights :math:`w_i = k(|x - y_i|^2 / h^2)` of each query say.

    Attributes
    ----------
    log_sum : array, shape (n_queries,)
        :math:`\log Z = \log \sum_i w_i`, -inf where all are 0.
    participation : array, shape (n_queries,)
        :math:`\sum_i p_i^2` of :math:`p_i = w_i / Z`; NaN where Z is 0.
    entropy : array, shape (n_queries,)
        :math:`-\sum_i p_i \log p_i` in nats; NaN where Z is 0.
    """

    log_sum: Float[np.ndarray, " n"]
    participation: Float[np.ndarray, " n"]
    entropy: Float[np.ndarray, " n"]


def weight_sums(
    queries: Float[np.ndarray, "n dim"],
    tiles: PointTiles,
    kernel: str,
    bandwidth: float,
    *,
    drop_zero: bool = False,
    moments: bool = True,
    n_jobs: int | None = None,
) -> WeightSums:
    """Sums of weights at each query, of its own bandwidth-scaled kernel.

    Parameters
    ----------
    queries : array, shape (n, dim)
    tiles : PointTiles
    kernel : str
    bandwidth : float
    drop_zero : bool
        Leave out points at distance 0: the query itself where it is one of the points.
    moments : bool
        Participation and entropy too; without them they are NaN.
    n_jobs : int, optional
        Threads, as joblib counts them.

    Examples
    --------
    >>> tiles = PointTiles.of(np.array([[0.0], [1.0]]))
    >>> sums = weight_sums(np.array([[0.0]]), tiles, "gaussian", 1.0)
    >>> sums.log_sum.round(4)  # log(1 + exp(-1/2))
    array([0.4741])
    """
    n, dim = queries.shape
    order = tree_order(queries, BLOCK)
    result = np.empty((3, n))
    n_blocks = -(-n // BLOCK)
    threads = max(1, min(n_blocks, effective_n_jobs(n_jobs), n * tiles.n // PAIRS_WORTH_A_THREAD))
    # More parts than threads, so that all end at the same time.
    bounds = BLOCK * np.unique(np.linspace(0, n_blocks, (4 * threads if threads > 1 else 1) + 1).astype(np.int64))
    cutoff = NEGLIGIBLE + math.log(tiles.n)

    def part(start: int, stop: int) -> None:
        rows = order[start:stop]
        padded = np.zeros((-(-len(rows) // BLOCK) * BLOCK, dim))
        padded[: len(rows)] = queries[rows]
        padded[len(rows) :] = queries[rows[-1]]
        sums = _sum_blocks(
            padded, tiles.values, tiles.low, tiles.high, CODES[kernel], 1 / bandwidth**2, cutoff, drop_zero, moments
        )
        result[:, rows] = sums[:, : len(rows)]

    Parallel(n_jobs=threads, require="sharedmem")(
        delayed(part)(start, min(stop, n)) for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist())
    )
    return WeightSums(*result)


# Profiles of the kernels inside their support, for tensors.
PROFILES: dict[str, Callable[[Tensor], Tensor]] = {
    "gaussian": lambda t: -t / 2,
    "exponential": lambda t: -t.sqrt(),
    "tophat": torch.zeros_like,
    "epanechnikov": lambda t: torch.log1p(-t),
    "linear": lambda t: torch.log1p(-t.sqrt()),
}
DEVICE_BLOCK = 2**26  # distances held at a time: 0.5 GB


def log_sums_on_device(
    queries: Float[Tensor, "n dim"], points: Float[Tensor, "m dim"], kernel: str, bandwidth: float
) -> Float[Tensor, " n"]:
    """Logarithm of the sum of weights at each query, block by block on the accelerator where both tensors lie.

    Float64, and distances by differences, as in `weight_sums`.

    Examples
    --------
    >>> points = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    >>> log_sums_on_device(points[:1], points, "gaussian", 1.0).numpy().round(4)
    array([0.4741])
    """
    compact = kernel in ("tophat", "epanechnikov", "linear")
    total = torch.full((len(queries),), -math.inf, dtype=torch.float64, device=queries.device)
    width = min(len(points), 2**16)
    height = max(1, DEVICE_BLOCK // width)
    for rows in torch.arange(len(queries), device=queries.device).split(height):
        for part in points.split(width):
            distance = torch.cdist(queries[rows], part, compute_mode="donot_use_mm_for_euclid_dist") / bandwidth
            inside = PROFILES[kernel](distance.square())
            logs = torch.where(distance < 1, inside, -math.inf) if compact else inside
            total[rows] = torch.logaddexp(total[rows], torch.logsumexp(logs, dim=1))
    return total


def tree_order(points: Float[np.ndarray, "n dim"], leaf: int) -> Int[np.ndarray, " n"]:
    """An order in which each run of `leaf` points is a leaf of a k-d tree, cut across the widest side."""
    order = np.arange(len(points))
    waiting = [(0, len(points))]
    while waiting:
        start, stop = waiting.pop()
        if stop - start <= leaf:
            continue
        rows = order[start:stop]
        held = points[rows]
        axis = np.ptp(held, axis=0).argmax()
        n_leaves = math.ceil((stop - start) / leaf)
        half = (n_leaves + 1) // 2 * leaf
        order[start:stop] = rows[np.argpartition(held[:, axis], half - 1)]
        waiting += [(start, start + half), (start + half, stop)]
    return order


# --- compiled --------------------------------------------------------------------------------------------------------


@numba.njit(nogil=True, cache=True, fastmath=SUMMING)
@typing.no_type_check
def _squared_distances(queries, first, tile, squared):
    """Four queries against a tile; four coordinates at a time, so that arithmetic and not memory is the bound."""
    dim = tile.shape[0]
    whole = dim - dim % 4
    squared[:] = 0.0
    for k in range(0, whole, 4):
        y0, y1, y2, y3 = tile[k], tile[k + 1], tile[k + 2], tile[k + 3]
        for i in range(0, 4, 2):
            a0, a1, a2, a3 = (
                queries[first + i, k],
                queries[first + i, k + 1],
                queries[first + i, k + 2],
                queries[first + i, k + 3],
            )
            b0, b1, b2, b3 = (
                queries[first + i + 1, k],
                queries[first + i + 1, k + 1],
                queries[first + i + 1, k + 2],
                queries[first + i + 1, k + 3],
            )
            for p in range(TILE):
                squared[i, p] += (y0[p] - a0) ** 2 + (y1[p] - a1) ** 2 + (y2[p] - a2) ** 2 + (y3[p] - a3) ** 2
                squared[i + 1, p] += (y0[p] - b0) ** 2 + (y1[p] - b1) ** 2 + (y2[p] - b2) ** 2 + (y3[p] - b3) ** 2
    for k in range(whole, dim):
        for i in range(4):
            a = queries[first + i, k]
            for p in range(TILE):
                squared[i, p] += (tile[k, p] - a) ** 2


@numba.njit(nogil=True, cache=True, inline="always")
@typing.no_type_check
def _energy(t, code):
    """-log k(t), for t = |u|^2."""
    if code == 0:
        return 0.5 * t
    if code == 1:
        return math.sqrt(t)
    if t >= 1.0:
        return math.inf
    if code == 2:
        return 0.0
    return -math.log1p(-t) if code == 3 else -math.log1p(-math.sqrt(t))


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _energies(squared, code, scale, energy):
    if code == 0:
        for p in range(TILE):
            energy[p] = squared[p] * (0.5 * scale)
    elif code == 1:
        root = math.sqrt(scale)
        for p in range(TILE):
            energy[p] = math.sqrt(squared[p]) * root
    else:
        for p in range(TILE):
            energy[p] = _energy(squared[p] * scale, code)


@numba.njit(nogil=True, cache=True, fastmath=SUMMING)
@typing.no_type_check
def _least(values):
    least = math.inf
    for p in range(TILE):
        least = min(least, values[p])
    return least


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
@typing.no_type_check
def _weights(energy, lowest, weight, power, power_bits):
    """exp(lowest - energy), in vector registers: 2^k times Taylor's polynomial of degree 13 on [-log(2)/2, log(2)/2].

    Adding and subtracting 1.5 * 2^52 rounds to the integer k, whose bits are then those of the sum; log(2) is subtracted in two
    parts (Cody and Waite). Within 2 units in the last place of exp; what is below exp(-700) counts as that.
    """
    for p in range(TILE):
        x = max(lowest - energy[p], -700.0)
        rounded = x * 1.4426950408889634 + 6755399441055744.0
        k = rounded - 6755399441055744.0
        r = (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10
        y = 1 / 6227020800
        y = y * r + 1 / 479001600
        y = y * r + 1 / 39916800
        y = y * r + 1 / 3628800
        y = y * r + 1 / 362880
        y = y * r + 1 / 40320
        y = y * r + 1 / 5040
        y = y * r + 1 / 720
        y = y * r + 1 / 120
        y = y * r + 1 / 24
        y = y * r + 1 / 6
        y = y * r + 1 / 2
        weight[p] = y * r * r + r + 1.0
        power[p] = rounded
    for p in range(TILE):
        power_bits[p] = (power_bits[p] << 52) + (1023 << 52)
    for p in range(TILE):
        weight[p] *= power[p]


@numba.njit(nogil=True, cache=True, fastmath=SUMMING)
@typing.no_type_check
def _totals(weight, energy, lowest, moments):
    """Sums of w, of w^2, and of w times the energy above the lowest."""
    total, second, heat = 0.0, 0.0, 0.0
    if not moments:
        for p in range(TILE):
            total += weight[p]
        return total, second, heat
    for p in range(TILE):
        total += weight[p]
        second += weight[p] ** 2
        # Beyond 700 a weight is nothing, and an infinite energy times nothing must be nothing too.
        heat += weight[p] * min(energy[p] - lowest, 700.0)
    return total, second, heat


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _sum_blocks(queries, tiles, low, high, code, scale, cutoff, drop_zero, moments):
    """Rows log Z, participation and entropy for queries whose number is a multiple of `BLOCK`."""
    n, dim = queries.shape
    result = np.empty((3, n))
    squared, energy, weight = np.empty((4, TILE)), np.empty(TILE), np.empty(TILE)
    power = np.empty(TILE)
    power_bits = power.view(np.int64)
    apart = np.empty(len(tiles))
    lowest, total, second, heat = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    for start in range(0, n, BLOCK):
        for t in range(len(tiles)):
            apart[t] = 0.0
        for k in range(dim):
            least, most = queries[start, k], queries[start, k]
            for i in range(1, BLOCK):
                least, most = min(least, queries[start + i, k]), max(most, queries[start + i, k])
            for t in range(len(tiles)):
                gap = max(low[t, k] - most, least - high[t, k], 0.0)
                apart[t] += gap * gap
        lowest[:] = math.inf
        total[:], second[:], heat[:] = 0.0, 0.0, 0.0
        for t in np.argsort(apart):
            # Boxes are computed with rounding, hence the part in 1e12.
            if _energy(apart[t] * scale * (1 - 1e-12), code) > lowest.max() + cutoff:
                break
            for first in range(0, BLOCK, 4):
                _squared_distances(queries, start + first, tiles[t], squared)
                for i in range(4):
                    row = squared[i]
                    if drop_zero:
                        for p in range(TILE):
                            if row[p] == 0.0:
                                row[p] = math.inf
                    nearest = _energy(_least(row) * scale, code)
                    j = first + i
                    if nearest == math.inf or nearest > lowest[j] + cutoff:
                        continue
                    if nearest < lowest[j]:
                        if total[j] > 0.0:
                            rise = lowest[j] - nearest
                            shrink = math.exp(-rise)
                            heat[j] = shrink * (heat[j] + rise * total[j])
                            total[j] *= shrink
                            second[j] *= shrink * shrink
                        lowest[j] = nearest
                    _energies(row, code, scale, energy)
                    _weights(energy, lowest[j], weight, power, power_bits)
                    sums = _totals(weight, energy, lowest[j], moments)
                    total[j] += sums[0]
                    second[j] += sums[1]
                    heat[j] += sums[2]
        for j in range(BLOCK):
            i = start + j
            result[0, i] = math.log(total[j]) - lowest[j] if total[j] > 0.0 else -math.inf
            if moments and total[j] > 0.0:
                result[1, i] = second[j] / total[j] ** 2
                result[2, i] = math.log(total[j]) + heat[j] / total[j]
            else:
                result[1, i], result[2, i] = math.nan, math.nan
    return result

"""The same walks on an accelerator: all walkers of a shard move together, and the fingerprints are equal bit by bit."""

import numpy as np
import torch
from jaxtyping import Int, Int64
from torch import Tensor

from semigroup.graphs.powerwalk.walks import Estimate, Fingerprints, Transitions, Walks

__all__ = ["sample_fingerprints_on_device"]


def _signed(constant: int) -> int:
    """A 64-bit constant in two's complement, as torch has it."""
    return constant - 2**64 if constant >= 2**63 else constant


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_FIRST, _SECOND = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


def _shift(z: Int64[Tensor, " walkers"], bits: int) -> Int64[Tensor, " walkers"]:
    """Shift to the right that brings zeros in, which torch does not have for signed numbers."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _mix(z: Int64[Tensor, " walkers"]) -> Int64[Tensor, " walkers"]:
    """The finaliser of `semigroup.graphs.powerwalk.walks`."""
    z = (z ^ _shift(z, 30)) * _FIRST
    z = (z ^ _shift(z, 27)) * _SECOND
    return z ^ _shift(z, 31)


def sample_fingerprints_on_device(
    transitions: Transitions,
    vertices: Int[np.ndarray, " rows"],
    *,
    device: torch.device | str,
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
    r"""What `sample_fingerprints` gives, for the independent walks ``'full-path'`` and ``'end-point'``, on a torch device.

    Memory is some forty bytes a visit, n_walks/α visits a vertex.

    Parameters
    ----------
    device : torch.device or str
    transitions, vertices, alpha, n_walks, walks, estimate, max_length, max_entries, min_in_degree, in_degree, seed
        As in `sample_fingerprints`.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> path = Transitions.from_adjacency(sp.csr_array([[0.0, 1.0], [0.0, 0.0]]))
    >>> sample_fingerprints_on_device(path, np.array([1]), device="cpu", alpha=0.5, n_walks=10).values
    array([0.5], dtype=float32)
    """
    if walks not in ("full-path", "end-point"):
        raise ValueError(f"walks must be 'full-path' or 'end-point' on a device, got {walks!r}")
    n, n_rows = transitions.n_nodes, len(vertices)
    start = torch.as_tensor(np.asarray(vertices, dtype=np.int64), device=device)
    walked = torch.ones(n_rows, dtype=torch.bool, device=device)
    if in_degree is not None:
        walked = torch.as_tensor(in_degree[vertices] >= min_in_degree, device=device)
    visits = _walk(transitions, start, walked, alpha, n_walks, max_length, walks == "end-point", seed)
    # A vertex without walks keeps the one thing that it knows, see the kernel.
    idle = torch.nonzero(~walked)[:, 0]
    keys, counts = torch.unique(torch.cat([visits, idle * n + start[idle]]), return_counts=True)
    row, vertex = keys // n, keys % n

    # Rows in order, the largest count first, then the smallest vertex; the keys are sorted by row and vertex already.
    order = torch.sort(counts, descending=True, stable=True).indices
    order = order[torch.sort(row[order], stable=True).indices]
    row, vertex, counts = row[order], vertex[order], counts[order]
    lengths = torch.bincount(row, minlength=n_rows)
    # Sums of integers below 2^53 are exact in float64, in any order.
    total = torch.zeros(n_rows, dtype=torch.float64, device=device).index_add_(0, row, counts.to(torch.float64))

    scale = torch.full((n_rows,), 1.0 / n_walks if walks == "end-point" else alpha / n_walks, dtype=torch.float64)
    scale = scale.to(device)
    if estimate == "ratio":
        mass = transitions.mass[vertices] if len(transitions.mass) else np.ones(n_rows)
        scale = torch.as_tensor(mass, device=device) / total.clamp(min=1)
    scale = torch.where(walked, scale, alpha)
    dropped = torch.zeros(n_rows, dtype=torch.float64, device=device)
    if max_entries is not None:
        first = torch.cumsum(lengths, 0) - lengths
        kept = torch.arange(len(row), device=device) - first[row] < max_entries
        row, vertex, counts = row[kept], vertex[kept], counts[kept]
        held = torch.zeros_like(total).index_add_(0, row, counts.to(torch.float64))
        cut = lengths > max_entries
        dropped = torch.where(cut, scale * (total - held), 0.0)
        scale = torch.where(cut, scale * (total / held.clamp(min=1)), scale)
        lengths = lengths.clamp(max=max_entries)
    return Fingerprints(
        np.concatenate(([0], np.cumsum(lengths.cpu().numpy()))),
        vertex.to(torch.int32).cpu().numpy(),
        (scale[row] * counts).to(torch.float32).cpu().numpy(),
        dropped.to(torch.float32).cpu().numpy(),
    )


def _walk(
    transitions: Transitions,
    start: Int64[Tensor, " rows"],
    walked: Tensor,
    alpha: float,
    n_walks: int,
    max_length: int | None,
    ends_only: bool,
    seed: int,
) -> Int64[Tensor, " visits"]:
    """Every counted visit as row·n + vertex."""
    device, n = start.device, transitions.n_nodes
    indptr = torch.as_tensor(transitions.indptr, device=device)
    indices = torch.as_tensor(transitions.indices, device=device)
    cumulative = torch.as_tensor(transitions.cumulative, device=device)
    stop_below = round(alpha * 2.0**32)
    row = torch.nonzero(walked)[:, 0].repeat_interleave(n_walks)
    vertex = start[row]
    walk = torch.arange(n_walks, device=device).repeat(len(row) // max(n_walks, 1))
    stream = _mix(_mix(_signed(seed) + _GOLDEN * (vertex + 1)) + _GOLDEN * (walk + 1))
    counted, length = [], 0
    while len(row):
        if not ends_only:
            counted.append(row * n + vertex)
        length += 1
        bits = _mix(stream + _signed(_GOLDEN * length % 2**64))
        stopped = _shift(bits, 32) < stop_below
        if ends_only:
            counted.append((row * n + vertex)[stopped])
        if length == max_length:
            break
        degree = indptr[vertex + 1] - indptr[vertex]
        on = ~stopped & (degree > 0)
        row, stream, vertex, degree, low = row[on], stream[on], vertex[on], degree[on], bits[on] & 0xFFFFFFFF
        first = indptr[vertex]
        if len(cumulative) == 0:
            edge = first + ((low * degree) >> 32)
        else:
            edge = _search(cumulative, first, first + degree - 1, low.to(torch.float64) * 2.0**-32)
        vertex = indices[edge].to(torch.int64)
    return torch.cat(counted) if counted else row


def _search(cumulative: Tensor, first: Tensor, last: Tensor, place: Tensor) -> Int64[Tensor, " walkers"]:
    """The first edge of each walker's row whose running sum is above its place, by bisection."""
    while bool((first < last).any()):
        middle = (first + last) // 2
        above = cumulative[middle] > place
        last = torch.where(above, middle, last)
        # Where the search is over, first = last = middle, and above is true or the row's last edge is it.
        first = torch.where(above | (first >= last), first, middle + 1)
    return first

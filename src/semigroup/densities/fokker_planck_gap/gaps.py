"""How far two laws are apart, measured on histograms, and how far they can be, by the three bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.distance import cdist

from semigroup.base import check_array, check_integer, check_number, numpy_generator
from semigroup.densities.distances import wasserstein

__all__ = [
    "Bound",
    "Gap",
    "gap_of_samples",
    "grid_wasserstein",
    "histogram",
    "inside",
    "sample_distance",
    "wasserstein_bounds",
]

MOST_ROWS = 2000  # of samples whose transport is solved row by row


@dataclass(frozen=True)
class Gap:
    """Wasserstein-2 distances between the ODE's samples, the SDE's samples and the data, inside the box.

    NaN where a law has no sample there.

    Attributes
    ----------
    ode_sde : float
        The gap, in the unit of the data.
    ode_truth, sde_truth : float or None
        Distances to the data, where there are any.
    floor : float
        Distance between two samples of the SDE of the same size: what two equal laws would show.
    dropped_ode, dropped_sde : float
        Share of the samples outside the box, which no distance sees.
    """

    ode_sde: float
    ode_truth: float | None
    sde_truth: float | None
    floor: float
    dropped_ode: float
    dropped_sde: float


def gap_of_samples(
    ode: Any, sde: Any, again: Any, box: Float[np.ndarray, "2 dim"], *, X: Any = None, n_bins: int = 64
) -> Gap:
    """The gap from samples of both laws that are there already, whatever drew them.

    Parameters
    ----------
    ode, sde : array-like or Tensor, shapes (n, dim) and (m, dim)
        Samples of the two laws, independent of each other.
    again : array-like or Tensor, shape (k, dim)
        A second sample of the SDE, for the floor.
    box : ndarray, shape (2, dim)
        Rows outside are dropped, and counted.
    X : array-like or Tensor, shape (l, dim), optional
        Data to compare with.
    n_bins : int
        Grid of the histograms in two dimensions.

    Examples
    --------
    >>> found = gap_of_samples([[0.5]], [[0.2], [7.0]], [[0.3]], np.array([[0.0], [1.0]]))
    >>> round(found.ode_sde, 6), round(found.floor, 6), found.dropped_sde
    (0.3, 0.1, 0.5)
    """
    laws = {
        name: check_array(rows, name, ndim=2, n_columns=box.shape[1])
        for name, rows in (("ode", ode), ("sde", sde), ("again", again))
    }

    def distance(one: Any, other: Any) -> float:
        # Data outside the box are an error; a law outside is a finding.
        if any(not inside(rows, box).any() for rows in (one, other) if rows is not X):
            return float("nan")
        return sample_distance(one, other, box, n_bins=n_bins)

    return Gap(
        ode_sde=distance(laws["ode"], laws["sde"]),
        ode_truth=None if X is None else distance(laws["ode"], X),
        sde_truth=None if X is None else distance(laws["sde"], X),
        floor=distance(laws["sde"], laws["again"]),
        dropped_ode=float(1 - inside(laws["ode"], box).mean()),
        dropped_sde=float(1 - inside(laws["sde"], box).mean()),
    )


@dataclass(frozen=True)
class Bound:
    """What the Wasserstein-2 distance between ODE and SDE is at most.

    Attributes
    ----------
    direct, cauchy_schwarz, residual : float
        The three right-hand sides, each at least the one before, in the unit of the data; infinite where the expansion is. The
        third is made of the larger of `energy` and `fisher`.
    fisher : float
        ``int g^2 E|grad w|^2 / 2 dt``, the left side of the energy identity, in nats.
    energy : float
        Its right side without the divergence at time 0, in nats. Never less than `fisher`, but the estimate of it may be.
    log_expansion : float
        The largest Lambda(t): the exponent by which the ODE may spread an error.
    effective_paths : float
        Least share of the paths behind `fisher` that carry weight; 1 where they are not sampled.
    energy_error : float
        Standard error of `energy` over the paths that it is a mean of; 0 where they are not sampled.
    """

    direct: float
    cauchy_schwarz: float
    residual: float
    fisher: float
    energy: float
    log_expansion: float
    effective_paths: float = 1.0
    energy_error: float = 0.0


def wasserstein_bounds(
    times: Float[np.ndarray, " times"],
    diffusion: Float[np.ndarray, " times"],
    expansion: Float[np.ndarray, " times"],
    fisher: Float[np.ndarray, " times"],
    energy: float,
) -> Bound:
    """The three bounds from what is known at each time.

    Parameters
    ----------
    times : ndarray, shape (n_times,)
        Increasing, from the data's end to the horizon.
    diffusion : ndarray, shape (n_times,)
        g.
    expansion : ndarray, shape (n_times,)
        L: at least the largest eigenvalue of ``-rate + g^2 Hess phi / 2`` anywhere; may be infinite.
    fisher : ndarray, shape (n_times,)
        ``E|grad w|^2`` under the SDE's law.
    energy : float
        ``int E R dt`` and the terminal terms, for a normalised potential ``+ KL(pi || exp phi_T)``. It is at least ``int g^2
        fisher / 2 dt``, which takes its place where an estimate of it is less.

    Raises
    ------
    ValueError
        If the times do not increase, the lengths differ, the diffusion is not positive, or a value is negative, NaN or infinite
        that may not be.

    Examples
    --------
    Without expansion and with a constant error direct and Cauchy-Schwarz agree.

    >>> one = np.ones(11)
    >>> bound = wasserstein_bounds(np.linspace(0, 1, 11), one, 0 * one, one, energy=0.5)
    >>> round(bound.direct, 3), round(bound.cauchy_schwarz, 3), round(bound.residual, 3)
    (0.5, 0.5, 0.5)
    """
    for name, values in (("times", times), ("diffusion", diffusion), ("fisher", fisher)):
        check_array(values, name, ndim=1, min_rows=2)
    if not len(times) == len(diffusion) == len(expansion) == len(fisher):
        raise ValueError(
            "times, diffusion, expansion and fisher must have one length, got "
            f"{len(times)}, {len(diffusion)}, {len(expansion)} and {len(fisher)}"
        )
    if not (np.diff(times) > 0).all():
        raise ValueError("times must increase")
    if (diffusion <= 0).any() or (fisher < 0).any():
        raise ValueError("diffusion must be positive and fisher not negative")
    if not (expansion > -np.inf).all():  # which NaN fails as well
        raise ValueError("expansion must hold numbers or infinity, got NaN or minus infinity")
    check_number(energy, "energy")
    growth = np.concatenate([[0.0], np.cumsum(np.diff(times) * (expansion[1:] + expansion[:-1]) / 2)])
    half = diffusion**2 / 2
    total = float(np.trapezoid(half * fisher, times))
    largest = max(total, energy)
    with np.errstate(over="ignore", invalid="ignore"):
        spread = np.exp(growth)
        factor = np.sqrt(np.trapezoid(half * spread**2, times))
        # What has no error at a time does not spread there, however much it would.
        direct = float(np.trapezoid(np.where(fisher > 0, half * spread * np.sqrt(fisher), 0.0), times))
    return Bound(
        direct=direct,
        cauchy_schwarz=float(factor * np.sqrt(total)) if total > 0 else 0.0,
        residual=float(factor * np.sqrt(largest)) if largest > 0 else 0.0,
        fisher=total,
        energy=energy,
        log_expansion=float(growth.max()),
    )


def histogram(X: Any, box: Float[np.ndarray, "2 dim"], n_bins: int = 64) -> tuple[Float[np.ndarray, "..."], float]:
    """Shares of a sample at the nodes of a grid on a box, each row at its nearest node, and the share outside.

    Parameters
    ----------
    X : array-like or Tensor, shape (n, dim)
    box : ndarray, shape (2, dim)
        Lower and upper corners; the outermost nodes lie on its faces.
    n_bins : int
        Nodes along each axis.

    Returns
    -------
    masses : ndarray, shape (n_bins,) * dim
        They sum to one; the first axis is the first column.
    dropped : float

    Raises
    ------
    ValueError
        If no row lies inside, or a side of the box has no length.

    Examples
    --------
    >>> masses, dropped = histogram([[0.1], [0.9], [7.0], [0.2]], np.array([[0.0], [1.0]]), n_bins=2)
    >>> masses.round(2).tolist(), dropped
    ([0.67, 0.33], 0.25)
    """
    rows = check_array(X, "X", ndim=2, n_columns=box.shape[1])
    check_integer(n_bins, "n_bins", minimum=2)
    kept = rows[inside(rows, box)]
    if not len(kept):
        raise ValueError(f"box holds no row of X: it spans {box[0].tolist()} to {box[1].tolist()}")
    nodes = np.rint((kept - box[0]) / (box[1] - box[0]) * (n_bins - 1)).astype(np.int64)
    flat = np.ravel_multi_index(tuple(nodes.T), (n_bins,) * box.shape[1])
    masses = np.bincount(flat, minlength=n_bins ** box.shape[1]) / len(kept)
    return masses.reshape((n_bins,) * box.shape[1]), 1 - len(kept) / len(rows)


def inside(rows: Float[np.ndarray, "n dim"], box: Float[np.ndarray, "2 dim"]) -> Bool[np.ndarray, " n"]:
    """Which rows lie strictly inside a box.

    Raises
    ------
    ValueError
        If a lower corner is not below the upper one.
    """
    if not (box[0] < box[1]).all():
        raise ValueError(f"box must have lower < upper, got {box[0].tolist()} and {box[1].tolist()}")
    return ((rows > box[0]) & (rows < box[1])).all(1)


def grid_wasserstein(
    p: Float[np.ndarray, "*grid"], q: Float[np.ndarray, "*other"], spacing: float | Float[np.ndarray, " dim"]
) -> float:
    """Exact Wasserstein-2 distance between two histograms on one grid.

    The transport is solved between the nodes that hold mass. Two samples of one law are not at distance zero, and the grid
    adds an error of up to half a cell's diagonal.

    Parameters
    ----------
    p, q : ndarray, one shape
        Masses; each is scaled to sum to one.
    spacing : float or ndarray, shape (dim,)
        Distance between neighbouring nodes along each axis.

    Raises
    ------
    ValueError
        If the shapes differ, a mass is negative, NaN or infinite, or all are zero.

    Examples
    --------
    >>> p, q = np.zeros((3, 3)), np.zeros((3, 3))
    >>> p[0, 0], q[2, 0] = 1.0, 1.0
    >>> grid_wasserstein(p, q, spacing=0.5)
    1.0
    """
    import ot

    if p.shape != q.shape:
        raise ValueError(f"q must be on the grid of p, shape {p.shape}, got {q.shape}")
    steps = np.broadcast_to(check_array(spacing, "spacing", ndim=(0, 1)), (p.ndim,))
    sides = []
    for name, masses in (("p", p), ("q", q)):
        if not np.isfinite(masses).all() or (masses < 0).any() or masses.sum() <= 0:
            raise ValueError(f"{name} must hold finite masses, none negative and not all zero")
        nodes = np.nonzero(masses)
        weights = masses[nodes].astype(np.float64)
        sides.append((np.stack(nodes, axis=1) * steps, weights / weights.sum()))
    (x, a), (y, b) = sides
    cost = cdist(x, y, "sqeuclidean")
    return float(np.sqrt(max(0.0, ot.emd2(a, b, cost, numItermax=10_000_000))))


def sample_distance(X: Any, Y: Any, box: Float[np.ndarray, "2 dim"], *, n_bins: int = 64) -> float:
    """Wasserstein-2 distance between two samples inside a box.

    In one dimension that of the quantile functions, in two that of the histograms (`grid_wasserstein`), in more that of the
    rows, of at most 2000 of each, chosen at random with one fixed seed.

    Parameters
    ----------
    X, Y : array-like or Tensor, shapes (n, dim) and (m, dim)
        Rows outside the box are dropped.
    box : ndarray, shape (2, dim)
    n_bins : int

    Examples
    --------
    >>> sample_distance([[0.1], [9.0]], [[0.4]], np.array([[0.0], [1.0]]))
    0.30000000000000004
    """
    check_integer(n_bins, "n_bins", minimum=2)
    dim = box.shape[1]
    if dim == 2:
        masses = [histogram(rows, box, n_bins)[0] for rows in (X, Y)]
        return grid_wasserstein(masses[0], masses[1], (box[1] - box[0]) / (n_bins - 1))
    kept = []
    for name, value in (("X", X), ("Y", Y)):
        rows = check_array(value, name, ndim=2, n_columns=dim)
        rows = rows[inside(rows, box)]
        if not len(rows):
            raise ValueError(f"box holds no row of {name}: it spans {box[0].tolist()} to {box[1].tolist()}")
        if dim > 1 and len(rows) > MOST_ROWS:
            # Not the first ones, since a table may be sorted.
            rows = numpy_generator(0).permutation(rows)[:MOST_ROWS]
        kept.append(rows)
    return wasserstein(kept[0], kept[1], p=2)

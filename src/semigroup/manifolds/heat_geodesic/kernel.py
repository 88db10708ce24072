"""The heat kernel of a graph: every way to compute it, its time by entropy, and its diagonal from landmarks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from semigroup.base import check_array, check_choice, check_integer, check_number
from semigroup.operators import eigenpairs, heat, laplacian, spectral_interval
from semigroup.operators.heat import chebyshev_degree
from semigroup.operators.resolvent import factor_size

__all__ = [
    "KernelMethod",
    "LaplacianKind",
    "diagonal_from_columns",
    "diffusion_entropy",
    "entropy_time",
    "heat_kernel",
    "knee",
    "resolution",
    "resolve_method",
]

LaplacianKind = Literal["combinatorial", "normalised", "random-walk"]
KernelMethod = Literal["auto", "euler", "chebyshev", "exact", "positive", "low-rank"]
LAPLACIANS = ("combinatorial", "normalised", "random-walk")
METHODS = ("auto", "euler", "chebyshev", "exact", "positive", "low-rank")
EULER_STEPS = 30
RANK = 100
TOLERANCE = 1e-12
CHEAP_FACTOR = 3_000_000  # entries of a sparse factor up to which thirty solves cost less than an expansion


def heat_kernel(
    affinity: sp.csr_array,
    time: float,
    columns: Int[np.ndarray, " m"] | None = None,
    *,
    kind: LaplacianKind = "combinatorial",
    method: KernelMethod = "auto",
    order: int | None = None,
) -> Float[np.ndarray, "n m"]:
    r"""Columns of :math:`H_t = e^{-tL}` of a graph, without negative entries.

    ================  =================================================================================================
    method            what it computes
    ================  =================================================================================================
    ``'euler'``       :math:`(I + \frac tK L)^{-K}`, K = `order` or 30: positive, and accurate digit by digit in small entries
    ``'chebyshev'``   expansion of degree `order`, or of the degree that an error of 1e-12 needs
    ``'exact'``       by eigendecomposition
    ``'positive'``    by scaling and squaring without a subtraction: exact, and accurate digit by digit; the slowest
    ``'low-rank'``    the `order` or 100 smoothest eigenvectors alone
    ``'auto'``        ``'euler'``, but ``'chebyshev'`` for some columns of a graph whose factor would be large
    ================  =================================================================================================

    Parameters
    ----------
    affinity : csr_array of shape (n, n)
        Symmetric weights.
    time : float
        :math:`t > 0`.
    columns : int array of shape (m,), optional
        All if not given.
    kind : {'combinatorial', 'normalised', 'random-walk'}
        Which Laplacian L.
    method : str
    order : int, optional

    Returns
    -------
    array of shape (n, m)

    Warns
    -----
    UserWarning
        If `order` is below the degree that ``'chebyshev'`` needs for an error of 1e-6.

    Examples
    --------
    >>> edge = sp.csr_array([[0.0, 1.0], [1.0, 0.0]])
    >>> heat_kernel(edge, 0.5, method="exact").round(4)
    array([[0.6839, 0.3161],
           [0.3161, 0.6839]])
    """
    check_choice(kind, "kind", LAPLACIANS)
    check_choice(method, "method", METHODS)
    time = check_number(time, "time", above=0)
    if order is not None:
        order = check_integer(order, "order", minimum=1)
    n = affinity.shape[0]
    # The random walk's kernel is a rescaling of the symmetric one, which is cheaper to have.
    operator = laplacian(affinity, "normalised" if kind == "random-walk" else kind)
    block = None if columns is None else _unit_columns(n, columns)
    method = resolve_method(affinity, columns, method)
    if method == "euler":
        kernel = heat(operator, time, block, method="euler", n_steps=order or EULER_STEPS)
    elif method == "chebyshev":
        kernel = _chebyshev(operator, time, block, order)
    elif method == "low-rank":
        pairs = eigenpairs(operator, min(order or RANK, n))
        rows = pairs.vectors if columns is None else pairs.vectors[columns]
        kernel = (pairs.vectors * np.exp(-time * pairs.values)) @ rows.T
    else:
        kernel = heat(operator, time, block, method="dense" if method == "exact" else "positive")
    if kind == "random-walk":
        root = np.sqrt(np.asarray(affinity.sum(axis=1)).ravel())
        root[root == 0] = 1
        kernel = kernel * (root if columns is None else root[columns]) / root[:, None]
    return np.maximum(kernel, 0)


def resolve_method(affinity: sp.csr_array, columns: Int[np.ndarray, " m"] | None, method: KernelMethod) -> KernelMethod:
    """What ``'auto'`` stands for: an expansion only for some columns of a graph whose factor would be large."""
    if method != "auto":
        return method
    return "euler" if columns is None or factor_size(affinity) <= CHEAP_FACTOR else "chebyshev"


def _unit_columns(n: int, columns: Int[np.ndarray, " m"]) -> Float[np.ndarray, "n m"]:
    block = np.zeros((n, len(columns)))
    block[columns, np.arange(len(columns))] = 1
    return block


def _chebyshev(
    operator: sp.csr_array, time: float, block: Float[np.ndarray, "n m"] | None, order: int | None
) -> Float[np.ndarray, "n m"]:
    if order is not None:
        low, high = spectral_interval(operator)
        needed = chebyshev_degree(time * (high - low) / 2, 1e-6)
        if order < needed:
            warnings.warn(
                f"order={order} is below the degree {needed} that the Chebyshev expansion needs at time {time:g} for an "
                "error of 1e-6: the kernel is wrong, and its logarithm more so",
                UserWarning,
                stacklevel=3,
            )
    return heat(operator, time, block, method="chebyshev", tol=TOLERANCE, degree=order)


def resolution(method: KernelMethod, floor: float) -> float:
    """The size below which entries of a kernel say nothing: rounding, but for the methods that have none."""
    return floor if method in ("euler", "positive") else max(floor, TOLERANCE)


def diagonal_from_columns(
    kernel: Float[np.ndarray, "n m"], columns: Int[np.ndarray, " m"], rates: Float[np.ndarray, " n"], time: float
) -> Float[np.ndarray, " n"]:
    r"""Diagonal of a symmetric :math:`H_t` from some columns, by Nystroem's extension.

    :math:`H_{ii} \approx h_i^\top H_{LL}^{+} h_i` with the columns L and :math:`h_i = H_{L i}`, which is exact where the rank
    of H, as far as its eigenvalues matter, is at most m. It is a lower bound, and so is :math:`e^{-t L_{ii}}` by Jensen's
    inequality, which is sharp for points that hardly have neighbours; the larger one counts.

    Parameters
    ----------
    kernel : array of shape (n, m)
    columns : int array of shape (m,)
    rates : array of shape (n,)
        Diagonal of L.
    time : float
    """
    square = kernel[columns]
    values, vectors = np.linalg.eigh((square + square.T) / 2)
    kept = values > 1e-9 * values[-1]
    coordinates = kernel @ (vectors[:, kept] / np.sqrt(values[kept]))
    estimate = np.maximum((coordinates**2).sum(axis=1), np.exp(-time * rates))
    estimate[columns] = square.diagonal()
    return estimate


# --- the time ------------------------------------------------------------------------------------------------------


def diffusion_entropy(kernel: Float[np.ndarray, "n m"]) -> float:
    r""":math:`-\sum_{ij} H_{ij} \log(H_{ij} + 10^{-10})`: how far heat has spread.

    Examples
    --------
    >>> round(diffusion_entropy(np.full((2, 2), 0.5)), 4)  # 2 log 2
    1.3863
    """
    return float(-(kernel * np.log(kernel + 1e-10)).sum())


def knee(x: Float[np.ndarray, " k"], y: Float[np.ndarray, " k"], sensitivity: float = 0.5) -> float:
    r"""Where a rising concave curve bends most: Kneedle.

    With both axes scaled to [0, 1], the first local maximum of :math:`y - x` after which this difference falls by
    `sensitivity` times the mean step of x before it reaches another maximum.

    Parameters
    ----------
    x, y : array of shape (k,)
        x ascending; at least three points.
    sensitivity : float

    Returns
    -------
    float
        A point of x; its last one where the curve does not bend.

    References
    ----------
    V. Satopää, J. Albrecht, D. Irwin, B. Raghavan, "Finding a 'Kneedle' in a haystack", ICDCS workshops 2011.

    Examples
    --------
    >>> x = np.arange(11.0)
    >>> float(knee(x, np.minimum(x, 3)))
    3.0
    """
    x, y = check_array(x, "x", ndim=1, min_rows=3), check_array(y, "y", ndim=1, min_rows=3)
    if (np.diff(x) <= 0).any():
        raise ValueError("x must be ascending")
    if np.ptp(y) == 0:
        return float(x[-1])
    along = (x - x[0]) / (x[-1] - x[0])
    difference = (y - y.min()) / np.ptp(y) - along
    inner = difference[1:-1]
    peaks = 1 + np.flatnonzero((inner >= difference[:-2]) & (inner > difference[2:]))
    fall = sensitivity * np.diff(along).mean()
    for peak, following in zip(peaks, np.append(peaks[1:], len(x))):
        if difference[peak:following].min() < difference[peak] - fall:
            return float(x[peak])
    return float(x[-1])


def entropy_time(kernel_at: Callable[[float], Float[np.ndarray, "n m"]], times: Sequence[float] | np.ndarray) -> float:
    """The time at the knee of the kernel's entropy."""
    return knee(np.asarray(times, dtype=np.float64), np.array([diffusion_entropy(kernel_at(float(t))) for t in times]))

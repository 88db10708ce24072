r"""Heat kernels: :math:`e^{-tL} B` for several times at once.

====================  ===============================================================================  =======================
method                what it does                                                                     cost for b columns
====================  ===============================================================================  =======================
``'dense'``           eigendecomposition of a symmetric L, scaling and squaring of another             n^3
``'positive'``        scaling and squaring without a subtraction: every entry of the kernel, however   n^3 (20 to 40 products)
                      small, has its leading digits right, so that its logarithm means something
``'chebyshev'``       Chebyshev expansion on the interval that holds the spectrum, up to the degree    sqrt(t |L|) products
                      that its tail needs for `tol`; all times share one recurrence                    with L
``'taylor'``          truncated Taylor series of Al-Mohy and Higham (SciPy's expm_multiply), for an L  t |L| products with L
                      that is not symmetric and too large for the dense way
``'euler'``           backward Euler, :math:`(I + \frac tK L)^{-K}`: positive for a Laplacian and any  a factorisation a time,
                      t, accurate to O(1/K) only                                                       K solves
====================  ===============================================================================  =======================

References
----------
- N. J. Higham, "Functions of Matrices", SIAM 2008, chapter 10.
- J. Xue, Q. Ye, "Computing exponentials of essentially non-negative matrices entrywise to high relative accuracy",
  Mathematics of Computation 82 (2013), for ``'positive'``.
- L. N. Trefethen, "Approximation Theory and Approximation Practice", SIAM 2013, for the expansion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from jaxtyping import Float
from scipy.sparse.linalg import expm_multiply
from scipy.special import ive

from semigroup.base import check_array, check_choice, check_integer, check_number
from semigroup.operators.resolvent import (
    add_identity,
    as_columns,
    as_operator,
    conjugate_gradients,
    factorise,
    is_symmetric,
    prefers_factor,
    to_dense,
)
from semigroup.operators.spectrum import spectral_interval

__all__ = ["HeatMethod", "chebyshev_degree", "heat"]

HeatMethod = Literal["auto", "dense", "positive", "chebyshev", "taylor", "euler"]
METHODS = ("auto", "dense", "positive", "chebyshev", "taylor", "euler")
EIGEN_LIMIT = 5000  # rows up to which 'auto' may decompose: 200 MB a matrix
BLOCK = 64  # columns that the recurrence carries at a time, so that its three terms stay near the processor


def heat(
    operator: Any,
    times: float | Sequence[float] | np.ndarray,
    columns: Any = None,
    *,
    method: HeatMethod = "auto",
    tol: float = 1e-10,
    degree: int | None = None,
    n_steps: int = 30,
) -> np.ndarray:
    r"""Apply the heat semigroup, :math:`e^{-tL} B`.

    Parameters
    ----------
    operator : sparse or dense matrix of shape (n, n)
        :math:`L`, a Laplacian as a rule; any square matrix for ``'dense'`` and ``'taylor'``.
    times : float or sequence of float
        :math:`t \ge 0`, in units of one over the operator's eigenvalues.
    columns : array of shape (n,) or (n, b), optional
        :math:`B`; the identity, and with it the whole kernel, if not given.
    method : str
        See the table of the module. ``'auto'`` takes the cheaper of ``'dense'`` and ``'chebyshev'`` for a symmetric
        operator, ``'dense'`` or, above a size, ``'taylor'`` for another.
    tol : float
        Bound on the error of ``'chebyshev'``, as a norm relative to that of each column, for an operator without
        negative eigenvalues. The dense ways and ``'taylor'`` work to rounding.
    degree : int, optional
        Degree of ``'chebyshev'`` for all times, in place of the one that `tol` needs.
    n_steps : int
        Steps K of ``'euler'``.

    Returns
    -------
    ndarray
        Like `columns`, with a leading axis of times where `times` is a sequence.

    Raises
    ------
    ValueError
        If a time is negative, the operator is not square or not finite, ``'positive'`` meets a positive entry off the
        diagonal, or the whole kernel is asked for and would not fit into memory.

    Notes
    -----
    ``'chebyshev'`` is exact for a random-walk Laplacian too, whose eigenvalues are those of the normalised one; the error
    can then exceed `tol` by the square root of the ratio of the largest to the least degree.

    Examples
    --------
    >>> from semigroup.operators import laplacian
    >>> edge = laplacian(sp.csr_array([[0.0, 1.0], [1.0, 0.0]]))
    >>> heat(edge, [0.0, 0.5, 50.0], np.array([1.0, 0.0])).round(4)
    array([[1.    , 0.    ],
           [0.6839, 0.3161],
           [0.5   , 0.5   ]])
    """
    matrix = as_operator(operator)
    points = np.atleast_1d(check_array(times, "times", ndim=(0, 1)))
    if (points < 0).any():
        raise ValueError(f"times must be >= 0, got {points.min():g}: the heat equation does not run backwards")
    check_choice(method, "method", METHODS)
    tol, n_steps = check_number(tol, "tol", above=0, below=1), check_integer(n_steps, "n_steps", minimum=1)
    if degree is not None:
        degree = check_integer(degree, "degree", minimum=1)
    block, is_vector = as_columns(columns, matrix.shape[0])
    if method == "auto":
        method = _cheapest(matrix, points, block.shape[1], tol)
    if method == "dense":
        result = _dense(matrix, points, block)
    elif method == "positive":
        result = np.stack([_positive(to_dense(matrix), t) for t in points]) @ block
    elif method == "chebyshev":
        result = _chebyshev(matrix, points, block, tol, degree)
    elif method == "taylor":
        result = np.stack([expm_multiply(-t * matrix, block, traceA=-t * matrix.trace()) for t in points])
    else:
        result = np.stack([_euler(matrix, float(t), block, n_steps) for t in points])
    result = result[..., 0] if is_vector else result
    return result if np.ndim(times) else result[0]


def _cheapest(matrix: sp.csr_array | np.ndarray, times: np.ndarray, n_columns: int, tol: float) -> HeatMethod:
    """The way with the least estimated time; a decomposition runs some ten times faster per operation than a product."""
    n = matrix.shape[0]
    if not is_symmetric(matrix):
        return "dense" if n <= EIGEN_LIMIT // 2 else "taylor"
    if n > EIGEN_LIMIT:
        return "chebyshev"
    low, high = spectral_interval(matrix)
    n_entries = n * n if isinstance(matrix, np.ndarray) else matrix.nnz
    products = 10 * chebyshev_degree(times.max() * (high - low) / 2, tol) * (n_entries + len(times) * n) * n_columns
    decomposition = 10 * n**3 + 2 * len(times) * n**2 * n_columns
    return "dense" if decomposition <= products else "chebyshev"


def _dense(
    matrix: sp.csr_array | np.ndarray, times: Float[np.ndarray, " times"], block: Float[np.ndarray, "n b"]
) -> Float[np.ndarray, "times n b"]:
    dense = to_dense(matrix)
    if not is_symmetric(matrix):
        return np.stack([scipy.linalg.expm(-t * dense) @ block for t in times])
    values, vectors = np.linalg.eigh(dense)
    coefficients = vectors.T @ block
    return np.stack([vectors @ (np.exp(-t * values)[:, None] * coefficients) for t in times])


def _positive(dense: Float[np.ndarray, "n n"], t: float) -> Float[np.ndarray, "n n"]:
    r""":math:`(e^{-tq/2^s} e^{tN/2^s})^{2^s}` with :math:`q = \max_i L_{ii}`, :math:`N = qI - L \ge 0`: nothing is subtracted."""
    rate = np.diag(dense).max()
    jumps = rate * np.eye(len(dense)) - dense
    if jumps.min() < 0:
        raise ValueError("operator must have no positive entry off its diagonal for method 'positive'")
    n_squarings = max(0, int(np.ceil(np.log2(max(t * jumps.sum(axis=1).max(), 1e-300)))))
    jumps *= t / 2**n_squarings
    power = kernel = np.eye(len(dense))
    for k in range(1, 100):
        power = power @ jumps / k
        kernel = kernel + power
        # Terms fall like 1/k!, but an entry is first reached after as many steps as its nodes are apart.
        if (power <= 1e-17 * kernel).all():
            break
    kernel *= np.exp(-t * rate / 2**n_squarings)
    for _ in range(n_squarings):
        kernel = kernel @ kernel
    return kernel


def chebyshev_degree(half_width: float, tol: float) -> int:
    r"""Least degree K with :math:`\sum_{k>K} 2 e^{-z} I_k(z) \le` tol, where z is half the length of t times the spectrum.

    Examples
    --------
    >>> [chebyshev_degree(z, 1e-10) for z in (0.0, 1.0, 100.0, 10_000.0)]
    [0, 10, 66, 647]
    """
    return len(_chebyshev_coefficients(half_width, tol)) - 1


def _chebyshev_coefficients(half_width: float, tol: float, degree: int | None = None) -> Float[np.ndarray, " terms"]:
    r"""Of :math:`e^{-z(x+1)}` on [-1, 1]: :math:`(2 - \delta_{k0}) (-1)^k e^{-z} I_k(z)`, up to a degree or a tail of tol."""
    # e^{-z} I_k(z) <= e^{-k^2 / (2 (z + k))}, so that beyond this degree nothing is left above 1e-20.
    limit = int(46 + np.sqrt(46**2 + 92 * half_width)) + 2 if degree is None else degree
    size = 2 * ive(np.arange(limit + 1), half_width)
    size[0] /= 2
    tail = np.cumsum(size[::-1])[::-1]  # of term k and those after it
    n_terms = max(1, int((tail > tol).sum())) if degree is None else degree + 1
    return size[:n_terms] * (-1.0) ** np.arange(n_terms)


def _chebyshev(
    matrix: sp.csr_array | np.ndarray,
    times: Float[np.ndarray, " times"],
    block: Float[np.ndarray, "n b"],
    tol: float,
    degree: int | None,
) -> Float[np.ndarray, "times n b"]:
    low, high = spectral_interval(matrix)
    centre, half = (high + low) / 2, max((high - low) / 2, np.finfo(float).tiny)
    series = [_chebyshev_coefficients(t * half, tol, degree) for t in times]
    n_terms = max(map(len, series))
    table = np.zeros((n_terms, len(times)))
    for j, coefficients in enumerate(series):
        table[: len(coefficients), j] = coefficients * np.exp(-times[j] * low)
    scaled = add_identity(matrix, -centre) / half
    result = np.empty((len(times), *block.shape))
    for start in range(0, block.shape[1], BLOCK):
        part = slice(start, start + BLOCK)
        before, term = np.zeros(0), np.ascontiguousarray(block[:, part])
        sums = table[0][:, None, None] * term
        for k in range(1, n_terms):
            before, term = term, scaled @ term if k == 1 else 2 * (scaled @ term) - before
            for j in np.flatnonzero(table[k]).tolist():
                sums[j] += table[k, j] * term
        result[:, :, part] = sums
    return result


def _euler(
    matrix: sp.csr_array | np.ndarray, t: float, block: Float[np.ndarray, "n b"], n_steps: int
) -> Float[np.ndarray, "n b"]:
    if t == 0:
        return block.copy()
    step = add_identity(matrix * (t / n_steps), 1.0)
    solve = factorise(step) if prefers_factor(step) else lambda right: conjugate_gradients(step, right, 1e-12)
    if block.shape[1] >= len(block):  # a few products of the inverse cost less than a solve of all columns in each step
        return np.linalg.matrix_power(solve(np.eye(len(block))), n_steps) @ block
    for _ in range(n_steps):
        block = solve(block)
    return block

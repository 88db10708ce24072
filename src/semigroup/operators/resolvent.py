r"""Resolvents :math:`(sI + L)^{-1} B`, and the linear solvers that the other functions of an operator share.

A sparse matrix is factorised where its factor is known to be small, and else solved by preconditioned conjugate gradients.
What decides is the profile of the matrix after reverse Cuthill-McKee reordering, a bound on the entries of the factor that
costs one sweep over the edges: it is small for meshes and neighbour graphs of a manifold, and close to :math:`n^2 / 3` for
random graphs of any size, whose factor would not fit into memory.
"""

from __future__ import annotations

import typing
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numba
import numpy as np
import scipy.linalg
import scipy.sparse as sp
from jaxtyping import Float
from scipy.sparse.csgraph import reverse_cuthill_mckee
from scipy.sparse.linalg import LinearOperator, SuperLU, splu

from semigroup.base import check_array, check_choice, check_number

__all__ = ["resolvent"]

DENSE_LIMIT = 1500  # rows up to which a dense factorisation takes no more than about a second
COLUMN_BLOCK = 64  # columns that a sparse factor is applied to at a time: a row of them is a few cache lines
FACTOR_LIMIT = 60_000_000  # entries of a sparse factor: half a gigabyte
IDENTITY_LIMIT = 30_000  # rows up to which a whole n x n result is given: seven gigabytes


def resolvent(
    operator: Any,
    shift: float,
    columns: Any = None,
    *,
    method: Literal["auto", "direct", "cg"] = "auto",
    tol: float = 1e-10,
    preconditioner: LinearOperator | None = None,
) -> np.ndarray:
    r"""Solve :math:`(sI + L) X = B`.

    Parameters
    ----------
    operator : sparse or dense matrix of shape (n, n)
        :math:`L`. Conjugate gradients need :math:`sI + L` to be symmetric positive definite, as it is for a Laplacian
        and :math:`s > 0`, or for :math:`L = -A` and :math:`s` above the spectral radius of :math:`A`.
    shift : float
        :math:`s`.
    columns : array of shape (n,) or (n, b), optional
        :math:`B`; the identity, and with it the whole inverse, if not given.
    method : {'auto', 'direct', 'cg'}
        ``'direct'`` factorises: dense Cholesky or LU for a small or dense operator, sparse LU for another. ``'cg'`` runs
        conjugate gradients on all columns at once. ``'auto'`` factorises where the factor is small, and where the
        operator is not symmetric.
    tol : float
        Residual of conjugate gradients relative to the right-hand side, for each column.
    preconditioner : LinearOperator, optional
        An approximate inverse of :math:`sI + L`, symmetric positive definite (a multigrid cycle, say); the inverse of
        the diagonal if not given. Only conjugate gradients use it.

    Returns
    -------
    ndarray of shape (n,) or (n, b)
        Like `columns`.

    Raises
    ------
    ValueError
        If the operator is not square or not finite, if :math:`sI + L` is singular, if conjugate gradients meet a
        direction in which it is not positive, or if the whole inverse is asked for and would not fit into memory.
    RuntimeError
        If conjugate gradients do not reach `tol`.

    Examples
    --------
    >>> from semigroup.operators import laplacian
    >>> edge = laplacian(sp.csr_array([[0.0, 1.0], [1.0, 0.0]]))
    >>> resolvent(edge, 1.0, np.array([1.0, 0.0])).round(4)
    array([0.6667, 0.3333])
    """
    matrix = as_operator(operator)
    shift = check_number(shift, "shift")
    check_choice(method, "method", ("auto", "direct", "cg"))
    tol = check_number(tol, "tol", above=0)
    right, is_vector = as_columns(columns, matrix.shape[0])
    shifted = add_identity(matrix, shift)
    if method == "cg" and not is_symmetric(matrix):
        raise ValueError("operator must be symmetric for method 'cg', and it is not")
    if method == "direct" or (method == "auto" and prefers_factor(shifted)):
        solution = factorise(shifted)(right)
    else:
        solution = conjugate_gradients(shifted, right, tol, preconditioner)
    return solution[:, 0] if is_vector else solution


# --- what is asked of an operator --------------------------------------------------------------------------------------


def as_operator(operator: Any, name: str = "operator") -> sp.csr_array | np.ndarray:
    """A square, finite, real operator as CSR or dense float64."""
    if not sp.issparse(operator):
        matrix: sp.csr_array | np.ndarray = check_array(operator, name, ndim=2)
    else:
        matrix = sp.csr_array(operator)
        if matrix.dtype.kind == "c":
            raise ValueError(f"{name} must be real, got complex entries")
        if matrix.dtype != np.float64:
            matrix = matrix.astype(np.float64)
        if not np.isfinite(matrix.data).all():
            raise ValueError(f"{name} holds NaN or infinity")
    if matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
        raise ValueError(f"{name} must be a square matrix, got shape {matrix.shape}")
    return matrix


def as_columns(columns: Any, n: int) -> tuple[Float[np.ndarray, "n b"], bool]:
    """The block that an operator is applied to, the identity if None; and whether it was given as a vector."""
    if columns is None:
        if n > IDENTITY_LIMIT:
            raise ValueError(
                f"columns must be given for an operator of {n} rows: the whole matrix would take {n * n * 8 / 2**30:.0f} GiB"
            )
        return np.eye(n), False
    block = check_array(columns, "columns", ndim=(1, 2))
    if block.shape[0] != n:
        raise ValueError(f"columns must have {n} rows, one for each row of the operator, got {block.shape[0]}")
    return (block[:, None], True) if block.ndim == 1 else (block, False)


def is_symmetric(matrix: sp.csr_array | np.ndarray) -> bool:
    """Whether it equals its transpose up to rounding."""
    gap = abs(matrix - matrix.T)
    return bool(gap.max() <= 1e-12 * abs(matrix).max())


def add_identity(matrix: sp.csr_array | np.ndarray, shift: float) -> sp.csr_array | np.ndarray:
    """matrix + shift * I."""
    if isinstance(matrix, np.ndarray):
        return matrix + shift * np.eye(len(matrix))
    return sp.csr_array(matrix + shift * sp.eye_array(matrix.shape[0], format="csr"))


def to_dense(matrix: sp.csr_array | np.ndarray) -> Float[np.ndarray, "n n"]:
    """The operator as a dense array."""
    return matrix if isinstance(matrix, np.ndarray) else matrix.toarray()


# --- solvers -----------------------------------------------------------------------------------------------------------


def prefers_factor(matrix: sp.csr_array | np.ndarray) -> bool:
    """Whether to factorise: always where conjugate gradients cannot go, else where the factor is known to be small."""
    return (
        isinstance(matrix, np.ndarray)
        or matrix.shape[0] <= DENSE_LIMIT
        or not is_symmetric(matrix)
        or factor_size(matrix) <= FACTOR_LIMIT
    )


def factor_size(matrix: sp.csr_array) -> int:
    """A bound on the entries of the Cholesky factor of a symmetric sparse matrix: its profile when reordered."""
    order = reverse_cuthill_mckee(matrix, symmetric_mode=True)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    row = np.repeat(place, np.diff(matrix.indptr))
    first = np.arange(len(order))
    np.minimum.at(first, row, place[matrix.indices])
    return int((np.arange(len(order)) - first + 1).sum())


def factorise(matrix: sp.csr_array | np.ndarray) -> Callable[[Float[np.ndarray, "n b"]], Float[np.ndarray, "n b"]]:
    """The inverse as a function of a block of columns; `ValueError` if the matrix is singular to working precision."""
    try:
        solve = _factor(matrix)
    except RuntimeError as error:  # of SuperLU, which meets an exact zero
        raise ValueError("operator + shift * identity is singular") from error
    # A null vector, which rounding hides from the pivots, shows in the answer to a random right-hand side.
    probe = np.random.default_rng(0).normal(size=(matrix.shape[0], 1))
    size = abs(matrix).sum(axis=1).max()
    if not np.linalg.norm(solve(probe)) * size < 1e14 * np.linalg.norm(probe):
        raise ValueError("operator + shift * identity is singular to working precision")
    return solve


def _factor(matrix: sp.csr_array | np.ndarray) -> Callable[[Float[np.ndarray, "n b"]], Float[np.ndarray, "n b"]]:
    symmetric = is_symmetric(matrix)
    if isinstance(matrix, np.ndarray) or matrix.shape[0] <= DENSE_LIMIT:
        dense = to_dense(matrix)
        if symmetric:
            try:
                cholesky = scipy.linalg.cho_factor(dense)
                return lambda right: scipy.linalg.cho_solve(cholesky, right)
            except np.linalg.LinAlgError:
                pass  # indefinite: LU can still solve
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)  # the caller looks for singularity itself
            factors = scipy.linalg.lu_factor(dense)
        return lambda right: scipy.linalg.lu_solve(factors, right)
    if symmetric:  # pivots stay on the diagonal, which keeps the fill of the symmetric ordering
        options = {"SymmetricMode": True}
        return _by_blocks(splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options))
    return splu(matrix.tocsc()).solve


def _by_blocks(factors: SuperLU) -> Callable[[Float[np.ndarray, "n b"]], Float[np.ndarray, "n b"]]:
    """Solve by a sparse factor, many columns at a time: SuperLU takes them one by one, which waits for memory at each entry."""
    lower, upper = factors.L, factors.U
    lower.sort_indices()
    upper.sort_indices()

    def solve(right: np.ndarray) -> np.ndarray:
        if right.shape[1] < 8:
            return factors.solve(right)
        solution = np.empty_like(right)
        for start in range(0, right.shape[1], COLUMN_BLOCK):
            part = slice(start, start + COLUMN_BLOCK)
            block = np.empty((len(right), right[:, part].shape[1]))
            block[factors.perm_r] = right[:, part]
            _substitute(lower.indptr, lower.indices, lower.data, upper.indptr, upper.indices, upper.data, block)
            solution[:, part] = block[factors.perm_c]
        return solution

    return solve


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _substitute(
    lower_starts: Any, lower_rows: Any, lower: Any, upper_starts: Any, upper_rows: Any, upper: Any, block: Any
) -> None:
    """Forward by L, whose diagonal is one and comes first in its columns, and back by U, whose diagonal comes last."""
    n, b = block.shape
    for j in range(n):
        for p in range(lower_starts[j] + 1, lower_starts[j + 1]):
            i, value = lower_rows[p], lower[p]
            for c in range(b):
                block[i, c] -= value * block[j, c]
    for j in range(n - 1, -1, -1):
        last = upper_starts[j + 1] - 1
        for c in range(b):
            block[j, c] /= upper[last]
        for p in range(upper_starts[j], last):
            i, value = upper_rows[p], upper[p]
            for c in range(b):
                block[i, c] -= value * block[j, c]


def conjugate_gradients(
    matrix: sp.csr_array | np.ndarray,
    right: Float[np.ndarray, "n b"],
    tol: float,
    preconditioner: LinearOperator | None = None,
) -> Float[np.ndarray, "n b"]:
    """Preconditioned conjugate gradients on all columns at once, each with its own step lengths.

    A column that has converged is taken out, so the work is the sum of the columns' iterations.
    """
    n = matrix.shape[0]
    diagonal = matrix.diagonal()
    if (diagonal <= 0).any():
        raise ValueError("operator + shift * identity must be positive definite, and its diagonal is not positive")

    def precondition(block: np.ndarray) -> np.ndarray:
        return block / diagonal[:, None] if preconditioner is None else np.asarray(preconditioner @ block)

    solution = np.zeros_like(right)
    active = np.flatnonzero(np.linalg.norm(right, axis=0))
    if not len(active):
        return solution
    goal = tol * np.linalg.norm(right, axis=0)
    x, residual = solution[:, active], right[:, active]
    direction = precondition(residual)
    product = (residual * direction).sum(axis=0)
    for _ in range(max(10 * n, 100)):
        image = matrix @ direction
        curvature = (direction * image).sum(axis=0)
        if (curvature <= 0).any():
            raise ValueError("operator + shift * identity must be positive definite, and is not along some direction")
        step = product / curvature
        x += step * direction
        residual = residual - step * image
        done = np.linalg.norm(residual, axis=0) <= goal[active]
        if done.any():
            solution[:, active[done]] = x[:, done]
            left = ~done
            active, x, residual, direction = active[left], x[:, left], residual[:, left], direction[:, left]
            product = product[left]
            if not len(active):
                break
        preconditioned = precondition(residual)
        previous, product = product, (residual * preconditioned).sum(axis=0)
        direction = preconditioned + (product / previous) * direction
    solution[:, active] = x
    # The recursion's residual drifts from the true one, which cannot be smaller than rounding leaves it.
    true = np.linalg.norm(right - matrix @ solution, axis=0)
    rounding = 1e-13 * abs(matrix).sum(axis=1).max() * np.linalg.norm(solution, axis=0)
    if (true > 10 * goal + rounding).any():
        worst = (true[goal > 0] / goal[goal > 0]).max() * tol
        raise RuntimeError(f"conjugate gradients stand at a relative residual of {worst:.1e}, above tol={tol:g}")
    return solution

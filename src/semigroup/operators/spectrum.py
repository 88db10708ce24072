r"""Eigenpairs of symmetric operators, in a basis that depends on the operator alone, and bounds on their spectrum.

An eigenvector is given up to its sign, and :math:`g` eigenvectors of one eigenvalue up to a rotation; which ones a solver
returns depends on its start, the number of threads and the ordering of rounding errors. Here the basis of each eigenspace is
fixed by a rule that looks at the space alone. With :math:`P` its projector, the pivot is the row :math:`i` of largest
:math:`P_{ii}` (the first among those within a relative 1e-6), the basis vector is :math:`P e_i / \sqrt{P_{ii}}`, and the next
is found in the same way in what is left of the space. For a simple eigenvalue this makes the entry of largest modulus positive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from jaxtyping import Float, Int
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from semigroup.base import check_choice, check_integer, check_number
from semigroup.operators.resolvent import (
    DENSE_LIMIT,
    add_identity,
    as_operator,
    factorise,
    is_symmetric,
    prefers_factor,
    to_dense,
)

__all__ = ["Eigenpairs", "canonical_basis", "eigenpairs", "spectral_interval"]


@dataclass(frozen=True)
class Eigenpairs:
    """Some eigenpairs of a symmetric operator.

    Attributes
    ----------
    values : array of shape (k,)
        Ascending.
    vectors : array of shape (n, k)
        Orthonormal columns, in the basis of `canonical_basis`.
    group : int array of shape (k,)
        Number of the eigenspace of each pair: equal for eigenvalues that are equal up to ``multiplicity_tol``.
    residuals : array of shape (k,)
        Norm of ``L v - λ v``.
    is_cut : bool
        Whether the eigenvalues left out go on with the eigenspace at the end that was cut, which is then not whole: its
        vectors span an arbitrary part of it.
    """

    values: Float[np.ndarray, " k"]
    vectors: Float[np.ndarray, "n k"]
    group: Int[np.ndarray, " k"]
    residuals: Float[np.ndarray, " k"]
    is_cut: bool

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return (
            f"Eigenpairs({len(self)} of {len(self.vectors)}, from {self.values[0]:.4g} to {self.values[-1]:.4g}, "
            f"{self.group[-1] + 1} eigenspaces, residual {self.residuals.max():.1e})"
        )


def eigenpairs(
    operator: Any,
    n_pairs: int,
    *,
    which: Literal["smallest", "largest"] = "smallest",
    method: Literal["auto", "dense", "shift-invert", "lanczos"] = "auto",
    tol: float = 1e-8,
    multiplicity_tol: float = 1e-10,
    complete: bool = False,
) -> Eigenpairs:
    r"""The smallest or largest eigenpairs of a symmetric operator.

    Parameters
    ----------
    operator : sparse or dense symmetric matrix of shape (n, n)
    n_pairs : int
        At most n.
    which : {'smallest', 'largest'}
        By value, not by modulus.
    method : {'auto', 'dense', 'shift-invert', 'lanczos'}
        ``'dense'`` decomposes the whole matrix. ``'shift-invert'`` is ARPACK on the inverse of the operator shifted to
        just beyond its spectrum, which takes a sparse factor; ``'lanczos'`` is ARPACK on the operator itself, whose number
        of products grows like one over the root of the gap. ``'auto'`` decomposes an operator that is small or of which a
        large part is wanted; of another it inverts the smallest end if the factor is small, and else runs Lanczos.
    tol : float
        Largest residual allowed, relative to the operator's spectral radius.
    multiplicity_tol : float
        Neighbouring eigenvalues closer than this, relative to the spectral radius, count as one eigenvalue.
    complete : bool
        Whether to return more than `n_pairs` pairs where that takes the eigenspace that would be cut to its end.

    Returns
    -------
    Eigenpairs

    Raises
    ------
    ValueError
        If the operator is not symmetric, or more pairs are wanted than it has.
    RuntimeError
        If a residual stays above `tol`.

    Notes
    -----
    ARPACK starts from a fixed vector, so a call gives the same numbers each time; another solver or machine gives the same
    vectors up to the residual over the gap to the next eigenspace. Repeated eigenvalues, which a Krylov method may miss (a
    graph of c components has the eigenvalue 0 c times), are looked for in what is left when all pairs found are projected
    out, until that holds none further out.

    Examples
    --------
    >>> from semigroup.operators import laplacian
    >>> from semigroup.operators.topology import cycle
    >>> pairs = eigenpairs(laplacian(cycle(6).adjacency), 3)
    >>> pairs.values.round(6) + 0.0
    array([0., 1., 1.])
    >>> pairs.group
    array([0, 1, 1])
    >>> pairs.is_cut
    False
    """
    matrix = as_operator(operator)
    n = matrix.shape[0]
    n_pairs = check_integer(n_pairs, "n_pairs", minimum=1)
    if n_pairs > n:
        raise ValueError(f"n_pairs must be at most {n}, the rows of the operator, got {n_pairs}")
    check_choice(which, "which", ("smallest", "largest"))
    check_choice(method, "method", ("auto", "dense", "shift-invert", "lanczos"))
    tol = check_number(tol, "tol", above=0)
    multiplicity_tol = check_number(multiplicity_tol, "multiplicity_tol", minimum=0)
    if not is_symmetric(matrix):
        raise ValueError("operator must be symmetric, and it is not")
    low, high = spectral_interval(matrix)
    scale = max(abs(low), abs(high))
    if method == "auto":
        method = _cheapest(matrix, n_pairs, which)
    n_kept, n_found = n_pairs, min(n_pairs + 1, n)  # one more than wanted shows whether an eigenspace is cut
    while True:
        values, vectors = _solve(matrix, n_found, which, method, (low, high), tol)
        outward = values if which == "smallest" else values[::-1]
        steps = np.append(np.abs(np.diff(outward)), [np.inf] if n_found == n else [])  # step i leads past pair i
        ends = 1 + np.flatnonzero(steps[n_pairs - 1 :] > multiplicity_tol * scale)
        is_cut = not (len(ends) and ends[0] == 1)
        if not (complete and is_cut):
            break
        if len(ends):
            n_kept, is_cut = n_pairs + int(ends[0]) - 1, False
            break
        n_found = min(n_found + max(8, n_found // 8), n)  # eigenspaces are small as a rule
    kept = slice(0, n_kept) if which == "smallest" else slice(n_found - n_kept, n_found)
    values, vectors = values[kept], vectors[:, kept]
    group = np.concatenate(([0], np.cumsum(np.diff(values) > multiplicity_tol * scale)))
    vectors = canonical_basis(vectors, group)
    residuals = np.linalg.norm(matrix @ vectors - vectors * values, axis=0)
    if residuals.max() > tol * scale:
        raise RuntimeError(
            f"eigenpairs stand at a residual of {residuals.max():.1e}, above tol={tol:g} of the spectral radius {scale:.3g}"
        )
    return Eigenpairs(values, vectors, group, residuals, is_cut)


def canonical_basis(
    vectors: Float[np.ndarray, "n k"], group: Int[np.ndarray, " k"] | None = None
) -> Float[np.ndarray, "n k"]:
    """The basis of each eigenspace that the rule of this module fixes.

    Parameters
    ----------
    vectors : array of shape (n, k)
        Orthonormal columns; those of a group are consecutive.
    group : int array of shape (k,), optional
        Number of the space of each column; all columns are spaces of their own if not given.

    Examples
    --------
    >>> canonical_basis(np.array([[0.6, 0.8], [-0.8, 0.6]]), np.array([0, 0])).round(6) + 0.0
    array([[1., 0.],
           [0., 1.]])
    >>> canonical_basis(np.array([[0.6], [-0.8]]))
    array([[-0.6],
           [ 0.8]])
    """
    k = vectors.shape[1]
    starts = np.arange(k) if group is None else np.flatnonzero(np.diff(group, prepend=group[:1] - 1))
    result = np.empty_like(vectors)
    for start, end in zip(starts, np.append(starts[1:], k)):
        space = vectors[:, start:end]
        rest = space
        chosen = np.empty((end - start, end - start))  # coordinates of the new basis in the old
        for j in range(end - start):
            weight = np.linalg.norm(rest, axis=1)
            pivot = np.flatnonzero(weight >= (1 - 1e-6) * weight.max())[0]
            chosen[j] = rest[pivot] / weight[pivot]
            rest = rest - np.outer(rest @ chosen[j], chosen[j])
        result[:, start:end] = space @ chosen.T
    return result


def spectral_interval(operator: Any) -> tuple[float, float]:
    """An interval that holds the real parts of all eigenvalues.

    Gershgorin's discs bound them for certain; for a symmetric operator some Lanczos steps give a second bound (the outermost
    Ritz values, moved outwards by their residuals and by one per cent [1]_), and the tighter one counts.

    Parameters
    ----------
    operator : sparse or dense matrix of shape (n, n)

    Returns
    -------
    low, high : float

    References
    ----------
    .. [1] Y. Zhou, R.-C. Li, "Bounding the spectrum of large Hermitian matrices", Linear Algebra and its Applications 435, 2011.

    Examples
    --------
    >>> spectral_interval(np.array([[2.0, -2.0], [-2.0, 2.0]]))
    (0.0, 4.0)
    """
    matrix = as_operator(operator)
    diagonal = matrix.diagonal()
    size = abs(matrix)
    intervals = []
    for axis in (0, 1):
        radius = np.asarray(size.sum(axis=axis)).ravel() - np.abs(diagonal)
        intervals.append(((diagonal - radius).min(), (diagonal + radius).max()))
    if is_symmetric(matrix):
        intervals.append(_lanczos_interval(matrix))
    return float(max(low for low, _ in intervals)), float(min(high for _, high in intervals))


def _lanczos_interval(matrix: sp.csr_array | np.ndarray, n_steps: int = 40) -> tuple[float, float]:
    n = matrix.shape[0]
    n_steps = min(n_steps, n)
    basis = np.zeros((n_steps + 1, n))
    basis[0] = _start(n)
    alpha, beta = np.zeros(n_steps), np.zeros(n_steps)
    for j in range(n_steps):
        image = matrix @ basis[j]
        alpha[j] = basis[j] @ image
        for _ in range(2):  # once more, because what the first pass leaves of the old directions would grow
            image = image - basis[: j + 1].T @ (basis[: j + 1] @ image)
        beta[j] = np.linalg.norm(image)
        if beta[j] <= 1e-12 * np.abs(alpha[: j + 1]).max(initial=np.finfo(float).tiny):
            n_steps = j + 1  # the start spans an invariant space
            break
        basis[j + 1] = image / beta[j]
    ritz, coordinates = scipy.linalg.eigh_tridiagonal(alpha[:n_steps], beta[: n_steps - 1])
    residual = beta[n_steps - 1] * np.abs(coordinates[-1])
    margin = 0.01 * (ritz[-1] - ritz[0])
    return ritz[0] - residual[0] - margin, ritz[-1] + residual[-1] + margin


def _start(n: int) -> Float[np.ndarray, " n"]:
    """A fixed unit vector in general position."""
    start = np.random.default_rng(0).normal(size=n)
    return start / np.linalg.norm(start)


# --- solvers -----------------------------------------------------------------------------------------------------------


def _cheapest(
    matrix: sp.csr_array | np.ndarray, n_pairs: int, which: str
) -> Literal["dense", "shift-invert", "lanczos"]:
    n = matrix.shape[0]
    if n <= DENSE_LIMIT or n_pairs > n // 10:
        return "dense"
    return "shift-invert" if which == "smallest" and prefers_factor(matrix) else "lanczos"


def _solve(
    matrix: sp.csr_array | np.ndarray, n_pairs: int, which: str, method: str, interval: tuple[float, float], tol: float
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "n k"]]:
    """Eigenpairs at one end, ascending, orthonormal, in some basis."""
    n = matrix.shape[0]
    if method == "dense" or n_pairs >= n - 1:  # ARPACK leaves room for one vector
        ends = [0, n_pairs - 1] if which == "smallest" else [n - n_pairs, n - 1]
        return scipy.linalg.eigh(to_dense(matrix), subset_by_index=ends)
    sign = 1.0 if which == "smallest" else -1.0
    matrix, (low, high) = sign * matrix, interval if sign > 0 else (-interval[1], -interval[0])
    if method == "shift-invert":  # shifted by so little that the least eigenvalues stand out in the inverse
        solve = factorise(add_identity(matrix, 1e-7 * (high - low) - low))
        far, accuracy = (lambda x: solve(x.reshape(-1, 1)).ravel()), 0.0
    else:
        far, accuracy = (lambda x: high * x - matrix @ x), tol / 10
    vectors = _krylov(far, n, n_pairs, accuracy)
    while True:
        values, vectors = _rotate(matrix, vectors)
        # A Krylov space holds one vector of an eigenspace, and its further ones by rounding only. The smallest pair of what
        # is left when all that was found is projected out shows whether one was missed.
        found = vectors
        missed = _krylov(far, n, 1, accuracy, avoiding=found)
        if missed[:, 0] @ (matrix @ missed[:, 0]) >= values[-1] - 1e-9 * (high - low):
            break
        vectors = _rotate(matrix, np.column_stack([found, missed]))[1][:, :n_pairs]
    return (values, vectors) if sign > 0 else (-values[::-1], vectors[:, ::-1])


def _krylov(
    apply: Callable[[np.ndarray], np.ndarray],
    n: int,
    n_pairs: int,
    accuracy: float,
    avoiding: Float[np.ndarray, "n k"] | None = None,
) -> Float[np.ndarray, "n pairs"]:
    """Eigenvectors of the largest eigenvalues of a symmetric positive map, outside the span of some that are known."""

    def project(x: np.ndarray) -> np.ndarray:
        return x if avoiding is None else x - avoiding @ (avoiding.T @ x)

    wrapped = LinearOperator((n, n), matvec=lambda x: project(apply(project(x))), dtype=np.float64)
    try:
        # More vectors than ARPACK's own choice of 20: on a narrow gap it spends its time restarting.
        size = min(n - 1, max(2 * n_pairs + 1, 40))
        return eigsh(wrapped, n_pairs, which="LA", v0=project(_start(n)), ncv=size, tol=accuracy)[1]
    except ArpackNoConvergence as error:
        raise RuntimeError(
            f"ARPACK found {len(error.eigenvalues)} of {n_pairs} eigenpairs; ask for fewer, or for another method"
        ) from error


def _rotate(
    matrix: sp.csr_array | np.ndarray, vectors: Float[np.ndarray, "n k"]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "n k"]]:
    """Rayleigh-Ritz: the best eigenpairs within the span of some columns, ascending."""
    basis = np.linalg.qr(vectors)[0]
    values, coordinates = np.linalg.eigh(basis.T @ (matrix @ basis))
    return values, basis @ coordinates

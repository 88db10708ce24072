r"""One algebraic multigrid hierarchy, built so that its coarse spaces hold a given smooth vector, and its cycles.

Vertices are matched in pairs, pairs become vertices, and so on; the prolongator of a level is orthonormal,
:math:`P^T P = I`, and has the smooth vector in its range, :math:`P P^T w = w`. Coarse
matrices :math:`P^T A P` are s.p.d. as A is.
"""

import typing
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numba
import numpy as np
import scipy.linalg
import scipy.sparse as sp
from jaxtyping import Float, Int

from semigroup.base import check_choice, check_integer, check_number
from semigroup.graphs.amg_clustering.matching import MATCHERS, compatible_edges, match

__all__ = [
    "COARSE_SOLVERS",
    "CYCLES",
    "SMOOTHERS",
    "Hierarchy",
    "HierarchyOptions",
    "build_hierarchy",
    "pairwise_prolongator",
]

SMOOTHERS = ("forward_backward", "forward", "backward", "symmetric", "jacobi", "l1_jacobi")
COARSE_SOLVERS = (*SMOOTHERS[1:], "direct")
CYCLES = ("V", "H", "W", "K")
_FORWARD, _BACKWARD, _SYMMETRIC, _JACOBI, _DIRECT = range(5)
_KINDS = {
    "forward_backward": (_FORWARD, _BACKWARD),
    "forward": (_FORWARD, _FORWARD),
    "backward": (_BACKWARD, _BACKWARD),
    "symmetric": (_SYMMETRIC, _SYMMETRIC),
    "jacobi": (_JACOBI, _JACOBI),
    "l1_jacobi": (_JACOBI, _JACOBI),
    "direct": (_DIRECT, _DIRECT),
}
_STAGNATION = 1.2
_KRYLOV_TOLERANCE = 0.25
_DENSE_UP_TO = 2000  # unknowns that a direct solve inverts


@dataclass(frozen=True)
class HierarchyOptions:
    r"""How hierarchies are built and cycled through.

    Attributes
    ----------
    matching : {'greedy', 'suitor', 'auction', 'exact'}
    n_pairings : int
        Matchings a level: 2 gives aggregates of up to four vertices.
    smoothed : bool
        Smooth the prolongators by a step of Jacobi: :math:`(I - \omega D^{-1} A) P` with
        :math:`\omega = 4 / (3 \lVert D^{-1} A \rVert_\\infty)`. They are then no longer orthonormal.
    max_coarse, max_levels : int
        A level of at most `max_coarse` unknowns, or number `max_levels`, is the coarsest.
    n_coarse_relaxations : int
        Steps of l1-Jacobi on A x = 0 from the coarse smooth vector.
    cycle : {'V', 'H', 'W', 'K'}
        Coarse calls a level: one; two on every other level; two; at most two steps of flexible conjugate gradients.
    smoother : {'forward_backward', 'forward', 'backward', 'symmetric', 'jacobi', 'l1_jacobi'}
        Gauss-Seidel (forward before and backward after the coarse call, or the same both times), or Jacobi.
    jacobi_weight : float
    n_pre_smoothings, n_post_smoothings : int
        Steps before and after the coarse call.
    coarse_solver : {'forward', 'backward', 'symmetric', 'jacobi', 'l1_jacobi', 'direct'}
        The authors' program takes ``'forward'``, whose 20 steps leave most of the constant vector where the shift is small
        beside the graph. A direct solve falls back to symmetric Gauss-Seidel where the coarsest level has more than 2000
        unknowns.
    n_coarse_smoothings : int
        Steps of an iterative coarse solver.
    """

    matching: str = "greedy"
    n_pairings: int = 2
    smoothed: bool = False
    max_coarse: int = 10
    max_levels: int = 39
    n_coarse_relaxations: int = 0
    cycle: str = "V"
    smoother: str = "forward_backward"
    jacobi_weight: float = 2 / 3
    n_pre_smoothings: int = 1
    n_post_smoothings: int = 1
    coarse_solver: str = "direct"
    n_coarse_smoothings: int = 20

    def check(self) -> None:
        """Refuse what is out of range."""
        check_choice(self.matching, "matching", MATCHERS)
        check_integer(self.n_pairings, "n_pairings", minimum=1)
        check_integer(self.max_coarse, "max_coarse", minimum=1)
        check_integer(self.max_levels, "max_levels", minimum=1)
        check_integer(self.n_coarse_relaxations, "n_coarse_relaxations", minimum=0)
        check_choice(self.cycle, "cycle", CYCLES)
        check_choice(self.smoother, "smoother", SMOOTHERS)
        check_number(self.jacobi_weight, "jacobi_weight", above=0, below=2)
        check_integer(self.n_pre_smoothings, "n_pre_smoothings", minimum=0)
        check_integer(self.n_post_smoothings, "n_post_smoothings", minimum=0)
        if self.n_pre_smoothings + self.n_post_smoothings == 0:
            raise ValueError("n_pre_smoothings and n_post_smoothings must not both be 0")
        check_choice(self.coarse_solver, "coarse_solver", COARSE_SOLVERS)
        check_integer(self.n_coarse_smoothings, "n_coarse_smoothings", minimum=1)


def pairwise_prolongator(w: Float[np.ndarray, "n"], mate: Int[np.ndarray, "n"]) -> sp.csr_array:
    r"""Orthonormal prolongator of shape (n, n_coarse) whose range holds w.

    A pair has the column :math:`(w_i, w_j) / \nu` with :math:`\nu = \sqrt{w_i^2 + w_j^2}`, a single vertex the sign of
    :math:`w_i`. Where :math:`\nu` or :math:`|w_i|` is below the machine's epsilon the rows are zero: the coarse level leaves
    these vertices to the smoother.

    Examples
    --------
    >>> pairwise_prolongator(np.array([3.0, 4.0, -2.0]), np.array([1, 0, -1])).toarray()
    array([[ 0.6,  0. ],
           [ 0.8,  0. ],
           [ 0. , -1. ]])
    """
    n = len(w)
    vertex = np.arange(n)
    partner = np.where(mate >= 0, mate, vertex)
    length = np.where(mate >= 0, np.hypot(w, w[partner]), np.abs(w))
    kept = length > np.finfo(np.float64).eps
    leader = np.minimum(vertex, partner)
    number = np.cumsum(kept & (leader == vertex)) - 1
    return sp.csr_array(
        (w[kept] / length[kept], number[leader[kept]], np.concatenate([[0], np.cumsum(kept)])),
        shape=(n, int(number[-1]) + 1),
    )


def _galerkin(matrix: sp.csr_array, prolongator: sp.csr_array) -> sp.csr_array:
    return sp.csr_array(prolongator.T.tocsr() @ (matrix @ prolongator))


@dataclass(frozen=True)
class Hierarchy:
    """Matrices and prolongators from fine to coarse.

    Attributes
    ----------
    matrices : list of csr_array
    prolongators : list of csr_array
        One fewer.
    options : HierarchyOptions
    """

    matrices: list[sp.csr_array]
    prolongators: list[sp.csr_array]
    options: HierarchyOptions

    @property
    def sizes(self) -> list[int]:
        """Unknowns of each level."""
        return [matrix.shape[0] for matrix in self.matrices]

    @property
    def operator_complexity(self) -> float:
        """Stored entries of all levels over those of the finest."""
        return sum(matrix.nnz for matrix in self.matrices) / self.matrices[0].nnz

    def __repr__(self) -> str:
        levels = " > ".join(map(str, self.sizes))
        return f"Hierarchy({levels}; operator complexity {self.operator_complexity:.2f})"

    @cached_property
    def _arrays(self) -> list[tuple[np.ndarray, ...]]:
        """Of each level its matrix, what residuals are multiplied by in relaxation, and its prolongator."""
        names = [self.options.smoother] * len(self.prolongators) + [self.options.coarse_solver]
        scales = [_scale(matrix, name, self.options.jacobi_weight) for matrix, name in zip(self.matrices, names)]
        fine = [(m.indptr, m.indices, m.data, scale) for m, scale in zip(self.matrices, scales)]
        return [*((*arrays, p.indptr, p.indices, p.data) for arrays, p in zip(fine, self.prolongators)), fine[-1]]

    @cached_property
    def _coarse_inverse(self) -> np.ndarray:
        factor = scipy.linalg.cho_factor(self.matrices[-1].toarray())
        return scipy.linalg.cho_solve(factor, np.eye(self.sizes[-1]))

    def cycle(self, x: Float[np.ndarray, "n"], b: Float[np.ndarray, "n"], *, symmetric: bool = False) -> None:
        """One cycle for A x = b from `x`, which is overwritten.

        Parameters
        ----------
        x, b : ndarray of shape (n,)
        symmetric : bool
            Make the cycle a symmetric operator whatever the options say: the smoother after is the adjoint of the one
            before, and the coarse solver is symmetric.
        """
        self._cycle(0, x, b, symmetric)

    def _cycle(self, level: int, x: np.ndarray, b: np.ndarray, symmetric: bool) -> None:
        options = self.options
        before, after = _KINDS[options.smoother]
        n_before, n_after = options.n_pre_smoothings, options.n_post_smoothings
        if symmetric:
            after, n_after = {_FORWARD: _BACKWARD, _BACKWARD: _FORWARD}.get(before, before), n_before
        arrays = self._arrays[level]
        last = len(self.matrices) - 1
        if level == last:
            self._solve_coarsest(x, b, symmetric)
            return
        coarse_b = np.zeros(self.prolongators[level].shape[1])
        coarse_x = np.zeros_like(coarse_b)
        _descend(before, n_before, *arrays, x, b, coarse_b)
        if options.cycle == "K" and level + 1 < last:
            self._flexible_gradients(level + 1, coarse_x, coarse_b)
        else:
            twice = options.cycle == "W" or (options.cycle == "H" and level % 2 == 0)
            for _ in range(2 if twice and level + 1 < last else 1):
                self._cycle(level + 1, coarse_x, coarse_b, symmetric)
        _ascend(after, n_after, *arrays, x, b, coarse_x)

    def _solve_coarsest(self, x: np.ndarray, b: np.ndarray, symmetric: bool) -> None:
        solver = _KINDS[self.options.coarse_solver][0]
        if solver == _DIRECT and len(x) <= _DENSE_UP_TO:
            x[:] = self._coarse_inverse @ b
            return
        if solver == _DIRECT or (symmetric and solver != _JACOBI):
            solver = _SYMMETRIC
        _relax(solver, self.options.n_coarse_smoothings, *self._arrays[-1], x, b)

    def _flexible_gradients(self, level: int, x: np.ndarray, b: np.ndarray) -> None:
        """At most two steps of flexible conjugate gradients from zero, preconditioned by the K-cycle of the level."""
        matrix = self.matrices[level]
        first = np.zeros_like(x)
        self._cycle(level, first, b, False)
        a_first = matrix @ first
        energy = first @ a_first
        if energy <= 0:
            return
        x += (first @ b) / energy * first
        residual = b - (first @ b) / energy * a_first
        if np.linalg.norm(residual) <= _KRYLOV_TOLERANCE * np.linalg.norm(b):
            return
        second = np.zeros_like(x)
        self._cycle(level, second, residual, False)
        second -= (second @ a_first) / energy * first
        energy = second @ (matrix @ second)
        if energy > 0:
            x += (second @ residual) / energy * second


def build_hierarchy(matrix: sp.csr_array, w: Float[np.ndarray, "n"], options: HierarchyOptions) -> Hierarchy:
    """Coarsen a s.p.d. matrix by compatible weighted matching.

    Parameters
    ----------
    matrix : csr_array of shape (n, n)
        Symmetric positive definite.
    w : ndarray of shape (n,)
        Smooth vector; the coarse spaces hold it.
    options : HierarchyOptions

    Notes
    -----
    Where a matching shrinks a level by less than 1.2, the level ends and the limit `max_coarse` grows a hundredfold, so
    that a graph that does not coarsen (a star) does not fill the memory with levels of its own size.

    Examples
    --------
    >>> path = sp.diags_array([-np.ones(7), 2 * np.ones(8), -np.ones(7)], offsets=[-1, 0, 1], format="csr")
    >>> build_hierarchy(path, np.ones(8), HierarchyOptions(max_coarse=1))
    Hierarchy(8 > 2 > 1; operator complexity 1.23)
    """
    matrices, prolongators = [matrix], []
    limit = options.max_coarse
    while matrices[-1].shape[0] > limit and len(matrices) < options.max_levels:
        prolongator, coarse, vector = None, matrices[-1], w
        for _ in range(options.n_pairings):
            size = coarse.shape[0]
            step = pairwise_prolongator(vector, match(compatible_edges(coarse, vector), size, options.matching))
            if not 0 < step.shape[1] < size:
                limit = size
                break
            coarse, vector = _galerkin(coarse, step), step.T @ vector
            prolongator = step if prolongator is None else sp.csr_array(prolongator @ step)
            if size <= _STAGNATION * step.shape[1]:
                limit *= 100
                break
            if step.shape[1] <= limit:
                break
        if prolongator is None:
            break
        if options.smoothed:
            prolongator = _smooth(matrices[-1], prolongator)
            coarse = _galerkin(matrices[-1], prolongator)
        for _ in range(options.n_coarse_relaxations):
            vector = vector - (coarse @ vector) / _l1_diagonal(coarse)
        w = vector
        matrices.append(coarse)
        prolongators.append(prolongator)
    return Hierarchy(matrices, prolongators, options)


def _smooth(matrix: sp.csr_array, prolongator: sp.csr_array) -> sp.csr_array:
    scaled = sp.csr_array(sp.diags_array(1 / matrix.diagonal()) @ matrix)
    omega = 4 / (3 * abs(scaled).sum(axis=1).max())
    return sp.csr_array(prolongator - omega * (scaled @ prolongator))


def _l1_diagonal(matrix: sp.csr_array) -> np.ndarray:
    """Diagonal plus the absolute sum of the rest of the row; for a positive diagonal the absolute row sums."""
    return np.asarray(abs(matrix).sum(axis=1)).ravel()


def _scale(matrix: sp.csr_array, smoother: str, jacobi_weight: float) -> np.ndarray:
    """What a residual is multiplied by in a step of relaxation."""
    if smoother == "l1_jacobi":
        return 1 / _l1_diagonal(matrix)
    return (jacobi_weight if smoother == "jacobi" else 1.0) / matrix.diagonal()


# --- compiled: one level down, one level up -----------------------------------------------------------------------


@numba.njit(cache=True)
@typing.no_type_check
def _descend(
    kind: int,
    n_steps: int,
    indptr: Any,
    indices: Any,
    data: Any,
    scale: Any,
    p_indptr: Any,
    p_indices: Any,
    p_data: Any,
    x: Any,
    b: Any,
    coarse_b: Any,
) -> None:
    """Smooth `x` and add the restricted residual to `coarse_b`."""
    _relax(kind, n_steps, indptr, indices, data, scale, x, b)
    for i in range(len(x)):
        if p_indptr[i] < p_indptr[i + 1]:
            residual = b[i]
            for place in range(indptr[i], indptr[i + 1]):
                residual -= data[place] * x[indices[place]]
            for place in range(p_indptr[i], p_indptr[i + 1]):
                coarse_b[p_indices[place]] += p_data[place] * residual


@numba.njit(cache=True)
@typing.no_type_check
def _ascend(
    kind: int,
    n_steps: int,
    indptr: Any,
    indices: Any,
    data: Any,
    scale: Any,
    p_indptr: Any,
    p_indices: Any,
    p_data: Any,
    x: Any,
    b: Any,
    coarse_x: Any,
) -> None:
    """Add the prolongated correction to `x` and smooth."""
    for i in range(len(x)):
        for place in range(p_indptr[i], p_indptr[i + 1]):
            x[i] += p_data[place] * coarse_x[p_indices[place]]
    _relax(kind, n_steps, indptr, indices, data, scale, x, b)


@numba.njit(cache=True)
@typing.no_type_check
def _relax(kind: int, n_steps: int, indptr: Any, indices: Any, data: Any, scale: Any, x: Any, b: Any) -> None:
    """Steps of a smoother: Gauss-Seidel forward, backward or both, or Jacobi."""
    n = len(x)
    for _ in range(n_steps):
        if kind == _JACOBI:
            step = b.copy()
            for i in range(n):
                for place in range(indptr[i], indptr[i + 1]):
                    step[i] -= data[place] * x[indices[place]]
            x += scale * step
            continue
        if kind != _BACKWARD:
            for i in range(n):
                residual = b[i]
                for place in range(indptr[i], indptr[i + 1]):
                    residual -= data[place] * x[indices[place]]
                x[i] += scale[i] * residual
        if kind != _FORWARD:
            for i in range(n - 1, -1, -1):
                residual = b[i]
                for place in range(indptr[i], indptr[i + 1]):
                    residual -= data[place] * x[indices[place]]
                x[i] += scale[i] * residual

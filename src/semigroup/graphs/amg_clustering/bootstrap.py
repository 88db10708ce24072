r"""Bootstrap: hierarchies added one at a time, each for the error that the ones before cannot remove.

The composite of the hierarchies :math:`B_1, \dots, B_r` is applied to :math:`A x = 0` from a random start. What is left,
scaled to :math:`\lVert w_r \rVert_A = 1`, approximates the low end of the spectrum of :math:`A x = \lambda B x` and is the smooth
vector from which :math:`B_{r+1}` is built. All smooth vectors together are the embedding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator

from semigroup.base import check_choice, check_integer, check_number
from semigroup.graphs.amg_clustering.hierarchy import Hierarchy, HierarchyOptions, build_hierarchy

__all__ = ["COMPOSITES", "Bootstrap", "Composite", "bootstrap", "energy_norm"]

COMPOSITES = ("multiplicative", "symmetrised", "additive")


def energy_norm(matrix: sp.csr_array, x: Float[np.ndarray, "n"]) -> float:
    r""":math:`\sqrt{x^T A x}`."""
    return float(np.sqrt(max(x @ (matrix @ x), 0.0)))


@dataclass(frozen=True)
class Composite:
    r"""Several hierarchies as one iteration for A x = b.

    Attributes
    ----------
    matrix : csr_array of shape (n, n)
    hierarchies : list of Hierarchy
    kind : {'multiplicative', 'symmetrised', 'additive'}
        One cycle after the other, with the error operator :math:`\prod_k (I - B_k^{-1} A)`; the same and then back; or the
        mean of the cycles from the same start.
    """

    matrix: sp.csr_array
    hierarchies: list[Hierarchy]
    kind: str = "multiplicative"

    def sweep(self, x: Float[np.ndarray, "n"], b: Float[np.ndarray, "n"] | None = None) -> Float[np.ndarray, "n"]:
        """One step of the iteration from `x`; `b` is zero by default."""
        return self._sweep(x, np.zeros(len(x)) if b is None else b, self.kind, symmetric=False)

    def _sweep(self, x: np.ndarray, b: np.ndarray, kind: str, *, symmetric: bool) -> np.ndarray:
        if kind == "additive":
            total = np.zeros_like(x)
            for hierarchy in self.hierarchies:
                result = x.copy()
                hierarchy.cycle(result, b, symmetric=symmetric)
                total += result
            return total / len(self.hierarchies)
        result = x.copy()
        order = self.hierarchies + (self.hierarchies[::-1] if kind == "symmetrised" else [])
        for hierarchy in order:
            hierarchy.cycle(result, b, symmetric=symmetric)
        return result

    def as_preconditioner(self) -> LinearOperator:
        """The composite as a symmetric positive operator near the inverse, for conjugate gradients.

        A multiplicative composite is applied forwards and backwards, smoothers after the coarse call are the adjoints of
        those before, and the coarsest level is smoothed symmetrically.

        Raises
        ------
        ValueError
            If the cycle is ``'K'``, which is no linear operator.

        Examples
        --------
        >>> from scipy.sparse.linalg import cg
        >>> path = sp.diags_array([-np.ones(99), 2.0 * np.ones(100), -np.ones(99)], offsets=[-1, 0, 1], format="csr")
        >>> solver = bootstrap(path, max_hierarchies=2, random_state=0).composite
        >>> x, flag = cg(path, np.ones(100), M=solver.as_preconditioner(), rtol=1e-10)
        >>> flag, bool(np.abs(path @ x - 1).max() < 1e-7)
        (0, True)
        """
        if self.hierarchies[0].options.cycle == "K":
            raise ValueError("cycle must be 'V', 'H' or 'W' for a linear operator, got 'K'")
        kind = "additive" if self.kind == "additive" else "symmetrised"
        n = self.matrix.shape[0]

        def apply(b: Any) -> np.ndarray:
            right = np.asarray(b, dtype=np.float64).ravel()
            return self._sweep(np.zeros(n), right, kind, symmetric=True)

        return LinearOperator((n, n), matvec=apply, rmatvec=apply, dtype=np.float64)

    def convergence_ratio(self, n_sweeps: int, generator: np.random.Generator) -> tuple[float, np.ndarray]:
        r"""Factor by which the last of several sweeps shrinks a random error's energy norm, and what is left of it.

        What is left is scaled to energy norm 1; it is zero where it fell below the smallest numbers.
        """
        x = generator.uniform(-1.0, 1.0, size=self.matrix.shape[0])
        size = energy_norm(self.matrix, x)
        ratio = 0.0
        for _ in range(n_sweeps):
            x = self.sweep(x / size)
            ratio = size = energy_norm(self.matrix, x)
            if size < np.finfo(np.float64).tiny:
                return 0.0, np.zeros_like(x)
        return ratio, x / size


@dataclass(frozen=True)
class Bootstrap:
    """What the bootstrap leaves.

    Attributes
    ----------
    composite : Composite
        Of r hierarchies.
    smooth_vectors : ndarray of shape (n, r + 1)
        The first is the start, the others have energy norm 1.
    ratios : ndarray of shape (r,)
        Estimated convergence ratio with 1, ..., r hierarchies.
    """

    composite: Composite
    smooth_vectors: Float[np.ndarray, "n dims"]
    ratios: Float[np.ndarray, "r"]


def bootstrap(
    matrix: sp.csr_array,
    *,
    options: HierarchyOptions | None = None,
    composite: str = "multiplicative",
    max_hierarchies: int = 40,
    desired_ratio: float = 1e-6,
    n_sweeps: int = 15,
    random_state: int = 0,
    start: Bootstrap | None = None,
    after_each: Callable[[Bootstrap], None] | None = None,
) -> Bootstrap:
    """Add hierarchies until the composite converges as fast as desired.

    Parameters
    ----------
    matrix : csr_array of shape (n, n)
        Symmetric positive definite.
    options : HierarchyOptions, optional
    composite : {'multiplicative', 'symmetrised', 'additive'}
    max_hierarchies : int
    desired_ratio : float
        Convergence ratio at which to stop, between 0 and 1.
    n_sweeps : int
        Sweeps of the composite on each random start.
    random_state : int
        Seed; the start of each hierarchy's vector depends on it and the number of the hierarchy alone.
    start : Bootstrap, optional
        Go on from here.
    after_each : callable, optional
        Called with what there is after every hierarchy.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> path = sp.diags_array([-np.ones(99), 2.0 * np.ones(100), -np.ones(99)], offsets=[-1, 0, 1], format="csr")
    >>> found = bootstrap(path, max_hierarchies=3)
    >>> found.smooth_vectors.shape, bool(found.ratios[0] > found.ratios[2])
    ((100, 4), True)
    """
    options = HierarchyOptions() if options is None else options
    options.check()
    check_choice(composite, "composite", COMPOSITES)
    check_integer(max_hierarchies, "max_hierarchies", minimum=1)
    check_number(desired_ratio, "desired_ratio", above=0, below=1)
    check_integer(n_sweeps, "n_sweeps", minimum=1)
    vectors = [np.ones(matrix.shape[0])] if start is None else list(start.smooth_vectors.T)
    ratios = [] if start is None else start.ratios.tolist()
    hierarchies = [] if start is None else list(start.composite.hierarchies)
    while len(ratios) < max_hierarchies and (not ratios or ratios[-1] > desired_ratio):
        hierarchies.append(build_hierarchy(matrix, vectors[-1], options))
        current = Composite(matrix, list(hierarchies), composite)
        generator = np.random.default_rng([random_state, len(hierarchies)])
        ratio, left = current.convergence_ratio(n_sweeps, generator)
        ratios.append(ratio)
        if ratio > 0:
            vectors.append(left)
        found = Bootstrap(current, np.column_stack(vectors), np.array(ratios))
        if after_each is not None:
            after_each(found)
    return found

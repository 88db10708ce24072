"""What the heat-geodesic dissimilarity is compared with: powers of a random walk, diffusion maps, PHATE's potential.

Isomap's shortest paths are `semigroup.operators.shortest_path_distances`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float
from sklearn.metrics.pairwise import euclidean_distances

from semigroup.base import check_choice, check_integer
from semigroup.manifolds.heat_geodesic.dissimilarity import heat_geodesic_dissimilarity
from semigroup.operators import transition_matrix

__all__ = [
    "diffusion_map",
    "potential_distances",
    "potential_time",
    "random_walk_geodesic",
    "random_walk_kernel",
]


def random_walk_kernel(
    affinity: sp.csr_array, n_steps: int, kind: Literal["transition", "affinity", "symmetric"] = "transition"
) -> Float[np.ndarray, "n n"]:
    r"""A power of the walk on a graph whose points keep themselves with affinity 1.

    With :math:`A = W + I` and degrees D: :math:`P^t = (D^{-1} A)^t` (``'transition'``), :math:`A^t` (``'affinity'``), or
    :math:`D^{1/2} P^t D^{-1/2}`, which is symmetric (``'symmetric'``).

    Examples
    --------
    >>> random_walk_kernel(sp.csr_array([[0.0, 1.0], [1.0, 0.0]]), 3)
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    n_steps = check_integer(n_steps, "n_steps", minimum=1)
    check_choice(kind, "kind", ("transition", "affinity", "symmetric"))
    kept = sp.csr_array(affinity + sp.eye_array(affinity.shape[0], format="csr"))
    if kind == "affinity":
        return np.linalg.matrix_power(kept.toarray(), n_steps)
    power = np.linalg.matrix_power(transition_matrix(kept).toarray(), n_steps)
    if kind == "symmetric":
        root = np.sqrt(np.asarray(kept.sum(axis=1)).ravel())
        power = root[:, None] * power / root
    return power


def random_walk_geodesic(
    affinity: sp.csr_array,
    n_steps: int,
    *,
    kind: Literal["transition", "affinity", "symmetric"] = "transition",
    volume_correction: float = 1.0,
) -> Float[np.ndarray, "n n"]:
    """The heat-geodesic dissimilarity with a walk's power in the place of the heat kernel."""
    kernel = random_walk_kernel(affinity, n_steps, kind)
    return heat_geodesic_dissimilarity(kernel, float(n_steps), volume_correction=volume_correction)


def diffusion_map(affinity: sp.csr_array, n_steps: int, n_components: int | None = None) -> Float[np.ndarray, "n k"]:
    r"""Coordinates :math:`\lambda_k^t \psi_k`, whose Euclidean distances are diffusion distances.

    Parameters
    ----------
    affinity : csr_array of shape (n, n)
        Symmetric; a point's affinity with itself, 1, is added.
    n_steps : int
        t.
    n_components : int, optional
        All n - 1 but the constant one if not given.

    References
    ----------
    R. R. Coifman, S. Lafon, "Diffusion maps", Applied and Computational Harmonic Analysis 21 (2006).
    """
    n_steps = check_integer(n_steps, "n_steps", minimum=1)
    kept = sp.csr_array(affinity + sp.eye_array(affinity.shape[0], format="csr"))
    root = np.sqrt(np.asarray(kept.sum(axis=1)).ravel())
    values, vectors = np.linalg.eigh(kept.toarray() / root[:, None] / root)
    order = np.argsort(-np.abs(values))[1 : None if n_components is None else n_components + 1]
    # Right eigenvectors of P, orthonormal in the stationary law.
    return values[order] ** n_steps * vectors[:, order] * np.linalg.norm(root) / root[:, None]


def potential_distances(affinity: sp.csr_array, n_steps: int, floor: float = 1e-7) -> Float[np.ndarray, "n n"]:
    r"""PHATE's :math:`\lVert \log P^t_{i\cdot} - \log P^t_{j\cdot}\rVert`."""
    potential = np.log(random_walk_kernel(affinity, n_steps) + floor)
    return euclidean_distances(potential)


def potential_time(affinity: sp.csr_array, max_steps: int = 100) -> int:
    """The number of steps that PHATE chooses: the knee of the von Neumann entropy.

    The knee is where two straight lines, one on either side, fit the curve of entropies best.
    """
    kept = sp.csr_array(affinity + sp.eye_array(affinity.shape[0], format="csr"))
    root = np.sqrt(np.asarray(kept.sum(axis=1)).ravel())
    values = np.abs(np.linalg.eigvalsh(kept.toarray() / root[:, None] / root))
    steps = np.arange(max_steps)
    powers = values ** (steps[:, None] + 1)
    powers = powers / powers.sum(axis=1, keepdims=True)
    entropy = -(powers * np.log(powers + np.finfo(float).eps)).sum(axis=1)

    def misfit(cut: int) -> float:
        error = 0.0
        for part in (slice(0, cut), slice(cut - 1, None)):
            line = np.polynomial.Polynomial.fit(steps[part], entropy[part], 1)
            error += float(np.abs(line(steps[part]) - entropy[part]).sum())
        return error

    return min(range(2, max_steps - 1), key=misfit)

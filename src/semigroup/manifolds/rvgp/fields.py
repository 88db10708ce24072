r"""Vector fields on point clouds: diffusion, singularities, divergence and curl, and how far two fields agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from sklearn.neighbors import NearestNeighbors

from semigroup.base import check_array, check_integer, check_number, numpy_generator
from semigroup.manifolds.rvgp.bundle import TangentBundle
from semigroup.operators import common_offset, eigenpairs, heat, spectral_interval

__all__ = [
    "alignment",
    "divergence_and_curl",
    "mean_cosine",
    "random_field",
    "relative_error",
    "singularities_kept",
    "vector_heat",
    "winding_number",
]

TOL = 1e-12  # of the diffusion, relative to where it starts


def vector_heat(
    bundle: TangentBundle, vectors: Float[np.ndarray, "n D"], time: float, known: Any = None
) -> Float[np.ndarray, "n D"]:
    r"""Spread tangent vectors over a cloud by the vector heat method.

    Directions come from the diffusion of vectors, :math:`e^{-tL_c} x_0`, lengths from that of scalars,
    :math:`e^{-tL}\lVert x_0\rVert / e^{-tL} 1`, so that vectors of one length keep it.

    Parameters
    ----------
    bundle : TangentBundle
    vectors : array of shape (n, D)
    time : float
        t, in units of one over the eigenvalues of the Laplacian of the graph.
    known : bool array of shape (n,), optional
        Where vectors are given; what stands elsewhere is not looked at. Everywhere if not given.

    Returns
    -------
    array of shape (n, D)
        Tangent vectors. The field is discontinuous where it would have to vanish.

    References
    ----------
    N. Sharp, Y. Soliman, K. Crane, "The vector heat method", ACM Transactions on Graphics 38 (2019).
    """
    time = check_number(time, "time", above=0)
    given = np.ones(bundle.n_points, dtype=bool) if known is None else check_array(known, "known", ndim=1, dtype=bool)
    if len(given) != bundle.n_points or not given.any():
        raise ValueError(
            f"known must say of each of the {bundle.n_points} points whether it has a vector, and one must"
        )
    start = np.where(given[:, None], bundle.coordinates(np.where(given[:, None], vectors, 0.0)), 0.0)
    moved = _diffuse(bundle.connection_laplacian, time, start.ravel()).reshape(start.shape)
    sizes = heat(bundle.laplacian, time, np.column_stack([np.linalg.norm(start, axis=1), given.astype(float)]), tol=TOL)
    length = np.linalg.norm(moved, axis=1)
    reached = (length > 1e4 * TOL * length.max()) & (sizes[:, 1] > 1e4 * TOL)
    if not reached.all():
        raise ValueError(f"time is {time:g}, too short for the vectors to reach point {int(reached.argmin())}")
    return bundle.vectors(moved * (sizes[:, 0] / sizes[:, 1] / length)[:, None])


def _diffuse(operator: sp.csr_array, time: float, start: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    r""":math:`e^{-tL} x` up to a factor, with its digits right where the factor is tiny.

    The decay of the slowest mode is taken out, and the way is gone in steps over which nothing that is left decays or grows much
    by the uncertainty of the spectrum's lower end.
    """
    slowest = float(eigenpairs(operator, 1).values[0])
    shifted = operator - slowest * sp.eye_array(operator.shape[0], format="csr")
    n_steps = int(np.ceil(time * spectral_interval(operator)[1] / 300))
    for _ in range(n_steps):
        start = heat(shifted, time / n_steps, start, tol=TOL)
    return start


def random_field(bundle: TangentBundle, time: float = 100.0, *, random_state: Any = None) -> Float[np.ndarray, "n D"]:
    """A smooth field of unit tangent vectors: random ones after `vector_heat`.

    Parameters
    ----------
    bundle : TangentBundle
    time : float
        The longer, the smoother.
    random_state : int, Generator or None

    Examples
    --------
    >>> from semigroup.data.manifolds import fibonacci_sphere
    >>> from semigroup.manifolds.rvgp import tangent_bundle
    >>> field = random_field(tangent_bundle(fibonacci_sphere(100)), 10.0, random_state=0)
    >>> np.linalg.norm(field, axis=1).round(6).max()
    np.float64(1.0)
    """
    start = bundle.coordinates(numpy_generator(random_state).uniform(-0.5, 0.5, size=bundle.points.shape))
    return vector_heat(bundle, bundle.vectors(start / np.linalg.norm(start, axis=1, keepdims=True)), time)


def winding_number(
    points: Float[np.ndarray, "n D"],
    vectors: Float[np.ndarray, "n D"],
    loops: Int[np.ndarray, "loops length"],
    planes: Float[np.ndarray, "loops D 2"] | None = None,
) -> Int[np.ndarray, " loops"]:
    """Turns that a field makes along loops: the index of the singularities of a surface's field that they enclose.

    Parameters
    ----------
    points, vectors : array of shape (n, D)
    loops : int array of shape (loops, length)
        Points of each closed loop; their order along it is found here, by the angle around their mean.
    planes : array of shape (loops, D, 2), optional
        Orthonormal frame of the tangent plane in which the turns are counted; by default the two directions in which the
        loop's points spread most.

    Returns
    -------
    int array of shape (loops,)
        1 at a source, sink or centre, -1 at a saddle, 0 where there is no singularity.

    Examples
    --------
    >>> square = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    >>> saddle = square * [1.0, -1.0]
    >>> around = np.array([[0, 1, 2, 3]])
    >>> winding_number(square, square, around), winding_number(square, saddle, around)
    (array([1]), array([-1]))
    """
    places = points[loops] - points[loops].mean(axis=1, keepdims=True)
    if planes is None:
        planes = np.swapaxes(np.linalg.svd(places, full_matrices=False)[2][:, :2], 1, 2)
    order = np.argsort(_angles(places, planes), axis=1, kind="stable")
    angles = _angles(vectors[np.take_along_axis(loops, order, axis=1)], planes)
    turns = np.diff(angles, axis=1, append=angles[:, :1])
    turns -= 2 * np.pi * np.round(turns / (2 * np.pi))
    return np.rint(turns.sum(axis=1) / (2 * np.pi)).astype(np.int64)


def _angles(vectors: np.ndarray, planes: np.ndarray) -> Float[np.ndarray, "loops length"]:
    flat = np.einsum("lkd,lda->lka", vectors, planes)
    return np.arctan2(flat[..., 1], flat[..., 0])


def singularities_kept(
    points: Float[np.ndarray, "n D"],
    triangles: Int[np.ndarray, "triangles 3"],
    predicted: Float[np.ndarray, "n D"],
    truth: Float[np.ndarray, "n D"],
    radius: float,
) -> tuple[int, int, int]:
    """How many singularities of a field on a triangulated surface a prediction keeps.

    Parameters
    ----------
    points, predicted, truth : array of shape (n, D)
    triangles : int array of shape (triangles, 3)
    radius : float
        A singularity is kept where the prediction has one of the same index within this distance.

    Returns
    -------
    kept, true, found : int
        Singularities kept, those of the truth, and those of the prediction.
    """
    middle = points[triangles].mean(axis=1)
    true, found = (winding_number(points, field, triangles) for field in (truth, predicted))
    at_truth, at_found = np.flatnonzero(true), np.flatnonzero(found)
    near = np.linalg.norm(middle[at_truth][:, None] - middle[at_found], axis=2) <= radius
    same = true[at_truth][:, None] == found[at_found]
    return int((near & same).any(axis=1).sum()), len(at_truth), len(at_found)


def divergence_and_curl(
    points: Any, vectors: Any, *, n_neighbors: int = 5, dimension: int = 2, unit: bool = True
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n 3"]]:
    r"""Sources, sinks and spirals of a field on a cloud in space.

    With the differences :math:`d_{ij} = x_i - x_j` and :math:`\delta_{ij} = v_i - v_j` to the nearest neighbours i of j,

    .. math:: \mathrm{div}_j = \frac{m}{|N(j)|}\sum_{i \in N(j)} \frac{\langle \delta_{ij}, d_{ij}\rangle}{\lVert d_{ij}\rVert^2},
              \qquad
              \mathrm{curl}_j = \frac{m}{|N(j)|}\sum_{i \in N(j)} \frac{d_{ij} \times \delta_{ij}}{\lVert d_{ij}\rVert^2}

    which are the divergence and the curl of a linear field whose neighbours lie evenly in all m directions.

    Parameters
    ----------
    points, vectors : array of shape (n, 3)
    n_neighbors : int
    dimension : int
        m.
    unit : bool
        Take the directions of the vectors only, as the analysis of phase flow does.

    Returns
    -------
    divergence : array of shape (n,)
        Per unit of length.
    curl : array of shape (n, 3)
        On a surface, along its normal.

    Examples
    --------
    >>> plane = np.array([[x, y, 0.0] for x in range(5) for y in range(5)])
    >>> turning = np.cross([0.0, 0.0, 1.0], plane)
    >>> divergence, curl = divergence_and_curl(plane, turning, n_neighbors=4, unit=False)
    >>> divergence[12], curl[12]
    (np.float64(0.0), array([0., 0., 2.]))
    """
    points = check_array(points, "points", ndim=2, n_columns=3, min_rows=2)
    vectors = check_array(vectors, "vectors", ndim=2, n_columns=3)
    if len(vectors) != len(points):
        raise ValueError(f"vectors must be one for each of the {len(points)} points, got {len(vectors)}")
    n_neighbors = check_integer(n_neighbors, "n_neighbors", minimum=1, maximum=len(points) - 1)
    dimension = check_integer(dimension, "dimension", minimum=1, maximum=3)
    if unit:
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    search = NearestNeighbors(n_neighbors=n_neighbors).fit(points - common_offset(points))
    around = search.kneighbors(return_distance=False)
    steps, changes = points[around] - points[:, None], vectors[around] - vectors[:, None]
    square = (steps**2).sum(axis=2)
    if not square.all():
        raise ValueError(f"points {int((square == 0).any(axis=1).argmax())} and a neighbour of it coincide")
    divergence = dimension * ((steps * changes).sum(axis=2) / square).mean(axis=1)
    return divergence, dimension * (np.cross(steps, changes) / square[..., None]).mean(axis=1)


def mean_cosine(predicted: Float[np.ndarray, "n D"], truth: Float[np.ndarray, "n D"]) -> float:
    """Mean cosine of the angle between two fields, over the points where neither vanishes."""
    product = np.linalg.norm(predicted, axis=1) * np.linalg.norm(truth, axis=1)
    inner = (predicted * truth).sum(axis=1)
    return float((inner[product > 0] / product[product > 0]).mean())


def relative_error(predicted: Float[np.ndarray, "n D"], truth: Float[np.ndarray, "n D"]) -> float:
    r""":math:`\lVert \hat V - V\rVert_F / \lVert V\rVert_F`."""
    return float(np.linalg.norm(predicted - truth) / np.linalg.norm(truth))


def alignment(predicted: Float[np.ndarray, "n D"], truth: Float[np.ndarray, "n D"]) -> float:
    """Mean inner product of two fields: 1 where unit vectors agree, less where one of them shrinks."""
    return float((predicted * truth).sum(axis=1).mean())

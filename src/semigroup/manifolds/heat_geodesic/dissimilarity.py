"""The heat-geodesic dissimilarity and its variants, from a heat kernel."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float
from sklearn.metrics.pairwise import euclidean_distances

from semigroup.base import check_choice, check_number

__all__ = [
    "Truncation",
    "heat_geodesic_dissimilarity",
    "log_normalised_dissimilarity",
    "multiscale_weights",
    "stress_weights",
    "symmetrise",
    "triplet_dissimilarity",
    "truncate",
    "truncation_range",
]

FLOOR = 1e-16
Truncation = Literal["none", "max", "min", "quantile-max", "quantile-min"]
TRUNCATIONS = ("none", "max", "min", "quantile-max", "quantile-min")
Weighting = Literal["none", "heat", "inverse-distance", "gaussian"]


def heat_geodesic_dissimilarity(
    kernel: Float[np.ndarray, "n m"],
    time: float,
    *,
    volume_correction: float = 1.0,
    diagonals: tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"]] | None = None,
    power: float = 1.0,
    floor: float = FLOOR,
) -> Float[np.ndarray, "n m"]:
    r"""Distances by which a heat kernel says that points are apart.

    .. math::
        d_t(i, j)^2 = -4t \log(H_{ij} + \epsilon) + 4t \sigma \log \tfrac12 (H_{ii} + H_{jj})

    The first term is Varadhan's, whose limit for :math:`t \to 0` on a manifold is the squared geodesic distance; the second,
    from the parabolic Harnack inequality, takes away what the volume around the points adds to it.

    Parameters
    ----------
    kernel : array of shape (n, m)
        :math:`H_t`, or some of its columns.
    time : float
        :math:`t`.
    volume_correction : float
        :math:`\sigma \ge 0`; 0 is Varadhan's formula alone.
    diagonals : pair of arrays of shape (n,) and (m,), optional
        :math:`H_{ii}` of the rows and :math:`H_{jj}` of the columns; the diagonal of `kernel`, which must be square, if not
        given.
    power : float
        p > 0 in :math:`d^p`; 2 gives :math:`-4t \log H` itself.
    floor : float
        :math:`\epsilon > 0`.

    Returns
    -------
    array of shape (n, m)
        Zero where the squared distance would be negative. Its diagonal is not zero unless :math:`\sigma = 1`.

    References
    ----------
    G. Huguet et al., "A Heat Diffusion Perspective on Geodesic Preserving Dimensionality Reduction", NeurIPS 2023.

    Examples
    --------
    On a line, the number of steps:

    >>> from semigroup.operators.topology import path
    >>> from semigroup.manifolds.heat_geodesic import heat_kernel
    >>> kernel = heat_kernel(path(400).adjacency, 200.0, method="exact")
    >>> heat_geodesic_dissimilarity(kernel, 200.0)[200, [203, 210, 240]].round(1)
    array([ 3., 10., 40.])
    """
    time = check_number(time, "time", above=0)
    sigma = check_number(volume_correction, "volume_correction", minimum=0)
    power = check_number(power, "power", above=0)
    floor = check_number(floor, "floor", above=0)
    squared = np.log(kernel + floor)
    if sigma > 0:
        rows, columns = diagonals if diagonals is not None else (np.diag(kernel), np.diag(kernel))
        squared -= sigma * np.log((rows[:, None] + columns) / 2 + floor)
    squared *= -4 * time
    np.maximum(squared, 0, out=squared)
    return squared ** (power / 2) if power != 1 else np.sqrt(squared, out=squared)


def log_normalised_dissimilarity(
    kernel: Float[np.ndarray, "n m"], time: float, *, power: float = 1.0, floor: float = FLOOR
) -> Float[np.ndarray, "n m"]:
    r""":math:`(\log(H_{ij} + \epsilon) / \log(t + \epsilon))^p`: for :math:`t \to 0` the number of edges between i and j.

    Parameters
    ----------
    kernel : array of shape (n, m)
    time : float
        In (0, 1), where the logarithm is negative; for backward Euler, one step :math:`t / K`.
    power : float
    floor : float

    Examples
    --------
    >>> from semigroup.operators.topology import path
    >>> from semigroup.manifolds.heat_geodesic import heat_kernel
    >>> kernel = heat_kernel(path(9).adjacency, 1e-9, method="positive")
    >>> log_normalised_dissimilarity(kernel, 1e-9, floor=1e-300)[0, [1, 4, 8]].round(1)
    array([1. , 4.2, 8.5])
    """
    time = check_number(time, "time", above=0, below=1)
    power = check_number(power, "power", above=0)
    ratio = np.log(kernel + floor) / np.log(time + floor)
    return np.maximum(ratio, 0) ** power


def multiscale_weights(times: Float[np.ndarray, " scales"]) -> Float[np.ndarray, " scales"]:
    r"""Weights :math:`\propto 1 - \tau_m / \sum \tau` of the dissimilarities at several times, which sum to one.

    Examples
    --------
    >>> multiscale_weights(np.array([1.0, 3.0]))
    array([0.75, 0.25])
    """
    weights = 1 - times / times.sum() if len(times) > 1 else np.ones(1)
    return weights / weights.sum()


def truncation_range(distances: Float[np.ndarray, "n n"], level: float, kind: Truncation) -> Float[np.ndarray, " 3"]:
    """Least and largest distance and, on the scale from 0 to 1 between them, where `truncate` cuts."""
    low, high = distances.min(), distances.max()
    cut = (np.quantile(distances, level) - low) / ((high - low) or 1.0) if kind.startswith("quantile") else level
    return np.array([low, high, cut])


def truncate(
    distances: Float[np.ndarray, "n m"], limits: Float[np.ndarray, " 3"], kind: Truncation
) -> Float[np.ndarray, "n m"]:
    """Scale distances to [0, 1] and cut: above a level to 1 ('max'), below it to 0 ('min').

    Parameters
    ----------
    distances : array of shape (n, m)
    limits : array of shape (3,)
        Of `truncation_range`.
    kind : {'none', 'max', 'min', 'quantile-max', 'quantile-min'}
        The last two cut at a quantile; ``'none'`` changes nothing.

    Examples
    --------
    >>> distances = np.array([[0.0, 2.0], [2.0, 4.0]])
    >>> truncate(distances, truncation_range(distances, 0.4, "max"), "max")
    array([[0., 1.],
           [1., 1.]])
    """
    check_choice(kind, "kind", TRUNCATIONS)
    if kind == "none":
        return distances
    low, high, cut = limits
    scaled = (distances - low) / ((high - low) or 1.0)
    if kind.endswith("min"):
        return np.where(scaled < cut, 0.0, scaled)
    return np.where(scaled > cut, 1.0, scaled)


def symmetrise(distances: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """The larger of both directions, and zero from a point to itself."""
    result = np.maximum(distances, distances.T)
    np.fill_diagonal(result, 0)
    return result


def triplet_dissimilarity(
    rows: Float[np.ndarray, "n m"], anchors: Float[np.ndarray, "k m"], n_points: int | None = None
) -> Float[np.ndarray, "n k"]:
    r""":math:`D_T(i, j) = \lVert D_{i\cdot} - D_{j\cdot}\rVert_2`: points are as different as their views of all others.

    Parameters
    ----------
    rows : array of shape (n, m)
        Distances of each point to m others.
    anchors : array of shape (k, m)
        The same for the points to compare with.
    n_points : int, optional
        Number of points that the m others stand for; m if not given.

    Examples
    --------
    >>> line = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]])
    >>> triplet_dissimilarity(line, line)[0].round(3)
    array([0.   , 1.732, 2.828])
    """
    scale = np.sqrt((n_points or rows.shape[1]) / rows.shape[1])
    return scale * euclidean_distances(rows, anchors)


def stress_weights(
    kind: Weighting,
    distances: Float[np.ndarray, "n m"],
    kernel: Float[np.ndarray, "n m"],
    parameter: float = 1.0,
) -> Float[np.ndarray, "n m"] | None:
    r"""How much each pair counts in the stress of an embedding.

    ======================  ====================================================================================
    kind                    weight
    ======================  ====================================================================================
    ``'none'``              1 (None is returned)
    ``'heat'``              :math:`H_{ij} + 10^{-5}`: near pairs count, as in stochastic neighbour embedding
    ``'inverse-distance'``  :math:`d_{ij}^{-a}`, distances below a thousandth of the mean counted as that
    ``'gaussian'``          :math:`\exp(-\tilde d_{ij}^2 / a)`, :math:`\tilde d` scaled to [0, 1] by the largest
    ======================  ====================================================================================
    """
    check_choice(kind, "kind", ("none", "heat", "inverse-distance", "gaussian"))
    parameter = check_number(parameter, "parameter", above=0)
    if kind == "none":
        return None
    if kind == "heat":
        return kernel + 1e-5
    if kind == "inverse-distance":
        return np.maximum(distances, 1e-3 * (distances.mean() or 1.0)) ** -parameter
    return np.exp(-((distances / (distances.max() or 1.0)) ** 2) / parameter)

"""VectorFieldGP on a file: the field at every point, its uncertainty, and how well it does on vectors held back.

The input is a table whose numeric columns are first the coordinates of the points, then as many components of the vectors; an
npz or HDF5 file with the arrays ``X`` and ``V`` (or ``points`` and ``vectors``); or two files, points and vectors. Vectors of NaN
are to be predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.interpolate import RBFInterpolator
from scipy.spatial import ConvexHull

from semigroup.base import check_array, numpy_generator
from semigroup.data.files import read_array, read_arrays, read_table
from semigroup.data.manifolds import bumpy_sphere
from semigroup.jobs import Context, Outcome, Picture
from semigroup.manifolds.rvgp import (
    VectorFieldGP,
    divergence_and_curl,
    mean_cosine,
    random_field,
    relative_error,
    tangent_bundle,
)
from semigroup.report.figures import COLORS, new_figure

__all__ = ["Arrows", "perform", "read"]

HELD_OUT = 0.2
VIEW = (20.0, -95.0)  # elevation and azimuth, degrees
TABLES = (".csv", ".tsv", ".txt", ".parquet", ".gz")


@dataclass(frozen=True)
class Arrows:
    """The input of a run.

    Attributes
    ----------
    points : ndarray of shape (n, D)
    vectors : ndarray of shape (n, D)
        Rows of NaN are to be predicted.
    names : tuple of str
        Of the D coordinates, then of the D components.
    truth : ndarray of shape (n, D) or None
        The whole field, where it is known.
    """

    points: np.ndarray
    vectors: np.ndarray
    names: tuple[str, ...]
    truth: np.ndarray | None = None


def read(files: Sequence[Path]) -> Arrows:
    """The user's arrows; noisy ones at a fifth of the points of a bumpy surface, with a hole, where there are no files."""
    if not files:
        return _example()
    if len(files) > 2:
        raise ValueError(
            f"{files[2]}: one file (points and vectors) or two (points, vectors) are wanted, got {len(files)}"
        )
    if len(files) == 2:
        return _checked(read_array(files[0]), read_array(files[1]), None, Path(files[1]))
    path = Path(files[0])
    if path.suffix.lower() in TABLES:
        table = read_table(path).select_dtypes("number")
        return _split(table.to_numpy(dtype=np.float64), tuple(map(str, table.columns)), path)
    arrays = read_arrays(path)
    for points, vectors in (("X", "V"), ("points", "vectors")):
        if {points, vectors} <= set(arrays):
            return _checked(arrays[points], arrays[vectors], None, path)
    return _split(read_array(path), None, path)


def _split(array: np.ndarray, names: tuple[str, ...] | None, path: Path) -> Arrows:
    """Coordinates and components out of one array."""
    if array.ndim != 2 or array.shape[1] < 2 or array.shape[1] % 2:
        raise ValueError(
            f"{path}: columns must be the coordinates of points and as many components of vectors, got shape {array.shape}"
        )
    half = array.shape[1] // 2
    return _checked(array[:, :half], array[:, half:], names, path)


def _checked(points: Any, vectors: Any, names: tuple[str, ...] | None, path: Path) -> Arrows:
    points = check_array(points, f"{path}: points", ndim=2)
    vectors = np.asarray(vectors)
    if vectors.shape != points.shape:
        raise ValueError(f"{path}: vectors must have the shape of the points, {points.shape}, got {vectors.shape}")
    missing = np.isnan(vectors.astype(np.float64)).all(axis=1)
    if missing.all():
        raise ValueError(f"{path}: no vector is given, all are NaN")
    check_array(vectors[~missing], f"{path}: vectors", ndim=2)
    axes = range(1, points.shape[1] + 1)
    default = (*(f"x{j}" for j in axes), *(f"v{j}" for j in axes))
    return Arrows(points, vectors.astype(np.float64), names or default)


def _example() -> Arrows:
    """A fifth of 600 vectors with noise of a tenth of their length, none of them around a singularity of the field."""
    generator = numpy_generator(0)
    points = bumpy_sphere(600)
    bundle = tangent_bundle(points)
    truth = random_field(bundle, 20.0, random_state=generator)
    hidden = generator.permutation(600)[:480]
    noise = bundle.vectors(0.1 / np.sqrt(2) * generator.normal(size=(600, 2)))
    vectors = truth + noise
    vectors[hidden] = np.nan
    # The neighbours of a singularity point in all directions. Of those in view, the most singular one becomes a hole.
    coherence = np.linalg.norm(bundle.adjacency @ truth, axis=1) / bundle.adjacency.sum(axis=1)
    facing = points @ _direction() > 0.6
    centre = points[np.flatnonzero(facing)[coherence[facing].argmin()]]
    vectors[np.linalg.norm(points - centre, axis=1) < 0.3] = np.nan
    return Arrows(points, vectors, ("x", "y", "z", "v_x", "v_y", "v_z"), truth)


def perform(estimator: VectorFieldGP, data: Arrows, context: Context) -> Outcome:
    """Judge the prediction on vectors held back, or on the truth where it is known; then predict from all of them."""
    observed = np.flatnonzero(~np.isnan(data.vectors).any(axis=1))
    if data.truth is None:
        order = numpy_generator(0).permutation(observed)
        n_test = max(1, int(HELD_OUT * len(observed)))
        test, train = np.sort(order[:n_test]), np.sort(order[n_test:])
        judged, words = data.vectors[test], "held-out"
    else:
        test, train = np.setdiff1d(np.arange(len(data.points)), observed), observed
        judged, words = data.truth[test], "hidden"
    if not len(train):
        raise ValueError("at least two vectors are needed, one to learn from and one to judge by")
    estimator.fit(data.points, data.vectors, observed=train)
    predicted = estimator.predict(test)
    spline = _thin_plate(data.points[train], data.vectors[train], data.points[test])
    metrics: dict[str, float] = {
        "relative_error": relative_error(predicted, judged),
        "relative_error_thin_plate": relative_error(spline, judged),
        "mean_cosine": mean_cosine(predicted, judged),
        "mean_cosine_thin_plate": mean_cosine(spline, judged),
    }
    if data.truth is None:
        estimator.refit(data.vectors, observed=observed)
    mean, covariance = estimator.predict(return_cov=True)
    deviation = np.sqrt(np.trace(covariance, axis1=1, axis2=2))
    metrics |= {
        "points": len(data.points),
        "observed_vectors": len(observed),
        "dimension": estimator.dimension_,
        "normal_fraction": estimator.normal_fraction_,
        "noise_deviation": float(np.sqrt(estimator.noise_variance_)),
        "kappa": estimator.kappa_,
        "log_marginal_likelihood": estimator.log_marginal_likelihood_,
        "smallest_eigenvalue": float(estimator.eigenvalues_[0]),
    }
    arrays = {"points": data.points, "mean": mean, "covariance": covariance, "observed": observed, "judged": test}
    table = pd.DataFrame(np.hstack([data.points, mean]), columns=list(data.names))
    if data.points.shape[1] == 3 and estimator.dimension_ == 2:
        divergence, curl = divergence_and_curl(data.points, mean)
        normal = np.cross(estimator.frames_[:, :, 0], estimator.frames_[:, :, 1])
        table["divergence"], table["curl"] = divergence, np.abs((curl * normal).sum(axis=1))
    table["standard_deviation"] = deviation
    table["observed"] = np.isin(np.arange(len(mean)), observed)
    summary = (
        f"A field on a {estimator.dimension_}-dimensional manifold in {data.points.shape[1]} coordinates, learnt from "
        f"{len(observed)} of {len(data.points)} vectors. On {len(test)} {words} ones its relative error is "
        f"{metrics['relative_error']:.3f} (thin-plate spline in space: {metrics['relative_error_thin_plate']:.3f})."
    )
    caption = _FIELD_CAPTION[data.truth is not None]
    if data.points.shape[1] > 2:
        caption += " Points on the far side are left out."
    if data.points.shape[1] > 3:
        caption += " Of the coordinates the three directions are shown in which the points spread most."
    pictures = {"field": Picture(_draw_field(data, observed, mean, deviation), caption)}
    pictures["spectrum"] = Picture(_draw_spectrum(estimator), _SPECTRUM_CAPTION)
    return Outcome(estimator, summary, metrics, arrays, {"field": table}, pictures)


def _thin_plate(points: np.ndarray, vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Thin-plate spline of each component over space; of the nearest 200 vectors where there are many."""
    if len(points) <= points.shape[1] + 1:  # the spline's linear part needs more
        return np.repeat(vectors.mean(axis=0, keepdims=True), len(queries), axis=0)
    return RBFInterpolator(points, vectors, neighbors=200 if len(points) > 1000 else None)(queries)


# --- figures -------------------------------------------------------------------------------------------------------------


_FIELD_CAPTION = {
    True: "Left: the vectors observed, with noise; the patch without any is a hole. Middle: the field predicted everywhere, the "
    "lighter, the more uncertain. Right: the truth, coloured by the length of the error.",
    False: "Left: the vectors observed. Right: the field predicted everywhere, the lighter, the more uncertain.",
}
_SPECTRUM_CAPTION = (
    "Eigenvalues of the connection Laplacian against the prior variance that the learnt kernel gives to each eigenvector, and "
    "the squared weight that it has in the field."
)


def _draw_field(data: Arrows, observed: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> Figure:
    axes_of_space = np.eye(data.points.shape[1], max(2, data.points.shape[1]))  # a line is drawn in a plane
    if data.points.shape[1] > 3:  # drawn in the three directions in which the points spread most
        axes_of_space = np.linalg.svd(data.points - data.points.mean(axis=0), full_matrices=False)[2][:3].T
    points, flat = data.points @ axes_of_space, data.points.shape[1] < 3
    visible = np.arange(len(points)) if flat else _visible(points)
    panels = 2 if data.truth is None else 3
    figure, axes = new_figure(
        1,
        panels,
        width=4.4 * panels,
        height=4.3,
        subplot_kw=None if flat else {"projection": "3d", "computed_zorder": False},
    )
    shown = np.intersect1d(observed, visible)
    length = 1.6 * np.median(_nearest_distance(points)) / np.median(np.linalg.norm(mean, axis=1))
    for ax in axes[0]:
        ax.scatter(*points[visible].T, s=3, color="0.8", zorder=1)
        ax.set_aspect("equal")
        if flat:
            continue
        ax.view_init(*VIEW)
        ax.set_box_aspect(np.ptp(points, axis=0), zoom=1.4)
        ax.set_axis_off()
    _arrows(axes[0, 0], points[shown], length * data.vectors[shown] @ axes_of_space, color=COLORS[0])
    axes[0, 0].set_title(f"{len(observed)} vectors observed")
    _colour(
        figure,
        axes[0, 1],
        points[visible],
        length * mean[visible] @ axes_of_space,
        deviation[visible],
        "standard deviation",
    )
    axes[0, 1].set_title("predicted")
    if data.truth is not None:
        error = np.linalg.norm(mean - data.truth, axis=1)[visible]
        _colour(
            figure,
            axes[0, 2],
            points[visible],
            length * data.truth[visible] @ axes_of_space,
            error,
            "error of the prediction",
        )
        axes[0, 2].set_title("truth")
    return figure


def _colour(figure: Figure, ax: Any, points: np.ndarray, arrows: np.ndarray, values: np.ndarray, label: str) -> None:
    """Arrows with a colour each, and the bar that explains it."""
    top = float(np.quantile(values, 0.98))
    shades = ax.scatter(*points.T, c=values, s=14, vmin=0, vmax=top, cmap="viridis", zorder=2)
    _arrows(ax, points, arrows, color=shades.cmap(np.clip(values / top, 0, 1)))
    figure.colorbar(shades, ax=ax, label=label, shrink=0.6, extend="max")


def _arrows(ax: Any, points: np.ndarray, arrows: np.ndarray, color: Any) -> None:
    if points.shape[1] == 3:
        # All shafts come first, then the left strokes of all heads, then the right ones.
        color = np.tile(color, (3, 1)) if isinstance(color, np.ndarray) else color
        ax.quiver(*points.T, *arrows.T, color=color, linewidth=1.3, arrow_length_ratio=0.4, zorder=3)
    else:
        ax.quiver(*points.T, *arrows.T, color=color, angles="xy", scale_units="xy", scale=1, zorder=3)


def _direction() -> np.ndarray:
    """Unit vector towards the eye."""
    elevation, azimuth = np.deg2rad(VIEW)
    return np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])


def _visible(points: np.ndarray) -> np.ndarray:
    """Points seen from afar: those on the hull when all are turned inside out around the eye (Katz, Tal, Basri 2007)."""
    extent = np.ptp(points, axis=0).max()
    seen = points - points.mean(axis=0) - 4 * extent * _direction()
    distance = np.linalg.norm(seen, axis=1, keepdims=True)
    flipped = seen + 2 * (200 * extent - distance) * seen / distance
    return np.sort(np.setdiff1d(ConvexHull(np.vstack([flipped, np.zeros(3)])).vertices, [len(points)]))


def _nearest_distance(points: np.ndarray) -> np.ndarray:
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=1).fit(points).kneighbors()[0][:, 0]


def _draw_spectrum(estimator: VectorFieldGP) -> Figure:
    figure, axes = new_figure(width=5.4, height=3.4)
    ax = axes[0, 0]
    power = estimator.weights_**2
    ax.semilogy(
        estimator.eigenvalues_, np.maximum(power, 1e-12 * power.max()), ".", color=COLORS[4], label="squared weight"
    )
    ax.semilogy(estimator.eigenvalues_, estimator.prior_variances_, color=COLORS[0], label="prior variance")
    ax.set(xlabel="eigenvalue of the connection Laplacian", ylabel="squared units of the vectors")
    ax.legend()
    return figure

"""HeatGeodesic on a file: a map of a point cloud or of a weighted graph, beside what a baseline makes of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import euclidean_distances

from semigroup.base import numpy_generator
from semigroup.data.files import read_arrays, read_graph, read_points
from semigroup.data.manifolds import swiss_roll
from semigroup.jobs import Context, Outcome, Picture
from semigroup.manifolds.heat_geodesic import (
    HeatGeodesic,
    classical_scaling,
    geodesic_scores,
    metric_scaling,
    neighbour_precision,
    potential_distances,
    potential_time,
)
from semigroup.operators import Graph, check_connected, neighbour_graph, shortest_path_distances
from semigroup.report.figures import COLORS, new_figure

__all__ = ["Cloud", "perform", "read"]

BASELINE_UP_TO = 3000  # points: the baselines need whole matrices
N_DRAWN = 4000  # pairs in a picture of distances
GRAPH_FILES = (".graphml", ".mtx", ".edges", ".edgelist")


@dataclass(frozen=True)
class Cloud:
    """The input of a run.

    Attributes
    ----------
    data : array of shape (n, d), or Graph
    annotations : DataFrame of n rows
        What else is known of each point; the first column colours the map.
    geodesics : array of shape (n, n) or None
        The truth, of generated data.
    """

    data: np.ndarray | Graph
    annotations: pd.DataFrame
    geodesics: np.ndarray | None = None


def read(files: Sequence[Path]) -> Cloud:
    """A point cloud with its annotations, or a graph; a noisy Swiss roll in ten dimensions where there are no files."""
    if not files:
        roll = swiss_roll(500, n_features=10, noise=0.5, random_state=0)
        return Cloud(roll.points, pd.DataFrame({"arc length along the roll": roll.position}), roll.geodesics)
    if len(files) > 1:
        raise ValueError(f"{files[1]}: one file is wanted, points or a graph, got {len(files)}")
    path = Path(files[0])
    if _holds_graph(path):
        graph = read_graph(path)
        return Cloud(graph, pd.DataFrame(index=graph.names))
    cloud = read_points(path)
    return Cloud(cloud.points, cloud.annotations)


def _holds_graph(path: Path) -> bool:
    """By its ending; of npz, by the parts of a sparse matrix or a list of edges in it."""
    if path.suffix.lower() != ".npz" or not path.exists():
        return any(ending in path.name.lower() for ending in GRAPH_FILES)
    names = set(read_arrays(path))
    return "format" in names or {"indptr", "indices"} <= names or "edges" in names


def perform(estimator: HeatGeodesic, data: Cloud, context: Context) -> Outcome:
    """Fit; where the data are small enough, do the same with PHATE's potential distances; judge both where truth is known."""
    if isinstance(data.data, Graph):
        estimator.set_params(graph="precomputed")
    start = time.perf_counter()
    estimator.fit(data.data)
    seconds = time.perf_counter() - start
    n = len(estimator.embedding_)
    metrics = {
        "n_points": float(n),
        "n_landmarks": float(len(estimator.landmarks_)),
        "diffusion_time": float(estimator.diffusion_times_[-1]),
        "saturated_fraction": estimator.saturated_fraction_,
        "stress": estimator.stress_,
        "majorisation_steps": float(estimator.n_iter_),
        "fit_seconds": seconds,
    }
    size = f"{n} points" if estimator.distances_ is not None else f"{n} points, {len(estimator.landmarks_)} landmarks"
    summary = (
        f"Heat-geodesic map of {size} in {seconds:.1f} s, heat spread for a time of {estimator.diffusion_times_[-1]:.3g}. Its "
        f"distances are off by {estimator.stress_:.1%} (stress); {estimator.saturated_fraction_:.1%} of the pairs see no heat."
    )
    candidates = {"heat geodesic": (estimator.distances_, estimator.embedding_)}
    baseline = _baseline(data, estimator) if n <= BASELINE_UP_TO else None
    if baseline is not None:
        candidates["PHATE's potential"] = baseline
    if data.geodesics is not None:
        for name, (distances, embedding) in candidates.items():
            word = "potential" if name.startswith("PHATE") else "heat_geodesic"
            if distances is not None:
                metrics[f"pearson_of_distances_{word}"] = geodesic_scores(distances, data.geodesics).pearson
                metrics[f"precision_at_10_{word}"] = neighbour_precision(distances, data.geodesics, 10)
            metrics[f"pearson_of_map_{word}"] = geodesic_scores(euclidean_distances(embedding), data.geodesics).pearson
        summary += (
            f" Correlation of the map's distances with the true geodesics: {metrics['pearson_of_map_heat_geodesic']:.3f}"
            f" (PHATE's potential distances, mapped in the same way: {metrics.get('pearson_of_map_potential', np.nan):.3f})."
        )
    arrays = {"embedding": estimator.embedding_, "landmarks": estimator.landmarks_}
    if estimator.distances_ is not None:
        arrays["distances"] = estimator.distances_
    pictures = {"map": Picture(_draw_maps(candidates, data), _map_caption(data, baseline is not None))}
    if data.geodesics is not None and estimator.distances_ is not None:
        walked = shortest_path_distances(data.data, estimator.n_neighbors)
        metrics["pearson_of_distances_shortest_path"] = geodesic_scores(walked, data.geodesics).pearson
        compared = {name: distances for name, (distances, _) in candidates.items()} | {"shortest paths": walked}
        pictures["distances"] = Picture(_draw_truth(compared, data.geodesics), _TRUTH_CAPTION)
    if estimator.distances_ is not None:
        pictures["shepard"] = Picture(_draw_shepard(estimator), _SHEPARD_CAPTION)
    return Outcome(estimator, summary, metrics, arrays, {"embedding": _table(estimator, data)}, pictures)


def _baseline(data: Cloud, estimator: HeatGeodesic) -> tuple[np.ndarray | None, np.ndarray] | None:
    """PHATE's distances at its own time, and their map; None where its graph is disconnected or was asked for otherwise."""
    if isinstance(data.data, Graph):
        affinity = data.data.adjacency
    else:
        affinity = neighbour_graph(data.data, estimator.n_neighbors, kernel="alpha-decay", decay=estimator.decay)
    try:
        check_connected(Graph(affinity))
    except ValueError:
        return None
    distances = potential_distances(affinity, potential_time(affinity))
    start = classical_scaling(distances, estimator.n_components)
    return distances, metric_scaling(distances, start, max_iter=estimator.max_iter, tol=estimator.tol).points


def _table(estimator: HeatGeodesic, data: Cloud) -> pd.DataFrame:
    """Name, place and annotations of each point."""
    places = {f"y{j + 1}": column for j, column in enumerate(estimator.embedding_.T)}
    table = pd.DataFrame({"point": data.annotations.index, **places})
    return pd.concat([table, data.annotations.reset_index(drop=True)], axis=1)


# --- pictures ------------------------------------------------------------------------------------------------------

_TRUTH_CAPTION = (
    "Distances of random pairs against the true geodesic distance along the manifold. A straight line is best; what lies far "
    "below it is short-circuited, what is flat at the top is saturated. Each panel has its own unit."
)
_SHEPARD_CAPTION = (
    "How well the map keeps the heat-geodesic distances: each dot is a random pair, the line is equality. Scatter is what "
    "does not fit into so few dimensions."
)


def _map_caption(data: Cloud, with_baseline: bool) -> str:
    told = f"Colour: {data.annotations.columns[0]}. " if data.annotations.shape[1] else ""
    other = ""
    if with_baseline:
        other = " On the right the same graph with PHATE's potential distances, scaled in the same way."
    elif _has_components(data):
        other = " On the right the first two principal components of the data."
    return f"{told}Distances on the map mean distances along the data.{other}"


def _has_components(data: Cloud) -> bool:
    """Whether there is a plane of principal components to draw."""
    return not isinstance(data.data, Graph) and data.data.shape[1] > 1


def _draw_maps(candidates: dict[str, tuple[Any, np.ndarray]], data: Cloud) -> Figure:
    views = {name: embedding for name, (_, embedding) in candidates.items()}
    if len(views) == 1 and _has_components(data):
        views["principal components"] = PCA(2, svd_solver="full").fit_transform(data.data)
    figure, axes = new_figure(1, len(views), width=0.4 + 4.4 * len(views), height=3.9)
    for ax, (name, places) in zip(axes[0], views.items()):
        flat = np.column_stack([places[:, 0], places[:, 1] if places.shape[1] > 1 else np.zeros(len(places))])
        _scatter(figure, ax, flat, data.annotations, last=ax is axes[0, -1])
        title = name
        if data.geodesics is not None:
            agreement = geodesic_scores(euclidean_distances(places), data.geodesics).pearson
            title += f"\ncorrelation with the geodesics {agreement:.3f}"
        ax.set(title=title, xlabel="first coordinate", ylabel="second coordinate" if ax is axes[0, 0] else "")
        ax.set_aspect("equal", adjustable="datalim")
    return figure


def _scatter(figure: Figure, ax: Any, places: np.ndarray, annotations: pd.DataFrame, *, last: bool) -> None:
    size = float(np.clip(4000 / len(places), 2, 14))
    if annotations.shape[1] == 0:
        ax.scatter(*places.T, s=size, color=COLORS[0], linewidths=0)
        return
    values, name = annotations.iloc[:, 0], str(annotations.columns[0])
    groups = pd.unique(values.dropna())
    if not pd.api.types.is_numeric_dtype(values) or (pd.api.types.is_integer_dtype(values) and len(groups) <= 12):
        codes, words = pd.factorize(values, sort=True)
        palette = COLORS if len(words) <= len(COLORS) else [colormaps["tab20"](i) for i in range(20)]
        for code, word in enumerate(words):
            color = palette[code % len(palette)]
            ax.scatter(*places[codes == code].T, s=size, color=color, linewidths=0, label=str(word))
        if last and len(words) <= 20:
            ax.legend(title=name, loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small", markerscale=1.8)
        return
    points = ax.scatter(*places.T, s=size, c=values.to_numpy(dtype=np.float64), cmap="viridis", linewidths=0)
    if last:
        figure.colorbar(points, ax=ax, label=name)


def _draw_truth(compared: dict[str, Any], geodesics: np.ndarray) -> Figure:
    pairs = _random_pairs(len(geodesics))
    figure, axes = new_figure(1, len(compared), width=0.4 + 3.4 * len(compared), height=3.5)
    for i, (ax, (name, distances)) in enumerate(zip(axes[0], compared.items())):
        ax.plot(geodesics[pairs], distances[pairs], ".", markersize=2, color=COLORS[i], rasterized=True)
        agreement = geodesic_scores(distances, geodesics).pearson
        ax.set(title=f"{name}\ncorrelation {agreement:.3f}", xlabel="true geodesic distance", ylim=(0, None))
    axes[0, 0].set_ylabel("distance, own unit")
    return figure


def _draw_shepard(estimator: HeatGeodesic) -> Figure:
    assert estimator.distances_ is not None
    pairs = _random_pairs(len(estimator.distances_))
    wanted, found = estimator.distances_[pairs], euclidean_distances(estimator.embedding_)[pairs]
    figure, axes = new_figure(width=4.4, height=3.6)
    axes[0, 0].plot(wanted, found, ".", markersize=2, rasterized=True)
    end = [0, float(wanted.max())]
    axes[0, 0].plot(end, end, "--", color="black", linewidth=1)
    axes[0, 0].set(xlabel="heat-geodesic distance", ylabel="distance on the map")
    return figure


def _random_pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
    generator = numpy_generator(0)
    first = generator.integers(n, size=N_DRAWN)
    return first, (first + generator.integers(1, n, size=N_DRAWN)) % n

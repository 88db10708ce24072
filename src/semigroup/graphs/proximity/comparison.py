r"""Which measure is best: families over their parameter on graphs with known classes, Copeland's ranking, reject curves.

On each graph every family clusters at each p of a grid, and the adjusted Rand index (ARI) says how well. A family's score is
the best over p of the mean over graphs. That p is known only to one who knows the classes; beside it stands the score at the p
that a user can choose, of each graph's largest modularity. *Copeland's ranking* compares the families two by two on every graph
and gives +1 to the better, -1 to the worse. A *reject curve* takes a distance for a test of "different class": for every
threshold, the share of pairs of one class within it against the share of pairs of two classes. The higher curve is better.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import joblib
import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import rankdata
from sklearn.metrics import adjusted_rand_score

from semigroup.base import check_choice, check_integer, numpy_generator
from semigroup.graphs.proximity.clustering import cut_tree, kernel_kmeans, kernel_spectral, ward_tree
from semigroup.graphs.proximity.families import FAMILIES, STUDY_FAMILIES, Proximity, Spectra, proximity
from semigroup.operators import modularity

__all__ = [
    "RejectCurves",
    "Study",
    "copeland",
    "parameter_grid",
    "partition",
    "reject_auc",
    "reject_curve",
    "reject_curves",
    "study",
]

Method = Literal["ward", "kernel-kmeans", "spectral"]
METHODS = ("ward", "kernel-kmeans", "spectral")
WARD_ON = ("kernel", "squared", "distance")
SHARES = np.linspace(0, 1, 201)


def parameter_grid(n_parameters: int) -> Float[np.ndarray, " p"]:
    """Equally spaced p from 0.02 to 0.98; the ends 0 and 1 are limits that no measure reaches.

    Examples
    --------
    >>> parameter_grid(3)
    array([0.02, 0.5 , 0.98])
    """
    return np.linspace(0.02, 0.98, check_integer(n_parameters, "n_parameters", minimum=2))


def partition(
    measure: Proximity,
    n_clusters: int,
    graph: Spectra,
    *,
    method: Method = "ward",
    ward_on: Literal["kernel", "squared", "distance"] = "kernel",
    generator: np.random.Generator | None = None,
    **kmeans: Any,
) -> np.ndarray:
    """Clusters of a measure by one of the three methods; `kmeans` are the options of `kernel_kmeans`."""
    if method == "ward":
        return cut_tree(ward_tree(measure, ward_on), n_clusters)
    generator = numpy_generator(0) if generator is None else generator
    if method == "kernel-kmeans":
        return kernel_kmeans(measure.kernel, n_clusters, graph.graph.adjacency, generator, **kmeans)
    return kernel_spectral(measure.kernel, n_clusters, generator, n_init=kmeans.get("n_init", 10))


@dataclass(frozen=True)
class Study:
    """Scores of families over their parameter on some graphs.

    Attributes
    ----------
    families : tuple of str
    grid : array of shape (p,)
        Values of p.
    scores : array of shape (graphs, families, p)
        ARI with the known classes.
    modularities : array of shape (graphs, families, p)
        Of the same partitions.
    """

    families: tuple[str, ...]
    grid: Float[np.ndarray, " p"]
    scores: Float[np.ndarray, "graphs families p"]
    modularities: Float[np.ndarray, "graphs families p"]

    def __repr__(self) -> str:
        n_graphs, n_families, n_parameters = self.scores.shape
        return f"Study({n_graphs} graphs, {n_families} families, {n_parameters} parameters, best {self.ranking()[0]})"

    @property
    def curves(self) -> Float[np.ndarray, "families p"]:
        """Mean ARI over the graphs at each p."""
        return self.scores.mean(axis=0)

    @property
    def family_scores(self) -> Float[np.ndarray, " families"]:
        """Best over p of the mean over graphs."""
        return self.curves.max(axis=1)

    @property
    def best_p(self) -> Float[np.ndarray, " families"]:
        """Where that is."""
        return self.grid[self.curves.argmax(axis=1)]

    @property
    def graph_scores(self) -> Float[np.ndarray, "graphs families"]:
        """Best over p on each graph."""
        return self.scores.max(axis=2)

    @property
    def chosen_scores(self) -> Float[np.ndarray, "graphs families"]:
        """ARI at each graph's p of largest modularity, which needs no known classes."""
        place = self.modularities.argmax(axis=2)
        return np.take_along_axis(self.scores, place[:, :, None], axis=2)[:, :, 0]

    def copeland(self) -> np.ndarray:
        """Victories minus defeats of each family against each other one, at its best p, over all graphs."""
        return copeland(self.graph_scores)

    def ranking(self) -> list[str]:
        """The families, the best score first."""
        return [self.families[i] for i in np.argsort(-self.family_scores, kind="stable")]

    def score(self, family: str) -> float:
        """The score of a family."""
        return float(self.family_scores[self.families.index(family)])

    def table(self) -> pd.DataFrame:
        """One row a family, the best score first."""
        table = pd.DataFrame(
            {
                "family": self.families,
                "ARI": self.family_scores,
                "p": np.where([FAMILIES[name].has_parameter for name in self.families], self.best_p, np.nan),
                "ARI at p of largest modularity": self.chosen_scores.mean(axis=0),
                "Copeland": self.copeland(),
            }
        )
        return table.sort_values("ARI", ascending=False, kind="stable", ignore_index=True)


def copeland(scores: Float[np.ndarray, "graphs families"]) -> np.ndarray:
    """Sum over graphs and opponents of +1 for a better score, -1 for a worse one, 0 for the same.

    Examples
    --------
    >>> copeland(np.array([[0.9, 0.5, 0.5], [0.2, 0.1, 0.3]]))
    array([ 2, -3,  1])
    """
    return np.sign(np.round(scores[:, :, None] - scores[:, None, :], 12)).sum(axis=(0, 2)).astype(int)


def study(
    graphs: Sequence[Any],
    classes: Sequence[np.ndarray],
    *,
    families: Sequence[str] = STUDY_FAMILIES,
    n_parameters: int = 25,
    method: Method = "ward",
    ward_on: Literal["kernel", "squared", "distance"] = "kernel",
    n_jobs: int = 1,
    device: str = "cpu",
    progress: bool = False,
    checkpoint_dir: str | os.PathLike[str] | None = None,
) -> Study:
    """Cluster graphs of known classes by every family at every p.

    Parameters
    ----------
    graphs : sequence of graphs
        Each connected and undirected, in any form that `Spectra` takes.
    classes : sequence of arrays of shape (n,)
        The known class of each node; as many clusters are made as there are classes.
    families : sequence of str
    n_parameters : int
        Points of `parameter_grid`.
    method : {'ward', 'kernel-kmeans', 'spectral'}
    ward_on : {'kernel', 'squared', 'distance'}
    n_jobs : int
        Graphs measured side by side, by joblib.
    device : str
    progress : bool
    checkpoint_dir : path, optional
        Where the scores of each graph and p are kept, and taken from when the same study is made again after a stop.

    Returns
    -------
    Study

    Raises
    ------
    ValueError
        If there are no graphs, the classes of one are not as many as its nodes, or a name is not known.

    Examples
    --------
    >>> from semigroup.data.random_graphs import planted_partition
    >>> drawn = [planted_partition(60, 2, 0.3, 0.1, random_state=seed) for seed in range(2)]
    >>> result = study(
    ...     [g.adjacency for g in drawn], [g.labels for g in drawn], families=["For", "logFor"], n_parameters=5
    ... )
    >>> result.score("logFor") > result.score("For")
    True
    """
    families = tuple(check_choice(name, "families", tuple(FAMILIES)) for name in families)
    check_choice(method, "method", METHODS)
    check_choice(ward_on, "ward_on", WARD_ON)
    grid = parameter_grid(n_parameters)
    prepared = [_checked(graph, truth, i, device) for i, (graph, truth) in enumerate(zip(graphs, classes, strict=True))]
    if not prepared or not families:
        raise ValueError("graphs and families must not be empty")
    alone = progress and len(prepared) == 1
    parts = [None if checkpoint_dir is None else Path(checkpoint_dir) / f"graph-{i}" for i in range(len(prepared))]
    tasks = (
        joblib.delayed(_scores)(graph, truth, families, grid, method, ward_on, alone, part)
        for (graph, truth), part in zip(prepared, parts)
    )
    results = joblib.Parallel(n_jobs=n_jobs, return_as="generator")(tasks)
    scores = np.stack(list(_with_bar(results, len(prepared), "graphs", progress and len(prepared) > 1)))
    return Study(families, grid, scores[:, 0], scores[:, 1])


def _checked(graph: Any, truth: Any, place: int, device: str) -> tuple[Spectra, np.ndarray]:
    shared = graph if isinstance(graph, Spectra) else Spectra(graph, device)
    labels = np.asarray(truth)
    if labels.shape != (shared.n_nodes,):
        raise ValueError(f"classes[{place}] must have shape ({shared.n_nodes},), one a node, got {labels.shape}")
    return shared, labels


def _scores(
    graph: Spectra,
    truth: np.ndarray,
    families: tuple[str, ...],
    grid: np.ndarray,
    method: Method,
    ward_on: Literal["kernel", "squared", "distance"],
    progress: bool,
    checkpoint_dir: Path | None,
) -> Float[np.ndarray, "2 families p"]:
    """ARI and modularity; p is the outer loop, so that plain and logarithmic families share their kernel."""
    result = np.empty((2, len(families), len(grid)))
    n_clusters, weights = len(np.unique(truth)), graph.graph.adjacency
    for j, p in enumerate(_with_bar(grid, len(grid), "parameters", progress)):
        settings = repr((families, float(p), method, ward_on, truth.tolist(), weights.nnz, float(weights.sum())))
        kept = _read_part(checkpoint_dir, j, settings)
        if kept is not None:
            result[:, :, j] = kept
            continue
        for i, family in enumerate(families):
            if j and not FAMILIES[family].has_parameter:
                result[:, i, j] = result[:, i, 0]
                continue
            labels = partition(proximity(graph, family, float(p)), n_clusters, graph, method=method, ward_on=ward_on)
            result[:, i, j] = adjusted_rand_score(truth, labels), modularity(weights, labels)
        _write_part(checkpoint_dir, j, settings, result[:, :, j])
    return result


def _read_part(folder: Path | None, place: int, settings: str) -> np.ndarray | None:
    """Scores at one p that an earlier study with the same settings has left."""
    if folder is None or not (folder / f"{place}.npz").exists():
        return None
    with np.load(folder / f"{place}.npz", allow_pickle=False) as kept:
        return kept["scores"] if str(kept["settings"]) == settings else None


def _write_part(folder: Path | None, place: int, settings: str, scores: np.ndarray) -> None:
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{place}.partial.npz"
    np.savez(partial, settings=np.array(settings), scores=scores)
    partial.replace(folder / f"{place}.npz")


def _with_bar(items: Any, total: int, words: str, progress: bool) -> Any:
    from rich.progress import track

    return track(items, description=words, total=total) if progress else items


# --- reject curves -------------------------------------------------------------------------------------------------


def reject_curve(distance: Float[np.ndarray, "n n"], classes: np.ndarray) -> Float[np.ndarray, " shares"]:
    """Share of the pairs within a class at the thresholds that let through 0, 0.5 %, ... 100 % of the pairs between classes."""
    one, two = _pairs(distance, classes)
    thresholds = np.quantile(two, SHARES)
    return np.searchsorted(np.sort(one), thresholds, side="right") / len(one)


def reject_auc(distance: Float[np.ndarray, "n n"], classes: np.ndarray) -> float:
    """Probability that a pair of one class is nearer than a pair of two; a tie counts one half.

    Examples
    --------
    >>> line = np.abs(np.subtract.outer([0.0, 1.0, 5.0, 6.0], [0.0, 1.0, 5.0, 6.0]))
    >>> reject_auc(line, np.array([0, 0, 1, 1]))
    1.0
    """
    one, two = _pairs(distance, classes)
    ranks = rankdata(np.concatenate([one, two]))[len(one) :].sum()
    return float((ranks - len(two) * (len(two) + 1) / 2) / (len(one) * len(two)))


def _pairs(distance: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances of the pairs within classes, and of those between them."""
    row, column = np.triu_indices(len(classes), 1)
    values, same = distance[row, column], classes[row] == classes[column]
    if same.all() or not same.any():
        raise ValueError("classes must hold pairs of one class and of two")
    return values[same], values[~same]


@dataclass(frozen=True)
class RejectCurves:
    """Reject curves of families, averaged over graphs.

    Attributes
    ----------
    families : tuple of str
    grid : array of shape (p,)
    areas : array of shape (graphs, families, p)
        Area under the curve (AUC) at each p.
    shares : array of shape (s,)
        Shares of the pairs between classes.
    curves : array of shape (families, s)
        Mean share of the pairs within classes, at each family's p of largest mean area.
    """

    families: tuple[str, ...]
    grid: Float[np.ndarray, " p"]
    areas: Float[np.ndarray, "graphs families p"]
    shares: Float[np.ndarray, " s"]
    curves: Float[np.ndarray, "families s"]

    @property
    def best_p(self) -> Float[np.ndarray, " families"]:
        """The p of largest mean area."""
        return self.grid[self.areas.mean(axis=0).argmax(axis=1)]

    @property
    def best_areas(self) -> Float[np.ndarray, "graphs families"]:
        """Area on each graph at that p."""
        place = self.areas.mean(axis=0).argmax(axis=1)
        return np.take_along_axis(self.areas, place[None, :, None], axis=2)[:, :, 0]


def reject_curves(
    graphs: Sequence[Any],
    classes: Sequence[np.ndarray],
    *,
    families: Sequence[str] = STUDY_FAMILIES,
    n_parameters: int = 25,
    n_jobs: int = 1,
    device: str = "cpu",
) -> RejectCurves:
    """Reject curves of families over their parameter on graphs of known classes; arguments and errors are those of `study`."""
    families = tuple(check_choice(name, "families", tuple(FAMILIES)) for name in families)
    grid = parameter_grid(n_parameters)
    prepared = [_checked(graph, truth, i, device) for i, (graph, truth) in enumerate(zip(graphs, classes, strict=True))]
    if not prepared or not families:
        raise ValueError("graphs and families must not be empty")
    tasks = (joblib.delayed(_reject)(graph, truth, families, grid) for graph, truth in prepared)
    areas, curves = (np.stack(part) for part in zip(*joblib.Parallel(n_jobs=n_jobs)(tasks)))
    place = areas.mean(axis=0).argmax(axis=1)
    mean = curves.mean(axis=0)[np.arange(len(families)), place]
    return RejectCurves(families, grid, areas, SHARES, mean)


def _reject(
    graph: Spectra, truth: np.ndarray, families: tuple[str, ...], grid: np.ndarray
) -> tuple[Float[np.ndarray, "families p"], Float[np.ndarray, "families p s"]]:
    areas = np.empty((len(families), len(grid)))
    curves = np.empty((len(families), len(grid), len(SHARES)))
    for j, p in enumerate(grid):
        for i, family in enumerate(families):
            distance = proximity(graph, family, float(p)).distance
            areas[i, j], curves[i, j] = reject_auc(distance, truth), reject_curve(distance, truth)
    return areas, curves

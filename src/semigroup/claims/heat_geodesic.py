"""The claims of *A Heat Diffusion Perspective on Geodesic Preserving Dimensionality Reduction* (arXiv:2305.19043), measured.

Graph everywhere: PHATE's alpha-decay kernel with 10 neighbours; combinatorial Laplacian, backward Euler with 30 steps. The
authors choose hyper-parameters on the seeds 42 to 46 and report on 47 to 51; the thresholds here were set with the former in
view, and the claims are measured on the latter.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.preprocessing import StandardScaler

from semigroup.base import require
from semigroup.claims import Measurement, Scale, claim
from semigroup.data.manifolds import ManifoldSample, branching_tree, swiss_roll
from semigroup.manifolds.heat_geodesic import (
    HeatGeodesic,
    classical_scaling,
    diffusion_map,
    geodesic_scores,
    heat_geodesic_dissimilarity,
    heat_kernel,
    metric_scaling,
    neighbour_precision,
    potential_distances,
    potential_time,
    symmetrise,
    triplet_dissimilarity,
)
from semigroup.operators import laplacian, neighbour_graph, shortest_path_distances, spectral_interval
from semigroup.operators.heat import chebyshev_degree
from semigroup.operators.topology import path
from semigroup.report.figures import COLORS, new_figure

SEEDS = {"cpu": range(47, 52), "gpu": range(47, 57), "paper": range(47, 57)}
N_POINTS = {"cpu": 500, "gpu": 2000, "paper": 2000}
INDEPENDENT = "an independent implementation; the paper's tables were not at hand"


def alpha_decay(points: Float[np.ndarray, "n d"]) -> Any:
    """The graph of all claims."""
    return neighbour_graph(points, 10, kernel="alpha-decay")


def heat_distances(affinity: Any, time: float, volume_correction: float = 1.0) -> Float[np.ndarray, "n n"]:
    """The method's distances."""
    kernel = heat_kernel(affinity, time, method="euler")
    return symmetrise(heat_geodesic_dissimilarity(kernel, time, volume_correction=volume_correction))


def potential(affinity: Any) -> Float[np.ndarray, "n n"]:
    """PHATE's distances at the time that it chooses itself."""
    return potential_distances(affinity, potential_time(affinity))


def scaled_map(distances: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n 2"]:
    """Two dimensions by the same metric scaling for everybody's distances."""
    return metric_scaling(distances, classical_scaling(distances, 2)).points


def umap_map(points: Float[np.ndarray, "n d"], seed: int) -> Float[np.ndarray, "n 2"]:
    """UMAP with as many neighbours; `ImportError` without the package."""
    umap = require("umap", "peers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return umap.UMAP(n_neighbors=10, random_state=seed, n_jobs=1).fit_transform(points).astype(np.float64)


def tsne_map(points: Float[np.ndarray, "n d"], seed: int) -> Float[np.ndarray, "n 2"]:
    """scikit-learn's t-SNE at its defaults."""
    return TSNE(random_state=seed).fit_transform(points).astype(np.float64)


def pearson(distances: Float[np.ndarray, "n n"], sample: ManifoldSample) -> float:
    """Mean correlation of a point's distances with its true geodesics."""
    return geodesic_scores(distances, sample.geodesics).pearson


def mean_and_spread(rows: list[dict[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Over the seeds, column by column."""
    return (
        {name: float(np.mean([row[name] for row in rows])) for name in rows[0]},
        {name: float(np.std([row[name] for row in rows], ddof=1)) for name in rows[0]},
    )


# --- 1: geodesics --------------------------------------------------------------------------------------------------


@claim(
    "heat-geodesic",
    1,
    says="Heat-geodesic distances and maps agree better with true geodesics than those of PHATE, diffusion maps, UMAP and t-SNE.",
    source="abstract and the experiments on the Swiss roll",
)
def distances_and_maps_beat_the_state_of_the_art(scale: Scale) -> Measurement:
    """Swiss roll in 10 dimensions, time 50, volume term 1.

    Judged at noise 0.5; and against shortest paths at noise 0.7, where these are short-circuited: at 0.5 they are not, for
    500 points, in any of the seeds 42 to 46. The margin over t-SNE is 0.08, of 0.13 on the seeds 42 and 43. The larger scales
    run the paper's grid of dimensions and noise and judge the same two cases.
    """
    grid = [(10, 0.5), (10, 0.7)]
    if scale != "cpu":
        grid += [(dim, noise) for dim in (3, 10, 50) for noise in (0.1, 0.5, 1.0) if (dim, noise) != (10, 0.5)]
    table: list[dict[str, Any]] = []
    cases: dict[tuple[int, float], tuple[dict[str, float], dict[str, float]]] = {}
    for dim, noise in grid:
        rows = [
            scores_of_everybody(
                swiss_roll(N_POINTS[scale], n_features=dim, noise=noise, random_state=seed),
                seed,
                with_peers=scale != "cpu" or (dim, noise) == (10, 0.5),
            )
            for seed in SEEDS[scale]
        ]
        cases[dim, noise] = mean_and_spread(rows)
        table.append({"roll": f"{dim}-D, noise {noise:g}"} | cases[dim, noise][0])
    mean, spread = cases[10, 0.5]
    noisy, noisy_spread = cases[10, 0.7]
    holds = (
        mean["heat geodesic"] >= 0.95
        and mean["heat geodesic"] >= mean["PHATE potential"] + 0.12
        and mean["heat geodesic"] >= mean["diffusion map"]
        and mean["map, heat geodesic"] >= 0.95
        and mean["map, heat geodesic"] >= mean["map, UMAP"] + 0.03
        and mean["map, heat geodesic"] >= mean["map, t-SNE"] + 0.08
        and noisy["heat geodesic"] >= noisy["shortest paths"] + 0.06
    )
    names = [name for name in mean if not name.startswith("P@")]
    figure, axes = new_figure(width=7.2, height=3.8)
    for offset, (values, error, label) in enumerate(((mean, spread, "noise 0.5"), (noisy, noisy_spread, "noise 0.7"))):
        known = [name for name in names if name in values]
        axes[0, 0].barh(
            [names.index(name) + 0.36 * offset - 0.18 for name in known],
            [values[name] for name in known],
            0.34,
            xerr=[error[name] for name in known],
            color=COLORS[offset],
            label=label,
        )
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].invert_yaxis()
    axes[0, 0].set(xlabel="correlation with the true geodesics", xlim=(0, 1), title="Swiss roll in 10 dimensions")
    axes[0, 0].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return Measurement(
        figure=mean["heat geodesic"],
        holds=bool(holds),
        threshold="noise 0.5: distances >= 0.95, >= PHATE + 0.12, >= diffusion map; map >= 0.95, >= UMAP + 0.03, "
        ">= t-SNE + 0.08; noise 0.7: distances >= shortest paths + 0.06",
        unit="correlation of distances with true geodesics, Swiss roll 10-D, noise 0.5",
        paper=f"0.983 in {INDEPENDENT}",
        baseline=mean["PHATE potential"],
        baseline_name="PHATE's potential distances",
        spread=spread["heat geodesic"],
        n_seeds=len(SEEDS[scale]),
        table=table,
        note=f"Shortest paths (Isomap) reach {mean['shortest paths']:.3f} at noise 0.5, where no path leaves the roll, and "
        f"{noisy['shortest paths']:.3f} at noise 0.7, where some do; heat-geodesic distances stay at "
        f"{noisy['heat geodesic']:.3f}. Maps by metric scaling of the same distances: {mean['map, heat geodesic']:.3f}.",
        plot=figure,
    )


def scores_of_everybody(sample: ManifoldSample, seed: int, *, with_peers: bool) -> dict[str, float]:
    """Correlations of distances and of maps with the geodesics, those of UMAP and t-SNE too or not."""
    affinity = alpha_decay(sample.points)
    ours, theirs = heat_distances(affinity, 50.0), potential(affinity)
    distances = {
        "heat geodesic": ours,
        "PHATE potential": theirs,
        "diffusion map": euclidean_distances(diffusion_map(affinity, 100)),
        "shortest paths": shortest_path_distances(sample.points, 10),
        "map, heat geodesic": euclidean_distances(scaled_map(ours)),
        "map, PHATE potential": euclidean_distances(scaled_map(theirs)),
    }
    if with_peers:
        distances["map, UMAP"] = euclidean_distances(umap_map(sample.points, seed))
        distances["map, t-SNE"] = euclidean_distances(tsne_map(sample.points, seed))
    scores = {name: pearson(matrix, sample) for name, matrix in distances.items()}
    return scores | {
        "P@10, heat geodesic": neighbour_precision(ours, sample.geodesics, 10),
        "P@10, shortest paths": neighbour_precision(distances["shortest paths"], sample.geodesics, 10),
    }


# --- 2: without noise ----------------------------------------------------------------------------------------------


@claim(
    "heat-geodesic",
    2,
    says="With hardly any noise heat-geodesic distances are nearly geodesic, and shortest paths are still better.",
    source="experiments on the Swiss roll",
)
def shortest_paths_win_without_noise(scale: Scale) -> Measurement:
    """Swiss roll in 3 dimensions, noise 0.1."""
    rows = []
    for seed in SEEDS[scale]:
        sample = swiss_roll(N_POINTS[scale], noise=0.1, random_state=seed)
        affinity = alpha_decay(sample.points)
        rows.append(
            {
                "heat geodesic, t = 10": pearson(heat_distances(affinity, 10.0), sample),
                "heat geodesic, t = 50": pearson(heat_distances(affinity, 50.0), sample),
                "PHATE potential": pearson(potential(affinity), sample),
                "shortest paths": pearson(shortest_path_distances(sample.points, 10), sample),
            }
        )
    mean, spread = mean_and_spread(rows)
    return Measurement(
        figure=mean["heat geodesic, t = 50"],
        holds=bool(mean["heat geodesic, t = 50"] >= 0.98 and mean["shortest paths"] >= 0.999),
        threshold="heat geodesic >= 0.98; shortest paths >= 0.999",
        unit="correlation of distances with true geodesics, Swiss roll 3-D, noise 0.1, t = 50",
        paper=f"0.989 in {INDEPENDENT}",
        baseline=mean["shortest paths"],
        baseline_name="shortest paths over the neighbour graph",
        spread=spread["heat geodesic, t = 50"],
        n_seeds=len(rows),
        table=[{"seed": seed} | row for seed, row in zip(SEEDS[scale], rows)],
        note="On a clean manifold Isomap's distances are the better choice.",
    )


# --- 3: the volume term --------------------------------------------------------------------------------------------


@claim(
    "heat-geodesic",
    3,
    says="The volume term makes distances on a line exact, and improves the correlation with geodesics everywhere.",
    source="Section on the Harnack inequality; closed form of the heat kernel on a line",
)
def volume_term_makes_distances_right(scale: Scale) -> Measurement:
    r"""A path of 400 nodes, 3 to 60 steps between interior nodes, exact kernel; then four noisy data sets at time 50."""
    hops = np.arange(3, 61)
    start = 170
    law: list[dict[str, Any]] = []
    errors = {}
    figure, axes = new_figure(1, 2, width=8.6, height=3.4)
    for index, time in enumerate((50.0, 200.0)):
        kernel = heat_kernel(path(400).adjacency, time, method="exact")
        for sigma in (1.0, 0.0):
            found = heat_geodesic_dissimilarity(kernel, time, volume_correction=sigma)[start, start + hops]
            errors[time, sigma] = np.abs(found / hops - 1)
            law.append(
                {
                    "data": f"path, t = {time:g}, volume term {sigma:g}",
                    "largest error, %": 100 * float(errors[time, sigma].max()),
                    "mean error, %": 100 * float(errors[time, sigma].mean()),
                }
            )
            axes[0, 0].plot(
                hops,
                found,
                "-" if sigma else "--",
                color=COLORS[index],
                label=f"t = {time:g}, {'with' if sigma else 'without'} volume term",
            )
    axes[0, 0].plot(hops, hops, ":", color="black", label="number of steps")
    axes[0, 0].set(xlabel="steps along the path", ylabel="distance")
    axes[0, 0].legend(fontsize="small")
    gains: dict[str, list[float]] = {}
    table = law
    for name, sample_of in noisy_samples(N_POINTS[scale]).items():
        pairs = []
        for seed in SEEDS[scale]:
            sample = sample_of(seed)
            affinity = alpha_decay(sample.points)
            pairs.append([pearson(heat_distances(affinity, 50.0, sigma), sample) for sigma in (1.0, 0.0)])
        with_term, without = np.mean(pairs, axis=0)
        gains[name] = [float(a - b) for a, b in pairs]
        table.append({"data": name, "correlation with": float(with_term), "correlation without": float(without)})
    means = {name: float(np.mean(values)) for name, values in gains.items()}
    axes[0, 1].barh(
        list(means), list(means.values()), xerr=[float(np.std(values, ddof=1)) for values in gains.values()], height=0.5
    )
    axes[0, 1].axvline(0.05, ls=":", color="black", label="threshold")
    axes[0, 1].invert_yaxis()
    axes[0, 1].set(xlabel="gain in correlation, t = 50")
    axes[0, 1].legend()
    worst = 100 * float(errors[50.0, 1.0].max())
    return Measurement(
        figure=worst,
        holds=bool(worst <= 1.5 and errors[200.0, 1.0].max() <= 0.001 and min(means.values()) >= 0.05),
        threshold="path: largest error <= 1.5 % at t = 50 and <= 0.1 % at t = 200; data: correlation gains >= 0.05 in each case",
        unit="largest relative error of the distance on a path, t = 50, %",
        paper="0 (the continuous line)",
        baseline=100 * float(errors[50.0, 0.0].mean()),
        baseline_name="mean error without the volume term, %",
        n_seeds=len(SEEDS[scale]),
        table=table,
        note="Gains in correlation: " + ", ".join(f"{value:.2f} ({name})" for name, value in means.items()) + ".",
        plot=figure,
    )


def noisy_samples(n: int) -> dict[str, Callable[[int], ManifoldSample]]:
    """The data sets of the third claim, by seed."""
    return {
        "roll 3-D, noise 0.1": lambda seed: swiss_roll(n, noise=0.1, random_state=seed),
        "roll 3-D, noise 1": lambda seed: swiss_roll(n, noise=1.0, random_state=seed),
        "roll 10-D, noise 0.5": lambda seed: swiss_roll(n, n_features=10, noise=0.5, random_state=seed),
        "tree 10-D, noise 1": lambda seed: branching_tree(5, n // 5, noise=1.0, random_state=seed),
    }


# --- 4: PHATE ------------------------------------------------------------------------------------------------------


@claim(
    "heat-geodesic",
    4,
    says="PHATE's potential distances are the triplet distances of the logarithm of the heat kernel, the closer the longer t.",
    source="Section on the relation with PHATE",
    quick=True,
)
def phate_is_a_special_case(scale: Scale) -> Measurement:
    """Swiss roll 3-D, noise 0.5; lazy random walk and floor 1e-7 as in PHATE, on both sides."""
    n = {"cpu": 400, "gpu": 2000, "paper": 2000}[scale]
    times = (5, 10, 20, 40)
    pairs = np.triu_indices(n, 1)
    rows = []
    for seed in SEEDS[scale]:
        affinity = alpha_decay(swiss_roll(n, noise=0.5, random_state=seed).points)
        lazy = affinity.copy()
        lazy.setdiag(1.0)
        row = {}
        for time in times:
            logarithm = np.log(heat_kernel(lazy, float(time), kind="random-walk", method="exact") + 1e-7)
            triplet = triplet_dissimilarity(logarithm, logarithm)
            theirs = potential_distances(affinity, time)
            row[f"t = {time}"] = float(np.corrcoef(triplet[pairs], theirs[pairs])[0, 1])
        rows.append(row)
    mean, spread = mean_and_spread(rows)
    return Measurement(
        figure=mean["t = 20"],
        holds=bool(mean["t = 5"] >= 0.98 and mean["t = 20"] >= 0.998),
        threshold=">= 0.98 at t = 5, >= 0.998 at t = 20",
        unit="correlation of both distances over all pairs, t = 20",
        paper=f"0.9872, 0.9973, 0.9993, 0.9998 at t = 5, 10, 20, 40 in {INDEPENDENT}",
        spread=spread["t = 20"],
        n_seeds=len(rows),
        table=[{"seed": seed} | row for seed, row in zip(SEEDS[scale], rows)],
        note="The walk must keep a point with affinity 1, as PHATE's does; without it the agreement at t = 20 is 0.998.",
    )


# --- 5: approximations ---------------------------------------------------------------------------------------------


@claim(
    "heat-geodesic",
    5,
    says="Thirty steps of backward Euler do for distances; Chebyshev's expansion is exact at the degree of its bound, not below.",
    source="Section on the computation; the reference code's fixed order of 30",
)
def approximations_of_the_kernel_do(scale: Scale) -> Measurement:
    """Swiss roll 3-D, noise 0.1, n = 300 for the expansion; n = 500, 3-D and 10-D, for the change of the correlation."""
    affinity = alpha_decay(swiss_roll(300, noise=0.1, random_state=SEEDS["cpu"][0]).points)
    low, high = spectral_interval(laplacian(affinity))
    table: list[dict[str, Any]] = []
    bounded, fixed = [], {}
    figure, axes = new_figure(width=5.6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of degrees below the bound, which are the point here
        for index, time in enumerate((1.0, 10.0, 50.0)):
            exact = heat_kernel(affinity, time, method="exact")
            needed = chebyshev_degree(time * (high - low) / 2, 1e-12)

            def error(degree: int, time: float = time, exact: Any = exact) -> float:
                found = heat_kernel(affinity, time, method="chebyshev", order=degree)
                return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))

            bounded.append(error(needed))
            fixed[time] = error(30)
            table.append(
                {
                    "data": f"roll 3-D, n = 300, t = {time:g}",
                    "degree of the bound": needed,
                    "error there": bounded[-1],
                    "error at degree 30": fixed[time],
                    "error of distances at degree 30": distance_error(affinity, time, exact),
                }
            )
            degrees = np.unique(np.linspace(4, max(needed, 40), 10).astype(int)).tolist()
            axes[0, 0].semilogy(
                degrees, [max(error(d), 1e-16) for d in degrees], "o-", color=COLORS[index], label=f"t = {time:g}"
            )
            axes[0, 0].axvline(needed, color=COLORS[index], ls=":")
    axes[0, 0].plot([], [], ":", color="grey", label="degree of the bound")
    axes[0, 0].axvline(30, color="black", ls="--", linewidth=1, label="the code's degree")
    axes[0, 0].set(xlabel="degree of the expansion", ylabel="relative error of the kernel")
    axes[0, 0].legend(fontsize="small")
    changes = []
    for dim, noise in ((3, 0.1), (10, 0.5)):
        for seed in SEEDS[scale]:
            sample = swiss_roll(N_POINTS[scale], n_features=dim, noise=noise, random_state=seed)
            graph = alpha_decay(sample.points)
            whole = symmetrise(heat_geodesic_dissimilarity(heat_kernel(graph, 50.0, method="exact"), 50.0))
            changes.append(abs(pearson(heat_distances(graph, 50.0), sample) - pearson(whole, sample)))
    table.append({"data": f"roll, n = {N_POINTS[scale]}, t = 50", "change of the correlation by Euler": max(changes)})
    return Measurement(
        figure=max(changes),
        holds=bool(max(changes) <= 0.02 and max(bounded) <= 1e-6 and fixed[50.0] > 0.1),
        threshold="Euler: change of the correlation <= 0.02 for every seed; Chebyshev: relative error of H <= 1e-6 at the "
        "degree of the bound, > 0.1 at degree 30 and t = 50",
        unit="largest change of the correlation with geodesics by 30 Euler steps in the place of the exact kernel",
        paper=f"0.003 and 0.52 for degree 30 at t = 10 and 50 in {INDEPENDENT}",
        baseline=fixed[50.0],
        baseline_name="relative error of the kernel at the code's degree 30, t = 50",
        n_seeds=len(SEEDS[scale]),
        table=table,
        note="The logarithm sees small entries: where the kernel is right within 0.1 %, distances can be off by 10 %.",
        plot=figure,
    )


def distance_error(affinity: Any, time: float, exact: Float[np.ndarray, "n n"]) -> float:
    """Mean error of the distances by the expansion of degree 30, relative to their mean."""
    cut = heat_kernel(affinity, time, method="chebyshev", order=30)
    ours, theirs = (symmetrise(heat_geodesic_dissimilarity(kernel, time)) for kernel in (exact, cut))
    return float(np.abs(theirs - ours).mean() / ours.mean())


# --- 6: clusters ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClusterCase:
    """A clustered roll."""

    n_features: int
    noise: float


@claim(
    "heat-geodesic",
    6,
    says="Clusters survive on maps of triplet distances better than on t-SNE's; in 50 dimensions at noise 1 UMAP keeps more.",
    source="experiments on clustered Swiss rolls",
)
def clusters_survive_on_the_map(scale: Scale) -> Measurement:
    """Two clusters on a Swiss roll, k-means on the standardised map; triplet distances at time 20."""
    table: list[dict[str, Any]] = []
    cases = {}
    for case in (ClusterCase(10, 0.5), ClusterCase(50, 1.0)):
        rows = []
        for seed in SEEDS[scale]:
            sample = swiss_roll(
                N_POINTS[scale], n_features=case.n_features, noise=case.noise, clustered=True, random_state=seed
            )
            rows.append(cluster_scores(sample, seed))
        cases[case.n_features] = mean_and_spread(rows)
        table.append({"roll": f"{case.n_features}-D, noise {case.noise:g}"} | cases[case.n_features][0])
    mean, spread = cases[10]
    hard, hard_spread = cases[50]
    figure, axes = new_figure(width=6.2)
    for offset, (values, error, label) in enumerate(
        ((mean, spread, "10-D, noise 0.5"), (hard, hard_spread, "50-D, noise 1"))
    ):
        axes[0, 0].bar(
            np.arange(len(values)) + 0.38 * offset - 0.19,
            list(values.values()),
            0.36,
            yerr=list(error.values()),
            color=COLORS[offset],
            label=label,
        )
    axes[0, 0].set_xticks(range(len(mean)), [name.replace(" ", "\n") for name in mean])
    axes[0, 0].set(ylabel="adjusted Rand index", ylim=(0, 1.05))
    axes[0, 0].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return Measurement(
        figure=mean["heat geodesic"],
        holds=bool(mean["heat geodesic"] >= 0.9 and mean["heat geodesic"] >= mean["t-SNE"] + 0.1),
        threshold="10-D, noise 0.5: >= 0.9 and >= t-SNE + 0.1 (50-D, noise 1 is reported)",
        unit="adjusted Rand index, clustered roll 10-D, noise 0.5",
        paper=f"0.967 in {INDEPENDENT}",
        baseline=mean["t-SNE"],
        baseline_name="t-SNE",
        spread=spread["heat geodesic"],
        n_seeds=len(SEEDS[scale]),
        table=table,
        note=f"t-SNE's index varies by {spread['t-SNE']:.2f} between seeds, so that the margin over it rests on few of them; "
        f"UMAP, at {mean['UMAP']:.2f}, is nearly as good. In 50 dimensions at noise 1: heat geodesic "
        f"{hard['heat geodesic']:.2f}, UMAP {hard['UMAP']:.2f}, PHATE's potential {hard['PHATE potential']:.2f}, "
        f"t-SNE {hard['t-SNE']:.2f}.",
        plot=figure,
    )


def cluster_scores(sample: ManifoldSample, seed: int) -> dict[str, float]:
    """Adjusted Rand index of each map."""
    affinity = alpha_decay(sample.points)
    maps = {
        "heat geodesic": HeatGeodesic(diffusion_time=20.0, triplet=1.0, n_landmarks=None).fit(sample.points).embedding_,
        "PHATE potential": scaled_map(potential(affinity)),
        "UMAP": umap_map(sample.points, seed),
        "t-SNE": tsne_map(sample.points, seed),
    }
    return {name: rand_index(places, sample.labels, seed) for name, places in maps.items()}


def rand_index(places: Float[np.ndarray, "n 2"], labels: Int[np.ndarray, " n"], seed: int) -> float:
    """Of k-means on the standardised map with the true classes."""
    scaled = StandardScaler().fit_transform(places)
    found = KMeans(int(labels.max()) + 1, n_init=10, random_state=seed).fit_predict(scaled)
    return float(adjusted_rand_score(labels, found))

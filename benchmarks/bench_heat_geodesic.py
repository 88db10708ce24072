"""Heat-geodesic maps beside PHATE, UMAP, Isomap, t-SNE and spectral embedding: agreement with true geodesics, time and memory.

    pip install 'semigroup[peers]'
    python benchmarks/bench_heat_geodesic.py                    # rolls and a tree, 2000 points
    python benchmarks/bench_heat_geodesic.py --cells            # 10 000 points in 50 dimensions, by landmarks

Everybody gets the same points and, where there is such a number, ten neighbours, and gives a map in two dimensions. Quality is
the correlation of the map's distances with the true geodesics, row by row, and the part of the ten nearest points that are
true ones. Each runs in a process of its own, whose peak of memory is told, after a call on a few points that loads and
compiles what it needs; time is that of the second call alone.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.manifold import TSNE, Isomap, SpectralEmbedding
from sklearn.metrics.pairwise import euclidean_distances

from semigroup.data.manifolds import ManifoldSample, branching_tree, swiss_roll
from semigroup.manifolds import HeatGeodesic
from semigroup.manifolds.heat_geodesic import geodesic_scores, neighbour_precision

__all__ = ["main"]

Embed = Callable[[np.ndarray], np.ndarray]


def umap(points: np.ndarray) -> np.ndarray:
    """With ten neighbours; seeded, and so on one thread."""
    from umap import UMAP

    return UMAP(n_neighbors=10, random_state=0, n_jobs=1).fit_transform(points)


def phate(points: np.ndarray) -> np.ndarray:
    """With ten neighbours and its own defaults otherwise, landmarks among them."""
    from phate import PHATE

    return PHATE(knn=10, n_pca=None, random_state=0, verbose=0, n_jobs=-1).fit_transform(points)


METHODS: dict[str, Embed] = {
    "heat geodesic": lambda points: HeatGeodesic(random_state=0).fit_transform(points),
    "heat geodesic, 500 landmarks": lambda points: HeatGeodesic(n_landmarks=500, random_state=0).fit_transform(points),
    "PHATE": phate,
    "UMAP": umap,
    "Isomap": lambda points: Isomap(n_neighbors=10).fit_transform(points),
    "t-SNE": lambda points: TSNE(random_state=0, n_jobs=-1).fit_transform(points),
    "spectral embedding": lambda points: SpectralEmbedding(n_neighbors=10, random_state=0).fit_transform(points),
}


def run_alone(name: str, sample: ManifoldSample, judged: np.ndarray) -> dict[str, float]:
    """One method in a process of its own: seconds, peak memory and scores on the judged points."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(name, sample.points, sender))
    process.start()
    try:
        seconds, gigabytes, places = receiver.recv()
    except EOFError as error:
        raise RuntimeError(f"{name} died") from error
    finally:
        process.join()
    distances = euclidean_distances(places[judged].astype(np.float64))
    truth = sample.geodesics[np.ix_(judged, judged)]
    return {
        "seconds": seconds,
        "GB": gigabytes,
        "pearson": geodesic_scores(distances, truth).pearson,
        "P@10": neighbour_precision(distances, truth, 10),
    }


def _work(name: str, points: np.ndarray, sender: Any) -> None:
    warnings.simplefilter("ignore")
    METHODS[name](np.random.default_rng(0).normal(size=(520, 3)))
    start = time.perf_counter()
    places = METHODS[name](points)
    seconds = time.perf_counter() - start
    sender.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, places))


def compare(title: str, sample: ManifoldSample, names: list[str]) -> None:
    """One table, with times as multiples of ours."""
    n = len(sample.points)
    judged = np.random.default_rng(0).permutation(n)[:2000]
    print(f"\n{title}: {n} points in {sample.points.shape[1]} dimensions")
    print(f"{'method':30s} {'seconds':>8s} {'ratio':>6s} {'peak GB':>8s} {'pearson':>8s} {'P@10':>6s}")
    ours: float | None = None
    for name in names:
        try:
            row = run_alone(name, sample, judged)
        except RuntimeError as error:
            print(f"{name:30s} {error}")
            continue
        ours = ours or row["seconds"]
        cells = f"{row['seconds']:8.1f} {row['seconds'] / ours:6.2f} {row['GB']:8.2f} {row['pearson']:8.3f} {row['P@10']:6.3f}"
        print(f"{name:30s} {cells}", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=2000, help="points of the small data sets")
    parser.add_argument("--cells", action="store_true", help="10 000 points in 50 dimensions instead")
    parser.add_argument("--only", nargs="+", choices=list(METHODS), default=list(METHODS))
    options = parser.parse_args()
    if options.cells:
        names = [name for name in options.only if name not in ("heat geodesic, 500 landmarks", "Isomap")]
        compare("Swiss roll, noise 0.3", swiss_roll(10_000, n_features=50, noise=0.3, random_state=0), names)
        return
    compare("Swiss roll, noise 0.5", swiss_roll(options.n, n_features=10, noise=0.5, random_state=0), options.only)
    compare("Swiss roll, noise 0.1", swiss_roll(options.n, noise=0.1, random_state=0), options.only)
    compare("branching tree, noise 1", branching_tree(5, options.n // 5, random_state=0), options.only)


if __name__ == "__main__":
    main()

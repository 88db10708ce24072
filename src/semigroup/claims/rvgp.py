"""The claims of *Implicit Gaussian process representation of vector fields over arbitrary latent manifolds* (arXiv:2309.16746),
measured."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator, RBFInterpolator
from scipy.spatial import ConvexHull
from scipy.stats import spearmanr
from sklearn.neighbors import NearestNeighbors

from semigroup.base import numpy_generator
from semigroup.claims import Measurement, Scale, ScaleUnavailable, claim
from semigroup.data.datasets import Download, download
from semigroup.data.manifolds import bumpy_sphere, clifford_torus, fibonacci_sphere
from semigroup.data.vector_fields import BUNNY, BUNNY_FINE, EEG
from semigroup.manifolds.rvgp import (
    TangentBundle,
    VectorFieldGP,
    alignment,
    channelwise_rbf,
    divergence_and_curl,
    mean_cosine,
    random_field,
    relative_error,
    scalar_encoding,
    singularities_kept,
    tangent_bundle,
    winding_number,
)
from semigroup.operators import diameter, eigenpairs, farthest_points
from semigroup.report.figures import COLORS, new_figure

__all__ = ["cluster_means", "in_the_plane", "predictions", "surface"]

HOLE = np.array([-0.08679473, 0.1146, 0.0022])  # the reference script's, on the bunny


def surface(source: Download, spacing: float) -> Float[np.ndarray, "n 3"]:
    """Vertices of a downloaded surface at least a fraction of its diameter apart."""
    try:
        vertices = download(source)["vertices"]
    except OSError as error:
        raise ScaleUnavailable(f"the surface could not be downloaded: {error}") from error
    return vertices[farthest_points(vertices, spacing=spacing)[0]]


def predictions(
    bundle: TangentBundle,
    vectors: Float[np.ndarray, "n D"],
    train: Int[np.ndarray, " a"],
    test: Int[np.ndarray, " b"],
    n_eigenpairs: int = 100,
    eigenvectors: Float[np.ndarray, "n k"] | None = None,
) -> dict[str, Float[np.ndarray, "b D"]]:
    """The field at the test points by each method, from the same vectors."""
    points = bundle.points
    inputs = scalar_encoding(bundle, n_eigenpairs) if eigenvectors is None else eigenvectors

    def process(**arguments: Any) -> np.ndarray:
        return VectorFieldGP(n_eigenpairs=n_eigenpairs, **arguments).fit(bundle, vectors, train).predict(test)

    nearest = 200 if len(train) > 2000 else None
    return {
        "RVGP": process(likelihood="ambient"),
        "RVGP, tangent likelihood": process(),
        "projected scalar kernel": process(space="projected"),
        "RBF on scalar eigenvectors": channelwise_rbf(inputs[train], vectors[train], inputs[test]),
        "RBF on coordinates": channelwise_rbf(points[train], vectors[train], points[test]),
        "thin-plate spline": RBFInterpolator(points[train], vectors[train], neighbors=nearest)(points[test]),
    }


def _errors(results: dict[str, np.ndarray], truth: np.ndarray) -> dict[str, tuple[float, float]]:
    """Mean cosine and relative error of each method."""
    return {name: (mean_cosine(field, truth), relative_error(field, truth)) for name, field in results.items()}


def _mean_rows(cases: list[dict[str, tuple[float, float]]], **what: Any) -> list[dict[str, Any]]:
    """One row a method: mean and spread over the cases."""
    rows = []
    for name in cases[0]:
        cosine, error = np.array([case[name] for case in cases]).T
        rows.append(
            {**what, "method": name, "cosine": cosine.mean(), "relative error": error.mean(), "spread": error.std()}
        )
    return rows


# --- 1, 2: the connection Laplacian ------------------------------------------------------------------------------------


def cluster_means(
    laplacian: Any, unit: float, sizes: tuple[int, ...] = (6, 10, 14)
) -> tuple[Float[np.ndarray, " groups"], Float[np.ndarray, " groups"]]:
    """Mean and largest departure from it of consecutive groups of the smallest eigenvalues, in a unit."""
    values = eigenpairs(laplacian, sum(sizes)).values / unit
    groups = np.split(values, np.cumsum(sizes)[:-1])
    return np.array([g.mean() for g in groups]), np.array([np.abs(g - g.mean()).max() for g in groups])


def _without_transport(bundle: TangentBundle) -> TangentBundle:
    """The bundle with one frame for all points, so that every connection is the identity."""
    frames = np.broadcast_to(bundle.frames[:1], bundle.frames.shape)
    return TangentBundle(bundle.points, bundle.adjacency, frames, bundle.singular_values)


@claim(
    "rvgp",
    1,
    says="The connection Laplacian of a point cloud converges to the Bochner Laplacian of vector fields.",
    source="Section on the connection Laplacian; spectrum of the sphere in closed form",
    quick=True,
)
def connection_laplacian_is_the_bochner_laplacian(scale: Scale) -> Measurement:
    """Sphere, 20 neighbours, unit of the eigenvalues from the scalar Laplacian (l = 1 has 2): vector fields have 1, 5, 11.

    Judged at 1000 points with 3 %, 3 % and 6 %; other sizes show the approach.
    """
    expected = np.array([1.0, 5.0, 11.0])
    sizes = {"cpu": (500, 1000, 2000), "gpu": (500, 1000, 2000, 8000), "paper": (500, 1000, 2000, 8000)}[scale]
    table: list[dict[str, Any]] = []
    curves = {}
    for n in sizes:
        bundle = tangent_bundle(fibonacci_sphere(n), 20)
        unit = float(eigenpairs(bundle.laplacian, 4).values[1:].mean()) / 2
        for words, one in (("connection", bundle), ("identity instead of transport", _without_transport(bundle))):
            means, spreads = cluster_means(one.connection_laplacian, unit)
            departure = np.abs(means / expected - 1)
            table.append(
                {"points": n, "Laplacian": words}
                | {f"l = {l + 1}": float(mean) for l, mean in enumerate(means)}
                | {f"spread {l + 1}": float(spread) for l, spread in enumerate(spreads)}
                | {"largest departure, %": 100 * float(departure.max())}
            )
            if n == 1000:
                curves[words] = eigenpairs(one.connection_laplacian, 30).values / unit
    judged, control = (row for row in table if row["points"] == 1000)
    departures = [abs(judged[f"l = {l + 1}"] / expected[l] - 1) for l in range(3)]
    control_departures = [abs(control[f"l = {l + 1}"] / expected[l] - 1) for l in range(3)]
    within = bool(np.all(np.array(departures) <= [0.03, 0.03, 0.06]))
    apart = bool(np.any(np.array(control_departures) > [0.03, 0.03, 0.06]))
    figure, axes = new_figure(width=6.4)
    axes[0, 0].step(np.arange(1, 31), np.repeat(expected, (6, 10, 14)), where="mid", color="black", label="exact")
    for index, (words, values) in enumerate(curves.items()):
        axes[0, 0].plot(np.arange(1, 31), values, ".", color=COLORS[index], label=words)
    axes[0, 0].set(xlabel="eigenvalue", ylabel="in units of the scalar Laplacian's")
    axes[0, 0].legend()
    return Measurement(
        figure=100 * max(departures),
        holds=within and apart,
        threshold="means of the groups of 6, 10, 14 within 3, 3 and 6 % of 1, 5, 11 at 1000 points, and not without transport",
        unit="largest departure, %",
        paper="1, 5, 11 (theorem)",
        baseline=100 * max(control_departures),
        baseline_name="identity instead of transport",
        table=table,
        plot=figure,
    )


@claim(
    "rvgp",
    2,
    says="Curvature matters: no parallel field on the sphere, two on the flat torus, whose spectrum is the scalar one twice.",
    source="Hairy ball theorem; flat torus in closed form",
)
def curvature_is_seen(scale: Scale) -> Measurement:
    """Sphere of 1000 points with 20 neighbours; torus of 32 x 32 points in four dimensions, noise 1e-6, 8 neighbours."""
    side = {"cpu": 32, "gpu": 64, "paper": 64}[scale]
    ball = tangent_bundle(fibonacci_sphere(1000), 20)
    unit = float(eigenpairs(ball.laplacian, 4).values[1:].mean()) / 2
    least = float(eigenpairs(ball.connection_laplacian, 1).values[0]) / unit
    torus = tangent_bundle(clifford_torus(side, noise=1e-6, random_state=0), 8, dimension=2)
    doubled = np.repeat(eigenpairs(torus.laplacian, 20).values, 2)
    vectors = eigenpairs(torus.connection_laplacian, 40).values
    gap = float(np.abs(vectors - doubled).max() / doubled[-1])
    n_zero = int((vectors < 1e-3 * doubled[2]).sum())
    figure, axes = new_figure(width=6.4)
    axes[0, 0].plot(np.arange(1, 41), doubled, color="black", label="torus, scalar, each twice")
    axes[0, 0].plot(np.arange(1, 41), vectors, ".", color=COLORS[0], label="torus, connection")
    sphere_values = eigenpairs(ball.connection_laplacian, 40).values
    axes[0, 0].plot(np.arange(1, 41), sphere_values, "x", color=COLORS[1], label="sphere, connection", markersize=4)
    axes[0, 0].set(xlabel="eigenvalue", ylabel="value")
    axes[0, 0].legend()
    return Measurement(
        figure=least,
        holds=bool(0.9 <= least <= 1.1 and n_zero == 2 and gap <= 1e-3),
        threshold="least eigenvalue on the sphere in [0.9, 1.1]; two zeros on the torus, and the scalar spectrum twice to 1e-3",
        unit="least eigenvalue on the sphere",
        paper="1 (theorem)",
        baseline=float(vectors[0] / doubled[2]),
        baseline_name="the same on the torus, in units of the first scalar one that is not zero",
        table=[
            {"sphere, least": least, "torus, zeros": n_zero, "torus, departure from the scalar spectrum twice": gap}
        ],
        plot=figure,
    )


# --- 3, 4: super-resolution, inpainting --------------------------------------------------------------------------------


@claim(
    "rvgp",
    3,
    says="Super-resolution of a field on the bunny beats scalar kernels on coordinates and on eigenvectors.",
    source="Section 5.1; an independent implementation for the numbers",
)
def super_resolution_beats_scalar_kernels(scale: Scale) -> Measurement:
    """Mean of five splits on the field of seed 1 at t = 100; the paper's likelihood is judged. Also t = 10, a rougher field."""
    source, spacing, k = {
        "cpu": (BUNNY, 0.05, 100),
        "gpu": (BUNNY, 0.01, 300),
        "paper": (BUNNY_FINE, 0.0, 500),
    }[scale]
    bundle = tangent_bundle(surface(source, spacing))
    n, eigenvectors = bundle.n_points, scalar_encoding(bundle, k)
    table: list[dict[str, Any]] = []
    for time in (100.0, 10.0):
        field = random_field(bundle, time, random_state=1)
        for fraction in (0.1, 0.2, 0.5):
            cases = []
            for seed in range(5):
                order = numpy_generator(seed).permutation(n)
                train, test = order[: int(fraction * n)], order[int(fraction * n) :]
                results = predictions(bundle, field, train, test, k, eigenvectors)
                cases.append(_errors(results, field[test]))
            table += _mean_rows(cases, t=time, observed=fraction)

    def at(fraction: float, name: str) -> dict[str, Any]:
        return next(r for r in table if (r["t"], r["observed"], r["method"]) == (100.0, fraction, name))

    ours, space, scalar = (
        at(0.5, name)["relative error"] for name in ("RVGP", "RBF on coordinates", "RBF on scalar eigenvectors")
    )
    few, few_scalar = at(0.1, "RVGP")["cosine"], at(0.1, "RBF on scalar eigenvectors")["cosine"]
    return Measurement(
        figure=ours,
        holds=bool(
            ours <= 0.17 and ours <= 0.75 * space and ours <= 0.5 * scalar and few >= 0.97 and few_scalar <= 0.85
        ),
        threshold="at 50 %: relative error <= 0.17, <= 0.75 of RBF on coordinates, <= 0.5 of RBF on eigenvectors; at 10 %: "
        "cosine >= 0.97 where RBF on eigenvectors has <= 0.85",
        unit="relative error at 50 % observed",
        paper="figures only (0.121 in an independent implementation)",
        baseline=space,
        baseline_name="RBF on coordinates",
        spread=at(0.5, "RVGP")["spread"],
        n_seeds=5,
        table=table,
        note=f"With 10 % observed the cosine is {few:.3f} (RBF on eigenvectors {few_scalar:.3f}). The projected scalar kernel is "
        f"nearly as good: {at(0.5, 'projected scalar kernel')['relative error']:.3f} at 50 %. With noise in the tangent planes "
        f"only (tangent likelihood) 10 % give {at(0.1, 'RVGP, tangent likelihood')['relative error']:.3f} instead of "
        f"{at(0.1, 'RVGP')['relative error']:.3f}: these fields have no normal part, which the ambient likelihood takes "
        "for values without noise.",
        plot=_draw_methods(table, "observed", "fraction observed"),
    )


def _draw_methods(table: list[dict[str, Any]], key: str, label: str) -> Figure:
    """Relative error of each method against a setting, one panel a diffusion time."""
    times = sorted({row.get("t", 100.0) for row in table}, reverse=True)
    figure, axes = new_figure(1, len(times), width=3.9 * len(times) + 2.2, sharey=True)
    names = list(dict.fromkeys(row["method"] for row in table))
    for ax, time in zip(axes[0], times):
        for index, name in enumerate(names):
            rows = [row for row in table if row["method"] == name and row.get("t", 100.0) == time]
            ax.errorbar(
                [row[key] for row in rows],
                [row["relative error"] for row in rows],
                [row["spread"] for row in rows],
                marker="osv^DP"[index],
                markersize=4,
                capsize=2,
                color=COLORS[index],
                label=name,
            )
        ax.set(xlabel=label, title=f"field diffused to t = {time:g}")
    axes[0, 0].set(ylabel="relative error", ylim=(0, None))
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


@claim(
    "rvgp",
    4,
    says="Inpainting fills a hole better than scalar kernels and keeps singularities.",
    source="Section on inpainting; centre of the hole from the reference script",
)
def inpainting_keeps_singularities(scale: Scale) -> Measurement:
    """Bunny at spacing 0.03, five fields at t = 100: two holes at the reference's place are judged.

    Reported beside them: a hole of the larger radius on the most singular point, with the turns of the field along the eight
    points around its centre, and the singularities kept where a fifth of the vectors on a bumpy surface are observed.
    """
    spacing, k = {"cpu": (0.03, 100), "gpu": (0.015, 200), "paper": (0.01, 300)}[scale]
    bundle = tangent_bundle(surface(BUNNY, spacing))
    eigenvectors = scalar_encoding(bundle, k)
    around = NearestNeighbors(n_neighbors=8).fit(bundle.points).kneighbors(return_distance=False)
    holes: dict[str, list[dict[str, tuple[float, float]]]] = {}
    turns: list[dict[str, int]] = []
    for seed in range(1, 6):
        field = random_field(bundle, 100.0, random_state=seed)
        coherence = np.linalg.norm(bundle.adjacency @ field, axis=1) / bundle.adjacency.sum(axis=1)
        worst = int(coherence.argmin())
        for words, centre, radius in (
            ("0.015", HOLE, 0.015),
            ("0.025", HOLE, 0.025),
            ("0.025, singular", bundle.points[worst], 0.025),
        ):
            inside = np.linalg.norm(bundle.points - centre, axis=1) <= radius
            test, train = np.flatnonzero(inside), np.flatnonzero(~inside)
            results = predictions(bundle, field, train, test, k, eigenvectors)
            holes.setdefault(words, []).append(_errors(results, field[test]))
            if words.endswith("singular"):
                turns.append(_turns(bundle, field, test, results, around[worst], bundle.frames[worst]))
    table = [row for words, cases in holes.items() for row in _mean_rows(cases, hole=words)]
    for row in table:
        if row["hole"].endswith("singular"):
            row["index kept"] = f"{sum(turn[row['method']] == turn['truth'] for turn in turns)} of {len(turns)}"
    kept = {name: _kept_on_bumpy_surface(name, scale) for name in ("RVGP", "thin-plate spline")}
    table += [
        {"hole": "bumpy surface, 20 % observed", "method": n, "index kept": f"{a} of {b}"} for n, (a, b) in kept.items()
    ]

    def at(hole: str, name: str) -> float:
        return next(row["relative error"] for row in table if (row["hole"], row["method"]) == (hole, name))

    small, large = (
        [at(hole, name) for name in ("RVGP", "RBF on coordinates", "RBF on scalar eigenvectors")]
        for hole in ("0.015", "0.025")
    )
    wins = [sum(case["RVGP"][1] < case["RBF on coordinates"][1] for case in holes[hole]) for hole in ("0.015", "0.025")]
    indices = ", ".join(f"{turn['truth']:+d}" for turn in turns)
    return Measurement(
        figure=large[0],
        holds=all(ours < space and ours < 0.6 * scalar for ours, space, scalar in (small, large)),
        threshold="relative error below RBF on coordinates and below 0.6 of RBF on eigenvectors in both holes, mean of 5 fields",
        unit="relative error in the hole of radius 0.025",
        paper="figures only (0.150 in an independent implementation, one field)",
        baseline=large[1],
        baseline_name=f"RBF on coordinates; RBF on eigenvectors has {large[2]:.3f}",
        spread=next(row["spread"] for row in table if row["hole"] == "0.025"),
        n_seeds=5,
        table=table,
        note=f"In the small hole {small[0]:.3f} against {small[1]:.3f} and {small[2]:.3f}. RVGP is better than RBF on "
        f"coordinates on {wins[0]} and {wins[1]} of the five fields in the two holes; compare the spread in the table. "
        "Unfavourable: the thin-plate spline, which the paper does not look at, has "
        f"{at('0.015', 'thin-plate spline'):.3f} and {at('0.025', 'thin-plate spline'):.3f}. True indices of the five singular "
        f"holes: {indices}; all five are right for {_names(table, turns)}. On the bumpy surface RVGP keeps {kept['RVGP'][0]} of "
        f"{kept['RVGP'][1]} singularities, the spline {kept['thin-plate spline'][0]}.",
        plot=_draw_holes(table),
    )


def _names(table: list[dict[str, Any]], turns: list[dict[str, int]]) -> str:
    """Methods that keep every index."""
    names = [row["method"] for row in table if row.get("index kept") == f"{len(turns)} of {len(turns)}"]
    return ", ".join(name for name in dict.fromkeys(names)) or "none"


def _turns(
    bundle: TangentBundle,
    field: np.ndarray,
    test: np.ndarray,
    results: dict[str, np.ndarray],
    ring: np.ndarray,
    plane: np.ndarray,
) -> dict[str, int]:
    """Turns along a ring within the hole, of the truth and of each prediction."""
    turns = {}
    for name, values in {"truth": field[test], **results}.items():
        completed = field.copy()
        completed[test] = values
        turns[name] = int(winding_number(bundle.points, completed, ring[None], plane[None])[0])
    return turns


def _kept_on_bumpy_surface(method: str, scale: Scale) -> tuple[int, int]:
    """Singularities kept and true ones, over five fields, from a fifth of the vectors with noise of a tenth of their length."""
    n = {"cpu": 1000, "gpu": 4000, "paper": 10_000}[scale]
    points = bumpy_sphere(n)
    bundle = tangent_bundle(points)
    triangles = ConvexHull(points / np.linalg.norm(points, axis=1, keepdims=True)).simplices
    spacing = np.sqrt(4 * np.pi / n)
    kept, true = 0, 0
    for seed in range(5):
        generator = numpy_generator(seed)
        field = random_field(bundle, 20.0 * n / 1000, random_state=generator)
        train = generator.permutation(n)[: n // 5]
        noisy = field + bundle.vectors(0.1 / np.sqrt(2) * generator.normal(size=(n, 2)))
        if method == "RVGP":
            predicted = VectorFieldGP(likelihood="tangent").fit(bundle, noisy, train).predict()
        else:
            predicted = RBFInterpolator(points[train], noisy[train], neighbors=200 if n > 2000 else None)(points)
        counts = singularities_kept(points, triangles, predicted, field, 3 * spacing)
        kept, true = kept + counts[0], true + counts[1]
    return kept, true


def _draw_holes(table: list[dict[str, Any]]) -> Figure:
    rows = [row for row in table if "relative error" in row]
    holes, names = (list(dict.fromkeys(row[key] for row in rows)) for key in ("hole", "method"))
    figure, axes = new_figure(width=7.6, height=3.4)
    for index, name in enumerate(names):
        values = [row for row in rows if row["method"] == name]
        place = np.arange(len(holes)) + 0.13 * (index - 2.5)
        axes[0, 0].bar(
            place,
            [row["relative error"] for row in values],
            0.12,
            yerr=[row["spread"] for row in values],
            color=COLORS[index],
            label=name,
        )
    axes[0, 0].set_xticks(np.arange(len(holes)), [f"radius {hole}" for hole in holes])
    axes[0, 0].set(ylabel="relative error in the hole")
    axes[0, 0].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


# --- 5: degradation ----------------------------------------------------------------------------------------------------


@claim(
    "rvgp",
    5,
    says="The alignment degrades gracefully with noise on the positions and with fewer points.",
    source="Ablations over noise and density (figures)",
)
def alignment_degrades_gracefully(scale: Scale) -> Measurement:
    """Bunny, one field at t = 400 on the finest cloud, 80 % of it observed: noise on the positions of the others at spacing 0.03,
    in fractions of the diameter; and spacing.

    The reference scripts make the field anew on the moved or thinned points, so that the question changes with the noise: a first
    run with their protocol showed no trend at all. It is reported; what is judged, by the same thresholds, is one field for all.
    """
    n_seeds = {"cpu": 3, "gpu": 10, "paper": 10}[scale]
    noises = (0.005, 0.01, 0.015, 0.02, 0.03, 0.045)
    finest = {"cpu": 0.015}.get(scale, 0.01)
    spacings = (finest, 0.02, 0.03, 0.04, 0.06, 0.08)
    points = surface(BUNNY, finest)  # whose first points are those at a larger spacing
    field = random_field(tangent_bundle(points), 400.0, random_state=1)
    extent = diameter(points)
    table: list[dict[str, Any]] = []
    for what, value, spacing, noise in (
        *(("noise", noise, 0.03, noise) for noise in noises),
        *(("spacing", spacing, spacing, 0.0) for spacing in spacings),
    ):
        n = len(surface(BUNNY, spacing))
        for words, truth in (("one for all", field[:n]), ("made anew", None)):
            row = _alignments(points[:n], truth, noise * extent, n_seeds)
            table.append({"field": words, "varied": what, "value": value, "points": n, **row})

    def chosen(words: str, what: str) -> list[dict[str, Any]]:
        return [row for row in table if (row["field"], row["varied"]) == (words, what)]

    trends = {
        (words, what): float(
            spearmanr(*zip(*((row["value"], row["alignment"]) for row in chosen(words, what)))).statistic
        )
        for words in ("one for all", "made anew")
        for what in ("noise", "spacing")
    }
    mild = [row for row in chosen("one for all", "noise") if row["value"] <= 0.02]
    low = min(row["alignment"] for row in mild)
    figure, axes = new_figure(1, 2, width=9.6, sharey=True)
    for ax, what in zip(axes[0], ("noise", "spacing")):
        for words, name, style, color in (
            ("one for all", "RVGP", "o-", COLORS[0]),
            ("one for all", "RBF on coordinates", "s-", COLORS[1]),
            ("made anew", "RVGP", "o:", COLORS[4]),
        ):
            rows = chosen(words, what)
            key = "alignment" if name == "RVGP" else name
            ax.plot(
                [r["value"] for r in rows], [r[key] for r in rows], style, color=color, label=f"{name}, field {words}"
            )
        ax.set(xlabel=f"{what} / diameter")
    axes[0, 0].set(ylabel="mean inner product with the truth")
    axes[0, 1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return Measurement(
        figure=low,
        holds=bool(low >= 0.9 and max(trends["one for all", what] for what in ("noise", "spacing")) <= -0.8),
        threshold="alignment >= 0.9 up to 2 % noise; rank correlation <= -0.8 with noise and with spacing",
        unit="least alignment up to 2 % noise",
        paper="figures only",
        baseline=min(row["RBF on coordinates"] for row in mild),
        baseline_name="RBF on coordinates",
        n_seeds=n_seeds,
        table=table,
        note=f"Rank correlations with noise and spacing: {trends['one for all', 'noise']:.2f} and "
        f"{trends['one for all', 'spacing']:.2f}; with the field made anew on the moved points, as in the reference scripts, "
        f"{trends['made anew', 'noise']:.2f} and {trends['made anew', 'spacing']:.2f}. Unfavourable: with little noise RBF on "
        "coordinates is better. Predictions lie in the tangent spaces of the coarse, moved cloud, and the tangential part of the "
        f"truth is itself aligned by {mild[0]['tangential part of the truth']:.3f} only at the least noise, where RVGP has "
        f"{mild[0]['alignment']:.3f}.",
        plot=figure,
    )


def _alignments(points: np.ndarray, truth: np.ndarray | None, noise: float, n_seeds: int) -> dict[str, float]:
    """Mean over the seeds of the alignment on the hidden fifth; of a field made on the moved points where none is given."""
    results = []
    for seed in range(n_seeds):
        generator = numpy_generator(seed)
        order = generator.permutation(len(points))
        train, test = order[: int(0.8 * len(points))], order[int(0.8 * len(points)) :]
        moved = points.copy()
        moved[test] += noise * generator.normal(size=(len(test), 3))
        bundle = tangent_bundle(moved, dimension=2)
        field = random_field(bundle, 100.0, random_state=seed) if truth is None else truth
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # moved neighbours tilt the frames away from the vectors
            model = VectorFieldGP(n_eigenpairs=min(100, 2 * len(points)), likelihood="ambient").fit(
                bundle, field, train
            )
        ours = model.predict(test)
        space = channelwise_rbf(moved[train], field[train], moved[test], n_learning=400)
        tangential = bundle.vectors(bundle.coordinates(field))
        results.append(
            [
                alignment(ours, field[test]),
                mean_cosine(ours, field[test]),
                alignment(space, field[test]),
                alignment(tangential[test], field[test]),
            ]
        )
    names = ("alignment", "cosine", "RBF on coordinates", "tangential part of the truth")
    return dict(zip(names, np.mean(results, axis=0).tolist()))


# --- 6: electroencephalography -----------------------------------------------------------------------------------------


@claim(
    "rvgp",
    6,
    says="RVGP keeps of the flow on the scalp what tells patients from controls, better than linear or spline interpolation.",
    source="Section 5.2; the authors' stored maps and scores; a stand-in on the real electrodes",
)
def eeg_flow_is_kept(scale: Scale) -> Measurement:
    """Reported and not judged: maps and scores are the authors', whatever this library does, and the diagnoses from which
    scores could be computed anew are not published.

    The stored maps are compared anew and the stored scores quoted. The correlation of the maps with the truth is better for
    linear interpolation than for RVGP, the score is better for RVGP.

    The stand-in, where this library computes: smooth fields on the 256 electrodes, 64 of them observed.
    """
    try:
        data = download(EEG)
    except OSError as error:
        raise ScaleUnavailable(f"the maps could not be downloaded: {error}") from error
    methods = [str(name) for name in data["method_names"]]
    table: list[dict[str, Any]] = []
    for words, key in (("divergence", "ss_maps"), ("curl", "ca_maps")):
        maps = data[key].astype(np.float64)
        maps -= maps.mean(axis=2, keepdims=True)
        maps /= np.linalg.norm(maps, axis=2, keepdims=True)
        for name, own in zip(methods, maps):
            table.append(
                {
                    "what": f"stored maps, {words}",
                    "method": name,
                    "correlation": float((own * maps[0]).sum(axis=1).mean()),
                }
                | ({} if name == "ground" else {"z-score error": float(data[f"recon_{words}_{name}"].mean())})
            )
    scores = dict(zip(methods, data["svm_auc"].mean(axis=1).tolist()))
    table += [{"what": "stored AUC", "method": name, "AUC": score} for name, score in scores.items()]
    table += _stand_in(data["channel_xyz"], n_seeds={"cpu": 5, "gpu": 20, "paper": 20}[scale])

    def correlation(words: str, name: str) -> float:
        return next(r["correlation"] for r in table if (r["what"], r["method"]) == (f"stored maps, {words}", name))

    orders = [
        correlation(words, "spline")
        < 0.5 * correlation(words, "rvgp")
        < correlation(words, "rvgp")
        < correlation(words, "linear")
        for words in ("divergence", "curl")
    ]
    order_of_scores = scores["ground"] > scores["rvgp"] > scores["linear"] > scores["spline"]
    return Measurement(
        figure=scores["rvgp"],
        holds=None,
        threshold="not judged: the maps and the scores are the authors', and the data behind them are not public",
        unit="AUC, as stored by the authors",
        paper="0.782 ± 0.008",
        baseline=scores["linear"],
        baseline_name=f"linear interpolation; spline {scores['spline']:.3f}, all channels {scores['ground']:.3f}",
        spread=float(data["svm_auc"][methods.index("rvgp")].std()),
        n_seeds=data["svm_auc"].shape[1],
        table=table,
        note=f"Stored AUC in the order truth > RVGP > linear > spline: {'yes' if order_of_scores else 'no'}; stored maps in the "
        f"order spline < half of RVGP < linear of their correlation with the truth: {'yes' if all(orders) else 'no'}. "
        "Unfavourable to the method: the stored maps of linear interpolation correlate more with the truth "
        f"({correlation('divergence', 'linear'):.3f} and {correlation('curl', 'linear'):.3f}) than those of RVGP "
        f"({correlation('divergence', 'rvgp'):.3f} and {correlation('curl', 'rvgp'):.3f}). The scores cannot be computed anew: "
        "the diagnoses are not published. For fields of smooth waves in space, RBF on coordinates is better (table).",
        plot=_draw_eeg(table),
    )


def in_the_plane(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
    """Electrodes seen from above, the distance from the middle being the angle from the vertex."""
    direction = points - points.mean(axis=0)
    angle = np.arctan2(np.linalg.norm(direction[:, :2], axis=1), direction[:, 2])
    return angle[:, None] * direction[:, :2] / np.linalg.norm(direction[:, :2], axis=1, keepdims=True)


def _stand_in(electrodes: np.ndarray, n_seeds: int) -> list[dict[str, Any]]:
    """Fields on the electrodes, from 64 channels: error of the field, correlation of its divergence with the true one."""
    points = electrodes / np.linalg.norm(electrodes, axis=1).mean()
    bundle = tangent_bundle(points)
    chosen = farthest_points(points, 64)[0]
    rest = np.setdiff1d(np.arange(len(points)), chosen)
    flat = in_the_plane(points)
    results: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for seed in range(n_seeds):
        generator = numpy_generator(seed)
        waves = np.einsum(
            "aj,an->nj",
            generator.normal(size=(4, 3)),
            np.cos(2 * _directions(generator) @ points.T + generator.uniform(0, 2 * np.pi, size=(4, 1))),
        )
        fields = {
            "with singularities": random_field(bundle, 10.0, random_state=generator),
            "smooth waves in space": bundle.vectors(bundle.coordinates(waves)),
        }
        for words, field in fields.items():
            truth = divergence_and_curl(points, field)[0]
            for name, predicted in _from_few_channels(bundle, field, chosen, flat).items():
                own = divergence_and_curl(points, predicted)[0]
                error = relative_error(predicted[rest], field[rest])
                results.setdefault((words, name), []).append((error, float(np.corrcoef(own, truth)[0, 1])))
    rows = []
    for (words, name), values in results.items():
        error, agreement = np.mean(values, axis=0)
        rows.append({"what": f"stand-in, {words}", "method": name, "relative error": error, "correlation": agreement})
    return rows


def _directions(generator: np.random.Generator) -> Float[np.ndarray, "4 3"]:
    directions = generator.normal(size=(4, 3))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def _from_few_channels(
    bundle: TangentBundle, field: np.ndarray, chosen: np.ndarray, flat: np.ndarray
) -> dict[str, np.ndarray]:
    """The field on all electrodes by each method."""
    points = bundle.points
    linear = LinearNDInterpolator(flat[chosen], field[chosen])(flat)
    outside = np.isnan(linear).any(axis=1)
    linear[outside] = NearestNDInterpolator(flat[chosen], field[chosen])(flat[outside])
    return {
        "RVGP, 10 eigenpairs": VectorFieldGP(n_eigenpairs=10).fit(bundle, field, chosen).predict(),
        "RVGP, 100 eigenpairs": VectorFieldGP(n_eigenpairs=100).fit(bundle, field, chosen).predict(),
        "linear": linear,
        "spline": RBFInterpolator(points[chosen], field[chosen])(points),
        "RBF on coordinates": channelwise_rbf(points[chosen], field[chosen], points),
    }


def _draw_eeg(table: list[dict[str, Any]]) -> Figure:
    figure, axes = new_figure(1, 2, width=9.2, height=3.4)
    panels = (("stored maps, ", "correlation of the stored maps"), ("stand-in, ", "relative error of the stand-in"))
    for ax, (prefix, label), key in zip(axes[0], panels, ("correlation", "relative error")):
        rows = [row for row in table if row["what"].startswith(prefix) and row["method"] != "ground"]
        groups, names = (list(dict.fromkeys(row[column] for row in rows)) for column in ("what", "method"))
        for index, name in enumerate(names):
            values = [row[key] for row in rows if row["method"] == name]
            ax.bar(
                np.arange(len(groups)) + 0.15 * (index - (len(names) - 1) / 2),
                values,
                0.14,
                color=COLORS[index],
                label=name,
            )
        ax.set_xticks(np.arange(len(groups)), [group.removeprefix(prefix) for group in groups])
        ax.set(ylabel=label)
        ax.legend(fontsize="x-small")
    return figure

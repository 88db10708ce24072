"""Heat-geodesic distances against closed forms and brute force, their maps, and what they beat."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import dijkstra
from scipy.spatial.distance import cdist
from sklearn.neighbors import KNeighborsClassifier

from semigroup.data.manifolds import branching_tree, swiss_roll
from semigroup.jobs import Context
from semigroup.jobs.heat_geodesic import Cloud, perform, read
from semigroup.manifolds import HeatGeodesic
from semigroup.manifolds.heat_geodesic import (
    align,
    classical_scaling,
    diffusion_entropy,
    diffusion_map,
    entropy_time,
    geodesic_scores,
    heat_geodesic_dissimilarity,
    heat_kernel,
    knee,
    log_normalised_dissimilarity,
    metric_scaling,
    multiscale_weights,
    neighbour_precision,
    place,
    potential_distances,
    potential_time,
    random_walk_geodesic,
    random_walk_kernel,
    stress_weights,
    symmetrise,
    triplet_dissimilarity,
    truncate,
    truncation_range,
)
from semigroup.manifolds.heat_geodesic.kernel import diagonal_from_columns
from semigroup.operators import laplacian, neighbour_graph
from semigroup.operators.topology import path


def cloud(n=60, seed=0, dim=3):
    return np.random.default_rng(seed).normal(size=(n, dim))


def roll_graph(n=300):
    return neighbour_graph(swiss_roll(n, random_state=0).points, 10, kernel="alpha-decay")


@pytest.fixture(scope="module")
def noisy_roll():
    return swiss_roll(300, n_features=10, noise=0.5, random_state=0)


@pytest.fixture(scope="module")
def fitted(noisy_roll):
    return HeatGeodesic().fit(noisy_roll.points)


# --- the kernel ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["combinatorial", "normalised", "random-walk"])
@pytest.mark.parametrize("method", ["chebyshev", "exact", "positive", "low-rank"])
def test_every_way_gives_the_matrix_exponential_and_its_columns(method, kind):
    affinity = neighbour_graph(cloud(), 5, kernel="alpha-decay")
    truth = scipy.linalg.expm(-2.0 * laplacian(affinity, kind).toarray())
    order = 60 if method == "low-rank" else None
    whole = heat_kernel(affinity, 2.0, kind=kind, method=method, order=order)
    np.testing.assert_allclose(whole, truth, atol=1e-10)
    some = heat_kernel(affinity, 2.0, np.array([3, 7]), kind=kind, method=method, order=order)
    np.testing.assert_allclose(some, truth[:, [3, 7]], atol=1e-10)


def test_backward_euler_is_the_power_of_a_resolvent():
    affinity = neighbour_graph(cloud(), 5, kernel="alpha-decay")
    step = np.linalg.inv(np.eye(60) + 2.0 / 7 * laplacian(affinity).toarray())
    for kind in ("combinatorial", "random-walk"):
        step = np.linalg.inv(np.eye(60) + 2.0 / 7 * laplacian(affinity, kind).toarray())
        found = heat_kernel(affinity, 2.0, kind=kind, method="euler", order=7)
        np.testing.assert_allclose(found, np.linalg.matrix_power(step, 7), rtol=1e-9)


def test_too_low_a_degree_is_warned_of_and_wrong():
    affinity = roll_graph()
    exact = heat_kernel(affinity, 50.0, method="exact")
    with pytest.warns(UserWarning, match="order=30 is below the degree"):
        poor = heat_kernel(affinity, 50.0, method="chebyshev", order=30)
    assert np.linalg.norm(poor - exact) > 0.1 * np.linalg.norm(exact)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        good = heat_kernel(affinity, 50.0, method="chebyshev")
    assert np.linalg.norm(good - exact) < 1e-9 * np.linalg.norm(exact)


@pytest.mark.parametrize("kind", ["combinatorial", "normalised"])
def test_diagonal_from_landmarks_is_a_close_lower_bound(kind):
    affinity = roll_graph()
    exact = heat_kernel(affinity, 20.0, kind=kind, method="exact")
    columns = np.arange(0, 300, 3)
    found = diagonal_from_columns(exact[:, columns], columns, laplacian(affinity, kind).diagonal(), 20.0)
    assert (found <= exact.diagonal() * (1 + 1e-6)).all()
    np.testing.assert_array_equal(found[columns], exact.diagonal()[columns])
    assert np.abs(np.log(found / exact.diagonal())).mean() < 0.05


def test_knee_is_the_bend_and_a_straight_line_has_none():
    x = np.linspace(0, 10, 41)
    assert knee(x, np.minimum(x, 2.5)) == 2.5
    assert knee(x, np.log1p(5 * x)) == pytest.approx(10 / np.log(51) - 0.2, abs=0.13)  # where the slope is the chord's
    assert knee(x, 3 * x) == 10
    assert knee(x, np.ones(41)) == 10


def test_automatic_time_is_the_knee_of_the_entropy_and_entropy_grows():
    affinity = roll_graph(200)
    times = np.geomspace(0.05, 200, 12)
    entropies = [diffusion_entropy(heat_kernel(affinity, t, method="exact")) for t in times]
    assert (np.diff(entropies) > 0).all()
    chosen = entropy_time(lambda t: heat_kernel(affinity, t, method="exact"), times)
    assert chosen in times and times[0] < chosen < times[-1]
    points = swiss_roll(200, random_state=0).points
    model = HeatGeodesic(diffusion_time="auto", time_spacing="log", n_times=12, heat_method="exact").fit(points)
    assert model.diffusion_times_[0] == pytest.approx(chosen)


# --- the dissimilarity ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("time", "tolerance"), [(50.0, 0.015), (200.0, 0.001)])
def test_on_a_line_the_distance_is_the_number_of_steps(time, tolerance):
    kernel = heat_kernel(path(400).adjacency, time, method="exact")
    hops = np.arange(3, 61)
    found = heat_geodesic_dissimilarity(kernel, time)[170, 170 + hops]
    assert np.abs(found / hops - 1).max() < tolerance
    # Without the volume term, d² = hops² + 2 t log(4 π t).
    plain = heat_geodesic_dissimilarity(kernel, time, volume_correction=0.0)[170, 170 + hops]
    np.testing.assert_allclose(plain**2, hops**2 + 2 * time * np.log(4 * np.pi * time), rtol=2 * tolerance)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 20), st.floats(0, 1.5), st.floats(0.5, 3), st.integers(0, 100))
def test_dissimilarity_is_its_formula_pair_by_pair(time, sigma, power, seed):
    affinity = neighbour_graph(cloud(20, seed), 6, kernel="alpha-decay")
    kernel = heat_kernel(affinity, time, method="exact")
    found = heat_geodesic_dissimilarity(kernel, time, volume_correction=sigma, power=power)
    for i, j in ((0, 1), (3, 17), (5, 5)):
        volume = 2 / (kernel[i, i] + kernel[j, j])
        squared = -4 * time * np.log(kernel[i, j] + 1e-16) - 4 * time * sigma * np.log(volume)
        assert found[i, j] == pytest.approx(np.sqrt(max(squared, 0)) ** power, rel=1e-6, abs=1e-6)


def test_log_normalised_distance_counts_edges_as_time_goes_to_zero():
    affinity = neighbour_graph(cloud(40, 1), 4, kernel="binary")
    hops = dijkstra(affinity, unweighted=True)
    kernel = heat_kernel(affinity, 1e-12, method="positive")
    found = log_normalised_dissimilarity(kernel, 1e-12, floor=1e-300)
    np.testing.assert_allclose(found, hops, atol=0.25)


def test_scales_are_averaged_with_weights_that_favour_short_times(noisy_roll):
    times = np.geomspace(5, 50, 3)
    weights = multiscale_weights(times)
    np.testing.assert_allclose(weights, (1 - times / times.sum()) / 2)
    affinity = neighbour_graph(noisy_roll.points, 10, kernel="alpha-decay")
    parts = [heat_geodesic_dissimilarity(heat_kernel(affinity, t, method="euler"), t) for t in times]
    model = HeatGeodesic(n_scales=3, min_time=5.0, max_time=50.0, heat_method="euler").fit(noisy_roll.points)
    np.testing.assert_allclose(model.distances_, symmetrise(np.tensordot(weights, parts, 1)), atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("none", [0, 2, 8, 10]),
        ("max", [0, 0.2, 1, 1]),
        ("min", [0, 0, 0.8, 1]),
        ("quantile-max", [0, 0.2, 1, 1]),
        ("quantile-min", [0, 0, 0.8, 1]),
    ],
)
def test_truncation_cuts_where_it_says(kind, wanted):
    distances = np.array([[0.0, 2.0], [8.0, 10.0]])
    found = truncate(distances, truncation_range(distances, 0.5, kind), kind)
    np.testing.assert_allclose(found.ravel(), wanted)


def test_triplet_distances_compare_rows():
    rows = cloud(12, 2, 7)
    np.testing.assert_allclose(triplet_dissimilarity(rows, rows[:5]), cdist(rows, rows[:5]), atol=1e-7)
    np.testing.assert_allclose(triplet_dissimilarity(rows, rows[:5], 28), 2 * cdist(rows, rows[:5]), atol=1e-7)


def test_estimator_mixes_triplet_distances_with_the_distances(noisy_roll, fitted):
    mixed = HeatGeodesic(triplet=0.25).fit(noisy_roll.points)
    expected = 0.75 * fitted.distances_ + 0.25 * cdist(fitted.distances_, fitted.distances_)
    np.testing.assert_allclose(mixed.distances_, expected, atol=1e-5)


def test_distances_do_not_depend_on_rotation_unit_or_order(noisy_roll, fitted):
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(10, 10)))
    order = np.random.default_rng(1).permutation(300)
    moved = HeatGeodesic().fit((7 * noisy_roll.points @ rotation + 3)[order])
    np.testing.assert_allclose(moved.distances_, fitted.distances_[np.ix_(order, order)], atol=1e-5)


def test_phate_is_a_special_case():
    roll = swiss_roll(300, noise=0.5, random_state=0)
    options = {"laplacian": "random-walk", "self_affinity": 1.0, "power": 2.0, "volume_correction": 0.0, "triplet": 1.0}
    with pytest.warns(UserWarning, match="no heat is seen"):  # below PHATE's floor
        model = HeatGeodesic(diffusion_time=20.0, heat_method="positive", floor=1e-7, **options).fit(roll.points)
    affinity = neighbour_graph(roll.points, 10, kernel="alpha-decay")
    potential = potential_distances(affinity, 20)
    pairs = np.triu_indices(300, 1)
    assert np.corrcoef(model.distances_[pairs], potential[pairs])[0, 1] > 0.998


# --- baselines and measures ----------------------------------------------------------------------------------------


def test_walks_keep_points_with_affinity_one_and_the_symmetric_power_is_symmetric():
    affinity = neighbour_graph(cloud(), 5, kernel="alpha-decay")
    kept = affinity.toarray() + np.eye(60)
    step = kept / kept.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(random_walk_kernel(affinity, 3), step @ step @ step)
    np.testing.assert_allclose(random_walk_kernel(affinity, 2, "affinity"), kept @ kept)
    symmetric = random_walk_kernel(affinity, 3, "symmetric")
    np.testing.assert_allclose(symmetric, symmetric.T, atol=1e-14)
    np.testing.assert_allclose(np.trace(symmetric), np.trace(step @ step @ step))
    np.testing.assert_allclose(
        random_walk_geodesic(affinity, 3), heat_geodesic_dissimilarity(step @ step @ step, 3.0), atol=1e-9
    )


def test_diffusion_map_has_the_diffusion_distances():
    affinity = neighbour_graph(cloud(), 5, kernel="alpha-decay")
    kept = affinity.toarray() + np.eye(60)
    stationary = kept.sum(axis=1) / kept.sum()
    rows = random_walk_kernel(affinity, 4) / np.sqrt(stationary)
    np.testing.assert_allclose(cdist(*2 * [diffusion_map(affinity, 4)]), cdist(rows, rows), atol=1e-9)
    assert diffusion_map(affinity, 4, 2).shape == (60, 2)


def test_potential_distances_and_their_time_are_those_of_phate():
    phate = pytest.importorskip("phate")
    roll = swiss_roll(200, noise=0.3, random_state=0)
    options = {"knn": 10, "decay": 40, "n_pca": None, "n_landmark": None, "verbose": 0, "random_state": 0}
    theirs = phate.PHATE(**options).fit(roll.points)
    affinity = neighbour_graph(roll.points, 10, kernel="alpha-decay")
    np.testing.assert_allclose(theirs.graph.K.toarray() - np.eye(200), affinity.toarray(), atol=1e-6)
    t = potential_time(affinity)
    assert abs(t - theirs._find_optimal_t(t_max=100)) <= 1
    theirs.t = t
    theirs._calculate_potential(t=t)
    expected = cdist(theirs.diff_potential, theirs.diff_potential)
    np.testing.assert_allclose(potential_distances(affinity, t), expected, rtol=1e-3, atol=1e-3)


def test_scores_are_correlations_of_rows():
    predicted, truth = np.abs(cloud(9, 0, 9)), np.abs(cloud(9, 1, 9))
    np.fill_diagonal(truth, 0)
    zeroed = predicted - np.diag(np.diag(predicted))
    expected = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(zeroed, truth)])
    ranks = [pd.Series(a).corr(pd.Series(b), method="spearman") for a, b in zip(zeroed, truth)]
    scores = geodesic_scores(predicted, truth)
    assert scores.pearson == pytest.approx(expected) and scores.spearman == pytest.approx(np.mean(ranks))
    near = [set(np.argsort(row + np.eye(9)[i] * 99)[:3]) for i, row in enumerate(zeroed)]
    true = [set(np.argsort(row + np.eye(9)[i] * 99)[:3]) for i, row in enumerate(truth)]
    assert neighbour_precision(zeroed, truth, 3) == pytest.approx(np.mean([len(a & b) / 3 for a, b in zip(near, true)]))


# --- scaling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_classical_scaling_and_placement_recover_points_from_their_distances(dim):
    points = cloud(40, 3, dim)
    found = classical_scaling(cdist(points, points), dim)
    np.testing.assert_allclose(align(found, points), points, atol=1e-6)
    if dim > 1:  # on a line a point cannot pass another without crossing it, where stress is high
        np.testing.assert_allclose(place(cdist(points, points[:15]), points[:15]), points, atol=1e-3)


def stress(distances, points, weights):
    return float((weights * (distances - cdist(points, points)) ** 2).sum())


@pytest.mark.parametrize("weighted", [False, True])
def test_stress_falls_with_every_step_to_where_its_gradient_vanishes(weighted):
    distances = cdist(cloud(40, 4, 6), cloud(40, 4, 6))
    weights = np.random.default_rng(0).uniform(0.1, 1, (40, 40)) if weighted else np.ones((40, 40))
    weights = (weights + weights.T) / 2
    given, start = (weights if weighted else None), cloud(40, 5, 2)
    values = [stress(distances, start, weights)]
    for steps in (1, 2, 4, 8, 16, 32):
        found = metric_scaling(distances, start, given, max_iter=steps, tol=0.0)
        values.append(stress(distances, found.points, weights))
    assert (np.diff(values) < 0).all()
    end = metric_scaling(distances, start, given, max_iter=20_000, tol=1e-14)
    assert end.stress == pytest.approx(np.sqrt(stress(distances, end.points, weights) / (weights * distances**2).sum()))
    length = cdist(end.points, end.points) + np.eye(40)
    pull = weights * (1 - distances / length) * (1 - np.eye(40))
    gradient = pull.sum(axis=1)[:, None] * end.points - pull @ end.points
    assert np.abs(gradient).max() < 1e-4


def test_map_has_no_more_stress_than_sklearns():
    from sklearn.manifold import smacof

    distances = cdist(cloud(60, 6, 5), cloud(60, 6, 5))
    ours = metric_scaling(distances, classical_scaling(distances, 2))
    theirs, _ = smacof(distances, n_components=2, n_init=4, random_state=0, normalized_stress=False, metric=True)
    assert stress(distances, ours.points, 1.0) < 1.05 * stress(distances, theirs, 1.0)


def test_alignment_turns_back_what_was_turned():
    points = cloud(30, 7, 3)
    rotation, _ = np.linalg.qr(cloud(3, 8, 3))
    np.testing.assert_allclose(align(points @ rotation + 5, points), points, atol=1e-12)


def test_weights_of_the_stress_have_their_formulas():
    distances, kernel = np.array([[0.0, 2.0], [2.0, 0.0]]), np.full((2, 2), 0.25)
    assert stress_weights("none", distances, kernel) is None
    np.testing.assert_allclose(stress_weights("heat", distances, kernel), 0.25001)
    np.testing.assert_allclose(stress_weights("inverse-distance", distances, kernel, 2.0)[0, 1], 0.25)
    np.testing.assert_allclose(stress_weights("gaussian", distances, kernel, 0.5)[0], [1, np.exp(-2)])


# --- the estimator -------------------------------------------------------------------------------------------------


def test_noisy_roll_is_unrolled_better_than_by_phates_potential(noisy_roll, fitted):
    affinity = neighbour_graph(noisy_roll.points, 10, kernel="alpha-decay")
    theirs = potential_distances(affinity, potential_time(affinity))
    ours = geodesic_scores(fitted.distances_, noisy_roll.geodesics).pearson
    assert ours > 0.9 and ours > geodesic_scores(theirs, noisy_roll.geodesics).pearson + 0.05
    assert geodesic_scores(cdist(*2 * [fitted.embedding_]), noisy_roll.geodesics).pearson > 0.9


def test_volume_term_matters_on_a_tree():
    tree = branching_tree(5, 60, random_state=0)
    scores = [
        geodesic_scores(HeatGeodesic(volume_correction=sigma, max_iter=1).fit(tree.points).distances_, tree.geodesics)
        for sigma in (0.0, 1.0)
    ]
    assert scores[1].pearson > scores[0].pearson + 0.05


def test_branches_of_phates_tree_stay_apart_on_the_map(shared_data):
    data = np.load(shared_data / "heat-geodesic" / "phate_tree_1440.npz")
    points, branch = data["X"][::3].astype(np.float64), data["branch"][::3]
    model = HeatGeodesic().fit(points)
    right = KNeighborsClassifier(10).fit(model.embedding_, branch).score(model.embedding_, branch)
    assert right > 0.85


@pytest.mark.parametrize("laplacian", ["combinatorial", "normalised", "random-walk"])
def test_landmarks_give_nearly_the_same_map(noisy_roll, laplacian):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the normalised Laplacians need a longer time than this to reach all pairs
        whole = HeatGeodesic(laplacian=laplacian).fit(noisy_roll.points)
        some = HeatGeodesic(laplacian=laplacian, n_landmarks=80, random_state=0).fit(noisy_roll.points)
    assert some.distances_ is None and len(some.landmarks_) == 80
    a, b = cdist(*2 * [whole.embedding_]), cdist(*2 * [some.embedding_])
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("options", [{}, {"n_landmarks": 80}, {"triplet": 0.5, "truncation": "max"}, {"n_pca": 6}])
def test_new_points_land_where_they_belong(noisy_roll, options):
    model = HeatGeodesic(random_state=0, **options).fit(noisy_roll.points[:260])
    whole = np.ptp(model.embedding_[:, 0])
    assert np.abs(model.transform(noisy_roll.points[:20]) - model.embedding_[:20]).mean() < 0.05 * whole
    placed = model.transform(noisy_roll.points[260:])
    # The nearest training points on the map are true neighbours along the roll.
    nearest = cdist(placed, model.embedding_).argmin(axis=1)
    gap = noisy_roll.position[nearest] - noisy_roll.position[260:]
    assert np.median(np.abs(gap)) < 0.1 * np.ptp(noisy_roll.position)


def test_a_given_affinity_is_the_same_as_its_points(noisy_roll, fitted):
    affinity = neighbour_graph(noisy_roll.points, 10, kernel="alpha-decay")
    for graph in (affinity, affinity.toarray()):
        model = HeatGeodesic(graph="precomputed").fit(graph)
        np.testing.assert_allclose(model.distances_, fitted.distances_, atol=1e-8)
    row = affinity[[5]]
    assert np.abs(model.transform(row) - model.embedding_[5]).max() < 0.05 * np.ptp(model.embedding_)
    with pytest.raises(ValueError, match="row 0"):
        model.transform(np.zeros((1, 300)))
    with pytest.raises(ValueError, match="300 columns"):
        model.transform(np.ones((1, 7)))


@pytest.mark.parametrize("graph", ["gaussian", "adaptive", "fuzzy"])
def test_other_graphs_unroll_it_too(noisy_roll, graph):
    model = HeatGeodesic(graph=graph, anisotropy=0.5 if graph == "fuzzy" else 0.0).fit(noisy_roll.points)
    assert geodesic_scores(model.distances_, noisy_roll.geodesics).pearson > 0.9


@pytest.mark.parametrize("kind", ["heat", "inverse-distance", "gaussian"])
def test_weighted_maps_keep_near_distances_better(noisy_roll, fitted, kind):
    weighted = HeatGeodesic(stress_weights=kind, weight_parameter=0.1 if kind == "gaussian" else 1.0, tol=1e-4)
    weighted.fit(noisy_roll.points)
    near = fitted.distances_ < np.quantile(fitted.distances_, 0.1)
    error = [np.abs(cdist(*2 * [m.embedding_]) - m.distances_)[near].mean() for m in (weighted, fitted)]
    assert error[0] < error[1]


def test_map_may_have_any_dimension_and_torch_comes_back_as_torch(noisy_roll):
    points = torch.from_numpy(noisy_roll.points).float()
    embedding = HeatGeodesic(n_components=5).fit_transform(points)
    assert isinstance(embedding, torch.Tensor) and embedding.shape == (300, 5) and embedding.dtype == torch.float32


@pytest.mark.parametrize("options", [{}, {"n_landmarks": 60, "triplet": 0.5, "truncation": "quantile-max", "n_pca": 5}])
def test_saved_model_places_new_points_alike(noisy_roll, options, tmp_path):
    model = HeatGeodesic(random_state=0, **options).fit(noisy_roll.points)
    model.save_pretrained(tmp_path / "model")
    loaded = HeatGeodesic.from_pretrained(tmp_path / "model")
    np.testing.assert_array_equal(loaded.embedding_, model.embedding_)
    np.testing.assert_array_equal(loaded.transform(noisy_roll.points[:9]), model.transform(noisy_roll.points[:9]))


def test_pairs_without_heat_are_warned_of():
    with pytest.warns(UserWarning, match="no heat is seen"):
        model = HeatGeodesic(graph="precomputed", diffusion_time=1.0, heat_method="exact").fit(path(200).adjacency)
    assert model.saturated_fraction_ > 0.5


def test_a_constant_kernel_is_warned_of():
    with pytest.warns(UserWarning, match="nearly constant"):
        HeatGeodesic(n_neighbors=50, diffusion_time=200.0).fit(cloud(60))


def two_clouds():
    return np.vstack([cloud(30), cloud(30, 1) + 100])


def test_parts_are_joined_only_if_allowed():
    with pytest.raises(ValueError, match="2 components"):
        HeatGeodesic(n_neighbors=5).fit(two_clouds())
    with pytest.warns(UserWarning, match="no heat is seen"):
        model = HeatGeodesic(n_neighbors=5, allow_disconnected=True).fit(two_clouds())
    between = model.distances_[:30, 30:]
    assert between.min() > model.distances_[:30, :30].max()


@pytest.mark.parametrize("laplacian", ["combinatorial", "normalised", "random-walk"])
def test_isolated_points_divide_nothing_by_zero(laplacian):
    affinity = np.zeros((8, 8))
    affinity[:7, :7] = path(7).adjacency.toarray()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = HeatGeodesic(graph="precomputed", laplacian=laplacian, allow_disconnected=True).fit(affinity)
    assert np.isfinite(model.embedding_).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_components": 0}, "n_components"),
        ({"n_components": 40}, "n_components"),
        ({"n_neighbors": 40}, "n_neighbors"),
        ({"n_neighbors": 0}, "n_neighbors"),
        ({"diffusion_time": 0.0}, "diffusion_time"),
        ({"diffusion_time": "knee"}, "diffusion_time"),
        ({"volume_correction": -0.1}, "volume_correction"),
        ({"order": 0}, "order"),
        ({"power": 0.0}, "power"),
        ({"heat_method": "mar"}, "heat_method"),
        ({"graph": "knn"}, "graph"),
        ({"laplacian": "magnetic"}, "laplacian"),
        ({"n_scales": 3, "min_time": 5.0, "max_time": 5.0}, "max_time"),
        ({"variant": "log-normalised"}, "diffusion_time must be below 30"),
        (
            {"variant": "log-normalised", "heat_method": "exact", "diffusion_time": 1.0},
            "diffusion_time must be below 1",
        ),
        ({"variant": "log-normalised", "diffusion_time": "auto"}, "max_time must be below 30"),
        ({"n_landmarks": 41}, "n_landmarks"),
        ({"n_landmarks": "many"}, "n_landmarks"),
        ({"n_pca": 4}, "n_pca"),
        ({"triplet": 1.5}, "triplet"),
        ({"truncation": "cut"}, "truncation"),
        ({"stress_weights": "none at all"}, "stress_weights"),
        ({"floor": 0.0}, "floor"),
        ({"anisotropy": 2.0}, "anisotropy"),
    ],
)
def test_bad_arguments_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        HeatGeodesic().set_params(**options).fit(cloud(40))


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (np.where(np.eye(20, 3) > 0, np.nan, 1.0), "NaN"),
        (np.vstack([cloud(20), np.zeros((15, 3))]), "copies"),
        (cloud(2), "at least 3 rows"),
        (np.zeros(9), "axes"),
    ],
)
def test_bad_points_are_refused(points, words):
    with pytest.raises(ValueError, match=words):
        HeatGeodesic().fit(points)


@pytest.mark.parametrize(
    ("affinity", "words"),
    [
        (np.array([[0, 1, 0], [2, 0, 1], [0, 1, 0.0]]), "undirected"),
        (np.array([[0, -1, 0], [-1, 0, 1], [0, 1, 0.0]]), "negative"),
    ],
)
def test_bad_affinities_are_refused(affinity, words):
    affinity = np.kron(np.eye(2), affinity)
    with pytest.raises(ValueError, match=words):
        HeatGeodesic(graph="precomputed").fit(affinity)


# --- on a file -----------------------------------------------------------------------------------------------------


def test_a_graph_file_is_mapped_with_its_names(tmp_path):
    affinity = neighbour_graph(cloud(50), 8)
    edges = sp.triu(affinity).tocoo()
    table = pd.DataFrame(
        {"s": [f"n{i:02d}" for i in edges.row], "t": [f"n{i:02d}" for i in edges.col], "w": edges.data}
    )
    table.to_csv(tmp_path / "g.edges", sep=" ", index=False, header=False)
    sp.save_npz(tmp_path / "g.npz", sp.csr_matrix(affinity))
    results = []
    for name in ("g.edges", "g.npz"):
        outcome = perform(HeatGeodesic(diffusion_time=5.0), read([tmp_path / name]), Context())
        assert outcome.model.graph == "precomputed"
        results.append(outcome)
    np.testing.assert_allclose(results[0].arrays["distances"], results[1].arrays["distances"], atol=1e-9)
    assert list(results[0].tables["embedding"]["point"])[:2] == ["n00", "n01"]


def test_annotations_of_a_table_come_with_the_map(tmp_path):
    table = pd.DataFrame(cloud(50), columns=["a", "b", "c"]).assign(kind=["x", "y"] * 25)
    table.to_csv(tmp_path / "points.csv", index=False)
    outcome = perform(HeatGeodesic(diffusion_time=5.0, n_landmarks=30), read([tmp_path / "points.csv"]), Context())
    assert list(outcome.tables["embedding"].columns) == ["point", "y1", "y2", "kind"]
    assert "distances" not in outcome.arrays and set(outcome.pictures) == {"map"}
    with pytest.raises(ValueError, match="one file"):
        read([tmp_path / "points.csv", tmp_path / "points.csv"])


def test_new_points_are_placed_in_blocks_and_far_from_the_origin_alike(noisy_roll, fitted, monkeypatch):
    new = noisy_roll.points[:50] + 0.01
    whole = fitted.transform(new)
    far = HeatGeodesic().fit(noisy_roll.points + 1e6)
    assert np.corrcoef(far.distances_.ravel(), fitted.distances_.ravel())[0, 1] > 1 - 1e-6
    steps = fitted._steps_to_training(new)
    np.testing.assert_allclose(far._steps_to_training(new + 1e6).toarray(), steps.toarray(), atol=1e-4)
    monkeypatch.setattr("semigroup.manifolds.heat_geodesic.estimator.BLOCK_SIZE", 7 * 300)
    np.testing.assert_allclose(fitted.transform(new), whole, atol=1e-12)


def test_caption_names_no_panel_that_is_not_drawn(tmp_path):
    parts = np.concatenate([cloud(30), cloud(30) + 50])
    one = perform(
        HeatGeodesic(n_neighbors=5, allow_disconnected=True),
        Cloud(parts[:, :1], pd.DataFrame(index=range(60))),
        Context(),
    )
    assert "On the right" not in one.pictures["map"].caption
    three = perform(
        HeatGeodesic(n_neighbors=5, allow_disconnected=True), Cloud(parts, pd.DataFrame(index=range(60))), Context()
    )
    assert "principal components" in three.pictures["map"].caption

"""Proximity measures against closed forms and the papers' formulas, their clusters against naive methods, and the study."""

import warnings

import joblib
import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.linalg
import scipy.sparse as sp
import scipy.special
import torch
from scipy.cluster.hierarchy import is_valid_linkage
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.metrics import adjusted_rand_score, roc_auc_score

from semigroup.data.community_graphs import community_graph
from semigroup.data.random_graphs import planted_partition
from semigroup.graphs import ProximityClustering
from semigroup.graphs.proximity import (
    FAMILIES,
    STUDY_FAMILIES,
    Proximity,
    Spectra,
    communicability,
    comparison,
    copeland,
    cut_tree,
    distance_of_kernel,
    double_factorial,
    forest,
    free_energy,
    heat_kernel,
    kernel_kmeans,
    kernel_of_distance,
    kernel_spectral,
    parameter_grid,
    parameter_of,
    partition,
    proximity,
    randomised_shortest_paths,
    reject_auc,
    reject_curve,
    reject_curves,
    squared_distances,
    study,
    walk,
    ward_tree,
)
from semigroup.jobs import Context
from semigroup.jobs.proximity import perform, read
from semigroup.operators import Graph, modularity

CHAIN = np.array([[0, 1], [1, 2], [2, 3]])


@pytest.fixture(scope="module")
def weighted() -> Spectra:
    """Thirty nodes, weights between 0.2 and 3."""
    generator = np.random.default_rng(5)
    weights = np.triu(planted_partition(30, 2, 0.4, 0.1, random_state=5).adjacency.toarray())
    weights *= generator.uniform(0.2, 3, size=weights.shape)
    return Spectra(weights + weights.T)


@pytest.fixture(scope="module")
def partitioned():
    return planted_partition(100, 2, 0.3, 0.1, random_state=3)


# --- the measures --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("distance", "published"),
    [
        (lambda s: s.shortest_paths, (1, 1, 2, 3)),
        (lambda s: distance_of_kernel(forest(s, 2.0).log()), (0.959, 1.081, 2.040, 3.000)),
        (lambda s: distance_of_kernel(forest(s, 1.0)), (1.026, 0.947, 1.500, 1.895)),
        (lambda s: distance_of_kernel(walk(s, 1 / (1 + s.radius)).log()), (1.025, 0.950, 1.975, 3.000)),
        (lambda s: distance_of_kernel(communicability(s, 1.0)).sqrt(), (0.964, 1.072, 1.492, 1.564)),
        (lambda s: distance_of_kernel(walk(s, 1 / (1 / 4.5 + s.radius))), (1.025, 0.950, 1.541, 1.466)),
    ],
    ids=["SP", "logFor", "For", "Walk", "Comm", "pWalk"],
)
def test_distances_on_a_chain_of_four_are_the_published_ones(distance, published):
    d = distance(Spectra(CHAIN))
    d = 3 * d / (d[0, 1] + d[1, 2] + d[2, 3])
    np.testing.assert_allclose([d[0, 1], d[1, 2], d[0, 2], d[0, 3]], published, atol=1.1e-3)


def textbook(A: np.ndarray, family: str, p: float) -> np.ndarray:
    """Each measure by its formula, dense and anew: a kernel, or a distance for RSP, FE, SP and SP-CT."""
    n, d = len(A), A.sum(axis=1)
    D, L, eye, vol = np.diag(d), np.diag(d) - A, np.eye(n), d.sum()
    P, root = A / d[:, None], np.diag(d**-0.5)
    t, beta = p / 2 / (1 - p), (1 - p) / p
    centring = eye - 1 / n
    with np.errstate(divide="ignore"):
        C = np.where(A > 0, 1 / A, np.inf)
    if family.startswith("log") or family == "Walk":
        return np.log(textbook(A, {"Walk": "pWalk"}.get(family, family.removeprefix("log")), p))
    if family in ("RSP", "FE"):
        W = P * np.exp(-beta * C)
        Z = np.linalg.inv(eye - W)
        if family == "FE":
            phi = -np.log(Z / np.diag(Z)) / beta
            return (phi + phi.T) / 2
        S = (Z @ (np.where(A > 0, C, 0) * W) @ Z) / Z
        cost = S - np.diag(S)
        return (cost + cost.T) / 2
    if family in ("SP", "SP-CT"):
        SP = np.where(np.eye(n) > 0, 0, C)
        for k in range(n):
            SP = np.minimum(SP, SP[:, k, None] + SP[None, k])
        pinv = np.linalg.pinv(L)
        CT = vol * (np.diag(pinv)[:, None] + np.diag(pinv) - 2 * pinv)
        return SP if family == "SP" else p * SP / SP.mean() + (1 - p) * CT / CT.mean()
    M = root @ (A - np.outer(d, d) / vol) @ root
    cct = centring @ root @ M @ np.linalg.pinv(eye - M) @ M @ root @ centring
    term, df = [eye, t * A], eye + t * A
    for k in range(2, 400):
        term = [term[1], t * A @ (t * A) @ term[0] / k]
        df = df + term[1]
    rho = np.linalg.eigvalsh(A)[-1]
    return {
        "pWalk": lambda: np.linalg.inv(eye - p / rho * A),
        "For": lambda: np.linalg.inv(eye + t * L),
        "Comm": lambda: scipy.linalg.expm(t * A),
        "Heat": lambda: scipy.linalg.expm(-t * L),
        "SCT": lambda: 1 / (1 + np.exp(-t * np.linalg.pinv(L) / np.linalg.pinv(L).std())),
        "SCCT": lambda: 1 / (1 + np.exp(-t * cct / cct.std())),
        "CT": lambda: np.linalg.pinv(L),
        "CCT": lambda: cct,
        "NHeat": lambda: scipy.linalg.expm(-t * root @ L @ root),
        "HeatPR": lambda: scipy.linalg.expm(-t * (eye - P)),
        "DF": lambda: df,
        "PPR": lambda: np.linalg.inv(eye - p * P),
        "ModifPPR": lambda: np.linalg.inv(D - p * A),
        "Abs": lambda: np.linalg.inv(p * A + L),
    }[family]()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("p", [0.15, 0.6])
def test_each_family_is_its_formula(weighted, family, p):
    expected = textbook(weighted.adjacency.numpy(), family, p)
    measured = proximity(weighted, family, p)
    if FAMILIES[family].is_distance:
        np.testing.assert_allclose(measured.distance, expected, rtol=1e-8, atol=1e-9 * expected.max())
        assert np.abs(measured.kernel.sum(axis=0)).max() < 1e-9 * np.abs(measured.kernel).max()
        np.testing.assert_allclose(squared_distances(measured.kernel), measured.distance, atol=1e-9 * expected.max())
        return
    diagonal = np.diag(expected)
    distance = (diagonal[:, None] + diagonal - expected - expected.T) / 2
    symmetric = (expected + expected.T) / 2
    if family in ("Comm", "DF"):  # kept from overflowing by a factor
        scale = measured.kernel[0, 0] / symmetric[0, 0]
        symmetric, distance = symmetric * scale, distance * scale
    elif family in ("logComm", "logDF"):
        symmetric = symmetric + measured.kernel[0, 0] - symmetric[0, 0]
    np.testing.assert_allclose(measured.kernel, symmetric, rtol=1e-7, atol=1e-9 * np.abs(symmetric).max())
    if FAMILIES[family].is_root:
        distance = np.sqrt(np.maximum(distance, 0))
    if family == "CT":
        distance = 2 * distance * weighted.adjacency.sum().item()
    np.testing.assert_allclose(measured.distance, distance, rtol=1e-6, atol=1e-7 * distance.max() + 1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_names_of_the_nodes_do_not_matter(weighted, family):
    order = np.random.default_rng(0).permutation(weighted.n_nodes)
    shuffled = Spectra(weighted.graph.adjacency[order][:, order])
    for field in ("kernel", "distance"):
        first, second = (getattr(proximity(graph, family, 0.4), field) for graph in (weighted, shuffled))
        np.testing.assert_allclose(first[np.ix_(order, order)], second, rtol=1e-6, atol=1e-8 * np.abs(first).max())


def test_distances_are_symmetric_and_zero_on_the_diagonal_and_there_only(weighted):
    for family in FAMILIES:
        distance = proximity(weighted, family, 0.5).distance
        assert (distance == distance.T).all() and not distance.diagonal().any()
        if family not in ("DF", "logDF"):  # the double factorial's kernel is not positive
            assert distance[~np.eye(len(distance), dtype=bool)].min() > 0, family


def test_resistance_and_communicability_are_those_of_networkx():
    club = nx.karate_club_graph()
    for edge in club.edges.values():
        edge["weight"] = 1.0
    resistance = nx.resistance_distance(club)
    expected = np.array([[resistance[i][j] for j in club] for i in club]) * 2 * club.number_of_edges()
    np.testing.assert_allclose(proximity(club, "CT").distance, expected, rtol=1e-9, atol=1e-9)
    shared = Spectra(club)
    exponential = nx.communicability_exp(club)
    expected = np.array([[exponential[i][j] for j in club] for i in club])
    np.testing.assert_allclose(np.exp(shared.radius) * communicability(shared, 1.0), expected, rtol=1e-9)


def path_determinant(n: int, diagonal: np.ndarray, off: float) -> float:
    """Of the tridiagonal matrix, by its three-term recurrence."""
    before, now = 1.0, diagonal[0]
    for i in range(1, n):
        before, now = now, diagonal[i] * now - off**2 * before
    return now


@pytest.mark.parametrize("p", [0.05, 0.5])
def test_logarithms_of_entries_far_below_rounding_errors_are_right(p):
    n = 40
    path = Spectra(nx.path_graph(n))
    # Corner entries of inverses of tridiagonal matrices are products of the off-diagonal over the determinant.
    t = parameter_of("Walk", p, path)
    expected = (n - 1) * np.log(t) - np.log(path_determinant(n, np.ones(n), t))
    assert proximity(path, "Walk", p).kernel[0, -1] == pytest.approx(expected, rel=1e-12)
    t = parameter_of("logFor", p, path)
    diagonal = 1 + t * path.degree.numpy()
    expected = (n - 1) * np.log(t) - np.log(path_determinant(n, diagonal, t))
    assert proximity(path, "logFor", p).kernel[0, -1] == pytest.approx(expected, rel=1e-12)
    # Reflected at the ends of the path, the walk on the integers gives sums of Bessel functions; exp(tA) changes sign there.
    t = parameter_of("logHeat", p, path)
    images = sum(scipy.special.ive(abs(k + 2 * n * m), 2 * t) for m in range(-2, 3) for k in (n - 1, n))
    assert proximity(path, "logHeat", p).kernel[0, -1] == pytest.approx(np.log(images), rel=1e-9)
    t = parameter_of("logComm", p, path)
    images = sum(
        scipy.special.iv(abs(n - 1 + 2 * (n + 1) * m), 2 * t) - scipy.special.iv(abs(n + 1 + 2 * (n + 1) * m), 2 * t)
        for m in range(-2, 3)
    )
    expected = np.log(images) - t * path.radius
    assert proximity(path, "logComm", p).kernel[0, -1] == pytest.approx(expected, rel=1e-9)


def test_entries_below_the_range_of_numbers_are_clamped_with_a_warning():
    path = Spectra(nx.path_graph(200))
    with pytest.warns(UserWarning, match="1e-300"):
        kernel = proximity(path, "Walk", 0.01).kernel
    assert np.isfinite(kernel).all()
    for family in ("FE", "RSP"):
        with pytest.warns(UserWarning, match="shortest path"):
            distance = proximity(path, family, 0.1).distance
        assert distance[0, -1] == 199
        assert np.isfinite(distance).all()


def test_double_factorial_series_is_its_closed_form(weighted):
    closed, series = (double_factorial(weighted, 0.3, entrywise=flag) for flag in (False, True))
    np.testing.assert_allclose(closed, series, rtol=1e-10)


def test_a_long_double_factorial_is_cut_off_at_rounding_errors():
    tailed = nx.compose(nx.complete_graph(60), nx.path_graph(range(59, 80)))
    with pytest.warns(UserWarning, match="double factorial"):
        kernel = proximity(tailed, "logDF", 0.8).kernel
    assert kernel.min() == np.log(1e-15)


def test_large_parameters_do_not_overflow(partitioned):
    shared = Spectra(partitioned.adjacency)
    for family in FAMILIES:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for p in (0.02, 0.98, 1 - 1e-6):
                measured = proximity(shared, family, p)
                assert np.isfinite(measured.kernel).all() and np.isfinite(measured.distance).all(), (family, p)


@pytest.mark.parametrize("make", [lambda s: walk(s, 0.9 / s.radius), lambda s: forest(s, 3.0)], ids=["walk", "forest"])
def test_walk_and_forest_kernels_are_transitional(weighted, make):
    s = make(weighted).numpy()
    left = s[:, :, None] * s[None, :, :]  # s_ij s_jk
    right = s[:, None, :] * np.diag(s)[None, :, None]
    assert (left <= right * (1 + 1e-12)).all()


def test_log_forest_goes_from_shortest_paths_to_resistance():
    club = Spectra(nx.from_scipy_sparse_array(community_graph("karate").adjacency))
    paths, resistance = club.shortest_paths, 2 * distance_of_kernel(club.pseudoinverse)
    # Slowly, as the next term is constant while -ln t grows.
    gaps = [
        float((distance_of_kernel(forest(club, t).log()) / -np.log(t) - paths).abs().max()) for t in (1e-4, 1e-8, 1e-16)
    ]
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 0.15 and gaps[1] / gaps[2] == pytest.approx(2, rel=0.05)
    far = distance_of_kernel(forest(club, 1e5).log()) * 2e5 / club.n_nodes
    np.testing.assert_allclose(far, resistance, rtol=1e-3)


def test_free_energy_and_randomised_paths_go_from_shortest_paths_to_commute_times(weighted):
    for measure in (free_energy, randomised_shortest_paths):
        cold = measure(weighted, 100.0)
        np.testing.assert_allclose(cold, weighted.shortest_paths, rtol=0.2)
        hot = measure(weighted, 1e-6)
        ratio = (hot / weighted.commute_time)[~torch.eye(weighted.n_nodes, dtype=torch.bool)]
        np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-3)


def test_randomised_paths_are_the_derivative_of_the_free_energy(weighted):
    step, beta = 1e-4, 0.8
    ahead, behind = ((beta + s) * free_energy(weighted, beta + s) for s in (step, -step))
    np.testing.assert_allclose(
        (ahead - behind) / (2 * step), randomised_shortest_paths(weighted, beta), rtol=1e-6, atol=1e-6
    )


def test_free_energy_and_logarithmic_pageranks_are_one_distance_on_unweighted_graphs():
    graph = Spectra(community_graph("karate").adjacency)
    beta = 0.7
    expected = beta * free_energy(graph, beta).numpy()
    for family in ("logPPR", "logModifPPR"):
        np.testing.assert_allclose(proximity(graph, family, np.exp(-beta)).distance, expected, atol=1e-10)
    np.testing.assert_allclose(proximity(graph, "logAbs", 1 - np.exp(-beta)).distance, expected, atol=1e-10)


def test_walk_measures_do_not_depend_on_the_unit_of_the_weights(weighted):
    scaled = Spectra(7 * weighted.graph.adjacency)
    for family in ("pWalk", "Walk", "PPR", "NHeat", "SCT"):
        first, second = (proximity(graph, family, 0.6).distance for graph in (weighted, scaled))
        np.testing.assert_allclose(first, second, rtol=1e-7, atol=1e-10)


def test_shortest_paths_and_commute_times_can_be_added_unscaled(weighted):
    raw = proximity(weighted, "SP-CT", 0.25, scale="none").distance
    np.testing.assert_allclose(raw, (0.25 * weighted.shortest_paths + 0.75 * weighted.commute_time), rtol=1e-12)


def test_kernel_of_distance_is_the_gram_matrix_of_points():
    points = np.random.default_rng(0).normal(size=(12, 3))
    points -= points.mean(axis=0)
    squared = ((points[:, None] - points) ** 2).sum(axis=2)
    np.testing.assert_allclose(kernel_of_distance(torch.as_tensor(squared)), points @ points.T, atol=1e-12)


def test_a_measure_made_before_changes_nothing(weighted):
    """Kept kernels are not written to by the measures that share them."""
    fresh = {family: proximity(Spectra(weighted.graph), family, 0.3) for family in FAMILIES}
    for _ in range(2):
        for family in FAMILIES:
            again = proximity(weighted, family, 0.3)
            np.testing.assert_array_equal(again.kernel, fresh[family].kernel)
            np.testing.assert_array_equal(again.distance, fresh[family].distance)


# --- clusters ------------------------------------------------------------------------------------------------------


def naive_ward(kernel: np.ndarray, n_clusters: int) -> np.ndarray:
    """Greedy merges by the increase of the within-cluster sum of squares, from its definition."""
    n = len(kernel)
    clusters = [[i] for i in range(n)]
    while len(clusters) > n_clusters:
        costs = {}
        for a in range(len(clusters)):
            for b in range(a):
                h = np.zeros(n)
                h[clusters[a]] += 1 / len(clusters[a])
                h[clusters[b]] -= 1 / len(clusters[b])
                sizes = len(clusters[a]), len(clusters[b])
                costs[a, b] = sizes[0] * sizes[1] / sum(sizes) * h @ kernel @ h
        a, b = min(costs, key=costs.get)
        clusters[b] += clusters.pop(a)
    labels = np.empty(n, dtype=int)
    for label, members in enumerate(clusters):
        labels[members] = label
    return labels


@pytest.mark.parametrize("family", ["pWalk", "logComm", "RSP", "SCCT"])
def test_ward_tree_is_the_greedy_one(weighted, family):
    measured = proximity(weighted, family, 0.5)
    for n_clusters in (2, 5):
        found = cut_tree(ward_tree(measured), n_clusters)
        assert adjusted_rand_score(naive_ward(measured.kernel, n_clusters), found) == 1


def test_wards_readings_differ_where_the_root_is_taken(partitioned):
    measured = proximity(partitioned.adjacency, "logComm", 0.5)
    heights = {on: ward_tree(measured, on)[:, 2] for on in ("kernel", "squared", "distance")}
    assert all(is_valid_linkage(ward_tree(measured, on)) for on in heights)
    assert not np.allclose(heights["kernel"], heights["squared"])
    walked = proximity(partitioned.adjacency, "Walk", 0.5)
    trees = [ward_tree(walked, on) for on in ("kernel", "squared")]
    np.testing.assert_allclose(trees[0][:, 2] / np.sqrt(2), trees[1][:, 2], rtol=1e-6)


def test_a_cut_has_the_wanted_number_of_clusters_even_among_ties():
    complete = proximity(nx.complete_graph(9), "logFor", 0.5)
    for n_clusters in range(1, 10):
        labels = cut_tree(ward_tree(complete), n_clusters)
        assert len(np.unique(labels)) == n_clusters
        assert labels[0] == 0 and (np.diff(np.maximum.accumulate(labels)) <= 1).all()


@pytest.mark.parametrize("moves", ["batch", "single"])
@pytest.mark.parametrize("start", ["k-means++", "random"])
def test_kernel_kmeans_with_a_linear_kernel_is_kmeans(moves, start):
    generator = np.random.default_rng(2)
    points = generator.normal(size=(90, 2)) + np.repeat([[0, 0], [4, 0], [0, 4]], 30, axis=0)
    expected = KMeans(3, n_init=20, random_state=0).fit(points)
    labels = kernel_kmeans(
        points @ points.T, 3, sp.csr_array(np.ones((90, 90))), generator, start=start, moves=moves, choose_by="inertia"
    )
    inertia = sum(((points[labels == k] - points[labels == k].mean(axis=0)) ** 2).sum() for k in range(3))
    assert inertia <= expected.inertia_ * (1 + 1e-9)


def test_single_moves_end_where_no_move_lowers_the_inertia():
    generator = np.random.default_rng(0)
    points = generator.normal(size=(40, 3))
    kernel = points @ points.T
    labels = kernel_kmeans(kernel, 4, sp.csr_array(np.ones((40, 40))), generator, moves="single", n_init=1)

    def inertia(labels):
        return sum(((points[labels == k] - points[labels == k].mean(axis=0)) ** 2).sum() for k in np.unique(labels))

    here = inertia(labels)
    for i in range(40):
        for k in range(4):
            moved = labels.copy()
            moved[i] = k
            assert inertia(moved) >= here - 1e-9


def test_kernel_kmeans_stops_on_kernels_that_are_not_positive_and_keeps_every_cluster():
    generator = np.random.default_rng(1)
    noise = generator.normal(size=(30, 30))
    graph = sp.csr_array(np.ones((30, 30)))
    for moves in ("batch", "single"):
        labels = kernel_kmeans(noise + noise.T, 5, graph, generator, moves=moves)
        assert set(labels) == set(range(5))


def test_the_best_start_is_the_one_of_largest_modularity(partitioned):
    measured = proximity(partitioned.adjacency, "Walk", 0.5)
    best = kernel_kmeans(measured.kernel, 4, partitioned.adjacency, np.random.default_rng(0), n_init=8)
    generator = np.random.default_rng(0)
    single = [kernel_kmeans(measured.kernel, 4, partitioned.adjacency, generator, n_init=1) for _ in range(8)]
    assert modularity(partitioned.adjacency, best) == max(
        modularity(partitioned.adjacency, labels) for labels in single
    )


@pytest.mark.parametrize("method", ["ward", "kernel-kmeans", "spectral"])
def test_every_method_finds_the_planted_classes(method):
    graph = planted_partition(200, 2, 0.3, 0.1, random_state=0)
    model = ProximityClustering(p=0.5, method=method, random_state=0)
    labels = model.fit_predict(graph.adjacency)
    assert adjusted_rand_score(graph.labels, labels) > 0.95
    np.testing.assert_array_equal(labels, model.fit(graph.adjacency).labels_)


def test_spectral_clusters_of_a_block_kernel_are_the_blocks():
    kernel = scipy.linalg.block_diag(np.ones((4, 4)), 2 * np.ones((3, 3)), 3 * np.ones((5, 5)))
    labels = kernel_spectral(kernel, 3, np.random.default_rng(0))
    np.testing.assert_array_equal(labels, [0] * 4 + [1] * 3 + [2] * 5)


# --- quality -------------------------------------------------------------------------------------------------------


def test_logarithms_tell_newsgroups_apart_where_plain_measures_and_spectral_clustering_fail():
    news = community_graph("news_2cl1")
    spectral = SpectralClustering(2, affinity="precomputed", random_state=0).fit_predict(news.adjacency.toarray())
    baseline = adjusted_rand_score(news.labels, spectral)
    shared = Spectra(news.adjacency)
    scores = {
        family: adjusted_rand_score(news.labels, ProximityClustering(family=family).fit_predict(shared))
        for family in ("logComm", "Comm", "logFor", "For")
    }
    assert min(scores["logComm"], scores["logFor"]) > 0.6
    assert max(scores["Comm"], scores["For"], baseline) < 0.2


def test_p_of_largest_modularity_is_chosen_and_kept(partitioned):
    model = ProximityClustering(n_parameters=7).fit(partitioned.adjacency)
    np.testing.assert_array_equal(model.grid_, parameter_grid(7))
    assert model.modularity_ == model.grid_modularities_.max()
    again = ProximityClustering(p=model.p_).fit(partitioned.adjacency)
    np.testing.assert_array_equal(again.labels_, model.labels_)
    np.testing.assert_array_equal(again.kernel_, model.kernel_)
    assert again.parameter_ == parameter_of("logComm", model.p_, Spectra(partitioned.adjacency))


def test_families_without_parameter_have_none(partitioned):
    model = ProximityClustering(family="CT").fit(partitioned.adjacency)
    assert model.p_ is None and model.parameter_ is None and len(model.grid_) == 1


def test_graphs_may_come_in_any_form():
    club = nx.karate_club_graph()
    weights = nx.to_numpy_array(club)
    edges = np.array([(a, b, w) for a, b, w in club.edges(data="weight")], dtype=float)
    expected = ProximityClustering(p=0.5).fit_predict(club)
    for graph in (weights, sp.csr_matrix(weights), edges, Graph(sp.csr_array(weights)), Spectra(weights)):
        np.testing.assert_array_equal(ProximityClustering(p=0.5).fit_predict(graph), expected)


# --- the study -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_study():
    graphs = [planted_partition(50, 2, 0.4, 0.1, random_state=seed) for seed in range(3)]
    arguments = [g.adjacency for g in graphs], [g.labels for g in graphs]
    return arguments, study(*arguments, n_parameters=5)


def test_a_study_scores_what_each_family_makes_alone(small_study):
    (graphs, labels), result = small_study
    assert result.families == STUDY_FAMILIES and result.scores.shape == (3, 13, 5)
    for i, j, k in ((0, 0, 0), (1, 5, 2), (2, 10, 4), (0, 12, 3)):
        alone = ProximityClustering(family=STUDY_FAMILIES[j], p=float(result.grid[k])).fit_predict(graphs[i])
        assert result.scores[i, j, k] == adjusted_rand_score(labels[i], alone)
        assert result.modularities[i, j, k] == modularity(graphs[i], alone)


def test_a_study_side_by_side_is_the_same(small_study):
    (graphs, labels), result = small_study
    with joblib.parallel_config(backend="threading"):
        parallel = study(graphs, labels, n_parameters=5, n_jobs=2)
    np.testing.assert_array_equal(parallel.scores, result.scores)


def test_a_stopped_study_goes_on_from_what_it_has_kept(small_study, tmp_path, monkeypatch):
    (graphs, labels), result = small_study
    done: list[float] = []

    def measured(graph, family, p):
        if len(done) == 13 * 7:
            raise KeyboardInterrupt
        done.append(p)
        return proximity(graph, family, p)

    monkeypatch.setattr(comparison, "proximity", measured)
    with pytest.raises(KeyboardInterrupt):
        study(graphs, labels, n_parameters=5, checkpoint_dir=tmp_path)
    done.clear()
    monkeypatch.setattr(comparison, "proximity", lambda *arguments: done.append(1.0) or proximity(*arguments))
    again = study(graphs, labels, n_parameters=5, checkpoint_dir=tmp_path)
    np.testing.assert_array_equal(again.scores, result.scores)
    assert len(done) == 13 * 8
    other = study(graphs, labels, n_parameters=5, ward_on="distance", checkpoint_dir=tmp_path)
    assert (other.scores != result.scores).any() and not list(tmp_path.rglob("*.partial*"))


def test_a_study_sums_up(small_study):
    _, result = small_study
    table = result.table()
    assert table["family"].tolist() == result.ranking() and (table["ARI"].diff().dropna() <= 0).all()
    assert result.score("logComm") == result.curves[5].max() and "best" in repr(result)
    assert (result.chosen_scores <= result.graph_scores).all()
    assert (result.family_scores <= result.graph_scores.mean(axis=0) + 1e-12).all()


def test_copeland_counts_victories_less_defeats():
    scores = np.array([[0.9, 0.5, 0.5], [0.2, 0.1, 0.3], [1.0, 1.0, 1.0]])
    np.testing.assert_array_equal(copeland(scores), [2 + 0, -1 - 2, -1 + 2])
    assert copeland(np.random.default_rng(0).random((20, 7))).sum() == 0


def test_area_of_the_reject_curve_is_that_of_the_classifier(partitioned):
    distance = proximity(partitioned.adjacency, "logFor", 0.5).distance
    row, column = np.triu_indices(100, 1)
    different = partitioned.labels[row] != partitioned.labels[column]
    assert reject_auc(distance, partitioned.labels) == pytest.approx(roc_auc_score(different, distance[row, column]))
    curve = reject_curve(distance, partitioned.labels)
    assert np.trapezoid(curve, dx=1 / (len(curve) - 1)) == pytest.approx(
        reject_auc(distance, partitioned.labels), abs=5e-3
    )
    assert (np.diff(curve) >= 0).all() and curve[-1] <= 1
    np.testing.assert_array_equal(curve, reject_curve(distance**2, partitioned.labels))


def test_reject_curves_are_means_over_graphs_at_the_best_p(small_study):
    (graphs, labels), _ = small_study
    result = reject_curves(graphs[:2], labels[:2], families=["Comm", "logComm"], n_parameters=3)
    p = float(result.best_p[1])
    expected = [proximity(graph, "logComm", p).distance for graph in graphs[:2]]
    np.testing.assert_allclose(result.best_areas[:, 1], [reject_auc(d, y) for d, y in zip(expected, labels)])
    np.testing.assert_allclose(
        result.curves[1], np.mean([reject_curve(d, y) for d, y in zip(expected, labels)], axis=0)
    )
    assert result.best_areas[:, 1].mean() > result.best_areas[:, 0].mean()


# --- bad input, storage, files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (np.array([[0, 1.0], [0, 0]]), "graph must be undirected"),
        (np.array([[0, -1.0, 1], [-1, 0, 1], [1, 1, 0]]), "graph has negative"),
        (np.array([[0, np.nan], [np.nan, 0]]), "graph has NaN"),
        (np.zeros((1, 1)), "graph must have at least 2 nodes"),
        (np.kron(np.eye(2), np.ones((2, 2))), "graph must be connected.*2 components"),
        (nx.Graph([(0, 1), (2, 2)]), "graph must be connected.*node 2"),
    ],
    ids=["asymmetric", "negative", "nan", "one node", "disconnected", "isolated"],
)
def test_graphs_without_a_proximity_are_refused(graph, words):
    with pytest.raises(ValueError, match=words):
        ProximityClustering().fit(graph)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"family": "logcomm"}, "family must be one of.*'logComm'"),
        ({"p": 0.0}, "p must be"),
        ({"p": 1.0}, "p must be"),
        ({"p": np.nan}, "p must be"),
        ({"n_clusters": 0}, "n_clusters"),
        ({"n_clusters": 35}, "n_clusters must be at most the 34 nodes"),
        ({"method": "louvain"}, "method"),
        ({"ward_on": "tree"}, "ward_on"),
        ({"scale": "std"}, "scale"),
        ({"n_parameters": 1}, "n_parameters"),
        ({"start": "far"}, "start"),
        ({"moves": "all"}, "moves"),
        ({"choose_by": "luck"}, "choose_by"),
        ({"n_init": 0}, "n_init"),
        ({"max_iter": 0}, "max_iter"),
        ({"device": "abacus"}, "device"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_arguments_are_refused_by_name(arguments, words):
    with pytest.raises(ValueError, match=words):
        # set_params, because the type checker of the tests stands at the constructor's door.
        ProximityClustering().set_params(**arguments).fit(nx.karate_club_graph())


def test_pure_functions_refuse_parameters_out_of_their_range(weighted):
    with pytest.raises(ValueError, match="t must be > 0 and <"):
        walk(weighted, 1 / weighted.radius)
    for function in (forest, communicability, heat_kernel):
        with pytest.raises(ValueError, match="t must be"):
            function(weighted, 0.0)
    with pytest.raises(ValueError, match="classes\\[0\\] must have shape"):
        study([weighted], [np.zeros(29)])
    with pytest.raises(ValueError, match="families must be one of"):
        study([weighted], [np.zeros(30)], families=["Katz"])
    with pytest.raises(ValueError, match="pairs of one class and of two"):
        reject_auc(np.ones((3, 3)), np.zeros(3))


def test_a_stored_model_is_the_same(tmp_path, partitioned):
    model = ProximityClustering(family="SCCT", p=0.3, n_clusters=3).fit(partitioned.adjacency)
    loaded = ProximityClustering.from_pretrained(model.save_pretrained(tmp_path / "model"))
    for name in ("labels_", "kernel_", "distance_", "grid_"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(model, name))
    assert (loaded.p_, loaded.parameter_, loaded.modularity_) == (model.p_, model.parameter_, model.modularity_)


@pytest.mark.parametrize("ending", ["csv", "graphml", "mtx", "npz"])
def test_a_users_graph_gives_clusters_by_the_users_names(tmp_path, ending):
    club = nx.karate_club_graph()
    path = tmp_path / f"club.{ending}"
    if ending == "csv":
        named = nx.relabel_nodes(club, {i: f"member {i:02}" for i in club})
        rows = [(a, b, w) for a, b, w in named.edges(data="weight")]
        pd.DataFrame(rows, columns=["source", "target", "weight"]).to_csv(path, index=False)
    elif ending == "graphml":
        nx.write_graphml(nx.relabel_nodes(club, {i: f"member {i:02}" for i in club}), path)
    elif ending == "mtx":
        scipy.io.mmwrite(path, sp.coo_array(nx.to_scipy_sparse_array(club)), symmetry="symmetric")
    else:
        sp.save_npz(path, sp.csr_array(nx.to_scipy_sparse_array(club)))
    data = read([path])
    outcome = perform(ProximityClustering(p=0.5, n_parameters=3), data, Context())
    table = outcome.tables["clusters"]
    expected = {f"member {i:02}" for i in club} if ending in ("csv", "graphml") else set(club)
    assert set(table["node"]) == expected
    by_name = dict(zip(table["node"], table["cluster"]))
    sides = [club.nodes[i]["club"] for i in club]
    found = [by_name[f"member {i:02}" if ending in ("csv", "graphml") else i] for i in club]
    assert adjusted_rand_score(sides, found) > 0.75
    assert "class" not in table and "adjusted_rand_index" not in outcome.metrics


def test_known_classes_are_read_by_name_and_scored(tmp_path):
    club = nx.relabel_nodes(nx.karate_club_graph(), str)
    nx.write_graphml(club, tmp_path / "club.graphml")
    sides = pd.DataFrame({"node": list(club), "side": [club.nodes[i]["club"] for i in club]})
    sides.sample(frac=1, random_state=0).to_csv(tmp_path / "sides.csv", index=False)
    outcome = perform(
        ProximityClustering(p=0.5, n_parameters=3), read([tmp_path / "club.graphml", tmp_path / "sides.csv"]), Context()
    )
    assert outcome.metrics["adjusted_rand_index"] > 0.75
    assert {"clusters", "families", "reject_curve"} == set(outcome.pictures)
    assert outcome.tables["clusters"]["class"].tolist() == sides["side"].tolist()
    for rows, words in (
        (sides[:-1], "has none"),
        (pd.concat([sides, sides[:1]]), "has two"),
        (sides[["node"]], "columns"),
    ):
        rows.to_csv(tmp_path / "sides.csv", index=False)
        with pytest.raises(ValueError, match=rf"sides\.csv.*{words}"):
            read([tmp_path / "club.graphml", tmp_path / "sides.csv"])


def test_a_disconnected_file_is_refused_by_its_name(tmp_path):
    (tmp_path / "two.csv").write_text("source,target\na,b\nc,d\n")
    with pytest.raises(ValueError, match=r"two\.csv must be connected"):
        read([tmp_path / "two.csv"])


def test_measures_of_a_proximity_given_by_hand_are_clustered():
    points = np.array([0.0, 0.1, 5.0, 5.2])
    distance = (points[:, None] - points) ** 2
    given = Proximity(kernel_of_distance(torch.as_tensor(distance)).numpy(), distance, None)
    graph = Spectra(nx.complete_graph(4))
    for method in ("ward", "kernel-kmeans", "spectral"):
        np.testing.assert_array_equal(partition(given, 2, graph, method=method), [0, 0, 1, 1])

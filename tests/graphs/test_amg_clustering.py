"""Bootstrap AMG clustering: matchings, hierarchies, the composite solver, K-means on blocks, scores, refusals."""

import itertools
import sys
import time
from dataclasses import replace

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import cg
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from semigroup.data.attributed_graphs import ATTRIBUTED_GRAPHS, attributed_blocks, attributed_graph
from semigroup.graphs.amg_clustering import (
    BootstrapAMGClustering,
    Composite,
    Edges,
    HierarchyOptions,
    attribute_entropy,
    augment,
    best_partition,
    block_coordinates,
    bootstrap,
    build_hierarchy,
    compatible_edges,
    embed,
    encode_attributes,
    energy_norm,
    kmeans,
    match,
    pairwise_prolongator,
    sa_cluster,
    shifted_laplacian,
    walk_closeness,
)
from semigroup.graphs.amg_clustering.kmeans import _assign
from semigroup.jobs.amg_clustering import _composition, read
from semigroup.operators import modularity

MATCHERS = ("greedy", "suitor", "auction", "exact")


def random_spd(n: int, seed: int) -> sp.csr_array:
    """Shifted Laplacian of a connected random graph with weights."""
    rng = np.random.default_rng(seed)
    graph = sp.csr_array(nx.to_scipy_sparse_array(nx.connected_watts_strogatz_graph(n, 6, 0.3, seed=seed), dtype=float))
    weights = sp.triu(graph, 1).tocoo()
    weights = sp.csr_array((rng.uniform(0.5, 2, weights.nnz), (weights.row, weights.col)), shape=(n, n))
    both = sp.csr_array(weights + weights.T)
    both.sort_indices()
    return shifted_laplacian(both)


def cycle_edges(weights: list[float]) -> Edges:
    n = len(weights)
    row, column = np.array([0, *range(n - 1)]), np.array([n - 1, *range(1, n)])
    return Edges(row, column, np.array(weights, dtype=float))


def random_edges(n: int, m: int, seed: int) -> Edges:
    rng = np.random.default_rng(seed)
    pairs = np.array(list(itertools.combinations(range(n), 2)))
    chosen = pairs[rng.choice(len(pairs), m, replace=False)]
    return Edges(chosen[:, 0], chosen[:, 1], rng.uniform(0.1, 1, m))


def weight_of(mate: np.ndarray, edges: Edges) -> float:
    return float(edges.weight[mate[edges.row] == edges.column].sum())


@pytest.fixture(scope="module")
def firm():
    graph = attributed_graph("lawyers_friendship")
    return graph.adjacency, graph.attributes[["office"]]


# --- augmentation ---------------------------------------------------------------------------------------------------


def test_augmented_graph_has_a_vertex_for_every_value_and_an_edge_for_every_entry(firm):
    adjacency, table = firm
    attributes = encode_attributes(table, 36)
    augmented = augment(adjacency, attributes)
    assert augmented.adjacency.shape == (39, 39)
    assert augmented.adjacency.nnz == adjacency.nnz + 2 * 36
    assert (augmented.adjacency[:36][:, :36] != adjacency).nnz == 0
    offices = table["office"].to_numpy()
    same = augmented.attribute_vertices == augmented.attribute_vertices[:1]
    np.testing.assert_array_equal(same[:, 0], offices == offices[0])
    assert (abs(augmented.adjacency - augmented.adjacency.T)).nnz == 0


@pytest.mark.parametrize("name", ATTRIBUTED_GRAPHS)
def test_shifted_laplacian_is_positive_definite_and_differs_from_the_laplacian_by_rank_one(name):
    adjacency = attributed_graph(name).adjacency
    matrix = shifted_laplacian(adjacency).toarray()
    plain = np.diag(np.asarray(adjacency.sum(axis=1)).ravel()) - adjacency.toarray()
    assert np.linalg.eigvalsh(matrix)[0] > 1e-6
    assert np.linalg.matrix_rank(matrix - plain) == 1
    assert matrix[0, adjacency.indices[0]] == 0


def test_missing_values_are_refused_or_become_a_value_or_no_edge():
    table = pd.DataFrame({"team": ["a", None, "b", "a"]})
    with pytest.raises(ValueError, match=r"team.*missing at 1 nodes"):
        encode_attributes(table, 4)
    own = encode_attributes(table, 4, missing="own")
    assert own.values == (("a", "b", "missing"),) and own.codes[1, 0] == 2
    dropped = encode_attributes(table, 4, missing="drop_edge")
    assert dropped.codes[:, 0].tolist() == [0, -1, 1, 0]
    ring = sp.csr_array(nx.to_scipy_sparse_array(nx.cycle_graph(4), dtype=float))
    augmented = augment(ring, dropped)
    assert augmented.adjacency.nnz == 8 + 2 * 3 and augmented.attribute_vertices[1, 0] == -1
    blocks = block_coordinates(np.arange(12.0).reshape(6, 2), augmented.attribute_vertices)
    np.testing.assert_allclose(blocks[1, :, 1], np.mean([[8, 9], [10, 11], [8, 9]], axis=0))


@pytest.mark.parametrize(
    "column", [[1, 2, 3, 1], [1.0, 2.0, 2.0, 1.0], ["x", "y", "y", "x"], [True, False, True, True]]
)
def test_words_integers_and_booleans_are_categories(column):
    codes = encode_attributes(pd.DataFrame({"a": column}), 4).codes[:, 0]
    for i, j in itertools.combinations(range(4), 2):
        assert (codes[i] == codes[j]) == (column[i] == column[j])


# --- matching -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", MATCHERS)
@pytest.mark.parametrize("seed", range(5))
def test_a_matching_is_one_and_reaches_its_guarantee(method, seed):
    edges = random_edges(24, 80, seed)
    mate = match(edges, 24, method)
    paired = np.flatnonzero(mate >= 0)
    np.testing.assert_array_equal(mate[mate[paired]], paired)
    exists = {(int(i), int(j)) for i, j in zip(edges.row, edges.column)}
    assert all((min(i, j), max(i, j)) in exists for i, j in zip(paired.tolist(), mate[paired].tolist()))
    best = weight_of(match(edges, 24, "exact"), edges)
    share = {"greedy": 0.5, "suitor": 0.5, "auction": 0.62, "exact": 1.0}[method]
    assert share * best <= weight_of(mate, edges) <= best + 1e-12
    unmatched = mate < 0
    if method != "auction":  # maximal: no edge joins two single vertices
        assert not (unmatched[edges.row] & unmatched[edges.column]).any()


def test_exact_matching_is_the_best_of_all_matchings_of_a_small_graph():
    edges = random_edges(7, 14, 3)
    values = [
        edges.weight[list(subset)].sum()
        for size in range(4)
        for subset in itertools.combinations(range(14), size)
        if len({*edges.row[list(subset)], *edges.column[list(subset)]}) == 2 * size
    ]
    assert weight_of(match(edges, 7, "exact"), edges) == pytest.approx(max(values))


@pytest.mark.parametrize("seed", range(5))
def test_suitor_and_greedy_give_the_same_matching_also_with_ties(seed):
    edges = random_edges(40, 200, seed)
    for weight in (edges.weight, np.round(edges.weight, 1), np.ones(200)):
        tied = replace(edges, weight=weight)
        np.testing.assert_array_equal(match(tied, 40, "greedy"), match(tied, 40, "suitor"))


def test_auction_splits_odd_and_even_cycles_at_best():
    for weights in ([3, 2, 1], [1, 5, 1, 5], [2, 2, 2, 2, 2], [1, 9, 9, 1, 4]):
        edges = cycle_edges(weights)
        n = len(weights)
        assert weight_of(match(edges, n, "auction"), edges) == weight_of(match(edges, n, "exact"), edges)


@pytest.mark.parametrize("method", ["greedy", "suitor"])
def test_matching_a_hub_costs_no_more_than_matching_a_path(method):
    def work(edges: Edges, n: int) -> float:
        match(edges, n, method)
        taken = []
        for _ in range(3):
            start = time.process_time()
            match(edges, n, method)
            taken.append(time.process_time() - start)
        return min(taken)

    n = 200_000
    weight = np.random.default_rng(0).uniform(size=n - 1)
    star = Edges(np.zeros(n - 1, dtype=np.int64), np.arange(1, n), weight)
    path = Edges(np.arange(n - 1), np.arange(1, n), weight)
    assert work(star, n) < 3 * work(path, n)  # a scan of the row for each proposal would be 1e5 times more


def test_compatibility_is_one_minus_twice_the_normalised_coupling():
    matrix = random_spd(12, 0)
    w = np.random.default_rng(1).normal(size=12)
    edges = compatible_edges(matrix, w)
    dense = matrix.toarray()
    i, j = edges.row, edges.column
    expected = 1 - 2 * dense[i, j] * w[i] * w[j] / (dense[i, i] * w[i] ** 2 + dense[j, j] * w[j] ** 2)
    assert ((expected >= 0) & (expected <= 2)).all() and (edges.weight >= 0).all()
    np.testing.assert_allclose(edges.weight, np.log(expected / (0.999 * expected.min())))
    assert np.isfinite(compatible_edges(matrix, np.zeros(12)).weight).all()


# --- hierarchy ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", MATCHERS)
def test_prolongators_are_orthonormal_and_keep_the_smooth_vector(method):
    matrix = random_spd(120, 2)
    w = np.random.default_rng(3).normal(size=120)
    hierarchy = build_hierarchy(matrix, w, HierarchyOptions(matching=method))
    assert len(hierarchy.matrices) >= 3
    for fine, coarse, prolongator in zip(hierarchy.matrices, hierarchy.matrices[1:], hierarchy.prolongators):
        np.testing.assert_allclose((prolongator.T @ prolongator).toarray(), np.eye(coarse.shape[0]), atol=1e-14)
        np.testing.assert_allclose(prolongator @ (prolongator.T @ w), w, atol=1e-13)
        np.testing.assert_allclose(coarse.toarray(), (prolongator.T @ fine @ prolongator).toarray(), atol=1e-12)
        assert np.linalg.eigvalsh(coarse.toarray())[0] > 0
        w = prolongator.T @ w
    assert hierarchy.sizes[-1] <= 10
    assert max(np.bincount(hierarchy.prolongators[0].indices)) <= 4


def test_vertices_where_the_smooth_vector_vanishes_are_left_to_the_smoother():
    prolongator = pairwise_prolongator(np.array([0.0, 0.0, 3.0, 0.0, 1.0]), np.array([1, 0, 3, 2, -1])).toarray()
    np.testing.assert_array_equal(prolongator, [[0, 0], [0, 0], [1, 0], [0, 0], [0, 1]])


def test_smoothed_prolongators_lower_the_energy_of_their_columns():
    matrix = random_spd(100, 4)
    plain, smoothed = (build_hierarchy(matrix, np.ones(100), HierarchyOptions(smoothed=flag)) for flag in (False, True))
    assert smoothed.matrices[1].diagonal().sum() < 0.8 * plain.matrices[1].diagonal().sum()
    assert np.linalg.eigvalsh(smoothed.matrices[-1].toarray())[0] > 0


def test_a_star_does_not_fill_the_memory_with_levels():
    n = 50_000
    star = sp.csr_array((np.ones(n - 1), (np.zeros(n - 1, dtype=int), np.arange(1, n))), shape=(n, n))
    hierarchy = build_hierarchy(shifted_laplacian(sp.csr_array(star + star.T)), np.ones(n), HierarchyOptions())
    assert hierarchy.operator_complexity < 4


def test_a_hierarchy_says_its_sizes():
    assert "120 > " in repr(build_hierarchy(random_spd(120, 2), np.ones(120), HierarchyOptions()))


def two_level(matrix: sp.csr_array, **changes) -> Composite:
    options = HierarchyOptions(coarse_solver="direct", max_levels=2, **changes)
    return Composite(matrix, [build_hierarchy(matrix, np.ones(matrix.shape[0]), options)])


def test_one_level_with_a_direct_solve_is_exact():
    matrix = random_spd(30, 0)
    b = np.arange(30.0)
    composite = two_level(matrix, max_coarse=30)
    np.testing.assert_allclose(composite.sweep(np.ones(30), b), np.linalg.solve(matrix.toarray(), b), rtol=1e-10)


def test_one_edge_is_solved_by_one_sweep():
    # The shift removes the only off-diagonal entry, so that nothing is left to match.
    matrix = shifted_laplacian(sp.csr_array([[0.0, 3.0], [3.0, 0.0]]))
    np.testing.assert_array_equal(matrix.toarray(), [[6, 0], [0, 6]])
    composite = two_level(matrix, matching="exact", max_coarse=1)
    np.testing.assert_allclose(composite.sweep(np.ones(2), np.array([6.0, 12.0])), [1, 2])


@pytest.mark.parametrize("smoother", ["forward_backward", "forward", "backward", "symmetric", "jacobi", "l1_jacobi"])
def test_a_cycle_is_what_its_formula_says(smoother):
    matrix = random_spd(40, 5)
    n = 40
    hierarchy = two_level(matrix, smoother=smoother, jacobi_weight=0.6).hierarchies[0]
    dense, prolongator = matrix.toarray(), hierarchy.prolongators[0].toarray()
    lower, upper, diagonal = np.tril(dense), np.triu(dense), np.diag(dense)
    identity = np.eye(n)
    forward, backward = identity - np.linalg.solve(lower, dense), identity - np.linalg.solve(upper, dense)
    before, after = {
        "forward_backward": (forward, backward),
        "forward": (forward, forward),
        "backward": (backward, backward),
        "symmetric": (backward @ forward, backward @ forward),
        "jacobi": (identity - 0.6 * dense / diagonal[:, None],) * 2,
        "l1_jacobi": (identity - dense / np.abs(dense).sum(axis=1)[:, None],) * 2,
    }[smoother]
    coarse = identity - prolongator @ np.linalg.solve(prolongator.T @ dense @ prolongator, prolongator.T @ dense)
    error = np.random.default_rng(0).normal(size=n)
    found = error.copy()
    hierarchy.cycle(found, np.zeros(n))
    np.testing.assert_allclose(found, after @ coarse @ before @ error, atol=1e-12)


@pytest.mark.parametrize("cycle", ["V", "H", "W", "K"])
@pytest.mark.parametrize("coarse_solver", ["direct", "forward", "symmetric", "jacobi", "l1_jacobi"])
def test_every_cycle_converges_to_the_solution(cycle, coarse_solver):
    matrix = random_spd(200, 6)
    options = HierarchyOptions(cycle=cycle, coarse_solver=coarse_solver, max_coarse=4)
    composite = Composite(matrix, [build_hierarchy(matrix, np.ones(200), options)])
    b = np.random.default_rng(0).normal(size=200)
    truth = np.linalg.solve(matrix.toarray(), b)
    x = np.zeros(200)
    for _ in range(300):
        x = composite.sweep(x, b)
    assert energy_norm(matrix, x - truth) < 1e-6 * energy_norm(matrix, truth)


def test_more_coarse_calls_converge_faster():
    matrix = random_spd(400, 7)
    rates = {}
    for cycle in ("V", "H", "W"):
        options = HierarchyOptions(cycle=cycle, max_coarse=2, coarse_solver="direct", n_pairings=1)
        composite = Composite(matrix, [build_hierarchy(matrix, np.ones(400), options)])
        rates[cycle], _ = composite.convergence_ratio(30, np.random.default_rng(0))
    assert rates["W"] < rates["H"] < rates["V"] < 1


# --- bootstrap ------------------------------------------------------------------------------------------------------


def test_smooth_vectors_have_energy_norm_one_and_ratios_fall(firm):
    matrix = shifted_laplacian(augment(firm[0], encode_attributes(firm[1], 36)).adjacency)
    found = bootstrap(matrix)
    for w in found.smooth_vectors.T[1:]:
        assert energy_norm(matrix, w) == pytest.approx(1, abs=1e-12)
    assert found.ratios[0] < 0.75 and found.ratios[-1] <= 1e-6 < found.ratios[-2]
    assert len(found.ratios) < 40 and (np.diff(found.ratios) < 0).mean() > 0.9


def test_ratio_is_the_spectral_radius_of_the_error_operator():
    matrix = random_spd(60, 8)
    found = bootstrap(matrix, max_hierarchies=2, n_sweeps=200)
    operator = np.column_stack([found.composite.sweep(column) for column in np.eye(60)])
    assert found.ratios[-1] == pytest.approx(np.abs(np.linalg.eigvals(operator)).max(), rel=1e-3)


def test_composites_are_the_products_and_the_mean_of_their_cycles():
    matrix = random_spd(50, 9)
    hierarchies = bootstrap(matrix, max_hierarchies=3).composite.hierarchies
    single = [
        np.column_stack([Composite(matrix, [hierarchy]).sweep(column) for column in np.eye(50)])
        for hierarchy in hierarchies
    ]
    x = np.random.default_rng(0).normal(size=50)
    forward = single[2] @ single[1] @ single[0]
    np.testing.assert_allclose(Composite(matrix, hierarchies).sweep(x), forward @ x, atol=1e-12)
    backward = single[0] @ single[1] @ single[2]
    np.testing.assert_allclose(
        Composite(matrix, hierarchies, "symmetrised").sweep(x), backward @ forward @ x, atol=1e-12
    )
    np.testing.assert_allclose(Composite(matrix, hierarchies, "additive").sweep(x), sum(single) @ x / 3, atol=1e-12)


@pytest.mark.parametrize("kind", ["multiplicative", "symmetrised", "additive"])
@pytest.mark.parametrize(("cycle", "smoother"), [("V", "forward_backward"), ("W", "forward"), ("H", "jacobi")])
def test_preconditioner_is_symmetric_and_positive(kind, cycle, smoother):
    matrix = random_spd(60, 10)
    options = HierarchyOptions(cycle=cycle, smoother=smoother)
    operator = bootstrap(matrix, composite=kind, options=options, max_hierarchies=2).composite.as_preconditioner()
    dense = operator @ np.eye(60)
    np.testing.assert_allclose(dense, dense.T, atol=1e-12)
    assert np.linalg.eigvalsh(dense)[0] > 0


def test_conjugate_gradients_take_fewer_steps_with_the_composite():
    matrix = shifted_laplacian(attributed_graph("blocks").adjacency)
    b = np.random.default_rng(0).normal(size=400)
    steps = {}
    for name, operator in (
        ("plain", None),
        ("composite", bootstrap(matrix, max_hierarchies=4).composite.as_preconditioner()),
    ):
        count = []
        x, flag = cg(matrix, b, rtol=1e-10, maxiter=2000, M=operator, callback=count.append)
        assert flag == 0 and np.abs(matrix @ x - b).max() < 1e-6
        steps[name] = len(count)
    assert steps["composite"] < steps["plain"] / 5


def test_k_cycle_is_no_linear_preconditioner():
    found = bootstrap(random_spd(40, 1), options=HierarchyOptions(cycle="K"), max_hierarchies=1)
    with pytest.raises(ValueError, match="cycle"):
        found.composite.as_preconditioner()


def test_smooth_vectors_lie_at_the_low_end_of_the_spectrum():
    adjacency = attributed_graph("blocks").adjacency
    matrix = shifted_laplacian(adjacency)
    low = np.linalg.eigh(matrix.toarray())[1][:, :20]
    w = bootstrap(matrix, max_hierarchies=1).smooth_vectors[:, 1]
    random = np.random.default_rng(0).normal(size=400)
    share = [np.linalg.norm(low.T @ v) / np.linalg.norm(v) for v in (w, random)]
    assert share[0] > 0.95 > 0.4 > share[1]


def test_bootstrap_stops_where_nothing_is_left():
    found = bootstrap(sp.csr_array([[2.0, 0.0], [0.0, 2.0]]), options=HierarchyOptions(coarse_solver="direct"))
    assert found.ratios.tolist() == [0.0] and found.smooth_vectors.shape == (2, 1)


# --- K-means on blocks ----------------------------------------------------------------------------------------------


def test_distances_of_blocks_depend_on_the_projector_alone():
    vectors = np.random.default_rng(0).normal(size=(30, 4))
    embedding = embed(vectors)
    projector = vectors @ np.linalg.pinv(vectors)
    np.testing.assert_allclose(embedding @ embedding.T, projector, atol=1e-12)
    assert embed(np.column_stack([vectors, vectors[:, 0]]), 1e-10).shape == (30, 4)


@pytest.mark.parametrize(("norm", "order"), [("2", 2), ("1", 1), ("inf", np.inf)])
def test_assignment_takes_the_norm_of_the_vector_of_distances(norm, order):
    rng = np.random.default_rng(0)
    blocks, centres = rng.normal(size=(20, 5, 3)), rng.normal(size=(2, 4, 15))
    labels, distance = _assign(blocks, centres, np.zeros((2, 4), dtype=bool), norm)
    for run in range(2):
        difference = blocks[:, None] - centres[run].reshape(4, 5, 3)
        expected = np.linalg.norm(np.linalg.norm(difference, axis=3), ord=order, axis=2)
        np.testing.assert_array_equal(labels[run], expected.argmin(axis=1))
        np.testing.assert_allclose(np.sqrt(distance[run]) if norm == "2" else distance[run], expected.min(axis=1))


def test_a_restart_is_lloyds_iteration_from_its_rows():
    rng = np.random.default_rng(1)
    blocks = rng.normal(size=(60, 3, 2))
    blocks[:30] += 4
    found = kmeans(blocks, 2, n_init=4, max_iter=50, generator=np.random.default_rng(7))
    starts = [np.random.default_rng(7)]
    points = blocks.reshape(60, -1)
    for labels in found:
        start = points[starts[0].choice(60, 2, replace=False)]
        reference = KMeans(2, init=start, n_init=1, max_iter=50, tol=0, algorithm="lloyd").fit(points)
        np.testing.assert_array_equal(labels, reference.labels_)


def test_empty_clusters_are_filled_unless_the_reference_is_followed():
    blocks = np.concatenate([np.zeros((20, 1, 1)), np.arange(1.0, 6)[:, None, None]])
    filled = kmeans(blocks, 5, n_init=20, generator=np.random.default_rng(0))
    assert all(len(np.unique(labels)) == 5 for labels in filled)
    lost = kmeans(blocks, 5, n_init=20, keep_empty=True, generator=np.random.default_rng(0))
    assert min(len(np.unique(labels)) for labels in lost) < 5


def test_the_partition_of_largest_modularity_is_kept_and_numbered_by_size(firm):
    candidates = np.random.default_rng(0).integers(3, size=(10, 36))
    labels, score = best_partition(firm[0], candidates)
    scores = [modularity(firm[0], candidate) for candidate in candidates]
    assert score == max(scores) == pytest.approx(modularity(firm[0], labels))
    assert (np.diff(np.bincount(labels)) <= 0).all()


def test_entropy_is_that_of_a_contingency_table():
    labels, codes = np.array([0, 0, 0, 1]), np.array([[0, 0], [0, 1], [1, 2], [1, 0]])
    office = -(2 / 3 * np.log2(2 / 3) + 1 / 3 * np.log2(1 / 3))
    assert attribute_entropy(labels, codes) == pytest.approx(3 / 4 * (office + np.log2(3)))
    assert attribute_entropy(labels, codes, over="mean") == pytest.approx(3 / 8 * (office + np.log2(3)))


def test_walk_closeness_is_the_sum_of_powers(firm):
    attributes = encode_attributes(firm[1], 36)
    joined = augment(firm[0], attributes).adjacency.toarray()
    joined[:36, 36:] *= 0.5
    walk = joined / joined.sum(axis=1, keepdims=True)
    expected = sum(0.2 * 0.8**step * np.linalg.matrix_power(walk, step) for step in range(1, 7))
    found = walk_closeness(firm[0], attributes, np.array([0.5]), length=6)
    np.testing.assert_allclose(found, expected[:36, :36], atol=1e-14)


# --- the estimator --------------------------------------------------------------------------------------------------


def test_friends_in_two_offices_are_found_with_the_office_and_not_without(firm):
    fused = BootstrapAMGClustering(n_clusters=2, coarse_solver="forward", random_state=0).fit(*firm)
    alone = BootstrapAMGClustering(n_clusters=2, coarse_solver="forward", random_state=0).fit(firm[0])
    assert fused.modularity_ > 0.2 > 0.1 > alone.modularity_
    assert normalized_mutual_info_score(firm[1]["office"], fused.labels_) > 0.85
    assert fused.attribute_entropy_ < 0.3 and alone.attribute_entropy_ is None


def test_a_direct_coarse_solve_needs_fewer_hierarchies_and_finds_a_clear_structure():
    graph = attributed_blocks(400, 4, mixing=0.05, random_state=2)
    direct, forward = (
        BootstrapAMGClustering(n_clusters=4, coarse_solver=solver, random_state=0).fit(graph.adjacency)
        for solver in ("direct", "forward")
    )
    assert len(direct.ratios_) < len(forward.ratios_) / 2
    agreement = [normalized_mutual_info_score(graph.classes, model.labels_) for model in (direct, forward)]
    assert agreement[0] > 0.9 > agreement[1]


def test_less_weight_on_one_weak_attribute_finds_a_clear_structure():
    graph = attributed_blocks(400, 4, mixing=0.05, n_attributes=1, agreement=0.6, random_state=3)
    heavy, light = (
        BootstrapAMGClustering(n_clusters=4, attribute_weight=weight, random_state=0)
        .fit(graph.adjacency, graph.attributes)
        .labels_
        for weight in (1.0, 0.3)
    )
    assert normalized_mutual_info_score(graph.classes, heavy) < 0.5
    assert normalized_mutual_info_score(graph.classes, light) > 0.9


def test_attributes_beat_structure_and_structure_walks_where_structure_is_weak():
    graph = attributed_blocks(400, 4, mixing=0.2, n_attributes=3, random_state=1)
    fused = BootstrapAMGClustering(n_clusters=4, attribute_weight=0.3, random_state=0)
    scores = [
        normalized_mutual_info_score(graph.classes, labels)
        for labels in (
            fused.fit_predict(graph.adjacency, graph.attributes),
            fused.fit_predict(graph.adjacency),
            sa_cluster(graph.adjacency, encode_attributes(graph.attributes, len(graph.classes)), 4),
        )
    ]
    assert scores[0] > 0.7 and scores[0] - max(scores[1:]) > 0.1


def test_vertex_order_does_not_decide_the_result(firm):
    order = np.random.default_rng(5).permutation(36)
    labels = BootstrapAMGClustering(n_clusters=2, random_state=0).fit_predict(*firm)
    shuffled = BootstrapAMGClustering(n_clusters=2, random_state=0).fit_predict(
        sp.csr_array(firm[0][order][:, order]), firm[1].iloc[order]
    )
    assert normalized_mutual_info_score(labels[order], shuffled) > 0.8


def test_networkx_edge_lists_and_words_give_the_same_clusters(firm):
    labels = BootstrapAMGClustering(n_clusters=2, random_state=0).fit_predict(*firm)
    graph = nx.from_scipy_sparse_array(firm[0])
    words = firm[1]["office"].map({1: "Boston", 2: "Hartford", 3: "Providence"}).to_numpy()
    np.testing.assert_array_equal(
        BootstrapAMGClustering(n_clusters=2, random_state=0).fit_predict(graph, words), labels
    )


def test_rank_tolerance_leaves_out_directions_of_rounding_error(firm):
    full, cut = (
        BootstrapAMGClustering(n_clusters=2, coarse_solver="forward", rank_tol=tol, random_state=0).fit(*firm)
        for tol in (0.0, 1e-10)
    )
    assert cut.embedding_.shape[1] < full.embedding_.shape[1] == len(full.ratios_) + 1


def test_weight_zero_leaves_the_attributes_to_the_embedding(firm):
    blocks = block_coordinates(np.random.default_rng(0).normal(size=(39, 2)), np.full((36, 1), 37), 0.0)
    assert not blocks[:, :, 1].any() and blocks[:, :, 0].any()
    with pytest.raises(ValueError, match="attribute_weight"):
        BootstrapAMGClustering(n_clusters=2, attribute_weight=-1.0).fit(*firm)


def test_loaded_model_has_the_same_solver(firm, tmp_path):
    model = BootstrapAMGClustering(n_clusters=2, max_hierarchies=5, random_state=0).fit(*firm)
    loaded = BootstrapAMGClustering.from_pretrained(model.save_pretrained(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.labels_, model.labels_)
    assert (loaded.matrix_ != model.matrix_).nnz == 0
    x = np.random.default_rng(0).normal(size=39)
    np.testing.assert_array_equal(loaded.composite_.sweep(x), model.composite_.sweep(x))


def test_a_stopped_bootstrap_goes_on_to_the_same_result(firm, tmp_path, monkeypatch):
    whole = BootstrapAMGClustering(n_clusters=2, max_hierarchies=6, random_state=0).fit(*firm)
    bootstrap_module = sys.modules[bootstrap.__module__]
    built = []
    original = build_hierarchy

    def stop_at_the_fourth(*arguments):
        built.append(1)
        if len(built) == 4:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(bootstrap_module, "build_hierarchy", stop_at_the_fourth)
    model = BootstrapAMGClustering(n_clusters=2, max_hierarchies=6, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*firm, checkpoint_dir=tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]
    built.clear()
    monkeypatch.setattr(bootstrap_module, "build_hierarchy", lambda *arguments: built.append(1) or original(*arguments))
    model.fit(*firm, checkpoint_dir=tmp_path)
    assert len(built) == 3  # of six, three were there
    np.testing.assert_array_equal(model.smooth_vectors_, whole.smooth_vectors_)
    np.testing.assert_array_equal(model.labels_, whole.labels_)


# --- refusals -------------------------------------------------------------------------------------------------------

RING = nx.to_scipy_sparse_array(nx.cycle_graph(6), dtype=float)


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (sp.csr_array(np.triu(RING.toarray())), "undirected"),
        (-RING, "negative"),
        (RING * np.nan, "NaN"),
        (sp.block_diag([RING, RING], format="csr"), "connected"),
        (sp.csr_array((4, 4)), "no edges"),
        (np.zeros((1, 1)), "at least 2 nodes"),
    ],
    ids=["directed", "negative", "nan", "disconnected", "no-edges", "one-node"],
)
def test_graphs_that_have_no_answer_are_refused(graph, words):
    with pytest.raises(ValueError, match=words):
        BootstrapAMGClustering(n_clusters=1).fit(graph)


def test_attributes_may_join_what_edges_do_not():
    graph = sp.csr_array(sp.block_diag([RING, RING], format="csr"))
    with pytest.raises(ValueError, match=r"graph with its attributes.*2 components"):
        BootstrapAMGClustering(n_clusters=2).fit(graph, np.repeat([0, 1], 6))
    model = BootstrapAMGClustering(n_clusters=2, random_state=0).fit(graph, np.tile([0, 1], 6))
    assert len(model.labels_) == 12


def test_self_loops_are_dropped_with_a_warning():
    with pytest.warns(UserWarning, match="self loops"):
        looped = BootstrapAMGClustering(n_clusters=2, random_state=0).fit(RING + sp.eye_array(6))
    plain = BootstrapAMGClustering(n_clusters=2, random_state=0).fit(RING)
    np.testing.assert_array_equal(looped.labels_, plain.labels_)


def test_an_attribute_that_differs_everywhere_is_warned_of():
    with pytest.warns(UserWarning, match="different value at each"):
        encode_attributes(pd.DataFrame({"age": range(6)}), 6)


@pytest.mark.parametrize(
    ("attributes", "error", "words"),
    [
        (np.zeros(5, dtype=int), ValueError, "6 rows"),
        (np.linspace(0, 1, 6), TypeError, "bin them"),
        (pd.DataFrame({"x": [1.0, np.inf, 1, 1, 1, 1]}), ValueError, "infinity"),
        (pd.DataFrame({"x": ["a", None] * 3}), ValueError, "missing"),
        (np.ones(6, dtype=complex), TypeError, "categories"),
        (np.zeros((6, 1, 1)), ValueError, "axes"),
        (pd.DataFrame(index=range(6)), ValueError, "no column"),
    ],
)
def test_attributes_that_are_no_categories_are_refused(attributes, error, words):
    with pytest.raises(error, match=words):
        BootstrapAMGClustering(n_clusters=2).fit(RING, attributes)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_clusters", 0),
        ("n_clusters", 7),
        ("max_hierarchies", 0),
        ("desired_ratio", 0.0),
        ("desired_ratio", 1.0),
        ("n_sweeps", 0),
        ("composite", "sum"),
        ("matching", "preis"),
        ("n_pairings", 0),
        ("max_coarse", 0),
        ("max_levels", 0),
        ("n_coarse_relaxations", -1),
        ("cycle", "F"),
        ("smoother", "sor"),
        ("jacobi_weight", 2.0),
        ("n_pre_smoothings", -1),
        ("n_post_smoothings", -1),
        ("coarse_solver", "none"),
        ("n_coarse_smoothings", 0),
        ("rank_tol", 1.0),
        ("norm", "3"),
        ("n_init", 0),
        ("max_iter", 0),
        ("missing", "mean"),
    ],
)
def test_arguments_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=name):
        BootstrapAMGClustering(n_clusters=2).set_params(**{name: value}).fit(RING)


# --- files ----------------------------------------------------------------------------------------------------------


def test_graph_and_attributes_are_read_by_the_nodes_names(tmp_path):
    edges, table = tmp_path / "edges.csv", tmp_path / "people.csv"
    edges.write_text("source,target\nann,bob\nbob,cid\ncid,ann\n")
    table.write_text("name,team,floor\ncid,red,1\nann,blue,2\nbob,red,2\n")
    data = read([edges, table])
    assert data.graph.names.tolist() == ["ann", "bob", "cid"]
    assert data.attributes.to_dict("list") == {"team": ["blue", "red", "red"], "floor": [2, 2, 1]}
    pd.read_csv(table).to_parquet(tmp_path / "people.parquet")
    pd.testing.assert_frame_equal(read([edges, tmp_path / "people.parquet"]).attributes, data.attributes)
    for content, words in (
        ("name,team\nann,red\nbob,red\n", "node cid has 0"),
        ("name,team\nann,red\nbob,red\ncid,red\ncid,red\n", "node cid has 2"),
        ("name,team\nann,red\nbob,red\neve,red\n", "eve"),
        ("name\nann\nbob\ncid\n", "at least one attribute"),
    ):
        table.write_text(content)
        with pytest.raises(ValueError, match=words) as error:
            read([edges, table])
        assert "people.csv" in str(error.value)


def test_attributes_may_have_the_names_of_the_columns_of_the_table():
    attributes = pd.DataFrame({"value": ["x", "y", "x"], "cluster": ["p", "p", "q"]})
    table = _composition(np.array([0, 0, 1]), attributes)
    assert table.query("attribute == 'cluster' and value == 'p' and cluster == 0")["nodes"].tolist() == [2]
    assert table["nodes"].sum() == 6

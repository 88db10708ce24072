"""Neighbour graphs against brute force, the kernels' formulas, and shortest paths against scipy's."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import dijkstra
from scipy.spatial.distance import cdist

from semigroup.operators import common_offset, geodesic_neighbours, neighbour_graph, normalise_density


def cloud(n, seed, dim=3):
    return np.random.default_rng(seed).normal(size=(n, dim))


def alpha_decay_by_force(points, k, decay, threshold=1e-4):
    distance = cdist(points, points)
    bandwidth = np.sort(distance, axis=1)[:, k]  # column 0 is the point itself
    kernel = np.exp(-((distance / bandwidth[:, None]) ** decay))
    kernel[kernel < threshold] = 0
    np.fill_diagonal(kernel, 0)
    return (kernel + kernel.T) / 2


@settings(max_examples=25, deadline=None)
@given(st.integers(5, 60), st.integers(1, 4), st.integers(0, 1000), st.sampled_from([0.5, 2.0, 10.0, 40.0]))
def test_alpha_decay_graph_is_the_kernel_of_all_pairs(n, k, seed, decay):
    points = cloud(n, seed)
    found = neighbour_graph(points, k, kernel="alpha-decay", decay=decay)
    assert np.allclose(found.toarray(), alpha_decay_by_force(points, k, decay), atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(st.integers(5, 60), st.integers(1, 4), st.integers(0, 1000), st.floats(0.1, 10))
def test_nearest_neighbours_are_joined_with_the_weights_of_their_formula(n, k, seed, scale):
    points = cloud(n, seed)
    distance = cdist(points, points)
    near = np.argsort(distance + np.diag(np.full(n, np.inf)), axis=1)[:, :k]
    joined = np.zeros((n, n), dtype=bool)
    joined[np.repeat(np.arange(n), k), near.ravel()] = True
    width = distance[joined].mean()
    joined |= joined.T
    assert np.array_equal(neighbour_graph(points, k, kernel="binary").toarray(), joined.astype(float))
    assert np.allclose(neighbour_graph(points, k, kernel="distance").toarray(), distance * joined)
    gaussian = neighbour_graph(points, k).toarray()
    assert np.allclose(gaussian, np.exp(-((distance / width) ** 2)) * joined)
    # The automatic bandwidths make the weights free of the unit of the points.
    assert np.allclose(neighbour_graph(scale * points, k).toarray(), gaussian)
    assert np.allclose(neighbour_graph(points, k, bandwidth=2.0).toarray(), np.exp(-((distance / 2) ** 2)) * joined)


def test_density_normalisation_makes_a_walk_on_a_crowded_circle_blind_to_the_crowd():
    # Points of density 1 + 0.8 cos; the stationary law over arcs of equal length is flat once density is divided out.
    uniform = (np.arange(4000) + 0.5) / 4000 * 2 * np.pi
    angle = np.interp(uniform, (a := np.linspace(0, 2 * np.pi, 20_001)) + 0.8 * np.sin(a), a)
    distance = np.abs(angle[:, None] - angle)
    kernel = np.exp(-((np.minimum(distance, 2 * np.pi - distance) / 0.05) ** 2))
    crowd = 1 + 0.8 * np.cos(angle)
    for power, exponent in ((0.0, 1.0), (0.5, 0.0), (1.0, -1.0)):
        degree = np.asarray(normalise_density(sp.csr_array(kernel), power).sum(axis=1)).ravel()
        slope = np.polyfit(np.log(crowd), np.log(degree), 1)[0]
        assert slope == pytest.approx(exponent, abs=0.05)


@settings(max_examples=25, deadline=None)
@given(st.integers(12, 60), st.integers(0, 1000))
def test_geodesic_neighbours_are_the_nearest_of_all_shortest_paths(n, seed):
    lengths = neighbour_graph(cloud(n, seed), 5, kernel="distance")
    exact = dijkstra(lengths)
    neighbour, distance = geodesic_neighbours(lengths, 5)
    assert np.allclose(distance, np.sort(exact, axis=1)[:, 1:6])
    assert np.allclose(np.take_along_axis(exact, neighbour, axis=1), distance)


def test_bad_input_is_named():
    points = cloud(10, 0)
    with pytest.raises(ValueError, match="n_neighbors must be below the number of points, 10, got 10"):
        neighbour_graph(points, 10)
    with pytest.raises(ValueError, match="points holds NaN"):
        neighbour_graph(np.full((5, 2), np.nan), 2)
    with pytest.raises(ValueError, match="points hold more than 2 copies of point 0"):
        neighbour_graph(np.concatenate([points[:1]] * 4 + [points]), 2, kernel="alpha-decay")
    with pytest.raises(ValueError, match="coincide: an edge cannot have length zero"):
        neighbour_graph(np.concatenate([points, points]), 2, kernel="distance")
    with pytest.raises(ValueError, match="n_neighbors is 5, and node 0 reaches 1 other nodes only"):
        geodesic_neighbours(sp.csr_array(np.kron(np.eye(3), [[0.0, 1.0], [1.0, 0.0]])), 5)
    with pytest.raises(ValueError, match="bandwidth must be > 0"):
        neighbour_graph(points, 2, bandwidth=0.0)


def test_adaptive_weights_are_the_overlap_of_two_gaussians():
    points = cloud(40, 0)
    distance = cdist(points, points)
    width = np.sort(distance, axis=1)[:, 5] / 2
    spread = width[:, None] ** 2 + width**2
    overlap = np.sqrt(2 * np.outer(width, width) / spread) * np.exp(-(distance**2) / spread)
    found = neighbour_graph(points, 5, kernel="adaptive").toarray()
    joined = neighbour_graph(points, 5, kernel="binary").toarray()
    assert np.allclose(found, overlap * joined)


def test_fuzzy_weights_are_those_of_umap():
    umap = pytest.importorskip("umap.umap_")
    points = cloud(200, 0)
    theirs, _, _ = umap.fuzzy_simplicial_set(points.astype(np.float32), 11, np.random.RandomState(0), "euclidean")
    assert abs(theirs - neighbour_graph(points, 10, kernel="fuzzy")).max() < 1e-4


def test_fuzzy_membership_of_the_nearest_neighbour_is_full():
    found = neighbour_graph(cloud(100, 1), 8, kernel="fuzzy")
    assert found.data.max() <= 1 + 1e-15 and abs(found - found.T).max() == 0
    assert np.allclose(found.toarray().max(axis=1), 1, rtol=0, atol=1e-15)


@pytest.mark.parametrize("kernel", ["distance", "alpha-decay"])
def test_a_common_offset_changes_no_neighbour(kernel):
    points = cloud(80, 0, dim=30)  # more dimensions than a tree is searched in
    near, far = (neighbour_graph(one, 5, kernel=kernel).toarray() for one in (points, points + 1e7))
    np.testing.assert_allclose(far, near, atol=1e-5)


def test_points_about_the_origin_stay_where_they_are():
    assert not common_offset(cloud(50, 0)).any()
    assert common_offset(cloud(50, 0) + np.array([1e3, 0, 0]))[0] == pytest.approx(1e3, abs=1)

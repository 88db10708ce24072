"""Random graphs have the sizes and the degrees that their models promise."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from semigroup.data.random_graphs import (
    planted_partition,
    power_law_graph,
    preferential_attachment,
    rmat,
    stochastic_block_model,
)


def test_rmat_fills_the_quadrants_in_the_given_proportions():
    graph = rmat(10, 20000, quadrants=(0.4, 0.3, 0.2), random_state=0)
    drawn = sp.coo_array(graph)
    upper, left = drawn.row < 512, drawn.col < 512
    # Merging repeats thins the dense quadrant a little; at this size by less than two per cent of all edges.
    shares = [(upper & left).mean(), (upper & ~left).mean(), (~upper & left).mean(), (~upper & ~left).mean()]
    np.testing.assert_allclose(shares, [0.4, 0.3, 0.2, 0.1], atol=0.02)
    assert graph.diagonal().sum() == 0 and graph.has_canonical_format and set(graph.data) == {1.0}


def test_rmat_has_a_heavier_tail_than_a_uniform_graph():
    degrees = np.diff(rmat(14, 200000, random_state=1).indptr)
    uniform = np.diff(rmat(14, 200000, quadrants=(0.25, 0.25, 0.25), random_state=1).indptr)
    assert degrees.max() > 10 * uniform.max()


def test_preferential_attachment_gives_early_nodes_more_edges():
    graph = preferential_attachment(5000, 4, random_state=0)
    degrees = np.diff(graph.indptr)
    assert graph.nnz > 1.9 * 5000 * 4 and degrees.min() >= 1
    # Expected degree grows like (age rank)^-1/2: the first per cent has ten times the median's.
    assert degrees[:50].mean() > 5 * np.median(degrees)


def test_power_law_out_degrees_have_the_exponent():
    degrees = np.diff(power_law_graph(20000, exponent=2.1, max_degree=1000, random_state=0).indptr)
    assert degrees.min() == 1
    # Counts of degree 1 and 2 stand as 2^2.1 : 1; about 12800 and 3000 draws, hence a relative error of some 2 %.
    assert abs(np.log2((degrees == 1).sum() / (degrees == 2).sum()) - 2.1) < 0.15


def test_same_seed_gives_the_same_graph():
    for make in (
        lambda seed: rmat(8, 900, random_state=seed),
        lambda seed: preferential_attachment(200, 3, random_state=seed),
        lambda seed: power_law_graph(200, random_state=seed),
    ):
        assert (make(3) != make(3)).nnz == 0
        assert (make(3) != make(4)).nnz > 0


# --- graphs with classes -------------------------------------------------------------------------------------------


def test_block_model_has_the_densities_of_its_probabilities():
    sizes, density = [300, 500, 200], np.array([[0.2, 0.05, 0.0], [0.05, 0.1, 0.02], [0.0, 0.02, 1.0]])
    graph = stochastic_block_model(sizes, density, random_state=0)
    member = np.eye(3)[graph.labels]
    pairs = np.outer(sizes, sizes) - np.diag(sizes)
    share = member.T @ (graph.adjacency @ member) / pairs
    # Four standard deviations of each block's share (edges within a class are counted from both ends).
    allowed = 4 * np.sqrt(density * (1 - density) / (pairs / (1 + np.eye(3))))
    assert (np.abs(share - density) <= allowed).all()
    assert share[2, 2] == 1 and share[0, 2] == 0
    assert abs(graph.adjacency - graph.adjacency.T).nnz == 0
    assert graph.adjacency.diagonal().sum() == 0 and set(graph.adjacency.data) == {1.0}


def test_every_pair_of_nodes_is_equally_likely_within_a_class():
    generator = np.random.default_rng(1)
    total = sum(
        planted_partition(7, 1, 0.3, 0.0, connected=False, random_state=generator).adjacency for _ in range(2000)
    ).toarray()
    counts = total[np.triu_indices(7, 1)]
    assert np.abs(counts - 600).max() < 4.5 * np.sqrt(2000 * 0.3 * 0.7)


def test_only_connected_block_models_are_kept_and_none_is_an_error():
    generator = np.random.default_rng(0)
    for _ in range(20):
        graph = planted_partition(30, 2, 0.2, 0.03, random_state=generator)
        assert connected_components(graph.adjacency)[0] == 1
    with pytest.raises(ValueError, match="none of 100 draws"):
        planted_partition(40, 2, 0.5, 0.0)
    assert connected_components(planted_partition(40, 2, 0.5, 0.0, connected=False).adjacency)[0] >= 2


def test_classes_are_as_equal_as_they_can_be_and_seeds_repeat():
    first, second = (planted_partition(11, 3, 0.9, 0.5, random_state=4) for _ in range(2))
    np.testing.assert_array_equal(np.bincount(first.labels), [4, 4, 3])
    assert (first.adjacency != second.adjacency).nnz == 0


def test_a_million_possible_pairs_a_class_cost_what_their_edges_cost():
    graph = planted_partition(200_000, 2, 1e-4, 1e-5, connected=False, random_state=0)
    assert abs(graph.adjacency.nnz / (2e5**2 / 2 * 1.1e-4) - 1) < 0.01


@pytest.mark.parametrize(
    ("sizes", "density", "words"),
    [
        ([3, 0], np.eye(2), "sizes"),
        (np.array([2.5, 2.0]), np.eye(2), "sizes"),
        ([3, 3], np.eye(3), "probabilities"),
        ([3, 3], [[0.5, 0.1], [0.2, 0.5]], "probabilities"),
        ([3, 3], [[0.5, 1.1], [1.1, 0.5]], "probabilities"),
        ([3, 3], [[0.5, np.nan], [np.nan, 0.5]], "probabilities"),
    ],
)
def test_block_model_refuses_what_is_no_model(sizes, density, words):
    with pytest.raises(ValueError, match=words):
        stochastic_block_model(sizes, density)

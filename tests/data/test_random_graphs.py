"""Random graphs have the sizes and the degrees that their models promise."""

import numpy as np
import scipy.sparse as sp

from semigroup.data.random_graphs import power_law_graph, preferential_attachment, rmat


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

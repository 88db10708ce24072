"""Modularity against networkx, and what must not change it."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

from semigroup.operators.partition import modularity


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("resolution", [1.0, 0.6])
def test_modularity_is_that_of_networkx_with_weights_and_loops(directed, resolution):
    generator = np.random.default_rng(0)
    weights = np.where(generator.random((20, 20)) < 0.3, generator.random((20, 20)), 0)
    if not directed:  # networkx counts a loop once in the weight and twice in the degree of an undirected graph
        weights = weights + weights.T - 2 * np.diag(np.diag(weights))
    labels = generator.integers(4, size=20)
    graph = nx.from_numpy_array(weights, create_using=nx.DiGraph if directed else nx.Graph)
    communities = [set(np.flatnonzero(labels == c).tolist()) for c in range(4)]
    expected = nx.community.modularity(graph, communities, resolution=resolution)
    assert modularity(sp.csr_array(weights), labels, resolution=resolution) == pytest.approx(expected, abs=1e-12)


def test_names_of_the_clusters_do_not_matter_and_one_cluster_has_none():
    graph = sp.csr_array(nx.to_scipy_sparse_array(nx.karate_club_graph(), dtype=float))
    labels = np.arange(34) % 3
    assert modularity(graph, labels) == modularity(graph, np.array(["b", "c", "a"])[labels])
    assert modularity(graph, np.zeros(34)) == pytest.approx(0, abs=1e-15)


def test_modularity_refuses_labels_of_another_length_and_graphs_without_edges():
    with pytest.raises(ValueError, match="labels"):
        modularity(sp.csr_array(np.ones((3, 3))), np.zeros(4))
    with pytest.raises(ValueError, match="no edges"):
        modularity(sp.csr_array((3, 3)), np.zeros(3))

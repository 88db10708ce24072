"""The shipped graphs are connected, undirected and of the stated sizes."""

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from semigroup.data.community_graphs import COMMUNITY_GRAPHS, community_graph

SIZES = {
    "karate": (34, 78, 2),
    "football": (115, 613, 12),
    "news_2cl1": (400, 33854, 2),
    "news_3cl3_0.1": (595, 4557, 3),
}


@pytest.mark.parametrize("name", COMMUNITY_GRAPHS)
def test_shipped_graphs_are_connected_and_undirected_with_a_class_each(name):
    graph = community_graph(name)
    n = graph.adjacency.shape[0]
    assert connected_components(graph.adjacency)[0] == 1
    assert abs(graph.adjacency - graph.adjacency.T).nnz == 0 and not graph.adjacency.diagonal().any()
    assert graph.adjacency.data.min() > 0 and len(graph.labels) == n
    assert set(graph.labels) == set(range(len(graph.class_names)))
    if name in SIZES:
        assert (n, graph.adjacency.nnz // 2, len(graph.class_names)) == SIZES[name]


def test_weights_are_kept_where_there_are_any():
    assert len(np.unique(community_graph("news_2cl1").adjacency.data)) > 1000
    assert set(community_graph("news_3cl1_0.1").adjacency.data) == {1.0}


def test_an_unknown_graph_is_refused_with_the_names():
    with pytest.raises(ValueError, match="karate"):
        community_graph("karat")

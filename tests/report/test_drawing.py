"""A drawing shows every node and edge, the same each time, with clusters apart."""

import numpy as np
import pytest

from semigroup.data.community_graphs import community_graph
from semigroup.data.random_graphs import planted_partition
from semigroup.report.drawing import draw_clusters, layout
from semigroup.report.figures import new_figure, save_png


def test_every_node_and_edge_is_drawn_once(tmp_path):
    karate = community_graph("karate")
    figure, axes = new_figure()
    wrong = np.arange(34) == 8
    places = draw_clusters(axes[0, 0], karate.adjacency, karate.labels, wrong=wrong, names=range(34))
    within, between = axes[0, 0].collections[1], axes[0, 0].collections[0]
    assert len(within.get_segments()) + len(between.get_segments()) == 78
    same = karate.labels[:, None] == karate.labels
    assert 2 * len(within.get_segments()) == karate.adjacency.toarray()[same].sum()
    markers = axes[0, 0].collections[2:]
    assert [len(collection.get_offsets()) for collection in markers] == [*np.bincount(karate.labels), 1]
    assert len(axes[0, 0].texts) == 34
    assert save_png(figure, tmp_path / "karate.png").stat().st_size > 10_000
    np.testing.assert_array_equal(places, layout(karate.adjacency))


def test_clusters_of_a_thousand_nodes_lie_apart():
    graph = planted_partition(1000, 3, 0.05, 0.002, random_state=0)
    places = layout(graph.adjacency)
    centres = np.array([places[graph.labels == k].mean(axis=0) for k in range(3)])
    spread = np.sqrt(np.mean((places - centres[graph.labels]) ** 2))
    gaps = np.linalg.norm(centres[:, None] - centres, axis=2)[np.triu_indices(3, 1)]
    assert gaps.min() > 2 * spread


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_the_smallest_graphs_can_be_drawn(n):
    _, axes = new_figure()
    places = draw_clusters(axes[0, 0], planted_partition(n, 1, 1.0, 0.0).adjacency, np.arange(n))
    assert np.isfinite(places).all() and len(np.unique(places.round(6), axis=0)) == n

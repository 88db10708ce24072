"""Cycle counts: closed forms against enumeration, and the generator of the counting task."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semigroup.data.cycles import count_cycles, counting_task


def by_enumeration(graph: nx.Graph) -> list[int]:
    lengths = [len(cycle) for cycle in nx.simple_cycles(graph, length_bound=6)]
    return [lengths.count(length) for length in (3, 4, 5, 6)]


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 8), st.floats(0.2, 1.0), st.integers(0, 10_000))
def test_closed_forms_equal_enumeration(n, density, seed):
    graph = nx.gnp_random_graph(n, density, seed=seed)
    assert count_cycles(nx.to_numpy_array(graph)[None])[0].tolist() == by_enumeration(graph)


def test_counts_of_a_whole_batch_are_those_of_its_graphs():
    task = counting_task(12, sizes=(10, 15), random_state=3)
    for number in range(12):
        adjacency = task.graphs.select([number]).adjacency()
        assert task.counts[number].tolist() == by_enumeration(nx.from_scipy_sparse_array(adjacency))


def test_graphs_are_regular_ones_without_as_many_edges_as_nodes():
    task = counting_task(200, random_state=0)
    sizes, edges = task.graphs.n_nodes.numpy(), task.graphs.n_edges.numpy() // 2
    degree = np.where((sizes == 10) | (sizes % 2 == 1), 6, 5)
    assert set(sizes) == {10, 15, 20, 30}
    np.testing.assert_array_equal(edges, sizes * degree // 2 - sizes)


def test_same_seed_gives_the_same_task():
    first, second = (counting_task(10, random_state=1) for _ in range(2))
    np.testing.assert_array_equal(first.counts, second.counts)
    np.testing.assert_array_equal(first.graphs.edge_index, second.graphs.edge_index)


@pytest.mark.parametrize(("n_graphs", "sizes", "name"), [(0, (10,), "n_graphs"), (5, (4,), "sizes")])
def test_impossible_tasks_are_refused_by_name(n_graphs, sizes, name):
    with pytest.raises(ValueError, match=name):
        counting_task(n_graphs, sizes=sizes)

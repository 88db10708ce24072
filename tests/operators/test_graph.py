"""Graphs in all the forms that users hold, and their Laplacians."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.csgraph
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data

from semigroup.operators import Graph, as_graph, laplacian, transition_matrix

PATH = np.array([[0.0, 1, 0], [1, 0, 2], [0, 2, 0]])


def random_graph(seed: int, n: int = 9) -> sp.csr_array:
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n, n)) * (rng.random((n, n)) < 0.4), 1)
    return sp.csr_array(upper + upper.T)


@pytest.mark.parametrize(
    "form",
    [
        PATH,
        sp.coo_matrix(PATH),
        sp.csr_array(PATH),
        np.array([[0, 1, 1.0], [1, 2, 2.0]]),
        [[0, 1, 1.0], [1, 2, 2.0]],
        nx.from_numpy_array(PATH),
        Data(
            edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]),
            edge_weight=torch.tensor([1.0, 1, 2, 2]),
            num_nodes=3,
        ),
        Graph(sp.csr_array(PATH)),
    ],
    ids=["dense", "coo", "csr", "edges", "list", "networkx", "pyg", "graph"],
)
def test_every_form_of_the_same_graph_gives_the_same_matrix(form):
    graph = as_graph(form)
    np.testing.assert_array_equal(graph.adjacency.toarray(), PATH)
    assert graph.nodes is None and graph.adjacency.has_canonical_format


def test_directed_edges_keep_their_direction_only_when_asked():
    edges = np.array([[0, 1], [1, 2], [2, 2], [0, 3]])
    assert as_graph(edges, directed=True).adjacency.nnz == 4
    both = as_graph(edges).adjacency
    assert both.nnz == 7 and both[2, 2] == 1 and (both != both.T).nnz == 0


def test_networkx_names_are_kept_and_found():
    graph = as_graph(nx.Graph([("ann", "bob"), ("bob", "cat")]))
    assert list(graph.names) == ["ann", "bob", "cat"]
    np.testing.assert_array_equal(graph.index(["cat", "ann"]), [2, 0])
    with pytest.raises(ValueError, match=r"sources holds .*dan"):
        graph.index("dan", "sources")


def test_numbers_out_of_range_are_no_nodes():
    graph = as_graph(PATH)
    np.testing.assert_array_equal(graph.index([2, 0]), [2, 0])
    for wanted in (3, -1, "a", 0.5):
        with pytest.raises(ValueError, match="no node of the graph"):
            graph.index(wanted)


def test_duplicate_edges_are_summed_and_zeros_dropped_without_touching_the_input():
    matrix = sp.coo_array((np.array([1.0, 2, 0]), (np.array([0, 0, 1]), np.array([1, 1, 0]))), shape=(2, 2))
    graph = as_graph(matrix)
    assert graph.adjacency.nnz == 1 and graph.adjacency[0, 1] == 3
    assert matrix.nnz == 3


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (np.zeros((0, 0)), ValueError, "empty"),
        (np.ones((4, 5)), ValueError, "square"),
        (sp.csr_array(np.ones((4, 5))), ValueError, "square"),
        (sp.csr_array((0, 0)), ValueError, "empty"),
        (nx.Graph(), ValueError, "empty"),
        (-PATH, ValueError, "negative"),
        (np.where(PATH == 2, np.nan, PATH), ValueError, "NaN"),
        (np.array([[0, 1.5]]), ValueError, "node numbers"),
        (np.array([[0, -1]]), ValueError, "node numbers"),
        ("a graph", TypeError, "sparse matrix"),
    ],
)
def test_bad_graphs_are_refused_by_name(bad, error, words):
    with pytest.raises(error, match=words) as caught:
        as_graph(bad, "my_graph")
    assert "my_graph" in str(caught.value)


def test_an_asymmetric_matrix_is_refused_where_an_undirected_graph_is_needed():
    with pytest.raises(ValueError, match="undirected"):
        as_graph(np.triu(PATH), directed=False)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_laplacians_agree_with_scipy_and_have_the_right_null_vectors(seed):
    adjacency = random_graph(seed)
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    combinatorial = laplacian(adjacency).toarray()
    np.testing.assert_allclose(combinatorial, scipy.sparse.csgraph.laplacian(adjacency).toarray(), atol=1e-14)
    normalised = laplacian(adjacency, "normalised").toarray()
    reference = scipy.sparse.csgraph.laplacian(adjacency, normed=True).toarray()
    np.testing.assert_allclose(normalised, reference, atol=1e-12)
    values = np.linalg.eigvalsh(normalised)
    assert values.min() > -1e-12 and values.max() < 2 + 1e-12
    np.testing.assert_allclose(normalised @ np.sqrt(degree), 0, atol=1e-12)
    np.testing.assert_allclose(laplacian(adjacency, "random-walk") @ np.ones(len(degree)), 0, atol=1e-12)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_transition_rows_sum_to_one_unless_dangling(seed):
    adjacency = sp.csr_array(sp.triu(random_graph(seed)))
    rows = np.asarray(transition_matrix(adjacency).sum(axis=1)).ravel()
    dangling = np.diff(adjacency.indptr) == 0
    np.testing.assert_allclose(rows, np.where(dangling, 0.0, 1.0), atol=1e-14)


def test_an_unknown_laplacian_is_refused():
    with pytest.raises((ValueError, TypeError), match="kind"):
        laplacian(sp.csr_array(PATH), "signless")  # type: ignore[arg-type]

"""Personalised PageRank without an index, against linear systems and networkx."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from semigroup.operators import transition_matrix
from semigroup.operators.pagerank import exact_pagerank, forward_push, loop_at_sinks, restore_mass, surviving_mass


@st.composite
def digraphs(draw, weighted: bool = True) -> sp.csr_array:
    """Small weighted digraphs; many have sinks and unreachable vertices."""
    n = draw(st.integers(2, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    density = draw(st.sampled_from([0.1, 0.3, 0.7]))
    weights = rng.integers(1, 5, (n, n)) if weighted else np.ones((n, n))
    return sp.csr_array(np.where(rng.random((n, n)) < density, weights, 0).astype(float))


def solve(matrix: np.ndarray, start: np.ndarray, alpha: float) -> np.ndarray:
    return np.linalg.solve(np.eye(len(matrix)) - (1 - alpha) * matrix.T, alpha * start)


@given(digraphs(), st.floats(0.05, 0.9))
@settings(max_examples=40, deadline=None)
def test_every_dangling_policy_solves_its_own_linear_system(adjacency, alpha):
    n = adjacency.shape[0]
    walk = transition_matrix(adjacency).toarray()
    sinks = walk.sum(axis=1) == 0
    for source in range(n):
        unit = np.eye(n)[source]
        systems = {
            "kill": walk,
            "source": walk + np.outer(sinks, unit),
            "uniform": walk + np.outer(sinks, np.full(n, 1 / n)),
            "self": walk + np.diag(sinks.astype(float)),
        }
        for policy, matrix in systems.items():
            found = exact_pagerank(adjacency, np.array([source]), alpha, dangling=policy)[0]
            np.testing.assert_allclose(found, solve(matrix, unit, alpha), atol=1e-10, err_msg=policy)


def test_exact_answer_agrees_with_networkx_where_nothing_dangles():
    graph = nx.les_miserables_graph()
    names = list(graph)
    adjacency = sp.csr_array(nx.to_scipy_sparse_array(graph, weight="weight", dtype=float))
    theirs = nx.pagerank(graph, alpha=0.85, personalization={names[3]: 1}, tol=1e-13, max_iter=500)
    np.testing.assert_allclose(
        exact_pagerank(adjacency, np.array([3]))[0], [theirs[name] for name in names], atol=1e-10
    )


@given(digraphs())
@settings(max_examples=30, deadline=None)
def test_surviving_mass_is_the_sum_of_the_killed_answer(adjacency):
    rows = exact_pagerank(adjacency, np.arange(adjacency.shape[0]), 0.2, dangling="kill")
    np.testing.assert_allclose(surviving_mass(transition_matrix(adjacency), 0.2), rows.sum(axis=1), atol=1e-11)


@given(digraphs())
@settings(max_examples=30, deadline=None)
def test_forward_push_keeps_estimate_plus_pushed_residual_equal_to_the_exact_answer(adjacency):
    exact = exact_pagerank(adjacency, np.arange(adjacency.shape[0]), 0.15, dangling="kill")
    eps = 1e-3
    estimate, residual = forward_push(transition_matrix(adjacency), 0, 0.15, eps=eps)
    np.testing.assert_allclose(estimate + residual @ exact, exact[0], atol=1e-10)
    assert (residual < eps * np.maximum(1, np.diff(adjacency.indptr))).all()


def test_loop_at_sinks_changes_sinks_only():
    adjacency = sp.csr_array(np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    np.testing.assert_array_equal(loop_at_sinks(adjacency).toarray(), [[0, 2, 0], [0, 1, 0], [1, 0, 0]])


def test_policy_uniform_needs_its_background():
    with pytest.raises(ValueError, match="background"):
        restore_mass(np.ones((1, 2)), "uniform")

"""Walks against the laws of their transition matrices, and their speed."""

import time

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from semigroup.operators import lazy, metropolis_hastings, random_walks, transition_matrix
from semigroup.operators.topology import cycle, lollipop, path, random_geometric, star


def weighted(n, seed):
    adjacency = random_geometric(n, 0.5, random_state=seed).adjacency
    half = sp.triu(adjacency, 1).tocsr()
    half.data = np.random.default_rng(seed).uniform(0.1, 3, half.nnz)
    return sp.csr_array(half + half.T)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 30), st.integers(0, 10_000))
def test_metropolis_hastings_is_stochastic_and_reversible_for_its_target(n, seed):
    adjacency = weighted(n, seed)
    target = np.random.default_rng(seed).uniform(0.05, 1, n)
    for law, transitions in (
        (np.ones(n), metropolis_hastings(adjacency)),
        (target, metropolis_hastings(adjacency, target)),
    ):
        flow = law[:, None] * transitions.toarray()
        assert np.allclose(transitions.sum(axis=1), 1) and transitions.data.min() > 0
        assert np.allclose(flow, flow.T)


def test_one_step_follows_the_row_of_the_start():
    transitions = metropolis_hastings(weighted(12, 3), np.arange(1.0, 13))
    row = transitions.toarray()[5]
    steps = random_walks(transitions, np.full(40_000, 5), 1, random_state=0)[:, 1]
    count = np.bincount(steps, minlength=12)
    assert not count[row == 0].any()
    assert chisquare(count[row > 0], 40_000 * row[row > 0]).pvalue > 1e-4


@pytest.mark.parametrize("rest", [0.0, 0.5])
def test_visits_of_a_long_walk_follow_the_stationary_law(rest):
    adjacency = weighted(15, 1)
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    nodes = random_walks(lazy(transition_matrix(adjacency), rest), 0, 1_000_000, random_state=1)[0]
    assert np.abs(np.bincount(nodes, minlength=15) / len(nodes) - degree / degree.sum()).max() < 0.01


def test_a_walk_that_may_not_turn_goes_round_a_cycle_and_comes_back_from_a_leaf():
    round_trip = random_walks(
        transition_matrix(cycle(7).adjacency), np.arange(7), 70, backtracking=False, random_state=0
    )
    assert (np.abs(np.diff(round_trip, n=2, axis=1)) % 7 == 0).all()
    there = random_walks(transition_matrix(path(4).adjacency), 0, 9, backtracking=False)[0]
    assert there.tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]


def test_a_walk_that_may_not_turn_shares_the_probability_of_turning_among_the_other_edges():
    transitions = transition_matrix(weighted(12, 2))
    nodes = random_walks(transitions, 0, 400_000, backtracking=False, random_state=2)[0]
    first, node, after = nodes[:-2], nodes[1:-1], nodes[2:]
    dense = transitions.toarray()
    u, v = np.unravel_index(np.bincount(first * 12 + node).argmax(), (12, 12))
    count = np.bincount(after[(first == u) & (node == v)], minlength=12)
    law = np.where(np.arange(12) == u, 0, dense[v]) / (1 - dense[v, u])
    assert count[u] == 0
    assert chisquare(count[law > 0], count.sum() * law[law > 0]).pvalue > 1e-4


def test_walks_depend_on_seed_start_and_number_only():
    transitions = transition_matrix(lollipop(5, 4).adjacency)
    one = random_walks(transitions, [0, 3, 3], 50, random_state=7)
    assert np.array_equal(one, random_walks(transitions, [0, 3, 3], 50, random_state=7))
    assert np.array_equal(one[:2], random_walks(transitions, [0, 3], 50, random_state=7))
    assert not np.array_equal(one[1], one[2])


@pytest.mark.parametrize("backtracking", [True, False])
def test_a_core_walks_a_million_steps_a_second(backtracking, big_graph):
    transitions = transition_matrix(big_graph)
    random_walks(transitions, 0, 10, backtracking=backtracking)  # compiles
    seconds = []
    for _ in range(3):
        start = time.thread_time()
        random_walks(transitions, np.arange(100), 20_000, backtracking=backtracking, random_state=0)
        seconds.append(time.thread_time() - start)
    assert 2_000_000 / min(seconds) > 1e6


def test_bad_input_is_named():
    transitions = transition_matrix(star(4).adjacency)
    with pytest.raises(ValueError, match=r"starts must be nodes 0\.\.3, got 4"):
        random_walks(transitions, 4, 3)
    with pytest.raises(ValueError, match="transitions must be stochastic"):
        random_walks(star(4).adjacency, 0, 3)
    with pytest.raises(ValueError, match="target must be positive, got 0"):
        metropolis_hastings(path(3).adjacency, [0.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="target must hold one number for each of the 3 nodes, got 2"):
        metropolis_hastings(path(3).adjacency, [1.0, 1.0])
    with pytest.raises(ValueError, match="adjacency has a node without edges, 2"):
        metropolis_hastings(sp.csr_array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    with pytest.raises(ValueError, match="rest must be"):
        lazy(transitions, 1.0)

"""Topologies, their chis against closed forms, and the rates of the convex program against independent searches."""

from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from semigroup.operators.topology import (
    EdgeRates,
    barbell,
    complete,
    cycle,
    grid,
    largest_gap_rates,
    lollipop,
    metropolis_weights,
    network,
    optimal_rates,
    path,
    random_geometric,
    star,
    uniform_rates,
)

FAMILIES = {
    "star": (star(7), nx.star_graph(6)),
    "complete": (complete(6), nx.complete_graph(6)),
    "cycle": (cycle(7), nx.cycle_graph(7)),
    "path": (path(7), nx.path_graph(7)),
    "grid": (grid(3, 4), nx.convert_node_labels_to_integers(nx.grid_2d_graph(3, 4))),
    "barbell": (barbell(4), nx.barbell_graph(4, 0)),
    "lollipop": (lollipop(4, 3), nx.lollipop_graph(4, 3)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_topology_has_the_edges_of_networkx(name):
    ours, theirs = FAMILIES[name]
    assert np.array_equal(ours.adjacency.toarray(), nx.to_numpy_array(theirs, nodelist=range(len(theirs))))


@pytest.mark.parametrize("seed", range(5))
def test_random_geometric_graph_is_connected_even_at_a_small_radius(seed):
    graph = network(random_geometric(30, 0.1, random_state=seed))
    assert graph.n_nodes == 30


@pytest.mark.parametrize("n", [5, 12, 30])
def test_minimal_uniform_rates_match_the_closed_forms(n):
    assert uniform_rates(star(n)).total == pytest.approx(n - 1, rel=1e-9)
    assert uniform_rates(complete(n)).total == pytest.approx((n - 1) / np.sqrt(2), rel=1e-9)
    wave = 2 * (1 - np.cos(2 * np.pi / n))
    assert uniform_rates(cycle(n)).total == pytest.approx(np.sqrt(n / wave * (n - 1)), rel=1e-9)
    assert uniform_rates(path(n)).total == pytest.approx((n - 1) / np.sqrt(2 * (1 - np.cos(np.pi / n))), rel=1e-9)


def test_resistances_match_the_pseudoinverse_of_the_laplacian():
    rates = EdgeRates.of(lollipop(4, 2), np.random.default_rng(0).uniform(0.1, 3, 8))
    inverse = np.linalg.pinv(rates.laplacian)
    difference = np.eye(6)[rates.edges[:, 0]] - np.eye(6)[rates.edges[:, 1]]
    assert np.allclose(rates.resistances, np.einsum("ki,ij,kj->k", difference, inverse, difference), rtol=1e-10)
    assert rates.total == pytest.approx(np.trace(rates.laplacian) / 2)


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 9), st.integers(0, 10_000), st.floats(0.1, 10))
def test_second_chi_never_exceeds_the_first_and_both_scale_as_one_over_the_rates(n, seed, factor):
    graph = random_geometric(n, 0.5, random_state=seed)
    edges = EdgeRates.of(graph)
    rates = EdgeRates.of(graph, np.random.default_rng(seed).uniform(0.05, 1, len(edges.edges)))
    assert rates.chi_2 <= rates.chi_1 * (1 + 1e-12)
    assert rates.scaled(factor).chi_1 == pytest.approx(rates.chi_1 / factor)
    assert rates.scaled(factor).chi_2 == pytest.approx(rates.chi_2 / factor)
    minimal = rates.minimal()
    assert 2 * minimal.chi_1 * minimal.chi_2 == pytest.approx(1)


@pytest.mark.parametrize("graph", [lollipop(4, 2), barbell(3), grid(2, 3)])
def test_no_direct_search_finds_rates_cheaper_than_the_convex_program(graph):
    best = optimal_rates(graph)
    assert best.minimal_factor == pytest.approx(1)
    generator = np.random.default_rng(0)

    def cost(logits):
        weights = np.exp(logits - logits.max()) + 1e-6
        return replace(best, rates=weights / weights.sum()).minimal_factor

    noise = generator.normal(size=(2, len(best.rates)))
    starts = [noise[0], np.log(best.rates / best.total + 1e-6) + 0.1 * noise[1]]
    found = [minimize(cost, start, method="Powell", options={"maxiter": 200}).fun for start in starts]
    assert best.total <= min(found) * (1 + 1e-4)
    assert best.total < uniform_rates(graph).total


def test_optimal_rates_of_edge_transitive_graphs_are_uniform():
    for graph in (star(8), cycle(8), complete(6)):
        rates = optimal_rates(graph).rates
        assert np.allclose(rates, uniform_rates(graph).rates, rtol=1e-3)


def test_largest_gap_rates_have_a_larger_gap_than_uniform_and_optimal_ones():
    graph = lollipop(5, 3)
    chi = [
        rates(graph).scaled(1 / rates(graph).total).chi_1 for rates in (largest_gap_rates, optimal_rates, uniform_rates)
    ]
    assert chi[0] < chi[1] < chi[2]


def test_metropolis_weights_are_doubly_stochastic_and_contract():
    weights = metropolis_weights(barbell(4))
    assert np.allclose(weights.sum(axis=0), 1) and np.allclose(weights, weights.T) and weights.min() >= 0
    values = np.linalg.eigvalsh(weights)
    assert values[-1] == pytest.approx(1) and values[-2] < 1 and values[0] > -1


def test_networks_that_cannot_gossip_are_refused():
    with pytest.raises(ValueError, match=r"graph must be connected.* 2 components"):
        network(sp.csr_array(np.kron(np.eye(2), [[0.0, 1.0], [1.0, 0.0]])))
    with pytest.raises(ValueError, match="graph has a loop at node 1"):
        network(sp.csr_array([[0.0, 1.0], [1.0, 1.0]]))
    with pytest.raises(ValueError, match="graph must have at least 2 nodes"):
        network(sp.csr_array((1, 1)))
    with pytest.raises(ValueError, match="graph has negative weights"):
        network(sp.csr_array([[0.0, -1.0], [-1.0, 0.0]]))
    with pytest.raises(ValueError, match="graph must be undirected"):
        network(sp.csr_array([[0.0, 1.0], [0.0, 0.0]]))
    with pytest.raises(ValueError, match="rates must be >= 0"):
        EdgeRates.of(path(3), [1.0, -1.0])
    with pytest.raises(ValueError, match="rates must hold one number for each of the 2 edges"):
        EdgeRates.of(path(3), [1.0])


def test_optimal_rates_without_cvxpy_name_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cvxpy", None)
    with pytest.raises(ImportError, match=r"cvxpy.*semigroup\[rates\]"):
        optimal_rates(path(3))

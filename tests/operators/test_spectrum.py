"""Eigenpairs against closed forms and dense decompositions, and the basis that depends on the operator alone."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from semigroup.operators import canonical_basis, eigenpairs, laplacian, spectral_interval
from semigroup.operators.topology import complete, cycle, grid, path, random_geometric, star

METHODS = ("dense", "shift-invert", "lanczos")


def closed_form(name, n):
    if name == "path":
        return laplacian(path(n).adjacency), 2 - 2 * np.cos(np.pi * np.arange(n) / n)
    if name == "cycle":
        return laplacian(cycle(n).adjacency), np.sort(2 - 2 * np.cos(2 * np.pi * np.arange(n) / n))
    one = 2 - 2 * np.cos(np.pi * np.arange(n) / n)
    return laplacian(grid(n, n).adjacency), np.sort((one[:, None] + one).ravel())


@pytest.mark.parametrize("which", ["smallest", "largest"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "n"), [("path", 60), ("cycle", 60), ("grid", 9)])
def test_every_way_finds_the_closed_form_spectrum_with_its_multiplicities(name, n, method, which):
    operator, values = closed_form(name, n)
    pairs = eigenpairs(operator, 12, which=which, method=method)
    assert np.allclose(pairs.values, values[:12] if which == "smallest" else values[-12:], atol=1e-9)
    assert np.allclose(pairs.vectors.T @ pairs.vectors, np.eye(12), atol=1e-9)
    assert pairs.residuals.max() <= 1e-8 * values[-1]
    assert np.allclose(operator @ pairs.vectors, pairs.vectors * pairs.values, atol=1e-7)


@pytest.mark.parametrize("name", ["cycle", "grid"])
def test_vectors_do_not_depend_on_the_solver_even_in_repeated_eigenspaces(name):
    operator, _ = closed_form(name, 20)
    found = [eigenpairs(operator, 6, method=method, complete=True) for method in METHODS]
    for other in found[1:]:
        assert np.array_equal(other.group, found[0].group)
        assert np.allclose(other.vectors, found[0].vectors, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 12), st.integers(1, 4), st.integers(0, 10_000))
def test_canonical_basis_is_the_same_whatever_basis_it_starts_from(n, g, seed):
    g = min(g, n)
    generator = np.random.default_rng(seed)
    space = np.linalg.qr(generator.normal(size=(n, g)))[0]
    turn = np.linalg.qr(generator.normal(size=(g, g)))[0]
    one, other = (canonical_basis(basis, np.zeros(g, dtype=int)) for basis in (space, space @ turn))
    assert np.allclose(one, other, atol=1e-8)
    assert np.allclose(one.T @ one, np.eye(g)) and np.allclose(one @ one.T, space @ space.T)


def test_simple_eigenvectors_have_their_largest_entry_positive():
    vectors = eigenpairs(laplacian(random_geometric(30, 0.4, random_state=0).adjacency), 10).vectors
    assert (vectors[np.abs(vectors).argmax(axis=0), np.arange(10)] > 0).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(0, 10_000), st.sampled_from(["combinatorial", "normalised", "random-walk"]))
def test_spectrum_of_a_laplacian_lies_in_its_interval_and_is_not_negative(n, seed, kind):
    operator = laplacian(random_geometric(n, 0.3, random_state=seed).adjacency, kind)
    values = np.linalg.eigvals(operator.toarray()).real
    low, high = spectral_interval(operator)
    assert values.min() >= -1e-10
    assert low - 1e-9 <= values.min() and values.max() <= high + 1e-9
    assert high - low <= 2 * max(values.max() - values.min(), 1)


def test_interval_of_a_star_is_far_tighter_than_its_discs():
    low, high = spectral_interval(laplacian(star(1001).adjacency, "normalised"))
    assert -0.1 < low <= 0 and 2 <= high < 2.1  # Gershgorin: 1 - sqrt(1000) to 1 + sqrt(1000)


@pytest.mark.parametrize("method", METHODS)
def test_each_component_brings_a_null_vector(method):
    one = laplacian(random_geometric(30, 0.5, random_state=0).adjacency)
    pairs = eigenpairs(sp.block_diag([one] * 5, format="csr"), 7, method=method)
    assert np.abs(pairs.values[:5]).max() < 1e-9 and pairs.values[5] > 1e-3
    assert np.allclose(np.bincount(pairs.group)[0], 5)


def test_an_eigenspace_that_is_cut_is_reported_and_can_be_completed():
    operator = laplacian(cycle(12).adjacency)
    assert eigenpairs(operator, 2).is_cut and not eigenpairs(operator, 3).is_cut
    whole = eigenpairs(operator, 2, complete=True)
    assert len(whole) == 3 and not whole.is_cut
    assert len(eigenpairs(laplacian(complete(9).adjacency), 2, complete=True)) == 9
    assert len(eigenpairs(operator, 2, which="largest", complete=True)) == 3
    assert not eigenpairs(operator, 12).is_cut


def test_a_mesh_of_ten_thousand_nodes_has_the_closed_form_spectrum():
    operator, values = closed_form("grid", 100)
    pairs = eigenpairs(operator, 8)
    assert np.allclose(pairs.values, values[:8], atol=1e-10)


def test_bad_input_is_named():
    operator = laplacian(path(5).adjacency)
    with pytest.raises(ValueError, match="n_pairs must be at most 5"):
        eigenpairs(operator, 6)
    with pytest.raises(ValueError, match="operator must be symmetric"):
        eigenpairs(laplacian(path(5).adjacency, "random-walk"), 2)
    with pytest.raises(RuntimeError, match="above tol=1e-30"):
        eigenpairs(operator, 3, tol=1e-30)

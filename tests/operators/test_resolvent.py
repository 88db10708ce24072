"""Resolvents against dense solves, and the choice between a factor and iterations."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import LinearOperator

from semigroup.operators import laplacian, resolvent
from semigroup.operators.resolvent import FACTOR_LIMIT, factor_size
from semigroup.operators.topology import grid, path, random_geometric


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(0, 10_000), st.floats(1e-3, 100), st.sampled_from(["auto", "direct", "cg"]))
def test_every_way_agrees_with_a_dense_solve(n, seed, shift, method):
    operator = laplacian(random_geometric(n, 0.4, random_state=seed).adjacency)
    columns = np.random.default_rng(seed).normal(size=(n, 3))
    exact = np.linalg.solve(operator.toarray() + shift * np.eye(n), columns)
    found = resolvent(operator, shift, columns, method=method)
    assert np.abs(found - exact).max() <= 1e-7 * np.abs(exact).max() + 1e-9 / shift
    assert np.allclose(resolvent(operator.toarray(), shift, columns[:, 0]), exact[:, 0], rtol=1e-8, atol=1e-9 / shift)


@pytest.mark.parametrize("method", ["direct", "cg"])
def test_forest_kernel_is_a_positive_matrix_of_row_sum_one(method):
    inverse = resolvent(laplacian(grid(4, 5).adjacency), 0.5, method=method)
    assert np.allclose(0.5 * inverse.sum(axis=1), 1) and inverse.min() > 0


def test_operators_that_are_not_symmetric_are_factorised():
    rows = laplacian(random_geometric(2000, 0.05, random_state=0).adjacency, "random-walk")
    right = np.random.default_rng(0).normal(size=2000)
    found = resolvent(rows, 0.1, right)
    assert np.allclose(rows @ found + 0.1 * found, right)
    with pytest.raises(ValueError, match="operator must be symmetric for method 'cg'"):
        resolvent(rows, 0.1, right, method="cg")


def test_sparse_factor_and_iterations_agree_on_a_mesh():
    operator = laplacian(grid(60, 60).adjacency)
    right = np.random.default_rng(0).normal(size=(3600, 2))
    direct = resolvent(operator, 0.01, right, method="direct")
    assert np.allclose(resolvent(operator, 0.01, right, method="cg", tol=1e-12), direct, atol=1e-8)
    assert np.abs(operator @ direct + 0.01 * direct - right).max() < 1e-12


def test_a_better_preconditioner_takes_fewer_products():
    operator = sp.csr_array(laplacian(path(400).adjacency) + sp.diags_array(1e-4 * np.ones(400)))
    right = np.random.default_rng(0).normal(size=400)
    exact = np.linalg.inv(operator.toarray() + 1e-4 * np.eye(400))
    applied = []

    def apply(x):
        applied.append(1)
        return exact @ x

    solver = LinearOperator((400, 400), matvec=apply, dtype=float)
    found = resolvent(operator, 1e-4, right, method="cg", preconditioner=solver)
    assert np.allclose(found, exact @ right, rtol=1e-6) and len(applied) <= 6


def test_profile_bounds_the_factor_and_tells_meshes_from_random_graphs(big_graph):
    assert factor_size(laplacian(path(1000).adjacency)) == 1999  # a tridiagonal matrix fills nothing in
    assert factor_size(laplacian(grid(300, 300).adjacency)) < FACTOR_LIMIT < factor_size(laplacian(big_graph))


def test_zero_right_hand_sides_give_zero():
    operator = laplacian(path(5).adjacency)
    columns = np.zeros((5, 2))
    columns[0, 1] = 1.0
    found = resolvent(operator, 1.0, columns, method="cg")
    assert not found[:, 0].any() and found[:, 1].all()


def test_iterations_that_do_not_arrive_say_where_they_stand():
    operator = laplacian(path(50).adjacency)
    scales = 10.0 ** np.random.default_rng(0).uniform(-12, 12, 50)
    useless = LinearOperator((50, 50), matvec=lambda x: scales * x.ravel(), dtype=float)
    with pytest.raises(RuntimeError, match=r"stand at a relative residual of .* above tol=1e-10"):
        resolvent(operator, 1e-3, np.random.default_rng(0).normal(size=50), method="cg", preconditioner=useless)


def test_singular_and_indefinite_systems_are_refused():
    operator = laplacian(path(5).adjacency)
    with pytest.raises(ValueError, match="is singular"):
        resolvent(operator, 0.0, np.ones(5))
    with pytest.raises(ValueError, match="is singular"):
        resolvent(laplacian(path(3000).adjacency), 0.0, np.ones(3000), method="direct")
    with pytest.raises(ValueError, match="must be positive definite"):
        resolvent(operator, -1.5, np.arange(5.0), method="cg")
    with pytest.raises(ValueError, match="shift must be finite"):
        resolvent(operator, np.nan, np.ones(5))
    inverse = np.linalg.inv(operator.toarray() - 1.5 * np.eye(5))  # indefinite, and yet regular
    assert np.allclose(resolvent(operator, -1.5), inverse)


def test_a_hundred_thousand_nodes_are_never_made_dense(big_graph):
    operator = laplacian(big_graph)
    right = np.random.default_rng(0).normal(size=100_000)
    tracemalloc.start()
    try:
        found = resolvent(operator, 0.1, right)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.linalg.norm(operator @ found + 0.1 * found - right) <= 1e-9 * np.linalg.norm(right)
    assert peak < 4e8


@pytest.mark.parametrize("n_columns", [1, 7, 8, 64, 65, 130])
def test_a_sparse_factor_solves_any_number_of_columns_alike(n_columns):
    from semigroup.operators.resolvent import DENSE_LIMIT, add_identity, factorise

    matrix = add_identity(laplacian(grid(40, 50).adjacency), 0.1)
    assert matrix.shape[0] > DENSE_LIMIT
    right = np.random.default_rng(0).normal(size=(2000, n_columns))
    found = factorise(matrix)(right)
    np.testing.assert_allclose(matrix @ found, right, atol=1e-11)
    first = factorise(matrix)(right[:, :1])
    np.testing.assert_allclose(found[:, :1], first, rtol=1e-10)


def test_inverse_of_a_far_pair_keeps_its_leading_digits():
    # On a path the inverse of 2 cosh(a) I - A decays like e^(-a |i - j|), far below rounding of the largest entry.
    from semigroup.operators.resolvent import factorise

    n, a = 2000, 0.5
    matrix = sp.csr_array(2 * np.cosh(a) * sp.eye_array(n, format="csr") - path(n).adjacency)
    columns = np.zeros((n, 10))
    columns[900:910] = np.eye(10)
    found = factorise(matrix)(columns)[:, 0]
    steps = np.arange(0, 800, 100)
    np.testing.assert_allclose(found[900 + steps], np.exp(-a * steps) / (2 * np.sinh(a)), rtol=1e-9)

"""Heat kernels against scipy's matrix exponential, their invariants, and what they cost on a large graph."""

import itertools
import tracemalloc

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from semigroup.operators import heat, laplacian
from semigroup.operators.heat import chebyshev_degree
from semigroup.operators.topology import cycle, grid, path, random_geometric

KINDS = ("combinatorial", "normalised", "random-walk")
# Error of each way relative to the norm of a column; backward Euler has a test of its own.
ACCURACY = {"dense": 1e-12, "positive": 1e-12, "chebyshev": 1e-9, "taylor": 1e-11, "auto": 1e-9}


def weighted(n, seed):
    adjacency = random_geometric(n, 0.5, random_state=seed).adjacency
    generator = np.random.default_rng(seed)
    half = sp.triu(adjacency, 1).tocsr()
    half.data = generator.uniform(0.1, 3, half.nnz)
    return sp.csr_array(half + half.T)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ACCURACY)
def test_every_way_agrees_with_the_matrix_exponential(method, kind):
    operator = laplacian(weighted(40, 1), kind)
    columns = np.random.default_rng(0).normal(size=(40, 70))  # more than the recurrence carries at a time
    times = [0.0, 0.3, 7.0, 60.0]
    found = heat(operator, times, columns, method=method)
    for t, result in zip(times, found):
        exact = scipy.linalg.expm(-t * operator.toarray()) @ columns
        error = np.linalg.norm(result - exact, axis=0) / np.linalg.norm(columns, axis=0)
        assert error.max() <= ACCURACY[method]


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 30), st.integers(0, 10_000), st.floats(0, 200), st.sampled_from(sorted(ACCURACY)))
def test_heat_conserves_mass_stays_positive_and_forms_a_semigroup(n, seed, t, method):
    operator = laplacian(weighted(n, seed))
    kernel = heat(operator, t, method=method)
    assert np.allclose(kernel.sum(axis=0), 1, atol=1e-8) and np.allclose(kernel, kernel.T, atol=1e-8)
    assert kernel.min() >= (0 if method == "positive" else -1e-9)
    assert np.allclose(heat(operator, t / 2, heat(operator, t / 2, method=method), method=method), kernel, atol=1e-8)


def test_positive_way_keeps_the_leading_digits_of_entries_far_below_rounding():
    # On a long path the entry at distance d for small t is t^d / d! (1 + O(t)): 1e-4^20 / 20! is near 1e-99.
    operator, t, d = laplacian(path(30).adjacency), 1e-4, 20
    entry = heat(operator, t, method="positive")[4, 4 + d]
    series = t**d / np.prod(np.arange(1.0, d + 1))
    assert entry == pytest.approx(series * np.exp(-2 * t), rel=1e-6)
    assert abs(heat(operator, t, method="dense")[4, 4 + d]) < 1e-15  # what a decomposition sees there is rounding


def test_heat_of_a_cycle_has_the_closed_form_spectrum():
    n, t = 17, 2.5
    values = 2 - 2 * np.cos(2 * np.pi * np.arange(n) / n)
    trace = np.exp(-t * values).sum()
    for method in ("dense", "positive", "chebyshev", "taylor"):
        assert np.trace(heat(laplacian(cycle(n).adjacency), t, method=method)) == pytest.approx(trace, rel=1e-9)


def test_backward_euler_converges_at_first_order_and_is_positive():
    operator, t = laplacian(weighted(25, 3)), 2.0
    exact = scipy.linalg.expm(-t * operator.toarray())
    errors = [np.abs(heat(operator, t, method="euler", n_steps=k) - exact).max() for k in (200, 400, 800)]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.15) and errors[1] / errors[2] == pytest.approx(2, rel=0.1)
    kernel = heat(operator, t, method="euler")
    assert kernel.min() >= 0
    assert np.allclose(heat(operator, t, np.eye(25)[:, :3], method="euler"), kernel[:, :3], atol=1e-12)


@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("t", [0.1, 5.0, 300.0])
def test_error_of_the_expansion_stays_below_its_tolerance_and_its_degree_is_not_wasted(t, tol):
    operator = laplacian(grid(6, 7).adjacency)
    columns = np.eye(42)
    error = np.linalg.norm(
        heat(operator, t, columns, method="chebyshev", tol=tol) - scipy.linalg.expm(-t * operator.toarray()), 2
    )
    assert error <= tol
    assert chebyshev_degree(4 * t, tol) <= 4 + 1.1 * np.sqrt(2 * 4 * t * np.log(2 / tol)) + np.log(2 / tol)


def test_a_degree_cuts_the_expansion_and_the_error_falls_with_it():
    operator = laplacian(path(60).adjacency)
    exact = heat(operator, 10.0, method="dense")
    errors = [np.abs(heat(operator, 10.0, method="chebyshev", degree=k) - exact).max() for k in (5, 10, 20, 40)]
    assert errors[0] > 1e-2 and errors[-1] < 1e-8
    assert all(later < earlier for earlier, later in itertools.pairwise(errors))


def test_operators_with_negative_eigenvalues_grow_as_they_should():
    adjacency = weighted(20, 5)
    exact = scipy.linalg.expm(0.5 * adjacency.toarray())
    for method in ("dense", "positive", "chebyshev", "taylor"):
        assert np.allclose(heat(-adjacency, 0.5, method=method), exact, rtol=1e-8, atol=1e-8 * exact.max())


def test_shape_follows_columns_and_times():
    operator = laplacian(path(5).adjacency)
    assert heat(operator, 1.0).shape == (5, 5)
    assert heat(operator, [1.0], np.ones(5)).shape == (1, 5)
    assert heat(operator, np.array([1.0, 2.0]), np.ones((5, 3))).shape == (2, 5, 3)


def test_bad_input_is_named():
    operator = laplacian(path(4).adjacency)
    with pytest.raises(ValueError, match="times must be >= 0, got -1"):
        heat(operator, [1.0, -1.0])
    with pytest.raises(ValueError, match="operator must be a square matrix"):
        heat(np.ones((2, 3)), 1.0)
    with pytest.raises(ValueError, match="operator holds NaN"):
        heat(sp.csr_array([[np.nan, 0.0], [0.0, 1.0]]), 1.0)
    with pytest.raises(ValueError, match="columns must have 4 rows"):
        heat(operator, 1.0, np.ones(3))
    with pytest.raises(ValueError, match="no positive entry off its diagonal"):
        heat(np.array([[1.0, 1.0], [1.0, 1.0]]), 1.0, method="positive")
    with pytest.raises(ValueError, match=r"columns must be given for an operator of 100000 rows.* 75 GiB"):
        heat(sp.eye_array(100_000), 1.0)


def test_a_hundred_thousand_nodes_are_never_made_dense(big_graph):
    operator = laplacian(big_graph)
    columns = np.zeros((100_000, 2))
    columns[[0, 1], [0, 1]] = 1.0
    tracemalloc.start()
    try:
        result = heat(operator, [0.1, 1.0], columns)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.allclose(result.sum(axis=1), 1, atol=1e-8)
    assert peak < 4e8  # the dense matrix has 8e10 bytes

"""Distances between samples against independent computations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

from semigroup.densities import (
    frechet_distance,
    mmd,
    precision_recall,
    sliced_wasserstein,
    wasserstein,
)

coordinates = st.floats(-100, 100, width=32)


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.float64, st.integers(1, 12), elements=coordinates),
    arrays(np.float64, st.integers(1, 12), elements=coordinates),
)
def test_on_the_line_samples_of_any_two_sizes_agree_with_scipy(x, y):
    assert wasserstein(x[:, None], y[:, None]) == pytest.approx(wasserstein_distance(x, y), abs=1e-9)


@pytest.mark.parametrize("p", [1, 2, 3.5])
def test_in_space_the_optimal_plan_of_equal_samples_is_an_assignment(p):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((40, 3)), rng.standard_normal((40, 3)) + 1
    cost = cdist(X, Y) ** p
    best = cost[linear_sum_assignment(cost)].mean() ** (1 / p)
    assert wasserstein(X, Y, p=p) == pytest.approx(best, rel=1e-9)


def test_distance_of_samples_of_unequal_sizes_repeats_rows():
    rng = np.random.default_rng(1)
    X, Y = rng.standard_normal((6, 2)), rng.standard_normal((9, 2))
    repeated = wasserstein(np.repeat(X, 3, axis=0), np.repeat(Y, 2, axis=0))
    assert wasserstein(X, Y) == pytest.approx(repeated, rel=1e-9)


@pytest.mark.parametrize("p", [1, 2])
def test_sliced_distance_of_a_shift_is_the_mean_projection_of_the_shift(p):
    rng = np.random.default_rng(2)
    X, shift = rng.standard_normal((50, 4)), np.array([3.0, 0, 0, 0])
    # For a random direction u of R^4, E|u_1| = 4 / (3 pi) and E u_1^2 = 1/4.
    expected = 3 * (4 / (3 * np.pi) if p == 1 else 0.5)
    assert sliced_wasserstein(X, X + shift, p=p, n_projections=20_000, random_state=0) == pytest.approx(
        expected, rel=0.02
    )
    assert sliced_wasserstein(X, X[::-1], p=p, random_state=0) == pytest.approx(0, abs=1e-12)


def test_mmd_is_the_textbook_double_sum_and_centres_on_zero_for_one_law():
    rng = np.random.default_rng(3)
    X, Y = rng.standard_normal((7, 2)), rng.standard_normal((9, 2)) + 0.5

    def kernel(a, b):
        return np.exp(-((a - b) ** 2).sum() / (2 * 0.7**2))

    xx = np.mean([kernel(X[i], X[j]) for i in range(7) for j in range(7) if i != j])
    yy = np.mean([kernel(Y[i], Y[j]) for i in range(9) for j in range(9) if i != j])
    xy = np.mean([kernel(a, b) for a in X for b in Y])
    assert mmd(X, Y, bandwidth=0.7) == pytest.approx(xx + yy - 2 * xy, rel=1e-10)
    draws = [mmd(rng.standard_normal((40, 2)), rng.standard_normal((40, 2)), bandwidth=1.0) for _ in range(300)]
    assert abs(np.mean(draws)) < 4 * np.std(draws) / np.sqrt(300)


def test_frechet_distance_of_large_gaussian_samples_has_its_closed_form():
    rng = np.random.default_rng(4)
    X = rng.standard_normal((200_000, 2)) * [1.0, 2.0]
    Y = rng.standard_normal((200_000, 2)) * [3.0, 2.5] + [1.0, -1.0]
    assert frechet_distance(X, Y) == pytest.approx(2 + 2**2 + 0.5**2, rel=0.02)
    assert frechet_distance(X, X) == pytest.approx(0, abs=1e-9)


def test_precision_and_recall_tell_missing_modes_from_stray_samples():
    rng = np.random.default_rng(5)
    real = np.concatenate([rng.standard_normal((200, 2)), rng.standard_normal((200, 2)) + 50])
    one_mode = rng.standard_normal((200, 2))
    precision, recall = precision_recall(real, one_mode)
    assert precision > 0.9
    assert 0.4 < recall < 0.55
    strays = np.concatenate([one_mode, rng.standard_normal((200, 2)) - 500])
    assert precision_recall(one_mode, strays)[0] == pytest.approx(0.5, abs=0.05)


def test_the_ball_of_a_real_row_leaves_out_the_row_itself():
    line = np.array([[0.0], [1.0], [3.0]])
    # Radii to the first neighbour are 1, 1, 2.
    assert precision_recall(line, np.array([[-1.0], [-1.1], [5.0], [5.1]]), k=1)[0] == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wasserstein(np.zeros((3, 2)), np.zeros((3, 3))), "Y must have 2 columns"),
        (lambda: wasserstein(np.zeros((3, 2)), np.zeros((3, 2)), p=0.5), "p must be"),
        (lambda: wasserstein(np.zeros((10_001, 2)), np.zeros((3, 2))), "X has 10001 rows"),
        (lambda: sliced_wasserstein(np.zeros((3, 2)), np.zeros((3, 2)), n_projections=0), "n_projections must be"),
        (lambda: mmd(np.zeros((3, 2)), np.zeros((3, 2)), bandwidth=0.0), "bandwidth must be"),
        (lambda: mmd(np.zeros((1, 2)), np.zeros((3, 2))), "X must have at least 2 rows"),
        (lambda: frechet_distance(np.full((3, 2), np.nan), np.zeros((3, 2))), "X holds NaN"),
        (lambda: precision_recall(np.zeros((3, 2)), np.zeros((9, 2)), k=5), "real must have at least 6 rows"),
    ],
)
def test_bad_samples_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_precision_and_recall_do_not_see_a_common_offset():
    real, generated = np.random.default_rng(0).normal(size=(2, 60, 30))
    found = precision_recall(real, generated, k=3)
    assert precision_recall(real + 1e7, generated + 1e7, k=3) == found

"""The machinery of the claims of self-repellent walks at tiny size, and that a claim can fail."""

import bz2

import numpy as np
import pytest

from semigroup.claims import claims_of
from semigroup.claims import srrw as claims
from semigroup.data import walked_samples
from semigroup.data.decentralised import DecentralisedProblem, random_logistic


def test_there_are_six_claims_and_one_is_quick():
    found = claims_of("srrw")
    assert [claim.number for claim in found] == [1, 2, 3, 4, 5, 6]
    assert sum(claim.quick for claim in found) == 1
    assert set(claims.SIZES) == {"cpu", "gpu", "paper"}


def test_standard_error_of_a_variance_is_that_of_normal_numbers():
    sample = 3 * np.random.default_rng(0).standard_normal(20_000)
    variance, error = claims.variance_and_error(sample)
    assert variance == pytest.approx(9, rel=0.05) and error == pytest.approx(9 * np.sqrt(2 / 20_000), rel=0.1)


def test_interval_of_an_exponent_covers_it_and_shrinks_with_the_runs():
    generator = np.random.default_rng(0)
    widths = []
    for n in (50, 5000):
        samples = [alpha**-2.0 * generator.exponential(size=n) for alpha in (1.0, 3.0, 9.0)]
        slope, low, high = claims.slope_with_interval([1.0, 3.0, 9.0], samples)
        assert low < -2 < high and low < slope < high
        widths.append(high - low)
    assert widths[1] < 0.2 * widths[0]


def test_ratio_of_means_has_an_interval_around_it():
    generator = np.random.default_rng(0)
    ratio, low, high = claims.ratio_with_interval(generator.exponential(2, 1000), generator.exponential(1, 1000))
    assert low < ratio < high and low < 2 < high


def test_covariance_on_the_ring_is_near_theory_and_a_claim_of_another_formula_fails(monkeypatch):
    arguments = (0.6, 1.0, 2000, 200)
    tolerances = {0.0: 0.4, 1.0: 0.4}
    measured = claims.covariance_on_the_ring(*arguments, tolerances=tolerances, with_errors=True)
    assert measured.holds and measured.figure < 40 and len(measured.table) == 5
    monkeypatch.setattr(claims, "ring_theory", lambda alpha, a, b: 4.0 / (1 + alpha))
    assert not claims.covariance_on_the_ring(*arguments, tolerances=tolerances, with_errors=True).holds


def test_visits_on_the_ring_are_near_theory_and_fail_for_another_law(monkeypatch):
    assert claims.visits_on_the_ring(3000, 300).figure < 40
    monkeypatch.setattr(claims, "visit_covariance", lambda P, mu, alpha: np.eye(10))
    assert not claims.visits_on_the_ring(3000, 300).holds


@pytest.fixture
def small_votes(monkeypatch):
    """Thirty agents on a ring in place of the downloads."""
    from semigroup.operators.topology import cycle

    problem = random_logistic(cycle(30), n_samples=1, n_features=3, random_state=0)
    assert isinstance(problem, DecentralisedProblem)
    monkeypatch.setattr(claims, "vote_problem", lambda: problem)
    caches = (claims.vote_runs, claims.vote_theory)
    for cache in caches:
        cache.cache_clear()
    yield problem
    for cache in caches:
        cache.cache_clear()


def test_error_falls_with_repellence_on_a_small_network(small_votes):
    measured = claims.error_against_repellence(5000, 20, alphas=(0.0, 1.0, 20.0))
    assert measured.figure < 0.2 and measured.table[0]["MSE"] > measured.table[-1]["MSE"]
    assert not claims.error_against_repellence(5000, 20, alphas=(0.0, 20.0, 1.0)).holds  # it rises at the end


def test_walks_are_compared_with_independent_draws(small_votes, monkeypatch):
    measured = claims.against_independent_draws(5000, 10)
    assert {"independent draws", "random shuffling", "α = 20"} <= {row["sampler"] for row in measured.table}
    assert measured.holds == (measured.figure <= 0.5)
    runs = claims.vote_runs
    monkeypatch.setattr(claims, "vote_runs", lambda alpha, *rest: runs(0.0, *rest))
    assert not claims.against_independent_draws(5000, 10).holds


def test_cases_are_ordered_on_a_small_network_and_not_when_swapped(small_votes, monkeypatch):
    measured = claims.order_of_cases(10_000, 30, early=300)
    assert measured.figure < 1 and "formula (iii) the same at α = 0 and 20: True" in measured.note
    claims.vote_runs.cache_clear()
    monkeypatch.setattr(claims, "REGIMES", {"i": (1.0, 0.9), "ii": (0.9, 0.9), "iii": (0.8, 0.9)})
    assert not claims.order_of_cases(10_000, 30, early=300).holds


def test_converted_downloads_are_what_was_measured(tmp_path, shared_data):
    votes = tmp_path / "votes.mtx"
    votes.write_text("from, to\n3 1\n2 1\n1 2\n")
    converted = walked_samples.VOTES.convert([votes])
    assert converted["edges"].tolist() == [[0, 1], [0, 2]] and converted["n_vertices"] == 3
    rows = tmp_path / "rows.bz2"
    rows.write_bytes(bz2.compress(b"-1.0 6:1 22:-0.5\n1.0 1:2\n"))
    converted = walked_samples.IJCNN1.convert([rows])
    assert converted["X"].shape == (2, 22) and converted["X"][0, 5] == 1 and converted["y"].tolist() == [0, 1]
    graph = walked_samples.votes()
    assert graph.n_nodes == 889 and graph.adjacency.nnz == 2 * 2914
    features, labels = walked_samples.ijcnn1(889)
    assert features.shape == (889, 22) and (labels == 1).sum() == 71

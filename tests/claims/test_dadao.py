"""The measuring of DADAO's claims: helpers on known cases, each claim at a small size, and that they can fail."""

import math

import numpy as np
import pytest

from semigroup.claims import ScaleUnavailable, claims_of
from semigroup.claims import dadao as claims
from semigroup.operators.topology import complete, random_geometric, star
from semigroup.optimize import History


@pytest.fixture(autouse=True)
def two_seeds(monkeypatch):
    monkeypatch.setattr(claims, "SEEDS", range(2))


def history(slope, n=50):
    times = np.arange(n, dtype=float)
    return History(times, np.exp(slope * times), 10 * times, 3 * times)


def test_six_claims_are_registered_and_one_is_quick():
    assert [c.number for c in claims_of("dadao")] == [1, 2, 3, 4, 5, 6]
    assert [c.number for c in claims_of("dadao") if c.quick] == [4]


def test_slope_and_costs_are_read_from_a_history():
    assert history(-0.5).slope() == pytest.approx(-0.5)
    assert claims.needed(history(-0.5), "communications", 1e-3) == 140  # exp(-0.5 t) <= 1e-3 from t = 14 on
    assert claims.needed(history(-0.5), "gradients", 1e-3) == 42
    assert math.isinf(claims.needed(history(-0.001), "communications"))


def test_slope_leaves_out_the_floor_of_rounding():
    decay = history(-1.0, 60)
    floor = History(decay.time, np.maximum(decay.gap, 1e-16), decay.communications, decay.gradients)
    assert floor.slope() == pytest.approx(-1.0)


def test_exponent_of_a_power_law_is_found():
    kappas = np.array([10, 30, 100])
    assert claims.exponent(kappas, 7 * kappas**0.5) == pytest.approx(0.5)


def test_the_promised_slope_is_the_theorems():
    assert claims.promised_slope(100) == pytest.approx(-1 / (80 * math.sqrt(2)))


def test_fewer_communications_can_fail():
    # Continuized needs fewer than DADAO on a small star, so a claim of the contrary must not hold.
    contest = claims.Contest("star 6", star(6), ("Continuized (dual)",), ())
    result = claims.contests([contest], {})
    assert not result.holds
    assert claims.contests([claims.Contest("complete 8", complete(8), ("ADOM+",), ())], {}).holds


def test_the_measurement_in_batches_fails_where_batches_and_events_differ(monkeypatch):
    graph = random_geometric(5, 0.6, random_state=0)
    size = {"n_features": 2, "n_samples": 12, "ridge": 4.0, "carrier": {"carrier": "batches", "device": "cpu"}}
    assert claims.slope_of_logistic(graph, **size).holds
    from semigroup.optimize.dadao import carriers

    def reckless(times, first, second, clock):
        level, waits = honest(times, first, second, clock)
        return np.zeros_like(level), waits  # everything at once

    honest = carriers.levels
    monkeypatch.setattr(carriers, "levels", reckless)
    assert not claims.slope_of_logistic(graph, **size).holds


def test_the_gpu_branches_run_at_reduced_size_on_the_cpu():
    carrier = {"carrier": "batches", "device": "cpu"}
    assert claims.contests([claims.Contest("complete 5", complete(5), ("ADOM+",), ())], carrier).holds
    growth = claims.gradient_growth(3, (2, 8), carrier)
    assert 0.2 < growth.figure < 0.9


def test_paper_scale_of_a_theorem_says_why_it_cannot_be_had():
    for number in (1, 2, 4, 5):
        measure = claims_of("dadao")[number - 1].function
        with pytest.raises(ScaleUnavailable, match="states this as a theorem"):
            measure("paper")

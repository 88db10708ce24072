"""The measurements behind the claims of stochastic interpolants: right on known cases, and able to fail."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import gaussian_kde

import semigroup.claims.interpolants as claims
from semigroup.densities import GaussianMixture
from semigroup.densities.interpolants import Fields, GaussianBridge, make_interpolant


def in_turn(monkeypatch):
    monkeypatch.setattr(
        claims, "side_by_side", lambda function, cases, device="cpu": [function(*case) for case in cases]
    )


def in_levels(curve):
    """Of what a set of fields has at each noise level, the levels that are asked for, and the floor."""

    def divergences(learn, setting, seed, device):
        return [*curve(learn)[-len(setting.epsilons) :], 0.004]

    return divergences


def test_end_distance_is_small_for_exact_fields_and_large_for_a_wrong_sign():
    right = claims.end_distance("linear", "brownian", 0.5, 2000, 60, 0)
    wrong = claims.end_distance("linear", "brownian", 0.5, 2000, 60, 0, True)
    assert right < 0.35 < wrong


def test_first_claim_fails_where_every_sampler_misses(monkeypatch):
    in_turn(monkeypatch)
    monkeypatch.setattr(claims, "end_distance", lambda *case: 0.5)
    assert claims.every_sampler_has_the_same_end("cpu").holds is False
    monkeypatch.setattr(claims, "end_distance", lambda *case: 0.4 if case[-1] else 0.05)
    assert claims.every_sampler_has_the_same_end("cpu").holds is True
    # The measure must see a wrong sign.
    monkeypatch.setattr(claims, "end_distance", lambda *case: 0.05)
    assert claims.every_sampler_has_the_same_end("cpu").holds is False


def test_first_claim_is_judged_by_the_mean_over_seeds_of_the_worst_case(monkeypatch):
    in_turn(monkeypatch)

    def distance(path, gamma, epsilon, n, n_steps, seed, wrong):
        return 0.4 if wrong else 0.03 + (path == "trig" and epsilon == 5.0) * 0.02 * seed

    monkeypatch.setattr(claims, "end_distance", distance)
    measured = claims.every_sampler_has_the_same_end("cpu")
    assert measured.figure == pytest.approx(0.07) and measured.holds is True
    assert measured.spread == pytest.approx(np.std(0.02 * np.arange(5), ddof=1)) and measured.n_seeds == 5
    assert len(measured.table) == 12 and "0.110" in measured.note


@pytest.mark.parametrize(("scale", "limit"), [("cpu", 0.1), ("gpu", 0.06)])
def test_threshold_that_is_drawn_is_the_one_that_judges(scale, limit, monkeypatch):
    in_turn(monkeypatch)
    monkeypatch.setattr(claims, "end_distance", lambda *case: 0.4 if case[-1] else 0.05)
    monkeypatch.setattr(claims, "wasserstein", lambda *samples: 0.05)
    measured = claims.every_sampler_has_the_same_end(scale)
    assert f"<= {limit:g}" in measured.threshold
    assert any(np.allclose(line.get_ydata(), limit) for line in measured.plot.axes[0].lines)


def test_kernel_estimate_is_scipys():
    sample, points = np.random.default_rng(2).standard_normal((2, 200, 2)) * [1.0, 3.0]
    np.testing.assert_allclose(claims.log_kde(sample, points), gaussian_kde(sample.T).logpdf(points.T), rtol=1e-9)


def test_divergence_of_kernel_estimates_is_that_of_gaussians_and_never_negative():
    rng = np.random.default_rng(0)
    truth, points = rng.standard_normal((3000, 2)), rng.standard_normal((2000, 2))
    moved = rng.normal([0.5, 0.0], 1.0, (3000, 2))
    log_truth = claims.log_kde(truth, points)
    assert claims.kde_divergence(log_truth, moved, points) == pytest.approx(0.125, abs=0.04)
    # Two samples of one law differ in the tails of their estimates: the claim prints this floor.
    assert 0 <= claims.kde_divergence(log_truth, rng.standard_normal((3000, 2)), points) < 0.1


def test_learnt_divergences_are_finite_at_tiny_size():
    setting = claims.Setting(3, 2.0, (8,), 5, 16, 200, 10, (0.0, 0.5, 8.0))
    values = claims.learnt_divergences(("b", "s"), setting, 0)
    assert len(values) == 4 and np.isfinite(values).all()
    assert values[0] > values[-1]
    # The ODE of (b, eta) is that of (b, s): the claim samples it once.
    assert claims.learnt_divergences(("b", "eta"), setting, 0)[0] == values[0]


def test_second_claim_can_fail_and_hold(monkeypatch):
    in_turn(monkeypatch)
    for curve, expected in (
        ((0.02, 0.015, 0.014, 0.016, 0.03), True),
        ((0.02, 0.021, 0.022, 0.023, 0.03), False),
        ((0.02, 0.0195, 0.0196, 0.0197, 0.03), False),
        ((0.02, 0.015, 0.014, 0.013, 0.012), False),
    ):
        monkeypatch.setattr(claims, "learnt_divergences", in_levels(lambda learn, curve=curve: curve))
        assert claims.some_noise_beats_the_ode("cpu").holds is expected


def test_second_claim_takes_the_ode_of_the_second_set_from_the_first(monkeypatch):
    in_turn(monkeypatch)
    curves = {("b", "s"): (0.02, 0.015, 0.014, 0.016, 0.03), ("b", "eta"): (9.0, 0.01, 0.011, 0.012, 0.05)}
    monkeypatch.setattr(claims, "learnt_divergences", in_levels(curves.__getitem__))
    table = claims.some_noise_beats_the_ode("cpu").table
    assert [row["KL"] for row in table if row["learn"] == "b+eta"] == pytest.approx([0.02, 0.01, 0.011, 0.012, 0.05])


def test_orderings_that_decide_at_the_large_scale_are_in_its_threshold(monkeypatch):
    in_turn(monkeypatch)
    best = {("b", "s"): 0.014, ("b", "eta"): 0.012, ("v", "s"): 0.018, ("v", "eta"): 0.016}
    for change, expected in (({}, True), ({("v", "s"): 0.013}, False), ({("b", "eta"): 0.015}, False)):
        values = {**best, **change}
        monkeypatch.setattr(
            claims, "learnt_divergences", in_levels(lambda learn, v=values: (0.02, v[learn], 0.019, 0.019, 0.02, 0.03))
        )
        measured = claims.some_noise_beats_the_ode("gpu")
        assert measured.holds is expected and "b below v" in measured.threshold


def test_settings_of_the_large_scale_are_the_papers():
    setting = claims.SETTINGS["gpu"]
    assert (setting.dim, setting.spread, setting.n_samples, setting.n_steps) == (128, 7.5, 50_000, 1000)


def test_exact_gap_is_the_closed_form():
    divergence, bound = claims.exact_gap(1.0, 1.0)
    assert divergence == pytest.approx(0.7992, abs=1e-4) and bound == 1.0


def test_histogram_divergence_is_that_of_gaussians():
    truth = GaussianMixture([1.0], [[0.0]], [1.0])
    sample = np.random.default_rng(1).standard_normal((100_000, 1))
    assert claims.histogram_divergence(truth, sample + 0.5) == pytest.approx(0.125, abs=0.01)
    assert abs(claims.histogram_divergence(truth, sample)) < 1e-3


def test_errors_of_fields_vanish_for_the_truth_and_see_a_shift():
    truth, _ = claims.line_path("linear", "brownian")

    class Learnt(Fields):
        def __init__(self, shift):
            self.shift = shift

        def velocity(self, x, t):
            return truth.velocity(x.double(), t) + self.shift

        def score(self, x, t):
            return truth.score(x.double(), t) - 2 * self.shift

    assert max(claims.field_errors(Learnt(0.0), truth, 100, 0)) < 1e-6
    np.testing.assert_allclose(claims.field_errors(Learnt(0.5), truth, 100, 0), (0.25, 1.0), rtol=1e-3)


def test_third_claim_fails_where_a_divergence_exceeds_its_bound(monkeypatch):
    in_turn(monkeypatch)

    def rows(divergence):
        return [
            {"epsilon": e, "KL": divergence, "bound": 0.1, "velocity_error": 0.1, "score_error": 0.1}
            for e in (0.5, 1.0)
        ]

    monkeypatch.setattr(claims, "_draw_bound", lambda runs, epsilons: None)
    for divergence, expected in ((0.05, True), (0.2, False)):
        monkeypatch.setattr(claims, "learnt_gap", lambda *case, divergence=divergence: rows(divergence))
        assert claims.errors_of_the_fields_bound_the_divergence("cpu").holds is expected


def test_learnt_gap_at_tiny_size_has_a_bound_above_its_divergence():
    (row,) = claims.learnt_gap(0, 5, 2000, (1.0,))
    assert 0 < row["KL"] < row["bound"]


def test_modes_are_counted():
    x = np.linspace(-10, 10, 4001)
    assert claims.count_modes(np.exp(-((x - 2) ** 2)) + np.exp(-((x + 2) ** 2))) == 2


def test_fourth_claim_holds_and_fails_where_another_number_of_modes_is_expected(monkeypatch):
    assert claims.latent_noise_removes_spurious_modes("cpu").holds is True
    monkeypatch.setitem(claims.EXPECTED_MODES, "encoding-decoding", (2, 2, 3))
    assert claims.latent_noise_removes_spurious_modes("cpu").holds is False


@pytest.mark.parametrize(("brownian", "expected"), [(0.9, True), (1.1, False)])
def test_checkerboard_that_decides_at_the_large_scale_is_in_its_threshold(brownian, expected, monkeypatch):
    monkeypatch.setattr(claims, "_draw_modes", lambda: None)
    monkeypatch.setattr(claims, "checkerboard_error", lambda gamma, *_: brownian if gamma == "brownian" else 1.0)
    measured = claims.latent_noise_removes_spurious_modes("gpu")
    assert measured.holds is expected and "checkerboard" in measured.threshold


def test_fifth_claim_measures_the_ratios_of_the_closed_form():
    measured = claims.antithetic_pairs_bound_the_variance("cpu")
    assert measured.holds is True
    assert [row["exact_ratio"] for row in measured.table] == pytest.approx([5000.5, 2.0, 5000.5], rel=1e-6)


def test_fifth_claim_fails_where_the_second_half_has_the_first_ones_noise(monkeypatch):
    draw = claims.draw_pairs
    monkeypatch.setattr(
        claims,
        "draw_pairs",
        lambda interpolant, t, x0, x1, z, antithetic: tuple(
            torch.cat([part, part]) for part in draw(interpolant, t, x0, x1, z, False)
        ),
    )
    assert claims.antithetic_pairs_bound_the_variance("cpu").holds is False


def test_path_variance_adds_the_shares():
    interpolant = make_interpolant("linear", gamma_scale=0.5)
    assert claims.path_variance(interpolant, 1.0, 2.0, 0.5) == pytest.approx(1.375)


def test_sixth_claim_fails_where_the_networks_are_off(monkeypatch):
    in_turn(monkeypatch)
    truth = GaussianBridge(1.0, 2.0, 0.5)
    for factor, expected in ((1.02, True), (1.1, False)):
        monkeypatch.setattr(
            claims, "learnt_bridge", lambda *case, factor=factor: (factor * truth.variance(0.5), truth.cost)
        )
        measured = claims.optimising_the_interpolant_gives_the_bridge("cpu")
        assert measured.holds is expected
        assert measured.figure == pytest.approx(2.2808, rel=0.01) and measured.baseline == pytest.approx(1.375)


def test_learnt_bridge_runs_at_tiny_size():
    variance, cost = claims.learnt_bridge(0, 12, n=100)
    assert variance == pytest.approx(1.375, rel=0.1) and math.isfinite(cost)

"""The measurements behind the claims of the light Schrödinger bridge: right on known cases, and able to fail."""

import math

import numpy as np
import pytest
import torch

import semigroup.claims.light_sb as claims
from semigroup.claims import ScaleUnavailable, claims_of
from semigroup.data.bridges import mixture_bridge
from semigroup.densities import bures_wasserstein
from semigroup.densities.light_sb import Potential, log_conditional


def test_conditional_uvp_is_zero_for_the_truth_and_a_hundred_for_a_plan_off_by_the_targets_variance():
    truth = mixture_bridge(3, 0.5, random_state=0)
    assert claims.conditional_uvp(truth.plan_moments, truth, np.random.default_rng(0)) < 1e-8
    variance = truth.sample_target(100_000, np.random.default_rng(1)).var(axis=0).sum()

    def shifted(x0):
        mean, covariance = truth.plan_moments(x0)
        return mean + math.sqrt(variance / 3), covariance

    assert claims.conditional_uvp(shifted, truth, np.random.default_rng(0)) == pytest.approx(100, rel=0.02)


def test_bures_wasserstein_of_commuting_covariances_is_the_sum_over_axes():
    rng = np.random.default_rng(2)
    a, b = rng.uniform(0.5, 2, 4), rng.uniform(0.5, 2, 4)
    gap = bures_wasserstein(np.zeros(4), np.diag(a**2), np.zeros(4), np.diag(b**2))
    assert gap == pytest.approx(((a - b) ** 2).sum() / 2, rel=1e-10)


def test_sinkhorn_moments_are_those_of_the_gaussian_plan():
    """From N(0, 1) to N(2, 1) at epsilon 1 the plan has slope b = (sqrt(5) - 1) / 2 and covariance b."""
    rng = np.random.default_rng(3)
    moments = claims.sinkhorn_moments(rng.standard_normal((1500, 1)), 2 + rng.standard_normal((1500, 1)), 1.0)
    mean, covariance = moments(np.array([[-1.0], [0.0], [1.0]]))
    b = (math.sqrt(5) - 1) / 2
    np.testing.assert_allclose(mean[:, 0], 2 + b * np.array([-1.0, 0.0, 1.0]), atol=0.12)
    np.testing.assert_allclose(covariance[:, 0, 0], b, atol=0.12)


def test_sinkhorn_moments_agree_with_pot():
    ot = pytest.importorskip("ot")
    rng = np.random.default_rng(4)
    X0, X1 = rng.standard_normal((60, 2)), rng.standard_normal((50, 2)) + 1
    cost = ot.dist(X0, X1) / 2
    plan = ot.sinkhorn(
        np.full(60, 1 / 60), np.full(50, 1 / 50), cost, 0.5, method="sinkhorn_log", stopThr=1e-12, numItermax=5000
    )
    mean, _ = claims.sinkhorn_moments(X0, X1, 0.5, tolerance=1e-10)(X0)
    np.testing.assert_allclose(mean, 60 * plan @ X1, atol=1e-6)


def test_true_plan_as_a_potential_has_the_true_density():
    truth = mixture_bridge(2, 0.7, random_state=1)
    rng = np.random.default_rng(5)
    x0 = truth.sample_source(30, rng)
    x1 = truth.sample_plan(x0, rng)
    got = log_conditional(claims.plan_as_potential(truth), torch.from_numpy(x0), torch.from_numpy(x1))
    np.testing.assert_allclose(got, truth.log_plan(x0, x1), rtol=1e-9, atol=1e-9)


def test_simulated_plan_has_its_stated_moments():
    truth = mixture_bridge(2, 1.0, random_state=2)
    rng = np.random.default_rng(6)
    x0 = np.tile(truth.sample_source(1, rng), (200_000, 1))
    drawn = truth.sample_plan(x0, rng)
    mean, covariance = truth.plan_moments(x0[:1])
    np.testing.assert_allclose(drawn.mean(0), mean[0], atol=5 * math.sqrt(covariance.max() / 200_000))
    np.testing.assert_allclose(np.cov(drawn.T), covariance[0], atol=0.03 * covariance.max())


def test_comparison_of_loss_and_divergence_fails_on_paired_rows_that_are_not_of_the_true_plan():
    truth = mixture_bridge(2, 1.0, random_state=0)
    rng = np.random.default_rng(7)
    n = 20_000
    true = claims.plan_as_potential(truth)
    other = claims.perturbed(true, rng)
    x0, x1, start = truth.sample_source(n, rng), truth.sample_target(n, rng), truth.sample_source(n, rng)
    tensors = [torch.from_numpy(rows) for rows in (x0, x1, start, truth.sample_plan(start, rng))]
    right = claims.compare_losses_with_divergences(true, [other], (tensors[0], tensors[1]), (tensors[2], tensors[3]))[0]
    # A target moved by a half is no longer the one that the true plan has.
    wrong = claims.compare_losses_with_divergences(
        true, [other], (tensors[0], tensors[1] + 0.5), (tensors[2], tensors[3])
    )[0]
    assert abs(right.excess_loss - right.divergence) < 4 * right.standard_error
    assert abs(wrong.excess_loss - wrong.divergence) > 8 * wrong.standard_error
    assert right.divergence > 0


def test_minimum_on_the_sample_is_below_the_start_and_the_truth():
    truth = mixture_bridge(2, 1.0, n_components=2, random_state=0)
    rng = np.random.default_rng(8)
    x0, x1 = (torch.from_numpy(rows) for rows in (truth.sample_source(500, rng), truth.sample_target(500, rng)))
    true = claims.plan_as_potential(truth)
    start = Potential(true.log_weights, true.centers + 0.2, true.variances, true.rotations, true.epsilon)
    _, loss = claims.minimise_on_sample(start, x0, x1)
    assert loss < float(claims.kl_loss(true, x0, x1)) < float(claims.kl_loss(start, x0, x1))


def test_excess_loss_shrinks_with_the_sample_and_never_falls_below_the_optimum():
    small, large = claims.excess_losses((100, 2000), 0, n_fresh=20_000, n_restarts=1)
    assert small > large > -0.01


def test_slope_of_a_power_law_is_its_exponent():
    n = np.array([1.0, 10.0, 100.0])
    assert claims.log_log_slope(n, 3 * n**-0.5) == pytest.approx(-0.5)


def test_sampled_uvp_sees_a_wrong_spread():
    truth = mixture_bridge(2, 1.0, random_state=0)
    rng = np.random.default_rng(9)
    X0, X1 = truth.sample_source(2000, rng), truth.sample_target(2000, rng)
    model = claims.LightSB(n_components=5, epsilon=1.0, max_steps=100, random_state=0).fit(X0, X1)
    draws = model.transport(X0[:10], n_samples=500)
    variance = float(X1.var(axis=0).sum())
    right = claims.sampled_uvp(draws, model, X0[:10], variance)
    wider = draws.mean(axis=1, keepdims=True) + 1.5 * (draws - draws.mean(axis=1, keepdims=True))
    assert claims.sampled_uvp(wider, model, X0[:10], variance) > 5 * right


def test_pairs_of_the_neural_solvers_come_from_the_plan():
    """The Sinkhorn coupling of two Gaussian batches has the plan's correlation, pairing at random has none."""
    rng = np.random.default_rng(10)
    pairs = claims.sinkhorn_pairs(rng.standard_normal((5000, 1)), 2 + rng.standard_normal((5000, 1)), 1.0)
    batches = [pairs(256, rng) for _ in range(20)]
    x0, x1 = (np.concatenate(side)[:, 0] for side in zip(*batches))
    assert np.polyfit(x0, x1, 1)[0] == pytest.approx((math.sqrt(5) - 1) / 2, abs=0.06)


def test_neural_bridge_learns_and_its_training_stops_at_the_level():
    truth = mixture_bridge(2, 1.0, random_state=0)
    looks = (0.05, 1.0, 2.0, 4.0, 8.0, 16.0)
    run = claims.train_neural_bridge(
        claims.true_pairs(truth), truth, looks, level=10.0, seed=0, n_starts=5, n_draws=200
    )
    assert run.errors[0] > 10 >= run.errors[-1]
    assert run.reaches(10.0) == run.seconds[-1]
    assert run.reaches(-1000.0) == math.inf


def test_one_small_case_of_the_recovery_beats_its_baselines():
    values = claims.recover(claims.Case(2, 1.0, 1e-2, 1.0, 0.05, n_steps=600), seed=0, n_training=3000)
    assert values["light_sb"] < 1 < values["independent"]
    assert values["light_sb"] < values["sinkhorn_800"] * 3


def test_scales_that_cannot_be_had_say_why():
    for claim in claims_of("light-sb"):
        if claim.number in (1, 2, 6):
            with pytest.raises(ScaleUnavailable, match=r"not available|not part"):
                claim.function("paper")

"""The measurements behind the claims on singular laws: right on known cases, and able to fail."""

from dataclasses import replace

import numpy as np
import pytest

import semigroup.claims.singular_likelihood as claims
from semigroup.claims import ScaleUnavailable, claims_of

TINY = claims.Size(n=60, n_seeds=2, n_judged=40, n_steps=3, device="cpu")


@pytest.fixture
def tiny(monkeypatch):
    """Claims at a size of seconds, in this process."""
    monkeypatch.setattr(claims, "size_of", lambda scale: TINY)
    monkeypatch.setattr(claims, "side_by_side", lambda function, cases, device: [function(*case) for case in cases])
    return monkeypatch


def made_up_paths(w1, bound=(4.0, 3.0, 2.0, 1.0, 0.0)):
    """Stands for `paths`: the same curve for every law and seed."""

    def paths(settings, levels, size, two_step=False):
        row = np.array([w1[: len(levels)]] * 2)
        runs = {"w1": row, "sigma": row, "bound": np.array([bound[: len(levels)]] * 2), "floor": np.array([0.1, 0.1])}
        runs |= {"two_step": np.array([0.2, 0.2])} if two_step else {}
        return {setting.law: runs for setting in settings}

    return paths


@pytest.mark.parametrize("number", range(1, 7))
def test_every_claim_runs_at_a_tiny_size_and_untrained_networks_do_not_pass_for_a_repair(number, tiny):
    claim = {claim.number: claim for claim in claims_of("singular-likelihood")}[number]
    measurement = claim.function("cpu")
    assert np.isfinite(measurement.figure) and measurement.table and measurement.plot is not None
    if number != 3:
        assert measurement.holds is False


def test_no_stream_of_a_seed_is_that_of_the_frames():
    first = [np.random.default_rng(0).random(), *(claims.rng(0, stream).random() for stream in range(4))]
    assert len(set(first)) == 5


def test_the_sphere_is_trained_for_longer_once_more(tiny):
    steps, made_up = [], made_up_paths([0.5, 0.2, 0.3])

    def paths(settings, levels, size, two_step=False):
        steps.append((tuple(setting.law for setting in settings), size.n_steps))
        return made_up(settings, levels, size, two_step)

    tiny.setattr(claims, "paths", paths)
    measurement = claims.perturbation_repairs_maximum_likelihood("cpu")
    assert steps == [(("mix1", "mix2", "sphere"), 3), (("sphere",), 8)]
    assert [row["law"] for row in measurement.table[-3:]] == ["sphere, 8 steps"] * 3
    assert "On the sphere after 8 it is 0.5 and W1 0.500, against 0.200" in measurement.note


@pytest.mark.parametrize(
    ("function", "good", "bad"),
    [
        (claims.perturbation_repairs_maximum_likelihood, [0.5, 0.2, 0.3], [0.5, 0.45, 0.45]),
        (claims.best_perturbation_lies_inside, [0.5, 0.2, 0.1, 0.3, 0.4], [0.5, 0.4, 0.3, 0.2, 0.1]),
        (claims.likelihood_is_the_wrong_judge, [0.5, 0.4, 0.3, 0.2], [0.2, 0.3, 0.4, 0.5]),
    ],
)
def test_claims_on_curves_hold_for_the_expected_curve_and_fail_for_another(function, good, bad, tiny):
    for curve, holds in ((good, True), (bad, False)):
        tiny.setattr(claims, "paths", made_up_paths(curve))
        assert function("cpu").holds is holds


def test_a_wrong_noise_level_fails_the_calibration(tiny):
    for ratio, holds in ((1.03, True), (1.1, False)):
        tiny.setattr(
            claims, "learnt_noise", lambda setting, noise, size, seed, ratio=ratio: [ratio] * (1 if noise else 3)
        )
        assert claims.learnt_noise_is_calibrated("cpu").holds is holds


def test_a_flat_curve_fails_the_rate_and_a_power_passes(tiny):
    tiny.setattr(claims, "rate_errors", lambda setting, n, size, seed: (n**-0.4, 0.3))
    measurement = claims.distance_falls_with_the_sample_size("cpu")
    assert measurement.holds and measurement.figure == pytest.approx(-0.4)
    tiny.setattr(claims, "rate_errors", lambda setting, n, size, seed: (0.2, 0.3))
    assert not claims.distance_falls_with_the_sample_size("cpu").holds


def test_growth_with_the_dimension_fails(tiny):
    for power, holds in ((0.1, True), (0.8, False)):
        tiny.setattr(
            claims,
            "samplers_on_the_circle",
            lambda dim, size, seed, power=power: {
                "generator": 0.1 * dim**power,
                "kde": 0.8,
                "gaussian_mixture": 0.5,
                "resampled_rows": 0.1,
                "floor": 0.05,
            },
        )
        assert claims.dimension_of_the_space_does_not_matter("cpu").holds is holds


def test_kernel_density_estimate_on_the_circle_gets_worse_with_the_dimension():
    size = replace(TINY, n=300, n_judged=300)
    low, high = (claims.samplers_on_the_circle(dim, size, 0) for dim in (2, 50))
    assert high["kde"] > 2 * low["kde"] and high["resampled_rows"] < 0.3
    assert low["floor"] < 0.25


def test_distance_on_the_line_bounds_the_distance_and_is_close_to_it():
    law = claims.MIX1.make()
    rng = np.random.default_rng(0)
    truth = law.sample(500, 0)
    samples = law.sample(500, 1) + 0.1 * rng.standard_normal((500, law.dim))
    bound, exact = claims.distance_on_the_line(law, samples, truth), claims.wasserstein(samples, truth)
    assert exact <= bound < 1.5 * exact
    assert claims.distance_on_the_line(law, truth, truth) < 1e-12


def test_two_step_repair_finds_the_law_of_the_codes():
    """A linear model that reaches every point, with codes that are not normal: the mixture in the second step mends it."""
    law = claims.MIX1.make()
    X, fresh = law.sample(500, 0), law.sample(800, 1)
    plain = claims.PerturbedGenerator(
        n_latent=1,
        perturbation=0.0,
        hidden=(),
        estimator="vae",
        learning_rate=0.02,
        n_steps=500,
        n_restarts=1,
        random_state=0,
    ).fit(X)
    before = claims.wasserstein(plain.sample(800), fresh)
    after = claims.wasserstein(claims.two_step_samples(plain, X, 800, 0), fresh)
    assert after < 0.5 * before


def test_digits_are_measured_beside_their_floor(tiny):
    found = claims.digits_path((0.0, 0.2), 2, "cpu", 0)
    assert len(found["w1"]) == 2 and found["floor"] < found["mixture"] < min(found["w1"])
    assert claims.perturbation_helps_on_digits("cpu").holds is False


def test_mnist_is_measured_in_features(tiny):
    rng = np.random.default_rng(0)
    images, labels = rng.random((300, 28, 28), dtype=np.float32), np.arange(300) % 10
    tiny.setattr(claims, "_mnist_split", lambda seed: (images[:200], labels[:200], images[200:]))
    run = claims.mnist_path(claims.ImageFit(2, (4,), None, 2, 1, "cpu"), 0)
    assert len(run["fid"]) == len(claims.MNIST_LEVELS) and 0 <= run["floor_fid"] < min(run["fid"])
    tiny.setattr(claims, "mnist_path", lambda fit, seed: run)
    measurement = claims.perturbation_on_mnist("cpu")
    assert measurement.holds is None and measurement.plot is not None


def test_paper_scale_says_why_it_cannot_be_had():
    for claim in claims_of("singular-likelihood"):
        with pytest.raises(ScaleUnavailable, match="not at hand"):
            claim.function("paper")

"""The machinery of PDE-Refiner's claims, at small size."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from semigroup.claims import ScaleUnavailable, claims_of
from semigroup.claims import pde_refiner as claims
from semigroup.fields.pde_refiner import NoiseRefinement, high_correlation_time

SMALL = {
    "cpu": replace(
        claims.SETTINGS["cpu"],
        n_train=4,
        n_small=2,
        n_frames=4,
        n_test=3,
        n_ahead=5,
        width=8,
        n_steps=3,
        n_seeds=2,
        n_seeds_aside=2,
    ),
    "gpu": replace(
        claims.SETTINGS["gpu"], n_points=32, n_train=4, n_small=2, n_frames=3, n_test=2, n_ahead=3, width=8, n_steps=2
    ),
}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(claims, "SETTINGS", SMALL)


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
@pytest.mark.parametrize("claim", claims_of("pde-refiner"), ids=lambda claim: str(claim.number))
def test_every_claim_can_be_measured_at_every_scale(claim, scale, small):
    measured = claim.function(scale)
    assert np.isfinite(measured.figure) and measured.table and measured.threshold
    assert measured.holds in (True, False)


def test_untrained_models_do_not_pass_the_claims_that_need_training(small):
    verdicts = {claim.number: claim.function("cpu").holds for claim in claims_of("pde-refiner")}
    assert not any(verdicts[number] for number in (1, 2, 3, 6)) and verdicts[7]


def test_the_sampler_claim_fails_for_a_network_that_is_not_perfect(monkeypatch):
    honest = claims._oracle

    def sloppy(process, target):
        predict = honest(process, target)
        return lambda candidate, k: predict(candidate, k) * 1.01

    monkeypatch.setattr(claims, "_oracle", sloppy)
    claim = next(claim for claim in claims_of("pde-refiner") if claim.number == 7)
    measured = claim.function("cpu")
    assert not measured.holds and measured.figure > 1e-6


def test_the_oracle_repairs_a_first_prediction_that_is_wrong():
    target = torch.zeros(1, 1, 8, dtype=torch.float64)
    process = NoiseRefinement(2, 1e-4)
    generator = torch.Generator().manual_seed(0)
    first = process.sample(claims._oracle(process, target), target, generator, 0)
    repaired = process.sample(claims._oracle(process, target), target, generator, 1)
    assert first.min() == 3 and repaired.abs().max() < 1e-12


def test_the_ratio_of_two_groups_has_the_spread_of_both():
    assert claims._ratio([2.0, 2.0], [1.0, 1.0]) == (2.0, 0.0)
    value, spread = claims._ratio([1.0, 3.0], [1.0, 3.0])
    assert value == 1.0 and spread == pytest.approx(np.sqrt(0.5))


def test_times_are_of_the_mean_correlation_and_not_mean_times(small, monkeypatch):
    curves = np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 0.4, 0.4, 0.4]])
    monkeypatch.setattr(claims, "_correlations", lambda setting, spec, n=None: curves)
    spec = claims.Spec("mse", 4, 0)
    assert claims._time(SMALL["cpu"], spec) == pytest.approx(claims.TIME_STEP)
    assert np.mean(high_correlation_time(curves, 0.8, claims.TIME_STEP)) > claims.TIME_STEP


def test_claims_share_what_they_train_and_train_it_once(small, monkeypatch):
    fitted = []
    honest = claims._fit
    monkeypatch.setattr(claims, "_MODELS", {})
    monkeypatch.setattr(claims, "_fit", lambda stepper, *data: fitted.append(stepper) or honest(stepper, *data))
    for claim in claims_of("pde-refiner"):
        claim.function("cpu")
    setting = SMALL["cpu"]
    # refiner, mse and history on all data; coarse, and refiner and mse on few, aside
    assert len(fitted) == 3 * setting.n_seeds + 3 * setting.n_seeds_aside


def test_training_rows_of_one_simulation_stay_together():
    data = claims._data(SMALL["gpu"])
    assert data.train.shape == (4, 4, 3, 1, 32)
    # Frame i of offset o comes right after frame i of offset o - 1.
    later = np.abs(data.train[:, 1, 0] - data.train[:, 0, 0]).mean()
    next_frame = np.abs(data.train[:, 0, 1] - data.train[:, 0, 0]).mean()
    assert later < next_frame


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is visible")
def test_paper_scale_says_why_it_cannot_be_had():
    claim = next(claim for claim in claims_of("pde-refiner") if claim.number == 1)
    with pytest.raises(ScaleUnavailable, match="CUDA"):
        claim.function("paper")

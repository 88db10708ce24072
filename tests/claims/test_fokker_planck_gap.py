"""The measurements behind the claims of the ODE-SDE gap: right on known cases, and able to fail."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import semigroup.claims.fokker_planck_gap as claims
from semigroup.claims import ScaleUnavailable
from semigroup.densities import wasserstein
from semigroup.densities.fokker_planck_gap import sample_sde, sampling_times
from semigroup.schedules import OrnsteinUhlenbeck

OU = OrnsteinUhlenbeck(5.0)


def test_gaussian_cases_have_the_distances_of_an_independent_implementation_and_a_wrong_residual_breaks_the_identity(
    monkeypatch,
):
    case = claims.gaussian_case("a = 1.1 p", claims.CASES["a = 1.1 p"], n_times=3001)
    assert case.distance == pytest.approx(0.48001, abs=5e-6)
    assert case.bound.fisher == pytest.approx(0.025871, abs=1e-6)
    assert case.bound.fisher == pytest.approx(case.identity_right, abs=1e-6)
    assert case.distance <= case.bound.direct <= case.bound.cauchy_schwarz <= case.bound.residual
    assert claims.agrees(case)
    for changed in (
        {"distance": case.distance + 2e-4},
        {"bound": replace(case.bound, fisher=case.bound.fisher + 3e-6)},
        {"bound": replace(case.bound, direct=case.bound.direct - 2e-3)},
        {"bound": replace(case.bound, residual=case.bound.residual + 2e-3)},
    ):
        assert not claims.agrees(replace(case, **changed))
    honest = claims.residual
    monkeypatch.setattr(claims, "residual", lambda *args: 1.01 * honest(*args))
    wrong = claims.gaussian_case("a = 1.1 p", claims.CASES["a = 1.1 p"], n_times=301)
    assert abs(wrong.bound.fisher - wrong.identity_right) > 1e-5


def test_pooling_keeps_the_mass_and_adds_neighbouring_nodes():
    masses = np.arange(16.0).reshape(4, 4)
    pooled = claims.pool(masses, 2)
    assert pooled.tolist() == [[10.0, 18.0], [42.0, 50.0]]


def test_published_networks_are_read_in_the_right_order_of_inputs(shared_data):
    """A transposed or reordered network would not score near zero at the centre of the symmetric mixture."""
    network = claims.shipped_potential("blob", "0.1")
    x = torch.tensor([[0.0, 0.0], [1.3, 1.3], [0.6, 0.0], [0.0, 0.6]])
    s = network.score(x, torch.full((4,), 0.05)).detach()
    assert s[0].abs().max() < 1.0
    assert s[2, 0] < -1 and s[3, 1] < -1 and abs(s[2, 1]) < 1 and abs(s[3, 0]) < 1


def test_published_distances_fall_with_the_weight(shared_data):
    gaps = [claims.paper_distances("blob", weight, 4)[0] for weight in ("0.0", "10.0")]
    assert gaps[1] < 0.7 * gaps[0]


def test_a_published_network_run_again_is_near_its_histogram(shared_data):
    values = claims.rerun("blob", "10.0", 800, 60, "cpu")
    assert values["ode_to_published"] < 3 * values["ode_redrawn_to_published"]
    assert values["mean_square"] < 0.1


def test_claims_on_published_files_say_what_they_need(monkeypatch):
    monkeypatch.delenv("SEMIGROUP_DATA", raising=False)
    for claim in (
        claims.penalty_closes_the_gap_in_the_published_histograms,
        claims.published_networks_give_their_histograms,
    ):
        with pytest.raises(ScaleUnavailable, match="SEMIGROUP_DATA"):
            claim("cpu")


def test_line_distance_is_that_of_the_quantiles():
    rng = np.random.default_rng(0)
    X, Y = np.sort(rng.normal(size=50)), np.sort(rng.normal(size=30))
    one, other = claims.LineLaw(X, np.full(50, 1 / 50)), claims.LineLaw(Y, np.full(30, 1 / 30))
    assert claims.line_distance(one, other) == pytest.approx(wasserstein(X[:, None], Y[:, None], p=2))
    assert claims.line_distance(claims.two_intervals_law(), claims.two_intervals_law(2000)) < 1e-3


def test_laws_on_the_line_are_those_of_the_samplers():
    def score(x, t):
        return -2 * x + torch.tanh(3 * x)

    times = sampling_times(5.0, 60)
    ode, sde = claims.line_laws(score, times, OU, 0.7)
    x = 0.7 * torch.randn(40_000, 1, generator=torch.Generator().manual_seed(0))
    drawn = sample_sde(score, x, times, OU, torch.Generator().manual_seed(1))[:, -1, 0].double().numpy()
    sampled = claims.LineLaw(np.sort(drawn), np.full(len(drawn), 1 / len(drawn)))
    assert claims.line_distance(sampled, sde) < 0.04
    assert sde.masses.sum() == pytest.approx(1)
    assert claims.line_distance(ode, sde) > 0.05


def test_directions_count_what_falls_and_rises():
    plain = [{"gap": 0.2, "ode_truth": 0.2, "sde_truth": 0.1}] * 2
    better = {"gap": 0.1, "ode_truth": 0.1, "sde_truth": 0.2}
    worse = {"gap": 0.4, "ode_truth": 0.3, "sde_truth": 0.0}
    ratio, counts = claims.directions(plain, [better, worse])
    assert ratio == pytest.approx(1.25) and set(counts.values()) == {1}


@pytest.mark.parametrize("penalty", ["residual", "gradient"])
def test_runs_on_the_line_give_finite_distances(penalty, monkeypatch):
    honest = claims.PotentialDiffusion
    monkeypatch.setattr(claims, "PotentialDiffusion", lambda **options: honest(**(options | {"hidden": (16, 16)})))
    run = claims.line_run(0.1, penalty, 0, n_steps=60, n_penalised=20)
    assert all(np.isfinite(value) for value in run.values())


def test_runs_in_the_plane_give_finite_distances(monkeypatch):
    honest = claims.PotentialDiffusion
    small = {"hidden": (16, 16), "batch_size": 64, "n_residual": 64}
    monkeypatch.setattr(claims, "PotentialDiffusion", lambda **options: honest(**(options | small)))
    run = claims.plane_run("blob", 0.1, 0, 150, 200, "cpu")
    assert all(np.isfinite(value) for value in run.values())


def test_seconds_of_a_step_are_without_what_a_fit_costs_once(monkeypatch):
    clock = {"now": 0.0}

    class Fake:
        def __init__(self, n_steps, **options):
            self.seconds = 7.0 + 0.25 * n_steps

        def fit(self, X):
            clock["now"] += self.seconds

    monkeypatch.setattr(claims, "PotentialDiffusion", Fake)
    monkeypatch.setattr(claims.time, "process_time", lambda: clock["now"])
    assert claims.step_seconds("gradient", 15) == pytest.approx(0.25)


@pytest.mark.parametrize("penalty", ["residual", "gradient"])
def test_seconds_of_a_step_can_be_measured(penalty):
    assert np.isfinite(claims.step_seconds(penalty, 5))

"""The claims' machinery on cases whose outcome is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from semigroup.claims import ScaleUnavailable, claims_of
from semigroup.claims import gdss as claims
from semigroup.data.small_graphs import two_community_graphs
from semigroup.schedules import VP


def test_every_claim_of_the_paper_is_there_and_the_cheap_one_is_quick():
    found = claims_of("gdss")
    assert [claim.number for claim in found] == [1, 2, 3, 4, 5, 6]
    assert {claim.number for claim in found if claim.quick} == {4}


def test_toy_scores_are_the_gradients_of_the_noisy_mixture():
    x, a = torch.randn(2, 5, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z = torch.cat([x, a], 1).requires_grad_()
    schedule = VP(0.1, 20.0)
    covariance = float(schedule.scale(0.3)) ** 2 * claims.COVARIANCE + float(schedule.std(0.3)) ** 2 * np.eye(2)
    parts = [
        torch.distributions.MultivariateNormal(
            sign * float(schedule.scale(0.3)) * torch.from_numpy(claims.CENTRE), torch.from_numpy(covariance)
        ).log_prob(z)
        for sign in (-1, 1)
    ]
    (gradient,) = torch.autograd.grad(torch.stack(parts).logsumexp(0).sum(), z)
    scores = claims.toy_scores(True)
    torch.testing.assert_close(torch.cat([score(x, a, 0.3) for score in scores], 1), gradient)
    marginal = claims.toy_scores(False)[0](x, a, 0.3)
    torch.testing.assert_close(marginal, claims.toy_scores(False)[0](x, torch.zeros_like(a), 0.3))


def test_samplers_of_the_toy_study_use_the_stated_number_of_evaluations():
    for sampler, passes in (("euler", 30), ("s4", 30), ("pc", 60)):
        calls = []
        exact = claims.toy_scores(True)

        def counted(x, a, t, exact=exact, calls=calls):
            calls.append(t)
            return exact[0](x, a, t)

        claims.sample_toy((counted, exact[1]), sampler, passes, 0, n=10)
        assert len(calls) == passes


def test_toy_study_is_judged_by_all_of_its_parts():
    good = (
        {"torn_apart": 0.0, "sliced_W1": 0.01}, {"torn_apart": 0.5}, {"torn_apart": 0.02}, {"torn_apart": 0.5},
    )  # fmt: skip
    assert claims.judge_toy(*good)[0]
    for place, worse in (
        (0, {"torn_apart": 0.02, "sliced_W1": 0.01}),
        (0, {"torn_apart": 0.0, "sliced_W1": 0.05}),
        (1, {"torn_apart": 0.4}),
        (2, {"torn_apart": 0.1}),
        (3, {"torn_apart": 0.3}),
    ):
        assert not claims.judge_toy(*(worse if i == place else one for i, one in enumerate(good)))[0]


def test_learnt_toy_scores_are_near_the_exact_ones():
    learnt = claims.learnt_toy_scores(True, 0, timed=True, schedule=VP(0.1, 20.0), n_steps=300)
    x, a = torch.randn(2, 500, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    difference = learnt[0](x, a, 0.9) - claims.toy_scores(True)[0](x, a, 0.9)
    assert float(difference.square().mean()) < 0.1


def test_samplers_are_compared_by_time_and_by_the_error_of_the_difference():
    rows = [
        {"sampler": name, "seconds": seconds, "degree": value, "clustering": value, "orbit": value}
        for name, seconds, values in (("s4", 1.0, (0.1, 0.3)), ("pc", 2.0, (0.2, 0.2)))
        for value in values
    ]
    ratio, s4, pc, error = claims.sampler_comparison(rows)
    assert (ratio, s4, pc) == (2.0, pytest.approx(0.2), pytest.approx(0.2))
    assert error == pytest.approx(0.1)


def test_metrics_claim_fails_for_wrong_orbit_counts(monkeypatch, shared_data):
    right = claims.orbit_counts
    monkeypatch.setattr(claims, "orbit_counts", lambda adjacency: right(adjacency) + np.eye(15, dtype=np.int64)[14])
    assert claims.metrics_agree_with_enumeration_and_with_published_parts("cpu").holds is False


def test_claim_on_numbering_fails_for_a_network_that_looks_at_the_numbers(monkeypatch):
    class Numbered(torch.nn.Module):
        def forward(self, x, a, real):
            return x * torch.arange(x.shape[1])[:, None]

    monkeypatch.setattr(claims, "networks_of", lambda seed: {"numbered": Numbered()})
    assert claims.equivariance_errors()[1] > 0.1


def test_training_is_judged_by_bounds_rivals_and_ablations():
    def means(value):
        return dict.fromkeys(claims.JUDGED, value)

    good = {
        name: {"GDSS": means(0.04), "BaselineNetwork": means(0.06), "GDSS-seq": means(0.07), "Erdős-Rényi": means(0.2)}
        for name in ("community_small", "ego_small")
    }
    assert claims.judge_training(good, converged=True)[0] and claims.judge_training(good, converged=False)[0]
    for name, rival, value in (
        ("community_small", "GDSS", 0.055),
        ("community_small", "GDSS-seq", 0.03),
        ("community_small", "BaselineNetwork", 0.03),
        ("ego_small", "Erdős-Rényi", 0.03),
    ):
        worse = good | {name: good[name] | {rival: means(value)}}
        assert not claims.judge_training(worse, converged=True)[0]
    far = good | {"community_small": good["community_small"] | {"GDSS": means(0.11)}}
    assert not claims.judge_training(far, converged=False)[0]


def test_training_at_the_accelerators_settings_measures_every_rival_on_both_sets(monkeypatch, shared_data):
    tiny = {"hidden_dim": 8, "attention_dim": 8, "n_layers": 1}
    monkeypatch.setattr(claims, "RIVALS", {name: options | tiny for name, options in claims.RIVALS.items()})
    budget = replace(claims.BUDGETS["gpu"], n_epochs=1, n_steps=3, n_seeds=2)
    measured = claims.training_measurement(budget, "cpu", converged=True)
    assert len(measured.table) == 2 * (3 + 2 + 1) and measured.holds is False
    assert all(np.isfinite([row[key] for key in claims.JUDGED]).all() for row in measured.table)
    assert measured.plot is not None


def test_configuration_model_keeps_degrees_but_for_repeated_edges():
    graphs = two_community_graphs(5, random_state=0)
    found = claims.configuration_model(graphs, random_state=0)
    before, after = (torch.bincount(g.edge_index[0], minlength=len(g.batch)) for g in (graphs, found))
    assert (after <= before).all() and int(after.sum()) > 0.6 * int(before.sum())


def test_authors_weights_fill_every_parameter_and_give_molecules(shared_data):
    claims.reference_networks("community_small")
    found = claims.qm9_molecules(torch.device("cpu"), n_steps=30, n=30, seed=0)
    assert found["validity"] == 1.0 and found["uniqueness"] > 0.5


def test_sets_that_are_not_there_are_said_to_be_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("SEMIGROUP_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ScaleUnavailable, match="SEMIGROUP_DATA"):
        claims.reference_graphs("grid")

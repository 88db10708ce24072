"""The machinery of the claims of kernel density regimes at tiny size, and that a claim can fail."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest, ncx2, norm

from semigroup.claims import claims_of
from semigroup.claims import kde_regimes as claims
from semigroup.densities.kde_regimes import thresholds
from semigroup.report.figures import save_png


@pytest.fixture(autouse=True)
def two_seeds(monkeypatch):
    monkeypatch.setattr(claims, "N_SEEDS", 2)


def test_there_are_six_claims_and_one_is_quick():
    found = claims_of("kde-regimes")
    assert [claim.number for claim in found] == [1, 2, 3, 4, 5, 6]
    assert sum(claim.quick for claim in found) == 1
    assert set(claims.SIZES) == {"cpu", "gpu", "paper"}


def test_distances_are_drawn_from_their_law():
    generator = torch.Generator().manual_seed(0)
    energy = claims.ISOTROPIC.draw((4, 5000), 20, generator, typical=True).numpy()
    assert kstest(2 * energy.ravel(), ncx2(20, 20).cdf).pvalue > 1e-3
    # Against points with coordinates: eigenvalues, clusters, sphere.
    rng = np.random.default_rng(0)
    for cloud in claims.CLOUDS[1:]:
        drawn = cloud.draw((2000, 10), 20, generator, typical=False).numpy().ravel()
        x, y = rng.standard_normal((2, 20_000, 20))
        if not cloud.groups:
            x, y = (math.sqrt(20) * z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y))
        elif cloud.separation:
            x[:, 0] += 2 * math.sqrt(20 * cloud.separation) * (rng.random(20_000) < 0.5)
        else:
            scale = np.sqrt(np.repeat([1.0, 5.0], [18, 2]))
            x, y = x * scale, y * scale
        direct = ((x - y) ** 2).sum(axis=1) / 2
        # Rows share a fresh point, so that there are fewer independent draws than distances.
        assert kstest(drawn, direct).statistic < 0.05, cloud.name


def test_exact_moments_are_those_of_simulation():
    sample = np.random.default_rng(0).noncentral_chisquare(6, 6, 1_000_000) / 2
    for power in (1, 2):
        assert claims.log_moment(power, 1.3, 6) == pytest.approx(
            np.log(np.exp(-power * sample / 1.69).mean()), abs=0.01
        )


def test_spread_of_a_normal_sum_is_one_and_of_a_heavy_one_is_less():
    dim, n, h = 10, 1000, 3.0
    rng = np.random.default_rng(0)
    logs = np.log(np.exp(-rng.noncentral_chisquare(dim, dim, (2000, n)) / (2 * h * h)).sum(axis=1))
    assert claims.spread_ratio(logs, h, dim, n) == pytest.approx(1, abs=0.06)


def test_stable_laws_fit_themselves_and_not_each_other():
    rng = np.random.default_rng(1)
    for mu in (0.49, 1.44):
        law = claims.StandardLaw(mu)
        sample = law.law.rvs(3000, random_state=rng)
        assert kstest(sample, law.cdf).statistic < 0.03
        assert kstest(claims.standardised(sample), law.standard_cdf).statistic < 0.04
        assert kstest(claims.standardised(sample), claims.normal_cdf).statistic > 0.06
    assert claims.normal_cdf(np.array([-0.5, 0.0, 0.5])) == pytest.approx([0.25, 0.5, 0.75])
    assert kstest(claims.standardised(norm.rvs(size=3000, random_state=rng)), claims.normal_cdf).statistic < 0.03


def test_spread_claim_runs_and_fails_for_another_threshold(monkeypatch, tmp_path):
    measured = claims.spread_against_bandwidth((20, 40), 300)
    assert measured.table[1]["ratio"] > measured.table[7]["ratio"] and measured.baseline > 0.8
    save_png(measured.plot, tmp_path / "1.png")
    monkeypatch.setattr(claims, "thresholds", lambda alpha: thresholds(5 * alpha))
    assert not claims.spread_against_bandwidth((20, 40), 300).holds


def test_stable_claim_runs_and_fails_for_another_law(monkeypatch, tmp_path):
    measured = claims.distance_to_stable_law(30, 300)
    assert measured.figure < 0.12 < measured.table[0]["KS to normal"]
    save_png(measured.plot, tmp_path / "2.png")
    law = claims.StandardLaw
    monkeypatch.setattr(claims, "StandardLaw", lambda mu: law(0.6 * mu))
    assert not claims.distance_to_stable_law(30, 300).holds


def test_participation_claim_holds_early_and_fails_for_another_formula(monkeypatch, tmp_path):
    measured = claims.participation_against_bandwidth((20, 40), 200, 0.07)
    assert measured.holds and measured.figure < 0.07
    save_png(measured.plot, tmp_path / "3.png")
    monkeypatch.setattr(claims, "condensed_participation", lambda mu: np.maximum(1 - np.asarray(mu) / 2, 0))
    assert not claims.participation_against_bandwidth((20, 40), 200, 0.07).holds


def test_optimum_claim_holds_on_few_cases_and_fails_for_another_optimum(monkeypatch, tmp_path):
    cases = ((0.2, 20), (0.2, 40))
    measured = claims.optimum_against_theory(cases, 300)
    assert measured.holds and measured.table[1]["off h_* finite"] < 0.02
    save_png(measured.plot, tmp_path / "4.png")
    best = claims.kl_bandwidth
    monkeypatch.setattr(claims, "kl_bandwidth", lambda alpha, **rest: 0.8 * best(alpha, **rest))
    assert not claims.optimum_against_theory(cases, 300).holds


def test_rules_claim_holds_early_and_fails_where_the_rules_are_exchanged(monkeypatch, tmp_path):
    measured = claims.rules_against_best({20: 5}, (2,), (("digits", 1400, 397),))
    assert measured.holds and "behind Scott's in d = 2" in measured.note
    save_png(measured.plot, tmp_path / "5.png")
    monkeypatch.setattr(claims, "RULES", ("scott", "kl", "nn", "silverman"))
    assert not claims.rules_against_best({20: 5}, (2,), ()).holds


def test_free_energy_claim_is_near_theory_and_fails_for_another_law(monkeypatch, tmp_path):
    measured = claims.free_energy_against_simulation(40, 20)
    assert measured.figure < 0.012 and measured.baseline < 0.008 and len(measured.table) == 24
    assert all(abs(row["simulated"] - row["theory"]) < 0.015 for row in measured.table)
    save_png(measured.plot, tmp_path / "6.png")
    curve = claims.log_density_per_dimension
    monkeypatch.setattr(claims, "log_density_per_dimension", lambda h, alpha, law: curve(1.05 * h, alpha, law))
    assert not claims.free_energy_against_simulation(40, 20).holds

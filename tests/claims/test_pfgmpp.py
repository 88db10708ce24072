"""The measurements behind the claims of PFGM++: right on known cases, and able to fail."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import betaprime, chi2, kstest

import semigroup.claims.pfgmpp as claims
from semigroup.claims import ScaleUnavailable, claims_of


def test_squared_radii_come_in_pieces_and_the_clipped_route_is_found_out():
    right = claims.squared_radii(12_000, 64, 1.0, torch.Generator().manual_seed(0))
    assert len(right) == 12_000
    assert kstest(right, betaprime(32, 0.5).cdf).pvalue > 1e-3
    clipped = claims.squared_radii(12_000, 64, 1.0, torch.Generator().manual_seed(0), clip=1e-3)
    assert kstest(clipped, betaprime(32, 0.5).cdf).pvalue < 1e-6


def test_statistic_of_atoms_finds_a_wrong_radius_out():
    atoms = claims.atoms_in_space(0)
    limit = chi2(4).ppf(0.999)
    statistic, landed = claims.weight_statistic(atoms, 16.0, 0, 4000)
    assert statistic < limit and landed == 1
    assert claims.weight_statistic(atoms, 16.0, 0, 4000, r_is_sigma=True)[0] > limit


def test_statistic_of_atoms_finds_a_gaussian_prior_out_on_a_line():
    line = np.linspace(-2, 2, 5)[:, None]
    assert claims.weight_statistic(line, 1.0, 0, 4000)[0] < chi2(4).ppf(0.999)
    assert claims.weight_statistic(line, 1.0, 0, 4000, prior_D=math.inf)[0] > 50


def test_gap_to_diffusion_vanishes_with_the_dimension():
    assert claims.denoiser_gap(math.inf, 0, n=200) == 0
    assert claims.denoiser_gap(10.0, 0, n=200) > 5 * claims.denoiser_gap(1000.0, 0, n=200) > 0


def test_bias_of_the_field_of_a_batch_is_seen_and_the_stable_target_has_none():
    rows = {(row["target"], row["batch"]): row for row in claims.target_statistics(1.0, 0, 4000)}
    assert abs(rows["field of a batch", 4]["bias"]) > 10 * rows["field of a batch", 4]["standard_error"]
    for size in claims.BATCHES:
        row = rows["stable target", size]
        assert abs(row["bias"]) < 4.5 * row["standard_error"]
    assert rows["stable target", 64]["variance"] < 0.2 * rows["data", 0]["variance"]


def test_two_circles_have_their_radii():
    radii = claims.two_circles(100).norm(dim=1)
    assert radii[:50].numpy() == pytest.approx(1) and radii[50:].numpy() == pytest.approx(2)
    assert claims.two_circles(100).mean(0).abs().max() < 1e-12


def test_one_short_training_is_judged_under_every_disturbance():
    ways = ({}, {"disturbance": 0.3}, {"bits": 4}, {"n_levels": 8})
    found = claims.train_and_disturb("cpu", 16.0, 0, ways, n_steps=60)
    assert [(q.disturbance, q.bits, q.n_levels) for q in found] == [
        (0.0, None, 18),
        (0.3, None, 18),
        (0.0, 4, 18),
        (0.0, None, 8),
    ]
    assert all(np.isfinite(q.frechet) for q in found)
    table = claims._rows({16.0: [found, found]})
    assert [row["frechet"] for row in table] == [q.frechet for q in found]
    assert claims._draw_robustness(table).axes


def test_scales_that_cannot_be_had_say_why():
    for claim in claims_of("pfgmpp"):
        if claim.number in (4, 6):
            with pytest.raises(ScaleUnavailable, match="not available"):
                claims.digit_images("paper")

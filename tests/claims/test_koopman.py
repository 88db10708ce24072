"""The measuring of koopman's claims: that it measures what it says, and that a claim can fail."""

import numpy as np
import pytest

from semigroup.claims import Scale, claims_of
from semigroup.claims import koopman as measuring
from semigroup.data.dynamical_systems import DiscMap, cat_map
from semigroup.dynamics.koopman import Fourier, compress


def measured(number: int, scale: Scale = "cpu"):
    return next(claim for claim in claims_of("koopman") if claim.number == number).function(scale)


def test_every_numbered_claim_is_there():
    assert [claim.number for claim in claims_of("koopman")] == [1, 2, 3, 4, 5, 6]
    assert [claim.number for claim in claims_of("koopman") if claim.quick] == [1, 4]


def test_pollution_is_measured_and_a_wrong_closed_form_would_be_seen(monkeypatch):
    assert measured(1).holds
    monkeypatch.setattr(measuring, "_doubling_residual", lambda z, n: np.abs(1 - np.abs(z)))
    assert not measured(1).holds


def test_papers_region_is_the_grid_of_its_error_curves():
    points = measuring.paper_region(0.02)
    assert len(points) == 76 * 51
    assert (points.real.min(), points.real.max(), points.imag.min()) == pytest.approx((-0.5, 1.0, 0.0))
    assert np.abs(points - 1).min() < 1e-12


@pytest.mark.parametrize("scale", ["cpu", "gpu", "paper"])
def test_duffing_claim_fails_where_a_certificate_is_large(monkeypatch, scale):
    def run(n, damping, n_trajectories, spacing, seed, n_jobs):
        return measuring.DuffingRun(0.95, 0.6, certificate, 5, 0.4, 1.0 / n)

    monkeypatch.setattr(measuring, "duffing_run", run)
    certificate = 0.1
    assert measured(2, scale).holds
    certificate = 0.2
    assert not measured(2, scale).holds


def test_duffing_run_takes_both_errors_from_one_fit():
    run = measuring.duffing_run(20, 0.0, 60, 0.25, 0)
    assert run.edmd_max > run.edmd_median > run.certificate > 0
    assert run.residual_at_i > run.certificate


def test_disc_blocks_are_the_whole_operator_cut_by_wave_number():
    system, z = DiscMap(0.25, amplitude=0.05), np.array([np.exp(0.25j * np.pi), 0.5])
    nodes, weights = np.polynomial.legendre.leggauss(300)
    radius, angle = np.meshgrid(np.sqrt((nodes + 1) / 2), 2 * np.pi * np.arange(8) / 8, indexing="ij")
    states = np.stack([radius.ravel(), angle.ravel()], axis=1)

    def features(s):
        radial = np.polynomial.legendre.legvander(2 * s[:, 0] ** 2 - 1, 4)
        return (radial[:, :, None] * np.exp(1j * np.outer(s[:, 1], np.arange(-2, 3)))[:, None, :]).reshape(len(s), -1)

    whole = compress(features, states, system(states), np.repeat(weights, 8) / 16)
    assert np.allclose(measuring.disc_residual(system, range(-2, 3), 5, z), whole.residual(z), rtol=1e-6)


def test_cats_orbit_is_a_shift():
    orbit = measuring._cat_orbit(6, 103)
    pairs = cat_map(103)
    operator = compress(Fourier(orbit, 1.0), pairs.X, pairs.Y)
    # A chain of L functions: the residual on the circle is 2 sin(pi / (2 (L + 1))).
    assert operator.residual(-1.0) == pytest.approx(2 * np.sin(np.pi / 14), rel=1e-9)
    with pytest.raises(ValueError, match="modulus"):
        measuring._cat_orbit(20, 11)


def test_adversarys_victims_look_where_they_say():
    victims = measuring._adversarys_victims(0)
    assert len(victims) == 9
    answer = victims["EDMD, grid points"](DiscMap(0.5))
    assert np.abs(np.abs(answer) - 1).max() < 1e-8


def test_larger_scales_of_the_spectral_measure_run_and_can_fail(monkeypatch):
    small = measuring.cmv_matrix
    monkeypatch.setattr(measuring, "cmv_matrix", lambda n: small(60))
    for scale in ("cpu", "gpu"):
        result = measured(5, scale)
        # Sixty functions do not resolve this smoothing, and the claim says so.
        assert not result.holds
        assert f"error at {(0.025 if scale == 'cpu' else 0.0125):g}" in result.table[0]


def test_rage_is_not_measured_without_the_data(monkeypatch):
    def offline(dataset):
        raise ConnectionError("no network")

    monkeypatch.setattr(measuring, "download", offline)
    from semigroup.claims import ScaleUnavailable

    with pytest.raises(ScaleUnavailable, match="no network"):
        measured(6)


def test_rage_claim_fails_for_other_series(monkeypatch):
    noise = {
        name: np.random.default_rng(0).normal(size=20_000) for name in ("Re13000", "Re16000", "Re19000", "Re30000")
    }
    monkeypatch.setattr(measuring, "download", lambda dataset: noise)
    assert not measured(6).holds

"""The measuring of rvgp's claims: that it measures what it says, and that a claim can fail."""

import numpy as np
import pytest

from semigroup.claims import ScaleUnavailable, claims_of
from semigroup.claims import rvgp as measuring
from semigroup.data.manifolds import bumpy_sphere, fibonacci_sphere
from semigroup.manifolds.rvgp import random_field, tangent_bundle
from semigroup.operators import eigenpairs


def measured(number: int):
    return next(claim for claim in claims_of("rvgp") if claim.number == number).function("cpu")


def test_every_numbered_claim_is_there():
    assert [claim.number for claim in claims_of("rvgp")] == [1, 2, 3, 4, 5, 6]
    assert [claim.number for claim in claims_of("rvgp") if claim.quick] == [1]


def test_groups_of_eigenvalues_are_those_of_the_sphere_and_transport_makes_them():
    bundle = tangent_bundle(fibonacci_sphere(400), 20)
    unit = float(eigenpairs(bundle.laplacian, 4).values[1:].mean()) / 2
    means, spreads = measuring.cluster_means(bundle.connection_laplacian, unit, (6, 10))
    np.testing.assert_allclose(means, [1, 5], rtol=0.05)
    assert (spreads < 0.3).all()
    plain = measuring._without_transport(bundle)
    values = eigenpairs(plain.connection_laplacian, 8).values
    np.testing.assert_allclose(values, np.repeat(eigenpairs(bundle.laplacian, 4).values, 2), atol=1e-8)


def test_bochner_claim_fails_where_the_transport_is_missing(monkeypatch):
    whole = tangent_bundle
    monkeypatch.setattr(measuring, "tangent_bundle", lambda *args: measuring._without_transport(whole(*args)))
    assert not measured(1).holds


def test_curvature_claim_fails_on_a_sphere_taken_for_flat(monkeypatch):
    whole = tangent_bundle
    monkeypatch.setattr(measuring, "tangent_bundle", lambda *a, **k: measuring._without_transport(whole(*a, **k)))
    assert not measured(2).holds


@pytest.fixture
def small_surface(monkeypatch):
    """A small surface in the place of the bunny, and what every method predicts there."""
    monkeypatch.setattr(measuring, "surface", lambda source, spacing: bumpy_sphere(150) / 5)
    monkeypatch.setattr(measuring, "HOLE", (bumpy_sphere(150) / 5)[10])

    def noisy(bundle, field, train, test, n_eigenpairs, eigenvectors):
        rng = np.random.default_rng(0)
        return {name: field[test] + level * rng.normal(size=(len(test), 3)) for name, level in levels.items()}

    levels = {
        "RVGP": 0.02,
        "RVGP, tangent likelihood": 0.02,
        "projected scalar kernel": 0.03,
        "RBF on scalar eigenvectors": 1.0,
        "RBF on coordinates": 0.2,
        "thin-plate spline": 0.2,
    }
    monkeypatch.setattr(measuring, "predictions", noisy)
    monkeypatch.setattr(measuring, "scalar_encoding", lambda bundle, k: None)
    monkeypatch.setattr(measuring, "_kept_on_bumpy_surface", lambda name, scale: (2, 2))
    return levels


def test_super_resolution_claim_depends_on_the_errors(small_surface):
    assert measured(3).holds
    small_surface["RVGP"] = 0.19
    assert not measured(3).holds


def test_inpainting_claim_depends_on_the_errors(small_surface, monkeypatch):
    # Radii in which the small surface has points.
    monkeypatch.setattr(measuring, "bumpy_sphere", bumpy_sphere)
    points = bumpy_sphere(150) / 50
    monkeypatch.setattr(measuring, "surface", lambda source, spacing: points)
    monkeypatch.setattr(measuring, "HOLE", points[10])
    result = measured(4)
    assert result.holds and "5 of 5" in str(result.table)
    small_surface["RVGP"] = 0.3
    assert not measured(4).holds


def test_predictions_are_those_of_methods_that_see_the_observed_vectors_only():
    bundle = tangent_bundle(bumpy_sphere(150))
    field = random_field(bundle, 20.0, random_state=0)
    train, test = np.arange(0, 150, 2), np.arange(1, 150, 2)
    results = measuring.predictions(bundle, field, train, test, 30)
    blind = field.copy()
    blind[test] = 7.0
    for name, predicted in measuring.predictions(bundle, blind, train, test, 30).items():
        np.testing.assert_array_equal(predicted, results[name], err_msg=name)
    errors = measuring._errors(results, field[test])
    assert errors["RVGP"][1] < errors["RBF on scalar eigenvectors"][1]


@pytest.mark.parametrize(("loss", "holds"), [(4.0, True), (-4.0, False)])
def test_degradation_claim_wants_a_trend(monkeypatch, loss, holds):
    monkeypatch.setattr(measuring, "surface", lambda source, spacing: bumpy_sphere(int(12 / spacing)))

    def alignments(points, truth, noise, n_seeds):
        value = 1 - loss * (noise / 3 + 1 / len(points))
        return {"alignment": value, "RBF on coordinates": value - 0.1, "tangential part of the truth": 1.0}

    monkeypatch.setattr(measuring, "_alignments", alignments)
    assert measured(5).holds is holds


def test_alignment_falls_where_the_hidden_points_are_moved_far():
    points = bumpy_sphere(200)
    field = random_field(tangent_bundle(points), 20.0, random_state=0)
    near, far = (measuring._alignments(points, field, noise, 1) for noise in (0.0, 0.4))
    assert near["alignment"] > 0.95 > far["alignment"]
    assert near["tangential part of the truth"] > 0.999 > far["tangential part of the truth"] > far["alignment"]


def test_eeg_claim_reports_both_orders_without_judging_them_and_says_which_data_are_missing(monkeypatch, shared_data):
    result = measured(6)
    assert result.holds is None and "truth > RVGP > linear > spline: yes" in result.note
    stored = dict(measuring.download(measuring.EEG))
    worse = stored | {"svm_auc": stored["svm_auc"][[0, 2, 1, 3]]}  # the scores of spline and RVGP exchanged
    monkeypatch.setattr(measuring, "download", lambda source: worse)
    assert "truth > RVGP > linear > spline: no" in measured(6).note

    def offline(source):
        raise OSError("no route to host")

    monkeypatch.setattr(measuring, "download", offline)
    with pytest.raises(ScaleUnavailable, match="no route to host"):
        measured(6)


def test_electrodes_are_laid_flat_by_their_angle_from_the_vertex():
    points = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]) + 1e-9
    flat = measuring.in_the_plane(points)
    assert np.linalg.norm(flat, axis=1) == pytest.approx([0, np.pi / 2, np.pi / 2, np.pi], abs=1e-6)

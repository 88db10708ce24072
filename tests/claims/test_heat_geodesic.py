"""The measuring of heat-geodesic's claims: that it measures what it says, and that a claim can fail."""

import numpy as np
import pytest

from semigroup.claims import claims_of
from semigroup.claims import heat_geodesic as measuring
from semigroup.data.manifolds import swiss_roll


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(measuring, "SEEDS", {"cpu": range(47, 49), "gpu": range(47, 49), "paper": range(47, 49)})
    monkeypatch.setattr(measuring, "N_POINTS", {"cpu": 150, "gpu": 160, "paper": 60})


def measured(number: int, scale="cpu"):
    return next(claim for claim in claims_of("heat-geodesic") if claim.number == number).function(scale)


def random_maps(monkeypatch):
    """Without the peers' time: maps that mean nothing."""
    for name in ("umap_map", "tsne_map"):
        monkeypatch.setattr(
            measuring, name, lambda points, seed: np.random.default_rng(seed).normal(size=(len(points), 2))
        )


def test_every_numbered_claim_is_there():
    assert [claim.number for claim in claims_of("heat-geodesic")] == [1, 2, 3, 4, 5, 6]
    assert [claim.number for claim in claims_of("heat-geodesic") if claim.quick] == [4]


@pytest.mark.parametrize(("scale", "n_cases"), [("cpu", 2), ("paper", 10)])
def test_geodesics_are_scored_for_everybody_at_every_scale(monkeypatch, scale, n_cases):
    random_maps(monkeypatch)
    result = measured(1, scale)
    assert len(result.table) == n_cases
    assert result.figure == result.table[0]["heat geodesic"] > result.table[0]["map, UMAP"]
    assert result.baseline == result.table[0]["PHATE potential"]


def test_geodesic_claim_fails_where_a_peer_is_as_good(monkeypatch):
    random_maps(monkeypatch)
    monkeypatch.setattr(measuring, "potential", lambda affinity: measuring.heat_distances(affinity, 50.0))
    assert not measured(1).holds


def test_clean_roll_claim_compares_with_shortest_paths(monkeypatch):
    result = measured(2)
    assert result.baseline == np.mean([row["shortest paths"] for row in result.table])
    monkeypatch.setattr(measuring, "heat_distances", lambda affinity, time: measuring.potential(affinity))
    assert not measured(2).holds


def test_volume_claim_fails_without_the_volume_term(monkeypatch):
    result = measured(3)
    assert result.figure <= 1.5 < result.baseline
    real = measuring.heat_geodesic_dissimilarity
    monkeypatch.setattr(
        measuring,
        "heat_geodesic_dissimilarity",
        lambda kernel, time, volume_correction=1.0: real(kernel, time, volume_correction=0.0),
    )
    assert not measured(3).holds


def test_phate_claim_fails_for_another_walk(monkeypatch):
    assert measured(4).holds
    monkeypatch.setattr(measuring, "potential_distances", lambda affinity, time: np.ones(affinity.shape))
    with np.errstate(invalid="ignore"):
        assert not measured(4).holds


def test_approximation_claim_shows_the_error_of_a_fixed_degree(monkeypatch):
    result = measured(5)
    assert result.holds and result.baseline > 0.1
    assert [row["degree of the bound"] > 30 for row in result.table[:3]] == [False, True, True]
    monkeypatch.setattr(measuring, "chebyshev_degree", lambda half_width, tol: 5)
    assert not measured(5).holds


def test_cluster_claim_scores_maps_by_their_clusters(monkeypatch):
    sample = swiss_roll(100, clustered=True, random_state=0)
    apart = sample.labels[:, None] * [1.0, 0.0] + np.random.default_rng(0).normal(0, 0.1, (100, 2))
    assert measuring.rand_index(apart, sample.labels, 0) == 1
    random_maps(monkeypatch)
    result = measured(6)
    assert result.figure > result.baseline and len(result.table) == 2
    monkeypatch.setattr(measuring, "tsne_map", lambda points, seed: sample_map(points))
    assert not measured(6).holds


def sample_map(points):
    """A map that knows the classes: the first half of the points and the second."""
    return np.repeat([[0.0, 0.0], [1.0, 0.0]], len(points) // 2, axis=0) + 0.01 * points[:, :2] / np.abs(points).max()

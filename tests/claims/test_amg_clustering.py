"""The machinery of the claims on bootstrap AMG clustering, at sizes where the answer is known."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from semigroup.claims import amg_clustering as module
from semigroup.claims import claims_of
from semigroup.claims.amg_clustering import (
    compare_on_blocks,
    fitted_slope,
    smoothed_aggregation_ratio,
    spectral_labels,
)
from semigroup.data.attributed_graphs import AttributedGraph, attributed_blocks


def test_there_are_six_claims_and_two_are_quick():
    claims = claims_of("amg-clustering")
    assert [claim.number for claim in claims] == [1, 2, 3, 4, 5, 6]
    assert sum(claim.quick for claim in claims) == 2


def test_slope_of_a_power_law_is_its_exponent():
    sizes = np.array([10, 100, 1000])
    assert fitted_slope(sizes, 3 * sizes**1.7) == pytest.approx(1.7)


def test_spectral_labels_are_those_of_the_first_vertices():
    blocks = sp.block_diag([np.ones((5, 5)), np.ones((5, 5))], format="lil")
    blocks[0, 5] = blocks[5, 0] = 0.01
    labels = spectral_labels(sp.csr_array(blocks), 2, 7, 0)
    assert len(labels) == 7 and len(set(labels[:5])) == 1 and labels[0] != labels[6]


def test_every_rival_finds_classes_that_all_say():
    graph = attributed_blocks(120, 3, mixing=0.01, mean_degree=12, agreement=1.0, random_state=0)
    scores = compare_on_blocks(graph, 3, 0)
    assert scores["one attribute"] == pytest.approx(1)
    hurt = scores.pop("structure only")  # the paper's coarse solver
    assert min(scores.values()) > 0.95 and hurt < scores[module._DIRECT_ALONE]


def test_smoothed_aggregation_shrinks_what_it_is_made_for():
    n = 200
    path = sp.csr_array(sp.diags_array([-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1]))
    pytest.importorskip("pyamg")
    assert 0 < smoothed_aggregation_ratio(path, 15, 0) < 0.5


def scores(fused: float, alone: float, spectral: float) -> pd.DataFrame:
    row = {
        "fused": fused,
        module._DIRECT: fused,
        module._LIGHT: 0.9,
        "structure only": 0.0,
        module._DIRECT_ALONE: alone,
        "spectral, augmented graph": spectral,
        "K-means of attributes": 0.5,
        "one attribute": 0.36,
    }
    return pd.DataFrame([row, row])


@pytest.mark.parametrize(
    ("number", "holds", "does_not"),
    [(1, (0.53, 0.09, 0.8), (0.53, 0.4, 0.8)), (6, (0.36, 0.7, 0.95), (0.7, 0.7, 0.95))],
)
def test_claims_on_random_graphs_can_fail(number, holds, does_not, monkeypatch):
    (claim,) = (claim for claim in claims_of("amg-clustering") if claim.number == number)
    for values, verdict in ((holds, True), (does_not, False)):
        monkeypatch.setattr(module, "_draws", lambda scale, values=values, **parameters: scores(*values))
        measured = claim.function("cpu")
        assert measured.holds is verdict and measured.figure == pytest.approx(values[0])


def test_friends_without_structure_do_not_hold(monkeypatch):
    (claim,) = (claim for claim in claims_of("amg-clustering") if claim.number == 3)
    rng = np.random.default_rng(0)
    upper = np.triu(rng.random((30, 30)) < 0.5, 1)
    noise = AttributedGraph(
        sp.csr_array((upper | upper.T).astype(float)), pd.DataFrame({"office": rng.integers(2, size=30)})
    )
    monkeypatch.setattr(module, "attributed_graph", lambda name: noise)
    measured = claim.function("cpu")
    assert measured.holds is False and len(measured.table) == 5


def test_ratios_are_measured_in_ten_orders_of_the_vertices(monkeypatch):
    pytest.importorskip("pyamg")
    graph = attributed_blocks(60, 3, random_state=0)
    runs = module._ratios_in_orders(graph, "a1", 3)
    assert len(runs.ratios) == 10 and {len(ratios) for ratios in runs.ratios} == {3}
    assert np.std([ratios[0] for ratios in runs.ratios]) > 0
    assert 0 < runs.aggregation < 1

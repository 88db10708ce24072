"""The claims' machinery on cases whose outcome is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from semigroup.claims import ScaleUnavailable, claims_of
from semigroup.claims import rqgnn as claims
from semigroup.data.anomalous_graphs import rayleigh_only
from semigroup.data.tu_graphs import LabelledGraphs


def test_every_claim_of_the_paper_is_there_and_only_the_instant_ones_are_quick():
    found = claims_of("rqgnn")
    assert [claim.number for claim in found] == [1, 2, 3, 4, 5, 6]
    assert {claim.number for claim in found if claim.quick} == {1, 2}


def test_identity_fails_for_quotients_of_another_laplacian(monkeypatch):
    right = claims.rayleigh_quotients
    monkeypatch.setattr(claims, "rayleigh_quotients", lambda *a, **k: right(*a, **k) + 1e-9)
    assert claims.the_quotient_is_the_area_above_the_accumulated_energy("cpu").holds is False


def test_bounds_fail_for_quotients_that_are_not_divided(monkeypatch):
    right = claims.rayleigh_quotients
    monkeypatch.setattr(claims, "rayleigh_quotients", lambda graphs, x, **k: 30 * right(graphs, x, **k))
    assert claims.the_quotient_is_stable_under_changes_of_graph_and_signal("cpu").holds is False


def test_equal_sized_graphs_become_their_dense_laplacians():
    path = np.array([[0, 2.0, 0], [2.0, 0, 2.0], [0, 2.0, 0]])
    (found,) = claims.dense_laplacians(claims.dense_set(path[None]))
    np.testing.assert_allclose(found, [[1, -(0.5**0.5), 0], [-(0.5**0.5), 1, -(0.5**0.5)], [0, -(0.5**0.5), 1]])
    x = np.array([[1.0, 0, -1]])
    np.testing.assert_allclose(claims.form(x, found[None]), [2.0])
    np.testing.assert_allclose(claims.spectral_norm(np.array([[[1.0, 0], [0, -3.0]]])), [3.0])


def test_disparity_is_far_from_chance_for_made_anomalies_and_within_it_for_random_labels():
    made = rayleigh_only(400, permuted=0.8, anomalous=0.2, random_state=0)
    found = claims.disparity(made, 200)
    assert found["gap"] > 3 * found["permuted_95"] and found["p_value"] < 0.01
    assert found["gap_from_moments"] == pytest.approx(found["gap"], rel=0.2)
    assert found["quotient_difference"] > 0.2 and found["cohen_d"] > 1 and found["graphs"] == 400
    shuffled = LabelledGraphs(made.graphs, np.random.default_rng(1).permutation(made.y))
    assert claims.disparity(shuffled, 200)["p_value"] > 0.01


def test_figures_are_near_earlier_ones_within_five_per_cent():
    row = dict(zip(("gap", "quotient_difference", "quotient_difference_large"), claims.EARLIER["MMP"]))
    assert claims.near_earlier(row, "MMP")
    assert not claims.near_earlier(row | {"gap": 0.06}, "MMP")
    assert not claims.near_earlier(row | {"quotient_difference": -0.08}, "MMP")


def test_spectra_of_the_assays_are_judged_by_gaps_and_earlier_figures(monkeypatch):
    made = rayleigh_only(60, random_state=0)
    monkeypatch.setattr(claims, "assay", lambda name: made)
    measured = claims.normal_and_anomalous_graphs_differ_in_their_spectra("cpu")
    assert measured.holds is False, "the figures are not those of the assays"
    assert [row["set"] for row in measured.table] == list(claims.TOX21)
    assert "not among the paper's ten sets" in measured.note


def made_table(**changes):
    auc = {"quotients": 0.9, "composition": 0.5, "network": 0.9, "mean of the nodes, no filter": 0.5}
    return [
        {"permuted": p, "detector": name, "auc": claims.EARLIER_AUC[p] if name in ("quotients", "network") else value}
        | {"longest_fit_seconds": 3.0}
        | changes.get(name, {})
        for p in claims.PERMUTED
        for name, value in auc.items()
    ]


def test_made_anomalies_are_judged_by_every_condition():
    assert claims.judge_made(made_table())
    for bad in (
        {"quotients": {"auc": 0.7}},
        {"composition": {"auc": 0.54}},
        {"network": {"auc": 0.75}},
        {"network": {"longest_fit_seconds": 130.0}},
        {"mean of the nodes, no filter": {"auc": 0.65}},
    ):
        assert not claims.judge_made(made_table(**bad))


def test_study_on_made_anomalies_runs_at_the_accelerators_settings():
    budget = replace(
        claims.MADE["gpu"],
        n_train=200,
        n_test=100,
        n_seeds=1,
        options=(("n_epochs", 1), ("hidden_dim", 4), ("batch_size", 64)),
    )
    measured = claims.made_measurement(budget, "cpu")
    assert len(measured.table) == 12 and np.isfinite([row["auc"] for row in measured.table]).all()
    assert measured.plot is not None
    counts = [row["auc"] for row in measured.table if row["detector"] == "composition"]
    assert counts == [0.5] * 3


def test_gain_is_paired():
    better, worse = ([{"f1": base + shift} for base in (0.5, 0.6, 0.9)] for shift in (0.02, 0.0))
    assert claims.gain(better, worse, "f1") == pytest.approx((0.02, 0.0), abs=1e-12)


def table_of(f1, auc):
    rows = {"RQGNN": [{"f1": 0.7 + d, "auc": 0.8 + d} for d in (-0.01, 0.0, 0.01)]}
    rows["rival"] = [{"f1": f1 + d, "auc": auc + d} for d in (-0.02, 0.0, 0.01)]
    return claims.comparison_table(rows)


def test_a_gain_counts_above_its_standard_error_only():
    assert claims.judge(table_of(0.65, 0.75), ("f1", "auc"), ("rival",))
    assert not claims.judge(table_of(0.7005, 0.75), ("f1", "auc"), ("rival",))
    assert not claims.judge(table_of(0.65, 0.81), ("f1", "auc"), ("rival",))
    assert claims.judge(table_of(0.65, 0.81), ("f1",), ("rival",))
    assert "Not beaten by more than a standard error in both: rival." in claims.rival_note(table_of(0.65, 0.81))
    assert "Not beaten" not in claims.rival_note(table_of(0.65, 0.75))


@pytest.fixture
def tiny(monkeypatch):
    made = rayleigh_only(200, permuted=0.8, anomalous=0.3, random_state=0)
    split = np.repeat([0, 2], [160, 40])
    whole = LabelledGraphs(made.graphs, made.y, split)
    learnt = LabelledGraphs(made.graphs.select(np.arange(160)), made.y[:160])
    monkeypatch.setattr(claims, "assay", lambda name: learnt)
    monkeypatch.setattr(claims, "tox21", lambda name: whole)
    monkeypatch.setattr(claims, "side_by_side", lambda function, cases, device: [function(*case) for case in cases])
    options = (("n_epochs", 2), ("hidden_dim", 8), ("batch_size", 32))
    return replace(claims.ASSAYS["gpu"], n_seeds=2, sets=("MMP", "HSE"), options=options, device="cpu")


def test_comparison_at_the_accelerators_settings_measures_every_rival(tiny):
    measured = claims.rival_measurement(tiny, stand_in=True)
    assert [row["detector"] for row in measured.table] == list(claims.RIVALS)
    assert measured.n_seeds == 4 and "not among the paper's ten" in measured.note
    assert all(
        0 <= row[key] <= 1 for row in measured.table for key in ("f1", "auc", "average_precision", "auc_challenge_test")
    )


def test_component_study_at_the_accelerators_settings_measures_every_variant(tiny):
    measured = claims.component_measurement(tiny, stand_in=True)
    assert [row["detector"] for row in measured.table] == list(claims.VARIANTS)
    assert measured.figure == min(row["f1_gain"] for row in measured.table if row["detector"] in claims.REMOVALS)


def test_rivals_take_the_graph_into_account():
    made = rayleigh_only(8, anomalous=0.5, random_state=0)
    for rival in (claims.GIN, claims.ChebNet):
        model = rival(hidden_dim=8, n_epochs=1, batch_size=4, device="cpu", random_state=0).fit(made.graphs, made.y)
        with torch.no_grad():
            batch = model._checked(made.graphs).batch(torch.arange(8), torch.device("cpu"))
            logits = model.networks_["f1"](batch)
            other = replace(batch, features=batch.features.flip(0))
            assert not torch.allclose(model.networks_["f1"](other), logits)
        edges = claims.edges_of(batch)
        assert torch.equal(edges[0].sort()[0], made.graphs.edge_index[0].sort()[0]) and edges.shape[1] == 640


def test_papers_sets_that_are_not_there_are_said_so(monkeypatch, tmp_path):
    monkeypatch.setenv("SEMIGROUP_DATA", str(tmp_path))
    for number in (3, 5, 6):
        with pytest.raises(ScaleUnavailable, match="MCF-7 is not there"):
            claims_of("rqgnn")[number - 1].function("paper")
    folder = tmp_path / "rqgnn" / "P388"
    folder.mkdir(parents=True)
    (folder / "P388_A.txt").write_text("1, 2\n2, 1\n3, 4\n4, 3\n")
    (folder / "P388_graph_indicator.txt").write_text("1\n1\n2\n2\n")
    (folder / "P388_graph_labels.txt").write_text("-1\n1\n")
    claims.assay.cache_clear()
    assert claims.assay("P388").y.tolist() == [0, 1]

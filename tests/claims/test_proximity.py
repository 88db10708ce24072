"""The machinery of the proximity claims on cases whose answer is known, and that a claim can fail."""

import networkx as nx
import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from semigroup.claims import claims_of
from semigroup.claims import proximity as claims
from semigroup.claims.proximity import CASES, PAIRS, cutpoint_gaps, draw_graphs, gain, separated, triangle_slack
from semigroup.graphs.proximity import STUDY_FAMILIES, RejectCurves, Study, parameter_grid
from semigroup.operators import as_graph

GRID = parameter_grid(3)


def made_up(best: dict[str, float], n_graphs: int = 6, families: tuple[str, ...] = STUDY_FAMILIES) -> Study:
    """A study in which each family has its score at the middle p, a little different on each graph."""
    scores = np.zeros((n_graphs, len(families), 3))
    wobble = 0.01 * np.cos(np.arange(n_graphs))
    for i, family in enumerate(families):
        scores[:, i, 1] = best.get(family, 0.5) + wobble
    return Study(tuple(families), GRID, scores, scores)


def test_there_are_six_claims_and_the_theorem_is_quick():
    found = claims_of("proximity")
    assert [claim.number for claim in found] == [1, 2, 3, 4, 5, 6]
    assert [claim.number for claim in found if claim.quick] == [6]


@pytest.mark.parametrize("case", CASES)
def test_graphs_of_every_case_are_connected_and_as_large_as_they_say(case):
    first, second = draw_graphs(case, 2)
    np.testing.assert_array_equal(np.bincount(first.labels), CASES[case][0])
    assert connected_components(first.adjacency)[0] == 1
    assert (first.adjacency != second.adjacency).nnz > 0
    assert (draw_graphs(case, 1)[0].adjacency != first.adjacency).nnz == 0
    assert (draw_graphs(case, 1, first_seed=1)[0].adjacency != second.adjacency).nnz == 0


def test_enlarged_graphs_keep_their_degrees():
    small, large = (draw_graphs("100, (2) 0.3, 0.1", 1, enlarged=k)[0].adjacency for k in (1, 10))
    assert large.shape == (1000, 1000)
    assert large.nnz / 1000 == pytest.approx(small.nnz / 100, rel=0.1)


def test_gain_is_the_difference_of_scores_with_an_interval_around_it():
    result = made_up({"logComm": 0.9, "Comm": 0.6})
    difference, low, high = gain(result, "logComm", "Comm")
    assert difference == pytest.approx(0.3) and low == pytest.approx(0.3) and high == pytest.approx(0.3)
    generator = np.random.default_rng(0)
    noisy = Study(STUDY_FAMILIES, GRID, generator.random((20, 13, 3)), generator.random((20, 13, 3)))
    difference, low, high = gain(noisy, "logComm", "Comm")
    assert low < difference < high and low < 0 < high


GOOD = {
    "logComm": 0.95,
    "Comm": 0.7,
    "logHeat": 0.9,
    "Heat": 0.6,
    "logFor": 0.9,
    "For": 0.2,
    "Walk": 0.8,
    "pWalk": 0.82,
    "SCCT": 0.93,
}


@pytest.mark.parametrize(
    ("change", "holds"),
    [({}, True), ({"logComm": 0.71}, False), ({"Heat": 0.89}, False), ({"For": 0.85}, False), ({"pWalk": 0.7}, False)],
)
def test_the_first_claim_needs_every_gain_and_the_exception(monkeypatch, change, holds):
    monkeypatch.setattr(claims, "_study_case", lambda case, n, scale: made_up({**GOOD, **change}))
    measured = claims.logarithms_outperform_plain_measures("cpu")
    assert measured.holds is holds and len(measured.table) == 8 and measured.plot is not None


@pytest.mark.parametrize(("change", "holds"), [({}, True), ({"FE": 0.99}, False), ({"SCCT": 0.6}, False)])
def test_the_second_claim_is_on_the_first_two_places(monkeypatch, change, holds):
    monkeypatch.setattr(claims, "_study_case", lambda case, n, scale: made_up({**GOOD, **change}, n_graphs=n))
    measured = claims.logcomm_leads("cpu")
    assert measured.holds is holds
    assert [row["mean ARI"] for row in measured.table] == sorted(
        (row["mean ARI"] for row in measured.table), reverse=True
    )


@pytest.mark.parametrize("plain", [0.1, 0.5])
def test_the_third_claim_is_on_every_graph(monkeypatch, plain):
    def study(graphs, labels, families, **_):
        result = made_up(
            {**dict.fromkeys(PAIRS, 0.7), **dict.fromkeys(PAIRS.values(), 0.1)}, len(graphs), tuple(families)
        )
        result.scores[2, families.index("Comm")] = plain
        return result

    monkeypatch.setattr(claims, "study", study)
    assert claims.logarithms_are_needed_on_newsgroups("cpu").holds is (plain == 0.1)


@pytest.mark.parametrize(("forest", "holds"), [(0.5, True), (0.75, False)])
def test_the_fourth_claim_is_on_areas(monkeypatch, forest, holds):
    def reject_curves(graphs, labels, **_):
        areas = np.full((len(graphs), 13, 3), 0.6)
        for family, area in {"logComm": 0.95, "Comm": 0.8, "logFor": 0.78, "For": forest}.items():
            areas[:, STUDY_FAMILIES.index(family), 1] = area
        shares = np.linspace(0, 1, 5)
        return RejectCurves(STUDY_FAMILIES, GRID, areas, shares, np.tile(shares, (13, 1)))

    monkeypatch.setattr(claims, "reject_curves", reject_curves)
    measured = claims.reject_curves_agree("cpu")
    assert measured.holds is holds and measured.figure == pytest.approx(0.15)


@pytest.mark.parametrize(("walk", "holds"), [(0.95, True), (0.82, False)])
def test_the_fifth_claim_needs_both_exceptions(monkeypatch, walk, holds):
    core = {**dict.fromkeys(PAIRS, 0.1), "Comm": 0.95, "pWalk": 0.93}
    cases = {"core and periphery": made_up(core), "sizes 10, 90": made_up({"pWalk": walk, "logComm": 0.8})}
    monkeypatch.setattr(claims, "_study_case", lambda case, n, scale, first_seed: cases[case])
    assert claims.plain_measures_win_in_some_cases("cpu").holds is holds


def test_separated_finds_what_every_path_passes():
    cut = separated(as_graph(np.array([[0, 1], [1, 2], [2, 3], [3, 1]])).adjacency)
    assert cut[0, 1, 2] and cut[3, 1, 0] and not cut[1, 2, 3] and not cut[0, 2, 3]
    assert cut.sum() == 4  # 0 from 2 and from 3, both ways
    assert not separated(as_graph(nx.complete_graph(4)).adjacency).any()


def test_gaps_and_slack_on_distances_made_by_hand():
    path = np.abs(np.subtract.outer(np.arange(3.0), np.arange(3.0)))
    cut = separated(as_graph(nx.path_graph(3)).adjacency)
    assert cutpoint_gaps(path, cut) == (0.0, 2.0)
    assert triangle_slack(path) == 0.0
    assert cutpoint_gaps(path**2, cut)[0] == 2.0 and triangle_slack(path**2) == -0.5


def test_the_sixth_claim_holds_and_fails_for_a_measure_that_does_not_add_up(monkeypatch):
    measured = claims.cutpoint_additivity("cpu")
    assert measured.holds and measured.figure <= 1e-10
    monkeypatch.setattr(claims, "ADDITIVE", ("Walk", "logFor", "Heat"))
    assert not claims.cutpoint_additivity("cpu").holds

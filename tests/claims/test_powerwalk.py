"""The machinery of PowerWalk's claims on cases whose answer is known."""

import numpy as np
import pytest
import scipy.sparse as sp

from semigroup.claims import ScaleUnavailable, claims_of
from semigroup.claims.powerwalk import (
    Bench,
    decay_of_failures,
    estimates_of,
    l1_errors,
    line,
    overlap_and_goodness,
    reads_saved,
    throughput_on_a_large_graph,
    walks_alone,
)
from semigroup.data import social_graphs
from semigroup.graphs.powerwalk import Transitions
from semigroup.jobs.powerwalk import political_blogs
from semigroup.operators.pagerank import exact_pagerank


@pytest.fixture(scope="module")
def blogs() -> Bench:
    graph = political_blogs().adjacency
    sources = np.flatnonzero(np.diff(graph.indptr))[::40]
    return Bench(Transitions.from_adjacency(graph), sources, exact_pagerank(graph, sources))


def test_there_are_six_claims_and_two_or_three_are_quick():
    claims = claims_of("powerwalk")
    assert [claim.number for claim in claims] == [1, 2, 3, 4, 5, 6]
    assert 2 <= sum(claim.quick for claim in claims) <= 3


def test_error_of_the_truth_is_zero_and_of_disjoint_vectors_two():
    truth = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_array_equal(l1_errors(sp.csr_array(3 * truth), truth), [0, 0])
    np.testing.assert_array_equal(l1_errors(sp.csr_array(truth[::-1]), truth), [2, 2])


def test_overlap_and_goodness_on_a_hand_made_ranking():
    truth = np.array([[0.4, 0.3, 0.2, 0.1]])
    precision, goodness = overlap_and_goodness(np.array([[0, 3]]), truth)
    assert precision == [0.5] and goodness == pytest.approx([0.5 / 0.7])
    precision, goodness = overlap_and_goodness(np.array([[1, 0]]), truth)
    assert precision == [1.0] and goodness == pytest.approx([1.0])
    precision, goodness = overlap_and_goodness(np.array([[0, -1]]), np.array([[1.0, 0.0, 0.0, 0.0]]))
    assert precision == [1.0] and goodness == pytest.approx([1.0])
    precision, goodness = overlap_and_goodness(np.array([[0, -1]]), truth)
    assert precision == [0.5] and goodness == pytest.approx([0.4 / 0.7])


def test_decay_of_exponential_failures_is_their_rate():
    sizes = (100, 200, 300)
    failed = np.zeros((3, 10_000), dtype=bool)
    for place, size in enumerate(sizes):
        failed[place, : round(10_000 * np.exp(-0.01 * size))] = True
    slope, fit, frequency = decay_of_failures(sizes, failed)
    assert slope == pytest.approx(-0.01, rel=1e-2) and fit > 0.999
    assert frequency == pytest.approx(np.exp(-0.01 * np.array(sizes)), rel=1e-2)


def test_a_line_through_noise_has_no_fit():
    assert line([0, 1, 2, 3], [1, -1, 1, -1])[1] < 0.3
    assert line([0, 1, 2], [5, 7, 9]) == pytest.approx((2, 1))


def test_reads_saved_are_those_of_the_vertices_that_a_group_shares():
    flows = sp.csr_array(np.array([[0.5, 0.5, 0.0], [0.1, 0.0, 0.9], [0.0, 0.0, 1.0]]))
    entries = np.array([10, 1, 5])
    assert reads_saved(flows, entries, 1) == 1
    assert reads_saved(flows, entries, 2) == pytest.approx((11 + 15 + 5) / (16 + 5))
    assert reads_saved(flows, entries, 3) == pytest.approx((11 + 15 + 5) / 16)


def test_full_paths_err_less_than_end_points_and_more_walks_less_than_few(blogs):
    assert walks_alone(blogs, 200, "full-path", 0) < 0.8 * walks_alone(blogs, 200, "end-point", 0)
    assert walks_alone(blogs, 800, "full-path", 0) < 0.7 * walks_alone(blogs, 200, "full-path", 0)


def test_repeated_estimates_centre_on_the_exact_value(blogs):
    source = int(blogs.sources[0])
    exact = exact_pagerank(blogs.transitions.matrix, np.array([source]), dangling="kill")[0]
    target = int(np.argsort(-exact)[1])
    found = estimates_of(blogs.transitions, source, target, 200, "full-path", 100)
    assert abs(found.mean() - exact[target]) < 5 * found.std(ddof=1) / 10
    assert found.std() > 0


def test_throughput_is_measured_on_a_small_graph_as_on_the_large_one():
    measured = throughput_on_a_large_graph(10, 8000, n_queries=100, device="cpu:0")  # through torch
    assert measured.figure > 0 and measured.holds == (measured.figure >= 1000)
    assert measured.table[0]["vertices"] == 1024 and measured.table[0]["RAG@100"] > 0.8


def test_claims_refuse_scales_they_have_no_size_for():
    for claim in claims_of("powerwalk"):
        with pytest.raises(ScaleUnavailable):
            claim.function("paper")


def test_converted_downloads_are_the_graphs_that_were_measured(shared_data, tmp_path):
    text = "# comment\n3 7\n7 3\n3 9\n3 9\n"
    raw = tmp_path / "raw.txt"
    raw.write_text(text)
    votes = social_graphs.WIKI_VOTE.convert([raw])
    assert votes["original_ids"].tolist() == [3, 7, 9]
    assert votes["indptr"].tolist() == [0, 2, 3, 3] and votes["indices"].tolist() == [1, 2, 0]
    trust = social_graphs.EPINIONS.convert([raw])
    assert trust["indptr"].tolist() == [0, 2, 2, 2] and trust["indices"].tolist() == [1, 2]
    graph = social_graphs.wiki_vote()
    assert graph.shape == (7115, 7115) and graph.nnz == 103689 and (np.diff(graph.indptr) == 0).sum() == 1005
    graph = social_graphs.epinions()
    assert graph.shape == (75877, 75877) and graph.nnz == 811478 and (graph != graph.T).nnz == 0

"""PowerWalk: its walks, its decomposition, its index and its answers."""

import gzip
import json
import os
import signal
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import joblib
import networkx as nx
import numpy as np
import psutil
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from semigroup.data.random_graphs import rmat
from semigroup.graphs.powerwalk import (
    Fingerprints,
    PowerWalk,
    Transitions,
    decompose,
    decompose_by_pull,
    sample_fingerprints,
    sample_fingerprints_on_device,
    top_entries,
)
from semigroup.jobs import Context
from semigroup.jobs.powerwalk import Queries, perform, political_blogs, read
from semigroup.operators import Graph
from semigroup.operators.pagerank import exact_pagerank

WALKS = ("full-path", "end-point", "long-path", "stratified")


def random_digraph(seed: int, n: int = 8, density: float = 0.3, weighted: bool = True) -> sp.csr_array:
    """A small digraph whose last vertex is a sink; others may be, and some are out of reach."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 5, (n, n)) if weighted else np.ones((n, n))
    weights[-1] = 0
    return sp.csr_array(np.where(rng.random((n, n)) < density, weights, 0).astype(float))


def dense(fingerprints: Fingerprints, n: int) -> np.ndarray:
    rows = sp.csr_array(
        (fingerprints.values, fingerprints.indices, fingerprints.indptr), shape=(len(fingerprints.dropped), n)
    )
    return rows.toarray().astype(np.float64)


def as_fingerprints(rows: np.ndarray) -> Fingerprints:
    """Dense rows as an index, largest entries first."""
    order = np.argsort(-rows, axis=1, kind="stable")
    lengths = (rows > 0).sum(axis=1)
    indices = np.concatenate([order[i, : lengths[i]] for i in range(len(rows))])
    values = np.concatenate([rows[i, order[i, : lengths[i]]] for i in range(len(rows))])
    return Fingerprints(
        np.concatenate(([0], np.cumsum(lengths))),
        indices.astype(np.int32),
        values.astype(np.float32),
        np.zeros(len(rows), dtype=np.float32),
    )


def index_arrays(model: PowerWalk) -> tuple[np.ndarray, ...]:
    index = model.index_
    return index.indptr, index.indices, index.values, index.dropped


def assert_same_index(one: PowerWalk, other: PowerWalk) -> None:
    for left, right in zip(index_arrays(one), index_arrays(other)):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)


# --- offline ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("walks", WALKS)
def test_mean_fingerprint_is_the_exact_answer_within_five_standard_errors(walks, weighted):
    adjacency = random_digraph(3, weighted=weighted)
    n = adjacency.shape[0]
    transitions = Transitions.from_adjacency(adjacency, 0.2)
    samples = np.array(
        [
            dense(sample_fingerprints(transitions, np.arange(n), alpha=0.2, n_walks=5000, walks=walks, seed=seed), n)
            for seed in range(40)
        ]
    )
    exact = exact_pagerank(adjacency, np.arange(n), 0.2, dangling="kill")
    error = np.abs(samples.mean(axis=0) - exact)
    # The last walk of a long path is cut, a bias of the order of one visit in 25000.
    allowance = 1e-4 if walks == "long-path" else 1e-7
    assert (error <= 5 * samples.std(axis=0, ddof=1) / np.sqrt(40) + allowance).all()


def test_ratio_estimate_sums_to_the_exact_mass():
    adjacency = random_digraph(3)
    transitions = Transitions.from_adjacency(adjacency, 0.2)
    rows = sample_fingerprints(transitions, np.arange(8), alpha=0.2, n_walks=3, estimate="ratio")
    np.testing.assert_allclose(dense(rows, 8).sum(axis=1), transitions.mass, rtol=1e-6)


def test_full_path_has_a_third_of_the_variance_of_the_end_point():
    transitions = Transitions.from_adjacency(political_blogs().adjacency)
    errors = {}
    exact = exact_pagerank(political_blogs().adjacency, np.arange(100), dangling="kill")
    for walks in ("full-path", "end-point"):
        rows = sample_fingerprints(transitions, np.arange(100), n_walks=300, walks=walks)
        errors[walks] = ((dense(rows, exact.shape[1]) - exact) ** 2).sum()
    assert errors["full-path"] < errors["end-point"] / 3


def test_stratified_walkers_have_less_variance_where_many_walkers_share_an_edge():
    transitions = Transitions.from_adjacency(sp.csr_array(np.ones((4, 4)) - np.eye(4)))
    exact = exact_pagerank(transitions.matrix, np.arange(4))
    errors = {
        walks: sum(
            (
                (dense(sample_fingerprints(transitions, np.arange(4), n_walks=1000, walks=walks, seed=s), 4) - exact)
                ** 2
            ).sum()
            for s in range(10)
        )
        for walks in ("full-path", "stratified")
    }
    assert errors["stratified"] < errors["full-path"] / 2


def test_counters_do_not_overflow_at_a_hundred_thousand_walks():
    loop = Transitions.from_adjacency(sp.csr_array([[1.0]]))
    rows = sample_fingerprints(loop, np.array([0]), n_walks=100_000)
    # 667 thousand visits; the standard error of the mean length is 0.3 %.
    assert abs(rows.values[0] - 1) < 0.015


def test_walks_cut_at_length_one_stay_at_their_source():
    transitions = Transitions.from_adjacency(random_digraph(0))
    rows = sample_fingerprints(transitions, np.arange(8), alpha=0.3, max_length=1)
    np.testing.assert_allclose(dense(rows, 8), 0.3 * np.eye(8), rtol=1e-6)


@pytest.mark.parametrize("walks", ["full-path", "stratified"])
def test_walks_cut_at_length_three_visit_nothing_three_steps_away(walks):
    path = Transitions.from_adjacency(sp.csr_array(np.eye(6, k=1)))
    row = dense(sample_fingerprints(path, np.array([0]), n_walks=2000, max_length=3, walks=walks), 6)[0]
    assert (row[:3] > 0).all() and not row[3:].any()


def test_max_entries_keeps_the_largest_and_the_mass_and_states_what_it_dropped():
    transitions = Transitions.from_adjacency(random_digraph(1, n=30))
    whole = sample_fingerprints(transitions, np.arange(30), n_walks=50)
    cut = sample_fingerprints(transitions, np.arange(30), n_walks=50, max_entries=4)
    full, kept = dense(whole, 30), dense(cut, 30)
    assert np.diff(cut.indptr).max() == 4
    np.testing.assert_allclose(kept.sum(axis=1), full.sum(axis=1), rtol=1e-5)
    fourth = np.sort(full, axis=1)[:, -4]
    assert (full[kept > 0] >= np.repeat(fourth, (kept > 0).sum(axis=1)) - 1e-9).all()
    np.testing.assert_allclose(cut.dropped, full.sum(axis=1) - np.where(kept > 0, full, 0).sum(axis=1), atol=1e-6)


def test_entries_of_a_fingerprint_come_largest_first():
    rows = sample_fingerprints(Transitions.from_adjacency(random_digraph(1, n=30)), np.arange(30), n_walks=50)
    for start, stop in zip(rows.indptr[:-1], rows.indptr[1:]):
        assert (np.diff(rows.values[start:stop]) <= 0).all()


def test_different_vertices_and_seeds_walk_differently():
    ring = Transitions.from_adjacency(sp.csr_array(np.roll(np.eye(500), 1, axis=1)))
    lengths = np.diff(sample_fingerprints(ring, np.arange(500), n_walks=1, seed=0).indptr)
    again = np.diff(sample_fingerprints(ring, np.arange(500), n_walks=1, seed=1).indptr)
    # On a ring a walk of one vertex has as many entries as steps: geometric lengths, independent between streams.
    assert abs(lengths.mean() - 1 / 0.15) < 5 * np.sqrt(0.85) / 0.15 / np.sqrt(500)
    for other in (again, np.roll(lengths, 1)):
        assert abs(np.corrcoef(lengths, other)[0, 1]) < 5 / np.sqrt(500)


# --- online ----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.booleans(), st.integers(0, 5), st.sampled_from([0.1, 0.3, 0.7]))
@settings(max_examples=40, deadline=None)
def test_decomposition_over_exact_vectors_is_exact_for_any_number_of_rounds(seed, weighted, n_steps, density):
    adjacency = random_digraph(seed, weighted=weighted, density=density)
    exact = exact_pagerank(adjacency, np.arange(8), 0.2, dangling="kill")
    transitions = Transitions.from_adjacency(adjacency)
    for compute in (decompose, decompose_by_pull):
        rows = compute(transitions, as_fingerprints(exact), np.arange(8), alpha=0.2, n_steps=n_steps)
        np.testing.assert_allclose(rows.toarray(), exact, atol=2e-7)


@given(st.integers(0, 10**6), st.booleans(), st.integers(0, 4))
@settings(max_examples=30, deadline=None)
def test_push_and_pull_and_the_matrix_formula_agree(seed, weighted, n_steps):
    transitions = Transitions.from_adjacency(random_digraph(seed, weighted=weighted))
    fingerprints = sample_fingerprints(transitions, np.arange(8), n_walks=5, seed=seed)
    walk, sources = transitions.matrix.toarray(), np.array([0, 3, 3, 7])
    flow, answer = np.eye(8)[sources], np.zeros((4, 8))
    for _ in range(n_steps):
        answer, flow = answer + 0.15 * flow, 0.85 * flow @ walk
    expected = answer + flow @ dense(fingerprints, 8)
    for compute in (decompose, decompose_by_pull):
        rows = compute(transitions, fingerprints, sources, n_steps=n_steps)
        np.testing.assert_allclose(rows.toarray(), expected, atol=1e-14)
    no_index = decompose(transitions, None, sources, n_steps=n_steps)
    np.testing.assert_allclose(no_index.toarray(), answer, atol=1e-14)
    np.testing.assert_allclose(
        decompose_by_pull(transitions, None, sources, n_steps=n_steps).toarray(), answer, atol=1e-14
    )


def slow_pruned_query(
    transitions: Transitions, fingerprints: Fingerprints, source: int, alpha: float, n_steps: int, eps: float
) -> np.ndarray:
    """The pruning rules one by one, in plain Python."""
    walk, index = transitions.matrix.toarray(), dense(fingerprints, transitions.n_nodes)
    n = transitions.n_nodes
    flow, answer = {source: 1.0}, np.zeros(n)
    for _ in range(n_steps):
        following: dict[int, float] = {}
        for vertex, amount in flow.items():
            if alpha * amount >= eps:
                answer[vertex] += alpha * amount
            for target in np.flatnonzero(walk[vertex]):
                sent = (1 - alpha) * amount * walk[vertex, target]
                if sent >= eps:
                    following[target] = following.get(target, 0.0) + sent
        flow = following
    for vertex, amount in flow.items():
        if amount >= eps:
            products = amount * index[vertex]
            answer += np.where(products >= eps, products, 0.0)
    return answer


@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([1e-1, 1e-2, 1e-3]))
@settings(max_examples=30, deadline=None)
def test_pruning_follows_its_four_rules(seed, weighted, eps):
    transitions = Transitions.from_adjacency(random_digraph(seed, n=12, weighted=weighted))
    fingerprints = sample_fingerprints(transitions, np.arange(12), n_walks=20, seed=seed)
    rows = decompose(transitions, fingerprints, np.arange(12), n_steps=3, eps=eps).toarray()
    slow = [slow_pruned_query(transitions, fingerprints, s, 0.15, 3, eps) for s in range(12)]
    np.testing.assert_allclose(rows, slow, atol=1e-13)


def test_answers_do_not_depend_on_the_batch():
    model = PowerWalk(n_walks=10, random_state=0).fit(political_blogs())
    names = model.graph_.names[:150]  # more than one block, and a part of one
    batch = model.transform(names)
    for place in range(0, 150, 7):
        alone = model.transform(names[place])
        assert abs(batch[[place]] - alone).max() < 1e-12


@given(st.integers(0, 10**6), st.integers(1, 12))
@settings(max_examples=50, deadline=None)
def test_top_entries_are_those_of_a_full_sort(seed, k):
    rng = np.random.default_rng(seed)
    matrix = rng.integers(0, 4, (5, 12)) / 4  # few distinct values: many ties
    columns, scores = top_entries(sp.csr_array(matrix), k)
    order = np.argsort(-matrix, axis=1, kind="stable")[:, :k]
    expected = np.take_along_axis(matrix, order, axis=1)
    np.testing.assert_array_equal(scores, expected)
    np.testing.assert_array_equal(columns, np.where(expected > 0, order, -1))


# --- the estimator ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["push", "pull"])
@pytest.mark.parametrize("dangling", ["source", "self", "kill", "uniform"])
def test_many_rounds_give_the_exact_answer_under_every_dangling_policy(dangling, direction):
    blogs = political_blogs()
    sources = np.array([0, 5, 700, 1223])
    exact = exact_pagerank(blogs.adjacency, sources, 0.3, dangling=dangling)
    model = PowerWalk(
        alpha=0.3, n_walks=50, n_steps=12, eps=0, dangling=dangling, direction=direction, random_state=0
    ).fit(blogs)
    found = model.transform(blogs.names[sources]).toarray()
    # 0.7^12 = 1.4 % of the mass is answered by fingerprints, averaged over hundreds of vertices.
    assert np.abs(found - exact).sum(axis=1).max() < 2e-3


@pytest.mark.parametrize("walks", WALKS)
def test_composition_is_several_times_closer_than_a_fingerprint(walks):
    blogs = political_blogs()
    sources = np.flatnonzero(np.diff(blogs.adjacency.indptr))[::25]
    exact = exact_pagerank(blogs.adjacency, sources)
    model = PowerWalk(n_walks=20, walks=walks, random_state=0).fit(blogs)
    errors = {}
    for n_steps in (0, 2):
        answer = model.set_params(n_steps=n_steps).transform(blogs.names[sources]).toarray()
        errors[n_steps] = np.abs(answer - exact).sum(axis=1).mean()
    assert errors[2] < 0.35 * errors[0]


def test_ten_walks_a_vertex_beat_a_thousand_walks_a_query():
    blogs = political_blogs()
    sources = np.flatnonzero(np.diff(blogs.adjacency.indptr))[::25]
    exact = exact_pagerank(blogs.adjacency, sources)
    composed = PowerWalk(n_walks=10, n_steps=3, eps=0, random_state=0).fit(blogs).transform(blogs.names[sources])
    alone = dense(sample_fingerprints(Transitions.from_adjacency(blogs.adjacency), sources, n_walks=1000), 1224)
    alone /= alone.sum(axis=1, keepdims=True)
    assert np.abs(composed.toarray() - exact).sum() < 0.6 * np.abs(alone - exact).sum()


def test_vertices_out_of_reach_score_exactly_zero_and_an_isolated_source_keeps_everything():
    adjacency = sp.csr_array((np.ones(3), ([0, 1, 3], [1, 0, 4])), shape=(6, 6))
    for dangling in ("source", "self"):
        rows = PowerWalk(dangling=dangling, random_state=0).fit(adjacency).transform([0, 5]).toarray()
        assert (rows[0, :2] > 0).all() and not rows[0, 2:].any()
        np.testing.assert_array_equal(rows[1], np.eye(6)[5])


def test_user_names_go_in_and_come_out():
    graph = nx.Graph([("ann", "bob"), ("bob", "cat"), ("cat", "ann"), ("dan", "ann")])
    graph.add_edge("eve", "fay")
    model = PowerWalk(random_state=0).fit(graph)
    found = model.top_k(["eve", "dan", "eve"], k=4)
    assert found.nodes[0].tolist() == ["eve", "fay", None, None]
    assert found.nodes[1, 0] in ("dan", "ann") and found.scores[0, 2:].tolist() == [0, 0]
    np.testing.assert_array_equal(found.nodes[0], found.nodes[2])
    np.testing.assert_array_equal(found.scores[0], found.scores[2])
    without = model.top_k("eve", k=1, exclude_source=True)
    assert without.nodes.tolist() == [["fay"]]


def test_undirected_walks_go_both_ways():
    edges = np.array([[0, 1], [1, 2], [2, 3]])
    assert PowerWalk().fit(edges).transform(3).nnz == 1
    assert PowerWalk(directed=False, n_walks=200).fit(edges).transform(3).nnz == 4


def test_vertices_that_nobody_points_to_need_no_fingerprint():
    graph = sp.csr_array(np.triu(np.ones((12, 12)), 1))
    graph = sp.csr_array(sp.block_diag([graph, graph]))
    whole = PowerWalk(random_state=0, n_steps=1).fit(graph)
    spared = PowerWalk(random_state=0, n_steps=1, min_in_degree=1).fit(graph)
    assert len(spared.index_.indices) < len(whole.index_.indices)
    np.testing.assert_array_equal(whole.transform(range(24)).toarray(), spared.transform(range(24)).toarray())


def test_doubling_all_weights_changes_nothing():
    adjacency = random_digraph(2, n=20)
    assert_same_index(PowerWalk(random_state=0).fit(adjacency), PowerWalk(random_state=0).fit(2 * adjacency))


@pytest.mark.parametrize("walks", WALKS)
def test_index_is_the_same_bit_by_bit_for_any_shards_and_workers(walks, tmp_path):
    graph = rmat(9, 4000, random_state=0)
    plain = PowerWalk(n_walks=20, walks=walks, random_state=1).fit(graph)
    for number, options in enumerate([{"shard_size": 100}, {"shard_size": 37, "n_jobs": 2}]):
        for index_dir in (None, str(tmp_path / f"{walks}{number}")):
            other = PowerWalk(n_walks=20, walks=walks, random_state=1, index_dir=index_dir, **options).fit(graph)
            assert_same_index(plain, other)


@pytest.mark.parametrize("walks", ["full-path", "end-point"])
@given(
    seed=st.integers(0, 2**62),
    weighted=st.booleans(),
    options=st.fixed_dictionaries(
        {},
        optional={
            "max_length": st.integers(1, 9),
            "max_entries": st.integers(1, 5),
            "estimate": st.just("ratio"),
            "min_in_degree": st.integers(1, 4),
        },
    ),
)
@settings(max_examples=20, deadline=None)
def test_walks_on_a_torch_device_leave_the_same_fingerprints_bit_by_bit(walks, seed, weighted, options):
    transitions = Transitions.from_adjacency(random_digraph(seed % 1000, n=12, weighted=weighted), 0.2)
    if "min_in_degree" in options:
        options = options | {"in_degree": np.bincount(transitions.indices, minlength=12)}
    settings = {"alpha": 0.2, "n_walks": 7, "walks": walks, "seed": seed} | options
    one = sample_fingerprints(transitions, np.arange(12), **settings)
    other = sample_fingerprints_on_device(transitions, np.arange(12), device="cpu", **settings)
    for name in ("indptr", "indices", "values", "dropped"):
        left, right = getattr(one, name), getattr(other, name)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right, err_msg=name)


def test_index_built_on_a_torch_device_is_the_index():
    graph = rmat(9, 4000, random_state=0)
    one = PowerWalk(n_walks=20, shard_size=100, random_state=1).fit(graph)
    # To torch "cpu:0" is the processor, and to the estimator a device like any other.
    assert_same_index(one, PowerWalk(n_walks=20, device="cpu:0", random_state=1).fit(graph))
    with pytest.raises(ValueError, match="device"):
        PowerWalk(walks="stratified", device="cpu:0").fit(graph)


def test_index_folder_is_memory_mapped_and_used_again(tmp_path):
    graph = rmat(9, 4000, random_state=0)
    first = PowerWalk(index_dir=str(tmp_path / "index")).fit(graph)
    stamp = (tmp_path / "index" / "fingerprints" / "values.npy").stat().st_mtime_ns
    again = PowerWalk(index_dir=str(tmp_path / "index"), n_steps=3).fit(graph)
    assert (tmp_path / "index" / "fingerprints" / "values.npy").stat().st_mtime_ns == stamp
    assert_same_index(first, again)
    assert isinstance(again.index_.values.base, np.memmap)
    assert not (tmp_path / "index" / "shards").exists()
    with pytest.raises(ValueError, match=r"index_dir.*random_state"):
        PowerWalk(index_dir=str(tmp_path / "index"), random_state=5).fit(graph)


def test_index_of_another_graph_or_alpha_is_refused(tmp_path):
    graph = rmat(9, 4000, random_state=0)
    folder = str(tmp_path / "index")
    model = PowerWalk(index_dir=folder).fit(graph)
    with pytest.raises(ValueError, match=r"index_dir.*another graph"):
        PowerWalk(index_dir=folder).fit(rmat(9, 4000, random_state=1))
    with pytest.raises(ValueError, match=r"index_dir.*alpha = 0.15"):
        PowerWalk(index_dir=folder, alpha=0.2).fit(graph)
    with pytest.raises(ValueError, match=r"index_dir.*n_walks = 100"):
        PowerWalk(index_dir=folder, n_walks=7).fit(graph)
    with pytest.raises(ValueError, match="alpha"):
        model.set_params(alpha=0.2).transform(0)
    model.set_params(alpha=0.15)
    with pytest.raises(ValueError, match="dangling"):
        model.set_params(dangling="uniform").transform(0)


def test_stopped_build_goes_on_from_the_shards_that_are_finished(tmp_path, monkeypatch):
    import semigroup.graphs.powerwalk.index as module

    graph = rmat(9, 4000, random_state=0)
    settings = {"shard_size": 64, "random_state": 0, "index_dir": str(tmp_path / "index")}
    sample, built = module.sample_fingerprints, []

    def stop_at_the_fourth(transitions, vertices, **options):
        if len(built) == 3:
            raise KeyboardInterrupt
        built.append(int(vertices[0]))
        return sample(transitions, vertices, **options)

    monkeypatch.setattr(module, "sample_fingerprints", stop_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        PowerWalk(**settings).fit(graph)
    assert len(list((tmp_path / "index" / "shards").iterdir())) == 3
    monkeypatch.setattr(module, "sample_fingerprints", sample)
    before = {path.name: path.stat().st_ino for path in (tmp_path / "index" / "shards").iterdir()}
    calls = []
    monkeypatch.setattr(module, "sample_fingerprints", lambda *a, **o: calls.append(int(a[1][0])) or sample(*a, **o))
    resumed = PowerWalk(**settings).fit(graph)
    assert len(before) + len(calls) == 8 and not set(calls) & set(built)
    assert_same_index(resumed, PowerWalk(random_state=0).fit(graph))


@pytest.mark.parametrize("on_disk", [False, True])
def test_shard_of_a_lost_worker_is_built_again_and_no_other(on_disk, tmp_path, monkeypatch):
    import semigroup.graphs.powerwalk.index as module

    graph = rmat(9, 4000, random_state=0)
    sample, started = module.sample_fingerprints, []

    def lose_the_sixth(transitions, vertices, **options):
        started.append(int(vertices[0]) // 64)
        if len(started) == 6:
            raise BrokenProcessPool("a worker was killed")
        return sample(transitions, vertices, **options)

    monkeypatch.setattr(module, "sample_fingerprints", lose_the_sixth)
    folder = str(tmp_path / "index") if on_disk else None
    model = PowerWalk(shard_size=64, random_state=0, index_dir=folder).fit(graph)
    assert started == ([0, 1, 2, 3, 4, 5, 5, 6, 7] if on_disk else [*range(6), *range(8)])
    monkeypatch.setattr(module, "sample_fingerprints", sample)
    assert_same_index(model, PowerWalk(random_state=0).fit(graph))


def test_build_gives_up_when_every_worker_dies_and_at_once_on_an_error_in_the_work(monkeypatch):
    import semigroup.graphs.powerwalk.index as module

    for error, n_tries in ((BrokenProcessPool("killed"), 3), (MemoryError("too large"), 1)):
        tries = []

        def fail(*arguments, error=error, tries=tries, **options):
            tries.append(1)
            raise error

        monkeypatch.setattr(module, "sample_fingerprints", fail)
        with pytest.raises(type(error)):
            PowerWalk().fit(nx.path_graph(4))
        assert len(tries) == n_tries


def test_progress_bar_counts_the_shards(capsys):
    PowerWalk(shard_size=1).fit(nx.path_graph(4), progress=True)
    assert "100%" in capsys.readouterr().out


def test_saved_model_opens_memory_mapped_with_the_same_answers(tmp_path):
    for number, graph in enumerate([political_blogs(), random_digraph(4, n=40)]):
        model = PowerWalk(n_walks=20, dangling="uniform", random_state=0).fit(graph)
        folder = model.save_pretrained(tmp_path / str(number))
        assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pickle", ".joblib")]
        loaded = PowerWalk.from_pretrained(folder)
        names = model.graph_.names[:5]
        np.testing.assert_array_equal(loaded.transform(names).toarray(), model.transform(names).toarray())
        np.testing.assert_array_equal(loaded.top_k(names, 3).nodes, model.top_k(names, 3).nodes)
        assert isinstance(loaded.index_.values.base, np.memmap)
        assert loaded.get_params() == model.get_params()
        assert_same_index(loaded, PowerWalk.from_pretrained(loaded.save_pretrained(tmp_path / f"{number}-again")))


def test_model_folder_with_another_graph_is_refused(tmp_path):
    one = PowerWalk().fit(random_digraph(4)).save_pretrained(tmp_path / "one")
    other = PowerWalk().fit(random_digraph(5)).save_pretrained(tmp_path / "other")
    for path in (other / "graph").iterdir():
        (one / "graph" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="another graph"):
        PowerWalk.from_pretrained(one)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("alpha", 0.0),
        ("alpha", 1.0),
        ("alpha", np.nan),
        ("n_walks", 0),
        ("n_steps", -1),
        ("eps", -1e-3),
        ("eps", 0.5),
        ("max_length", 0),
        ("max_entries", 0),
        ("min_in_degree", -1),
        ("shard_size", 0),
        ("walks", "short"),
        ("direction", "sideways"),
        ("dangling", "lost"),
        ("estimate", "biased"),
        ("device", "abacus"),
    ],
)
def test_bad_option_is_refused_by_name(option, value, tmp_path):
    with pytest.raises(ValueError, match=option):
        PowerWalk(index_dir=str(tmp_path / "index")).set_params(**{option: value}).fit(nx.path_graph(4))
    assert not (tmp_path / "index").exists(), "refused before any work"


@pytest.mark.parametrize(
    "graph",
    [
        np.zeros((2, 5)),
        sp.csr_array(np.array([[0.0, -1.0], [1.0, 0.0]])),
        sp.csr_array(np.array([[0.0, np.nan], [1.0, 0.0]])),
        sp.csr_array((0, 0)),
        nx.Graph(),
    ],
    ids=["not square", "negative", "nan", "empty matrix", "empty graph"],
)
def test_bad_graph_is_refused_by_name(graph):
    with pytest.raises(ValueError, match="graph"):
        PowerWalk().fit(graph)


@pytest.mark.parametrize("sources", [[0, 4], [-1], [], [[0, 1]], ["a"], [0.5]])
def test_bad_sources_are_refused_by_name(sources):
    model = PowerWalk().fit(nx.path_graph(4))
    with pytest.raises(ValueError, match="sources"):
        model.transform(sources)


def test_other_misuse_is_refused_by_name():
    model = PowerWalk().fit(nx.path_graph(4))
    with pytest.raises(ValueError, match="k must"):
        model.top_k(0, k=5)
    with pytest.raises(NotFittedError):
        PowerWalk().transform(0)
    with pytest.raises(ValueError, match="n_steps"):
        PowerWalk(use_index=False, n_steps=0).fit(nx.path_graph(4))
    with pytest.raises(ValueError, match="max_length"):
        PowerWalk(walks="long-path", max_length=5).fit(nx.path_graph(4))
    with pytest.raises(ValueError, match="use_index"):
        PowerWalk(use_index=False).fit(nx.path_graph(4)).set_params(use_index=True).transform(0)


def test_query_file_is_read_and_unknown_nodes_are_named(tmp_path):
    (tmp_path / "graph.txt").write_text("a b\nb c\nc a\n")
    (tmp_path / "who.txt").write_text("c\na\n")
    assert read([tmp_path / "graph.txt", tmp_path / "who.txt"]).sources == ["c", "a"]
    (tmp_path / "who.txt").write_text("z\n")
    with pytest.raises(ValueError, match=r"who.txt.*'z'"):
        read([tmp_path / "graph.txt", tmp_path / "who.txt"])


@pytest.mark.parametrize("options", [{"use_index": False}, {"n_steps": 8, "directed": False}, {"dangling": "kill"}])
def test_run_reports_the_error_of_the_settings_it_was_given(options):
    queries = Queries(Graph(political_blogs().adjacency), [3, 4])
    outcome = perform(PowerWalk(n_walks=20, random_state=0, **options), queries, Context())
    assert np.isfinite(list(outcome.metrics.values())).all()
    assert ("L1_error_of_the_fingerprint_alone" in outcome.metrics) == options.get("use_index", True)
    assert outcome.model.get_params()["use_index"] == options.get("use_index", True)
    assert set(outcome.pictures) == {"accuracy", "ranking"}
    assert outcome.tables["ranking"]["source"].unique().tolist() == [3, 4]


# --- workers of other processes --------------------------------------------------------------------------------------


class Saboteur(threading.Thread):
    """Kills one worker process once some shards are finished, and remembers which files they were."""

    def __init__(self, shards: Path, find_workers, n_finished: int) -> None:
        super().__init__(daemon=True)
        self.shards, self.find_workers, self.n_finished = shards, find_workers, n_finished
        self.killed: int | None = None
        self.finished: dict[str, int] = {}
        self.rebuilt: set[str] = set()
        self.done = threading.Event()

    def look(self) -> dict[str, int]:
        try:
            return {p.name: p.stat().st_ino for p in self.shards.iterdir() if p.name.isdigit()}
        except FileNotFoundError:  # not there yet, or merged already
            return {}

    def run(self) -> None:
        while not self.done.is_set():
            now = self.look()
            self.rebuilt |= {name for name in now.keys() & self.finished.keys() if now[name] != self.finished[name]}
            if self.killed is None and len(now) >= self.n_finished:
                workers = self.find_workers()
                if len(workers) >= 2:
                    self.finished = now
                    self.killed = workers[0]
                    os.kill(self.killed, signal.SIGKILL)
            time.sleep(0.01)


def build_under_sabotage(tmp_path: Path, find_workers, **parallel_options) -> tuple[PowerWalk, Saboteur]:
    graph = rmat(11, 20000, random_state=0)
    saboteur = Saboteur(tmp_path / "index" / "shards", find_workers, n_finished=3)
    saboteur.start()
    try:
        with joblib.parallel_config(n_jobs=2, **parallel_options):
            model = PowerWalk(n_walks=2000, shard_size=64, random_state=0, index_dir=str(tmp_path / "index")).fit(graph)
    finally:
        saboteur.done.set()
        saboteur.join()
    return model, saboteur


def check_sabotaged(model: PowerWalk, saboteur: Saboteur) -> None:
    assert saboteur.killed is not None and 3 <= len(saboteur.finished) < 32, "the kill was in the middle"
    assert not saboteur.rebuilt, "a finished shard was built again"
    graph = rmat(11, 20000, random_state=0)
    assert_same_index(model, PowerWalk(n_walks=2000, random_state=0).fit(graph))
    assert json.loads(Path(model.index_dir, "settings.json").read_text())["shard_size"] == 64


def test_killed_ray_worker_costs_its_shard_and_nothing_else(tmp_path):
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    def workers() -> list[int]:
        return [p.pid for p in psutil.Process().children(recursive=True) if p.name().startswith("ray::PoolActor")]

    register_ray()
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=2**27, logging_level="ERROR", log_to_driver=False)
    try:
        restart = {"max_restarts": -1, "max_task_retries": -1}
        model, saboteur = build_under_sabotage(tmp_path, workers, backend="ray", ray_remote_args=restart)
        check_sabotaged(model, saboteur)
    finally:
        ray.shutdown()


def test_numbers_of_numpy_come_back_as_numbers(tmp_path):
    options = {
        "n_walks": np.int64(5),
        "max_length": np.int32(4),
        "shard_size": np.int64(2),
        "min_in_degree": np.int64(1),
    }
    empty = PowerWalk(index_dir=str(tmp_path / "index"), random_state=0)
    model = clone(empty).set_params(**options).fit(random_digraph(0))
    loaded = PowerWalk.from_pretrained(model.save_pretrained(tmp_path / "model"))
    assert loaded.get_params() == model.get_params() and loaded.settings_ == model.settings_
    assert_same_index(clone(empty).set_params(**options).fit(random_digraph(0)), model)


def test_device_that_is_not_here_is_refused_by_name(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="device must be one that torch sees"):
        PowerWalk(device="cuda").fit(nx.path_graph(4))


def test_picture_leaves_out_the_source_and_not_the_best_vertex(tmp_path):
    # All of the leaves' walks come back to the hub, which scores above the leaf that asks.
    graph = Graph(sp.csr_array(nx.to_scipy_sparse_array(nx.star_graph(9), dtype=float)))
    outcome = perform(PowerWalk(alpha=0.05, n_walks=50, random_state=0), Queries(graph, [3]), Context())
    assert outcome.tables["ranking"]["node"].iloc[0] == 0
    labels = [label.get_text() for label in outcome.pictures["ranking"].figure.axes[0].get_yticklabels()]
    assert labels[0] == "0" and "3" not in labels


def test_query_file_may_be_compressed(tmp_path):
    (tmp_path / "graph.txt").write_text("a b\nb c\nc a\n")
    with gzip.open(tmp_path / "who.txt.gz", "wt") as file:
        file.write("c\na\n")
    assert read([tmp_path / "graph.txt", tmp_path / "who.txt.gz"]).sources == ["c", "a"]

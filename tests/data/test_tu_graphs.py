"""The text format of the TU collection, the toxicity assays, and graphs that only the Rayleigh quotient tells apart."""

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import connected_components

from semigroup.data import tu_graphs
from semigroup.data.anomalous_graphs import rayleigh_only
from semigroup.data.tu_graphs import read_tu, tox21
from semigroup.graphs import rayleigh_quotients

TWO_GRAPHS = {
    "A": "1, 2\n2, 1\n2, 3\n3, 2\n4, 5\n5, 4\n",
    "graph_indicator": "1\n1\n1\n2\n2\n",
    "graph_labels": "-1\n1\n",
    "node_labels": "3\n0\n3\n7\n0\n",
    "edge_labels": "1\n1\n2\n2\n0\n0\n",
}


def write(folder, **changes):
    folder.mkdir(exist_ok=True)
    for part, text in (TWO_GRAPHS | changes).items():
        if text is not None:
            (folder / f"DS_{part}.txt").write_text(text)
    return folder


def test_a_folder_is_read_with_edges_in_both_directions_once(tmp_path):
    found = read_tu(write(tmp_path / "DS"))
    assert found.y.tolist() == [-1, 1] and found.graphs.n_nodes.tolist() == [3, 2]
    assert found.graphs.node_features[:, 0].tolist() == [3, 0, 3, 7, 0]
    assert found.graphs.edge_weight is None
    adjacency = np.zeros((5, 5))
    for u, v in ((0, 1), (1, 2), (3, 4)):
        adjacency[u, v] = adjacency[v, u] = 1
    np.testing.assert_array_equal(found.graphs.adjacency().toarray(), adjacency)
    labels = {
        tuple(ends): label
        for ends, label in zip(found.graphs.edge_index.T.tolist(), found.graphs.edge_features[:, 0].tolist())
    }
    assert labels == {(0, 1): 1, (1, 0): 1, (1, 2): 2, (2, 1): 2, (3, 4): 0, (4, 3): 0}
    same = read_tu(tmp_path / "DS" / "DS_A.txt")
    assert torch.equal(same.graphs.edge_index, found.graphs.edge_index)


def test_an_edge_of_one_direction_counts_in_both_and_repeated_ones_add_up(tmp_path):
    once = read_tu(write(tmp_path / "once", A="1, 2\n2, 3\n4, 5\n", edge_labels=None))
    both = read_tu(write(tmp_path / "both", edge_labels=None))
    np.testing.assert_array_equal(once.graphs.adjacency().toarray(), both.graphs.adjacency().toarray())
    twice = read_tu(write(tmp_path / "twice", A=TWO_GRAPHS["A"] + "2, 1\n1, 2\n2, 2\n", edge_labels=None))
    difference = twice.graphs.adjacency().toarray() - both.graphs.adjacency().toarray()
    assert difference[0, 1] == difference[1, 0] == 1 and difference.sum() == 2


def test_nodes_may_be_listed_in_any_order(tmp_path):
    mixed = read_tu(
        write(
            tmp_path / "DS",
            A="1, 3\n3, 1\n3, 4\n4, 3\n2, 5\n5, 2\n",
            graph_indicator="1\n2\n1\n1\n2\n",
            node_labels="3\n7\n0\n3\n0\n",
        )
    )
    plain = read_tu(write(tmp_path / "plain"))
    assert torch.equal(mixed.graphs.node_features, plain.graphs.node_features)
    np.testing.assert_array_equal(mixed.graphs.adjacency().toarray(), plain.graphs.adjacency().toarray())


def test_attributes_stand_in_for_labels_and_graphs_may_have_no_edges(tmp_path):
    attributes = "".join(f"{i}.5, {-i}\n" for i in range(5))
    folder = write(tmp_path / "DS", A="", edge_labels=None, node_labels=None, node_attributes=attributes)
    found = read_tu(folder)
    assert found.graphs.edge_index.shape == (2, 0)
    torch.testing.assert_close(found.graphs.node_features[2], torch.tensor([2.5, -2.0]))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"graph_labels": None}, "DS_graph_labels.txt: no such file"),
        ({"A": "1, 2\n2, 6\n", "edge_labels": None}, "DS_A.txt: must hold node numbers 1..5, got 1 to 6"),
        ({"A": "0, 2\n", "edge_labels": None}, "DS_A.txt: must hold node numbers 1..5, got 0 to 2"),
        ({"A": "1, 4\n", "edge_labels": None}, "joins nodes of different graphs"),
        ({"A": "1\n2\n", "edge_labels": None}, "DS_A.txt: must have 2 columns, got 1"),
        ({"graph_indicator": "1\n1\n1\n3\n3\n"}, "must hold numbers 1..2"),
        ({"graph_indicator": "1\n1\n1\n1\n1\n"}, "graph 2 is empty"),
        ({"node_labels": "1\n2\n"}, "DS_node_labels.txt: must have 5 rows, got 2"),
        ({"node_labels": "C\nO\nC\nN\nN\n"}, "DS_node_labels.txt: must hold integers"),
        ({"edge_labels": "1\n"}, "DS_edge_labels.txt: must have 6 rows, got 1"),
        ({"graph_labels": "1.5\n1\n"}, "DS_graph_labels.txt: must hold integers"),
        ({"node_labels": "-1\n0\n0\n0\n0\n"}, "negative type -1"),
    ],
)
def test_a_bad_folder_is_refused_by_the_file_that_is_wrong(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        read_tu(write(tmp_path / "DS", **changes))


def test_a_folder_without_or_with_two_sets_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no such file or folder"):
        read_tu(tmp_path / "absent")
    folder = tmp_path / "DS"
    folder.mkdir()
    with pytest.raises(ValueError, match="found none"):
        read_tu(folder)
    (folder / "a_A.txt").touch()
    (folder / "b_A.txt").touch()
    with pytest.raises(ValueError, match=r"a_A\.txt, b_A\.txt"):
        read_tu(folder)


def test_assays_have_the_published_sizes(shared_data):
    for assay, training, active, test, active_test, mean_nodes in (
        ("HSE", 8150, 428, 267, 10, 16.72),
        ("MMP", 7320, 1142, 238, 38, 17.49),
        ("PPAR-gamma", 8184, 222, 267, 15, 17.23),
    ):
        found = tox21(assay)
        learnt = found.split == 0
        assert (learnt.sum(), found.y[learnt].sum()) == (training, active)
        assert ((~learnt).sum(), found.y[~learnt].sum()) == (test, active_test)
        assert found.graphs.n_nodes.numpy()[learnt].mean() == pytest.approx(mean_nodes, abs=0.005)


def test_downloaded_text_becomes_the_graphs_that_it_describes(tmp_path, monkeypatch):
    folder = write(tmp_path / "DS")
    paths = [folder / f"DS_{part}.txt" for part in tu_graphs._PARTS]
    (tmp_path / "rqgnn").mkdir()
    np.savez(tmp_path / "rqgnn" / "Tox21_MMP.npz", allow_pickle=False, **tu_graphs._join_parts(paths + paths))
    monkeypatch.setenv("SEMIGROUP_DATA", str(tmp_path))
    found, read = tox21("MMP"), read_tu(folder)
    assert found.split.tolist() == [0, 0, 2, 2] and found.y.tolist() == [-1, 1, -1, 1]
    dense, part = found.graphs.adjacency().toarray(), read.graphs.adjacency().toarray()
    np.testing.assert_array_equal(dense, np.block([[part, 0 * part], [0 * part, part]]))
    assert torch.equal(found.graphs.node_features, read.graphs.node_features.repeat(2, 1))


def test_only_the_rayleigh_quotient_tells_the_made_anomalies():
    data = rayleigh_only(1000, permuted=0.8, random_state=1)
    types = data.graphs.node_features[:, 0].reshape(1000, 20)
    assert (types.sum(1) == 10).all() and data.y.sum() == 80
    count, _ = connected_components(data.graphs.adjacency(), directed=False)
    assert count == 1000
    assert (data.graphs.n_edges == 80).all()
    quotient = rayleigh_quotients(data.graphs, per_channel=False)
    # Permuted labels: the quotient is near that of random labels, 1 − 1/19 less correlation; smooth ones lie far below.
    assert quotient[data.y == 1].mean() - quotient[data.y == 0].mean() > 0.25
    again = rayleigh_only(1000, permuted=0.8, random_state=1)
    assert torch.equal(again.graphs.edge_index, data.graphs.edge_index) and (again.y == data.y).all()


def test_small_worlds_have_the_degrees_of_those_of_networkx():
    import networkx as nx

    ours = np.bincount(np.diff(rayleigh_only(2000, random_state=0).graphs.adjacency().indptr), minlength=9)[:9]
    theirs = np.zeros(9)
    for seed in range(300):
        degree = [d for _, d in nx.connected_watts_strogatz_graph(20, 4, 0.2, seed=seed).degree()]
        theirs += np.bincount(degree, minlength=9)[:9]
    np.testing.assert_allclose(ours / ours.sum(), theirs / theirs.sum(), atol=0.02)


@pytest.mark.parametrize(
    ("options", "name"),
    [({"permuted": 1.5}, "permuted"), ({"anomalous": 0.0}, "anomalous"), ({"n_graphs": 0}, "n_graphs")],
)
def test_impossible_graphs_are_refused_by_name(options, name):
    with pytest.raises(ValueError, match=name):
        rayleigh_only(**({"n_graphs": 10} | options))

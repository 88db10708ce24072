"""Molecular graphs: the shipped set, SMILES, and cutting of mini-batches."""

import numpy as np
import pytest
import torch

from semigroup.data.datasets import shipped
from semigroup.data.graph_sets import GraphSet, as_graph_set, pad_rows, ranges
from semigroup.data.molecules import ATOM_NAMES, graphs_from_arrays, graphs_from_smiles, zinc_7k

# The first three molecules of the shipped set, as SMILES.
FIRST = ["CCOc1cccc(-c2cc(N)ccc2C)c1", "CCN(CCN1CCCc2ccccc21)[C@@H]1CCS(=O)(=O)C1"]
FIRST.append("CCC[NH2+][C@H](C)c1nnc(C[C@@H]2CCCCO2)o1")


def same(first: GraphSet, second: GraphSet) -> None:
    for name in ("n_nodes", "edge_index", "node_features", "edge_features"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name


def test_smiles_give_the_graphs_of_the_shipped_set():
    pytest.importorskip("rdkit")
    same(graphs_from_smiles(FIRST), zinc_7k().graphs.select([0, 1, 2]))


def test_shipped_vocabulary_is_the_one_of_the_code_and_the_target_is_z_scored_on_the_training_part():
    assert tuple(shipped("zinc_7k.npz")["atom_vocab"]) == ATOM_NAMES
    molecules = zinc_7k()
    assert np.bincount(molecules.split).tolist() == [5000, 1000, 1000]
    assert abs(molecules.y[molecules.split == 0].mean()) < 1e-6


def test_atom_that_is_not_in_the_vocabulary_gets_the_type_after_it():
    pytest.importorskip("rdkit")
    assert graphs_from_smiles(["C[Si](C)C"]).node_features[:, 0].tolist().count(len(ATOM_NAMES)) == 1


def test_string_that_is_no_molecule_is_refused_with_its_position():
    pytest.importorskip("rdkit")
    from rdkit import rdBase

    with rdBase.BlockLogs(), pytest.raises(ValueError, match=r"smiles\[1\]"):
        graphs_from_smiles(["CC", "?"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bond_dst": np.array([7])}, "same molecule"),
        ({"atom_type": np.array([0])}, "do not agree"),
        ({"bond_type": np.array([1, 1])}, "must have sum"),
        ({"bond_src": None}, "missing"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(change, message):
    arrays = {
        "n_atoms": np.array([2]),
        "n_bonds": np.array([1]),
        "atom_type": np.array([0, 0]),
        "bond_src": np.array([0]),
        "bond_dst": np.array([1]),
        "bond_type": np.array([1]),
    }
    assert len(graphs_from_arrays(arrays, "arrays")) == 1
    arrays = {name: value for name, value in (arrays | change).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        graphs_from_arrays(arrays, "arrays")


def test_selected_graphs_are_the_same_graphs_in_the_given_order():
    graphs = zinc_7k().graphs
    together = graphs.select([17, 3, 17])
    for number, original in enumerate([17, 3, 17]):
        same(together.select([number]), graphs.select([original]))
    same(as_graph_set(together), together)


def test_ranges_and_padded_rows_lay_out_pieces_of_unequal_length():
    assert ranges(torch.tensor([5, 0, 2]), torch.tensor([2, 0, 1])).tolist() == [5, 6, 2]
    padded = pad_rows(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([2, 1]))
    assert padded.tolist() == [[[1.0], [2.0]], [[3.0], [0.0]]]

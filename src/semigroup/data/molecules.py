"""Molecules as graphs: the shipped drug-like set, and SMILES through rdkit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from semigroup.base import require
from semigroup.data.datasets import shipped
from semigroup.data.graph_sets import GraphSet

__all__ = ["ATOM_NAMES", "Molecules", "graphs_from_arrays", "graphs_from_smiles", "zinc_7k"]

# Element, explicit hydrogens, sign of the charge: the atom types of the ZINC regression benchmark.
ATOM_NAMES = (
    "C", "O", "N", "F", "C H1", "S", "Cl", "O -", "N H1 +", "Br", "N H3 +", "N H2 +", "N +", "N -",
    "S -", "I", "P", "O H1 +", "N H1 -", "O +", "S +", "P H1", "P H2", "C H2 -", "P +", "S H1 +", "C H1 -", "P H1 +",
)  # fmt: skip
_ATOM_NUMBER = {name: number for number, name in enumerate(ATOM_NAMES)}
OTHER_ATOM = len(ATOM_NAMES)
N_BOND_TYPES = 4  # 1, 2 and 3; 0 is free


@dataclass(frozen=True)
class Molecules:
    """Molecular graphs with a target.

    Attributes
    ----------
    graphs : GraphSet
        Node features: atom types, numbers in `ATOM_NAMES`; edge features: bond types 1, 2, 3.
    y : ndarray of shape (molecules,) or (molecules, targets)
    split : ndarray of shape (molecules,)
        0 training, 1 validation, 2 test.
    """

    graphs: GraphSet
    y: np.ndarray
    split: np.ndarray


def zinc_7k() -> Molecules:
    """Seven thousand drug-like molecules of ZINC-250k; the target is penalised logP, z-scored (5000/1000/1000).

    Not the index list of the benchmark called ZINC-12k, but the same population, vocabulary and target.

    Examples
    --------
    >>> zinc_7k().graphs
    GraphSet(7000 graphs, 162094 nodes, 174321 edges)
    """
    arrays = shipped("zinc_7k.npz")
    return Molecules(graphs_from_arrays(arrays, "zinc_7k"), arrays["y"].astype(np.float64), arrays["split"])


def graphs_from_arrays(arrays: dict[str, np.ndarray], name: str) -> GraphSet:
    """Graphs from flat arrays.

    Parameters
    ----------
    arrays : dict of str to ndarray
        ``n_atoms`` and ``n_bonds`` of each graph, and end to end ``atom_type``, ``bond_src``, ``bond_dst`` (numbers
        inside the graph, each bond once) and ``bond_type``.
    name : str
        What the arrays come from, for the error.

    Raises
    ------
    ValueError
        If an array is missing or the lengths do not agree.
    """
    wanted = ("n_atoms", "n_bonds", "atom_type", "bond_src", "bond_dst", "bond_type")
    missing = [key for key in wanted if key not in arrays]
    if missing:
        raise ValueError(f"{name}: needs the arrays {', '.join(wanted)}; {', '.join(missing)} missing")
    n_atoms, n_bonds, atom, source, target, bond = (
        torch.from_numpy(np.asarray(arrays[key]).astype(np.int64)) for key in wanted
    )
    if len(n_bonds) != len(n_atoms) or len(atom) != int(n_atoms.sum()):
        raise ValueError(f"{name}: n_atoms, n_bonds and atom_type do not agree in length")
    if not len(source) == len(target) == len(bond) == int(n_bonds.sum()):
        raise ValueError(f"{name}: bond_src, bond_dst and bond_type must have sum(n_bonds) = {int(n_bonds.sum())} rows")
    limit = n_atoms.repeat_interleave(n_bonds)
    if len(source) and bool(((source >= limit) | (target >= limit) | (source < 0) | (target < 0)).any()):
        raise ValueError(f"{name}: bond_src and bond_dst must be numbers of atoms of the same molecule")
    start = (n_atoms.cumsum(0) - n_atoms).repeat_interleave(n_bonds)
    ends = torch.stack([source + start, target + start])
    both = torch.cat([ends, ends.flip(0)], dim=1)
    molecule = torch.arange(len(n_bonds)).repeat_interleave(n_bonds).repeat(2)
    order = torch.argsort(molecule, stable=True)
    return GraphSet(
        n_atoms,
        both[:, order],
        atom[:, None],
        bond.repeat(2)[order][:, None],
        node_types=(max(OTHER_ATOM, int(atom.max())) + 1,),
        edge_types=(max(N_BOND_TYPES, (int(bond.max()) if len(bond) else 0) + 1),),
    )


def graphs_from_smiles(smiles: Sequence[str], name: str = "smiles") -> GraphSet:
    """Molecular graphs of SMILES strings: heavy atoms, kekulised bonds 1, 2, 3.

    An atom outside `ATOM_NAMES` gets the one type after them.

    Raises
    ------
    ImportError
        Without rdkit (the extra ``chem``).
    ValueError
        If rdkit cannot read one; names its position.

    Examples
    --------
    >>> graphs_from_smiles(["CCO", "c1ccccc1"])
    GraphSet(2 graphs, 9 nodes, 8 edges)
    """
    chem = require("rdkit.Chem", "chem")
    arrays: dict[str, list[int]] = {
        key: [] for key in ("n_atoms", "n_bonds", "atom_type", "bond_src", "bond_dst", "bond_type")
    }
    for position, text in enumerate(smiles):
        molecule = chem.MolFromSmiles(text) if isinstance(text, str) else None
        if molecule is None or molecule.GetNumAtoms() == 0:
            raise ValueError(f"{name}[{position}] is no molecule that rdkit can read: {text!r}")
        chem.Kekulize(molecule, clearAromaticFlags=True)
        arrays["n_atoms"].append(molecule.GetNumAtoms())
        arrays["n_bonds"].append(molecule.GetNumBonds())
        arrays["atom_type"] += [_ATOM_NUMBER.get(_atom_name(atom), OTHER_ATOM) for atom in molecule.GetAtoms()]
        for bond in molecule.GetBonds():
            arrays["bond_src"].append(bond.GetBeginAtomIdx())
            arrays["bond_dst"].append(bond.GetEndAtomIdx())
            arrays["bond_type"].append(int(bond.GetBondTypeAsDouble()))
    return graphs_from_arrays({key: np.array(values, dtype=np.int64) for key, values in arrays.items()}, name)


def _atom_name(atom: Any) -> str:
    words = [atom.GetSymbol()]
    if atom.GetNumExplicitHs():
        words.append(f"H{atom.GetNumExplicitHs()}")
    if atom.GetFormalCharge():
        words.append("+" if atom.GetFormalCharge() > 0 else "-")
    return " ".join(words)

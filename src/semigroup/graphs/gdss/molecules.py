"""From states to molecules: valencies of whole batches corrected at once, then one canonical SMILES a molecule by rdkit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from semigroup.base import require
from semigroup.data.graph_sets import GraphSet
from semigroup.graphs.gdss.states import decode_types

__all__ = [
    "DecodedMolecules",
    "canonical_smiles",
    "decode_molecules",
    "elements_of_smiles",
    "molecule_measures",
    "to_smiles",
]

_CHARGED = ("N", "O", "S")  # take one more bond under the charge +1


@dataclass(frozen=True)
class DecodedMolecules:
    """Molecules of padded states.

    Attributes
    ----------
    types : Tensor of shape (molecules, n)
        Numbers of elements.
    orders : Tensor of shape (molecules, n, n)
        Bond orders 0 to 3 after the correction.
    charges : Tensor of shape (molecules, n)
    real : Tensor of shape (molecules, n)
    valid : Tensor of shape (molecules,)
        Whether no correction was needed.
    """

    types: Int64[Tensor, "molecules n"]
    orders: Int64[Tensor, "molecules n n"]
    charges: Int64[Tensor, "molecules n"]
    real: Bool[Tensor, "molecules n"]
    valid: Bool[Tensor, " molecules"]


def decode_molecules(
    x: Float[Tensor, "molecules n elements"], a: Float[Tensor, "molecules n n"], elements: Sequence[str]
) -> DecodedMolecules:
    """Atoms and bonds of states, with every atom within its valency.

    Bond orders are cut at 0.5, 1.5 and 2.5; an atom is the element above 0.5, and none otherwise. N, O and S with one
    bond too many get the charge +1. Where an atom still has too many, its highest bond loses one order until it has not,
    in all molecules at once.

    Examples
    --------
    >>> x = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    >>> a = torch.tensor([[[0, 2.9, 0], [2.9, 0, 1.8], [0, 1.8, 0]]])
    >>> molecule = decode_molecules(x, a, ("C", "O"))
    >>> bool(molecule.valid), to_smiles(molecule, ("C", "O"))
    (False, ['C=C=O'])
    """
    types, real = decode_types(x)
    limits = torch.tensor(_valencies(elements), device=x.device)
    charged = torch.tensor([element in _CHARGED for element in elements], device=x.device)
    orders = (a > 0.5).long() + (a > 1.5).long() + (a > 2.5).long()
    loops = torch.eye(a.shape[-1], dtype=torch.bool, device=x.device)
    orders = orders * (real[:, :, None] & real[:, None, :] & ~loops)
    excess = orders.sum(-1) - limits[types]
    charges = ((excess == 1) & charged[types]).long()
    limit = limits[types] + charges
    valid = (orders.sum(-1) <= limit).all(-1)
    while True:
        over = orders.sum(-1) > limit
        wrong = over.any(-1).nonzero()[:, 0]
        if len(wrong) == 0:
            return DecodedMolecules(types, orders, charges, real, valid)
        atom = over[wrong].int().argmax(-1)  # the first of each molecule
        partner = orders[wrong, atom].argmax(-1)
        orders[wrong, atom, partner] -= 1
        orders[wrong, partner, atom] -= 1


def _valencies(elements: Sequence[str]) -> list[int]:
    """Greatest valency of each element, from rdkit's table."""
    table = require("rdkit.Chem", "chem").GetPeriodicTable()
    largest = [max(table.GetValenceList(element)) for element in elements]
    return [100 if valency < 0 else valency for valency in largest]  # -1: any


def to_smiles(molecules: DecodedMolecules, elements: Sequence[str]) -> list[str]:
    """Canonical SMILES of each molecule's largest fragment; empty where there is no atom."""
    chem = require("rdkit.Chem", "chem")
    types, orders, charges, real = (
        one.cpu().numpy() for one in (molecules.types, molecules.orders, molecules.charges, molecules.real)
    )
    bonds = {1: chem.BondType.SINGLE, 2: chem.BondType.DOUBLE, 3: chem.BondType.TRIPLE}
    result = []
    for kind, order, charge, there in zip(types, orders, charges, real):
        editable = chem.RWMol()
        number = {}
        for i in there.nonzero()[0]:
            atom = chem.Atom(elements[kind[i]])
            atom.SetFormalCharge(int(charge[i]))
            number[i] = editable.AddAtom(atom)
        for i, j in zip(*order.nonzero()):
            if i < j:
                editable.AddBond(number[i], number[j], bonds[int(order[i, j])])
        fragments = chem.GetMolFrags(editable, asMols=True, sanitizeFrags=False)
        if not fragments:
            result.append("")
            continue
        largest = max(fragments, key=lambda fragment: fragment.GetNumAtoms())
        chem.SanitizeMol(largest)
        result.append(chem.MolToSmiles(largest))
    return result


def elements_of_smiles(smiles: Sequence[str], name: str = "graphs") -> tuple[GraphSet, list[str]]:
    """Graphs of molecules whose node types are elements and whose edge types are kekulised bond orders.

    Charges are left out, as the states cannot hold them; decoding gives N and O theirs back where the valency asks for it.

    Returns
    -------
    (GraphSet, list of str)
        The graphs, and the elements by atomic number, which the node types count.

    Raises
    ------
    ValueError
        If rdkit cannot read or kekulise one, or it has a bond that is not single, double or triple; names its position.
    """
    chem = require("rdkit.Chem", "chem")
    known = {chem.BondType.SINGLE: 1, chem.BondType.DOUBLE: 2, chem.BondType.TRIPLE: 3}
    numbers: list[int] = []
    n_atoms, ends, orders, start = [], [], [], 0
    for position, text in enumerate(smiles):
        molecule = chem.MolFromSmiles(text) if isinstance(text, str) else None
        if molecule is None or molecule.GetNumAtoms() == 0:
            raise ValueError(f"{name}[{position}] is no molecule that rdkit can read: {text!r}")
        chem.Kekulize(molecule, clearAromaticFlags=True)
        n_atoms.append(molecule.GetNumAtoms())
        atomic = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
        if min(atomic) < 1:
            raise ValueError(f"{name}[{position}] has an atom of no element (a wildcard): {text!r}")
        numbers += atomic
        for bond in molecule.GetBonds():
            if bond.GetBondType() not in known:
                raise ValueError(f"{name}[{position}] has a bond that is not single, double or triple: {text!r}")
            i, j = start + bond.GetBeginAtomIdx(), start + bond.GetEndAtomIdx()
            ends += [(i, j), (j, i)]
            orders += [known[bond.GetBondType()]] * 2
        start += n_atoms[-1]
    found, types = torch.tensor(numbers).unique(return_inverse=True)
    table = chem.GetPeriodicTable()
    elements = [table.GetElementSymbol(int(number)) for number in found]
    graphs = GraphSet(
        torch.tensor(n_atoms),
        torch.tensor(ends, dtype=torch.long).reshape(-1, 2).T,
        types[:, None],
        torch.tensor(orders, dtype=torch.long)[:, None],
        node_types=(len(elements),),
        edge_types=(4,),
    )
    return graphs, elements


def molecule_measures(generated: Sequence[str], training: Sequence[str] = ()) -> dict[str, float]:
    """Validity, uniqueness among the valid, and novelty among the unique ones, as fractions.

    Parameters
    ----------
    generated, training : sequence of str
        SMILES, compared without stereochemistry, which no state holds; novelty is NaN without training molecules.

    Examples
    --------
    >>> molecule_measures(["CCO", "OCC", "CC", "C(C)(C)(C)(C)C"], training=["CC"])
    {'validity': 0.75, 'uniqueness': 0.6666666666666666, 'novelty': 0.5}
    """
    require("rdkit.Chem", "chem")
    from rdkit import rdBase

    with rdBase.BlockLogs():
        canonical = [canonical_smiles(text) for text in generated]
        known = {canonical_smiles(text) for text in training}
    valid = [text for text in canonical if text]
    unique = set(valid)
    return {
        "validity": len(valid) / max(len(generated), 1),
        "uniqueness": len(unique) / max(len(valid), 1),
        "novelty": len(unique - known) / max(len(unique), 1) if training else float("nan"),
    }


def canonical_smiles(smiles: str) -> str:
    """Canonical SMILES without stereochemistry, or an empty string where rdkit refuses the molecule."""
    chem = require("rdkit.Chem", "chem")
    molecule = chem.MolFromSmiles(smiles)
    return "" if molecule is None else chem.MolToSmiles(molecule, isomericSmiles=False)

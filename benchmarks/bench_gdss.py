"""GDSS beside its peers: generation of molecules, S4 beside predictor-corrector, and orbit counts.

Times are seconds of one core's work (one thread), so that whatever else runs on the machine does not count. Training and
sampling of molecules are compared with torch-molecule's GDSS where that is installed (``pip install torch-molecule``), on the
same molecules with networks of the same shape; orbit counts with enumeration over networkx graphs, the only peer that needs
no compiled program.

    python benchmarks/bench_gdss.py
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import time
from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import torch

from semigroup.data.graph_sets import GraphSet, to_networkx
from semigroup.data.molecules import ATOM_NAMES, zinc_7k
from semigroup.data.small_graphs import two_community_graphs
from semigroup.graphs import GDSS, molecule_measures
from semigroup.graphs.gdss import DecodedMolecules, to_smiles
from semigroup.graphs.gdss.states import pad_graphs
from semigroup.operators.graphlets import orbit_counts


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """The result, and seconds of this process's work."""
    began = time.process_time()
    result = function()
    return result, time.process_time() - began


def zinc_smiles(n: int) -> list[str]:
    """Molecules of the shipped set without charged atoms, as SMILES."""
    graphs = zinc_7k().graphs
    assert graphs.node_features is not None and graphs.edge_features is not None
    charged = torch.tensor([name.endswith(("+", "-")) for name in (*ATOM_NAMES, "other +")])
    spoiled = torch.zeros(len(graphs), dtype=torch.bool)
    spoiled[graphs.batch[charged[graphs.node_features[:, 0]]]] = True
    chosen = graphs.select((~spoiled).nonzero()[:n, 0])
    elements = sorted({name.split()[0] for name in ATOM_NAMES})
    number = torch.tensor([elements.index(name.split()[0]) for name in ATOM_NAMES])
    assert chosen.node_features is not None and chosen.edge_features is not None
    padded = pad_graphs(chosen, number[chosen.node_features[:, 0]], chosen.edge_features[:, 0])
    return to_smiles(
        DecodedMolecules(
            padded.types.long(),
            padded.orders.long(),
            torch.zeros_like(padded.types, dtype=torch.long),
            padded.real,
            torch.ones(len(padded.types), dtype=torch.bool),
        ),
        elements,
    )


def enumerated(graph: nx.Graph) -> np.ndarray:
    """Orbit counts by isomorphism type of every connected subset of two to four nodes."""
    counts = np.zeros((len(graph), 15), dtype=np.int64)
    places = {
        (2, 1, 1): {1: 0}, (3, 2, 2): {1: 1, 2: 2}, (3, 3, 2): {2: 3}, (4, 3, 2): {1: 4, 2: 5}, (4, 3, 3): {1: 6, 3: 7},
        (4, 4, 2): {2: 8}, (4, 4, 3): {1: 9, 2: 10, 3: 11}, (4, 5, 3): {2: 12, 3: 13}, (4, 6, 3): {3: 14},
    }  # fmt: skip
    for size in (2, 3, 4):
        for nodes in itertools.combinations(graph, size):
            part = graph.subgraph(nodes)
            if part.number_of_edges() >= size - 1 and nx.is_connected(part):
                degrees = dict(part.degree())
                place = places[size, part.number_of_edges(), max(degrees.values())]
                for node, degree in degrees.items():
                    counts[node, place[degree]] += 1
    return counts


def compare_orbits(n_graphs: int) -> None:
    """Both counts of the same graphs, and the ratio of their times."""
    graphs = two_community_graphs(n_graphs, random_state=0)
    adjacency, listed = graphs.adjacency(), to_networkx(graphs)
    ours, seconds = timed(lambda: orbit_counts(adjacency))
    theirs, slow = timed(lambda: np.concatenate([enumerated(graph) for graph in listed]))
    assert (ours == theirs).all()
    print(f"orbit counts of {n_graphs} graphs of 12 to 20 nodes: {seconds:.4f} s here, {slow:.2f} s by enumeration")
    print(f"ratio enumeration / semigroup: {slow / seconds:.0f}")


def compare_samplers(n_graphs: int, n_steps: int) -> None:
    """S4 and predictor-corrector from one fitted model, a batch and graph by graph."""
    training: GraphSet = two_community_graphs(80, random_state=0)
    model = GDSS(n_epochs=20, n_steps=n_steps, device="cpu", random_state=0).fit(training)
    seconds = {}
    for sampler in ("euler", "s4"):
        model.set_params(sampler=sampler)
        seconds[sampler] = timed(lambda: model.sample(n_graphs))[1]
    alone = timed(lambda: model.sample(4, batch_size=1))[1] / 4 * n_graphs
    ratio = seconds["euler"] / seconds["s4"]
    print(
        f"{n_graphs} graphs, {n_steps} steps: PC {seconds['euler']:.1f} s, S4 {seconds['s4']:.1f} s, ratio {ratio:.2f}"
    )
    print(f"one graph at a time (S4): {alone:.1f} s, ratio to a batch {alone / seconds['s4']:.1f}")


def compare_molecules(n_train: int, n_sample: int, n_epochs: int, n_steps: int) -> None:
    """Epoch and sampling times, validity, uniqueness and novelty, here and in torch-molecule."""
    smiles = zinc_smiles(n_train)
    ours = GDSS(
        node_depth=3, hidden_dim=16, attention_dim=16, n_layers=3, mlp_layers=3, edge_sde="ve", edge_range=(0.2, 1.0),
        sampler="reverse", snr=0.2, n_steps=n_steps, n_epochs=n_epochs, batch_size=128, learning_rate=0.005, device="cpu",
        random_state=0,
    )  # fmt: skip
    _, fit_seconds = timed(lambda: ours.fit(smiles))
    generated, sample_seconds = timed(lambda: ours.sample(n_sample))
    rows = [("semigroup", fit_seconds, sample_seconds, molecule_measures([text or "*-" for text in generated], smiles))]
    if importlib.util.find_spec("torch_molecule") is None:
        print("torch-molecule is not installed: not compared")
    else:
        from torch_molecule import GDSSMolecularGenerator

        peer = GDSSMolecularGenerator(
            num_layer=3, hidden_size_adj=8, hidden_size=16, attention_dim=16, num_head=4,
            sde_type_x="VP", sde_beta_min_x=0.1, sde_beta_max_x=1.0, sde_num_scales_x=n_steps,
            sde_type_adj="VE", sde_beta_min_adj=0.2, sde_beta_max_adj=1.0, sde_num_scales_adj=n_steps,
            batch_size=128, epochs=n_epochs, learning_rate=0.005, sampler_predictor="Reverse", sampler_corrector="Langevin",
            sampler_snr=0.2, sampler_scale_eps=0.7, device="cpu",
        )  # fmt: skip
        _, fit_seconds = timed(lambda: peer.fit(smiles))
        generated, sample_seconds = timed(lambda: peer.generate(batch_size=n_sample))
        measures = molecule_measures([text or "*-" for text in generated], smiles)
        rows.append(("torch-molecule", fit_seconds, sample_seconds, measures))
    print(f"{len(smiles)} molecules, {n_epochs} epochs, {n_sample} samples of {n_steps} steps")
    print(f"{'':<16}{'epoch s':>9}{'sample s':>10}{'validity':>10}{'uniqueness':>12}{'novelty':>9}")
    for name, fit_s, sample_s, measured in rows:
        print(
            f"{name:<16}{fit_s / n_epochs:>9.2f}{sample_s:>10.2f}{measured['validity']:>10.2f}{measured['uniqueness']:>12.2f}"
            f"{measured['novelty']:>9.2f}"
        )
    if len(rows) == 2:
        print(
            f"ratio torch-molecule / semigroup: epoch {rows[1][1] / rows[0][1]:.2f}, sampling {rows[1][2] / rows[0][2]:.2f}"
        )


def main() -> None:
    """Print the three comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-train", type=int, default=500)
    parser.add_argument("--n-sample", type=int, default=100)
    parser.add_argument("--n-epochs", type=int, default=5)
    parser.add_argument("--n-steps", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(1)
    compare_orbits(20)
    compare_samplers(40, options.n_steps)
    compare_molecules(options.n_train, options.n_sample, options.n_epochs, options.n_steps)


if __name__ == "__main__":
    main()

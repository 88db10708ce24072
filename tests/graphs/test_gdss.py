"""Generation of graphs by a system of SDEs: networks, samplers, decoding, metrics, estimator, refusals, storage."""

import itertools
import math
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance
from sklearn.exceptions import NotFittedError
from torch import nn
from torch_geometric.data import Data

from semigroup.claims.gdss import enumerated_orbits
from semigroup.data.graph_sets import GraphSet, as_graph_set, to_networkx
from semigroup.data.molecules import zinc_7k
from semigroup.data.small_graphs import erdos_renyi_like, two_community_graphs
from semigroup.graphs import GDSS, graph_mmd, molecule_measures
from semigroup.graphs.gdss import (
    BaselineNetwork,
    Component,
    NothingGenerated,
    ScoreNetworkA,
    ScoreNetworkX,
    ScoreNetworkXAttention,
    decode_graphs,
    decode_molecules,
    elements_of_smiles,
    graph_hashes,
    graph_statistics,
    novelty,
    nspdk_mmd,
    predictor_corrector,
    reverse_transition,
    symmetric_splitting,
    to_score,
    to_smiles,
    uniqueness,
)
from semigroup.graphs.gdss.networks import mask_edges, mask_nodes, propagate
from semigroup.graphs.gdss.samplers import discrete_chain
from semigroup.graphs.gdss.states import edge_noise, pad_graphs
from semigroup.jobs import Context
from semigroup.jobs import gdss as job
from semigroup.operators.graphlets import orbit_counts
from semigroup.schedules import VE, VP, SubVP
from semigroup.training import TrainingDiverged

TINY = {
    "hidden_dim": 8,
    "attention_dim": 8,
    "n_layers": 2,
    "node_depth": 2,
    "n_epochs": 3,
    "n_steps": 6,
    "random_state": 0,
}
SMILES = ["CCO", "C=CC#N", "c1ccccc1O", "CC(=O)N", "OCC(F)(F)F", "C1CCNCC1", "CSC", "CCCl", "NCCO", "C1=CCC=C1"]
SCHEDULES = [VP(0.1, 1.0), VP(0.1, 20.0), SubVP(0.1, 20.0), VE(0.1, 1.0), VE(0.2, 5.0)]


@pytest.fixture(autouse=True)
def _fixed_weights():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def batch(n: int = 7, n_graphs: int = 5, n_classes: int = 4):
    generator = torch.Generator().manual_seed(0)
    real = torch.arange(n) < torch.tensor([n, 3, 5, 2, 6])[:n_graphs, None]
    x = mask_nodes(torch.randn(n_graphs, n, n_classes, generator=generator), real)
    a = edge_noise(torch.zeros(n_graphs, n, n), real, generator)
    return x, a, real


def networks(n_classes: int = 4) -> list[nn.Module]:
    return [
        ScoreNetworkX(n_classes, hidden_dim=8),
        ScoreNetworkXAttention(n_classes, hidden_dim=8, attention_dim=8),
        ScoreNetworkA(n_classes, n_layers=3, hidden_dim=8, attention_dim=8),
        ScoreNetworkA(n_classes, n_layers=2, hidden_dim=8, attention_dim=4, conv="mlp", mlp_layers=3),
        BaselineNetwork(n_classes, n_layers=3, hidden_dim=8),
    ]


# --- networks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(5))
def test_networks_follow_the_numbering_of_the_nodes(number):
    x, a, real = batch()
    network, order = networks()[number].double(), torch.randperm(7)
    x, a = x.double(), a.double()
    plain = network(x, a, real)
    moved = network(x[:, order], a[:, order][:, :, order], real[:, order])
    expected = plain[:, order][:, :, order] if plain.shape == a.shape else plain[:, order]
    assert float(expected.detach().abs().max()) > 1e-3
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("number", range(5))
def test_padding_does_not_change_a_graph_and_stays_empty(number):
    x, a, real = batch()
    network = networks()[number].double()
    together = network(x.double(), a.double(), real)
    alone = network(x[1:2, :3].double(), a[1:2, :3, :3].double(), real[1:2, :3])
    inside = together[1:2, :3, :3] if together.shape == a.shape else together[1:2, :3]
    torch.testing.assert_close(inside, alone, rtol=0, atol=1e-12)
    assert not together[1, 3:].any()


@pytest.mark.parametrize("number", [2, 3, 4])
def test_edge_scores_are_symmetric_with_an_empty_diagonal(number):
    scores = networks()[number](*batch())
    torch.testing.assert_close(scores, scores.mT)
    assert not scores.diagonal(dim1=1, dim2=2).any()


def test_convolution_is_the_published_formula_also_where_degrees_are_negative():
    x, a, _ = batch()
    expected = []
    for nodes, edges in zip(x, a):
        loops = edges.clone().fill_diagonal_(1.0)
        root = torch.diag(loops.sum(1).clamp(min=1) ** -0.5)
        expected.append(root @ loops @ root @ nodes)
    torch.testing.assert_close(propagate(x, a[None])[0], torch.stack(expected))


def attention_of_one_channel(layer, x, a):
    """Values and scores of the first channel by the formula, head by head."""
    part = layer.attention
    spread = propagate(x, a[None])[0]
    query, key, value = (spread @ conv.weight[0] + conv.bias[0] for conv in (part.query, part.key, part.value))
    heads = [torch.tanh(q @ k.mT / math.sqrt(value.shape[-1])) for q, k in zip(query.split(2, -1), key.split(2, -1))]
    mean = torch.stack(heads).mean(0)
    return value, (mean + mean.mT) / 2


def test_attention_layer_is_the_published_formula_on_dense_matrices():
    x, a, real = batch()
    network = ScoreNetworkA(4, n_layers=1, hidden_dim=8, n_heads=4, channels=(1, 8, 4))
    layer = network.layers[0]
    _, scores = attention_of_one_channel(layer, x, a)
    both = torch.stack([scores, a], dim=-1)
    edges = layer.pairs.linears[1](nn.functional.elu(layer.pairs.linears[0](both)))
    edges = edges + edges.transpose(1, 2)
    final = torch.cat([a[..., None], edges], dim=-1)
    for number, linear in enumerate(network.final.linears):
        final = linear(final) if number == 2 else nn.functional.elu(linear(final))
    expected = mask_edges(final[..., 0] * (1 - torch.eye(7)), real)
    torch.testing.assert_close(network(x, a, real), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("n_classes", "shape", "counts"),
    [
        (10, {"depth": 3, "hidden_dim": 32}, (72_434, 134_369)),
        (17, {"depth": 2, "hidden_dim": 32}, (44_093, 135_713)),
    ],
)
def test_networks_have_the_published_numbers_of_parameters(n_classes, shape, counts):
    pair = ScoreNetworkX(n_classes, **shape), ScoreNetworkA(n_classes)
    assert tuple(sum(p.numel() for p in network.parameters()) for network in pair) == counts
    small = ScoreNetworkA(4, n_layers=3, hidden_dim=16, attention_dim=16, mlp_layers=3)
    assert sum(p.numel() for p in small.parameters()) == 23_825


# --- samplers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_reverse_transition_composes_and_solves_its_equation(schedule):
    # Two halves are one whole, and a small step is Euler-Maruyama's.
    f1, s1 = reverse_transition(schedule, 0.8, 0.2)
    f2, s2 = reverse_transition(schedule, 0.6, 0.1)
    factor, std = reverse_transition(schedule, 0.8, 0.3)
    assert f1 * f2 == pytest.approx(factor, rel=1e-10)
    assert (f2 * s1) ** 2 + s2**2 == pytest.approx(std**2, rel=1e-9)
    factor, std = reverse_transition(schedule, 0.5, 1e-5)
    assert (factor - 1) / 1e-5 == pytest.approx(-float(schedule.rate(0.5)), rel=1e-3, abs=1e-9)
    assert std**2 / 1e-5 == pytest.approx(float(schedule.diffusion(0.5)) ** 2, rel=1e-3)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_discrete_chain_has_the_marginals_of_the_sde(schedule):
    chain = discrete_chain(schedule, 2000)
    scale, variance = 1.0, 0.0
    for drift, diffusion in zip(chain.drift, chain.diffusion):
        scale, variance = scale * (1 + drift), variance * (1 + drift) ** 2 + diffusion**2
    assert scale == pytest.approx(float(schedule.scale(1.0)), rel=0.02, abs=1e-4)
    assert math.sqrt(variance) == pytest.approx(float(schedule.std(1.0)), rel=0.02)


def gaussian_components(schedule, correlation: float, n: int = 4000):
    """Standard deviations 0.5 of both components, and a correlation between them."""
    generator = torch.Generator().manual_seed(0)
    covariance = 0.25 * np.array([[1, correlation], [correlation, 1]])

    def score(x, a, t):
        noisy = float(schedule.scale(t)) ** 2 * covariance + float(schedule.std(t)) ** 2 * np.eye(2)
        return -torch.cat([x, a], 1) @ torch.from_numpy(np.linalg.inv(noisy))

    def noise():
        return torch.randn(n, 1, generator=generator, dtype=torch.float64)

    one = Component(schedule, lambda x, a, t: score(x, a, t)[:, :1], noise)
    other = Component(schedule, lambda x, a, t: score(x, a, t)[:, 1:], noise)
    start = float(schedule.scale(1.0)) ** 2 * covariance + float(schedule.std(1.0)) ** 2 * np.eye(2)
    state = torch.cat([noise(), noise()], 1) @ torch.from_numpy(np.linalg.cholesky(start)).T
    return (one, other), (state[:, :1], state[:, 1:]), covariance


@pytest.mark.parametrize("schedule", [VP(0.1, 10.0), SubVP(0.1, 10.0), VE(0.05, 3.0)], ids=str)
@pytest.mark.parametrize("sampler", ["euler", "reverse", "flow", "reverse-flow", "corrected", "s4", "s4 plain"])
def test_samplers_reproduce_a_correlated_gaussian_from_its_score(schedule, sampler):
    components, state, covariance = gaussian_components(schedule, 0.8)
    if sampler.startswith("s4"):
        found = symmetric_splitting(components, state, n_steps=100, correct=sampler == "s4", snr=0.02, noise_scale=1.0)
    elif sampler == "corrected":
        found = predictor_corrector(components, state, n_steps=100, n_corrector_steps=2, snr=0.02, noise_scale=1.0)
    else:
        found = predictor_corrector(components, state, n_steps=100, predictor=sampler, n_corrector_steps=0)
    measured = np.cov(torch.cat(found, 1).numpy().T)
    np.testing.assert_allclose(measured, covariance, atol=0.03)


def test_component_that_is_not_active_stays_as_it_is():
    components, state, _ = gaussian_components(VP(0.1, 10.0), 0.8, n=50)
    for sample in (predictor_corrector, symmetric_splitting):
        x, a = sample(components, state, n_steps=20, active=(1,))
        assert torch.equal(x, state[0]) and not torch.equal(a, state[1])


def test_both_components_see_each_other_as_before_the_step():
    seen = []

    def score(x, a, t):
        seen.append((float(x), float(a)))
        return torch.ones(1, 1)

    parts = (
        Component(VP(0.1, 1.0), score, lambda: torch.ones(1, 1)),
        Component(VP(0.1, 1.0), score, lambda: torch.ones(1, 1)),
    )
    predictor_corrector(parts, (torch.zeros(1, 1), torch.zeros(1, 1)), n_steps=2)
    assert len(seen) == 8 and all(seen[i] == seen[i + 1] for i in range(0, 8, 2))
    seen.clear()
    symmetric_splitting(parts, (torch.zeros(1, 1), torch.zeros(1, 1)), n_steps=2)
    assert len(seen) == 4 and all(seen[i] == seen[i + 1] for i in range(0, 4, 2))


def test_scores_of_outputs_are_those_that_the_losses_fit():
    output = torch.ones(2, 3)
    assert torch.equal(to_score(VE(0.1, 1.0), output, 0.3), output)
    torch.testing.assert_close(to_score(VP(0.1, 1.0), output, 0.3), -output / float(VP(0.1, 1.0).std(0.3)))


# --- states ------------------------------------------------------------------------------------------------------

random_graphs = st.builds(
    lambda n, p, seed: nx.gnp_random_graph(n, p, seed=seed),
    st.integers(4, 9),
    st.floats(0.2, 0.9),
    st.integers(0, 9999),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(random_graphs, min_size=1, max_size=4))
def test_graphs_survive_padding_and_decoding_without_their_isolated_nodes(graphs):
    graphs = [graph for graph in graphs if graph.number_of_edges()]
    if not graphs:
        return
    found = as_graph_set(graphs)
    ones = torch.ones(found.edge_index.shape[1], dtype=torch.long)
    padded = pad_graphs(found, torch.zeros(len(found.batch), dtype=torch.long), ones)
    noise = 0.4 * torch.rand(padded.orders.shape)
    back = decode_graphs(padded.orders - noise, padded.real)
    for number, graph in enumerate(graphs):
        graph.remove_nodes_from(list(nx.isolates(graph)))
        expected = nx.to_numpy_array(graph)
        np.testing.assert_array_equal(back.select([number]).adjacency().toarray(), expected)


def test_decoding_rounds_orders_at_the_halves_and_keeps_one_node_of_an_empty_graph():
    a = torch.zeros(2, 3, 3)
    a[0, 0, 1] = a[0, 1, 0] = 1.6
    a[0, 1, 2] = a[0, 2, 1] = 7.0
    found = decode_graphs(a, torch.ones(2, 3, dtype=torch.bool), torch.tensor([[5, 6, 7], [1, 2, 3]]), n_orders=3)
    assert found.n_nodes.tolist() == [3, 1]
    assert found.edge_features[:, 0].tolist() == [2, 2, 3, 3]
    assert found.node_features[:, 0].tolist() == [5, 6, 7, 1]


# --- metrics -----------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(random_graphs)
def test_orbit_counts_equal_enumeration(graph):
    np.testing.assert_array_equal(
        orbit_counts(nx.to_scipy_sparse_array(graph, dtype=float)), enumerated_orbits(nx.to_numpy_array(graph))
    )


def test_orbit_counts_of_many_graphs_are_those_of_each():
    graphs = [nx.gnp_random_graph(12, 0.5, seed=seed) for seed in range(4)]
    together = orbit_counts(as_graph_set(graphs).adjacency())
    alone = [orbit_counts(nx.to_scipy_sparse_array(graph, dtype=float)) for graph in graphs]
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_orbit_counts_refuse_loops_and_directions():
    with pytest.raises(ValueError, match="loops"):
        orbit_counts(sp.csr_array(np.eye(3)))
    with pytest.raises(ValueError, match="symmetric"):
        orbit_counts(sp.csr_array(np.triu(np.ones((3, 3)), 1)))


def slow_mmd(one, other, statistic):
    """Graph by graph and pair by pair, with networkx and scipy."""

    def vector(graph):
        n = graph.number_of_nodes()
        if statistic == "degree":
            return np.bincount([d for _, d in graph.degree()], minlength=20) / n, np.arange(20), 1.0
        if statistic == "clustering":
            histogram = np.histogram(list(nx.clustering(graph).values()), bins=100, range=(0, 1))[0]
            return histogram / n, np.arange(100) / 100, 0.1
        values = np.linalg.eigvalsh(nx.normalized_laplacian_matrix(graph).toarray())
        return np.histogram(np.minimum(values, 2), bins=200, range=(-1e-5, 2))[0] / n, np.arange(200.0), 1.0

    def kernel(g, h):
        (p, places, sigma), (q, _, _) = vector(g), vector(h)
        return math.exp(-(wasserstein_distance(places, places, p, q) ** 2) / (2 * sigma**2))

    def mean(graphs, others):
        return np.mean([kernel(g, h) for g in graphs for h in others])

    return mean(one, one) + mean(other, other) - 2 * mean(one, other)


@pytest.mark.parametrize("statistic", ["degree", "clustering", "spectral"])
def test_mmd_equals_the_one_computed_pair_by_pair(statistic):
    one = [nx.gnp_random_graph(n, 0.4, seed=n) for n in (6, 7, 9, 9)]
    other = [nx.barabasi_albert_graph(n, 2, seed=n) for n in (6, 8, 9)]
    assert graph_mmd(one, other, [statistic])[statistic] == pytest.approx(slow_mmd(one, other, statistic), abs=1e-6)


def test_orbit_mmd_is_gaussian_in_the_mean_counts():
    one, other = [nx.cycle_graph(5)], [nx.complete_graph(5)]
    means = [enumerated_orbits(nx.to_numpy_array(graphs[0])).mean(0) for graphs in (one, other)]
    expected = 2 - 2 * math.exp(-((means[0] - means[1]) ** 2).sum() / (2 * 30**2))
    assert graph_mmd(one, other)["orbit"] == pytest.approx(expected)


def test_unbiased_mmd_of_one_distribution_is_centred_at_zero():
    values = [
        graph_mmd(*(two_community_graphs(20, random_state=seed + k) for k in (0, 1000)), ["degree"], unbiased=True)[
            "degree"
        ]
        for seed in range(30)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(30) and min(values) < 0 < max(values)


def test_published_sets_have_the_known_duplicates(shared_data: Path):
    from semigroup.claims.gdss import reference_graphs

    for name, n_distinct, seen in (("community_small", 52, 0.5), ("ego_small", 82, 0.7), ("grid", 46, 0.85)):
        test, training = reference_graphs(name)
        both = np.concatenate([graph_hashes(test), graph_hashes(training)])
        assert len(np.unique(both)) == n_distinct
        assert 1 - novelty(test, training) == pytest.approx(seen)


@settings(max_examples=25, deadline=None)
@given(random_graphs, st.integers(0, 9999))
def test_hashes_forget_the_numbering_and_notice_an_edge(graph, seed):
    order = np.random.default_rng(seed).permutation(len(graph))
    renumbered = nx.relabel_nodes(graph, dict(enumerate(order.tolist())))
    changed = nx.complement(graph)
    if graph.number_of_edges() == changed.number_of_edges():
        return
    hashes = graph_hashes([graph, renumbered, changed])
    assert hashes[0] == hashes[1] != hashes[2]


def test_hashes_see_the_types_of_nodes_and_edges():
    ends = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    plain = Data(x=torch.tensor([[0], [0], [1]]), edge_index=ends, edge_attr=torch.tensor([[1], [1], [2], [2]]))
    node = Data(x=torch.tensor([[0], [1], [0]]), edge_index=ends, edge_attr=plain.edge_attr)
    edge = Data(x=plain.x, edge_index=ends, edge_attr=torch.tensor([[2], [2], [1], [1]]))
    assert len(np.unique(graph_hashes([plain, node, edge]))) == 3
    assert uniqueness([plain, plain, node]) == pytest.approx(2 / 3)


def test_nspdk_tells_molecules_apart_and_is_zero_on_the_same():
    alkanes, alcohols = ["CC", "CCC", "CCCC"], ["CO", "CCO", "CCCO"]
    assert nspdk_mmd(alkanes, alkanes) == pytest.approx(0, abs=1e-15)
    near, far = nspdk_mmd(alkanes, ["CCCCC", "CCC", "CC"]), nspdk_mmd(alkanes, alcohols)
    assert 0 < near < far


def test_nspdk_counts_pairs_by_distance_radius_and_colour():
    # Radius 0, distance 1: a path of two nodes has one pair, so both features of each graph are known.
    found = nspdk_mmd(["CC"], ["CO"], radius=0, distance=1)
    # C-C: (0, C) once with norm 1, (1, CC) once; C-O: (0, C), (0, O) normalised to 1/sqrt 2 each, (1, CO): products 1/sqrt2.
    expected = 2 - 2 * (1 / math.sqrt(2)) / 2
    assert found == pytest.approx(expected)


# --- molecules ---------------------------------------------------------------------------------------------------


def states_of(smiles):
    graphs, elements = elements_of_smiles(smiles)
    padded = pad_graphs(graphs, graphs.node_features[:, 0], graphs.edge_features[:, 0])
    x, a, _ = padded.batch(torch.arange(len(graphs)), len(elements), "cpu")
    return x, a, elements


def test_molecules_survive_coding_and_decoding():
    x, a, elements = states_of(SMILES)
    decoded = decode_molecules(x - 0.3, a - 0.3 * (a > 0), elements)
    assert decoded.valid.all() and not decoded.charges.any()
    assert molecule_measures(to_smiles(decoded, elements), SMILES)["novelty"] == 0.0


def test_corrected_molecules_are_valid_whatever_the_states():
    pytest.importorskip("rdkit")
    from rdkit import Chem

    generator = torch.Generator().manual_seed(1)
    elements = ("C", "N", "O", "F", "P", "S", "Cl", "Br", "I")
    x = torch.randn(60, 9, 9, generator=generator)
    a = 3 * torch.randn(60, 9, 9, generator=generator)
    decoded = decode_molecules(x, a + a.mT, elements)
    assert 0 < int(decoded.valid.sum()) + 1 < 60
    assert torch.equal(decoded.orders, decoded.orders.mT)
    written = to_smiles(decoded, elements)
    assert all(Chem.MolFromSmiles(text) is not None for text in written if text) and len(set(written)) > 20


def test_validity_without_correction_is_what_rdkit_says_of_the_raw_molecule():
    from rdkit import Chem, rdBase

    generator = torch.Generator().manual_seed(2)
    elements = ("C", "N", "O", "F")
    x = torch.nn.functional.one_hot(torch.randint(0, 4, (300, 4), generator=generator), 4).float()
    a = torch.randint(0, 3, (300, 4, 4), generator=generator).float().triu(1)
    a = a + a.mT
    decoded = decode_molecules(x, a, elements)
    expected = []
    with rdBase.BlockLogs():
        for atoms, bonds in zip(x.argmax(-1).tolist(), a.int().tolist()):
            molecule = Chem.RWMol()
            for atom in atoms:
                molecule.AddAtom(Chem.Atom(elements[atom]))
            for i, j in itertools.combinations(range(4), 2):
                if bonds[i][j]:
                    molecule.AddBond(i, j, Chem.BondType.values[bonds[i][j]])
            for atom in molecule.GetAtoms():
                valency = sum(bonds[atom.GetIdx()])
                if atom.GetSymbol() in ("N", "O") and valency == {"N": 4, "O": 3}[atom.GetSymbol()]:
                    atom.SetFormalCharge(1)
            expected.append(
                Chem.SanitizeMol(molecule, Chem.SANITIZE_PROPERTIES, catchErrors=True) == Chem.SANITIZE_NONE
            )
    assert decoded.valid.tolist() == expected and 0 < sum(expected) < 300


def test_atom_without_a_class_is_no_atom_and_the_largest_fragment_stays():
    x = torch.tensor([[[0.9, 0.0], [0.2, 0.3], [0.0, 0.8], [0.6, 0.0]]])
    a = torch.zeros(1, 4, 4)
    a[0, 0, 1] = a[0, 1, 0] = a[0, 2, 3] = a[0, 3, 2] = 1.0
    assert to_smiles(decode_molecules(x, a, ("C", "O")), ("C", "O")) == ["CO"]
    assert to_smiles(decode_molecules(torch.zeros(1, 4, 2), a, ("C", "O")), ("C", "O")) == [""]


def test_one_bond_too_many_charges_nitrogen_and_more_are_reduced():
    bonds = torch.zeros(2, 5, 5)
    bonds[0, 0, 1:] = bonds[1, 0, 1:] = 1.0
    bonds[1, 0, 1] = 2.0
    x = torch.zeros(2, 5, 2)
    x[:, 0, 1] = x[:, 1:, 0] = 1.0
    decoded = decode_molecules(x, bonds + bonds.mT, ("C", "N"))
    assert decoded.charges[:, 0].tolist() == [1, 0] and decoded.valid.tolist() == [True, False]
    assert decoded.orders.sum(-1)[1, 0] == 3


def test_measures_of_molecules_ignore_stereochemistry_and_count_the_invalid():
    found = molecule_measures(["C[C@H](N)O", "C[C@@H](N)O", "CC", "F(C)C"], ["CC"])
    assert found == {"validity": 0.75, "uniqueness": pytest.approx(2 / 3), "novelty": 0.5}


# --- estimator ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted() -> GDSS:
    return GDSS(**TINY).fit(two_community_graphs(20, random_state=0))


def test_sample_has_the_sizes_asked_for_and_repeats_with_the_seed(fitted):
    found = fitted.sample(4, n_nodes=[5, 6, 20, 12], random_state=1)
    again = fitted.sample(4, n_nodes=[5, 6, 20, 12], random_state=1)
    assert isinstance(found, GraphSet) and len(found) == 4
    assert (found.n_nodes <= torch.tensor([5, 6, 20, 12])).all()
    assert torch.equal(found.edge_index, again.edge_index)
    other = fitted.sample(4, n_nodes=[5, 6, 20, 12], random_state=2)
    assert not torch.equal(found.edge_index, other.edge_index) if found.n_edges.sum() == other.n_edges.sum() else True
    assert len(fitted.sample(5, batch_size=2)) == 5


def test_sizes_are_drawn_from_the_training_graphs(fitted):
    x, a, real = fitted._sample_states(50, None, None, 3, False)
    assert set(real.sum(1).tolist()) <= set(fitted.sizes_.tolist()) and len(set(real.sum(1).tolist())) > 2
    assert not x[~real].any() and not a[~real].any()


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": "s4"},
        {"sampler": "reverse", "n_corrector_steps": 2},
        {"sampler": "flow", "n_corrector_steps": 0},
        {"sampler": "reverse-flow"},
        {"coupling": "sequential"},
        {"node_network": "attention"},
        {"edge_network": "baseline"},
        {"conv": "mlp"},
        {"node_sde": "subvp", "edge_sde": "ve", "edge_range": (0.2, 1.0)},
        {"prior": "matched"},
        {"reduce_mean": True, "likelihood_weighting": True},
        {"ema_decay": 0.99},
    ],
    ids=str,
)
def test_every_variant_fits_and_samples(options):
    model = GDSS(**(TINY | {"n_epochs": 1, "n_steps": 3} | options)).fit([nx.cycle_graph(n) for n in (5, 6, 7)])
    assert len(model.sample(3)) == 3 and np.isfinite(model.losses_).all()


def test_training_lowers_the_loss_and_brings_samples_nearer_than_random_graphs():
    graphs = two_community_graphs(60, random_state=0)
    train, test = graphs.select(range(40)), graphs.select(range(40, 60))
    options = TINY | {"hidden_dim": 16, "attention_dim": 16, "n_layers": 3, "n_epochs": 120, "n_steps": 60}
    model = GDSS(**options).fit(train)
    assert model.losses_[-10:].mean() < 0.6 * model.losses_[:5].mean()
    found = model.evaluate(test)
    random = graph_mmd(test, erdos_renyi_like(test, random_state=0))
    assert found["clustering"] < 0.7 * random["clustering"]
    assert found["novelty"] > 0.5
    assert model.score(test) == pytest.approx(-np.mean([found[k] for k in ("degree", "clustering", "orbit")]))


def test_one_adam_over_both_networks_makes_the_updates_of_two_with_separate_bounds():
    graphs = [nx.cycle_graph(n) for n in (5, 6, 7)]
    model = GDSS(**(TINY | {"max_grad_norm": 0.05}))
    model._read(graphs)
    model.networks_ = model._build()
    optimizer = model._optimizer()
    both = (model.networks_.nodes, model.networks_.edges)
    copies = [[p.detach().clone().requires_grad_() for p in network.parameters()] for network in both]
    apart = [torch.optim.Adam(copy, lr=0.01, weight_decay=1e-4) for copy in copies]
    for step in range(3):
        torch.manual_seed(step)
        for net, copy in zip(both, copies):
            for p, q in zip(net.parameters(), copy):
                p.grad = torch.randn_like(p)
                q.grad = p.grad.clone()
        optimizer.step()
        for copy, adam in zip(copies, apart):
            nn.utils.clip_grad_norm_(copy, 0.05)
            adam.step()
    for net, copy in zip(both, copies):
        for p, q in zip(net.parameters(), copy):
            torch.testing.assert_close(p, q)


def test_matched_prior_has_the_moments_of_the_noisy_training_states():
    graphs = two_community_graphs(200, random_state=0)
    model = GDSS(**(TINY | {"prior": "matched", "n_epochs": 1})).fit(graphs)
    schedule = VP(0.1, 1.0)
    real = torch.ones(400, 16, dtype=torch.bool)
    x, a = model._draw_prior(real, (schedule, schedule), torch.Generator().manual_seed(0))
    pairs = a[:, ~torch.eye(16, dtype=torch.bool)]
    density = float(graphs.n_edges.sum() / (graphs.n_nodes * (graphs.n_nodes - 1)).sum())
    scale, std = float(schedule.scale(1.0)), float(schedule.std(1.0))
    assert float(pairs.mean()) == pytest.approx(scale * density, abs=0.01)
    assert float(pairs.var()) == pytest.approx(scale**2 * density * (1 - density) + std**2, rel=0.03)
    degrees = torch.bincount(graphs.edge_index[0]).bincount() / len(graphs.batch)
    torch.testing.assert_close(x.mean((0, 1)), scale * degrees.float(), rtol=0, atol=0.04)


def test_molecules_in_give_molecules_out():
    model = GDSS(**(TINY | {"edge_sde": "ve"})).fit(SMILES * 2)
    assert model.elements_ == ["C", "N", "O", "F", "S", "Cl"]
    found = model.sample(6)
    assert len(found) == 6 and all(isinstance(text, str) for text in found)
    measured, generated = model.evaluate(SMILES, return_generated=True)
    assert generated == model.sample(len(SMILES))
    assert {"validity_without_correction", "nspdk", "novelty"} <= set(measured)


def test_types_and_integer_weights_are_kept():
    graph = nx.path_graph(4)
    nx.set_node_attributes(graph, {i: i % 3 for i in range(4)}, "type")
    nx.set_edge_attributes(graph, {edge: {"weight": 1.0 + k} for k, edge in enumerate(graph.edges)})
    model = GDSS(**TINY).fit([graph] * 4)
    assert model.architecture_ == {"n_classes": 3, "max_nodes": 4, "n_orders": 3, "kind": "types"}
    found = model.sample(8)
    assert int(found.node_features.max()) <= 2
    if found.edge_features is not None and len(found.edge_features):
        assert int(found.edge_features.min()) >= 1


def test_saved_model_samples_the_same_and_stores_no_pickle(fitted, tmp_path):
    loaded = GDSS.from_pretrained(fitted.save_pretrained(tmp_path / "model"))
    assert torch.equal(loaded.sample(3).edge_index, fitted.sample(3).edge_index)
    assert loaded.evaluate(two_community_graphs(5, random_state=1)) == fitted.evaluate(
        two_community_graphs(5, random_state=1)
    )
    molecules = GDSS(**TINY).fit(SMILES)
    again = GDSS.from_pretrained(molecules.save_pretrained(tmp_path / "molecules"))
    assert again.sample(3) == molecules.sample(3) and again.elements_ == molecules.elements_


def test_stopped_training_goes_on_to_the_same_weights(tmp_path):
    graphs = [nx.cycle_graph(n) for n in (5, 6, 7)]
    whole = GDSS(**(TINY | {"ema_decay": 0.9})).fit(graphs)
    GDSS(**(TINY | {"ema_decay": 0.9, "n_epochs": 2})).fit(graphs, checkpoint_dir=tmp_path)
    resumed = GDSS(**(TINY | {"ema_decay": 0.9})).fit(graphs, checkpoint_dir=tmp_path, resume=True)
    for one, other in zip(whole.networks_.parameters(), resumed.networks_.parameters()):
        assert torch.equal(one, other)


# --- refusals ----------------------------------------------------------------------------------------------------

RING = nx.cycle_graph(6)
ASYMMETRIC = sp.csr_array(np.triu(np.ones((4, 4)), 1))
LOOP = sp.csr_array(np.ones((3, 3)))
NEGATIVE = sp.csr_array(np.array([[0.0, -1.0], [-1.0, 0.0]]))
FRACTION = sp.csr_array(np.array([[0.0, 0.5], [0.5, 0.0]]))


@pytest.mark.parametrize(
    ("graphs", "says"),
    [
        ([], "empty"),
        ([RING, nx.DiGraph([(0, 1)])], "undirected"),
        ([ASYMMETRIC], "symmetric"),
        ([LOOP], "self-loops"),
        ([NEGATIVE], "negative"),
        ([FRACTION], "integer edge weights"),
        ([RING, nx.empty_graph(3)], r"graphs\[1\] has no edges"),
        ([Data(x=torch.rand(2, 3), edge_index=torch.tensor([[0, 1], [1, 0]]))], "integer type a node"),
        (["CCO", "no molecule"], r"graphs\[1\]"),
        (["CCO", "C*"], "wildcard"),
        (["CCO", "[Na+]"], "no edges"),
        (["CCO", "N->[Fe]"], "single, double or triple"),
    ],
    ids=range(12),
)
def test_bad_graphs_are_refused_by_name(graphs, says):
    with pytest.raises(ValueError, match=says):
        GDSS(**TINY).fit(graphs)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n_classes": 2}, "n_classes must be at least 3"),
        ({"max_nodes": 5}, "max_nodes must be at least 6"),
        ({"n_steps": 1}, "n_steps"),
        ({"eps": 1.0}, "eps"),
        ({"node_range": (1.0, 0.1)}, r"node_range\[1\]"),
        ({"edge_sde": "ve", "edge_range": (0.5, 0.5)}, r"edge_range\[1\]"),
        ({"edge_range": (0.1, 1.0, 2.0)}, "edge_range must be two"),
        ({"snr": -0.1}, "snr"),
        ({"node_range": (0.1, 20.0), "n_steps": 10}, "n_steps must be above"),
        ({"sampler": "heun"}, "sampler"),
        ({"hidden_dim": 10}, "hidden_dim must be a multiple of n_heads"),
        ({"channels": (2, 0, 4)}, "channels"),
        ({"channels": 3}, "channels must be three"),
        ({"node_range": 1.0}, "node_range must be two"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"n_epochs": 0}, "n_epochs"),
        ({"prior": "uniform"}, "prior"),
        ({"ema_decay": 1.0}, "ema_decay"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_by_name_before_any_work(options, says):
    with pytest.raises(ValueError, match=says):
        GDSS(**TINY).set_params(**options).fit([RING])


def test_sampling_refuses_what_it_cannot_do(fitted):
    with pytest.raises(NotFittedError, match="fit"):
        GDSS().sample(1)
    for sizes in (21, 1, [5, 6], 5.5):
        with pytest.raises(ValueError, match="n_nodes"):
            fitted.sample(3, n_nodes=sizes)
    with pytest.raises(ValueError, match="n must be"):
        fitted.sample(0)


def test_diverging_training_names_the_learning_rate():
    with pytest.raises(TrainingDiverged, match="learning_rate below 1e"):
        GDSS(**(TINY | {"learning_rate": 1e30, "n_epochs": 60})).fit([RING])


def test_metrics_refuse_unknown_statistics_and_single_graphs_for_unbiased_estimates():
    with pytest.raises(ValueError, match="statistics"):
        graph_mmd([RING], [RING], ["diameter"])
    with pytest.raises(ValueError, match="two graphs"):
        graph_mmd([RING], [RING], unbiased=True)
    with pytest.raises(ValueError, match="statistic"):
        graph_statistics([RING], "diameter")


# --- data and runs -----------------------------------------------------------------------------------------------


def test_two_community_graphs_are_connected_new_and_of_the_stated_law():
    graphs = two_community_graphs(400, random_state=0)
    adjacency = graphs.adjacency()
    assert sp.csgraph.connected_components(adjacency, directed=False)[0] == 400
    assert sorted(set(graphs.n_nodes.tolist())) == [12, 14, 16, 18, 20] and uniqueness(graphs) > 0.95
    half = (graphs.n_nodes // 2)[graphs.batch]
    second = torch.arange(len(graphs.batch)) - graphs.node_start[graphs.batch] >= half
    between = second[graphs.edge_index[0]] != second[graphs.edge_index[1]]
    inside = int((~between).sum()) / float((graphs.n_nodes * (graphs.n_nodes / 2 - 1)).sum())
    assert inside == pytest.approx(0.7, abs=0.02)
    bridges = torch.bincount(graphs.batch[graphs.edge_index[0, between]], minlength=400) / 2
    assert bridges.min() == 1 and bridges.mean() < 2


@pytest.mark.parametrize(
    ("options", "says"),
    [({"sizes": (20, 12)}, "sizes"), ({"p_in": 0.0}, "p_in"), ({"p_in": 0.01}, "too small")],
    ids=str,
)
def test_two_community_graphs_refuse_what_cannot_be(options, says):
    with pytest.raises(ValueError, match=says):
        two_community_graphs(3, **options)


def test_job_reads_smiles_arrays_and_single_graph_files(tmp_path):
    table = tmp_path / "molecules.csv"
    table.write_text("smiles,y\n" + "\n".join(f"{text},1" for text in SMILES))
    assert job.read([table]).smiles == SMILES
    graphs = two_community_graphs(12, random_state=0)
    np.savez(tmp_path / "graphs.npz", n_nodes=graphs.n_nodes, n_edges=graphs.n_edges // 2, **job._edges_once(graphs))
    found = job.read([tmp_path / "graphs.npz"]).graphs
    assert (found.adjacency() != graphs.adjacency()).nnz == 0
    files = []
    for number in range(10):
        files.append(tmp_path / f"{number}.graphml")
        nx.write_graphml(nx.cycle_graph(5 + number), files[-1])
    assert job.read(files).graphs.n_nodes.tolist() == list(range(5, 15))


def test_job_refuses_files_that_hold_no_list_of_graphs(tmp_path):
    for name, text, says in (("a.csv", "name\nx", "smiles"), ("b.csv", "smiles\nCC", "at least 10")):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=says):
            job.read([tmp_path / name])
    np.savez(tmp_path / "c.npz", n_nodes=[2], n_edges=[1], edge_src=[0], edge_dst=[5])
    with pytest.raises(ValueError, match=r"c\.npz: edge_src"):
        job.read([tmp_path / "c.npz"])


def test_run_on_molecules_reports_validity(tmp_path):
    from semigroup.cli import main

    table = tmp_path / "molecules.csv"
    table.write_text("smiles\n" + "\n".join(SMILES * 2))
    options = [word for name, value in TINY.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert main(["run", "gdss", "--data", str(table), "--out", str(tmp_path / "run"), *options]) == 0
    text = (tmp_path / "run" / "metrics.json").read_text()
    assert "validity_without_correction" in text and "nspdk" in text
    assert (tmp_path / "run" / "molecules.csv").exists()


def test_molecular_graphs_survive_networkx_with_their_types():
    graphs = zinc_7k().graphs.select(range(50))
    back = as_graph_set(to_networkx(graphs))
    assert len(np.unique(graph_hashes(graphs))) == 50
    np.testing.assert_array_equal(graph_hashes(back), graph_hashes(graphs))


def test_job_keeps_what_was_learnt_where_no_molecule_has_an_atom(monkeypatch):
    monkeypatch.setattr(
        "semigroup.graphs.gdss.estimator.to_smiles", lambda decoded, elements: [""] * len(decoded.valid)
    )
    data = job.GraphList(SMILES, elements_of_smiles(SMILES)[0])
    model = GDSS(**TINY)
    outcome = job.perform(model, data, Context())
    assert outcome.model is model and model.losses_.size and "none of the generated molecules" in outcome.summary
    assert outcome.metrics["n_generated"] == 0 and set(outcome.pictures) == {"training"}
    with pytest.raises(NothingGenerated):
        model.evaluate(SMILES[:2])

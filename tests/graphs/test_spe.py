"""Stable positional encodings: mathematics, invariance, quality, refusals, storage."""

import signal
import warnings
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline as ScipySpline
from sklearn.metrics import mean_absolute_error
from torch import nn
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GINEConv, global_add_pool
from torch_geometric.transforms import AddRandomWalkPE, Compose

from semigroup.data.cycles import counting_task
from semigroup.data.graph_sets import GraphSet, as_graph_set
from semigroup.data.molecules import zinc_7k
from semigroup.graphs import (
    PEG,
    SPE,
    AddEigenpairs,
    BasisNet,
    RandomWalk,
    RawEigenvectors,
    SignNet,
    SPEClassifier,
    SPERegressor,
    laplacian_eigenpairs,
)
from semigroup.graphs.spe import CubicSpline, encoding_changes, pair_features, spe_bound
from semigroup.graphs.spe.spectrum import with_eigenpairs
from semigroup.jobs import spe as job

PHIS = ("mlp", "deepsets", "transformer", "constant", "spline")
RHOS = ("gin", "mlp", "gin-deepsets", "ign", "ppgn")
SMALL = {"n_channels": 3, "hidden_dim": 8, "phi_hidden": 8, "rho_layers": 2, "mlp_layers": 2}
TINY = {"n_channels": 4, "hidden_dim": 8, "encoding_dim": 4, "rho_layers": 1, "n_layers": 1, "n_epochs": 2}


@pytest.fixture(autouse=True)
def _fixed_weights():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def small_spe(**options) -> SPE:
    return SPE(5, **(SMALL | options)).double().eval()


def prepared(graphs, d: int | None = None) -> GraphSet:
    return with_eigenpairs(as_graph_set(graphs), d, torch.float64)


def arguments(graphs: GraphSet):
    return graphs.eigenvalues, graphs.eigenvectors, graphs.edge_index, graphs.batch, graphs.edge_weight


def rotated_inside_eigenspaces(graphs: GraphSet, seed: int) -> GraphSet:
    """One graph with another orthonormal basis of each eigenspace."""
    rng = np.random.default_rng(seed)
    values, vectors = graphs.eigenvalues[0].numpy(), graphs.eigenvectors.numpy().copy()
    for value in np.unique(values.round(8)):
        chosen = np.flatnonzero(abs(values - value) < 1e-7)
        turn = np.linalg.qr(rng.standard_normal((len(chosen), len(chosen))))[0]
        vectors[:, chosen] = vectors[:, chosen] @ turn
    return GraphSet(
        graphs.n_nodes, graphs.edge_index, eigenvalues=graphs.eigenvalues, eigenvectors=torch.from_numpy(vectors)
    )


random_graphs = st.builds(
    lambda n, p, seed: nx.gnp_random_graph(n, p, seed=seed),
    st.integers(2, 9),
    st.floats(0.2, 0.9),
    st.integers(0, 10_000),
)


# --- spectrum ----------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.lists(random_graphs, min_size=1, max_size=4))
def test_eigenpairs_of_a_mixed_batch_rebuild_each_normalised_laplacian(graphs):
    values, vectors = laplacian_eigenpairs(graphs)
    start = 0
    for number, graph in enumerate(graphs):
        n = len(graph)
        v, w = vectors[start : start + n].numpy(), values[number].numpy()
        adjacency = nx.to_numpy_array(graph)
        degree = adjacency.sum(1)
        root = np.divide(1, np.sqrt(degree), out=np.zeros(n), where=degree > 0)
        expected = np.diag((degree > 0).astype(float)) - root[:, None] * adjacency * root
        np.testing.assert_allclose((v * w) @ v.T, expected, atol=1e-12)
        np.testing.assert_allclose(v[:, :n].T @ v[:, :n], np.eye(n), atol=1e-12)
        assert not v[:, n:].any() and not w[n:].any()
        assert (np.diff(w[:n]) >= 0).all() and w.min() >= 0 and w.max() <= 2
        start += n


def test_eigenpairs_do_not_depend_on_how_many_graphs_are_decomposed_at_once(monkeypatch):
    graphs = as_graph_set([nx.gnp_random_graph(6, 0.5, seed=seed) for seed in range(7)])
    whole = laplacian_eigenpairs(graphs)
    monkeypatch.setattr("semigroup.graphs.spe.spectrum.LARGEST_BLOCK", 80)
    for together, apart in zip(whole, laplacian_eigenpairs(graphs)):
        torch.testing.assert_close(together, apart, rtol=0, atol=1e-12)


def test_weights_enter_the_laplacian():
    graph = nx.path_graph(3)
    graph[0][1]["weight"], graph[1][2]["weight"] = 2.0, 6.0
    values, vectors = laplacian_eigenpairs([graph])
    expected = [[1, -0.5, 0], [-0.5, 1, -np.sqrt(0.75)], [0, -np.sqrt(0.75), 1]]
    np.testing.assert_allclose((vectors * values) @ vectors.T, expected, atol=1e-12)


def test_self_loops_take_no_part():
    loop = nx.path_graph(3)
    loop.add_edge(1, 1)
    np.testing.assert_array_equal(laplacian_eigenpairs([loop])[0], laplacian_eigenpairs([nx.path_graph(3)])[0])


# --- encoder -----------------------------------------------------------------------------------------------------


def test_pair_features_with_all_eigenpairs_are_the_function_of_the_laplacian():
    graphs = [nx.gnp_random_graph(n, 0.5, seed=n) for n in (5, 8, 3)]
    found = prepared(graphs)
    weights = torch.stack([torch.exp(-found.eigenvalues), found.eigenvalues**2], dim=-1)
    rows = pair_features(weights, found.eigenvectors, found.n_nodes).numpy()
    start = 0
    for graph in graphs:
        n = len(graph)
        dense = np.zeros((n, n))
        dense[nx.to_numpy_array(graph) > 0] = 1
        degree = dense.sum(1)
        root = np.divide(1, np.sqrt(degree), out=np.zeros(n), where=degree > 0)
        laplacian = np.diag((degree > 0).astype(float)) - root[:, None] * dense * root
        block = rows[start : start + n * n].reshape(n, n, 2)
        np.testing.assert_allclose(block[..., 1], laplacian @ laplacian, atol=1e-12)
        heat = torch.linalg.matrix_exp(-torch.from_numpy(laplacian)).numpy()
        np.testing.assert_allclose(block[..., 0], heat, atol=1e-12)
        start += n * n


def test_encoding_equals_the_formula_written_out_for_one_graph():
    graph = nx.lollipop_graph(4, 3)
    found = prepared([graph])
    encoder = small_spe(norm="none", epsilon_std=1.0)
    encoded = encoder(*arguments(found)).detach()
    adjacency = torch.from_numpy(nx.to_numpy_array(graph))
    weights = encoder.phi.mlp(found.eigenvalues[0][:, None])
    v = found.eigenvectors
    x = torch.stack([v @ torch.diag(weights[:, m]) @ v.T for m in range(3)], dim=-1)
    for epsilon, mlp in zip(encoder.rho.gin.epsilon, encoder.rho.gin.mlps):
        x = mlp((1 + epsilon) * x + torch.einsum("iu,ujm->ijm", adjacency, x))
    torch.testing.assert_close(encoded, x.sum(1).detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rho", RHOS)
@pytest.mark.parametrize("phi", PHIS)
def test_encoding_ignores_signs_and_bases_of_the_petersen_graph(phi, rho):
    found = prepared([nx.petersen_graph()])
    encoder = small_spe(phi=phi, rho=rho)
    with torch.no_grad():
        first = encoder(*arguments(found))
        second = encoder(*arguments(rotated_inside_eigenspaces(found, 1)))
    assert float((first - second).abs().max()) <= 1e-12 * float(first.norm())
    assert float(first.norm()) > 0


def test_encoding_by_raw_eigenvectors_does_depend_on_the_basis():
    found = prepared([nx.petersen_graph()])
    raw = RawEigenvectors(10).eval()
    change = raw(*arguments(found)) - raw(*arguments(rotated_inside_eigenspaces(found, 1)))
    assert float(change.norm()) > 0.5


@settings(max_examples=15, deadline=None)
@given(random_graphs, st.sampled_from(PHIS), st.sampled_from(RHOS), st.randoms(use_true_random=False))
def test_encoding_follows_the_numbering_of_the_nodes(graph, phi, rho, random):
    order = list(graph.nodes)
    random.shuffle(order)
    renumbered = nx.Graph()
    renumbered.add_nodes_from(order)
    renumbered.add_edges_from(graph.edges)
    encoder = small_spe(phi=phi, rho=rho)
    with torch.no_grad():
        first = encoder(*arguments(prepared([graph])))
        second = encoder(*arguments(prepared([renumbered])))
    torch.testing.assert_close(second, first[order], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rho", RHOS)
@pytest.mark.parametrize("phi", PHIS)
def test_encoding_of_a_graph_does_not_depend_on_its_batch_or_on_padding(phi, rho):
    small, large = nx.path_graph(4), nx.gnp_random_graph(9, 0.5, seed=1)
    encoder = small_spe(phi=phi, rho=rho)
    with torch.no_grad():
        together = encoder(*arguments(prepared([small, large, nx.empty_graph(1)], 12)))
        alone = encoder(*arguments(prepared([small])))
    torch.testing.assert_close(together[:4], alone, rtol=1e-10, atol=1e-12)


def test_batch_statistics_are_those_of_real_pairs_only():
    found = prepared([nx.path_graph(3), nx.complete_graph(7)])
    encoder = small_spe(phi="constant", rho_layers=1, epsilon_std=0.0).train()
    encoder(*arguments(found))
    first, norm = encoder.rho.gin.mlps[0][0], encoder.rho.gin.mlps[0][1]
    rows = []
    for graph in (nx.path_graph(3), nx.complete_graph(7)):
        a = torch.from_numpy(nx.to_numpy_array(graph))
        # All eigenpairs and φ = 1 make W the identity.
        entries = (torch.eye(len(graph), dtype=torch.float64) + a).reshape(-1, 1).expand(-1, 3)
        rows.append(first(entries))
    rows = torch.cat(rows)
    torch.testing.assert_close(norm.running_mean, 0.1 * rows.mean(0).detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * rows.var(0).detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rho", ["gin", "mlp"])
def test_column_chunks_give_the_same_encoding_and_gradients(rho):
    found = prepared([nx.gnp_random_graph(n, 0.5, seed=n) for n in (7, 4)])
    whole = small_spe(rho=rho, norm="layer").train()
    chunked = small_spe(rho=rho, norm="layer", column_chunk=3).train()
    chunked.load_state_dict(whole.state_dict())
    results = []
    for encoder in (whole, chunked):
        encoded = encoder(*arguments(found))
        encoded.square().sum().backward()
        results.append((encoded.detach(), [p.grad for p in encoder.parameters()]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("rho", ["gin", "ppgn"])
def test_memory_estimate_is_within_a_factor_of_two_of_what_autograd_keeps(rho):
    graphs = zinc_7k().graphs.select(range(32))
    encoder = SPE(16, n_channels=8, hidden_dim=32, rho=rho, rho_layers=3)
    found = with_eigenpairs(graphs, None)
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage() if tensor.layout == torch.strided else None
        if storage is not None:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        encoded = encoder.encode(found)
    measured = sum(kept.values()) / 1e9
    assert encoded.requires_grad
    assert 0.5 < encoder.memory_gb(found.n_nodes) / measured < 2.0


def test_gradient_of_the_encoding_is_right():
    found = prepared([nx.path_graph(4), nx.cycle_graph(3)])
    encoder = small_spe(norm="none", n_channels=2, hidden_dim=3, phi="spline", n_pieces=3)
    parameters = [encoder.phi.values, encoder.rho.gin.epsilon]

    def encode(*values):
        named = dict(zip(["phi.values", "rho.gin.epsilon"], values))
        return torch.func.functional_call(encoder, named, arguments(found))

    assert torch.autograd.gradcheck(encode, [p.detach().requires_grad_() for p in parameters])


def test_spline_is_the_c2_cubic_spline_with_its_values_and_end_slopes():
    spline = CubicSpline(2, 5).double()
    spline.slope_of = CubicSplineSlopes(5)
    nn.init.normal_(spline.end_slopes)
    x = torch.linspace(0, 2, 101, dtype=torch.float64)[None]
    ours = spline(x, torch.ones_like(x, dtype=torch.bool))[0].detach().numpy()
    values, slopes = spline.values.detach().numpy(), spline.end_slopes.detach().numpy()
    scipy = ScipySpline(np.linspace(0, 2, 6), values, bc_type=((1, slopes[0]), (1, slopes[1])))
    np.testing.assert_allclose(ours, scipy(x[0].numpy()), atol=1e-12)


def CubicSplineSlopes(n_pieces: int) -> torch.Tensor:
    """The buffer built where the default floating type is float64, so that the comparison is exact."""
    torch.set_default_dtype(torch.float64)
    try:
        return CubicSpline(1, n_pieces).slope_of
    finally:
        torch.set_default_dtype(torch.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_full_spectrum_weights_move_by_at_most_their_lipschitz_constant(seed):
    rng = np.random.default_rng(seed)
    graph = nx.gnp_random_graph(10, 0.4, seed=seed)
    other = graph.copy()
    u, v = rng.choice(10, 2, replace=False)
    (other.remove_edge if other.has_edge(u, v) else other.add_edge)(int(u), int(v))
    matrices, functions = [], []
    for one in (graph, other):
        values, vectors = laplacian_eigenpairs([one])
        matrices.append((vectors * values) @ vectors.T)
        functions.append((vectors * 2 * (values - 0.7).clamp(min=0)) @ vectors.T)
    assert float((functions[0] - functions[1]).norm()) <= 2 * (1 + 1e-9) * float((matrices[0] - matrices[1]).norm())


def test_change_of_spe_is_proportional_to_the_perturbation_and_that_of_signnet_is_not():
    ring = nx.cycle_graph(16)
    levels = [1e-3, 1e-6]
    spe = encoding_changes(small_spe(), ring, levels, random_state=0)
    signnet = encoding_changes(SignNet(5, hidden_dim=8, n_layers=2, mlp_layers=2), ring, levels, random_state=0)
    assert 1 / 3 < spe[1] / spe[0] / 1e-3 < 3
    assert signnet[1] / signnet[0] > 0.1


def test_theorem_bounds_the_change_of_the_weights_under_truncation():
    rng = np.random.default_rng(0)
    ring = nx.gnp_random_graph(12, 0.4, seed=3)
    for _ in range(20):
        pair = []
        for _ in range(2):
            for u, v in ring.edges:
                ring[u][v]["weight"] = 1 + 0.1 * rng.random()
            values, vectors = laplacian_eigenpairs([ring])
            pair.append((values[0], vectors))
        (w1, v1), (w2, v2) = pair
        change = float(((v1 * w1) @ v1.T - (v2 * w2) @ v2.T).norm())
        cut = [(v[:, :6] * w[:6]) @ v[:, :6].T for w, v in ((w1, v1), (w2, v2))]
        bound = spe_bound(change, float(w1[6] - w1[5]), 6, phi_lipschitz=1.0, phi_largest=2 * np.sqrt(6))
        assert float((cut[0] - cut[1]).norm()) <= bound


# --- rivals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("aggregate", ["sum", "concat"])
def test_signnet_ignores_signs_but_not_bases(aggregate):
    found = prepared([nx.petersen_graph()])
    encoder = SignNet(4, hidden_dim=8, n_layers=2, aggregate=aggregate, n_eigenvectors=10).double().eval()
    sign = torch.tensor([1.0, -1.0] * 5, dtype=torch.float64)
    flipped = GraphSet(
        found.n_nodes, found.edge_index, eigenvalues=found.eigenvalues, eigenvectors=found.eigenvectors * sign
    )
    with torch.no_grad():
        first, second = encoder(*arguments(found)), encoder(*arguments(flipped))
        turned = encoder(*arguments(rotated_inside_eigenspaces(found, 1)))
    torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-12)
    assert float((first - turned).norm() / first.norm()) > 1e-6


def test_basisnet_ignores_bases_and_feeds_its_networks_the_contractions_of_the_projectors():
    found = prepared([nx.petersen_graph()])
    encoder = BasisNet(4, n_eigenvectors=10, hidden_dim=8, n_layers=1).double().eval()
    with torch.no_grad():
        first = encoder(*arguments(found))
        turned = encoder(*arguments(rotated_inside_eigenspaces(found, 1)))
    torch.testing.assert_close(first, turned, rtol=1e-9, atol=1e-12)

    class Record(nn.Module):
        def forward(self, contractions, batch, n_graphs):
            self.seen = contractions
            return contractions.new_zeros(len(contractions), 4)

    path = prepared([nx.path_graph(4)])  # simple spectrum: all spaces go through the first network
    encoder.heads[0] = Record()
    encoder(*arguments(GraphSet(path.n_nodes, path.edge_index, None, None, None, *padded_to(path, 10))))
    v = path.eigenvectors
    for node in range(4):
        for k in range(4):
            projector = torch.outer(v[:, k], v[:, k])
            row = projector[node].mean()
            expected = [projector[node, node], row, row, projector.trace() / 4, projector.mean()]
            torch.testing.assert_close(encoder.heads[0].seen[4 * node + k], torch.stack(expected))


def padded_to(graphs: GraphSet, d: int):
    wide = prepared(GraphSet(graphs.n_nodes, graphs.edge_index), d)
    return wide.eigenvalues, wide.eigenvectors


def test_random_walk_encoding_is_that_of_pytorch_geometric():
    graphs = [nx.gnp_random_graph(n, 0.5, seed=n) for n in (6, 9)]
    found = prepared(graphs)
    ours = RandomWalk(5)(*arguments(found))
    start = 0
    for graph in graphs:
        edges = torch.tensor([*graph.edges, *[(v, u) for u, v in graph.edges]]).T
        theirs = AddRandomWalkPE(5)(Data(edge_index=edges, num_nodes=len(graph))).random_walk_pe
        torch.testing.assert_close(ours[start : start + len(graph)].float(), theirs, rtol=1e-5, atol=1e-6)
        start += len(graph)


def test_peg_gives_the_distances_of_the_ends_of_each_edge():
    found = prepared([nx.path_graph(3)])
    gaps = PEG()(*arguments(found))[:, 0]
    source, target = found.edge_index
    torch.testing.assert_close(gaps, (found.eigenvectors[source] - found.eigenvectors[target]).norm(dim=1))


def test_raw_eigenvectors_flip_signs_in_training_only():
    found = prepared([nx.path_graph(6)])
    raw = RawEigenvectors(6)
    torch.testing.assert_close(raw.train()(*arguments(found)).abs(), found.eigenvectors.abs())
    assert any(not torch.equal(raw(*arguments(found)), found.eigenvectors) for _ in range(20))
    assert torch.equal(raw.eval()(*arguments(found)), found.eigenvectors)


# --- in a PyTorch Geometric model --------------------------------------------------------------------------------


class PlainModel(nn.Module):
    """A user's model: GINEConv layers with the encoder in front."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = SPE(8, n_channels=4, hidden_dim=16, rho_layers=2, mlp_layers=2)
        self.edge = nn.Embedding(4, 8)
        self.conv = GINEConv(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8)))
        self.head = nn.Linear(8, 1)

    def forward(self, data: Batch) -> torch.Tensor:
        x = self.encoder(data.eigenvalues, data.eigenvectors, data.edge_index, data.batch)
        x = self.conv(x, data.edge_index, self.edge(data.edge_attr))
        return self.head(global_add_pool(x, data.batch))[:, 0]


def test_encoder_trains_inside_a_pytorch_geometric_model_with_loader_and_transform():
    task = counting_task(64, sizes=(10,), random_state=0)
    scaled = (task.counts[:, 0] - task.counts[:, 0].mean()) / task.counts[:, 0].std()
    transform = Compose([AddEigenpairs(10)])
    graphs = []
    for number in range(64):
        one = task.graphs.select([number])
        edge_attr = torch.ones(one.edge_index.shape[1], dtype=torch.long)
        y = torch.tensor([scaled[number]], dtype=torch.float32)
        graphs.append(transform(Data(edge_index=one.edge_index, edge_attr=edge_attr, y=y, num_nodes=10)))
    model = PlainModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    history = []
    for _ in range(25):
        for batch in DataLoader(graphs, batch_size=32):
            loss = (model(batch) - batch.y).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            assert all(p.grad is not None and p.grad.isfinite().all() for p in model.encoder.parameters())
            optimizer.step()
            history.append(loss.item())
    assert np.mean(history[-4:]) < 0.5 * np.mean(history[:4])


# --- estimators --------------------------------------------------------------------------------------------------


def test_regressor_with_spe_counts_triangles_far_better_than_without_encoding():
    task = counting_task(200, sizes=(10,), random_state=0)
    y = task.counts[:, 0]
    train, test = np.arange(120), np.arange(120, 200)
    errors = {}
    for encoding in ("spe", "none"):
        model = SPERegressor(
            encoding=encoding, n_channels=4, hidden_dim=16, encoding_dim=8, rho_layers=1, n_layers=1, pool="sum",
            n_epochs=25, batch_size=30, learning_rate=1e-2, random_state=0,
        )  # fmt: skip
        model.fit(task.graphs.select(train), y[train])
        errors[encoding] = mean_absolute_error(y[test], model.predict(task.graphs.select(test))) / y.std()
    assert errors["spe"] < 0.6 * errors["none"]


@pytest.mark.parametrize("encoding", ["spe", "signnet", "basisnet", "peg", "eigenvectors", "rwse", "none"])
def test_every_encoding_fits_predicts_and_comes_back_from_disk_the_same(encoding, tmp_path):
    molecules = zinc_7k()
    graphs, y = molecules.graphs.select(range(40)), molecules.y[:40]
    model = SPERegressor(encoding=encoding, random_state=0, **TINY).fit(graphs, np.stack([y, -y], axis=1))
    predicted = model.predict(graphs)
    assert predicted.shape == (40, 2) and np.isfinite(predicted).all()
    model.save_pretrained(tmp_path / "model")
    loaded = SPERegressor.from_pretrained(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(graphs), predicted)
    if encoding not in ("peg", "none"):
        for first, second, n in zip(model.transform(graphs), loaded.transform(graphs), graphs.n_nodes.tolist()):
            assert len(first) == n
            np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("phi", [phi for phi in PHIS if phi != "constant"])
def test_weights_of_every_phi_are_learnt(phi):
    molecules = zinc_7k()
    graphs, y = molecules.graphs.select(range(40)), molecules.y[:40]
    still, moved = (
        SPERegressor(phi=phi, phi_hidden=8, random_state=0, **(TINY | {"learning_rate": rate})).fit(graphs, y)
        for rate in (1e-12, 1e-2)
    )
    before, after = (model.network_.encoder.phi.state_dict() for model in (still, moved))
    learnt = {name for name, _ in still.network_.encoder.phi.named_parameters()}
    assert learnt and all(float((before[name] - after[name]).abs().max()) > 1e-4 for name in learnt)


def test_same_seed_gives_the_same_model_and_another_seed_another():
    molecules = zinc_7k()
    graphs, y = molecules.graphs.select(range(40)), molecules.y[:40]
    first, second, other = (
        SPERegressor(random_state=seed, dropout=0.1, **TINY).fit(graphs, y).predict(graphs) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_stopped_training_goes_on_to_the_same_model(tmp_path, monkeypatch):
    molecules = zinc_7k()
    graphs, y = molecules.graphs.select(range(40)), molecules.y[:40]
    options = TINY | {"random_state": 0, "batch_size": 8, "n_epochs": 3, "dropout": 0.1}
    expected = SPERegressor(**options).fit(graphs, y).predict(graphs)
    original = SPERegressor._outputs
    calls = []

    def interrupted(self, network, found):
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return original(self, network, found)

    monkeypatch.setattr(SPERegressor, "_outputs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        SPERegressor(**options).fit(graphs, y, checkpoint_dir=tmp_path)
    model = SPERegressor(**options).fit(graphs, y, checkpoint_dir=tmp_path, resume=True)
    np.testing.assert_array_equal(model.predict(graphs), expected)


def test_global_generator_is_left_as_it_was():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    SPERegressor(random_state=0, **TINY).fit([nx.cycle_graph(n) for n in range(3, 13)], range(10))
    assert torch.equal(torch.rand(1), expected)


def test_smiles_networkx_and_pyg_forms_of_the_same_molecules_give_the_same_predictions():
    pytest.importorskip("rdkit")
    smiles = ["CCO", "c1ccccc1", "CC(=O)N", "C1CC1", "CCCl", "CNC", "O=C=O", "C#N", "CCCC", "c1ccncc1"]
    found = as_graph_set(smiles)
    data, nets = [], []
    for number in range(len(smiles)):
        one = found.select([number])
        data.append(Data(x=one.node_features[:, 0], edge_index=one.edge_index, edge_attr=one.edge_features[:, 0]))
        data[-1].num_nodes = int(one.n_nodes[0])
        net = nx.Graph()
        net.add_nodes_from((i, {"type": int(t)}) for i, t in enumerate(one.node_features[:, 0]))
        for (u, v), t in zip(one.edge_index.T.tolist(), one.edge_features[:, 0].tolist()):
            net.add_edge(u, v, type=t)
        nets.append(net)
    model = SPERegressor(random_state=0, **TINY).fit(smiles, np.arange(10.0))
    expected = model.predict(smiles)
    np.testing.assert_allclose(model.predict(data), expected, atol=1e-5)
    np.testing.assert_allclose(model.predict(nets), expected, atol=1e-5)


def test_list_tuple_and_batch_of_pyg_graphs_are_the_same_graphs():
    data = [single(), single(edge_index=torch.tensor([[0, 2], [2, 0]]))]
    whole = as_graph_set(data)
    for other in (tuple(data), Batch.from_data_list(data), whole):
        found = as_graph_set(other)
        assert torch.equal(found.n_nodes, whole.n_nodes) and torch.equal(found.edge_index, whole.edge_index)


def test_eigenpairs_that_come_with_the_graphs_are_used():
    graphs = [nx.cycle_graph(n) for n in range(3, 13)]
    data = [AddEigenpairs(6)(Data(edge_index=as_graph_set([g]).edge_index, num_nodes=len(g))) for g in graphs]
    model = SPERegressor(n_eigenvectors=6, random_state=0, **TINY).fit(graphs, range(10))
    np.testing.assert_allclose(model.predict(data), model.predict(graphs), atol=1e-5)


def test_classifier_tells_rings_from_chains_and_comes_back_from_disk(tmp_path):
    graphs = [make(n) for n in range(4, 14) for make in (nx.cycle_graph, nx.path_graph)]
    labels = ["ring", "chain"] * 10
    options = TINY | {"n_epochs": 40, "n_layers": 2, "learning_rate": 1e-2, "validation_fraction": 0.0}
    model = SPEClassifier(random_state=0, batch_size=10, **options).fit(graphs, labels)
    assert model.score(graphs, labels) == 1.0
    model.save_pretrained(tmp_path / "model")
    loaded = SPEClassifier.from_pretrained(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(graphs), model.predict_proba(graphs))
    assert list(loaded.predict(graphs[:2])) == ["ring", "chain"]


def test_classifier_keeps_the_epoch_that_is_best_on_the_validation_graphs_given():
    graphs = [make(n) for n in range(4, 14) for make in (nx.cycle_graph, nx.path_graph)]
    held = [make(20) for make in (nx.cycle_graph, nx.path_graph)]
    model = SPEClassifier(random_state=0, **TINY)
    model.fit(graphs, ["ring", "chain"] * 10, validation=(held, ["ring", "chain"]))
    probability = model.predict_proba(held)[[0, 1], np.searchsorted(model.classes_, ["ring", "chain"])]
    np.testing.assert_allclose(-np.log(probability).mean(), model.validation_losses_.min(), rtol=1e-4)
    with pytest.raises(ValueError, match="validation holds the class 'star'"):
        model.fit(graphs, ["ring", "chain"] * 10, validation=(held, ["ring", "star"]))


def test_graphs_larger_than_those_of_the_training_are_predicted():
    model = SPERegressor(random_state=0, **TINY).fit([nx.cycle_graph(n) for n in range(3, 13)], range(10))
    assert np.isfinite(model.predict([nx.cycle_graph(40)])).all()


# --- refusals ----------------------------------------------------------------------------------------------------


def single(**changes) -> Data:
    data = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
    for name, value in changes.items():
        setattr(data, name, value)
    return data


WEIGHT_NAN = torch.tensor([1.0, 1.0, float("nan"), float("nan")])


@pytest.mark.parametrize(
    ("graphs", "message"),
    [
        ([single(edge_index=torch.tensor([[0, 1], [1, 2]]))], "undirected"),
        ([nx.DiGraph([(0, 1)])], "undirected"),
        ([single(edge_weight=torch.tensor([1.0, 2.0, 1.0, 1.0]))], "undirected"),
        ([single(edge_weight=-torch.ones(4))], "negative"),
        ([single(edge_weight=WEIGHT_NAN)], "edge_weight holds NaN"),
        ([single(x=torch.full((3, 1), float("inf")))], "node_features holds NaN or infinity"),
        ([single(edge_index=torch.tensor([[0, 3], [3, 0]]))], r"graphs\[0\].edge_index"),
        ([single(x=torch.zeros(2, 1))], r"graphs\[0\].x must have 3 rows"),
        ([nx.empty_graph(0)], r"graphs\[0\] is empty"),
        ([single(), single(x=torch.zeros(3, 1))], "some graphs have node_features"),
        ([single(x=torch.tensor([-1, 0, 0]))], "negative type"),
        ([single(edge_weight=torch.ones(4, 1))], "edge_weight must have one number an edge"),
        ([single(edge_index=None)], r"graphs\[0\].edge_index is missing"),
        ([nx.Graph([(0, 1, {"weight": float("nan")})])], r"graphs\[0\]: edge attribute 'weight' holds NaN"),
        ([], "graphs is empty"),
    ],
)
def test_graphs_that_the_method_is_not_defined_on_are_refused(graphs, message):
    with pytest.raises(ValueError, match=message):
        SPERegressor(**TINY).fit(graphs, np.zeros(len(graphs)) if graphs else np.zeros(1))


@pytest.mark.parametrize(
    "graphs", [3, single(), nx.path_graph(3), nx.to_scipy_sparse_array(nx.path_graph(3)), "CCO", None]
)
def test_what_is_no_list_of_graphs_is_refused(graphs):
    with pytest.raises(TypeError, match="graphs must be a list of graphs, got"):
        SPERegressor(**TINY).fit(graphs, [1.0])


@pytest.mark.parametrize("piece", [3, None, object()])
def test_list_with_something_that_is_no_graph_is_refused_by_its_place(piece):
    with pytest.raises(TypeError, match=r"graphs\[1\]"):
        SPERegressor(**TINY).fit([nx.path_graph(3), piece], [1.0, 2.0])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([1.0], "y must have one row a graph"),
        ([1.0, np.nan, 1.0], "y holds NaN"),
        ([1.0, np.inf, 1.0], "y holds NaN or infinity"),
    ],
)
def test_bad_targets_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        SPERegressor(**TINY).fit([nx.path_graph(3)] * 3, y)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("encoding", "spectral"),
        ("phi", "cubic"),
        ("rho", "gat"),
        ("norm", "instance"),
        ("pool", "max"),
        ("combine", "stack"),
        ("n_eigenvectors", 0),
        ("n_epochs", 0),
        ("learning_rate", 0.0),
        ("dropout", 1.0),
        ("validation_fraction", 1.0),
        ("memory_limit_gb", float("nan")),
        ("weight_decay", -1.0),
        ("column_chunk", 4),  # with the default norm="batch"
    ],
)
def test_bad_hyper_parameters_are_refused_by_name(name, value):
    graphs = [nx.path_graph(3)] * 4
    with pytest.raises(ValueError, match=name):
        SPERegressor(**TINY).set_params(**{name: value}).fit(graphs, range(4))


def test_unknown_types_are_refused_at_prediction():
    model = SPERegressor(**TINY).fit([single(x=torch.tensor([0, 1, 1]))] * 4, range(4))
    with pytest.raises(ValueError, match=r"node type 7 .* outside the vocabulary 0\.\.1"):
        model.predict([single(x=torch.tensor([0, 7, 1]))])
    with pytest.raises(ValueError, match="node features must be those"):
        model.predict([single()])


def test_type_that_only_held_out_graphs_have_is_known():
    graphs = [single(x=torch.tensor([0, 1, number])) for number in range(20)]
    model = SPERegressor(random_state=0, **(TINY | {"validation_fraction": 0.5})).fit(graphs, range(20))
    assert np.isfinite(model.predict(graphs)).all()


def test_atom_of_the_vocabulary_that_no_training_molecule_has_can_be_predicted():
    molecules = zinc_7k()
    plain = np.flatnonzero([int(molecules.graphs.select([i]).node_features.max()) < 6 for i in range(60)])
    model = SPERegressor(random_state=0, **TINY).fit(molecules.graphs.select(plain), molecules.y[plain])
    assert np.isfinite(model.predict(molecules.graphs.select(range(60)))).all()


def test_prediction_before_fit_is_refused():
    with pytest.raises(ValueError, match="call fit first"):
        SPERegressor().predict([nx.path_graph(3)])


def changed(name: str, change):
    found = prepared([nx.path_graph(3), nx.cycle_graph(4)], 5)
    named = dict(zip(("eigenvalues", "eigenvectors", "edge_index", "batch", "edge_weight"), arguments(found)))
    named[name] = change(named[name])
    return named


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("eigenvectors", lambda v: 1.01 * v, "eigenvectors of graph . must be orthonormal"),
        ("eigenvectors", lambda v: v[:5], "batch must have one entry a row of eigenvectors"),
        ("eigenvectors", lambda v: v[:, :4], "eigenvectors must have as many columns"),
        ("eigenvectors", lambda v: v * float("nan"), "eigenvectors holds NaN"),
        ("eigenvalues", lambda w: w - 0.1, r"eigenvalues must lie in \[0, 2\]"),
        ("eigenvalues", lambda w: 2 * w, r"eigenvalues must lie in \[0, 2\]"),
        ("eigenvalues", lambda w: w[:1], "batch must hold graph numbers below"),
        ("batch", lambda b: b.flip(0), "batch must be sorted"),
        ("batch", lambda b: b[:4], "batch must have one entry"),
        ("edge_index", lambda e: e + 5, "edge_index must hold node numbers"),
        ("edge_index", lambda e: e[:, :1], "edge_index must hold each edge in both directions"),
        ("edge_index", lambda e: torch.tensor([[0, 5], [5, 0]]), "edge_index joins nodes of different graphs"),
        ("edge_weight", lambda w: torch.ones(3, dtype=torch.float64), "edge_weight must have one entry an edge"),
        ("edge_weight", lambda w: -torch.ones(12, dtype=torch.float64), "edge_weight must be finite and >= 0"),
        ("edge_weight", lambda w: torch.arange(12.0, dtype=torch.float64), "edge_weight must be the same in both"),
    ],
)
def test_encoder_refuses_arguments_that_do_not_fit_together(name, change, message):
    with pytest.raises(ValueError, match=message):
        small_spe()(**changed(name, change))


def test_batch_above_the_memory_limit_is_refused_with_the_estimate():
    found = prepared([nx.path_graph(60)])
    with pytest.raises(ValueError, match=r"memory_limit_gb is 0.001, .* up to 60 nodes need about"):
        small_spe(memory_limit_gb=0.001)(*arguments(found))
    small_spe(memory_limit_gb=0.001, norm="layer", column_chunk=4)(*arguments(found))


def test_graph_that_is_too_large_is_refused_before_its_eigenpairs_are_computed(monkeypatch):
    def fail(*arguments):
        raise AssertionError("eigenpairs were computed")

    monkeypatch.setattr("semigroup.graphs.spe.estimator.with_eigenpairs", fail)
    with pytest.raises(ValueError, match=r"memory_limit_gb is 0.001, .* up to 200 nodes"):
        SPERegressor(memory_limit_gb=0.001, **TINY).fit([nx.path_graph(200)] * 3, range(3))


def test_batches_that_are_too_large_are_refused_before_the_training(monkeypatch):
    monkeypatch.setattr("semigroup.graphs.spe.estimator.train", lambda *a, **k: pytest.fail("training began"))
    options = {**TINY, "validation_fraction": 0.0, "batch_size": 4}
    one = SPERegressor(**options)._build_encoder(8).memory_gb(torch.tensor([40]))
    graphs = [nx.path_graph(4)] * 8 + [nx.path_graph(40)] * 3
    with pytest.raises(ValueError, match="and 4 graphs with up to 40 nodes"):
        SPERegressor(memory_limit_gb=2 * one, **options).fit(graphs, range(11))


@pytest.mark.parametrize("d", [0, -1, 2.5])
def test_fewer_than_one_eigenvector_is_refused(d):
    with pytest.raises((ValueError, TypeError), match="n_eigenvectors"):
        AddEigenpairs(d)


# --- the job -----------------------------------------------------------------------------------------------------


def test_job_reads_a_table_of_smiles_and_an_npz(tmp_path: Path):
    pytest.importorskip("rdkit")
    table = tmp_path / "molecules.csv"
    table.write_text("SMILES,logS\n" + "\n".join(f"{'C' * (n + 1)},{n / 2}" for n in range(12)))
    data = job.read([table])
    assert data.target == "logS" and data.graphs.n_nodes.tolist() == list(range(1, 13))
    archive = tmp_path / "molecules.npz"
    np.savez(
        archive,
        n_atoms=np.full(10, 2),
        n_bonds=np.ones(10, int),
        atom_type=np.zeros(20, int),
        bond_src=np.zeros(10, int),
        bond_dst=np.ones(10, int),
        bond_type=np.ones(10, int),
        y=np.arange(10.0),
    )
    assert len(job.read([archive]).graphs) == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,y\n" + "a,1\n" * 12, "needs a column 'smiles'"),
        ("smiles\n" + "CC\n" * 12, "one numeric target column"),
        ("smiles,y\n" + "CC,\n" * 12, "finite"),
        ("smiles,y\n" + "not a molecule,1\n" * 12, r"smiles\[0\] is no molecule"),
        ("smiles,y\nCC,1\n", "at least 10 graphs"),
    ],
)
def test_job_names_the_file_and_what_is_wrong_with_it(tmp_path: Path, text, message):
    pytest.importorskip("rdkit")
    from rdkit import rdBase

    path = tmp_path / "table.csv"
    path.write_text(text)
    with rdBase.BlockLogs(), warnings.catch_warnings(), pytest.raises(ValueError, match=message) as refused:
        job.read([path])
    assert "table.csv" in str(refused.value)

"""The Rayleigh quotient graph neural network: spectra, network, loss, detector."""

import math

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import f1_score, roc_auc_score
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import ChebConv

from semigroup.data.anomalous_graphs import rayleigh_only
from semigroup.data.graph_sets import GraphSet, as_graph_set
from semigroup.data.tu_graphs import tox21
from semigroup.graphs import RQGNN, rayleigh_quotients, smoothed_energy, spectral_energy
from semigroup.graphs.rqgnn import RQNetwork, best_threshold, chebyshev_terms, class_balanced_weights, focal_loss
from semigroup.jobs import rqgnn as job

# --- spectra -----------------------------------------------------------------------------------------------------------


def random_graphs(seed: int, n_graphs: int = 12, weighted: bool = True) -> list[np.ndarray]:
    """Dense adjacency matrices of 1 to 15 nodes, some nodes isolated."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n_graphs):
        n = rng.integers(1, 16)
        upper = np.triu(rng.random((n, n)) < 0.25, 1) * (rng.uniform(0.1, 3, (n, n)) if weighted else 1.0)
        found.append(upper + upper.T)
    return found


def as_set(dense: list[np.ndarray], features: torch.Tensor | None = None) -> GraphSet:
    sizes = torch.tensor([len(one) for one in dense])
    starts = np.cumsum(sizes.numpy()) - sizes.numpy()
    ends = np.concatenate([np.stack(np.nonzero(one)) + start for one, start in zip(dense, starts)], axis=1)
    weight = np.concatenate([one[np.nonzero(one)] for one in dense])
    return GraphSet(sizes, torch.from_numpy(ends), features, edge_weight=torch.from_numpy(weight))


def dense_laplacian(adjacency: np.ndarray) -> np.ndarray:
    degree = adjacency.sum(1)
    root = np.array([1 / math.sqrt(d) if d > 0 else 0.0 for d in degree])
    return np.diag((degree > 0).astype(float)) - root[:, None] * adjacency * root


def test_quotients_are_those_of_dense_matrices_graph_by_graph():
    dense = random_graphs(0)
    sizes = [len(one) for one in dense]
    x = np.random.default_rng(1).standard_normal((sum(sizes), 3))
    x[: sizes[0], 1] = 0.0
    parts = np.split(x, np.cumsum(sizes)[:-1])
    plain = np.array([np.diag(part.T @ dense_laplacian(one) @ part) for one, part in zip(dense, parts)])
    energy = np.array([np.diag(part.T @ part) for part in parts])
    graphs = as_set(dense)
    np.testing.assert_allclose(rayleigh_quotients(graphs, x, normalize=False), plain, atol=1e-12)
    expected = np.divide(plain, energy, out=np.zeros_like(plain), where=energy > 0)
    np.testing.assert_allclose(rayleigh_quotients(graphs, x), expected, atol=1e-12)
    assert rayleigh_quotients(graphs, x)[0, 1] == 0
    np.testing.assert_allclose(
        rayleigh_quotients(graphs, x, per_channel=False), plain.sum(1) / energy.sum(1), atol=1e-12
    )


def test_quotients_of_types_count_nodes_less_the_bonds_between_equal_ones():
    # diag(XᵀLX)_c = #(nodes of type c) − 2 Σ over bonds c–c of 1/√(d_i d_j).
    path = nx.path_graph(4)
    nx.set_node_attributes(path, {0: 5, 1: 5, 2: 5, 3: 2}, "type")
    found = rayleigh_quotients([path], normalize=False)
    np.testing.assert_allclose(found, [[1, 3 - 2 * (1 / math.sqrt(2) + 1 / 2)]], atol=1e-12)


def test_the_quotient_is_the_mean_of_the_energy_and_the_area_above_its_curve():
    dense = random_graphs(2, 60)
    x = np.random.default_rng(3).standard_normal((sum(map(len, dense)), 2))
    graphs = as_set(dense)
    energy = spectral_energy(graphs, x)
    quotient = rayleigh_quotients(graphs, x, per_channel=False)
    np.testing.assert_allclose(energy.rayleigh_quotients(), quotient, atol=1e-12)
    np.testing.assert_allclose(energy.area_above(), quotient, atol=1e-12)


def test_accumulated_energy_is_that_of_each_graphs_own_eigenvectors():
    dense = random_graphs(4)
    sizes = [len(one) for one in dense]
    x = np.random.default_rng(5).standard_normal((sum(sizes), 2))
    thresholds = np.array([-0.1, 0.0, 0.31, 1.0, 1.7, 2.0])
    found = spectral_energy(as_set(dense), x).accumulated(thresholds)
    for row, one, part in zip(found, dense, np.split(x, np.cumsum(sizes)[:-1])):
        values, vectors = np.linalg.eigh(dense_laplacian(one))
        at = ((vectors.T @ part) ** 2).sum(1)
        expected = [at[values <= t + 1e-9].sum() / at.sum() for t in thresholds]
        np.testing.assert_allclose(row, expected, atol=1e-12)


def test_moments_give_the_curve_smoothed_by_the_kernel_and_nearer_with_more_of_them():
    dense = [one for one in random_graphs(6, 30) if len(one) > 5]
    x = np.random.default_rng(7).standard_normal((sum(map(len, dense)), 1))
    graphs, thresholds = as_set(dense), np.linspace(0, 2, 401)
    exact = spectral_energy(graphs, x)
    distances = []
    for n_moments in (16, 64, 256):
        found = smoothed_energy(graphs, thresholds, x, n_moments=n_moments)
        assert found.min() > -1e-12 and found.max() < 1 + 1e-12 and (np.diff(found, axis=1) > -1e-12).all()
        # The first moment is kept up to Jackson's factor, so the area above is 1 + g₁ (RQ − 1).
        area = np.trapezoid(1 - found, thresholds, axis=1)
        factor = math.cos(math.pi / (n_moments + 2))
        np.testing.assert_allclose(area, 1 + factor * (exact.rayleigh_quotients() - 1), atol=2e-3)
        distances.append(np.trapezoid(np.abs(found - exact.accumulated(thresholds)), thresholds, axis=1).mean())
        assert distances[-1] < math.pi / n_moments
    assert distances[1] < distances[0] / 2 and distances[2] < distances[1] / 2


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_a_change_of_the_laplacian_moves_the_quotient_by_at_most_its_norm(seed):
    rng = np.random.default_rng(seed)
    one, other = random_graphs(seed, 2)
    n = min(len(one), len(other))
    one, other = one[:n, :n], other[:n, :n]
    x = rng.standard_normal((n, 1))
    moved = rayleigh_quotients(as_set([one]), x) - rayleigh_quotients(as_set([other]), x)
    assert abs(moved[0, 0]) <= np.linalg.norm(dense_laplacian(one) - dense_laplacian(other), 2) + 1e-12


def test_the_published_disparity_of_a_real_assay_is_found(shared_data):
    data = tox21("PPAR-gamma")
    learnt = np.flatnonzero(data.split == 0)
    quotient = rayleigh_quotients(data.graphs.select(learnt), per_channel=False)
    active = data.y[learnt] == 1
    assert quotient[active].mean() - quotient[~active].mean() == pytest.approx(-0.063, rel=0.05)


def test_quotients_come_back_in_the_kind_of_the_signals():
    ring, x = nx.cycle_graph(5), torch.randn(5, 2)
    found = rayleigh_quotients([ring], x)
    assert isinstance(found, torch.Tensor) and found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), rayleigh_quotients([ring], x.numpy()), rtol=1e-5)


def test_signals_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="signals must have one row a node"):
        rayleigh_quotients([nx.path_graph(3)], np.ones((4, 1)))
    with pytest.raises(ValueError, match="signals holds NaN"):
        spectral_energy([nx.path_graph(3)], np.array([1, np.nan, 0]))
    with pytest.raises(ValueError, match="n_moments"):
        smoothed_energy([nx.path_graph(3)], np.array([1.0]), n_moments=0)


# --- network -----------------------------------------------------------------------------------------------------------


def prepared(graphs, **options):
    """A batch of all graphs as a detector prepares it."""
    model = RQGNN(**options)
    found = as_graph_set(graphs)
    model.vocabulary_, model.n_features_in_ = None, found.node_features.shape[1]
    ready = model._prepare(found, "graphs")
    return ready, ready.batch(torch.arange(len(found)), torch.device("cpu"))


def reference(network: RQNetwork, dense: list[np.ndarray], features: list[torch.Tensor]) -> torch.Tensor:
    """The paper's formulas graph by graph, each filter a convolution of its own, before the dropout."""
    width, depth, c, _ = network.filters.shape
    act = nn.LeakyReLU()
    rows = []
    for adjacency, x in zip(dense, features):
        laplacian = torch.from_numpy(dense_laplacian(adjacency)).to(x.dtype)
        r = (x * (laplacian @ x)).sum(0)
        h = network.encoder(x)
        source, target = np.nonzero(adjacency)
        edge_index = torch.from_numpy(np.stack([source, target]))
        weight = torch.from_numpy(adjacency[source, target]).to(x.dtype)
        outputs = []
        for w in range(width):
            convolution = ChebConv(c, c, depth).to(x.dtype)
            for k, linear in enumerate(convolution.lins):
                linear.weight = nn.Parameter(network.filters[w, k].T)
            convolution.bias = nn.Parameter(network.filter_bias[w * c : (w + 1) * c])
            outputs.append(convolution(h, edge_index, weight))
        nodes = act(network.mix_again(act(network.mix(torch.cat(outputs, dim=1)))))
        if network.steering is None:
            g = nodes.sum(0) if network.pooling == "sum" else nodes.mean(0)
        else:
            t = network.steering(r)
            g = sum((node @ t) * node for node in nodes)
            g = g / len(nodes) if network.pooling == "rq-mean" else g
        rows.append(g if network.rql is None else torch.cat([g, network.rql(r)]))
    pooled = torch.stack(rows)
    return network.head[1](network.norm(pooled))


@pytest.mark.parametrize("rql", [True, False])
@pytest.mark.parametrize("pooling", ["rq", "rq-mean", "mean", "sum"])
def test_one_map_for_all_filters_gives_the_papers_network(pooling, rql):
    dense = [*random_graphs(8, 6), np.zeros((1, 1)), np.zeros((3, 3))]
    rng = torch.Generator().manual_seed(0)
    features = [torch.randn(len(one), 5, generator=rng, dtype=torch.float64) for one in dense]
    graphs = as_set(dense, torch.cat(features).float())
    network = RQNetwork(5, hidden_dim=7, width=3, depth=4, pooling=pooling, rql=rql).eval()
    with torch.no_grad():
        network.filter_bias.normal_(generator=rng)
    _, batch = prepared(graphs)
    expected = reference(network, dense, [part.float() for part in features])
    scale = max(1.0, float(expected.detach().abs().max()))
    torch.testing.assert_close(network(batch) / scale, expected / scale, rtol=0, atol=2e-5)


@pytest.mark.parametrize("depth", [1, 2, 6])
def test_terms_are_chebyshev_polynomials_of_the_shifted_laplacian(depth):
    dense = random_graphs(9, 5)
    n = sum(map(len, dense))
    _, batch = prepared(as_set(dense, torch.eye(n)))
    found = chebyshev_terms(batch.shifted, batch.features, depth).reshape(n, depth, n)
    start = 0
    for one in dense:
        degree = one.sum(1)
        root = np.array([1 / math.sqrt(d) if d > 0 else 0.0 for d in degree])
        values, vectors = np.linalg.eigh(-root[:, None] * one * root)
        for k in range(depth):
            expected = (vectors * np.cos(k * np.arccos(values.clip(-1, 1)))) @ vectors.T
            piece = found[start : start + len(one), k, start : start + len(one)]
            np.testing.assert_allclose(piece.numpy(), expected, atol=1e-5)
        start += len(one)


def test_two_filters_can_do_what_four_do_where_their_columns_span_the_next_layer():
    dense = random_graphs(13, 6)
    _, batch = prepared(as_set(dense, torch.randn(sum(map(len, dense)), 5)))
    four = RQNetwork(5, hidden_dim=7, width=4, depth=3).eval()
    two = RQNetwork(5, hidden_dim=7, width=2, depth=3).eval()
    two.load_state_dict(
        {k: v for k, v in four.state_dict().items() if not k.startswith(("filter", "mix.w"))}, strict=False
    )
    with torch.no_grad():
        mixing = four.mix.weight.T.reshape(4, 5, 7)
        joint = torch.einsum("wkij,wjh->kih", four.filters, mixing)
        behind = torch.linalg.pinv(two.mix.weight.T)  # 10 columns span 7
        two.filters.copy_((joint @ behind).reshape(3, 5, 2, 5).permute(2, 0, 1, 3))
        torch.testing.assert_close(two(batch), four(batch), rtol=1e-3, atol=1e-4)


def test_an_output_depends_neither_on_the_order_of_the_nodes_nor_on_the_batch():
    dense = random_graphs(10, 5)
    rng = np.random.default_rng(0)
    features = [rng.standard_normal((len(one), 3)).astype(np.float32) for one in dense]
    network = RQNetwork(3, hidden_dim=8).eval()
    orders = [rng.permutation(len(one)) for one in dense]
    mixed = as_set(
        [one[np.ix_(order, order)] for one, order in zip(dense, orders)],
        torch.from_numpy(np.concatenate([x[order] for x, order in zip(features, orders)])),
    )
    _, batch = prepared(as_set(dense, torch.from_numpy(np.concatenate(features))))
    ready, other = prepared(mixed)
    with torch.no_grad():
        logits = network(batch)
        torch.testing.assert_close(network(other), logits, rtol=1e-4, atol=1e-5)
        alone = network(ready.batch(torch.tensor([3]), torch.device("cpu")))
        torch.testing.assert_close(alone[0], logits[3], rtol=1e-4, atol=1e-5)


def test_quotients_and_filters_get_gradients_and_frozen_filters_none():
    _, batch = prepared(as_set(random_graphs(11, 4), torch.randn(sum(map(len, random_graphs(11, 4))), 3)))
    for trained in (True, False):
        network = RQNetwork(3, hidden_dim=4, train_filters=trained)
        network(batch).square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters() if p.requires_grad)
        assert (network.filters.grad is not None) == trained
        assert "filters" in network.state_dict(), "filters that are not trained are stored all the same"


# --- loss --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.5])
def test_loss_is_the_papers_formula(gamma):
    rng = torch.Generator().manual_seed(1)
    y = 3 * torch.randn(20, 2, generator=rng, dtype=torch.float64)
    labels = torch.randint(2, (20,), generator=rng)
    weights = torch.tensor([0.3, 1.7], dtype=torch.float64)
    z = nn.functional.one_hot(labels, 2).double()
    entropy = -z * torch.log(y.sigmoid()) - (1 - z) * torch.log(1 - y.sigmoid())
    modulator = torch.exp(-gamma * z * y - gamma * torch.log(1 + torch.exp(-y)))
    expected = (weights[labels][:, None] * modulator * entropy).sum() / 20
    torch.testing.assert_close(focal_loss(y, labels, weights, gamma), expected)


@pytest.mark.parametrize("logit", [-90.0, -500.0])
def test_a_badly_missed_anomaly_costs_much_where_the_published_form_gives_nothing(logit):
    y, labels = torch.tensor([[-logit, logit]], requires_grad=True), torch.tensor([1])
    published = torch.exp(-1.5 * y[0, 1] - 1.5 * torch.log(1 + torch.exp(-y[0, 1]))) * -nn.functional.logsigmoid(
        y[0, 1]
    )
    assert published.item() == 0
    loss = focal_loss(y, labels, torch.ones(2), 1.5)
    loss.backward()
    assert loss.item() == pytest.approx(-2 * logit)
    torch.testing.assert_close(y.grad, torch.tensor([[1.0, -1.0]]))


def test_weights_balance_the_classes():
    assert class_balanced_weights([900, 100], 0.0) == [1.0, 1.0]
    assert class_balanced_weights([900, 0], 0.9) == [2.0, 0.0]
    near_one = class_balanced_weights([900, 100], 1 - 1e-12)
    assert near_one == pytest.approx([0.2, 1.8], rel=1e-6), "for β → 1, inversely to the counts"
    raw = [(1 - 0.999) / (1 - 0.999**n) for n in (900, 100)]
    assert class_balanced_weights([900, 100], 0.999) == pytest.approx([2 * w / sum(raw) for w in raw])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40))
def test_no_threshold_beats_the_best_one(seed, n):
    rng = np.random.default_rng(seed)
    probability = rng.random(n).round(rng.integers(1, 4))  # with ties
    truth = np.append(rng.integers(0, 2, n - 2), [0, 1])
    threshold = best_threshold(probability, truth)
    scores = [
        f1_score(truth, probability >= t, average="macro", zero_division=0.0)
        for t in [*np.unique(probability), threshold]
    ]
    assert scores[-1] == pytest.approx(max(scores))


# --- detector ----------------------------------------------------------------------------------------------------------

SMALL = {"hidden_dim": 16, "width": 2, "depth": 3, "n_epochs": 15, "batch_size": 64, "device": "cpu", "random_state": 0}


@pytest.fixture(scope="module")
def made():
    data = rayleigh_only(900, permuted=0.8, anomalous=0.15, random_state=0)
    parts = [np.arange(0, 500), np.arange(500, 650), np.arange(650, 900)]
    return [(data.graphs.select(part), data.y[part]) for part in parts]


@pytest.fixture(scope="module")
def fitted(made):
    return RQGNN(**SMALL).fit(*made[0], validation=made[1])


def test_detector_finds_anomalies_that_composition_does_not_show(fitted, made):
    graphs, y = made[2]
    assert roc_auc_score(y, fitted.decision_function(graphs)) > 0.95
    assert fitted.score(graphs, y) == f1_score(y, fitted.predict(graphs), average="macro")
    assert fitted.score(graphs, y) > 0.8


def test_either_checkpoint_is_the_best_epoch_by_its_score(fitted, made):
    graphs, y = made[1]
    assert fitted.validation_scores_.shape == (SMALL["n_epochs"], 2)
    for column, checkpoint in enumerate(("f1", "auc")):
        model = clone(fitted)
        vars(model).update(vars(fitted))
        model.checkpoint = checkpoint
        scores = (model.score(graphs, y), roc_auc_score(y, model.decision_function(graphs)))
        assert scores[column] == pytest.approx(fitted.validation_scores_[:, column].max(), abs=1e-12)


def test_tuned_threshold_is_used_on_request_and_scores_no_worse_on_validation(fitted, made):
    graphs, y = made[1]
    plain = fitted.score(graphs, y)
    probability = fitted.predict_proba(graphs)[:, 1]
    try:
        fitted.set_params(threshold="tuned")
        np.testing.assert_array_equal(fitted.predict(graphs), (probability >= fitted.thresholds_["f1"]).astype(int))
        assert fitted.score(graphs, y) >= plain
    finally:
        fitted.set_params(threshold="argmax")
    np.testing.assert_array_equal(fitted.predict(graphs), (probability > 0.5).astype(int))


def test_probabilities_and_odds_agree(fitted, made):
    graphs, _ = made[2]
    probability, odds = fitted.predict_proba(graphs), fitted.decision_function(graphs)
    np.testing.assert_allclose(probability.sum(1), 1)
    np.testing.assert_allclose(probability[:, 1], 1 / (1 + np.exp(-odds)))


def test_same_seed_same_network_and_the_global_generator_is_left_alone(made):
    options = SMALL | {"n_epochs": 2}
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = RQGNN(**options).fit(*made[0])
    assert torch.equal(torch.get_rng_state(), before)
    second = RQGNN(**options).fit(*made[0])
    np.testing.assert_array_equal(first.predict_proba(made[2][0]), second.predict_proba(made[2][0]))
    other = RQGNN(**(options | {"random_state": 1})).fit(*made[0])
    assert abs(other.predict_proba(made[2][0]) - first.predict_proba(made[2][0])).max() > 1e-3


def test_stored_detector_predicts_the_same_with_either_checkpoint(fitted, made, tmp_path):
    loaded = RQGNN.from_pretrained(fitted.save_pretrained(tmp_path / "model"))
    assert not list((tmp_path / "model").glob("*.pkl"))
    for checkpoint in ("f1", "auc"):
        for model in (fitted, loaded):
            model.set_params(checkpoint=checkpoint)
        np.testing.assert_array_equal(loaded.predict_proba(made[2][0]), fitted.predict_proba(made[2][0]))
    fitted.set_params(checkpoint="f1")
    assert loaded.thresholds_ == fitted.thresholds_ and loaded.classes_.tolist() == [0, 1]


def test_stopped_training_goes_on_to_the_same_detector(made, tmp_path, monkeypatch):
    options = SMALL | {"n_epochs": 6}
    through = RQGNN(**options).fit(*made[0], validation=made[1])
    plain, calls = RQGNN._logits, []

    def interrupted(self, network, graphs):
        calls.append(None)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return plain(self, network, graphs)

    import semigroup.graphs.rqgnn.estimator as module

    train = module.train
    monkeypatch.setattr(module, "train", lambda *a, **k: train(*a, **(k | {"checkpoint_every": 5})))
    monkeypatch.setattr(RQGNN, "_logits", interrupted)
    with pytest.raises(KeyboardInterrupt):
        RQGNN(**options).fit(*made[0], validation=made[1], checkpoint_dir=tmp_path)
    monkeypatch.setattr(RQGNN, "_logits", plain)
    resumed = RQGNN(**options).fit(*made[0], validation=made[1], checkpoint_dir=tmp_path, resume=True)
    np.testing.assert_array_equal(resumed.validation_scores_, through.validation_scores_)
    np.testing.assert_array_equal(resumed.predict_proba(made[2][0]), through.predict_proba(made[2][0]))


def test_training_stops_when_the_validation_score_does_not_rise(made):
    graphs, y = made[0]
    model = RQGNN(**(SMALL | {"patience": 2, "n_epochs": 40})).fit(graphs, y, validation=made[1])
    scores = model.validation_scores_[:, 0]
    assert len(scores) < 40
    last_best = len(scores) - 1 - scores[::-1].argmax()
    assert len(scores) - 1 - last_best == 2, "two epochs after the last of the best"


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": "mean"},
        {"pooling": "sum", "rql": False},
        {"pooling": "rq-mean", "normalize_rq": True},
        {"batch_norm": False, "beta": 0.0, "gamma": 0.0},
        {"depth": 1, "width": 1, "dropout": 0.0, "checkpoint": "auc", "threshold": "tuned"},
        {"train_filters": False, "weight_decay": 1e-3, "patience": None},
    ],
)
def test_every_variant_learns_and_predicts(options, made):
    model = RQGNN(**(SMALL | {"n_epochs": 2} | options)).fit(*made[0])
    assert np.isfinite(model.predict_proba(made[2][0])).all()
    assert set(model.predict(made[2][0])) <= {0, 1}


def test_frozen_filters_stay_as_they_were_drawn_and_trained_ones_move(made):
    for trained in (False, True):
        one, more = (
            RQGNN(**(SMALL | {"n_epochs": n, "train_filters": trained})).fit(*made[0], validation=made[1])
            for n in (1, 4)
        )
        same = torch.equal(one.networks_["auc"].filters, more.networks_["auc"].filters)
        assert same != trained


def test_quotients_are_divided_on_request(made):
    graphs, y = made[0]
    plain, divided = (
        RQGNN(**(SMALL | {"n_epochs": 1, "normalize_rq": flag})).fit(graphs, y).transform(graphs)
        for flag in (False, True)
    )
    np.testing.assert_allclose(plain, 10 * divided, rtol=1e-5)  # ten nodes of each type
    np.testing.assert_allclose(divided, rayleigh_quotients(graphs), atol=1e-6)


def test_a_last_batch_of_one_graph_is_joined(made):
    graphs, y = made[0]
    model = RQGNN(**(SMALL | {"n_epochs": 1, "batch_size": 33}))
    model.fit(graphs.select(range(100)), y[:100], validation=made[1])
    assert len(model.losses_) == 3, "33, 33 and 34 graphs"


def labelled_molecules():
    smiles = ["CCO", "CCN", "c1ccccc1", "CC(=O)O", "CCCl", "C", "CCCC", "OCCO", "CN", "c1ccncc1"] * 2
    return smiles, np.array([0, 1] * 10)


def test_forms_of_the_same_graphs_give_the_same_detector():
    smiles, y = labelled_molecules()
    graphs = as_graph_set(smiles)
    as_pyg, as_networkx = [], []
    for i in range(len(graphs)):
        one = graphs.select([i])
        as_pyg.append(Data(x=one.node_features, edge_index=one.edge_index, num_nodes=int(one.n_nodes)))
        graph = nx.Graph()
        graph.add_nodes_from((v, {"type": t}) for v, t in enumerate(one.node_features[:, 0].tolist()))
        graph.add_edges_from(one.edge_index.T.tolist())
        as_networkx.append(graph)
    options = SMALL | {"n_epochs": 2, "batch_size": 8}
    expected = RQGNN(**options).fit(graphs, y).predict_proba(graphs)
    for form in (smiles, as_pyg, as_networkx):
        found = RQGNN(**options).fit(form, y).predict_proba(form)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_type_that_training_had_not_is_a_zero_vector():
    smiles, y = labelled_molecules()
    model = RQGNN(**(SMALL | {"n_epochs": 2, "batch_size": 8})).fit(smiles, y)
    unseen = as_graph_set(["CCBr"])
    columns = model._checked(unseen).batch(torch.arange(1), torch.device("cpu")).features
    assert columns.sum(1).tolist() == [1, 1, 0] and columns.shape[1] == model.n_features_in_ == 4
    quotient = model.transform(unseen)
    carbon = 2 - 2 / math.sqrt(2)  # two carbons, one bond between degrees 1 and 2
    np.testing.assert_allclose(quotient.max(), carbon, rtol=1e-6)
    assert (quotient > 0).sum() == 1
    assert np.isfinite(model.predict_proba(["CCBr", "Br"])).all()


def test_measured_features_words_as_labels_isolated_nodes_and_nodes_without_features_are_taken(tmp_path):
    rng = np.random.default_rng(0)
    dense = random_graphs(12, 24)
    features = torch.from_numpy(rng.standard_normal((sum(map(len, dense)), 4)).astype(np.float32))
    words = np.array(["fine", "odd"] * 12)
    model = RQGNN(**(SMALL | {"n_epochs": 2, "batch_size": 8})).fit(as_set(dense, features), words)
    assert set(model.predict(as_set(dense, features))) <= {"fine", "odd"}
    assert model.vocabulary_ is None and model.n_features_in_ == 4
    again = RQGNN.from_pretrained(model.save_pretrained(tmp_path / "model"))
    assert again.predict(as_set(dense, features)).tolist() == model.predict(as_set(dense, features)).tolist()
    assert 0 <= model.score(as_set(dense, features), words) <= 1
    bare = RQGNN(**(SMALL | {"n_epochs": 1, "batch_size": 8})).fit(as_set(dense), np.where(words == "odd", 1, -1))
    assert bare.n_features_in_ == 1 and bare.classes_.tolist() == [-1, 1]
    # Of a constant signal the quotient measures how uneven the degrees are; on regular graphs it vanishes.
    np.testing.assert_allclose(bare.transform([nx.cycle_graph(5)]), 0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"width": 0}, "width"),
        ({"depth": 0}, "depth"),
        ({"hidden_dim": 0}, "hidden_dim"),
        ({"beta": 1.0}, "beta"),
        ({"beta": -0.1}, "beta"),
        ({"gamma": -1.0}, "gamma"),
        ({"dropout": 1.0}, "dropout"),
        ({"pooling": "max"}, "pooling"),
        ({"checkpoint": "loss"}, "checkpoint"),
        ({"threshold": "0.3"}, "threshold"),
        ({"batch_size": 1}, "batch_size"),
        ({"patience": 0}, "patience"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"validation_fraction": 0.0}, "validation_fraction"),
        ({"n_epochs": 0}, "n_epochs"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_a_bad_argument_is_refused_by_name(options, name, made):
    with pytest.raises(ValueError, match=name):
        RQGNN().set_params(**options).fit(*made[0])


def test_bad_labels_are_refused(made):
    graphs, y = made[0]
    for bad, words in (
        (np.zeros(500, dtype=int), "y must hold two classes.*got 1"),
        (np.arange(500) % 3, "y must hold two classes.*got 3"),
        (y[:-1], "one label a graph"),
        (np.where(y == 1, np.nan, 0.0), "y holds NaN"),
        (np.eye(500, dtype=int)[0], "at least 2 graphs of each class"),
    ):
        with pytest.raises(ValueError, match=words):
            RQGNN(**SMALL).fit(graphs, bad)
    normal = np.flatnonzero(y == 0)[:20]
    with pytest.raises(ValueError, match="validation must hold both classes, and has no graph of class 1"):
        RQGNN(**SMALL).fit(graphs, y, validation=(graphs.select(normal), y[normal]))
    with pytest.raises(ValueError, match="validation holds the class 2"):
        RQGNN(**SMALL).fit(graphs, y, validation=(graphs, y + 1))


def test_bad_graphs_are_refused():
    y = np.array([0, 1] * 4)
    ring = Data(x=torch.ones(3, 2), edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)

    def changed(**values):
        other = ring.clone()
        for name, value in values.items():
            other[name] = value
        return [other] * 8 if "edge_weight" in values else [other] + [ring] * 7

    for graphs, words in (
        ([nx.DiGraph([(0, 1)])] * 8, "undirected"),
        (changed(edge_index=torch.tensor([[0], [1]])), "undirected|symmetric"),
        (changed(edge_weight=-torch.ones(4)), "negative"),
        (changed(x=torch.full((3, 2), float("nan"))), "NaN"),
        (changed(x=torch.ones(3, 3)), "same columns"),
        (changed(edge_index=torch.tensor([[0, 3], [3, 0]])), "node numbers 0..2"),
        (changed(x=None, edge_index=torch.empty(2, 0, dtype=torch.long), num_nodes=0), "empty|no nodes"),
        ([], "empty"),
    ):
        with pytest.raises(ValueError, match=words):
            RQGNN(**SMALL).fit(graphs, y)
    model = RQGNN(**(SMALL | {"n_epochs": 1, "batch_size": 4})).fit([ring] * 8, y)
    with pytest.raises(ValueError, match=r"2 column\(s\) of numbers, got 3 column\(s\) of numbers"):
        model.predict([Data(x=torch.ones(3, 3), edge_index=ring.edge_index, num_nodes=3)])
    with pytest.raises(ValueError, match="got 1 column"):
        model.predict([Data(x=torch.ones(3, 1, dtype=torch.long), edge_index=ring.edge_index, num_nodes=3)])
    with pytest.raises(NotFittedError, match="call fit first"):
        RQGNN().predict([ring])


# --- on a file ---------------------------------------------------------------------------------------------------------


def test_job_reads_tables_arrays_and_folders(tmp_path):
    smiles, y = labelled_molecules()
    table = tmp_path / "assay.csv"
    lines = [f"{text},{'toxic' if label else 'safe'}" for text, label in zip(smiles, y)]
    table.write_text("smiles,toxicity\n" + "\n".join(lines) + "\n")
    found = job.read([table])
    assert sorted(set(found.y)) == ["safe", "toxic"] and found.names[0] == "CCO" and len(found.graphs) == 20
    arrays = tmp_path / "graphs.npz"
    flat = {"n_nodes": [2] * 8, "n_edges": [1] * 8, "node_label": [0, 1] * 8, "edge_src": [0] * 8, "edge_dst": [1] * 8}
    np.savez(arrays, y=[0, 1] * 4, **flat)
    assert job.read([arrays]).y.tolist() == [0, 1] * 4
    folder = tmp_path / "DS"
    folder.mkdir()
    (folder / "DS_A.txt").write_text("")
    (folder / "DS_graph_indicator.txt").write_text("1\n2\n3\n4\n5\n6\n")
    (folder / "DS_graph_labels.txt").write_text("-1\n1\n-1\n1\n-1\n1\n")
    assert job.read([folder]).y.tolist() == [-1, 1] * 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("formula,y\nC,1\n", "needs a column 'smiles'"),
        ("smiles,a,b\nC,1,0\n", "needs one column of labels"),
        ("smiles,y\nC,1\nCC,0\n", "3 graphs or more of each"),
        ("smiles,y\n" + "C,1\nCC,0\nCCC,2\n" * 4, "two classes"),
        ("smiles,y\n" + "C,1\nCC,\nCCC,0\n" * 4, "graph 1 has no label"),
        ("smiles,y\n" + "C,1\nCC,0\nnonsense!,0\n" * 4, "no molecule"),
    ],
)
def test_job_refuses_a_table_by_its_name(tmp_path, text, words):
    table = tmp_path / "assay.csv"
    table.write_text(text)
    with pytest.raises(ValueError, match=rf"assay.csv.*{words}"):
        job.read([table])

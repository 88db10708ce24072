"""Detector of anomalous graphs among labelled ones."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from semigroup.base import Estimator, all_or_nothing, check_array, check_choice, check_integer, check_number, seed_from
from semigroup.data.graph_sets import GraphSet, as_graph_set
from semigroup.graphs.rqgnn.loss import best_threshold, class_balanced_weights, focal_loss
from semigroup.graphs.rqgnn.network import POOLINGS, RQNetwork, SignalBatch
from semigroup.graphs.rqgnn.spectrum import node_signals, quadratic_forms, vocabulary_columns, vocabulary_of
from semigroup.nn.graphs import sparse_rows
from semigroup.operators import laplacian
from semigroup.training import EpochSampler, seeded, state_for_all, train

__all__ = ["RQGNN"]

CHECKPOINTS = ("f1", "auc")


class RQGNN(ClassifierMixin, Estimator):
    """Tell anomalous graphs from normal ones by how their signals lie on the spectrum.

    Chebyshev filters on the nodes' features, a pooling steered by the Rayleigh quotients of the features, and the quotients
    themselves; learnt from labelled graphs of which few are anomalous, with the class-balanced focal loss. Two sets of
    weights are kept: those of the epoch with the best macro-F1 on the validation graphs, and those with the best AUC.

    Parameters
    ----------
    hidden_dim : int
        Width h behind the filters.
    width : int
        Filters q.
    depth : int
        Chebyshev terms K of each filter.
    dropout : float
        Probability.
    batch_norm : bool
        Normalise what the classifier sees over the batch.
    pooling : {"rq", "rq-mean", "mean", "sum"}
        From nodes to graph: steered by the Rayleigh quotients; the same over the number of nodes, for graphs that may be
        larger than those learnt from; or plain.
    rql : bool
        Show the Rayleigh quotients to the classifier.
    normalize_rq : bool
        Divide the quotients by the signals' energy, as the paper defines them; its code does not, and then they tell
        how often a feature occurs as well.
    train_filters : bool
        False leaves the filters as they were drawn, as the paper's code does.
    beta : float
        Class balance, in [0, 1); 0 weighs all graphs alike.
    gamma : float
        Focus on graphs that are hard to tell; 0 is the cross-entropy.
    n_epochs : int
        Longest training.
    batch_size : int
        Graphs a batch; with batch normalisation at least 2.
    learning_rate : float
        Of Adam.
    weight_decay : float
        Of Adam.
    patience : int, optional
        Stop after this many epochs without a macro-F1 as good as the best one on the validation graphs.
    validation_fraction : float
        Part of the graphs of each class that chooses epochs and threshold, unless `fit` is given others.
    checkpoint : {"f1", "auc"}
        Weights that predictions use: of the epoch with the best macro-F1 or the best AUC. Both are kept, so this may
        be set after `fit`.
    threshold : {"argmax", "tuned"}
        `predict` calls a graph anomalous if that is more probable than not, or from the probability on at which the
        macro-F1 of the validation graphs is largest. `score` follows; may be set after `fit`.
    device : {"cpu", "cuda"}, optional
        None lets accelerate choose.
    random_state : int, optional
        Seed of weights, batches and the validation part.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        The labels, sorted: the second is that of anomalies.
    networks_ : dict of str to RQNetwork
        The network with the weights of either checkpoint, "f1" and "auc".
    thresholds_ : dict of str to float
        Probability from which on to call a graph anomalous, for either.
    losses_ : ndarray
        Training loss of each step.
    validation_scores_ : ndarray of shape (epochs, 2)
        Macro-F1 and AUC on the validation graphs after each epoch.
    vocabulary_ : list of list of int, or None
        Types of each integer feature that the training graphs have; a type outside it is a zero vector.
    n_features_in_ : int
        C, the types or measured features.

    Notes
    -----
    With ``pooling="rq"`` a graph's vector grows with the square of its size, and the batch normalisation of training
    does not undo that for larger graphs later.

    Where anomalies are few, the choice of the epoch by a few dozen of them is noisy (some ±0.03 in macro-F1): compare
    over several seeds.

    References
    ----------
    Dong, Zhang, Wang, "Rayleigh Quotient Graph Neural Networks for Graph-level Anomaly Detection", ICLR 2024,
    arXiv:2310.02861.

    Examples
    --------
    >>> from semigroup.data.anomalous_graphs import rayleigh_only
    >>> data = rayleigh_only(300, permuted=0.8, anomalous=0.2, random_state=0)
    >>> model = RQGNN(hidden_dim=16, n_epochs=20, batch_size=32, random_state=0).fit(data.graphs, data.y)
    >>> model.predict_proba(data.graphs).shape
    (300, 2)
    >>> model.score(data.graphs, data.y) > 0.8  # macro-F1
    True
    """

    def __init__(
        self,
        *,
        hidden_dim: int = 64,
        width: int = 4,
        depth: int = 6,
        dropout: float = 0.4,
        batch_norm: bool = True,
        pooling: Literal["rq", "rq-mean", "mean", "sum"] = "rq",
        rql: bool = True,
        normalize_rq: bool = False,
        train_filters: bool = True,
        beta: float = 0.999,
        gamma: float = 1.5,
        n_epochs: int = 100,
        batch_size: int = 512,
        learning_rate: float = 5e-3,
        weight_decay: float = 0.0,
        patience: int | None = 50,
        validation_fraction: float = 0.15,
        checkpoint: Literal["f1", "auc"] = "f1",
        threshold: Literal["argmax", "tuned"] = "argmax",
        device: Literal["cpu", "cuda"] | None = None,
        random_state: int | None = None,
    ) -> None:
        self.hidden_dim = hidden_dim
        self.width = width
        self.depth = depth
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.pooling = pooling
        self.rql = rql
        self.normalize_rq = normalize_rq
        self.train_filters = train_filters
        self.beta = beta
        self.gamma = gamma
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.checkpoint = checkpoint
        self.threshold = threshold
        self.device = device
        self.random_state = random_state

    # --- fitting --------------------------------------------------------------------------------------------------

    @all_or_nothing
    def fit(
        self,
        graphs: Any,
        y: Any,
        *,
        validation: tuple[Any, Any] | None = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        resume: bool = False,
        progress: bool = False,
    ) -> RQGNN:
        """Learn from graphs and their labels.

        Parameters
        ----------
        graphs : GraphSet, or list of networkx graphs, PyG ``Data``, sparse matrices or SMILES strings
            Undirected. Nodes without features count as all of one type; features of edges are not used.
        y : array-like of shape (graphs,)
            Two different labels; the one that sorts last is that of anomalies.
        validation : (graphs, y), optional
            Chooses epochs and threshold, in place of a part of `graphs`.
        checkpoint_dir : path, optional
            Where the training keeps its state.
        resume : bool
            Continue from there.
        progress : bool
            Show a progress bar.

        Raises
        ------
        ValueError
            If an argument or a graph is refused, or a class is missing in training or validation; names it.
        """
        self._check_parameters()
        random_state = state_for_all(self.random_state, resume=resume, device=self.device)
        found = as_graph_set(graphs).to("cpu")
        labels = _check_labels(y, "y", len(found))
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) != 2:
            raise ValueError(f"y must hold two classes, normal and anomalous, got {len(self.classes_)}")
        seed = seed_from(random_state)
        if validation is None:
            if np.bincount(codes).min() < 2:
                raise ValueError("y must hold at least 2 graphs of each class: one to learn from, one for validation")
            kept, held = train_test_split(
                np.arange(len(codes)),
                test_size=max(2, round(self.validation_fraction * len(codes))),
                stratify=codes,
                random_state=seed % 2**32,
            )
            held_graphs, held_codes = found.select(held), codes[held]
            found, codes = found.select(kept), codes[kept]
        else:
            held_graphs = as_graph_set(validation[0], "validation").to("cpu")
            held_codes = self._codes(validation[1], "validation", len(held_graphs))
        for name, part in (("y", codes), ("validation", held_codes)):
            if len(np.unique(part)) < 2:
                missing = self.classes_.tolist()[np.setdiff1d([0, 1], part)[0]]
                raise ValueError(f"{name} must hold both classes, and has no graph of class {missing!r}")
        self.vocabulary_ = vocabulary_of(found)
        self.n_features_in_ = node_signals(found, self.vocabulary_).shape[1]
        prepared = self._prepare(found, "graphs")
        held_prepared = self._prepare(held_graphs, "validation")
        with seeded(seed):
            network = self._build(self.n_features_in_)
        targets = torch.from_numpy(codes)
        weights = torch.tensor(class_balanced_weights(np.bincount(codes).tolist(), self.beta))
        sampler = EpochSampler(len(codes), self.batch_size, seed, smallest_batch=2 if self.batch_norm else 1)

        def compute_loss(model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
            index = sampler(step)
            with seeded(generator.initial_seed()):  # dropout
                logits = model(prepared.batch(index, generator.device))
            return self._loss(logits, targets[index].to(logits.device), weights.to(logits.device))

        def evaluate(model: nn.Module) -> dict[str, float]:
            logits = self._logits(model, held_prepared)
            return {
                "f1": -float(f1_score(held_codes, logits[:, 1] > logits[:, 0], average="macro", zero_division=0.0)),
                "auc": -float(roc_auc_score(held_codes, logits[:, 1] - logits[:, 0])),
            }

        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        result = train(
            network,
            compute_loss,
            n_steps=self.n_epochs * sampler.batches_per_epoch,
            optimizer=torch.optim.Adam(trained, lr=self.learning_rate, weight_decay=self.weight_decay, fused=True),
            seed=seed,
            evaluate=evaluate,
            evaluate_every=sampler.batches_per_epoch,
            later_of_equals=True,
            patience=self.patience,
            checkpoint_dir=checkpoint_dir,
            resume=resume,
            device=self.device,
            description=type(self).__name__,
            progress=progress,
        )
        self.losses_ = np.array(result.losses)
        self.validation_scores_ = -np.array(
            [[values[name] for name in CHECKPOINTS] for _, values in result.evaluations]
        )
        self.networks_ = {name: self._with_weights(result.best[name]) for name in CHECKPOINTS}
        self.thresholds_ = {
            name: best_threshold(_probability(self._logits(self.networks_[name], held_prepared))[:, 1], held_codes)
            for name in CHECKPOINTS
        }
        return self

    def _check_parameters(self) -> None:
        """Refuse a bad constructor argument before any work."""
        check_choice(self.pooling, "pooling", POOLINGS)
        self._check_use()
        for name in ("hidden_dim", "width", "depth", "n_epochs"):
            check_integer(getattr(self, name), name, minimum=1)
        check_integer(self.batch_size, "batch_size", minimum=2 if self.batch_norm else 1)
        if self.patience is not None:
            check_integer(self.patience, "patience", minimum=1)
        check_number(self.dropout, "dropout", minimum=0, below=1)
        check_number(self.beta, "beta", minimum=0, below=1)
        check_number(self.gamma, "gamma", minimum=0)
        check_number(self.learning_rate, "learning_rate", above=0)
        check_number(self.weight_decay, "weight_decay", minimum=0)
        check_number(self.validation_fraction, "validation_fraction", above=0, below=1)
        if self.device is not None:
            check_choice(self.device, "device", ("cpu", "cuda"))

    def _check_use(self) -> None:
        """Refuse a bad argument of those that may be set after `fit`."""
        check_choice(self.checkpoint, "checkpoint", CHECKPOINTS)
        check_choice(self.threshold, "threshold", ("argmax", "tuned"))

    def _build(self, n_features: int) -> nn.Module:
        """The network, its weights drawn from torch's generator."""
        return RQNetwork(
            n_features,
            hidden_dim=self.hidden_dim,
            width=self.width,
            depth=self.depth,
            dropout=self.dropout,
            batch_norm=self.batch_norm,
            pooling=self.pooling,
            rql=self.rql,
            train_filters=self.train_filters,
        )

    def _with_weights(self, weights: dict[str, Tensor]) -> nn.Module:
        with seeded(0):  # the weights drawn are replaced at once
            network = self._build(self.n_features_in_)
        network.load_state_dict(weights)
        return network.to(next(iter(weights.values())).device).eval()

    def _loss(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        return focal_loss(logits, targets, weights, self.gamma)

    # --- using ----------------------------------------------------------------------------------------------------

    def predict(self, graphs: Any) -> np.ndarray:
        """The class of each graph, by the rule `threshold`.

        Parameters
        ----------
        graphs : GraphSet or list of graphs

        Returns
        -------
        ndarray of shape (graphs,)
            Of `classes_`.
        """
        probability = self.predict_proba(graphs)[:, 1]
        if self.threshold == "argmax":
            called = probability > 0.5
        else:
            called = probability >= self.thresholds_[self.checkpoint]
        return self.classes_[called.astype(np.int64)]

    def predict_proba(self, graphs: Any) -> np.ndarray:
        """Probabilities of the two classes, shape (graphs, 2): the softmax of the logits."""
        return _probability(self._fitted_logits(graphs))

    def decision_function(self, graphs: Any) -> np.ndarray:
        """Logarithm of the odds that a graph is anomalous, shape (graphs,)."""
        logits = self._fitted_logits(graphs)
        return logits[:, 1] - logits[:, 0]

    def score(self, graphs: Any, y: Any, sample_weight: Any = None) -> float:
        """Macro-F1: the mean of the two classes' F1.

        Parameters
        ----------
        graphs : GraphSet or list of graphs
        y : array-like of shape (graphs,)
        sample_weight : array-like of shape (graphs,), optional
        """
        predicted = self.predict(graphs)
        truth = self._codes(y, "y", len(predicted))
        called = np.searchsorted(self.classes_, predicted)
        return float(f1_score(truth, called, average="macro", sample_weight=sample_weight, zero_division=0.0))

    def transform(self, graphs: Any) -> np.ndarray:
        """The Rayleigh quotients r that the network sees, shape (graphs, C); not divided unless `normalize_rq`."""
        return self._checked(graphs).quotients.numpy()

    def _checked(self, graphs: Any) -> _PreparedGraphs:
        if not hasattr(self, "vocabulary_"):
            from sklearn.exceptions import NotFittedError

            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit first")
        return self._prepare(as_graph_set(graphs).to("cpu"), "graphs")

    def _fitted_logits(self, graphs: Any) -> np.ndarray:
        self._check_use()
        prepared = self._checked(graphs)
        return self._logits(self.networks_[self.checkpoint], prepared)

    def _logits(self, network: nn.Module, graphs: _PreparedGraphs) -> np.ndarray:
        """Logits in float64, shape (graphs, 2)."""
        device = next(network.parameters()).device
        network.eval()
        with torch.no_grad():
            parts = torch.arange(len(graphs.quotients)).split(self.batch_size)
            return torch.cat([network(graphs.batch(part, device)).cpu() for part in parts]).double().numpy()

    def _prepare(self, graphs: GraphSet, name: str) -> _PreparedGraphs:
        """What the network takes of each graph, computed once."""
        features, vocabulary = graphs.node_features, self.vocabulary_
        n_columns = 0 if features is None else features.shape[1]
        measured = features is not None and features.is_floating_point()
        known = self.n_features_in_ if vocabulary is None else len(vocabulary)
        if measured != (vocabulary is None) or n_columns != known:
            kinds = [
                f"{n} column(s) of {'numbers' if m else 'types'}"
                for n, m in ((known, vocabulary is None), (n_columns, measured))
            ]
            raise ValueError(f"{name} must have the node features that fit saw, {kinds[0]}, got {kinds[1]}")
        quotients, energy = quadratic_forms(graphs, node_signals(graphs, vocabulary))
        if self.normalize_rq:
            quotients = np.divide(quotients, energy, out=np.zeros_like(quotients), where=energy > 0)
        operator = laplacian(graphs.adjacency(), "normalised").tocoo()
        row, column = operator.coords
        off_diagonal = row != column
        if vocabulary is not None:
            if features is None:
                columns = np.zeros((len(graphs.batch), 1), dtype=np.int64)
            else:
                columns = vocabulary_columns(features.numpy(), vocabulary)
            features = torch.from_numpy(np.where(columns < 0, self.n_features_in_, columns))
        ready = GraphSet(
            graphs.n_nodes,
            torch.from_numpy(np.stack([row, column])[:, off_diagonal].astype(np.int64)),
            features,
            edge_weight=torch.from_numpy(operator.data[off_diagonal]).float(),
        )
        return _PreparedGraphs(ready, torch.from_numpy(quotients).float())

    def _codes(self, y: Any, name: str, n_graphs: int) -> np.ndarray:
        """Labels as 0 and 1."""
        labels = _check_labels(y, name, n_graphs)
        unknown = np.setdiff1d(labels, self.classes_)
        if len(unknown):
            raise ValueError(f"{name} holds the class {unknown.tolist()[0]!r}, which fit's y has not")
        return np.searchsorted(self.classes_, labels)

    # --- storage --------------------------------------------------------------------------------------------------

    def _get_state(self) -> dict[str, Any]:
        state = {name: value for name, value in super()._get_state().items() if name != "networks_"}
        state["classes_"] = self.classes_.tolist()  # labels may be words
        for name, network in self.networks_.items():
            state |= {f"{name}.{key}": tensor for key, tensor in network.state_dict().items()}
        return state

    def _set_state(self, state: dict[str, Any]) -> None:
        super()._set_state({name: value for name, value in state.items() if "." not in name})
        self.classes_ = np.array(self.classes_)
        self.networks_ = {
            name: self._with_weights(
                {key.removeprefix(f"{name}."): v for key, v in state.items() if key.startswith(f"{name}.")}
            )
            for name in CHECKPOINTS
        }


@dataclass(frozen=True)
class _PreparedGraphs:
    """Graphs from which batches are cut.

    Attributes
    ----------
    graphs : GraphSet
        Edges sorted by their source, weighted by the entries of −D^(−1/2) A D^(−1/2). Node features: measured ones, or the
        numbers of the columns among the C indicators that are 1, C where none is.
    quotients : Tensor of shape (graphs, C)
    """

    graphs: GraphSet
    quotients: Tensor

    def batch(self, index: Tensor, device: torch.device) -> SignalBatch:
        """The graphs of the given numbers, for the network."""
        part = self.graphs.select(index).to(device)
        n = len(part.batch)
        features, weight = part.node_features, part.edge_weight
        assert features is not None and weight is not None
        if not features.is_floating_point():
            c = self.quotients.shape[1]
            features = weight.new_zeros(n, c + 1).scatter_(1, features, 1.0)[:, :c]
        source, target = part.edge_index
        shifted = sparse_rows(torch.bincount(source, minlength=n), target, weight)
        return SignalBatch(features, shifted, part.n_nodes, part.batch, self.quotients[index].to(device))


def _probability(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).softmax(dim=1).numpy()


def _check_labels(y: Any, name: str, n_graphs: int) -> np.ndarray:
    """One label a graph, and none of them NaN."""
    labels = np.asarray(y)
    if labels.ndim != 1 or len(labels) != n_graphs:
        raise ValueError(f"{name} must have one label a graph ({n_graphs}), got shape {labels.shape}")
    return check_array(labels, name, ndim=1) if labels.dtype.kind == "f" else labels

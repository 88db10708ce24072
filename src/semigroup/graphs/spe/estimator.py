"""Regressor and classifier of whole graphs on a positional encoding of their nodes."""

import os
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import ClassifierMixin, RegressorMixin
from torch import Tensor, nn

from semigroup.base import Estimator, all_or_nothing, check_array, check_choice, check_integer, check_number, seed_from
from semigroup.data.graph_sets import GraphSet, as_graph_set
from semigroup.graphs.spe.backbone import GraphNetwork
from semigroup.graphs.spe.baselines import PEG, BasisNet, RandomWalk, RawEigenvectors, SignNet
from semigroup.graphs.spe.blocks import PositionalEncoder
from semigroup.graphs.spe.encoder import NORMS, PHIS, RHOS, SPE
from semigroup.graphs.spe.spectrum import with_eigenpairs
from semigroup.training import EpochSampler, TrainingResult, seeded, state_for_all, train, warmup_then_linear

__all__ = ["SPEClassifier", "SPERegressor"]

ENCODINGS = ("spe", "signnet", "basisnet", "peg", "eigenvectors", "rwse", "none")


class _GraphEstimator(Estimator):
    """What regressor and classifier share: everything but the target."""

    def __init__(
        self,
        *,
        encoding: Literal["spe", "signnet", "basisnet", "peg", "eigenvectors", "rwse", "none"] = "spe",
        n_eigenvectors: int | None = None,
        n_channels: int = 16,
        encoding_dim: int = 32,
        phi: Literal["mlp", "deepsets", "transformer", "constant", "spline"] = "mlp",
        phi_layers: int = 3,
        phi_hidden: int = 16,
        n_pieces: int = 8,
        rho: Literal["gin", "mlp", "gin-deepsets", "ign", "ppgn"] = "gin",
        rho_layers: int = 4,
        mlp_layers: int = 2,
        hidden_dim: int = 64,
        n_layers: int = 4,
        combine: Literal["add", "concat"] = "add",
        reinject: bool = True,
        residual: bool = True,
        pool: Literal["mean", "sum"] = "mean",
        norm: Literal["batch", "layer", "none"] = "batch",
        norm_between: bool = False,
        dropout: float = 0.0,
        epsilon_std: float = 0.0,
        n_epochs: int = 100,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        weight_decay: float = 3e-6,
        n_warmup: int = 100,
        validation_fraction: float = 0.1,
        column_chunk: int | None = None,
        memory_limit_gb: float = 8.0,
        device: Literal["cpu", "cuda"] | None = None,
        random_state: int | None = None,
    ) -> None:
        self.encoding = encoding
        self.n_eigenvectors = n_eigenvectors
        self.n_channels = n_channels
        self.encoding_dim = encoding_dim
        self.phi = phi
        self.phi_layers = phi_layers
        self.phi_hidden = phi_hidden
        self.n_pieces = n_pieces
        self.rho = rho
        self.rho_layers = rho_layers
        self.mlp_layers = mlp_layers
        self.hidden_dim = hidden_dim
        self.n_layers = n_layers
        self.combine = combine
        self.reinject = reinject
        self.residual = residual
        self.pool = pool
        self.norm = norm
        self.norm_between = norm_between
        self.dropout = dropout
        self.epsilon_std = epsilon_std
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.n_warmup = n_warmup
        self.validation_fraction = validation_fraction
        self.column_chunk = column_chunk
        self.memory_limit_gb = memory_limit_gb
        self.device = device
        self.random_state = random_state

    # --- fitting --------------------------------------------------------------------------------------------------

    def _fit(
        self,
        graphs: Any,
        targets: Tensor,
        n_outputs: int,
        loss: Callable[[Tensor, Tensor], Tensor],
        validation: tuple[Any, Tensor] | None,
        checkpoint_dir: str | os.PathLike[str] | None,
        resume: bool,
        progress: bool,
    ) -> None:
        """Learn the network from checked targets; leaves the weights of the best validation epoch."""
        random_state = state_for_all(self.random_state, resume=resume, device=self.device)
        found = as_graph_set(graphs)
        if len(found) != len(targets):
            raise ValueError(f"y must have one row a graph ({len(found)}), got {len(targets)}")
        # Before any graph is held out: a type that only those have is known too.
        self.architecture_ = self._describe(found, n_outputs)
        seed = seed_from(random_state)
        if validation is None and self.validation_fraction > 0:
            held_out = round(self.validation_fraction * len(found))
            if held_out:
                order = torch.from_numpy(np.random.default_rng(seed).permutation(len(found)))
                validation = (found.select(order[:held_out]), targets[order[:held_out]])
                found, targets = found.select(order[held_out:]), targets[order[held_out:]]
        if len(found) == 0:
            raise ValueError("graphs leaves none for training beside those held out for validation")
        with seeded(seed):
            network = self._build(self.architecture_)
        self.network_ = network
        found = self._prepare(found, shuffled=True)
        sampler = EpochSampler(len(found), self.batch_size, seed)

        def compute_loss(model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
            index = sampler(step)
            with seeded(generator.initial_seed()):  # dropout and random signs
                outputs = model(found.select(index).to(generator.device))
            return loss(outputs, targets[index].to(outputs.device))

        evaluate = None
        if validation is not None:
            held, truth = (
                self._prepare(self._known(as_graph_set(validation[0], "validation"), "validation")),
                validation[1],
            )
            if len(held) != len(truth):
                raise ValueError(f"validation must have one target a graph ({len(held)}), got {len(truth)}")

            def evaluate(model: nn.Module) -> float:
                return float(loss(self._outputs(model, held), truth))

        n_steps = self.n_epochs * sampler.batches_per_epoch
        # Fused: dozens of small tensors are updated in one call.
        optimizer = torch.optim.Adam(_decay_groups(network, self.weight_decay), lr=self.learning_rate, fused=True)
        result: TrainingResult = train(
            network,
            compute_loss,
            n_steps=n_steps,
            optimizer=optimizer,
            schedule=warmup_then_linear(min(self.n_warmup, max(1, n_steps // 10)), n_steps),
            seed=seed,
            evaluate=evaluate,
            evaluate_every=sampler.batches_per_epoch,
            checkpoint_dir=checkpoint_dir,
            resume=resume,
            device=self.device,
            # Of the spaces of eigenvectors that BasisNet tells apart by their dimension, the data may lack some.
            some_unused=self.encoding == "basisnet",
            description=f"{self.encoding} encoding",
            progress=progress,
        )
        self.losses_ = np.array(result.losses)
        self.validation_losses_ = np.array([value for _, value in result.evaluations])

    def _check_parameters(self) -> None:
        """Refuse a bad constructor argument before any work."""
        check_choice(self.encoding, "encoding", ENCODINGS)
        check_choice(self.phi, "phi", PHIS)
        check_choice(self.rho, "rho", RHOS)
        check_choice(self.norm, "norm", NORMS)
        check_choice(self.combine, "combine", ("add", "concat"))
        check_choice(self.pool, "pool", ("mean", "sum"))
        for name in (
            "n_channels", "encoding_dim", "phi_layers", "phi_hidden", "n_pieces", "rho_layers", "mlp_layers",
            "hidden_dim", "n_layers", "n_epochs", "batch_size", "n_warmup",
        ):  # fmt: skip
            check_integer(getattr(self, name), name, minimum=1)
        if self.n_eigenvectors is not None:
            check_integer(self.n_eigenvectors, "n_eigenvectors", minimum=1)
        check_number(self.learning_rate, "learning_rate", above=0)
        check_number(self.weight_decay, "weight_decay", minimum=0)
        check_number(self.dropout, "dropout", minimum=0, below=1)
        check_number(self.epsilon_std, "epsilon_std", minimum=0)
        check_number(self.validation_fraction, "validation_fraction", minimum=0, below=1)
        check_number(self.memory_limit_gb, "memory_limit_gb", above=0)
        if self.device is not None:
            check_choice(self.device, "device", ("cpu", "cuda"))

    def _describe(self, graphs: GraphSet, n_outputs: int) -> dict[str, Any]:
        """What the network's shape depends on besides the constructor's arguments, as JSON."""
        largest = int(graphs.n_nodes.max())
        if graphs.eigenvalues is not None:
            largest = min(largest, graphs.eigenvalues.shape[1])
        node_types, n_node_features = _feature_kind(graphs.node_features, graphs.node_types)
        edge_types, n_edge_features = _feature_kind(graphs.edge_features, graphs.edge_types)
        return {
            "n_outputs": n_outputs,
            "n_eigenvectors": largest if self.n_eigenvectors is None else int(self.n_eigenvectors),
            "node_types": node_types,
            "n_node_features": n_node_features,
            "edge_types": edge_types,
            "n_edge_features": n_edge_features,
        }

    def _build(self, architecture: dict[str, Any]) -> GraphNetwork:
        """The network of an architecture, its weights drawn from torch's generator."""
        return GraphNetwork(
            self._build_encoder(architecture["n_eigenvectors"]),
            architecture["n_outputs"],
            hidden_dim=self.hidden_dim,
            n_layers=self.n_layers,
            node_types=architecture["node_types"],
            n_node_features=architecture["n_node_features"],
            edge_types=architecture["edge_types"],
            n_edge_features=architecture["n_edge_features"],
            combine=self.combine,
            reinject=self.reinject,
            pool=self.pool,
            residual=self.residual,
            mlp_layers=self.mlp_layers,
            norm=self.norm,
            dropout=self.dropout,
            epsilon_std=self.epsilon_std,
        )

    def _build_encoder(self, d: int) -> PositionalEncoder | None:
        if self.encoding == "spe":
            return SPE(
                self.encoding_dim,
                n_channels=self.n_channels,
                hidden_dim=self.hidden_dim,
                phi=self.phi,
                phi_layers=self.phi_layers,
                phi_hidden=self.phi_hidden,
                n_pieces=self.n_pieces,
                rho=self.rho,
                rho_layers=self.rho_layers,
                mlp_layers=self.mlp_layers,
                norm=self.norm,
                norm_between=self.norm_between,
                dropout=self.dropout,
                epsilon_std=self.epsilon_std,
                column_chunk=self.column_chunk,
                memory_limit_gb=self.memory_limit_gb,
            )
        shape: dict[str, Any] = {
            "hidden_dim": self.hidden_dim,
            "n_layers": self.rho_layers,
            "mlp_layers": self.mlp_layers,
            "norm": self.norm,
            "epsilon_std": self.epsilon_std,
        }
        if self.encoding == "signnet":
            return SignNet(self.encoding_dim, **shape)
        if self.encoding == "basisnet":
            return BasisNet(self.encoding_dim, n_eigenvectors=d, **shape)
        if self.encoding == "peg":
            return PEG()
        if self.encoding == "eigenvectors":
            return RawEigenvectors(d)
        if self.encoding == "rwse":
            return RandomWalk(self.encoding_dim)
        return None

    # --- using ----------------------------------------------------------------------------------------------------

    def _prepare(self, graphs: GraphSet, *, shuffled: bool = False) -> GraphSet:
        """The set with the eigenpairs that the encoding takes; its batches are of like size, or in training any."""
        if self.encoding in ("none", "rwse"):
            return graphs
        encoder = self.network_.encoder
        if isinstance(encoder, SPE):  # before the eigenpairs of a graph that is too large are computed
            sizes = graphs.n_nodes.sort().values
            for part in [sizes[-self.batch_size :]] if shuffled else sizes.split(self.batch_size):
                encoder.check_memory(part)
        # These see any number of eigenpairs, so that "all" means all of a graph larger than those of the training too.
        any_number = self.encoding in ("spe", "signnet") and self.n_eigenvectors is None
        return with_eigenpairs(graphs, None if any_number else self.architecture_["n_eigenvectors"])

    def _known(self, graphs: GraphSet, name: str) -> GraphSet:
        """Graphs whose features are those of the training, or the reason why not."""
        for what, types, n_features, rows in (
            ("node", self.architecture_["node_types"], self.architecture_["n_node_features"], graphs.node_features),
            ("edge", self.architecture_["edge_types"], self.architecture_["n_edge_features"], graphs.edge_features),
        ):
            if what == "edge" and rows is None and graphs.edge_index.shape[1] == 0:
                continue
            found_types, found_features = _feature_kind(rows)
            if found_features != n_features or len(found_types or []) != len(types or []):
                raise ValueError(f"{name}: {what} features must be those of the graphs that fit saw")
            for column, (found, known) in enumerate(zip(found_types or [], types or [])):
                if found > known:
                    raise ValueError(
                        f"{name}: {what} type {found - 1} (column {column}) is outside the vocabulary 0..{known - 1} of fit"
                    )
        return graphs

    def _checked(self, graphs: Any) -> GraphSet:
        if not hasattr(self, "network_"):
            from sklearn.exceptions import NotFittedError

            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit first")
        return self._prepare(self._known(as_graph_set(graphs), "graphs"))

    def _outputs(self, network: nn.Module, graphs: GraphSet) -> Tensor:
        """The network's outputs on the CPU."""
        device = next(network.parameters()).device
        network.eval()
        order, outputs = [], []
        with torch.no_grad():
            for index, batch in self._batches(graphs):
                order.append(index)
                outputs.append(network(batch.to(device)).cpu())
        result = torch.cat(outputs)
        return torch.empty_like(result).index_copy(0, torch.cat(order), result)

    def _batches(self, graphs: GraphSet) -> Iterator[tuple[Tensor, GraphSet]]:
        """Batches of graphs of like size, with their numbers."""
        for index in torch.argsort(graphs.n_nodes, stable=True).split(self.batch_size):
            yield index, graphs.select(index)

    def transform(self, graphs: Any) -> list[np.ndarray]:
        """Positional encodings of the nodes.

        Parameters
        ----------
        graphs : GraphSet or list of graphs

        Returns
        -------
        list of ndarray of shape (n_nodes, p)
            One array a graph.

        Raises
        ------
        ValueError
            If the encoding has no values on nodes ("none", "peg"), or a graph is refused.
        """
        found = self._checked(graphs)
        encoder = self.network_.encoder
        if encoder is None or encoder.on_edges:
            raise ValueError(f"encoding must be one of nodes to be transformed to, got {self.encoding!r}")
        device = next(self.network_.parameters()).device
        rows: list[np.ndarray] = [np.empty(0)] * len(found)
        self.network_.eval()
        with torch.no_grad():
            for index, batch in self._batches(found):
                encoded = encoder.encode(batch.to(device)).cpu().numpy()
                for graph, piece in zip(index.tolist(), np.split(encoded, batch.n_nodes.cumsum(0)[:-1].tolist())):
                    rows[graph] = piece
        return rows

    @property
    def n_parameters_(self) -> int:
        """Learnt numbers of the network."""
        return sum(parameter.numel() for parameter in self.network_.parameters())

    # --- storage --------------------------------------------------------------------------------------------------

    def _get_state(self) -> dict[str, Any]:
        state = {name: value for name, value in super()._get_state().items() if name != "network_"}
        weights = {f"network.{name}": tensor for name, tensor in self.network_.state_dict().items()}
        return state | weights

    def _set_state(self, state: dict[str, Any]) -> None:
        weights = {name.removeprefix("network."): v for name, v in state.items() if name.startswith("network.")}
        super()._set_state({name: value for name, value in state.items() if not name.startswith("network.")})
        self.network_ = self._build(self.architecture_)
        self.network_.load_state_dict(weights)
        self.network_.eval()


class SPERegressor(RegressorMixin, _GraphEstimator):
    """Predict numbers of whole graphs with a graph network on stable positional encodings.

    A GINE network of `n_layers` layers on the nodes' and edges' features and on a positional encoding, trained with Adam on
    the absolute error of the z-scored target. The rivals of SPE are one argument away.

    Parameters
    ----------
    encoding : {"spe", "signnet", "basisnet", "peg", "eigenvectors", "rwse", "none"}
        Positional encoding: stable and expressive (SPE); SignNet; BasisNet; edges weighed by distances of eigenvectors
        (PEG); raw eigenvectors with random signs; return probabilities of random walks of 1 to `encoding_dim` steps; none.
    n_eigenvectors : int, optional
        Eigenpairs d of the normalised Laplacian; None takes all.
    n_channels : int
        SPE's matrices m between φ and ρ.
    encoding_dim : int
        Width p of the encoding.
    phi : {"mlp", "deepsets", "transformer", "constant", "spline"}
        SPE's weights of the eigenvalues.
    phi_layers : int
        Layers of φ.
    phi_hidden : int
        Width of φ.
    n_pieces : int
        Pieces of φ = "spline".
    rho : {"gin", "mlp", "gin-deepsets", "ign", "ppgn"}
        SPE's network from matrices to nodes.
    rho_layers : int
        Layers of ρ (and of the networks inside SignNet and BasisNet).
    mlp_layers : int
        Layers of each MLP.
    hidden_dim : int
        Width of all networks.
    n_layers : int
        Layers of the GINE network.
    combine : {"add", "concat"}
        How the encoding meets the node embedding.
    reinject : bool
        Let the encoding enter every GINE layer again.
    residual : bool
        Skip connections of the GINE network.
    pool : {"mean", "sum"}
        From nodes to the graph; "sum" for counts.
    norm : {"batch", "layer", "none"}
        Normalisation in the MLPs, over real rows only.
    norm_between : bool
        Normalise between the layers of ρ also.
    dropout : float
        Probability.
    epsilon_std : float
        Standard deviation of the initial ε of GIN and GINE.
    n_epochs : int
        Length of the training.
    batch_size : int
        Graphs a batch.
    learning_rate : float
        Largest rate of Adam: linear up over `n_warmup` steps, then linear down to 0.
    weight_decay : float
        Not applied to biases.
    n_warmup : int
        At most a tenth of all steps.
    validation_fraction : float
        Part of the training graphs that chooses the best epoch; 0 keeps the last one.
    column_chunk : int, optional
        Columns of SPE's matrices held at a time, for large graphs (see `SPE`).
    memory_limit_gb : float
        A batch that is estimated to need more is refused.
    device : {"cpu", "cuda"}, optional
        None lets accelerate choose.
    random_state : int, optional
        Seed of weights, batches and the validation part.

    Attributes
    ----------
    network_ : GraphNetwork
        The fitted network; ``network_.encoder`` is the encoder.
    losses_ : ndarray
        Training loss of each step, in units of the target's standard deviation.
    validation_losses_ : ndarray
        Loss on the validation part after each epoch.
    target_mean_, target_std_ : ndarray of shape (targets,)
        From the training targets alone.

    Notes
    -----
    The defaults are for minutes on a workstation. The paper's run on ZINC: all eigenpairs, ``encoding_dim=37, rho_layers=8,
    mlp_layers=3, hidden_dim=128, epsilon_std=1, n_epochs=1000``; on DrugOOD: ``n_eigenvectors=32, rho_layers=3,
    combine="concat", norm="layer", dropout=0.1, batch_size=32``.

    With ``norm="batch"`` the validation loss is meaningful only as the learning rate falls: SPE sums over all nodes, its mean
    moves fast while the rate is high, and the running averages lag behind (a loss of 4.9 where the batch's own statistics
    give 0.31 was seen half-way through a training that ended at 0.23).

    References
    ----------
    Huang et al., "On the Stability of Expressive Positional Encodings for Graphs", ICLR 2024, arXiv:2310.02579.

    Examples
    --------
    >>> import networkx as nx
    >>> graphs = [nx.cycle_graph(n) for n in (4, 5, 6, 7)] * 4
    >>> model = SPERegressor(
    ...     hidden_dim=8, n_channels=4, encoding_dim=4, rho_layers=2, n_layers=2, n_epochs=2, random_state=0
    ... )
    >>> model.fit(graphs, [4.0, 5.0, 6.0, 7.0] * 4).predict(graphs[:2]).shape
    (2,)
    >>> model.transform(graphs[:1])[0].shape
    (4, 4)
    """

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
    ) -> "SPERegressor":
        """Learn from graphs and their targets.

        Parameters
        ----------
        graphs : GraphSet, or list of PyG ``Data``, networkx graphs, sparse matrices or SMILES strings
        y : array-like of shape (graphs,) or (graphs, targets)
        validation : (graphs, y), optional
            Chooses the best epoch, in place of a part of the training graphs.
        checkpoint_dir : path, optional
            Where checkpoints are kept.
        resume : bool
            Continue from the checkpoint.
        progress : bool
            Show a progress bar.

        Raises
        ------
        ValueError
            If an argument is refused; names it.
        """
        self._check_parameters()
        targets = check_array(y, "y", ndim=(1, 2))
        self.one_target_ = targets.ndim == 1
        self.target_mean_ = np.atleast_1d(targets.mean(0))
        spread = np.atleast_1d(targets.std(0))
        self.target_std_ = np.where(spread > 0, spread, 1.0)
        held = None if validation is None else (validation[0], self._scaled(check_array(validation[1], "validation")))
        self._fit(
            graphs,
            self._scaled(targets),
            len(self.target_mean_),
            nn.functional.l1_loss,
            held,
            checkpoint_dir,
            resume,
            progress,
        )
        return self

    def predict(self, graphs: Any) -> np.ndarray:
        """Predicted targets, in the units of `y`.

        Parameters
        ----------
        graphs : GraphSet or list of graphs

        Returns
        -------
        ndarray of shape (graphs,) or (graphs, targets)
        """
        found = self._checked(graphs)
        outputs = self._outputs(self.network_, found).double().numpy() * self.target_std_ + self.target_mean_
        return outputs[:, 0] if self.one_target_ else outputs

    def _scaled(self, targets: np.ndarray) -> Tensor:
        """Targets z-scored with the training's mean and deviation, as (graphs, targets)."""
        columns = targets.reshape(len(targets), -1)
        if columns.shape[1] != len(self.target_mean_):
            raise ValueError(f"validation must have {len(self.target_mean_)} targets, got {columns.shape[1]}")
        return torch.from_numpy((columns - self.target_mean_) / self.target_std_).float()


class SPEClassifier(ClassifierMixin, _GraphEstimator):
    """Predict classes of whole graphs with a graph network on stable positional encodings.

    Parameters, network and training are those of `SPERegressor`, with the cross-entropy as loss.

    Attributes
    ----------
    classes_ : ndarray
        The labels, sorted.
    network_ : GraphNetwork

    Examples
    --------
    >>> import networkx as nx
    >>> graphs = [nx.cycle_graph(6), nx.path_graph(6)] * 8
    >>> model = SPEClassifier(
    ...     hidden_dim=8, n_channels=4, encoding_dim=4, rho_layers=2, n_layers=2, n_epochs=2, random_state=0
    ... )
    >>> model.fit(graphs, ["ring", "chain"] * 8).predict_proba(graphs[:2]).shape
    (2, 2)
    """

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
    ) -> "SPEClassifier":
        """Learn from graphs and their labels.

        Parameters
        ----------
        graphs : GraphSet, or list of PyG ``Data``, networkx graphs, sparse matrices or SMILES strings
        y : array-like of shape (graphs,)
            Labels, at least two different ones.
        validation : (graphs, y), optional
            Chooses the best epoch, in place of a part of the training graphs; for a shift between training and use.
        checkpoint_dir : path, optional
            Where checkpoints are kept.
        resume : bool
            Continue from the checkpoint.
        progress : bool
            Show a progress bar.
        """
        self._check_parameters()
        labels = _check_labels(y, "y")
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("y must hold at least two classes, got one")
        held = None
        if validation is not None:
            held_labels = _check_labels(validation[1], "validation")
            unknown = np.setdiff1d(held_labels, self.classes_)
            if len(unknown):
                raise ValueError(f"validation holds the class {unknown.tolist()[0]!r}, which y has not")
            held = (validation[0], torch.from_numpy(np.searchsorted(self.classes_, held_labels)))
        self._fit(
            graphs,
            torch.from_numpy(codes.astype(np.int64)),
            len(self.classes_),
            nn.functional.cross_entropy,
            held,
            checkpoint_dir,
            resume,
            progress,
        )
        return self

    def predict_proba(self, graphs: Any) -> np.ndarray:
        """Probabilities of the classes, shape (graphs, classes)."""
        found = self._checked(graphs)
        return self._outputs(self.network_, found).softmax(dim=1).numpy()

    def predict(self, graphs: Any) -> np.ndarray:
        """The most probable class of each graph."""
        return self.classes_[self.predict_proba(graphs).argmax(axis=1)]

    def _get_state(self) -> dict[str, Any]:
        state = super()._get_state()
        return state | {"classes_": self.classes_.tolist()}  # labels may be words

    def _set_state(self, state: dict[str, Any]) -> None:
        super()._set_state(state)
        self.classes_ = np.array(state["classes_"])


def _check_labels(values: Any, name: str) -> np.ndarray:
    """One label a graph, and none of them NaN."""
    labels = np.asarray(values)
    if labels.ndim != 1:
        raise ValueError(f"{name} must have one label a graph, got shape {labels.shape}")
    return check_array(labels, name, ndim=1) if labels.dtype.kind == "f" else labels


def _decay_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters with and without weight decay: biases are not pulled to zero."""
    named = list(network.named_parameters())
    return [
        {"params": [p for name, p in named if "bias" not in name], "weight_decay": weight_decay},
        {"params": [p for name, p in named if "bias" in name], "weight_decay": 0.0},
    ]


def _feature_kind(
    rows: Tensor | None, vocabulary: tuple[int, ...] | None = None
) -> tuple[list[int] | None, int | None]:
    """Sizes of the vocabularies of integer columns (at least those given), or the number of floating columns."""
    if rows is None:
        return None, None
    if rows.is_floating_point():
        return None, rows.shape[1]
    found = [int(largest) + 1 for largest in rows.amax(0)] if len(rows) else [1] * rows.shape[1]
    return [max(pair) for pair in zip(found, vocabulary or found)], None

"""The estimator: fit two score networks on graphs or molecules, sample new ones, measure them."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn

from semigroup.base import (
    Estimator,
    all_or_nothing,
    check_choice,
    check_integer,
    check_number,
    seed_from,
    torch_generator,
)
from semigroup.data.graph_sets import GraphSet, as_graph_set
from semigroup.graphs.gdss.evaluation import graph_hashes, graph_mmd, nspdk_mmd
from semigroup.graphs.gdss.generation import SAMPLERS, ScorePair, sample_states
from semigroup.graphs.gdss.molecules import canonical_smiles, decode_molecules, elements_of_smiles, to_smiles
from semigroup.graphs.gdss.networks import (
    BaselineNetwork,
    ScoreNetworkA,
    ScoreNetworkX,
    ScoreNetworkXAttention,
    mask_edges,
    mask_nodes,
)
from semigroup.graphs.gdss.samplers import discrete_chain
from semigroup.graphs.gdss.states import PaddedGraphs, decode_graphs, decode_types, edge_noise, node_noise, pad_graphs
from semigroup.schedules import VE, VP, Schedule, SubVP
from semigroup.training import EpochSampler, TrainingDiverged, state_for_all, train

__all__ = ["GDSS", "NothingGenerated"]

SCHEDULES: dict[str, Any] = {"vp": VP, "subvp": SubVP, "ve": VE}
FIRST_TIME = 1e-5  # of the training


class NothingGenerated(ValueError):
    """The reverse diffusion left nothing to compare with; the networks learnt are whole."""


class GDSS(Estimator):
    r"""Generate graphs by diffusing nodes and edges together: two score networks, one reverse system.

    Plain graphs are described by the one-hot degrees of their nodes and their adjacency; graphs with integer node types,
    or edge types (weights) 1, 2, ..., by those; molecules, given as SMILES, by elements and bond orders.

    Parameters
    ----------
    node_sde : {"vp", "subvp", "ve"}
        Noise of the nodes.
    edge_sde : {"vp", "subvp", "ve"}
        Noise of the edges.
    node_range : (float, float)
        :math:`\beta_{min}, \beta_{max}` (VP, subVP) or :math:`\sigma_{min}, \sigma_{max}` (VE) of the nodes.
    edge_range : (float, float)
        The same of the edges.
    coupling : {"joint", "sequential"}
        Both from the score of the joint density, or the paper's ablation GDSS-seq: the nodes from their own score, then the
        edges given the finished nodes.
    node_network : {"gcn", "attention"}
        Graph convolutions, or the attention layers of the edges' network ("GMH").
    edge_network : {"attention", "baseline"}
        The paper's network, or its ablation without attention.
    node_depth : int
        Layers of the nodes' network.
    n_layers : int
        Layers of the edges' network.
    hidden_dim : int
        Width of the nodes' features.
    attention_dim : int
        Width of queries and keys.
    n_heads : int
        Heads that share it.
    mlp_layers : int
        Layers of the MLPs on pairs of nodes.
    conv : {"gcn", "mlp"}
        How queries and keys are made.
    channels : (int, int, int)
        Edge channels at the start, between the layers and at the end.
    n_classes : int, optional
        Classes F of nodes: for degrees, one more than the largest that occurs. By default those of the training graphs.
    max_nodes : int, optional
        Largest graph; by default that of the training graphs.
    n_epochs : int
        Length of the training.
    batch_size : int
        Graphs a step.
    learning_rate : float
        Adam's.
    learning_rate_decay : float
        Factor of the learning rate after every epoch.
    weight_decay : float
        Adam's, on all parameters.
    max_grad_norm : float
        Bound on the gradient of each of the two networks.
    ema_decay : float, optional
        Sample from averaged weights of this decay, which grows to it as (1 + k) / (10 + k).
    likelihood_weighting : bool
        Weigh the loss at time t by :math:`g_t^2 / \sigma_t^2`.
    reduce_mean : bool
        Mean over the entries of a graph in place of half the sum.
    sampler : {"euler", "reverse", "flow", "reverse-flow", "s4"}
        Predictor (see `predictor_corrector`), or the splitting S4, which needs half the evaluations.
    n_steps : int
        Steps from noise to graphs.
    n_corrector_steps : int
        Langevin steps before each predictor step; 0 for none. S4 has at most one.
    snr : float
        Sets the size of a Langevin step, by the norms of noise and score.
    noise_scale : float
        Factor of a Langevin step's noise.
    eps : float
        Last time of the sampling.
    prior : {"normal", "matched"}
        Where sampling starts: the standard Gaussian of the published code, whatever the SDE; or a Gaussian with the mean
        and variance that the training states have at time 1.
    device : {"cpu", "cuda"}, optional
        None lets accelerate choose.
    random_state : int, optional
        Seed of weights, batches and samples.

    Attributes
    ----------
    networks_ : ScorePair
        The fitted networks, averaged where `ema_decay` was given.
    losses_ : ndarray
        Sum of both losses at each step.
    sizes_ : ndarray
        Nodes of each training graph, from which the sizes of samples are drawn.
    elements_ : list of str or None
        Elements of the molecules, by node type.
    architecture_ : dict
        Classes of nodes, largest graph, largest edge order, and what the classes are.

    Notes
    -----
    The defaults are those of the paper for graphs of up to 20 nodes, with fewer epochs than its 5000. For molecules:
    ``node_depth=2, hidden_dim=16, attention_dim=16, n_layers=3, mlp_layers=3, learning_rate=0.005, batch_size=1024,
    sampler="reverse", snr=0.2`` with VE of (0.1, 1) twice for QM9, and VP (0.1, 1) with VE (0.2, 1) and
    ``n_layers=6`` for ZINC250k.

    Nodes without an edge cannot be represented and are left out.

    References
    ----------
    Jo, Lee and Hwang, "Score-based Generative Modeling of Graphs via the System of Stochastic Differential Equations", ICML
    2022, arXiv:2202.02514.

    Examples
    --------
    >>> import networkx as nx
    >>> graphs = [nx.cycle_graph(n) for n in (5, 6, 7)] * 4
    >>> model = GDSS(n_epochs=2, n_steps=5, n_layers=2, hidden_dim=8, attention_dim=8, random_state=0).fit(graphs)
    >>> len(model.sample(3, n_nodes=6))
    3
    """

    def __init__(
        self,
        *,
        node_sde: Literal["vp", "subvp", "ve"] = "vp",
        edge_sde: Literal["vp", "subvp", "ve"] = "vp",
        node_range: Sequence[float] = (0.1, 1.0),
        edge_range: Sequence[float] = (0.1, 1.0),
        coupling: Literal["joint", "sequential"] = "joint",
        node_network: Literal["gcn", "attention"] = "gcn",
        edge_network: Literal["attention", "baseline"] = "attention",
        node_depth: int = 3,
        n_layers: int = 5,
        hidden_dim: int = 32,
        attention_dim: int = 32,
        n_heads: int = 4,
        mlp_layers: int = 2,
        conv: Literal["gcn", "mlp"] = "gcn",
        channels: Sequence[int] = (2, 8, 4),
        n_classes: int | None = None,
        max_nodes: int | None = None,
        n_epochs: int = 1000,
        batch_size: int = 128,
        learning_rate: float = 0.01,
        learning_rate_decay: float = 0.999,
        weight_decay: float = 1e-4,
        max_grad_norm: float = 1.0,
        ema_decay: float | None = None,
        likelihood_weighting: bool = False,
        reduce_mean: bool = False,
        sampler: Literal["euler", "reverse", "flow", "reverse-flow", "s4"] = "euler",
        n_steps: int = 1000,
        n_corrector_steps: int = 1,
        snr: float = 0.05,
        noise_scale: float = 0.7,
        eps: float = 1e-4,
        prior: Literal["normal", "matched"] = "normal",
        device: Literal["cpu", "cuda"] | None = None,
        random_state: int | None = None,
    ) -> None:
        self.node_sde = node_sde
        self.edge_sde = edge_sde
        self.node_range = node_range
        self.edge_range = edge_range
        self.coupling = coupling
        self.node_network = node_network
        self.edge_network = edge_network
        self.node_depth = node_depth
        self.n_layers = n_layers
        self.hidden_dim = hidden_dim
        self.attention_dim = attention_dim
        self.n_heads = n_heads
        self.mlp_layers = mlp_layers
        self.conv = conv
        self.channels = channels
        self.n_classes = n_classes
        self.max_nodes = max_nodes
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_decay = learning_rate_decay
        self.weight_decay = weight_decay
        self.max_grad_norm = max_grad_norm
        self.ema_decay = ema_decay
        self.likelihood_weighting = likelihood_weighting
        self.reduce_mean = reduce_mean
        self.sampler = sampler
        self.n_steps = n_steps
        self.n_corrector_steps = n_corrector_steps
        self.snr = snr
        self.noise_scale = noise_scale
        self.eps = eps
        self.prior = prior
        self.device = device
        self.random_state = random_state

    # --- fitting --------------------------------------------------------------------------------------------------

    @all_or_nothing
    def fit(
        self,
        graphs: Any,
        y: Any = None,
        *,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        resume: bool = False,
        progress: bool = False,
    ) -> "GDSS":
        """Learn the scores of noisy graphs.

        Parameters
        ----------
        graphs : list of SMILES, or GraphSet, or list of networkx graphs, sparse matrices or PyG ``Data``
            Undirected, without loops. SMILES need the extra ``chem``.
        y : ignored
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
        TrainingDiverged
            If the loss is NaN or infinite.
        """
        schedules = self._check_parameters()
        random_state = state_for_all(self.random_state, resume=resume, device=self.device)
        padded, hashes = self._read(graphs)
        seed = seed_from(random_state)
        with _seeded(seed):
            self.networks_ = self._build()
        n_classes, n = self.architecture_["n_classes"], self.architecture_["max_nodes"]
        entries = (n * n_classes, n * n)
        sampler = EpochSampler(len(padded.types), self.batch_size, seed)

        def compute_loss(model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
            x, a, real = padded.batch(sampler(step), n_classes, generator.device)
            t = FIRST_TIME + (1 - FIRST_TIME) * torch.rand(len(x), generator=generator, device=x.device)
            noises = node_noise(x, real, generator), edge_noise(a, real, generator)
            noisy = [
                schedule.scale(t)[:, None, None] * one + schedule.std(t)[:, None, None] * noise
                for schedule, one, noise in zip(schedules, (x, a), noises)
            ]
            losses = []
            for schedule, output, noise, count in zip(schedules, model(*noisy, real, x), noises, entries):
                std = schedule.std(t)
                # sigma s + z, for the score s of `to_score`
                residual = noise + std[:, None, None] * output if isinstance(schedule, VE) else noise - output
                squares = residual.square().sum((1, 2))
                if self.likelihood_weighting:
                    squares = squares * (schedule.diffusion(t) / std) ** 2
                losses.append((squares / count if self.reduce_mean else squares / 2).mean())
            return losses[0] + losses[1]

        decay = self.ema_decay
        try:
            result = train(
                self.networks_,
                compute_loss,
                n_steps=self.n_epochs * sampler.batches_per_epoch,
                optimizer=self._optimizer(),
                schedule=lambda step: self.learning_rate_decay ** (step // sampler.batches_per_epoch),
                seed=seed,
                ema_decay=None if decay is None else lambda k: min(float(decay), (1 + k) / (10 + k)),
                checkpoint_dir=checkpoint_dir,
                resume=resume,
                device=self.device,
                some_unused=True,  # the last layer of the edges' network updates nodes that nothing reads
                description="score networks",
                progress=progress,
            )
        except TrainingDiverged as error:
            raise TrainingDiverged(f"{error}; try a learning_rate below {self.learning_rate:g}") from error
        if isinstance(result.averaged, ScorePair):
            self.networks_ = result.averaged.eval()
        self.losses_ = np.array(result.losses)
        self.training_hashes_ = hashes
        return self

    def _optimizer(self) -> torch.optim.Optimizer:
        """Adam over both networks, which updates each as one of its own would; gradients are bounded for each."""
        groups = [list(network.parameters()) for network in (self.networks_.nodes, self.networks_.edges)]
        optimizer = torch.optim.Adam(
            [{"params": group} for group in groups], lr=self.learning_rate, weight_decay=self.weight_decay, fused=True
        )

        def clip(*_: Any) -> None:
            for group in groups:
                nn.utils.clip_grad_norm_(group, self.max_grad_norm)

        optimizer.register_step_pre_hook(clip)
        return optimizer

    def _check_parameters(self) -> tuple[Schedule, Schedule]:
        """Refuse a bad constructor argument before any work; gives the noise schedules."""
        for name, choices in (
            ("node_sde", tuple(SCHEDULES)), ("edge_sde", tuple(SCHEDULES)), ("coupling", ("joint", "sequential")),
            ("node_network", ("gcn", "attention")), ("edge_network", ("attention", "baseline")), ("conv", ("gcn", "mlp")),
            ("sampler", SAMPLERS), ("prior", ("normal", "matched")),
        ):  # fmt: skip
            check_choice(getattr(self, name), name, choices)
        for name in (
            "node_depth",
            "n_layers",
            "hidden_dim",
            "attention_dim",
            "n_heads",
            "mlp_layers",
            "n_epochs",
            "batch_size",
        ):
            check_integer(getattr(self, name), name, minimum=1)
        check_integer(self.n_steps, "n_steps", minimum=2)
        check_integer(self.n_corrector_steps, "n_corrector_steps", minimum=0)
        for name in ("n_classes", "max_nodes"):
            if getattr(self, name) is not None:
                check_integer(getattr(self, name), name, minimum=2, maximum=255 if name == "n_classes" else None)
        if np.ndim(self.channels) != 1 or len(self.channels) != 3:
            raise ValueError(f"channels must be three numbers, got {self.channels!r}")
        for count in self.channels:
            check_integer(count, "channels", minimum=1)
        for width in ("hidden_dim", "attention_dim"):
            if "attention" in (self.node_network, self.edge_network) and getattr(self, width) % self.n_heads:
                raise ValueError(f"{width} must be a multiple of n_heads = {self.n_heads}, got {getattr(self, width)}")
        for name in ("learning_rate", "learning_rate_decay", "max_grad_norm"):
            check_number(getattr(self, name), name, above=0)
        for name in ("weight_decay", "snr", "noise_scale"):
            check_number(getattr(self, name), name, minimum=0)
        check_number(self.eps, "eps", above=0, below=1)
        if self.ema_decay is not None:
            check_number(self.ema_decay, "ema_decay", above=0, below=1)
        if self.device is not None:
            check_choice(self.device, "device", ("cpu", "cuda"))
        schedules = self._schedules()
        for schedule in schedules:
            discrete_chain(schedule, self.n_steps)  # refuses too few steps
        return schedules

    def _schedules(self) -> tuple[Schedule, Schedule]:
        pair = []
        for kind, bounds, name in (
            (self.node_sde, self.node_range, "node_range"),
            (self.edge_sde, self.edge_range, "edge_range"),
        ):
            if np.ndim(bounds) != 1 or len(bounds) != 2:
                raise ValueError(f"{name} must be two numbers, got {bounds!r}")
            low = check_number(bounds[0], f"{name}[0]", above=0)
            pair.append(SCHEDULES[kind](low, check_number(bounds[1], f"{name}[1]", above=low)))
        return pair[0], pair[1]

    def _read(self, graphs: Any) -> tuple[PaddedGraphs, np.ndarray]:
        """Training graphs in dense form and their hashes; sets what the networks' shapes and the decoding depend on."""
        smiles = (
            not isinstance(graphs, GraphSet)
            and hasattr(graphs, "__len__")
            and len(graphs)
            and isinstance(graphs[0], str)
        )
        if smiles:
            found, elements = elements_of_smiles(list(graphs))
            self.elements_: list[str] | None = elements
            hashes = _smiles_hashes(canonical_smiles(text) for text in graphs)
        else:
            found, self.elements_ = as_graph_set(graphs, allow_loops=False), None
            hashes = graph_hashes(found)
        types, orders, kind = _describe(found)
        empty = (found.n_edges == 0).nonzero()
        if len(empty):
            raise ValueError(f"graphs[{int(empty[0])}] has no edges, and isolated nodes cannot be represented")
        wanted = max(int(types.max()) + 1, 2)
        n_classes = wanted if self.n_classes is None else int(self.n_classes)
        if n_classes < wanted:
            raise ValueError(f"n_classes must be at least {wanted} for the {kind} of these graphs, got {n_classes}")
        padded = pad_graphs(found, types, orders)
        largest = padded.real.shape[1]
        max_nodes = largest if self.max_nodes is None else int(self.max_nodes)
        if max_nodes < largest:
            raise ValueError(f"max_nodes must be at least {largest}, the size of the largest graph, got {max_nodes}")
        self.sizes_ = padded.real.sum(1).numpy()
        self.architecture_: dict[str, Any] = {
            "n_classes": n_classes, "max_nodes": max_nodes, "n_orders": int(orders.max()), "kind": kind,
        }  # fmt: skip
        self._measure_prior(padded)
        return padded, hashes

    def _measure_prior(self, padded: PaddedGraphs) -> None:
        """Means and variances of the clean states' entries, for the matched prior."""
        n_classes = self.architecture_["n_classes"]
        real = padded.real
        counts = torch.bincount(padded.types[real].long(), minlength=n_classes).double() / real.sum()
        pairs = (real.sum(1) * (real.sum(1) - 1)).sum().double()
        mean = padded.orders.sum(dtype=torch.float64) / pairs
        square = padded.orders.double().square().sum() / pairs
        self.node_moments_ = torch.stack([counts, counts - counts**2]).float().numpy()
        self.edge_moments_ = np.array([mean, square - mean**2], dtype=np.float32)

    def _build(self) -> ScorePair:
        """The two networks, their weights drawn from torch's generator."""
        n_classes = self.architecture_["n_classes"]
        first, between, last = self.channels
        attention: dict[str, Any] = {
            "hidden_dim": self.hidden_dim, "attention_dim": self.attention_dim, "n_heads": self.n_heads,
            "mlp_layers": self.mlp_layers, "conv": self.conv, "channels": (first, between, last),
        }  # fmt: skip
        nodes: nn.Module
        edges: nn.Module
        if self.node_network == "gcn":
            nodes = ScoreNetworkX(n_classes, depth=self.node_depth, hidden_dim=self.hidden_dim)
        else:
            nodes = ScoreNetworkXAttention(n_classes, depth=self.node_depth, **attention)
        if self.edge_network == "attention":
            edges = ScoreNetworkA(n_classes, n_layers=self.n_layers, **attention)
        else:
            edges = BaselineNetwork(
                n_classes,
                n_layers=self.n_layers,
                hidden_dim=self.hidden_dim,
                mlp_layers=self.mlp_layers,
                channels=(first, between, last),
            )
        return ScorePair(nodes, edges, coupled=self.coupling == "joint")

    # --- sampling -------------------------------------------------------------------------------------------------

    def sample(
        self,
        n: int = 1,
        *,
        n_nodes: Any = None,
        batch_size: int | None = None,
        random_state: int | None = None,
        progress: bool = False,
    ) -> Any:
        """Generate graphs.

        Parameters
        ----------
        n : int
            How many.
        n_nodes : int or array-like of int of shape (n,), optional
            Nodes before isolated ones are left out; by default drawn from the sizes of the training graphs.
        batch_size : int, optional
            Graphs generated together; by default all. The Langevin step depends on it, as norms are averaged over
            the batch.
        random_state : int, optional
            Seed of this call; by default the estimator's.
        progress : bool
            Show a progress bar.

        Returns
        -------
        list of str, or GraphSet
            SMILES of molecules; graphs otherwise, with types of nodes and of edges where the training graphs have them
            (`semigroup.data.graph_sets.to_networkx` makes networkx graphs of them).

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If `n` or a size is out of range.
        """
        x, a, real = self._sample_states(n, n_nodes, batch_size, random_state, progress)
        if self.elements_ is not None:
            return to_smiles(decode_molecules(x, a, self.elements_), self.elements_)
        types = decode_types(x)[0] if self.architecture_["kind"] == "types" else None
        return decode_graphs(a, real, types, n_orders=self.architecture_["n_orders"])

    def _sample_states(
        self, n: int, n_nodes: Any, batch_size: int | None, random_state: int | None, progress: bool
    ) -> tuple[Tensor, Tensor, Bool[Tensor, "graphs n"]]:
        """States at time 0, on the CPU."""
        self._check_fitted()
        schedules = self._check_parameters()
        n = check_integer(n, "n", minimum=1)
        together = n if batch_size is None else check_integer(batch_size, "batch_size", minimum=1)
        seed = self.random_state if random_state is None else random_state
        device = next(self.networks_.parameters()).device
        generator = torch_generator(seed, device)
        sizes = torch.from_numpy(self._choose_sizes(n, n_nodes, seed))
        largest = int(sizes.max())
        real = torch.arange(largest) < sizes[:, None]
        states = []
        chunks = real.to(device).split(together)
        n_loops = len(chunks) * self.n_steps * (1 if self.coupling == "joint" else 2)
        with _progress("sampling", n_loops, progress) as advance:
            for chunk in chunks:
                states.append(
                    sample_states(
                        self.networks_,
                        schedules,
                        self._draw_prior(chunk, schedules, generator),
                        chunk,
                        generator,
                        sampler=self.sampler,
                        n_steps=self.n_steps,
                        eps=self.eps,
                        n_corrector_steps=self.n_corrector_steps,
                        snr=self.snr,
                        noise_scale=self.noise_scale,
                        on_step=advance,
                    )
                )
        x, a = (torch.cat(parts).cpu() for parts in zip(*states))
        if not bool(torch.isfinite(a).all() and torch.isfinite(x).all()):
            raise NothingGenerated(
                "the sampled states are not finite: the reverse diffusion diverged; raise n_steps or lower snr"
            )
        return x, a, real

    def _choose_sizes(self, n: int, n_nodes: Any, seed: int | None) -> np.ndarray:
        if n_nodes is None:
            return np.random.default_rng(seed_from(seed)).choice(self.sizes_, size=n).astype(np.int64)
        largest = self.architecture_["max_nodes"]
        sizes = np.asarray(n_nodes)
        if sizes.dtype.kind not in "iu" or sizes.shape not in ((), (n,)):
            raise ValueError(f"n_nodes must be an integer, or {n} integers, got {n_nodes!r}")
        if sizes.min() < 2 or sizes.max() > largest:
            raise ValueError(f"n_nodes must be from 2 to max_nodes = {largest}, got {sizes.min()} to {sizes.max()}")
        return np.broadcast_to(sizes, (n,)).astype(np.int64)

    def _draw_prior(
        self, real: Bool[Tensor, "graphs n"], schedules: tuple[Schedule, Schedule], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        graphs, n = real.shape
        x = node_noise(real.new_empty(graphs, n, self.architecture_["n_classes"], dtype=torch.float32), real, generator)
        a = edge_noise(real.new_empty(graphs, n, n, dtype=torch.float32), real, generator)
        if self.prior == "normal":
            return x, a
        scaled = []
        for state, schedule, moments in zip((x, a), schedules, (self.node_moments_, self.edge_moments_)):
            mean, variance = torch.as_tensor(moments, device=x.device)
            scale, std = float(schedule.scale(1.0)), float(schedule.std(1.0))
            scaled.append(scale * mean + (scale**2 * variance + std**2).sqrt() * state)
        loops = torch.eye(n, dtype=torch.bool, device=x.device)
        return mask_nodes(scaled[0], real), mask_edges(scaled[1].masked_fill(loops, 0.0), real)

    # --- measuring ------------------------------------------------------------------------------------------------

    def evaluate(
        self, graphs: Any, *, n: int | None = None, random_state: int | None = None, return_generated: bool = False
    ) -> Any:
        """Generate and compare with graphs that the training did not see.

        Parameters
        ----------
        graphs : as in `fit`
            Test graphs.
        n : int, optional
            How many to generate; by default as many as there are test graphs.
        random_state : int, optional
            Seed of this call; by default the estimator's.
        return_generated : bool
            Give the generated graphs too, as `sample` would.

        Returns
        -------
        dict of str to float
            Squared MMDs ``degree``, ``clustering``, ``orbit``, ``spectral`` (see `graph_mmd`); ``uniqueness``;
            ``novelty``, the fraction that is in no training graph; for molecules also ``validity_without_correction`` and
            ``nspdk``.

        Raises
        ------
        NothingGenerated
            If the reverse diffusion diverges, or no generated molecule has an atom.
        """
        self._check_fitted()
        wanted = len(graphs) if n is None else n
        if self.elements_ is None:
            generated = self.sample(wanted, random_state=random_state)
            measured = graph_mmd(as_graph_set(graphs, allow_loops=False), generated)
            hashes = graph_hashes(generated)
        else:
            x, a, _ = self._sample_states(wanted, None, None, random_state, False)
            decoded = decode_molecules(x, a, self.elements_)
            generated = to_smiles(decoded, self.elements_)
            whole = [text for text in generated if text]
            if not whole:
                raise NothingGenerated("none of the generated molecules has an atom: raise n_epochs")
            measured = graph_mmd(elements_of_smiles(list(graphs))[0], elements_of_smiles(whole)[0])
            measured["nspdk"] = nspdk_mmd(list(graphs), whole)
            measured["validity_without_correction"] = float(decoded.valid.float().mean())
            hashes = _smiles_hashes(canonical_smiles(text) for text in whole)
        measured["uniqueness"] = len(np.unique(hashes)) / len(hashes)
        measured["novelty"] = float(1 - np.isin(hashes, self.training_hashes_).mean())
        return (measured, generated) if return_generated else measured

    def score(self, graphs: Any, y: Any = None) -> float:
        """Minus the mean of the degree, clustering and orbit MMD of as many samples as there are test graphs."""
        measured = self.evaluate(graphs)
        return -float(np.mean([measured[name] for name in ("degree", "clustering", "orbit")]))

    def _check_fitted(self) -> None:
        if not hasattr(self, "networks_"):
            from sklearn.exceptions import NotFittedError

            raise NotFittedError("this GDSS is not fitted yet: call fit first")

    @property
    def n_parameters_(self) -> int:
        """Learnt numbers of both networks."""
        return sum(parameter.numel() for parameter in self.networks_.parameters())

    # --- storage --------------------------------------------------------------------------------------------------

    def _get_state(self) -> dict[str, Any]:
        state = {name: value for name, value in super()._get_state().items() if name != "networks_"}
        weights = {f"networks.{name}": tensor for name, tensor in self.networks_.state_dict().items()}
        return state | weights

    def _set_state(self, state: dict[str, Any]) -> None:
        weights = {name.removeprefix("networks."): v for name, v in state.items() if name.startswith("networks.")}
        super()._set_state({name: value for name, value in state.items() if not name.startswith("networks.")})
        self.networks_ = self._build()
        self.networks_.load_state_dict(weights)
        self.networks_.eval()


def _describe(graphs: GraphSet) -> tuple[Tensor, Tensor, Literal["degrees", "types"]]:
    """The class of each node, the order of each edge, and what the classes are."""
    orders = torch.ones(graphs.edge_index.shape[1], dtype=torch.long)
    if graphs.edge_features is not None:
        if graphs.edge_features.is_floating_point() or graphs.edge_features.shape[1] != 1:
            raise ValueError("graphs must have one integer type an edge, or none")
        orders = graphs.edge_features[:, 0]
    elif graphs.edge_weight is not None:
        orders = graphs.edge_weight.round().long()
        if not torch.equal(orders.to(graphs.edge_weight), graphs.edge_weight):
            raise ValueError("graphs must have integer edge weights, which are orders of bonds, or none")
    if len(orders) and (int(orders.min()) < 1 or int(orders.max()) > 255):
        raise ValueError(f"graphs must have edge types from 1 to 255, got {int(orders.min())} to {int(orders.max())}")
    if graphs.node_features is None:
        return torch.bincount(graphs.edge_index[0], minlength=len(graphs.batch)), orders, "degrees"
    if graphs.node_features.is_floating_point() or graphs.node_features.shape[1] != 1:
        raise ValueError("graphs must have one integer type a node, or none (then degrees stand for types)")
    return graphs.node_features[:, 0], orders, "types"


def _smiles_hashes(smiles: Iterable[str]) -> np.ndarray:
    digests = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in smiles]
    return np.frombuffer(b"".join(digests), dtype=np.int64).copy()


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Torch's generator seeded inside the block and as it was after it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def _progress(description: str, total: int, show: bool) -> Iterator[Any]:
    """A rich progress bar's step function, or one that does nothing."""
    if not show:
        yield None
        return
    from rich.progress import Progress

    with Progress() as bar:
        task = bar.add_task(description, total=total)
        yield lambda step: bar.advance(task)

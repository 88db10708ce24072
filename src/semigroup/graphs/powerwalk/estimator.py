"""The class a user meets: fit builds or opens the index, transform and top_k answer queries."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import joblib
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

import semigroup
from semigroup.base import (
    Estimator,
    all_or_nothing,
    atomic_folder,
    check_choice,
    check_device,
    check_integer,
    check_number,
    plain_value,
    seed_from,
)
from semigroup.graphs.powerwalk.decomposition import decompose, decompose_by_pull, top_entries
from semigroup.graphs.powerwalk.index import Settings, build_index, open_folder
from semigroup.graphs.powerwalk.walks import WALKS, Fingerprints, Transitions, load_array
from semigroup.operators import Graph, as_graph
from semigroup.operators.pagerank import loop_at_sinks, uniform_answer

__all__ = ["PowerWalk", "TopK"]


@dataclass(frozen=True)
class TopK:
    """The vertices that matter most to each source.

    Attributes
    ----------
    nodes : array of shape (batch, k)
        Names of the vertices, largest score first; -1, or None where the graph has names, after the last reachable one.
    scores : float array of shape (batch, k)
        Their personalised PageRank; 0 where there is no vertex.
    """

    nodes: np.ndarray
    scores: Float[np.ndarray, "batch k"]


class PowerWalk(Estimator):
    r"""Personalised PageRank of many sources on one graph, from an index of short random walks.

    Parameters
    ----------
    alpha : float
        Probability with which the walk goes back to its source at each vertex (reset probability).
    n_walks : int
        Random walks from each vertex in the index: time and size of the index grow with it.
    n_steps : int
        Rounds of decomposition a query; each takes the walk's length off the index and multiplies the vertices reached.
    eps : float
        Flows below it are not followed: faster, at the price of the many small scores. 0 follows all of them.
    use_index : bool
        Without an index a query stops after `n_steps` rounds and lacks the mass (1 - alpha)^n_steps that still moves.
    direction : {'push', 'pull'}
        Carry the sources' mass forward to the fingerprints, or the fingerprints back to the sources. The result is the same
        for ``eps=0``; pull does the work of each vertex once for all sources.
    dangling : {'source', 'self', 'kill', 'uniform'}
        What becomes of a walk at a vertex without out-edges: it goes back to the source, stays there, dies (the scores then
        sum to less than one), or jumps to any vertex (the answer of each source is then dense).
    walks : {'full-path', 'end-point', 'long-path', 'stratified'}
        What a fingerprint counts: all visits of independent walks; where they stop; all visits of one long walk that jumps
        back to its source; all visits of walkers that are split in proportion and rounded at random.
    estimate : {'unbiased', 'ratio'}
        Divide the visits by the number of walks, or by the number of visits. The ratio makes each fingerprint sum to what
        it should, and has a bias that averaging over fingerprints does not remove.
    max_length : int or None
        Vertices after which a walk is cut. A cut at L loses the mass (1 - alpha)^L; None never cuts.
    max_entries : int or None
        Largest entries that are kept of each fingerprint, scaled up to the mass of all.
    min_in_degree : int
        Vertices with fewer in-edges get no fingerprint. 1 costs nothing when `n_steps` is positive.
    directed : bool
        Follow edges in their direction only; False adds every edge's reverse.
    index_dir : str or None
        Folder of the index. It is built there in shards and memory-mapped; a folder that holds the finished index of the same
        graph and settings is used as it is, and one that holds some of its shards is completed.
    shard_size : int or None
        Vertices a shard, the unit of parallel work; by default some eight million visits. It does not change the result.
    n_jobs : int or None
        Threads or workers, as in joblib: None is one unless a `joblib.parallel_config` says otherwise, -1 all cores.
    device : str
        Where independent walks are made: ``'cpu'``, or a torch device such as ``'cuda'``, with the same result.
    random_state : int or None
        Seed. The walks depend on it, their vertex and their number alone, so any number of workers gives the same index.

    Attributes
    ----------
    graph_ : Graph
        The graph as it was given, with the names of its nodes.
    index_ : Fingerprints or None
        The fingerprints of all vertices.
    transitions_ : Transitions
        Where walks go from each vertex.
    settings_ : Settings
        What the index was built with, the fingerprint of the graph included.

    Notes
    -----
    On a Ray cluster that shares the file system of `index_dir`::

        from ray.util.joblib import register_ray

        register_ray()
        restart = {"max_restarts": -1, "max_task_retries": -1}
        with joblib.parallel_config(backend="ray", n_jobs=-1, ray_remote_args=restart):
            PowerWalk(index_dir="/shared/index").fit(graph)

    References
    ----------
    Q. Liu, Z. Li, J. C. S. Lui and J. Cheng, PowerWalk: Scalable Personalized PageRank via Random Walks with Vertex-Centric
    Decomposition, CIKM 2016, arXiv:1608.06054.

    Examples
    --------
    >>> import networkx as nx
    >>> model = PowerWalk(n_walks=100, n_steps=8, random_state=0).fit(nx.karate_club_graph())
    >>> model.top_k([0, 33], k=4).nodes
    array([[ 0,  1,  2,  3],
           [33, 32, 23, 31]])
    """

    def __init__(
        self,
        *,
        alpha: float = 0.15,
        n_walks: int = 100,
        n_steps: int = 2,
        eps: float = 1e-6,
        use_index: bool = True,
        direction: Literal["push", "pull"] = "push",
        dangling: Literal["source", "self", "kill", "uniform"] = "source",
        walks: Literal["full-path", "end-point", "long-path", "stratified"] = "full-path",
        estimate: Literal["unbiased", "ratio"] = "unbiased",
        max_length: int | None = None,
        max_entries: int | None = None,
        min_in_degree: int = 0,
        directed: bool = True,
        index_dir: str | None = None,
        shard_size: int | None = None,
        n_jobs: int | None = None,
        device: str = "cpu",
        random_state: int | None = None,
    ) -> None:
        self.alpha = alpha
        self.n_walks = n_walks
        self.n_steps = n_steps
        self.eps = eps
        self.use_index = use_index
        self.direction = direction
        self.dangling = dangling
        self.walks = walks
        self.estimate = estimate
        self.max_length = max_length
        self.max_entries = max_entries
        self.min_in_degree = min_in_degree
        self.directed = directed
        self.index_dir = index_dir
        self.shard_size = shard_size
        self.n_jobs = n_jobs
        self.device = device
        self.random_state = random_state

    @all_or_nothing
    def fit(
        self,
        graph: Any,
        y: None = None,
        *,
        progress: bool = False,
        checkpoint_dir: str | os.PathLike[str] | None = None,
    ) -> "PowerWalk":
        """Build the index of a graph, or take the one that lies in `index_dir`.

        Parameters
        ----------
        graph : Graph, networkx graph, sparse or dense (n, n) matrix, PyG ``Data``, or edge list
            Non-negative weights; the entry in row u and column v is the edge from u to v. An edge list of shape (m, 2) or
            (m, 3) is directed unless ``directed=False``.
        y : ignored
        progress : bool
            Show a progress bar.
        checkpoint_dir : path, optional
            Where finished shards are kept if there is no `index_dir`, so that a build that was stopped goes on from them.

        Raises
        ------
        ValueError
            If an argument is out of range, the graph is no graph, or `index_dir` holds the index of another graph or of
            other settings.
        """
        self._check_settings()
        self._check_query_settings()
        given = as_graph(graph, "graph", directed=True)
        adjacency = given.adjacency
        if not self.directed:
            adjacency = sp.csr_array(adjacency + adjacency.T)
        if self.dangling == "self":
            adjacency = loop_at_sinks(adjacency)
        # The exact masses cost a power iteration, so they are computed only where something is scaled to them.
        scaled = self.estimate == "ratio" or self.walks == "long-path" or self.dangling == "uniform"
        transitions = Transitions.from_adjacency(adjacency, self.alpha if scaled else None)
        n = transitions.n_nodes
        settings = Settings(
            graph=transitions.digest(),
            n_nodes=n,
            alpha=float(self.alpha),
            dangling=self.dangling,
            walks=self.walks,
            estimate=self.estimate,
            n_walks=int(self.n_walks),
            max_length=None if self.max_length is None else int(self.max_length),
            max_entries=None if self.max_entries is None else int(self.max_entries),
            min_in_degree=int(self.min_in_degree),
            seed=seed_from(self.random_state),
            shard_size=int(self.shard_size or max(1, min(n, int(2**23 * self.alpha / self.n_walks)))),
        )
        index = None
        if self.use_index:
            place = checkpoint_dir if self.index_dir is None else self.index_dir
            folder = None if place is None else Path(place)
            if folder is not None:
                settings = open_folder(folder, settings, any_seed=self.random_state is None)
            if folder is not None and (folder / "fingerprints").exists():
                index = Fingerprints.load(folder / "fingerprints")
            else:
                index = build_index(transitions, settings, folder, self.n_jobs, self.device, progress)
        self.graph_ = given
        self.transitions_ = transitions
        self.index_ = index
        self.settings_ = settings
        self.background_ = self._background()
        return self

    def transform(self, sources: Any) -> sp.csr_array:
        r"""Personalised PageRank of each source.

        Parameters
        ----------
        sources : node or sequence of nodes
            By the names of the graph that was fitted; a source given twice is answered twice.

        Returns
        -------
        csr_array of shape (batch, n)
            One row a source, over the nodes in the order of ``graph_.names``. Vertices that a source cannot reach are 0.

        Raises
        ------
        ValueError
            If a source is no node of the graph, there is none, or `alpha` was changed after `fit`.
        """
        return sp.csr_array(sp.vstack(list(self._answers(sources)), format="csr"))

    def top_k(self, sources: Any, k: int = 100, *, exclude_source: bool = False) -> TopK:
        """The `k` vertices with the largest scores for each source.

        Parameters
        ----------
        sources : node or sequence of nodes
        k : int
        exclude_source : bool
            Leave out the source itself, whose score is at least `alpha`.

        Returns
        -------
        TopK

        Raises
        ------
        ValueError
            If `k` is larger than the number of nodes; or as `transform`.
        """
        self._check_fitted()
        k = check_integer(k, "k", minimum=1, maximum=self.transitions_.n_nodes)
        pieces = list(self._answers(sources, lambda rows, which: _top_without(rows, which, k, exclude_source)))
        columns = np.concatenate([piece[0] for piece in pieces])
        scores = np.concatenate([piece[1] for piece in pieces])
        if self.graph_.nodes is None:
            return TopK(columns, scores)
        nodes = self.graph_.nodes[columns].astype(object)
        nodes[columns < 0] = None
        return TopK(nodes, scores)

    def _answers(self, sources: Any, finish: Any = None) -> Iterator[Any]:
        """Answers block by block in the order of the sources; `finish` reduces a block in the thread that computed it."""
        self._check_fitted()
        self._check_query_settings()
        if np.ndim(sources) > 1 or np.size(sources) == 0:
            raise ValueError(f"sources must be a node or a non-empty sequence of nodes, got shape {np.shape(sources)}")
        numbers = self.graph_.index(sources, "sources")
        # A task for a thread; answers that are dense must be fewer.
        size = 64 if self.background_ is None else int(np.clip(2**24 // self.transitions_.n_nodes, 1, 64))
        blocks = [numbers[start : start + size] for start in range(0, len(numbers), size)]

        def answer(block: np.ndarray) -> Any:
            rows = self._answer_block(block)
            return rows if finish is None else finish(rows, block)

        if len(blocks) == 1:  # spares a single query the milliseconds that a pool costs
            yield answer(blocks[0])
            return
        yield from joblib.Parallel(n_jobs=self.n_jobs, require="sharedmem")(map(joblib.delayed(answer), blocks))

    def _answer_block(self, block: np.ndarray) -> sp.csr_array:
        """q of a block of sources, and the policy for dangling vertices."""
        compute = decompose if self.direction == "push" else decompose_by_pull
        index = self.index_ if self.use_index else None
        rows = compute(self.transitions_, index, block, alpha=self.alpha, n_steps=self.n_steps, eps=self.eps)
        if self.dangling == "kill":
            return rows
        kept = np.ones(len(block))
        if self.background_ is not None:
            kept = self.transitions_.mass[block]
        rows.data *= np.repeat(kept / np.asarray(rows.sum(axis=1)), np.diff(rows.indptr))
        if self.background_ is None:
            return rows
        return sp.csr_array(rows.toarray() + (1 - kept)[:, None] * self.background_)

    def _background(self) -> np.ndarray | None:
        """Where the mass lost at sinks lands under the policy 'uniform': the answer of the uniform distribution."""
        if self.dangling != "uniform" or not len(self.transitions_.mass):
            return None
        answer = uniform_answer(self.transitions_.matrix, self.alpha)
        return answer / answer.sum()

    def _check_settings(self) -> None:
        check_number(self.alpha, "alpha", above=0, below=1)
        check_integer(self.n_walks, "n_walks", minimum=1)
        check_choice(self.dangling, "dangling", ("source", "self", "kill", "uniform"))
        check_choice(self.walks, "walks", WALKS)
        check_choice(self.estimate, "estimate", ("unbiased", "ratio"))
        check_integer(self.min_in_degree, "min_in_degree", minimum=0)
        for name in ("max_length", "max_entries", "shard_size"):
            if getattr(self, name) is not None:
                check_integer(getattr(self, name), name, minimum=1)
        check_device(self.device)
        if self.device != "cpu" and self.walks in ("long-path", "stratified"):
            raise ValueError(f"device must be 'cpu' for walks={self.walks!r}, got {self.device!r}")
        if self.walks == "long-path" and self.max_length is not None:
            raise ValueError(f"max_length must be None for walks='long-path', got {self.max_length}")

    def _check_query_settings(self) -> None:
        """What `set_params` may change between fit and query."""
        check_integer(self.n_steps, "n_steps", minimum=0)
        check_number(self.eps, "eps", minimum=0)
        check_choice(self.direction, "direction", ("push", "pull"))
        if self.eps >= self.alpha:
            raise ValueError(f"eps must be less than alpha = {self.alpha}, else nothing is left, got {self.eps}")
        if not self.use_index and self.n_steps == 0:
            raise ValueError("n_steps must be >= 1 when use_index=False, got 0")

    def _check_fitted(self) -> None:
        if not hasattr(self, "transitions_"):
            from sklearn.exceptions import NotFittedError

            raise NotFittedError("this PowerWalk is not fitted: call fit(graph) first")
        if self.alpha != self.settings_.alpha:
            raise ValueError(f"alpha is {self.alpha}, but the index was built for {self.settings_.alpha}: fit again")
        if self.dangling != self.settings_.dangling:
            raise ValueError(f"dangling is {self.dangling!r}, but fit took {self.settings_.dangling!r}: fit again")
        if self.use_index and self.index_ is None:
            raise ValueError("use_index is True, but fit built no index: fit again")

    def save_pretrained(self, directory: str | os.PathLike[str]) -> Path:
        """Write graph, index and settings to a folder of memory-mappable ``.npy`` files and one ``config.json``.

        Parameters
        ----------
        directory : path
            Created, or replaced as a whole once everything is written.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        ValueError
            If the names of the nodes are neither numbers nor strings.
        """
        self._check_fitted()
        nodes = self.graph_.nodes
        if nodes is not None and nodes.dtype.kind not in "iufU":
            if not all(isinstance(node, str) for node in nodes):
                raise ValueError("the names of the nodes must be numbers or strings to be stored")
            nodes = nodes.astype(np.str_)
        config = {
            "class": f"{type(self).__module__}:{type(self).__qualname__}",
            "version": semigroup.__version__,
            "params": self.get_params(deep=False),
            "settings": asdict(self.settings_),
            "has_index": self.index_ is not None,
            "has_names": nodes is not None,
        }
        with atomic_folder(directory) as folder:
            (folder / "config.json").write_text(json.dumps(config, indent=2, default=plain_value))
            for name in ("graph", "adjacency"):
                (folder / name).mkdir()
            self.transitions_.save(folder / "graph")
            for part in ("indptr", "indices", "data"):
                np.save(folder / "adjacency" / f"{part}.npy", getattr(self.graph_.adjacency, part))
            if self.index_ is not None:
                (folder / "fingerprints").mkdir()
                self.index_.save(folder / "fingerprints")
            if nodes is not None:
                np.save(folder / "nodes.npy", nodes)
        return Path(directory)

    @classmethod
    def from_pretrained(cls, directory: str | os.PathLike[str]) -> "PowerWalk":
        """Open what `save_pretrained` wrote; graph and index are memory-mapped, so opening takes no time.

        Parameters
        ----------
        directory : path or str
            A folder, or the id of a Hugging Face Hub repository.

        Raises
        ------
        ValueError
            If the folder holds another estimator, or an index that does not belong to the graph beside it.
        """
        folder = Path(directory)
        if not folder.is_dir():
            from huggingface_hub import snapshot_download

            folder = Path(snapshot_download(str(directory)))
        config = json.loads((folder / "config.json").read_text())
        expected = f"{cls.__module__}:{cls.__qualname__}"
        if config["class"] != expected:
            raise ValueError(f"directory holds a {config['class']}, not a {expected}")
        model = cls(**config["params"])
        model.settings_ = Settings(**config["settings"])
        model.transitions_ = Transitions.load(folder / "graph")
        if model.transitions_.digest() != model.settings_.graph:
            raise ValueError(f"directory {folder} holds the index of another graph than the one beside it")
        parts = {name: load_array(folder / "adjacency" / f"{name}.npy") for name in ("data", "indices", "indptr")}
        n = model.settings_.n_nodes
        adjacency = sp.csr_array((parts["data"], parts["indices"], parts["indptr"]), shape=(n, n))
        nodes = np.load(folder / "nodes.npy", allow_pickle=False) if config["has_names"] else None
        model.graph_ = Graph(adjacency, nodes)
        model.index_ = Fingerprints.load(folder / "fingerprints") if config["has_index"] else None
        model.background_ = model._background()
        return model


def _top_without(
    rows: sp.csr_array, sources: np.ndarray, k: int, exclude_source: bool
) -> tuple[np.ndarray, np.ndarray]:
    """`top_entries`, without each row's own source if asked."""
    if exclude_source:
        own = rows.indices == np.repeat(sources, np.diff(rows.indptr))
        rows.data[own] = 0.0
        rows.eliminate_zeros()
    return top_entries(rows, k)

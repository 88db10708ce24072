"""The class a user meets: clusters of a graph by structure and attributes together."""

import hashlib
import os
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from rich.progress import Progress

from semigroup.base import Estimator, check_choice, check_integer, check_number, numpy_generator, seed_from
from semigroup.graphs.amg_clustering.augmentation import (
    MISSING,
    Attributes,
    augment,
    encode_attributes,
    shifted_laplacian,
)
from semigroup.graphs.amg_clustering.bootstrap import COMPOSITES, Bootstrap, Composite, bootstrap
from semigroup.graphs.amg_clustering.hierarchy import HierarchyOptions, build_hierarchy
from semigroup.graphs.amg_clustering.kmeans import NORMS, best_partition, block_coordinates, embed, kmeans
from semigroup.graphs.amg_clustering.scores import attribute_entropy
from semigroup.operators import Graph, as_graph, check_connected

__all__ = ["BootstrapAMGClustering", "check_graph"]


def check_graph(graph: Any, name: str = "graph") -> Graph:
    """An undirected graph with at least two nodes and an edge, without self loops (dropped with a warning)."""
    found = as_graph(graph, name, directed=False)
    if found.n_nodes < 2:
        raise ValueError(f"{name} must have at least 2 nodes, got {found.n_nodes}")
    loops = found.adjacency.diagonal() != 0
    adjacency = found.adjacency
    if loops.any():
        warnings.warn(f"{name} has {loops.sum()} self loops, which are dropped", stacklevel=3)
        adjacency = sp.csr_array(adjacency - sp.diags_array(adjacency.diagonal()))
        adjacency.eliminate_zeros()
    if adjacency.nnz == 0:
        raise ValueError(f"{name} has no edges, and modularity is not defined without any")
    if not adjacency.has_sorted_indices:
        adjacency = adjacency.sorted_indices()
    return Graph(adjacency, found.nodes)


class BootstrapAMGClustering(Estimator):
    r"""Clusters of a graph by its edges and its vertices' attributes together, at a cost linear in the edges.

    The values of the attributes become vertices of an augmented graph. A bootstrap of algebraic multigrid hierarchies for its
    Laplacian collects the errors that are hard to remove, which approximate the low end of the spectrum; K-means on them, with a
    distance between vertices and attributes as blocks, is restarted many times, and the partition of largest modularity is kept.
    Without attributes it is bootstrap AMG spectral clustering.

    Parameters
    ----------
    n_clusters : int
        Clusters wanted, k.
    attribute_weight : float
        Weight of the attributes' coordinates in the distance. With the paper's 1 the attributes decide almost alone; 0.3 gives a
        clear structure its say; 0 leaves attributes to the embedding alone.
    max_hierarchies : int
        Multigrid hierarchies, and so dimensions of the embedding, at most.
    desired_ratio : float
        Convergence ratio of the composite solver at which no further hierarchy is added.
    n_sweeps : int
        Sweeps of the composite that make a smooth vector.
    composite : {'multiplicative', 'symmetrised', 'additive'}
        How the hierarchies are combined: one after the other, the same and back, or their mean.
    matching : {'greedy', 'suitor', 'auction', 'exact'}
        How vertices are paired: by falling weight (the locally dominant matching), by proposals, by bids, or at best (cubic
        cost).
    n_pairings : int
        Pairings a level; 2 gives aggregates of up to four vertices.
    smoothed : bool
        Smooth the prolongators.
    max_coarse : int
        A level of at most so many vertices is the coarsest.
    max_levels : int
        Levels at most.
    n_coarse_relaxations : int
        Relaxations of the smooth vector on each level.
    cycle : {'V', 'H', 'W', 'K'}
        Coarse calls a level: one; two on every other level; two; at most two steps of flexible conjugate gradients.
    smoother : {'forward_backward', 'forward', 'backward', 'symmetric', 'jacobi', 'l1_jacobi'}
        Gauss-Seidel, forward before and backward after the coarse call or the same both times, or Jacobi.
    jacobi_weight : float
        Weight of ``'jacobi'``.
    n_pre_smoothings : int
        Steps of the smoother before the coarse call.
    n_post_smoothings : int
        Steps after it.
    coarse_solver : {'forward', 'backward', 'symmetric', 'jacobi', 'l1_jacobi', 'direct'}
        Solver of the coarsest level. The authors' program takes ``'forward'``, 20 steps of Gauss-Seidel, which leave most of the
        constant vector: all smooth vectors are then nearly the same, more hierarchies are needed, and the clusters are worse.
    n_coarse_smoothings : int
        Its steps.
    rank_tol : float
        Directions of the embedding whose singular value is at most this share of the largest are left out. The paper's 0 keeps
        all, among them some of mere rounding error where the smooth vectors are nearly dependent (as with
        ``coarse_solver='forward'``); 1e-10 leaves those out.
    norm : {'2', '1', 'inf'}
        Of the vector of distances, one a dimension.
    n_init : int
        Restarts of K-means.
    max_iter : int
        Iterations of each at most.
    missing : {'refuse', 'own', 'drop_edge'}
        What becomes of a missing attribute: an error, a value of its own, or no edge.
    strict_reference : bool
        Start K-means from rows drawn with replacement and lose clusters that become empty, as the authors' program does.
    random_state : int or None
        Seed.

    Attributes
    ----------
    labels_ : int array of shape (n,)
        Cluster of each node, numbered by falling size.
    n_clusters_ : int
        Clusters found, fewer than wanted where some were lost.
    modularity_ : float
        Of the original graph.
    attribute_entropy_ : float or None
        Bits within clusters, summed over attributes; None without attributes.
    embedding_ : array of shape (n_bar, rank)
        Coordinates of the vertices and, after them, of the attributes' values.
    smooth_vectors_ : array of shape (n_bar, r + 1)
        What the hierarchies were built from, and the error left in the end.
    ratios_ : array of shape (r,)
        Convergence ratio of the composite with 1, ..., r hierarchies.
    attribute_vertices_ : int array of shape (n, p)
        Row of `embedding_` of each node's attributes; -1 where one is missing.
    matrix_ : csr_array of shape (n_bar, n_bar)
        The shifted Laplacian of the augmented graph.

    Notes
    -----
    The authors' program ignores the weights of edges. Here they are kept: the Laplacian is that of the weighted graph, with edges
    of weight 1 to the attributes.

    References
    ----------
    P. D'Ambra, P. S. Vassilevski and L. Cutillo, Extending Bootstrap AMG for Clustering of Attributed Graphs, Applied
    Mathematics and Computation 447, 2023, arXiv:2109.09367.

    Examples
    --------
    >>> import networkx as nx
    >>> club = nx.karate_club_graph()
    >>> side = [club.nodes[i]["club"] for i in club]
    >>> model = BootstrapAMGClustering(n_clusters=2, random_state=0).fit(club, side)
    >>> np.bincount(model.labels_), round(model.attribute_entropy_, 3)
    (array([17, 17]), 0.0)
    """

    def __init__(
        self,
        *,
        n_clusters: int = 8,
        attribute_weight: float = 1.0,
        max_hierarchies: int = 40,
        desired_ratio: float = 1e-6,
        n_sweeps: int = 15,
        composite: Literal["multiplicative", "symmetrised", "additive"] = "multiplicative",
        matching: Literal["greedy", "suitor", "auction", "exact"] = "greedy",
        n_pairings: int = 2,
        smoothed: bool = False,
        max_coarse: int = 10,
        max_levels: int = 39,
        n_coarse_relaxations: int = 0,
        cycle: Literal["V", "H", "W", "K"] = "V",
        smoother: Literal["forward_backward", "forward", "backward", "symmetric", "jacobi", "l1_jacobi"] = (
            "forward_backward"
        ),
        jacobi_weight: float = 2 / 3,
        n_pre_smoothings: int = 1,
        n_post_smoothings: int = 1,
        coarse_solver: Literal["forward", "backward", "symmetric", "jacobi", "l1_jacobi", "direct"] = "direct",
        n_coarse_smoothings: int = 20,
        rank_tol: float = 0.0,
        norm: Literal["2", "1", "inf"] = "2",
        n_init: int = 100,
        max_iter: int = 10,
        missing: Literal["refuse", "own", "drop_edge"] = "refuse",
        strict_reference: bool = False,
        random_state: int | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.attribute_weight = attribute_weight
        self.max_hierarchies = max_hierarchies
        self.desired_ratio = desired_ratio
        self.n_sweeps = n_sweeps
        self.composite = composite
        self.matching = matching
        self.n_pairings = n_pairings
        self.smoothed = smoothed
        self.max_coarse = max_coarse
        self.max_levels = max_levels
        self.n_coarse_relaxations = n_coarse_relaxations
        self.cycle = cycle
        self.smoother = smoother
        self.jacobi_weight = jacobi_weight
        self.n_pre_smoothings = n_pre_smoothings
        self.n_post_smoothings = n_post_smoothings
        self.coarse_solver = coarse_solver
        self.n_coarse_smoothings = n_coarse_smoothings
        self.rank_tol = rank_tol
        self.norm = norm
        self.n_init = n_init
        self.max_iter = max_iter
        self.missing = missing
        self.strict_reference = strict_reference
        self.random_state = random_state

    def fit(
        self,
        graph: Any,
        attributes: Any = None,
        *,
        progress: bool = False,
        checkpoint_dir: str | os.PathLike[str] | None = None,
    ) -> "BootstrapAMGClustering":
        """Cluster the nodes of a graph.

        Parameters
        ----------
        graph : Graph, networkx graph, sparse or dense (n, n) matrix, PyG ``Data``, or edge list
            Undirected, weights >= 0; together with the attributes' vertices it must be connected.
        attributes : DataFrame or array-like of shape (n,) or (n, p), optional
            Categories of the nodes: words, integers or booleans.
        progress : bool
            Show a progress bar.
        checkpoint_dir : path, optional
            Where the smooth vectors are kept, so that a fit that was stopped goes on from them.

        Raises
        ------
        TypeError
            If an attribute holds real numbers.
        ValueError
            If an argument is out of range, the graph is directed, disconnected or has negative or NaN weights, or the
            attributes are not one row a node or have missing values.
        """
        options = self._options()
        given = check_graph(graph)
        n = given.n_nodes
        self._check_settings(n)
        encoded = None if attributes is None else encode_attributes(attributes, n, missing=self.missing)
        augmented = augment(given.adjacency, encoded)
        check_connected(Graph(augmented.adjacency, _names(given, encoded)), "graph with its attributes")
        matrix = shifted_laplacian(augmented.adjacency)
        generator = numpy_generator(self.random_state)
        found = self._bootstrap(matrix, options, seed_from(generator), progress, checkpoint_dir)
        embedding = embed(found.smooth_vectors, self.rank_tol)
        blocks = block_coordinates(embedding, augmented.attribute_vertices, self.attribute_weight)
        candidates = kmeans(
            blocks,
            self.n_clusters,
            n_init=self.n_init,
            max_iter=self.max_iter,
            norm=self.norm,
            keep_empty=self.strict_reference,
            generator=generator,
        )
        self.labels_, self.modularity_ = best_partition(given.adjacency, candidates)
        self.n_clusters_ = int(self.labels_.max()) + 1
        self.attribute_entropy_ = None if encoded is None else attribute_entropy(self.labels_, encoded.codes)
        self.embedding_ = embedding
        self.smooth_vectors_ = found.smooth_vectors
        self.ratios_ = found.ratios
        self.attribute_vertices_ = augmented.attribute_vertices
        self.matrix_ = matrix
        self._composite = found.composite
        return self

    def fit_predict(self, graph: Any, attributes: Any = None) -> np.ndarray:
        """Cluster the nodes of a graph and return `labels_`; parameters as of `fit`."""
        return self.fit(graph, attributes).labels_

    @property
    def composite_(self) -> Composite:
        """The composite multigrid solver for `matrix_`; built anew from the smooth vectors after loading."""
        if not hasattr(self, "_composite"):
            vectors = self.smooth_vectors_.T[: len(self.ratios_)]
            hierarchies = [build_hierarchy(self.matrix_, vector, self._options()) for vector in vectors]
            self._composite = Composite(self.matrix_, hierarchies, self.composite)
        return self._composite

    def _options(self) -> HierarchyOptions:
        options = HierarchyOptions(**{name: getattr(self, name) for name in HierarchyOptions.__dataclass_fields__})
        options.check()
        return options

    def _check_settings(self, n: int) -> None:
        check_integer(self.n_clusters, "n_clusters", minimum=1, maximum=n)
        check_number(self.attribute_weight, "attribute_weight", minimum=0)
        check_integer(self.max_hierarchies, "max_hierarchies", minimum=1)
        check_number(self.desired_ratio, "desired_ratio", above=0, below=1)
        check_integer(self.n_sweeps, "n_sweeps", minimum=1)
        check_choice(self.composite, "composite", COMPOSITES)
        check_number(self.rank_tol, "rank_tol", minimum=0, below=1)
        check_choice(self.norm, "norm", NORMS)
        check_integer(self.n_init, "n_init", minimum=1)
        check_integer(self.max_iter, "max_iter", minimum=1)
        check_choice(self.missing, "missing", MISSING)

    def _bootstrap(
        self,
        matrix: sp.csr_array,
        options: HierarchyOptions,
        seed: int,
        progress: bool,
        checkpoint_dir: str | os.PathLike[str] | None,
    ) -> Bootstrap:
        """The bootstrap, from a checkpoint of the same problem where there is one."""
        checkpoint = None
        start = None
        if checkpoint_dir is not None:
            settings = (options, self.composite, self.n_sweeps, self.random_state)
            digest = hashlib.sha256(repr(settings).encode())
            for array in (matrix.indptr, matrix.indices, matrix.data):
                digest.update(array.tobytes())
            checkpoint = _Checkpoint(Path(checkpoint_dir) / f"smooth_vectors-{digest.hexdigest()[:16]}.npz")
            seed, start = checkpoint.read(matrix, options, self.composite, seed)
        with Progress(disable=not progress, transient=True) as bar:
            task = bar.add_task("multigrid hierarchies", total=self.max_hierarchies)

            def after_each(found: Bootstrap) -> None:
                bar.update(
                    task,
                    completed=len(found.ratios),
                    description=f"multigrid hierarchies, convergence ratio {found.ratios[-1]:.1e}",
                )
                if checkpoint is not None:
                    checkpoint.write(found, seed)

            return bootstrap(
                matrix,
                options=options,
                composite=self.composite,
                max_hierarchies=self.max_hierarchies,
                desired_ratio=self.desired_ratio,
                n_sweeps=self.n_sweeps,
                random_state=seed,
                start=start,
                after_each=after_each,
            )

    def _get_state(self) -> dict[str, Any]:
        state = super()._get_state()
        matrix = state.pop("matrix_")
        return {**state, **{f"matrix_{part}_": getattr(matrix, part) for part in ("indptr", "indices", "data")}}

    def _set_state(self, state: dict[str, Any]) -> None:
        parts = tuple(state.pop(f"matrix_{part}_") for part in ("data", "indices", "indptr"))
        n = len(parts[2]) - 1
        super()._set_state({**state, "matrix_": sp.csr_array(parts, shape=(n, n))})


class _Checkpoint:
    """The smooth vectors of an unfinished bootstrap in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(
        self, matrix: sp.csr_array, options: HierarchyOptions, composite: str, seed: int
    ) -> tuple[int, Bootstrap | None]:
        """Seed and state of the stopped run; the given seed and nothing where there is none."""
        if not self.path.exists():
            return seed, None
        with np.load(self.path, allow_pickle=False) as archive:
            vectors, ratios, seed = archive["smooth_vectors"], archive["ratios"], int(archive["seed"])
        hierarchies = [build_hierarchy(matrix, vector, options) for vector in vectors.T[: len(ratios)]]
        return seed, Bootstrap(Composite(matrix, hierarchies, composite), vectors, ratios)

    def write(self, found: Bootstrap, seed: int) -> None:
        """All or nothing."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, smooth_vectors=found.smooth_vectors, ratios=found.ratios, seed=seed)
        partial.replace(self.path)


def _names(graph: Graph, attributes: Attributes | None) -> np.ndarray:
    """Names of the nodes, then of the attributes' values."""
    values = () if attributes is None else zip(attributes.names, attributes.values)
    return np.array(
        [*map(str, graph.names), *(f"{name}={value}" for name, words in values for value in words)], dtype=object
    )

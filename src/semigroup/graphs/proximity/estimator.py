"""The estimator: clusters of a graph by a proximity measure."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from semigroup.base import Estimator, check_choice, check_integer, check_number, numpy_generator
from semigroup.graphs.proximity.comparison import METHODS, WARD_ON, parameter_grid, partition
from semigroup.graphs.proximity.families import FAMILIES, Proximity, Spectra, proximity
from semigroup.operators import modularity

__all__ = ["ProximityClustering"]


class ProximityClustering(Estimator):
    r"""Cluster the nodes of a graph by a proximity measure.

    Parameters
    ----------
    family : str
        One of pWalk, Walk, For, logFor, Comm, logComm, Heat, logHeat, SCT, SCCT, RSP, FE, SP-CT, CT, CCT, SP, NHeat,
        logNHeat, HeatPR, logHeatPR, DF, logDF, PPR, logPPR, ModifPPR, logModifPPR, Abs and logAbs.
    p : float, optional
        The family's parameter in (0, 1), from the nearest neighbours (0) to the whole graph (1). If not given, that of a
        grid whose clusters have the largest modularity.
    n_clusters : int
        Number of clusters.
    method : {'ward', 'kernel-kmeans', 'spectral'}
        How clusters are made of the measure.
    ward_on : {'kernel', 'squared', 'distance'}
        What Ward's method reads as squared Euclidean distance: that of the kernel; the measure's distance; its square.
    scale : {'mean', 'none'}
        Of SP-CT: whether shortest paths and commute times are divided by their mean before they are added.
    n_parameters : int
        Points of the grid from which p is chosen.
    start : {'k-means++', 'random'}
        Centres from which kernel k-means starts.
    moves : {'batch', 'single'}
        Whether kernel k-means moves all nodes at once or one after the other.
    choose_by : {'modularity', 'inertia'}
        By what the best start of kernel k-means is chosen.
    n_init : int
        Starts of kernel k-means and of the k-means of spectral clustering.
    max_iter : int
        Passes of kernel k-means.
    device : str
        Where torch computes the measures, e.g. ``"cpu"`` or ``"cuda"``; in double precision.
    random_state : int, Generator or None
        Seed of kernel k-means and spectral clustering; Ward's method draws nothing.

    Attributes
    ----------
    labels_ : int array of shape (n,)
        Cluster of each node, numbered by their first node.
    kernel_ : array of shape (n, n)
        The proximity of all pairs; symmetric, the larger the nearer.
    distance_ : array of shape (n, n)
        The distance of all pairs.
    p_ : float or None
        The parameter used; None where the family has none.
    parameter_ : float or None
        The family's own parameter (t, β, α) at `p_`.
    modularity_ : float
        Of the clusters.
    grid_, grid_modularities_ : arrays of shape (g,)
        The values of p that were tried, and the modularity of their clusters.

    References
    ----------
    V. Ivashkin, P. Chebotarev, "Do logarithmic proximity measures outperform plain ones in graph clustering?",
    arXiv:1605.01046. The choice of p by modularity is not in the paper.

    Examples
    --------
    >>> import networkx as nx
    >>> from semigroup.graphs import ProximityClustering
    >>> club = nx.karate_club_graph()
    >>> labels = ProximityClustering(n_clusters=2).fit_predict(club)
    >>> sides = np.array([club.nodes[i]["club"] == "Mr. Hi" for i in club])
    >>> int(max((labels == sides).sum(), (labels != sides).sum()))
    33
    """

    def __init__(
        self,
        *,
        family: str = "logComm",
        p: float | None = None,
        n_clusters: int = 2,
        method: Literal["ward", "kernel-kmeans", "spectral"] = "ward",
        ward_on: Literal["kernel", "squared", "distance"] = "kernel",
        scale: Literal["mean", "none"] = "mean",
        n_parameters: int = 15,
        start: Literal["k-means++", "random"] = "k-means++",
        moves: Literal["batch", "single"] = "batch",
        choose_by: Literal["modularity", "inertia"] = "modularity",
        n_init: int = 10,
        max_iter: int = 100,
        device: str = "cpu",
        random_state: int | None = None,
    ) -> None:
        self.family = family
        self.p = p
        self.n_clusters = n_clusters
        self.method = method
        self.ward_on = ward_on
        self.scale = scale
        self.n_parameters = n_parameters
        self.start = start
        self.moves = moves
        self.choose_by = choose_by
        self.n_init = n_init
        self.max_iter = max_iter
        self.device = device
        self.random_state = random_state

    def fit(self, graph: Any, y: Any = None) -> ProximityClustering:
        """Measure all pairs of nodes and cluster them.

        Parameters
        ----------
        graph : Spectra, Graph, sparse or dense (n, n) matrix, networkx graph, PyG ``Data`` or edge list
            Undirected, connected, weights >= 0; the larger a weight, the nearer its ends. A `Spectra` brings
            decompositions that were made before.
        y : None
            Not used.

        Raises
        ------
        ValueError
            If the graph is asymmetric, disconnected, has one node only or weights that are negative or not finite; if there
            are more clusters than nodes; if `p` is not strictly between 0 and 1, or a word is not known.
        """
        row = FAMILIES[check_choice(self.family, "family", tuple(FAMILIES))]
        for name, choices in (
            ("method", METHODS),
            ("ward_on", WARD_ON),
            ("scale", ("mean", "none")),
            ("start", ("k-means++", "random")),
            ("moves", ("batch", "single")),
            ("choose_by", ("modularity", "inertia")),
        ):
            check_choice(getattr(self, name), name, choices)
        check_integer(self.n_init, "n_init", minimum=1)
        check_integer(self.max_iter, "max_iter", minimum=1)
        grid = parameter_grid(self.n_parameters)
        if self.p is not None:
            grid = np.array([check_number(self.p, "p", above=0, below=1)])
        n_clusters = check_integer(self.n_clusters, "n_clusters", minimum=1)
        shared = graph if isinstance(graph, Spectra) else Spectra(graph, self.device)
        if n_clusters > shared.n_nodes:
            raise ValueError(f"n_clusters must be at most the {shared.n_nodes} nodes of the graph, got {n_clusters}")
        if not row.has_parameter:
            grid = grid[:1]

        seed = int(numpy_generator(self.random_state).integers(2**63 - 1))
        best: tuple[float, float, Proximity, np.ndarray] | None = None
        modularities = np.empty(len(grid))
        for j, p in enumerate(grid):
            measure = proximity(shared, self.family, float(p), scale=self.scale)
            labels = self._partition(measure, shared, n_clusters, np.random.default_rng(seed))
            modularities[j] = modularity(shared.graph.adjacency, labels)
            if best is None or modularities[j] > best[0]:
                best = (float(modularities[j]), float(p), measure, labels)
        assert best is not None
        self.modularity_, p_used, measure, self.labels_ = best
        self.kernel_, self.distance_, self.parameter_ = measure.kernel, measure.distance, measure.parameter
        self.p_ = p_used if row.has_parameter else None
        self.grid_, self.grid_modularities_ = grid, modularities
        return self

    def fit_predict(self, graph: Any, y: Any = None) -> np.ndarray:
        """`fit`, then the cluster of each node."""
        return self.fit(graph).labels_

    def _partition(
        self, measure: Proximity, graph: Spectra, n_clusters: int, generator: np.random.Generator
    ) -> np.ndarray:
        return partition(
            measure,
            n_clusters,
            graph,
            method=self.method,
            ward_on=self.ward_on,
            generator=generator,
            start=self.start,
            moves=self.moves,
            choose_by=self.choose_by,
            n_init=self.n_init,
            max_iter=self.max_iter,
        )

"""The estimator: from points or a graph to heat-geodesic distances and a map."""

import warnings
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_is_fitted

from semigroup.base import (
    Estimator,
    all_or_nothing,
    check_array,
    check_choice,
    check_integer,
    check_number,
    in_kind,
    numpy_generator,
    seed_from,
)
from semigroup.manifolds.heat_geodesic.dissimilarity import (
    FLOOR,
    TRUNCATIONS,
    heat_geodesic_dissimilarity,
    log_normalised_dissimilarity,
    multiscale_weights,
    stress_weights,
    symmetrise,
    triplet_dissimilarity,
    truncate,
    truncation_range,
)
from semigroup.manifolds.heat_geodesic.kernel import (
    EULER_STEPS,
    LAPLACIANS,
    METHODS,
    diagonal_from_columns,
    entropy_time,
    heat_kernel,
    resolution,
    resolve_method,
)
from semigroup.manifolds.heat_geodesic.scaling import classical_scaling, metric_scaling, place
from semigroup.operators import (
    Graph,
    as_graph,
    check_connected,
    common_offset,
    laplacian,
    neighbour_graph,
    normalise_density,
)

__all__ = ["HeatGeodesic"]

# Entries of the kernels of new points that are held at once.
BLOCK_SIZE = 2**24

GRAPHS = ("alpha-decay", "gaussian", "adaptive", "fuzzy", "precomputed")
EXACT_UP_TO = 3000
N_LANDMARKS = 1000


class HeatGeodesic(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Estimator):
    """Heat-geodesic distances of a point cloud, and a map in a few dimensions that keeps them.

    Parameters
    ----------
    n_components : int
        Dimensions of the map.
    n_neighbors : int
        k of the graph, a point itself not counted.
    diffusion_time : float or 'auto'
        How long heat spreads. ``'auto'`` takes the knee of the kernel's entropy between `min_time` and `max_time`.
    volume_correction : float
        Weight of the volume term; 1 is right for even density, 0 is Varadhan's formula alone.
    graph : {'alpha-decay', 'gaussian', 'adaptive', 'fuzzy', 'precomputed'}
        Kernel of `semigroup.operators.neighbour_graph`: PHATE's, Gaussian, scanpy's, UMAP's. With ``'precomputed'``, `fit`
        takes a symmetric affinity matrix or a graph in the place of points.
    decay : float
        Exponent of ``'alpha-decay'``; also of the weights by which `transform` joins new points to old ones.
    self_affinity : float
        Affinity of a point with itself, which makes the walk lazy: 1 in PHATE and diffusion maps. The combinatorial
        Laplacian does not see it.
    anisotropy : float
        Power, in [0, 1], of the density that affinities are divided by.
    n_pca : int or None
        Principal components that points are reduced to first; None keeps all features.
    laplacian : {'combinatorial', 'normalised', 'random-walk'}
        Which Laplacian heat spreads by.
    heat_method : {'auto', 'euler', 'chebyshev', 'exact', 'positive', 'low-rank'}
        How the kernel is computed, see `heat_kernel`.
    order : int or None
        Steps of 'euler' (30 if None), degree of 'chebyshev' (what the accuracy needs), rank of 'low-rank' (100).
    variant : {'heat-geodesic', 'log-normalised'}
        The dissimilarity. The second needs a time below 1 (below K for 'euler', which counts one of its K steps).
    power : float
        Exponent of the distances; 2 gives the negative logarithm of the kernel itself.
    n_scales : int
        Above 1, the weighted mean of the distances at this many times, geometric between `min_time` and `max_time`, in the
        place of `diffusion_time`.
    min_time : float
        Shortest time for ``diffusion_time='auto'`` and for `n_scales`.
    max_time : float
        Longest time for them.
    n_times : int
        How many times ``'auto'`` looks at.
    time_spacing : {'linear', 'log'}
        How they are spaced; the reference's ten linear times nearly always give the second of them.
    heat_threshold : float
        Entries of the kernel below this part of its largest are taken as zero.
    truncation : {'none', 'max', 'min', 'quantile-max', 'quantile-min'}
        Scale the distances to [0, 1] and cut them at `truncation_level`: see `truncate`.
    truncation_level : float
        In [0, 1].
    triplet : float
        ρ in [0, 1]: the distances become (1 - ρ) D plus ρ times the distances between rows of D.
    stress_weights : {'none', 'heat', 'inverse-distance', 'gaussian'}
        How pairs count in the map, see the function of that name.
    weight_parameter : float
        Exponent of 'inverse-distance', variance of 'gaussian'.
    n_landmarks : int, 'auto' or None
        Compute distances from all points to this many random ones only, map these, and place the other points among
        them. ``'auto'``: 1000 for more than 3000 points. None: all distances.
    max_iter : int
        Steps of the stress majorisation.
    tol : float
        Relative decrease of the stress at which it stops.
    floor : float
        Added to the kernel before the logarithm.
    allow_disconnected : bool
        Whether the graph may fall apart; distances between its parts are then all at their largest and mean nothing.
    random_state : int, Generator or None
        Of the landmarks and of a randomised PCA.

    Attributes
    ----------
    embedding_ : ndarray of shape (n, n_components)
    distances_ : ndarray of shape (n, n) or None
        None where landmarks are used.
    landmarks_ : int array of shape (m,)
        Rows that distances were computed to; all rows without landmarks.
    diffusion_times_ : ndarray of shape (n_scales,)
    saturated_fraction_ : float
        Part of the pairs between which no heat is seen: their distance is the largest possible, whatever the truth.
    stress_ : float
        Root of the relative squared error of the map's distances (among the landmarks).
    n_iter_ : int
    n_features_in_ : int

    Raises
    ------
    ValueError
        For bad arguments; for more neighbours or components than points allow; for NaN, infinity; for more than k copies
        of a point; for affinities that are negative or not symmetric; for a disconnected graph unless allowed.

    Warns
    -----
    UserWarning
        If more than one per cent of the pairs are saturated, or the kernel is nearly constant: both times are badly chosen.

    References
    ----------
    G. Huguet et al., "A Heat Diffusion Perspective on Geodesic Preserving Dimensionality Reduction", NeurIPS 2023,
    arXiv:2305.19043.

    Examples
    --------
    >>> from semigroup.data.manifolds import swiss_roll
    >>> roll = swiss_roll(300, noise=0.3, random_state=0)
    >>> model = HeatGeodesic().fit(roll.points)
    >>> model.embedding_.shape
    (300, 2)
    >>> from semigroup.manifolds.heat_geodesic import geodesic_scores
    >>> geodesic_scores(model.distances_, roll.geodesics).pearson > 0.95
    True
    >>> model.transform(roll.points[:3]).shape
    (3, 2)
    """

    def __init__(
        self,
        *,
        n_components: int = 2,
        n_neighbors: int = 10,
        diffusion_time: float | Literal["auto"] = 50.0,
        volume_correction: float = 1.0,
        graph: Literal["alpha-decay", "gaussian", "adaptive", "fuzzy", "precomputed"] = "alpha-decay",
        decay: float = 40.0,
        self_affinity: float = 0.0,
        anisotropy: float = 0.0,
        n_pca: int | None = None,
        laplacian: Literal["combinatorial", "normalised", "random-walk"] = "combinatorial",
        heat_method: Literal["auto", "euler", "chebyshev", "exact", "positive", "low-rank"] = "auto",
        order: int | None = None,
        variant: Literal["heat-geodesic", "log-normalised"] = "heat-geodesic",
        power: float = 1.0,
        n_scales: int = 1,
        min_time: float = 0.05,
        max_time: float = 200.0,
        n_times: int = 10,
        time_spacing: Literal["linear", "log"] = "linear",
        heat_threshold: float = 0.0,
        truncation: Literal["none", "max", "min", "quantile-max", "quantile-min"] = "none",
        truncation_level: float = 0.5,
        triplet: float = 0.0,
        stress_weights: Literal["none", "heat", "inverse-distance", "gaussian"] = "none",
        weight_parameter: float = 1.0,
        n_landmarks: int | Literal["auto"] | None = "auto",
        max_iter: int = 3000,
        tol: float = 1e-6,
        floor: float = FLOOR,
        allow_disconnected: bool = False,
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.n_neighbors = n_neighbors
        self.diffusion_time = diffusion_time
        self.volume_correction = volume_correction
        self.graph = graph
        self.decay = decay
        self.self_affinity = self_affinity
        self.anisotropy = anisotropy
        self.n_pca = n_pca
        self.laplacian = laplacian
        self.heat_method = heat_method
        self.order = order
        self.variant = variant
        self.power = power
        self.n_scales = n_scales
        self.min_time = min_time
        self.max_time = max_time
        self.n_times = n_times
        self.time_spacing = time_spacing
        self.heat_threshold = heat_threshold
        self.truncation = truncation
        self.truncation_level = truncation_level
        self.triplet = triplet
        self.stress_weights = stress_weights
        self.weight_parameter = weight_parameter
        self.n_landmarks = n_landmarks
        self.max_iter = max_iter
        self.tol = tol
        self.floor = floor
        self.allow_disconnected = allow_disconnected
        self.random_state = random_state

    # -- what a user calls

    @all_or_nothing
    def fit(self, X: Any, y: Any = None) -> "HeatGeodesic":
        """Learn the distances and the map.

        Parameters
        ----------
        X : array of shape (n, d), or an affinity matrix or graph of n nodes
            The latter with ``graph='precomputed'``: sparse or dense, networkx, PyG or a `semigroup.operators.Graph`.
        y : None
            Ignored.
        """
        self._check_parameters()
        affinity = self._affinity(X)
        n = affinity.shape[0]
        if self.n_components >= n:
            raise ValueError(f"n_components must be below the number of points, {n}, got {self.n_components}")
        if not self.allow_disconnected:
            hint = "the neighbour graph of X (more n_neighbors join it, allow_disconnected=True takes it as it is)"
            check_connected(Graph(affinity), "X" if self.graph == "precomputed" else hint)
        self.landmarks_ = self._choose_landmarks(n)
        self.diffusion_times_ = self._choose_times(affinity)
        self._spread_heat(affinity)
        self._embed()
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """The map of X: `fit`, then `embedding_` in the kind of X (numpy or torch)."""
        self.fit(X, y)
        return in_kind(torch.from_numpy(self.embedding_.copy()), X)

    def transform(self, X: Any) -> Any:
        """Place new points on the map.

        Heat reaches a new point through its k nearest training points (Nystroem's extension); from that follow its distances
        to the landmarks, or to all training points, and its place among them.

        Parameters
        ----------
        X : array of shape (q, d)
            New points; with ``graph='precomputed'`` their affinities to the n training points, of shape (q, n).

        Returns
        -------
        array of shape (q, n_components)
            numpy or torch, as X is.
        """
        check_is_fitted(self, "embedding_")
        steps = self._steps_to_training(X)
        # Some weights are relative to the distances of all points that are placed; the others allow blocks.
        alone = self.stress_weights in ("none", "heat")
        size = max(1, BLOCK_SIZE // self.kernel_[:, 0].size) if alone else steps.shape[0]
        placed = [self._place(steps[start : start + size]) for start in range(0, steps.shape[0], size)]
        return in_kind(torch.from_numpy(np.concatenate(placed)), X)

    def _place(self, steps: sp.csr_array) -> Float[np.ndarray, "q n_components"]:
        """New points on the map, from one step of a walk to the training points."""
        kernels = np.stack([steps @ kernel for kernel in self.kernel_])
        diagonals = np.stack([steps @ diagonal for diagonal in self.kernel_diagonal_])
        distances = self._finish(self._dissimilarity(kernels, diagonals))
        weights = stress_weights(self.stress_weights, distances, kernels[0], self.weight_parameter)
        return place(distances, self.embedding_[self.landmarks_], weights)

    @property
    def _n_features_out(self) -> int:
        return self.n_components

    # -- the graph

    def _check_parameters(self) -> None:
        check_integer(self.n_components, "n_components", minimum=1)
        check_integer(self.n_neighbors, "n_neighbors", minimum=1)
        if isinstance(self.diffusion_time, str):
            check_choice(self.diffusion_time, "diffusion_time", ("auto",))
        else:
            check_number(self.diffusion_time, "diffusion_time", above=0)
        check_number(self.volume_correction, "volume_correction", minimum=0)
        check_choice(self.graph, "graph", GRAPHS)
        check_number(self.decay, "decay", above=0)
        check_number(self.self_affinity, "self_affinity", minimum=0)
        check_number(self.anisotropy, "anisotropy", minimum=0, maximum=1)
        if self.n_pca is not None:
            check_integer(self.n_pca, "n_pca", minimum=1)
        check_choice(self.laplacian, "laplacian", LAPLACIANS)
        check_choice(self.heat_method, "heat_method", METHODS)
        if self.order is not None:
            check_integer(self.order, "order", minimum=1)
        check_choice(self.variant, "variant", ("heat-geodesic", "log-normalised"))
        check_number(self.power, "power", above=0)
        check_integer(self.n_scales, "n_scales", minimum=1)
        check_number(self.max_time, "max_time", above=check_number(self.min_time, "min_time", above=0))
        check_integer(self.n_times, "n_times", minimum=3)
        check_choice(self.time_spacing, "time_spacing", ("linear", "log"))
        check_number(self.heat_threshold, "heat_threshold", minimum=0, below=1)
        check_choice(self.truncation, "truncation", TRUNCATIONS)
        check_number(self.truncation_level, "truncation_level", minimum=0, maximum=1)
        check_number(self.triplet, "triplet", minimum=0, maximum=1)
        check_choice(self.stress_weights, "stress_weights", ("none", "heat", "inverse-distance", "gaussian"))
        check_number(self.weight_parameter, "weight_parameter", above=0)
        if isinstance(self.n_landmarks, str):
            check_choice(self.n_landmarks, "n_landmarks", ("auto",))
        elif self.n_landmarks is not None:
            check_integer(self.n_landmarks, "n_landmarks", minimum=3)
        check_integer(self.max_iter, "max_iter", minimum=1)
        check_number(self.tol, "tol", minimum=0)
        check_number(self.floor, "floor", above=0)
        if self.variant == "log-normalised":
            self._check_log_normalised()

    def _check_log_normalised(self) -> None:
        """The logarithm of a step of time must be negative."""
        several = self.n_scales > 1 or self.diffusion_time == "auto"
        name, longest = ("max_time", self.max_time) if several else ("diffusion_time", self.diffusion_time)
        steps = self._steps_of_time()
        if float(longest) >= steps:
            raise ValueError(
                f"{name} must be below {steps} for variant='log-normalised' with order={self.order} and "
                f"heat_method={self.heat_method!r}, so that a step of time is below 1, got {longest!r}"
            )

    def _affinity(self, X: Any) -> sp.csr_array:
        """The weights of the graph."""
        self.points_: np.ndarray | None = None
        self.pca_mean_: np.ndarray | None = None
        self.pca_components_: np.ndarray | None = None
        if self.graph == "precomputed":
            adjacency = as_graph(X, "X", directed=False).adjacency
            affinity = sp.csr_array(adjacency - sp.diags_array(adjacency.diagonal()))
            affinity.eliminate_zeros()
            self.n_features_in_ = affinity.shape[0]
        else:
            points = check_array(X, "X", ndim=2, min_rows=3)
            self.n_features_in_ = points.shape[1]
            if self.n_pca is not None:
                if self.n_pca > min(points.shape):
                    raise ValueError(
                        f"n_pca must be at most {min(points.shape)} for X of shape {points.shape}, got {self.n_pca}"
                    )
                pca = PCA(self.n_pca, random_state=seed_from(self.random_state) % 2**32).fit(points)
                self.pca_mean_, self.pca_components_ = pca.mean_, pca.components_
                points = pca.transform(points)
            if self.n_neighbors >= len(points):
                raise ValueError(
                    f"n_neighbors must be below the number of points, {len(points)}, got {self.n_neighbors}"
                )
            self.points_ = points
            affinity = neighbour_graph(points, self.n_neighbors, kernel=self.graph, decay=self.decay)
        if self.self_affinity > 0:
            affinity = sp.csr_array(affinity + self.self_affinity * sp.eye_array(affinity.shape[0], format="csr"))
        return normalise_density(affinity, self.anisotropy) if self.anisotropy > 0 else affinity

    def _steps_to_training(self, X: Any) -> sp.csr_array:
        """One step of a walk from each new point to its neighbours in training."""
        if self.graph == "precomputed":
            weights = sp.csr_array(X) if sp.issparse(X) else sp.csr_array(check_array(X, "X", ndim=2))
            if weights.shape[1] != self.n_features_in_:
                raise ValueError(
                    f"X must have {self.n_features_in_} columns, affinities to the training points, got {weights.shape[1]}"
                )
            if not np.isfinite(weights.data).all() or (weights.nnz and weights.data.min() < 0):
                raise ValueError("X must hold finite affinities >= 0")
        else:
            points = check_array(X, "X", ndim=2)
            if points.shape[1] != self.n_features_in_:
                raise ValueError(
                    f"X has {points.shape[1]} features, but HeatGeodesic is expecting {self.n_features_in_} features"
                )
            if self.pca_components_ is not None:
                points = (points - self.pca_mean_) @ self.pca_components_.T
            assert self.points_ is not None
            shift = common_offset(self.points_)
            search = NearestNeighbors(n_neighbors=self.n_neighbors).fit(self.points_ - shift)
            distance, neighbour = search.kneighbors(points - shift)
            reach = np.where(distance[:, -1:] > 0, distance[:, -1:], 1.0)
            weight = np.exp(-((distance / reach) ** self.decay))
            ends = np.repeat(np.arange(len(points)), self.n_neighbors), neighbour.ravel()
            weights = sp.csr_array((weight.ravel(), ends), shape=(len(points), len(self.embedding_)))
        total = np.asarray(weights.sum(axis=1)).ravel()
        if not total.all():
            raise ValueError(f"X has no affinity to any training point in row {int(np.flatnonzero(total == 0)[0])}")
        return sp.csr_array(sp.diags_array(1 / total) @ weights)

    # -- heat

    def _choose_landmarks(self, n: int) -> np.ndarray:
        wanted = self.n_landmarks
        if wanted == "auto":
            wanted = N_LANDMARKS if n > EXACT_UP_TO else None
        if wanted is None:
            return np.arange(n)
        if not self.n_components < wanted <= n:
            raise ValueError(
                f"n_landmarks must be above n_components and at most the number of points, {n}, got {wanted}"
            )
        return np.sort(numpy_generator(self.random_state).choice(n, wanted, replace=False))

    def _kernel_at(self, affinity: sp.csr_array, time: float) -> np.ndarray:
        # Where landmarks are all points, the whole matrix costs less than its columns.
        columns = None if len(self.landmarks_) == affinity.shape[0] else self.landmarks_
        return heat_kernel(affinity, time, columns, kind=self.laplacian, method=self.heat_method, order=self.order)

    def _choose_times(self, affinity: sp.csr_array) -> np.ndarray:
        low, high = self.min_time, self.max_time
        if self.n_scales > 1:
            return np.geomspace(low, high, self.n_scales)
        if self.diffusion_time != "auto":
            return np.array([float(self.diffusion_time)])
        times = (np.linspace if self.time_spacing == "linear" else np.geomspace)(low, high, self.n_times)
        return np.array([entropy_time(lambda time: self._kernel_at(affinity, time), times)])

    def _spread_heat(self, affinity: sp.csr_array) -> None:
        """Kernels and their diagonals at all times; warns where they hold no information."""
        kernels, diagonals = [], []
        for time in self.diffusion_times_:
            kernel = self._kernel_at(affinity, float(time))
            diagonals.append(self._diagonal(affinity, kernel, float(time)))
            kernel[kernel < self.heat_threshold * kernel.max()] = 0
            kernels.append(kernel)
        self.kernel_, self.kernel_diagonal_ = np.stack(kernels), np.stack(diagonals)
        widest = self.kernel_[-1]
        columns = None if len(self.landmarks_) == len(widest) else self.landmarks_
        unseen = widest <= resolution(resolve_method(affinity, columns, self.heat_method), self.floor)
        self.saturated_fraction_ = float(unseen.mean())
        if self.saturated_fraction_ > 0.01:
            warnings.warn(
                f"no heat is seen between {self.saturated_fraction_:.1%} of the pairs at time {self.diffusion_times_[-1]:g}, "
                "which all get the same largest distance: a longer diffusion_time reaches them",
                UserWarning,
                stacklevel=4,
            )
        relative = widest / widest.mean(axis=0)
        if relative.max() < 1.1 * relative.min():
            warnings.warn(
                f"the heat kernel is nearly constant at time {self.diffusion_times_[-1]:g} (within "
                f"{relative.max() / relative.min() - 1:.1%}): fewer n_neighbors or a shorter diffusion_time keep its structure",
                UserWarning,
                stacklevel=4,
            )

    def _diagonal(self, affinity: sp.csr_array, kernel: np.ndarray, time: float) -> np.ndarray:
        n, m = kernel.shape
        if n == m:
            return kernel.diagonal().copy()
        root = np.ones(n)
        if self.laplacian == "random-walk":  # whose diagonal is that of the symmetric kernel
            degree = np.asarray(affinity.sum(axis=1)).ravel()
            root = np.sqrt(np.where(degree > 0, degree, 1.0))
        symmetric = kernel * root[:, None] / root[self.landmarks_]
        return diagonal_from_columns(symmetric, self.landmarks_, laplacian(affinity, self.laplacian).diagonal(), time)

    # -- distances and the map

    def _dissimilarity(self, kernels: np.ndarray, diagonals: np.ndarray) -> np.ndarray:
        """Of rows of the kernels to the landmarks, averaged over the times."""
        total = np.zeros(kernels.shape[1:])
        weights = multiscale_weights(self.diffusion_times_)
        for weight, time, kernel, rows, all_points in zip(
            weights, self.diffusion_times_, kernels, diagonals, self.kernel_diagonal_, strict=True
        ):
            if self.variant == "heat-geodesic":
                total += weight * heat_geodesic_dissimilarity(
                    kernel,
                    float(time),
                    volume_correction=self.volume_correction,
                    diagonals=(rows, all_points[self.landmarks_]),
                    power=self.power,
                    floor=self.floor,
                )
            else:
                total += weight * log_normalised_dissimilarity(
                    kernel, float(time) / self._steps_of_time(), power=self.power, floor=self.floor
                )
        return total

    def _steps_of_time(self) -> int:
        """Backward Euler knows the graph by single steps, whose length is what its logarithm is normalised by."""
        return (self.order or EULER_STEPS) if self.heat_method in ("auto", "euler") else 1

    def _finish(self, distances: np.ndarray) -> np.ndarray:
        """Triplet distances and truncation of rows to the landmarks."""
        return truncate(self._denoise(distances), self.truncation_limits_, self.truncation)

    def _denoise(self, distances: np.ndarray) -> np.ndarray:
        if self.profiles_ is None:
            return distances
        views = triplet_dissimilarity(distances, self.profiles_, self.kernel_.shape[1])
        return (1 - self.triplet) * distances + self.triplet * views

    def _embed(self) -> None:
        distances = self._dissimilarity(self.kernel_, self.kernel_diagonal_)
        between = symmetrise(distances[self.landmarks_])
        # Of the landmarks, which triplet distances compare with.
        self.profiles_: np.ndarray | None = between if self.triplet > 0 else None
        between = symmetrise(self._denoise(between))
        self.truncation_limits_ = truncation_range(between, self.truncation_level, self.truncation)
        between = truncate(between, self.truncation_limits_, self.truncation)
        weights = stress_weights(self.stress_weights, between, self.kernel_[0, self.landmarks_], self.weight_parameter)
        if weights is not None:
            weights = (weights + weights.T) / 2
        start = classical_scaling(between, self.n_components)
        found = metric_scaling(between, start, weights, max_iter=self.max_iter, tol=self.tol)
        if not found.converged:
            warnings.warn(
                f"the map still changes after max_iter={self.max_iter} steps (stress {found.stress:.3g})",
                UserWarning,
                stacklevel=4,
            )
        self.stress_, self.n_iter_ = found.stress, found.n_iter
        n = len(distances)
        if len(self.landmarks_) == n:
            self.distances_: np.ndarray | None = between
            self.embedding_ = found.points
            return
        self.distances_ = None
        self.embedding_ = np.empty((n, self.n_components))
        self.embedding_[self.landmarks_] = found.points
        others = np.setdiff1d(np.arange(n), self.landmarks_)
        rows = self._finish(distances[others])
        weights = stress_weights(self.stress_weights, rows, self.kernel_[0, others], self.weight_parameter)
        self.embedding_[others] = place(rows, found.points, weights)

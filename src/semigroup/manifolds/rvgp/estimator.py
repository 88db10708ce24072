"""The estimator: a Gaussian process for vector fields on a point cloud."""

import warnings
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import scipy.optimize
import torch
from jaxtyping import Float, Int
from scipy.spatial import KDTree
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from semigroup.base import (
    Estimator,
    all_or_nothing,
    check_array,
    check_choice,
    check_integer,
    check_number,
    in_kind,
    numpy_generator,
)
from semigroup.manifolds.rvgp.bundle import Encoding, TangentBundle, encode, tangent_bundle
from semigroup.manifolds.rvgp.kernels import KernelName, SpectralPrior
from semigroup.manifolds.rvgp.regression import Statistics, log_evidence, posterior, statistics
from semigroup.operators import farthest_points

__all__ = ["VectorFieldGP"]

# How far the parameters may run. Without a bound kappa grows until the density is a bare power of the eigenvalues, which has
# no limit where one of them is zero. Amplitude and noise are bounded relative to the data.
BOUNDS = {"nu": (0.1, 50.0), "kappa": (1e-2, 1e3), "amplitude": (1e-3, 1e6), "noise": (1e-6, 10.0)}
NEAREST = 3  # nodes averaged at a point off the graph
NORMAL_PART = 0.1  # of the squared length, from which on vectors are said not to be tangent


class VectorFieldGP(Estimator):
    r"""A tangent vector field on an unknown manifold, from noisy vectors at some points of a cloud.

    The connection Laplacian of the cloud gives functions that vary as little along the manifold as tangent fields can; the
    field is a Gaussian process whose kernel weighs them by their eigenvalues. It predicts the vectors between the observed points
    (super-resolution), in holes (inpainting) and at the observed points themselves (denoising), with covariances.

    All points where a prediction is wanted are given to `fit`, with or without a vector: the graph is built on all of them.

    Parameters
    ----------
    kernel : {"matern", "squared-exponential"}
    n_eigenpairs : int
        Eigenpairs k of the Laplacian. An eigenspace that would be cut is taken to its end.
    n_neighbors : int
        Of the neighbour graph.
    dimension : int, optional
        m of the manifold; found from the cloud if not given.
    explained_variance : float
        Fraction of the variance of the neighbourhoods that the tangent spaces must hold, in (0, 1].
    geodesic_fraction : float
        Frames are taken over this many times `n_neighbors` points.
    affinity : {"binary", "gaussian"}
        Weights of the graph.
    geodesic : {"lengths", "hops"}
        How nearness along the graph is counted; hops are for comparison with the reference program.
    laplacian : {"combinatorial", "random-walk"}
    space : {"connection", "projected"}
        Expand in eigenvectors of the connection Laplacian, or in the projections of the scalar Laplacian's (the baseline of
        projected kernels).
    nu : float
        Smoothness of the Matérn kernel where learning starts.
    kappa : float
        Length of the kernel where learning starts, in units of one over the root of the Laplacian's eigenvalues.
    amplitude : float, optional
        Prior mean of the squared length of the vectors where learning starts (of the paper's :math:`\sigma_f` under
        ``normalization="reference"``); by default that of the data.
    noise_variance : float, optional
        Of each coordinate, in squared units of V, where learning starts; by default a hundredth of the data's.
    likelihood : {"tangent", "ambient"}
        Which coordinates the noise is in: the m of the tangent spaces, or the D of space, as in the paper. The normal part of
        vectors that are tangent by construction is zero and tells the ambient likelihood that there is hardly any noise; for
        vectors measured with noise in all directions it tells how much there is.
    normalization : {"variance", "reference"}
        What the amplitude scales: the mean prior variance of :math:`\lVert v\rVert^2`, or the density divided by its mean over
        the n D rows, which makes that variance :math:`\sigma_f\,n\,m\,D`. The likelihood at its optimum is the same.
    n_inducing : int, optional
        Inducing inputs of Titsias' sparse regression, the farthest among the rows of the encoding; exact if not given.
    max_iter : int
        Most iterations of L-BFGS-B on the likelihood; 0 keeps the parameters given.
    allow_disconnected : bool
        Accept a neighbour graph of several components.
    max_normal_fraction : float, optional
        Refuse vectors of which more than this fraction of the squared length is normal to the tangent spaces; by default a
        fraction above a tenth is a warning.
    random_state : int, Generator or None
        Of `sample` where it is not given one.

    Attributes
    ----------
    dimension_ : int
        m.
    points_ : array of shape (n, D)
    frames_ : array of shape (n, D, m)
        Orthonormal frames of the tangent spaces.
    eigenvalues_ : array of shape (k,)
    features_ : array of shape (n, m, k)
        The encoding in the frames: :math:`P_i = T_i F_i`.
    observed_ : int array of shape (n_observed,)
        Points with a vector.
    nu_, kappa_, amplitude_, noise_variance_ : float
        As learnt (`nu_` is None for the squared exponential).
    prior_variances_ : array of shape (k,)
        :math:`S_j`.
    weights_ : array of shape (k,)
        Posterior mean of the weights.
    weights_factor_ : array of shape (k, r)
        Its product with its transpose is their covariance.
    log_marginal_likelihood_ : float
        Titsias' bound of it with inducing inputs.
    normal_fraction_ : float
        Of the squared length of the observed vectors.
    n_iter_ : int
    converged_ : bool

    Notes
    -----
    The eigenpairs cost most; then the fit is O(n D k²) once and O(k³) a step of the optimiser, whatever the number of
    points, in float64.

    The covariance is that of the field within the span of k functions. What they cannot express counts as noise: a new vector at
    point i has the covariance of `predict` and :math:`\sigma_n^2 T_i T_i^\top` on top.

    References
    ----------
    R. L. Peach et al., "Implicit Gaussian process representation of vector fields over arbitrary latent manifolds", ICLR 2024,
    equations 11, 12 and 15.

    Examples
    --------
    A field that turns around the axis of a sphere, observed at every other point:

    >>> from semigroup.data.manifolds import fibonacci_sphere
    >>> points = fibonacci_sphere(300)
    >>> field = np.cross([0.0, 0.0, 1.0], points)
    >>> model = VectorFieldGP(n_eigenpairs=30).fit(points, field, observed=np.arange(0, 300, 2))
    >>> model.dimension_
    2
    >>> hidden = np.arange(1, 300, 2)
    >>> model.score(hidden, field[hidden]) > 0.99
    True
    """

    def __init__(
        self,
        *,
        kernel: KernelName = "matern",
        n_eigenpairs: int = 100,
        n_neighbors: int = 10,
        dimension: int | None = None,
        explained_variance: float = 0.8,
        geodesic_fraction: float = 1.5,
        affinity: Literal["binary", "gaussian"] = "binary",
        geodesic: Literal["lengths", "hops"] = "lengths",
        laplacian: Literal["combinatorial", "random-walk"] = "combinatorial",
        space: Literal["connection", "projected"] = "connection",
        nu: float = 1.5,
        kappa: float = 5.0,
        amplitude: float | None = None,
        noise_variance: float | None = None,
        likelihood: Literal["tangent", "ambient"] = "tangent",
        normalization: Literal["variance", "reference"] = "variance",
        n_inducing: int | None = None,
        max_iter: int = 1000,
        allow_disconnected: bool = False,
        max_normal_fraction: float | None = None,
        random_state: int | None = None,
    ):
        self.kernel = kernel
        self.n_eigenpairs = n_eigenpairs
        self.n_neighbors = n_neighbors
        self.dimension = dimension
        self.explained_variance = explained_variance
        self.geodesic_fraction = geodesic_fraction
        self.affinity = affinity
        self.geodesic = geodesic
        self.laplacian = laplacian
        self.space = space
        self.nu = nu
        self.kappa = kappa
        self.amplitude = amplitude
        self.noise_variance = noise_variance
        self.likelihood = likelihood
        self.normalization = normalization
        self.n_inducing = n_inducing
        self.max_iter = max_iter
        self.allow_disconnected = allow_disconnected
        self.max_normal_fraction = max_normal_fraction
        self.random_state = random_state

    # -- fitting

    @all_or_nothing
    def fit(self, X: Any, V: Any, observed: Any = None) -> "VectorFieldGP":
        """Learn the field.

        Parameters
        ----------
        X : array-like or Tensor of shape (n, D), or TangentBundle
            All points, those to be predicted among them; or what `tangent_bundle` made of them, whose graph and frames are
            then used.
        V : array-like or Tensor of shape (n, D), or (n_observed, D) with `observed`
            Vectors. Rows of NaN are not observed.
        observed : bool array of shape (n,) or int array of shape (n_observed,), optional
            Points whose vectors count; by default those without NaN.

        Returns
        -------
        VectorFieldGP

        Raises
        ------
        ValueError
            If an argument is out of its range, points are too few, coincide or fall apart, or vectors do not match them.
        """
        self._check_parameters()
        points = X.points if isinstance(X, TangentBundle) else check_array(X, "X", ndim=2)
        self._check_sizes(*self._vectors(V, observed, *points.shape), len(points))  # before the work on the points
        if isinstance(X, TangentBundle):
            bundle = X
        else:
            bundle = tangent_bundle(
                points,
                self.n_neighbors,
                dimension=self.dimension,
                explained_variance=self.explained_variance,
                geodesic_fraction=self.geodesic_fraction,
                affinity=self.affinity,
                geodesic=self.geodesic,
                allow_disconnected=self.allow_disconnected,
            )
        encoding = encode(bundle, self.n_eigenpairs, space=self.space, normalisation=self.laplacian)
        self._take_over(bundle, encoding)
        return self._learn(V, observed)

    def _take_over(self, bundle: TangentBundle, encoding: Encoding) -> None:
        self.points_, self.frames_ = bundle.points, bundle.frames
        self.dimension_, self.n_features_in_ = bundle.dimension, bundle.points.shape[1]
        # One memory layout, so that a stored model rounds as this one does.
        self.eigenvalues_, self.features_ = encoding.eigenvalues, np.ascontiguousarray(encoding.features)

    @all_or_nothing
    def refit(self, V: Any, observed: Any = None) -> "VectorFieldGP":
        """Learn another field on the same points, whose graph, frames and eigenpairs stay.

        Parameters
        ----------
        V, observed
            As in `fit`.
        """
        check_is_fitted(self, "features_")
        self._check_parameters()
        return self._learn(V, observed)

    def _learn(self, V: Any, observed: Any) -> "VectorFieldGP":
        """The parameters of the kernel and the posterior, on the points taken over."""
        vectors, self.observed_ = self._vectors(V, observed, *self.points_.shape)
        data, mean_square = self._statistics(vectors)
        prior = SpectralPrior(self.kernel, self.eigenvalues_, self._column_power())
        start, bounds = self._start(prior, mean_square)
        inducing = self._inducing_inputs()

        def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
            log_variances, derivative = prior.log_variances(theta[:-1])
            value, by_log_variances, by_log_noise = log_evidence(data, log_variances, theta[-1], inducing)
            gradient = np.append(by_log_variances @ derivative, by_log_noise)
            return -value / data.n_values, -gradient / data.n_values

        if self.max_iter:
            options = {"maxiter": self.max_iter, "ftol": 1e-10, "gtol": 1e-6}
            result = scipy.optimize.minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options=options)
            best, self.n_iter_, self.converged_ = result.x, int(result.nit), bool(result.success)
            if not result.success:
                warnings.warn(f"the likelihood is not at its optimum: {result.message}", UserWarning, stacklevel=4)
        else:
            best, self.n_iter_, self.converged_ = start, 0, True
        self.log_marginal_likelihood_ = -loss(best)[0] * data.n_values
        learnt = dict(zip(prior.parameters, np.exp(best[:-1]).tolist()))
        self.nu_, self.kappa_ = learnt.get("nu"), learnt["kappa"]
        self.amplitude_, self.noise_variance_ = learnt["amplitude"] / self._amplitude_unit(), float(np.exp(best[-1]))
        log_variances = prior.log_variances(best[:-1])[0]
        self.prior_variances_ = np.exp(log_variances)
        weights = posterior(data, log_variances, best[-1], inducing)
        self.weights_, self.weights_factor_ = weights.mean, np.ascontiguousarray(weights.factor)
        return self

    def _check_parameters(self) -> None:
        check_choice(self.kernel, "kernel", ("matern", "squared-exponential"))
        check_choice(self.likelihood, "likelihood", ("tangent", "ambient"))
        check_choice(self.normalization, "normalization", ("variance", "reference"))
        check_choice(self.space, "space", ("connection", "projected"))
        check_choice(self.laplacian, "laplacian", ("combinatorial", "random-walk"))
        check_integer(self.n_eigenpairs, "n_eigenpairs", minimum=1)
        for name, value in (("nu", self.nu), ("kappa", self.kappa)):
            low, high = BOUNDS[name]
            check_number(value, name, minimum=low, maximum=high)
        for name, optional in (("amplitude", self.amplitude), ("noise_variance", self.noise_variance)):
            if optional is not None:
                check_number(optional, name, above=0)
        if self.n_inducing is not None:
            check_integer(self.n_inducing, "n_inducing", minimum=1)
        check_integer(self.max_iter, "max_iter", minimum=0)
        if self.max_normal_fraction is not None:
            check_number(self.max_normal_fraction, "max_normal_fraction", minimum=0, maximum=1)

    def _vectors(
        self, V: Any, observed: Any, n: int, ambient: int
    ) -> tuple[Float[np.ndarray, "observed D"], Int[np.ndarray, " observed"]]:
        """Observed vectors and their points."""
        array = V.detach().cpu().numpy() if isinstance(V, Tensor) else np.asarray(V)
        if array.ndim != 2 or array.shape[1] != ambient:
            raise ValueError(f"V must hold vectors of {ambient} coordinates like the points, got shape {array.shape}")
        if observed is None:
            if len(array) != n:
                raise ValueError(
                    f"V must have a row for each of the {n} points where observed is not given, got {len(array)}"
                )
            index = np.flatnonzero(~np.isnan(array.astype(np.float64)).all(axis=1))
            if not len(index):
                raise ValueError("V holds no vector: all of its rows are NaN")
        else:
            index = _nodes(observed, n, "observed")
            if len(np.unique(index)) != len(index):
                raise ValueError("observed names a point twice")
        if len(array) not in (n, len(index)):
            raise ValueError(
                f"V must have a row for each of {n} points or {len(index)} observed ones, got {len(array)}"
            )
        return check_array(array[index] if len(array) == n else array, "V", ndim=2), index

    def _check_sizes(
        self, vectors: Float[np.ndarray, "observed D"], index: Int[np.ndarray, " observed"], n: int
    ) -> None:
        """Refuse what cannot be learnt on any tangent spaces of the points."""
        if not vectors.any():
            raise ValueError("V is zero at all observed points, which leaves no scale to learn")
        most = n * (vectors.shape[1] if self.space == "connection" else 1)
        if self.n_eigenpairs > most:
            raise ValueError(f"n_eigenpairs must be at most the {most} rows of the Laplacian, got {self.n_eigenpairs}")
        if self.n_inducing is not None and self.n_inducing > vectors.size:
            raise ValueError(f"n_inducing must be at most the {vectors.size} rows observed, got {self.n_inducing}")

    def _statistics(self, vectors: Float[np.ndarray, "observed D"]) -> tuple[Statistics, float]:
        """What the likelihood sees, and the mean squared length of the vectors."""
        frames, features = self.frames_[self.observed_], self.features_[self.observed_]
        tangential = np.einsum("ida,id->ia", frames, vectors)
        energy = float((vectors**2).sum())
        if energy == 0:
            raise ValueError("V is zero at all observed points, which leaves no scale to learn")
        self.normal_fraction_ = max(0.0, 1 - float((tangential**2).sum()) / energy)
        text = f"V is not tangent: {100 * self.normal_fraction_:.0f} % of its squared length is normal to the tangent spaces"
        if self.max_normal_fraction is not None and self.normal_fraction_ > self.max_normal_fraction:
            raise ValueError(f"{text}, above max_normal_fraction={self.max_normal_fraction:g}")
        if self.normal_fraction_ > NORMAL_PART:
            warnings.warn(text, UserWarning, stacklevel=5)
        # The frames are orthonormal: the nD ambient rows are the nm rows in the frames, and the normal part, which no weights
        # reach. Over all points, the eigenvectors of a symmetric Laplacian are orthogonal.
        whole = len(self.observed_) == len(self.points_)
        orthogonal = whole and self.space == "connection" and self.laplacian == "combinatorial"
        data = statistics(features.reshape(-1, features.shape[2]), tangential.ravel(), orthogonal=orthogonal)
        if self.likelihood == "ambient":
            data = replace(data, rest=data.rest + self.normal_fraction_ * energy, n_values=vectors.size)
        return data, energy / len(vectors)

    def _column_power(self) -> Float[np.ndarray, " k"]:
        """Mean over the points of the squared length of each encoding function."""
        return (self.features_**2).sum(axis=(0, 1)) / len(self.points_)

    def _amplitude_unit(self) -> float:
        """Mean prior variance of the squared length at an amplitude of one."""
        if self.normalization == "variance":
            return 1.0
        n, ambient = self.points_.shape
        # The density divided by its mean over the rows: S sums to nD, and the column power is m.
        return float(n * ambient * self._column_power().mean())

    def _start(self, prior: SpectralPrior, mean_square: float) -> tuple[np.ndarray, list[tuple[float, float]]]:
        """Logarithms of the parameters at the start, with the noise last, and of their bounds."""
        unit, per_coordinate = self._amplitude_unit(), mean_square / self.points_.shape[1]
        start = {
            "nu": float(self.nu),
            "kappa": float(self.kappa),
            "amplitude": mean_square if self.amplitude is None else self.amplitude * unit,
            "noise": 0.01 * per_coordinate if self.noise_variance is None else self.noise_variance,
        }
        unit_of = {"nu": 1.0, "kappa": 1.0, "amplitude": mean_square, "noise": per_coordinate}
        names = (*prior.parameters, "noise")
        bounds = [tuple(np.log(np.array(BOUNDS[name]) * unit_of[name]).tolist()) for name in names]
        theta = np.log([start[name] for name in names])
        return theta, [(min(low, t), max(high, t)) for (low, high), t in zip(bounds, theta)]

    def _inducing_inputs(self) -> Float[np.ndarray, "M k"] | None:
        if self.n_inducing is None:
            return None
        rows = self._ambient_rows(self.observed_).reshape(-1, self.features_.shape[2])
        if self.n_inducing > len(rows):
            raise ValueError(f"n_inducing must be at most the {len(rows)} rows observed, got {self.n_inducing}")
        return rows[farthest_points(rows, self.n_inducing)[0]]

    def _ambient_rows(self, index: Int[np.ndarray, " q"]) -> Float[np.ndarray, "q D k"]:
        """Encoding :math:`P_i` of some points."""
        return self.frames_[index] @ self.features_[index]

    # -- prediction

    def predict(self, X: Any = None, *, return_cov: bool = False, off_graph: bool = False) -> Any:
        """Posterior mean of the field, and its covariance.

        Parameters
        ----------
        X : None, int array of shape (q,), bool array of shape (n,), or array or Tensor of shape (q, D)
            Points: all of `fit` by default, some of them by number or mask, or by their coordinates.
        return_cov : bool
            Return the covariance of the noise-free field as well.
        off_graph : bool
            Accept coordinates that were not given to `fit`, for which the encodings of the nearest three points are
            averaged, with weights that fall like one over the distance.

        Returns
        -------
        mean : array or Tensor of shape (q, D)
        covariance : array or Tensor of shape (q, D, D)
            Where asked for: variances, in squared units of V.

        Raises
        ------
        ValueError
            If a point was not given to `fit` and `off_graph` is not set.
        """
        check_is_fitted(self, "weights_")
        encoding = self._encoding(X, off_graph)
        mean = encoding @ self.weights_
        if not return_cov:
            return _like(mean, X)
        root = encoding @ self.weights_factor_
        return _like(mean, X), _like(root @ np.swapaxes(root, 1, 2), X)

    def _encoding(self, X: Any, off_graph: bool) -> Float[np.ndarray, "q D k"]:
        n, ambient = self.points_.shape
        if X is None:
            return self._ambient_rows(np.arange(n))
        if np.ndim(X) == 1:
            return self._ambient_rows(_nodes(X, n, "X"))
        points = check_array(X, "X", ndim=2, n_columns=ambient)
        distance, nearest = KDTree(self.points_).query(points, k=NEAREST)
        extent = np.ptp(self.points_, axis=0).max()
        if not off_graph:
            stranger = np.flatnonzero(distance[:, 0] > 1e-9 * extent)
            if len(stranger):
                raise ValueError(
                    f"X holds points that were not given to fit (row {stranger[0]} is {distance[stranger[0], 0]:.3g} from the "
                    f"nearest one); fit with them, or set off_graph=True"
                )
            return self._ambient_rows(nearest[:, 0])
        weight = 1 / (distance + 1e-5 * extent)
        weight /= weight.sum(axis=1, keepdims=True)
        return np.einsum(
            "qj,qjdk->qdk", weight, self._ambient_rows(nearest.ravel()).reshape(*nearest.shape, ambient, -1)
        )

    def score(self, X: Any, V: Any) -> float:
        r"""Fraction of the field explained, :math:`1 - \lVert\hat V - V\rVert^2 / \lVert V\rVert^2`.

        Parameters
        ----------
        X
            Points, as in `predict`.
        V : array or Tensor of shape (q, D)
            The true vectors there.
        """
        truth = check_array(V, "V", ndim=2, n_columns=self.n_features_in_)
        predicted = np.asarray(self.predict(X))
        if predicted.shape != truth.shape:
            raise ValueError(f"V must have a row for each of the {len(predicted)} points, got {len(truth)}")
        return 1 - float(((predicted - truth) ** 2).sum() / (truth**2).sum())

    def sample(self, n_samples: int = 1, X: Any = None, *, random_state: Any = None) -> Any:
        """Fields drawn from the posterior, without noise.

        Parameters
        ----------
        n_samples : int
        X
            Points, as in `predict`.
        random_state : int, Generator or None
            By default that of the constructor.

        Returns
        -------
        array or Tensor of shape (n_samples, q, D)
        """
        check_is_fitted(self, "weights_")
        n_samples = check_integer(n_samples, "n_samples", minimum=1)
        generator = numpy_generator(self.random_state if random_state is None else random_state)
        draws = generator.normal(size=(n_samples, self.weights_factor_.shape[1]))
        weights = self.weights_ + draws @ self.weights_factor_.T
        return _like(np.einsum("qdk,sk->sqd", self._encoding(X, off_graph=False), weights), X)


def _nodes(value: Any, n: int, name: str) -> Int[np.ndarray, " q"]:
    """Numbers of points from a mask or numbers."""
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.ndim != 1 or array.dtype.kind not in "biu":
        raise ValueError(
            f"{name} must be a vector of point numbers or a mask, got {array.dtype} of shape {array.shape}"
        )
    if array.dtype.kind == "b":
        if len(array) != n:
            raise ValueError(f"{name} as a mask must have {n} entries, one a point, got {len(array)}")
        array = np.flatnonzero(array)
    if not len(array):
        raise ValueError(f"{name} is empty: at least one point is needed")
    if array.min() < 0 or array.max() >= n:
        raise ValueError(f"{name} must hold numbers from 0 to {n - 1}, got {array.min()} to {array.max()}")
    return array.astype(np.int64)


def _like(result: np.ndarray, X: Any) -> Any:
    """The result in the kind of coordinates given as a tensor, else as numpy."""
    return in_kind(torch.from_numpy(result), X) if isinstance(X, Tensor) and X.is_floating_point() else result

"""The estimator, and what it learns from distances to near points."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from sklearn.covariance import ledoit_wolf
from sklearn.neighbors import NearestNeighbors
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
    seed_from,
)
from semigroup.densities.kde_regimes.kernels import KERNELS, RadialKernel, as_kernel, draw_offsets
from semigroup.densities.kde_regimes.summation import PointTiles, WeightSums, log_sums_on_device, weight_sums
from semigroup.densities.kde_regimes.theory import (
    CORRECTIONS,
    Thresholds,
    kl_bandwidth,
    nearest_bandwidth,
    regime_of,
    tail_index,
    thresholds,
)

__all__ = ["KDERegimes", "Regime", "local_condensation", "nearest_distances", "scott_bandwidth", "silverman_bandwidth"]

RULES = ("kl", "nn", "cv", "scott", "silverman")
MOST_DIFFERENCES = 2**22  # coordinates of differences held at a time: 32 MB
MOST_DIMENSIONS_OF_A_TREE = 15  # as scikit-learn chooses
# Below this share of its square, a difference of squared distances is rounding.
LEAST_GAP = 1e-9


@dataclass(frozen=True)
class Regime:
    r"""What carries the estimate at each query.

    Attributes
    ----------
    tail_index : array, shape (n,)
        :math:`\hat\mu` from the nearest distances: 1 at condensation, 2 where the central limit theorem ends; NaN where these
        distances are all the same; infinite for a tophat kernel that reaches a point, whose weights are all alike.
    condensation : array, shape (n,)
        :math:`\hat h_G`, the bandwidth at which the tail index is 1; NaN where the distances are all the same.
    participation : array, shape (n,)
        :math:`\sum_i p_i^2` of the points' shares :math:`p_i` in the estimate; NaN where the estimate is 0.
    entropy : array, shape (n,)
        :math:`-\sum_i p_i \log p_i`, in nats.
    verdict : array of str, shape (n,)
        ``"condensed"``: a few nearest points carry the estimate, and one point more may change it by any factor.
        ``"stable"``: many points do, with fluctuations of infinite variance. ``"clt"``: Gaussian fluctuations. ``"empty"``: the
        estimate is 0. ``"undetermined"``: the tail index is NaN. A tophat kernel is judged by the number of points that it
        reaches: ``"condensed"`` up to `n_neighbors`, above ``"clt"``.
    """

    tail_index: Float[np.ndarray, " n"]
    condensation: Float[np.ndarray, " n"]
    participation: Float[np.ndarray, " n"]
    entropy: Float[np.ndarray, " n"]
    verdict: Shaped[np.ndarray, " n"]

    @property
    def n_effective(self) -> Float[np.ndarray, " n"]:
        """Effective number of points that carry the estimate, 1 / participation."""
        return 1 / self.participation


class KDERegimes(Estimator):
    r"""Kernel density estimate that says in which regime it is, and has a bandwidth for many dimensions.

    .. math:: \hat\rho_h(x) = \frac{1}{n h^d c_d} \sum_i k(|x - y_i|^2 / h^2)

    Log-densities are exact to rounding at every bandwidth: sums of squared differences, logarithms throughout, no tolerance.

    Parameters
    ----------
    kernel : {"gaussian", "exponential", "tophat", "epanechnikov", "linear"}
        As scikit-learn defines them.
    bandwidth : float or {"nn", "kl", "cv", "scott", "silverman"}
        A number in units of the data, or a rule. "nn": the root mean squared distance to the nearest other point per
        dimension, by one pass over the neighbours; too small below some ten dimensions. "kl": least divergence at a typical
        point for a Gaussian with the eigenvalues of the sample covariance. "cv": best leave-one-out likelihood of
        `n_bandwidths` on a grid. "scott" and "silverman": the classical rules, in units of the mean standard deviation of the
        columns, which scikit-learn's strings leave out.
    correction : {"finite", "asymptotic"}
        Whether `thresholds_` and "kl" are those of this n and d, or the limits of large d.
    n_neighbors : int
        k of the local estimate of the condensation threshold. Large k are biased upwards.
    n_probes : int
        Number of rows, drawn at random, on which the rules and `regime` without an argument look.
    n_bandwidths : int
        Length of the grid of "cv".
    n_jobs : int, optional
        Threads, as joblib counts them; -1 for all cores.
    random_state : int, optional
        Seed of the probes, and of `sample`.

    Attributes
    ----------
    bandwidth_ : float
        h, in units of the data.
    points_ : array, shape (n, dim)
    alpha_ : float
        log(n) / dim.
    spectrum_ : array, shape (dim,)
        Eigenvalues of the sample covariance, by Ledoit and Wolf's shrinkage for n < 5 dim.
    probes_ : array, shape (n_probes,)
        Rows on which the rules looked.
    cv_bandwidths_, cv_scores_ : array, shape (n_bandwidths,)
        The grid of "cv" and its mean leave-one-out log-densities; absent with other rules.
    n_features_in_ : int

    References
    ----------
    Biroli, G. and Mézard, M. (2024). Kernel Density Estimators in Large Dimensions. arXiv:2408.05807.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(500, 20))
    >>> model = KDERegimes(bandwidth="nn").fit(X[:400])
    >>> model.thresholds_.regime(model.bandwidth_)
    'condensed'
    >>> scott = KDERegimes(bandwidth="scott").fit(X[:400])
    >>> bool(model.score(X[400:]) > scott.score(X[400:]))
    True

    Rules follow the unit of the data:

    >>> tens = KDERegimes(bandwidth="scott").fit(10 * X[:400])
    >>> round(tens.bandwidth_ / scott.bandwidth_, 6)
    10.0
    """

    def __init__(
        self,
        *,
        kernel: Literal["gaussian", "exponential", "tophat", "epanechnikov", "linear"] = "gaussian",
        bandwidth: float | Literal["nn", "kl", "cv", "scott", "silverman"] = "nn",
        correction: Literal["finite", "asymptotic"] = "finite",
        n_neighbors: int = 5,
        n_probes: int = 2000,
        n_bandwidths: int = 40,
        n_jobs: int | None = None,
        random_state: int | None = None,
    ) -> None:
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.correction = correction
        self.n_neighbors = n_neighbors
        self.n_probes = n_probes
        self.n_bandwidths = n_bandwidths
        self.n_jobs = n_jobs
        self.random_state = random_state

    @all_or_nothing
    def fit(self, X: Any, y: Any = None) -> KDERegimes:
        """Keep the points, and choose the bandwidth.

        Parameters
        ----------
        X : array-like or Tensor, shape (n, dim)
        y : ignored

        Returns
        -------
        KDERegimes

        Raises
        ------
        ValueError, TypeError
            If an argument is out of its range, a value is NaN or infinite, all points coincide, or there are no more points
            than neighbours; the message names the argument.

        Warns
        -----
        UserWarning
            If points coincide, whose distance zero the rules leave out.
        """
        self._check_parameters()
        points = check_array(X, "X", ndim=2, min_rows=2)
        n, dim = points.shape
        if self.n_neighbors >= n:
            raise ValueError(f"n_neighbors must be below the number of points, {n}, got {self.n_neighbors}")
        if (points == points[0]).all():
            raise ValueError("X must hold at least two different points, got one repeated")
        self.n_features_in_ = dim
        self.points_ = points
        self.alpha_ = math.log(n) / dim
        self.spectrum_ = _spectrum(points)
        generator = numpy_generator(self._seed(0))
        self.probes_ = np.sort(generator.permutation(n)[: self.n_probes])
        self._tiles = PointTiles.of(points)
        for name in {"cv_bandwidths_", "cv_scores_"} & set(vars(self)):  # of an earlier fit
            delattr(self, name)
        if self.bandwidth == "cv":
            self.cv_bandwidths_, self.cv_scores_ = self._cross_validate()
            self.bandwidth_ = float(self.cv_bandwidths_[self.cv_scores_.argmax()])
        else:
            self.bandwidth_ = self.rule(self.bandwidth) if isinstance(self.bandwidth, str) else float(self.bandwidth)
        return self

    def rule(self, name: str) -> float:
        """The bandwidth that a rule gives for the points, whichever was fitted with.

        Parameters
        ----------
        name : {"nn", "kl", "cv", "scott", "silverman"}
            As `bandwidth` of the constructor.

        Examples
        --------
        >>> model = KDERegimes(bandwidth=1.0).fit(np.random.default_rng(0).normal(size=(500, 20)))
        >>> model.rule("nn") == KDERegimes(bandwidth="nn").fit(model.points_).bandwidth_
        True
        """
        check_is_fitted(self, "points_")
        self._check_rule(name, "name")
        n, dim = self.points_.shape
        if name == "cv":
            bandwidths, scores = self._cross_validate()
            return float(bandwidths[scores.argmax()])
        if name == "kl":
            return kl_bandwidth(self.alpha_, self.spectrum_, kernel=self.kernel, dim=dim, correction=self.correction)
        if name == "nn":
            return nearest_bandwidth(float((self._nearest_of_probes() ** 2).mean()), as_kernel(self.kernel), dim)
        deviation = float(self.points_.std(axis=0).mean())
        return deviation * (scott_bandwidth if name == "scott" else silverman_bandwidth)(n, dim)

    def _seed(self, use: int, random_state: int | None = None) -> int:
        """A seed for each use, so that what is drawn owes nothing to the choice of the probes."""
        base = seed_from(self.random_state if random_state is None else random_state)
        return int(np.random.SeedSequence([base, use]).generate_state(1, np.uint64)[0] >> 1)

    def _check_parameters(self) -> None:
        check_choice(self.kernel, "kernel", tuple(KERNELS))
        if isinstance(self.bandwidth, str):
            self._check_rule(self.bandwidth, "bandwidth")
        else:
            check_number(self.bandwidth, "bandwidth", above=0)
        check_choice(self.correction, "correction", CORRECTIONS)
        check_integer(self.n_neighbors, "n_neighbors", minimum=1)
        check_integer(self.n_probes, "n_probes", minimum=1)
        check_integer(self.n_bandwidths, "n_bandwidths", minimum=2)
        if self.n_jobs is not None and check_integer(self.n_jobs, "n_jobs") == 0:
            raise ValueError("n_jobs must not be 0")

    def _check_rule(self, rule: str, name: str) -> None:
        check_choice(rule, name, RULES)
        if math.isfinite(as_kernel(self.kernel).support) and rule in ("kl", "nn"):
            raise ValueError(
                f"{name} must not be '{rule}' for kernel='{self.kernel}': it ends where the typical nearest point is, so that "
                "half of all queries would have density 0"
            )

    def _nearest_of_probes(self) -> Float[np.ndarray, " n"]:
        return self._nearest(self.points_[self.probes_], 1, own=True)[:, 0]

    def _cross_validate(self) -> tuple[Float[np.ndarray, " h"], Float[np.ndarray, " h"]]:
        """A grid of bandwidths and the mean leave-one-out log-densities of the probes."""
        kernel, nearest, dim = as_kernel(self.kernel), self._nearest_of_probes(), self.points_.shape[1]
        deviation = float(self.points_.std(axis=0).mean())
        middle = nearest_bandwidth(float((nearest**2).mean()), as_kernel("gaussian"), dim)
        # From where single points decide, or where no probe is left alone, to bandwidths wider than the data.
        unit = {"gaussian": 1.0, "exponential": 1 / math.sqrt(dim)}.get(self.kernel, math.sqrt(dim))
        low = 0.3 * middle * unit if math.isinf(kernel.support) else 1.001 * float(nearest.max())
        grid = np.geomspace(low, max(3 * deviation * unit, 3 * low), self.n_bandwidths)
        return grid, np.array([self.leave_one_out(self.probes_, bandwidth=h).mean() for h in grid.tolist()])

    # --- the density ---

    def score_samples(self, X: Any) -> Any:
        """Log-density of the estimate at each row of `X`.

        A row that is one of the points finds itself, which at small bandwidths is all it finds; see `leave_one_out`.

        Parameters
        ----------
        X : array-like or Tensor, shape (n, dim)

        Returns
        -------
        array or Tensor, shape (n,)
            Per unit of volume of the data's space; -inf where a compact kernel reaches no point. Of a tensor on an
            accelerator it is computed there.
        """
        if isinstance(X, Tensor) and X.device.type != "cpu":
            self._check_queries(X)
            points = torch.from_numpy(self.points_).to(X.device)
            log_sums = log_sums_on_device(X.double(), points, self.kernel, self.bandwidth_)
            return in_kind(log_sums - self._log_normalizer(self.bandwidth_, len(points)), X)
        return in_kind(torch.from_numpy(self._log_density(X)), X)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-density of the rows of `X`, higher is better; scikit-learn's `KernelDensity` gives their sum."""
        return float(self._log_density(X).mean())

    def leave_one_out(self, rows: Any = None, *, bandwidth: float | None = None) -> Float[np.ndarray, " n"]:
        """Log-density at each of the points under the estimate from the other points; those that coincide are left out too.

        Parameters
        ----------
        rows : array of int, optional
            Which points; all by default.
        bandwidth : float, optional
            By default `bandwidth_`.

        Returns
        -------
        array, shape (n,)
        """
        check_is_fitted(self, "points_")
        h = self.bandwidth_ if bandwidth is None else check_number(bandwidth, "bandwidth", above=0)
        points = self.points_ if rows is None else self.points_[np.asarray(rows)]
        sums = self._sums(points, h, moments=False, drop_zero=True)
        return sums.log_sum - self._log_normalizer(h, len(self.points_) - 1)

    def sample(self, n: int = 1, *, random_state: int | None = None) -> Float[np.ndarray, "n dim"]:
        """Draw from the estimate: a point at random, and a draw of the kernel around it.

        Parameters
        ----------
        n : int
        random_state : int, optional
            Seed of this call; by default the estimator's.
        """
        check_is_fitted(self, "points_")
        n = check_integer(n, "n", minimum=1)
        generator = numpy_generator(self._seed(1, random_state))
        chosen = self.points_[generator.integers(len(self.points_), size=n)]
        return chosen + self.bandwidth_ * draw_offsets(self.kernel, n, self.n_features_in_, generator)

    # --- the regime ---

    @property
    def thresholds_(self) -> Thresholds:
        """Thresholds of a Gaussian with `spectrum_` at this n and d."""
        check_is_fitted(self, "points_")
        return thresholds(
            self.alpha_, self.spectrum_, kernel=self.kernel, dim=self.n_features_in_, correction=self.correction
        )

    def regime(self, X: Any = None, *, bandwidth: float | None = None) -> Regime:
        """What carries the estimate at each row of `X`, by the data alone.

        Parameters
        ----------
        X : array-like or Tensor, shape (n, dim), optional
            Fresh points; by default the `probes_`, each without itself.
        bandwidth : float, optional
            By default `bandwidth_`.

        Returns
        -------
        Regime

        Warns
        -----
        UserWarning
            If rows of `X` are among the points, which are left out for them.

        Examples
        --------
        Why does one more image change the score of another by e^10? Because single images carry the estimate:

        >>> from semigroup.data.images import digits
        >>> images = digits()[0].reshape(-1, 64)
        >>> model = KDERegimes().fit(images[:1400])
        >>> regime = model.regime(images[1400:])
        >>> float((regime.verdict == "condensed").mean()), bool(np.median(regime.n_effective) < 1.1)
        (1.0, True)
        """
        check_is_fitted(self, "points_")
        h = self.bandwidth_ if bandwidth is None else check_number(bandwidth, "bandwidth", above=0)
        own = X is None
        queries = self.points_[self.probes_] if own else self._check_queries(X)
        distances = self._nearest(queries, self.n_neighbors + 1, own=own)
        sums = self._sums(queries, h, moments=True, drop_zero=True)
        kernel, rate = as_kernel(self.kernel), _edge_rates(distances)
        squares = distances[:, 0] ** 2
        mu = np.array([tail_index(kernel, k, s, h) for k, s in zip(rate.tolist(), squares.tolist())])
        verdict = regime_of(mu)
        if self.kernel == "tophat":
            verdict[1 / sums.participation <= self.n_neighbors] = "condensed"
        return Regime(mu, local_condensation(distances, self.kernel), sums.participation, sums.entropy, verdict)

    # --- parts ---

    def _log_density(self, X: Any) -> Float[np.ndarray, " n"]:
        sums = self._sums(self._check_queries(X), self.bandwidth_, moments=False)
        return sums.log_sum - self._log_normalizer(self.bandwidth_, len(self.points_))

    def _check_queries(self, X: Any) -> Float[np.ndarray, "n dim"]:
        check_is_fitted(self, "points_")
        return check_array(X, "X", ndim=2, n_columns=self.n_features_in_)

    def _log_normalizer(self, bandwidth: float, n: int) -> float:
        dim = self.n_features_in_
        return math.log(n) + dim * math.log(bandwidth) + as_kernel(self.kernel).log_normalizer(dim)

    def _sums(self, queries: np.ndarray, bandwidth: float, *, moments: bool, drop_zero: bool = False) -> WeightSums:
        return weight_sums(
            queries, self._tiles, self.kernel, bandwidth, drop_zero=drop_zero, moments=moments, n_jobs=self.n_jobs
        )

    def _nearest(self, queries: np.ndarray, k: int, *, own: bool) -> np.ndarray:
        try:
            distances, n_zero = nearest_distances(queries, self.points_, k, n_jobs=self.n_jobs)
        except ValueError as error:
            raise ValueError(
                f"n_neighbors must be below the number of points that differ from each query, got {self.n_neighbors}"
            ) from error
        expected = len(queries) if own else 0
        if n_zero > expected:
            warnings.warn(
                f"{n_zero - expected} distances to points that coincide with {'others' if own else 'rows of X'} are left out",
                UserWarning,
                stacklevel=3,
            )
        return distances

    def _set_state(self, state: dict[str, Any]) -> None:
        super()._set_state(state)
        self._tiles = PointTiles.of(self.points_)


def _spectrum(points: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, " dim"]:
    n, dim = points.shape
    centred = points - points.mean(axis=0)
    covariance = ledoit_wolf(centred, assume_centered=True)[0] if n < 5 * dim else centred.T @ centred / n
    return np.maximum(np.linalg.eigvalsh(covariance), 0.0)[::-1].copy()


def scott_bandwidth(n: int, dim: int) -> float:
    """Scott's rule for unit variance, ``n^(-1 / (d + 4))``."""
    return n ** (-1 / (dim + 4))


def silverman_bandwidth(n: int, dim: int) -> float:
    """Silverman's rule for unit variance, ``(n (d + 2) / 4)^(-1 / (d + 4))``."""
    return (n * (dim + 2) / 4) ** (-1 / (dim + 4))


def nearest_distances(
    queries: Float[np.ndarray, "n dim"], points: Float[np.ndarray, "m dim"], k: int, *, n_jobs: int | None = None
) -> tuple[Float[np.ndarray, "n k"], int]:
    """Distances to the k nearest points that do not coincide with the query, ascending, and how many did.

    The neighbours are found with scikit-learn among the points that differ, and their distances computed anew by differences:
    expanded squares lose all digits of distances far below the norms.

    Raises
    ------
    ValueError
        If fewer than k points differ from some query.

    Examples
    --------
    >>> nearest_distances(np.array([[0.0]]), np.array([[0.0], [1.0], [3.0]]), 2)
    (array([[1., 3.]]), 1)
    """
    rows, counts = np.unique(points, axis=0, return_counts=True)
    search = _Neighbours(rows, n_jobs)
    result, waiting, n_zero = np.empty((len(queries), k)), np.arange(len(queries)), 0
    sought = k + 1
    while len(waiting):
        sought = min(sought, len(rows))
        short = []
        # So many queries at a time that the differences of all to their neighbours stay small.
        for part in np.array_split(waiting, -(-len(waiting) * sought * points.shape[1] // MOST_DIFFERENCES)):
            distances, found = search(queries[part], sought)
            copies = np.where(distances == 0, 0, counts[found])
            reached = copies.cumsum(axis=1)
            done = reached[:, -1] >= k
            for j in range(k):
                place = (reached[done] > j).argmax(axis=1)
                result[part[done], j] = distances[done, place]
            n_zero += int(counts[found[done]][distances[done] == 0].sum())
            short.append(part[~done])
        waiting = np.concatenate(short)
        if len(waiting) and sought == len(rows):
            raise ValueError(f"X must leave every query at least {k} other points that do not coincide with it")
        sought *= 2
    return result, n_zero


class _Neighbours:
    """The nearest rows, and their distances by differences."""

    def __init__(self, rows: Float[np.ndarray, "n dim"], n_jobs: int | None) -> None:
        self.rows, self.n_jobs = rows, n_jobs
        self.centre = rows.mean(axis=0)
        self.longest = ((rows - self.centre) ** 2).sum(axis=1).max()
        self.tree: NearestNeighbors | None = None
        # In many dimensions a tree looks at every row, one after the other; products of matrices do so faster.
        self.products = None
        if rows.shape[1] > MOST_DIMENSIONS_OF_A_TREE:
            self.products = NearestNeighbors(algorithm="brute", n_jobs=n_jobs).fit(rows - self.centre)

    def __call__(
        self, queries: Float[np.ndarray, "m dim"], k: int
    ) -> tuple[Float[np.ndarray, "m k"], Int[np.ndarray, "m k"]]:
        if self.products is None:
            return self._by_tree(queries, k)
        centred = queries - self.centre
        distances, found = self._measured(queries, self.products.kneighbors(centred, k, return_distance=False))
        # Expanded squares are wrong by some eps of the norms' squares: what is no longer than a thousand times the root of that
        # may not be the nearest.
        wrong = np.finfo(np.float64).eps * ((centred**2).sum(axis=1) + self.longest)
        doubtful = distances[:, -1] ** 2 < 1e6 * wrong
        if doubtful.any():
            distances[doubtful], found[doubtful] = self._by_tree(queries[doubtful], k)
        return distances, found

    def _by_tree(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        if self.tree is None:
            self.tree = NearestNeighbors(algorithm="kd_tree", n_jobs=self.n_jobs).fit(self.rows)
        return self._measured(queries, self.tree.kneighbors(queries, k, return_distance=False))

    def _measured(self, queries: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        distances = np.linalg.norm(self.rows[found] - queries[:, None], axis=2)
        order = distances.argsort(axis=1)
        return np.take_along_axis(distances, order, axis=1), np.take_along_axis(found, order, axis=1)


def _edge_rates(distances: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " n"]:
    """Hill's estimate of d log F / d epsilon at the nearest points, from the k - 1 nearest relative to the k-th; NaN of ties."""
    gaps = np.mean((distances[:, -1:] ** 2 - distances[:, :-1] ** 2) / 2, axis=1)
    return 1 / np.where(gaps > LEAST_GAP * distances[:, -1] ** 2, gaps, np.nan)


def local_condensation(distances: Float[np.ndarray, "n k"], kernel: str = "gaussian") -> Float[np.ndarray, " n"]:
    r"""Local estimate of the bandwidth of condensation from the distances to the k + 1 nearest points.

    For the Gaussian kernel :math:`\hat h_G^2 = \frac1k \sum_{j \leq k} \frac12 (r_{k+1}^2 - r_j^2)`, Hill's estimator of the
    rate at which points appear; for the others the bandwidth at which the tail index with that rate is 1. Where all k + 1
    distances are the same, as on a lattice, they say nothing of a rate, and it is NaN.

    Parameters
    ----------
    distances : array, shape (n, k + 1)
        Ascending, without zeros.
    kernel : str

    Examples
    --------
    >>> local_condensation(np.array([[1.0, 2.0, 3.0]])).round(3)
    array([1.803])
    """
    rate, nearest = _edge_rates(distances), distances[:, 0]
    profile: RadialKernel = as_kernel(kernel)
    if profile.name == "gaussian":
        return rate**-0.5
    if profile.name == "exponential":
        return 1 / (rate * nearest)
    if profile.name == "epanechnikov":
        return np.sqrt(nearest**2 + 2 / rate)
    if profile.name == "linear":  # the root of r (h - r) = 1 / rate
        return nearest + 1 / (rate * nearest)
    return nearest

r"""Sums of functions over a network of workers: :math:`\min_x \frac1n \sum_i f_i(x)`, where worker i alone knows :math:`f_i`.

A `DecentralisedProblem` joins a network (or a list of networks through which time cycles) to an objective. An objective is one
of

- `Quadratic`: :math:`f_i(x) = \tfrac12 x^\top H_i x - c_i^\top x`;
- `LeastSquares`: :math:`f_i(x) = \frac1{m_i} \|A_i x - b_i\|^2 + \frac{\rho}{2} \|x\|^2`;
- `Logistic`: :math:`f_i(x) = \frac1{m_i} \sum_k \log(1 + e^{-b_k a_k^\top x}) + \frac{\rho}{2} \|x\|^2`;
- `GradientOracles`: any strongly convex smooth functions, each known by a gradient function of the user's.

Each knows a strong convexity constant ``mu`` and a smoothness constant ``smoothness`` that hold for every worker.
"""

from __future__ import annotations

import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import expit
from sklearn.datasets import make_classification, make_regression
from torch import Tensor

from semigroup.base import check_array, check_integer, check_number, numpy_generator
from semigroup.operators.graph import Graph
from semigroup.operators.topology import network

__all__ = [
    "BatchedGradients",
    "DecentralisedProblem",
    "GradientOracles",
    "LeastSquares",
    "LocalArrays",
    "Logistic",
    "Objective",
    "Quadratic",
    "local_gradient",
    "random_least_squares",
    "random_logistic",
    "random_quadratic",
    "split_rows",
]

QUADRATIC, SQUARED_ERRORS, LOGISTIC_ERRORS = 0, 1, 2


class LocalArrays(typing.NamedTuple):
    """An objective as arrays, the form that the compiled kernels read; what a kind does not need is empty.

    Attributes
    ----------
    kind : int
        ``QUADRATIC``, ``SQUARED_ERRORS`` or ``LOGISTIC_ERRORS``.
    hessians : (n, d, d)
    linear : (n, d)
    features : (rows, d)
        Worker i owns the rows from ``offsets[i]`` to ``offsets[i + 1]``.
    targets : (rows,)
    offsets : (n + 1,)
    ridge : float
    """

    kind: int
    hessians: np.ndarray = np.empty((0, 0, 0))
    linear: np.ndarray = np.empty((0, 0))
    features: np.ndarray = np.empty((0, 0))
    targets: np.ndarray = np.empty(0)
    offsets: np.ndarray = np.empty(0, dtype=np.int64)
    ridge: float = 0.0


@numba.njit(cache=True)
@typing.no_type_check
def local_gradient(worker, x, draws, arrays):
    """Gradient of one worker's function at x.

    With `draws` (uniform numbers in [0, 1)), the mini-batch estimate over the rows that they fall on; with none, the whole.
    """
    if arrays.kind == QUADRATIC:
        return np.dot(arrays.hessians[worker], x) - arrays.linear[worker]
    low, high = arrays.offsets[worker], arrays.offsets[worker + 1]
    gradient = arrays.ridge * x
    if draws.size == 0:
        block = arrays.features[low:high]
        slopes = np.dot(block, x)
        for k in range(slopes.size):
            slopes[k] = _slope(arrays.kind, slopes[k], arrays.targets[low + k]) / slopes.size
        return gradient + np.dot(slopes, block)
    for k in range(draws.size):
        row = low + int(draws[k] * (high - low))
        features = arrays.features[row]
        gradient += (_slope(arrays.kind, np.dot(features, x), arrays.targets[row]) / draws.size) * features
    return gradient


@numba.njit(cache=True)
@typing.no_type_check
def _slope(kind, value, target):
    """Derivative of one row's loss in its linear predictor."""
    if kind == SQUARED_ERRORS:
        return 2.0 * (value - target)
    margin = target * value
    if margin > 0:  # neither branch overflows
        return -target * np.exp(-margin) / (1.0 + np.exp(-margin))
    return -target / (1.0 + np.exp(margin))


# --- objectives ----------------------------------------------------------------------------------------------------


class Objective(ABC):
    """n local functions of d variables.

    Attributes
    ----------
    n_workers, n_features : int
    mu, smoothness : float
        Strong convexity and smoothness constants that hold for every local function.
    """

    n_workers: int
    n_features: int
    mu: float
    smoothness: float

    @abstractmethod
    def gradient(self, worker: int, x: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
        """∇f_i(x)."""

    def gradients(self, points: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """Every worker's gradient at its own point."""
        return np.stack([self.gradient(i, point) for i, point in enumerate(points)])

    def optimum(self) -> Float[np.ndarray, " d"] | None:
        """The minimiser of the average, where it can be computed from the data."""
        return None

    def restricted(self, workers: Int[np.ndarray, " k"]) -> Objective:
        """The objective of some of the workers only."""
        raise NotImplementedError

    @property
    def condition_number(self) -> float:
        """κ = L / μ."""
        return self.smoothness / self.mu


class _ArrayObjective(Objective):
    """An objective that is arrays: gradients come from the compiled `local_gradient`."""

    arrays: LocalArrays

    def gradient(self, worker: int, x: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
        """∇f_i(x)."""
        return local_gradient(worker, np.ascontiguousarray(x), np.empty(0), self.arrays)


class Quadratic(_ArrayObjective):
    r""":math:`f_i(x) = \tfrac12 x^\top H_i x - c_i^\top x`.

    Parameters
    ----------
    hessians : array of shape (n, d, d)
        Symmetric positive definite.
    linear : array of shape (n, d)

    Raises
    ------
    ValueError
        If a Hessian is not symmetric positive definite; names the worker.

    Examples
    --------
    >>> objective = Quadratic(np.stack([np.eye(2), 3 * np.eye(2)]), np.ones((2, 2)))
    >>> objective.mu, objective.smoothness, objective.optimum()
    (1.0, 3.0, array([0.5, 0.5]))
    """

    def __init__(self, hessians: Any, linear: Any) -> None:
        matrices = check_array(hessians, "hessians", ndim=3, min_rows=1)
        vectors = check_array(linear, "linear", ndim=2)
        n, d, _ = matrices.shape
        if matrices.shape != (n, d, d) or vectors.shape != (n, d):
            raise ValueError(
                f"hessians and linear must have shapes (n, d, d) and (n, d), got {matrices.shape} and {vectors.shape}"
            )
        if not np.allclose(matrices, matrices.transpose(0, 2, 1), rtol=1e-10, atol=0):
            raise ValueError("hessians must be symmetric")
        self.n_workers, self.n_features = n, d
        eigenvalues = np.linalg.eigvalsh(matrices)
        self.mu, self.smoothness = _strongly_convex(eigenvalues[:, 0], eigenvalues[:, -1], "hessians")
        self.arrays = LocalArrays(QUADRATIC, hessians=matrices, linear=vectors)

    def gradients(self, points: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """Every worker's gradient at its own point."""
        return np.einsum("nij,nj->ni", self.arrays.hessians, points) - self.arrays.linear

    def conjugate_gradients(self, duals: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """∇f_i*(u_i), the minimiser of f_i minus u_i·x."""
        return np.einsum("nij,nj->ni", self.inverses, duals + self.arrays.linear)

    @cached_property
    def inverses(self) -> Float[np.ndarray, "n d d"]:
        """Inverse Hessians."""
        return np.linalg.inv(self.arrays.hessians)

    def optimum(self) -> Float[np.ndarray, " d"]:
        """The minimiser of the average."""
        return np.linalg.solve(self.arrays.hessians.mean(axis=0), self.arrays.linear.mean(axis=0))

    def restricted(self, workers: Int[np.ndarray, " k"]) -> Quadratic:
        """The objective of some of the workers only."""
        return Quadratic(self.arrays.hessians[workers], self.arrays.linear[workers])


class _RowObjective(_ArrayObjective):
    """An objective over rows of data that are divided among the workers."""

    _kind: int

    def __init__(self, features: Any, targets: Any, ridge: float) -> None:
        blocks = [check_array(block, f"features[{i}]", ndim=2) for i, block in enumerate(features)]
        answers = [check_array(block, f"targets[{i}]", ndim=1) for i, block in enumerate(targets)]
        if not blocks:
            raise ValueError("features is empty: one block of rows a worker is needed")
        if [len(b) for b in blocks] != [len(t) for t in answers]:
            raise ValueError("features and targets must have as many blocks, and blocks of as many rows, as each other")
        if len({b.shape[1] for b in blocks}) > 1:
            raise ValueError(f"features must have as many columns for every worker, got {[b.shape[1] for b in blocks]}")
        self.ridge = check_number(ridge, "ridge", minimum=0)
        self.n_workers, self.n_features = len(blocks), blocks[0].shape[1]
        self.arrays = LocalArrays(
            self._kind,
            features=np.concatenate(blocks),
            targets=np.concatenate(answers),
            offsets=np.concatenate([[0], np.cumsum([len(b) for b in blocks])]).astype(np.int64),
            ridge=self.ridge,
        )

    @property
    def blocks(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Features and targets of each worker."""
        cuts = self.arrays.offsets[1:-1]
        return list(zip(np.split(self.arrays.features, cuts), np.split(self.arrays.targets, cuts)))

    def _covariance_range(self) -> tuple[np.ndarray, np.ndarray]:
        """Extreme eigenvalues of each worker's AᵀA / m."""
        least, largest = [], []
        for block, _ in self.blocks:
            values = np.linalg.svd(block, compute_uv=False) ** 2 / len(block)
            least.append(values[-1] if len(block) >= self.n_features else 0.0)
            largest.append(values[0])
        return np.array(least), np.array(largest)

    def restricted(self, workers: Int[np.ndarray, " k"]) -> _RowObjective:
        """The objective of some of the workers only."""
        features, targets = zip(*self.blocks)
        return type(self)([features[i] for i in workers], [targets[i] for i in workers], ridge=self.ridge)


class LeastSquares(_RowObjective):
    r""":math:`f_i(x) = \frac1{m_i} \|A_i x - b_i\|^2 + \frac{\rho}{2} \|x\|^2`.

    Parameters
    ----------
    features : sequence of n arrays of shape (m_i, d), or one of shape (n, m, d)
    targets : sequence of n arrays of shape (m_i,), or one of shape (n, m)
    ridge : float
        ρ. Needed where some worker's features have less than full column rank.

    Raises
    ------
    ValueError
        If a worker's function is not strongly convex; names the worker.

    Examples
    --------
    >>> objective = LeastSquares([[[1.0], [2.0]], [[1.0], [1.0]]], [[2.0, 4.0], [2.0, 2.0]])
    >>> round(objective.mu, 6), round(objective.smoothness, 6), objective.optimum().round(6)
    (2.0, 5.0, array([2.]))
    """

    _kind = SQUARED_ERRORS

    def __init__(self, features: Any, targets: Any, *, ridge: float = 0.0) -> None:
        super().__init__(features, targets, ridge)
        least, largest = self._covariance_range()
        self.mu, self.smoothness = _strongly_convex(2 * least + self.ridge, 2 * largest + self.ridge, "features")

    @cached_property
    def quadratic(self) -> Quadratic:
        """The same functions without their constants, by their Hessians."""
        identity = self.ridge * np.eye(self.n_features)
        hessians = np.stack([2 / len(a) * a.T @ a + identity for a, _ in self.blocks])
        return Quadratic((hessians + hessians.transpose(0, 2, 1)) / 2, [2 / len(a) * a.T @ b for a, b in self.blocks])

    def optimum(self) -> Float[np.ndarray, " d"]:
        """The minimiser of the average."""
        return self.quadratic.optimum()


class Logistic(_RowObjective):
    r""":math:`f_i(x) = \frac1{m_i} \sum_k \log(1 + e^{-b_k a_k^\top x}) + \frac{\rho}{2} \|x\|^2`, labels :math:`b_k = \pm 1`.

    Parameters
    ----------
    features : sequence of n arrays of shape (m_i, d), or one of shape (n, m, d)
    targets : sequence of n arrays of shape (m_i,), or one of shape (n, m)
        Labels -1 and 1.
    ridge : float
        ρ > 0; it is the strong convexity constant. Smoothness is ρ plus a quarter of the largest eigenvalue of AᵀA/m.

    Examples
    --------
    >>> objective = Logistic([[[1.0], [2.0]], [[-1.0], [1.0]]], [[1.0, 1.0], [-1.0, 1.0]], ridge=0.5)
    >>> bool(abs(objective.gradients(np.tile(objective.optimum(), (2, 1))).sum()) < 1e-12)
    True
    """

    _kind = LOGISTIC_ERRORS

    def __init__(self, features: Any, targets: Any, *, ridge: float = 1.0) -> None:
        check_number(ridge, "ridge", above=0)
        super().__init__(features, targets, ridge)
        if not np.isin(self.arrays.targets, (-1.0, 1.0)).all():
            raise ValueError(f"targets must be labels -1 and 1, got {np.unique(self.arrays.targets)[:5]}")
        _, largest = self._covariance_range()
        self.mu, self.smoothness = self.ridge, float(self.ridge + largest.max() / 4)

    def optimum(self) -> Float[np.ndarray, " d"]:
        """The minimiser of the average, by Newton's method with halved steps."""
        features, targets = self.arrays.features, self.arrays.targets
        sizes = np.diff(self.arrays.offsets)
        weight = np.repeat(1 / (sizes * self.n_workers), sizes)

        def value(x: np.ndarray) -> float:
            return float(weight @ np.logaddexp(0, -targets * (features @ x)) + self.ridge / 2 * x @ x)

        x = np.zeros(self.n_features)
        for _ in range(100):
            chance = expit(-targets * (features @ x))
            gradient = -features.T @ (weight * targets * chance) + self.ridge * x
            hessian = (features.T * (weight * chance * (1 - chance))) @ features + self.ridge * np.eye(len(x))
            step = np.linalg.solve(hessian, gradient)
            if gradient @ step < 1e-30:
                break
            size = 1.0
            while size > 1e-8 and value(x - size * step) > value(x):
                size /= 2
            x = x - size * step
        return x


class GradientOracles(Objective):
    """Local functions that are known by their gradients only.

    Parameters
    ----------
    gradients : sequence of n callables
        Each takes an array of shape (d,) and gives an array of shape (d,).
    n_features : int
        d.
    mu, smoothness : float
        Constants that hold for every function.
    optimum : array of shape (d,), optional
        The minimiser, if known, to measure errors by.

    Examples
    --------
    >>> oracles = GradientOracles([lambda x: x - 1, lambda x: 2 * x], n_features=3, mu=1.0, smoothness=2.0)
    >>> oracles.gradient(0, np.zeros(3))
    array([-1., -1., -1.])
    """

    def __init__(
        self,
        gradients: Sequence[Callable[[np.ndarray], Any]],
        *,
        n_features: int,
        mu: float,
        smoothness: float,
        optimum: Any = None,
    ) -> None:
        self.functions = list(gradients)
        for i, function in enumerate(self.functions):
            if not callable(function):
                raise TypeError(f"gradients[{i}] must be callable, got {type(function).__name__}")
        if not self.functions:
            raise ValueError("gradients is empty: one function a worker is needed")
        self.n_workers = len(self.functions)
        self.n_features = check_integer(n_features, "n_features", minimum=1)
        self.mu = check_number(mu, "mu", above=0)
        self.smoothness = check_number(smoothness, "smoothness", minimum=self.mu)
        self._optimum = None if optimum is None else check_array(optimum, "optimum", ndim=1, min_rows=self.n_features)

    def gradient(self, worker: int, x: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
        """∇f_i(x), refused where the function gives another shape or NaN."""
        answer = np.asarray(self.functions[worker](x.copy()), dtype=np.float64)
        if answer.shape != (self.n_features,):
            raise ValueError(
                f"gradients[{worker}] must give an array of shape ({self.n_features},), got shape {answer.shape}"
            )
        if np.isnan(answer).any():
            raise ValueError(f"gradients[{worker}] gave NaN at a point of norm {np.linalg.norm(x):.3g}")
        return answer

    def optimum(self) -> Float[np.ndarray, " d"] | None:
        """The minimiser that was given."""
        return self._optimum

    def restricted(self, workers: Int[np.ndarray, " k"]) -> GradientOracles:
        """The objective of some of the workers only; their own minimiser is not known."""
        chosen = [self.functions[i] for i in workers]
        return GradientOracles(chosen, n_features=self.n_features, mu=self.mu, smoothness=self.smoothness)


def _strongly_convex(least: np.ndarray, largest: np.ndarray, name: str) -> tuple[float, float]:
    """The constants that hold for all, or a refusal that names the worker."""
    worker = int(least.argmin())
    if least[worker] <= 1e-12 * largest[worker]:
        raise ValueError(
            f"{name} of worker {worker} do not make a strongly convex function (smallest curvature {least[worker]:.3g}): "
            f"give it more independent rows, or a ridge"
        )
    return float(least[worker]), float(largest.max())


class BatchedGradients:
    """Gradients of many workers at once, on a torch device.

    Parameters
    ----------
    arrays : LocalArrays
    device : torch.device or str
    """

    def __init__(self, arrays: LocalArrays, device: torch.device | str) -> None:
        self.kind, self.ridge = arrays.kind, arrays.ridge

        def move(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).to(device)

        if self.kind == QUADRATIC:
            self.hessians, self.linear = move(arrays.hessians), move(arrays.linear)
            return
        # Workers may own different numbers of rows: the shorter blocks are padded by rows of weight zero.
        sizes = np.diff(arrays.offsets)
        n, d, longest = len(sizes), arrays.features.shape[1], int(sizes.max())
        present = np.arange(longest) < sizes[:, None]
        features, targets = np.zeros((n, longest, d)), np.zeros((n, longest))
        features[present], targets[present] = arrays.features, arrays.targets
        self.features, self.targets = move(features), move(targets)
        self.weights, self.sizes = move(present / sizes[:, None]), move(sizes)

    def __call__(
        self, workers: Int[Tensor, " k"], points: Float[Tensor, "k d"], draws: Float[Tensor, "k batch"]
    ) -> Float[Tensor, "k d"]:
        """Gradients of `workers` at `points`; mini-batch estimates where `draws` has columns."""
        if self.kind == QUADRATIC:
            return torch.bmm(self.hessians[workers], points[:, :, None])[:, :, 0] - self.linear[workers]
        if draws.shape[1]:
            rows = (draws * self.sizes[workers, None]).long()
            features, targets = self.features[workers[:, None], rows], self.targets[workers[:, None], rows]
            weights = torch.full_like(draws, 1 / draws.shape[1])
        else:
            features, targets, weights = self.features[workers], self.targets[workers], self.weights[workers]
        values = torch.bmm(features, points[:, :, None])[:, :, 0]
        if self.kind == SQUARED_ERRORS:
            slopes = 2 * (values - targets)
        else:
            slopes = -targets * torch.sigmoid(-targets * values)
        return torch.bmm((weights * slopes)[:, None], features)[:, 0] + self.ridge * points


# --- problems ------------------------------------------------------------------------------------------------------


class DecentralisedProblem:
    """A network, or several through which time cycles, and an objective over its workers.

    Parameters
    ----------
    graph : graph in any form that `semigroup.operators.as_graph` takes, or a list of such
        Connected and undirected. Of a list, network k is in force from ``k * period`` on, and after the last comes the first.
    objective : Objective
        One function a node.
    period : float, optional
        How long each network of a list lasts; None takes 1/χ₁ of the worst of them with edge probabilities 1/m, as the paper.

    Raises
    ------
    ValueError
        If a network is disconnected, directed or has loops, or the numbers of nodes and workers differ.

    Examples
    --------
    >>> from semigroup.operators.topology import star
    >>> problem = DecentralisedProblem(star(3), Quadratic(np.stack([np.eye(2)] * 3), np.eye(3, 2)))
    >>> problem.n_workers
    3
    """

    def __init__(self, graph: Any, objective: Objective, *, period: float | None = None) -> None:
        self.graphs = _networks(graph)
        if not isinstance(objective, Objective):
            raise TypeError(f"objective must be an Objective such as LeastSquares, got {type(objective).__name__}")
        self.objective = objective
        self.period = None if period is None else check_number(period, "period", above=0)
        for g in self.graphs:
            if g.n_nodes != objective.n_workers:
                raise ValueError(f"graph has {g.n_nodes} nodes, but objective has {objective.n_workers} workers")

    @property
    def n_workers(self) -> int:
        """Number of workers."""
        return self.objective.n_workers

    @property
    def names(self) -> np.ndarray:
        """The workers' names."""
        return self.graphs[0].names

    def without(self, workers: Sequence[int]) -> DecentralisedProblem:
        """The problem that remains when some workers are gone, by number.

        Raises
        ------
        ValueError
            If the network falls apart without them.
        """
        keep = np.setdiff1d(np.arange(self.n_workers), np.asarray(workers, dtype=np.int64))
        graphs = [type(g)(g.adjacency[keep][:, keep], g.names[keep]) for g in self.graphs]
        return DecentralisedProblem(graphs, self.objective.restricted(keep), period=self.period)


def _networks(graph: Any) -> list[Graph]:
    """One network, or several, checked. An edge list is a list too: its items are pairs, not graphs."""
    several = isinstance(graph, list | tuple) and len(graph) > 0 and not np.isscalar(graph[0])
    if several and not (isinstance(graph[0], list | tuple) and len(graph[0]) in (2, 3)):
        return [network(g, f"graph[{k}]" if len(graph) > 1 else "graph") for k, g in enumerate(graph)]
    return [network(graph)]


# --- generators ----------------------------------------------------------------------------------------------------


def random_quadratic(
    graph: Any,
    *,
    n_features: int = 5,
    condition_number: float = 10.0,
    shared_axes: bool = False,
    random_state: int | np.random.Generator | None = None,
) -> DecentralisedProblem:
    """Quadratics with eigenvalues in [1, κ], both ends attained at every worker, and random minimisers.

    Parameters
    ----------
    graph : graph or list of graphs
    n_features : int
    condition_number : float
        κ of every worker's function.
    shared_axes : bool
        Whether all have the same random eigenvectors, the extreme ones in the same places. Then the average has condition
        number κ too; with axes of their own the average of many is far better conditioned than they are.
    random_state : int, Generator or None
    """
    graphs = _networks(graph)
    d = check_integer(n_features, "n_features", minimum=2)
    kappa = check_number(condition_number, "condition_number", minimum=1)
    generator = numpy_generator(random_state)
    n = graphs[0].n_nodes
    axes = np.linalg.qr(generator.standard_normal((1 if shared_axes else n, d, d)))[0]
    axes = np.broadcast_to(axes, (n, d, d))
    eigenvalues = np.column_stack([np.ones(n), np.full(n, kappa), generator.uniform(1, kappa, (n, d - 2))])
    hessians = np.einsum("nij,nj,nkj->nik", axes, eigenvalues, axes)
    hessians = (hessians + hessians.transpose(0, 2, 1)) / 2
    minimisers = generator.standard_normal((n, d))
    return DecentralisedProblem(graphs, Quadratic(hessians, np.einsum("nij,nj->ni", hessians, minimisers)))


def random_least_squares(
    graph: Any,
    *,
    n_samples: int = 100,
    n_features: int = 2,
    noise: float = 10.0,
    correlation: float = 0.0,
    random_state: int | np.random.Generator | None = None,
) -> DecentralisedProblem:
    """Linear regression with noise, a problem of its own at each worker, its targets scaled by U(0.01, 5) as in the paper.

    Parameters
    ----------
    graph : graph or list of graphs
    n_samples : int
        Rows a worker.
    n_features : int
    noise : float
        Standard deviation of the targets' noise.
    correlation : float
        Correlation of neighbouring features, at every worker; it makes their average as badly conditioned as they are.
    random_state : int, Generator or None
    """
    graphs = _networks(graph)
    generator = numpy_generator(random_state)
    blocks = [
        make_regression(n_samples, n_features, noise=noise, random_state=int(generator.integers(2**31)))
        for _ in range(graphs[0].n_nodes)
    ]
    scales = generator.uniform(0.01, 5, len(blocks))
    lags = np.abs(np.subtract.outer(np.arange(n_features), np.arange(n_features)))
    mixing = np.linalg.cholesky(check_number(correlation, "correlation", minimum=0, below=1) ** lags).T
    features, targets = [a @ mixing for a, _ in blocks], [scale * b for scale, (_, b) in zip(scales, blocks)]
    return DecentralisedProblem(graphs, LeastSquares(features, targets))


def random_logistic(
    graph: Any, *, n_samples: int = 100, n_features: int = 2, ridge: float = 1.0, random_state: Any = None
) -> DecentralisedProblem:
    """Two-class logistic regression, one draw of scikit-learn's `make_classification` dealt to the workers."""
    graphs = _networks(graph)
    n = graphs[0].n_nodes
    generator = numpy_generator(random_state)
    informative = min(n_features, 10)
    rows, classes = make_classification(
        n * n_samples,
        n_features,
        n_informative=informative,
        n_redundant=0,
        n_clusters_per_class=1,
        random_state=int(generator.integers(2**31)),
    )
    features, targets = rows.reshape(n, n_samples, -1), (2.0 * classes - 1).reshape(n, n_samples)
    return DecentralisedProblem(graphs, Logistic(features, targets, ridge=ridge))


def split_rows(n_rows: int, n_workers: int) -> list[np.ndarray]:
    """Row numbers dealt to the workers in turn, so that their shares differ by at most one row.

    Examples
    --------
    >>> [part.tolist() for part in split_rows(5, 2)]
    [[0, 2, 4], [1, 3]]
    """
    if n_rows < n_workers:
        raise ValueError(f"n_rows must be at least the number of workers ({n_workers}), got {n_rows}")
    return [np.arange(i, n_rows, n_workers) for i in range(n_workers)]

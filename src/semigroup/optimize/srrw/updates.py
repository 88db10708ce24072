r"""What an agent adds to the token: updates :math:`H(\theta, i)`, whose mean over the agents vanishes at the root θ*.

Compiled updates have the form

.. math:: H(\theta, i) = b_i - A_i \theta - \rho \theta + \frac1{m_i} \sum_{k \in i} u_k \, s_k(v_k^\top \theta),

with a scalar s for each row of data: :math:`c\,(t_k - z)`, or that of the logistic loss, :math:`t_k / (1 + e^{t_k z})` with
labels :math:`t_k = \pm 1`. Gradients, means and temporal differences are of it.
"""

from __future__ import annotations

import typing
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from jaxtyping import Float, Int32
from joblib import Parallel
from scipy.optimize import root as find_root
from scipy.special import expit

from semigroup.base import check_array, check_integer, check_number
from semigroup.data.decentralised import LeastSquares, Logistic, Objective, Quadratic
from semigroup.operators import Graph
from semigroup.operators.topology import network
from semigroup.optimize.srrw.walkers import in_parts

__all__ = [
    "ApproximationProblem",
    "ArrayUpdate",
    "FunctionUpdate",
    "Terms",
    "Update",
    "gradient_update",
    "mean_estimation",
    "temporal_difference",
]


class Update(ABC):
    """H(θ, i) of n agents for d variables.

    Attributes
    ----------
    n_agents, n_features : int
    """

    n_agents: int
    n_features: int

    @abstractmethod
    def values(self, theta: Float[np.ndarray, " d"]) -> Float[np.ndarray, "n d"]:
        """H(θ, i) of every agent."""

    @abstractmethod
    def advance(
        self,
        theta: Float[np.ndarray, "tokens d"],
        momentum: Float[np.ndarray, "tokens d"] | None,
        visited: Int32[np.ndarray, "tokens steps"],
        *,
        gains: Float[np.ndarray, " n"],
        sizes: Float[np.ndarray, " steps"],
        friction: float,
        pool: Parallel,
    ) -> None:
        """Let the agents that the tokens visit change their iterates, in place.

        `gains` are the agents' importance weights, `sizes` the steps β. With a momentum m and friction r a step is
        :math:`\\theta \\leftarrow \\theta - \\beta m`, :math:`m \\leftarrow m - \\beta r (m + H(\\theta, i))`.
        """

    def mean(self, theta: Float[np.ndarray, " d"], weights: Float[np.ndarray, " n"]) -> Float[np.ndarray, " d"]:
        """h(θ), the mean update under a law."""
        return weights @ self.values(theta)

    def jacobian(self, theta: Float[np.ndarray, " d"], weights: Float[np.ndarray, " n"]) -> Float[np.ndarray, "d d"]:
        """∇h(θ), by central differences."""
        columns = []
        for j in range(self.n_features):
            shift = np.zeros(self.n_features)
            shift[j] = 1e-5 * max(1.0, abs(theta[j]))
            columns.append((self.mean(theta + shift, weights) - self.mean(theta - shift, weights)) / (2 * shift[j]))
        return np.stack(columns, axis=1)

    def root(self, weights: Float[np.ndarray, " n"]) -> Float[np.ndarray, " d"] | None:
        """θ* with h(θ*) = 0 under a law, or None where it was not found."""
        found = find_root(
            lambda theta: self.mean(theta, weights),
            np.zeros(self.n_features),
            jac=lambda theta: self.jacobian(theta, weights),
            tol=1e-13,
        )
        scale = max(np.abs(self.values(theta)).max() for theta in (found.x, np.zeros(self.n_features)))
        return found.x if np.abs(found.fun).max() <= 1e-8 * scale else None


# --- compiled ------------------------------------------------------------------------------------------------------


class Terms(typing.NamedTuple):
    """The parts of a compiled update; what it does not have is empty, or zero.

    Attributes
    ----------
    linear : (n, d), b
    matrices : (n, d, d) or (0, 0, 0), A
    outer, inner : (rows, d), u and v
        Agent i owns the rows from ``offsets[i]`` to ``offsets[i + 1]``.
    targets : (rows,), t
    offsets : (n + 1,)
    scale : float, c
    logistic : bool
    ridge : float, ρ
    """

    linear: np.ndarray
    matrices: np.ndarray
    outer: np.ndarray
    inner: np.ndarray
    targets: np.ndarray
    offsets: np.ndarray
    scale: float
    logistic: bool
    ridge: float

    @classmethod
    def of(
        cls,
        n: int,
        d: int,
        *,
        linear: Any = None,
        matrices: Any = None,
        rows: tuple[Any, Any, Any, Any] | None = None,
        scale: float = 1.0,
        logistic: bool = False,
        ridge: float = 0.0,
    ) -> Terms:
        """From the parts that there are; `rows` are outer, inner, targets and offsets."""
        if rows is None:
            rows = np.empty((0, d)), np.empty((0, d)), np.empty(0), np.zeros(n + 1, dtype=np.int64)
        outer, inner, targets, offsets = rows
        return cls(
            linear=np.zeros((n, d)) if linear is None else linear,
            matrices=np.empty((0, 0, 0)) if matrices is None else matrices,
            outer=outer,
            inner=inner,
            targets=targets,
            offsets=offsets,
            scale=scale,
            logistic=logistic,
            ridge=ridge,
        )


class ArrayUpdate(Update):
    """An update that is arrays, applied by a compiled loop."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.n_agents, self.n_features = terms.linear.shape

    def _row_slopes(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """s and its derivative for each row, over the number of rows of its agent."""
        t = self.terms
        sizes = np.diff(t.offsets)
        share = np.repeat(1 / np.maximum(sizes, 1), sizes)
        z = t.inner @ theta
        if t.logistic:
            chance = expit(-t.targets * z)
            return share * t.targets * chance, -share * chance * (1 - chance)
        return share * t.scale * (t.targets - z), np.broadcast_to(-share * t.scale, z.shape)

    def values(self, theta: Float[np.ndarray, " d"]) -> Float[np.ndarray, "n d"]:
        """H(θ, i) of every agent."""
        t = self.terms
        result = t.linear - t.ridge * theta
        if len(t.matrices):
            result = result - t.matrices @ theta
        if len(t.targets):
            result = result + np.add.reduceat(self._row_slopes(theta)[0][:, None] * t.outer, t.offsets[:-1])
        return result

    def jacobian(self, theta: Float[np.ndarray, " d"], weights: Float[np.ndarray, " n"]) -> Float[np.ndarray, "d d"]:
        """∇h(θ)."""
        t = self.terms
        result = -t.ridge * weights.sum() * np.eye(self.n_features)
        if len(t.matrices):
            result -= np.einsum("n,nij->ij", weights, t.matrices)
        if len(t.targets):
            slopes = np.repeat(weights, np.diff(t.offsets)) * self._row_slopes(theta)[1]
            result += (slopes[:, None] * t.outer).T @ t.inner
        return result

    def advance(
        self,
        theta: Float[np.ndarray, "tokens d"],
        momentum: Float[np.ndarray, "tokens d"] | None,
        visited: Int32[np.ndarray, "tokens steps"],
        *,
        gains: Float[np.ndarray, " n"],
        sizes: Float[np.ndarray, " steps"],
        friction: float,
        pool: Parallel,
    ) -> None:
        """Let the agents that the tokens visit change their iterates, in place."""
        speed = np.empty((len(theta), 0)) if momentum is None else momentum

        def go(part: slice) -> None:
            _advance(theta[part], speed[part], visited[part], gains, sizes, friction, self.terms)

        in_parts(go, len(theta), visited.shape[1], pool)


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _advance(theta, momentum, visited, gains, sizes, friction, terms):
    """One token after the other along its visits; without columns of `momentum`, plain steps."""
    d = theta.shape[1]
    h = np.empty(d)
    for token in range(len(theta)):
        point = theta[token]
        for step in range(visited.shape[1]):
            agent = visited[token, step]
            _evaluate(h, point, agent, terms)
            size = sizes[step]
            if momentum.shape[1]:
                for j in range(d):
                    speed = momentum[token, j]
                    momentum[token, j] = speed - size * friction * (speed + gains[agent] * h[j])
                    point[j] -= size * speed
            else:
                for j in range(d):
                    point[j] += size * gains[agent] * h[j]


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _evaluate(h, point, agent, terms):
    """H(θ, i) into h."""
    d = len(h)
    for j in range(d):
        h[j] = terms.linear[agent, j] - terms.ridge * point[j]
    if len(terms.matrices):
        for j in range(d):
            for k in range(d):
                h[j] -= terms.matrices[agent, j, k] * point[k]
    low, high = terms.offsets[agent], terms.offsets[agent + 1]
    for row in range(low, high):
        z = 0.0
        for j in range(d):
            z += terms.inner[row, j] * point[j]
        target = terms.targets[row]
        if terms.logistic:
            margin = target * z
            if margin > 0:  # neither branch overflows
                slope = target * np.exp(-margin) / (1.0 + np.exp(-margin))
            else:
                slope = target / (1.0 + np.exp(margin))
        else:
            slope = terms.scale * (target - z)
        slope /= high - low
        for j in range(d):
            h[j] += slope * terms.outer[row, j]


def gradient_update(objective: Objective) -> Update:
    """:math:`H(\\theta, i) = -\\nabla f_i(\\theta)`, stochastic gradient descent.

    Compiled for `Quadratic`, `LeastSquares` and `Logistic`; the functions of `GradientOracles` are called one at a time.

    Examples
    --------
    >>> update = gradient_update(Quadratic(np.stack([np.eye(1), 3 * np.eye(1)]), np.ones((2, 1))))
    >>> update.values(np.zeros(1)).ravel(), update.root(np.full(2, 0.5))
    (array([1., 1.]), array([0.5]))
    """
    n, d = objective.n_workers, objective.n_features
    if isinstance(objective, Quadratic):
        arrays = objective.arrays
        return ArrayUpdate(Terms.of(n, d, linear=arrays.linear, matrices=arrays.hessians))
    if isinstance(objective, LeastSquares | Logistic):
        arrays = objective.arrays
        rows = (arrays.features, arrays.features, arrays.targets, arrays.offsets)
        logistic = isinstance(objective, Logistic)
        return ArrayUpdate(Terms.of(n, d, rows=rows, scale=2.0, logistic=logistic, ridge=float(arrays.ridge)))
    return FunctionUpdate(
        lambda theta, agent: -objective.gradient(agent, theta), n_agents=n, n_features=d, root=objective.optimum()
    )


def mean_estimation(values: Any) -> ArrayUpdate:
    """:math:`H(\\theta, i) = g(i) - \\theta`, whose root is the mean of g.

    Parameters
    ----------
    values : array of shape (n,) or (n, d)
        g.

    Examples
    --------
    >>> mean_estimation([1.0, 2.0, 6.0]).root(np.full(3, 1 / 3))
    array([3.])
    """
    g = check_array(values, "values", ndim=(1, 2))
    g = g.reshape(len(g), -1)
    return ArrayUpdate(Terms.of(*g.shape, linear=g, ridge=1.0))


def temporal_difference(features: Any, rewards: Any, next_features: Any, *, discount: float) -> ArrayUpdate:
    r"""TD(0) policy evaluation, :math:`H(\theta, i) = \phi_i (r_i + \delta \phi_i'^\top \theta - \phi_i^\top \theta)`.

    Agent i holds a transition: the features of a state, the reward, and the features of the next state or their expectation
    under the policy. The root gives the values :math:`\phi^\top \theta^*`.

    Parameters
    ----------
    features, next_features : arrays of shape (n, d)
    rewards : array of shape (n,)
    discount : float
        δ in [0, 1).

    Raises
    ------
    ValueError
        If shapes disagree or `discount` is out of bounds.

    Examples
    --------
    >>> swap = np.array([[0.0, 1.0], [1.0, 0.0]])  # two states that follow each other; one gives a reward
    >>> temporal_difference(np.eye(2), [1.0, 0.0], swap, discount=0.5).root(np.full(2, 0.5)).round(6)
    array([1.333333, 0.666667])
    """
    phi = check_array(features, "features", ndim=2)
    after = check_array(next_features, "next_features", ndim=2)
    r = check_array(rewards, "rewards", ndim=1)
    discount = check_number(discount, "discount", minimum=0, below=1)
    if after.shape != phi.shape or len(r) != len(phi):
        raise ValueError(
            f"features, next_features and rewards must have shapes (n, d), (n, d) and (n,), got {phi.shape}, {after.shape} "
            f"and {r.shape}"
        )
    rows = (phi, phi - discount * after, r, np.arange(len(r) + 1))
    return ArrayUpdate(Terms.of(*phi.shape, rows=rows))


# --- any function --------------------------------------------------------------------------------------------------


class FunctionUpdate(Update):
    """An update of the user's, called from Python once a step.

    Parameters
    ----------
    function : callable
        ``function(theta, agent)`` gives H(θ, i), an array of shape (d,).
    n_agents, n_features : int
    root : array of shape (d,), optional
        θ*, if known, to measure errors by; else it is searched for.

    Examples
    --------
    >>> update = FunctionUpdate(lambda theta, agent: agent - theta, n_agents=3, n_features=1)
    >>> update.root(np.full(3, 1 / 3)).round(6)
    array([1.])
    """

    def __init__(
        self,
        function: Callable[[np.ndarray, int], Any],
        *,
        n_agents: int,
        n_features: int,
        root: Any = None,
    ) -> None:
        if not callable(function):
            raise TypeError(f"function must be callable, got {type(function).__name__}")
        self.function = function
        self.n_agents = check_integer(n_agents, "n_agents", minimum=1)
        self.n_features = check_integer(n_features, "n_features", minimum=1)
        self._root = None if root is None else check_array(root, "root", ndim=1, n_columns=self.n_features)

    def __call__(self, theta: Float[np.ndarray, " d"], agent: int) -> Float[np.ndarray, " d"]:
        """H(θ, i), refused where the function gives another shape or NaN."""
        answer = np.asarray(self.function(theta.copy(), agent), dtype=np.float64)
        if answer.shape != (self.n_features,):
            raise ValueError(f"the update of agent {agent} must have shape ({self.n_features},), got {answer.shape}")
        if np.isnan(answer).any():
            raise ValueError(f"the update of agent {agent} is NaN at a point of norm {np.linalg.norm(theta):.3g}")
        return answer

    def values(self, theta: Float[np.ndarray, " d"]) -> Float[np.ndarray, "n d"]:
        """H(θ, i) of every agent."""
        return np.stack([self(theta, agent) for agent in range(self.n_agents)])

    def root(self, weights: Float[np.ndarray, " n"]) -> Float[np.ndarray, " d"] | None:
        """θ* as it was given, or as it was found."""
        uniform = bool(np.allclose(weights, weights.mean()))
        return self._root if self._root is not None and uniform else super().root(weights)

    def advance(
        self,
        theta: Float[np.ndarray, "tokens d"],
        momentum: Float[np.ndarray, "tokens d"] | None,
        visited: Int32[np.ndarray, "tokens steps"],
        *,
        gains: Float[np.ndarray, " n"],
        sizes: Float[np.ndarray, " steps"],
        friction: float,
        pool: Parallel,
    ) -> None:
        """Let the agents that the tokens visit change their iterates, in place."""
        for token, agents in enumerate(visited.tolist()):
            for agent, size in zip(agents, sizes):
                h = gains[agent] * self(theta[token], agent)
                if momentum is None:
                    theta[token] += size * h
                else:
                    speed = momentum[token].copy()
                    momentum[token] -= size * friction * (speed + h)
                    theta[token] -= size * speed


class ApproximationProblem:
    """A network and an update: find θ where the mean of H(θ, i) over the agents vanishes.

    Parameters
    ----------
    graph : graph in any form that `semigroup.operators.as_graph` takes
        Connected and undirected.
    update : Update
        One agent a node.

    Raises
    ------
    ValueError
        If the network is disconnected, directed or has loops, or the numbers of nodes and agents differ.

    Examples
    --------
    >>> from semigroup.operators.topology import cycle
    >>> ApproximationProblem(cycle(3), mean_estimation([1.0, 2.0, 6.0])).graph.n_nodes
    3
    """

    def __init__(self, graph: Any, update: Update) -> None:
        self.graph: Graph = network(graph)
        if not isinstance(update, Update):
            raise TypeError(f"update must be an Update such as mean_estimation gives, got {type(update).__name__}")
        self.update = update
        if self.graph.n_nodes != update.n_agents:
            raise ValueError(f"graph has {self.graph.n_nodes} nodes, but update has {update.n_agents} agents")

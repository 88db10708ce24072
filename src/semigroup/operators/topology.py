r"""Communication topologies, and how often each link of a network must fire.

A network of :math:`n` workers gossips along its edges: edge :math:`(i, j)` fires :math:`\lambda_{ij} \ge 0` times a unit of
time in expectation. Everything that gossip theory needs to know of the rates is in the Laplacian

.. math:: \Lambda = \sum_{(i,j) \in E} \lambda_{ij} (e_i - e_j)(e_i - e_j)^\top

and two numbers of it, with :math:`\chi_2 \le \chi_1`:

- :math:`\chi_1 = 1 / \lambda^+_{\min}(\Lambda)`, the inverse of its smallest positive eigenvalue (how slowly it mixes);
- :math:`\chi_2 = \tfrac12 \max_{(i,j) \in E} (e_i - e_j)^\top \Lambda^+ (e_i - e_j)`, half the largest effective resistance of
  an edge that fires.

Both scale as one over the rates, so the condition :math:`2 \chi_1 \chi_2 \le 1` of accelerated asynchronous gossip [1]_ fixes
the smallest admissible factor on any proportions of rates (`EdgeRates.minimal_factor`). `uniform_rates` gives all edges the same
rate, `optimal_rates` finds the proportions that need the fewest communications in all, `largest_gap_rates` the classical
relaxation that looks at :math:`\chi_1` alone.

References
----------
.. [1] A. Nabli, E. Oyallon, "DADAO: Decoupled Accelerated Decentralized Asynchronous Optimization", ICML 2023,
   arXiv:2208.00779, Section 3.
.. [2] S. Boyd, A. Ghosh, B. Prabhakar, D. Shah, "Randomized gossip algorithms", IEEE Transactions on Information Theory, 2006.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist, squareform

from semigroup.base import check_array, check_integer, check_number, numpy_generator, require
from semigroup.operators.graph import Graph, as_graph

__all__ = [
    "EdgeRates",
    "barbell",
    "complete",
    "cycle",
    "grid",
    "largest_gap_rates",
    "lollipop",
    "metropolis_weights",
    "network",
    "optimal_rates",
    "path",
    "random_geometric",
    "star",
    "uniform_rates",
    "worst_case",
]


# --- topologies ----------------------------------------------------------------------------------------------------


def star(n: int) -> Graph:
    """Node 0 joined to each of the other ``n - 1`` nodes.

    Examples
    --------
    >>> star(4).adjacency.toarray()[0]
    array([0., 1., 1., 1.])
    """
    n = check_integer(n, "n", minimum=2)
    return _from_edges(n, [(0, i) for i in range(1, n)])


def complete(n: int) -> Graph:
    """Every pair of nodes joined."""
    n = check_integer(n, "n", minimum=2)
    return _from_edges(n, np.stack(np.triu_indices(n, 1), axis=1))


def cycle(n: int) -> Graph:
    """A ring."""
    n = check_integer(n, "n", minimum=3)
    return _from_edges(n, [(i, (i + 1) % n) for i in range(n)])


def path(n: int) -> Graph:
    """A line."""
    n = check_integer(n, "n", minimum=2)
    return _from_edges(n, [(i, i + 1) for i in range(n - 1)])


def grid(n_rows: int, n_columns: int) -> Graph:
    """A two-dimensional grid; node ``(r, c)`` has number ``r * n_columns + c``."""
    n_rows, n_columns = check_integer(n_rows, "n_rows", minimum=1), check_integer(n_columns, "n_columns", minimum=1)
    number = np.arange(n_rows * n_columns).reshape(n_rows, n_columns)
    across = np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()], axis=1)
    down = np.stack([number[:-1].ravel(), number[1:].ravel()], axis=1)
    return _from_edges(number.size, np.concatenate([across, down]))


def barbell(clique: int) -> Graph:
    """Two complete graphs of `clique` nodes each, joined by one edge."""
    clique = check_integer(clique, "clique", minimum=2)
    pairs = np.stack(np.triu_indices(clique, 1), axis=1)
    return _from_edges(2 * clique, np.concatenate([pairs, pairs + clique, [[clique - 1, clique]]]))


def lollipop(clique: int, tail: int) -> Graph:
    """A complete graph of `clique` nodes with a line of `tail` nodes hanging from it."""
    clique, tail = check_integer(clique, "clique", minimum=2), check_integer(tail, "tail", minimum=1)
    pairs = np.stack(np.triu_indices(clique, 1), axis=1)
    line = [(clique - 1 + i, clique + i) for i in range(tail)]
    return _from_edges(clique + tail, np.concatenate([pairs, line]))


def random_geometric(n: int, radius: float = 0.4, *, random_state: int | np.random.Generator | None = None) -> Graph:
    """Uniform points of the unit square joined where closer than `radius`; left-over components are chained together.

    Consecutive components are joined by an edge between a random node of each, so the graph is always connected.

    Parameters
    ----------
    n : int
    radius : float
    random_state : int, Generator or None
    """
    n, radius = check_integer(n, "n", minimum=2), check_number(radius, "radius", above=0)
    generator = numpy_generator(random_state)
    near = squareform(pdist(generator.random((n, 2)))) < radius
    edges = np.argwhere(np.triu(near, 1))
    count, label = connected_components(sp.csr_array(near), directed=False)
    joins = [
        (generator.choice(np.flatnonzero(label == c)), generator.choice(np.flatnonzero(label == c + 1)))
        for c in range(count - 1)
    ]
    return _from_edges(n, np.concatenate([edges, np.array(joins, dtype=np.int64).reshape(-1, 2)]))


def _from_edges(n: int, edges: Any) -> Graph:
    ends = np.asarray(edges, dtype=np.int64)
    half = sp.coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(n, n))
    return Graph(sp.csr_array(half + half.T))


def network(graph: Any, name: str = "graph") -> Graph:
    """`graph` as a communication network: undirected, connected, at least two nodes, no loops.

    Parameters
    ----------
    graph : Graph, sparse or dense matrix, networkx graph, PyG data or edge list
    name : str
        The argument's name, for the error.

    Raises
    ------
    ValueError
        If it is directed, disconnected, has a loop, a negative weight or fewer than two nodes.

    Examples
    --------
    >>> network(np.array([[0, 1], [2, 3], [4, 5]]))
    Traceback (most recent call last):
    ...
    ValueError: graph must be connected, and it falls into 3 components: no gossip can bring their workers to agree
    """
    result = as_graph(graph, name, directed=False)
    if result.n_nodes < 2:
        raise ValueError(f"{name} must have at least 2 nodes, got {result.n_nodes}")
    if result.adjacency.diagonal().any():
        node = result.names[np.flatnonzero(result.adjacency.diagonal())[0]]
        raise ValueError(f"{name} has a loop at node {node}: a worker does not send messages to itself")
    count, _ = connected_components(result.adjacency, directed=False)
    if count > 1:
        raise ValueError(
            f"{name} must be connected, and it falls into {count} components: no gossip can bring their workers to agree"
        )
    return result


# --- rates ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EdgeRates:
    """How often each edge of a network fires, and what that means for gossip.

    Attributes
    ----------
    n_nodes : int
    edges : int array of shape (m, 2)
        First end smaller than the second.
    rates : array of shape (m,)
        Expected firings a unit of time, λ.

    Examples
    --------
    >>> rates = uniform_rates(star(5))
    >>> round(rates.total, 6), round(2 * rates.chi_1 * rates.chi_2, 6)
    (4.0, 1.0)
    """

    n_nodes: int
    edges: Int[np.ndarray, "m 2"]
    rates: Float[np.ndarray, " m"]

    @classmethod
    def of(cls, graph: Any, rates: Any = None) -> EdgeRates:
        """The rates of a network's edges, by default the graph's own weights.

        Parameters
        ----------
        graph : graph in any form that `as_graph` takes
        rates : array-like of shape (m,), optional
            In the order of the edges of the upper triangle of the adjacency matrix, row by row.
        """
        connected = network(graph)
        upper = sp.coo_array(sp.triu(connected.adjacency, 1))
        order = np.lexsort((upper.col, upper.row))
        edges = np.stack([upper.row[order], upper.col[order]], axis=1).astype(np.int64)
        if rates is None:
            return cls(connected.n_nodes, edges, upper.data[order].astype(np.float64))
        values = check_array(rates, "rates", ndim=1)
        if len(values) != len(edges):
            raise ValueError(f"rates must hold one number for each of the {len(edges)} edges, got {len(values)}")
        if values.min() < 0:
            raise ValueError(f"rates must be >= 0, got {values.min():g}")
        return cls(connected.n_nodes, edges, values)

    @property
    def total(self) -> float:
        """Expected communications of the whole network a unit of time, ½ Tr Λ."""
        return float(self.rates.sum())

    @cached_property
    def laplacian(self) -> Float[np.ndarray, "n n"]:
        """Λ, dense."""
        i, j = self.edges.T
        matrix = np.zeros((self.n_nodes, self.n_nodes))
        np.add.at(matrix, (i, j), -self.rates)
        matrix += matrix.T
        np.fill_diagonal(matrix, -matrix.sum(axis=1))
        return matrix

    @cached_property
    def spectrum(self) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n n"]]:
        """Eigenvalues of Λ from the smallest, and its eigenvectors as columns."""
        values, vectors = np.linalg.eigh(self.laplacian)
        return values, vectors

    @property
    def chi_1(self) -> float:
        """1 / smallest positive eigenvalue of Λ; infinite where the edges that fire do not connect the network."""
        values = self.spectrum[0]
        connected = values[1] > 1e-12 * values[-1]
        return float(1 / values[1]) if connected else np.inf

    @cached_property
    def resistances(self) -> Float[np.ndarray, " m"]:
        """Effective resistance (e_i - e_j)ᵀ Λ⁺ (e_i - e_j) of every edge."""
        if not np.isfinite(self.chi_1):
            return np.full(len(self.edges), np.inf)
        values, vectors = self.spectrum
        embedding = vectors[:, 1:] / np.sqrt(values[1:])
        result = np.empty(len(self.edges))
        for rows in np.array_split(np.arange(len(self.edges)), len(self.edges) // 10_000 + 1):
            i, j = self.edges[rows].T
            result[rows] = ((embedding[i] - embedding[j]) ** 2).sum(axis=1)
        return result

    @property
    def chi_2(self) -> float:
        """Half the largest effective resistance of an edge that fires."""
        return float(0.5 * self.resistances[self.rates > 0].max(initial=0.0)) if self.rates.any() else np.inf

    @property
    def minimal_factor(self) -> float:
        """What the rates must be multiplied with to meet 2 χ₁ χ₂ = 1; above 1 they are too low."""
        return float(np.sqrt(2 * self.chi_1 * self.chi_2))

    def scaled(self, factor: float) -> EdgeRates:
        """The same proportions, `factor` times as often."""
        return replace(self, rates=self.rates * factor)

    def minimal(self) -> EdgeRates:
        """The same proportions at the smallest admissible total."""
        return self.scaled(self.minimal_factor)

    def __repr__(self) -> str:
        return (
            f"EdgeRates({self.n_nodes} nodes, {len(self.edges)} edges, {self.total:.4g} communications a unit of time, "
            f"χ₁ = {self.chi_1:.4g}, χ₂ = {self.chi_2:.4g})"
        )


def uniform_rates(graph: Any) -> EdgeRates:
    """The same rate on every edge, as low as the condition 2 χ₁ χ₂ ≤ 1 admits.

    Examples
    --------
    >>> round(uniform_rates(barbell(5)).total, 2)
    38.44
    """
    edges = EdgeRates.of(graph)
    return replace(edges, rates=np.ones(len(edges.edges))).minimal()


def optimal_rates(graph: Any, *, tol: float = 1e-5) -> EdgeRates:
    r"""The rates with the fewest communications a unit of time that satisfy 2 χ₁ χ₂ ≤ 1, every edge counted in χ₂.

    Solves the convex program over proportions :math:`w \ge 0, \sum w = 1`

    .. math::
        \max \sqrt{ab} \quad\text{s.t.}\quad L_w \succeq a \bigl(I - \tfrac1n 1 1^\top\bigr), \quad
        b\, R_{ij}(w) \le 1 \ \text{for every edge,}

    where :math:`\chi_1 = 1/a` and :math:`\chi_2 = 1/(2b)`. By Dirichlet's principle
    :math:`1/R_{ij}(w) = \min_p\, p^\top L_w p / (p_i - p_j)^2`, so each potential :math:`p` gives a linear bound on
    :math:`b`: the program starts without the second line and adds, at each solution, the bounds of the potentials there until
    the solution is within `tol` of the bound. Some tens of nodes take seconds; the cost grows like :math:`n^6`.

    Parameters
    ----------
    graph : graph in any form that `as_graph` takes
        Its weights are not looked at.
    tol : float
        Relative excess over the least total at which to stop.

    Raises
    ------
    ImportError
        If cvxpy is not installed.

    Examples
    --------
    >>> round(optimal_rates(barbell(5)).total, 2)  # a uniform rate needs 38.44
    18.22
    """
    tol = check_number(tol, "tol", above=0)
    cp = require("cvxpy", "rates")
    start = EdgeRates.of(graph)
    incidence, weights, laplacian = _program(cp, start)
    a, b = cp.Variable(nonneg=True), cp.Variable(nonneg=True)
    constraints = [cp.sum(weights) == 1, laplacian >> a * np.eye(len(incidence))]
    point = best = replace(start, rates=np.full(len(start.edges), 1 / len(start.edges)))
    for _ in range(200):
        constraints.append(_resistance_bounds(point, incidence) @ weights >= b)
        program = cp.Problem(cp.Maximize(cp.geo_mean(cp.hstack([a, b]))), constraints)
        _solve(program)
        point = _proportions(start, weights.value)
        best = min(best, point, key=lambda rates: rates.minimal_factor)
        if program.status != "optimal" or best.minimal_factor * np.sqrt(a.value * b.value) <= 1 + tol:
            break  # past the solver's precision the bound says nothing more; the best point is admissible either way
    return best.minimal()


def _resistance_bounds(rates: EdgeRates, incidence: np.ndarray) -> Float[np.ndarray, "cuts m"]:
    """Coefficients c of the bounds b <= c·w that the potentials of the edges of largest resistance give."""
    resistances = rates.resistances
    # Every edge near the maximum bounds b at the next solution too; the others would only make the program larger.
    worst = np.argsort(-resistances)[: 2 * rates.n_nodes]
    worst = worst[resistances[worst] > 0.5 * resistances.max()]
    reduced = (incidence * rates.rates) @ incidence.T
    potentials = np.linalg.solve(reduced, incidence[:, worst])
    return (incidence.T @ potentials).T ** 2 / resistances[worst, None] ** 2


def largest_gap_rates(graph: Any) -> EdgeRates:
    """Rates whose proportions make the second eigenvalue of Λ as large as possible, at their smallest admissible total.

    The classical relaxation [2]_: it minimises χ₁ alone, and since χ₂ ≤ χ₁ it bounds the cost of `optimal_rates` from above.

    References
    ----------
    .. [2] S. Boyd, A. Ghosh, B. Prabhakar, D. Shah, "Randomized gossip algorithms", 2006.
    """
    cp = require("cvxpy", "rates")
    start = EdgeRates.of(graph)
    _, weights, laplacian = _program(cp, start)
    gap = cp.Variable(nonneg=True)
    constraints = [cp.sum(weights) == 1, laplacian >> gap * np.eye(laplacian.shape[0])]
    _solve(cp.Problem(cp.Maximize(gap), constraints))
    return _proportions(start, weights.value).minimal()


def _solve(program: Any) -> None:
    """Solve; the solver's doubts about its last digits are judged by the caller from the status."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Solution may be inaccurate", UserWarning)
        program.solve(solver="CLARABEL")


def _program(cp: Any, start: EdgeRates) -> tuple[np.ndarray, Any, Any]:
    """Edge vectors in an orthonormal basis of the complement of the constants, the variable w and L_w in that basis."""
    n, m = start.n_nodes, len(start.edges)
    basis = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, : n - 1]]))[0][:, 1:]
    incidence = (basis[start.edges[:, 0]] - basis[start.edges[:, 1]]).T
    weights = cp.Variable(m, nonneg=True)
    return incidence, weights, incidence @ cp.diag(weights) @ incidence.T


def _proportions(start: EdgeRates, weights: np.ndarray | None) -> EdgeRates:
    """The solver's w without its rounding: what is zero up to its tolerance becomes zero if the rest still connects."""
    if weights is None:
        raise RuntimeError("the convex solver found no rates; is the graph's scale extreme?")
    clipped = np.where(weights < 1e-8 * weights.max(), 0.0, weights)
    return replace(start, rates=clipped / clipped.sum())


# --- gossip matrices of synchronous methods --------------------------------------------------------------------------


def metropolis_weights(graph: Any) -> Float[np.ndarray, "n n"]:
    """Symmetric doubly stochastic mixing matrix with weight 1 / (1 + max degree of the two ends) on every edge.

    Examples
    --------
    >>> metropolis_weights(path(3)).round(2)
    array([[0.67, 0.33, 0.  ],
           [0.33, 0.33, 0.33],
           [0.  , 0.33, 0.67]])
    """
    rates = EdgeRates.of(graph)
    degree = np.bincount(rates.edges.ravel(), minlength=rates.n_nodes)
    weights = 1 / (1 + degree[rates.edges].max(axis=1))
    return np.eye(rates.n_nodes) - replace(rates, rates=weights).laplacian


def worst_case(rates: Sequence[EdgeRates]) -> tuple[float, float]:
    """The largest χ₁ and the largest χ₂ of several networks."""
    return max(r.chi_1 for r in rates), max(r.chi_2 for r in rates)

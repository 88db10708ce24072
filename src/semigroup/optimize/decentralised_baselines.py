r"""Other decentralised methods, to compare with: primal or dual, accelerated or not, in rounds or asynchronous.

All take a `DecentralisedProblem` and return an ``OptimizeResult`` with ``iterates`` and a ``history`` that counts local gradients
and pairwise communications the same way (an exchange along one edge, in both directions, is one communication).

================================  ==========  ======================  ==========================================
function                          gradients   a step costs            linear rate governed by
================================  ==========  ======================  ==========================================
`adom_plus`                       primal      n, \|E\|                √κ χ (χ = λ_max / λ_2)
`adom_plus`, multi-consensus      primal      n, ⌈χ ln 2⌉ \|E\|       √κ
`msda`                            dual        n, ⌊√χ⌋ \|E\|           √κ
`continuized`                     dual        2, 1 (one edge)         √κ √(χ₁χ₂) communications
`gradient_tracking`               primal      n, 2 \|E\|              κ and the network's gap
`extra`                           primal      n, \|E\|                κ and the network's gap
`nids`                            primal      n, \|E\|                κ + the inverse of the network's gap
================================  ==========  ======================  ==========================================

Dual methods need the gradient of each function's conjugate, which is in closed form for quadratics only.

References
----------
.. [1] D. Kovalev, E. Gasanov, A. Gasnikov, P. Richtárik, "Lower bounds and optimal algorithms for smooth and strongly convex
   decentralized optimization over time-varying networks", NeurIPS 2021 (ADOM+).
.. [2] K. Scaman et al., "Optimal algorithms for smooth and strongly convex distributed optimization in networks", ICML 2017
   (MSDA).
.. [3] M. Even et al., "A continuized view on Nesterov acceleration for stochastic gradient descent and randomized gossip",
   NeurIPS 2021.
.. [4] A. Nedić, A. Olshevsky, W. Shi, "Achieving geometric convergence for distributed optimization over time-varying graphs",
   SIAM Journal on Optimization, 2017 (gradient tracking).
.. [5] W. Shi, Q. Ling, G. Wu, W. Yin, "EXTRA", SIAM Journal on Optimization, 2015.
.. [6] Z. Li, W. Shi, M. Yan, "A decentralized proximal-gradient method with network independent step-sizes and separated
   convergence rates", IEEE Transactions on Signal Processing, 2019 (NIDS).
"""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np
from jaxtyping import Float
from scipy.optimize import OptimizeResult

from semigroup.base import check_array, check_number, numpy_generator
from semigroup.data.decentralised import DecentralisedProblem, LeastSquares, Objective, Quadratic
from semigroup.operators.laplacian import laplacian
from semigroup.operators.topology import metropolis_weights, uniform_rates
from semigroup.optimize.history import History, distance_to_optimum

__all__ = ["adom_plus", "continuized", "extra", "gradient_tracking", "msda", "nids"]

# A step's points, and the local gradients and the communications that it took.
Step = tuple[np.ndarray, int, int]


def adom_plus(
    problem: DecentralisedProblem,
    x0: Any = None,
    *,
    multi_consensus: bool = False,
    n_steps: int = 10_000,
    tol: float = 1e-8,
) -> OptimizeResult:
    """ADOM+ [1]_, the optimal primal method in rounds, of one gossip a gradient or of as many as bring χ down to 2.

    Parameters
    ----------
    problem : DecentralisedProblem
        Of several networks, round k uses number k modulo their number.
    x0 : array of shape (d,) or (n, d), optional
        None starts at zero.
    multi_consensus : bool
    n_steps : int
        Most rounds.
    tol : float
        Stop when the squared distance to the minimiser is this fraction of its first value.
    """
    start = _start(problem, x0)
    objective, mu, smoothness = problem.objective, problem.objective.mu, problem.objective.smoothness
    laplacians = [laplacian(g.adjacency.astype(bool).astype(np.float64)).toarray() for g in problem.graphs]
    spectra = [np.linalg.eigvalsh(matrix) for matrix in laplacians]
    # χ of each network on its own scale, the worst of them for the constants.
    chi = max(float(values[-1] / values[1]) for values in spectra)
    gossip = [matrix / values[-1] for matrix, values in zip(laplacians, spectra)]
    n_edges = [g.adjacency.nnz // 2 for g in problem.graphs]
    n_rounds = math.ceil(chi * math.log(2)) if multi_consensus else 1
    if n_rounds > 1:
        chi = 2.0
    tau_1, tau_2 = 1 / (math.sqrt(smoothness / mu) + 0.5), math.sqrt(mu / smoothness)
    sigma_2 = tau_2 / (16 * chi)
    sigma_1 = 1 / (1 / sigma_2 + 0.5)
    eta, alpha, beta, nu = 1 / (smoothness * tau_2), mu / 2, 1 / (2 * smoothness), mu / 2
    delta, gamma, theta = 1 / (17 * smoothness), nu / (14 * sigma_2 * chi**2), nu / (4 * sigma_2)
    implicit = 1 + eta * alpha

    def mix(vectors: np.ndarray, step: int) -> np.ndarray:
        """(I - product of (I - L̂)) of the vectors: what gossip removes."""
        kept = vectors
        for q in range(n_rounds):
            kept = kept - gossip[(step * n_rounds + q) % len(gossip)] @ kept
        return vectors - kept

    def steps() -> Iterator[Step]:
        x = x_f = start
        y = y_f = z = z_f = m = np.zeros_like(start)
        for k in range(n_steps):
            x_g = tau_1 * x + (1 - tau_1) * x_f
            y_g, z_g = sigma_1 * y + (1 - sigma_1) * y_f, sigma_1 * z + (1 - sigma_1) * z_f
            gradient = objective.gradients(x_g)
            new_y = (
                implicit
                / ((1 + theta * beta) * implicit + theta * eta)
                * (
                    y
                    + (theta * beta + eta * theta / implicit) * gradient
                    - theta * (beta * nu + eta * (nu + alpha) / implicit) * x_g
                    - theta / implicit * x
                    - theta / nu * (y_g + z_g)
                )
            )
            new_x = (x + eta * alpha * x_g - eta * (gradient - nu * x_g - new_y)) / implicit
            u = gamma / nu * (y_g + z_g) + m
            removed, removed_dual = mix(np.concatenate([u, y_g + z_g], axis=1), k).reshape(len(u), 2, -1).swapaxes(0, 1)
            new_z = z + gamma * delta * (z_g - z) - removed
            m = u - removed
            x_f, y_f = x_g + tau_2 * (new_x - x), y_g + sigma_2 * (new_y - y)
            z_f = z_g - 0.5 * removed_dual
            x, y, z = new_x, new_y, new_z
            yield x, len(x), sum(n_edges[(k * n_rounds + q) % len(n_edges)] for q in range(n_rounds))

    return _run(problem, start, steps(), tol)


def msda(problem: DecentralisedProblem, *, n_steps: int = 10_000, tol: float = 1e-8) -> OptimizeResult:
    """Multi-step dual accelerated method [2]_: Nesterov on the dual, each gossip a Chebyshev polynomial of the Laplacian.

    Raises
    ------
    ValueError
        If the objective is not quadratic, or the network changes.
    """
    quadratic = _quadratic(problem.objective, "msda")
    graph = _one_network(problem, "msda")
    matrix = laplacian(graph.astype(bool).astype(np.float64)).toarray()
    values = np.linalg.eigvalsh(matrix)
    ratio, n_edges = float(values[1] / values[-1]), graph.nnz // 2
    root = math.sqrt(ratio)
    n_rounds = max(1, math.floor(1 / root + 1e-9))
    power = ((1 - root) / (1 + root)) ** n_rounds
    kappa = math.sqrt(quadratic.condition_number)
    step_size = quadratic.mu * (1 + power**2) / (1 + power) ** 2
    momentum = ((1 + power) * kappa - 1 + power) / ((1 + power) * kappa + 1 - power)
    contraction = np.eye(len(matrix)) - 2 / ((1 + ratio) * values[-1]) * matrix

    def gossip(points: np.ndarray) -> np.ndarray:
        """(1 - T_K(c₂(I - c₃ L)) / T_K(c₂)) of the points."""
        previous, current = points, contraction @ points
        if n_rounds == 1:  # T_1 is linear: its c₂, which is infinite on a complete graph, cancels
            return points - current
        c_2 = (1 + ratio) / (1 - ratio)
        a_previous, a_current, current = 1.0, c_2, c_2 * current
        for _ in range(1, n_rounds):
            a_previous, a_current = a_current, 2 * c_2 * a_current - a_previous
            previous, current = current, 2 * c_2 * (contraction @ current) - previous
        return points - current / a_current

    def steps() -> Iterator[Step]:
        x = y = np.zeros((quadratic.n_workers, quadratic.n_features))
        for _ in range(n_steps):
            new_y = x - step_size * gossip(quadratic.conjugate_gradients(x))
            x, y = (1 + momentum) * new_y - momentum * y, new_y
            yield quadratic.conjugate_gradients(x), len(x), n_rounds * n_edges

    return _run(problem, quadratic.conjugate_gradients(np.zeros_like(quadratic.arrays.linear)), steps(), tol)


def continuized(
    problem: DecentralisedProblem, *, n_steps: int = 1_000_000, tol: float = 1e-8, random_state: Any = None
) -> OptimizeResult:
    """Continuized accelerated gossip on the dual [3]_: at each event one random edge, and a dual gradient at either end.

    The network's clock has rate one; the edge is uniform. The history has a record every n events. (Equation 63 of [3]_ has its
    factor 2 in the denominator; it belongs in the numerator.)

    Raises
    ------
    ValueError
        If the objective is not quadratic, or the network changes.
    """
    quadratic = _quadratic(problem.objective, "continuized")
    _one_network(problem, "continuized")
    rates = uniform_rates(problem.graphs[0])
    rates = rates.scaled(1 / rates.total)
    gap, resistance = 1 / rates.chi_1, 2 * rates.chi_2
    mu, smoothness = quadratic.mu, quadratic.smoothness
    eta = math.sqrt(gap / resistance * mu / smoothness)
    gamma, gamma_tilde = mu / (2 * resistance), math.sqrt(smoothness * mu / (2 * gap * resistance))
    generator = numpy_generator(random_state)

    def steps() -> Iterator[Step]:
        n, d = quadratic.n_workers, quadratic.n_features
        dual, clock, time = np.zeros((n, 2, d)), np.zeros(n), 0.0
        for _ in range(math.ceil(n_steps / n)):
            times = time + np.cumsum(generator.exponential(size=n))
            chosen = generator.integers(len(rates.edges), size=n)
            time = float(times[-1])
            _play_dual(
                dual,
                clock,
                times,
                rates.edges[chosen],
                rates.resistances[chosen],
                quadratic.inverses,
                quadratic.arrays.linear,
                eta,
                gamma,
                gamma_tilde,
            )
            yield quadratic.conjugate_gradients(dual[:, 0]), 2 * n, n

    return _run(problem, quadratic.conjugate_gradients(np.zeros_like(quadratic.arrays.linear)), steps(), tol)


@numba.njit(cache=True)
@typing.no_type_check
def _play_dual(dual, clock, times, edges, resistances, inverses, linear, eta, gamma, gamma_tilde):
    for k in range(times.size):
        for i in edges[k]:
            centre = 0.5 * (dual[i, 0] + dual[i, 1])
            half = 0.5 * np.exp(-2 * eta * (times[k] - clock[i])) * (dual[i, 1] - dual[i, 0])
            dual[i, 0], dual[i, 1] = centre - half, centre + half
            clock[i] = times[k]
        i, j = edges[k]
        difference = np.dot(inverses[i], dual[i, 0] + linear[i]) - np.dot(inverses[j], dual[j, 0] + linear[j])
        dual[i, 0] -= gamma * resistances[k] * difference
        dual[j, 0] += gamma * resistances[k] * difference
        dual[i, 1] -= gamma_tilde * difference
        dual[j, 1] += gamma_tilde * difference


def gradient_tracking(
    problem: DecentralisedProblem,
    x0: Any = None,
    *,
    step_size: float | None = None,
    n_steps: int = 100_000,
    tol: float = 1e-8,
) -> OptimizeResult:
    """Gradient tracking [4]_ with Metropolis weights: iterates and a running estimate of the mean gradient are both gossiped.

    Parameters
    ----------
    step_size : float, optional
        None takes 1 / (2 L).
    """
    start, mixing, n_edges = _start(problem, x0), *_metropolis(problem, "gradient_tracking")
    size = _step_size(problem, step_size, 0.5)

    def steps() -> Iterator[Step]:
        x, gradient = start, problem.objective.gradients(start)
        tracked = gradient
        for _ in range(n_steps):
            x = mixing @ (x - size * tracked)
            new = problem.objective.gradients(x)
            tracked, gradient = mixing @ (tracked + new - gradient), new
            yield x, len(x), 2 * n_edges

    return _run(problem, start, steps(), tol)


def extra(
    problem: DecentralisedProblem,
    x0: Any = None,
    *,
    step_size: float | None = None,
    n_steps: int = 100_000,
    tol: float = 1e-8,
) -> OptimizeResult:
    """EXTRA [5]_ with Metropolis weights.

    Parameters
    ----------
    step_size : float, optional
        None takes 1 / L.
    """
    start, mixing, n_edges = _start(problem, x0), *_metropolis(problem, "extra")
    size = _step_size(problem, step_size, 1.0)

    def steps() -> Iterator[Step]:
        gradient = problem.objective.gradients(start)
        previous, x = start, mixing @ start - size * gradient
        yield x, len(x), n_edges
        # W x of the last step is still there: one exchange a step.
        mixed_previous = mixing @ previous
        for _ in range(n_steps - 1):
            new, mixed = problem.objective.gradients(x), mixing @ x
            x_next = x + mixed - 0.5 * (previous + mixed_previous) - size * (new - gradient)
            previous, mixed_previous, x, gradient = x, mixed, x_next, new
            yield x, len(x), n_edges

    return _run(problem, start, steps(), tol)


def nids(
    problem: DecentralisedProblem,
    x0: Any = None,
    *,
    step_size: float | None = None,
    n_steps: int = 100_000,
    tol: float = 1e-8,
) -> OptimizeResult:
    """NIDS [6]_ with Metropolis weights; its step size does not depend on the network.

    Parameters
    ----------
    step_size : float, optional
        None takes 1 / L.
    """
    start, mixing, n_edges = _start(problem, x0), *_metropolis(problem, "nids")
    size = _step_size(problem, step_size, 1.0)
    half = 0.5 * (np.eye(len(mixing)) + mixing)

    def steps() -> Iterator[Step]:
        gradient = problem.objective.gradients(start)
        previous, x = start, start - size * gradient
        yield x, len(x), 0
        for _ in range(n_steps - 1):
            new = problem.objective.gradients(x)
            previous, x, gradient = x, half @ (2 * x - previous - size * (new - gradient)), new
            yield x, len(x), n_edges

    return _run(problem, start, steps(), tol)


# --- what they share -------------------------------------------------------------------------------------------------


def _run(
    problem: DecentralisedProblem, start: Float[np.ndarray, "n d"], steps: Iterator[Step], tol: float
) -> OptimizeResult:
    """Take steps until the tolerance, and keep the account."""
    check_number(tol, "tol", above=0, below=1)
    gap_of: Callable[[np.ndarray], float] = distance_to_optimum(problem.objective)
    records = [(0.0, gap_of(start), 0.0, 0.0)]
    points = start
    for points, gradients, communications in steps:
        time, _, exchanged, computed = records[-1]
        records.append((time + 1, gap_of(points), exchanged + communications, computed + gradients))
        gap = records[-1][1]
        if gap <= tol * records[0][1] or not gap < 1e12 * (records[0][1] + 1):
            break
    history = History.from_table(np.array(records))
    return OptimizeResult(
        x=points.mean(axis=0),
        iterates=points,
        success=bool(history.gap[-1] <= tol * history.gap[0]),
        nit=len(records) - 1,
        njev=int(history.gradients[-1]),
        n_communications=int(history.communications[-1]),
        gap=float(history.gap[-1]),
        history=history,
    )


def _start(problem: DecentralisedProblem, x0: Any) -> Float[np.ndarray, "n d"]:
    n, d = problem.n_workers, problem.objective.n_features
    if x0 is None:
        return np.zeros((n, d))
    start = check_array(x0, "x0", ndim=(1, 2))
    if start.shape not in ((d,), (n, d)):
        raise ValueError(f"x0 must have shape ({d},) or ({n}, {d}), got {start.shape}")
    return np.array(np.broadcast_to(start, (n, d)))


def _step_size(problem: DecentralisedProblem, step_size: float | None, default: float) -> float:
    if step_size is None:
        return default / problem.objective.smoothness
    return check_number(step_size, "step_size", above=0)


def _one_network(problem: DecentralisedProblem, name: str) -> Any:
    if len(problem.graphs) > 1:
        raise ValueError(f"graph must be one network for {name}, got {len(problem.graphs)}")
    return problem.graphs[0].adjacency


def _metropolis(problem: DecentralisedProblem, name: str) -> tuple[Float[np.ndarray, "n n"], int]:
    adjacency = _one_network(problem, name)
    return metropolis_weights(problem.graphs[0]), adjacency.nnz // 2


def _quadratic(objective: Objective, name: str) -> Quadratic:
    """The objective as quadratics, whose conjugates have closed forms."""
    if isinstance(objective, Quadratic):
        return objective
    if isinstance(objective, LeastSquares):
        return objective.quadratic
    raise ValueError(
        f"{name} needs gradients of conjugates, so a Quadratic or LeastSquares objective, got {type(objective).__name__}"
    )

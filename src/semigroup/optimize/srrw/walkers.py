r"""Who visits the agents in which order: the self-repellent walk, compiled, and what it is compared with.

A walker moves a number of tokens at once and gives the nodes that they visit. All randomness is a function of (seed, token,
step): the same visits come out whatever the number of threads and wherever a run was interrupted.

The visit measure of the walk is never normalised. With :math:`\log L_n = \sum_{k \le n} \log(1 - \gamma_k)`, the decay of
all old visits, :math:`y = x / L` changes at the visited node alone, by :math:`\gamma_n / L_n`, and the kernel does not
depend on the scale of x. What is kept is :math:`r_j = \log(y_j / \mu_j)`.
"""

from __future__ import annotations

import itertools
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable

import numba
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int, Int32
from joblib import Parallel, delayed, effective_n_jobs
from scipy.special import softmax

from semigroup.operators import random_walks, transition_matrix
from semigroup.operators.sampling import choose_edge, running_sums, stream_of, uniform_of
from semigroup.optimize.srrw.chains import Chain

__all__ = [
    "IndependentDraws",
    "NonBacktrackingWalkers",
    "SelfRepellentWalkers",
    "Shuffles",
    "Walkers",
    "count_visits",
    "in_parts",
    "repellence",
    "self_repellent_kernel",
]


STEPS_WORTH_A_THREAD = 50_000


def self_repellent_kernel(
    transitions: sp.csr_array, law: Float[np.ndarray, " n"], visits: Float[np.ndarray, " n"], alpha: float
) -> sp.csr_array:
    r"""The transition matrix :math:`K_{ij}[x] \propto P_{ij} (x_j / \mu_j)^{-\alpha}` of the next step.

    Its stationary law is :math:`\pi_i \propto \mu_i (x_i/\mu_i)^{-\alpha} \sum_j P_{ij} (x_j/\mu_j)^{-\alpha}` for
    reversible P.

    Parameters
    ----------
    transitions : csr_array of shape (n, n)
        P.
    law : array of shape (n,)
        μ > 0; its scale does not matter.
    visits : array of shape (n,)
        x > 0; its scale does not matter.
    alpha : float
        α >= 0.

    Examples
    --------
    >>> P = sp.csr_array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
    >>> self_repellent_kernel(P, np.ones(3), np.array([1.0, 2.0, 4.0]), 1.0).toarray().round(3)
    array([[0.   , 0.667, 0.333],
           [0.8  , 0.   , 0.2  ],
           [0.667, 0.333, 0.   ]])
    """
    matrix = sp.csr_array(transitions, copy=True)
    logits = np.log(matrix.data) - alpha * np.log(visits / law)[matrix.indices]
    starts = matrix.indptr[:-1]
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    weights = np.exp(logits - np.maximum.reduceat(logits, starts)[rows])
    matrix.data = weights / np.add.reduceat(weights, starts)[rows]
    return matrix


def repellence(schedule: str, alpha: float, growth: float, steps: Int[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    r"""α before each of some steps, the first of which is number 0.

    ``constant``; ``log``: :math:`\min(\alpha, c \log(n + 1))`; ``steps``: the same with log₂ rounded down, so that it rises
    only when the number of steps has doubled.

    Examples
    --------
    >>> repellence("steps", 2.0, 1.0, np.array([0, 1, 2, 3, 100])).round(2)
    array([0.  , 0.69, 0.69, 1.39, 2.  ])
    """
    if schedule == "constant":
        return np.full(len(steps), alpha)
    exponent = np.log2(steps + 1.0)
    if schedule == "steps":
        exponent = np.floor(exponent)
    return np.minimum(alpha, growth * np.log(2) * exponent)


class Walkers(ABC):
    """Tokens that visit nodes.

    Attributes
    ----------
    law : array of shape (n,)
        Share of the visits that each node gets in the long run.
    n_steps : int
        Steps made so far.
    """

    law: Float[np.ndarray, " n"]
    n_steps: int = 0

    @abstractmethod
    def advance(self, n_steps: int, pool: Parallel) -> Int32[np.ndarray, "tokens steps"]:
        """Nodes that each token visits in its next steps."""

    def get_state(self) -> dict[str, np.ndarray]:
        """What changes along the way, as arrays."""
        return {"n_steps": np.array(self.n_steps)}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over what `get_state` gave."""
        self.n_steps = int(state["n_steps"])


class SelfRepellentWalkers(Walkers):
    """Self-repellent walks; with α = 0, walks of the base chain.

    Parameters
    ----------
    chain : Chain
    nodes : int array of shape (tokens,)
        Where the tokens start.
    alpha, schedule, growth : float, str, float
        See `repellence`.
    memory_exponent : float
        a of :math:`\\gamma_n = (n + 1)^{-a}`.
    shared : bool
        Whether all tokens are repelled by the visits of all, instead of by their own.
    visits : array of shape (n,)
        x_0 > 0.
    seed : int
    """

    def __init__(
        self,
        chain: Chain,
        nodes: Int[np.ndarray, " tokens"],
        *,
        alpha: float,
        schedule: str,
        growth: float,
        memory_exponent: float,
        shared: bool,
        visits: Float[np.ndarray, " n"],
        seed: int,
    ) -> None:
        self.law, self.chain, self.seed = chain.law, chain, np.uint64(seed)
        self.alpha, self.schedule, self.growth, self.memory_exponent = alpha, schedule, growth, memory_exponent
        # Tokens that share their visits make one group, a row of these arrays.
        self.nodes = nodes.astype(np.int64).reshape((1, -1) if shared else (-1, 1))
        n_groups = len(self.nodes)
        self.log_ratio = np.tile(np.log(visits / visits.sum() / chain.law), (n_groups, 1))
        self.log_decay = 0.0
        matrix = chain.transitions
        self._edges = (matrix.indptr, matrix.indices, np.log(matrix.data), running_sums(matrix.indptr, matrix.data))

    @property
    def visits(self) -> Float[np.ndarray, "groups n"]:
        """The visit measures x."""
        return softmax(self.log_ratio + np.log(self.law), axis=1)

    def advance(self, n_steps: int, pool: Parallel) -> Int32[np.ndarray, "tokens steps"]:
        """Nodes that each token visits in its next steps."""
        n_groups, size = self.nodes.shape
        steps = self.n_steps + np.arange(n_steps)
        gamma = (steps + 2.0) ** -self.memory_exponent
        decay = self.log_decay + np.cumsum(np.log1p(-gamma))
        pushes = np.log(gamma / size) - decay
        alphas = repellence(self.schedule, self.alpha, self.growth, steps)
        visited = np.empty((n_groups, size, n_steps), dtype=np.int32)
        log_law = np.log(self.law)

        def go(part: slice) -> None:
            _walk(
                *(self.nodes[part], self.log_ratio[part], visited[part], part.start, self.n_steps),
                *(pushes, alphas, log_law, self.seed, *self._edges),
            )

        in_parts(go, n_groups, n_steps, pool)
        self.n_steps += n_steps
        self.log_decay = float(decay[-1])
        return visited.reshape(n_groups * size, n_steps)

    def get_state(self) -> dict[str, np.ndarray]:
        """What changes along the way, as arrays."""
        changing = {"nodes": self.nodes, "log_ratio": self.log_ratio}
        return super().get_state() | changing | {"log_decay": np.array(self.log_decay)}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over what `get_state` gave."""
        super().set_state(state)
        self.nodes, self.log_ratio = state["nodes"], state["log_ratio"]
        self.log_decay = float(state["log_decay"])


def in_parts(go: Callable[[slice], None], n: int, n_steps: int, pool: Parallel) -> None:
    """Call `go` on 0..n-1, cut into as many pieces as the pool has workers, but none too small to be worth a thread."""
    n_parts = min(n, effective_n_jobs(pool.n_jobs), n * n_steps // STEPS_WORTH_A_THREAD)
    if n_parts < 2:
        go(slice(0, n))
        return
    cuts = np.linspace(0, n, n_parts + 1).astype(int).tolist()
    pool(delayed(go)(slice(a, b)) for a, b in itertools.pairwise(cuts))


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _walk(
    nodes,
    log_ratio,
    visited,
    first_group,
    first_step,
    pushes,
    alphas,
    log_law,
    seed,
    indptr,
    indices,
    log_probability,
    cumulative,
):
    """Move every group of tokens; all arrays but those of the schedule and of the chain are changed in place."""
    n_groups, size = nodes.shape
    widest = 0
    for node in range(len(indptr) - 1):
        widest = max(widest, indptr[node + 1] - indptr[node])
    weights = np.empty(widest)
    streams = np.empty(size, dtype=np.uint64)
    for group in range(n_groups):
        ratio = log_ratio[group]
        for k in range(size):
            streams[k] = stream_of(seed, 0, (first_group + group) * size + k)
        for step in range(len(pushes)):
            alpha = alphas[step]
            for k in range(size):
                place = uniform_of(streams[k], first_step + step)
                low, high = indptr[nodes[group, k]], indptr[nodes[group, k] + 1]
                if alpha == 0.0:
                    chosen = choose_edge(place, low, high, cumulative)
                else:
                    chosen = _choose(place, low, high, alpha, ratio, indices, log_probability, weights)
                nodes[group, k] = indices[chosen]
                visited[group, k, step] = indices[chosen]
            for k in range(size):
                node = nodes[group, k]
                old, new = ratio[node], pushes[step] - log_law[node]
                if old > new:
                    ratio[node] = old + np.log1p(np.exp(new - old))
                else:
                    ratio[node] = new + np.log1p(np.exp(old - new))


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _choose(place, low, high, alpha, ratio, indices, log_probability, weights):
    """An edge of a row, with probability in proportion to P (x/μ)^-α, computed from logarithms."""
    top = -np.inf
    for edge in range(low, high):
        logit = log_probability[edge] - alpha * ratio[indices[edge]]
        weights[edge - low] = logit
        top = max(top, logit)
    total = 0.0
    for k in range(high - low):
        total += np.exp(weights[k] - top)
        weights[k] = total
    goal = place * total
    for k in range(high - low):
        if weights[k] > goal:
            return low + k
    return high - 1


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def count_visits(visited, counts):
    """Add the visits of each token, (tokens, steps), to its row of (tokens, n)."""
    for token in range(len(visited)):
        for step in range(visited.shape[1]):
            counts[token, visited[token, step]] += 1


class IndependentDraws(Walkers):
    """Nodes drawn independently from the law of the chain: what a server could do that reaches every agent at once."""

    def __init__(self, chain: Chain, n_tokens: int, seed: int) -> None:
        self.law, self.n_tokens, self.seed = chain.law, n_tokens, np.uint64(seed)
        self._cumulative = running_sums(np.array([0, chain.n_nodes]), chain.law)

    def advance(self, n_steps: int, pool: Parallel) -> Int32[np.ndarray, "tokens steps"]:
        """Nodes that each token visits in its next steps."""
        visited = _draw(self.n_tokens, n_steps, self.n_steps, self.seed, self._cumulative)
        self.n_steps += n_steps
        return visited


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _draw(n_tokens, n_steps, first_step, seed, cumulative):
    visited = np.empty((n_tokens, n_steps), dtype=np.int32)
    for token in range(n_tokens):
        stream = stream_of(seed, 1, token)
        for step in range(n_steps):
            visited[token, step] = choose_edge(uniform_of(stream, first_step + step), 0, len(cumulative), cumulative)
    return visited


class Shuffles(Walkers):
    """Every node once in each pass, in an order drawn anew for every pass."""

    def __init__(self, n_nodes: int, n_tokens: int, seed: int) -> None:
        self.law, self.n_tokens, self.seed = np.full(n_nodes, 1 / n_nodes), n_tokens, seed

    def advance(self, n_steps: int, pool: Parallel) -> Int32[np.ndarray, "tokens steps"]:
        """Nodes that each token visits in its next steps."""
        n = len(self.law)
        first, last = self.n_steps // n, (self.n_steps + n_steps - 1) // n
        passes = np.empty((self.n_tokens, last - first + 1, n), dtype=np.int32)
        for epoch in range(first, last + 1):
            generator = np.random.default_rng([self.seed, epoch])
            passes[:, epoch - first] = generator.permuted(
                np.tile(np.arange(n, dtype=np.int32), (self.n_tokens, 1)), axis=1
            )
        begin = self.n_steps - first * n
        self.n_steps += n_steps
        return passes.reshape(self.n_tokens, -1)[:, begin : begin + n_steps]


class NonBacktrackingWalkers(Walkers):
    """The simple walk that does not undo its last step unless it must; its law is in proportion to the degree.

    The whole walk is made at once, four bytes a step.
    """

    def __init__(
        self, adjacency: sp.csr_array, nodes: Int[np.ndarray, " tokens"], n_steps: int, random_state: int
    ) -> None:
        pattern = sp.csr_array((adjacency != 0).astype(np.float64))
        degree = np.diff(pattern.indptr)
        self.law = degree / degree.sum()
        walk = random_walks(transition_matrix(pattern), nodes, n_steps, backtracking=False, random_state=random_state)
        self._nodes = walk[:, 1:]

    def advance(self, n_steps: int, pool: Parallel) -> Int32[np.ndarray, "tokens steps"]:
        """Nodes that each token visits in its next steps."""
        self.n_steps += n_steps
        return self._nodes[:, self.n_steps - n_steps : self.n_steps]

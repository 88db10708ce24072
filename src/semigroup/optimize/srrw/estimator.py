"""The estimator that users meet."""

from __future__ import annotations

import os
import time
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, Int32
from joblib import Parallel
from rich.progress import Progress
from scipy.optimize import OptimizeResult
from sklearn.exceptions import ConvergenceWarning

from semigroup.base import Estimator, check_array, check_choice, check_integer, check_number, numpy_generator, seed_from
from semigroup.data.decentralised import DecentralisedProblem
from semigroup.operators import Graph
from semigroup.operators.topology import network
from semigroup.optimize.history import History
from semigroup.optimize.srrw.chains import Chain, base_chain
from semigroup.optimize.srrw.theory import asymptotic_covariance, iid_covariance
from semigroup.optimize.srrw.updates import ApproximationProblem, Update, gradient_update
from semigroup.optimize.srrw.walkers import (
    IndependentDraws,
    NonBacktrackingWalkers,
    SelfRepellentWalkers,
    Shuffles,
    Walkers,
    count_visits,
)
from semigroup.training import interrupt_between_steps

__all__ = ["SRRW", "Walks"]

BLOCK = 16_384  # steps between two looks at the clock
VISITS_AT_A_TIME = 2**24  # of all tokens, four bytes each
CHECKPOINT = "srrw.npz"
DIVERGED = 1e100  # an iterate that large is no longer on its way anywhere; its square is still a number
SECONDS_BETWEEN_CHECKPOINTS = 10.0


@dataclass(frozen=True)
class Walks:
    """Walks, and what they have seen.

    Attributes
    ----------
    nodes : int32 array of shape (tokens, steps + 1)
        Nodes visited, the start first.
    visits : array of shape (groups, n)
        The visit measure x of each token, or of all where they cooperate.
    frequencies : array of shape (groups, n)
        Plain shares of the steps.
    law : array of shape (n,)
        What both tend to.
    """

    nodes: Int32[np.ndarray, "tokens nodes"]
    visits: Float[np.ndarray, "groups n"]
    frequencies: Float[np.ndarray, "groups n"]
    law: Float[np.ndarray, " n"]


class SRRW(Estimator):
    r"""Stochastic approximation with a token that walks a network and repels itself from where it has been.

    A token carries the iterate θ over a network. The agent that it meets adds :math:`\beta_n H(\theta, i)`, such as the
    gradient of its own loss, and passes it on to neighbour j with probability in proportion to
    :math:`P_{ij} (x_j/\mu_j)^{-\alpha}`, where x is the share of visits so far, P a base chain and μ its stationary law. The
    covariance of the iterates falls like 1/α².

    Parameters
    ----------
    alpha : float
        Repellence α >= 0; 0 is the base chain. A large one mixes more slowly at first.
    alpha_schedule : {"constant", "log", "steps"}
        α at once; or rising, :math:`\min(\alpha, c \log(n+1))`, smoothly or whenever the number of steps has doubled.
    alpha_growth : float
        c.
    chain : {"metropolis", "simple"}
        Base chain: Metropolis-Hastings with the uniform law, or that given, or the simple walk, with a law in proportion to the
        degree.
    laziness : float
        Probability with which the base chain rests.
    average : {"uniform", "stationary"}
        Whose mean update must vanish: that over all agents alike, by importance weights 1/(nμ) where the chain's law is
        another, or that under the chain's law.
    sampler : {"srrw", "iid", "shuffle", "non-backtracking"}
        Who visits the agents: the walk, or what it is compared with: independent draws from the chain's law, passes in
        random order, the simple walk that does not turn back.
    memory_exponent : float
        a in (1/2, 1]: the visits move by :math:`(n+1)^{-a}`. With 1 they are plain frequencies, in which the initial
        measure counts as one visit; below 1 old visits are forgotten. Smaller than `step_exponent` is best.
    step_exponent : float
        b in (1/2, 1]: the iterate moves by :math:`s (n+1)^{-b}`.
    step_size : float
        s.
    friction : float, optional
        r > 0 for the heavy ball :math:`\theta \leftarrow \theta - \beta m`, :math:`m \leftarrow m - \beta r (m + H)`; None
        for plain steps.
    n_steps : int
        Steps of each token.
    n_tokens : int
        Tokens that walk at the same time, each with its own iterate.
    cooperate : bool
        Whether all tokens are repelled by the visits of all of them, instead of each by its own. They then run on one thread.
    n_records : int
        Records in the history, equally spaced in the logarithm of the steps.
    n_jobs : int, optional
        Threads; None means 1 or what `joblib.parallel_config` says.
    random_state : int, optional

    Attributes
    ----------
    x_ : array of shape (d,)
        Mean of the tokens' iterates.
    iterates_ : array of shape (tokens, d)
    visits_ : array of shape (groups, n)
        Visit measures; those of samplers without memory are shares of the steps.
    law_ : array of shape (n,)
        The law that the sampler tends to.
    root_ : array of shape (d,) or None
        The exact solution, where it is known.
    errors_ : array of shape (records, tokens)
        :math:`\|\theta - \theta^*\|^2` of each token at each record.
    history_ : array of shape (records, 4)
        Steps, mean of the errors, moves from agent to agent and updates; as an object in `history`.

    References
    ----------
    J. Hu, V. Doshi, D. Y. Eun, "Accelerating Distributed Stochastic Optimization via Self-Repellent Random Walks", ICLR 2024,
    arXiv:2401.09665.

    Examples
    --------
    >>> from semigroup.data.decentralised import random_logistic
    >>> from semigroup.operators.topology import cycle
    >>> problem = random_logistic(cycle(20), n_samples=1, random_state=0)
    >>> errors = {}
    >>> for alpha in (0.0, 10.0):
    ...     result = SRRW(alpha=alpha, n_steps=20_000, n_tokens=10, random_state=0).minimize(problem)
    ...     errors[alpha] = result.gap
    >>> errors[10.0] < 0.2 * errors[0.0]
    True
    """

    def __init__(
        self,
        *,
        alpha: float = 10.0,
        alpha_schedule: Literal["constant", "log", "steps"] = "constant",
        alpha_growth: float = 1.0,
        chain: Literal["metropolis", "simple"] = "metropolis",
        laziness: float = 0.0,
        average: Literal["uniform", "stationary"] = "uniform",
        sampler: Literal["srrw", "iid", "shuffle", "non-backtracking"] = "srrw",
        memory_exponent: float = 0.8,
        step_exponent: float = 0.9,
        step_size: float = 1.0,
        friction: float | None = None,
        n_steps: int = 100_000,
        n_tokens: int = 1,
        cooperate: bool = False,
        n_records: int = 60,
        n_jobs: int | None = None,
        random_state: int | None = None,
    ) -> None:
        self.alpha = alpha
        self.alpha_schedule = alpha_schedule
        self.alpha_growth = alpha_growth
        self.chain = chain
        self.laziness = laziness
        self.average = average
        self.sampler = sampler
        self.memory_exponent = memory_exponent
        self.step_exponent = step_exponent
        self.step_size = step_size
        self.friction = friction
        self.n_steps = n_steps
        self.n_tokens = n_tokens
        self.cooperate = cooperate
        self.n_records = n_records
        self.n_jobs = n_jobs
        self.random_state = random_state

    # --- optimisation ----------------------------------------------------------------------------------------------

    def minimize(
        self,
        problem: DecentralisedProblem | ApproximationProblem,
        x0: Any = None,
        *,
        target: Any = None,
        transitions: Any = None,
        starts: Any = None,
        visits: Any = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        resume: bool = False,
        progress: bool = False,
    ) -> OptimizeResult:
        r"""Minimise a sum of functions, or find the root of a mean update.

        Parameters
        ----------
        problem : DecentralisedProblem or ApproximationProblem
            Functions of the agents, whose negative gradients are the updates; or updates of any kind.
        x0 : array of shape (d,) or (tokens, d), optional
            Where all tokens' iterates start, or each; zero by default.
        target : array of shape (n,), optional
            Stationary law of the base chain, for `chain` "metropolis".
        transitions : (n, n) matrix, optional
            Base chain of one's own, in place of `chain`.
        starts : nodes of shape (tokens,), optional
            Where the tokens start, by name; drawn uniformly by default.
        visits : array of shape (n,), optional
            Initial visit measure, positive; the chain's law by default.
        checkpoint_dir : path, optional
            Where the state is kept, every ten seconds and on Ctrl-C.
        resume : bool
            Go on from the state in `checkpoint_dir`, if there is one, as if the run had not been stopped.
        progress : bool
            Show a progress bar.

        Returns
        -------
        OptimizeResult
            With ``x`` (mean over tokens), ``iterates``, ``errors`` (squared, per record and token), ``root`` (θ*, or None),
            ``gap`` (mean squared error at the end, NaN if θ* is not known), ``visits``, ``law``, ``success``, ``status`` (0
            done, 2 diverged), ``message``, ``nit`` (steps of a token), ``njev`` (updates), ``seconds``, and ``history``
            (`History`: steps, mean squared error, moves, updates).

        Raises
        ------
        TypeError, ValueError
            If an argument cannot be used; names it.

        Warns
        -----
        NotReversible
            If `transitions` is not reversible.
        ConvergenceWarning
            If the run diverged.
        """
        self._check()
        if resume and checkpoint_dir is None:
            raise ValueError("resume needs checkpoint_dir, the folder that holds the state")
        folder = None if checkpoint_dir is None else Path(checkpoint_dir)
        state = _saved(folder) if resume and folder is not None else None
        graph, update = _parts(problem)
        base = self._base(graph, target, transitions)
        # A run without random_state goes on with the seed that it drew.
        seed = seed_from(self.random_state) if state is None else int(state["seed"])
        walkers, nodes = self._walkers(graph, base, starts, visits, np.random.default_rng(seed))
        wanted, gains = self._weights(base, walkers.law)
        root = update.root(wanted)
        theta = np.zeros((self.n_tokens, update.n_features))
        if x0 is not None:
            given = check_array(x0, "x0", ndim=(1, 2))
            if given.shape not in (theta.shape[1:], theta.shape):
                raise ValueError(f"x0 must have shape {theta.shape[1:]} or {theta.shape}, got {given.shape}")
            theta[:] = given
        run = _Run(
            walkers=walkers,
            update=update,
            gains=gains,
            root=root,
            theta=theta,
            momentum=None if self.friction is None else np.zeros_like(theta),
            nodes=nodes,
            folder=folder,
            seed=seed,
        )
        if state is not None:
            run.restore(state)
        began = time.perf_counter()
        with Parallel(n_jobs=1 if self.cooperate else self.n_jobs, require="sharedmem") as pool:
            diverged = run.play(self, pool, progress)
        result = run.result(diverged, time.perf_counter() - began)
        if diverged:
            warnings.warn(result.message, ConvergenceWarning, stacklevel=2)
        self.x_, self.iterates_, self.visits_ = result.x, result.iterates, result.visits
        self.law_, self.root_, self.errors_, self.history_ = walkers.law, root, result.errors, result.history.table
        return result

    @property
    def history(self) -> History:
        """Steps, mean squared error, moves and updates at each record."""
        return History.from_table(self.history_)

    def predicted_covariance(
        self,
        problem: DecentralisedProblem | ApproximationProblem,
        *,
        target: Any = None,
        transitions: Any = None,
    ) -> Float[np.ndarray, "d d"]:
        r"""Covariance that :math:`\theta_n - \theta^*` tends to after division by the root of :math:`(n+1)^{-b}`, for each token.

        Of the samplers "srrw", with the final α, and "iid". The iterates approach it slowly where a and b are close.

        Raises
        ------
        ValueError
            If there is no such theorem: for another sampler, for tokens that cooperate, for a chain that is not reversible, or
            where steps are too small for b = 1.
        """
        self._check()
        if self.sampler not in ("srrw", "iid") or self.cooperate:
            raise ValueError(
                "sampler must be 'srrw' or 'iid', with tokens on their own: no covariance is known for others"
            )
        graph, update = _parts(problem)
        base = self._base(graph, target, transitions)
        wanted, gains = self._weights(base, base.law)
        root = update.root(wanted)
        if root is None:
            raise ValueError("problem has no root that could be found")
        updates = self.step_size * gains[:, None] * update.values(root)
        jacobian = self.step_size * update.jacobian(root, wanted)
        d = len(root)
        if self.friction is not None:
            updates = np.hstack([np.zeros_like(updates), -self.friction * updates])
            identity = self.step_size * np.eye(d)
            jacobian = np.block([[np.zeros((d, d)), -identity], [-self.friction * jacobian, -self.friction * identity]])
        if self.sampler == "iid":
            return iid_covariance(base.law, updates, jacobian, self.step_exponent)[:d, :d]
        covariance = asymptotic_covariance(
            *(base.transitions, base.law, updates, jacobian, self.alpha), a=self.memory_exponent, b=self.step_exponent
        )
        return covariance[:d, :d]

    # --- sampling --------------------------------------------------------------------------------------------------

    def sample(
        self, graph: Any, *, target: Any = None, transitions: Any = None, starts: Any = None, visits: Any = None
    ) -> Walks:
        """Walk a graph for `n_steps`, to sample its nodes from the law of the base chain; the visits are kept, four bytes each.

        Parameters
        ----------
        graph : graph in any form that `semigroup.operators.as_graph` takes
            Connected and undirected.
        target, transitions, starts, visits
            As of `minimize`.

        Returns
        -------
        Walks

        Raises
        ------
        TypeError, ValueError
            If an argument cannot be used; names it.

        Examples
        --------
        >>> from semigroup.operators.topology import cycle
        >>> def distance(alpha):
        ...     walks = SRRW(alpha=alpha, memory_exponent=1.0, n_steps=5000, random_state=0).sample(cycle(9))
        ...     return float(0.5 * abs(walks.frequencies - walks.law).sum())
        >>> distance(10.0) < 0.3 * distance(0.0)
        True
        """
        self._check()
        net = network(graph)
        base = self._base(net, target, transitions)
        walkers, nodes = self._walkers(net, base, starts, visits, numpy_generator(self.random_state))
        with Parallel(n_jobs=1 if self.cooperate else self.n_jobs, require="sharedmem") as pool:
            visited = walkers.advance(self.n_steps, pool)
        counts = np.zeros((self.n_tokens, base.n_nodes), dtype=np.int64)
        count_visits(visited, counts)
        frequencies = counts / self.n_steps
        if self.cooperate:
            frequencies = frequencies.mean(axis=0, keepdims=True)
        measures = walkers.visits if isinstance(walkers, SelfRepellentWalkers) else frequencies
        path = np.concatenate([nodes[:, None].astype(np.int32), visited], axis=1)
        return Walks(path, measures, frequencies, walkers.law)

    # --- pieces ----------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        """Refuse hyper-parameters that cannot be used."""
        check_number(self.alpha, "alpha", minimum=0)
        check_choice(self.alpha_schedule, "alpha_schedule", ("constant", "log", "steps"))
        check_number(self.alpha_growth, "alpha_growth", above=0)
        check_choice(self.chain, "chain", ("metropolis", "simple"))
        check_number(self.laziness, "laziness", minimum=0, below=1)
        check_choice(self.average, "average", ("uniform", "stationary"))
        check_choice(self.sampler, "sampler", ("srrw", "iid", "shuffle", "non-backtracking"))
        check_number(self.memory_exponent, "memory_exponent", above=0.5, maximum=1)
        check_number(self.step_exponent, "step_exponent", above=0.5, maximum=1)
        check_number(self.step_size, "step_size", above=0)
        if self.friction is not None:
            check_number(self.friction, "friction", above=0)
        check_integer(self.n_steps, "n_steps", minimum=1)
        check_integer(self.n_tokens, "n_tokens", minimum=1)
        check_integer(self.n_records, "n_records", minimum=2)

    def _base(self, graph: Graph, target: Any, transitions: Any) -> Chain:
        return base_chain(graph, self.chain, laziness=self.laziness, target=target, transitions=transitions)

    def _walkers(
        self, graph: Graph, base: Chain, starts: Any, visits: Any, generator: np.random.Generator
    ) -> tuple[Walkers, Int[np.ndarray, " tokens"]]:
        """The tokens, and where they start."""
        nodes = generator.integers(base.n_nodes, size=self.n_tokens)
        if starts is not None:
            nodes = graph.index(starts, "starts")
            if len(nodes) != self.n_tokens:
                raise ValueError(f"starts must hold one node for each of the {self.n_tokens} tokens, got {len(nodes)}")
        seed = seed_from(generator)
        if self.sampler == "iid":
            return IndependentDraws(base, self.n_tokens, seed), nodes
        if self.sampler == "shuffle":
            return Shuffles(base.n_nodes, self.n_tokens, seed), nodes
        if self.sampler == "non-backtracking":
            return NonBacktrackingWalkers(graph.adjacency, nodes, self.n_steps, seed), nodes
        measure = base.law
        if visits is not None:
            measure = check_array(visits, "visits", ndim=1)
            if len(measure) != base.n_nodes:
                raise ValueError(
                    f"visits must hold one number for each of the {base.n_nodes} nodes, got {len(measure)}"
                )
            if not (measure > 0).all():
                raise ValueError(f"visits must be positive, got {measure.min():g} at node {int(measure.argmin())}")
        walkers = SelfRepellentWalkers(
            base,
            nodes,
            alpha=float(self.alpha),
            schedule=self.alpha_schedule,
            growth=float(self.alpha_growth),
            memory_exponent=float(self.memory_exponent),
            shared=self.cooperate,
            visits=measure,
            seed=seed,
        )
        return walkers, nodes

    def _weights(
        self, base: Chain, law: Float[np.ndarray, " n"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """The law under which the mean update must vanish, and each agent's importance weight."""
        wanted = base.law if self.average == "stationary" else np.full(base.n_nodes, 1 / base.n_nodes)
        return wanted, wanted / law


def _parts(problem: Any) -> tuple[Graph, Update]:
    """The network and the update of a problem."""
    if isinstance(problem, ApproximationProblem):
        return problem.graph, problem.update
    if isinstance(problem, DecentralisedProblem):
        if len(problem.graphs) > 1:
            raise ValueError(f"problem must have one network, got {len(problem.graphs)} through which time cycles")
        return problem.graphs[0], gradient_update(problem.objective)
    raise TypeError(f"problem must be a DecentralisedProblem or an ApproximationProblem, got {type(problem).__name__}")


def _saved(folder: Path) -> dict[str, np.ndarray] | None:
    """The state in a folder, if there is one."""
    if not (folder / CHECKPOINT).exists():
        return None
    with np.load(folder / CHECKPOINT, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


class _Run:
    """One run: what moves, and what is recorded."""

    def __init__(
        self,
        *,
        walkers: Walkers,
        update: Update,
        gains: np.ndarray,
        root: np.ndarray | None,
        theta: np.ndarray,
        momentum: np.ndarray | None,
        nodes: np.ndarray,
        folder: Path | None,
        seed: int,
    ) -> None:
        self.seed = seed
        self.walkers, self.update, self.gains, self.root = walkers, update, gains, root
        self.theta, self.momentum, self.nodes, self.folder = theta, momentum, nodes, folder
        self.seen = np.zeros((len(theta), len(gains)), dtype=np.int64)
        self.moves = 0
        self.records: list[tuple[int, int]] = []  # steps and moves
        self.errors: list[np.ndarray] = []

    def play(self, settings: SRRW, pool: Parallel, progress: bool) -> bool:
        """Walk and update to the last step; whether it diverged before."""
        goals = np.unique(np.geomspace(1, settings.n_steps, settings.n_records).round().astype(np.int64))
        if not self.records:
            self._record()
        saved = time.monotonic()
        bar = Progress() if progress else None
        with bar or nullcontext(), interrupt_between_steps() as interrupted:
            task = bar.add_task("srrw", total=settings.n_steps) if bar else None
            block = max(1, min(BLOCK, VISITS_AT_A_TIME // len(self.theta)))
            for goal in goals[goals > self.records[-1][0]].tolist():
                while self.walkers.n_steps < goal:
                    self._advance(min(block, goal - self.walkers.n_steps), settings, pool)
                    if bar is not None and task is not None:
                        bar.update(task, completed=self.walkers.n_steps)
                    if not (np.abs(self.theta) < DIVERGED).all():  # NaN is not either
                        return True
                    due = time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS
                    if interrupted() or due:
                        # A record that is due here is made when the run goes on.
                        self._save()
                        saved = time.monotonic()
                    if interrupted():
                        raise KeyboardInterrupt(f"srrw: stopped at step {self.walkers.n_steps}")
                self._record()
        self._save()
        return False

    def _advance(self, n_steps: int, settings: SRRW, pool: Parallel) -> None:
        sizes = settings.step_size * (self.walkers.n_steps + np.arange(n_steps) + 2.0) ** -settings.step_exponent
        visited = self.walkers.advance(n_steps, pool)
        before = np.concatenate([self.nodes[:, None], visited[:, :-1]], axis=1)
        self.moves += int((visited != before).sum())
        self.nodes = visited[:, -1].astype(np.int64)
        count_visits(visited, self.seen)
        friction = 0.0 if settings.friction is None else float(settings.friction)
        with np.errstate(over="ignore", invalid="ignore"):
            self.update.advance(
                self.theta,
                self.momentum,
                visited,
                gains=self.gains,
                sizes=sizes,
                friction=friction,
                pool=pool,
            )

    def _record(self) -> None:
        self.records.append((self.walkers.n_steps, self.moves))
        root = np.full(self.theta.shape[1], np.nan) if self.root is None else self.root
        self.errors.append(((self.theta - root) ** 2).sum(axis=1))

    def result(self, diverged: bool, seconds: float) -> OptimizeResult:
        """What the caller gets."""
        steps, moves = (np.array(column, dtype=np.float64) for column in zip(*self.records))
        errors = np.array(self.errors)
        n_steps = self.walkers.n_steps
        history = History(steps, errors.mean(axis=1), moves, steps * len(self.theta))
        if diverged:
            worst = np.linalg.norm(self.theta, axis=1).max()
            message = f"diverged before step {n_steps}: an iterate has norm {worst:.3g}; step_size may be too large"
        else:
            message = f"mean squared error {history.gap[-1]:.3g} after {n_steps} steps"
        walkers = self.walkers
        measures = walkers.visits if isinstance(walkers, SelfRepellentWalkers) else self.seen / max(n_steps, 1)
        return OptimizeResult(
            x=self.theta.mean(axis=0),
            iterates=self.theta,
            errors=errors,
            root=self.root,
            gap=float(history.gap[-1]),
            visits=measures,
            frequencies=self.seen / max(n_steps, 1),
            law=self.walkers.law,
            success=not diverged,
            status=2 if diverged else 0,
            message=message,
            nit=n_steps,
            njev=n_steps * len(self.theta),
            seconds=seconds,
            history=history,
        )

    def _save(self) -> None:
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {f"walkers.{name}": value for name, value in self.walkers.get_state().items()}
        momentum = {} if self.momentum is None else {"momentum": self.momentum}
        partial = self.folder / "srrw.partial.npz"
        np.savez(
            partial,
            allow_pickle=False,
            seed=np.array(self.seed),
            theta=self.theta,
            nodes=self.nodes,
            seen=self.seen,
            moves=np.array(self.moves),
            records=np.array(self.records),
            errors=np.array(self.errors),
            **momentum,
            **state,
        )
        partial.replace(self.folder / CHECKPOINT)

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Take over what was saved."""
        if state["theta"].shape != self.theta.shape or state["seen"].shape != self.seen.shape:
            raise ValueError("checkpoint_dir holds a run of another problem or another number of tokens")
        self.theta, self.nodes, self.seen, self.moves = (
            state["theta"],
            state["nodes"],
            state["seen"],
            int(state["moves"]),
        )
        self.momentum = state.get("momentum", self.momentum)
        self.records = [(int(steps), int(moves)) for steps, moves in state["records"]]
        self.errors = list(state["errors"])
        prefix = "walkers."
        self.walkers.set_state({name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)})

"""The estimator that users meet."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import OptimizeResult
from sklearn.exceptions import ConvergenceWarning

from semigroup.base import (
    Estimator,
    all_or_nothing,
    check_array,
    check_choice,
    check_device,
    check_integer,
    check_number,
    numpy_generator,
    seed_from,
)
from semigroup.data.decentralised import DecentralisedProblem
from semigroup.optimize.dadao.carriers import BatchCarrier, Carrier, EventCarrier, arrays_of
from semigroup.optimize.dadao.processes import connect, last_snapshot, run_worker
from semigroup.optimize.dadao.rule import Constants, constants
from semigroup.optimize.dadao.schedule import Events, RatesTooLow, Schedule, rates_of
from semigroup.optimize.history import History, distance_to_optimum, squared_error, squared_error_bound
from semigroup.training import interrupt_between_steps

__all__ = ["DADAO"]

# Squared norms: a state a million times its natural size is no longer on its way anywhere.
DIVERGED = 1e12
CHECKPOINT = "dadao.npz"
SECONDS_BETWEEN_CHECKPOINTS = 10.0
Record = tuple[float, float, float, float]  # time, gap, communications, gradients


class DADAO(Estimator):
    r"""Decoupled accelerated decentralised asynchronous optimisation.

    Minimises :math:`\frac1n \sum_i f_i(x)` where worker i of a network computes gradients of :math:`f_i` alone and talks to its
    neighbours. The mean squared distance to the minimiser decays at least like :math:`e^{-t \sqrt{\mu/L} / (8 \sqrt 2)}` on every
    network, with n gradients and :math:`\sqrt{2 \chi_1 \chi_2}` communications a unit of time.

    Parameters
    ----------
    rates : {"uniform", "optimal", "spectral", "weights"}
        How often each edge fires: all alike; in the proportions that need the fewest communications (needs the extra
        ``rates``); in those of the largest spectral gap (likewise); each at the lowest admissible total. Or by the graph's
        weights as they stand.
    rate_factor : float
        Multiplies all rates. Below 1 of the lowest admissible total, convergence is lost.
    mu : float, optional
        Strong convexity constant of every worker's function; None takes it from the problem.
    smoothness : float, optional
        Smoothness constant L of every worker's function; None takes it from the problem.
    batch_size : int, optional
        Rows of a stochastic gradient, drawn with replacement from the worker's own; None uses them all.
    tol : float
        Stop when the squared distance to the minimiser is this fraction of its first value.
    t_max : float, optional
        Stop at this time, rounded up to a whole record (in one unit each worker computes one gradient on average); None
        allows what the theorem needs for `tol`.
    record_every : float
        Time between records of the history.
    carrier : {"events", "batches", "processes"}
        All workers in this process, one event after the other; all workers in this process, events of different workers together
        on a torch device; one process a worker, started by torchrun (it runs until `t_max`).
    device : str, optional
        Torch device of the carrier "batches"; None takes a GPU if there is one.
    timeout : float
        Seconds after which a silent partner counts as dead, for the carrier "processes".
    random_state : int, optional
        Seed of the events, of the mini-batches and of the start.

    Attributes
    ----------
    x_ : array of shape (d,)
        Mean of the workers' iterates.
    iterates_ : array of shape (n, d)
        Each worker's iterate.
    averages_ : array of shape (n, d)
        Mean of each worker's iterate over its own events of this call; None where gradients are whole.
    state_ : array of shape (n, 6, d)
        Each worker's full state, from which `minimize` can go on.
    edges_ : int array of shape (m, 2)
    rates_ : array of shape (m,)
        Expected firings of each edge a unit of time; of several networks, one after the other.
    history_ : array of shape (k, 4)
        Time, gap, communications and gradients at each record; as an object in `history`.
    n_communications_, n_gradients_ : int
    n_events_predicted_ : float
        Events, of both kinds, in which the theorem's rate brings the error down by `tol`; without its unknown constant factor.
    converged_ : bool
    message_ : str

    References
    ----------
    A. Nabli, E. Oyallon, "DADAO: Decoupled Accelerated Decentralized Asynchronous Optimization", ICML 2023, arXiv:2208.00779,
    Algorithm 1 and Theorem 3.2.

    Examples
    --------
    >>> from semigroup.data.decentralised import random_least_squares
    >>> from semigroup.operators.topology import cycle
    >>> problem = random_least_squares(cycle(6), random_state=0)
    >>> result = DADAO(random_state=0).minimize(problem)
    >>> result.success, bool(np.allclose(result.x, problem.objective.optimum(), rtol=1e-2))
    (True, True)
    """

    def __init__(
        self,
        *,
        rates: Literal["uniform", "optimal", "spectral", "weights"] = "uniform",
        rate_factor: float = 1.0,
        mu: float | None = None,
        smoothness: float | None = None,
        batch_size: int | None = None,
        tol: float = 1e-8,
        t_max: float | None = None,
        record_every: float = 1.0,
        carrier: Literal["events", "batches", "processes"] = "events",
        device: str | None = None,
        timeout: float = 60.0,
        random_state: int | None = None,
    ) -> None:
        self.rates = rates
        self.rate_factor = rate_factor
        self.mu = mu
        self.smoothness = smoothness
        self.batch_size = batch_size
        self.tol = tol
        self.t_max = t_max
        self.record_every = record_every
        self.carrier = carrier
        self.device = device
        self.timeout = timeout
        self.random_state = random_state

    @all_or_nothing
    def minimize(
        self,
        problem: DecentralisedProblem,
        x0: Any = None,
        *,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        resume: bool = False,
        progress: bool = False,
    ) -> OptimizeResult:
        """Minimise.

        Parameters
        ----------
        problem : DecentralisedProblem
        x0 : array of shape (d,), (n, d) or (n, 6, d), optional
            Where all workers start, or where each does, or the full states of an earlier run (`state_`). None draws standard
            normal numbers for each worker.
        checkpoint_dir : path, optional
            Where the state is kept: every ten seconds and on Ctrl-C; with the carrier "processes" every ten records, by each
            worker.
        resume : bool
            Go on from the state in `checkpoint_dir`, if there is one. The events are those that the stopped run would have
            played.
        progress : bool
            Show a progress bar.

        Returns
        -------
        OptimizeResult
            With ``x`` (mean iterate), ``iterates``, ``averages``, ``state``, ``success``, ``status`` (0 reached `tol`, 1 reached
            `t_max`, 2 diverged), ``message``, ``nit`` (events), ``njev`` (gradients), ``n_communications``, ``time``, ``gap``,
            ``schedule`` (rates) and ``history`` (`History`: per record time, gap, communications, gradients).

        Raises
        ------
        TypeError, ValueError
            If an argument cannot be used; names it.
        WorkerDied
            With the carrier "processes", if a worker no longer answers or diverges; names it.

        Warns
        -----
        RatesTooLow
            If the rates violate 2 χ₁ χ₂ <= 1; names the factor that is missing.
        ConvergenceWarning
            If the run diverged.
        """
        mu, smoothness, batch_size = self._check(problem)
        if resume and checkpoint_dir is None:
            raise ValueError("resume needs checkpoint_dir, the folder that holds the state")
        generator = numpy_generator(self.random_state)
        state = _initial_state(problem, x0, generator)
        schedule = rates_of(problem, self.rates, self.rate_factor)
        missing = schedule.minimal_factor
        if not math.isfinite(missing):
            raise ValueError("graph has edges of rate zero, and those that fire do not connect it")
        if missing > 1 + 1e-6:
            warnings.warn(
                f"the rates are too low: 2 χ₁ χ₂ = {missing**2:.4g} must be <= 1; the iterates may diverge unless they "
                f"are multiplied by at least {missing:.4g}",
                RatesTooLow,
                stacklevel=3,
            )
        c = constants(mu, smoothness, schedule.chi_1)
        events_per_time = problem.n_workers + schedule.communications_per_time
        self.n_events_predicted_ = events_per_time * math.log(1 / self.tol) / c.eta
        # The theorem's factor in front of the decay is not explicit; a thousand is more than was ever met.
        limit = self.t_max if self.t_max is not None else math.log(1e3 / self.tol) / c.eta
        folder = None if checkpoint_dir is None else Path(checkpoint_dir)
        run = _Run(
            problem=problem,
            schedule=schedule,
            c=c,
            tol=self.tol,
            duration=float(self.record_every),
            n_intervals=max(1, math.ceil(limit / self.record_every - 1e-9)),
            batch_size=batch_size,
            seed=seed_from(generator),
            folder=folder,
        )
        if self.carrier == "processes":
            result = run.by_processes(state, self.timeout, resume)
        else:
            result = run.in_one_process(state, self._make_carrier, resume, progress)
        self._keep(result)
        if result.status == 2:
            warnings.warn(result.message, ConvergenceWarning, stacklevel=3)
        return result

    @property
    def history(self) -> History:
        """Time, gap, communications and gradients at each record."""
        return History.from_table(self.history_)

    def _check(self, problem: Any) -> tuple[float, float, int]:
        """Refuse what cannot be used; give μ, L and the batch size (0: whole gradients)."""
        if not isinstance(problem, DecentralisedProblem):
            raise TypeError(f"problem must be a DecentralisedProblem, got {type(problem).__name__}")
        check_choice(self.rates, "rates", ("uniform", "optimal", "spectral", "weights"))
        check_choice(self.carrier, "carrier", ("events", "batches", "processes"))
        check_number(self.rate_factor, "rate_factor", above=0)
        check_number(self.tol, "tol", above=0, below=1)
        check_number(self.record_every, "record_every", above=0)
        check_number(self.timeout, "timeout", above=0)
        if self.t_max is not None:
            check_number(self.t_max, "t_max", above=0)
        if self.device is not None:
            check_device(self.device)
        objective = problem.objective
        mu = objective.mu if self.mu is None else check_number(self.mu, "mu", above=0)
        smoothness = objective.smoothness if self.smoothness is None else self.smoothness
        smoothness = check_number(smoothness, "smoothness", minimum=mu)
        batch_size = 0 if self.batch_size is None else check_integer(self.batch_size, "batch_size", minimum=1)
        if batch_size and not hasattr(objective, "blocks"):
            raise ValueError(
                f"batch_size needs an objective with rows of data, such as LeastSquares, got {type(objective).__name__}"
            )
        if self.carrier == "batches" and arrays_of(problem, batch_size) is None:
            raise ValueError("carrier='batches' needs an objective of arrays, got gradient functions: use 'events'")
        return mu, smoothness, batch_size

    def _make_carrier(
        self, problem: DecentralisedProblem, state: np.ndarray, start: float, c: Constants, batch_size: int
    ) -> Carrier:
        if self.carrier == "events":
            return EventCarrier(problem, state, start, c, batch_size)
        return BatchCarrier(problem, state, start, c, batch_size, self.device)

    def _keep(self, result: OptimizeResult) -> None:
        schedule: Schedule = result.schedule
        self.x_, self.iterates_, self.averages_, self.state_ = result.x, result.iterates, result.averages, result.state
        self.edges_ = np.concatenate([rates.edges for rates in schedule.rates])
        self.rates_ = np.concatenate([rates.rates for rates in schedule.rates])
        self.history_ = result.history.table
        self.n_communications_, self.n_gradients_ = result.n_communications, result.njev
        self.converged_, self.message_ = result.success, result.message


def _initial_state(
    problem: DecentralisedProblem, x0: Any, generator: np.random.Generator
) -> Float[np.ndarray, "n 6 d"]:
    """The six vectors of every worker: x as wanted, the others zero."""
    n, d = problem.n_workers, problem.objective.n_features
    state = np.zeros((n, 6, d))
    if x0 is None:
        state[:, 0] = generator.standard_normal((n, d))
        return state
    start = check_array(x0, "x0", ndim=(1, 2, 3))
    if start.shape not in ((d,), (n, d), (n, 6, d)):
        raise ValueError(f"x0 must have shape ({d},), ({n}, {d}) or ({n}, 6, {d}), got {start.shape}")
    if start.ndim == 3:
        leak = np.abs(start[:, 4:].sum(axis=0)).max(initial=0.0)
        if leak > 1e-6 * (1 + np.abs(start[:, 4:]).max(initial=0.0)):
            raise ValueError(f"x0 must have z and z̃ that sum to zero over the workers, and they sum to {leak:.3g}")
        return start
    state[:, 0] = start
    return state


class _Run:
    """One run: what is played, how long, and what is recorded."""

    def __init__(
        self,
        *,
        problem: DecentralisedProblem,
        schedule: Schedule,
        c: Constants,
        tol: float,
        duration: float,
        n_intervals: int,
        batch_size: int,
        seed: int,
        folder: Path | None,
    ) -> None:
        self.problem, self.schedule, self.c, self.tol = problem, schedule, c, tol
        self.duration, self.n_intervals, self.batch_size = duration, n_intervals, batch_size
        self.seed, self.folder = seed, folder

    def in_one_process(
        self, state: np.ndarray, make_carrier: Callable[..., Carrier], resume: bool, progress: bool
    ) -> OptimizeResult:
        """Play interval after interval until the tolerance, the last interval, divergence or Ctrl-C."""
        gap_of = distance_to_optimum(self.problem.objective)
        records: list[Record] = [(0.0, gap_of(state[:, 0]), 0.0, 0.0)]
        # An iterate may become as large as the first error, or as the workers' minima are apart, without being lost.
        mean = np.tile(state[:, 0].mean(axis=0), (len(state), 1))
        scale = records[0][1] + self._natural_scale(self.problem.objective.gradients(mean))
        path = None if self.folder is None else self.folder / CHECKPOINT
        if resume and path is not None and path.exists():
            with np.load(path, allow_pickle=False) as archive:
                self._check_resumed(archive["state"])
                state, self.seed = archive["state"], int(archive["seed"])
                records = [(row[0], row[1], row[2], row[3]) for row in archive["records"].tolist()]
        first = len(records) - 1
        carrier = make_carrier(self.problem, state, first * self.duration, self.c, self.batch_size)
        status, saved = 1, time.monotonic()
        with _bar("dadao", self.n_intervals, first, progress) as show, interrupt_between_steps() as interrupted:
            for interval in range(first, self.n_intervals):
                if records[-1][1] <= self.tol * records[0][1]:
                    status = 0
                    break
                events = self.schedule.events(self.seed, interval, self.duration, self.batch_size)
                with np.errstate(over="ignore", invalid="ignore"):
                    carrier.advance(events, (interval + 1) * self.duration)
                    gap = gap_of(carrier.points())
                if not gap <= DIVERGED * scale:
                    return self._result(carrier, records, 2, gap)
                records.append(self._record(records[-1], interval, events, gap))
                show(interval + 1, gap)
                if path is not None and (interrupted() or time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS):
                    self._save(path, carrier, records)
                    saved = time.monotonic()
                if interrupted():
                    raise KeyboardInterrupt(f"dadao: stopped at time {(interval + 1) * self.duration:g}")
        if records[-1][1] <= self.tol * records[0][1]:
            status = 0
        if path is not None:
            self._save(path, carrier, records)
        return self._result(carrier, records, status, records[-1][1])

    def _check_resumed(self, state: np.ndarray) -> None:
        """Refuse the state of another problem."""
        wanted = (self.problem.n_workers, 6, self.problem.objective.n_features)
        if state.shape != wanted:
            raise ValueError(
                f"checkpoint_dir {self.folder} holds a state of shape {state.shape}, and this problem has {wanted}: "
                "resume with the problem that was stopped, or choose another folder"
            )

    def by_processes(self, state: np.ndarray, timeout: float, resume: bool) -> OptimizeResult:
        """Be one worker among others until the last interval, then share the iterates and judge them."""
        with connect(self.problem, timeout) as connection:
            rank, first = connection.rank, 0
            # All take the seed, the start and the rates of worker 0: without a random_state every process drew its own, and
            # on another machine eigenvalues differ in their last digit, which is enough for another list of events.
            self.seed = int(connection.gather(torch.tensor([self.seed]))[0])
            self.schedule = self.schedule.with_rates(connection.gather(torch.from_numpy(self.schedule.flat))[0].numpy())
            state = connection.gather(torch.from_numpy(state))[0].numpy()
            before = np.empty((0, state.shape[2]))
            start = state[:, 0].copy()
            if resume and self.folder is not None and any(self.folder.glob("worker-*.npz")):
                first, states, _ = last_snapshot(self.folder)
                self._check_resumed(states)
                state, before, start, self.seed = states, *_earlier(self.folder, rank, first)
            elif self.folder is not None:
                _remember(self.folder, rank, start, self.seed)
            objective = self.problem.objective
            # Of gradient functions each process calls its own only: the others' data need not be here.
            slope = torch.from_numpy(objective.gradient(rank, start.mean(axis=0)))
            scale = self._natural_scale(torch.stack(connection.gather(slope)).numpy())
            trail = run_worker(
                connection,
                self.problem,
                self.schedule,
                self.c,
                state[rank],
                seed=self.seed,
                first_interval=first,
                n_intervals=self.n_intervals,
                duration=self.duration,
                batch_size=self.batch_size,
                largest=DIVERGED * (scale + float((start**2).sum(axis=1).max())),
                checkpoint_dir=self.folder,
            )
            own = np.concatenate([start[rank][None], before, np.array(trail.points).reshape(-1, state.shape[2])])
            points = torch.stack(connection.gather(torch.from_numpy(own)), dim=1).numpy()
            final = torch.stack(connection.gather(torch.from_numpy(trail.state))).numpy()
            averages = torch.stack(connection.gather(torch.from_numpy(trail.average))).numpy()
            optimum = objective.optimum()
            if optimum is None:
                means = points.mean(axis=1)
                slope = torch.from_numpy(np.stack([objective.gradient(rank, mean) for mean in means]))
                slopes = torch.stack(connection.gather(slope)).mean(dim=0).numpy()
                gaps = [squared_error_bound(*pair, objective.mu) for pair in zip(points, slopes)]
            else:
                gaps = [squared_error(point, optimum) for point in points]
        records: list[Record] = [(0.0, gaps[0], 0.0, 0.0)]
        for interval, gap in enumerate(gaps[1:]):
            events = self.schedule.events(self.seed, interval, self.duration, self.batch_size)
            records.append(self._record(records[-1], interval, events, gap))
        status = 0 if gaps[-1] <= self.tol * gaps[0] else 1
        return self._result(_Finished(points[-1], final, averages), records, status, gaps[-1])

    def _record(self, last: Record, interval: int, events: Events, gap: float) -> Record:
        """The record at the end of an interval, after the one before it."""
        _, _, exchanged, computed = last
        time_ = (interval + 1) * self.duration
        return time_, gap, exchanged + events.n_communications, computed + events.n_gradients

    def _natural_scale(self, slopes: Float[np.ndarray, "n d"]) -> float:
        """How far apart the workers' minima are, squared: from their gradients at one point."""
        return float((slopes**2).sum(axis=1).mean()) / self.problem.objective.mu**2 + np.finfo(float).tiny

    def _result(self, carrier: Any, records: list[Record], status: int, gap: float) -> OptimizeResult:
        history = History.from_table(np.array(records))
        until = float(history.time[-1])
        relative = gap / records[0][1] if records[0][1] > 0 else 0.0
        message = {
            0: f"squared distance to the minimiser down to {relative:.2g} of the first at time {until:g}",
            1: f"time limit reached: at time {until:g} the squared distance is {relative:.2g} of the first",
            2: (
                f"diverged: at time {until + self.duration:g} the squared distance to the minimiser is {gap:.3g}, {relative:.2g} "
                f"of the first; {self.schedule.suspicion}"
            ),
        }[status]
        points, states = carrier.points().copy(), carrier.states()
        n_events = int(history.communications[-1] + history.gradients[-1])
        return OptimizeResult(
            x=points.mean(axis=0),
            iterates=points,
            averages=carrier.averages() if self.batch_size else None,
            state=states,
            success=status == 0,
            status=status,
            message=message,
            nit=n_events,
            njev=int(history.gradients[-1]),
            n_communications=int(history.communications[-1]),
            time=until,
            gap=gap,
            schedule=self.schedule,
            history=history,
        )

    def _save(self, path: Path, carrier: Carrier, records: list[Record]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, state=carrier.states(), records=np.array(records), seed=np.array(self.seed))
        partial.replace(path)


class _Finished:
    """What the processes gathered, in the form of a carrier that has come to its end."""

    def __init__(self, points: np.ndarray, states: np.ndarray, averages: np.ndarray) -> None:
        self._points, self._states, self._averages = points, states, averages

    def points(self) -> np.ndarray:
        return self._points

    def states(self) -> np.ndarray:
        return self._states

    def averages(self) -> np.ndarray:
        return self._averages


def _remember(folder: Path, rank: int, start: np.ndarray, seed: int) -> None:
    """Keep a new run's start and seed, in place of whatever an earlier run left."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob(f"worker-{rank}.until-*.npz"):
        file.unlink()
    np.savez(folder / f"start-{rank}.npz", start=start, seed=np.array(seed))


def _earlier(folder: Path, rank: int, until: int) -> tuple[np.ndarray, np.ndarray, int]:
    """A worker's recorded iterates up to an interval, the start of all workers and the seed."""
    with np.load(folder / f"start-{rank}.npz", allow_pickle=False) as archive:
        start, seed = archive["start"], int(archive["seed"])
    parts = [np.empty((0, start.shape[1]))]
    for file in sorted(folder.glob(f"worker-{rank}.until-*.npz")):
        if int(file.stem.rpartition("-")[2]) > until:
            file.unlink()  # this worker was ahead of the others: it plays that part again
            continue
        with np.load(file, allow_pickle=False) as archive:
            parts.append(archive["points"])
    return np.concatenate(parts), start, seed


@contextmanager
def _bar(description: str, total: int, first: int, show: bool) -> Iterator[Callable[[int, float], None]]:
    """A progress bar over intervals, or nothing."""
    if not show:
        yield lambda done, gap: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("gap {task.fields[gap]:.2e}")) as bar:
        task = bar.add_task(description, total=total, completed=first, gap=math.nan)
        yield lambda done, gap: bar.update(task, completed=done, gap=gap)

"""One process a worker: the same rule over ``torch.distributed`` (gloo), started by ``torchrun``.

Every worker derives the same event list from the shared seed and plays its own events in order. A gradient event concerns no
one else. A communication is one exchange with the partner, who waits for nothing but it: there is no barrier and no server, and
a worker may run ahead of those that it has no edge event with. A worker that dies is noticed by the first partner that waits
for it, written into the rendezvous store under its name, and so named by everyone else when they stop in turn. torchrun, which
sees the death too, tells the others to terminate before they have met the gap: they hold that back for a while and play on.

The program that ``torchrun --nproc-per-node 4 program.py`` starts builds the same problem in every process; of gradient functions
each calls its own only::

    oracles = GradientOracles(functions, n_features=10, mu=0.1, smoothness=3.0)
    result = DADAO(carrier="processes", rates="optimal", random_state=0, t_max=500).minimize(
        DecentralisedProblem(graph, oracles), checkpoint_dir="state"
    )

Every process gets the whole result. Over several machines, torchrun's ``--nnodes`` and ``--rdzv-endpoint`` apply.
"""

from __future__ import annotations

import itertools
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from semigroup.data.decentralised import DecentralisedProblem, local_gradient
from semigroup.optimize.dadao.carriers import arrays_of
from semigroup.optimize.dadao.rule import (
    Constants,
    communication_jump,
    decays,
    flow,
    gradient_jump,
    message,
)
from semigroup.optimize.dadao.schedule import Schedule

__all__ = ["Connection", "Trail", "WorkerDied", "connect", "last_snapshot", "run_worker"]

SNAPSHOT_EVERY = 10  # intervals
_CONNECTIONS = itertools.count()
LOST = "no longer answers: it died, or its machine cannot be reached"
# torchrun ends by force what is still there thirty seconds after it asked.
SECONDS_AFTER_SIGTERM = 15.0


class WorkerDied(RuntimeError):
    """A worker no longer answers, or has diverged.

    Attributes
    ----------
    worker : int
        Its number.
    time : float
        The time of the event at which this process noticed.
    """

    def __init__(self, text: str, worker: int, time: float) -> None:
        super().__init__(text)
        self.worker, self.time = worker, time


@dataclass
class Connection:
    """This process among the workers.

    Attributes
    ----------
    rank : int
        The worker that this process is.
    names : array of shape (n,)
    store : torch.distributed.Store
    """

    rank: int
    names: np.ndarray
    store: Any

    def exchange(self, partner: int, sent: Float[np.ndarray, " d"], time: float) -> Float[np.ndarray, " d"]:
        """Send a vector to a partner and receive theirs.

        Raises
        ------
        WorkerDied
            If the partner, or another worker before it, is gone.
        """
        received = torch.empty(len(sent), dtype=torch.float64)
        try:
            sending = dist.isend(torch.from_numpy(sent), partner)
            dist.recv(received, partner)
            if sending is not None:
                sending.wait()
        except RuntimeError as error:
            raise self.obituary(partner, time) from error
        return received.numpy()

    def gather(self, part: Tensor) -> list[Tensor]:
        """The parts of all workers, at every worker; by way of worker 0."""
        n = len(self.names)
        parts = [torch.empty_like(part) for _ in range(n)]
        parts[self.rank] = part.contiguous()
        partner = 0
        try:
            if self.rank == 0:
                for partner in range(1, n):
                    dist.recv(parts[partner], partner)
                whole = torch.stack(parts)
                for partner in range(1, n):
                    dist.send(whole, partner)
            else:
                dist.send(parts[self.rank], 0)
                whole = torch.empty((n, *part.shape), dtype=part.dtype)
                dist.recv(whole, 0)
        except RuntimeError as error:
            raise self.obituary(partner, float("nan")) from error
        return list(whole)

    def obituary(self, suspect: int, time: float, cause: str = LOST) -> WorkerDied:
        """Who died and of what: as another worker has already reported, else the suspect."""
        try:
            reported = [i for i in range(len(self.names)) if self.store.check([f"dead/{i}"])]
            if reported:
                suspect, cause = reported[0], self.store.get(f"dead/{reported[0]}").decode()
            else:
                self.store.set(f"dead/{suspect}", cause)
        except RuntimeError:
            suspect = 0  # the store lies with worker 0 where no launcher holds it
        when = f"time {time:.3f}" if math.isfinite(time) else "while the results were exchanged"
        return WorkerDied(f"worker {suspect} ('{self.names[suspect]}') {cause} ({when})", suspect, time)


@contextmanager
def connect(problem: DecentralisedProblem, timeout: float) -> Iterator[Connection]:
    """Join the other workers, by the environment that ``torchrun`` sets.

    Raises
    ------
    ValueError
        If this process was not started by torchrun, or as another number of processes than the problem has workers.
    """
    if "WORLD_SIZE" not in os.environ:
        raise ValueError(
            f"carrier='processes' needs one process a worker: start the program by "
            f"'torchrun --nproc-per-node {problem.n_workers} program.py'"
        )
    size = int(os.environ["WORLD_SIZE"])
    if size != problem.n_workers:
        raise ValueError(f"carrier='processes' needs as many processes as workers, {problem.n_workers}, got {size}")
    limit = timedelta(seconds=timeout)
    store, rank, _ = next(dist.rendezvous("env://", timeout=limit))
    # A program may minimise more than once: each time the workers write their addresses, and who died, under keys of their own.
    store = dist.PrefixStore(f"dadao/{next(_CONNECTIONS)}", store)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=limit)
    try:
        yield Connection(rank, problem.names, store)
    finally:
        dist.destroy_process_group()


@contextmanager
def _held_back_signals() -> Iterator[Callable[[], bool]]:
    """Whether to stop: at once after Ctrl-C; after SIGTERM only when there was time to meet a worker that has died."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    deadlines: list[float] = []
    patience: dict[int, float] = {signal.SIGINT: 0.0, signal.SIGTERM: SECONDS_AFTER_SIGTERM}
    previous = {
        number: signal.signal(number, lambda received, frame: deadlines.append(time.monotonic() + patience[received]))
        for number in patience
    }
    try:
        yield lambda: bool(deadlines) and time.monotonic() >= min(deadlines)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@dataclass
class Trail:
    """What one worker did.

    Attributes
    ----------
    state : array of shape (6, d)
        At the end.
    points : list of array of shape (d,)
        The iterate at the end of each interval.
    average : array of shape (d,)
        Mean of the iterate over the worker's own events.
    """

    state: np.ndarray
    average: np.ndarray
    points: list[np.ndarray] = field(default_factory=list)


def run_worker(
    connection: Connection,
    problem: DecentralisedProblem,
    schedule: Schedule,
    c: Constants,
    state: Float[np.ndarray, "6 d"],
    *,
    seed: int,
    first_interval: int,
    n_intervals: int,
    duration: float,
    batch_size: int,
    largest: float,
    checkpoint_dir: Path | None,
) -> Trail:
    """Play this process's events until the end of the last interval.

    Raises
    ------
    WorkerDied
        If a partner is gone, or the squared norm of this worker's iterate exceeds `largest`.
    KeyboardInterrupt
        On Ctrl-C, and some seconds after SIGTERM.
    """
    rank = connection.rank
    compute = _gradient_function(problem, batch_size, rank)
    trail = Trail(state.copy(), np.zeros(state.shape[1]))
    current, clock = state.copy(), first_interval * duration
    n_own, stored = 0, first_interval
    with _held_back_signals() as stopping:
        try:
            for interval in range(first_interval, n_intervals):
                events = schedule.events(seed, interval, duration, batch_size)
                own = np.flatnonzero((events.first == rank) | (events.second == rank))
                for k in own.tolist():
                    if stopping():
                        raise KeyboardInterrupt
                    at, one, other = float(events.times[k]), int(events.first[k]), int(events.second[k])
                    n_own += 1
                    trail.average += (current[0] - trail.average) / n_own
                    flow(current, decays(at - clock, c), c)
                    clock = at
                    if other < 0:
                        gradient_jump(current, compute(current[0], events.draws[k]), c)
                    else:
                        sent = message(current)
                        received = connection.exchange(other if one == rank else one, sent, at)
                        communication_jump(current, sent, received, c)
                until = (interval + 1) * duration
                flow(current, decays(until - clock, c), c)
                clock = until
                size = float(current[0] @ current[0])
                if not size <= largest:
                    cause = f"diverged to a squared norm of {size:.3g}; {schedule.suspicion}"
                    raise connection.obituary(rank, until, cause)
                trail.points.append(current[0].copy())
                if checkpoint_dir is not None and ((interval + 1) % SNAPSHOT_EVERY == 0 or interval + 1 == n_intervals):
                    _store(checkpoint_dir, rank, interval + 1, current, trail.points[stored - first_interval :])
                    stored = interval + 1
        except (WorkerDied, KeyboardInterrupt) as error:
            where = f"its state at time {stored * duration:g} is in {checkpoint_dir}, to go on with resume=True"
            if checkpoint_dir is None:
                where = "give checkpoint_dir to have the state saved"
            done = f"Worker {rank} ('{connection.names[rank]}') stopped at time {clock:g}; {where}"
            # Where all were told to stop, a partner that no longer answers has only stopped first.
            if stopping() or isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt(f"dadao: {done}") from error
            text = f"{error}. {done}"
            if checkpoint_dir is not None and stored and LOST in text:
                text += (
                    f" once worker {error.worker} is back, or without it from last_snapshot({str(checkpoint_dir)!r}) on "
                    f"problem.without([{error.worker}])"
                )
            raise WorkerDied(text, error.worker, error.time) from error
    trail.state = current
    return trail


def _gradient_function(problem: DecentralisedProblem, batch_size: int, rank: int) -> Callable[..., np.ndarray]:
    """This worker's gradient as a function of the point and the numbers that choose its mini-batch."""
    arrays = arrays_of(problem, batch_size)
    if arrays is None:
        return lambda x, draws: problem.objective.gradient(rank, x)
    return lambda x, draws: local_gradient(rank, x, draws, arrays)


# --- snapshots -------------------------------------------------------------------------------------------------------


def _store(
    folder: Path, rank: int, interval: int, state: Float[np.ndarray, "6 d"], points: list[Float[np.ndarray, " d"]]
) -> None:
    """Write the state at the end of `interval` and the iterates since the last file, complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"worker-{rank}.until-{interval:08d}.npz"
    partial = folder / f".{final.name}"
    np.savez(partial, state=state, points=np.array(points))
    partial.replace(final)


def last_snapshot(folder: str | os.PathLike[str]) -> tuple[int, Float[np.ndarray, "k 6 d"], list[int]]:
    """The last interval whose state every worker stored.

    Parameters
    ----------
    folder : path
        The ``checkpoint_dir`` of a run with one process a worker.

    Returns
    -------
    interval : int
        Number of whole intervals played.
    states : array of shape (k, 6, d)
        The workers' states at its end.
    workers : list of int
        Their numbers, all that left any file.

    Raises
    ------
    ValueError
        If there is no interval that all of them stored.
    """
    files = sorted(Path(folder).glob("worker-*.until-*.npz"))
    held: dict[int, set[int]] = {}
    for file in files:
        worker, _, until = file.stem.removeprefix("worker-").partition(".until-")
        held.setdefault(int(worker), set()).add(int(until))
    common = set.intersection(*held.values()) if held else set()
    if not common:
        raise ValueError(f"checkpoint_dir {folder} holds no interval that all workers have stored")
    interval, workers = max(common), sorted(held)
    states = []
    for number in workers:
        with np.load(Path(folder) / f"worker-{number}.until-{interval:08d}.npz", allow_pickle=False) as archive:
            states.append(archive["state"])
    return interval, np.stack(states), workers

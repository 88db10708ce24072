"""One process a worker: the same rule over ``torch.distributed`` (gloo), started by ``torchrun``.

Every worker derives the same event list from the shared seed and plays its own events in order. A gradient event concerns no
one else. A communication is one exchange with the partner, who waits for nothing but it: there is no barrier and no server, and
a worker may run ahead of those that it has no edge event with. A worker that dies is noticed by the first partner that waits
for it, written into the rendezvous store under its name, and so named by everyone else when they stop in turn.

The program that ``torchrun --nproc-per-node 4 program.py`` starts builds the same problem in every process; of gradient functions
each calls its own only::

    oracles = GradientOracles(functions, n_features=10, mu=0.1, smoothness=3.0)
    result = DADAO(carrier="processes", rates="optimal", random_state=0, t_max=500).minimize(
        DecentralisedProblem(graph, oracles), checkpoint_dir="state"
    )

Every process gets the whole result. Over several machines, torchrun's ``--nnodes`` and ``--rdzv-endpoint`` apply.
"""

from __future__ import annotations

import math
import os
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


class WorkerDied(RuntimeError):
    """A worker no longer answers.

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

    def obituary(self, suspect: int, time: float) -> WorkerDied:
        """Who died: whom another worker has already reported, else the partner that this one waits for."""
        try:
            reported = [i for i in range(len(self.names)) if self.store.check([f"dead/{i}"])]
            dead = reported[0] if reported else suspect
            self.store.set(f"dead/{dead}", "gone")
        except RuntimeError:
            dead = 0  # the store lies with worker 0 where no launcher holds it
        name = self.names[dead]
        when = f"time {time:.3f}" if math.isfinite(time) else "while the results were exchanged"
        text = f"worker {dead} ('{name}') no longer answers: it died, or its machine cannot be reached ({when})"
        return WorkerDied(text, dead, time)


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
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=limit)
    try:
        yield Connection(rank, problem.names, store)
    finally:
        dist.destroy_process_group()


@dataclass
class Trail:
    """What one worker did.

    Attributes
    ----------
    points : list of array of shape (d,)
        The iterate at the end of each interval.
    state : array of shape (6, d)
        At the end of the last whole interval.
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
    checkpoint_dir: Path | None,
) -> Trail:
    """Play this process's events until the end of the last interval.

    Raises
    ------
    WorkerDied
        If a partner is gone; the state at the end of the last whole interval is stored first.
    """
    rank = connection.rank
    compute = _gradient_function(problem, batch_size, rank)
    trail = Trail(state.copy(), np.zeros(state.shape[1]))
    current, clock = state.copy(), first_interval * duration
    n_own, stored = 0, first_interval
    try:
        for interval in range(first_interval, n_intervals):
            events = schedule.events(seed, interval, duration, batch_size)
            own = np.flatnonzero((events.first == rank) | (events.second == rank))
            for k in own.tolist():
                time, one, other = float(events.times[k]), int(events.first[k]), int(events.second[k])
                n_own += 1
                trail.average += (current[0] - trail.average) / n_own
                flow(current, decays(time - clock, c), c)
                clock = time
                if other < 0:
                    gradient_jump(current, compute(current[0], events.draws[k]), c)
                else:
                    sent = message(current)
                    received = connection.exchange(other if one == rank else one, sent, time)
                    communication_jump(current, sent, received, c)
            until = (interval + 1) * duration
            flow(current, decays(until - clock, c), c)
            clock = until
            trail.points.append(current[0].copy())
            trail.state = current.copy()
            if checkpoint_dir is not None and ((interval + 1) % SNAPSHOT_EVERY == 0 or interval + 1 == n_intervals):
                _store(checkpoint_dir, rank, interval + 1, trail, first_interval, stored)
                stored = interval + 1
    except WorkerDied as error:
        done = first_interval + len(trail.points)
        text = f"{error}. Worker {rank} ('{connection.names[rank]}') stopped at time {done * duration:g}"
        if checkpoint_dir is None:
            text += "; give checkpoint_dir to have the state saved"
        else:
            if done > stored:
                _store(checkpoint_dir, rank, done, trail, first_interval, stored)
            text += (
                f"; its state is in {checkpoint_dir}. Go on with resume=True once the worker is back, or without it from "
                f"last_snapshot({str(checkpoint_dir)!r}) on problem.without([{error.worker}])"
            )
        raise WorkerDied(text, error.worker, error.time) from error
    return trail


def _gradient_function(problem: DecentralisedProblem, batch_size: int, rank: int) -> Callable[..., np.ndarray]:
    """This worker's gradient as a function of the point and the numbers that choose its mini-batch."""
    arrays = arrays_of(problem, batch_size)
    if arrays is None:
        return lambda x, draws: problem.objective.gradient(rank, x)
    return lambda x, draws: local_gradient(rank, x, draws, arrays)


# --- snapshots -------------------------------------------------------------------------------------------------------


def _store(folder: Path, rank: int, interval: int, trail: Trail, first_interval: int, stored: int) -> None:
    """Write the state at the end of `interval` and the iterates since the last file, complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"worker-{rank}.until-{interval:08d}.npz"
    partial = final.with_suffix(".partial.npz")
    points = np.array(trail.points[stored - first_interval : interval - first_interval])
    np.savez(partial, state=trail.state, points=points)
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
        if ".partial" in file.name:
            continue
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

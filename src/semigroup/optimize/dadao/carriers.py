"""The carriers that hold all workers in one process: event by event, or in batches of events on a torch device."""

from __future__ import annotations

import typing
from typing import Protocol, runtime_checkable

import numba
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from semigroup.data.decentralised import (
    BatchedGradients,
    DecentralisedProblem,
    LeastSquares,
    LocalArrays,
    local_gradient,
)
from semigroup.optimize.dadao.rule import (
    Constants,
    communication_jump,
    communication_jump_compiled,
    decays,
    decays_compiled,
    flow,
    flow_compiled,
    gradient_jump,
    gradient_jump_compiled,
    message,
    message_compiled,
)
from semigroup.optimize.dadao.schedule import Events

__all__ = ["BatchCarrier", "Carrier", "EventCarrier", "arrays_of", "levels"]


@runtime_checkable
class Carrier(Protocol):
    """Holds the states of all workers and plays events on them."""

    def advance(self, events: Events, until: float) -> None:
        """Play the events, then bring every worker to the time `until`."""

    def points(self) -> Float[np.ndarray, "n d"]:
        """The iterates."""

    def states(self) -> Float[np.ndarray, "n 6 d"]:
        """All states, as a copy."""

    def averages(self) -> Float[np.ndarray, "n d"]:
        """Mean of each worker's iterate over its own events, each taken before the event; zero before its first."""


def arrays_of(problem: DecentralisedProblem, batch_size: int) -> LocalArrays | None:
    """The objective's arrays, a least squares by its Hessians where whole gradients are wanted; None for functions."""
    objective = problem.objective
    if isinstance(objective, LeastSquares) and not batch_size:
        rows, columns = objective.arrays.features.shape
        if columns * objective.n_workers <= rows:
            return objective.quadratic.arrays
    return getattr(objective, "arrays", None)


@numba.njit(cache=True)
@typing.no_type_check
def _advance(state, clock, sums, counts, times, first, second, draws, arrays, c):
    """Play events one after the other on the states (n, 6, d) of all workers."""
    for k in range(times.size):
        t, i, j = times[k], first[k], second[k]
        if draws.shape[1] > 0:
            sums[i] += state[i, 0]
            counts[i] += 1
        flow_compiled(state[i], decays_compiled(t - clock[i], c), c)
        clock[i] = t
        if j < 0:
            gradient_jump_compiled(state[i], local_gradient(i, state[i, 0], draws[k], arrays), c)
            continue
        if draws.shape[1] > 0:
            sums[j] += state[j, 0]
            counts[j] += 1
        flow_compiled(state[j], decays_compiled(t - clock[j], c), c)
        clock[j] = t
        from_i, from_j = message_compiled(state[i]), message_compiled(state[j])
        communication_jump_compiled(state[i], from_i, from_j, c)
        communication_jump_compiled(state[j], from_j, from_i, c)


@numba.njit(cache=True)
@typing.no_type_check
def _flow_all(state, clock, t, c):
    for i in range(clock.size):
        flow_compiled(state[i], decays_compiled(t - clock[i], c), c)
        clock[i] = t


class EventCarrier:
    """All workers in one process, event by event; compiled where the objective is arrays."""

    def __init__(
        self,
        problem: DecentralisedProblem,
        state: Float[np.ndarray, "n 6 d"],
        start: float,
        c: Constants,
        batch_size: int = 0,
    ) -> None:
        self.state, self.constants = state.copy(), c
        self.clock = np.full(len(state), start, dtype=np.float64)
        self.sums, self.counts = np.zeros_like(state[:, 0]), np.zeros(len(state))
        self.objective, self.arrays = problem.objective, arrays_of(problem, batch_size)

    def advance(self, events: Events, until: float) -> None:
        """Play the events, then bring every worker to the time `until`."""
        if self.arrays is not None:
            _advance(
                self.state,
                self.clock,
                self.sums,
                self.counts,
                events.times,
                events.first,
                events.second,
                events.draws,
                self.arrays,
                self.constants,
            )
        else:
            for t, i, j in zip(events.times.tolist(), events.first.tolist(), events.second.tolist()):
                self._play(t, i, j)
        _flow_all(self.state, self.clock, until, self.constants)

    def _play(self, t: float, i: int, j: int) -> None:
        for worker in (i, j) if j >= 0 else (i,):
            flow_compiled(self.state[worker], decays_compiled(t - self.clock[worker], self.constants), self.constants)
            self.clock[worker] = t
        if j < 0:
            gradient_jump_compiled(self.state[i], self.objective.gradient(i, self.state[i, 0]), self.constants)
            return
        from_i, from_j = message_compiled(self.state[i]), message_compiled(self.state[j])
        communication_jump_compiled(self.state[i], from_i, from_j, self.constants)
        communication_jump_compiled(self.state[j], from_j, from_i, self.constants)

    def points(self) -> Float[np.ndarray, "n d"]:
        """The iterates."""
        return self.state[:, 0]

    def states(self) -> Float[np.ndarray, "n 6 d"]:
        """All states."""
        return self.state.copy()

    def averages(self) -> Float[np.ndarray, "n d"]:
        """Mean of each worker's iterate over its own events, each taken before the event; zero before its first."""
        return self.sums / np.maximum(self.counts, 1)[:, None]


@numba.njit(cache=True)
@typing.no_type_check
def levels(times, first, second, clock):
    """Level of each event (one above those of the events before it at its workers), and its workers' waiting times.

    Events of one level touch different workers, so they commute and can be played together.
    """
    busy = np.zeros(clock.size, dtype=np.int64)
    level = np.empty(times.size, dtype=np.int64)
    waits = np.zeros((2, times.size))
    for k in range(times.size):
        i, j = first[k], second[k]
        level[k] = busy[i] if j < 0 else max(busy[i], busy[j])
        busy[i] = level[k] + 1
        waits[0, k] = times[k] - clock[i]
        clock[i] = times[k]
        if j >= 0:
            busy[j] = level[k] + 1
            waits[1, k] = times[k] - clock[j]
            clock[j] = times[k]
    return level, waits


class BatchCarrier:
    """All workers in one process, events of different workers together, on a torch device."""

    def __init__(
        self,
        problem: DecentralisedProblem,
        state: Float[np.ndarray, "n 6 d"],
        start: float,
        c: Constants,
        batch_size: int = 0,
        device: str | None = None,
    ) -> None:
        arrays = arrays_of(problem, batch_size)
        if arrays is None:
            raise ValueError(
                "carrier='batches' needs an objective of arrays, got gradient functions: use carrier='events'"
            )
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.constants = c
        self.state = torch.from_numpy(state).to(self.device).permute(1, 0, 2).contiguous()
        self.clock = np.full(len(state), start, dtype=np.float64)
        self.sums = torch.zeros_like(self.state[0])
        self.counts = np.zeros(len(state))
        self.gradients = BatchedGradients(arrays, self.device)

    def advance(self, events: Events, until: float) -> None:
        """Play the events, then bring every worker to the time `until`."""
        level, waits = levels(events.times, events.first, events.second, self.clock)
        is_exchange = events.second >= 0
        order = np.lexsort((is_exchange, level))
        first, second = self._move(events.first[order]), self._move(events.second[order])
        decay = self._move(np.stack(decays(waits[:, order], self.constants)))
        draws = self._move(events.draws[order])
        if draws.shape[1]:
            self.counts += np.bincount(events.first, minlength=len(self.clock))
            self.counts += np.bincount(events.second[is_exchange], minlength=len(self.clock))
        n_levels = int(level.max(initial=-1)) + 1
        starts = np.searchsorted(level[order], np.arange(n_levels + 1))
        n_gradients = np.bincount(level[~is_exchange], minlength=n_levels)
        for k in range(n_levels):
            low, middle, high = int(starts[k]), int(starts[k] + n_gradients[k]), int(starts[k + 1])
            nodes = torch.cat([first[low:high], second[middle:high]])
            times = torch.cat([decay[:, 0, low:high], decay[:, 1, middle:high]], dim=1)[:, :, None]
            self._play(nodes, times, draws[low:middle], middle - low, high - middle)
        decay = self._move(np.stack(decays(until - self.clock, self.constants)))
        flow(self.state, decay[:, :, None], self.constants)
        self.clock[:] = until

    def _play(self, nodes: Tensor, decay: Tensor, draws: Tensor, n_gradients: int, n_exchanges: int) -> None:
        """One level: gradients at the first nodes, then first ends of the exchanges, then second ends."""
        state = self.state[:, nodes]
        if draws.shape[1]:
            self.sums[nodes] += state[0]
        flow(state, decay, self.constants)
        if n_gradients:
            at_gradients = state[:, :n_gradients]
            gradients = self.gradients(nodes[:n_gradients], at_gradients[0], draws)
            gradient_jump(at_gradients, gradients, self.constants)
        if n_exchanges:
            one, other = state[:, n_gradients : n_gradients + n_exchanges], state[:, n_gradients + n_exchanges :]
            from_one, from_other = message(one), message(other)
            communication_jump(one, from_one, from_other, self.constants)
            communication_jump(other, from_other, from_one, self.constants)
        self.state[:, nodes] = state

    def _move(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def points(self) -> Float[np.ndarray, "n d"]:
        """The iterates."""
        return self.state[0].cpu().numpy()

    def states(self) -> Float[np.ndarray, "n 6 d"]:
        """All states."""
        return self.state.permute(1, 0, 2).contiguous().cpu().numpy()

    def averages(self) -> Float[np.ndarray, "n d"]:
        """Mean of each worker's iterate over its own events, each taken before the event; zero before its first."""
        return self.sums.cpu().numpy() / np.maximum(self.counts, 1)[:, None]

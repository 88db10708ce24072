"""When each edge fires and when each worker computes a gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from semigroup.data.decentralised import DecentralisedProblem
from semigroup.operators.topology import EdgeRates, largest_gap_rates, optimal_rates, uniform_rates, worst_case

__all__ = ["Events", "RatesTooLow", "Schedule", "rates_of"]


class RatesTooLow(UserWarning):
    """The rates violate 2 χ₁ χ₂ <= 1, under which alone convergence is proved."""


@dataclass(frozen=True)
class Schedule:
    """When what happens on a network, or on several through which time cycles.

    Attributes
    ----------
    rates : tuple of EdgeRates
    period : float
        How long each network lasts.
    """

    rates: tuple[EdgeRates, ...]
    period: float

    @property
    def n_nodes(self) -> int:
        """Number of workers."""
        return self.rates[0].n_nodes

    @property
    def chi_1(self) -> float:
        """The worst χ₁."""
        return worst_case(self.rates)[0]

    @property
    def chi_2(self) -> float:
        """The worst χ₂."""
        return worst_case(self.rates)[1]

    @property
    def minimal_factor(self) -> float:
        """What all rates must be multiplied with to meet 2 χ₁ χ₂ = 1."""
        return math.sqrt(2 * self.chi_1 * self.chi_2)

    @property
    def suspicion(self) -> str:
        """The likely cause of a divergence under this schedule."""
        if self.minimal_factor > 1 + 1e-6:
            return f"the rates are too low: multiply them by at least {self.minimal_factor:.4g}"
        return "the rates are high enough: smoothness may be too small, or mu too large, for some worker's function"

    @property
    def communications_per_time(self) -> float:
        """Expected communications of the network a unit of time, averaged over the cycle."""
        return float(np.mean([r.total for r in self.rates]))

    @property
    def flat(self) -> Float[np.ndarray, " k"]:
        """The period and all rates, one network after the other."""
        return np.concatenate([[self.period], *(r.rates for r in self.rates)])

    def with_rates(self, flat: Float[np.ndarray, " k"]) -> Schedule:
        """The same networks with the period and the rates of another's `flat`."""
        parts = np.split(flat[1:], np.cumsum([len(r.rates) for r in self.rates])[:-1])
        return Schedule(tuple(replace(r, rates=part) for r, part in zip(self.rates, parts)), float(flat[0]))

    def events(self, seed: int, interval: int, duration: float, batch_size: int) -> Events:
        """The events of one interval, in order: a function of the seed and the interval's number.

        All clocks are superposed: gradients at rate n, edges at the largest total rate of the networks. An edge event that lies
        above the total of the network in force is dropped, which thins the process to that network's rates.
        """
        generator = np.random.default_rng([seed, interval])
        n, peak = self.n_nodes, max(r.total for r in self.rates)
        count = generator.poisson((n + peak) * duration)
        times = interval * duration + duration * np.sort(generator.random(count))
        position = generator.random(count) * (n + peak)
        first = np.minimum(position.astype(np.int64), n - 1)
        second = np.full(count, -1, dtype=np.int64)
        kept = np.ones(count, dtype=bool)
        network = (
            (times / self.period).astype(np.int64) % len(self.rates) if len(self.rates) > 1 else np.zeros(count, int)
        )
        for k in np.unique(network):
            chosen = np.flatnonzero((network == k) & (position >= n))
            rates = self.rates[k]
            edge = np.searchsorted(np.cumsum(rates.rates), position[chosen] - n, side="right")
            inside = edge < len(rates.rates)
            kept[chosen[~inside]] = False
            first[chosen[inside]], second[chosen[inside]] = rates.edges[edge[inside]].T
        draws = generator.random((count, batch_size))
        return Events(times[kept], first[kept], second[kept], draws[kept])


@dataclass(frozen=True)
class Events:
    """Events in the order of time.

    Attributes
    ----------
    times : array of shape (k,)
    first, second : int arrays of shape (k,)
        The ends of the edge that fires; of a gradient event, the worker and -1.
    draws : array of shape (k, batch)
        Uniform numbers that choose the mini-batch of a gradient event; no columns where gradients are whole.
    """

    times: Float[np.ndarray, " k"]
    first: Int[np.ndarray, " k"]
    second: Int[np.ndarray, " k"]
    draws: Float[np.ndarray, "k batch"]

    @property
    def n_gradients(self) -> int:
        """Number of gradient events."""
        return int((self.second < 0).sum())

    @property
    def n_communications(self) -> int:
        """Number of communication events."""
        return int((self.second >= 0).sum())


def rates_of(problem: DecentralisedProblem, rates: str = "uniform", rate_factor: float = 1.0) -> Schedule:
    """How often each edge of a problem's network fires.

    Parameters
    ----------
    problem : DecentralisedProblem
    rates : {"uniform", "optimal", "spectral", "weights"}
        The proportions of the rates: all edges alike, the fewest communications, the largest spectral gap; scaled to the smallest
        total that satisfies 2 χ₁ χ₂ ≤ 1 at the worst χ₁ and χ₂ of the networks. Or the graph's weights as they stand.
    rate_factor : float
        Multiplies all rates.

    Examples
    --------
    >>> from semigroup.data.decentralised import random_quadratic
    >>> from semigroup.operators.topology import star
    >>> round(rates_of(random_quadratic(star(6), random_state=0)).communications_per_time, 6)
    5.0
    """
    chosen: list[EdgeRates]
    if rates == "weights":
        chosen = [EdgeRates.of(graph) for graph in problem.graphs]
        proportions = [r.scaled(1 / r.total) for r in chosen]
    else:
        find = {"uniform": uniform_rates, "optimal": optimal_rates, "spectral": largest_gap_rates}[rates]
        found = [find(graph) for graph in problem.graphs]
        proportions = [r.scaled(1 / r.total) for r in found]
        chi_1, chi_2 = worst_case(proportions)
        chosen = [p.scaled(math.sqrt(2 * chi_1 * chi_2)) for p in proportions]
    period = problem.period if problem.period is not None else 1 / worst_case(proportions)[0]
    return Schedule(tuple(r.scaled(rate_factor) for r in chosen), period)

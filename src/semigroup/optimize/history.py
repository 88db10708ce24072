"""What a minimiser over a network leaves behind step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from semigroup.data.decentralised import Objective

__all__ = ["History", "distance_to_optimum", "squared_error", "squared_error_bound"]


@dataclass(frozen=True)
class History:
    """Errors and costs at the recorded steps, the start included.

    Attributes
    ----------
    time : array of shape (k,)
        Units of time of an asynchronous method, rounds of a synchronous one.
    gap : array of shape (k,)
        Mean over the workers of ‖xᵢ - x*‖², or its upper bound (see `squared_error_bound`).
    communications : array of shape (k,)
        Exchanges along an edge so far, in the whole network.
    gradients : array of shape (k,)
        Local gradients computed so far, in the whole network.
    """

    time: Float[np.ndarray, " k"]
    gap: Float[np.ndarray, " k"]
    communications: Float[np.ndarray, " k"]
    gradients: Float[np.ndarray, " k"]

    @classmethod
    def from_table(cls, table: Float[np.ndarray, "k 4"]) -> History:
        """From rows of (time, gap, communications, gradients)."""
        return cls(*np.array(table, dtype=np.float64).reshape(-1, 4).T)

    @property
    def table(self) -> Float[np.ndarray, "k 4"]:
        """Rows of (time, gap, communications, gradients)."""
        return np.column_stack([self.time, self.gap, self.communications, self.gradients])

    def reached(self, fraction: float) -> int | None:
        """First record at which the gap is at most `fraction` of its first value; None if it never is."""
        below = np.flatnonzero(self.gap <= fraction * self.gap[0])
        return int(below[0]) if len(below) else None

    def slope(self, low: float = 1e-14, high: float = 1e-2) -> float:
        """Slope of log gap over time by least squares, over the records whose relative gap is between `low` and `high`."""
        relative = self.gap / self.gap[0]
        # The last records may lie on the floor of rounding: only what comes before the floor is a decay.
        inside = np.flatnonzero((relative < high) & (relative > low))
        if len(inside) < 3:
            return float("nan")
        return float(np.polyfit(self.time[inside], np.log(self.gap[inside]), 1)[0])


def squared_error(points: Float[np.ndarray, "n d"], optimum: Float[np.ndarray, " d"]) -> float:
    r"""Mean squared distance of the workers' points to the minimiser, :math:`\frac1n \sum_i \|x_i - x^*\|^2`."""
    return float(((points - optimum) ** 2).sum(axis=1).mean())


def squared_error_bound(points: Float[np.ndarray, "n d"], slope: Float[np.ndarray, " d"], mu: float) -> float:
    r"""Upper bound of `squared_error` where the minimiser is not known.

    With the mean :math:`\bar x` of the points and the average gradient `slope` there,
    :math:`\frac1n \sum_i \|x_i - \bar x\|^2 + \|\nabla f(\bar x)\|^2 / \mu^2`.
    """
    return squared_error(points, points.mean(axis=0)) + float(slope @ slope) / mu**2


def distance_to_optimum(objective: Objective) -> Callable[[Float[np.ndarray, "n d"]], float]:
    """The error measure of an objective: `squared_error`, or `squared_error_bound` where the minimiser is not known."""
    optimum = objective.optimum()
    if optimum is not None:
        return lambda points: squared_error(points, optimum)

    def bound(points: np.ndarray) -> float:
        mean = np.tile(points.mean(axis=0), (len(points), 1))
        return squared_error_bound(points, objective.gradients(mean).mean(axis=0), objective.mu)

    return bound

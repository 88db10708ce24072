"""Why one limit is not enough: two systems that agree on all data seen so far and have different spectra (§A12)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from semigroup.data.dynamical_systems import DiscMap

__all__ = ["Confusion", "confuse"]


@dataclass(frozen=True)
class Confusion:
    """What an algorithm answered for two disc maps that it could not tell apart.

    Attributes
    ----------
    rational, bumped : DiscMap
        The rotation by p/q, whose spectrum is the q-th roots of unity, and its twin, whose spectrum is the circle.
    answers : tuple of two ndarrays
        What the algorithm gave for each.
    errors : tuple of two floats
        Hausdorff distance of each answer to the map's spectrum; infinite where the answer is empty.
    bound : float
        Half the Hausdorff distance of the two spectra: the larger error is at least this.
    """

    rational: DiscMap
    bumped: DiscMap
    answers: tuple[np.ndarray, np.ndarray]
    errors: tuple[float, float]
    bound: float

    @property
    def identical(self) -> bool:
        """Whether both answers are the same bits."""
        return self.answers[0].tobytes() == self.answers[1].tobytes()


def confuse(
    algorithm: Callable[[Callable[[np.ndarray], np.ndarray]], np.ndarray], *, numerator: int = 1, denominator: int = 4
) -> Confusion:
    r"""Run an algorithm on a rotation of the disc, then on a twin that agrees with it wherever the algorithm looked.

    Parameters
    ----------
    algorithm : callable
        ``algorithm(F)`` may evaluate the map ``F`` at any states (radius, angle) of shape (n, 2), as often as it likes
        and choosing each in the light of the last, and returns an approximate spectrum. It must be deterministic (a
        sampler with a fixed seed is).
    numerator, denominator : int
        :math:`p/q`, the rotation in turns.

    Returns
    -------
    Confusion

    Examples
    --------
    >>> def believe_nothing(F):
    ...     image = F(np.array([[0.3, 0.0], [0.8, 1.0]]))
    ...     return np.exp(1j * (image[:, 1] - [0.0, 1.0]))
    >>> result = confuse(believe_nothing)
    >>> result.identical, max(result.errors) >= result.bound
    (True, True)
    """
    looked: list[np.ndarray] = []
    rational = DiscMap(numerator / denominator)

    def watched(states: Any) -> np.ndarray:
        states = np.asarray(states, dtype=np.float64)
        looked.append(states[:, 0].copy())
        return rational(states)

    first = np.asarray(algorithm(watched))
    radii = np.unique(np.concatenate([*looked, [0.0, 1.0]]))
    widest = int(np.argmax(np.diff(radii)))
    low, high = radii[widest], radii[widest + 1]
    # Strictly inside the gap, so that the bump is exactly 0 at both ends in floating point.
    bumped = DiscMap(numerator / denominator, amplitude=0.05, centre=(low + high) / 2, width=0.49 * (high - low))
    second = np.asarray(algorithm(bumped))
    errors = (_hausdorff(first, rational), _hausdorff(second, bumped))
    return Confusion(rational, bumped, (first, second), errors, float(np.sin(np.pi / (2 * denominator))))


def _hausdorff(answer: np.ndarray, system: DiscMap) -> float:
    """Hausdorff distance between an answer and the system's spectrum."""
    if answer.size == 0:
        return float("inf")
    known = system.spectrum
    targets = known.sample(20_000)
    pieces = np.array_split(targets, min(20, len(targets)))
    to_answer = max(float(np.abs(piece[:, None] - answer[None, :]).min(axis=1).max()) for piece in pieces)
    return max(float(known.distance(answer).max()), to_answer)

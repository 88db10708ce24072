"""Laws without a density: points of a space that lie on a curve or a surface in it, and the generators that make them.

Each is ``x = A g(w)`` with simple randomness w, a map g to a few coordinates, and an orthonormal map A into the space, drawn from
``random_state``. So distances in the space are those of the coordinates, whatever its dimension.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from semigroup.base import check_integer, check_number, numpy_generator

__all__ = ["SingularLaw", "circle", "line_mixture", "plane_mixture", "product_law", "spiral", "tilted_sphere"]

Draw = Callable[[int, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class SingularLaw:
    """A law on a set of lower dimension than the space.

    Attributes
    ----------
    name : str
    n_latent : int
        Dimension d of the support.
    frame : array, shape (dim, n_coordinates)
        A, with orthonormal columns.
    draw : callable
        ``draw(n, rng)`` gives coordinates, shape (n, n_coordinates).
    """

    name: str
    n_latent: int
    frame: Float[np.ndarray, "dim coordinate"]
    draw: Draw

    @property
    def dim(self) -> int:
        """Dimension D of the space."""
        return len(self.frame)

    def sample(
        self, n: int, random_state: int | np.random.Generator | None = None, *, noise: float = 0.0
    ) -> Float[np.ndarray, "n dim"]:
        """Independent points.

        Parameters
        ----------
        n : int
        random_state : int, Generator or None
        noise : float
            Standard deviation of Gaussian noise on each coordinate of the space; with it the law is not singular.
        """
        n, noise = check_integer(n, "n", minimum=1), check_number(noise, "noise", minimum=0)
        # A law and its points are often given the same integer, which must not make the points out of the frame's numbers.
        if isinstance(random_state, numbers.Integral):
            rng = np.random.default_rng([int(random_state), 1])
        else:
            rng = numpy_generator(random_state)
        points = self.draw(n, rng) @ self.frame.T
        return points + noise * rng.standard_normal(points.shape) if noise else points

    def off_support(self, points: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, " n"]:
        """Distance of points to the flat space that contains the support."""
        return np.linalg.norm(points - points @ self.frame @ self.frame.T, axis=1)


def line_mixture(dim: int = 10, *, random_state: int | np.random.Generator | None = 0) -> SingularLaw:
    """Two Gaussians on a line: ``u = -1`` with probability 0.7 or ``1``, plus 0.15 times a normal number.

    Examples
    --------
    >>> law = line_mixture(10)
    >>> law.sample(5, 0).shape, law.n_latent
    ((5, 10), 1)
    """

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        return np.where(rng.random((n, 1)) < 0.7, -1.0, 1.0) + 0.15 * rng.standard_normal((n, 1))

    return SingularLaw("line mixture", 1, _frame(dim, 1, random_state), draw)


def plane_mixture(dim: int = 20, *, random_state: int | np.random.Generator | None = 0) -> SingularLaw:
    """Three Gaussians of standard deviation 0.2 on a plane, around (-1, -1), (1, 1) and (1, -1) with weights 0.5, 0.3 and 0.2.

    Examples
    --------
    >>> law = plane_mixture(20)
    >>> bool(law.off_support(law.sample(100, 0)).max() < 1e-12)
    True
    """
    centers = np.array([[-1.0, -1.0], [1.0, 1.0], [1.0, -1.0]])

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        return centers[rng.choice(3, size=n, p=[0.5, 0.3, 0.2])] + 0.2 * rng.standard_normal((n, 2))

    return SingularLaw("plane mixture", 2, _frame(dim, 2, random_state), draw)


def tilted_sphere(dim: int = 20, *, random_state: int | np.random.Generator | None = 0) -> SingularLaw:
    """Directions of three-dimensional normal vectors around (0.7, 0, 0): a sphere that is denser on one side."""

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        points = rng.standard_normal((n, 3)) + np.array([0.7, 0, 0])
        return points / np.linalg.norm(points, axis=1, keepdims=True)

    return SingularLaw("tilted sphere", 2, _frame(dim, 3, random_state), draw)


def circle(dim: int = 20, *, random_state: int | np.random.Generator | None = 0) -> SingularLaw:
    r"""The unit circle, unevenly: at the angle :math:`2\pi u + 0.9 \sin(2\pi u)` with u uniform on [0, 1]."""

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        angle = 2 * np.pi * _warp(rng.random(n))
        return np.column_stack([np.cos(angle), np.sin(angle)])

    return SingularLaw("circle", 1, _frame(dim, 2, random_state), draw)


def spiral(dim: int = 20, *, random_state: int | np.random.Generator | None = 0) -> SingularLaw:
    r"""The Swiss roll's curve: :math:`(t \cos t, t \sin t) / 4.5\pi` with :math:`t = 1.5\pi(1 + 2u)`, u uniform on [0, 1]."""

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        t = 1.5 * np.pi * (1 + 2 * rng.random((n, 1)))
        return t * np.hstack([np.cos(t), np.sin(t)]) / (4.5 * np.pi)

    return SingularLaw("spiral", 1, _frame(dim, 2, random_state), draw)


def product_law(dim: int = 20, n_latent: int = 3, *, random_state: int | np.random.Generator | None = 0) -> SingularLaw:
    r"""Independent coordinates :math:`2v + 0.9 \sin(2\pi v)/\pi - 1` with v uniform on [0, 1]: on [-1, 1], dense around 0.

    The generator acts on each coordinate alone, so that its rate is that of functions of one variable.
    """
    n_latent = check_integer(n_latent, "n_latent", minimum=1)

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        return 2 * _warp(rng.random((n, n_latent))) - 1

    return SingularLaw("product", n_latent, _frame(dim, n_latent, random_state), draw)


def _warp(u: np.ndarray) -> np.ndarray:
    """A smooth increasing map of [0, 1] onto itself that thins the ends and crowds the middle."""
    return u + 0.9 * np.sin(2 * np.pi * u) / (2 * np.pi)


def _frame(dim: int, n_coordinates: int, random_state: int | np.random.Generator | None) -> np.ndarray:
    dim = check_integer(dim, "dim", minimum=n_coordinates)
    return np.linalg.qr(numpy_generator(random_state).standard_normal((dim, n_coordinates)))[0]

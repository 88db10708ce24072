"""What an interpolant starts from: rows of a sample, or a density that can be drawn from and evaluated."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from semigroup.densities.mixtures import GaussianMixture

__all__ = ["Base"]

# Rows of a sample that a fitted model keeps, to draw its starting points from.
MAX_ROWS = 10_000


class Base:
    """The standard Gaussian, a `GaussianMixture`, or rows.

    Parameters
    ----------
    shape : tuple of int
        Of one draw.
    mixture : GaussianMixture, optional
    rows : Tensor, shape (n, *shape), optional

    Examples
    --------
    >>> round(Base((2,)).log_prob(torch.zeros(1, 2)).item(), 4)
    -1.8379
    """

    def __init__(
        self, shape: tuple[int, ...], *, mixture: GaussianMixture | None = None, rows: Tensor | None = None
    ) -> None:
        self.shape, self.mixture, self.rows = shape, mixture, rows

    @property
    def has_density(self) -> bool:
        return self.rows is None and not self.is_singular

    @property
    def is_singular(self) -> bool:
        """Whether a component of the mixture has no density, as an atom has none."""
        if self.mixture is None:
            return False
        variances = torch.linalg.eigvalsh(self.mixture.covariances)
        return bool((variances[:, 0] <= 1e-12 * variances[:, -1]).any())

    def to(self, device: torch.device | str) -> Base:
        """The same with its rows on a device."""
        return self if self.rows is None else Base(self.shape, rows=self.rows.to(device))

    def sample(self, n: int, generator: torch.Generator) -> Float[Tensor, "n *shape"]:
        """Independent draws in single precision, on the generator's device."""
        device = generator.device
        if self.rows is not None:
            return self.rows[torch.randint(len(self.rows), (n,), generator=generator, device=device)]
        if self.mixture is None:
            return torch.randn(n, *self.shape, generator=generator, device=device)
        if device.type == "cpu":
            return self.mixture.sample(n, generator).float()
        # The mixture is computed on the CPU.
        seed = int(torch.randint(2**62, (1,), generator=generator, device=device).item())
        return self.mixture.sample(n, torch.Generator().manual_seed(seed)).float().to(device)

    def log_prob(self, x: Float[Tensor, "batch *shape"]) -> Float[Tensor, " batch"]:
        """Log-density, in nats.

        Raises
        ------
        ValueError
            If all that is known of the base is a sample, or it is a mixture with a singular covariance.
        """
        if self.rows is not None:
            raise ValueError(
                "a likelihood needs a base whose density is known, and this one is a sample: fit with X0=None (the standard "
                "Gaussian) or X0=GaussianMixture(...) on a path that is not 'mirror'"
            )
        if self.is_singular:
            raise ValueError(
                "a likelihood needs a base that has a density, and the mixture X0 has a singular covariance"
            )
        if self.mixture is not None:
            return self.mixture.log_prob(x.double().cpu()).to(x)
        squared = x.square().flatten(1).sum(1)
        return -(squared + math.log(2 * math.pi) * math.prod(self.shape)) / 2

    def state(self) -> dict[str, Any]:
        """Arrays that `from_state` takes."""
        if self.rows is not None:
            return {"base_rows_": self.rows[:MAX_ROWS].cpu().numpy()}
        if self.mixture is not None:
            parts = {
                "weights": self.mixture.weights,
                "means": self.mixture.means,
                "covariances": self.mixture.covariances,
            }
            return {f"base_{name}_": part.numpy() for name, part in parts.items()}
        return {}

    @classmethod
    def from_state(cls, shape: tuple[int, ...], state: dict[str, Any]) -> Base:
        """A base from the arrays of `state`, which are taken out of it."""
        if "base_rows_" in state:
            return cls(shape, rows=torch.from_numpy(state.pop("base_rows_")))
        if "base_weights_" in state:
            return cls(
                shape,
                mixture=GaussianMixture(*(state.pop(f"base_{name}_") for name in ("weights", "means", "covariances"))),
            )
        return cls(shape)

"""Sampling from single points: the diffusive interpolant (theorem 3.1)."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from semigroup.base import (
    Estimator,
    check_array,
    check_choice,
    check_integer,
    check_number,
    in_kind,
    numpy_generator,
    seed_from,
    torch_generator,
)
from semigroup.densities.interpolants.losses import check_widths, regression_loss
from semigroup.densities.interpolants.paths import DiffusivePath, along
from semigroup.nn.mlp import MLP
from semigroup.sde import heun
from semigroup.training import seeded, train

__all__ = ["DiffusiveInterpolant"]


class DiffusiveInterpolant(Estimator):
    """A diffusion that starts in one single point and ends in the target given that point.

    ``x_t = x0 + kappa(t) (x1 - x0) + sqrt(2 a t (1 - t)) z`` leaves x0 at rest, so the law of x_t given x0 is that of an SDE
    ``dX = u(t, X, x0) dt + sqrt(2 a) dW`` from X = x0, whose drift is a regression with x0 as an input,
    ``u = E[dI/dt - sqrt(2 a t / (1 - t)) z | x_t, x0]``. With pairs it samples the conditional law of x1 given x0, as in
    probabilistic forecasting; with independent rows every start leads to the whole target.

    Parameters
    ----------
    noise : float
        The a, in squared units of the data.
    coupling : {"paired", "independent"}
        Whether row i of X0 belongs to row i of X1.
    hidden : tuple of int
        Widths of the perceptron.
    batch_size, max_steps : int
    learning_rate : float
        Falls to zero by a quarter of a cosine.
    t_max : float
        End of the times that are learnt and integrated over.
    sampling_steps : int
    random_state : int, optional

    Attributes
    ----------
    network_ : MLP
    shift_, scale_ : array, shape (dim,), float
        Centre and unit of both samples.
    losses_ : array, shape (max_steps,)
    n_features_in_ : int

    References
    ----------
    Albergo, M. S., Boffi, N. M. and Vanden-Eijnden, E. (2023). Stochastic Interpolants, arXiv:2303.08797, theorem 3.1.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X0 = rng.normal(size=(2000, 1))
    >>> X1 = 2 * X0 + 0.3 * rng.normal(size=(2000, 1))
    >>> model = DiffusiveInterpolant(noise=0.1, hidden=(32, 32), max_steps=400, random_state=0).fit(X0, X1)
    >>> draws = model.sample(np.ones((1, 1)), n_samples=500)
    >>> draws.shape, bool(abs(draws.mean() - 2) < 0.2)
    ((1, 500, 1), True)
    """

    def __init__(
        self,
        *,
        noise: float = 0.1,
        coupling: Literal["paired", "independent"] = "paired",
        hidden: Sequence[int] = (128, 128, 128),
        batch_size: int = 512,
        max_steps: int = 3000,
        learning_rate: float = 2e-3,
        t_max: float = 0.999,
        sampling_steps: int = 100,
        random_state: int | None = None,
    ) -> None:
        self.noise = noise
        self.coupling = coupling
        self.hidden = hidden
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.learning_rate = learning_rate
        self.t_max = t_max
        self.sampling_steps = sampling_steps
        self.random_state = random_state

    def fit(
        self,
        X0: Any,
        X1: Any,
        *,
        progress: bool = False,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> DiffusiveInterpolant:
        """Learn the drift from rows of starts and ends.

        Parameters
        ----------
        X0, X1 : array-like or Tensor, shapes (n0, dim) and (n1, dim)
        progress, checkpoint_dir, resume
            As for `StochasticInterpolant.fit`.

        Raises
        ------
        ValueError, TypeError
            If an argument is out of its range, shapes do not match, or a value is NaN or infinite.
        """
        check_number(self.noise, "noise", above=0)
        check_choice(self.coupling, "coupling", ("paired", "independent"))
        check_integer(self.batch_size, "batch_size", minimum=1)
        check_integer(self.max_steps, "max_steps", minimum=1)
        check_number(self.learning_rate, "learning_rate", above=0)
        check_number(self.t_max, "t_max", above=0, below=1)
        check_integer(self.sampling_steps, "sampling_steps", minimum=1)
        check_widths(self.hidden)
        source = check_array(X0, "X0", ndim=2, min_rows=2)
        target = check_array(X1, "X1", ndim=2, min_rows=2, n_columns=source.shape[1])
        if self.coupling == "paired" and len(source) != len(target):
            raise ValueError(f"X1 must have as many rows as X0 for coupling='paired', {len(source)}, got {len(target)}")
        both = np.concatenate([source, target])
        shift, scale = both.mean(axis=0), float(both.std(axis=0).mean()) or 1.0
        x0, x1 = (torch.from_numpy((rows - shift) / scale).float() for rows in (source, target))
        path = DiffusivePath(self.noise / scale**2)
        rng = numpy_generator(self.random_state)
        network = self._new_network(source.shape[1], seed_from(rng))

        def loss(network: nn.Module, step: int, generator: torch.Generator) -> Tensor:
            chosen = torch.randint(len(x1), (self.batch_size,), generator=generator)
            other = chosen if self.coupling == "paired" else torch.randint(len(x0), chosen.shape, generator=generator)
            start, end = x0[other], x1[chosen]
            t = self.t_max * torch.rand(self.batch_size, generator=generator)
            z = torch.randn(end.shape, generator=generator)
            # Antithetic: the target is singular at the end of time.
            shock = along(path.gamma.value(t), z) * z
            pull = along((2 * path.scale * t / (1 - t)).sqrt(), z) * z
            mean, rate = path.mean(t, start, end), path.rate(t, start, end)
            states = torch.cat([mean + shock, mean - shock])
            prediction = network(torch.cat([states, start.repeat(2, 1)], dim=1), t.repeat(2))
            return regression_loss(prediction, torch.cat([rate - pull, rate + pull]))

        result = train(
            network,
            loss,
            n_steps=self.max_steps,
            optimizer=torch.optim.Adam(network.parameters(), lr=self.learning_rate, fused=True),
            schedule=lambda step: math.cos(math.pi / 2 * step / self.max_steps),
            seed=seed_from(rng),
            checkpoint_dir=checkpoint_dir,
            resume=resume,
            device="cpu",
            description="diffusive interpolant",
            progress=progress,
        )
        # Only now, so that a fit that fails leaves the last one whole.
        self.shift_, self.scale_, self.n_features_in_ = shift, scale, source.shape[1]
        self.network_ = network.requires_grad_(False)
        self.losses_ = np.asarray(result.losses)
        return self

    def sample(
        self, x0: Any, *, n_samples: int | None = None, n_steps: int | None = None, random_state: int | None = None
    ) -> Any:
        """Draws of the end given each start.

        Parameters
        ----------
        x0 : array-like or Tensor, shape (batch, dim)
        n_samples : int, optional
            Draws a start.
        n_steps : int, optional
            Steps of Heun's method; by default `sampling_steps`.
        random_state : int, optional

        Returns
        -------
        array or Tensor, shape (batch, dim), or (batch, n_samples, dim) if `n_samples` is given
        """
        check_is_fitted(self, "network_")
        rows = check_array(x0, "x0", ndim=2, n_columns=self.n_features_in_)
        n = 1 if n_samples is None else check_integer(n_samples, "n_samples", minimum=1)
        steps = self.sampling_steps if n_steps is None else check_integer(n_steps, "n_steps", minimum=1)
        generator = torch_generator(self.random_state if random_state is None else random_state)
        start = torch.from_numpy((rows - self.shift_) / self.scale_).float().repeat_interleave(n, dim=0)
        noise = self.noise / self.scale_**2

        def drift(x: Float[Tensor, "batch dim"], t: float) -> Float[Tensor, "batch dim"]:
            return self.network_(torch.cat([x, start], dim=1), x.new_full((len(x),), t))

        times = np.linspace(0.0, self.t_max, steps + 1).tolist()
        end = heun(drift, start, times, math.sqrt(2 * noise), generator, noise_first=True, keep="last")[:, 0]
        end = end * self.scale_ + torch.from_numpy(self.shift_)
        return in_kind(end if n_samples is None else end.reshape(len(rows), n, -1), x0)

    def _new_network(self, dim: int, seed: int) -> MLP:
        with seeded(seed):
            return MLP(2 * dim, dim, self.hidden, time="concatenate")

    def _get_state(self) -> dict[str, Any]:
        state = {name: value for name, value in super()._get_state().items() if name != "network_"}
        return state | {f"network.{name}": tensor for name, tensor in self.network_.state_dict().items()}

    def _set_state(self, state: dict[str, Any]) -> None:
        weights = {name.removeprefix("network."): v for name, v in state.items() if name.startswith("network.")}
        super()._set_state({name: value for name, value in state.items() if not name.startswith("network.")})
        self.network_ = self._new_network(self.n_features_in_, 0)
        self.network_.load_state_dict(weights)
        self.network_.requires_grad_(False)

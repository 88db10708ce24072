"""The Schrödinger bridge by optimising the interpolant itself (theorem 3.10).

At a fixed interpolant the drift ``u = b + epsilon s`` minimises

    J(I, u) = int E[ |u(t, x_t)|^2 / 2 - (dI/dt + (gamma' - epsilon / gamma) z) . u(t, x_t) ] dt,     x_t = I + gamma z

to ``-int E|u|^2 dt / 2``. Maximising that over the interpolants, whose ends are fixed, gives the process from rho0 to rho1 of
least ``int E|u|^2 dt`` under ``d rho / dt + div(u rho) = epsilon laplace(rho)``: the Schrödinger bridge to Brownian motion of
variance ``2 epsilon`` over [0, 1].
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
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
from semigroup.densities.interpolants.paths import Brownian, Gamma, LinearInterpolant, along
from semigroup.nn.mlp import MLP
from semigroup.sde import heun
from semigroup.training import seeded, train

__all__ = ["GaussianBridge", "MaxMinBridge", "SinePath", "gaussian_bridge"]


@dataclass(frozen=True)
class SinePath(LinearInterpolant):
    """``alpha = 1 - t + sum_k A_k sin(k pi t)`` and ``beta = t + sum_k B_k sin(k pi t)``: keeps its ends whatever the
    coefficients.

    Examples
    --------
    >>> path = SinePath(torch.tensor([0.5]), torch.tensor([0.0]))
    >>> round(path.coefficients(0.5).alpha, 6)
    1.0
    """

    A: Float[Tensor, " term"]
    B: Float[Tensor, " term"]
    gamma: Gamma = field(default_factory=Brownian)

    def _angles(self, t: Tensor) -> tuple[Tensor, Tensor]:
        k = math.pi * torch.arange(1, len(self.A) + 1, dtype=t.dtype, device=t.device)
        return k, k * t[..., None]

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t + (self._angles(t)[1].sin() * self.A).sum(-1)

    def beta(self, t: Tensor) -> Tensor:
        return t + (self._angles(t)[1].sin() * self.B).sum(-1)

    def alpha_rate(self, t: Tensor) -> Tensor:
        k, angles = self._angles(t)
        return -1 + (k * angles.cos() * self.A).sum(-1)

    def beta_rate(self, t: Tensor) -> Tensor:
        k, angles = self._angles(t)
        return 1 + (k * angles.cos() * self.B).sum(-1)


# --- centred Gaussians, exactly ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GaussianBridge:
    """The Schrödinger bridge between N(0, sigma0^2) and N(0, sigma1^2) in one dimension, in closed form.

    Examples
    --------
    >>> truth = GaussianBridge(1.0, 2.0, 0.5)
    >>> round(truth.variance(0.5), 4), round(truth.cost, 5)
    (2.2808, 0.43121)
    """

    sigma0: float
    sigma1: float
    epsilon: float

    @property
    def covariance(self) -> float:
        """``E[x0 x1]``."""
        return (math.sqrt(4 * (self.sigma0 * self.sigma1) ** 2 + 4 * self.epsilon**2) - 2 * self.epsilon) / 2

    def variance(self, t: float) -> float:
        """Variance at time t."""
        ends = ((1 - t) * self.sigma0) ** 2 + (t * self.sigma1) ** 2
        return ends + 2 * t * (1 - t) * (self.covariance + self.epsilon)

    @property
    def cost(self) -> float:
        """``int E|u|^2 dt``, by quadrature."""
        nodes, weights = np.polynomial.legendre.leggauss(60)
        total = 0.0
        for t, w in zip((nodes + 1) / 2, weights / 2):
            slope = -(1 - t) * self.sigma0**2 + t * self.sigma1**2 + (1 - 2 * t) * (self.covariance + self.epsilon)
            total += w * (slope - self.epsilon) ** 2 / self.variance(t)
        return float(total)


def gaussian_bridge(
    sigma0: float, sigma1: float, epsilon: float, gamma: Gamma, *, n_terms: int = 6, max_iterations: int = 200
) -> tuple[SinePath, float]:
    """The saddle point between centred Gaussians with exact expectations, over sine paths.

    Of a linear path the law at t is N(0, C), ``C = alpha^2 sigma0^2 + beta^2 sigma1^2 + gamma^2``, the best drift is
    ``(C' / 2 - epsilon) / C x``, and what remains is to minimise ``int (C' / 2 - epsilon)^2 / C dt`` over the coefficients.

    Returns
    -------
    path : SinePath
    cost : float
        ``int E|u|^2 dt``.
    """
    nodes, weights = (torch.from_numpy(a) / 2 for a in np.polynomial.legendre.leggauss(200))
    t = nodes + 0.5
    parameters = torch.zeros(2, n_terms, dtype=torch.float64, requires_grad=True)

    def cost() -> Tensor:
        path = SinePath(parameters[0], parameters[1], gamma)
        alpha, beta = path.alpha(t), path.beta(t)
        C = alpha**2 * sigma0**2 + beta**2 * sigma1**2 + gamma.value(t) ** 2
        half_rate = alpha * path.alpha_rate(t) * sigma0**2 + beta * path.beta_rate(t) * sigma1**2 + gamma.product(t)
        return (weights * (half_rate - epsilon) ** 2 / C).sum()

    optimizer = torch.optim.LBFGS(
        [parameters], max_iter=max_iterations, line_search_fn="strong_wolfe", tolerance_change=1e-14
    )

    def closure() -> float:
        optimizer.zero_grad()
        value = cost()
        value.backward()
        return float(value.detach())

    optimizer.step(closure)
    with torch.no_grad():
        A, B = parameters.detach().clone()
        return SinePath(A, B, gamma), float(cost())


# --- from samples --------------------------------------------------------------------------------------------------


class MaxMinBridge(Estimator):
    """The Schrödinger bridge between two samples by the max-min problem of theorem 3.10, with networks.

    Every ascent step on the interpolant is preceded by several descent steps on the drift. The paper states the problem and
    reports no numbers for it. On point clouds `semigroup.densities.LightSB` solves the same problem in closed form.

    Parameters
    ----------
    epsilon : float
        Half the variance that the reference Brownian motion gains over [0, 1], in squared units of the data.
    gamma_scale : float
        a of the latent noise ``sqrt(a t (1 - t))``, in squared units of the data; 2 epsilon is the bridge's own.
    form : {"sine", "network"}
        The interpolant: `SinePath`, enough for Gaussians, or ``(1 - t) x0 + t x1 + t (1 - t) N(t, x0, x1)``.
    n_terms : int
        Terms of "sine".
    descent_steps : int
        Steps on the drift a step on the interpolant.
    hidden : tuple of int
        Widths of the perceptrons.
    batch_size, max_steps : int
        max_steps counts the steps on both, of which every (descent_steps + 1)-th is on the interpolant.
    learning_rate : float
        Of the drift; falls to zero by a quarter of a cosine.
    path_learning_rate : float
        Of the interpolant.
    t_min, t_max : float
        Times that are learnt and integrated over.
    sampling_steps : int
    random_state : int, optional

    Attributes
    ----------
    networks_ : ModuleDict
        "drift", and "path".
    losses_ : array, shape (max_steps,)
        J at each step, by its batch; it tends to ``-int E|u|^2 dt / 2``.
    shift_, scale_ : array, shape (dim,), float
        Centre and unit of both samples.
    n_features_in_ : int

    References
    ----------
    Albergo, M. S., Boffi, N. M. and Vanden-Eijnden, E. (2023). Stochastic Interpolants, arXiv:2303.08797, theorem 3.10.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X0, X1 = rng.normal(size=(2000, 1)), 2 * rng.normal(size=(2000, 1))
    >>> bridge = MaxMinBridge(form="sine", hidden=(32, 32), max_steps=200, random_state=0).fit(X0, X1)
    >>> bridge.transport(X0[:5]).shape
    (5, 1)
    """

    def __init__(
        self,
        *,
        epsilon: float = 0.5,
        gamma_scale: float = 1.0,
        form: Literal["network", "sine"] = "network",
        n_terms: int = 6,
        descent_steps: int = 5,
        hidden: Sequence[int] = (128, 128, 128),
        batch_size: int = 512,
        max_steps: int = 5000,
        learning_rate: float = 2e-3,
        path_learning_rate: float = 1e-3,
        t_min: float = 1e-3,
        t_max: float = 0.999,
        sampling_steps: int = 200,
        random_state: int | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.gamma_scale = gamma_scale
        self.form = form
        self.n_terms = n_terms
        self.descent_steps = descent_steps
        self.hidden = hidden
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.learning_rate = learning_rate
        self.path_learning_rate = path_learning_rate
        self.t_min = t_min
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
    ) -> MaxMinBridge:
        """Learn drift and interpolant from two independent samples.

        Parameters
        ----------
        X0, X1 : array-like or Tensor, shapes (n0, dim) and (n1, dim)
        progress, checkpoint_dir, resume
            As for `StochasticInterpolant.fit`.

        Raises
        ------
        ValueError, TypeError
            If an argument is out of its range, shapes do not match, or a value is NaN or infinite.
        RuntimeError
            Under several processes: descent and ascent take turns over the parameters, which their wrapper does not allow.
        """
        if (n_processes := _n_processes()) > 1:
            raise RuntimeError(f"MaxMinBridge trains in one process, and was started in {n_processes}")
        check_number(self.epsilon, "epsilon", above=0)
        check_number(self.gamma_scale, "gamma_scale", above=0)
        check_choice(self.form, "form", ("network", "sine"))
        for name in ("n_terms", "descent_steps", "batch_size", "max_steps", "sampling_steps"):
            check_integer(getattr(self, name), name, minimum=1)
        check_number(self.learning_rate, "learning_rate", above=0)
        check_number(self.path_learning_rate, "path_learning_rate", above=0)
        check_number(self.t_min, "t_min", above=0, below=1)
        check_number(self.t_max, "t_max", above=self.t_min, below=1)
        check_widths(self.hidden)
        source = check_array(X0, "X0", ndim=2, min_rows=2)
        target = check_array(X1, "X1", ndim=2, min_rows=2, n_columns=source.shape[1])
        both = np.concatenate([source, target])
        shift, scale = both.mean(axis=0), float(both.std(axis=0).mean()) or 1.0
        x0, x1 = (torch.from_numpy((rows - shift) / scale).float() for rows in (source, target))
        rng = numpy_generator(self.random_state)
        networks = self._new_networks(source.shape[1], seed_from(rng))
        gamma, epsilon = Brownian(self.gamma_scale / scale**2), self.epsilon / scale**2
        drift, path = networks["drift"], networks["path"]
        groups = [
            {"params": list(drift.parameters()), "lr": self.learning_rate},
            {"params": list(path.parameters()), "lr": self.path_learning_rate},
        ]

        def ascends(step: Any) -> Any:
            return step % (self.descent_steps + 1) == self.descent_steps

        def loss(_: nn.Module, step: int, generator: torch.Generator) -> Tensor:
            ascend = ascends(step)
            drift.requires_grad_(not ascend)
            path.requires_grad_(ascend)
            start = x0[torch.randint(len(x0), (self.batch_size,), generator=generator)]
            end = x1[torch.randint(len(x1), (self.batch_size,), generator=generator)]
            t = self.t_min + (self.t_max - self.t_min) * torch.rand(self.batch_size, generator=generator)
            z = torch.randn(start.shape, generator=generator)
            value = bridge_objective(drift, path, gamma, epsilon, t, start, end, z)
            return -value if ascend else value

        result = train(
            networks,
            loss,
            n_steps=self.max_steps,
            optimizer=torch.optim.Adam(groups, fused=True),
            schedule=lambda step: math.cos(math.pi / 2 * step / self.max_steps),
            seed=seed_from(rng),
            checkpoint_dir=checkpoint_dir,
            resume=resume,
            device="cpu",
            description="max-min bridge",
            progress=progress,
        )
        # Only now, so that a fit that fails leaves the last one whole.
        self.shift_, self.scale_, self.n_features_in_ = shift, scale, source.shape[1]
        self.networks_ = networks.requires_grad_(False)
        losses = np.asarray(result.losses)
        self.losses_ = np.where(ascends(np.arange(len(losses))), -losses, losses)
        return self

    @property
    def interpolant_(self) -> SinePath:
        """The learnt shares of x0 and x1, of rows counted from `shift_`, where form is "sine"."""
        check_is_fitted(self, "networks_")
        module = self.networks_["path"]
        if not isinstance(module, _SineModule):
            raise ValueError(f"form must be 'sine' for shares of x0 and x1, got {self.form!r}")
        return SinePath(module.A.double(), module.B.double(), Brownian(self.gamma_scale))

    def drift(self, x: Any, t: float) -> Any:
        """Drift of the bridge at states x, shape (batch, dim), and one time."""
        rows = self._check_rows(x, "x")
        t = min(max(check_number(t, "t", minimum=0, maximum=1), self.t_min), self.t_max)
        return in_kind(self.networks_["drift"](rows, rows.new_full((len(rows),), t)) * self.scale_, x)

    def transport(self, x0: Any, *, n_steps: int | None = None, random_state: int | None = None) -> Any:
        """Carry each row of the source to the target by the bridge's SDE."""
        return self.sample_paths(x0, [1.0], n_steps=n_steps, random_state=random_state)[:, 0]

    def sample_paths(self, x0: Any, times: Any, *, n_steps: int | None = None, random_state: int | None = None) -> Any:
        """One path of the bridge from each row of the source.

        Parameters
        ----------
        x0 : array-like or Tensor, shape (batch, dim)
        times : array-like, shape (n_times,)
            Increasing, within [0, 1].
        n_steps : int, optional
            Steps over [0, 1]; by default `sampling_steps`.
        random_state : int, optional

        Returns
        -------
        array or Tensor, shape (batch, n_times, dim)
        """
        rows = self._check_rows(x0, "x0")
        wanted = check_array(times, "times", ndim=1).tolist()
        if wanted[0] < 0 or wanted[-1] > 1 or any(b <= a for a, b in pairwise(wanted)):
            raise ValueError(f"times must increase strictly within [0, 1], got {times!r}")
        steps = self.sampling_steps if n_steps is None else check_integer(n_steps, "n_steps", minimum=1)
        inside = [min(max(time, self.t_min), self.t_max) for time in wanted]
        full = sorted({self.t_min, *inside})
        network, generator = (
            self.networks_["drift"],
            torch_generator(self.random_state if random_state is None else random_state),
        )
        path = heun(
            lambda x, t: network(x, x.new_full((len(x),), t)),
            rows,
            full,
            math.sqrt(2 * self.epsilon) / self.scale_,
            generator,
            noise_first=True,
            max_step=(self.t_max - self.t_min) / steps,
        )
        path = path[:, [full.index(time) for time in inside]] * self.scale_ + torch.from_numpy(self.shift_)
        return in_kind(path, x0)

    def _check_rows(self, value: Any, name: str) -> Tensor:
        check_is_fitted(self, "networks_")
        rows = check_array(value, name, ndim=2, n_columns=self.n_features_in_)
        return torch.from_numpy((rows - self.shift_) / self.scale_).float()

    def _new_networks(self, dim: int, seed: int) -> nn.ModuleDict:
        with seeded(seed):
            drift = MLP(dim, dim, self.hidden, time="concatenate")
            path = _SineModule(self.n_terms) if self.form == "sine" else _NetworkPath(dim, self.hidden)
            return nn.ModuleDict({"drift": drift, "path": path})

    def _get_state(self) -> dict[str, Any]:
        state = {name: value for name, value in super()._get_state().items() if name != "networks_"}
        return state | {f"networks.{name}": tensor for name, tensor in self.networks_.state_dict().items()}

    def _set_state(self, state: dict[str, Any]) -> None:
        weights = {name.removeprefix("networks."): v for name, v in state.items() if name.startswith("networks.")}
        super()._set_state({name: value for name, value in state.items() if not name.startswith("networks.")})
        self.networks_ = self._new_networks(self.n_features_in_, 0)
        self.networks_.load_state_dict(weights)
        self.networks_.requires_grad_(False)


def _n_processes() -> int:
    """How many processes train together, also before the first training has joined them."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size()
    return int(os.environ.get("WORLD_SIZE", "1"))


def bridge_objective(
    drift: Callable[[Tensor, Tensor], Tensor],
    path: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]],
    gamma: Gamma,
    epsilon: float,
    t: Float[Tensor, " batch"],
    x0: Float[Tensor, "batch dim"],
    x1: Float[Tensor, "batch dim"],
    z: Float[Tensor, "batch dim"],
) -> Float[Tensor, ""]:
    """J on one batch, at antithetic pairs; `path` gives I and its rate."""
    mean, rate = path(t, x0, x1)
    size = along(gamma.value(t), z)
    noise = along(gamma.product(t) - epsilon, z) / size * z
    states = torch.cat([mean + size * z, mean - size * z])
    return regression_loss(drift(states, t.repeat(2)), torch.cat([rate + noise, rate - noise]))


class _SineModule(nn.Module):
    """A `SinePath` whose coefficients are learnt."""

    def __init__(self, n_terms: int) -> None:
        super().__init__()
        self.A = nn.Parameter(torch.zeros(n_terms))
        self.B = nn.Parameter(torch.zeros(n_terms))

    def forward(self, t: Tensor, x0: Tensor, x1: Tensor) -> tuple[Tensor, Tensor]:
        path = SinePath(self.A, self.B)
        return path.mean(t, x0, x1), path.rate(t, x0, x1)


class _NetworkPath(nn.Module):
    """``(1 - t) x0 + t x1 + t (1 - t) N(t, x0, x1)`` and its rate, by forward differentiation."""

    def __init__(self, dim: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.correction = MLP(2 * dim, dim, hidden, time="concatenate")
        last = self.correction.rest[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, t: Tensor, x0: Tensor, x1: Tensor) -> tuple[Tensor, Tensor]:
        ends = torch.cat([x0, x1], dim=1)

        def mean(time: Tensor) -> Tensor:
            share = along(time, x0)
            return (1 - share) * x0 + share * x1 + share * (1 - share) * self.correction(ends, time)

        value, rate = torch.func.jvp(mean, (t,), (torch.ones_like(t),))  # type: ignore[misc]  # three only with aux
        return value, rate

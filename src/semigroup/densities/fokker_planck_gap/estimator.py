"""The estimator."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
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
from semigroup.densities.fokker_planck_gap.gaps import Bound, Gap, inside, sample_distance, wasserstein_bounds
from semigroup.densities.fokker_planck_gap.laws import (
    feynman_kac,
    log_normal,
    ode_log_density,
    sample_ode,
    sample_sde,
    sampling_times,
)
from semigroup.densities.fokker_planck_gap.potential import (
    ACTIVATIONS,
    MOST_EXACT,
    Activation,
    PotentialNetwork,
    hessian,
)
from semigroup.densities.fokker_planck_gap.residual import (
    CHUNK,
    ResidualProfile,
    residual,
    residual_gradient,
    residual_profile,
    uniform_points,
)
from semigroup.schedules import VE, VP, OrnsteinUhlenbeck, Schedule
from semigroup.sde import rademacher
from semigroup.training import seeded, train

__all__ = ["PotentialDiffusion"]

CHECKPOINT_EVERY = 500
# Where the rows end, the box goes on by this share of its side, so that the penalty and the histograms see the edge.
MARGIN = 0.1
LARGE_DIVERGENCE = 0.01  # nats
COLLAPSED = 0.5
MOST_NORMALISED = 3  # dimensions in which the normaliser is found by quadrature


class PotentialDiffusion(Estimator):
    """A diffusion model with a scalar potential, whose ODE and SDE are brought to the same law by a Fokker-Planck penalty.

    Parameters
    ----------
    residual_weight : float
        Weight w_R of the squared residual. 0 is plain denoising score matching. The gap falls with it; 0.1 to 1 is best for
        the ODE's samples, and what it gains is lost by the SDE's.
    schedule : {"ou", "vp", "ve"}
        Forward process: Ornstein-Uhlenbeck ``dx = -x dt + dW``, variance preserving, variance exploding (from 0.02 to 8). The
        residual is in 1 / time: where a schedule is k times faster, `residual_weight` means k^2 times less.
    horizon : float, optional
        T; by default 5 for "ou" and 1 otherwise.
    min_time : float
        Least time of training, epsilon.
    hidden : sequence of int
        Widths of the network's hidden layers.
    activation : {"softplus", "silu", "tanh"}
    beta : float
        Sharpness of the softplus.
    standardize : bool
        Centre the data and divide them by the mean standard deviation of their columns before everything else. Results are in the
        data's own units either way.
    box : tuple of two floats, optional
        Lower and upper end, in units of the data and for all columns alike, of the box of the penalty and of the distances.
        By default the range of each column and a tenth on both sides.
    penalty : {"residual", "gradient"}
        Penalise R^2, or ``|grad R|^2`` as FP-Diffusion does, which leaves the potential's constant free.
    residual_points : {"box", "half"}
        Where the residual is penalised: uniform in the box, or half of the points from the forward process.
    n_probes : int
        0 for the exact Laplacian (at most 20 dimensions), else the number of Hutchinson's probes in training; their variance
        adds to the penalty.
    weighting : {"variance", "none"}
        Weight of denoising score matching: the noise's variance at each time, or 1, which needs very large batches.
    warm_start : float
        Share of the steps without any penalty. Without it training may fall into the trivial solution of zero score.
    ramp : float
        Share of the steps over which the penalty's weight then rises.
    boundary_weight : float
        Weight of ``E exp(2 phi)`` on the faces of the box, where the density should vanish.
    initial_weight : float
        Weight of ``E|phi - log p_0|`` at `min_time`, for data whose log-density is known (`fit`).
    terminal_weight : float
        Weight of ``E|phi - log pi|`` at the horizon.
    n_steps : int
        Steps of Adam.
    batch_size : int
        Rows a step.
    n_residual : int
        Points of the penalty a step.
    learning_rate : float
        Divided by 5 at half of the steps and once more at 85 %.
    device : {"auto", "cpu", "cuda"}
        Where to train; "auto" is where `X` lies.
    random_state : int, optional

    Attributes
    ----------
    network_ : PotentialNetwork
        The potential in the standardised coordinates.
    shift_ : ndarray, shape (dim,)
        What is subtracted from the data.
    scale_ : float
        What they are divided by.
    box_ : ndarray, shape (2, dim)
        In units of the data.
    prior_std_ : float
        Standard deviation of the prior, in standardised units.
    losses_ : ndarray, shape (n_steps,)
        Training loss.
    explained_ : float
        Share of the score matching loss of a zero score that the model removes; near 0 it has collapsed. `fit` warns below
        half of what a Gaussian fitted to the data removes.
    n_features_in_ : int

    References
    ----------
    Deveney, T. et al. (2025). Closing the ODE-SDE gap in score-based diffusion models through the Fokker-Planck equation.
    arXiv:2311.15996.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(2.0, 0.5, (500, 1))
    >>> model = PotentialDiffusion(n_steps=400, hidden=(32, 32), random_state=0).fit(X)
    >>> model.sample(3).shape
    (3, 1)
    >>> model.gap(n_samples=500).ode_sde < 0.5
    True
    """

    def __init__(
        self,
        *,
        residual_weight: float = 0.1,
        schedule: Literal["ou", "vp", "ve"] = "ou",
        horizon: float | None = None,
        min_time: float = 1e-3,
        hidden: Sequence[int] = (80, 80, 80),
        activation: Activation = "softplus",
        beta: float = 20.0,
        standardize: bool = True,
        box: tuple[float, float] | None = None,
        penalty: Literal["residual", "gradient"] = "residual",
        residual_points: Literal["box", "half"] = "box",
        n_probes: int = 0,
        weighting: Literal["variance", "none"] = "variance",
        warm_start: float = 0.5,
        ramp: float = 0.1,
        boundary_weight: float = 0.0,
        initial_weight: float = 0.0,
        terminal_weight: float = 0.0,
        n_steps: int = 4000,
        batch_size: int = 512,
        n_residual: int = 512,
        learning_rate: float = 2e-3,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        random_state: int | None = None,
    ) -> None:
        self.residual_weight = residual_weight
        self.schedule = schedule
        self.horizon = horizon
        self.min_time = min_time
        self.hidden = hidden
        self.activation = activation
        self.beta = beta
        self.standardize = standardize
        self.box = box
        self.penalty = penalty
        self.residual_points = residual_points
        self.n_probes = n_probes
        self.weighting = weighting
        self.warm_start = warm_start
        self.ramp = ramp
        self.boundary_weight = boundary_weight
        self.initial_weight = initial_weight
        self.terminal_weight = terminal_weight
        self.n_steps = n_steps
        self.batch_size = batch_size
        self.n_residual = n_residual
        self.learning_rate = learning_rate
        self.device = device
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        *,
        initial_log_density: Callable[[np.ndarray], np.ndarray] | None = None,
        progress: bool = False,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> PotentialDiffusion:
        """Train the model.

        Parameters
        ----------
        X : array-like or Tensor, shape (n, dim)
        initial_log_density : callable, optional
            Log-density of the data at rows in their own units, for `initial_weight`.
        progress : bool
            Show a progress bar.
        checkpoint_dir : path, optional
            Keep a checkpoint there, every 500 steps and on Ctrl-C.
        resume : bool
            Continue from it.

        Returns
        -------
        PotentialDiffusion

        Raises
        ------
        ValueError, TypeError
            If an argument is out of its range, the box holds no row, or a value is NaN or infinite; the message names the
            argument.

        Warns
        -----
        UserWarning
            If the prior is far from the forward process's law at the horizon, or the score has collapsed to zero.
        """
        schedule, horizon = self._check_parameters(initial_log_density)
        rows = check_array(X, "X", ndim=2, min_rows=2)
        dim = rows.shape[1]
        if dim > MOST_EXACT and self.n_probes == 0 and self.residual_weight > 0:
            raise ValueError(
                f"n_probes must be > 0 for X with more than {MOST_EXACT} columns, got 0 and {dim} columns: the "
                "exact Laplacian costs "
                "one derivative a column"
            )
        shift, scale = np.zeros(dim), 1.0
        if self.standardize:
            shift, scale = rows.mean(axis=0), float(rows.std(axis=0).mean())
            if scale == 0:
                raise ValueError("X must have rows that differ, got identical ones")
        box = self._resolve_box(rows)
        prior_std = float(schedule.std(horizon))
        _warn_of_prior((rows - shift) / scale, schedule, horizon, prior_std)
        rng = numpy_generator(self.random_state)
        device = self._device(X)
        with seeded(seed_from(rng)):
            network = self._new_network(dim)
        x0 = torch.from_numpy((rows - shift) / scale).float().to(device)

        def log_density(z: Tensor) -> Tensor:
            assert initial_log_density is not None
            values = initial_log_density(shift + scale * z.double().cpu().numpy())
            return torch.as_tensor(values, dtype=z.dtype, device=z.device) + dim * float(np.log(scale))

        loss = _Loss(
            network,
            self,
            x0,
            schedule,
            horizon,
            torch.from_numpy((box - shift) / scale).float().to(device),
            prior_std,
            None if initial_log_density is None else log_density,
        ).to(device)
        result = train(
            loss,
            lambda module, step, generator: module(step, generator),
            n_steps=self.n_steps,
            optimizer=torch.optim.Adam(network.parameters(), lr=self.learning_rate, fused=True),
            schedule=lambda step: 0.2 ** ((step >= 0.5 * self.n_steps) + (step >= 0.85 * self.n_steps)),
            seed=seed_from(rng),
            checkpoint_dir=checkpoint_dir,
            checkpoint_every=CHECKPOINT_EVERY,
            resume=resume,
            device=device,
            description="fokker-planck-gap",
            progress=progress,
        )
        self.network_ = network.eval()
        self.shift_, self.scale_, self.box_ = shift, scale, box
        self.prior_std_ = prior_std
        self.losses_ = np.asarray(result.losses)
        self.n_features_in_ = dim
        with torch.no_grad():
            matched, zero = loss.matching(8192, torch_generator(rng, device))
        self.explained_ = 1 - float(matched) / float(zero)
        gaussian = loss.explained_by_a_gaussian()
        if self.explained_ < COLLAPSED * gaussian:
            warnings.warn(
                f"the score explains {self.explained_:.1%} of the noise, and that of a Gaussian fitted to X "
                f"{gaussian:.1%}: it is untrained, "
                "or near the trivial solution of the Fokker-Planck equation, which is zero; lower "
                "residual_weight, or raise warm_start, "
                "batch_size or n_steps",
                UserWarning,
                stacklevel=2,
            )
        return self

    # --- the two laws ---

    def sample(
        self,
        n: int,
        *,
        method: Literal["ode", "sde"] = "sde",
        n_steps: int = 200,
        random_state: int | None = None,
    ) -> Float[np.ndarray, "n dim"]:
        """Draw from the model.

        Parameters
        ----------
        n : int
        method : {"sde", "ode"}
            The reverse SDE, or the probability-flow ODE.
        n_steps : int
            Steps to the horizon; the last ten are cut into a hundred.
        random_state : int, optional
            Seed of this call; by default the estimator's.

        Raises
        ------
        SolverFailed
            If the score is NaN or infinite on the way; says at which step and at what share of the points.
        """
        check_is_fitted(self, "network_")
        check_integer(n, "n", minimum=1)
        check_choice(method, "method", ("ode", "sde"))
        states = self._trajectories(n, method, self._times(n_steps), self._generator(random_state), "last")
        return self._in_units(states[:, -1])

    def score_samples(
        self,
        X: Any,
        *,
        law: Literal["ode", "sde"] = "ode",
        n_paths: int = 64,
        random_state: int | None = None,
    ) -> Any:
        """Log-density of each row under the ODE's law, or under the SDE's.

        Parameters
        ----------
        X : array-like or Tensor, shape (n, dim)
        law : {"ode", "sde"}
            "ode": by the change of variables along the ODE, up to the tolerance of its solver. "sde": by the Feynman-Kac
            formula over random forward paths, a Monte-Carlo estimate.
        n_paths : int
            Forward paths a row, for "sde".
        random_state : int, optional

        Returns
        -------
        array or Tensor, shape (n,)
            In nats, per unit of volume of the data's space.
        """
        z, _ = self._at(X, 0.0, "X")
        check_choice(law, "law", ("ode", "sde"))
        check_integer(n_paths, "n_paths", minimum=1)
        schedule, horizon = self._dynamics()
        if law == "ode":
            values = ode_log_density(
                self.network_, z, schedule, prior_std=self.prior_std_, min_time=self.min_time, horizon=horizon
            )
        else:
            with torch.no_grad():
                phi = self.network_(z, torch.full_like(z[:, 0], self.min_time))
            generator = self._generator(random_state)
            gaps = [
                feynman_kac(
                    self.network_,
                    part,
                    self.min_time,
                    schedule,
                    prior_std=self.prior_std_,
                    horizon=horizon,
                    n_paths=n_paths,
                    generator=generator,
                ).gap
                for part in z.split(max(1, CHUNK // n_paths))
            ]
            values = phi - torch.cat(gaps)
        return in_kind(values - z.shape[1] * float(np.log(self.scale_)), X)

    # --- the audit ---

    def potential(self, X: Any, t: Any) -> Any:
        """phi at rows and times: up to a function of t, the log-density of the standardised forward process; shape (n,)."""
        z, times = self._at(X, t, "X")
        with torch.no_grad():
            return in_kind(self.network_(z, times), X)

    def score_function(self, X: Any, t: Any) -> Any:
        """Gradient of the potential with respect to the data, in 1 / their unit; shape (n, dim)."""
        z, times = self._at(X, t, "X")
        with torch.no_grad():
            return in_kind(self.network_.score(z, times) / self.scale_, X)

    def residual(self, X: Any, t: Any) -> Any:
        """The Fokker-Planck residual R at rows and times, in 1 / time.

        Parameters
        ----------
        X : array-like or Tensor, shape (n, dim)
            In units of the data.
        t : float or array-like, shape (n,)

        Returns
        -------
        array or Tensor, shape (n,)
        """
        z, times = self._at(X, t, "X")
        with torch.no_grad():
            return in_kind(residual(self.network_, z, times, self._dynamics()[0]), X)

    def residual_profile(
        self, *, n_times: int = 50, n_points: int = 1000, random_state: int | None = None
    ) -> ResidualProfile:
        """The residual over the box at times from `min_time` to the horizon, closer together near the data."""
        check_is_fitted(self, "network_")
        check_integer(n_times, "n_times", minimum=2)
        check_integer(n_points, "n_points", minimum=2)
        schedule, horizon = self._dynamics()
        times = self.min_time + (horizon - self.min_time) * np.linspace(0, 1, n_times) ** 2
        return residual_profile(
            self.network_,
            times.tolist(),
            self._scaled_box(),
            schedule,
            n_points=n_points,
            generator=self._generator(random_state),
        )

    def gap(
        self,
        X: Any = None,
        *,
        n_samples: int = 5000,
        n_steps: int = 200,
        n_bins: int = 64,
        random_state: int | None = None,
    ) -> Gap:
        """Wasserstein-2 distances between samples of the ODE, of the SDE and the data, inside `box_`.

        Parameters
        ----------
        X : array-like or Tensor, shape (n, dim), optional
            Data to compare with, best not those of `fit`.
        n_samples : int
        n_steps : int
            Of the samplers.
        n_bins : int
            Grid of the histograms in two dimensions.
        random_state : int, optional
        """
        check_is_fitted(self, "network_")
        check_integer(n_samples, "n_samples", minimum=2)
        times, generator = self._times(n_steps), self._generator(random_state)
        ode, sde, again = (
            self._in_units(self._trajectories(n_samples, method, times, generator, "last")[:, -1])
            for method in ("ode", "sde", "sde")
        )
        truth = None if X is None else check_array(X, "X", ndim=2, n_columns=self.n_features_in_)

        def distance(one: np.ndarray, other: np.ndarray) -> float:
            return sample_distance(one, other, self.box_, n_bins=n_bins)

        return Gap(
            ode_sde=distance(ode, sde),
            ode_truth=None if truth is None else distance(ode, truth),
            sde_truth=None if truth is None else distance(sde, truth),
            floor=distance(sde, again),
            dropped_ode=float(1 - inside(ode, self.box_).mean()),
            dropped_sde=float(1 - inside(sde, self.box_).mean()),
        )

    def bound(
        self,
        *,
        n_samples: int = 500,
        n_steps: int = 200,
        n_states: int = 32,
        n_paths: int = 64,
        n_times: int = 10,
        random_state: int | None = None,
    ) -> Bound:
        """Estimates of the three upper bounds on the gap, and of both sides of the energy identity.

        They are estimates and no certificates: the largest eigenvalue is taken over samples of both laws rather than over all
        of space, the normaliser is a quadrature over the box, and the Fisher term comes from random paths.

        Parameters
        ----------
        n_samples : int
            States of each law at each time of the samplers.
        n_steps : int
            Of the samplers.
        n_states, n_paths : int
            States at a time, and forward paths from each, for the Fisher term.
        n_times : int
            Times at which the Fisher term is estimated.
        random_state : int, optional

        Returns
        -------
        Bound
            In units of the data.

        Raises
        ------
        ValueError
            In more than three dimensions, where there is no quadrature.
        """
        check_is_fitted(self, "network_")
        for name, value in (("n_samples", n_samples), ("n_paths", n_paths), ("n_times", n_times)):
            check_integer(value, name, minimum=2)
        check_integer(n_states, "n_states", minimum=1, maximum=n_samples)
        if self.n_features_in_ > MOST_NORMALISED:
            raise ValueError(
                f"bound is for at most {MOST_NORMALISED} dimensions, where exp(phi) can be normalised by quadrature, got "
                f"{self.n_features_in_}; gap and residual_profile have no limit"
            )
        schedule, horizon = self._dynamics()
        generator, down = self._generator(random_state), self._times(n_steps)
        states = {
            law: self._trajectories(n_samples, law, down, generator, "all").transpose(0, 1) for law in ("sde", "ode")
        }
        kept = [i for i, t in enumerate(down) if t >= self.min_time][::-1]
        times = np.array([down[i] for i in kept])
        flat_times = torch.tensor(times, dtype=torch.float32, device=states["sde"].device).repeat_interleave(n_samples)
        drawn = {law: path[kept].reshape(-1, self.n_features_in_) for law, path in states.items()}
        with torch.no_grad():
            R = self._by_rows(lambda x, t: residual(self.network_, x, t, schedule), drawn["sde"], flat_times)
            bends = [
                self._by_rows(lambda x, t: torch.linalg.eigvalsh(hessian(self.network_, x, t))[:, -1], rows, flat_times)
                for rows in drawn.values()
            ]
            start = drawn["sde"].new_full((n_samples,), horizon)
            prior = states["sde"][0]
            terminal = float((log_normal(prior, self.prior_std_) - self.network_(prior, start)).mean())
        noise = np.array([float(schedule.diffusion(t)) for t in times])
        rate = np.array([float(schedule.rate(t)) for t in times])
        largest = torch.stack(bends).reshape(2, len(times), n_samples).amax((0, 2)).double().cpu().numpy()
        mean_residual = R.reshape(len(times), n_samples).mean(1).double().cpu().numpy()
        energy = float(np.trapezoid(mean_residual, times)) + terminal + self._log_normaliser(times[0])

        chosen = np.unique(np.rint((len(times) - 1) * np.linspace(0, 1, n_times) ** 2).astype(int))
        fisher, effective = [], []
        for i in chosen:
            found = feynman_kac(
                self.network_,
                states["sde"][kept[i]][:n_states],
                float(times[i]),
                schedule,
                prior_std=self.prior_std_,
                horizon=horizon,
                n_paths=n_paths,
                generator=generator,
            )
            fisher.append(float(found.gradient.square().sum(1).mean()))
            effective.append(float(found.effective_paths.mean()) / n_paths)
        bound = wasserstein_bounds(
            times, noise, -rate + noise**2 / 2 * largest, np.interp(times, times[chosen], fisher), energy
        )
        return Bound(
            direct=self.scale_ * bound.direct,
            cauchy_schwarz=self.scale_ * bound.cauchy_schwarz,
            residual=self.scale_ * bound.residual,
            fisher=bound.fisher,
            energy=bound.energy,
            log_expansion=bound.log_expansion,
            effective_paths=min(effective),
        )

    # --- inside ---

    def _check_parameters(self, initial_log_density: Any) -> tuple[Schedule, float]:
        for name in ("residual_weight", "boundary_weight", "initial_weight", "terminal_weight"):
            check_number(getattr(self, name), name, minimum=0)
        check_choice(self.schedule, "schedule", ("ou", "vp", "ve"))
        if self.horizon is not None:
            check_number(self.horizon, "horizon", above=0)
        schedule, horizon = self._dynamics()
        check_number(self.min_time, "min_time", above=0, below=horizon)
        if not len(self.hidden):
            raise ValueError("hidden must name at least one width, got none")
        for width in self.hidden:
            check_integer(width, "hidden", minimum=1)
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"activation must be twice differentiable, one of {', '.join(map(repr, ACTIVATIONS))}, got {self.activation!r}"
            )
        check_number(self.beta, "beta", above=0)
        check_choice(self.penalty, "penalty", ("residual", "gradient"))
        check_choice(self.residual_points, "residual_points", ("box", "half"))
        check_choice(self.weighting, "weighting", ("variance", "none"))
        check_integer(self.n_probes, "n_probes", minimum=0)
        if self.n_probes and self.penalty == "gradient":
            raise ValueError('n_probes must be 0 for penalty="gradient", which differentiates the exact Laplacian')
        check_number(self.warm_start, "warm_start", minimum=0, maximum=1)
        check_number(self.ramp, "ramp", minimum=0, maximum=1)
        for name in ("n_steps", "batch_size", "n_residual"):
            check_integer(getattr(self, name), name, minimum=1)
        check_number(self.learning_rate, "learning_rate", above=0)
        check_choice(self.device, "device", ("auto", "cpu", "cuda"))
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device must be one that torch sees, got 'cuda' and no CUDA device is visible")
        if self.initial_weight > 0 and initial_log_density is None:
            raise ValueError("initial_log_density must be given where initial_weight > 0: the data's own is not known")
        return schedule, horizon

    def _dynamics(self) -> tuple[Schedule, float]:
        """The forward process and its horizon."""
        default = 5.0 if self.schedule == "ou" else 1.0
        horizon = default if self.horizon is None else float(self.horizon)
        if self.schedule == "ou":
            return OrnsteinUhlenbeck(horizon), horizon
        return (VP() if self.schedule == "vp" else VE(0.02, 8.0)), horizon

    def _resolve_box(self, rows: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "2 dim"]:
        if self.box is None:
            low, high = rows.min(axis=0), rows.max(axis=0)
            if (low == high).any():
                raise ValueError(f"box must be given where columns of X are constant ({np.flatnonzero(low == high)})")
            margin = MARGIN * (high - low)
            return np.stack([low - margin, high + margin])
        if len(self.box) != 2:
            raise ValueError(f"box must be a lower and an upper end, got {self.box!r}")
        low, high = (check_number(value, "box") for value in self.box)
        if low >= high:
            raise ValueError(f"box must have lower < upper, got {low:g} and {high:g}")
        box = np.stack([np.full(rows.shape[1], low), np.full(rows.shape[1], high)])
        if not inside(rows, box).any():
            raise ValueError(f"box holds no row of X: it spans {low:g} to {high:g}")
        return box

    def _device(self, X: Any) -> str:
        if self.device != "auto":
            return self.device
        return X.device.type if isinstance(X, Tensor) else "cpu"

    def _new_network(self, dim: int) -> PotentialNetwork:
        return PotentialNetwork(dim, tuple(self.hidden), activation=self.activation, beta=self.beta)

    def _weights_device(self) -> torch.device:
        return next(self.network_.parameters()).device

    def _generator(self, random_state: int | None) -> torch.Generator:
        return torch_generator(self.random_state if random_state is None else random_state, self._weights_device())

    def _times(self, n_steps: int) -> list[float]:
        check_integer(n_steps, "n_steps", minimum=11)
        return sampling_times(self._dynamics()[1], n_steps)

    def _trajectories(
        self,
        n: int,
        law: str,
        times: list[float],
        generator: torch.Generator,
        keep: Literal["last", "all"],
    ) -> Float[Tensor, "n times dim"]:
        device = self._weights_device()
        x = self.prior_std_ * torch.randn(n, self.n_features_in_, generator=generator, device=device)
        schedule = self._dynamics()[0]
        if law == "ode":
            return sample_ode(self.network_.score, x, times, schedule, keep=keep)
        return sample_sde(self.network_.score, x, times, schedule, generator, keep=keep)

    def _in_units(self, z: Tensor) -> np.ndarray:
        return self.shift_ + self.scale_ * z.double().cpu().numpy()

    def _scaled_box(self) -> Float[Tensor, "2 dim"]:
        return torch.from_numpy((self.box_ - self.shift_) / self.scale_).float().to(self._weights_device())

    def _at(self, value: Any, t: Any, name: str) -> tuple[Tensor, Tensor]:
        """Rows and their times in the network's coordinates."""
        check_is_fitted(self, "network_")
        rows = check_array(value, name, ndim=2, n_columns=self.n_features_in_)
        times = check_array(t, "t", ndim=(0, 1))
        horizon = self._dynamics()[1]
        if times.ndim and len(times) != len(rows):
            raise ValueError(f"t must be one time, or one for each of the {len(rows)} rows, got {len(times)}")
        if (times < 0).any() or (times > horizon).any():
            raise ValueError(f"t must lie in [0, {horizon:g}], got {t!r}")
        device = self._weights_device()
        z = torch.from_numpy((rows - self.shift_) / self.scale_).float().to(device)
        at = torch.from_numpy(np.broadcast_to(times, len(rows)).copy()).float().to(device)
        return z, at

    @staticmethod
    def _by_rows(function: Callable[[Tensor, Tensor], Tensor], x: Tensor, t: Tensor) -> Tensor:
        return torch.cat([function(a, b) for a, b in zip(x.split(CHUNK), t.split(CHUNK), strict=True)])

    def _log_normaliser(self, t: float) -> float:
        """Log of the integral of exp(phi) over the box, by the midpoint rule."""
        box, dim = self._scaled_box(), self.n_features_in_
        n = {1: 4000, 2: 300, 3: 60}[dim]
        middles = [low + (high - low) * (torch.arange(n, device=box.device) + 0.5) / n for low, high in box.T]
        points = torch.cartesian_prod(*middles).reshape(-1, dim)
        with torch.no_grad():
            phi = self._by_rows(self.network_, points, torch.full_like(points[:, 0], t))
        return float(phi.double().logsumexp(0) + ((box[1] - box[0]).double() / n).log().sum())

    def _get_state(self) -> dict[str, Any]:
        state = super()._get_state()
        network = state.pop("network_")
        return state | {f"network.{name}": tensor for name, tensor in network.state_dict().items()}

    def _set_state(self, state: dict[str, Any]) -> None:
        weights = {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}
        super()._set_state({name: value for name, value in state.items() if not name.startswith("network.")})
        self.network_ = self._new_network(self.n_features_in_)
        self.network_.load_state_dict(weights)
        self.network_.eval()


class _Loss(nn.Module):
    """The training loss of a step; a module of its own, so that several processes can share its gradients."""

    def __init__(
        self,
        network: PotentialNetwork,
        settings: PotentialDiffusion,
        x0: Float[Tensor, "n dim"],
        schedule: Schedule,
        horizon: float,
        box: Float[Tensor, "2 dim"],
        prior_std: float,
        initial_log_density: Callable[[Tensor], Tensor] | None,
    ) -> None:
        super().__init__()
        self.network = network
        self.settings, self.x0, self.schedule, self.horizon, self.box = settings, x0, schedule, horizon, box
        self.prior_std, self.initial_log_density = prior_std, initial_log_density

    def forward(self, step: int, generator: torch.Generator) -> Float[Tensor, ""]:
        given = self.settings
        loss = self.matching(given.batch_size, generator)[0]
        # The last bias is in no derivative, and several processes wait for the gradients of all parameters.
        loss = loss + 0 * self.network.linear_layers()[-1].bias.sum()
        weight = self._share(step)
        if weight == 0:
            return loss
        if given.residual_weight > 0:
            x, t = self._points(generator)
            if given.penalty == "gradient":
                off = residual_gradient(self.network, x, t, self.schedule)[0].square().sum(1)
            else:
                probes = rademacher(given.n_probes, x, generator) if given.n_probes else None
                off = residual(self.network, x, t, self.schedule, probes=probes).square()
            loss = loss + weight * given.residual_weight * off.mean()
        if given.boundary_weight > 0:
            x, t = uniform_points(self.box, given.n_residual, generator), self._uniform_times(generator)
            face = torch.randint(2 * x.shape[1], (len(x), 1), generator=generator, device=x.device)
            x = x.scatter(1, face // 2, self.box[face % 2, face // 2])
            loss = loss + weight * given.boundary_weight * (2 * self.network(x, t)).exp().mean()
        if given.initial_weight > 0:
            assert self.initial_log_density is not None
            x = uniform_points(self.box, given.n_residual, generator)
            phi = self.network(x, x.new_full((len(x),), given.min_time))
            loss = loss + weight * given.initial_weight * (phi - self.initial_log_density(x)).abs().mean()
        if given.terminal_weight > 0:
            x = uniform_points(self.box, given.n_residual, generator)
            phi = self.network(x, x.new_full((len(x),), self.horizon))
            loss = loss + weight * given.terminal_weight * (phi - log_normal(x, self.prior_std)).abs().mean()
        return loss

    def matching(self, n: int, generator: torch.Generator) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Denoising score matching on a fresh batch: the model's loss, and that of a zero score."""
        x, t, noise = self._noised(n, generator)
        std = self.schedule.std(t)[:, None]
        score = self.network.score(x, t)
        if self.settings.weighting == "variance":
            return (std * score + noise).square().mean(), noise.square().mean()
        return (score + noise / std).square().mean(), (noise / std).square().mean()

    def explained_by_a_gaussian(self) -> float:
        """Share of a zero score's loss that the score of Gaussian data with the same variances removes: ``std^2 / (std^2 +
        scale^2 var)``.
        """
        t = self._beta_times((torch.arange(1000, device=self.x0.device) + 0.5) / 1000)[:, None]
        noise, kept = self.schedule.std(t) ** 2, self.schedule.scale(t) ** 2 * self.x0.var(0)
        weight = torch.ones_like(noise) if self.settings.weighting == "variance" else 1 / noise
        return float((weight * noise / (noise + kept)).mean() / weight.mean())

    def _share(self, step: int) -> float:
        """How much of the penalties' weight is on."""
        begin, length = self.settings.warm_start * self.settings.n_steps, self.settings.ramp * self.settings.n_steps
        if step < begin:
            return 0.0
        return 1.0 if length == 0 else min(1.0, (step - begin + 1) / length)

    def _noised(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of the data diffused to times of a Beta(1, 2) law, their times and their noise."""
        device = self.x0.device
        chosen = torch.randint(len(self.x0), (n,), generator=generator, device=device)
        u = torch.rand(n, generator=generator, device=device)
        t = self._beta_times(u)
        noise = torch.randn(n, self.x0.shape[1], generator=generator, device=device)
        x = self.schedule.scale(t)[:, None] * self.x0[chosen] + self.schedule.std(t)[:, None] * noise
        return x, t, noise

    def _beta_times(self, u: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Times of the Beta(1, 2) law by its quantiles: more of them near the data."""
        return self.settings.min_time + (self.horizon - self.settings.min_time) * (1 - u.sqrt())

    def _uniform_times(self, generator: torch.Generator) -> Float[Tensor, " n"]:
        u = torch.rand(self.settings.n_residual, generator=generator, device=self.box.device)
        return self.settings.min_time + (self.horizon - self.settings.min_time) * u

    def _points(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Where the residual is penalised."""
        x, t = uniform_points(self.box, self.settings.n_residual, generator), self._uniform_times(generator)
        if self.settings.residual_points == "box":
            return x, t
        half = self.settings.n_residual // 2
        on_path, at, _ = self._noised(self.settings.n_residual - half, generator)
        return torch.cat([x[:half], on_path]), torch.cat([t[:half], at])


def _warn_of_prior(z: Float[np.ndarray, "n dim"], schedule: Schedule, horizon: float, prior_std: float) -> None:
    """Warn where the Gaussian with the terminal law's moments is far from the prior."""
    scale, std = float(schedule.scale(horizon)), float(schedule.std(horizon))
    variance = (scale**2 * z.var(axis=0) + std**2) / prior_std**2
    mean = scale * z.mean(axis=0) / prior_std
    divergence = float(0.5 * (variance - 1 - np.log(variance) + mean**2).sum())
    if divergence > LARGE_DIVERGENCE:
        warnings.warn(
            f"the forward process at the horizon is {divergence:.2g} nats from the prior (by their first two "
            "moments): raise horizon, "
            "or standardize",
            UserWarning,
            stacklevel=3,
        )

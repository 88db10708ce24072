"""The estimator."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
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
from semigroup.densities.fokker_planck_gap.audit import bound, gap
from semigroup.densities.fokker_planck_gap.gaps import Bound, Gap, inside
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
    Activation,
    PotentialNetwork,
)
from semigroup.densities.fokker_planck_gap.residual import (
    ResidualProfile,
    residual,
    residual_gradient,
    residual_profile,
    rows_at_once,
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
MOST_EXACT = 20  # dimensions; beyond, training on the exact Laplacian costs more than probes that are as good
N_PROBED = 256  # points at which a density of the user's is tried before training
# Each has random numbers of its own, whatever else was drawn from the model.
USES = ("ode", "sde", "likelihood", "profile", "gap", "bound")


class PotentialDiffusion(Estimator):
    """A diffusion model with a scalar potential, whose ODE and SDE are brought to the same law by a Fokker-Planck penalty.

    Parameters
    ----------
    residual_weight : float
        Weight w_R of the squared residual. 0 is plain denoising score matching. The gap falls with it; 0.1 to 1 is best for
        the ODE's samples, and what it gains is lost by the SDE's.
    schedule : {"ou", "vp", "ve"}
        Forward process: Ornstein-Uhlenbeck ``dx = -x dt + dW``, variance preserving, variance exploding (from 0.02 to 8).

        **The default `residual_weight` is for "ou".** The residual is in 1 / time: where a schedule is k times as fast, its
        square is k^2 times as large, so take a weight k^2 times smaller. g^2 goes up to 20 under "vp", and further under "ve":
        begin with ``residual_weight=1e-3`` there. With 0.1 a model under "ve" learns next to nothing, and `fit` warns.
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
        Centre the data and divide them by one number, the mean standard deviation of their columns, before everything else.
        Results are in the data's own units either way. The noise is the same in all columns, and so are the distances: a column
        in a unit that makes it ten times smaller than the others is hardly seen by either. Bring the columns to comparable
        units first.
    box : tuple of two floats, optional
        Lower and upper end, in units of the data and for all columns alike, of the box of the penalty and of the distances.
        By default the range of each column and a tenth on both sides.
    penalty : {"residual", "gradient"}
        Penalise R^2, or ``|grad R|^2`` as FP-Diffusion does, which leaves the potential's constant free and is for at most 20
        columns.
    residual_points : {"box", "half"}
        Where the residual is penalised: uniform in the box, or half of the points from the forward process.
    n_probes : int
        0 for the exact Laplacian (at most 20 columns), else the number of Hutchinson's probes in training; their variance
        adds to the penalty. Once trained, a model is audited with the exact one whatever its columns.
    weighting : {"variance", "none"}
        Weight of denoising score matching: the noise's variance at each time, or 1, which needs very large batches.
    warm_start : float
        Share of the steps without any penalty. Without it training may fall into the trivial solution of zero score.
    ramp : float
        Share of the steps over which the penalty's weight then rises; with `warm_start` at most 1.
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
        Divided by 5 where the penalty enters, though not before half of the steps, and once more at 70 % of what then remains. A
        warm start as long as another's is therefore the same training, whatever follows.
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
        y: Any = None,
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
        y : ignored
        initial_log_density : callable, optional
            Log-density of the data at rows in their own units, for `initial_weight`: one finite number a row, everywhere in the
            box.
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
            argument. All of it before training.

        Warns
        -----
        UserWarning
            If the prior is far from the forward process's law at the horizon, or the score has collapsed to zero.
        """
        schedule, horizon = self._check_parameters(initial_log_density)
        rows = check_array(X, "X", ndim=2, min_rows=2)
        dim = rows.shape[1]
        if dim > MOST_EXACT and self.n_probes == 0 and self.residual_weight > 0:
            if self.penalty == "gradient":
                raise ValueError(
                    f'penalty="gradient" is for X with at most {MOST_EXACT} columns, got {dim}: it differentiates the exact '
                    'Laplacian, which costs a derivative a column; penalty="residual" can do with n_probes'
                )
            raise ValueError(
                f"n_probes must be > 0 for X with more than {MOST_EXACT} columns, got 0 and {dim} columns: the exact Laplacian "
                "costs a derivative a column (Hutchinson's estimate does not)"
            )
        shift, scale = np.zeros(dim), 1.0
        if self.standardize:
            shift, scale = rows.mean(axis=0), float(rows.std(axis=0).mean())
            if scale == 0:
                raise ValueError("X must have rows that differ, got identical ones")
        box = self._resolve_box(rows)
        if self.initial_weight > 0:
            _check_density(initial_log_density, box)
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
            schedule=self._learning_rate_share,
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
        check_integer(n_steps, "n_steps", minimum=11)
        schedule, horizon = self._dynamics()
        times, generator = sampling_times(horizon, n_steps), self._generator(method, random_state)
        x = self.prior_std_ * torch.randn(n, self.n_features_in_, generator=generator, device=self._weights_device())
        if method == "ode":
            states = sample_ode(self.network_.score, x, times, schedule)
        else:
            states = sample_sde(self.network_.score, x, times, schedule, generator)
        return self.shift_ + self.scale_ * states[:, -1].double().cpu().numpy()

    def score_samples(
        self,
        X: Any,
        *,
        law: Literal["ode", "sde"] = "ode",
        n_paths: int = 64,
        random_state: int | None = None,
    ) -> Any:
        """Log-density of each row under the ODE's law, or under the SDE's, both at `min_time`.

        There a row carries the noise of `min_time` (standard deviation about ``min_time**0.5``, in standardised units, for "ou"),
        so that details of the data below it are smoothed.

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
            generator = self._generator("likelihood", random_state)
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
                for part in z.split(max(1, rows_at_once(z.shape[1]) // n_paths))
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
            schedule, chunk = self._dynamics()[0], rows_at_once(z.shape[1])
            parts = zip(z.split(chunk), times.split(chunk), strict=True)
            return in_kind(torch.cat([residual(self.network_, a, b, schedule) for a, b in parts]), X)

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
            generator=self._generator("profile", random_state),
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

        For a model that was not trained here there is the function of the same name, and for samples that are there already
        `gap_of_samples`.

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
        rows = None if X is None else check_array(X, "X", ndim=2, n_columns=self.n_features_in_)
        schedule, horizon = self._dynamics()
        found = gap(
            self.network_.score,
            schedule,
            None if rows is None else (rows - self.shift_) / self.scale_,
            box=self._scaled_box(),
            horizon=horizon,
            prior_std=self.prior_std_,
            n_samples=n_samples,
            n_steps=n_steps,
            n_bins=n_bins,
            generator=self._generator("gap", random_state),
        )
        return replace(
            found,
            ode_sde=self.scale_ * found.ode_sde,
            ode_truth=None if found.ode_truth is None else self.scale_ * found.ode_truth,
            sde_truth=None if found.sde_truth is None else self.scale_ * found.sde_truth,
            floor=self.scale_ * found.floor,
        )

    def bound(
        self,
        *,
        n_samples: int = 500,
        n_steps: int = 200,
        n_states: int = 128,
        n_paths: int = 8,
        n_times: int = 20,
        random_state: int | None = None,
    ) -> Bound:
        """Estimates of the three upper bounds on the gap, and of both sides of the energy identity.

        They are estimates and no certificates: the largest eigenvalue is taken over samples of both laws rather than over all
        of space, the normaliser is a quadrature over the box, and the energy and the Fisher term come from random paths. For a
        model that was not trained here there is the function of the same name.

        Parameters
        ----------
        n_samples : int
            States of each law at each time of the samplers.
        n_steps : int
            Of the samplers.
        n_states, n_paths : int
            For the Fisher term: states at a time, and forward paths of each of two estimates there.
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
        schedule, horizon = self._dynamics()
        found = bound(
            self.network_,
            schedule,
            box=self._scaled_box(),
            horizon=horizon,
            prior_std=self.prior_std_,
            min_time=self.min_time,
            n_samples=n_samples,
            n_steps=n_steps,
            n_states=n_states,
            n_paths=n_paths,
            n_times=n_times,
            generator=self._generator("bound", random_state),
        )
        return replace(
            found,
            direct=self.scale_ * found.direct,
            cauchy_schwarz=self.scale_ * found.cauchy_schwarz,
            residual=self.scale_ * found.residual,
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
        if not isinstance(self.hidden, Sequence) or isinstance(self.hidden, str):
            raise TypeError(f"hidden must be a sequence of integers, got {self.hidden!r}")
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
        if self.warm_start + self.ramp > 1 + 1e-9:
            raise ValueError(
                f"ramp must be at most 1 - warm_start, or the penalty never reaches its weight: got {self.ramp:g} and a "
                f"warm_start of {self.warm_start:g}"
            )
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
        if not isinstance(self.box, Sequence | np.ndarray) or isinstance(self.box, str):
            raise TypeError(f"box must be a lower and an upper end, got {self.box!r}")
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

    def _generator(self, use: str, random_state: int | None) -> torch.Generator:
        base = seed_from(self.random_state if random_state is None else random_state)
        return torch_generator(np.random.default_rng([base, USES.index(use)]), self._weights_device())

    def _learning_rate_share(self, step: int) -> float:
        """What the learning rate is multiplied by."""
        # A warm start over all of the steps is no warm start of anything.
        first = max(0.5, self.warm_start) if self.warm_start < 1 else 0.5
        second = first + 0.7 * (1 - first)
        return 0.2 ** ((step >= first * self.n_steps) + (step >= second * self.n_steps))

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

    def _get_state(self) -> dict[str, Any]:
        check_is_fitted(self, "network_")
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


def _check_density(log_density: Any, box: Float[np.ndarray, "2 dim"]) -> None:
    """Try a user's density in the box: one finite number a row."""
    if not callable(log_density):
        raise TypeError(f"initial_log_density must be a function of rows, got {log_density!r}")
    rows = box[0] + (box[1] - box[0]) * numpy_generator(0).random((N_PROBED, box.shape[1]))
    values = np.asarray(log_density(rows))
    if values.shape != (N_PROBED,):
        raise ValueError(
            f"initial_log_density must give one number a row, shape ({N_PROBED},) for {N_PROBED} rows, got {values.shape}"
        )
    bad = ~np.isfinite(values.astype(np.float64))
    if bad.any():
        raise ValueError(
            f"initial_log_density must be finite everywhere in the box, got {values[bad][0]} at {bad.mean():.0%} of "
            f"{N_PROBED} points there: draw the box closer, or bound the density from below"
        )


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

"""The estimator."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from sklearn.base import clone
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
from semigroup.densities.interpolants.base import MAX_ROWS, Base
from semigroup.densities.interpolants.losses import (
    FIELDS,
    FieldNetwork,
    FieldNetworks,
    OneSidedNetwork,
    check_widths,
    interpolant_loss,
)
from semigroup.densities.interpolants.paths import (
    CustomInterpolant,
    Interpolant,
    LinearInterpolant,
    Zero,
    make_interpolant,
)
from semigroup.densities.interpolants.sampling import (
    Epsilon,
    LearntFields,
    denoising_chain,
    feynman_kac_paths,
    noise_size,
    ode_log_likelihood,
    reverse_sde_paths,
    sample_ode,
    sample_sde,
    time_grid,
)
from semigroup.densities.mixtures import GaussianMixture
from semigroup.sde import rademacher, solve_ode_with_divergence
from semigroup.training import seeded, train

__all__ = ["StochasticInterpolant"]

CHECKPOINT_EVERY = 1000
# What goes through a network at once when sampling: so many rows, of so many numbers together, of which a U-Net makes some
# ten times as many a layer.
BLOCK_ROWS = 50_000
BLOCK_ENTRIES = 2**22
Integrator = Literal["auto", "dopri5", "heun", "euler-maruyama", "denoising"]

# What may be learnt together, by the sides of the interpolant: enough for the velocity, nothing twice.
LEARNABLE: dict[str, tuple[set[str], ...]] = {
    "two": (
        *({"b"}, {"b", "eta"}, {"b", "s"}, {"b", "energy"}, {"v", "eta"}, {"v", "s"}, {"v", "energy"}),
        *({"eta0", "eta1"}, {"eta0", "eta"}, {"eta1", "eta"}),
    ),
    "one": ({"b"}, {"b", "eta"}, {"b", "s"}, {"b", "energy"}, {"eta"}, {"eta1"}, {"eta", "eta1"}, {"s", "eta1"}),
    "mirror": ({"eta"}, {"s"}, {"energy"}, {"b", "eta"}, {"b", "s"}, {"b", "energy"}),
}


class StochasticInterpolant(Estimator):
    """A generative model or transport map from an interpolant between two samples, by an ODE or an SDE of any noise level.

    ``fit(X0, X1)`` joins two samples; ``fit(None, X1)`` starts from the standard Gaussian, and ``fit(GaussianMixture(...), X1)``
    from that; on the path "mirror" it joins a sample to itself. Rows are vectors, or images with three axes.

    Parameters
    ----------
    path : str or Interpolant
        "linear", "trig", "trig-plain", "encoding-decoding"; from Gaussian noise alone "one-sided-linear", "one-sided-trig",
        "one-sided-sbdm"; "mirror". Or an object of `semigroup.densities.interpolants`, such as `CustomPath`.
    gamma : str, Gamma or callable
        The latent noise: "brownian", "quadratic", "sin2", "sigmoid", "zero"; "auto" is "sin2" for "encoding-decoding", "zero"
        for the one-sided paths and "brownian" for the others.
    gamma_scale : float
        The a of "brownian", ``sqrt(a t (1 - t))``, in squared units of the data.
    learn : tuple of str
        Fields that are regressed, each by its own network: "b" (velocity), "v" (spatial velocity), "eta" (denoiser), "s" (score),
        "energy" (score as minus a gradient), "eta0", "eta1" (posterior means). One-sided and mirror paths need one alone. With
        "eta", "eta0" and "eta1" are divided by a share that vanishes at one end, where the velocity then is less exact.
    coupling : {"independent", "paired"}
        Whether row i of X0 belongs to row i of X1.
    epsilon : float
        Noise level of sampling, in squared units of the data a unit of time; 0 is the ODE. Every method takes another one, or
        a function of the time: it needs no new training.
    epsilon_profile : {"constant", "gamma"}
        Whether a noise level given as a number holds at all times, or is the highest of one that vanishes at the ends like gamma
        (one-sided: like alpha). Where gamma is not "brownian" and "eta" was learnt, a constant one is singular there.
    hidden : tuple of int
        Widths of the perceptron for rows that are vectors.
    activation : {"silu", "relu"}
    unet_width : int
        Channels of the first level of the U-Net for rows that are images, divisible by 8.
    batch_size : int
        Draws of ``(t, x0, x1, z)`` a step; with latent noise each is used with both signs of z.
    max_steps : int
        Steps of Adam.
    learning_rate : float
        Halved every `halve_every` steps.
    halve_every : int
    ema_decay : float, optional
        Keep this moving average of the weights in place of the last ones.
    t_min : float
        Beginning of the times that are learnt and integrated over; above 0 where there is latent noise, which vanishes there.
    t_max : float
        Their end; below 1 where there is noise of any kind.
    rtol : float
        Relative tolerance of the ODE's adaptive solver.
    atol : float
        Its absolute tolerance.
    sampling_steps : int
        Steps of the other integrators, unless a method is told another number.
    time_grid : {"noise", "uniform"}
        Their steps: proportional to the size of the latent noise, which keeps the score's 1 / gamma at the ends harmless, but
        none longer than three equal ones; or equal.
    device : {"auto", "cpu", "cuda"}
        Where to train; "auto" is where X1 lies.
    random_state : int, optional
        Seed of everything random.

    Attributes
    ----------
    networks_ : FieldNetworks
        A `FieldNetwork` a field.
    base_ : Base
        Where samples start.
    mean_ : array, shape (*shape,)
        Of X1.
    losses_ : array, shape (max_steps,)
        Training loss of each step, up to a constant.
    shape_ : list of int
        Of one row.

    Notes
    -----
    The paper's networks for two dimensions are ``hidden=(512,) * 4`` with "relu" and 7000 steps of larger batches.

    References
    ----------
    Albergo, M. S., Boffi, N. M. and Vanden-Eijnden, E. (2023). Stochastic Interpolants: A Unifying Framework for Flows and
    Diffusions. arXiv:2303.08797.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X1 = 0.5 * rng.normal(size=(1000, 2)) + [3.0, 0.0]
    >>> model = StochasticInterpolant(hidden=(32, 32), max_steps=300, batch_size=128, random_state=0).fit(None, X1)
    >>> bool(abs(model.sample(2000).mean(axis=0) - [3.0, 0.0]).max() < 0.3)
    True
    >>> model.sample(2000, epsilon=0.5).std(axis=0).shape
    (2,)
    >>> int(model.score_samples([[3.0, 0.0], [9.0, 0.0]]).argmax())
    0
    """

    networks_: FieldNetworks
    base_: Base

    def __init__(
        self,
        *,
        path: Any = "linear",
        gamma: Any = "auto",
        gamma_scale: float = 1.0,
        learn: Sequence[str] = ("b", "eta"),
        coupling: Literal["independent", "paired"] = "independent",
        epsilon: float = 0.0,
        epsilon_profile: Literal["constant", "gamma"] = "constant",
        hidden: Sequence[int] = (128, 128, 128, 128),
        activation: Literal["silu", "relu"] = "silu",
        unet_width: int = 32,
        batch_size: int = 512,
        max_steps: int = 4000,
        learning_rate: float = 2e-3,
        halve_every: int = 1500,
        ema_decay: float | None = None,
        t_min: float = 1e-4,
        t_max: float = 0.9999,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        sampling_steps: int = 200,
        time_grid: Literal["noise", "uniform"] = "noise",
        device: Literal["auto", "cpu", "cuda"] = "auto",
        random_state: int | None = None,
    ) -> None:
        self.path = path
        self.gamma = gamma
        self.gamma_scale = gamma_scale
        self.learn = learn
        self.coupling = coupling
        self.epsilon = epsilon
        self.epsilon_profile = epsilon_profile
        self.hidden = hidden
        self.activation = activation
        self.unet_width = unet_width
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.learning_rate = learning_rate
        self.halve_every = halve_every
        self.ema_decay = ema_decay
        self.t_min = t_min
        self.t_max = t_max
        self.rtol = rtol
        self.atol = atol
        self.sampling_steps = sampling_steps
        self.time_grid = time_grid
        self.device = device
        self.random_state = random_state

    # --- learning ---

    def fit(
        self,
        X0: Any,
        X1: Any,
        *,
        progress: bool = False,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> StochasticInterpolant:
        """Learn the fields of the interpolant from X0 to X1.

        Parameters
        ----------
        X0 : array-like or Tensor of shape (n0, dim) or (n0, channels, size, size), None, or GaussianMixture
            Rows of the source; None is the standard Gaussian, or X1 itself on the path "mirror". A one-sided path takes None,
            or a mixture of a single centred Gaussian.
        X1 : array-like or Tensor, shape (n1, dim) or (n1, channels, size, size)
            Rows of the target.
        progress : bool
            Show a progress bar.
        checkpoint_dir : path, optional
            Keep a checkpoint there, every 1000 steps and on Ctrl-C.
        resume : bool
            Continue from it.

        Returns
        -------
        StochasticInterpolant

        Raises
        ------
        ValueError, TypeError
            If an argument is out of its range or does not go with the path, shapes do not match, or a value is NaN or infinite;
            the message names the argument.
        """
        interpolant = self._check_parameters()
        target = check_array(X1, "X1", ndim=(2, 4), min_rows=2)
        if target.ndim == 4 and not target.shape[2] == target.shape[3] >= 2:
            raise ValueError(f"X1 must hold square images of two pixels a side or more, got shape {target.shape}")
        device = self._device(X1)
        x1 = torch.from_numpy(target).float().to(device)
        base = self._check_source(X0, target, interpolant).to(device)
        if self.coupling == "paired" and (base.rows is None or len(base.rows) != len(x1)):
            got = "a density" if base.rows is None else f"{len(base.rows)} rows"
            raise ValueError(f"X0 must have as many rows as X1 for coupling='paired', {len(x1)}, got {got}")
        if isinstance(interpolant, CustomInterpolant):
            n = min(100, len(x1)) if base.rows is None else min(100, len(x1), len(base.rows))
            interpolant.check_ends(base.sample(n, torch.Generator(device).manual_seed(0)), x1[:n])

        rng = numpy_generator(self.random_state)
        shape = tuple(target.shape[1:])
        networks = self._new_networks(shape, seed_from(rng), *self._scales(interpolant, base, x1))
        result = train(
            networks,
            _Step(self, interpolant, base, x1),
            n_steps=self.max_steps,
            optimizer=torch.optim.Adam(networks.parameters(), lr=self.learning_rate, fused=True),
            schedule=lambda step: 0.5 ** (step // self.halve_every),
            seed=seed_from(rng),
            ema_decay=self.ema_decay,
            checkpoint_dir=checkpoint_dir,
            checkpoint_every=CHECKPOINT_EVERY,
            resume=resume,
            device=device,
            description="interpolants",
            progress=progress,
        )
        kept = networks if result.averaged is None else result.averaged
        assert isinstance(kept, FieldNetworks)
        self.networks_ = kept.requires_grad_(False).eval()
        if base.rows is not None and len(base.rows) > MAX_ROWS:
            order = torch.from_numpy(rng.permutation(len(base.rows))[:MAX_ROWS])
            base = Base(shape, rows=base.rows[order.to(device)])
        self.base_ = base
        self.shape_ = list(shape)
        self.mean_ = target.mean(axis=0)
        self.losses_ = np.asarray(result.losses)
        return self

    def rectify(
        self, n: int = 20_000, *, max_steps: int | None = None, random_state: int | None = None, progress: bool = False
    ) -> StochasticInterpolant:
        """A model with the same map and straighter paths (a rectified flow): fitted to pairs ``(z, X_1(z))`` of this model's ODE.

        On the linear path the rectified paths are straight lines, and `one_step` jumps along them.

        Parameters
        ----------
        n : int
            Pairs.
        max_steps : int, optional
            Steps of training; by default as many as this model's.
        random_state : int, optional
            Seed of the pairs and of the new model, which is given one of its own; by default the estimator's.
        progress : bool

        Returns
        -------
        StochasticInterpolant
            Without latent noise, so with an ODE only.
        """
        names = {
            "one-sided-linear": "linear",
            "one-sided-trig": "trig-plain",
            "linear": "linear",
            "trig-plain": "trig-plain",
        }
        if not (isinstance(self.path, str) and self.path in names):
            raise ValueError(f"path must be one of {', '.join(names)} to be rectified, got {self.path!r}")
        check_is_fitted(self, "networks_")
        check_integer(n, "n", minimum=2)
        if max_steps is not None:
            check_integer(max_steps, "max_steps", minimum=1)
        rng = numpy_generator(self.random_state if random_state is None else random_state)
        generator = torch_generator(rng, next(self.networks_.parameters()).device)
        start = self.base_.sample(n, generator)
        end = self._transport(start, False, 0.0, None, "auto", None, generator)
        straight = clone(self).set_params(
            path=names[self.path],
            gamma="zero",
            learn=("b",),
            coupling="paired",
            epsilon=0.0,
            max_steps=self.max_steps if max_steps is None else max_steps,
            # The teacher's seed would give its first weights and its batches again.
            random_state=seed_from(rng),
        )
        straight.fit(start, end, progress=progress)
        straight.base_ = self.base_  # the law of the starting points, which may have a density
        return straight

    # --- sampling ---

    def sample(
        self,
        n: int,
        *,
        epsilon: Any = None,
        n_steps: int | None = None,
        integrator: Integrator = "auto",
        stop: float | None = None,
        random_state: int | None = None,
    ) -> np.ndarray:
        """Draw from the model of the target.

        Parameters
        ----------
        n : int
        epsilon, n_steps, integrator, stop
            As for `transport`.
        random_state : int, optional
            Seed of this call; by default the estimator's.

        Returns
        -------
        array, shape (n, *shape)
            On a base that is a sample, the starting points are drawn from (at most 10,000 of) its rows.
        """
        check_is_fitted(self, "networks_")
        generator = self._generator(random_state)
        start = self.base_.sample(check_integer(n, "n", minimum=1), generator)
        return self._transport(start, False, epsilon, n_steps, integrator, stop, generator).cpu().numpy()

    def transport(
        self,
        x: Any,
        *,
        backward: bool = False,
        epsilon: Any = None,
        n_steps: int | None = None,
        integrator: Integrator = "auto",
        stop: float | None = None,
        random_state: int | None = None,
    ) -> Any:
        """Carry rows of the source to the target, or backward in time rows of the target to the source.

        Parameters
        ----------
        x : array-like or Tensor, shape (batch, *shape)
        backward : bool
        epsilon : float or callable, optional
            Noise level, or a function of the time; by default the estimator's. 0 is the ODE, whose backward map is the inverse.
        n_steps : int, optional
            Steps of a fixed size, for all integrators but "dopri5"; by default the ODE is solved adaptively, and the SDE takes
            `sampling_steps`.
        integrator : {"auto", "dopri5", "heun", "euler-maruyama", "denoising"}
            "denoising" is the chain of eq. 5.14 for the ODE of a one-sided path.
        stop : float, optional
            Integrate to this time only and finish with one step of denoising, the posterior mean ``E[x1 | x_t]``: for an SDE
            whose score is singular at the end. On "encoding-decoding" a time after 1/2.
        random_state : int, optional
            Seed of this call; by default the estimator's.

        Returns
        -------
        array or Tensor, shape (batch, *shape)

        Raises
        ------
        ValueError
            If there is noise and no score was learnt, or an argument does not go with another.
        """
        start = self._check_rows(x, "x")
        generator = self._generator(random_state)
        return in_kind(self._transport(start, backward, epsilon, n_steps, integrator, stop, generator), x)

    def sample_paths(
        self,
        x0: Any,
        times: Any,
        *,
        epsilon: Any = None,
        n_steps: int | None = None,
        random_state: int | None = None,
    ) -> Any:
        """One path from each row of the source.

        Parameters
        ----------
        x0 : array-like or Tensor, shape (batch, *shape)
            States at time 0.
        times : array-like, shape (n_times,)
            Strictly increasing, within [0, 1].
        epsilon, n_steps, random_state
            As for `transport`.

        Returns
        -------
        array or Tensor, shape (batch, n_times, *shape)
        """
        start = self._check_rows(x0, "x0")
        wanted = check_array(times, "times", ndim=1).tolist()
        if wanted[0] < 0 or wanted[-1] > 1 or any(b <= a for a, b in pairwise(wanted)):
            raise ValueError(f"times must increase strictly within [0, 1], got {times!r}")
        noise = self._check_epsilon(epsilon)
        inside = [min(max(time, self.t_min), self.t_max) for time in wanted]
        # Times outside the learnt interval are its ends, and the path starts at its beginning.
        full = sorted({self.t_min, *inside})
        generator = self._generator(random_state)
        grid = sorted({*full, *(time for time in self._grid(self.t_max, n_steps) if time < full[-1])})
        parts = []
        for block in _blocks(start):
            if len(full) == 1:
                path = block[:, None]
            elif noise == 0 and n_steps is None:
                path = sample_ode(self.fields_, block, full, rtol=self.rtol, atol=self.atol)
            else:
                path = sample_sde(self.fields_, block, grid, noise, generator)[:, [grid.index(time) for time in full]]
            parts.append(path[:, [full.index(time) for time in inside]])
        return in_kind(torch.cat(parts), x0)

    def sample_with_log_likelihood(
        self, n: int, *, n_probes: int | None = None, random_state: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws of the ODE with their log-likelihoods, in one pass.

        Parameters
        ----------
        n : int
        n_probes : int, optional
            Estimate the divergence from this many random signs; by default it is exact, at one derivative a coordinate.
        random_state : int, optional

        Returns
        -------
        samples : array, shape (n, *shape)
        log_likelihood : array, shape (n,)
            In nats.
        """
        base = self._base_with_density()
        generator = self._generator(random_state)
        start = base.sample(check_integer(n, "n", minimum=1), generator)
        ends, values = [], []
        for block in _blocks(start):
            path, integral = solve_ode_with_divergence(
                self.fields_.velocity,
                block,
                [self.t_min, self.t_max],
                probes=self._probes(n_probes, block, generator),
                rtol=self.rtol,
                atol=self.atol,
                stops=self.fields_.stops,
            )
            ends.append(path[:, -1])
            values.append(base.log_prob(block) - integral[:, -1])
        return torch.cat(ends).cpu().numpy(), torch.cat(values).cpu().numpy()

    def one_step(self, x0: Any) -> Any:
        """The whole map in one evaluation, ``(b(0, x) - alpha'(0) x) / beta'(0)``: exact for a rectified model with straight
        paths.

        For any other model it is the posterior mean of the target given the start.

        Raises
        ------
        ValueError
            If there is latent noise, which is in the velocity at t = 0, or the path does not leave its start along x1.
        """
        start = self._check_rows(x0, "x0")
        interpolant = self._interpolant()
        if interpolant.sides == "two" and not isinstance(interpolant.gamma, Zero):
            raise ValueError(
                f"one_step needs gamma='zero' or a one-sided path, got gamma={self.gamma!r} on the path {self.path!r}: the "
                "latent noise is in the velocity at t = 0"
            )
        if not isinstance(interpolant, LinearInterpolant) or interpolant.coefficients(0.0).beta_dot == 0:
            raise ValueError(f"path must be linear in x1 and leave its start at once for one step, got {self.path!r}")
        c = interpolant.coefficients(0.0)
        return in_kind((self.fields_.velocity(start, self.t_min) - c.alpha_dot * start) / c.beta_dot, x0)

    # --- likelihood ---

    def score_samples(self, X: Any, *, n_probes: int | None = None, random_state: int | None = None) -> Any:
        """Log-likelihood of each row under the ODE's samples, in nats.

        Of a tensor too it is a number without a gradient; `ode_log_likelihood` of `fields_` has one by the rows.

        Parameters
        ----------
        X : array-like or Tensor, shape (batch, *shape)
        n_probes : int, optional
            Estimate the divergence from this many random signs; by default it is exact, at one derivative a coordinate.
        random_state : int, optional
            Seed of the signs.

        Returns
        -------
        array or Tensor, shape (batch,)

        Raises
        ------
        ValueError
            If the base has no density: on the path "mirror", or where X0 was a sample or a mixture with an atom.
        SolverFailed
            If the integrator fails, as it may far from all data.
        """
        rows, base = self._check_rows(X, "X"), self._base_with_density()
        generator = self._generator(random_state)
        values = [
            ode_log_likelihood(
                self.fields_,
                block,
                (self.t_min, self.t_max),
                base.log_prob,
                probes=self._probes(n_probes, block, generator),
                rtol=self.rtol,
                atol=self.atol,
            )
            for block in _blocks(rows)
        ]
        return in_kind(torch.cat(values), X)

    def score(self, X: Any) -> float:
        """Mean log-likelihood of the rows, in nats."""
        return float(np.mean(np.asarray(self.score_samples(check_array(X, "X", ndim=(2, 4))))))

    def score_samples_feynman_kac(
        self,
        X: Any,
        *,
        epsilon: Any = None,
        n_paths: int = 32,
        n_steps: int | None = None,
        n_probes: int | None = None,
        random_state: int | None = None,
    ) -> Any:
        """Log-likelihood of each row under the SDE's samples: the log of a mean over paths that start in it (theorem 2.5).

        Consistent for the model's own density whatever its fields; of finitely many paths the logarithm is too low on average.

        Parameters
        ----------
        X : array-like or Tensor, shape (batch, *shape)
        epsilon : float or callable, optional
            Noise level; by default the estimator's.
        n_paths : int
            A row.
        n_steps, n_probes, random_state
            As for `transport` and `score_samples`.

        Returns
        -------
        array or Tensor, shape (batch,)
        """
        values = self._along_backward_paths(feynman_kac_paths, X, epsilon, n_paths, n_steps, n_probes, random_state)
        return in_kind(torch.logsumexp(values, dim=1) - math.log(n_paths), X)

    def score_samples_reverse_sde(
        self,
        X: Any,
        *,
        epsilon: Any = None,
        n_paths: int = 32,
        n_steps: int | None = None,
        n_probes: int | None = None,
        random_state: int | None = None,
    ) -> Any:
        """What the published programs call the SDE's log-likelihood: a mean along paths of the backward SDE.

        It is the log-likelihood only if the learnt score is the exact score of the model's own density; else it is biased by an
        amount that no number of paths removes. Parameters and result are those of `score_samples_feynman_kac`.
        """
        values = self._along_backward_paths(reverse_sde_paths, X, epsilon, n_paths, n_steps, n_probes, random_state)
        return in_kind(values.mean(dim=1), X)

    def cross_entropy_bound(
        self,
        X: Any,
        *,
        epsilon: Any = None,
        n_paths: int = 1,
        n_steps: int | None = None,
        n_probes: int | None = None,
        random_state: int | None = None,
    ) -> float:
        """Upper bound on the cross-entropy of the rows' law and the SDE's samples, in nats.

        It is Jensen's of `score_samples_feynman_kac`, whose parameters it takes.
        """
        values = self._along_backward_paths(feynman_kac_paths, X, epsilon, n_paths, n_steps, n_probes, random_state)
        return -float(values.mean())

    # --- fields ---

    @property
    def fields_(self) -> LearntFields:
        """The learnt fields: ``fields_.velocity(x, t)``, ``score``, ``denoiser``, ``target_mean``, of float32 tensors."""
        check_is_fitted(self, "networks_")
        interpolant = self._interpolant()
        device = next(self.networks_.parameters()).device
        covariance = None
        if interpolant.sides == "one" and self.base_.mixture is not None:
            covariance = self.base_.mixture.covariances[0].float().to(device)
        mean = torch.from_numpy(self.mean_).float().to(device)
        return LearntFields(interpolant, dict(self.networks_.items()), mean=mean, covariance=covariance)

    def velocity(self, x: Any, t: float) -> Any:
        """Velocity b at states x, shape (batch, *shape), and one time within [0, 1]."""
        return in_kind(self.fields_.velocity(self._check_rows(x, "x"), self._check_time(t)), x)

    def score_function(self, x: Any, t: float) -> Any:
        """Gradient of the log-density of x_t at states x, shape (batch, *shape), and one time within [0, 1]."""
        rows = self._check_rows(x, "x")
        self._need_score("score_function")
        return in_kind(self.fields_.score(rows, self._check_time(t)), x)

    def denoiser(self, x: Any, t: float) -> Any:
        """Mean of the latent noise given x_t = x, ``E[z | x_t = x]``; one-sided, of x0."""
        rows = self._check_rows(x, "x")
        self._need_score("denoiser")
        return in_kind(self.fields_.denoiser(rows, self._check_time(t)), x)

    # --- inside ---

    def _check_parameters(self) -> Interpolant:
        interpolant = self._interpolant()
        learn = tuple(self.learn)
        for name in learn:
            check_choice(name, "learn", FIELDS)
        allowed = LEARNABLE[interpolant.sides]
        if interpolant.sides == "two" and isinstance(interpolant.gamma, Zero):
            if set(learn) not in ({"b"}, {"v"}):
                raise ValueError(f"learn must be ('b',) where gamma is zero: there is no score, got {learn!r}")
        elif set(learn) not in allowed or len(set(learn)) != len(learn):
            raise ValueError(
                f"learn must be one of {', '.join(map(str, map(sorted, allowed)))} on this path, got {learn!r}"
            )
        if not isinstance(interpolant, LinearInterpolant) and {"eta0", "eta1"} & set(learn):
            raise ValueError(
                f"learn must not hold 'eta0' or 'eta1' on a path that is not linear in x0 and x1, got {learn!r}"
            )
        # Of the three means, what "eta" and one of the others leave is divided by its own share of x_t.
        hidden_share = {frozenset({"eta0", "eta"}): "beta", frozenset({"eta1", "eta"}): "alpha"}.get(frozenset(learn))
        if interpolant.sides == "two" and hidden_share is not None:
            assert isinstance(interpolant, LinearInterpolant)
            share = getattr(interpolant, hidden_share)(torch.linspace(0, 1, 1001, dtype=torch.float64)[1:-1])
            if bool((share == 0).any()):
                raise ValueError(
                    f"learn must not be {learn!r} on a path whose {hidden_share} is zero at times between its ends, got "
                    f"path={self.path!r}"
                )
        check_choice(self.coupling, "coupling", ("independent", "paired"))
        if self.coupling == "paired" and interpolant.sides != "two":
            raise ValueError(f"coupling must be 'independent' on the path {self.path!r}, which takes one sample")
        check_number(self.epsilon, "epsilon", minimum=0)
        check_choice(self.epsilon_profile, "epsilon_profile", ("constant", "gamma"))
        check_choice(self.activation, "activation", ("silu", "relu"))
        check_widths(self.hidden)
        if check_integer(self.unet_width, "unet_width", minimum=8) % 8:
            raise ValueError(f"unet_width must be divisible by 8, got {self.unet_width}")
        check_integer(self.batch_size, "batch_size", minimum=1)
        check_integer(self.max_steps, "max_steps", minimum=1)
        check_number(self.learning_rate, "learning_rate", above=0)
        check_integer(self.halve_every, "halve_every", minimum=1)
        if self.ema_decay is not None:
            check_number(self.ema_decay, "ema_decay", minimum=0, below=1)
        # Scores, and targets of regressions, are of the order of one over the noise, which vanishes at the ends.
        one_sided = interpolant.sides == "one"
        if one_sided or (interpolant.sides == "two" and isinstance(interpolant.gamma, Zero)):
            check_number(self.t_min, "t_min", minimum=0, below=1)
        else:
            check_number(self.t_min, "t_min", above=0, below=1)
        if interpolant.sides == "two" and isinstance(interpolant.gamma, Zero):
            check_number(self.t_max, "t_max", above=self.t_min, maximum=1)
        else:
            check_number(self.t_max, "t_max", above=self.t_min, below=1)
        check_number(self.rtol, "rtol", above=0)
        check_number(self.atol, "atol", above=0)
        check_integer(self.sampling_steps, "sampling_steps", minimum=1)
        check_choice(self.time_grid, "time_grid", ("noise", "uniform"))
        check_choice(self.device, "device", ("auto", "cpu", "cuda"))
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device must be one that torch sees, got 'cuda' and no CUDA device is visible")
        return interpolant

    def _check_source(self, X0: Any, target: np.ndarray, interpolant: Interpolant) -> Base:
        """The base that X0 stands for."""
        shape = tuple(target.shape[1:])
        if isinstance(X0, GaussianMixture):
            if shape != (X0.dim,):
                raise ValueError(f"X0 must have the dimension of X1's rows, {shape}, got {X0.dim}")
            if interpolant.sides == "one" and (len(X0.weights) > 1 or bool(X0.means.abs().max() > 0)):
                raise ValueError(
                    f"X0 must be None or a single centred Gaussian on the one-sided path {self.path!r}, got a mixture"
                )
            if interpolant.sides != "mirror":
                base = Base(shape, mixture=X0)
                if interpolant.sides == "one" and base.is_singular:
                    raise ValueError(
                        f"X0 must have a covariance that is not singular on the one-sided path {self.path!r}, whose noise it is"
                    )
                return base
        if interpolant.sides == "one" and X0 is not None:
            raise ValueError(f"X0 must be None on the one-sided path {self.path!r}, which starts from Gaussian noise")
        if X0 is None:
            rows = torch.from_numpy(target).float() if interpolant.sides == "mirror" else None
            return Base(shape, rows=rows)
        if interpolant.sides == "mirror" and not _same(X0, target):
            raise ValueError("X0 must be None or X1 itself on the path 'mirror', which joins a sample to itself")
        source = check_array(X0, "X0", ndim=target.ndim, min_rows=2)
        if source.shape[1:] != target.shape[1:]:
            raise ValueError(f"X1 must have rows of the shape of X0's, {source.shape[1:]}, got {target.shape[1:]}")
        return Base(shape, rows=torch.from_numpy(source).float())

    def _scales(self, interpolant: Interpolant, base: Base, x1: Tensor) -> tuple[Tensor, float, float]:
        """Centre and unit of the networks, and the variance of one-sided noise."""
        if interpolant.sides == "one":
            noise = 1.0 if base.mixture is None else float(base.mixture.covariances[0].diagonal().mean())
            return x1.mean(0), float(x1.var(dim=0).mean().sqrt()) or 1.0, noise
        generator = torch.Generator(x1.device).manual_seed(0)
        x0 = base.sample(min(len(x1), 10_000), generator) if base.rows is None else base.rows
        gap = (x0.mean(0) - x1.mean(0)).square().mean() / 4
        variance = (x0.var(dim=0).mean() + x1.var(dim=0).mean()) / 2 + gap
        return (x0.mean(0) + x1.mean(0)) / 2, float(variance.sqrt()) or 1.0, 1.0

    def _new_networks(
        self, shape: tuple[int, ...], seed: int, shift: Tensor | None, scale: float, noise_variance: float
    ) -> FieldNetworks:
        interpolant = self._interpolant()
        # The units of the fields: a length a unit of time, none, one over a length.
        units = {"b": scale, "v": scale, "eta0": scale, "eta1": scale, "eta": 1.0}
        if interpolant.sides == "one":
            units |= {"s": 1.0, "energy": 1.0}

        def new(name: str) -> FieldNetwork:
            if interpolant.sides == "one" and name in ("eta", "eta1"):
                assert isinstance(interpolant, LinearInterpolant)
                return OneSidedNetwork(
                    shape,
                    self.hidden,
                    interpolant=interpolant,
                    field="eta" if name == "eta" else "eta1",
                    mean=shift,
                    deviation=scale,
                    noise_variance=noise_variance,
                    activation=self.activation,
                    unet_width=self.unet_width,
                )
            return FieldNetwork(
                shape,
                self.hidden,
                activation=self.activation,
                unet_width=self.unet_width,
                shift=shift,
                scale_in=scale,
                scale_out=units.get(name, 1 / scale),
                energy=name == "energy",
            )

        with seeded(seed):
            return FieldNetworks({name: new(name) for name in self.learn})

    def _interpolant(self) -> Interpolant:
        return make_interpolant(self.path, self.gamma, self.gamma_scale)

    def _check_epsilon(self, epsilon: Any) -> Epsilon:
        """The noise level of a call as a number or a function, and that there is a score for it."""
        if callable(epsilon):
            levels = [float(epsilon(t)) for t in np.linspace(self.t_min, self.t_max, 101)]
            if not all(np.isfinite(level) and level >= 0 for level in levels):
                raise ValueError(f"epsilon must be >= 0 at all times, got {min(levels):g}")
            self._need_score("epsilon > 0")
            return lambda t: float(epsilon(t))
        level = check_number(self.epsilon if epsilon is None else epsilon, "epsilon", minimum=0)
        if level == 0:
            return 0.0
        self._need_score("epsilon > 0")
        if self.epsilon_profile == "constant":
            return level
        interpolant = self._interpolant()
        highest = float(noise_size(interpolant, torch.linspace(self.t_min, self.t_max, 1001)).max())
        return lambda t: level * float(noise_size(interpolant, torch.tensor(t))) / highest

    def _need_score(self, what: str) -> None:
        if not self.fields_.has_score:
            raise ValueError(f"{what} needs a score, and learn={self.learn!r} with gamma={self.gamma!r} gives none")

    def _base_with_density(self) -> Base:
        check_is_fitted(self, "networks_")
        if not self.base_.has_density:
            self.base_.log_prob(torch.empty(0))
        return self.base_

    def _steps(self, n_steps: int | None) -> int:
        return self.sampling_steps if n_steps is None else check_integer(n_steps, "n_steps", minimum=1)

    def _grid(self, stop: float, n_steps: int | None) -> list[float]:
        """Times from `t_min` to `stop`."""
        n = self._steps(n_steps)
        if self.time_grid == "uniform":
            return np.linspace(self.t_min, stop, n + 1).tolist()
        return time_grid(self._interpolant(), self.t_min, stop, n)

    def _check_time(self, t: float) -> float:
        """A time within the learnt interval, the nearest to one in [0, 1]."""
        return min(max(check_number(t, "t", minimum=0, maximum=1), self.t_min), self.t_max)

    def _check_rows(self, value: Any, name: str) -> Tensor:
        """Rows of the data's shape in single precision, where the networks are."""
        check_is_fitted(self, "networks_")
        rows = check_array(value, name, ndim=len(self.shape_) + 1, dtype=np.float32)
        if list(rows.shape[1:]) != self.shape_:
            raise ValueError(f"{name} must have rows of shape {tuple(self.shape_)}, got {rows.shape[1:]}")
        return torch.from_numpy(rows).to(next(self.networks_.parameters()).device)

    def _generator(self, random_state: int | None) -> torch.Generator:
        check_is_fitted(self, "networks_")
        device = next(self.networks_.parameters()).device
        return torch_generator(self.random_state if random_state is None else random_state, device)

    def _probes(self, n_probes: int | None, x: Tensor, generator: torch.Generator) -> Tensor | None:
        """Random signs for Hutchinson's estimate, or None for the exact divergence."""
        return None if n_probes is None else rademacher(check_integer(n_probes, "n_probes", minimum=1), x, generator)

    def _device(self, X1: Any) -> str:
        if self.device != "auto":
            return self.device
        return X1.device.type if isinstance(X1, Tensor) else "cpu"

    def _transport(
        self,
        x: Tensor,
        backward: bool,
        epsilon: Any,
        n_steps: int | None,
        integrator: Integrator,
        stop: float | None,
        generator: torch.Generator,
    ) -> Tensor:
        check_choice(integrator, "integrator", ("auto", "dopri5", "heun", "euler-maruyama", "denoising"))
        interpolant = self._interpolant()
        noise = self._check_epsilon(epsilon)
        self._steps(n_steps)
        deterministic = not callable(noise) and noise == 0
        if integrator in ("dopri5", "denoising") and not deterministic:
            raise ValueError(f"integrator must be 'heun' or 'euler-maruyama' where epsilon > 0, got {integrator!r}")
        if integrator == "dopri5" and n_steps is not None:
            raise ValueError(
                f"n_steps must be None with integrator='dopri5', which chooses its own steps, got {n_steps}"
            )
        if stop is not None:
            check_number(stop, "stop", above=self.t_min, maximum=self.t_max)
            if backward:
                raise ValueError("stop must be None backward: the last step of denoising is towards the target")
            if not (self.fields_.has_score or set(self.learn) & {"b", "v"}) or not isinstance(
                interpolant, LinearInterpolant
            ):
                raise ValueError(f"stop needs a path of the form alpha x0 + beta x1 + gamma z, got {self.path!r}")
            if interpolant.sides == "two" and not isinstance(interpolant.gamma, Zero):
                self._need_score("stop")
            if "eta1" not in self.learn and interpolant.coefficients(stop).beta == 0:
                raise ValueError(f"stop must be a time at which x1 enters x_t on the path {self.path!r}, got {stop}")
        end = self.t_max if stop is None else stop
        if integrator == "denoising":
            if interpolant.sides != "one" or backward:
                raise ValueError(f"integrator 'denoising' needs a one-sided path, forward, got path={self.path!r}")
            if self.t_min == 0:
                raise ValueError("integrator 'denoising' divides by beta, which is 0 at t_min=0")
        adaptive = deterministic and (integrator == "dopri5" or (integrator == "auto" and n_steps is None))
        times = [self.t_min, end] if adaptive else self._grid(end, n_steps)
        times = times[::-1] if backward else times
        method: Literal["heun", "euler-maruyama"] = "euler-maruyama" if integrator == "euler-maruyama" else "heun"
        parts = []
        for block in _blocks(x):
            if integrator == "denoising":
                moved = denoising_chain(self.fields_, block, times)
            elif adaptive:
                moved = sample_ode(self.fields_, block, times, rtol=self.rtol, atol=self.atol, keep="last")[:, 0]
            else:
                moved = sample_sde(self.fields_, block, times, noise, generator, method=method, keep="last")[:, 0]
            parts.append(moved if stop is None else self.fields_.target_mean(moved, stop))
        return torch.cat(parts)

    def _along_backward_paths(
        self,
        paths: Any,
        X: Any,
        epsilon: Any,
        n_paths: int,
        n_steps: int | None,
        n_probes: int | None,
        random_state: int | None,
    ) -> Float[Tensor, "batch path"]:
        """``log rho0(end) - integral`` of each of the paths from each row."""
        rows, base = self._check_rows(X, "X"), self._base_with_density()
        noise = self._check_epsilon(epsilon)
        if not callable(noise) and noise == 0:
            raise ValueError("epsilon must be > 0 for the likelihood of an SDE; score_samples is that of the ODE")
        check_integer(n_paths, "n_paths", minimum=1)
        generator = self._generator(random_state)
        times = self._grid(self.t_max, n_steps)[::-1]
        values = []
        for block in _blocks(rows.repeat_interleave(n_paths, dim=0)):
            end, integral = paths(
                self.fields_, block, times, noise, generator, probes=self._probes(n_probes, block, generator)
            )
            values.append(base.log_prob(end) - integral)
        return torch.cat(values).reshape(len(rows), n_paths)

    def _get_state(self) -> dict[str, Any]:
        state = {name: value for name, value in super()._get_state().items() if name not in ("networks_", "base_")}
        weights = {f"networks.{name}": tensor for name, tensor in self.networks_.state_dict().items()}
        first = next(iter(self.networks_.values()))
        scales = [first.scale_in, getattr(first, "noise_variance", 1.0)]
        return {**state, **self.base_.state(), **weights, "scales_": scales}

    def _set_state(self, state: dict[str, Any]) -> None:
        weights = {name.removeprefix("networks."): v for name, v in state.items() if name.startswith("networks.")}
        rest = {name: value for name, value in state.items() if not name.startswith("networks.")}
        scale, noise_variance = rest.pop("scales_")
        self.base_ = Base.from_state(tuple(rest["shape_"]), rest)
        super()._set_state(rest)
        self.networks_ = self._new_networks(tuple(self.shape_), 0, None, scale, noise_variance)
        self.networks_.load_state_dict(weights)
        self.networks_.requires_grad_(False).eval()


class _Step:
    """The loss of one step: a batch of ``(t, x0, x1, z)`` and the regressions on it."""

    def __init__(self, model: StochasticInterpolant, interpolant: Interpolant, base: Base, x1: Tensor) -> None:
        self.interpolant, self.base, self.x1, self.learn = interpolant, base, x1, tuple(model.learn)
        self.size, self.paired = model.batch_size, model.coupling == "paired"
        self.t_min, self.t_max = model.t_min, model.t_max
        self.noisy = interpolant.sides != "one" and not isinstance(interpolant.gamma, Zero)
        self.precision = None
        if interpolant.sides == "one" and base.mixture is not None:
            self.precision = torch.linalg.inv(base.mixture.covariances[0]).float().to(x1.device)

    def __call__(self, networks: nn.Module, step: int, generator: torch.Generator) -> Tensor:
        chosen = torch.randint(len(self.x1), (self.size,), generator=generator, device=self.x1.device)
        x1 = self.x1[chosen]
        if self.interpolant.sides == "mirror":
            x0 = x1
        elif self.paired:
            assert self.base.rows is not None
            x0 = self.base.rows[chosen]
        else:
            x0 = self.base.sample(self.size, generator)
        t = torch.empty(self.size, device=self.x1.device).uniform_(self.t_min, self.t_max, generator=generator)
        z = torch.randn(x1.shape, generator=generator, device=x1.device) if self.noisy else None
        # Through the module's own call: under several processes it is a wrapper that then averages the gradients.
        return interpolant_loss(self.interpolant, self.learn, networks, t, x0, x1, z, precision=self.precision)


def _blocks(x: Tensor) -> tuple[Tensor, ...]:
    """Rows in parts that a network can take at once."""
    return x.split(max(1, min(BLOCK_ROWS, BLOCK_ENTRIES // x[0].numel())))


def _same(X0: Any, target: np.ndarray) -> bool:
    """Whether X0 holds the rows of the target."""
    source = check_array(X0, "X0") if not isinstance(X0, GaussianMixture) else None
    return source is not None and source.shape == np.shape(target) and bool(np.array_equal(source, target))

"""The estimator."""

import math
import os
import warnings
from collections.abc import Callable
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
from semigroup.densities.light_sb.learning import LightPotential, kl_loss, matching_loss, minibatch_assignment
from semigroup.densities.light_sb.potential import (
    Potential,
    conditional_covariance,
    conditional_mean,
    drift,
    log_conditional,
    log_normalizer,
    log_potential,
    recenter,
    sample_conditional,
)
from semigroup.sde import brownian_bridge, euler_maruyama
from semigroup.training import state_for_all, train

__all__ = ["LightSB"]

EVALUATE_EVERY = 100
CHECKPOINT_EVERY = 1000
# Intermediate results of inference are cut into blocks of rows of about this many numbers (64 MB).
BLOCK_SIZE = 2**23


class LightSB(Estimator):
    """Entropic transport plan and Schrödinger bridge between two samples, as a Gaussian mixture in closed form.

    Results do not depend on the origin and the unit of the data: both samples are shifted and scaled together before
    training, and what is learnt is stated in the data's own units. The opposite direction is ``fit(X1, X0)``.
    Computations are in float64, since exponents of size ``|x|^2 / epsilon`` are subtracted from each other.

    Parameters
    ----------
    n_components : int, optional
        Number K of components of the potential. By default 50, or a tenth of the target's rows if that is fewer.
        Cross-validate it with `score`.
    epsilon : float or "auto"
        Noise level, in squared units of the data: a point wanders ``sqrt(epsilon)`` a coordinate on its way. "auto" is
        0.1 times the squared mean of the columns' standard deviations, over both samples together.
    covariance : {"diagonal", "full", "scalar"}
        The S_k: diagonal, any positive definite matrices, or multiples of the identity.
    loss : {"kl", "matching"}
        The paper's loss, or the regression of the drift from its follow-up.
    coupling : {"independent", "minibatch"}
        How loss="matching" pairs the rows of a batch: at random, or by optimal transport.
    initial_variance : float
        The S_k at the start are this multiple of the identity.
    learning_rate : float
        Adam's step, in units of the mean standard deviation of the columns. Smaller epsilon needs a smaller step.
    batch_size : int
        Rows of each sample a step.
    max_steps : int
        Steps of the optimiser.
    validation_fraction : float
        Share of the rows of each sample held out; training stops when their loss stops falling, and the best step is
        kept. 0 trains on everything for `max_steps` steps.
    patience : int
        Evaluations of the held-out loss (one every 100 steps) without improvement after which training stops.
    warm_start : bool
        Start from the mixture that is fitted already, e.g. after `set_epsilon` or on new rows.
    device : {"auto", "cpu", "cuda"}
        Where to train; "auto" is where `X0` lies.
    random_state : int, optional
        Seed of everything random.

    Attributes
    ----------
    epsilon_ : float
        Noise level, in squared units of the data.
    shift_ : array, shape (dim,)
        The common centre; `centers_` are relative to it.
    log_weights_ : array, shape (K,)
        ``log alpha``, such that the alpha sum to 1.
    centers_ : array, shape (K, dim)
        r, in units of the data.
    variances_ : array, shape (K, dim)
        Eigenvalues of the S_k, without unit.
    rotations_ : array, shape (K, dim, dim), or None
        Eigenvectors of the S_k in columns, for covariance="full".
    n_steps_ : int
        Steps taken.
    losses_ : array, shape (n_steps_,)
        Training loss of each step.
    validation_losses_ : array, shape (n_evaluations, 2)
        Step and held-out loss.
    n_features_in_ : int

    References
    ----------
    Korotin, A., Gushchin, N. and Burnaev, E. (2024). Light Schrödinger Bridge. ICLR. arXiv:2310.01174.
    Gushchin, N. et al. (2024). Light and Optimal Schrödinger Bridge Matching. ICML. arXiv:2402.03207.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X0 = rng.normal(size=(500, 2))
    >>> X1 = rng.normal(size=(500, 2)) + [4.0, 0.0]
    >>> bridge = LightSB(n_components=2, epsilon=0.5, max_steps=500, random_state=0).fit(X0, X1)
    >>> bool(abs(bridge.transport_mean([[0.0, 0.0]]) - [4.0, 0.0]).max() < 0.3)
    True
    >>> bridge.sample_paths(X0[:3], [0.0, 0.5, 1.0]).shape
    (3, 3, 2)
    """

    def __init__(
        self,
        *,
        n_components: int | None = None,
        epsilon: float | Literal["auto"] = "auto",
        covariance: Literal["diagonal", "full", "scalar"] = "diagonal",
        loss: Literal["kl", "matching"] = "kl",
        coupling: Literal["independent", "minibatch"] = "independent",
        initial_variance: float = 0.1,
        learning_rate: float = 1e-2,
        batch_size: int = 128,
        max_steps: int = 10_000,
        validation_fraction: float = 0.1,
        patience: int = 10,
        warm_start: bool = False,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.epsilon = epsilon
        self.covariance = covariance
        self.loss = loss
        self.coupling = coupling
        self.initial_variance = initial_variance
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state

    def fit(
        self,
        X0: Any,
        X1: Any,
        *,
        progress: bool = False,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> "LightSB":
        """Learn the plan from `X0` to `X1`.

        Parameters
        ----------
        X0 : array-like or Tensor, shape (n0, dim)
            Rows of the source.
        X1 : array-like or Tensor, shape (n1, dim)
            Rows of the target. Rows of `X0` and `X1` do not belong together; their numbers may differ.
        progress : bool
            Show a progress bar.
        checkpoint_dir : path, optional
            Keep a checkpoint there, every 1000 steps and on Ctrl-C.
        resume : bool
            Continue from it.

        Returns
        -------
        LightSB

        Raises
        ------
        ValueError, TypeError
            If an argument is out of its range, the columns do not match, a value is NaN or infinite, or there are fewer
            distinct target rows than components; the message names the argument.

        Warns
        -----
        UserWarning
            If `epsilon` is a thousand times off the variance of the data: its unit is probably mistaken.
        """
        self._check_parameters()
        device = self._device(X0)
        random_state = state_for_all(self.random_state, resume=resume, device=device)
        source = check_array(X0, "X0", ndim=2, min_rows=2)
        target = check_array(X1, "X1", ndim=2, min_rows=2, n_columns=source.shape[1])
        both = np.concatenate([source, target])
        # The deviation of equal values may be their mean's rounding error rather than 0.
        deviations = np.where(np.ptp(both, axis=0) > 0, both.std(axis=0), 0.0)
        # Identical points have no scale of their own.
        scale = float(deviations.mean()) or 1.0
        epsilon = self._resolve_epsilon(deviations)
        rng = numpy_generator(random_state)
        shift = both.mean(axis=0)
        training0, held_out0 = self._split((source - shift) / scale, rng)
        training1, held_out1 = self._split((target - shift) / scale, rng)
        start = self._start(training1, shift, scale, epsilon / scale**2, rng)

        x0, x1, y0, y1 = (torch.from_numpy(rows).to(device) for rows in (training0, training1, held_out0, held_out1))
        network = LightPotential(start.to(device), self.covariance)
        result = train(
            network,
            self._step_loss(x0, x1),
            n_steps=self.max_steps,
            optimizer=torch.optim.Adam(network.parameters(), lr=self.learning_rate, fused=True),
            seed=seed_from(rng),
            evaluate=(lambda network: _loss(network(), y0, y1)) if len(y0) else None,
            evaluate_every=EVALUATE_EVERY,
            patience=self.patience,
            checkpoint_dir=checkpoint_dir,
            checkpoint_every=CHECKPOINT_EVERY,
            resume=resume,
            device=device,
            description="light-sb",
            progress=progress,
        )
        with torch.no_grad():
            learnt = network()
        self.n_features_in_ = source.shape[1]
        self.epsilon_ = epsilon
        self.shift_ = shift
        self.log_weights_ = torch.log_softmax(learnt.log_weights, dim=0).cpu().numpy()
        self.centers_ = scale * learnt.centers.detach().cpu().numpy()
        self.variances_ = learnt.variances.contiguous().cpu().numpy()
        self.rotations_ = None if learnt.rotations is None else learnt.rotations.cpu().numpy()
        self.n_steps_ = result.n_steps
        self.losses_ = np.asarray(result.losses)
        self.validation_losses_ = np.asarray(result.evaluations, dtype=np.float64).reshape(-1, 2)
        return self

    # --- the plan ---

    def transport(self, x0: Any, *, n_samples: int | None = None, random_state: int | None = None) -> Any:
        """Draw from the plan at each row of `x0`.

        Parameters
        ----------
        x0 : array-like or Tensor, shape (batch, dim)
            Points of the source, seen in training or not.
        n_samples : int, optional
            Draws a row.
        random_state : int, optional
            Seed of this call; by default the estimator's.

        Returns
        -------
        array or Tensor, shape (batch, dim), or (batch, n_samples, dim) if `n_samples` is given
        """
        x = self._check_points(x0, "x0")
        repeats = 1 if n_samples is None else check_integer(n_samples, "n_samples", minimum=1)
        generator, potential = self._generator(random_state, x), self._potential(x)
        row_size = potential.centers.numel() + repeats * x.shape[1]
        drawn = _by_blocks(lambda rows: sample_conditional(potential, rows, generator, repeats), row_size, x)
        return in_kind(self._uncenter(drawn[:, 0] if n_samples is None else drawn), x0)

    def transport_mean(self, x0: Any) -> Any:
        """Mean of the plan at each row of `x0`, the barycentric map: ``E[x1 | x0]``, shape (batch, dim)."""
        x = self._check_points(x0, "x0")
        potential = self._potential(x)
        mean = _by_blocks(lambda rows: conditional_mean(potential, rows), potential.centers.numel(), x)
        return in_kind(self._uncenter(mean), x0)

    def transport_covariance(self, x0: Any) -> Any:
        """Covariance of the plan at each row of `x0`, shape (batch, dim, dim), in squared units of the data."""
        x = self._check_points(x0, "x0")
        potential = self._potential(x)
        row_size = potential.centers.numel() + x.shape[1] ** 2
        return in_kind(_by_blocks(lambda rows: conditional_covariance(potential, rows), row_size, x), x0)

    def score_samples(self, x0: Any, x1: Any) -> Any:
        """Log-density of the plan, ``log pi(x1 | x0)``, of each pair of rows.

        Parameters
        ----------
        x0, x1 : array-like or Tensor, shape (batch, dim)

        Returns
        -------
        array or Tensor, shape (batch,)
            Per unit of volume of the data's space.
        """
        x = self._check_points(x0, "x0")
        y = self._check_points(x1, "x1").to(x.device)
        if len(y) != len(x):
            raise ValueError(f"x1 must have as many rows as x0, {len(x)}, got {len(y)}")
        potential = self._potential(x)
        logs = _by_blocks(lambda a, b: log_conditional(potential, a, b), potential.centers.numel(), x, y)
        return in_kind(logs, x0)

    def score(self, X0: Any, X1: Any) -> float:
        """How well the plan fits two unpaired samples: minus the loss, higher is better.

        Differences between models at the same epsilon are differences in KL divergence from the true plan, in nats, so
        this is what to cross-validate `n_components` and `covariance` with. It says nothing between different epsilon,
        which are different problems; `marginal_log_density` does.

        The constant that the loss leaves open is chosen so that the score does not depend on the data's origin: it is the
        mean of ``log pi(x1 | x0) + |x0 - x1|^2 / (2 epsilon)`` over all pairs of rows.

        Parameters
        ----------
        X0, X1 : array-like or Tensor, shapes (n0, dim) and (n1, dim)

        Returns
        -------
        float
        """
        x = self._check_points(X0, "X0")
        y = self._check_points(X1, "X1").to(x.device)
        constant = (x.square().sum(-1).mean() + y.square().sum(-1).mean()) / (2 * self.epsilon_)
        return float(constant) - _loss(self._potential(x), x, y)

    def marginal_log_density(self, X0: Any, x1: Any) -> Any:
        """Log-density at `x1` of where the plan brings the sample `X0`: ``log mean_i pi(x1 | X0_i)``.

        On held-out target rows its mean is a likelihood, comparable between models at any epsilon.

        Parameters
        ----------
        X0 : array-like or Tensor, shape (n0, dim)
        x1 : array-like or Tensor, shape (batch, dim)

        Returns
        -------
        array or Tensor, shape (batch,)
        """
        x = self._check_points(X0, "X0")
        y = self._check_points(x1, "x1").to(x.device)
        potential = self._potential(x)
        row_size = potential.centers.numel()
        normalizer = _by_blocks(lambda rows: log_normalizer(potential, rows), row_size, x)

        def rows_density(rows: Tensor) -> Tensor:
            pairs = rows @ x.T / self.epsilon_ - normalizer
            return torch.logsumexp(pairs, dim=1) + log_potential(potential, rows) - math.log(len(x))

        return in_kind(_by_blocks(rows_density, row_size + len(x), y), x1)

    # --- the process ---

    def drift(self, x: Any, t: Any) -> Any:
        """Drift of the bridge at state `x` and time `t`, in units of the data per unit of time.

        Parameters
        ----------
        x : array-like or Tensor, shape (batch, dim)
        t : float, or array-like or Tensor of shape (batch,)
            In [0, 1).

        Returns
        -------
        array or Tensor, shape (batch, dim)
        """
        states = self._check_points(x, "x")
        times = torch.from_numpy(check_array(t, "t", ndim=(0, 1))).to(states.device)
        if not bool(((times >= 0) & (times < 1)).all()):
            raise ValueError(f"t must lie in [0, 1) for the drift, got {t!r}")
        if times.ndim and len(times) != len(states):
            raise ValueError(f"t must be one time, or one for each of the {len(states)} rows of x, got {len(times)}")
        potential = self._potential(states)
        row_size = potential.centers.numel()
        if times.ndim:
            values = _by_blocks(lambda rows, at: drift(potential, rows, at), row_size, states, times)
        else:
            values = _by_blocks(lambda rows: drift(potential, rows, times), row_size, states)
        return in_kind(values, x)

    def sample_paths(
        self,
        x0: Any,
        times: Any,
        *,
        method: Literal["bridge", "euler-maruyama"] = "bridge",
        n_steps: int = 100,
        random_state: int | None = None,
    ) -> Any:
        """Draw one path of the Schrödinger bridge from each row of `x0`.

        Parameters
        ----------
        x0 : array-like or Tensor, shape (batch, dim)
            States at time 0.
        times : array-like, shape (n_times,)
            Strictly increasing, within [0, 1].
        method : {"bridge", "euler-maruyama"}
            Exact: the end is drawn from the plan and joined to the start by a Brownian bridge. Or integration of the
            stochastic differential equation, whose error falls with `n_steps`.
        n_steps : int
            Steps of Euler-Maruyama over [0, 1].
        random_state : int, optional
            Seed of this call; by default the estimator's.

        Returns
        -------
        array or Tensor, shape (batch, n_times, dim)
            At one time a row is a draw of the process's marginal given its start.
        """
        x = self._check_points(x0, "x0")
        grid = check_array(times, "times", ndim=1).tolist()
        if grid[0] < 0 or grid[-1] > 1 or any(b <= a for a, b in pairwise(grid)):
            raise ValueError(f"times must increase strictly within [0, 1], got {times!r}")
        check_choice(method, "method", ("bridge", "euler-maruyama"))
        n_steps = check_integer(n_steps, "n_steps", minimum=1)
        generator, potential, noise = self._generator(random_state, x), self._potential(x), math.sqrt(self.epsilon_)
        # A path of Euler-Maruyama starts at time 0 even where the caller does not ask for that time.
        full = grid if grid[0] == 0 else [0.0, *grid]

        def walk(rows: Tensor) -> Tensor:
            if method == "bridge":
                return brownian_bridge(
                    rows, sample_conditional(potential, rows, generator)[:, 0], grid, noise, generator
                )
            path = euler_maruyama(
                lambda state, t: drift(potential, state, state.new_tensor(t)),
                rows,
                full,
                noise,
                generator,
                max_step=1 / n_steps,
            )
            return path[:, len(full) - len(grid) :]

        paths = _by_blocks(walk, potential.centers.numel() + len(grid) * x.shape[1], x)
        return in_kind(self._uncenter(paths), x0)

    def set_epsilon(self, epsilon: float) -> "LightSB":
        """Change the noise level of a fitted bridge, keeping alpha, r and S of its mixture.

        The result solves the new problem only approximately: it is a start for ``fit`` with ``warm_start=True``, as used
        to go down to small epsilon in stages.

        Parameters
        ----------
        epsilon : float
            In squared units of the data.
        """
        check_is_fitted(self, "centers_")
        self.epsilon_ = check_number(epsilon, "epsilon", above=0)
        self.epsilon = self.epsilon_
        return self

    # --- inside ---

    def _check_parameters(self) -> None:
        if self.n_components is not None:
            check_integer(self.n_components, "n_components", minimum=1)
        if self.epsilon != "auto":
            check_number(self.epsilon, "epsilon", above=0)
        check_choice(self.covariance, "covariance", ("diagonal", "full", "scalar"))
        check_choice(self.loss, "loss", ("kl", "matching"))
        check_choice(self.coupling, "coupling", ("independent", "minibatch"))
        check_number(self.initial_variance, "initial_variance", above=0)
        check_number(self.learning_rate, "learning_rate", above=0)
        check_integer(self.batch_size, "batch_size", minimum=1)
        check_integer(self.max_steps, "max_steps", minimum=1)
        check_number(self.validation_fraction, "validation_fraction", minimum=0, below=1)
        check_integer(self.patience, "patience", minimum=1)
        check_choice(self.device, "device", ("auto", "cpu", "cuda"))
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device must be one that torch sees, got 'cuda' and no CUDA device is visible")

    def _resolve_epsilon(self, deviations: Float[np.ndarray, " dim"]) -> float:
        """The noise level in squared units of the data, with a warning where it cannot be meant."""
        if self.epsilon == "auto":
            if (deviations == 0).any():
                constant = ", ".join(map(str, np.flatnonzero(deviations == 0)[:10]))
                raise ValueError(
                    f'epsilon must be a number where columns are constant, got "auto" (columns {constant})'
                )
            return float(0.1 * deviations.mean() ** 2)
        epsilon, variance = float(self.epsilon), float((deviations**2).mean())
        if not 1e-3 * variance <= epsilon <= 1e3 * variance:
            warnings.warn(
                f"epsilon={epsilon:g} is far from the mean variance of the columns, {variance:g}; epsilon is in squared "
                "units of the data",
                UserWarning,
                stacklevel=3,
            )
        return epsilon

    def _split(
        self, rows: Float[np.ndarray, "n dim"], rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "training dim"], Float[np.ndarray, "held_out dim"]]:
        """Training rows and held-out rows."""
        if self.validation_fraction == 0:
            return rows, rows[:0]
        order = rng.permutation(len(rows))
        n_held_out = min(max(1, round(self.validation_fraction * len(rows))), len(rows) - 1)
        return rows[order[n_held_out:]], rows[order[:n_held_out]]

    def _start(
        self,
        target: Float[np.ndarray, "n dim"],
        shift: Float[np.ndarray, " dim"],
        scale: float,
        epsilon: float,
        rng: np.random.Generator,
    ) -> Potential:
        """The potential that training starts from, in the shifted and scaled coordinates."""
        K = min(50, max(1, len(target) // 10)) if self.n_components is None else self.n_components
        if self.warm_start and hasattr(self, "centers_"):
            return self._warm_start(K, target.shape[1], shift, scale, epsilon)
        drawn = _draw_distinct(target, K, rng)
        if len(drawn) < K and self.n_components is not None:
            raise ValueError(
                f"n_components must be at most the number of distinct target rows to train on, {len(drawn)}, got {K}"
            )
        centers, K = torch.from_numpy(drawn), len(drawn)
        return Potential(
            log_weights=torch.full((K,), -math.log(K), dtype=centers.dtype),
            centers=centers,
            variances=torch.full_like(centers, self.initial_variance),
            rotations=None,
            epsilon=epsilon,
        )

    def _warm_start(
        self, K: int, dim: int, shift: Float[np.ndarray, " dim"], scale: float, epsilon: float
    ) -> Potential:
        """The fitted mixture in the new coordinates; a shift d of the origin turns r into r + (S - I) d and adds to log alpha."""
        if self.n_components is not None and len(self.centers_) != K:
            raise ValueError(f"n_components must stay {len(self.centers_)} for a warm start, got {K}")
        if self.n_features_in_ != dim:
            raise ValueError(f"X0 must have {self.n_features_in_} columns for a warm start, got {dim}")
        isotropic = bool((self.variances_ == self.variances_[:, :1]).all())
        was_full = self.rotations_ is not None
        if was_full != (self.covariance == "full") or (self.covariance == "scalar" and not isotropic):
            raise ValueError(f"covariance must stay as it was fitted for a warm start, got {self.covariance!r}")
        potential = recenter(self._potential(torch.from_numpy(self.centers_)), torch.from_numpy(shift - self.shift_))
        return Potential(
            potential.log_weights, potential.centers / scale, potential.variances, potential.rotations, epsilon
        )

    def _step_loss(self, x0: Tensor, x1: Tensor) -> Callable[[nn.Module, int, torch.Generator], Tensor]:
        """The loss of one step on independent batches of both samples."""

        def batch(rows: Tensor, generator: torch.Generator) -> Tensor:
            chosen = torch.randint(len(rows), (self.batch_size,), generator=generator, device=rows.device)
            return rows[chosen]

        def loss(network: nn.Module, step: int, generator: torch.Generator) -> Tensor:
            b0, b1 = batch(x0, generator), batch(x1, generator)
            if self.loss == "kl":
                return kl_loss(network(), b0, b1)
            if self.coupling == "minibatch":
                b1 = b1[minibatch_assignment(b0, b1)]
            return matching_loss(network(), b0, b1, generator)

        return loss

    def _device(self, X0: Any) -> str:
        if self.device != "auto":
            return self.device
        return X0.device.type if isinstance(X0, Tensor) else "cpu"

    def _potential(self, like: Tensor) -> Potential:
        """The fitted potential on the device of `like`, in coordinates relative to `shift_`."""
        return Potential(
            log_weights=torch.from_numpy(self.log_weights_),
            centers=torch.from_numpy(self.centers_),
            variances=torch.from_numpy(self.variances_),
            rotations=None if self.rotations_ is None else torch.from_numpy(self.rotations_),
            epsilon=self.epsilon_,
        ).to(like.device)

    def _check_points(self, value: Any, name: str) -> Float[Tensor, "batch dim"]:
        """Points of the data's space, relative to the common centre, on the device they came from."""
        check_is_fitted(self, "centers_")
        rows = check_array(value, name, ndim=2, n_columns=self.n_features_in_)
        return torch.from_numpy(rows - self.shift_).to(value.device if isinstance(value, Tensor) else "cpu")

    def _uncenter(self, x: Tensor) -> Tensor:
        return x + torch.from_numpy(self.shift_).to(x.device)

    def _generator(self, random_state: int | None, like: Tensor) -> torch.Generator:
        return torch_generator(self.random_state if random_state is None else random_state, like.device)


def _draw_distinct(
    rows: Float[np.ndarray, "n dim"], count: int, rng: np.random.Generator
) -> Float[np.ndarray, "drawn dim"]:
    """`count` different rows at random, or all different ones if there are fewer."""
    order, size = rng.permutation(len(rows)), count
    while True:
        # Sorting all rows would cost more than many steps of training; as many as are wanted will mostly do.
        chosen = rows[order[:size]]
        first_seen = np.unique(chosen, axis=0, return_index=True)[1]
        if len(first_seen) >= count or size >= len(rows):
            return chosen[np.sort(first_seen)[:count]]
        size *= 4


def _by_blocks(function: Callable[..., Tensor], row_size: int, *arrays: Tensor) -> Tensor:
    """`function` of the arrays' rows, in blocks that keep its intermediate arrays small."""
    blocks = (array.split(max(1, BLOCK_SIZE // row_size)) for array in arrays)
    return torch.cat([function(*block) for block in zip(*blocks, strict=True)])


def _loss(potential: Potential, x0: Float[Tensor, "batch0 dim"], x1: Float[Tensor, "batch1 dim"]) -> float:
    """`kl_loss` of samples of any length."""
    row_size = potential.centers.numel()
    source = _by_blocks(lambda rows: log_normalizer(potential, rows), row_size, x0)
    target = _by_blocks(lambda rows: log_potential(potential, rows), row_size, x1)
    return float(source.mean() - target.mean())

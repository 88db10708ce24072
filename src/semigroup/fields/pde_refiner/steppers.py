"""The estimators: a base class that turns trajectories into a one-step task, and what each stepper makes of it."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from semigroup.base import (
    Estimator,
    all_or_nothing,
    check_array,
    check_choice,
    check_integer,
    check_number,
    in_kind,
    seed_from,
    torch_generator,
)
from semigroup.fields.pde_refiner.metrics import ensemble_correlation, high_correlation_time
from semigroup.fields.pde_refiner.networks import DilatedCNN, ModernUNet
from semigroup.fields.pde_refiner.refinement import (
    Diffusion,
    NoiseRefinement,
    cosine_variances,
    refinement_variances,
)
from semigroup.training import EpochSampler, TrainingResult, state_for_all, train

__all__ = [
    "CosineDiffusionStepper",
    "DiffusionStepper",
    "FieldStepper",
    "LossTime",
    "OneStepStepper",
    "PDERefiner",
    "RescaledStepper",
]

# Numbers that a layer's outputs hold at once where nothing is learnt.
BLOCK_SIZE = 2**26

# typing.Self would say this better, but run-time checkers accept it only on whole classes.
_F = TypeVar("_F", bound="FieldStepper")

BACKBONES: dict[str, type[DilatedCNN] | type[ModernUNet]] = {"cnn": DilatedCNN, "unet": ModernUNet}


@dataclass(frozen=True)
class LossTime:
    """Until when to believe a rollout.

    Attributes
    ----------
    times : array of shape (n,)
        First time at which the members of the ensemble stop agreeing, in the units of the training data's times.
    correlations : array of shape (n, n_steps)
        Mean correlation between members at each step.
    saturated : array of bool of shape (n,)
        Whether the members still agree at the last step, so that the time is only a lower bound.
    """

    times: np.ndarray
    correlations: np.ndarray
    saturated: np.ndarray


class FieldStepper(Estimator, ABC):
    """Base of the steppers: data, training, rollout and storage. A subclass says what is learnt and how a step is made.

    A subclass defines `_loss` (on a window of normalised frames) and `_target_estimate` (one prediction of the
    normalised target), and may define `build_network` to bring another backbone.
    """

    # The constructor's arguments that all steppers share; each subclass declares them itself.
    history: int
    predict_difference: bool
    difference_weight: float | None
    backbone: str
    width: int
    n_steps: int
    batch_size: int
    learning_rate: float
    ema_decay: float
    device: str | None
    random_state: int | None

    # --- what a subclass says ------------------------------------------------------------------------------------

    @abstractmethod
    def _loss(
        self,
        network: nn.Module,
        window: Float[Tensor, "batch frames channels *space"],
        parameters: Float[Tensor, "batch n_parameters"],
        generator: torch.Generator,
    ) -> Tensor:
        """Training loss of a window of `history` + `_n_future` frames."""

    @abstractmethod
    def _target_estimate(
        self,
        network: nn.Module,
        frames: Float[Tensor, "batch history channels *space"],
        parameters: Float[Tensor, "batch n_parameters"],
        generator: torch.Generator,
        n_refinements: int | None,
    ) -> Float[Tensor, "batch channels *space"]:
        """The normalised target of the next frame."""

    @property
    def _n_future(self) -> int:
        """Frames after the history in a training window."""
        return 1

    def _check_own_parameters(self) -> None:
        """Check the arguments that only the subclass has."""

    def build_network(self, n_channels: int, n_dims: int, n_parameters: int) -> nn.Module:
        """The untrained network: override it to use another backbone.

        Parameters
        ----------
        n_channels : int
            Channels of the field; the network sees ``(history + 1) * n_channels`` of them and answers `n_channels`.
        n_dims : {1, 2}
        n_parameters : int
            Parameters of the equation it is conditioned on.

        Returns
        -------
        nn.Module
            Called as ``network(fields, index, parameters)``, see `semigroup.fields.pde_refiner.networks`.
        """
        backbone = BACKBONES[self.backbone]
        n_inputs = (self.history + 1) * n_channels
        return backbone(n_inputs, n_channels, n_dims=n_dims, width=self.width, n_parameters=n_parameters)

    # --- learning ------------------------------------------------------------------------------------------------

    @all_or_nothing
    def fit(
        self: _F,
        trajectories: Any,
        parameters: Any = None,
        *,
        times: Any = None,
        checkpoint_dir: str | Path | None = None,
        resume: bool = False,
        progress: bool = False,
    ) -> _F:
        """Learn the step from one frame to the next.

        Parameters
        ----------
        trajectories : array, Tensor or DataArray of shape (n_trajectories, n_frames, n_channels, *space)
            Equally spaced frames on a periodic grid of one or two dimensions. Pairs of input and target are
            trajectories of two frames. Frames stored more finely than the step serve as several trajectories:
            ``np.concatenate([u[:, i::4][:, :n] for i in range(4)])``.
        parameters : array of shape (n_trajectories, n_parameters), optional
            Parameters of the equation or the discretisation (viscosity, time step, grid spacing) to condition on; they
            are then needed wherever the model is used.
        times : array of shape (n_frames,) or (n_trajectories, n_frames), optional
            Times of the frames; by default 0, 1, 2, ..., or the coordinate ``time`` of a DataArray.
        checkpoint_dir : path, optional
            Where training keeps its checkpoint.
        resume : bool
            Continue from that checkpoint.
        progress : bool
            Show a progress bar.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the data have the wrong shape, are too short, hold NaN or infinity, or are not equally spaced in time.
        TrainingDiverged
            If the loss becomes NaN or infinite.
        """
        self._check_parameters()
        random_state = state_for_all(self.random_state, resume=resume, device=self.device)
        states, times = _open_trajectories(trajectories, times)
        n_trajectories, n_frames, n_channels, *space = states.shape
        n_window = self.history + self._n_future
        if n_frames < n_window:
            raise ValueError(
                f"trajectories must have at least {n_window} frames (history and future), got {n_frames}; "
                "axes are (n_trajectories, n_frames, n_channels, *space)"
            )
        self._check_space(space)
        conditions = _check_conditions(parameters, n_trajectories)
        time_step = _check_times(times, n_trajectories, n_frames, conditions)

        self.n_dims_ = len(space)
        self.n_channels_ = n_channels
        self.n_parameters_ = conditions.shape[1]
        self.time_step_ = time_step
        self._learn_scales(states, conditions)

        result = self._learn(
            states,
            conditions,
            seed_from(random_state),
            checkpoint_dir=checkpoint_dir,
            resume=resume,
            progress=progress,
        )
        assert result.averaged is not None
        # Only the averaged weights are used from here on.
        self.network_ = result.averaged.eval()
        self.losses_ = result.losses
        return self

    def _learn(self, states: np.ndarray, conditions: np.ndarray, seed: int, **options: Any) -> TrainingResult:
        """Train a new network on windows drawn from all trajectories."""
        network = self._new_network(seed)
        optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate, fused=True)
        n_trajectories, n_frames = states.shape[:2]
        n_window = self.history + self._n_future
        n_starts = n_frames - n_window + 1
        batches = EpochSampler(n_trajectories * n_starts, self.batch_size, seed)
        offsets = torch.arange(n_window)
        # The network computes in single precision, which has no digits left for a field on top of a large mean.
        data = self._normalise(torch.as_tensor(states)).float()
        embedded = self._scale_parameters(torch.as_tensor(conditions)).float()

        def loss(model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
            nonlocal data, embedded
            # The training loop chooses the device; the data follow it once.
            data, embedded = data.to(generator.device), embedded.to(generator.device)
            chosen = batches(step)
            rows, starts = chosen // n_starts, chosen % n_starts
            window = data[rows[:, None], starts[:, None] + offsets]
            return self._loss(model, window, embedded[rows], generator)

        def cosine(step: int) -> float:
            return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / self.n_steps))

        return train(
            network,
            loss,
            n_steps=self.n_steps,
            optimizer=optimizer,
            schedule=cosine,
            seed=seed,
            ema_decay=self.ema_decay,
            device=self.device,
            description=type(self).__name__,
            **options,
        )

    # --- use -----------------------------------------------------------------------------------------------------

    def predict(self, states: Any, parameters: Any = None, *, n_refinements: int | None = None) -> Any:
        """The next frame.

        Parameters
        ----------
        states : array, Tensor or DataArray of shape (n, n_channels, *space), or (n, history, n_channels, *space)
            The present frame; with a history above 1, the last `history` frames.
        parameters : array of shape (n, n_parameters), optional
            Needed if the model was fitted with parameters.
        n_refinements : int, optional
            Stop the refinement early; for steppers that refine.

        Returns
        -------
        array, Tensor or DataArray of shape (n, n_channels, *space)
            In double precision, or in single where `states` is.
        """
        frames, conditions = self._open_states(states, parameters)
        generator = torch_generator(self.random_state, frames.device)
        result = self._step(frames, conditions, generator, n_refinements)
        return _in_field_kind(result, states, self.n_dims_)

    def rollout(self, state: Any, n_steps: int, parameters: Any = None, *, n_refinements: int | None = None) -> Any:
        """The next `n_steps` frames, each predicted from the ones before.

        Parameters
        ----------
        state : array, Tensor or DataArray of shape (n, n_channels, *space), or (n, history, n_channels, *space)
        n_steps : int
        parameters : array of shape (n, n_parameters), optional
        n_refinements : int, optional
            Stop each refinement early; for steppers that refine.

        Returns
        -------
        array, Tensor or DataArray of shape (n, n_steps, n_channels, *space)
            Frames at `time_step_`, 2 `time_step_`, ... after `state`. A rollout that blows up holds infinities or NaN
            from there on.
        """
        n_steps = check_integer(n_steps, "n_steps", minimum=1)
        frames, conditions = self._open_states(state, parameters)
        generator = torch_generator(self.random_state, frames.device)
        result = self._roll(frames, n_steps, conditions, generator, n_refinements)
        return _in_field_kind(result, state, self.n_dims_)

    def _roll(
        self,
        frames: Float[Tensor, "n history channels *space"],
        n_steps: int,
        conditions: Float[Tensor, "n n_parameters"],
        generator: torch.Generator,
        n_refinements: int | None = None,
    ) -> Float[Tensor, "n steps channels *space"]:
        future = []
        for _ in range(n_steps):
            following = self._step(frames, conditions, generator, n_refinements)
            future.append(following)
            frames = torch.cat([frames[:, 1:], following[:, None]], dim=1)
        return torch.stack(future, dim=1)

    @torch.no_grad()
    def _step(
        self,
        frames: Float[Tensor, "n history channels *space"],
        conditions: Float[Tensor, "n n_parameters"],
        generator: torch.Generator,
        n_refinements: int | None,
    ) -> Float[Tensor, "n channels *space"]:
        """One step in physical units, in double precision."""
        normalised = self._normalise(frames).float()
        following = self._advance(self.network_, normalised, conditions, generator, n_refinements)
        return self._denormalise(following.double())

    def _advance(
        self,
        network: nn.Module,
        frames: Float[Tensor, "batch history channels *space"],
        conditions: Float[Tensor, "batch n_parameters"],
        generator: torch.Generator,
        n_refinements: int | None = None,
    ) -> Float[Tensor, "batch channels *space"]:
        """The next normalised frame."""
        target = self._target_estimate(network, frames, conditions, generator, n_refinements)
        weight = self._target_weight(target)
        return frames[:, -1] + weight * target if self.predict_difference else weight * target

    def _call(
        self,
        network: nn.Module,
        frames: Float[Tensor, "batch history channels *space"],
        candidate: Float[Tensor, "batch channels *space"],
        index: Tensor,
        conditions: Float[Tensor, "batch n_parameters"],
    ) -> Float[Tensor, "batch channels *space"]:
        """The network on history and candidate; `index` is on the scale 0 to 1000."""
        inputs = torch.cat([frames.flatten(1, 2), candidate], dim=1)
        if torch.is_grad_enabled():
            return network(inputs, index, conditions)
        rows = max(1, BLOCK_SIZE // (self.width * math.prod(inputs.shape[2:])))  # bounds the memory of many states
        return torch.cat([network(*part) for part in zip(*(x.split(rows) for x in (inputs, index, conditions)))])

    # --- scales --------------------------------------------------------------------------------------------------

    def _learn_scales(self, states: np.ndarray, conditions: np.ndarray) -> None:
        """Mean and standard deviation of the field, of the target, and the range of the parameters."""
        axes = (0, 1, *range(3, states.ndim))
        self.mean_ = states.mean(axes)
        # The deviation of equal values may be their mean's rounding error rather than 0.
        if (states.max(axes) == states.min(axes)).any():
            raise ValueError("trajectories must vary, got a channel with one value everywhere")
        self.scale_ = scale = states.std(axes)
        if self.difference_weight is not None:
            target_scale = np.full(states.shape[2], float(self.difference_weight))
        elif self.predict_difference:
            # Frames further apart than float32 can tell would turn rounding into a target.
            target_scale = np.maximum(np.diff(states, axis=1).std(axes), 1e-6 * scale)
        else:
            target_scale = scale
        self.target_scale_ = target_scale
        self.parameter_low_ = conditions.min(0)
        span = conditions.max(0) - self.parameter_low_
        self.parameter_span_ = np.where(span > 0, span, 1.0)

    def _per_channel(self, values: np.ndarray, like: Tensor) -> Tensor:
        """A channel's value, constant over space."""
        return torch.as_tensor(values, dtype=like.dtype, device=like.device).reshape(-1, *(1,) * self.n_dims_)

    def _normalise(self, states: Tensor) -> Tensor:
        return (states - self._per_channel(self.mean_, states)) / self._per_channel(self.scale_, states)

    def _denormalise(self, states: Tensor) -> Tensor:
        return states * self._per_channel(self.scale_, states) + self._per_channel(self.mean_, states)

    def _target_weight(self, like: Tensor) -> Tensor:
        """Standard deviation of the target in units of the normalised field."""
        return self._per_channel(self.target_scale_ / self.scale_, like)

    def _target(self, window: Float[Tensor, "batch frames channels *space"]) -> Float[Tensor, "batch channels *space"]:
        """The normalised target of the frame after the history."""
        following = window[:, self.history]
        base = window[:, self.history - 1] if self.predict_difference else torch.zeros_like(following)
        return (following - base) / self._target_weight(following)

    def _scale_parameters(self, conditions: Tensor) -> Tensor:
        """Parameters on the scale 0 to 10 over the range seen in training, where the sinusoids tell them apart."""
        low = torch.as_tensor(self.parameter_low_, dtype=conditions.dtype, device=conditions.device)
        span = torch.as_tensor(self.parameter_span_, dtype=conditions.dtype, device=conditions.device)
        return 10 * (conditions - low) / span

    # --- checks --------------------------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        check_integer(self.history, "history", minimum=1)
        if not isinstance(self.predict_difference, bool):
            raise TypeError(f"predict_difference must be True or False, got {self.predict_difference!r}")
        if self.difference_weight is not None:
            check_number(self.difference_weight, "difference_weight", above=0)
        check_choice(self.backbone, "backbone", tuple(BACKBONES))
        check_integer(self.width, "width", minimum=2)
        if self.backbone == "unet" and self.width % 8:
            raise ValueError(f"width must be divisible by 8 for the unet, got {self.width}")
        if self.width % 2:
            raise ValueError(f"width must be even, got {self.width}")
        check_integer(self.n_steps, "n_steps", minimum=1)
        check_integer(self.batch_size, "batch_size", minimum=1)
        check_number(self.learning_rate, "learning_rate", above=0)
        check_number(self.ema_decay, "ema_decay", minimum=0, below=1)
        if self.device is not None:
            check_choice(self.device, "device", ("cpu", "cuda"))
        self._check_own_parameters()

    def _check_space(self, space: list[int]) -> None:
        if len(space) not in (1, 2):
            raise ValueError(f"trajectories must have one or two space axes, got {len(space)}")
        least = BACKBONES[self.backbone].least_size(len(space))
        if min(space) < least:
            raise ValueError(f"trajectories must have at least {least} points along each space axis, got {space}")
        if self.backbone == "unet":
            divisor = 2 ** (len(ModernUNet.MULTIPLIERS) - 1)
            if any(n % divisor for n in space):
                raise ValueError(f"trajectories must have space axes divisible by {divisor} for the unet, got {space}")

    def _open_states(self, states: Any, parameters: Any) -> tuple[Tensor, Tensor]:
        """States of shape (n, history, n_channels, *space) and scaled parameters, on the network's device."""
        if not hasattr(self, "network_"):
            raise ValueError(f"this {type(self).__name__} is not fitted yet: call fit first")
        array = _values(states)
        single = 2 + self.n_dims_
        array = check_array(array, "states", ndim=(single, single + 1))
        if array.ndim == single:
            if self.history > 1:
                raise ValueError(
                    f"states must have shape (n, {self.history}, n_channels, *space), the last {self.history} frames, "
                    f"got {array.shape}"
                )
            array = array[:, None]
        if array.shape[1] != self.history:
            raise ValueError(f"states must hold {self.history} frames of history, got {array.shape[1]}")
        if array.shape[2] != self.n_channels_:
            raise ValueError(f"states must have {self.n_channels_} channels, got {array.shape[2]}")
        self._check_space(list(array.shape[3:]))
        device = next(self.network_.parameters()).device
        if self.n_parameters_ and parameters is None:
            raise ValueError(f"parameters are needed: the model was fitted with {self.n_parameters_} of them")
        conditions = _check_conditions(parameters, len(array))
        if conditions.shape[1] != self.n_parameters_:
            raise ValueError(f"parameters must have {self.n_parameters_} columns, got {conditions.shape[1]}")
        scaled = self._scale_parameters(torch.as_tensor(conditions, device=device)).float()
        if scaled.numel() and (scaled.min() < -1 or scaled.max() > 11):
            raise ValueError(
                "parameters must lie in the range seen in training, give or take a tenth: "
                f"{self.parameter_low_} to {self.parameter_low_ + self.parameter_span_}"
            )
        return torch.as_tensor(array, device=device), scaled

    # --- storage -------------------------------------------------------------------------------------------------

    def _new_network(self, seed: int) -> nn.Module:
        # torch initialises layers from its global generator: borrowed here and put back.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.build_network(self.n_channels_, self.n_dims_, self.n_parameters_)

    def _get_state(self) -> dict[str, Any]:
        state = super()._get_state()
        network = state.pop("network_")
        return state | {f"network.{name}": tensor for name, tensor in network.state_dict().items()}

    def _set_state(self, state: dict[str, Any]) -> None:
        weights = {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}
        super()._set_state({name: value for name, value in state.items() if not name.startswith("network.")})
        self.network_ = self._new_network(0)
        self.network_.load_state_dict(weights)
        self.network_.eval()


class DiffusionStepper(FieldStepper):
    """Base of the steppers that draw noise: training pairs and sampling of a noise process, ensembles, loss time."""

    @abstractmethod
    def _process(self) -> NoiseRefinement | Diffusion:
        """The noise process, from the constructor's arguments."""

    def _index(self, level: Tensor, process: NoiseRefinement | Diffusion) -> Tensor:
        """Noise levels on the embedding's scale, 0 to 1000."""
        return level * (1000.0 / max(1, process.n_levels - 1))

    def _loss(
        self,
        network: nn.Module,
        window: Float[Tensor, "batch frames channels *space"],
        parameters: Float[Tensor, "batch n_parameters"],
        generator: torch.Generator,
    ) -> Tensor:
        process = self._process()
        target = self._target(window)
        device = target.device
        level = torch.randint(process.n_levels, (len(target),), generator=generator, device=device)
        noise = torch.randn(target.shape, generator=generator, device=device)
        candidate, answer = process.training_pair(target, level, noise)
        output = self._call(network, window[:, : self.history], candidate, self._index(level, process), parameters)
        return nn.functional.mse_loss(output, answer)

    def _target_estimate(
        self,
        network: nn.Module,
        frames: Float[Tensor, "batch history channels *space"],
        parameters: Float[Tensor, "batch n_parameters"],
        generator: torch.Generator,
        n_refinements: int | None,
    ) -> Float[Tensor, "batch channels *space"]:
        process = self._process()
        if n_refinements is not None:
            check_integer(n_refinements, "n_refinements", minimum=0, maximum=process.n_refinements)

        def predict(candidate: Tensor, k: int) -> Tensor:
            level = torch.full((len(candidate),), float(k), device=candidate.device)
            return self._call(network, frames, candidate, self._index(level, process), parameters)

        return process.sample(predict, frames[:, -1], generator, n_refinements)

    def ensemble(self, state: Any, n_steps: int, n_members: int = 8, parameters: Any = None) -> Any:
        """Rollouts from the same state with independent noise.

        Parameters
        ----------
        state : array, Tensor or DataArray of shape (n, n_channels, *space), or (n, history, n_channels, *space)
        n_steps : int
        n_members : int
            At least 2.
        parameters : array of shape (n, n_parameters), optional

        Returns
        -------
        array or Tensor of shape (n_members, n, n_steps, n_channels, *space)
        """
        n_steps = check_integer(n_steps, "n_steps", minimum=1)
        n_members = check_integer(n_members, "n_members", minimum=2)
        frames, conditions = self._open_states(state, parameters)
        generator = torch_generator(self.random_state, frames.device)
        repeats = (n_members, *(1,) * (frames.ndim - 1))
        result = self._roll(frames.repeat(repeats), n_steps, conditions.repeat(n_members, 1), generator)
        return _in_kind_and_precision(result.reshape(n_members, -1, *result.shape[1:]), _values(state))

    def estimate_loss_time(
        self, state: Any, n_steps: int, *, n_members: int = 8, threshold: float = 0.8, parameters: Any = None
    ) -> LossTime:
        """Until when a rollout from `state` can be believed: while the members of an ensemble agree.

        Parameters
        ----------
        state : array, Tensor or DataArray of shape (n, n_channels, *space), or (n, history, n_channels, *space)
        n_steps : int
            How far to look.
        n_members : int
            At least 2.
        threshold : float
            Correlation in (0, 1) under which members disagree.
        parameters : array of shape (n, n_parameters), optional

        Returns
        -------
        LossTime
        """
        threshold = check_number(threshold, "threshold", above=0, below=1)
        members = self.ensemble(state, n_steps, n_members, parameters)
        if isinstance(members, Tensor):
            members = members.cpu().numpy()
        curves = ensemble_correlation(members)
        times = high_correlation_time(curves, threshold, self.time_step_)
        return LossTime(np.asarray(times), curves, np.asarray((curves >= threshold).all(-1)))


class PDERefiner(DiffusionStepper):
    r"""A one-step time stepper whose rollout is refined at every step by removing ever smaller noise.

    The target :math:`y = (u(t) - u(t - \Delta t)) / s` is predicted once; then, for k = 1, ..., K, noise of standard
    deviation :math:`\sigma_k = \sigma_{min}^{k / K}` is added, predicted and subtracted, so that the network has to resolve
    every frequency down to that amplitude. The noise makes ensembles, and they tell until when to believe a rollout.

    Parameters
    ----------
    n_refinements : int
        Refinements K after the first prediction; a step costs K + 1 passes through the network.
    min_noise_variance : float
        Variance :math:`\sigma_{min}^2` of the last noise, in units of the target's variance, in (0, 1). Set it near the
        one-step mean squared error that the network can reach: far below, the last refinements do nothing, and learning
        what cannot be learnt costs the others accuracy; far above, the weak frequencies are lost. The default is the
        paper's, for large networks.
    formulation : {"noise", "v"}
        The paper's loop, or the reference code's diffusion with v-prediction.
    history : int
        Frames that the network sees.
    predict_difference : bool
        Predict the increment rather than the next frame.
    difference_weight : float, optional
        The scale s of the target in the field's units; by default its standard deviation in the training data.
    backbone : {"cnn", "unet"}
        A small dilated network, or the U-Net of the paper.
    width : int
        Channels of the (first level of the) network: 32 for the cnn; 64 for the paper's unet.
    n_steps : int
        Training steps.
    batch_size : int
        Training pairs a step (and a process).
    learning_rate : float
        Of Adam, at the start of a cosine down to a hundredth.
    ema_decay : float
        Decay of the averaged weights, which are the ones used.
    device : {"cpu", "cuda"}, optional
        By default, the accelerator if there is one.
    random_state : int, optional
        Seeds the weights, the training and the noise of predictions; with an integer, the same call gives the same result.

    Attributes
    ----------
    network_ : nn.Module
        The network with averaged weights.
    time_step_ : float
        Time between frames.
    target_scale_ : array of shape (n_channels,)
        The scale s.
    losses_ : list of float
        Training loss of each step.

    References
    ----------
    Lippe, Veeling, Perdikaris, Turner, Brandstetter. PDE-Refiner: Achieving Accurate Long Rollouts with Neural PDE Solvers.
    NeurIPS 2023, arXiv 2308.05732.

    Examples
    --------
    >>> from semigroup.data.pde import advection_diffusion
    >>> data = advection_diffusion(8, n_points=32, random_state=0)
    >>> model = PDERefiner(width=8, n_steps=20, random_state=0).fit(data.states, times=data.times)
    >>> model.rollout(data.states[:2, 0], n_steps=5).shape
    (2, 5, 1, 32)
    >>> model.estimate_loss_time(data.states[:2, 0], n_steps=5, n_members=2).correlations.shape
    (2, 5)
    """

    def __init__(
        self,
        *,
        n_refinements: int = 3,
        min_noise_variance: float = 4e-7,
        formulation: Literal["noise", "v"] = "noise",
        history: int = 1,
        predict_difference: bool = True,
        difference_weight: float | None = None,
        backbone: Literal["cnn", "unet"] = "cnn",
        width: int = 32,
        n_steps: int = 3000,
        batch_size: int = 32,
        learning_rate: float = 2e-3,
        ema_decay: float = 0.995,
        device: Literal["cpu", "cuda"] | None = None,
        random_state: int | None = None,
    ) -> None:
        self.n_refinements = n_refinements
        self.min_noise_variance = min_noise_variance
        self.formulation = formulation
        self.history = history
        self.predict_difference = predict_difference
        self.difference_weight = difference_weight
        self.backbone = backbone
        self.width = width
        self.n_steps = n_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.ema_decay = ema_decay
        self.device = device
        self.random_state = random_state

    def _check_own_parameters(self) -> None:
        check_integer(self.n_refinements, "n_refinements", minimum=0)
        check_number(self.min_noise_variance, "min_noise_variance", above=0, below=1)
        check_choice(self.formulation, "formulation", ("noise", "v"))

    def _process(self) -> NoiseRefinement | Diffusion:
        if self.formulation == "noise":
            return NoiseRefinement(self.n_refinements, self.min_noise_variance)
        return Diffusion(refinement_variances(self.n_refinements, self.min_noise_variance))


class CosineDiffusionStepper(DiffusionStepper):
    """A time stepper by standard diffusion: many steps from pure noise down a cosine schedule.

    Parameters
    ----------
    n_levels : int
        Steps of the diffusion, and passes through the network a time step.
    history, predict_difference, difference_weight, backbone, width, n_steps, batch_size, learning_rate, ema_decay, \
device, random_state
        As in `PDERefiner`.

    Examples
    --------
    >>> from semigroup.data.pde import advection_diffusion
    >>> data = advection_diffusion(8, n_points=32, random_state=0)
    >>> model = CosineDiffusionStepper(n_levels=5, width=8, n_steps=5, random_state=0).fit(data.states)
    >>> model.predict(data.states[:2, 0]).shape
    (2, 1, 32)
    """

    def __init__(
        self,
        *,
        n_levels: int = 100,
        history: int = 1,
        predict_difference: bool = True,
        difference_weight: float | None = None,
        backbone: Literal["cnn", "unet"] = "cnn",
        width: int = 32,
        n_steps: int = 3000,
        batch_size: int = 32,
        learning_rate: float = 2e-3,
        ema_decay: float = 0.995,
        device: Literal["cpu", "cuda"] | None = None,
        random_state: int | None = None,
    ) -> None:
        self.n_levels = n_levels
        self.history = history
        self.predict_difference = predict_difference
        self.difference_weight = difference_weight
        self.backbone = backbone
        self.width = width
        self.n_steps = n_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.ema_decay = ema_decay
        self.device = device
        self.random_state = random_state

    def _check_own_parameters(self) -> None:
        check_integer(self.n_levels, "n_levels", minimum=2)

    def _process(self) -> Diffusion:
        return Diffusion(cosine_variances(self.n_levels))


class OneStepStepper(FieldStepper):
    r"""The usual time stepper: one pass through the network a step. The baseline of everything here.

    With a history above 1 it is the history baseline. Its objectives:

    ``"mse"``
        Mean squared error of the next frame.
    ``"sobolev"``
        :math:`\sum_k (1 + |k|^2) |\hat e_k|^2` over mode numbers k, divided by the mean weight.
    ``"unrolled"``
        Mean squared error over `n_unroll` steps of rollout, with gradients through all of them.
    ``"pushforward"``
        Roll out `n_unroll` - 1 steps without gradient, mean squared error of the last step (Brandstetter et al. 2022).
    ``"noisy"``
        Mean squared error from inputs with added noise of fixed standard deviation, towards the true next frame
        (Sanchez-Gonzalez et al. 2020).

    Parameters
    ----------
    objective : {"mse", "sobolev", "unrolled", "pushforward", "noisy"}
        What is minimised.
    n_unroll : int
        Steps of the unrolled and pushforward objectives.
    input_noise : float
        Standard deviation of the noisy objective's noise, in units of the field's standard deviation.
    history, predict_difference, difference_weight, backbone, width, n_steps, batch_size, learning_rate, ema_decay, \
device, random_state
        As in `PDERefiner`.

    Examples
    --------
    >>> from semigroup.data.pde import advection_diffusion
    >>> data = advection_diffusion(8, n_points=32, random_state=0)
    >>> model = OneStepStepper(width=8, n_steps=20, random_state=0).fit(data.states, times=data.times)
    >>> model.rollout(data.states[:2, 0], n_steps=5).shape
    (2, 5, 1, 32)
    """

    def __init__(
        self,
        *,
        objective: Literal["mse", "sobolev", "unrolled", "pushforward", "noisy"] = "mse",
        n_unroll: int = 2,
        input_noise: float = 1e-2,
        history: int = 1,
        predict_difference: bool = True,
        difference_weight: float | None = None,
        backbone: Literal["cnn", "unet"] = "cnn",
        width: int = 32,
        n_steps: int = 3000,
        batch_size: int = 32,
        learning_rate: float = 2e-3,
        ema_decay: float = 0.995,
        device: Literal["cpu", "cuda"] | None = None,
        random_state: int | None = None,
    ) -> None:
        self.objective = objective
        self.n_unroll = n_unroll
        self.input_noise = input_noise
        self.history = history
        self.predict_difference = predict_difference
        self.difference_weight = difference_weight
        self.backbone = backbone
        self.width = width
        self.n_steps = n_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.ema_decay = ema_decay
        self.device = device
        self.random_state = random_state

    def _check_own_parameters(self) -> None:
        check_choice(self.objective, "objective", ("mse", "sobolev", "unrolled", "pushforward", "noisy"))
        check_integer(self.n_unroll, "n_unroll", minimum=1)
        check_number(self.input_noise, "input_noise", minimum=0)

    @property
    def _n_future(self) -> int:
        return self.n_unroll if self.objective in ("unrolled", "pushforward") else 1

    def _target_estimate(
        self,
        network: nn.Module,
        frames: Float[Tensor, "batch history channels *space"],
        parameters: Float[Tensor, "batch n_parameters"],
        generator: torch.Generator,
        n_refinements: int | None,
    ) -> Float[Tensor, "batch channels *space"]:
        if n_refinements is not None:
            raise ValueError(f"n_refinements must be None: {type(self).__name__} does not refine")
        # The refiner's first prediction: an empty candidate at index 0, so that both have the same network.
        index = torch.zeros(len(frames), device=frames.device)
        return self._call(network, frames, torch.zeros_like(frames[:, -1]), index, parameters)

    def _loss(
        self,
        network: nn.Module,
        window: Float[Tensor, "batch frames channels *space"],
        parameters: Float[Tensor, "batch n_parameters"],
        generator: torch.Generator,
    ) -> Tensor:
        def error(frames: Tensor, following: Tensor) -> tuple[Tensor, Tensor]:
            """Next frame, and its error in units of the target."""
            predicted = self._advance(network, frames, parameters, generator)
            return predicted, (predicted - following) / self._target_weight(predicted)

        history = self.history
        frames, future = window[:, :history], window[:, history:]
        if self.objective == "sobolev":
            return sobolev_norm(error(frames, future[:, 0])[1], self.n_dims_)
        if self.objective == "noisy":
            frames = frames + self.input_noise * torch.randn(frames.shape, generator=generator, device=frames.device)
        if self.objective == "pushforward":
            with torch.no_grad():
                for _ in range(self.n_unroll - 1):
                    following = self._advance(network, frames, parameters, generator)
                    frames = torch.cat([frames[:, 1:], following[:, None]], dim=1)
            return error(frames, future[:, -1])[1].square().mean()
        losses = []
        for step in range(self._n_future):
            following, residual = error(frames, future[:, step])
            losses.append(residual.square().mean())
            frames = torch.cat([frames[:, 1:], following[:, None]], dim=1)
        return torch.stack(losses).mean()


class RescaledStepper(OneStepStepper):
    """A one-step stepper whose rollout is corrected after every step to keep what the data keep.

    Trained as `OneStepStepper`. Where every training trajectory keeps its spatial mean, the mean of each prediction is shifted
    back to that of its input; and the standard deviation over space is brought back, by rescaling, into the range seen in
    training. (The paper compares with a correction of this kind, after McGreivy and Hakim 2023, whose invariants belong to
    the equation; here they are read off the data.)

    Parameters
    ----------
    objective, n_unroll, input_noise, history, predict_difference, difference_weight, backbone, width, n_steps, \
batch_size, learning_rate, ema_decay, device, random_state
        As in `OneStepStepper`.

    Attributes
    ----------
    mean_is_kept_ : array of bool of shape (n_channels,)
    deviation_range_ : array of shape (2, n_channels)
        Least and largest standard deviation over space, in units of the field's.

    Examples
    --------
    >>> from semigroup.data.pde import advection_diffusion
    >>> data = advection_diffusion(8, n_points=32, random_state=0)
    >>> model = RescaledStepper(width=8, n_steps=5, random_state=0).fit(data.states)
    >>> model.mean_is_kept_.tolist()
    [True]
    """

    def _learn_scales(self, states: np.ndarray, conditions: np.ndarray) -> None:
        super()._learn_scales(states, conditions)
        space = tuple(range(3, states.ndim))
        means, deviations = states.mean(space), states.std(space)
        drift = abs(means - means[:, :1]).max((0, 1))
        # float32 data keep their mean to about 1e-6 of their size
        self.mean_is_kept_ = drift < 1e-5 * (self.scale_ + abs(self.mean_))
        flat = deviations.reshape(-1, states.shape[2]) / self.scale_
        self.deviation_range_ = np.stack([flat.min(0), flat.max(0)])

    def _step(
        self,
        frames: Float[Tensor, "n history channels *space"],
        conditions: Float[Tensor, "n n_parameters"],
        generator: torch.Generator,
        n_refinements: int | None,
    ) -> Float[Tensor, "n channels *space"]:
        following = super()._step(frames, conditions, generator, n_refinements)
        space = tuple(range(2, following.ndim))
        mean = following.mean(space, keepdim=True)
        kept = self._per_channel(self.mean_is_kept_, torch.zeros((), dtype=torch.bool, device=mean.device))
        centre = torch.where(kept, frames[:, -1].mean(space, keepdim=True), mean)
        deviation = following.std(space, keepdim=True, correction=0).clamp_min(1e-12)
        low, high = (self._per_channel(bound * self.scale_, following) for bound in self.deviation_range_)
        return centre + (following - mean) * (deviation.clamp(low, high) / deviation)


def sobolev_norm(error: Float[Tensor, "batch channels *space"], n_dims: int) -> Tensor:
    r"""Mean of :math:`(1 + |k|^2) |\hat e_k|^2` over the mean weight: the mean square where the error is white.

    Examples
    --------
    >>> round(sobolev_norm(torch.ones(1, 1, 8), 1).item(), 4)  # all in mode 0, weight 1 of a mean weight of 6.5
    0.1538
    """
    size = error.shape[2:]
    grids = torch.meshgrid(*(torch.fft.fftfreq(n, 1 / n, device=error.device) for n in size), indexing="ij")
    weight = 1 + torch.stack([grid**2 for grid in grids]).sum(0)
    power = torch.fft.fftn(error, dim=tuple(range(2, 2 + n_dims)), norm="forward").abs() ** 2
    return (weight * power).sum(tuple(range(2, 2 + n_dims))).mean() / weight.mean()


# --- input -------------------------------------------------------------------------------------------------------


def _is_xarray(value: Any) -> bool:
    return hasattr(value, "dims") and hasattr(value, "coords")


def _values(value: Any) -> Any:
    """The array inside a DataArray; anything else as it is."""
    return value.to_numpy() if _is_xarray(value) else value


def _open_trajectories(trajectories: Any, times: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Finite float64 states of four or five axes, and the times given or carried by the data."""
    if times is None and _is_xarray(trajectories) and "time" in trajectories.coords:
        coordinate = trajectories.coords["time"].to_numpy()
        times = coordinate if coordinate.dtype.kind in "iuf" else None
    states = check_array(_values(trajectories), "trajectories", ndim=(4, 5))
    return states, None if times is None else check_array(times, "times", ndim=(1, 2))


def _check_conditions(parameters: Any, n: int) -> Float[np.ndarray, "n n_parameters"]:
    """One row of parameters a trajectory; none where there are no parameters."""
    if parameters is None:
        return np.zeros((n, 0))
    conditions = check_array(parameters, "parameters", ndim=2)
    if len(conditions) != n:
        raise ValueError(f"parameters must have {n} rows, one a trajectory, got {len(conditions)}")
    return conditions


def _check_times(
    times: np.ndarray | None, n_trajectories: int, n_frames: int, conditions: Float[np.ndarray, "n n_parameters"]
) -> float:
    """The time step; where it differs between trajectories it must be among the parameters, and the mean is returned."""
    if times is None:
        return 1.0
    if times.shape not in ((n_frames,), (n_trajectories, n_frames)):
        raise ValueError(
            f"times must have shape ({n_frames},) or ({n_trajectories}, {n_frames}), got {times.shape}; trajectories have "
            "the axes (n_trajectories, n_frames, n_channels, *space)"
        )
    steps = np.diff(np.atleast_2d(times), axis=1)
    mean = steps.mean(1)
    if (steps <= 0).any():
        raise ValueError("times must increase along each trajectory")
    # Times stored in float32 are equally spaced to about 1e-7 of the largest.
    slack = 1e-3 * mean.min() + 1e-6 * abs(times).max()
    if (abs(steps - mean[:, None]) > slack).any():
        raise ValueError("times must be equally spaced along each trajectory")
    spread = abs(mean - mean.mean()) > slack
    if spread.any() and not any(np.allclose(column, mean, atol=slack) for column in conditions.T):
        raise ValueError(
            f"times must have one time step, got {mean.min():g} to {mean.max():g}: pass each trajectory's time step as a "
            "column of parameters to condition on it"
        )
    return float(mean.mean())


def _in_kind_and_precision(result: Tensor, like: Any) -> Any:
    """`result` in the kind of `like`, and in single precision where that is."""
    single = getattr(like, "dtype", None) in (np.float32, np.float16)
    return in_kind(result.float() if single else result, like)


def _in_field_kind(result: Tensor, like: Any, n_dims: int) -> Any:
    """`result` in the kind of `like`; a DataArray keeps the names of its first axis, its channels and its space."""
    if not _is_xarray(like):
        return _in_kind_and_precision(result, like)
    import xarray

    names = [str(name) for name in like.dims]
    kept = [names[0], *names[-(n_dims + 1) :]]
    dims = kept if result.ndim == len(kept) else [kept[0], "step", *kept[1:]]
    coords = {name: like.coords[name] for name in kept if name in like.coords}
    return xarray.DataArray(_in_kind_and_precision(result, like.to_numpy()), dims=dims, coords=coords)

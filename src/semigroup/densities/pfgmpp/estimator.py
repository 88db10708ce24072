"""The estimator, and how to choose D for one's data."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import joblib
import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from semigroup.base import (
    Estimator,
    all_or_nothing,
    check_array,
    check_choice,
    check_integer,
    check_number,
    in_kind,
    numpy_generator,
    seed_from,
    torch_generator,
)
from semigroup.densities.distances import energy_distance, frechet_distance
from semigroup.densities.pfgmpp.losses import (
    Denoiser,
    FieldDenoiser,
    ImageRows,
    field_range,
    field_target,
    loss_weight,
    noise_levels,
    stable_target,
    tail_weight,
)
from semigroup.densities.pfgmpp.noise import check_dimension, student_noise
from semigroup.densities.pfgmpp.sampling import Churn, quantize_weights, sample_heun, sample_scaled
from semigroup.nn.batches import rows_together
from semigroup.nn.mlp import MLP
from semigroup.nn.unet import ImageUNet
from semigroup.schedules import Preconditioning, Schedule, karras_sigmas
from semigroup.training import EpochSampler, seeded, state_for_all, train

__all__ = ["PFGMpp", "Quality", "assess", "sweep_dimensions"]

# Rows that are sampled together, if they are small, and images on a processor, whose caches hold a U-Net's states of no more.
PIECE, IMAGE_PIECE = 1024, 128
# log(sigma) / 4 lies within [-2, 1.5]: at this scale the fastest sinusoid turns some nine times over it.
TIME_SCALE = 16.0
# Up to this D the noise has no fourth moment, and the tails of the loss are bounded.
HEAVIEST_TAIL = 4.0


class PFGMpp(Estimator):
    """A generative model of vectors or images, with or without labels, with D added dimensions.

    The data are centred and scaled to the standard deviation `sigma_data`; noise levels in the constructor are in these units,
    so that values tuned for diffusion models hold for any data and any D. Methods take and give the data's own units.

    Parameters
    ----------
    D : float
        Added dimensions, at least 0.1, not necessarily whole: 1 is the Poisson flow, infinity (``inf``) diffusion. Small D
        stands disturbances along the way better, large D is easier to learn; choose it by `sweep_dimensions`. Up to
        D = 4, where the noise has no fourth moment, the loss is bounded in its tails, which does not change what is learnt.
    loss : {"edm", "ve", "vp", "stf", "field"}
        EDM's levels and weights; the levels of variance exploding or preserving diffusion with weight ``1 / sigma^2``; EDM's with
        the stable target, averaged over a reference batch; or PFGM's regression of the normalised field, for finite D.
    network : {"auto", "mlp", "unet"}
        A perceptron or a U-Net; by default a U-Net for images.
    hidden : sequence of int
        Widths of the perceptron's hidden layers.
    width : int
        Channels of the U-Net's first level, divisible by 8.
    multipliers : sequence of int
        Channels of the U-Net's levels in multiples of `width`.
    dropout : float
        In the U-Net's blocks.
    sigma_data : float
        Standard deviation to which the data are scaled.
    log_sigma_mean : float
        Mean logarithm of the noise levels in training, for "edm" and "stf": the paper's P_mean.
    log_sigma_std : float
        Standard deviation of the logarithm: P_std.
    sigma_min : float
        Last noise level of sampling before 0. For loss="field" and D > 3 the published range takes the place of both.
    sigma_max : float
        First noise level of sampling.
    rho : float
        Exponent of the grid of noise levels.
    n_levels : int
        Noise levels in sampling: ``2 n_levels - 1`` evaluations of the network.
    n_steps : int
        Steps of training.
    batch_size : int
    learning_rate : float
        Of Adam.
    ema_decay : float
        Decay of the averaged weights, which are the ones used; it grows to this value as ``(1 + k) / (10 + k)``.
    max_grad_norm : float, optional
        Clip the gradient's norm.
    reference_size : int
        Rows of the reference batch, which holds the batch itself, for "stf" and "field".
    device : {"cpu", "cuda"}, optional
        By default an accelerator, if there is one.
    random_state : int, optional
        Seed of everything random.

    Attributes
    ----------
    denoiser_ : nn.Module
        The denoiser of scaled rows, with averaged weights.
    shape_ : list of int
        Shape of a sample.
    shift_ : array, shape (n_features_in_,)
        What is subtracted from the data: means of columns, or of channels.
    scale_ : float
        The unit of noise levels, in units of the data.
    classes_ : array or None
        The labels, sorted, if there were any.
    losses_ : array, shape (n_steps,)
        Training loss.
    n_features_in_ : int
        Numbers of a sample, the paper's N.

    Notes
    -----
    ``model.denoiser_.compile()`` makes the sampler faster where it is called often: on a processor by some 5 to 15 % for U-Nets
    and by nothing for perceptrons, after one or two minutes of compilation, so that it is left to the user.

    References
    ----------
    Xu, Y. et al. (2023). PFGM++: Unlocking the potential of physics-inspired generative models. ICML. arXiv:2302.04265.

    Examples
    --------
    >>> X = np.random.default_rng(0).choice([-1.0, 1.0], size=(500, 1))
    >>> model = PFGMpp(D=8.0, hidden=(32, 32), n_steps=600, learning_rate=5e-3, device="cpu", random_state=0).fit(X)
    >>> samples = model.sample(200)
    >>> bool(np.mean(abs(abs(samples) - 1) < 0.2) > 0.9)
    True
    """

    def __init__(
        self,
        *,
        D: float = 128.0,
        loss: Literal["edm", "ve", "vp", "stf", "field"] = "edm",
        network: Literal["auto", "mlp", "unet"] = "auto",
        hidden: Sequence[int] = (256, 256, 256),
        width: int = 32,
        multipliers: Sequence[int] = (1, 2, 2),
        dropout: float = 0.0,
        sigma_data: float = 0.5,
        log_sigma_mean: float = -1.2,
        log_sigma_std: float = 1.2,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        rho: float = 7.0,
        n_levels: int = 18,
        n_steps: int = 3000,
        batch_size: int = 256,
        learning_rate: float = 1e-3,
        ema_decay: float = 0.999,
        max_grad_norm: float | None = None,
        reference_size: int = 4096,
        device: Literal["cpu", "cuda"] | None = None,
        random_state: int | None = None,
    ) -> None:
        self.D = D
        self.loss = loss
        self.network = network
        self.hidden = hidden
        self.width = width
        self.multipliers = multipliers
        self.dropout = dropout
        self.sigma_data = sigma_data
        self.log_sigma_mean = log_sigma_mean
        self.log_sigma_std = log_sigma_std
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max
        self.rho = rho
        self.n_levels = n_levels
        self.n_steps = n_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.ema_decay = ema_decay
        self.max_grad_norm = max_grad_norm
        self.reference_size = reference_size
        self.device = device
        self.random_state = random_state

    @all_or_nothing
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        progress: bool = False,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> PFGMpp:
        """Train the denoiser.

        Parameters
        ----------
        X : array-like or Tensor, shape (n, n_features) or (n, channel, size, size)
            Vectors, or square images.
        y : array-like, shape (n,), optional
            Labels, whole numbers or words; with them the model is conditional.
        progress : bool
            Show a progress bar.
        checkpoint_dir : path, optional
            Keep a checkpoint there, also on Ctrl-C.
        resume : bool
            Continue from it.

        Returns
        -------
        PFGMpp

        Raises
        ------
        ValueError, TypeError
            If an argument is out of its range, the data are constant, NaN or infinite, images have no channel axis or a size
            that the U-Net cannot halve, the labels are fractions, their number is not that of samples, or training without
            `random_state` is to be resumed; the message names the argument.
        TrainingDiverged
            If the loss becomes NaN or infinite.
        """
        self._check_parameters()
        samples = self._check_samples(X)
        self._check_size(samples)
        state = state_for_all(self.random_state, resume=resume, device=self.device)
        self.shape_ = list(samples.shape[1:])
        rows = samples.reshape(len(samples), -1)
        self.n_features_in_ = rows.shape[1]
        code = self._learn_labels(y, len(rows))
        # One unit for all columns: the noise is alike in all directions, and so is what it hides.
        mean = samples.mean(axis=0 if samples.ndim == 2 else (0, 2, 3))
        self.shift_ = np.repeat(mean, self.n_features_in_ // len(mean))
        deviation = math.sqrt(((rows - self.shift_) ** 2).mean())
        if deviation <= 1e-12 * (1 + np.abs(mean).max()):
            raise ValueError("X must vary: all samples are equal, and there is nothing to scale them by")
        self.scale_ = deviation / self.sigma_data

        with seeded(self._seed(0, state)):
            denoiser = self._build()
        data = torch.from_numpy(((rows - self.shift_) / self.scale_).astype(np.float32))
        result = train(
            denoiser,
            self._batch_loss(data, code, self._seed(2, state)),
            n_steps=self.n_steps,
            optimizer=torch.optim.Adam(denoiser.parameters(), lr=self.learning_rate, fused=True),
            seed=self._seed(1, state),
            ema_decay=lambda k: min(self.ema_decay, (1 + k) / (10 + k)),
            max_grad_norm=self.max_grad_norm,
            checkpoint_dir=checkpoint_dir,
            resume=resume,
            device=self.device,
            description="pfgmpp",
            progress=progress,
        )
        assert result.averaged is not None
        self.denoiser_ = result.averaged.eval()
        self.losses_ = np.asarray(result.losses)
        return self

    def _batch_loss(
        self, data: Float[Tensor, "row n_features"], code: Int[Tensor, " row"] | None, seed: int
    ) -> Callable[[nn.Module, int, torch.Generator], Tensor]:
        """The loss of one step of training."""
        # Seeded apart: the training loop draws a step's noise from the numbers that would order the epoch of that index.
        batches = EpochSampler(len(data), min(self.batch_size, len(data)), seed)
        levels = {"log_sigma_mean": self.log_sigma_mean, "log_sigma_std": self.log_sigma_std}
        scalings = Preconditioning(self.sigma_data)

        def loss(model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
            nonlocal data, code
            data = data.to(generator.device)  # once: the training loop chooses the device
            code = None if code is None else code.to(generator.device)
            chosen = batches(step).to(generator.device)
            y, label = data[chosen], None if code is None else code[chosen]
            sigma = noise_levels(self.loss, len(y), generator, field_sigmas=self._sigmas(), **levels)
            noise = student_noise(len(y), y.shape[1], self.D, generator)
            x = torch.addcmul(y, sigma[:, None], noise)
            if self.loss in ("stf", "field"):
                # The reference batch holds the batch, so that every x has its own y among them.
                more = torch.randperm(len(data), generator=generator, device=data.device)
                more = more[~torch.isin(more, chosen)][: max(0, self.reference_size - len(chosen))]
                references = torch.cat([chosen, more])
                reference_label = None if code is None else code[references]
                y = stable_target(x, sigma, data[references], self.D, label=label, reference_label=reference_label)
            with seeded(generator.initial_seed()):  # dropout
                found = model(x, sigma, label, as_field=True) if self.loss == "field" else model(x, sigma, label)
            if self.loss == "field":
                return (found - field_target(x, sigma, y, self.D)).square().mean()
            error = (found - y).square().mean(1)
            weight = loss_weight(self.loss, sigma, scalings)
            if self.D <= HEAVIEST_TAIL:
                weight = weight * tail_weight(x, sigma, scalings)
            return (weight * error).mean()

        return loss

    # --- use -----------------------------------------------------------------------------------------------------

    def sample(
        self,
        n: int,
        labels: Any = None,
        *,
        n_levels: int | None = None,
        disturbance: float = 0.0,
        bits: int | None = None,
        churn: Churn | None = None,
        schedule: Schedule | None = None,
        random_state: int | None = None,
        progress: bool = False,
    ) -> Float[np.ndarray, "n *shape"]:
        """Draw samples.

        Parameters
        ----------
        n : int
        labels : label or array-like, shape (n,), optional
            One for all or one each; needed by a conditional model, and by no other.
        n_levels : int, optional
            Noise levels on the way, by default the estimator's.
        disturbance : float
            Add noise of this multiple of sigma before each step: how the model stands errors.
        bits : int, optional
            Round the network's weights to this many bits first.
        churn : Churn, optional
            Sample stochastically.
        schedule : Schedule, optional
            Follow the lines in the variables of this diffusion (see `sample_scaled`), in place of EDM's grid; not with
            `churn`.
        random_state : int, optional
            Seed of this call; by default the estimator's. One seed gives the same Gaussian numbers of the prior for
            every D.
        progress : bool
            Show a progress bar.

        Returns
        -------
        array, shape (n, *shape), float64
            In units of the data, whose origin may be far away.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If an argument is out of its range, or labels are missing, unknown or not asked for.
        SolverFailed
            If a state is NaN or infinite.
        """
        check_is_fitted(self, "denoiser_")
        n = check_integer(n, "n", minimum=1)
        levels = check_integer(self.n_levels if n_levels is None else n_levels, "n_levels", minimum=2)
        check_number(disturbance, "disturbance", minimum=0)
        if churn is not None and schedule is not None:
            raise ValueError("churn must be left out where schedule is given: it belongs to EDM's grid")
        code = self._encode(labels, n)
        device = next(self.denoiser_.parameters()).device
        code = None if code is None else code.to(device)
        network = self.denoiser_ if bits is None else self._quantized(bits)
        seeds = numpy_generator(self._seed(3, random_state))
        piece = self._piece(network)
        sigmas = karras_sigmas(levels, *self._sigmas(), rho=self.rho)

        def draw(start: int) -> Tensor:
            label = None if code is None else code[start : start + piece]
            size = min(piece, n - start)
            generator = torch_generator(seeds, device)
            noise = student_noise(size, self.n_features_in_, self.D, generator, dtype=torch.float64)

            def denoise(x: Tensor, sigma: float) -> Tensor:
                # One level for all rows: its embedding is computed once and broadcast.
                level = torch.full((1,), sigma, dtype=torch.float32, device=device)
                return network(x.float(), level, label).double()

            if schedule is not None:
                return sample_scaled(denoise, noise, schedule, levels, disturbance=disturbance, generator=generator)
            return sample_heun(
                denoise, sigmas[0] * noise, sigmas, generator=generator, disturbance=disturbance, churn=churn
            )

        from rich.progress import track

        pieces = track(range(0, n, piece), description="sampling", disable=not progress)
        with torch.inference_mode():
            rows = torch.cat([draw(start) for start in pieces]).cpu().numpy()
        return (self.shift_ + self.scale_ * rows).reshape(n, *self.shape_)

    def denoise(self, x: Any, sigma: Any, labels: Any = None) -> Any:
        """The model's estimate of the posterior mean of the data, given data with noise.

        Parameters
        ----------
        x : array-like or Tensor, shape (n, *shape)
            Data plus `sigma` times Student noise with D degrees of freedom (`student_noise`).
        sigma : float or array-like, shape (n,)
            Noise level, in units of the data.
        labels : label or array-like, shape (n,), optional
            For a conditional model.

        Returns
        -------
        array or Tensor, shape (n, *shape)
        """
        check_is_fitted(self, "denoiser_")
        samples = self._check_samples(x, "x")
        if list(samples.shape[1:]) != self.shape_:
            raise ValueError(f"x must hold samples of shape {tuple(self.shape_)}, got {samples.shape[1:]}")
        levels = check_array(sigma, "sigma", ndim=(0, 1))
        if levels.shape not in ((), (len(samples),)) or (levels <= 0).any():
            raise ValueError(f"sigma must be one positive number, or {len(samples)}, got shape {levels.shape}")
        device = next(self.denoiser_.parameters()).device
        code = self._encode(labels, len(samples))
        rows = (samples.reshape(len(samples), -1) - self.shift_) / self.scale_
        sigmas = np.broadcast_to(levels / self.scale_, len(rows))
        piece, clean = self._piece(self.denoiser_), []
        with torch.inference_mode():
            for start in range(0, len(rows), piece):
                part = slice(start, start + piece)
                x_part, sigma_part = (torch.tensor(values[part]).float().to(device) for values in (rows, sigmas))
                label = None if code is None else code[part].to(device)
                clean.append(self.denoiser_(x_part, sigma_part, label).double().cpu())
        found = torch.from_numpy(self.shift_ + self.scale_ * torch.cat(clean).numpy())
        return in_kind(found.reshape(samples.shape), x)

    def _piece(self, network: nn.Module) -> int:
        """How many rows go through the network together."""
        on_processor = next(network.parameters()).device.type == "cpu"
        most = IMAGE_PIECE if isinstance(network.network, ImageRows) and on_processor else PIECE
        return rows_together(torch.empty(1, *self.shape_), most)

    def _sigmas(self) -> tuple[float, float]:
        """Least and largest noise level."""
        if self.loss == "field":
            return field_range(self.n_features_in_, self.D, self.sigma_min, self.sigma_max)
        return self.sigma_min, self.sigma_max

    def _quantized(self, bits: int) -> nn.Module:
        device = next(self.denoiser_.parameters()).device
        label = None if self.classes_ is None else torch.zeros(1, dtype=torch.long, device=device)
        example = torch.zeros(1, self.n_features_in_, device=device), torch.ones(1, device=device), label
        return quantize_weights(self.denoiser_, bits, example=example)

    def _build(self) -> nn.Module:
        """The denoiser with new weights."""
        n, n_classes = self.n_features_in_, 0 if self.classes_ is None else len(self.classes_)
        field = self.loss == "field"
        if self.network == "mlp" or len(self.shape_) == 1:
            inner: nn.Module = MLP(
                n, n + field, self.hidden, time="sinusoids", time_scale=TIME_SCALE, n_classes=n_classes
            )
        else:
            n_channels, size, _ = self.shape_
            unet = ImageUNet(
                n_channels,
                size,
                width=self.width,
                multipliers=self.multipliers,
                dropout=self.dropout,
                n_classes=n_classes,
                time_scale=TIME_SCALE,
                n_outputs=n_channels + field,
            )
            inner = ImageRows(unet, (n_channels, size, size))
        return (FieldDenoiser if field else Denoiser)(inner, self.sigma_data)

    def _seed(self, use: int, random_state: int | None = None) -> int:
        """A seed for each use, so that sampling draws nothing from the training's."""
        base = seed_from(self.random_state if random_state is None else random_state)
        return int(np.random.SeedSequence([base, use]).generate_state(1, np.uint64)[0] >> 1)

    # --- input ---------------------------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        check_dimension(self.D)
        check_choice(self.loss, "loss", ("edm", "ve", "vp", "stf", "field"))
        if self.loss == "field" and math.inf == self.D:
            raise ValueError(
                "D must be finite for loss='field': the radial part of the field vanishes with 1 / sqrt(D)"
            )
        check_choice(self.network, "network", ("auto", "mlp", "unet"))
        for name in ("hidden", "multipliers"):
            if not isinstance(getattr(self, name), Sequence | np.ndarray):
                raise TypeError(f"{name} must be a sequence of whole numbers, got {getattr(self, name)!r}")
            if not len(getattr(self, name)):
                raise ValueError(f"{name} must hold at least one number")
            for value in getattr(self, name):
                check_integer(value, name, minimum=1)
        if check_integer(self.width, "width", minimum=8) % 8:
            raise ValueError(f"width must be divisible by 8, got {self.width}")
        check_number(self.dropout, "dropout", minimum=0, below=1)
        check_number(self.sigma_data, "sigma_data", above=0)
        check_number(self.log_sigma_mean, "log_sigma_mean")
        check_number(self.log_sigma_std, "log_sigma_std", above=0)
        check_number(self.sigma_min, "sigma_min", above=0)
        check_number(self.sigma_max, "sigma_max", above=self.sigma_min)
        check_number(self.rho, "rho", above=0)
        check_integer(self.n_levels, "n_levels", minimum=2)
        for name in ("n_steps", "batch_size", "reference_size"):
            check_integer(getattr(self, name), name, minimum=1)
        check_number(self.learning_rate, "learning_rate", above=0)
        check_number(self.ema_decay, "ema_decay", minimum=0, below=1)
        if self.max_grad_norm is not None:
            check_number(self.max_grad_norm, "max_grad_norm", above=0)
        if self.device is not None:
            check_choice(self.device, "device", ("cpu", "cuda"))

    def _check_samples(self, value: Any, name: str = "X") -> np.ndarray:
        """Vectors or square images with a channel axis."""
        samples = check_array(value, name)
        if samples.ndim == 3:
            raise ValueError(
                f"{name} must be vectors (n, n_features) or images (n, channel, size, size), got shape {samples.shape}; give "
                "grey images their channel axis with X[:, None]"
            )
        samples = check_array(samples, name, ndim=(2, 4))
        if samples.ndim == 4 and samples.shape[2] != samples.shape[3]:
            raise ValueError(f"{name} must hold square images (n, channel, size, size), got shape {samples.shape}")
        if samples.ndim == 2 and self.network == "unet":
            raise ValueError("network must be 'mlp' or 'auto' for vectors, got 'unet'")
        return samples

    def _check_size(self, samples: np.ndarray) -> None:
        """Whether the U-Net, if there is one, can halve the images as often as it has levels."""
        if samples.ndim == 2 or self.network == "mlp":
            return
        divisor, size = 2 ** (len(self.multipliers) - 1), samples.shape[2]
        if size % divisor or size < 2 * divisor:
            raise ValueError(
                f"X must hold images whose size is a multiple of {divisor} and at least {2 * divisor}, got {size}, for the "
                f"{len(self.multipliers)} levels of multipliers={tuple(self.multipliers)}; take fewer, or network='mlp'"
            )

    def _learn_labels(self, y: Any, n: int) -> Int[Tensor, " n"] | None:
        self.classes_ = None
        if y is None:
            return None
        labels = _as_labels(y, "y")
        if labels.shape != (n,):
            raise ValueError(f"y must hold {n} labels, one a sample, got shape {labels.shape}")
        self.classes_, code = np.unique(labels, return_inverse=True)
        return torch.from_numpy(code)

    def _encode(self, labels: Any, n: int) -> Int[Tensor, " n"] | None:
        """Places of labels among the classes."""
        if self.classes_ is None:
            if labels is not None:
                raise ValueError("labels must be left out: the model was fitted without")
            return None
        if labels is None:
            raise ValueError("labels must be given: the model was fitted with labels")
        wanted = _as_labels(labels, "labels")
        if wanted.shape not in ((), (n,)):
            raise ValueError(f"labels must be one label, or {n}, got shape {wanted.shape}")
        unknown = np.unique(wanted)
        if (wanted.dtype.kind == "U") == (self.classes_.dtype.kind == "U"):
            unknown = np.setdiff1d(wanted, self.classes_)
        if len(unknown):
            raise ValueError(f"labels must be among {self.classes_.tolist()}, got {unknown.tolist()}")
        return torch.from_numpy(np.broadcast_to(np.searchsorted(self.classes_, wanted), (n,)).copy())

    # --- storage -------------------------------------------------------------------------------------------------

    def _get_state(self) -> dict[str, Any]:
        state = super()._get_state()
        network = state.pop("denoiser_")
        # Labels may be words, which are no tensor.
        state["classes_"] = None if self.classes_ is None else self.classes_.tolist()
        return state | {f"network.{name}": tensor for name, tensor in network.state_dict().items()}

    def _set_state(self, state: dict[str, Any]) -> None:
        weights = {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}
        super()._set_state({name: value for name, value in state.items() if not name.startswith("network.")})
        self.classes_ = None if state["classes_"] is None else np.asarray(state["classes_"])
        with seeded(0):  # the weights drawn are replaced at once
            self.denoiser_ = self._build()
        self.denoiser_.load_state_dict(weights)
        self.denoiser_.eval()


def _as_labels(value: Any, name: str) -> np.ndarray:
    """Whole numbers or words as an array."""
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype == object and all(isinstance(word, str) for word in array.flat):  # a column of pandas
        array = array.astype(str)
    if array.dtype.kind not in "biuUf":
        raise ValueError(f"{name} must hold labels, whole numbers or words, got dtype {array.dtype}")
    if array.dtype.kind == "f" and not (np.isfinite(array) & (array == np.round(array))).all():
        raise ValueError(f"{name} must hold labels, whole numbers or words, got fractions, NaN or infinity")
    return array


def spread_labels(labels: Any, n: int) -> np.ndarray:
    """`n` labels in the order and shares of the given ones.

    Examples
    --------
    >>> spread_labels(["a", "a", "b", "c"], 2).tolist()
    ['a', 'b']
    """
    given = np.asarray(labels)
    return given[np.arange(n) * len(given) // n]


# --- choosing D ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quality:
    """How far samples of a model are from held-out data.

    Attributes
    ----------
    D : float
    disturbance : float
        As for `PFGMpp.sample`.
    bits : int or None
    n_levels : int
    frechet : float
        Fréchet distance of the samples or of their features, squared units.
    energy : float
        Energy distance of the same.
    """

    D: float
    disturbance: float
    bits: int | None
    n_levels: int
    frechet: float
    energy: float


def assess(
    model: PFGMpp,
    held_out: Any,
    *,
    labels: Any = None,
    n_samples: int = 1000,
    disturbance: float = 0.0,
    bits: int | None = None,
    n_levels: int | None = None,
    features: Callable[[np.ndarray], np.ndarray] | None = None,
    random_state: int | None = None,
) -> Quality:
    """Sample a fitted model, perhaps disturbed, and compare with held-out data.

    Parameters
    ----------
    model : PFGMpp
    held_out : array, shape (m, *shape)
    labels : array, shape (m,), optional
        Of the held-out data: the samples of a conditional model have them in the same shares.
    n_samples : int
        At least 2.
    disturbance, bits, n_levels, random_state
        As for `PFGMpp.sample`.
    features : callable, optional
        Gives the rows that are compared, e.g. the features of a classifier; by default the flattened samples.

    Returns
    -------
    Quality

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range, or `held_out` and `labels` are not what the model was fitted to.
    """
    check_is_fitted(model, "denoiser_")
    known = _check_held_out(model, held_out, labels, tuple(model.shape_), model.classes_)
    check_integer(n_samples, "n_samples", minimum=2)
    wanted = None if labels is None else spread_labels(_as_labels(labels, "labels"), n_samples)
    levels = model.n_levels if n_levels is None else n_levels
    samples = model.sample(
        n_samples, wanted, n_levels=levels, disturbance=disturbance, bits=bits, random_state=random_state
    )
    rows, truth = (
        values.reshape(len(values), -1) if features is None else features(values) for values in (samples, known)
    )
    return Quality(model.D, disturbance, bits, levels, frechet_distance(truth, rows), energy_distance(truth, rows))


def _check_held_out(
    model: PFGMpp, held_out: Any, labels: Any, shape: tuple[int, ...], classes: np.ndarray | None
) -> np.ndarray:
    """Held-out data as an array, if they and their labels can be compared with samples."""
    known = model._check_samples(held_out, "held_out")
    if known.shape[1:] != shape or len(known) < 2:
        raise ValueError(f"held_out must hold at least 2 samples of shape {shape}, got shape {known.shape}")
    if (labels is None) != (classes is None):
        with_or_without = "given: the model has" if labels is None else "left out: the model has no"
        raise ValueError(f"labels must be {with_or_without} labels")
    if labels is not None:
        found = _as_labels(labels, "labels")
        if found.shape != (len(known),):
            raise ValueError(f"labels must hold {len(known)} labels, one a row of held_out, got shape {found.shape}")
        unknown = sorted(set(found.tolist()) - set(np.asarray(classes).tolist()))
        if unknown:
            raise ValueError(f"labels must be among those of the training data, got {unknown}")
    return known


def sweep_dimensions(
    estimator: PFGMpp,
    X: Any,
    held_out: Any,
    *,
    dimensions: Sequence[float] = (16.0, 128.0, 2048.0, math.inf),
    y: Any = None,
    labels: Any = None,
    disturbances: Sequence[float] = (0.0, 0.3),
    n_samples: int = 1000,
    n_jobs: int | None = None,
) -> list[Quality]:
    """Fit the same model with several D, and compare their samples with held-out data, undisturbed and disturbed.

    Parameters
    ----------
    estimator : PFGMpp
        All but its D is kept.
    X, y
        As for `PFGMpp.fit`.
    held_out, labels, n_samples
        As for `assess`.
    dimensions : sequence of float
    disturbances : sequence of float
    n_jobs : int, optional
        Models that are trained at the same time, by joblib.

    Returns
    -------
    list of Quality
        D by D, disturbance by disturbance; the D with the least distance is the one to take.

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((200, 2))
    >>> model = PFGMpp(hidden=(16,), n_steps=20, device="cpu", random_state=0)
    >>> found = sweep_dimensions(model, X[:150], X[150:], dimensions=(4.0, math.inf), disturbances=(0.0,), n_samples=50)
    >>> [quality.D for quality in found]
    [4.0, inf]
    """
    # All of it before anything is trained.
    for D in dimensions:
        clone(estimator).set_params(D=D)._check_parameters()
    for disturbance in disturbances:
        check_number(disturbance, "disturbances", minimum=0)
    check_integer(n_samples, "n_samples", minimum=2)
    samples = estimator._check_samples(X)
    _check_held_out(
        estimator, held_out, labels, samples.shape[1:], None if y is None else np.unique(_as_labels(y, "y"))
    )

    def one(D: float) -> list[Quality]:
        model = clone(estimator).set_params(D=D).fit(X, y)
        return [
            assess(model, held_out, labels=labels, n_samples=n_samples, disturbance=disturbance)
            for disturbance in disturbances
        ]

    found = joblib.Parallel(n_jobs=n_jobs)(joblib.delayed(one)(D) for D in dimensions)
    return [quality for group in found for quality in group]

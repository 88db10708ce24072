"""The estimator."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.exceptions import NotFittedError
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
    require,
    seed_from,
    torch_generator,
)
from semigroup.densities.minority_guidance.networks import FlatMLP, NoisePredictor, build_classifier
from semigroup.densities.minority_guidance.sampling import (
    Guide,
    class_log_prob,
    guidance_gradient,
    sample_ddim,
    sample_ddpm,
    sample_ode,
)
from semigroup.densities.minority_guidance.scores import (
    Distance,
    choose_noise_step,
    distances,
    euclidean,
    level_edges,
    levels_of,
    lpips_distance,
    minority_score,
)
from semigroup.nn.batches import rows_together
from semigroup.nn.unet import ImageUNet
from semigroup.schedules import DDPMSchedule
from semigroup.sde import SolverFailed
from semigroup.training import EpochSampler, seeded, train, warmup_then_linear

__all__ = ["MinorityGuidance"]

Function = Callable[[Tensor, Tensor], Tensor]
# Rows that are sampled together, if they are small, and rows on which the noise step is chosen.
PIECE = 1024
MOST_ROWS_FOR_CHOICE = 2000
# Images below this many pixels a side are small enough for a perceptron.
SMALLEST_UNET = 16
EVALUATE_EVERY = 100
# Fixed noises at which held-out rows are judged.
N_JUDGED = 8
# The fewest steps of linear betas whose last one, 20 / T, is below 1.
FEWEST_NOISE_STEPS = 21
NOT_STORED = "this estimator was fitted with a {0} of yours, which is not stored: attach({0}=...)"


class MinorityGuidance(Estimator):
    """Score how rare each instance is, and generate instances of a wanted rarity, with a diffusion model and no labels.

    `fit` trains a diffusion model (or takes yours), scores the data with it, sorts the scores into ordinal levels from 0, the
    most common, to ``n_levels - 1``, the rarest, and trains a classifier of noisy data to tell the levels. `sample` follows the
    model's score plus `guidance` times the gradient of the classifier's log-probability of the wanted level.

    Parameters
    ----------
    n_levels : int
        Number L of levels. A level should hold some 50 instances or more: the classifier overfits the rarest otherwise.
    noise_step : int, float or "auto"
        Where to score: a step from 1 to `n_noise_steps`, a fraction of them, or the rule of `choose_noise_step`. The right value
        depends on the data: the score ranks rarity while the noisy instance still tells which instance it was, so larger
        images bear more noise (the paper's 0.6 for 256 x 256 pixels; about 0.2 for 8 x 8).
    n_draws : int
        Noisy copies a score averages over.
    distance : {"l2", "features", "lpips"} or callable
        Between an instance and its denoised copy: Euclidean, Euclidean between the features given to `fit`, LPIPS of images
        (needs the package lpips and its weights), or ``distance(x, y)`` that gives one number a row, shape (batch,). A callable
        cannot be stored.
    classes : {"quantile", "width"}
        Levels of equal size, or of equal width in the score, which starve the tail.
    guidance : float
        w, the strength of guidance; 0 is the model's own sampler.
    guidance_range : pair of float
        Guide only while t / T is within these.
    sampler : {"ddpm", "ddim", "ode"}
        Ancestral, deterministic, or the probability flow by Heun's method.
    n_sampling_steps : int, optional
        Steps of sampling, spread over the noise steps; by default all of them.
    n_noise_steps : int
        T, of linear betas, at least 21. For a model of yours with other betas give `fit` its schedule.
    data_range : pair of float, "auto" or None
        Least and largest possible value, brought to [-1, 1]; denoised data are clamped to it. "auto": the range of the
        data for images ([-1, 1] where the model is yours), None for vectors. None: no clamping; data are centred and scaled to
        unit variance, each column of vectors by itself and images as a whole, or left as they are where the model is yours.
    network : {"auto", "mlp", "unet"}
        By default a U-Net for images of 16 x 16 pixels or more, else a perceptron.
    hidden : sequence of int
        Widths of the perceptron's hidden layers.
    width : int
        Channels of the U-Net's first level, divisible by 8.
    multipliers : sequence of int
        Channels of the U-Net's levels in multiples of `width`.
    n_training_steps : int
        Of the diffusion model.
    batch_size : int
        In both trainings.
    learning_rate : float
        Adam's, of the diffusion model; it rises over 100 steps and falls linearly to 0.
    ema_decay : float
        Of the diffusion model's averaged weights, which are the ones used.
    classifier_width : int
        Width of the classifier's layers: two of a perceptron, or those of an encoder where the network is a U-Net or the features
        are images.
    classifier_steps : int
    classifier_learning_rate : float
        AdamW's, which falls linearly to 0.
    classifier_weight_decay : float
    validation_fraction : float
        Share of each level held out; the classifier that predicts them best where signal and noise are equal is kept. 0 keeps the
        last.
    device : {"cpu", "cuda"}, optional
        By default an accelerator, if there is one.
    random_state : int, optional
        Seed of everything random.

    Attributes
    ----------
    scores_ : array, shape (n,)
        Minority score of each instance, in units of the distance; high is rare.
    levels_ : array of int, shape (n,)
        Level of each instance.
    edges_ : array, shape (n_levels - 1,)
        Scores that separate the levels.
    noise_step_ : int
        Where was scored.
    denoiser_ : nn.Module
        Predicts the noise, where it was trained here.
    classifier_ : nn.Module
        Tells the levels, where it was trained here.
    betas_ : array, shape (T,)
        The noise schedule.
    shift_ : array or float, scale_ : array or float
        The model sees ``(x - shift_) / scale_``; where a column is constant, `scale_` is 0 and the model sees ``x - shift_``.
    bounds_ : list of float or None
        Between which denoised data are clamped, in the model's units.
    shape_ : list of int
        Of an instance.
    losses_ : array
        Training loss of the diffusion model.
    classifier_losses_ : array
        Training loss of the classifier, in nats.
    validation_losses_ : array, shape (n_evaluations, 2)
        Step and held-out loss of the classifier.
    n_features_in_ : int

    References
    ----------
    Um, S., Lee, S. and Ye, J. C. (2024). Don't play favorites: minority guidance for diffusion models. ICLR. arXiv:2301.12334.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> crowd, rare = 0.3 * rng.normal(size=(380, 2)), 0.3 * rng.normal(size=(20, 2)) + [3.0, 0.0]
    >>> X = np.concatenate([crowd, rare])
    >>> model = MinorityGuidance(
    ...     n_levels=5,
    ...     noise_step=0.3,
    ...     n_training_steps=600,
    ...     hidden=(64, 64),
    ...     n_noise_steps=50,
    ...     classifier_steps=300,
    ...     device="cpu",
    ...     random_state=0,
    ... ).fit(X)
    >>> bool(model.scores_[380:].mean() > 2 * model.scores_[:380].mean())
    True
    >>> guided, unguided = model.sample(100), model.sample(100, guidance=0.0)
    >>> bool((guided[:, 0] > 1.5).sum() > (unguided[:, 0] > 1.5).sum())
    True
    """

    def __init__(
        self,
        *,
        n_levels: int = 10,
        noise_step: int | float | Literal["auto"] = "auto",
        n_draws: int = 5,
        distance: Literal["l2", "features", "lpips"] | Distance = "l2",
        classes: Literal["quantile", "width"] = "quantile",
        guidance: float = 3.5,
        guidance_range: Sequence[float] = (0.0, 1.0),
        sampler: Literal["ddpm", "ddim", "ode"] = "ddpm",
        n_sampling_steps: int | None = None,
        n_noise_steps: int = 200,
        data_range: Sequence[float] | Literal["auto"] | None = "auto",
        network: Literal["auto", "mlp", "unet"] = "auto",
        hidden: Sequence[int] = (256, 256, 256),
        width: int = 32,
        multipliers: Sequence[int] = (1, 2, 2),
        n_training_steps: int = 4000,
        batch_size: int = 128,
        learning_rate: float = 2e-3,
        ema_decay: float = 0.999,
        classifier_width: int = 128,
        classifier_steps: int = 2000,
        classifier_learning_rate: float = 1e-3,
        classifier_weight_decay: float = 0.05,
        validation_fraction: float = 0.05,
        device: Literal["cpu", "cuda"] | None = None,
        random_state: int | None = None,
    ) -> None:
        self.n_levels = n_levels
        self.noise_step = noise_step
        self.n_draws = n_draws
        self.distance = distance
        self.classes = classes
        self.guidance = guidance
        self.guidance_range = guidance_range
        self.sampler = sampler
        self.n_sampling_steps = n_sampling_steps
        self.n_noise_steps = n_noise_steps
        self.data_range = data_range
        self.network = network
        self.hidden = hidden
        self.width = width
        self.multipliers = multipliers
        self.n_training_steps = n_training_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.ema_decay = ema_decay
        self.classifier_width = classifier_width
        self.classifier_steps = classifier_steps
        self.classifier_learning_rate = classifier_learning_rate
        self.classifier_weight_decay = classifier_weight_decay
        self.validation_fraction = validation_fraction
        self.device = device
        self.random_state = random_state

    # --- learning ------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        model: Function | None = None,
        prediction: Literal["noise", "score", "denoised"] = "noise",
        schedule: DDPMSchedule | None = None,
        features: Function | None = None,
        classifier: Function | None = None,
        progress: bool = False,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> MinorityGuidance:
        """Score the data and learn to guide.

        What is handed in as a function is called as ``f(x_t, t)`` with instances in the model's units and a tensor of steps from
        1 to T, one a row; convert the steps to the function's own time there. For a network of the package diffusers that is
        ``lambda x, t: unet(x, t - 1).sample``; for one with learnt variances take the first half of the channels; for a
        conditional one close over the label. Such functions are not stored with the estimator: hand them to `attach` after
        loading.

        Parameters
        ----------
        X : array-like or Tensor, shape (n, n_features) or (n, channel, size, size)
            Vectors, or square images.
        y : None
            Not used.
        model : callable, optional
            A trained diffusion model; by default one is trained.
        prediction : {"noise", "score", "denoised"}
            What `model` predicts; only where there is one.
        schedule : DDPMSchedule, optional
            Of `model`; by default `n_noise_steps` steps of linear betas.
        features : callable, optional
            A frozen extractor of vectors or square images, on which the classifier works; differentiable in x_t. With
            distance="features" it also sees clean instances, at step 0.
        classifier : callable, optional
            A trained classifier of noisy data into the levels, with `n_levels` logits; by default one is trained.
        progress : bool
            Show progress bars.
        checkpoint_dir : path, optional
            Keep checkpoints of both trainings there, also on Ctrl-C.
        resume : bool
            Continue from them.

        Returns
        -------
        MinorityGuidance

        Raises
        ------
        ValueError, TypeError
            If an argument is out of its range, there are fewer than ``2 n_levels`` instances, data lie outside `data_range`,
            or a function handed in gives the wrong shape or is not differentiable, all of which is found before anything is
            trained; or if scores are all equal or NaN. The message names the argument.
        ImportError
            If distance="lpips" and the package is not installed.

        Warns
        -----
        UserWarning
            If no step met the conditions of noise_step="auto".
        """
        parts = {"model": model, "features": features, "classifier": classifier}
        data = self._fit_scores(X, parts, prediction, schedule, progress, checkpoint_dir, resume)
        if classifier is None:
            self._train_classifier(data, progress, checkpoint_dir, resume)
        return self

    def fit_scores(
        self,
        X: Any,
        *,
        model: Function | None = None,
        prediction: Literal["noise", "score", "denoised"] = "noise",
        schedule: DDPMSchedule | None = None,
        features: Function | None = None,
        progress: bool = False,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> MinorityGuidance:
        """Score the data and sort them into levels, without a classifier: to rank a data set.

        Parameters
        ----------
        X, model, prediction, schedule, features, progress, checkpoint_dir, resume
            As for `fit`.

        Returns
        -------
        MinorityGuidance
            It scores, predicts levels and samples without guidance.
        """
        parts = {"model": model, "features": features, "classifier": None}
        self._fit_scores(X, parts, prediction, schedule, progress, checkpoint_dir, resume)
        return self

    def _fit_scores(
        self,
        X: Any,
        parts: dict[str, Function | None],
        prediction: str,
        schedule: DDPMSchedule | None,
        progress: bool,
        checkpoint_dir: str | os.PathLike[str] | None,
        resume: bool,
    ) -> Tensor:
        """Check everything, forget the fit of before, train the model if need be, and score; gives the data in its units."""
        if schedule is not None and not isinstance(schedule, DDPMSchedule):
            raise TypeError(f"schedule must be a DDPMSchedule, got {type(schedule).__name__}")
        self._check_parameters(parts["features"], self.n_noise_steps if schedule is None else schedule.n_steps)
        _check_callable(parts)
        check_choice(prediction, "prediction", ("noise", "score", "denoised"))
        own_model = parts["model"] is not None
        if not own_model and prediction != "noise":
            raise ValueError(f"prediction must be left out where no model is given, got {prediction!r}")
        samples = self._check_data(X)
        schedule = DDPMSchedule.linear(self.n_noise_steps) if schedule is None else schedule
        shift, scale, bounds = self._units(samples, own_model=own_model)
        data = self._in_units(samples, shift, scale)
        if parts["model"] is not None:
            _check_model(parts["model"], data, prediction)
        if parts["features"] is not None:
            _check_features(parts["features"], data)
        if parts["classifier"] is not None:
            _check_classifier(parts["classifier"], data, self.n_levels)
        distances(self._distance(parts["features"]), data[:2], data[:2])

        for name in [name for name in vars(self) if name.endswith("_") and not name.startswith("_")]:
            delattr(self, name)
        self.betas_ = schedule.betas
        self.shape_ = list(samples.shape[1:])
        self.n_features_in_ = math.prod(self.shape_)
        self.shift_, self.scale_, self.bounds_ = shift, scale, bounds
        self._parts = parts
        self.external_ = sorted(name for name, part in parts.items() if part is not None)
        self.prediction_ = prediction
        if not own_model:
            self._train_denoiser(data, progress, checkpoint_dir, resume)

        self.noise_step_ = self._resolve_noise_step(data)
        self.scores_ = self._score(data, self.noise_step_, self.n_draws, self._generator(1))
        self.edges_ = level_edges(self.scores_, self.n_levels, width=self.classes == "width")
        self.levels_ = levels_of(self.scores_, self.edges_)
        return data

    def attach(
        self, *, model: Function | None = None, features: Function | None = None, classifier: Function | None = None
    ) -> MinorityGuidance:
        """Hand a loaded estimator the functions that `fit` was given, which are not stored.

        Parameters
        ----------
        model, features, classifier : callable, optional
            As for `fit`.

        Returns
        -------
        MinorityGuidance
        """
        check_is_fitted(self, "scores_")
        parts = {"model": model, "features": features, "classifier": classifier}
        _check_callable(parts)
        given = {name: part for name, part in parts.items() if part is not None}
        for name in given:
            if name not in self.external_:
                raise ValueError(f"{name} must be left out: this estimator was fitted without one of yours")
        self._parts |= given
        return self

    def _train_denoiser(
        self, data: Tensor, progress: bool, checkpoint_dir: str | os.PathLike[str] | None, resume: bool
    ) -> None:
        seed = self._seed(0)
        with seeded(seed):
            network = self._build_denoiser()
        schedule = self.schedule
        # Seeded apart: the training loop draws a step's noise from the numbers that would order the epoch of that index.
        batches = EpochSampler(len(data), min(self.batch_size, len(data)), self._seed(5))

        def loss(model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
            x0 = data[batches(step).to(data.device)]
            t = torch.randint(1, schedule.n_steps + 1, (len(x0),), generator=generator, device=x0.device)
            z = torch.randn(x0.shape, generator=generator, device=x0.device)
            return (model(schedule.noised(x0, t, z), t) - z).square().mean()

        result = train(
            network,
            loss,
            n_steps=self.n_training_steps,
            optimizer=torch.optim.Adam(network.parameters(), lr=self.learning_rate, fused=True),
            schedule=warmup_then_linear(100, self.n_training_steps),
            seed=seed,
            ema_decay=lambda k: min(self.ema_decay, (1 + k) / (10 + k)),
            checkpoint_dir=None if checkpoint_dir is None else Path(checkpoint_dir) / "model",
            resume=resume,
            device=self._device(),
            description="diffusion model",
            progress=progress,
        )
        assert result.averaged is not None
        self.denoiser_ = result.averaged.eval()
        self.losses_ = np.asarray(result.losses)

    def _train_classifier(
        self, data: Tensor, progress: bool, checkpoint_dir: str | os.PathLike[str] | None, resume: bool
    ) -> None:
        seed = self._seed(2)
        levels = torch.from_numpy(self.levels_).to(data.device)
        held_out = _hold_out(self.levels_, self.validation_fraction, numpy_generator(seed))
        x_in, x_out = data[~held_out], data[held_out]
        y_in, y_out = levels[~held_out], levels[held_out]
        self.classifier_shape_ = list(self._represent(data[:1], torch.ones(1, dtype=torch.long)).shape[1:])
        with seeded(seed):
            network = self._build_classifier()
        schedule = self.schedule
        batches = EpochSampler(len(x_in), min(self.batch_size, len(x_in)), self._seed(6))
        # Where signal and noise are equal: held-out rows are told apart by their rarity there, not by single pixels.
        middle = int((schedule.std(torch.arange(schedule.n_steps + 1)).square() - 0.5).abs().argmin())
        judge = torch.Generator(device=data.device).manual_seed(seed)
        copies, wanted = x_out.repeat(N_JUDGED, *(1,) * (data.ndim - 1)), y_out.repeat(N_JUDGED)
        rows, judged = rows_together(data, PIECE), []
        for start in range(0, len(copies), rows):
            x = copies[start : start + rows]
            noisy = schedule.noised(x, middle, torch.randn(x.shape, generator=judge, device=data.device))
            judged.append((self._represent(noisy, torch.full((len(x),), middle)), wanted[start : start + rows]))

        def evaluate(model: nn.Module) -> float:
            total = 0.0
            for seen, labels in judged:
                share = torch.full((len(seen),), middle / schedule.n_steps, device=seen.device)
                total += float(nn.functional.cross_entropy(model(seen, share), labels, reduction="sum"))
            return total / len(wanted)

        def loss(model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
            chosen = batches(step).to(data.device)
            x0 = x_in[chosen]
            t = torch.randint(1, schedule.n_steps + 1, (len(x0),), generator=generator, device=x0.device)
            x = schedule.noised(x0, t, torch.randn(x0.shape, generator=generator, device=x0.device))
            return nn.functional.cross_entropy(model(self._represent(x, t), t / schedule.n_steps), y_in[chosen])

        result = train(
            network,
            loss,
            n_steps=self.classifier_steps,
            optimizer=torch.optim.AdamW(
                network.parameters(),
                lr=self.classifier_learning_rate,
                weight_decay=self.classifier_weight_decay,
                fused=True,
            ),
            schedule=warmup_then_linear(1, self.classifier_steps),
            seed=seed,
            evaluate=evaluate if len(y_out) else None,
            evaluate_every=EVALUATE_EVERY,
            checkpoint_dir=None if checkpoint_dir is None else Path(checkpoint_dir) / "classifier",
            resume=resume,
            device=self._device(),
            description="minority classifier",
            progress=progress,
        )
        self.classifier_ = network.eval()
        self.classifier_losses_ = np.asarray(result.losses)
        self.validation_losses_ = np.asarray(result.evaluations, dtype=np.float64).reshape(-1, 2)

    # --- scoring -------------------------------------------------------------------------------------------------

    def minority_score(
        self,
        X: Any,
        *,
        noise_step: int | float | None = None,
        n_draws: int | None = None,
        random_state: int | None = None,
    ) -> Any:
        """How rare each instance is; high is rare.

        Parameters
        ----------
        X : array-like or Tensor, shape (n, *shape)
        noise_step, n_draws : optional
            In place of the estimator's.
        random_state : int, optional
            Seed of this call; by default the estimator's.

        Returns
        -------
        array or Tensor, shape (n,)
        """
        check_is_fitted(self, "scores_")
        step = self.noise_step_ if noise_step is None else _as_step(noise_step, len(self.betas_))
        draws = check_integer(self.n_draws if n_draws is None else n_draws, "n_draws", minimum=1)
        found = self._score(self._known(X), step, draws, self._generator(1, random_state))
        return in_kind(torch.from_numpy(found), X)

    def predict(self, X: Any) -> Any:
        """Level of each instance by its minority score, from 0 for the most common on.

        Parameters
        ----------
        X : array-like or Tensor, shape (n, *shape)

        Returns
        -------
        array or Tensor of int, shape (n,)
        """
        check_is_fitted(self, "scores_")
        scores = self._score(self._known(X), self.noise_step_, self.n_draws, self._generator(1))
        return in_kind(torch.from_numpy(levels_of(scores, self.edges_)), X)

    def predict_proba(self, X: Any, t: int = 1) -> Any:
        """The classifier's probabilities of the levels, given instances with the noise of step t.

        Parameters
        ----------
        X : array-like or Tensor, shape (n, *shape)
            In units of the data, noisy or not.
        t : int

        Returns
        -------
        array or Tensor, shape (n, n_levels)
        """
        self._check_guidable()
        check_integer(t, "t", minimum=1, maximum=len(self.betas_))
        x = self._known(X, within=False)
        with torch.no_grad():
            logits = [
                self._classify(piece, torch.full((len(piece),), t, device=x.device))
                for piece in x.split(rows_together(x, PIECE))
            ]
        return in_kind(torch.cat(logits).softmax(1), X)

    def predict_noise(self, x: Tensor, t: Int[Tensor, " batch"]) -> Tensor:
        """The noise in x_t, in the model's units: what `fit` of another estimator takes as its `model`.

        Parameters
        ----------
        x : Tensor, shape (batch, *shape)
        t : Tensor, shape (batch,)
            Steps.
        """
        if "model" not in self.external_:
            return self.denoiser_(x, t)
        found = self._part("model")(x, t).to(x)
        if self.prediction_ == "noise":
            return found
        if self.prediction_ == "score":
            return -self.schedule.std(t).to(x).reshape(-1, *(1,) * (x.ndim - 1)) * found
        return self.schedule.noise_between(x, t, found)

    def _score(self, data: Tensor, step: int, n_draws: int, generator: torch.Generator) -> np.ndarray:
        found = minority_score(
            data,
            self._denoise,
            self.schedule,
            step,
            n_draws=n_draws,
            distance=self._distance(self._parts["features"]),
            generator=generator,
        )
        return found.double().cpu().numpy()

    def _denoise(self, x: Tensor, t: int) -> Tensor:
        return self._clamp(
            self.schedule.denoised(x, t, self.predict_noise(x, torch.full((len(x),), t, device=x.device)))
        )

    def _clamp(self, x: Tensor) -> Tensor:
        return x if self.bounds_ is None else x.clamp(*self.bounds_)

    def _distance(self, features: Function | None) -> Distance:
        if callable(self.distance):
            return self.distance
        if self.distance == "l2":
            return euclidean
        if self.distance == "lpips":
            return lpips_distance(self._device())
        if features is None:
            raise NotFittedError(NOT_STORED.format("features"))

        def distance(x: Tensor, y: Tensor) -> Tensor:
            clean = torch.zeros(len(x), dtype=torch.long, device=x.device)
            return euclidean(features(x, clean), features(y, clean))

        return distance

    # --- generating ----------------------------------------------------------------------------------------------

    def sample(
        self,
        n: int,
        *,
        level: int | tuple[int, int] | Int[np.ndarray, " n"] | None = None,
        guidance: float | None = None,
        also: Sequence[Guide] = (),
        sampler: Literal["ddpm", "ddim", "ode"] | None = None,
        n_steps: int | None = None,
        temperature: float = 1.0,
        random_state: int | None = None,
        progress: bool = False,
    ) -> Float[np.ndarray, "n *shape"]:
        """Draw instances of a wanted rarity.

        Parameters
        ----------
        n : int
        level : int, tuple of int or array of int, optional
            From 0, extra-typical, to ``n_levels - 1``, the rarest, which is the default; a tuple (start, stop) draws a level from
            start to stop - 1 for each instance; an array has one each.
        guidance : float, optional
            In place of the estimator's; 0 samples the model as it is.
        also : sequence of Guide
            More guides, whose gradients are added: another classifier by `class_log_prob`, say.
        sampler, n_steps : optional
            In place of the estimator's.
        temperature : float
            Factor of the noise that sampler="ddpm" adds; 1 is the model. The other samplers add none and take no other.
        random_state : int, optional
            Seed of this call; by default the estimator's.
        progress : bool
            Show a progress bar.

        Returns
        -------
        array, shape (n, *shape), float32
            In units of the data.

        Raises
        ------
        NotFittedError
            Before `fit`; with guidance, also after `fit_scores` alone.
        ValueError, TypeError
            If an argument is out of its range.
        SolverFailed
            If a sample is NaN or infinite; says at which step.
        """
        check_is_fitted(self, "scores_")
        n = check_integer(n, "n", minimum=1)
        strength = check_number(self.guidance if guidance is None else guidance, "guidance", minimum=0)
        name = check_choice(self.sampler if sampler is None else sampler, "sampler", ("ddpm", "ddim", "ode"))
        if check_number(temperature, "temperature", minimum=0) != 1 and name != "ddpm":
            raise ValueError(f"temperature must be 1 with sampler={name!r}, which adds no noise, got {temperature}")
        rng = numpy_generator(self._seed(3, random_state))
        levels = self._check_level(level, n, rng)
        if strength > 0:
            self._check_guidable()
        schedule = self.schedule
        if n_steps is None:
            asked = _check_sampling_steps(self.n_sampling_steps, "n_sampling_steps", schedule.n_steps)
        else:
            asked = _check_sampling_steps(n_steps, "n_steps", schedule.n_steps)
        steps = schedule.grid(asked)
        device = torch.device(self._device())
        generator = torch_generator(rng, device)
        low, high = (share * schedule.n_steps for share in self.guidance_range)

        def noise(x: Tensor, t: int) -> Tensor:
            with torch.no_grad():
                return self.predict_noise(x, torch.full((len(x),), t, device=device))

        piece = rows_together(torch.empty(1, *self.shape_), PIECE)

        def draw(start: int) -> Tensor:
            wanted = torch.from_numpy(levels[start : start + piece]).to(device)
            guides = [*also, *([Guide(class_log_prob(self._classify, wanted), strength)] if strength > 0 else [])]

            def gradient(x: Tensor, t: int) -> Tensor | None:
                return guidance_gradient(guides, x, t) if guides and low <= t <= high else None

            x = torch.randn(len(wanted), *self.shape_, generator=generator, device=device)
            common = {"gradient": gradient, "clamp": None if self.bounds_ is None else self._clamp}
            if name == "ddpm":
                return sample_ddpm(
                    noise,
                    x,
                    schedule,
                    steps,
                    generator=generator,
                    temperature=temperature,
                    **common,  # type: ignore[arg-type]
                )
            return (sample_ddim if name == "ddim" else sample_ode)(noise, x, schedule, steps, **common)  # type: ignore[arg-type]

        from rich.progress import track

        pieces = track(range(0, n, piece), description="sampling", disable=not progress)
        try:
            found = torch.cat([draw(start) for start in pieces])
        except SolverFailed as error:
            raise SolverFailed(f"guidance={strength:g} with sampler={name!r}: {error}") from error
        return (self.shift_ + self.scale_ * found.double().cpu().numpy()).astype(np.float32)

    def _classify(self, x: Tensor, t: Tensor) -> Tensor:
        """Logits of the levels."""
        if "classifier" in self.external_:
            return self._part("classifier")(x, t)
        return self.classifier_(self._represent(x, t, differentiable=True), (t / len(self.betas_)).to(x))

    def _represent(self, x: Tensor, t: Tensor, *, differentiable: bool = False) -> Tensor:
        """What the classifier works on: the noisy data, or the frozen extractor's features of it."""
        if "features" not in self.external_:
            return x
        with torch.set_grad_enabled(differentiable and torch.is_grad_enabled()):
            return self._part("features")(x, t.to(x.device))

    # --- checks and state ----------------------------------------------------------------------------------------

    @property
    def schedule(self) -> DDPMSchedule:
        """The noise schedule that was fitted."""
        check_is_fitted(self, "betas_")
        return DDPMSchedule(self.betas_)

    def _device(self) -> str:
        return self.device or ("cuda" if torch.cuda.is_available() else "cpu")

    def _seed(self, use: int, random_state: int | None = None) -> int:
        """A seed for each use, so that scoring draws nothing from the training's."""
        base = seed_from(self.random_state if random_state is None else random_state)
        return int(np.random.SeedSequence([base, use]).generate_state(1, np.uint64)[0] >> 1)

    def _generator(self, use: int, random_state: int | None = None) -> torch.Generator:
        return torch.Generator(device=self._device()).manual_seed(self._seed(use, random_state))

    def _check_parameters(self, features: Function | None, n_steps: int) -> None:
        check_integer(self.n_levels, "n_levels", minimum=2)
        check_integer(self.n_draws, "n_draws", minimum=1)
        if not callable(self.distance):
            check_choice(self.distance, "distance", ("l2", "features", "lpips"))
        if self.distance == "features" and features is None:
            raise ValueError('features must be given for distance="features"')
        if self.distance == "lpips":
            require("lpips", "lpips")
        check_choice(self.classes, "classes", ("quantile", "width"))
        check_number(self.guidance, "guidance", minimum=0)
        low, high = _pair(self.guidance_range, "guidance_range")
        if not 0 <= low < high <= 1:
            raise ValueError(
                f"guidance_range must be two rising shares of the steps within [0, 1], got {self.guidance_range}"
            )
        check_choice(self.sampler, "sampler", ("ddpm", "ddim", "ode"))
        check_integer(self.n_noise_steps, "n_noise_steps", minimum=FEWEST_NOISE_STEPS)
        if self.noise_step != "auto":
            _as_step(self.noise_step, n_steps)
        _check_sampling_steps(self.n_sampling_steps, "n_sampling_steps", n_steps)
        if self.data_range is not None and self.data_range != "auto":
            low, high = _pair(self.data_range, "data_range")
            if low >= high:
                raise ValueError(f"data_range must rise, got {self.data_range}")
        check_choice(self.network, "network", ("auto", "mlp", "unet"))
        for name in ("hidden", "multipliers"):
            widths = getattr(self, name)
            if not isinstance(widths, tuple | list):
                raise TypeError(f"{name} must be a sequence of integers, got {widths!r}")
            if not widths:
                raise ValueError(f"{name} must hold at least one number")
            for value in widths:
                check_integer(value, name, minimum=1)
        if check_integer(self.width, "width", minimum=8) % 8:
            raise ValueError(f"width must be divisible by 8, got {self.width}")
        for name in ("n_training_steps", "batch_size", "classifier_width", "classifier_steps"):
            check_integer(getattr(self, name), name, minimum=1)
        for name in ("learning_rate", "classifier_learning_rate"):
            check_number(getattr(self, name), name, above=0)
        check_number(self.ema_decay, "ema_decay", minimum=0, below=1)
        check_number(self.classifier_weight_decay, "classifier_weight_decay", minimum=0)
        check_number(self.validation_fraction, "validation_fraction", minimum=0, maximum=0.5)
        if self.device is not None:
            check_choice(self.device, "device", ("cpu", "cuda"))

    def _known(self, X: Any, *, within: bool = True) -> Tensor:
        """Instances of the fitted shape and range, in the model's units."""
        samples = _check_samples(X)
        if list(samples.shape[1:]) != self.shape_:
            raise ValueError(f"X must hold instances of shape {tuple(self.shape_)}, got {samples.shape[1:]}")
        if within and self.bounds_ is not None:
            _check_range(samples, *(self.shift_ + self.scale_ * bound for bound in self.bounds_))
        return self._in_units(samples, self.shift_, self.scale_)

    def _check_data(self, X: Any) -> np.ndarray:
        """Instances to fit, enough of them and of a shape that the network and the distance take."""
        samples = _check_samples(X)
        if len(samples) < 2 * self.n_levels:
            raise ValueError(f"X must hold at least 2 n_levels = {2 * self.n_levels} instances, got {len(samples)}")
        for name, images_only in (("network", "unet"), ("distance", "lpips")):
            if samples.ndim == 2 and getattr(self, name) == images_only:
                raise ValueError(f'{name} must not be "{images_only}" for vectors')
        return samples

    def _units(self, samples: np.ndarray, *, own_model: bool) -> tuple[Any, Any, list[float] | None]:
        """Shift, scale and bounds of the model's units."""
        limits: Any = self.data_range
        if limits == "auto":
            seen = (-1.0, 1.0) if own_model else (float(samples.min()), float(samples.max()))
            limits = seen if samples.ndim == 4 else None
        varies = samples.max(0) > samples.min(0)
        if not varies.any():
            raise ValueError("X must vary: all instances are equal, and none is rarer than another")
        if limits is not None:
            low, high = map(float, limits)
            _check_range(samples, low, high)
            return (low + high) / 2, (high - low) / 2, [-1.0, 1.0]
        if own_model:
            return 0.0, 1.0, None
        shift = samples.mean(0)
        if samples.ndim == 4:
            return shift, float((samples - shift).std()), None
        # Columns in units of their own count alike. One that does not vary has none, and samples of it keep its value.
        return shift, np.where(varies, samples.std(0), 0.0), None

    def _in_units(self, samples: np.ndarray, shift: Any, scale: Any) -> Tensor:
        return torch.from_numpy(((samples - shift) / np.where(scale > 0, scale, 1.0)).astype(np.float32)).to(
            self._device()
        )

    def _resolve_noise_step(self, data: Tensor) -> int:
        if self.noise_step != "auto":
            return _as_step(self.noise_step, len(self.betas_))
        generator = self._generator(4)
        rows = torch.randperm(len(data), generator=generator, device=data.device)[:MOST_ROWS_FOR_CHOICE]
        choice = choose_noise_step(
            data[rows],
            self._denoise,
            self.schedule,
            distance=self._distance(self._parts["features"]),
            generator=generator,
        )
        if not choice.clear:
            found = ", ".join(
                f"{t}: {c:.2f} and {s:.2f}" for t, c, s in zip(choice.steps, choice.correlations, choice.spreads)
            )
            warnings.warn(
                f'noise_step="auto" found no step where scores repeat (0.8) and denoising keeps instances apart (0.5): {found}. '
                f"Taking {choice.step}; longer training or a noise_step of your own may do better",
                stacklevel=4,
            )
        return choice.step

    def _check_level(self, level: Any, n: int, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
        top = self.n_levels - 1
        if isinstance(level, tuple):
            if len(level) != 2:
                raise ValueError(f"level must be (start, stop) where it is a tuple, got {level}")
            start = check_integer(level[0], "level's start", minimum=0, maximum=top)
            return rng.integers(
                start, check_integer(level[1], "level's stop", minimum=start + 1, maximum=top + 1), size=n
            )
        if level is None or np.ndim(level) == 0:
            return np.full(n, check_integer(top if level is None else level, "level", minimum=0, maximum=top))
        levels = np.asarray(level)
        if levels.shape != (n,) or levels.dtype.kind not in "iu" or levels.min() < 0 or levels.max() > top:
            raise ValueError(f"level must be {n} integers from 0 to {top}, got shape {levels.shape}, {levels.dtype}")
        return levels.astype(np.int64)

    def _check_guidable(self) -> None:
        check_is_fitted(self, "scores_")
        if not hasattr(self, "classifier_") and "classifier" not in self.external_:
            raise NotFittedError("there is no minority classifier yet: call fit, or sample with guidance=0")

    def _part(self, name: str) -> Function:
        part = self._parts.get(name)
        if part is None:
            raise NotFittedError(NOT_STORED.format(name))
        return part

    def _build_denoiser(self) -> nn.Module:
        shape = tuple(self.shape_)
        if self._is_unet():
            network: nn.Module = ImageUNet(shape[0], shape[1], width=self.width, multipliers=self.multipliers)
        else:
            network = FlatMLP(shape, hidden=tuple(self.hidden))
        return NoisePredictor(network, self.schedule)

    def _build_classifier(self) -> nn.Module:
        shape = tuple(self.classifier_shape_)
        convolutional = len(shape) == 3 and (self._is_unet() or "features" in self.external_)
        return build_classifier(shape, self.n_levels, width=self.classifier_width, convolutional=convolutional)

    def _is_unet(self) -> bool:
        return self.network == "unet" or (
            self.network == "auto" and len(self.shape_) == 3 and self.shape_[1] >= SMALLEST_UNET
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "scores_")

    def _get_state(self) -> dict[str, Any]:
        state = {name: value for name, value in super()._get_state().items() if not isinstance(value, nn.Module)}
        for name in ("denoiser", "classifier"):
            if hasattr(self, f"{name}_"):
                weights = getattr(self, f"{name}_").state_dict()
                state |= {f"{name}.{key}": tensor for key, tensor in weights.items()}
        return state

    def _set_state(self, state: dict[str, Any]) -> None:
        super()._set_state({name: value for name, value in state.items() if "." not in name})
        self._parts = {"model": None, "features": None, "classifier": None}
        for name, build in (("denoiser", self._build_denoiser), ("classifier", self._build_classifier)):
            weights = {key.removeprefix(f"{name}."): v for key, v in state.items() if key.startswith(f"{name}.")}
            if weights:
                network = build()
                network.load_state_dict(weights)
                setattr(self, f"{name}_", network.to(self._device()).eval())


def _check_samples(X: Any) -> np.ndarray:
    """Vectors or square images."""
    samples = check_array(X, "X", ndim=(2, 4))
    if samples.ndim == 4 and samples.shape[2] != samples.shape[3]:
        raise ValueError(f"X must hold vectors, or square images with a channel axis, got shape {samples.shape}")
    return samples


def _check_range(samples: np.ndarray, low: float, high: float) -> None:
    slack = 1e-6 * (high - low)
    if samples.min() < low - slack or samples.max() > high + slack:
        raise ValueError(
            f"X must lie in data_range, {low:g} to {high:g}, got values from {samples.min():g} to {samples.max():g}"
        )


def _as_step(value: Any, n_steps: int) -> int:
    """A step, given as one or as a fraction of all."""
    if isinstance(value, str):
        raise ValueError(f'noise_step must be a step, a fraction or "auto", got {value!r}')
    if isinstance(value, float | np.floating):
        return max(1, round(check_number(value, "noise_step", above=0, maximum=1) * n_steps))
    return check_integer(value, "noise_step", minimum=1, maximum=n_steps)


def _check_sampling_steps(value: Any, name: str, n_steps: int) -> int:
    return n_steps if value is None else check_integer(value, name, minimum=1, maximum=n_steps)


def _check_callable(parts: dict[str, Function | None]) -> None:
    for name, part in parts.items():
        if part is not None and not callable(part):
            raise TypeError(f"{name} must be callable as {name}(x_t, t), got {type(part).__name__}")


def _two_rows(data: Tensor) -> tuple[Tensor, Tensor]:
    """What a function of the user's is tried on."""
    return data[:2].clone(), torch.ones(len(data[:2]), dtype=torch.long, device=data.device)


def _check_model(model: Function, data: Tensor, prediction: str) -> None:
    x, t = _two_rows(data)
    with torch.no_grad():
        found = model(x, t)
    if not isinstance(found, Tensor) or found.shape != x.shape:
        raise ValueError(
            f"model must give a tensor of shape {tuple(x.shape)}, the {prediction} in x_t, got {_kind(found)}"
        )


def _check_features(features: Function, data: Tensor) -> None:
    x, t = _two_rows(data)
    found = features(x.requires_grad_(), t)
    if not isinstance(found, Tensor) or found.ndim not in (2, 4) or len(found) != len(x):
        raise ValueError("features must give a tensor of shape (batch, n) or (batch, channel, size, size)")
    slope = torch.autograd.grad(found.sum(), x, allow_unused=True)[0] if found.requires_grad else None
    if slope is None:
        raise ValueError("features must be differentiable with respect to x_t: guidance follows their gradient")


def _check_classifier(classifier: Function, data: Tensor, n_levels: int) -> None:
    x, t = _two_rows(data)
    with torch.no_grad():
        found = classifier(x, t)
    if not isinstance(found, Tensor) or found.shape != (len(x), n_levels):
        raise ValueError(f"classifier must give n_levels = {n_levels} logits a row, got {_kind(found)}")


def _kind(found: Any) -> str:
    return f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__


def _pair(value: Any, name: str) -> tuple[float, float]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"{name} must be a pair of numbers, got {value!r}")
    return check_number(value[0], name), check_number(value[1], name)


def _hold_out(levels: Int[np.ndarray, " row"], fraction: float, rng: np.random.Generator) -> np.ndarray:
    """The rows held out: the same share of every level, at least one of each that has two or more."""
    order = np.lexsort((rng.random(len(levels)), levels))
    sizes = np.bincount(levels)
    rank = np.arange(len(levels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    quota = np.minimum(np.ceil(fraction * sizes), sizes - 1)
    held = np.zeros(len(levels), dtype=bool)
    held[order] = rank < np.repeat(quota, sizes)
    return held

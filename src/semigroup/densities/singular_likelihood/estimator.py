"""The estimator."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Sequence
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
from semigroup.densities.distances import MOST_ROWS, energy_distance, sliced_wasserstein, wasserstein
from semigroup.densities.singular_likelihood.likelihood import (
    elbo,
    importance_bound,
    quadrature,
    quadrature_log_terms,
    stratified_codes,
)
from semigroup.densities.singular_likelihood.networks import Autoencoders
from semigroup.training import train

__all__ = ["Bound", "PerturbedGenerator", "sample_distance"]

ESTIMATORS = ("iwae", "vae", "quadrature")
CRITERIA = ("wasserstein", "sliced", "energy")
CHECKPOINT_EVERY = 500
# Step size of the online M-step: the residuals of some ten batches decide on sigma.
EM_RATE = 0.1
# Training rows that restarts are compared on.
MOST_JUDGED = 2000
# Intermediate results of inference are cut into blocks of rows of about this many numbers (64 MB in float32).
BLOCK_SIZE = 2**24
# What a fit's seed goes up by where another stream than that of the initial weights is wanted.
KEPT_NOISE, JUDGING = 1, 2
# Above this dimension Wasserstein distances of samples favour blur.
HIGH_DIMENSION = 50


class Bound(nn.Module):
    """Log-likelihood of rows, or a lower bound of it, as a module whose forward pass draws what it needs.

    Parameters
    ----------
    network : Autoencoders
    estimator : {"vae", "iwae", "quadrature"}
    n_importance : int
        Draws a row of "iwae".
    n_nodes : int
        Nodes an axis of "quadrature".
    """

    def __init__(self, network: Autoencoders, estimator: str, n_importance: int, n_nodes: int) -> None:
        super().__init__()
        check_choice(estimator, "estimator", ESTIMATORS)
        self.network, self.estimator, self.n_importance, self.n_nodes = network, estimator, n_importance, n_nodes

    def forward(
        self, x: Float[Tensor, "member batch dim"], generator: torch.Generator
    ) -> Float[Tensor, "member batch"]:
        n_latent = self.network.n_latent
        if self.estimator == "quadrature":
            return quadrature(
                self.network, x, stratified_codes(len(x), self.n_nodes, n_latent, generator, x.device)
            ).float()
        if self.estimator == "vae":
            eta = torch.randn(*x.shape[:2], n_latent, generator=generator, device=x.device)
            return elbo(self.network, x, eta)
        eta = torch.randn(*x.shape[:2], self.n_importance, n_latent, generator=generator, device=x.device)
        return importance_bound(self.network, x, eta)


class PerturbedGenerator(Estimator):
    """Sampler of points on an unknown curve or surface, by maximum likelihood on data with added noise.

    The model is ``x = f(Z) + sigma e`` with a network f, a simple Z of few dimensions and a noise level that is learnt too.
    On points that have no density in their space plain maximum likelihood drives sigma to zero and stops caring how the
    points are distributed along their set. Noise of a chosen size, added in training and left out of the samples, repairs it.

    Parameters
    ----------
    n_latent : int
        Dimension d of Z; that of the set that the points lie on, if it is known.
    perturbation : float or "auto"
        Standard deviation of the added noise, in units of the data; 0 is plain maximum likelihood. "auto" trains on each level
        of `grid` and keeps the one whose samples are nearest to held-out rows; it is not trained again with these.
    estimator : {"iwae", "vae", "quadrature"}
        What stands for the likelihood: the importance-weighted bound, the evidence lower bound, or the sum over a grid of Z,
        exact up to its spacing, for n_latent <= 2.
    n_importance : int
        Draws K a row of estimator="iwae".
    n_nodes : int, optional
        Nodes an axis of estimator="quadrature"; by default 512 for one axis and 64 for two. sigma cannot fall much below the
        range of the data over this number.
    noise : {"fresh", "once"}
        New noise at each step, or one draw for each row as in the theory.
    sigma_update : {"gradient", "em"}
        How sigma is learnt: by Adam at a rate of its own, or by the closed form ``sigma^2 = mean |x - f(z)|^2 / D`` of the EM
        algorithm under the normalised importance weights, averaged over some ten batches.
    latent : {"normal", "uniform"}
        Law of Z.
    hidden : sequence of int
        Widths of the hidden layers of f and, in reverse, of the encoder. None make both linear.
    image_shape : sequence of int, optional
        (channels, height, width) of rows that are images with sides that 4 divides: f and the encoder become convolutional, with
        `hidden` between code and feature maps.
    learning_rate : float
        Adam's, for the networks; falls to 0 along a cosine, like the next.
    sigma_learning_rate : float
        Adam's, for log sigma. At the networks' rate sigma would not come down in time. Not used by sigma_update="em".
    initial_sigma : float
        Start of sigma, in units of the spread of the data.
    min_sigma : float
        Floor of sigma, in the same units.
    max_grad_norm : float
        Larger gradients are shortened to this, each network's by itself, and that of log sigma apart from it.
    batch_size : int
    n_steps : int
    n_restarts : int
        Networks trained side by side on each level; the one with the best bound stays. If one diverges, all stop.
    grid : sequence of float
        Levels of perturbation="auto", in units of the spread of the data. That is smaller by sqrt(d / D) than the extent of the
        set, so the best level of a set in a large space can be of the order of one.
    validation_fraction : float
        Rows that perturbation="auto" holds out.
    criterion : {"wasserstein", "sliced", "energy"}
        Distance by which perturbation="auto" chooses: exact or sliced 1-Wasserstein, or the energy distance, which has no bias
        and is the one to take above some fifty dimensions.
    device : {"auto", "cpu", "cuda"}
        Where to train; "auto" is where `X` lies.
    random_state : int, optional
        Seed of everything random.

    Attributes
    ----------
    perturbation_ : float
        Noise that was added, in units of the data.
    sigma_ : float
        Noise level that was learnt, in units of the data. It should be ``sqrt(sigma_*^2 + perturbation_^2)`` with the data's own
        noise sigma_*; anything else says that f did not reach the data, or that training was too short.
    bound_ : float
        Mean bound on training rows with fresh noise, in nats a row. Comparable only at equal perturbation: it grows without
        limit as that falls.
    center_ : array, shape (dim,)
    scale_ : float
        Spread: root mean square of the centred training rows' entries. One number, since the noise is the same in all directions.
    network_ : Autoencoders
        f and the encoder, on centred rows in units of `scale_`.
    losses_ : array, shape (n_steps,)
        Minus the bound of each step's batches, the mean over all members that were trained together.
    restart_bounds_ : array, shape (n_restarts,)
        Bounds of the restarts at `perturbation_`.
    path_ : array, shape (n_levels, 4), or None
        Of perturbation="auto": each level's perturbation, learnt sigma, bound, and distance to the held-out rows.
    floor_ : float or None
        Of perturbation="auto": distance of as many training rows to the held-out rows; about what a perfect sampler would get.
    n_features_in_ : int

    Notes
    -----
    Restarts and levels are trained side by side in one batched network, which costs little more than one of them while they are
    small. The sieve of the theory (bounded and sparse weights that grow in number with n) is not imposed; the size of the
    network and the length of the training take its place.

    References
    ----------
    Chae, M., Kim, D., Kim, Y. and Lin, L. (2023). A Likelihood Approach to Nonparametric Estimation of a Singular Distribution
    Using Deep Generative Models. JMLR 24(77). arXiv:2105.04046.
    Burda, Y., Grosse, R. and Salakhutdinov, R. (2016). Importance Weighted Autoencoders. ICLR.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> line = rng.choice([-1.0, 1.0], size=(400, 1)) + 0.2 * rng.standard_normal((400, 1))
    >>> X = line @ [[0.6, 0.0, 0.8]]
    >>> model = PerturbedGenerator(n_latent=1, perturbation=0.1, n_importance=5, n_steps=400, random_state=0).fit(X)
    >>> samples = model.sample(500)
    >>> samples.shape, bool(abs(samples[:, 1]).max() < 0.2)
    ((500, 3), True)
    >>> bool(0.08 < model.sigma_ < 0.13)
    True
    """

    n_features_in_: int
    path_: np.ndarray | None
    floor_: float | None

    def __init__(
        self,
        *,
        n_latent: int = 2,
        perturbation: float | Literal["auto"] = "auto",
        estimator: Literal["iwae", "vae", "quadrature"] = "iwae",
        n_importance: int = 10,
        n_nodes: int | None = None,
        noise: Literal["fresh", "once"] = "fresh",
        sigma_update: Literal["gradient", "em"] = "gradient",
        latent: Literal["normal", "uniform"] = "normal",
        hidden: Sequence[int] = (64, 64),
        image_shape: Sequence[int] | None = None,
        learning_rate: float = 2e-3,
        sigma_learning_rate: float = 0.03,
        initial_sigma: float = 0.3,
        min_sigma: float = 1e-4,
        max_grad_norm: float = 10.0,
        batch_size: int = 200,
        n_steps: int = 1500,
        n_restarts: int = 3,
        grid: Sequence[float] = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8),
        validation_fraction: float = 0.2,
        criterion: Literal["wasserstein", "sliced", "energy"] = "wasserstein",
        device: Literal["auto", "cpu", "cuda"] = "auto",
        random_state: int | None = None,
    ) -> None:
        self.n_latent = n_latent
        self.perturbation = perturbation
        self.estimator = estimator
        self.n_importance = n_importance
        self.n_nodes = n_nodes
        self.noise = noise
        self.sigma_update = sigma_update
        self.latent = latent
        self.hidden = hidden
        self.image_shape = image_shape
        self.learning_rate = learning_rate
        self.sigma_learning_rate = sigma_learning_rate
        self.initial_sigma = initial_sigma
        self.min_sigma = min_sigma
        self.max_grad_norm = max_grad_norm
        self.batch_size = batch_size
        self.n_steps = n_steps
        self.n_restarts = n_restarts
        self.grid = grid
        self.validation_fraction = validation_fraction
        self.criterion = criterion
        self.device = device
        self.random_state = random_state

    # --- learning ---

    def fit(
        self,
        X: Any,
        y: None = None,
        *,
        progress: bool = False,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> PerturbedGenerator:
        """Learn f and sigma from the rows of `X`.

        Parameters
        ----------
        X : array-like or Tensor, shape (n, dim)
        y : None
            Not used.
        progress : bool
            Show a progress bar.
        checkpoint_dir : path, optional
            Keep a checkpoint there, every 500 steps and on Ctrl-C.
        resume : bool
            Continue from it. Needs a `random_state` where that decides more than the order of the steps: which rows
            perturbation="auto" holds out, and what noise="once" adds.

        Returns
        -------
        PerturbedGenerator

        Raises
        ------
        ValueError, TypeError
            If an argument is out of its range, or `X` has fewer than two rows, holds NaN or infinity, or is constant; the message
            names the argument.
        TrainingDiverged
            If the loss of any network trained becomes NaN or infinite.

        Warns
        -----
        UserWarning
            If `n_latent` reaches the dimension of the data; if the nodes of a quadrature limit sigma; if the best level is the
            largest of `grid`; if in many dimensions the samples come nearer to the held-out rows than data do.
        """
        options: dict[str, Any] = {"progress": progress, "checkpoint_dir": checkpoint_dir, "resume": resume}
        rows, device = self._check_data(X), self._device(X)
        if self.perturbation != "auto":
            (model,) = self._fit_levels(rows, [self.perturbation], device, **options)
            self._adopt(model)
            self._warn_of_coarse_grid()
            return self
        if resume and self.random_state is None:
            raise ValueError(
                "random_state must be given to resume: it decides which rows perturbation='auto' holds out"
            )
        rng = numpy_generator(self.random_state)
        order = rng.permutation(len(rows))
        n_held_out = round(self.validation_fraction * len(rows))
        least = self._least_rows()
        if n_held_out < least or len(rows) - n_held_out < 2:
            raise ValueError(
                f"validation_fraction must leave {('a row', 'two rows')[least - 1]} to judge by and two to train on, got "
                f"{self.validation_fraction} of {len(rows)} rows"
            )
        held_out, training = rows[order[:n_held_out]], rows[order[n_held_out:]]
        spread = _spread(training)
        models = self._fit_levels(training, [level * spread for level in self.grid], device, **options)
        n_points = min(len(training), MOST_JUDGED)
        seed = seed_from(rng) % 2**32
        distances = [model.distance(held_out, n_points=n_points, random_state=seed) for model in models]
        best = int(np.argmin(distances))
        self._adopt(models[best])
        self.path_ = np.array(
            [[model.perturbation_, model.sigma_, model.bound_, d] for model, d in zip(models, distances)]
        )
        self.floor_ = sample_distance(training[:n_points], held_out[:n_points], self.criterion, seed)
        self._warn_of_coarse_grid()
        if min(self.grid) < self.grid[best] == max(self.grid):
            warnings.warn(
                f"the best perturbation is the largest of grid, {self.grid[best]:g} times the spread of the data: extend grid",
                UserWarning,
                stacklevel=2,
            )
        if rows.shape[1] > HIGH_DIMENSION and self.criterion != "energy" and distances[best] < self.floor_:
            warnings.warn(
                f"the samples are at distance {distances[best]:.3g} of the held-out rows, as many rows of the data at "
                f"{self.floor_:.3g}: in {rows.shape[1]} dimensions this criterion favours blur; criterion='energy' does not",
                UserWarning,
                stacklevel=2,
            )
        return self

    def fit_path(
        self,
        X: Any,
        perturbations: Sequence[float],
        *,
        progress: bool = False,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> list[PerturbedGenerator]:
        """Fit one estimator for each of several noise levels on all rows, all of them at once.

        Parameters
        ----------
        X : array-like or Tensor, shape (n, dim)
        perturbations : sequence of float
            In units of the data.
        progress, checkpoint_dir, resume
            As in `fit`.

        Returns
        -------
        list of PerturbedGenerator
            In the order of `perturbations`, which they have as parameters; this estimator is left as it is.
        """
        rows = self._check_data(X)
        levels = check_array(perturbations, "perturbations", ndim=1).tolist()
        for level in levels:
            check_number(level, "perturbations", minimum=0)
        models = self._fit_levels(
            rows, levels, self._device(X), progress=progress, checkpoint_dir=checkpoint_dir, resume=resume
        )
        for model in models:
            model._warn_of_coarse_grid()
        return models

    def _fit_levels(
        self, rows: Float[np.ndarray, "n dim"], levels: Sequence[float], device: str, *, resume: bool, **options: Any
    ) -> list[PerturbedGenerator]:
        """`fit_path` on rows and levels that have been checked."""
        if resume and self.noise == "once" and self.random_state is None:
            raise ValueError("random_state must be given to resume: it decides what noise='once' adds to the rows")
        center, scale = rows.mean(axis=0), _spread(rows)
        # The spread of equal rows need not come out as zero.
        if scale == 0 or (rows == rows[0]).all():
            raise ValueError("X must hold different rows to train on, got the same one throughout")
        x = torch.from_numpy((rows - center) / scale).float().to(device)
        added = torch.tensor(levels, dtype=torch.float32, device=device).repeat_interleave(self.n_restarts) / scale
        seed = seed_from(numpy_generator(self.random_state))
        bound, losses = self._train(x, added, seed, resume=resume, device=device, **options)
        judged = self._judge(bound, x, added, seed) - rows.shape[1] * math.log(scale)
        models = []
        for i, level in enumerate(levels):
            first = i * self.n_restarts
            best = first + int(judged[first : first + self.n_restarts].argmax())
            model = clone(self).set_params(perturbation=level)
            model.n_features_in_ = rows.shape[1]
            model.center_, model.scale_ = center, scale
            model.network_ = model._build(1, rows.shape[1])
            model.network_.load_state_dict({k: v.cpu() for k, v in bound.network.member(best).items()})
            model.perturbation_ = float(level)
            model.sigma_ = scale * model.network_.sigma.item()
            model.restart_bounds_ = judged[first : first + self.n_restarts]
            model.bound_ = float(judged[best])
            model.losses_ = losses + rows.shape[1] * math.log(scale)
            model.path_, model.floor_ = None, None
            models.append(model)
        return models

    def _train(
        self, x: Float[Tensor, "n dim"], added: Float[Tensor, " member"], seed: int, *, device: str, **options: Any
    ) -> tuple[Bound, np.ndarray]:
        """All members, one batched step at a time."""
        n, dim = x.shape
        network = self._build(len(added), dim, seed).to(device)
        # The sum over nodes has no use for the encoder, and parameters without gradients stop a training in several processes.
        network.encoder.requires_grad_(self.estimator != "quadrature")
        bound = Bound(network, self.estimator, self.n_importance, self._n_nodes())
        kept: Tensor | None = None
        if self.noise == "once":
            kept = torch.randn(x.shape, generator=torch_generator(seed + KEPT_NOISE, device), device=device)

        def loss(module: nn.Module, step: int, generator: torch.Generator) -> Tensor:
            chosen = torch.randint(n, (len(added), self.batch_size), generator=generator, device=x.device)
            noise = (
                kept[chosen]
                if kept is not None
                else torch.randn(*chosen.shape, dim, generator=generator, device=x.device)
            )
            return -module(x[chosen] + added[:, None, None] * noise, generator).mean(1).sum()

        weights = [p for name, p in network.named_parameters() if name != "log_sigma" and p.requires_grad]
        optimizer = torch.optim.Adam(
            [
                {"params": weights, "lr": self.learning_rate},
                {"params": [network.log_sigma], "lr": self.sigma_learning_rate},
            ],
            fused=True,
        )
        optimizer.register_step_pre_hook(lambda *_: self._before_step(network, weights, dim))
        optimizer.register_step_post_hook(lambda *_: self._after_step(network))
        result = train(
            bound,
            loss,
            n_steps=self.n_steps,
            optimizer=optimizer,
            schedule=lambda step: 0.5 * (1 + math.cos(math.pi * step / self.n_steps)),
            seed=seed,
            checkpoint_every=CHECKPOINT_EVERY,
            device=device,
            description="singular-likelihood",
            **options,
        )
        return bound, np.asarray(result.losses) / len(added)

    @torch.no_grad()
    def _before_step(self, network: Autoencoders, weights: list[nn.Parameter], dim: int) -> None:
        """Shorten each member's gradient by itself, and take the M-step."""
        gradients = [parameter.grad for parameter in weights if parameter.grad is not None]
        norm = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0).sqrt()
        factor = (self.max_grad_norm / norm.clamp(min=1e-12)).clamp(max=1)
        for gradient in gradients:
            gradient.mul_(factor.view(-1, *[1] * (gradient.ndim - 1)))
        slope = network.log_sigma.grad
        if slope is None:
            return
        if self.sigma_update == "em":
            # The gradient of minus the bound is D - s / sigma^2 with the weighted mean s of |x - f(z)|^2, and the M-step
            # sigma^2 <- s / D is taken by the fraction EM_RATE. Without a gradient Adam leaves log sigma alone.
            network.log_sigma.add_(torch.log1p(-EM_RATE * slope / dim) / 2)
            network.log_sigma.grad = None
        else:
            # At the start s / sigma^2 is of a size that Adam's running variance would not forget within a training.
            slope.clamp_(-self.max_grad_norm, self.max_grad_norm)

    @torch.no_grad()
    def _after_step(self, network: Autoencoders) -> None:
        """Keep sigma at or above its floor."""
        network.log_sigma.clamp_(min=math.log(self.min_sigma))

    @torch.no_grad()
    def _judge(
        self, bound: Bound, x: Float[Tensor, "n dim"], added: Float[Tensor, " member"], seed: int
    ) -> Float[np.ndarray, " member"]:
        """Mean bound of each member on the same noisy rows."""
        generator = torch_generator(seed + JUDGING, x.device)
        rows = x[torch.randperm(len(x), generator=generator, device=x.device)[:MOST_JUDGED]]
        noise = torch.randn(rows.shape, generator=generator, device=x.device)
        total = torch.zeros_like(added)
        for part, e in zip(rows.split(self.batch_size), noise.split(self.batch_size)):
            total += bound(part + added[:, None, None] * e, generator).sum(1)
        return (total / len(rows)).double().cpu().numpy()

    # --- using it ---

    def sample(
        self, n_samples: int = 1, *, with_noise: bool = False, random_state: int | None = None
    ) -> Float[np.ndarray, "n dim"]:
        """Draw from the law of ``f(Z)``.

        Parameters
        ----------
        n_samples : int
        with_noise : bool
            Add the noise sigma, which gives the law that `score_samples` is the density of. It moves the samples off their set,
            by ``sigma sqrt(D)``.
        random_state : int, optional
            Seed of this call; by default the estimator's.

        Returns
        -------
        array, shape (n_samples, dim)
        """
        check_is_fitted(self, "center_")
        n_samples = check_integer(n_samples, "n_samples", minimum=1)
        generator = torch_generator(self.random_state if random_state is None else random_state)
        # Of codes in double precision the points come in it too: single precision would round them far from the origin.
        codes = torch.randn(n_samples, self.n_latent, generator=generator).double()
        samples = self.inverse_transform(codes).numpy()
        if with_noise:
            samples += self.sigma_ * torch.randn(samples.shape, generator=generator, dtype=torch.float64).numpy()
        return samples

    def score_samples(self, X: Any, *, n_draws: int = 1000, random_state: int | None = None) -> Any:
        """Log-density of the model with its noise, ``log p(x)``, at each row.

        Rows without noise are where this density is highest; to judge how well the noisy data are fitted, add noise of
        `perturbation_` to the rows first.

        Parameters
        ----------
        X : array-like or Tensor, shape (n, dim)
        n_draws : int
            Of importance sampling from the encoder. The quadrature takes four times the nodes of its training an axis.
        random_state : int, optional
            Seed of this call; by default the estimator's.

        Returns
        -------
        array or Tensor, shape (n,)
            In nats per unit of volume of the data's space. Importance sampling falls short of it on average, by less the more
            draws.
        """
        x = self._check_rows(X)
        n_draws = check_integer(n_draws, "n_draws", minimum=1)
        network = self._network(x.device)
        shift = self.n_features_in_ * math.log(self.scale_)
        if self.estimator == "quadrature":
            codes = stratified_codes(1, 4 * self._n_nodes(), self.n_latent, None, x.device)
            return in_kind(self._by_blocks(lambda rows: quadrature(network, rows, codes), x, codes.shape[1]) - shift, X)
        generator = torch_generator(self.random_state if random_state is None else random_state, x.device)

        def bound(rows: Tensor) -> Tensor:
            eta = torch.randn(*rows.shape[:2], n_draws, self.n_latent, generator=generator, device=rows.device)
            return importance_bound(network, rows, eta)

        return in_kind(self._by_blocks(bound, x, n_draws * self._width()).double() - shift, X)

    def score(self, X: Any, y: None = None) -> float:
        """Mean of `score_samples`. Never choose the perturbation by it: it prefers the smallest."""
        return float(self.score_samples(X).mean())

    def transform(self, X: Any) -> Any:
        """Code of each row: the mean of z given x, by the encoder or, for estimator="quadrature", over the nodes.

        Parameters
        ----------
        X : array-like or Tensor, shape (n, dim)

        Returns
        -------
        array or Tensor, shape (n, n_latent)
            In the coordinates of a normal code, also for latent="uniform".
        """
        x = self._check_rows(X)
        network = self._network(x.device)
        if self.estimator != "quadrature":
            return in_kind(self._by_blocks(lambda rows: network.encode(rows)[0], x, self._width()).double(), X)
        codes = stratified_codes(1, self._n_nodes(), self.n_latent, None, x.device)

        def posterior_mean(rows: Tensor) -> Tensor:
            return torch.softmax(quadrature_log_terms(network, rows, codes), dim=-1) @ codes.double()

        return in_kind(self._by_blocks(posterior_mean, x, codes.shape[1]), X)

    def inverse_transform(self, Z: Any) -> Any:
        """The points ``f(z)`` of normal codes, shape (n, n_latent), in units of the data."""
        check_is_fitted(self, "center_")
        codes = torch.from_numpy(check_array(Z, "Z", ndim=2, n_columns=self.n_latent)).float()
        codes = codes.to(Z.device if isinstance(Z, Tensor) else "cpu")
        network = self._network(codes.device)
        decoded = self._by_blocks(network.decode, codes, self._width()).double()
        return in_kind(torch.from_numpy(self.center_).to(codes.device) + self.scale_ * decoded, Z)

    def distance(
        self, X: Any, *, n_points: int = MOST_JUDGED, random_state: int | np.random.Generator | None = None
    ) -> float:
        """Distance by `criterion` between samples of ``f(Z)`` and the rows of `X`.

        Two samples of one law are not at distance zero, and the fewer the points, the farther: print the distance of two
        true samples beside it.

        Parameters
        ----------
        X : array-like or Tensor, shape (n, dim)
        n_points : int
            Samples, and at most so many rows.
        random_state : int, Generator or None
            Seed of this call; by default the estimator's.

        Raises
        ------
        ValueError
            If n_points is above 10,000, or if there is one row and the criterion is "energy".
        """
        check_is_fitted(self, "center_")
        rows = check_array(X, "X", ndim=2, n_columns=self.n_features_in_, min_rows=self._least_rows())
        n_points = check_integer(n_points, "n_points", minimum=2, maximum=MOST_ROWS)
        rng = numpy_generator(self.random_state if random_state is None else random_state)
        rows = rows[rng.permutation(len(rows))[:n_points]]
        samples = self.sample(n_points, random_state=int(rng.integers(2**31)))
        return sample_distance(samples, rows, self.criterion, rng)

    # --- inside ---

    def _check_parameters(self) -> None:
        check_integer(self.n_latent, "n_latent", minimum=1)
        if isinstance(self.perturbation, str):
            check_choice(self.perturbation, "perturbation", ("auto",))
        else:
            check_number(self.perturbation, "perturbation", minimum=0)
        check_choice(self.estimator, "estimator", ESTIMATORS)
        if self.estimator == "quadrature" and self.n_latent > 2:
            raise ValueError(f"n_latent must be at most 2 for estimator='quadrature', got {self.n_latent}")
        check_integer(self.n_importance, "n_importance", minimum=1)
        if self.n_nodes is not None:
            check_integer(self.n_nodes, "n_nodes", minimum=2)
        check_choice(self.noise, "noise", ("fresh", "once"))
        check_choice(self.sigma_update, "sigma_update", ("gradient", "em"))
        check_choice(self.latent, "latent", ("normal", "uniform"))
        _check_listed(self.hidden, "hidden")
        for width in self.hidden:
            check_integer(width, "hidden", minimum=1)
        check_number(self.learning_rate, "learning_rate", above=0)
        check_number(self.sigma_learning_rate, "sigma_learning_rate", above=0)
        check_number(self.initial_sigma, "initial_sigma", above=0)
        check_number(self.min_sigma, "min_sigma", above=0)
        if self.min_sigma >= self.initial_sigma:
            raise ValueError(f"min_sigma must be < initial_sigma, {self.initial_sigma:g}, got {self.min_sigma:g}")
        check_number(self.max_grad_norm, "max_grad_norm", above=0)
        check_integer(self.batch_size, "batch_size", minimum=1)
        check_integer(self.n_steps, "n_steps", minimum=1)
        check_integer(self.n_restarts, "n_restarts", minimum=1)
        _check_listed(self.grid, "grid")
        if not len(self.grid):
            raise ValueError("grid must hold at least one level, got none")
        for level in self.grid:
            check_number(level, "grid", minimum=0)
        check_number(self.validation_fraction, "validation_fraction", above=0, below=1)
        check_choice(self.criterion, "criterion", CRITERIA)
        check_choice(self.device, "device", ("auto", "cpu", "cuda"))
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device must be one that torch sees, got 'cuda' and no CUDA device is visible")

    def _check_data(self, X: Any) -> Float[np.ndarray, "n dim"]:
        self._check_parameters()
        rows = check_array(X, "X", ndim=2, min_rows=2)
        if self.image_shape is not None:
            _check_listed(self.image_shape, "image_shape")
            if len(self.image_shape) != 3:
                raise ValueError(f"image_shape must be (channels, height, width), got {tuple(self.image_shape)}")
            channels, height, width = (check_integer(side, "image_shape", minimum=1) for side in self.image_shape)
            if height % 4 or width % 4 or channels * height * width != rows.shape[1]:
                raise ValueError(
                    f"image_shape must have sides that 4 divides and as many entries as X has columns, {rows.shape[1]}, got "
                    f"{tuple(self.image_shape)}"
                )
        if self.n_latent >= rows.shape[1]:
            warnings.warn(
                f"n_latent={self.n_latent} reaches the {rows.shape[1]} dimensions of the data: their law is no longer taken "
                "for singular",
                UserWarning,
                stacklevel=3,
            )
        return rows

    def _build(self, n_members: int, dim: int, seed: int = 0) -> Autoencoders:
        return Autoencoders(
            n_members,
            dim,
            self.n_latent,
            hidden=tuple(self.hidden),
            initial_sigma=self.initial_sigma,
            latent=self.latent,
            image_shape=self.image_shape,
            generator=torch_generator(seed),
        )

    def _n_nodes(self) -> int:
        if self.n_nodes is not None:
            return self.n_nodes
        return 512 if self.n_latent == 1 else 64

    def _least_rows(self) -> int:
        """Rows that a distance by `criterion` takes at least."""
        return 2 if self.criterion == "energy" else 1

    def _device(self, X: Any) -> str:
        if self.device != "auto":
            return self.device
        return X.device.type if isinstance(X, Tensor) else "cpu"

    def _warn_of_coarse_grid(self) -> None:
        """A grid finds no sigma below its spacing."""
        if self.estimator != "quadrature":
            return
        with torch.no_grad():
            reached = self.network_.decode(stratified_codes(1, self._n_nodes(), self.n_latent, None))[0]
        extent = self.scale_ * float((reached.amax(0) - reached.amin(0)).max())
        if self._n_nodes() < 4 * extent / self.sigma_:
            warnings.warn(
                f"n_nodes={self._n_nodes()} over a range of {extent:.3g} may be what keeps sigma at {self.sigma_:.3g}; take "
                f"{math.ceil(4 * extent / self.sigma_)} or more",
                UserWarning,
                stacklevel=3,
            )

    def _check_rows(self, X: Any) -> Float[Tensor, "n dim"]:
        """Rows of the data's space in the network's units, on the device they came from."""
        check_is_fitted(self, "center_")
        rows = check_array(X, "X", ndim=2, n_columns=self.n_features_in_)
        device = X.device if isinstance(X, Tensor) else "cpu"
        return torch.from_numpy((rows - self.center_) / self.scale_).float().to(device)

    def _width(self) -> int:
        """Numbers of a row where the networks are widest."""
        # The first of two layers of maps: 32 for each place of a grid of half the height and half the width.
        maps = 0 if self.image_shape is None else 8 * self.n_features_in_ // self.image_shape[0]
        return max(self.n_features_in_, maps, 1, *self.hidden)

    def _network(self, device: torch.device) -> Autoencoders:
        return self.network_.to(device)

    @torch.no_grad()
    def _by_blocks(self, function: Callable[[Tensor], Tensor], rows: Tensor, row_size: int) -> Tensor:
        """A function of a stack of one member, in blocks of rows that keep its intermediate arrays small."""
        blocks = rows.split(max(1, BLOCK_SIZE // row_size))
        return torch.cat([function(block[None])[0] for block in blocks])

    def _adopt(self, model: PerturbedGenerator) -> None:
        self.n_features_in_ = model.n_features_in_
        super()._set_state({name: value for name, value in vars(model).items() if name.endswith("_")})

    def _get_state(self) -> dict[str, Any]:
        state = super()._get_state()
        network = state.pop("network_")
        return state | {f"network.{name}": tensor for name, tensor in network.state_dict().items()}

    def _set_state(self, state: dict[str, Any]) -> None:
        weights = {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}
        super()._set_state({name: value for name, value in state.items() if not name.startswith("network.")})
        self.network_ = self._build(1, self.n_features_in_)
        self.network_.load_state_dict(weights)


def sample_distance(
    X: Float[np.ndarray, "n dim"],
    Y: Float[np.ndarray, "m dim"],
    criterion: str = "wasserstein",
    random_state: int | np.random.Generator | None = None,
) -> float:
    """Distance of two samples by one of the criteria of `PerturbedGenerator`."""
    check_choice(criterion, "criterion", CRITERIA)
    if criterion == "energy":
        return energy_distance(X, Y)
    if criterion == "sliced":
        return sliced_wasserstein(X, Y, random_state=random_state)
    return wasserstein(X, Y)


def _spread(rows: Float[np.ndarray, "n dim"]) -> float:
    """Root mean square of the centred entries."""
    return float(np.sqrt(rows.var(axis=0).mean()))


def _check_listed(value: Any, name: str) -> None:
    """Several numbers that a stored model can hold."""
    if not isinstance(value, tuple | list):
        raise TypeError(f"{name} must be a tuple or list of numbers, got {value!r}")

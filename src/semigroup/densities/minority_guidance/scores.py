"""How rare an instance is in the eyes of a diffusion model, and ordinal classes of rarity."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.stats import spearmanr
from torch import Tensor

from semigroup.base import check_integer, require
from semigroup.nn.batches import rows_together
from semigroup.schedules import DDPMSchedule

__all__ = [
    "Denoise",
    "Distance",
    "NoiseChoice",
    "choose_noise_step",
    "euclidean",
    "level_edges",
    "levels_of",
    "lpips_distance",
    "minority_score",
]

SHARES = tuple(tenth / 10 for tenth in range(1, 10))
LEAST_CORRELATION = 0.8
LEAST_SPREAD = 0.5

Denoise = Callable[[Tensor, int], Tensor]
Distance = Callable[[Tensor, Tensor], Tensor]


def euclidean(x: Float[Tensor, "batch *shape"], y: Float[Tensor, "batch *shape"]) -> Float[Tensor, " batch"]:
    """Euclidean distance of each pair."""
    return (x - y).flatten(1).norm(dim=1)


def distances(
    distance: Distance, x: Float[Tensor, "batch *shape"], y: Float[Tensor, "batch *shape"]
) -> Float[Tensor, " batch"]:
    """The distance of each pair, without a graph of the network that may be behind it.

    Raises
    ------
    ValueError
        If it is not one number a row.
    """
    with torch.no_grad():
        found = distance(x, y)
    if not isinstance(found, Tensor) or found.shape != (len(x),):
        what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"distance must give a tensor of one number a row, shape ({len(x)},), got {what}")
    return found


def lpips_distance(device: torch.device | str = "cpu") -> Distance:
    """LPIPS with VGG, the paper's distance, of images in [-1, 1] with 16 pixels a side or more.

    Its weights are downloaded on first use.

    Raises
    ------
    ImportError
        If the package lpips is not installed.
    """
    network = require("lpips", "lpips").LPIPS(net="vgg", verbose=False).to(device).eval()

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return network(*(images.expand(-1, 3, -1, -1) for images in (x, y))).flatten()

    return distance


def minority_score(
    x0: Float[Tensor, "batch *shape"],
    denoise: Denoise,
    schedule: DDPMSchedule,
    t: int,
    *,
    n_draws: int = 5,
    distance: Distance = euclidean,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " batch"]:
    """The minority score ``E[d(x_0, E[x_0 | x_t])]``: how far adding noise and removing it in one shot moves an instance.

    The posterior mean pulls what is rare towards what is common, so that rare instances score high.

    Parameters
    ----------
    x0 : Tensor, shape (batch, *shape)
    denoise : callable
        ``denoise(x_t, t)``, the model's estimate of the posterior mean.
    schedule : DDPMSchedule
    t : int
        The step, from 1 to T. Too small: the score is noise. Too large: it is the distance to the mean of the data.
    n_draws : int
        Noisy copies that are averaged over.
    distance : callable
        ``d(x, y)``, one number a row, shape (batch,).
    generator : torch.Generator, optional
        On the device of `x0`.

    Returns
    -------
    Tensor, shape (batch,)

    References
    ----------
    Um, S., Lee, S. and Ye, J. C. (2024). Don't play favorites. ICLR, section 3.1.

    Examples
    --------
    >>> x0 = torch.tensor([[0.0], [0.0], [0.0], [5.0]])
    >>> to_the_mean = lambda x, t: torch.full_like(x, 1.25)
    >>> minority_score(x0, to_the_mean, DDPMSchedule.linear(100), 99)
    tensor([1.2500, 1.2500, 1.2500, 3.7500])
    """
    check_integer(t, "t", minimum=1, maximum=schedule.n_steps)
    check_integer(n_draws, "n_draws", minimum=1)
    pieces = [
        torch.stack(
            [
                distances(distance, rows, clean)
                for clean in denoised_copies(rows, denoise, schedule, t, n_draws, generator)
            ]
        )
        for rows in x0.split(rows_together(x0))
    ]
    scores = torch.cat(pieces, dim=1).mean(0)
    if not torch.isfinite(scores).all():
        raise ValueError(f"the model's denoised data or their distances are NaN or infinite at step {t}")
    return scores


def denoised_copies(
    x0: Tensor, denoise: Denoise, schedule: DDPMSchedule, t: int, n_draws: int, generator: torch.Generator | None
) -> Iterator[Tensor]:
    """The posterior mean of each of several noisy copies, as many copies at once as make a piece."""
    together = max(1, rows_together(x0) // len(x0))
    for start in range(0, n_draws, together):
        n = min(together, n_draws - start)
        copies = x0.repeat(n, *(1,) * (x0.ndim - 1))
        noise = torch.randn(copies.shape, generator=generator, dtype=x0.dtype, device=x0.device)
        with torch.no_grad():
            clean = denoise(schedule.noised(copies, t, noise), t)
        yield from clean.split(len(x0))


@dataclass(frozen=True)
class NoiseChoice:
    """What `choose_noise_step` found.

    Attributes
    ----------
    step : int
        The choice.
    steps : array of int
        The candidates.
    correlations : array
        Rank correlation of two independent scores at each.
    spreads : array
        Median of the denoised data's distance to the mean over the data's own, at each; towards 0 denoising has collapsed to
        the mean.
    clear : bool
        Whether a candidate met both conditions; if none did, the choice is the best correlation among those not collapsed.
    """

    step: int
    steps: Int[np.ndarray, " candidate"]
    correlations: Float[np.ndarray, " candidate"]
    spreads: Float[np.ndarray, " candidate"]
    clear: bool


def choose_noise_step(
    x0: Float[Tensor, "batch *shape"],
    denoise: Denoise,
    schedule: DDPMSchedule,
    *,
    n_draws: int = 5,
    distance: Distance = euclidean,
    generator: torch.Generator | None = None,
) -> NoiseChoice:
    """The step at which to score: a rule of this library, not of the paper.

    Of 0.1 T, 0.2 T, ..., 0.9 T the largest step at which two independent scores of `n_draws` draws each have a rank correlation
    of at least 0.8, and the median over the data of ``|E[x_0 | x_t] - mean| / |x_0 - mean|`` is above 0.5 there and at all
    smaller ones. The first condition fails where the score is noise, the second where denoising returns the mean of the data
    whatever the instance.

    Parameters
    ----------
    x0, denoise, schedule, n_draws, distance, generator
        As for `minority_score`.

    Returns
    -------
    NoiseChoice
    """
    steps = sorted({max(1, round(share * schedule.n_steps)) for share in SHARES})
    mean = x0.mean(0)

    def score_and_spread(rows: Tensor, t: int) -> Tensor:
        """Each row's score, and the mean of its copies' distance to the mean of the data over the row's own."""
        norms = (rows - mean).flatten(1).norm(dim=1).clamp(min=torch.finfo(rows.dtype).tiny)
        found = [
            torch.stack([distances(distance, rows, clean), (clean - mean).flatten(1).norm(dim=1) / norms])
            for clean in denoised_copies(rows, denoise, schedule, t, n_draws, generator)
        ]
        return torch.stack(found).mean(0)

    correlations, spreads = [], []
    for t in steps:
        pieces = x0.split(rows_together(x0))
        halves = [torch.cat([score_and_spread(rows, t) for rows in pieces], dim=1) for _ in range(2)]
        scores = [half[0].cpu().numpy() for half in halves]
        # Scores that do not vary at all rank nothing.
        varied = all(score.min() < score.max() for score in scores)
        correlations.append(float(spearmanr(*scores).statistic) if varied else 0.0)
        spreads.append(float(torch.stack([half[1] for half in halves]).mean(0).median()))
    correlation, spread = np.array(correlations), np.array(spreads)
    # Once collapsed, what moves the denoised data away from the mean again is the network's error over a small sqrt(abar).
    alive = np.logical_and.accumulate(spread > LEAST_SPREAD)
    good = np.flatnonzero(alive & (correlation >= LEAST_CORRELATION))
    fallback = int(np.argmax(np.where(alive, correlation, -math.inf))) if alive.any() else 0
    chosen = int(good[-1]) if len(good) else fallback
    return NoiseChoice(steps[chosen], np.array(steps), correlation, spread, bool(len(good)))


def level_edges(scores: Float[np.ndarray, " row"], n_levels: int, *, width: bool = False) -> Float[np.ndarray, " edge"]:
    """The scores that separate `n_levels` classes of rarity: quantiles, which make the classes equally large.

    Parameters
    ----------
    scores : array, shape (row,)
    n_levels : int
        L, at least 2.
    width : bool
        Classes of equal width in place of equal size. They starve the tail: the paper advises against them, and claim 5 measures
        why.

    Returns
    -------
    array, shape (L - 1,)

    Raises
    ------
    ValueError
        If the scores are all equal, or have so many ties that a class of equal size would be empty.

    Examples
    --------
    >>> edges = level_edges(np.arange(8.0), 4)
    >>> levels_of(np.arange(8.0), edges)
    array([0, 0, 1, 1, 2, 2, 3, 3])
    """
    check_integer(n_levels, "n_levels", minimum=2)
    if scores.min() == scores.max():
        raise ValueError(f"scores must differ to be sorted into classes: all {len(scores)} are {scores.min():g}")
    if width:
        return np.linspace(scores.min(), scores.max(), n_levels + 1)[1:-1]
    edges = np.quantile(scores, np.arange(1, n_levels) / n_levels)
    if len(np.unique(levels_of(scores, edges))) < n_levels:
        raise ValueError(
            f"n_levels must be smaller: the scores have too many ties for {n_levels} classes of equal size"
        )
    return edges


def levels_of(scores: Float[np.ndarray, " row"], edges: Float[np.ndarray, " edge"]) -> Int[np.ndarray, " row"]:
    """The class of each score: i where ``edges[i - 1] < score <= edges[i]``."""
    return np.searchsorted(edges, scores, side="left")

"""How good a rollout is: correlation with the truth, how long it lasts, and the error at each frequency."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from semigroup.base import check_array, check_number

__all__ = ["correlation", "ensemble_correlation", "error_spectrum", "high_correlation_time", "spectrum", "steps_above"]


def correlation(prediction: Any, truth: Any) -> Float[np.ndarray, "n n_steps"]:
    """Pearson correlation over space, mean over channels.

    Parameters
    ----------
    prediction, truth : array-like of shape (n, n_steps, n_channels, *space)

    Returns
    -------
    array of shape (n, n_steps)
        Between -1 and 1; 0 where a field is constant, and where a prediction has blown up to NaN or infinity.

    Examples
    --------
    >>> wave = np.sin(np.arange(8.0)).reshape(1, 1, 1, 8)
    >>> correlation(3 * wave + 1, wave).round(6).tolist()
    [[1.0]]
    """
    a, b = _fields(prediction, "prediction"), _fields(truth, "truth")
    if a.shape != b.shape:
        raise ValueError(f"prediction must have the shape of truth, {b.shape}, got {a.shape}")
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        a = a - a.mean(-1, keepdims=True)
        b = b - b.mean(-1, keepdims=True)
        norms = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
        value = (a * b).sum(-1) / norms
    return np.where(np.isfinite(value) & (norms > 0), value, 0.0).mean(-1)


def ensemble_correlation(ensemble: Any) -> Float[np.ndarray, "n n_steps"]:
    """Mean over all pairs of members of their correlation over space.

    Parameters
    ----------
    ensemble : array-like of shape (n_members, n, n_steps, n_channels, *space)
        At least two members.

    Returns
    -------
    array of shape (n, n_steps)

    Examples
    --------
    >>> wave = np.sin(np.arange(8.0)).reshape(1, 1, 1, 8)
    >>> ensemble_correlation([wave, 2 * wave, -wave]).round(6).tolist()
    [[-0.333333]]
    """
    members = [np.asarray(member) for member in ensemble]
    if len(members) < 2:
        raise ValueError(f"ensemble must have at least 2 members, got {len(members)}")
    pairs = [(i, j) for i in range(len(members)) for j in range(i)]
    return np.mean([correlation(members[i], members[j]) for i, j in pairs], axis=0)


def high_correlation_time(
    correlations: ArrayLike, threshold: float = 0.8, time_step: float = 1.0
) -> np.ndarray | float:
    """Time until the correlation first drops under the threshold.

    Parameters
    ----------
    correlations : array-like of shape (..., n_steps)
    threshold : float
        In (0, 1).
    time_step : float

    Returns
    -------
    float or array of shape (...)
        ``n_steps * time_step`` where it never drops: the time is then only a lower bound.

    Examples
    --------
    >>> high_correlation_time([0.99, 0.9, 0.7, 0.9], 0.8, time_step=0.5)
    1.0
    """
    curve, threshold = _curve(correlations, threshold, time_step)
    below = curve < threshold
    first = np.where(below.any(-1), below.argmax(-1), curve.shape[-1]) * time_step
    return float(first) if first.ndim == 0 else first


def steps_above(correlations: ArrayLike, threshold: float = 0.8, time_step: float = 1.0) -> np.ndarray | float:
    """Time spent above the threshold, as the reference code counts it: also after a first drop.

    Examples
    --------
    >>> steps_above([0.99, 0.9, 0.7, 0.9], 0.8, time_step=0.5)
    1.5
    """
    curve, threshold = _curve(correlations, threshold, time_step)
    total = (curve > threshold).sum(-1) * time_step
    return float(total) if total.ndim == 0 else total


def spectrum(fields: Any, n_dims: int) -> Float[np.ndarray, " modes"]:
    """Mean power at each mode number, over all leading axes; in two dimensions summed over rings of equal mode number.

    Parameters
    ----------
    fields : array-like of shape (..., *space)
    n_dims : {1, 2}

    Examples
    --------
    >>> x = 2 * np.pi * np.arange(16) / 16
    >>> spectrum(2 * np.cos(3 * x), n_dims=1).round(6).tolist()
    [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    values = np.asarray(fields, dtype=np.float64)
    size = values.shape[-n_dims:]
    axes = tuple(range(-n_dims, 0))
    power = abs(np.fft.fftn(values, axes=axes) / np.prod(size)) ** 2
    power = power.reshape(-1, *size).mean(0)
    if n_dims == 1:
        return power[: size[0] // 2 + 1]
    grids = np.meshgrid(*(np.fft.fftfreq(n, 1 / n) for n in size), indexing="ij")
    ring = np.rint(np.sqrt(sum(grid**2 for grid in grids))).astype(int)
    return np.bincount(ring.ravel(), power.ravel())[: min(size) // 2 + 1]


def error_spectrum(prediction: Any, truth: Any, n_dims: int) -> Float[np.ndarray, " modes"]:
    """Relative error at each mode number: root of the error's power over the truth's.

    Parameters
    ----------
    prediction, truth : array-like of shape (..., *space)
    n_dims : {1, 2}

    Returns
    -------
    array of shape (n_modes,)
        NaN where the truth has no power.
    """
    error = spectrum(np.asarray(prediction, dtype=np.float64) - np.asarray(truth, dtype=np.float64), n_dims)
    power = spectrum(truth, n_dims)
    # Rounding leaves about 1e-32 of the total in a mode that is empty.
    filled = power > 1e-28 * power.sum()
    return np.sqrt(np.divide(error, power, out=np.full_like(error, np.nan), where=filled))


def _fields(value: Any, name: str) -> np.ndarray:
    array = np.asarray(value, dtype=np.float64)
    if array.ndim < 4:
        raise ValueError(f"{name} must have axes (n, n_steps, n_channels, *space), got shape {array.shape}")
    return array.reshape(*array.shape[:3], -1)


def _curve(correlations: ArrayLike, threshold: float, time_step: float) -> tuple[np.ndarray, float]:
    threshold = check_number(threshold, "threshold", above=0, below=1)
    check_number(time_step, "time_step", above=0)
    curve = check_array(correlations, "correlations")
    if curve.ndim == 0:
        raise ValueError("correlations must have the axis n_steps, got a single number")
    return curve, threshold

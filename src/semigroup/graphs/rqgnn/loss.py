r"""The class-balanced focal loss, and the threshold that validation graphs suggest.

Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot, softplus

__all__ = ["best_threshold", "class_balanced_weights", "focal_loss"]


def class_balanced_weights(counts: list[int], beta: float) -> list[float]:
    r"""Weights :math:`\omega_c \propto (1 - \beta) / (1 - \beta^{n_c})` of classes with :math:`n_c` samples.

    They add up to the number of classes; that of a class without samples is 0.

    Examples
    --------
    >>> class_balanced_weights([5, 5], 0.999)
    [1.0, 1.0]
    >>> [round(weight, 3) for weight in class_balanced_weights([900, 100], 0.999)]
    [0.276, 1.724]
    """
    # expm1 keeps the digits of 1 - β^n where β^n is near 1.
    effective = [-math.expm1(n * math.log(beta)) if beta > 0 else float(n > 0) for n in counts]
    weights = [(1 - beta) / amount if amount > 0 else 0.0 for amount in effective]
    return [len(counts) * weight / sum(weights) for weight in weights]


def focal_loss(
    logits: Float[Tensor, "graphs classes"],
    labels: Int[Tensor, " graphs"],
    weights: Float[Tensor, " classes"],
    gamma: float,
) -> Float[Tensor, ""]:
    r"""Class-balanced focal loss of sigmoids, one for each class.

    With :math:`t_{bc} = \pm y_{bc}`, + at a graph's own class, the cross-entropy of a logit is
    :math:`\mathrm{softplus}(-t)` and its modulator :math:`(1 - \mathrm{sig}(t))^\gamma = \exp(-\gamma\, \mathrm{softplus}(t))`:

    .. math:: \frac{1}{B} \sum_{b,c} \omega_{class(b)}\, e^{-\gamma\, \mathrm{softplus}(t_{bc})}\, \mathrm{softplus}(-t_{bc})

    which no logit can overflow.

    Parameters
    ----------
    logits : Tensor of shape (graphs, classes)
    labels : Tensor of shape (graphs,)
    weights : Tensor of shape (classes,)
        ω.
    gamma : float
        γ; 0 is the weighted cross-entropy.

    Examples
    --------
    >>> wrong = torch.tensor([[100.0, -100.0]])
    >>> focal_loss(wrong, torch.tensor([1]), torch.ones(2), 1.5).item()
    200.0
    """
    sign = 2 * one_hot(labels, logits.shape[1]) - 1
    t = sign * logits
    loss = torch.exp(-gamma * softplus(t)) * softplus(-t)
    return (weights[labels][:, None] * loss).sum() / len(labels)


def best_threshold(probability: Float[np.ndarray, " graphs"], truth: Int[np.ndarray, " graphs"]) -> float:
    """The probability from which on to call a graph anomalous for the largest macro-F1 on the given graphs.

    It lies halfway between two graphs, and at least one is called anomalous; of several equally good thresholds the one
    nearest to 1/2 is taken.

    Parameters
    ----------
    probability : array of shape (graphs,)
        Of being anomalous.
    truth : int array of shape (graphs,)
        1 for anomalies, 0 for the others.

    Examples
    --------
    >>> best_threshold(np.array([0.1, 0.2, 0.4, 0.3]), np.array([0, 0, 1, 0]))
    0.35
    """
    order = np.argsort(-probability, kind="stable")
    sorted_p, hit = probability[order], truth[order] == 1
    called = np.arange(1, len(order) + 1)
    true_positive = np.cumsum(hit)
    n, n_positive = len(order), int(hit.sum())
    true_negative = n - n_positive - (called - true_positive)
    f1_anomalous = 2 * true_positive / (called + n_positive)
    f1_normal = 2 * true_negative / np.maximum(2 * n - called - n_positive, 1)
    following = np.append(sorted_p[1:], -1.0)
    # Graphs of equal probability are called anomalous together.
    macro = np.where(following < sorted_p, f1_anomalous + f1_normal, -1.0)
    middle = ((sorted_p + following) / 2).clip(min=0)
    best = np.flatnonzero(macro >= macro.max() - 1e-12)
    return float(middle[best[np.abs(middle[best] - 0.5).argmin()]])

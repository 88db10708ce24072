"""A small classifier of images, whose features measure distances between samples where Inception's are not to be had."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from semigroup.base import check_array, seed_from
from semigroup.training import EpochSampler, seeded, train, warmup_then_linear

__all__ = ["ImageClassifier", "train_classifier"]


class ImageClassifier(nn.Module):
    """Three convolutions and two linear layers.

    Parameters
    ----------
    n_channels : int
    size : int
        Pixels a side.
    n_classes : int
    n_features : int
        Width of the layer before the last.

    Examples
    --------
    >>> network = ImageClassifier(1, 8, 10)
    >>> network(torch.zeros(2, 1, 8, 8)).shape, network.features(torch.zeros(2, 1, 8, 8)).shape
    (torch.Size([2, 10]), torch.Size([2, 64]))
    """

    def __init__(self, n_channels: int, size: int, n_classes: int, *, n_features: int = 64) -> None:
        super().__init__()
        quarter = (size + 3) // 4
        self.trunk = nn.Sequential(
            nn.Conv2d(n_channels, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * quarter**2, n_features),
            nn.ReLU(),
        )
        self.head = nn.Linear(n_features, n_classes)

    def forward(self, images: Float[Tensor, "batch channel size size"]) -> Float[Tensor, "batch classes"]:
        return self.head(self.trunk(images))

    def features(self, images: Float[Tensor, "batch channel size size"]) -> Float[Tensor, "batch features"]:
        """What the last layer sees, without gradients, in pieces of 1024 images."""
        with torch.no_grad():
            return torch.cat([self.trunk(piece) for piece in images.split(1024)])


def train_classifier(
    images: Any,
    labels: Any,
    *,
    n_epochs: int = 10,
    batch_size: int = 128,
    random_state: int | np.random.Generator | None = None,
    device: str | None = "cpu",
) -> ImageClassifier:
    """Train an `ImageClassifier`.

    Parameters
    ----------
    images : array-like or Tensor, shape (n, channel, size, size)
        In the range in which samples will be judged, of order one.
    labels : array-like, shape (n,)
        Integers from 0.
    n_epochs, batch_size : int
    random_state : int or Generator, optional
    device : {"cpu", "cuda"}, optional

    Returns
    -------
    ImageClassifier
        On `device`, in evaluation mode.

    Examples
    --------
    >>> from semigroup.data.images import digits
    >>> images, labels = digits()
    >>> network = train_classifier(images[:600, None], labels[:600], n_epochs=20, random_state=0)
    >>> guess = network(torch.as_tensor(images[600:, None], dtype=torch.float32)).argmax(1).numpy()
    >>> bool((guess == labels[600:]).mean() > 0.8)
    True
    """
    data = torch.as_tensor(check_array(images, "images", ndim=4, dtype=np.float32))
    target = torch.as_tensor(check_array(labels, "labels", ndim=1, dtype=np.int64))
    seed = seed_from(random_state)
    with seeded(seed):
        network = ImageClassifier(data.shape[1], data.shape[2], int(target.max()) + 1)
    batches = EpochSampler(len(data), min(batch_size, len(data)), seed=seed % 2**31)

    def loss(model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
        chosen = batches(step)
        where = next(model.parameters()).device
        return nn.functional.cross_entropy(model(data[chosen].to(where)), target[chosen].to(where))

    n_steps = n_epochs * -(-len(data) // batch_size)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    train(
        network,
        loss,
        n_steps=n_steps,
        optimizer=optimizer,
        schedule=warmup_then_linear(1, n_steps),
        seed=seed % 2**31,
        device=device,
        description="classifier",
    )
    return network

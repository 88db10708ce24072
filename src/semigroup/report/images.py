"""Drawings of many small images."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

__all__ = ["draw_image_grid"]


def draw_image_grid(
    ax: Any,
    images: Float[np.ndarray, "n channel height width"],
    *,
    n_columns: int = 8,
    limits: tuple[float, float] = (0.0, 1.0),
) -> None:
    """Images side by side on one pair of axes, row by row.

    Parameters
    ----------
    ax : matplotlib Axes
    images : array, shape (n, channel, height, width)
        With three channels they are in colour, else the first channel is drawn, dark on light.
    n_columns : int
    limits : tuple of float
        The values of paper and ink (of black and white where in colour); what is beyond is cut off.
    """
    low, high = limits
    seen = np.clip((np.asarray(images, dtype=np.float64) - low) / (high - low), 0, 1)
    seen = seen.transpose(0, 2, 3, 1) if images.shape[1] == 3 else 1 - seen[:, 0, :, :, None]
    n, height, width, n_channels = seen.shape
    n_rows = -(-n // n_columns)
    # A frame of half grey round every image keeps light ones apart from each other.
    canvas = np.full((n_rows * (height + 1) + 1, n_columns * (width + 1) + 1, n_channels), 0.6)
    for i, image in enumerate(seen):
        top, left = (i // n_columns) * (height + 1) + 1, (i % n_columns) * (width + 1) + 1
        canvas[top : top + height, left : left + width] = image
    ax.imshow(canvas if n_channels == 3 else canvas[:, :, 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.set_axis_off()

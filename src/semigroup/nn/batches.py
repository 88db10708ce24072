"""How many rows go through a network together."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

__all__ = ["rows_together"]

# At most so many rows, and so many numbers, since a U-Net holds some hundred times its images.
PIECE, PIECE_NUMBERS = 4096, 2**19


def rows_together(like: Float[Tensor, "batch *shape"], most: int = PIECE) -> int:
    """How many rows of this shape go through a network together, whose memory is bounded for images of any size.

    Examples
    --------
    >>> import torch
    >>> rows_together(torch.zeros(1, 2)), rows_together(torch.zeros(1, 3, 32, 32))
    (4096, 170)
    """
    return max(1, min(most, PIECE_NUMBERS // like[0].numel()))

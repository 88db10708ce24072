"""Small images of handwritten digits: scikit-learn's, which come with it, and MNIST's test set, which is downloaded."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8
from sklearn.datasets import load_digits

from semigroup.base import check_integer, numpy_generator
from semigroup.data.datasets import Download, download

__all__ = ["digits", "mnist", "rows_with_a_rare_class"]

_SOURCE = "https://raw.githubusercontent.com/fgnt/mnist/ae608a02b796c9ee908c082585a5f006fe05258e"


def _convert(raw: list[Path]) -> dict[str, np.ndarray]:
    """The payload of IDX files, behind headers of 16 and 8 bytes."""
    images, labels = (np.frombuffer(gzip.decompress(path.read_bytes()), dtype=np.uint8) for path in raw)
    return {"images": images[16:].reshape(-1, 28, 28), "labels": labels[8:]}


_MNIST = Download(
    name="mnist/mnist10k.npz",
    files={
        f"{_SOURCE}/t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        f"{_SOURCE}/t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    convert=_convert,
)


def mnist() -> tuple[UInt8[np.ndarray, "image 28 28"], UInt8[np.ndarray, " image"]]:
    """The 10,000 images of MNIST's test set, 0 = paper and 255 = ink, and their digits.

    Downloaded on first use. The second half was written by other people than the first: shuffle before any split.

    References
    ----------
    LeCun, Y., Cortes, C. and Burges, C. The MNIST database of handwritten digits.
    """
    arrays = download(_MNIST)
    return arrays["images"], arrays["labels"]


def digits() -> tuple[Float[np.ndarray, "image 8 8"], Int[np.ndarray, " image"]]:
    """scikit-learn's 1797 images of 8 x 8 pixels, scaled to [0, 1], and their digits.

    Examples
    --------
    >>> images, labels = digits()
    >>> images.shape, images.max().item()
    ((1797, 8, 8), 1.0)
    """
    bunch = load_digits()
    return bunch.images / 16, bunch.target


def rows_with_a_rare_class(
    labels: Int[np.ndarray, " image"] | UInt8[np.ndarray, " image"],
    *,
    common: tuple[int, ...] = (0, 1, 2, 3),
    rare: int = 8,
    n_rare: int = 36,
    random_state: int | np.random.Generator | None = 0,
) -> Int[np.ndarray, " row"]:
    """The rows of all images of some classes, then of a few images of another: long-tailed data whose tail is known.

    Parameters
    ----------
    labels : array of int
    common : tuple of int
        Classes that are kept whole.
    rare : int
        The class of which `n_rare` images are drawn.
    n_rare : int
    random_state : int or Generator, optional

    Raises
    ------
    ValueError
        If there are fewer than `n_rare` images of the rare class, or it is among the common ones.

    Examples
    --------
    >>> images, labels = digits()
    >>> rows = rows_with_a_rare_class(labels)
    >>> len(rows), round((labels[rows] == 8).mean().item(), 3)
    (756, 0.048)
    """
    candidates = np.flatnonzero(labels == rare)
    check_integer(n_rare, "n_rare", minimum=1, maximum=len(candidates))
    if rare in common:
        raise ValueError(f"rare must not be among the common classes, got {rare}")
    drawn = numpy_generator(random_state).permutation(candidates)[:n_rare]
    return np.concatenate([np.flatnonzero(np.isin(labels, common)), drawn])

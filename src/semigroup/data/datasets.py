"""Data sets by name: shipped inside the package, or downloaded once with a checksum.

A shipped set lies in ``data/shipped`` with its source and licence in ``data/shipped/README.md``. A set whose source states no
licence is not redistributed: it is downloaded from that source, checked against its SHA-256 and converted. Where the
environment variable ``SEMIGROUP_DATA`` names a folder that holds the converted file, that is used instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["Download", "download", "shipped"]

SHIPPED = Path(__file__).parent / "shipped"


@dataclass(frozen=True)
class Download:
    """A data set that is fetched from its source.

    Attributes
    ----------
    name : str
        Path of the converted file, ``<method>/<file>.npz``.
    files : dict of str to str
        URL and SHA-256 of each raw file.
    convert : callable
        Takes the raw files' paths in order, gives the arrays of the converted file.
    """

    name: str
    files: dict[str, str]
    convert: Callable[[list[Path]], dict[str, np.ndarray]]


def shipped(name: str) -> dict[str, np.ndarray]:
    """Arrays of a data set that comes with the package."""
    with np.load(SHIPPED / name, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def download(dataset: Download) -> dict[str, np.ndarray]:
    """Arrays of a data set that is fetched on first use and kept in the user's cache folder.

    Raises
    ------
    ValueError
        If a raw file's checksum is not the expected one.
    """
    import pooch

    local = os.environ.get("SEMIGROUP_DATA")
    candidates = [Path(local) / dataset.name] if local else []
    cache = Path(pooch.os_cache("semigroup"))
    candidates.append(cache / dataset.name)
    for path in candidates:
        if path.exists():
            with np.load(path, allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files}
    raw = [
        Path(pooch.retrieve(url, known_hash=f"sha256:{digest}", path=cache / "raw"))
        for url, digest in dataset.files.items()
    ]
    arrays = dataset.convert(raw)
    target = cache / dataset.name
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.stem}.partial.npz")
    np.savez_compressed(partial, allow_pickle=False, **arrays)
    partial.replace(target)
    return arrays

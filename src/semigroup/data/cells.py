"""Single-cell gene expression at several days: populations to bridge, with a day in between to check against."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from semigroup.data.datasets import Download, download, shipped

__all__ = ["CITE_CELLS", "cite_cells", "cite_cells_excerpt"]

_SOURCE = "https://raw.githubusercontent.com/ngushchin/LightSB/70aa4ee5826ccefbbba644bcf831c32a994ceb76/data"
_DIGESTS = {
    2: "85000b25eb6b7ae5c7daf7ad17e995741e8a76f25771d5716ccb539d3d22ad55",
    3: "5a4fdcbb076b2f25b2e823b87d92deccacf29d702f3ac32835490e7db10b59c8",
    4: "04cd3ba804006ee72413aab33c90b6d977eb3a4e4a38127445a46625436fe524",
    7: "4a422acef3226958035c72e87ca7d1644d86f4efbb29be2c0bea67fc1e93b24e",
}


def _convert(files: list[Path]) -> dict[str, np.ndarray]:
    """One array a day, rounded to float16 (relative error 5e-4)."""
    days = [np.load(file, allow_pickle=False) for file in files]
    return {f"day_{day}": rows.astype(np.float16) for day, rows in zip(_DIGESTS, days)}


CITE_CELLS = Download(
    "light-sb/cite_pca100.npz",
    {f"{_SOURCE}/full_cite_pcas_100_day_{day}.npy": digest for day, digest in _DIGESTS.items()},
    _convert,
)


def cite_cells(n_columns: int = 100) -> dict[int, np.ndarray]:
    """Cells by day (2, 3, 4, 7): scores of the leading principal components, float64; downloaded on first use.

    6071, 7643, 8485 and 7195 cells; up to 100 columns, by decreasing variance. Rows of different days do not belong
    together: measuring a cell destroys it. Source and licence stand in ``data/shipped/README.md``.
    """
    return {int(name[4:]): rows[:, :n_columns].astype(np.float64) for name, rows in download(CITE_CELLS).items()}


def cite_cells_excerpt() -> dict[int, np.ndarray]:
    """2000 cells of each of the days 2, 3 and 4 in 50 columns, which come with the package.

    Examples
    --------
    >>> {day: rows.shape for day, rows in cite_cells_excerpt().items()}
    {2: (2000, 50), 3: (2000, 50), 4: (2000, 50)}
    """
    return {int(name[4:]): rows.astype(np.float64) for name, rows in shipped("cite_cells.npz").items()}

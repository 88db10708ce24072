"""The house style of figures: one size, perceptually uniform colours, no decoration."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.figure import Figure

__all__ = ["COLORS", "new_figure", "save_png", "to_data_uri"]

# Okabe and Ito's palette, in an order that also differs in lightness, so that it survives greyscale.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")

_STYLE: Any = {
    "axes.grid": True,
    "axes.prop_cycle": cycler(color=COLORS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "figure.dpi": 110,
    "font.size": 10,
    "grid.alpha": 0.25,
    "image.cmap": "viridis",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "savefig.bbox": "tight",
}


def new_figure(
    n_rows: int = 1,
    n_columns: int = 1,
    *,
    width: float | None = None,
    height: float | None = None,
    **kwargs: Any,
) -> tuple[Figure, np.ndarray]:
    """A figure in the house style and its axes as an array of shape (n_rows, n_columns).

    The figure belongs to no window and no global state, so it is freed with its last reference.

    Parameters
    ----------
    n_rows, n_columns : int
    width, height : float, optional
        Inches; by default 4.2 a column and 3.2 a row.
    **kwargs
        Passed on to ``Figure.subplots``.
    """
    with mpl.rc_context(_STYLE):
        size = (width or 4.2 * n_columns, height or 3.2 * n_rows)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(n_rows, n_columns, squeeze=False, **kwargs)
    return figure, axes


def save_png(figure: Figure, path: str | os.PathLike[str], *, dpi: int = 110) -> Path:
    """Write a figure as PNG."""
    with mpl.rc_context(_STYLE):
        figure.savefig(path, format="png", dpi=dpi)
    return Path(path)


def to_data_uri(source: Figure | str | os.PathLike[str]) -> str:
    """A figure or a PNG file as a data URI, to be part of a page that opens from disk."""
    if isinstance(source, Figure):
        buffer = io.BytesIO()
        with mpl.rc_context(_STYLE):
            source.savefig(buffer, format="png", dpi=110)
        content = buffer.getvalue()
    else:
        content = Path(source).read_bytes()
    return "data:image/png;base64," + base64.b64encode(content).decode()

"""How each method is run on a file: ``semigroup run <slug>`` and the tour.

``semigroup.jobs.<slug>`` holds two functions:

``read(files)``
    The method's input from the user's files, or the shipped example where `files` is empty. Refuses what it cannot use
    by a ``ValueError`` that names the file.
``perform(estimator, data, context)``
    Fits the estimator and returns an `Outcome`: everything that the run leaves in its folder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Context", "Outcome", "Picture"]


@dataclass(frozen=True)
class Context:
    """What the runner gives a job.

    Attributes
    ----------
    checkpoint_dir : Path or None
        Where long work keeps its checkpoints.
    resume : bool
        Continue from them.
    progress : bool
        Show progress bars.
    """

    checkpoint_dir: Path | None = None
    resume: bool = False
    progress: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure and the sentence under it."""

    figure: Figure
    caption: str


@dataclass(frozen=True)
class Outcome:
    """What a run leaves.

    Attributes
    ----------
    model : Estimator
        The fitted estimator, stored under ``model/`` by its `save_pretrained`.
    summary : str
        What was found, in a sentence or two for the reader of the report.
    metrics : dict of str to float
        ``metrics.json``, and the table of the report; the names say the unit.
    arrays : dict of str to array
        ``results.npz``.
    tables : dict of str to DataFrame
        ``<name>.csv`` each, with the user's own names in it.
    pictures : dict of str to Picture
        ``<name>.png`` each; the first is the method's picture in the tour.
    """

    model: Any
    summary: str
    metrics: dict[str, float]
    arrays: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    pictures: dict[str, Picture] = field(default_factory=dict)

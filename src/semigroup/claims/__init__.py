"""The papers' claims as functions that measure them.

A method's claims live in ``semigroup.claims.<slug>`` under the numbers 1, 2, ... A claim returns a
`Measurement`: the figure, the paper's and the baseline's figures, the threshold, and whether it holds. A claim that does not
hold is reported as such.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import semigroup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Claim",
    "Measurement",
    "Record",
    "Scale",
    "ScaleUnavailable",
    "claim",
    "claims_of",
    "measure",
    "read_records",
    "side_by_side",
]

Scale = Literal["cpu", "gpu", "paper"]
_R = TypeVar("_R")
RECORDED = Path(__file__).parent / "recorded"


class ScaleUnavailable(RuntimeError):
    """The claim cannot be measured at this scale on this machine (no accelerator, no data)."""


@dataclass(frozen=True)
class Measurement:
    """What measuring a claim gave.

    Parameters
    ----------
    figure : float
        The headline number.
    holds : bool or None
        Whether the claim holds at the threshold; None where the figure is reported without being judged.
    threshold : str
        The condition in words, e.g. ``"<= 0.2 % in each of three cases"``.
    unit : str
        What the figure is, e.g. ``"cBW-UVP, %"``.
    paper : str
        The paper's figure, where there is one.
    baseline : float, optional
        The baseline's figure from the same run.
    baseline_name : str
    spread : float, optional
        Standard deviation over seeds.
    n_seeds : int
    table : list of dict
        Every number behind the headline, one row a case.
    note : str
        What the figure does not say: why it fails, what was compared, where it stops.
    plot : Figure, optional
    """

    figure: float
    holds: bool | None
    threshold: str
    unit: str = ""
    paper: str = ""
    baseline: float | None = None
    baseline_name: str = ""
    spread: float | None = None
    n_seeds: int = 1
    table: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""
    plot: Figure | None = None


@dataclass(frozen=True)
class Claim:
    """A numbered claim of a paper and the function that measures it."""

    slug: str
    number: int
    says: str
    source: str
    quick: bool
    function: Callable[[Scale], Measurement]

    @property
    def title(self) -> str:
        """The function's name as words."""
        return self.function.__name__.replace("_", " ")


@dataclass(frozen=True)
class Record:
    """A stored measurement: the claim, the scale, the figures, and where and when they were taken."""

    slug: str
    number: int
    title: str
    says: str
    source: str
    scale: Scale
    measurement: dict[str, Any] | None
    plot: str | None
    seconds: float
    date: str
    version: str
    machine: str
    error: str = ""

    @property
    def verdict(self) -> str:
        """``holds``, ``does not hold``, ``reported`` or ``not measured``."""
        if self.measurement is None:
            return "not measured"
        return {True: "holds", False: "does not hold", None: "reported"}[self.measurement["holds"]]


_CLAIMS: dict[str, dict[int, Claim]] = {}


def claim(
    slug: str, number: int, *, says: str, source: str, quick: bool = False
) -> Callable[[Callable[[Scale], Measurement]], Callable[[Scale], Measurement]]:
    """Register a function as the measurement of a claim.

    Parameters
    ----------
    slug : str
        The method.
    number : int
        The claim's number, from 1 on.
    says : str
        The claim in one sentence.
    source : str
        Where the paper makes it.
    quick : bool
        Measured anew in every tour (at most some ten seconds at scale ``cpu``).
    """

    def register(function: Callable[[Scale], Measurement]) -> Callable[[Scale], Measurement]:
        _CLAIMS.setdefault(slug, {})[number] = Claim(slug, number, says, source, quick, function)
        return function

    return register


def claims_of(slug: str) -> list[Claim]:
    """The claims of a method by number."""
    from semigroup.catalog import method

    method(slug).claims_module()
    return [claim for _, claim in sorted(_CLAIMS[slug].items())]


def measure(claim: Claim, scale: Scale, folder: str | os.PathLike[str]) -> Record:
    """Measure a claim and store its record as ``<folder>/<slug>/<number>-<scale>.json`` with its figure beside it."""
    from semigroup.base import json_text

    target = Path(folder) / claim.slug
    target.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    measurement: Measurement | None = None
    error = ""
    try:
        if scale == "gpu":
            _need_accelerator()
        measurement = claim.function(scale)
    except (ScaleUnavailable, ImportError) as reason:  # of an optional package, with the command that installs it
        error = str(reason)
    seconds = time.perf_counter() - start
    content: dict[str, Any] | None = None
    if measurement is not None:
        content = {name: getattr(measurement, name) for name in Measurement.__dataclass_fields__ if name != "plot"}
    plot = target / f"{claim.number}-{scale}.png"
    plot.unlink(missing_ok=True)  # an earlier measurement's, which this one need not replace
    if measurement is not None and measurement.plot is not None:
        from semigroup.report.figures import save_png

        save_png(measurement.plot, plot)
    record = Record(
        slug=claim.slug,
        number=claim.number,
        title=claim.title,
        says=claim.says,
        source=claim.source,
        scale=scale,
        measurement=content,
        plot=plot.name if plot.exists() else None,
        seconds=round(seconds, 1),
        date=datetime.date.today().isoformat(),
        version=semigroup.__version__,
        machine=_machine(scale),
        error=error,
    )
    final = target / f"{claim.number}-{scale}.json"
    partial = final.with_suffix(".partial")
    partial.write_text(json_text(asdict(record)) + "\n")
    partial.replace(final)
    return record


def side_by_side(function: Callable[..., _R], cases: Iterable[tuple[Any, ...]], device: str | None = "cpu") -> list[_R]:
    """``function(*case)`` of each case, in order: one process a core, or in turn on an accelerator.

    Networks and samples of the size of scale ``cpu`` are too small for two threads to share.
    """
    import joblib
    import torch

    n_jobs = torch.get_num_threads() if device == "cpu" else 1
    # Otherwise OMP_NUM_THREADS holds for each process, and n_jobs times as many threads share the cores.
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        return list(joblib.Parallel(n_jobs=n_jobs)(joblib.delayed(function)(*case) for case in cases))


def read_records(folder: str | os.PathLike[str] = RECORDED) -> list[Record]:
    """All records stored under a folder, by method, number and scale; by default those shipped with the package."""
    records = [Record(**json.loads(path.read_text())) for path in Path(folder).glob("*/*.json")]
    return sorted(records, key=lambda record: (record.slug, record.number, record.scale))


def _need_accelerator() -> None:
    import torch

    if not torch.cuda.is_available():
        raise ScaleUnavailable("scale 'gpu' needs a CUDA device, and none is visible to torch")


def _machine(scale: Scale) -> str:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    accelerator = f"{torch.cuda.get_device_name()}, " if scale == "gpu" and torch.cuda.is_available() else ""
    return f"{accelerator}{cores} cores, {platform.machine()}, Python {platform.python_version()}"

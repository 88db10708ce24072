"""A run of a method on a file: its folder with model, figures, results and report."""

from __future__ import annotations

import datetime
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import semigroup
from semigroup.base import atomic_folder, json_text, seed_from
from semigroup.catalog import Method
from semigroup.claims import RECORDED, read_records
from semigroup.jobs import Context, Outcome
from semigroup.report.figures import save_png, to_data_uri
from semigroup.report.page import PictureView, Section, claim_views, write_page

__all__ = ["perform_run", "write_run"]


def perform_run(
    method: Method,
    estimator: Any,
    files: Sequence[Path],
    out: Path,
    *,
    command: str,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = False,
) -> Section:
    """Read, fit and write the folder `out`, which appears only when everything in it is complete.

    Long work keeps its checkpoints in ``<out>.checkpoint`` until then.

    Parameters
    ----------
    method : Method
    estimator : Estimator
        Unfitted.
    files : sequence of Path
        The user's data; empty for the shipped example.
    out : Path
    command : str
        What was typed, for the report.
    resume : bool
        Continue from the checkpoints of a run that was stopped.
    overwrite : bool
        Replace `out` if it is there.
    progress : bool

    Raises
    ------
    ValueError
        If `out` holds something already, or a file cannot be used.
    """
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]) and not overwrite:
        raise ValueError(f"out: {out} exists and is not empty; choose another folder or add --overwrite")
    checkpoints = out.with_name(f"{out.name}.checkpoint")
    if not resume:
        shutil.rmtree(checkpoints, ignore_errors=True)
    job = method.job_module()
    data = job.read(files)
    start = time.perf_counter()
    context = Context(checkpoint_dir=checkpoints, resume=resume, progress=progress)
    if getattr(estimator, "random_state", 0) is None:
        outcome = _perform_with_kept_seed(job, estimator, data, context, checkpoints)
    else:
        outcome = job.perform(estimator, data, context)
    section = write_run(method, outcome, out, command=command, files=files, seconds=time.perf_counter() - start)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return section


def _perform_with_kept_seed(job: Any, estimator: Any, data: Any, context: Context, checkpoints: Path) -> Outcome:
    """Perform without a seed of the user's.

    A run that goes on has to hold out the same rows as before it was stopped, or it judges by what it was trained on. So a
    seed is drawn and kept beside the checkpoints; the model that comes out has none, as asked for.
    """
    kept = checkpoints / "seed"
    seed = int(kept.read_text()) if context.resume and kept.exists() else seed_from(None) % 2**31
    checkpoints.mkdir(parents=True, exist_ok=True)
    kept.write_text(str(seed))
    estimator.set_params(random_state=seed)
    try:
        outcome: Outcome = job.perform(estimator, data, context)
    except BaseException:
        if list(checkpoints.iterdir()) == [kept]:
            shutil.rmtree(checkpoints)
        raise
    for model in (estimator, outcome.model):
        if hasattr(model, "random_state"):
            model.set_params(random_state=None)
    return outcome


def write_run(
    method: Method, outcome: Outcome, out: Path, *, command: str, files: Sequence[Path], seconds: float
) -> Section:
    """Write what a job gave into the folder `out`, all or nothing."""
    # A figure that could not be measured is a gap in the report, and null in JSON, which knows no NaN.
    metrics: dict[str, float | None] = {
        name: value if value is not None and np.isfinite(value) else None for name, value in outcome.metrics.items()
    }
    section = Section(
        method,
        command=command,
        summary=outcome.summary,
        metrics=metrics,
        pictures=[PictureView(to_data_uri(p.figure), p.caption) for p in outcome.pictures.values()],
        claims=claim_views([r for r in read_records() if r.slug == method.slug], [RECORDED]),
        seconds=round(seconds, 1),
    )
    content = {
        "method": method.slug,
        "version": semigroup.__version__,
        "date": datetime.date.today().isoformat(),
        "data": [str(path) for path in files] or "shipped example",
        "parameters": outcome.model.get_params(deep=False),
        "seconds": section.seconds,
        "summary": outcome.summary,
        "metrics": metrics,
    }
    with atomic_folder(out) as folder:
        outcome.model.save_pretrained(folder / "model")
        (folder / "metrics.json").write_text(json_text(content, _plain) + "\n")
        if outcome.arrays:
            np.savez_compressed(folder / "results.npz", allow_pickle=False, **outcome.arrays)
        for name, table in outcome.tables.items():
            table.to_csv(folder / f"{name}.csv", index=False)
        for name, picture in outcome.pictures.items():
            save_png(picture.figure, folder / f"{name}.png")
        write_page(folder / "report.html", f"{method.name}: a run", method.gives.capitalize() + ".", [section])
    return section


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)

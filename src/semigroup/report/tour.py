"""The tour: every method fitted on the data that comes with the package, on one page with its measured claims."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from semigroup.catalog import METHODS, method
from semigroup.claims import RECORDED, claims_of, measure
from semigroup.report.board import newest_records
from semigroup.report.page import Section, claim_views, write_page
from semigroup.report.run import perform_run

__all__ = ["write_tour"]


def write_tour(slugs: Sequence[str], out: Path, *, progress: bool = False) -> Path:
    """Fit the methods, measure their quick claims, write ``<out>/report.html``; gives its path.

    Claims that take longer are shown as recorded with the package, with the date and the machine of their measurement.

    Parameters
    ----------
    slugs : sequence of str
        Methods; all of them if empty.
    out : Path
        Each method's run goes to ``<out>/<slug>``, its claims to ``<out>/claims``.
    progress : bool
        Show progress bars.
    """
    rows = [method(slug) for slug in slugs] or list(METHODS)
    start = time.perf_counter()
    sections = []
    for i, row in enumerate(rows, start=1):
        print(f"[{i}/{len(rows)}] {row.name}: {row.job}", file=sys.stderr, flush=True)
        command = f"semigroup run {row.slug}{_as_options(row.tour)}"
        try:
            run = perform_run(
                row, row.load()(**row.tour), (), out / row.slug, command=command, overwrite=True, progress=progress
            )
        except ImportError as reason:  # an optional package is missing: the tour goes on without the method
            run = Section(row, command=command, summary=f"Left out: {reason}")
        print(f"      {run.summary}", file=sys.stderr, flush=True)
        for claim in claims_of(row.slug):
            if claim.quick:
                record = measure(claim, "cpu", out / "claims")
                print(f"      claim {claim.number} {record.verdict}: {claim.says}", file=sys.stderr, flush=True)
        records = [r for r in newest_records([RECORDED, out / "claims"]) if r.slug == row.slug]
        sections.append(replace(run, claims=claim_views(records, [out / "claims", RECORDED])))
    introduction = (
        f"{len(rows)} methods fitted on the data that comes with the package, in {time.perf_counter() - start:.0f} seconds. "
        "Under each method stand the claims of its paper as they were measured; the quick ones were measured anew in this run."
    )
    return write_page(out / "report.html", "A tour of semigroup", introduction, sections)


def _as_options(parameters: dict[str, object]) -> str:
    """Constructor arguments as they are typed on the command line."""
    return "".join(f" --{name.replace('_', '-')} {value}" for name, value in parameters.items())

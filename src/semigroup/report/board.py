"""All stored measurements and figures as one static page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from semigroup.catalog import METHODS
from semigroup.claims import RECORDED, Record, read_records
from semigroup.report.figures import to_data_uri
from semigroup.report.page import PictureView, Section, claim_views, write_page

__all__ = ["newest_records", "write_board"]


def newest_records(folders: Sequence[Path]) -> list[Record]:
    """Records of all folders, one a claim and scale: the later folder's, unless it could not be measured there."""
    chosen: dict[tuple[str, int, str], Record] = {}
    for record in (record for folder in folders for record in read_records(folder)):
        key = (record.slug, record.number, record.scale)
        if record.measurement is not None or key not in chosen:
            chosen[key] = record
    return [chosen[key] for key in sorted(chosen)]


def write_board(out: Path, *, claims: Path, runs: Path) -> Path:
    """Write the board.

    Parameters
    ----------
    out : Path
        The HTML file.
    claims : Path
        Folder of measurements taken here; they replace the ones shipped with the package.
    runs : Path
        Folder of runs; the pictures of a method's runs are shown in its section.
    """
    records = newest_records([RECORDED, claims])
    sections = []
    for method in METHODS:
        pictures = [
            PictureView(to_data_uri(path), f"{path.stem.replace('_', ' ')}, from {path.parent}")
            for path in sorted({*runs.glob(f"{method.slug}/*.png"), *runs.glob(f"tour/{method.slug}/*.png")})
        ]
        own = [record for record in records if record.slug == method.slug]
        sections.append(
            Section(
                method,
                command=f"semigroup claims {method.slug}",
                pictures=pictures,
                claims=claim_views(own, [claims, RECORDED]),
            )
        )
    counts = Counter(record.verdict for record in records)
    verdicts = ", ".join(f"{verdict}: {count}" for verdict, count in counts.most_common())
    words = f"{len(records)} records of the claims of {len(METHODS)} methods. {verdicts.capitalize()}."
    return write_page(out, "The board", words, sections)

"""Pages that open from disk: one HTML file with its style and its figures inside."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import semigroup
from semigroup.catalog import Method
from semigroup.claims import Record

__all__ = ["ClaimView", "PictureView", "Section", "claim_views", "format_number", "width_of_png", "write_page"]


@dataclass(frozen=True)
class PictureView:
    """A picture as a data URI, and the sentence under it."""

    uri: str
    caption: str


@dataclass(frozen=True)
class ClaimView:
    """A claim's record and its plot as a data URI."""

    record: Record
    plot: str | None


@dataclass(frozen=True)
class Section:
    """What a page shows of one method.

    Attributes
    ----------
    method : Method
    command : str
        What to type to get this again.
    summary : str
        What the run found; empty on the board.
    metrics : dict of str to float or None
    pictures : list of PictureView
    claims : list of ClaimView
    seconds : float or None
        How long the run took.
    """

    method: Method
    command: str = ""
    summary: str = ""
    metrics: dict[str, float | None] = field(default_factory=dict)
    pictures: Sequence[PictureView] = ()
    claims: Sequence[ClaimView] = ()
    seconds: float | None = None


def claim_views(records: Sequence[Record], folders: Sequence[Path]) -> list[ClaimView]:
    """Records with their plots, looked for in the given folders in turn."""
    from semigroup.report.figures import to_data_uri

    views = []
    for record in records:
        paths = [] if record.plot is None else [folder / record.slug / record.plot for folder in folders]
        found = next((path for path in paths if path.exists()), None)
        views.append(ClaimView(record, None if found is None else to_data_uri(found)))
    return views


def write_page(path: str | os.PathLike[str], title: str, introduction: str, sections: Sequence[Section]) -> Path:
    """Render the page and put it in place in one step.

    Parameters
    ----------
    path : path
        The HTML file; its folder is created.
    title, introduction : str
        Plain text.
    sections : sequence of Section
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(number=format_number, width_of_png=width_of_png)
    html = environment.get_template("page.html").render(
        title=title, introduction=introduction, sections=sections, version=semigroup.__version__
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(html, encoding="utf-8")
    partial.replace(path)
    return path


def format_number(value: Any) -> str:
    """A number as a reader wants it: four significant digits, no exponent where none is needed.

    Examples
    --------
    >>> [format_number(x) for x in (0.123456, 12345.6, 3, 1.5e-9, None, True, "a word")]
    ['0.1235', '12346', '3', '1.5e-09', '–', 'yes', 'a word']
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(format_number(item) for item in value)
    if not isinstance(value, int | float):
        return str(value)
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value)}"
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def width_of_png(uri: str) -> int:
    """Pixels that a PNG given as a data URI is wide.

    Examples
    --------
    >>> from semigroup.report.figures import new_figure, to_data_uri
    >>> 420 < width_of_png(to_data_uri(new_figure(width=4)[0])) < 480  # 110 pixels an inch, and a margin
    True
    """
    header = base64.b64decode(uri.partition(",")[2][:32])
    return int.from_bytes(header[16:20], "big")

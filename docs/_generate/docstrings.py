"""Docstrings as the guide shows them: what they hold of reStructuredText, written as Markdown.

The docstrings use a few constructs that Markdown lacks: the role ``:math:``, displayed formulas, simple tables, literal blocks
and numbered references. `to_markdown` rewrites these and leaves everything else; `Markdown` applies it to all that griffe reads.
"""

from __future__ import annotations

import re
import textwrap

import griffe

__all__ = ["Markdown", "to_markdown"]

_RULE = re.compile(r"=+(?: +=+)+\s*")
_FORMULA = re.compile(r"(?P<indent> *)\.\. math::(?P<first>.*)")


def to_markdown(text: str) -> str:
    """A docstring's reStructuredText as Markdown."""
    lines = text.splitlines()
    out: list[str] = []
    i = 0
    while i < len(lines):
        if _RULE.fullmatch(lines[i].strip()):
            end = _end_of_table(lines, i)
            out += ["", *_pipe_table(lines[i:end]), ""]
            i = end
        elif found := _FORMULA.fullmatch(lines[i]):
            end = _end_of_block(lines, i + 1, len(found["indent"]))
            formula = textwrap.dedent("\n".join(lines[i + 1 : end])).strip()
            pad = found["indent"]
            body = " ".join(f"{found['first'].strip()} {formula}".split())
            out += ["", f"{pad}$$", f"{pad}{body}", f"{pad}$$", ""]
            i = end
        else:
            out.append(_inline(lines[i]))
            i += 1
    return "\n".join(out)


def _inline(line: str) -> str:
    line = re.sub(r":math:`([^`]*)`", r"$\1$", line)
    line = re.sub(r"\[(\d+)\]_", r"[\1]", line)
    line = re.sub(r"^( *)\.\. \[(\d+)\] ", r"\1- [\2] ", line)
    return re.sub(r"(?<=\S)::$", ":", line)


def _end_of_block(lines: list[str], start: int, indent: int) -> int:
    """Index after the lines indented by more than `indent`."""
    end = start
    while end < len(lines) and (not lines[end].strip() or len(lines[end]) - len(lines[end].lstrip()) > indent):
        end += 1
    return end


def _end_of_table(lines: list[str], start: int) -> int:
    rules = [i for i in range(start, len(lines)) if _RULE.fullmatch(lines[i].strip())]
    # A table without a head has two rules, one with a head three; a blank line ends it in either case.
    last = start
    for rule in rules:
        if any(not line.strip() for line in lines[last:rule]):
            break
        last = rule
    return last + 1


def _pipe_table(lines: list[str]) -> list[str]:
    """A simple table, its columns told by the rule above it, as a pipe table."""
    starts = [found.start() for found in re.finditer("=+", lines[0])]
    columns = list(zip(starts, [*starts[1:], None]))
    rows: list[list[str]] = []
    n_rules = 0
    for line in lines:
        if _RULE.fullmatch(line.strip()):
            n_rules += 1
            continue
        row = [_cell(line[first:last].strip()) for first, last in columns]
        if row[0] or not rows:
            rows.append(row)
        else:  # an empty first cell continues the row above
            rows[-1] = [f"{above} {below}".strip() for above, below in zip(rows[-1], row)]
    head, body = (rows[0], rows[1:]) if n_rules > 2 else ([""] * len(columns), rows)
    pad = " " * starts[0]
    return [f"{pad}| {' | '.join(row)} |" for row in (head, ["---"] * len(columns), *body)]


def _cell(text: str) -> str:
    """A cell's text: no bar inside a formula, which would end the cell, and no star of ``x*`` taken for emphasis."""
    pieces = re.split(r"(\$[^$]*\$|`[^`]*`|(?<!\w)\*\w[^*]*\*(?!\w))", _inline(text))
    for i, piece in enumerate(pieces):
        if i % 2 == 0:
            pieces[i] = piece.replace("*", r"\*")
        elif piece.startswith("$"):
            pieces[i] = piece.replace(r"\|", r"\Vert ").replace("|", r"\vert ")
    return "".join(pieces)


class Markdown(griffe.Extension):
    """Rewrites every docstring that griffe reads."""

    def on_object(self, *, obj: griffe.Object, **kwargs: object) -> None:
        """Called for each object once it is read."""
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)

"""The guide's pages that follow from the package: one a method of the catalog, one a module of the shared floors.

MkDocs loads this file as a hook. Nothing here runs a method: a page is put together from the method's row in the catalog, its
docstrings, the claims recorded with the package and the errata.
"""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import Any

from docstrings import to_markdown
from latex2mathml.converter import convert

import semigroup
from semigroup.catalog import METHODS, Method
from semigroup.claims import RECORDED, Record, read_records
from semigroup.report.page import format_number

ROOT = Path(__file__).resolve().parents[2]
# Modules that users and authors of methods build on, from the ground floor up; a package's modules follow by themselves.
SHARED = ("operators", "data", "nn", "sde", "schedules", "training", "base", "catalog", "jobs", "claims", "report")
WINGS = {
    "graphs": "Graphs",
    "manifolds": "Manifolds",
    "dynamics": "Dynamical systems",
    "fields": "Fields",
    "densities": "Densities and transport",
    "optimize": "Optimisation",
}
ADMONITIONS = {"holds": "success", "does not hold": "failure"}
SIGNS = {"holds": "✓", "does not hold": "✗", "reported": "·", "not measured": "–"}


# --- hooks of MkDocs ---------------------------------------------------------------------------------------------


def on_config(config: Any) -> Any:
    """Put the generated pages into the navigation."""
    methods = [
        {WINGS[wing]: [{row.name: f"methods/{row.slug}.md"} for row in METHODS if row.wing == wing]}
        for wing in WINGS
        if any(row.wing == wing for row in METHODS)
    ]
    reference = [{f"semigroup.{name}": f"reference/{name}.md"} for name in _shared()]
    for entry in config.nav:
        if "Methods" in entry:
            entry["Methods"] = ["methods/index.md", *methods]
        if "Reference" in entry:
            entry["Reference"] = reference
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages, and the recorded figures that they show."""
    from mkdocs.structure.files import File

    for uri, content in pages().items():
        files.append(File.generated(config, uri, content=content))
    for plot in sorted(RECORDED.glob("*/*.png")):
        files.append(File.generated(config, _plot_uri(plot.parent.name, plot.name), abs_src_path=str(plot)))
    return files


def on_page_content(html: str, **kwargs: object) -> str:
    """Formulas as MathML, which browsers show without a script."""
    formula = re.compile(r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<tex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL)

    def as_mathml(found: re.Match[str]) -> str:
        tex = unescape(found["tex"].strip()).replace(r"\arg", r"\operatorname{arg}")  # the converter does not know it
        return convert(tex, display="inline" if found["tag"] == "span" else "block")

    return formula.sub(as_mathml, html)


# --- pages -------------------------------------------------------------------------------------------------------


def pages() -> dict[str, str]:
    """Text of every generated page by its place in the guide."""
    errata = _errata()
    records = read_records()
    texts = {"methods/index.md": overview(records)}
    for row in METHODS:
        own = [record for record in records if record.slug == row.slug]
        texts[f"methods/{row.slug}.md"] = method_page(row, own, errata.get(row.slug, ""))
    for name in _shared():
        texts[f"reference/{name}.md"] = reference_page(name)
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        texts[name.lower()] = (ROOT / name).read_text()
    return texts


def overview(records: Sequence[Record]) -> str:
    """The table of methods, by wing."""
    lines = [
        "# Methods",
        "",
        '`semigroup methods` prints this table, `semigroup methods --for "cluster a graph"` searches it. Claims, as measured: '
        + ", ".join(f"{sign} {verdict}" for verdict, sign in SIGNS.items())
        + ".",
    ]
    for wing, title in WINGS.items():
        rows = [row for row in METHODS if row.wing == wing]
        if rows:
            lines += ["", f"## {title}", "", "| Method | What it does | Claims |", "| --- | --- | --- |"]
        for row in rows:
            own = [record for record in records if record.slug == row.slug]
            lines.append(f"| [{row.name}]({row.slug}.md) | {row.job} | {_tally(own)} |")
    return "\n".join(lines) + "\n"


def method_page(row: Method, records: Sequence[Record], errata: str) -> str:
    """All that the guide says of a method."""
    module, _, estimator = row.target.partition(":")
    authors = " and ".join(" ".join(reversed(name.split(", ", 1))) for name in row.paper.authors.split(" and "))
    parts = [
        f"# {row.name}",
        row.job,
        f"- **Takes** {row.takes}.\n- **Gives** {row.gives}.\n- **Paper**: {authors}, *{row.paper.title}*, "
        f"{row.paper.venue} {row.paper.year}, {_arxiv(row)}.",
        *_first_plot(row, records),
        "## In Python",
        f"```python\n{example(row)}\n```",
        "## On your files",
        f"```console\n$ semigroup run {row.slug} --data FILE... --out DIR\n```",
        _prose(inspect.getdoc(row.job_module().read) or ""),
        f"`semigroup run {row.slug} --help` lists the options, which are the arguments of "
        f"[`{estimator}`][{module}.{estimator}]. "
        "[What a run leaves](../getting-started.md#read-the-results) is the same for all methods.",
        "## The method",
        _prose(inspect.getdoc(importlib.import_module(module)) or ""),
        "## Claims of the paper, measured",
        *_claims(row, records),
        "## Interface",
        _directive(f"{module}.{estimator}", level=3),
        *(_directive(f"{module}.{name}", level=3) for name in _public(module) if name != estimator),
    ]
    if errata:
        parts += [
            "## Errata",
            "Errors found in the paper or in its code while the method was built.",
            errata,
        ]
    parts += ["## How to cite", f"`semigroup cite {row.slug}` prints", f"```bibtex\n{row.paper.bibtex(row.slug)}\n```"]
    return "\n\n".join(parts) + "\n"


def example(row: Method) -> str:
    """The example of the class docstring as a script: imports first, results as comments."""
    module, _, estimator = row.target.partition(":")
    steps = doctest.DocTestParser().get_examples(inspect.getdoc(row.load()) or "")
    lines = []
    for step in steps:
        lines += [step.source.rstrip("\n"), *(f"# {line}" for line in step.want.splitlines())]
    code = "\n".join(lines)
    imports = [f"from {module.rpartition('.')[0]} import {estimator}"]
    if re.search(r"\bnp\.", code):
        imports.insert(0, "import numpy as np")
    return "\n".join([*imports, *([] if code.startswith(("import ", "from ")) else [""]), code])


def reference_page(name: str) -> str:
    """Interface of a shared module, or of every module of a shared package."""
    module = importlib.import_module(f"semigroup.{name}")
    if not hasattr(module, "__path__"):
        return _directive(module.__name__, level=1, show_root_full_path="true") + "\n"
    # What a package only passes on is shown in the module where it is written.
    own = [item for item in _public(module.__name__) if getattr(module, item).__module__ == module.__name__]
    directives = [_directive(module.__name__, level=1, show_root_full_path="true", members=str(own or "false"))]
    for inner in pkgutil.iter_modules(module.__path__):
        if not inner.name.startswith("_") and not _is_of_a_method(name, inner.name):
            directives.append(_directive(f"{module.__name__}.{inner.name}", level=2, show_root_full_path="true"))
    return "\n\n".join(directives) + "\n"


# --- pieces ------------------------------------------------------------------------------------------------------


def _shared() -> list[str]:
    present = {found.name for found in pkgutil.iter_modules(semigroup.__path__)}
    return [name for name in SHARED if name in present]


def _is_of_a_method(package: str, module: str) -> bool:
    """Whether a module of `jobs` or `claims` belongs to one method, whose page says what there is to say."""
    return package in ("jobs", "claims") and module in {row.module_name for row in METHODS}


def _public(module: str) -> list[str]:
    return list(getattr(importlib.import_module(module), "__all__", []))


def _directive(identifier: str, *, level: int, **options: str) -> str:
    lines = [f"      {name}: {value}" for name, value in {"heading_level": level, **options}.items()]
    return "\n".join([f"::: {identifier}", "    options:", *lines])


def _errata() -> dict[str, str]:
    """Text of each method's section of the errata."""
    sections = re.split(r"^## +", (ROOT / "docs" / "errata.md").read_text(), flags=re.MULTILINE)[1:]
    texts = {section.partition("\n")[0].strip(): section.partition("\n")[2].strip() for section in sections}
    return {slug: text for slug, text in texts.items() if text}


def _arxiv(row: Method) -> str:
    return f"[arXiv:{row.paper.arxiv}](https://arxiv.org/abs/{row.paper.arxiv})"


def _prose(docstring: str) -> str:
    """A module's docstring as part of a page: its sections' titles in bold rather than as headings of the page."""
    return re.sub(r"^(\w[\w ]*)\n-{3,}$", r"**\1**\n", to_markdown(docstring), flags=re.MULTILINE)


def _plain(text: str) -> str:
    """Text that is no Markdown: every character that Markdown or HTML would take for its own as an entity."""
    return re.sub(r"[\\`*_{}\[\]|$~^#<>&\"]", lambda found: f"&#{ord(found[0])};", " ".join(text.split()))


def _tally(records: Sequence[Record]) -> str:
    """How many of the measurements hold."""
    verdicts = [record.verdict for record in records]
    counts = [f"{sign} {verdicts.count(verdict)}" for verdict, sign in SIGNS.items() if verdict in verdicts]
    return "&nbsp; ".join(count.replace(" ", "&nbsp;") for count in counts) or "–"


def _plot_uri(slug: str, name: str) -> str:
    return f"methods/figures/{slug}/{name}"


def _first_plot(row: Method, records: Sequence[Record]) -> list[str]:
    """The figure of the first claim that has one, with the claim as its caption."""
    for record in records:
        if record.plot is not None:
            return [
                f"![{_plain(record.says)}](figures/{row.slug}/{record.plot})\n*{_plain(record.says)}*\n{{ .figure }}"
            ]
    return []


def _claims(row: Method, records: Sequence[Record]) -> list[str]:
    """A table of verdicts, and under it everything that was measured, claim by claim."""
    if not records:
        return ["None has been measured yet."]
    table = ["| | | Claim | Measured |", "| --- | --- | --- | --- |"]
    table += [
        f"| {record.number}{'' if record.scale == 'cpu' else f' ({record.scale})'} | {SIGNS[record.verdict]} "
        f"| {_plain(record.says)} | {_measured(record)} |"
        for record in records
    ]
    legend = ", ".join(f"{sign} {verdict}" for verdict, sign in SIGNS.items())
    return [
        f"`semigroup claims {row.slug}` measures them anew. {legend}. Each opens below the table.",
        "\n".join(table),
        *(_details(row, record) for record in records),
    ]


def _measured(record: Record) -> str:
    m = record.measurement
    if m is None:
        return "–"
    spread = "" if m["spread"] is None else f" ± {m['spread']:.2g}"
    return f"{format_number(m['figure'])}{spread} {_plain(m['unit'])}".strip()


def _details(row: Method, record: Record) -> str:
    """One claim in a box that opens: every figure, where it comes from, what it does not say."""
    m = record.measurement
    facts: list[tuple[str, str]] = [("Source", _plain(record.source))]
    if m is not None:
        facts += [("Measured", _measured(record)), ("Threshold", _plain(m["threshold"]))]
        if m["baseline"] is not None:
            facts.append(("Baseline", f"{format_number(m['baseline'])} {_plain(m['baseline_name'])}".strip()))
        if m["paper"]:
            facts.append(("Paper", _plain(m["paper"])))
        n_seeds = f", {m['n_seeds']} seeds" if m["n_seeds"] > 1 else ""
        facts.append(
            ("Run", f"scale {record.scale}{n_seeds}, {record.seconds:.0f} s on {_plain(record.machine)}, {record.date}")
        )
    blocks = ["\n".join(f"- **{name}**: {text}" for name, text in facts)]
    note = record.error if m is None else m["note"]
    if note:
        blocks.append(_plain(note))
    if record.plot is not None:
        blocks.append(f"![Figure of claim {record.number}](figures/{row.slug}/{record.plot})")
    if m is not None and m["table"]:
        names = list(m["table"][0])
        rows = [[_plain(format_number(case.get(name))) for name in names] for case in m["table"]]
        lines = [[_plain(name.replace("_", " ")) for name in names], ["---"] * len(names), *rows]
        blocks.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    body = "\n\n".join(blocks).replace("\n", "\n    ")
    title = f"{record.number}. {_plain(record.says)}"
    return f'??? {ADMONITIONS.get(record.verdict, "info")} "{title}"\n\n    {body}'

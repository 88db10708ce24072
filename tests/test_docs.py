"""The generated pages of the guide. Building the guide itself (``make docs``) also checks every link."""

import ast
import builtins
import inspect
import re
import sys
from pathlib import Path

import pytest

from semigroup.catalog import METHODS
from semigroup.claims import read_records

GENERATE = Path(__file__).parents[1] / "docs" / "_generate"
pytest.importorskip("griffe")
pytest.importorskip("latex2mathml")
sys.path.insert(0, str(GENERATE))
try:
    import docstrings
    import pages
finally:
    sys.path.remove(str(GENERATE))

every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.slug)


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return pages.pages()


@every_method
def test_page_of_a_method_holds_its_facts_claims_and_citation(method, texts):
    text = texts[f"methods/{method.slug}.md"]
    assert text.startswith(f"# {method.name}\n\n{method.job}\n")
    assert method.takes in text and method.gives in text and method.paper.bibtex(method.slug) in text
    assert f"::: {method.target.replace(':', '.')}" in text
    records = [record for record in read_records() if record.slug == method.slug]
    assert len(re.findall(r"^\?\?\? ", text, re.MULTILINE)) == len(records)
    assert f"({method.slug}.md)" in texts["methods/index.md"]


@every_method
def test_example_of_a_page_needs_no_name_that_it_does_not_define(method):
    code = pages.example(method)
    tree = ast.parse(code)
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    known = {node.id for node in names if isinstance(node.ctx, ast.Store)} | set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            known |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    assert {node.id for node in names if isinstance(node.ctx, ast.Load)} <= known
    assert ".fit(" in code or ".minimize(" in code or ".solve(" in code or ".fit_" in code


def test_page_of_a_method_without_measurements_says_so():
    text = pages.method_page(METHODS[0], [], "")
    assert "None has been measured yet." in text and "## Errata" not in text and "![" not in text


def test_every_figure_on_a_page_is_recorded(texts):
    for uri, text in texts.items():
        for slug, name in re.findall(r"\]\(figures/([\w-]+)/([\w-]+\.png)\)", text):
            assert (pages.RECORDED / slug / name).exists(), (uri, name)


def test_wings_of_all_methods_have_a_title():
    assert {method.wing for method in METHODS} <= set(pages.WINGS)


def test_errata_name_methods_only():
    sections = re.findall(r"^## +(.*)$", (GENERATE.parent / "errata.md").read_text(), re.MULTILINE)
    assert set(sections) <= {method.slug for method in METHODS}


def test_restructured_text_becomes_markdown():
    source = inspect.cleandoc(
        r"""
        The rate :math:`\|\lambda\|` of [1]_.

        ======  ======================
        symbol  meaning
        ======  ======================
        x       :math:`|x|`, with
                a second line
        ======  ======================

        .. math::
            a = b,
            c = d

        After::

            code :here

        .. [1] A. Author.
        """
    )
    text = docstrings.to_markdown(source)
    assert r"The rate $\|\lambda\|$ of [1]." in text
    assert "| symbol | meaning |\n| --- | --- |\n| x | $\\vert x\\vert $, with a second line |" in text
    assert "$$\na = b, c = d\n$$" in text
    assert "After:\n\n    code :here" in text
    assert "- [1] A. Author." in text


def test_formulas_become_mathml_and_other_text_stays():
    html = r'<p>a <span class="arithmatex">\(x &lt; y\)</span> b</p><div class="arithmatex">\[\arg\min x^2\]</div>'
    shown = pages.on_page_content(html)
    assert shown.count("<math") == 2 and 'display="block"' in shown and "arithmatex" not in shown and "\\" not in shown
    assert shown.startswith("<p>a <math") and "</math> b</p>" in shown

"""The project's outside says what the package is."""

import doctest
import re
from pathlib import Path

from semigroup import __version__
from semigroup.catalog import METHODS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_readme_lists_the_methods_of_the_catalog():
    expected = [
        f"| `{row.slug}` | {row.job} | [{row.paper.title}](https://arxiv.org/abs/{row.paper.arxiv}), {row.paper.year} |"
        for row in METHODS
    ]
    shown = [line for line in README.splitlines() if line.startswith("| `") and "arxiv.org" in line]
    assert shown == expected, "the table of README.md should read:\n" + "\n".join(expected)


def test_readme_example_runs():
    outcome = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert outcome.attempted >= 5 and outcome.failed == 0


def test_readme_links_and_pictures_are_there():
    targets = re.findall(r"\]\((?!https:)([^)#]+)\)", README)
    assert "docs/images/tour.png" in targets
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert not missing
    assert (ROOT / "docs/images/tour.png").stat().st_size < 400_000


def test_citation_and_changelog_name_the_version():
    assert re.search(rf"^version: {re.escape(__version__)}$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()

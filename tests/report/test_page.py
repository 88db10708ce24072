"""The page of runs and claims: one self-contained file, readable at any width."""

import re
from dataclasses import replace

import pytest

from semigroup.catalog import method
from semigroup.claims import Record
from semigroup.report.figures import new_figure, to_data_uri
from semigroup.report.page import ClaimView, PictureView, Section, format_number, write_page


def record(number: int, holds: bool | None) -> Record:
    measurement = {
        "figure": 0.25,
        "holds": holds,
        "threshold": "<= 1",
        "unit": "error",
        "paper": "",
        "baseline": None,
        "baseline_name": "",
        "spread": 0.012345,
        "n_seeds": 5,
        "table": [{"case": "a", "error": 0.25}],
        "note": "",
    }
    return Record("light-sb", number, "t", f"Claim {number}.", "Table 1", "cpu", measurement, None, 3.0, "", "", "")


@pytest.fixture(scope="module")
def figure() -> str:
    return to_data_uri(new_figure(width=4)[0])


def written(tmp_path, *sections: Section) -> str:
    return write_page(tmp_path / "page.html", "A page", "Words.", sections).read_text()


def test_contents_count_the_verdicts_of_each_method(tmp_path):
    claims = [ClaimView(record(i, holds), None) for i, holds in enumerate((True, True, False, None), start=1)]
    page = written(tmp_path, Section(method("light-sb"), claims=claims), Section(method("powerwalk")))
    tally = " ".join(re.sub(r"<[^>]+>", " ", page[page.index('class="tally"') : page.index("</nav>")]).split())
    assert "✓ 2 hold" in tally and "✗ 1 does not hold" in tally and "1 reported" in tally


def test_page_of_one_method_has_no_contents(tmp_path):
    assert "<nav" not in written(tmp_path, Section(method("light-sb")))


def test_first_claim_shows_its_figure_where_there_is_no_picture_of_a_run(tmp_path, figure):
    claims = [ClaimView(record(1, True), figure), ClaimView(record(2, True), figure)]
    section = Section(method("light-sb"), claims=claims)
    page = written(tmp_path, section)
    assert page.index("<img") < page.index("<details>") and page.count("<img") == 2
    page = written(tmp_path, replace(section, pictures=[PictureView(figure, "A run.")]))
    claims_part = page[page.index('<ol class="claims">') :]
    assert claims_part.index("<details>") < claims_part.index("<img")


def test_spread_has_two_digits_and_numbers_of_a_table_stand_right(tmp_path):
    page = written(tmp_path, Section(method("light-sb"), claims=[ClaimView(record(1, True), None)]))
    assert "0.25 ± 0.012 " in page
    assert '<td class="number">0.25</td>' in page and "<td>a</td>" in page


def test_page_needs_nothing_from_elsewhere(tmp_path, figure):
    page = written(tmp_path, Section(method("light-sb"), pictures=[PictureView(figure, "A run.")]))
    assert not re.search(r'(src|href)="(?!data:image/png|#|https://arxiv)', page)
    assert "<script" not in page and "@import" not in page and "url(" not in page
    assert "<figcaption>A run.</figcaption>" in page


def test_long_numbers_are_written_in_four_digits():
    assert format_number([1 / 3, 2]) == "0.3333, 2"

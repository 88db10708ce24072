"""How claims are registered, measured, stored and shown."""

import json
import re

import numpy as np
import pytest

from semigroup import claims as core
from semigroup.catalog import METHODS, method
from semigroup.claims import RECORDED, Claim, Measurement, ScaleUnavailable, claims_of, measure, read_records
from semigroup.report.board import newest_records, write_board
from semigroup.report.figures import new_figure
from semigroup.report.page import Section, claim_views, write_page

every_method = pytest.mark.parametrize("slug", [row.slug for row in METHODS])


def made_up(function) -> Claim:
    return Claim("light-sb", 99, "It measures.", "nowhere", False, function)


def test_a_measurement_survives_storage(tmp_path):
    figure, axes = new_figure()
    axes[0, 0].plot([0, 1])

    def a_claim(scale):
        return Measurement(np.float64(0.25), True, "<= 1", table=[{"n": np.int64(3), "error": 0.5}], plot=figure)

    record = measure(made_up(a_claim), "cpu", tmp_path)
    (stored,) = read_records(tmp_path)
    assert stored == record.__class__(**json.loads(json.dumps(record.__dict__, default=float)))
    assert stored.verdict == "holds" and stored.measurement["table"] == [{"n": 3, "error": 0.5}]
    assert (tmp_path / "light-sb" / stored.plot).read_bytes()[:4] == b"\x89PNG"
    assert not list(tmp_path.rglob("*.partial"))


def test_a_measurement_of_nothing_is_stored_as_null(tmp_path):
    record = measure(made_up(lambda scale: Measurement(np.nan, False, "", table=[{"x": np.inf}])), "cpu", tmp_path)
    stored = json.loads((tmp_path / "light-sb" / "99-cpu.json").read_text(), parse_constant=pytest.fail)
    assert stored["measurement"]["figure"] is None and stored["measurement"]["table"] == [{"x": None}]
    page = write_page(
        tmp_path / "page.html", "", "", [Section(method("light-sb"), claims=claim_views(read_records(tmp_path), []))]
    )
    assert "–" in page.read_text() and record.verdict == "does not hold"


@pytest.mark.parametrize(("holds", "verdict"), [(True, "holds"), (False, "does not hold"), (None, "reported")])
def test_verdict_says_whether_the_claim_holds(tmp_path, holds, verdict):
    assert measure(made_up(lambda scale: Measurement(1.0, holds, "")), "cpu", tmp_path).verdict == verdict


def test_a_scale_that_cannot_be_had_is_recorded_with_its_reason(tmp_path):
    def a_claim(scale):
        raise ScaleUnavailable("needs a cluster")

    record = measure(made_up(a_claim), "paper", tmp_path)
    assert record.verdict == "not measured" and record.error == "needs a cluster"


def test_gpu_scale_is_not_measured_without_an_accelerator(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    record = measure(made_up(lambda scale: Measurement(1.0, True, "")), "gpu", tmp_path)
    assert record.verdict == "not measured" and "CUDA" in record.error


def test_an_error_inside_a_claim_is_raised_and_nothing_is_stored(tmp_path):
    def a_claim(scale):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        measure(made_up(a_claim), "cpu", tmp_path)
    assert read_records(tmp_path) == []


def test_a_later_folder_replaces_a_measurement_of_an_earlier_one(tmp_path):
    for value, folder in ((1.0, "old"), (2.0, "new")):
        measure(made_up(lambda scale, value=value: Measurement(value, None, "")), "cpu", tmp_path / folder)
    (record,) = newest_records([tmp_path / "old", tmp_path / "new"])
    assert record.measurement["figure"] == 2.0


def test_what_cannot_be_measured_here_replaces_no_measurement_that_was_shipped(tmp_path):
    def without_the_package(scale):
        raise ImportError("this needs the package 'x': pip install 'semigroup[y]'")

    measure(made_up(lambda scale: Measurement(1.0, True, "")), "cpu", tmp_path / "shipped")
    record = measure(made_up(without_the_package), "cpu", tmp_path / "here")
    assert record.verdict == "not measured" and "semigroup[y]" in record.error
    (shown,) = newest_records([tmp_path / "shipped", tmp_path / "here"])
    assert shown.verdict == "holds"


def test_a_figure_goes_with_its_measurement(tmp_path):
    measure(made_up(lambda scale: Measurement(1.0, True, "", plot=new_figure()[0])), "cpu", tmp_path)
    record = measure(made_up(lambda scale: Measurement(2.0, True, "")), "cpu", tmp_path)
    assert record.plot is None and not list(tmp_path.rglob("*.png"))


def test_page_shows_a_failed_claim_as_failed_and_escapes_text(tmp_path):
    def a_claim(scale):
        return Measurement(3.0, False, "<= 1", note="fails because 3 > 1 <b>")

    record = measure(made_up(a_claim), "cpu", tmp_path)
    section = Section(method("light-sb"), claims=claim_views([record], [tmp_path]))
    page = write_page(tmp_path / "page.html", "A page", "Words.", [section]).read_text()
    assert "✗ does not hold" in page and "3 &gt; 1 &lt;b&gt;" in page
    assert not re.search(r'(src|href)="(?!data:|#|https://arxiv)', page)


def test_board_holds_every_method(tmp_path):
    page = write_board(tmp_path / "board.html", claims=tmp_path / "none", runs=tmp_path / "none").read_text()
    assert all(f'id="{row.slug}"' in page for row in METHODS)


@every_method
def test_claims_are_numbered_from_one_without_gaps(slug):
    numbers = [claim.number for claim in claims_of(slug)]
    assert numbers == list(range(1, len(numbers) + 1))


@every_method
def test_at_least_one_claim_is_quick_enough_for_the_tour(slug):
    assert any(claim.quick for claim in claims_of(slug))


@every_method
def test_every_claim_has_a_recorded_measurement_at_cpu_scale(slug):
    recorded = {record.number for record in read_records(RECORDED) if record.slug == slug and record.scale == "cpu"}
    assert recorded == {claim.number for claim in claims_of(slug)}


def test_records_hold_finite_figures_and_existing_plots():
    for record in read_records(RECORDED):
        if record.measurement is not None:
            assert np.isfinite(record.measurement["figure"]), (record.slug, record.number)
        if record.plot is not None:
            assert (RECORDED / record.slug / record.plot).exists()


def test_registering_keeps_the_function_usable():
    @core.claim("made-up", 1, says="One is one.", source="arithmetic")
    def one_is_one(scale):
        return Measurement(1.0, True, "== 1")

    try:
        assert one_is_one("cpu").figure == 1.0
        assert core._CLAIMS["made-up"][1].title == "one is one"
    finally:
        del core._CLAIMS["made-up"]

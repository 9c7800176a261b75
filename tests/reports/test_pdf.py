"""Every kind of record gives a valid PDF, and the same record the same bytes."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib
import pytest
from pypdf import PdfReader

from reports import html, pages, pdf
from reports.analysis.wording import in_words
from reports.drawing.fonts import UNKNOWN, measure, printable
from reports.drawing.layout import HEIGHT, INNER, SIDE, WIDTH, Page, settings, shorten, wrap
from reports.drawing.sheets import Sheets
from reports.pages.answer import _advice, _test_figure, _tested, answer
from reports.pages.answer import headline as headline_of
from reports.pages.context import Report
from reports.pages.progress import progress
from reports.pages.trial_table import table


def written(record, folder):
    out = folder / "report.pdf"
    pdf.write(record, out)
    assert [path.name for path in folder.iterdir()] == ["report.pdf"]
    content = out.read_bytes()
    assert content.startswith(b"%PDF-")
    assert content.rstrip().endswith(b"%%EOF")
    return content


def findings(record):
    with matplotlib.rc_context(settings()):
        return [finding for page in pages.pages(record) for finding in page.findings]


def headline(record):
    return headline_of(Report(record))


@pytest.mark.parametrize(
    "wanted",
    [
        {"trials": 0, "planned": 60},
        pytest.param({"trials": 3, "outcome": "running"}, marks=pytest.mark.slow),
        pytest.param(
            {"trials": 12, "dataset": "digits", "objective": "validation_loss", "confirmed": True},
            marks=pytest.mark.slow,
        ),
    ],
    ids=str,
)
def test_every_kind_of_record_gives_a_pdf(made_up, tmp_path, wanted):
    """tests/reports/analysis/test_known_truth.py has those of one, three or only failed trials."""
    written(made_up(**wanted), tmp_path)


ELSEWHERE = """
import datetime, sys, time
import sklearn.ensemble  # its extensions need the datetime that they were compiled with
from pathlib import Path
sys.path.insert(0, {tests!r})
class Later(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2031, 5, 17, 3, 4, 5, tzinfo=tz)
datetime.datetime = Later
time.time = lambda: 1_936_753_445.0
from conftest import make_record
from reports import {kind}
{kind}.write(make_record({trials}, outcome="complete", confirmed=True), Path({out!r}))
"""
MATPLOTLIBRC = "font.size: 30\naxes.facecolor: red\nlines.linewidth: 9\npdf.fonttype: 3\nsvg.fonttype: path\n"
TRIALS = 24
"""Enough to rank importance."""


@pytest.fixture(scope="module")
def confirmed(made_up, tmp_path_factory):
    """The PDF of a confirmed study."""
    out = tmp_path_factory.mktemp("here") / "report.pdf"
    pdf.write(made_up(TRIALS, outcome="complete", confirmed=True), out)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pdf", "html"])
def test_the_bytes_do_not_depend_on_time_place_process_or_settings(confirmed, made_up, tmp_path, kind):
    """With another clock, time zone, locale, folder, hash seed and matplotlibrc."""
    out, here = tmp_path / f"elsewhere.{kind}", confirmed
    (tmp_path / "matplotlibrc").write_text(MATPLOTLIBRC)
    script = ELSEWHERE.format(tests=str(Path(__file__).parent), out=str(out), trials=TRIALS, kind=kind)
    root = str(Path(pdf.__file__).parent.parent)
    other = {"TZ": "Pacific/Kiritimati", "LC_ALL": "de_DE.UTF-8", "PYTHONHASHSEED": "4711", "PYTHONPATH": root}
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path, env={**os.environ, **other}, timeout=120)

    if kind == "html":
        here = tmp_path / "here.html"
        html.write(made_up(TRIALS, outcome="complete", confirmed=True), here)
    assert out.read_bytes() == here.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("paper", ["a4", "letter"])
def test_a_pdf_has_an_outline_a_title_and_its_fonts(made_up, tmp_path, monkeypatch, paper):
    """The outline lists the findings with their pages; text is searchable, all fonts are embedded."""
    record, drawn = made_up(9, planned=60, running=2, seed=3), []

    def draw(*arguments, **options):
        drawn.extend(pages.pages(*arguments, **options))
        return drawn

    monkeypatch.setattr(pdf, "pages", draw)
    pdf.write(record, tmp_path / "report.pdf", paper=paper)
    read = PdfReader(tmp_path / "report.pdf", strict=True)
    titles = [entry.title for entry in read.outline if not isinstance(entry, list)]
    sections = [entry.title for entry in read.outline if isinstance(entry, list) for entry in entry]

    assert len(titles) > 5
    assert sections == [finding for page in drawn for finding in page.findings[1:]]
    assert titles == [page.finding for page in drawn]
    assert [read.get_destination_page_number(entry) for entry in read.outline if not isinstance(entry, list)] == list(
        range(len(read.pages))
    )
    assert read.metadata.title == f"{record.name}: {titles[0]}"
    for page, title in zip(read.pages, titles, strict=True):
        size = [round(float(length) / 72, 2) for length in page.mediabox[2:]]
        assert size == ([8.27, 11.69] if paper == "a4" else [8.5, 11.0])
        assert " ".join(title.split()) in " ".join(page.extract_text().split())
        for font in page["/Resources"]["/Font"].get_object().values():
            assert "/FontFile2" in font.get_object()["/DescendantFonts"][0].get_object()["/FontDescriptor"]
            assert font.get_object()["/DescendantFonts"][0].get_object()["/Subtype"] == "/CIDFontType2"


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qpdf"), reason="qpdf is not installed here; CI installs it")
def test_qpdf_finds_no_errors(confirmed):
    found = subprocess.run(["qpdf", "--check", confirmed], capture_output=True, text=True, check=False)

    assert found.returncode == 0, found.stdout + found.stderr
    assert "No syntax or stream encoding errors found" in found.stdout


def test_a_failed_write_leaves_the_old_report(made_up, tmp_path):
    first = written(made_up(0), tmp_path)
    broken = replace(made_up(0), study={})
    with pytest.raises(KeyError):
        pdf.write(broken, tmp_path / "report.pdf")

    assert (tmp_path / "report.pdf").read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["report.pdf"]


@pytest.mark.slow
def test_hundreds_of_trials_fit_on_ten_pages(made_up):
    record = made_up(300, epochs=4, outcome="complete", confirmed=True)
    with matplotlib.rc_context(settings()):
        sheets = pages.pages(record)

    assert len(sheets) == 10
    assert [page.findings for page in sheets if page.room < -0.001] == []


def test_the_short_report_is_the_answer_and_the_confirmation(made_up):
    record = made_up(30, confirmed=True)
    with matplotlib.rc_context(settings()):
        short = pages.pages(record, short=True)
        assert [page.finding for page in short] == [page.finding for page in pages.pages(record)][:2]


def test_the_headline_states_the_result(made_up):
    record = made_up(30, confirmed=True)
    paired = {"difference": 0.004, "low": -0.001, "high": 0.009, "n": 3, "better": False}
    unsure = replace(record, verdict={**record.verdict, "paired": paired})

    untested = replace(record, verdict={**record.verdict, "test": {**record.verdict["test"], "difference": None}})

    assert headline(record) == "Tuning raises test accuracy from 97.06\u00a0% to 98.07\u00a0%"
    assert "points more validation accuracy on fresh splits" in headline(untested)
    assert "not distinguishable from the baseline" in headline(unsure)
    baseline = {**record.verdict, "champion": 0, "paired": None}
    alone = {**baseline, "candidates": [one for one in record.verdict["candidates"] if one["trial"] == 0]}
    assert headline(replace(record, verdict=baseline)).startswith("The baseline is the champion by the screening, al")
    assert (
        headline(replace(record, verdict=alone))
        == "The baseline remains the best: no candidate did better on fresh splits"
    )


def test_the_first_page_has_every_searched_setting_above_the_command(made_up):
    sheets, record = Sheets(), made_up(12, confirmed=True)
    with matplotlib.rc_context(settings()):
        answer(Report(record), sheets)
    (page,) = sheets.pages
    texts = [text.get_text() for text in page.figure.texts]

    assert {in_words(key) for key in record.study["space"]} < set(texts[: texts.index("Command")])
    assert page.room >= 0


def test_the_advice_agrees_with_the_headline(made_up):
    record = made_up(8, confirmed=True)
    paired = {"difference": 0.004, "low": -0.001, "high": 0.009, "n": 3, "better": False}

    def advice(**changes):
        return _advice(Report(replace(record, verdict={**record.verdict, **changes})))

    def tested(low, high):
        return {
            **record.verdict["test"],
            "difference": {"accuracy": {"mean": (low + high) / 2, "low": low, "high": high}},
        }

    assert advice() == f"Use the champion: sweep predict FILE --study {record.name}"
    assert advice(paired=paired).startswith("Use the champion, which is more accurate on the test set: ")
    assert "do not tell them apart" in advice(paired=paired, test=tested(-0.01, 0.01))
    assert advice(champion=0, paired=None).startswith("Keep the baseline's settings, with which the champion was")
    worse = "Keep the baseline's settings: the champion is less accurate on the test set."
    assert advice(test=tested(-0.2, -0.1)) == advice(paired=paired, test=tested(-0.2, -0.1)) == worse
    balanced = {**record.study, "objective": "validation_balanced_accuracy"}
    unequal = replace(record, study=balanced, verdict={**record.verdict, "test": tested(-0.2, -0.1)})
    assert _advice(Report(unequal)) == f"Use the champion: sweep predict FILE --study {record.name}"
    assert "not confirmed" in _advice(Report(replace(record, verdict=None)))
    assert _advice(Report(made_up(0, planned=60))) == ""


def test_the_test_result_is_a_mean_error_with_its_interval(made_up):
    """0.9806, 0.9813 and 0.9802 are errors of 1.94, 1.87 and 1.98 %; the interval's ends are swapped."""
    found = Report(made_up(confirmed=True))
    figure, note = _test_figure(found)

    assert figure == "98.07\u00a0%"
    assert note == (
        "mean test accuracy of 3 final models; 95\u00a0% interval over examples 97.78\u00a0% to 98.32\u00a0%"
    )
    assert _tested(found.record) == [
        "The 3 final models, trained on train and validation data for 9 epochs, have a mean test error of 1.93\u00a0%"
        " (95\u00a0% Wilson interval over test examples 1.68\u00a0% to 2.22\u00a0%; per model 1.94\u00a0%,"
        " 1.87\u00a0% and 1.98\u00a0%). The test set of mnist has been opened 2 times, including this one; repeated use"
        " makes its results optimistic."
    ]


def test_the_title_says_what_is_missing(made_up):
    assert headline(made_up(0, planned=60)) == "No trial has run yet"
    assert headline(made_up(3, outcome="failed")) == "No answer: none of 3 finished trials completed (3 failed)"
    assert headline(made_up(8, planned=60)).startswith("So far: ")


def test_text_is_wrapped_by_its_width():
    lines = wrap("the quick brown fox " * 20, 2.0, 9.0)

    assert all(measure(line, 9.0) <= 2.0 for line in lines)
    assert " ".join(lines).split() == ("the quick brown fox " * 20).split()
    assert measure(shorten("w" * 90, 1.0, 9.0), 9.0) <= 1.0


def test_characters_missing_in_the_font_are_replaced():
    assert printable("a\u4f60b\tc") == f"a{UNKNOWN}b c"


@pytest.mark.slow
@pytest.mark.parametrize("trials", [12])
def test_no_text_exceeds_the_page(made_up, trials):
    record = made_up(trials, outcome="complete", confirmed=True, question="why " * 200)
    with matplotlib.rc_context(settings()):
        for page in pages.pages(record):
            for text in page.figure.texts:
                x, y = text.get_position()
                left = x * WIDTH - (measure(text.get_text(), text.get_fontsize()) if text.get_ha() == "right" else 0)
                assert SIDE - 0.02 <= left <= SIDE + INNER
                assert (
                    0.55 < y * HEIGHT < 11.05
                )  # within Letter's upper and lower edge too, which are at 0.29 and 11.29


def test_a_page_is_filled_from_the_top():
    page = Page("A finding", "n = 3")
    room = page.room
    page.paragraph("text")

    assert 0 < room - page.room < 0.3


def test_the_title_resolves_ties_by_the_rule(made_up):
    """Trials 2 and 4 tie; 4 has the lower validation loss. No trial after 2 improved the best value."""
    record = made_up(8, outcome="complete")
    values = [0.5, 0.6, 0.9, 0.6, 0.9, 0.6, 0.6, 0.6]
    losses = [1.0, 1.0, 0.4, 1.0, 0.3, 1.0, 1.0, 1.0]
    trials = [
        replace(t, value=v, validation_loss=loss, finished=t.started)
        for t, v, loss in zip(record.trials, values, losses, strict=True)
    ]

    sheets = Sheets()
    with matplotlib.rc_context(settings()):
        progress(Report(replace(record, trials=tuple(trials))), sheets)
    assert [page.finding for page in sheets.pages] == [
        "Trial 4, the 5th of 8 to finish, is the best, with the same value as 1 other;"
        " the last 5 did not improve the best value"
    ]


def test_the_table_names_the_command_that_exports_all_trials(made_up):
    sheets = Sheets()
    with matplotlib.rc_context(settings()):
        table(Report(made_up(30, outcome="complete")), sheets)
        sheets.pages[0].footer("mnist", 1, 1)

    texts = " ".join(text.get_text() for text in sheets.pages[0].figure.texts)
    assert "15 more: sweep export mnist --out trials.csv." in texts

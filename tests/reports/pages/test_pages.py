"""The titles of the pages, on synthetic studies with known truth."""

import math
import re
from dataclasses import replace

import matplotlib
import numpy as np
import pytest

from model.metrics import METRICS
from reports import pages
from reports.analysis.calibration import calibration
from reports.analysis.statistics import wilson
from reports.drawing.layout import settings
from reports.drawing.sheets import Sheets
from reports.pages.answer import answer
from reports.pages.context import Report
from reports.pages.cost import _front
from reports.pages.errors import mistakes
from reports.pages.provenance import origin

RATE = {"learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True}}
TWO = {**RATE, "beta1": {"kind": "float", "low": 0.8, "high": 0.99, "log": False}}


def titles(record):
    with matplotlib.rc_context(settings()):
        sheets = pages.pages(record)
    assert len(sheets) <= 12
    assert [page.findings for page in sheets if page.room < -0.001] == []
    return [finding for sheet in sheets for finding in sheet.findings]


def drawn(section, record):
    """The page of one section."""
    sheets = Sheets()
    with matplotlib.rc_context(settings()):
        section(Report(record), sheets)
    (page,) = sheets.pages
    assert page.room >= -0.001
    return page


def words(page):
    return " ".join(text.get_text() for text in page.figure.texts).replace("\n", " ")


def valley(settings):
    return 0.95 - 0.02 * (math.log10(settings["learning_rate"]) + 2.5) ** 2


@pytest.mark.slow
def test_the_titles_of_a_study_with_one_dominant_hyperparameter(known):
    found = " | ".join(titles(known(60, valley, space=TWO, confirm=5)))

    assert "Tuning raises test accuracy from" in found
    assert "Learning rate matters; of no other hyperparameter can it be told" in found
    assert "No interaction of the most important hyperparameters is above the chance level" in found


@pytest.mark.slow
def test_the_titles_of_pure_noise_make_no_claims(known):
    found = " | ".join(titles(known(40, lambda settings: 0.9, noise=0.004, space=TWO, confirm=5, seed=3)))

    assert "not distinguishable" in found or "The baseline remains the best" in found
    assert "No hyperparameter matters beyond chance" in found
    assert "matters most" not in found


@pytest.mark.parametrize("trials", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 1))])
def test_the_titles_of_few_trials_make_no_claims(known, trials):
    found = " | ".join(titles(known(trials, valley, space=TWO)))

    assert "No trial has run yet" in found or "the baseline" in found.lower()
    assert "matters most" not in found


def test_the_pareto_front(known):
    """The trials come best first; each one on the front is faster than all better ones."""
    assert _front(np.array([5.0, 7.0, 4.0, 4.5, 1.0])).tolist() == [4, 2, 0]


def test_the_calibration_error_is_the_mean_difference(made_up):
    record = made_up(30, confirmed=True)
    groups = [{"n": 50, "confidence": 0.6, "accuracy": 0.5}, {"n": 150, "confidence": 0.9, "accuracy": 0.94}]
    test = {**record.verdict["test"], "calibration": groups}
    found = calibration(replace(record, verdict={**record.verdict, "test": test}))

    assert found.error == pytest.approx(0.25 * 0.1 + 0.75 * 0.04)
    assert (found.low[0], found.high[0]) == wilson(0.5, 50)
    assert calibration(record) is None
    assert "misclassifies" in drawn(mistakes, replace(record, verdict={**record.verdict, "test": test})).finding


def test_a_loss_that_spans_orders_of_magnitude_is_drawn_on_a_log_axis(made_up):
    record = made_up(12, objective="validation_loss", outcome="complete")
    values = np.geomspace(1, 1e-3, 12)
    wide = replace(record, trials=tuple(replace(t, value=float(v)) for t, v in zip(record.trials, values, strict=True)))
    low, high = Report(wide).ends(values)

    assert Report(wide).log
    assert not Report(record).log
    far = replace(record.trials[0], value=60 * min(trial.value for trial in record.trials))
    assert Report(replace(record, trials=(far, *record.trials[1:]))).log  # the baseline alone is that far away
    assert 0 < low < 1e-3
    assert high > 1


@pytest.mark.parametrize(("examples", "shown"), [(10, 10), (24, 18)])
def test_the_heading_counts_the_mistakes_that_are_drawn(made_up, examples, shown):
    record = made_up(12, outcome="complete", confirmed=True)
    test = record.verdict["test"]
    few = {**test, "mistakes": test["mistakes"][:examples]}
    page = drawn(mistakes, replace(record, verdict={**record.verdict, "test": few}))

    assert any(text.get_text().startswith(f"The {shown} most confident") for text in page.figure.texts)
    assert sum("→" in ax.get_title() for ax in page.figure.axes) == shown


def test_many_classes_are_listed_by_their_mistakes(made_up):
    record = made_up(12, outcome="complete", confirmed=True)
    counts = np.diag(np.full(40, 9))
    counts[3, 7], counts[7, 3] = 6, 2
    data = {**record.dataset, "classes": 40, "class_names": [f"species {k}" for k in range(40)], "shape": [13]}
    test = {**record.verdict["test"], "confusion": counts.tolist()}
    page = drawn(mistakes, replace(record, dataset=data, verdict={**record.verdict, "test": test}))
    words = [text.get_text() for text in page.figure.texts]

    assert "most often species 3 as species 7 (6\u00d7)" in page.finding
    assert words[words.index("6") - 2 :][:4] == ["species 3", "species 7", "6", "40.0\u00a0%"]
    assert "The 18 most confident mistakes on the test set, whose rows are counted from 0" in words


def test_the_first_page_names_an_imbalance_and_the_objective_on_the_test_set(made_up):
    record = made_up(12, outcome="complete", confirmed=True)
    metrics = [{"macro_f1": value} for value in (0.61, 0.62, 0.63)]
    test = {**record.verdict["test"], "confusion": [[9700, 60], [200, 40]], "metrics": metrics}
    record = replace(
        record,
        study={**record.study, "objective": "validation_macro_f1"},
        dataset={**record.dataset, "classes": 2, "class_names": ["honest", "fraud"]},
        verdict={**record.verdict, "test": test},
    )
    said = words(drawn(answer, record))

    assert "62.00\u00a0% mean test macro f1 of 3 final models" in said
    assert 'are of class "honest"' in said
    assert 'class "fraud": 16.7\u00a0% of its 240' in said


def test_a_tested_objective_that_is_a_loss_is_no_percentage(made_up, monkeypatch):
    """As one that was added by an entry in `METRICS`; here macro F1 is taken for a loss."""
    monkeypatch.setitem(METRICS, "macro_f1", replace(METRICS["macro_f1"], direction="minimize", percent=False))
    record = made_up(12, objective="validation_loss", outcome="complete", confirmed=True)
    metrics = [{"macro_f1": value} for value in (0.57, 0.58, 0.59)]
    record = replace(
        record,
        study={**record.study, "objective": "validation_macro_f1"},
        verdict={**record.verdict, "test": {**record.verdict["test"], "metrics": metrics}},
    )
    said = words(drawn(answer, record))

    assert re.search(r" 0\.5800? mean test macro f1 of 3 final models \(each 0\.5700? to 0\.5900?\)", said)


@pytest.mark.parametrize(
    ("study", "command", "repeated"),
    [
        ({"generation": 4}, "sweep run s", "It repeats every number for any number of workers"),
        ({"generation": 4, "minutes": 3.0}, "sweep run s", "on the order in which trials end and on the time."),
        ({"generation": 4}, "sweep run s --minutes 3", "on the order in which trials end and on the time."),
        ({}, "sweep run s", "on the order in which trials end."),
    ],
)
def test_the_first_page_says_what_its_command_repeats(made_up, study, command, repeated):
    """Without generations, the order in which trials end decides what is tried next; a trial alone does not change."""
    record = made_up(12, outcome="complete")
    record = replace(record, study={**record.study, **study}, provenance={**record.provenance, "command": command})
    said = words(drawn(answer, record))

    assert repeated in said
    assert (f"sweep replay {record.name} {record.ranked()[0].number}" in said) == ("It repeats" not in repeated)


def test_the_folds_of_a_trial_are_named_beside_its_value_and_in_the_provenance(made_up):
    """And every number is said to be measured on all rows but the test rows."""
    record = made_up(12, dataset="digits", outcome="complete")
    folded = replace(record, study={**record.study, "folds": 5})
    plain, said = (words(drawn(origin, one)) for one in (record, folded))
    front = words(drawn(answer, replace(folded, verdict=None, confirm=())))

    assert "epoch, mean of 5 folds" in said
    assert "folds" not in plain
    assert "1,438 train and validation".replace(",", "\u202f") in said
    assert "in the search, mean of 5 folds, epoch" in front
    assert (record.validated, folded.validated) == (180, 1438)


def test_the_notes_on_the_data_are_part_of_the_provenance(made_up):
    record = made_up(12, outcome="complete")
    notes = [f"column {k} is constant and not used" for k in range(12)]
    page = drawn(origin, replace(record, dataset={**record.dataset, "notes": notes}))
    words = [text.get_text() for text in page.figure.texts]

    assert notes[9] in words
    assert notes[10] not in words
    assert "and 2 more, listed by sweep data describe" in words

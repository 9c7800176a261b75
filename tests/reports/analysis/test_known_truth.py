"""Complete reports of synthetic studies with known truth: verdict, checks and a valid PDF."""

import math
from dataclasses import replace

import matplotlib
import pytest

from reports import pages, pdf
from reports.analysis.checks import checks
from reports.analysis.checks.finding import CANNOT_TELL, PASS, WARN
from reports.analysis.next_study import propose
from reports.drawing.layout import settings

SPACE = {
    "learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "beta1": {"kind": "float", "low": 0.8, "high": 0.99, "log": False},
}
HOSTILE = ["$\\frac{1$", "<b>bold</b>", "\u4f60\u597d \U0001f600", "%s {x} \\n", "w" * 400, "a\nb\x07", "../../etc"]


def place(settings):
    """Where the learning rate lies in its range, 0 to 1."""
    return (math.log10(settings["learning_rate"]) + 4) / 2


def told(record, out=None):
    """Status of each check, and all titles; the pages must be few and filled, and the PDF whole if it is drawn."""
    with matplotlib.rc_context(settings()):
        sheets = pages.pages(record, propose(record))
        assert len(sheets) <= 12
        assert [page.findings for page in sheets if page.room < -0.001] == []
        if out is not None:
            pdf._write(sheets, record.name, record.dataset["name"], out, "a4")
            content = out.read_bytes()
            assert content.startswith(b"%PDF-")
            assert content.rstrip().endswith(b"%%EOF")
    return {check.name: check.status for check in checks(record)}, [
        title for sheet in sheets for title in sheet.findings
    ]


@pytest.mark.slow
def test_a_winner_on_a_bound(known):
    record = known(60, lambda settings: 0.8 + 0.1 * place(settings), space=SPACE, seed=7, confirm=5)
    status, titles = told(record)

    assert status["champion against baseline"] == PASS
    assert status["boundary"] == WARN
    assert any("the upper bound of learning rate" in title for title in titles)
    assert any(title.startswith("Proposed next study: ") for title in titles)


@pytest.mark.slow
def test_two_settings_that_are_truly_equal(known):
    """The space has two equal batch sizes: the report does not call one better."""
    two = {"batch_size": {"kind": "choice", "choices": [64, 128]}}
    record = known(40, lambda settings: 0.9, noise=0.003, space=two, confirm=5, seed=3)
    status, titles = told(record)

    assert status["noise"] == WARN
    assert status["champion against baseline"] == WARN
    assert "not distinguishable" in titles[0] or "The baseline remains the best" in titles[0]
    assert not any("matters most" in title or "Over all other settings" in title for title in titles)


@pytest.mark.slow
def test_one_dominant_hyperparameter(known):
    record = known(80, lambda settings: 0.95 - 0.2 * (place(settings) - 0.6) ** 2, space=SPACE, confirm=5)
    status, titles = told(record)

    assert status["noise"] == status["boundary"] == status["enough trials"] == PASS
    assert "Learning rate matters; of no other hyperparameter can it be told" in titles


@pytest.mark.slow
def test_pruning_that_discards_the_winner(known):
    record = known(
        120,
        lambda settings: 0.8 + 0.1 * place(settings),
        space=SPACE,
        pruned=lambda settings, number: place(settings) > 0.66,
        controls=lambda number: number % 6 == 5,
    )
    status, titles = told(record)

    assert status["pruning"] == WARN
    assert any(title.startswith("Pruning stops good trials") for title in titles)


@pytest.mark.slow
@pytest.mark.parametrize("outcome", ["diverged", "failed", "pruned"])
def test_no_completed_trials(made_up, outcome):
    status, titles = told(made_up(30, outcome=outcome))

    assert titles[0].startswith("No answer: none of 30 finished trials completed")
    assert status["infeasible share"] == (PASS if outcome == "pruned" else WARN)
    assert status["champion against baseline"] == status["boundary"] == status["noise"] == CANNOT_TELL


@pytest.mark.slow
@pytest.mark.parametrize("trials", [0, 1, 3])
def test_very_few_trials(known, trials):
    status, titles = told(known(trials, lambda settings: 0.9, space=SPACE))

    assert WARN not in status.values()
    assert not any("matters most" in title or "Over all other settings" in title for title in titles)


@pytest.mark.slow
def test_five_thousand_trials(known, tmp_path):
    """At most twenty pages, the right result, and a small file."""
    record = known(5000, lambda settings: 0.95 - 0.2 * (place(settings) - 0.6) ** 2, space=SPACE, confirm=5)
    status, titles = told(record, tmp_path / "report.pdf")

    assert status["enough trials"] == status["noise"] == PASS
    assert any("learning rate" in title.lower() for title in titles)
    assert (tmp_path / "report.pdf").stat().st_size < 5_000_000


@pytest.mark.slow
def test_special_characters_in_names(known, tmp_path):
    """In every free-text field; none is parsed as markup, and none breaks the layout."""
    name = " ".join(HOSTILE)
    space = {**SPACE, **{key: {"kind": "choice", "choices": [key, "$_{"]} for key in HOSTILE}}
    record = known(24, lambda settings: 0.8 + 0.1 * place(settings), space=SPACE, confirm=3)
    trials = tuple(
        replace(t, hyperparameters={**t.hyperparameters, **{key: key for key in HOSTILE}}, reason=name)
        for t in record.trials
    )
    study = {**record.study, "space": space, "name": name, "question": name}
    study["baseline"] = {**study["baseline"], **{key: key for key in HOSTILE}}
    dataset = {**record.dataset, "name": name, "class_names": [HOSTILE[k % len(HOSTILE)] for k in range(10)]}
    provenance = {"command": name, "machine": name, "versions": {name: name}, "git_commit": name}

    told(replace(record, study=study, trials=trials, dataset=dataset, provenance=provenance), tmp_path / "report.pdf")

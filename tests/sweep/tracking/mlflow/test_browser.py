"""What a person sees: MLflow's pages on a really swept study, in a real browser, as `sweep ui` serves them.

The screenshots stay in build/screenshots; docs/mlflow.png is the `trials.png` of BROWSER_TRIALS=40 and
BROWSER_EPOCHS=30.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from urllib.parse import quote

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from empty_report import PROGRAM

from reports.analysis.final_models import final_accuracy
from studies.record import reader as records
from studies.record.folder import StudyFolder
from sweep.commands import ui
from sweep.tracking import views

TRIALS, EPOCHS = int(os.environ.get("BROWSER_TRIALS", "8")), int(os.environ.get("BROWSER_EPOCHS", "12"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
    pytest.mark.skipif(sys.platform == "win32", reason="talks to Chromium over inherited pipes"),
]


@pytest.fixture(scope="module")
def shown(tmp_path_factory, migrated):
    """A swept study, what `sweep run` said, and the links that a running `sweep ui` printed."""
    home, port = tmp_path_factory.mktemp("home"), _free_port()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SWEEP_")}
    shutil.copy(migrated, home)
    changes = (f"baseline.epochs={EPOCHS}", "confirm.top=1", "confirm.repeats=2")
    settings = ["--trials", str(TRIALS), *(f"--set={change}" for change in changes)]
    ran = subprocess.run(
        [*PROGRAM, "run", "digits", *settings, "--home", home], env=clean, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    server = subprocess.Popen(
        [*PROGRAM, "ui", "digits", "--home", home, "--port", str(port)], env=clean, stdout=subprocess.PIPE, text=True
    )
    try:
        lines = list(iter(server.stdout.readline, "Ctrl-C ends it\n"))
        links = [re.search(r"http://\S+", line)[0] for line in lines[1:]]
        yield {
            "told": ran.stdout,
            "address": f"http://127.0.0.1:{port}",
            "charts": links[0],
            "winner": links[1],
            "record": records.read(home / "digits"),
            "place": json.loads(StudyFolder(home / "digits").mlflow.read_text()),
        }
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=20) == 0
        server.stdout.close()


def _free_port():
    with socket.socket() as probe:
        probe.bind((ui.HOST, 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """One for all tests: its start takes a second."""
    chromium = Browser(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


@pytest.fixture
def browser(chromium):
    """A new page for every test: nothing is remembered from another."""
    with chromium.page():
        yield chromium


CURVES = """[...document.querySelectorAll(".js-plotly-plot")].slice(0, 4).map(
    plot => (plot.data ?? []).filter(line => line.y?.length && line.hoverinfo != "skip").map(
        line => [line.name, [...line.y]]))"""
CELLS = """[...document.querySelectorAll(".ag-center-cols-container .ag-row")].map(
    row => Object.fromEntries([...row.querySelectorAll(".ag-cell")].sort((one, other) =>
        one.getBoundingClientRect().left - other.getBoundingClientRect().left).map(
        cell => [cell.getAttribute("col-id").replace(/.*`(.*)`/, "$1"), cell.innerText])))"""
NAMES = """[...document.querySelectorAll(".ag-pinned-left-cols-container .ag-row a")].map(a => a.innerText)"""


LINE_COLOURS = """[...document.querySelector(".js-plotly-plot").querySelectorAll("path.js-line")].map(
    line => line.style.stroke)"""
HEADING = """[...document.querySelectorAll("*")].find(
    part => !part.children.length && part.textContent == "Settings against the objective")"""
AXES = """[...document.querySelectorAll(".parcoords .dimension")].map(axis => axis.__data__)"""
ROWS = """Object.fromEntries([...document.querySelectorAll("table tr")].map(
    row => [...row.cells].map(cell => cell.innerText.trim())).map(([head, ...cells]) => [head, cells]))"""


def _curves(browser, count):
    """What the first four charts show, once each has so many curves drawn."""
    browser.until(f"({CURVES}).length == 4 && ({CURVES}).every(lines => lines.length == {count})")
    browser.until("document.querySelectorAll('.js-plotly-plot .scatterlayer .trace path.js-line').length > 3")
    return browser.value(CURVES)


def _name(trial):
    return f"trial {trial.number}" + (" (baseline)" if trial.number == 0 else "")


def _rates(trials):
    """Their learning rates as MLflow shows them: four digits."""
    return [float(f"{trial.hyperparameters['learning_rate']:.4g}") for trial in trials]


def _champion(record):
    return next(trial for trial in record.trials if trial.number == record.verdict["champion"])


def test_a_sweep_ends_with_links_to_its_pages(shown):
    """The same two as `sweep ui`, at its usual port, with the command that makes them work."""
    *_, command, charts, winner, _report = shown["told"].splitlines()
    usual = f"http://127.0.0.1:{ui.PORT}"

    assert command.startswith("all trials in MLflow: sweep ui digits --home ")
    assert charts == f"all trials side by side: {shown['charts'].replace(shown['address'], usual)}"
    assert winner == f"the winner: {shown['winner'].replace(shown['address'], usual)}"


def test_the_first_page_lists_the_studies(shown, browser):
    """With what each asks, beside MLflow's default for runs of the user's own; no assistant, no notices."""
    browser.open(shown["address"], "digits")
    browser.screenshot("experiments")
    text = browser.text()

    assert browser.value("location.hash") == "#/experiments"
    assert shown["record"].study["question"][:20] in text
    assert "Default" in text
    assert "telemetry" not in text
    assert "sweep.study" not in text
    assert browser.value("[...document.querySelectorAll('[data-assistant-ui]')].every(part => !part.offsetHeight)")
    assert browser.complaints() == []


def test_the_table_of_trials_is_sorted_by_the_objective_and_shows_searched_params(shown, browser):
    """As it opens from the list of studies, without a click: the study's run on top, then every trial's numbers."""
    record, best = shown["record"], shown["record"].contenders()[:5]
    browser.open(f"{shown['address']}/#/experiments/{shown['place']['experiment_id']}", f"{TRIALS + 1} matching runs")
    browser.until(f"({CELLS}).length > 5")
    browser.screenshot("table")
    cells = browser.value(CELLS)[1:6]

    assert browser.value(NAMES)[:6] == ["digits", *map(_name, best)]
    assert [float(row["objective"]) for row in cells] == [trial.value for trial in best]
    assert [float(row["learning_rate"]) for row in cells] == _rates(best)
    assert set(record.study["space"]) <= set(cells[0])
    assert [row["outcome"] for row in cells] == [trial.outcome for trial in best]
    assert list(cells[0])[:2] == ["outcome", "champion"]  # in sight, before all numbers
    assert [row["champion"] == "yes" for row in cells] == [trial is _champion(record) for trial in best]
    assert browser.complaints() == []


def test_the_run_of_the_study_has_a_description_with_question_and_result(shown, browser):
    """Unfolded, with links to the winner and to all trials; its trials are its children."""
    record, place = shown["record"], shown["place"]
    page = f"{shown['address']}/#/experiments/{place['experiment_id']}/runs/{place['run_id']}"
    browser.open(page, "Question.", "Child runs", "trial 0 (baseline)")
    browser.screenshot("study")
    text = browser.text()
    links = dict(browser.value("[...document.querySelectorAll('a')].map(a => [a.innerText, a.href])"))

    assert f"Question. {record.study['question']}" in text
    assert f"Its validation loss is {_champion(record).value:.4f}, the baseline's {record.trials[0].value:.4f}" in text
    assert f"On fresh splits. Mean validation loss {record.verdict['confirm_mean']:.4f}" in text
    assert f"final models {100 * final_accuracy(record).mean:.2f} %" in text
    assert f"{TRIALS} of {TRIALS} trials" in text
    assert links[_name(_champion(record))] == shown["winner"].removesuffix("/model-metrics")
    assert links["All trials side by side"] == shown["charts"]
    assert links["registered model"] == f"{shown['address']}/#/models/sweep-digits"
    assert f"first of them, with {100 * final_accuracy(record).accuracies[0]:.2f} %" in text
    children = re.search(r"Child runs\s(.*?)(Load more|Source)", text, re.DOTALL)[1]
    assert [name.strip() for name in children.split(",")][:TRIALS] == [_name(trial) for trial in record.trials[:10]]
    assert not re.search(r"\bsweep\.(study|key|digest|files|sent)\b", text)  # tags that only `sweep sync` reads
    assert "Show more" not in text
    assert browser.complaints() == []


def test_the_link_to_the_winner_shows_its_curves(shown, browser):
    """Its first four charts are the recorded numbers of every epoch."""
    winner = _champion(shown["record"])
    browser.open(shown["winner"], _name(winner), "Learning curves")
    drawn = _curves(browser, 1)
    browser.screenshot("trial")

    assert len(winner.epochs) == EPOCHS
    for metric, lines in zip(views.CURVES, drawn, strict=True):
        np.testing.assert_allclose(lines[0][1], winner.epochs[metric], rtol=1e-6)
    assert browser.complaints() == []


def test_the_link_to_all_trials_shows_their_curves_best_first(shown, browser):
    """The names in the order of the objective, and the recorded curves of the best ten; after a reload too."""
    record, count = shown["record"], min(10, TRIALS)
    browser.open(shown["charts"], f"{TRIALS} matching runs", "Learning curves")
    first = _curves(browser, count)
    browser.call("Page.reload")
    browser.until(f"({NAMES}).length > 4")
    drawn = _curves(browser, count)
    browser.screenshot("trials")

    assert browser.value(NAMES)[:5] == [_name(trial) for trial in record.contenders()[:5]]
    assert drawn == first
    assert len(set(browser.value(LINE_COLOURS))) == count
    searches = [event["params"]["request"].get("postData", "") for event in browser.events if _is_search(event)]
    assert any('"max_results":1000' in search for search in searches)
    for metric, lines in zip(views.CURVES, drawn, strict=True):
        for trial in record.contenders()[:5]:
            np.testing.assert_allclose(dict(lines)[_name(trial)], trial.epochs[metric], rtol=1e-6)
    assert browser.complaints() == []


def _is_search(event):
    return event["method"] == "Network.requestWillBeSent" and "runs/search" in event["params"]["request"]["url"]


def test_parallel_coordinates_have_a_readable_axis_for_every_setting(shown, browser):
    """One a layer, and logarithms of what is searched on such a scale; the last one colours the lines."""
    browser.open(shown["charts"], f"{TRIALS} matching runs", "Settings against the objective")
    browser.value(f"{HEADING}.scrollIntoView()")
    browser.until(f"({AXES}).length > 3")
    browser.screenshot("parallel")

    assert browser.value(AXES) == [
        *("batch_size", "beta1", "layer_1_units", "layer_2_units", "log10_learning_rate", "log10_one_minus_beta2"),
        "log10_objective",
    ]
    assert "log10_learning_rate\n" not in browser.text().partition("Model metrics")[2]  # no bars of what is an axis
    assert browser.complaints() == []


def _run_ids(record, trials):
    """MLflow's ids of trials of the search."""
    query = "SELECT run_uuid FROM tags WHERE key = 'sweep.key' AND value = ?"
    with contextlib.closing(sqlite3.connect(record.folder.parent / "mlflow.db")) as database:
        return [database.execute(query, [f"search/{trial.number}"]).fetchone()[0] for trial in trials]


def test_five_trials_can_be_compared(shown, browser):
    """As MLflow does when five runs are ticked: every setting and result of each, and a chart of both."""
    record = shown["record"]
    best = record.contenders()[:5]
    ids, experiments = json.dumps(_run_ids(record, best)), json.dumps([shown["place"]["experiment_id"]])
    browser.open(f"{shown['address']}/#/compare-runs?runs={quote(ids)}&experiments={quote(experiments)}", "Parameters")
    browser.until("document.querySelectorAll('.js-plotly-plot .parcoords').length == 1")
    browser.screenshot("comparison")
    rows = browser.value(ROWS)

    assert browser.value("document.querySelector('h1, h2').innerText") == "Comparing 5 Runs from 1 Experiment"
    assert rows["Run Name:"] == [_name(trial) for trial in best]
    assert rows["hidden_sizes"] == ["-".join(map(str, trial.hyperparameters["hidden_sizes"])) for trial in best]
    assert [float(cell) for cell in rows["learning_rate"]] == _rates(best)
    assert "\n".join(f"{round(trial.value, 3):g}" for trial in best) in browser.text()  # MLflow shows three digits
    assert browser.complaints() == []


def test_the_champion_is_in_the_registry(shown, browser):
    """Its version has the alias and the accuracy on the test set."""
    record = shown["record"]
    browser.open(f"{shown['address']}/#/models/sweep-digits/versions/1", "champion", "test_accuracy")
    browser.screenshot("champion")
    text, accuracy = browser.text(), final_accuracy(record).accuracies[0]

    assert re.search(r"Aliases\s*:\s*@\s*champion", text)
    assert f"Trial {record.verdict['champion']} of study digits: test accuracy {100 * accuracy:.2f} %" in text
    assert "Takes arrays of 8 x 8 numbers, 0 to 16 in training." in text
    links = dict(browser.value("[...document.querySelectorAll('a')].map(a => [a.innerText, a.href])"))
    assert links[f"trial {record.verdict['champion']}"] == shown["winner"].removesuffix("/model-metrics")
    assert float(re.search(r"test_accuracy\s+([\d.]+)", text)[1]) == accuracy
    assert browser.complaints() == []


def test_the_champion_is_among_the_models_of_the_experiment(shown, browser):
    """With its trial and its registered version; nothing is in front of the registry's list."""
    place, champion = shown["place"]["experiment_id"], _name(_champion(shown["record"]))
    browser.open(f"{shown['address']}/#/experiments/{place}/models", "Ready", champion, "sweep-digits")
    browser.screenshot("models")
    complaints = browser.complaints()
    browser.open(f"{shown['address']}/#/models", "sweep-digits")
    browser.screenshot("registry")

    assert "Model Aliases" not in browser.text()
    assert not browser.value("document.querySelector('[role=dialog]')?.innerText")
    assert complaints + browser.complaints() == []


def test_the_page_of_the_champion_says_so(shown, browser):
    """With links to the study's run and to the registered model."""
    record, place = shown["record"], shown["place"]
    browser.open(shown["winner"].removesuffix("/model-metrics"), "The champion of study digits", "Registered models")
    browser.screenshot("trial_overview")
    links = dict(browser.value("[...document.querySelectorAll('a')].map(a => [a.innerText, a.href])"))

    assert links["study digits"].endswith(f"/#/experiments/{place['experiment_id']}/runs/{place['run_id']}")
    assert links["registered model"] == f"{shown['address']}/#/models/sweep-digits"
    assert re.search(r"champion\s*:\s*yes", browser.text())
    assert len(record.trials) == TRIALS
    assert browser.complaints() == []


def test_the_best_so_far_of_a_loss_is_on_a_logarithmic_scale(shown, browser):
    place = shown["place"]
    page = f"{shown['address']}/#/experiments/{place['experiment_id']}/runs/{place['run_id']}/model-metrics"
    browser.open(page, "best_so_far")
    browser.until("document.querySelectorAll('.js-plotly-plot .scatterlayer .trace path.js-line').length > 0")
    browser.screenshot("study_curves")

    assert browser.value("document.querySelector('.js-plotly-plot').layout.yaxis.type") == "log"
    steps = browser.value("[...document.querySelector('.js-plotly-plot').data[0].x]")
    assert steps == list(range(1, len(steps) + 1))

"""A recorded study in MLflow, read past MLflow out of its database and its folders."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from recorded import (
    HYPERPARAMETERS,
    SIZES,
    Recorded,
    finished,
    write_weights,
)

from studies.record.reader import read
from sweep.tracking import views
from sweep.tracking.mlflow.client import MlflowTracker, mlflow
from sweep.tracking.reconcile import sync
from sweep.tracking.sync_result import Changes

pytestmark = [
    pytest.mark.slow,  # tests/sweep/tracking/test_tracker.py has the calls one by one
    # MLflow 3.17 still uses a loader that SQLAlchemy 2.1 deprecates, which we cannot change.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:sqlalchemy.exc.SADeprecationWarning"),
]


@pytest.fixture
def home(tmp_path: Path, migrated: Path) -> Path:
    shutil.copy(migrated, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> tuple[Path, Path, Changes]:
    """A finished study that was synced once, for tests that change nothing: its home, its folder, what was sent."""
    home = tmp_path_factory.mktemp("shown")
    shutil.copy(migrated, home / "mlflow.db")
    folder = finished(home / "digits").close()
    (folder / "report.pdf").write_bytes(b"%PDF-1.4 a report")
    return home, folder, sync(folder, tracker_of(home), active=False)


def tracker_of(home: Path) -> MlflowTracker:
    return MlflowTracker(f"sqlite:///{home / 'mlflow.db'}")


def rows(home: Path, query: str) -> list[Any]:
    """What MLflow's database holds, read past MLflow."""
    with sqlite3.connect(home / "mlflow.db") as database:
        return database.execute(query).fetchall()


def counts(home: Path) -> dict[str, int]:
    tables = ("runs", "metrics", "latest_metrics", "params", "tags", "inputs", "model_versions", "experiments")
    return {table: rows(home, f"SELECT COUNT(*) FROM {table}")[0][0] for table in tables}


def run_of(home: Path, key: str) -> dict[str, Any]:
    (run_id,) = rows(home, f"SELECT run_uuid FROM tags WHERE key = 'sweep.key' AND value = '{key}'")[0]
    name, status, uri = rows(home, f"SELECT name, status, artifact_uri FROM runs WHERE run_uuid = '{run_id}'")[0]
    return {
        "id": run_id,
        "name": name,
        "status": status,
        "params": dict(rows(home, f"SELECT key, value FROM params WHERE run_uuid = '{run_id}'")),
        "tags": dict(rows(home, f"SELECT key, value FROM tags WHERE run_uuid = '{run_id}'")),
        "latest": dict(rows(home, f"SELECT key, value FROM latest_metrics WHERE run_uuid = '{run_id}'")),
        "files": sorted(path.name for path in Path(uri.removeprefix("file://")).glob("*")),
    }


def test_the_saved_views_show_learning_curves_and_a_table_of_searched_params(
    shown: tuple[Path, Path, Changes],
) -> None:
    """The experiment keeps two: the four curves of the trials, best first; their table below the run of the study."""
    home, folder, _ = shown
    kept = dict(rows(home, "SELECT key, value FROM experiment_tags WHERE key LIKE 'mlflow.sharedViewState.%'"))
    record = read(folder)
    own = views.view_key(f"{record.uid}/{folder.name}")
    charts, table = (json.loads(kept[f"mlflow.sharedViewState.{key}"]) for key in (own, "trials"))

    assert len(kept) == 2
    assert max(map(len, kept.values())) < 5000  # MLflow's limit for the tag of an experiment
    curves = [chart["metricKey"] for chart in charts["compareRunCharts"] if chart["type"] == "LINE"]
    assert curves == ["validation_loss", "validation_accuracy", "train_loss", "train_accuracy"]
    assert table["columnOrder"][:3] == ["tags.`outcome`", "tags.`champion`", "metrics.`objective`"]
    for role in ("study", "screen", "confirm", "final"):
        assert f"tags.role != '{role}'" in charts["searchFilter"]
    assert (table["orderByKey"], table["orderByAsc"]) == ("metrics.`objective`", not record.maximize)
    assert {f"params.`{key}`" for key in record.study["space"]} < set(table["selectedColumns"])
    assert table["runsPinned"] == [run_of(home, "study")["id"]]


def test_the_table_has_runs_of_the_users_own(shown: tuple[Path, Path, Changes], tmp_path: Path) -> None:
    """Found by MLflow with the view's filter: every run but those of the confirmation, which are no trials."""
    shutil.copytree(shown[0], home := tmp_path / "home")
    (experiment,) = rows(home, "SELECT experiment_id FROM experiments WHERE name = 'digits'")[0]
    finder = tracker_of(home)._client
    own = finder.create_run(str(experiment)).info.run_id
    view = json.loads(finder.get_experiment(str(experiment)).tags["mlflow.sharedViewState.trials"])

    found = finder.search_runs([str(experiment)], view["searchFilter"], max_results=1000)

    keys = {run.data.tags.get("sweep.key", "own") for run in found}
    assert own in {run.info.run_id for run in found}
    assert keys == {"own", "study", *(f"search/{number}" for number in range(12))}


def test_all_runs_have_the_recorded_values(shown: tuple[Path, Path, Changes]) -> None:
    """Every trial is one run below the study, in the state and with the numbers of the record; nothing else is."""
    home, folder, _ = shown

    states = {key: run_of(home, f"search/{key}")["status"] for key in range(12)}
    assert states == {
        **dict.fromkeys((0, 1, 3, 5, 8, 10, 11), "FINISHED"),
        **dict.fromkeys((2, 7), "KILLED"),
        **dict.fromkeys((4, 6, 9), "FAILED"),
    }
    parent = run_of(home, "study")
    parents = rows(home, "SELECT value, COUNT(*) FROM tags WHERE key = 'mlflow.parentRunId' GROUP BY value")
    assert parents == [(parent["id"], 12 + 5)]
    assert (parent["status"], parent["tags"]["state"]) == ("FINISHED", "finished")
    assert {"report.pdf", "study.json", "trials.csv", "verdict.json"} < set(parent["files"])  # and the model
    assert parent["latest"]["champion_confirm_mean"] == 0.9732
    assert parent["latest"]["mean_test_accuracy"] == pytest.approx(0.9722)
    assert 0.94 < parent["latest"]["mean_test_accuracy_low"] < 0.96
    assert parent["latest"]["trials_pruned"] == 2
    asked, answer, *rest = parent["tags"]["mlflow.note.content"].split("\n\n")
    assert asked.startswith("**Question.** ")
    assert answer.startswith("**Answer.** [trial 10](#/experiments/")
    assert any(line.startswith("[All trials side by side](#/experiments/") for line in rest)

    child, record = run_of(home, "search/10"), read(folder)
    assert child["params"] == {
        **{key: f"{value:g}" if isinstance(value, float) else str(value) for key, value in HYPERPARAMETERS.items()},
        "hidden_sizes": "128-64",
        "learning_rate": "0.011",
        "averaging": "0",  # the record does not name it, and has its default
        "trial": "10",
    }
    assert child["latest"]["best_validation_accuracy"] == record.trials[10].validation_accuracy
    assert child["files"] == ["confusion.png", "curves.png", "epochs.csv", "weights.npz"]
    assert child["tags"]["outcome"] == "complete"
    history = rows(
        home,
        f"SELECT step, value, timestamp FROM metrics WHERE run_uuid = '{child['id']}' AND key = 'validation_loss'"
        " ORDER BY step",
    )
    epochs = record.trials[10].epochs
    times = [int(time * 1000) for time in epochs["time"]]
    assert history == list(zip(range(1, 11), epochs["validation_loss"], times, strict=True))

    confirm = run_of(home, "confirm/1")
    assert (confirm["name"], confirm["tags"]["role"]) == ("confirm 10 seed 1", "confirm")
    assert rows(home, "SELECT DISTINCT name, digest FROM datasets") == [("digits", "ab" * 18)]


def test_infinity_is_sent_as_nan(shown: tuple[Path, Path, Changes]) -> None:
    """MLflow stores infinity as 1.8e308, and every chart with such a point is flat."""
    home, _, _ = shown

    diverged = run_of(home, "search/4")["id"]
    query = f"SELECT step FROM metrics WHERE run_uuid = '{diverged}' AND key = 'train_loss' AND is_nan"
    assert rows(home, query) == [(4,)]
    assert rows(home, "SELECT COUNT(*) FROM metrics WHERE abs(value) > 1e300") == [(0,)]


def test_no_password_reaches_mlflow(shown: tuple[Path, Path, Changes]) -> None:
    home, _, _ = shown

    assert b"canary" not in (home / "mlflow.db").read_bytes() + _wal(home)


def _wal(home: Path) -> bytes:
    path = home / "mlflow.db-wal"
    return path.read_bytes() if path.exists() else b""


def test_a_second_sync_changes_nothing(shown: tuple[Path, Path, Changes]) -> None:
    home, folder, first = shown
    before = counts(home)

    second = sync(folder, tracker_of(home), active=False)

    assert first.runs_created == before["runs"] == 1 + 12 + 5
    assert first.metrics == before["metrics"]
    assert first.params == before["params"]
    assert not second
    assert counts(home) == before


def test_the_champion_is_registered_once_and_predicts_as_its_weights_say(home: Path) -> None:
    recorded = Recorded(home / "digits")
    recorded.add("complete", 2)
    recorded.judge(champion=0)
    folder = recorded.close()
    for _ in range(2):
        sync(folder, tracker_of(home), active=False)

    versions = rows(home, "SELECT name, version FROM model_versions")
    aliases = rows(home, "SELECT name, alias, version FROM registered_model_aliases")
    assert versions == [("sweep-digits", 1)]
    assert aliases == [("sweep-digits", "champion", 1)]
    mlflow.set_registry_uri(tracker_of(home).uri)
    model = mlflow.pyfunc.load_model("models:/sweep-digits@champion")
    pixels = np.random.default_rng(0).integers(0, 17, (20, SIZES[0])).astype(np.uint8)
    found = model.predict(pixels.astype(np.float64))
    expected = _forward(folder / "champion.npz", pixels)
    np.testing.assert_allclose(found.iloc[:, 1:].to_numpy(), expected, rtol=1e-5)
    assert found["class"].tolist() == expected.argmax(axis=1).tolist()
    pd.testing.assert_frame_equal(model.predict(pixels), found)  # of any number type

    write_weights(folder / "champion.npz", seed=100)
    sync(folder, tracker_of(home), active=False)

    assert rows(home, "SELECT COUNT(*) FROM model_versions") == [(2,)]
    assert rows(home, "SELECT version FROM registered_model_aliases") == [(2,)]


def _forward(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Layer by layer, example by example, in float64."""
    with np.load(path) as saved:
        theta, scale = saved["theta"].astype(np.float64), float(saved["scale"])
    first, last = SIZES[0] * SIZES[1], SIZES[1] * SIZES[2]
    w1, b1 = theta[:first].reshape(SIZES[0], SIZES[1]), theta[first : first + SIZES[1]]
    w2, b2 = theta[first + SIZES[1] :][:last].reshape(SIZES[1], SIZES[2]), theta[-SIZES[2] :]
    logits = np.maximum(pixels * scale @ w1 + b1, 0) @ w2 + b2
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

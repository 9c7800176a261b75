"""What MLflow is told of a study, where no MLflow is needed to see it."""

import io
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from recorded import STUDY, Recorded, expected_runs

from studies.record.reader import SweepRecord, read
from sweep.tracking.expected_runs import short
from sweep.tracking.study_run import study_run


def test_the_run_of_a_study_has_its_checks_as_a_tag():
    """One tag, readable in MLflow's list; of a study without trials the evidence is thin."""
    record = SweepRecord(
        folder=Path("nowhere"),
        uid="5eed",
        created=datetime(2026, 3, 1, tzinfo=UTC),
        study={"name": "tiny", "direction": "minimize", "objective": "validation_loss", "sampler": "tpe", "trials": 3}
        | {"space": {}, "epoch": "best", "seed": 1, "baseline": {"epochs": 3}},
        dataset={"name": "digits", "digest": "ab", "train": 90, "validation": 10, "test": 20},
        provenance={},
        trials=(),
        confirm=(),
        verdict=None,
    )
    found = study_run(record, active=True, links={}).tags["checks"]

    assert found == "1 check passed, 11 cannot tell yet"
    assert len(found) < 500


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize(("folds", "told"), [(1, False), (5, True)])
def test_the_run_of_a_study_has_its_folds(tmp_path, folds, told):
    """As a parameter, and where there are several, in its description."""
    record = read(Recorded(tmp_path / "folded", STUDY | {"folds": folds}).close())
    run = study_run(record, active=True, links={})

    assert run.params["folds"] == str(folds)
    assert ("Validation numbers of trials are means of 5 folds." in run.tags["mlflow.note.content"]) == told


@pytest.mark.usefixtures("without_pictures")
def test_trials_whose_settings_the_study_file_gives_are_named(tmp_path):
    """The baseline, then the tables [[start]] in their order; those that a sampler drew have a number only."""
    recorded = Recorded(tmp_path / "given", STUDY | {"start": [{"learning_rate": 0.005}, {"learning_rate": 0.002}]})
    for _ in range(4):
        recorded.add("complete", 2)
    record = read(recorded.close())
    runs = [run for run in expected_runs(record) if run.key.startswith("search/")]

    assert [record.given(trial.number) for trial in record.trials] == ["baseline", "start 1", "start 2", None]
    assert [run.name for run in runs] == ["trial 0 (baseline)", "trial 1 (start 1)", "trial 2 (start 2)", "trial 3"]
    assert [run.tags["role"] for run in runs] == ["baseline", "start", "start", "search"]


@pytest.mark.usefixtures("without_pictures")
def test_epochs_are_counted_from_1(tmp_path):
    """In the curves, in the selected epoch and in both tables, as in the report."""
    recorded = Recorded(tmp_path / "counted")
    recorded.add("complete", 5)
    record = read(recorded.close())
    study, trial = expected_runs(record)
    scalars = {point.key: point.value for point in trial.scalars}

    assert [point.step for point in trial.curves if point.key == "validation_loss"] == [1, 2, 3, 4, 5]
    assert scalars["selected_epoch"] == record.trials[0].selected_epoch + 1
    assert list(pd.read_csv(io.BytesIO(trial.files["epochs.csv"]))["epoch"]) == [1, 2, 3, 4, 5]
    assert list(pd.read_csv(io.BytesIO(study.files["trials.csv"]))["selected_epoch"]) == [scalars["selected_epoch"]]
    assert [point.step for point in study.curves] == [1]


@pytest.mark.usefixtures("without_pictures")
def test_a_curve_has_another_name_than_a_setting(tmp_path):
    """The table of epochs keeps the record's; validation numbers come first, as MLflow lists them."""
    recorded = Recorded(tmp_path / "named")
    recorded.add("complete", 2)
    _, trial = expected_runs(read(recorded.close()))
    curves = list(dict.fromkeys(point.key for point in trial.curves))

    assert not {point.key for point in (*trial.curves, *trial.scalars)} & trial.params.keys() - {"trial"}
    assert curves == [
        *("validation_loss", "validation_accuracy", "train_loss", "train_accuracy"),
        *("epoch_learning_rate", "seconds"),
    ]
    assert "learning_rate" in pd.read_csv(io.BytesIO(trial.files["epochs.csv"])).columns


@pytest.mark.usefixtures("without_pictures")
def test_the_best_so_far_follows_the_record_not_the_clock(tmp_path):
    """A clock that went back between two starts of a sweep changes nothing."""
    recorded = Recorded(tmp_path / "ordered")
    for _ in range(4):
        recorded.add("complete", 3)
    folder = recorded.close()
    before = next(iter(expected_runs(read(folder)))).curves
    with closing(sqlite3.connect(folder / "study.db")) as database, database:
        database.execute("UPDATE trials SET datetime_complete = '2020-01-01 00:00:00' WHERE number = 3")

    after = next(iter(expected_runs(read(folder)))).curves

    assert [(point.step, point.value) for point in after] == [(point.step, point.value) for point in before]
    assert [point.step for point in after] == [1, 2, 3, 4]
    assert after[3].time < after[2].time


def test_trials_are_in_the_order_in_which_they_ended(tmp_path):
    """One that began first and was told last is last; one that has not ended is not among them."""
    recorded = Recorded(tmp_path / "ended")
    recorded.add("complete", 2)
    recorded.add("running", 2)
    recorded.add("complete", 2)
    folder = recorded.close()
    running = read(folder)
    with closing(sqlite3.connect(folder / "study.db")) as database, database:
        moved = (
            "UPDATE trial_user_attributes SET trial_user_attribute_id = 10000 WHERE key = 'outcome' AND trial_id = ?"
        )
        database.execute(moved, database.execute("SELECT trial_id FROM trials WHERE number = 0").fetchone())

    assert [trial.number for trial in running.in_order()] == [0, 2]
    assert [trial.number for trial in read(folder).in_order()] == [2, 0]
    assert [trial.sequence is None for trial in running.trials] == [False, True, False]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.001, "0.001"),
        (0.0012345678, "0.001235"),
        (1.23456789e-05, "1.235e-05"),
        (0.0, "0"),
        (1.0, "1"),
        (0.9, "0.9"),
        (0.9998765432, "0.9998765"),
        (0.9557123, "0.95571"),
        (0.999, "0.999"),
        (1e-8, "1e-08"),
        (123456.0, "1.235e+05"),
    ],
)
def test_a_number_is_short_enough_to_be_read_in_a_table(value, text):
    """Four digits, of a number just below 1 also of what it lacks: betas are searched by that."""
    assert short(value) == text
    assert float(text) == pytest.approx(value, rel=1e-3)
    assert 1 - float(text) == pytest.approx(1 - value, rel=1e-3, abs=1e-3 if value < 0.5 or value > 1 else 0)

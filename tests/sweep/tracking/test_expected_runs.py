"""What MLflow is told of a study, where no MLflow is needed to see it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from recorded import STUDY, Recorded, expected_runs

from studies.record.reader import SweepRecord, read
from sweep.tracking.study_run import study_run


def test_the_run_of_a_study_has_its_checks_as_a_tag():
    """One tag, readable in MLflow's list; of a study without trials the evidence is thin."""
    record = SweepRecord(
        folder=Path("nowhere"),
        uid="5eed",
        created=datetime(2026, 3, 1, tzinfo=UTC),
        study={"name": "tiny", "direction": "minimize", "objective": "validation_loss", "sampler": "tpe", "trials": 3}
        | {"space": {}, "epoch": "best", "seed": 1},
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

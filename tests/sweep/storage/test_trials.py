"""Trials are read and started as Optuna does."""

import math
import sqlite3

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from studies.record.errors import RecordError
from studies.record.trials import read_trials


def test_trials_equal_those_read_by_optuna(tmp_path):
    """Every state and kind of parameter, also infinity and NaN."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'any.db'}")
    study = optuna.create_study(storage=storage, study_name="one", sampler=optuna.samplers.RandomSampler(seed=1))
    optuna.create_study(storage=storage, study_name="other").ask()
    drawn = study.ask()
    drawn.suggest_float("rate", 1e-4, 1e-2, log=True)
    drawn.suggest_int("units", 8, 64, step=8)
    drawn.suggest_categorical("schedule", ("cosine", "constant", None))
    drawn.set_user_attr("result", {"a": [1, 2.5, None], "b": "ü"})
    storage.set_trial_system_attr(study.ask()._trial_id, "key", [1])
    study.tell(0, 0.25)
    study.add_trial(create_trial(state=TrialState.PRUNED, intermediate_values={0: math.inf, 3: -math.inf}))
    study.add_trial(create_trial(state=TrialState.COMPLETE, value=math.inf, intermediate_values={1: 2.0}))
    study.add_trials([create_trial(state=TrialState.FAIL, user_attrs={"n": i}) for i in range(20)])

    expected = storage.get_all_trials(study._study_id)
    assert list(read_trials(storage.engine, study._study_id)) == expected
    assert list(next(read_trials(storage.engine, study._study_id)).params) == list(expected[0].params)
    assert list(read_trials(storage.engine, study._study_id, {0, 2, *range(4, 99)})) == [expected[1], expected[3]]


def test_more_trials_than_fit_in_one_query(tmp_path, monkeypatch):
    """All are returned once, in order."""
    monkeypatch.setattr("studies.record.trials.TRIALS_PER_QUERY", 7)
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'any.db'}")
    study = optuna.create_study(storage=storage)
    study.add_trials([create_trial(state=TrialState.FAIL, user_attrs={"n": i}) for i in range(24)])

    assert [trial.user_attrs["n"] for trial in read_trials(storage.engine, study._study_id)] == list(range(24))


def test_a_started_trial_equals_one_of_optuna(tiny, opened):
    """Numbers are consecutive within each of two studies; the returned trial equals Optuna's."""
    study = tiny()
    database = opened(study)
    memory = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for log in (database.search, database.confirm, database.search):
        drawn = memory.ask()
        settings = study.draw(drawn)
        begun = log.begin(
            create_trial(
                state=TrialState.RUNNING,
                params=drawn.params,
                distributions=drawn.distributions,
                user_attrs={"hyperparameters": settings.as_dict()},
            )
        )
        assert begun == database._storage.get_trial(begun._trial_id)
        assert (begun.params, begun.distributions) == (drawn.params, drawn.distributions)
        assert begun.state == TrialState.RUNNING

    assert [trial.number for trial in database.search.trials()] == [0, 1]
    assert [trial.number for trial in database.confirm.trials()] == [0]
    assert database.search.finished() == []
    database.search.finish(begun._trial_id, TrialState.FAIL, None, {"outcome": "failed"})
    assert database.search.finished() == [1]


def test_a_missing_trial_is_detected(tiny, opened):
    """The numbers of trials must be contiguous."""
    database = opened(tiny())
    for _ in range(3):
        database.search.begin(create_trial(state=TrialState.RUNNING, user_attrs={"hyperparameters": {}}))
    with sqlite3.connect(database.folder / "study.db") as connection:
        connection.execute("DELETE FROM trials WHERE number = 1")
    connection.close()

    with pytest.raises(RecordError, match="a trial is missing"):
        list(database.search.trials())

"""Any metric can be the objective, and its direction determines the winner."""

from dataclasses import replace

import numpy as np
import pytest

from model.metrics import METRICS
from studies.record import reader
from sweep.search.confirmation import finalists
from sweep.search.search import Search


@pytest.fixture
def record_of(tiny, opened, searched):
    """Runs a tiny study with random settings and returns its record."""

    def run(objective, home="runs"):
        study = tiny(f"objective={objective}", "epoch=last", "sampler=random", "trials=3", "baseline.epochs=2")
        database = opened(study, home)
        searched(study, database, workers=1)
        database.close()
        return study, reader.read(database.folder)

    return run


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "balanced_accuracy" else pytest.mark.slow) for name in METRICS]
)
def test_every_metric_can_be_the_objective(record_of, name):
    study, record = record_of(name)

    assert study.objective == record.objective == f"validation_{name}"
    assert study.direction == record.study["direction"] == METRICS[name].direction
    for trial in record.trials:
        assert trial.value == trial.epochs[-1][f"validation_{name}"]
        assert all(np.isfinite(trial.epochs[metric.objective]).all() for metric in METRICS.values())
    values = [trial.value for trial in record.trials]
    assert record.ranked()[0].value == (max if METRICS[name].maximize else min)(values)


def test_a_reversed_direction_changes_the_winner(record_of, monkeypatch, tmp_path):
    """In the record, the search and the choice of the champion, the worst of three trials becomes the best."""
    _, record = record_of("accuracy")
    by_accuracy = record.ranked()
    monkeypatch.setitem(METRICS, "accuracy", replace(METRICS["accuracy"], direction="minimize"))

    study, turned = record_of("accuracy", home="turned")

    assert len({trial.value for trial in by_accuracy}) == 3
    assert [trial.number for trial in turned.ranked()] == [trial.number for trial in reversed(by_accuracy)]
    screened = tuple(replace(trial, role="screen", candidate=trial.number) for trial in turned.trials)
    assert finalists(study, replace(turned, confirm=screened))[0].number == by_accuracy[-1].number


@pytest.mark.slow
def test_the_search_counts_the_best_by_the_metric(tiny, opened, searched, tmp_path, digits_folder):
    study = tiny("objective=macro_f1", "sampler=random", "trials=3", "baseline.epochs=1")
    database = opened(study)
    searched(study, database, workers=1)
    best = Search(study, database.search, tmp_path, digits_folder).best
    database.close()

    assert best[0] == max(trial.value for trial in reader.read(database.folder).trials)

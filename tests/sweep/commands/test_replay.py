"""Replaying a trial: equal, or a message with the first difference."""

from dataclasses import replace

import numpy as np
import pytest

from model.data import datasets
from studies.record import reader as records
from sweep.commands.replay import NothingToReplay, replay_trial
from sweep.errors import RecordMismatch


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A folder for prepared datasets."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def record(made, tiny, opened, searched):
    """Eight trials, some of them pruned; all tests read it."""

    def search():
        study = tiny("trials=8", "pruner=median", "sampler=random", "baseline.epochs=6", "baseline.dropout=0.1")
        database = opened(study)
        searched(study, database, workers=1)
        return records.read(database.folder)

    return made("record", search)


def changed(record, number, **fields):
    """The record with one trial's fields changed."""
    trials = list(record.trials)
    trials[number] = replace(trials[number], **fields)
    return replace(record, trials=tuple(trials))


def test_the_dataset_is_found_by_its_digest(record, cache):
    """The source file may have moved; the prepared copy is used."""
    datasets.prepare("digits", cache)
    moved = replace(record, study={**record.study, "dataset": "gone.npz"})

    assert "equal to the record" in replay_trial(moved, 0, cache)
    other = replace(moved, dataset={**record.dataset, "digest": "0" * 64})
    with pytest.raises(datasets.DatasetInvalid, match=r"gone\.npz: there is no such file"):
        replay_trial(other, 0, cache)


@pytest.mark.slow
def test_a_metric_that_an_older_version_did_not_record_is_not_compared(record, cache):
    epochs = record.trials[0].epochs.copy()
    epochs["validation_macro_f1"] = np.nan
    assert "equal to the record" in replay_trial(changed(record, 0, epochs=epochs), 0, cache)

    epochs["validation_macro_f1"][2:] = record.trials[0].epochs["validation_macro_f1"][2:]  # continued by a newer one
    assert "equal to the record" in replay_trial(changed(record, 0, epochs=epochs), 0, cache)

    epochs["validation_macro_f1"][0] = 0.5
    with pytest.raises(RecordMismatch, match=r"epoch 1: validation_macro_f1 is recorded as 0\.5"):
        replay_trial(changed(record, 0, epochs=epochs), 0, cache)


def test_complete_and_pruned_trials_are_reproduced(record, cache):
    """Every epoch, and the weights of one that ran to its end."""
    complete = next(trial.number for trial in record.trials if trial.outcome == "complete")
    pruned = next(trial for trial in record.trials if trial.outcome == "pruned")

    assert replay_trial(record, complete, cache) == (
        f"trial {complete} of tiny: 6 epochs and the weights are equal to the record"
    )
    assert replay_trial(record, pruned.number, cache) == (
        f"trial {pruned.number} of tiny: {len(pruned.epochs)} epochs are equal to the record"
    )


@pytest.mark.slow
def test_the_first_difference_is_reported(record, cache):
    """The first number that differs, or the hash of the weights."""
    epochs = record.trials[0].epochs.copy()
    epochs["train_loss"][2] += 1e-9
    with pytest.raises(RecordMismatch, match="trial 0 differs from the record at epoch 3: train_loss"):
        replay_trial(changed(record, 0, epochs=epochs), 0, cache)
    with pytest.raises(RecordMismatch, match="at its end: recorded is 0000"):
        replay_trial(changed(record, 0, weights_sha256="0000"), 0, cache)
    with pytest.raises(RecordMismatch, match="it ran on after epoch 4"):
        replay_trial(changed(record, 0, epochs=record.trials[0].epochs[:4]), 0, cache)


def test_a_diverged_trial_is_reproduced(tiny, opened, searched, cache):
    """It diverges at the recorded epoch and step."""
    study = tiny(
        "trials=1",
        "space={learning_rate={low=4.0, high=9.0}}",
        "baseline.learning_rate=5.0",
        "baseline.beta1=0.0",
        "baseline.beta2=0.0",
        "baseline.epochs=60",
        "baseline.hidden_sizes=[500,500,500,500,500,500,500,500]",
    )
    database = opened(study)
    searched(study, database, workers=1)
    record = records.read(database.folder)

    assert record.trials[0].outcome == "diverged"
    if len(record.trials[0].epochs):
        assert "are equal to the record" in replay_trial(record, 0, cache)
        with pytest.raises(RecordMismatch, match="recorded is diverged at epoch 99"):
            replay_trial(changed(record, 0, reason="diverged at epoch 99"), 0, cache)
    else:
        with pytest.raises(NothingToReplay, match="no recorded epoch"):
            replay_trial(record, 0, cache)


@pytest.mark.slow
def test_trials_that_cannot_be_replayed_are_reported(record, cache):
    """A trial that does not exist, one without epochs, other data."""
    with pytest.raises(NothingToReplay, match="tiny has no trial 8; the last is 7"):
        replay_trial(record, 8, cache)
    with pytest.raises(NothingToReplay, match="trial 1 of tiny has no recorded epoch"):
        replay_trial(changed(record, 1, epochs=record.trials[1].epochs[:0]), 1, cache)
    with pytest.raises(Exception, match="recorded with other data"):
        replay_trial(replace(record, dataset={**record.dataset, "digest": "f" * 64}), 0, cache)

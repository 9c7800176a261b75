"""A search whose trials have folds: with halving, stopped, killed, replayed, and shipped without a confirmation."""

import os
import signal

import numpy as np
import pytest
from optuna.trial import FixedTrial

from model import weights
from model.data import datasets
from model.epoch_selection import EpochSelection
from model.folds import Folds
from model.hyperparameters import Hyperparameters
from studies.record import reader as records
from studies.record.folder import StudyFolder
from sweep.commands.replay import replay_trial
from sweep.coordination.coordinator import Stop
from sweep.objective import Objective
from sweep.search.budget import STACKED_SHARE
from sweep.search.champion import name_unconfirmed
from sweep.search.search import Search
from sweep.workers.local import LocalPool

HALVING = ("folds=3", "pruner=halving", "generation=2", "trials=6", "baseline.epochs=9", "sampler=random")
SHORT = ("folds=3", "trials=2", "sampler=random")


class StopAfter(Stop):
    """Stops a search after it was asked so often."""

    def __init__(self, looks):
        super().__init__()
        self.looks = looks

    def asked(self):
        self.looks -= 1
        return self.looks < 0


class Deadly(LocalPool):
    """Kills the worker of a training once it has sent some messages."""

    def __init__(self, folder, after):
        super().__init__(1, folder)
        self.after = after

    def events(self, timeout):
        found = super().events(timeout)
        self.after -= len(found)
        if self.after < 0 and (slot := self._slots[0]) is not None and slot.job:
            os.kill(slot.process.pid, signal.SIGKILL)
            self.after = 10**9
        return found


def numbers(record):
    """What may not depend on when a search was stopped."""
    return [
        (t.outcome, t.value, t.weights_sha256, t.confusion, [tuple(row)[:-2] for row in t.epochs.tolist()])
        for t in record.trials
    ]


def record_of(study, database, searched, **options):
    searched(study, database, workers=1, **options)
    return records.read(database.folder)


@pytest.fixture
def halved(made, tiny, opened, searched):
    """A search with halving, to its end."""
    study = tiny(*HALVING)
    return made("halved", lambda: record_of(study, opened(study, "whole"), searched))


def test_trials_are_paused_and_promoted_by_their_means(halved, tmp_path):
    """Complete trials are evaluated on all rows but the test rows, and their numbers are reproduced."""
    complete = [trial for trial in halved.trials if trial.outcome == "complete"]
    paused = next(trial for trial in halved.trials if trial.outcome == "pruned")

    assert halved.study["folds"] == halved.folds == 3
    assert {len(trial.epochs) for trial in complete} == {9}
    assert len(paused.epochs) < 9
    for trial in complete:
        assert trial.value == trial.epochs["validation_loss"].min()
        assert np.sum(trial.confusion) == halved.validated == 1438
    for trial in (complete[-1], paused):
        assert "equal to the record" in replay_trial(halved, trial.number, tmp_path / "cache")


@pytest.mark.slow
def test_a_stopped_search_continues_to_the_same_bits(tiny, opened, searched, halved):
    study = tiny(*HALVING)
    for looks in (4, 9, 15):
        record_of(study, opened(study), searched, stop=StopAfter(looks))

    assert numbers(record_of(study, opened(study), searched)) == numbers(halved)


@pytest.mark.slow
def test_a_killed_worker_does_not_change_the_result(tiny, opened, searched, tmp_path, monkeypatch):
    """It has written checkpoints, from which its trial continues."""
    monkeypatch.setenv("SWEEP_CHECKPOINT_EVERY", "0")
    study = tiny(*SHORT, "baseline.epochs=8")
    whole = record_of(study, opened(study, "whole"), searched)
    killed = record_of(study, opened(study, "killed"), searched, pool=Deadly(tmp_path, after=4))

    assert sum(trial.attempt for trial in killed.trials) == 3
    assert numbers(killed) == numbers(whole)


def test_the_numbers_are_those_of_the_folds_and_of_the_notebook_objective(
    tiny, opened, searched, digits_folder, tmp_path
):
    study = tiny(*SHORT)
    record = record_of(study, opened(study), searched)
    settings = Hyperparameters(**record.trials[1].hyperparameters)
    folds = Folds.of(
        settings, datasets.load_folds(digits_folder, 3, 3), [3, 1], EpochSelection(study.objective, study.epoch)
    )
    values = [epoch.validation["loss"] for epoch in folds.train()]

    assert record.trials[1].epochs["validation_loss"].tolist() == values
    assert record.trials[1].weights_sha256 == weights.sha256(folds.classifier().network.theta)
    objective = Objective(study, tmp_path / "cache")
    assert objective(FixedTrial(study.encode(settings), number=1)) == record.trials[1].value


def test_a_trial_that_ships_unconfirmed_has_the_network_of_the_first_fold(tiny, opened, searched, digits_folder):
    """Also if its file is gone: it is trained again."""
    study = tiny(*SHORT)
    database = opened(study)
    record = record_of(study, database, searched)
    best = record.contenders()[0]
    folder = StudyFolder(database.folder)
    folder.trial("search", best.number).weights.unlink()
    name_unconfirmed(study, database, record, digits_folder)

    shipped = weights.load(folder.champion)
    assert weights.sha256(shipped.network.theta) == best.weights_sha256
    assert shipped.preprocessing == datasets.load(digits_folder, 3, 3, 0).preprocessing


def test_a_confirmation_is_expected_to_take_a_share_of_a_trial(tiny, opened, searched, digits_folder):
    """It has no folds."""
    study = tiny(*SHORT)
    database = opened(study)
    record = record_of(study, database, searched)
    search = Search(study, database.search, database.folder, digits_folder)

    assert search.trainings()[-1] == pytest.approx(STACKED_SHARE * record.trials[0].seconds)

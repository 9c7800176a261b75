"""Sweeps with the pruner `halving`: what is recorded of pauses and promotions, and what interruptions change."""

import os
import signal

import pytest

from studies.record import reader as records
from studies.record.schema import LEG
from sweep.coordination.coordinator import Stop
from sweep.search.legs import is_control
from sweep.workers.local import LocalPool
from sweep.workers.messages import MessageKind

HALVING = ("pruner=halving", "sampler=random", "trials=14", "baseline.epochs=9")
"""Three rungs, after one, three and nine epochs."""
CONTROLLED = (*HALVING, "control=0.2", "seed=9")
"""Trials 1 and 6 are unpruned controls."""


def numbers(record):
    """What must repeat exactly: settings, outcome, every epoch's numbers, the weights' hash."""
    columns = list(records.EPOCH_COLUMNS[:5])
    return [
        (dict(t.hyperparameters), t.outcome, t.epochs[columns].tolist(), t.value, t.weights_sha256, t.control)
        for t in record.trials
    ]


def legs(database):
    """The recorded leg of each trial."""
    return [trial.user_attrs[LEG] for trial in database.search.trials()]


class StopWhen(Stop):
    """Stops a search once `when(record)` is true."""

    def __init__(self, folder, when):
        super().__init__()
        self.reader, self.when = records.Reader(folder), when

    def asked(self):
        if self.reason is None and self.when(self.reader.read(active=True)):
            self.reason = signal.SIGINT
        return super().asked()


@pytest.fixture
def undisturbed(made, tiny, opened, searched):
    """The numbers of one undisturbed worker, by the changes to the study."""

    def search(changes):
        database = opened(tiny(*changes), "calm")
        searched(tiny(*changes), database, workers=1)
        return numbers(records.read(database.folder))

    return lambda *changes: made(changes, lambda: search(changes))


def test_a_paused_trial_ends_as_pruned_at_its_rung_with_its_place_as_the_reason(tiny, opened, searched):
    study = tiny(*CONTROLLED)
    database = opened(study)
    searched(study, database)
    record = records.read(database.folder)
    pruned = [trial for trial in record.trials if trial.outcome == "pruned"]

    assert record.counts() == {"complete": 14 - len(pruned), "pruned": len(pruned)}
    assert len(pruned) >= 4
    for trial in pruned:
        leg, epochs = legs(database)[trial.number], len(trial.epochs)
        assert epochs in (1, 3)
        assert (leg["rung"], leg["paused"]) == ({1: 0, 3: 1}[epochs], True)
        assert trial.reason.startswith(f"paused after epoch {epochs} of 9: place ")
        assert trial.weights_sha256 is None
        assert trial.value == trial.epochs["validation_loss"].min()
    for trial in record.trials:
        assert trial.attempt == 1  # a promotion is not another attempt
        if trial.outcome == "complete":
            assert len(trial.epochs) == 9
            assert legs(database)[trial.number] == {"rung": 2, "round": None, "paused": False}
    assert not list(database.folder.glob("trials/*/checkpoint*"))


def test_the_finalists_the_baseline_and_the_controls_run_to_the_end(tiny, opened, searched):
    study = tiny(*CONTROLLED)
    database = opened(study)
    searched(study, database)
    record = records.read(database.folder)
    complete = {trial.number for trial in record.trials if trial.outcome == "complete"}
    controls = {trial.number for trial in record.trials if trial.control is not None}

    assert controls == {number for number in range(14) if is_control(study, number)} == {1, 6}
    assert {0} | controls <= complete
    for epoch in (1, 3):  # the best two at each rung were not stopped there
        reached = [trial for trial in record.trials if len(trial.epochs) >= epoch]
        reached.sort(key=lambda trial: trial.epochs["validation_loss"][:epoch].min())
        assert all(len(trial.epochs) > epoch for trial in reached[:2])


@pytest.mark.slow
def test_pausing_changes_no_number_of_a_training(tiny, opened, searched):
    """Each trial equals the same one without a pruner, as far as it ran."""
    paused, whole = tiny(*HALVING), tiny(*HALVING, "pruner=none")
    one, other = opened(paused), opened(whole, "whole")
    searched(paused, one)
    searched(whole, other)
    columns = list(records.EPOCH_COLUMNS[:5])

    for trial, same in zip(records.read(one.folder).trials, records.read(other.folder).trials, strict=True):
        assert trial.hyperparameters == same.hyperparameters
        assert trial.epochs[columns].tolist() == same.epochs[columns].tolist()[: len(trial.epochs)]
        assert trial.weights_sha256 in (None, same.weights_sha256)


@pytest.mark.parametrize("looks", [pytest.param("paused", marks=pytest.mark.slow), "promoted"])
def test_a_stopped_search_continues_its_paused_trials(tiny, opened, searched, undisturbed, looks):
    """They wait with their checkpoints, and with one worker all numbers are those of an undisturbed search."""

    def when(record):
        promoted = any(trial.outcome == "running" and len(trial.epochs) for trial in record.trials)
        return record.counts().get("paused", 0) >= (1 if promoted else 2) and promoted == (looks == "promoted")

    study = tiny(*CONTROLLED)
    database = opened(study)
    searched(study, database, workers=1, stop=StopWhen(database.folder, when))
    stopped = records.read(database.folder)
    waiting = [trial for trial in stopped.trials if trial.outcome == "paused"]
    database.close()

    assert len(waiting) >= 1
    assert all((database.folder / f"trials/{trial.number:04d}/checkpoint.npz").exists() for trial in waiting)
    assert all((trial.state, trial.reason, trial.finished) == ("running", None, None) for trial in waiting)

    database = opened(study)
    searched(study, database, workers=1)
    assert numbers(records.read(database.folder)) == undisturbed(*CONTROLLED)
    assert not list(database.folder.glob("trials/*/checkpoint*"))


class DeadlyAfterPromotion(LocalPool):
    """Kills the worker of each promoted trial with SIGKILL, once a trial."""

    def __init__(self, count, folder):
        super().__init__(count, folder)
        self.seen, self.victims = set(), []

    def start(self, job):
        worker = super().start(job)
        if job.id in self.seen and job.id not in self.victims:
            self.victims.append(job.id)
            os.kill(self._slots[worker].process.pid, signal.SIGKILL)
        self.seen.add(job.id)
        return worker


@pytest.mark.slow
def test_a_worker_killed_in_a_promoted_leg_does_not_change_the_result(tiny, opened, searched, undisturbed):
    """The leg begins again from the checkpoint of the pause."""
    study = tiny(*CONTROLLED)
    database = opened(study)
    pool = DeadlyAfterPromotion(1, database.folder)
    output = searched(study, database, pool=pool)

    assert len(pool.victims) >= 2
    assert output.count("continuing from its last checkpoint") == len(pool.victims)
    assert numbers(records.read(database.folder)) == undisturbed(*CONTROLLED)


class AbsentWorkers(LocalPool):
    """Has no room for a moment after each pause, like a cluster whose only worker is replaced."""

    absent = 0

    @property
    def free(self):
        self.absent -= 1
        return 0 if self.absent >= 0 else super().free

    def events(self, timeout):
        found = super().events(min(timeout, 0.05))
        if any(event.message.kind is MessageKind.PAUSED for event in found):
            self.absent = 3
        return found


@pytest.mark.slow
def test_paused_trials_wait_for_a_worker(tiny, opened, searched, undisturbed):
    """They are not given up because no worker is there when the last new trial pauses."""
    changes = (*CONTROLLED, "trials=5")
    study = tiny(*changes)
    database = opened(study)
    searched(study, database, pool=AbsentWorkers(1, database.folder))

    assert numbers(records.read(database.folder)) == undisturbed(*changes)


@pytest.mark.slow
def test_a_lost_checkpoint_of_a_paused_trial_changes_nothing(tiny, opened, searched, undisturbed):
    """Its training starts again; the epochs that were recorded are compared."""
    study = tiny(*CONTROLLED)
    database = opened(study)
    stop = StopWhen(database.folder, lambda record: record.counts().get("paused", 0) >= 2)
    searched(study, database, workers=1, stop=stop)
    database.close()
    for path in database.folder.glob("trials/*/checkpoint.npz"):
        path.unlink()
    database = opened(study)
    searched(study, database, workers=1)

    assert numbers(records.read(database.folder)) == undisturbed(*CONTROLLED)


@pytest.mark.slow
def test_the_time_limit_of_a_trial_counts_all_its_legs(tiny, opened, searched):
    """The time in which it was paused does not count. The limit is a third of what a trial takes on this machine."""
    changes = ("pruner=halving", "baseline.epochs=1800")
    database = opened(tiny(*changes, "trials=1"), "calm")
    searched(tiny(*changes, "trials=1"), database, workers=1)
    limit = round(records.read(database.folder).trials[0].seconds / 3, 2)
    study = tiny(*changes, "trials=2", f"trial_seconds={limit}")
    database = opened(study)
    searched(study, database, workers=1)
    record = records.read(database.folder)

    assert record.counts() == {"timeout": 2}
    for trial, leg in zip(record.trials, legs(database), strict=True):
        assert leg["rung"] >= 1
        assert not leg["paused"]
        assert trial.reason == f"not finished within the limit of {limit:g} s"
        assert limit / 4 < trial.seconds < limit + 1


@pytest.mark.slow
def test_a_study_extended_by_more_trials_compares_them_with_the_recorded_ones(tiny, opened, searched):
    """What ended is not continued; new trials need a place among all of them."""
    study = tiny(*HALVING)
    database = opened(study)
    searched(study, database)
    before = numbers(records.read(database.folder))
    database.close()
    larger = tiny(*HALVING, "trials=24")
    database = opened(larger)
    searched(larger, database)
    record = records.read(database.folder)

    assert numbers(record)[:14] == before
    assert len(record.trials) == 24
    assert {"complete", "pruned"} >= {trial.outcome for trial in record.trials[14:]}
    assert any(" of 2" in (trial.reason or "") for trial in record.trials[14:])

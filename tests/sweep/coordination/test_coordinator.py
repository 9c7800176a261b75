"""The coordinator's loop: complete records, resumed trials and failures."""

import os
import re
import signal
import time
from dataclasses import replace
from datetime import UTC

import numpy as np
import optuna
import pytest
from optuna.samplers import QMCSampler

from model.hyperparameters import Hyperparameters
from studies.record import reader as records
from studies.record.folder import StudyFolder
from studies.record.outcome import Outcome
from sweep.coordination import coordinator
from sweep.coordination.coordinator import Stop, TooManyFailures
from sweep.coordination.leftovers import remove_leftovers
from sweep.errors import RecordMismatch
from sweep.objective import Objective
from sweep.search.legs import is_control
from sweep.search.samplers import make_sampler
from sweep.search.search import Search
from sweep.search.standings import Standings
from sweep.search.tpe import TrialCache
from sweep.workers.local import LocalPool
from sweep.workers.messages import Message, MessageKind


def numbers(trial):
    """What must repeat exactly: settings, outcome, every epoch's numbers, the weights' hash."""
    epochs = trial.epochs[list(records.EPOCH_COLUMNS[:5])].tolist()
    return dict(trial.hyperparameters), trial.outcome, epochs, trial.value, trial.weights_sha256


class StopAfter(Stop):
    """Asks for a stop at the n-th look."""

    def __init__(self, looks):
        super().__init__()
        self.looks = looks

    def asked(self):
        self.looks -= 1
        if self.looks < 0:
            self.reason = signal.SIGINT
        return super().asked()


class DeadlyWorkers(LocalPool):
    """Kills a worker with SIGKILL after so many of its lines, `times` times."""

    def __init__(self, count, folder, after, times):
        super().__init__(count, folder)
        self.after, self.times, self.seen = after, times, 0
        self.killed = set()  # what a dead one had still said is read after its death

    def events(self, timeout):
        found = super().events(timeout)
        self.seen += len(found)
        if self.times and self.seen >= self.after:
            alive = (slot for slot in self._slots if slot and slot.job and slot.process.pid not in self.killed)
            if victim := next(alive, None):
                os.kill(victim.process.pid, signal.SIGKILL)
                self.killed.add(victim.process.pid)
                self.times, self.seen = self.times - 1, 0
        return found


def test_a_search_is_recorded_in_full(tiny, opened, searched):
    """Six trials, contiguous, the baseline first, every epoch, every hash."""
    study = tiny()
    database = opened(study)
    searched(study, database)
    record = records.read(database.folder)

    assert [trial.number for trial in record.trials] == list(range(6))
    assert record.counts() == {"complete": 6}
    assert record.trials[0].hyperparameters == {**study.baseline.as_dict(), "hidden_sizes": (16,)}
    for trial in record.trials:
        assert len(trial.epochs) == 4
        assert trial.value == trial.epochs["validation_loss"].min() == trial.validation_loss
        assert trial.selected_epoch == trial.epochs["validation_loss"].argmin()
        assert len(trial.weights_sha256) == 64
        assert sum(map(sum, trial.confusion)) == record.dataset["validation"] == 144
        assert trial.started.tzinfo == UTC
        assert trial.started <= trial.finished
    assert not list(database.folder.glob("trials/*/checkpoint*"))


def test_optuna_reads_the_recorded_values(tiny, opened, searched):
    """Optuna's tools read params, values and intermediate values (the running best of each epoch)."""
    study = tiny()
    database = opened(study)
    searched(study, database)
    database.close()
    loaded = optuna.load_study(study_name="search", storage=f"sqlite:///{database.folder / 'study.db'}")
    record = records.read(database.folder)

    assert loaded.best_trial.number == record.ranked()[0].number
    for trial, ours in zip(loaded.trials, record.trials, strict=True):
        best = np.minimum.accumulate(ours.epochs["validation_loss"]).tolist()
        assert list(trial.intermediate_values.values()) == best
        decoded = study.draw(optuna.trial.FixedTrial(trial.params))
        assert decoded == Hyperparameters(**ours.hyperparameters)


TWENTY_EPOCHS = ("baseline.epochs=20",)


@pytest.fixture
def undisturbed(made, tiny, opened, searched):
    """The trials of a search that is not stopped; it is compared with several stopped ones."""

    def search():
        study = tiny(*TWENTY_EPOCHS)
        database = opened(study, "undisturbed")
        searched(study, database)
        return list(map(numbers, records.read(database.folder).trials))

    return made("undisturbed", search)


@pytest.mark.slow
@pytest.mark.parametrize("looks", [1, 3, 8])
def test_a_stopped_search_continues_to_the_requested_number(tiny, opened, searched, undisturbed, looks):
    """After a stop it ends with exactly six trials, each equal to an undisturbed trial."""
    study = tiny(*TWENTY_EPOCHS)
    database = opened(study)
    searched(study, database, stop=StopAfter(looks))
    before = records.read(database.folder)
    assert len(before.trials) < 6 or before.counts().get("interrupted")
    searched(study, opened(study))
    record = records.read(database.folder)

    assert record.counts() == {"complete": 6}
    for trial, other in zip(map(numbers, record.trials), undisturbed, strict=True):
        if trial[0] == other[0]:  # with two workers TPE may have known less or more
            assert trial == other
    assert numbers(record.trials[0]) == undisturbed[0]


@pytest.mark.slow
def test_a_search_with_one_worker_is_reproducible(tiny, opened, searched):
    """With one worker, the table is the same whether and when the search is stopped."""
    study = tiny()
    whole, broken = opened(study, "whole"), opened(study, "broken")
    searched(study, whole, workers=1)
    for looks in (2, 5, 9):
        searched(study, broken, workers=1, stop=StopAfter(looks))
    searched(study, broken, workers=1)

    expected = [numbers(trial) for trial in records.read(whole.folder).trials]
    assert [numbers(trial) for trial in records.read(broken.folder).trials] == expected


@pytest.mark.slow
def test_a_killed_worker_does_not_change_the_result(tiny, opened, searched):
    """Its trial continues under the same number and ends with the same bits."""
    study = tiny("baseline.epochs=12")
    database, calm = opened(study), opened(study, "calm")
    output = searched(study, database, pool=DeadlyWorkers(1, database.folder, after=6, times=2))
    searched(study, calm, workers=1)
    record = records.read(database.folder)

    assert output.count("SIGKILL") == 2
    assert max(trial.attempt for trial in record.trials) > 1
    assert [numbers(t) for t in record.trials] == [numbers(t) for t in records.read(calm.folder).trials]


def test_a_trial_whose_workers_die_fails_with_the_reason(tiny, opened, searched):
    """After three exits of its workers."""
    study = tiny("trials=1", "baseline.epochs=2000")
    database = opened(study)
    searched(study, database, pool=DeadlyWorkers(1, database.folder, after=1, times=3))
    record = records.read(database.folder)

    assert record.trials[0].outcome == "failed"
    assert "SIGKILL" in record.trials[0].reason
    assert "3 times" in record.trials[0].reason


class NotingWorkers(LocalPool):
    """Notes when a job is started, and how long it is waited for what is said."""

    def __init__(self, count, folder):
        super().__init__(count, folder)
        self.calls = []

    def start(self, job):
        self.calls.append("start")
        return super().start(job)

    def events(self, timeout):
        self.calls.append(timeout)
        return super().events(timeout)


def test_messages_are_handled_between_proposals(tiny, opened, searched):
    """A message does not wait until all free workers have a trial."""
    study = tiny("trials=3")
    database = opened(study)
    pool = NotingWorkers(3, database.folder)
    searched(study, database, pool=pool)

    assert pool.calls[:7] == ["start", 0, "start", 0, "start", 0, coordinator.POLL_INTERVAL_S]


class PausedWorkers(LocalPool):
    """Pauses the worker of the first job with SIGSTOP after its first epoch: a process that hangs."""

    paused = 0.0

    def events(self, timeout):
        found = super().events(timeout)
        if not self.paused and any(event.message.kind == "epoch" for event in found):
            os.kill(self._slots[0].process.pid, signal.SIGSTOP)
            self.paused = time.monotonic()
        return found

    def end(self, job):
        self.ended = time.monotonic()
        super().end(job)


@pytest.mark.slow
def test_a_hanging_worker_is_killed(tiny, opened, searched, monkeypatch):
    """Within two seconds of the limit; its trial ends as a timeout, the others are unaffected."""
    monkeypatch.setattr(coordinator, "STALL_TIMEOUT_S", 2.5)
    study = tiny("trials=3", "baseline.epochs=20")
    database = opened(study)
    pool = PausedWorkers(1, database.folder)
    searched(study, database, pool=pool)
    record = records.read(database.folder)

    assert pool.ended - pool.paused < 2.5 + 2
    assert record.counts() == {"timeout": 1, "complete": 2}
    assert record.trials[0].reason == "no training step within 2.5 s"
    assert record.trials[0].state == "pruned"


@pytest.mark.slow
def test_a_slow_write_is_not_a_hang(tiny, opened, searched, monkeypatch):
    """An outage may exceed the stall limit; messages from that time are handled first."""
    monkeypatch.setattr(coordinator, "STALL_TIMEOUT_S", 1.0)
    study = tiny("trials=2", "baseline.epochs=20", "trial_seconds=2.0")
    database = opened(study)
    epoch, slept = database.search.epoch, []

    def slow(trial_id, index, numbers, value):
        if index == 3 and not slept:
            slept.append(time.sleep(2.5))
        epoch(trial_id, index, numbers, value)

    monkeypatch.setattr(database.search, "epoch", slow)
    searched(study, database)

    assert records.read(database.folder).counts() == {"complete": 2}


@pytest.mark.slow
def test_a_long_epoch_is_not_a_hang(tiny, opened, searched, monkeypatch):
    """Progress is measured in steps: an epoch may take several times the stall limit."""
    monkeypatch.setattr(coordinator, "STALL_TIMEOUT_S", 2.5)
    study = tiny(
        "trials=1",
        "baseline.epochs=1",
        "baseline.batch_size=1",
        "space={learning_rate={low=1e-4, high=1e-2, log=true}}",
        "baseline.hidden_sizes=[900, 900]",
    )
    database = opened(study)
    searched(study, database, workers=1)
    record = records.read(database.folder)

    assert record.counts() == {"complete": 1}
    assert record.trials[0].seconds > 2.5


def test_a_trial_may_have_a_time_limit(tiny, opened, searched):
    """Its epochs stay recorded; samplers see it as pruned."""
    study = tiny("trials=2", "trial_seconds=1.0", "baseline.epochs=10000")
    database = opened(study)
    searched(study, database)
    record = records.read(database.folder)

    assert record.counts() == {"timeout": 2}
    for trial in record.trials:
        assert trial.reason == "not finished within the limit of 1 s"
        assert trial.state == "pruned"
        assert len(trial.epochs) > 5
        assert trial.value == trial.epochs["validation_loss"].min()


def test_a_network_too_large_for_the_memory_is_refused(tiny, opened, searched):
    """Before allocation; the sweep continues."""
    wide = "16384, " * 7 + "16384"
    study = tiny(
        "trials=3",
        f"space.hidden_sizes={{choices=[[{wide}], [16]]}}",
        f"baseline.hidden_sizes=[{wide}]",
        "sampler=random",
        "seed=4",
    )
    database = opened(study)
    searched(study, database, workers=1)
    record = records.read(database.folder)

    assert record.trials[0].outcome == "out of memory"
    assert re.fullmatch(
        r"out of memory: the training needs about [\d,]+ MiB, [\d,]+ MiB are available", record.trials[0].reason
    )
    assert record.trials[0].attempt == 1
    assert record.counts()["complete"] >= 1


@pytest.mark.parametrize("trials", [3, 4])
def test_partial_files_are_removed_by_the_next_start(tiny, opened, tmp_path, trials):
    """Partial files of a killed worker, of a finished trial and of one that is not continued."""
    study = tiny(f"trials={trials}")
    database = opened(study)
    for number in range(trials):
        trial = database.search.begin(optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING))
        if number:
            database.search.finish(trial._trial_id, optuna.trial.TrialState.COMPLETE, 0.5, {})
        folder = tmp_path / "trials" / f"{number:04d}"
        folder.mkdir(parents=True)
        for name in (".weights.npz.0123.part", "checkpoint.npz", "weights.npz"):
            (folder / name).touch()
    remove_leftovers(StudyFolder(tmp_path), "search", database.search.finished())
    left = {path.relative_to(tmp_path / "trials").as_posix() for path in tmp_path.glob("trials/*/*")}

    assert left == {"0000/checkpoint.npz", *(f"{number:04d}/weights.npz" for number in range(trials))}


def test_pruning_uses_validation_metrics(tiny, opened, searched):
    """Trials worse than the median are stopped and keep their best value; the baseline is never stopped."""
    study = tiny("trials=16", "pruner=median", "sampler=random", "baseline.epochs=8")
    database = opened(study)
    searched(study, database)
    record = records.read(database.folder)
    pruned = [trial for trial in record.trials if trial.outcome == "pruned"]

    assert pruned
    assert record.trials[0].outcome == "complete"
    for trial in pruned:
        assert len(trial.epochs) < 8
        assert trial.value == trial.epochs["validation_loss"].min()
        assert trial.weights_sha256 is None
        assert f"after epoch {len(trial.epochs)}" in trial.reason


@pytest.mark.slow
def test_unpruned_controls_are_judged_but_never_stopped(tiny, opened, searched):
    """They run to the end and keep what the pruner would have done."""
    study = tiny("trials=14", "pruner=median", "sampler=random", "baseline.epochs=6", "control=1.0")
    database = opened(study)
    searched(study, database)
    record = records.read(database.folder)

    assert record.counts() == {"complete": 14}
    verdicts = [trial.control["would_prune_at"] for trial in record.trials]
    assert any(verdict is not None for verdict in verdicts)
    assert all(is_control(study, number) for number in range(14))
    assert all("audit" in trial.user_attrs for trial in database.search.trials())  # the name that older versions read


class FailingPool(LocalPool):
    """Reports an error in the code instead of each result."""

    def events(self, timeout):
        failed = Message(MessageKind.FAILED, {"outcome": Outcome.FAILED, "reason": "an error in the code"})
        return [
            replace(event, message=failed) if event.message.kind is MessageKind.DONE else event
            for event in super().events(timeout)
        ]


def test_repeated_failures_end_the_sweep(tiny, opened, searched):
    """Five failures in a row end the sweep with the first reason; each is recorded, none is the best."""
    study = tiny("baseline.epochs=1", "pruner=none")
    database = opened(study)
    with pytest.raises(TooManyFailures, match="5 trials in a row failed; the first was trial 0: an error in the code"):
        searched(study, database, pool=FailingPool(1, database.folder))
    record = records.read(database.folder)

    assert record.counts()["failed"] == 5
    assert record.ranked() == []


def test_settings_that_diverge_do_not_end_the_sweep(tiny, opened, searched):
    """They are results, and with many workers several may arrive in a row."""
    study = tiny(
        "trials=7",
        "space.learning_rate={low=5.0, high=9.0}",
        "baseline.learning_rate=5.0",
        "baseline.beta1=0.0",
        "baseline.beta2=0.0",
        "baseline.epochs=60",
        "space.hidden_sizes={layers=[8,8], units=[400,512]}",
        "baseline.hidden_sizes=[500,500,500,500,500,500,500,500]",
    )
    database = opened(study)
    searched(study, database)
    record = records.read(database.folder)

    assert record.counts() == {"diverged": 7}
    assert [trial.state for trial in record.trials] == ["pruned"] * 7
    assert record.ranked() == []


def test_a_repeated_epoch_that_differs_is_refused(tiny, opened, searched, tmp_path):
    """If data or program changed between two starts, nothing is overwritten."""
    study = tiny("baseline.epochs=2000", "trials=1")  # more than pass before a stop is read
    database = opened(study)
    searched(study, database, workers=1, stop=StopAfter(2))
    trial = next(database.search.trials())
    row = trial.user_attrs["epoch.0"]
    database.search.attribute(trial._trial_id, "epoch.0", {**row, "train_loss": row["train_loss"] + 1e-9})

    with pytest.raises(RecordMismatch, match="epoch 1 was run again and gave another train_loss"):
        searched(study, opened(study), workers=1)


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_a_resumed_sampler_repeats_no_settings(tiny, opened, digits_folder, sampler):
    """Seeds depend on the number of trials: restarts before every proposal give the same settings, without repeats."""
    study = tiny(f"sampler={sampler}", "trials=9", "start=[{ learning_rate = 0.01 }, { hidden_sizes = [24, 12] }]")
    one, many = opened(study, "one"), opened(study, "many")
    whole = Search(study, one.search, one.folder, digits_folder)
    drawn = [whole.ask().job.hyperparameters for _ in range(9)]
    restarted = [Search(study, many.search, many.folder, digits_folder).ask().job.hyperparameters for _ in range(9)]

    assert len({str(settings) for settings in drawn}) == 9
    assert restarted == drawn
    assert [settings["learning_rate"] for settings in drawn[:3]] == [0.003, 0.01, 0.003]
    assert [settings["hidden_sizes"] for settings in drawn[:3]] == [[16], [16], [24, 12]]
    assert Search(study, many.search, many.folder, digits_folder).ask() is None


def test_qmc_has_low_discrepancy(tiny):
    """64 points from 64 samplers cover each sixteenth of a range evenly, in the space that Optuna would infer."""
    study = tiny("sampler=qmc")
    memory = optuna.create_study()
    memory.enqueue_trial(study.encode(study.baseline))
    for begun in range(65):
        memory.sampler = make_sampler(study, begun, TrialCache(), Standings(1), lambda params: 0.0)
        trial = memory.ask()
        if begun:  # the baseline's settings are not drawn
            space, own = (kind.infer_relative_search_space for kind in (type(memory.sampler), QMCSampler))
            assert list(space(memory.sampler, memory, trial).items()) == list(
                own(memory.sampler, memory, trial).items()
            )
        study.draw(trial)
        memory.tell(trial, 0.0)
    rates = [trial.params["learning_rate"] for trial in memory.trials[1:]]
    sixteenths = [int(16 * _share(rate, 1e-3, 3e-2)) for rate in rates]

    assert all(3 <= sixteenths.count(part) <= 5 for part in range(16))


def _share(value, low, high):
    import math

    return math.log(value / low) / math.log(high / low)


def test_the_notebook_objective_equals_the_sweep(tiny, opened, searched, tmp_path):
    """`study.optimize(objective)` in a notebook and `FixedTrial`: same settings and number, same result."""
    study = tiny("trials=3", "sampler=random")
    database = opened(study)
    searched(study, database)
    record = records.read(database.folder)
    objective = Objective(study, tmp_path / "cache")

    baseline = optuna.trial.FixedTrial(study.encode(study.baseline), number=0)
    assert objective(baseline) == record.trials[0].value
    notebook = optuna.create_study(direction=study.direction)
    notebook.enqueue_trial(study.encode(study.baseline))
    notebook.optimize(objective, n_trials=2)
    assert notebook.trials[0].value == record.trials[0].value


@pytest.mark.slow
def test_a_time_limit_stops_the_sweep(tiny, opened, searched):
    """Running trials are interrupted and can be resumed."""
    study = tiny("baseline.epochs=2000", "trials=2")
    database = opened(study)
    began = time.monotonic()
    searched(study, database, stop=Stop(deadline=began + 0.8))

    assert time.monotonic() - began < 8
    assert records.read(database.folder).counts() == {"interrupted": 2}

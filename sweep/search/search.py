"""The search: an in-memory Optuna study proposes settings and decides on pruning.

With generations of K, trials K g to K g + K - 1 are proposed with the outcomes of earlier generations only. In memory
they all count as running until the last of them has ended, and are then told in order of their numbers. So Optuna's
input depends on the numbers of the trials only, not on their speed or on when the sweep was killed.

The in-memory study is rebuilt from the database at start. A proposal is written to the database in one commit before it
is used: `ask` and `suggest` on SQLite would need a dozen commits, and a kill between two of them would continue a trial
with other settings.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from model.epoch import EpochSelection
from model.hyperparameters import Hyperparameters
from studies.definition import Study
from studies.record.folder import StudyFolder
from studies.record.schema import CONTROL
from sweep.coordination.task import Task, job_for, task_from
from sweep.failpoints import failpoint
from sweep.search.pruners import Hyperband, Median, make_pruner
from sweep.search.samplers import make_sampler
from sweep.search.tpe import TrialCache
from sweep.storage.trial_log import TrialLog
from sweep.workers.pool import Job

CONTROL_STREAM = 0x41554454
"""Seed-stream identifier of the draw that makes a trial an unpruned control."""


class Search:
    """Propose the trials of a study, in order of their numbers, up to its total.

    Args:
        study: the study definition.
        log: the log that records the trials.
        folder: the study's folder.
        dataset: the prepared dataset's folder.
        until: of `time.monotonic()`: no trial is proposed after it; None for no limit.

    Attributes:
        begun: number of proposed trials, over all starts.
        counts: outcomes of the trials that had ended before this start.
        best: value and number of the best trial completed before this start, the first of equals; or None.

    Raises:
        RecordError: recorded trials were changed since they were written.
    """

    def __init__(self, study: Study, log: TrialLog, folder: Path, dataset: Path, until: float | None = None) -> None:
        self._definition = study
        self._until = until
        self._log = log
        self._folder = StudyFolder(folder)
        self._dataset = dataset
        self._storage = InMemoryStorage()
        self._study = optuna.create_study(
            storage=self._storage, study_name="search", direction=study.direction, pruner=make_pruner(study)
        )
        self._cache = TrialCache()
        self._trials: dict[int, Trial] = {}
        self._outcomes: dict[int, tuple[TrialState, float | None]] = {}
        self._interrupted: list[FrozenTrial] = []
        self.counts: Counter[str] = Counter()
        self.best: tuple[float, int] | None = None
        recorded = [self._noted(trial) for trial in log.trials()]
        self.begun, told = len(recorded), self._told(recorded)
        for trial in recorded:
            self._rebuild(trial, running=trial.number >= told)

    def interrupted(self) -> Sequence[Task]:
        """Trials recorded as running; their epochs except the last are reported to the pruner again."""
        tasks = [task_from(self._log, trial, self._job(trial)) for trial in self._interrupted]
        for task in tasks:
            for index, value in enumerate(task.values[:-1]):
                self._report(task.trial.number, index, value)
        return tasks

    def ask(self) -> Task | None:
        """The next trial, recorded as running before it is returned."""
        begun = self.begun
        if not self.remaining() or (begun % (self._definition.generation or 1) == 0 and self._untold()):
            return None
        self._study.sampler = make_sampler(self._definition, begun, self._cache)
        given = self._definition.given(begun)
        if given is not None:
            self._study.enqueue_trial(self._definition.encode(given))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            drawn = self._study.ask()
            settings = self._definition.draw(drawn)
        self._trials[drawn.number] = drawn
        self.begun += 1
        failpoint("before_begin")
        trial = self._log.begin(
            create_trial(
                state=TrialState.RUNNING,
                params=drawn.params,
                distributions=drawn.distributions,
                user_attrs={"hyperparameters": (given or settings).as_dict()},
            )
        )
        failpoint("after_begin")
        return task_from(self._log, trial, self._job(trial))

    def should_prune(self, task: Task, epoch: int) -> bool:
        """Whether the pruner gives the trial up; the baseline and unpruned controls are never stopped."""
        number = task.trial.number
        given_up = self._report(number, epoch, task.value)
        if not given_up or CONTROL in task.trial.user_attrs:
            return False
        if number == 0 or is_control(self._definition, number):
            self._note_control(task, epoch)
            return False
        return epoch + 1 < int(task.job.hyperparameters["epochs"])  # pruning after the last epoch would save nothing

    def tell(self, task: Task, state: TrialState) -> Mapping[str, Any]:
        """Tell the sampler; returns what the pruner stored about the trial, to be recorded for the next start."""
        number = task.trial.number
        if is_control(self._definition, number) and CONTROL not in task.trial.user_attrs:
            self._note_control(task, None)
        self._outcomes[number] = state, task.value if state == TrialState.COMPLETE else None
        if len(self._outcomes) < (self._definition.generation or 1):
            return {}
        for told in sorted(self._outcomes):
            state, value = self._outcomes[told]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._study.tell(self._trials[told], value, state=state)
            ended = self._storage.get_trial(self._trials.pop(told)._trial_id)
            if isinstance(self._study.pruner, Median):
                self._study.pruner.learn(self._study, ended)
        self._outcomes.clear()
        noted = self._storage.get_trial(number).system_attrs  # in this storage a trial's id is its number
        return {key: content for key, content in noted.items() if key.startswith("completed_rung_")}

    @property
    def resumes(self) -> bool:
        """Whether a recorded trial is still to be finished."""
        return bool(self._interrupted)

    def remaining(self) -> int:
        """Number of trials that have not been proposed yet; none when the time is over."""
        over = self._until is not None and time.monotonic() > self._until
        return 0 if over else max(0, self._definition.trials - self.begun)

    def _untold(self) -> bool:
        """Whether a generation is running."""
        return self._definition.generation is not None and bool(self._trials)

    def _told(self, recorded: Sequence[FrozenTrial]) -> int:
        """Number of first trials whose outcome Optuna may use; without generations, each trial is checked by itself."""
        size = self._definition.generation
        if size is None:
            return len(recorded)
        ended = next((n for n, trial in enumerate(recorded) if not trial.state.is_finished()), len(recorded))
        return ended - ended % size

    def _noted(self, trial: FrozenTrial) -> FrozenTrial:
        """Store what is needed from a recorded trial, and return it without its other attributes."""
        if trial.state == TrialState.RUNNING:
            self._interrupted.append(copy(trial))
        else:
            self.counts[trial.user_attrs["outcome"]] += 1
        if trial.state == TrialState.COMPLETE and trial.value is not None and self._is_better(trial.value):
            self.best = trial.value, trial.number
        trial.user_attrs = {}
        trial.system_attrs = {k: v for k, v in trial.system_attrs.items() if k.startswith("completed_rung_")}
        return trial

    def _is_better(self, value: float) -> bool:
        return self.best is None or self._definition.metric.is_better(value, self.best[0])

    def _rebuild(self, trial: FrozenTrial, *, running: bool) -> None:
        """Add a recorded trial to the in-memory study, as running if it or its generation is not finished."""
        running = running or trial.state == TrialState.RUNNING
        ended, value, points = trial.state, trial.value, trial.intermediate_values
        if running:
            trial.state, trial.values, trial.intermediate_values = TrialState.RUNNING, None, {}
        # Replaces a new trial: passing it as a template would deep-copy it, half of the time of a start.
        trial._trial_id = trial_id = self._storage.create_new_trial(self._study._study_id)
        self._storage._set_trial(trial_id, trial)
        if isinstance(self._study.pruner, Median | Hyperband):
            self._study.pruner.learn(self._study, trial)
        if running:
            self._trials[trial.number] = Trial(self._study, trial_id)
            if ended.is_finished():
                self._outcomes[trial.number] = ended, value if ended == TrialState.COMPLETE else None
                for step, reported in points.items():
                    self._trials[trial.number].report(reported, step)

    def _report(self, number: int, epoch: int, value: float | None) -> bool:
        assert value is not None  # every trial of a search is evaluated on validation examples
        drawn = self._trials[number]
        drawn.report(value, epoch)
        return bool(drawn.should_prune())

    def _note_control(self, task: Task, epoch: int | None) -> None:
        verdict = {"would_prune_at": epoch}
        task.trial.user_attrs[CONTROL] = verdict
        if is_control(self._definition, task.trial.number):
            self._log.attribute(task.trial._trial_id, CONTROL, verdict)

    def _job(self, trial: FrozenTrial) -> Job:
        settings = Hyperparameters(**trial.user_attrs["hyperparameters"])
        folder = self._folder.trial("search", trial.number).path
        return search_job(self._definition, trial.number, settings, folder, self._dataset)


def search_job(study: Study, number: int, settings: Hyperparameters, folder: Path, dataset: Path) -> Job:
    """The job of trial `number` of a study; (study seed, number) identify its random streams."""
    selection = EpochSelection(study.objective, study.epoch)
    seed, limit = [study.seed, number], study.trial_seconds
    return job_for(f"search/{number}", folder, dataset, study.seed, settings, seed, selection, seconds=limit)


def is_control(study: Study, number: int) -> bool:
    """Whether a trial is an unpruned control: judged but never stopped. Decided by (study seed, trial number) alone."""
    words = np.random.SeedSequence([study.seed, number, CONTROL_STREAM])
    return study.pruner != "none" and bool(np.random.default_rng(words).random() < study.control)

"""The search: it decides which trial runs next, a new one or a paused one, and when a trial is given up.

Work comes in legs. With the pruner `halving` a leg leads from one rung to the next, otherwise from the first epoch to
the last. With generations of K, K legs form a round: they are chosen together from the results of earlier rounds, and
their own results count once the last of them has ended, in the order of their numbers. So every decision depends on the
numbers of the trials only, not on their speed or on when the sweep was killed. Without generations, each leg is chosen
when a worker is free, from all that is known.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from model.cost import CostModel
from model.data import datasets
from model.hyperparameters import Hyperparameters
from studies.definition import Study
from studies.record.folder import StudyFolder
from studies.record.outcome import SEARCH_OVER, Outcome
from studies.record.schema import CONTROL, LEG
from studies.rungs import rung_epochs
from sweep.coordination.task import Task, state_of, task_from
from sweep.failpoints import failpoint
from sweep.search.budget import Budget, training_share
from sweep.search.halving import Halving
from sweep.search.legs import Leg, Result, is_control, leg_of, recorded_result, result_of, rungs_of, search_job
from sweep.search.proposals import Proposals
from sweep.search.raised_limits import is_outdated, to_repeat
from sweep.search.standings import Standings
from sweep.storage.trial_log import TrialLog
from sweep.workers.pool import Job

NO_RESULT = (Outcome.DIVERGED, Outcome.OUT_OF_MEMORY, Outcome.TIMEOUT)
"""Outcomes that make a trial worse than all others."""


FIRST_EPOCH_S = 5.0
"""Time that a search has for its first epoch at least, also if starting took all of its minutes."""


class Search:
    """Propose the trials of a study, in order of their numbers, up to its total.

    Args:
        study: the study definition.
        log: the log that records the trials.
        folder: the study's folder.
        dataset: the prepared dataset's folder.
        budget: the wall time of the run; None for no limit.

    Attributes:
        begun: number of proposed trials, over all starts.
        counts: outcomes of the trials that had ended before this start.
        best: value and number of the best trial completed before this start, the first of equals; or None.

    Raises:
        RecordError: recorded trials were changed since they were written.
    """

    def __init__(self, study: Study, log: TrialLog, folder: Path, dataset: Path, budget: Budget | None = None) -> None:
        self._definition = study
        self._log = log
        self._folder = StudyFolder(folder)
        self._dataset = dataset
        self._budget = budget
        self._epoch_seconds: dict[int, float] = {}
        self._has_epoch = False
        self._began = time.monotonic()
        self._cost = CostModel.of(datasets.load(dataset, study.seed, study.folds), study.folds)
        self._standings = Standings(len(rung_epochs(study.longest_epochs, study.longest_epochs)))
        self._halving = Halving(self._standings, study.trials, study.confirm.top) if study.pruner == "halving" else None
        self._proposals = Proposals(study, self._standings, self._cost)
        self._settings: dict[int, Hyperparameters] = {}
        self._exempt: set[int] = set()
        self._moved = True
        self._waiting: dict[int, Task] = {}
        self._given_up: set[int] = set()
        self._round = 0
        self._open: set[int] = set()
        self._promotions: list[int] = []
        self._new = 0
        self._again: list[Hyperparameters] = []
        self._outdated: set[int] = set()
        self._ended: dict[int, Result] = {}
        self._interrupted: list[FrozenTrial] = []
        self.begun = 0
        self.counts: Counter[str] = Counter()
        self.best: tuple[float, int] | None = None
        self._rebuild(list(log.trials()))

    def interrupted(self) -> Sequence[Task]:
        """Trials recorded as running; their epochs except the last are reported to the pruner again."""
        tasks = [task_from(self._log, trial, self._job(trial)) for trial in self._interrupted]
        for task in tasks:
            for epoch in range(len(task.values) - 1):
                self._is_behind(task, epoch)
        return tasks

    def ask(self) -> Task | None:
        """The next leg, of a paused trial or of a new one, recorded as running before it is returned."""
        if self._definition.generation is None:
            self._choose(1)
        elif not self._is_in_round():
            self._choose(self._definition.generation)
        if self._promotions:
            return self._promote(self._promotions.pop(0))
        if self._new and self.remaining() != 0:
            self._new -= 1
            return self._propose()
        return None

    def should_prune(self, task: Task, epoch: int) -> bool:
        """Whether the pruner gives the trial up; the baseline and unpruned controls are never stopped."""
        self._has_epoch = True
        if not self._is_behind(task, epoch) or CONTROL in task.trial.user_attrs:
            return False
        if task.trial.number in self._exempt:
            self._note_control(task, epoch)
            return False
        return epoch + 1 < self._settings[task.trial.number].epochs  # pruning after the last epoch would save nothing

    def pause(self, task: Task) -> None:
        """Record that a trial waits at a rung, and compare it with the others there."""
        result = result_of(self._definition, task, None)
        failpoint("before_pause")
        self._record(task, replace(leg_of(self._definition, task.trial), paused=True))
        failpoint("after_pause")
        self._waiting[task.trial.number] = task
        self._end_leg(result)

    def given_up(self, *, at_end: bool = False) -> Sequence[tuple[Task, str]]:
        """Paused trials that will not be continued, with the reason; all of them `at_end`."""
        if self._halving is None or (self._is_in_round() and not at_end):
            return ()
        if not (self._moved or at_end):
            return ()
        self._moved = False
        hopeless = [n for n in self._halving.out_of_reach(self.begun) if n not in self._exempt]
        numbers = sorted(self._waiting) if at_end else hopeless
        tasks = [self._waiting.pop(number) for number in numbers]
        found = [(task, self._reason(task)) for task in tasks]
        for number in numbers:
            self._halving.paused.pop(number, None)
        self._given_up.update(numbers)
        return found

    def over(self) -> tuple[Outcome, str] | None:
        """How running trials end because the time for the search is over; None while it is not.

        A search without any epoch gets FIRST_EPOCH_S more than the whole time: without one there is no champion.
        """
        if self._budget is None:
            return None
        until = self._budget.search_until(self.trainings())
        if not self._has_epoch:
            until = max(self._budget.end, self._began + FIRST_EPOCH_S)
        if time.monotonic() < until:
            return None
        return Outcome.PRUNED, SEARCH_OVER

    def trainings(self) -> list[float]:
        """Seconds of a whole training of each candidate if the search ended now, the baseline last.

        Empty if not known yet. What is confirmed then is chosen by the same order, so that its time was reserved.
        """
        if 0 not in self._epoch_seconds:
            return []
        ahead = [number for number in self._standings.ahead(self._definition.confirm.top) if number]
        share = training_share(self._definition.folds)
        return [share * self._epoch_seconds[number] * self._settings[number].epochs for number in (*ahead, 0)]

    def tell(self, task: Task, outcome: Outcome) -> Mapping[str, Any]:
        """Use a trial's result; returns what the pruner stored about it, to be recorded for the next start."""
        number = task.trial.number
        if is_control(self._definition, number) and CONTROL not in task.trial.user_attrs:
            self._note_control(task, None)
        if number not in self._given_up:  # otherwise it was compared when it paused
            self._end_leg(result_of(self._definition, task, outcome))
        return self._proposals.stored(number)

    @property
    def paused(self) -> int:
        """Number of trials that wait at a rung."""
        return len(self._waiting)

    @property
    def again(self) -> int:
        """Number of settings that are tried again because the time limit of a trial was raised."""
        return len(self._again)

    @property
    def resumes(self) -> bool:
        """Whether a recorded trial is still to be finished."""
        return bool(self._interrupted or self._waiting)

    def remaining(self) -> int | None:
        """Number of trials that have not been proposed yet, 0 when the time for it is over; None without a total."""
        if self.begun and self._budget and time.monotonic() > self._budget.proposals_until(self.trainings()):
            return 0
        total = self._definition.trials
        return None if total is None else max(total - self.begun, len(self._again))

    def _choose(self, size: int) -> None:
        """Choose the legs of a round: first the promotions, the cheapest first, then new trials."""
        new = self.remaining()
        self._promotions = self._to_promote(closing=new == 0)[:size]
        room = size - len(self._promotions)
        self._new = room if new is None else min(room, new)

    def _to_promote(self, *, closing: bool) -> list[int]:
        if self._halving is None:
            return []
        return sorted(self._halving.promotable(closing=closing, always=self._exempt), key=self._cost_of_next_leg)

    def _cost_of_next_leg(self, number: int) -> tuple[float, int]:
        """What the next leg of a paused trial costs, and its number."""
        assert self._halving is not None
        settings, rung = self._settings[number], self._halving.paused[number]
        rungs = rungs_of(self._definition, settings)
        return (rungs[rung + 1] - rungs[rung]) * self._cost.epoch(settings), number

    def _is_in_round(self) -> bool:
        """Whether legs of a generation are running, or still to be given out."""
        return self._definition.generation is not None and bool(self._open or self._promotions or self._new)

    def _promote(self, number: int) -> Task:
        """Continue a paused trial to its next rung."""
        assert self._halving is not None
        task, rung = self._waiting.pop(number), self._halving.paused.pop(number) + 1
        failpoint("before_promotion")
        self._record(task, Leg(rung, self._round_now()))
        failpoint("after_promotion")
        task.job = self._job(task.trial)
        self._open.add(number)
        return task

    def _propose(self) -> Task:
        """Propose the next trial."""
        given = self._definition.given(self.begun) or (self._again.pop(0) if self._again else None)
        template = self._proposals.propose(self.begun, given)
        self.begun += 1
        if self._halving:
            template.user_attrs[LEG] = vars(Leg(0, self._round_now()))
        failpoint("before_begin")
        trial = self._log.begin(template)
        failpoint("after_begin")
        self._open.add(trial.number)
        self._know(trial.number, Hyperparameters(**trial.user_attrs["hyperparameters"]))
        return task_from(self._log, trial, self._job(trial))

    def _record(self, task: Task, leg: Leg) -> None:
        task.trial.user_attrs[LEG] = vars(leg)
        self._log.attribute(task.trial._trial_id, LEG, vars(leg))

    def _round_now(self) -> int | None:
        return self._round if self._definition.generation is not None else None

    def _end_leg(self, result: Result) -> None:
        """Use the result of a leg, or of all legs of a generation once the last of them has ended."""
        self._open.discard(result.number)
        self._ended[result.number] = result
        if not self._is_in_round():
            self._end_round()

    def _end_round(self) -> None:
        """Use the results of all legs of a round, in the order of their numbers."""
        for number in sorted(self._ended):
            self._use(self._ended[number])
        self._ended.clear()
        self._round += 1

    def _use(self, result: Result) -> None:
        """Compare a trial with the others, and let the sampler and the pruner see it."""
        self._compare(result)
        state = TrialState.PRUNED if result.outcome is None else state_of(result.outcome)
        self._proposals.end(result.number, state, result.value)

    def _compare(self, result: Result) -> None:
        """Enter a trial into the standings, and into the list of paused trials if it paused."""
        self._moved = True
        if result.epochs:
            self._has_epoch = True
            self._epoch_seconds[result.number] = result.seconds / result.epochs
        for rung, (cost, loss) in result.marks.items():
            self._standings.add(result.number, rung, cost, loss)
        if result.outcome is None and self._halving:
            self._halving.paused[result.number] = max(result.marks)
        elif result.outcome in NO_RESULT and result.number not in self._outdated:
            self._standings.add_worst(result.number)

    def _rebuild(self, recorded: Sequence[FrozenTrial]) -> None:
        """Restore the state from the record: what is known, what is running, and the rest of the last round."""
        self.begun = len(recorded)
        self._again = to_repeat(self._definition, recorded)
        self._outdated = {trial.number for trial in recorded if is_outdated(self._definition, trial)}
        legs = {trial.number: leg_of(self._definition, trial) for trial in recorded}
        self._round = max((leg.round or 0 for leg in legs.values()), default=0)
        size = self._definition.generation
        latest = {n: leg for n, leg in legs.items() if size is not None and leg.round == self._round}
        for trial in recorded:
            self._restore(trial, legs[trial.number], hidden=trial.number in latest)
        if size is not None and latest:
            self._choose_rest(size, latest)
            if not self._is_in_round():
                self._end_round()

    def _restore(self, trial: FrozenTrial, leg: Leg, *, hidden: bool) -> None:
        """Restore a recorded trial; the result of its last leg is not used yet if it is `hidden`."""
        number, ended = trial.number, trial.state.is_finished()
        settings = Hyperparameters(**trial.user_attrs["hyperparameters"])
        self._know(number, settings)
        result = recorded_result(self._definition, trial, settings)
        state = trial.state if ended else TrialState.PRUNED
        if ended:
            self._count(trial)
        elif leg.paused:
            self._waiting[number] = task_from(self._log, copy(trial), self._job(trial))
        else:
            self._interrupted.append(copy(trial))
            self._open.add(number)
        if not hidden and number not in self._open:
            self._compare(result)
        else:
            for rung in range(leg.rung):
                self._standings.add(number, rung, *result.marks[rung])
            state = TrialState.PRUNED if leg.rung else TrialState.RUNNING
            if number not in self._open:
                self._ended[number] = result
        self._proposals.restore(trial, settings, state)

    def _choose_rest(self, size: int, latest: Mapping[int, Leg]) -> None:
        """Choose the legs of the last recorded round again, and keep those that were not begun."""
        promoted = {number: leg.rung - 1 for number, leg in latest.items() if leg.rung}
        new = len(latest) - len(promoted)
        self.begun -= new
        if self._halving:
            self._halving.paused |= promoted
        self._choose(size)
        self.begun += new
        if self._halving:
            self._halving.paused = {n: rung for n, rung in self._halving.paused.items() if n not in promoted}
        self._promotions = [number for number in self._promotions if number not in promoted]
        self._new = max(0, self._new - new)

    def _count(self, trial: FrozenTrial) -> None:
        """Count a trial that ended before this start."""
        self.counts[trial.user_attrs["outcome"]] += 1
        if trial.state != TrialState.COMPLETE or trial.value is None:
            return
        if self.best is None or self._definition.metric.is_better(trial.value, self.best[0]):
            self.best = trial.value, trial.number

    def _know(self, number: int, settings: Hyperparameters) -> None:
        """Note the settings of a trial, and whether it is never stopped: the baseline and unpruned controls."""
        self._settings[number] = settings
        if number == 0 or is_control(self._definition, number):
            self._exempt.add(number)

    def _is_behind(self, task: Task, epoch: int) -> bool:
        """Report a trial's value after an epoch; return whether the pruner would stop it."""
        value, number = task.values[epoch], task.trial.number
        assert value is not None  # every trial of a search is evaluated on validation examples
        if self._halving:
            return False
        return self._proposals.should_prune(number, self._settings[number], epoch, value)

    def _note_control(self, task: Task, epoch: int | None) -> None:
        verdict = {"would_prune_at": epoch}
        task.trial.user_attrs[CONTROL] = verdict
        if is_control(self._definition, task.trial.number):
            self._log.attribute(task.trial._trial_id, CONTROL, verdict)

    def _reason(self, task: Task) -> str:
        """Why a paused trial is not continued."""
        assert self._halving is not None
        epochs, of = len(task.epochs), self._settings[task.trial.number].epochs
        place = self._halving.place(task.trial.number)
        return f"paused after epoch {epochs} of {of}" + (f": {place} there" if place else "")

    def _job(self, trial: FrozenTrial) -> Job:
        """The job of a trial's last recorded leg."""
        rung = leg_of(self._definition, trial).rung if self._halving else None
        settings = self._settings[trial.number]
        folder = self._folder.trial("search", trial.number).path
        return search_job(self._definition, trial.number, settings, folder, self._dataset, rung)

"""The second phase of `sweep run`: confirm the winner, train the final models, choose the champion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from studies.definition import Confirm, Study
from studies.record.reader import Reader, SweepRecord
from sweep.coordination.coordinator import Coordinator, Stop
from sweep.coordination.progress import Progress
from sweep.search.budget import UNCONFIRMED, Budget
from sweep.search.champion import name_champion, name_unconfirmed
from sweep.search.confirmation import (
    ConfirmationRun,
    ConfirmationRuns,
    candidates,
    confirmation_plan,
    failed_runs,
    final_plan,
    finalists,
    screening_plan,
    training_seconds,
    whole_repeats,
)
from sweep.search.verdict import candidate_results, choose_champion
from sweep.storage.database import Database


class ConfirmationFailed(Exception):
    """Training runs that the verdict needs have failed, so there is no verdict."""


@dataclass(frozen=True)
class Confirmation:
    """The confirmation of one study.

    Attributes:
        study: the study definition; its search is complete.
        database: the study's database.
        dataset: the prepared dataset's folder.
        coordinator: runs the training.
        progress: shows it on the terminal.
        stop: whether the user asked to stop.
        budget: the wall time of the run; None for no limit.
    """

    study: Study
    database: Database
    dataset: Path
    coordinator: Coordinator
    progress: Progress
    stop: Stop
    budget: Budget | None

    def run(self) -> None:
        """Screen, confirm, train the final models, evaluate on the test set; returns early after a stop.

        Raises:
            ConfirmationFailed: a training run that the verdict requires has failed.
        """
        records = Reader(self.database.folder)  # reads each finished trial once
        record = records.read(active=True)
        if not record.contenders():
            self.progress.note("no trial has a result, so there is no winner to confirm")
            return None
        if (study := self._affordable(record)) is None:
            return self._leave_unconfirmed(record)
        if study.confirm != UNCONFIRMED:
            until = self.budget.confirm_until(self._trainings(record)) if self.budget else None
            record = self._train(study, "screen", screening_plan(study, record), records, until)
            if self.stop.asked() or (self.budget is None and not finalists(study, record)):
                return None
            record = self._train(study, "confirm", confirmation_plan(study, record), records, until)
            if self.stop.asked():
                return None
            study = self._confirmed(study, record)
        results = candidate_results(study, record)
        if study.confirm.repeats and not results:
            return None
        champion = choose_champion(study, record, results)
        until = self.budget.trainings_until if self.budget else None
        record = self._train(study, "final", self._final_plan(study, record, champion), records, until)
        if not self.stop.asked():
            self._name(study, record)
        return None

    def _affordable(self, record: SweepRecord) -> Study | None:
        """The study with the confirmation for which there is time; None if there is none."""
        if self.budget is None or self._is_confirmed(record):
            return self.study
        plan = self.budget.affordable(self._trainings(record))
        return None if plan is None else self._with(plan, "there is time for")

    def _final_plan(self, study: Study, record: SweepRecord, champion: int) -> list[ConfirmationRun]:
        """As many final models of champion and baseline as there is time for, and no more than repeats."""
        plan = final_plan(study, record, champion)
        if self.budget is None:
            return plan
        shipped = [record.trials[number] for number in dict.fromkeys([champion, 0])]
        return plan[: len(shipped) * self.budget.final_models(training_seconds(study, shipped))]

    def _trainings(self, record: SweepRecord) -> list[float]:
        """Seconds of a whole training of each candidate, the baseline last."""
        chosen = [trial for trial in candidates(self.study, record) if trial.number] + list(record.trials[:1])
        return training_seconds(self.study, [trial for trial in chosen if len(trial.epochs)])

    def _is_confirmed(self, record: SweepRecord) -> bool:
        """Whether nothing of the study's own confirmation is left to train."""
        plan = confirmation_plan(self.study, record)
        runs = ConfirmationRuns(self.study, self.database, self.dataset, plan)
        return bool(plan) and runs.remaining() == 0

    def _confirmed(self, study: Study, record: SweepRecord) -> Study:
        """The study with the repeats that were trained before the time was over; without any if fewer than two were."""
        repeats = whole_repeats(study, record) if finalists(study, record) else 0
        if repeats == study.confirm.repeats:
            return study
        plan = UNCONFIRMED if repeats < 2 else Confirm(top=study.confirm.top, repeats=repeats)
        return self._with(plan, "the time was over after")

    def _with(self, plan: Confirm, why: str) -> Study:
        wanted = self.study.confirm
        if plan == UNCONFIRMED:
            self.progress.note(
                "there was no time for a confirmation: the best trial of the search and the baseline are compared on"
                " the test set only"
            )
        elif wanted != plan:
            self.progress.note(
                f"{why} {plan.repeats} of {wanted.repeats} repeats and {plan.top} of {wanted.top} candidates"
            )
        return self.study.model_copy(update={"confirm": plan})

    def _leave_unconfirmed(self, record: SweepRecord) -> None:
        if record.verdict is not None:
            self.progress.note("there was no time to confirm a winner again, so the champion stays the same")
            return
        name_unconfirmed(self.study, self.database, record, self.dataset)
        self.progress.note(
            f"there was no time to confirm the winner: trial {record.contenders()[0].number} is the champion as it is, "
            "and the test set stays closed"
        )

    def _name(self, study: Study, record: SweepRecord) -> None:
        in_time = self.budget is not None
        if name_champion(study, self.database, record, self.dataset, in_time=in_time) is not None:
            return None
        if in_time:
            return self._leave_unconfirmed(record)
        raise ConfirmationFailed("a final model has no result, so the test set stays closed")

    def _train(
        self, study: Study, phase: str, plan: Sequence[ConfirmationRun], records: Reader, until: float | None
    ) -> SweepRecord:
        """Run the part of the plan that is not recorded yet; returns the record with its results.

        Raises:
            ConfirmationFailed: a run failed.
        """
        runs = ConfirmationRuns(study, self.database, self.dataset, plan, until)
        open_runs = runs.remaining() + len(runs.interrupted())
        done = {"complete": len(plan) - open_runs} if open_runs < len(plan) else {}
        if plan:
            self.progress.begin(phase, len(plan), done, None)
            self.coordinator.run(runs)
        record = records.read(active=True)
        if (failed := failed_runs(record, plan)) and not self.stop.asked():
            more = "; the test set stays closed" if phase == "final" else ""
            raise ConfirmationFailed(
                f"the winner is not named: {', '.join(failed)} failed{more}\nthe same command tries again"
            )
        return record

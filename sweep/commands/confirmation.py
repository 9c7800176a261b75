"""The second phase of `sweep run`: confirm the winner, train the final models, choose the champion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from studies.definition import Study
from studies.record.reader import Reader
from sweep.coordination.coordinator import Coordinator, Stop
from sweep.coordination.progress import Progress
from sweep.search.champion import name_champion
from sweep.search.confirmation import ConfirmationRun, ConfirmationRuns, confirmation_plan, failed_runs, final_plan
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
    """

    study: Study
    database: Database
    dataset: Path
    coordinator: Coordinator
    progress: Progress
    stop: Stop

    def run(self) -> None:
        """Train on fresh seeds, train the final models, evaluate on the test set; returns early after a stop.

        Raises:
            ConfirmationFailed: a training run that the verdict requires has failed.
        """
        records = Reader(self.database.folder)  # reads each finished trial once
        record = records.read(active=True)
        if not record.ranked():
            self.progress.note("no trial completed, so there is no winner to confirm")
            return
        self._train("confirm", confirmation_plan(self.study, record))
        confirmed = records.read(active=True)
        results = candidate_results(self.study, confirmed)
        if self.stop.asked() or not results:
            return
        if failed := failed_runs(self.study, confirmed):
            raise ConfirmationFailed(
                f"the winner is not named: {', '.join(failed)} failed\nthe same command tries again"
            )
        self._train("final", final_plan(self.study, record, choose_champion(self.study, results)))
        if self.stop.asked():
            return
        if name_champion(self.study, self.database, records.read(active=True), self.dataset) is None:
            raise ConfirmationFailed("a final model failed, so the test set stays closed\nthe same command tries again")

    def _train(self, phase: str, plan: Sequence[ConfirmationRun]) -> None:
        """Run the part of the plan that is not recorded yet."""
        runs = ConfirmationRuns(self.study, self.database, self.dataset, plan)
        open_runs = runs.remaining() + len(runs.interrupted())
        done = {"complete": len(plan) - open_runs} if open_runs < len(plan) else {}
        self.progress.begin(phase, len(plan), done, None)
        self.coordinator.run(runs)

"""Confirmation: the training runs on fresh seeds that decide the winner, and the final models.

The best trials and the baseline are trained again on fresh seeds, each seed with the same streams for all of them, so
that differences are paired. The champion's settings are then trained on training and validation examples together.

Both are trials of the Optuna study `confirm`: recorded, resumed and tracked like others, but hidden from the sampler.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from model.epoch import EpochSelection
from model.hyperparameters import Hyperparameters
from studies.definition import Study
from studies.record.folder import StudyFolder
from studies.record.outcome import Outcome
from studies.record.reader import SweepRecord, TrialRecord
from sweep.coordination.task import Task, job_for, task_from
from sweep.storage.database import Database
from sweep.workers.pool import Job

CONFIRM_STREAM, FINAL_STREAM = 0x434F4E46, 0x46494E41
"""Seed-stream identifiers: fresh seeds differ from the seeds of trials and from each other."""

OUT_OF_TIME = "the time for the confirmation was over"

Key = tuple[str, int, int, int | None]
"""Role, candidate, seed index and last epoch, which identify a run."""


@dataclass(frozen=True)
class ConfirmationRun:
    """One training of a candidate on a fresh seed.

    Attributes:
        role: `confirm`, evaluated on the validation examples, or `final`, trained on them too.
        candidate: number of the trial in the search.
        seed_index: from 0.
        hyperparameters: the candidate's.
        stop_after: last epoch, counted from 1, of a final model.
    """

    role: str
    candidate: int
    seed_index: int
    hyperparameters: Hyperparameters
    stop_after: int | None = None

    @property
    def key(self) -> Key:
        """Identifies the run."""
        return self.role, self.candidate, self.seed_index, self.stop_after


class ConfirmationRuns:
    """The trial source of a list of runs; runs that are already recorded are skipped.

    Args:
        study: the study definition.
        database: the study's database.
        dataset: the prepared dataset's folder.
        plan: the runs, in this order.
        until: of `time.monotonic()`, when they have to end; None for no limit.
    """

    def __init__(
        self,
        study: Study,
        database: Database,
        dataset: Path,
        plan: Sequence[ConfirmationRun],
        until: float | None = None,
    ) -> None:
        self._study = study
        self._log = database.confirm
        self._folder = StudyFolder(database.folder)
        self._dataset = dataset
        wanted = [run.key for run in plan]
        self._until = until
        recorded = {run_key(trial): trial for trial in self._log.trials() if not _is_repeated(trial)}
        self._running = [t for t in recorded.values() if t.state == TrialState.RUNNING and run_key(t) in wanted]
        self._plan = [run for run in plan if run.key not in recorded]

    def interrupted(self) -> Sequence[Task]:
        """Runs that are recorded as running."""
        return [task_from(self._log, trial, self._job(trial)) for trial in self._running]

    def ask(self) -> Task | None:
        """The next run of the plan."""
        if not self._plan:
            return None
        run = self._plan.pop(0)
        trial = self._log.begin(
            create_trial(
                state=TrialState.RUNNING,
                user_attrs={
                    "hyperparameters": run.hyperparameters.as_dict(),
                    "role": run.role,
                    "candidate": run.candidate,
                    "seed_index": run.seed_index,
                    "stop_after": run.stop_after,
                },
            )
        )
        return task_from(self._log, trial, self._job(trial))

    def should_prune(self, task: Task, epoch: int) -> bool:
        """Never."""
        return False

    def pause(self, task: Task) -> None:
        """Never called: these jobs have no pause."""
        raise AssertionError(f"{task.job.id} paused")

    def given_up(self, *, at_end: bool = False) -> Sequence[tuple[Task, str]]:
        """None."""
        return ()

    def over(self) -> tuple[Outcome, str] | None:
        """Runs that are not finished in time are repeated by the next start."""
        if self._until is None or time.monotonic() < self._until:
            return None
        return Outcome.TIMEOUT, OUT_OF_TIME

    def tell(self, task: Task, outcome: Outcome) -> Mapping[str, Any]:
        """The sampler does not learn from these runs."""
        return {}

    def remaining(self) -> int:
        """Number of runs that have not been started."""
        return len(self._plan)

    def _job(self, trial: FrozenTrial) -> Job:
        what = trial.user_attrs
        final = what["role"] == "final"
        return job_for(
            f"confirm/{trial.number}",
            self._folder.trial("confirm", trial.number).path,
            self._dataset,
            self._study.seed,
            Hyperparameters(**what["hyperparameters"]),
            [self._study.seed, FINAL_STREAM if final else CONFIRM_STREAM, what["seed_index"]],
            EpochSelection(self._study.objective, "last" if final else self._study.epoch),
            whole=final,
            stop_after=what["stop_after"],
        )


def _is_repeated(trial: FrozenTrial) -> bool:
    """Whether to repeat a run: if it failed, or the time was over. If it diverged, it would only diverge again."""
    return trial.state == TrialState.FAIL or trial.user_attrs.get("reason") == OUT_OF_TIME


def run_key(trial: FrozenTrial) -> Key:
    """The key of a recorded run."""
    what = trial.user_attrs
    return what["role"], what["candidate"], what["seed_index"], what["stop_after"]


def candidates(study: Study, record: SweepRecord) -> list[TrialRecord]:
    """The best trials of different settings, and the baseline once: repeated settings would compete with themselves.

    Stopped trials are among them only if too few were completed.
    """
    baseline = record.trials[:1]
    found: list[TrialRecord] = []
    for trial in record.contenders():
        if len(found) < study.confirm.top and not _is_among(trial, found):
            found += baseline if _is_among(trial, baseline) else [trial]
    return [*found, *(trial for trial in baseline if not _is_among(trial, found))]


def _is_among(trial: TrialRecord, others: Sequence[TrialRecord]) -> bool:
    return any(trial.hyperparameters == other.hyperparameters for other in others)


def confirmation_plan(study: Study, record: SweepRecord) -> list[ConfirmationRun]:
    """Every candidate on every fresh seed, seed by seed, so that an early stop leaves whole pairs."""
    return [
        ConfirmationRun("confirm", trial.number, seed, Hyperparameters(**trial.hyperparameters))
        for seed in range(study.confirm.seeds)
        for trial in candidates(study, record)
    ]


def training_seconds(trials: Sequence[TrialRecord]) -> list[float]:
    """Seconds of a whole training of each trial, by the mean time of the epochs that it ran."""
    return [trial.seconds / len(trial.epochs) * trial.hyperparameters["epochs"] for trial in trials]


def whole_seeds(study: Study, record: SweepRecord) -> int:
    """Number of first seeds on which every candidate's confirm run was trained before the time was over."""
    ended = {
        (run.candidate, run.seed_index)
        for run in record.confirm
        if run.role == "confirm" and run.state != "running" and run.reason != OUT_OF_TIME
    }
    numbers = [trial.number for trial in candidates(study, record)]
    seeds = range(study.confirm.seeds)
    return next((seed for seed in seeds if any((n, seed) not in ended for n in numbers)), study.confirm.seeds)


def failed_runs(study: Study, record: SweepRecord) -> list[str]:
    """Confirm runs that failed, so that no winner can be named, as text; empty if there is none."""

    def recorded(*states: str) -> set[tuple[int | None, int | None]]:
        return {(r.candidate, r.seed_index) for r in record.confirm if r.role == "confirm" and r.state in states}

    planned = {(run.candidate, run.seed_index) for run in confirmation_plan(study, record)}
    failed = (planned & recorded("failed")) - recorded("complete", "pruned")
    return [f"confirm run of trial {candidate} on seed {seed}" for candidate, seed in sorted(failed)]


def final_plan(study: Study, record: SweepRecord, champion: Mapping[str, Any]) -> list[ConfirmationRun]:
    """The champion's settings on training and validation examples, stopped at the median of its best epochs."""
    settings = Hyperparameters(**record.trials[champion["trial"]].hyperparameters)
    stop_after = math.ceil(statistics.median(champion["best_epochs"]))
    return [
        ConfirmationRun("final", champion["trial"], seed, settings, stop_after) for seed in range(study.confirm.seeds)
    ]

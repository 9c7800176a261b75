"""Confirmation: the training runs on fresh splits and seeds that decide the winner, and the final models.

1. Screening: each of the best different settings is trained once on a fresh split and seed. The best is the champion,
   the next one the runner-up.
2. Champion, runner-up and baseline are trained on further fresh splits and seeds, the same for all of them, for as many
   epochs as the final models will be. Their differences are paired, and the champion was chosen before, on other data.
3. Final models of champion and baseline are trained on all but the test examples.

All are trials of the Optuna study `confirm`: recorded, resumed and tracked like others, but hidden from the sampler.
Each is one training, also where a trial of the search has several folds: fresh splits and seeds are what they measure.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState, create_trial

from model.epoch_selection import EpochSelection
from model.hyperparameters import Hyperparameters
from studies.definition import Study
from studies.record.folder import StudyFolder
from studies.record.outcome import Outcome
from studies.record.reader import SweepRecord, TrialRecord
from sweep.coordination.task import Task, job_for, task_from
from sweep.search.budget import training_share
from sweep.storage.database import Database
from sweep.workers.pool import Job

CONFIRM_STREAM, FINAL_STREAM, SPLIT_STREAM = 0x434F4E46, 0x46494E41, 0x53504C54
"""Seed-stream identifiers: fresh seeds differ from the seeds of trials and from each other."""
OUT_OF_TIME = "the time for the confirmation was over"
SCREENING_SPLIT = 1
"""Index of the split of the screening; 0 is the search's, and those of the confirmation follow."""

Key = tuple[str, int, int, int | None, int | None]
"""Role, candidate, seed index, split and last epoch, which identify a run."""


@dataclass(frozen=True)
class ConfirmationRun:
    """One training of a candidate on a fresh seed.

    Attributes:
        role: `screen` or `confirm`, evaluated on the validation examples, or `final`, trained on them too.
        candidate: number of the trial in the search.
        seed_index: from 0.
        split: index of the split of training and validation examples; None for a final model.
        hyperparameters: the candidate's.
        stop_after: last epoch, counted from 1; None for all, of which one is selected as in the search.
    """

    role: str
    candidate: int
    seed_index: int
    split: int | None
    hyperparameters: Hyperparameters
    stop_after: int | None = None

    @property
    def key(self) -> Key:
        """Identifies the run."""
        return self.role, self.candidate, self.seed_index, self.split, self.stop_after


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
        run = asdict(self._plan.pop(0))
        settings = Hyperparameters(**run.pop("hyperparameters")).as_dict()
        trial = self._log.begin(create_trial(state=TrialState.RUNNING, user_attrs={"hyperparameters": settings, **run}))
        return task_from(self._log, trial, self._job(trial))

    def should_prune(self, task: Task, epoch: int) -> bool:
        """Never."""
        return False

    def pause(self, task: Task) -> None:
        """Never called: these jobs have no pause."""
        raise AssertionError(f"{task.job.id} paused")

    @property
    def paused(self) -> int:
        """None."""
        return 0

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
        selected = self._study.epoch if what["stop_after"] is None else "last"
        return job_for(
            f"confirm/{trial.number}",
            self._folder.trial("confirm", trial.number).path,
            self._dataset,
            split_seed(self._study, what.get("split") or 0),
            Hyperparameters(**what["hyperparameters"]),
            [self._study.seed, FINAL_STREAM if final else CONFIRM_STREAM, what["seed_index"]],
            EpochSelection(self._study.objective, selected),
            whole=final,
            stop_after=what["stop_after"],
        )


def split_seed(study: Study, index: int) -> int:
    """The seed of a split of training and validation examples; index 0 is the search's."""
    if not index:
        return study.seed
    return int(np.random.SeedSequence([study.seed, index, SPLIT_STREAM]).generate_state(1)[0])


def run_key(trial: FrozenTrial) -> Key:
    """The key of a recorded run; an older version recorded no split, and trained all on the search's."""
    what = trial.user_attrs
    return what["role"], what["candidate"], what["seed_index"], what.get("split", 0), what["stop_after"]


def candidates(study: Study, record: SweepRecord) -> list[TrialRecord]:
    """The best trials of different settings: repeated settings would compete with themselves.

    Stopped trials are among them only if too few were completed. The baseline stands for trials with its settings.
    """
    baseline = record.trials[:1]
    found: list[TrialRecord] = []
    for trial in record.contenders():
        if len(found) < study.confirm.top and not _is_among(trial, found):
            found += baseline if _is_among(trial, baseline) else [trial]
    return found


def screening_plan(study: Study, record: SweepRecord) -> list[ConfirmationRun]:
    """Every candidate once; nothing if there is only one."""
    found = candidates(study, record)
    runs = [ConfirmationRun("screen", trial.number, 0, SCREENING_SPLIT, _settings(trial)) for trial in found]
    return runs if len(runs) > 1 else []


def finalists(study: Study, record: SweepRecord) -> list[TrialRecord]:
    """The champion, then the runner-up if there is one, then the baseline; each of them once.

    Empty if every screening run diverged.
    """
    found = candidates(study, record)
    if len(found) > 1:
        screened = screening_values(record)
        found = sorted((t for t in found if t.number in screened), key=lambda trial: screened[trial.number])
    if not found:
        return []
    return [*found[:2], *(trial for trial in record.trials[:1] if not _is_among(trial, found[:2]))]


def screening_values(record: SweepRecord) -> dict[int, tuple[float, float, int]]:
    """The order of the screened trials by number: cost, validation loss, number."""
    return {
        run.candidate: (record.metric.cost(run.value), run.validation_loss or 0.0, run.candidate)
        for run in record.confirm
        if run.role == "screen" and run.state == "complete" and run.candidate is not None and run.value is not None
    }


def confirmation_plan(study: Study, record: SweepRecord) -> list[ConfirmationRun]:
    """Every finalist on every further split, split by split, so that an early stop leaves whole pairs."""
    chosen = [(trial, epochs_to_ship(study, record, trial)) for trial in finalists(study, record)]
    return [
        ConfirmationRun("confirm", trial.number, repeat, SCREENING_SPLIT + 1 + repeat, _settings(trial), epochs)
        for repeat in range(study.confirm.repeats)
        for trial, epochs in chosen
    ]


def final_plan(study: Study, record: SweepRecord, champion: int) -> list[ConfirmationRun]:
    """Champion and baseline on training and validation examples, in turn, so that an early stop leaves one of each."""
    shipped = [record.trials[number] for number in dict.fromkeys([champion, 0])]
    return [
        ConfirmationRun("final", trial.number, seed, None, _settings(trial), epochs_to_ship(study, record, trial))
        for seed in range(max(1, study.confirm.repeats))
        for trial in shipped
    ]


def epochs_to_ship(study: Study, record: SweepRecord, trial: TrialRecord) -> int:
    """For how many epochs the final models of a trial are trained: the median of its selected epochs, rounded up.

    Those of the search, if it was trained to its end there, and of the screening.
    """
    length = int(trial.hyperparameters["epochs"])
    screened = [run for run in record.confirm if run.role == "screen" and run.candidate == trial.number]
    whole = [run for run in (trial, *screened) if run.state == "complete" and run.selected_epoch is not None]
    if study.epoch == "last" or not whole:
        return length
    return math.ceil(statistics.median((run.selected_epoch or 0) + 1 for run in whole))


def training_seconds(study: Study, trials: Sequence[TrialRecord]) -> list[float]:
    """Seconds of a whole training on one split of each trial's settings, by the mean time of the epochs that it ran."""
    share = training_share(study.folds)
    return [share * trial.seconds / len(trial.epochs) * trial.hyperparameters["epochs"] for trial in trials]


def whole_repeats(study: Study, record: SweepRecord) -> int:
    """Number of first splits on which every finalist was trained before the time was over."""
    planned = confirmation_plan(study, record)
    ended = {
        (run.candidate, run.split)
        for run in record.confirm
        if run.role == "confirm" and run.state != "running" and run.reason != OUT_OF_TIME
    }
    missing = (run.seed_index for run in planned if (run.candidate, run.split) not in ended)
    return next(missing, study.confirm.repeats)


def failed_runs(record: SweepRecord, plan: Sequence[ConfirmationRun]) -> list[str]:
    """Runs of a plan that failed, so that no winner can be named, as text; empty if there is none."""

    def recorded(*states: str) -> set[tuple[Any, ...]]:
        return {(r.role, r.candidate, r.seed_index, r.split) for r in record.confirm if r.state in states}

    planned = {(run.role, run.candidate, run.seed_index, run.split) for run in plan}
    failed = (planned & recorded("failed")) - recorded("complete", "pruned")
    names = {"screen": "screening run", "confirm": "confirm run", "final": "final model"}
    return [f"{names[role]} {index + 1} of trial {candidate}" for role, candidate, index, _ in sorted(failed, key=str)]


def _is_repeated(trial: FrozenTrial) -> bool:
    """Whether to repeat a run: if it failed, or the time was over. If it diverged, it would only diverge again."""
    return trial.state == TrialState.FAIL or trial.user_attrs.get("reason") == OUT_OF_TIME


def _is_among(trial: TrialRecord, others: Sequence[TrialRecord]) -> bool:
    return any(trial.hyperparameters == other.hyperparameters for other in others)


def _settings(trial: TrialRecord) -> Hyperparameters:
    return Hyperparameters(**trial.hyperparameters)

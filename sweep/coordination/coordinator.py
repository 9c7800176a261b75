"""The loop: ask, dispatch, observe, tell. The only writer of the study database.

Starting is recovering: what the database calls running is continued first, from its last checkpoint, under its own
number. There is no other recovery code. Trials come from a `TrialSource`: the search, or the list
of confirmation runs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from sweep.coordination.leftovers import remove_files_of
from sweep.coordination.progress import Progress
from sweep.coordination.task import Task, note_epoch
from sweep.coordination.trial_source import TrialSource
from sweep.errors import RecordMismatch
from sweep.failpoints import failpoint
from sweep.workers.pool import EnvironmentFailure, Event, Pool
from sweep.workers.worker import CHECKPOINT

DEATHS = 3
"""A trial whose worker died so often fails."""
FAILURES = 5
"""So many failures in a row end the sweep: something is wrong with the study, not with a setting."""
GRACE = 4.0
"""Seconds that workers have to reach the end of an epoch once the sweep is asked to stop."""
POLL = 0.2
"""Seconds between two looks at signals and the clock."""
STALL = 120.0
"""Seconds without a step after which a worker hangs; reading or judging a large dataset takes some seconds."""


class TooManyFailures(Exception):
    """Trials keep failing."""


@dataclass
class Stop:
    """Whether the sweep is to stop, and why.

    Attributes:
        reason: number of the signal, 0 for the time limit, None to go on.
        deadline: of `time.monotonic()`, or None.
    """

    reason: int | None = None
    deadline: float | None = None

    def asked(self) -> bool:
        """Whether to stop now."""
        if self.reason is None and self.deadline is not None and time.monotonic() > self.deadline:
            self.reason = 0
        return self.reason is not None


class Coordinator:
    """Runs tasks on workers until none is left.

    Args:
        pool: where they run.
        progress: what a person sees.
        stop: set by a signal or a time limit.
    """

    def __init__(self, pool: Pool, progress: Progress, stop: Stop) -> None:
        self._pool = pool
        self._progress = progress
        self._stop = stop
        self._tasks: dict[str, Task] = {}
        self._failures: list[str] = []
        self._watched = 0.0

    def run(self, source: TrialSource) -> None:
        """Run everything the asker asks for; returns early when a stop is asked for.

        Raises:
            TooManyFailures: too many failures in a row.
            RecordMismatch: an epoch run again gave other numbers than recorded.
            EnvironmentFailure: a worker could not write, or there are none any more.
        """
        waiting = [task for task in source.interrupted() if not self._was_behind(task, source)]
        while not self._stop.asked():
            # One at a time: a draw may take 0.1 s, and what a thousand workers say meanwhile would wait for them all.
            room = self._pool.free > 0
            task = (waiting.pop(0) if waiting else source.ask()) if room else None
            if task:
                self._dispatch(task)
            if not self._tasks and (room or not (waiting or source.remaining())):
                return  # with nothing at work and no room, a cluster's workers are still to come
            events, heard = self._pool.events(0 if task else POLL), time.monotonic()
            for event in events:
                self._handle(event, source, waiting)
            self._watch(source, heard)
            self._progress.refresh(source.remaining() + len(waiting))
        self._wind_down(source)

    def _dispatch(self, task: Task) -> None:
        """Hand a task to a worker; the attempt is recorded before it begins."""
        attempt = task.trial.user_attrs.get("attempt", 0) + 1
        task.trial.user_attrs["attempt"] = attempt
        task.log.attribute(task.trial._trial_id, "attempt", attempt)
        failpoint("after_attempt")
        self._tasks[task.job.id] = task
        task.begun = task.moved = time.monotonic()
        task.before, task.steps = sum(row["seconds"] for row in task.epochs), -1
        worker = self._pool.start(task.job)
        task.log.attribute(task.trial._trial_id, "worker", worker)
        self._progress.started(task.job, task.trial.number, worker, len(task.epochs))

    def _handle(self, event: Event, source: TrialSource, waiting: list[Task]) -> None:
        task = self._tasks[event.job]
        kind = event.message["is"]
        if kind == "epoch" and not task.ended:
            self._observe(task, event.message["epoch"], source)
        elif kind == "pulse":
            _note_steps(task, event.message["step"])
        elif kind == "began":
            task.begun = task.moved = time.monotonic()
        elif kind == "note":
            self._progress.note(event.message["text"])
        elif kind in ("done", "stopped", "failed", "died", "lost"):
            del self._tasks[event.job]
            if not task.ended:
                self._end(task, event.message, source, waiting)
            if task.ended:
                remove_files_of(task)

    def _watch(self, source: TrialSource, heard: float) -> None:
        """End what takes too long or no longer moves, as known when the pool was `heard`.

        Recording what it said may have taken long since, where the database's server was away: the tasks moved on.
        """
        if heard - self._watched < POLL:  # not at every line of a thousand workers
            return
        self._watched, late = heard, time.monotonic() - heard
        for task in list(self._tasks.values()):
            limit = task.job.seconds
            if limit is not None and task.seconds() - late > limit:
                self._time_out(task, f"not through after the limit of {limit:g} s", source)
            elif heard - task.moved > STALL:
                self._time_out(task, f"no step within {STALL:g} s: it hangs", source)

    def _time_out(self, task: Task, reason: str, source: TrialSource) -> None:
        del self._tasks[task.job.id]
        self._pool.end(task.job.id)
        if not task.ended:
            self._finish(task, TrialState.PRUNED, "timeout", reason, {}, source)
        remove_files_of(task)

    def _observe(self, task: Task, row: dict[str, Any], source: TrialSource) -> None:
        """Record an epoch, or compare it with the record when it was run before; then judge."""
        index = row.pop("index")
        task.moved = time.monotonic()
        if index < len(task.epochs):
            _require_equal(task, index, row)
            return
        note_epoch(task, row)
        failpoint("before_epoch")
        task.log.epoch(task.trial._trial_id, index, task.epochs[index], task.value)
        failpoint("after_epoch")
        self._progress.epoch(task.job, index, task.value)
        if source.should_prune(task, index):
            self._pool.stop(task.job.id)
            self._prune(task, source)

    def _was_behind(self, task: Task, source: TrialSource) -> bool:
        """Judge an interrupted task by its last recorded epoch: the kill may have come before the verdict."""
        if not task.epochs or not source.should_prune(task, len(task.epochs) - 1):
            return False
        self._prune(task, source)
        remove_files_of(task)
        return True

    def _prune(self, task: Task, source: TrialSource) -> None:
        reason = f"behind the other trials after epoch {len(task.epochs)}"
        self._finish(task, TrialState.PRUNED, "pruned", reason, {}, source)

    def _end(self, task: Task, message: dict[str, Any], source: TrialSource, waiting: list[Task]) -> None:
        """A worker is through with a task that nobody judged."""
        kind = message["is"]
        if kind == "done":
            result = {"weights_sha256": message["weights_sha256"], "confusion": message["confusion"]}
            self._finish(task, TrialState.COMPLETE, "complete", "all epochs run", result, source)
        elif kind == "died":
            self._retry(task, message["reason"], source, waiting)
        elif kind == "lost":
            self._again(task, message["reason"], waiting)
        elif kind == "failed":
            self._fail(task, message["outcome"], message["reason"], source)

    def _retry(self, task: Task, reason: str, source: TrialSource, waiting: list[Task]) -> None:
        task.deaths += 1
        task.log.attribute(task.trial._trial_id, "deaths", task.deaths)
        if task.deaths >= DEATHS:
            self._finish(task, TrialState.FAIL, "failed", f"{reason}; {task.deaths} times in all", {}, source)
            return
        self._again(task, reason, waiting)

    def _again(self, task: Task, reason: str | None, waiting: list[Task]) -> None:
        kept = (Path(task.job.folder) / CHECKPOINT).exists()
        how = "continuing it from its last checkpoint" if kept else "it starts again"
        if reason:  # else it was said once for all
            self._progress.note(f"{task.job.id}: {reason}; {how}")
        waiting.insert(0, task)

    def _fail(self, task: Task, outcome: str, reason: str, source: TrialSource) -> None:
        if outcome == "environment":
            raise EnvironmentFailure(f"a worker could not use its files: {reason}")
        # Samplers ignore FAIL and would try the same place again, so a bad setting is told as pruned.
        state = TrialState.FAIL if outcome == "failed" else TrialState.PRUNED
        self._finish(task, state, outcome, reason, {}, source)

    def _finish(
        self, task: Task, state: TrialState, outcome: str, reason: str, result: dict[str, Any], source: TrialSource
    ) -> None:
        """Record everything about the trial, then its state; then break the circuit if failures pile up."""
        task.ended = True
        result |= {"value": task.value, "seconds": sum(row["seconds"] for row in task.epochs)}
        if task.selected:
            result |= {
                "counted_epoch": task.selected.index,
                "validation_loss": task.selected.validation.get("loss"),
                "validation_accuracy": task.selected.validation.get("accuracy"),
            }
        system = source.tell(task, state)
        value = None if state == TrialState.FAIL else task.value
        attributes = {"outcome": outcome, "reason": reason, "result": result}
        task.trial.user_attrs.update(attributes)
        failpoint("before_finish")
        task.log.finish(task.trial._trial_id, state, value, attributes, system)
        failpoint("after_finish")
        self._progress.finished(task.job, task.trial.number, outcome, reason, task.value)
        self._count_failure(task, outcome, reason)

    def _count_failure(self, task: Task, outcome: str, reason: str) -> None:
        if outcome in ("complete", "pruned"):
            self._failures.clear()
            return
        self._failures.append(f"trial {task.trial.number}: {reason}")
        if len(self._failures) >= FAILURES:
            raise TooManyFailures(f"{FAILURES} trials in a row failed; the first was {self._failures[0]}")

    def _wind_down(self, source: TrialSource) -> None:
        """Let running epochs end, record them, and leave the trials running in the record: they continue next time."""
        for job in self._pool.busy:
            self._pool.stop(job)
        deadline = time.monotonic() + GRACE
        while self._pool.busy and time.monotonic() < deadline:
            for event in self._pool.events(POLL):
                if event.message["is"] not in ("died", "lost"):
                    self._handle(event, source, [])
        self._tasks.clear()


def _note_steps(task: Task, steps: int) -> None:
    if steps != task.steps:
        task.steps, task.moved = steps, time.monotonic()


def _require_equal(task: Task, index: int, row: Mapping[str, Any]) -> None:
    """An epoch that was run again must be what was recorded, seconds excepted."""
    for key, value in task.epochs[index].items():
        if key != "seconds" and row[key] != value:
            raise RecordMismatch(
                f"trial {task.trial.number}, epoch {index + 1} was run again and gave another {key}: "
                f"{value} is recorded, {row[key]} came\n"
                "the data, the program or the machine changed; nothing was overwritten\n"
                "continue with those it was begun with, or give the study file a new name"
            )

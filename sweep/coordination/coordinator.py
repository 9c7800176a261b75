"""The loop of a sweep: propose a trial, start it, record its epochs, record its result. Nothing else writes trials.

A start is also the recovery: trials recorded as running are continued first, each from its last checkpoint and with
its own number. There is no other recovery code.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from studies.record.folder import TrialFolder
from studies.record.outcome import Outcome
from studies.record.schema import LIMIT
from sweep.coordination.leftovers import remove_files_of
from sweep.coordination.progress import Progress
from sweep.coordination.task import Task, state_of
from sweep.coordination.trial_source import TrialSource
from sweep.errors import RecordMismatch
from sweep.failpoints import failpoint
from sweep.workers.messages import Message, MessageKind
from sweep.workers.pool import EnvironmentFailure, Event, Pool

MAX_DEATHS = 3
"""A trial fails after this many exits of its workers."""
MAX_FAILURES_IN_A_ROW = 5
"""After this many failures the sweep ends: the study is faulty, not a single setting."""
STOP_TIMEOUT_S = 4.0
"""Time for workers to finish their epoch when the sweep stops."""
POLL_INTERVAL_S = 0.2
"""Interval between checks of signals and timeouts."""
STALL_TIMEOUT_S = 120.0
"""Without a training step for this time, a worker hangs. Loading a large dataset takes only some seconds."""


class TooManyFailures(Exception):
    """Trials keep failing."""


@dataclass
class Stop:
    """Whether the sweep has to stop, and why.

    Attributes:
        reason: number of the signal, 0 for the time limit, None to continue.
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
    """Run the trials of a source on the workers of a pool.

    Args:
        pool: the workers.
        progress: displays the state of the trials.
        stop: set by a signal or a time limit.
    """

    _source: TrialSource
    """The source of the current call of `run`."""

    def __init__(self, pool: Pool, progress: Progress, stop: Stop) -> None:
        self._pool = pool
        self._progress = progress
        self._stop = stop
        self._waiting: list[Task] = []
        self._running: dict[str, Task] = {}
        self._failures: list[str] = []
        self._checked = 0.0

    def run(self, source: TrialSource) -> None:
        """Run all trials of a source; returns early if `stop` is set.

        Raises:
            TooManyFailures: too many trials failed in a row.
            RecordMismatch: an epoch that was run again differs from the record.
            EnvironmentFailure: a worker could not use its files, or the pool can run no more jobs.
        """
        self._source = source
        self._waiting = [task for task in source.interrupted() if not self._prune_if_behind(task)]
        while not self._stop.asked():
            if over := source.over():
                return self._end_all(*over)
            self._give_up(source.given_up())
            # One task per round: a proposal may take 0.1 s, and the messages of all workers wait for it.
            has_room = self._pool.free > 0
            task = self._next() if has_room else None
            if task:
                self._dispatch(task)
            if not self._running and (has_room or (self._remaining() == 0 and not self._source.paused)):
                return self._give_up(source.given_up(at_end=True))
            # Without free workers, wait: those of a cluster may still join.
            events, received = self._pool.events(0 if task else POLL_INTERVAL_S), time.monotonic()
            for event in events:
                self._handle(event)
            self._check_timeouts(received)
            self._progress.refresh(self._remaining())
        self._wind_down()
        return None

    def _next(self) -> Task | None:
        return self._waiting.pop(0) if self._waiting else self._source.ask()

    def _remaining(self) -> int | None:
        """Number of tasks that wait or will come; None if only the time is limited."""
        more = self._source.remaining()
        return None if more is None else more + len(self._waiting)

    def _dispatch(self, task: Task) -> None:
        """Give a task to a worker. The attempt is recorded before it starts; a promotion is none."""
        if task.paused:
            task.paused = False
        else:
            attempt = task.trial.user_attrs.get("attempt", 0) + 1
            task.trial.user_attrs["attempt"] = attempt
            task.log.attribute(task.trial._trial_id, "attempt", attempt)
            failpoint("after_attempt")
        self._running[task.job.id] = task
        task.begin()
        worker = self._pool.start(task.job)
        task.log.attribute(task.trial._trial_id, "worker", worker)
        self._progress.started(task.job, task.trial.number, worker, len(task.epochs))

    def _handle(self, event: Event) -> None:
        task, content = self._running[event.job], event.message.content
        match event.message.kind:
            case MessageKind.BEGAN:
                task.restart_clock()
            case MessageKind.HEARTBEAT:
                task.heartbeat(content["step"])
            case MessageKind.NOTE:
                self._progress.note(content["text"])
            case MessageKind.EPOCH:
                if not task.ended:
                    self._observe(task, content["epoch"])
            case _:
                del self._running[event.job]
                if not task.ended:
                    self._end(task, event.message)
                if task.ended:
                    remove_files_of(task)

    def _observe(self, task: Task, row: Mapping[str, Any]) -> None:
        """Record an epoch, or compare it with the record if it was run before. Then decide on pruning."""
        row = dict(row)
        index = row.pop("index")
        task.progressed = time.monotonic()
        if index < len(task.epochs):
            _require_equal(task, index, row)
            return
        task.add_epoch(row)
        failpoint("before_epoch")
        task.log.epoch(task.trial._trial_id, index, row, task.value)
        failpoint("after_epoch")
        self._progress.epoch(task.job, index, task.value)
        if self._source.should_prune(task, index):
            self._pool.stop(task.job.id)
            self._prune(task)

    def _prune_if_behind(self, task: Task) -> bool:
        """Decide on an interrupted task by its last epoch: the process may have been killed before it decided."""
        if not task.epochs or not self._source.should_prune(task, len(task.epochs) - 1):
            return False
        self._prune(task)
        remove_files_of(task)
        return True

    def _prune(self, task: Task) -> None:
        self._finish(task, Outcome.PRUNED, f"behind the other trials after epoch {len(task.epochs)}")

    def _end(self, task: Task, message: Message) -> None:
        """Handle the last message of a task that has no outcome yet; a stopped one continues with the next start."""
        content = message.content
        match message.kind:
            case MessageKind.DONE:
                self._finish(task, Outcome.COMPLETE, "all epochs run", content)
            case MessageKind.PAUSED:
                task.paused = True
                self._source.pause(task)
                self._progress.paused(task.job, task.trial.number, task.value)
            case MessageKind.FAILED:
                self._finish(task, content["outcome"], content["reason"])
            case MessageKind.ENVIRONMENT_FAILURE:
                raise EnvironmentFailure(f"a worker could not use its files: {content['reason']}")
            case MessageKind.DIED:
                self._count_death(task, content["reason"])
            case MessageKind.LOST:
                self._retry(task, content["reason"])

    def _count_death(self, task: Task, reason: str) -> None:
        task.deaths += 1
        task.log.attribute(task.trial._trial_id, "deaths", task.deaths)
        if task.deaths >= MAX_DEATHS:
            self._finish(task, Outcome.FAILED, f"{reason}; {task.deaths} times in all")
        else:
            self._retry(task, reason)

    def _retry(self, task: Task, reason: str | None) -> None:
        has_checkpoint = TrialFolder(Path(task.job.folder)).checkpoint.exists()
        action = "continuing from its last checkpoint" if has_checkpoint else "starting again"
        if reason:  # a lost scheduler is reported once, not for every task
            self._progress.note(f"{task.job.id}: {reason}; {action}")
        self._waiting.insert(0, task)

    def _check_timeouts(self, received: float) -> None:
        """End tasks that exceed their time limit or make no progress.

        Args:
            received: `time.monotonic()` when the pool's events were received. Recording them may have taken long if
                the database server was unavailable; that time is not counted against the tasks.
        """
        if received - self._checked < POLL_INTERVAL_S:  # not after every message
            return
        self._checked, since = received, time.monotonic() - received
        for task in list(self._running.values()):
            limit = task.job.seconds
            if limit is not None and task.seconds() - since > limit:
                self._time_out(task, f"not finished within the limit of {limit:g} s", {LIMIT: limit})
            elif received - task.progressed > STALL_TIMEOUT_S:
                self._time_out(task, f"no training step within {STALL_TIMEOUT_S:g} s")

    def _time_out(self, task: Task, reason: str, content: Mapping[str, Any] | None = None) -> None:
        del self._running[task.job.id]
        self._pool.end(task.job.id)
        if not task.ended:
            self._finish(task, Outcome.TIMEOUT, reason, content)
        remove_files_of(task)

    def _finish(self, task: Task, outcome: Outcome, reason: str, content: Mapping[str, Any] | None = None) -> None:
        """Record the result of a trial, everything about it before its state; then check for repeated failures.

        Args:
            task: the trial.
            outcome: to record.
            reason: to record.
            content: to record with the result: the worker's last message of a complete trial, or the limit exceeded.
        """
        task.ended = True
        state, system = state_of(outcome), self._source.tell(task, outcome)
        value = None if state == TrialState.FAIL else task.value
        attributes = {"outcome": outcome.value, "reason": reason, "result": {**(content or {}), **_summary(task)}}
        task.trial.user_attrs.update(attributes)
        failpoint("before_finish")
        task.log.finish(task.trial._trial_id, state, value, attributes, system)
        failpoint("after_finish")
        self._progress.finished(task.job, task.trial.number, outcome, reason, task.value, len(task.epochs))
        self._count_failure(task, outcome, reason)

    def _count_failure(self, task: Task, outcome: Outcome, reason: str) -> None:
        """Count failures of the program. Settings that diverge or exceed a limit are results and do not count.

        With many workers, diverging trials would otherwise end a good study by the order in which they arrive.
        """
        if outcome is not Outcome.FAILED:
            self._failures.clear()
            return
        self._failures.append(f"trial {task.trial.number}: {reason}")
        if len(self._failures) >= MAX_FAILURES_IN_A_ROW:
            raise TooManyFailures(f"{MAX_FAILURES_IN_A_ROW} trials in a row failed; the first was {self._failures[0]}")

    def _give_up(self, tasks: Iterable[tuple[Task, str]]) -> None:
        """End paused tasks as pruned."""
        for task, reason in tasks:
            self._finish(task, Outcome.PRUNED, reason)
            remove_files_of(task)

    def _end_all(self, outcome: Outcome, reason: str) -> None:
        """End all tasks with the epochs that they have; their checkpoints are left for the champion."""
        tasks = [*self._running.values(), *self._waiting]
        self._wind_down()
        for job in self._pool.busy:
            self._pool.end(job)
        self._waiting.clear()
        ending = [(task, reason) for task in tasks if not (task.ended or task.paused)]
        ending += [(task, f"{why}; {reason}") for task, why in self._source.given_up(at_end=True)]
        for task, why in ending:
            self._finish(task, outcome, why)
            remove_files_of(task, checkpoint=False)

    def _wind_down(self) -> None:
        """Let workers finish and record their epoch. Their trials stay running in the record, to be continued."""
        for job in self._pool.busy:
            self._pool.stop(job)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while self._pool.busy and time.monotonic() < deadline:
            for event in self._pool.events(POLL_INTERVAL_S):
                if event.message.kind not in (MessageKind.DIED, MessageKind.LOST):
                    self._handle(event)
        self._running.clear()


def _summary(task: Task) -> dict[str, Any]:
    """The part of a trial's result that every outcome has."""
    summary = {"value": task.value, "seconds": sum(row["seconds"] for row in task.epochs)}
    if task.selected:
        summary |= {
            "counted_epoch": task.selected.index,
            "validation_loss": task.selected.validation.get("loss"),
            "validation_accuracy": task.selected.validation.get("accuracy"),
        }
    return summary


def _require_equal(task: Task, index: int, row: Mapping[str, Any]) -> None:
    """An epoch that was run again must equal the recorded one, except for the seconds."""
    for key, value in task.epochs[index].items():
        if key != "seconds" and row[key] != value:
            raise RecordMismatch(
                f"trial {task.trial.number}, epoch {index + 1} was run again and gave another {key}: "
                f"{value} is recorded, {row[key]} is new\n"
                "the data, the program or the machine changed; nothing was overwritten\n"
                "continue with those the study began with, or give the study file a new name"
            )

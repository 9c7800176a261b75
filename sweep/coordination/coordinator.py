"""The loop: ask, dispatch, observe, tell. The only writer of the study database.

Starting is recovering: what the database calls running is continued first, from its last checkpoint, under its own
number. There is no other recovery code. What asks (the sampler, or the list of confirm runs) is an `Asker`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from optuna.trial import FrozenTrial, TrialState

from model.files import PART
from model.hyperparameters import Hyperparameters
from model.training import Epoch, Rule
from sweep.coordination.progress import Progress
from sweep.failpoints import failpoint
from sweep.storage.database import RecordMismatch, TrialLog
from sweep.workers.local import Event
from sweep.workers.worker import CHECKPOINT, Job

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


class EnvironmentFailure(Exception):
    """Files or a cluster cannot be used; nothing is lost, the same command continues."""


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


@dataclass
class Task:
    """A trial that is at work or waits for a worker.

    Attributes:
        log: where it is recorded.
        trial: as it was begun.
        job: what a worker is asked to do.
        hyperparameters: decoded.
        epochs: those recorded, in order.
        values: the objective so far, after each of them.
        counted: the epoch that counts so far.
        deaths: how often its worker died.
        ended: a verdict was recorded; what its worker still says is not.
        before: seconds of the epochs that were recorded when a worker got it.
        begun: `time.monotonic()` when a worker got it, and `moved` when it last took a step; `steps` so far.
    """

    log: TrialLog
    trial: FrozenTrial
    job: Job
    rule: Rule
    epochs: list[Mapping[str, Any]] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)
    counted: Epoch | None = None
    deaths: int = 0
    ended: bool = False
    before: float = 0.0
    begun: float = 0.0
    moved: float = 0.0
    steps: int = -1

    def seconds(self) -> float:
        """Training time so far: of the epochs recorded before this start, and since."""
        return self.before + time.monotonic() - self.begun

    @property
    def value(self) -> float | None:
        """The objective at the epoch that counts so far; None where nothing is judged."""
        if self.counted is None or self.job.whole:
            return None
        return float(getattr(self.counted, self.rule.objective))


class Asker(Protocol):
    """Decides what is run next, and learns how it went."""

    def interrupted(self) -> Sequence[Task]:
        """Tasks that the database calls running."""

    def ask(self) -> Task | None:
        """The next task, recorded as running; None when there is none."""

    def judge(self, task: Task, epoch: int) -> bool:
        """Whether to stop the task after this epoch."""

    def tell(self, task: Task, state: TrialState) -> Mapping[str, Any]:
        """Learn the outcome before it is recorded; return system attributes to record with it."""

    def left(self) -> int:
        """How many tasks will still be asked for."""


class Pool(Protocol):
    """Where work is done: it starts a job, delivers what is said of it, asks it to stop, and notices its death."""

    @property
    def free(self) -> int:
        """How many more jobs can be started now."""

    @property
    def busy(self) -> Sequence[str]:
        """Ids of the jobs that run."""

    def start(self, job: Job) -> int:
        """Begin a job, and return the number of the worker that has it."""

    def stop(self, job: str) -> None:
        """Ask for an end after the epoch that runs; `stopped` or `done` will be said."""

    def end(self, job: str) -> None:
        """End a job at once; nothing more is heard of it."""

    def events(self, timeout: float) -> Sequence[Event]:
        """What was said, waiting for at most `timeout` seconds for the first word.

        Raises:
            EnvironmentFailure: no work can be done there any more.
        """

    def kill(self) -> None:
        """End all that runs; may be called from a signal handler, at any moment."""

    def close(self) -> None:
        """End all that runs, and forget it."""


def task_from(log: TrialLog, trial: FrozenTrial, job: Job) -> Task:
    """A task as the database has it; of a fresh trial or of an interrupted one."""
    task = Task(log, trial, job, Rule(job.objective, job.epoch), deaths=trial.user_attrs.get("deaths", 0))
    while (row := trial.user_attrs.get(f"epoch.{len(task.epochs)}")) is not None:
        note_epoch(task, {key: value for key, value in row.items() if key != "time"})
    return task


def note_epoch(task: Task, numbers: Mapping[str, Any]) -> None:
    """Add an epoch's numbers to what the task knows."""
    epoch = Epoch(len(task.epochs), **{key: math.nan if value is None else value for key, value in numbers.items()})
    if task.rule.prefers(epoch, task.counted):
        task.counted = epoch
    task.epochs.append(numbers)
    task.values.append(task.value)


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

    def run(self, asker: Asker) -> None:
        """Run everything the asker asks for; returns early when a stop is asked for.

        Raises:
            TooManyFailures: too many failures in a row.
            RecordMismatch: an epoch run again gave other numbers than recorded.
            EnvironmentFailure: a worker could not write, or there are none any more.
        """
        waiting = [task for task in asker.interrupted() if not self._was_behind(task, asker)]
        while not self._stop.asked():
            # One at a time: a draw may take 0.1 s, and what a thousand workers say meanwhile would wait for them all.
            room = self._pool.free > 0
            task = (waiting.pop(0) if waiting else asker.ask()) if room else None
            if task:
                self._dispatch(task)
            if not self._tasks and (room or not (waiting or asker.left())):
                return  # with nothing at work and no room, a cluster's workers are still to come
            events, heard = self._pool.events(0 if task else POLL), time.monotonic()
            for event in events:
                self._handle(event, asker, waiting)
            self._watch(asker, heard)
            self._progress.refresh(asker.left() + len(waiting))
        self._wind_down(asker)

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

    def _handle(self, event: Event, asker: Asker, waiting: list[Task]) -> None:
        task = self._tasks[event.job]
        kind = event.message["is"]
        if kind == "epoch" and not task.ended:
            self._observe(task, event.message["epoch"], asker)
        elif kind == "pulse":
            _note_steps(task, event.message["step"])
        elif kind == "began":
            task.begun = task.moved = time.monotonic()
        elif kind == "note":
            self._progress.note(event.message["text"])
        elif kind in ("done", "stopped", "failed", "died", "lost"):
            del self._tasks[event.job]
            if not task.ended:
                self._end(task, event.message, asker, waiting)
            if task.ended:
                _tidy(task)

    def _watch(self, asker: Asker, heard: float) -> None:
        """End what takes too long or no longer moves, as known when the pool was `heard`.

        Recording what it said may have taken long since, where the database's server was away: the tasks moved on.
        """
        if heard - self._watched < POLL:  # not at every line of a thousand workers
            return
        self._watched, late = heard, time.monotonic() - heard
        for task in list(self._tasks.values()):
            limit = task.job.seconds
            if limit is not None and task.seconds() - late > limit:
                self._time_out(task, f"not through after the limit of {limit:g} s", asker)
            elif heard - task.moved > STALL:
                self._time_out(task, f"no step within {STALL:g} s: it hangs", asker)

    def _time_out(self, task: Task, reason: str, asker: Asker) -> None:
        del self._tasks[task.job.id]
        self._pool.end(task.job.id)
        if not task.ended:
            self._finish(task, TrialState.PRUNED, "timeout", reason, {}, asker)
        _tidy(task)

    def _observe(self, task: Task, row: dict[str, Any], asker: Asker) -> None:
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
        if asker.judge(task, index):
            self._pool.stop(task.job.id)
            self._prune(task, asker)

    def _was_behind(self, task: Task, asker: Asker) -> bool:
        """Judge an interrupted task by its last recorded epoch: the kill may have come before the verdict."""
        if not task.epochs or not asker.judge(task, len(task.epochs) - 1):
            return False
        self._prune(task, asker)
        _tidy(task)
        return True

    def _prune(self, task: Task, asker: Asker) -> None:
        reason = f"behind the other trials after epoch {len(task.epochs)}"
        self._finish(task, TrialState.PRUNED, "pruned", reason, {}, asker)

    def _end(self, task: Task, message: dict[str, Any], asker: Asker, waiting: list[Task]) -> None:
        """A worker is through with a task that nobody judged."""
        kind = message["is"]
        if kind == "done":
            result = {"weights_sha256": message["weights_sha256"], "confusion": message["confusion"]}
            self._finish(task, TrialState.COMPLETE, "complete", "all epochs run", result, asker)
        elif kind == "died":
            self._retry(task, message["reason"], asker, waiting)
        elif kind == "lost":
            self._again(task, message["reason"], waiting)
        elif kind == "failed":
            self._fail(task, message["outcome"], message["reason"], asker)

    def _retry(self, task: Task, reason: str, asker: Asker, waiting: list[Task]) -> None:
        task.deaths += 1
        task.log.attribute(task.trial._trial_id, "deaths", task.deaths)
        if task.deaths >= DEATHS:
            self._finish(task, TrialState.FAIL, "failed", f"{reason}; {task.deaths} times in all", {}, asker)
            return
        self._again(task, reason, waiting)

    def _again(self, task: Task, reason: str | None, waiting: list[Task]) -> None:
        kept = (Path(task.job.folder) / CHECKPOINT).exists()
        how = "continuing it from its last checkpoint" if kept else "it starts again"
        if reason:  # else it was said once for all
            self._progress.note(f"{task.job.id}: {reason}; {how}")
        waiting.insert(0, task)

    def _fail(self, task: Task, outcome: str, reason: str, asker: Asker) -> None:
        if outcome == "environment":
            raise EnvironmentFailure(f"a worker could not use its files: {reason}")
        # Samplers ignore FAIL and would try the same place again, so a bad setting is told as pruned.
        state = TrialState.FAIL if outcome == "failed" else TrialState.PRUNED
        self._finish(task, state, outcome, reason, {}, asker)

    def _finish(
        self, task: Task, state: TrialState, outcome: str, reason: str, result: dict[str, Any], asker: Asker
    ) -> None:
        """Record everything about the trial, then its state; then break the circuit if failures pile up."""
        task.ended = True
        result |= {"value": task.value, "seconds": sum(row["seconds"] for row in task.epochs)}
        if task.counted:
            result |= {
                "counted_epoch": task.counted.index,
                "validation_loss": _number(task.counted.validation_loss),
                "validation_accuracy": _number(task.counted.validation_accuracy),
            }
        system = asker.tell(task, state)
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

    def _wind_down(self, asker: Asker) -> None:
        """Let running epochs end, record them, and leave the trials running in the record: they continue next time."""
        for job in self._pool.busy:
            self._pool.stop(job)
        deadline = time.monotonic() + GRACE
        while self._pool.busy and time.monotonic() < deadline:
            for event in self._pool.events(POLL):
                if event.message["is"] not in ("died", "lost"):
                    self._handle(event, asker, [])
        self._tasks.clear()


def job_for(
    identity: str,
    folder: Path,
    dataset: Path,
    split_seed: int,
    settings: Hyperparameters,
    seed: list[int],
    rule: Rule,
    *,
    whole: bool = False,
    stop_after: int | None = None,
    seconds: float | None = None,
) -> Job:
    """A training as a worker is asked for it; everything in it can be written as JSON."""
    return Job(
        id=identity,
        folder=str(folder),
        dataset=str(dataset),
        split_seed=split_seed,
        hyperparameters=settings.as_dict(),
        seed=seed,
        objective=rule.objective,
        epoch=rule.epoch,
        whole=whole,
        stop_after=stop_after,
        seconds=seconds,
    )


def _tidy(task: Task) -> None:
    """Remove what an ended trial no longer needs, once no worker is at it: a pruned one may have run on to its end."""
    kept, folder = "weights_sha256" in task.trial.user_attrs.get("result", {}), Path(task.job.folder)
    names = (CHECKPOINT, "checkpoint.damaged", *([] if kept else ["weights.npz"]))
    for path in (*(folder / name for name in names), *folder.glob(f".*{PART}")):
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path, finished: Iterable[int]) -> None:
    """Remove what a kill between a trial's end and its clean-up, or in the middle of a write, may have left behind.

    Args:
        folder: where trials keep their files; the study's own is the one above it.
        finished: numbers of the trials that need no checkpoint any more.
    """
    parts = [*folder.parent.glob(f".*{PART}"), *folder.glob(f"*/.*{PART}")]
    for path in (*parts, *(folder / f"{number:04d}" / CHECKPOINT for number in finished)):
        path.unlink(missing_ok=True)


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


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value

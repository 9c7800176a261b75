"""The interface of the coordinator's sources of trials: the search, or the list of confirmation runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from studies.record.outcome import Outcome
from sweep.coordination.task import Task


class TrialSource(Protocol):
    """Proposes trials and receives their results."""

    def interrupted(self) -> Sequence[Task]:
        """Tasks whose trials are recorded as running."""

    def ask(self) -> Task | None:
        """The next task, a new or a paused one, already recorded as running; None if there is none now."""

    def should_prune(self, task: Task, epoch: int) -> bool:
        """Whether to stop the task after this epoch (from 0)."""

    def pause(self, task: Task) -> None:
        """The task reached the pause of its job, with a checkpoint; `ask` may return it again."""

    @property
    def paused(self) -> int:
        """Number of paused tasks that are neither continued nor given up yet."""

    def given_up(self, *, at_end: bool = False) -> Sequence[tuple[Task, str]]:
        """Paused tasks that will not be continued, with the reason; all of them `at_end`."""

    def over(self) -> tuple[Outcome, str] | None:
        """How tasks that are not finished end, and why, because the time for them is over; None while it is not."""

    def tell(self, task: Task, outcome: Outcome) -> Mapping[str, Any]:
        """Process the result before it is recorded; return system attributes to record with it."""

    def remaining(self) -> int | None:
        """How many new tasks `ask` will still return; None if only the time is limited."""

"""Where the coordinator's trials come from: the search, or the list of confirmation runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from optuna.trial import TrialState

from sweep.coordination.task import Task


class TrialSource(Protocol):
    """Decides what is run next, and learns how it went."""

    def interrupted(self) -> Sequence[Task]:
        """Tasks that the database calls running."""

    def ask(self) -> Task | None:
        """The next task, recorded as running; None when there is none."""

    def should_prune(self, task: Task, epoch: int) -> bool:
        """Whether to stop the task after this epoch."""

    def tell(self, task: Task, state: TrialState) -> Mapping[str, Any]:
        """Learn the outcome before it is recorded; return system attributes to record with it."""

    def remaining(self) -> int:
        """How many tasks will still be asked for."""

"""The interface of the coordinator's sources of trials: the search, or the list of confirmation runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from optuna.trial import TrialState

from sweep.coordination.task import Task


class TrialSource(Protocol):
    """Proposes trials and receives their results."""

    def interrupted(self) -> Sequence[Task]:
        """Tasks whose trials are recorded as running."""

    def ask(self) -> Task | None:
        """The next task, already recorded as running; None if there is none now."""

    def should_prune(self, task: Task, epoch: int) -> bool:
        """Whether to stop the task after this epoch (from 0)."""

    def tell(self, task: Task, state: TrialState) -> Mapping[str, Any]:
        """Process the result before it is recorded; return system attributes to record with it."""

    def remaining(self) -> int:
        """How many tasks `ask` will still return."""

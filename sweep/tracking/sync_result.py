"""What a synchronisation sent, and its result as one line of JSON, which `sweep run` reads from mirror.log."""

from __future__ import annotations

import json
from dataclasses import asdict, astuple, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Changes:
    """How much was sent. False when nothing was."""

    runs_created: int = 0
    runs_updated: int = 0
    metrics: int = 0
    params: int = 0
    tags: int = 0
    artifacts: int = 0
    models: int = 0

    def __add__(self, other: Changes) -> Changes:
        return Changes(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    def __bool__(self) -> bool:
        return any(astuple(self))


@dataclass(frozen=True)
class SyncResult:
    """What a synchronisation sent, or could not send.

    Attributes:
        study: its name.
        error: why it failed, in one line; None where the tracker is up to date.
        fix: what to do about that; None where the same command may succeed later.
        sent: the numbers of `Changes`, by name.
        unsent_runs, unsent_values: how many runs are not up to date, and how many metric values they lack.
    """

    study: str
    error: str | None = None
    sent: dict[str, int] | None = None
    unsent_runs: int = 0
    unsent_values: int = 0
    fix: str | None = None

    def line(self) -> str:
        """The result as a line of JSON."""
        return json.dumps({"sync": asdict(self)})

    @property
    def unsent(self) -> str:
        """What is missing in the tracker, in words."""
        return f"{self.unsent_runs} runs ({self.unsent_values} metric values) unsent"


def last_result(log: Path) -> SyncResult | None:
    """The last result in a log, among lines that people wrote or libraries logged; None without one."""
    for line in reversed(log.read_text(errors="replace").splitlines()):
        if line.startswith('{"sync": '):
            return SyncResult(**json.loads(line)["sync"])
    return None

"""Progress output of a sweep: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from model.metrics import Metric
from sweep.plural import counted
from sweep.workers.pool import Job

TITLES = {
    "search": "search",
    "screen": "screening of the best trials on a fresh split",
    "confirm": "confirmation on fresh splits",
    "final": "final models on training and validation data",
}
NAMES = {"search": "trial", "screen": "screening run", "confirm": "confirm run", "final": "final model"}
REFRESH_INTERVAL_S = 0.25
NARROW_COLUMNS = 72
"""A terminal with fewer columns shows no progress bar."""


@dataclass
class _Running:
    number: int
    worker: int
    epochs: int
    done: int
    settings: str
    value: float | None = None
    since: float = field(default_factory=time.monotonic)


class Progress:
    """The state of one phase of a sweep, displayed as it changes.

    Args:
        console: the output; a table is drawn only on a terminal that can move its cursor (TERM is not `dumb`), and in
            Jupyter if ipywidgets is installed.
        searched: names of the hyperparameters to show.
        metric: of the objective, for the format and the comparison of values.
        placed: whether to show the worker of each trial.
    """

    def __init__(self, console: Console, searched: list[str], metric: Metric, *, placed: bool = False) -> None:
        self._console = console
        self._searched = searched
        self._metric = metric
        self._placed = placed
        is_capable = console.is_terminal and not console.is_dumb_terminal
        drawn = is_capable or (console.is_jupyter and find_spec("ipywidgets") is not None)
        self._live = Live(console=console, auto_refresh=False, transient=True) if drawn else None
        self._running: dict[str, _Running] = {}
        self._paused: dict[str, _Running] = {}
        self._counts: dict[str, int] = {}
        self._best: tuple[float, int] | None = None
        self._phase = "search"
        self._total: int | None = 0
        self._left: int | None = 0
        self._until: float | None = None
        self._began, self._ended_here, self._drawn = time.monotonic(), 0, 0.0

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.update(Text(""), refresh=True)
            self._live.stop()

    def begin(
        self,
        phase: str,
        total: int | None,
        counts: Mapping[str, int],
        best: tuple[float, int] | None,
        until: float | None = None,
    ) -> None:
        """Begin a phase.

        Args:
            phase: a key of `TITLES`.
            total: number of its training runs; None if only the time is limited.
            counts: the outcomes of those that ended earlier.
            best: value and number of the best of them.
            until: of `time.monotonic()`, when the phase ends; None if only the number is limited.
        """
        self._phase, self._total, self._counts, self._best, self._until = phase, total, dict(counts), best, until
        self._running.clear()
        self._paused.clear()
        self._began, self._ended_here = time.monotonic(), 0
        done = sum(counts.values())
        if total is None or done < total:
            size = counted(total, "training") if total is not None else ""
            limit = duration(max(0.0, until - self._began)) if until is not None else ""
            earlier = f", {done} of them done" if done and total is not None else ""
            self.note(f"{TITLES[phase]}: {' or '.join(filter(None, (size, limit)))}{earlier}")

    def started(self, job: Job, number: int, worker: int, done: int) -> None:
        """A trial was given to a worker."""
        settings = ", ".join(f"{key} {reading(job.hyperparameters[key])}" for key in self._searched)
        epochs = job.pause_after or job.stop_after or int(job.hyperparameters["epochs"])
        self._paused.pop(job.id, None)
        self._running[job.id] = _Running(number, worker, epochs, done, settings)

    def epoch(self, job: Job, index: int, value: float | None) -> None:
        """A trial ended an epoch."""
        if running := self._running.get(job.id):
            running.done, running.value = index + 1, value

    def paused(self, job: Job, number: int, value: float | None) -> None:
        """A trial paused and may be continued later."""
        self._paused[job.id] = running = self._running.pop(job.id)
        self._compare(number, value)
        if not self._live:
            said = f" at {self._metric.format(value)}" if value is not None else ""
            after = f"after {counted(running.done, 'epoch')}"
            self.note(f"{NAMES[self._phase]} {number}: paused{said} {after}; {running.settings}")

    def finished(self, job: Job, number: int, outcome: str, reason: str, value: float | None, done: int) -> None:
        """A trial ended after `done` epochs; without a table, print a line."""
        running = self._running.pop(job.id, None) or self._paused.pop(job.id, None)
        if running is None:  # given up before this start gave it to a worker
            self.started(job, number, 0, done)
            running = self._running.pop(job.id)
        self._counts[outcome] = self._counts.get(outcome, 0) + 1
        self._ended_here += 1
        if outcome == "complete":
            self._compare(number, value)
        if not self._live:
            said = f" {self._metric.format(value)}" if value is not None else ""
            why = f" ({reason})" if outcome not in ("complete", "pruned") else ""
            after = f"after {counted(done, 'epoch')}{why}"
            self.note(f"{NAMES[self._phase]} {number}: {outcome}{said} {after}; {running.settings}")

    def note(self, text: str) -> None:
        """Print a line above the table."""
        self._console.print(Text(text), soft_wrap=True)

    def refresh(self, left: int | None) -> None:
        """Redraw the table, at most every REFRESH_INTERVAL_S; `left` trials have not begun, None if unknown."""
        self._left = left
        if self._live and time.monotonic() - self._drawn > REFRESH_INTERVAL_S:
            self._drawn = time.monotonic()
            self._live.update(self._picture(), refresh=True)

    def _compare(self, number: int, value: float | None) -> None:
        """Note the value of a trial if it is the best so far."""
        if value is not None and (self._best is None or self._metric.is_better(value, self._best[0])):
            self._best = value, number

    def _picture(self) -> RenderableType:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        narrow = self._console.width < NARROW_COLUMNS
        placed = ["worker"] if self._placed else []
        for title in (NAMES[self._phase], *placed, "epoch", *([] if narrow else ["progress"])):
            table.add_column(title, no_wrap=True)
        for title in (f"validation {self._metric.label}", "settings"):
            table.add_column(title, overflow="fold")
        shown = max(1, self._console.height - 4)  # each row takes 1 ms to draw, also those that do not fit
        for running in itertools.islice(self._running.values(), shown):
            bar = [] if narrow else [ProgressBar(total=running.epochs, completed=running.done, width=16)]
            value = self._metric.format(running.value) if running.value is not None else ""
            place = [str(running.worker)] if self._placed else []
            epochs = f"{running.done}/{running.epochs}"
            table.add_row(str(running.number), *place, epochs, *bar, value, running.settings)
        more = len(self._running) - shown
        return Group(table, *([Text(f"and {more:,} more running", style="dim")] if more > 0 else []), self._summary())

    def _summary(self) -> Text:
        done = sum(self._counts.values()) + len(self._paused)
        of_all = f"of {self._total}" if self._total is not None else "trials"
        parts = [f"{TITLES[self._phase]}: {done} {of_all}"]
        parts += [f"{count} {outcome}" for outcome, count in self._counts.items()]
        parts += [f"{len(self._paused)} paused"] if self._paused else []
        if self._best:
            parts.append(f"best {self._metric.format(self._best[0])} (trial {self._best[1]})")
        if (seconds := self._seconds_left()) is not None:
            parts.append(f"about {duration(seconds)} left")
        return Text("  ·  ".join(parts), style="bold")

    def _seconds_left(self) -> float | None:
        """The time left: to the limit, or estimated from the mean time of the trials that ended or paused here."""
        now, found = time.monotonic(), []
        if self._until is not None:
            found.append(max(0.0, self._until - now))
        if (seen := self._ended_here + len(self._paused)) and self._left is not None:
            found.append((now - self._began) / seen * (self._left + len(self._running) / 2))
        return min(found, default=None)


def reading(value: object) -> str:
    """A setting in four significant digits, layers as 128-64."""
    if isinstance(value, list | tuple):
        return "-".join(str(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """A time in rounded units: 45 s, 3 min, 1 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"

"""Where the coordinator meets its limits: 10, 100 and 1,000 workers, 10,000 trials by TPE, 100,000 at random.

    make bench          has a short form of it: 1,000 trials by TPE on 10 and 100 workers, two minutes
    make scaling        in full, some hours on one core; writes docs/scaling.json and draws docs/scaling.png
    ... scaling.py draw docs/scaling.json docs/scaling.png

A simulation of discrete events. The coordinator, Optuna and the SQLite database are real and work in real time; the
workers are not, and their epochs take random time on a virtual clock. While the coordinator works, the virtual clock
advances by the CPU time that it takes (user and system; this machine is shared, so wall time would be someone else's
too); when it waits, the clock jumps to the next line of a worker. A worker is idle from its last line until the
coordinator gives it the next trial.

The time of an epoch is lognormal with median 1 s: a trial's own pace (sigma 0.5: networks differ in size) times a
jitter for every epoch (sigma 0.1). A trial has 20 epochs, and the median rule judges each, but ends none. Its curve
falls as 0.2 + 1.8 / epoch, moved by how far its settings are from the best ones and by noise. Pulses, checkpoints,
weights, and the lines' own way through pipes or a network are left out; so is MLflow's mirror, a process of its own.
"""

from __future__ import annotations

import heapq
import itertools
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from aims import as_json, show
from coordination import SimulatedWorkers, opened, study_in
from rich.console import Console

from model.data import datasets
from studies.definition import Study
from studies.record import reader as records
from sweep.coordination.coordinator import Coordinator, Stop
from sweep.coordination.progress import Progress
from sweep.coordination.task import Task
from sweep.search.search import Search
from sweep.storage import database as storage
from sweep.workers.pool import Event, Job

EPOCHS, MEDIAN, PACE, JITTER = 20, 1.0, 0.5, 0.1
MEAN = MEDIAN * math.exp((PACE**2 + JITTER**2) / 2)
"""Seconds of a mean epoch: 1.14."""
SHORT = [("tpe", 10, 1_000), ("tpe", 100, 1_000)]
FULL = [("tpe", 100, 10_000), ("random", 1_000, 100_000), ("tpe", 1_000, 10_000), ("tpe", 10, 10_000)]
SAMPLES = 40
"""Points of a curve: every 40th part of the trials is measured by itself."""
CHANGES = (f"baseline.epochs={EPOCHS}", "objective=validation_loss", "pruner=median", "control=1.0")
"""The median rule judges every epoch and ends no trial: all are unpruned controls."""


class VirtualWorkers(SimulatedWorkers):
    """Simulated workers whose epochs take time on a clock of their own.

    Attributes:
        now: seconds on the virtual clock.
        busy_seconds: of the coordinator so far; `idle_seconds` and `trained`: of all workers together.
        waits: seconds that each line waited for the coordinator, since they were last taken.
    """

    def __init__(self, count: int, seed: int) -> None:
        super().__init__(count)
        self.trained, self._said = 0.0, 0.0
        self.count, self.now, self.busy_seconds, self.idle_seconds = count, 0.0, 0.0, 0.0
        self.waits: list[float] = []
        self._dice = np.random.default_rng(seed)
        self._due: list[tuple[float, int, str]] = []
        self._order, self._pace = itertools.count(), {}
        self._free_since = dict.fromkeys(range(count), 0.0)
        self._mark = time.process_time()

    def start(self, job: Job) -> int:
        """Give a job to a free worker, which has been idle until now; its first epoch ends some time later."""
        self._work()
        worker = super().start(job)
        self.idle_seconds += self.now - self._free_since.pop(worker)
        self._pace[job.id] = MEDIAN * math.exp(self._dice.normal(0, PACE))
        self._next(job.id, self.now)
        return worker

    def end(self, job: str) -> None:
        """Forget a job."""
        worker = self._jobs[job][1]
        self._pace.pop(job)
        super().end(job)
        self._free_since[worker] = self._said

    def events(self, timeout: float) -> list[Event]:
        """All lines that are due; where there are none and one may wait, the clock jumps to the first one to come."""
        self._work()
        if timeout and self._due and self._due[0][0] > self.now:
            self.now = self._due[0][0]
        found = []
        while self._due and self._due[0][0] <= self.now:
            self._said, _, job = heapq.heappop(self._due)
            if job in self._jobs:
                self.waits.append(self.now - self._said)
                worker = self._jobs[job][1]
                found.append(Event(job, worker, self._line(job)))
                if job in self._jobs:
                    self._next(job, self._said)
        return found

    def settle(self) -> None:
        """Bring the clock and the idle time up to now, for a look in between."""
        self._work()
        for worker, since in self._free_since.items():
            self.idle_seconds += self.now - since
            self._free_since[worker] = self.now

    def rest(self) -> None:
        """Leave what was done since the last call out of the account: it was not the coordinator's work."""
        self._mark = time.process_time()

    def _work(self) -> None:
        """The coordinator has worked since the last look."""
        spent, self._mark = time.process_time() - self._mark, time.process_time()
        self.now += spent
        self.busy_seconds += spent

    def _next(self, job: str, begun: float) -> None:
        """The line after the next epoch; a worker does not wait for a verdict, and says `done` with its last epoch."""
        _, _, epoch = self._jobs[job]
        last = epoch == EPOCHS
        seconds = 0.0 if last else self._pace[job] * math.exp(self._dice.normal(0, JITTER))
        self.trained += seconds
        heapq.heappush(self._due, (begun + seconds, next(self._order), job))

    def _numbers(self, job: Job, epoch: int) -> dict[str, float]:
        settings = job.hyperparameters
        away = abs(math.log(settings["learning_rate"] / 2e-3)) / 4 + abs(math.log(settings["batch_size"] / 64)) / 20
        loss = 0.2 + 1.8 / (1 + epoch) + 0.3 * away + 0.05 * float(self._dice.random())
        return {
            "train_loss": 0.9 * loss, "train_accuracy": 1 - loss / 3,
            "validation_loss": loss, "validation_accuracy": 1 - loss / 3,
        }  # fmt: skip


@dataclass
class Meter(Stop):
    """Looks at the pool whenever the coordinator asks whether to stop, and notes a point for every so many trials."""

    pool: VirtualWorkers | None = None
    search: MeteredSearch | None = None
    every: int = 1
    database: Path = Path()
    points: list[dict[str, float]] = field(default_factory=list)
    before: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def asked(self) -> bool:
        """Never."""
        assert self.pool is not None
        assert self.search is not None
        if self.search.ended - (self.points[-1]["trials"] if self.points else 0) >= self.every:
            self._note()
        return False

    def _note(self) -> None:
        assert self.pool is not None
        assert self.search is not None
        self.pool.settle()
        after = (self.pool.now, self.pool.busy_seconds, self.pool.idle_seconds, time.perf_counter())
        clock, busy, idle, wall = (new - old for new, old in zip(after, self.before, strict=True))
        waits, trials = np.array(self.pool.waits), self.search.ended - (self.points[-1]["trials"] if self.points else 0)
        asks = np.array(self.search.asks)
        point = {
            "trials": self.search.ended,
            "virtual_s": self.pool.now,
            "load": busy / clock,
            "idle": idle / (clock * self.pool.count),
            "cpu_per_trial_ms": 1e3 * busy / trials,
            "ask_ms": 1e3 * float(np.median(asks)) if asks.size else 0.0,
            "wait_ms": 1e3 * float(np.median(waits)), "wait_99_ms": 1e3 * float(np.quantile(waits, 0.99)),
            "left": self.search.remaining(),
            "cpu_per_wall": busy / wall,
            "memory_mib": resident(), "database_mib": self.database.stat().st_size / 2**20,
        }  # fmt: skip
        self.points.append({key: float(f"{value:.5g}") for key, value in point.items()})
        self.search.asks.clear()
        self.pool.waits.clear()
        self.before = after
        self.pool.rest()


class MeteredSearch(Search):
    """The search, and how long each of its draws took."""

    asks: list[float]
    ended = 0

    def ask(self) -> Task | None:
        """As the search; recorded, too."""
        started = time.process_time()
        task = super().ask()
        if task:
            self.asks.append(time.process_time() - started)
        return task

    def tell(self, task: Task, state: optuna.trial.TrialState) -> Any:
        """As the search."""
        self.ended += 1
        return super().tell(task, state)


def resident() -> float:
    """MiB of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def simulate(place: Path, dataset: Path, sampler: str, workers: int, trials: int, *changes: str) -> dict[str, Any]:
    """One sweep from its first trial to its last, and a restart on what it recorded."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = study_in(place, f"trials={trials}", f"sampler={sampler}", *CHANGES, *changes)
    database = opened(place, study, dataset)
    pool = VirtualWorkers(workers, seed=workers)
    search = MeteredSearch(study, database.search, database.folder, dataset)
    search.asks = []
    meter = Meter(pool=pool, search=search, every=trials // SAMPLES, database=database.folder / "study.db")
    started, memory = time.perf_counter(), resident()
    meter.before = (0.0, 0.0, 0.0, started)
    with Path(os.devnull).open("w") as nowhere:
        # A terminal of 50 lines, drawn as for a person who watches.
        console = Console(file=nowhere, force_terminal=True, width=160, height=50)
        progress = Progress(console, list(study.space), study.metric)
        progress.begin("search", trials, {}, None)
        pool.rest()
        with progress:
            Coordinator(pool, progress, meter).run(search)
    database.close()
    wall = time.perf_counter() - started
    size = (database.folder / "study.db").stat().st_size / 2**20
    peak = max(point["memory_mib"] for point in meter.points)
    found = {"sampler": sampler, "workers": workers, "trials": trials, "wall_s": wall, "memory_before_mib": memory}
    return found | {
        "virtual_s": pool.now, "load": pool.busy_seconds / pool.now, "cpu_s": pool.busy_seconds,
        "idle": pool.idle_seconds / (pool.now * workers), "peak_mib": peak, "database_mib": size,
        "restart": restart(database.folder, study, dataset), "points": meter.points,
    }  # fmt: skip


def restart(folder: Path, study: Study, dataset: Path) -> dict[str, float]:
    """CPU seconds of what `sweep run` does with a recorded study before the next trial, and of reading all of it."""
    found = {}
    for name, step in restart_steps(folder, study, dataset):
        started, wall = time.process_time(), time.perf_counter()
        step()
        found[f"{name}_s"], found[f"{name}_wall_s"] = time.process_time() - started, time.perf_counter() - wall
    return found


def restart_steps(folder: Path, study: Study, dataset: Path) -> Iterator[tuple[str, Any]]:
    """The parts of a start by name, each a call."""
    yield "whole", lambda: records.require_whole(folder / "study.db")
    database = storage.Database(folder)
    yield "search", lambda: Search(study, database.search, folder, dataset)
    yield "report", lambda: records.read(folder)
    database.close()


def draw(result: list[dict[str, Any]], path: Path) -> None:
    """The measured curves as a picture: cost of a trial, load and idle share against the number of trials."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    titles = ("CPU for one trial, draw and 20 epochs (ms)", "coordinator busy (%)", "workers idle (%)")
    shades = {10: "#9ecae1", 100: "#4292c6", 1000: "#08306b"}
    for ax, key, scale, title in zip(axes, ("cpu_per_trial_ms", "load", "idle"), (1, 100, 100), titles, strict=True):
        for run in result:
            x = [point["trials"] for point in run["points"]]
            y = [scale * point[key] for point in run["points"]]
            style = {"tpe": "-", "random": "--"}[run["sampler"]]
            ax.plot(
                x, y, style, color=shades.get(run["workers"], "grey"), label=f"{run['sampler']}, {run['workers']:,}"
            )
        ax.set_title(title, fontsize=9, loc="left")
        ax.set_xscale("log")
        ax.set_ylim(bottom=0)
        ax.set_xlabel("trials so far", fontsize=8)
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].legend(fontsize=8, frameon=False, title="sampler, workers", title_fontsize=8)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def table(result: list[dict[str, Any]]) -> None:
    """The end of every sweep in a line."""
    print("sampler workers  trials  busy  idle  ask ms  trial ms  wait ms   MiB  db MiB  restart s  epoch s for 95 %")
    for run in result:
        last = steady(run)
        shares = f"{100 * last['load']:4.0f}% {100 * last['idle']:4.1f}%"
        costs = f"{last['ask_ms']:7.1f} {last['cpu_per_trial_ms']:9.1f} {last['wait_ms']:8.1f}"
        sizes = f"{run['peak_mib']:5.0f} {run['database_mib']:7.0f} {start_seconds(run):10.1f} {epoch_for(run):17.2f}"
        print(f"{run['sampler']:7} {run['workers']:7,} {run['trials']:7,} {shares} {costs} {sizes}", flush=True)


def steady(run: dict[str, Any]) -> dict[str, float]:
    """The last point of a sweep at which there was still a trial for every worker."""
    return [point for point in run["points"] if point["left"] > 0][-1]  # type: ignore[no-any-return]


def start_seconds(run: dict[str, Any]) -> float:
    """Seconds of a start: the file is looked through, and the search is rebuilt from it."""
    return float(run["restart"]["whole_s"] + run["restart"]["search_s"])


def epoch_for(run: dict[str, Any]) -> float:
    """Mean seconds of an epoch below which workers cannot be busy 95 % of the time, at the last trials.

    With c seconds of the coordinator for a trial of E epochs of s seconds, W workers that are busy 95 % of the time end
    0.95 W / (E s) trials a second, which must not take it more than a second: s = 0.95 W c / E. And a worker alone
    waits at most c between two trials, 5 % of its time at s = 19 c / E.
    """
    return max(0.95 * run["workers"], 19) * steady(run)["cpu_per_trial_ms"] / 1e3 / EPOCHS


def main(arguments: list[str]) -> None:
    """Measure, print the table and the JSON line; in full, keep them and draw."""
    if arguments[:1] == ["draw"]:
        draw(json.loads(Path(arguments[1]).read_text())["sweeps"], Path(arguments[2]))
        return
    result = []
    # A process each: the memory of one sweep is not that of the next.
    alone = ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1)
    with tempfile.TemporaryDirectory(prefix="bench-") as name, alone:
        place = Path(name)
        dataset = datasets.prepare("digits", place / "data")
        for sweep in FULL if arguments[:1] == ["full"] else SHORT:
            result.append(alone.submit(simulate, place, dataset, *sweep).result())
            table(result[-1:])
            if arguments[1:]:
                Path(arguments[1]).write_text(json.dumps({"sweeps": result}) + "\n")
    starts = [run["restart"]["whole_s"] + run["restart"]["search_s"] for run in result if run["trials"] <= 10_000]
    judged = [
        ("CPU seconds to start on what was recorded (full: 10,000 trials), at most 10", max(starts), max(starts) <= 10)
    ]
    print()
    table(result)
    show(judged)
    print(as_json(judged, sweeps=result))
    if arguments[2:]:
        draw(result, Path(arguments[2]))


if __name__ == "__main__":
    main(sys.argv[1:])

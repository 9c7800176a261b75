"""What the sweep costs beside the training: starting, recording epochs, drawing settings.

    make bench          runs this after the training benchmark; about two minutes

The coordinator, Optuna and the database are real. Where it says so, the workers are not: they answer at once, so that
only coordination is left. The last line is everything as JSON.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import optuna
from aims import as_json, show
from rich.console import Console

from model.data import datasets
from model.hyperparameters import Hyperparameters
from studies.definition import Study
from studies.study_file import load
from sweep.commands.preparation import describe
from sweep.coordination.coordinator import Coordinator, Stop
from sweep.coordination.progress import Progress
from sweep.search.search import Search
from sweep.storage import database as storage
from sweep.workers.messages import Message, MessageKind
from sweep.workers.pool import Event, Job

STUDY = """\
question = "What does coordination cost?"
dataset = "digits"
folds = 1
trials = 100
pruner = "median"
[baseline]
hidden_sizes = [64]
epochs = 30
[space]
hidden_sizes  = { layers = [1, 3], units = [64, 512], log = true }
learning_rate = { low = 1e-4, high = 1e-2, log = true }
batch_size    = { choices = [32, 64, 128, 256] }
beta1         = { low = 0.8, high = 0.99 }
beta2         = { low = 0.9, high = 0.9999, log = "complement" }
"""
SIMULATED = 64
RECORDED = (100, 1_000, 10_000)


class SimulatedWorkers:
    """A pool whose every job ends an epoch whenever one looks, with numbers made up from its settings."""

    def __init__(self, count: int) -> None:
        self._free = list(range(count))
        self._jobs: dict[str, tuple[Job, int, int]] = {}

    @property
    def free(self) -> int:
        """How many more jobs can be started now."""
        return len(self._free)

    @property
    def busy(self) -> list[str]:
        """Ids of the jobs that run."""
        return list(self._jobs)

    def start(self, job: Job) -> int:
        """Give a job to a free worker, and return that worker's number."""
        worker = self._free.pop()
        self._jobs[job.id] = job, worker, 0
        return worker

    def stop(self, job: str) -> None:
        """Let the job say `stopped` instead of its next epoch, if it has not ended."""
        if job in self._jobs:
            found, worker, _ = self._jobs[job]
            self._jobs[job] = found, worker, -1

    def end(self, job: str) -> None:
        """Forget a job."""
        self._free.append(self._jobs.pop(job)[1])

    def events(self, timeout: float) -> list[Event]:
        """One line of every job."""
        del timeout
        return [Event(name, worker, self._line(name)) for name, (_, worker, _) in list(self._jobs.items())]

    def _line(self, name: str) -> Message:
        job, worker, epoch = self._jobs[name]
        if epoch < 0 or epoch == job.hyperparameters["epochs"]:
            self.end(name)
            done = Message(MessageKind.DONE, {"weights_sha256": "0" * 64, "confusion": [[1]]})
            return Message(MessageKind.STOPPED) if epoch < 0 else done
        self._jobs[name] = job, worker, epoch + 1
        rest = {"index": epoch, "learning_rate": 1e-3, "seconds": 0.0}
        return Message(MessageKind.EPOCH, {"epoch": {**rest, **self._numbers(job, epoch)}})

    def _numbers(self, job: Job, epoch: int) -> dict[str, float]:
        loss = 1 / (2 + epoch) + abs(job.hyperparameters["learning_rate"] - 2e-3)
        judged = {"validation_loss": loss, "validation_accuracy": 1 - loss / 3}
        return {"train_loss": loss, "train_accuracy": 1 - loss / 3, **judged}


def study_in(place: Path, *changes: str) -> Study:
    """The study of this benchmark, with changes."""
    (place / "cost.toml").write_text(STUDY)
    return load(str(place / "cost.toml"), changes)


def opened(place: Path, study: Study, dataset: Path) -> storage.Database:
    """A fresh database for it."""
    folder = Path(tempfile.mkdtemp(dir=place)) / study.name
    folder.mkdir()
    return storage.open_study(folder, study, describe(dataset, study), {"command": "make bench"})


def throughput(place: Path, dataset: Path) -> float:
    """Epochs a second that the coordinator judges and records, of 100 trials on 64 simulated workers."""
    study = study_in(place)
    database = opened(place, study, dataset)
    progress = Progress(Console(file=io.StringIO()), list(study.space), study.metric)
    coordinator = Coordinator(SimulatedWorkers(SIMULATED), progress, Stop())
    started = time.perf_counter()
    coordinator.run(Search(study, database.search, database.folder, dataset))
    seconds = time.perf_counter() - started
    epochs = sum(len(trial.intermediate_values) for trial in database.search.trials())
    database.close()
    return epochs / seconds


def trial_cost(place: Path, dataset: Path, recorded: int) -> tuple[float, float]:
    """With so many trials recorded: milliseconds for one more by TPE, recorded too, and seconds to start."""
    study = study_in(place, f"trials={recorded + 10}", "pruner=none")
    database = opened(place, study, dataset)
    fill(study, database, recorded)
    started = time.perf_counter()
    search = Search(study, database.search, database.folder, dataset)
    loading = time.perf_counter() - started
    found = []
    for _ in range(5):
        started = time.perf_counter()
        task = search.ask()
        found.append((time.perf_counter() - started) * 1e3)
        assert task is not None
        search.tell(task, optuna.trial.TrialState.FAIL)
    database.close()
    return statistics.median(found), loading


def fill(study: Study, database: storage.Database, number: int) -> None:
    """Record so many completed trials with random settings and values."""
    memory = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1), direction=study.direction)
    for _ in range(number):
        drawn = memory.ask()
        settings: Hyperparameters = study.draw(drawn)
        value = 0.9 + 0.01 * abs(settings.learning_rate - 2e-3)
        trial = database.search.begin(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.RUNNING,
                params=drawn.params,
                distributions=drawn.distributions,
                user_attrs={"hyperparameters": settings.as_dict()},
            )
        )
        database.search.finish(trial._trial_id, optuna.trial.TrialState.COMPLETE, value, {"outcome": "complete"})


def first_batch(place: Path) -> list[float]:
    """Seconds from the command to the first recorded epoch of a new study, five times; the dataset is prepared."""
    home = place / "home"
    study_in(place, "trials=2")
    found = []
    for turn in range(6):
        argv = [sys.executable, "-P", "-m", "sweep", "run", str(place / "cost.toml"), "--home", str(home)]
        argv += [
            "--workers",
            "1",
            "--tracking",
            "none",
            "--no-confirm",
            "--set",
            "baseline.epochs=10000",
            "--set",
            f"seed={turn}",
        ]
        started = time.perf_counter()
        process = subprocess.Popen(argv, env=_plain(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not _first_epoch(home) and process.poll() is None:
            time.sleep(0.005)
        if turn:
            found.append(time.perf_counter() - started)
        process.kill()
        process.wait()
        shutil.rmtree(home / "cost", ignore_errors=True)
    return found


def _plain() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("SWEEP_")}


def _first_epoch(home: Path) -> bool:
    with contextlib.suppress(sqlite3.Error):
        path = home / "cost" / "study.db"
        if path.exists():
            with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
                query = "SELECT count(*) FROM trial_user_attributes WHERE key = 'epoch.0'"
                return bool(connection.execute(query).fetchone()[0])
    return False


def main() -> None:
    """Measure, print the table and the JSON line."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        place = Path(name)
        dataset = datasets.prepare("digits", place / "data")
        rates = [throughput(place, dataset) for _ in range(3)]
        costs = {recorded: trial_cost(place, dataset, recorded) for recorded in RECORDED}
        starts = first_batch(place)
    rate, start = statistics.median(rates), statistics.median(starts)
    judged = [
        (f"epochs a second with {SIMULATED} workers that answer at once, 100 trials, at least 500", rate, rate >= 500),
        ("seconds from `sweep run` to the first recorded epoch (digits), at most 2", start, start <= 2),
        ("milliseconds for a trial by TPE after 10,000, at most 100", costs[10_000][0], costs[10_000][0] <= 100),
    ]
    show(judged)
    print("\nrecorded trials   ms for one more   s to start")
    for recorded, (cost, loading) in costs.items():
        print(f"{recorded:15,}   {cost:15.1f}   {loading:10.2f}")
    print(as_json(judged, epochs_a_second=rates, trial_ms_and_start_s=costs, start_s=starts))


if __name__ == "__main__":
    main()

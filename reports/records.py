"""The one reader of a study database: what a sweep recorded, as frozen values.

A study is a folder. Its `study.db` is an Optuna database with two Optuna studies, `search` (what the sampler
proposed) and `confirm` (fresh-seed repeats of the best trials and the final models). Everything that Optuna has
no column for is a user attribute, written by `sweep/storage.py` under the names read here, so that a report can be
drawn years later by code that no longer shares a class with the code that ran the sweep.

| attribute of `search` | content |
|---|---|
| `schema` | 2, the version of this table; 1 had no seals |
| `uid` | random hex, made once; the identity of the study |
| `created` | ISO 8601, UTC |
| `study` | the study file, complete: name, question, dataset, objective, direction, epoch, seed, trials, sampler, pruner, audit, baseline, space, confirm |
| `dataset` | name, digest (SHA-256), classes, shape of one example, scale, train, validation, test (numbers of examples) |
| `provenance` | versions, git_commit, git_dirty, machine, command |
| `verdict` | what `sweep/champion.py` found; absent until the winner is confirmed |
| `seal` | SHA-256 of all the others: `seal` |

| attribute of a trial | content |
|---|---|
| `hyperparameters` | decoded, complete |
| `epoch.0`, `epoch.1`, ... | learning_rate, train_loss, train_accuracy, validation_loss, validation_accuracy, seconds, time (Unix) |
| `attempt`, `worker` | how often it was dispatched; the worker that had it last |
| `outcome`, `reason` | once finished: complete, pruned, diverged, out of memory, timeout, failed; and why, in words |
| `result` | once finished: counted_epoch, value, validation_loss, validation_accuracy, seconds; complete: weights_sha256, confusion |
| `audit` | judged but never stopped: {"would_prune_at": epoch or null} |
| `seal` | once finished: SHA-256 of everything above and of Optuna's columns: `trial_seal` |
| `role`, `candidate`, `seed_index` | in `confirm`: "confirm" or "final", the trial of `search` it repeats, which fresh seed |
"""  # noqa: E501

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import sqlalchemy
from numpy.typing import NDArray
from optuna.distributions import distribution_to_json
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState

from reports.trials import read_trials

if TYPE_CHECKING:  # pandas takes 0.8 s to import, and only a table of trials needs it
    import pandas as pd

SCHEMA = 2
EPOCH_COLUMNS = (
    "learning_rate",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "seconds",
    "time",
)
EPOCH = np.dtype([(column, np.float64) for column in EPOCH_COLUMNS])
_STATES = {
    TrialState.RUNNING: "running",
    TrialState.WAITING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


_IN_THE_WAY = tuple(f"SQLITE_{name}" for name in ("FULL", "IOERR", "BUSY", "LOCKED", "READONLY", "CANTOPEN", "PERM"))
_DAMAGE = tuple(f"SQLITE_{name}" for name in ("CORRUPT", "NOTADB", "ERROR"))
"""How SQLite's names begin for errors that lie outside the content, and within it (a missing table is an ERROR).

https://www.sqlite.org/rescode.html
"""


class RecordError(Exception):
    """The folder holds no study database that this version can read."""


class DatabaseTrouble(Exception):
    """A study database cannot be read or written now: the disk is full, or another process holds it."""


@dataclass(frozen=True)
class TrialRecord:
    """One trial as it was recorded.

    Attributes:
        number: 0-based; the baseline is trial 0 of the search.
        state: Optuna's word: running, complete, pruned or failed.
        outcome: complete, pruned, diverged, out of memory, timeout, failed, running, or interrupted
            (running in the record, but no process is at work on the study).
        reason: why it ended so, in words; None while it runs.
        hyperparameters: decoded; `hidden_sizes` is a tuple.
        epochs: (epochs,) of dtype `EPOCH`, read-only: `epochs["train_loss"]` is a curve, `epochs[3]` a row; accuracies
            are fractions in 0..1, what was not measured is NaN.
        value: the objective at the epoch that counts; the best so far of a trial that was stopped; else None.
        counted_epoch: index of the epoch that counts, or None.
        validation_loss, validation_accuracy: at the epoch that counts, or None.
        seconds: training time of all its epochs.
        started, finished: UTC.
        confusion: validation confusion matrix, rows are true classes; only of completed trials.
        audit: {"would_prune_at": epoch or None} for a trial that was judged but never stopped.
        role, candidate, seed_index: only in the confirm study.
    """

    number: int
    state: str
    outcome: str
    reason: str | None
    hyperparameters: Mapping[str, Any]
    epochs: NDArray[np.void]
    value: float | None
    counted_epoch: int | None
    validation_loss: float | None
    validation_accuracy: float | None
    seconds: float
    started: datetime | None
    finished: datetime | None
    attempt: int
    worker: int | None
    weights_sha256: str | None
    confusion: tuple[tuple[int, ...], ...] | None
    audit: Mapping[str, Any] | None = None
    role: str | None = None
    candidate: int | None = None
    seed_index: int | None = None

    @property
    def annealed(self) -> bool:
        """Whether the learning rate of its last epoch was less than a twentieth of the highest: a schedule ended it."""
        rates = self.epochs["learning_rate"]
        return bool(rates.size and rates[-1] < 0.05 * rates.max())


@dataclass(frozen=True)
class SweepRecord:
    """A whole study as it was recorded. Field by field as in the module's tables."""

    folder: Path
    uid: str
    created: datetime
    study: Mapping[str, Any]
    dataset: Mapping[str, Any]
    provenance: Mapping[str, Any]
    trials: tuple[TrialRecord, ...]
    confirm: tuple[TrialRecord, ...]
    verdict: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self.study["name"])

    @property
    def objective(self) -> str:
        """The metric that ranks trials: validation_accuracy or validation_loss."""
        return str(self.study["objective"])

    @property
    def maximize(self) -> bool:
        """Whether a higher objective is better."""
        return bool(self.study["direction"] == "maximize")

    def ranked(self) -> list[TrialRecord]:
        """Completed trials, best first; ties go to the lower validation loss, then to the lower number."""
        sign = -1.0 if self.maximize else 1.0
        complete = [trial for trial in self.trials if trial.state == "complete" and trial.value is not None]
        return sorted(complete, key=lambda t: (sign * (t.value or 0.0), t.validation_loss or 0.0, t.number))

    def counts(self) -> dict[str, int]:
        """Number of trials of each outcome that occurs, in the order of first occurrence."""
        found: dict[str, int] = {}
        for trial in self.trials:
            found[trial.outcome] = found.get(trial.outcome, 0) + 1
        return found

    def table(self) -> pd.DataFrame:
        """One row a trial: number, outcome, value, epochs, hyperparameters, times; ready for a CSV file."""
        import pandas as pd

        rows = [
            {
                "number": trial.number,
                "state": trial.state,
                "outcome": trial.outcome,
                "value": trial.value,
                "validation_loss": trial.validation_loss,
                "validation_accuracy": trial.validation_accuracy,
                "counted_epoch": trial.counted_epoch,
                "epochs_run": len(trial.epochs),
                "seconds": trial.seconds,
                **{key: _cell(value) for key, value in trial.hyperparameters.items()},
                "attempt": trial.attempt,
                "worker": trial.worker,
                "started": trial.started.isoformat() if trial.started else None,
                "finished": trial.finished.isoformat() if trial.finished else None,
                "weights_sha256": trial.weights_sha256,
                "reason": trial.reason,
            }
            for trial in self.trials
        ]
        return pd.DataFrame(rows)

    def epoch_table(self) -> pd.DataFrame:
        """One row an epoch: trial, outcome, epoch (from 0, as `counted_epoch`), whether it counts, its numbers."""
        import pandas as pd

        trials = [trial for trial in self.trials if len(trial.epochs)]
        lengths = [len(trial.epochs) for trial in trials]
        epoch = np.concatenate([np.arange(length) for length in lengths] or [np.empty(0, np.int64)])
        counted = np.repeat([-1 if trial.counted_epoch is None else trial.counted_epoch for trial in trials], lengths)
        curves = np.concatenate([trial.epochs for trial in trials] or [np.empty(0, EPOCH)])
        return pd.DataFrame(
            {
                "number": np.repeat([trial.number for trial in trials], lengths),
                "outcome": np.repeat([trial.outcome for trial in trials], lengths),
                "epoch": epoch,
                "counts": epoch == counted,
                **{column: curves[column] for column in EPOCH_COLUMNS},
            }
        )


def _cell(value: object) -> object:
    """A tuple of layer sizes as `128-64`; anything else as it is."""
    return "-".join(str(item) for item in value) if isinstance(value, tuple) else value


def read(folder: Path, *, active: bool = False) -> SweepRecord:
    """Read the study in `folder` without changing it.

    Args:
        folder: the study's folder, which holds `study.db`.
        active: whether a sweep is at work on it; without one, a running trial is an interrupted one.

    Raises:
        RecordError: there is no study database, or it is of a newer schema, unreadable, or not what was written.
        DatabaseTrouble: it cannot be read now.
    """
    return Reader(folder).read(active=active)


class Reader:
    """Reads one study again and again. Finished trials are read and verified once: they never change.

    Between two reads no connection stays open, so that whoever writes the study finds nobody in the way.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "study.db"
        self._forget()

    def _forget(self) -> None:
        self._file: tuple[int, int] | None = None
        self._finished: dict[str, dict[int, TrialRecord]] = {"search": {}, "confirm": {}}

    def read(self, *, active: bool = False) -> SweepRecord:
        """As `read`."""
        try:
            self._open()
            with readable(self.path):
                return self._read(active)
        except Exception:
            self._forget()
            raise

    def _open(self) -> None:
        """Look at the file as a whole, when it is new to us."""
        try:
            stat = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise RecordError(f"no study has been recorded in {self.folder}") from None
        if self._file != (stat.st_dev, stat.st_ino):
            self._forget()
            require_whole(self.path)
            self._storage = open_readonly(self.path)
            self._file = stat.st_dev, stat.st_ino

    def _read(self, active: bool) -> SweepRecord:
        ids = {summary.study_name: summary._study_id for summary in self._storage.get_all_studies()}
        if "search" not in ids or "confirm" not in ids:
            raise RecordError(f"{self.path} holds no sweep")
        attributes = self._storage.get_study_user_attrs(ids["search"])
        require_sealed(self.path, attributes)
        trials = {name: self._trials(name, ids[name], attributes["schema"] > 1, active) for name in self._finished}
        return SweepRecord(
            folder=self.folder,
            uid=attributes["uid"],
            created=datetime.fromisoformat(attributes["created"]),
            study=attributes["study"],
            dataset=attributes["dataset"],
            provenance=attributes["provenance"],
            trials=trials["search"],
            confirm=trials["confirm"],
            verdict=attributes.get("verdict"),
        )

    def _trials(self, name: str, study_id: int, sealed: bool, active: bool) -> tuple[TrialRecord, ...]:
        known = self._finished[name]
        running: dict[int, TrialRecord] = {}
        for trial in read_trials(self._storage.engine, study_id, known):
            if sealed:
                require_sealed_trial(self.path, trial)
            (known if trial.state.is_finished() else running)[trial.number] = _trial(trial, active)
        return tuple(known[number] if number in known else running[number] for number in range(len(known | running)))


def seal(attributes: Mapping[str, Any]) -> str:
    """SHA-256 in hex over attributes as canonical JSON, the seal itself excepted."""
    kept = {key: value for key, value in attributes.items() if key != "seal"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def trial_seal(trial: FrozenTrial) -> str:
    """SHA-256 in hex over everything about a finished trial that a report or a sampler reads, times excepted."""
    kept = {key: value for key, value in trial.user_attrs.items() if key != "seal"}
    content = {
        "number": trial.number,
        "state": trial.state.name,
        "values": trial.values,
        "params": trial.params,
        "distributions": {name: distribution_to_json(kind) for name, kind in trial.distributions.items()},
        "intermediate_values": sorted(trial.intermediate_values.items()),
        "system_attrs": trial.system_attrs,
    }
    return seal(kept | {"trial": content})


def require_whole(path: Path) -> None:
    """Make sure that a study database is a database, and that its pages fit together.

    Raises:
        RecordError: they do not.
        DatabaseTrouble: that cannot be seen.
    """
    with sql_errors(path):
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=30)) as connection:
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise damaged(path, found.splitlines()[-1])


@contextlib.contextmanager
def sql_errors(path: Path) -> Iterator[None]:
    """Say in our words what goes wrong with a study database.

    Raises:
        RecordError: its content is not what a study's is.
        DatabaseTrouble: the disk, a lock or a permission is in the way; the content may be well.
    """
    try:
        yield
    except (StorageInternalError, sqlalchemy.exc.DatabaseError, sqlite3.Error) as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, sqlite3.Error):
            cause = cause.__cause__
        name = getattr(cause, "sqlite_errorname", "")
        if name.startswith(_IN_THE_WAY):
            way = "nothing is lost; the same command goes on once there is room or access"
            raise DatabaseTrouble(f"{path} cannot be used: {cause}\n{way}") from error
        if name.startswith(_DAMAGE) or "Could not decode" in str(cause):
            raise damaged(path, str(cause)) from error
        raise


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """What goes wrong in here while a study database is read is damage within its cells.

    Raises:
        RecordError, DatabaseTrouble: as `sql_errors` does, and for the errors that a changed byte brings about.
    """
    try:
        with sql_errors(path):
            yield
    except (LookupError, ValueError, TypeError) as error:
        raise damaged(path, f"{type(error).__name__} {error}") from error


def require_sealed(path: Path, attributes: Mapping[str, Any]) -> None:
    """Make sure that what is said of the study as a whole is ours, of a version we can read, and as it was written.

    Raises:
        RecordError: it is not.
    """
    if "schema" not in attributes:
        raise RecordError(f"{path} holds an Optuna study that is none of ours")
    if attributes["schema"] > SCHEMA:
        raise RecordError(
            f"{path} was written by a newer version (schema {attributes['schema']}, this one reads {SCHEMA})\n"
            "update this program"
        )
    if attributes["schema"] > 1 and attributes.get("seal") != seal(attributes):
        raise damaged(path, "what is said of the study is not what was written")


def require_sealed_trial(path: Path, trial: FrozenTrial) -> None:
    """Make sure that a trial, if it is finished, is as it was written.

    Raises:
        RecordError: it is not.
    """
    if trial.state.is_finished() and trial.user_attrs.get("seal") != trial_seal(trial):
        raise damaged(path, f"trial {trial.number} is not what was written")


def damaged(path: Path, what: str) -> RecordError:
    """The error for a database that something else than this program has changed."""
    return RecordError(
        f"{path} is damaged: {what[:200]}\nput a copy of it back; or remove {path.parent}, and the study begins anew"
    )


def open_readonly(path: Path) -> optuna.storages.RDBStorage:
    """Open a study database so that nothing in it can be changed.

    Raises:
        RecordError: the file is not a study database.
    """
    with sql_errors(path), version_errors(path):
        return optuna.storages.RDBStorage(
            f"sqlite:///file:{path}?mode=ro&uri=true",
            skip_table_creation=True,
            engine_kwargs={"poolclass": sqlalchemy.NullPool, "pool_pre_ping": False},
        )


@contextlib.contextmanager
def version_errors(path: Path) -> Iterator[None]:
    """Say in our words that tables are of another version of Optuna.

    Raises:
        RecordError: they are.
    """
    try:
        yield
    except RuntimeError as error:
        older = "continue it with sweep run, which migrates it and keeps a copy"
        way = older if "storage upgrade" in str(error) else "update this program"
        raise RecordError(f"{path} was written with another version of Optuna\n{way}") from error


def _trial(trial: FrozenTrial, active: bool) -> TrialRecord:
    attributes = trial.user_attrs
    result = attributes.get("result", {})
    state = _STATES[trial.state]
    confusion = result.get("confusion")
    epochs = _epochs(attributes)
    return TrialRecord(
        number=trial.number,
        state=state,
        outcome=attributes.get("outcome", state) if state != "running" else "running" if active else "interrupted",
        reason=attributes.get("reason"),
        hyperparameters={
            key: tuple(value) if isinstance(value, list) else value
            for key, value in attributes["hyperparameters"].items()
        },
        epochs=epochs,
        value=result.get("value"),
        counted_epoch=result.get("counted_epoch"),
        validation_loss=result.get("validation_loss"),
        validation_accuracy=result.get("validation_accuracy"),
        seconds=float(epochs["seconds"].sum()),
        started=_utc(trial.datetime_start),
        finished=_utc(trial.datetime_complete),
        attempt=attributes.get("attempt", 1),
        worker=attributes.get("worker"),
        weights_sha256=result.get("weights_sha256"),
        confusion=tuple(tuple(row) for row in confusion) if confusion else None,
        audit=attributes.get("audit"),
        role=attributes.get("role"),
        candidate=attributes.get("candidate"),
        seed_index=attributes.get("seed_index"),
    )


def _epochs(attributes: Mapping[str, Any]) -> NDArray[np.void]:
    rows: list[tuple[Any, ...]] = []
    while (row := attributes.get(f"epoch.{len(rows)}")) is not None:
        rows.append(tuple(math.nan if row.get(column) is None else row[column] for column in EPOCH_COLUMNS))
    epochs = np.array(rows, dtype=EPOCH)
    epochs.setflags(write=False)
    return epochs


def _utc(moment: datetime | None) -> datetime | None:
    """Optuna hands out naive local times; a record is in UTC."""
    return moment.astimezone(UTC) if moment else None

"""Read a study database into frozen dataclasses.

They are independent of the code that ran the sweep, so that records of older versions can be read.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import TrialState

from model.metrics import Metric, metric_of
from studies.record.database import open_readonly, reconnecting, require_whole
from studies.record.errors import RecordError, readable
from studies.record.location import locate
from studies.record.schema import (
    CONTROL,
    EPOCH,
    EPOCH_COLUMNS,
    LEG,
    REPEATS,
    SEALED,
    require_sealed,
    require_sealed_trial,
    upgraded_dataset,
    upgraded_hyperparameters,
    upgraded_study,
)
from studies.record.server import Place, Server
from studies.record.trials import StoredTrial, read_trials

if TYPE_CHECKING:  # pandas takes 0.8 s to import, and only a table of trials needs it
    import pandas as pd

_STATES = {
    TrialState.RUNNING: "running",
    TrialState.WAITING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True)
class TrialRecord:
    """A recorded trial.

    Attributes:
        number: 0-based; the baseline is trial 0 of the search.
        state: as in Optuna: running, complete, pruned or failed.
        outcome: complete, pruned, diverged, out of memory, timeout, failed, running, paused (at a rung, may be
            continued), or interrupted (running in the record, but no process is working on the study).
        reason: why it ended; None if it is running.
        hyperparameters: decoded; `hidden_sizes` is a tuple.
        epochs: (epochs,) of dtype `EPOCH`, read-only: `epochs["train_loss"]` is a curve, `epochs[3]` a row; accuracies
            are fractions in 0..1, values that were not measured are NaN.
        value: the objective at the selected epoch, also of a stopped trial; else None.
        selected_epoch: index of the selected epoch, or None.
        validation_loss, validation_accuracy: at the selected epoch, or None.
        seconds: training time of all its epochs.
        started, finished: UTC.
        sequence: grows in the order in which trials ended, whatever the clock said; None of one that has not ended.
        confusion: validation confusion matrix, rows are true classes; only of completed trials.
        control: {"would_prune_at": epoch or None} of an unpruned control trial; None of others.
        repeats: number of the first trial with the same settings, if all settings of the space were tried.
        role, candidate, seed_index, split: only in the confirm study.
    """

    number: int
    state: str
    outcome: str
    reason: str | None
    hyperparameters: Mapping[str, Any]
    epochs: NDArray[np.void]
    value: float | None
    selected_epoch: int | None
    validation_loss: float | None
    validation_accuracy: float | None
    seconds: float
    started: datetime | None
    finished: datetime | None
    attempt: int
    worker: int | None
    weights_sha256: str | None
    confusion: tuple[tuple[int, ...], ...] | None
    control: Mapping[str, Any] | None = None
    repeats: int | None = None
    role: str | None = None
    candidate: int | None = None
    seed_index: int | None = None
    split: int | None = None
    sequence: int | None = None

    @property
    def annealed(self) -> bool:
        """Whether its schedule ended: the last learning rate is less than a twentieth of the highest."""
        rates = self.epochs["learning_rate"]
        return bool(rates.size and rates[-1] < 0.05 * rates.max())


@dataclass(frozen=True)
class SweepRecord:
    """A recorded study. Its fields are described in `studies/record/schema.py`."""

    folder: Path
    uid: str
    created: datetime
    study: Mapping[str, Any]
    dataset: Mapping[str, Any]
    provenance: Mapping[str, Any]
    trials: tuple[TrialRecord, ...]
    confirm: tuple[TrialRecord, ...]
    verdict: Mapping[str, Any] | None
    data_file: str | None = None

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self.study["name"])

    @property
    def objective(self) -> str:
        """The objective that ranks the trials: `validation_<metric>`."""
        return str(self.study["objective"])

    @property
    def metric(self) -> Metric:
        """The metric of the objective, with the recorded direction."""
        return replace(metric_of(self.objective), direction=self.study["direction"])

    @property
    def maximize(self) -> bool:
        """Whether a higher objective is better."""
        return self.metric.maximize

    @property
    def folds(self) -> int:
        """Trainings of each trial of the search, whose means are its numbers."""
        return int(self.study.get("folds", 1))

    @property
    def validated(self) -> int:
        """Examples on which a trial of the search is evaluated: the validation part, or with folds all but the test."""
        validation = int(self.dataset["validation"])
        return validation if self.folds == 1 else validation + int(self.dataset["train"])

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class; its number in records of versions that did not record names."""
        return tuple(self.dataset.get("class_names") or map(str, range(int(self.dataset["classes"]))))

    def ranked(self) -> list[TrialRecord]:
        """Completed trials, best first; ties go to the lower validation loss, then to the lower number."""
        return self._best_first("complete")

    def given(self, number: int) -> str | None:
        """`baseline`, or `start 1`, ..., if the study file has the settings of this trial of the search; else None."""
        if number == 0:
            return "baseline"
        return f"start {number}" if number <= len(self.study.get("start") or ()) else None

    def contenders(self) -> list[TrialRecord]:
        """Trials that may be the best, best first: completed ones, and those that were stopped, by what they reached.

        Ties go as in `ranked`. A stopped trial that is ahead of all completed ones would only have become better.
        """
        return self._best_first("complete", "pruned", "paused", "timeout")

    def in_order(self) -> list[TrialRecord]:
        """The trials of the search that have ended, in the order in which they did, also if the clock went back."""
        return sorted((t for t in self.trials if t.state != "running"), key=lambda t: (t.sequence or 0, t.number))

    def _best_first(self, *outcomes: str) -> list[TrialRecord]:
        cost = self.metric.cost
        found = [trial for trial in self.trials if trial.outcome in outcomes and trial.value is not None]
        return sorted(found, key=lambda t: (cost(t.value or 0.0), t.validation_loss or 0.0, t.number))

    @property
    def planned(self) -> int:
        """Number of trials of the study; of one that only the time limits, the number of trials so far."""
        trials = self.study["trials"]
        return len(self.trials) if trials is None else int(trials)

    def counts(self) -> dict[str, int]:
        """Number of trials by outcome, in the order of first occurrence."""
        return dict(Counter(trial.outcome for trial in self.trials))

    @property
    def averages_weights(self) -> bool:
        """Whether the study's trainings average their weights, as far as the study file says."""
        return bool(self.study.get("baseline", {}).get("averaging")) or "averaging" in self.study["space"]

    def table(self) -> pd.DataFrame:
        """One row per trial: number, outcome, value, epochs, hyperparameters, times; ready for a CSV file.

        Epochs are counted from 1, as in the report and in MLflow.
        """
        from studies.record.tables import trial_table

        return trial_table(self)

    def epoch_table(self) -> pd.DataFrame:
        """One row per epoch: trial, outcome, epoch (from 1), whether it is selected, metrics."""
        from studies.record.tables import epoch_table

        return epoch_table(self)


def read(folder: Path, *, active: bool = False) -> SweepRecord:
    """Read the study in `folder` without changing it.

    Args:
        folder: the study's folder, which holds `study.db`.
        active: whether a sweep is running; otherwise a running trial counts as interrupted.

    Raises:
        RecordError: there is no study database, or it has a newer schema, is unreadable, or was changed.
        DatabaseUnavailable: it cannot be read now.
    """
    return Reader(folder).read(active=active)


class Reader:
    """Read one study repeatedly. Finished trials never change, so they are read and verified only once.

    No connection is kept open between reads, so that a reader never blocks the writer.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._forget()

    def _forget(self) -> None:
        self._known: object = None
        self._finished: dict[str, dict[int, TrialRecord]] = {"search": {}, "confirm": {}}

    def read(self, *, active: bool = False) -> SweepRecord:
        """As the function `read`."""
        place = locate(self.folder)

        def attempt(is_retry: bool) -> SweepRecord:
            try:
                self._open(place)
                with readable(place):
                    return self._read(place, active)
            except Exception:
                self._forget()
                raise

        return reconnecting(place, attempt)

    def _open(self, place: Place) -> None:
        """Open and check the database, unless it is already open."""
        found: object = place
        if not isinstance(place, Server):
            try:
                stat = place.stat()
            except (FileNotFoundError, NotADirectoryError):
                raise RecordError(f"no study has been recorded in {self.folder}") from None
            found = stat.st_dev, stat.st_ino
        if self._known != found:
            self._forget()
            if not isinstance(place, Server):
                require_whole(place)
            self._storage = open_readonly(place)
            self._known = found

    def _read(self, place: Place, active: bool) -> SweepRecord:
        ids = {summary.study_name: summary._study_id for summary in self._storage.get_all_studies()}
        if "search" not in ids or "confirm" not in ids:
            raise RecordError(f"{place} contains no sweep")
        attributes = self._storage.get_study_user_attrs(ids["search"])
        require_sealed(place, attributes)
        if isinstance(place, Server) and place.uid not in (None, attributes["uid"]):
            raise RecordError(f"{place} contains another study than the one started in {self.folder}")
        trials = {
            name: self._trials(place, name, ids[name], attributes["schema"] >= SEALED, active)
            for name in self._finished
        }
        return SweepRecord(
            folder=self.folder,
            uid=attributes["uid"],
            created=datetime.fromisoformat(attributes["created"]),
            study=upgraded_study(attributes["study"]),
            dataset=upgraded_dataset(attributes["dataset"]),
            provenance=attributes["provenance"],
            trials=trials["search"],
            confirm=trials["confirm"],
            verdict=attributes.get("verdict"),
            data_file=attributes.get("data_file"),
        )

    def _trials(self, place: Place, name: str, study_id: int, sealed: bool, active: bool) -> tuple[TrialRecord, ...]:
        known = self._finished[name]
        running: dict[int, TrialRecord] = {}
        for trial in read_trials(self._storage.engine, study_id, known):
            if sealed:
                require_sealed_trial(place, trial)
            (known if trial.state.is_finished() else running)[trial.number] = _trial(trial, active)
        return tuple(known[number] if number in known else running[number] for number in range(len(known | running)))


def _trial(trial: StoredTrial, active: bool) -> TrialRecord:
    attributes = trial.user_attrs
    result = attributes.get("result", {})
    state = _STATES[trial.state]
    confusion = result.get("confusion")
    epochs = _epochs(attributes)
    return TrialRecord(
        number=trial.number,
        state=state,
        outcome=attributes.get("outcome", state) if state != "running" else _unfinished(attributes, active),
        reason=attributes.get("reason"),
        hyperparameters={
            key: tuple(value) if isinstance(value, list) else value
            for key, value in upgraded_hyperparameters(attributes["hyperparameters"]).items()
        },
        epochs=epochs,
        value=result.get("value"),
        selected_epoch=result.get("counted_epoch"),
        validation_loss=result.get("validation_loss"),
        validation_accuracy=result.get("validation_accuracy"),
        seconds=float(epochs["seconds"].sum()),
        started=_utc(trial.datetime_start),
        finished=_utc(trial.datetime_complete),
        attempt=attributes.get("attempt", 1),
        worker=attributes.get("worker"),
        weights_sha256=result.get("weights_sha256"),
        confusion=tuple(tuple(row) for row in confusion) if confusion else None,
        control=attributes.get(CONTROL),
        repeats=attributes.get(REPEATS),
        role=attributes.get("role"),
        candidate=attributes.get("candidate"),
        seed_index=attributes.get("seed_index"),
        split=attributes.get("split"),
        sequence=trial.sequence,
    )


def _unfinished(attributes: Mapping[str, Any], active: bool) -> str:
    """The outcome so far of a trial that has not ended."""
    if attributes.get(LEG, {}).get("paused"):
        return "paused"
    return "running" if active else "interrupted"


def _epochs(attributes: Mapping[str, Any]) -> NDArray[np.void]:
    rows: list[tuple[Any, ...]] = []
    while (row := attributes.get(f"epoch.{len(rows)}")) is not None:
        rows.append(tuple(math.nan if row.get(column) is None else row[column] for column in EPOCH_COLUMNS))
    epochs = np.array(rows, dtype=EPOCH)
    epochs.setflags(write=False)
    return epochs


def _utc(moment: datetime | None) -> datetime | None:
    """Optuna returns naive local times; a record is in UTC."""
    return moment.astimezone(UTC) if moment else None

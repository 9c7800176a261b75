"""The run of one trial, of the search or of the confirmation."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from studies.record.folder import WEIGHTS, StudyFolder
from studies.record.reader import SweepRecord, TrialRecord
from studies.record.schema import EPOCH_COLUMNS
from sweep.tracking import expected_runs
from sweep.tracking.axes import axes
from sweep.tracking.expected_runs import FORMAT, STATUS, Run
from sweep.tracking.marks import Marks
from sweep.tracking.pictures import confusion_png, curves_png
from sweep.tracking.tracker import Point

_PARTS = ("validation", "train")
CURVES = (
    *(name for part in _PARTS for name in EPOCH_COLUMNS if name.startswith(part)),
    *(name for name in EPOCH_COLUMNS if not name.startswith((*_PARTS, "time"))),
)
"""What is measured in every epoch, validation numbers first: MLflow lists metrics in the order in which they came."""
SENT_AS = {"learning_rate": "epoch_learning_rate"}
"""Columns whose name is that of a param."""
ALWAYS = ("learning_rate", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "seconds")
"""Columns that every record has. Other metrics are sent for the epochs in which they were measured."""


def trial_key(study: str, trial: TrialRecord) -> str:
    """The key of a trial's run; `study` is `search` or `confirm`."""
    return f"{study}/{trial.number}"


def trial_digest(record: SweepRecord, study: str, trial: TrialRecord, marks: Marks) -> str:
    """A digest that changes whenever the trial's run would; much cheaper than the run itself (no plots, no CSV)."""
    weights = StudyFolder(record.folder).trial(study, trial.number).weights
    size = weights.stat().st_size if weights.is_file() else None
    values = {name: value for name, value in vars(trial).items() if name != "epochs"}
    epochs = hashlib.sha256(trial.epochs.tobytes()).hexdigest()
    content = [dict(record.dataset), record.provenance.get("git_commit"), values, epochs, size]
    return expected_runs.digest([FORMAT, record.uid, *content, marks.tags(study, trial)])


def trial_run(record: SweepRecord, study: str, trial: TrialRecord, marks: Marks) -> Run:
    """The run of one trial of the search or of the confirmation.

    Args:
        record: the study it belongs to.
        study: `search` or `confirm`.
        trial: the trial.
        marks: what it shows of its place among the others.
    """
    started, ended = _span(record, trial)
    curves, scalars = trial_points(record, trial)
    return Run(
        key=trial_key(study, trial),
        name=trial_name(record, trial),
        status=trial_status(trial),
        started=started,
        ended=ended,
        params=_trial_params(trial),
        tags=_trial_tags(record, trial, marks.tags(study, trial)),
        curves=curves,
        scalars=scalars,
        files=_trial_files(record, study, trial) if ended else {},
    )


def trial_points(record: SweepRecord, trial: TrialRecord) -> tuple[tuple[Point, ...], tuple[Point, ...]]:
    """The curves and the scalars of a trial's run, without drawing anything."""
    return _curves(record, trial), _scalars(record, trial, *_span(record, trial))


def _span(record: SweepRecord, trial: TrialRecord) -> tuple[int, int | None]:
    """Unix milliseconds of its start and, if it has ended, of its end."""
    ended = expected_runs.milliseconds(trial.finished) if trial.finished and trial.state != "running" else None
    return expected_runs.milliseconds(trial.started or record.created), ended


def trial_status(trial: TrialRecord) -> str:
    """MLflow's word for the trial's outcome."""
    return STATUS.get(trial.outcome, "FAILED")


def trial_name(record: SweepRecord, trial: TrialRecord) -> str:
    """The name of a trial's run: `trial 0 (baseline)`, `trial 1 (start 1)`, `confirm 10 seed 1`, `final 10 seed 0`."""
    if trial.role:
        candidate = "" if trial.candidate is None else f" {trial.candidate}"
        return f"{trial.role}{candidate} seed {trial.seed_index}"
    given = record.given(trial.number)
    return f"trial {trial.number}" + (f" ({given})" if given else "")


def _subject(trial: TrialRecord) -> int:
    """The trial of the search that a run is about: itself, or the one it repeats."""
    return trial.number if trial.candidate is None else trial.candidate


def _trial_params(trial: TrialRecord) -> dict[str, str]:
    params = {key: expected_runs.text(value) for key, value in trial.hyperparameters.items()}
    params["trial"] = str(_subject(trial))
    if trial.seed_index is not None:
        params["seed_index"] = str(trial.seed_index)
    return params


def _trial_tags(record: SweepRecord, trial: TrialRecord, marks: Mapping[str, object]) -> dict[str, str]:
    values = {
        "outcome": trial.outcome,
        "reason": trial.reason,
        "role": trial.role or (record.given(trial.number) or "search").partition(" ")[0],
        "attempt": trial.attempt,
        "worker": trial.worker,
        "weights_sha256": trial.weights_sha256,
        "control": json.dumps(dict(trial.control)) if trial.control else None,
        **marks,
        **source_tags(record),
    }
    return expected_runs.tags(values)


def source_tags(record: SweepRecord) -> dict[str, object]:
    """Tags that every run of a study has: the study's uid and the version of the code."""
    dirty = record.provenance.get("git_dirty")
    return {
        "study": record.uid,
        "mlflow.source.name": "sweep run",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": record.provenance.get("git_commit"),
        "mlflow.source.git.dirty": None if dirty is None else str(bool(dirty)).lower(),
    }


def _curves(record: SweepRecord, trial: TrialRecord) -> tuple[Point, ...]:
    """Every epoch's numbers, ordered by step: if sending is cut off, the epochs that arrived are complete.

    Steps are counted from 1, as the report counts epochs.
    """
    columns = {name: trial.epochs[name] for name in CURVES if _is_sent(record, trial, name)}
    required = {*ALWAYS, record.objective}
    return tuple(
        Point(SENT_AS.get(name, name), expected_runs.finite(column[index]), int(time * 1000), index + 1)
        for index, time in enumerate(trial.epochs["time"])
        for name, column in columns.items()
        if name in required or math.isfinite(column[index])
    )


def _is_sent(record: SweepRecord, trial: TrialRecord, column: str) -> bool:
    """Whether the run has this curve.

    The validation metrics of a final model are not measured: it is trained on the validation examples too. A metric
    that an older record lacks is NaN everywhere.
    """
    required = trial.role != "final" and column in (*ALWAYS, record.objective)
    return required or not bool(np.isnan(trial.epochs[column]).all())


def _scalars(record: SweepRecord, trial: TrialRecord, started: int, ended: int | None) -> tuple[Point, ...]:
    """The trial's number, so that it can be an axis, and its best values, because MLflow shows the last of a curve."""
    values: dict[str, float | None] = {}
    selected = trial.selected_epoch
    if ended is not None:
        values = {
            "objective": trial.value,
            "selected_epoch": None if selected is None else selected + 1,
            "best_validation_accuracy": _best(trial.epochs["validation_accuracy"], np.max),
            "best_validation_loss": _best(trial.epochs["validation_loss"], np.min),
            "epochs_run": len(trial.epochs),
            "training_seconds": trial.seconds,
            **({} if trial.role else axes(record, trial)),
        }
    return (*expected_runs.points({"trial": _subject(trial)}, started), *expected_runs.points(values, ended or started))


def _best(values: np.ndarray, choose: Callable[[np.ndarray], Any]) -> float | None:
    finite = values[np.isfinite(values)]
    return float(choose(finite)) if finite.size else None


def _trial_files(record: SweepRecord, study: str, trial: TrialRecord) -> dict[str, bytes | Path]:
    epochs = pd.DataFrame(trial.epochs, index=range(1, len(trial.epochs) + 1))
    files: dict[str, bytes | Path] = {"epochs.csv": epochs.to_csv(index_label="epoch").encode()}
    weights = StudyFolder(record.folder).trial(study, trial.number).weights
    if trial.state == "complete" and weights.is_file():
        files[WEIGHTS] = weights
    if len(trial.epochs):
        files["curves.png"] = curves_png(trial.epochs, trial.selected_epoch)
    if trial.confusion:
        files["confusion.png"] = confusion_png(trial.confusion, record.class_names)
    return files

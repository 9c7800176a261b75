"""The trials and the epochs of a study as pandas tables, as they are exported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from studies.record.schema import EPOCH, EPOCH_COLUMNS

if TYPE_CHECKING:
    from studies.record.reader import SweepRecord


def trial_table(record: SweepRecord) -> pd.DataFrame:
    """See `SweepRecord.table`."""
    rows = [
        {
            "number": trial.number,
            "state": trial.state,
            "outcome": trial.outcome,
            "value": trial.value,
            "validation_loss": trial.validation_loss,
            "validation_accuracy": trial.validation_accuracy,
            "selected_epoch": None if trial.selected_epoch is None else trial.selected_epoch + 1,
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
        for trial in record.trials
    ]
    return pd.DataFrame(rows)


def epoch_table(record: SweepRecord) -> pd.DataFrame:
    """See `SweepRecord.epoch_table`."""
    trials = [trial for trial in record.trials if len(trial.epochs)]
    lengths = [len(trial.epochs) for trial in trials]
    epoch = np.concatenate([np.arange(length) for length in lengths] or [np.empty(0, np.int64)])
    selected = np.repeat([-1 if trial.selected_epoch is None else trial.selected_epoch for trial in trials], lengths)
    curves = np.concatenate([trial.epochs for trial in trials] or [np.empty(0, EPOCH)])
    return pd.DataFrame(
        {
            "number": np.repeat([trial.number for trial in trials], lengths),
            "outcome": np.repeat([trial.outcome for trial in trials], lengths),
            "epoch": epoch + 1,
            "selected": epoch == selected,
            **{column: curves[column] for column in EPOCH_COLUMNS},
        }
    )


def _cell(value: object) -> object:
    """A tuple of layer sizes as `128-64`; other values unchanged."""
    return "-".join(str(item) for item in value) if isinstance(value, tuple) else value

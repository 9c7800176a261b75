"""The metrics of one epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.metrics import METRICS

COLUMNS = (
    "learning_rate",
    "train_loss",
    "train_accuracy",
    *(metric.objective for metric in METRICS.values()),
    "seconds",
)
"""The columns of an epoch's row, in the order in which they are recorded."""


@dataclass(frozen=True)
class Epoch:
    """The metrics of one pass over the training examples.

    Attributes:
        index: from 0.
        learning_rate: at the epoch's first step.
        train_loss, train_accuracy: means over its batches, each measured before its update and with dropout
            and label smoothing; no second pass over the training examples is made.
        validation: the value of every metric after the epoch, by the metric's name, without dropout or smoothing;
            empty without validation examples.
        seconds: wall time of training and validation.
    """

    index: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    validation: Mapping[str, float]
    seconds: float

    def row(self) -> dict[str, float | None]:
        """Its `COLUMNS` for JSON: None for values that are NaN or were not measured."""
        measured = {metric.objective: self.validation.get(name) for name, metric in METRICS.items()}
        row = {**vars(self), **measured}
        return {column: None if _is_missing(row[column]) else row[column] for column in COLUMNS}

    @classmethod
    def from_row(cls, index: int, row: Mapping[str, Any]) -> Epoch:
        """The epoch of a row; columns that an older version did not record are missing, unknown ones are ignored."""
        validation = {
            name: float(row[metric.objective])
            for name, metric in METRICS.items()
            if not _is_missing(row.get(metric.objective))
        }
        train = {key: math.nan if row[key] is None else row[key] for key in ("train_loss", "train_accuracy")}
        return cls(index, row["learning_rate"], **train, validation=validation, seconds=row["seconds"])


def _is_missing(value: float | None) -> bool:
    return value is None or math.isnan(value)

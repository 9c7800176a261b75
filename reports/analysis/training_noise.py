"""How much the objective changes when a training is repeated, on a scale on which differences can be compared.

The scatter of a loss is proportional to the loss, so that it is compared as a logarithm: a difference of 0.05 is 5 %.
Metrics that are fractions are compared as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.analysis import wording
from reports.analysis.confirmation import confirmed_trials
from reports.analysis.statistics import Floats
from studies.record.reader import SweepRecord, TrialRecord

FEWEST_REPEATS = 4
"""Degrees of freedom of the noise, such as five repeats of two trials."""
LEAST = 0.02
"""Difference of two losses, as logarithms, below which none is worth a change; of a fraction, it is one row."""
MEANINGFUL = 0.1
"""Fraction of the gain of the search that counts as a difference where the noise is unknown."""


@dataclass(frozen=True)
class TrainingNoise:
    """Noise between repeats of a training.

    Attributes:
        deviation: standard deviation of the heights (see `heights`) of repeats on one split.
        freedom: its degrees of freedom.
    """

    deviation: float
    freedom: int


def heights(record: SweepRecord, values: Any) -> Floats:
    """Values of the objective such that lower is better and differences can be compared: logarithms of a loss."""
    found = np.asarray(values, dtype=np.float64)
    if record.metric.percent:
        return np.asarray(record.metric.cost(1.0) * found)
    return np.log(np.maximum(found, 1e-12))


def difference_words(record: SweepRecord, height: float) -> str:
    """A difference of two heights in words: `4 %` of a loss, `0.30 points` of an accuracy."""
    return wording.objective(record).gain(height) if record.metric.percent else wording.percent(-math.expm1(-height))


def about(record: SweepRecord, height: float) -> str:
    """An estimated difference in words: `about 4 %`, but `less than 0.1 points`."""
    words = difference_words(record, height)
    return f"about {words}" if height and not words.startswith("less than") else words


def training_noise(record: SweepRecord) -> TrainingNoise | None:
    """The noise of a trial of the search: of a single training, or of the mean of its folds.

    Repeats of different trials share their splits, and the trials of a search share one. So what is common to a split
    is taken away: the residual of a table of trials by splits (two-way analysis of variance). Folds differ in their
    rows and random streams as repeats do: the variance of their mean is divided by their number. None with fewer than
    four degrees of freedom.
    """
    rows = [row for row in confirmed_trials(record) if len(row.values) > 1]
    return _noise(record, {row.trial: heights(record, row.values) for row in rows})


def noise_at(record: SweepRecord, measured: Callable[[TrialRecord], float]) -> TrainingNoise | None:
    """The same for another value of a training than its final one, such as that at a rung; from the repeats' curves."""
    repeats = [trial for trial in record.confirm if trial.role == "confirm" and trial.state == "complete"]
    found: dict[int, list[float]] = {}
    for repeat in sorted(repeats, key=lambda repeat: repeat.seed_index or 0):
        if repeat.candidate is not None:
            found.setdefault(repeat.candidate, []).append(measured(repeat))
    return _noise(record, {trial: heights(record, values) for trial, values in found.items()})


def _noise(record: SweepRecord, found: dict[int, Floats]) -> TrainingNoise | None:
    rows = list(found.values())
    splits = min(map(len, rows), default=0)
    if splits < 2:
        return None
    table = np.array([values[:splits] for values in rows])
    table = table - table.mean(axis=1, keepdims=True)
    freedom = (max(2, len(rows)) - 1) * (splits - 1)
    if freedom < FEWEST_REPEATS:
        return None
    residual = table - table.mean(axis=0) if len(rows) > 1 else table
    deviation = math.sqrt(float((residual**2).sum()) / freedom / record.folds)
    return TrainingNoise(deviation, freedom)


def least_difference(record: SweepRecord) -> tuple[float, bool]:
    """The least difference of two heights that is worth a change, and whether it is the known noise of a training.

    Where the noise is unknown, a tenth of the difference between the best and the median trial. No less than 2 % of a
    loss, or one row of a fraction.
    """
    least = finest(record)
    if found := training_noise(record):
        return max(least, found.deviation), True
    values = [trial.value for trial in record.contenders()]
    every = heights(record, values) if values else np.zeros(1)
    return max(least, MEANINGFUL * float(np.median(every) - every.min())), False


def finest(record: SweepRecord) -> float:
    """The least difference of two heights that matters however small the noise is."""
    return 1 / record.validated if record.metric.percent else LEAST


def noise_words(record: SweepRecord) -> str:
    """The least difference that is worth a change, with its origin: `the noise of a training, 4 %`."""
    return f"{limit_words(record)}, {difference_words(record, least_difference(record)[0])}"


def limit_words(record: SweepRecord) -> str:
    """What `least_difference` is: the noise of a training, what stands for it, or the least that counts."""
    limit, is_known = least_difference(record)
    if limit <= finest(record):
        return "the least difference that counts"
    what = "a training" if record.folds == 1 else f"a mean of {record.folds} folds"
    return f"the noise of {what}" if is_known else "a tenth of the best trial's lead on the median one"

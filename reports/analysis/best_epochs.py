"""At which epoch the completed trials were at their best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.analysis.statistics import Floats
from studies.record.reader import SweepRecord, TrialRecord


@dataclass(frozen=True)
class BestEpochs:
    """At which epoch the completed trials were at their best.

    Attributes:
        counted: (complete,), share of its epochs after which each was at its best, in 0..1.
        early: share of them that were at their best in the first tenth of their epochs.
        late: share that were at their best in the last quarter.
        annealed: share whose schedule had taken the learning rate to nothing: that these are best late is no finding.
    """

    counted: Floats
    early: float
    late: float
    annealed: float


def best_epochs(record: SweepRecord) -> BestEpochs:
    """At which epoch the completed trials were at their best."""
    ranked = [trial for trial in record.ranked() if trial.counted_epoch is not None]
    if not ranked:
        return BestEpochs(np.empty(0), 0.0, 0.0, 0.0)
    shares = np.array([(_at_best(record, trial) + 1) / len(trial.epochs) for trial in ranked])
    annealed = float(np.mean([trial.annealed for trial in ranked]))
    return BestEpochs(shares, float(np.mean(shares <= 0.1)), float(np.mean(shares > 0.75)), annealed)


def _at_best(record: SweepRecord, trial: TrialRecord) -> int:
    """Index of the epoch that was best; not the one that counts, where that is the last by rule."""
    if record.study.get("epoch") != "last":
        return int(trial.counted_epoch or 0)
    values = trial.epochs[record.objective]
    return int(values.argmax() if record.maximize else values.argmin())

"""The best epochs of the completed trials."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.analysis.statistics import Floats
from studies.record.reader import SweepRecord, TrialRecord

EARLY, LATE = 0.1, 0.75
"""Fractions of a trial's epochs: up to the first a best epoch is early, after the second it is late."""


@dataclass(frozen=True)
class BestEpochs:
    """The best epochs of the completed trials.

    Attributes:
        counted: (complete,), best epoch of each trial as a fraction of its epochs, in 0..1.
        early: fraction of trials whose best epoch is in the first tenth.
        late: fraction of trials whose best epoch is in the last quarter.
        annealed: fraction whose schedule reduced the learning rate to 0: a late best epoch is then expected.
    """

    counted: Floats
    early: float
    late: float
    annealed: float


def best_epochs(record: SweepRecord) -> BestEpochs:
    """The best epochs of the completed trials."""
    ranked = [trial for trial in record.ranked() if trial.selected_epoch is not None]
    if not ranked:
        return BestEpochs(np.empty(0), 0.0, 0.0, 0.0)
    shares = np.array([(_at_best(record, trial) + 1) / len(trial.epochs) for trial in ranked])
    annealed = float(np.mean([trial.annealed for trial in ranked]))
    return BestEpochs(shares, float(np.mean(shares <= EARLY)), float(np.mean(shares > LATE)), annealed)


def _at_best(record: SweepRecord, trial: TrialRecord) -> int:
    """Index of the best epoch, which is not the selected one in a study with `epoch = "last"`."""
    if record.study.get("epoch") != "last":
        return int(trial.selected_epoch or 0)
    cost = record.metric.cost(1.0) * trial.epochs[record.objective]
    return int(np.lexsort((trial.epochs["validation_loss"], cost))[0])

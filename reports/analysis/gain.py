"""What a proposed change may gain, from what the reported study measured; all gains are differences of heights.

Each is an interval of extrapolations, not a prediction: a longer training is expected to gain what the curves of the
best trials say, and more trials or a wider range at most what the last of them gained, since gains diminish.
"""

from __future__ import annotations

import math

import numpy as np

from reports.analysis.axes import Axis
from reports.analysis.checks.curves import longer_gains
from reports.analysis.isolation import isolation
from reports.analysis.training_noise import heights
from reports.analysis.trial_budget import enough
from studies.record.reader import SweepRecord

Gain = tuple[float, float]
"""Lowest and highest expected difference of two heights, at least 0."""


def gain_of_epochs(record: SweepRecord) -> Gain | None:
    """Of `LONGER` times the epochs: the 10 % and 90 % quantiles over the best trials' curves; None without any."""
    gains = longer_gains(record)
    if not len(gains):
        return None
    low, high = np.quantile(gains, (0.1, 0.9))
    return float(low), float(high)


def gain_of_trials(record: SweepRecord) -> Gain | None:
    """Of twice the trials: at most what the second half of them was worth; None without a completed trial."""
    found = enough(record)
    if found is None:
        return None
    best, half = heights(record, [found.best, found.of_half])
    return 0.0, max(0.0, float(half - best))


def gain_of_range(record: SweepRecord, axis: Axis, low: float, high: float) -> Gain | None:
    """Of moving one end of a range out: at most as much for each fifth of the range as the last fifth gained.

    The best of each part is compared at equal numbers of trials, see `isolation`. An integer of few is a part of its
    own. None if the last two parts have too few completed trials to be compared.

    Args:
        record: the study.
        axis: the axis.
        low: its new low end.
        high: its new high end.
    """
    parts = isolation(record, axis).parts
    last, before = (parts[-1], parts[-2]) if high > axis.high else (parts[0], parts[1])
    if not (math.isfinite(last.even) and math.isfinite(before.even)):
        return None
    here, inside = heights(record, [last.even, before.even])
    wider = (high - axis.high) + (axis.low - low) if axis.few else len(parts) * _share(axis, low, high)
    return 0.0, max(0.0, float(inside - here)) * wider


def _share(axis: Axis, low: float, high: float) -> float:
    """The share of the present range, on its own scale, that lies outside of it."""
    return axis.position(high) - axis.position(low) - 1

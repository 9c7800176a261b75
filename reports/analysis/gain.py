"""What a wider range may gain: an extrapolation from the reported study, as a difference of heights.

The checks say the same of longer trainings and of more trials. It is at most what the last part of the range gained,
since gains diminish.
"""

from __future__ import annotations

import math

from reports.analysis.axes import Axis
from reports.analysis.isolation import isolation
from reports.analysis.training_noise import heights
from studies.record.reader import SweepRecord

Gain = tuple[float, float]
"""Lowest and highest expected difference of two heights, at least 0."""


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

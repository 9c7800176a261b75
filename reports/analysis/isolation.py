"""The best objective in each part of an axis, over all other settings: the playbook's isolation plots.

https://github.com/google-research/tuning_playbook, figure 2. The best of many trials is better than the best of few, so
parts are also compared at equal numbers: the expected best of as many trials as the smallest part has
(`trial_budget.best_of`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from reports.analysis.axes import Axis, axes, values
from reports.analysis.statistics import Floats
from reports.analysis.trial_budget import best_of
from studies.record.reader import SweepRecord, TrialRecord

PARTS = 5  # of a range, equal on its own scale
SOLID = 3  # completed trials that a part needs to be compared


@dataclass(frozen=True)
class Part:
    """One part of an axis: a choice, an integer, or a fifth of the range.

    Attributes:
        low, high: its ends as drawn; a choice or an integer extends half a step to both sides.
        judged: number of completed, pruned and failed trials in it.
        complete: number of completed trials.
        best: the best objective of the completed trials; NaN if there is none.
        even: the expected best of `Isolation.even` of them; NaN with fewer than `SOLID`.
    """

    low: float
    high: float
    judged: int
    complete: int
    best: float
    even: float


@dataclass(frozen=True)
class Isolation:
    """The parts of one axis, from its low end to its high one.

    Attributes:
        axis: the axis.
        parts: all parts, including empty ones.
        even: the number of trials at which the parts are compared.
        spread: difference of the best and the worst part at that number; 0 with fewer than two comparable parts.
    """

    axis: Axis
    parts: tuple[Part, ...]
    even: int
    spread: float


def isolations(record: SweepRecord) -> list[Isolation]:
    """Every searched axis, in the order of the study file."""
    return [isolation(record, axis) for axis in axes(record.study["space"]) if axis.low < axis.high]


def isolation(record: SweepRecord, axis: Axis) -> Isolation:
    """The parts of one axis."""
    ranked = record.ranked()
    others = [t for t in record.trials if t.state != "running" and not (t.state == "complete" and t.value is not None)]
    place, elsewhere = _part(axis, values(axis, ranked)), _part(axis, values(axis, others))
    ends = _ends(axis)
    inside = [[float(t.value or 0.0) for t in _at(ranked, place, part)] for part in range(len(ends))]
    counts = [len(found) for found in inside if len(found) >= SOLID]
    even = min(counts, default=0)
    parts = [
        Part(low, high, len(found) + int((elsewhere == part).sum()), len(found), *_bests(found, even))
        for part, ((low, high), found) in enumerate(zip(ends, inside, strict=True))
    ]
    levels = [part.even for part in parts if math.isfinite(part.even)]
    return Isolation(axis, tuple(parts), even, max(levels) - min(levels) if len(levels) > 1 else 0.0)


def _bests(found: Sequence[float], even: int) -> tuple[float, float]:
    """Best of a part, and expected best of `even` of its trials; the values are sorted, best first."""
    if not found:
        return math.nan, math.nan
    return found[0], float(best_of(len(found), even) @ np.array(found)) if len(found) >= SOLID else math.nan


def _at(trials: Sequence[TrialRecord], place: NDArray[np.int64], part: int) -> list[TrialRecord]:
    return [trial for trial, here in zip(trials, place, strict=True) if here == part]


def _single(axis: Axis) -> bool:
    """Whether each value is a part of its own."""
    return axis.scale == "choice" or axis.few


def _part(axis: Axis, x: Floats) -> NDArray[np.int64]:
    """Part of each value, (n,); -1 for a value that is not on the axis."""
    found = np.full(len(x), -1, dtype=np.int64)
    for index, value in enumerate(x):
        if math.isfinite(value):
            position = value - axis.low if _single(axis) else axis.position(value) * PARTS
            found[index] = min(max(int(position + 1e-9), 0), len(_ends(axis)) - 1)
    return found


def _ends(axis: Axis) -> list[tuple[float, float]]:
    if _single(axis):
        return [(k - 0.5, k + 0.5) for k in range(int(axis.low), int(axis.high) + 1)]
    return list(pairwise(axis.at(float(share)) for share in np.linspace(0, 1, PARTS + 1)))

"""Comparison of sweeps: differences of the study files, results at equal budget, difference of the champions.

Studies whose files differ only in name, question and seed are repeats of one side: their spread is shown as a band.
Studies with different data or objectives cannot be compared.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.analysis import wording
from reports.analysis.confirmation import PairedDifference, confirmed_trials, is_split, repeat_word, split_overlap
from reports.analysis.progress import Progress, search_progress
from reports.analysis.statistics import Floats, corrected_half_width, t_quantile
from studies.record.reader import SweepRecord

REPEATED = ("name", "question", "seed")  # what may differ between repeats of one side
MOST_SIDES = 3


class IncomparableError(Exception):
    """The studies cannot be compared; the message says why."""


@dataclass(frozen=True)
class Side:
    """One study, or several that differ only in their seed.

    Attributes:
        name: of the first.
        records: all of them.
    """

    name: str
    records: tuple[SweepRecord, ...]

    @property
    def label(self) -> str:
        """The name and the number of repeats."""
        return self.name if len(self.records) == 1 else f"{self.name} ({len(self.records)} seeds)"


def sides(records: Sequence[SweepRecord]) -> list[Side]:
    """The studies in the given order, with repeats grouped.

    Raises:
        IncomparableError: other data, another objective, or too many sides.
    """
    first = records[0]
    for other in records[1:]:
        if other.dataset["digest"] != first.dataset["digest"]:
            raise IncomparableError(
                f"{first.name} and {other.name} have different data ({first.dataset['name']}"
                f" {str(first.dataset['digest'])[:8]}, {other.dataset['name']} {str(other.dataset['digest'])[:8]}):"
                " their results cannot be compared"
            )
        if other.objective != first.objective:
            raise IncomparableError(
                f"{first.name} is ranked by {first.objective}, {other.name} by {other.objective}: no comparison"
            )
    groups: dict[str, list[SweepRecord]] = {}
    for record in records:
        same = {key: value for key, value in record.study.items() if key not in REPEATED}
        groups.setdefault(json.dumps(same, sort_keys=True), []).append(record)
    if not 2 <= len(groups) <= MOST_SIDES:
        raise IncomparableError(
            f"{len(groups)} different studies were given; compare 2 or {MOST_SIDES}, each repeated over any seeds"
        )
    return [Side(group[0].name, tuple(group)) for group in groups.values()]


def differences(compared: Sequence[Side]) -> list[tuple[str, ...]]:
    """The differing keys of the study files: key, then its value on every side; `–` if a side lacks the key."""
    flat = [_flat(side.records[0].study) for side in compared]
    keys = dict.fromkeys(key for one in flat for key in one)
    rows = [(key, *(one.get(key, "–") for one in flat)) for key in keys]
    return [row for row in rows if len(set(row[1:])) > 1]


def _flat(study: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in study.items():
        if key in ("baseline", "confirm"):
            found |= {f"{key}.{inner}": wording.setting(part) for inner, part in (value or {}).items()}
        elif key == "start":
            for number, settings in enumerate(value, start=1):
                found |= {f"start.{number}.{inner}": wording.setting(part) for inner, part in settings.items()}
        elif key == "space":
            found |= {f"{key}.{inner}": wording.searched(part) for inner, part in value.items()}
        elif key not in ("name", "question", "direction"):
            found[key] = wording.setting(value)
    return found


@dataclass(frozen=True)
class Best:
    """Best value so far of one side over a common axis; arrays are (points,), NaN before the first completed trial.

    Attributes:
        x: trials, or seconds of training time.
        middle: median of the repeats.
        low, high: worst and best of the repeats; equal to the median if there is only one.
    """

    x: Floats
    middle: Floats
    low: Floats
    high: Floats


def by_trials(side: Side) -> Best:
    """Best value so far against finished trials, up to the shortest repeat."""
    courses = [search_progress(record).best for record in side.records]
    length = min(len(course) for course in courses)
    return _best(np.arange(1.0, length + 1), np.array([course[:length] for course in courses]))


def by_time(side: Side, points: int = 200) -> Best:
    """Best value so far against training time, summed over the workers, up to the shortest repeat."""
    courses = [search_progress(record) for record in side.records]
    end = min((float(course.seconds[-1]) for course in courses if course.seconds.size), default=0.0)
    x = np.linspace(0, end, points)
    return _best(x, np.array([_after(course, x) for course in courses]))


def _after(course: Progress, x: Floats) -> Floats:
    if not course.seconds.size:
        return np.full(x.shape, math.nan)
    place = np.searchsorted(course.seconds, x * (1 + 1e-12), side="right") - 1
    return np.where(place < 0, math.nan, course.best[np.maximum(place, 0)])


def _best(x: Floats, table: Floats) -> Best:
    return Best(x, np.median(table, axis=0), table.min(axis=0), table.max(axis=0))


def at_equal(courses: Sequence[Best]) -> tuple[float, list[float]]:
    """The largest budget that every side has used, and each side's best value at it; NaN if it had none."""
    shared = min((float(course.x[-1]) for course in courses if course.x.size), default=0.0)
    return shared, [_at(course, shared) for course in courses]


def _at(course: Best, x: float) -> float:
    before = np.flatnonzero(course.x <= x * (1 + 1e-9))
    return float(course.middle[before[-1]]) if before.size else math.nan


@dataclass(frozen=True)
class Gap:
    """How much better the second side's champion is than the first's, on fresh splits and seeds.

    Attributes:
        paired: the difference with its 95 % interval, positive where the second is better.
        over: the population of the interval, in words.
    """

    paired: PairedDifference
    over: str


def gap(one: Side, other: Side) -> Gap | None:
    """The difference of two champions; None unless both are confirmed.

    If both sides were repeated, the interval is over sweeps (Welch 1947: mean of the champion of each sweep). Otherwise
    it is over the repeats; it is paired if both studies have the same seed, and so the same fresh splits and seeds.
    """
    values = [[_champion(record) for record in side.records] for side in (one, other)]
    if any(found is None for side in values for found in side):
        return None
    sign = 1.0 if one.records[0].maximize else -1.0
    if min(len(side) for side in values) > 1:
        means = [np.array([float(np.mean(found)) for found in side if found is not None]) for side in values]
        return Gap(welch(sign * means[0], sign * means[1]), "other seeds of both sweeps")
    a, b = (sign * side[0] for side in values if side[0] is not None)
    first, second = one.records[0], other.records[0]
    noun = repeat_word(first).removeprefix("fresh ")
    if first.study["seed"] != second.study["seed"] or is_split(first) != is_split(second):
        return Gap(welch(a, b), f"other fresh {noun}s; those of the two studies differ")
    both = min(len(a), len(b))  # the first repeats of the larger confirmation are those of the smaller one
    some = "" if len(a) == len(b) else f", of the {both} that both have"
    return Gap(in_pairs(a[:both], b[:both], split_overlap(first)), f"other fresh {noun}s, {noun} by {noun}{some}")


def _champion(record: SweepRecord) -> Floats | None:
    if not record.verdict:
        return None
    rows = {row.trial: row.values for row in confirmed_trials(record)}
    return rows.get(int(record.verdict["champion"]))


def in_pairs(a: Floats, b: Floats, overlap: float = 0.0) -> PairedDifference:
    """Mean of b - a with its 95 % interval.

    Args:
        a: values on the repeats.
        b: other values on the same repeats.
        overlap: as of `corrected_half_width`.
    """
    difference, n = b - a, len(a)
    mean = float(difference.mean())
    if n < 2:
        return PairedDifference(mean, math.nan, math.nan, n)
    half = corrected_half_width(float(difference.std(ddof=1)), n, overlap)
    return PairedDifference(mean, mean - half, mean + half, n)


def welch(a: Floats, b: Floats) -> PairedDifference:
    """Difference of the means of b and a with the 95 % interval of Welch (1947); `n` is the smaller sample."""
    mean, n = float(b.mean() - a.mean()), min(len(a), len(b))
    if n < 2:
        return PairedDifference(mean, math.nan, math.nan, n)
    parts = [float(x.var(ddof=1)) / len(x) for x in (a, b)]
    whole = sum(parts)
    if whole == 0:
        return PairedDifference(mean, mean, mean, n)
    freedom = whole**2 / sum(part**2 / (len(x) - 1) for part, x in zip(parts, (a, b), strict=True))
    half = t_quantile(freedom, 0.975) * math.sqrt(whole)
    return PairedDifference(mean, mean - half, mean + half, n)

"""The proposed next study: the study file with a change for every warning that a change can address.

The changes follow the Deep Learning Tuning Playbook (https://github.com/google-research/tuning_playbook): widen a range
if the best trials are at its bound and more than the noise of a training may be gained there; cut off a part where
trials fail; narrow a range that matters beyond chance to where the best trials are; more epochs if the best trials
still improve; more trials if they still bring a gain; more repeats if the champion is not distinguishable from the
baseline. The baseline is unchanged and stays inside every range, so that both studies have the same reference. The
seed, and so the split of the data, is unchanged too.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.analysis.axes import Axis, axes, values
from reports.analysis.checks import checks
from reports.analysis.checks.confirmed import MOST_REPEATS
from reports.analysis.checks.curves import LONGER
from reports.analysis.checks.finding import WARN, Check, top_group
from reports.analysis.checks.space import crowded
from reports.analysis.failures import BROKEN
from reports.analysis.gain import Gain, gain_of_range
from reports.analysis.importance import what_matters
from reports.analysis.standing import standing
from reports.analysis.training_noise import least_difference, limit_words
from reports.analysis.wording import listed, setting
from studies.record.reader import SweepRecord

Allowed = Callable[[str, Any], bool]
"""Tells whether a value is valid for the hyperparameter of this name."""

HEADER = "# Proposed by the report of "
WIDER = (0.5, 0.25, 0.1)  # fraction of the range, on its own scale, to add beyond the bound: the first valid one
SHORTER = 0.5  # times the epochs
MORE_TRIALS = 2
MOST_TRIALS = 1_000_000
CUT_FEWEST, CUT_SHARE = 5, 0.8  # a part is cut off if it has this many trials and this fraction failed
NARROW_FEWEST = 8  # trials of the top group, needed to narrow a range to them
MARGIN = 0.15  # fraction of the range, kept on both sides of them
MIN_CUT = 0.25  # fraction of the range: a smaller cut is not proposed


@dataclass(frozen=True)
class Change:
    """One change of the study file.

    Attributes:
        key: dotted, such as `space.learning_rate`.
        old, new: its values.
        why: the reason, used as a comment.
        gain: the least and the most that the objective is expected to gain, as heights; None where it is not known.
    """

    key: str
    old: Any
    new: Any
    why: str
    gain: Gain | None = None


@dataclass(frozen=True)
class Proposal:
    """The next study.

    Attributes:
        name: of the study, and of its file without the ending.
        changes: relative to the reported study.
        text: the whole file, TOML.
    """

    name: str
    changes: tuple[Change, ...]
    text: str


def propose(record: SweepRecord, allowed: Allowed = lambda key, value: True) -> Proposal | None:
    """The next study; None if this one has not ended, or if no check calls for a change.

    Args:
        record: the study.
        allowed: tells whether a value is valid; this package does not import the limits of the model.
    """
    if not standing(record).over:
        return None
    found = checks(record)
    changes = _changes(record, {check.name: check for check in found if check.status == WARN}, allowed)
    changes += _repeats(record, found)
    if not changes:
        return None
    name = _next_name(record.name)
    return Proposal(name, tuple(changes), _file(record, changes))


def _changes(record: SweepRecord, warned: Mapping[str, Check], allowed: Allowed) -> list[Change]:
    if not warned:
        return []
    study, found = record.study, []
    ranges = _ranges(record, warned, allowed)
    found += [Change(f"space.{key}", study["space"][key], *new) for key, new in ranges.items()]
    found += _epochs(record, warned, allowed)
    if "enough trials" in warned:
        new = min(MOST_TRIALS, MORE_TRIALS * record.planned)
        gain = 0.0, warned["enough trials"].numbers["gain of second half"]
        found.append(Change("trials", study["trials"], new, "more trials still improved the best value", gain))
    if "pruning" in warned:
        found.append(
            Change("pruner", study["pruner"], "none", "of the control trials that it would have stopped, some are good")
        )
    return [change for change in found if change.new != change.old]


# --- ranges


def _ranges(
    record: SweepRecord, warned: Mapping[str, Check], allowed: Allowed
) -> dict[str, tuple[Any, str, Gain | None]]:
    """New dimensions by hyperparameter, with the reasons and the expected gains."""
    found: dict[str, tuple[Any, str, Gain | None]] = {}

    def change(axis: Axis, low: float, high: float, why: str, gain: Gain | None = None) -> None:
        old, so_far, other = found.get(axis.key, (record.study["space"][axis.key], "", None))
        new = _dimension(old, axis, low, high)
        if new != old:
            most = max(filter(None, (gain, other)), key=lambda one: one[1], default=None)
            found[axis.key] = new, f"{so_far}; {why}" if so_far else why, most

    widened = crowded(record) if "boundary" in warned else {}
    if "overfitting" in warned:  # a larger network would overfit more
        sizes = [axis for axis in widened if record.study["space"][axis.key]["kind"] == "layers"]
        widened = {axis: end for axis, end in widened.items() if axis not in sizes or end != "upper"}
    for axis, end in widened.items():
        low, high = _wider(record, axis, end, allowed)
        gain = gain_of_range(record, axis, low, high)
        if gain is None or gain[1] > least_difference(record)[0]:
            change(axis, low, high, f"the best trials are at the {end} bound of {axis.name}", gain)
    matters = what_matters(record)
    for axis in axes(record.study["space"]):
        if axis in widened or axis.scale == "choice" or axis.layer is not None or axis.low == axis.high:
            continue
        cut = _without_broken(record, axis) if "infeasible share" in warned else None
        if cut is not None:
            edge = setting(cut[0] if cut[0] != axis.low else cut[1])
            change(axis, *cut, f"most trials beyond {edge} failed or diverged")
        elif (narrow := _narrower(record, axis, matters)) is not None:
            change(axis, *narrow, "the best trials are in this range, and it matters beyond chance")
    return found


def _wider(record: SweepRecord, axis: Axis, end: str, allowed: Allowed) -> tuple[float, float]:
    """The ends of an axis, with one moved out as far as the hyperparameter allows."""
    upper = (end == "upper") != axis.complement
    for share in WIDER:
        value = axis.high if upper else axis.low
        value = axis.at(1 + share if upper else -share) if not axis.few else value + (1 if upper else -1)
        low, high = (axis.low, _round(axis, value)) if upper else (_round(axis, value), axis.high)
        if _possible(record, axis, low, high, allowed):
            return low, high
    return axis.low, axis.high


def _possible(record: SweepRecord, axis: Axis, low: float, high: float, allowed: Allowed) -> bool:
    """Whether a range is valid for the scale of the axis and for its hyperparameter."""
    if low >= high or (axis.scale == "log" and low <= 0):
        return False
    dimension = _dimension(record.study["space"][axis.key], axis, low, high)
    if dimension["kind"] == "layers":
        (fewest, most), (least, largest) = dimension["layers"], dimension["units"]
        return fewest >= 1 and allowed(axis.key, [least] * fewest) and allowed(axis.key, [largest] * most)
    return allowed(axis.key, dimension["low"]) and allowed(axis.key, dimension["high"])


def _without_broken(record: SweepRecord, axis: Axis) -> tuple[float, float] | None:
    """The ends of an axis without an outer part in which most trials failed; None if there is none."""
    ended = [trial for trial in record.trials if trial.state != "running"]
    x = values(axis, ended)
    broke = np.array([trial.outcome in BROKEN for trial in ended])
    there = np.isfinite(x)
    x, broke = x[there], broke[there]
    for upper in (True, False):
        order = np.argsort(-x if upper else x, kind="stable")
        share = broke[order].cumsum() / np.arange(1, len(x) + 1)
        bad = np.flatnonzero((share >= CUT_SHARE) & broke[order])
        if bad.size and bad[-1] + 1 >= CUT_FEWEST:
            edge = _round(axis, float(x[order][bad[-1]]))
            low, high = (axis.low, edge) if upper else (edge, axis.high)
            return _around_baseline(record, axis, low, high)
    return None


def _narrower(record: SweepRecord, axis: Axis, matters: Sequence[str]) -> tuple[float, float] | None:
    """The range of the top group with a margin; None unless the axis matters beyond chance."""
    group = top_group(record)
    if axis.name not in matters or len(group) < NARROW_FEWEST:
        return None
    places = np.array([axis.position(float(value)) for value in values(axis, group)])
    low, high = max(0.0, float(places.min()) - MARGIN), min(1.0, float(places.max()) + MARGIN)
    if high - low > 1 - MIN_CUT:
        return None
    ends = [
        axis.low if low == 0 else _round(axis, axis.at(low)),
        axis.high if high == 1 else _round(axis, axis.at(high)),
    ]
    return _around_baseline(record, axis, *ends)


def _around_baseline(record: SweepRecord, axis: Axis, low: float, high: float) -> tuple[float, float] | None:
    """A part of a range, extended to include the baseline; None if it is then not much smaller than the range."""
    base = record.study["baseline"][axis.key]
    place = 1 - base if axis.complement else base
    low, high = max(axis.low, min(low, place)), min(axis.high, max(high, place))
    return (low, high) if low < high and axis.position(high) - axis.position(low) <= 1 - MIN_CUT / 2 else None


def _round(axis: Axis, value: float) -> float:
    """The value in two significant digits, or rounded to an integer on an integer axis."""
    return float(round(value)) if axis.integer else float(f"{value:.2g}")


def _dimension(old: Mapping[str, Any], axis: Axis, low: float, high: float) -> dict[str, Any]:
    """A recorded dimension with other ends on one of its axes."""
    if old["kind"] == "layers":
        part = "units" if axis.layer else "layers"
        before = old[part]  # the sizes of all layers share one range, so it is only widened
        return {**old, part: [min(int(low), before[0]), max(int(high), before[1])]}
    if axis.complement:
        low, high = (float(f"{1 - end:.10g}") for end in (high, low))
    number = int if old["kind"] == "int" else float
    return {**old, "low": number(low), "high": number(high)}


# --- everything else


def _epochs(record: SweepRecord, warned: Mapping[str, Check], allowed: Allowed) -> list[Change]:
    """More epochs if the best trials still improve, fewer if the best epochs are early; none if epochs are searched."""
    if "epochs" in record.study["space"]:
        return []
    old = int(record.study["baseline"]["epochs"])
    gain = None
    if "best epoch" in warned:
        new, why = max(1, math.ceil(SHORTER * old)), "most trials had their best epoch in the first tenth"
    elif "still improving" in warned:
        new, why = math.ceil(LONGER * old), f"longer trainings would gain more than {limit_words(record)}"
        measured = warned["still improving"].numbers
        gain = measured["low"], measured["high"]
    else:
        return []
    return [Change("baseline.epochs", old, new, why, gain)] if allowed("epochs", new) else []


REPEATS_TELL = {
    "champion against baseline": "to distinguish the champion from the baseline",
    "noise": "to distinguish the best trials from each other",
}
"""What more repeats of the confirmation would tell, by the check that asks for them."""


def _repeats(record: SweepRecord, found: Sequence[Check]) -> list[Change]:
    """The number of repeats with which the checks that cannot tell yet could; twice as many if the trials are alike."""
    confirm = record.study.get("confirm")
    if not confirm:
        return []
    old = int(confirm["repeats"])
    needed = {check.name: int(check.numbers.get("repeats that would tell") or 0) for check in found}
    needed |= {check.name: 2 * old for check in found if check.name == "noise" and check.status == WARN}
    new = min(MOST_REPEATS, max(needed.values(), default=0))
    reasons = [REPEATS_TELL.get(name, name) for name, repeats in needed.items() if repeats > old]
    return [Change("confirm.repeats", old, new, f"too few {listed(reasons)}")] if new > old else []


def _next_name(name: str) -> str:
    """`digits-2` after `digits`, `digits-3` after `digits-2`; always a name that a study file may have."""
    plain = _plain(name).lstrip("._-") or "study"
    stem, number = match.groups() if (match := re.fullmatch(r"(.+)-(\d{1,6})", plain)) else (plain, "1")
    return f"{stem[:56]}-{int(number) + 1}"


# --- the file


def _file(record: SweepRecord, changes: Sequence[Change]) -> str:
    """The study file with the changes, each with a comment."""
    study = dict(record.study)
    if record.data_file is not None:
        study["dataset"] = record.data_file  # relative to the study's folder, where this file is written
    news = {change.key: change for change in changes}
    plain = [key for key in study if key not in ("name", "direction", "baseline", "start", "space", "confirm")]
    lines = [f"{HEADER}{_plain(record.name)}. Each change has a comment with its reason; the question is unchanged."]
    lines += [_line(key, study[key], news.get(key)) for key in plain if study[key] is not None]
    for table in ("baseline", "space", "confirm"):
        if content := study.get(table):
            lines += ["", f"[{table}]"]
            lines += [_line(key, value, news.get(f"{table}.{key}")) for key, value in content.items()]
        if table == "baseline":
            lines += _starts(study.get("start", ()), news)
    return "\n".join(lines) + "\n"


def _starts(start: Sequence[Mapping[str, Any]], news: Mapping[str, Change]) -> list[str]:
    """The lines of the known good settings; those outside a range that was narrowed are left out, with the reason."""
    lines: list[str] = []
    for number, settings in enumerate(start, start=1):
        ranges = {key: news[f"space.{key}"].new for key in settings if f"space.{key}" in news}
        outside = [
            key for key, new in ranges.items() if "low" in new and not new["low"] <= settings[key] <= new["high"]
        ]
        if outside:
            lines += [
                "",
                f"# start {number} is left out: {outside[0]} = {_toml(settings[outside[0]])} is outside its range",
            ]
        else:
            lines += ["", "[[start]]", *(_line(key, value, None) for key, value in settings.items())]
    return lines


def _plain(name: str) -> str:
    """A name with other characters than those of a study name replaced."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)


def _line(key: str, value: Any, change: Change | None) -> str:
    shown = _toml(value if change is None else change.new)
    return f"{key} = {shown}" + (f"  # was {_toml(change.old)}: {change.why}" if change else "")


def _toml(value: Any) -> str:
    """A value in TOML; a dimension without its kind and without the default scale."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        kept = {k: v for k, v in value.items() if k != "kind" and not (k == "log" and v is False)}
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in kept.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return repr(value)


def words(change: Change) -> tuple[str, str, str, str]:
    """A change as a row of a table: key, old value, new value, reason."""
    return change.key, _toml(change.old), _toml(change.new), change.why

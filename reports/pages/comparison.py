"""The comparison of two or three studies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes

from reports.analysis import wording
from reports.analysis.axes import Axis, axes, values
from reports.analysis.checks import checks
from reports.analysis.checks.finding import WARN
from reports.analysis.comparison import Best, Side, at_equal, by_time, by_trials, differences, gap
from reports.analysis.confirmation import repeat_word
from reports.analysis.final_models import final_accuracy
from reports.analysis.standing import standing
from reports.analysis.statistics import Floats
from reports.analysis.wording import MetricFormat, counted, listed
from reports.drawing import points, scales, style
from reports.drawing.blocks import Key
from reports.drawing.layout import BODY, SMALL, Page, shorten
from reports.pages.context import capital, interval
from reports.pages.progress import time_unit

PANELS = 8
MARKERS = ("o", "^", "s")
MOST_DIFFERENCES = 22


def comparison(compared: Sequence[Side]) -> list[Page]:
    """The result with the differences of the study files, the best so far at equal budget, and all trials."""
    metric = wording.objective(compared[0].records[0])
    return [_verdict(compared, metric), *_courses(compared, metric), *_space(compared, metric)]


# --- the result


def _verdict(compared: Sequence[Side], metric: MetricFormat) -> Page:
    page = Page(_finding(compared, metric), _note(compared))
    page.heading("Results")
    every = [record for side in compared for record in side.records]
    word = repeat_word(every[0]) if len({repeat_word(record) for record in every}) == 1 else "repeat"
    fresh = f"{word}s".replace(" ", "\n")
    head = ["study", "finished", "time", "best in\nsearch", "champion", fresh, "test accuracy", "warnings"]
    rows = [_row(side, n, metric) for side in compared for n in range(len(side.records))]
    page.table(head, rows, right=(1, 2, 3, 5, 6, 7))
    page.space(0.08)
    page.paragraph(
        f"{capital(word)}s: mean of the champion's repeats. Test accuracy: mean of the final models, with the 95\u00a0%"
        " Wilson interval over test examples. All use the same test set; choosing between them by it would bias it.",
        SMALL,
    )
    page.heading(f"The champions on {word}s")
    for one, other in _couples(compared):
        page.paragraph(_gap_in_words(one, other, metric), BODY)
    page.heading("What differs in the study files")
    rows_found = differences(compared)
    page.table(["key", *(side.name for side in compared)], rows_found[:MOST_DIFFERENCES])
    if len(rows_found) > MOST_DIFFERENCES:
        page.paragraph(f"{len(rows_found) - MOST_DIFFERENCES} more are not shown.", SMALL)
    return page


def _couples(compared: Sequence[Side]) -> list[tuple[Side, Side]]:
    """Every pair, the earlier side first."""
    return [(one, other) for place, one in enumerate(compared) for other in compared[place + 1 :]]


def _finding(compared: Sequence[Side], metric: MetricFormat) -> str:
    said = []
    for one, other in _couples(compared):
        found = gap(one, other)
        if found is None:
            return f"{listed(side.name for side in compared)} cannot be compared yet: not every champion is confirmed"
        if found.paired.finding == "not distinguishable":
            said.append(f"The champion of {other.name} is not distinguishable from that of {one.name}")
        else:
            ahead, behind = (other, one) if found.paired.finding == "better" else (one, other)
            worth = metric.gain(found.paired.difference)
            said.append(f"The champion of {ahead.name} is better than that of {behind.name} by {worth}")
    return "; ".join([*said[:1], *(text[:1].lower() + text[1:] for text in said[1:])])


def _gap_in_words(one: Side, other: Side, metric: MetricFormat) -> str:
    found = gap(one, other)
    if found is None:
        return f"{other.name} against {one.name}: not every champion is confirmed."
    ends = interval(metric, found.paired)
    return f"{other.name} against {one.name}: {metric.oriented(found.paired.difference)}; {ends}, over {found.over}."


def _row(side: Side, place: int, metric: MetricFormat) -> list[str]:
    record = side.records[place]
    state, tested = standing(record), final_accuracy(record)
    verdict = record.verdict or {}
    accuracy = wording.accuracy(tested.examples) if tested else None
    return [
        record.name,
        f"{state.finished} of {state.planned}",
        wording.duration(sum(trial.seconds for trial in record.trials)),
        metric.text(state.best.value if state.best else None),
        f"trial {verdict['champion']}" if verdict else "–",
        metric.text(verdict.get("confirm_mean")),
        f"{accuracy.text(tested.mean)} ({accuracy.text(tested.low)} to {accuracy.text(tested.high)})"
        if tested and accuracy
        else "–",
        f"{sum(check.status == WARN for check in checks(record))}",
    ]


def _note(compared: Sequence[Side]) -> str:
    record = compared[0].records[0]
    repeated = any(len(side.records) > 1 for side in compared)
    several = " Studies that differ only in their seed are repeats of one side." if repeated else ""
    return (
        f"{counted(sum(len(side.records) for side in compared), 'study').replace('studys', 'studies')} of"
        f" {record.dataset['name']} (SHA-256 {str(record.dataset['digest'])[:12]}), by {record.objective}.{several}"
    )


# --- at equal budget


def _courses(compared: Sequence[Side], metric: MetricFormat) -> list[Page]:
    trials, time = [by_trials(side) for side in compared], [by_time(side) for side in compared]
    if not all(np.isfinite(course.middle).any() for course in trials):
        return []
    page = Page(_ahead(compared, trials, time, metric), _courses_note(compared))
    page.keys([Key(side.label, style.PALETTE[k], line=style.LINES[k]) for k, side in enumerate(compared)])
    upper, lower = page.grid(2, 1, min(8.0, page.room), left=0.6)
    style.frame(upper, title="Best so far, by trial", x="finished trials", y=metric.axis)
    _draw(upper, trials, metric, at_equal(trials)[0])
    size, unit = time_unit(max(float(course.x[-1]) for course in time))
    scaled = [replace(course, x=course.x / size) for course in time]
    style.frame(lower, title="Best so far, by training time", x=f"training time, all workers ({unit})", y=metric.axis)
    _draw(lower, scaled, metric, at_equal(scaled)[0])
    return [page]


def _draw(ax: Axes, courses: Sequence[Best], metric: MetricFormat, shared: float) -> None:
    every = np.concatenate([course.middle for course in courses])
    _objective(ax, every, metric)
    for place, course in enumerate(courses):
        colour, line = style.PALETTE[place], style.LINES[place]
        low, high = course.low * metric.scale, course.high * metric.scale
        ax.fill_between(course.x, low, high, step="post", color=colour, alpha=0.2, linewidth=0)
        ax.step(course.x, course.middle * metric.scale, where="post", color=colour, linestyle=line, linewidth=1.5)
    ax.axvline(shared, color=style.BASE, linewidth=0.8, linestyle=(0, (1, 1.5)))
    ax.set_xlim(0, max(float(course.x[-1]) for course in courses) * 1.02)


def _objective(ax: Axes, values: Floats, metric: MetricFormat) -> tuple[float, float]:
    """Make the vertical axis the objective's, wide enough to distinguish the good values; returns its ends."""
    log = scales.many_magnitudes(values, [], maximize=metric.maximize)
    low, high = (e * metric.scale for e in scales.window(values, [], maximize=metric.maximize, log=log))
    scales.objective_axis(ax, (low, high), maximize=metric.maximize, log=log, gutter=0)
    return low, high


def _ahead(compared: Sequence[Side], trials: Sequence[Best], time: Sequence[Best], metric: MetricFormat) -> str:
    shared, best = at_equal(trials)
    seconds, timely = at_equal(time)
    first = f"After {shared:.0f} trials each, {_leader(compared, best, metric)}"
    return f"{first}; after {wording.duration(seconds)} each, {_leader(compared, timely, metric)}"


def _leader(compared: Sequence[Side], best: Sequence[float], metric: MetricFormat) -> str:
    known = [(value, side.name) for value, side in zip(best, compared, strict=True) if math.isfinite(value)]
    if not known:
        return "no trial has completed"
    ordered = sorted(known, key=lambda one: -one[0] if metric.maximize else one[0])
    if len(known) == len(best) and len({metric.text(value) for value, _ in ordered}) == 1:
        return "they are equal"
    shown = metric.text(ordered[0][0])
    ahead = [side for value, side in ordered if metric.text(value) == shown]
    others = listed(metric.text(value) for value, _ in ordered[len(ahead) :])
    if len(known) < len(best):
        others = "none" if len(ahead) == len(known) else f"{others} and none"
    return f"{listed(ahead)} {'leads' if len(ahead) == 1 else 'lead'} with {shown} against {others}"


def _courses_note(compared: Sequence[Side]) -> str:
    repeated = [side for side in compared if len(side.records) > 1]
    measured = dict.fromkeys(wording.measured_on(record) for side in compared for record in side.records)
    band = " Line: median of the repeats; band: from the worst to the best of them." if repeated else ""
    return (
        f"Best objective in the search so far, {listed(measured)} per trial; the best of more trials is better by"
        f" chance alone. Dotted: the budget that all have used.{band} A single search per study is one random sample:"
        " without repeats there is no interval."
    )


# --- all trials of all sides


def _space(compared: Sequence[Side], metric: MetricFormat) -> list[Page]:
    shared = _shared([side.records[0].study["space"] for side in compared])
    known = [[(record.uid, trial) for record in side.records for trial in record.ranked()] for side in compared]
    trials = [[trial for _, trial in side] for side in known]
    if not shared or not any(trials):
        return []
    n = listed(f"{len(found)} of {side.label}" for side, found in zip(compared, trials, strict=True))
    page = Page(
        "The completed trials of all sweeps in the search space",
        f"n = {n}. Each axis spans the ranges of all sweeps that search it; pruned and failed trials are in the report"
        f" of each study.{f' {len(shared) - PANELS} axes are not drawn.' if len(shared) > PANELS else ''}",
    )
    page.keys([Key(side.label, style.PALETTE[k], MARKERS[k], hollow=k > 0) for k, side in enumerate(compared)])
    every = np.array([trial.value for found in trials for trial in found], dtype=np.float64)
    shown = shared[:PANELS]
    rows = math.ceil(len(shown) / 2)
    grid = page.grid(len(shown), 2, min(rows * 2.35, page.room), left=0.5)
    for ax, axis in zip(grid, shown, strict=True):
        style.frame(ax, title=shorten(axis.name, 2.75, SMALL + 0.6, bold=True), x=axis.label, y=metric.axis)
        scales.axis_scale(ax, axis)
        low, high = _objective(ax, every, metric)
        for place, found in enumerate(trials):
            x = scales.spread(axis, values(axis, found), [trial.number for trial in found])
            y = np.clip(np.array([trial.value for trial in found], dtype=np.float64) * metric.scale, low, high)
            face = style.PALETTE[place] if place == 0 else "none"
            (dots,) = ax.plot(
                x, y, MARKERS[place], markersize=2.8, markerfacecolor=face, markeredgecolor=style.PALETTE[place],
                markeredgewidth=0.7, alpha=0.8, rasterized=len(found) > 400,
            )  # fmt: skip
            points.name(dots, [(uid, trial.number) for uid, trial in known[place]])
    return [page]


def _shared(spaces: Sequence[Mapping[str, Mapping[str, object]]]) -> list[Axis]:
    """The axes of several spaces; those with the same name and scale are merged into one that spans all ranges."""
    found: dict[tuple[str, str, bool], Axis] = {}
    for axis in (axis for space in spaces for axis in axes(space)):
        key = (axis.name, axis.scale, axis.complement)
        old = found.get(key, axis)
        choices = tuple(dict.fromkeys((*old.choices, *axis.choices)))
        high = float(len(choices) - 1) if choices else max(old.high, axis.high)
        found[key] = replace(old, low=min(old.low, axis.low), high=high, choices=choices)
    return list(found.values())

"""Every searched hyperparameter against the objective."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from reports.analysis import wording
from reports.analysis.axes import EDGE, Axis, at_bounds, axes, values
from reports.analysis.isolation import SOLID, Isolation, Part, isolations
from reports.analysis.standing import BASELINE, winner
from reports.analysis.statistics import Floats
from reports.analysis.wording import counted, listed
from reports.drawing import plots, scales, style
from reports.drawing.blocks import Key
from reports.drawing.layout import MUTED, SMALL, Page, shorten
from reports.drawing.sheets import Sheets
from reports.pages.context import Report
from reports.pages.importance import no_ranking

AXES_A_PAGE = 8
MOST_AXES = 16


def hyperparameters(report: Report, sheets: Sheets) -> None:
    """Every searched hyperparameter against the objective, with the best over all other settings."""
    if not report.record.trials:
        return
    shown = axes(report.record.study["space"])
    chosen, left = shown[:MOST_AXES], len(shown) - MOST_AXES
    parts = {one.axis.name: one for one in isolations(report.record)}
    for start in range(0, len(chosen), AXES_A_PAGE):
        page = sheets.section(_axes_finding(report, continued=start > 0), _axes_note(report, left))
        _axes_page(page, report, chosen[start : start + AXES_A_PAGE], parts)
        sheets.turn()


def _axes_page(page: Page, report: Report, sheet: Sequence[Axis], parts: Mapping[str, Isolation]) -> None:
    trials = report.record.trials
    best = winner(report.record)
    top = [*([best.number] if best else []), *(t.number for t in report.record.ranked()[:3])]
    known = {trial.number for trial in trials}
    starred = [n for n in report.looks if n in known and (n in top or n == BASELINE)]
    lines = [Key("expected best of the part, at equal numbers", MUTED, line="-")] if _is_compared(parts) else []
    page.keys([*report.keys(starred, ("complete", f"{report.selected} value", "broken")), *lines])
    rows = math.ceil(len(sheet) / 2)
    objective = np.array([t.value if t.value is not None else math.nan for t in trials], dtype=np.float64)
    complete = np.where([t.state == "complete" for t in trials], objective, math.nan)
    ends = report.ends(complete)
    grid = page.grid(len(sheet), 2, min(rows * 2.2, page.room), left=0.5)
    for ax, axis in zip(grid, sheet, strict=True):
        style.frame(ax, title=_axis_title(report, axis), x=axis.label, y=report.metric.axis)
        scales.axis_scale(ax, axis)
        x = scales.spread(axis, values(axis, trials), [t.number for t in trials])
        report.axis(ax, ends)
        plots.scatter(ax, x, objective * report.metric.scale, trials, ends, maximize=report.metric.maximize)
        _parts(ax, report, parts.get(axis.name), ends)
        for number in reversed(starred):  # the winner last, on top
            _star(ax, report, number, x, objective, ends)


def _is_compared(parts: Mapping[str, Isolation]) -> bool:
    return any(map(_compared, parts.values()))


def _compared(found: Isolation) -> list[Part]:
    """The parts that can be compared; none if only one can."""
    parts = [part for part in found.parts if math.isfinite(part.even)]
    return parts if len(parts) > 1 else []


def _parts(ax: Axes, report: Report, found: Isolation | None, ends: tuple[float, float]) -> None:
    """A line over each part of the range that can be compared."""
    for part in _compared(found) if found else ():
        height = float(np.clip(part.even * report.metric.scale, *ends))
        ax.hlines(height, part.low, part.high, MUTED, linewidth=1.8)


def _star(ax: Axes, report: Report, number: int, x: Floats, value: Floats, ends: tuple[float, float]) -> None:
    """Mark one trial, if it has both a value on the axis and a final objective."""
    at = next(index for index, trial in enumerate(report.record.trials) if trial.number == number)
    if math.isfinite(x[at]) and math.isfinite(value[at]):
        height = float(np.clip(value[at] * report.metric.scale, *ends))
        style.star(ax, float(x[at]), height, report.looks[number], number)


def _axis_title(report: Report, axis: Axis) -> str:
    best = winner(report.record)
    bound = at_bounds(report.record, best).get(axis.name) if best else None
    text = f"{axis.name}: {report.best_word} at {bound} bound" if bound else axis.name
    return shorten(text, 2.75, SMALL + 0.6, bold=True)


def _axes_finding(report: Report, *, continued: bool) -> str:
    best = winner(report.record)
    if best is None:
        return "The trials in the search space; none completed"
    bounds = at_bounds(report.record, best)
    lead = report.importance.leading
    last = f"; {lead} matters{' most' if len(report.importance.matters) > 1 else ''}" if lead else ""
    if not bounds:
        text = f"The {report.best_word} is not at a bound of a searched range{last}"
    else:
        ends = listed(f"the {end} bound of {name}" for name, end in list(bounds.items())[:2])
        more = f" and {len(bounds) - 2} more" if len(bounds) > 2 else ""
        text = f"The {report.best_word} is within {wording.percent(EDGE)} of {ends}{more}{last}"
    return text + (" (continued)" if continued else "")


def _axes_note(report: Report, left: int) -> str:
    more = f" {counted(left, 'further axis').replace('axiss', 'axes')} not drawn." if left > 0 else ""
    unfinished = f"; {report.standing.unfinished} unfinished not drawn" if report.standing.unfinished else ""
    return (
        f"Search space: n = {report.endings() or 'no finished trial'}{unfinished}. At a bound: within"
        f" {wording.percent(EDGE)} of it; choices, few whole numbers and a lower end that nothing can be below have"
        " none. Equal values are spread sideways."
        " Dotted lines are the ends of the searched range. Lines: the best over all other settings in each fifth of"
        " the range or each choice, as expected of as many completed trials as the smallest part with"
        f" {counted(SOLID, 'trial')} has, since the best of many is better than the best of few. A pruned trial is"
        f" drawn at its {report.selected} value, or in the shaded strip if that is outside the axis. A trial"
        f" without such a layer is not in that panel.{more}{no_ranking(report.importance)}"
    )

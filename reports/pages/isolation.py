"""The best objective in each part of every range, over all other settings."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes

from reports.analysis.axes import values
from reports.analysis.isolation import SOLID, Isolation, isolations
from reports.analysis.wording import counted
from reports.drawing import scales, style
from reports.drawing.layout import MUTED, SMALL, TINY, Key, Page, shorten
from reports.drawing.style import PALETTE
from reports.pages.context import Report

PANELS = 8


def isolation(report: Report) -> list[Page]:
    """One panel per axis, those with the largest differences first."""
    found = sorted(isolations(report.record), key=lambda one: -one.spread)
    if report.standing.complete < SOLID or not found:
        return []
    page = Page(_finding(report, found), _note(found))
    page.keys(
        [
            Key("best of the part", PALETTE[0], line="-"),
            Key("expected best at equal numbers", style.FAILURE, line=(0, (2, 1.2))),
            Key("completed trial", style.GREY, "o"),
        ]
    )
    shown = found[:PANELS]
    rows = math.ceil(len(shown) / 2)
    grid = page.grid(len(shown), 2, min(rows * 2.35, page.room), left=0.5)
    for ax, one in zip(grid, shown, strict=True):
        _panel(ax, report, one)
    return [page]


def _panel(ax: Axes, report: Report, found: Isolation) -> None:
    axis, metric, ranked = found.axis, report.metric, report.record.ranked()
    value = np.array([trial.value for trial in ranked], dtype=np.float64)
    low, high = report.ends(value)
    style.frame(ax, title=shorten(axis.name, 2.75, SMALL + 0.6, bold=True), x=axis.label, y=metric.axis)
    scales.axis_scale(ax, axis)
    x = scales.spread(axis, values(axis, ranked), [trial.number for trial in ranked])
    ax.plot(
        x, np.clip(value * metric.scale, low, high), "o", color=style.GREY, markersize=2.2, markeredgewidth=0, alpha=0.6
    )
    for part in found.parts:
        solid = part.complete >= SOLID
        if part.complete:
            width, alpha = (2.2, 1.0) if solid else (1.0, 0.5)
            ax.hlines(part.best * metric.scale, part.low, part.high, PALETTE[0], linewidth=width, alpha=alpha)
        if solid:
            even = part.even * metric.scale
            ax.hlines(even, part.low, part.high, style.FAILURE, linewidth=1.1, linestyle=(0, (2, 1.2)))
        _count(ax, part.low, part.high, part.complete, part.judged, log=axis.scale == "log", maximize=metric.maximize)
    report.axis(ax, (low, high), wash="white")


def _count(ax: Axes, low: float, high: float, complete: int, judged: int, *, log: bool, maximize: bool) -> None:
    """Number of completed trials out of all in the part, at the worse end of the axis."""
    middle = math.sqrt(low * high) if log else (low + high) / 2
    ax.text(
        middle, 0.03 if maximize else 0.97, f"{complete} of {judged}", transform=ax.get_xaxis_transform(),
        ha="center", va="bottom" if maximize else "top", fontsize=TINY - 0.6, color=MUTED, parse_math=False,
    )  # fmt: skip


def _finding(report: Report, found: list[Isolation]) -> str:
    clear = report.importance.matters
    lead = next((one for name in clear for one in found if one.axis.name == name and one.spread > 0), None)
    if lead is None:
        return "No part of any range is better than the others beyond the chance level"
    return (
        f"Over all other settings, the best and the worst part of {lead.axis.name} differ by"
        f" {report.metric.gain(lead.spread)}"
    )


def _note(found: list[Isolation]) -> str:
    left = f" {len(found) - PANELS} axes with smaller differences are not drawn." if len(found) > PANELS else ""
    return (
        "Each range in five equal parts, each choice by itself, with the best completed trial in it over all other"
        " settings. The best of many trials is better than the best of few, so the dashed line is the expected best of"
        f" as many trials as the smallest part with at least {counted(SOLID, 'completed trial')} has; thin lines mark"
        f" parts with fewer. Numbers: completed of all trials in the part.{left}"
    )

"""Interactions of hyperparameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D

from reports.analysis.axes import values
from reports.analysis.interactions import MIN_SHARE, MIN_TRIALS, Pair, pairs
from reports.analysis.wording import counted, listed, percent
from reports.drawing import points, scales, style
from reports.drawing.blocks import Key
from reports.drawing.layout import SMALL, shorten
from reports.drawing.sheets import Sheets
from reports.pages.context import Report

SCALE = colormaps["viridis"]  # perceptually uniform, so that it also works in greyscale


def interactions(report: Report, sheets: Sheets) -> None:
    """At most three pairs of the most important axes, as points without an interpolated surface."""
    found = pairs(report.record, report.importance)
    if not found:
        return
    page = sheets.section(_finding(found), _note(report, found), room=3.4)
    page.keys(
        [
            Key("best trial", to_hex(SCALE(0.0)), "o"),
            Key("median", to_hex(SCALE(0.5)), "o"),
            Key("worst", to_hex(SCALE(0.95)), "o"),
            *report.keys((), ("pruned", "broken")),
        ]
    )
    grid = page.grid(len(found), 3, 2.5, left=0.5)
    for ax, pair in zip(grid, found, strict=True):
        _points(ax, report, pair)


def _points(ax: Axes, report: Report, pair: Pair) -> None:
    ranked = report.record.ranked()
    others = [trial for trial in report.record.trials if trial.state != "complete"]
    share = "" if pair.share is None else f"Interaction: {percent(max(0.0, pair.share))}"
    style.frame(
        ax,
        title=shorten(share or f"{pair.x.name}, {pair.y.name}", 1.75, SMALL + 0.6, bold=True),
        x=pair.x.label,
        y=pair.y.label,
    )
    scales.axis_scale(ax, pair.x)
    scales.axis_scale(ax, pair.y, vertical=True)
    drawn: Line2D | PathCollection
    for trials, outcome in ((others, "pruned"), (others, "broken"), (ranked, "complete")):
        kept = [
            trial for trial in trials if outcome == "complete" or (trial.outcome == "pruned") == (outcome == "pruned")
        ]
        x, y = (scales.spread(axis, values(axis, kept), [t.number for t in kept]) for axis in (pair.x, pair.y))
        if outcome == "complete":
            place = np.arange(len(kept)) / max(1, len(kept) - 1)
            order = slice(None, None, -1)  # the best on top
            kept = kept[order]
            drawn = ax.scatter(
                x[order], y[order], c=SCALE(0.95 * place[order]), s=16, linewidths=0, rasterized=len(kept) > 500
            )
        elif outcome == "pruned":
            (drawn,) = ax.plot(
                x, y, "v", markersize=3, markerfacecolor="none", markeredgecolor=style.PRUNED, markeredgewidth=0.6
            )
        else:
            (drawn,) = ax.plot(x, y, "x", markersize=3.5, color=style.FAILURE, markeredgewidth=0.9)
        points.name(drawn, [trial.number for trial in kept])


def _finding(found: Sequence[Pair]) -> str:
    together = sorted((pair for pair in found if pair.interacts), key=lambda pair: -(pair.share or 0.0))
    if together:
        names = listed(f"{pair.x.name} with {pair.y.name}" for pair in together)
        return f"Interaction above the chance level: {names}"
    if found[0].share is None:
        return f"Too few trials to test interactions ({MIN_TRIALS} are needed)"
    return "No interaction of the most important hyperparameters is above the chance level"


def _note(report: Report, found: Sequence[Pair]) -> str:
    n = report.importance.judged
    tested = (
        " In each title: fraction of the variance of ranks that three by three cells explain beyond the sum of both"
        f" axes. It is above the chance level if it exceeds {percent(MIN_SHARE)} and the highest value in 19"
        " permutations of the residuals."
    )
    return (
        f"Interactions: n = {counted(n, 'ranked trial')}; {counted(len(found), 'pair')} of the most important axes."
        f"{'' if found[0].share is None else tested} A trial without such a layer is not in that panel."
    )

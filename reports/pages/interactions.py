"""Interactions of hyperparameters, and what the best trials have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from reports.analysis.axes import Axis, axes, values
from reports.analysis.interactions import MIN_SHARE, MIN_TRIALS, Pair, pairs
from reports.analysis.standing import BASELINE
from reports.analysis.wording import counted, listed, percent, setting
from reports.drawing import scales, style
from reports.drawing.layout import INK, MUTED, SMALL, TINY, Key, Page, printable, shorten
from reports.pages.context import Report
from studies.record.reader import TrialRecord

SCALE = colormaps["viridis"]  # perceptually uniform, so that it also works in greyscale
MOST_AXES = 9
DECILE, FEWEST_LINES, MOST_LINES = 0.1, 5, 20


def interactions(report: Report) -> list[Page]:
    """At most three pairs of the most important axes, as points without an interpolated surface."""
    found = pairs(report.record, report.importance)
    if not found:
        return []
    page = Page(_finding(found), _note(report, found))
    page.keys(
        [
            Key("best trial", to_hex(SCALE(0.0)), "o"),
            Key("median", to_hex(SCALE(0.5)), "o"),
            Key("worst", to_hex(SCALE(0.95)), "o"),
            *report.keys((), ("pruned", "broken")),
        ]
    )
    rows = math.ceil(len(found) / 2)
    grid = page.grid(len(found), 2, rows * 3.3, left=0.62)
    for ax, pair in zip(grid, found, strict=True):
        _points(ax, report, pair)
    return [page]


def _points(ax: Axes, report: Report, pair: Pair) -> None:
    ranked = report.record.ranked()
    others = [trial for trial in report.record.trials if trial.state != "complete"]
    share = "" if pair.share is None else f": {percent(max(0.0, pair.share))} of the variance"
    style.frame(ax, title=shorten(f"Interaction{share}", 2.7, SMALL + 0.6, bold=True), x=pair.x.label, y=pair.y.label)
    scales.axis_scale(ax, pair.x)
    scales.axis_scale(ax, pair.y, vertical=True)
    for trials, outcome in ((others, "pruned"), (others, "broken"), (ranked, "complete")):
        kept = [
            trial for trial in trials if outcome == "complete" or (trial.outcome == "pruned") == (outcome == "pruned")
        ]
        x, y = (scales.spread(axis, values(axis, kept), [t.number for t in kept]) for axis in (pair.x, pair.y))
        if outcome == "complete":
            place = np.arange(len(kept)) / max(1, len(kept) - 1)
            order = slice(None, None, -1)  # the best on top
            ax.scatter(x[order], y[order], c=SCALE(0.95 * place[order]), s=16, linewidths=0, rasterized=len(kept) > 500)
        elif outcome == "pruned":
            ax.plot(x, y, "v", markersize=3, markerfacecolor="none", markeredgecolor=style.PRUNED, markeredgewidth=0.6)
        else:
            ax.plot(x, y, "x", markersize=3.5, color=style.FAILURE, markeredgewidth=0.9)


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
    return (
        f"n = {counted(n, 'ranked trial')}; {counted(len(found), 'pair')} of the most important axes. In each title:"
        " fraction of the variance of ranks that three by three cells explain beyond the sum of both axes. It is"
        f" above the chance level if it exceeds {percent(MIN_SHARE)} and the highest value in 19 permutations of the"
        " residuals. A trial without such a layer is not in that panel."
    )


# --- what the best have in common


def parallel(report: Report) -> list[Page]:
    """The best tenth of the completed trials across the searched axes."""
    ranked = report.record.ranked()
    shown = _ordered(report)[:MOST_AXES]
    if len(ranked) < FEWEST_LINES or not shown:  # no axis varies in a space of one setting
        return []
    best = ranked[: min(MOST_LINES, max(FEWEST_LINES, round(DECILE * len(ranked))))]
    page = Page(_common(shown, best), _common_note(report, best, len(shown)))
    starred = [trial.number for trial in best if trial.number in report.looks]
    page.keys([*report.keys(starred, ("band",))])
    ax = page.grid(1, 1, 5.6, left=0.3)[0]
    _lines(ax, report, shown, best)
    return [page]


def _ordered(report: Report) -> list[Axis]:
    """The searched axes, the most important first if they are ranked."""
    order = {name: place for place, name in enumerate(report.importance.names)}
    found = [axis for axis in axes(report.record.study["space"]) if axis.low < axis.high]
    return sorted(found, key=lambda axis: order.get(axis.name, len(order)))


def _lines(ax: Axes, report: Report, shown: Sequence[Axis], best: Sequence[TrialRecord]) -> None:
    table = np.array([_places(axis, best) for axis in shown]).T  # (trials, axes), 0..1, below 0 where not applicable
    for trial, row in reversed(list(zip(best, table, strict=True))):
        look = report.looks.get(trial.number)
        line = {"color": look.colour, "linestyle": look.line, "linewidth": 1.8} if look else {"color": style.GREY}
        ax.plot(range(len(shown)), row, **{"linewidth": 0.9, "zorder": 3 if look else 2, **line})
    for place, axis in enumerate(shown):
        ax.plot([place, place], [0, 1], color=MUTED, linewidth=0.7, zorder=1)
        low, high = _end(axis, axis.low), _end(axis, axis.high)
        for height, text, anchor in ((-0.025, low, "top"), (1.025, high, "bottom")):
            ax.text(place, height, text, ha="center", va=anchor, fontsize=TINY, color=INK, parse_math=False)
        label = shorten(printable(axis.label), 1.5, TINY)
        ax.text(place + 0.1, -0.2, label, ha="right", va="top", rotation=25, fontsize=TINY, color=INK, parse_math=False)
        if np.isnan(values(axis, best)).any():
            ax.text(place, -0.165, "none", ha="center", va="center", fontsize=TINY, color=MUTED, parse_math=False)
    ax.set_xlim(-0.4, len(shown) - 0.6)
    ax.set_ylim(-0.42, 1.08)
    ax.axis("off")


def _places(axis: Axis, trials: Sequence[TrialRecord]) -> np.ndarray:
    x = values(axis, trials)
    return np.array([axis.position(value) if math.isfinite(value) else -0.13 for value in x])


def _end(axis: Axis, value: float) -> str:
    return printable(axis.choices[int(value)][:12]) if axis.scale == "choice" else setting(float(f"{value:.6g}"))


def _common(shown: Sequence[Axis], best: Sequence[TrialRecord]) -> str:
    """The axis on which the best trials are closest together, and their range."""
    spans = [(float(np.ptp(places)), axis) for axis in shown if (places := _places(axis, best)).min() >= 0]
    if not spans:
        return f"What the best {len(best)} trials have in common"
    span, axis = min(spans, key=lambda one: one[0])
    x = values(axis, best)
    low, high = _end(axis, float(x.min())), _end(axis, float(x.max()))
    where = low if low == high else f"{low} to {high}"
    if span > 0.5:
        return f"The best {len(best)} trials have no setting in common: they span more than half of every range"
    return f"The best {len(best)} trials agree most on {axis.label}: {where}"


def _common_note(report: Report, best: Sequence[TrialRecord], shown: int) -> str:
    whole = [axis for axis in axes(report.record.study["space"]) if axis.low < axis.high]
    left = f" {len(whole) - shown} axes not drawn." if len(whole) > shown else ""
    baseline = " The baseline is not among them." if all(trial.number != BASELINE for trial in best) else ""
    order = "the most important first" if report.importance.names else "in the order of the study file"
    return (
        f"n = {len(best)}, the best tenth of {counted(report.standing.complete, 'completed trial')} (at least"
        f" {FEWEST_LINES}, at most {MOST_LINES}). Each axis on its own scale, {order}; a line at \u201cnone\u201d has"
        f" no such layer.{baseline}{left}"
    )

"""Was pruning right?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reports.analysis import wording
from reports.analysis.checks.finding import PASS, WARN
from reports.analysis.pruning import FEWEST, Control, Foresight, Spared, controls, foresight, misjudged, spared
from reports.analysis.rungs import Rung, rungs
from reports.analysis.statistics import wilson
from reports.analysis.wording import counted, percent
from reports.drawing import scales, style
from reports.drawing.layout import BODY, Page
from reports.drawing.sheets import Sheets, height
from reports.pages.context import FEWEST_COMPLETE, Report

MOST_CONTROLS = 5
CHART = 1.7  # inches
GOOD = 0.9  # a rank correlation from which on the order of the trials is known


def pruning(report: Report, sheets: Sheets) -> None:
    """How early the order was known, what stopping spared, and what the unpruned control trials say it cost."""
    found, seen = foresight(report.record), controls(report.record)
    saved = spared(report.record)
    few = report.standing.complete < FEWEST_COMPLETE
    if (found is None or few) and not saved.pruned and not seen:
        return
    steps = rungs(report.record)
    said = _finding(report, found, seen), _note(report, found, steps)
    room = height(*said, lambda page: _content(page, report, steps, saved, seen))
    has_chart = found is not None and not steps
    page = sheets.section(*said, room=room + CHART * has_chart)
    if found is not None and has_chart:
        ax = page.grid(1, 1, CHART, left=0.6)[0]
        style.frame(ax, x="epoch", y="rank correlation with final value")
        ax.fill_between(found.epoch, found.low, found.high, color=style.GREY, alpha=0.3, linewidth=0)
        ax.plot(found.epoch, found.correlation, "o-", color=style.PALETTE[0], markersize=3, linewidth=1.2)
        ax.axhline(GOOD, color=style.BASE, linewidth=0.8, linestyle=(0, (4, 2)))
        ax.set_ylim(min(-0.05, float(found.low.min())), 1.02)
        scales.whole_numbers(ax, up_to=float(found.epoch[-1]))
    _content(page, report, steps, saved, seen)


def _content(page: Page, report: Report, steps: list[Rung], saved: Spared, seen: list[Control]) -> None:
    """All below the chart."""
    _rungs(page, steps)
    page.space(0.08)
    page.paragraph(
        f"{counted(saved.pruned, 'trial')} pruned{_late(saved)}: {counted(saved.epochs, 'epoch')} not run. At each"
        f" trial's own epoch time they would have taken {wording.duration(saved.seconds)}, {percent(saved.share)} of"
        " the total time without pruning."
        if saved.pruned
        else "No trial was pruned.",
        BODY,
    )
    page.space(0.08)
    _controls(page, report, seen)


def _late(saved: Spared) -> str:
    """How many trials were stopped by the time and not for their results."""
    return f", {saved.late} of them because the time for the search was over" if saved.late else ""


def _rungs(page: Page, found: list[Rung]) -> None:
    """A row for each rung: who reached it, what it cost, and what its ranking was worth at the next."""
    if not found:
        return
    rows = [
        [
            str(one.epochs),
            str(one.reached),
            str(one.continued) if one is not found[-1] else "",
            wording.duration(one.seconds),
            ""
            if one.correlation is None
            else f"{one.correlation:.2f} ({one.low:.2f} to {one.high:.2f})".replace("-", "\u2212"),
        ]
        for one in found
    ]
    head = [
        "rung (epochs)",
        "trials that reached it",
        "continued",
        "training time",
        "rank correlation with the next rung",
    ]
    page.table(head, rows, right=(0, 1, 2, 3, 4))


def _controls(page: Page, report: Report, seen: list[Control]) -> None:
    if not seen and not report.record.counts().get("pruned", 0):
        return
    if not seen:
        words = "No unpruned control trial has completed, so whether a pruned one would have won is not known."
        page.paragraph(
            f"{words} `control` in the study file sets the share of trials that are judged but never pruned."
        )
        return
    given_up, good = misjudged(report.record, seen)
    low, high = wilson(good / given_up, given_up) if given_up else (0.0, 1.0)
    page.paragraph(
        f"{counted(len(seen), 'completed trial')}, chosen by number alone, {'was' if len(seen) == 1 else 'were'} judged"
        f" but never pruned. {_given_up(seen, given_up, good)}"
        + (f" (95\u00a0% Wilson interval of the share: {percent(low)} to {percent(high)})." if given_up else "."),
        BODY,
    )
    page.space(0.06)
    rows = [
        [str(one.trial), str(one.given_up or "never"), report.metric.text(one.value), f"{one.rank}"]
        for one in sorted(seen, key=lambda one: (one.given_up is None, one.rank))[:MOST_CONTROLS]
    ]
    head = ["trial", "would be pruned after epoch", report.metric.name, f"rank of {report.standing.complete}"]
    page.table(head, rows, right=(0, 1, 2, 3))


def _given_up(seen: Sequence[Control], compared: int, good: int) -> str:
    """How many controls the pruner would have stopped, and how many of these were good, if others let it tell."""
    stopped = sum(one.given_up is not None for one in seen)
    if not stopped:
        return "The pruner would have stopped none of them"
    words = f"The pruner would have stopped {stopped} of them"
    if not compared:
        return f"{words}; it let no other trial finish to compare them with"
    return f"{words}; {good} of these ended among the better half of those that it let finish"


def _finding(report: Report, found: Foresight | None, seen: list[Control]) -> str:
    check = next(check for check in report.checks if check.name == "pruning")
    given_up, good = misjudged(report.record, seen)
    if report.record.counts().get("pruned", 0) and check.status == WARN:
        return f"Pruning stops good trials: {good} of {given_up} control trials that it would have stopped were good"
    known = _known(found)
    if known:
        early = f"From epoch {known} on the trials are nearly in their final order (rank correlation at least {GOOD})"
    elif found is None or report.standing.complete < FEWEST_COMPLETE:
        early = "Too few completed trials or epochs to tell which epoch predicts their order"
    elif found.correlation.max() < GOOD:
        early = f"No epoch predicts the final order well (rank correlation at least {GOOD})"
    else:
        early = f"The order of the trials changes until the end (rank correlation below {GOOD} at last)"
    if not report.record.counts().get("pruned", 0):
        return f"{early}; no trial was pruned"
    if check.status == PASS:
        return f"Pruning was right: {good} of {given_up} control trials that it would have stopped were good"
    return f"{early}; too few unpruned control trials to say what pruning cost"


def _known(found: Foresight | None) -> int | None:
    """The first epoch, from 1, after which the correlation is always at least `GOOD`."""
    if found is None or found.correlation[-1] < GOOD:
        return None
    low = np.flatnonzero(found.correlation < GOOD)
    return int(found.epoch[low[-1] + 1]) if low.size else int(found.epoch[0])


def _note(report: Report, found: Foresight | None, steps: list[Rung]) -> str:
    if steps:
        return (
            "Rungs: every trial pauses at a rung, and the best there are continued to the next. The correlation"
            " compares the ranking at a rung with that at the next one, over the trials that reached both"
            " (95\u00a0% interval)."
        )
    if found is None:
        return (
            f"Pruning: n = {counted(report.standing.complete, 'completed trial')}; a rank correlation needs {FEWEST} of"
            " the same number of epochs, at least two."
        )
    return (
        f"Pruning: n = {counted(found.trials, 'completed trial')}. Spearman's rank correlation of {report.metric.name}"
        " at each epoch with the final value; band: its 95\u00a0% interval over trials (Bonett and Wright). Pruned"
        " trials are not included. The remaining trials are more similar, so the correlation is lower than among all"
        " trials."
    )

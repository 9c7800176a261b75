"""Champion, runner-up and baseline on fresh splits and seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from reports.analysis.confirmation import (
    ConfirmedTrial,
    PairedDifference,
    better_than_champion,
    confirmed_trials,
    is_split,
    paired_difference,
    repeat_word,
    runner_up_difference,
    why_unpaired,
)
from reports.analysis.standing import BASELINE
from reports.analysis.wording import counted
from reports.drawing import plots, style
from reports.drawing.blocks import Cell
from reports.drawing.layout import BODY, MUTED, SMALL, Page
from reports.drawing.sheets import Sheets
from reports.pages.context import Report, capital, interval, name


def confirmation(report: Report, sheets: Sheets) -> None:
    """Champion, runner-up and baseline on fresh splits and seeds."""
    rows = confirmed_trials(report.record)
    if not rows:
        return
    paired = paired_difference(report.record)
    seeds = max(len(row.values) for row in rows)
    page = sheets.section(
        _confirmation_finding(report, rows, paired),
        f"Repeats: n = {counted(len(rows), 'trial')} on up to {counted(seeds, repeat_word(report.record))}, the same"
        f" for each.{_old_protocol(report)}",
    )
    dots(page, report, rows, 0.55)
    if paired:
        _paired(page, report, paired)
    page.heading("Values")
    _confirmation_table(page, report, rows)
    page.space(0.12)
    page.paragraph(_optimism(report, rows), BODY)


def dots(page: Page, report: Report, rows: Sequence[ConfirmedTrial], height: float) -> None:
    """A dot for each repeat, in a row of so many inches for each trial."""
    ax = page.grid(1, 1, min(0.75 + height * len(rows), 4.6), left=0.8)[0]
    style.frame(ax, x=report.metric.axis)
    names = [name(row.trial) for row in rows]
    plots.confirmation(ax, rows, report.metric.scale, report.looks, names, log=report.log)
    words = f"Dot: one {repeat_word(report.record)}. Bar: mean. Hollow diamond: the value in the search."
    page.paragraph(words, SMALL, colour=MUTED)


def _confirmation_finding(report: Report, rows: Sequence[ConfirmedTrial], paired: PairedDifference | None) -> str:
    metric = report.metric
    if not report.record.verdict:
        found = f"Confirmation has not ended: the best mean so far is {metric.text(rows[0].mean)}"
        tied = [row for row in rows if row.mean == rows[0].mean]
        return found if len(tied) > 1 else f"{found}, of {name(rows[0].trial).lower()}"
    who = name(report.record.verdict["champion"])
    if paired is None:
        return _unpaired_finding(report, who)
    ends = {
        "better": "is better than the baseline",
        "worse": "is worse than the baseline",
        "not distinguishable": "is not distinguishable from the baseline",
    }
    side = "more" if (paired.difference > 0) == metric.maximize else "less"
    gain = f"{metric.gain(paired.difference)} {side} {metric.name}" if paired.difference else "equal means"
    return f"{who} {ends[paired.finding]} on {repeat_word(report.record)}s: {gain}"


def _unpaired_finding(report: Report, who: str) -> str:
    """Without a paired difference: the baseline is the champion, or it has no repeats to compare with."""
    word = repeat_word(report.record)
    if report.record.verdict and report.record.verdict["champion"] != BASELINE:
        return f"{who} was not compared with the baseline on {word}s because {why_unpaired(report.record)}"
    if (other := better_than_champion(report.record)) is not None:
        return f"The baseline is the champion by the screening, although {name(other).lower()} did better on {word}s"
    return f"On {word}s no candidate is better than the baseline"


def _paired(page: Page, report: Report, paired: PairedDifference) -> None:
    metric = report.metric
    assert report.record.verdict is not None
    look = report.looks[report.record.verdict["champion"]]
    page.heading("Paired difference to the baseline")
    page.space(-0.16)
    ax = page.grid(1, 1, 1.25, left=0.8)[0]
    sign = metric.scale if metric.maximize else -metric.scale
    style.frame(
        ax,
        x=f"{metric.name}: champion minus baseline{' (points)' if metric.scale != 1 else ''},"
        f" {'higher' if metric.maximize else 'lower'} is better",
    )
    plots.interval(ax, paired.difference * sign, paired.low * sign, paired.high * sign, look)
    page.space(0.04)
    known = math.isfinite(paired.low)
    pairs = f" ({counted(paired.n, 'pair')})" if known else ""
    words = [f"{capital(interval(metric, paired))}{pairs}.{_allowance(paired)}"]
    if is_split(report.record) and known:
        words.append(
            "The interval allows for the training examples that the splits share (Nadeau and Bengio 2003); the champion"
            " was chosen before, on another split."
        )
    if (other := runner_up_difference(report.record)) is not None:
        words.append(
            f"Against the runner-up, {name(other.trial).lower()}: {metric.oriented(other.difference)}"
            f" ({interval(metric, other)})."
        )
    page.paragraph(" ".join(words), BODY)


def _old_protocol(report: Report) -> str:
    if is_split(report.record):
        return ""
    return " An older protocol: all repeats have the split of the search, so that the interval is of this split only."


def _allowance(paired: PairedDifference) -> str:
    """How the interval is corrected if the champion was chosen among several candidates."""
    if paired.among == 1:
        return ""
    each = f"{100 - 5 / paired.among:.1f}\u00a0%"
    return (
        f" The champion is the best of {paired.among} candidates on these same seeds, so each of their intervals has a"
        f" level of {each}, and their joint level is at least 95\u00a0% (Bonferroni)."
    )


def _confirmation_table(page: Page, report: Report, rows: Sequence[ConfirmedTrial]) -> None:
    metric = report.metric
    body: list[list[Cell | str]] = [
        [
            name(row.trial),
            metric.text(row.search_value),
            Cell(metric.text(row.mean), bold=True),
            ", ".join(metric.text(v) for v in row.values),
            metric.signed(row.search_value - row.mean),
        ]
        for row in rows
    ]
    page.table(["trial", "search", "mean", "each repeat", "search minus mean"], body, right=(1, 2, 4))


def _optimism(report: Report, rows: Sequence[ConfirmedTrial]) -> str:
    tops = [row for row in rows if row.trial != BASELINE and math.isfinite(row.search_value)]
    if not tops:
        return ""
    lost = float(np.mean([row.search_value - row.mean for row in tops]))
    better = lost > 0 if report.metric.maximize else lost < 0
    many = len(tops) > 1
    found = (
        f"The search's own {'values' if many else 'value'} of"
        f" {f'these {len(tops)} trials' if many else f'trial {tops[0].trial}'} {'were' if many else 'was'}"
    )
    average = " on average" if many else ""
    if lost == 0:
        return f"{found} the same as the mean of the repeats{average}.{_unselected(report, rows)}"
    if not better:
        return f"{found} pessimistic by {report.metric.gain(lost)}{average}.{_unselected(report, rows)}"
    return (
        f"{found} optimistic by {report.metric.gain(lost)}{average}: the best of many is selected partly by chance."
        f" {_what_is_left(report)}{_unselected(report, rows)}"
    )


def _what_is_left(report: Report) -> str:
    """How much of the selection bias the repeats have: with folds, the search has validated on all of their rows."""
    if not is_split(report.record):
        return "The repeats do not have this selection bias, except that the champion is again the best of several."
    if report.record.folds > 1:
        return "The repeats have less of this selection bias: they divide the rows anew, which the search has all used."
    return "The repeats do not have this selection bias."


def _unselected(report: Report, rows: Sequence[ConfirmedTrial]) -> str:
    """How the value of the baseline changed, which was not selected: what other splits and seeds do by themselves."""
    base = next((row for row in rows if row.trial == BASELINE and math.isfinite(row.search_value)), None)
    if base is None:
        return ""
    change = report.metric.signed(base.mean - base.search_value)
    return f" The baseline, which was not selected, changed by {change} between the search and the repeats."

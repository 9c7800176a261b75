"""The training time of the search, by outcome and trial."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from reports.analysis import wording
from reports.analysis.failures import BROKEN
from reports.analysis.wording import counted, listed, percent
from reports.drawing import plots, points, scales, style
from reports.drawing.blocks import INK
from reports.drawing.layout import BODY
from reports.drawing.sheets import Sheets
from reports.pages.context import Report, name
from studies.record.reader import SweepRecord, TrialRecord

MANY = 400  # more dots are drawn as a bitmap
ROUNDING = 1.01
"""Times the time that there was, which training times may sum up to by rounding."""


def cost(report: Report, sheets: Sheets) -> None:
    """Training time by outcome and against the objective."""
    record = report.record
    if report.standing.finished == 0:
        return
    spent = _spent(record)
    note = "Time: training time of the search without the confirmation, summed over the workers."
    page = sheets.section(_finding(spent), note)
    words = {outcome: f"{outcome} {wording.duration(seconds)}" for outcome, seconds in spent.items()}
    plots.outcomes(page.strip(0.24), spent, words)
    if spent:
        page.space(0.06)
        page.paragraph(_in_words(record, spent, words), BODY)
    ranked = record.ranked()
    if len(ranked) > 1:
        page.heading("Objective against training time")
        page.space(-0.16)
        _pareto(page.grid(1, 1, 2.3, left=0.6)[0], report, ranked)
        page.paragraph(_fastest(report, ranked), BODY)
    spans = [trial for trial in record.trials if trial.started and trial.finished and trial.worker is not None]
    if busy := _busy(spans):
        page.space(0.05)
        page.paragraph(busy, BODY)


def _spent(record: SweepRecord) -> dict[str, float]:
    """Training time in seconds by outcome, in a fixed order."""
    found: dict[str, float] = {}
    for trial in record.trials:
        found[trial.outcome] = found.get(trial.outcome, 0.0) + trial.seconds
    return {name: found[name] for name in (*wording.OUTCOMES, *found) if found.get(name)}


def _finding(spent: dict[str, float]) -> str:
    total = sum(spent.values())
    if not total:
        return "No training time was recorded"
    text = f"{percent(spent.get('complete', 0.0) / total)} of {wording.duration(total)} was spent on completed trials"
    pruned, broken = spent.get("pruned", 0.0), sum(spent.get(name, 0.0) for name in BROKEN)
    others = [f"{percent(part / total)} on {what}" for part, what in ((pruned, "pruned"), (broken, "failed")) if part]
    return f"{text}{', ' + ' and '.join(others) + ' ones' if others else ''}"


def _in_words(record: SweepRecord, spent: dict[str, float], words: dict[str, str]) -> str:
    confirm = sum(trial.seconds for trial in record.confirm)
    more = f" Confirmation and final models took {wording.duration(confirm)} more." if confirm else ""
    return f"{wording.duration(sum(spent.values()))} in total: {listed(words.values())}.{more}"


def _pareto(ax: Axes, report: Report, ranked: list[TrialRecord]) -> None:
    """Completed trials, and the Pareto front of training time and objective."""
    metric = report.metric
    seconds = np.array([trial.seconds for trial in ranked])
    value = np.array([trial.value for trial in ranked], dtype=np.float64)
    low, high = report.ends(value)
    style.frame(ax, x="training time of the trial (seconds)", y=metric.axis)
    y = np.clip(value * metric.scale, low, high)
    (dots,) = ax.plot(
        seconds, y, "o", color=style.GREY, markersize=3, markeredgewidth=0, alpha=0.75, rasterized=len(y) > MANY
    )
    points.name(dots, [trial.number for trial in ranked])
    front = _front(seconds)
    ax.step(seconds[front], y[front], where="post", color=INK, linewidth=1.1)
    for trial, x, height in zip(ranked, seconds, y, strict=True):
        if trial.number in report.looks:
            style.star(ax, float(x), float(height), report.looks[trial.number], trial.number)
    if seconds.max() > 8 * max(seconds.min(), 1e-9):
        scales.log_numbers(ax.xaxis, (float(seconds.min()), float(seconds.max())))
    report.axis(ax, (low, high), gutter=0)


def _front(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the Pareto front, fastest first: faster than every better trial. The trials are sorted, best first."""
    fastest = np.minimum.accumulate(seconds)
    first = np.concatenate([[True], seconds[1:] < fastest[:-1]])
    return np.flatnonzero(first)[::-1]


def _fastest(report: Report, ranked: list[TrialRecord]) -> str:
    """The fastest trial close to the best: within a tenth of the difference between the best and the median."""
    best, metric = ranked[0], report.metric
    margin = 0.1 * abs(float(best.value or 0.0) - float(np.median([trial.value or 0.0 for trial in ranked])))
    near = [trial for trial in ranked if abs(float(trial.value or 0.0) - float(best.value or 0.0)) <= margin]
    quick = min(near, key=lambda trial: (trial.seconds, trial.number))
    text = "Line: the Pareto front, trials that no other trial beats in both time and objective."
    if quick is best or quick.seconds > 0.8 * best.seconds:
        return text
    if wording.duration(quick.seconds) == wording.duration(best.seconds):
        return text
    apart = (quick.value or 0.0) - (best.value or 0.0)
    near_to = f"is {metric.gain(apart)} from the best of the search" if apart else "has the best value of the search"
    return (
        f"{text} {name(quick.number)} took {wording.duration(quick.seconds)} instead of"
        f" {wording.duration(best.seconds)} and {near_to}, {wording.measured_on(report.record)} each."
    )


def _busy(spans: list[TrialRecord]) -> str:
    """How busy the workers were with the trials that have finished; nothing if the clock says that it cannot be."""
    begin = min((trial.started.timestamp() for trial in spans if trial.started), default=0.0)
    end = max((trial.finished.timestamp() for trial in spans if trial.finished), default=0.0)
    workers, trained = len({trial.worker for trial in spans}), sum(trial.seconds for trial in spans)
    if end <= begin or trained > ROUNDING * workers * (end - begin):
        return ""  # a clock was set back
    share = min(1.0, trained / (workers * (end - begin)))
    return (
        f"{counted(workers, 'worker')} trained the finished trials in {percent(share)} of the time between their first"
        f" start and their last finish, {wording.duration(end - begin)}; pauses of the whole sweep count as idle."
    )

"""The best value so far, against trials and against training time."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from reports.analysis import wording
from reports.analysis.progress import Progress, search_progress
from reports.analysis.statistics import Floats
from reports.analysis.wording import counted
from reports.drawing import plots, scales, style
from reports.drawing.sheets import Sheets
from reports.pages.context import Report, name


def progress(report: Report, sheets: Sheets) -> None:
    """Best so far against trials and against training time."""
    shown = search_progress(report.record)
    if not np.isfinite(shown.value).any():
        return
    page = sheets.section(_progress_finding(report, shown), _progress_note(shown))
    page.keys(report.keys([n for n in report.looks if n in shown.number], ("complete", "best", "pruned", "broken")))
    places = (
        ("Best so far, by trial", "trials, in the order of their end", np.arange(1.0, len(shown.number) + 1)),
        ("Best so far, by training time", *_time_axis(shown.seconds)),
    )
    for ax, (title, label, x) in zip(page.grid(2, 2, 3.1, left=0.5), places, strict=True):
        _progress_panel(ax, report, shown, x, label, title)


def _progress_panel(ax: Axes, report: Report, shown: Progress, x: Floats, label: str, title: str = "") -> None:
    ends, maximize = report.ends(shown.value), report.metric.maximize
    style.frame(ax, title=title, x=label, y=report.metric.axis)
    report.axis(ax, ends)
    ax.set_xlim(0, float(x[-1]) * 1.02 or 1.0)
    scales.whole_numbers(ax, up_to=float(x[-1]))
    plots.best_so_far(ax, x, shown, report.metric.scale, ends, report.looks)
    plots.unvalued(ax, x, shown, maximize=maximize)
    if report.standing.baseline:
        value = (report.standing.baseline.value or 0.0) * report.metric.scale
        style.level(ax, value, f"baseline {report.metric.text(report.standing.baseline.value)}", above=not maximize)


def _progress_finding(report: Report, shown: Progress) -> str:
    best, finished = report.standing.best, len(shown.number)
    assert best is not None
    if finished == 1:
        return f"{name(best.number)} is the only finished trial"
    level = np.flatnonzero(shown.value == best.value)
    after = finished - 1 - int(level[0])  # trials after the first with the best value did not improve it
    tied = f", with the same value as {counted(len(level) - 1, 'other')}" if len(level) > 1 else ""
    place = wording.ordinal(int(np.flatnonzero(shown.number == best.number)[0]) + 1)
    ahead = report.record.contenders()[0].number != best.number  # a trial that was stopped
    what = "best completed trial" if ahead else "best trial"
    if after <= 0.1 * finished and not tied:
        return f"The {what} came late: {name(best.number).lower()} was the {place} of {finished} to finish"
    return (
        f"{name(best.number)}, the {place} of {finished} to finish, is the {what if ahead else 'best'}{tied};"
        f" the last {after} did not improve the best value"
    )


def _progress_note(shown: Progress) -> str:
    n = int(np.isfinite(shown.value).sum())
    left = " Trials without one are marked in the shaded strip." if n < len(shown.number) else ""
    return (
        f"Best so far: n = {counted(len(shown.number), 'finished trial')}, {n} with a final value.{left}"
        " Ties are decided by the lower validation loss, then by the lower number. Trials far worse than the rest"
        " are drawn at the end of the axis. Training time of these trials:"
        f" {wording.duration(float(shown.seconds[-1]))}, summed over the workers."
    )


def _time_axis(seconds: Floats) -> tuple[str, Floats]:
    size, unit = time_unit(float(seconds[-1]))
    return f"training time, summed ({unit})", seconds / size


def time_unit(seconds: float) -> tuple[float, str]:
    """The unit in which a time axis of this length is drawn: its size in seconds, and its name."""
    return next(
        ((s, unit) for s, unit in ((3_600.0, "hours"), (60.0, "minutes")) if seconds >= 2 * s), (1.0, "seconds")
    )

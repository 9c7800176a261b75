"""Were there enough trials?"""

from __future__ import annotations

import math

import numpy as np

from reports.analysis.checks.finding import CANNOT_TELL, PASS, WARN
from reports.analysis.progress import search_progress
from reports.analysis.trial_budget import Enough, enough
from reports.analysis.wording import counted
from reports.drawing import style
from reports.drawing.blocks import INK, Key
from reports.drawing.layout import BODY
from reports.drawing.sheets import Sheets
from reports.pages.context import Report


def trials(report: Report, sheets: Sheets) -> None:
    """The expected best by number of trials, and the best so far of the search."""
    found, shown = enough(report.record), search_progress(report.record)
    if found is None or report.standing.complete < 3:
        return
    metric = report.metric
    page = sheets.section(_finding(report), _note(report, found), room=4.4)
    page.keys(
        [
            Key("expected best of a random subset", style.PALETTE[0], line="-"),
            Key("10 % to 90 % of the subsets", style.PALETTE[4], "s"),
            Key("best so far, in the order of the search", INK, line=(0, (4, 2))),
        ]
    )
    ax = page.grid(1, 1, 2.8, left=0.5)[0]
    style.frame(ax, x="number of trials", y=metric.axis)
    scale = metric.scale
    ax.fill_between(
        found.trials, found.low * scale, found.high * scale, color=style.PALETTE[4], alpha=0.3, linewidth=0, step=None
    )
    ax.plot(found.trials, found.mean * scale, color=style.PALETTE[0], linewidth=1.5)
    known = np.isfinite(shown.best)
    place = np.arange(1, len(shown.best) + 1)
    ax.step(place[known], shown.best[known] * scale, where="post", color=INK, linewidth=1.1, linestyle=(0, (4, 2)))
    ax.set_xlim(1, max(2, int(found.trials[-1])))
    report.axis(ax, report.ends(shown.value), gutter=0)
    page.space(0.05)
    page.paragraph(_text(report, found), BODY)


def _finding(report: Report) -> str:
    check = next(check for check in report.checks if check.name == "enough trials")
    findings = {
        PASS: "No sign that more trials of this search would help",
        WARN: "More trials would probably help",
        CANNOT_TELL: f"Too few trials to tell whether they were enough ({report.standing.finished} finished)",
    }
    return findings[check.status]


def _note(report: Report, found: Enough) -> str:
    without = f" {counted(found.without, 'trial')} without a final value count as the worst." if found.without else ""
    return (
        f"Number of trials: n = {counted(report.standing.finished, 'finished trial')}.{without} Blue: the mean over all"
        " subsets of that size, drawn without replacement, in closed form."
    )


def _text(report: Report, found: Enough) -> str:
    metric = report.metric
    adaptive = (
        f" The sampler ({report.record.study['sampler']}) is adaptive: its good trials tend to come late, and a random"
        " subset is then better than the first trials of the search were. The curve is only a guide, and the gain may"
        " be underestimated; the dashed line is the actual search."
        if found.adaptive
        else f" The sampler ({report.record.study['sampler']}) does not learn from the trials, so all orders are alike."
    )
    gain = found.best - found.of_half
    is_equal = math.isclose(found.best, found.of_half, rel_tol=1e-12)  # a mean of equal values is rounded
    better = "as good as" if is_equal else f"{metric.gain(gain)} better than"
    late = found.best - found.before
    improved = f"improved the best value by {metric.gain(late)}" if late else "did not improve the best value"
    return (
        f"The best of all {report.standing.finished} trials is {better} the expected best of half of them; the last"
        f" tenth of the trials {improved}.{adaptive} This does not extrapolate beyond the number of trials that were"
        " run."
    )

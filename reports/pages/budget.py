"""Whether the epochs, the pruning and the time were well spent."""

from __future__ import annotations

from reports import analysis, plots, wording
from reports.layout import BODY, Page
from reports.pages.report import Report, capital
from reports.wording import counted, listed


def budget(report: Report) -> list[Page]:
    """Whether the epochs, the pruning and the time were well spent."""
    if report.standing.finished == 0:
        return []
    found = analysis.budget(report.record)
    page = Page(
        _budget_finding(report, found),
        f"n = {counted(report.standing.complete, 'completed trial')} and"
        f" {counted(len(report.record.trials) - report.standing.complete, 'other')}; time is training"
        " time, summed over the workers.",
    )
    page.heading("Training time by outcome")
    total = sum(found.seconds.values())
    ordered = {k: found.seconds[k] for k in wording.OUTCOMES if found.seconds.get(k)}
    words = {k: f"{k} {wording.duration(v)}" for k, v in ordered.items()}
    plots.outcomes(page.strip(0.24), ordered, words)
    page.space(0.06)
    page.paragraph(
        f"{wording.duration(total)} in all: {listed(words.values())}." if ordered else "No time was recorded.", BODY
    )
    if found.counted.size:
        page.heading("When completed trials were at their best")
        page.space(-0.16)
        ax = page.grid(1, 1, 2.6)[0]
        plots.frame(ax, x="best epoch, as a share of the trial's epochs (%)", y="completed trials")
        plots.shares(ax, found.counted)
        page.paragraph(_epochs_text(found), BODY)
    page.heading("Was pruning right?")
    page.paragraph(_pruning_text(report, found), BODY)
    return [page]


def _budget_finding(report: Report, found: analysis.Budget) -> str:
    total = sum(found.seconds.values()) or 1.0
    spent = wording.percent(found.seconds.get("complete", 0.0) / total)
    first = f"Completed trials took {spent} of {wording.duration(total)} training time"
    if found.late > 0.5 and found.annealed <= 0.5:
        return f"{first}; most were best near their last epoch, so more epochs may help"
    if found.early > 0.5:
        return f"{first}; most were best in the first tenth of their epochs, so fewer epochs would do"
    return first


def _epochs_text(found: analysis.Budget) -> str:
    schedule = (
        f" {capital(wording.percent(found.annealed))} of them ended with a learning rate near 0: a schedule is best"
        " near its end by design, so that this says nothing of more epochs; only a longer one, trained anew, would."
        if found.annealed
        else ""
    )
    return (
        f"Shaded: the first tenth ({wording.percent(found.early)} of the completed trials; many there mean"
        f" that the epochs were too many) and the last quarter ({wording.percent(found.late)}; many there"
        f" mean that they were too few).{schedule}"
    )


def _pruning_text(report: Report, found: analysis.Budget) -> str:
    pruned = report.record.counts().get("pruned", 0)
    if not pruned and not found.audited:
        return "No trial was pruned."
    saved = (
        f"{counted(pruned, 'trial')} pruned, which spared {counted(found.spared, 'epoch')} against the"
        " longest completed trial."
    )
    if not found.audited:
        return f"{saved} No trial was kept for audit, so whether a pruned one would have won is not known."
    verdict = (
        f"{counted(found.audited, 'trial')} were judged but never stopped: {found.would_prune} would have"
        f" been pruned, {found.misjudged} of these ended in the best quarter."
    )
    return f"{saved} {verdict}"

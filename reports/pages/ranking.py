"""Which hyperparameters separate the best trials from the rest."""

from __future__ import annotations

from reports import plots
from reports.importance import FEWEST, SHUFFLES, Importance
from reports.layout import MUTED, SMALL, Key, Page
from reports.pages.report import Report
from reports.wording import counted, listed


def ranking(report: Report) -> list[Page]:
    """Which hyperparameters separate the best trials from the rest."""
    found = report.importance
    if not found.names:
        return []  # the page of the axes says why
    page = Page(_ranking_finding(found), _ranking_note(found))
    page.keys(
        [
            Key("above chance", plots.PALETTE[0], "s"),
            Key("not above chance", plots.GREY, "s", hollow=True),
            Key("reached by chance in 1 of 20 sweeps", plots.FAILURE, "|"),
        ]
    )
    ax = page.grid(1, 1, min(0.9 + 0.34 * len(found.names), page.room - 1.5), left=1.6)[0]
    plots.frame(ax, x="PED-ANOVA: divergence of the best trials from all judged trials along this axis")
    plots.importance(ax, found)
    page.space(0.1)
    page.paragraph(
        "How to read it. A long bar says that the best trials gather in one part of that axis while all"
        " trials together do"
        " not. It does not say how much of the objective's variance the axis explains, nor that the axis"
        " acts alone; and"
        " because the sampler itself moves towards good regions, a region it soon left counts little. Pruned and"
        " diverged trials have no final value; they count as judged, and as not among the best.",
        SMALL + 0.6, colour=MUTED,
    )  # fmt: skip
    return [page]


def no_ranking(found: Importance) -> str:
    """Why there is no page on importance, where there is none."""
    if found.names:
        return ""
    return (
        f" Importance is not ranked: of {counted(found.judged, 'judged trial')} too few completed;"
        f" {FEWEST} judged and {found.top} completed ones are needed."
    )


def _ranking_finding(found: Importance) -> str:
    clear = found.clear()
    if not clear:
        return f"No hyperparameter stands out from chance among {found.judged} judged trials"
    rest = len(found.names) - len(clear)
    others = f"; {counted(rest, 'other')} not above chance" if rest else ""
    more = f", then {listed(clear[1:3])}" if len(clear) > 1 else ""
    return f"The best trials stand apart most in {clear[0]}{more}{others}"


def _ranking_note(found: Importance) -> str:
    return (
        f"n = {found.judged} completed, pruned and diverged trials; the best {found.top} of them against all."
        f" Chance level: the highest of {SHUFFLES} shuffles of the objective among the trials."
    )

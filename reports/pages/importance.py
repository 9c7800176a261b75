"""Which hyperparameters matter, by two methods that ask two questions."""

from __future__ import annotations

from reports.analysis.importance import FEWEST, SHUFFLES, Importance
from reports.analysis.wording import counted, listed
from reports.drawing import plots, style
from reports.drawing.layout import INK, MUTED, SMALL, Key, Page
from reports.pages.context import Report


def ranking(report: Report) -> list[Page]:
    """Which hyperparameters matter; no page where there are too few trials to rank them."""
    found = report.importance
    if not found.names:
        return []  # the page of the axes says why
    page = Page(_finding(found), _note(found))
    page.keys(
        [
            Key("above chance", style.PALETTE[0], "s"),
            Key("not above chance", style.GREY, "s", hollow=True),
            Key("95 % interval", INK, line="-"),
            Key("reached by chance in 1 of 20 sweeps", style.FAILURE, "|"),
        ]
    )
    height = min(0.9 + 0.34 * len(found.names), page.room - 2.2)
    left, right = page.grid(2, 2, height, left=1.25)
    style.frame(left, title="What sets the best trials apart", x="divergence of the best from all (PED-ANOVA)")
    plots.importance(left, found.best, found.names)
    style.frame(right, title="What orders all trials", x="explained share of the variance of ranks")
    plots.importance(right, found.all, found.names)
    right.set_yticklabels([])
    page.space(0.1)
    page.paragraph(
        "How to read it. Left: a long bar says that the best trials gather in one part of that axis while all trials"
        " together do not. Right: how much of the order of all trials five buckets of that axis explain alone (an"
        " effect size of Kruskal and Wallis, adjusted for the number of buckets; at or below 0 is nothing). Neither"
        " sees what two axes do together; and because the sampler itself moves towards good regions, a region it soon"
        " left counts little. Pruned and diverged trials have no final value; they count as judged, with the last rank."
        " Intervals are over other trials of the same sampler in the same space: 1.96 standard errors of the"
        " delete-half jackknife.",
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


def _finding(found: Importance) -> str:
    best, order = found.clear(), found.ordering()
    if not best and not order:
        return f"No hyperparameter stands out from chance among {found.judged} judged trials"
    if not best:
        verb = "orders" if len(order) == 1 else "order"
        return f"{listed(order[:3])} {verb} the trials, but nothing sets the best ones apart from chance"
    agreed = " by both methods" if best[0] in order[:1] else ""
    more = f", then {listed(best[1:3])}" if len(best) > 1 else ""
    other = f"; all trials are ordered most by {order[0]}" if order and order[0] != best[0] else ""
    return f"The best trials stand apart most in {best[0]}{agreed}{more}{other}"


def _note(found: Importance) -> str:
    return (
        f"n = {found.judged} completed, pruned and diverged trials; on the left the best {found.top} of them against"
        f" all. Chance level: the highest score in {SHUFFLES} shuffles of the objective among the trials."
    )

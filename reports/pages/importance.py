"""Which hyperparameters matter, by two methods."""

from __future__ import annotations

from reports.analysis.importance import FEWEST, SHUFFLES, Importance
from reports.analysis.wording import counted, listed
from reports.drawing import plots, style
from reports.drawing.layout import INK, MUTED, SMALL, Key, Page
from reports.pages.context import Report


def ranking(report: Report) -> list[Page]:
    """Which hyperparameters matter; no page with too few trials to rank them."""
    found = report.importance
    if not found.names:
        return []  # the page of the search space gives the reason
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
    style.frame(left, title="Importance for the best trials", x="divergence of the best from all (PED-ANOVA)")
    plots.importance(left, found.best, found.names)
    style.frame(right, title="Importance for the order of all trials", x="explained fraction of the variance of ranks")
    plots.importance(right, found.all, found.names)
    right.set_yticklabels([])
    page.space(0.1)
    page.paragraph(
        "Left: a long bar means that the best trials cluster in one part of that axis while all trials together do not."
        " Right: the fraction of the variance of ranks that five buckets of that axis explain (Kruskal-Wallis effect"
        " size, adjusted for the number of buckets; 0 or less is no effect). Neither method measures interactions."
        " Because the sampler moves towards good regions, a region that it soon left has little weight. Pruned and"
        " diverged trials have no final value; they share the last rank. Intervals are over repetitions with the same"
        " sampler and space: 1.96 standard errors of the delete-half jackknife.",
        SMALL + 0.6, colour=MUTED,
    )  # fmt: skip
    return [page]


def no_ranking(found: Importance) -> str:
    """The reason why there is no page on importance, if there is none."""
    if found.names:
        return ""
    return (
        f" Importance is not ranked: too few of {counted(found.judged, 'ranked trial')} completed;"
        f" {FEWEST} ranked and {found.top} completed trials are needed."
    )


def _finding(found: Importance) -> str:
    best, order = found.clear(), found.ordering()
    if not best and not order:
        return f"No hyperparameter is above the chance level (n = {found.judged})"
    if not best:
        verb = "orders" if len(order) == 1 else "order"
        return f"{listed(order[:3])} {verb} the trials; none is above the chance level for the best ones"
    agreed = " by both methods" if best[0] in order[:1] else ""
    more = f", then {listed(best[1:3])}" if len(best) > 1 else ""
    other = f"; for the order of all trials {order[0]} does" if order and order[0] != best[0] else ""
    return f"For the best trials {best[0]} matters most{agreed}{more}{other}"


def _note(found: Importance) -> str:
    return (
        f"n = {found.judged} completed, pruned and diverged trials; on the left the best {found.top} of them against"
        f" all. Chance level: the highest score in {SHUFFLES} permutations of the objective over the trials."
    )

"""Which hyperparameters matter."""

from __future__ import annotations

from reports.analysis.importance import FEWEST, LEVEL, SHUFFLES, Importance
from reports.analysis.wording import counted, listed, percent
from reports.drawing import plots, style
from reports.drawing.blocks import INK, Key
from reports.drawing.sheets import Sheets
from reports.pages.context import Report, capital


def ranking(report: Report, sheets: Sheets) -> None:
    """Which hyperparameters matter; no page with too few trials to rank them."""
    found = report.importance
    if not found.names:
        return  # the page of the search space gives the reason
    page = sheets.section(_finding(found), _note(report, found))
    page.keys(
        [
            Key("matters beyond chance", style.PALETTE[0], "s"),
            Key("does not", style.GREY, "s", hollow=True),
            Key("95 % interval", INK, line="-"),
            Key(f"reached by chance in {percent(LEVEL)} of sweeps", style.FAILURE, "|"),
        ]
    )
    height = min(0.8 + 0.28 * len(found.names), 4.6)
    left, right = page.grid(2, 2, height, left=1.25, joined=True)
    style.frame(left, title="Explained by itself", x="share of the variance of results")
    plots.importance_shares(left, found)
    style.frame(right, title="Explained by parts of its range", x="share of the variance of results, adjusted")
    plots.importance_test(right, found)
    right.set_yticklabels([])
    page.note(
        "Left: functional analysis of variance of a random forest, averaged over the whole search space and multiplied"
        " by what the forest explains of trials that it has not seen. Intervals: 1.96 standard errors of the"
        " delete-half jackknife. Right: the test against chance, of each hyperparameter on what the clearer ones left."
        " optuna-dashboard may order the hyperparameters differently: it uses completed trials only, and has no chance"
        " level."
    )


def no_ranking(found: Importance) -> str:
    """The reason why there is no page on importance, if there is none."""
    if found.names:
        return ""
    if found.judged >= FEWEST:
        return " Importance is not ranked: no searched hyperparameter has more than one value."
    return f" Importance is not ranked: {counted(found.judged, 'trial')} can be compared, and {FEWEST} are needed."


def _finding(found: Importance) -> str:
    clear = found.matters
    if not clear:
        return f"No hyperparameter matters beyond chance in {counted(found.judged, 'trial')}"
    if len(found.names) == 1:
        return f"{capital(clear[0])} matters beyond chance"
    if len(clear) == 1:
        return f"{capital(clear[0])} matters; of no other hyperparameter can it be told"
    if found.leading:
        return f"{capital(clear[0])} matters most, then {listed(clear[1:3])}"
    more = f", and {len(clear) - 3} more" if len(clear) > 3 else ""
    return f"{capital(listed(clear[:3]))} matter beyond chance{more}"


def _note(report: Report, found: Importance) -> str:
    what = f"1 \u2212 {report.record.metric.label}" if report.record.maximize else report.record.metric.label
    return (
        f"Importance: n = {found.judged} trials that completed or were stopped. Results: the logarithm of the"
        f" validation {what}; pruned trials are compared with others after as many epochs; those that diverged, or ran"
        " out of memory or time, count as the worst. Chance: the level that the highest bar stays below in"
        f" {percent(1 - LEVEL)} of {SHUFFLES} permutations of the results."
    )

"""The proposed next study, as a study file."""

from __future__ import annotations

from collections.abc import Sequence

from reports.analysis.checks.finding import WARN, steadier
from reports.analysis.next_study import Change, Proposal, words
from reports.analysis.price import price
from reports.analysis.training_noise import difference_words, limit_words
from reports.analysis.wording import counted, duration, listed
from reports.drawing.layout import MUTED, SMALL, Page
from reports.drawing.sheets import Sheets, height
from reports.pages.context import Report, capital

MOST_CHANGES = 10
ADVICE = {
    "overfitting": "search a regulariser as well (weight decay, dropout, label smoothing), or a smaller network",
    "validation and test": "look for drift, sorted rows and duplicates in the data",
    "validation rows": "rank by the loss, or validate on more rows",
    "late epochs": "try {steadier}",
    "infeasible share": "the failed trials are not in an outer part of one range; see their reasons",
}


def proposal(report: Report, sheets: Sheets) -> None:
    """The changes with their reasons, or else what to do about the warnings; no section if there are neither."""
    found = report.proposal
    if found is None:
        _advice(report, sheets)
        return
    said = (
        f"Proposed next study: {counted(len(found.changes), 'change')} to the study file",
        f"Next study: the file {found.name}.toml is in this study's folder. {_unchanged(found.changes)}"
        " Every report overwrites the file: copy it before you edit it. Gains: of longer trainings by the curves of the"
        " best trials, 10 to 90\u00a0% of them; of more trials at most what the second half of these was worth; of a"
        " wider range at most, for each fifth, what the last fifth was worth. A range is not widened for less than"
        f" {limit_words(report.record)}.",
    )
    _content(sheets.section(*said, room=height(*said, lambda page: _content(page, report, found))), report, found)


def _content(page: Page, report: Report, found: Proposal) -> None:
    for change in found.changes[:MOST_CHANGES]:
        key, old, new, why = words(change)
        page.item(key, f"{why}; {new}, was {old}{_gain(report, change)}", indent=1.55, most=3)
    page.space(0.08)
    if (more := len(found.changes) - MOST_CHANGES) > 0:
        page.paragraph(f"{counted(more, 'more change')} in the file.", SMALL, colour=MUTED)
    if cost := price(report.record, found.changes):
        page.paragraph(
            f"It takes about {duration(cost.proposed)} of training, {cost.proposed / cost.reported:.1f} times this"
            f" study's {duration(cost.reported)}, if its settings take as long per epoch.",
            SMALL,
        )
    if left := _left_over(report, found.changes):
        remedies = listed(f"{name} ({_remedy(report, name)})" for name in left)
        page.paragraph(f"Not covered by the proposal: {remedies}.", SMALL, colour=MUTED)
    page.heading("Run and compare")
    page.boxed(f"sweep run {found.name}")
    page.space(0.05)
    page.boxed(f"sweep report {report.record.folder.name} {found.name}")


def _unchanged(changes: Sequence[Change]) -> str:
    """What the proposed study has in common with this one."""
    if any(change.key == "baseline.epochs" for change in changes):
        return "Question and data are unchanged, and the baseline but for its epochs."
    return "Question, data and baseline are unchanged."


def _gain(report: Report, change: Change) -> str:
    """The expected gain of a change in words; nothing for one that is not made for a gain."""
    if change.gain is None:
        return "; too few completed trials to say what it may gain" if "bound" in change.why else ""
    low, high = (difference_words(report.record, end) for end in change.gain)
    return f"; may gain up to {high}" if change.gain[0] <= 0 else f"; may gain {low} to {high}"


def _advice(report: Report, sheets: Sheets) -> None:
    """What to do about warnings that no change of a range or number addresses."""
    left = _left_over(report, ()) if report.standing.over else []
    if not left:
        return
    page = sheets.section(
        f"No next study is proposed; what to do about {counted(len(left), 'check')}",
        "Next study: none is written where no other range or number in the study file addresses a check.",
        room=0.9,
    )
    for name in left:
        page.item(capital(name), _remedy(report, name), indent=1.55, most=3)


def _remedy(report: Report, name: str) -> str:
    """What to do about a check, of what the study does not do yet."""
    return ADVICE[name].format(steadier=steadier(report.record))


def _left_over(report: Report, changes: Sequence[Change]) -> list[str]:
    """The checks with a warning that no proposed change addresses."""
    cut = any("failed or diverged" in change.why for change in changes)
    warned = [check.name for check in report.checks if check.status == WARN]
    return [name for name in warned if name in ADVICE and not (name == "infeasible share" and cut)]

"""What the checks of the sweep found: those that need attention first, and those that passed in a line each."""

from __future__ import annotations

from reports.analysis.checks import summary
from reports.analysis.checks.finding import CANNOT_TELL, PASS, WARN
from reports.drawing.layout import MUTED, Page
from reports.drawing.sheets import Sheets
from reports.pages.context import Report, capital

MARKS = {WARN: ("attention", "#b3261e"), CANNOT_TELL: ("cannot tell", MUTED), PASS: ("passed", "#00795c")}


def judged(report: Report, sheets: Sheets) -> None:
    """Every check with its finding."""
    page = sheets.section(
        capital(summary(report.checks)),
        "Checks: of made-up studies without a fault, each asks for attention in at most 5\u00a0%.",
    )
    show(page, report, tuple(MARKS), most=3)


def show(page: Page, report: Report, statuses: tuple[str, ...], most: int) -> None:
    """The checks of these results, in this order, each with at most `most` lines."""
    for status in statuses:
        mark, colour = MARKS[status]
        for check in report.checks:
            if check.status == status:
                page.item(mark, check.finding, colour=colour, label=capital(check.name), most=most)

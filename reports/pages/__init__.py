"""The pages of the report, one module per question; the title of a page is its finding.

`PAGES` is in reading order: the sections of a page follow each other while there is room. These modules choose text and
layout; `reports.analysis` computes the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reports.analysis.next_study import Proposal
from reports.drawing.layout import Page
from reports.drawing.sheets import Sheets
from reports.pages.answer import answer
from reports.pages.checks import judged
from reports.pages.confirmation import confirmation
from reports.pages.context import FEWEST_COMPLETE, Report
from reports.pages.cost import cost
from reports.pages.epochs import epochs
from reports.pages.errors import mistakes
from reports.pages.importance import ranking
from reports.pages.interactions import interactions
from reports.pages.learning_curves import curves
from reports.pages.next_study import proposal
from reports.pages.progress import progress
from reports.pages.provenance import origin
from reports.pages.pruning import pruning
from reports.pages.space import hyperparameters
from reports.pages.trial_budget import trials
from reports.pages.trial_table import failures, table
from studies.record.reader import SweepRecord

Section = Callable[[Report, Sheets], None]

PAGES: Sequence[Sequence[Section]] = (
    (answer,),
    (confirmation,),
    (judged, proposal),
    (ranking, interactions),
    (hyperparameters,),
    (progress, trials),
    (curves, epochs),
    (cost, pruning),
    (mistakes,),
    (table, failures, origin),
)

SHORT = 2
"""Pages of the short report: the answer, and whether it is real."""
NEED_MANY = (epochs, trials)
"""Sections that are omitted with too few completed trials; the section of `origin` says so."""


def pages(record: SweepRecord, following: Proposal | None = None, *, short: bool = False) -> list[Page]:
    """The pages of a report in reading order, all or the first two; `following` is the proposed next study, if any."""
    found, sheets = Report(record, following), Sheets()
    few = found.standing.complete < FEWEST_COMPLETE
    for sections in PAGES[:SHORT] if short else PAGES:
        sheets.turn()
        for section in sections:
            if not (few and section in NEED_MANY):
                section(found, sheets)
    return sheets.pages

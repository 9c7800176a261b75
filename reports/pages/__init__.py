"""The pages of the report, one module per question; the title of a page is its finding.

`SECTIONS` is in reading order. These modules choose text and layout; `reports.analysis` computes the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reports.analysis.next_study import Proposal
from reports.drawing.layout import Page
from reports.pages.answer import answer
from reports.pages.confirmation import confirmation
from reports.pages.context import FEWEST_COMPLETE, Report, report
from reports.pages.cost import cost
from reports.pages.epochs import epochs
from reports.pages.errors import mistakes
from reports.pages.importance import ranking
from reports.pages.interactions import interactions, parallel
from reports.pages.isolation import isolation
from reports.pages.learning_curves import curves
from reports.pages.next_study import proposal
from reports.pages.progress import progress
from reports.pages.provenance import origin
from reports.pages.pruning import pruning
from reports.pages.space import hyperparameters
from reports.pages.trial_budget import trials
from reports.pages.trial_table import failures, table
from reports.pages.winner import changes
from studies.record.reader import SweepRecord

SECTIONS: Sequence[Callable[[Report], list[Page]]] = (
    answer,
    origin,
    progress,
    hyperparameters,
    isolation,
    curves,
    epochs,
    pruning,
    trials,
    ranking,
    interactions,
    parallel,
    changes,
    confirmation,
    mistakes,
    cost,
    table,
    failures,
    proposal,
)

NEED_MANY = (isolation, epochs, trials, parallel, changes)
"""Sections that are omitted with too few completed trials; the page of `origin` says so."""


def pages(record: SweepRecord, following: Proposal | None = None) -> list[Page]:
    """All pages of a report, in reading order; `following` is the proposed next study, if any."""
    found = report(record, following)
    few = found.standing.complete < FEWEST_COMPLETE
    return [page for section in SECTIONS if not (few and section in NEED_MANY) for page in section(found)]

"""Data and text shared by the pages: the record, its objective, the styles of the trials, and common phrases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from matplotlib.axes import Axes

from reports.analysis import wording
from reports.analysis.checks import checks
from reports.analysis.checks.finding import Check
from reports.analysis.confirmation import PairedDifference, confirmed_trials
from reports.analysis.failures import BROKEN
from reports.analysis.importance import Importance, importance
from reports.analysis.next_study import Proposal
from reports.analysis.standing import BASELINE, UNFINISHED, Standing, standing, winner
from reports.analysis.statistics import Floats
from reports.analysis.wording import MetricFormat, counted
from reports.drawing import scales, style
from reports.drawing.blocks import INK, Key
from reports.drawing.layout import WASH
from studies.record.reader import SweepRecord, TrialRecord

FEWEST_COMPLETE = 10
"""Completed trials that pages on parts of the ranges and on rank correlations need."""
STATES = {
    "complete": Key("completed trial", style.GREY, "o"),
    "best": Key("best so far", INK, line="-"),
    "pruned": Key("pruned", style.PRUNED, "v", hollow=True),
    "best value": Key("pruned, at its best value", style.PRUNED, "v", hollow=True),
    "last value": Key("pruned, at its last value", style.PRUNED, "v", hollow=True),
    "broken": Key("diverged or failed", style.FAILURE, "x"),
    "band": Key("other trials", style.GREY, "s"),
}
ENDINGS = {"pruned": {"pruned"}, "best value": {"pruned"}, "last value": {"pruned"}, "broken": {*BROKEN}}
"""Outcomes of trials, of which one must have occurred for a state to be in a legend; the others always are."""


@dataclass(frozen=True)
class Report:
    """The record and the findings that several pages show, computed when the first of them needs one.

    Attributes:
        record: the study.
        proposal: the proposed next study, or None.
    """

    record: SweepRecord
    proposal: Proposal | None = None

    @cached_property
    def metric(self) -> MetricFormat:
        """How values of the objective are printed."""
        return wording.objective(self.record)

    @cached_property
    def standing(self) -> Standing:
        """How far the search is, and its best trial."""
        return standing(self.record)

    @cached_property
    def looks(self) -> Mapping[int, style.Look]:
        """How each highlighted trial is drawn, by number."""
        return style.looks(notable(self.record), BASELINE)

    @cached_property
    def importance(self) -> Importance:
        """What the searched axes are worth; nine random forests."""
        return importance(self.record)

    @cached_property
    def checks(self) -> Sequence[Check]:
        """The result of each check."""
        return checks(self.record)

    def ends(self, objective: Floats) -> tuple[float, float]:
        """Ends of the objective axis in drawn units, for recorded values (trials,); the baseline is inside."""
        low, high = scales.window(objective, self._kept, maximize=self.metric.maximize, log=self.log)
        return low * self.metric.scale, high * self.metric.scale

    @cached_property
    def log(self) -> bool:
        """Whether objective axes are logarithmic."""
        values = np.array([trial.value for trial in self.record.ranked()], dtype=np.float64)
        return scales.many_magnitudes(values, self._kept, maximize=self.metric.maximize)

    @property
    def _kept(self) -> list[float]:
        baseline = self.standing.baseline
        return [] if baseline is None or baseline.value is None else [baseline.value]

    def axis(self, ax: Axes, ends: tuple[float, float], *, gutter: float = scales.GUTTER, wash: str = WASH) -> None:
        """Set up the vertical axis for the objective, with a strip for trials that are outside it."""
        maximize = self.metric.maximize
        scales.objective_axis(ax, ends, maximize=maximize, log=self.log, gutter=gutter, wash=wash)

    def keys(self, trials: Sequence[int], states: Sequence[str]) -> list[Key]:
        """The legend entries of these trials, and of those of these keys of `STATES` that occur."""
        lines = "band" in states or "complete" not in states
        looks = [(name(number).removeprefix("The ").capitalize(), self.looks[number]) for number in trials]
        found = [Key(label, look.colour, look.marker, look.line if lines else None) for label, look in looks]
        outcomes = {trial.outcome for trial in self.record.trials}
        shown = [STATES[state] for state in states if state not in ENDINGS or outcomes & ENDINGS[state]]
        return [*found, *shown]

    @property
    def selected(self) -> str:
        """Which of its epochs a trial is judged by: `best` or `last`."""
        return "last" if self.record.study.get("epoch") == "last" else "best"

    @property
    def best_word(self) -> str:
        """What the best trial is called: the champion once it is confirmed."""
        return "champion" if self.record.verdict else "best trial"

    def endings(self) -> str:
        """How the finished trials ended, in words."""
        return wording.outcomes({k: v for k, v in self.record.counts().items() if k not in UNFINISHED})

    def why_closed(self) -> str:
        """Why the test set has not been opened."""
        if not self.standing.over:
            return "it is opened once, after the search has ended and the champion is confirmed"
        if not self.record.study.get("confirm"):
            return "this study has no confirmation, and only a confirmed champion is tested"
        if self.record.confirm:
            return "the confirmation has not ended"
        return "it is opened once, after the champion is confirmed"


def notable(record: SweepRecord, top: int = 3) -> list[int]:
    """Highlighted trials: the winner, the best of the search, and all confirmed ones, without the baseline."""
    first = winner(record)
    numbers = [first.number] if first else []
    numbers += [trial.number for trial in record.ranked()[:top]]
    numbers += [row.trial for row in confirmed_trials(record)]
    return [number for number in dict.fromkeys(numbers) if number != BASELINE]


def name(number: int) -> str:
    """A trial as the subject of a sentence."""
    return "The baseline" if number == BASELINE else f"Trial {number}"


def capital(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def epoch(trial: TrialRecord) -> str:
    """The selected epoch, from 1, or a dash."""
    return "–" if trial.selected_epoch is None else str(trial.selected_epoch + 1)


def interval(metric: MetricFormat, paired: PairedDifference) -> str:
    """The interval of a paired difference and the conclusion from it."""
    if not math.isfinite(paired.low):
        return f"{counted(paired.n, 'pair')}, too few for an interval: not distinguishable"
    ends = (paired.low, paired.high) if metric.maximize else (paired.high, paired.low)
    low, high = (metric.oriented(end) for end in ends)
    return f"95\u00a0% interval {low} to {high}: {paired.finding}"

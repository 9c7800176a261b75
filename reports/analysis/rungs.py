"""What pausing and promoting bought: who reached each rung, what that cost, and what the ranking there was worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from reports.analysis.statistics import spearman, spearman_interval
from studies.record.reader import SweepRecord, TrialRecord
from studies.rungs import rung_epochs

FEWEST = 6
"""Trials that a rank correlation needs."""


@dataclass(frozen=True)
class Rung:
    """One rung of a search that pauses and promotes.

    Attributes:
        epochs: at which a trial of the baseline's length reaches it.
        reached: number of trials that did.
        continued: number of those that ran on; 0 at the last rung.
        seconds: training time between the rung before and this one.
        correlation: Spearman's rank correlation of the objective here with that at the next rung, over the trials that
            reached both; None with fewer than `FEWEST`, and at the last rung. Only the better trials reached both, and
            they are more similar, so that it is lower than among all.
        low, high: its 95 % interval (Bonett and Wright 2000, https://doi.org/10.1007/BF02294183).
    """

    epochs: int
    reached: int
    continued: int
    seconds: float
    correlation: float | None = None
    low: float = math.nan
    high: float = math.nan


def rungs(record: SweepRecord) -> list[Rung]:
    """The rungs of a study with the pruner `halving`, from the first; empty for another one."""
    if record.study["pruner"] != "halving":
        return []
    longest = longest_epochs(record)
    steps = [rung_epochs(int(trial.hyperparameters["epochs"]), longest) for trial in record.trials]
    return [_rung(record, steps, rung) for rung in range(len(rung_epochs(longest, longest)))]


def left_behind_after(record: SweepRecord, control: TrialRecord) -> int | None:
    """The epoch, from 1, after which halving would have left an unpruned control behind; None if it would not.

    At a rung where the control is worse than every other trial that was continued. It is compared once the search is
    over, since a paused trial may be continued late.
    """
    longest = longest_epochs(record)
    mine = rung_epochs(int(control.hyperparameters["epochs"]), longest)
    others = [trial for trial in record.trials if trial.number and trial.control is None]
    for rung, epochs in enumerate(mine[:-1]):
        steps = [rung_epochs(int(trial.hyperparameters["epochs"]), longest)[rung] for trial in others]
        continued = [
            record.metric.cost(best_so_far(record, trial, step))
            for trial, step in zip(others, steps, strict=True)
            if len(trial.epochs) > step
        ]
        if continued and record.metric.cost(best_so_far(record, control, epochs)) > max(continued):
            return epochs
    return None


def _rung(record: SweepRecord, steps: Sequence[Sequence[int]], rung: int) -> Rung:
    pairs = list(zip(record.trials, steps, strict=True))
    here = [(trial, step) for trial, step in pairs if len(trial.epochs) >= step[rung]]
    before = [step[rung - 1] if rung else 0 for _, step in pairs]
    seconds = math.fsum(
        trial.epochs["seconds"][start : step[rung]].sum() for (trial, step), start in zip(pairs, before, strict=True)
    )
    base = rung_epochs(int(record.study["baseline"]["epochs"]), longest_epochs(record))
    both = [(trial, step) for trial, step in here if rung + 1 < len(step) and len(trial.epochs) >= step[rung + 1]]
    going_on = sum(len(trial.epochs) > step[rung] for trial, step in here)
    found = Rung(base[rung], len(here), going_on, seconds)
    return found if len(both) < FEWEST else _with_correlation(record, found, both, rung)


def _with_correlation(
    record: SweepRecord, found: Rung, both: Sequence[tuple[TrialRecord, Sequence[int]]], rung: int
) -> Rung:
    one, other = (
        np.array([record.metric.cost(best_so_far(record, trial, step[place])) for trial, step in both])
        for place in (rung, rung + 1)
    )
    correlation = spearman(one, other)
    low, high = map(float, spearman_interval(np.array(correlation), len(both)))
    return replace(found, correlation=correlation, low=low, high=high)


def best_so_far(record: SweepRecord, trial: TrialRecord, epochs: int) -> float:
    """The objective at the selected epoch of the first `epochs`."""
    values = trial.epochs[record.objective][:epochs]
    if record.study["epoch"] == "last" or np.isnan(values).all():
        return float(values[-1])
    return float(np.nanmax(values) if record.maximize else np.nanmin(values))


def longest_epochs(record: SweepRecord) -> int:
    """Epochs of the study's longest trial."""
    space = record.study["space"].get("epochs", {})
    ends = space.get("choices") or [space.get("high", 0)]
    return max(int(record.study["baseline"]["epochs"]), *map(int, ends))

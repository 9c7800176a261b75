"""Was pruning right? How early the order of trials is known, what stopping spared, and which good trials it stops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.analysis.rungs import left_behind_after
from reports.analysis.standing import BASELINE
from reports.analysis.statistics import Floats, spearman, spearman_interval
from studies.record.outcome import SEARCH_OVER
from studies.record.reader import SweepRecord, TrialRecord

FEWEST = 8  # completed trials, for a rank correlation


@dataclass(frozen=True)
class Foresight:
    """How well the objective at an epoch predicts the final order of trials; every array is (epochs,).

    Spearman's rank correlation over the completed trials that ran that epoch, with the interval of Bonett and Wright
    (2000, https://doi.org/10.1007/BF02294183). Pruned trials are not included. The remaining trials are more similar to
    each other than all trials, so the correlation is underestimated.

    Attributes:
        epoch: from 1.
        correlation: with the final objective, -1 to 1.
        low, high: its 95 % interval.
        trials: number of trials.
    """

    epoch: Floats
    correlation: Floats
    low: Floats
    high: Floats
    trials: int


def foresight(record: SweepRecord) -> Foresight | None:
    """The rank correlation of every epoch with the final value; None with too few completed trials or epochs."""
    done = [trial for trial in record.ranked() if np.isfinite(trial.epochs[record.objective]).all()]
    length = max((len(trial.epochs) for trial in done), default=0)
    done = [trial for trial in done if len(trial.epochs) == length]
    if len(done) < FEWEST or length < 2:
        return None
    table = np.array([trial.epochs[record.objective] for trial in done])
    end = np.array([trial.value for trial in done], dtype=np.float64)
    found = np.array([spearman(column, end) for column in table.T])
    return Foresight(np.arange(1.0, length + 1), found, *spearman_interval(found, len(done)), len(done))


@dataclass(frozen=True)
class Spared:
    """What pruning saved.

    Attributes:
        pruned: number of trials that were stopped.
        late: how many of them the end of the time for the search stopped, and no comparison with others.
        epochs: number of epochs of their settings that were not run.
        seconds: estimated time of these epochs, at each trial's own mean epoch time.
        share: fraction of the estimated time of all trials without pruning, 0 to 1.
    """

    pruned: int
    late: int
    epochs: int
    seconds: float
    share: float


def spared(record: SweepRecord) -> Spared:
    """What pruning saved; trials without an epoch add no time, so that it is underestimated."""
    pruned = [trial for trial in record.trials if trial.outcome == "pruned"]
    left = [max(0, int(trial.hyperparameters["epochs"]) - len(trial.epochs)) for trial in pruned]
    seconds = math.fsum(
        missing * trial.seconds / len(trial.epochs)
        for missing, trial in zip(left, pruned, strict=True)
        if len(trial.epochs)
    )
    spent = math.fsum(trial.seconds for trial in record.trials)
    late = sum((trial.reason or "").endswith(SEARCH_OVER) for trial in pruned)
    return Spared(len(pruned), late, sum(left), seconds, seconds / (seconds + spent) if seconds else 0.0)


@dataclass(frozen=True)
class Control:
    """An unpruned control trial: judged but never stopped.

    Attributes:
        trial: its number.
        given_up: the epoch, from 1, after which the pruner would have stopped it; None if never.
        value: the objective it reached.
        rank: its place among the completed trials, from 1.
    """

    trial: int
    given_up: int | None
    value: float
    rank: int


def controls(record: SweepRecord) -> list[Control]:
    """Every completed unpruned control trial, best first."""
    ranked = record.ranked()
    return [
        Control(trial.number, _given_up(record, trial), float(trial.value or 0.0), place)
        for place, trial in enumerate(ranked, 1)
        if trial.control is not None
    ]


def _given_up(record: SweepRecord, trial: TrialRecord) -> int | None:
    if record.study["pruner"] == "halving":
        return left_behind_after(record, trial)
    at = (trial.control or {}).get("would_prune_at")
    return None if at is None else int(at) + 1


def misjudged(record: SweepRecord, found: Sequence[Control]) -> tuple[int, int]:
    """How many unpruned controls the pruner gave up, and how many of these ended among the better half of the others.

    The others are the trials that the pruner let finish, without the baseline, which it never stops.
    """
    doomed = [one for one in found if one.given_up is not None]
    never = {one.trial for one in found} | {BASELINE}
    finished = [trial for trial in record.ranked() if trial.number not in never]
    if not finished:
        return 0, 0
    middle = finished[(len(finished) - 1) // 2].value or 0.0
    return len(doomed), sum(record.metric.is_better(one.value, middle) for one in doomed)

"""The repeats on fresh splits and seeds: champion against baseline and runner-up, and the noise between repeats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.analysis.failures import BROKEN
from reports.analysis.standing import BASELINE, final_value
from reports.analysis.statistics import Floats
from studies.record.reader import SweepRecord


@dataclass(frozen=True)
class PairedDifference:
    """A paired difference on fresh splits, positive where the champion is better than the other trial.

    Attributes:
        difference: mean of the differences, in the objective's unit.
        low, high: its 95 % interval; NaN with only one pair.
        n: number of pairs.
        among: in records of the first protocol, number of candidates that the champion was chosen from on these very
            seeds; the interval is corrected for it.
        trial: number of the other trial.
    """

    difference: float
    low: float
    high: float
    n: int
    among: int = 1
    trial: int = BASELINE

    @property
    def finding(self) -> str:
        """`better`, `worse`, or `not distinguishable` if the interval contains 0 or there is none."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "not distinguishable"


def paired_difference(record: SweepRecord) -> PairedDifference | None:
    """The verdict's paired difference; None without a verdict, or when the champion is the baseline itself."""
    return _paired((record.verdict or {}).get("paired"))


def runner_up_difference(record: SweepRecord) -> PairedDifference | None:
    """The champion's paired difference to the runner-up; None without a runner-up, and in older records."""
    return _paired((record.verdict or {}).get("runner_up"))


def is_split(record: SweepRecord) -> bool:
    """Whether every repeat has a split of its own; in records of the first protocol, all have the search's."""
    return record.verdict is None or record.verdict.get("protocol", 1) > 1


def split_overlap(record: SweepRecord) -> float:
    """Validation examples divided by training examples, for `corrected_half_width`; 0 if all repeats have one split."""
    return float(record.dataset["validation"] / record.dataset["train"]) if is_split(record) else 0.0


def repeat_word(record: SweepRecord) -> str:
    """What a repeat is on: `fresh split`, or `fresh seed` in records of the first protocol."""
    return "fresh split" if is_split(record) else "fresh seed"


def why_unpaired(record: SweepRecord) -> str:
    """Why a champion was not compared with the baseline: a training of the confirmation diverged, or time was over."""
    broken = any(run.outcome in BROKEN and run.outcome != "timeout" for run in record.confirm)
    return "a training of the confirmation failed or diverged" if broken else "there was no time for it"


def better_than_champion(record: SweepRecord) -> int | None:
    """The candidate with a better mean on the repeats than the champion, the best of them; None if there is none.

    The champion was chosen before: by the screening, or because the first of the screening was worse than the baseline.
    """
    rows = confirmed_trials(record) if record.verdict else []
    champion = next((row for row in rows if record.verdict and row.trial == record.verdict["champion"]), None)
    if champion is None or not record.metric.is_better(rows[0].mean, champion.mean):
        return None
    return rows[0].trial


def _paired(found: Mapping[str, Any] | None) -> PairedDifference | None:
    if not found:
        return None
    low, high = (math.nan if found[end] is None else float(found[end]) for end in ("low", "high"))
    among, trial = int(found.get("among", 1)), int(found.get("trial", BASELINE))
    return PairedDifference(float(found["difference"]), low, high, int(found["n"]), among, trial)


@dataclass(frozen=True)
class ConfirmedTrial:
    """One trial of the search, repeated on fresh splits and seeds.

    Attributes:
        trial: its number in the search.
        search_value: the objective in the search.
        values: (seeds,), the objective of each repeat.
    """

    trial: int
    search_value: float
    values: Floats

    @property
    def mean(self) -> float:
        """Mean of the repeats."""
        return float(self.values.mean())


def confirmed_trials(record: SweepRecord) -> list[ConfirmedTrial]:
    """The confirmed trials, best mean first: from the verdict, or from the repeats that have completed so far."""
    rows = _from_verdict(record.verdict["candidates"]) if record.verdict else _from_repeats(record)
    return sorted(rows, key=lambda row: (-row.mean if record.maximize else row.mean, row.trial))


def _from_verdict(candidates: Sequence[Mapping[str, Any]]) -> list[ConfirmedTrial]:
    rows = [
        ConfirmedTrial(c["trial"], _number(c["search_value"]), np.array(c["values"], dtype=float)) for c in candidates
    ]
    return [row for row in rows if row.values.size]


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _from_repeats(record: SweepRecord) -> list[ConfirmedTrial]:
    found: dict[int, list[float]] = {}
    for repeat in record.confirm:
        if repeat.role == "confirm" and repeat.candidate is not None and math.isfinite(value := final_value(repeat)):
            found.setdefault(repeat.candidate, []).append(value)
    searched = {trial.number: final_value(trial) for trial in record.trials}
    return [ConfirmedTrial(number, searched.get(number, math.nan), np.array(seen)) for number, seen in found.items()]

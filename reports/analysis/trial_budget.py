"""Were there enough trials? The expected best of a random subset of the trials, by its size.

The Deep Learning Tuning Playbook draws bootstrap samples of the trials and shows how the best improves with their
number. Without replacement it has a closed form (Dodge et al. 2019, https://arxiv.org/abs/1909.03004, whose formula
with replacement Tang et al. 2020, https://aclanthology.org/2020.acl-main.246, show to be biased), so nothing is
sampled here: the i-th best of n trials is the best of m of them with probability C(n - i, m - 1) / C(n, m).

All orders are equally likely only for random and quasi-random sampling. An adaptive sampler finds its good trials late;
a random half of them is then better than the first half was, so the gain is underestimated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.analysis.standing import UNFINISHED
from reports.analysis.statistics import Floats
from studies.record.reader import SweepRecord

ADAPTIVE = ("tpe",)
LATE = 0.1  # last fraction of the trials, in which an adaptive search should no longer improve


@dataclass(frozen=True)
class Enough:
    """The expected best objective by number of trials; arrays are (sizes,).

    Attributes:
        trials: sizes m, from 1 to all finished trials.
        mean: expected best of m trials chosen at random from the finished ones.
        low, high: 10 % and 90 % quantiles of the best of m over those choices; equal when m is all trials.
        best: the best of all trials.
        of_half: expected best of half of them.
        before: the best of the first nine tenths, by number; the worst of all if none of these completed.
        adaptive: whether the sampler uses earlier trials.
        without: number of trials without a final value; they count as the worst trial that has one.
    """

    trials: NDArray[np.int64]
    mean: Floats
    low: Floats
    high: Floats
    best: float
    of_half: float
    before: float
    adaptive: bool
    without: int


def enough(record: SweepRecord) -> Enough | None:
    """The expected best by number of trials; None without a completed trial."""
    finished = [trial for trial in record.trials if trial.outcome not in UNFINISHED]
    values = [trial.value for trial in record.ranked() if trial.value is not None]
    if not values:
        return None
    n = len(finished)
    best_first = np.array([*values, *[values[-1]] * (n - len(values))])
    sizes = np.unique(np.round(np.geomspace(1, n, 60)).astype(np.int64))
    chance = np.array([best_of(n, int(m)) for m in sizes])
    mean, reached = chance @ best_first, chance.cumsum(axis=1)
    ends = [best_first[(reached < share).sum(axis=1).clip(max=n - 1)] for share in (0.1, 0.9)]
    half = float(best_of(n, max(1, n // 2)) @ best_first)
    return Enough(
        trials=sizes,
        mean=mean,
        low=np.minimum(*ends),
        high=np.maximum(*ends),
        best=float(best_first[0]),
        of_half=half,
        before=_before(record, values),
        adaptive=str(record.study["sampler"]) in ADAPTIVE,
        without=n - len(values),
    )


def best_of(n: int, m: int) -> Floats:
    """Probability that each of n trials, the best first, is the best of m of them drawn without replacement; (n,)."""
    chance = np.zeros(n)
    log_all = _log_choose(n, m)
    for i in range(1, n - m + 2):
        chance[i - 1] = math.exp(_log_choose(n - i, m - 1) - log_all)
    return chance


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _before(record: SweepRecord, values: list[float]) -> float:
    """The best of the first nine tenths of the trials; `values` are those of the completed trials, the best first.

    By number: halving completes the best trials at the end of the search, whenever they were proposed.
    """
    first = len(record.trials) - max(1, round(LATE * len(record.trials)))
    return next((float(trial.value or 0.0) for trial in record.ranked() if trial.number < first), values[-1])

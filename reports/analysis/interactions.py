"""Interactions of two hyperparameters: a permutation test on ranks for effects beyond the two main effects.

The trials are put into cells, three parts of one axis by three of the other. The variance of their ranks that the cells
explain is compared with the variance explained by an additive model of rows and columns. The chance level is the
highest value in 19 permutations of the residuals of the additive model (Freedman and Lane 1983,
https://doi.org/10.1080/07350015.1983.10509354).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.analysis.axes import Axis, axes, values
from reports.analysis.importance import SEED, Importance, judged_trials
from reports.analysis.statistics import Floats, ranks
from studies.record.reader import SweepRecord

MIN_TRIALS = 40  # ranked trials: nine cells with about four each
TOP_AXES = 3  # axes whose pairs are tested
BINS = 3
SHUFFLES = 19  # a pair without interaction exceeds the highest of 19 in 1 of 20 records
MIN_SHARE = 0.1  # of the variance: ranking an additive effect already gives an interaction of a few hundredths


@dataclass(frozen=True)
class Pair:
    """Two axes, and the variance that they explain beyond their main effects.

    Attributes:
        x, y: the axes.
        share: fraction of the variance of ranks, 0 to 1; None with too few trials.
        chance: the level that a pair without interaction exceeds in 1 of 20 sweeps.
    """

    x: Axis
    y: Axis
    share: float | None
    chance: float

    @property
    def interacts(self) -> bool:
        """Whether the interaction is above the chance level."""
        return self.share is not None and self.share > max(self.chance, MIN_SHARE)


def pairs(record: SweepRecord, found: Importance) -> list[Pair]:
    """The pairs of the three most important axes; none if importance is not ranked or only one axis is searched."""
    by_name = {axis.name: axis for axis in axes(record.study["space"])}
    leading = [by_name[name] for name in found.names[:TOP_AXES]]
    trials, results = judged_trials(record)
    rank = ranks(results)
    place = {axis.name: _parts(values(axis, trials)) for axis in leading}
    chosen = [(x, y) for number, x in enumerate(leading) for y in leading[number + 1 :]]
    enough = len(trials) >= MIN_TRIALS
    return [Pair(x, y, *(_beyond(place[x.name], place[y.name], rank) if enough else (None, 0.0))) for x, y in chosen]


def _parts(x: Floats) -> NDArray[np.int64]:
    """The tercile of each value, or its own part if there are few distinct values; -1 for a missing value."""
    there = np.isfinite(x)
    found = np.full(len(x), -1, dtype=np.int64)
    if len(np.unique(x[there])) <= BINS + 1:
        found[there] = np.unique(x[there], return_inverse=True)[1]
    else:
        found[there] = np.searchsorted(np.quantile(x[there], np.arange(1, BINS) / BINS), x[there], side="left")
    return found


def _beyond(x: NDArray[np.int64], y: NDArray[np.int64], rank: Floats) -> tuple[float, float]:
    """Fraction of the variance of ranks that cells explain beyond rows plus columns, and its chance level."""
    rows, columns = (np.unique(part, return_inverse=True)[1] for part in (x, y))
    design = np.hstack([np.eye(rows.max() + 1)[rows], np.eye(columns.max() + 1)[columns]])
    cells = np.unique(np.stack([rows, columns]), axis=1, return_inverse=True)[1]
    projection = design @ np.linalg.pinv(design)

    def share(values: Floats) -> float:
        residuals = values - projection @ values
        mean = np.bincount(cells, weights=residuals) / np.bincount(cells)
        whole = float(((values - values.mean()) ** 2).sum())
        between = float((residuals**2).sum() - ((residuals - mean[cells]) ** 2).sum())
        return between / whole if whole else 0.0

    fitted = projection @ rank
    rng = np.random.default_rng(SEED)
    shuffled = [share(fitted + rng.permutation(rank - fitted)) for _ in range(SHUFFLES)]
    return share(rank), max(shuffled)

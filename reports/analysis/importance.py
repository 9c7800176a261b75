"""Importance of the hyperparameters by two methods, with intervals and permutation tests.

`best`: importance for the best trials. PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023,
https://arxiv.org/abs/2304.10255): the Pearson divergence between the density of the top trials along one axis and the
density of all ranked trials. It is implemented in NumPy and equals Optuna's evaluator (a test compares them), which
imports scikit-learn and SciPy and takes 25 ms per score, of which several hundred are needed.

`all`: importance for the order of all trials. The fraction of the variance of the ranks that one axis explains, split
into five buckets of equal size or into its choices: the Kruskal-Wallis H as an effect size, adjusted for the number of
buckets, (H - k + 1) / (n - k) (Tomczak and Tomczak 2014, "The need to report effect size estimates revisited").

Completed, pruned and diverged trials are ranked. The last two belong to "all", not to the top, and share the last rank;
without them the bad regions that the sampler tried would be missing. Neither method measures interactions of two axes,
and both use the trials that the sampler chose, not a uniform sample of the space.

The chance level is the highest score in 19 permutations of the objective over the trials. Intervals are scores plus and
minus 1.96 standard errors of the delete-half jackknife (Shao and Wu 1989, https://doi.org/10.1214/aos/1176347263): the
spread of the score over halves of the trials. A bootstrap does not work here: repeated trials sharpen the densities and
double the noise of the means, so that every interval lies above its own score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.analysis.axes import Axis, axes, values
from reports.analysis.statistics import NORMAL_975, Floats, ranks
from studies.record.reader import SweepRecord, TrialRecord

Score = Callable[[Axis, Floats, NDArray[np.int64]], float]
"""Takes an axis, the trials' values on it (n,), and their ranks (n,), 0 for the best, equal for equal trials."""

FEWEST = 20  # ranked trials: with fewer, the five of the top group would be more than a quarter
TOP_SHARE = 0.1  # of the ranked trials, but at least TOP_FEWEST, all of them completed
TOP_FEWEST = 5  # required by PED-ANOVA
SHUFFLES = 19  # an axis without influence exceeds the highest of 19 in 1 of 20 records: an exact test at 5 %
HALVES = 60  # for the standard errors, whose relative error is then about a tenth
SEED = 0  # so that the chance levels of a record are reproducible
GRID = 50  # points of a density estimate
BUCKETS = 5


@dataclass(frozen=True)
class Scores:
    """Scores of the axes by one method; every array is (axes,).

    Attributes:
        score: 0 without influence; for `all`, it can be slightly below 0 by chance.
        low, high: its 95 % interval over repetitions with this sampler.
        chance: the level that an axis without influence exceeds in 1 of 20 records.
    """

    score: Floats
    low: Floats
    high: Floats
    chance: Floats


@dataclass(frozen=True)
class Importance:
    """Scores of the searched axes, in the order of the first method.

    Attributes:
        names: of the axes; empty if there are too few trials.
        best: importance for the best trials: the divergence of PED-ANOVA.
        all: importance for the order of all trials: explained fraction of the variance of the ranks.
        top: number of trials in the top group.
        judged: number of completed, pruned and diverged trials.
    """

    names: tuple[str, ...]
    best: Scores
    all: Scores
    top: int
    judged: int

    def clear(self) -> list[str]:
        """The axes whose importance for the best trials is above the chance level, highest first."""
        return self._above(self.best)

    def ordering(self) -> list[str]:
        """The axes whose importance for the order of all trials is above the chance level, highest first."""
        return self._above(self.all)

    def _above(self, found: Scores) -> list[str]:
        order = np.argsort(-found.score, kind="stable")
        return [self.names[index] for index in order if found.score[index] > max(0.0, found.chance[index])]


def importance(record: SweepRecord) -> Importance:
    """Scores of all searched axes; no names if there are too few trials."""
    trials, rank = judged_trials(record)
    ranked = len(record.ranked())
    shown = [axis for axis in axes(record.study["space"]) if axis.low < axis.high]
    n, top = len(trials), max(TOP_FEWEST, round(TOP_SHARE * len(trials)))
    if n < FEWEST or ranked < top or not shown:
        none = Scores(*np.empty((4, 0)))
        return Importance((), none, none, top=top, judged=n)
    table = [values(axis, trials) for axis in shown]
    share = top / n
    best = _judged(lambda axis, x, r: divergence(axis, x, _top(r, share)), shown, table, rank)
    every = _judged(explained, shown, table, rank)
    order = np.argsort(-best.score, kind="stable")
    names = tuple(shown[index].name for index in order)
    return Importance(names, _in_order(best, order), _in_order(every, order), top, n)


def judged_trials(record: SweepRecord) -> tuple[list[TrialRecord], NDArray[np.int64]]:
    """The completed trials, best first, then the pruned ones; and their ranks (n,), the last shared by all pruned."""
    ranked = record.ranked()
    trials = [*ranked, *(trial for trial in record.trials if trial.state == "pruned")]
    return trials, np.minimum(np.arange(len(trials)), len(ranked))


def _top(rank: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Mask of the trials in the top group."""
    count = max(3, round(share * len(rank)))
    found = np.zeros(len(rank), dtype=bool)
    found[np.argsort(rank, kind="stable")[:count]] = True
    return found


def _judged(score: Score, shown: Sequence[Axis], table: Sequence[Floats], rank: NDArray[np.int64]) -> Scores:
    """The scores of one method with their intervals and chance levels."""
    rng, n = np.random.default_rng(SEED), len(rank)
    found = np.array([score(axis, x, rank) for axis, x in zip(shown, table, strict=True)])
    shuffles = [rng.permutation(rank) for _ in range(SHUFFLES)]
    halves = [rng.permutation(n)[: n // 2] for _ in range(HALVES)]
    chance = [max(score(axis, x, other) for other in shuffles) for axis, x in zip(shown, table, strict=True)]
    spread = [
        np.std([score(axis, x[half], rank[half]) for half in halves]) for axis, x in zip(shown, table, strict=True)
    ]
    width = NORMAL_975 * np.array(spread)
    return Scores(found, np.maximum(found - width, 0.0), np.maximum(found + width, 0.0), np.array(chance))


def _in_order(found: Scores, order: NDArray[np.int64]) -> Scores:
    return Scores(found.score[order], found.low[order], found.high[order], found.chance[order])


# --- importance for the best trials


def divergence(axis: Axis, x: Floats, top: NDArray[np.bool_]) -> float:
    """PED-ANOVA of one axis: Pearson divergence of the density of the top trials from that of all.

    Args:
        axis: the axis.
        x: (n,), the trials' values on it; NaN where it does not apply, which is treated as a separate regime.
        top: (n,), mask of the top group.
    """
    there = np.isfinite(x)
    best = there & top
    if there.sum() < 2 or not best.any():
        return 0.0
    p, q = (density(axis, x[some]) + 1e-12 for some in (best, there))
    weight = (best.sum() / top.sum()) ** 2 / (there.sum() / len(x))
    return float(weight * (q @ (p / q - 1) ** 2))


def density(axis: Axis, x: Floats) -> Floats:
    """Parzen density estimate on an axis, (grid,): truncated normals by Scott's rule, and one for the whole range."""
    if axis.scale == "choice":
        counts = np.bincount(x.astype(np.int64), minlength=len(axis.choices)).astype(np.float64)
        return _of_choices(counts)
    size = _grid(axis)
    low, high = (math.log(end) if axis.scale == "log" else end for end in (axis.low, axis.high))
    inside = np.clip(x, axis.low, axis.high)  # decoding 1 - value can move a value past an end by a rounding error
    place = ((np.log(inside) if axis.scale == "log" else inside) - low) / ((high - low) / (size - 1))
    counts = np.bincount(np.clip(np.ceil(place - 0.5).astype(np.int64), 0, size - 1), minlength=size).astype(np.float64)
    return _smoothed(counts)


def _grid(axis: Axis) -> int:
    if not axis.integer:
        return GRID
    distinct = int(axis.high - axis.low) + 1
    return min(GRID, math.ceil(math.log2(distinct)) + 1 if axis.scale == "log" else distinct)


def _of_choices(counts: Floats) -> Floats:
    seen = np.flatnonzero(counts)
    kernel = np.full((len(seen) + 1, len(counts)), 1 / (len(seen) + 1))
    kernel[np.arange(len(seen)), seen] += 1
    kernel /= kernel.sum(axis=1, keepdims=True)
    weights = np.append(counts[seen], 1.0)
    return np.asarray(weights / weights.sum() @ kernel)


def _smoothed(counts: Floats) -> Floats:
    size, n = len(counts), counts.sum()
    seen = np.flatnonzero(counts)
    kernels = np.vstack([_normals(seen, _bandwidth(seen, counts[seen]), size), _normals([(size - 1) / 2], size, size)])
    weights = np.append(counts[seen], 1.0)
    return np.asarray(weights / (n + 1) @ kernels)


def _bandwidth(seen: NDArray[np.int64], weights: Floats) -> float:
    """Scott's rule with the smaller of two estimates of the spread; never narrower than a grid point."""
    n, reached = weights.sum(), weights.cumsum()
    deviation = math.sqrt(float((seen - seen @ weights / n) ** 2 @ weights) / max(1.0, n - 1))
    quarter = int(np.searchsorted(reached, n // 4, side="left"))
    rest = int(np.searchsorted(reached, 3 * n // 4, side="right"))
    middle = float(seen[min(rest, len(seen) - 1)] - seen[quarter])
    return float(max(1.059 * min(middle / 1.34, deviation) * n**-0.2, 0.5 / 1.64))


def _normals(middles: Sequence[float] | NDArray[np.int64], deviation: float, size: int) -> Floats:
    """Truncated normal distributions over the integers 0..size-1, one per row."""
    edges = np.arange(size + 1) - 0.5
    z = (edges - np.asarray(middles, dtype=np.float64)[:, None]) / (deviation * math.sqrt(2))
    points, place = np.unique(z, return_inverse=True)  # on a grid most distances occur many times
    below = np.array([math.erf(point) for point in points])[place].reshape(z.shape)
    return np.asarray(np.diff(below, axis=1) / (below[:, -1:] - below[:, :1]))


# --- importance for the order of all trials


def explained(axis: Axis, x: Floats, rank: NDArray[np.int64]) -> float:
    """Fraction of the variance of the ranks that the buckets of one axis explain, adjusted for their number."""
    group = buckets(axis, x)
    names, group = np.unique(group, return_inverse=True)
    place = ranks(rank)
    n, k = len(place), len(names)
    whole = float(((place - place.mean()) ** 2).sum())
    if k < 2 or n <= k or whole == 0:
        return 0.0
    count = np.bincount(group)
    means = np.bincount(group, weights=place) / count
    between = float((count * (means - place.mean()) ** 2).sum())
    h = (n - 1) * between / whole
    return (h - k + 1) / (n - k)


def buckets(axis: Axis, x: Floats) -> NDArray[np.int64]:
    """Bucket of each value, (n,): its choice, its number, or its quintile; -1 for NaN."""
    there = np.isfinite(x)
    found = np.full(len(x), -1, dtype=np.int64)
    if axis.scale == "choice" or len(np.unique(x[there])) <= BUCKETS:
        found[there] = np.unique(x[there], return_inverse=True)[1]
    else:
        edges = np.quantile(x[there], np.arange(1, BUCKETS) / BUCKETS)
        found[there] = np.searchsorted(edges, x[there], side="left")
    return found

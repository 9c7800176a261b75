"""Importance of the hyperparameters for the result of a training, with a test against chance.

`share`: the fraction of the variance of the results that one axis explains by itself, everything else averaged over the
search space (functional ANOVA, Hutter, Hoos and Leyton-Brown, ICML 2014, http://proceedings.mlr.press/v32/hutter14).
The surrogate is scikit-learn's random forest, and the shares are multiplied by its R^2 on trials that it did not see.
The averages are over a fixed uniform sample of the space, not over the trials, which crowd where the sampler went.
Intervals are plus and minus 1.96 standard errors of the delete-half jackknife (Shao and Wu 1989,
https://doi.org/10.1214/aos/1176347263): the spread of the share over halves of the trials.

`explained`: the fraction of the variance of the results that five equal parts of one axis explain, or its choices,
adjusted for their number (Ezekiel's adjusted R^2). Quintiles of the trials would mostly divide the region that the
sampler prefers. The clearest axis matters if this is above the highest value of any axis in 95 % of 999 permutations of
the results (Westfall and Young 1993, "Resampling-based multiple testing": the maximum statistic holds for all axes
together). What it explains is then taken away, and the others are tested on the rest in the same way (Freedman and Lane
1983, https://doi.org/10.1080/07350015.1983.10509354): the sampler's draws are correlated, so that an axis without
influence would borrow some from another one.

In 100 made-up studies each, of 60 trials drawn by TPE with the pruner `halving`: where no axis has influence, one is
said to matter in 4 %; an axis with 80 % of the variance is found first in 97 %, with another one beside it in 4 %; one
with half of the variance is found in 73 % (of 60). tests/reports/analysis/test_importance.py repeats a part of this.

A result is the logarithm of a loss, or of 1 - value for a metric that is maximised: differences among good settings
count then as much as among bad ones. Trials that were stopped are compared where others were trained as long: see
`judged_trials`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.analysis.axes import Axis, axes, values
from reports.analysis.rungs import best_so_far, longest_epochs
from reports.analysis.statistics import NORMAL_975, Floats
from studies.record.reader import SweepRecord, TrialRecord
from studies.rungs import rung_epochs

FEWEST = 20
"""Compared trials that importance needs."""
SHUFFLES = 999
LEVEL = 0.05
"""Share of studies without any influence in which an axis is above the chance level."""
SEED = 0
"""So that the figures of a record are reproducible."""
TREES = 64
LEAF = 3
"""Fewest trials in a leaf of a tree: deeper trees would explain the noise of single trainings."""
HALVES = 8
"""Halves of the trials, for the standard errors."""
SAMPLE, GRID = 128, 10
"""Points of the space to average over, and values of each axis at which the averages are taken."""
PARTS = 5


@dataclass(frozen=True)
class Importance:
    """Importance of the searched axes, those that matter first; every array is (axes,).

    Attributes:
        names: of the axes; empty if there are too few trials.
        share: fraction of the variance of the results that an axis explains by itself in a random forest, 0 to 1.
        low, high: its 95 % interval.
        explained: fraction that five parts of the axis explain of what the clearer ones left; slightly below 0 by
            chance.
        chance: the level of `explained` that the highest axis without influence exceeds in 1 of 20 studies.
        matters: names of the axes that matter beyond chance, the clearest first.
        judged: number of compared trials.
    """

    names: tuple[str, ...]
    share: Floats
    low: Floats
    high: Floats
    explained: Floats
    chance: Floats
    matters: tuple[str, ...]
    judged: int

    @property
    def leading(self) -> str | None:
        """The axis that both measures put first; None if they differ, or none matters beyond chance."""
        is_first = bool(self.matters) and self.matters[0] == self.names[int(self.share.argmax())]
        return self.matters[0] if is_first else None


def importance(record: SweepRecord) -> Importance:
    """Importance of all searched axes; no names if there are too few trials."""
    found = _compared(record)
    shown, n = found.shown, len(found.results)
    if not shown:
        none = np.empty(0)
        return Importance((), none, none, none, none, none, (), n)
    matters, explained, chance = _against_chance(found)
    share, low, high = _shares(shown, np.column_stack(found.places), found.results)
    order = [*matters, *(index for index in np.lexsort((-explained, -share)) if index not in matters)]
    return Importance(
        names=tuple(shown[index].name for index in order),
        share=share[order],
        low=low[order],
        high=high[order],
        explained=explained[order],
        chance=chance[order],
        matters=tuple(shown[index].name for index in matters),
        judged=n,
    )


def what_matters(record: SweepRecord) -> list[str]:
    """`Importance.matters` without the forest, which takes most of the time of the rest."""
    found = _compared(record)
    return [found.shown[index].name for index in _against_chance(found)[0]] if found.shown else []


@dataclass(frozen=True)
class _Compared:
    """The compared trials on the searched axes, of which there are none if the trials are too few.

    Attributes:
        shown: the axes.
        places: for each axis the position of each trial, (n,).
        groups: for each axis the part that each trial is in, (n,).
        results: (n,), of `judged_trials`.
    """

    shown: list[Axis]
    places: list[Floats]
    groups: list[NDArray[np.int64]]
    results: Floats


def _compared(record: SweepRecord) -> _Compared:
    trials, results = judged_trials(record)
    shown = [axis for axis in axes(record.study["space"]) if axis.low < axis.high]
    if len(trials) < FEWEST:
        shown = []
    table = [values(axis, trials) for axis in shown]
    places = [_positions(axis, x) for axis, x in zip(shown, table, strict=True)]
    groups = [parts(axis, x) for axis, x in zip(shown, table, strict=True)]
    return _Compared(shown, places, groups, results)


def judged_trials(record: SweepRecord) -> tuple[list[TrialRecord], Floats]:
    """The trials that completed or were stopped, best first, and their results (n,), ascending.

    Trials are compared at the last rung that both reached: all are ordered by the first rung, then those that reached
    the next one are ordered anew among the places that they have, and so on. The results in this order are those at the
    last rung that all of them reached. Trials that diverged, ran out of memory or of time, or were stopped before the
    first rung, share the worst result.
    """
    longest = longest_epochs(record)
    judged = [trial for trial in record.trials if trial.state in ("complete", "pruned")]
    found: list[TrialRecord] = []
    results = np.empty(0)
    for rung in range(len(rung_epochs(longest, longest))):
        steps = [rung_epochs(int(trial.hyperparameters["epochs"]), longest)[rung] for trial in judged]
        keys = _keys(record, judged, steps)
        reached = sorted((trial for trial in judged if trial.number in keys), key=lambda trial: keys[trial.number])
        found = _reordered(found, reached) if found else reached
        if len(reached) == len(found):
            results = np.array([keys[trial.number][0] for trial in reached])
    ranked = {trial.number for trial in found}
    broken = [trial for trial in judged if trial.number not in ranked]
    return [*found, *broken], np.append(results, np.full(len(broken), results[-1] if len(results) else 0.0))


def _keys(
    record: SweepRecord, trials: Sequence[TrialRecord], steps: Sequence[int]
) -> dict[int, tuple[float, float, int]]:
    """For each trial that ran so many epochs its result, validation loss and number: the order of the search."""
    found = {}
    for trial, epochs in zip(trials, steps, strict=True):
        if trial.outcome in ("complete", "pruned") and len(trial.epochs) >= epochs:
            result = _result(record, best_so_far(record, trial, epochs))
            found[trial.number] = result, float(np.nanmin(trial.epochs["validation_loss"][:epochs])), trial.number
    return found


def _result(record: SweepRecord, value: float) -> float:
    """The logarithm of a loss, or of 1 - value; half an example is the least error that can be told."""
    least = 0.5 / record.validated if record.maximize else np.finfo(float).tiny
    return math.log(max(1 - value if record.maximize else value, least))


def _reordered(found: Sequence[TrialRecord], reached: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials with those that reached a further rung in their order there, in the places that these have."""
    numbers, following = {trial.number for trial in reached}, iter(reached)
    return [next(following) if trial.number in numbers else trial for trial in found]


# --- the test against chance


def _against_chance(found: _Compared) -> tuple[list[int], Floats, Floats]:
    """The axes that matter, the clearest first; and when each was tested, what it explained and the level of chance."""
    groups, places, results = found.groups, found.places, found.results
    rng = np.random.default_rng(SEED)
    shuffles = np.array([rng.permutation(len(results)) for _ in range(SHUFFLES)])
    matters: list[int] = []
    explained, chance = np.zeros(len(groups)), np.zeros(len(groups))
    while len(matters) < len(groups):
        rest = [axis for axis in range(len(groups)) if axis not in matters]
        model = _model([(groups[axis], places[axis]) for axis in matters], len(results))
        residuals = results[None] - (results[None] @ model) @ model.T
        shuffled = residuals[0][shuffles]
        shuffled = shuffled - (shuffled @ model) @ model.T
        explained[rest] = [explained_fraction(groups[axis], residuals)[0] for axis in rest]
        chance[rest] = np.quantile(
            np.max([explained_fraction(groups[axis], shuffled) for axis in rest], axis=0), 1 - LEVEL
        )
        clearest = rest[int(np.argmax(explained[rest]))]
        if explained[clearest] <= max(0.0, chance[clearest]):
            break
        matters.append(clearest)
    return matters, explained, chance


def _model(axes_: Sequence[tuple[NDArray[np.int64], Floats]], n: int) -> Floats:
    """An orthonormal basis, (n, columns), of the sums of functions that are linear in each part of each axis."""
    columns = [np.ones((n, 1))]
    for group, place in axes_:
        member = np.equal.outer(group, np.unique(group)).astype(np.float64)
        columns += [member, member * place[:, None]]
    basis, sizes, _ = np.linalg.svd(np.hstack(columns), full_matrices=False)
    return np.asarray(basis[:, sizes > 1e-9 * sizes[0]])


def explained_fraction(group: NDArray[np.int64], results: Floats) -> Floats:
    """Fraction of the variance that the groups explain, adjusted for their number.

    Args:
        group: (n,), the group of each trial.
        results: (repeats, n).

    Returns:
        (repeats,).
    """
    names, group = np.unique(group, return_inverse=True)
    n, k = len(group), len(names)
    centred = results - results.mean(axis=1, keepdims=True)
    whole = (centred**2).sum(axis=1)
    if k < 2 or n <= k:
        return np.zeros(len(results))
    member = np.eye(k)[group]
    between = ((centred @ member) ** 2 / member.sum(axis=0)).sum(axis=1)
    raw = np.divide(between, whole, out=np.full(len(results), (k - 1) / (n - 1)), where=whole > 0)
    return np.asarray((raw * (n - 1) - (k - 1)) / (n - k))


def parts(axis: Axis, x: Floats) -> NDArray[np.int64]:
    """The part of the axis that each value is in, (n,): its choice, its number, or one of five; -1 for NaN."""
    there = np.isfinite(x)
    found = np.full(len(x), -1, dtype=np.int64)
    if axis.scale == "choice" or len(np.unique(x[there])) <= PARTS:
        found[there] = np.unique(x[there], return_inverse=True)[1]
    else:
        place = np.array([axis.position(float(value)) for value in x[there]])
        found[there] = np.clip(place * PARTS, 0, PARTS - 1).astype(np.int64)
    return found


# --- shares of the variance


def _shares(shown: Sequence[Axis], places: Floats, results: Floats) -> tuple[Floats, Floats, Floats]:
    """The share of each axis, (axes,), and the ends of its interval."""
    rng = np.random.default_rng(SEED)
    sample = rng.random((SAMPLE, len(shown)))
    for column, axis in enumerate(shown):
        if axis.scale == "choice":
            sample[:, column] = np.floor(sample[:, column] * (axis.high + 1)) / axis.high
    points, sizes = _points(shown, sample)
    found = _main_effects(points, sizes, places, results, TREES)
    halves = [rng.permutation(len(results))[: len(results) // 2] for _ in range(HALVES)]
    spread = np.std([_main_effects(points, sizes, places[half], results[half], TREES // 2) for half in halves], axis=0)
    return found, np.maximum(found - NORMAL_975 * spread, 0.0), np.minimum(found + NORMAL_975 * spread, 1.0)


def _points(shown: Sequence[Axis], sample: Floats) -> tuple[Floats, list[int]]:
    """For each axis the sample at each position of its grid, all in one array; and the sizes of the grids.

    One array, because a call of a forest takes 10 ms however few points it is for.
    """
    grids = [_grid(axis) for axis in shown]
    points = [np.tile(sample, (len(grid), 1)) for grid in grids]
    for column, (block, grid) in enumerate(zip(points, grids, strict=True)):
        block[:, column] = np.repeat(grid, len(sample))
    return np.vstack([sample, *points]), [len(grid) for grid in grids]


def _main_effects(points: Floats, sizes: Sequence[int], places: Floats, results: Floats, trees: int) -> Floats:
    """The share of each axis in the variance of a random forest's predictions, times what they explain, (axes,).

    The second factor is R^2 on the trials that a tree did not see: a forest that only learnt noise has no shares.
    """
    if not np.ptp(results):
        return np.zeros(len(sizes))
    from sklearn.ensemble import RandomForestRegressor  # a second to import, for studies with enough trials only

    forest = RandomForestRegressor(trees, min_samples_leaf=LEAF, oob_score=True, random_state=SEED)
    forest.fit(places, results)
    means = forest.predict(points).reshape(-1, SAMPLE)
    whole = float(np.var(means[0]))
    if not whole or forest.oob_score_ <= 0:
        return np.zeros(len(sizes))
    effects = [np.var(part.mean(axis=1)) for part in np.split(means[1:], np.cumsum(sizes)[:-1])]
    return np.array(effects) / whole * float(forest.oob_score_)


def _grid(axis: Axis) -> Floats:
    """Positions along an axis, each standing for an equal part of it."""
    if axis.scale == "choice":
        return np.arange(axis.high + 1) / axis.high
    return (np.arange(GRID) + 0.5) / GRID


def _positions(axis: Axis, x: Floats) -> Floats:
    """Values as positions along the axis, 0 to 1; the middle where it does not apply, as to layers that are absent."""
    if axis.scale == "choice":
        return x / axis.high
    return np.array([axis.position(float(value)) if np.isfinite(value) else 0.5 for value in x])

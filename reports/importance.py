"""Which hyperparameters separate the best trials from the rest, and whether that is more than chance.

The score is PED-ANOVA's (Watanabe, Bansal and Hutter, IJCAI 2023, https://arxiv.org/abs/2304.10255): the Pearson
divergence between the density of the top trials along one axis and the density of all judged trials. Completed,
pruned and diverged ones are judged: the last two belong to "all", not to the top, and without them the bad region,
which the sampler paid to find, would not exist. It does not say how much of the variance an axis explains.

Beside each score stands what the common tools leave out: the score that the axis would reach by chance, found by
shuffling the objective among the trials. (A bootstrap interval was tried and left out: repeated trials sharpen the
densities, so that every interval lies above its own score.)
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from reports.dimensions import Axis, axes, values
from reports.records import SweepRecord

Floats = NDArray[np.float64]

FEWEST = 20  # judged trials: below it the five of the top group would be more than a quarter of them
TOP_SHARE = 0.1  # of the judged trials, but never fewer than TOP_FEWEST of them, all of them completed
TOP_FEWEST = 5  # what PED-ANOVA asks for
SHUFFLES = 19  # an axis without influence exceeds the highest of 19 in 1 of 20 records: a test at 5 %, exactly
SEED = 0  # the chance levels of one record are always the same


@dataclass(frozen=True)
class Importance:
    """Scores of the searched axes, highest first; every array is (axes,).

    Attributes:
        names: of the axes; empty when there are too few trials to rank them.
        score: PED-ANOVA's divergence, 0 without influence.
        chance: the highest score in `SHUFFLES` shuffles of the objective among the trials.
        top: number of trials in the top group.
        judged: number of completed, pruned and diverged trials.
    """

    names: tuple[str, ...]
    score: Floats
    chance: Floats
    top: int
    judged: int

    def clear(self) -> list[str]:
        """The axes whose score lies above chance, highest first."""
        return [name for name, score, chance in zip(self.names, self.score, self.chance, strict=True) if score > chance]


def importance(record: SweepRecord) -> Importance:
    """Scores of all searched axes with their chance levels; no names where there are too few trials to rank them."""
    ranked = record.ranked()
    trials = [*ranked, *(trial for trial in record.trials if trial.state == "pruned")]
    shown = [axis for axis in axes(record.study["space"]) if axis.low < axis.high]
    n, top = len(trials), max(TOP_FEWEST, round(TOP_SHARE * len(trials)))
    if n < FEWEST or len(ranked) < top or not shown:
        return Importance((), np.empty(0), np.empty(0), top=top, judged=n)
    table = np.array([values(axis, trials) for axis in shown]).T
    rank = np.arange(n, dtype=np.float64)  # the trials are ranked, and only ranks matter to a top group
    rng = np.random.default_rng(SEED)
    with _quiet():
        score = _scores(shown, table, rank, top)
        shuffled = np.array([_scores(shown, table, rng.permutation(rank), top) for _ in range(SHUFFLES)])
    chance = shuffled.max(axis=0)
    order = np.argsort(-score, kind="stable")
    names = tuple(shown[index].name for index in order)
    return Importance(names, score[order], chance[order], top, n)


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna announces every study it makes, and warns that the evaluator is new."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(level)


def _scores(shown: Sequence[Axis], table: Floats, rank: Floats, top: int) -> Floats:
    """PED-ANOVA of every axis, (axes,), for trials (n, axes) with ranks (n,), 0 the best."""
    study = optuna.create_study(storage=None, sampler=optuna.samplers.RandomSampler(seed=SEED))
    study.add_trials(_trials(shown, table, rank))
    share = top / len(rank)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=share)
    found = evaluator.evaluate(study)
    # The evaluator multiplies by the square of the share; without it, samples of any size compare.
    return np.array([found.get(axis.name, 0.0) for axis in shown]) / share**2


def _trials(shown: Sequence[Axis], table: Floats, rank: Floats) -> list[optuna.trial.FrozenTrial]:
    distributions = {axis.name: _distribution(axis) for axis in shown}
    rows = [
        {axis.name: _cell(axis, value) for axis, value in zip(shown, row, strict=True) if np.isfinite(value)}
        for row in table
    ]
    return [
        optuna.trial.create_trial(params=row, distributions={k: distributions[k] for k in row}, value=float(value))
        for row, value in zip(rows, rank, strict=True)
    ]


def _distribution(axis: Axis) -> BaseDistribution:
    if axis.scale == "choice":
        return CategoricalDistribution(tuple(range(len(axis.choices))))
    if axis.integer:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.scale == "log")
    return FloatDistribution(axis.low, axis.high, log=axis.scale == "log")


def _cell(axis: Axis, value: float) -> int | float:
    """A value as its distribution holds it; decoding 1 - value may have moved it past an end by a rounding error."""
    if axis.scale == "choice" or axis.integer:
        return int(value)
    return float(min(max(value, axis.low), axis.high))

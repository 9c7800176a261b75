"""Optuna's TPE with the same draws to the last bit, without computing anew for every trial what never changes.

After 10,000 trials two thirds of a draw were loops in Python: over all trials for numbers that were known at the draw
before, and over single calls of the error function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from heapq import nsmallest
from itertools import repeat
from typing import Any, cast

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe import _truncnorm  # the range of versions in pyproject.toml keeps it known
from optuna.samplers._tpe.sampler import _get_pruned_trial_score, default_gamma
from optuna.search_space import IntersectionSearchSpace
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

_COUNTED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
_ROOT = 2**0.5


class Known:
    """What a search knows about its finished trials; one for the samplers of all its trials.

    Attributes:
        space: the parameters that all trials share.
    """

    def __init__(self) -> None:
        self.space = IntersectionSearchSpace(include_pruned=True)
        self._names: tuple[str, ...] = ()
        self._points = np.empty((0, 0))

    def points(
        self, names: Sequence[str], trials: Sequence[FrozenTrial], convert: Callable[[FrozenTrial], Sequence[float]]
    ) -> NDArray[np.float64]:
        """What Optuna calls internal representations: (trials, names), converted once for a finished trial."""
        numbers = np.fromiter((trial.number for trial in trials), np.intp, len(trials))
        self._make_room(tuple(names), int(numbers.max(initial=-1)) + 1)
        found = self._points[numbers]
        for place in np.flatnonzero(np.isnan(found[:, 0])).tolist():
            found[place] = convert(trials[place])
            if trials[place].state.is_finished():
                self._points[numbers[place]] = found[place]
        return found

    def _make_room(self, names: tuple[str, ...], size: int) -> None:
        """Rows of NaN, which no parameter is, for trials that were never looked at; a power of two in all."""
        if names != self._names:
            self._names, self._points = names, np.full((0, len(names)), math.nan)
        if size > len(self._points):
            more = (1 << (size - 1).bit_length()) - len(self._points)
            self._points = np.concatenate([self._points, np.full((more, len(names)), math.nan)])


class Tpe(TPESampler):
    """Optuna's TPE, which looks up what is known about finished trials and sorts no more of them than it needs.

    Args:
        seed: of its draws.
        known: shared by the samplers of a search.
    """

    def __init__(self, seed: int, known: Known) -> None:
        super().__init__(seed=seed)
        self._known = known
        self._search_space = known.space

    def _sample(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As Optuna's for one objective without constraints, where only the best 25 trials need be found."""
        known = [other for other in study.get_trials(deepcopy=False, states=_COUNTED) if other.number != trial.number]
        below, above = _split(study, known)
        better = self._build_parzen_estimator(study, search_space, below, handle_below=True)
        others = self._build_parzen_estimator(study, search_space, above, handle_below=False)
        candidates = better.sample(self._rng.rng, self._n_ei_candidates)
        drawn = self._compare(candidates, self._compute_acquisition_func(candidates, better, others))
        return {name: kind.to_external_repr(drawn[name]) for name, kind in search_space.items()}

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], study: optuna.Study
    ) -> dict[str, NDArray[np.float64]]:
        def convert(trial: FrozenTrial) -> list[float]:
            params: Mapping[str, object] = trial.params
            return [float(kind.to_internal_repr(params[name])) for name, kind in search_space.items()]

        found = self._known.points(list(search_space), trials, convert)
        return {name: found[:, i] for i, name in enumerate(search_space)}


def _split(study: optuna.Study, trials: Sequence[FrozenTrial]) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
    """The best tenth of the trials that ended, at most 25, and the others with those that run; both by number.

    Completed ones come first, by value; then pruned ones, by how far they came. Optuna sorts all of them.
    """
    sign = 1 if study.direction == StudyDirection.MINIMIZE else -1
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    size = default_gamma(len(complete) + len(pruned))
    best = nsmallest(size, complete, key=lambda trial: sign * cast(float, trial.value))
    best += nsmallest(size - len(best), pruned, key=lambda trial: _get_pruned_trial_score(trial, study))
    numbers = {trial.number for trial in best}
    below: list[FrozenTrial] = []
    above: list[FrozenTrial] = []
    for trial in trials:
        (below if trial.number in numbers else above).append(trial)
    return below, above


def log_ndtr(a: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the standard normal distribution function, elementwise, to the bits of Optuna's own.

    Optuna runs a loop in Python for every element. The functions of the C library are the same as there: NumPy and
    SciPy have theirs, which round some numbers differently.
    """
    x, found = a / _ROOT, np.empty_like(a)
    left, middle, far = x < -1 / _ROOT, x < 1 / _ROOT, a > 6
    deep = ~(a > -20)
    mass = np.empty_like(a)
    mass[left] = 0.5 * _each(math.erfc, -x[left])
    mass[~left & middle] = 0.5 + 0.5 * _each(math.erf, x[~left & middle])
    mass[~middle] = 1.0 - 0.5 * _each(math.erfc, x[~middle])
    near = ~(deep | far)
    found[near] = _each(math.log, mass[near])
    found[far] = -(0.5 * _each(math.erfc, x[far]))
    found[deep] = _log_tail(a[deep])
    return found


def _log_tail(a: NDArray[np.float64]) -> NDArray[np.float64]:
    """`log_ndtr` below -20, by the asymptotic series; each element gets as many terms as it would alone."""
    square = np.fromiter(map(pow, a.tolist(), repeat(2)), np.float64, a.size)  # C's pow need not be NumPy's product
    head = -0.5 * square - _each(math.log, -a) - 0.5 * math.log(2 * math.pi)
    total, before, factor, numerator = np.ones_like(a), np.zeros_like(a), np.ones_like(a), 1.0
    term = 0
    while (open_ := np.abs(before - total) > np.finfo(np.float64).eps).any():
        term += 1
        before = np.where(open_, total, before)
        factor *= 1 / square
        numerator *= 2 * term - 1
        total = np.where(open_, total + (-1) ** term * numerator * factor, total)
    return head + _each(math.log, total)


def _each(function: Callable[[float], float], numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.fromiter(map(function, numbers.tolist()), np.float64, numbers.size)


_truncnorm._log_ndtr = log_ndtr

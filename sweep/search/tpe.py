"""Optuna's TPE that learns from paused and pruned trials by their rung, knows costs, and is fast after many trials.

With completed trials only, and equal costs, its proposals are Optuna's to the bit.

After 10,000 trials Optuna spends most of the time on the logarithm of the normal distribution function, which it
evaluates in a Python loop for every kernel, and on repeated conversion of the parameters of finished trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator  # pyproject.toml pins the versions that have these
from optuna.samplers._tpe.probability_distributions import (
    _BatchedCategoricalDistributions,
    _BatchedDistributions,
    _MixtureOfProductDistribution,
    _unique_inverse_2d,
)
from optuna.samplers._tpe.sampler import default_gamma
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial, TrialState

from sweep.search.standings import Standings

Array = NDArray[np.float64]
LogCost = Callable[[Mapping[str, Any]], float]
"""The logarithm of the cost of an epoch with these of Optuna's parameters."""

COST_WEIGHT = 0.25
"""How much the logarithm of the cost counts beside that of the density ratio.

A setting that costs 18 times another's must be 2 times as promising (18^0.25): of settings that seem equally good, the
cheaper one is drawn. On the recorded learning curves it neither pays nor costs (tests/benchmarks/README.md).
"""

TIE_TOLERANCE = 1e-6
"""Log density ratios closer than this are recomputed by Optuna; the values here differ from Optuna's by 1e-10."""
UPPER_SIGMA = 9.0
"""Standard deviations above which the distribution function is 1 in float64."""
LOWER_SIGMA = 20.0
"""Standard deviations beyond which a kernel's mass (3e-89) counts as 0; the prior's kernel always has more."""


class TrialCache:
    """Parameters of finished trials as Optuna's internal numbers, and the space that all trials share.

    Shared by the samplers of all trials of a search: each trial has a new sampler, but finished trials do not change.
    """

    def __init__(self) -> None:
        self.space = IntersectionSearchSpace(include_pruned=True)
        self._names: tuple[str, ...] = ()
        self._rows = np.empty((0, 0))

    def rows(
        self, names: Sequence[str], trials: Sequence[FrozenTrial], convert: Callable[[FrozenTrial], Sequence[float]]
    ) -> Array:
        """(trials, names): internal numbers of the parameters; `convert` is called once for a finished trial."""
        numbers = np.fromiter((trial.number for trial in trials), np.intp, len(trials))
        self._make_room(tuple(names), int(numbers.max(initial=-1)) + 1)
        found = self._rows[numbers]
        for place in np.flatnonzero(np.isnan(found[:, 0])).tolist():
            found[place] = convert(trials[place])
            if trials[place].state.is_finished():
                self._rows[numbers[place]] = found[place]
        return found

    def _make_room(self, names: tuple[str, ...], size: int) -> None:
        """Add rows of NaN for trials not yet converted (no parameter is NaN); their total is a power of two."""
        if names != self._names:
            self._names, self._rows = names, np.full((0, len(names)), math.nan)
        if size > len(self._rows):
            more = (1 << (size - 1).bit_length()) - len(self._rows)
            self._rows = np.concatenate([self._rows, np.full((more, len(names)), math.nan)])


class RungTPESampler(TPESampler):
    """Optuna's `TPESampler` that compares trials at a rung, and prefers cheap settings among equally promising ones.

    Args:
        seed: of its draws.
        cache: shared by the samplers of a search.
        standings: of the trials at each rung.
        log_cost: the logarithm of the cost of Optuna's parameters.
    """

    def __init__(self, seed: int, cache: TrialCache, standings: Standings, log_cost: LogCost) -> None:
        super().__init__(seed=seed)
        self._cache = cache
        self._search_space = cache.space
        self._standings = standings
        self._log_cost = log_cost

    def _sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Optuna's method, but for the trials that it learns from."""
        known = self._standings.known
        split = self._standings.best_and_rest(known, default_gamma(known))
        if split is None or not search_space:
            return {}
        trials = study.get_trials(deepcopy=False)
        running = [t.number for t in trials if t.state == TrialState.RUNNING and t.number != trial.number]
        below, above = ([trials[number] for number in sorted(numbers)] for numbers in (split[0], [*split[1], *running]))
        better = self._build_parzen_estimator(study, search_space, below, handle_below=True)
        others = self._build_parzen_estimator(study, search_space, above, handle_below=False)
        candidates = better.sample(self._rng.rng, self._n_ei_candidates)
        scores = self._compute_acquisition_func(candidates, better, others)
        fixed = {name: value for name, value in trials[0].params.items() if name not in search_space}
        drawn = self._compare(candidates, scores - COST_WEIGHT * self._log_costs(candidates, search_space, fixed))
        return {name: kind.to_external_repr(drawn[name]) for name, kind in search_space.items()}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw at random: the parameters of the first trials, and those that have a single value."""
        return self._random_sampler.sample_independent(study, trial, param_name, param_distribution)

    def _log_costs(
        self, candidates: Mapping[str, Array], space: Mapping[str, BaseDistribution], fixed: Mapping[str, Any]
    ) -> Array:
        """(candidates,): the logarithm of the cost of each; `fixed` are parameters that have a single value."""
        columns = [map(kind.to_external_repr, candidates[name].tolist()) for name, kind in space.items()]
        rows = (dict(zip(space, row, strict=True)) for row in zip(*columns, strict=True))
        return np.array([self._log_cost({**fixed, **row}) for row in rows])

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], study: optuna.Study
    ) -> dict[str, Array]:
        def convert(trial: FrozenTrial) -> list[float]:
            return [float(kind.to_internal_repr(trial.params[name])) for name, kind in search_space.items()]

        found = self._cache.rows(list(search_space), trials, convert)
        return {name: found[:, i] for i, name in enumerate(search_space)}

    def _compute_acquisition_func(
        self, samples: dict[str, Array], mpe_below: _ParzenEstimator, mpe_above: _ParzenEstimator
    ) -> Array:
        """(candidates,): log density ratios, of which the largest is chosen; Optuna's if two candidates nearly tie."""
        points = mpe_below._transform(samples)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios: Array = np.log(_density(points, mpe_below._mixture_distribution))
            ratios -= np.log(_density(points, mpe_above._mixture_distribution))
        best = points[ratios >= ratios.max() - TIE_TOLERANCE]
        if np.isfinite(ratios).all() and (best == best[0]).all():
            return ratios
        return super()._compute_acquisition_func(samples, mpe_below, mpe_above)


def _density(points: Array, mixture: _MixtureOfProductDistribution) -> Array:
    """(candidates,): density of a mixture of products at points of shape (candidates, parameters).

    Logarithms are not needed: a kernel that underflows in float64 contributes nothing to the sum over the kernels.
    """
    product = np.tile(mixture.weights, (len(points), 1))
    for x, kernels in zip(points.T, mixture.distributions, strict=True):
        product *= _kernels(x, kernels)
    return np.asarray(product.sum(axis=1))


def _kernels(x: Array, kernels: _BatchedDistributions) -> Array:
    """(candidates, kernels): density, or probability of a discrete value; NaN for a value out of bounds."""
    if isinstance(kernels, _BatchedCategoricalDistributions):
        return np.asarray(kernels.weights[:, x.astype(np.intp)].T)
    return _discrete(x, kernels) if kernels.step else _continuous(x, kernels)


def _continuous(x: Array, kernels: Any) -> Array:
    low, high, mu, sigma = kernels.adapted_low, kernels.adapted_high, kernels.mu, kernels.sigma
    x = np.log(x) if kernels.is_log else x
    x = np.where((x < low) | (x > high), np.nan, x)  # out of bounds by rounding; Optuna recomputes it
    z = (x[:, np.newaxis] - mu) / sigma
    scale = math.sqrt(2 * math.pi) * sigma * _mass((low - mu) / sigma, (high - mu) / sigma)
    return np.asarray(np.exp(-0.5 * z * z) / scale)


def _discrete(x: Array, kernels: Any) -> Array:
    """Each distinct pair of value and width is computed once, because many trials share a value."""
    mu, sigma, column = _unique_inverse_2d(kernels.mu, kernels.sigma)
    x, row = np.unique(x, return_inverse=True)
    edges = np.stack([x - kernels.step / 2, x + kernels.step / 2])
    left, right = np.log(edges) if kernels.is_log else edges
    mass = _mass((left[:, np.newaxis] - mu) / sigma, (right[:, np.newaxis] - mu) / sigma)
    mass /= _mass((kernels.adapted_low - mu) / sigma, (kernels.adapted_high - mu) / sigma)
    return np.asarray(mass[np.ix_(row, column)])


def _mass(a: Array, b: Array) -> Array:
    """Probability of [a, b] under the standard normal distribution, with full precision in both tails."""
    right = a > 0
    return _ndtr(np.where(right, -a, b)) - _ndtr(np.where(right, -b, a))


def _ndtr(a: Array) -> Array:
    """Standard normal distribution function; the C library's erfc only where it is neither 0 nor 1."""
    found = (a > 0).astype(float)
    near = (a > -LOWER_SIGMA) & (a < UPPER_SIGMA)
    found[near] = [0.5 * math.erfc(x) for x in (a[near] * -math.sqrt(0.5)).tolist()]
    return found

"""The samplers of a study: TPE, random and quasi-Monte Carlo, each seeded for one trial."""

from __future__ import annotations

import warnings

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, QMCSampler, RandomSampler
from optuna.trial import FrozenTrial

from studies.definition import Study
from sweep.search.standings import Standings
from sweep.search.tpe import LogCost, RungTPESampler, TrialCache

SAMPLER_STREAM = 0x53414D50
"""Seed-stream identifier of the samplers."""


def make_sampler(study: Study, begun: int, cache: TrialCache, standings: Standings, log_cost: LogCost) -> BaseSampler:
    """The sampler for the next trial, seeded by (study seed, trials so far), so that a resumed study repeats none.

    Args:
        study: the study definition.
        begun: number of trials proposed so far.
        cache: shared by the samplers of a search.
        standings: of the trials, from which TPE learns.
        log_cost: of an epoch, for TPE.
    """
    seed = int(np.random.SeedSequence([study.seed, begun, SAMPLER_STREAM]).generate_state(1)[0])
    if study.sampler == "qmc":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # since 3.0; its interface is pinned
            return _NumberedQMCSampler(study.seed, max(0, begun - 1 - len(study.start)))
    return RungTPESampler(seed, cache, standings, log_cost) if study.sampler == "tpe" else RandomSampler(seed=seed)


class _NumberedQMCSampler(QMCSampler):
    """Sobol points whose index is the number of drawn trials before; Optuna's counter would restart at every start."""

    def __init__(self, seed: int, index: int) -> None:
        super().__init__(qmc_type="sobol", scramble=True, seed=seed % 2**32, warn_independent_sampling=False)
        self._index = index

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The space of all trials, from the first; Optuna searches all trials for one that has finished."""
        return dict(study.get_trials(deepcopy=False)[0].distributions)

    def _find_sample_id(self, study: optuna.Study, search_space: dict[str, BaseDistribution]) -> int:
        return self._index

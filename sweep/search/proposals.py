"""The in-memory Optuna study of a search: its sampler draws settings, its pruner judges trials.

It is rebuilt from the database at start. A proposal is written to the database in one commit before it is used: `ask`
and `suggest` on SQLite would need a dozen commits, and a kill between two of them would continue a trial with other
settings.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from copy import copy
from datetime import datetime
from typing import Any

import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import FixedTrial, FrozenTrial, Trial, TrialState, create_trial

from model.cost import CostModel
from model.hyperparameters import Hyperparameters
from studies.definition import Study
from studies.record.schema import REPEATS
from sweep.search.pruners import Hyperband, Median, make_pruner
from sweep.search.samplers import make_sampler
from sweep.search.standings import Standings
from sweep.search.tpe import TrialCache
from sweep.search.untried import untried

RUNG_PREFIX = "completed_rung_"
"""Of the system attributes in which Optuna's Hyperband keeps the values of a trial."""


class Proposals:
    """Proposes settings and decides on pruning.

    Args:
        study: the study definition.
        standings: of the trials at each rung, from which TPE learns; changed by the search.
        cost: of an epoch.
    """

    def __init__(self, study: Study, standings: Standings, cost: CostModel) -> None:
        self._definition = study
        self._standings = standings
        self._cost = cost
        self._storage = InMemoryStorage()  # in this storage a trial's id is its number
        self._study = optuna.create_study(
            storage=self._storage, study_name="search", direction=study.direction, pruner=make_pruner(study)
        )
        self._cache = TrialCache()
        self._first: dict[Hyperparameters, int] = {}

    def restore(self, trial: FrozenTrial, settings: Hyperparameters, state: TrialState) -> None:
        """Add a recorded trial; `trial` is changed.

        Args:
            trial: as recorded.
            settings: its hyperparameters.
            state: RUNNING if its result must not be used yet, PRUNED if it is paused, else its own.
        """
        steps = {self._step(settings, epoch): value for epoch, value in trial.intermediate_values.items()}
        trial.intermediate_values = steps if trial.state.is_finished() else {}  # a running one reports them again
        trial.user_attrs = {}
        trial.system_attrs = {k: v for k, v in trial.system_attrs.items() if k.startswith(RUNG_PREFIX)}
        trial.state, trial.values = state, trial.values if state == TrialState.COMPLETE else None
        # Replaces a new trial: passing it as a template would deep-copy it, half of the time of a start.
        trial._trial_id = self._storage.create_new_trial(self._study._study_id)
        self._storage._set_trial(trial._trial_id, trial)
        self._first.setdefault(settings, trial.number)
        if isinstance(self._study.pruner, Median | Hyperband):
            self._study.pruner.learn(self._study, trial)

    def propose(self, begun: int, given: Hyperparameters | None) -> FrozenTrial:
        """The next trial, with its hyperparameters as a user attribute.

        In a finite space every setting is proposed once before any is repeated.

        Args:
            begun: number of trials proposed so far.
            given: its settings; None to draw them.
        """
        self._study.sampler = make_sampler(self._definition, begun, self._cache, self._standings, self._log_cost)
        if given is not None:
            self._study.enqueue_trial(self._definition.encode(given))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            drawn = self._study.ask()
            settings = self._definition.draw(drawn)
        settings = given or self._different(drawn, settings)
        params = self._storage.get_trial(begun).params  # `drawn` has those that were drawn, not their replacement
        attributes: dict[str, Any] = {"hyperparameters": settings.as_dict()}
        if self._first.setdefault(settings, begun) != begun:
            attributes[REPEATS] = self._first[settings]
        return create_trial(
            state=TrialState.RUNNING, params=params, distributions=drawn.distributions, user_attrs=attributes
        )

    def should_prune(self, number: int, settings: Hyperparameters, epoch: int, value: float) -> bool:
        """Report a trial's value after an epoch, from 0; return whether the pruner would stop it."""
        trial = Trial(self._study, number)
        trial.report(value, self._step(settings, epoch))
        return bool(trial.should_prune())

    def end(self, number: int, state: TrialState, value: float | None) -> None:
        """Note that a trial ended, or that it paused as PRUNED: it may be used as it is."""
        ended = copy(self._storage.get_trial(number))
        ended.state, ended.datetime_complete = state, datetime.now()
        ended.values = [value] if state == TrialState.COMPLETE and value is not None else None
        self._storage._set_trial(number, ended)
        if isinstance(self._study.pruner, Median):
            self._study.pruner.learn(self._study, ended)

    def stored(self, number: int) -> Mapping[str, Any]:
        """What the pruner stored about a trial, to be recorded for the next start."""
        attributes = self._storage.get_trial(number).system_attrs
        return {key: content for key, content in attributes.items() if key.startswith(RUNG_PREFIX)}

    def _different(self, drawn: Trial, settings: Hyperparameters) -> Hyperparameters:
        """The drawn settings, or other ones if they were tried before and there are others."""
        if settings not in self._first:
            return settings
        other = untried(self._definition, self._first, [self._definition.seed, drawn.number])
        if other is None:
            return settings
        replaced = copy(self._storage.get_trial(drawn._trial_id))
        replaced.params = self._definition.encode(other)
        self._storage._set_trial(drawn._trial_id, replaced)
        return other

    def _step(self, settings: Hyperparameters, epoch: int) -> int:
        """The step that Optuna sees: trials of different lengths are compared at the same share of their epochs."""
        return math.ceil((epoch + 1) * self._definition.longest_epochs / settings.epochs) - 1

    def _log_cost(self, params: Mapping[str, Any]) -> float:
        """The logarithm of the cost of an epoch with these of Optuna's parameters."""
        return math.log(self._cost.epoch(self._definition.draw(FixedTrial(dict(params)))))

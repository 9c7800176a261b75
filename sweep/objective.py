"""The sweep's objective function as a callable for Optuna, for use in notebooks.

    objective = Objective("digits")
    study = optuna.create_study(direction="minimize")
    study.enqueue_trial(objective.params(hidden_sizes=[64], beta2=0.99))
    study.optimize(objective, n_trials=20)
    objective.hyperparameters(study.best_trial)
    objective.fit(study.best_trial).predict(images)

The same settings, seed and trial number give the same numbers as `sweep run` records.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from optuna.trial import BaseTrial, FixedTrial, FrozenTrial, Trial

from model.data import datasets
from model.epoch_selection import EpochSelection
from model.folds import Folds
from model.hyperparameters import Hyperparameters
from model.training import Diverged
from studies.definition import Study
from studies.folds import with_folds
from studies.study_file import load
from sweep.champion_classifier import ChampionClassifier

__all__ = ["Objective"]


class Objective:
    """Train a network with a trial's hyperparameters; return the objective at the selected epoch.

    Args:
        study: a study, its name, or the path of its file.
        cache: folder for prepared datasets.

    Raises:
        StudyError, DatasetError: the study or its data cannot be used.
    """

    def __init__(self, study: Study | str | Path, cache: str | Path = "runs/data") -> None:
        study = study if isinstance(study, Study) else load(str(study))
        folder = datasets.prepare(study.source, Path(cache))
        self._study = with_folds(study, folder)
        self._data = datasets.load_folds(folder, self._study.seed, self._study.folds)
        self._names = self._study.encode(self._study.baseline).keys()

    def __call__(self, trial: BaseTrial) -> float:
        """The objective of a trial. A `FixedTrial` may have Optuna's parameters, or hyperparameters by name.

        Raises:
            TrialPruned: the trial is pruned or diverges.
            ValueError: the Optuna study has another direction, or the trial has parameters that cannot be used.
        """
        if isinstance(trial, Trial):
            self._require_direction(trial.study)
        folds = self._folds(trial.number, self._settings(trial))
        try:
            for epoch in folds.train():
                trial.report(self._value(folds), epoch.index)
                if trial.should_prune():
                    raise optuna.TrialPruned(f"behind the other trials after epoch {epoch.index + 1}")
        except Diverged as error:
            raise optuna.TrialPruned(str(error)) from error
        return self._value(folds)

    def params(self, **hyperparameters: Any) -> dict[str, Any]:
        """Optuna's parameters for hyperparameters by name, for `optuna.Study.enqueue_trial`.

        Optuna draws those that are not named. Its own names differ where it searches another quantity, such as
        `one_minus_beta2` and `hidden_sizes.layers`.

        Raises:
            ValueError: a name is unknown or not searched, or a value is invalid or outside the search space.
        """
        return self._study.encode_some(hyperparameters)

    def hyperparameters(self, trial: BaseTrial) -> Hyperparameters:
        """The hyperparameters of a trial, such as `study.best_trial`.

        Raises:
            ValueError: the trial lacks parameters of this study.
        """
        return self._study.draw(trial)

    def fit(self, trial: FrozenTrial) -> ChampionClassifier:
        """Train the network of a trial again, to the same bits; the weights are those of the selected epoch.

        Of a study with several folds it is the network of fold 0.

        Returns:
            A scikit-learn classifier of raw examples, as they are in the dataset.

        Raises:
            Diverged: the loss is no longer finite.
        """
        folds = self._folds(trial.number, self.hyperparameters(trial))
        for _ in folds.train():
            pass
        return ChampionClassifier(folds.classifier())

    def _folds(self, number: int, settings: Hyperparameters) -> Folds:
        selection = EpochSelection(self._study.objective, self._study.epoch)
        return Folds.of(settings, self._data, [self._study.seed, number], selection)

    def _settings(self, trial: BaseTrial) -> Hyperparameters:
        """The hyperparameters of a trial; nothing that it was given is dropped."""
        if isinstance(trial, FixedTrial) and trial._params.keys() != self._names:
            given = {**self._study.encode(self._study.baseline), **self.params(**trial._params)}
            return self._study.draw(FixedTrial(given, number=trial.number))
        if isinstance(trial, Trial):
            self._require_usable(trial)
        return self._study.draw(trial)

    def _require_direction(self, study: optuna.Study) -> None:
        found = [direction.name.lower() for direction in study.directions]
        if found != [self._study.direction]:
            raise ValueError(
                f"{self._study.objective} needs an Optuna study with direction {self._study.direction!r}, but this one "
                f"has {', '.join(map(repr, found))}; create it with "
                f"optuna.create_study(direction={self._study.direction!r})"
            )

    def _require_usable(self, trial: Trial) -> None:
        """Check the parameters of an enqueued trial: Optuna ignores unknown names, and only warns of wrong values."""
        given = trial.study._storage.get_trial_system_attrs(trial._trial_id).get("fixed_params", {})
        try:
            if unknown := given.keys() - self._names:
                raise ValueError(f"{min(unknown)!r} is not a parameter of this study")
            fixed = FixedTrial({**self._study.encode(self._study.baseline), **given})
            self._study.draw(fixed)
            for name, kind in fixed.distributions.items():
                if not kind._contains(kind.to_internal_repr(fixed.params[name])):
                    raise ValueError(f"{name} is not in {kind}")
        except ValueError as error:
            raise ValueError(
                f"trial {trial.number} was enqueued with {given}: {error}\n"
                "enqueue hyperparameters by name with study.enqueue_trial(objective.params(...))"
            ) from error

    def _value(self, folds: Folds) -> float:
        assert folds.selected is not None
        return folds.selected.validation[self._study.metric.name]

"""The sweep's objective function as a callable for Optuna, for use in notebooks.

    study = optuna.create_study(direction="minimize")
    study.optimize(Objective("digits"), n_trials=20)
    Objective("digits")(optuna.trial.FixedTrial({...}))

The same settings, seed and trial number give the same numbers as `sweep run` records.
"""

from __future__ import annotations

from pathlib import Path

import optuna

from model.data import datasets
from model.epoch import EpochSelection
from model.training import Diverged, TrainingState, train
from studies.definition import Study
from studies.study_file import load

__all__ = ["Objective"]


class Objective:
    """Train a network with a trial's hyperparameters; return the objective at the selected epoch.

    Args:
        study: a study, its name, or the path of its file.
        cache: folder for prepared datasets.

    Raises:
        StudyError, DatasetError: the study or its data cannot be used.
    """

    def __init__(self, study: Study | str, cache: Path = Path("runs/data")) -> None:
        self._study = study if isinstance(study, Study) else load(study)
        self._data = datasets.load(datasets.prepare(self._study.source, cache), self._study.seed)

    def __call__(self, trial: optuna.trial.BaseTrial) -> float:
        """Return the objective; raises `TrialPruned` if the trial is pruned or diverges."""
        study, data = self._study, self._data
        selection, seed = EpochSelection(study.objective, study.epoch), [study.seed, trial.number]
        state = TrainingState.of(study.draw(trial), data, seed, selection)
        try:
            for epoch in train(state, data.train, data.validation):
                trial.report(self._value(state), epoch.index)
                if trial.should_prune():
                    raise optuna.TrialPruned(f"behind the other trials after epoch {epoch.index + 1}")
        except Diverged as error:
            raise optuna.TrialPruned(str(error)) from error
        return self._value(state)

    def _value(self, state: TrainingState) -> float:
        assert state.selected is not None
        return state.selected.validation[self._study.metric.name]

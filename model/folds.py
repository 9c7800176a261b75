"""The trainings of a trial, one for each fold, in lockstep: what they measure after each epoch is averaged.

On a small validation part a search chooses by chance. With k folds, every row outside the test part is validated once,
by a network that was trained without it (cross-validation: Stone 1974, https://doi.org/10.1111/j.2517-6161.1974.tb00994.x).
With a single fold everything is as in one training, to the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.classifier import Classifier
from model.data.datasets import Dataset
from model.epoch import Epoch, EpochSelection
from model.evaluation import predict
from model.hyperparameters import Hyperparameters
from model.training import TrainingState, memory_needed, unrecorded_epochs


@dataclass(frozen=True, eq=False)
class Folds:
    """The trainings of a trial.

    All states record the means as their epochs, so that all select the same epoch and each keeps its weights after it.

    Attributes:
        data: the dataset as each fold splits it, as returned by `datasets.load_folds`.
        states: of the trainings, in the same order.
    """

    data: tuple[Dataset, ...]
    states: tuple[TrainingState, ...]

    @classmethod
    def of(
        cls,
        hyperparameters: Hyperparameters,
        data: Sequence[Dataset],
        seed: Sequence[int],
        selection: EpochSelection | None = None,
    ) -> Folds:
        """The trainings before their first epoch.

        Args:
            hyperparameters: the settings of all of them.
            data: the dataset as each fold splits it.
            seed: integers that identify the random streams; with several folds the number of the fold is added to them.
            selection: the rule of the selected epoch.
        """
        seeds = [[*seed, fold] for fold in range(len(data))] if len(data) > 1 else [seed]
        states = (
            TrainingState.of(hyperparameters, part, own, selection) for part, own in zip(data, seeds, strict=True)
        )
        return cls(tuple(data), tuple(states))

    @property
    def epochs(self) -> list[Epoch]:
        """The finished epochs, in order: means over the folds."""
        return self.states[0].epochs

    @property
    def selected(self) -> Epoch | None:
        """The epoch selected so far; None before the first."""
        return self.states[0].selected

    @property
    def steps(self) -> int:
        """Optimizer steps so far, of all folds together."""
        return sum(state.optimizer.t for state in self.states)

    def train(self, stop_after: int | None = None) -> Iterator[Epoch]:
        """Continue, yielding the means after each epoch of all folds; leave the loop to stop.

        Args:
            stop_after: last epoch to run, counted from 1, without shortening the schedule's horizon.

        Raises:
            Diverged: at the first batch of any fold whose loss is no longer finite.
        """
        trainings = [
            unrecorded_epochs(state, part.train, part.validation, stop_after)
            for state, part in zip(self.states, self.data, strict=True)
        ]
        for epochs in zip(*trainings, strict=True):  # an epoch of each fold after the other
            epoch = mean_epoch(epochs)
            for state in self.states:
                state.record(epoch)
            yield epoch

    def classifier(self) -> Classifier:
        """What is kept of the trial: the network of fold 0 after the selected epoch, with that fold's preprocessing."""
        data = self.data[0]
        return Classifier(self.states[0].selected_network(), data.preprocessing, data.class_names)

    def confusion(self) -> NDArray[np.int64]:
        """(classes, classes) counts of the validation examples of all folds after the selected epoch, rows are true."""
        found = [
            predict(state.selected_network(), part.validation).confusion
            for state, part in zip(self.states, self.data, strict=True)
        ]
        total: NDArray[np.int64] = np.sum(found, axis=0)
        return total


def memory_of(hyperparameters: Hyperparameters, data: Sequence[Dataset]) -> int:
    """Peak memory in bytes of the trainings on these folds, all of which are in memory; see `memory_needed`."""
    return sum(memory_needed(hyperparameters, part.features, part.classes) for part in data)


def mean_epoch(epochs: Sequence[Epoch]) -> Epoch:
    """The means of one epoch's numbers over the folds, rounded once; of seconds the sum.

    The learning rate is that of the first fold: those of the others are equal, apart from rounding.
    """
    first = epochs[0]
    return Epoch(
        first.index,
        first.learning_rate,
        _mean([epoch.train_loss for epoch in epochs]),
        _mean([epoch.train_accuracy for epoch in epochs]),
        {name: _mean([epoch.validation[name] for epoch in epochs]) for name in first.validation},
        math.fsum(epoch.seconds for epoch in epochs),
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)

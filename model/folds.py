"""The trainings of a trial, one for each fold, in lockstep: what they measure after each epoch is averaged.

On a small validation part a search chooses by chance. With k folds, every row outside the test part is validated once,
by a network that was trained without it (cross-validation: Stone 1974, https://doi.org/10.1111/j.2517-6161.1974.tb00994.x).
With a single fold everything is as in one training, to the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.classifier import Classifier
from model.data.datasets import Dataset
from model.epoch import Epoch
from model.epoch_selection import EpochSelection
from model.evaluation import predict
from model.hyperparameters import Hyperparameters
from model.network import MLP
from model.network_stack import NetworkStack
from model.training import TrainingState, memory_needed, train


@dataclass(frozen=True, eq=False)
class Folds:
    """The trainings of a trial.

    Attributes:
        data: the dataset as each fold splits it, as returned by `datasets.load_folds`.
        state: of the single training, or of the stack of networks, one for each fold.
    """

    data: tuple[Dataset, ...]
    state: TrainingState

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
            seed: integers that identify the random streams.
            selection: the rule of the selected epoch.
        """
        if len(data) == 1:
            return cls(tuple(data), TrainingState.of(hyperparameters, data[0], seed, selection))
        inputs = max(part.features for part in data)
        data = tuple(_padded(part, inputs) for part in data)
        scales = [(part.preprocessing.scale, part.preprocessing.offset) for part in data]
        return cls(data, TrainingState.stacked(hyperparameters, inputs, data[0].classes, scales, seed, selection))

    @property
    def epochs(self) -> list[Epoch]:
        """The finished epochs, in order: means over the folds."""
        return self.state.epochs

    @property
    def selected(self) -> Epoch | None:
        """The epoch selected so far; None before the first."""
        return self.state.selected

    def train(self, stop_after: int | None = None) -> Iterator[Epoch]:
        """Continue, yielding the means after each epoch of all folds; leave the loop to stop.

        Args:
            stop_after: last epoch to run, counted from 1, without shortening the schedule's horizon.

        Raises:
            Diverged: at the first batch of any fold whose loss is no longer finite.
        """
        if len(self.data) == 1:
            data = self.data[0]
            return train(self.state, data.train, data.validation, stop_after)
        training, validation = [part.train for part in self.data], [part.validation for part in self.data]
        return train(self.state, training, validation, stop_after)

    def classifier(self) -> Classifier:
        """What is kept of the trial: the network of fold 0 after the selected epoch, with that fold's preprocessing."""
        data = self.data[0]
        return Classifier(cut(self._selected()[0], data.preprocessing.features), data.preprocessing, data.class_names)

    def confusion(self) -> NDArray[np.int64]:
        """(classes, classes) counts of the validation examples of all folds after the selected epoch, rows are true."""
        found = [
            predict(network, part.validation).confusion
            for network, part in zip(self._selected(), self.data, strict=True)
        ]
        total: NDArray[np.int64] = np.sum(found, axis=0)
        return total

    def _selected(self) -> tuple[MLP, ...]:
        """The network of each fold as it was after the selected epoch."""
        network = self.state.selected_network()
        return network.networks if isinstance(network, NetworkStack) else (network,)


def memory_of(hyperparameters: Hyperparameters, data: Sequence[Dataset]) -> int:
    """Peak memory in bytes of the trainings on these folds, all of which are in memory; see `memory_needed`."""
    return sum(memory_needed(hyperparameters, part.features, part.classes) for part in data)


def _padded(data: Dataset, features: int) -> Dataset:
    """The dataset with inputs of 0 after its own: a value that only one fold trains on is an input of that fold only.

    Their weights get no gradient, and without an input change nothing.
    """
    if data.features == features:
        return data
    inputs = np.zeros((len(data.train.inputs), features), data.train.inputs.dtype)
    inputs[:, : data.features] = data.train.inputs
    train, validation = replace(data.train, inputs=inputs), replace(data.validation, inputs=inputs)
    return replace(data, train=train, validation=validation)


def cut(network: MLP, features: int) -> MLP:
    """The network without the inputs after the first `features`."""
    if network.sizes[0] == features:
        return network
    first = network.layers[0].matrix
    theta = np.concatenate([first[:features].ravel(), network.theta[first[:-1].size :]])
    sizes = (features, *network.sizes[1:])
    return MLP(sizes, activation=network.activation, scale=network.scale, offset=network.offset).with_weights(theta)

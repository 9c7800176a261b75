"""Training as a generator: `for epoch in train(state, ...)`. The consumer of the epochs logs, prunes, stops or times.

Every random stream is derived from (seed, epoch), so a checkpoint needs no generator state: the state after epoch e
and the settings determine the rest, to the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from model.adam import Adam
from model.batches import Batches
from model.data.datasets import Examples
from model.dropout import Dropout
from model.epoch import Epoch, EpochSelection
from model.evaluation import evaluate
from model.hyperparameters import Hyperparameters
from model.metrics import BATCH
from model.network import MLP, parameters

INITIALISATION, ORDER, DROPOUT = range(3)
"""Identifiers of a training's random streams: the last word of their seeds."""


class Diverged(Exception):
    """The loss of a batch is no longer finite. `epoch` and `step` count from 0."""

    def __init__(self, epoch: int, step: int) -> None:
        super().__init__(f"diverged at epoch {epoch + 1}, step {step + 1}: the loss is no longer finite")
        self.epoch = epoch
        self.step = step

    def __reduce__(self) -> tuple[type[Diverged], tuple[int, int]]:
        """What it is made from again in another process."""
        return type(self), (self.epoch, self.step)


@dataclass
class TrainingState:
    """A training that can be continued: after each yield of `train` it is complete and may be saved.

    Attributes:
        hyperparameters: the settings.
        seed: words that name its random streams, for example (study seed, trial number).
        network, optimizer: change in place.
        selection: which epoch is selected.
        epochs: those done, in order.
        selected: the epoch selected so far; None before the first.
        selected_theta: (parameters,) the weights after it.
    """

    hyperparameters: Hyperparameters
    seed: tuple[int, ...]
    network: MLP
    optimizer: Adam
    selection: EpochSelection = field(default_factory=EpochSelection)
    epochs: list[Epoch] = field(default_factory=list)
    selected: Epoch | None = None
    selected_theta: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))

    @classmethod
    def fresh(
        cls,
        hyperparameters: Hyperparameters,
        features: int,
        classes: int,
        seed: Sequence[int],
        selection: EpochSelection | None = None,
        *,
        scale: float = 1.0,
    ) -> TrainingState:
        """A network with drawn weights, before its first epoch.

        Args:
            hyperparameters: the settings.
            features: inputs of the network.
            classes: outputs of the network.
            seed: words that name its random streams; equal words and settings give equal bits.
            selection: which epoch is selected.
            scale: the network's input is a pixel times this.
        """
        sizes, activation = (features, *hyperparameters.hidden_sizes, classes), hyperparameters.activation
        network = MLP(sizes, activation=activation, scale=scale)
        network.initialise(_stream(seed, 0, INITIALISATION))
        h = hyperparameters
        optimizer = Adam(network.theta, h.beta1, h.beta2, h.epsilon, h.weight_decay)
        return cls(h, tuple(seed), network, optimizer, selection or EpochSelection())

    def record(self, epoch: Epoch) -> None:
        """Add an epoch, and keep the weights if it is selected."""
        self.epochs.append(epoch)
        if self.selection.prefers(epoch, self.selected):
            self.selected = epoch
            self.selected_theta = self.network.theta.copy()

    def selected_network(self) -> MLP:
        """The network as it was after the selected epoch."""
        return self.network.with_weights(self.selected_theta)


def train(
    state: TrainingState, examples: Examples, validation: Examples | None, stop_after: int | None = None
) -> Iterator[Epoch]:
    """Train in place from where the state is, yielding after each pass over the examples. Stop by no longer asking.

    Args:
        state: changed in place; complete at every yield.
        examples: what to learn from.
        validation: what to evaluate after each epoch; None leaves the epochs without validation metrics.
        stop_after: last epoch to run, counted from 1, without shortening the schedule's horizon.

    Raises:
        Diverged: at the batch whose loss is no longer finite.
    """
    h = state.hyperparameters
    batches = Batches(examples, h.batch_size)
    for index in range(len(state.epochs), min(stop_after or h.epochs, h.epochs)):
        # An overflow is no accident here: it ends in a loss that is not finite, which is what we look for.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            epoch = _epoch(state, batches, examples, validation, index)
        state.record(epoch)
        yield epoch


def memory_needed(hyperparameters: Hyperparameters, features: int, classes: int) -> int:
    """Bytes that a training of these settings takes at its highest, to within a fifth; data are mapped, not counted.

    float32 each: weights, gradient, two moments and the best weights; a checkpoint, once as arrays and once as the
    bytes of its file; and for a batch of training and one of evaluation the activations, gradients and zeros, for gelu
    also slopes and scratch of the largest layer.
    """
    sizes = (features, *hyperparameters.hidden_sizes, classes)
    weights = parameters(sizes)
    training = hyperparameters.batch_size * (features + 3 * sum(hyperparameters.hidden_sizes))
    evaluation = BATCH * (features + 2 * sum(hyperparameters.hidden_sizes))
    if hyperparameters.activation == "gelu":
        training += hyperparameters.batch_size * sum(hyperparameters.hidden_sizes)
        training += max(hyperparameters.batch_size, BATCH) * 4 * max(hyperparameters.hidden_sizes)
    return 4 * (13 * weights + training + evaluation)


def learning_rate(hyperparameters: Hyperparameters, step: int, steps: int) -> float:
    """The schedule at `step` of `steps`, both over all epochs; cosine as in Loshchilov & Hutter 2017, equation 5."""
    if hyperparameters.schedule == "cosine":
        return hyperparameters.learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
    return hyperparameters.learning_rate


def _epoch(
    state: TrainingState,
    batches: Batches,
    examples: Examples,
    validation: Examples | None,
    index: int,
) -> Epoch:
    """One pass over the training examples, and the metrics of the validation examples."""
    h, started = state.hyperparameters, perf_counter()
    per_epoch = -(-len(examples) // h.batch_size)
    loss, accuracy = _pass(state, batches, examples, index)
    found = evaluate(state.network, validation) if validation else {}
    if found and not math.isfinite(found["loss"]):
        raise Diverged(index, per_epoch - 1)
    rate = learning_rate(h, index * per_epoch, h.epochs * per_epoch)
    return Epoch(index, rate, loss, accuracy, found, perf_counter() - started)


def _pass(state: TrainingState, batches: Batches, examples: Examples, index: int) -> tuple[float, float]:
    """One pass over the examples: mean loss and accuracy of its batches."""
    h, network, optimizer = state.hyperparameters, state.network, state.optimizer
    order = _stream(state.seed, index, ORDER).permutation(examples.rows)
    dropout = _dropout(state, index)
    per_epoch = -(-len(examples) // h.batch_size)
    loss, hits = 0.0, 0
    for step, labels in enumerate(batches.into(network, order)):
        batch_loss, batch_hits = network.backpropagate(len(labels), labels, h.label_smoothing, dropout)
        if not math.isfinite(batch_loss):
            raise Diverged(index, step)
        rate = learning_rate(h, index * per_epoch + step, h.epochs * per_epoch)
        optimizer.step(network.theta, network.gradient, rate)
        loss += batch_loss * len(labels)
        hits += batch_hits
    return loss / len(examples), hits / len(examples)


def _dropout(state: TrainingState, index: int) -> Dropout | None:
    h = state.hyperparameters
    if not (h.dropout or h.input_dropout):
        return None
    return Dropout(h.input_dropout, h.dropout, _stream(state.seed, index, DROPOUT))


def _stream(seed: Sequence[int], epoch: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([*seed, epoch, purpose]))

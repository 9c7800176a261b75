"""Training as a generator: `for epoch in train(state, ...)`. The loop body can log, prune, stop or measure time.

Every random stream is derived from (seed, epoch), so a checkpoint needs no generator state: the state after an epoch
and the settings determine all later bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.adam import Adam
from model.averaging import WeightAverage
from model.batches import Batches, FoldBatches
from model.class_weights import weigh, weigh_folds
from model.data.datasets import Dataset, Examples
from model.dropout import Dropout
from model.epoch import Epoch
from model.epoch_selection import EpochSelection
from model.evaluation import evaluate
from model.hyperparameters import Hyperparameters
from model.network import BATCH, MLP, parameters
from model.network_stack import NetworkStack

INITIALISATION, ORDER, DROPOUT = range(3)
"""Identifiers of the random streams: the last integer of their seeds."""


class Diverged(Exception):
    """The loss of a batch is no longer finite. `epoch` and `step` count from 0."""

    def __init__(self, epoch: int, step: int) -> None:
        super().__init__(f"diverged at epoch {epoch + 1}, step {step + 1}: the loss is no longer finite")
        self.epoch = epoch
        self.step = step

    def __reduce__(self) -> tuple[type[Diverged], tuple[int, int]]:
        """The constructor arguments, for pickling."""
        return type(self), (self.epoch, self.step)


@dataclass
class TrainingState:
    """The state of a training run; after each yield of `train` it is complete and can be saved.

    Attributes:
        hyperparameters: the settings.
        seed: integers that identify its random streams, for example (study seed, trial number).
        network, optimizer: changed in place.
        averaged: the network with the running mean of the weights; None where averaging is off.
        average: updates it.
        selection: the rule of the selected epoch.
        epochs: the finished epochs, in order.
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
    averaged: MLP | None = field(init=False, default=None)
    average: WeightAverage | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if share := self.hyperparameters.averaging:
            self.averaged = self.network.with_weights(self.network.theta)
            self.average = WeightAverage(self.averaged.theta, share)

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
        offset: float = 0.0,
    ) -> TrainingState:
        """The state of a network with random weights, before its first epoch.

        Args:
            hyperparameters: the settings.
            features: inputs of the network.
            classes: outputs of the network.
            seed: integers that identify its random streams; equal seeds and settings give equal bits.
            selection: the rule of the selected epoch.
            scale: factor of the network's inputs, after the offset.
            offset: subtracted from the network's inputs.
        """
        network = _network(hyperparameters, features, classes, scale, offset)
        return cls._begun(hyperparameters, network, seed, selection)

    @classmethod
    def stacked(
        cls,
        hyperparameters: Hyperparameters,
        features: int,
        classes: int,
        inputs: Sequence[tuple[float, float]],
        seed: Sequence[int],
        selection: EpochSelection | None = None,
    ) -> TrainingState:
        """The state of a `NetworkStack`, with a network for each scale and offset of `inputs`; else as `fresh`."""
        networks = [_network(hyperparameters, features, classes, scale, offset) for scale, offset in inputs]
        return cls._begun(hyperparameters, NetworkStack(networks), seed, selection)

    @classmethod
    def _begun(
        cls, hyperparameters: Hyperparameters, network: MLP, seed: Sequence[int], selection: EpochSelection | None
    ) -> TrainingState:
        network.initialise(_stream(seed, 0, INITIALISATION))
        h = hyperparameters
        optimizer = Adam(network.theta, h.beta1, h.beta2, h.epsilon, h.weight_decay)
        return cls(h, tuple(seed), network, optimizer, selection or EpochSelection())

    @classmethod
    def of(
        cls,
        hyperparameters: Hyperparameters,
        data: Dataset,
        seed: Sequence[int],
        selection: EpochSelection | None = None,
    ) -> TrainingState:
        """The state of a network with random weights for a dataset; see `fresh`."""
        inputs = data.preprocessing
        return cls.fresh(
            hyperparameters, inputs.features, data.classes, seed, selection, scale=inputs.scale, offset=inputs.offset
        )

    @property
    def evaluated(self) -> MLP:
        """The network that is evaluated and kept: with the averaged weights where averaging is on."""
        return self.averaged or self.network

    def record(self, epoch: Epoch) -> None:
        """Add an epoch, and keep the weights if it is selected."""
        self.epochs.append(epoch)
        if self.selection.prefers(epoch, self.selected):
            self.selected = epoch
            self.selected_theta = self.evaluated.theta.copy()

    def selected_network(self) -> MLP:
        """The network as it was after the selected epoch."""
        return self.network.with_weights(self.selected_theta)


def train(
    state: TrainingState,
    examples: Examples | Sequence[Examples],
    validation: Examples | Sequence[Examples] | None,
    stop_after: int | None = None,
    example_weights: NDArray[np.floating[Any]] | None = None,
) -> Iterator[Epoch]:
    """Continue training from `state`, yielding after each pass over the examples; leave the loop to stop.

    Args:
        state: changed in place; complete at every yield.
        examples: the training examples; of each network, if the state has a stack of them.
        validation: the examples to evaluate after each epoch, as `examples`; None for no validation metrics.
        stop_after: last epoch to run, counted from 1, without shortening the schedule's horizon.
        example_weights: by row of `examples.labels`, the factor of each example's loss besides that of `class_weights`;
            None for 1. Not for a stack.

    Raises:
        Diverged: at the batch whose loss is no longer finite.
    """
    h = state.hyperparameters
    batches: Batches | FoldBatches
    if isinstance(examples, Examples):
        batches, weights = Batches(examples, h.batch_size), weigh(h.class_weights, examples, example_weights)
    else:
        batches, weights = FoldBatches(examples, h.batch_size), weigh_folds(h.class_weights, examples)
    for index in range(len(state.epochs), min(stop_after or h.epochs, h.epochs)):
        # An overflow results in a loss that is not finite, which is detected. What underflows is negligible: squares of
        # small gradients, and probabilities.
        with np.errstate(all="ignore"):
            epoch = _epoch(state, batches, weights, validation, index)
        state.record(epoch)
        yield epoch


def memory_needed(hyperparameters: Hyperparameters, features: int, classes: int) -> int:
    """Peak memory in bytes of a training run, to within a fifth; the memory-mapped data are not counted.

    All in float32: weights, gradient, two moments, the best weights, their mean where averaging is on; a checkpoint,
    as arrays and as the bytes of its file; activations, gradients and zeros for a batch of training and one of
    evaluation; for gelu also slopes and scratch arrays of the largest layer.
    """
    sizes = (features, *hyperparameters.hidden_sizes, classes)
    weights = parameters(sizes)
    training = hyperparameters.batch_size * (features + 3 * sum(hyperparameters.hidden_sizes))
    evaluation = BATCH * (features + 2 * sum(hyperparameters.hidden_sizes))
    if hyperparameters.activation == "gelu":
        training += hyperparameters.batch_size * sum(hyperparameters.hidden_sizes)
        training += max(hyperparameters.batch_size, BATCH) * 4 * max(hyperparameters.hidden_sizes)
    vectors = 16 if hyperparameters.averaging else 13
    return 4 * (vectors * weights + training + evaluation)


def learning_rate(hyperparameters: Hyperparameters, step: int, steps: int) -> float:
    """The schedule at `step` of `steps`, both over all epochs; cosine as in Loshchilov & Hutter 2017, equation 5."""
    if hyperparameters.schedule == "cosine":
        return hyperparameters.learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
    return hyperparameters.learning_rate


def _epoch(
    state: TrainingState,
    batches: Batches | FoldBatches,
    example_weights: NDArray[np.float32] | None,
    validation: Examples | Sequence[Examples] | None,
    index: int,
) -> Epoch:
    """One pass over the training examples, and the metrics of the validation examples."""
    h, started = state.hyperparameters, perf_counter()
    loss, accuracy = _pass(state, batches, example_weights, index)
    if state.average:
        state.average.update(state.network.theta, state.optimizer.t)
    found = evaluate(state.evaluated, validation) if validation else {}
    if found and not math.isfinite(found["loss"]):
        raise Diverged(index, batches.steps - 1)
    rate = learning_rate(h, index * batches.steps, h.epochs * batches.steps)
    return Epoch(index, rate, loss, accuracy, found, perf_counter() - started)


def _pass(
    state: TrainingState, batches: Batches | FoldBatches, example_weights: NDArray[np.float32] | None, index: int
) -> tuple[float, float]:
    """One pass over the examples: the weighted mean of their losses, and the accuracy, both of its batches."""
    h, network, optimizer = state.hyperparameters, state.network, state.optimizer
    order = batches.shuffled(_stream(state.seed, index, ORDER))
    in_order = None if example_weights is None else np.take_along_axis(example_weights, order, axis=-1)
    dropout = _dropout(state, index)
    per_epoch = batches.steps
    loss, hits = 0.0, 0
    for step, labels in enumerate(batches.into(network, order)):
        n, start = labels.shape[-1], step * h.batch_size
        factors = None if in_order is None else in_order[..., start : start + n]
        batch_loss, batch_hits = network.backpropagate(n, labels, h.label_smoothing, dropout, factors)
        if not math.isfinite(batch_loss):
            raise Diverged(index, step)
        rate = learning_rate(h, index * per_epoch + step, h.epochs * per_epoch)
        optimizer.step(network.theta, network.gradient, rate)
        if state.average and state.average.is_due(optimizer.t):
            state.average.update(network.theta, optimizer.t)
        loss += batch_loss * labels.size
        hits += batch_hits
    total = order.size if in_order is None else float(in_order.sum(dtype=np.float64))
    return loss / total, hits / order.size


def _dropout(state: TrainingState, index: int) -> Dropout | None:
    h = state.hyperparameters
    if not (h.dropout or h.input_dropout):
        return None
    return Dropout(h.input_dropout, h.dropout, _stream(state.seed, index, DROPOUT))


def _network(hyperparameters: Hyperparameters, features: int, classes: int, scale: float, offset: float) -> MLP:
    sizes = (features, *hyperparameters.hidden_sizes, classes)
    return MLP(sizes, activation=hyperparameters.activation, scale=scale, offset=offset)


def _stream(seed: Sequence[int], epoch: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([*seed, epoch, purpose]))

"""Training as a generator: `for epoch in train(state, ...)`. Whoever consumes it logs, judges, stops or times it.

Every random stream is derived from (seed, epoch), so a checkpoint needs no generator state: the state after epoch e
and the settings determine the rest, to the same bits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from model.adam import Adam
from model.batches import Batches
from model.data import npz
from model.data.datasets import Examples
from model.dropout import Dropout
from model.evaluation import BATCH, Score, evaluate
from model.files import write_atomic
from model.hyperparameters import Hyperparameters
from model.network import MLP, parameters

INITIALISATION, ORDER, DROPOUT = range(3)
"""Which of a training's random streams; the last word of its seed."""
NUMERICS = 2
"""Raise it when equal settings and seeds give other bits: a training does not continue with other arithmetic."""
HEADER_LIMIT = 1 << 24
"""Bytes that a checkpoint's header may take: 10,000 epochs of 250 bytes are 2.5 MB."""


class Diverged(Exception):
    """The loss of a batch is no longer finite. `epoch` and `step` count from 0."""

    def __init__(self, epoch: int, step: int) -> None:
        super().__init__(f"diverged at epoch {epoch + 1}, step {step + 1}: the loss is no longer finite")
        self.epoch = epoch
        self.step = step

    def __reduce__(self) -> tuple[type[Diverged], tuple[int, int]]:
        """What it is made from again in another process."""
        return type(self), (self.epoch, self.step)


class CheckpointError(Exception):
    """A checkpoint file is damaged or belongs to another training."""


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training examples came to.

    Attributes:
        index: from 0.
        learning_rate: at the epoch's first step.
        train_loss, train_accuracy: running means over its batches, each measured before its update and with dropout
            and label smoothing; no second pass over the training examples is made.
        validation_loss, validation_accuracy: after it, without dropout or smoothing; NaN where nothing is held out.
        seconds: wall time of training and validation.
    """

    index: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float


@dataclass(frozen=True)
class Rule:
    """Which epoch counts: the `best` by the objective or the `last`; the same rule everywhere.

    `objective` is validation_accuracy, where more is better, or validation_loss, where less is.
    Ties go to the lower validation loss, then to the earlier epoch.
    """

    objective: str = "validation_accuracy"
    epoch: str = "best"

    def prefers(self, new: Epoch, old: Epoch | None) -> bool:
        """Whether `new`, which came later, counts instead of `old`."""
        return old is None or self.epoch == "last" or self._key(new) > self._key(old)

    def _key(self, epoch: Epoch) -> tuple[float, float]:
        accuracy = epoch.validation_accuracy if self.objective == "validation_accuracy" else 0.0
        return accuracy, -epoch.validation_loss


@dataclass
class TrainingState:
    """A training that can be continued: after each yield of `train` it is complete and may be saved.

    Attributes:
        hyperparameters: the settings.
        seed: words that name its random streams, for example (study seed, trial number).
        network, optimizer: change in place.
        rule: which epoch counts.
        epochs: those done, in order.
        counted: the epoch that counts so far; None before the first.
        counted_theta: (parameters,) the weights after it.
    """

    hyperparameters: Hyperparameters
    seed: tuple[int, ...]
    network: MLP
    optimizer: Adam
    rule: Rule = field(default_factory=Rule)
    epochs: list[Epoch] = field(default_factory=list)
    counted: Epoch | None = None
    counted_theta: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))

    @classmethod
    def fresh(
        cls,
        hyperparameters: Hyperparameters,
        features: int,
        classes: int,
        seed: Sequence[int],
        rule: Rule | None = None,
    ) -> TrainingState:
        """A network with drawn weights, before its first epoch.

        Args:
            hyperparameters: the settings.
            features: inputs of the network.
            classes: outputs of the network.
            seed: words that name its random streams; equal words and settings give equal bits.
            rule: which epoch counts.
        """
        network = MLP((features, *hyperparameters.hidden_sizes, classes))
        network.initialise(_stream(seed, 0, INITIALISATION))
        h = hyperparameters
        optimizer = Adam(network.theta, h.beta1, h.beta2, h.epsilon, h.weight_decay)
        return cls(h, tuple(seed), network, optimizer, rule or Rule())

    def record(self, epoch: Epoch) -> None:
        """Add an epoch, and keep the weights when it is the one that counts."""
        self.epochs.append(epoch)
        if self.rule.prefers(epoch, self.counted):
            self.counted = epoch
            self.counted_theta = self.network.theta.copy()

    def save(self, path: Path) -> None:
        """Write a checkpoint: the old file or the new one, never half of one.

        Raises:
            OSError: the disk is full or the folder is not writable; the old checkpoint is still there.
        """
        header = {
            "identity": self._identity(),
            "step": self.optimizer.t,
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "counted": self.counted.index if self.counted else None,
        }
        arrays = np.stack([self.network.theta, self.optimizer.m, self.optimizer.v, self.counted_theta])
        write_atomic(
            path, npz.write({"header": np.frombuffer(json.dumps(header).encode(), np.uint8), "arrays": arrays})
        )

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint of this very training; zip's CRC-32 notices a damaged file.

        Raises:
            CheckpointError: the file is damaged or belongs to another training; the state is unchanged.
            OSError: it cannot be read.
        """
        try:
            kept = npz.read(
                path, ["header", "arrays"], check=self._check, max_bytes=HEADER_LIMIT + 16 * self.network.theta.size
            )
            header = json.loads(kept["header"].tobytes())
        except (npz.NpzError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged: {error}") from error
        if header["identity"] != self._identity():
            raise CheckpointError(f"{path} belongs to another training")
        self.network.theta[...], self.optimizer.m[...], self.optimizer.v[...] = kept["arrays"][:3]
        self.optimizer.t = header["step"]
        self.epochs = [Epoch(**epoch) for epoch in header["epochs"]]
        self.counted = self.epochs[header["counted"]] if header["counted"] is not None else None
        self.counted_theta = kept["arrays"][3].copy()

    def _check(self, name: str, header: npz.Header) -> None:
        """Refuse arrays of another training before they are read."""
        wanted = {"header": ("|u1", None), "arrays": ("<f4", (4, self.network.theta.size))}[name]
        if header.dtype.str != wanted[0] or (wanted[1] and header.shape != wanted[1]):
            raise CheckpointError(
                f"the checkpoint belongs to another training: {name} is {header.dtype} {header.shape}"
            )

    def _identity(self) -> list[object]:
        return [NUMERICS, self.hyperparameters.as_dict(), list(self.seed), self.rule.objective, self.rule.epoch]


def train(
    state: TrainingState, examples: Examples, validation: Examples | None, scale: float, stop_after: int | None = None
) -> Iterator[Epoch]:
    """Train in place from where the state is, yielding after each pass over the examples. Stop by no longer asking.

    Args:
        state: changed in place; complete at every yield.
        examples: what to learn from.
        validation: what to judge by after each epoch; None leaves those numbers NaN.
        scale: input = pixel * scale.
        stop_after: last epoch to run, counted from 1, without shortening the schedule's horizon.

    Raises:
        Diverged: at the batch whose loss is no longer finite.
    """
    h = state.hyperparameters
    batches = Batches(examples, scale, h.batch_size)
    for index in range(len(state.epochs), min(stop_after or h.epochs, h.epochs)):
        # An overflow is no accident here: it ends in a loss that is not finite, which is what we look for.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            epoch = _epoch(state, batches, examples, validation, scale, index)
        state.record(epoch)
        yield epoch


def memory_needed(hyperparameters: Hyperparameters, features: int, classes: int) -> int:
    """Bytes that a training of these settings takes at its highest, to within a fifth; data are mapped, not counted.

    float32 each: weights, gradient, two moments and the best weights; a checkpoint, once as arrays and once as the
    bytes of its file; and for a batch of training and one of evaluation the activations, gradients and zeros.
    """
    sizes = (features, *hyperparameters.hidden_sizes, classes)
    weights = parameters(sizes)
    training = hyperparameters.batch_size * (features + 3 * sum(hyperparameters.hidden_sizes))
    evaluation = BATCH * (features + 2 * sum(hyperparameters.hidden_sizes))
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
    scale: float,
    index: int,
) -> Epoch:
    """One pass over the examples, and a look at the validation examples."""
    h, started = state.hyperparameters, perf_counter()
    per_epoch = -(-len(examples) // h.batch_size)
    loss, accuracy = _pass(state, batches, examples, index)
    found = evaluate(state.network, validation, scale) if validation else Score(math.nan, math.nan)
    if validation and not math.isfinite(found.loss):
        raise Diverged(index, per_epoch - 1)
    rate = learning_rate(h, index * per_epoch, h.epochs * per_epoch)
    return Epoch(index, rate, loss, accuracy, found.loss, found.accuracy, perf_counter() - started)


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

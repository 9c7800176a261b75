"""Compare averaging with a cooldown and with schedule-free Adam, for good settings of curves.npz.

    SWEEP_DATA=... PYTHONPATH=tests/benchmarks/race .venv/bin/python tests/benchmarks/race/schedules.py

The settings are the 30 of curves.npz with the best mean of the final accuracies of `cosine` and `averaged`, best first.
Each is trained as there, with another seed, and judged once, at the end:
- with a constant learning rate, by the latest and by the averaged weights;
- the same with a cooldown: over the last epoch the learning rate falls linearly to 0;
- with schedule-free Adam, at one and at three times the learning rate.
The table is printed after every setting.
"""

from __future__ import annotations

from curves import AVERAGING, EPOCHS, SEED, TABLE, images, settings  # sets one thread before NumPy is imported

# isort: split

import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.batches import Batches
from model.data.datasets import Dataset, Examples
from model.dropout import Dropout
from model.evaluation import predict
from model.hyperparameters import Hyperparameters
from model.network import MLP
from model.training import DROPOUT, ORDER, TrainingState, train

SETTINGS = 30
STREAM = 3
"""Last integer of the seeds, which curves.py does not use."""
SCHEDULE_FREE_FACTORS = (1, 3)
WARM_UP = 0.1
"""Share of schedule-free Adam's steps in which its learning rate rises linearly."""
Floats = NDArray[np.floating[Any]]


class ScheduleFreeAdam:
    """Defazio et al. 2024 (arXiv 2405.15682), algorithm 1, without weight decay, on a flat vector.

    Attributes:
        z: (parameters,) the sequence of steps.
        x: (parameters,) its weighted mean, which is evaluated; the gradient is taken at y = (1 - beta1) z + beta1 x.
    """

    def __init__(self, theta: Floats, h: Hyperparameters, steps: int) -> None:
        self.z, self.x, self._v = theta.copy(), theta.copy(), np.zeros_like(theta)
        self._h, self._t, self._total = h, 0, 0.0
        self._warm_up = max(1, round(WARM_UP * steps))

    def step(self, theta: Floats, gradient: Floats) -> None:
        """Update, and set `theta` to the next y."""
        h = self._h
        self._t += 1
        rate = h.learning_rate * min(1.0, self._t / self._warm_up) * math.sqrt(1 - h.beta2**self._t)
        self._v *= np.float32(h.beta2)
        self._v += np.float32(1 - h.beta2) * gradient * gradient
        self.z -= np.float32(rate) * gradient / (np.sqrt(self._v) + np.float32(h.epsilon))
        self._total += rate * rate
        self.x += np.float32(rate * rate / self._total) * (self.z - self.x)
        theta[...] = np.float32(1 - h.beta1) * self.z + np.float32(h.beta1) * self.x


def accuracies(number: int, data: Dataset, training: Examples, validation: Examples) -> dict[str, float]:
    """Final validation accuracies of one setting."""
    drawn, seed = settings(number), (SEED, number, STREAM)
    constant = TrainingState.of(Hyperparameters(**drawn, averaging=AVERAGING, epochs=EPOCHS), data, seed)
    for _ in train(constant, training, None, stop_after=EPOCHS - 1):
        pass
    cooled = copy.deepcopy(constant)
    for _ in train(constant, training, None):
        pass
    cool_down(cooled, training)
    found = {}
    for name, state in (("constant", constant), ("cooldown", cooled)):
        found[name] = _accuracy(state.network, validation)
        found[f"{name}, averaged"] = _accuracy(state.evaluated, validation)
    for factor in SCHEDULE_FREE_FACTORS:
        h = Hyperparameters(**drawn | {"learning_rate": factor * drawn["learning_rate"]}, epochs=EPOCHS)
        found[f"schedule-free, {factor}x"] = _accuracy(train_schedule_free(h, data, seed, training), validation)
    return found


def cool_down(state: TrainingState, training: Examples) -> None:
    """Train the last epoch with a learning rate that falls linearly to 0."""
    optimizer, theta = state.optimizer, state.network.theta
    assert state.average
    steps = -(-len(training) // state.hyperparameters.batch_size)
    for step in gradients(state, training, EPOCHS - 1):
        optimizer.step(theta, state.network.gradient, state.hyperparameters.learning_rate * (1 - step / steps))
        if state.average.is_due(optimizer.t):
            state.average.update(theta, optimizer.t)
    state.average.update(theta, optimizer.t)


def train_schedule_free(h: Hyperparameters, data: Dataset, seed: tuple[int, ...], training: Examples) -> MLP:
    """The network after training with schedule-free Adam."""
    state = TrainingState.of(h, data, seed)
    optimizer = ScheduleFreeAdam(state.network.theta, h, EPOCHS * -(-len(training) // h.batch_size))
    for epoch in range(EPOCHS):
        for _ in gradients(state, training, epoch):
            optimizer.step(state.network.theta, state.network.gradient)
    return state.network.with_weights(optimizer.x)


def gradients(state: TrainingState, training: Examples, epoch: int) -> Iterator[int]:
    """Set the network's gradient for each batch of an epoch, and yield the step, counted from 0."""
    h, network = state.hyperparameters, state.network
    order, bits = (np.random.default_rng([*state.seed, epoch, purpose]) for purpose in (ORDER, DROPOUT))
    dropout = Dropout(0, h.dropout, bits)
    for step, labels in enumerate(Batches(training, h.batch_size).into(network, order.permutation(training.rows))):
        network.backpropagate(len(labels), labels, dropout=dropout)
        yield step


def _accuracy(network: MLP, validation: Examples) -> float:
    predictions = predict(network, validation)
    return float(np.mean(predictions.predicted == predictions.labels))


def show(rows: list[dict[str, float]]) -> None:
    """Means, and differences from averaging a constant rate, paired by setting, with a 95 % interval."""
    print(f"\n| {len(rows)} settings | mean accuracy in % | best | minus constant, averaged |\n|---|---|---|---|")
    base = np.array([row["constant, averaged"] for row in rows])
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        difference = 100 * (values - base)
        half = 1.96 * difference.std(ddof=1) / math.sqrt(len(rows)) if len(rows) > 1 else math.nan
        means = f"{100 * values.mean():.2f} | {100 * values.max():.2f}"
        print(f"| {name} | {means} | {difference.mean():+.2f} ± {half:.2f} |", flush=True)


def main() -> None:
    """Train and compare."""
    table = np.load(TABLE)
    final = table["cosine_accuracy"][:, -1] + table["averaged_accuracy"][:, -1]
    good = np.argsort(-np.nan_to_num(final), kind="stable")[:SETTINGS]
    data, training, validation = images()
    rows = []
    for number in good:
        rows.append(accuracies(int(number), data, training, validation))
        show(rows)


if __name__ == "__main__":
    main()

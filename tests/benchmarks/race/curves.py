"""Record the learning curves of 100 random settings on MNIST, on which replay.py races schedulers in seconds.

    SWEEP_DATA=... PYTHONPATH=tests/benchmarks/race .venv/bin/python tests/benchmarks/race/curves.py

Each setting is trained 12 epochs on 15,000 training images, on one core, and judged after every epoch on 10,000 others:
once with a constant learning rate and averaged weights, once with a cosine schedule over the 12 epochs and the latest
weights. The result, curves.npz beside this file, is written after every tenth training and continued when the script is
started again. It takes 22 minutes of a core.

Arrays of curves.npz, of n settings and 12 epochs:
    hidden_sizes: (n, 3) int32, units of each layer; 0 for a layer that does not exist.
    learning_rate, beta1, beta2, dropout: (n,) float64.
    batch_size: (n,) int32.
    <training>_accuracy, <training>_loss: (n, 12) float32, of the validation images after each epoch, where <training>
        is `averaged`, `cosine`, or `latest`: the training of `averaged` without its averaging. NaN after a divergence.
    averaged_seconds, cosine_seconds: (n,) float32, processor seconds of an epoch with its validation, the lowest of 12.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import process_time
from typing import Any

from sweep.workers.local import ONE_THREAD

os.environ.update(ONE_THREAD)  # before NumPy is imported

import numpy as np

from model.data import datasets
from model.data.datasets import Dataset, Examples
from model.evaluation import evaluate
from model.hyperparameters import Hyperparameters
from model.training import Diverged, TrainingState, train

TABLE = Path(__file__).with_name("curves.npz")
SETTINGS = 100
EPOCHS = 12
TRAINING_IMAGES, VALIDATION_IMAGES = 15_000, 10_000
SEED = 16
AVERAGING = 1 / 3
TRAININGS: dict[str, tuple[dict[str, Any], int]] = {
    "averaged": ({"averaging": AVERAGING}, 0),
    "cosine": ({"schedule": "cosine"}, 1),
}
"""What is trained: the fixed hyperparameters, and the last integer of the seed."""
TRAININGS_PER_SAVE = 10


def settings(number: int) -> dict[str, Any]:
    """Random hyperparameters: the space of studies/mnist.toml with wider ranges, and dropout."""
    rng = np.random.default_rng([SEED, number])
    layers = int(rng.integers(1, 4))
    return {
        "hidden_sizes": [round(float(size)) for size in np.exp(rng.uniform(np.log(32), np.log(512), layers))],
        "learning_rate": float(np.exp(rng.uniform(np.log(1e-4), np.log(3e-2)))),
        "batch_size": int(rng.choice([32, 64, 128, 256])),
        "beta1": float(rng.uniform(0.8, 0.99)),
        "beta2": float(1 - np.exp(rng.uniform(np.log(1e-4), np.log(0.1)))),
        "dropout": float(rng.uniform(0, 0.5)),
    }


def images() -> tuple[Dataset, Examples, Examples]:
    """MNIST, and the training and validation images of the table."""
    with tempfile.TemporaryDirectory() as folder:
        data = datasets.load(datasets.prepare("mnist", Path(folder), download=False), None)
        inputs, labels = np.array(data.train.inputs), np.array(data.train.labels)
    rows = np.random.default_rng(SEED).permutation(len(labels))[: TRAINING_IMAGES + VALIDATION_IMAGES]
    parts = np.split(rows, [TRAINING_IMAGES])
    training, validation = (Examples(inputs, labels, np.sort(part)) for part in parts)
    return data, training, validation


def fresh_table() -> dict[str, Any]:
    """The settings, and NaN where a curve is to be recorded."""
    drawn = [settings(number) for number in range(SETTINGS)]
    table = {key: np.array([each[key] for each in drawn]) for key in drawn[0] if key != "hidden_sizes"}
    table["batch_size"] = table["batch_size"].astype(np.int32)
    table["hidden_sizes"] = np.zeros((SETTINGS, 3), np.int32)
    for row, each in zip(table["hidden_sizes"], drawn, strict=True):
        row[: len(each["hidden_sizes"])] = each["hidden_sizes"]
    for training in (*TRAININGS, "latest"):
        table[f"{training}_accuracy"] = np.full((SETTINGS, EPOCHS), np.nan, np.float32)
        table[f"{training}_loss"] = np.full((SETTINGS, EPOCHS), np.nan, np.float32)
    for training in TRAININGS:
        table[f"{training}_seconds"] = np.full(SETTINGS, np.nan, np.float32)
    return table


def record(table: dict[str, Any], training: str, number: int, data: Dataset, parts: tuple[Examples, Examples]) -> None:
    """Train one setting and fill in its curves."""
    fixed, seed = TRAININGS[training]
    hyperparameters = Hyperparameters(**settings(number), **fixed, epochs=EPOCHS)
    state = TrainingState.of(hyperparameters, data, (SEED, number, seed))
    for epoch, (found, seconds) in enumerate(timed_epochs(state, *parts)):
        table[f"{training}_accuracy"][number, epoch] = found["accuracy"]
        table[f"{training}_loss"][number, epoch] = found["loss"]
        table[f"{training}_seconds"][number] = np.fmin(table[f"{training}_seconds"][number], seconds)
        if training == "averaged":
            latest = evaluate(state.network, parts[1])
            table["latest_accuracy"][number, epoch] = latest["accuracy"]
            table["latest_loss"][number, epoch] = latest["loss"]


def timed_epochs(state: TrainingState, training: Examples, validation: Examples) -> Iterator[tuple[Any, float]]:
    """The metrics of each epoch and its processor seconds; ends early if the training diverges."""
    epochs = train(state, training, validation)
    while True:
        started = process_time()
        try:
            epoch = next(epochs, None)
        except Diverged:
            return
        if epoch is None:
            return
        yield epoch.validation, process_time() - started


def save(table: dict[str, Any]) -> None:
    """Replace curves.npz."""
    partial = TABLE.with_suffix(".partial.npz")
    np.savez_compressed(partial, **table)
    partial.replace(TABLE)


def main() -> None:
    """Record what is still missing."""
    table = dict(np.load(TABLE)) if TABLE.exists() else fresh_table()
    data, *parts = images()
    # Seconds are recorded at the first epoch, which only a training that diverges at once lacks.
    missing = [(t, n) for n in range(SETTINGS) for t in TRAININGS if np.isnan(table[f"{t}_seconds"][n])]
    for done, (training, number) in enumerate(missing, 1):
        record(table, training, number, data, (parts[0], parts[1]))
        if done % TRAININGS_PER_SAVE == 0 or done == len(missing):
            save(table)
            print(f"{done} of {len(missing)} trainings, {process_time():.0f} processor seconds", flush=True)


if __name__ == "__main__":
    main()

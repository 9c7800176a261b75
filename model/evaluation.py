"""How good a network is on examples it was not trained on: loss, accuracy, probabilities, confusion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.batches import Batches
from model.data.datasets import Examples
from model.loss import cross_entropy, softmax
from model.network import MLP

BATCH = 1024
"""Examples a pass: large enough for full speed, small enough that the buffers stay a few MiB."""


@dataclass(frozen=True)
class Score:
    """Mean cross-entropy in nats, without smoothing, and the share of examples classified rightly, 0 to 1."""

    loss: float
    accuracy: float


def evaluate(network: MLP, examples: Examples, scale: float) -> Score:
    """Loss and accuracy of the network on the examples; input = pixel * scale."""
    loss, hits = 0.0, 0
    for labels in Batches(examples, scale, BATCH).into(network, examples.rows):
        batch_loss, batch_hits = cross_entropy(network.logits(len(labels)), labels)
        loss += batch_loss * len(labels)
        hits += batch_hits
    return Score(loss / len(examples), hits / len(examples))


def probabilities(network: MLP, examples: Examples, scale: float) -> NDArray[np.float32]:
    """Predicted probabilities (n, classes) of the examples, in the order of their rows."""
    batches = Batches(examples, scale, BATCH).into(network, examples.rows)
    return np.concatenate([softmax(network.logits(len(labels))).astype(np.float32) for labels in batches])


def confusion(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Counts (classes, classes): the row is the true class, the column the predicted one."""
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def calibration(hits: NDArray[np.bool_], confidence: NDArray[np.float32], groups: int = 10) -> list[dict[str, float]]:
    """Whether the network knows what it does not know: the examples by confidence, in groups of equal size.

    Equal sizes, because most confidences lie near 1 (Nixon et al. 2019, https://arxiv.org/abs/1904.01685).

    Args:
        hits: (n,), whether each example was classified rightly.
        confidence: (n,), the greatest of its predicted probabilities.
        groups: how many; fewer where there are fewer examples.

    Returns:
        Each group's `n`, mean `confidence` and `accuracy`, the least confident first.
    """
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, groups) if len(part)]
    return [
        {
            "n": len(part),
            "confidence": float(confidence[part].mean(dtype=np.float64)),
            "accuracy": float(hits[part].mean()),
        }
        for part in parts
    ]

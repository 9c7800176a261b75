"""Evaluation of a network on held-out examples, by every metric."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.batches import Batches
from model.data.datasets import Examples
from model.metrics import METRICS, Predictions
from model.network import BATCH, MLP
from model.network_stack import NetworkStack


def predict(network: MLP, examples: Examples) -> Predictions:
    """The network's logits for the examples, in the order of their rows."""
    logits = np.empty((len(examples), network.sizes[-1]), network.theta.dtype, order="F")
    done = 0
    for labels in Batches(examples, BATCH).into(network, examples.rows):
        logits[done : done + len(labels)] = network.logits(len(labels))
        done += len(labels)
    return Predictions(examples.labels[examples.rows], logits)


def evaluate(network: MLP, examples: Examples | Sequence[Examples]) -> dict[str, float]:
    """The value of every metric, by name; of a stack of networks the means, to 12 significant digits.

    As many mistakes, distributed over the networks in another way, then give the same accuracy to the last bit, so that
    trials tie and the validation loss decides.

    Args:
        network: one network, or a stack.
        examples: of the network, or of each network of the stack.
    """
    if not isinstance(examples, Examples):
        assert isinstance(network, NetworkStack)
        found = [evaluate(each, part) for each, part in zip(network.networks, examples, strict=True)]
        return {name: _mean([each[name] for each in found]) for name in METRICS}
    predictions = predict(network, examples)
    return {name: metric.compute(predictions) for name, metric in METRICS.items()}


def _mean(values: Sequence[float]) -> float:
    return float(f"{math.fsum(values) / len(values):.12g}")


def calibration(
    correct: NDArray[np.bool_], confidence: NDArray[np.floating], groups: int = 10
) -> list[dict[str, float]]:
    """Confidence and accuracy in groups of equal size, formed by confidence.

    Equal sizes, because most confidences are near 1 (Nixon et al. 2019, https://arxiv.org/abs/1904.01685).

    Args:
        correct: (n,), whether each example was classified correctly.
        confidence: (n,), the largest predicted probability of each example.
        groups: number of groups; fewer if there are fewer examples.

    Returns:
        `n`, mean `confidence` and `accuracy` of each group, the least confident first.
    """
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, groups) if len(part)]
    return [
        {
            "n": len(part),
            "confidence": float(confidence[part].mean(dtype=np.float64)),
            "accuracy": float(correct[part].mean()),
        }
        for part in parts
    ]

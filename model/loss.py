"""Softmax cross-entropy of logits and its gradient, finite for all finite logits.

Labels are integers; label smoothing mixes the one-hot target with the uniform one
(Szegedy et al. 2016, section 7): t = (1 - s) one_hot + s / classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def softmax(logits: Floats) -> Floats:
    """Turn logits into probabilities, in place, and return them.

    Args:
        logits: (n, classes). The largest of each row is subtracted first, so exp never overflows.
    """
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def cross_entropy(
    logits: Floats, labels: NDArray[np.int64], smoothing: float = 0.0, weights: Floats | None = None
) -> tuple[float, int]:
    """Mean loss and number of hits; `logits` is overwritten with the gradient of the mean loss with respect to it.

    With log-probabilities l = z - max - log(sum(exp(z - max))) the loss of a row is -sum(t * l), and its gradient is
    softmax(z) - t, which holds only for this pair of output and loss. A weight multiplies both.

    Args:
        logits: (n, classes), overwritten.
        labels: (n,), class indices.
        smoothing: probability mass of the target that is spread evenly over the classes, 0 to 1.
        weights: (n,), at least 0, the factor of each row's loss; None for 1.

    Returns:
        The loss in nats, summed over the rows and divided by n, and how many rows have their largest logit at their
        label.
    """
    n, classes = logits.shape
    rows = np.arange(n)
    logits -= logits.max(axis=1, keepdims=True)
    at_label = logits[rows, labels]
    hits = int(np.count_nonzero(at_label == 0))  # the largest logit of a row is now 0, so argmax is not needed
    spread = _sum(logits, weights) * smoothing / classes if smoothing else 0.0
    np.exp(logits, out=logits)
    total = logits.sum(axis=1, keepdims=True)
    loss = (_sum(np.log(total), weights) - (1 - smoothing) * _sum(at_label, weights) - spread) / n
    logits /= total * n
    logits[rows, labels] -= (1 - smoothing) / n
    if smoothing:
        logits -= smoothing / (classes * n)
    if weights is not None:
        logits *= weights[:, np.newaxis]
    return loss, hits


def _sum(rows: Floats, weights: Floats | None) -> float:
    """The sum of all elements, each row multiplied by its weight."""
    return float((rows if weights is None else weights @ rows).sum())

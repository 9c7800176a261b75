"""Weights of the training examples by their class.

`balanced` weights give every class the same sum of weights: an example of class k has n / (classes * n_k), with n_k of
the n examples in its class (King & Zeng 2001, "Logistic Regression in Rare Events Data", section 4; the same as
scikit-learn's `class_weight="balanced"`). Their mean is 1, and with classes of equal size each of them is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.datasets import Examples


def weigh(
    class_weights: str, examples: Examples, weights: NDArray[np.floating[Any]] | None
) -> NDArray[np.float32] | None:
    """The factor of each example's loss; None if all are 1, so that the training steps need not multiply.

    Args:
        class_weights: `none`, or `balanced` to multiply the weights by those that balance the classes.
        examples: the training examples.
        weights: by row of `examples.labels`, at least 0; None for 1.

    Returns:
        Weights by row of `examples.labels`; only those at `examples.rows` are used.
    """
    if class_weights == "balanced":
        weights = _balanced(examples, weights)
    if weights is None or (weights[examples.rows] == 1).all():
        return None
    with np.errstate(under="ignore"):
        return weights.astype(np.float32)


def weigh_folds(class_weights: str, folds: Sequence[Examples]) -> NDArray[np.float32] | None:
    """The factors (folds, n) of the losses of each fold's examples, or None if all are 1; see `weigh`."""
    found = [weigh(class_weights, examples, None) for examples in folds]
    if all(each is None for each in found):
        return None
    ones = np.ones(len(folds[0].labels), np.float32)
    return np.stack([ones if each is None else each for each in found])


def _balanced(examples: Examples, weights: NDArray[np.floating[Any]] | None) -> NDArray[np.floating[Any]]:
    """The weights multiplied by one factor per class; classes without training examples count for nothing."""
    rows = examples.rows
    counts = np.bincount(
        examples.labels[rows], None if weights is None else weights[rows], minlength=examples.labels.max() + 1
    )
    occurs = counts > 0
    factors = np.divide(counts.sum(), occurs.sum() * counts, out=np.zeros(len(counts)), where=occurs)
    balanced: NDArray[np.floating[Any]] = factors[examples.labels] * (1 if weights is None else weights)
    return balanced

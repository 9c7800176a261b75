"""The metrics of a classifier. Each metric is one entry of `METRICS`, which all other code reads.

A study's objective is a metric of the validation examples, so that its name in study files, records and MLflow is
`validation_<metric>`: `metric_of("validation_loss")` and `metric_of("loss")` are the same metric.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.loss import Floats, cross_entropy, softmax
from model.network import BATCH

PREFIX = "validation_"
LARGE = 1e6
"""From here on, losses are printed in scientific notation."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of a network for some examples.

    Attributes:
        labels: (n,) int64, the true class of each example.
        logits: (n, classes) float32, in column-major order.
    """

    labels: NDArray[np.int64]
    logits: Floats

    @cached_property
    def probabilities(self) -> Floats:
        """(n, classes), in the dtype of the logits."""
        return softmax(self.logits.copy(order="K"))

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """(n,) the most probable class of each example."""
        predicted: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return predicted

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """Counts (classes, classes): the row is the true class, the column the predicted one."""
        classes = self.logits.shape[1]
        counts = np.bincount(self.labels * classes + self.predicted, minlength=classes * classes)
        return counts.reshape(classes, classes)


@dataclass(frozen=True)
class Metric:
    """A metric of predictions.

    Attributes:
        name: of the metric, as in `METRICS`.
        direction: as in Optuna: whether a higher or a lower value is better.
        compute: returns its value for some predictions.
        percent: whether it is printed as a percentage; otherwise it is a loss in nats.
    """

    name: str
    direction: Literal["maximize", "minimize"]
    compute: Callable[[Predictions], float]
    percent: bool = True

    @property
    def objective(self) -> str:
        """Its name as an objective, an epoch's column and an MLflow metric: `validation_<name>`."""
        return f"{PREFIX}{self.name}"

    @property
    def label(self) -> str:
        """Its name in sentences and on axes."""
        return self.name.replace("_", " ")

    @property
    def maximize(self) -> bool:
        """Whether a higher value is better."""
        return self.direction == "maximize"

    def cost(self, value: float) -> float:
        """The value, negated if higher is better, for sorting."""
        return -value if self.maximize else value

    def is_better(self, value: float, than: float) -> bool:
        """Whether a value is better than another."""
        return self.cost(value) < self.cost(than)

    def format(self, value: float) -> str:
        """The value as text: fractions in per cent, losses with four decimals, or two digits if tiny or huge."""
        if self.percent:
            return f"{100 * value:.2f} %"
        return f"{value:.1e}" if 0 < value < 1e-3 or value >= LARGE else f"{value:.4f}"


def metric_of(objective: str) -> Metric:
    """The metric of an objective, with or without `validation_`.

    Raises:
        KeyError: there is no such metric.
    """
    return METRICS[objective.removeprefix(PREFIX)]


def _loss(predictions: Predictions) -> float:
    """Mean cross-entropy in nats, from the logits: the logarithm of a probability that underflowed is -inf."""
    total = 0.0
    for start in range(0, len(predictions.labels), BATCH):
        labels = predictions.labels[start : start + BATCH]
        loss, _ = cross_entropy(predictions.logits[start : start + BATCH].copy(order="K"), labels)
        total += loss * len(labels)
    return total / len(predictions.labels)


def _accuracy(predictions: Predictions) -> float:
    """Fraction of examples whose label has the largest logit; a tie for the largest counts as correct."""
    rows = np.arange(len(predictions.labels))
    right = predictions.logits[rows, predictions.labels] == predictions.logits.max(axis=1)
    return int(np.count_nonzero(right)) / len(rows)


def _balanced_accuracy(predictions: Predictions) -> float:
    """Mean recall of the classes that occur among the labels (Brodersen et al. 2010)."""
    counts = predictions.confusion
    occurs = counts.sum(axis=1) > 0
    return float((counts.diagonal()[occurs] / counts.sum(axis=1)[occurs]).mean())


def _macro_f1(predictions: Predictions) -> float:
    """Mean over classes of 2 TP / (2 TP + FP + FN); classes that are neither a label nor predicted are ignored."""
    counts = predictions.confusion
    total = counts.sum(axis=0) + counts.sum(axis=1)
    occurs = total > 0
    return float((2 * counts.diagonal()[occurs] / total[occurs]).mean())


def _roc_auc(predictions: Predictions) -> float:
    """Area under the ROC curve of each class against the rest, mean over classes (Hand & Till 2001, section 2).

    For one class it is the fraction of pairs (an example of it, another) that its probability orders correctly, ties
    counted half. A class without such pairs is ignored; NaN if no class has any. The probabilities are float64, because
    in float32 confident predictions tie at 0 and 1.
    """
    areas, probabilities = [], softmax(predictions.logits.astype(np.float64))
    for label in range(predictions.logits.shape[1]):
        positive = predictions.labels == label
        scores = probabilities[:, label]
        own, others = scores[positive], np.sort(scores[~positive])
        if len(own) and len(others):
            below, up_to = np.searchsorted(others, own, "left"), np.searchsorted(others, own, "right")
            areas.append((int(below.sum()) + int(up_to.sum())) / (2 * len(own) * len(others)))
    return sum(areas) / len(areas) if areas else float("nan")


METRICS = {
    metric.name: metric
    for metric in (
        Metric("loss", "minimize", _loss, percent=False),
        Metric("accuracy", "maximize", _accuracy),
        Metric("balanced_accuracy", "maximize", _balanced_accuracy),
        Metric("macro_f1", "maximize", _macro_f1),
        Metric("roc_auc", "maximize", _roc_auc),
    )
}

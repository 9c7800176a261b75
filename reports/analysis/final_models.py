"""How accurate the final models are on the test set."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reports.analysis.statistics import wilson
from studies.record.reader import SweepRecord


@dataclass(frozen=True)
class FinalAccuracy:
    """Test accuracy of the final models, one for each fresh seed.

    Attributes:
        examples: number of test examples.
        accuracies: of each final model, in 0..1; the first is the shipped model.
        mean: of the accuracies.
        low, high: 95 % interval of the mean over test examples, the Wilson interval for one model of that accuracy.
            All models share the examples, so averaging narrows it little; it is conservative. It does not include
            the variation between seeds, which the spread of `accuracies` shows.
        shipped_low, shipped_high: the same for the shipped model alone.
        opening: number of times this test set was opened, including this one.
        epochs: number of epochs that the final models were trained for.
    """

    examples: int
    accuracies: tuple[float, ...]
    mean: float
    low: float
    high: float
    shipped_low: float
    shipped_high: float
    opening: int
    epochs: int


def final_accuracy(record: SweepRecord) -> FinalAccuracy | None:
    """The test results; None before the test set is opened."""
    if not record.verdict:
        return None
    test = record.verdict["test"]
    n, accuracies = int(test["examples"]), tuple(float(value) for value in test["accuracies"])
    mean = math.fsum(accuracies) / len(accuracies)
    opening, epochs = int(test["opening"]), int(record.verdict["epochs"])
    return FinalAccuracy(n, accuracies, mean, *wilson(mean, n), *wilson(accuracies[0], n), opening, epochs)

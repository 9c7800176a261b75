"""How accurate the final models are on the test set."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reports.analysis.statistics import wilson
from studies.record.reader import SweepRecord


@dataclass(frozen=True)
class FinalAccuracy:
    """What the final models, one a fresh seed, made of the test set.

    Attributes:
        examples: how many there are.
        accuracies: of each final model, in 0..1; the first is the model that is shipped.
        mean: of the accuracies.
        low, high: 95 % interval of the mean over other test examples, Wilson's for one model of that accuracy. All
            models share the examples, so that averaging them narrows it little; for these models it is, if anything,
            too wide. Of other seeds it says nothing: the spread of `accuracies` does.
        shipped_low, shipped_high: the same for the shipped model alone.
        opening: how often this test set had been opened, this time included.
        epochs: for which the final models were trained.
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
    """The test set's numbers; None while it is closed."""
    if not record.verdict:
        return None
    test = record.verdict["test"]
    n, accuracies = int(test["examples"]), tuple(float(value) for value in test["accuracies"])
    mean = math.fsum(accuracies) / len(accuracies)
    opening, epochs = int(test["opening"]), int(record.verdict["epochs"])
    return FinalAccuracy(n, accuracies, mean, *wilson(mean, n), *wilson(accuracies[0], n), opening, epochs)

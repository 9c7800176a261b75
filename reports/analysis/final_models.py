"""How good the final models are on the test set: their accuracy, and the objective where it is another metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reports.analysis.statistics import wilson
from studies.record.reader import SweepRecord

TESTED_BY_ACCURACY = ("accuracy", "loss")
"""Objectives for which a more accurate model is the better one; the others weigh the classes in another way."""


@dataclass(frozen=True)
class FinalAccuracy:
    """Test accuracy of the champion's final models, each with a seed of its own.

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


@dataclass(frozen=True)
class FinalDifference:
    """Champion against baseline on the test set, paired over its examples.

    Attributes:
        baseline: mean test accuracy of the baseline's final models.
        mean: the champion's mean test accuracy less the baseline's.
        low, high: its 95 % interval over test examples.
    """

    baseline: float
    mean: float
    low: float
    high: float


def final_difference(record: SweepRecord) -> FinalDifference | None:
    """The difference of the test accuracies; None if the baseline is the champion, and in older records."""
    test = record.verdict["test"] if record.verdict else {}
    found = (test.get("difference") or {}).get("accuracy")
    if not found:
        return None
    accuracies = test["baseline"]["accuracies"]
    return FinalDifference(math.fsum(accuracies) / len(accuracies), found["mean"], found["low"], found["high"])


@dataclass(frozen=True)
class FinalObjective:
    """The study's objective on the test set.

    Attributes:
        values: of each final model, as `FinalAccuracy.accuracies`.
        mean: of the values.
        baseline: mean over the baseline's final models; None if the baseline is the champion, and in older records.
    """

    values: tuple[float, ...]
    mean: float
    baseline: float | None


def final_objective(record: SweepRecord) -> FinalObjective | None:
    """The objective on the test set where the accuracy does not stand for it.

    None before the test set is opened, and in records of versions that did not record it.
    """
    name, test = record.metric.name, record.verdict["test"] if record.verdict else {}
    values = _values(name, test)
    if name in TESTED_BY_ACCURACY or not values:
        return None
    others = _values(name, test.get("baseline") or {})
    return FinalObjective(values, math.fsum(values) / len(values), math.fsum(others) / len(others) if others else None)


def _values(name: str, test: Mapping[str, Any]) -> tuple[float, ...]:
    """A metric of each final model; empty if it is not known of all."""
    recorded = test.get("metrics", [])
    values = tuple(float(metrics[name]) for metrics in recorded if metrics.get(name) is not None)
    return values if len(values) == len(recorded) else ()

"""What an epoch costs by its settings: the same on every machine and under any load, so that it may decide what to do.

Measured seconds would make the answer depend on the clock. Only ratios count.
"""

from __future__ import annotations

from dataclasses import dataclass

from model.data.datasets import Dataset
from model.hyperparameters import Hyperparameters
from model.network import parameters

PER_PRODUCT_US, PER_WEIGHT_US, PER_STEP_US = 2.0e-5, 9.5e-4, 53.0
"""Microseconds of a step for each weight and example, for each weight (the optimizer), and for itself.

Fitted to the steps of 128-64 and 512-256 units with batches of 32 to 512 in tests/benchmarks/README.md, to within 15 %.
"""


@dataclass(frozen=True)
class CostModel:
    """The cost of an epoch on one dataset.

    Attributes:
        features: inputs of the network.
        classes: outputs of the network.
        examples: training examples of each training.
        folds: trainings of a trial, whose networks take their steps together.
    """

    features: int
    classes: int
    examples: int
    folds: int = 1

    @classmethod
    def of(cls, data: Dataset, folds: int = 1) -> CostModel:
        """For a dataset as one of the folds splits it."""
        return cls(data.preprocessing.features, data.classes, len(data.train), folds)

    def epoch(self, settings: Hyperparameters) -> float:
        """About how long an epoch of a trial takes on one core, in microseconds."""
        weights = parameters((self.features, *settings.hidden_sizes, self.classes))
        batch = min(settings.batch_size, self.examples)
        step = self.folds * weights * (PER_PRODUCT_US * batch + PER_WEIGHT_US) + PER_STEP_US
        return step * self.examples / batch

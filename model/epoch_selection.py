"""The rule that selects the epoch of a training run whose weights are kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

from model.epoch import Epoch
from model.metrics import Metric, metric_of


@dataclass(frozen=True)
class EpochSelection:
    """The rule for the selected epoch of a training run: the `best` by the objective, or the `last`.

    Ties go to the lower validation loss, then to the earlier epoch. Without validation `best` is the first epoch.

    Attributes:
        objective: `validation_<metric>`.
        epoch: `best` or `last`.
    """

    objective: str = "validation_accuracy"
    epoch: str = "best"

    @property
    def metric(self) -> Metric:
        """The metric of the objective."""
        return metric_of(self.objective)

    def value(self, epoch: Epoch) -> float | None:
        """The objective at an epoch; None without validation examples."""
        return epoch.validation.get(self.metric.name)

    def prefers(self, new: Epoch, old: Epoch | None) -> bool:
        """Whether the later epoch `new` is selected instead of `old`."""
        return old is None or self.epoch == "last" or self._cost(new) < self._cost(old)

    def _cost(self, epoch: Epoch) -> tuple[float, float]:
        value, loss = (epoch.validation.get(name, math.nan) for name in (self.metric.name, "loss"))
        return self.metric.cost(value), loss

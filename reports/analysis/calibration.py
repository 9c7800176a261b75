"""Whether the shipped model's confidence matches its accuracy on the test set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.analysis.statistics import Floats, wilson
from studies.record.reader import SweepRecord


@dataclass(frozen=True)
class Calibration:
    """Confidence and accuracy of the shipped model on the test set; arrays are (groups,), by rising confidence.

    Attributes:
        n: examples in each group.
        confidence: mean probability of the predicted class.
        accuracy: fraction classified correctly.
        low, high: its 95 % Wilson interval over test examples.
        error: expected calibration error (Guo et al. 2017, https://arxiv.org/abs/1706.04599): mean difference.
    """

    n: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats
    low: Floats
    high: Floats
    error: float


def calibration(record: SweepRecord) -> Calibration | None:
    """The shipped model's calibration; None before the test set is opened, or if it was not recorded."""
    groups = (record.verdict or {}).get("test", {}).get("calibration")
    if not groups:
        return None
    n = np.array([group["n"] for group in groups])
    confidence, accuracy = (np.array([group[key] for group in groups], float) for key in ("confidence", "accuracy"))
    ends = np.array([wilson(share, int(size)) for share, size in zip(accuracy, n, strict=True)])
    error = float(np.abs(confidence - accuracy) @ n / n.sum())
    return Calibration(n, confidence, accuracy, ends[:, 0], ends[:, 1], error)

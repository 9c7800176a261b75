"""The most confident mistakes on the test set."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.analysis.statistics import Floats
from studies.record.reader import SweepRecord


@dataclass(frozen=True)
class Mistake:
    """A wrongly classified test example.

    Attributes:
        image: (height, width), in any units.
        label, predicted: class indices.
        probability: of the wrong class, in 0..1.
    """

    image: Floats
    label: int
    predicted: int
    probability: float


def confident_mistakes(record: SweepRecord) -> list[Mistake]:
    """The most confident mistakes on the test set, most confident first; none if the examples are not images."""
    shape = tuple(record.dataset["shape"])
    if not record.verdict or len(shape) != 2:
        return []
    found = [_mistake(entry, shape) for entry in record.verdict["test"].get("mistakes", [])]
    return sorted((m for m in found if m is not None), key=lambda mistake: -mistake.probability)


def _mistake(entry: Mapping[str, Any], shape: tuple[int, ...]) -> Mistake | None:
    pixels = np.frombuffer(base64.b64decode(entry["image"]), dtype=np.dtype(entry["dtype"]))
    if pixels.size != math.prod(shape):
        return None
    image = pixels.reshape(shape).astype(np.float64)
    return Mistake(image, int(entry["label"]), int(entry["predicted"]), float(entry["probability"]))

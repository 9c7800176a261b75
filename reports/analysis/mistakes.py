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

CHANNELS = 3
"""Of a picture in colour: red, green and blue."""


@dataclass(frozen=True)
class Mistake:
    """A wrongly classified test example.

    Attributes:
        row: its number among the test examples, from 0.
        label, predicted: class indices.
        probability: of the wrong class, in 0..1.
        image: (height, width) in any units, or (height, width, 3) in 0..1; None if the examples are not images.
    """

    row: int
    label: int
    predicted: int
    probability: float
    image: Floats | None


def confident_mistakes(record: SweepRecord) -> list[Mistake]:
    """The most confident mistakes on the test set, most confident first; none before the test set is opened."""
    if not record.verdict:
        return []
    shape = tuple(record.dataset["shape"])
    found = [_mistake(entry, shape) for entry in record.verdict["test"].get("mistakes", [])]
    return sorted(found, key=lambda mistake: -mistake.probability)


def _mistake(entry: Mapping[str, Any], shape: tuple[int, ...]) -> Mistake:
    numbers = int(entry["index"]), int(entry["label"]), int(entry["predicted"])
    return Mistake(*numbers, float(entry["probability"]), _image(entry, shape))


def _image(entry: Mapping[str, Any], shape: tuple[int, ...]) -> Floats | None:
    """The picture of an example of this shape: grey, or with its channels last."""
    if len(shape) == 3 and shape[-1] == 1:
        shape = shape[:2]
    if "image" not in entry or not (len(shape) == 2 or (len(shape) == 3 and shape[-1] == CHANNELS)):
        return None
    pixels = np.frombuffer(base64.b64decode(entry["image"]), dtype=np.dtype(entry["dtype"]))
    if pixels.size != math.prod(shape):
        return None
    image = pixels.reshape(shape).astype(np.float64)
    return image if len(shape) == 2 else _colours(image)


def _colours(image: Floats) -> Floats:
    """Colours in 0..1, as they are drawn: from 0..1 or 0..255, or from any other range by the image's own ends."""
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 255:
        return (image - low) / (high - low)
    return image / 255 if high > 1 else image

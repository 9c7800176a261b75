"""Settings of a finite space that were not tried yet: each of them is tried once before any is repeated."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from model.hyperparameters import Hyperparameters
from studies.definition import Study


def untried(study: Study, tried: Collection[Hyperparameters], seed: Sequence[int]) -> Hyperparameters | None:
    """The first setting that is not in `tried`, from a random place in the list of all.

    Args:
        study: the study definition.
        tried: settings that were tried.
        seed: of the random place.

    Returns:
        None if all were tried, and for an infinite space, where samplers repeat nothing.
    """
    counts = [dimension.count() for dimension in study.space.values()]
    sizes = [count for count in counts if count is not None]
    if len(sizes) < len(counts):
        return None
    total = math.prod(sizes)
    start = int(np.random.default_rng(seed).random() * total)
    places = ((start + step) % total for step in range(min(total, len(tried) + 1)))
    found = (_setting(study, sizes, place) for place in places)
    return next((settings for settings in found if settings not in tried), None)


def _setting(study: Study, sizes: list[int], place: int) -> Hyperparameters:
    """The setting at a place in the list of all, the first dimension changing fastest."""
    values = {}
    for (key, dimension), size in zip(study.space.items(), sizes, strict=True):
        place, index = divmod(place, size)
        values[key] = dimension.at(index)
    return Hyperparameters(**{**study.baseline.as_dict(), **values})

"""Dropout (Srivastava et al. 2014): while training, each unit is set to 0 with a given probability.

The units that stay are divided by the share that stays, so that prediction needs no correction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS = 65536
"""Values of sixteen random bits, which decide for one unit in a third of the time that a random float takes."""
BLOCK = 16384
"""Units a block: their random bits (32 KiB) stay in a core's cache until they are used."""


class Dropout:
    """Shares of units to drop, and the random bits that choose them.

    Args:
        inputs: share of input units to drop, 0 to 1; rounded to a multiple of 1 / 65,536 below 1.
        hidden: the same for hidden units.
        rng: a generator whose raw words have 64 bits, as `default_rng` makes them.

    Attributes:
        inputs, hidden: the rounded shares.
    """

    def __init__(self, inputs: float, hidden: float, rng: np.random.Generator) -> None:
        self.inputs, self.hidden = _rounded(inputs), _rounded(hidden)
        self._bits = rng.bit_generator
        self._keep = np.empty(BLOCK, bool)

    def drop(
        self,
        activations: NDArray[np.floating[Any]],
        share: float,
        slope: NDArray[np.floating[Any]] | None = None,
    ) -> None:
        """Drop units of activations (n, units + 1), contiguous, in place; the last column, the ones, stays.

        Args:
            activations: of a layer.
            share: `inputs` or `hidden`, one of the rounded shares.
            slope: of the same shape; the slopes of the dropped units become 0 too, if given.
        """
        if not share:
            return
        threshold, flat = round(share * LEVELS), activations.reshape(-1, copy=False)
        slopes = None if slope is None else slope.reshape(-1, copy=False)
        for start in range(0, len(flat), BLOCK):
            block = flat[start : start + BLOCK]
            bits = self._bits.random_raw(-(-len(block) // 4)).view(np.uint16)[: len(block)]
            keep = np.greater_equal(bits, threshold, out=self._keep[: len(block)])
            block *= keep
            if slopes is not None:
                slopes[start : start + BLOCK] *= keep
        flat *= 1 / (1 - share)
        activations[:, -1] = 1


def _rounded(share: float) -> float:
    return min(round(share * LEVELS), LEVELS - 1) / LEVELS

"""Dropout (Srivastava et al. 2014): during training, each unit is set to 0 with a given probability.

The kept units are divided by the probability of being kept, so that prediction needs no correction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS = 65536
"""Number of values of the 16 random bits per unit, which take a third of the time of a random float."""
BLOCK_SIZE = 16384
"""Units per block: their random bits (32 KiB) stay in the cache until they are used."""


class Dropout:
    """Dropout of input and hidden units, with its random bits.

    Args:
        inputs: dropout probability of input units, 0 to 1; rounded to a multiple of 1 / 65,536 below 1.
        hidden: the same for hidden units.
        rng: a generator whose raw words have 64 bits, as `default_rng` makes them.

    Attributes:
        inputs, hidden: the rounded probabilities.
    """

    def __init__(self, inputs: float, hidden: float, rng: np.random.Generator) -> None:
        self.inputs, self.hidden = _rounded(inputs), _rounded(hidden)
        self._bits = rng.bit_generator
        self._keep = np.empty(BLOCK_SIZE, bool)

    def drop(
        self,
        activations: NDArray[np.floating[Any]],
        share: float,
        slope: NDArray[np.floating[Any]] | None = None,
    ) -> None:
        """Drop units of contiguous activations (..., units + 1) in place; the last column of ones is kept.

        Args:
            activations: of a layer.
            share: the dropout probability, `inputs` or `hidden`.
            slope: of the same shape; the slopes of the dropped units become 0 too, if given.
        """
        if not share:
            return
        threshold, flat = round(share * LEVELS), activations.reshape(-1, copy=False)
        slopes = None if slope is None else slope.reshape(-1, copy=False)
        for start in range(0, len(flat), BLOCK_SIZE):
            block = flat[start : start + BLOCK_SIZE]
            bits = self._bits.random_raw(-(-len(block) // 4)).view(np.uint16)[: len(block)]
            keep = np.greater_equal(bits, threshold, out=self._keep[: len(block)])
            block *= keep
            if slopes is not None:
                slopes[start : start + BLOCK_SIZE] *= keep
        flat *= 1 / (1 - share)
        activations[..., -1] = 1


def _rounded(share: float) -> float:
    return min(round(share * LEVELS), LEVELS - 1) / LEVELS

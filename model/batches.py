"""Batches of examples, gathered by row into the network's input buffer.

Pixels are bytes until then: 50,000 images as float32 would take 150 MiB, and shuffling would copy them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from model.data.datasets import Examples
from model.network import MLP


class Batches:
    """Read batches of `size` examples; the last one of a pass may be shorter.

    Args:
        examples: the examples to read.
        size: examples per batch.
    """

    def __init__(self, examples: Examples, size: int) -> None:
        self._examples = examples
        self._size = size
        self._raw = np.empty((size, *examples.inputs.shape[1:]), examples.inputs.dtype)

    def into(self, network: MLP, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Feed the network the examples at `rows` (n,), in that order, and yield each batch's labels."""
        for start in range(0, len(rows), self._size):
            batch = rows[start : start + self._size]
            raw = self._raw[: len(batch)]
            # "clip" avoids a buffered copy: 3 microseconds instead of 7 for 128 images; the rows are always valid
            np.take(self._examples.inputs, batch, axis=0, out=raw, mode="clip")
            network.feed(raw)
            yield self._examples.labels[batch]

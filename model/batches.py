"""Batches of examples: gathered by row into the network's input buffer.

Pixels stay bytes until here: 50,000 images as float32 would take 150 MiB, and shuffling them would copy that again.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from model.data.datasets import Examples
from model.network import MLP


class Batches:
    """Reads batches of `size` examples; the last one of a pass may be shorter.

    Args:
        examples: where the rows come from.
        size: examples a batch.
    """

    def __init__(self, examples: Examples, size: int) -> None:
        self._examples = examples
        self._size = size
        self._raw = np.empty((size, *examples.images.shape[1:]), examples.images.dtype)

    def into(self, network: MLP, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Feed the network the examples at `rows` (n,), in that order, and yield each batch's labels."""
        for start in range(0, len(rows), self._size):
            batch = rows[start : start + self._size]
            raw = self._raw[: len(batch)]
            # "clip" spares a buffered copy: 3 microseconds instead of 7 for 128 images; the rows are valid anyway
            np.take(self._examples.images, batch, axis=0, out=raw, mode="clip")
            network.feed(raw)
            yield self._examples.labels[batch]

"""A complete dataset in memory, as returned by the reader of each format."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Arrays:
    """A checked dataset with separate test examples.

    Attributes:
        images: (n, features) uint8 or float32, the examples for training and validation.
        labels: (n,) int64, in 0 .. classes - 1.
        test_images: (m, features), as images.
        test_labels: (m,) int64.
        classes: Number of different labels.
        shape: The shape of one example before it was flattened.
        scale: Factor from a stored feature to the network's input.
    """

    images: NDArray[Any]
    labels: NDArray[np.int64]
    test_images: NDArray[Any]
    test_labels: NDArray[np.int64]
    classes: int
    shape: tuple[int, ...]
    scale: float

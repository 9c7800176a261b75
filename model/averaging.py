"""The running mean of the weights over the latest steps, which is evaluated instead of the weights themselves.

Polynomial-decay averaging (Shamir & Zhang 2013, arXiv 1212.1824, section 4): after step k

    mean += a_k (theta - mean),   a_k = (eta + 1) / (k + eta),   eta = 1 / share - 1.

Step j then has a weight in proportion to j^eta, so that the mean always reaches over about the latest `share` of all
steps so far, however many they are: no horizon is chosen in advance (`share` = 1 is the plain mean of Polyak & Juditsky
1992). With a constant learning rate the averaged weights are after every epoch about as good as those of a schedule
that ends there (Haegele et al. 2024, arXiv 2405.18392, and Morales-Brotons et al. 2024, arXiv 2411.18704).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.adam import CHUNK_SIZE

Floats = NDArray[np.floating[Any]]

STEPS_PER_UPDATE = 8
"""Steps that one update covers, as if the weights had not changed in between: a pass over two vectors then costs about
1 % of the steps, and the mean differs from that over all steps by far less than from that of another seed."""


class WeightAverage:
    """The running mean of a flat vector of weights.

    Attributes:
        mean: (parameters,) changed in place.
        t: steps taken into the mean.
    """

    def __init__(self, mean: Floats, share: float) -> None:
        """Begin before the first step.

        Args:
            mean: (parameters,) in the dtype of the weights; its content is replaced by the first update.
            share: fraction of the latest steps that the mean reaches over, above 0 and at most 1.
        """
        self.mean = mean
        self.t = 0
        self._eta = 1 / share - 1
        self._scratch = np.empty(min(CHUNK_SIZE, mean.size), mean.dtype)

    def is_due(self, step: int) -> bool:
        """Whether to update after this step, counted from 1."""
        return step % STEPS_PER_UPDATE == 0

    def update(self, theta: Floats, step: int) -> None:
        """Take the weights `theta` (parameters,) into the mean, for all steps since the last update up to `step`."""
        rest = math.prod((k - 1) / (k + self._eta) for k in range(self.t + 1, step + 1))
        share = np.array(1 - rest, theta.dtype)
        for start in range(0, theta.size, CHUNK_SIZE):
            weights, mean = theta[start : start + CHUNK_SIZE], self.mean[start : start + CHUNK_SIZE]
            scratch = self._scratch[: weights.size]
            np.subtract(weights, mean, scratch)
            np.multiply(scratch, share, scratch)
            np.add(mean, scratch, mean)
        self.t = step

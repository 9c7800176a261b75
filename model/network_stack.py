"""Networks of one shape, trained together: one product of stacked matrices instead of one product for each network.

A small network spends most of a step in the calls of NumPy, not in the arithmetic: with 13 inputs, 64 units and a batch
of 16, a step of five stacked networks takes a quarter of five single steps, with 64 inputs, 128 and 64 units and a
batch of 128 two thirds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from model.loss import cross_entropy
from model.network import MLP, Floats


class NetworkStack(MLP):
    """The networks as one, whose arrays have one dimension more in front: the network.

    Attributes:
        theta: (networks * parameters,) the weights of one network after another.
        networks: the single networks, whose weights are views into `theta`.

    Args:
        networks: of the same sizes and activation; their weights are copied.
    """

    def __init__(self, networks: Sequence[MLP]) -> None:
        first = networks[0]
        self.sizes, self.activation = first.sizes, first.activation
        self.stack = (len(networks),)
        self.theta = np.concatenate([network.theta for network in networks])
        rows = self.theta.reshape(len(networks), -1, copy=False)
        self.networks = tuple(network.around(row) for network, row in zip(networks, rows, strict=True))
        # (networks, 1, 1), to be multiplied with inputs (networks, n, features)
        self._scales = np.array([network.scale for network in networks], self.theta.dtype).reshape(-1, 1, 1)
        self._offsets = np.array([network.offset for network in networks]).reshape(-1, 1, 1)
        self._is_plain = not self._offsets.any() and bool((self._scales == 1).all())
        self._set_up()

    def __reduce__(self) -> tuple[type[NetworkStack], tuple[tuple[MLP, ...]]]:
        """The constructor's arguments, for copies and pickles."""
        return type(self), (self.networks,)

    def with_weights(self, theta: NDArray[Any], dtype: DTypeLike = np.float32) -> NetworkStack:
        """A stack like this one with other weights (networks * parameters,), copied and converted to `dtype`."""
        rows = theta.reshape(len(self.networks), -1)
        return NetworkStack([net.with_weights(row, dtype) for net, row in zip(self.networks, rows, strict=True)])

    def feed(self, batch: NDArray[Any]) -> None:
        """Set `batch` (networks, n, features), less each network's offset and times its scale, as the input."""
        inputs = self._of_size(batch.shape[1]).activations[0]
        if self._is_plain:
            inputs[..., :-1] = batch
            return
        np.subtract(batch, self._offsets, out=inputs[..., :-1], dtype=np.float64, casting="same_kind")
        inputs[..., :-1] *= self._scales

    def _loss(
        self, logits: Floats, labels: NDArray[np.int64], smoothing: float, example_weights: Floats | None
    ) -> tuple[float, int]:
        """The mean loss and the hits of all networks; the logits become the gradients of each one's mean loss."""
        rows = logits.reshape(-1, logits.shape[-1], copy=False)
        weights = None if example_weights is None else example_weights.ravel()
        loss, hits = cross_entropy(rows, labels.ravel(), smoothing, weights)
        rows *= len(self.networks)  # `cross_entropy` divided by the examples of all networks
        return loss, hits

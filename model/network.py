"""A multilayer perceptron: ReLU layers, then logits. All weights are one flat vector; the layers are views into it.

The optimizer, the gradient check, checkpoints and weight files therefore take one array. The price is aliasing:
changing `theta` changes the layers. Layout: for each layer its weights (in, out) row by row, then its biases (out,).

A step allocates nothing large: the activations of a batch live in buffers that are made once a batch size and reused,
so the arrays a method returns are overwritten by the next call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from model.loss import cross_entropy, softmax

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Layer:
    """Views into a flat vector: weights (in, out) and biases (out,)."""

    weights: Floats
    biases: Floats


@dataclass(frozen=True)
class Dropout:
    """Shares of units to set to 0 in training, and the generator that draws which (Srivastava et al. 2014).

    The units that stay are divided by the share that stays, so that prediction needs no correction.
    """

    inputs: float
    hidden: float
    rng: np.random.Generator


class _Buffers:
    """Arrays of one batch size: activations and their gradients (n, units) of each layer, and scratch."""

    def __init__(self, sizes: Sequence[int], n: int, dtype: DTypeLike) -> None:
        self.activations = [np.empty((n, size), dtype) for size in sizes]
        self.gradients = [np.empty((n, size), dtype) for size in sizes[1:-1]]
        self.masks = [np.empty((n, size), bool) for size in sizes[:-1]]
        self.ones = np.ones(n, dtype)


class MLP:
    """The network. Built with zero weights; see `initialise`.

    Attributes:
        sizes: units of every layer, input and output included.
        theta: (parameters,) all weights and biases.
        gradient: (parameters,) what the last `backpropagate` found, laid out as `theta`.
        layers: views into `theta`.
    """

    def __init__(self, sizes: Sequence[int], dtype: DTypeLike = np.float32) -> None:
        self.sizes = tuple(int(size) for size in sizes)
        self.theta: Floats = np.zeros(parameters(self.sizes), dtype)
        self.gradient: Floats = np.zeros_like(self.theta)
        self.layers = _views(self.theta, self.sizes)
        self._gradients = _views(self.gradient, self.sizes)
        self._buffers: dict[int, _Buffers] = {}

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw weights from N(0, 2 / in) and set biases to 0 (He et al. 2015, equation 10, for ReLU)."""
        for layer in self.layers:
            fan_in = layer.weights.shape[0]
            layer.weights[...] = rng.standard_normal(layer.weights.shape) * np.sqrt(2 / fan_in)
            layer.biases[...] = 0

    def inputs(self, n: int) -> Floats:
        """The buffer (n, features) to fill with a batch before `backpropagate` or `logits` is called for it."""
        return self._of_size(n).activations[0]

    def logits(self, n: int, dropout: Dropout | None = None) -> Floats:
        """Logits (n, classes) of the batch in `inputs(n)`."""
        buffers = self._of_size(n)
        if dropout and dropout.inputs:
            _drop(buffers.activations[0], buffers.masks[0], dropout.inputs, dropout.rng)
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            output = buffers.activations[i + 1]
            np.matmul(buffers.activations[i], layer.weights, out=output)  # (n, in) @ (in, out)
            output += layer.biases
            if i < last:
                np.maximum(output, 0, out=output)
                if dropout and dropout.hidden:
                    _drop(output, buffers.masks[i + 1], dropout.hidden, dropout.rng)
        return buffers.activations[-1]

    def backpropagate(
        self, n: int, labels: NDArray[np.int64], smoothing: float = 0.0, dropout: Dropout | None = None
    ) -> tuple[float, int]:
        """Set `gradient` to that of the mean loss over the batch in `inputs(n)`.

        For z = a W + b and the loss's gradient d with respect to z: that of W is a^T d, of b the column sums of d,
        and of a it is d W^T, which passes a ReLU where a > 0. A dropped unit has a = 0, so the same test stops it too.

        Args:
            n: examples in the batch.
            labels: (n,) class indices.
            smoothing: label smoothing, 0 to 1.
            dropout: which units to drop; None for none.

        Returns:
            The mean loss (with smoothing), and how many examples were classified rightly.
        """
        buffers = self._of_size(n)
        delta = self.logits(n, dropout)
        loss, hits = cross_entropy(delta, labels, smoothing)
        for i in range(len(self.layers) - 1, -1, -1):
            inputs = buffers.activations[i]
            np.matmul(inputs.T, delta, out=self._gradients[i].weights)  # (in, n) @ (n, out)
            np.dot(buffers.ones, delta, out=self._gradients[i].biases)  # a third of the time of delta.sum(axis=0)
            if i:
                delta = self._through(i, delta, buffers, dropout)
        return loss, hits

    def predict(self, inputs: Floats) -> Floats:
        """Probabilities (n, classes) of inputs (n, features) that are scaled already."""
        self.inputs(len(inputs))[...] = inputs
        return softmax(self.logits(len(inputs)).copy())

    def _through(self, i: int, delta: Floats, buffers: _Buffers, dropout: Dropout | None) -> Floats:
        """Gradient with respect to the logits of hidden layer i (from 1), given that of the layer after it."""
        activations, gradient, mask = buffers.activations[i], buffers.gradients[i - 1], buffers.masks[i]
        np.matmul(delta, self.layers[i].weights.T, out=gradient)  # (n, out) @ (out, in)
        np.greater(activations, 0, out=mask)
        gradient *= mask
        if dropout and dropout.hidden:
            gradient *= 1 / (1 - dropout.hidden)
        return gradient

    def _of_size(self, n: int) -> _Buffers:
        if n not in self._buffers:
            self._buffers[n] = _Buffers(self.sizes, n, self.theta.dtype)
        return self._buffers[n]


def parameters(sizes: Sequence[int]) -> int:
    """Number of weights and biases of a network with these layer sizes."""
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))


def _views(vector: Floats, sizes: Sequence[int]) -> tuple[Layer, ...]:
    layers, start = [], 0
    for inputs, outputs in pairwise(sizes):
        middle, end = start + inputs * outputs, start + (inputs + 1) * outputs
        layers.append(Layer(vector[start:middle].reshape(inputs, outputs), vector[middle:end]))
        start = end
    return tuple(layers)


def _drop(activations: Floats, mask: NDArray[np.bool_], share: float, rng: np.random.Generator) -> None:
    np.greater_equal(rng.random(activations.shape, dtype=np.float32), share, out=mask)
    activations *= mask
    activations *= 1 / (1 - share)

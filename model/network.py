"""A multilayer perceptron: hidden layers, then logits. All weights are one flat vector; the layers are views into it.

The optimizer, the gradient check, checkpoints and weight files therefore use one array. The layers alias it: changing
`theta` changes the layers. Layout: for each layer its weights (in, out) row by row, then its biases (out,).

The biases are the last row of a layer's matrix (in + 1, out), and every activation ends in a column of ones. So one
matrix product applies weights and biases, and another gives the gradient of both.

A step allocates no large arrays: the activations of a batch are in buffers that are created once per batch size and
reused. The arrays returned by a method are overwritten by the next call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from model.dropout import Dropout
from model.loss import cross_entropy, softmax

Floats = NDArray[np.floating[Any]]

BATCH = 1024
"""Examples per pass without training: large enough for full speed, small enough for buffers of a few MiB."""
MAX_BUFFERS = 4
"""Number of batch sizes whose buffers are kept: full and last batch, of training and of evaluation."""


_ALPHA = (
    -2.72614225801306e-10,
    2.77068142495902e-08,
    -2.10102402082508e-06,
    -5.69250639462346e-05,
    -7.34990630326855e-04,
    -2.95459980854025e-03,
    -1.60960333262415e-02,
)
_BETA = (
    -1.45660718464996e-05,
    -2.13374055278905e-04,
    -1.68282697438203e-03,
    -7.37332916720468e-03,
    -1.42647390514189e-02,
)
"""Coefficients of erf(x) = x A(x^2) / B(x^2) on [-4, 4], highest power first, as in Eigen and XLA (`ErfImpl32`)."""


@dataclass(frozen=True)
class Layer:
    """Views into a flat vector: the matrix (in + 1, out), its weights (in, out) and its last row, the biases (out,)."""

    matrix: Floats
    weights: Floats
    biases: Floats


class _Buffers:
    """Arrays of one batch size n; those of a stack of networks have one dimension more in front.

    Attributes:
        activations: (n, units + 1) of each layer but the last, the last column 1.
        logits: (n, classes), in column-major order, which makes the sums over classes in the loss four times as fast at
            512 examples; in row-major order for a stack.
        zeros: (n, units + 1) of each hidden layer, for ReLU; NumPy has a SIMD loop for two arrays but not for an array
            and a scalar (4.4 instead of 20 microseconds for 65,536).
    """

    def __init__(self, sizes: Sequence[int], n: int, dtype: DTypeLike, stack: tuple[int, ...] = ()) -> None:
        self._shapes = [(*stack, n, size + 1) for size in sizes[:-1]]
        self._dtype = dtype
        self.activations = [np.ones(shape, dtype) for shape in self._shapes]
        self.logits: Floats = np.empty((*stack, n, sizes[-1]), dtype, order="C" if stack else "F")
        self.zeros = [np.zeros(shape, dtype) for shape in self._shapes[1:]]

    @cached_property
    def gradients(self) -> list[Floats]:
        """Gradients (n, units + 1) with respect to each hidden layer; their last column is unused."""
        return [np.empty(shape, self._dtype) for shape in self._shapes[1:]]

    @cached_property
    def slopes(self) -> list[Floats]:
        """Derivatives (n, units + 1) of each hidden layer's activation; 0 for a dropped unit."""
        return [np.empty(shape, self._dtype) for shape in self._shapes[1:]]

    @cached_property
    def masks(self) -> list[NDArray[np.bool_]]:
        """Boolean scratch arrays (n, units + 1) for each hidden layer."""
        return [np.empty(shape, bool) for shape in self._shapes[1:]]


class MLP:
    """The network. Its weights are zero until `initialise` is called.

    Attributes:
        sizes: units of every layer, input and output included.
        activation: of the hidden layers, `relu` or `gelu`.
        scale, offset: an input is (x - offset) * scale.
        theta: (parameters,) all weights and biases.
        gradient: (parameters,) of the last `backpropagate`, in the layout of `theta`.
        layers: views into `theta`.
    """

    stack: tuple[int, ...] = ()
    """Leading dimensions of the weights, inputs and outputs: none here, (networks,) of a `NetworkStack`."""

    def __init__(
        self,
        sizes: Sequence[int],
        dtype: DTypeLike = np.float32,
        *,
        activation: str = "relu",
        scale: float = 1.0,
        offset: float = 0.0,
    ) -> None:
        sizes = tuple(int(size) for size in sizes)
        self.__setstate__((sizes, activation, scale, offset, np.zeros(parameters(sizes), dtype)))

    def __getstate__(self) -> tuple[tuple[int, ...], str, float, float, Floats]:
        """The state for copies and pickles: views would become separate arrays."""
        return self.sizes, self.activation, self.scale, self.offset, self.theta

    def __setstate__(self, state: tuple[tuple[int, ...], str, float, float, Floats]) -> None:
        self.sizes, self.activation, self.scale, self.offset, self.theta = state
        self._set_up()

    def _set_up(self) -> None:
        """Create what follows from the weights: a gradient, and the views into both."""
        self.gradient: Floats = np.zeros_like(self.theta)
        self.layers = _views(self.theta, self.sizes, self.stack)
        self._gradients = _views(self.gradient, self.sizes, self.stack)
        self._buffers: dict[int, _Buffers] = {}

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw weights from N(0, 2 / in) and set biases to 0 (He et al. 2015, equation 10, for ReLU)."""
        for layer in self.layers:
            fan_in = layer.weights.shape[-2]
            layer.weights[...] = rng.standard_normal(layer.weights.shape) * np.sqrt(2 / fan_in)
            layer.biases[...] = 0

    def with_weights(self, theta: NDArray[Any], dtype: DTypeLike = np.float32) -> MLP:
        """A network like this one with other weights (parameters,), which are copied and converted to `dtype`."""
        return self.around(theta.astype(dtype))

    def around(self, theta: Floats) -> MLP:
        """A network like this one whose weights are `theta` (parameters,) itself, not a copy."""
        network = MLP.__new__(MLP)
        network.__setstate__((self.sizes, self.activation, self.scale, self.offset, theta))
        return network

    def feed(self, batch: NDArray[Any]) -> None:
        """Set `batch` (n, features) of any number type, less `offset` and times `scale`, as the input."""
        inputs = self._of_size(len(batch)).activations[0]
        # Convert, then scale the whole contiguous buffer: a third faster than a product of two types.
        if self.offset:
            np.subtract(batch, self.offset, out=inputs[:, :-1], dtype=np.float64, casting="same_kind")
        else:
            inputs[:, :-1] = batch
        if self.scale != 1:
            inputs *= self.scale
            inputs[:, -1] = 1

    def logits(self, n: int, dropout: Dropout | None = None, *, slopes: bool = False) -> Floats:
        """Logits (n, classes) of the last batch of n; `slopes` keeps the derivatives of gelu for the gradient."""
        buffers = self._of_size(n)
        if dropout:
            dropout.drop(buffers.activations[0], dropout.inputs)
        for i, layer in enumerate(self.layers[:-1]):
            output = buffers.activations[i + 1]
            np.matmul(buffers.activations[i], layer.matrix, out=output[..., :-1])  # (n, in + 1) @ (in + 1, out)
            slope = buffers.slopes[i] if slopes and self.activation == "gelu" else None
            if self.activation == "gelu":
                gelu(output, slope)
                output[..., -1] = 1
            else:
                np.maximum(output, buffers.zeros[i], out=output)
            if dropout:
                dropout.drop(output, dropout.hidden, slope)
        return np.matmul(buffers.activations[-1], self.layers[-1].matrix, out=buffers.logits)

    def backpropagate(
        self,
        n: int,
        labels: NDArray[np.int64],
        smoothing: float = 0.0,
        dropout: Dropout | None = None,
        example_weights: Floats | None = None,
    ) -> tuple[float, int]:
        """Set `gradient` to that of the mean loss over the batch of n that was fed last.

        For z = [a 1] M and the gradient d of the loss with respect to z, the gradient with respect to M is [a 1]^T d,
        and with respect to a it is d W^T. ReLU passes it where a > 0, which also excludes dropped units (a = 0). gelu
        multiplies it by its slope, which is 0 for a dropped unit.

        Args:
            n: examples in the batch.
            labels: (n,) class indices.
            smoothing: label smoothing, 0 to 1.
            dropout: dropout of units; None for none.
            example_weights: (n,), the factor of each example's loss; None for 1.

        Returns:
            The mean loss (with smoothing and weights), and the number of correctly classified examples.
        """
        buffers = self._of_size(n)
        delta = self.logits(n, dropout, slopes=True)
        loss, hits = self._loss(delta, labels, smoothing, example_weights)
        for i in range(len(self.layers) - 1, -1, -1):
            np.matmul(buffers.activations[i].mT, delta, out=self._gradients[i].matrix)  # (in + 1, n) @ (n, out)
            if i:
                delta = self._backward(i, delta, buffers, dropout)
        return loss, hits

    def predict(self, inputs: NDArray[Any]) -> Floats:
        """Probabilities (n, classes) of inputs (n, features) of any number type, before `offset` and `scale`."""
        with np.errstate(under="ignore"):  # of probabilities and slopes close to 0
            self.feed(inputs)
            return softmax(self.logits(len(inputs)).copy())

    def _backward(self, i: int, delta: Floats, buffers: _Buffers, dropout: Dropout | None) -> Floats:
        """Gradient with respect to the pre-activations of hidden layer i (from 1), given that of the next layer."""
        gradient = buffers.gradients[i - 1]
        np.matmul(delta, self.layers[i].matrix.mT, out=gradient)  # (n, out) @ (out, in + 1)
        if self.activation == "gelu":
            gradient *= buffers.slopes[i - 1]
        else:
            mask = np.greater(buffers.activations[i], 0, out=buffers.masks[i - 1])
            gradient *= mask
        if dropout and dropout.hidden:
            gradient *= 1 / (1 - dropout.hidden)
        return gradient[..., :-1]

    def _loss(
        self, logits: Floats, labels: NDArray[np.int64], smoothing: float, example_weights: Floats | None
    ) -> tuple[float, int]:
        """The mean loss and the hits; the logits become the gradient."""
        return cross_entropy(logits, labels, smoothing, example_weights)

    def _of_size(self, n: int) -> _Buffers:
        if n not in self._buffers:
            if len(self._buffers) == MAX_BUFFERS:
                del self._buffers[next(iter(self._buffers))]
            self._buffers[n] = _Buffers(self.sizes, n, self.theta.dtype, self.stack)
        return self._buffers[n]


def parameters(sizes: Sequence[int]) -> int:
    """Number of weights and biases of a network with these layer sizes."""
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))


def _views(vector: Floats, sizes: Sequence[int], stack: tuple[int, ...]) -> tuple[Layer, ...]:
    layers, start, networks = [], 0, vector.reshape(*stack, -1, copy=False)
    for inputs, outputs in pairwise(sizes):
        end = start + (inputs + 1) * outputs
        matrix = networks[..., start:end].reshape(*stack, inputs + 1, outputs, copy=False)
        layers.append(Layer(matrix, matrix[..., :-1, :], matrix[..., -1, :]))
        start = end
    return tuple(layers)


def gelu(z: Floats, slope: Floats | None = None) -> None:
    """Replace pre-activations z (n, units) by z Phi(z), in place; Phi is the standard normal distribution function.

    Hendrycks & Gimpel 2016 (arXiv 1606.08415), the exact form, not the approximation by tanh.

    Args:
        z: the pre-activations of a layer.
        slope: of the same shape; set to the derivative Phi(z) + z phi(z), if given.
    """
    cdf = 0.5 * (1 + erf(z / math.sqrt(2)))
    if slope is not None:
        np.exp(-0.5 * z * z, out=slope)
        slope *= z / math.sqrt(2 * math.pi)
        slope += cdf
    z *= cdf


def erf(x: Floats) -> Floats:
    """The error function of each element, to the precision of its dtype.

    float32 uses a rational approximation (error at most 4e-7). float64, which only gradient checks and the estimator's
    probabilities use, calls the C library's function, 70 ns per element.
    """
    if x.dtype == np.float64:
        return np.fromiter(map(math.erf, x.ravel().tolist()), np.float64, x.size).reshape(x.shape)
    x = np.clip(x, -4, 4)
    square = x * x
    return x * _polynomial(_ALPHA, square) / _polynomial(_BETA, square)


def _polynomial(coefficients: Sequence[float], x: Floats) -> Floats:
    """Horner's scheme, highest power first."""
    total = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total *= x
        total += coefficient
    return total

"""The network of the contenders that use PyTorch, trained as its users would: fused Adam and a cosine schedule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from contest import Part
from numpy.typing import NDArray
from torch import nn

from model.hyperparameters import Hyperparameters

torch.set_num_threads(1)


@dataclass(frozen=True)
class Layers:
    """The weights (in, out) and biases (out,) of each layer."""

    layers: list[tuple[NDArray[np.float32], NDArray[np.float32]]]

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[Any]:
        """The class of each input."""
        for weights, biases in self.layers[:-1]:
            inputs = np.maximum(inputs @ weights + biases, 0)
        weights, biases = self.layers[-1]
        return np.argmax(inputs @ weights + biases, axis=1)


def epochs(h: Hyperparameters, training: Part, validation: Part, classes: int) -> Iterator[tuple[float, Layers]]:
    """Train, and yield after each epoch the validation error and the weights."""
    inputs, labels = torch.from_numpy(training.inputs), torch.from_numpy(training.labels)
    held_out = torch.from_numpy(validation.inputs)
    sizes = [inputs.shape[1], *h.hidden_sizes, classes]
    network = nn.Sequential(*[layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())][:-1])
    optimizer = torch.optim.Adam(network.parameters(), lr=h.learning_rate, betas=(h.beta1, h.beta2), fused=True)
    steps = -(-len(inputs) // h.batch_size) * h.epochs
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(h.epochs):
        for rows in torch.randperm(len(inputs)).split(h.batch_size):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs[rows]), labels[rows]).backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            classified = network(held_out).argmax(1).numpy()
        yield validation.error(classified), _layers(network)


def _layers(network: nn.Sequential) -> Layers:
    linear = [layer for layer in network if isinstance(layer, nn.Linear)]
    return Layers([(layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy().copy()) for layer in linear])

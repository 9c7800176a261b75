"""A trained network together with all that a prediction from raw examples needs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.arrays import Column
from model.data.preprocessing import Pixels, Preprocessing, from_dict
from model.network import BATCH, MLP, Floats


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network, the preprocessing of its inputs, and the names of its classes.

    Attributes:
        network: Its scale and offset are those of the preprocessing.
        preprocessing: From raw examples to the network's inputs.
        classes: Name of each class.
    """

    network: MLP
    preprocessing: Preprocessing
    classes: tuple[str, ...]

    @classmethod
    def of(cls, network: MLP) -> Classifier:
        """The classifier of a network without names: numbered classes, and light on dark pixels of 0 .. 1 / scale."""
        low, high = network.offset, network.offset + 1 / network.scale
        pixels = Pixels((network.sizes[0],), low, high, background=low, whole=high > 1)
        return cls(network, pixels, tuple(map(str, range(network.sizes[-1]))))

    def predict(self, raw: NDArray[Any], columns: Sequence[Column] = ()) -> Floats:
        """Probabilities (n, classes) float32 of raw examples (n, ...), in batches.

        Raises:
            PreprocessingError: The examples have another shape or other columns.
        """
        parts = [
            self.network.predict(self.preprocessing.apply(raw[start : start + BATCH], columns))
            for start in range(0, len(raw), BATCH)
        ]
        return np.concatenate(parts) if parts else np.empty((0, len(self.classes)), np.float32)


def describe(classifier: Classifier) -> bytes:
    """The names of the classes and the preprocessing as JSON."""
    table = {"classes": classifier.classes, "preprocessing": classifier.preprocessing.as_dict()}
    return json.dumps(table, ensure_ascii=False).encode()


def read_classifier(arrays: Mapping[str, NDArray[Any]]) -> Classifier:
    """The classifier of a weights file's arrays.

    Raises:
        ValueError, KeyError, TypeError: The description is damaged or does not fit the network.
    """
    sizes, scale = arrays["sizes"].tolist(), float(arrays["scale"])
    activation = arrays["activation"].tobytes().decode() if "activation" in arrays else "relu"
    if "description" not in arrays:
        network = MLP(sizes, activation=activation, scale=scale)
        network.theta[...] = arrays["theta"]
        return Classifier.of(network)
    described = json.loads(arrays["description"].tobytes())
    preprocessing, classes = from_dict(described["preprocessing"]), tuple(map(str, described["classes"]))
    if (preprocessing.features, len(classes)) != (sizes[0], sizes[-1]):
        raise ValueError(f"it has {preprocessing.features} inputs and {len(classes)} classes, the network {sizes}")
    network = MLP(sizes, activation=activation, scale=preprocessing.scale, offset=preprocessing.offset)
    network.theta[...] = arrays["theta"]
    return Classifier(network, preprocessing, classes)

"""The champion as an MLflow model: this file is logged as code beside its weights, so nothing is ever unpickled.

It computes as `model/network.py` does, biases in the product, so that its probabilities are the same to the last bit.

It stands alone on purpose. MLflow copies it into the model; there it needs NumPy, pandas and MLflow, and none of ours.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Champion(PythonModel):  # type: ignore[misc]  # MLflow is untyped here
    """A multilayer perceptron: ReLU between the layers, softmax at the end."""

    def load_context(self, context: Any) -> None:
        """Read the layers from the .npz: theta is, for each layer, W (in, out) row by row and then b (out)."""
        with np.load(context.artifacts["weights"], allow_pickle=False) as saved:
            theta, sizes, self.scale = saved["theta"], saved["sizes"].tolist(), np.float32(saved["scale"])
        self.layers, start = [], 0
        for fan_in, fan_out in pairwise(sizes):
            end = start + (fan_in + 1) * fan_out
            self.layers.append(theta[start:end].reshape(fan_in + 1, fan_out))  # b is the last row
            start = end

    # MLflow warns where this hint is missing, and would convert the input to any hint it can make a schema of.
    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> pd.DataFrame:
        """The predicted class of each row of pixels (n, features), and the probability of every class."""
        hidden = _with_ones(self._pixels(model_input) * self.scale)
        for layer in self.layers[:-1]:
            hidden = _with_ones(np.maximum(hidden @ layer, 0))
        logits = hidden @ self.layers[-1]
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        names = [f"probability_{label}" for label in range(probabilities.shape[1])]
        table = pd.DataFrame(probabilities, columns=names)
        table.insert(0, "class", probabilities.argmax(axis=1))
        return table

    def _pixels(self, given: Any) -> np.ndarray:
        """Rows of pixels as float32; a server answers anything else with 400."""
        pixels, features = np.asarray(given), len(self.layers[0]) - 1
        if pixels.ndim != 2 or pixels.shape[1] != features or not len(pixels):
            raise MlflowException.invalid_parameter_value(
                f"expected rows of pixels (n, {features}), got an array of shape {pixels.shape}"
            )
        if pixels.dtype.kind not in "uif" or not (np.abs(pixels) <= np.finfo(np.float32).max).all():
            raise MlflowException.invalid_parameter_value("every pixel is a number, neither NaN nor infinite")
        return pixels.astype(np.float32)


def _with_ones(rows: np.ndarray) -> np.ndarray:
    """Rows that end in a one, which the last row of a layer's matrix, its biases, is multiplied with."""
    return np.hstack([rows, np.ones((len(rows), 1), np.float32)])


set_model(Champion())

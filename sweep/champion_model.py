"""The champion as an MLflow model: this file is logged as code beside its weights, so nothing is ever unpickled.

It stands alone on purpose. MLflow copies it into the model; there it needs NumPy, pandas and MLflow, and none of ours.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
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
            middle, end = start + fan_in * fan_out, start + (fan_in + 1) * fan_out
            self.layers.append((theta[start:middle].reshape(fan_in, fan_out), theta[middle:end]))
            start = end

    # MLflow warns where this hint is missing, and would convert the input to any hint it can make a schema of.
    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> pd.DataFrame:
        """The predicted class of each row of pixels (n, features), and the probability of every class."""
        pixels, features = np.asarray(model_input), len(self.layers[0][0])
        if pixels.ndim != 2 or pixels.shape[1] != features:
            raise ValueError(f"expected pixels of shape (n, {features}), got {pixels.shape}")
        logits = pixels.astype(np.float32) * self.scale
        for index, (weights, bias) in enumerate(self.layers):
            hidden = np.maximum(logits, 0) if index else logits
            logits = hidden @ weights + bias
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        names = [f"probability_{label}" for label in range(probabilities.shape[1])]
        table = pd.DataFrame(probabilities, columns=names)
        table.insert(0, "class", probabilities.argmax(axis=1))
        return table


set_model(Champion())

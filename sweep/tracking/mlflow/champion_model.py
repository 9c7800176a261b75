"""The champion as an MLflow model: code beside its weights, so that nothing is ever unpickled.

`champion_script.py` writes this module and those of the network into the one file that MLflow keeps, which needs NumPy,
pandas and MLflow only. Predictions are therefore bit-identical to those of the package on the same machine.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from model.classifier import read_classifier


class Champion(PythonModel):  # type: ignore[misc]  # MLflow is untyped here
    """The network that `model/weights.py` wrote to the artifact `weights`."""

    def load_context(self, context: Any) -> None:
        """Build the network from the .npz; a server may call it from several threads, which share its buffers."""
        self.lock = threading.Lock()
        with np.load(context.artifacts["weights"], allow_pickle=False) as saved:
            self.classifier = read_classifier(saved)

    # Without this hint MLflow warns; any hint that is a schema would convert the input.
    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> pd.DataFrame:
        """The predicted class of each row of pixels (n, features), and the probability of every class."""
        pixels = self._pixels(model_input)
        with self.lock:
            probabilities = self.classifier.predict(pixels)
        names = [f"probability_{label}" for label in range(probabilities.shape[1])]
        table = pd.DataFrame(probabilities, columns=names)
        table.insert(0, "class", probabilities.argmax(axis=1))
        return table

    def _pixels(self, given: Any) -> np.ndarray:
        """Rows of pixels as float32; a server answers anything else with 400."""
        pixels, features = np.asarray(given), self.classifier.network.sizes[0]
        if pixels.ndim != 2 or pixels.shape[1] != features or not len(pixels):
            raise MlflowException.invalid_parameter_value(
                f"expected rows of pixels (n, {features}), got an array of shape {pixels.shape}"
            )
        if pixels.dtype.kind not in "uif" or not (np.abs(pixels) <= np.finfo(np.float32).max).all():
            raise MlflowException.invalid_parameter_value("every pixel is a number, neither NaN nor infinite")
        return pixels.astype(np.float32)


set_model(Champion())

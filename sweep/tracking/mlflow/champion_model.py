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
from model.data.preprocessing import PreprocessingError


class Champion(PythonModel):  # type: ignore[misc]  # MLflow is untyped here
    """The network that `model/weights.py` wrote to the artifact `weights`."""

    def load_context(self, context: Any) -> None:
        """Build the network from the .npz; a server may call it from several threads, which share its buffers."""
        self.lock = threading.Lock()
        with np.load(context.artifacts["weights"], allow_pickle=False) as saved:
            self.classifier = read_classifier(saved)

    # Without this hint MLflow warns; any hint that is a schema would convert the input.
    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> pd.DataFrame:
        """The class of each row of a DataFrame or array, and the probability of every class.

        Raises:
            MlflowException: The examples do not fit the champion; a server answers with 400.
        """
        try:
            with self.lock:
                probabilities = self.classifier.probabilities(model_input)
        except PreprocessingError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        table = pd.DataFrame(probabilities, columns=[f"probability_{name}" for name in self.classifier.classes])
        table.insert(0, "class", self.classifier.labels[probabilities.argmax(axis=1)])
        return table


set_model(Champion())

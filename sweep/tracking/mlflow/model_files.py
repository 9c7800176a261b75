"""The champion as MLflow keeps a model: its weights, one file of code, and the columns or the array that it takes.

Only `client.py` imports this module, after it has set what MLflow reads from the environment when it is imported.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.types.schema import AnyType

from model import weights
from model.classifier import Classifier
from model.data.preprocessing import Table
from studies.record.folder import CHAMPION
from sweep.tracking.mlflow.champion_script import champion_script
from sweep.tracking.tracker import Model

SCRIPT = "champion_model.py"
MODEL_FILES = (f"artifacts/{CHAMPION}", "MLmodel", SCRIPT, "python_env.yaml", "requirements.txt")


def save_model(model: Model, scratch: Path) -> None:
    """Write an MLflow model of code and .npz to `scratch/model`, with nothing pickled and nothing inferred."""
    classifier = weights.load(model.weights)
    shape = classifier.example_shape  # None for a table with names, whose signature says all
    code = scratch / SCRIPT
    code.write_text(champion_script())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that there is no input example: it costs 3 s and a subprocess
        mlflow.pyfunc.save_model(
            str(scratch / "model"),
            python_model=str(code),
            artifacts={"weights": str(model.weights)},
            signature=ModelSignature(_inputs(classifier), _outputs(classifier)),
            pip_requirements=[f"{module.__name__}=={module.__version__}" for module in (mlflow, np, pd)],
            metadata={**model.metadata, **({} if shape is None else {"example_shape": list(shape)})},
        )


def _inputs(classifier: Classifier) -> Schema:
    """The columns of a table by name, or an array.

    Values are of any type, and the model checks them itself. MLflow refuses int64, pandas' type of whole numbers, in a
    `double` column, and turns a null of JSON in a `string` column into the text "None". It refuses arrays of every
    other type than the declared one, and casts numbers of JSON to it without a check; only for objects of shape (-1,)
    it leaves an array as it is, whatever its type and shape.
    """
    if classifier.example_shape is not None:
        return Schema([TensorSpec(np.dtype(object), (-1,))])
    assert isinstance(classifier.preprocessing, Table)
    used = [ColSpec(AnyType(), column.name) for column in classifier.preprocessing.columns]
    return Schema([*used, *(ColSpec(AnyType(), name, required=False) for name in classifier.preprocessing.dropped)])


def _outputs(classifier: Classifier) -> Schema:
    kind = DataType.long if classifier.labels.dtype == np.int64 else DataType.string
    probabilities = [ColSpec(DataType.float, f"probability_{name}") for name in classifier.classes]
    return Schema([ColSpec(kind, "class"), *probabilities])

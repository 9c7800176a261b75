"""The evaluation on the test set: once, for all final models of a study together.

A log in the home folder has one line for each evaluation, so that a report can say how often a test set was used.
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from model import weights
from model.data import datasets
from model.data.datasets import Dataset
from model.evaluation import calibration, predict
from model.files import locked
from model.metrics import METRICS, Predictions
from model.network import MLP
from studies.definition import Study
from studies.record.errors import RecordError
from studies.record.folder import StudyFolder
from studies.record.reader import SweepRecord
from sweep.failpoints import failpoint

MOST_MISTAKES = 20
"""Most confident mistakes that are kept with their images, for the report."""


def evaluate_once(
    study: Study, record: SweepRecord, dataset: Path, folder: StudyFolder, finals: Sequence[FrozenTrial]
) -> dict[str, Any]:
    """Log the evaluation, then score all final models; confusion, calibration and mistakes are of the first one.

    Args:
        study: the study definition.
        record: the study's record.
        dataset: the prepared dataset's folder.
        folder: the study's folder.
        finals: the final models' trials; the first one's model is the champion.
    """
    data = datasets.load(dataset, None)  # preprocessed as for the final models: fitted on all but the test rows
    hashes = [run.user_attrs["result"]["weights_sha256"] for run in finals]
    failpoint("before_opening")
    opening = _count_opening(folder.home.openings, record, data, hashes)
    failpoint("after_opening")
    paths = [folder.trial("confirm", run.number).weights for run in finals]
    found = [predict(_network(path, data), data.test) for path in paths]
    first = found[0]
    metrics = [{name: metric.compute(predictions) for name, metric in METRICS.items()} for predictions in found]
    return {
        "examples": len(data.test),
        "accuracies": [values["accuracy"] for values in metrics],
        "losses": [values["loss"] for values in metrics],
        "metrics": [_finite(values) for values in metrics],
        "confusion": first.confusion.tolist(),
        "calibration": calibration(first.predicted == first.labels, first.probabilities.max(axis=1)),
        "mistakes": _mistakes(data, first),
        "opening": opening,
    }


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """The values, None for what is not a number, as the area under the curve of a single class."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _network(path: Path, data: Dataset) -> MLP:
    """The network of a final model, whose preprocessing must be that of the test examples."""
    classifier = weights.load(path)
    if classifier.preprocessing != data.preprocessing:
        raise RecordError(f"{path} has another preprocessing than its data; run the sweep again")
    return classifier.network


def _count_opening(ledger: Path, record: SweepRecord, data: Dataset, hashes: Sequence[str]) -> int:
    """Add a line to the ledger, unless these very models are in it; return how often this test set was opened."""
    event = {
        "study": record.name,
        "uid": record.uid,
        "dataset": data.name,
        "digest": data.digest,
        "models": list(hashes),
    }
    with locked(ledger), ledger.open("r+") as file:
        try:
            same = [entry for entry in map(json.loads, file) if entry["digest"] == data.digest]
        except (ValueError, KeyError) as error:
            raise RecordError(f"{ledger} is damaged: {error}\nrepair or remove the damaged line") from error
        if any((entry["uid"], entry["models"]) == (record.uid, event["models"]) for entry in same):
            return len(same)
        file.write(json.dumps({**event, "time": datetime.now(UTC).isoformat(timespec="seconds")}) + "\n")
        file.flush()
        os.fsync(file.fileno())
        return len(same) + 1


def _mistakes(data: Dataset, found: Predictions) -> list[dict[str, Any]]:
    """The wrong predictions of the greatest confidence; with their images, if they are images."""
    labels, predicted, probabilities = found.labels, found.predicted, found.probabilities
    confidence = np.where(predicted == labels, -1.0, probabilities.max(axis=1))
    order = np.argsort(-confidence, kind="stable")[: min(MOST_MISTAKES, int((predicted != labels).sum()))]
    return [
        {
            "index": int(i),
            "label": int(labels[i]),
            "predicted": int(predicted[i]),
            "probability": float(probabilities[i].max()),
            **_image(data, int(i)),
        }
        for i in order
    ]


def _image(data: Dataset, row: int) -> dict[str, str]:
    """A test example as stored; nothing of a row of numbers, which is not drawn."""
    if len(data.shape) == 1:
        return {}
    image = base64.b64encode(data.raw_test[row].tobytes()).decode()
    return {"image": image, "dtype": str(data.raw_test.dtype)}

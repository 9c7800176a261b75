"""The evaluation on the test set: once, for all final models of a study together.

A log in the home folder has one line for each evaluation, so that a report can say how often a test set was used.
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from model import weights
from model.data import datasets
from model.data.datasets import Dataset
from model.evaluation import calibration, predict
from model.files import locked
from model.metrics import METRICS, Predictions
from model.network import MLP
from studies.record.errors import RecordError
from studies.record.folder import StudyFolder
from studies.record.reader import SweepRecord
from sweep.failpoints import failpoint

MOST_MISTAKES = 20
"""Most confident mistakes that are kept with their images, for the report."""


def evaluate_once(
    record: SweepRecord,
    dataset: Path,
    folder: StudyFolder,
    finals: Sequence[FrozenTrial],
    baseline: Sequence[FrozenTrial],
) -> dict[str, Any]:
    """Log the evaluation, then score all final models; confusion, calibration and mistakes are of the first one.

    Champion and baseline are compared example by example: on each, the mean over the champion's models less that over
    the baseline's.

    Args:
        record: the study's record.
        dataset: the prepared dataset's folder.
        folder: the study's folder.
        finals: the trials of the champion's final models; the first one's model is shipped.
        baseline: those of the baseline's; empty if the baseline is the champion.
    """
    data = datasets.load(dataset, None)  # preprocessed as for the final models: fitted on all but the test rows
    hashes = [run.user_attrs["result"]["weights_sha256"] for run in (*finals, *baseline)]
    failpoint("before_opening")
    opening = _count_opening(folder.home.openings, record, data, hashes)
    failpoint("after_opening")
    found, theirs = (
        [predict(_network(folder.trial("confirm", run.number).weights, data), data.test) for run in runs]
        for runs in (finals, baseline)
    )
    first = found[0]
    return {
        "examples": len(data.test),
        **_scores(found),
        "baseline": _scores(theirs) if theirs else None,
        "difference": {name: _difference(f, found, theirs) for name, f in PER_EXAMPLE.items()} if theirs else None,
        "confusion": first.confusion.tolist(),
        "calibration": calibration(first.predicted == first.labels, first.probabilities.max(axis=1)),
        "mistakes": _mistakes(data, first),
        "opening": opening,
    }


def _scores(models: Sequence[Predictions]) -> dict[str, Any]:
    """The metrics of each model."""
    metrics = [{name: metric.compute(predictions) for name, metric in METRICS.items()} for predictions in models]
    return {
        "accuracies": [values["accuracy"] for values in metrics],
        "losses": [values["loss"] for values in metrics],
        "metrics": [_finite(values) for values in metrics],
    }


def _is_right(found: Predictions) -> NDArray[np.float64]:
    return np.asarray(found.predicted == found.labels, dtype=np.float64)


def _log_loss(found: Predictions) -> NDArray[np.float64]:
    chosen = found.probabilities[np.arange(len(found.labels)), found.labels]
    return -np.log(np.maximum(chosen.astype(np.float64), np.finfo(np.float64).tiny))


PER_EXAMPLE = {"accuracy": _is_right, "loss": _log_loss}
"""Metrics that are means over examples: their value (examples,) at each."""


def _difference(
    value: Callable[[Predictions], NDArray[np.float64]], ours: Sequence[Predictions], theirs: Sequence[Predictions]
) -> dict[str, float]:
    """The mean over examples of the paired differences, and its 95 % interval by the normal distribution."""
    one, other = (np.mean([value(found) for found in models], axis=0) for models in (ours, theirs))
    differences = one - other
    mean, half = float(differences.mean()), 1.959964 * float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return {"mean": mean, "low": mean - half, "high": mean + half}


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

"""The champion as a model for the tracker's registry."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping

from model import weights
from model.classifier import Classifier
from model.data.preprocessing import Pixels
from reports.analysis.final_models import final_accuracy
from studies.record.folder import StudyFolder
from studies.record.reader import SweepRecord
from sweep.tracking import expected_runs
from sweep.tracking.description import champion_number, model_description
from sweep.tracking.study_run import last_end
from sweep.tracking.tracker import Model, Tracker

logger = logging.getLogger(__name__)


MOST_COLUMNS = 20
"""Columns of a table that are named in a description."""


def champion_model(
    record: SweepRecord, name: str, identity: str, weights_sha256: str, source_run: str, links: Mapping[str, str]
) -> Model:
    """The model of a study with a champion.

    Args:
        record: the study; it has a verdict.
        name: of the registered model.
        identity: of the study in the tracker.
        weights_sha256: hash of the weights in `champion.npz`.
        source_run: the tracker's id of the champion's run.
        links: addresses of the study's runs.
    """
    path, champion = StudyFolder(record.folder).champion, record.trials[champion_number(record) or 0]
    takes = inputs(weights.load(path))
    tags = {"study": identity, "trial": str(champion_number(record))}
    if tested := final_accuracy(record):
        tags |= {
            "test_accuracy": str(tested.accuracies[0]),
            "test_low": str(tested.shipped_low),
            "test_high": str(tested.shipped_high),
        }
    measured = {"test_accuracy": tested.accuracies[0]} if tested else {}
    return Model(
        name=name,
        weights=path,
        weights_sha256=weights_sha256,
        source_run=source_run,
        params={key: expected_runs.text(value) for key, value in champion.hyperparameters.items()},
        metrics=measured,
        measured=last_end(record),  # as of the same number in the run of the study
        description=model_description(record, takes, links),
        question=str(record.study.get("question") or ""),
        tags=tags,
        metadata={"study": record.name, "uid": record.uid, "takes": takes},
    )


def inputs(classifier: Classifier) -> str:
    """What a classifier takes, in words: `arrays of 8 x 8 numbers, 0 to 16 in training`, or the columns of a table."""
    shape, preprocessing = classifier.example_shape, classifier.preprocessing
    if isinstance(preprocessing, Pixels):
        size = " x ".join(map(str, preprocessing.shape))
        return f"arrays of {size} numbers, {preprocessing.low:g} to {preprocessing.high:g} in training"
    if shape is not None:
        return f"arrays of {shape[0]} numbers"
    names = [column.name for column in preprocessing.columns]
    more = f" and {len(names) - MOST_COLUMNS} more" if len(names) > MOST_COLUMNS else ""
    return f"the columns {', '.join(names[:MOST_COLUMNS])}{more}"


def free_name(tracker: Tracker, record: SweepRecord, identity: str) -> str:
    """The name of the registered model of a study: of the one that it has, else one that no other study has.

    A user may have renamed the model. Versions of older records are tagged with the uid alone.

    Raises:
        TrackerError: the tracker could not be reached or refused.
    """
    ours = tracker.find_model_names(identity) or tracker.find_model_names(record.uid)
    if ours:
        return ours[-1]
    name = model_name(record.name)
    if not tracker.find_model_owners(name):
        return name
    free = f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:6]}"
    logger.warning("%s is the model of another study: the champion of %s is registered as %s", name, identity, free)
    return free


def model_name(study: str) -> str:
    """The registered model's name; MLflow forbids `/`, `:` and `.` in some places and quotes break its search."""
    return "sweep-" + "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in study)

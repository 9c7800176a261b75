"""The champion as a model for the tracker's registry."""

from __future__ import annotations

import hashlib
import logging

from reports.analysis.final_models import final_accuracy
from studies.record.folder import StudyFolder
from studies.record.reader import SweepRecord
from sweep.tracking.description import champion_number, model_description
from sweep.tracking.tracker import Model, Tracker

logger = logging.getLogger(__name__)


def champion_model(record: SweepRecord, name: str, identity: str, weights_sha256: str) -> Model:
    """The model of a study with a champion.

    Args:
        record: the study; it has a verdict.
        name: of the registered model.
        identity: of the study in the tracker.
        weights_sha256: hash of the weights in `champion.npz`.
    """
    tags = {"study": identity, "trial": str(champion_number(record))}
    if tested := final_accuracy(record):
        tags |= {
            "test_accuracy": str(tested.accuracies[0]),
            "test_low": str(tested.shipped_low),
            "test_high": str(tested.shipped_high),
        }
    return Model(
        name=name,
        weights=StudyFolder(record.folder).champion,
        weights_sha256=weights_sha256,
        description=model_description(record),
        question=str(record.study.get("question") or ""),
        tags=tags,
        metadata={"study": record.name, "uid": record.uid},
    )


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

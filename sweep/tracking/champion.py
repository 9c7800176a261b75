"""The champion as a model for the tracker's registry."""

from __future__ import annotations

from reports.analysis.final_models import final_accuracy
from studies.record.folder import StudyFolder
from studies.record.reader import SweepRecord
from sweep.tracking.description import champion_number, model_description
from sweep.tracking.tracker import Model


def champion_model(record: SweepRecord, weights_sha256: str) -> Model:
    """The model of a study with a champion.

    Args:
        record: the study; it has a verdict.
        weights_sha256: hash of the weights in `champion.npz`.
    """
    tags = {"study": record.uid, "trial": str(champion_number(record))}
    if tested := final_accuracy(record):
        tags |= {
            "test_accuracy": str(tested.accuracies[0]),
            "test_low": str(tested.shipped_low),
            "test_high": str(tested.shipped_high),
        }
    return Model(
        name=model_name(record.name),
        weights=StudyFolder(record.folder).champion,
        weights_sha256=weights_sha256,
        description=model_description(record),
        question=str(record.study.get("question") or ""),
        tags=tags,
        metadata={"study": record.name, "uid": record.uid},
    )


def model_name(study: str) -> str:
    """The registered model's name; MLflow forbids `/`, `:` and `.` in some places and quotes break its search."""
    return "sweep-" + "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in study)

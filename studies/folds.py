"""The number of folds of a study: as its file says, or else by the number of rows of its data."""

from __future__ import annotations

from pathlib import Path

from model.data import datasets
from model.data.splits import default_folds, most_folds
from studies.definition import Study
from studies.study_file import StudyError


def with_folds(study: Study, dataset: Path) -> Study:
    """The study with the number of folds that suits its data, if its file sets none.

    The key still counts as not set, so that a recorded study keeps its recorded number
    (`studies.record.schema.continued`).

    Args:
        study: as its file defines it.
        dataset: the prepared dataset's folder.

    Raises:
        StudyError: the file sets more folds than the rarest class has rows.
        DatasetDamaged: the folder is not a prepared dataset.
    """
    labels = datasets.labels(dataset)
    if "folds" not in study.model_fields_set:
        chosen = study.model_copy(update={"folds": default_folds(labels)})
        chosen.model_fields_set.discard("folds")
        return chosen
    most = most_folds(labels)
    if study.folds > most:
        raise StudyError(
            f"{study.name}: folds = {study.folds}, but the rarest class of {Path(study.dataset).name} has only {most} "
            f"{'row' if most == 1 else 'rows'} besides the test rows\n"
            f"every fold needs one of each class: set folds = {most}"
        )
    return study

"""Remove files that trials no longer need."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from model.files import remove_parts
from studies.record.folder import StudyFolder, TrialFolder
from sweep.coordination.task import Task


def remove_files_of(task: Task, *, checkpoint: bool = True) -> None:
    """Remove what an ended trial no longer needs.

    Called when no worker has the trial: the worker of a pruned one may have finished it and written weights.

    Args:
        task: the trial.
        checkpoint: whether to remove its checkpoint too; where the time was over, the champion may be in it.
    """
    keep_weights = "weights_sha256" in task.trial.user_attrs.get("result", {})
    folder = TrialFolder(Path(task.job.folder))
    unneeded = [folder.damaged_checkpoint, *([] if keep_weights else [folder.weights])]
    unneeded += [folder.checkpoint] if checkpoint else []
    for path in unneeded:
        path.unlink(missing_ok=True)
    remove_parts(folder.path)


def remove_leftovers(folder: StudyFolder, study: str, finished: Iterable[int]) -> None:
    """Remove files of killed processes: partly written files, and checkpoints of trials that had just ended.

    Args:
        folder: of the study.
        study: the Optuna study, `search` or `confirm`.
        finished: numbers of the trials that have ended.
    """
    for written in (folder.path, *folder.trials(study).glob("*")):
        remove_parts(written)
    for number in finished:
        folder.trial(study, number).checkpoint.unlink(missing_ok=True)

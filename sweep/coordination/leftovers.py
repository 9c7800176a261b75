"""Removes files that trials no longer need."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from model.files import PART
from sweep.coordination.task import Task
from sweep.workers.worker import CHECKPOINT


def remove_files_of(task: Task) -> None:
    """Remove what an ended trial no longer needs, once no worker is at it: a pruned one may have run on to its end."""
    kept, folder = "weights_sha256" in task.trial.user_attrs.get("result", {}), Path(task.job.folder)
    names = (CHECKPOINT, "checkpoint.damaged", *([] if kept else ["weights.npz"]))
    for path in (*(folder / name for name in names), *folder.glob(f".*{PART}")):
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path, finished: Iterable[int]) -> None:
    """Remove what a kill between a trial's end and its clean-up, or in the middle of a write, may have left behind.

    Args:
        folder: where trials keep their files; the study's own is the one above it.
        finished: numbers of the trials that need no checkpoint any more.
    """
    parts = [*folder.parent.glob(f".*{PART}"), *folder.glob(f"*/.*{PART}")]
    for path in (*parts, *(folder / f"{number:04d}" / CHECKPOINT for number in finished)):
        path.unlink(missing_ok=True)

"""`sweep sync`: makes MLflow equal to a study, once or until its sweep ends."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from sweep.storage.database import is_active
from sweep.tracking.follow import follow
from sweep.tracking.mlflow.client import MlflowTracker
from sweep.tracking.reconcile import sync
from sweep.tracking.sync_result import Changes


def sync_study(folder: Path, uri: str, *, until_end: bool) -> Changes:
    """Send what MLflow lacks.

    Args:
        folder: the study's folder.
        uri: MLflow's tracking URI.
        until_end: whether to stay until the sweep on the study ends.

    Raises:
        RecordError, DatabaseUnavailable: the study cannot be read.
        MirrorError: MLflow could not be reached or refused.
    """
    tracker = MlflowTracker(uri)
    if until_end:
        return follow(folder, tracker, partial(is_active, folder))
    return sync(folder, tracker, active=partial(is_active, folder))

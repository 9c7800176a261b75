"""Files from Dask workers: weights with the result, checkpoints while a job runs."""

from __future__ import annotations

from pathlib import Path

from model import weights
from model.files import part_name, sync_folder, write_atomic, write_synced
from model.weights import WeightsError
from studies.record.folder import TrialFolder
from sweep.workers.pool import Job


def checkpoint_of(job: Job) -> bytes | None:
    """The coordinator's copy of the checkpoint; None if there is none."""
    path = TrialFolder(Path(job.folder)).checkpoint
    return path.read_bytes() if path.exists() else None


def keep_checkpoint(job: Job, content: bytes) -> None:
    """Write a checkpoint. It is verified when training continues from it."""
    folder = TrialFolder(Path(job.folder))
    folder.path.mkdir(parents=True, exist_ok=True)
    write_atomic(folder.checkpoint, content)


def keep_weights(job: Job, content: bytes, digest: str) -> None:
    """Write weights after checking their SHA-256.

    Args:
        job: the job that trained them.
        content: the content of the file.
        digest: SHA-256 of the weights, as the worker reported it.

    Raises:
        WeightsError: the SHA-256 differs.
        OSError: they cannot be written.
    """
    folder = TrialFolder(Path(job.folder))
    folder.path.mkdir(parents=True, exist_ok=True)
    part = part_name(folder.weights)
    try:
        write_synced(part, content)
        if weights.sha256(weights.load(part).network.theta) != digest:
            raise WeightsError("their SHA-256 differs from the reported one")
        part.replace(folder.weights)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(folder.path)

"""Trains a recorded trial again and compares: nothing about it may depend on when, where or beside what it ran."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from model.data import datasets
from model.hyperparameters import Hyperparameters
from studies.definition import from_record
from studies.record.reader import SweepRecord, TrialRecord
from sweep.errors import RecordMismatch
from sweep.search.search import search_job
from sweep.workers.local import LocalPool
from sweep.workers.messages import Message, MessageKind
from sweep.workers.pool import Job

POLL = 1.0
"""Seconds between two looks at the worker."""


class NothingToReplay(Exception):
    """There is no such trial, or nothing of it was recorded that could be compared."""


def replay(record: SweepRecord, number: int, cache: Path) -> str:
    """Train a trial of the search again in a worker process, and say in a line that it came out equal.

    Every epoch's numbers are compared, seconds excepted, and for a trial that ran to its end the SHA-256 of its weights
    or the reason why it broke. A pruned one is followed as far as it was recorded.

    Args:
        record: the study.
        number: of the trial.
        cache: folder for prepared datasets.

    Raises:
        NothingToReplay: no such trial, or none of its epochs is recorded.
        RecordMismatch: it parts from the record; says where.
        DatasetError: the dataset cannot be had, or is not the one of the record.
    """
    trial = _trial(record, number)
    study = from_record(record.study)
    dataset = datasets.prepared(record.dataset["digest"], cache) or datasets.prepare(study.dataset, cache)
    digest = datasets.load(dataset, study.seed).digest
    if digest != record.dataset["digest"]:
        raise datasets.DatasetInvalid(
            f"{record.name} was recorded on other data: digest {record.dataset['digest'][:12]}, here is {digest[:12]}"
        )
    with tempfile.TemporaryDirectory() as folder:
        job = search_job(study, number, Hyperparameters(**trial.hyperparameters), Path(folder), dataset)
        if trial.outcome in ("pruned", "running", "interrupted"):
            job = replace(job, stop_after=len(trial.epochs))
        epochs = 0
        for message in _messages(job, Path(folder)):
            if message.kind is MessageKind.EPOCH:
                _compare_epoch(trial, dict(message.content["epoch"]))
                epochs += 1
        _compare_end(trial, message)
    also = " and the weights" if trial.weights_sha256 else ""
    return f"trial {number} of {record.name}: {epochs} epochs{also} are equal to the record"


def _trial(record: SweepRecord, number: int) -> TrialRecord:
    if number >= len(record.trials):
        raise NothingToReplay(f"{record.name} has no trial {number}; the last is {len(record.trials) - 1}")
    trial = record.trials[number]
    if not len(trial.epochs):
        raise NothingToReplay(f"trial {number} of {record.name} has no recorded epoch to compare ({trial.outcome})")
    return trial


def _messages(job: Job, folder: Path) -> Iterator[Message]:
    """What a worker says of a job, its last word included."""
    with contextlib.closing(LocalPool(1, folder)) as workers:
        workers.start(job)
        while True:
            for event in workers.events(POLL):
                yield event.message
                if event.message.kind.ends_job:
                    return


def _compare_epoch(trial: TrialRecord, row: dict[str, Any]) -> None:
    index = row.pop("index")
    if index >= len(trial.epochs):
        raise RecordMismatch(f"trial {trial.number} parts from the record: it ran on after epoch {len(trial.epochs)}")
    recorded = trial.epochs[index]
    for key, value in row.items():
        if key == "seconds" or value == recorded[key] or (value is None and math.isnan(recorded[key])):
            continue
        if np.isnan(trial.epochs[key]).all():  # a metric that the version which recorded it did not have
            continue
        raise RecordMismatch(
            f"trial {trial.number} parts from the record at epoch {index + 1}: {key} {recorded[key]} is recorded, "
            f"{value} came\nthe program, the machine or its BLAS kernels changed"
        )


def _compare_end(trial: TrialRecord, message: Message) -> None:
    if message.kind is MessageKind.DONE and not trial.weights_sha256:
        return  # as far as it was recorded
    recorded = trial.weights_sha256 or trial.reason
    found = message.content.get("weights_sha256") or message.content["reason"]
    if found != recorded:
        raise RecordMismatch(
            f"trial {trial.number} parts from the record at its end: {recorded} is recorded, {found} came"
        )

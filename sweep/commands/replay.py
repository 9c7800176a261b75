"""Train a recorded trial again and compare: its results must not depend on time, machine or other load."""

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
from model.data.cache import read_card
from model.hyperparameters import Hyperparameters
from studies.definition import from_record
from studies.record.reader import SweepRecord, TrialRecord
from sweep.errors import RecordMismatch
from sweep.search.legs import search_job
from sweep.workers.local import LocalPool
from sweep.workers.messages import Message, MessageKind
from sweep.workers.pool import Job

POLL_S = 1.0
"""Longest wait for a worker event."""


class NothingToReplay(Exception):
    """The trial does not exist, or no epoch of it is recorded."""


def replay_trial(record: SweepRecord, number: int, cache: Path) -> str:
    """Train a trial of the search again in a worker process; return a line that confirms the equality.

    The numbers of every epoch except its seconds are compared. For a trial that ran to its end, so is the SHA-256 of
    its weights or the reason of its failure. A pruned trial is trained for as many epochs as were recorded.

    Args:
        record: the study.
        number: of the trial.
        cache: folder for prepared datasets.

    Raises:
        NothingToReplay: no such trial, or none of its epochs is recorded.
        RecordMismatch: it differs from the record; the message says where.
        DatasetError: the dataset is not available, or not the recorded one.
    """
    trial = _trial(record, number)
    study = from_record(record.study)
    dataset = datasets.prepared(record.dataset["digest"], cache) or datasets.prepare(study.source, cache)
    digest = read_card(dataset).digest
    if digest != record.dataset["digest"]:
        raise datasets.DatasetInvalid(
            f"{record.name} was recorded with other data: digest {record.dataset['digest'][:12]}, this is {digest[:12]}"
        )
    with tempfile.TemporaryDirectory() as folder:
        job = search_job(study, number, Hyperparameters(**trial.hyperparameters), Path(folder), dataset)
        if trial.outcome in ("pruned", "running", "interrupted", "paused"):
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
    """The messages of a worker about a job, up to and including the last."""
    with contextlib.closing(LocalPool(1, folder)) as workers:
        workers.start(job)
        while True:
            for event in workers.events(POLL_S):
                yield event.message
                if event.message.kind.ends_job:
                    return


def _compare_epoch(trial: TrialRecord, row: dict[str, Any]) -> None:
    index = row.pop("index")
    if index >= len(trial.epochs):
        raise RecordMismatch(f"trial {trial.number} differs from the record: it ran on after epoch {len(trial.epochs)}")
    recorded = trial.epochs[index]
    for key, value in row.items():
        if key == "seconds" or value == recorded[key] or (value is None and math.isnan(recorded[key])):
            continue
        if np.isnan(trial.epochs[key][: index + 1]).all():  # the version which recorded these did not have the metric
            continue
        raise RecordMismatch(
            f"trial {trial.number} differs from the record at epoch {index + 1}: {key} is recorded as {recorded[key]}, "
            f"but is now {value}\nthe program, the machine or its BLAS kernels changed"
        )


def _compare_end(trial: TrialRecord, message: Message) -> None:
    if message.kind is MessageKind.DONE and not trial.weights_sha256:
        return  # the record has only epochs
    recorded = trial.weights_sha256 or trial.reason
    found = message.content.get("weights_sha256") or message.content["reason"]
    if found != recorded:
        raise RecordMismatch(
            f"trial {trial.number} differs from the record at its end: recorded is {recorded}, but now {found}"
        )

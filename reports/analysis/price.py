"""What a proposed study will take, by the measured times of the reported one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reports.analysis.next_study import Change
from studies.record.reader import SweepRecord


@dataclass(frozen=True)
class Price:
    """Training times in seconds.

    Attributes:
        proposed: of the proposed study, if its settings take as long per epoch as those of this one.
        reported: of this one: its trials, confirmation and final models.
    """

    proposed: float
    reported: float


def price(record: SweepRecord, changes: Sequence[Change]) -> Price | None:
    """The training times of both studies; None where `minutes` alone limits the proposed one, or nothing was trained.

    Args:
        record: of the reported study.
        changes: of the proposed one.
    """
    news = {change.key: change.new for change in changes}
    trials = news.get("trials", record.study.get("trials"))
    search, confirm = (math.fsum(one.seconds for one in part) for part in (record.trials, record.confirm))
    if not trials or not search:
        return None
    whole = news.get("pruner") == "none"
    each = (search if not whole else _unpruned(record)) / len(record.trials)
    epochs = int(record.study["baseline"]["epochs"])
    longer = news.get("baseline.epochs", epochs) / epochs
    repeats = int((record.study.get("confirm") or {}).get("repeats") or 0)
    more = news.get("confirm.repeats", repeats) / repeats if repeats else 1.0
    return Price(longer * (each * trials + confirm * more), search + confirm)


def _unpruned(record: SweepRecord) -> float:
    """Seconds of all trials if each of them ran all its epochs."""
    ran = [trial for trial in record.trials if len(trial.epochs)]
    return math.fsum(trial.seconds / len(trial.epochs) * int(trial.hyperparameters["epochs"]) for trial in ran)

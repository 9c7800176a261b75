"""What the tracker should show of a study, as plain values: one run for the study, and one below it for every trial.

`sweep/tracking/trial_run.py` and `study_run.py` make these values from the record. `sweep/tracking/reconcile.py`
compares them with what the tracker holds, and sends the difference.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sweep.passwords import without_passwords
from sweep.tracking.tracker import Point

FORMAT = 11
"""Part of every digest. Raise it when the mapping from record to runs changes: the next sync renews every run."""
UNCHANGEABLE = 1
"""Raise it when names, steps or values of params or curves change, which MLflow never changes: runs are sent again."""
STATUS = {
    "complete": "FINISHED",
    "pruned": "KILLED",
    "running": "RUNNING",
    "paused": "SCHEDULED",
    "interrupted": "SCHEDULED",
}
"""MLflow's word for an outcome; any other outcome is a failure."""
DIGITS = 4
"""Of a param: in MLflow's table of runs a longer number is cut off before its exponent."""
_TAG_LENGTH = 8000  # MLflow's limit; a longer value would be cut there, and differ from ours at every comparison


@dataclass(frozen=True)
class Run:
    """A run as the tracker should show it.

    Attributes:
        key: names the run within its study: `study`, `search/7`, `confirm/3`.
        name: what a person reads in the list.
        status: MLflow's word.
        started, ended: Unix milliseconds; `ended` only of runs that are over.
        params, tags: text.
        curves: metrics with one value a step; a step, once written, never changes.
        scalars: metrics with one value, which may be replaced by a newer one.
        files: artifact name to its bytes, or to the file that holds them.
    """

    key: str
    name: str
    status: str
    started: int
    ended: int | None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    curves: tuple[Point, ...] = ()
    scalars: tuple[Point, ...] = ()
    files: Mapping[str, bytes | Path] = field(default_factory=dict)


def file_digests(files: Mapping[str, bytes | Path]) -> dict[str, str]:
    """SHA-256 of each artifact's bytes."""
    return {name: file_digest(content) for name, content in files.items()}


def file_digest(content: bytes | Path) -> str:
    """SHA-256 of a file's bytes."""
    return hashlib.sha256(content if isinstance(content, bytes) else content.read_bytes()).hexdigest()


# --- plain values


def points(values: Mapping[str, float | None], time: int) -> tuple[Point, ...]:
    """One point of each number that is known."""
    return tuple(Point(key, finite(value), time) for key, value in values.items() if value is not None)


def finite(value: float) -> float:
    """Infinity as NaN: MLflow stores it as 1.8e308, which flattens every other point of a chart."""
    return float(value) if math.isfinite(value) else math.nan


def milliseconds(moment: datetime) -> int:
    """A moment in Unix milliseconds."""
    return int(moment.timestamp() * 1000)


def tags(values: Mapping[str, object]) -> dict[str, str]:
    """Tags as text, without passwords, empty ones left out, cut at the length that MLflow keeps."""
    return {
        key: without_passwords(text(value))[:_TAG_LENGTH] for key, value in values.items() if value not in (None, "")
    }


def text(value: object) -> str:
    """How a value reads as a param or tag: layer sizes as `128-64`, numbers in four digits."""
    if value is None:
        return ""
    if isinstance(value, float):
        return short(value)
    if isinstance(value, (tuple, list)):
        return "-".join(str(item) for item in value)
    return json.dumps(value, sort_keys=True, default=str) if isinstance(value, Mapping) else str(value)


def short(value: float) -> str:
    """A number in four significant digits, below 1 also of what it lacks to 1: 0.0012345 as 0.001234, 0.999876."""
    if not 0.5 < value < 1:
        return f"{value:.{DIGITS}g}"
    return f"{round(value, DIGITS - 1 - math.floor(math.log10(1 - value)))}"


def json_bytes(value: object) -> bytes:
    """A value as indented JSON that ends in a line break."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str) + "\n").encode()


def digest(value: object) -> str:
    """SHA-256 in hex of a value as JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()

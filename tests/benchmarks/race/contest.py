"""What every contender of a race gets, and how it keeps its best models.

A contender is a module with a function `compete(contest)`. During the race it writes each of its improvements to the
contest's folder, with the model; afterwards `settle` turns them into a log of the best so far.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model.data import datasets
from model.data.datasets import Dataset, Examples
from studies import study_file
from studies.definition import Study

MARKS_S = (60.0, 180.0, 600.0)
"""Seconds after which the best model so far is tested, besides at the end."""
CORES = 2


class Model(Protocol):
    """What a contender keeps."""

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[Any]:
        """The class (n,) of each preprocessed input (n, features)."""


@dataclass(frozen=True)
class Part:
    """Preprocessed inputs (n, features) float32 and labels (n,) int64."""

    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]

    def error(self, classes: NDArray[Any]) -> float:
        """Fraction of the labels that differ from `classes` (n,)."""
        return float(np.mean(classes != self.labels))


@dataclass(frozen=True)
class Contest:
    """One contender's race with one seed.

    Attributes:
        data: name of the study file beside this one: `mnist` or `generated`.
        source: the dataset as a study file names it.
        prepared: folder of the prepared dataset.
        folder: where the contender writes.
        seed: of the split and of the contender.
        seconds: length of the race.
        started: Unix time.
    """

    data: str
    source: str
    prepared: str
    folder: str
    seed: int
    seconds: float
    started: float

    @classmethod
    def read(cls, folder: Path) -> Contest:
        """The contest of a folder."""
        return cls(**json.loads((folder / "contest.json").read_text()))

    def write(self) -> None:
        """Create its folder."""
        self.path.mkdir(parents=True)
        (self.path / "contest.json").write_text(json.dumps(asdict(self)))

    @property
    def path(self) -> Path:
        """Its folder."""
        return Path(self.folder)

    @property
    def study_path(self) -> Path:
        """The study file with the space."""
        return Path(__file__).with_name(f"{self.data}.toml")

    @property
    def changes(self) -> list[str]:
        """Changes of the study file."""
        return [f"seed={self.seed}", f"dataset={json.dumps(self.source)}"]

    @cached_property
    def study(self) -> Study:
        """The study that all contenders answer."""
        return study_file.load(str(self.study_path), self.changes)

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset with the split of the seed, the same for all contenders."""
        return datasets.load(Path(self.prepared), self.seed)

    @cached_property
    def training(self) -> Part:
        """The examples to learn from."""
        return self._part(self.dataset.train)

    @cached_property
    def validation(self) -> Part:
        """The examples that decide which model is best."""
        return self._part(self.dataset.validation)

    @cached_property
    def test(self) -> Part:
        """The examples for after the race."""
        return self._part(self.dataset.test)

    def remaining(self) -> float:
        """Seconds until the end."""
        return max(0.0, self.started + self.seconds - time.time())

    def _part(self, examples: Examples) -> Part:
        preprocessing, rows = self.dataset.preprocessing, examples.rows
        inputs = (examples.inputs[rows].astype(np.float32) - np.float32(preprocessing.offset)) * preprocessing.scale
        return Part(inputs.astype(np.float32, copy=False), examples.labels[rows])


class Offers:
    """Writes the improvements of one process, a file each: `<Unix time>-<process>.pickle`."""

    def __init__(self, contest: Contest) -> None:
        self._folder = contest.path
        self._best = math.inf

    def add(self, error: float, model: Model) -> None:
        """Keep a model if its validation error is the lowest of this process so far."""
        if error < self._best:
            self._best = error
            write_offer(self._folder, time.time(), error, model)


def write_offer(folder: Path, at: float, error: float, model: Model) -> None:
    """Write a model and its validation error at a Unix time."""
    path = folder / f"{at:.3f}-{os.getpid()}.pickle"
    path.with_suffix(".partial").write_bytes(pickle.dumps((error, model)))
    path.with_suffix(".partial").replace(path)


def settle(contest: Contest, log: Path) -> None:
    """Write the log: a JSON line for each improvement of the best so far, in order.

    Its keys are `seconds` since the start, `validation_error`, and `test_error`, which is null unless the model was the
    best at one of `MARKS_S` or at the end; errors are fractions.
    """
    offers = sorted((float(path.name.split("-")[0]) - contest.started, path) for path in contest.path.glob("*.pickle"))
    rows: list[dict[str, Any]] = []
    models: list[Path] = []
    for seconds, path in offers:
        error = pickle.loads(path.read_bytes())[0]
        if seconds <= contest.seconds and (not rows or error < rows[-1]["validation_error"]):
            rows.append({"seconds": seconds, "validation_error": error, "test_error": None})
            models.append(path)
    for place in _at_marks([row["seconds"] for row in rows], contest.seconds):
        model = pickle.loads(models[place].read_bytes())[1]
        rows[place]["test_error"] = contest.test.error(model.predict(contest.test.inputs))
    partial = log.with_suffix(".partial")
    partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
    partial.replace(log)


def _at_marks(seconds: Sequence[float], end: float) -> set[int]:
    """Places of the latest of the ascending seconds at each mark and at the end."""
    marks = [mark for mark in MARKS_S if mark < end] + [end]
    return {place for mark in marks if (place := int(np.searchsorted(seconds, mark, side="right")) - 1) >= 0}

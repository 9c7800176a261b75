"""A record as plain tables, and the comparison of a printed number with a true one. Nothing here reads `reports`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from studies.record.reader import SweepRecord

BROKEN = ("diverged", "out of memory", "timeout", "failed")
OPEN = ("running", "paused", "interrupted")


class Curves(Mapping[int, pd.DataFrame]):
    """A table of epochs for each trial that ran one, made when it is asked for."""

    def __init__(self, rows: Mapping[int, NDArray[np.void]]) -> None:
        self._rows, self._made = rows, dict[int, pd.DataFrame]()

    def __getitem__(self, number: int) -> pd.DataFrame:
        if number not in self._made:
            self._made[number] = pd.DataFrame(self._rows[number])
        return self._made[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


class Facts:
    """What a study's record says, in tables by trial; all rules are written anew here.

    Attributes:
        trials: one row per trial of the search.
        curves: a table of epochs for each trial that ran one, by number.
        confirm: one row per training of the confirmation.
        verdict: as recorded, or empty.
    """

    def __init__(self, record: SweepRecord, proposal: Any = None) -> None:
        self.record, self.proposal = record, proposal
        self.study, self.dataset, self.verdict = dict(record.study), record.dataset, dict(record.verdict or {})
        self.trials = pd.DataFrame([vars(trial) for trial in record.trials])
        self.confirm = pd.DataFrame([vars(run) for run in record.confirm])
        if self.trials.empty:
            self.trials = pd.DataFrame(columns=["number", "outcome", "state", "value", "seconds", "hyperparameters"])
        self.trials.index = self.trials["number"]
        self.curves = Curves({trial.number: trial.epochs for trial in record.trials if len(trial.epochs)})
        self.maximize = self.study["direction"] == "maximize"
        self.sign = 1.0 if self.maximize else -1.0
        self.objective = str(self.study["objective"])
        self.is_loss = self.objective == "validation_loss"
        self.scale = 1.0 if self.is_loss else 100.0
        self.metric = self.objective.replace("_", " ")
        self.folds = int(self.study.get("folds", 1))
        self.rows = int(self.dataset["validation"]) + (int(self.dataset["train"]) if self.folds > 1 else 0)
        self.name = self.study["name"]

    @cached_property
    def done(self) -> pd.DataFrame:
        """Completed trials, best first; ties by loss, then by number."""
        found = self.trials[(self.trials["outcome"] == "complete") & self.trials["value"].notna()].copy()
        found["cost"] = -self.sign * found["value"].astype(float)
        found["loss"] = found["validation_loss"].astype(float) if len(found) else []
        return found.reset_index(drop=True).sort_values(["cost", "loss", "number"], ignore_index=True)

    def value(self, number: int) -> float:
        """The objective of a trial of the search."""
        return float(self.trials.loc[number, "value"])

    @property
    def best(self) -> int | None:
        """The best completed trial of the search."""
        return int(self.done["number"].iloc[0]) if len(self.done) else None

    @property
    def winner(self) -> int | None:
        """The champion, or the best so far."""
        return int(self.verdict["champion"]) if self.verdict else self.best

    @property
    def base(self) -> float | None:
        """The baseline's objective, if it completed."""
        found = self.done[self.done["number"] == 0]
        return float(found["value"].iloc[0]) if len(found) else None

    @property
    def planned(self) -> int:
        """Trials of the study."""
        return len(self.trials) if self.study["trials"] is None else int(self.study["trials"])

    def number_of(self, *outcomes: str) -> int:
        """Trials with one of these outcomes."""
        return int(self.trials["outcome"].isin(outcomes).sum())

    @property
    def open(self) -> int:
        """Trials that have not ended."""
        return self.number_of(*OPEN)

    @property
    def finished(self) -> int:
        """Trials that have ended."""
        return len(self.trials) - self.open

    @property
    def over(self) -> bool:
        """Whether the search has ended."""
        return not self.open and (self.finished >= self.planned or bool(self.verdict))

    @property
    def splits(self) -> bool:
        """Whether the repeats have splits of their own."""
        return not self.verdict or self.verdict.get("protocol", 1) > 1

    @property
    def word(self) -> str:
        """What a repeat is on."""
        return "fresh split" if self.splits else "fresh seed"

    @property
    def repeats(self) -> dict[int, list[float]]:
        """The values of the repeats by trial."""
        if self.verdict:
            return {one["trial"]: list(one["values"]) for one in self.verdict["candidates"] if one["values"]}
        found: dict[int, list[float]] = {}
        for run in self.record.confirm:
            if run.role == "confirm" and run.state == "complete" and run.value is not None:
                found.setdefault(int(run.candidate or 0), []).append(run.value)
        return found

    def mean(self, number: int) -> float:
        """The mean of a trial's repeats."""
        values = self.repeats[number]
        return sum(values) / len(values)

    @cached_property
    def confusion(self) -> tuple[NDArray[np.int64], str]:
        """Counts, (classes, classes), and the part of the data."""
        if self.verdict:
            return np.array(self.verdict["test"]["confusion"]), "test"
        return np.array(self.trials.loc[self.best, "confusion"]), "validation"

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return list(self.dataset.get("class_names") or map(str, range(int(self.dataset["classes"]))))


def trial(text: str) -> int:
    """The number of a trial by its name: `The baseline`, `trial 5`."""
    return 0 if text.lower() == "the baseline" else int(text.split()[1])


def count(text: str) -> int:
    """The number of `1 234 trials`."""
    return int(re.match(r"[\d\u202f]+", text)[0].replace("\u202f", ""))  # type: ignore[index]


def reads(text: str, value: float | None) -> bool:
    """Whether a printed number, with or without unit, is the true one to its last digit; a dash is no number."""
    if value is None or not math.isfinite(value):
        return text == "–"
    found = re.search(NUMBER, text.replace("\u202f", "").replace("−", "-"))
    if found is None:
        return False
    said = Decimal(found[0])
    return abs(float(said) - value) <= 0.5000001 * 10.0 ** int(said.as_tuple().exponent) + 1e-9 * abs(value)


NUMBER = r"-?\d[\d.]*(?:e[+-]?\d+)?"


def gains(text: str, size: float) -> bool:
    """Whether a printed difference without sign, `0.3 points` or `less than 0.1 points`, is the true one."""
    if text.startswith("less than "):
        return 0 < abs(size) < float(re.search(NUMBER, text)[0])  # type: ignore[index]
    zero = float(re.search(NUMBER, text)[0]) == 0  # type: ignore[index]
    return abs(size) < 1e-12 if zero else reads(text, abs(size))


def signed(text: str, size: float) -> bool:
    """Whether a printed difference with its sign is the true one; none has a sign where it prints as 0."""
    if text[0] in "+−" and (text[0] == "+") != (size > 0):
        return False
    return reads(text.lstrip("+"), size)


def lasts(text: str, seconds: float) -> bool:
    """Whether a printed time is the true one."""
    size = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}[text.split("\u00a0")[1]]
    return seconds >= 0 and reads(text, seconds / size)


def listing(text: str, word: str = "and") -> list[str]:
    """The parts of `a, b and c`."""
    head, _, last = text.rpartition(f" {word} ")
    return [*(head.split(", ") if head else []), last]


def names(found: list[str], most: int, text: str) -> bool:
    """Whether a printed name is one of these, perhaps shortened with an ellipsis to so many characters."""
    head, dots, tail = text.partition("…")
    return text in found or (
        bool(dots)
        and len(text) <= most
        and any(len(n) > most and n.startswith(head) and n.endswith(tail) for n in found)
    )

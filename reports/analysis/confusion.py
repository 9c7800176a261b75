"""The confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reports.analysis import wording
from reports.analysis.standing import standing
from reports.analysis.statistics import Floats
from studies.record.reader import SweepRecord

LONGEST_NAME = 28
"""Characters of a class name in a sentence or a table."""


class Pair(NamedTuple):
    """Examples of one class that were taken for another.

    Attributes:
        true, predicted: names of the classes.
        n: number of examples.
        share: of the true class's examples.
    """

    true: str
    predicted: str
    n: int
    share: float


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix.

    Attributes:
        counts: (classes, classes), rows are true classes.
        names: of the classes, shortened to `LONGEST_NAME` characters.
        split: `test` or `validation`, the predicted examples.
        trial: number of the trial that predicts.
    """

    counts: NDArray[np.int64]
    names: tuple[str, ...]
    split: str
    trial: int

    @property
    def examples(self) -> int:
        """Number of examples."""
        return int(self.counts.sum())

    @property
    def errors(self) -> int:
        """Number of misclassified examples."""
        return int(self.counts.sum() - np.trace(self.counts))

    def worst_pairs(self, most: int = 3) -> list[Pair]:
        """The most frequent mistakes, the most frequent first."""
        wrong = self.counts - np.diag(np.diag(self.counts))
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        pairs = [(int(flat // len(wrong)), int(flat % len(wrong))) for flat in order]
        sizes = self.counts.sum(axis=1)
        return [
            Pair(self.names[true], self.names[predicted], n, n / int(sizes[true]))
            for true, predicted in pairs
            if (n := int(wrong[true, predicted]))
        ]

    def recall(self) -> Floats:
        """Recall of each class, (classes,); NaN for a class without examples."""
        totals = self.counts.sum(axis=1)
        return np.where(totals > 0, np.diag(self.counts) / np.maximum(totals, 1), np.nan)


def confusion(record: SweepRecord) -> Confusion | None:
    """The champion's on the test set if that was opened, else the best trial's on the validation set."""
    if record.verdict:
        return _confusion(record, record.verdict["test"]["confusion"], "test", int(record.verdict["champion"]))
    best = standing(record).best
    if best is None or best.confusion is None:
        return None
    return _confusion(record, best.confusion, "validation", best.number)


def _confusion(record: SweepRecord, counts: Sequence[Sequence[int]], split: str, trial: int) -> Confusion:
    names = wording.short_names(record.class_names, LONGEST_NAME)
    return Confusion(np.array(counts, dtype=np.int64), names, split, trial)

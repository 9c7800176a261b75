"""Whether one class is so frequent that accuracy says little, and what the rarely found class's recall is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.data.balance import is_imbalanced
from reports.analysis.confusion import confusion
from reports.analysis.statistics import wilson
from reports.analysis.wording import counted, percent
from studies.record.reader import SweepRecord


@dataclass(frozen=True)
class Imbalance:
    """A majority class, and the class of the lowest recall.

    Attributes:
        split: `test` or `validation`, the predicted examples.
        majority: name of the most frequent class.
        share: of the examples that are of the majority class, in 0..1: the accuracy of always predicting it.
        balanced: the balanced accuracy of always predicting it: 1 / classes.
        worst: name of the class with the lowest recall.
        recall: of the worst class, in 0..1.
        low, high: its 95 % Wilson interval over examples.
        examples: number of examples of the worst class.
        alike: number of other classes with the same recall.
        predicted: number of examples for which the worst class was predicted.
        right: how many of those are of it.
    """

    split: str
    majority: str
    share: float
    balanced: float
    worst: str
    recall: float
    low: float
    high: float
    examples: int
    alike: int = 0
    predicted: int = 0
    right: int = 0

    def sentences(self) -> list[str]:
        """What always predicting the majority class would reach, the lowest recall, and the precision beside it."""
        alike = f", and of {self.alike} more" if self.alike else ""
        return [
            f'{percent(self.share, 1)} of the {self.split} examples are of class "{self.majority}": always predicting'
            f" it has an accuracy of {percent(self.share, 1)} and a balanced accuracy of {percent(self.balanced, 1)}.",
            f'The lowest recall is that of class "{self.worst}"{alike}: {percent(self.recall, 1)} of its'
            f" {counted(self.examples, 'example')} (95\u00a0% interval {percent(self.low, 1)} to"
            f" {percent(self.high, 1)}).",
            *([] if self.alike else [self._precision()]),
        ]

    def _precision(self) -> str:
        if not self.predicted:
            return f'No example was predicted to be of class "{self.worst}".'
        share = percent(self.right / self.predicted, 1)
        return (
            f'Of {counted(self.predicted, "example")} that were predicted to be of class "{self.worst}",'
            f" {self.right} {'is' if self.right == 1 else 'are'} (precision {share})."
        )


def imbalance(record: SweepRecord) -> Imbalance | None:
    """The imbalance of the test set if that was opened, else of the validation set.

    None if no class is in a clear majority (see `is_imbalanced`), or nothing was predicted yet.
    """
    found = confusion(record)
    if found is None:
        return None
    sizes = found.counts.sum(axis=1)
    occur, most = int((sizes > 0).sum()), int(sizes.argmax())
    if not is_imbalanced(sizes[sizes > 0].tolist()):
        return None
    recall = found.recall()
    worst = int(np.nanargmin(recall))
    low, high = wilson(float(recall[worst]), int(sizes[worst]))
    return Imbalance(
        split=found.split,
        majority=found.names[most],
        share=float(sizes[most]) / found.examples,
        balanced=1 / occur,
        worst=found.names[worst],
        recall=float(recall[worst]),
        low=low,
        high=high,
        examples=int(sizes[worst]),
        alike=int((recall == recall[worst]).sum()) - 1,
        predicted=int(found.counts[:, worst].sum()),
        right=int(found.counts[worst, worst]),
    )

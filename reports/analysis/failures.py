"""Why trials failed."""

from __future__ import annotations

import re
from collections import Counter

from studies.record.reader import SweepRecord

BROKEN = ("diverged", "out of memory", "timeout", "failed")


def failure_causes(record: SweepRecord) -> dict[str, int]:
    """The reasons of failed trials with their counts, most frequent first.

    Reasons that differ only in numbers are grouped under the first of them.
    """
    broken = [trial.reason or trial.outcome for trial in record.trials if trial.outcome in BROKEN]
    kinds = [re.sub(r"\d+", "#", reason) for reason in broken]
    first = dict(zip(reversed(kinds), reversed(broken), strict=True))
    return {first[kind]: count for kind, count in Counter(kinds).most_common()}


def most_frequent_cause(record: SweepRecord) -> str:
    """The most frequent reason in words, with the number of trials; of equally frequent ones the first."""
    causes = failure_causes(record)
    cause, number = next(iter(causes.items()))
    tied = sum(count == number for count in causes.values()) > 1
    return f"{'one of the most frequent causes' if tied else 'most frequent cause'}: {cause} ({number})"

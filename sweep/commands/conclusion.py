"""The results of a study in a few lines, as `sweep run` prints them at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.analysis.confirmation import repeat_word
from reports.analysis.final_models import final_accuracy, final_difference, final_objective
from reports.analysis.wording import counted
from studies.record.reader import SweepRecord
from sweep.commands.status import imbalance_lines, one_line, unconfirmed_line, unconfirmed_lines


def conclusion(record: SweepRecord) -> list[str]:
    """Trials, best trial, champion against baseline, test results, imbalance; what is not known yet is left out."""
    lines = [one_line(record)]
    if best := record.ranked()[:1]:
        value = record.metric.format(best[0].value or 0.0)
        lines.append(f"best complete trial: trial {best[0].number}, validation {record.metric.label} {value}")
    if record.verdict:
        lines.append(_champion(record, record.verdict))
    lines += unconfirmed_lines(record)
    if objective := final_objective(record):
        low, high = (record.metric.format(end(objective.values)) for end in (min, max))
        than = "" if objective.baseline is None else f"; the baseline's {record.metric.format(objective.baseline)}"
        lines.append(
            f"test {record.metric.label}: {record.metric.format(objective.mean)}, mean of"
            f" {counted(len(objective.values), 'final model')} ({low} to {high}){than}"
        )
    if test := final_accuracy(record):
        lines.append(
            f"test accuracy: {100 * test.mean:.2f} %, mean of {counted(len(test.accuracies), 'final model')} "
            f"(95 % interval over test examples {100 * test.low:.2f} to {100 * test.high:.2f} %)"
        )
    if found := final_difference(record):
        which = "accuracy " if objective else ""
        lines.append(
            f"{which}against the baseline's {100 * found.baseline:.2f} %: {100 * found.mean:+.2f} points"
            f" (95 % interval over test examples {100 * found.low:+.2f} to {100 * found.high:+.2f})"
        )
    return lines + imbalance_lines(record)


def _champion(record: SweepRecord, verdict: Mapping[str, Any]) -> str:
    if verdict["confirm_mean"] is None:
        return unconfirmed_line(record, verdict["champion"])
    mean = record.metric.format(verdict["confirm_mean"])
    against = _against_baseline(verdict)
    return f"champion on {repeat_word(record)}s: trial {verdict['champion']}, {mean} on average; {against}"


def _against_baseline(verdict: Mapping[str, Any]) -> str:
    pair = verdict["paired"]
    if pair is None:
        return "it is the baseline" if verdict["champion"] == 0 else "the baseline has no confirm runs"
    return "better than the baseline" if pair["better"] else "not distinguishable from the baseline"

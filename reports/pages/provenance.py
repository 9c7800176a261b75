"""The outcomes of the trials with their causes, and the provenance of the record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from reports.analysis import wording
from reports.analysis.failures import failure_causes
from reports.analysis.standing import UNFINISHED, last_finish
from reports.analysis.wording import counted, percent
from reports.drawing import plots
from reports.drawing.layout import BODY, Page
from reports.drawing.sheets import Sheets, height
from reports.pages.context import FEWEST_COMPLETE, Report
from studies.record.reader import SweepRecord, TrialRecord

MOST_CAUSES = 8
MOST_NOTES = 10


def origin(report: Report, sheets: Sheets) -> None:
    """The outcomes of the trials with their causes, and the provenance of the record."""
    said = _finding(report), "Outcomes: all started trials. Time is training time."
    _content(sheets.section(*said, room=height(*said, lambda page: _content(page, report))), report)


def _content(page: Page, report: Report) -> None:
    if report.record.trials:
        _endings(page, report.record)
    if causes := list(failure_causes(report.record).items()):
        page.heading("Causes of failed trials")
        rows = [[reason, str(number)] for reason, number in causes[:MOST_CAUSES]]
        page.table(["cause (reasons that differ only in numbers are grouped)", "trials"], rows, right=(1,))
        if len(causes) > MOST_CAUSES:
            page.paragraph(f"{counted(len(causes) - MOST_CAUSES, 'rarer cause')} not shown.", BODY)
    page.heading("Provenance")
    for key, text in _provenance(report.record):
        page.item(key, text, indent=1.3)
    if report.standing.complete < FEWEST_COMPLETE:
        page.space(0.06)
        page.paragraph(
            f"With fewer than {FEWEST_COMPLETE} completed trials there are too few data on parts of the ranges and"
            " on the number of epochs and of trials: those sections are omitted.",
            BODY,
        )


def _finding(report: Report) -> str:
    counts, finished = report.record.counts(), report.standing.finished
    if not finished:
        return "No trial has finished"
    left = f"; {report.standing.unfinished} not finished" if report.standing.unfinished else ""
    others = {k: v for k, v in counts.items() if k not in ("complete", *UNFINISHED)}
    why = f", {wording.outcomes(others)}" if others else ""
    return f"{report.standing.complete} of {counted(finished, 'finished trial')} completed{why}{left}"


def _endings(page: Page, record: SweepRecord) -> None:
    counts = record.counts()
    ordered = [name for name in (*wording.OUTCOMES, *counts) if name in counts]
    words = {name: f"{counts[name]} {name}" for name in ordered}
    plots.outcomes(page.strip(0.24), {name: float(counts[name]) for name in ordered}, words)
    page.space(0.1)
    rows = [_ending(record, name) for name in dict.fromkeys(ordered)]
    page.table(["outcome", "trials", "share", "epochs run", "time"], rows, right=(1, 2, 3, 4))
    page.space(0.06)
    page.paragraph(" ".join(_oddities(record.trials)), BODY)


def _ending(record: SweepRecord, outcome: str) -> list[str]:
    trials = [trial for trial in record.trials if trial.outcome == outcome]
    return [
        outcome,
        str(len(trials)),
        percent(len(trials) / len(record.trials)),
        str(sum(len(trial.epochs) for trial in trials)),
        wording.duration(sum(trial.seconds for trial in trials)),
    ]


def _oddities(trials: Sequence[TrialRecord]) -> list[str]:
    """Settings that were tried twice, and trials that were started more than once."""
    settings = Counter(repr(sorted(trial.hyperparameters.items())) for trial in trials)
    twice = sum(number - 1 for number in settings.values())
    again = sum(trial.attempt > 1 for trial in trials)
    return [
        f"{counted(twice, 'trial')} had the settings of an earlier one." if twice else "All settings were different.",
        f"Started more than once: {counted(again, 'trial')}.",
    ]


def _provenance(record: SweepRecord) -> list[tuple[str, str]]:
    data, study, origin = record.dataset, record.study, record.provenance
    parts = {part: int(data[part]) for part in ("train", "validation", "test")}
    if record.folds > 1:
        parts = {"train and validation": record.validated, "test": parts["test"]}
    sizes = ", ".join(f"{number:,} {part}".replace(",", "\u202f") for part, number in parts.items())
    end = last_finish(record)
    commit = str(origin.get("git_commit") or "none recorded")[:12]
    dirty = ", with uncommitted changes: not reproducible from the commit" if origin.get("git_dirty") else ""
    generation = f", generations of {study['generation']}" if study.get("generation") else ""
    start = f", after {counted(len(study['start']), 'given setting')}" if study.get("start") else ""
    folds = f", mean of {record.folds} folds" if record.folds > 1 else ""
    controls = f", {percent(float(study.get('control') or 0))} of the trials judged but never pruned"
    return [
        ("data", f"{data['name']}: {sizes} examples"),
        *_preparation(data.get("notes") or ()),
        ("data's SHA-256", str(data["digest"])),
        ("objective", f"{study['objective']} ({study['direction']}) at the {study['epoch']} epoch{folds}"),
        ("sampler", f"{study['sampler']}, seed {study['seed']}{generation}{start}"),
        ("pruner", str(study["pruner"]) + ("" if study["pruner"] == "none" else controls)),
        ("code", f"commit {commit}{dirty}"),
        ("versions", _flat(origin.get("versions", {}))),
        ("machine", _flat(origin.get("machine", "not recorded"))),
        ("created", wording.moment(record.created) + (f", last finish {wording.moment(end)}" if end else "")),
        ("study", f"{record.name}, uid {record.uid}"),
    ]


def _preparation(notes: Sequence[str]) -> list[tuple[str, str]]:
    """What was done with the source of the data, a line each."""
    left = len(notes) - MOST_NOTES
    shown = [*notes[:MOST_NOTES], *([f"and {left} more, listed by sweep data describe"] if left > 0 else [])]
    return [("" if index else "preparation", note) for index, note in enumerate(shown)]


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    return ", ".join(str(part) for part in value) if isinstance(value, (list, tuple)) else str(value)

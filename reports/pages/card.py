"""What a document says about a trial whose point is pointed at."""

from __future__ import annotations

from dataclasses import dataclass

from reports.analysis import wording
from reports.analysis.standing import BASELINE
from reports.analysis.wording import in_words, setting
from reports.pages.context import epoch
from studies.record.reader import SweepRecord, TrialRecord


@dataclass(frozen=True)
class Card:
    """A trial in short.

    Attributes:
        title: its number.
        rows: pairs of a name and a text: the outcome, the value, and the searched settings.
    """

    title: str
    rows: tuple[tuple[str, str], ...]


def cards(record: SweepRecord, study: str = "") -> dict[int, Card]:
    """The card of each trial by its number; `study` names the study, in a document about several."""
    metric = wording.objective(record)
    return {trial.number: _card(record, trial, metric, study) for trial in record.trials}


def _card(record: SweepRecord, trial: TrialRecord, metric: wording.MetricFormat, study: str) -> Card:
    title = f"Trial {trial.number}{', the baseline' if trial.number == BASELINE else ''}"
    rows = [("outcome", trial.outcome)]
    if trial.reason and trial.outcome != "complete":
        rows.append(("reason", trial.reason))
    rows.append((f"{metric.name} in the search", metric.text(trial.value)))
    at = f"{epoch(trial)} of {len(trial.epochs)}" if trial.selected_epoch is not None else f"{len(trial.epochs)} run"
    rows += [("epoch", at), ("time", wording.duration(trial.seconds))]
    rows += [(in_words(key), setting(trial.hyperparameters.get(key, "–"))) for key in record.study["space"]]
    return Card(f"{title} of {study}" if study else title, tuple(rows))

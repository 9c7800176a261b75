"""`sweep status`: a recorded study in a few lines, or as JSON."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from typing import Any

from reports.analysis.final_models import final_accuracy, final_objective
from reports.analysis.imbalance import imbalance
from reports.analysis.standing import UNFINISHED
from studies.record.folder import StudyFolder
from studies.record.reader import SweepRecord, TrialRecord
from sweep.coordination.progress import duration, reading


def summary(record: SweepRecord) -> dict[str, Any]:
    """The study for `--json`: numbers in full precision, None for what is not known yet.

    Keys: study, question, dataset, objective, folds (of whose validation values the best, the baseline and all trials
    have the mean), trials (requested), begun, done, outcomes, best, baseline, champion,
    unconfirmed_champion (named for lack of time to confirm one), confirmed (the champion's mean on fresh seeds; its
    paired difference to the baseline, positive where it is better, and the difference's 95 % interval),
    mean_test_accuracy (of the final models) and its test_interval, mean_test_objective (if the objective is neither
    accuracy nor loss), imbalance (the fields of `Imbalance`, if one class is in a clear majority).
    """
    ranked = record.ranked()
    verdict, tested, objective = record.verdict, final_accuracy(record), final_objective(record)
    uneven = imbalance(record)
    return {
        "study": record.name,
        "question": record.study["question"],
        "dataset": {"name": record.dataset["name"], "digest": record.dataset["digest"]},
        "objective": record.objective,
        "folds": record.folds,
        "trials": record.study["trials"],
        "begun": len(record.trials),
        "done": sum(trial.state != "running" for trial in record.trials),
        "outcomes": record.counts(),
        "best": _trial(ranked[0]) if ranked else None,
        "baseline": _trial(record.trials[0]) if record.trials else None,
        "champion": verdict["champion"] if verdict else None,
        "unconfirmed_champion": unconfirmed_champion(record),
        "confirmed": {"mean": verdict["confirm_mean"], **(verdict["paired"] or {})} if verdict else None,
        "mean_test_accuracy": tested.mean if tested else None,
        "test_interval": [tested.low, tested.high] if tested else None,
        "mean_test_objective": objective.mean if objective else None,
        "imbalance": asdict(uneven) if uneven else None,
    }


def unconfirmed_champion(record: SweepRecord) -> int | None:
    """The trial whose network is the champion for lack of time to confirm one; None if there is none, or a verdict."""
    with contextlib.suppress(FileNotFoundError, ValueError):  # a damaged card is replaced by the next start
        if record.verdict is None:
            number = json.loads(StudyFolder(record.folder).card.read_text()).get("trial")
            return number if isinstance(number, int) else None
    return None


def unconfirmed_lines(record: SweepRecord) -> list[str]:
    """Which trial is the champion, if it was not confirmed."""
    number = unconfirmed_champion(record)
    return [] if number is None else [unconfirmed_line(record, number)]


def unconfirmed_line(record: SweepRecord, champion: int) -> str:
    """What the search knows of a champion that was not confirmed."""
    trial = record.trials[champion]
    epochs = trial.hyperparameters["epochs"]
    ran = "" if len(trial.epochs) == epochs else f" after {len(trial.epochs)} of {epochs} epochs"
    value = record.metric.format(trial.value or 0.0)
    return f"champion: trial {champion}, validation {record.metric.label} {value}{ran}, not confirmed for lack of time"


def imbalance_lines(record: SweepRecord) -> list[str]:
    """The majority class and the lowest recall, if the classes are imbalanced."""
    found = imbalance(record)
    return [sentence.replace("\u00a0", " ") for sentence in found.sentences()] if found else []


def lines(record: SweepRecord) -> list[str]:
    """The summary as lines of text."""
    found = [record.study["question"], one_line(record)]
    if record.folds > 1:
        found.append(f"validation numbers are means of {record.folds} folds")
    for title, trial in (("best", record.ranked()[:1]), ("baseline", record.trials[:1])):
        found += [f"{title}: trial {one.number}, {_value(record, one)}; {_settings(record, one)}" for one in trial]
    if record.verdict and (tested := final_accuracy(record)):
        mean = 100 * tested.mean
        found.append(f"champion: trial {record.verdict['champion']}, mean test accuracy {mean:.2f} %")
    return found + unconfirmed_lines(record) + imbalance_lines(record)


def one_line(record: SweepRecord) -> str:
    """Name, progress and outcomes in one line."""
    counts = record.counts()
    open_ = [f", {count} {outcome}" for outcome in UNFINISHED if (count := counts.pop(outcome, 0))]
    done = ", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "none"
    spent = duration(sum(trial.seconds for trial in record.trials))
    total = record.planned
    return f"{record.name}: {sum(counts.values())} of {total} trials done ({done}){''.join(open_)}, {spent} of training"


def _trial(trial: TrialRecord) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "outcome": trial.outcome,
        "value": trial.value,
        "validation_loss": trial.validation_loss,
        "validation_accuracy": trial.validation_accuracy,
        "hyperparameters": dict(trial.hyperparameters),
    }


def _value(record: SweepRecord, trial: TrialRecord) -> str:
    if trial.value is None:
        return trial.outcome
    return f"validation {record.metric.label} {record.metric.format(trial.value)}"


def _settings(record: SweepRecord, trial: TrialRecord) -> str:
    return ", ".join(f"{key} {reading(trial.hyperparameters[key])}" for key in record.study["space"])

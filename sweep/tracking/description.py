"""The study and its champion in words, for the tracker's page."""

from __future__ import annotations

from collections.abc import Mapping

from model.metrics import metric_of
from reports.analysis.confirmation import repeat_word
from reports.analysis.confusion import LONGEST_NAME
from reports.analysis.final_models import FinalAccuracy, final_accuracy, final_objective
from reports.analysis.imbalance import imbalance
from reports.analysis.importance import Importance
from reports.analysis.standing import winner
from reports.analysis.wording import short_names
from studies.record.folder import StudyFolder
from studies.record.reader import SweepRecord, TrialRecord
from sweep.tracking import expected_runs
from sweep.tracking.marks import MODEL_LINK, STUDY_LINK, linked
from sweep.tracking.trial_run import trial_key, trial_name

MOST_CLASSES = 10
"""Classes whose names are written out."""


def description(record: SweepRecord, state: str, links: Mapping[str, str], found: Importance | None) -> str:
    """The study in Markdown: its question, the answer so far, its state and its data."""
    question = str(record.study.get("question") or f"Which settings give the best {_words(record.objective)}?")
    counts = ", ".join(f"{count} {outcome}" for outcome, count in record.counts().items()) or "none"
    lines = [
        f"**Question.** {question}",
        *_answer(record, links),  # second, because MLflow folds a description after five lines
        *([f"[All trials side by side]({links['charts']}), best first."] if "charts" in links else []),
        f"**State.** {state.capitalize()}: {len(record.trials)} of {record.planned} trials ({counts}).",
        f"**Data.** {record.dataset['name']}, {record.dataset['train']} training, {record.dataset['validation']} "
        f"validation and {record.dataset['test']} test examples, seed {record.study['seed']}."
        f"{_folds(record)}{_classes(record)}",
    ]
    if notes := record.dataset.get("notes"):
        lines.append(f"**Preparation.** {'; '.join(notes)}.")
    if uneven := imbalance(record):
        lines.append(f"**Imbalance.** {' '.join(uneven.sentences())}")
    if found is not None and (clear := found.matters):
        lines.append(f"**What matters.** {', '.join(clear)}, most important first: each more than chance explains.")
    if StudyFolder(record.folder).report.is_file():
        lines.append("The full report is `report.pdf`, under Artifacts.")
    return "\n\n".join(lines)


def model_description(record: SweepRecord, takes: str, links: Mapping[str, str]) -> str:
    """The champion: its test accuracy, what it takes, and where it comes from.

    The first paragraph is plain text, because MLflow's table of versions does not render Markdown.

    Args:
        record: the study.
        takes: its inputs in words.
        links: addresses of the study's runs.
    """
    number, test = champion_number(record), final_accuracy(record)
    tested = "not tested"
    if test is not None:
        low, high = _amount("accuracy", test.shipped_low), _amount("accuracy", test.shipped_high)
        tested = f"test accuracy {_amount('accuracy', test.accuracies[0])} ({low} to {high})"
    trial = linked(f"trial {number}", links, f"search/{number}")
    study = linked(f"study {record.name}", links, STUDY_LINK)
    return "\n\n".join(
        [
            f"Trial {number} of study {record.name}: {tested}. Takes {takes}.",
            f"It has the settings of {trial}, the champion of {study}, and was trained on the training and validation "
            "examples together.",
        ]
    )


def _answer(record: SweepRecord, links: Mapping[str, str]) -> list[str]:
    best = winner(record)
    if best is None:
        return ["**Answer.** None yet: no trial is complete."]
    lines = [f"**Answer.** {_link(record, best, links)}: {_settings(record, best)}. {_against_baseline(record, best)}"]
    return [*lines, *_confirmation(record, champion_number(record), links)]


def _folds(record: SweepRecord) -> str:
    return f" Validation numbers of trials are means of {record.folds} folds." if record.folds > 1 else ""


def _classes(record: SweepRecord) -> str:
    """Number and names of the classes, where names were recorded."""
    names = record.dataset.get("class_names") or ()
    if not names:
        return ""
    more = f" and {len(names) - MOST_CLASSES} more" if len(names) > MOST_CLASSES else ""
    return f" {len(names)} classes: {', '.join(short_names(names[:MOST_CLASSES], LONGEST_NAME))}{more}."


def _link(record: SweepRecord, trial: TrialRecord, links: Mapping[str, str]) -> str:
    return linked(trial_name(record, trial), links, trial_key("search", trial))


def _settings(record: SweepRecord, trial: TrialRecord) -> str:
    """The settings that were searched; the others are the same in every trial."""
    searched = {key: value for key, value in trial.hyperparameters.items() if key in record.study.get("space", {})}
    return ", ".join(f"{_words(key)} {_short(value)}" for key, value in (searched or trial.hyperparameters).items())


def _against_baseline(record: SweepRecord, winner: TrialRecord) -> str:
    text = f"Its {_words(record.objective)} is {_amount(record.objective, winner.value)}"
    baseline = baseline_trial(record)
    if winner.number == 0:
        return text + "; it is the baseline itself."
    return text + _and_baseline(record, baseline.value if baseline else None)


def _confirmation(record: SweepRecord, champion: int | None, links: Mapping[str, str]) -> list[str]:
    test = final_accuracy(record)
    if record.verdict is None or test is None or champion is None:
        return ["Not confirmed yet. The best of many trials is partly luck."]
    paired = record.verdict.get("paired")
    lines = ["There was no time to confirm it on fresh splits."]
    if (mean := confirmed_mean(record, champion)) is not None:
        lines = [f"**On {repeat_word(record)}s.** Mean {_words(record.objective)} {_amount(record.objective, mean)}"]
        lines[0] += _and_baseline(record, confirmed_mean(record, 0) if champion else None)
    if paired:
        lines[0] += " Better by the paired 95 % interval." if paired["better"] else " The difference may be chance."
    low, high = _amount("accuracy", test.low), _amount("accuracy", test.high)
    objective = final_objective(record)
    also = f" Mean {record.metric.label} {_amount(record.objective, objective.mean)}." if objective else ""
    return [
        *lines,
        f"**On the test set.** Mean accuracy of {len(test.accuracies)} final models "
        f"{_amount('accuracy', test.mean)} (95 % interval over test examples {low} to {high}).{also} "
        f"{_shipped(test, links)}",
    ]


def _shipped(test: FinalAccuracy, links: Mapping[str, str]) -> str:
    """The accuracy of the registered model against the mean."""
    model = linked("registered model", links, MODEL_LINK)
    accuracy = _amount("accuracy", test.accuracies[0])
    if len(test.accuracies) == 1:
        return f"It is the {model}."
    return (
        f"The {model} is the first of them, with {accuracy}. They differ in their seeds only and it was not chosen by "
        "this number, so the mean says better what to expect of it."
    )


def _and_baseline(record: SweepRecord, value: float | None) -> str:
    return "." if value is None else f", the baseline's {_amount(record.objective, value)}."


def _words(name: str) -> str:
    return name.replace("_", " ")


def _amount(metric: str, value: float | None) -> str:
    return "unknown" if value is None else metric_of(metric).format(value)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else expected_runs.text(value)


# --- the verdict


def baseline_trial(record: SweepRecord) -> TrialRecord | None:
    """Trial 0, if it was begun."""
    return next((trial for trial in record.trials if trial.number == 0), None)


def champion_number(record: SweepRecord) -> int | None:
    """The trial of the search that the verdict names, or None before there is one."""
    return int(record.verdict["champion"]) if record.verdict else None


def confirmed_mean(record: SweepRecord, number: int) -> float | None:
    """Mean objective of a confirmed trial over its fresh seeds, from the verdict."""
    candidates = record.verdict["candidates"] if record.verdict else []
    return next((float(found["mean"]) for found in candidates if found["trial"] == number), None)

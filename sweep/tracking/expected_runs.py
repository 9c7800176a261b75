"""What MLflow should show of a study: a record as plain runs, with no MLflow in sight.

One run for the study, one below it for every trial. `sweep/tracking/reconcile.py` compares these values with what
MLflow holds and sends the difference, so every decision about names, states, tags and numbers is a pure function in
this file.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from model.metrics import METRICS, metric_of
from reports.analysis import findings as analysis
from reports.analysis.checks import checks, summary
from reports.analysis.importance import Importance, importance
from studies.record.reader import SweepRecord, TrialRecord
from studies.record.schema import EPOCH_COLUMNS
from sweep.passwords import without_passwords
from sweep.tracking.pictures import confusion_png, curves_png

FORMAT = 5  # part of every digest: raise it when the mapping below changes, and the next sync renews every run
STUDY_KEY = "study"
CURVES = tuple(column for column in EPOCH_COLUMNS if column != "time")
_NEWER = {metric.objective for metric in METRICS.values()} - {"validation_loss", "validation_accuracy"}
"""Metrics that older versions did not record."""
_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "running": "RUNNING", "interrupted": "SCHEDULED"}
_TAG_LENGTH = 8000  # MLflow's limit; longer values would be cut there and then differ from ours for ever


@dataclass(frozen=True)
class Point:
    """One metric value; `time` is in Unix milliseconds."""

    key: str
    value: float
    time: int
    step: int = 0


@dataclass(frozen=True)
class Run:
    """A run as MLflow should show it.

    Attributes:
        key: names the run within its study: `study`, `search/7`, `confirm/3`.
        name: what a person reads in the list.
        status: MLflow's word.
        started, ended: Unix milliseconds; `ended` only of runs that are over.
        params, tags: text.
        curves: metrics with one value a step; a step, once written, never changes.
        scalars: metrics with one value, which may be replaced by a newer one.
        files: artifact name to its bytes, or to the file that holds them.
    """

    key: str
    name: str
    status: str
    started: int
    ended: int | None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    curves: tuple[Point, ...] = ()
    scalars: tuple[Point, ...] = ()
    files: Mapping[str, bytes | Path] = field(default_factory=dict)


def trial_key(study: str, trial: TrialRecord) -> str:
    """The key of a trial's run; `study` is `search` or `confirm`."""
    return f"{study}/{trial.number}"


def trial_digest(record: SweepRecord, study: str, trial: TrialRecord) -> str:
    """A digest that changes whenever the trial's run would; much cheaper than making the run (no plots, no CSV)."""
    weights = weights_file(record.folder, study, trial)
    size = weights.stat().st_size if weights.is_file() else None
    values = {name: value for name, value in vars(trial).items() if name != "epochs"}
    epochs = hashlib.sha256(trial.epochs.tobytes()).hexdigest()
    return _digest(
        [FORMAT, record.uid, dict(record.dataset), record.provenance.get("git_commit"), values, epochs, size]
    )


def study_digest(record: SweepRecord, finished: Sequence[str], *, active: bool, links: Mapping[str, str]) -> str:
    """A digest that changes whenever the study's run would.

    Args:
        record: the study.
        finished: digests of its finished trials; a running one changes with every epoch, the study's run does not.
        active: whether a sweep is at work on it.
        links: addresses of its runs.
    """
    report = record.folder / "report.pdf"
    content = report.read_bytes() if report.is_file() else b""
    said = [dict(record.study), dict(record.dataset), dict(record.provenance), record.verdict, record.counts()]
    drawn = hashlib.sha256(content).hexdigest()
    return _digest([FORMAT, record.uid, study_state(record, active=active), said, list(finished), dict(links), drawn])


def weights_file(folder: Path, study: str, trial: TrialRecord) -> Path:
    """Where a completed trial keeps the weights of the epoch that counts."""
    return folder / ("trials" if study == "search" else study) / f"{trial.number:04d}" / "weights.npz"


def file_digests(files: Mapping[str, bytes | Path]) -> dict[str, str]:
    """SHA-256 of each artifact's bytes."""
    return {name: file_digest(content) for name, content in files.items()}


def file_digest(content: bytes | Path) -> str:
    """SHA-256 of a file's bytes."""
    return hashlib.sha256(content if isinstance(content, bytes) else content.read_bytes()).hexdigest()


# --- one trial


def trial_run(record: SweepRecord, study: str, trial: TrialRecord) -> Run:
    """The run of one trial of the search or of the confirmation.

    Args:
        record: the study it belongs to.
        study: `search` or `confirm`.
        trial: the trial.
    """
    started, ended = _span(record, trial)
    curves, scalars = trial_points(record, trial)
    return Run(
        key=trial_key(study, trial),
        name=_trial_name(trial),
        status=trial_status(trial),
        started=started,
        ended=ended,
        params=_trial_params(trial),
        tags=_trial_tags(record, trial),
        curves=curves,
        scalars=scalars,
        files=_trial_files(record, study, trial) if ended else {},
    )


def trial_points(record: SweepRecord, trial: TrialRecord) -> tuple[tuple[Point, ...], tuple[Point, ...]]:
    """The curves and the scalars of a trial's run; to count them, nothing needs to be drawn."""
    return _curves(trial), _scalars(trial, *_span(record, trial))


def _span(record: SweepRecord, trial: TrialRecord) -> tuple[int, int | None]:
    """When it began and, if it is over, ended."""
    ended = _milliseconds(trial.finished) if trial.finished and trial.state != "running" else None
    return _milliseconds(trial.started or record.created), ended


def trial_status(trial: TrialRecord) -> str:
    """MLflow's word for the trial's outcome; whatever is none of the four good ones has failed."""
    return _STATUS.get(trial.outcome, "FAILED")


def _trial_name(trial: TrialRecord) -> str:
    if trial.role:
        who = "" if trial.role == "final" or trial.candidate is None else f" {trial.candidate}"
        return f"{trial.role}{who} seed {trial.seed_index}"
    return f"trial {trial.number}" + (" (baseline)" if trial.number == 0 else "")


def _subject(trial: TrialRecord) -> int:
    """The trial of the search that a run is about: itself, or the one it repeats."""
    return trial.number if trial.candidate is None else trial.candidate


def _trial_params(trial: TrialRecord) -> dict[str, str]:
    params = {key: _text(value) for key, value in trial.hyperparameters.items()}
    params["trial"] = str(_subject(trial))
    if trial.seed_index is not None:
        params["seed_index"] = str(trial.seed_index)
    return params


def _trial_tags(record: SweepRecord, trial: TrialRecord) -> dict[str, str]:
    values = {
        "outcome": trial.outcome,
        "reason": trial.reason,
        "role": trial.role or ("baseline" if trial.number == 0 else "search"),
        "attempt": trial.attempt,
        "worker": trial.worker,
        "weights_sha256": trial.weights_sha256,
        "audit": json.dumps(dict(trial.audit)) if trial.audit else None,
        **_source_tags(record),
    }
    return _tags(values)


def _curves(trial: TrialRecord) -> tuple[Point, ...]:
    """Every epoch's numbers, ordered by step: if a sending is cut off, what arrived is a whole number of batches."""
    times = trial.epochs["time"]
    columns = {name: trial.epochs[name] for name in CURVES if _measured(trial, name)}
    return tuple(
        Point(name, _finite(values[step]), int(time * 1000), step)
        for step, time in enumerate(times)
        for name, values in columns.items()
    )


def _measured(trial: TrialRecord, column: str) -> bool:
    """Whether the run has this curve: a final model has no validation, and an old record has fewer metrics."""
    always = trial.role != "final" and column not in _NEWER
    return always or not np.isnan(trial.epochs[column]).all()


def _scalars(trial: TrialRecord, started: int, ended: int | None) -> tuple[Point, ...]:
    """The trial's number, so that it can be an axis, and its bests, because MLflow shows the last of a curve."""
    values: dict[str, float | None] = {}
    if ended is not None:
        values = {
            "objective": trial.value,
            "best_epoch": trial.counted_epoch,
            "best_validation_accuracy": _best(trial.epochs["validation_accuracy"], np.max),
            "best_validation_loss": _best(trial.epochs["validation_loss"], np.min),
            "epochs_run": len(trial.epochs),
            "training_seconds": trial.seconds,
        }
    return (*_points({"trial": _subject(trial)}, started), *_points(values, ended or started))


def _best(values: np.ndarray, choose: Any) -> float | None:
    finite = values[np.isfinite(values)]
    return float(choose(finite)) if finite.size else None


def _trial_files(record: SweepRecord, study: str, trial: TrialRecord) -> dict[str, bytes | Path]:
    files: dict[str, bytes | Path] = {"epochs.csv": pd.DataFrame(trial.epochs).to_csv(index_label="epoch").encode()}
    weights = weights_file(record.folder, study, trial)
    if trial.state == "complete" and weights.is_file():
        files["weights.npz"] = weights
    if len(trial.epochs):
        files["curves.png"] = curves_png(trial.epochs, trial.counted_epoch)
    if trial.confusion:
        files["confusion.png"] = confusion_png(trial.confusion)
    return files


# --- the study


def study_run(record: SweepRecord, *, active: bool, links: Mapping[str, str]) -> Run:
    """The run of the study, parent of all others.

    Args:
        record: the study.
        active: whether a sweep is at work on it.
        links: key of a run, and `charts` for all of them, to the address in the MLflow UI.
    """
    state = study_state(record, active=active)
    ended = [_milliseconds(trial.finished) for trial in (*record.trials, *record.confirm) if trial.finished]
    over = state not in ("running", "interrupted")
    found = importance(record) if record.verdict else None
    return replace(
        study_head(record),
        status="FINISHED" if over else _STATUS[state],
        ended=max(ended) if over and ended else None,
        params=_study_params(record),
        tags=_study_tags(record, state, links, found),
        curves=_best_so_far(record),
        scalars=_study_scalars(record, max(ended, default=_milliseconds(record.created))),
        files=_study_files(record, found, active=active),
    )


def study_head(record: SweepRecord) -> Run:
    """The run of the study as it is created: without anything that takes time to make."""
    name = record.name if record.folder.name == record.name else f"{record.name} ({record.folder.name})"
    return Run(STUDY_KEY, name, _STATUS["running"], _milliseconds(record.created), None)


def study_state(record: SweepRecord, *, active: bool) -> str:
    """One of: running, interrupted, searched (its winner is not confirmed), finished."""
    if active:
        return "running"
    unfinished = any(trial.state == "running" for trial in (*record.trials, *record.confirm))
    if unfinished or len(record.trials) < int(record.study["trials"]):
        return "interrupted"
    return "finished" if record.verdict is not None else "searched"


def _study_params(record: SweepRecord) -> dict[str, str]:
    """What cannot change once a study was begun, because MLflow's params cannot; `trials` may grow and is a tag."""
    names = ("objective", "epoch", "seed", "sampler", "pruner", "control", "generation")
    params = {name: _text(record.study[name]) for name in names if record.study.get(name) is not None}
    return {"dataset": _text(record.dataset["name"]), **params}


def _study_tags(record: SweepRecord, state: str, links: Mapping[str, str], found: Importance | None) -> dict[str, str]:
    values = {
        "state": state,
        "role": "study",
        "trials": record.study["trials"],
        "checks": summary(checks(record)),
        "question": record.study.get("question"),
        "dataset_digest": record.dataset["digest"],
        "machine": _text(record.provenance.get("machine")),
        "command": _text(record.provenance.get("command")),
        **{f"version.{name}": text for name, text in record.provenance.get("versions", {}).items()},
        "mlflow.note.content": description(record, state, links, found),
        **_source_tags(record),
    }
    return _tags(values)


def _source_tags(record: SweepRecord) -> dict[str, object]:
    dirty = record.provenance.get("git_dirty")
    return {
        "study": record.uid,
        "mlflow.source.name": "sweep run",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": record.provenance.get("git_commit"),
        "mlflow.source.git.dirty": None if dirty is None else str(bool(dirty)).lower(),
    }


def _best_so_far(record: SweepRecord) -> tuple[Point, ...]:
    """The best objective after the first, second, ... completed trial, in the order in which they were completed."""
    better = max if record.maximize else min
    done = [trial for trial in record.trials if trial.state == "complete" and trial.value is not None]
    points: list[Point] = []
    for step, trial in enumerate(sorted(done, key=lambda t: (_milliseconds(t.finished or record.created), t.number))):
        value = float(trial.value or 0.0)
        best = better(value, points[-1].value) if points else value
        points.append(Point("best_so_far", best, _milliseconds(trial.finished or record.created), step))
    return tuple(points)


def _study_scalars(record: SweepRecord, time: int) -> tuple[Point, ...]:
    ranked = record.ranked()
    baseline = baseline_trial(record)
    values: dict[str, float | None] = {
        "best_objective": ranked[0].value if ranked else None,
        "baseline_objective": baseline.value if baseline else None,
        **{f"trials_{outcome.replace(' ', '_')}": count for outcome, count in _finished_counts(record).items()},
        **_verdict_scalars(record),
    }
    return _points(values, time)


def _finished_counts(record: SweepRecord) -> dict[str, int]:
    return {outcome: count for outcome, count in record.counts().items() if outcome not in ("running", "interrupted")}


def _verdict_scalars(record: SweepRecord) -> dict[str, float | None]:
    number = champion_number(record)
    test = analysis.tested(record)
    if test is None or number is None:
        return {}
    return {
        "champion_trial": number,
        "champion_confirm_mean": confirmed_mean(record, number),
        "baseline_confirm_mean": confirmed_mean(record, 0),
        "mean_test_accuracy": test.mean,
        "mean_test_accuracy_low": test.low,
        "mean_test_accuracy_high": test.high,
    }


def _study_files(record: SweepRecord, found: Importance | None, *, active: bool) -> dict[str, bytes | Path]:
    """The study file, the table of trials, the verdict, the report.

    While a sweep is at work the table leaves running trials out: it then changes with a trial, not with an epoch.
    """
    table = record.table()
    if active and len(table):
        table = table[table["state"] != "running"]
    files: dict[str, bytes | Path] = {
        "study.json": _json(record.study),
        "trials.csv": table.to_csv(index=False).encode(),
    }
    if record.verdict is not None:
        files["verdict.json"] = _json(record.verdict)
    if found is not None:
        files["importance.csv"] = _importance_csv(found)
    report = record.folder / "report.pdf"
    if report.is_file():
        files["report.pdf"] = report
    return files


def _importance_csv(found: Importance) -> bytes:
    """Every searched axis with its scores, intervals and chance levels; only the head where trials are too few."""
    columns = {
        f"{method}{suffix}": values
        for method, scores in (("best", found.best), ("all", found.all))
        for suffix, values in (
            ("", scores.score),
            ("_low", scores.low),
            ("_high", scores.high),
            ("_chance", scores.chance),
        )
    }
    return pd.DataFrame({"axis": found.names, **columns}).to_csv(index=False, float_format="%.6g").encode()


# --- the verdict


def baseline_trial(record: SweepRecord) -> TrialRecord | None:
    """Trial 0, if it was begun."""
    return next((trial for trial in record.trials if trial.number == 0), None)


def champion_number(record: SweepRecord) -> int | None:
    """The trial of the search that the verdict names, or None before there is one."""
    return int(record.verdict["champion"]) if record.verdict else None


def winner(record: SweepRecord) -> TrialRecord | None:
    """The champion, or the best of the search while there is none."""
    champion, ranked = champion_number(record), record.ranked()
    if champion is None:
        return ranked[0] if ranked else None
    return next(trial for trial in record.trials if trial.number == champion)


def confirmed_mean(record: SweepRecord, number: int) -> float | None:
    """Mean objective of a confirmed trial over its fresh seeds, from the verdict."""
    candidates = record.verdict["candidates"] if record.verdict else []
    return next((float(found["mean"]) for found in candidates if found["trial"] == number), None)


# --- words


def description(record: SweepRecord, state: str, links: Mapping[str, str], found: Importance | None) -> str:
    """The study in Markdown: what was asked, what won and by how much, how far it got."""
    question = str(record.study.get("question") or f"Which settings give the best {_words(record.objective)}?")
    counts = ", ".join(f"{count} {outcome}" for outcome, count in record.counts().items()) or "none"
    lines = [
        f"**Asked.** {question}",
        *_answer(record, links),  # so early, because MLflow folds a description after five lines
        *([f"[All trials side by side]({links['charts']}), the best first."] if "charts" in links else []),
        f"**State.** {state.capitalize()}: {len(record.trials)} of {record.study['trials']} trials ({counts}).",
        f"**Data.** {record.dataset['name']}, {record.dataset['train']} training, {record.dataset['validation']} "
        f"validation and {record.dataset['test']} test examples, seed {record.study['seed']}.",
    ]
    if found is not None and (clear := found.clear()):
        lines.append(f"**What mattered.** {', '.join(clear)}: more than chance explains, the most telling first.")
    if (record.folder / "report.pdf").is_file():
        lines.append("The whole answer is `report.pdf`, under Artifacts.")
    return "\n\n".join(lines)


def model_description(record: SweepRecord) -> str:
    """The champion in one line of plain text: MLflow's table of versions shows Markdown as it is typed."""
    test = analysis.tested(record)
    if test is None:
        return f"Trial {champion_number(record)} of study {record.name}, not tested"
    low, high = _amount("accuracy", test.shipped_low), _amount("accuracy", test.shipped_high)
    accuracy = f"test accuracy {_amount('accuracy', test.accuracies[0])} ({low} to {high})"
    return f"Trial {champion_number(record)} of study {record.name}: {accuracy}"


def _answer(record: SweepRecord, links: Mapping[str, str]) -> list[str]:
    best = winner(record)
    if best is None:
        return ["**Answer.** None yet: no trial is complete."]
    lines = [f"**Answer.** {_link(best, links)}: {_settings(record, best)}. {_against_baseline(record, best)}"]
    return [*lines, *_confirmation(record, champion_number(record))]


def _link(trial: TrialRecord, links: Mapping[str, str]) -> str:
    key = trial_key("search", trial)
    return f"[{_trial_name(trial)}]({links[key]})" if key in links else _trial_name(trial)


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


def _confirmation(record: SweepRecord, champion: int | None) -> list[str]:
    test = analysis.tested(record)
    if record.verdict is None or test is None or champion is None:
        return ["Not confirmed on fresh seeds yet: the best of many trials is partly luck."]
    paired = record.verdict.get("paired")
    mean = _amount(record.objective, confirmed_mean(record, champion))
    lines = [f"**On fresh seeds.** Mean {_words(record.objective)} {mean}"]
    lines[0] += _and_baseline(record, confirmed_mean(record, 0) if champion else None)
    if paired:
        lines[0] += " The paired 95 % interval says better." if paired["better"] else " The difference may be chance."
    low, high = _amount("accuracy", test.low), _amount("accuracy", test.high)
    return [
        *lines,
        f"**On the test set.** Mean accuracy of {len(test.accuracies)} final models "
        f"{_amount('accuracy', test.mean)} (95 % interval over test examples {low} to {high}).",
    ]


def _and_baseline(record: SweepRecord, value: float | None) -> str:
    return "." if value is None else f", the baseline's {_amount(record.objective, value)}."


def _words(name: str) -> str:
    return name.replace("_", " ")


def _amount(metric: str, value: float | None) -> str:
    return "unknown" if value is None else metric_of(metric).format(value)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else _text(value)


# --- plain values


def _points(values: Mapping[str, float | None], time: int) -> tuple[Point, ...]:
    return tuple(Point(key, _finite(value), time) for key, value in values.items() if value is not None)


def _finite(value: float) -> float:
    """Infinity as NaN: MLflow stores it as 1.8e308, which flattens every other point of a chart."""
    return float(value) if math.isfinite(value) else math.nan


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _tags(values: Mapping[str, object]) -> dict[str, str]:
    return {
        key: without_passwords(_text(value))[:_TAG_LENGTH] for key, value in values.items() if value not in (None, "")
    }


def _text(value: object) -> str:
    """How a value reads as a param or tag; layer sizes as `128-64`."""
    if value is None:
        return ""
    if isinstance(value, (tuple, list)):
        return "-".join(str(item) for item in value)
    return json.dumps(value, sort_keys=True, default=str) if isinstance(value, Mapping) else str(value)


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str) + "\n").encode()


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()

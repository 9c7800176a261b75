"""The run of the study, parent of all others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from reports.analysis.checks import checks, summary
from reports.analysis.final_models import final_accuracy, final_objective
from reports.analysis.importance import Importance, importance
from reports.analysis.standing import UNFINISHED
from studies.record.folder import REPORT, StudyFolder
from studies.record.reader import SweepRecord
from sweep.tracking import expected_runs
from sweep.tracking.description import baseline_trial, champion_number, confirmed_mean, description
from sweep.tracking.expected_runs import FORMAT, STATUS, Run
from sweep.tracking.tracker import Point
from sweep.tracking.trial_run import source_tags
from sweep.tracking.views import BEST

STUDY_KEY = "study"


def study_digest(record: SweepRecord, finished: Sequence[str], *, active: bool, links: Mapping[str, str]) -> str:
    """A digest that changes whenever the study's run would.

    Args:
        record: the study.
        finished: digests of its finished trials; a running one changes with every epoch, the study's run does not.
        active: whether a sweep is running on it.
        links: addresses of its runs.
    """
    report = StudyFolder(record.folder).report
    content = [dict(record.study), dict(record.dataset), dict(record.provenance), record.verdict, record.counts()]
    pages = hashlib.sha256(report.read_bytes() if report.is_file() else b"").hexdigest()
    state = study_state(record, active=active)
    name = study_head(record).name
    return expected_runs.digest([FORMAT, record.uid, name, state, content, list(finished), dict(links), pages])


def study_run(record: SweepRecord, *, active: bool, links: Mapping[str, str]) -> Run:
    """The run of the study, parent of all others.

    Args:
        record: the study.
        active: whether a sweep is running on it.
        links: key of a run, and `charts` for all of them, to the address in the MLflow UI.
    """
    state = study_state(record, active=active)
    has_ended = state not in ("running", "interrupted")
    found = importance(record) if record.verdict else None
    return replace(
        study_head(record),
        status="FINISHED" if has_ended else STATUS[state],
        ended=last_end(record) if has_ended and record.trials else None,
        params=_study_params(record),
        tags=_study_tags(record, state, links, found),
        curves=_best_so_far(record),
        scalars=_study_scalars(record, last_end(record)),
        files=_study_files(record, found, active=active),
    )


def last_end(record: SweepRecord) -> int:
    """When the latest trial ended, in Unix milliseconds; before the first end, when the study was created."""
    ends = [trial.finished for trial in (*record.trials, *record.confirm) if trial.finished]
    return expected_runs.milliseconds(max(ends, default=record.created))


def study_head(record: SweepRecord) -> Run:
    """The run of the study as it is created, without anything that takes time to compute."""
    name = record.name if record.folder.name == record.name else f"{record.name} ({record.folder.name})"
    return Run(STUDY_KEY, name, STATUS["running"], expected_runs.milliseconds(record.created), None)


def study_state(record: SweepRecord, *, active: bool) -> str:
    """One of: running, interrupted, searched (its winner is not confirmed), finished."""
    if active:
        return "running"
    unfinished = any(trial.state == "running" for trial in (*record.trials, *record.confirm))
    if unfinished:
        return "interrupted"
    if record.verdict is not None:
        return "finished"
    return "interrupted" if len(record.trials) < record.planned else "searched"


def _study_params(record: SweepRecord) -> dict[str, str]:
    """What cannot change once a study has begun, because MLflow's params cannot; `trials` may grow and is a tag."""
    names = ("objective", "epoch", "folds", "seed", "sampler", "pruner", "control", "generation")
    params = {name: expected_runs.text(record.study[name]) for name in names if record.study.get(name) is not None}
    return {"dataset": expected_runs.text(record.dataset["name"]), **params}


def _study_tags(record: SweepRecord, state: str, links: Mapping[str, str], found: Importance | None) -> dict[str, str]:
    values = {
        "state": state,
        "role": "study",
        "trials": record.study["trials"],
        "checks": summary(checks(record)),
        "question": record.study.get("question"),
        "classes": ", ".join(record.dataset.get("class_names") or ()),
        "dataset_digest": record.dataset["digest"],
        "machine": expected_runs.text(record.provenance.get("machine")),
        "command": expected_runs.text(record.provenance.get("command")),
        **{f"version.{name}": text for name, text in record.provenance.get("versions", {}).items()},
        "mlflow.note.content": description(record, state, links, found),
        **source_tags(record),
    }
    return expected_runs.tags(values)


def _best_so_far(record: SweepRecord) -> tuple[Point, ...]:
    """The best objective after the first, second, ... completed trial, in the order in which they were completed.

    It is the order of the record, not of the clock, which may have gone back between two starts of a sweep.
    """
    better = max if record.maximize else min
    done = [trial for trial in record.in_order() if trial.state == "complete" and trial.value is not None]
    points: list[Point] = []
    for step, trial in enumerate(done, start=1):
        value = float(trial.value or 0.0)
        best = better(value, points[-1].value) if points else value
        points.append(Point(BEST, best, expected_runs.milliseconds(trial.finished or record.created), step))
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
    return expected_runs.points(values, time)


def _finished_counts(record: SweepRecord) -> dict[str, int]:
    return {outcome: count for outcome, count in record.counts().items() if outcome not in UNFINISHED}


def _verdict_scalars(record: SweepRecord) -> dict[str, float | None]:
    number = champion_number(record)
    test, objective = final_accuracy(record), final_objective(record)
    if test is None or number is None:
        return {}
    return {
        "champion_trial": number,
        "champion_confirm_mean": confirmed_mean(record, number),
        "baseline_confirm_mean": confirmed_mean(record, 0),
        **({record.metric.objective.replace("validation", "mean_test"): objective.mean} if objective else {}),
        "test_accuracy": test.accuracies[0],
        "mean_test_accuracy": test.mean,
        "mean_test_accuracy_low": test.low,
        "mean_test_accuracy_high": test.high,
    }


def _study_files(record: SweepRecord, found: Importance | None, *, active: bool) -> dict[str, bytes | Path]:
    """The study file, the table of trials, the verdict, the report.

    While a sweep is running the table has no running trials, so that it changes once a trial, not once an epoch.
    """
    table = record.table()
    if active and len(table):
        table = table[table["state"] != "running"]
    files: dict[str, bytes | Path] = {
        "study.json": expected_runs.json_bytes(record.study),
        "trials.csv": table.to_csv(index=False).encode(),
    }
    if record.verdict is not None:
        files["verdict.json"] = expected_runs.json_bytes(record.verdict)
    if found is not None:
        files["importance.csv"] = _importance_csv(found)
    report = StudyFolder(record.folder).report
    if report.is_file():
        files[REPORT] = report
    return files


def _importance_csv(found: Importance) -> bytes:
    """Every searched axis, the most important first; only the head where trials are too few."""
    columns = {
        "share": found.share,
        "share_low": found.low,
        "share_high": found.high,
        "explained": found.explained,
        "explained_by_chance": found.chance,
    }
    return pd.DataFrame({"axis": found.names, **columns}).to_csv(index=False, float_format="%.6g").encode()

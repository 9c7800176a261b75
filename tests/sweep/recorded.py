"""A recorded study made by hand, in every state that a sweep can leave one in: for tests of what reads it."""

from __future__ import annotations

import functools
import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import sqlalchemy
from optuna.storages._rdb import models
from optuna.trial import TrialState, create_trial

from studies.record.reader import SweepRecord
from sweep.tracking.expected_runs import Run
from sweep.tracking.marks import Marks
from sweep.tracking.reconcile import all_trials
from sweep.tracking.study_run import study_run
from sweep.tracking.tracker import Model
from sweep.tracking.trial_run import trial_run

CREATED = datetime(2026, 3, 1, 9, 0, 0)
HYPERPARAMETERS = {
    "hidden_sizes": [128, 64],
    "learning_rate": 0.001,
    "batch_size": 128,
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-8,
    "weight_decay": 0.0,
    "dropout": 0.0,
    "input_dropout": 0.0,
    "label_smoothing": 0.0,
    "class_weights": "none",
    "activation": "relu",
    "schedule": "constant",
    "epochs": 10,
}
STUDY = {
    "name": "digits",
    "question": "Which width, learning rate and batch size give the best validation accuracy in 10 epochs?",
    "dataset": "digits",
    "objective": "validation_accuracy",
    "direction": "maximize",
    "epoch": "best",
    "seed": 7,
    "trials": 12,
    "sampler": "tpe",
    "pruner": "median",
    "control": 0.05,
    "baseline": HYPERPARAMETERS,
    "space": {"learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True}},
    "confirm": {"top": 1, "repeats": 2},
}
OUTCOMES = ("complete", "complete", "pruned", "complete", "diverged", "complete", "failed", "pruned", "complete")
OUTCOMES += ("timeout", "complete")  # and the last, number 11, is still running
STATES = {"complete": TrialState.COMPLETE, "failed": TrialState.FAIL, "running": TrialState.RUNNING}
STUDIES = ("search", "confirm")
SIZES = (64, 32, 10)


class _Hasty(sqlite3.Connection):
    """Commits do not wait for the disk: no test here cuts the power."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute("PRAGMA synchronous=OFF")


def _storage(path: Path, **options: bool) -> optuna.storages.RDBStorage:
    connection = {"connect_args": {"factory": _Hasty}}
    return optuna.storages.RDBStorage(f"sqlite:///{path}", engine_kwargs=connection, **options)


@functools.cache
def _empty_studies() -> bytes:
    """A database with both studies and no trial; to create its tables takes 0.2 s."""
    with tempfile.TemporaryDirectory() as folder:
        storage = _storage(Path(folder) / "study.db")
        for name in STUDIES:
            optuna.create_study(study_name=name, storage=storage, direction="maximize")
        storage.engine.dispose()
        return (Path(folder) / "study.db").read_bytes()


class Recorded:
    """A study folder in the making, written as `sweep/storage/database.py` writes it, in as few words as possible."""

    def __init__(self, folder: Path, study: dict[str, Any] = STUDY, uid: str = "5eed") -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        (folder / "study.db").write_bytes(_empty_studies())
        self.storage = _storage(folder / "study.db", skip_compatibility_check=True, skip_table_creation=True)
        self.studies = {name: optuna.load_study(study_name=name, storage=self.storage) for name in STUDIES}
        versions = {"numpy": "2.4.6", "python": "3.11.7"}
        for key, value in {
            "schema": 1,
            "uid": uid,
            "created": CREATED.astimezone().isoformat(),
            "study": study,
            "dataset": {
                "name": "digits",
                "digest": "ab" * 32,
                "classes": 10,
                "shape": [8, 8],
                "scale": 1 / 16,
                "train": 1293,
                "validation": 144,
                "test": 360,
            },
            "provenance": {
                "versions": versions,
                "git_commit": "c0ffee" * 6 + "abcd",
                "git_dirty": False,
                "machine": "a machine",
                "command": "sweep run digits --storage postgresql://me:canary@host/db",
            },
        }.items():
            self.studies["search"].set_user_attr(key, value)

    def add(self, outcome: str, epochs: int, study: str = "search", **attributes: Any) -> None:
        """Add the next trial, with `epochs` epochs recorded."""
        number = self._count(study)
        begun = CREATED + timedelta(minutes=number + 100 * (study == "confirm"))
        numbers = _epochs(number, epochs, begun, diverges=outcome == "diverged")
        hyperparameters = HYPERPARAMETERS | {"learning_rate": 0.001 * (number + 1)}
        attributes |= {"hyperparameters": hyperparameters, "attempt": 1, "worker": number % 2, **numbers}
        if outcome != "running":
            attributes |= {"outcome": outcome, "reason": f"{outcome} in epoch {epochs - 1}"}
            attributes["result"] = self._result(study, number, outcome, list(numbers.values()))
        state = STATES.get(outcome, TrialState.PRUNED)
        trial = create_trial(state=state, value=0.5 if outcome == "complete" else None)
        trial.datetime_start = begun
        trial.datetime_complete = None if outcome == "running" else begun + timedelta(seconds=50)
        self._write(self.storage.create_new_trial(self.studies[study]._study_id, trial), attributes)

    def _count(self, study: str) -> int:
        return self.storage.get_n_trials(self.studies[study]._study_id)

    def _write(self, trial_id: int, attributes: dict[str, Any]) -> None:
        """Write new attributes of a trial in one commit; Optuna's own call takes 3 ms for each."""
        rows = [{"trial_id": trial_id, "key": key, "value_json": json.dumps(attributes[key])} for key in attributes]
        with self.storage.engine.begin() as connection:
            connection.execute(sqlalchemy.insert(models.TrialUserAttributeModel), rows)

    def _result(self, study: str, number: int, outcome: str, epochs: list[dict[str, float]]) -> dict[str, Any]:
        best = max(range(len(epochs)), key=lambda index: epochs[index]["validation_accuracy"])
        result: dict[str, Any] = {
            "counted_epoch": best,
            "value": epochs[best]["validation_accuracy"],
            "validation_loss": epochs[best]["validation_loss"],
            "validation_accuracy": epochs[best]["validation_accuracy"],
            "seconds": 50.0,
        }
        if outcome == "complete":
            folder = "trials" if study == "search" else study
            digest = write_weights(self.folder / folder / f"{number:04d}" / "weights.npz", seed=number)
            confusion = np.full((10, 10), 1) + np.diag([12] * 10)
            result |= {"weights_sha256": digest, "confusion": confusion.tolist()}
        return result

    def continue_last(self, epochs: int, outcome: str = "complete") -> None:
        """Let the last trial of the search, which is running, go on to `epochs` epochs and end."""
        trial = self.studies["search"].get_trials(deepcopy=False)[-1]
        numbers = _epochs(trial.number, epochs, CREATED + timedelta(minutes=trial.number))
        result = self._result("search", trial.number, outcome, list(numbers.values()))
        more = {**numbers, "outcome": outcome, "reason": "all epochs", "result": result}
        self._write(trial._trial_id, {key: value for key, value in more.items() if key not in trial.user_attrs})
        self.storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [result["value"]])

    def judge(self, champion: int = 10) -> None:
        """Confirm the champion and the baseline on two seeds, train a final model, and give the verdict."""
        for candidate in dict.fromkeys((champion, 0)):
            for seed in range(2):
                self.add("complete", 10, "confirm", role="confirm", candidate=candidate, seed_index=seed)
        final = self._count("confirm")
        self.add("complete", 7, "confirm", role="final", candidate=champion, seed_index=0)
        counts = np.diag([36] * 10)
        counts[8] = [9, *[0] * 7, 27, 0]  # 9 of 360 are wrong
        verdict = {
            "champion": champion,
            "baseline": 0,
            "candidates": [
                {"trial": champion, "search_value": 0.975, "values": [0.9722, 0.9742], "mean": 0.9732},
                {"trial": 0, "search_value": 0.94, "values": [0.9377, 0.9397], "mean": 0.9387},
            ],
            "paired": {"difference": 0.0345, "low": 0.01, "high": 0.05, "n": 2, "better": True},
            "confirm_mean": 0.9732,
            "epochs": 7,
            "test": {"accuracies": [0.975, 0.9694], "confusion": counts.tolist(), "examples": 360, "opening": 1},
            "final_trials": [final],
            "weights_sha256": write_weights(self.folder / "champion.npz", seed=final),
        }
        self.studies["search"].set_user_attr("verdict", verdict)
        (self.folder / "champion.json").write_text(json.dumps({"study": "digits"}))

    def close(self) -> Path:
        """Let go of the database, as a coordinator does when it ends."""
        self.storage.engine.dispose()
        return self.folder


def _epochs(number: int, count: int, begun: datetime, *, diverges: bool = False) -> dict[str, dict[str, float]]:
    return {
        f"epoch.{epoch}": {
            "learning_rate": 0.001 * (number + 1),
            "train_loss": float("inf") if diverges and epoch == count - 1 else 2.3 * 0.7**epoch,
            "train_accuracy": 1 - 0.5 * 0.8**epoch,
            "validation_loss": 2.4 * 0.75**epoch + 0.01 * number,
            "validation_accuracy": round(0.95 - 0.4 * 0.7**epoch + 0.004 * (number % 11), 6),
            "seconds": 5.0,
            "time": begun.timestamp() + 5 * (epoch + 1),
        }
        for epoch in range(count)
    }


def write_weights(path: Path, seed: int) -> str:
    """Write random weights; returns their hash."""
    generator = np.random.default_rng(seed)
    count = sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(SIZES))
    theta = generator.normal(0, 0.1, count).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, theta=theta, sizes=np.array(SIZES), scale=np.float32(1 / 16))
    return hashlib.sha256(theta.tobytes()).hexdigest()


def model_of(path: Path, seed: int, source_run: str) -> Model:
    """A model of new weights, written to `path`, that is to be registered."""
    return Model(
        name="sweep-tiny",
        weights=path,
        weights_sha256=write_weights(path, seed),
        source_run=source_run,
        params={"width": "16"},
        metrics={"test_accuracy": 0.75},
        measured=2000,
        description="a network",
        question="Which?",
        tags={"study": "5eed"},
        metadata={"uid": "5eed"},
    )


def searched(folder: Path) -> Recorded:
    """Twelve trials of every outcome; the last is running in its fourth epoch."""
    recorded = Recorded(folder)
    for outcome in OUTCOMES:
        recorded.add(outcome, 10 if outcome == "complete" else 4)
    recorded.add("running", 3)
    return recorded


def finished(folder: Path) -> Recorded:
    recorded = searched(folder)
    recorded.continue_last(10)
    recorded.judge()
    return recorded


def growth(growing: Recorded) -> list[Callable[[], None]]:
    """A small study, step by step: a trial of more points than one call takes, a pruned one, one that continues."""
    return [
        lambda: growing.add("complete", 160),
        lambda: growing.add("pruned", 20),
        lambda: growing.add("running", 4),
        lambda: growing.continue_last(9),
        lambda: growing.judge(champion=0),
    ]


def grown(folder: Path) -> Path:
    """The small study at its end."""
    growing = Recorded(folder, STUDY | {"name": folder.name, "trials": 3})
    for step in growth(growing):
        step()
    return growing.close()


def expected_runs(record: SweepRecord) -> Iterator[Run]:
    """Every run that a tracker should show, without links."""
    yield study_run(record, active=False, links={})
    marks = Marks.of(record, {})
    yield from (trial_run(record, study, trial, marks) for study, trial in all_trials(record))


def replace_pictures(patch: pytest.MonkeyPatch) -> None:
    """Replace pictures by text: drawing them takes most of the time of a sync."""
    patch.setattr("sweep.tracking.trial_run.curves_png", lambda epochs, selected: f"{len(epochs)} epochs".encode())
    patch.setattr("sweep.tracking.trial_run.confusion_png", lambda matrix, names: repr((matrix, names)).encode())

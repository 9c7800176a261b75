"""The champion: named once its final models are trained, with a verdict in the record and two files in the folder."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from model import checkpoint, weights
from model.checkpoint import CheckpointError
from model.classifier import Classifier
from model.data import datasets
from model.epoch_selection import EpochSelection
from model.files import write_atomic
from model.folds import Folds
from model.hyperparameters import Hyperparameters
from studies.definition import Study
from studies.record.folder import StudyFolder, TrialFolder
from studies.record.reader import SweepRecord, TrialRecord
from sweep.failpoints import failpoint
from sweep.search.confirmation import final_plan, run_key
from sweep.search.final_evaluation import evaluate_once
from sweep.search.verdict import candidate_results, choose_champion, verdict_of
from sweep.storage.database import Database


def name_champion(
    study: Study, database: Database, record: SweepRecord, dataset: Path, *, in_time: bool = False
) -> dict[str, Any] | None:
    """Evaluate on the test set, record the verdict, and write `champion.npz` and `champion.json`.

    Repeated on the same final models, it neither evaluates nor changes anything.

    Args:
        study: the study definition, with the confirmation that was made.
        database: the study's database.
        record: its record.
        dataset: the prepared dataset's folder.
        in_time: whether a single final model is enough, because the time was over before the others ended.

    Returns:
        The verdict, or None where the confirm runs or the final models did not all complete.
    """
    results = candidate_results(study, record)
    if study.confirm.repeats and not results:
        return None
    folder = StudyFolder(database.folder)
    champion = choose_champion(study, record, results)
    plan = [run.key for run in final_plan(study, record, champion)]
    trained = [run for run in database.confirm.trials() if run_key(run) in plan and run.state == TrialState.COMPLETE]
    finals = [run for run in trained if run.user_attrs["candidate"] == champion]
    if not finals or len(trained) < (1 if in_time else len(plan)):
        return None
    verdict = verdict_of(record, results, champion, finals)
    old = record.verdict
    if old and old["final_trials"] == verdict["final_trials"]:
        verdict |= {"test": old["test"], "time": old["time"]}
    else:
        others = [run for run in trained if run not in finals]
        verdict["test"] = evaluate_once(record, dataset, folder, finals, others)
    if not _is_written(folder, verdict):
        network = folder.trial("confirm", finals[0].number).weights
        accuracy = verdict["test"]["accuracies"][0]
        _write_files(folder, record, champion, network, verdict["weights_sha256"], accuracy)
    if verdict != old:
        failpoint("before_verdict")
        database.record("verdict", verdict)
        failpoint("after_verdict")
    return verdict


def name_unconfirmed(study: Study, database: Database, record: SweepRecord, dataset: Path) -> None:
    """Write the network of the best trial of the search as the champion; there is no verdict, and no test.

    Of a trial with several folds it is the network of fold 0, which was trained without that fold's validation rows.
    """
    folder, best = StudyFolder(database.folder), record.contenders()[0]
    files = folder.trial("search", best.number)
    if not files.weights.exists():
        weights.save(files.weights, _classifier_of(study, best, files, dataset))
    digest = weights.sha256(weights.load(files.weights).network.theta)
    _write_files(folder, record, best.number, files.weights, digest, None)


def _classifier_of(study: Study, trial: TrialRecord, files: TrialFolder, dataset: Path) -> Classifier:
    """The network of a trial that was stopped, from its checkpoint; epochs that this lacks are trained again."""
    data = datasets.load_folds(dataset, study.seed, study.folds)
    settings, selection = Hyperparameters(**trial.hyperparameters), EpochSelection(study.objective, study.epoch)
    folds = Folds.of(settings, data, [study.seed, trial.number], selection)
    with contextlib.suppress(FileNotFoundError, CheckpointError):
        checkpoint.restore(folds.state, files.checkpoint)
    if len(folds.epochs) > len(trial.epochs):  # its worker was one epoch ahead of the record
        folds = Folds.of(settings, data, [study.seed, trial.number], selection)
    for _ in folds.train(len(trial.epochs)):
        pass
    return folds.classifier()


def _write_files(
    folder: StudyFolder,
    record: SweepRecord,
    champion: int,
    network: Path,
    digest: str,
    test_accuracy: float | None,
) -> None:
    """Write the model and then its card, which has the hash of the model."""
    card = {
        "study": record.name,
        "dataset": record.dataset["name"],
        "digest": record.dataset["digest"],
        "shape": record.dataset["shape"],
        "classes": record.dataset["classes"],
        "class_names": list(record.class_names),
        "target": record.study.get("target"),
        "preprocessing": weights.load(network).preprocessing.as_dict(),
        "trial": champion,
        "hyperparameters": Hyperparameters(**record.trials[champion].hyperparameters).as_dict(),
        "test_accuracy": test_accuracy,
        "weights_sha256": digest,
    }
    write_atomic(folder.champion, network.read_bytes())
    failpoint("before_card")
    write_atomic(folder.card, (json.dumps(card, indent=2) + "\n").encode())


def _is_written(folder: StudyFolder, verdict: Mapping[str, Any]) -> bool:
    if not folder.has_champion:
        return False
    try:
        return bool(json.loads(folder.card.read_text())["weights_sha256"] == verdict["weights_sha256"])
    except (ValueError, KeyError):  # a damaged card is replaced
        return False

"""The winner: the search proposes, confirmation decides, and the test set is opened once.

The best trials and the baseline are trained again on fresh seeds, each seed with the same streams for all of them, so
that differences are paired. The champion is the best mean, and its interval allows for that choice. Its settings are
then trained on training and validation examples together, and only then is the test set looked at: one opening, all
final models at once.

Confirm runs and final models are trials of the Optuna study `confirm`: recorded, continued and mirrored like others,
never seen by the sampler.
"""

from __future__ import annotations

import base64
import json
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState, create_trial

from model import weights
from model.data import datasets
from model.data.datasets import Dataset
from model.epoch import EpochSelection
from model.evaluation import calibration, predict
from model.files import locked, write_atomic
from model.hyperparameters import Hyperparameters
from model.metrics import METRICS, Metric, Predictions
from studies.definition import Study
from studies.record.errors import RecordError
from studies.record.reader import SweepRecord, TrialRecord
from sweep.coordination.task import Task, job_for, task_from
from sweep.failpoints import failpoint
from sweep.storage.database import Database
from sweep.workers.pool import Job

CONFIRM, FINAL = 0x434F4E46, 0x46494E41
"""Words that keep the streams of fresh seeds apart from those of trials and from each other."""
LEDGER = "test-set-openings.jsonl"
MISTAKES = 20
"""Most confident mistakes that are kept with their images, for the report."""


@dataclass(frozen=True)
class Repeat:
    """One training of a confirmation: what is repeated, and on which fresh seed.

    Attributes:
        role: `confirm`, judged by the validation examples, or `final`, trained on them too.
        candidate: number of the trial in the search.
        seed_index: from 0.
        hyperparameters: the candidate's.
        stop_after: last epoch, counted from 1, of a final model.
    """

    role: str
    candidate: int
    seed_index: int
    hyperparameters: Hyperparameters
    stop_after: int | None = None

    @property
    def key(self) -> tuple[str, int, int, int | None]:
        """What tells it from every other."""
        return self.role, self.candidate, self.seed_index, self.stop_after


class Repeats:
    """Asks for a list of trainings; those that the record has already are not run again.

    Args:
        study: the question.
        database: the study's.
        dataset: the prepared dataset's folder.
        plan: what to run, in this order.
    """

    def __init__(self, study: Study, database: Database, dataset: Path, plan: Sequence[Repeat]) -> None:
        self._study = study
        self._log = database.confirm
        self._folder = database.folder / "confirm"
        self._dataset = dataset
        wanted = [repeat.key for repeat in plan]
        # What failed through no fault of the settings is run again; a divergence would only repeat itself.
        recorded = {_key(trial): trial for trial in self._log.trials() if trial.state != TrialState.FAIL}
        self._running = [t for t in recorded.values() if t.state == TrialState.RUNNING and _key(t) in wanted]
        self._plan = [repeat for repeat in plan if repeat.key not in recorded]

    def interrupted(self) -> Sequence[Task]:
        """Repeats that the database calls running."""
        return [task_from(self._log, trial, self._job(trial)) for trial in self._running]

    def ask(self) -> Task | None:
        """The next repeat of the plan."""
        if not self._plan:
            return None
        repeat = self._plan.pop(0)
        trial = self._log.begin(
            create_trial(
                state=TrialState.RUNNING,
                user_attrs={
                    "hyperparameters": repeat.hyperparameters.as_dict(),
                    "role": repeat.role,
                    "candidate": repeat.candidate,
                    "seed_index": repeat.seed_index,
                    "stop_after": repeat.stop_after,
                },
            )
        )
        return task_from(self._log, trial, self._job(trial))

    def should_prune(self, task: Task, epoch: int) -> bool:
        """A repeat is never stopped."""
        return False

    def tell(self, task: Task, state: TrialState) -> Mapping[str, Any]:
        """Nobody learns from a repeat."""
        return {}

    def remaining(self) -> int:
        """Repeats that have not been asked for."""
        return len(self._plan)

    def _job(self, trial: FrozenTrial) -> Job:
        what = trial.user_attrs
        final = what["role"] == "final"
        return job_for(
            f"confirm/{trial.number}",
            self._folder / f"{trial.number:04d}",
            self._dataset,
            self._study.seed,
            Hyperparameters(**what["hyperparameters"]),
            [self._study.seed, FINAL if final else CONFIRM, what["seed_index"]],
            EpochSelection(self._study.objective, "last" if final else self._study.epoch),
            whole=final,
            stop_after=what["stop_after"],
        )


def candidates(study: Study, record: SweepRecord) -> list[TrialRecord]:
    """The best trials and the baseline; the baseline once, also where it is among the best."""
    top = record.ranked()[: study.confirm.top]
    return [*top, *(trial for trial in record.trials[:1] if trial.number not in [t.number for t in top])]


def confirm_plan(study: Study, record: SweepRecord) -> list[Repeat]:
    """Every candidate on every fresh seed, seed by seed, so that an early stop leaves whole pairs."""
    return [
        Repeat("confirm", trial.number, seed, Hyperparameters(**trial.hyperparameters))
        for seed in range(study.confirm.seeds)
        for trial in candidates(study, record)
    ]


def summaries(study: Study, record: SweepRecord) -> list[dict[str, Any]]:
    """Each candidate whose confirm runs all completed: its value on every seed, their mean, its best epochs."""
    found = []
    for trial in candidates(study, record):
        runs = {
            run.seed_index: run
            for run in record.confirm
            if (run.role, run.candidate, run.state) == ("confirm", trial.number, "complete")
        }
        values = [runs[seed].value for seed in range(study.confirm.seeds) if seed in runs]
        if len(values) < study.confirm.seeds:
            continue
        epochs = [(runs[seed].counted_epoch or 0) + 1 for seed in range(study.confirm.seeds)]
        mean = math.fsum(value for value in values if value is not None) / len(values)
        losses = [runs[seed].validation_loss or 0.0 for seed in range(study.confirm.seeds)]
        found.append(
            {
                "trial": trial.number,
                "search_value": trial.value,
                "values": values,
                "best_epochs": epochs,
                "mean": mean,
                "mean_validation_loss": math.fsum(losses) / len(losses),
            }
        )
    return found


def choose(study: Study, found: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The candidate with the best mean; ties go to the lower mean validation loss, then to the lower trial number."""
    return min(found, key=lambda one: (study.metric.cost(one["mean"]), one["mean_validation_loss"], one["trial"]))


def missing(study: Study, record: SweepRecord) -> list[str]:
    """Confirm runs and candidates that failed and keep the winner from being named; empty when all is there."""
    wanted = {repeat.key for repeat in confirm_plan(study, record)}
    failed = {_key_of(run) for run in record.confirm if run.state == "failed"}
    there = {_key_of(run) for run in record.confirm if run.state in ("complete", "pruned")}
    return [f"confirm run of trial {key[1]} on seed {key[2]}" for key in sorted((wanted & failed) - there)]


def final_plan(study: Study, record: SweepRecord, champion: Mapping[str, Any]) -> list[Repeat]:
    """The champion's settings on training and validation examples, stopped at the median of its best epochs."""
    settings = Hyperparameters(**record.trials[champion["trial"]].hyperparameters)
    stop_after = math.ceil(statistics.median(champion["best_epochs"]))
    return [Repeat("final", champion["trial"], seed, settings, stop_after) for seed in range(study.confirm.seeds)]


def paired(champion: Sequence[float], baseline: Sequence[float], metric: Metric, among: int) -> dict[str, Any]:
    """Mean of the paired differences with its 95 % interval by Student's t, made wider for the choice.

    The champion is the best of `among` candidates on these very seeds. Each of their intervals is one of
    1 - 0.05 / among (Bonferroni), so that all of them hold together in 95 % of studies: without any true difference a
    champion is called better in at most 2.5 %, where Student's own interval would say so in up to 2.5 % times `among`.

    Args:
        champion: its values on the fresh seeds.
        baseline: the baseline's values on the same seeds.
        metric: of the values; a positive difference says that the champion is better.
        among: number of candidates, the baseline excepted.
    """
    from scipy.special import stdtrit  # a second to import, once a sweep

    differences = [metric.cost(other - one) for one, other in zip(champion, baseline, strict=True)]
    mean = statistics.fmean(differences)
    quantile = float(stdtrit(len(differences) - 1, 1 - 0.025 / among))
    half = quantile * statistics.stdev(differences) / math.sqrt(len(differences))
    return {
        "difference": mean,
        "low": mean - half,
        "high": mean + half,
        "n": len(differences),
        "among": among,
        "better": mean - half > 0,
    }


def conclude(study: Study, database: Database, record: SweepRecord, dataset: Path, home: Path) -> dict[str, Any] | None:
    """Open the test set, record the verdict, and write `champion.npz` and `champion.json`.

    Done again on the same final models it opens nothing and changes nothing.

    Returns:
        The verdict, or None where the confirm runs or the final models did not all complete.
    """
    found = summaries(study, record)
    if not found:
        return None
    champion = choose(study, found)
    plan = [repeat.key for repeat in final_plan(study, record, champion)]
    finals = [run for run in database.confirm.trials() if _key(run) in plan and run.state == TrialState.COMPLETE]
    if len(finals) < len(plan):
        return None
    numbers = [run.number for run in finals]
    verdict = _verdict(study, record, found, champion, finals)
    old = record.verdict
    if old and old["final_trials"] == numbers:
        verdict |= {"test": old["test"], "time": old["time"]}
    else:
        verdict["test"] = _open_test_set(study, database, record, dataset, home, finals)
    if not _shipped(database.folder, verdict):
        _ship(database.folder, record, verdict, numbers[0])
    if verdict != old:
        failpoint("before_verdict")
        database.record("verdict", verdict)
        failpoint("after_verdict")
    return verdict


def _verdict(
    study: Study,
    record: SweepRecord,
    found: Sequence[Mapping[str, Any]],
    champion: Mapping[str, Any],
    finals: Sequence[FrozenTrial],
) -> dict[str, Any]:
    baseline = next((one for one in found if one["trial"] == 0), None)
    comparison = None
    if baseline is not None and baseline is not champion:
        comparison = paired(champion["values"], baseline["values"], study.metric, len(found) - 1)
    return {
        "champion": champion["trial"],
        "hyperparameters": Hyperparameters(**record.trials[champion["trial"]].hyperparameters).as_dict(),
        "baseline": 0,
        "candidates": [dict(one) for one in found],
        "paired": comparison,
        "search_value": champion["search_value"],
        "confirm_mean": champion["mean"],
        "epochs": finals[0].user_attrs["stop_after"],
        "final_trials": [run.number for run in finals],
        "weights_sha256": finals[0].user_attrs["result"]["weights_sha256"],
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _open_test_set(
    study: Study, database: Database, record: SweepRecord, dataset: Path, home: Path, finals: Sequence[FrozenTrial]
) -> dict[str, Any]:
    """Count the opening, then score all final models; confusion, calibration and mistakes are the shipped one's."""
    data = datasets.load(dataset, study.seed)
    hashes = [run.user_attrs["result"]["weights_sha256"] for run in finals]
    failpoint("before_opening")
    opening = _count_opening(home / LEDGER, record, data, hashes)
    failpoint("after_opening")
    paths = [database.folder / "confirm" / f"{run.number:04d}" / "weights.npz" for run in finals]
    found = [predict(weights.load(path), data.test) for path in paths]
    shipped = found[0]
    return {
        "examples": len(data.test),
        "accuracies": [METRICS["accuracy"].compute(predictions) for predictions in found],
        "losses": [METRICS["loss"].compute(predictions) for predictions in found],
        "confusion": shipped.confusion.tolist(),
        "calibration": calibration(shipped.predicted == shipped.labels, shipped.probabilities.max(axis=1)),
        "mistakes": _mistakes(data, shipped),
        "opening": opening,
    }


def _count_opening(ledger: Path, record: SweepRecord, data: Dataset, hashes: Sequence[str]) -> int:
    """Add a line to the ledger, unless these very models are in it; return how often this test set was opened."""
    event = {
        "study": record.name,
        "uid": record.uid,
        "dataset": data.name,
        "digest": data.digest,
        "models": list(hashes),
    }
    with locked(ledger), ledger.open("r+") as file:
        try:
            same = [entry for entry in map(json.loads, file) if entry["digest"] == data.digest]
        except (ValueError, KeyError) as error:
            raise RecordError(f"{ledger} is damaged: {error}\nmend or remove its broken line") from error
        if any((entry["uid"], entry["models"]) == (record.uid, event["models"]) for entry in same):
            return len(same)
        file.write(json.dumps({**event, "time": datetime.now(UTC).isoformat(timespec="seconds")}) + "\n")
        file.flush()
        os.fsync(file.fileno())
        return len(same) + 1


def _mistakes(data: Dataset, found: Predictions) -> list[dict[str, Any]]:
    """The wrong predictions of the greatest confidence, with their images."""
    labels, predicted, probabilities = found.labels, found.predicted, found.probabilities
    confidence = np.where(predicted == labels, -1.0, probabilities.max(axis=1))
    order = np.argsort(-confidence, kind="stable")[: min(MISTAKES, int((predicted != labels).sum()))]
    return [
        {
            "index": int(i),
            "label": int(labels[i]),
            "predicted": int(predicted[i]),
            "probability": float(probabilities[i].max()),
            "image": base64.b64encode(data.test.images[data.test.rows[i]].tobytes()).decode(),
            "dtype": str(data.test.images.dtype),
        }
        for i in order
    ]


def _ship(folder: Path, record: SweepRecord, verdict: Mapping[str, Any], final: int) -> None:
    """Write the model and its card; the card last, for it names the model's hash."""
    card = {
        "study": record.name,
        "dataset": record.dataset["name"],
        "digest": record.dataset["digest"],
        "shape": record.dataset["shape"],
        "classes": record.dataset["classes"],
        "scale": record.dataset["scale"],
        "hyperparameters": verdict["hyperparameters"],
        "test_accuracy": verdict["test"]["accuracies"][0],
        "weights_sha256": verdict["weights_sha256"],
    }
    write_atomic(folder / "champion.npz", (folder / "confirm" / f"{final:04d}" / "weights.npz").read_bytes())
    failpoint("before_card")
    write_atomic(folder / "champion.json", (json.dumps(card, indent=2) + "\n").encode())


def _shipped(folder: Path, verdict: Mapping[str, Any]) -> bool:
    card = folder / "champion.json"
    if not (card.exists() and (folder / "champion.npz").exists()):
        return False
    try:
        return bool(json.loads(card.read_text())["weights_sha256"] == verdict["weights_sha256"])
    except (ValueError, KeyError):  # a damaged card is written anew
        return False


def _key_of(run: TrialRecord) -> tuple[str, int, int, None]:
    """The key of a confirm run as the record has it; a final model's stop is not part of it."""
    return str(run.role), int(run.candidate or 0), int(run.seed_index or 0), None


def _key(trial: FrozenTrial) -> tuple[str, int, int, int | None]:
    what = trial.user_attrs
    return what["role"], what["candidate"], what["seed_index"], what["stop_after"]

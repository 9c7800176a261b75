"""The content of a study database: which attributes there are, how they are sealed, what older records lack.

The database is one of Optuna's, with two Optuna studies: `search` (the trials that the sampler proposed) and `confirm`
(repeats of the best trials with fresh seeds, and the final models). What Optuna has no column for is a user attribute,
written by `sweep/storage/database.py` and read by `studies/record/reader.py`.

| attribute of `search` | content |
|---|---|
| `schema` | 2, the version of this table; 1 had no seals |
| `uid` | random hex, made once; the identity of the study |
| `created` | ISO 8601, UTC |
| `study` | the study file, complete: name, question, dataset, objective, direction, epoch, seed, trials, sampler, pruner, control (older records: audit), baseline, space, confirm |
| `dataset` | name, digest (SHA-256), classes, shape of one example, scale, train, validation, test (numbers of examples) |
| `provenance` | versions, git_commit, git_dirty, machine, command |
| `verdict` | what `sweep/search/confirmation.py` found; absent until the winner is confirmed |
| `seal` | SHA-256 of all the others: see `seal` |

| attribute of a trial | content |
|---|---|
| `hyperparameters` | decoded, complete |
| `epoch.0`, `epoch.1`, ... | learning_rate, train_loss, train_accuracy, validation_<metric> for every metric, seconds, time (Unix) |
| `attempt`, `worker` | how often it was dispatched; the worker that had it last |
| `outcome`, `reason` | once finished: complete, pruned, diverged, out of memory, timeout, failed; and the reason as a sentence |
| `result` | once finished: counted_epoch, value, validation_loss, validation_accuracy, seconds; complete: weights_sha256, confusion |
| `audit` | judged but never stopped: {"would_prune_at": epoch or null} |
| `seal` | once finished: SHA-256 of everything above and of Optuna's columns: `trial_seal` |
| `role`, `candidate`, `seed_index` | in `confirm`: "confirm" or "final", the trial of `search` it repeats, which fresh seed |
"""  # noqa: E501

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import distribution_to_json
from optuna.trial import FrozenTrial

from model.epoch import COLUMNS
from model.hyperparameters import Hyperparameters
from studies.definition import Study
from studies.record.errors import RecordError, damaged
from studies.record.server import Place

SCHEMA = 2
SEALED = 2
"""The first schema with seals."""
EPOCH_COLUMNS = (*COLUMNS, "time")
EPOCH = np.dtype([(column, np.float64) for column in EPOCH_COLUMNS])
_RENAMED = {"audit": "control"}
"""Keys of a study by their former names."""


def upgraded_study(study: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded study with the keys of this version: what an older version did not record has its default."""
    known = {_RENAMED.get(key, key) if key not in Study.model_fields else key: value for key, value in study.items()}
    defaults = {
        key: field.get_default(call_default_factory=True)
        for key, field in Study.model_fields.items()
        if not field.is_required() and key not in known and key != "confirm"
    }
    return {**known, **defaults, "baseline": upgraded_hyperparameters(study["baseline"])}


def upgraded_hyperparameters(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded hyperparameters, with the defaults of those that the version which recorded them did not have."""
    defaults = Hyperparameters().as_dict()
    return {**settings, **{key: value for key, value in defaults.items() if key not in settings}}


def seal(attributes: Mapping[str, Any]) -> str:
    """SHA-256 in hex over attributes as canonical JSON, the seal itself excepted."""
    kept = {key: value for key, value in attributes.items() if key != "seal"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def trial_seal(trial: FrozenTrial) -> str:
    """SHA-256 in hex over everything about a finished trial that a report or a sampler reads, times excepted."""
    kept = {key: value for key, value in trial.user_attrs.items() if key != "seal"}
    content = {
        "number": trial.number,
        "state": trial.state.name,
        "values": trial.values,
        "params": trial.params,
        "distributions": {name: distribution_to_json(kind) for name, kind in trial.distributions.items()},
        "intermediate_values": sorted(trial.intermediate_values.items()),
        "system_attrs": trial.system_attrs,
    }
    return seal(kept | {"trial": content})


def require_sealed(place: Place, attributes: Mapping[str, Any]) -> None:
    """Make sure that the study's attributes are of a schema that this version reads, and as they were written.

    Raises:
        RecordError: it is not.
    """
    if "schema" not in attributes:
        raise RecordError(f"{place} holds an Optuna study of another program")
    if attributes["schema"] > SCHEMA:
        raise RecordError(
            f"{place} was written by a newer version (schema {attributes['schema']}, this one reads {SCHEMA})\n"
            "update this program"
        )
    if attributes["schema"] >= SEALED and attributes.get("seal") != seal(attributes):
        raise damaged(place, "the study's attributes are not what was written")


def require_sealed_trial(place: Place, trial: FrozenTrial) -> None:
    """Make sure that a trial, if it is finished, is as it was written.

    Raises:
        RecordError: it is not.
    """
    if trial.state.is_finished() and trial.user_attrs.get("seal") != trial_seal(trial):
        raise damaged(place, f"trial {trial.number} is not what was written")

"""The content of a study database: its attributes, their checksums (seals), and upgrades of older records.

The database is one of Optuna's, with two Optuna studies: `search` (the trials that the sampler proposed) and `confirm`
(repeats of the best trials with fresh seeds, and the final models). Values without a column in Optuna's tables are user
attributes, written by `sweep/storage/database.py` and read by `studies/record/reader.py`.

| attribute of `search` | content |
|---|---|
| `schema` | 2, the version of this table; version 1 had no seals |
| `uid` | random hex, made once; the identity of the study |
| `created` | ISO 8601, UTC |
| `study` | the study file, complete: name, question, dataset, objective, direction, epoch, folds (absent in older records: 1), seed, trials, sampler, pruner, control (older records: audit), baseline, space, start (what differs from the baseline), confirm |
| `dataset` | name, digest (SHA-256), classes, class_names, shape of one example, columns of a table, notes on what was done with the source, train, validation, test (numbers of examples); older records: scale instead of names, columns and notes |
| `provenance` | versions, git_commit, git_dirty, machine, command |
| `data_file` | path of the data file, relative to the study's folder; absent for built-in data, for an absolute path in the study file, and in older records |
| `verdict` | what `sweep/search/verdict.py` and `final_evaluation.py` found; absent until the winner is confirmed |
| `seal` | SHA-256 of all the others: see `seal` |

| attribute of a trial | content |
|---|---|
| `hyperparameters` | decoded, complete |
| `epoch.0`, `epoch.1`, ... | learning_rate, train_loss, train_accuracy, validation_<metric> for every metric, seconds, time (Unix) |
| `leg` (`LEG`) | {"rung": the rung that the current or last leg leads to, "round": of a generation, or null, "paused": whether the trial waits at that rung}; of studies with the pruner `halving` |
| `repeats` | the number of the first trial with the same settings, if all settings of a finite space were tried, or the first one was ended by a lower time limit |
| `attempt`, `worker` | number of starts; the last worker |
| `outcome`, `reason` | once finished: complete, pruned, diverged, out of memory, timeout, failed; and the reason as a sentence |
| `result` | once finished: selected_epoch, value, validation_loss, validation_accuracy, seconds; complete: weights_sha256, confusion; timeout: limit_seconds, the limit that was exceeded |
| `audit` (`CONTROL`) | of an unpruned control, judged but never stopped: {"would_prune_at": epoch or null}; with `halving` null, the report compares |
| `seal` | once finished: SHA-256 of everything above and of Optuna's columns: `trial_seal` |
| `role`, `candidate`, `seed_index`, `stop_after` | in `confirm`: "screen", "confirm" or "final", the trial of `search` it repeats, which fresh seed, the last epoch |
| `split` | in `confirm`: index of the split of training and validation examples, 0 the search's; null of a final model; absent in older records, whose runs all have the search's split |
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
from model.hyperparameters import FIELDS, Hyperparameters
from studies.definition import Study
from studies.record.errors import RecordError, damaged
from studies.record.server import Place

SCHEMA = 2
CONTROL = "audit"
"""What makes a trial an unpruned control; the name is kept, so that older versions read the record."""
LEG = "leg"
REPEATS = "repeats"
LIMIT = "limit_seconds"
SEALED = 2
"""The first schema with seals."""
EPOCH_COLUMNS = (*COLUMNS, "time")
EPOCH = np.dtype([(column, np.float64) for column in EPOCH_COLUMNS])
_RENAMED = {"audit": "control"}
"""Renamed keys of a study: former name -> name."""
FORMER_DEFAULTS: dict[str, Any] = {"pruner": "median"}
"""Defaults of study files of an older version."""


def upgraded_study(study: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded study with the keys of this version, with defaults for keys that an older version did not record."""
    known = {_RENAMED.get(key, key) if key not in Study.model_fields else key: value for key, value in study.items()}
    defaults = {
        key: _as_json(field.get_default(call_default_factory=True))
        for key, field in Study.model_fields.items()
        if not field.is_required() and key not in known and key != "confirm"
    }
    if "seeds" in known.get("confirm", {}):
        known["confirm"] = {"top": known["confirm"]["top"], "repeats": known["confirm"]["seeds"]}
    return {**known, **defaults, "baseline": upgraded_hyperparameters(study["baseline"])}


def continued(study: Study, recorded: Mapping[str, Any]) -> Study:
    """The study with former defaults of keys that it does not set, if it was recorded with them; and with its folds.

    The number of folds was chosen by the data when the study was begun, or is 1 if it was begun by an older version.

    Args:
        study: as its file defines it now.
        recorded: the recorded study, as returned by `upgraded_study`.
    """
    former = {
        key: value
        for key, value in FORMER_DEFAULTS.items()
        if key not in study.model_fields_set and recorded[key] == value
    }
    if "folds" not in study.model_fields_set:
        former["folds"] = recorded["folds"]
    return study.model_copy(update=former) if former else study


def _as_json(value: Any) -> Any:
    """A default as it would have been recorded: a tuple as a list."""
    return list(value) if isinstance(value, tuple) else value


def upgraded_hyperparameters(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded hyperparameters, with defaults for those that an older version did not have."""
    if FIELDS.keys() <= settings.keys():
        return dict(settings)
    defaults = Hyperparameters().as_dict()
    return {**settings, **{key: value for key, value in defaults.items() if key not in settings}}


def upgraded_dataset(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """The recorded description of a dataset, with numbered classes where an older version did not record names."""
    names = [str(label) for label in range(int(dataset["classes"]))]
    return {"class_names": names, "columns": None, "notes": [], **dataset}


def seal(attributes: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of attributes as canonical JSON, without the seal itself."""
    kept = {key: value for key, value in attributes.items() if key != "seal"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def trial_seal(trial: FrozenTrial) -> str:
    """SHA-256 (hex) of everything about a finished trial that a report or a sampler reads, except times."""
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
    """Check that the study's attributes have a supported schema and match their seal.

    Raises:
        RecordError: it is not.
    """
    if "schema" not in attributes:
        raise RecordError(f"{place} contains an Optuna study of another program")
    if attributes["schema"] > SCHEMA:
        raise RecordError(
            f"{place} was written by a newer version (schema {attributes['schema']}, this one reads {SCHEMA})\n"
            "update this program"
        )
    if attributes["schema"] >= SEALED and attributes.get("seal") != seal(attributes):
        raise damaged(place, "the study's attributes were changed since they were written")


def require_sealed_trial(place: Place, trial: FrozenTrial) -> None:
    """Check that a finished trial matches its seal.

    Raises:
        RecordError: it is not.
    """
    if trial.state.is_finished() and trial.user_attrs.get("seal") != trial_seal(trial):
        raise damaged(place, f"trial {trial.number} was changed since it was written")

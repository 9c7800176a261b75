"""Trials that ended at a time limit which was raised since: their settings are tried again, as new trials."""

from __future__ import annotations

import math
from collections.abc import Iterable

from optuna.trial import FrozenTrial

from model.hyperparameters import Hyperparameters
from studies.definition import Study
from studies.record.schema import LIMIT


def is_outdated(study: Study, trial: FrozenTrial) -> bool:
    """Whether a recorded trial exceeded a limit that is lower than the study's present one."""
    limit = trial.user_attrs.get("result", {}).get(LIMIT, math.inf)
    return bool(limit < (study.trial_seconds or math.inf))


def to_repeat(study: Study, recorded: Iterable[FrozenTrial]) -> list[Hyperparameters]:
    """The settings whose last trial is outdated, in the order of these trials.

    Args:
        study: the study definition.
        recorded: its trials, by number.
    """
    recorded = list(recorded)
    if not any(is_outdated(study, trial) for trial in recorded):
        return []
    found: dict[Hyperparameters, None] = {}
    for trial in recorded:
        settings = Hyperparameters(**trial.user_attrs["hyperparameters"])
        found.pop(settings, None)
        if is_outdated(study, trial):
            found[settings] = None
    return list(found)

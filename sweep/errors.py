"""Which exit code an error means; the one table behind the command line's promise."""

from __future__ import annotations

import importlib

BAD_INPUT, ENVIRONMENT, FAILING, DAMAGED = 2, 3, 4, 5
CODES = {
    "studies.definition:StudyError": BAD_INPUT,
    "model.sources:DatasetInvalid": BAD_INPUT,
    "sweep.passwords:AddressError": BAD_INPUT,
    "sweep.storage:StudyBusy": BAD_INPUT,
    "sweep.storage:StudyChanged": BAD_INPUT,
    "sweep.predict:ImageError": BAD_INPUT,
    "sweep.replay:NothingToReplay": BAD_INPUT,
    "model.sources:DatasetUnavailable": ENVIRONMENT,
    "sweep.run:HomeError": ENVIRONMENT,
    "sweep.coordinator:EnvironmentTrouble": ENVIRONMENT,
    "sweep.mirror:MirrorError": ENVIRONMENT,
    "sweep.ui:UiError": ENVIRONMENT,
    "builtins:OSError": ENVIRONMENT,
    "reports.database:DatabaseTrouble": ENVIRONMENT,
    "sweep.coordinator:Failing": FAILING,
    "sweep.run:ConfirmationFailed": FAILING,
    "model.sources:DatasetDamaged": DAMAGED,
    "model.weights:WeightsError": DAMAGED,
    "sweep.storage:LogMismatch": DAMAGED,
    "reports.database:RecordError": DAMAGED,
}
"""`module:class` rather than the class: a verb imports only what it needs, and MLflow takes three seconds."""


def exit_code(error: BaseException) -> int | None:
    """The documented code of an error, by its class or the nearest of its parents; None for one nobody expected."""
    for cls in type(error).__mro__:
        if (code := CODES.get(f"{cls.__module__}:{cls.__qualname__}")) is not None:
            return code
    return None


def classes() -> list[type[BaseException]]:
    """The classes that the table names; a test imports them all, so that none is misspelt."""
    names = [name.split(":") for name in CODES]
    return [getattr(importlib.import_module(module), cls) for module, cls in names]

"""Which exit code an error means; the one table behind the command line's promise."""

from __future__ import annotations

import importlib

BAD_INPUT, ENVIRONMENT, FAILING, DAMAGED = 2, 3, 4, 5
CODES = {
    "studies.study_file:StudyError": BAD_INPUT,
    "model.data.sources:DatasetInvalid": BAD_INPUT,
    "sweep.passwords:AddressError": BAD_INPUT,
    "sweep.storage.database:StudyBusy": BAD_INPUT,
    "sweep.storage.database:StudyChanged": BAD_INPUT,
    "sweep.commands.predict:ImageError": BAD_INPUT,
    "sweep.commands.replay:NothingToReplay": BAD_INPUT,
    "model.data.sources:DatasetUnavailable": ENVIRONMENT,
    "sweep.commands.run:HomeError": ENVIRONMENT,
    "sweep.workers.pool:EnvironmentFailure": ENVIRONMENT,
    "sweep.tracking.reconcile:MirrorError": ENVIRONMENT,
    "sweep.commands.ui:UiError": ENVIRONMENT,
    "builtins:OSError": ENVIRONMENT,
    "studies.record.database:DatabaseUnavailable": ENVIRONMENT,
    "sweep.coordination.coordinator:TooManyFailures": FAILING,
    "sweep.commands.run:ConfirmationFailed": FAILING,
    "model.data.sources:DatasetDamaged": DAMAGED,
    "model.weights:WeightsError": DAMAGED,
    "sweep.storage.database:RecordMismatch": DAMAGED,
    "studies.record.database:RecordError": DAMAGED,
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

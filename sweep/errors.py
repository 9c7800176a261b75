"""The exceptions that end a command, and the exit code of each.

    2  bad input
       ├── AddressError, ImageError, NothingToReplay
       ├── StudyError                             the study file
       ├── StudyBusy, StudyChanged                the recorded study
       └── DatasetInvalid
    3  environment
       ├── DatasetUnavailable
       ├── DatabaseUnavailable                    the record: disk, lock, permission, server
       ├── MirrorError, UiError                   MLflow
       ├── EnvironmentFailure                     the workers
       └── HomeError, OSError
    4  too many trials failed
       └── TooManyFailures, ConfirmationFailed
    5  damaged data
       ├── DatasetDamaged, WeightsError
       ├── RecordError                            the record cannot be read
       └── RecordMismatch                         an epoch that was run again differs from the record

An exception is defined where it is raised; those that several modules raise are defined here.
"""

from __future__ import annotations

import importlib

BAD_INPUT, ENVIRONMENT, FAILING, DAMAGED = 2, 3, 4, 5


class StudyBusy(Exception):
    """Another process is working on the study."""


class StudyChanged(Exception):
    """The study file differs from the recorded study."""


class RecordMismatch(Exception):
    """An epoch that was run again gave other numbers than those recorded."""


CODES = {
    "studies.study_file:StudyError": BAD_INPUT,
    "model.data.errors:DatasetInvalid": BAD_INPUT,
    "sweep.passwords:AddressError": BAD_INPUT,
    "sweep.errors:StudyBusy": BAD_INPUT,
    "sweep.errors:StudyChanged": BAD_INPUT,
    "sweep.commands.images:ImageError": BAD_INPUT,
    "sweep.commands.replay:NothingToReplay": BAD_INPUT,
    "model.data.errors:DatasetUnavailable": ENVIRONMENT,
    "sweep.commands.preparation:HomeError": ENVIRONMENT,
    "sweep.workers.pool:EnvironmentFailure": ENVIRONMENT,
    "sweep.tracking.reconcile:MirrorError": ENVIRONMENT,
    "sweep.commands.ui:UiError": ENVIRONMENT,
    "builtins:OSError": ENVIRONMENT,
    "studies.record.errors:DatabaseUnavailable": ENVIRONMENT,
    "sweep.coordination.coordinator:TooManyFailures": FAILING,
    "sweep.commands.confirmation:ConfirmationFailed": FAILING,
    "model.data.errors:DatasetDamaged": DAMAGED,
    "model.weights:WeightsError": DAMAGED,
    "sweep.errors:RecordMismatch": DAMAGED,
    "studies.record.errors:RecordError": DAMAGED,
}
"""`module:class` instead of the class, so that a command imports only what it needs: MLflow takes three seconds."""


def exit_code(error: BaseException) -> int | None:
    """The exit code of an error, by its class or the nearest base class; None for an unexpected error."""
    for cls in type(error).__mro__:
        if (code := CODES.get(f"{cls.__module__}:{cls.__qualname__}")) is not None:
            return code
    return None


def classes() -> list[type[BaseException]]:
    """The classes in the table; a test imports them, to detect a misspelt name."""
    names = [name.split(":") for name in CODES]
    return [getattr(importlib.import_module(module), cls) for module, cls in names]

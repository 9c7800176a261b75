"""Checkpoints: the complete state of a trial's trainings in one file; a resumed trial gives bit-identical results."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data import npz
from model.epoch import Epoch
from model.files import write_atomic
from model.hyperparameters import Hyperparameters
from model.training import TrainingState

NUMERICS_VERSION = 2
"""Increase it if a change alters the results of equal settings and seeds: such a training run is not continued."""
HEADER_BYTES = 1 << 24
"""Maximal size of a checkpoint's header: 10,000 epochs of 400 bytes are 4 MB."""


class CheckpointError(Exception):
    """A checkpoint file is damaged or belongs to another training run."""


def save(states: Sequence[TrainingState], path: Path) -> None:
    """Write a checkpoint atomically: `path` is always the complete old or new file.

    Args:
        states: of the trainings, one for each fold of a trial.
        path: of the file.

    Raises:
        OSError: the disk is full or the folder is not writable; the old checkpoint is kept.
    """
    members: dict[str, NDArray[Any]] = {}
    for fold, state in enumerate(states):
        header, arrays = _members(fold)
        members[header] = np.frombuffer(json.dumps(_header(state)).encode(), np.uint8)
        members[arrays] = np.stack([*_vectors(state), state.selected_theta])
    write_atomic(path, npz.write(members))


def restore(states: Sequence[TrainingState], path: Path) -> None:
    """Restore the states from a checkpoint of the same trainings; zip's CRC-32 detects a damaged file.

    Raises:
        CheckpointError: the file is damaged or belongs to other trainings; the states are unchanged.
        OSError: it cannot be read.
    """
    kept = _read(states, path)
    try:
        headers = [json.loads(kept[_members(fold)[0]].tobytes()) for fold in range(len(states))]
        epochs = [[Epoch.from_row(i, row) for i, row in enumerate(header["epochs"])] for header in headers]
        same = [_with_defaults(header["identity"]) for header in headers] == [_identity(state) for state in states]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if not same:
        raise CheckpointError(f"{path} belongs to another training")
    for fold, state in enumerate(states):
        _put(state, headers[fold], epochs[fold], kept[_members(fold)[1]])


def _read(states: Sequence[TrainingState], path: Path) -> dict[str, NDArray[Any]]:
    """The members of a checkpoint, whose dtypes and shapes are those of these trainings."""
    expected: dict[str, tuple[str, tuple[int, ...] | None]] = {}
    for fold, state in enumerate(states):
        header, arrays = _members(fold)
        expected[header] = "|u1", None
        expected[arrays] = "<f4", (len(_vectors(state)) + 1, state.network.theta.size)

    def check(name: str, header: npz.Header) -> None:
        """Refuse arrays of another training run before they are read."""
        dtype, shape = expected[name]
        if header.dtype.str != dtype or shape not in (None, header.shape):
            found = f"{name} is {header.dtype} {header.shape}"
            raise CheckpointError(f"{path} belongs to another training: {found}")

    most = sum(HEADER_BYTES if shape is None else 4 * math.prod(shape) for _, shape in expected.values())
    try:
        return npz.read(path, list(expected), check=check, max_bytes=most)
    except npz.NpzError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def _members(fold: int) -> tuple[str, str]:
    """The names of a fold's header and arrays in the file; those of fold 0 are those of a trial without folds."""
    return ("header", "arrays") if fold == 0 else (f"header-{fold}", f"arrays-{fold}")


def _header(state: TrainingState) -> dict[str, Any]:
    """What a checkpoint has of a state besides its vectors."""
    return {
        "identity": _identity(state),
        "step": state.optimizer.t,
        "epochs": [{"index": epoch.index, **epoch.row()} for epoch in state.epochs],
        "counted": state.selected.index if state.selected else None,
    }


def _put(state: TrainingState, header: Mapping[str, Any], epochs: list[Epoch], arrays: NDArray[Any]) -> None:
    """Change a state into the saved one."""
    for vector, saved in zip(_vectors(state), arrays[:-1], strict=True):
        vector[...] = saved
    state.optimizer.t = header["step"]
    if state.average:
        state.average.t = header["step"]  # every epoch ends with an update
    state.epochs = epochs
    state.selected = epochs[header["counted"]] if header["counted"] is not None else None
    state.selected_theta = arrays[-1].copy()


def _vectors(state: TrainingState) -> list[NDArray[Any]]:
    """The vectors (parameters,) that training changes in place."""
    average = [state.average.mean] if state.average else []
    return [state.network.theta, state.optimizer.m, state.optimizer.v, *average]


def _identity(state: TrainingState) -> list[Any]:
    """Everything besides the data that determines the results of a training run, in JSON types."""
    rule = state.selection
    return [NUMERICS_VERSION, state.hyperparameters.as_dict(), list(state.seed), rule.objective, rule.epoch]


def _with_defaults(identity: list[Any]) -> list[Any]:
    """An identity, with defaults for the hyperparameters that the version which wrote it did not have."""
    numerics, settings, *rest = identity
    return [numerics, Hyperparameters(**settings).as_dict(), *rest]

"""Checkpoints: a training's whole state in one file, from which it continues to the same bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from model.data import npz
from model.epoch import Epoch
from model.files import write_atomic
from model.hyperparameters import Hyperparameters
from model.training import TrainingState

NUMERICS = 2
"""Raise it when equal settings and seeds give other bits: a training does not continue with other arithmetic."""
HEADER_BYTES = 1 << 24
"""Most bytes of a checkpoint's header: 10,000 epochs of 400 bytes are 4 MB."""


class CheckpointError(Exception):
    """A checkpoint file is damaged or belongs to another training."""


def save(state: TrainingState, path: Path) -> None:
    """Write a checkpoint: `path` holds the old file or the new one, never a part of one.

    Raises:
        OSError: the disk is full or the folder is not writable; the old checkpoint is still there.
    """
    header = {
        "identity": _identity(state),
        "step": state.optimizer.t,
        "epochs": [{"index": epoch.index, **epoch.row()} for epoch in state.epochs],
        "counted": state.selected.index if state.selected else None,
    }
    arrays = np.stack([state.network.theta, state.optimizer.m, state.optimizer.v, state.selected_theta])
    write_atomic(path, npz.write({"header": np.frombuffer(json.dumps(header).encode(), np.uint8), "arrays": arrays}))


def restore(state: TrainingState, path: Path) -> None:
    """Continue `state` from a checkpoint of this very training; zip's CRC-32 notices a damaged file.

    Raises:
        CheckpointError: the file is damaged or belongs to another training; the state is unchanged.
        OSError: it cannot be read.
    """
    parameters = state.network.theta.size

    def check(name: str, header: npz.Header) -> None:
        """Refuse arrays of another training before they are read."""
        dtype, shape = {"header": ("|u1", None), "arrays": ("<f4", (4, parameters))}[name]
        if header.dtype.str != dtype or shape not in (None, header.shape):
            found = f"{name} is {header.dtype} {header.shape}"
            raise CheckpointError(f"{path} belongs to another training: {found}")

    try:
        kept = npz.read(path, ["header", "arrays"], check=check, max_bytes=HEADER_BYTES + 16 * parameters)
        header = json.loads(kept["header"].tobytes())
        epochs = [Epoch.from_row(index, row) for index, row in enumerate(header["epochs"])]
        same = _with_defaults(header["identity"]) == _identity(state)
    except (npz.NpzError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if not same:
        raise CheckpointError(f"{path} belongs to another training")
    state.network.theta[...], state.optimizer.m[...], state.optimizer.v[...] = kept["arrays"][:3]
    state.optimizer.t = header["step"]
    state.epochs = epochs
    state.selected = epochs[header["counted"]] if header["counted"] is not None else None
    state.selected_theta = kept["arrays"][3].copy()


def _identity(state: TrainingState) -> list[Any]:
    """What decides every bit of a training besides its data, as JSON keeps it."""
    rule = state.selection
    return [NUMERICS, state.hyperparameters.as_dict(), list(state.seed), rule.objective, rule.epoch]


def _with_defaults(identity: list[Any]) -> list[Any]:
    """An identity with the hyperparameters that the version which wrote it did not have."""
    numerics, settings, *rest = identity
    return [numerics, Hyperparameters(**settings).as_dict(), *rest]
